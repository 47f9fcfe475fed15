/* What goes wrong, drawn before the world begins to run: so a schedule can be cut down fault by
 * fault without changing what the others do. */
#include "sim/world.h"

const char *sim_fault_name(unsigned kind)
{
    static const char *const name[] = {
#define X(id, text) [SIM_FAULT_##id] = text,
        SIM_FAULT_KINDS(X)
#undef X
    };
    FM_ASSERT(kind < FM_COUNT(name));
    return name[kind];
}

/* One call, one number: the order in which arguments are evaluated is not the same everywhere. */
static unsigned any_agent(struct fm_rand *d)
{
    unsigned n = fm_rand_below(d, SIM_REGIONS * SIM_AGENTS);
    return proc_agent(n / SIM_AGENTS, n % SIM_AGENTS);
}

/* A person who looks at an outage after a while, prepares, and completes if the holder does not
 * come back by itself. */
static void on_call(struct world *w, const struct sim_fault *f)
{
    for (unsigned i = 0; i < 5; i++)
        for (unsigned r = 0; r < SIM_REGIONS; r++)
            for (unsigned k = 0; k < SIM_AGENTS && r != f->a; k++) {
                struct msg *m = new_msg(w, MSG_PRESS, 0, proc_agent(r, k));
                m->flag = 2;
                m->region = f->a;
                post(w, m, f->at + (10 + 6 * (int64_t)i) * S);
            }
}

/* What a message says that begins a fault which is still to be drawn, if one is needed. */
enum { ONE_MORE = SIM_FAULTS_MAX, MORE_MAX = 8 };

static void look_later(struct world *w, int64_t at)
{
    struct msg *m = new_msg(w, MSG_FAULT_BEGIN, 0, 0);
    m->op = ONE_MORE;
    post(w, m, at);
}

/* Where nothing has failed over when all faults are over, the region of a cell is lost for long,
 * and after a rest that of another one, until something has. */
static void once_more(struct world *w)
{
    const int64_t length = 45 * S, rest = 15 * S;
    unsigned before = w->nfaults - w->r->faults_drawn, c = before % SIM_CONTEXTS;
    if (w->r->failovers || w->o->keep != UINT32_MAX || before == MORE_MAX)
        return;
    FM_ASSERT(w->nfaults < SIM_FAULTS_MAX);
    struct sim_fault *f = &w->fault[w->nfaults];
    *f = (struct sim_fault){.kind = before % 4 < 2 ? SIM_FAULT_ISOLATE : SIM_FAULT_KILL_REGION,
                            .a = w->store.ctx[c].cell[before % w->cfg.cells[c]].r.region,
                            .at = w->now,
                            .length = length};
    w->end += length + rest;
    w->r->kinds[f->kind]++;
    w->r->nfaults++;
    struct msg *e = new_msg(w, MSG_FAULT_END, 0, 0);
    e->op = w->nfaults;
    post(w, e, w->now + length);
    on_call(w, f);
    look_later(w, w->now + length + rest);
    fault_begin(w, w->nfaults++);
}

/* Another lease is agreed upon, some times: agents learn of it one after the other, who is down or
 * out of luck does not before the end. */
static void draw_leases(struct world *w, int64_t from, int64_t to)
{
    static const int32_t leases[] = {1000, 2000, 3000, 5000, 10000};
    struct fm_rand d = {fm_mix64(w->o->seed + 7)};
    unsigned n = fm_rand_below(&d, 2) * (1 + fm_rand_below(&d, 5));
    for (unsigned i = 0; i < n; i++) {
        bool last = i + 1 == n; /* in the end all have learnt of it */
        int64_t at = last ? to + S : between(&d, from, to);
        uint32_t lease = (uint32_t)leases[fm_rand_below(&d, FM_COUNT(leases))];
        for (unsigned r = 0; r < SIM_REGIONS; r++)
            for (unsigned k = 0; k < SIM_AGENTS; k++) {
                int64_t late = between(&d, 0, fm_rand_below(&d, 2) ? 50 * MS : 5 * S);
                if (!last && fm_rand_below(&d, 8) == 0)
                    continue;
                struct msg *m = new_msg(w, MSG_PRESS, 0, proc_agent(r, k));
                m->flag = 4;
                m->op = lease;
                post(w, m, at + late);
            }
    }
}

