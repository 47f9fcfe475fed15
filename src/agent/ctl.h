/* agent/ctl.h: the inside of the controller (agent/controller.h), for its own files:
 *   controller.c   life, office, steps of core and carrying out what they order
 *   ctl_store.c    coordination: what is watched, read and written
 *   ctl_operate.c  votes, failovers
 *   ctl_move.c     planned moves
 *   ctl_ops.c      what people order: pages and records
 *   ctl_plan.c     ... checked against the rules
 *   ctl_carry.c    carrying it out
 *   ctl_home.c     failback: who decides it, and what it is refused for
 *   ctl_intent.c   what operators asked of regions, hosts and instances
 *   ctl_drain.c    ... and the guards of it: drain, undrain
 *   ctl_agreed.c   what hosts agree upon: `config`
 *   ctl_standby.c  the app of a region that stands by: started, checked, stopped
 *   ctl_external.c data that Fulmar does not run itself, by commands
 *   ctl_external_tell.c  ... and what is known of them, for people
 *   ctl_note.c     records that a region's keeper makes for the next one
 *   ctl_group.c    the PostgreSQL group that carries a context's data
 *   ctl_node.c     orders about one node of it
 *   ctl_member.c   nodes that come and go
 *   ctl_quote.c    ... and what a failover would lose of them
 *   ctl_yield.c    ... given up, where it does not serve here any more
 *   ctl_open.c     commands wait until the data are open
 *   ctl_tell.c     events, status, views
 *
 * A context is stepped by ctl_step only, with the clock read anew: an answer is later than the turn
 * of the loop in which it is taken. Steps never happen inside of carrying out another one. */
#ifndef FM_AGENT_CTL_H
#define FM_AGENT_CTL_H

#include "agent/controller.h"
#include "agent/external_doc.h"
#include "agent/hook.h"
#include "agent/intent.h"
#include "agent/ops.h"
#include "agent/recorder.h"
#include "agent/records.h"
#include "base/rand.h"
#include "coord/setup.h"
#include "core/external.h"
#include "core/failover.h"
#include "core/group_order.h"
#include "core/lineage.h"
#include "core/move.h"
#include "core/office.h"
#include "core/opening.h"
#include "core/standby.h"
#include "core/votes.h"
#include "core/yield.h"

enum {
    CTL_READ_PARTS = 5,
    CTL_COMMITS = 6,        /* more than core has on their way for one context */
    CTL_OFFICE_COMMITS = 4, /* a claim is repeated while the one before may be on its way */
    CTL_KEYS = FM_TXN_COMPARES_MAX + FM_TXN_WRITES_MAX,
    CTL_LATER_MAX = 256, /* actions of a context that wait for the disk */
    CTL_EVENTS_MAX = 256,
    CTL_EVIDENCE_ROOM = 400,
};

struct ctl_context;

/* What stands in coordination about one context. */
struct ctl_seen {
    struct fm_lease_at lease[FM_AUTH_REGIONS_MAX];
    struct fm_cell_at cell[FM_AUTH_CELLS_MAX];
    struct fm_budget_at budget;
    char unreadable[FM_RECORD_KEY_ROOM + FM_RECORD_WHY_ROOM]; /* "" = nothing is */
};

/* ... and about all of them. */
struct ctl_common {
    struct fm_view_at view;
    struct fm_keeper_at keeper[FM_AUTH_REGIONS_MAX];
    bool unreadable;
};

struct ctl_commit {
    struct fm_coord_op op;
    struct fm_controller *ctl;
    struct ctl_context *context; /* NULL: a claim of the office */
    uint32_t number;             /* of core */
    bool busy, refused;          /* refused: it was never sent */
    struct fm_coord_txn txn;
    struct fm_coord_compare compare[FM_TXN_COMPARES_MAX];
    struct fm_coord_write write[FM_TXN_WRITES_MAX];
    char key[CTL_KEYS][FM_RECORD_KEY_ROOM];
    char *value[FM_TXN_WRITES_MAX];
};

/* A linearizable read of everything about a context, in parts; each begins after core asked. */
struct ctl_read {
    struct fm_coord_op op[CTL_READ_PARTS];
    char key[CTL_READ_PARTS][FM_RECORD_KEY_ROOM];
    struct ctl_context *context;
    bool busy, failed;
    unsigned left;
    uint32_t number;
    uint64_t revision; /* the least that a part showed */
    struct ctl_seen seen;
    struct ctl_common common;
};

/* An action that waits for the disk. */
struct ctl_later {
    struct ctl_later *next;
    uint64_t barrier;
    struct fm_auth_action act;
    struct ctl_commit *commit; /* of a COMMIT */
    struct fm_epoch epoch[FM_AUTH_CELLS_MAX];
};

