/* bank app: a stateless instance.
 *
 *   GET  /profile/{id}            PUT  /profile/{id}
 *   POST /cards/{id}/freeze       asks the card network first
 *   GET  /cards/{id}
 *   POST /ledger/{account}/debit  needs an Idempotency-Key; ?amount=N
 *   GET  /ledger/{account}        GET  /catalog        GET /health
 *
 * Each command is written down in the log with its epoch, when it is accepted and when it
 * is applied, or why it is not. What a good citizen of Fulmar does is marked with (*). The admin
 * port misbehaves on request: GET /mode/ok, /mode/hang, /mode/error, /mode/slow,
 * /mode/dependency-down. */
#include "bank.h"

#include "base/assert.h"
#include "base/log.h"
#include "core/deadline.h"

#include <stdio.h>
#include <stdlib.h>

enum mode { MODE_OK, MODE_HANG, MODE_ERROR, MODE_SLOW, MODE_DEPENDENCY_DOWN };

enum { CALL_MS = 2000, LEDGER_MS = 5000, SLOW_MS = 300, HEARTBEAT_MS = 50, PATH_PARTS = 3 };

struct app {
    struct bank_process process;
    struct bank_calls *store, *network;
    struct bank_ledger *ledger; /* NULL: it is in the store, too */
    const char *name;
    enum mode mode;
    struct fm_timer heartbeat;
};

/* One request under way. It outlives its connection while a call is. */
struct work {
    struct app *app;
    struct fm_http_conn *conn; /* NULL: the client is gone */
    bool calling;              /* something was asked, and has not answered yet */
    struct fm_timer delay;
    struct fm_mono deadline;
    bool command, read_only; /* what it is; what its gate says of this region */
    struct bank_authority authority;
    char key[BANK_TEXT_MAX];
    void (*next)(struct work *w); /* what is to be done, now or after the delay */
    enum fm_http_method store_method;
    char text[1024]; /* the request to the store */
    size_t text_n;
    struct bank_effect effect; /* to the ledger */
};

static void free_work(struct work *w)
{
    if (w->conn)
        w->conn->data = NULL;
    fm_loop_cancel(&w->app->process.loop, &w->delay);
    free(w);
}

static void answer(struct work *w, unsigned status, struct fm_str body)
{
    struct fm_http_conn *c = w->conn;
    char headers[64];
    struct fm_buf h = fm_buf(headers, sizeof headers);
    fm_buf_printf(&h, "X-Instance: %s\r\n", w->app->name);
    free_work(w);
    if (c)
        fm_http_conn_answer(c, status, FM_STR("application/json"), fm_buf_str(&h), body);
}

static void note(const struct work *w, const char *what)
{
    if (w->command)
        bank_note(w->app->name, what, fm_str_z(w->key), &w->authority);
}

static void sorry(struct work *w, unsigned status, const char *why)
{
    char text[256];
    struct fm_buf b = fm_buf(text, sizeof text);
    fm_buf_lit(&b, "{\"error\":");
    fm_buf_json(&b, fm_str_z(why));
    fm_buf_lit(&b, "}\n");
    answer(w, status, fm_buf_str(&b));
}

/* -------- calls -------- */

/* (*) A region that may only read says so to people, too. */
static void answer_read_only(struct work *w, struct fm_str body)
{
    char text[BANK_TEXT_MAX * 3];
    struct fm_buf b = fm_buf(text, sizeof text);
    fm_buf_str_add(&b, fm_str(body.p, body.n - fm_min_size(body.n, 2))); /* all but "}\n" */
    fm_buf_lit(&b, ",\"read_only\":true}\n");
    answer(w, 200, fm_buf_str(&b));
}

static void stored(void *user, unsigned status, struct fm_str body)
{
    struct work *w = user;
    w->calling = false;
    if (status == 200 && w->read_only) {
        answer_read_only(w, body);
    } else if (status == 200) {
        note(w, "applied");
        answer(w, 200, body);
    } else if (status == 409) {
        note(w, "older-epoch");
        sorry(w, 409, "another region has taken this over; nothing was changed");
    } else {
        sorry(w, 503, "the store does not answer");
    }
}

static void ask_store(struct work *w)
{
    note(w, "accepted");
    w->calling =
        bank_call(w->app->store, w->store_method, fm_str(w->text, w->text_n), CALL_MS, stored, w);
    if (!w->calling)
        sorry(w, 503, "too many requests are under way");
}

