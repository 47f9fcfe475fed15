/* What happens to a group of PostgreSQL nodes, drawn by the seed: to servers, agents, hosts, disks
 * and programs; the orders of people. And the group itself. */
#include "sim/world.h"

#include <string.h>

/* -------- faults of a group -------- */

enum {
    DB_CRASH,
    DB_ORPHANS,
    DB_AGENT,
    DB_HOST,
    DB_PAUSE,
    DB_ORDER,
    DB_CUT,    /* of the region that holds the cell */
    DB_TRAP,   /* the agent dies in the middle of taking over */
    DB_LOG,    /* primaries throw away what their standbys may still need */
    DB_FULL,   /* the disk */
    DB_LIES,   /* rewinds are said to have been done */
    DB_FROZEN, /* the server; the agent goes on */
    DB_STUCK,  /* what lets sessions in; those that are in go on */
    DB_UNKNOWN,
    DB_PRIMARY, /* the host of the primary goes, for long */
    DB_FAULTS,
    DB_UP,
    DB_JOIN,
    DB_KNOWN,
    DB_CREATE
};

static void cut(struct world *w, unsigned region, bool on)
{
    for (unsigned x = 0; x < SIM_REGIONS; x++)
        if (x != region)
            w->cut[region][x] = w->cut[x][region] = on;
    w->faults_on += on ? 1u : -1u;
    w->calm_since = w->now;
    store_connect(w);
}

static void press(struct world *w, unsigned i, enum fm_group_event e)
{
    struct msg *m = new_msg(w, MSG_PRESS, 0, proc_db(i));
    m->op = e;
    post(w, m, w->now);
}

/* Says whose data count: those of who was open last, if it is here; else whose there are. */
static void found(struct world *w)
{
    const struct fm_cell_record *c = &w->store.ctx[0].cell[0].r;
    unsigned best = FM_GROUP_NOBODY;
    if (c->evidence.writer || w->store.ctx[0].cell[0].revision.n == 0)
        return;
    for (unsigned i = 0; i < w->group->n; i++)
        if (w->group->region[i] == c->region &&
            (best == FM_GROUP_NOBODY || i == w->group->acked_by))
            best = i;
    bool others = w->group->systems > 0 && best != FM_GROUP_NOBODY && !w->group->db[best].data;
    if (best != FM_GROUP_NOBODY && !others)
        press(w, best, FM_GROUP_ON_CREATE);
}

static void post_fault(struct world *w, unsigned what, unsigned i, int64_t at, int64_t length,
                       uint32_t order)
{
    struct msg *m = new_msg(w, MSG_DB_FAULT, 0, 0);
    m->op = what;
    m->cell = (uint8_t)i;
    m->asked_ns = length;
    m->tries = order;
    post(w, m, at);
}

void db_entered(struct world *w, unsigned i, unsigned state)
{
    struct db *d = &w->group->db[i];
    if (d->trap == FM_GROUP_LOOKING || d->trap != state || w->now > w->faults_end)
        return;
    d->trap = FM_GROUP_LOOKING;
    int64_t at = w->now + between(&w->net, 0, 300) * MS;
    post_fault(w, DB_AGENT, i, at, 0, 0);
    post_fault(w, DB_UP, i,
               at + between(&w->net, 10, fm_rand_below(&w->net, 2) ? 4000 : 20000) * MS, 0, 0);
}

static const uint8_t traps[] = {FM_GROUP_CLAIMING, FM_GROUP_RESUMING, FM_GROUP_PROMOTING,
                                FM_GROUP_OPENING};

void db_fault(struct world *w, const struct msg *m)
{
    unsigned i = m->cell, p = proc_db(i);
    struct db *d = &w->group->db[i % SIM_DBS];
    if (m->op < DB_UP)
        trace(w, "fault %u of node %u", m->op, i);
    switch (m->op) {
    case DB_CRASH:
        if (d->process == FM_GROUP_UP)
            pg_kill(w, i);
        return;
    case DB_ORPHANS:
        if (d->process == FM_GROUP_UP && w->now >= d->up_at)
            d->process = FM_GROUP_ORPHANS;
        return;
    case DB_HOST:
        pg_kill(w, i);
        guard_speaks(w, p, true);
        proc_kill(w, p);
        return;
    case DB_PRIMARY:
        i = w->store.ctx[0].cell[0].r.evidence.node;
        if (i == 0)
            return;
        pg_kill(w, i - 1);
        if (m->tries & 1)
            guard_speaks(w, proc_db(i - 1), true);
        proc_kill(w, proc_db(i - 1));
        post_fault(w, DB_UP, i - 1, w->now + 10 * S + m->asked_ns, 0, 0);
        return;
    case DB_AGENT:
        proc_kill(w, p);
        return;
    case DB_PAUSE:
        if (w->proc[p].resume_at < w->now + m->asked_ns)
            w->proc[p].resume_at = w->now + m->asked_ns;
        return;
    case DB_ORDER:
        press(w, i, (enum fm_group_event)m->tries);
        return;
    case DB_CUT:
        i = w->store.ctx[0].cell[0].r.region;
        cut(w, i, true);
        post_fault(w, DB_JOIN, i, w->now + m->asked_ns, 0, 0);
        return;
    case DB_JOIN:
        cut(w, i, false);
        return;
    case DB_TRAP:
        d->trap = traps[m->tries % FM_COUNT(traps)];
        return;
    case DB_LOG:
        for (unsigned k = 0; k < w->group->n; k++)
            if (w->group->db[k].primary && pg_accepts(w, k))
                w->group->db[k].kept = w->group->db[k].n;
        return;
    case DB_FULL:
        d->full_until = w->now + m->asked_ns;
        return;
    case DB_LIES:
        d->lies_until = w->now + m->asked_ns;
        return;
    case DB_FROZEN:
        if (d->process == FM_GROUP_UP)
            d->frozen_until = w->now + m->asked_ns;
        return;
    case DB_STUCK:
        if (d->process == FM_GROUP_UP)
            d->stuck_until = w->now + m->asked_ns;
        return;
    case DB_UNKNOWN:
        w->unknown_ppm = 300000;
        post_fault(w, DB_KNOWN, i, w->now + m->asked_ns, 0, 0);
        return;
    case DB_KNOWN:
        w->unknown_ppm = 0;
        return;
    case DB_UP:
        proc_start(w, p);
        press(w, i, FM_GROUP_ON_RESUME);
        return;
    default: /* as long as the world lasts */
        found(w);
        for (unsigned k = 0; k < w->group->n && w->now > w->faults_end; k++)
            press(w, k, FM_GROUP_ON_RESUME);
        post_fault(w, DB_CREATE, 0, w->now + 5 * S, 0, 0);
        return;
    }
}

