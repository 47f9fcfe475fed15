/* tests/unit/proxy/stand.h: a worker on its own thread, edge or gate, with control, one client and
 * one upstream on this one; for contexts with cells it has seats, and a gate a journal. One a
 * program. */
#ifndef FM_TESTS_UNIT_PROXY_STAND_H
#define FM_TESTS_UNIT_PROXY_STAND_H

#include "given.h"

#include "journal/journal.h"
#include "proxy/worker.h"

extern struct net stand_net; /* of control */
extern struct fm_worker worker;
extern struct fm_seats *seats;
extern struct fm_seats_context *ledger, *cards, *tills; /* of 1 cell, and of 4 */
extern struct fm_journal *journal;
extern struct peer client, server;
/* The file of the gate's journal. */
const char *stand_journal_path(void);
extern unsigned stand_wanted; /* how often workers rang */

/* West and north, with gates; `ledger` (active-passive, by gate, hold 1 s) and `cards` (affinity, 4
 * cells, key {card}, queries home, by app), `tills` (the same, key `till` in the body, by gate) and
 * `pages` (multi-write); what is below /ledger/later/ and /cards/N/later is queued, /ledger/N/on
 * and /tills/on are relayed. One upstream serves all regions. Before and after each test. */
void stand_open(enum fm_proxy_mode mode);
/* West has so many gates, `w` (which this one is, of a gate) and `w2`; of the second nobody has an
 * address. */
void stand_open_of(enum fm_proxy_mode mode, unsigned gates, const _Atomic bool *caught_up);
/* Does this key belong to `w` where there are both? */
bool stand_is_first(const char *context, const char *key);
void stand_close(void);

/* Of a test: with one gate in each region. */
int stand_setup_gate(void **state);
int stand_setup_edge(void **state);
int stand_teardown(void **state);
#define stand_gate(fn) fm_test_with(fn, stand_setup_gate, stand_teardown)
#define stand_edge(fn) fm_test_with(fn, stand_setup_edge, stand_teardown)

/* The client's request; the answer's head and body must begin so. */
void stand_say(const char *request);
void stand_hear(const char *begin);
bool stand_heard(const char *text);
/* The upstream gets a request that begins so, and answers. Its text is in `server`. */
void stand_asked(const char *begin);
void stand_answer(const char *answer);
bool stand_was_told(const char *text);
/* Where the upstream listens. */
int stand_app(void);
/* For so many real ms nobody asks the upstream. */
void stand_nobody_asks(int64_t ms);

/* What a view says (edge), or what a grant says (gate; `ms` from now). */
void stand_view(struct fm_seats_context *c, unsigned cell, uint64_t epoch, unsigned region,
                bool released);
void stand_held_by(struct fm_seats_context *c, unsigned cell, uint64_t epoch, unsigned region);
void stand_grant(struct fm_seats_context *c, unsigned cell, uint64_t epoch, int64_t ms);
/* The same, closed: its data are not open. */
void stand_grant_closed(struct fm_seats_context *c, unsigned cell, uint64_t epoch, int64_t ms);

enum { WEST, NORTH };

#define AT(epoch) "Fulmar-Authority: ledger/0@" epoch "\r\n"
#define KEY(k)    "Idempotency-Key: " k "\r\n"
#define STAND_OK  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

#endif
