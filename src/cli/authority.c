/* Who holds what, from an agent's status: see the header. */
#include "cli/authority.h"

#include "base/assert.h"
#include "base/buf.h"
#include "cli/hint.h"
#include "cli/show.h"
#include "conf/conf.h"

#include <stdio.h>

enum { CELLS_TEXT = 256, HOLDER_TEXT = 160 };

static const json_t *contexts_of(const json_t *status)
{
    return json_object_get(json_object_get(status, "authority"), "contexts");
}

static bool is_true(const json_t *o, const char *key)
{
    return json_is_true(json_object_get(o, key));
}

static json_t *walk(const json_t *o)
{
    return (json_t *)(uintptr_t)o; /* the macros of jansson take no const */
}

/* -------- coordination -------- */

enum { BLINK_MS = 1000 }; /* from one endpoint to the next one */

static const json_t *coordination_of(const json_t *status)
{
    return json_object_get(json_object_get(status, "authority"), "coordination");
}

/* Has it been read at all since that agent began? Older ones do not say. */
static bool is_known(const json_t *status)
{
    return !json_is_false(json_object_get(coordination_of(status), "read"));
}

static bool is_unreached(const json_t *status)
{
    const json_t *c = coordination_of(status), *ms = json_object_get(c, "unreached_ms");
    return json_is_false(json_object_get(c, "reached")) &&
           (!json_is_integer(ms) || json_integer_value(ms) >= BLINK_MS);
}

/* That it cannot be asked, and what that means for what is held, moved and ordered. */
static void print_unreached(const json_t *status, const char *red, const char *plain)
{
    char ms[FM_SHOW_NUMBER];
    const json_t *c = coordination_of(status);
    const char *why = fm_show_text(c, "why");
    if (!is_unreached(status) ||
        fm_show_text(json_object_get(status, "authority"), "trouble")[0]) /* which says more */
        return;
    printf("\n%scoordination:%s not reachable", red, plain);
    if (json_is_integer(json_object_get(c, "unreached_ms")))
        printf(" for %s", fm_show_ms(fm_show_number(c, "unreached_ms"), ms));
    printf("%s%s\n", why[0] ? ": " : "", why);
    puts(
        is_known(status)
            ? "  What stands here is what was read last. A region that holds something goes on "
              "while "
              "all others promise\n"
              "  not to take it, else until its lease is over. Nothing moves or fails over, and "
              "orders are refused."
            : "  Nothing has been read since this agent began: it holds nothing and takes nothing, "
              "and refuses orders.");
}

/* -------- rows: cells of the same holder -------- */

struct row {
    json_t *cells; /* their numbers */
    char holder[HOLDER_TEXT];
    long long first_epoch, last_epoch;
};

static void holder_of(const json_t *cell, char out[HOLDER_TEXT])
{
    const char *region = fm_show_or_dash(fm_show_text(cell, "region"));
    if (strcmp(fm_show_text(cell, "state"), "released") == 0)
        snprintf(out, HOLDER_TEXT, "(%s, for %s)", region,
                 fm_show_or_dash(fm_show_text(cell, "to")));
    else if (strcmp(fm_show_text(cell, "state"), "yielded") == 0)
        snprintf(out, HOLDER_TEXT, "(given up by %s)", region);
    else
        snprintf(out, HOLDER_TEXT, "%s%s", region, is_true(cell, "lapsed") ? " (lapsed)" : "");
}

/* Takes the cells of the first holder out of `left`. */
static void next_row(json_t *left, struct row *row)
{
    char holder[HOLDER_TEXT];
    FM_ASSERT(json_array_size(left) > 0);
    row->cells = json_array();
    holder_of(json_array_get(left, 0), row->holder);
    for (size_t i = 0; i < json_array_size(left);) {
        const json_t *cell = json_array_get(left, i);
        holder_of(cell, holder);
        if (strcmp(holder, row->holder) != 0) {
            i++;
            continue;
        }
        long long epoch = fm_show_number(cell, "epoch");
        bool first = json_array_size(row->cells) == 0;
        row->first_epoch = first || epoch < row->first_epoch ? epoch : row->first_epoch;
        row->last_epoch = first || epoch > row->last_epoch ? epoch : row->last_epoch;
        json_array_append_new(row->cells, json_integer(fm_show_number(cell, "cell")));
        json_array_remove(left, i);
    }
}

