/* core/credit.h: what a primary of PostgreSQL may acknowledge, and what a failover can lose
 * (SAFETY.md 23, 24). One machine at the agent of the primary, for one start of its server.
 *
 * The agent is the synchronous standby of the primary (pg/stream.h) and reports as flushed what
 * this machine grants: the least flush position of the standbys that count, plus CREDIT bytes. So
 * PostgreSQL acknowledges no commit that ends behind it, and whoever is promoted among them lacks
 * at most CREDIT bytes of what was acknowledged. Which standbys count is recorded in coordination
 * before it matters: one that joins is counted from the moment it may be recorded, one that leaves
 * until it is recorded that it has left. A grant is given under a live sub-lease alone; what was
 * granted stays granted for the life of the server, also without this agent.
 *
 * Used up, as declared: FM_CREDIT_BLOCKS, commits wait; FM_CREDIT_LEAVES, the standbys that hold
 * them up leave, nobody fails over by itself until one is back. Without any that counts a grant
 * goes a window ahead of what is written, renewed under the sub-lease. `sync` is a credit of 0, and
 * quicker where PostgreSQL waits for the same standbys itself (synchronous_standby_names `FIRST n
 * (fulmar_credit, ...)`): tell fm_credit_native.
 *
 * Near standbys, those of the primary's own region where that is declared, have a credit of 0
 * whatever the others have: nothing is acknowledged that they lack. That is a promise of its own,
 * recorded beside who counts, and kept in the same way: a standby is recorded as near when it has
 * all that was granted, and keeps to it from before that until it is recorded that it is not. As
 * long as it is declared nothing is granted further ahead of what is written than a window, else
 * one that joins would have to wait for so much log.
 *
 * A bound in time is kept beside it, by marks of when the log had got where. Each commit waits for
 * a grant then: what is granted ahead would be acknowledged however late.
 *
 * Holes: a commit that waited for nobody (synchronous_commit lowered by a session, the names not
 * in force) or whose wait was cancelled is behind no grant. The bound is an estimate from then on,
 * until every standby that counts has passed that place.
 *
 * Pure; the structure is the caller's. Standbys are the numbers of the group's nodes, in masks. */
#ifndef FM_CORE_CREDIT_H
#define FM_CORE_CREDIT_H

#include "core/lsn.h"
#include "core/record.h"

enum { FM_CREDIT_NODES_MAX = 16, FM_CREDIT_NOBODY = 255 };

#define FM_CREDIT_UNLIMITED UINT64_MAX /* no key of `max-loss` bounds bytes or transactions */

/* How far a grant goes ahead of what is written where no credit bounds it. It is what the server
 * may acknowledge by itself once the agent is gone: little, and enough between two grants. */
enum { FM_CREDIT_WINDOW = 1024 * 1024 };

/* The least bytes of a commit record: header 24, data header 2, its time 8 (PostgreSQL's
 * src/include/access/xact.h and xlogrecord.h, 14 to 17). */
enum { FM_CREDIT_COMMIT_LEAST = 34 };

/* A standby that joins waits so long for a log that does not move by itself, and then for so many
 * bytes at most. */
enum { FM_CREDIT_MOVE_ON_MS = 300, FM_CREDIT_MOVE_ON_MAX = 2 * FM_CREDIT_WINDOW };

/* How often a server is told again what it was told last. */
enum { FM_CREDIT_AGAIN_MS = 80 };

enum fm_credit_beyond { FM_CREDIT_BLOCKS, FM_CREDIT_LEAVES };

struct fm_credit_policy {
    uint64_t bytes; /* CREDIT: the least of the keys of `max-loss`; FM_CREDIT_UNLIMITED */
    /* Nothing more is granted while a standby lacks what was written so long ago, and nothing ahead
     * of what is written; 0: no such bound. */
    int64_t time_ms;
    uint8_t beyond; /* enum fm_credit_beyond */
    /* commits that wait for so long have used it up; a standby that holds them up that long does
     * not join */
    int64_t patience_ms;
    uint32_t able; /* nodes that may count: those that are not delayed on purpose */
    uint32_t near; /* ... and of them those that have no credit; 0: each has it */
};

struct fm_credit_standby {
    struct fm_lsn flush;       /* the highest it has said in this history; none: not heard */
    struct fm_lsn native_from; /* PostgreSQL waits for it since then; END: it does not */
    struct fm_lsn again;       /* it held commits up: it joins when it has come that far */
};

/* What was written by then. */
enum { FM_CREDIT_MARKS = 32 };
struct fm_credit_mark {
    struct fm_mono at;
    struct fm_lsn end;
};

/* Of those that count: those without a credit. */
struct fm_credit_near {
    uint32_t recorded, may_be_recorded, wanted; /* as below */
    uint32_t joining; /* ... that counted with a credit before, and lack some of what was granted */
};

