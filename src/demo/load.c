/* The load generator: see the header. Invariant: record i is due at start + i / rate, exactly. */
#include "demo/load.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/hash.h"
#include "http/client.h"
#include "io/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    SLOTS_MAX = 4096,
    REQUEST_MAX = 512,
    TIMEOUT_MS = 10000,
    TICK_NS = 500000,
    BLOCK = 16 * 1024
};

struct slot {
    struct fm_http_client http;
    struct fm_load *load;
    struct fm_list node; /* idle */
    struct fm_list one;  /* of all */
    size_t record;       /* + 1; 0 = none */
    enum fm_http_method method;
    char text[REQUEST_MAX];
    size_t text_n;
    uint16_t status;
};

struct fm_load {
    pthread_t thread;
    struct fm_loop loop;
    struct fm_pool pool;
    struct fm_mailbox inbox;
    struct fm_msg stop_msg;
    struct fm_addr to;
    struct fm_timer tick, end;
    struct fm_http_limits limits;
    struct fm_http_field *fields;
    struct fm_list idle, all;
    size_t nslots, busy;
    enum fm_load_mix mix;
    unsigned rate;
    uint32_t run;
    struct fm_mono start;
    size_t records_max;
    struct fm_load_record *record;
    _Atomic size_t count;
    _Atomic int64_t worst_lag_ns;
    bool stopping;
    int64_t stop_wait_ms;
};

const char *fm_load_outcome_name(enum fm_load_outcome o)
{
    static const char *const name[] = {
#define X(id, text) [FM_LOAD_##id] = text,
        FM_LOAD_OUTCOMES(X)
#undef X
    };
    FM_ASSERT(o < FM_COUNT(name));
    return name[o];
}

void fm_load_key(const struct fm_load *l, size_t i, char out[40])
{
    struct fm_buf b = fm_buf(out, 39);
    fm_buf_printf(&b, "demo-%08x-%zu", l->run, i);
    FM_ASSERT(!b.full);
    out[b.n] = 0;
}

/* -------- what is asked -------- */

struct asked {
    enum fm_http_method method;
    enum fm_load_kind kind;
    bool debit;
};

static struct asked debit(unsigned who, struct fm_buf *b)
{
    fm_buf_printf(b, "POST /ledger/acc-%u/debit?amount=1", who);
    return (struct asked){FM_METHOD_POST, FM_LOAD_EXCLUSIVE, true};
}

static struct asked ask_bank(size_t i, unsigned who, struct fm_buf *b)
{
    switch (i % 20) {
    case 3:
    case 13:
        return debit(who, b);
    case 8:
        fm_buf_printf(b, "POST /cards/card-%u/freeze", who);
        return (struct asked){FM_METHOD_POST, FM_LOAD_EXCLUSIVE, false};
    case 18:
        fm_buf_printf(b, "PUT /profile/user-%u", who);
        return (struct asked){FM_METHOD_PUT, FM_LOAD_COMMAND, false};
    default:
        break;
    }
    static const char *const what[] = {"/ledger/acc-", "/cards/card-", "/profile/user-"};
    if (i % 4 == 3)
        fm_buf_lit(b, "GET /catalog");
    else
        fm_buf_printf(b, "GET %s%u", what[i % 4], who);
    return (struct asked){FM_METHOD_GET, FM_LOAD_QUERY, false};
}

static struct asked ask_site(size_t i, unsigned who, bool ledger, struct fm_buf *b)
{
    bool command = i % 5 == 3;
    if (command && ledger)
        return debit(who, b);
    if (command)
        fm_buf_printf(b, "PUT /profile/user-%u", who);
    else if (i % 2)
        fm_buf_lit(b, "GET /catalog");
    else
        fm_buf_printf(b, "GET /profile/user-%u", who);
    return command ? (struct asked){FM_METHOD_PUT, FM_LOAD_EXCLUSIVE, false}
                   : (struct asked){FM_METHOD_GET, FM_LOAD_QUERY, false};
}

