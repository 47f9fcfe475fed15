/* agent/db.h: the inside of agent/database.h, for its own files:
 *   database.c   life, messages, status
 *   db_node.c    the evidence, the step, and carrying out what it orders
 *   db_server.c  PostgreSQL: started and stopped under its guard; what is done to its data
 *   db_listen.c  whether it gets the addresses that it is to listen at
 *   db_ask.c     what it says of itself
 *   db_probe.c   whether it works
 *   db_trial.c   whether a standby would be let in again
 *   db_credit.c  how far a primary may acknowledge, and what would be lost with it
 *   db_secret.c  the passwords of the group
 *   db_programs.c  the programs of PostgreSQL
 *   db_order.c   what people order of this node
 *   db_loss.c    what it has lost
 *   db_rows.c    ... and the rows of it
 *   db_evidence.c  the slots by which they can be read
 *   db_room.c    whether there is room for a node
 */
#ifndef FM_AGENT_DB_H
#define FM_AGENT_DB_H

#include "agent/database.h"
#include "agent/loss_rows.h"
#include "agent/losses.h"
#include "agent/outlog.h"
#include "agent/scribe.h"
#include "core/credit.h"
#include "core/group.h"
#include "http/caller.h"
#include "io/ward.h"
#include "pg/conn.h"
#include "pg/node.h"
#include "pg/stream.h"

#include <limits.h>

enum {
    DB_TURN_MS = 50,
    DB_OPEN_MS = 1000,
    DB_SECRET_ROOM = 256,
    DB_HISTORY_ROOM = 8 * 1024,
    DB_WHY_ROOM = 256,
    DB_NAME_ROOM = 64,
};

/* What PostgreSQL is configured as. */
enum db_as {
    DB_AS_NOTHING, /* not known */
    DB_AS_STANDBY,
    DB_AS_APART,  /* ... that receives nothing, on purpose */
    DB_AS_CLOSED, /* a primary that acknowledges nothing */
    DB_AS_OPEN,
};

struct db_history {
    struct fm_history h;
    char text[DB_HISTORY_ROOM];
};

/* A node of the group, by its number in the roster. */
struct db_other {
    bool in_file; /* else it is known from before, or from the record: nobody talks to it */
    uint8_t rank; /* the same for everybody: by their names */
    uint8_t zone; /* fm_conf_group_zone */
    unsigned host, region; /* numbers of the roster */
    char zone_name[DB_NAME_ROOM];
    int64_t delay_ms; /* it applies so much later */
    char name[DB_NAME_ROOM];
    char slot[FM_PG_SLOT_ROOM]; /* that it has at its upstream */
    char address[256];          /* that PostgreSQL dials */
    uint16_t port;
    struct fm_group_report report;
    struct db_history history;
};

/* db_credit.c */
struct db_credit {
    bool on;   /* `c` is of this start of the server, which is open */
    bool seen; /* it was looked at since */
    struct fm_credit c;
    struct fm_credit_verdict v;
    struct fm_credit_bound bound;
    bool said_bound; /* in the log */
    struct fm_pg_stream stream;
    struct fm_mono stream_at;
    struct fm_credit_stream knows; /* the stream's server process */
    struct fm_lsn said;
    struct fm_mono said_at;
    struct fm_pg_conn conn;
    bool asks;
    struct fm_timer timer;
    struct fm_mono look_at, settings_at;
    uint64_t server_ms;                   /* its clock, when it was looked at last */
    uint64_t lost_at[FM_GROUP_NODES_MAX]; /* of that clock: data of before are gone */
    char lowered[DB_WHY_ROOM];            /* whose commits wait for nobody; "" = nobody's */
    bool cancelled, asks_cancelled; /* a wait was, and how far the log may have holes is asked */
    struct fm_credit_asked asked;
};

/* What was lost, as this host knows it. */
struct db_loss {
    struct fm_losses *items;
    struct fm_caller caller;
    bool used, asks;
    unsigned of;                       /* who was asked last, ... */
    uint64_t sent;                     /* ... what it was told: a version of items */
    uint64_t told[FM_GROUP_NODES_MAX]; /* ... and what others have said that they keep */
    struct fm_mono at, later;
    bool found;  /* what a look has found (n->pg.rescued) is still to be written down */
    bool looked; /* the log of the data as they are was looked at, behind this fork */
    struct fm_lsn fork;
    uint64_t mine; /* the version with what was found */
    /* db_rows.c */
    struct fm_loss_store rows;
    bool lacks[FM_GROUP_NODES_MAX]; /* that host has said so, of the rows of what was found */
    bool pushes;                    /* what is asked is that it takes rows ... */
    struct fm_loss push;            /* ... of this item, if it has a node */
    struct fm_mono prune_at;
};

