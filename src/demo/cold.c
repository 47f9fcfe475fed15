/* A standby whose app is stopped until it is needed: it is prepared, and then either stood down or
 * completed; planned failback. What happens to requests until somebody can answer them is counted
 * and shown, not hidden; after that none may fail. */
#include "demo/holders.h"
#include "demo/play.h"

#include "base/assert.h"
#include "http/fetch.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    STANDBY = 1, /* the region that takes over: the next one by priority */
    ASKED_MS = 30000,
    STATUS_MS = 400,
    SOAKED_MS = 4000,
    STOPPED_MS = 30000,
    /* what was due a moment before the standby was ready may still have met nobody */
    MARGIN_MS = 500,
};

/* -------- what the standby's agent says -------- */

/* True where it says that. */
static bool says(struct fm_demo *d, const char *standby, const char *failover)
{
    struct fm_addr at = fm_world_loopback(d->world.region[STANDBY].admin);
    struct fm_fetched got;
    bool is = false;
    if (fm_fetch(&at, "/status", STATUS_MS, &got, NULL) != FM_ERR_OK)
        return false;
    json_t *doc = json_loadb(got.body ? got.body : "", got.n, 0, NULL);
    const char *state, *asks = "steady";
    json_t *site = NULL;
    (void)json_unpack(doc, "{s:{s:{s:o}}}", "authority", "contexts", "site", &site);
    if (site && !json_unpack(site, "{s:{s:s}}", "standby", "state", &state)) {
        (void)json_unpack(site, "{s:{s:{s:s}}}", "failover", d->world.region[0].name, "state",
                          &asks);
        is = strcmp(state, standby) == 0 && strcmp(asks, failover) == 0;
    }
    json_decref(doc);
    free(got.body);
    return is;
}

static bool asks_a_person(struct fm_demo *d)
{
    return says(d, "ready", "asking");
}

static bool is_cold_again(struct fm_demo *d)
{
    return says(d, "stopped", "steady") && !fm_world_app_runs(&d->world, STANDBY);
}

static bool query_is_answered(struct fm_demo *d)
{
    static const char query[] =
        "GET /profile/user-1 HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n";
    char answer[4096];
    return fm_ask(d->world.edge_port, fm_str_z(query), answer, sizeof answer) == 200;
}

static double since(const struct play *p)
{
    return (double)fm_mono_sub_ns(fm_mono_now(), p->began) / 1e6;
}

/* A mark of the story: what was waited for, and whether it came. */
static void mark(struct fm_demo *d, struct play *p, const char *key, bool came, const char *text)
{
    double ms = since(p);
    p->good &= came;
    json_object_set_new(p->more, key, fm_report_ms(came ? ms : -1));
    if (came)
        fm_demo_view_say(&d->view, "%s: %s, %.1f s after the fault", d->world.region[STANDBY].name,
                         text, ms / 1e3);
    else
        fm_demo_view_say(&d->view, "%s: NOT %s", d->world.region[STANDBY].name, text);
}

/* -------- prepare -------- */

bool fm_cold_prepare(struct fm_demo *d, struct play *p)
{
    FM_ASSERT(p->region == 0 && d->world.nregions > STANDBY);
    p->good &= !fm_world_app_runs(&d->world, STANDBY); /* that is the point of it */
    if (!fm_play_kill(d, p) || !fm_stage_wait(d, ASKED_MS, asks_a_person))
        return false;
    mark(d, p, "asked_ms", asks_a_person(d),
         "its app is started and checked; a person is asked, nothing was taken over");
    if (!fm_stage_wait(d, ASKED_MS, query_is_answered))
        return false;
    p->ready = fm_mono_now();
    mark(d, p, "queries_answered_ms", query_is_answered(d), "queries are answered");
    return true;
}

/* -------- the one ending -------- */

bool fm_cold_stand_down(struct fm_demo *d, struct play *p)
{
    uint64_t epoch = 0;
    char holds[FM_HOLDERS_TEXT_MAX];
    if (!fm_stage_wait(d, FM_STAGE_RETURN_MS, fm_play_command))
        return false;
    p->taken = fm_mono_now();
    mark(d, p, "commands_taken_ms", fm_play_command(d), "not needed: commands are taken at home");
    if (!fm_stage_wait(d, STOPPED_MS, is_cold_again))
        return false;
    mark(d, p, "stopped_ms", is_cold_again(d), "stood down, and its app is stopped again");
    fm_stage_refresh(d);
    const char *by = fm_holders_of(d->status, "site", 0, &epoch);
    snprintf(holds, sizeof holds, "site/0@%llu", (unsigned long long)epoch);
    bool same = by && strcmp(by, p->name) == 0 && strcmp(holds, p->had) == 0;
    p->good &= same;
    fm_demo_view_say(&d->view, "%s holds as before: %s", p->name, same ? "yes" : "NO");
    json_object_set_new(p->more, "holds_as_before", json_boolean(same));
    return true;
}

