/* proxy/request.h: one request and its tries, as the proxy's files share them.
 *
 * core/exchange.h decides; request.c receives and feeds it, plan.c says which regions it may go to,
 * try.c talks to upstreams, evidence.c says what came of it, relay.c passes answers on, access.c
 * writes the log line. What only one region may take: place.c finds its cell, hold.c keeps it at an
 * edge while nobody takes it, admit.c lets it through a gate, or onward.c passes it on to another
 * one, record.c writes it into the journal, queue.c says what became of what is kept there for
 * later. Private to src/proxy. */
#ifndef FM_PROXY_REQUEST_H
#define FM_PROXY_REQUEST_H

#include "core/deadline.h"
#include "core/onward.h"
#include "journal/journal.h"
#include "proxy/heads.h"
#include "proxy/queued.h"
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
    struct fm_upwait wait;  /* for one */
    struct fm_upstream *up;
    struct fm_target *target;
    struct fm_timer orphan_timer;
    struct fm_mono began, sent_at;
    uint16_t region, context;
    uint8_t index; /* of the attempt in the exchange */
    bool is_hedge, budgeted;
    bool one_gate; /* no other gate of the region may take it */
    bool owed, reported, succeeded, sent_all, holding, canary;
    bool whole;            /* all of the request was sent: an answer is due */
    struct fm_epoch epoch; /* the authority that it was sent under; 0 = none */
    bool answer_close;     /* the client's connection cannot be kept behind this answer */
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
    struct fm_forward_at at;
    size_t body_at;        /* where the body begins in out[0] */
    struct fm_str pending; /* a piece that did not fit: the first to be streamed */
    bool pending_last, collecting, streaming, body_done, upload_busy;
    /* time */
    struct fm_timer timer;
    struct fm_mono start, total_deadline, hedge_at, silence_at;
    int64_t patience_ns;            /* for its answer, once all of it is here */
    uint64_t body_length;           /* where it was said */
    uint8_t method, minor, framing; /* framing: of its body, enum fm_http_framing */
    bool upgrade, tunnel, tunnel_up_done, tunnel_down_done, command, fail_open;
    bool head_sent, client_gone, from_journal, kept_close;
    /* what only one region may take */
    struct fm_seats_context *seats; /* NULL: any region may */
    uint8_t repeat;                 /* enum fm_repeat */
    uint8_t cell;
    uint8_t said_cell;    /* of a gate: the edge's, where `said` */
    bool said;            /* ... names one */
    bool placed;          /* its cell is known */
    bool entered;         /* of a gate: it is counted as in flight */
    bool held, was_held;  /* of an edge */
    bool maybe_executed;  /* of an edge: by an attempt whose outcome is not known */
    bool override;        /* it is taken without authority, and is written down for that */
    bool queue;           /* it goes into the queue of a region; at an edge: it was sent there */
    bool asks_place;      /* it is no command, but asks what became of one that was queued */
    bool round;           /* of an edge: it goes to its holder by way of another region */
    bool one_gate;        /* its key has one gate in each region: the one of `gate_key` */
    bool may_relay;       /* of a gate: it may be passed on to another one */
    bool relayed;         /* of a gate: it came from another one */
    bool onward;          /* of a gate: it was passed on, under `epoch` */
    bool delivered;       /* of a gate: it comes from the queue `ticket` of `first_epoch` */
    uint8_t place_region; /* asks_place */
    uint8_t round_of;     /* of an edge: 1 + the region that it was sent around to; 0 = none */
    uint64_t first_epoch;
    uint64_t gate_key;       /* core/keygate.h */
    struct fm_ticket ticket; /* its region is `ticket_region` */
    struct fm_epoch epoch;   /* it was admitted under (a query with a tunnel: it was held under);
                              * at an edge: it was sent under last */
    struct fm_mono held_since, look_at;
    struct fm_mono unknown_since; /* since it was sent in vain under this epoch */
    struct fm_epoch unknown_at;
    struct fm_list hold_node;
    struct fm_record *record; /* of a gate: what the journal knows of it */
    uint64_t affinity;
    bool sticky;
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
    char ticket_region[FM_TICKET_REGION_MAX];
    struct fm_key lane; /* of what is to be queued: what it is in order with */
};

