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
    BROKEN_MS = 15000,
    GROWS_MS = 1500,
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

/* -------- replication -------- */

static bool is_broken(struct fm_demo *d)
{
    struct fm_stage_group g;
    return fm_stage_group_look(d, &g) && g.lacks_bytes >= 0;
}

/* Nothing bounds it any more, where nobody else follows. */
static bool is_unbounded(struct fm_demo *d)
{
    struct fm_stage_group g;
    return fm_stage_group_look(d, &g) && !g.enforced && g.lacks_bytes > 0;
}

static json_int_t lacks(const struct fm_demo *d)
{
    struct fm_stage_group g;
    return fm_stage_group_look(d, &g) ? g.lacks_bytes : -1;
}

/* While it is broken. */
static bool see_it_grow(struct fm_demo *d, struct play *p)
{
    json_int_t first = lacks(d);
    if (!fm_stage_wait(d, GROWS_MS, NULL))
        return false;
    json_int_t then = lacks(d);
    p->good &= first >= 0 && then > first;
    fm_demo_view_say(&d->view, "%s lacks %lld bytes, and %.1f s later %lld",
                     d->world.region[STANDBY].name, (long long)first, GROWS_MS / 1e3,
                     (long long)then);
    json_object_set_new(p->more, "lacked_bytes", json_pack("[I,I]", first, then));
    return true;
}

static json_int_t bound_before; /* that is waited for */

static bool is_bounded_as_before(struct fm_demo *d)
{
    struct fm_stage_group g;
    return fm_stage_group_look(d, &g) && g.enforced && g.bound_bytes <= bound_before &&
           g.lacks_bytes < 0;
}

/* What would be lost is what it was. */
static bool see_it_restored(struct fm_demo *d, struct play *p, json_int_t before)
{
    bound_before = before;
    if (!fm_switch_wait_whole(d, p) || !fm_stage_wait(d, BROKEN_MS, is_bounded_as_before))
        return false;
    mark(d, p, "restored_ms", is_bounded_as_before(d),
         "replication is restored, and what would be lost is bounded as before");
    return true;
}

bool fm_cold_rehearse(struct fm_demo *d, struct play *p)
{
    const char *to = d->world.region[STANDBY].name;
    const char *const prepare[] = {"failover",  "site",     "--to",          to,
                                   "--prepare", "--reason", "demonstration", NULL};
    const char *const stand_down[] = {"failover",     "site",     "--to",          to,
                                      "--stand-down", "--reason", "demonstration", NULL};
    struct fm_stage_group before;
    double took = -1;
    if (!fm_switch_begin(d, p))
        return false;
    p->good &= fm_stage_group_look(d, &before) && before.enforced && before.lacks_bytes < 0;
    p->good &= fm_operate(d, STANDBY, prepare, &took, NULL);
    if (d->interrupted || !fm_stage_wait(d, BROKEN_MS, is_broken))
        return false;
    mark(d, p, "broken_ms", is_broken(d), "replication to it is broken on purpose");
    if (!see_it_grow(d, p) ||
        (d->world.nregions == 2 && !fm_stage_wait(d, BROKEN_MS, is_unbounded)))
        return false;
    mark(d, p, "unbounded_ms", d->world.nregions > 2 || is_unbounded(d),
         "nothing bounds any more what would be lost, and nobody has waited");
    p->good &= fm_operate(d, STANDBY, stand_down, &took, NULL);
    return !d->interrupted && see_it_restored(d, p, before.bound_bytes) &&
           fm_stage_wait(d, STOPPED_MS, is_cold_again);
}

/* -------- prepare -------- */

bool fm_cold_prepare(struct fm_demo *d, struct play *p)
{
    FM_ASSERT(p->region == 0 && d->world.nregions > STANDBY);
    p->good &= !fm_world_app_runs(&d->world, STANDBY); /* that is the point of it */
    if (!(d->world.group ? fm_switch_kill(d, p) : fm_play_kill(d, p)) ||
        !fm_stage_wait(d, ASKED_MS, asks_a_person))
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
    return !d->world.group || see_it_restored(d, p, p->bound_bytes);
}

/* -------- the other one -------- */

/* What a person consents to is the bound that was shown while all was well: that replication was
 * broken since has not changed it. */
static bool says_the_same(struct fm_demo *d, struct play *p, const json_t *quote)
{
    const json_t *bytes = json_object_get(quote, "loss_bytes");
    const char *kind = json_string_value(json_object_get(quote, "bound_kind"));
    bool same = p->bounded && kind && strcmp(kind, "enforced") == 0 && json_is_integer(bytes) &&
                json_integer_value(bytes) == p->bound_bytes;
    fm_demo_view_say(&d->view, "the quote says what was shown before, %lld bytes: %s",
                     (long long)p->bound_bytes, same ? "yes" : "NO");
    json_object_set_new(p->more, "quoted_as_shown", json_boolean(same));
    return same;
}

/* What it would cost, then consent to that. */
static bool consent(struct fm_demo *d, struct play *p, double *took_ms)
{
    const char *to = d->world.region[STANDBY].name, *printed = NULL, *id = NULL;
    char quote[64] = "";
    const char *const ask[] = {"quote", "site", "--to", to, "-o", "json", NULL};
    if (!fm_operate(d, STANDBY, ask, took_ms, &printed))
        return false;
    json_t *doc = json_loads(printed, 0, NULL);
    if (doc && !json_unpack(doc, "{s:s}", "quote", &id))
        snprintf(quote, sizeof quote, "%s", id);
    if (d->world.group && !says_the_same(d, p, doc))
        quote[0] = 0;
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
    bool done = consent(d, p, &took);
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
    if ((d->world.group && !fm_switch_rejoin(d, p)) || !fm_stage_wait(d, SOAKED_MS, NULL))
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
    if (d->world.group && !fm_switch_begin(d, p))
        return false;
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
    return !d->world.group || fm_switch_wait_whole(d, p);
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
    if (d->world.group)
        fm_switch_judge(d, p);
}

void fm_cold_judge_home(struct fm_demo *d, struct play *p)
{
    if (d->world.group)
        fm_switch_judge(d, p);
}
