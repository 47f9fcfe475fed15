/* fulmar demo. */
#include "demo/demo.h"

#include "base/assert.h"
#include "cli/cli.h"

#include <stdio.h>
#include <unistd.h>

enum { GROUP_RATE = 200 }; /* a debit costs a commit, on all of its nodes */

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

/* What was broken, and when the edge noticed. */
static void print_head(const json_t *o, bool color)
{
    bool pass = json_is_true(json_object_get(o, "pass"));
    const char *good = color ? "\033[32m" : "", *bad = color ? "\033[31m" : "",
               *plain = color ? "\033[0m" : "";
    printf("%s: %s%s%s", json_string_value(json_object_get(o, "name")), pass ? good : bad,
           pass ? "ok" : "MISSED", plain);
    char a[32], b[32];
    if (json_is_number(json_object_get(o, "detect_ms")))
        printf(", detected in %s, last request to %s after %s", ms(o, "detect_ms", a),
               json_string_value(json_object_get(o, "region")), ms(o, "quiet_ms", b));
    putchar('\n');
}

static void print_failures(const json_t *o)
{
    const json_t *last = json_object_get(o, "last_failed_ms");
    printf("  %.0f requests, %.0f failed", number(o, "requests"), number(o, "failed"));
    const char *kind;
    json_t *n;
    json_object_foreach(json_object_get(o, "failed_by_kind"), kind, n)
        printf(", %s %lld", kind, (long long)json_integer_value(n));
    if (json_is_integer(last))
        printf(" (the last one %lld ms after the fault)", (long long)json_integer_value(last));
    putchar('\n');
    if (json_object_get(o, "queries_failed"))
        printf("  %.0f queries failed; %.0f commands were refused with 503 and the message, %.0f "
               "told that their outcome is unknown\n",
               number(o, "queries_failed"), number(o, "commands_refused"),
               number(o, "commands_unknown"));
}

static void print_objective(const json_t *o, const char *key)
{
    const json_t *objective = json_object_get(json_object_get(o, "objectives"), key);
    if (objective)
        printf(" (objective %lld)", (long long)json_integer_value(objective));
}

static void print_times(const json_t *o)
{
    char a[32], b[32];
    printf("  longest gap without an answer %.1f ms", number(o, "longest_gap_ms"));
    print_objective(o, "longest_gap_ms");
    printf(", %.0f of the answers slower than 100 ms (slowest %.1f ms)\n",
           number(o, "slow_over_100ms"), number(o, "slowest_ms"));
    printf("  longest pause of a command that one region may take %.0f ms",
           number(o, "longest_command_pause_ms"));
    print_objective(o, "longest_command_pause_ms");
    printf("\n  %.0f acknowledged writes, %s missing, %s applied twice\n",
           number(o, "acknowledged_writes"), count(o, "acknowledged_writes_missing", a),
           count(o, "writes_applied_twice", b));
}

static void print_late(const json_t *late, const char *key, const char *who)
{
    const json_t *o = json_object_get(late, key);
    printf("  late commands under %s %s: %.0f of %.0f refused (%s), since %s\n",
           json_string_value(json_object_get(late, "authority")), who, number(o, "refused"),
           number(o, "sent"), json_string_value(json_object_get(o, "answer")),
           json_string_value(json_object_get(o, "rule")));
}

/* What only some scenarios look at. */
static void print_more(const json_t *o)
{
    const json_t *only = json_object_get(o, "only_broken_context_moved");
    const json_t *late = json_object_get(o, "late_commands");
    const json_t *taken = json_object_get(o, "taken_over");
    size_t i;
    json_t *m;
    if (only)
        printf("  %s\n", json_is_true(only) ? "only the cards moved to the other region"
                                            : "other contexts moved too, which they should not");
    if (taken)
        printf("  the right to write %s\n",
               json_is_true(taken) ? "was taken over by another region" : "was NOT taken over");
    if (json_is_true(json_object_get(o, "gate_noticed_stall")))
        puts("  its gate closed what had waited while it was frozen, unread");
    if (late) {
        print_late(late, "at_gate", "at its gate");
        print_late(late, "at_application", "at its instances");
    }
    char took[32];
    json_array_foreach(json_object_get(o, "moves"), i, m) printf(
        "  %s to %s: %s, %s for the whole command\n",
        json_string_value(json_object_get(m, "context")),
        json_string_value(json_object_get(m, "to")),
        json_is_true(json_object_get(m, "moved")) ? "moved" : "NOT moved", ms(m, "took_ms", took));
    if (json_is_number(json_object_get(o, "return_ms")))
        printf("  commands were taken again, by themselves, %.0f ms after it was started\n",
               number(o, "return_ms"));
}

