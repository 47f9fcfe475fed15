/* A trace of each machine, recorded here, replays; what is changed in it is found; what is none is
 * refused and brings nothing down. */
#include "test.h"

#include "trace/replay.h"

#include <stdio.h>
#include <stdlib.h>

static struct fm_replay *replay;
static char text[FM_TRACE_LINE_MAX];

static int begin(void **state)
{
    replay = fm_replay_new();
    assert_int_equal(fm_replay_line(replay, FM_STR(FM_TRACE_FIRST)).verdict, FM_REPLAY_SAME);
    return fm_test_fds_before(state);
}

static int end(void **state)
{
    fm_replay_free(replay);
    return fm_test_fds_after(state);
}

static struct fm_buf line(void)
{
    return fm_buf(text, sizeof text - 1);
}

/* It is fed, and says the same; with its last digit changed it differs or is refused. */
static void says_the_same(const struct fm_buf *b, bool step)
{
    assert_false(b->full);
    struct fm_replay_answer a = fm_replay_line(replay, fm_buf_str(b));
    if (a.verdict != FM_REPLAY_SAME || a.step != step)
        fail_msg("%.*s: %s: now %.*s", (int)b->n, b->p, a.why ? a.why : "", FM_STR_ARG(a.now));
}

static struct fm_mono at(int64_t ms)
{
    return (struct fm_mono){1000 * FM_NS_PER_S + ms * FM_NS_PER_MS};
}

/* -------- authority -------- */

static struct fm_auth_config config(void)
{
    struct fm_auth_config c = {.context = 3,
                               .self = {8},
                               .incarnation = {81},
                               .nregions = 2,
                               .ncells = 2,
                               .able = true,
                               .founds = true,
                               .lease_ms = 2000,
                               .rho_ppm = 10000,
                               .renew_ms = 500,
                               .retry_ms = 100,
                               .home = {1, 1},
                               .at_most = 2,
                               .window_ms = 3600000};
    fm_members_add(&c.file, c.self);
    fm_members_add(&c.file, (struct fm_agent_id){0});
    return c;
}

static struct fm_lease_at lease[2];
static struct fm_cell_at cell[2];

static struct fm_snapshot snapshot(void)
{
    lease[0] = (struct fm_lease_at){{5},
                                    {.keeper = {0},
                                     .incarnation = {7},
                                     .counter = 9,
                                     .life = 1,
                                     .lease_ms = 2000,
                                     .nsubs = 1,
                                     .sub = {{2, {7}}}}};
    lease[1] = (struct fm_lease_at){{0}, {.keeper = {0}}};
    for (unsigned i = 0; i < 2; i++) {
        cell[i] = (struct fm_cell_at){
            {6 + i}, {.region = 0, .state = FM_CELL_HELD, .epoch = {4 + i}, .gentle_from = {1}}};
        cell[i].r.members = config().file;
    }
    return (struct fm_snapshot){.store = {20},
                                .view = {{1}, {{1}, {1}}},
                                .keeper = {{12}, {{8}, {81}}},
                                .budget = {{0}, {0, 0}},
                                .lease = lease,
                                .cell = cell,
                                .nregions = 2,
                                .ncells = 2};
}

/* Feeds the event to `a` and to the replay; how many actions it had. */
static unsigned step(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now)
{
    struct fm_auth_actions acts;
    struct fm_buf b = line();
    fm_authority_step(a, e, now, &acts);
    fm_trace_authority_step(&b, a, e, now, &acts);
    says_the_same(&b, true);
    return acts.n;
}

static uint32_t read_on_its_way(const struct fm_authority *a)
{
    assert_true(a->reading);
    return a->read_sent;
}