/* A command in the journal. It may outlive its request. */
struct fm_record {
    struct fm_list node; /* spare */
    struct fm_worker *w;
    struct fm_request *rq; /* NULL: it is gone */
    struct fm_journal_call call;
    bool accepted; /* its intent is durable; it needs an outcome */
    bool entered;  /* its request was in flight; it still is, until this is over */
    uint8_t cell;  /* ... there */
    struct fm_seats_context *seats;
    bool forwarded;          /* the application may have seen it */
    bool answer_whole;       /* all of the answer is here */
    bool answer_kept;        /* ... and fits */
    uint16_t status;         /* of the application's answer; 0 = none yet */
    struct fm_block *answer; /* head, then body */
    uint32_t head_n;
    char *parcel;    /* ENQUEUE: what is kept */
    bool client_key; /* its key is its client's */
    char context[FM_JOURNAL_CONTEXT_MAX + 1], key[FM_IDEM_KEY_MAX];
    uint16_t key_n;
};

/* request.c */
/* All of it that is wanted is here (or it is streamed), and it may go. */
void fm_request_go(struct fm_request *rq, const struct fm_route_plan *plan);
/* It comes to nothing: answer, or hold it where somebody may take it yet. */
void fm_request_fail(struct fm_request *rq, enum fm_problem p);
/* What is here of its body, without the framing of chunks, piece by piece. */
void fm_request_body(const struct fm_request *rq, void (*take)(void *user, struct fm_str piece),
                     void *user);
void fm_request_feed(struct fm_request *rq, struct fm_exchange_event ev);
void fm_request_free(struct fm_request *rq);
void fm_request_arm(struct fm_request *rq);
uint32_t fm_request_left_regions(const struct fm_request *rq);
/* Some endpoint of the region's pool for this context is not known dead. */
bool fm_pool_is_reachable(const struct fm_view_ref *vr, unsigned region, unsigned context,
                          struct fm_mono now);

/* plan.c */
/* What decides between regions, from its head; only where routing asks for it. */
void fm_plan_prepare(struct fm_request *rq, const struct fm_http_head *h,
                     const struct fm_match_result *m);
/* The regions that may answer, the best first. May claim a canary: of any region, of `canary` or of
 * none. */
enum { FM_CANARY_OF_ANY = -1, FM_CANARY_OF_NONE = -2 };
void fm_plan_route(struct fm_request *rq, int canary, struct fm_route_plan *plan);
/* Is this region given nothing now, by health or by what this worker saw? */
bool fm_plan_is_left(const struct fm_request *rq, unsigned region);
/* The same for what no other region may take: one that comes back gets it. */
bool fm_plan_is_away(const struct fm_request *rq, unsigned region);

/* place.c */
/* The cell that it is about, where its context has cells: from its head, ... */
enum fm_problem fm_place_head(struct fm_request *rq, const struct fm_http_head *h,
                              const struct fm_match_result *m);
/* ... or from its body, where the key is there. */
enum fm_problem fm_place_body(struct fm_request *rq);
/* Where gates stop doubles: which of a region's gates has this key. */
void fm_place_key(struct fm_request *rq, struct fm_str key);
/* Is it for one gate of this region, and for no other? */
bool fm_place_has_one(const struct fm_request *rq, unsigned region);
/* Which one; FM_NO_GATE: any. */
uint16_t fm_place_gate(const struct fm_request *rq, unsigned region);
/* Its regions, where the context has cells and it is a query. */
void fm_place_plan_query(struct fm_request *rq, struct fm_route_plan *plan);

