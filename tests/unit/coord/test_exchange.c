/* A client of coordination against stores that misbehave: two listeners whose every byte is written
 * here. What matters is what a transaction is said to have become. */
#include "net.h"

#include "coord/base64.h"
#include "coord/coord.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PLACES = 2, PEERS = 8, CLUSTER = 77 };

static struct net net;
static int listener[PLACES];
static struct fm_addr at[PLACES];
static struct peer *peers; /* connections to the stores, in the order of acceptance */
static unsigned npeers;
static struct fm_coord *coord;
static bool closed;
static char password[64];

struct op {
    struct fm_coord_op op;
    unsigned done;
    enum fm_coord_outcome outcome;
    enum fm_coord_why why;
    uint64_t revision;
    size_t n;
    char error[256];
};

static struct op one, two;
static const struct fm_coord_compare compare = {FM_STR_INIT("a"), 5};
static const struct fm_coord_write write_a = {.key = FM_STR_INIT("a"), .value = FM_STR_INIT("v")};
static const struct fm_coord_txn txn = {&compare, 1, &write_a, 1};

static void done(struct fm_coord_op *op)
{
    struct op *o = fm_container_of(op, struct op, op);
    o->done++;
    o->outcome = op->outcome;
    o->why = op->why;
    o->revision = op->revision;
    o->n = op->nkv;
    snprintf(o->error, sizeof o->error, "%s", op->error.msg);
}

static void on_closed(struct fm_coord *c, void *user)
{
    (void)c;
    (void)user;
    closed = true;
}

static struct fm_mono in_ms(int64_t ms)
{
    return fm_mono_add_ms(fm_mono_now(), ms);
}

static void read_a(struct op *o)
{
    memset(o, 0, sizeof *o);
    o->op.done = done;
    fm_coord_get(coord, &o->op, FM_STR("a"), false, false, in_ms(30000));
}

static void commit(struct op *o, int64_t ms)
{
    memset(o, 0, sizeof *o);
    o->op.done = done;
    fm_coord_commit(coord, &o->op, &txn, in_ms(ms));
}

static void open_with(const struct fm_coord_config *extra)
{
    static char hosts[PLACES][32];
    struct fm_coord_endpoint e[PLACES];
    struct fm_error err;
    struct fm_coord_config c = *extra;
    for (size_t i = 0; i < PLACES; i++) {
        snprintf(hosts[i], sizeof hosts[i], "place %zu", i);
        e[i] = (struct fm_coord_endpoint){hosts[i], "127.0.0.1", fm_addr_port(&at[i])};
    }
    c.service = "s";
    c.endpoint = e;
    c.nendpoint = PLACES;
    c.closed = on_closed;
    coord = fm_coord_open(&net.loop, &c, &err);
    if (!coord)
        fail_msg("%s", err.msg);
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    net_open(&net, 64 * 1024, 16);
    for (size_t i = 0; i < PLACES; i++)
        listener[i] = raw_listen(&at[i]);
    peers = calloc(PEERS, sizeof *peers);
    assert_non_null(peers);
    npeers = 0;
    closed = false;
    snprintf(password, sizeof password, "/tmp/fulmar-password-%d", (int)getpid());
    open_with(&(struct fm_coord_config){0});
    return rc;
}

static int teardown(void **state)
{
    fm_coord_close(coord);
    NET_UNTIL(&net, closed);
    for (unsigned i = 0; i < npeers; i++)
        if (peers[i].fd >= 0)
            peer_close(&peers[i]);
    free(peers);
    for (size_t i = 0; i < PLACES; i++)
        if (listener[i] >= 0)
            close(listener[i]);
    (void)unlink(password);
    net_close(&net);
    return fm_test_fds_after(state);
}

static void reopen(const struct fm_coord_config *extra)
{
    fm_coord_close(coord);
    NET_UNTIL(&net, closed);
    closed = false;
    open_with(extra);
}

/* -------- the stores -------- */

static struct peer *accept_at(unsigned place)
{
    assert_true(npeers < PEERS);
    struct peer *p = &peers[npeers++];
    peer_accept(&net, p, listener[place]);
    return p;
}

