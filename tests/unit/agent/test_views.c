/* What an agent hands out: of its own controller, or of one that it follows. */
#include "given.h"

#include "agent/views.h"
#include "proxy/seats.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct net net;
static struct fm_mailbox box;
static struct fm_resolver *resolver;
static struct fm_pages pages; /* of the agent here, and of the controller that it follows */
static struct fm_listener listener;
static struct fm_conf *conf;
static struct fm_director director; /* no more of it than views need */
static struct fm_views *views;
static struct fm_view_doc doc;
static const struct fm_peers plain;
static char folder[64];

static void write_theirs(const struct fm_page_request *q, struct fm_page_answer *a)
{
    (void)q;
    assert_int_equal(fm_view_doc_write(&doc, &a->body, &a->n, NULL), FM_ERR_OK);
}

static const struct fm_page table[] = {{.path = "/authority/view", .write = write_theirs},
                                       {.path = NULL}};

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    (void)ln;
    fm_pages_accept(&pages, fd, from);
}

static void view_is(uint64_t generation, const char *holder, uint64_t epoch)
{
    fm_view_doc_deinit(&doc);
    fm_view_doc_init(&doc, FM_STR("bank"));
    doc.incarnation.n = 1;
    doc.generation.n = generation;
    struct fm_view_doc_context *c = fm_view_doc_add(&doc, FM_STR("ledger"), 1);
    assert_non_null(c);
    c->cell[0].c = (struct fm_view_cell){.region = fm_view_doc_region(&doc, fm_str_z(holder)),
                                         .epoch = {epoch}};
}

static void make_conf(void)
{
    char text[2048];
    snprintf(text, sizeof text,
             "fulmar: 1\nservice: bank\npeer-tls: plaintext\n"
             "coordination: {etcd: {endpoints: {west: [\"http://127.0.0.1:2379\"]}}}\nhosts:\n"
             "  w: {region: west, roles: [gate, health, controller], address: 127.0.0.1, "
             "peer: \"127.0.0.1:%u\"}\n"
             "  n: {region: north, roles: [gate, health], address: 10.0.0.2}\n"
             "  n-2: {region: north, roles: [health, controller], address: 127.0.0.1, "
             "peer: \"127.0.0.1:1\", admin: \"127.0.0.1:2\"}\n"
             "edge: {listen: [{address: \"127.0.0.1:1\"}]}\n"
             "regions: {west: {apps: [\"127.0.0.1:9\"]}, north: {apps: [\"127.0.0.1:9\"]}}\n"
             "contexts:\n  ledger: {topology: active-passive, home: west, routes: [/ledger], "
             "needs: [], idempotency: {key: required, by: app}}\n",
             fm_addr_port(&listener.address));
    conf = given_conf(text);
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    struct fm_addr at;
    net_open(&net, 64 * 1024, 64);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(fm_mailbox_open(&box, &net.loop, NULL, NULL), FM_ERR_OK);
    resolver = fm_resolver_new(&box, NULL);
    assert_non_null(resolver);
    assert_int_equal(fm_pages_init(&pages, &net.loop, table, NULL, NULL), FM_ERR_OK);
    assert_int_equal(fm_addr_parse(&at, FM_STR("127.0.0.1:0")), FM_ERR_OK);
    assert_int_equal(fm_listener_open(&listener, &net.loop, &at, 0, accepted, NULL), FM_ERR_OK);
    snprintf(folder, sizeof folder, "/tmp/fulmar-views-XXXXXX");
    assert_non_null(mkdtemp(folder));
    make_conf();
    memset(&director, 0, sizeof director);
    director.seats = fm_seats_new(NULL, NULL, NULL);
    assert_non_null(director.seats);
    view_is(41, "west", 7);
    return rc;
}

static int teardown(void **state)
{
    fm_views_stop(views);
    fm_listener_close(&listener);
    fm_pages_close_all(&pages);
    fm_resolver_free(resolver);
    fm_loop_turn(&net.loop, 0);
    fm_views_free(views);
    views = NULL;
    fm_pages_deinit(&pages);
    fm_mailbox_close(&box);
    fm_seats_free(director.seats);
    fm_conf_free(conf);
    fm_view_doc_deinit(&doc);
    net_close(&net);
    char path[128];
    snprintf(path, sizeof path, "%s/view", folder);
    (void)unlink(path);
    snprintf(path, sizeof path, "%s/view.old", folder);
    (void)unlink(path);
    assert_int_equal(rmdir(folder), 0);
    return fm_test_fds_after(state);
}

static void begin(bool controller)
{
    struct fm_error e;
    struct fm_views_config c = {.mailbox = &box,
                                .resolver = resolver,
                                .folder = folder,
                                .host = "n",
                                .region = "north",
                                .controller = controller,
                                .director = &director};
    views = fm_views_new(&c, conf, &plain, &e);
    if (!views)
        fail_msg("%s", e.msg);
}

static struct fm_seats_context *ledger(void)
{
    struct fm_seats_context *c;
    assert_int_equal(fm_seats_context(director.seats, FM_STR("ledger"), 1, &c, NULL), FM_ERR_OK);
    return c;
}

static void hands_out_what_its_controller_says(void **state)
{
    (void)state;
    begin(true);
    assert_null(fm_views_doc(views));
    assert_null(fm_views_json(views));
    doc.context[0].read_only = true;
    fm_views_take(views, &doc);
    assert_int_equal(fm_views_doc(views)->generation.n, 41);
    assert_true(atomic_load(&ledger()->read_only));
    view_is(40, "north", 6); /* never back */
    fm_views_take(views, &doc);
    assert_int_equal(fm_views_doc(views)->generation.n, 41);
    assert_true(atomic_load(&ledger()->read_only));
    fm_views_reset(views, conf, &plain);
    fm_views_hurry(views);
    net_turn_ms(&net, 10);
    assert_int_equal(fm_views_doc(views)->generation.n, 41);
}

static void follows_where_it_has_none(void **state)
{
    (void)state;
    begin(false);
    NET_UNTIL(&net, fm_views_doc(views));
    json_t *o = fm_views_json(views);
    assert_string_equal(json_string_value(json_object_get(o, "from")), "w");
    json_decref(o);
    view_is(42, "north", 8);
    NET_UNTIL(&net, fm_views_doc(views)->generation.n == 42);
    doc.found_by = fm_view_doc_region(&doc, FM_STR("north"));
    doc.context[0].cell[0].lapsed = true;
    NET_UNTIL(&net, fm_seats_has_lapsed(ledger(), 0)); /* its gate knows, too */
}

static void begins_with_what_it_had(void **state)
{
    (void)state;
    begin(false);
    NET_UNTIL(&net, fm_views_doc(views));
    fm_views_stop(views);
    fm_loop_turn(&net.loop, 0);
    fm_loop_turn(&net.loop, 0);
    fm_views_free(views);
    begin(false);
    assert_int_equal(fm_views_doc(views)->generation.n, 41);
}

#define with_views(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_views(hands_out_what_its_controller_says), with_views(follows_where_it_has_none),
             with_views(begins_with_what_it_had))