void faults_draw(struct world *w)
{
    struct fm_rand *d = &w->faults;
    unsigned n = 6 + fm_rand_below(d, 10);
    int64_t calm = 20 * S, quiet = 60 * S; /* at the beginning, and at the end for liveness */
    w->faults_end = w->end - quiet;
    for (unsigned i = 0; i < n; i++) {
        struct sim_fault *f = &w->fault[w->nfaults++];
        f->kind = (uint8_t)fault_draw_kind(d);
        if (w->o->beyond && fm_rand_below(d, 2))
            f->kind = fm_rand_below(d, 2) ? SIM_FAULT_CLOCK_BEYOND : SIM_FAULT_CLOCK_STOPPED;
        if (i == 0) /* every schedule has one that loses a holder for long */
            f->kind = fm_rand_below(d, 2) ? SIM_FAULT_KILL_REGION : SIM_FAULT_ISOLATE;
        f->a = (uint8_t)fm_rand_below(d, SIM_REGIONS);
        f->b = (uint8_t)fm_rand_below(d, SIM_REGIONS - 1);
        f->b = (uint8_t)(f->b + (f->b >= f->a));
        f->param = (uint32_t)fm_rand_u64(d);
        f->at = between(d, calm, w->faults_end - 20 * S);
        int64_t longest = i == 0 ? 60 * S : fm_rand_below(d, 2) ? 5 * S : 40 * S;
        f->length = between(d, i == 0 ? 40 * S : 50 * MS, longest);
        if (f->at + f->length > w->faults_end)
            f->length = w->faults_end - f->at;
    }
    if (w->o->keep & 1)
        on_call(w, &w->fault[0]);
    look_later(w, w->faults_end + S); /* what ends at the end has ended by then */
    for (int64_t at = calm; w->cfg.moves_ms && at < w->faults_end; at += w->cfg.moves_ms * MS) {
        struct msg *m = new_msg(w, MSG_PRESS, 0, any_agent(d));
        m->flag = 3;
        m->op = (uint32_t)fm_rand_u64(d);
        post(w, m, at);
    }
    draw_leases(w, calm, w->faults_end);
    w->r->faults_drawn = w->nfaults;
    for (unsigned i = 0; i < w->nfaults; i++) {
        if (!(w->o->keep >> i & 1))
            continue;
        w->r->kinds[w->fault[i].kind]++;
        w->r->nfaults++;
        struct msg *b = new_msg(w, MSG_FAULT_BEGIN, 0, 0), *e = new_msg(w, MSG_FAULT_END, 0, 0);
        b->op = e->op = i;
        post(w, b, w->fault[i].at);
        post(w, e, w->fault[i].at + w->fault[i].length);
    }
    for (unsigned a = 0; a < SIM_REGIONS; a++)
        for (unsigned b = 0; b < SIM_REGIONS; b++)
            if (a != b)
                post(w, new_msg(w, MSG_REPLICATE, a, b), between(d, 1, 400) * MS);
    post(w, new_msg(w, MSG_CLIENT, 0, 0), 5 * S);
}

/* -------- what a fault does, and undoes -------- */

static void isolate(struct world *w, unsigned r, bool on)
{
    for (unsigned x = 0; x < SIM_REGIONS; x++)
        if (x != r)
            w->cut[r][x] = w->cut[x][r] = on;
    store_connect(w);
}

static void region_up(struct world *w, unsigned r, bool up, bool agents)
{
    for (unsigned i = 0; i < SIM_AGENTS && agents; i++)
        (up ? proc_start : proc_kill)(w, proc_agent(r, i));
    for (unsigned i = 0; i < SIM_GATES; i++) {
        (up ? proc_start : proc_kill)(w, proc_gate(r, i));
        (up ? proc_start : proc_kill)(w, proc_app(r, i));
    }
    for (unsigned i = 0; w->group && i < w->group->n; i++)
        if (w->group->region[i] == r) {
            if (!up)
                pg_kill(w, i);
            (up ? proc_start : proc_kill)(w, proc_db(i));
        }
}

static void pause(struct world *w, unsigned p, int64_t length)
{
    int64_t until = w->now + length;
    if (until > w->proc[p].resume_at)
        w->proc[p].resume_at = until;
}

