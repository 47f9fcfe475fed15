/* The demonstration: sets up the world, breaks it as told, measures, cleans up. One thread runs
 * this sequence and draws; the load has its own. Ctrl-C ends it at the next moment and cleans up.
 */
#include "demo/demo.h"

#include "base/assert.h"
#include "base/rand.h"
#include "demo/measure.h"
#include "demo/view.h"
#include "demo/world.h"
#include "http/fetch.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    READY_MS = 15000,
    WARM_UP_MS = 4000,
    BEFORE_MS = 1000,
    OUTAGE_MS = 6000,
    RETURN_MS = 45000,
    AFTER_MS = 1000,
    SETTLE_MS = 6000,
    REFRESH_MS = 250,
    STATUS_MS = 400,
    RUN_SECONDS_MAX = 240,
    KEEP_SECONDS_MAX = 600,
    CODE_FAILED = 1,
    CODE_MISSED = 2,
    CODE_INTERRUPTED = 130,
};

struct scenario {
    enum fm_demo_scenario id;
    const char *name, *what, *healed;
    int64_t gap_ms; /* objective; 0 = none */
    void (*break_it)(struct fm_world *w, unsigned region);
};

static const struct scenario scenarios[] = {
    {FM_DEMO_KILL, "kill", "every process of %s is killed (SIGKILL)", "%s is started again", 25,
     fm_world_kill},
    {FM_DEMO_FREEZE, "freeze", "every process of %s is frozen (SIGSTOP)", "%s goes on (SIGCONT)",
     50, fm_world_freeze},
    {FM_DEMO_PARTIAL, "partial", "the card network of %s dies: only the cards must move",
     "the card network of %s is back", 0, fm_world_break_network},
};

struct demo {
    struct fm_demo_options options;
    struct fm_pool pool;
    struct fm_loop loop;
    struct fm_signals signals;
    struct fm_world world;
    struct fm_view_state view;
    struct fm_load *load;
    json_t *status; /* the last one */
    struct fm_error error;
    size_t first, last; /* requests of the scenario that is measured */
    bool interrupted, heal_asked, failed;
};

/* -------- watching -------- */

static void got_signal(struct fm_signals *s, int signo)
{
    struct demo *d = fm_container_of(s, struct demo, signals);
    if (signo == SIGUSR1)
        d->heal_asked = true;
    else
        d->interrupted = true;
}

static void something_died(struct fm_world *w, const char *name)
{
    struct demo *d = fm_container_of(w, struct demo, world);
    fm_demo_view_say(&d->view, "%s ended", name);
}

static void refresh(struct demo *d)
{
    struct fm_addr edge = fm_world_loopback(d->world.edge_admin);
    struct fm_fetched got;
    if (fm_fetch(&edge, "/status", STATUS_MS, &got, NULL) == FM_ERR_OK) {
        json_t *doc = json_loadb(got.body ? got.body : "", got.n, 0, NULL);
        if (doc) {
            json_decref(d->status);
            d->status = doc;
        }
        free(got.body);
    }
    fm_demo_view_draw(&d->view, d->status, d->load);
}

/* Let `ms` pass, or until `until` says so; false when it was interrupted. */
static bool wait_for(struct demo *d, int64_t ms, bool (*until)(struct demo *d))
{
    FM_ASSERT(ms > 0);
    struct fm_mono end = fm_mono_add_ms(fm_mono_now(), ms), next = fm_mono_now();
    while (!d->interrupted) {
        struct fm_mono now = fm_mono_now();
        if (!fm_mono_before(now, end))
            return true;
        if (!fm_mono_before(now, next)) {
            refresh(d);
            next = fm_mono_add_ms(fm_mono_now(), REFRESH_MS);
            if (until && until(d))
                return true;
        }
        int64_t left = fm_mono_sub_ns(fm_mono_min(end, next), fm_mono_now());
        fm_loop_turn(&d->loop, left > 0 ? left : 0);
    }
    return false;
}

static bool regions_ready(struct demo *d)
{
    return fm_world_regions_are_ready(&d->world);
}

static bool edge_ready(struct demo *d)
{
    return fm_world_edge_is_ready(&d->world);
}

