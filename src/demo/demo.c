/* The demonstration: sets up the world, lets scenarios break it, stays up if told to, cleans up.
 * One thread runs this sequence and draws; the load and the network have their own. Ctrl-C ends it
 * at the next moment and cleans up.
 */
#include "demo/demo.h"

#include "base/assert.h"
#include "base/rand.h"
#include "demo/holders.h"
#include "demo/stage.h"
#include "http/fetch.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    READY_MS = 15000,
    HELD_MS = 30000,
    WARM_UP_MS = 3000,
    REFRESH_MS = 250,
    STATUS_MS = 400,
    RUN_SECONDS_MAX = 300,
    KEEP_SECONDS_MAX = 600,
    CODE_FAILED = 1,
    CODE_MISSED = 2,
    CODE_INTERRUPTED = 130,
};

/* -------- watching -------- */

static void got_signal(struct fm_signals *s, int signo)
{
    struct fm_demo *d = fm_container_of(s, struct fm_demo, signals);
    if (signo == SIGUSR1)
        d->heal_asked = true;
    else
        d->interrupted = true;
}

static void something_died(struct fm_world *w, const char *name)
{
    struct fm_demo *d = fm_container_of(w, struct fm_demo, world);
    fm_demo_view_say(&d->view, "%s ended", name);
}

void fm_stage_refresh(struct fm_demo *d)
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

bool fm_stage_wait(struct fm_demo *d, int64_t ms, bool (*until)(struct fm_demo *d))
{
    FM_ASSERT(ms > 0);
    struct fm_mono end = fm_mono_add_ms(fm_mono_now(), ms), next = fm_mono_now();
    while (!d->interrupted) {
        struct fm_mono now = fm_mono_now();
        if (!fm_mono_before(now, end))
            return true;
        if (!fm_mono_before(now, next)) {
            fm_stage_refresh(d);
            next = fm_mono_add_ms(fm_mono_now(), REFRESH_MS);
        }
        if (until && until(d))
            return true;
        int64_t left = fm_mono_sub_ns(fm_mono_min(end, next), fm_mono_now());
        fm_loop_turn(&d->loop, left > 0 ? left : 0);
    }
    return false;
}

static void service_asked(struct fm_world *w, const char *what, const char *region)
{
    struct fm_demo *d = fm_container_of(w, struct fm_demo, world);
    fm_demo_view_say(&d->view, "%s: its agent runs the command `%s` of the standby app", region,
                     what);
}

static bool regions_ready(struct fm_demo *d)
{
    return fm_world_regions_are_ready(&d->world);
}

static bool edge_ready(struct fm_demo *d)
{
    return fm_world_edge_is_ready(&d->world);
}

static bool all_held(struct fm_demo *d)
{
    return fm_holders_all_held(d->status);
}

/* The witness serves nothing, and a standby whose app is stopped does not have to. */
static bool serves(const struct fm_demo *d, const char *region)
{
    const struct fm_world *w = &d->world;
    bool cold = d->options.story == FM_DEMO_COLD_STANDBY;
    return strcmp(region, w->region[w->nregions].name) != 0 &&
           (!cold || strcmp(region, w->region[fm_stage_writer(d)].name) == 0);
}

bool fm_stage_all_up(struct fm_demo *d)
{
    size_t i, k;
    json_t *region, *context;
    FM_ASSERT(d->world.nregions >= 2);
    if (!d->status || !fm_holders_all_held(d->status))
        return false;
    json_array_foreach(json_object_get(d->status, "regions"), i, region)
    {
        const char *name = json_string_value(json_object_get(region, "region"));
        if (!name || !serves(d, name))
            continue;
        json_array_foreach(json_object_get(region, "contexts"), k, context)
        {
            const char *h = json_string_value(json_object_get(context, "health"));
            if (!h || strcmp(h, "up") != 0)
                return false;
        }
    }
    return true;
}

const char *fm_stage_exclusive(const struct fm_demo *d)
{
    return d->options.story == FM_DEMO_BANK ? "ledger" : "site";
}

