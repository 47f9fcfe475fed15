/* The scenarios: what is broken, how it heals, what else is looked at. Each is measured from the
 * clients' side by the same means (report.c). */
#include "demo/holders.h"
#include "demo/play.h"

#include "base/assert.h"
#include "base/buf.h"
#include "http/fetch.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BEFORE_MS = 1000,
    OUTAGE_MS = 4000,
    AFTER_MS = 1000,
    AWAKE_MS = 500, /* to find out that time has passed */
    KEYS_MS = 10000,
    /* the lease with its drift, an answer that had just left, a tick of everybody, and 500 ms */
    PAUSE_MS = 2540,
    MOVE_MS = 500,
    /* a database stops, its last bytes arrive, another one is promoted, connections are made */
    SWITCH_MS = 1000,
    /* the lease, and 700 ms */
    FORCED_MS = 2740,
};

/* -------- breaking and healing -------- */

bool fm_play_kill(struct fm_demo *d, struct play *p)
{
    FM_ASSERT(p->region < d->world.nregions);
    fm_world_kill(&d->world, p->region);
    return true;
}

static bool freeze_region(struct fm_demo *d, struct play *p)
{
    fm_world_freeze(&d->world, p->region);
    return true;
}

static bool cut_off(struct fm_demo *d, struct play *p)
{
    fm_world_cut_off(&d->world, p->region);
    return true;
}

static bool stop_coordination(struct fm_demo *d, struct play *p)
{
    (void)p;
    fm_world_stop_coordination(&d->world);
    return true;
}

bool fm_play_heal(struct fm_demo *d, struct play *p)
{
    return fm_world_heal(&d->world, p->region, &d->error) == FM_ERR_OK;
}

static bool start_coordination(struct fm_demo *d, struct play *p)
{
    (void)p;
    return fm_world_start_coordination(&d->world, &d->error) == FM_ERR_OK;
}

/* -------- looking -------- */

/* What comes too late for a region that was taken over is refused, and by whom. */
static bool send_late(struct fm_demo *d, struct play *p)
{
    bool all_refused = false;
    json_t *found = fm_late_commands(d, p->region, p->had, &all_refused);
    FM_ASSERT(p->had[0] && json_is_object(found));
    const json_t *gate = json_object_get(found, "at_gate");
    const json_t *app = json_object_get(found, "at_application");
    p->good &= all_refused;
    fm_demo_view_say(&d->view, "late commands under %s: gate of %s refuses %lld of %lld (%s)",
                     p->had, p->name,
                     (long long)json_integer_value(json_object_get(gate, "refused")),
                     (long long)json_integer_value(json_object_get(gate, "sent")),
                     json_string_value(json_object_get(gate, "answer")));
    fm_demo_view_say(&d->view,
                     "its instances refuse %lld of %lld (%s): a newer epoch is in the row",
                     (long long)json_integer_value(json_object_get(app, "refused")),
                     (long long)json_integer_value(json_object_get(app, "sent")),
                     json_string_value(json_object_get(app, "answer")));
    json_object_set_new(p->more, "late_commands", found);
    return true;
}

/* After it woke up: what had waited in its sockets was closed unread. */
static bool see_it_awake(struct fm_demo *d, struct play *p)
{
    if (!fm_stage_wait(d, AWAKE_MS, NULL))
        return false;
    int64_t stalls = fm_late_stalls(d, p->region);
    bool noticed = stalls > p->stalls && p->stalls >= 0;
    p->good &= noticed;
    fm_demo_view_say(&d->view, "%s: its gate %s", p->name,
                     noticed ? "found that it had been frozen, and closed what waited unread"
                             : "did not notice that it had been frozen");
    json_object_set_new(p->more, "gate_noticed_stall", json_boolean(noticed));
    return send_late(d, p);
}

/* -------- a site that may only read -------- */

/* What a person sees meanwhile: a query that says where it is from, a command that is told when to
 * come again. */
