/* sim/world.h: the inside of the simulator, for its own files. See sim/sim.h. */
#ifndef FM_SIM_WORLD_H
#define FM_SIM_WORLD_H

#include "core/opening.h"
#include "sim/sim.h"

#include <stdio.h>

#define MS FM_NS_PER_MS
#define S  FM_NS_PER_S

enum proc_kind { PROC_AGENT, PROC_GATE, PROC_APP, PROC_EDGE, PROC_DB };

struct proc {
    uint8_t kind, region, index;
    bool up;
    int64_t resume_at; /* paused until then */
    uint32_t life;     /* grows at each start */
    int64_t base_real, base_local;
    int32_t ppm;         /* of its clock; -1000000 = it stands still */
    int32_t crash_after; /* so many actions; -1 = none */
    int64_t timer_at;
};

/* -------- messages -------- */

enum msg_kind {
    MSG_TIMER,
    MSG_FAULT_BEGIN,
    MSG_FAULT_END,
    MSG_COMMIT, /* to the store */
    MSG_READ,
    MSG_COMMITTED, /* and back */
    MSG_READ_DONE,
    MSG_WATCH,
    MSG_ELECTED,
    MSG_SUB_ASKS,
    MSG_GRANT,
    MSG_STOP,
    MSG_STOPPED,
    MSG_PROMISE_ASKED,
    MSG_PROMISED,
    MSG_TESTIMONY,
    MSG_VIEW_ASKED,
    MSG_VIEW,
    MSG_CLIENT,  /* a client has a command */
    MSG_TRY,     /* the edge tries it */
    MSG_REQUEST, /* edge to gate */
    MSG_EXECUTE, /* gate to app */
    MSG_EXECUTED,
    MSG_ANSWER, /* gate to edge */
    MSG_GIVE_UP,
    MSG_REPLICATE,
    MSG_DURABLE, /* the intent is in the journal */
    MSG_QUIET,   /* hold new commands of these cells */
    MSG_QUIETED, /* and nothing of them is in flight */
    MSG_HEIR_ASKED,
    MSG_HEIR,
    MSG_SHIP, /* data and journal of a cell, to the heir */
    MSG_SHIPPED,
    MSG_VOTE,
    MSG_PRESS,     /* an operator's button */
    MSG_TESTIFY,   /* a guard has something to say */
    MSG_NUDGE,     /* there is something to ask for */
    MSG_DB_RECORD, /* a database agent to its keeper */
    MSG_DB_REPORT, /* ... and to the other nodes */
    MSG_DB_WRITE,  /* what PostgreSQL does by itself, everywhere */
    MSG_DB_FAULT,
    MSG_DB_GUARD, /* it stops PostgreSQL when the agent is silent */
    MSG_KINDS
};

enum answer { ANSWER_OK, ANSWER_UNKNOWN, ANSWER_MOVING, ANSWER_ELSEWHERE, ANSWER_REFUSED };

struct msg {
    uint8_t kind, from, to, ctx;
    uint8_t region, cell, answer, flag;
    uint32_t life; /* of the process it is for; 0 = any */
    uint32_t op;
    uint32_t tries;
    int32_t blob; /* -1 = none */
    int64_t asked_ns, sent_at, received_at, left_ns;
    int32_t ms;
    uint64_t cells, revision;
    struct fm_agent_id agent;
    struct fm_incarnation incarnation;
    struct fm_sub sub;
    struct fm_epoch epoch;
    struct fm_epoch epochs[SIM_CELLS]; /* only what is filled in: see new_msg() */
};

/* `flag`: SIM_CLOSED, SIM_UNHEARD. */
enum { SIM_CLOSED = 1, SIM_UNHEARD = 2 };
static inline struct fm_grant grant_of(const struct msg *m)
{
    return (struct fm_grant){.asked_ns = m->asked_ns,
                             .ms = m->ms,
                             .closed = m->flag & SIM_CLOSED,
                             .unheard = m->flag & SIM_UNHEARD,
                             .cells = m->cells,
                             .epochs = m->epochs};
}

/* A timeline of a node's history, and how many records there were when it began. */
enum { SIM_LINES = 48, SIM_WAL = 8192, SIM_RECS = 32768 };
struct line {
    uint32_t id, begins;
};

/* -------- coordination -------- */

struct store_ctx {
    struct fm_lease_at lease[SIM_REGIONS];
    struct fm_cell_at cell[SIM_CELLS];
    struct fm_budget_at budget;
};