static bool has_request(struct peer *p)
{
    peer_poll(p);
    const char *end = memmem(p->in, p->n, "\r\n\r\n", 4);
    const char *len = end ? memmem(p->in, p->n, "Content-Length: ", 16) : NULL;
    uint64_t n = 0;
    if (!len)
        return false;
    struct fm_str rest, line = fm_str_cut(fm_str(len + 16, 16), '\r', &rest);
    assert_true(fm_str_u64(line, &n));
    return p->n >= (size_t)(end + 4 - p->in) + n;
}

/* Wait for a request to this path, with this in it. */
static void expect(struct peer *p, const char *path, const char *with)
{
    char first[64];
    int n = snprintf(first, sizeof first, "POST %s HTTP/1.1\r\n", path);
    NET_UNTIL(&net, has_request(p));
    if (p->n < (size_t)n || memcmp(p->in, first, (size_t)n) != 0)
        fail_msg("not %s: %.*s", path, (int)p->n, p->in);
    if (with && !memmem(p->in, p->n, with, strlen(with)))
        fail_msg("without %s: %.*s", with, (int)p->n, p->in);
    peer_drop(p, p->n);
}

static void answer(struct peer *p, unsigned status, const char *body)
{
    char text[2048];
    snprintf(text, sizeof text,
             "HTTP/1.1 %u X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
             status, strlen(body), body);
    peer_say(&net, p, text);
}

static const char *header(unsigned cluster, unsigned revision)
{
    static char text[96];
    snprintf(text, sizeof text, "\"header\":{\"cluster_id\":\"%u\",\"revision\":\"%u\"}", cluster,
             revision);
    return text;
}

static const char *kv(const char *key, const char *value, unsigned revision)
{
    static char ring[4][512];
    static unsigned next;
    char whole[64], k[128], v[256];
    struct fm_buf kb = fm_buf(k, sizeof k), vb = fm_buf(v, sizeof v);
    snprintf(whole, sizeof whole, "/fulmar/s/%s", key);
    fm_base64_add(&kb, fm_str_z(whole));
    fm_base64_add(&vb, fm_str_z(value));
    char *out = ring[next++ % FM_COUNT(ring)];
    snprintf(out, sizeof ring[0], "{\"key\":\"%.*s\",\"value\":\"%.*s\",\"mod_revision\":\"%u\"}",
             (int)kb.n, k, (int)vb.n, v, revision);
    return out;
}

#define STAMP "{\"fulmar\":1,\"service\":\"s\",\"incarnation\":\"00aa\"}"

static void answer_stamp(struct peer *p, unsigned cluster, unsigned revision)
{
    char body[1024];
    snprintf(body, sizeof body, "{%s,\"kvs\":[%s]}", header(cluster, revision),
             kv("stamp", STAMP, 2));
    answer(p, 200, body);
}

static void answer_read(struct peer *p, unsigned revision)
{
    char body[1024];
    snprintf(body, sizeof body, "{%s,\"kvs\":[%s]}", header(CLUSTER, revision), kv("a", "v", 5));
    answer(p, 200, body);
}

static void answer_done(struct peer *p, unsigned revision)
{
    char body[1024];
    snprintf(body, sizeof body, "{%s,\"succeeded\":true}", header(CLUSTER, revision));
    answer(p, 200, body);
}

static void answer_failed(struct peer *p, unsigned stamp_revision, unsigned revision)
{
    char body[2048];
    snprintf(body, sizeof body,
             "{%s,\"responses\":[{\"response_range\":{\"kvs\":[%s]}},{\"response_range\":{\"kvs\":["
             "%s]}}]}",
             header(CLUSTER, 9), kv("stamp", STAMP, stamp_revision), kv("a", "other", revision));
    answer(p, 200, body);
}

static void refuse(struct peer *p, unsigned status, int code, const char *message)
{
    char body[512];
    snprintf(body, sizeof body, "{\"error\":\"%s\",\"message\":\"%s\",\"code\":%d}", message,
             message, code);
    answer(p, status, body);
}

