/* Checks of PostgreSQL, against a server that says what each test wants. */
#include "served.h"

#include "agent/check_io.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fm_conf_check conf;
static struct fm_check_io io;
static struct fm_check_result result;
static unsigned ended;

static void done(struct fm_check_io *from, const struct fm_check_result *r)
{
    assert_ptr_equal(from, &io);
    ended++;
    result = *r;
}

/* A check of the server, with a second for it. */
static void given(void)
{
    ended = 0;
    conf = (struct fm_conf_check){.name = FM_STR("ledger"),
                                  .type = FM_CHECK_POSTGRES,
                                  .target = {.host = FM_STR("127.0.0.1"), .is_ip = true},
                                  .pg = {.user = FM_STR("fulmar"), .database = FM_STR("bank")},
                                  .timeout_ms = 1000};
    conf.target.port = fm_addr_port(&served.at);
    io = (struct fm_check_io){.conf = &conf, .loop = &served.net.loop, .done = done};
    fm_check_io_init(&io);
}

/* The client asks for TLS first, and goes on without. */
static void accept_it(void)
{
    fm_check_io_start(&io);
    assert_int_equal(ended, 0);
    peer_accept(&served.net, &served.peer, served.listener);
    NET_UNTIL(&served.net, (peer_poll(&served.peer), served.peer.n == 8));
    peer_drop(&served.peer, 8);
    peer_send(&served.net, &served.peer, "N", 1);
    NET_UNTIL(&served.net, (peer_poll(&served.peer), served.peer.n > 8));
}

static void let_in(void)
{
    accept_it();
    peer_drop(&served.peer, served.peer.n);
    served_add('R', "\0\0\0\0", 4);
    served_add('K', "\0\0\0\7\0\0\0\11", 8);
    served_ready();
    served_send();
    NET_UNTIL(&served.net, served_got('S'));
}

/* One row, or with n = 0 none, to the statement that was asked. */
static void answer(const char *const *value, unsigned n)
{
    served_add('1', "", 0);
    served_add('2', "", 0);
    served_columns(n ? n : 1);
    if (n)
        served_row(value, n);
    served_complete("SELECT");
    served_ready();
    served_send();
}

static void refuse(const char *sqlstate, const char *text)
{
    served_error("ERROR", sqlstate, text);
    served_ready();
    served_send();
}

static void end_well(bool ok)
{
    NET_UNTIL(&served.net, ended > 0);
    assert_int_equal(ended, 1);
    if (result.ok != ok)
        print_error("%s\n", result.text);
    assert_int_equal(result.ok, ok);
    assert_false(fm_check_io_is_busy(&io));
    fm_check_io_deinit(&io);
    if (served.peer.fd >= 0)
        peer_close(&served.peer);
    served.peer.fd = -1;
}

static void says_who_it_is(void **state)
{
    (void)state;
    char text[512];
    given();
    accept_it();
    size_t n = fm_min_size(served.peer.n, sizeof text - 1);
    for (size_t i = 0; i < n; i++)
        text[i] = served.peer.in[i] ? served.peer.in[i] : '|';
    text[n] = 0;
    assert_non_null(strstr(text, "user|fulmar|database|bank|"));
    assert_non_null(strstr(text, "application_name|fulmar-check|"));
    assert_null(strstr(text, "options|")); /* a pooler takes none */
    fm_check_io_abort(&io);
    assert_int_equal(ended, 0);
}

static void a_server_is_what_it_should_be_or_fails(void **state)
{
    (void)state;
    static const struct {
        enum fm_conf_access access;
        int64_t bound_ms;
        const char *told[3]; /* standby, read-only, behind */
        const char *why;     /* NULL: it is good */
    } cases[] = {
        {FM_ACCESS_ANY, 0, {"f", "off", "0"}, NULL},
        {FM_ACCESS_ANY, 0, {"t", "on", NULL}, NULL},
        {FM_ACCESS_READ_WRITE, 0, {"f", "off", "0"}, NULL},
        {FM_ACCESS_READ_WRITE, 0, {"t", "on", "0"}, "it is a standby, not a primary"},
        {FM_ACCESS_READ_WRITE, 0, {"f", "on", "0"}, "it is set to be read-only"},
        {FM_ACCESS_READ_ONLY, 0, {"t", "on", "0"}, NULL},
        {FM_ACCESS_READ_ONLY, 0, {"f", "on", "0"}, NULL},
        {FM_ACCESS_READ_ONLY, 0, {"f", "off", "0"}, "it takes writes, and should be read-only"},
        {FM_ACCESS_ANY, 1000, {"t", "on", "1000"}, NULL},
        {FM_ACCESS_ANY, 1000, {"t", "on", "1001"}, "it is 1001 ms behind, the bound is 1000 ms"},
        {FM_ACCESS_ANY,
         1000,
         {"t", "on", NULL},
         "how far it is behind is unknown: it has replayed nothing yet"},
        {FM_ACCESS_ANY, 1000, {"f", "off", "0"}, NULL},
        {FM_ACCESS_ANY, 1000, {"t", "on", "-2500"}, NULL}, /* a clock that is ahead */
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        given();
        conf.pg.access = cases[i].access;
        conf.pg.replay_lag_ms = cases[i].bound_ms;
        let_in();
        answer(cases[i].told, 3);
        end_well(!cases[i].why);
        if (cases[i].why)
            assert_string_equal(result.text, cases[i].why);
    }
}