struct fm_credit {
    struct fm_credit_policy policy;
    uint8_t self;
    uint32_t recorded;        /* in coordination */
    uint32_t may_be_recorded; /* what was handed out or is on its way */
    uint32_t wanted;          /* what ought to be recorded */
    uint32_t joining;         /* counted, and not yet near enough to be recorded */
    uint32_t streaming;       /* they receive now */
    uint32_t apart;           /* they receive nothing, on purpose */
    struct fm_credit_near near;
    struct fm_lsn granted; /* the highest; never goes back */
    struct fm_lsn written; /* the end of the primary's log, as far as was heard */
    struct fm_lsn proven;  /* no commit behind this place was acknowledged but through a hole */
    struct fm_lsn hole;    /* until here the log may have holes; none: it has not */
    struct fm_mono over_since, grown_at;
    struct fm_mono spent_since; /* what somebody has as a credit is used up */
    struct fm_mono level_at;    /* the standbys that count have all that was written by then */
    struct fm_credit_mark mark[FM_CREDIT_MARKS]; /* that they have not reached, oldest first */
    unsigned nmarks;
    struct fm_mono joins_since; /* a standby waits for the log to move on */
    bool in_force;              /* the server waits for us */
    struct fm_credit_standby standby[FM_CREDIT_NODES_MAX];
};

/* What this agent has asked to be recorded over one revision, all of it: any of that may yet be
 * applied while it is the newest. It outlives the server. */
struct fm_credit_asked {
    struct fm_revision over;
    uint32_t nodes, near;
    uint64_t credit;
};

/* The server was started or promoted; its log ends at `written`, and nothing was granted to it. The
 * standbys that count by what is `recorded` are not heard of yet: nothing is granted until all of
 * them are. */
void fm_credit_init(struct fm_credit *c, const struct fm_credit_policy *p, uint8_t self,
                    const struct fm_evidence *recorded, struct fm_lsn written, struct fm_mono now);

/* Is the server to wait for us: is a bound `declared`, or is one recorded still? One that is not
 * declared any more is kept to until the record says that there is none: a survivor goes by that.
 */
bool fm_credit_guards(bool declared, const struct fm_evidence *recorded);

/* Another configuration, but for CREDIT: fm_credit_hear. Whoever is not able any more leaves, and
 * counts until that is recorded. */
void fm_credit_reset(struct fm_credit *c, const struct fm_credit_policy *p);

/* Another CREDIT (a changed configuration). A smaller one holds from when it is reached:
 * fm_credit_counts_with says which one has to be assumed until then. */
void fm_credit_change(struct fm_credit *c, uint64_t bytes, struct fm_mono now);

/* -------- what is heard -------- */

/* A standby says how far it has flushed, in the primary's history; `streams`: it receives now. */
void fm_credit_flushed(struct fm_credit *c, unsigned node, struct fm_lsn flush, bool streams,
                       struct fm_mono now);

/* These receive nothing, on purpose: they count as before, until somebody would have to wait for
 * them. */
void fm_credit_apart(struct fm_credit *c, uint32_t nodes);

/* The primary has written so far. */
void fm_credit_written(struct fm_credit *c, struct fm_lsn end, struct fm_mono now);

/* Does the server wait for us: is fulmar_credit its synchronous standby? `end` of its log is read
 * behind that, not before it. Tell again and again; while it does not wait, all is a hole. */
void fm_credit_in_force(struct fm_credit *c, bool yes, struct fm_lsn end, struct fm_mono now);

/* Nodes that PostgreSQL itself waits for beside us, each of them, as seen now. */
void fm_credit_native(struct fm_credit *c, uint32_t nodes);

/* This node's data are thrown away, rewound, or of another history: it has nothing from now on, and
 * ought not to be recorded. */
void fm_credit_lost(struct fm_credit *c, unsigned node);

/* Until here commits may have been acknowledged that waited for nobody (rule 24). */
void fm_credit_hole(struct fm_credit *c, struct fm_lsn end);

/* What is recorded, from a linearizable read or one's own write that is done; `on_its_way`: what a
 * write that may yet be applied would record. Only the primary's agent has it written. */
void fm_credit_recorded(struct fm_credit *c, uint32_t recorded, uint32_t on_its_way);
/* ... and the same of who has no credit, before that. */
void fm_credit_recorded_near(struct fm_credit *c, uint32_t recorded, uint32_t on_its_way);

/* It is asked to be recorded over that revision. */
void fm_credit_ask(struct fm_credit_asked *a, struct fm_revision over, const struct fm_evidence *e);

/* The newest revision that is known, and what it records. The credit in force is `declared`, or
 * less while the record, or what may yet become it, has less. */
void fm_credit_hear(struct fm_credit *c, const struct fm_credit_asked *a, struct fm_revision newest,
                    const struct fm_evidence *recorded, uint64_t declared, struct fm_mono now);

/* -------- what follows -------- */

/* What may be reported as flushed: nothing more than before where the sub-lease, which lasts until
 * `until`, is over. Ask right before it is sent. */