/* While it moves the doors of the gate wait, and so do we, but not beyond the deadline. */
static void ask_ledger(struct work *w)
{
    int64_t left = fm_mono_sub_ms(w->deadline, fm_mono_now());
    note(w, "accepted");
    w->calling = bank_ledger_ask(w->app->ledger, w->command, &w->effect,
                                 fm_clamp_i64(left, 1, LEDGER_MS), stored, w);
    if (!w->calling)
        sorry(w, 503, "too many requests are under way");
}

static void authorized(void *user, unsigned status, struct fm_str body)
{
    (void)body;
    struct work *w = user;
    w->calling = false;
    if (status == 200 && w->conn)
        ask_store(w);
    else
        sorry(w, 503, "the card network does not answer");
}

static void ask_network(struct work *w)
{
    static const char text[] =
        "POST /authorize HTTP/1.1\r\nHost: network\r\nContent-Length: 0\r\n\r\n";
    w->calling = bank_call(w->app->network, FM_METHOD_POST, fm_str(text, sizeof text - 1), CALL_MS,
                           authorized, w);
    if (!w->calling)
        sorry(w, 503, "the card network cannot be asked");
}

static void show_catalog(struct work *w)
{
    answer(w, 200, FM_STR("{\"catalog\":[\"current account\",\"card\",\"savings\"]}\n"));
}

/* (*) A request that has waited longer than its deadline is not executed: whoever sent it has been
 * told by now that it failed. */
static void go_on(struct fm_timer *t)
{
    struct work *w = fm_container_of(t, struct work, delay);
    if (fm_mono_before(fm_mono_now(), w->deadline)) {
        w->next(w);
        return;
    }
    note(w, "deadline");
    sorry(w, 504, "the deadline of this request has passed; it was not executed");
}

/* At once, or slowly where we were told to be slow; it is the same that is done. */
static void go(struct work *w, void (*next)(struct work *w))
{
    w->next = next;
    if (w->app->mode == MODE_SLOW)
        fm_loop_timer_in_ms(&w->app->process.loop, &w->delay, SLOW_MS);
    else
        next(w);
}

/* -------- requests -------- */

static bool plain(struct fm_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_' || c == '.'))
            return false;
    }
    return s.n > 0 && s.n < 128;
}

/* (*) The key and the epoch go to where the effect is: the one is stored in its transaction, the
 * other is compared there. */
static void to_store(struct work *w, const char *kind, struct fm_str id, uint64_t amount)
{
    struct fm_buf b = fm_buf(w->text, sizeof w->text);
    fm_buf_printf(&b, "%s?kind=%s&id=%.*s&amount=%llu&text=hello HTTP/1.1\r\nHost: store\r\n",
                  w->command ? "POST /apply" : "GET /read", kind, FM_STR_ARG(id),
                  (unsigned long long)amount);
    if (w->command && w->key[0])
        fm_buf_printf(&b, "Idempotency-Key: %s\r\n", w->key);
    if (w->command && w->authority.cell[0])
        fm_buf_printf(&b, "Fulmar-Authority: %s@%llu\r\n", w->authority.cell,
                      (unsigned long long)w->authority.epoch);
    fm_buf_lit(&b, "Content-Length: 0\r\n\r\n");
    FM_ASSERT(!b.full);
    w->text_n = b.n;
    w->store_method = w->command ? FM_METHOD_POST : FM_METHOD_GET;
}

static void to_ledger(struct work *w, struct fm_str account, uint64_t amount)
{
    struct bank_effect *e = &w->effect;
    FM_ASSERT(w->app->ledger && account.n < sizeof e->id);
    e->authority = w->authority;
    e->amount = (int64_t)(amount & INT32_MAX);
    snprintf(e->id, sizeof e->id, "%.*s", FM_STR_ARG(account));
    snprintf(e->key, sizeof e->key, "%s", w->key);
}

static uint64_t amount_of(struct fm_str query)
{
    uint64_t n = 1;
    struct fm_str prefix = FM_STR("?amount=");
    if (fm_str_starts(query, prefix) &&
        !fm_str_u64(fm_str(query.p + prefix.n, query.n - prefix.n), &n))
        n = 1;
    return n;
}

