/* http/pages.h: a few pages over HTTP, for admin and peer listeners and local sockets.
 *
 * A table of paths and functions that write a page. GET and HEAD; a page that says so also takes
 * POST with a body of JSON (Content-Type: application/json, so that no other site's form can send
 * it), which it sees as a whole. Everything else is 404, 405, 413 or 415. A page may answer later.
 * Runs on one loop, beside other work: not for many clients. */
#ifndef FM_HTTP_PAGES_H
#define FM_HTTP_PAGES_H

#include "http/server.h"

enum { FM_PAGES_CONNS_MAX = 64, FM_PAGES_BODY_MAX = 1 << 20 };

struct fm_page_call;

/* Views are valid until `write` returns. */
struct fm_page_request {
    struct fm_str path, query; /* the query with its "?" */
    void *user;
    enum fm_http_method method; /* GET, HEAD or POST; what is answered to HEAD loses its body */
    struct fm_str body;         /* of a POST, up to FM_PAGES_BODY_MAX bytes */
    struct fm_str
        upgrade;      /* what the client wants to speak instead of HTTP; of a GET, else empty */
    const char *peer; /* the name in the client's verified certificate; NULL where it has none */
    struct fm_page_call *call; /* for fm_page_later and fm_page_take */
};

struct fm_page_answer {
    unsigned status;
    const char *content_type;
    char *body; /* from malloc; may be NULL for an empty page */
    size_t n;
};
/* What `write` is handed, to be filled in. */
#define FM_PAGE_ANSWER                                                                             \
    (struct fm_page_answer)                                                                        \
    {                                                                                              \
        .status = 200, .content_type = "text/plain; charset=utf-8"                                 \
    }

/* application/problem+json (RFC 9457), from 400 on; without memory the status alone. */
void fm_page_problem(struct fm_page_answer *a, unsigned status, const char *why);

struct fm_page {
    const char *path; /* one that ends with "/" is that of all below it, too */
    void (*write)(const struct fm_page_request *q, struct fm_page_answer *a);
    bool posts; /* it takes POST */
};

struct fm_pages {
    struct fm_http_server server;
    const struct fm_page *pages; /* ends with a NULL path */
    void *user;
    size_t conns_max; /* FM_PAGES_CONNS_MAX, unless the owner sets another after init */
};

enum fm_err fm_pages_init(struct fm_pages *p, struct fm_loop *l, const struct fm_page *pages,
                          void *user, struct fm_error *e) FM_WARN_UNUSED;
/* Who waits is told `left`. */
void fm_pages_close_all(struct fm_pages *p);
void fm_pages_deinit(struct fm_pages *p);

/* For a listener's `accepted`. Past conns_max connections the next ones are told so, past twice as
 * many they are closed at once. */
void fm_pages_accept(struct fm_pages *p, int fd, const struct fm_addr *from);

/* -------- answering later -------- */

struct fm_page_wait;

/* From inside `write`, once: the answer comes later, by fm_page_answer; what `write` leaves in its
 * answer is not looked at. `left(user)` is called where the client leaves before that, or the pages
 * are closed; the wait is gone then. Nobody else ends the wait: the page bounds its time. NULL
 * where the client has left already, or without memory: then there is nothing to answer, and nobody
 * to begin something for. */
struct fm_page_wait *fm_page_later(const struct fm_page_request *q, void (*left)(void *user),
                                   void *user) FM_WARN_UNUSED;
/* Takes over a->body. Also from inside `write`. */
void fm_page_answer(struct fm_page_wait *w, const struct fm_page_answer *a);

/* From inside `write`, instead of an answer: the page takes the connection, and answers itself (as
 * fm_http_conn_release). */
bool fm_page_take(const struct fm_page_request *q, struct fm_sock_parcel *out) FM_WARN_UNUSED;

#endif