/* A program as it is, so that another one in its place is noticed. */
struct db_program {
    dev_t device;
    ino_t inode;
    int64_t changed_s, changed_ns;
};

enum { DB_EVIDENCE_MAX = 8 }; /* databases of which rows can be read */

/* db_evidence.c */
struct db_evidence {
    struct fm_pg_conn conn;
    bool asks, known;
    struct fm_mono at;
    unsigned n, i; /* databases; the one that is seen to */
    unsigned made; /* of which so many get a slot now */
    struct {
        char database[DB_NAME_ROOM], slot[FM_PG_SLOT_ROOM];
        enum { DB_EVIDENCE_GOOD, DB_EVIDENCE_NONE, DB_EVIDENCE_LOST, DB_EVIDENCE_LATE } is;
    } of[DB_EVIDENCE_MAX];
    struct fm_lsn to;      /* nobody needs what is before */
    uint64_t behind;       /* bytes of the log that are kept for it */
    char why[DB_WHY_ROOM]; /* of a database they cannot be read; "" = of all they can */
};

struct db_node {
    struct fm_database *d;
    char group[DB_NAME_ROOM];
    unsigned context; /* in the roster */
    int conf;         /* index of the group */
    int64_t lease_ms;
    unsigned self, nnodes;
    struct db_other of[FM_GROUP_NODES_MAX]; /* that of self has no report */
    char bin[PATH_MAX], data[PATH_MAX];
    char admin[DB_SECRET_ROOM], replication[DB_SECRET_ROOM]; /* passwords */
    char trouble[DB_WHY_ROOM];                               /* what is in the way; "" = nothing */
    struct {                                                 /* db_programs.c */
        struct fm_child child;
        char wanted[PATH_MAX], said[DB_WHY_ROOM];
        char why[DB_WHY_ROOM];  /* those that the file says are not gone by; "" = they are */
        bool known;             /* whether there are any that run: not before the first look */
        bool unable;            /* there are none: `why` */
        struct fm_mono at;      /* looked at last */
        struct db_program file; /* ... as they were then */
    } programs;
    /* db_secret.c */
    struct fm_caller secret;
    bool secret_used, secret_asks;
    unsigned secret_of; /* who was asked last */
    struct fm_mono secret_at;
    struct db_loss loss;
    struct fm_timer timer;
    /* the machine */
    struct fm_group_node g;
    struct fm_group_policy policy;
    struct fm_group_evidence ev;
    struct fm_group_verdict v; /* the last one */
    struct fm_cell_at cell;
    bool gone;   /* from the file: its data stay, and nothing runs */
    bool create; /* a person ordered it, and the machine was not told yet */
    bool acted;  /* as fm_database_acts said last */
    bool apart;  /* as a standby it is to receive nothing: the keeper of its region said so last */
    struct fm_mono apart_at; /* it is so since then; 0 = it is not */
    struct {                 /* of a person, about this node: the last one */
        uint32_t serial;
        enum fm_group_event event;
        bool refused;
        char why[DB_WHY_ROOM];
        struct fm_scribe *mark; /* is there while it is left to a person */
    } order;
    struct fm_mono told_at, recorded_at;
    struct fm_group_report told; /* as it was told last */
    struct fm_revision recorded_over;
    struct fm_group_report report[FM_GROUP_NODES_MAX]; /* for the evidence */
    /* db_server.c */
    struct fm_pg_node pg;
    bool looked;         /* what follows holds */
    uint8_t look_failed; /* so often in a row */
    bool data_is_there;
    struct fm_group_report found; /* by its control data: where PostgreSQL says nothing */
    bool strangers;               /* processes of an earlier start live on there */
    struct fm_mono strangers_at;
    uint32_t serial; /* of the verdict that ordered what is under way */
    enum db_as as, as_next;
    unsigned upstream, upstream_next; /* FM_GROUP_NOBODY */
    uint32_t waits, waits_next;       /* for whom an open one does, one bit each */
    bool guards, guards_next;         /* ... and for our agent */
    bool sheds, sheds_next;           /* it removes what it needs no more of the log */
    struct fm_ward ward;
    bool up;       /* the ward runs */
    bool primary;  /* it was started, or promoted, as one: it runs by the sub-lease */
    bool promoted; /* it was asked to promote */
    bool ending;   /* it was told to end */
    bool expired;  /* ... by its guard, as its time was nearly over */
    enum fm_pg_stop ended_how;
    struct fm_mono begin_at; /* after something could not be begun */
    struct {                 /* db_listen.c */
        struct fm_mono at;   /* not before */
        uint8_t tries;       /* in a row, without an address */
        bool good;           /* of this start: it has all of them, and is who answers */
    } listen;
    struct fm_outlog log; /* what it prints */
    /* db_ask.c */
    struct fm_pg_conn conn;
    bool asks;
    struct fm_mono ask_at, heard_at; /* heard_at: 0 = nothing since it was started */
    struct fm_group_report said;
    struct db_history history;           /* of said, or of the data */
    uint32_t streaming;                  /* standbys of a primary, one bit each */
    struct fm_mono streamed_at, deaf_at; /* a standby: it received, and was looked at why not */
    enum { DB_SLOTS_NOT, DB_SLOTS_OF_PRIMARY, DB_SLOTS_OF_STANDBY } slots; /* as they were made */
    bool role;     /* that replicates is there */
    bool prepared; /* of a primary: both were tried */
    struct fm_mono slots_at, prepare_at;
    struct fm_pg_conn settle;
    bool settles, settled; /* its checkpoint was begun, and is over */
    struct fm_pg_conn drain;
    enum { DB_DRAIN_NOT, DB_DRAIN_RUNS, DB_DRAIN_DONE } drained; /* for the stop that follows */
    struct db_credit credit;
    struct { /* db_probe.c */
        struct fm_pg_conn conn;
        bool runs;
        struct fm_mono at, well_at; /* well_at: 0 = nothing since it was started */
        struct fm_mono looked_at;
        struct fm_lsn flushed;
    } probe;
    struct db_evidence evidence;
    struct { /* db_trial.c */
        struct fm_pg_conn conn;
        bool runs;
        struct fm_mono at;     /* not before; 0 = it does not follow */
        char why[DB_WHY_ROOM]; /* it would not be; "" = it would, or that is not known */
    } trial;
};