bool fm_play_ask_meanwhile(struct fm_demo *d, struct play *p)
{
    static const char query[] =
        "GET /profile/user-1 HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n";
    static const char command[] = "PUT /profile/user-1 HTTP/1.1\r\nHost: site\r\n"
                                  "Idempotency-Key: by-hand\r\nContent-Length: 0\r\n"
                                  "Connection: close\r\n\r\n";
    char answer[4096], region[32], later[32];
    unsigned read = fm_ask(d->world.edge_port, fm_str_z(query), answer, sizeof answer);
    bool marked = strstr(answer, "\"read_only\":true") != NULL;
    fm_ask_header(answer, "Fulmar-Region: ", region, sizeof region);
    unsigned write = fm_ask(d->world.edge_port, fm_str_z(command), answer, sizeof answer);
    bool told = strstr(answer, "We are read-only for a moment") != NULL;
    fm_ask_header(answer, "Retry-After: ", later, sizeof later);
    p->good &= read == 200 && marked && write == 503 && told && later[0];
    fm_demo_view_say(&d->view, "a query: %u from %s, which says that it may only read: %s", read,
                     region, marked ? "yes" : "no");
    fm_demo_view_say(&d->view, "a command: %u, Retry-After: %s, with the message: %s", write, later,
                     told ? "yes" : "no");
    json_object_set_new(p->more, "meanwhile",
                        json_pack("{s:i,s:s,s:b,s:i,s:b}", "query_status", (int)read,
                                  "query_region", region, "query_says_read_only", (int)marked,
                                  "command_status", (int)write, "command_has_message", (int)told));
    return true;
}

bool fm_play_command(struct fm_demo *d)
{
#define COMMAND(line)                                                                              \
    line " HTTP/1.1\r\nHost: site\r\nIdempotency-Key: by-hand\r\nContent-Length: 0\r\n"            \
         "Connection: close\r\n\r\n"
    const char *command = d->world.group ? COMMAND("POST /ledger/acc-by-hand/debit?amount=1")
                                         : COMMAND("PUT /profile/user-1");
    char answer[4096];
    return fm_ask(d->world.edge_port, fm_str_z(command), answer, sizeof answer) == 200;
}

/* Nobody presses anything. */
static bool see_it_return(struct fm_demo *d, struct play *p)
{
    if (!fm_stage_wait(d, FM_STAGE_RETURN_MS, fm_play_command))
        return false;
    double took = (double)fm_mono_sub_ns(fm_mono_now(), p->healed) / 1e6;
    bool back = fm_play_command(d);
    p->good &= back;
    fm_demo_view_say(&d->view, "a command: %s", back ? "taken again, by itself" : "refused still");
    json_object_set_new(p->more, "returned", json_boolean(back));
    json_object_set_new(p->more, "return_ms", fm_report_ms(back ? took : -1));
    return true;
}

/* -------- a planned move -------- */

/* The cells of `context` that are away from home, "0,2,6". Cell i is at home in region i modulo
 * their number. */
static unsigned away_from_home(const struct fm_demo *d, const char *context, unsigned home,
                               char out[256])
{
    struct fm_buf b = fm_buf(out, 255);
    unsigned n = 0;
    FM_ASSERT(home < d->world.nregions);
    size_t cells = fm_holders_cells(d->status, context);
    for (unsigned i = home; i < cells; i += d->world.nregions) {
        const char *by = fm_holders_of(d->status, context, i, NULL);
        if (by && strcmp(by, d->world.region[home].name) == 0)
            continue;
        fm_buf_printf(&b, "%s%u", n++ ? "," : "", i);
    }
    FM_ASSERT(!b.full);
    out[b.n] = 0;
    return n;
}