static void pause_region(struct world *w, unsigned r, int64_t length)
{
    for (unsigned i = 0; i < SIM_AGENTS; i++)
        pause(w, proc_agent(r, i), length);
    for (unsigned i = 0; i < SIM_GATES; i++) {
        pause(w, proc_gate(r, i), length);
        pause(w, proc_app(r, i), length);
    }
    for (unsigned i = 0; w->group && i < w->group->n; i++)
        if (w->group->region[i] == r)
            pause(w, proc_db(i), length);
}

static void clocks(struct world *w, uint32_t param)
{
    struct fm_rand d = {param};
    int32_t bound = (int32_t)w->cfg.rho_ppm;
    for (unsigned p = 0; p < SIM_PROCS; p++)
        if (fm_rand_below(&d, 2))
            clock_rate(w, p, fm_rand_below(&d, 2) ? bound : -bound);
}

/* -------- one function to begin each, and one to end it -------- */

static unsigned agent_hit(const struct sim_fault *f)
{
    return proc_agent(f->a, f->param % SIM_AGENTS);
}

static unsigned gate_hit(const struct sim_fault *f)
{
    return proc_gate(f->a, f->param % SIM_GATES);
}

static void cut(struct world *w, const struct sim_fault *f)
{
    w->cut[f->a][f->b] = true;
    if (f->kind == SIM_FAULT_PARTITION)
        w->cut[f->b][f->a] = true;
    store_connect(w);
}

static void mend(struct world *w, const struct sim_fault *f)
{
    w->cut[f->a][f->b] = w->cut[f->b][f->a] = false;
}

static void cut_off(struct world *w, const struct sim_fault *f)
{
    isolate(w, f->a, true);
}

static void join(struct world *w, const struct sim_fault *f)
{
    isolate(w, f->a, false);
}

static void kill_agent(struct world *w, const struct sim_fault *f)
{
    proc_kill(w, agent_hit(f));
    if (f->kind == SIM_FAULT_LOSE_DISK)
        agent_of(w, agent_hit(f))->has_disk = false;
}

static void kill_region(struct world *w, const struct sim_fault *f)
{
    region_up(w, f->a, false, true);
}

/* A guard says it to every agent, for as long as a lease may run. */
void guard_speaks(struct world *w, unsigned gate, bool everything)
{
    for (unsigned i = 0; i < 8; i++) {
        struct msg *m = new_msg(w, MSG_TESTIFY, gate, gate);
        m->sub = w->proc[gate].kind == PROC_DB ? db_of(w, gate)->id : gate_of(w, gate)->id;
        m->flag = everything;
        post(w, m, w->now + (20 + 400 * (int64_t)i) * MS);
    }
}

void guard_take(struct world *w, struct msg *m)
{
    for (unsigned c = 0; c < w->cfg.contexts; c++)
        for (unsigned r = 0; r < SIM_REGIONS; r++)
            for (unsigned i = 0; i < SIM_AGENTS; i++) {
                struct msg *t = new_msg(w, MSG_TESTIMONY, m->from, proc_agent(r, i));
                t->ctx = (uint8_t)c;
                t->region = w->proc[m->from].region;
                t->sub = m->sub;
                t->flag = m->flag;
                send_msg(w, t);
            }
}

static void restart(struct world *w, const struct sim_fault *f)
{
    region_up(w, f->a, true, true);
}

static void crash_soon(struct world *w, const struct sim_fault *f)
{
    w->proc[agent_hit(f)].crash_after = (int32_t)(f->param / SIM_AGENTS % 8);
}

/* One that was paused all the time has not come to it: after the fault nothing crashes any more. */
static void crash_no_more(struct world *w, const struct sim_fault *f)
{
    w->proc[agent_hit(f)].crash_after = -1;
    restart(w, f);
}

static void pause_some(struct world *w, const struct sim_fault *f)
{
    if (f->kind == SIM_FAULT_PAUSE_REGION)
        pause_region(w, f->a, f->length);
    else
        pause(w, f->kind == SIM_FAULT_PAUSE_AGENT ? agent_hit(f) : gate_hit(f), f->length);
}

static void none(struct world *w, const struct sim_fault *f)
{
    (void)w;
    (void)f;
}