/* The handshake of a place, whose store is at revision 9. */
static struct peer *greet(unsigned place)
{
    struct peer *hello = accept_at(place);
    expect(hello, "/v3/kv/range", "Grpc-Metadata-Hasleader: true");
    answer_stamp(hello, CLUSTER, 9);
    return hello;
}

static void until_done(struct op *o)
{
    NET_UNTIL(&net, o->done);
    assert_int_equal(o->done, 1);
}

static void is(struct op *o, enum fm_coord_outcome outcome, enum fm_coord_why why)
{
    until_done(o);
    if (o->outcome != outcome || o->why != why)
        fail_msg("%s, %s: %s", fm_coord_outcome_text(o->outcome), fm_coord_why_text(o->why),
                 o->error);
}

static void nothing_more_comes(struct peer *p)
{
    net_turn_ms(&net, 30);
    peer_poll(p);
    assert_int_equal(p->n, 0);
}

/* -------- what became of it -------- */

static void a_good_answer_is_done(void **state)
{
    (void)state;
    commit(&one, 30000);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/txn", NULL);
    answer_done(p, 10);
    is(&one, FM_COORD_DONE, FM_COORD_WHY_NONE);
    assert_int_equal(one.revision, 10);
    struct fm_coord_known k = fm_coord_known(coord);
    assert_int_equal(k.revision, 10);
    assert_string_equal(k.incarnation, "00aa");
}

static void a_failed_compare_is_not_done(void **state)
{
    (void)state;
    commit(&one, 30000);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/txn", NULL);
    answer_failed(p, 2, 7);
    is(&one, FM_COORD_NOT_DONE, FM_COORD_WHY_COMPARE);
    assert_int_equal(one.n, 1);
}

static void a_lost_connection_is_unknown_and_nothing_is_sent_again(void **state)
{
    (void)state;
    commit(&one, 30000);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/txn", NULL);
    peer_reset(p);
    is(&one, FM_COORD_UNKNOWN, FM_COORD_WHY_UNREACHABLE);
    read_a(&two); /* the next one goes to the other place, and is the read */
    (void)greet(1);
    p = accept_at(1);
    expect(p, "/v3/kv/range", NULL);
    answer_read(p, 9);
    is(&two, FM_COORD_DONE, FM_COORD_WHY_NONE);
}

static void half_an_answer_is_unknown(void **state)
{
    (void)state;
    commit(&one, 30000);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/txn", NULL);
    peer_say(&net, p, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"header\":{");
    peer_close(p);
    is(&one, FM_COORD_UNKNOWN, FM_COORD_WHY_UNREACHABLE);
}

static void a_read_is_sent_again_elsewhere(void **state)
{
    (void)state;
    read_a(&one);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/range", NULL);
    peer_reset(p);
    (void)greet(1);
    p = accept_at(1);
    expect(p, "/v3/kv/range", NULL);
    answer_read(p, 9);
    is(&one, FM_COORD_DONE, FM_COORD_WHY_NONE);
    assert_int_equal(one.n, 1);
}

static void what_was_never_sent_goes_elsewhere(void **state)
{
    (void)state;
    close(listener[0]);
    listener[0] = -1;
    commit(&one, 30000);
    (void)greet(1);
    struct peer *p = accept_at(1);
    expect(p, "/v3/kv/txn", NULL);
    answer_done(p, 10);
    is(&one, FM_COORD_DONE, FM_COORD_WHY_NONE);
}

static void silence_until_the_deadline_is_unknown(void **state)
{
    (void)state;
    commit(&one, 5000);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/txn", NULL);
    assert_int_equal(one.done, 0);
    net_skip_ms(5001);
    is(&one, FM_COORD_UNKNOWN, FM_COORD_WHY_TIMEOUT);
    NET_UNTIL(&net, peer_is_over(p)); /* a late answer is heard by nobody */
}

static void a_silent_place_costs_a_read_one_attempt(void **state)
{
    (void)state;
    read_a(&one);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/range", NULL);
    net_skip_ms(2001);
    (void)greet(1);
    p = accept_at(1);
    expect(p, "/v3/kv/range", NULL);
    answer_read(p, 9);
    is(&one, FM_COORD_DONE, FM_COORD_WHY_NONE);
}

