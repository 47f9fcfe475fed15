/* core/telling.h: telling one receiver what is newest, until it has it. There is no queue: one try
 * is under way at a time, and each is of what is newest then; so a receiver may miss what was in
 * between, never the last. After a failure the next try comes after a pause, which doubles to half
 * a minute and is shortened by news.
 *
 * What is told is known by a hash. Pure; the structure is the caller's, all zero: nothing was told.
 */
#ifndef FM_CORE_TELLING_H
#define FM_CORE_TELLING_H

#include "base/time.h"

enum {
    FM_TELLING_AGAIN_MS = 250,
    FM_TELLING_AGAIN_MAX_MS = 30 * 1000,
    FM_TELLING_NEWS_MS = 1000, /* news wait no longer, from when the last try began */
};

struct fm_telling {
    bool has_done;
    uint64_t done;  /* what the receiver has acknowledged last */
    uint64_t tried; /* what was looked at last */
    unsigned fails; /* in a row */
    struct fm_mono began, not_before;
};

enum fm_telling_now {
    FM_TELLING_NOTHING, /* the receiver has it */
    FM_TELLING_WAIT,    /* until not_before */
    FM_TELLING_TRY,
};

/* Its failures are forgotten: somebody else tells it, or it is reached in another way. */
void fm_telling_anew(struct fm_telling *t);

/* What to do about it, while no try is under way. */
enum fm_telling_now fm_telling_look(struct fm_telling *t, uint64_t hash, struct fm_mono now);

void fm_telling_begin(struct fm_telling *t, struct fm_mono now);

/* The pause in milliseconds: `random` takes up to a quarter of it. */
int64_t fm_telling_failed(struct fm_telling *t, uint64_t random, struct fm_mono now);

/* True: it had failed before. */
bool fm_telling_delivered(struct fm_telling *t, uint64_t hash);

#endif