/* From 1 to 60 percent. */
static uint32_t some_ppm(const struct sim_fault *f)
{
    return 10000 + f->param % 590000;
}

static void lose(struct world *w, const struct sim_fault *f)
{
    w->loss_ppm = some_ppm(f) / 2;
}

static void lose_no_more(struct world *w, const struct sim_fault *f)
{
    (void)f;
    w->loss_ppm = 0;
}

static void duplicate(struct world *w, const struct sim_fault *f)
{
    w->dup_ppm = some_ppm(f) / 2;
}

static void duplicate_no_more(struct world *w, const struct sim_fault *f)
{
    (void)f;
    w->dup_ppm = 0;
}

static void delay(struct world *w, const struct sim_fault *f)
{
    w->delay_max = (100 + (int64_t)f->param % (3 * w->cfg.lease_ms)) * MS;
}

static void delay_no_more(struct world *w, const struct sim_fault *f)
{
    (void)f;
    w->delay_max = 0;
}

static void coord_down(struct world *w, const struct sim_fault *f)
{
    w->coord_down = f->kind == SIM_FAULT_COORD_DOWN;
    w->leader = -1;
    store_connect(w);
}

static void coord_up(struct world *w, const struct sim_fault *f)
{
    (void)f;
    w->coord_down = false;
}

static void coord_cut(struct world *w, const struct sim_fault *f)
{
    w->coord_cut[f->a] = true;
}

static void coord_joined(struct world *w, const struct sim_fault *f)
{
    w->coord_cut[f->a] = false;
}

static void coord_odd(struct world *w, const struct sim_fault *f)
{
    if (f->kind == SIM_FAULT_COORD_UNKNOWN)
        w->unknown_ppm = some_ppm(f);
    else if (f->kind == SIM_FAULT_COORD_LATE)
        w->late_ppm = some_ppm(f);
    else
        w->stale_ppm = some_ppm(f);
}

static void coord_even(struct world *w, const struct sim_fault *f)
{
    if (f->kind == SIM_FAULT_COORD_UNKNOWN)
        w->unknown_ppm = 0;
    else if (f->kind == SIM_FAULT_COORD_LATE)
        w->late_ppm = 0;
    else
        w->stale_ppm = 0;
}

static void watch_blind(struct world *w, const struct sim_fault *f)
{
    w->watch_gap[f->a * SIM_AGENTS + f->param % SIM_AGENTS] = true;
}

static void watch_sees(struct world *w, const struct sim_fault *f)
{
    w->watch_gap[f->a * SIM_AGENTS + f->param % SIM_AGENTS] = false;
}

static void clock_rates(struct world *w, const struct sim_fault *f)
{
    clocks(w, f->param);
}

static void edge_blind(struct world *w, const struct sim_fault *f)
{
    w->edge_stale[f->param % SIM_EDGES] = true;
}

static void edge_sees(struct world *w, const struct sim_fault *f)
{
    w->edge_stale[f->param % SIM_EDGES] = false;
}

/* Everything in a region that can write dies, and the guards on the spot say so; or one gate does,
 * whose application lives. */
static void kill_hosts(struct world *w, const struct sim_fault *f)
{
    region_up(w, f->a, false, true);
    for (unsigned i = 0; i < SIM_GATES; i++)
        guard_speaks(w, proc_gate(f->a, i), true);
    for (unsigned i = 0; w->group && i < w->group->n; i++)
        if (w->group->region[i] == f->a)
            guard_speaks(w, proc_db(i), true);
}

/* One host, with all on it that can write; the others live. */
static void kill_host(struct world *w, const struct sim_fault *f)
{
    proc_kill(w, gate_hit(f));
    proc_kill(w, proc_app(f->a, f->param % SIM_GATES));
    guard_speaks(w, gate_hit(f), true);
}

static void kill_gate_alone(struct world *w, const struct sim_fault *f)
{
    proc_kill(w, gate_hit(f));
    guard_speaks(w, gate_hit(f), false);
}

/* Buttons, pressed at any agent of any region. */
static void operators(struct world *w, const struct sim_fault *f)
{
    struct fm_rand d = {f->param};
    unsigned n = 1 + fm_rand_below(&d, 8);
    for (unsigned i = 0; i < n; i++) {
        struct msg *m = new_msg(w, MSG_PRESS, 0, any_agent(&d));
        m->op = (uint32_t)fm_rand_u64(&d);
        post(w, m, w->now + between(&d, 0, f->length));
    }
}

