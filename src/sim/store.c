/* Coordination as a model: one history of revisions; a leader that needs a majority of the regions;
 * requests and answers that are lost, late, or both; reads that may be stale; watches that may have
 * gaps; a backup that is brought back. What a client is told follows from what happened here, with
 * one freedom: it may be told that the outcome is unknown. */
#include "sim/world.h"

#include <string.h>

enum { FIRST_BACKUP = 64 };

void store_begin(struct world *w)
{
    struct store *s = &w->store;
    s->id = 1;
    s->revision = 1;
    if (!w->cfg.empty)
        s->view = (struct fm_view_at){{1}, {{1}, {1}}};
    for (unsigned c = 0; c < w->cfg.contexts; c++)
        for (unsigned i = 0; i < w->cfg.cells[c] && !w->cfg.empty; i++) {
            struct fm_cell_record *r = &s->ctx[c].cell[i].r;
            s->ctx[c].cell[i].revision.n = ++s->revision;
            r->region = (uint8_t)home_of(w, c, i);
            r->epoch.n = 1;
            r->gentle_from.n = 1;
            for (unsigned x = 0; x < SIM_REGIONS; x++)
                for (unsigned k = 0; k < SIM_AGENTS; k++)
                    fm_members_add(&r->members,
                                   (struct fm_agent_id){(uint8_t)(x * FM_AGENTS_PER_REGION + k)});
        }
    w->leader = 0;
    for (unsigned i = 0; i < SIM_STALE; i++)
        w->stale[i] = *s;
    w->backup = *s;
}

/* -------- who leads -------- */

static bool both_ways(const struct world *w, unsigned a, unsigned b)
{
    return !w->cut[a][b] && !w->cut[b][a];
}

static bool has_majority(const struct world *w, unsigned r)
{
    unsigned n = 0;
    for (unsigned x = 0; x < SIM_REGIONS; x++)
        n += x == r || both_ways(w, r, x);
    return 2 * n > SIM_REGIONS;
}

void store_connect(struct world *w)
{
    if (w->leader >= 0 && has_majority(w, (unsigned)w->leader) && !w->coord_down)
        return;
    w->leader = -1;
    struct msg *m = new_msg(w, MSG_ELECTED, 0, 0);
    m->asked_ns = w->elected_at = w->now + w->cfg.election_ms * MS;
    post(w, m, m->asked_ns);
}

void store_elected(struct world *w, const struct msg *m)
{
    if (w->leader >= 0 || m->asked_ns != w->elected_at)
        return;
    unsigned first = fm_rand_below(&w->net, SIM_REGIONS);
    for (unsigned i = 0; i < SIM_REGIONS && !w->coord_down; i++) {
        unsigned r = (first + i) % SIM_REGIONS;
        if (has_majority(w, r)) {
            w->leader = (int)r;
            trace(w, "coordination is led from %u", r);
            return;
        }
    }
    store_connect(w);
}

bool store_reached(const struct world *w, unsigned region, bool back)
{
    if (w->leader < 0 || w->coord_down || w->coord_cut[region])
        return false;
    unsigned l = (unsigned)w->leader;
    return back ? !w->cut[l][region] : !w->cut[region][l];
}

/* -------- transactions -------- */