/* Contexts that move together; most are alone. */
struct ctl_set {
    unsigned n;
    unsigned member[FM_ROSTER_CONTEXTS_MAX]; /* numbers of contexts; the first one's policy rules */
    struct fm_contexts contexts;
    struct fm_failover fo[FM_AUTH_REGIONS_MAX]; /* by the region that is lost */
    bool attested[FM_AUTH_REGIONS_MAX];
    struct fm_mono ask_next;  /* of a holder that a person takes it from: to let go */
    struct fm_mono home_next; /* of a failback: the next cell goes then */
    bool canary_went;
};

struct ctl_policy {
    uint64_t revision;
    struct fm_op_policy p;
};

enum { CTL_OPS_MAX = 192, CTL_OPS_KEPT = 128, CTL_TAKINGS_MAX = 8, CTL_QUOTES_MAX = 16 };

/* An operation as coordination has it, and the change of it that is on its way. */
struct ctl_op {
    struct fm_controller *ctl;
    bool used, there; /* there: in the read that is being taken in */
    struct fm_op op;
    uint64_t revision;
    struct fm_mono next_at; /* it is looked at then */
    struct fm_mono begun;
    struct { /* what the node of a group said of it last */
        bool heard, ok;
        struct fm_group_order_asks asks;
        int32_t percent;
        char why[FM_MESSAGE_WHY_ROOM];
    } node;
    bool writing;
    struct fm_coord_op w;
    struct fm_coord_txn txn;
    struct fm_coord_compare compare;
    struct fm_coord_write write;
    char key[FM_OP_ID_ROOM + 4];
    char *value;
};

/* What operators asked, as coordination has it. */
struct ctl_intent {
    struct fm_controller *ctl;
    bool used, there; /* there: in the read that is being taken in */
    struct fm_intent_about at;
    struct fm_intent i;
    uint64_t revision;
    struct fm_mono until; /* counted down here */
    bool named;           /* by the configuration of this host */
    bool orphan;          /* a reload took out what it is about: it ends soon */
    bool gone;            /* ... from coordination, while its end is on its way */
    /* its end, on its way */
    bool writing;
    struct fm_coord_op w;
    struct fm_coord_txn txn;
    struct fm_coord_compare compare;
    struct fm_coord_write write;
    char key[FM_INTENT_KEY_ROOM];
    char *value;
};

/* Records, the ended ones among them: where there are many, each order erases one of these. */
enum {
    CTL_INTENTS_MAX = FM_VIEW_DOC_INTENTS_MAX,
    CTL_INTENTS_KEPT = CTL_INTENTS_MAX / 2,
    CTL_INTENTS_ROOM = CTL_INTENTS_MAX + 8, /* a new one may be told of before its old one */
};

/* What hosts agree upon, as coordination has it. */
struct ctl_agreed {
    struct fm_controller *ctl;
    bool there; /* in the read that is being taken in */
    bool unreadable;
    struct fm_agreed seen;
    uint64_t revision; /* 0 = there is none */
    struct fm_mono next_at;
    bool writing;
    struct fm_coord_op w;
    struct fm_coord_txn txn;
    struct fm_coord_compare compare;
    struct fm_coord_write write;
    char *value;
};

/* One that is ordered. */
struct ctl_intended {
    bool is, is_so; /* is_so: by what is known here nothing changes */
    struct fm_intent_about at;
    uint64_t revision;              /* of what it replaces */
    char erase[FM_INTENT_KEY_ROOM]; /* the oldest of those that ended; "" = there is none */
    uint64_t erase_revision;
    uint64_t serial; /* of the record `intents`: no two orders are judged by the same state */
    struct fm_intent i;
};

/* An order that is being written down; somebody waits for the answer. */
struct ctl_taking {
    struct fm_controller *ctl;
    bool used;
    bool abort; /* of an operation that is there; tried again where that has changed meanwhile */
    bool again;
    unsigned tries;
    struct fm_page_wait *wait;
    struct fm_op op;
    struct ctl_intended intended;
    struct fm_agreed agreed; /* of an order `config`; else generation 0 */
    struct fm_coord_op w;
    struct fm_coord_txn txn;
    struct fm_coord_compare compare[5];
    struct fm_coord_write write[5];
    char key[5][FM_INTENT_KEY_ROOM];
    char *value[5];
};

struct ctl_quote {
    char id[FM_OP_ID_ROOM];
    unsigned context, to;
    uint64_t loss;
    bool unbounded;
    struct fm_mono until;
};

/* A record `KIND/CONTEXT/REGION` of this agent's region, and a change of it that is on its way. */
struct ctl_note {
    struct ctl_context *context;
    /* It was written at this revision; 0: it may have been, and the watch shows what is there. */
    void (*written)(struct ctl_note *n, uint64_t revision);
    bool writing;
    struct fm_mono write_at;
    struct fm_coord_op w;
    struct fm_coord_txn txn;
    struct fm_coord_compare compare;
    struct fm_coord_write write;
    char key[FM_RECORD_KEY_ROOM];
    char *value;
};