struct store {
    uint64_t id, revision;
    struct fm_view_at view;
    struct fm_keeper_at keeper[SIM_REGIONS];
    struct store_ctx ctx[SIM_CONTEXTS];
};

union blob {
    struct fm_txn txn;
    struct {
        uint64_t id, revision;
        struct fm_view_at view;
        struct fm_keeper_at keeper;
        struct store_ctx ctx;
    } read;
    struct {
        struct fm_evidence evidence;
        struct fm_group_report report;
        uint8_t nlines;
        struct line line[SIM_LINES];
    } db;
};

/* -------- actors -------- */

struct agent {
    struct fm_office office;
    struct fm_authority auth[SIM_CONTEXTS];
    struct fm_marks disk[SIM_CONTEXTS];
    bool has_disk;
    int32_t lease_ms; /* as its configuration has it; 0 = as the first one of all */
    struct fm_revision lease_seen[SIM_CONTEXTS];
    /* what it operates; sim/operate.c */
    struct fm_failover fo[SIM_CONTEXTS][SIM_REGIONS]; /* by the region that is lost */
    int64_t started_at[SIM_CONTEXTS][SIM_REGIONS];    /* of the standby; 0 = not starting */
    struct fm_move mv[SIM_CONTEXTS];
    uint8_t drained[SIM_CONTEXTS]; /* gates, for the move under way */
    int64_t repeat_at[SIM_CONTEXTS];
    struct fm_votes votes;
    int64_t vote_at;
    bool paused, reseeded;
    /* of the group's nodes; sim/yield.c */
    struct fm_yield yield;
    struct fm_group_report node[SIM_DBS];
    uint8_t opening; /* enum fm_opening, as gates were told last */
};

struct gate {
    struct fm_sublease sub[SIM_CONTEXTS];
    struct fm_sub id;
    uint8_t in_flight[SIM_CONTEXTS][SIM_CELLS];
};

struct edge {
    struct fm_authority_view view[SIM_CONTEXTS];
    uint32_t held;
};

enum command_state { CMD_OPEN, CMD_ACKED, CMD_UNKNOWN, CMD_REFUSED };

struct command {
    uint8_t ctx, cell, edge, state;
    uint32_t next; /* the next one of its cell; 0 = none */
    uint32_t tries;
    uint8_t effects; /* how often it was executed, by everybody */
    bool held, maybe_executed;
    int64_t held_since;
    struct fm_epoch epoch; /* it was acknowledged under */
    struct fm_epoch first; /* of the first try that was not refused */
    int64_t deadline;
};

/* One region's data of one cell: commands in the order of their effect. */
struct data {
    uint32_t n;
    uint64_t line; /* the epoch that made this history its own */
    uint16_t op[SIM_LOG_MAX / 2];
};

/* What a gate's journal knows of a command; and which life of which gate wrote an intent. */
struct entry {
    uint8_t state; /* enum fm_entry */
    uint8_t gate;
    bool durable;
    uint16_t life;
};

/* One node of the group: its disk, its server and its agent. */
struct db {
    /* the disk */
    bool data, signal, clean; /* signal: starts as a standby */
    uint64_t system;
    struct line line[SIM_LINES];
    uint8_t nlines;
    uint32_t n, replayed; /* records */
    uint32_t log[SIM_WAL];
    uint32_t kept;      /* of a primary: the records before it are gone for who has not got them */
    int64_t full_until; /* no room on it */
    /* the server */
    uint8_t process; /* enum fm_group_process */
    bool primary, streaming;
    uint32_t server_life, upstream_life, promote_to;
    int64_t up_at, stop_at, promote_at, fail_at, frozen_until;
    int64_t stuck_until;    /* who is in goes on, and nobody new gets in */
    struct fm_mono well_at; /* as the agent found it */
    uint8_t upstream;
    struct fm_lsn granted;
    uint32_t answered; /* clients of the records before this one were answered, or left */
    /* the agent, anew at each start */
    struct fm_sub id;
    struct fm_sublease sub;
    struct fm_group_node g;
    struct fm_group_report node[SIM_DBS];
    struct fm_cell_at cell;
    struct fm_incarnation seed;
    struct line known[SIM_LINES]; /* of the node that is recorded as writer */
    uint8_t nknown, known_of;
    struct fm_credit credit;
    uint32_t credit_life, counted, near; /* server_life */
    struct fm_credit_asked asked;
    uint8_t op; /* enum fm_group_action that takes time */
    uint8_t op_from;
    uint8_t kept_of; /* who keeps what only this node has, as its data were: number + 1 */
    uint32_t kept_line, kept_n;
    uint8_t trap;       /* the agent dies when it enters this state; LOOKING: in none */
    int64_t lies_until; /* a rewind says that it was done, and was not */
    uint32_t serial;
    int64_t op_at;
    uint32_t ticks;
};

