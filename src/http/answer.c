/* Whole answers in one call: for the server's own refusals, for admin pages, for small
 * applications. A short one lives in a block of the pool until it is sent, a long one in its own
 * memory. */
#include "http/server_answer.h"

#include "base/assert.h"
#include "base/buf.h"
#include "http/server.h"

#include <stdlib.h>

void fm_http_conn_free_answer(struct fm_http_conn *c)
{
    FM_ASSERT(!fm_sock_is_sending(&c->s.sock) || c->state == FM_CONN_CLOSED);
    if (c->out)
        fm_pool_put(c->server->loop->pool, c->out);
    c->out = NULL;
    free(c->out_heap);
    c->out_heap = NULL;
}

struct fm_str fm_http_conn_header(const struct fm_http_conn *c, bool close)
{
    FM_ASSERT(c->state == FM_CONN_BUSY);
    bool will_close = close || c->close_after || !c->keep_alive || c->server->draining ||
                      (fm_http_conn_has_body(c) && !c->tunnel);
    if (will_close)
        return FM_STR("Connection: close\r\n");
    return c->minor == 0 ? FM_STR("Connection: keep-alive\r\n") : FM_STR("");
}

/* From here on the connection is ours: nothing more is read for the handler. */
static void take_over(struct fm_http_conn *c)
{
    FM_ASSERT(c->state == FM_CONN_BUSY && !c->out && !c->out_heap);
    c->released = true;
    if (!c->wants_body)
        return;
    c->wants_body = false;
    c->close_after = true;
    (void)fm_sock_recv_cancel(&c->s.sock);
}

static bool write_head(struct fm_http_conn *c, unsigned status, struct fm_str content_type,
                       struct fm_str headers, size_t body_n)
{
    FM_ASSERT(status >= 200 && status <= 599 && !c->answering);
    FM_ASSERT(body_n == 0 || (status != 204 && status != 304));
    c->out = fm_pool_get(c->server->loop->pool);
    if (!c->out)
        return false;
    struct fm_buf b = fm_buf(c->out->data, c->out->size);
    fm_buf_lit(&b, "HTTP/1.1 ");
    fm_buf_u64(&b, status);
    fm_buf_ch(&b, ' ');
    fm_buf_str_add(&b, fm_str_z(fm_http_reason(status)));
    if (content_type.n) {
        fm_buf_lit(&b, "\r\nContent-Type: ");
        fm_buf_str_add(&b, content_type);
    }
    if (status != 204 && status != 304) {
        fm_buf_lit(&b, "\r\nContent-Length: ");
        fm_buf_u64(&b, body_n);
    }
    fm_buf_lit(&b, "\r\n");
    fm_buf_str_add(&b, fm_http_conn_header(c, false));
    fm_buf_str_add(&b, headers);
    fm_buf_lit(&b, "\r\n");
    FM_ASSERT(b.n <= c->out->size);
    c->out->n = (uint32_t)b.n;
    return !b.full;
}

void fm_http_conn_answer(struct fm_http_conn *c, unsigned status, struct fm_str content_type,
                         struct fm_str headers, struct fm_str body)
{
    take_over(c);
    if (!write_head(c, status, content_type, headers, body.n) ||
        body.n > c->out->size - c->out->n) {
        fm_http_conn_abort(c);
        return;
    }
    if (c->method != FM_METHOD_HEAD && body.n) {
        memcpy(c->out->data + c->out->n, body.p, body.n);
        c->out->n += (uint32_t)body.n;
    }
    FM_ASSERT(c->out->n > 0 && c->out->n <= c->out->size);
    struct iovec iov = {c->out->data, c->out->n};
    fm_http_conn_send(c, &iov, 1);
}

void fm_http_conn_answer_heap(struct fm_http_conn *c, unsigned status, struct fm_str content_type,
                              struct fm_str headers, char *body, size_t n)
{
    FM_ASSERT(body || n == 0);
    take_over(c);
    c->out_heap = body;
    if (!write_head(c, status, content_type, headers, n)) {
        fm_http_conn_abort(c);
        return;
    }
    struct iovec iov[2] = {{c->out->data, c->out->n}, {body, n}};
    fm_http_conn_send(c, iov, c->method == FM_METHOD_HEAD || n == 0 ? 1 : 2);
}

void fm_http_problem_body(struct fm_buf *b, unsigned status, struct fm_str type,
                          struct fm_str detail, struct fm_str ref)
{
    FM_ASSERT(status >= 400 && status <= 599);
    fm_buf_lit(b, "{\"type\":\"");
    if (type.n) {
        fm_buf_lit(b, "urn:fulmar:");
        fm_buf_str_add(b, type);
    } else {
        fm_buf_lit(b, "about:blank");
    }
    fm_buf_lit(b, "\",\"title\":");
    fm_buf_json(b, fm_str_z(fm_http_reason(status)));
    fm_buf_lit(b, ",\"status\":");
    fm_buf_u64(b, status);
    fm_buf_lit(b, ",\"detail\":");
    fm_buf_json(b, detail);
    if (ref.n) {
        fm_buf_lit(b, ",\"instance\":\"urn:fulmar:ref:");
        fm_buf_str_add(b, ref);
        fm_buf_ch(b, '"');
    }
    fm_buf_lit(b, "}\n");
}

void fm_http_conn_problem(struct fm_http_conn *c, unsigned status, struct fm_str type,
                          struct fm_str headers, struct fm_str detail)
{
    char text[2048];
    struct fm_buf b = fm_buf(text, sizeof text);
    fm_http_problem_body(&b, status, type, detail, fm_str(NULL, 0));
    FM_ASSERT(!b.full); /* details are our own words */
    fm_http_conn_answer(c, status, FM_STR("application/problem+json"), headers, fm_buf_str(&b));
}
