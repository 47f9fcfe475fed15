/* demo/play.h: a scenario of the demonstration and how it goes, for the files that hold some.
 * Private to src/demo. */
#ifndef FM_DEMO_PLAY_H
#define FM_DEMO_PLAY_H

#include "demo/stage.h"

struct play {
    const struct scenario *scenario;
    unsigned region; /* that is broken */
    const char *name;
    char had[FM_HOLDERS_TEXT_MAX]; /* what the writer held: "ledger/0@3" */
    int64_t stalls;                /* of its gate, before */
    struct fm_mono began, healed;
    bool good;    /* what the scenario itself looked at */
    json_t *more; /* and found */
    /* of a cold standby: from then on no query fails, and no request at all */
    struct fm_mono ready, taken;
    /* of a PostgreSQL group */
    /* while it is judged; how often each request took effect */
    const struct fm_measure *measure;
    const unsigned char *effects;
    bool bounded; /* what may be lost, as it was shown before */
    json_int_t bound_bytes, bound_transactions, recovered_before;
};

struct scenario {
    enum fm_demo_scenario id;
    const char *name, *what, *healed;
    struct fm_objectives objectives;
    const char *context; /* that must be seen to leave; NULL = any */
    int64_t outage_ms;
    bool taken_over; /* another region takes over what the broken one held */
    bool (*break_it)(struct fm_demo *d, struct play *p);
    bool (*before_healing)(struct fm_demo *d, struct play *p);
    bool (*heal)(struct fm_demo *d, struct play *p);
    bool (*after)(struct fm_demo *d, struct play *p);
    /* when every request has come to its end: look at them, and find p->good or not */
    void (*judge)(struct fm_demo *d, struct play *p);
};

/* -------- scenarios.c: of use to all of them -------- */

bool fm_play_kill(struct fm_demo *d, struct play *p);
/* `fulmar move`, and a moment; p->more has `moves`. False: interrupted. */
bool fm_play_move(struct fm_demo *d, struct play *p, const char *context, unsigned to,
                  const char *cells);
bool fm_play_heal(struct fm_demo *d, struct play *p);
/* What a person sees while nobody may write. */
bool fm_play_ask_meanwhile(struct fm_demo *d, struct play *p);
/* Is a command taken again? */
bool fm_play_command(struct fm_demo *d);

/* -------- cold.c: a standby whose app is stopped -------- */

/* Of one whose data are a PostgreSQL group: prepared by a person while all is well, and stood down.
 * Replication is broken meanwhile, and what would be lost grows. */
bool fm_cold_rehearse(struct fm_demo *d, struct play *p);
/* Kills the region, and waits until the standby is started and a person is asked. */
bool fm_cold_prepare(struct fm_demo *d, struct play *p);
/* After the primary was started again: nothing has moved, and the app is stopped. */
bool fm_cold_stand_down(struct fm_demo *d, struct play *p);
/* A person asks what it costs, and consents. */
bool fm_cold_complete(struct fm_demo *d, struct play *p);
/* After the primary was started again: it takes nothing back. */
bool fm_cold_stays(struct fm_demo *d, struct play *p);
bool fm_cold_fail_back(struct fm_demo *d, struct play *p);
void fm_cold_judge(struct fm_demo *d, struct play *p);
void fm_cold_judge_home(struct fm_demo *d, struct play *p);

/* -------- switch.c: the ledger is a PostgreSQL group -------- */

/* As it is before a scenario; what others lost is not this one's. False: interrupted. */
bool fm_switch_begin(struct fm_demo *d, struct play *p);
/* Every node of the ledger follows, or p->good is false. */
bool fm_switch_wait_whole(struct fm_demo *d, struct play *p);
/* There and back. */
bool fm_switch_over(struct fm_demo *d, struct play *p);
/* What it would cost is asked, then the region of the primary dies, PostgreSQL with it. */
bool fm_switch_kill(struct fm_demo *d, struct play *p);
/* After it was started again: it follows, and what only it had is on the list. */
bool fm_switch_rejoin(struct fm_demo *d, struct play *p);
/* The home does not follow, and is not gone back to; then it does. */
bool fm_switch_back(struct fm_demo *d, struct play *p);
/* The truth of the ledger. */
void fm_switch_judge(struct fm_demo *d, struct play *p);

#endif
