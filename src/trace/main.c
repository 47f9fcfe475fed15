/* fulmar-replay: feeds traces that agents recorded (FULMAR_RECORD) through core once more.
 *
 *   fulmar-replay FILE...
 *
 * Exit code 0: every step said what it said then; 1: one did not, which is shown, or a file is no
 * trace; 64: usage. A last line without its end, of an agent that was killed, is left out. */
#include "trace/replay.h"

#include <stdio.h>
#include <stdlib.h>

struct tally {
    unsigned long lines, steps;
};

static void show(const char *file, unsigned long number, struct fm_str line,
                 const struct fm_replay_answer *a)
{
    printf("%s:%lu: %.*s\n", file, number, FM_STR_ARG(line));
    if (a->verdict == FM_REPLAY_MALFORMED)
        printf("  is no line of a trace: %s\n", a->why);
    else
        printf("  then: %.*s\n  now:  %.*s\n", FM_STR_ARG(a->then), FM_STR_ARG(a->now));
}

static bool replay(const char *file, FILE *f, char *line, struct tally *t)
{
    struct fm_replay *r = fm_replay_new();
    bool good = r != NULL;
    while (good && fgets(line, FM_TRACE_LINE_MAX, f)) {
        struct fm_str text = fm_str_z(line);
        if (!text.n || text.p[text.n - 1] != '\n') {
            good = feof(f); /* cut, or longer than any */
            break;
        }
        text.n--;
        t->lines++;
        struct fm_replay_answer a = fm_replay_line(r, text);
        t->steps += a.step;
        good = a.verdict == FM_REPLAY_SAME;
        if (!good)
            show(file, t->lines, text, &a);
    }
    fm_replay_free(r);
    if (good && !t->steps)
        printf("%s: nothing was recorded in it\n", file);
    return good && t->steps && !ferror(f);
}

int main(int argc, char **argv)
{
    char *line = malloc(FM_TRACE_LINE_MAX);
    bool good = line && argc > 1;
    if (argc < 2) {
        fputs("usage: fulmar-replay FILE...\n", stderr);
        free(line);
        return 64;
    }
    for (int i = 1; i < argc && good; i++) {
        struct tally t = {0, 0};
        FILE *f = fopen(argv[i], "re");
        if (!f)
            perror(argv[i]);
        good = f && replay(argv[i], f, line, &t);
        if (f)
            fclose(f);
        printf("%s: %lu steps in %lu lines%s\n", argv[i], t.steps, t.lines,
               good ? ", all as they were" : "");
    }
    free(line);
    return good ? 0 : 1;
}
