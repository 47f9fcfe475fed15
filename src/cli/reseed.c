/* fulmar coordination reseed: after coordination was restored from an older copy, or made anew,
 * seed it above all that anybody has seen (SAFETY.md 4). It asks every controller, reads the store,
 * and writes what the plan says (agent/seed.h), `view` last. What fails on the way changes nothing
 * that anybody acts upon: it is run again. */
#include "cli/coordination.h"

#include "agent/seed.h"
#include "base/assert.h"
#include "cli/call.h"
#include "cli/coord_io.h"
#include "cli/gather.h"
#include "cli/hint.h"
#include "cli/order.h"
#include "cli/show.h"

#include <stdio.h>
#include <stdlib.h>

#define COMMAND "coordination reseed"

enum { FOLLOW_MS = 15000, AGAIN_MS = 500, STEP_MAX = 1024, WHO_MAX = 256 };

struct reseed {
    const struct fm_args *args;
    struct fm_conf *conf;
    struct fm_seed *seed;
    struct fm_coord_io *io;
    struct fm_gather gather;
    uint64_t store;
    bool stamped;
    unsigned override; /* rules, one bit each */
    char by[WHO_MAX];
    json_t *overridden;
};

/* -------- what is there -------- */

static void take(void *user, const struct fm_coord_kv *kv)
{
    struct reseed *x = user;
    x->stamped |= fm_str_eqz(kv->key, FM_COORD_STAMP);
    fm_seed_take(x->seed, kv);
}

static int failed(const struct reseed *x, const struct fm_error *e)
{
    return fm_print_error(x->args, COMMAND,
                          e->code == FM_ERR_INVALID ? FM_EXIT_CONFIG : FM_EXIT_FAILED, e->msg,
                          NULL);
}

static int read_store(struct reseed *x)
{
    struct fm_coord_io_end end;
    struct fm_error e = {0};
    if (fm_coord_io_open(&x->io, x->conf, x->args, fm_coordination_ms(x->args), &e))
        return failed(x, &e);
    fm_coord_io_read(x->io, "", true, take, x, &end);
    if (end.outcome != FM_COORD_DONE)
        return fm_print_error(x->args, COMMAND, fm_coord_io_exit(&end), end.error.msg,
                              "`fulmar coordination status` says more about the store");
    if (!x->stamped)
        return fm_print_error(x->args, COMMAND, FM_EXIT_DIFFERS,
                              "the store has no stamp: no controller has found it yet",
                              "start a controller that can reach it, and ask again");
    struct fm_coord_known known = fm_coord_io_known(x->io);
    x->store = fm_coord_store_id(&known);
    return FM_EXIT_OK;
}

static int ask_controllers(struct reseed *x)
{
    struct fm_error e = {0};
    int64_t ms = fm_coordination_ask_ms(x->args);
    if (fm_gather(&x->gather, x->args, x->conf, fm_seed_roster(x->seed), ms, &e))
        return failed(x, &e);
    for (unsigned i = 0; i < x->gather.n; i++) {
        const struct fm_gathered *g = &x->gather.of[i];
        fm_seed_hear(x->seed, g->host, g->said);
        if (!g->said)
            fprintf(stderr, "%s does not say what it has seen: %s\n", g->host->name.p, g->why);
    }
    return FM_EXIT_OK;
}

/* -------- what stands against it -------- */

static int refuse(const struct reseed *x, enum fm_seed_rule rule, const struct fm_seed_refusal *why)
{
    struct fm_reply r = {.status = 409, .from = "this command"};
    r.doc = json_pack("{s:s,s:s,s:s,s:s,s:b}", "schema", "fulmar.refusal/1", "rule",
                      fm_seed_rule_name(rule), "evidence", why->evidence, "remedy", why->remedy,
                      "override", (int)fm_seed_rule_yields(rule));
    int code = fm_order_unwanted(x->args, COMMAND, &r);
    if (fm_seed_rule_yields(rule))
        fprintf(stderr, "  it yields to --override %s, which is written down\n",
                fm_seed_rule_name(rule));
    json_decref(r.doc);
    return code;
}

