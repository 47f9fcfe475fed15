/* Connections to a server that says what each test wants. */
#include "served.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct fm_pg_result seen;

/* -------- opening -------- */

static void says_who_it_is_and_nothing_else(void **state)
{
    (void)state;
    setenv("PGAPPNAME", "from-outside", 1);
    setenv("PGPASSWORD", "from-outside", 1);
    setenv("PGOPTIONS", "-c from=outside", 1);
    served_begin(&(struct fm_pg_target){
        .user = "fulmar", .database = "bank", .password = "secret", .application_name = "probe"});
    char text[1024];
    size_t n = fm_min_size(served.peer.n, sizeof text - 1);
    for (size_t i = 0; i < n; i++)
        text[i] = served.peer.in[i] ? served.peer.in[i] : '|';
    text[n] = 0;
    assert_non_null(strstr(text, "user|fulmar|database|bank|"));
    assert_non_null(strstr(text, "application_name|probe|"));
    assert_null(strstr(text, "outside"));
    assert_null(strstr(text, "secret"));
    peer_drop(&served.peer, served.peer.n);
    served_add('R', "\0\0\0\3", 4); /* a password, in clear */
    served_send();
    NET_UNTIL(&served.net, (peer_poll(&served.peer), served.peer.n >= 12));
    assert_memory_equal(served.peer.in, "p\0\0\0\13secret", 12);
    unsetenv("PGAPPNAME");
    unsetenv("PGPASSWORD");
    unsetenv("PGOPTIONS");
}

static void says_why_it_cannot_be_opened(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate;
        enum fm_err code;
    } cases[] = {{"28P01", FM_ERR_PERMISSION}, {"28000", FM_ERR_PERMISSION},
                 {"3D000", FM_ERR_NOT_FOUND},  {"57P03", FM_ERR_STATE},
                 {"53300", FM_ERR_LIMIT},      {"XX000", FM_ERR_IO}};
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        served_begin(NULL);
        served_error("FATAL", cases[i].sqlstate, "not today");
        served_send();
        NET_UNTIL(&served.net, served.done == i + 1);
        assert_int_equal(served.error.code, cases[i].code);
        assert_string_equal(served.sqlstate, cases[i].sqlstate);
        assert_non_null(strstr(served.error.msg, "not today"));
        assert_int_equal(served.conn.state, FM_PG_CONN_CLOSED);
        peer_close(&served.peer);
    }
    served.peer.fd = -1;
    assert_int_equal(served.lost, 0);
}

static void a_password_that_is_missing_is_no_network_fault(void **state)
{
    (void)state;
    served_begin(NULL);
    served_add('R', "\0\0\0\3", 4);
    served_send();
    NET_UNTIL(&served.net, served.done == 1);
    assert_int_equal(served.error.code, FM_ERR_PERMISSION);
}

static void nobody_there_is_told_by_the_loop(void **state)
{
    (void)state;
    struct fm_addr at;
    close(raw_listen(&at));
    fm_pg_open(&served.conn, &(struct fm_pg_target){.addr = &at, .user = "fulmar"}, 5000,
               served_done);
    assert_int_equal(served.done, 0);
    NET_UNTIL(&served.net, served.done == 1);
    assert_int_equal(served.error.code, FM_ERR_UNREACHABLE);
    struct fm_pg_target t = {.socket_folder = "/nonexistent", .port = 5432, .user = "fulmar"};
    fm_pg_open(&served.conn, &t, 5000, served_done);
    assert_int_equal(served.done, 1);
    NET_UNTIL(&served.net, served.done == 2);
    assert_int_equal(served.error.code, FM_ERR_UNREACHABLE);
}

static void a_server_that_says_nothing_is_left(void **state)
{
    (void)state;
    served_begin(NULL);
    net_skip_ms(4000);
    net_turn_ms(&served.net, 2);
    assert_int_equal(served.done, 0);
    net_skip_ms(1100);
    NET_UNTIL(&served.net, served.done == 1);
    assert_int_equal(served.error.code, FM_ERR_TIMEOUT);
    assert_int_equal(served.conn.state, FM_PG_CONN_CLOSED);
    NET_UNTIL(&served.net, peer_is_over(&served.peer));
    peer_close(&served.peer);
    served.done = 0;
    served_open(); /* the same one once more */
}

/* -------- queries -------- */

static void ask(void)
{
    fm_pg_query(&served.conn, "select 1", NULL, 0, 1000, served_done);
    NET_UNTIL(&served.net, served_got('S'));
}