/* Every region is well for every context. */
static bool all_up(struct demo *d)
{
    size_t i, k;
    json_t *region, *context;
    if (!d->status)
        return false;
    json_array_foreach(json_object_get(d->status, "regions"), i, region)
    {
        json_array_foreach(json_object_get(region, "contexts"), k, context)
        {
            const char *h = json_string_value(json_object_get(context, "health"));
            if (!h || strcmp(h, "up") != 0)
                return false;
        }
    }
    return true;
}

/* Every request of the scenario has come to an end. */
static bool all_settled(struct demo *d)
{
    const struct fm_load_record *r = fm_load_records(d->load);
    FM_ASSERT(d->first <= d->last && d->last <= fm_load_count(d->load));
    for (size_t i = d->first; i < d->last; i++)
        if (atomic_load_explicit(&r[i].outcome, memory_order_acquire) == FM_LOAD_PENDING)
            return false;
    return true;
}

/* -------- what the edge did -------- */

struct edge_view {
    double detect_ms, quiet_ms; /* below 0: not known */
    bool only_cards;            /* nothing but the cards was taken out of the broken region */
};

static int64_t first_down(const json_t *status, const char *region, const char *context,
                          int64_t after_ns)
{
    size_t i;
    json_t *e;
    json_array_foreach(json_object_get(status, "events"), i, e)
    {
        const char *r = json_string_value(json_object_get(e, "region"));
        const char *c = json_string_value(json_object_get(e, "context"));
        const char *to = json_string_value(json_object_get(e, "to"));
        int64_t at = json_integer_value(json_object_get(e, "boot_ns"));
        bool left = to && (strcmp(to, "down") == 0 || strcmp(to, "suspect") == 0);
        if (r && c && left && at >= after_ns && strcmp(r, region) == 0 &&
            (!context || strcmp(c, context) == 0))
            return at;
    }
    return 0;
}

static int64_t last_sent(const json_t *status, const char *region, const char *context)
{
    int64_t best = 0;
    size_t i, k;
    json_t *r, *c;
    json_array_foreach(json_object_get(status, "regions"), i, r)
    {
        if (strcmp(json_string_value(json_object_get(r, "region")), region) != 0)
            continue;
        json_array_foreach(json_object_get(r, "contexts"), k, c)
        {
            int64_t at = json_integer_value(json_object_get(c, "last_sent_boot_ns"));
            if ((!context ||
                 strcmp(json_string_value(json_object_get(c, "context")), context) == 0) &&
                at > best)
                best = at;
        }
    }
    return best;
}

static struct edge_view look_at_edge(struct demo *d, const struct scenario *s, const char *region,
                                     int64_t fault_ns)
{
    const char *context = s->id == FM_DEMO_PARTIAL ? "cards" : NULL;
    FM_ASSERT(fault_ns > 0);
    struct edge_view v = {-1, -1, true};
    int64_t down = first_down(d->status, region, context, fault_ns);
    if (down)
        v.detect_ms = (double)(down - fault_ns) / 1e6;
    int64_t sent = last_sent(d->status, region, context);
    if (sent)
        v.quiet_ms = sent > fault_ns ? (double)(sent - fault_ns) / 1e6 : 0;
    static const char *const others[] = {"ledger", "profile", "catalog"};
    for (size_t i = 0; i < FM_COUNT(others); i++)
        v.only_cards &= first_down(d->status, region, others[i], fault_ns) == 0;
    return v;
}

/* -------- reports -------- */

static json_t *ms_json(double ms)
{
    return ms < 0 ? json_null() : json_real((double)(int64_t)(ms * 10 + 0.5) / 10);
}

