/* fulmar demo. */
#include "demo/demo.h"

#include "base/assert.h"
#include "cli/cli.h"

#include <stdio.h>
#include <unistd.h>

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

/* "3.8 ms", or what is said where it is not known. */
static const char *ms(const json_t *o, const char *key, char out[32])
{
    const json_t *v = json_object_get(o, key);
    if (json_is_number(v))
        snprintf(out, 32, "%.1f ms", json_number_value(v));
    else
        snprintf(out, 32, "unknown");
    return out;
}

static const char *count(const json_t *o, const char *key, char out[32])
{
    const json_t *v = json_object_get(o, key);
    if (json_is_number(v))
        snprintf(out, 32, "%.0f", json_number_value(v));
    else
        snprintf(out, 32, "an unknown number");
    return out;
}

static void print_scenario(const json_t *o, bool color)
{
    FM_ASSERT(json_is_object(o) && json_is_string(json_object_get(o, "name")));
    bool pass = json_is_true(json_object_get(o, "pass"));
    const json_t *last = json_object_get(o, "last_failed_ms");
    const char *good = color ? "\033[32m" : "", *bad = color ? "\033[31m" : "",
               *plain = color ? "\033[0m" : "";
    printf("%-8s %s%-6s%s", json_string_value(json_object_get(o, "name")), pass ? good : bad,
           pass ? "ok" : "MISSED", plain);
    char a[32], b[32];
    if (json_is_number(json_object_get(o, "detect_ms")))
        printf("  detected in %s", ms(o, "detect_ms", a));
    else
        printf("  not detected");
    printf(", last request to %s after %s\n", json_string_value(json_object_get(o, "region")),
           ms(o, "quiet_ms", b));
    printf("                 %.0f requests, %.0f failed", number(o, "requests"),
           number(o, "failed"));
    const char *kind;
    json_t *n;
    json_object_foreach(json_object_get(o, "failed_by_kind"), kind, n)
        printf(", %s %lld", kind, (long long)json_integer_value(n));
    if (json_is_integer(last))
        printf(" (the last one %lld ms after the fault)", (long long)json_integer_value(last));
    printf("\n                 longest gap without an answer %.1f ms", number(o, "longest_gap_ms"));
    const json_t *objective = json_object_get(json_object_get(o, "objectives"), "longest_gap_ms");
    if (objective)
        printf(" (objective %lld)", (long long)json_integer_value(objective));
    printf(", %.0f slower than 100 ms (slowest %.1f ms)\n", number(o, "slow_over_100ms"),
           number(o, "slowest_ms"));
    printf("                 %.0f acknowledged writes, %s missing, %s applied twice\n",
           number(o, "acknowledged_writes"), count(o, "acknowledged_writes_missing", a),
           count(o, "writes_applied_twice", b));
    const json_t *only = json_object_get(o, "only_broken_context_moved");
    if (only)
        printf("                 %s\n", json_is_true(only)
                                            ? "only the cards moved to the other region"
                                            : "other contexts moved too, which they should not");
}

static void print_report(const json_t *doc, bool color)
{
    size_t i;
    json_t *o;
    FM_ASSERT(json_is_array(json_object_get(doc, "scenarios")));
    puts("\nMeasured by the clients, from the times at which each request was due:\n");
    json_array_foreach(json_object_get(doc, "scenarios"), i, o) print_scenario(o, color);
    puts("\nThe bank's data is one SQLite store outside of what was killed. It stands for a "
         "replicated\n"
         "database until Fulmar moves a real one; what you saw is routing, health and retries.");
}

int fm_cmd_demo(const struct fm_args *a)
{
    static const struct {
        const char *name;
        unsigned bits;
    } names[] = {{"kill", FM_DEMO_KILL},
                 {"freeze", FM_DEMO_FREEZE},
                 {"partial", FM_DEMO_PARTIAL},
                 {"all", FM_DEMO_KILL | FM_DEMO_FREEZE | FM_DEMO_PARTIAL}};
    if (a->nargs && !fm_str_eqz(fm_str_z(a->arg[0]), "bank"))
        return fm_usage("there is no story `%s`; this version has: bank", a->arg[0]);
    FM_ASSERT(a->rate > 0 && a->regions >= 2);
    unsigned bits = 0;
    const char *asked = a->scenario ? a->scenario : "all";
    for (size_t i = 0; i < FM_COUNT(names); i++)
        if (fm_str_eqz(fm_str_z(asked), names[i].name))
            bits = names[i].bits;
    if (!bits)
        return fm_usage("--scenario takes kill, freeze, partial or all, not `%s`", asked);
    bool table = a->output == FM_OUTPUT_TABLE;
    struct fm_demo_options o = {.scenarios = bits,
                                .rate = a->rate,
                                .regions = a->regions,
                                .keep = a->keep,
                                .live = table && isatty(STDOUT_FILENO),
                                .color = a->color,
                                .quiet = !table};
    json_t *doc;
    int code = fm_demo_main(&o, &doc);
    FM_ASSERT((doc != NULL) == (code == FM_EXIT_OK || code == FM_EXIT_DIFFERS));
    if (doc && table)
        print_report(doc, a->color);
    else if (doc)
        fm_print_document(doc, a->output);
    json_decref(doc);
    return code;
}
