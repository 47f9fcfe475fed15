/* A blocking GET over our own client and a loop of its own. */
#include "http/fetch.h"

#include "base/assert.h"
#include "base/buf.h"
#include "http/client.h"

#include <errno.h>
#include <stdlib.h>

enum { BODY_MAX = 16 * 1024 * 1024, TARGET_MAX = 1024, TIMEOUT_MAX_MS = 24 * 3600 * 1000 };

struct fetch {
    struct fm_http_client http;
    struct fm_loop loop;
    struct fm_pool pool;
    struct fm_http_limits limits;
    struct fm_http_field *fields;
    const char *target;
    struct fm_mono deadline;
    struct fm_fetched *out;
    struct fm_error *error;
    enum fm_err err;
    bool closed;
};

static void end(struct fetch *f, enum fm_err err, const char *why)
{
    if (err && !f->err)
        f->err = fm_error_set(f->error, err, "%s", why);
    FM_ASSERT(!f->closed);
    if (fm_http_client_is_open(&f->http))
        fm_http_client_close(&f->http);
}

static void on_connected(struct fm_http_client *h)
{
    struct fetch *f = fm_container_of(h, struct fetch, http);
    char text[TARGET_MAX + 100];
    struct fm_buf b = fm_buf(text, sizeof text);
    fm_buf_lit(&b, "GET ");
    fm_buf_str_add(&b, fm_str_z(f->target));
    fm_buf_lit(&b, " HTTP/1.1\r\nHost: fulmar\r\nConnection: close\r\n\r\n");
    FM_ASSERT(!b.full);
    struct iovec iov = {text, b.n};
    fm_http_client_send(h, &iov, 1, f->deadline);
    fm_http_client_head(h, FM_METHOD_GET, f->deadline);
}

static void on_sent(struct fm_http_client *h)
{
    (void)h;
}

static void next(struct fetch *f)
{
    if (!fm_http_client_has_body(&f->http))
        end(f, FM_ERR_OK, NULL);
    else
        fm_http_client_body(&f->http, fm_mono_sub_ms(f->deadline, fm_loop_now(&f->loop)));
}

static void on_head(struct fm_http_client *h, const struct fm_http_head *head)
{
    struct fetch *f = fm_container_of(h, struct fetch, http);
    if (head->status < 200)
        return;
    FM_ASSERT(f->out->status == 0 && !f->out->body);
    f->out->status = head->status;
    next(f);
}

static void on_body(struct fm_http_client *h, struct fm_str piece, bool last)
{
    struct fetch *f = fm_container_of(h, struct fetch, http);
    size_t n = f->out->n + piece.n;
    char *p = n <= BODY_MAX ? realloc(f->out->body, n + 1) : NULL;
    if (!p) {
        end(f, FM_ERR_LIMIT, "the answer is too long");
        return;
    }
    if (piece.n)
        memcpy(p + f->out->n, piece.p, piece.n);
    p[n] = 0;
    f->out->body = p;
    f->out->n = n;
    if (last)
        end(f, FM_ERR_OK, NULL);
    else
        next(f);
}

static void on_failed(struct fm_http_client *h, int err, const char *why)
{
    struct fetch *f = fm_container_of(h, struct fetch, http);
    end(f,
        err == -ETIMEDOUT ? FM_ERR_TIMEOUT
        : err == -EPROTO  ? FM_ERR_INVALID
                          : FM_ERR_UNREACHABLE,
        err == -ECONNREFUSED ? "nobody listens there" : why);
}

static void on_closed(struct fm_http_client *h)
{
    fm_container_of(h, struct fetch, http)->closed = true;
}

static const struct fm_http_client_handler handler = {.connected = on_connected,
                                                      .sent = on_sent,
                                                      .head = on_head,
                                                      .body = on_body,
                                                      .failed = on_failed,
                                                      .closed = on_closed};

enum fm_err fm_fetch(const struct fm_addr *to, const char *target, int64_t timeout_ms,
                     struct fm_fetched *out, struct fm_error *e)
{
    *out = (struct fm_fetched){0};
    if (target[0] != '/' || strlen(target) > TARGET_MAX)
        return fm_error_set(e, FM_ERR_INVALID, "a target begins with `/` and has up to %d bytes",
                            TARGET_MAX);
    struct fetch *f = calloc(1, sizeof *f);
    struct fm_http_field *fields = calloc(FM_HTTP_FIELDS_MAX, sizeof *fields);
    if (!f || !fields) {
        free(f);
        free(fields);
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    }
    f->fields = fields;
    f->target = target;
    f->out = out;
    f->error = e;
    f->limits = (struct fm_http_limits)FM_HTTP_LIMITS_DEFAULT;
    f->limits.body_bytes = BODY_MAX;
    fm_pool_init(&f->pool, 64 * 1024, 16);
    enum fm_err err = fm_loop_init(&f->loop, &f->pool, e);
    if (!err) {
        f->deadline = fm_mono_add_ms(fm_mono_now(), fm_clamp_i64(timeout_ms, 0, TIMEOUT_MAX_MS));
        err = fm_http_client_open(&f->http, &f->loop, to, f->deadline, &handler, &f->limits,
                                  f->fields, e);
        while (!err && !f->closed)
            fm_loop_turn(&f->loop, FM_NS_PER_S);
        FM_ASSERT(err || f->closed);
        err = err ? err : f->err;
        fm_loop_deinit(&f->loop);
    }
    fm_pool_deinit(&f->pool);
    if (err) {
        free(out->body);
        out->body = NULL;
    }
    free(f->fields);
    free(f);
    return err;
}