static void waiting_for_nobody_is_never_sent(void **state)
{
    (void)state;
    for (size_t i = 0; i < PLACES; i++) {
        close(listener[i]);
        listener[i] = -1;
    }
    commit(&one, 300);
    is(&one, FM_COORD_NOT_DONE, FM_COORD_WHY_UNREACHABLE);
    assert_non_null(strstr(one.error, "never sent: place "));
    assert_non_null(strstr(one.error, "nobody listens there"));
}

static void an_error_of_unknown_meaning_is_unknown(void **state)
{
    (void)state;
    commit(&one, 30000);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/txn", NULL);
    refuse(p, 503, 14, "etcdserver: request timed out");
    is(&one, FM_COORD_UNKNOWN, FM_COORD_WHY_UNREACHABLE);
    nothing_more_comes(p);
}

static void a_refusal_is_not_done(void **state)
{
    (void)state;
    commit(&one, 30000);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/txn", NULL);
    refuse(p, 400, 3, "etcdserver: request is too large");
    is(&one, FM_COORD_NOT_DONE, FM_COORD_WHY_REFUSED);
    assert_non_null(strstr(one.error, "too large"));
}

static void a_place_without_leader_is_left(void **state)
{
    (void)state;
    commit(&one, 30000);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/txn", NULL);
    refuse(p, 503, 14, "etcdserver: no leader");
    (void)greet(1);
    p = accept_at(1);
    expect(p, "/v3/kv/txn", NULL);
    answer_done(p, 10);
    is(&one, FM_COORD_DONE, FM_COORD_WHY_NONE);
}

static void nonsense_is_unknown(void **state)
{
    (void)state;
    commit(&one, 30000);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/txn", NULL);
    answer(p, 200, "<html>");
    is(&one, FM_COORD_UNKNOWN, FM_COORD_WHY_ANSWER);
}

static void other_keys_than_were_asked_for_are_no_answer(void **state)
{
    (void)state;
    char body[1024];
    read_a(&one);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/range", NULL);
    snprintf(body, sizeof body, "{%s,\"kvs\":[%s]}", header(CLUSTER, 9), kv("b", "v", 5));
    answer(p, 200, body);
    struct peer *hello = accept_at(1);
    expect(hello, "/v3/kv/range", NULL);
    snprintf(body, sizeof body, "{%s,\"kvs\":[%s]}", header(CLUSTER, 9), kv("b", STAMP, 5));
    answer(hello, 200, body); /* nor is this a stamp */
    (void)greet(0);
    p = accept_at(0);
    expect(p, "/v3/kv/range", NULL);
    answer_read(p, 9);
    is(&one, FM_COORD_DONE, FM_COORD_WHY_NONE);
}

static void a_failure_without_a_reason_is_unknown(void **state)
{
    (void)state;
    commit(&one, 30000);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/txn", NULL);
    answer_failed(p, 2, 5); /* just what was compared */
    is(&one, FM_COORD_UNKNOWN, FM_COORD_WHY_ANSWER);
}

/* -------- which store it is -------- */

static void a_read_of_less_than_was_shown_is_refused(void **state)
{
    (void)state;
    read_a(&one);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/range", NULL);
    answer_read(p, 8);
    is(&one, FM_COORD_NOT_DONE, FM_COORD_WHY_WENT_BACK);
    commit(&two, 30000); /* from then on nothing is sent */
    is(&two, FM_COORD_NOT_DONE, FM_COORD_WHY_WENT_BACK);
    nothing_more_comes(p);
}

static void a_transaction_in_a_store_that_went_back_is_unknown(void **state)
{
    (void)state;
    commit(&one, 30000);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/txn", NULL);
    answer_done(p, 4);
    is(&one, FM_COORD_UNKNOWN, FM_COORD_WHY_WENT_BACK);
}

static void answers_that_overtake_each_other_are_no_trouble(void **state)
{
    (void)state;
    read_a(&one);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/range", NULL);
    read_a(&two);
    struct peer *q = accept_at(0);
    expect(q, "/v3/kv/range", NULL);
    answer_read(q, 12);
    is(&two, FM_COORD_DONE, FM_COORD_WHY_NONE);
    answer_read(p, 10); /* it was asked when 9 was all that we knew */
    is(&one, FM_COORD_DONE, FM_COORD_WHY_NONE);
}

