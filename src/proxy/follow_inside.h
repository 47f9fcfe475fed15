/* proxy/follow_inside.h: what a follower is made of; private to src/proxy/follow*.c. */
#ifndef FM_PROXY_FOLLOW_INSIDE_H
#define FM_PROXY_FOLLOW_INSIDE_H

#include "base/rand.h"
#include "http/caller.h"
#include "proxy/follow.h"
#include "proxy/view_store.h"

#include <limits.h>

enum { SLOTS = 2 };

struct slot;

/* An agent that may be asked. */
struct source {
    struct source *next;
    struct fm_follow *follow;
    struct fm_caller caller;
    struct slot *slot; /* that asks it; NULL: it is left alone */
    char host[256], region[64];
    bool controller, own, stale; /* stale: of before a reload, until its caller is gone */
    uint32_t spread;             /* so that not everybody asks the same */
    uint32_t fails;              /* in a row */
    uint8_t idle;                /* answers in a row that came at once and said nothing */
    struct fm_mono not_before, asked_at;
    bool has_seen;
    uint64_t seen; /* hash of what it said last */
    char why[160]; /* it failed */
};

struct slot {
    struct fm_follow *follow;
    struct source *source;
    struct fm_timer timer;
};

struct fm_follow {
    struct fm_follow_config config;
    struct fm_loop *loop;
    const struct fm_conf *conf;
    struct fm_peers peers;
    char folder[PATH_MAX], host[256], region[64];
    struct source *sources;
    struct slot slot[SLOTS];
    struct fm_rand rand;
    struct fm_mono hurried_until;
    bool stopped;
    /* the view */
    struct fm_view_doc doc;
    bool has_doc;
    bool stored; /* it is the one from the disk */
    char from[256];
    int64_t adopted_wall_ns;
    bool was_heard;
    struct fm_mono heard_at; /* somebody said something, or that there is nothing new */
    const struct source *found_from;
    struct fm_timer found_timer;
    char misfit[256];
    struct fm_generation misfit_at;
    /* its file */
    struct fm_view_store *store;
    struct fm_view_found file;
};

void fm_follow_bury(struct fm_follow *f, bool resolver_freed);

#endif