/* hold.c: at an edge */
/* A command whose cell is known: to its holder, or into the queue. */
void fm_hold_go(struct fm_request *rq);
/* May it wait where nobody takes it, or the answer says that it failed? */
bool fm_hold_waits(const struct fm_request *rq);
/* Nobody took it. False: it cannot be held, answer it. */
bool fm_hold_take(struct fm_request *rq, enum fm_problem why);
void fm_hold_timer(struct fm_request *rq);
void fm_hold_drop(struct fm_request *rq);
void fm_hold_look_again(struct fm_worker *w);
/* May the success that this try brought go to the client? (SAFETY.md 13) */
bool fm_hold_passes(const struct fm_try *t);

/* admit.c: at a gate */
/* The edge says that its holder is away, and the route lets this region take it then. Is it so, as
 * far as is known from its head? */
bool fm_admit_override(const struct fm_request *rq, const struct fm_http_head *h);
/* Is it so, now that its cell is known? */
bool fm_admit_overrides(const struct fm_request *rq);
/* Count it as in flight and look whether it may begin. */
enum fm_admit fm_admit_command(struct fm_request *rq);
enum fm_problem fm_admit_problem(enum fm_admit a);
/* Is its key this gate's, by what new requests are judged by? */
enum fm_problem fm_admit_key(const struct fm_request *rq);
bool fm_admit_is_live(const struct fm_request *rq);
bool fm_admit_passes(const struct fm_try *t);
/* May a success that the journal has of this epoch be told again? (SAFETY.md 13) */
enum fm_problem fm_admit_repeat(const struct fm_request *rq, unsigned cell, uint64_t epoch);
void fm_admit_leave(struct fm_request *rq);
struct fm_str fm_admit_mode(const struct fm_request *rq);
/* A tunnel goes on for long: it begins, and may it go on? One of a query counts from now on as held
 * here, if it is. */
void fm_admit_tunnel(struct fm_request *rq);
bool fm_admit_stays(const struct fm_request *rq);
/* Something was published: cut the tunnels that may not go on. */
void fm_admit_look_again(struct fm_worker *w);

/* onward.c */
/* At a gate: was this command passed on to it, and may it pass it on? */
void fm_onward_prepare(struct fm_request *rq, const struct fm_http_head *h);
/* At a gate that has refused it for this reason. False: that is the answer. */
bool fm_onward_go(struct fm_request *rq, enum fm_admit why);
bool fm_onward_answer_passes(const struct fm_try *t);
/* At an edge: to another region's gate, since its holder's are not heard. False: no. */
bool fm_onward_go_round(struct fm_request *rq, const struct fm_view_cell *cell);
bool fm_onward_goes_round(const struct fm_request *rq, const struct fm_view_cell *cell);
/* The head of an answer to it has come. */
void fm_onward_heard(const struct fm_try *t);

/* queue.c */
/* At a gate: does the edge ask to keep this command for later, and may this gate? */
bool fm_queue_wanted(const struct fm_request *rq, const struct fm_http_head *h);
/* At a gate: is this the delivery of one that was kept? */
void fm_queue_delivery(struct fm_request *rq, const struct fm_http_head *h);
/* A path that is Fulmar's own: where it leads. NONE: to a place in a queue. */
enum fm_problem fm_queue_route(struct fm_request *rq, const struct fm_http_head *h,
                               struct fm_str path);
/* Which way to a place: at an edge to the gates of its region, at a gate into the journal. */
void fm_queue_ask(struct fm_request *rq);
/* It is in the queue (or is there already): 202. */
void fm_queue_accepted(struct fm_request *rq, const struct fm_journal_call *c);
/* What the journal says of a place. */
void fm_queue_told(struct fm_request *rq, const struct fm_journal_call *c);

