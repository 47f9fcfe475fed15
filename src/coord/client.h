/* coord/client.h: the inside of a client of coordination. Private to src/coord.
 *
 * coord.c takes operations in, bounds and times them; hello.c makes an endpoint trusted; exchange.c
 * carries operations over it and judges the answers; watch.c and survey.c are what their names say.
 *
 * There is one current endpoint. It is used once it is `checked`: it took our password and answered
 * a linearizable read of the stamp, so it has a quorum and is the store that we know. What goes
 * wrong there makes us leave it for the next one, for a while that grows. */
#ifndef FM_COORD_CLIENT_H
#define FM_COORD_CLIENT_H

#include "coord/wire.h"
#include "http/link.h"

enum { FM_COORD_SLOTS = 4 };

struct fm_coord_place {
    struct fm_coord *coord;
    char text[320], host[256], header[272];
    struct fm_addr addr;
    bool known; /* addr is good */
    struct fm_lookup lookup;
    uint64_t other;            /* the cluster it is of, where that is not ours; 0 = none */
    unsigned fails;            /* in a row */
    struct fm_mono not_before; /* it rests until then */
};

struct fm_coord_slot {
    struct fm_http_link link; /* first */
    struct fm_coord *coord;
    unsigned place;
    struct fm_coord_op *op; /* NULL: free */
};

enum fm_coord_step { FM_COORD_STEP_LOGIN, FM_COORD_STEP_READ, FM_COORD_STEP_STAMP };

struct fm_coord_hello {
    struct fm_http_link link; /* first */
    struct fm_coord *coord;
    enum fm_coord_step step;
    unsigned place;
    uint64_t floor;
};

struct fm_coord_survey;

struct fm_coord {
    struct fm_loop *loop;
    struct fm_coord_config config; /* its texts are copies below */
    char service[FM_COORD_SERVICE_MAX + 1], prefix_mem[FM_COORD_SERVICE_MAX + 16];
    struct fm_str prefix;
    char *login, *password_file;
    char *tls_file[3]; /* ca, cert, key; each may be NULL */
    bool secure;       /* endpoints with a port speak TLS */
    struct fm_tls *tls;
    struct fm_coord_place place[FM_COORD_ENDPOINTS_MAX];
    size_t nplace;
    unsigned at; /* the current one */
    bool checked, closing;
    struct fm_mono unchecked_since; /* where it is not */
    char token[FM_COORD_TOKEN_MAX];
    bool no_login; /* the store does not know users */
    struct fm_coord_slot slot[FM_COORD_SLOTS];
    struct fm_coord_hello hello;
    struct fm_list queue;    /* operations that wait */
    struct fm_list finished; /* complete, and to be told from the loop */
    size_t nops;             /* in either, or on their way */
    struct fm_list streams;
    size_t nstreams;
    struct fm_coord_survey *survey;
    struct fm_timer kick; /* to go on from the loop */
    struct fm_mono kick_at;
    /* what the store has shown */
    uint64_t cluster, revision, stamp_revision;
    char incarnation[FM_COORD_INCARNATION_MAX];
    enum fm_coord_why trouble;
    struct fm_error trouble_error, last; /* last: why the last endpoint was left */
};

/* coord.c */
/* Go on with whatever can go on. */
void fm_coord_run(struct fm_coord *c);
/* The same, later, from the loop. */
void fm_coord_kick(struct fm_coord *c, int64_t ms);
/* Call its `done`; only from the loop. The operation is the caller's from then on. */
void fm_coord_complete(struct fm_coord_op *op, enum fm_coord_outcome outcome,
                       enum fm_coord_why why);
/* Back to the front of the queue: it was not done, and may be sent again. */
void fm_coord_requeue(struct fm_coord_op *op);
/* Turn away from an endpoint, if it is the current one. `why` is for people. */
void fm_coord_leave(struct fm_coord *c, unsigned place, const char *why);
/* It answered well. */
void fm_coord_praise(struct fm_coord *c, unsigned place);
/* The store is not to be used any more: every operation fails. */
void fm_coord_set_trouble(struct fm_coord *c, enum fm_coord_why why, const char *fmt, ...)
    FM_PRINTF(3, 4);
/* Fail all that waits. */
void fm_coord_fail_all(struct fm_coord *c, enum fm_coord_why why, const char *msg);
/* Is the address of the place known and is it no rest? Else what is missing is begun. */
bool fm_coord_place_ready(struct fm_coord *c, unsigned place);
/* What a store has shown, against what it had shown when it was asked. */
enum fm_coord_sight { FM_COORD_SIGHT_GOOD, FM_COORD_SIGHT_OTHER, FM_COORD_SIGHT_BACK };
enum fm_coord_sight fm_coord_see(struct fm_coord *c, unsigned place,
                                 const struct fm_coord_answer *a, uint64_t floor);

/* A request to an endpoint: what all of them have in common. */
struct fm_http_ask fm_coord_ask_of(const struct fm_coord *c, unsigned place);

/* exchange.c */
void fm_coord_dispatch(struct fm_coord *c);
void fm_coord_slot_drop(struct fm_coord_slot *s);
/* hello.c */
void fm_coord_hello_run(struct fm_coord *c);
/* watch.c */
void fm_coord_streams_run(struct fm_coord *c);
void fm_coord_streams_end(struct fm_coord *c);
/* survey.c */
void fm_coord_survey_end(struct fm_coord *c);

#endif