struct fm_database {
    struct fm_database_config c;
    const struct fm_conf *conf;
    struct db_node *node[FM_CONF_GROUPS_MAX];
    unsigned nnodes;
    bool stopped;
};

/* -------- db_node.c -------- */

void db_node_begin(struct db_node *n);
/* Step, and carry out. */
void db_node_turn(struct db_node *n);
void db_node_event(struct db_node *n, enum fm_group_event e, uint32_t serial);
/* True: refused. */
bool db_node_order(struct db_node *n, enum fm_group_event e);
const struct fm_sublease_cell *db_held(const struct db_node *n);
/* May that host be keeper? */
bool db_is_agent(const struct db_node *n, unsigned host);
/* The nodes that are of the group by the file, but for this one, and without a delay: those that
 * may count, bits by number. */
uint32_t db_able(const struct db_node *n);
/* Does a primary of this group wait for standbys? */
bool db_waits(const struct db_node *n);
/* The node to which replication is broken on purpose, by name; NULL: there is none. */
const char *db_node_apart(const struct db_node *n, struct fm_group_apart *a);
/* See fm_database_acts; by what is so at this moment. */
bool db_node_acts(struct db_node *n);

/* -------- db_server.c -------- */

enum fm_err db_server_init(struct db_node *n, const char *user, struct fm_error *e) FM_WARN_UNUSED;
/* What is known without asking PostgreSQL is looked at, where it is not known. */
void db_server_look(struct db_node *n);
/* ... at once, whatever has failed before. */
void db_server_look_anew(struct db_node *n);
/* Its data could not be looked at, again and again. */
bool db_server_is_unreadable(const struct db_node *n);
/* The actions of the machine; each does nothing where it is under way or done. */
void db_server_create(struct db_node *n);
void db_server_start(struct db_node *n, enum db_as as, unsigned upstream);
void db_server_be(struct db_node *n, enum db_as as, unsigned upstream);
void db_server_promote(struct db_node *n, uint32_t timeline);
void db_server_rewind(struct db_node *n, unsigned from);
void db_server_clone(struct db_node *n, unsigned from);
void db_server_rescue(struct db_node *n, unsigned from);
/* Not by the machine: false where something else is under way. */
bool db_server_prune(struct db_node *n, struct fm_timeline timeline, struct fm_lsn fork);
void db_server_end(struct db_node *n, enum fm_pg_stop how, int64_t within_ms);
/* Those of an earlier start are looked at now and then until they have ended. */
void db_server_look_for_strangers(struct db_node *n);
/* Its time, by the sub-lease. */
void db_server_renew(struct db_node *n);
void db_server_free(struct db_node *n);
/* Is this process, which serves a connection, of another server than the one that runs here? */
bool db_server_is_others(const struct db_node *n, int pid);
/* What is in the way, for people and the log. */
void db_server_trouble(struct db_node *n, const char *what, const char *why);

