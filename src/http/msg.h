/* http/msg.h: what an HTTP/1.1 message head is to the rest of Fulmar (RFC 9110, RFC 9112).
 *
 * A head is parsed in place: every view looks into the buffer that the bytes came in, and the field
 * table is the caller's. Both live as long as the caller keeps the buffer. Nothing is allocated. */
#ifndef FM_HTTP_MSG_H
#define FM_HTTP_MSG_H

#include "base/assert.h"
#include "base/str.h"

#define FM_HTTP_FIELDS(X)                                                                          \
    X(HOST, "host")                                                                                \
    X(CONNECTION, "connection")                                                                    \
    X(CONTENT_LENGTH, "content-length")                                                            \
    X(TRANSFER_ENCODING, "transfer-encoding")                                                      \
    X(TE, "te")                                                                                    \
    X(TRAILER, "trailer")                                                                          \
    X(UPGRADE, "upgrade")                                                                          \
    X(EXPECT, "expect")                                                                            \
    X(KEEP_ALIVE, "keep-alive")                                                                    \
    X(PROXY_CONNECTION, "proxy-connection")                                                        \
    X(VIA, "via")                                                                                  \
    X(FORWARDED, "forwarded")                                                                      \
    X(X_FORWARDED_FOR, "x-forwarded-for")                                                          \
    X(X_FORWARDED_PROTO, "x-forwarded-proto")                                                      \
    X(X_FORWARDED_HOST, "x-forwarded-host")                                                        \
    X(TRACEPARENT, "traceparent")                                                                  \
    X(IDEMPOTENCY_KEY, "idempotency-key")                                                          \
    X(AUTHORIZATION, "authorization")                                                              \
    X(COOKIE, "cookie")                                                                            \
    X(CONTENT_TYPE, "content-type")                                                                \
    X(RETRY_AFTER, "retry-after")                                                                  \
    X(FULMAR_REF, "fulmar-ref")                                                                    \
    X(FULMAR_REGION, "fulmar-region")                                                              \
    X(FULMAR_AUTHORITY, "fulmar-authority")                                                        \
    X(FULMAR_DEADLINE, "fulmar-deadline")                                                          \
    X(FULMAR_MODE, "fulmar-mode")                                                                  \
    X(FULMAR_PROBLEM, "fulmar-problem")                                                            \
    X(FULMAR_QUEUED, "fulmar-queued")

enum fm_http_field_id {
    FM_HDR_OTHER,
#define X(id, name) FM_HDR_##id,
    FM_HTTP_FIELDS(X)
#undef X
        FM_HDR_FULMAR_OTHER, /* any other of the Fulmar- family */
    FM_HDR_DISGUISED, /* one of these with "_" for "-": CGI and WSGI take it for the real one */
    FM_HDR_COUNT
};

enum fm_http_field_id fm_http_field_id(struct fm_str name);

struct fm_http_field {
    struct fm_str name, value; /* value without the blanks around it */
    uint8_t id;                /* enum fm_http_field_id */
};

#define FM_HTTP_METHODS(X)                                                                         \
    X(GET, true)                                                                                   \
    X(HEAD, true)                                                                                  \
    X(POST, false)                                                                                 \
    X(PUT, false)                                                                                  \
    X(DELETE, false)                                                                               \
    X(OPTIONS, true)                                                                               \
    X(TRACE, true)                                                                                 \
    X(PATCH, false)                                                                                \
    X(CONNECT, false)

enum fm_http_method {
    FM_METHOD_OTHER,
#define X(name, safe) FM_METHOD_##name,
    FM_HTTP_METHODS(X)
#undef X
        FM_METHOD_COUNT
};

enum fm_http_method fm_http_method_id(struct fm_str name);
/* Safe by definition (RFC 9110 section 9.2.1); an unknown method is not. */
bool fm_http_method_is_safe(enum fm_http_method m);

enum fm_http_framing {
    FM_BODY_NONE,
    FM_BODY_LENGTH,
    FM_BODY_CHUNKED,
    FM_BODY_CLOSE, /* a response that ends with the connection */
};

enum { FM_HTTP_FIELDS_MAX = 256 };
_Static_assert(FM_HTTP_FIELDS_MAX <= INT16_MAX && FM_HDR_COUNT <= UINT8_MAX, "as `known` and `id`");

struct fm_http_head {
    size_t size; /* of the head in its buffer, with the empty line */

    /* request */
    uint8_t method; /* enum fm_http_method */
    struct fm_str method_name, target;
    struct fm_str host;  /* of an absolute target, else of the Host field; with its port */
    struct fm_str path;  /* of the target, as sent, without the query; "*" for OPTIONS * */
    struct fm_str query; /* with its "?"; empty where there is none */
    bool absolute;       /* the target was in absolute-form */

    /* response */
    unsigned status;
    struct fm_str status_text; /* "200 OK", as sent */

    unsigned minor; /* HTTP/1.minor: 0 or 1 */
    struct fm_http_field *field;
    unsigned nfields;
    int16_t known[FM_HDR_COUNT]; /* index of the first field of each id, or -1 */

    enum fm_http_framing framing;
    uint64_t length; /* for FM_BODY_LENGTH */
    bool keep_alive;
    bool upgrade; /* to websocket, without a body. Other protocols are not offered to servers:
                     behind h2c a client could say what nobody here has looked at */
    bool expect_continue;
    bool te_trailers;
    bool names_fields; /* Connection names fields besides the usual options */
};

static inline struct fm_str fm_http_value(const struct fm_http_head *h, enum fm_http_field_id id)
{
    FM_ASSERT((unsigned)id < FM_HDR_COUNT);
    int i = h->known[id];
    return i < 0 ? (struct fm_str){NULL, 0} : h->field[i].value;
}

static inline bool fm_http_has(const struct fm_http_head *h, enum fm_http_field_id id)
{
    return h->known[id] >= 0;
}

/* The value of cookie `name` (RFC 6265 section 5.4); NULL where it is not there. */
struct fm_str fm_http_cookie(const struct fm_http_head *h, struct fm_str name);
/* The first field of that name, whatever its case; NULL where it is not there. */
struct fm_str fm_http_find(const struct fm_http_head *h, struct fm_str name);

/* Does a Connection field name this option? Compared without case. */
bool fm_http_connection_names(const struct fm_http_head *h, struct fm_str option);

const char *fm_http_reason(unsigned status);

#endif
