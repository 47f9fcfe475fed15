/* See the header. */
#include "stand.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct net stand_net;
struct fm_worker worker;
struct fm_seats *seats;
struct fm_seats_context *ledger, *cards, *tills;
struct fm_journal *journal;
struct peer client, server;
unsigned stand_wanted;

static struct fm_mailbox control;
static struct fm_board *board;
static struct fm_addr door, app_at;
static int app;
static _Atomic uint32_t connections;
static unsigned ended;
static char dir[64];

static const char text[] =
    "fulmar: 1\nservice: bank\nedge: {listen: [{address: \"127.0.0.1:1\"}]}\n"
    "coordination: {sqlite: /tmp/none.db}\n"
    "hosts:\n"
    "  w: {region: west, roles: [gate, health, controller, coordination], address: 127.0.0.1,\n"
    "      gate: \"127.0.0.1:2\", peer: \"127.0.0.1:3\", admin: \"127.0.0.1:4\"}\n"
    "  n: {region: north, roles: [gate, health, controller], address: 127.0.0.1,\n"
    "      gate: \"127.0.0.1:5\", peer: \"127.0.0.1:6\", admin: \"127.0.0.1:7\"}\n"
    "%s"
    "regions: {west: {priority: 1, apps: [\"127.0.0.1:8\"]},\n"
    "          north: {priority: 2, apps: [\"127.0.0.1:9\"]}}\n"
    "retry: {hedge-after: never}\n"
    "contexts:\n"
    "  ledger: {topology: active-passive, home: west, routes: [\"/ledger/**\",\n"
    "           {path: \"/ledger/{id}/live\", as: command},\n"
    "           {path: \"/ledger/{id}/on\", relay: true},\n"
    "           {path: \"/ledger/{id}/tap\", as: command, relay: true},\n"
    "           {path: \"/ledger/later/**\", when-away: {hold: 50ms, commands: queue}}],\n"
    "           when-away: {hold: 1s, queries: any, message: 'Back at \"noon\".'},\n"
    "           idempotency: {key: optional, by: gate}}\n"
    "  cards: {topology: affinity, cells: 4, key: {path: card}, routes: [\"/cards/{card}/**\",\n"
    "          {path: \"/cards/{card}/freeze\", when-away: {hold: 50ms, commands: override}},\n"
    "          {path: \"/cards/{card}/later\", when-away: {hold: 50ms, commands: queue}}],\n"
    "          when-away: {hold: 1s, queries: any}, idempotency: {key: optional, by: app}}\n"
    "  tills: {topology: affinity, cells: 4, key: {body: till}, routes: [\"/tills/**\",\n"
    "          {path: \"/tills/on\", relay: true},\n"
    "          {path: \"/tills/close\", when-away: {hold: 50ms, commands: override}}],\n"
    "          when-away: {hold: 1s, queries: any}}\n"
    "  pages: {topology: multi-write, routes: [\"/pages/**\"]}\n";

static const char second[] =
    "  w2: {region: west, roles: [gate, health], address: 127.0.0.1,\n"
    "       gate: \"127.0.0.1:10\", peer: \"127.0.0.1:11\", admin: \"127.0.0.1:12\"}\n";

static void on_ended(struct fm_msg *m, void *user)
{
    (void)user;
    assert_ptr_equal(fm_container_of(m, struct fm_worker, ended_msg), &worker);
    ended++;
}

static void wanted(void *user)
{
    (void)user;
    stand_wanted++;
}

const char *stand_journal_path(void)
{
    static char path[96];
    snprintf(path, sizeof path, "%s/journal.db", dir);
    return path;
}

static void open_journal(void)
{
    struct fm_error e;
    snprintf(dir, sizeof dir, "/tmp/fulmar-stand-XXXXXX");
    assert_non_null(mkdtemp(dir));
    struct fm_journal_options o = {.path = stand_journal_path(),
                                   .service = "bank",
                                   .retention_ms = 3600 * 1000,
                                   .calls_max = 100,
                                   .answer_max = 4096,
                                   .bytes_max = UINT64_C(1) << 30,
                                   .queue_max = 100,
                                   .queue_bytes_max = 1 << 20};
    journal = fm_journal_open(&o, &e);
    assert_non_null(journal);
}

