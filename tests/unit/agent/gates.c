/* See the header. */
#include "gates.h"

#include "proxy/queued.h"

#include <stdio.h>
#include <string.h>

struct asked gate_asked[GATE_ASKED_MAX];
unsigned gate_nasked;
char gate_said[4096];
struct fm_http_conn *gate_held;
struct act (*gate_script)(const struct asked *a);

static struct act done(const struct asked *a)
{
    (void)a;
    return (struct act){.status = 200, .headers = ""};
}

void gate_reset(void)
{
    gate_nasked = 0;
    gate_said[0] = 0;
    gate_held = NULL;
    gate_script = done;
}

static void copy(char *to, size_t n, struct fm_str s)
{
    snprintf(to, n, "%.*s", FM_STR_ARG(s));
}

static void respond(struct fm_http_conn *c, const struct act *a)
{
    if (a->hold)
        gate_held = c;
    else if (a->status == 0)
        fm_http_conn_abort(c);
    else
        fm_http_conn_answer(c, a->status, FM_STR("text/plain"), fm_str_z(a->headers),
                            FM_STR("what an application answers"));
}

static void on_request(struct fm_http_conn *c, const struct fm_http_head *h)
{
    struct gate *g = c->server->user;
    if (fm_str_eqz(h->path, "/.well-known/fulmar/ping")) {
        fm_http_conn_answer(c, 404, FM_STR("text/plain"), FM_STR(""), FM_STR("no route"));
        return;
    }
    assert_true(gate_nasked < GATE_ASKED_MAX);
    struct asked *a = &gate_asked[gate_nasked++];
    struct fm_ticket t;
    *a = (struct asked){.has_deadline = fm_http_has(h, FM_HDR_FULMAR_DEADLINE)};
    copy(a->region, sizeof a->region, fm_str_z(g->region));
    copy(a->key, sizeof a->key, fm_http_value(h, FM_HDR_IDEMPOTENCY_KEY));
    copy(a->authority, sizeof a->authority, fm_http_value(h, FM_HDR_FULMAR_AUTHORITY));
    copy(a->queued, sizeof a->queued, fm_http_value(h, FM_HDR_FULMAR_QUEUED));
    assert_true(fm_delivery_read(fm_str_z(a->queued), &t, &a->first));
    assert_str(t.region, "west");
    size_t n = strlen(gate_said);
    snprintf(gate_said + n, sizeof gate_said - n, "%s%s", n ? " " : "", a->key);
    if (fm_http_conn_has_body(c)) {
        fm_http_conn_body(c);
        return;
    }
    struct act act = gate_script(a);
    respond(c, &act);
}

static void on_body(struct fm_http_conn *c, struct fm_str piece, bool last)
{
    struct asked *a = &gate_asked[gate_nasked - 1];
    assert_true(last);
    copy(a->body, sizeof a->body, piece);
    struct act act = gate_script(a);
    respond(c, &act);
}

static void on_sent(struct fm_http_conn *c)
{
    (void)c;
}

static void on_failed(struct fm_http_conn *c, const struct fm_http_refusal *why)
{
    (void)why;
    if (c == gate_held)
        gate_held = NULL;
}

static const struct fm_http_handler handler = {
    .request = on_request, .body = on_body, .sent = on_sent, .failed = on_failed};

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    assert_non_null(fm_http_server_accept(&fm_container_of(ln, struct gate, listener)->server, fd,
                                          from, false));
}

void gate_open(struct gate *g, struct fm_loop *l, const char *region)
{
    struct fm_addr at;
    struct fm_http_server_config config = {
        .limits = FM_HTTP_LIMITS_DEFAULT, .header_ms = 60000, .idle_ms = 600000};
    config.limits.head_bytes = 8192;
    g->region = region;
    assert_int_equal(fm_addr_ip(&at, FM_STR("127.0.0.1"), g->port), FM_ERR_OK);
    assert_int_equal(fm_http_server_init(&g->server, l, &config, &handler, g, NULL), FM_ERR_OK);
    assert_int_equal(fm_listener_open(&g->listener, l, &at, 0, accepted, NULL), FM_ERR_OK);
    g->port = fm_addr_port(&g->listener.address);
    g->open = true;
}

void gate_shut(struct gate *g, struct fm_loop *l)
{
    if (!g->open)
        return;
    g->open = false;
    fm_listener_close(&g->listener);
    fm_http_server_close_all(&g->server);
    fm_loop_turn(l, 0);
    fm_http_server_deinit(&g->server);
}