bool fm_play_move(struct fm_demo *d, struct play *p, const char *context, unsigned to,
                  const char *cells)
{
    double took = -1;
    FM_ASSERT(json_is_array(json_object_get(p->more, "moves")));
    bool moved = fm_operate_move(d, context, to, cells, &took);
    if (d->interrupted)
        return false;
    p->good &= moved;
    if (!moved)
        fm_demo_view_say(&d->view, "it did not move: %s", d->error.msg);
    json_array_append_new(json_object_get(p->more, "moves"),
                          json_pack("{s:s,s:s,s:o,s:b}", "context", context, "to",
                                    d->world.region[to].name, "took_ms", fm_report_ms(took),
                                    "moved", (int)moved));
    return fm_stage_wait(d, BEFORE_MS, NULL);
}

/* The region lives, and cannot do its work: nobody takes anything from it, but an operator moves
 * what it holds of the cards. */
static bool break_network(struct fm_demo *d, struct play *p)
{
    char cells[256];
    struct fm_buf b = fm_buf(cells, sizeof cells - 1);
    unsigned other = (p->region + 1) % d->world.nregions, n = 0;
    json_object_set_new(p->more, "moves", json_array());
    fm_world_break_network(&d->world, p->region);
    if (!fm_stage_wait(d, BEFORE_MS, NULL))
        return false;
    for (unsigned i = 0; i < fm_holders_cells(d->status, "cards"); i++) {
        const char *by = fm_holders_of(d->status, "cards", i, NULL);
        if (by && strcmp(by, p->name) == 0)
            fm_buf_printf(&b, "%s%u", n++ ? "," : "", i);
    }
    FM_ASSERT(!b.full);
    cells[b.n] = 0;
    return n == 0 || fm_play_move(d, p, "cards", other, cells);
}

/* Everything to where it is at home, and what is at home away and back. */
static bool move_home(struct fm_demo *d, struct play *p)
{
    char cells[256];
    json_object_set_new(p->more, "moves", json_array());
    bool away = away_from_home(d, "ledger", 0, cells) > 0;
    if (!away && !fm_play_move(d, p, "ledger", 1, NULL))
        return false;
    if (!fm_play_move(d, p, "ledger", 0, NULL))
        return false;
    for (unsigned r = 0; r < d->world.nregions; r++)
        if (away_from_home(d, "cards", r, cells) > 0 && !fm_play_move(d, p, "cards", r, cells))
            return false;
    return true;
}

/* -------- the table -------- */

