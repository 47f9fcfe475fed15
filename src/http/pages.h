/* http/pages.h: a few read-only pages over HTTP, for admin listeners and local sockets.
 *
 * A table of paths and functions that write a page. GET and HEAD only; everything else is 404 or
 * 405. Runs on one loop, beside other work: not for many clients. */
#ifndef FM_HTTP_PAGES_H
#define FM_HTTP_PAGES_H

#include "http/server.h"

enum { FM_PAGES_CONNS_MAX = 64 };

struct fm_page_request {
    struct fm_str path, query; /* the query with its "?" */
    void *user;
};

struct fm_page_answer {
    unsigned status;
    const char *content_type;
    char *body; /* from malloc; may be NULL for an empty page */
    size_t n;
};

struct fm_page {
    const char *path;
    void (*write)(const struct fm_page_request *q, struct fm_page_answer *a);
};

struct fm_pages {
    struct fm_http_server server;
    const struct fm_page *pages; /* ends with a NULL path */
    void *user;
};

enum fm_err fm_pages_init(struct fm_pages *p, struct fm_loop *l, const struct fm_page *pages,
                          void *user, struct fm_error *e) FM_WARN_UNUSED;
void fm_pages_close_all(struct fm_pages *p);
void fm_pages_deinit(struct fm_pages *p);

/* For a listener's `accepted`. Past FM_PAGES_CONNS_MAX connections the next ones are told so, past
 * twice as many they are closed at once. */
void fm_pages_accept(struct fm_pages *p, int fd, const struct fm_addr *from);

#endif
