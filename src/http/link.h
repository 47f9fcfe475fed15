/* http/link.h: a connection to a peer that carries one request after the other, or one stream.
 *
 * The owner embeds it (zeroed at first) and keeps it until `closed`. A link goes to one address for
 * as long as it is open; who wants another closes it first. Answers are held whole, up to a bound
 * of the asker's; streams are lines of text. `sent` says whether the peer may have seen a byte of
 * the request; until then a failure means that nothing happened. One loop, one thread. */
#ifndef FM_HTTP_LINK_H
#define FM_HTTP_LINK_H

#include "http/client.h"

struct fm_http_link;

struct fm_http_link_ops {
    /* The head of an answer, before the rest of it; may be NULL. The link is not touched from here.
     */
    void (*head)(struct fm_http_link *l, const struct fm_http_head *h);
    /* An answer is there as a whole (not for streams): status, and the body, valid until this
     * returns. The link may be asked again from here where it is `ready`. */
    void (*answered)(struct fm_http_link *l, unsigned status, struct fm_str body);
    /* A message of a stream: a line without its end. NULL where no stream is asked for. */
    void (*message)(struct fm_http_link *l, struct fm_str line);
    /* It is over, and the link closed: err is -errno or 0 for the end of the stream. */
    void (*failed)(struct fm_http_link *l, int err, const char *why);
    void (*closed)(struct fm_http_link *l);
};

struct fm_http_link {
    struct fm_http_client http;
    struct fm_loop *loop;
    const struct fm_http_link_ops *ops;
    bool open;   /* between connect and `closed` */
    bool ready;  /* parked, for another request */
    bool busy;   /* a request is on its way */
    bool stream; /* of messages, for as long as both want */
    bool discard;
    bool sent;
    uint8_t method;
    unsigned status;
    int64_t idle_ms;         /* of a stream */
    struct fm_mono deadline; /* of the answer */
    struct fm_tls *tls;      /* a reference, while it is open */
    char *out;               /* head and body */
    size_t out_n;
    char *in;
    size_t in_n, in_cap, in_max;
};

/* One request: a link that is not open connects first. `body` (from malloc, JSON) is taken over
 * whatever happens; without one it is a GET, else a POST. The peer has until `deadline`; to
 * connect, with the handshake of TLS, until `connect`. A stream may be silent for idle_ms; 0 = it
 * is no stream. Everything else is the caller's and only read during the call. */
struct fm_http_ask {
    const struct fm_addr *to;
    struct fm_tls *tls;  /* speak TLS; NULL: plain */
    const char *peer;    /* with tls: the name or address its certificate must be for */
    const char *target;  /* path with query, up to FM_HTTP_LINK_TARGET_MAX bytes */
    const char *host;    /* the header Host, up to 272 bytes */
    const char *token;   /* the header Authorization, up to 1,024 bytes; NULL or "": none */
    const char *headers; /* up to 256 bytes of more lines, each with its CRLF; NULL: none */
    char *body;
    size_t body_n;
    char *raw; /* instead of all that from `target` on: a request as it is sent, of the method
                  raw_method; from malloc, taken over whatever happens */
    size_t raw_n;
    enum fm_http_method raw_method;
    bool discard;      /* the answer's body is read to its end, and nothing is kept of it */
    size_t answer_max; /* bytes of the answer's body, or of a line of the stream */
    struct fm_mono connect, deadline;
    int64_t idle_ms;
};
enum { FM_HTTP_LINK_TARGET_MAX = 1024, FM_HTTP_LINK_HEADERS_MAX = 256 };

/* FM_ERR_UNREACHABLE, FM_ERR_MEMORY: not begun, `failed` does not follow (`closed` does, where the
 * link was open: the peer had closed it while it was idle). */
enum fm_err fm_http_link_ask(struct fm_http_link *l, struct fm_loop *loop,
                             const struct fm_http_link_ops *ops, const struct fm_http_ask *a,
                             struct fm_error *e) FM_WARN_UNUSED;
/* `closed` follows, `failed` does not. Only while it is open. */
void fm_http_link_close(struct fm_http_link *l);

#endif