/* A standby whose app is stopped: what a person saw, in its order. */
static void print_cold(const json_t *o)
{
    static const struct {
        const char *key, *text;
    } marks[] = {
        {"broken_ms", "replication to the standby was broken on purpose"},
        {"unbounded_ms", "nothing bounded any more what would have been lost"},
        {"asked_ms", "the app of the standby was started and checked, and a person was asked"},
        {"queries_answered_ms", "queries were answered"},
        {"commands_taken_ms", "commands were taken"},
        {"stopped_ms", "the app of the standby was stopped again"},
        {"restored_ms", "replication was restored, and bounded what would be lost as before"},
    };
    for (size_t i = 0; i < FM_COUNT(marks); i++) {
        const json_t *at = json_object_get(o, marks[i].key);
        if (at)
            printf("  %s%s", marks[i].text, json_is_number(at) ? "" : ": NOT SEEN\n");
        if (json_is_number(at))
            printf(" %.1f s after it began\n", json_number_value(at) / 1e3);
    }
    const json_t *lacked = json_object_get(o, "lacked_bytes");
    if (lacked)
        printf("  the standby lacked %lld bytes, and a moment later %lld\n",
               (long long)json_integer_value(json_array_get(lacked, 0)),
               (long long)json_integer_value(json_array_get(lacked, 1)));
    const json_t *as_shown = json_object_get(o, "quoted_as_shown");
    if (as_shown)
        printf("  the quote that was consented to %s what was shown before\n",
               json_is_true(as_shown) ? "said" : "did NOT say");
    if (json_object_get(o, "queries_failed_when_ready"))
        printf("  failed afterwards: %.0f queries since they were answered, %.0f requests since "
               "commands were taken\n",
               number(o, "queries_failed_when_ready"), number(o, "failed_when_taken"));
}

/* The ledger is a PostgreSQL group. */
static void print_group(const json_t *o)
{
    const json_t *ledger = json_object_get(o, "ledger"), *bound = json_object_get(o, "bound");
    char a[32], b[32];
    size_t i;
    json_t *why;
    if (!ledger)
        return;
    if (bound)
        printf("  shown before: it would lose at most %s bytes, %s transactions (%s)\n",
               count(bound, "bytes", a), count(bound, "transactions", b),
               json_string_value(json_object_get(bound, "kind")));
    json_array_foreach(json_object_get(o, "refused"), i, why)
        printf("  %s\n", json_string_value(why));
    if (json_is_number(json_object_get(o, "failback_took_ms")))
        printf("  then it went home, %s for the whole command\n", ms(o, "failback_took_ms", a));
    if (json_is_number(json_object_get(o, "rejoined_ms")))
        printf("  the old primary follows again %.1f s after its start\n",
               number(o, "rejoined_ms") / 1e3);
    printf("  debits: %.0f acknowledged <= %.0f in the database + %s recovered <= %.0f "
           "acknowledged + %.0f unknown%s; %.0f lost\n",
           number(ledger, "acknowledged"), number(ledger, "in_database"),
           count(ledger, "recovered", a), number(ledger, "acknowledged"), number(ledger, "unknown"),
           json_is_true(json_object_get(ledger, "holds")) ? "" : ": WRONG", number(ledger, "lost"));
    if (number(ledger, "recovered") > 0 && !json_is_null(json_object_get(ledger, "rows_agree")))
        printf("  by their keys, in the rows of `fulmar loss show`: %s\n",
               json_is_true(json_object_get(ledger, "rows_agree"))
                   ? "each that was lost was found there, and none that was not"
                   : "WRONG");
}