static const char *mode_of(const struct fm_conf *conf, const char *context)
{
    static const char *const names[] = {[FM_CONF_MANUAL] = "manual",
                                        [FM_CONF_ASSISTED] = "assisted",
                                        [FM_CONF_AUTOMATIC] = "automatic"};
    int i = conf ? fm_conf_find_context(conf, fm_str_z(context)) : -1;
    FM_ASSERT(i < 0 || conf->contexts[i].failover.mode < FM_COUNT(names));
    return i < 0 ? "-" : names[conf->contexts[i].failover.mode];
}

/* The first that is not steady, or "steady". */
static const char *failover_of(const json_t *context)
{
    void *first = json_object_iter(json_object_get(context, "failover"));
    return first ? fm_show_or_dash(fm_show_text(json_object_iter_value(first), "state")) : "steady";
}

static void print_row(const json_t *status, const struct fm_conf *conf, const char *name,
                      const json_t *context, const struct row *row)
{
    FM_ASSERT(json_array_size(row->cells) > 0 && row->first_epoch <= row->last_epoch);
    char cells[CELLS_TEXT], epochs[2 * FM_SHOW_NUMBER], lease[FM_SHOW_NUMBER], n[FM_SHOW_NUMBER];
    const json_t *left = json_object_get(json_object_get(context, "own"), "acts_left_ms");
    bool mine = strcmp(row->holder, fm_show_text(status, "region")) == 0;
    fm_show_cells(row->cells, cells, sizeof cells);
    if (row->first_epoch == row->last_epoch)
        snprintf(epochs, sizeof epochs, "%lld", row->first_epoch);
    else
        snprintf(epochs, sizeof epochs, "%lld-%lld", row->first_epoch, row->last_epoch);
    printf("%-14s %-10s %-20s %-9s %-8s %-10s %-13s %s%s\n", name, cells, row->holder, epochs,
           mine && json_is_integer(left) ? fm_show_ms(json_integer_value(left), lease) : "-",
           mode_of(conf, name), failover_of(context),
           fm_show_number_or_dash(context, "generation", n),
           is_true(context, "read_only") ? "  read-only" : "");
}

static bool concerns(const json_t *context, const char *name, const char *only)
{
    size_t i;
    const json_t *cell;
    if (!only || strcmp(only, name) == 0)
        return true;
    json_array_foreach(json_object_get(context, "cells"), i, cell)
    {
        if (strcmp(only, fm_show_text(cell, "region")) == 0 ||
            strcmp(only, fm_show_text(cell, "to")) == 0)
            return true;
    }
    return json_object_get(json_object_get(context, "failover"), only) != NULL;
}

static void print_rows(const json_t *status, const struct fm_conf *conf, const char *only)
{
    const char *name;
    json_t *context;
    printf("\n%-14s %-10s %-20s %-9s %-8s %-10s %-13s %s\n", "CONTEXT", "CELLS", "HOLDER", "EPOCH",
           "LEASE", "MODE", "FAILOVER", "GENERATION");
    json_object_foreach(walk(contexts_of(status)), name, context)
    {
        json_t *left = json_copy(json_object_get(context, "cells"));
        if (concerns(context, name, only) && json_array_size(left) == 0)
            printf("%-14s %s\n", name,
                   is_known(status) ? "nobody has ever held it"
                                    : "not known: coordination has not been read");
        while (concerns(context, name, only) && json_array_size(left) > 0) {
            struct row row;
            next_row(left, &row);
            print_row(status, conf, name, context, &row);
            json_decref(row.cells);
        }
        json_decref(left);
    }
}

/* -------- what is under way, and what is wrong -------- */

/* Not worth a word where it is stopped, and has not failed. */
static bool is_standing_by(const json_t *context)
{
    const char *state = fm_show_text(json_object_get(context, "standby"), "state");
    return state[0] && strcmp(state, "stopped") != 0;
}

static bool is_apart(const json_t *context)
{
    const char *is = fm_show_text(json_object_get(context, "standby"), "replication");
    return is[0] && strcmp(is, "follows") != 0;
}