static enum fm_http_method compose(struct fm_load *l, size_t i, struct fm_buf *b)
{
    char key[40];
    FM_ASSERT(i < l->records_max && b->n == 0);
    fm_load_key(l, i, key);
    unsigned who = (unsigned)(fm_mix64(i) % 1000);
    struct asked a = l->mix == FM_LOAD_BANK     ? ask_bank(i, who, b)
                     : l->mix == FM_LOAD_LEDGER ? debit(who, b)
                                                : ask_site(i, who, l->mix != FM_LOAD_SITE, b);
    fm_buf_lit(b, " HTTP/1.1\r\nHost: bank.example\r\nUser-Agent: fulmar-demo\r\n");
    if (a.kind != FM_LOAD_QUERY)
        fm_buf_printf(b, "Idempotency-Key: %s\r\nContent-Length: 0\r\n", key);
    fm_buf_lit(b, "\r\n");
    FM_ASSERT(!b->full);
    l->record[i].kind = (uint8_t)a.kind;
    l->record[i].debit = a.debit;
    return a.method;
}

/* -------- outcomes -------- */

static void settle(struct fm_load *l, size_t i, enum fm_load_outcome o, uint16_t status)
{
    FM_ASSERT(i < l->records_max && o != FM_LOAD_PENDING && o < FM_LOAD_OUTCOME_COUNT);
    struct fm_load_record *r = &l->record[i];
    FM_ASSERT(atomic_load_explicit(&r->outcome, memory_order_relaxed) == FM_LOAD_PENDING);
    r->done_ns = fm_loop_now(&l->loop).ns;
    r->status = status;
    atomic_store_explicit(&r->outcome, (uint8_t)o, memory_order_release);
}

static void slot_over(struct slot *s, enum fm_load_outcome o)
{
    struct fm_load *l = s->load;
    if (!s->record)
        return;
    settle(l, s->record - 1, o, s->status);
    s->record = 0;
    FM_ASSERT(l->busy > 0);
    l->busy--;
    if (l->stopping && l->busy == 0)
        fm_loop_stop(&l->loop);
}

static struct slot *of(struct fm_http_client *h)
{
    return fm_container_of(h, struct slot, http);
}

static void send_it(struct slot *s)
{
    FM_ASSERT(s->record > 0 && s->text_n > 0);
    struct fm_mono by =
        fm_mono_add_ms((struct fm_mono){s->load->record[s->record - 1].due_ns}, TIMEOUT_MS);
    struct iovec iov = {s->text, s->text_n};
    fm_http_client_send(&s->http, &iov, 1, by);
    fm_http_client_head(&s->http, s->method, by);
}

static void complete(struct slot *s)
{
    FM_ASSERT(s->record > 0 && s->status >= 200 && fm_list_empty(&s->node));
    slot_over(s, s->status < 400   ? FM_LOAD_OK
                 : s->status < 500 ? FM_LOAD_STATUS_4XX
                                   : FM_LOAD_STATUS_5XX);
    if (fm_http_client_is_reusable(&s->http)) {
        fm_http_client_park(&s->http);
        fm_list_push_front(&s->load->idle, &s->node);
    } else {
        fm_http_client_close(&s->http);
    }
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
    struct slot *s = of(h);
    if (head->status < 200)
        return;
    s->status = (uint16_t)head->status;
    struct fm_str body;
    if (!fm_http_client_has_body(h) || fm_http_client_take(h, &body))
        complete(s);
    else
        fm_http_client_body(h, TIMEOUT_MS);
}

static void on_body(struct fm_http_client *h, struct fm_str piece, bool last)
{
    (void)piece;
    if (last)
        complete(of(h));
    else
        fm_http_client_body(h, TIMEOUT_MS);
}