static int judge(struct reseed *x)
{
    struct fm_seed_refusal why;
    for (unsigned i = 0; i < FM_SEED_RULE_COUNT; i++) {
        enum fm_seed_rule rule = (enum fm_seed_rule)i;
        if (!fm_seed_refuses(x->seed, rule, x->store, &why))
            continue;
        if (!(x->override >> i & 1))
            return refuse(x, rule, &why);
        fprintf(stderr, "OVERRIDING `%s`: %s\n", fm_seed_rule_name(rule), why.evidence);
        json_array_append_new(x->overridden, json_string(fm_seed_rule_name(rule)));
    }
    return FM_EXIT_OK;
}

/* -------- showing it -------- */

/* The cells that are released for one region, as a list of numbers; *low and *high are epochs. */
static json_t *cells_for(const struct fm_seed_context *c, unsigned region, uint64_t *low,
                         uint64_t *high)
{
    json_t *list = json_array();
    *low = UINT64_MAX;
    *high = 0;
    for (unsigned i = 0; i < c->conf->ncells; i++) {
        if (!c->cell[i].writes || c->cell[i].to.to != region)
            continue;
        *low = fm_min_u64(*low, c->cell[i].to.epoch.n);
        *high = fm_max_u64(*high, c->cell[i].to.epoch.n);
        json_array_append_new(list, json_integer(i));
    }
    return list;
}

static void add_steps(const struct reseed *x, const struct fm_seed_context *c, json_t *steps)
{
    for (unsigned r = 0; r < x->conf->nregions; r++) {
        char cells[256], epochs[64], text[STEP_MAX];
        uint64_t low, high;
        json_t *list = cells_for(c, r, &low, &high);
        fm_show_cells(list, cells, sizeof cells);
        size_t n = json_array_size(list);
        json_decref(list);
        if (n == 0)
            continue;
        if (low == high)
            snprintf(epochs, sizeof epochs, "%llu", (unsigned long long)low);
        else
            snprintf(epochs, sizeof epochs, "%llu to %llu", (unsigned long long)low,
                     (unsigned long long)high);
        snprintf(text, sizeof text, "release %s of %s for %s, under epoch %s", cells,
                 c->conf->name.p, x->conf->regions[r].name.p, epochs);
        json_array_append_new(steps, json_string(text));
    }
    if (c->writes && c->budget_to.spent > c->budget_to.freed)
        json_array_append_new(
            steps, json_sprintf("count the automatic failovers of %s as used up (%u)",
                                c->conf->name.p, c->budget_to.spent - c->budget_to.freed));
}

static json_t *steps_of(const struct reseed *x)
{
    json_t *steps = json_array();
    for (unsigned i = 0; i < fm_seed_ncontexts(x->seed); i++)
        add_steps(x, fm_seed_context(x->seed, i), steps);
    json_array_append_new(steps, json_sprintf("let everybody begin anew: incarnation %llu",
                                              (unsigned long long)fm_seed_incarnation(x->seed)));
    return steps;
}

static json_t *epoch_json(uint64_t n)
{
    return n ? json_integer((json_int_t)n) : json_null();
}

static json_t *contexts_json(const struct reseed *x)
{
    json_t *out = json_object();
    for (unsigned k = 0; k < fm_seed_ncontexts(x->seed); k++) {
        const struct fm_seed_context *c = fm_seed_context(x->seed, k);
        json_t *cells = json_array();
        for (unsigned i = 0; i < c->conf->ncells; i++) {
            const struct fm_seed_cell *cell = &c->cell[i];
            if (cell->writes)
                json_array_append_new(cells,
                                      json_pack("{s:i,s:s,s:I,s:o,s:o}", "cell", (int)i, "to",
                                                x->conf->regions[cell->to.to].name.p, "epoch",
                                                (json_int_t)cell->to.epoch.n, "seen_epoch",
                                                epoch_json(c->seen.cell[i].most.n), "stored_epoch",
                                                epoch_json(c->seen.cell[i].stored.n)));
        }
        json_object_set_new(out, c->conf->name.p, cells);
    }
    return out;
}

