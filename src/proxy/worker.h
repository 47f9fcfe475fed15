/* proxy/worker.h: one worker of an edge or a gate: a thread with its own loop, listeners, upstream
 * connections and memory. Workers share nothing but the view and the board (both read-mostly). */
#ifndef FM_PROXY_WORKER_H
#define FM_PROXY_WORKER_H

#include "base/assert.h"
#include "base/rand.h"
#include "http/server.h"
#include "io/sink.h"
#include "proxy/metrics.h"
#include "proxy/upstream.h"
#include "proxy/view.h"

#include <pthread.h>

enum { FM_WORKER_LISTENERS_MAX = 16, FM_REPLAY_BLOCKS = 5, FM_ACCESS_BUFFER = 32 * 1024 };

struct fm_request;
struct fm_try;
struct fm_journal;

/* What this worker knows about one region for one context. */
struct fm_target {
    struct fm_leave leave;
    struct fm_latency answers; /* of first tries, until their answer could be relayed */
    struct fm_latency heard;   /* of all first bytes, also of tries that lost */
    struct fm_list owed;       /* tries sent and not answered by a byte, oldest first */
    unsigned nowed;
    struct fm_list held; /* tries whose answer has begun, and is passed on when it is whole */
    struct fm_mono last_heard, last_ok;
    int64_t pace_ns; /* core/latency.h */
    /* Of an edge: other regions' gates reached none of its gates either; then one command may look
     * again. Zero: they did, or were not asked. */
    struct fm_mono round_at;
    struct fm_list sweep;   /* in worker->sweeps: it was left, what is under way must leave too */
    struct fm_view_ref *of; /* whose it is; while it is in worker->sweeps, it uses that */
};

/* A view as one worker uses it. */
struct fm_view_ref {
    struct fm_list node;
    struct fm_view *view;
    uint32_t users;           /* requests and tries */
    struct fm_upstream **up;  /* per endpoint */
    struct fm_target *target; /* [region][context] */
};

struct fm_worker_config {
    enum fm_proxy_mode mode;
    unsigned index;
    struct fm_http_server_config http;
    uint32_t connections_max; /* of the process */
    uint32_t replay_body_bytes;
    int64_t tunnel_idle_ms;
    int64_t body_idle_ms;       /* of upstreams */
    struct fm_sink *access_log; /* or NULL */
    uint32_t access_sample_ppm;
    _Atomic uint32_t *connections; /* of the process, shared */
    struct fm_mailbox *control;    /* told when the thread ends; may be NULL */
    void (*ended)(struct fm_msg *m, void *user);
    struct fm_seats *seats;
    struct fm_journal *journal; /* of a gate whose contexts have keys; else NULL */
    /* Of a gate: it knows what the others of its region had taken; NULL: there is nothing to know
     */
    const _Atomic bool *caught_up;
};

struct fm_worker {
    struct fm_worker_config config;
    _Atomic uint64_t generation; /* of the view in use; read by control */
    pthread_t thread;
    struct fm_loop loop;
    struct fm_pool pool;
    struct fm_mailbox inbox;
    struct fm_http_server server;
    struct fm_listener listener[FM_WORKER_LISTENERS_MAX];
    unsigned nlisteners;
    struct fm_upstreams upstreams;
    struct fm_http_limits upstream_limits;
    struct fm_view_ref *view; /* the current one */
    struct fm_list views;     /* all of which something is still used */
    struct fm_list held;      /* requests that wait for somebody who may take them, oldest first */
    uint32_t nheld;
    struct fm_list spare_records;
    uint32_t records; /* that the journal has */
    struct fm_list requests, spare_requests, tries, spare_tries, sweeps;
    struct fm_timer sweeper, flusher, stopper;
    struct fm_rand rand;
    uint32_t ref_prefix;
    uint64_t ref_counter;
    uint32_t in_flight, retrying;
    bool draining, stopping;
    struct fm_mono awake; /* this loop heard nobody for a while before */
    struct fm_msg ended_msg;
    struct fm_proxy_metrics metrics;
    char *scratch; /* as large as what is kept of a request: its head, its path or its body */
    size_t scratch_size;
    char *access_buf;
    size_t access_n;
};

/* After a failure nothing is left to undo. */
enum fm_err fm_worker_init(struct fm_worker *w, const struct fm_worker_config *c, struct fm_view *v,
                           struct fm_error *e) FM_WARN_UNUSED;
/* Before the thread runs. */
enum fm_err fm_worker_listen(struct fm_worker *w, const struct fm_addr *at,
                             struct fm_error *e) FM_WARN_UNUSED;
enum fm_err fm_worker_start(struct fm_worker *w, struct fm_error *e) FM_WARN_UNUSED;
void fm_worker_join(struct fm_worker *w);
void fm_worker_deinit(struct fm_worker *w);

/* -------- from control, any time; each message is freed by the worker -------- */

/* Route by `v` from now on. */
void fm_worker_set_view(struct fm_worker *w, struct fm_view *v);
/* Health has taken a region out of service for a context: what is under way there leaves. */
void fm_worker_region_left(struct fm_worker *w, struct fm_view *v, unsigned region,
                           unsigned context);
/* Something was published in the seats. */
void fm_worker_authority_changed(struct fm_worker *w);
/* Replace what a reload may change. */
void fm_worker_set_config(struct fm_worker *w, const struct fm_worker_config *c);
/* Stop accepting, let requests finish, then end the thread; after finish_ms cut what is left. */
void fm_worker_drain(struct fm_worker *w, int64_t finish_ms);

/* -------- inside of the proxy -------- */

static inline struct fm_target *fm_target(const struct fm_view_ref *vr, unsigned region,
                                          unsigned context)
{
    FM_ASSERT(region < vr->view->nregions && context < vr->view->ncontexts);
    return &vr->target[region * vr->view->ncontexts + context];
}

void fm_view_ref_use(struct fm_view_ref *vr);
void fm_view_ref_drop(struct fm_worker *w, struct fm_view_ref *vr);

/* Draining, and nothing is left? Then the loop ends. */
void fm_worker_maybe_stop(struct fm_worker *w);

extern const struct fm_http_handler fm_request_handler;
extern const struct fm_http_client_handler fm_try_handler;
extern const struct fm_upwait_handler fm_try_waits;

#endif
