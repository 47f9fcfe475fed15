/* The conformance suite and a writer, as a program for tests/system/test_coord.py.
 *
 *   coord_suite TARGET... run [CASE...]       one line a case: `ok CASE` or `FAIL CASE: why`
 *   coord_suite TARGET... write NAME          write until SIGTERM, see below
 *   coord_suite TARGET... watch PREFIX        what changes, until SIGTERM: `fresh REVISION N`, then
 *                                             `has REVISION KEY` N times; `put` or `erase REVISION
 * KEY` coord_suite TARGET... dump PREFIX         `REVISION KEY VALUE` a line coord_suite TARGET...
 * known               `INCARNATION REVISION` coord_suite TARGET... get KEY INCARNATION REVISION a
 * read by somebody who knows that much
 *
 * TARGET: --service S, --endpoint HOST:PORT or a path (several), --login NAME, --password-file F,
 * --ca F (then it is TLS), --cert F, --key F.
 *
 * The writer swaps the key `register` and, in the same transaction, puts `log/NAME/N`. It says what
 * became of each before it tries the next: `done N REVISION`, `not N WHY`, `unknown N WHY`. */
#include "suite.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static int run(const struct drive_target *t, char **names)
{
    int failed = 0;
    for (const struct suite_case *c = suite; c->name; c++) {
        bool wanted = !*names;
        for (char **n = names; *n; n++)
            wanted |= strcmp(*n, c->name) == 0;
        if (!wanted)
            continue;
        bool good = suite_run(c, t);
        printf(good ? "ok %s\n" : "FAIL %s: %s\n", c->name, drive_why);
        failed |= !good;
        fflush(stdout);
    }
    return failed;
}

static volatile sig_atomic_t asked_to_end;

static void end(int signo)
{
    (void)signo;
    asked_to_end = 1;
}

static void say(const char *what, unsigned n)
{
    if (result.outcome == FM_COORD_DONE)
        printf("%s %u %llu\n", what, n, (unsigned long long)result.revision);
    else
        printf("%s %u %s: %s\n", what, n, fm_coord_why_text(result.why), result.error);
    fflush(stdout);
}

static int write_on(const struct drive_target *t, const char *name, int64_t deadline_ms)
{
    struct drive d;
    char key[64], value[64];
    uint64_t at = 0;
    bool known = false;
    drive_open(&d, t, NULL);
    for (unsigned n = 1; !asked_to_end; n++) {
        if (!known) {
            drive_get(&d, "register", false, false);
            known = result.outcome == FM_COORD_DONE;
            at = known && result.n ? result.kv[0].revision : 0;
            continue;
        }
        snprintf(key, sizeof key, "log/%s/%u", name, n);
        snprintf(value, sizeof value, "%s/%u", name, n);
        struct fm_coord_compare c = {FM_STR("register"), at};
        struct fm_coord_write w[] = {{.key = c.key, .value = fm_str_z(value)},
                                     {.key = fm_str_z(key), .value = FM_STR("x")}};
        drive_commit(&d, &(struct fm_coord_txn){&c, 1, w, 2}, deadline_ms);
        known = result.outcome == FM_COORD_DONE || result.why == FM_COORD_WHY_COMPARE;
        at = result.outcome == FM_COORD_DONE ? result.revision
             : known && result.n             ? result.kv[0].revision
                                             : 0;
        say(result.outcome == FM_COORD_DONE       ? "done"
            : result.outcome == FM_COORD_NOT_DONE ? "not"
                                                  : "unknown",
            n);
        drive_turn_ms(&d, n % 3); /* so that the others have their turn */
    }
    drive_close(&d);
    return 0;
}

static void told(uint64_t revision, const char *how, struct fm_str key)
{
    printf("%s %llu %.*s\n", how, (unsigned long long)revision, FM_STR_ARG(key));
}

static void changed(struct fm_coord_watch *w, const struct fm_coord_event *event, size_t n)
{
    (void)w;
    for (size_t i = 0; i < n; i++)
        told(event[i].kv.revision, event[i].erased ? "erase" : "put", event[i].kv.key);
    fflush(stdout);
}

static void fresh(struct fm_coord_watch *w, const struct fm_coord_kv *kv, size_t n,
                  uint64_t revision)
{
    (void)w;
    printf("fresh %llu %zu\n", (unsigned long long)revision, n);
    for (size_t i = 0; i < n; i++)
        told(kv[i].revision, "has", kv[i].key);
    fflush(stdout);
}

static int watch(const struct drive_target *t, const char *prefix)
{
    struct drive d;
    struct fm_error e;
    struct fm_coord_watch w = {.changed = changed, .fresh = fresh};
    drive_open(&d, t, &(struct fm_coord_config){.silence_ms = 700, .attempt_ms = 700});
    CHECK(!fm_coord_watch_open(d.coord, &w, fm_str_z(prefix), 0, &e));
    while (!asked_to_end)
        fm_loop_turn(&d.loop, 100 * FM_NS_PER_MS);
    drive_close(&d);
    return 0;
}