static void remove_journal(void)
{
    static const char *const name[] = {"journal.db", "journal.db-wal", "journal.db-shm",
                                       "journal.db.lock"};
    char path[128];
    for (size_t i = 0; i < FM_COUNT(name); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, name[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(dir), 0);
}

static struct fm_view *make_view(enum fm_proxy_mode mode)
{
    const char *peer = mode == FM_PROXY_EDGE ? "w" : NULL; /* a gate knows other regions' gates */
    struct fm_view_address a[2] = {{.region = 0, .addr = app_at, .peer = peer},
                                   {.region = 1, .addr = app_at, .peer = "n"}};
    struct fm_view *v = fm_view_new(board, mode, 1, a, 2);
    assert_non_null(v);
    return v;
}

void stand_open(enum fm_proxy_mode mode)
{
    stand_open_of(mode, 1, NULL);
}

int stand_setup_gate(void **state)
{
    int rc = fm_test_fds_before(state);
    stand_open(FM_PROXY_GATE);
    return rc;
}

int stand_setup_edge(void **state)
{
    int rc = fm_test_fds_before(state);
    stand_open(FM_PROXY_EDGE);
    return rc;
}

int stand_teardown(void **state)
{
    stand_close();
    return fm_test_fds_after(state);
}

bool stand_is_first(const char *context, const char *key)
{
    const struct fm_keygate gate[] = {{FM_STR("w"), fm_keygate_id(FM_STR("w"))},
                                      {FM_STR("w2"), fm_keygate_id(FM_STR("w2"))}};
    return fm_keygate_of(gate, 2, fm_keygate_key(fm_str_z(context), fm_str_z(key))) == 0;
}

void stand_open_of(enum fm_proxy_mode mode, unsigned gates, const _Atomic bool *caught_up)
{
    char conf[sizeof text + sizeof second];
    FM_ASSERT(gates == 1 || gates == 2);
    snprintf(conf, sizeof conf, text, gates == 2 ? second : "");
    net_open(&stand_net, 16 * 1024, 8);
    assert_int_equal(fm_mailbox_open(&control, &stand_net.loop, NULL, NULL), FM_ERR_OK);
    app = raw_listen(&app_at);
    ended = stand_wanted = 0;
    client.fd = server.fd = -1;
    journal = NULL;
    if (mode == FM_PROXY_GATE)
        open_journal();
    seats = fm_seats_new(&control, wanted, NULL);
    board = given_board(conf, 1);
    board->seats = seats;
    struct fm_worker_config config = {.mode = mode,
                                      .http = {.limits = FM_HTTP_LIMITS_DEFAULT,
                                               .header_ms = 5000,
                                               .idle_ms = 60000,
                                               .raw_bodies = true},
                                      .connections_max = 4,
                                      .replay_body_bytes = 64 * 1024,
                                      .tunnel_idle_ms = 60000,
                                      .body_idle_ms = 60000,
                                      .connections = &connections,
                                      .control = &control,
                                      .ended = on_ended,
                                      .seats = seats,
                                      .journal = journal,
                                      .caught_up = caught_up};
    struct fm_view *v = make_view(mode);
    assert_int_equal(fm_seats_context(seats, FM_STR("ledger"), 1, &ledger, NULL), FM_ERR_OK);
    assert_int_equal(fm_seats_context(seats, FM_STR("cards"), 4, &cards, NULL), FM_ERR_OK);
    assert_int_equal(fm_seats_context(seats, FM_STR("tills"), 4, &tills, NULL), FM_ERR_OK);
    assert_int_equal(fm_worker_init(&worker, &config, v, NULL), FM_ERR_OK);
    fm_view_unref(v);
    struct fm_addr any;
    assert_int_equal(fm_addr_parse(&any, FM_STR("127.0.0.1:0")), FM_ERR_OK);
    assert_int_equal(fm_worker_listen(&worker, &any, NULL), FM_ERR_OK);
    door = any;
    door.len = sizeof door.un;
    assert_int_equal(getsockname(worker.listener[0].watch.fd, &door.sa, &door.len), 0);
    assert_int_equal(fm_worker_start(&worker, NULL), FM_ERR_OK);
}

void stand_close(void)
{
    if (client.fd >= 0)
        peer_close(&client);
    fm_worker_drain(&worker, 0);
    NET_UNTIL(&stand_net, ended == 1);
    fm_worker_join(&worker);
    if (journal)
        fm_journal_close(journal);
    fm_worker_deinit(&worker);
    if (server.fd >= 0)
        peer_close(&server);
    struct peer l = {.fd = app};
    peer_close(&l);
    fm_board_unref(board);
    fm_mailbox_close(&control);
    fm_seats_free(seats);
    net_close(&stand_net);
    if (journal)
        remove_journal();
}

/* -------- the client -------- */

void stand_say(const char *request)
{
    if (client.fd < 0)
        peer_connect(&client, &door);
    peer_drop(&client, client.n);
    peer_say(&stand_net, &client, request);
}

bool stand_heard(const char *what)
{
    return memmem(client.in, client.n, what, strlen(what)) != NULL;
}

void stand_hear(const char *begin)
{
    NET_UNTIL(&stand_net, (peer_poll(&client), memmem(client.in, client.n, "\r\n\r\n", 4)));
    if (client.n < strlen(begin) || memcmp(client.in, begin, strlen(begin)) != 0)
        fail_msg("the client heard %.*s", (int)client.n, client.in);
    if (!stand_heard("Connection: close\r\n"))
        return;
    int fd = client.fd; /* for the next request another one; what was heard stays */
    client.fd = -1;
    close(fd);
}

/* -------- the upstream -------- */

void stand_asked(const char *begin)
{
    if (server.fd < 0)
        peer_accept(&stand_net, &server, app);
    NET_UNTIL(&stand_net, (peer_poll(&server), memmem(server.in, server.n, "\r\n\r\n", 4)));
    if (server.n < strlen(begin) || memcmp(server.in, begin, strlen(begin)) != 0)
        fail_msg("the upstream was asked %.*s", (int)server.n, server.in);
}

int stand_app(void)
{
    return app;
}

bool stand_was_told(const char *what)
{
    return memmem(server.in, server.n, what, strlen(what)) != NULL;
}

void stand_answer(const char *answer)
{
    peer_drop(&server, server.n);
    peer_say(&stand_net, &server, answer);
}

void stand_nobody_asks(int64_t ms)
{
    size_t before = server.n;
    net_turn_ms(&stand_net, ms);
    if (server.fd >= 0)
        peer_poll(&server);
    assert_int_equal(server.n, before);
}

/* -------- what control says -------- */

void stand_view(struct fm_seats_context *c, unsigned cell, uint64_t epoch, unsigned region,
                bool released)
{
    struct fm_view_cell v = {
        .epoch = {epoch}, .gentle_from = {epoch}, .region = (uint8_t)region, .released = released};
    fm_seats_publish_view(c, cell, &v);
    fm_worker_authority_changed(&worker);
}

void stand_held_by(struct fm_seats_context *c, unsigned cell, uint64_t epoch, unsigned region)
{
    struct fm_sublease_cell s = {.known = {epoch}, .holder = (uint8_t)region};
    fm_seats_publish_sublease(c, cell, &s);
}

static void grant(struct fm_seats_context *c, unsigned cell, uint64_t epoch, int64_t ms,
                  bool closed)
{
    struct fm_sublease_cell s = {.until = fm_mono_add_ms(fm_mono_now(), ms),
                                 .epoch = {epoch},
                                 .known = {epoch},
                                 .closed = closed,
                                 .holder = 0};
    fm_seats_publish_sublease(c, cell, &s);
}

void stand_grant(struct fm_seats_context *c, unsigned cell, uint64_t epoch, int64_t ms)
{
    grant(c, cell, epoch, ms, false);
}

void stand_grant_closed(struct fm_seats_context *c, unsigned cell, uint64_t epoch, int64_t ms)
{
    grant(c, cell, epoch, ms, true);
}