/* The app of the region that was asked, where it is stopped until it is needed. */
static void print_standby(const char *name, const json_t *context)
{
    char ms[FM_SHOW_NUMBER];
    const json_t *x = json_object_get(context, "standby"), *last = json_object_get(x, "last");
    const char *runs = fm_show_text(x, "runs");
    if (!is_standing_by(context))
        return;
    printf("  %s: standby app of this region: %s for %s", name, fm_show_text(x, "state"),
           fm_show_ms(fm_show_number(x, "for_ms"), ms));
    if (runs[0])
        printf("; `%s` runs", runs);
    else if (json_is_object(last) && !is_true(last, "ok"))
        printf("; `%s`: %s", fm_show_text(last, "command"), fm_show_text(last, "why"));
    putchar('\n');
}

/* Replication to the region that was asked: broken on purpose, or on its way back. */
static void print_replication(const char *name, const json_t *context)
{
    if (is_apart(context))
        printf("  %s: replication to this region: %s\n", name,
               fm_show_text(json_object_get(context, "standby"), "replication"));
}

static void print_under_way(const char *name, const json_t *context)
{
    char ms[FM_SHOW_NUMBER], n[FM_SHOW_NUMBER];
    const char *region;
    json_t *f;
    json_object_foreach(walk(json_object_get(context, "failover")), region, f)
    {
        printf("  %s: failover from %s is %s for %s: %s%s\n", name, region,
               fm_show_text(f, "state"), fm_show_ms(fm_show_number(f, "for_ms"), ms),
               fm_show_text(f, "why_text"), is_true(f, "automatic") ? " (automatic)" : "");
        if (strcmp(fm_show_text(f, "state"), "asking") == 0)
            fm_hint_print(stdout,
                          "    `fulmar quote %s --to REGION` says what it would cost, and how to "
                          "order it\n",
                          name);
    }
    const json_t *move = json_object_get(context, "move");
    if (json_is_object(move))
        printf("  %s/%s: moves to %s, %s for %s\n", name, fm_show_number_or_dash(move, "cell", n),
               fm_show_text(move, "to"), fm_show_text(move, "state"),
               fm_show_ms(fm_show_number(move, "for_ms"), ms));
    const json_t *waits = json_object_get(context, "waits_for");
    if (json_is_object(waits))
        fm_hint_print(stdout, "  %s: commands wait for %s: %s\n", name,
                      fm_show_ms(fm_show_number(waits, "for_ms"), ms), fm_show_text(waits, "text"));
    print_standby(name, context);
    print_replication(name, context);
}

/* Of contexts whose data a PostgreSQL group keeps. */
static void print_losses(const json_t *status, const char *only)
{
    char loss[FM_SHOW_LOSS];
    const char *name;
    json_t *context;
    bool any = false;
    json_object_foreach(walk(contexts_of(status)), name, context)
    {
        if (!concerns(context, name, only) ||
            !fm_show_loss(json_object_get(context, "loss_if_now"), loss)[0])
            continue;
        if (!any)
            puts("\nLoss if now:");
        any = true;
        printf("  %s: %s\n", name, loss);
    }
}

static const char *wrong_with(const json_t *context)
{
    const char *unreadable = fm_show_text(context, "unreadable");
    if (is_true(context, "frozen"))
        return "coordination shows less than it had shown; nothing is acquired until it is seeded "
               "anew";
    return unreadable[0] ? unreadable : NULL;
}

static bool is_under_way(const json_t *context)
{
    return json_object_size(json_object_get(context, "failover")) ||
           json_is_object(json_object_get(context, "move")) ||
           json_is_object(json_object_get(context, "waits_for")) || is_standing_by(context) ||
           is_apart(context);
}

/* What operators asked of regions. */
static void print_intents(const json_t *intents, const char *only)
{
    size_t i;
    const json_t *x;
    bool any = false;
    json_array_foreach(intents, i, x)
    {
        const char *region = fm_show_text(x, "region"), *context = fm_show_text(x, "context"),
                   *until = fm_show_text(x, "until");
        char ms[FM_SHOW_NUMBER];
        if (only && strcmp(only, region) != 0 && context[0] && strcmp(only, context) != 0)
            continue;
        if (!any)
            printf("\n%-12s %-14s %-7s %6s  %-20s %s\n", "REGION", "CONTEXT", "INTENT", "SERVES",
                   "BY", "REASON");
        any = true;
        printf("%-12s %-14s %-7s %5.1f%%  %-20s %s", region, context[0] ? context : "all of them",
               fm_show_text(x, "intent"), (double)fm_show_number(x, "serve_permille") / 10.0,
               fm_show_text(x, "by"), fm_show_text(x, "reason"));
        if (until[0])
            printf(" (until %s, %s left)", until, fm_show_ms(fm_show_number(x, "left_ms"), ms));
        puts("");
    }
}