static void draw_faults(struct world *w, struct fm_rand *dice)
{
    static const uint8_t orders[] = {FM_GROUP_ON_MAINTAIN, FM_GROUP_ON_RESUME, FM_GROUP_ON_REINIT};
    unsigned n = 6 + fm_rand_below(dice, 18);
    int64_t last = w->end - 60 * S;
    for (unsigned k = 0; k < n; k++) {
        unsigned what = fm_rand_below(dice, DB_FAULTS), i = fm_rand_below(dice, w->group->n);
        int64_t at = between(dice, 15 * S, last - 20 * S);
        int64_t length = between(dice, 10 * MS, fm_rand_below(dice, 2) ? 3 * S : 20 * S);
        post_fault(w, what, i, at, length, orders[fm_rand_below(dice, FM_COUNT(orders))]);
        if (what == DB_AGENT || what == DB_HOST || what == DB_ORDER)
            post_fault(w, DB_UP, i, at + length, 0, 0);
    }
    for (unsigned i = 0; i < w->group->n; i++)
        post_fault(w, DB_UP, i, last + S, 0, 0);
    for (unsigned k = 0; k < 8; k++) { /* whoever holds the cell moves it */
        int64_t at = between(dice, 15 * S, last - 20 * S);
        uint32_t button = fm_rand_below(dice, 2) << 5;
        for (unsigned a = 0; a < SIM_REGIONS * SIM_AGENTS; a++) {
            struct msg *m = new_msg(w, MSG_PRESS, 0, proc_agent(a / SIM_AGENTS, a % SIM_AGENTS));
            m->flag = 3;
            m->op = button;
            post(w, m, at);
        }
    }
    post_fault(w, DB_CREATE, 0, 2 * S, 0, 0);
}

/* In half of them, and with dice of its own, so that the others stay what they were. */
static void draw_near(struct world *w)
{
    struct fm_rand dice = {fm_mix64(w->o->seed + 29)};
    struct group *x = w->group;
    x->near_from = x->near_until = INT64_MAX;
    if (x->credit.bytes == 0 || fm_rand_below(&dice, 2))
        return;
    x->near_from = fm_rand_below(&dice, 2) ? 0 : between(&dice, 15 * S, w->end - 80 * S);
    if (fm_rand_below(&dice, 2))
        x->near_until = between(&dice, x->near_from, w->end);
}

/* A share of the schedules has a group, drawn by dice of its own. */
void db_draw(struct world *w)
{
    enum { SHARE = 8 };
    static struct group group;
    static const uint64_t credits[] = {0, 0, 64, 512};
    struct fm_rand dice = {fm_mix64(w->o->seed + 11)};
    if (fm_rand_below(&dice, SHARE) && !w->o->groups)
        return;
    memset(&group, 0, sizeof group);
    struct group *x = w->group = &group;
    w->r->has_group = true;
    x->n = 2 + fm_rand_below(&dice, SIM_DBS - 1);
    x->policy = (struct fm_group_policy){.prefer = (uint8_t)fm_rand_below(&dice, 2),
                                         .restarts_max = (uint8_t)fm_rand_below(&dice, 4),
                                         .restarts_ms = 20000,
                                         .hang_ms = 6000,
                                         .yield_ms = 5000,
                                         .tries_max = 3,
                                         .copies_max = 6,
                                         .retry_ms = 500,
                                         .stop_ms = between(&dice, 300, 3000),
                                         .fresh_ms = 2000,
                                         .stuck_ms = 1500,
                                         .wait_ms = between(&dice, 500, 5000),
                                         .lag_max = 200};
    x->credit = (struct fm_credit_policy){.bytes = credits[fm_rand_below(&dice, FM_COUNT(credits))],
                                          .beyond = (uint8_t)fm_rand_below(&dice, 2),
                                          .patience_ms = between(&dice, 300, 3000),
                                          .able = (1u << x->n) - 1};
    draw_near(w);
    unsigned spread = SIM_REGIONS - fm_rand_below(&dice, 2);
    for (unsigned i = 0; i < x->n; i++) {
        struct proc *q = &w->proc[proc_db(i)];
        x->region[i] = q->region = (uint8_t)(i % spread);
        q->base_local = between(&dice, 1, 1000) * S;
        q->ppm = (int32_t)between(&dice, -(int64_t)w->cfg.rho_ppm, w->cfg.rho_ppm);
        x->db[i].upstream = FM_GROUP_NOBODY;
        proc_start(w, proc_db(i));
    }
    post(w, new_msg(w, MSG_DB_WRITE, 0, 0), S);
    draw_faults(w, &dice);
}
