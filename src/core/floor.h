/* core/floor.h: what the declared times of a context allow at best, before anything happened.
 *
 * When a holder is lost without a word, three things run at the same time: its lease, which nobody
 * may cut short (rules 1, 6, 9); the detection of its loss and then the grace; and, where the
 * leader of coordination was lost with it, an election. The slowest of them is the floor; a person
 * who has to consent comes on top. `config check` compares objectives and holds with it. A guard
 * that testifies (rule 8) would shorten the wait; it is not reckoned with. Pure; milliseconds. */
#ifndef FM_CORE_FLOOR_H
#define FM_CORE_FLOOR_H

#include "base/time.h"

enum {
    FM_RHO_PPM = 10 * 1000,              /* the drift of clock rates that is reckoned with */
    FM_FLOOR_PERSON_MS = 60 * 1000,      /* to hear a page, read a quote and type: at the least */
    FM_FLOOR_INTERVALS_MAX = 1000 * 1000 /* bound on each duration of a probe */
};

/* L(1 + rho), rounded up: how long nobody else may acquire what was granted for L. */
int64_t fm_floor_lease_wait_ms(int64_t lease_ms);

/* How a loss is noticed that says nothing: so many of the last probes must fail. */
struct fm_floor_probes {
    int64_t interval_ms, fast_interval_ms, timeout_ms;
    unsigned samples, successes;
};

/* The longest time from the loss until the last of the probes that it takes has failed. */
int64_t fm_floor_detection_ms(const struct fm_floor_probes *p);

struct fm_floor_times {
    int64_t lease_ms, grace_ms, detection_ms;
    int64_t election_ms; /* of coordination; 0 = it has none */
    bool person;         /* has to consent */
};

struct fm_floor {
    int64_t wait_ms;  /* the lease with its drift */
    int64_t grace_ms; /* after detection_ms */
    int64_t detection_ms, election_ms, person_ms;
    int64_t total_ms;
};

struct fm_floor fm_floor_of(const struct fm_floor_times *t);

/* How long commands must be held at the least so that somebody may take them by himself. */
int64_t fm_floor_hold_ms(int64_t lease_ms, int64_t grace_ms);

/* Rule 3: may an election outlast what is left of a lease that was just due for renewal? */
bool fm_floor_lease_short(int64_t lease_ms, int64_t election_ms);

/* Rule 12: do `lost` of `members` leave a quorum? */
bool fm_floor_quorum(unsigned members, unsigned lost);

#endif
