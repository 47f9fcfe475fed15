/* coord/link.h: a connection to an endpoint that carries one POST after the other, or one stream.
 * Private to src/coord.
 *
 * The owner embeds it and keeps it until `closed`. `sent` says whether the peer may have seen a
 * byte of the request; until then a failure means that nothing happened. Whether a link is
 * encrypted is decided in link_connect, and nowhere else. */
#ifndef FM_COORD_LINK_H
#define FM_COORD_LINK_H

#include "coord/coord.h"
#include "http/client.h"

struct fm_coord_link;

struct fm_coord_link_ops {
    /* An answer is there as a whole (not for streams): status, and the body in `in`. */
    void (*answered)(struct fm_coord_link *l, unsigned status, struct fm_str body);
    /* A message of a stream: a line without its end. */
    void (*message)(struct fm_coord_link *l, struct fm_str line);
    /* It is over, and the link closed: err is -errno or 0 for the end of the stream. */
    void (*failed)(struct fm_coord_link *l, int err, const char *why);
    void (*closed)(struct fm_coord_link *l);
};

struct fm_coord_link {
    struct fm_http_client http;
    struct fm_loop *loop;
    const struct fm_coord_link_ops *ops;
    bool open;   /* between connect and `closed` */
    bool ready;  /* parked, for another request */
    bool busy;   /* a request is on its way */
    bool stream; /* of messages, for as long as both want */
    bool sent;
    unsigned status;
    int64_t idle_ms;         /* of a stream */
    struct fm_mono deadline; /* of the answer */
    char *out;               /* head and body */
    size_t out_n;
    char *in;
    size_t in_n, in_cap;
};

/* One request: a link that is not open connects first. Takes over `body` (from malloc). The peer
 * has until `deadline`; to connect until `connect`. A stream may be silent for idle_ms; 0 = it is
 * no stream. */
struct fm_coord_post {
    const struct fm_addr *to;
    const char *path;
    const char *host;  /* the header Host */
    const char *token; /* NULL or "": none */
    char *body;
    size_t body_n;
    struct fm_mono connect, deadline;
    int64_t idle_ms;
};

/* FM_ERR_UNREACHABLE, FM_ERR_MEMORY: not begun, `failed` does not follow. */
enum fm_err fm_coord_link_post(struct fm_coord_link *l, struct fm_loop *loop,
                               const struct fm_coord_link_ops *ops, const struct fm_coord_post *p,
                               struct fm_error *e) FM_WARN_UNUSED;
/* `closed` follows, `failed` does not. Only while it is open. */
void fm_coord_link_close(struct fm_coord_link *l);

#endif