/* -------- the other one -------- */

/* What it would cost, then consent to that. */
static bool consent(struct fm_demo *d, double *took_ms)
{
    const char *to = d->world.region[STANDBY].name, *printed = NULL, *id = NULL;
    char quote[64] = "";
    const char *const ask[] = {"quote", "site", "--to", to, "-o", "json", NULL};
    if (!fm_operate(d, STANDBY, ask, took_ms, &printed))
        return false;
    json_t *doc = json_loads(printed, 0, NULL);
    if (doc && !json_unpack(doc, "{s:s}", "quote", &id))
        snprintf(quote, sizeof quote, "%s", id);
    json_decref(doc);
    const char *const say[] = {"failover",   "site",          "--to",          to,
                               "--complete", "--accept-loss", quote,           "--confirm",
                               "site",       "--reason",      "demonstration", NULL};
    return quote[0] && fm_operate(d, STANDBY, say, took_ms, NULL);
}

bool fm_cold_complete(struct fm_demo *d, struct play *p)
{
    double took = -1;
    if (!fm_play_ask_meanwhile(d, p))
        return false;
    bool done = consent(d, &took);
    if (d->interrupted)
        return false;
    if (!done)
        fm_demo_view_say(&d->view, "it was not completed: %s", d->error.msg);
    json_object_set_new(p->more, "completed", json_boolean(done));
    json_object_set_new(p->more, "complete_took_ms", fm_report_ms(took));
    p->good &= done;
    if (!fm_stage_wait(d, FM_STAGE_RETURN_MS, fm_play_command))
        return false;
    p->taken = fm_mono_now();
    mark(d, p, "commands_taken_ms", fm_play_command(d), "commands are taken");
    return true;
}

bool fm_cold_stays(struct fm_demo *d, struct play *p)
{
    if (!fm_stage_wait(d, SOAKED_MS, NULL))
        return false;
    fm_stage_refresh(d);
    bool nothing = fm_holders_has_nothing(d->status, p->name);
    bool runs = fm_world_app_runs(&d->world, STANDBY);
    p->good &= nothing && runs;
    fm_demo_view_say(&d->view, "%s is well, and takes nothing back by itself: %s", p->name,
                     nothing && runs ? "yes" : "NO");
    json_object_set_new(p->more, "takes_nothing_back", json_boolean(nothing));
    return true;
}

bool fm_cold_fail_back(struct fm_demo *d, struct play *p)
{
    static const char *const words[] = {"failback", "site", "--reason", "demonstration", NULL};
    double took = -1;
    bool done = fm_operate(d, STANDBY, words, &took, NULL);
    if (d->interrupted)
        return false;
    if (!done)
        fm_demo_view_say(&d->view, "it did not go home: %s", d->error.msg);
    p->good &= done;
    json_object_set_new(p->more, "failed_back", json_boolean(done));
    json_object_set_new(p->more, "failback_took_ms", fm_report_ms(took));
    if (!fm_stage_wait(d, STOPPED_MS, is_cold_again))
        return false;
    mark(d, p, "stopped_ms", is_cold_again(d), "its app is stopped again");
    fm_stage_refresh(d);
    const char *by = fm_holders_of(d->status, "site", 0, NULL);
    bool home = by && strcmp(by, d->world.region[0].name) == 0;
    p->good &= home;
    json_object_set_new(p->more, "is_home", json_boolean(home));
    return true;
}

/* -------- what failed, and when -------- */

/* Failed requests that were due after `from`; of all kinds, or queries alone. */
static size_t failed_since(const struct fm_demo *d, struct fm_mono from, bool queries)
{
    const struct fm_load_record *r = fm_load_records(d->load);
    int64_t at = fm_mono_add_ms(from, MARGIN_MS).ns;
    size_t n = 0;
    for (size_t i = d->first; i < d->last; i++) {
        bool counts = !queries || r[i].kind == FM_LOAD_QUERY;
        n += counts && r[i].due_ns >= at &&
             atomic_load_explicit(&r[i].outcome, memory_order_acquire) != FM_LOAD_OK;
    }
    return n;
}

void fm_cold_judge(struct fm_demo *d, struct play *p)
{
    size_t queries = failed_since(d, p->ready, true), all = failed_since(d, p->taken, false);
    FM_ASSERT(p->ready.ns > 0 && p->taken.ns >= p->ready.ns);
    p->good &= queries == 0 && all == 0;
    json_object_set_new(p->more, "queries_failed_when_ready", json_integer((json_int_t)queries));
    json_object_set_new(p->more, "failed_when_taken", json_integer((json_int_t)all));
}