/* -------- db_listen.c -------- */

/* May it be tried now? */
bool db_listen_is_due(const struct db_node *n);
/* Before a start: are the addresses free? Where not it is not due for some time. */
enum fm_err db_listen_probe(struct db_node *n, struct fm_error *e) FM_WARN_UNUSED;
/* It has ended by itself: for want of an address? Then it is not due for some time. */
bool db_listen_ended(struct db_node *n);
/* Whoever answers there, or does not, is not (all of) this node's server: that is ended. */
bool db_listen_is_other(struct db_node *n, const struct fm_pg_conn *c);

/* -------- db_ask.c -------- */

void db_ask_init(struct db_node *n);
void db_ask_turn(struct db_node *n);
/* It is not asked any more; what it said does not count. */
void db_ask_end(struct db_node *n);
/* Before a planned stop: what is dirty is written, so that the stop is short, and consumers of
 * logical replication, which would hold it up, are sent away. Once, until db_ask_let_go. */
void db_ask_drain(struct db_node *n);
void db_ask_let_go(struct db_node *n);
/* After a promotion, once: a checkpoint. Until it has ended, control data that are copied from here
 * are of the timeline before, and pg_rewind (up to 15) takes that for no divergence at all. */
void db_ask_settle(struct db_node *n);
/* Is what it said last still about now? */
bool db_ask_is_fresh(const struct db_node *n);

/* -------- db_probe.c -------- */

void db_probe_init(struct db_node *n);
/* Of a primary: again and again. */
void db_probe_turn(struct db_node *n);
/* See core/group.h. Asked at each look: what this process has slept through does not count. */
struct fm_mono db_probe_well_at(struct db_node *n);
/* The server ends, or is another one. */
void db_probe_end(struct db_node *n);

/* -------- db_trial.c -------- */

void db_trial_init(struct db_node *n);
/* Of a standby that follows: now and then, and soon after it began to or its settings changed. */
void db_trial_turn(struct db_node *n);
void db_trial_end(struct db_node *n);

/* -------- db_order.c -------- */

enum fm_err db_order_open(struct db_node *n, struct fm_error *e) FM_WARN_UNUSED;
void db_order_free(struct db_node *n);
void db_order_take(struct db_node *n, unsigned host, const struct fm_message *m);
/* It was left to a person, by this agent or one before it. */
bool db_order_is_maintained(const struct db_node *n);

/* By the loopback, as the administrator. */
void db_ask_open(struct db_node *n, struct fm_pg_conn *c, int64_t ms, fm_pg_done *done);
void db_ask_open_at(struct db_node *n, struct fm_pg_conn *c, const char *database, int64_t ms,
                    fm_pg_done *done);

/* -------- db_credit.c -------- */

void db_credit_init(struct db_node *n);
/* Do commits of this group wait for us: is there anything that may not be lost? */
bool db_credit_guards(const struct db_node *n);
/* The nodes that an open primary waits for itself, beside us. */
uint32_t db_credit_natives(const struct db_node *n);
/* Feed it, and give what may be given; before each step. */
void db_credit_turn(struct db_node *n);
/* What is to be recorded, and the bound. */
void db_credit_see(const struct db_node *n, struct fm_group_evidence *ev);
/* It was asked to be recorded over that revision. */
void db_credit_asked(struct db_node *n, struct fm_revision over, const struct fm_evidence *e);
/* Nodes have come, or gone. */
void db_credit_reset(struct db_node *n);
/* The data of that node are gone, or of another history. */
void db_credit_lost(struct db_node *n, unsigned node);
/* Somebody has cancelled the wait of a commit (or that is not known). */
void db_credit_cancelled(struct db_node *n);
/* For people; null where there is no open primary. */
/* What would be lost if a node of the primary's own region went on; false: there is none. */
bool db_credit_in_region(const struct db_node *n, struct fm_credit_bound *out);
json_t *db_credit_json(const struct db_node *n);
/* The server ends, or is another one. */
void db_credit_end(struct db_node *n);

