/* The database agents of the simulator: a shell around core/group.h, core/sublease.h and
 * core/credit.h, as the program's is one; and what the checker looks for in a group. */
#include "sim/world.h"

#include <string.h>

/* As the agent has seen it; zeros where it has not. */
static const struct fm_evidence *recorded(const struct db *d)
{
    return &d->cell.r.evidence;
}

/* -------- evidence -------- */

enum { HISTORY_ROOM = SIM_LINES * 48 };

static struct fm_history history(const struct line *line, unsigned n, char text[HISTORY_ROOM])
{
    size_t at = 0;
    for (unsigned i = 0; i + 1 < n; i++) {
        char lsn[FM_LSN_ROOM];
        fm_lsn_write(lsn, pg_lsn(line[i + 1].begins));
        at += (size_t)snprintf(text + at, HISTORY_ROOM - at, "%u\t%s\n", line[i].id, lsn);
    }
    return (struct fm_history){{line[n - 1].id}, fm_str(text, at)};
}

static struct fm_group_report look(const struct world *w, unsigned i)
{
    const struct db *d = &w->group->db[i];
    struct fm_group_report r = {.region = w->group->region[i]};
    if (!d->data)
        return r;
    const struct line *last = &d->line[d->nlines - 1];
    bool is_primary = d->process == FM_GROUP_UP ? d->primary : !d->signal;
    r.system_id = d->system;
    r.timeline.n = last->id;
    r.begins = d->nlines > 1 ? pg_lsn(last->begins) : FM_LSN_NONE;
    r.recovery = !is_primary;
    r.streaming = d->streaming;
    r.clean = d->clean;
    r.flush = pg_lsn(d->n);
    r.replay = pg_lsn(d->replayed);
    r.final = d->clean ? pg_lsn(d->n - 1) : FM_LSN_NONE;
    r.kept = is_primary && d->kept ? pg_lsn(d->kept) : FM_LSN_NONE;
    return r;
}

static bool knows_writer(const struct db *d)
{
    const struct fm_evidence *r = recorded(d);
    return d->nknown && r->writer == d->known_of + 1 && d->known[d->nknown - 1].id == r->timeline;
}

static bool is_open(const struct db *d)
{
    return d->g.state == FM_GROUP_PRIMARY || d->g.state == FM_GROUP_DRAINING;
}

struct seen {
    struct fm_group_evidence ev;
    struct fm_history mine, theirs;
    char text[2][HISTORY_ROOM];
};

static void see(struct world *w, unsigned i, struct seen *s)
{
    struct db *d = &w->group->db[i];
    s->ev = (struct fm_group_evidence){.sub = &d->sub.cell[0],
                                       .cell = &d->cell,
                                       .process = d->process,
                                       .data = d->data,
                                       .accepting = pg_accepts(w, i),
                                       .well_at = d->well_at,
                                       .self = look(w, i),
                                       .node = d->node,
                                       .nnodes = w->group->n,
                                       .counted = recorded(d)->promotable,
                                       .near = recorded(d)->near,
                                       .credit = recorded(d)->credit,
                                       .holes_to = {recorded(d)->holes_to}};
    if (d->data) {
        s->mine = history(d->line, d->nlines, s->text[0]);
        s->ev.history = &s->mine;
    }
    if (knows_writer(d)) {
        s->theirs = history(d->known, d->nknown, s->text[1]);
        s->ev.primary = &s->theirs;
    }
    s->ev.kept = d->kept_of && d->kept_of == recorded(d)->writer && d->kept_n == d->n &&
                 d->kept_line == d->line[d->nlines - 1].id;
    if (is_open(d) && d->credit_life == d->server_life) {
        s->ev.counted = d->counted;
        s->ev.near = d->near;
        s->ev.credit = fm_credit_counts_with(&d->credit);
        s->ev.holes_to = fm_credit_holes_to(&d->credit);
    }
}

