/* PostgreSQL as a model: a log of records, timelines, a server that starts, stops, crashes and is
 * promoted, standbys that receive the log of an upstream, copies and rewinds. What it refuses by
 * itself is what PostgreSQL refuses: to follow a history that it can see to be another one. What it
 * cannot see is looked at here. */
#include "sim/world.h"

#include <string.h>

/* The end of so many records; a record is 8 bytes, the log begins at 16. */
struct fm_lsn pg_lsn(uint32_t n)
{
    return (struct fm_lsn){16 + 8 * (uint64_t)n};
}

bool pg_frozen(const struct world *w, unsigned i)
{
    return w->proc[proc_db(i)].resume_at > w->now || w->group->db[i].frozen_until > w->now;
}

bool pg_accepts(const struct world *w, unsigned i)
{
    const struct db *d = &w->group->db[i];
    return d->process == FM_GROUP_UP && !d->stop_at && !d->fail_at && w->now >= d->up_at &&
           d->frozen_until <= w->now;
}

static void append(struct world *w, struct db *d, bool client)
{
    struct group *x = w->group;
    if (d->n == SIM_WAL || x->nrecs == SIM_RECS)
        return;
    x->rec[x->nrecs].client = client;
    d->log[d->n++] = x->nrecs++;
    d->replayed = d->n;
}

void pg_create(struct world *w, unsigned i)
{
    struct db *d = &w->group->db[i];
    d->data = d->clean = true;
    d->signal = false;
    d->system = ++w->group->systems;
    d->nlines = 1;
    d->line[0] = (struct line){1, 0};
    d->n = 0;
    append(w, d, false);
}

void pg_start(struct world *w, unsigned i, bool primary)
{
    struct db *d = &w->group->db[i];
    FM_ASSERT(d->data && d->process == FM_GROUP_GONE);
    d->process = FM_GROUP_UP;
    d->server_life++;
    d->primary = primary;
    d->signal = !primary;
    d->clean = d->streaming = false;
    d->granted = FM_LSN_NONE;
    d->answered = d->n;
    d->up_at = w->now + between(&w->net, 30, 500) * MS;
    d->stop_at = d->promote_at = 0;
    d->fail_at = fm_rand_below(&w->net, d->full_until > w->now ? 2 : 16) ? 0 : d->up_at;
}

/* All of it is reaped. */
void pg_kill(struct world *w, unsigned i)
{
    struct db *d = &w->group->db[i];
    d->process = FM_GROUP_GONE;
    d->streaming = false;
    d->up_at = d->stop_at = d->promote_at = d->fail_at = d->frozen_until = d->stuck_until = 0;
    d->well_at = FM_MONO_ZERO;
}

/* -------- the stream -------- */

static bool same_lines(const struct db *s, const struct db *u)
{
    return s->nlines <= u->nlines && memcmp(s->line, u->line, s->nlines * sizeof s->line[0]) == 0;
}

/* As far as walreceiver and startup process see it. */
static bool may_stream(const struct db *s, const struct db *u)
{
    if (!same_lines(s, u) || s->system != u->system || s->n > u->n || s->n < u->kept)
        return false;
    return s->nlines == u->nlines || s->n <= u->line[s->nlines].begins;
}

static void connect_to(struct world *w, unsigned i, const struct db *u)
{
    struct db *s = &w->group->db[i];
    s->streaming = may_stream(s, u);
    s->upstream_life = u->server_life;
    if (!s->streaming)
        return;
    if (memcmp(s->log, u->log, s->n * sizeof s->log[0]) != 0)
        broken(w, "rule 26", "node %u follows node %u, whose log is another one", i, s->upstream);
    memcpy(s->line, u->line, sizeof u->line);
    s->nlines = u->nlines;
}

static bool linked(const struct world *w, unsigned a, unsigned b)
{
    const uint8_t *r = w->group->region;
    return !w->cut[r[a]][r[b]] && !w->cut[r[b]][r[a]] && !pg_frozen(w, a) && !pg_frozen(w, b);
}

