/* proxy/upstream.h: endpoints and connections to them, as one worker has them.
 *
 * An upstream outlives views: it is found again by its address, with its breakers and its parked
 * connections. One owner thread; memory of connections is used again. */
#ifndef FM_PROXY_UPSTREAM_H
#define FM_PROXY_UPSTREAM_H

#include "core/breaker.h"
#include "http/client.h"
#include "proxy/view.h"

enum { FM_UPSTREAM_BUCKETS = 256, FM_UPSTREAM_IDLE_MAX = 256 };

struct fm_upstreams {
    struct fm_loop *loop;
    const struct fm_http_limits *limits;
    struct fm_http_field *fields;
    const struct fm_http_client_handler *handler;
    struct fm_list bucket[FM_UPSTREAM_BUCKETS];
    struct fm_list spare; /* connections' memory */
    size_t nconns;
    struct fm_timer reaper;
    bool stopping;
};

struct fm_upstream {
    struct fm_list node;
    struct fm_addr addr;
    struct fm_tls *tls; /* what new connections speak; NULL for plain */
    char peer[256];     /* whose certificate they expect, with tls */
    uint32_t views;     /* how many views of this worker name it, as endpoints */
    bool current;       /* one of them is the current one: its connections are worth keeping */
    /* Two reasons to stay away: nobody listens (that makes a region unreachable), and answers that
     * fail (that only makes other instances the better choice). */
    struct fm_breaker link, answers;
    uint32_t in_flight;
    uint32_t nconns, nidle;
    struct fm_list idle; /* last parked first */
};

struct fm_upconn {
    struct fm_http_client http;
    struct fm_upstreams *all;
    struct fm_upstream *up;
    struct fm_list node; /* idle or spare */
    struct fm_mono idle_since;
    void *data; /* the try that uses it */
    bool reused;
};

extern const struct fm_breaker_policy fm_upstream_link_policy, fm_upstream_answers_policy;

void fm_upstreams_init(struct fm_upstreams *u, struct fm_loop *l,
                       const struct fm_http_client_handler *handler,
                       const struct fm_http_limits *limits, struct fm_http_field *fields);
/* Close parked connections; those in use end with their owners. Then run the loop until nconns == 0
 * and deinit. */
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

/* A connection to use: parked for less than fresh_ns, or a new one (http.connecting). NULL with
 * *err where the kernel says no at once. */
struct fm_upconn *fm_upconn_acquire(struct fm_upstreams *u, struct fm_upstream *up,
                                    int64_t fresh_ns, struct fm_mono connect_deadline,
                                    enum fm_err *err);
/* Give it back: parked if it may be used again, else closed. */
void fm_upconn_release(struct fm_upconn *c);
void fm_upconn_close(struct fm_upconn *c);

/* For the handler's callbacks. */
static inline struct fm_upconn *fm_upconn_of(struct fm_http_client *h)
{
    return fm_container_of(h, struct fm_upconn, http);
}
/* The handler's `failed` for a connection that nobody uses, and `closed` for every one. */
void fm_upconn_failed_idle(struct fm_upconn *c);
void fm_upconn_closed(struct fm_upconn *c);

#endif