bool db_serves(const struct world *w, unsigned i)
{
    static struct seen s;
    unsigned p = proc_db(i);
    if (!w->proc[p].up || pg_frozen(w, i))
        return false;
    see((struct world *)w, i, &s);
    return fm_group_serves(&w->group->db[i].g, &s.ev, local_now(w, p));
}

/* By its own clock, at this moment. */
static bool holds(const struct world *w, unsigned i)
{
    const struct fm_sublease_cell *c = &w->group->db[i].sub.cell[0];
    return fm_sublease_live(c, c->epoch, local_now(w, proc_db(i)));
}

/* What a step orders, against the truth: the sub-lease of this moment, and what is recorded while
 * the cell has its epoch. */
static void check_order(struct world *w, unsigned i, const struct fm_group_verdict *v)
{
    const struct db *d = &w->group->db[i];
    const struct fm_cell_record *c = &w->store.ctx[0].cell[0].r;
    const struct fm_evidence *r = &c->evidence;
    bool begins = v->action == FM_GROUP_DO_START_PRIMARY || v->action == FM_GROUP_DO_PROMOTE;
    if (!begins && v->action != FM_GROUP_DO_OPEN && v->action != FM_GROUP_DO_DRAIN)
        return;
    const char *state = fm_group_state_name((enum fm_group_state)v->to);
    if (!holds(w, i))
        broken(w, "rule 25", "node %u is %s without a live sub-lease", i, state);
    if (w->store.id != 1 || !fm_epoch_same(c->epoch, d->sub.cell[0].epoch))
        return;
    if (!fm_epoch_same(r->epoch, c->epoch) || r->node != i + 1)
        broken(w, "rule 26", "node %u is %s, and epoch %llu is not recorded for it", i, state,
               (unsigned long long)c->epoch.n);
    uint32_t line = d->nlines ? d->line[d->nlines - 1].id : 0;
    bool own = r->writer == 0 || (r->writer == i + 1 && line == r->timeline) || line == r->claimed;
    if (v->action == FM_GROUP_DO_START_PRIMARY && d->process == FM_GROUP_GONE && !own)
        broken(w, "rule 26", "node %u goes on with timeline %u, recorded is %u of node %u", i, line,
               r->timeline, r->writer - 1u);
}

/* -------- the credit -------- */

/* In some schedules nothing may be acknowledged that the nodes of the primary's region lack: from
 * some instant on, until another one. */
static struct fm_credit_policy policy_of(const struct world *w, unsigned i)
{
    const struct group *x = w->group;
    struct fm_credit_policy p = x->credit;
    for (unsigned k = 0; k < x->n && w->now >= x->near_from && w->now < x->near_until; k++)
        if (k != i && x->region[k] == x->region[i])
            p.near |= 1u << k;
    return p;
}

/* What that node may lack of what was acknowledged, by what is recorded. */
static uint64_t may_lack(const struct world *w, const struct fm_evidence *r, unsigned k)
{
    return r->near >> k & 1 ? 0 : w->group->credit.bytes;
}

static void give_credit(struct world *w, unsigned i)
{
    struct db *d = &w->group->db[i];
    struct fm_mono now = local_now(w, proc_db(i));
    struct fm_lsn end = pg_lsn(d->n);
    if (!is_open(d) || !pg_accepts(w, i) || !d->primary)
        return;
    struct fm_credit_policy policy = policy_of(w, i);
    if (d->credit_life != d->server_life)
        fm_credit_init(&d->credit, &policy, (uint8_t)i, recorded(d), end, now);
    d->credit_life = d->server_life;
    fm_credit_reset(&d->credit, &policy);
    fm_credit_hear(&d->credit, &d->asked, d->cell.revision, recorded(d), policy.bytes, now);
    fm_credit_in_force(&d->credit, true, end, now);
    struct fm_lsn before = d->granted;
    const struct fm_sublease_cell *sub = &d->sub.cell[0];
    bool live = fm_sublease_live(sub, sub->epoch, now); /* it knows of no newer epoch, either */
    d->granted = fm_credit_grant(&d->credit, live ? sub->until : FM_MONO_ZERO, now);
    if (fm_lsn_before(before, d->granted) && !holds(w, i))
        broken(w, "rule 23", "node %u gives credit without a live sub-lease", i);
    struct fm_credit_verdict v = fm_credit_look(&d->credit, now);
    d->counted = v.wanted;
    d->near = v.near;
}