static json_t *document(const struct reseed *x)
{
    json_t *o =
        json_pack("{s:s,s:s,s:I,s:b,s:s,s:s?,s:o,s:o,s:O}", "schema", "fulmar.reseed/1", "service",
                  x->conf->service.p, "incarnation", (json_int_t)fm_seed_incarnation(x->seed),
                  "dry_run", (int)x->args->dry_run, "by", x->by, "reason", x->args->reason,
                  "contexts", contexts_json(x), "steps", steps_of(x), "overridden", x->overridden);
    FM_ASSERT(o);
    return o;
}

static void print_steps(const struct reseed *x, const char *head)
{
    size_t i;
    json_t *v, *steps = steps_of(x);
    puts(head);
    json_array_foreach(steps, i, v)
    {
        printf("  %s\n", json_string_value(v));
    }
    json_decref(steps);
}

static int show_plan(const struct reseed *x)
{
    if (x->args->output == FM_OUTPUT_TABLE) {
        print_steps(x, "this would be done:");
        return FM_EXIT_DIFFERS;
    }
    json_t *o = document(x);
    fm_print_document(o, x->args->output);
    json_decref(o);
    return FM_EXIT_DIFFERS;
}

/* -------- writing it -------- */

static bool applies(const struct fm_coord_io_end *end)
{
    return end->outcome == FM_COORD_DONE;
}

struct found {
    const char *key;
    char text[64 * 1024];
    size_t n;
};

static void take_found(void *user, const struct fm_coord_kv *kv)
{
    struct found *f = user;
    if (!fm_str_eqz(kv->key, f->key) || kv->value.n > sizeof f->text)
        return;
    memcpy(f->text, kv->value.p, kv->value.n);
    f->n = kv->value.n;
}

/* A transaction of unknown outcome: did what it writes come to be there? */
static bool is_there(struct reseed *x, const struct fm_coord_txn *t)
{
    const struct fm_coord_write *proof = fm_seed_proof(t);
    char key[FM_RECORD_KEY_ROOM];
    struct fm_coord_io_end end;
    struct found *f = calloc(1, sizeof *f);
    FM_ASSERT(proof->key.n < sizeof key);
    memcpy(key, proof->key.p, proof->key.n);
    key[proof->key.n] = 0;
    if (!f)
        return false;
    f->key = key;
    fm_coord_io_read(x->io, key, false, take_found, f, &end);
    bool same = applies(&end) && fm_str_eq(proof->value, fm_str(f->text, f->n));
    free(f);
    return same;
}

static int not_written(const struct reseed *x, const struct fm_coord_io_end *end, unsigned before)
{
    char what[512];
    bool changed = end->why == FM_COORD_WHY_COMPARE;
    snprintf(what, sizeof what, "%s%s",
             changed ? "the store was changed while the plan was made: " : "", end->error.msg);
    bool unknown = end->outcome == FM_COORD_UNKNOWN;
    return fm_print_error(x->args, COMMAND,
                          before || unknown ? FM_EXIT_PARTIAL
                          : changed         ? FM_EXIT_FAILED
                                            : fm_coord_io_exit(end),
                          what,
                          before || unknown
                              ? "nobody begins anew before all of it is there: run it again"
                              : "nothing was written: run it again");
}

static int write_all(struct reseed *x)
{
    struct fm_error e = {0};
    struct fm_coord_txn t;
    if (fm_coord_io_to_write(x->io, &e))
        return failed(x, &e);
    for (unsigned i = 0; fm_seed_txn(x->seed, i, &t); i++) {
        struct fm_coord_io_end end;
        fm_coord_io_commit(x->io, &t, &end);
        bool done = applies(&end) || (end.outcome == FM_COORD_UNKNOWN && is_there(x, &t));
        if (!done)
            return not_written(x, &end, i);
    }
    return FM_EXIT_OK;
}

/* -------- who goes on with it -------- */

static bool follows(const struct reseed *x, const struct fm_said *said)
{
    bool all = said && !fm_said_is_frozen(said);
    for (unsigned i = 0; all && i < said->marks.n; i++)
        all = !said->context[i].acted_on ||
              said->marks.context[i].marks.incarnation.n >= fm_seed_incarnation(x->seed);
    return all;
}