struct group {
    unsigned n;
    uint8_t region[SIM_DBS];
    struct fm_group_policy policy;
    struct fm_credit_policy credit;
    int64_t near_from, near_until; /* `in-region: sync` */
    struct db db[SIM_DBS];
    struct {
        bool client, acked;
        uint8_t kept_by; /* nodes that know of it, and have it not; one bit each */
    } rec[SIM_RECS];
    uint32_t nrecs;
    uint64_t systems;
    /* of the checker */
    struct fm_epoch acked_under;
    int64_t acked_at,
        changed_at; /* changed_at: the cell has another epoch, or holder, since then */
    uint8_t acked_by;
    struct fm_epoch opened;    /* the highest one under which a primary was open */
    struct fm_epoch planned;   /* the last one that began by a release */
    uint8_t promoted[SIM_WAL]; /* who promoted to this timeline: its number + 1 */
};

struct config {
    uint8_t contexts, cells[SIM_CONTEXTS];
    int32_t lease_ms, renew_ms, retry_ms;
    uint32_t rho_ppm;
    int64_t grace_ms, near_us, far_us, command_gap_us, op_timeout_ms, election_ms;
    uint8_t mode; /* enum fm_failover_mode */
    bool fenced, by_app[SIM_CONTEXTS];
    bool empty;       /* nothing was ever written to the store: keepers create their cells */
    bool eager;       /* somebody orders a failover as soon as a lease looks lapsed */
    int64_t moves_ms; /* somebody moves cells about so often; 0 = nobody */
    uint64_t max_loss;
    int64_t journal_us, hold_ms, ask_after_ms;
    bool failback_automatic;
    uint8_t at_most;
    int64_t window_ms;
};

enum { QUEUE_MAX = 8192, MSGS_MAX = 8192, BLOBS_MAX = 4096, AUTOMATIC_MAX = 64 };

struct queued {
    int64_t at;
    uint32_t seq;
    int32_t msg;
};

/* A heap: the earliest is first. */
struct queue {
    struct queued q[QUEUE_MAX];
    unsigned n;
};

struct world {
    const struct sim_options *o;
    struct sim_result *r;
    struct fm_rand dice, net, faults;
    int64_t now, end, faults_end;
    struct config cfg;
    uint64_t at_home[SIM_CONTEXTS][SIM_REGIONS]; /* cells, one bit each */
    struct proc proc[SIM_PROCS];
    struct agent agent[SIM_REGIONS * SIM_AGENTS];
    struct fm_auth_event told; /* the event of the message that is taken now */
    struct gate gate[SIM_REGIONS * SIM_GATES];
    struct edge edge[SIM_EDGES];
    struct store store, stale[SIM_STALE], backup;
    unsigned stale_at;
    int leader; /* region of the coordination's leader; -1 = none */
    int64_t elected_at;
    bool coord_down, coord_cut[SIM_REGIONS];
    /* the network */
    bool cut[SIM_REGIONS][SIM_REGIONS];
    uint32_t loss_ppm, dup_ppm, unknown_ppm, late_ppm, stale_ppm;
    int64_t delay_max;
    bool edge_stale[SIM_EDGES], watch_gap[SIM_REGIONS * SIM_AGENTS];
    bool watch_due[SIM_REGIONS * SIM_AGENTS];
    /* faults */
    struct sim_fault fault[SIM_FAULTS_MAX];
    unsigned nfaults;
    /* commands and data */
    struct command command[SIM_COMMANDS_MAX];
    uint32_t ncommands, first[SIM_CONTEXTS][SIM_CELLS], last[SIM_CONTEXTS][SIM_CELLS];
    struct entry journal[SIM_REGIONS * SIM_GATES][SIM_COMMANDS_MAX];
    struct fm_keygate gates[SIM_REGIONS][SIM_GATES];
    struct data data[SIM_REGIONS][SIM_CONTEXTS][SIM_CELLS];
    struct {                          /* of the checker */
        struct fm_epoch epoch, first; /* the first one that this region admitted in a row */
        uint8_t region;
    } admitted[SIM_CONTEXTS][SIM_CELLS];
    struct fm_epoch seeded[SIM_CONTEXTS][SIM_CELLS]; /* by the last new seed */
    struct {
        unsigned agent, region;
        int64_t since, at;
    } automatic[SIM_CONTEXTS][AUTOMATIC_MAX];
    unsigned nautomatic[SIM_CONTEXTS];
    unsigned faults_on;
    int64_t calm_since;
    uint64_t hash;
    uint64_t incarnations;
    unsigned nfree_msg, nfree_blob;
    struct group *group; /* NULL: this schedule has none */
    uint32_t seq;
    /* From here on nothing is looked at that this life of the world has not written. What is drawn
     * long before is kept apart, so that the queue of the next seconds is short. */
    struct queue soon, later;
    struct msg msgs[MSGS_MAX];
    int32_t free_msg[MSGS_MAX];
    union blob blobs[BLOBS_MAX];
    int32_t free_blob[BLOBS_MAX];
};