/* The app of this region, where it is stopped until it is needed. */
struct ctl_standby {
    struct ctl_context *context;
    struct fm_standby s;
    struct fm_hook hook;
    const char *command;         /* that runs, or ran last; NULL = none has */
    bool ended;                  /* it has, and core was not told yet */
    bool in_office;              /* this agent is keeper, and was when it was looked at last */
    bool again;                  /* a preparation began, and core was not told yet */
    struct fm_mono handed_until; /* a holder may hand over by then: it was told so */
    struct fm_mono asked_until;  /* ... or has asked, and asks again */
    enum fm_standby_wish apart;  /* is replication to this region to be broken? */
    struct fm_standby_link link;
    /* as coordination has it, and the change of it that is on its way */
    bool recorded, to_record;
    enum fm_standby_link_state link_recorded, link_to_record;
    uint64_t revision;
    struct ctl_note note;
};

/* Data that Fulmar does not run itself. */
struct ctl_external {
    struct ctl_context *context;
    struct fm_external x;
    struct fm_hook hook;
    bool ended;                     /* the command has, and core was not told yet */
    bool in_office;                 /* this agent is keeper, and was when it was looked at last */
    struct fm_external_lag lag_was; /* of the keeper before this one, while there is no newer */
    int64_t lag_was_ms;             /* its age when this one came */
    struct fm_mono office_since;
    struct ctl_external_ran { /* by the state in which it ran */
        bool has, ok;
        int64_t took_ms;
        struct fm_mono at;
        char why[FM_HOOK_WHY_ROOM];
    } ran[FM_EXTERNAL_STATE_COUNT];
    struct ctl_external_region { /* as coordination has it; revision 0 = it has nothing */
        bool there;              /* in the read that is being taken in */
        uint64_t revision, told; /* told: of what was first seen at `seen` */
        struct fm_mono seen;
        struct fm_external_doc doc;
    } region[FM_AUTH_REGIONS_MAX];
    struct fm_external_doc to_record;
    struct ctl_note note;
};

/* The nodes of a context's PostgreSQL group, by their numbers in the roster. */
struct ctl_group {
    unsigned nnodes;
    struct ctl_group_node {
        bool in_file;
        unsigned host, region; /* numbers of the roster; not in the file: FM_NO_REGION */
        uint8_t zone, rank;    /* see core/lineage.h */
        char zone_name[FM_ROSTER_NAME_ROOM];
        bool delayed;                  /* on purpose: it never writes */
        struct fm_group_report report; /* what it said; ctl_group_report: and where it stands */
        struct fm_mono level_at;       /* it had all that the primary had then; 0 = not known */
    } node[FM_GROUP_NODES_MAX];
    struct fm_revision told; /* of the cell, to all of them */
    struct fm_yield yield;   /* ctl_yield.c */
};

struct ctl_context {
    struct fm_controller *ctl;
    unsigned number; /* in the roster */
    int conf;        /* index in the configuration; -1 = not there any more */
    struct fm_authority auth;
    struct ctl_seen seen; /* by the watch */
    struct fm_revision lease_seen;
    struct ctl_read read;
    struct ctl_commit commit[CTL_COMMITS];
    struct ctl_later *later, **later_end;
    unsigned nlater;
    uint64_t barrier;
    bool touched;
    bool unreadable; /* said so in the log */
    struct ctl_policy policy;
    /* ctl_operate.c */
    struct ctl_set *set;
    struct fm_move move;
    struct fm_sub drained[FM_SUBS_MAX];
    unsigned ndrained;
    uint16_t shipped[FM_SUBS_MAX];
    unsigned nshipped;
    struct fm_mono repeat_at;
    char move_why[FM_MESSAGE_WHY_ROOM];
    char move_unfit[FM_MESSAGE_WHY_ROOM]; /* as was said last of an heir that was not ready */
    bool move_held;                       /* commands were held for it */
    bool move_home; /* it is a step of a failback, which has not looked at its end yet */
    struct {        /* the item of an operation that is being carried out */
        bool active;
        char id[FM_OP_ID_ROOM];
        unsigned item, tries;
    } carry;
    struct fm_mono move_since;
    struct ctl_standby standby;
    struct ctl_group *group;       /* NULL: no PostgreSQL group carries its data */
    struct ctl_external *external; /* NULL: they are not moved by commands */
    /* ctl_open.c */
    uint8_t opening; /* enum fm_opening, where it is held, as it was looked at last */
    bool closed;     /* ... and as it was said last */
    struct fm_mono opening_since;
    /* ctl_tell.c: as told last */
    uint16_t lapsed; /* regions whose lease was found lapsed */
    uint64_t generation;
    struct fm_epoch board_epoch[FM_AUTH_CELLS_MAX];
    uint8_t board_holder[FM_AUTH_CELLS_MAX];
};