static void authority_replays(void **state)
{
    (void)state;
    static struct fm_authority a;
    struct fm_auth_config c = config();
    struct fm_marks marks = {.store_id = 9, .store = {3}, .incarnation = {1}};
    struct fm_snapshot s = snapshot();
    struct fm_buf b = line();
    marks.epoch[1].n = 4;
    marks.holder[1] = 1;
    fm_authority_init(&a, &c, &marks, at(0));
    fm_trace_authority_init(&b, &c, &marks, at(0));
    says_the_same(&b, false);

    unsigned n = step(&a, &(struct fm_auth_event){.kind = FM_AUTH_TICK}, at(1));
    n += step(&a, &(struct fm_auth_event){.kind = FM_AUTH_SEEN, .snapshot = &s, .store_id = 9},
              at(2));
    n += step(&a,
              &(struct fm_auth_event){
                  .kind = FM_AUTH_OFFICE, .keeper = true, .resolved = true, .revision = {12}},
              at(3));
    struct fm_epoch epochs[FM_AUTH_CELLS_MAX] = {{4}, {5}};
    n += step(&a,
              &(struct fm_auth_event){.kind = FM_AUTH_PROMISE_ASKED,
                                      .agent = {0},
                                      .incarnation = {7},
                                      .asked_ns = 77,
                                      .cells = 3,
                                      .epochs = epochs},
              at(4));
    n += step(&a, &(struct fm_auth_event){.kind = FM_AUTH_ACQUIRE, .cells = 3}, at(5000));
    if (a.reading)
        n += step(&a,
                  &(struct fm_auth_event){.kind = FM_AUTH_READ,
                                          .op = read_on_its_way(&a),
                                          .ok = true,
                                          .snapshot = &s,
                                          .store_id = 9},
                  at(5010));
    assert_true(n > 3);

    a.cfg.at_most = 1;
    b = line();
    fm_trace_authority_conf(&b, &a.cfg, at(5020));
    says_the_same(&b, false);
    (void)step(&a, &(struct fm_auth_event){.kind = FM_AUTH_TICK}, at(9000));

    fm_authority_set_lease(&a, 1000, 250, 60, at(9100));
    b = line();
    fm_trace_authority_lease(&b, &a.cfg, at(9100));
    says_the_same(&b, false);
    (void)step(&a, &(struct fm_auth_event){.kind = FM_AUTH_TICK}, at(12000));
}

static void what_differs_is_found(void **state)
{
    (void)state;
    static struct fm_authority a;
    struct fm_auth_config c = config();
    struct fm_auth_actions acts;
    struct fm_auth_event e = {.kind = FM_AUTH_TICK};
    struct fm_buf b = line();
    fm_authority_init(&a, &c, NULL, at(0));
    fm_trace_authority_init(&b, &c, NULL, at(0));
    says_the_same(&b, false);
    fm_authority_step(&a, &e, at(1), &acts);
    acts.wake.ns++;
    b = line();
    fm_trace_authority_step(&b, &a, &e, at(1), &acts);
    struct fm_replay_answer answer = fm_replay_line(replay, fm_buf_str(&b));
    assert_int_equal(answer.verdict, FM_REPLAY_DIFFERS);
    assert_false(fm_str_eq(answer.then, answer.now));
}

/* -------- the others -------- */

static void the_office_replays(void **state)
{
    (void)state;
    struct fm_office_config c = {
        .self = {8}, .incarnation = {81}, .silence_ms = 1000, .retry_ms = 100};
    struct fm_office o;
    struct fm_buf b = line();
    fm_office_init(&o, &c, at(0));
    fm_trace_office_init(&b, &c, at(0));
    says_the_same(&b, false);
    bool claimed = false;
    for (int64_t i = 0; i < 20; i++) {
        struct fm_office_event e = {.kind = i ? FM_OFFICE_TICK : FM_OFFICE_SEEN, .linear = true};
        struct fm_office_verdict v;
        fm_office_step(&o, &e, at(100 * i), (uint64_t)i * 77, &v);
        claimed |= v.claim;
        b = line();
        fm_trace_office_step(&b, &o, &e, at(100 * i), (uint64_t)i * 77, &v);
        says_the_same(&b, true);
    }
    assert_true(claimed);
    fm_office_set_times(&o, 500, 50);
    b = line();
    fm_trace_office_times(&b, &o.cfg, at(3000));
    says_the_same(&b, false);
}

static void failover_replays(void **state)
{
    (void)state;
    struct fm_failover f;
    struct fm_trace_failover whose = {3, 1};
    struct fm_failover_policy p = {.mode = FM_MODE_AUTOMATIC, .grace_ms = 100, .max_loss = 1 << 20};
    struct fm_failover_evidence ev = {.heir = true,
                                      .observers = 3,
                                      .lost_by = 3,
                                      .domains = 3,
                                      .quorum = true,
                                      .ready = true,
                                      .capacity = true,
                                      .fenced = true,
                                      .budget_left = 2};
    struct fm_buf b = line();
    fm_failover_init(&f, at(0));
    fm_trace_failover_init(&b, whose, at(0));
    says_the_same(&b, false);
    static const enum fm_failover_event_kind kinds[] = {
        FM_FAILOVER_ON_TICK, FM_FAILOVER_ON_TICK,  FM_FAILOVER_ON_STARTED,
        FM_FAILOVER_ON_TICK, FM_FAILOVER_ON_TAKEN, FM_FAILOVER_ON_RETURNED};
    for (unsigned i = 0; i < FM_COUNT(kinds); i++) {
        struct fm_failover_event e = {.kind = kinds[i], .ev = &ev, .quote = {.until = at(1)}};
        struct fm_failover_verdict v = fm_failover_step(&f, &p, &e, at(200 * (int64_t)i));
        b = line();
        fm_trace_failover_step(&b, whose, &f, &p, &e, at(200 * (int64_t)i), &v);
        says_the_same(&b, true);
    }
    assert_int_equal(f.state, FM_FAILOVER_STEADY);
    assert_int_equal(f.since.ns, at(1000).ns);
}