/* ... and of hosts and instances. */
static void print_drained(const json_t *drained, const char *only)
{
    size_t i;
    const json_t *x;
    bool any = false;
    json_array_foreach(drained, i, x)
    {
        const char *object = fm_show_text(x, "object"), *until = fm_show_text(x, "until");
        char ms[FM_SHOW_NUMBER];
        if (only && strcmp(only, object) != 0 && strcmp(only, fm_show_text(x, "region")) != 0)
            continue;
        if (!any)
            printf("\n%-34s %-9s %-7s %-20s %s\n", "DRAINED", "KIND", "INTENT", "BY", "REASON");
        any = true;
        printf("%-34s %-9s %-7s %-20s %s", object, fm_show_text(x, "kind"),
               fm_show_text(x, "intent"), fm_show_text(x, "by"), fm_show_text(x, "reason"));
        if (!json_is_true(json_object_get(x, "configured")))
            fputs(" (the configuration of this host does not name it)", stdout);
        if (until[0])
            printf(" (until %s, %s left)", until, fm_show_ms(fm_show_number(x, "left_ms"), ms));
        puts("");
    }
}

void fm_cli_authority_print(const struct fm_args *a, const json_t *status,
                            const struct fm_conf *conf, const char *only)
{
    const json_t *authority = json_object_get(status, "authority");
    const char *red = a->color ? "\033[31m" : "", *plain = a->color ? "\033[0m" : "", *name;
    const char *trouble = fm_show_text(authority, "trouble");
    json_t *context;
    bool any = false;
    FM_ASSERT(a->output == FM_OUTPUT_TABLE && (!only || only[0]));
    if (!json_is_object(authority))
        return;
    print_rows(status, conf, only);
    print_losses(status, only);
    json_object_foreach(walk(contexts_of(status)), name, context)
    {
        if (!concerns(context, name, only) || !is_under_way(context))
            continue;
        if (!any)
            puts("\nUnder way:");
        any = true;
        print_under_way(name, context);
    }
    print_intents(json_object_get(authority, "intents"), only);
    print_drained(json_object_get(authority, "drained"), only);
    print_unreached(status, red, plain);
    if (trouble[0])
        fm_hint_print(stdout, "\n%scoordination:%s %s\n", red, plain, trouble);
    json_object_foreach(walk(contexts_of(status)), name, context)
    {
        if (concerns(context, name, only) && wrong_with(context))
            printf("\n%s%s:%s %s\n", red, name, plain, wrong_with(context));
    }
}

/* -------- questions -------- */

json_t *fm_cli_authority_contexts(const json_t *status, const char *only)
{
    const char *name;
    json_t *context, *out = json_object();
    json_object_foreach(walk(contexts_of(status)), name, context)
    {
        if (concerns(context, name, only))
            json_object_set(out, name, context);
    }
    return out;
}

long long fm_cli_authority_generation(const json_t *status)
{
    const char *name;
    json_t *context;
    const json_t *whole = json_object_get(json_object_get(status, "authority"), "generation");
    long long newest = json_is_integer(whole) ? json_integer_value(whole) : -1;
    json_object_foreach(walk(contexts_of(status)), name, context)
    {
        long long one = fm_show_number(context, "generation");
        newest = one > newest ? one : newest;
    }
    return newest;
}

bool fm_cli_authority_knows(const json_t *status, const char *what)
{
    const char *name;
    json_t *context;
    json_object_foreach(walk(contexts_of(status)), name, context)
    {
        if (concerns(context, name, what))
            return true;
    }
    return false;
}

bool fm_cli_authority_is_well(const json_t *status)
{
    const char *name;
    json_t *context;
    size_t i;
    const json_t *cell;
    if (fm_show_text(json_object_get(status, "authority"), "trouble")[0] || is_unreached(status) ||
        !is_known(status))
        return false;
    json_object_foreach(walk(contexts_of(status)), name, context)
    {
        if (wrong_with(context))
            return false;
        json_array_foreach(json_object_get(context, "cells"), i, cell)
        {
            if (is_true(cell, "lapsed") || strcmp(fm_show_text(cell, "state"), "held") != 0)
                return false;
        }
    }
    return true;
}