struct ctl_event {
    uint64_t number;
    int64_t wall_ns;
    /* "authority", "data", "failover", "move", "office", "yield", "replication" */
    const char *what;
    char context[FM_ROSTER_NAME_ROOM];
    char object[FM_INTENT_NAME_ROOM]; /* "" = it is about a context, a cell, a region */
    int cell, region;                 /* -1 = none */
    const char *from, *to;            /* states, or NULL */
    const char *why, *text;           /* its name, and for people */
    char evidence[CTL_EVIDENCE_ROOM];
};

struct fm_controller {
    struct fm_controller_config c;
    const struct fm_conf *conf;
    unsigned region;
    struct fm_agent_id self;
    struct fm_incarnation life;
    bool able, stopped;
    struct fm_office office;
    struct ctl_commit claim[CTL_OFFICE_COMMITS];
    struct ctl_context *context[FM_ROSTER_CONTEXTS_MAX]; /* by number; NULL: none */
    unsigned ncontexts;                                  /* past the last one */
    struct ctl_set set[FM_ROSTER_CONTEXTS_MAX];
    unsigned nsets;
    struct fm_members members; /* of the file */
    struct ctl_host {
        bool agent; /* it votes, and may be keeper where its region may hold */
        bool gate;  /* of my region */
        bool door;  /* a gate of whatever region: */
        uint8_t region;
        uint64_t dead_life; /* its guard says so, and no other one was heard since; 0 = none */
        struct fm_agent_id id;
        struct fm_mono asked; /* a gate of my region: for its sub-leases, last */
    } host[FM_ROSTER_HOSTS_MAX];
    int64_t renew_ms, retry_ms, vote_ms, op_ms;
    struct fm_mono times_at; /* the times of before count until then, too; 0 = they do not */
    struct fm_rand rand;
    struct fm_recorder *recorder; /* NULL = nothing is recorded */
    struct fm_timer timer, soon;
    struct fm_mono timer_at;
    bool reseeded, stepping, told; /* told: `changed` is due */
    /* ctl_store.c */
    struct fm_coord *coord;
    struct fm_coord_setup setup;
    struct fm_coord_watch watch;
    bool watching, closing;
    struct fm_mono reopen_at;
    struct ctl_common common; /* by the watch */
    uint64_t revision;        /* of what the watch has told; 0 = nothing yet */
    char trouble[256];        /* why the store is not used; "" = it is */
    /* ctl_operate.c */
    struct fm_votes votes;
    struct fm_mono vote_at;
    uint16_t observers, holders; /* regions that vote; regions that may hold */
    uint16_t rank[FM_AUTH_REGIONS_MAX];
    unsigned domains;
    /* ctl_ops.c */
    struct ctl_op op[CTL_OPS_MAX];
    struct ctl_taking taking[CTL_TAKINGS_MAX];
    struct ctl_quote quote[CTL_QUOTES_MAX];
    unsigned nquotes;
    struct ctl_home_ask *home_ask; /* ctl_home.c; from malloc; NULL = nobody has asked yet */
    /* ctl_intent.c */
    struct ctl_intent intent[CTL_INTENTS_ROOM];
    uint64_t intents_serial; /* revision of the record `intents` */
    /* ctl_agreed.c */
    struct ctl_agreed agreed;
    /* ctl_tell.c */
    struct ctl_event event[CTL_EVENTS_MAX];
    uint64_t nevents;
};

/* -------- controller.c -------- */

void ctl_step(struct ctl_context *c, const struct fm_auth_event *e);
/* Coordination was seen, by the watch or by the read of this number. */
void ctl_saw(struct ctl_context *c, const struct ctl_seen *seen, const struct ctl_common *common,
             uint64_t revision, bool linear, uint32_t number);
/* Tell the office, and every context what came of it. */
void ctl_office(struct fm_controller *ctl, const struct fm_office_event *e);
/* Look at the context again at the end of this turn. */
void ctl_touch(struct ctl_context *c);
void ctl_touch_all(struct fm_controller *ctl);
/* Any context waits for a new seed of the store (rule 4). */
bool ctl_is_frozen(const struct fm_controller *ctl);
void ctl_arm(struct fm_controller *ctl, struct fm_mono at);
/* A message about the context, to be filled in. */
struct fm_message ctl_message(const struct ctl_context *c, enum fm_message_kind kind);
/* To each agent of a region (of all regions: FM_NO_REGION), but not to this one. */
void ctl_send_agents(struct fm_controller *ctl, unsigned region, const struct fm_message *m);
/* To each sub-lessee that is recorded in the lease of my region. */
void ctl_send_gates(struct ctl_context *c, const struct fm_message *m);
static inline const struct fm_conf_context *ctl_conf(const struct ctl_context *c)
{
    FM_ASSERT(c->conf >= 0);
    return &c->ctl->conf->contexts[c->conf];
}

