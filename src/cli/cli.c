/* Reading the command line: see the header. Everything that is wrong is said with what was expected
 * and, where a hand may have slipped, what was probably meant. */
#include "cli/cli.h"

#include "base/assert.h"
#include "base/buf.h"
#include "cli/hint.h"
#include "io/process.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct option_row {
    const char *name;
    char letter;
    const char *arg;
    size_t at; /* of a const char * where there is an argument, else of a bool */
    const char *help;
};

static const struct option_row options[FM_OPT_COUNT] = {
#define X(id, name, letter, arg, field, help)                                                      \
    [FM_OPT_##id] = {name, letter, arg, offsetof(struct fm_args, field), help},
    FM_OPTIONS(X)
#undef X
};

_Static_assert(FM_OPT_COUNT <= 64, "an option is a bit of fm_command.options");

int fm_usage(const char *fmt, ...)
{
    char text[FM_HINT_ROOM], more[FM_HINT_ROOM];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fprintf(stderr, "fulmar: %s\n", fm_hint(text, more));
    return FM_EXIT_USAGE;
}

/* -------- help -------- */

static void print_overview(FILE *to)
{
    fputs("Fulmar " FM_VERSION
          ": keeps a service answering, correctly, when a whole region dies.\n\n"
          "Usage: fulmar COMMAND [OPTION...]\n\n",
          to);
    for (const struct fm_command *c = fm_commands; c->name; c++)
        fprintf(to, "  %-20s %s\n  %-20s   $ %s\n", c->name, c->summary, "", c->example);
    fputs("\nfulmar help COMMAND explains one. The first thing to try: fulmar demo\n", to);
}

static void print_help(const struct fm_command *c)
{
    FM_ASSERT(c->summary[0] >= 'a' && c->summary[0] <= 'z' && c->example);
    printf("Usage: fulmar %s%s%s%s\n\n%c%s.\n", c->name, c->args[0] ? " " : "", c->args,
           c->options ? " [OPTION...]" : "", c->summary[0] - 'a' + 'A', c->summary + 1);
    if (c->details)
        printf("\n%s\n", c->details);
    printf("\nExample:\n  $ %s\n", c->example);
    if (c->options)
        puts("\nOptions:");
    for (unsigned i = 0; i < FM_OPT_COUNT; i++) {
        if (!(c->options & UINT64_C(1) << i))
            continue;
        char left[64];
        char letter[8] = "    ";
        if (options[i].letter)
            snprintf(letter, sizeof letter, "-%c, ", options[i].letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, options[i].name,
                 options[i].arg ? " " : "", options[i].arg ? options[i].arg : "");
        printf("  %-26s %s\n", left, options[i].help);
    }
}

/* -------- finding what was meant -------- */

static const struct fm_command *find_command(int argc, char **argv, int *used)
{
    FM_ASSERT(argc > 0 && argv[0]);
    for (const struct fm_command *c = fm_commands; c->name; c++) {
        const char *space = strchr(c->name, ' ');
        size_t first = space ? (size_t)(space - c->name) : strlen(c->name);
        if (strlen(argv[0]) != first || strncmp(argv[0], c->name, first) != 0)
            continue;
        if (!space) {
            *used = 1;
            return c;
        }
        if (argc > 1 && strcmp(argv[1], space + 1) == 0) {
            *used = 2;
            return c;
        }
    }
    return NULL;
}

static struct fm_str rest_of_group(const struct fm_command *c, const char *first)
{
    struct fm_str rest, word = fm_str_cut(fm_str_z(c->name), ' ', &rest);
    return fm_str_eqz(word, first) ? rest : fm_str(NULL, 0);
}

/* Commands whose first word is this one; false where there is none. */
static bool list_group(const char *first, FILE *to)
{
    bool any = false;
    for (const struct fm_command *c = fm_commands; c->name; c++) {
        if (!rest_of_group(c, first).p)
            continue;
        if (!any)
            fprintf(to, "Usage: fulmar %s COMMAND [OPTION...]\n\n", first);
        fprintf(to, "  %-20s %s\n  %-20s   $ %s\n", c->name, c->summary, "", c->example);
        any = true;
    }
    if (any)
        fprintf(to, "\nfulmar help %s COMMAND explains one.\n", first);
    return any;
}

static int unknown_command(int argc, char **argv)
{
    bool asks = argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    if (asks && list_group(argv[0], stdout))
        return FM_EXIT_OK;
    if (argc == 1 && list_group(argv[0], stderr))
        return fm_usage("`%s` is the first word of several commands: say which", argv[0]);
    char asked[128], two[128];
    snprintf(asked, sizeof asked, "%s", argv[0]);
    const struct fm_command *best = NULL;
    unsigned best_d = 4;
    bool is_group = false;
    for (const struct fm_command *c = fm_commands; c->name; c++) {
        struct fm_str rest, first = fm_str_cut(fm_str_z(c->name), ' ', &rest);
        if (rest.p && fm_str_eqz(first, argv[0])) {
            is_group = true;
            if (argc > 1)
                snprintf(asked, sizeof asked, "%s %s", argv[0], argv[1]);
        }
        /* of a group both words count, if both were said */
        bool both = rest.p && argc > 1;
        snprintf(two, sizeof two, "%s %s", argv[0], argc > 1 ? argv[1] : "");
        unsigned d = both ? fm_str_distance(fm_str_z(two), fm_str_z(c->name))
                          : fm_str_distance(fm_str_z(argv[0]), first);
        if (d < best_d || (is_group && !best)) {
            best = c;
            best_d = d < best_d ? d : best_d;
        }
    }
    if (best)
        return fm_usage("there is no command `%s`; did you mean `fulmar %s`?", asked, best->name);
    return fm_usage("there is no command `%s`; `fulmar help` lists them", asked);
}

static int unknown_option(const struct fm_command *c, struct fm_str name)
{
    const char *best = NULL;
    unsigned best_d = 3;
    for (unsigned i = 0; i < FM_OPT_COUNT; i++) {
        unsigned d = fm_str_distance(name, fm_str_z(options[i].name));
        if ((c->options & UINT64_C(1) << i) && d < best_d) {
            best = options[i].name;
            best_d = d;
        }
    }
    if (best)
        return fm_usage("`fulmar %s` has no option --%.*s; did you mean --%s?", c->name,
                        FM_STR_ARG(name), best);
    return fm_usage("`fulmar %s` has no option --%.*s; see `fulmar help %s`", c->name,
                    FM_STR_ARG(name), c->name);
}

/* -------- options -------- */

static int take_option(const struct fm_command *c, struct fm_args *a, unsigned id,
                       const char *value)
{
    FM_ASSERT(id < FM_OPT_COUNT);
    const struct option_row *o = &options[id];
    FM_ASSERT((value != NULL) == (o->arg != NULL) && o->at < sizeof *a);
    uint64_t allowed = c->options | FM_OPT_BIT(HELP) | FM_OPT_BIT(VERSION);
    if (!(allowed & UINT64_C(1) << id))
        return unknown_option(c, fm_str_z(o->name));
    void *at = (char *)a + o->at;
    const char *before = NULL;
    if (o->arg) {
        memcpy(&before, at, sizeof before);
        if (before && strcmp(before, value) != 0)
            return fm_usage("--%s is said twice, as `%s` and as `%s`", o->name, before, value);
        memcpy(at, &value, sizeof value);
    } else {
        *(bool *)at = true;
    }
    return FM_EXIT_OK;
}

static int parse_long(const struct fm_command *c, struct fm_args *a, char **argv, int argc, int *i)
{
    FM_ASSERT(*i < argc && argv[*i][0] == '-' && argv[*i][1] == '-');
    struct fm_str value, name = fm_str_cut(fm_str_z(argv[*i] + 2), '=', &value);
    for (unsigned id = 0; id < FM_OPT_COUNT; id++) {
        if (!fm_str_eqz(name, options[id].name))
            continue;
        if (!options[id].arg && value.p)
            return fm_usage("--%s takes no value", options[id].name);
        const char *v = value.p;
        if (options[id].arg && !v) {
            if (++*i >= argc)
                return fm_usage("--%s needs a value: --%s %s", options[id].name, options[id].name,
                                options[id].arg);
            v = argv[*i];
        }
        return take_option(c, a, id, v);
    }
    return unknown_option(c, name);
}

static int parse_short(const struct fm_command *c, struct fm_args *a, char **argv, int argc, int *i)
{
    FM_ASSERT(*i < argc && argv[*i][0] == '-' && argv[*i][1]);
    char letter = argv[*i][1];
    for (unsigned id = 0; id < FM_OPT_COUNT; id++) {
        if (options[id].letter != letter)
            continue;
        const char *v = argv[*i][2] ? argv[*i] + 2 : NULL;
        if (options[id].arg && !v) {
            if (++*i >= argc)
                return fm_usage("-%c needs a value: -%c %s", letter, letter, options[id].arg);
            v = argv[*i];
        }
        return take_option(c, a, id, v);
    }
    return fm_usage("`fulmar %s` has no option -%c; see `fulmar help %s`", c->name, letter,
                    c->name);
}

static int parse_all(const struct fm_command *c, struct fm_args *a, int argc, char **argv)
{
    bool only_args = false;
    FM_ASSERT(c->args_max >= 0 && c->args_max <= FM_ARGS_MAX);
    for (int i = 0; i < argc; i++) {
        int code = FM_EXIT_OK;
        if (!only_args && strcmp(argv[i], "--") == 0)
            only_args = true;
        else if (!only_args && strncmp(argv[i], "--", 2) == 0)
            code = parse_long(c, a, argv, argc, &i);
        else if (!only_args && argv[i][0] == '-' && argv[i][1])
            code = parse_short(c, a, argv, argc, &i);
        else if (a->nargs == c->args_max)
            code = fm_usage("`fulmar %s` does not take `%s`; usage: fulmar %s%s%s", c->name,
                            argv[i], c->name, c->args[0] ? " " : "", c->args);
        else
            a->arg[a->nargs++] = argv[i];
        if (code)
            return code;
        FM_ASSERT(a->nargs <= c->args_max);
    }
    return FM_EXIT_OK;
}

static int number(const char *name, const char *text, unsigned least, unsigned most, unsigned *out)
{
    uint64_t v;
    FM_ASSERT(least <= *out && *out <= most); /* the default is one of them */
    if (!text)
        return FM_EXIT_OK;
    if (!fm_str_u64(fm_str_z(text), &v) || v < least || v > most)
        return fm_usage("--%s takes a whole number from %u to %u, not `%s`", name, least, most,
                        text);
    *out = (unsigned)v;
    return FM_EXIT_OK;
}

static int duration(const char *name, const char *text, int64_t *out)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    struct fm_str s = fm_str_z(text);
    if (!text)
        return FM_EXIT_OK;
    for (size_t i = 0; i < FM_COUNT(units); i++) {
        uint64_t v;
        struct fm_str unit = fm_str_z(units[i].unit);
        if (fm_str_ends(s, unit) && fm_str_u64(fm_str(s.p, s.n - unit.n), &v) && v < 1000000) {
            *out = (int64_t)v * units[i].ms;
            return FM_EXIT_OK;
        }
    }
    return fm_usage("--%s takes a time with its unit, such as 500ms or 5s, not `%s`", name, text);
}