struct fm_lsn fm_credit_grant(struct fm_credit *c, struct fm_mono until, struct fm_mono now);

/* Is a grant to be reported as flushed, where `said` was last, to a server whose log has come as
 * far as `written`? Not while it has half a window left to go by. */
bool fm_credit_is_due(struct fm_lsn grant, struct fm_lsn said, struct fm_lsn written);

/* ... and is what was said last to be said once more? Now and then: a process of the server that
 * reads other names lets those go who wait already only when it is told something. Only while the
 * sub-lease lasts, which is until `until`. */
bool fm_credit_is_due_again(struct fm_lsn said, struct fm_mono said_at, struct fm_mono until,
                            struct fm_mono now);

/* Is half of what may be granted ahead used, or does a standby join? Then the next look at the
 * standbys is not to be waited for. */
bool fm_credit_is_short(const struct fm_credit *c);

struct fm_credit_verdict {
    uint32_t wanted; /* the standbys that ought to be recorded as those that count */
    /* ... and those that will, once they have what was granted while they were away, which is when
     * they have this place of the log; where that is not written yet, writing something that means
     * nothing brings them there */
    uint32_t joining;
    struct fm_lsn joins_at;
    uint32_t near; /* of those that are wanted: they ought to be recorded as those without a credit;
                      who will be is among those that join */
    bool used_up;  /* commits have waited for longer than patience, or for one that is apart */
    bool waiting;  /* ... or have begun to */
    uint8_t node;  /* that holds them up; FM_CREDIT_NOBODY */
    struct fm_mono wake;
};

/* Look again at who counts. What is returned may be handed on to be recorded, and counts as on its
 * way until fm_credit_recorded says how it stands. */
struct fm_credit_verdict fm_credit_look(struct fm_credit *c, struct fm_mono now);

/* So many bytes that mean nothing are to be written now, where nobody else writes: for who joins,
 * or who has all but the header of a page; 0: none. They count as on their way. */
uint64_t fm_credit_move_on(struct fm_credit *c, const struct fm_credit_verdict *v,
                           struct fm_mono now);

/* -------- whom the server waits for itself -------- */

/* Beside us, where it waits for standbys itself. `c` NULL: nothing of it is known but the record.
 */
uint32_t fm_credit_names(const struct fm_credit_policy *p, const struct fm_credit *c,
                         uint32_t recorded);
/* ... where it waits for nobody else but those without a credit. */
uint32_t fm_credit_near_names(const struct fm_credit *c, uint32_t recorded);

/* The names by which the server's process at the other end of our stream lets commits go: those
 * that it has read. One that was begun while the server was closed reads them when it opens; all
 * zero: it has not read them. */
struct fm_credit_stream {
    bool knows;
    uint32_t names;
};

/* May a stream go on, when the server is open or not, and waits for `names`? At a change of them
 * another one has to be begun, so that none lets commits go by names that do not hold any more. */
bool fm_credit_stream_fits(struct fm_credit_stream *s, bool open, uint32_t names);

#define FM_CREDIT_KINDS(X)                                                                         \
    X(ENFORCED, "enforced")   /* by PostgreSQL */                                                  \
    X(ESTIMATE, "estimate")   /* `bytes` is what is known; it may be more */                       \
    X(UNBOUNDED, "unbounded") /* no standby counts; `bytes` says nothing */

enum fm_credit_kind {
#define X(id, name) FM_CREDIT_##id,
    FM_CREDIT_KINDS(X)
#undef X
        FM_CREDIT_KIND_COUNT
};

const char *fm_credit_kind_name(enum fm_credit_kind k);

struct fm_credit_bound {
    uint8_t kind; /* enum fm_credit_kind */
    uint64_t bytes;
    uint64_t transactions; /* at most so many commits fit into them */
};

/* The same, where it is known that so many bytes are lacking. */
struct fm_credit_bound fm_credit_bound_at_least(struct fm_credit_bound b, uint64_t bytes);

/* `loss-if-now`: what would be lost if the primary were lost at this moment, by whichever standby
 * that counts is behind most. */
struct fm_credit_bound fm_credit_bound(const struct fm_credit *c);

/* The credit that a survivor has to count with: recorded beside the standbys that count, before a
 * larger one is in force. */
uint64_t fm_credit_counts_with(const struct fm_credit *c);

/* ... and until where it has to count with holes: none, where every standby that counts has passed
 * them; FM_LSN_END while there is no end of them. */
struct fm_lsn fm_credit_holes_to(const struct fm_credit *c);

/* The bound as a survivor computes it alone, with nothing but the record and its own flush
 * position. */
struct fm_credit_bound fm_credit_bound_of_survivor(const struct fm_evidence *recorded, uint8_t self,
                                                   struct fm_lsn flush);

/* Is less known to be lost by a than by b? */
bool fm_credit_bound_is_less(const struct fm_credit_bound *a, const struct fm_credit_bound *b);

#endif
