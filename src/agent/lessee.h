/* agent/lessee.h: the gate's half of authority (core/sublease.h) in an agent with the role `gate`,
 * and that of a database agent (agent/database.h): a host has one sub-lease of a context, for all
 * of it.
 *
 * It asks every agent of its region that may be keeper, each quarter of a lease and whenever there
 * is something to ask for; takes grants, boards and orders to stop or to hold; and publishes each
 * change to the workers (proxy/seats.h) before it answers: so what it acknowledges as stopped has
 * stopped for them, too, and a cell is told to be quiet when nothing that was admitted is left.
 * What it holds it lends to commands of this host (agent/lend.h): a cell has stopped when those
 * have ended, or what they were told has run out.
 *
 * Belongs to the control loop. Bounded: FM_LESSEE_WAITS_MAX orders to hold wait at once. */
#ifndef FM_AGENT_LESSEE_H
#define FM_AGENT_LESSEE_H

#include "agent/post.h"
#include "proxy/seats.h"

enum { FM_LESSEE_WAITS_MAX = 64, FM_LESSEE_SHIPS_MAX = 16 };

struct fm_lessee;

struct fm_lessee_config {
    struct fm_loop *loop;
    bool gate; /* of this host; else nobody is told what it can serve */
    struct fm_roster *roster;
    struct fm_post *post;
    struct fm_seats *seats;
    const char *folder; /* of the state; NULL: nothing is lent */
    unsigned self;      /* number of this host in the roster */
    uint64_t life;      /* of this start */
    /* More than the time that is left has changed: who waits looks again. */
    void (*published)(void *user);
    /* Can this gate serve the context (its index in the configuration)? */
    bool (*capable)(void *user, unsigned context);
    /* Requests that were served so far: of a context, or (-1) of all. */
    uint64_t (*served)(void *user, int context);
    /* Get what the gates of this region have accepted, for all contexts; tell `done` once, from the
     * loop. NULL: no gate keeps a journal. */
    void (*catch_up)(void *user, struct fm_str region, void (*done)(void *arg, bool whole),
                     void *arg);
    /* Is anything of this host left that may act for the context (its number in the roster), beside
     * what is admitted or lent? NULL: nothing ever is. */
    bool (*acts)(void *user, unsigned context);
    /* Is there work of this host that a planned move waits for, beside what is admitted? NULL:
     * there never is. */
    bool (*drains)(void *user, unsigned context);
    void *user;
};

struct fm_lessee *fm_lessee_new(const struct fm_lessee_config *c, const struct fm_conf *conf,
                                struct fm_error *e) FM_WARN_UNUSED;
/* After a reload. What is held of a context that is gone runs out. */
void fm_lessee_reset(struct fm_lessee *l, const struct fm_conf *conf);

/* A message for the gate from a host of the file. */
void fm_lessee_take(struct fm_lessee *l, unsigned host, const struct fm_post_head *head,
                    const struct fm_message *m);
/* What is held of the context, by its number in the roster; NULL where nothing is served. */
const struct fm_sublease *fm_lessee_held(const struct fm_lessee *l, unsigned context);
/* `acts` is false now: who waits for the end of cells that were stopped is told. */
void fm_lessee_ended(struct fm_lessee *l, unsigned context);
/* A worker has met what is not published: look at the seats, and ask. */
void fm_lessee_wanted(struct fm_lessee *l);

/* The page /lease/CONTEXT of the local socket; 404 where nothing is lent. */
void fm_lessee_lease(struct fm_lessee *l, const struct fm_page_request *q,
                     struct fm_page_answer *a);

json_t *fm_lessee_json(const struct fm_lessee *l);

/* Nothing is asked or answered any more; catch_up is still told of. */
void fm_lessee_stop(struct fm_lessee *l);
/* When no catch_up is under way any more. */
void fm_lessee_free(struct fm_lessee *l);

#endif