static void on_failed(struct fm_http_client *h, int err, const char *why)
{
    (void)why;
    struct slot *s = of(h);
    fm_list_remove(&s->node);
    slot_over(s, err == -ETIMEDOUT                          ? FM_LOAD_TIMEOUT
                 : err == -EPROTO                           ? FM_LOAD_MALFORMED
                 : err == -ECONNREFUSED || err == -ENETDOWN ? FM_LOAD_CONNECT
                                                            : FM_LOAD_RESET);
}

static void on_closed(struct fm_http_client *h)
{
    struct slot *s = of(h);
    FM_ASSERT(s->load->nslots > 0);
    s->load->nslots--;
    fm_list_remove(&s->node); /* the end of all closes what is idle, too */
    fm_list_remove(&s->one);
    free(s);
}

static const struct fm_http_client_handler handler = {.connected = on_connected,
                                                      .sent = on_sent,
                                                      .head = on_head,
                                                      .body = on_body,
                                                      .failed = on_failed,
                                                      .closed = on_closed};

/* -------- the schedule -------- */

static struct slot *take_idle(struct fm_load *l)
{
    for (;;) {
        struct slot *s = fm_list_first(&l->idle, struct slot, node);
        if (!s)
            return NULL;
        FM_ASSERT(s->record == 0);
        fm_list_remove(&s->node);
        if (fm_http_client_unpark(&s->http))
            return s;
        fm_http_client_close(&s->http);
    }
}

static struct slot *open_slot(struct fm_load *l)
{
    if (l->nslots >= SLOTS_MAX)
        return NULL;
    struct slot *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->load = l;
    fm_list_init(&s->node);
    fm_list_init(&s->one);
    if (fm_http_client_open(&s->http, &l->loop, &l->to,
                            fm_mono_add_ms(fm_loop_now(&l->loop), TIMEOUT_MS), &handler, &l->limits,
                            l->fields, NULL)) {
        free(s);
        return NULL;
    }
    l->nslots++;
    fm_list_push_back(&l->all, &s->one);
    return s;
}

static void launch(struct fm_load *l, size_t i, struct fm_mono due)
{
    FM_ASSERT(l->busy <= l->nslots && l->nslots <= SLOTS_MAX);
    l->record[i].due_ns = due.ns;
    struct slot *s = take_idle(l);
    bool kept = s != NULL;
    if (!s)
        s = open_slot(l);
    if (!s) {
        settle(l, i, FM_LOAD_BACKLOG, 0);
        return;
    }
    struct fm_buf b = fm_buf(s->text, sizeof s->text);
    s->method = compose(l, i, &b);
    s->text_n = b.n;
    s->record = i + 1;
    s->status = 0;
    l->busy++;
    if (kept)
        send_it(s);
}

static void tick(struct fm_timer *t)
{
    struct fm_load *l = fm_container_of(t, struct fm_load, tick);
    struct fm_mono now = fm_loop_now(&l->loop);
    size_t n = atomic_load_explicit(&l->count, memory_order_relaxed);
    FM_ASSERT(n <= l->records_max && l->rate > 0);
    for (; !l->stopping && n < l->records_max; n++) {
        int64_t offset = (int64_t)((fm_u128)n * (fm_u128)FM_NS_PER_S / l->rate);
        struct fm_mono due = fm_mono_add_ns(l->start, offset);
        if (fm_mono_before(now, due))
            break;
        int64_t lag = fm_mono_sub_ns(now, due);
        if (lag > atomic_load_explicit(&l->worst_lag_ns, memory_order_relaxed))
            atomic_store_explicit(&l->worst_lag_ns, lag, memory_order_relaxed);
        launch(l, n, due);
        atomic_store_explicit(&l->count, n + 1, memory_order_release);
    }
    if (!l->stopping)
        fm_loop_timer(&l->loop, t, fm_mono_add_ns(now, TICK_NS));
}