unsigned fm_stage_writer(const struct fm_demo *d)
{
    const char *by = fm_holders_of(d->status, fm_stage_exclusive(d), 0, NULL);
    for (unsigned r = 0; by && r < d->world.nregions; r++)
        if (strcmp(d->world.region[r].name, by) == 0)
            return r;
    return 0; /* where it is at home */
}

/* -------- staying up -------- */

static void print_pids(FILE *to, const struct fm_demo *d, unsigned region, const char *verb)
{
    FM_ASSERT(region < d->world.nregions);
    fprintf(to, "    kill -%s", verb);
    for (unsigned i = 0; i < FM_WORLD_ROLES; i++)
        if (d->world.region[region].process[i].child.running)
            fprintf(to, " %d", (int)d->world.region[region].process[i].child.pid);
    fputc('\n', to);
}

static void print_help(const struct fm_demo *d)
{
    FILE *to = d->options.quiet ? stderr : stdout; /* stdout is for the document */
    bool bank = d->options.story == FM_DEMO_BANK;
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
            "  a command of your own:         curl %s -d '' -H 'Idempotency-Key: my-1' "
            "'http://127.0.0.1:%u%s'\n"
            "Ctrl-C ends it and cleans up.\n\n",
            (int)getpid(), d->world.fulmar, d->world.config, d->world.dir,
            bank ? "-X POST" : "-X PUT", d->world.edge_port,
            bank ? "/ledger/me/debit?amount=5" : "/profile/user-1");
    fflush(to);
}

static bool start_load(struct fm_demo *d, unsigned seconds)
{
    uint32_t run;
    FM_ASSERT(!d->load && seconds > 0);
    fm_rand_bytes(&run, sizeof run);
    struct fm_addr edge = fm_world_loopback(d->world.edge_port);
    enum fm_load_mix mix = d->options.story == FM_DEMO_BANK ? FM_LOAD_BANK
                           : d->world.group                 ? FM_LOAD_SITE_LEDGER
                                                            : FM_LOAD_SITE;
    d->load = fm_load_start(&edge, mix, d->options.rate, run, (size_t)d->options.rate * seconds,
                            &d->error);
    return d->load != NULL;
}

static void stop_load(struct fm_demo *d)
{
    if (!d->load)
        return;
    fm_load_stop(d->load, 1000);
    fm_load_free(d->load);
    d->load = NULL;
}

static void keep_up(struct fm_demo *d)
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
        (void)fm_stage_wait(d, 1000, NULL);
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

static bool start_world(struct fm_demo *d)
{
    struct fm_world *w = &d->world;
    if (fm_world_start_regions(w, &d->error) || !fm_stage_wait(d, READY_MS, regions_ready) ||
        fm_world_start_edge(w, &d->error) || !fm_stage_wait(d, READY_MS, edge_ready))
        return false;
    if (!fm_world_regions_are_ready(w) || !fm_world_edge_is_ready(w)) {
        fm_error_set(&d->error, FM_ERR_TIMEOUT,
                     "the processes did not all come up within %d s; their log is %s/log",
                     READY_MS / 1000, w->dir);
        return false;
    }
    if (!fm_stage_wait(d, HELD_MS, all_held))
        return false;
    if (!fm_holders_all_held(d->status))
        fm_error_set(&d->error, FM_ERR_TIMEOUT,
                     "no region took the right to write within %d s; their log is %s/log",
                     HELD_MS / 1000, w->dir);
    return fm_holders_all_held(d->status);
}