/* record.c: at a gate */
/* An empty one, of this request; NULL without memory. */
struct fm_record *fm_record_new(struct fm_request *rq) FM_WARN_UNUSED;
/* Does this command go into the journal? Then take its key along. */
enum fm_problem fm_record_prepare(struct fm_request *rq, const struct fm_http_head *h);
/* Make its intent durable; it goes on from there. */
void fm_record_begin(struct fm_request *rq);
/* Keep it for later instead. */
void fm_record_enqueue(struct fm_request *rq);
void fm_record_answer(struct fm_try *t, const struct fm_http_head *h);
void fm_record_piece(struct fm_request *rq, struct fm_str piece, bool last);
/* The request is over, however it ended. */
void fm_record_end(struct fm_request *rq);

/* try.c */
enum fm_problem fm_try_start(struct fm_request *rq, unsigned index, unsigned region, bool hedge,
                             bool budgeted, bool canary, bool *started);
/* The request does not want it any more. It may live on as an orphan. */
void fm_try_cancel(struct fm_try *t);
/* End the orphans: nobody will look at their evidence any more. */
void fm_try_end_orphans(struct fm_worker *w);
/* Its answer has been read (or not): give the connection back, count, free. */
void fm_try_finish(struct fm_try *t);
/* It was sent, at least in part, and nothing of its answer is passed on any more. */
void fm_try_give_up(struct fm_try *t, enum fm_problem why);
/* A streamed body: send a piece; wait for the client's next one; the last one was sent. */
void fm_try_upload(struct fm_try *t, struct fm_str piece);
void fm_try_between_pieces(struct fm_try *t);
void fm_try_all_sent(struct fm_try *t);

/* evidence.c */
/* What is known of one instance; for one request (or NULL) also whether it was tried. */
struct fm_instance fm_try_look_at(const struct fm_request *rq, const struct fm_view_endpoint *e,
                                  const struct fm_upstream *up, struct fm_mono now);
/* How it ended; the first word counts. */
void fm_try_report(struct fm_try *t, enum fm_outcome o);
/* Nobody listens there: it said so, other than a connection that only took too long. */
void fm_try_report_refused(struct fm_try *t);
/* A first byte has come: the region is alive, whatever it says. */
void fm_try_heard(struct fm_try *t);
/* Its answer could be relayed from now on: that is what hedges wait for. */
void fm_try_learn(struct fm_try *t);
/* No answer is due any more. */
void fm_try_not_owed(struct fm_try *t);
struct fm_board_slot *fm_try_slot(const struct fm_try *t);
void fm_target_leave(struct fm_worker *w, struct fm_view_ref *vr, unsigned region,
                     unsigned context);
/* Is its region silent, or, of a canary, is it not answered? Then control is told. */
void fm_try_check_silence(const struct fm_try *t);

/* relay.c */
/* An answer that a journal had kept: its head's fields and its body. */
void fm_relay_kept(struct fm_request *rq, const struct fm_journal_answer *a);
/* Pass on a 1xx answer other than 100, where nobody else may still answer. */
void fm_relay_interim(struct fm_try *t, const struct fm_http_head *h);
bool fm_relay_prepare(struct fm_try *t, const struct fm_http_head *h);
void fm_relay_start(struct fm_request *rq, struct fm_try *t);
void fm_relay_piece(struct fm_try *t, struct fm_str piece, bool last);
void fm_relay_sent(struct fm_request *rq);
void fm_relay_broken(struct fm_request *rq);
/* End a tunnel, for both sides. */
void fm_relay_cut(struct fm_request *rq);
void fm_relay_problem(struct fm_request *rq, enum fm_problem p);
/* With another status than its usual one. */
void fm_relay_problem_as(struct fm_request *rq, enum fm_problem p, unsigned status);
void fm_relay_client_piece(struct fm_request *rq, struct fm_str piece, bool last);
void fm_relay_upload_sent(struct fm_try *t);

/* access.c */
void fm_access_log(struct fm_request *rq);
void fm_access_flush(struct fm_worker *w);

#endif
