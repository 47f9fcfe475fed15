/* tests/unit/journal/desk.h: a journal in a folder of its own, and calls one after the other. */
#ifndef FM_TESTS_JOURNAL_DESK_H
#define FM_TESTS_JOURNAL_DESK_H

#include "net.h"

#include "journal/journal.h"

struct desk {
    struct net net;
    struct fm_mailbox box;
    char dir[64], path[96];
    struct fm_journal_options o;
    struct fm_journal *j;
};

/* In a new folder; `vfs` as of the options. Open it with desk_start. */
void desk_open(struct desk *d, const char *vfs);
void desk_start(struct desk *d);
void desk_stop(struct desk *d);
/* Stop and start: what was in flight becomes unknown. */
void desk_restart(struct desk *d);
/* Stops what was started, and removes the folder. */
void desk_close(struct desk *d);

/* A call of this kind to this desk. */
struct fm_journal_call desk_call(struct desk *d, enum fm_journal_op op);
/* Submit and wait; its err. */
enum fm_err desk_do(struct desk *d, struct fm_journal_call *c);

/* A command of the context `ledger`, cell 3, epoch 7; the request is what its hash is made of. */
struct fm_journal_call desk_command(struct desk *d, const char *key, const char *request);
struct fm_idem_hash desk_hash(const char *request);
/* Begin it and tell the decision; *seq may be NULL. */
struct fm_idem_decision desk_begin(struct desk *d, const char *key, const char *request,
                                   uint64_t *seq);
/* Settle it with an answer. */
enum fm_err desk_done(struct desk *d, uint64_t seq, uint16_t status, const char *body);
enum fm_err desk_unknown(struct desk *d, uint64_t seq);
/* Begin and settle at once. */
uint64_t desk_whole(struct desk *d, const char *key, uint16_t status, const char *body);
/* Expect the stored answer. */
void desk_replays(struct desk *d, const char *key, const char *request, uint16_t status,
                  const char *body);

#define assert_situation(decision, s) assert_int_equal((decision).situation, s)

#endif
