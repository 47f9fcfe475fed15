/* One GET, waited for: what comes back, and what is said where nothing does. The server is a thread
 * that says what it is told to. */
#include "net.h"

#include "http/fetch.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_MS = 10 * 1000, TOO_MUCH = 17 << 20 };

static struct fm_addr at;
static int listener;
static pthread_t thread;
static char request[4096];

struct script {
    const char *text;
    size_t zeros; /* behind the text */
    bool stays;   /* silent, until the client closes */
};

static struct script script;

static void *serve(void *unused)
{
    (void)unused;
    static const char zeros[65536];
    int fd = -1;
    while (fd < 0)
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    size_t n = 0;
    while (n < sizeof request - 1 && !strstr(request, "\r\n\r\n")) {
        ssize_t got = recv(fd, request + n, sizeof request - 1 - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
        request[n] = 0;
    }
    ssize_t sent = send(fd, script.text, strlen(script.text), MSG_NOSIGNAL);
    for (size_t left = script.zeros; left && sent >= 0; left -= (size_t)sent)
        sent = send(fd, zeros, fm_min_size(left, sizeof zeros), MSG_NOSIGNAL);
    char rest[64];
    while (script.stays && recv(fd, rest, sizeof rest, 0) > 0) {
    }
    close(fd);
    return NULL;
}

static enum fm_err fetch(struct script what, int64_t timeout_ms, struct fm_fetched *out,
                         struct fm_error *e)
{
    script = what;
    memset(request, 0, sizeof request);
    assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
    enum fm_err err = fm_fetch(&at, "/status?a=b", timeout_ms, out, e);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return err;
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    listener = raw_listen(&at);
    assert_int_equal(fcntl(listener, F_SETFL, 0), 0); /* blocking */
    return rc;
}

static int teardown(void **state)
{
    close(listener);
    return fm_test_fds_after(state);
}

static void brings_what_there_is(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        unsigned status;
        const char *body;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
         200, "hello"},
        {"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.0 404 Not Found\r\n\r\nhello", 404, "hello"},
        {"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 503, NULL},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_fetched out;
        struct fm_error e = {0};
        assert_int_equal(fetch((struct script){.text = cases[i].answer}, PATIENCE_MS, &out, &e),
                         FM_ERR_OK);
        assert_int_equal(out.status, cases[i].status);
        if (cases[i].body)
            assert_string_equal(out.body, cases[i].body);
        else
            assert_null(out.body);
        assert_int_equal(out.n, cases[i].body ? strlen(cases[i].body) : 0);
        free(out.body);
        assert_true(fm_str_starts(fm_str_z(request), FM_STR("GET /status?a=b HTTP/1.1\r\nHost: ")));
    }
}

static void says_what_went_wrong(void **state)
{
    (void)state;
    static const struct {
        struct script script;
        int64_t timeout_ms;
        enum fm_err err;
    } cases[] = {
        {{.text = "HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n"}, PATIENCE_MS, FM_ERR_INVALID},
        {{.text = "SSH-2.0-OpenSSH_9.2\r\n"}, PATIENCE_MS, FM_ERR_INVALID},
        {{.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"},
         PATIENCE_MS,
         FM_ERR_UNREACHABLE},
        {{.text = ""}, PATIENCE_MS, FM_ERR_UNREACHABLE},
        {{.text = "", .stays = true}, 50, FM_ERR_TIMEOUT},
        {{.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", .stays = true},
         50,
         FM_ERR_TIMEOUT},
        {{.text = "HTTP/1.0 200 OK\r\n\r\n", .zeros = TOO_MUCH}, PATIENCE_MS, FM_ERR_LIMIT},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_fetched out;
        struct fm_error e = {0};
        assert_int_equal(fetch(cases[i].script, cases[i].timeout_ms, &out, &e), cases[i].err);
        assert_true(strlen(e.msg) > 0);
        assert_null(out.body);
    }
}

static void says_that_nobody_listens(void **state)
{
    (void)state;
    struct fm_fetched out;
    struct fm_error e = {0};
    close(listener);
    assert_int_equal(fm_fetch(&at, "/", PATIENCE_MS, &out, &e), FM_ERR_UNREACHABLE);
    assert_string_equal(e.msg, "nobody listens there");
    listener = raw_listen(&at);
}

static void sends_no_target_that_does_not_fit(void **state)
{
    (void)state;
    static char target[2000] = "/";
    memset(target + 1, 'x', sizeof target - 2);
    struct fm_fetched out;
    assert_int_equal(fm_fetch(&at, target, PATIENCE_MS, &out, NULL), FM_ERR_INVALID);
    assert_int_equal(fm_fetch(&at, "status", PATIENCE_MS, &out, NULL), FM_ERR_INVALID);
}

#define with_listener(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_listener(brings_what_there_is), with_listener(says_what_went_wrong),
             with_listener(says_that_nobody_listens),
             with_listener(sends_no_target_that_does_not_fit))
