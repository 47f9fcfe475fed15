/* journal/journal.h: a region's record of the commands that it accepted, and its queue.
 *
 * A command with an idempotency key is first a durable intent, then forwarded, then an outcome,
 * which may lag (SAFETY.md section E). A caller fills in a struct fm_journal_call and submits it; a
 * thread of the journal takes all calls that wait, does them in one SQLite transaction (WAL,
 * synchronous=FULL) and, once that is durable, posts each back to its caller's mailbox: so a
 * hundred intents and outcomes cost one fsync. Several loops share a journal; none takes a lock.
 *
 * Ownership: the call and the memory that its views name belong to the journal from the submission
 * until `done` runs on the loop of `to`; what a call brings back lies in `memory` until
 * fm_journal_forget. Bounded: calls beyond `calls_max`, and what would make the file grow beyond
 * `bytes_max`, are refused at once; outcomes never are, since each belongs to an accepted intent.
 *
 * Errors: a write or fsync that failed is never tried again as if nothing had happened. The journal
 * has failed from then on: it refuses everything and fm_journal_failure tells the evidence. The
 * next start looks at what is really on the disk; intents without an outcome are then `unknown`.
 *
 * Times: retention counts only while the journal is open, on the clock of base/time.h, so a jump of
 * the wall clock forgets no key. Source: the IETF draft draft-ietf-httpapi-idempotency-key-header;
 * https://www.sqlite.org/wal.html. */
#ifndef FM_JOURNAL_JOURNAL_H
#define FM_JOURNAL_JOURNAL_H

#include "base/metrics.h"
#include "io/mailbox.h"
#include "journal/entry.h"

struct fm_journal;

#define FM_JOURNAL_FILE "journal.db" /* in the folder of a host's state */

struct fm_journal_options {
    const char *path;    /* of the database; its folder exists; beside it -wal, -shm and .lock */
    const char *service; /* stamps a new file; a file of another service is refused */
    const char *vfs;     /* of SQLite; NULL: the system's */
    int64_t retention_ms;
    uint32_t calls_max;  /* that wait at once, but for outcomes */
    uint32_t answer_max; /* bytes of head and body kept of an answer; a longer one is not kept */
    uint64_t bytes_max;  /* of the file and its WAL */
    uint32_t queue_max;  /* requests that wait for delivery */
    uint64_t queue_bytes_max;
    uint32_t keys_kept_back; /* a power of two: so many new keys are in memory only before they are
                                moved to the index of the file; 0: as many as do well */
};

/* Creates the file (mode 0600) where there is none, takes its lock, and turns what was in flight
 * into `unknown`. Blocks; not on a loop that serves. FM_ERR_STATE: somebody else has it open. */
struct fm_journal *fm_journal_open(const struct fm_journal_options *o,
                                   struct fm_error *e) FM_WARN_UNUSED;
/* Does what was submitted, posts it, and ends. Nobody submits from now on. Mailboxes that calls
 * were submitted with are still open, and are emptied by their owners. */
void fm_journal_close(struct fm_journal *j);

enum fm_journal_op {
    FM_JOURNAL_BEGIN,    /* a command came: `decision`, and `seq` of its entry (or its queue id) */
    FM_JOURNAL_OUTCOME,  /* `seq` ended as `outcome` */
    FM_JOURNAL_WITHDRAW, /* `seq`, a RECORD of which nothing was forwarded: as if it never came */
    FM_JOURNAL_READ,     /* what changed since `since`, as a chunk in `bytes`; `next`, `last` */
    FM_JOURNAL_CURSOR,   /* up to where `source` was imported: `next`; `last` */
    FM_JOURNAL_IMPORT,   /* the chunk `bytes` of another region: `imported` */
    FM_JOURNAL_ENQUEUE,  /* keep the command for later: `decision` (RECORD: it waits), `seq` */
    FM_JOURNAL_DUE,      /* of which cells something is due: `due`; `waiting` of all */
    FM_JOURNAL_TAKE,     /* of command.context and .cell `limit` that are due, behind `since` */
    FM_JOURNAL_SETTLE,   /* a taken one: delivered with `outcome`, or back where `give_back` */
    FM_JOURNAL_ASK,      /* what is with the queued one `seq` of `token`: `queued` */
};