/* Waits until everybody who answered does; returns those who do not. */
static json_t *wait_followed(struct reseed *x)
{
    struct fm_mono until = fm_mono_add_ms(fm_mono_now(), FOLLOW_MS);
    for (;;) {
        struct fm_gather now;
        struct fm_error e = {0};
        json_t *left = json_array();
        if (!fm_gather(&now, x->args, x->conf, fm_seed_roster(x->seed),
                       fm_coordination_ask_ms(x->args), &e))
            for (unsigned i = 0; i < now.n; i++)
                if (x->gather.of[i].said && !follows(x, now.of[i].said))
                    json_array_append_new(left, json_string(now.of[i].host->name.p));
        fm_gather_free(&now);
        if (e.code || json_array_size(left) == 0 || !fm_mono_before(fm_mono_now(), until) ||
            !fm_call_pause(AGAIN_MS))
            return left;
        json_decref(left);
    }
}

static int finish(struct reseed *x)
{
    size_t i;
    json_t *v, *left = wait_followed(x);
    char head[STEP_MAX];
    snprintf(head, sizeof head, "service %s is seeded anew: incarnation %llu", x->conf->service.p,
             (unsigned long long)fm_seed_incarnation(x->seed));
    if (x->args->output == FM_OUTPUT_TABLE) {
        print_steps(x, head);
    } else {
        json_t *o = document(x);
        json_object_set(o, "not_yet", left);
        fm_print_document(o, x->args->output);
        json_decref(o);
    }
    json_array_foreach(left, i, v)
    {
        fm_hint_print(stderr, "%s has not begun anew yet: `fulmar coordination status` shows it\n",
                      json_string_value(v));
    }
    json_decref(left);
    return FM_EXIT_OK;
}

/* -------- the command -------- */

static int run(struct reseed *x)
{
    struct fm_error e = {0};
    x->seed = fm_seed_new(x->conf, &e);
    if (!x->seed)
        return failed(x, &e);
    int code = read_store(x);
    if (!code)
        code = ask_controllers(x);
    if (!code)
        code = judge(x);
    if (code)
        return code;
    const char *reason = x->args->reason ? x->args->reason : "";
    struct fm_seed_who who = {x->by, reason, fm_wall_now_ns(), x->override};
    if (fm_seed_make(x->seed, &who, &e))
        return failed(x, &e);
    if (x->args->dry_run)
        return show_plan(x);
    code = write_all(x);
    return code ? code : finish(x);
}

/* 0, or the exit code of a usage error. */
static int read_override(struct reseed *x)
{
    struct fm_str rest = fm_str_z(x->args->override ? x->args->override : ""), item;
    while (fm_str_list_next(&rest, &item)) {
        unsigned i = 0;
        while (i < FM_SEED_RULE_COUNT && !fm_str_eqz(item, fm_seed_rule_name((enum fm_seed_rule)i)))
            i++;
        if (i == FM_SEED_RULE_COUNT || !fm_seed_rule_yields((enum fm_seed_rule)i))
            return fm_usage("--override: `%.*s` is no rule that yields here", FM_STR_ARG(item));
        x->override |= 1u << i;
    }
    return FM_EXIT_OK;
}

static int with_conf(const struct fm_args *a, struct fm_conf *conf)
{
    struct reseed x = {.args = a, .conf = conf};
    if (!a->dry_run && !(a->confirm && fm_str_eqz(conf->service, a->confirm)))
        return fm_usage("this interrupts every command of the service for a lease: say its name "
                        "once more, with --confirm %s",
                        conf->service.p);
    int code = read_override(&x);
    if (code)
        return code;
    x.overridden = json_array();
    fm_cli_who(x.by, sizeof x.by);
    code = run(&x);
    json_decref(x.overridden);
    fm_gather_free(&x.gather);
    fm_coord_io_close(x.io);
    fm_seed_free(x.seed);
    return code;
}

int fm_cmd_coordination_reseed(const struct fm_args *a)
{
    if (!(a->reason && a->reason[0]) && !a->dry_run)
        return fm_usage("`fulmar " COMMAND "` changes something: say why, with --reason TEXT");
    return fm_coordination_with(a, COMMAND, with_conf);
}
