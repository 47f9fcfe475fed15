/* What the tests of authority share: an agent with a coordination of its own that it can be shown
 * in any state. Times are milliseconds of the agent's clock. */
#ifndef FM_TESTS_CORE_RULES_H
#define FM_TESTS_CORE_RULES_H

#include "test.h"

#include "core/authority.h"

enum { REGIONS = 3, CELLS = 2, LEASE = 2000, RHO = 10000 };

struct scene {
    struct fm_authority a;
    struct fm_auth_actions out;
    struct fm_lease_at lease[REGIONS];
    struct fm_cell_at cell[CELLS];
    struct fm_keeper_at keeper;
    struct fm_budget_at budget;
    struct fm_view_at view;
    uint64_t revision, store_id;
    struct fm_mono now;
};

static inline struct fm_agent_id agent_id(unsigned region, unsigned index)
{
    return (struct fm_agent_id){(uint8_t)(region * FM_AGENTS_PER_REGION + index)};
}

static inline struct fm_members everybody(void)
{
    struct fm_members m = {{0}};
    for (unsigned r = 0; r < REGIONS; r++)
        for (unsigned i = 0; i < 2; i++)
            fm_members_add(&m, agent_id(r, i));
    return m;
}

static inline void feed(struct scene *s, struct fm_auth_event e)
{
    fm_authority_step(&s->a, &e, s->now, &s->out);
}

static inline void tick(struct scene *s)
{
    feed(s, (struct fm_auth_event){.kind = FM_AUTH_TICK});
}

static inline void at(struct scene *s, int64_t ms)
{
    s->now = (struct fm_mono){ms * FM_NS_PER_MS};
}

static inline void later(struct scene *s, int64_t ms)
{
    s->now = fm_mono_add_ms(s->now, ms);
}

static inline const struct fm_auth_action *did(const struct scene *s, enum fm_auth_action_kind kind)
{
    for (unsigned i = 0; i < s->out.n; i++)
        if (s->out.action[i].kind == kind)
            return &s->out.action[i];
    return NULL;
}

static inline bool said(const struct scene *s, enum fm_auth_why why)
{
    for (unsigned i = 0; i < s->out.n; i++)
        if (s->out.action[i].kind == FM_AUTH_DO_SAY && s->out.action[i].why == why)
            return true;
    return false;
}

static inline struct fm_snapshot shown(const struct scene *s)
{
    return (struct fm_snapshot){{s->revision}, s->view, s->keeper, s->budget,
                                s->lease,      s->cell, REGIONS,   CELLS};
}

/* Through a watch: it may be old. */
static inline void show(struct scene *s)
{
    struct fm_snapshot snap = shown(s);
    feed(s,
         (struct fm_auth_event){.kind = FM_AUTH_SEEN, .snapshot = &snap, .store_id = s->store_id});
}

static inline void answer_read(struct scene *s)
{
    struct fm_snapshot snap = shown(s);
    feed(s, (struct fm_auth_event){.kind = FM_AUTH_READ,
                                   .op = s->a.read_sent,
                                   .ok = true,
                                   .snapshot = &snap,
                                   .store_id = s->store_id});
}

/* Answers the linearizable read that is on its way, and those that follow from it. */
static inline void answer_reads(struct scene *s)
{
    for (unsigned i = 0; i < 4 && s->a.reading; i++)
        answer_read(s);
}

static inline void write_record(struct scene *s, const struct fm_write *w)
{
    struct fm_revision r = {s->revision};
    if (w->key.kind == FM_RECORD_LEASE)
        s->lease[w->key.region] = (struct fm_lease_at){r, w->to.lease};
    else if (w->key.kind == FM_RECORD_CELL)
        s->cell[w->key.id.cell] = (struct fm_cell_at){r, w->to.cell};
    else if (w->key.kind == FM_RECORD_BUDGET)
        s->budget = (struct fm_budget_at){r, w->to.budget};
}

/* The transaction of the last step comes to this; DONE writes it. Returns a copy of it. */
static inline struct fm_txn finish(struct scene *s, enum fm_txn_outcome outcome)
{
    const struct fm_auth_action *c = did(s, FM_AUTH_DO_COMMIT);
    assert_non_null(c);
    struct fm_txn t = *fm_authority_txn(&s->a, c->op);
    uint32_t op = c->op;
    if (outcome == FM_TXN_DONE) {
        s->revision++;
        for (unsigned i = 0; i < t.nwrite; i++)
            write_record(s, &t.write[i]);
    }
    feed(s, (struct fm_auth_event){
                .kind = FM_AUTH_OVER, .op = op, .outcome = outcome, .revision = {s->revision}});
    return t;
}

static inline bool compares(const struct fm_txn *t, enum fm_record_kind kind, unsigned region)
{
    for (unsigned i = 0; i < t->ncompare; i++)
        if (t->compare[i].key.kind == kind && t->compare[i].key.region == region)
            return true;
    return false;
}

static inline void office(struct scene *s, bool keeper)
{
    s->keeper.revision.n = ++s->revision;
    s->keeper.r = (struct fm_keeper_record){s->a.cfg.self, s->a.cfg.incarnation};
    feed(s, (struct fm_auth_event){.kind = FM_AUTH_OFFICE,
                                   .keeper = keeper,
                                   .resolved = true,
                                   .revision = s->keeper.revision});
}