static struct fm_revision revision_of(const struct store *s, const struct fm_record_key *k)
{
    switch ((enum fm_record_kind)k->kind) {
    case FM_RECORD_KEEPER:
        return s->keeper[k->region].revision;
    case FM_RECORD_LEASE:
        return s->ctx[k->id.context].lease[k->region].revision;
    case FM_RECORD_CELL:
        return s->ctx[k->id.context].cell[k->id.cell].revision;
    case FM_RECORD_BUDGET:
        return s->ctx[k->id.context].budget.revision;
    case FM_RECORD_VIEW:
        return s->view.revision;
    case FM_RECORD_KIND_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

static void write_one(struct store *s, const struct fm_write *x)
{
    struct fm_revision rev = {s->revision};
    struct store_ctx *c = &s->ctx[x->key.id.context];
    switch ((enum fm_record_kind)x->key.kind) {
    case FM_RECORD_KEEPER:
        s->keeper[x->key.region] = (struct fm_keeper_at){rev, x->to.keeper};
        return;
    case FM_RECORD_LEASE:
        c->lease[x->key.region] = (struct fm_lease_at){rev, x->to.lease};
        return;
    case FM_RECORD_CELL:
        c->cell[x->key.id.cell] = (struct fm_cell_at){rev, x->to.cell};
        return;
    case FM_RECORD_BUDGET:
        c->budget = (struct fm_budget_at){rev, x->to.budget};
        return;
    case FM_RECORD_VIEW:
        s->view = (struct fm_view_at){rev, x->to.view};
        return;
    case FM_RECORD_KIND_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

static bool apply(struct world *w, const struct fm_txn *t, unsigned from)
{
    struct store *s = &w->store;
    for (unsigned i = 0; i < t->ncompare; i++)
        if (!fm_revision_same(revision_of(s, &t->compare[i].key), t->compare[i].revision))
            return false;
    check_committed(w, s, t, from);
    s->revision++;
    for (unsigned i = 0; i < t->nwrite; i++)
        write_one(s, &t->write[i]);
    if (s->revision % 32 == 0)
        w->stale[w->stale_at++ % SIM_STALE] = *s;
    if (s->revision % 1024 == 0 || (w->cfg.empty && s->revision == FIRST_BACKUP))
        w->backup = *s; /* nobody makes one of a store in which there is nothing yet */
    store_changed(w);
    return true;
}

static void answer(struct world *w, const struct msg *m, enum msg_kind kind, int32_t blob, bool ok,
                   enum fm_txn_outcome outcome)
{
    struct msg *a = new_msg(w, kind, m->from, m->from);
    a->ctx = m->ctx;
    a->op = m->op;
    a->life = m->life;
    a->flag = ok;
    a->answer = (uint8_t)outcome;
    a->revision = w->store.revision;
    a->blob = blob;
    bool told = ok || outcome == FM_TXN_NOT_DONE;
    int64_t timeout = m->sent_at + w->cfg.op_timeout_ms * MS;
    unsigned home = w->proc[m->from].region, leader = w->leader >= 0 ? (unsigned)w->leader : home;
    int64_t at = w->now + transit(w, leader, home);
    if (!told || at > timeout) {
        a->flag = false;
        a->answer = FM_TXN_UNKNOWN;
        at = timeout > w->now ? timeout : w->now;
    }
    post(w, a, at);
}

void store_commit(struct world *w, struct msg *m)
{
    unsigned region = w->proc[m->from].region;
    bool of_this_store = m->asked_ns == (int64_t)w->store.id;
    bool late = !m->flag && chance(w, w->late_ppm);
    bool lost_on_its_way = !store_reached(w, region, false) || chance(w, w->loss_ppm);
    if (late) { /* it waits somewhere, and its sender does not */
        struct msg *again = new_msg(w, MSG_COMMIT, m->from, m->to);
        *again = *m;
        again->flag = 1;
        m->blob = -1;
        post(w, again, w->now + between(&w->net, 0, 4 * w->cfg.lease_ms) * MS);
    }
    if (!m->flag && (late || lost_on_its_way)) {
        answer(w, m, MSG_COMMITTED, -1, false, FM_TXN_UNKNOWN);
        return;
    }
    if (w->leader < 0 || w->coord_down || !of_this_store) {
        if (!m->flag)
            answer(w, m, MSG_COMMITTED, -1, false, FM_TXN_UNKNOWN);
        return;
    }
    bool done = apply(w, &w->blobs[m->blob].txn, m->from);
    if (m->flag)
        return; /* its sender was told long ago */
    bool lost =
        !store_reached(w, region, true) || chance(w, w->unknown_ppm) || chance(w, w->loss_ppm);
    answer(w, m, MSG_COMMITTED, -1, done && !lost,
           lost   ? FM_TXN_UNKNOWN
           : done ? FM_TXN_DONE
                  : FM_TXN_NOT_DONE);
}

void store_read(struct world *w, struct msg *m)
{
    unsigned region = w->proc[m->from].region;
    if (!store_reached(w, region, false) || !store_reached(w, region, true) ||
        chance(w, w->loss_ppm)) {
        answer(w, m, MSG_READ_DONE, -1, false, FM_TXN_UNKNOWN);
        return;
    }
    int32_t b = new_blob(w);
    union blob *x = &w->blobs[b];
    x->read.id = w->store.id;
    x->read.revision = w->store.revision;
    x->read.view = w->store.view;
    x->read.keeper = w->store.keeper[region];
    x->read.ctx = w->store.ctx[m->ctx];
    answer(w, m, MSG_READ_DONE, b, true, FM_TXN_DONE);
}

/* -------- watches -------- */

/* Changes reach an agent a little later, several at once. */
void store_changed(struct world *w)
{
    for (unsigned r = 0; r < SIM_REGIONS; r++)
        for (unsigned i = 0; i < SIM_AGENTS; i++) {
            unsigned a = r * SIM_AGENTS + i, p = proc_agent(r, i);
            if (w->watch_due[a] || !w->proc[p].up)
                continue;
            w->watch_due[a] = true;
            struct msg *m = new_msg(w, MSG_WATCH, p, p);
            m->life = w->proc[p].life;
            post(w, m, w->now + between(&w->net, w->cfg.far_us * 1000, 200 * MS));
        }
}