/* -------- actions -------- */

static void ask_for_record(struct world *w, unsigned p, const struct fm_group_verdict *v)
{
    struct db *d = db_of(w, p);
    fm_credit_ask(&d->asked, v->revision, &v->record);
    for (unsigned a = 0; a < SIM_AGENTS; a++) {
        struct msg *m = new_msg(w, MSG_DB_RECORD, p, proc_agent(w->proc[p].region, a));
        m->revision = v->revision.n;
        m->blob = new_blob(w);
        w->blobs[m->blob].db.evidence = v->record;
        send_msg(w, m);
    }
}

static void begin_long(struct world *w, struct db *d, const struct fm_group_verdict *v)
{
    if (d->op && d->serial == v->serial)
        return;
    d->op = (uint8_t)v->action;
    d->op_from = v->node;
    d->serial = v->serial;
    d->op_at = w->now + between(&w->net, 100, 3000) * MS;
}

static void act(struct world *w, unsigned p, const struct fm_group_verdict *v)
{
    struct db *d = db_of(w, p);
    unsigned i = w->proc[p].index;
    if (v->records)
        ask_for_record(w, p, v);
    switch (v->action) {
    case FM_GROUP_DO_CREATE:
    case FM_GROUP_DO_KEEP:
    case FM_GROUP_DO_REWIND:
    case FM_GROUP_DO_CLONE:
        begin_long(w, d, v);
        return;
    case FM_GROUP_DO_START_STANDBY:
    case FM_GROUP_DO_START_PRIMARY:
        d->upstream = v->node;
        if (d->process == FM_GROUP_GONE)
            pg_start(w, i, v->action == FM_GROUP_DO_START_PRIMARY);
        return;
    case FM_GROUP_DO_FOLLOW:
        if (v->node != FM_GROUP_NOBODY && v->node != d->upstream) {
            d->upstream = v->node;
            d->streaming = false;
        }
        return;
    case FM_GROUP_DO_PROMOTE:
        if (!d->promote_at && pg_accepts(w, i))
            d->promote_at = w->now + between(&w->net, 10, 400) * MS;
        d->promote_to = v->timeline;
        return;
    case FM_GROUP_DO_STOP_FAST:
        if (!d->stop_at)
            d->stop_at = w->now + between(&w->net, 10, 900) * MS;
        return;
    case FM_GROUP_DO_STOP_IMMEDIATE:
        if (fm_rand_below(&w->net, 4))
            pg_kill(w, i);
        return;
    case FM_GROUP_DO_NOTHING:
    case FM_GROUP_DO_RECORD:
    case FM_GROUP_DO_OPEN:
    case FM_GROUP_DO_DRAIN:
    case FM_GROUP_DO_YIELD:
    case FM_GROUP_ACTION_COUNT:
        return;
    }
}

static void step(struct world *w, unsigned p, enum fm_group_event e, uint32_t serial)
{
    static struct seen s;
    struct db *d = db_of(w, p);
    unsigned i = w->proc[p].index;
    pg_progress(w, i);
    give_credit(w, i);
    see(w, i, &s);
    struct fm_group_verdict v =
        fm_group_step(&d->g, &w->group->policy, e, serial, &s.ev, local_now(w, p));
    if (v.changed || v.refused)
        trace(w, "node %u: %s -> %s (%s) epoch %llu timeline %u records %u%s", i,
              fm_group_state_name((enum fm_group_state)v.from),
              fm_group_state_name((enum fm_group_state)v.to),
              fm_group_why_name((enum fm_group_why)v.why),
              (unsigned long long)d->sub.cell[0].epoch.n, s.ev.self.timeline.n, d->n,
              v.refused ? " refused" : "");
    if (v.changed && v.to == FM_GROUP_RESUMING)
        w->r->resumes++;
    if (v.changed)
        db_entered(w, i, v.to);
    if (is_open(d))
        w->group->opened = fm_epoch_max(w->group->opened, d->sub.cell[0].epoch);
    check_order(w, i, &v);
    act(w, p, &v);
}