static void the_query_decides(void **state)
{
    (void)state;
    static const char *const primary[] = {"f", "off", "0"};
    static const struct {
        const char *value; /* "-": no row */
        bool good;
    } cases[] = {{"1", true}, {"t", true}, {"f", false}, {"-", true}, {"false", true}};
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        given();
        conf.pg.query = FM_STR("select 1 from accounts limit 1");
        let_in();
        answer(primary, 3);
        NET_UNTIL(&served.net, served_got('S'));
        assert_int_equal(ended, 0);
        answer(&cases[i].value, cases[i].value[0] != '-');
        end_well(cases[i].good);
        if (!cases[i].good)
            assert_string_equal(result.text, "the answer to the query is `false`");
    }
}

static void a_query_that_fails_says_why(void **state)
{
    (void)state;
    static const char *const primary[] = {"f", "off", "0"};
    given();
    conf.pg.query = FM_STR("select 1 from accounts limit 1");
    let_in();
    answer(primary, 3);
    NET_UNTIL(&served.net, served_got('S'));
    refuse("42P01", "relation \"accounts\" does not exist");
    end_well(false);
    assert_non_null(strstr(result.text, "relation \"accounts\" does not exist"));
}

static void who_is_not_let_in_has_failed(void **state)
{
    (void)state;
    given();
    accept_it();
    served_error("FATAL", "28P01", "password authentication failed for user \"fulmar\"");
    served_send();
    end_well(false);
    assert_non_null(strstr(result.text, "password authentication failed"));
}

static void what_is_no_postgresql_has_failed(void **state)
{
    (void)state;
    static const char *const one[] = {"f"};
    given();
    let_in();
    answer(one, 1);
    end_well(false);
    assert_non_null(strstr(result.text, "it is not PostgreSQL"));
}

static void a_server_that_says_nothing_has_failed_in_time(void **state)
{
    (void)state;
    given();
    let_in();
    net_skip_ms(1001);
    end_well(false);
    assert_string_equal(result.text, "no result within 1000 ms");
}

static void a_password_that_others_may_read_is_not_sent(void **state)
{
    (void)state;
    static char path[] = "/tmp/fulmar-check-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "secret\n", 7) == 7 && fchmod(fd, 0644) == 0);
    given();
    conf.pg.password_file = fm_str_z(path);
    fm_check_io_start(&io);
    end_well(false);
    assert_non_null(strstr(result.text, "others may read it"));
    assert_int_equal(fchmod(fd, 0600), 0);
    given();
    conf.pg.password_file = fm_str_z(path);
    accept_it();
    peer_drop(&served.peer, served.peer.n);
    served_add('R', "\0\0\0\3", 4); /* a password, in clear */
    served_send();
    NET_UNTIL(&served.net, (peer_poll(&served.peer), served.peer.n >= 12));
    assert_memory_equal(served.peer.in, "p\0\0\0\13secret", 12);
    fm_check_io_abort(&io);
    close(fd);
    unlink(path);
}

FM_TEST_MAIN(with_served(says_who_it_is), with_served(a_server_is_what_it_should_be_or_fails),
             with_served(the_query_decides), with_served(a_query_that_fails_says_why),
             with_served(who_is_not_let_in_has_failed),
             with_served(what_is_no_postgresql_has_failed),
             with_served(a_server_that_says_nothing_has_failed_in_time),
             with_served(a_password_that_others_may_read_is_not_sent))
