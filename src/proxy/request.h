/* proxy/request.h: one request and its tries, as the proxy's files share them.
 *
 * core/exchange.h decides; request.c routes and feeds it, try.c talks to upstreams, relay.c passes
 * answers on, access.c writes the log line. Private to src/proxy. */
#ifndef FM_PROXY_REQUEST_H
#define FM_PROXY_REQUEST_H

#include "core/deadline.h"
#include "proxy/heads.h"
#include "proxy/worker.h"

enum { FM_LOG_PATH_MAX = 160 };

/* One attempt. It may outlive its request, as an orphan that lost a race: its answer, or its
 * silence, is still evidence. */
struct fm_try {
    struct fm_list node;   /* spare, or in target->owed or ->held */
    struct fm_list all;    /* in worker->tries */
    struct fm_request *rq; /* NULL for an orphan */
    struct fm_worker *w;
    struct fm_view_ref *vr;
    const struct fm_view_route *route;
    struct fm_upconn *conn; /* NULL before and after */
    struct fm_upstream *up;
    struct fm_target *target;
    struct fm_timer orphan_timer;
    struct fm_mono began, sent_at;
    uint16_t region, context;
    uint8_t index; /* of the attempt in the exchange */
    bool is_hedge, budgeted;
    bool owed, reported, succeeded, sent_all, holding, canary;
    bool whole;        /* all of the request was sent: an answer is due */
    bool answer_close; /* the client's connection cannot be kept behind this answer */
    uint16_t status;
    uint8_t problem;
    struct fm_block *head; /* the answer's head as it goes to the client */
    struct fm_str piece;   /* of the answer's body, in hand */
    bool piece_is_last, has_piece;
};

struct fm_request {
    struct fm_list node;
    struct fm_worker *w;
    struct fm_http_conn *conn;
    struct fm_view_ref *vr;
    const struct fm_view_route *route;
    struct fm_exchange x;
    struct fm_try *attempt[FM_ATTEMPTS_MAX];
    const struct fm_upstream *tried[FM_ATTEMPTS_MAX]; /* compared only */
    struct fm_try *relay;                             /* whose answer is relayed */
    struct fm_try *upload;                            /* who gets the streamed body */
    /* the request as it is sent on */
    struct fm_block *out[FM_REPLAY_BLOCKS];
    unsigned nout;
    uint32_t collected; /* bytes of body in out */
    size_t deadline_at;
    struct fm_str pending; /* a piece that did not fit: the first to be streamed */
    bool pending_last, collecting, streaming, body_done, upload_busy;
    /* time */
    struct fm_timer timer;
    struct fm_mono start, total_deadline, hedge_at, silence_at;
    int64_t patience_ns; /* for its answer, once all of it is here */
    uint8_t method, minor;
    bool upgrade, tunnel, tunnel_up_done, tunnel_down_done, command, fail_open;
    bool head_sent, client_gone;
    uint8_t canary_region; /* index + 1 of the region whose canary token this request holds */
    uint16_t context, answered_region;
    uint16_t status;
    uint8_t problem;
    uint64_t bytes_out;
    char ref[FM_REF_LEN];
    /* for the access log */
    bool log;
    uint8_t tries, log_method_n, log_path_n;
    char log_method[16], log_path[FM_LOG_PATH_MAX], log_trace[32];
};

/* request.c */
void fm_request_feed(struct fm_request *rq, struct fm_exchange_event ev);
void fm_request_free(struct fm_request *rq);
void fm_request_arm(struct fm_request *rq);
uint32_t fm_request_left_regions(const struct fm_request *rq);
/* Some endpoint of the region's pool for this context is not known dead. */
bool fm_pool_is_reachable(const struct fm_view_ref *vr, unsigned region, unsigned context,
                          struct fm_mono now);

/* try.c */
enum fm_problem fm_try_start(struct fm_request *rq, unsigned index, unsigned region, bool hedge,
                             bool budgeted, bool canary, bool *started);
/* The request does not want it any more. It may live on as an orphan. */
void fm_try_cancel(struct fm_try *t);
/* End the orphans: nobody will look at their evidence any more. */
void fm_try_end_orphans(struct fm_worker *w);
/* Its answer has been read (or not): give the connection back, count, free. */
void fm_try_finish(struct fm_try *t);
void fm_target_leave(struct fm_worker *w, struct fm_view_ref *vr, unsigned region,
                     unsigned context);
/* Is its region silent, or, of a canary, is it not answered? Then control is told. */
void fm_try_check_silence(const struct fm_try *t);
/* A streamed body: send a piece; wait for the client's next one; the last one was sent. */
void fm_try_upload(struct fm_try *t, struct fm_str piece);
void fm_try_between_pieces(struct fm_try *t);
void fm_try_all_sent(struct fm_try *t);

/* relay.c */
/* Pass on a 1xx answer other than 100, where nobody else may still answer. */
void fm_relay_interim(struct fm_try *t, const struct fm_http_head *h);
bool fm_relay_prepare(struct fm_try *t, const struct fm_http_head *h);
void fm_relay_start(struct fm_request *rq, struct fm_try *t);
void fm_relay_piece(struct fm_try *t, struct fm_str piece, bool last);
void fm_relay_sent(struct fm_request *rq);
void fm_relay_broken(struct fm_request *rq);
void fm_relay_problem(struct fm_request *rq, enum fm_problem p);
void fm_relay_client_piece(struct fm_request *rq, struct fm_str piece, bool last);
void fm_relay_upload_sent(struct fm_try *t);

/* access.c */
void fm_access_log(struct fm_request *rq);
void fm_access_flush(struct fm_worker *w);

#endif