static void keeps_values(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    served_done(c, r);
    seen = *r;
    assert_int_equal(r->rows, 2);
    assert_int_equal(r->columns, 3);
    assert_str(fm_pg_value(r, 0, 0), "one");
    assert_str(fm_pg_value(r, 0, 1), "");
    assert_non_null(fm_pg_value(r, 0, 1).p);
    assert_null(fm_pg_value(r, 0, 2).p);
    assert_str(fm_pg_value(r, 1, 0), "two");
    assert_int_equal(fm_pg_value(r, 1, 0).p[3], 0);
    assert_int_equal(r->affected, 2);
}

static void a_query_gives_values(void **state)
{
    (void)state;
    served_open();
    const char *params[] = {"first", NULL};
    fm_pg_query(&served.conn, "select $1, $2", params, 2, 1000, keeps_values);
    NET_UNTIL(&served.net, (peer_poll(&served.peer), served.peer.n > 60));
    assert_non_null(memmem(served.peer.in, served.peer.n, "select $1, $2", 13));
    assert_non_null(memmem(served.peer.in, served.peer.n, "\0\0\0\5first\377\377\377\377", 13));
    NET_UNTIL(&served.net, served_got('S'));
    served_add('1', "", 0);
    served_add('2', "", 0);
    served_columns(3);
    served_row((const char *const[]){"one", "", NULL}, 3);
    served_send();
    net_turn_ms(&served.net, 2);
    assert_int_equal(served.done, 0);
    served_row((const char *const[]){"two", "x", "y"}, 3);
    served_complete("SELECT 2");
    served_ready();
    served_send();
    NET_UNTIL(&served.net, served.done == 1);
    assert_int_equal(served.error.code, FM_ERR_OK);
    assert_int_equal(served.conn.state, FM_PG_CONN_READY);
}

static void an_error_leaves_the_connection(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate;
        enum fm_err code;
    } cases[] = {{"42501", FM_ERR_PERMISSION}, {"42P01", FM_ERR_NOT_FOUND},
                 {"42710", FM_ERR_EXISTS},     {"57014", FM_ERR_STATE},
                 {"25006", FM_ERR_STATE},      {"53100", FM_ERR_LIMIT},
                 {"22012", FM_ERR_INVALID}};
    served_open();
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        ask();
        served_error("ERROR", cases[i].sqlstate, "it is so");
        served_ready();
        served_send();
        NET_UNTIL(&served.net, served.done == i + 1);
        assert_int_equal(served.error.code, cases[i].code);
        assert_string_equal(served.error.msg, "it is so");
        assert_string_equal(served.sqlstate, cases[i].sqlstate);
        assert_int_equal(served.conn.state, FM_PG_CONN_READY);
    }
}

static void answer_rows(unsigned rows, const char *value)
{
    served_add('1', "", 0);
    served_add('2', "", 0);
    served_columns(1);
    for (unsigned i = 0; i < rows; i++) {
        served_row(&value, 1);
        if (i % 64 == 0 || strlen(value) > 1000)
            served_send();
    }
    served_complete("SELECT");
    served_ready();
    served_send();
}

static void results_are_bounded(void **state)
{
    (void)state;
    static char large[20001];
    memset(large, 'x', sizeof large - 1);
    const struct {
        unsigned rows;
        const char *value;
        enum fm_err code;
    } cases[] = {{FM_PG_ROWS_MAX, "x", FM_ERR_OK},
                 {FM_PG_ROWS_MAX + 1, "x", FM_ERR_LIMIT},
                 {FM_PG_TEXT_MAX / 20001, large, FM_ERR_OK},
                 {FM_PG_TEXT_MAX / 20001 + 1, large, FM_ERR_LIMIT},
                 {1, "x", FM_ERR_OK}};
    served_open();
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        ask();
        answer_rows(cases[i].rows, cases[i].value);
        NET_UNTIL(&served.net, served.done == i + 1);
        assert_int_equal(served.error.code, cases[i].code);
        assert_int_equal(served.conn.state, FM_PG_CONN_READY); /* in step */
    }
}

/* Its outcome is unknown, and the server is asked to let go of it. */
static void a_query_past_its_deadline_is_cancelled(void **state)
{
    (void)state;
    served_open();
    ask();
    net_skip_ms(1100);
    NET_UNTIL(&served.net, served.done == 1);
    assert_int_equal(served.error.code, FM_ERR_TIMEOUT);
    assert_int_equal(served.conn.state, FM_PG_CONN_CLOSED);
    static struct peer other;
    peer_accept(&served.net, &other, served.listener);
    NET_UNTIL(&served.net, (peer_poll(&other), other.n == 16));
    assert_memory_equal(other.in, "\0\0\0\20\4\322\26\56\0\0\0\7\0\0\0\11", 16);
    peer_close(&other);
}