static const struct scenario scenarios[] = {
    {.id = FM_DEMO_KILL,
     .name = "kill",
     .what = "every process of %s is killed (SIGKILL)",
     .healed = "%s is started again",
     .objectives = {.gap_ms = 25, .pause_ms = PAUSE_MS, .detected = true},
     .outage_ms = OUTAGE_MS,
     .taken_over = true,
     .break_it = fm_play_kill,
     .heal = fm_play_heal},
    {.id = FM_DEMO_FREEZE,
     .name = "freeze",
     .what = "every process of %s is frozen (SIGSTOP)",
     .healed = "%s goes on (SIGCONT)",
     .objectives = {.gap_ms = 50, .pause_ms = PAUSE_MS, .detected = true},
     .outage_ms = OUTAGE_MS,
     .taken_over = true,
     .break_it = freeze_region,
     .heal = fm_play_heal},
    {.id = FM_DEMO_PARTIAL,
     .name = "partial",
     .what = "the card network of %s dies: only the cards must move",
     .healed = "the card network of %s is back",
     .objectives = {.pause_ms = PAUSE_MS, .detected = true, .only_cards = true},
     .context = "cards",
     .outage_ms = OUTAGE_MS,
     .break_it = break_network,
     .heal = fm_play_heal},
    {.id = FM_DEMO_MOVE,
     .name = "move",
     .what = "planned: what %s writes moves, and back",
     .healed = "everything is at home",
     .objectives = {.pause_ms = MOVE_MS},
     .break_it = move_home},
    {.id = FM_DEMO_PARTITION,
     .name = "partition",
     .what = "%s sees no other region, and no coordination; clients reach all of them",
     .healed = "the network is whole again",
     .objectives = {.pause_ms = PAUSE_MS},
     .outage_ms = OUTAGE_MS,
     .taken_over = true,
     .break_it = cut_off,
     .before_healing = send_late,
     .heal = fm_play_heal},
    {.id = FM_DEMO_COORDINATION_LOSS,
     .name = "coordination-loss",
     .what = "coordination is gone (SIGKILL), for more than twice the lease",
     .healed = "coordination is started again",
     .objectives = {.pause_ms = MOVE_MS},
     .outage_ms = 5000,
     .break_it = stop_coordination,
     .heal = start_coordination},
    {.id = FM_DEMO_SPLIT_BRAIN,
     .name = "split-brain",
     .what = "%s, which writes, is frozen (SIGSTOP) for longer than its lease",
     .healed = "%s wakes up (SIGCONT), and does not know what happened",
     .objectives = {.gap_ms = 50, .pause_ms = PAUSE_MS, .detected = true},
     .outage_ms = OUTAGE_MS,
     .taken_over = true,
     .break_it = freeze_region,
     .heal = fm_play_heal,
     .after = see_it_awake},
    {.id = FM_DEMO_READ_ONLY,
     .name = "read-only",
     .what = "every process of %s, which alone writes, is killed (SIGKILL)",
     .healed = "%s is started again; nobody does anything else",
     .objectives = {.detected = true, .read_only = true},
     .outage_ms = OUTAGE_MS,
     .break_it = fm_play_kill,
     .before_healing = fm_play_ask_meanwhile,
     .heal = fm_play_heal,
     .after = see_it_return},
    {.id = FM_DEMO_PREPARE,
     .name = "prepare",
     .what = "a person has the standby prepared, while %s goes on",
     .healed = "it was stood down; %s has never stopped",
     .objectives = {.pause_ms = SWITCH_MS},
     .break_it = fm_cold_rehearse,
     .judge = fm_switch_judge},
    {.id = FM_DEMO_STAND_DOWN,
     .name = "stand-down",
     .what = "every process of %s, which alone runs the app, is killed (SIGKILL)",
     .healed = "%s is started again, before anybody has consented",
     .objectives = {.detected = true, .judged = true},
     .break_it = fm_cold_prepare,
     .before_healing = fm_play_ask_meanwhile,
     .heal = fm_play_heal,
     .after = fm_cold_stand_down,
     .judge = fm_cold_judge},
    {.id = FM_DEMO_COMPLETE,
     .name = "complete",
     .what = "every process of %s, which alone runs the app, is killed (SIGKILL) once more",
     .healed = "%s is started again",
     .objectives = {.detected = true, .judged = true},
     .taken_over = true,
     .break_it = fm_cold_prepare,
     .before_healing = fm_cold_complete,
     .heal = fm_play_heal,
     .after = fm_cold_stays,
     .judge = fm_cold_judge},
    {.id = FM_DEMO_FAILBACK,
     .name = "failback",
     .what = "planned: what %s took over goes home",
     .healed = "it is at home; what %s needed for it is stopped again",
     .objectives = {.pause_ms = MOVE_MS},
     .break_it = fm_cold_fail_back,
     .judge = fm_cold_judge_home},
    {.id = FM_DEMO_GROUP_SWITCHOVER,
     .name = "switchover",
     .what = "planned: the ledger, its PostgreSQL with it, moves out of %s, and back",
     .healed = "it is in %s again",
     .objectives = {.pause_ms = SWITCH_MS},
     .break_it = fm_switch_over,
     .judge = fm_switch_judge},
    {.id = FM_DEMO_GROUP_FORCED,
     .name = "forced",
     .what = "%s, 40 ms away from the others, is about to die with its PostgreSQL (SIGKILL)",
     .healed = "%s is started again",
     .objectives = {.pause_ms = FORCED_MS, .detected = true, .may_lose = true},
     .outage_ms = OUTAGE_MS,
     .taken_over = true,
     .break_it = fm_switch_kill,
     .heal = fm_play_heal,
     .after = fm_switch_rejoin,
     .judge = fm_switch_judge},
    {.id = FM_DEMO_GROUP_FAILBACK,
     .name = "failback",
     .what = "planned: the ledger goes home, as soon as its data are there",
     .healed = "it is at home",
     .objectives = {.pause_ms = SWITCH_MS},
     .break_it = fm_switch_back,
     .judge = fm_switch_judge},
};