/* One agent leaves the membership, and comes back at the end. */
static void to_all_agents(struct world *w, uint64_t without)
{
    for (unsigned r = 0; r < SIM_REGIONS; r++)
        for (unsigned i = 0; i < SIM_AGENTS; i++) {
            struct msg *m = new_msg(w, MSG_PRESS, 0, proc_agent(r, i));
            m->flag = 1;
            m->cells = without;
            post(w, m, w->now);
        }
}

static void members_less(struct world *w, const struct sim_fault *f)
{
    to_all_agents(w, UINT64_C(1) << f->param % (SIM_REGIONS * SIM_AGENTS));
}

static void members_again(struct world *w, const struct sim_fault *f)
{
    (void)f;
    to_all_agents(w, 0);
}

/* An older copy is brought back, as etcd does it: it is another store. */
static void restore(struct world *w, const struct sim_fault *f)
{
    (void)f;
    uint64_t id = w->store.id + 1;
    w->store = w->backup;
    w->store.id = id;
    for (unsigned i = 0; i < SIM_STALE; i++)
        w->stale[i] = w->store;
}

static void reseed_cell(struct world *w, const struct fm_reseed *seed, unsigned c, unsigned i)
{
    struct fm_cell_at *cell = &w->store.ctx[c].cell[i];
    unsigned was = w->admitted[c][i].region;
    if (cell->revision.n == 0)
        cell->r.members = w->agent[0].auth[c].cfg.file; /* it was founded after the copy was made */
    fm_reseed_write_cell(seed, i, (uint8_t)home_of(w, c, i), false, &cell->r);
    cell->revision.n = ++w->store.revision;
    w->seeded[c][i] = cell->r.epoch;
    if (cell->r.to != was) /* whoever knew who held it has lost its disk */
        data_acquired(w, was, cell->r.to, c, i, false, cell->r.epoch);
}

/* The operator seeds it anew, by what stands in it and what is on the disks. */
static void reseed(struct world *w, const struct sim_fault *f)
{
    (void)f;
    struct store *s = &w->store;
    struct fm_incarnation most = {0};
    for (unsigned c = 0; c < w->cfg.contexts; c++) {
        struct fm_reseed seed;
        struct fm_budget_at *b = &s->ctx[c].budget;
        fm_reseed_init(&seed, w->cfg.cells[c]);
        for (unsigned i = 0; i < w->cfg.cells[c]; i++)
            if (s->ctx[c].cell[i].revision.n)
                fm_reseed_stored(&seed, i, &s->ctx[c].cell[i].r);
        for (unsigned a = 0; a < FM_COUNT(w->agent); a++)
            if (w->agent[a].has_disk)
                fm_reseed_seen(&seed, &w->agent[a].disk[c]);
        for (unsigned i = 0; i < w->cfg.cells[c]; i++)
            reseed_cell(w, &seed, c, i);
        *b = (struct fm_budget_at){{++s->revision}, fm_reseed_budget(b->r, w->cfg.at_most)};
        if (seed.incarnation.n > most.n)
            most = seed.incarnation;
    }
    s->revision++;
    s->view = (struct fm_view_at){{s->revision}, fm_reseed_view(s->view.r, most, false)};
    trace(w, "the store is seeded anew");
    store_changed(w);
}

/* Clocks that break the promise that everything rests on. */
static void clock_beyond(struct world *w, const struct sim_fault *f)
{
    int32_t ppm = f->param & 1 ? -300000 : 400000;
    for (unsigned i = 0; i < SIM_AGENTS; i++)
        clock_rate(w, proc_agent(f->a, i), ppm);
    for (unsigned i = 0; i < SIM_GATES; i++)
        clock_rate(w, proc_gate(f->a, i), ppm);
}

static void clock_again(struct world *w, const struct sim_fault *f)
{
    for (unsigned p = 0; p < SIM_PROCS; p++)
        if (w->proc[p].region == f->a && w->proc[p].ppm != 0)
            clock_rate(w, p, 0);
}