/* -------- world.c -------- */

unsigned proc_agent(unsigned region, unsigned index);
unsigned proc_gate(unsigned region, unsigned index);
unsigned proc_app(unsigned region, unsigned index);
unsigned proc_edge(unsigned index);
static inline struct agent *agent_of(struct world *w, unsigned p)
{
    return &w->agent[w->proc[p].region * SIM_AGENTS + w->proc[p].index];
}
static inline struct gate *gate_of(struct world *w, unsigned p)
{
    return &w->gate[w->proc[p].region * SIM_GATES + w->proc[p].index];
}

static inline struct entry *entry_of(struct world *w, unsigned region, unsigned gate, uint32_t op)
{
    return &w->journal[region * SIM_GATES + gate][op];
}

struct fm_mono local_at(const struct proc *p, int64_t real);
static inline struct fm_mono local_now(const struct world *w, unsigned p)
{
    return local_at(&w->proc[p], w->now);
}
int64_t real_after(const struct proc *p, int64_t local_ns);
void clock_rate(struct world *w, unsigned p, int32_t ppm);

uint32_t chance(struct world *w, uint32_t ppm);
int64_t between(struct fm_rand *r, int64_t lo, int64_t hi);

/* A message to be filled in and given to post() or send_msg(): all of it is 0 but the epochs, which
 * are what somebody has left there. */
struct msg *new_msg(struct world *w, enum msg_kind kind, unsigned from, unsigned to);
int32_t new_blob(struct world *w);
void free_blob(struct world *w, int32_t b);
void drop(struct world *w, struct msg *m);
/* For sure, at that time. */
void post(struct world *w, struct msg *m, int64_t at);
/* Over the network, with what it does to messages. */
void send_msg(struct world *w, struct msg *m);
int64_t transit(struct world *w, unsigned from_region, unsigned to_region);
void arm(struct world *w, unsigned p, int64_t at);

