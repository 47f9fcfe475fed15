/* The world: its time, its queue of events, its processes with their clocks, its network. Nothing
 * here knows what a message means. */
#include "sim/world.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* -------- processes -------- */

enum { PER_REGION = SIM_AGENTS + 2 * SIM_GATES };

unsigned proc_agent(unsigned region, unsigned index)
{
    return region * PER_REGION + index;
}

unsigned proc_gate(unsigned region, unsigned index)
{
    return region * PER_REGION + SIM_AGENTS + index;
}

unsigned proc_app(unsigned region, unsigned index)
{
    return region * PER_REGION + SIM_AGENTS + SIM_GATES + index;
}

unsigned proc_edge(unsigned index)
{
    return SIM_REGIONS * PER_REGION + index;
}

unsigned proc_db(unsigned index)
{
    return SIM_REGIONS * PER_REGION + SIM_EDGES + index;
}

struct fm_mono local_at(const struct proc *p, int64_t real)
{
    int64_t d = real - p->base_real; /* hours at most: times a million it has room */
    return (struct fm_mono){p->base_local + d + d * p->ppm / 1000000};
}

int64_t real_after(const struct proc *p, int64_t local_ns)
{
    int64_t rate = 1000000 + p->ppm;
    return rate > 0 ? local_ns * 1000000 / rate + 1 : 100 * MS;
}

void clock_rate(struct world *w, unsigned p, int32_t ppm)
{
    struct proc *x = &w->proc[p];
    x->base_local = local_at(x, w->now).ns;
    x->base_real = w->now;
    x->ppm = ppm;
}

uint32_t chance(struct world *w, uint32_t ppm)
{
    return ppm && fm_rand_below(&w->net, 1000000) < ppm;
}

int64_t between(struct fm_rand *r, int64_t lo, int64_t hi)
{
    FM_ASSERT(lo <= hi);
    return lo + (int64_t)(fm_rand_u64(r) % (uint64_t)(hi - lo + 1));
}

/* -------- the queue -------- */

#define SOON (2 * S)

/* Without a branch: which of two comes first nobody can foresee. */
static bool earlier(const struct queued *a, const struct queued *b)
{
    return (a->at < b->at) | ((a->at == b->at) & (a->seq < b->seq));
}

