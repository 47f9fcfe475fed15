/* proxy/upstream.h: endpoints and connections to them, as one worker has them.
 *
 * An upstream outlives views: it is found again by its address, with its breakers and its parked
 * connections. Who finds none parked waits in line, first come, first served, for one that is given
 * back or made (core/connects.h); what is made is nobody's, and parked where nobody waits any more.
 * One owner thread; memory of connections is used again. */
#ifndef FM_PROXY_UPSTREAM_H
#define FM_PROXY_UPSTREAM_H

#include "base/metrics.h"
#include "core/breaker.h"
#include "core/connects.h"
#include "http/client.h"
#include "proxy/view.h"

enum { FM_UPSTREAM_BUCKETS = 256, FM_UPSTREAM_IDLE_MAX = 256 };

struct fm_upconn;

/* Somebody who waits; in its owner, with its memory. */
struct fm_upwait {
    struct fm_list node; /* up->waiting; empty: does not wait */
    struct fm_upstream *up;
    struct fm_timer timer;
    int64_t fresh_ns;
    uint32_t seen; /* up->ready as it began */
};

/* From the loop, never from within a call of somebody who waits. */
struct fm_upwait_handler {
    void (*given)(struct fm_upwait *w, struct fm_upconn *c);
    /* -errno. `alive`: others got one meanwhile, so it is there, and has too much to do. */
    void (*denied)(struct fm_upwait *w, int err, bool alive);
};

struct fm_upstreams {
    struct fm_loop *loop;
    const struct fm_http_limits *limits;
    struct fm_http_field *fields;
    const struct fm_http_client_handler *handler;
    const struct fm_upwait_handler *waits;
    struct fm_counter *made; /* counts connections that are begun */
    struct fm_list bucket[FM_UPSTREAM_BUCKETS];
    struct fm_list spare; /* connections' memory */
    size_t nconns;
    struct fm_timer reaper;
    bool stopping;
};

struct fm_upstream {
    struct fm_list node;
    struct fm_upstreams *all;
    struct fm_addr addr;
    struct fm_tls *tls; /* what new connections speak; NULL for plain */
    char peer[256];     /* whose certificate they expect, with tls */
    uint32_t views;     /* how many views of this worker name it, as endpoints */
    bool current;       /* one of them is the current one: its connections are worth keeping */
    /* Two reasons to stay away: nobody listens (that makes a region unreachable), and answers that
     * fail (that only makes other instances the better choice). */
    struct fm_breaker link, answers;
    uint32_t in_flight;
    uint32_t nconns, nidle, nmaking, nwaiting;
    struct fm_list idle; /* last parked first */
    struct fm_list making, waiting;
    struct fm_connects_pace pace;
    struct fm_mono by;       /* the latest that one in line waits until */
    struct fm_timer matcher; /* what was given back goes to those who wait */
    uint32_t nback;          /* so many were, since it ran last */
    uint32_t ready;          /* connections that were made or given back; wraps */
};

struct fm_upconn {
    struct fm_http_client http;
    struct fm_upstreams *all;
    struct fm_upstream *up;
    struct fm_list node;       /* making, idle or spare */
    struct fm_mono by;         /* while it is made: who asked for it waits until then */
    struct fm_mono idle_since; /* or that it is made */
    void *data;                /* the try that uses it */
    bool reused, making;
};

extern const struct fm_breaker_policy fm_upstream_link_policy, fm_upstream_answers_policy;

void fm_upstreams_init(struct fm_upstreams *u, struct fm_loop *l,
                       const struct fm_http_client_handler *handler,
                       const struct fm_upwait_handler *waits, const struct fm_http_limits *limits,
                       struct fm_http_field *fields, struct fm_counter *made);
/* Nobody waits any more. Close connections that are parked or being made; those in use end with
 * their owners. Then run the loop until nconns == 0 and deinit. */
void fm_upstreams_stop(struct fm_upstreams *u);
void fm_upstreams_deinit(struct fm_upstreams *u);

/* Find or make. NULL without memory. */
struct fm_upstream *fm_upstream_get(struct fm_upstreams *u, const struct fm_addr *addr);
/* How new connections to it are made: `tls` NULL for plain ones. Where that changes between plain
 * and TLS, what is parked is closed. */
void fm_upstream_speak(struct fm_upstream *up, struct fm_tls *tls, const char *peer);
/* A view names it, or does not any more; without views and users it is forgotten. */
void fm_upstream_listed(struct fm_upstream *up);
void fm_upstream_unlisted(struct fm_upstream *up);
/* One request less is under way there. */
void fm_upstream_request_over(struct fm_upstream *up);
/* After a view was replaced and `current` was set anew: close what is parked for nothing. */
void fm_upstreams_sweep(struct fm_upstreams *u);

/* A connection that was parked for less than fresh_ns. NULL: one is waited for until `by`, and
 * `given` or `denied` follows; or with *err where the kernel says no at once. */
struct fm_upconn *fm_upconn_acquire(struct fm_upstream *up, struct fm_upwait *w, int64_t fresh_ns,
                                    struct fm_mono by, enum fm_err *err);
/* A new one for this owner alone (http.connecting). NULL with *err. */
struct fm_upconn *fm_upconn_new(struct fm_upstream *up, struct fm_mono by, enum fm_err *err);
void fm_upwait_init(struct fm_upwait *w);
/* It does not wait any more; also of one that does not. */
void fm_upwait_leave(struct fm_upwait *w);
/* Give it back: parked if it may be used again, else closed. */
void fm_upconn_release(struct fm_upconn *c);
void fm_upconn_close(struct fm_upconn *c);

/* For the handler's callbacks. */
static inline struct fm_upconn *fm_upconn_of(struct fm_http_client *h)
{
    return fm_container_of(h, struct fm_upconn, http);
}
/* The handler's `connected` and `failed` for a connection that nobody uses, and `closed` for every
 * one. */
void fm_upconn_made(struct fm_upconn *c);
void fm_upconn_failed(struct fm_upconn *c, int err);
void fm_upconn_closed(struct fm_upconn *c);

#endif