static int dump(const struct drive_target *t, const char *prefix)
{
    struct drive d;
    drive_open(&d, t, &(struct fm_coord_config){.observe = true});
    /* in parts, so that the longest log fits */
    for (char digit = '0'; digit <= 'z'; digit++) {
        char part[FM_COORD_KEY_MAX];
        snprintf(part, sizeof part, "%s%c", prefix, digit);
        drive_get(&d, part, true, false);
        if (result.outcome != FM_COORD_DONE)
            drive_fail(__FILE__, __LINE__, "%s", result.error);
        for (size_t i = 0; i < result.n; i++)
            printf("%llu %.*s %.*s\n", (unsigned long long)result.kv[i].revision,
                   FM_STR_ARG(result.kv[i].key), FM_STR_ARG(result.kv[i].value));
    }
    drive_close(&d);
    return 0;
}

static int known(const struct drive_target *t)
{
    struct drive d;
    drive_open(&d, t, NULL);
    drive_get(&d, "register", false, false);
    struct fm_coord_known k = fm_coord_known(d.coord);
    printf("%s %llu\n", k.incarnation, (unsigned long long)k.revision);
    drive_close(&d);
    return result.outcome == FM_COORD_DONE ? 0 : 1;
}

static int get(const struct drive_target *t, char **arg)
{
    struct drive d;
    struct fm_coord_config c = {.attempt_ms = 500};
    if (arg[1] && arg[2]) {
        snprintf(c.known.incarnation, sizeof c.known.incarnation, "%s", arg[1]);
        if (!fm_str_u64(fm_str_z(arg[2]), &c.known.revision))
            return 64;
    }
    drive_open(&d, t, &c);
    drive_get(&d, arg[0], false, false);
    if (result.outcome == FM_COORD_DONE)
        printf("done %llu %.*s\n", (unsigned long long)result.revision,
               FM_STR_ARG(result.n ? result.kv[0].value : FM_STR("-")));
    else
        printf("not %s: %s\n", fm_coord_why_text(result.why), result.error);
    drive_close(&d);
    return 0;
}

static void add_endpoint(struct drive_target *t, char *text)
{
    char *colon = strrchr(text, ':');
    uint64_t port = 0;
    struct fm_coord_endpoint *e = &t->endpoint[t->n++];
    static char texts[DRIVE_ENDPOINTS_MAX][128];
    snprintf(texts[t->n - 1], sizeof texts[0], "%s", text);
    e->text = texts[t->n - 1];
    e->host = text;
    if (text[0] != '/' && colon && fm_str_u64(fm_str_z(colon + 1), &port)) {
        *colon = 0;
        e->port = (uint16_t)port;
    }
}

struct call {
    struct drive_target target;
    char **arg;
    int n, code;
};

static void command(void *p)
{
    struct call *x = p;
    const char *what = x->n > 0 ? x->arg[0] : "";
    x->code = 64;
    if (strcmp(what, "run") == 0)
        x->code = run(&x->target, x->arg + 1);
    else if (strcmp(what, "write") == 0 && x->n > 1)
        x->code = write_on(&x->target, x->arg[1], 1500);
    else if (strcmp(what, "watch") == 0 && x->n > 1)
        x->code = watch(&x->target, x->arg[1]);
    else if (strcmp(what, "dump") == 0 && x->n > 1)
        x->code = dump(&x->target, x->arg[1]);
    else if (strcmp(what, "known") == 0)
        x->code = known(&x->target);
    else if (strcmp(what, "get") == 0 && x->n > 1)
        x->code = get(&x->target, x->arg + 1);
    else
        fprintf(stderr, "coord_suite: see tests/coord/main.c\n");
}

int main(int argc, char **argv)
{
    struct call x = {.target.service = "conformance"};
    struct drive_target *t = &x.target;
    int i = 1;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--service") == 0)
            t->service = argv[i + 1];
        else if (strcmp(argv[i], "--login") == 0)
            t->login = argv[i + 1];
        else if (strcmp(argv[i], "--password-file") == 0)
            t->password_file = argv[i + 1];
        else if (strcmp(argv[i], "--ca") == 0)
            t->tls.ca = argv[i + 1];
        else if (strcmp(argv[i], "--cert") == 0)
            t->tls.cert = argv[i + 1];
        else if (strcmp(argv[i], "--key") == 0)
            t->tls.key = argv[i + 1];
        else if (strcmp(argv[i], "--endpoint") == 0 && t->n < DRIVE_ENDPOINTS_MAX)
            add_endpoint(t, argv[i + 1]);
    }
    signal(SIGTERM, end);
    x.arg = argv + i;
    x.n = argc - i;
    if (drive_try(command, &x))
        return x.code;
    fprintf(stderr, "coord_suite: %s\n", drive_why);
    return 1;
}