static void receive(struct world *w, unsigned i, bool all)
{
    struct db *s = &w->group->db[i];
    unsigned from = s->upstream;
    bool runs = pg_accepts(w, i) && !s->primary && s->full_until <= w->now;
    if (!runs || from >= w->group->n || from == i)
        return;
    struct db *u = &w->group->db[from];
    bool sends = u->process == FM_GROUP_UP && w->now >= u->up_at && u->primary;
    if (!sends || !linked(w, i, from)) {
        s->streaming = false;
        return;
    }
    if (!s->streaming || s->upstream_life != u->server_life)
        connect_to(w, i, u);
    if (!s->streaming)
        return;
    uint32_t left = u->n - s->n;
    uint32_t k = all || fm_rand_below(&w->net, 3) ? left : left ? fm_rand_below(&w->net, left) : 0;
    memcpy(s->log + s->n, u->log + s->n, k * sizeof s->log[0]);
    s->n += k;
    s->replayed = fm_rand_below(&w->net, 3) ? s->n : (uint32_t)between(&w->net, s->replayed, s->n);
}

/* The sender says how far it has come, if the primary's agent is there to hear it. */
static void say_flushed(struct world *w, unsigned i)
{
    struct db *s = &w->group->db[i];
    unsigned to = s->upstream;
    if (to >= w->group->n || to == i || !linked(w, i, to) || !w->proc[proc_db(to)].up)
        return;
    struct db *u = &w->group->db[to];
    if (u->credit_life == u->server_life && (!s->streaming || fm_rand_below(&w->net, 4)))
        fm_credit_flushed(&u->credit, i, s->streaming ? pg_lsn(s->n) : FM_LSN_NONE, s->streaming,
                          local_now(w, proc_db(to)));
}

/* -------- what takes time -------- */

static void stopped(struct world *w, unsigned i)
{
    struct db *d = &w->group->db[i];
    bool was_primary = d->primary && w->now >= d->up_at;
    if (was_primary) {
        append(w, d, false); /* the shutdown checkpoint; walsenders send it before they end */
        bool sent = fm_rand_below(&w->net, 3) > 0;
        for (unsigned k = 0; k < w->group->n && sent; k++)
            if (w->group->db[k].upstream == i && k != i)
                receive(w, k, true);
    }
    pg_kill(w, i);
    d->clean = was_primary;
}

static void promoted(struct world *w, unsigned i)
{
    struct db *d = &w->group->db[i];
    struct group *x = w->group;
    d->promote_at = 0;
    d->replayed = d->answered = d->n;
    d->primary = true;
    d->signal = d->streaming = false;
    w->r->promotions++;
    if (d->nlines == SIM_LINES || d->promote_to >= FM_COUNT(x->promoted))
        return;
    uint8_t *by = &x->promoted[d->promote_to];
    if (*by)
        broken(w, "rule 26", "timeline %u of node %u is also that of node %u", d->promote_to, i,
               *by - 1u);
    *by = (uint8_t)(i + 1);
    d->line[d->nlines++] = (struct line){d->promote_to, d->n};
    append(w, d, false);
}

void pg_progress(struct world *w, unsigned i)
{
    struct db *d = &w->group->db[i];
    if (pg_frozen(w, i) || d->process != FM_GROUP_UP)
        return;
    if (d->promote_at && w->now >= d->promote_at)
        promoted(w, i);
    if (d->stop_at && w->now >= d->stop_at)
        stopped(w, i);
}

/* -------- what only one node has -------- */

static const bool *records_of(const struct world *w, unsigned i)
{
    static bool there[SIM_RECS];
    const struct db *d = &w->group->db[i];
    memset(there, 0, w->group->nrecs * sizeof there[0]);
    for (uint32_t k = 0; k < d->n; k++)
        there[d->log[k]] = true;
    return there;
}

