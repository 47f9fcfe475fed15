/* Posts between hosts: there and back in one request, to oneself, past who does not answer; and who
 * is not listened to. */
#include "hosts.h"

#include <stdio.h>
#include <stdlib.h>

static struct host *west = &host[0], *north = &host[1];

static int begin(void **state)
{
    int rc = fm_test_fds_before(state);
    hosts_open();
    return rc;
}

static int end(void **state)
{
    hosts_close();
    return fm_test_fds_after(state);
}

static struct fm_message nudge(const struct host *h, const char *context)
{
    return (struct fm_message){.kind = FM_MESSAGE_NUDGE,
                               .context =
                                   (uint16_t)fm_roster_context(h->roster, fm_str_z(context))};
}

static void tell(struct host *from, const char *to, const char *context)
{
    struct fm_message m = nudge(from, context);
    fm_post_send(from->post, host_number(from, to), &m);
}

static int64_t number(const struct host *h, const char *of, const char *what)
{
    json_t *o = fm_post_json(h->post);
    int64_t n = json_integer_value(json_object_get(json_object_get(o, of), what));
    json_decref(o);
    return n;
}

static void what_is_sent_in_a_turn_goes_in_one_post(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        tell(west, "north-1", i % 2 ? "cards" : "ledger");
    assert_int_equal(north->n, 0); /* not from inside */
    NET_UNTIL(&net, north->n == 5);
    assert_int_equal(number(west, "north-1", "posts"), 1);
    for (unsigned i = 0; i < 5; i++) {
        assert_string_equal(north->from[i], "west-1");
        assert_string_equal(north->roster->context[north->in[i].context].name,
                            i % 2 ? "cards" : "ledger");
    }
    tell(west, "north-1", "cards");
    NET_UNTIL(&net, north->n == 6);
}

static void answer(struct host *h, unsigned from, const struct fm_message *m)
{
    assert_int_equal(m->kind, FM_MESSAGE_NUDGE);
    fm_post_send(h->post, from, m);
}

static void the_answer_comes_back_with_the_post(void **state)
{
    (void)state;
    north->react = answer;
    tell(west, "north-1", "ledger");
    NET_UNTIL(&net, west->n == 1);
    assert_string_equal(west->from[0], "north-1");
    assert_int_equal(number(north, "west-1", "posts"), 0); /* north sent no post of its own */
}

static void say_it_to_myself(struct host *h, unsigned from, const struct fm_message *m)
{
    if (from == h->self)
        return;
    fm_post_send(h->post, h->self, m);
}

static void hosts_talk_to_themselves(void **state)
{
    (void)state;
    tell(west, "west-1", "ledger");
    assert_int_equal(west->n, 0);
    NET_UNTIL(&net, west->n == 1);
    assert_string_equal(west->from[0], "west-1");
    north->react = say_it_to_myself;
    tell(west, "north-1", "cards");
    NET_UNTIL(&net, north->n == 2);
    assert_string_equal(north->from[1], "north-1");
}

static void what_is_meant_for_who_is_away_is_dropped(void **state)
{
    (void)state;
    host_shut(north);
    tell(west, "north-1", "ledger");
    NET_UNTIL(&net, number(west, "north-1", "posts") > 0);
    net_turn_ms(&net, 5);
    for (unsigned i = 0; i < 200; i++)
        tell(west, "north-1", "ledger");
    assert_true(number(west, "north-1", "dropped") > 0);
    net_turn_ms(&net, 50);
    host_open(north);
    assert_int_equal(north->n, 0);
    for (unsigned i = 0; i < 50 && north->n == 0; i++) {
        net_skip_ms(100);
        tell(west, "north-1", "cards");
        net_turn_ms(&net, 20);
    }
    assert_true(north->n > 0);
    for (unsigned i = 0; i < north->n; i++) /* nothing old */
        assert_string_equal(north->roster->context[north->in[i].context].name, "cards");
}

static void what_waits_is_bounded(void **state)
{
    (void)state;
    struct fm_message m = nudge(west, "cards");
    m.kind = FM_MESSAGE_BOARD;
    m.cells = 15;
    for (unsigned i = 0; i < 5000; i++)
        fm_post_send(west->post, host_number(west, "north-1"), &m);
    assert_true(number(west, "north-1", "dropped") > 1000);
}

static void who_is_no_agent_gets_nothing(void **state)
{
    (void)state;
    int stranger = fm_roster_add_host(west->roster, FM_STR("stranger"));
    struct fm_message m = nudge(west, "ledger");
    fm_post_send(west->post, (unsigned)stranger, &m);
    net_turn_ms(&net, 20);
    assert_int_equal(west->n + north->n, 0);
}

/* The status and text of what is answered to a post with this body. */
static unsigned posted(const char *body, const char *peer, char *text, size_t cap)
{
    struct fm_page_request q = {
        .method = FM_METHOD_POST, .body = fm_str_z(body), .peer = peer, .user = north};
    struct fm_page_answer a = FM_PAGE_ANSWER;
    fm_post_page(north->post, &q, &a);
    snprintf(text, cap, "%.*s", (int)a.n, a.body ? a.body : "");
    free(a.body);
    return a.status;
}

static void nobody_speaks_for_another(void **state)
{
    (void)state;
    char text[512];
#define FROM(name)                                                                                 \
    "{\"v\":1,\"from\":\"" name "\",\"life\":1,\"messages\":[{\"kind\":\"nudge\","                 \
    "\"context\":\"ledger\"}]}"
    assert_int_equal(posted(FROM("west-1"), NULL, text, sizeof text), 200);
    assert_int_equal(north->n, 1);
    assert_non_null(strstr(text, "\"from\":\"north-1\""));
    assert_int_equal(posted(FROM("west-1"), "west-1", text, sizeof text), 200);
    assert_int_equal(posted(FROM("west-1"), "owner", text, sizeof text), 403);
    assert_int_equal(posted(FROM("nobody"), NULL, text, sizeof text), 403);
    assert_int_equal(posted(FROM("north-1"), NULL, text, sizeof text),
                     403); /* not by the network */
    assert_int_equal(posted("{\"v\":1", NULL, text, sizeof text), 400);
    assert_int_equal(
        posted("{\"v\":7,\"from\":\"west-1\",\"life\":1,\"messages\":[]}", NULL, text, sizeof text),
        400);
    assert_int_equal(north->n, 2);
}

static void another_file_is_taken_over(void **state)
{
    (void)state;
    struct fm_peers nobody = {NULL, NULL};
    tell(west, "north-1", "ledger");
    NET_UNTIL(&net, north->n == 1);
    tell(west, "north-1", "ledger");
    fm_post_reset(west->post, hosts_conf, &nobody);
    tell(west, "north-1", "cards");
    NET_UNTIL(&net, north->n >= 2);
    assert_string_equal(north->roster->context[north->in[north->n - 1].context].name, "cards");
}

#define T(fn) fm_test_with(fn, begin, end)
FM_TEST_MAIN(T(what_is_sent_in_a_turn_goes_in_one_post), T(the_answer_comes_back_with_the_post),
             T(hosts_talk_to_themselves), T(what_is_meant_for_who_is_away_is_dropped),
             T(what_waits_is_bounded), T(who_is_no_agent_gets_nothing),
             T(nobody_speaks_for_another), T(another_file_is_taken_over))