static void another_stamp_is_another_store(void **state)
{
    (void)state;
    commit(&one, 30000);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/txn", NULL);
    answer_failed(p, 8, 5);
    is(&one, FM_COORD_NOT_DONE, FM_COORD_WHY_WENT_BACK);
}

static void a_store_that_lost_its_stamp_is_not_stamped_again(void **state)
{
    (void)state;
    reopen(&(struct fm_coord_config){.known = {.incarnation = "00aa", .revision = 3}});
    commit(&one, 30000);
    struct peer *p = accept_at(0);
    char body[256];
    expect(p, "/v3/kv/range", NULL);
    snprintf(body, sizeof body, "{%s}", header(CLUSTER, 9));
    answer(p, 200, body);
    is(&one, FM_COORD_NOT_DONE, FM_COORD_WHY_WENT_BACK);
    nothing_more_comes(p);
}

static void a_place_of_another_cluster_is_left(void **state)
{
    (void)state;
    read_a(&one);
    (void)greet(0);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/range", NULL);
    peer_reset(p);
    struct peer *hello = accept_at(1);
    expect(hello, "/v3/kv/range", NULL);
    answer_stamp(hello, CLUSTER + 1, 9);
    (void)greet(0);
    p = accept_at(0);
    expect(p, "/v3/kv/range", NULL);
    answer_read(p, 9);
    is(&one, FM_COORD_DONE, FM_COORD_WHY_NONE);
    assert_int_equal(accept4(listener[1], NULL, NULL, SOCK_CLOEXEC), -1); /* nothing more */
    assert_int_equal(errno, EAGAIN);
    read_a(&two); /* ours has answered: it begins anew to count */
    expect(p, "/v3/kv/range", NULL);
    peer_reset(p);
    for (unsigned i = PLACES; i-- > 0;) {
        hello = accept_at(i);
        expect(hello, "/v3/kv/range", NULL);
        answer_stamp(hello, CLUSTER + 1, 9);
    }
    is(&two, FM_COORD_NOT_DONE, FM_COORD_WHY_WENT_BACK); /* most are: ours was replaced */
    assert_non_null(strstr(two.error, "2 of 2 endpoints are of another cluster"));
    nothing_more_comes(hello);
}

static void a_cluster_that_was_known_is_looked_for(void **state)
{
    (void)state;
    reopen(&(struct fm_coord_config){
        .known = {.incarnation = "00aa", .cluster = CLUSTER + 1, .revision = 3}});
    read_a(&one);
    for (unsigned i = 0; i < PLACES; i++)
        (void)greet(i);
    is(&one, FM_COORD_NOT_DONE, FM_COORD_WHY_WENT_BACK);
}

static void a_stamp_of_another_service_is_refused(void **state)
{
    (void)state;
    char body[1024];
    commit(&one, 30000);
    struct peer *hello = accept_at(0);
    expect(hello, "/v3/kv/range", NULL);
    snprintf(body, sizeof body, "{%s,\"kvs\":[%s]}", header(CLUSTER, 9),
             kv("stamp", "{\"fulmar\":1,\"service\":\"theirs\",\"incarnation\":\"00aa\"}", 2));
    answer(hello, 200, body);
    is(&one, FM_COORD_NOT_DONE, FM_COORD_WHY_SERVICE);
    assert_non_null(strstr(one.error, "`theirs`"));
    nothing_more_comes(hello);
}

/* -------- watches -------- */

static char told[256];

static void changed(struct fm_coord_watch *w, const struct fm_coord_event *event, size_t n)
{
    (void)w;
    size_t used = strlen(told);
    for (size_t i = 0; i < n; i++)
        used +=
            (size_t)snprintf(told + used, sizeof told - used, "%.*s@%llu ",
                             FM_STR_ARG(event[i].kv.key), (unsigned long long)event[i].kv.revision);
}