static json_t *scenario_json(struct demo *d, const struct scenario *s, const char *region,
                             const struct fm_measure *m, const struct edge_view *v, bool effects)
{
    double gap = (double)m->longest_gap_ns / 1e6;
    FM_ASSERT(m->failed <= m->requests && m->longest_gap_ns >= 0);
    bool partial = s->id == FM_DEMO_PARTIAL;
    bool pass = m->failed == 0 && effects && m->commands_missing == 0 && m->applied_twice == 0 &&
                v->detect_ms >= 0 && (!s->gap_ms || gap <= (double)s->gap_ms) &&
                (!partial || v->only_cards);
    json_t *kinds = json_object(), *objectives = json_object(), *o = json_object();
    for (unsigned k = FM_LOAD_OK + 1; k < FM_LOAD_OUTCOME_COUNT; k++)
        if (m->by_kind[k])
            json_object_set_new(kinds, fm_load_outcome_name(k),
                                json_integer((json_int_t)m->by_kind[k]));
    if (s->gap_ms)
        json_object_set_new(objectives, "longest_gap_ms", json_integer(s->gap_ms));
    json_object_set_new(objectives, "failed", json_integer(0));
    if (partial)
        json_object_set_new(objectives, "only_broken_context_moved", json_true());
    json_object_set_new(o, "name", json_string(s->name));
    json_object_set_new(o, "region", json_string(region));
    json_object_set_new(o, "rate", json_integer(d->options.rate));
    json_object_set_new(o, "requests", json_integer((json_int_t)m->requests));
    json_object_set_new(o, "failed", json_integer((json_int_t)m->failed));
    json_object_set_new(o, "failed_by_kind", kinds);
    json_object_set_new(o, "detect_ms", ms_json(v->detect_ms));
    json_object_set_new(o, "quiet_ms", ms_json(v->quiet_ms));
    json_object_set_new(o, "longest_gap_ms", ms_json(gap));
    json_object_set_new(o, "slowest_ms", ms_json((double)m->worst_ns / 1e6));
    json_object_set_new(o, "slow_over_100ms", json_integer((json_int_t)m->slow));
    json_object_set_new(o, "acknowledged_writes",
                        json_integer((json_int_t)m->commands_acknowledged));
    json_object_set_new(o, "acknowledged_writes_missing",
                        effects ? json_integer((json_int_t)m->commands_missing) : json_null());
    json_object_set_new(o, "writes_applied_twice",
                        effects ? json_integer((json_int_t)m->applied_twice) : json_null());
    if (partial)
        json_object_set_new(o, "only_broken_context_moved", json_boolean(v->only_cards));
    json_object_set_new(o, "load_generator_late_ms",
                        ms_json((double)fm_load_worst_lag_ns(d->load) / 1e6));
    json_object_set_new(o, "objectives", objectives);
    json_object_set_new(o, "pass", json_boolean(pass));
    return o;
}

static bool measure(struct demo *d, int64_t fault_ns, struct fm_measure *m, int64_t *last_failed_ms)
{
    size_t first = d->first, last = d->last;
    FM_ASSERT(first <= last && d->load);
    int64_t *scratch = calloc(last - first + 1, sizeof *scratch);
    unsigned char *effects = calloc(last + 1, 1);
    FM_ASSERT(scratch && effects);
    fm_measure_clients(fm_load_records(d->load), first, last, scratch, m);
    *last_failed_ms = m->last_failed_ns ? (m->last_failed_ns - fault_ns) / FM_NS_PER_MS : -1;
    struct fm_addr store = fm_world_loopback(d->world.store_port);
    struct fm_fetched got = {0};
    bool ok = fm_fetch(&store, "/keys", 10000, &got, NULL) == FM_ERR_OK && got.status == 200;
    if (ok)
        fm_measure_effects(d->load, first, last, got.body ? got.body : "", got.n, effects, m);
    free(got.body);
    free(scratch);
    free(effects);
    return ok;
}