/* What takes time has ended, or failed. */
static void end_long(struct world *w, unsigned p)
{
    struct db *d = db_of(w, p);
    unsigned i = w->proc[p].index;
    if (d->op && w->now >= d->op_at) {
        bool still = d->serial == d->g.serial && d->process == FM_GROUP_GONE;
        bool ok = still && fm_rand_below(&w->net, 6) > 0;
        if (ok && d->op == FM_GROUP_DO_CREATE)
            pg_create(w, i);
        else if (ok && d->op == FM_GROUP_DO_KEEP)
            ok = pg_keep(w, i, d->op_from);
        else if (ok && !(d->op == FM_GROUP_DO_REWIND && d->lies_until > w->now))
            ok = pg_copy(w, i, d->op_from, d->op == FM_GROUP_DO_REWIND);
        d->op = FM_GROUP_DO_NOTHING;
        step(w, p, ok ? FM_GROUP_ON_DONE : FM_GROUP_ON_FAILED, d->serial);
    }
    if (d->fail_at && w->now >= d->fail_at) {
        pg_kill(w, i);
        step(w, p, FM_GROUP_ON_FAILED, d->g.serial);
    }
}

/* -------- messages -------- */

static bool has_stopped(struct world *w, unsigned i)
{
    static struct seen s;
    see(w, i, &s);
    const struct db *d = &w->group->db[i];
    bool stopped = fm_group_has_stopped(&d->g, &s.ev);
    if (stopped && d->primary && d->process != FM_GROUP_GONE)
        broken(w, "rule 25", "node %u says that it has stopped, and its backends live", i);
    return stopped;
}

static void ask(struct world *w, unsigned p)
{
    struct db *d = db_of(w, p);
    for (unsigned a = 0; a < SIM_AGENTS; a++) {
        struct msg *m = new_msg(w, MSG_SUB_ASKS, p, proc_agent(w->proc[p].region, a));
        m->sub = d->id;
        m->asked_ns = local_now(w, p).ns;
        m->cells = has_stopped(w, w->proc[p].index) ? fm_sublease_stopped(&d->sub) : 0;
        m->epochs[0] = d->sub.cell[0].stopped;
        send_msg(w, m);
    }
    unsigned any = fm_rand_below(&w->net, SIM_AGENTS);
    send_msg(w, new_msg(w, MSG_VIEW_ASKED, p, proc_agent(w->proc[p].region, any)));
}

static void tell(struct world *w, unsigned p, unsigned to, const struct fm_group_report *report)
{
    const struct db *d = db_of(w, p);
    struct msg *m = new_msg(w, MSG_DB_REPORT, p, to);
    m->blob = new_blob(w);
    union blob *b = &w->blobs[m->blob];
    b->db.report = *report;
    b->db.nlines = d->data ? d->nlines : 0;
    memcpy(b->db.line, d->line, b->db.nlines * sizeof d->line[0]);
    send_msg(w, m);
}

static void tell_others(struct world *w, unsigned p)
{
    struct db *d = db_of(w, p);
    struct seen s;
    see(w, w->proc[p].index, &s);
    struct fm_group_report report = fm_group_report(&d->g, &s.ev);
    for (unsigned i = 0; i < w->group->n; i++)
        if (proc_db(i) != p)
            tell(w, p, proc_db(i), &report);
    for (unsigned a = 0; a < SIM_REGIONS * SIM_AGENTS; a++)
        tell(w, p, proc_agent(a / SIM_AGENTS, a % SIM_AGENTS), &report);
}