static bool start_all(struct fm_demo *d)
{
    bool group = d->world.group;
    fm_demo_view_say(&d->view, "starting %u regions, a witness, an edge, a store%s in %s",
                     d->options.regions, group ? ", a PostgreSQL group" : "", d->world.dir);
    snprintf(d->view.title, sizeof d->view.title, "starting");
    if (!start_world(d) || (group && !fm_stage_group_make(d)) || !start_load(d, RUN_SECONDS_MAX))
        return false;
    fm_demo_view_say(&d->view,
                     "%u requests/s: four queries, then a command with an Idempotency-Key",
                     d->options.rate);
    snprintf(d->view.title, sizeof d->view.title, "warming up");
    return fm_stage_wait(d, WARM_UP_MS, NULL) &&
           fm_stage_wait(d, FM_STAGE_RETURN_MS, fm_stage_all_up);
}

static bool set_up(struct fm_demo *d)
{
    (void)fm_descriptors_raise(); /* where it cannot, a small demonstration still runs */
    fm_signals_block();
    fm_pool_init(&d->pool, 16 * 1024, 64);
    if (fm_loop_init(&d->loop, &d->pool, &d->error) ||
        fm_signals_open(&d->signals, &d->loop, got_signal, &d->error))
        return false;
    return true;
}

/* -------- worlds -------- */

static void leave_world(struct fm_demo *d)
{
    stop_load(d);
    if (d->world.loop)
        fm_world_deinit(&d->world);
    d->world = (struct fm_world){.log_fd = -1};
    json_decref(d->status);
    d->status = NULL;
    d->view.events_seen = 0; /* another edge counts anew */
}

static bool perform(struct fm_demo *d, bool group, json_t *list)
{
    unsigned of_group = FM_DEMO_GROUP;
    if (d->options.scenarios & FM_DEMO_PREPARE) /* a cold standby, with its data */
        of_group = FM_DEMO_COLD_GROUP;
    unsigned which = d->options.scenarios & (group ? of_group : ~of_group);
    if (!which)
        return true;
    leave_world(d);
    if (group)
        d->options.rate = d->view.options.rate = d->options.group_rate;
    if (fm_world_init(&d->world, &d->loop, d->options.story, group, d->options.regions, &d->error))
        return false;
    d->world.died = something_died;
    d->world.asked = service_asked;
    return start_all(d) && fm_stage_run(d, which, list);
}

/* First those of a store that survives everything; then those of a PostgreSQL group, in a world of
 * its own. */
static json_t *perform_all(struct fm_demo *d)
{
    json_t *list = json_array(), *one;
    bool pass = true;
    size_t i;
    if (!perform(d, false, list) || !perform(d, true, list) || d->interrupted) {
        json_decref(list);
        return NULL;
    }
    json_array_foreach(list, i, one)
    {
        pass &= json_is_true(json_object_get(one, "pass"));
    }
    json_t *doc = json_object();
    json_object_set_new(doc, "schema", json_string("fulmar.demo/1"));
    json_object_set_new(doc, "version", json_string(FM_VERSION));
    json_object_set_new(doc, "scenarios", list);
    json_object_set_new(doc, "pass", json_boolean(pass));
    return doc;
}

int fm_demo_main(const struct fm_demo_options *o, json_t **report)
{
    struct fm_demo *d = calloc(1, sizeof *d);
    FM_ASSERT(d);
    FM_ASSERT(o->scenarios && o->rate > 0 && o->regions <= FM_WORLD_REGIONS_MAX);
    d->options = *o;
    d->world.log_fd = -1;
    int code = CODE_FAILED;
    bool ok = set_up(d);
    fm_demo_view_init(&d->view, o);
    *report = ok ? perform_all(d) : NULL;
    if (*report)
        code = json_is_true(json_object_get(*report, "pass")) ? 0 : CODE_MISSED;
    if (*report && o->keep)
        keep_up(d);
    fm_demo_view_end(&d->view);
    if (d->interrupted && !*report)
        code = CODE_INTERRUPTED;
    else if (code == CODE_FAILED)
        fprintf(stderr, "fulmar demo: %s\n", d->error.msg);
    leave_world(d);
    if (d->signals.loop)
        fm_signals_close(&d->signals);
    if (d->loop.pool) {
        fm_loop_deinit(&d->loop);
        fm_pool_deinit(&d->pool);
    }
    free(d);
    return code;
}
