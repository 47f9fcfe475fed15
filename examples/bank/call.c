/* Calls from one process of the bank to another: a small pool of kept connections, a bound on how
 * many calls are under way, a time-out on each. A call that broke on a connection which had been
 * idle is not repeated here: whoever called decides. */
#include "bank.h"

#include "base/assert.h"

#include <stdlib.h>

enum { CALLS_MAX = 512, BODY_MAX = 4096, TEXT_MAX = 1024 };

struct call {
    struct fm_http_client http;
    struct bank_calls *all;
    struct fm_list node; /* idle */
    bool busy;
    enum fm_http_method method;
    char text[TEXT_MAX];
    size_t text_n;
    struct fm_mono deadline;
    unsigned status;
    char body[BODY_MAX];
    size_t body_n;
    bank_answered *done;
    void *user;
};

struct bank_calls {
    struct fm_loop *loop;
    struct fm_addr to;
    struct fm_list idle;
    unsigned n;
    struct fm_http_limits limits;
    struct fm_http_field *fields;
};

static void finish(struct call *c, unsigned status)
{
    bank_answered *done = c->done;
    c->done = NULL;
    c->busy = false;
    if (done)
        done(c->user, status, fm_str(c->body, c->body_n));
}

static void send_it(struct call *c)
{
    struct iovec iov = {c->text, c->text_n};
    fm_http_client_send(&c->http, &iov, 1, c->deadline);
    fm_http_client_head(&c->http, c->method, c->deadline);
}

static void complete(struct call *c)
{
    if (fm_http_client_is_reusable(&c->http)) {
        fm_http_client_park(&c->http);
        fm_list_push_front(&c->all->idle, &c->node);
    } else {
        fm_http_client_close(&c->http);
    }
    finish(c, c->status);
}

static struct call *of(struct fm_http_client *h)
{
    return fm_container_of(h, struct call, http);
}

static void on_connected(struct fm_http_client *h)
{
    send_it(of(h));
}

static void on_sent(struct fm_http_client *h)
{
    (void)h;
}

static void on_head(struct fm_http_client *h, const struct fm_http_head *head)
{
    struct call *c = of(h);
    if (head->status < 200)
        return;
    c->status = head->status;
    if (fm_http_client_has_body(h))
        fm_http_client_body(h, 1000);
    else
        complete(c);
}

static void on_body(struct fm_http_client *h, struct fm_str piece, bool last)
{
    struct call *c = of(h);
    size_t n = fm_min_size(piece.n, BODY_MAX - c->body_n);
    if (n)
        memcpy(c->body + c->body_n, piece.p, n);
    c->body_n += n;
    if (last)
        complete(c);
    else
        fm_http_client_body(h, 1000);
}

static void on_failed(struct fm_http_client *h, int err, const char *why)
{
    (void)err;
    (void)why;
    struct call *c = of(h);
    fm_list_remove(&c->node);
    if (c->busy)
        finish(c, 0);
}

static void on_closed(struct fm_http_client *h)
{
    struct call *c = of(h);
    c->all->n--;
    free(c);
}

static const struct fm_http_client_handler handler = {.connected = on_connected,
                                                      .sent = on_sent,
                                                      .head = on_head,
                                                      .body = on_body,
                                                      .failed = on_failed,
                                                      .closed = on_closed};

struct bank_calls *bank_calls_new(struct fm_loop *l, uint16_t port)
{
    struct bank_calls *c = calloc(1, sizeof *c);
    FM_ASSERT(c);
    c->loop = l;
    c->limits = (struct fm_http_limits)FM_HTTP_LIMITS_DEFAULT;
    c->fields = calloc(FM_HTTP_FIELDS_MAX, sizeof *c->fields);
    FM_ASSERT(c->fields);
    fm_list_init(&c->idle);
    enum fm_err err = fm_addr_ip(&c->to, FM_STR("127.0.0.1"), port);
    FM_ASSERT(err == FM_ERR_OK);
    return c;
}

static struct call *take_idle(struct bank_calls *all)
{
    for (;;) {
        struct call *c = fm_list_first(&all->idle, struct call, node);
        if (!c)
            return NULL;
        fm_list_remove(&c->node);
        if (fm_http_client_unpark(&c->http))
            return c;
        fm_http_client_close(&c->http);
    }
}

static struct call *open_one(struct bank_calls *all, struct fm_mono deadline)
{
    if (all->n == CALLS_MAX)
        return NULL;
    struct call *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->all = all;
    fm_list_init(&c->node);
    if (fm_http_client_open(&c->http, all->loop, &all->to, deadline, &handler, &all->limits,
                            all->fields, NULL)) {
        free(c);
        return NULL;
    }
    all->n++;
    return c;
}

bool bank_call(struct bank_calls *all, enum fm_http_method method, struct fm_str text,
               int64_t timeout_ms, bank_answered *done, void *user)
{
    if (text.n > TEXT_MAX)
        return false;
    struct fm_mono deadline = fm_mono_add_ms(fm_loop_now(all->loop), timeout_ms);
    struct call *c = take_idle(all);
    bool kept = c != NULL;
    if (!c)
        c = open_one(all, deadline);
    if (!c)
        return false;
    c->method = method;
    memcpy(c->text, text.p, text.n);
    c->text_n = text.n;
    c->deadline = deadline;
    c->status = 0;
    c->body_n = 0;
    c->done = done;
    c->user = user;
    c->busy = true;
    if (kept)
        send_it(c);
    return true;
}