/* -------- ctl_store.c -------- */

enum fm_err ctl_store_open(struct fm_controller *ctl, struct fm_error *e) FM_WARN_UNUSED;
void ctl_store_stop(struct fm_controller *ctl);
void ctl_store_free(struct fm_controller *ctl);
void ctl_read_begin(struct ctl_context *c, uint32_t number);
/* Made at once, sent later: the transaction is core's until its next step. */
struct ctl_commit *ctl_commit_make(struct ctl_context *c, const struct fm_txn *t, uint32_t number);
void ctl_commit_send(struct ctl_commit *m);
void ctl_claim(struct fm_controller *ctl, const struct fm_txn *t);
/* It is not sent; core is told at the end of the turn. */
void ctl_read_refuse(struct ctl_context *c, uint32_t number);
void ctl_commit_refuse(struct ctl_commit *m);
void ctl_store_settle(struct fm_controller *ctl);
/* From the timer: is there trouble, is it over? */
void ctl_store_tick(struct fm_controller *ctl);
uint64_t ctl_store_id(const struct fm_controller *ctl);

/* -------- ctl_operate.c -------- */

void ctl_operate_start(struct fm_controller *ctl);
void ctl_operate_turn(struct ctl_context *c);
void ctl_operate_tick(struct fm_controller *ctl);
/* Look again whom I hear, and say so where that is news. */
void ctl_operate_vote(struct fm_controller *ctl);
void ctl_operate_said(struct ctl_context *c, const struct fm_auth_action *act);
void ctl_operate_take(struct fm_controller *ctl, unsigned host, uint64_t life,
                      const struct fm_message *m);
struct fm_failover_verdict ctl_failover_event(struct fm_controller *ctl, struct ctl_set *s,
                                              unsigned lost, enum fm_failover_event_kind kind,
                                              struct fm_quote quote, bool glass);
struct fm_failover_policy ctl_failover_policy(const struct fm_controller *ctl,
                                              const struct ctl_set *s);
/* Requests a second; 0 = the file says nothing. */
uint32_t ctl_capacity(const struct fm_controller *ctl, unsigned region);
/* Who would take over from `lost`, by the votes; FM_NO_REGION. */
unsigned ctl_heir(const struct fm_controller *ctl, const struct ctl_set *s, unsigned lost);
/* For a failover from `lost` to `to`, as it looks from here. They are the same where a region goes
 * on with what it has given up itself, with another node. */
struct fm_failover_evidence ctl_evidence(const struct fm_controller *ctl, const struct ctl_set *s,
                                         unsigned lost, unsigned to);
/* Cells that are held here and at home there; those that were taken by force, or all. */
uint64_t ctl_away_from(const struct fm_authority *x, unsigned home, bool forced);

/* -------- ctl_move.c -------- */

/* NULL, or why it does not begin. */
const char *ctl_move_begin(struct ctl_context *c, unsigned cell, unsigned to);
void ctl_move_abort(struct ctl_context *c);
/* Would this cell be moved from that region by nobody (core/move.h)? */
bool ctl_move_is_stranded(const struct ctl_context *c, unsigned cell, unsigned from);
/* An heir that said that it is ready has the cell released for it within this, or not at all. */
int64_t ctl_move_within_ms(const struct ctl_context *c);
/* What is due, what core said of the cell, and what other hosts say. */
void ctl_move_turn(struct ctl_context *c);
void ctl_move_said(struct ctl_context *c, const struct fm_auth_action *act);
void ctl_move_take(struct ctl_context *c, unsigned host, const struct fm_message *m);

/* -------- ctl_ops.c -------- */

/* From the watch: an operation or a policy is there, or is gone (NULL). */
void ctl_ops_seen(struct fm_controller *ctl, struct fm_str key, const struct fm_coord_kv *kv);
/* All that is there follows; what is not told of until the end is gone. */
void ctl_ops_fresh(struct fm_controller *ctl, bool begins);
void ctl_ops_page(struct fm_controller *ctl, const struct fm_page_request *q,
                  struct fm_page_answer *a);
void ctl_ops_free(struct fm_controller *ctl);
/* From the loop: what was overtaken is tried again. */
void ctl_ops_turn(struct fm_controller *ctl);
/* The newest record that a view is made of. */
uint64_t ctl_generation(const struct fm_controller *ctl);

/* -------- ctl_intent.c -------- */