static void take_report(struct world *w, unsigned p, const struct msg *m)
{
    struct db *d = db_of(w, p);
    const union blob *b = &w->blobs[m->blob];
    unsigned from = w->proc[m->from].index;
    d->node[from] = b->db.report;
    d->node[from].at = local_now(w, p);
    if (recorded(d)->writer != from + 1 || !b->db.nlines)
        return;
    d->known_of = (uint8_t)from;
    d->nknown = b->db.nlines;
    memcpy(d->known, b->db.line, d->nknown * sizeof d->known[0]);
}

static void take_view(struct world *w, unsigned p, const struct msg *m)
{
    struct db *d = db_of(w, p);
    const struct fm_cell_at *c = &w->blobs[m->blob].read.ctx.cell[0];
    bool seeded = m->incarnation.n > d->seed.n;
    if (c->revision.n == 0 || m->incarnation.n < d->seed.n ||
        (!seeded && !fm_revision_newer(c->revision, d->cell.revision)))
        return;
    d->seed = m->incarnation;
    d->cell = *c;
    fm_sublease_saw(&d->sub, 0, c->r.epoch, c->r.state == FM_CELL_HELD ? c->r.region : FM_NOBODY);
}

static void told_to_stop(struct world *w, unsigned p, const struct msg *m)
{
    struct db *d = db_of(w, p);
    uint64_t cells = fm_sublease_stop(&d->sub, m->cells & 1, m->epochs);
    step(w, p, FM_GROUP_ON_TICK, 0);
    if (!has_stopped(w, w->proc[p].index))
        return; /* it will be told again */
    struct msg *a = new_msg(w, MSG_STOPPED, p, m->from);
    a->sub = d->id;
    a->cells = cells;
    a->epochs[0] = m->epochs[0];
    send_msg(w, a);
}

static void timer(struct world *w, unsigned p)
{
    struct db *d = db_of(w, p);
    w->proc[p].timer_at = 0;
    if (pg_accepts(w, w->proc[p].index) && d->primary && d->stuck_until <= w->now)
        d->well_at = local_now(w, p);
    if (d->ticks++ % 2 == 0)
        ask(w, p);
    end_long(w, p);
    step(w, p, FM_GROUP_ON_TICK, 0);
    if (d->ticks % 3 == 0)
        tell_others(w, p);
    arm(w, p, w->now + real_after(&w->proc[p], between(&w->net, 60, 140) * MS));
}

void db_take(struct world *w, struct msg *m)
{
    unsigned p = m->to;
    struct db *d = db_of(w, p);
    if (m->kind == MSG_TIMER) {
        timer(w, p);
        return;
    }
    if (m->kind == MSG_STOP) {
        told_to_stop(w, p, m);
        return;
    }
    struct fm_grant g = grant_of(m);
    if (m->kind == MSG_GRANT && fm_sub_same(m->sub, d->id))
        fm_sublease_granted(&d->sub, &g, local_now(w, p));
    else if (m->kind == MSG_QUIET)
        fm_sublease_quiet(&d->sub, m->cells & 1, m->ms, local_now(w, p));
    else if (m->kind == MSG_VIEW)
        take_view(w, p, m);
    else if (m->kind == MSG_NUDGE)
        ask(w, p);
    else if (m->kind == MSG_DB_REPORT)
        take_report(w, p, m);
    else if (m->kind == MSG_PRESS)
        step(w, p, (enum fm_group_event)m->op, 0);
    step(w, p, FM_GROUP_ON_TICK, 0);
}