struct fm_journal_command {
    struct fm_str context;      /* 1 to FM_JOURNAL_CONTEXT_MAX bytes */
    struct fm_idem_facts facts; /* need, by, key, epoch, first_epoch; the rest is the journal's */
    struct fm_idem_hash hash;   /* of the request */
    uint32_t cell;
    uint64_t queued;             /* BEGIN: it is being delivered from the queue under this id */
    struct fm_str lane, request; /* ENQUEUE: what it is in order with, and what to deliver */
};
/* TAKE: facts.epoch is the one under which what is taken will be sent, and is durable with it as
 * the first one, where there was none (rule 20). SETTLE with `give_back`: facts.first_epoch stays,
 * 0 where it is certain that nobody has executed it. */

enum fm_queue_state {
    FM_QUEUE_BEHIND, /* another of its lane comes first */
    FM_QUEUE_READY,
    FM_QUEUE_TAKEN,
    FM_QUEUE_DELIVERED, /* kept for its status URL until retention ends */
};

struct fm_journal_item {
    uint64_t id, token;
    struct fm_str context, lane, key, request;
    struct fm_idem_hash hash;
    uint32_t cell;
    uint64_t first_epoch; /* under which it may have been executed already; 0 = certainly not */
    uint16_t tries;       /* how often it was given back as not known */
    int64_t at_ms;        /* wall clock, for people: it came then */
};

enum { FM_JOURNAL_DUE_MAX = 8192 }; /* cells */

struct fm_journal_due {
    struct fm_str context;
    uint32_t cell;
    int64_t oldest_ms; /* wall clock, for people: the first of them came then */
};

struct fm_journal_outcome {
    enum fm_idem_known state; /* FM_IDEM_DONE or FM_IDEM_UNKNOWN */
    struct fm_journal_answer answer;
};

struct fm_journal_call {
    struct fm_msg msg; /* the journal's */
    struct fm_mailbox *to;
    void (*done)(struct fm_journal_call *c);
    enum fm_journal_op op;
    bool busy;                 /* between submission and `done` */
    bool give_back, not_known; /* not_known: it may have been executed; counted as a try */
    /* in */
    struct fm_journal_command command;
    struct fm_journal_outcome outcome;
    uint64_t since;
    uint32_t limit;
    struct fm_str source; /* IMPORT and CURSOR: whose journal it is; empty: of no account */
    /* in or out */
    uint64_t seq;
    uint64_t token; /* of a queued one: proves to strangers that its number was not guessed */
    struct fm_str bytes;
    /* out */
    enum fm_err err; /* OK: it is durable. IO, STATE: the journal has failed, nothing is promised.
                        EXISTS: an outcome that another one stands in the place of. NOT_FOUND: no
                        such seq. INVALID: a chunk that is none. MEMORY: none for the answer. */
    struct fm_idem_decision decision;
    struct fm_journal_answer answer; /* REPLAY */
    struct {                         /* REPLAY: where, and under which epoch it was executed */
        uint32_t cell;
        uint64_t epoch;
    } was;
    uint64_t next, last;
    struct {
        uint32_t added, turned, kept, conflicts;
    } imported;
    struct {
        enum fm_queue_state state;
        uint16_t status; /* of a delivered one; 0 = its outcome is not known */
    } queued;
    struct fm_journal_item *items;
    size_t nitems;
    struct fm_journal_due *due;
    size_t ndue;
    uint32_t waiting;
    void *memory;
};

/* OK: `done` will run, once. Otherwise it will not, and for BEGIN and ENQUEUE `decision` says what
 * to answer. INVALID: that can be decided without asking (no key, a bad one). LIMIT: too much
 * waits. STATE: the journal has failed. */
enum fm_err fm_journal_submit(struct fm_journal *j, struct fm_journal_call *c) FM_WARN_UNUSED;

/* Free what the call brought back; it may be submitted again. */
void fm_journal_forget(struct fm_journal_call *c);

/* True where the journal has failed, with the first evidence. Any thread. */
bool fm_journal_failure(const struct fm_journal *j, struct fm_error *e);

/* Written by the journal's thread, read by any. Nanoseconds of its time, by what it was spent on.
 */
struct fm_journal_stats {
    struct fm_counter calls, refused, batches, checkpoints, expired;
    struct fm_counter work_ns;       /* statements */
    struct fm_counter commit_ns;     /* writing the WAL and its fsync */
    struct fm_counter post_ns;       /* telling the callers */
    struct fm_counter checkpoint_ns; /* from the WAL to the database, with its two fsyncs */
    struct fm_counter idle_ns;       /* nothing waited */
    struct fm_hist commit_us;
};
const struct fm_journal_stats *fm_journal_stats(const struct fm_journal *j);

#endif