/* An agent of region 1 that has just started; region 0 holds both cells and renews. */
static inline struct scene *begin(struct scene *s, const struct fm_marks *marks)
{
    memset(s, 0, sizeof *s);
    s->store_id = 7;
    s->revision = 100;
    s->view = (struct fm_view_at){{1}, {{1}, {1}}};
    for (unsigned i = 0; i < CELLS; i++) {
        s->cell[i].revision.n = 10 + i;
        s->cell[i].r =
            (struct fm_cell_record){.epoch = {5}, .gentle_from = {1}, .members = everybody()};
    }
    s->lease[0].revision.n = 50;
    s->lease[0].r = (struct fm_lease_record){.keeper = agent_id(0, 0),
                                             .incarnation = {9},
                                             .life = 1,
                                             .lease_ms = LEASE,
                                             .nsubs = 2,
                                             .sub = {{1, {11}}, {2, {12}}}};
    struct fm_auth_config cfg = {.self = agent_id(1, 0),
                                 .incarnation = {77},
                                 .nregions = REGIONS,
                                 .ncells = CELLS,
                                 .able = true,
                                 .lease_ms = LEASE,
                                 .rho_ppm = RHO,
                                 .renew_ms = 500,
                                 .retry_ms = 100,
                                 .at_most = 1,
                                 .window_ms = 60000};
    fm_members_add(&cfg.file, agent_id(0, 0));
    fm_members_add(&cfg.file, agent_id(2, 0));
    at(s, 10000);
    static const struct fm_marks known = {.store_id = 7, .incarnation = {1}};
    fm_authority_init(&s->a, &cfg, marks ? marks : &known, s->now);
    tick(s);
    answer_reads(s);
    return s;
}

/* ... and has become keeper of its region, with a live lease, not yet settled. */
static inline struct scene *begin_keeper(struct scene *s)
{
    begin(s, NULL);
    office(s, true);
    later(s, 200);
    tick(s);
    answer_reads(s);
    finish(s, FM_TXN_DONE); /* it takes the lease */
    later(s, 200);
    tick(s);
    answer_reads(s);
    assert_int_equal(s->a.k.state, FM_CHAIN_HOLD);
    return s;
}

/* Keeps its own lease alive for so long, and optionally that of region 0. */
static inline void live(struct scene *s, int64_t ms, bool holder_renews)
{
    for (int64_t t = 0; t < ms; t += 100) {
        later(s, 100);
        if (holder_renews && t % 500 == 0) {
            s->lease[0].revision.n = ++s->revision;
            s->lease[0].r.counter++;
        }
        show(s);
        if (did(s, FM_AUTH_DO_COMMIT))
            finish(s, FM_TXN_DONE);
        answer_reads(s);
        tick(s);
        if (did(s, FM_AUTH_DO_COMMIT))
            finish(s, FM_TXN_DONE);
        answer_reads(s);
    }
}

static inline struct scene *begin_settled(struct scene *s)
{
    begin_keeper(s);
    live(s, 3000, true);
    return s;
}

/* ... and holds both cells itself. */
static inline struct scene *begin_holder(struct scene *s)
{
    begin_settled(s);
    for (unsigned i = 0; i < CELLS; i++) {
        s->cell[i].revision.n = ++s->revision;
        s->cell[i].r.region = 1;
        s->cell[i].r.epoch.n = 6;
    }
    show(s);
    assert_int_equal(fm_authority_holds(&s->a), 3);
    return s;
}

static inline void sub_asks(struct scene *s, struct fm_sub sub, uint64_t stopped)
{
    static const struct fm_epoch epochs[CELLS] = {{6}, {6}};
    feed(s, (struct fm_auth_event){.kind = FM_AUTH_SUB_ASKS,
                                   .sub = sub,
                                   .asked_ns = 4242,
                                   .cells = stopped,
                                   .epochs = epochs});
}

/* A sub-lessee that is recorded and has a grant. */
static inline void with_sub(struct scene *s, struct fm_sub sub)
{
    sub_asks(s, sub, 0);
    if (did(s, FM_AUTH_DO_COMMIT))
        finish(s, FM_TXN_DONE);
    sub_asks(s, sub, 0);
}

static inline void order(struct scene *s, enum fm_auth_event_kind kind, uint64_t cells,
                         bool automatic)
{
    feed(s, (struct fm_auth_event){.kind = kind, .cells = cells, .automatic = automatic});
}

/* What it sends is done, and what it asks for is answered, for so long; nobody else lives. */
static inline void live_alone(struct scene *s, int64_t ms)
{
    for (int64_t t = 0; t < ms; t += 100) {
        later(s, 100);
        tick(s);
        for (unsigned i = 0; i < 8 && (did(s, FM_AUTH_DO_COMMIT) || s->a.reading); i++) {
            if (did(s, FM_AUTH_DO_COMMIT))
                finish(s, FM_TXN_DONE);
            else
                answer_read(s);
        }
    }
}

static inline void ask_promise(struct scene *s, struct fm_agent_id from, uint64_t epoch)
{
    struct fm_epoch epochs[CELLS] = {{epoch}, {epoch}};
    feed(s, (struct fm_auth_event){.kind = FM_AUTH_PROMISE_ASKED,
                                   .agent = from,
                                   .incarnation = {9},
                                   .asked_ns = 4242,
                                   .cells = 3,
                                   .epochs = epochs});
}

#endif