static int generation(const char *text, uint64_t *out)
{
    if (!text || fm_str_u64(fm_str_z(text), out))
        return FM_EXIT_OK;
    return fm_usage("--expect-generation takes a whole number, not `%s`", text);
}

static int finish_args(struct fm_args *a)
{
    int code = number("rate", a->rate_text, 1, 1000000, &a->rate);
    if (!code)
        code = number("regions", a->regions_text, 2, 8, &a->regions);
    if (!code)
        code = number("limit", a->limit_text, 1, 1000000, &a->limit);
    if (!code)
        code = number("percent", a->percent_text, 1, 100, &a->percent);
    if (!code)
        code = generation(a->expect_text, &a->expect);
    if (!code)
        code = duration("timeout", a->timeout_text, &a->timeout_ms);
    if (!code)
        code = duration("for", a->for_text, &a->for_ms);
    if (!code)
        code = duration("since", a->since_text, &a->since_ms);
    if (code)
        return code;
    const char *o = a->output_text ? a->output_text : "table";
    if (strcmp(o, "json") == 0)
        a->output = a->watch || a->follow ? FM_OUTPUT_JSON_LINES : FM_OUTPUT_JSON;
    else if (strcmp(o, "yaml") == 0)
        a->output = FM_OUTPUT_YAML;
    else if (strcmp(o, "table") != 0)
        return fm_usage("-o takes table, json or yaml, not `%s`", o);
    const char *when = a->color_text ? a->color_text : "auto";
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    if (strcmp(when, "always") == 0)
        a->color = true;
    else if (strcmp(when, "auto") == 0)
        a->color = isatty(STDOUT_FILENO) && !(no_color && no_color[0]) &&
                   !(term && strcmp(term, "dumb") == 0);
    else if (strcmp(when, "never") != 0)
        return fm_usage("--color takes auto, always or never, not `%s`", when);
    a->config_said = a->config;
    if (!a->config)
        a->config = getenv("FULMAR_CONFIG");
    if (!a->config || !a->config[0])
        a->config = "/etc/fulmar/fulmar.yaml";
    return FM_EXIT_OK;
}

