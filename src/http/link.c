/* Links: see the header. Invariant: `busy` from a request until it is answered or has failed; a
 * link that failed is closed by its HTTP client, and says `closed` once. */
#include "http/link.h"

#include "base/assert.h"
#include "base/buf.h"

#include <errno.h>
#include <stdlib.h>

enum { HOST_MAX = 272, TOKEN_MAX = 1024 };
enum {
    HEAD_ROOM = FM_HTTP_LINK_TARGET_MAX + HOST_MAX + TOKEN_MAX + FM_HTTP_LINK_HEADERS_MAX + 256
};

static const struct fm_http_limits limits = {.head_bytes = 16 * 1024,
                                             .fields = 64,
                                             .body_bytes = UINT64_MAX, /* bounded here, by `in` */
                                             .ext_bytes = 1024,
                                             .trailer_bytes = 4096};

static struct fm_http_link *link_of(struct fm_http_client *h)
{
    return fm_container_of(h, struct fm_http_link, http);
}

static void fail(struct fm_http_link *l, int err, const char *why)
{
    FM_ASSERT(l->open && why);
    l->busy = l->ready = false;
    if (fm_http_client_is_open(&l->http))
        fm_http_client_close(&l->http);
    l->ops->failed(l, err, why);
}

/* -------- sending -------- */

static void send_request(struct fm_http_link *l)
{
    FM_ASSERT(l->busy && !l->ready && l->out_n > 0);
    struct iovec iov = {l->out, l->out_n};
    l->sent = true;
    fm_http_client_send(&l->http, &iov, 1, l->deadline);
    fm_http_client_head(&l->http, (enum fm_http_method)l->method, l->deadline);
}

static void on_connected(struct fm_http_client *h)
{
    send_request(link_of(h));
}

static void on_sent(struct fm_http_client *h)
{
    (void)h;
}

/* -------- receiving -------- */

static void more(struct fm_http_link *l)
{
    FM_ASSERT(l->busy && (!l->stream || l->idle_ms > 0));
    int64_t ms = l->idle_ms;
    if (!l->stream) {
        int64_t left = fm_mono_sub_ms(l->deadline, fm_loop_now(l->loop));
        ms = left > 0 ? left : 1;
    }
    fm_http_client_body(&l->http, ms);
}

static void answered(struct fm_http_link *l)
{
    FM_ASSERT(l->busy && l->status >= 200);
    if (l->stream) {
        fail(l, 0, "the stream ended");
        return;
    }
    l->busy = false;
    if (fm_http_client_is_reusable(&l->http)) {
        fm_http_client_park(&l->http);
        l->ready = true;
    } else {
        fm_http_client_close(&l->http);
    }
    l->ops->answered(l, l->status, fm_str(l->in, l->in_n));
}

static void on_head(struct fm_http_client *h, const struct fm_http_head *head)
{
    struct fm_http_link *l = link_of(h);
    if (head->status < 200)
        return;
    l->status = head->status;
    if (head->status != 200)
        l->stream = false; /* a refusal, which is read as a whole */
    if (l->ops->head)
        l->ops->head(l, head);
    if (fm_http_client_has_body(h))
        more(l);
    else
        answered(l);
}

static bool keep(struct fm_http_link *l, struct fm_str piece)
{
    FM_ASSERT(l->in_n <= l->in_cap && l->in_n <= l->in_max);
    if (l->discard)
        return true;
    if (piece.n > l->in_max - l->in_n)
        return false;
    if (l->in_n + piece.n > l->in_cap) {
        size_t cap = 2 * (l->in_n + piece.n) + 1024;
        char *p = realloc(l->in, cap);
        if (!p)
            return false;
        l->in = p;
        l->in_cap = cap;
    }
    if (piece.n)
        memcpy(l->in + l->in_n, piece.p, piece.n);
    l->in_n += piece.n;
    return true;
}

/* Whole lines to the owner. False where it has closed the link. */
static bool lines(struct fm_http_link *l)
{
    FM_ASSERT(l->stream && l->in_n <= l->in_cap);
    size_t at = 0;
    while (l->busy && at < l->in_n) {
        const char *end = memchr(l->in + at, '\n', l->in_n - at);
        if (!end)
            break;
        struct fm_str line = fm_str(l->in + at, (size_t)(end - (l->in + at)));
        at += line.n + 1;
        if (line.n)
            l->ops->message(l, line);
    }
    if (!l->busy)
        return false;
    memmove(l->in, l->in + at, l->in_n - at);
    l->in_n -= at;
    return true;
}

static void on_body(struct fm_http_client *h, struct fm_str piece, bool last)
{
    struct fm_http_link *l = link_of(h);
    if (!keep(l, piece)) {
        fail(l, -EMSGSIZE, "the answer is too long");
        return;
    }
    if (l->stream && !lines(l))
        return;
    if (last)
        answered(l);
    else
        more(l);
}

/* -------- the end -------- */