static json_t *run_scenario(struct demo *d, const struct scenario *s)
{
    unsigned broken = 0;
    FM_ASSERT(d->load && s->break_it);
    const char *region = d->world.region[broken].name;
    char what[FM_VIEW_LINE_MAX];
    d->first = d->last = fm_load_count(d->load);
    snprintf(d->view.title, sizeof d->view.title, "scenario %s", s->name);
    if (!wait_for(d, BEFORE_MS, NULL))
        return NULL;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(what, sizeof what, s->what, region);
    refresh(d); /* what happened before is told before */
    int64_t fault_ns = fm_mono_now().ns;
    s->break_it(&d->world, broken);
    fm_demo_view_say(&d->view, ">>> %s", what);
    if (!wait_for(d, OUTAGE_MS, NULL))
        return NULL;
    struct edge_view v = look_at_edge(d, s, region, fault_ns);
    snprintf(what, sizeof what, s->healed, region);
#pragma GCC diagnostic pop
    refresh(d);
    fm_demo_view_say(&d->view, ">>> %s", what);
    if (fm_world_heal(&d->world, broken, &d->error)) {
        d->failed = true;
        return NULL;
    }
    if (!wait_for(d, RETURN_MS, all_up) || !wait_for(d, AFTER_MS, NULL))
        return NULL;
    d->last = fm_load_count(d->load);
    if (!wait_for(d, SETTLE_MS, all_settled))
        return NULL;
    struct fm_measure m;
    int64_t last_failed_ms;
    bool effects = measure(d, fault_ns, &m, &last_failed_ms);
    json_t *o = scenario_json(d, s, region, &m, &v, effects);
    json_object_set_new(o, "last_failed_ms",
                        last_failed_ms < 0 ? json_null() : json_integer(last_failed_ms));
    fm_demo_view_say(&d->view, "%s: %zu of %zu requests failed, longest gap %.1f ms", s->name,
                     m.failed, m.requests, (double)m.longest_gap_ns / 1e6);
    return o;
}

/* -------- staying up -------- */

static void print_pids(FILE *to, const struct demo *d, unsigned region, const char *verb)
{
    FM_ASSERT(region < d->world.nregions);
    fprintf(to, "    kill -%s", verb);
    for (unsigned i = 0; i < FM_WORLD_ROLES; i++)
        if (d->world.region[region].process[i].child.running)
            fprintf(to, " %d", (int)d->world.region[region].process[i].child.pid);
    fputc('\n', to);
}

static void print_help(const struct demo *d)
{
    FILE *to = d->options.quiet ? stderr : stdout; /* stdout is for the document */
    fprintf(to, "\nIt is yours now: %u requests/s go on through http://127.0.0.1:%u\n",
            d->options.rate, d->world.edge_port);
    for (unsigned r = 0; r < d->world.nregions; r++) {
        fprintf(to, "  region %s: kill, freeze, or go on\n", d->world.region[r].name);
        print_pids(to, d, r, "KILL");
        print_pids(to, d, r, "STOP");
        print_pids(to, d, r, "CONT");
    }
    fprintf(to,
            "  start again what was killed:   kill -USR1 %d\n"
            "  what the edge sees:            %s status -c %s --host edge-1 --watch\n"
            "  the log of all processes:      tail -f %s/log\n"
            "  a command of your own:         curl -d '' -H 'Idempotency-Key: my-1' "
            "'http://127.0.0.1:%u/ledger/me/debit?amount=5'\n"
            "Ctrl-C ends it and cleans up.\n\n",
            (int)getpid(), d->world.fulmar, d->world.config, d->world.dir, d->world.edge_port);
    fflush(to);
}

static bool start_load(struct demo *d, unsigned seconds)
{
    uint32_t run;
    FM_ASSERT(!d->load && seconds > 0);
    fm_rand_bytes(&run, sizeof run);
    struct fm_addr edge = fm_world_loopback(d->world.edge_port);
    d->load =
        fm_load_start(&edge, d->options.rate, run, (size_t)d->options.rate * seconds, &d->error);
    return d->load != NULL;
}

static void stop_load(struct demo *d)
{
    if (!d->load)
        return;
    fm_load_stop(d->load, 1000);
    fm_load_free(d->load);
    d->load = NULL;
}

static void keep_up(struct demo *d)
{
    FM_ASSERT(!d->view.screen || d->options.live);
    fm_demo_view_end(&d->view);
    print_help(d);
    while (!d->interrupted) {
        if (!d->load || fm_load_is_spent(d->load)) {
            stop_load(d);
            if (!start_load(d, KEEP_SECONDS_MAX))
                return;
        }
        (void)wait_for(d, 1000, NULL);
        if (!d->heal_asked)
            continue;
        d->heal_asked = false;
        for (unsigned r = 0; r < d->world.nregions; r++)
            if (fm_world_heal(&d->world, r, &d->error))
                fprintf(stderr, "fulmar demo: %s\n", d->error.msg);
        print_help(d);
    }
}