/* -------- db_programs.c -------- */

/* Where there are none, or they cannot be run, the node begins all the same, and is unable. */
enum fm_err db_programs_init(struct db_node *n, struct fm_error *e) FM_WARN_UNUSED;
/* Could it go by this configuration's? */
enum fm_err db_programs_check(const struct db_node *n, const struct fm_conf *conf,
                              const struct fm_conf_group *g, struct fm_error *e) FM_WARN_UNUSED;
/* Are there any for a node of this group that has its data there, or would? */
enum fm_err db_programs_look(const struct fm_database *d, const struct fm_conf_group *g,
                             const char *data, struct fm_error *e) FM_WARN_UNUSED;
/* Where nothing runs: can those that it goes by be run, and are they of the version of the data?
 * Looked at when it begins, when there are others in their place, and while there are none. */
void db_programs_turn(struct db_node *n);
/* After a reload: others are taken over where they are of the version of the data. */
void db_programs_reset(struct db_node *n);
void db_programs_free(struct db_node *n);

/* -------- db_secret.c -------- */

/* Those that are there; a file that is named has to be. */
enum fm_err db_secret_read(struct db_node *n, struct fm_error *e) FM_WARN_UNUSED;
/* Could they be read by this configuration? */
enum fm_err db_secret_check(const struct db_node *n, const struct fm_conf *conf,
                            const struct fm_conf_group *g, struct fm_error *e) FM_WARN_UNUSED;
/* After a reload: those that are others now take effect; what cannot be read stays as it was. */
void db_secret_reset(struct db_node *n);
bool db_secret_is_known(const struct db_node *n);
/* For a first node, where there are none. */
bool db_secret_make(struct db_node *n);
/* Of the other nodes' hosts, where there are none. */
void db_secret_ask(struct db_node *n);
void db_secret_close(struct db_node *n);
/* Is that the host of a node of the group, by its certificate (NULL: it has none)? */
bool db_secret_may_have(const struct db_node *n, const char *peer);
/* A file of the group in the state of this agent, with its folders. */
enum fm_err db_state_path(const struct db_node *n, const char *name, char out[PATH_MAX],
                          struct fm_error *e) FM_WARN_UNUSED;

/* -------- db_loss.c -------- */

enum fm_err db_loss_open(struct db_node *n, struct fm_error *e) FM_WARN_UNUSED;
/* For the evidence: see core/group.h. */
bool db_loss_is_kept(const struct db_node *n);
/* The action KEEP. */
void db_loss_keep(struct db_node *n, unsigned from);
/* pg/node.h has looked. */
void db_loss_rescued(struct db_node *n);
/* Before it follows as it is. False: it has to wait. */
bool db_loss_follow(struct db_node *n);
/* Before its history is recorded. False: it has to wait. */
bool db_loss_note(struct db_node *n);
void db_loss_turn(struct db_node *n);
void db_loss_close(struct db_node *n);
/* Its copy of the log was removed, or not. */
void db_loss_pruned(struct db_node *n, bool ok);
bool db_loss_keep_items(struct db_node *n, const struct fm_loss *item, unsigned count);

/* -------- db_rows.c -------- */

/* What pg/node.h has found of the rows: into `l`, and kept here. False: that cannot be. */
bool db_rows_found(struct db_node *n, struct fm_loss *l);
/* The names of those items whose rows are not here. */
json_t *db_rows_lacks(const struct db_node *n);
/* What that host lacks, as it says: what of it is here is pushed next. False: it does not say. */
bool db_rows_heard(struct db_node *n, unsigned of, const json_t *doc);
/* What to ask of it then: the body, from malloc; NULL: nothing. */
char *db_rows_body(const struct db_node *n);
/* The page /groups/loss/rows: rows for people, or (POST) from another node. */
void db_rows_page(const struct fm_database *d, struct db_node *group,
                  const struct fm_page_request *q, struct fm_page_answer *a);
/* Those of items that are over are removed on the disk of this node. */
void db_rows_prune(struct db_node *n);

/* -------- db_evidence.c -------- */

void db_evidence_init(struct db_node *n);
/* Of an open primary: each database has its slot, which follows the standbys. */
void db_evidence_turn(struct db_node *n);
void db_evidence_end(struct db_node *n);
/* Of an open primary (else false): could all rows be read? */
bool db_evidence_is_kept(const struct db_node *n, bool *available);
/* For people; null where there is no open primary. */
json_t *db_evidence_json(const struct db_node *n);

#endif