void proc_start(struct world *w, unsigned p);
void proc_kill(struct world *w, unsigned p);
void broken(struct world *w, const char *what, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void trace(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* -------- the actors -------- */

void store_begin(struct world *w);
void store_commit(struct world *w, struct msg *m);
void store_read(struct world *w, struct msg *m);
void store_connect(struct world *w); /* the network or the regions changed */
void store_elected(struct world *w, const struct msg *m);
void store_changed(struct world *w);
bool store_reached(const struct world *w, unsigned region, bool back);

void agent_start(struct world *w, unsigned p);
void agent_take(struct world *w, struct msg *m);
void agent_set_lease(struct world *w, unsigned p, int32_t lease_ms);
void agent_order(struct world *w, unsigned p, unsigned ctx, const struct fm_auth_event *e);

void gate_start(struct world *w, unsigned p);
void gate_take(struct world *w, struct msg *m);
void app_take(struct world *w, struct msg *m);
void edge_take(struct world *w, struct msg *m);
void client_take(struct world *w, struct msg *m);
void guard_take(struct world *w, struct msg *m);
void guard_speaks(struct world *w, unsigned gate, bool everything);
void data_acquired(struct world *w, unsigned from, unsigned region, unsigned ctx, unsigned cell,
                   bool gentle, struct fm_epoch epoch);
void data_replicate(struct world *w, struct msg *m);
uint8_t data_shipped(struct world *w, const struct msg *m); /* 1 the data, 2 the journal is whole */
uint32_t data_lag(const struct world *w, unsigned from, unsigned to, unsigned ctx, unsigned cell);

unsigned proc_db(unsigned index);
static inline struct db *db_of(struct world *w, unsigned p)
{
    return &w->group->db[w->proc[p].index];
}

/* pg.c: PostgreSQL as a model */
struct fm_lsn pg_lsn(uint32_t n);
bool pg_frozen(const struct world *w, unsigned i);
bool pg_accepts(const struct world *w, unsigned i);
void pg_create(struct world *w, unsigned i);
void pg_start(struct world *w, unsigned i, bool primary);
void pg_kill(struct world *w, unsigned i);
void pg_progress(struct world *w, unsigned i);
bool pg_copy(struct world *w, unsigned i, unsigned from, bool rewind);
/* What the other one has not is known there from now on. False: nothing gets there. */
bool pg_keep(struct world *w, unsigned i, unsigned at);
bool pg_holds_acked(struct world *w, unsigned i, uint32_t *lost, uint32_t *last);
void pg_run(struct world *w); /* what all of them do by themselves, once */

/* database.c: the agent of a node */
void db_draw(struct world *w);
void db_start(struct world *w, unsigned p);
void db_take(struct world *w, struct msg *m);
void db_killed(struct world *w, unsigned p);
void db_down(struct world *w, unsigned p); /* all of the host, and the guard of it says so */
void db_fault(struct world *w, const struct msg *m);
/* The node enters a state: an agent may die of that. */
void db_entered(struct world *w, unsigned i, unsigned state);
void db_guard(struct world *w, const struct msg *m);
bool db_serves(const struct world *w, unsigned i);
bool db_is_final(const struct world *w, unsigned from, unsigned to);
bool db_is_ready(const struct world *w, unsigned region);
bool db_is_bounded(const struct world *w, unsigned region, const struct fm_evidence *recorded);
void db_recorded(struct world *w, const struct fm_cell_record *old,
                 const struct fm_cell_record *new);
void db_acked(struct world *w, unsigned i, uint32_t record);
/* Another epoch begins: nobody answers clients under the one of before. */
void db_check_ended(struct world *w, const struct fm_cell_record *old);
void db_check_end(struct world *w);
void db_check_admitted(struct world *w, struct fm_epoch epoch);
bool db_any_serves(const struct world *w);

/* yield.c: what a keeper does about the nodes of its region */
void yield_start(struct world *w, unsigned p);
void yield_heard(struct world *w, const struct msg *m);
/* May commands of the group's context begin, as this agent knows its nodes? */
enum fm_opening yield_opening(const struct world *w, unsigned p);
/* Has that region given the cell of the group up? */
bool yield_is(const struct world *w, const struct fm_authority *x, unsigned ctx, unsigned region);
/* Who goes on; `heir` by the votes. */
unsigned yield_next(const struct world *w, unsigned p, unsigned heir);
void yield_tick(struct world *w, unsigned p, unsigned heir);
/* The cell of the group has just changed hands; or it is given up, and nobody may go on by
 * himself. */
bool yield_waits(const struct world *w);

void operate_start(struct world *w, unsigned p);
void operate_eager(struct world *w, unsigned p);
void operate_tick(struct world *w, unsigned p);
void operate_take(struct world *w, struct msg *m);
void operate_said(struct world *w, unsigned p, unsigned ctx, const struct fm_auth_action *act);
void operate_gate_asks(struct world *w, unsigned p, const struct msg *m);
unsigned home_of(const struct world *w, unsigned ctx, unsigned cell);

unsigned fault_draw_kind(struct fm_rand *d);
void faults_draw(struct world *w);
void fault_begin(struct world *w, unsigned i);
void fault_end(struct world *w, unsigned i);

void check_admitted(struct world *w, unsigned gate, unsigned ctx, unsigned cell,
                    struct fm_epoch epoch);
void check_granted(struct world *w, unsigned gate, unsigned ctx, uint64_t cells);
void check_relayed(struct world *w, unsigned gate, unsigned ctx, unsigned cell,
                   struct fm_epoch epoch);
void check_committed(struct world *w, const struct store *before, const struct fm_txn *t,
                     unsigned from);
void check_ordered(struct world *w, unsigned p, unsigned ctx, unsigned region, bool glass);
void check_end(struct world *w);

#endif
