/* The journal of one region, read by another. */
#include "desk.h"

#include "agent/heir.h"

#include <stdio.h>
#include <unistd.h>

static struct desk west, north;
static struct fm_heir *here, *heir; /* west's, which answers; north's, which reads */
static struct fm_pages pages;
static struct fm_listener door;
static struct fm_resolver *resolver;
static struct fm_conf *conf;

static void write_changes(const struct fm_page_request *q, struct fm_page_answer *a)
{
    fm_heir_changes(here, q, a);
}

static const struct fm_page table[] = {{.path = "/journal/changes", .write = write_changes},
                                       {.path = NULL}};

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    (void)ln;
    fm_pages_accept(&pages, fd, from);
}

static const char text[] =
    "fulmar: 1\nservice: bank\nedge: {listen: [{address: \"127.0.0.1:1\"}]}\npeer-tls: plaintext\n"
    "coordination: {sqlite: /tmp/none.db}\n"
    "hosts:\n"
    "  w: {region: west, roles: [gate, health, controller, coordination], address: 127.0.0.1, "
    "gate: "
    "\"127.0.0.1:2\", peer: \"127.0.0.1:%u\", admin: \"127.0.0.1:3\"}\n"
    "  n: {region: north, roles: [gate, health, controller], address: 127.0.0.1, gate: "
    "\"127.0.0.1:4\", "
    "peer: \"127.0.0.1:5\", admin: \"127.0.0.1:6\"}\n"
    "%s"
    "regions: {west: {apps: [\"127.0.0.1:7\"]}, north: {apps: [\"127.0.0.1:8\"]}}\n"
    "contexts: {ledger: {topology: active-passive, home: west, routes: [\"/**\"], "
    "idempotency: {key: optional, by: gate}}}\n";

static const char second[] =
    "  w2: {region: west, roles: [gate, health], address: 127.0.0.1, gate: "
    "\"127.0.0.1:9\", peer: \"127.0.0.1:10\", admin: \"127.0.0.1:11\"}\n";

static void load(uint16_t port, const char *more)
{
    char mem[2048];
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    int n = snprintf(mem, sizeof mem, text, port, more);
    conf = fm_conf_parse(fm_str(mem, (size_t)n), "t.yaml", &r);
    for (size_t i = 0; i < r.n && !conf; i++)
        print_message("%s\n", r.finding[i].what);
    assert_non_null(conf);
    fm_conf_report_deinit(&r);
}

static bool is_known; /* as a sibling, where it asks */

static bool knows(void *user, struct fm_str host)
{
    (void)user;
    assert_str(host, "w2");
    return is_known;
}

static struct fm_heir *make(struct desk *d, const char *host)
{
    struct fm_error e;
    struct fm_peers plain = {NULL, NULL};
    struct fm_heir_config c = {.loop = &d->net.loop,
                               .mailbox = &d->box,
                               .resolver = resolver,
                               .journal = d->j,
                               .host = host,
                               .knows = knows};
    struct fm_heir *h = fm_heir_new(&c, conf, &plain, &e);
    assert_non_null(h);
    return h;
}

/* `name` reads the journal of `w`. */
static void open_for(const char *name, const char *more)
{
    struct fm_error e;
    struct fm_addr at;
    desk_open(&west, NULL);
    desk_open(&north, NULL);
    desk_start(&west);
    desk_start(&north);
    assert_int_equal(fm_addr_ip(&at, FM_STR("127.0.0.1"), 0), FM_ERR_OK);
    assert_int_equal(fm_pages_init(&pages, &west.net.loop, table, NULL, &e), FM_ERR_OK);
    assert_int_equal(fm_listener_open(&door, &west.net.loop, &at, 0, accepted, &e), FM_ERR_OK);
    resolver = fm_resolver_new(&north.box, &e);
    load(fm_addr_port(&door.address), more);
    here = make(&west, "w");
    heir = make(&north, name);
    is_known = false;
}

static int setup(void **state)
{
    (void)state;
    open_for("n", "");
    return 0;
}

static int setup_sibling(void **state)
{
    (void)state;
    open_for("w2", second);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fm_heir_stop(here);
    fm_heir_stop(heir);
    for (unsigned i = 0; i < 50; i++) {
        fm_loop_turn(&west.net.loop, FM_NS_PER_MS);
        fm_loop_turn(&north.net.loop, FM_NS_PER_MS);
    }
    fm_resolver_free(resolver);
    fm_journal_close(west.j);
    fm_journal_close(north.j);
    west.j = north.j = NULL;
    fm_pages_close_all(&pages);
    fm_listener_close(&door);
    fm_loop_turn(&west.net.loop, 0);
    fm_loop_turn(&north.net.loop, 0);
    fm_pages_deinit(&pages);
    fm_heir_free(here);
    fm_heir_free(heir);
    fm_conf_free(conf);
    desk_start(&west);
    desk_start(&north);
    desk_close(&west);
    desk_close(&north);
    return 0;
}

static unsigned told, whole;

static void caught_up(void *user, bool all)
{
    (void)user;
    told++;
    whole += all;
}

static void catch_up(int64_t ms)
{
    told = whole = 0;
    fm_heir_catch_up(heir, FM_STR("west"), ms, caught_up, NULL);
    int64_t end = net_patience();
    while (!told) {
        assert_false(net_is_over(end));
        fm_loop_turn(&west.net.loop, FM_NS_PER_MS);
        fm_loop_turn(&north.net.loop, FM_NS_PER_MS);
    }
    assert_int_equal(told, 1);
}