unsigned fm_demo_scenario_find(const char *name, unsigned these)
{
    for (size_t i = 0; i < FM_COUNT(scenarios); i++)
        if ((these & (unsigned)scenarios[i].id) && strcmp(scenarios[i].name, name) == 0)
            return scenarios[i].id;
    return 0;
}

/* -------- running one -------- */

/* Every request of the scenario has come to an end. */
static bool all_settled(struct fm_demo *d)
{
    const struct fm_load_record *r = fm_load_records(d->load);
    FM_ASSERT(d->first <= d->last && d->last <= fm_load_count(d->load));
    for (size_t i = d->first; i < d->last; i++)
        if (atomic_load_explicit(&r[i].outcome, memory_order_acquire) == FM_LOAD_PENDING)
            return false;
    return true;
}

static bool measure(struct fm_demo *d, int64_t fault_ns, struct fm_measure *m,
                    int64_t *last_failed_ms, unsigned char *effects)
{
    size_t first = d->first, last = d->last;
    FM_ASSERT(first <= last && d->load);
    int64_t *scratch = calloc(last - first + 1, sizeof *scratch);
    FM_ASSERT(scratch && effects);
    fm_measure_clients(fm_load_records(d->load), first, last, scratch, m);
    *last_failed_ms = m->last_failed_ns ? (m->last_failed_ns - fault_ns) / FM_NS_PER_MS : -1;
    struct fm_addr store = fm_world_loopback(d->world.store_port);
    struct fm_fetched got = {0};
    bool ok = fm_fetch(&store, "/keys", KEYS_MS, &got, NULL) == FM_ERR_OK && got.status == 200;
    if (ok)
        fm_measure_keys(d->load, last, fm_str(got.body ? got.body : "", got.n), effects);
    ok = ok && (!d->world.group || fm_stage_group_keys(d, first, last, effects));
    if (ok)
        fm_measure_effects(d->load, first, last, effects, m);
    free(got.body);
    free(scratch);
    return ok;
}

static void say(struct fm_demo *d, const char *format, const char *region)
{
    char text[FM_VIEW_LINE_MAX];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof text, format, region);
#pragma GCC diagnostic pop
    fm_demo_view_say(&d->view, ">>> %s", text);
}

/* Of a cold standby whose data are a PostgreSQL group: that has to move, too, and a region that
 * died may have acknowledged what nobody else has. */
static struct fm_objectives objectives_of(const struct fm_demo *d, const struct scenario *s)
{
    struct fm_objectives o = s->objectives;
    bool cold = d->world.group && d->options.story == FM_DEMO_COLD_STANDBY;
    if (cold && o.pause_ms)
        o.pause_ms = SWITCH_MS;
    o.may_lose |= cold && s->taken_over;
    return o;
}

static void begin(struct fm_demo *d, const struct scenario *s, struct play *p)
{
    uint64_t epoch = 0;
    FM_ASSERT(d->load && s->name && s->what && s->healed);
    *p = (struct play){.scenario = s, .region = fm_stage_writer(d), .good = true};
    p->name = d->world.region[p->region].name;
    p->more = json_object();
    (void)fm_holders_of(d->status, fm_stage_exclusive(d), 0, &epoch);
    snprintf(p->had, sizeof p->had, "%s/0@%llu", fm_stage_exclusive(d), (unsigned long long)epoch);
    p->stalls = fm_late_stalls(d, p->region);
    d->first = d->last = fm_load_count(d->load);
    snprintf(d->view.title, sizeof d->view.title, "scenario %s", s->name);
}