/* -------- entrance -------- */

int fm_cmd_help(const struct fm_args *a)
{
    if (a->nargs == 0) {
        print_overview(stdout);
        return FM_EXIT_OK;
    }
    FM_ASSERT(a->nargs <= 2);
    char *argv[2] = {(char *)(uintptr_t)a->arg[0], (char *)(uintptr_t)a->arg[1]};
    int used;
    const struct fm_command *c = find_command(a->nargs, argv, &used);
    if (!c && a->nargs == 1 && list_group(argv[0], stdout))
        return FM_EXIT_OK;
    if (!c)
        return unknown_command(a->nargs, argv);
    print_help(c);
    return FM_EXIT_OK;
}

static int print_version(void)
{
    puts("fulmar " FM_VERSION);
    return FM_EXIT_OK;
}

int fm_cmd_version(const struct fm_args *a)
{
    FM_ASSERT(a->nargs == 0);
    return print_version();
}

static int dispatch(int argc, char **argv)
{
    if (!fm_std_descriptors())
        return FM_EXIT_FAILED;
    if (argc < 2) {
        print_overview(stdout);
        return FM_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0)
        return print_version();
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_overview(stdout);
        return FM_EXIT_OK;
    }
    if (argv[1][0] == '-')
        return fm_usage("options come behind the command: fulmar COMMAND %s", argv[1]);
    int used;
    const struct fm_command *c = find_command(argc - 1, argv + 1, &used);
    if (!c)
        return unknown_command(argc - 1, argv + 1);
    FM_ASSERT(used >= 1 && used <= argc - 1);
    struct fm_args a = {
        .timeout_ms = 5000, .rate = 2000, .regions = 2, .limit = 50, .percent = 100};
    int code = parse_all(c, &a, argc - 1 - used, argv + 1 + used);
    if (!code && a.help) {
        print_help(c);
        return FM_EXIT_OK;
    }
    if (!code && a.version)
        return print_version();
    if (!code)
        code = finish_args(&a);
    if (code)
        return code;
    fm_hint_begin(&a);
    code = c->run(&a);
    fm_hint_begin(NULL); /* they do not outlive it */
    return code;
}

/* A result that could not be written is no result. */
int fm_cli_main(int argc, char **argv)
{
    int code = dispatch(argc, argv);
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fprintf(stderr, "fulmar: cannot write the result%s%s\n", errno ? ": " : "",
            errno ? strerror(errno) : "");
    return code ? code : FM_EXIT_FAILED;
}