static void fresh(struct fm_coord_watch *w, const struct fm_coord_kv *kv, size_t n,
                  uint64_t revision)
{
    (void)w;
    (void)kv;
    size_t used = strlen(told);
    snprintf(told + used, sizeof told - used, "fresh %zu@%llu ", n, (unsigned long long)revision);
}

static void begin_stream(struct peer *p, const char *from)
{
    expect(p, "/v3/watch", from);
    peer_say(&net, p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
}

static void say_event(struct peer *p, unsigned first, unsigned last)
{
    char body[2048], chunk[2200];
    size_t n =
        (size_t)snprintf(body, sizeof body, "{\"result\":{%s,\"events\":[", header(CLUSTER, last));
    for (unsigned r = first; r <= last; r++)
        n += (size_t)snprintf(body + n, sizeof body - n, "%s{\"kv\":%s}", r > first ? "," : "",
                              kv("a", "v", r));
    n += (size_t)snprintf(body + n, sizeof body - n, "]}}\n");
    snprintf(chunk, sizeof chunk, "%zx\r\n%s\r\n", n, body);
    peer_say(&net, p, chunk);
}

static void a_watch_goes_on_elsewhere_and_tells_nothing_twice(void **state)
{
    (void)state;
    struct fm_coord_watch w = {.changed = changed, .fresh = fresh};
    struct fm_error e;
    told[0] = 0;
    assert_int_equal(fm_coord_watch_open(coord, &w, FM_STR(""), 9, &e), FM_ERR_OK);
    (void)greet(0);
    struct peer *p = accept_at(0);
    begin_stream(p, "\"start_revision\":\"10\"");
    say_event(p, 10, 11);
    NET_UNTIL(&net, strcmp(told, "a@10 a@11 ") == 0);
    peer_reset(p);
    struct peer *hello = accept_at(1);
    expect(hello, "/v3/kv/range", NULL);
    answer_stamp(hello, CLUSTER, 11); /* what a watch has told is known, too */
    p = accept_at(1);
    begin_stream(p, "\"start_revision\":\"12\"");
    say_event(p, 10, 13); /* more than was asked for */
    NET_UNTIL(&net, strcmp(told, "a@10 a@11 a@12 a@13 ") == 0);
    say_event(p, 12, 13);
    say_event(p, 14, 14);
    NET_UNTIL(&net, strcmp(told, "a@10 a@11 a@12 a@13 a@14 ") == 0);
    fm_coord_watch_close(&w);
    NET_UNTIL(&net, peer_is_over(p));
}

static void a_broken_stream_is_left(void **state)
{
    (void)state;
    struct fm_coord_watch w = {.changed = changed, .fresh = fresh};
    struct fm_error e;
    told[0] = 0;
    assert_int_equal(fm_coord_watch_open(coord, &w, FM_STR(""), 9, &e), FM_ERR_OK);
    (void)greet(0);
    struct peer *p = accept_at(0);
    begin_stream(p, NULL);
    peer_say(&net, p, "9\r\nnonsense\n\r\n");
    NET_UNTIL(&net, peer_is_over(p));
    (void)greet(1);
    net_skip_ms(200);
    p = accept_at(1);
    begin_stream(p, "\"start_revision\":\"10\"");
    say_event(p, 10, 10);
    NET_UNTIL(&net, strcmp(told, "a@10 ") == 0);
    fm_coord_watch_close(&w);
}

/* -------- users -------- */

static void set_password(mode_t mode)
{
    (void)unlink(password);
    FILE *f = fopen(password, "w");
    assert_non_null(f);
    fputs("secret\n", f);
    fclose(f);
    assert_int_equal(chmod(password, mode), 0);
}

static void logs_in_and_again_when_the_token_is_old(void **state)
{
    (void)state;
    char body[256];
    set_password(0600);
    reopen(&(struct fm_coord_config){.login = "fulmar", .password_file = password});
    commit(&one, 30000);
    struct peer *hello = accept_at(0);
    expect(hello, "/v3/auth/authenticate", "{\"name\":\"fulmar\",\"password\":\"secret\"}");
    snprintf(body, sizeof body, "{%s,\"token\":\"first\"}", header(CLUSTER, 9));
    answer(hello, 200, body);
    expect(hello, "/v3/kv/range", "Authorization: first\r\n");
    answer_stamp(hello, CLUSTER, 9);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/txn", "Authorization: first\r\n");
    refuse(p, 401, 16, "etcdserver: invalid auth token");
    hello = accept_at(1);
    expect(hello, "/v3/auth/authenticate", NULL);
    snprintf(body, sizeof body, "{%s,\"token\":\"second\"}", header(CLUSTER, 9));
    answer(hello, 200, body);
    expect(hello, "/v3/kv/range", "Authorization: second\r\n");
    answer_stamp(hello, CLUSTER, 9);
    p = accept_at(1);
    expect(p, "/v3/kv/txn", "Authorization: second\r\n");
    answer_done(p, 10);
    is(&one, FM_COORD_DONE, FM_COORD_WHY_NONE);
}

static void a_wrong_password_fails_at_once(void **state)
{
    (void)state;
    set_password(0600);
    reopen(&(struct fm_coord_config){.login = "fulmar", .password_file = password});
    commit(&one, 30000);
    struct peer *hello = accept_at(0);
    expect(hello, "/v3/auth/authenticate", NULL);
    refuse(hello, 400, 3, "etcdserver: authentication failed, invalid user ID or password");
    is(&one, FM_COORD_NOT_DONE, FM_COORD_WHY_PERMISSION);
    assert_non_null(strstr(one.error, "invalid user ID"));
    assert_null(strstr(one.error, "secret"));
}

static void a_password_that_others_can_read_is_not_used(void **state)
{
    (void)state;
    set_password(0644);
    reopen(&(struct fm_coord_config){.login = "fulmar", .password_file = password});
    commit(&one, 30000);
    is(&one, FM_COORD_NOT_DONE, FM_COORD_WHY_PERMISSION);
    assert_non_null(strstr(one.error, "others may read it"));
}

static void a_store_without_users_needs_no_token(void **state)
{
    (void)state;
    set_password(0600);
    reopen(&(struct fm_coord_config){.login = "fulmar", .password_file = password});
    read_a(&one);
    struct peer *hello = accept_at(0);
    expect(hello, "/v3/auth/authenticate", NULL);
    refuse(hello, 412, 9, "etcdserver: authentication is not enabled");
    expect(hello, "/v3/kv/range", NULL);
    answer_stamp(hello, CLUSTER, 9);
    struct peer *p = accept_at(0);
    expect(p, "/v3/kv/range", NULL);
    answer_read(p, 9);
    is(&one, FM_COORD_DONE, FM_COORD_WHY_NONE);
}

#define with(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(
    with(a_good_answer_is_done), with(a_failed_compare_is_not_done),
    with(a_lost_connection_is_unknown_and_nothing_is_sent_again), with(half_an_answer_is_unknown),
    with(a_read_is_sent_again_elsewhere), with(what_was_never_sent_goes_elsewhere),
    with(silence_until_the_deadline_is_unknown), with(a_silent_place_costs_a_read_one_attempt),
    with(waiting_for_nobody_is_never_sent), with(an_error_of_unknown_meaning_is_unknown),
    with(a_refusal_is_not_done), with(a_place_without_leader_is_left), with(nonsense_is_unknown),
    with(a_failure_without_a_reason_is_unknown), with(other_keys_than_were_asked_for_are_no_answer),
    with(a_read_of_less_than_was_shown_is_refused),
    with(a_transaction_in_a_store_that_went_back_is_unknown),
    with(answers_that_overtake_each_other_are_no_trouble), with(another_stamp_is_another_store),
    with(a_store_that_lost_its_stamp_is_not_stamped_again),
    with(a_place_of_another_cluster_is_left), with(a_cluster_that_was_known_is_looked_for),
    with(a_stamp_of_another_service_is_refused),
    with(a_watch_goes_on_elsewhere_and_tells_nothing_twice), with(a_broken_stream_is_left),
    with(logs_in_and_again_when_the_token_is_old), with(a_wrong_password_fails_at_once),
    with(a_password_that_others_can_read_is_not_used), with(a_store_without_users_needs_no_token))