static void command(struct work *w, struct fm_str kind, struct fm_str part[PATH_PARTS],
                    const struct fm_http_head *h)
{
    bool post = h->method == FM_METHOD_POST;
    if (w->read_only) { /* (*) its gate does not let any begin; this is the second lock */
        note(w, "read-only");
        sorry(w, 503, "this region may only read");
    } else if (fm_str_eqz(kind, "profile") && h->method == FM_METHOD_PUT) {
        to_store(w, "profile", part[1], 0);
        go(w, ask_store);
    } else if (fm_str_eqz(kind, "cards") && post && fm_str_eqz(part[2], "freeze")) {
        to_store(w, "freeze", part[1], 0);
        if (w->app->mode == MODE_DEPENDENCY_DOWN)
            sorry(w, 503, "the card network does not answer");
        else
            go(w, ask_network);
    } else if (fm_str_eqz(kind, "ledger") && post && fm_str_eqz(part[2], "debit")) {
        if (!w->key[0]) {
            sorry(w, 400, "a debit needs an Idempotency-Key");
            return;
        }
        to_store(w, "debit", part[1], amount_of(h->query));
        if (w->app->ledger)
            to_ledger(w, part[1], amount_of(h->query));
        go(w, w->app->ledger ? ask_ledger : ask_store);
    } else {
        sorry(w, 404, "no such thing here");
    }
}

static void query(struct work *w, struct fm_str kind, struct fm_str id)
{
    static const struct {
        const char *path, *kind;
    } kinds[] = {{"ledger", "ledger"}, {"profile", "profile"}, {"cards", "card"}};
    for (size_t i = 0; i < FM_COUNT(kinds); i++) {
        if (!fm_str_eqz(kind, kinds[i].path))
            continue;
        bool ledger = i == 0 && w->app->ledger;
        to_store(w, kinds[i].kind, id, 0);
        if (ledger)
            to_ledger(w, id, 0);
        go(w, ledger ? ask_ledger : ask_store);
        return;
    }
    sorry(w, 404, "no such thing here");
}

static void dispatch(struct work *w, const struct fm_http_head *h)
{
    struct fm_str part[PATH_PARTS] = {{NULL, 0}}, rest = fm_str(h->path.p + 1, h->path.n - 1);
    for (unsigned i = 0; i < PATH_PARTS && rest.p; i++)
        part[i] = fm_str_cut(rest, '/', &rest);
    bool get = h->method == FM_METHOD_GET;
    if (fm_str_eqz(part[0], "catalog") && get) {
        go(w, show_catalog);
    } else if (fm_str_eqz(part[0], "health")) {
        answer(w, 200, FM_STR("{\"healthy\":true}\n"));
    } else if (!plain(part[1])) {
        sorry(w, 404, "no such thing here");
    } else if (!get) {
        command(w, part[0], part, h);
    } else {
        query(w, part[0], part[1]);
    }
}

/* What its gate said along with it. False: it is not to be understood. */
static bool read_head(struct work *w, const struct fm_http_head *h)
{
    struct fm_str key = fm_http_value(h, FM_HDR_IDEMPOTENCY_KEY);
    struct fm_str authority = fm_http_value(h, FM_HDR_FULMAR_AUTHORITY);
    w->command = h->method != FM_METHOD_GET;
    w->read_only = fm_str_eqz(fm_http_value(h, FM_HDR_FULMAR_MODE), "read-only");
    if (key.n >= sizeof w->key || (authority.n && !bank_authority_parse(authority, &w->authority)))
        return false;
    snprintf(w->key, sizeof w->key, "%.*s", FM_STR_ARG(key));
    return true;
}

/* (*) The time that it waited in the kernel counts, too. Nor is a request executed whose sender has
 * hung up. */
static bool too_late(struct work *w, const struct fm_http_head *h)
{
    const struct fm_http_conn *c = w->conn;
    int64_t age = c->head_age_ns == INT64_MAX ? -1 : c->head_age_ns;
    struct fm_deadline d = fm_deadline_left(fm_http_value(h, FM_HDR_FULMAR_DEADLINE), age);
    w->deadline = d.given ? fm_mono_add_ns(fm_mono_now(), d.left_ns) : FM_MONO_NEVER;
    return fm_http_conn_hung_up(c) || (d.given && d.left_ns <= 0);
}