/* From the watch: `intent/...` and `intents`; NULL: it is gone. */
void ctl_intents_seen(struct fm_controller *ctl, struct fm_str key, const struct fm_coord_kv *kv);
/* After a reload: what the file does not name any more ends, but not at once. */
void ctl_intents_reset(struct fm_controller *ctl);
struct ctl_intent *ctl_intent_find(struct fm_controller *ctl, const struct fm_intent_about *at);
static inline bool ctl_intent_drains(const struct ctl_intent *x)
{
    return x && x->used && x->i.serve_permille < FM_INTENT_ALL;
}
/* Which records an order about o->at replaces and erases; false: there are too many. */
bool ctl_intend(struct fm_controller *ctl, struct ctl_intended *o);
/* The host, where that is what it is about (its index in the configuration); else -1. */
int ctl_intent_host(const struct fm_conf *conf, const struct fm_intent_about *at);
/* Of an instance, its pool in the configuration and which one it is; NULL: there is none. */
const struct fm_conf_pool *ctl_intent_pool(const struct fm_conf *conf,
                                           const struct fm_intent_about *at, size_t *index);
/* "west", "profile: west", "west-gate-1", "west/core/10.0.1.41:9001" */
const char *ctl_intent_name(const struct fm_conf *conf, const struct fm_intent_about *at,
                            char out[FM_INTENT_NAME_ROOM]);
/* NULL: it has none. */
const char *ctl_intent_until(const struct fm_intent *i, char out[FM_RFC3339_LEN]);
void ctl_intents_fresh(struct fm_controller *ctl, bool begins);
/* An order was written: it counts from now on. */
void ctl_intents_took(struct fm_controller *ctl, const struct ctl_intended *x, uint64_t revision);
/* From the loop: whose time is over ends. */
void ctl_intents_turn(struct fm_controller *ctl);
void ctl_intents_free(struct fm_controller *ctl);
uint64_t ctl_intents_generation(const struct fm_controller *ctl);
/* Into a view whose incarnation is known. */
bool ctl_intents_fill(const struct fm_controller *ctl, struct fm_view_doc *d) FM_WARN_UNUSED;
json_t *ctl_intents_json(const struct fm_controller *ctl);
/* Hosts and instances. */
json_t *ctl_drained_json(const struct fm_controller *ctl);

/* -------- ctl_record.c: steps of core at this moment, and what a recorder is told -------- */

void ctl_authority_step(struct ctl_context *c, const struct fm_auth_event *e,
                        struct fm_auth_actions *out);
struct fm_office_verdict ctl_office_step(struct fm_controller *ctl,
                                         const struct fm_office_event *e);
struct fm_failover_verdict ctl_failover_step(const struct fm_controller *ctl, struct ctl_set *s,
                                             unsigned lost, const struct fm_failover_policy *p,
                                             const struct fm_failover_event *e);
struct fm_move_verdict ctl_move_step(struct ctl_context *c, const struct fm_move_policy *p,
                                     enum fm_move_event e);
void ctl_authority_set_lease(struct ctl_context *c, int32_t lease_ms, int32_t renew_ms,
                             int32_t retry_ms);
void ctl_office_set_times(struct fm_controller *ctl, int64_t silence_ms, int64_t retry_ms);
/* What begins, or is another one after a reload; a set that was there before goes on. */
void ctl_record_begin(const struct ctl_context *c, const struct fm_marks *marks,
                      struct fm_mono now);
void ctl_record_conf(const struct ctl_context *c);
void ctl_record_begin_office(const struct fm_controller *ctl, struct fm_mono now);
void ctl_record_sets(const struct fm_controller *ctl, const struct ctl_set *old, unsigned nold);

/* -------- ctl_agreed.c -------- */

/* From the watch: the record `config`. */
void ctl_agreed_seen(struct fm_controller *ctl, const struct fm_coord_kv *kv);
void ctl_agreed_fresh(struct fm_controller *ctl, bool begins);
/* An order was written: it counts from now on. */
void ctl_agreed_took(struct fm_controller *ctl, const struct fm_agreed *a, uint64_t revision);
/* From the loop: this host is told, and what is missing in coordination is written. */
void ctl_agreed_turn(struct fm_controller *ctl);
void ctl_agreed_free(struct fm_controller *ctl);

/* -------- ctl_carry.c -------- */

/* What of the operations is this agent's to do now. */
void ctl_carry_turn(struct fm_controller *ctl);

/* -------- ctl_home.c -------- */

bool ctl_decides(const struct ctl_context *c); /* what its region holds is for this agent to move */
/* An order to fail back was refused, by `why`: with all that stands against it. */
void ctl_home_refuse(const struct ctl_context *c, struct fm_op *x, unsigned home,
                     enum fm_failover_why why);
uint64_t ctl_home_away(const struct ctl_context *c); /* cells that nobody holds at home */
void ctl_home_take(struct ctl_context *c, unsigned host, const struct fm_message *m);
/* From the loop: a keeper that has not answered is asked again, and not for ever. */
void ctl_home_turn(struct fm_controller *ctl);
void ctl_home_free(struct fm_controller *ctl);

/* -------- ctl_standby.c -------- */