bool pg_keep(struct world *w, unsigned i, unsigned at)
{
    struct group *x = w->group;
    struct db *d = &x->db[i];
    if (at >= x->n || at == i || !linked(w, i, at) || !w->proc[proc_db(at)].up)
        return false;
    const bool *there = records_of(w, at);
    for (uint32_t k = 0; k < d->n; k++)
        if (!there[d->log[k]])
            x->rec[d->log[k]].kept_by |= (uint8_t)(1u << at);
    d->kept_of = (uint8_t)(at + 1);
    d->kept_line = d->line[d->nlines - 1].id;
    d->kept_n = d->n;
    w->r->kept++;
    return true;
}

/* Rule 28. */
static void check_kept(struct world *w, unsigned i, unsigned from)
{
    struct group *x = w->group;
    const struct db *d = &x->db[i];
    if (!d->data || d->system != x->db[from].system)
        return;
    const bool *there = records_of(w, from);
    for (uint32_t k = 0; k < d->n; k++) {
        uint32_t r = d->log[k];
        if (x->rec[r].client && !there[r] && !(x->rec[r].kept_by >> from & 1))
            broken(w, "rule 28", "record %u of node %u goes, and node %u knows nothing of it", r, i,
                   from);
    }
}

/* A base backup, or a rewind: what is only here is gone. False: the source is not there. */
bool pg_copy(struct world *w, unsigned i, unsigned from, bool rewind)
{
    struct group *x = w->group;
    if (from >= x->n || from == i || !pg_accepts(w, from) || !linked(w, i, from))
        return false;
    struct db *d = &x->db[i];
    const struct db *u = &x->db[from];
    if (!u->primary || d->process != FM_GROUP_GONE || (rewind && d->system != u->system) ||
        d->full_until > w->now)
        return false;
    check_kept(w, i, from);
    *(rewind ? &w->r->rewinds : &w->r->clones) += 1;
    d->data = d->signal = true;
    d->clean = false;
    d->system = u->system;
    d->nlines = u->nlines;
    memcpy(d->line, u->line, sizeof d->line);
    memcpy(d->log, u->log, sizeof d->log);
    d->n = d->replayed = u->n;
    d->kept = u->kept;
    d->upstream = (uint8_t)from;
    return true;
}

/* -------- what is lost -------- */

bool pg_holds_acked(struct world *w, unsigned i, uint32_t *lost, uint32_t *last)
{
    struct group *x = w->group;
    const bool *there = records_of(w, i);
    *lost = *last = 0;
    for (uint32_t r = 0; r < x->nrecs; r++)
        if (x->rec[r].acked && !there[r]) {
            (*lost)++;
            x->rec[r].acked = false; /* it is told of once */
            *last = r;
        }
    return *lost == 0;
}

/* -------- all of them -------- */

/* Clients come through the agent's door, which is shut when it does not answer. */
static void write_some(struct world *w, unsigned i)
{
    struct db *d = &w->group->db[i];
    bool backends = d->process != FM_GROUP_GONE && d->primary && w->now >= d->up_at;
    if (!backends || d->stop_at || pg_frozen(w, i))
        return;
    if (d->full_until > w->now) { /* it panics */
        pg_kill(w, i);
        return;
    }
    if (fm_rand_below(&w->net, 6) == 0)
        append(w, d, false);
    if (!db_serves(w, i)) {
        d->answered = d->n; /* whoever waits has been cut off */
        return;
    }
    for (unsigned k = fm_rand_below(&w->net, 4); k-- > 0;)
        append(w, d, true);
    for (; d->answered < d->n; d->answered++) {
        if (fm_lsn_before(d->granted, pg_lsn(d->answered + 1)))
            return; /* it waits for synchronous replication */
        if (w->group->rec[d->log[d->answered]].client)
            db_acked(w, i, d->answered);
    }
}

void pg_run(struct world *w)
{
    post(w, new_msg(w, MSG_DB_WRITE, 0, 0), w->now + between(&w->net, 20, 120) * MS);
    for (unsigned i = 0; i < w->group->n; i++) {
        pg_progress(w, i);
        write_some(w, i);
    }
    for (unsigned i = 0; i < w->group->n; i++) {
        if (fm_rand_below(&w->net, 5) == 0)
            continue;
        receive(w, i, false);
        say_flushed(w, i);
    }
}