static void on_request(struct fm_http_conn *c, const struct fm_http_head *h)
{
    struct app *a = c->server->user;
    struct work *w = calloc(1, sizeof *w);
    FM_ASSERT(w);
    w->app = a;
    w->conn = c;
    fm_timer_init(&w->delay, go_on);
    c->data = w;
    bool health = fm_str_eqz(h->path, "/health");
    if (!read_head(w, h)) {
        sorry(w, 400, "this request cannot be understood");
    } else if (too_late(w, h)) {
        note(w, "deadline");
        sorry(w, 504, "the deadline of this request has passed; it was not executed");
    } else if (a->mode == MODE_HANG && !health) {
        return; /* until the client gives up */
    } else if (a->mode == MODE_ERROR && !health) {
        sorry(w, 500, "told to fail");
    } else {
        dispatch(w, h);
    }
}

static void on_failed(struct fm_http_conn *c, const struct fm_http_refusal *why)
{
    (void)why;
    struct work *w = c->data;
    if (!w)
        return;
    w->conn = NULL;
    if (w->calling) /* its answer frees it */
        return;
    note(w, "hung-up");
    free_work(w);
}

static void on_body(struct fm_http_conn *c, struct fm_str piece, bool last)
{
    (void)c;
    (void)piece;
    (void)last;
}

static void on_sent(struct fm_http_conn *c)
{
    (void)c;
}

static const struct fm_http_handler app_handler = {
    .request = on_request, .body = on_body, .sent = on_sent, .failed = on_failed};

/* -------- the admin port -------- */

static void on_admin(struct fm_http_conn *c, const struct fm_http_head *h)
{
    static const char *const modes[] = {"/mode/ok", "/mode/hang", "/mode/error", "/mode/slow",
                                        "/mode/dependency-down"};
    struct app *a = c->server->user;
    for (unsigned i = 0; i < FM_COUNT(modes); i++)
        if (fm_str_eqz(h->path, modes[i])) {
            a->mode = (enum mode)i;
            fm_http_conn_answer(c, 200, FM_STR("text/plain"), FM_STR(""), FM_STR("done\n"));
            return;
        }
    fm_http_conn_answer(c, 404, FM_STR("text/plain"), FM_STR(""),
                        FM_STR("/mode/ok, hang, error, slow or dependency-down\n"));
}

static void on_admin_failed(struct fm_http_conn *c, const struct fm_http_refusal *why)
{
    (void)c;
    (void)why;
}

static const struct fm_http_handler admin_handler = {
    .request = on_admin, .body = on_body, .sent = on_sent, .failed = on_admin_failed};

/* -------- frozen -------- */

/* (*) After the process was stopped for a while, what waits in its sockets is old. It closes its
 * connections before it reads any of it; those who are still interested come again. */
static void woke(struct fm_loop *l, int64_t late_ns, void *user)
{
    (void)l;
    struct app *a = user;
    if (!fm_was_frozen(late_ns))
        return;
    fm_log(FM_LOG_WARN, "frozen", FM_KZ("instance", a->name), FM_KMS("late_ms", late_ns),
           FM_KU("connections_closed", a->process.server.nconns));
    fm_http_server_close_all(&a->process.server);
}

/* Without it an idle loop could not tell sleep from death. */
static void beat(struct fm_timer *t)
{
    struct app *a = fm_container_of(t, struct app, heartbeat);
    fm_loop_timer_in_ms(&a->process.loop, t, HEARTBEAT_MS);
}

int bank_app(uint16_t port, uint16_t admin_port, uint16_t store_port, uint16_t network_port,
             const char *name, const struct bank_app_ledger *ledger)
{
    static struct app a;
    struct fm_error e;
    a.name = name;
    bank_start(&a.process, port, &app_handler, admin_port, &admin_handler, &a);
    a.store = bank_calls_new(&a.process.loop, store_port);
    a.network = bank_calls_new(&a.process.loop, network_port);
    if (ledger)
        a.ledger = bank_ledger_new(&a.process.loop, ledger->write_port, ledger->read_port,
                                   ledger->password_file, &e);
    if (ledger && !a.ledger) {
        fprintf(stderr, "bank: %s\n", e.msg);
        return 1;
    }
    a.process.loop.woke = woke;
    a.process.loop.woke_user = &a;
    fm_timer_init(&a.heartbeat, beat);
    fm_loop_timer_in_ms(&a.process.loop, &a.heartbeat, HEARTBEAT_MS);
    bank_run(&a.process);
    return 0;
}