void ctl_standby_init(struct ctl_context *c);
/* The command that runs is killed. */
void ctl_standby_stop(struct ctl_context *c);
/* After the store is gone. */
void ctl_standby_free(struct ctl_context *c);
/* From the watch: `standby/CONTEXT/REGION`, without its first part; all of it follows. */
void ctl_standby_seen(struct fm_controller *ctl, struct fm_str name, const struct fm_coord_kv *kv);
void ctl_standby_fresh(struct fm_controller *ctl);
void ctl_standby_turn(struct ctl_context *c);
/* Is the app of this region one that is stopped until it is needed? */
bool ctl_standby_is_cold_here(const struct ctl_context *c);
/* A preparation begins. False: there is nothing to be started. */
bool ctl_standby_begin(struct ctl_context *c);
bool ctl_standby_is_ready(const struct ctl_context *c);
bool ctl_standby_has_failed(const struct ctl_context *c);
/* Why it failed, for people. */
void ctl_standby_trouble(const struct ctl_context *c, char *out, size_t cap);
/* A holder asks whether this region can receive the context: NULL, and for a while the app is not
 * stopped; or why not. */
const char *ctl_standby_receive(struct ctl_context *c);
/* A holder asks, whatever it is answered: what it would hand over has to come here first. */
void ctl_standby_asked(struct ctl_context *c);
/* Is replication to this region to be broken? LEAVE: it is not known. */
enum fm_standby_wish ctl_standby_apart(const struct ctl_context *c);
json_t *ctl_standby_json(const struct ctl_context *c);

/* -------- ctl_note.c -------- */

void ctl_note_init(struct ctl_note *n, struct ctl_context *c,
                   void (*written)(struct ctl_note *n, uint64_t revision));
/* Not while one is on its way, nor right after one. */
bool ctl_note_may(const struct ctl_note *n);
/* Takes `j`, and adds who and when; where there is no memory nothing is written. `revision`: of
 * what is replaced, 0 = there is none. */
void ctl_note_write(struct ctl_note *n, const char *kind, uint64_t revision, json_t *j);
/* After the store is gone. */
void ctl_note_free(struct ctl_note *n);

/* -------- ctl_external.c -------- */

/* NULL: its data are not moved by commands; or not any more, after a reload. */
struct ctl_external *ctl_external_of(const struct ctl_context *c);
static inline bool ctl_external_has(const struct ctl_context *c)
{
    return ctl_external_of(c) != NULL;
}
/* Of what is known of the region. */
int64_t ctl_external_age_ms(const struct ctl_external_region *r);
/* After a reload. */
void ctl_external_reset(struct ctl_context *c);
/* The commands that run are killed. */
void ctl_external_stop(struct fm_controller *ctl);
/* After the store is gone. */
void ctl_external_free(struct ctl_context *c);
/* From the watch: `external/CONTEXT/REGION`, without its first part; all of it follows. */
void ctl_external_seen(struct fm_controller *ctl, struct fm_str name, const struct fm_coord_kv *kv);
void ctl_external_fresh(struct fm_controller *ctl, bool begins);
void ctl_external_turn(struct ctl_context *c);
/* Were the data opened in that region, under the epoch that counts? True without such data. */
bool ctl_external_is_open(const struct ctl_context *c, unsigned region);
/* For a planned move, at the holder: NULL, or why it cannot begin; are they whole at the heir; how
 * much longer it may take. */
const char *ctl_external_hands_over(const struct ctl_context *c);
bool ctl_external_is_final(const struct ctl_context *c);
int64_t ctl_external_ship_ms(const struct ctl_context *c);
/* A holder asks: NULL, or why the data of this region cannot be promoted. */
const char *ctl_external_receive(const struct ctl_context *c);
/* Of a failover to that region. */
bool ctl_external_is_ready(const struct ctl_context *c, unsigned to);
struct fm_external_estimate ctl_external_loss(const struct ctl_context *c, unsigned to);
/* ... to the region that lacks least, of those that could take over. */
struct fm_external_estimate ctl_external_loss_if_now(const struct ctl_context *c);

/* -------- ctl_open.c -------- */

/* May commands begin in that region, if it is the one that holds the context, or why not? */
enum fm_opening ctl_opening(const struct ctl_context *c, unsigned region);
/* ... into a grant to that host. */
void ctl_open_say(const struct ctl_context *c, unsigned host, struct fm_message *grant);
void ctl_open_turn(struct ctl_context *c);
/* What commands wait for where the context is held; null where they do not. */
json_t *ctl_open_json(const struct ctl_context *c);

/* -------- ctl_external_tell.c -------- */

/* NULL where there is no memory. */
json_t *ctl_external_json(const struct ctl_context *c);
/* Their parts of a quote, and of `fulmar group status`. */
json_t *ctl_external_regions_json(const struct ctl_context *c);
json_t *ctl_external_loss_json(const struct fm_external_estimate *x);