static void moves_replay(void **state)
{
    (void)state;
    struct fm_move m = {.cell = 1, .to = 2, .late_at = FM_MONO_NEVER};
    struct fm_move_policy p = {100, 200, 300, 400, 500, 600};
    static const enum fm_move_event events[] = {
        FM_MOVE_ON_BEGIN, FM_MOVE_ON_READY,    FM_MOVE_ON_DRAINED, FM_MOVE_ON_STOPPED,
        FM_MOVE_ON_FINAL, FM_MOVE_ON_RELEASED, FM_MOVE_ON_TAKEN};
    for (unsigned i = 0; i < FM_COUNT(events); i++) {
        struct fm_move_verdict v = fm_move_step(&m, &p, events[i], at(i));
        struct fm_buf b = line();
        fm_trace_move_step(&b, 3, &m, &p, events[i], at(i), &v);
        says_the_same(&b, true);
    }
    assert_true(m.moved);
}

/* -------- what is none -------- */

static void what_is_no_line_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "authority",
        "authority 0",
        "authority 0 step",
        "authority 0 step now=1 => wake=1",
        "authority 128 init now=1 ncells=1",
        "authority 0 init now=1",
        "authority 0 init now=1 ncells=65 nregions=2",
        "authority 0 init now=1 ncells=1 nregions=17",
        "authority 0 init now=1 ncells=1 nregions=2 home=16",
        "authority 0 init now=1 ncells=1 nregions=2 self.n=128",
        "authority 0 init now=1 ncells=1 nregions=2 file=1",
        "authority 0 init now=1 ncells=1 nregions=2 file=16,1",
        "authority 0 init now=1 ncells=1 nregions=2 marks=1",
        "authority 0 init now=1 ncells=1 nregions=2 mark=64,1,1",
        "authority 0 init now=1 ncells=1 nregions=2 more=1",
        "authority 1 init now=1 ncells=1 nregions=2",
        "authority 0 conf now=1 ncells=1 nregions=2",
        "authority 0 init ncells=1",
        "office 0 step now=1 => wake=1",
        "office 0 init now=1 self.n=200",
        "failover 0 init now=1",
        "failover 0 init now=1 lost=16",
        "failover 0 step now=1 lost=0 kind=0 => state=steady",
        "move 0 init now=1",
        "move 0 step now=1 kind=99 => state=idle",
        "move 0 step now=x kind=0 => state=idle",
        "votes 0 step now=1",
    };
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        struct fm_replay_answer a = fm_replay_line(replay, fm_str_z(bad[i]));
        if (a.verdict != FM_REPLAY_MALFORMED || !a.why)
            fail_msg("`%s` is taken", bad[i]);
    }
    struct fm_replay *other = fm_replay_new();
    assert_int_equal(fm_replay_line(other, FM_STR("move 0 step now=1 kind=0 => x")).verdict,
                     FM_REPLAY_MALFORMED); /* without its first line */
    fm_replay_free(other);
}

static void another_life_forgets(void **state)
{
    (void)state;
    assert_int_equal(fm_replay_line(replay, FM_STR("failover 0 init now=1 lost=1")).verdict,
                     FM_REPLAY_SAME);
    assert_int_equal(fm_replay_line(replay, FM_STR(FM_TRACE_FIRST)).verdict, FM_REPLAY_SAME);
    assert_int_equal(fm_replay_line(replay, FM_STR("failover 0 step now=1 lost=1 => x")).verdict,
                     FM_REPLAY_MALFORMED);
}

#define T(fn) fm_test_with(fn, begin, end)
FM_TEST_MAIN(T(authority_replays), T(what_differs_is_found), T(the_office_replays),
             T(failover_replays), T(moves_replay), T(what_is_no_line_is_refused),
             T(another_life_forgets))