void db_start(struct world *w, unsigned p)
{
    struct db *d = db_of(w, p);
    unsigned i = w->proc[p].index;
    d->id = (struct fm_sub){(uint16_t)p, {++w->incarnations}};
    fm_sublease_init(&d->sub, w->proc[p].region, 1, w->cfg.rho_ppm);
    fm_group_init(&d->g, (uint8_t)i, w->group->n, local_now(w, p));
    memset(d->node, 0, sizeof d->node);
    memset(&d->cell, 0, sizeof d->cell);
    d->seed.n = d->credit_life = d->counted = d->near = 0;
    d->asked = (struct fm_credit_asked){0};
    d->nknown = d->op = d->kept_of = 0;
    d->well_at = FM_MONO_ZERO;
}

/* The agent is gone; PostgreSQL goes on until the guard stops it. */
void db_killed(struct world *w, unsigned p)
{
    struct db *d = db_of(w, p);
    if (d->process == FM_GROUP_GONE)
        return;
    struct msg *m = new_msg(w, MSG_DB_GUARD, p, p);
    m->op = d->server_life;
    post(w, m, w->now + between(&w->net, 1, w->cfg.lease_ms / 2) * MS);
}

void db_guard(struct world *w, const struct msg *m)
{
    struct db *d = db_of(w, m->to);
    if (d->server_life == m->op)
        pg_kill(w, w->proc[m->to].index);
}

/* -------- what others ask of the nodes of a region -------- */

/* To a cell that nobody has data of yet nothing stands in the way. The last writer has all of it.
 */
bool db_is_bounded(const struct world *w, unsigned region, const struct fm_evidence *r)
{
    for (unsigned i = 0; i < w->group->n; i++)
        if (w->group->region[i] == region && (r->promotable >> i & 1 || r->writer == i + 1))
            return true;
    return r->writer == 0;
}

bool db_is_ready(const struct world *w, unsigned region)
{
    unsigned writer = w->store.ctx[0].cell[0].r.evidence.writer;
    for (unsigned i = 0; i < w->group->n; i++)
        if (w->group->region[i] == region && w->proc[proc_db(i)].up &&
            (pg_accepts(w, i) || (writer == i + 1 && w->group->db[i].g.state == FM_GROUP_STOPPED)))
            return true;
    return false;
}

bool db_is_final(const struct world *w, unsigned from, unsigned to)
{
    const struct fm_evidence *r = &w->store.ctx[0].cell[0].r.evidence;
    if (r->writer == 0)
        return true;
    unsigned o = r->writer - 1u;
    struct fm_group_report old = look(w, o);
    if (w->group->region[o] != from || w->group->db[o].process != FM_GROUP_GONE)
        return false;
    for (unsigned i = 0; i < w->group->n; i++) {
        struct fm_group_report heir = look(w, i);
        if (w->group->region[i] == to && fm_group_is_final(&old, &heir))
            return true;
    }
    return false;
}

/* -------- the checker -------- */

/* At this instant, by everything that is true: this epoch is the cell's, this node alone acts under
 * it, and whoever bounds the loss is near enough. */
void db_acked(struct world *w, unsigned i, uint32_t record)
{
    struct group *x = w->group;
    const struct db *d = &x->db[i];
    const struct fm_cell_record *c = &w->store.ctx[0].cell[0].r;
    struct fm_epoch e = d->sub.cell[0].epoch;
    x->rec[d->log[record]].acked = true;
    w->r->commits++;
    if (fm_epoch_newer(x->acked_under, e))
        broken(w, "invariant 1", "node %u acknowledges under epoch %llu after %llu", i,
               (unsigned long long)e.n, (unsigned long long)x->acked_under.n);
    if (fm_epoch_same(x->acked_under, e) && x->acked_by != i)
        broken(w, "rule 25", "nodes %u and %u acknowledge under epoch %llu", x->acked_by, i,
               (unsigned long long)e.n);
    if (!holds(w, i))
        broken(w, "rule 25", "node %u acknowledges without a live sub-lease", i);
    x->acked_under = e;
    x->acked_at = w->now;
    x->acked_by = (uint8_t)i;
    if (w->store.id == 1 && !fm_epoch_same(c->epoch, e))
        broken(w, "invariant 1", "node %u acknowledges under epoch %llu, the cell has %llu", i,
               (unsigned long long)e.n, (unsigned long long)c->epoch.n);
    else if (w->store.id == 1 && c->state != FM_CELL_HELD)
        broken(w, "invariant 1", "node %u acknowledges under epoch %llu, which was let go of", i,
               (unsigned long long)e.n);
    for (unsigned k = 0; k < x->n; k++) {
        bool bounds = w->store.id == 1 && c->evidence.promotable >> k & 1;
        uint64_t ahead = fm_lsn_ahead(pg_lsn(record + 1), pg_lsn(x->db[k].n));
        uint64_t may = may_lack(w, &c->evidence, k);
        if (bounds && ahead > may)
            broken(w, "invariant 4",
                   "%llu bytes are acknowledged that node %u has not, %llu may be",
                   (unsigned long long)ahead, k, (unsigned long long)may);
    }
}