static void what_is_cancelled_still_ends(void **state)
{
    (void)state;
    served_open();
    ask();
    fm_pg_cancel(&served.conn);
    static struct peer other;
    peer_accept(&served.net, &other, served.listener);
    NET_UNTIL(&served.net, (peer_poll(&other), other.n == 16));
    peer_close(&other);
    assert_int_equal(served.done, 0);
    served_error("ERROR", "57014", "canceling statement due to user request");
    served_ready();
    served_send();
    NET_UNTIL(&served.net, served.done == 1);
    assert_int_equal(served.error.code, FM_ERR_STATE);
    assert_int_equal(served.conn.state, FM_PG_CONN_READY);
    fm_pg_cancel(&served.conn); /* nothing is under way: nothing happens */
}

/* -------- servers that go -------- */

static void a_server_that_goes_during_a_query_has_an_unknown_outcome(void **state)
{
    (void)state;
    served_open();
    ask();
    peer_close(&served.peer);
    NET_UNTIL(&served.net, served.done == 1);
    assert_int_equal(served.error.code, FM_ERR_IO);
    assert_int_equal(served.conn.state, FM_PG_CONN_CLOSED);
    served.peer.fd = -1;
    served.done = 0;
    served_open();
    ask();
    served_error("FATAL", "57P01", "terminating connection");
    served_send();
    peer_close(&served.peer);
    NET_UNTIL(&served.net, served.done == 1);
    assert_int_equal(served.error.code, FM_ERR_IO); /* not what it said: it may have happened */
    assert_string_equal(served.sqlstate, "57P01");
    served.peer.fd = -1;
    assert_int_equal(served.lost, 0);
}

static void a_server_that_goes_while_idle_is_noticed(void **state)
{
    (void)state;
    served_open();
    peer_close(&served.peer);
    served.peer.fd = -1;
    NET_UNTIL(&served.net, served.lost == 1);
    assert_int_equal(served.error.code, FM_ERR_IO);
    assert_int_equal(served.done, 0);
    net_turn_ms(&served.net, 2);
    assert_int_equal(served.lost, 1);
}

static unsigned lines;
static char line[FM_LOG_LINE_MAX];

static void keep_line(void *user, struct fm_str s)
{
    (void)user;
    lines++;
    snprintf(line, sizeof line, "%.*s", FM_STR_ARG(s));
}

static void what_it_says_is_logged_within_bounds(void **state)
{
    (void)state;
    served_open();
    ask();
    lines = 0;
    fm_log_set_writer(keep_line, NULL);
    for (unsigned i = 0; i < FM_PG_NOTICES_MAX + 10; i++)
        served_error("WARNING", "01000", "canceling wait for\nsynchronous replication");
    served_complete("SELECT");
    served_ready();
    served_send();
    NET_UNTIL(&served.net, served.done == 1);
    fm_log_set_writer(NULL, NULL);
    assert_int_equal(lines, FM_PG_NOTICES_MAX);
    assert_non_null(strstr(line, "\"server\":\"ledger-west\""));
    assert_non_null(strstr(line, "canceling wait for?synchronous"));
}

/* -------- lifetimes -------- */

static struct fm_pg_conn *on_heap;

static void frees(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    (void)r;
    served.done++;
    fm_pg_close(c);
    free(c);
}

static void may_be_freed_when_it_is_told(void **state)
{
    (void)state;
    struct fm_addr nobody;
    close(raw_listen(&nobody));
    for (unsigned i = 0; i < 2; i++) {
        on_heap = malloc(sizeof *on_heap);
        assert_non_null(on_heap);
        fm_pg_init(on_heap, &served.net.loop, "other", frees);
        const struct fm_addr *at = i ? &nobody : &served.at;
        fm_pg_open(on_heap, &(struct fm_pg_target){.addr = at, .user = "x", .sslmode = "disable"},
                   1000, frees);
        if (i == 0) {
            peer_accept(&served.net, &served.peer, served.listener);
            peer_close(&served.peer);
            served.peer.fd = -1;
        }
        NET_UNTIL(&served.net, served.done == i + 1);
    }
}