/* -------- the whole -------- */

static bool start_all(struct demo *d)
{
    fm_demo_view_say(&d->view, "starting %u regions, an edge, a store in %s", d->options.regions,
                     d->world.dir);
    if (fm_world_start_regions(&d->world, &d->error) || !wait_for(d, READY_MS, regions_ready) ||
        fm_world_start_edge(&d->world, &d->error) || !wait_for(d, READY_MS, edge_ready))
        return false;
    if (!fm_world_regions_are_ready(&d->world) || !fm_world_edge_is_ready(&d->world)) {
        fm_error_set(&d->error, FM_ERR_TIMEOUT,
                     "the processes did not all come up within %d s; their log is %s/log",
                     READY_MS / 1000, d->world.dir);
        return false;
    }
    if (!start_load(d, RUN_SECONDS_MAX))
        return false;
    fm_demo_view_say(&d->view,
                     "%u requests/s: four queries, then a command with an Idempotency-Key",
                     d->options.rate);
    snprintf(d->view.title, sizeof d->view.title, "warming up");
    return wait_for(d, WARM_UP_MS, NULL) && wait_for(d, RETURN_MS, all_up);
}

static json_t *run_all(struct demo *d)
{
    json_t *list = json_array();
    bool pass = true;
    for (size_t i = 0; i < FM_COUNT(scenarios) && !d->interrupted && !d->failed; i++) {
        if (!(d->options.scenarios & (unsigned)scenarios[i].id))
            continue;
        json_t *one = run_scenario(d, &scenarios[i]);
        if (!one)
            break;
        pass &= json_is_true(json_object_get(one, "pass"));
        json_array_append_new(list, one);
    }
    if (d->interrupted || d->failed) {
        json_decref(list);
        return NULL;
    }
    json_t *doc = json_object();
    json_object_set_new(doc, "schema", json_string("fulmar.demo/1"));
    json_object_set_new(doc, "version", json_string(FM_VERSION));
    json_object_set_new(doc, "scenarios", list);
    json_object_set_new(doc, "pass", json_boolean(pass));
    return doc;
}

static bool set_up(struct demo *d)
{
    fm_signals_block();
    fm_pool_init(&d->pool, 16 * 1024, 64);
    if (fm_loop_init(&d->loop, &d->pool, &d->error) ||
        fm_signals_open(&d->signals, &d->loop, got_signal, &d->error))
        return false;
    if (fm_world_init(&d->world, &d->loop, d->options.regions, &d->error))
        return false;
    d->world.died = something_died;
    return true;
}

int fm_demo_main(const struct fm_demo_options *o, json_t **report)
{
    struct demo *d = calloc(1, sizeof *d);
    FM_ASSERT(d);
    FM_ASSERT(o->scenarios && o->rate > 0 && o->regions <= FM_WORLD_REGIONS_MAX);
    d->options = *o;
    d->world.log_fd = -1;
    *report = NULL;
    int code = CODE_FAILED;
    bool ok = set_up(d);
    fm_demo_view_init(&d->view, o);
    if (ok && start_all(d)) {
        *report = run_all(d);
        if (*report)
            code = json_is_true(json_object_get(*report, "pass")) ? 0 : CODE_MISSED;
        if (*report && o->keep)
            keep_up(d);
    }
    fm_demo_view_end(&d->view);
    stop_load(d);
    if (d->interrupted && !*report)
        code = CODE_INTERRUPTED;
    else if (code == CODE_FAILED)
        fprintf(stderr, "fulmar demo: %s\n", d->error.msg);
    if (d->world.loop)
        fm_world_deinit(&d->world);
    if (d->signals.loop)
        fm_signals_close(&d->signals);
    if (d->loop.pool) {
        fm_loop_deinit(&d->loop);
        fm_pool_deinit(&d->pool);
    }
    json_decref(d->status);
    free(d);
    return code;
}
