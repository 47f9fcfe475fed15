/* journal/store.h: the tables of the journal and what each call does to them.
 *
 * Every function here is a part of the open transaction of its caller (journal.c) and sets what the
 * call brings back; db.failed at the end tells whether it may be committed. Numbers of commands,
 * outcomes and queued requests come from one counter, so that "what changed since N" has one
 * answer. Private to src/journal; one thread at a time. */
#ifndef FM_JOURNAL_STORE_H
#define FM_JOURNAL_STORE_H

#include "base/hash.h"
#include "journal/db.h"
#include "journal/journal.h"
#include "journal/recent.h"

struct fm_journal_keys { /* see keys.c */
    struct fm_recent young, old;
    uint64_t indexed; /* the keys of all numbers up to here are in key_at */
    uint64_t top;     /* of the old ones, which are on their way to it; 0: there are none */
    uint32_t moved;   /* slices of the old ones that are there */
    uint64_t sweep;   /* on the way, remove numbers of nothing up to here; 0: none */
    uint64_t swept;   /* up to here they were removed */
};

struct fm_journal_store {
    struct fm_db db;
    struct fm_journal_options o;
    int lock_fd;
    struct fm_hash_key hash_key; /* of this file; nobody outside can choose keys that collide */
    struct fm_journal_keys keys;
    uint64_t last;         /* the last number given out */
    int64_t age_before_ms; /* how long the journal was open in earlier lives */
    struct fm_mono opened;
    uint64_t oldest;       /* everything up to here was found too young, or never to go */
    int64_t oldest_age_ms; /* of what comes behind; INT64_MAX: nothing */
    uint64_t file_pages;   /* in use, as of the last look */
    bool full;
    int64_t
        oldest_delivered_ms; /* age of the first of the queue to be forgotten; INT64_MAX: none */
    uint32_t queue_n;        /* that are not delivered */
    uint64_t queue_bytes;
    uint32_t added; /* commands and queued requests, in this transaction */
};

enum fm_err fm_journal_store_open(struct fm_journal_store *s, const struct fm_journal_options *o,
                                  struct fm_error *e) FM_WARN_UNUSED;
void fm_journal_store_close(struct fm_journal_store *s);

bool fm_journal_store_transaction(struct fm_journal_store *s); /* begin it; false after a failure */
/* True once it is durable. */
bool fm_journal_store_commit(struct fm_journal_store *s);
bool fm_journal_store_checkpoint_is_due(const struct fm_journal_store *s);
void fm_journal_store_checkpoint(struct fm_journal_store *s);

/* Forget what is past its retention, a bounded number of rows; how many. */
unsigned fm_journal_store_expire(struct fm_journal_store *s);
bool fm_journal_store_is_something_old(const struct fm_journal_store *s);

void fm_journal_store_begin(struct fm_journal_store *s, struct fm_journal_call *c);
void fm_journal_store_outcome(struct fm_journal_store *s, struct fm_journal_call *c);
void fm_journal_store_withdraw(struct fm_journal_store *s, struct fm_journal_call *c);
void fm_journal_store_read(struct fm_journal_store *s, struct fm_journal_call *c);     /* heir.c */
void fm_journal_store_cursor(struct fm_journal_store *s, struct fm_journal_call *c);   /* heir.c */
void fm_journal_store_import(struct fm_journal_store *s, struct fm_journal_call *c);   /* heir.c */
void fm_journal_store_enqueue(struct fm_journal_store *s, struct fm_journal_call *c);  /* queue.c */
void fm_journal_store_due(struct fm_journal_store *s, struct fm_journal_call *c);      /* queue.c */
void fm_journal_store_take(struct fm_journal_store *s, struct fm_journal_call *c);     /* queue.c */
void fm_journal_store_settle(struct fm_journal_store *s, struct fm_journal_call *c);   /* queue.c */
void fm_journal_store_ask(struct fm_journal_store *s, struct fm_journal_call *c);      /* queue.c */
unsigned fm_journal_store_expire_queue(struct fm_journal_store *s, int64_t cutoff_ms); /* queue.c */
void fm_journal_store_open_queue(struct fm_journal_store *s);                          /* queue.c */

/* -------- what they share -------- */

struct fm_found {
    enum fm_idem_known known; /* ABSENT, QUEUED, IN_FLIGHT, UNKNOWN or DONE */
    uint64_t seq;             /* or the id in the queue */
    uint32_t cell;            /* of a command: where, and under which epoch it was admitted last */
    uint64_t epoch;
    bool same_request, answer_kept;
    bool delivered;         /* QUEUED: it was, and is kept for its place */
    uint16_t queued_status; /* delivered: as fm_journal_call.queued.status */
};

/* `but` is the id of a queued request that is not looked at, or 0. */
struct fm_found fm_journal_store_find(struct fm_journal_store *s,
                                      const struct fm_journal_command *c, uint64_t but);

/* The decision about c's command with what was found: c->decision, c->seq, and the answer of what
 * is to be replayed. */
void fm_journal_store_decide(struct fm_journal_store *s, struct fm_journal_call *c,
                             const struct fm_found *f);

uint64_t fm_journal_store_next(struct fm_journal_store *s);
/* What nobody can make up who was not told it: of the queued request `id` of this file. */
uint64_t fm_journal_store_token(const struct fm_journal_store *s, uint64_t id);
int64_t fm_journal_store_age_ms(const struct fm_journal_store *s);
int64_t fm_journal_store_wall_ms(void);
void fm_journal_store_set_meta(struct fm_journal_store *s, const char *name, int64_t value);
/* With a new seq, which is returned; its key, and no outcome. */
uint64_t fm_journal_store_add_command(struct fm_journal_store *s, const struct fm_journal_entry *e);
void fm_journal_store_add_outcome(struct fm_journal_store *s, uint64_t seq,
                                  enum fm_idem_known state, const struct fm_journal_answer *a,
                                  int64_t at_ms);

/* -------- keys.c -------- */

enum fm_err fm_journal_keys_init(struct fm_journal_store *s, struct fm_error *e) FM_WARN_UNUSED;
void fm_journal_keys_deinit(struct fm_journal_store *s);
/* In a transaction, once `indexed` and `swept` are read: the keys that are in memory only. */
void fm_journal_keys_load(struct fm_journal_store *s);
/* In each transaction: the part of the moving that the keys which came since are worth. */
void fm_journal_keys_move(struct fm_journal_store *s);
/* Numbers come in their order. */
void fm_journal_keys_add(struct fm_journal_store *s, struct fm_str context, struct fm_str key,
                         uint64_t number);
void fm_journal_keys_drop(struct fm_journal_store *s, struct fm_str context, struct fm_str key,
                          uint64_t number);
/* The same for a number up to `oldest`: it may still be found, and is of nothing then. */
void fm_journal_keys_forget(struct fm_journal_store *s, struct fm_str context, struct fm_str key,
                            uint64_t number);

struct fm_key_walk {
    int64_t hash;
    struct fm_recent_walk young, old;
    bool in_db;
};
/* All numbers that may be of this key, in no order; go on until 0. No key is added meanwhile. */
struct fm_key_walk fm_journal_keys_walk(struct fm_journal_store *s, struct fm_str context,
                                        struct fm_str key);
uint64_t fm_journal_keys_next(struct fm_journal_store *s, struct fm_key_walk *w);

/* A copy that the caller of the journal will free; NULL where there is no memory. */
void *fm_journal_store_give(struct fm_journal_call *c, size_t n) FM_WARN_UNUSED;

#endif