static void print_report(const json_t *doc, bool color)
{
    size_t i;
    json_t *o;
    bool group = false;
    FM_ASSERT(json_is_array(json_object_get(doc, "scenarios")));
    puts("\nMeasured by the clients, from the times at which each request was due:\n");
    json_array_foreach(json_object_get(doc, "scenarios"), i, o)
    {
        print_head(o, color);
        print_failures(o);
        print_times(o);
        print_more(o);
        print_cold(o);
        print_group(o);
        group |= json_object_get(o, "ledger") != NULL;
        putchar('\n');
    }
    if (group)
        puts("The ledger is a PostgreSQL group: docs/postgresql.md. The other data is one SQLite "
             "store outside of what was broken.");
    else
        puts("The data is one SQLite store outside of what was broken. It stands for a replicated "
             "database;\nwhat you saw is routing, health, retries, and who may write. "
             "PostgreSQL: --scenario switchover, forced, failback; docs/postgresql.md.");
}

/* "kill,move"; 0: there is none of such a name. */
static unsigned those_of(const char *names)
{
    struct fm_str rest = fm_str_z(names);
    unsigned bits = 0;
    do {
        char name[32];
        struct fm_str one = fm_str_cut(rest, ',', &rest);
        snprintf(name, sizeof name, "%.*s", FM_STR_ARG(one));
        unsigned bit = fm_demo_scenario_find(name, FM_DEMO_ALL);
        if (!bit)
            return 0;
        bits |= bit;
    } while (rest.n);
    return bits;
}

/* 0: there is none of this name. */
static unsigned scenarios_of(enum fm_demo_story story, const char *name)
{
    if (story == FM_DEMO_READ_ONLY_SITE)
        return name ? 0 : FM_DEMO_READ_ONLY;
    if (story == FM_DEMO_COLD_STANDBY)
        return name ? 0 : fm_demo_group_missing() ? FM_DEMO_COLD : FM_DEMO_COLD_GROUP;
    if (!name)
        return FM_DEMO_TOUR;
    if (fm_str_eqz(fm_str_z(name), "all"))
        return fm_demo_group_missing() ? FM_DEMO_STORE : FM_DEMO_ALL;
    return those_of(name);
}

int fm_cmd_demo(const struct fm_args *a)
{
    enum fm_demo_story story = FM_DEMO_BANK;
    if (a->nargs && fm_str_eqz(fm_str_z(a->arg[0]), "read-only-site"))
        story = FM_DEMO_READ_ONLY_SITE;
    else if (a->nargs && fm_str_eqz(fm_str_z(a->arg[0]), "cold-standby"))
        story = FM_DEMO_COLD_STANDBY;
    else if (a->nargs && !fm_str_eqz(fm_str_z(a->arg[0]), "bank"))
        return fm_usage("there is no story `%s`; this version has: bank, read-only-site, "
                        "cold-standby",
                        a->arg[0]);
    FM_ASSERT(a->rate > 0 && a->regions >= 2);
    unsigned bits = scenarios_of(story, a->scenario);
    if (!bits && story != FM_DEMO_BANK)
        return fm_usage("the story `%s` has scenarios of its own; leave --scenario out", a->arg[0]);
    if (!bits)
        return fm_usage(
            "--scenario takes kill, freeze, partial, partition, coordination-loss, "
            "split-brain, move, switchover, forced, failback, several with commas, or all, "
            "not `%s`",
            a->scenario);
    if ((bits & FM_DEMO_GROUP) && fm_demo_group_missing())
        return fm_print_error(a, "demo", FM_EXIT_FAILED, fm_demo_group_missing(),
                              "The other scenarios need no PostgreSQL.");
    bool table = a->output == FM_OUTPUT_TABLE;
    struct fm_demo_options o = {.story = story,
                                .scenarios = bits,
                                .rate = a->rate,
                                .group_rate = a->rate_text ? a->rate : GROUP_RATE,
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