/* A node's history becomes the one that counts: what was acknowledged and is not in it is lost. */
static void opened(struct world *w, const struct fm_cell_record *old,
                   const struct fm_cell_record *new, unsigned i)
{
    const struct db *d = &w->group->db[i];
    uint32_t lost, last;
    bool planned = fm_epoch_same(w->group->planned, new->epoch);
    bool bounded = old->evidence.promotable >> i & 1;
    bool whole = pg_holds_acked(w, i, &lost, &last);
    trace(w, "node %u opens timeline %u of epoch %llu: %u lost%s%s", i, new->evidence.timeline,
          (unsigned long long)new->epoch.n, lost, planned ? ", planned" : "",
          bounded ? ", bounded" : "");
    w->r->commits_lost += lost;
    if (whole || w->store.id != 1)
        return;
    if (planned)
        broken(w, "invariant 3", "%u acknowledged commits are lost by a planned move to node %u",
               lost, i);
    uint64_t may = may_lack(w, &old->evidence, i);
    if (bounded && 8 * (uint64_t)lost > may)
        broken(w, may ? "invariant 4" : "invariant 3",
               "%u acknowledged commits are lost by node %u, the bound was %llu", lost, i,
               (unsigned long long)may);
    if (!planned && !bounded && !fm_cell_accepts_loss(old))
        broken(w, "rule 23", "%u acknowledged commits are lost by node %u, and nobody accepted it",
               lost, i);
    if (d->system != new->evidence.system_id)
        broken(w, "rule 26", "node %u is of another system", i);
}

/* Who waits for a primary is not let in before it is there. */
void db_check_admitted(struct world *w, struct fm_epoch epoch)
{
    struct fm_epoch opened = w->group->opened;
    if (w->store.id == 1 && opened.n && fm_epoch_newer(epoch, opened))
        broken(w, "rule 7",
               "a command is admitted under epoch %llu, no primary was open since %llu",
               (unsigned long long)epoch.n, (unsigned long long)opened.n);
}

bool db_any_serves(const struct world *w)
{
    for (unsigned i = 0; i < w->group->n; i++)
        if (db_serves(w, i))
            return true;
    return false;
}

void db_check_ended(struct world *w, const struct fm_cell_record *old)
{
    for (unsigned i = 0; i < w->group->n && w->store.id == 1; i++)
        if (db_serves(w, i) && fm_epoch_same(w->group->db[i].sub.cell[0].epoch, old->epoch))
            broken(w, "rule 7", "epoch %llu has ended, and node %u serves under it",
                   (unsigned long long)old->epoch.n, i);
}

/* Rule 30: in the peace at the end nobody gives up what is served. */
static void gave_up(struct world *w, struct fm_epoch epoch)
{
    bool served =
        fm_epoch_same(w->group->acked_under, epoch) && w->now - w->group->acked_at < 5 * S;
    w->r->yields++;
    if (served && w->now > w->end - 20 * S && w->now - w->calm_since > 20 * S)
        broken(w, "rule 30", "the cell of the group is given up, and node %u serves it",
               w->group->acked_by);
}