static void on_failed(struct fm_http_client *h, int err, const char *why)
{
    struct fm_http_link *l = link_of(h);
    if (l->ready) { /* while it was parked: nobody waits for it */
        l->ready = false;
        return;
    }
    fail(l, err,
         err == -ETIMEDOUT      ? "no answer in time"
         : err == -ECONNREFUSED ? "nobody listens there"
         : err == -ENOENT       ? "there is no such socket"
                                : why);
}

static void on_closed(struct fm_http_client *h)
{
    struct fm_http_link *l = link_of(h);
    free(l->in);
    free(l->out);
    l->in = l->out = NULL;
    l->in_n = l->in_cap = l->out_n = 0;
    fm_tls_unref(l->tls);
    l->tls = NULL;
    l->open = false;
    l->ops->closed(l);
}

static const struct fm_http_client_handler handler = {.connected = on_connected,
                                                      .sent = on_sent,
                                                      .head = on_head,
                                                      .body = on_body,
                                                      .failed = on_failed,
                                                      .closed = on_closed};

/* -------- asking -------- */

static bool compose(struct fm_http_link *l, const struct fm_http_ask *a)
{
    if (a->raw) {
        FM_ASSERT(!a->body && a->raw_n > 0);
        free(l->out);
        l->out = a->raw;
        l->out_n = a->raw_n;
        l->method = (uint8_t)a->raw_method;
        return true;
    }
    FM_ASSERT(a->target[0] == '/' && strlen(a->target) <= FM_HTTP_LINK_TARGET_MAX);
    FM_ASSERT(strlen(a->host) <= HOST_MAX && (!a->token || strlen(a->token) <= TOKEN_MAX));
    FM_ASSERT(!a->headers || strlen(a->headers) <= FM_HTTP_LINK_HEADERS_MAX);
    size_t cap = HEAD_ROOM + a->body_n;
    free(l->out);
    l->out = malloc(cap);
    if (!l->out)
        return false;
    struct fm_buf b = fm_buf(l->out, cap);
    fm_buf_printf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", a->body ? "POST" : "GET", a->target,
                  a->host);
    if (a->token && a->token[0])
        fm_buf_printf(&b, "Authorization: %s\r\n", a->token);
    if (a->headers)
        fm_buf_str_add(&b, fm_str_z(a->headers));
    if (a->body)
        fm_buf_printf(&b, "Content-Type: application/json\r\nContent-Length: %zu\r\n", a->body_n);
    fm_buf_lit(&b, "\r\n");
    if (a->body_n)
        fm_buf_add(&b, a->body, a->body_n);
    FM_ASSERT(!b.full);
    l->out_n = b.n;
    l->method = a->body ? FM_METHOD_POST : FM_METHOD_GET;
    return true;
}

static enum fm_err link_connect(struct fm_http_link *l, const struct fm_http_ask *a,
                                struct fm_error *e)
{
    FM_ASSERT(!l->open && !l->tls && a->to->len > 0);
    static _Thread_local struct fm_http_field fields[64]; /* scratch while a head is looked at */
    l->http = (struct fm_http_client){.tls = a->tls, .peer = a->peer};
    enum fm_err err =
        fm_http_client_open(&l->http, l->loop, a->to, a->connect, &handler, &limits, fields, e);
    l->http.peer = NULL; /* the connection has taken what it needs of it */
    l->open = err == FM_ERR_OK;
    if (l->open && a->tls)
        l->tls = fm_tls_ref(a->tls);
    return err;
}

enum fm_err fm_http_link_ask(struct fm_http_link *l, struct fm_loop *loop,
                             const struct fm_http_link_ops *ops, const struct fm_http_ask *a,
                             struct fm_error *e)
{
    FM_ASSERT(!l->busy && (!l->open || l->ready) && (a->body || a->body_n == 0));
    FM_ASSERT(a->answer_max > 0 && (!a->tls || a->peer) && (ops->message || a->idle_ms == 0));
    l->loop = loop;
    l->ops = ops;
    bool composed = compose(l, a);
    free(a->body);
    if (!composed)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    l->stream = a->idle_ms > 0;
    l->discard = a->discard;
    l->idle_ms = a->idle_ms;
    l->deadline = a->deadline;
    l->sent = false;
    l->in_n = 0;
    l->in_max = a->answer_max;
    if (l->open) {
        l->ready = false;
        if (fm_http_client_unpark(&l->http)) {
            l->busy = true;
            send_request(l);
            return FM_ERR_OK;
        }
        fm_http_client_close(&l->http); /* `closed` follows; the next one connects anew */
        return fm_error_set(e, FM_ERR_UNREACHABLE, "the connection was closed while idle");
    }
    enum fm_err err = link_connect(l, a, e);
    l->busy = !err;
    if (err) { /* no `closed` comes that would free it */
        free(l->out);
        l->out = NULL;
        l->out_n = 0;
    }
    return err;
}

void fm_http_link_close(struct fm_http_link *l)
{
    FM_ASSERT(l->open);
    l->busy = l->ready = false;
    if (fm_http_client_is_open(&l->http))
        fm_http_client_close(&l->http);
}