static void end_of_patience(struct fm_timer *t)
{
    fm_loop_stop(&fm_container_of(t, struct fm_load, end)->loop);
}

static void told_to_stop(struct fm_msg *m, void *user)
{
    (void)m;
    struct fm_load *l = user;
    FM_ASSERT(!l->stopping);
    l->stopping = true;
    if (l->busy == 0)
        fm_loop_stop(&l->loop);
    else
        fm_loop_timer_in_ms(&l->loop, &l->end, l->stop_wait_ms);
}

static void *run(void *arg)
{
    struct fm_load *l = arg;
    fm_loop_run(&l->loop);
    fm_list_each (at, &l->all) { /* parked, or still without an answer */
        struct slot *s = fm_container_of(at, struct slot, one);
        if (fm_http_client_is_open(&s->http))
            fm_http_client_close(&s->http);
    }
    fm_loop_turn(&l->loop, 0); /* buries them */
    FM_ASSERT(l->nslots == 0);
    return NULL;
}

struct fm_load *fm_load_start(const struct fm_addr *to, enum fm_load_mix mix, unsigned rate,
                              uint32_t run_id, size_t records_max, struct fm_error *e)
{
    FM_ASSERT(rate > 0 && records_max > 0);
    struct fm_load *l = calloc(1, sizeof *l);
    if (l) {
        l->record = calloc(records_max, sizeof *l->record);
        l->fields = calloc(FM_HTTP_FIELDS_MAX, sizeof *l->fields);
    }
    if (!l || !l->record || !l->fields) {
        fm_error_set(e, FM_ERR_MEMORY, "no memory for the load generator");
        goto failed;
    }
    l->to = *to;
    l->mix = mix;
    l->rate = rate;
    l->run = run_id;
    l->records_max = records_max;
    l->limits = (struct fm_http_limits)FM_HTTP_LIMITS_DEFAULT;
    l->limits.head_bytes = BLOCK;
    fm_list_init(&l->idle);
    fm_list_init(&l->all);
    fm_timer_init(&l->tick, tick);
    fm_timer_init(&l->end, end_of_patience);
    fm_pool_init(&l->pool, BLOCK, SLOTS_MAX + 64);
    if (fm_loop_init(&l->loop, &l->pool, e) || fm_mailbox_open(&l->inbox, &l->loop, l, e))
        goto failed;
    l->start = fm_mono_add_ms(fm_mono_now(), 5);
    fm_loop_timer(&l->loop, &l->tick, l->start);
    int rc = pthread_create(&l->thread, NULL, run, l);
    if (rc == 0)
        return l;
    fm_error_errno(e, FM_ERR_LIMIT, rc, "cannot start the load generator");
failed:
    if (l) {
        free(l->record);
        free(l->fields);
    }
    free(l);
    return NULL;
}

void fm_load_stop(struct fm_load *l, int64_t wait_ms)
{
    FM_ASSERT(wait_ms >= 0);
    l->stop_wait_ms = wait_ms;
    l->stop_msg.deliver = told_to_stop;
    fm_mailbox_post(&l->inbox, &l->stop_msg);
    pthread_join(l->thread, NULL);
}

void fm_load_free(struct fm_load *l)
{
    if (!l)
        return;
    fm_mailbox_close(&l->inbox);
    fm_loop_deinit(&l->loop);
    fm_pool_deinit(&l->pool);
    free(l->record);
    free(l->fields);
    free(l);
}

size_t fm_load_count(const struct fm_load *l)
{
    return atomic_load_explicit(&l->count, memory_order_acquire);
}

bool fm_load_is_spent(const struct fm_load *l)
{
    return fm_load_count(l) >= l->records_max;
}

const struct fm_load_record *fm_load_records(const struct fm_load *l)
{
    return l->record;
}

int64_t fm_load_worst_lag_ns(const struct fm_load *l)
{
    return atomic_load_explicit(&l->worst_lag_ns, memory_order_relaxed);
}