void db_recorded(struct world *w, const struct fm_cell_record *old,
                 const struct fm_cell_record *new)
{
    const struct fm_evidence *a = &old->evidence, *b = &new->evidence;
    bool taken = old->region != new->region;
    if (old->state != new->state || !fm_epoch_same(old->epoch, new->epoch))
        w->group->changed_at = w->now;
    if (new->state == FM_CELL_YIELDED && old->state == FM_CELL_HELD)
        gave_up(w, old->epoch);
    if (taken && old->state == FM_CELL_RELEASED && old->to == new->region)
        w->group->planned = new->epoch;
    else if (taken && w->store.id == 1 && !db_is_bounded(w, new->region, b) &&
             !fm_cell_accepts_loss(new))
        broken(w, "rule 30", "region %u takes what nobody there bounds, and nobody accepted it",
               new->region);
    if (b->writer && (a->writer != b->writer || a->timeline != b->timeline))
        opened(w, old, new, b->writer - 1u);
    else if (b->writer && a->node != b->node && b->node == b->writer)
        opened(w, old, new, b->node - 1u);
}

static bool could_serve(const struct world *w, unsigned i)
{
    const struct db *d = &w->group->db[i];
    const struct fm_cell_record *c = &w->store.ctx[0].cell[0].r;
    const struct fm_evidence *r = &c->evidence;
    bool claimed = fm_epoch_same(r->epoch, c->epoch);
    if (!d->data || d->system != r->system_id || (claimed && r->node != i + 1))
        return false;
    for (unsigned k = 0; k < d->nlines; k++)
        if (d->line[k].id == r->timeline)
            return r->writer == i + 1 || r->promotable >> i & 1 || fm_cell_accepts_loss(c);
    return false;
}

void db_check_end(struct world *w)
{
    const struct fm_cell_record *c = &w->store.ctx[0].cell[0].r;
    unsigned serving = FM_GROUP_NOBODY, could = FM_GROUP_NOBODY;
    for (unsigned i = 0; i < w->group->n; i++) {
        if (db_serves(w, i))
            serving = i;
        if (w->group->region[i] == c->region && could_serve(w, i))
            could = i;
    }
    for (unsigned i = 0; i < w->group->n; i++) {
        const struct db *d = &w->group->db[i];
        bool rejoined = d->g.state == FM_GROUP_STANDBY || d->g.state == FM_GROUP_CATCHING_UP;
        trace(w, "node %u: %s (%s) timeline %u records %u", i,
              fm_group_state_name((enum fm_group_state)d->g.state),
              fm_group_why_name((enum fm_group_why)d->g.why),
              d->data ? d->line[d->nlines - 1].id : 0, d->n);
        trace(w,
              "  sub-lease epoch %llu known %llu stopped %llu left %.3f; saw cell epoch %llu node "
              "%u writer %u",
              (unsigned long long)d->sub.cell[0].epoch.n,
              (unsigned long long)d->sub.cell[0].known.n,
              (unsigned long long)d->sub.cell[0].stopped.n,
              (double)fm_mono_sub_ns(d->sub.cell[0].until, local_now(w, proc_db(i))) / 1e9,
              (unsigned long long)d->cell.r.epoch.n, d->cell.r.evidence.node,
              d->cell.r.evidence.writer);
        if (serving != FM_GROUP_NOBODY && i != serving && !(rejoined && d->streaming) &&
            !yield_waits(w))
            broken(w, "liveness", "node %u is %s, and does not follow node %u", i,
                   fm_group_state_name((enum fm_group_state)d->g.state), serving);
    }
    if (serving == FM_GROUP_NOBODY && could != FM_GROUP_NOBODY && !yield_waits(w))
        broken(w, "liveness", "no node of the group serves, node %u could: it is %s", could,
               fm_group_state_name((enum fm_group_state)w->group->db[could].g.state));
    w->r->unserved += serving == FM_GROUP_NOBODY;
}