static void nothing_is_told_after_it_was_closed(void **state)
{
    (void)state;
    served_begin(NULL);
    fm_pg_close(&served.conn);
    fm_pg_close(&served.conn);
    net_skip_ms(6000);
    net_turn_ms(&served.net, 2);
    assert_int_equal(served.done + served.lost, 0);
    peer_close(&served.peer);
    served_open();
    ask();
    fm_pg_close(&served.conn);
    net_skip_ms(6000);
    net_turn_ms(&served.net, 2);
    assert_int_equal(served.done + served.lost, 0);
}

/* -------- streams -------- */

static unsigned messages, rooms, ended;
static const char *last_message;
static unsigned close_at;

static void on_data(struct fm_pg_conn *c, struct fm_str message)
{
    messages++;
    assert_true(message.n > 0);
    last_message = message.p[0] == 'a' ? "a" : "other";
    if (messages == close_at)
        fm_pg_close(c);
}

static void on_room(struct fm_pg_conn *c)
{
    assert_int_equal(c->state, FM_PG_CONN_COPYING);
    rooms++;
}

static void on_ended(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    assert_int_equal(c->state, FM_PG_CONN_CLOSED);
    ended++;
    served.error = r->error;
    memcpy(served.sqlstate, r->sqlstate, sizeof served.sqlstate);
}

enum { REST_MS = 60 * 1000 };
static const struct fm_pg_copy copy = {on_data, on_room, on_ended, 0};
static const struct fm_pg_copy rests = {on_data, on_room, on_ended, REST_MS};

static void begin_stream_of(const struct fm_pg_copy *which)
{
    messages = rooms = ended = close_at = 0;
    served_open();
    fm_pg_copy_begin(&served.conn, "START_REPLICATION PHYSICAL 0/0", 1000, served_done, which);
    NET_UNTIL(&served.net, served_got('Q'));
    served_add('W', "\0\0\0", 3);
    served_add('d', "a1", 2); /* in the same segment */
    served_send();
    NET_UNTIL(&served.net, served.done == 1);
    assert_int_equal(served.error.code, FM_ERR_OK);
    NET_UNTIL(&served.net, messages == 1);
    assert_int_equal(served.conn.state, FM_PG_CONN_COPYING);
}

static void begin_stream(void)
{
    begin_stream_of(&copy);
}

static void a_stream_goes_both_ways(void **state)
{
    (void)state;
    begin_stream();
    served_add('d', "a2", 2);
    served_add('d', "a3", 2);
    served_send();
    NET_UNTIL(&served.net, messages == 3);
    assert_string_equal(last_message, "a");
    assert_true(fm_pg_copy_put(&served.conn, FM_STR("r-status")));
    NET_UNTIL(&served.net, (peer_poll(&served.peer), served.peer.n == 13));
    assert_memory_equal(served.peer.in, "d\0\0\0\14r-status", 13);
    net_skip_ms(5000); /* it has no deadline of its own */
    net_turn_ms(&served.net, 2);
    assert_int_equal(ended, 0);
    served_error("ERROR", "58P01", "requested WAL segment has already been removed");
    served_ready();
    served_send();
    NET_UNTIL(&served.net, ended == 1);
    assert_string_equal(served.sqlstate, "58P01");
    assert_non_null(strstr(served.error.msg, "already been removed"));
}

static void nothing_is_queued_behind_what_does_not_leave(void **state)
{
    (void)state;
    static char large[4 * 1024 * 1024];
    begin_stream();
    assert_true(fm_pg_copy_put(&served.conn, fm_str(large, sizeof large)));
    assert_false(fm_pg_copy_put(&served.conn, FM_STR("later")));
    assert_int_equal(rooms, 0);
    for (int64_t end = net_patience(); rooms == 0 && !net_is_over(end);) {
        peer_poll(&served.peer);
        peer_drop(&served.peer, served.peer.n);
        fm_loop_turn(&served.net.loop, FM_NS_PER_MS);
    }
    assert_int_equal(rooms, 1);
    assert_true(fm_pg_copy_put(&served.conn, FM_STR("now")));
}

static void a_stream_that_ends_is_told_once(void **state)
{
    (void)state;
    begin_stream();
    peer_reset(&served.peer);
    served.peer.fd = -1;
    NET_UNTIL(&served.net, ended == 1);
    assert_int_equal(served.error.code, FM_ERR_IO);
    net_turn_ms(&served.net, 2);
    assert_int_equal(ended, 1);
    assert_int_equal(served.lost, 0);
    served.done = 0;
    begin_stream();
    served_add('c', "", 0);
    served_send();
    NET_UNTIL(&served.net, ended == 1);
    assert_int_equal(served.error.code, FM_ERR_IO);
}