/* -------- ctl_member.c -------- */

void ctl_member_carry(struct ctl_op *o, struct fm_op *x);

/* -------- ctl_node.c -------- */

/* Its part of an order about a node; changes `x`. */
void ctl_node_carry(struct ctl_op *o, struct fm_op *x);
/* What the node says of one. */
void ctl_node_take(struct ctl_context *c, unsigned host, const struct fm_message *m);

/* -------- ctl_group.c -------- */

/* After a reload: what carries its data, a PostgreSQL group or commands. */
void ctl_group_reset(struct ctl_context *c);
void ctl_group_free(struct ctl_context *c);
/* Is there a node of its group on this host, of my region? */
bool ctl_group_has(const struct ctl_context *c, unsigned host);
/* The record of the cell, to a database agent that asks; to all of them, where it has changed. */
void ctl_group_tell(struct ctl_context *c, unsigned host);
void ctl_group_tell_changes(struct ctl_context *c);
void ctl_group_take(struct ctl_context *c, unsigned host, const struct fm_message *m);
/* A person ordered that the group be made, and the cell is held here. */
void ctl_group_create(struct ctl_context *c);
/* NULL: there are no data yet. */
const struct fm_evidence *ctl_group_recorded(const struct ctl_context *c);
/* What the last writer said of itself; NULL: there are no data yet. */
const struct fm_group_report *ctl_group_writer(const struct ctl_context *c);
/* What a node has said, and where it stands. */
struct fm_group_report ctl_group_report(const struct ctl_group_node *n);
/* Of each; their number. */
unsigned ctl_group_reports(const struct ctl_context *c,
                           struct fm_group_report out[FM_GROUP_NODES_MAX]);
struct fm_standby_seen ctl_group_seen(const struct ctl_context *c); /* this region's nodes */
/* Can a standby of that region receive the data in a planned move? Without a group: yes. */
struct ctl_group_heir {
    bool ready, comes;             /* or it may be in a moment */
    char why[FM_MESSAGE_WHY_ROOM]; /* which node, and what it lacks */
    const char *remedy;
} ctl_group_heir(const struct ctl_context *c, unsigned region);
/* Of a failover to that region. */
struct fm_group_takeover ctl_group_takeover(const struct ctl_context *c, unsigned to);
/* `loss-if-now`, for people: of what was acknowledged, would the primary be lost at this moment.
 * Null without data that a group keeps. */
json_t *ctl_group_loss_json(const struct ctl_context *c);
/* Of a planned move home to that region. */
struct ctl_group_home {
    bool counts;   /* its data are there, or follow; true without a group */
    uint64_t lag;  /* bytes; UINT64_MAX = it is not known */
    char why[112]; /* of lag: for people */
} ctl_group_home(const struct ctl_context *c, unsigned home);
/* Has a node of that region all that the old primary, stopped, wrote? True without a group. */
bool ctl_group_is_final(const struct ctl_context *c, unsigned to);

/* -------- ctl_quote.c -------- */

/* The node of that host has reported. */
void ctl_quote_heard(struct ctl_context *c, unsigned host);
/* What would be lost by a failover of these contexts, by whom that is known, and who could still
 * write. */
json_t *ctl_quote_json(const struct fm_controller *ctl, const struct ctl_set *s, unsigned from,
                       unsigned to);
/* Why `to` is not ready to take over; NULL = it is. */
const char *ctl_quote_unready(const struct fm_controller *c, const struct ctl_set *s, unsigned from,
                              unsigned to);

/* -------- ctl_yield.c -------- */

/* Of a keeper: is what it holds served, and is what it has given up to be taken back? */
void ctl_yield_turn(struct ctl_context *c);
/* A person takes the set from a region whose keeper may be well: it is asked to let go. */
void ctl_yield_ask(struct fm_controller *ctl, struct ctl_set *s, unsigned lost);
void ctl_yield_take(struct ctl_context *c, unsigned host, const struct fm_message *m);
/* All of the set was given up by that region. */
bool ctl_yield_is_given_up(const struct fm_controller *ctl, const struct ctl_set *s,
                           unsigned region);
/* Who goes on with it; `heir`: by the votes. */
unsigned ctl_yield_next(const struct fm_controller *ctl, const struct ctl_set *s, unsigned heir);

/* -------- ctl_tell.c -------- */

uint64_t ctl_generation_of(const struct ctl_context *c);
void ctl_say(struct ctl_context *c, const struct fm_auth_action *act);
struct ctl_event *ctl_event(struct fm_controller *ctl, const char *what,
                            const struct ctl_context *c);
/* Who holds what, to one gate. */
void ctl_tell_board(struct ctl_context *c, unsigned host);
/* To all of them, and to whom views are made for, where it has changed. */
void ctl_tell_changes(struct ctl_context *c);

#endif