/* A virtual machine that is stopped: its clock stands still, too. */
static void clock_stopped(struct world *w, const struct sim_fault *f)
{
    pause_region(w, f->a, f->length);
    for (unsigned p = 0; p < SIM_PROCS; p++)
        if (w->proc[p].region == f->a)
            clock_rate(w, p, -1000000);
}

typedef void act(struct world *w, const struct sim_fault *f);

static const struct {
    act *begin, *end;
    uint8_t weight;
} how[SIM_FAULT_KIND_COUNT] = {
    [SIM_FAULT_PARTITION] = {cut, mend, 3},
    [SIM_FAULT_ONE_WAY] = {cut, mend, 3},
    [SIM_FAULT_ISOLATE] = {cut_off, join, 3},
    [SIM_FAULT_KILL_AGENT] = {kill_agent, restart, 3},
    [SIM_FAULT_KILL_GATE] = {kill_gate_alone, restart, 3},
    [SIM_FAULT_KILL_REGION] = {kill_region, restart, 2},
    [SIM_FAULT_CRASH_BETWEEN] = {crash_soon, crash_no_more, 4},
    [SIM_FAULT_LOSE_DISK] = {kill_agent, restart, 1},
    [SIM_FAULT_PAUSE_AGENT] = {pause_some, none, 4},
    [SIM_FAULT_PAUSE_GATE] = {pause_some, none, 3},
    [SIM_FAULT_PAUSE_REGION] = {pause_some, none, 3},
    [SIM_FAULT_LOSS] = {lose, lose_no_more, 2},
    [SIM_FAULT_DUPLICATE] = {duplicate, duplicate_no_more, 2},
    [SIM_FAULT_DELAY] = {delay, delay_no_more, 2},
    [SIM_FAULT_COORD_DOWN] = {coord_down, coord_up, 3},
    [SIM_FAULT_COORD_UNKNOWN] = {coord_odd, coord_even, 3},
    [SIM_FAULT_COORD_LATE] = {coord_odd, coord_even, 3},
    [SIM_FAULT_COORD_STALE] = {coord_odd, coord_even, 2},
    [SIM_FAULT_WATCH_GAP] = {watch_blind, watch_sees, 2},
    [SIM_FAULT_ELECTION] = {coord_down, none, 2},
    [SIM_FAULT_CLOCK_RATE] = {clock_rates, none, 3},
    [SIM_FAULT_STALE_EDGE] = {edge_blind, edge_sees, 1},
    [SIM_FAULT_COORD_CUT] = {coord_cut, coord_joined, 5},
    [SIM_FAULT_KILL_HOST] = {kill_host, restart, 3},
    [SIM_FAULT_KILL_HOSTS] = {kill_hosts, restart, 3},
    [SIM_FAULT_OPERATOR] = {operators, none, 6},
    [SIM_FAULT_MEMBERS] = {members_less, members_again, 2},
    [SIM_FAULT_RESTORE] = {restore, reseed, 1},
    [SIM_FAULT_CLOCK_BEYOND] = {clock_beyond, clock_again,
                                0}, /* drawn only where it is asked for */
    [SIM_FAULT_CLOCK_STOPPED] = {clock_stopped, clock_again, 0},
};

unsigned fault_draw_kind(struct fm_rand *d)
{
    unsigned all = 0, at = 0;
    for (unsigned k = 0; k < SIM_FAULT_KIND_COUNT; k++)
        all += how[k].weight;
    for (unsigned left = fm_rand_below(d, all); left >= how[at].weight; at++)
        left -= how[at].weight;
    return at;
}

void fault_begin(struct world *w, unsigned i)
{
    if (i == ONE_MORE) {
        once_more(w);
        return;
    }
    const struct sim_fault *f = &w->fault[i];
    trace(w, "FAULT %u %s region %u/%u for %.3f s", i, sim_fault_name(f->kind), f->a, f->b,
          (double)f->length / 1e9);
    w->faults_on++;
    how[f->kind].begin(w, f);
}

void fault_end(struct world *w, unsigned i)
{
    const struct sim_fault *f = &w->fault[i];
    trace(w, "END   %u %s", i, sim_fault_name(f->kind));
    w->faults_on--;
    w->calm_since = w->now;
    how[f->kind].end(w, f);
}