static void a_stream_may_be_closed_from_a_message(void **state)
{
    (void)state;
    begin_stream();
    close_at = 2;
    for (unsigned i = 0; i < 5; i++)
        served_add('d', "a", 1);
    served_send();
    NET_UNTIL(&served.net, messages == 2);
    net_turn_ms(&served.net, 2);
    assert_int_equal(messages, 2);
    assert_int_equal(ended, 0);
}

static void a_stream_of_which_little_came_rests(void **state)
{
    (void)state;
    static char large[40 * 1024];
    begin_stream_of(&rests);
    served_add('d', "a2", 2);
    served_add('d', "a3", 2);
    served_send();
    net_turn_ms(&served.net, 2);
    assert_int_equal(messages, 1);
    assert_true(fm_pg_copy_put(&served.conn, FM_STR("r-status"))); /* it speaks all the same */
    NET_UNTIL(&served.net, (peer_poll(&served.peer), served.peer.n == 13));
    net_skip_ms(REST_MS);
    NET_UNTIL(&served.net, messages == 3);
    net_skip_ms(REST_MS);
    net_turn_ms(&served.net, 2);
    large[0] = 'a';
    for (unsigned i = 0; i < 4; i++) { /* as one that is behind has it */
        served_add('d', large, sizeof large);
        served_send();
    }
    NET_UNTIL(&served.net, messages == 7);
    served_add('d', "a", 1);
    served_send();
    net_skip_ms(REST_MS);
    NET_UNTIL(&served.net, messages == 8);
    peer_reset(&served.peer); /* which is told at once */
    served.peer.fd = -1;
    NET_UNTIL(&served.net, ended == 1);
    net_skip_ms(REST_MS);
    net_turn_ms(&served.net, 2);
    assert_int_equal(ended, 1);
    assert_int_equal(served.lost, 0);
}

static void a_command_that_does_not_stream_is_an_error(void **state)
{
    (void)state;
    served_open();
    fm_pg_copy_begin(&served.conn, "IDENTIFY_SYSTEM", 1000, served_done, &copy);
    NET_UNTIL(&served.net, served_got('Q'));
    served_complete("IDENTIFY_SYSTEM");
    served_ready();
    served_send();
    NET_UNTIL(&served.net, served.done == 1);
    assert_int_equal(served.error.code, FM_ERR_INVALID);
    assert_int_equal(served.conn.state, FM_PG_CONN_CLOSED);
    peer_close(&served.peer);
    served.done = 0;
    served_open();
    fm_pg_copy_begin(&served.conn, "START_REPLICATION PHYSICAL 0/0", 1000, served_done, &copy);
    NET_UNTIL(&served.net, served_got('Q'));
    served_error("ERROR", "55006", "replication slot is active");
    served_ready();
    served_send();
    NET_UNTIL(&served.net, served.done == 1);
    assert_int_equal(served.error.code, FM_ERR_STATE);
    assert_int_equal(served.conn.state, FM_PG_CONN_READY); /* one may ask again */
    peer_close(&served.peer);
    served.peer.fd = -1;
    NET_UNTIL(&served.net, served.lost == 1);
}

FM_TEST_MAIN(with_served(says_who_it_is_and_nothing_else),
             with_served(says_why_it_cannot_be_opened),
             with_served(a_password_that_is_missing_is_no_network_fault),
             with_served(nobody_there_is_told_by_the_loop),
             with_served(a_server_that_says_nothing_is_left), with_served(a_query_gives_values),
             with_served(an_error_leaves_the_connection), with_served(results_are_bounded),
             with_served(a_query_past_its_deadline_is_cancelled),
             with_served(what_is_cancelled_still_ends),
             with_served(a_server_that_goes_during_a_query_has_an_unknown_outcome),
             with_served(a_server_that_goes_while_idle_is_noticed),
             with_served(what_it_says_is_logged_within_bounds),
             with_served(may_be_freed_when_it_is_told),
             with_served(nothing_is_told_after_it_was_closed), with_served(a_stream_goes_both_ways),
             with_served(nothing_is_queued_behind_what_does_not_leave),
             with_served(a_stream_that_ends_is_told_once),
             with_served(a_stream_may_be_closed_from_a_message),
             with_served(a_stream_of_which_little_came_rests),
             with_served(a_command_that_does_not_stream_is_an_error))