/* From the fault to the return. False: interrupted, or (d->failed) impossible. */
static bool play(struct fm_demo *d, struct play *p, struct fm_edge_view *v, int64_t *fault_ns)
{
    const struct scenario *s = p->scenario;
    if (!fm_stage_wait(d, BEFORE_MS, NULL))
        return false;
    fm_stage_refresh(d); /* what happened before is told before */
    p->began = fm_mono_now();
    *fault_ns = p->began.ns;
    say(d, s->what, p->name);
    if (!s->break_it(d, p))
        return false;
    *fault_ns = p->began.ns; /* some have to prepare it */
    if (s->outage_ms && !fm_stage_wait(d, s->outage_ms, NULL))
        return false;
    *v = fm_report_edge(d->status, p->name, s->context, *fault_ns);
    if (s->before_healing && !s->before_healing(d, p))
        return false;
    fm_stage_refresh(d);
    if (s->taken_over) {
        bool nothing = fm_holders_has_nothing(d->status, p->name);
        p->good &= nothing;
        json_object_set_new(p->more, "taken_over", json_boolean(nothing));
    }
    say(d, s->healed, p->name);
    p->healed = fm_mono_now();
    return (!s->heal || s->heal(d, p)) && (!s->after || s->after(d, p)) &&
           fm_stage_wait(d, FM_STAGE_RETURN_MS, fm_stage_all_up) &&
           fm_stage_wait(d, AFTER_MS, NULL);
}

static json_t *run_scenario(struct fm_demo *d, const struct scenario *s)
{
    struct play p;
    struct fm_edge_view v = {.detect_ms = -1, .quiet_ms = -1};
    struct fm_measure m;
    int64_t fault_ns = 0, last_failed_ms;
    FM_ASSERT(d->load && s->break_it);
    begin(d, s, &p);
    if (!play(d, &p, &v, &fault_ns)) {
        d->failed = !d->interrupted;
        json_decref(p.more);
        return NULL;
    }
    d->last = fm_load_count(d->load);
    if (!fm_stage_wait(d, FM_STAGE_SETTLE_MS, all_settled)) {
        json_decref(p.more);
        return NULL;
    }
    unsigned char *took = calloc(d->last + 1, 1);
    bool effects = measure(d, fault_ns, &m, &last_failed_ms, took);
    p.measure = &m;
    p.effects = took;
    if (s->judge)
        s->judge(d, &p);
    free(took);
    struct fm_objectives objectives = objectives_of(d, s);
    json_t *o = fm_report_scenario(d, s->name, p.name, &objectives, &m, &v, effects);
    json_object_set_new(o, "last_failed_ms",
                        last_failed_ms < 0 ? json_null() : json_integer(last_failed_ms));
    json_object_set_new(o, "longest_gap_at_ms",
                        json_integer((m.longest_gap_at_ns - fault_ns) / FM_NS_PER_MS));
    if (!p.good)
        json_object_set_new(o, "pass", json_false());
    json_object_update(o, p.more);
    json_decref(p.more);
    fm_demo_view_say(&d->view,
                     "%s: %zu of %zu requests failed, longest gap %.1f ms, longest command pause "
                     "%.0f ms",
                     s->name, m.failed, m.requests, (double)m.longest_gap_ns / 1e6,
                     (double)m.longest_pause_ns / 1e6);
    return o;
}

bool fm_stage_run(struct fm_demo *d, unsigned which, json_t *list)
{
    FM_ASSERT(which && json_is_array(list));
    for (size_t i = 0; i < FM_COUNT(scenarios) && !d->interrupted && !d->failed; i++) {
        json_t *one = NULL;
        if (which & (unsigned)scenarios[i].id)
            one = run_scenario(d, &scenarios[i]);
        if (one)
            json_array_append_new(list, one);
    }
    return !d->interrupted && !d->failed;
}