/* Up from the place `i`, which is free. */
static void rise(struct queue *h, unsigned i, struct queued q)
{
    /* cppcheck-suppress arrayIndexOutOfBoundsCond ; the parent of i > 0 is below i */
    while (i > 0 && earlier(&q, &h->q[(i - 1) / 2])) {
        /* cppcheck-suppress arrayIndexOutOfBoundsCond */
        h->q[i] = h->q[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    h->q[i] = q;
}

static void push(struct world *w, struct queued q)
{
    struct queue *h = q.at < w->now + SOON ? &w->soon : &w->later;
    FM_ASSERT(h->n < QUEUE_MAX);
    rise(h, h->n++, q);
}

/* The free place goes all the way down, and what was last comes up to it: it seldom rises far. */
static struct queued take_first(struct queue *h)
{
    struct queued top = h->q[0], last = h->q[--h->n];
    unsigned i = 0, c = 1;
    for (; c + 1 < h->n; c = 2 * i + 1) {
        c += earlier(&h->q[c + 1], &h->q[c]);
        h->q[i] = h->q[c];
        i = c;
    }
    if (c < h->n) {
        h->q[i] = h->q[c];
        i = c;
    }
    rise(h, i, last);
    return top;
}

static bool pop(struct world *w, struct queued *out)
{
    if (!w->soon.n && !w->later.n)
        return false;
    bool later = !w->soon.n || (w->later.n && earlier(&w->later.q[0], &w->soon.q[0]));
    *out = take_first(later ? &w->later : &w->soon);
    return true;
}

struct msg *new_msg(struct world *w, enum msg_kind kind, unsigned from, unsigned to)
{
    FM_ASSERT(w->nfree_msg > 0);
    struct msg *m = &w->msgs[w->free_msg[--w->nfree_msg]];
    memset(m, 0, offsetof(struct msg, epochs));
    m->kind = (uint8_t)kind;
    m->from = (uint8_t)from;
    m->to = (uint8_t)to;
    m->blob = -1;
    return m;
}

int32_t new_blob(struct world *w)
{
    FM_ASSERT(w->nfree_blob > 0);
    return w->free_blob[--w->nfree_blob];
}

void free_blob(struct world *w, int32_t b)
{
    if (b >= 0)
        w->free_blob[w->nfree_blob++] = b;
}

void drop(struct world *w, struct msg *m)
{
    free_blob(w, m->blob);
    w->free_msg[w->nfree_msg++] = (int32_t)(m - w->msgs);
}

void post(struct world *w, struct msg *m, int64_t at)
{
    FM_ASSERT(at >= w->now);
    m->sent_at = w->now;
    push(w, (struct queued){at, w->seq++, (int32_t)(m - w->msgs)});
}

int64_t transit(struct world *w, unsigned from_region, unsigned to_region)
{
    int64_t base = from_region == to_region ? w->cfg.near_us : w->cfg.far_us;
    int64_t us = base + between(&w->net, 0, base / 2);
    if (w->delay_max && chance(w, 200000))
        us += between(&w->net, 0, w->delay_max / 1000);
    return us * 1000;
}

/* A reply goes to the life that asked; the rest to whoever is there. */
void send_msg(struct world *w, struct msg *m)
{
    unsigned a = w->proc[m->from].region, b = w->proc[m->to].region;
    if (w->cut[a][b] || chance(w, w->loss_ppm)) {
        drop(w, m);
        return;
    }
    if (m->blob < 0 && chance(w, w->dup_ppm)) {
        struct msg *twin = new_msg(w, MSG_TIMER, 0, 0);
        *twin = *m;
        int64_t at = w->now + transit(w, a, b);
        post(w, twin, at + between(&w->net, 0, S));
    }
    post(w, m, w->now + transit(w, a, b));
}

void arm(struct world *w, unsigned p, int64_t at)
{
    struct proc *x = &w->proc[p];
    if (x->timer_at > w->now && x->timer_at <= at)
        return;
    x->timer_at = at;
    struct msg *m = new_msg(w, MSG_TIMER, p, p);
    m->life = x->life;
    m->asked_ns = at;
    post(w, m, at);
}

void proc_start(struct world *w, unsigned p)
{
    struct proc *x = &w->proc[p];
    if (x->up)
        return;
    x->up = true;
    x->life++;
    x->resume_at = 0;
    x->crash_after = -1;
    x->timer_at = 0;
    trace(w, "start %u", p);
    if (x->kind == PROC_AGENT)
        agent_start(w, p);
    else if (x->kind == PROC_GATE)
        gate_start(w, p);
    else if (x->kind == PROC_DB)
        db_start(w, p);
    if (x->kind != PROC_APP)
        arm(w, p, w->now + between(&w->net, 1, 20 * MS));
}

void proc_kill(struct world *w, unsigned p)
{
    if (!w->proc[p].up)
        return;
    trace(w, "kill %u", p);
    w->proc[p].up = false;
    if (w->proc[p].kind == PROC_DB)
        db_killed(w, p);
}

/* -------- what is told -------- */

void broken(struct world *w, const char *what, const char *fmt, ...)
{
    if (w->r->broken)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(w->r->text, sizeof w->r->text, fmt, ap);
    va_end(ap);
    w->r->broken = what;
    trace(w, "BROKEN %s: %s", what, w->r->text);
}

void trace(struct world *w, const char *fmt, ...)
{
    if (!w->o->trace)
        return;
    va_list ap;
    va_start(ap, fmt);
    printf("%10.4f  ", (double)w->now / 1e9);
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
}

/* -------- one life of the world -------- */

static void draw_config(struct world *w)
{
    struct fm_rand *d = &w->dice;
    struct config *c = &w->cfg;
    static const int32_t leases[] = {1000, 2000, 2000, 2000, 3000, 5000, 10000};
    c->contexts = SIM_CONTEXTS;
    c->cells[0] = 1;
    c->cells[1] = SIM_CELLS;
    c->lease_ms = leases[fm_rand_below(d, FM_COUNT(leases))];
    c->renew_ms = c->lease_ms / (int32_t)between(d, 3, 5);
    c->retry_ms = c->renew_ms / 4 > 50 ? c->renew_ms / 4 : 50;
    static const uint32_t rhos[] = {0, 1000, 10000, 10000, 50000};
    c->rho_ppm = rhos[fm_rand_below(d, FM_COUNT(rhos))];
    static const int64_t graces[] = {0, 0, 1000, 3000, 5000};
    c->grace_ms = graces[fm_rand_below(d, FM_COUNT(graces))];
    c->near_us = between(d, 100, 1000);
    c->far_us = between(d, 1000, 40000);
    c->command_gap_us = between(d, 150000, 600000);
    c->op_timeout_ms = between(d, 300, 1000);
    c->election_ms = between(d, 100, 1500);
    c->mode = (uint8_t)(fm_rand_below(d, 8) < 4 ? FM_MODE_AUTOMATIC
                        : fm_rand_below(d, 2)   ? FM_MODE_ASSISTED
                                                : FM_MODE_MANUAL);
    c->fenced = fm_rand_below(d, 8) != 0;
    c->eager = fm_rand_below(d, 4) != 0;
    c->moves_ms = fm_rand_below(d, 3) ? 0 : between(d, 1000, 6000);
    c->by_app[0] = fm_rand_below(d, 2);
    c->by_app[1] = !c->by_app[0];
    c->max_loss = fm_rand_below(d, 3) ? UINT64_MAX : 0;
    c->journal_us = between(d, 300, 20000);
    c->hold_ms = between(d, 1000, 8000);
    c->ask_after_ms = between(d, 5, 30) * 1000;
    c->failback_automatic = fm_rand_below(d, 2);
    c->at_most = (uint8_t)between(d, 1, 4);
    c->window_ms = between(d, 60, 600) * 1000;
    w->end = between(d, 200, 420) * S;
    c->empty = fm_mix64(w->o->seed + 3) % 4 == 0;
}

static void create(struct world *w)
{
    for (unsigned i = 0; i < MSGS_MAX; i++)
        w->free_msg[w->nfree_msg++] = (int32_t)(MSGS_MAX - 1 - i);
    for (unsigned i = 0; i < BLOBS_MAX; i++)
        w->free_blob[w->nfree_blob++] = (int32_t)(BLOBS_MAX - 1 - i);
    for (unsigned r = 0; r < SIM_REGIONS; r++) {
        for (unsigned i = 0; i < SIM_AGENTS; i++)
            w->proc[proc_agent(r, i)] =
                (struct proc){.kind = PROC_AGENT, .region = (uint8_t)r, .index = (uint8_t)i};
        for (unsigned i = 0; i < SIM_GATES; i++) {
            w->proc[proc_gate(r, i)] =
                (struct proc){.kind = PROC_GATE, .region = (uint8_t)r, .index = (uint8_t)i};
            w->proc[proc_app(r, i)] =
                (struct proc){.kind = PROC_APP, .region = (uint8_t)r, .index = (uint8_t)i};
            struct fm_str name = fm_str(&"gate-0gate-1"[6 * i], 6);
            w->gates[r][i] = (struct fm_keygate){name, fm_keygate_id(name)};
        }
    }
    for (unsigned i = 0; i < SIM_DBS; i++)
        w->proc[proc_db(i)] = (struct proc){.kind = PROC_DB, .index = (uint8_t)i};
    for (unsigned i = 0; i < SIM_EDGES; i++)
        w->proc[proc_edge(i)] = (struct proc){
            .kind = PROC_EDGE, .region = (uint8_t)(i % SIM_REGIONS), .index = (uint8_t)i};
    int32_t bound = (int32_t)w->cfg.rho_ppm;
    for (unsigned p = 0; p < proc_db(0); p++) {
        struct proc *x = &w->proc[p];
        x->base_local = between(&w->dice, 1, 1000) * S;
        uint32_t how = fm_rand_below(&w->dice, 4);
        x->ppm = how == 0 ? bound : how == 1 ? -bound : (int32_t)between(&w->dice, -bound, bound);
    }
    for (unsigned c = 0; c < w->cfg.contexts; c++)
        for (unsigned i = 0; i < w->cfg.cells[c]; i++)
            w->at_home[c][home_of(w, c, i)] |= UINT64_C(1) << i;
    store_begin(w);
    for (unsigned p = 0; p < SIM_PROCS; p++)
        if (w->proc[p].kind != PROC_DB)
            proc_start(w, p);
    db_draw(w);
}

static void deliver(struct world *w, struct msg *m)
{
    switch ((enum msg_kind)m->kind) {
    case MSG_FAULT_BEGIN:
        fault_begin(w, m->op);
        return;
    case MSG_FAULT_END:
        fault_end(w, m->op);
        return;
    case MSG_COMMIT:
        store_commit(w, m);
        return;
    case MSG_READ:
        store_read(w, m);
        return;
    case MSG_ELECTED:
        store_elected(w, m);
        return;
    case MSG_CLIENT:
        client_take(w, m);
        return;
    case MSG_REPLICATE:
        data_replicate(w, m);
        return;
    case MSG_TESTIFY:
        guard_take(w, m);
        return;
    case MSG_DB_WRITE:
        pg_run(w);
        return;
    case MSG_DB_FAULT:
        db_fault(w, m);
        return;
    case MSG_DB_GUARD:
        db_guard(w, m);
        return;
    case MSG_DB_RECORD:
    case MSG_DB_REPORT:
    case MSG_DURABLE:
    case MSG_QUIET:
    case MSG_QUIETED:
    case MSG_HEIR_ASKED:
    case MSG_HEIR:
    case MSG_SHIP:
    case MSG_SHIPPED:
    case MSG_VOTE:
    case MSG_PRESS:
    case MSG_NUDGE:
    case MSG_TIMER:
    case MSG_COMMITTED:
    case MSG_READ_DONE:
    case MSG_WATCH:
    case MSG_SUB_ASKS:
    case MSG_GRANT:
    case MSG_STOP:
    case MSG_STOPPED:
    case MSG_PROMISE_ASKED:
    case MSG_PROMISED:
    case MSG_TESTIMONY:
    case MSG_VIEW_ASKED:
    case MSG_VIEW:
    case MSG_TRY:
    case MSG_REQUEST:
    case MSG_EXECUTE:
    case MSG_EXECUTED:
    case MSG_ANSWER:
    case MSG_GIVE_UP:
    case MSG_KINDS:
        break;
    }
    switch ((enum proc_kind)w->proc[m->to].kind) {
    case PROC_AGENT:
        agent_take(w, m);
        return;
    case PROC_GATE:
        gate_take(w, m);
        return;
    case PROC_APP:
        app_take(w, m);
        return;
    case PROC_EDGE:
        edge_take(w, m);
        return;
    case PROC_DB:
        db_take(w, m);
        return;
    }
}

/* Does it concern a process that can take it now? */
static bool deliverable(struct world *w, const struct queued *q, struct msg *m)
{
    bool of_the_world = m->kind == MSG_FAULT_BEGIN || m->kind == MSG_FAULT_END ||
                        m->kind == MSG_COMMIT || m->kind == MSG_READ || m->kind == MSG_ELECTED ||
                        m->kind == MSG_CLIENT || m->kind == MSG_REPLICATE ||
                        m->kind == MSG_TESTIFY || m->kind == MSG_DB_WRITE ||
                        m->kind == MSG_DB_FAULT || m->kind == MSG_DB_GUARD;
    if (of_the_world)
        return true;
    const struct proc *p = &w->proc[m->to];
    bool superseded = m->kind == MSG_TIMER && m->asked_ns != p->timer_at;
    if (!p->up || superseded || (m->life && m->life != p->life)) {
        drop(w, m);
        return false;
    }
    if (!m->received_at)
        m->received_at = w->now;
    if (p->resume_at > w->now) { /* it waits in a socket, or is a timer that will be late */
        push(w, (struct queued){p->resume_at, q->seq, q->msg});
        return false;
    }
    return true;
}

static void mix(struct world *w, const struct msg *m)
{
    uint64_t x = (uint64_t)w->now ^ (uint64_t)m->kind << 56 ^ (uint64_t)m->to << 48 ^
                 (uint64_t)m->op << 16 ^ m->cells ^ m->epoch.n;
    w->hash = fm_mix64(w->hash + UINT64_C(0x9e3779b97f4a7c15) + x);
}

void sim_run(const struct sim_options *o, struct sim_result *r)
{
    static struct world *w;
    if (!w)
        w = malloc(sizeof *w);
    FM_ASSERT(w);
    memset(w, 0, offsetof(struct world, soon));
    w->soon.n = w->later.n = 0;
    *r = (struct sim_result){.broken = NULL};
    w->o = o;
    w->r = r;
    w->dice.state = fm_mix64(o->seed);
    w->net.state = fm_mix64(o->seed + 1) ^ o->seed;
    w->faults.state = fm_mix64(o->seed + 2) ^ ~o->seed;
    draw_config(w);
    if (o->end_ns)
        w->end = o->end_ns;
    create(w);
    faults_draw(w);
    for (struct queued q; !r->broken && pop(w, &q) && q.at <= w->end;) {
        struct msg *m = &w->msgs[q.msg];
        w->now = q.at;
        if (!deliverable(w, &q, m))
            continue;
        r->events++;
        mix(w, m);
        deliver(w, m);
        drop(w, m);
    }
    if (!r->broken)
        check_end(w);
    r->hash = w->hash;
    r->ended_ns = w->now;
}