/* Who asked would release what it holds, and this region take it without having seen all keys. */
static void a_reload_in_the_middle_is_not_the_whole(void **state)
{
    (void)state;
    struct fm_error e;
    struct fm_peers plain = {NULL, NULL};
    desk_whole(&west, "k1", 201, "made");
    told = whole = 0;
    fm_heir_catch_up(heir, FM_STR("west"), 60000, caught_up, NULL);
    assert_int_equal(fm_heir_reset(heir, conf, &plain, &e), FM_ERR_OK);
    assert_int_equal(told, 1);
    assert_int_equal(whole, 0);
    catch_up(5000); /* who asks again gets it */
    assert_int_equal(whole, 1);
}

static void what_was_accepted_there_is_known_here(void **state)
{
    (void)state;
    char key[16];
    for (unsigned i = 0; i < 700; i++) { /* more than a chunk takes */
        snprintf(key, sizeof key, "k%u", i);
        desk_whole(&west, key, 201, "made");
    }
    uint64_t seq;
    (void)desk_begin(&west, "open", "open", &seq);
    catch_up(5000);
    assert_int_equal(whole, 1);
    desk_replays(&north, "k0", "k0", 201, "made");
    desk_replays(&north, "k699", "k699", 201, "made");
    assert_situation(desk_begin(&north, "open", "open", NULL), FM_IDEM_LOST);
    assert_situation(desk_begin(&north, "other", "other", NULL), FM_IDEM_FIRST);
    /* what changed since */
    assert_int_equal(desk_done(&west, seq, 200, "late"), FM_ERR_OK);
    catch_up(5000);
    assert_int_equal(whole, 1);
    desk_replays(&north, "open", "open", 200, "late");
}

static void a_region_that_does_not_answer_is_not_whole(void **state)
{
    (void)state;
    catch_up(5000);
    assert_int_equal(whole, 1);
    fm_heir_stop(here); /* 503 from now on */
    catch_up(100);
    assert_int_equal(whole, 0);
    told = whole = 0;
    fm_heir_catch_up(heir, FM_STR("elsewhere"), 100, caught_up, NULL);
    NET_UNTIL(&north.net, told);
    assert_int_equal(whole, 1);
}

/* -------- gates of one region -------- */

static bool is_caught_up(void)
{
    return atomic_load(fm_heir_caught_up(heir));
}

static void turn(int64_t ms)
{
    int64_t end = fm_mono_now().ns + ms * FM_NS_PER_MS;
    while (fm_mono_now().ns < end) {
        fm_loop_turn(&west.net.loop, FM_NS_PER_MS);
        fm_loop_turn(&north.net.loop, FM_NS_PER_MS);
    }
}

static void wait_until_caught_up(void)
{
    int64_t end = net_patience();
    while (!is_caught_up()) {
        assert_false(net_is_over(end));
        turn(1);
    }
}

/* What it takes for another gate's keys may be ours by our file, as long as it has an older one. */
static void a_new_gate_waits_until_its_siblings_know_it_and_then_has_their_keys(void **state)
{
    (void)state;
    (void)desk_whole(&west, "k1", 201, "made");
    turn(700);
    assert_false(is_caught_up());
    assert_situation(desk_begin(&north, "probe", "probe", NULL), FM_IDEM_FIRST);
    (void)desk_begin(&west, "open", "open", NULL); /* the last that it took as its own */
    is_known = true;
    wait_until_caught_up();
    desk_replays(&north, "k1", "k1", 201, "made");
    assert_situation(desk_begin(&north, "open", "open", NULL), FM_IDEM_LOST);
}

/* `w` has answered nobody yet; what it had taken nobody else may know. */
static void a_new_gate_waits_for_a_sibling_that_does_not_answer(void **state)
{
    (void)state;
    fm_heir_stop(here);
    turn(400);
    assert_false(is_caught_up());
}

/* It was one of them: what it has to know was in its journal when it stopped, or is with those who
 * answer. */
static void a_gate_that_comes_back_waits_for_those_who_answer(void **state)
{
    (void)state;
    fm_heir_stop(heir);
    turn(20);
    (void)desk_whole(&north, "mine", 201, "made"); /* its journal is one of before */
    struct fm_heir *before = heir;
    heir = make(&north, "w2");
    assert_false(is_caught_up());
    turn(100);
    assert_false(is_caught_up()); /* it answers that it does not know us */
    fm_heir_stop(here);           /* now it does not */
    wait_until_caught_up();
    turn(20);
    fm_heir_free(before);
}

static void alone_in_its_region_a_gate_waits_for_nobody_who_is_away(void **state)
{
    (void)state;
    fm_heir_stop(here);
    wait_until_caught_up();
}

FM_TEST_MAIN(fm_test_with(what_was_accepted_there_is_known_here, setup, teardown),
             fm_test_with(a_reload_in_the_middle_is_not_the_whole, setup, teardown),
             fm_test_with(a_region_that_does_not_answer_is_not_whole, setup, teardown),
             fm_test_with(a_new_gate_waits_until_its_siblings_know_it_and_then_has_their_keys,
                          setup_sibling, teardown),
             fm_test_with(a_new_gate_waits_for_a_sibling_that_does_not_answer, setup_sibling,
                          teardown),
             fm_test_with(a_gate_that_comes_back_waits_for_those_who_answer, setup_sibling,
                          teardown),
             fm_test_with(alone_in_its_region_a_gate_waits_for_nobody_who_is_away, setup, teardown))
