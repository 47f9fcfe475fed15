/* The gate's half: what it asks, what it publishes to workers and what it answers, and in which
 * order. The keeper is the test: the host's messages to itself come to it. */
#include "hosts.h"

#include "agent/lessee.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct host *west = &host[0], *north = &host[1];
static struct fm_mailbox mailbox;
static struct fm_seats *seats;
static struct fm_seats_context *ledger, *cards;
static struct fm_lessee *lessee;
static unsigned published;
static char folder[64];
static bool is_capable;
static void (*caught_up)(void *arg, bool whole);
static void *caught_up_arg;

static void on_published(void *user)
{
    assert_ptr_equal(user, west);
    published++;
}

static bool capable(void *user, unsigned context)
{
    assert_ptr_equal(user, west);
    return context == 0 || is_capable;
}

static uint64_t requests;

static uint64_t served(void *user, int context)
{
    assert_ptr_equal(user, west);
    return context == 1 ? requests : context < 0 ? 2 * requests : 0;
}

static void catch_up(void *user, struct fm_str region, void (*done)(void *arg, bool whole),
                     void *arg)
{
    assert_ptr_equal(user, west);
    assert_str(region, "north");
    assert_null(caught_up);
    caught_up = done;
    caught_up_arg = arg;
}

static bool lives; /* the database of `ledger` */

static bool acts(void *user, unsigned context)
{
    assert_ptr_equal(user, west);
    return lives && context == (unsigned)fm_roster_context(west->roster, FM_STR("ledger"));
}

static void rang(void *user)
{
    (void)user;
}

static void remove_folder(void)
{
    static const char *const file[] = {"lease-cards.lock", "lease-ledger.lock"};
    char path[PATH_MAX];
    for (size_t i = 0; i < FM_COUNT(file); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, file[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(folder), 0);
}

static int begin(void **state)
{
    int rc = fm_test_fds_before(state);
    hosts_open();
    snprintf(folder, sizeof folder, "/tmp/fulmar-lessee-XXXXXX");
    assert_non_null(mkdtemp(folder));
    published = 0;
    is_capable = true;
    lives = false;
    caught_up = NULL;
    assert_int_equal(fm_mailbox_open(&mailbox, &net.loop, NULL, NULL), FM_ERR_OK);
    seats = fm_seats_new(&mailbox, rang, NULL);
    assert_non_null(seats);
    struct fm_lessee_config c = {.loop = &net.loop,
                                 .gate = true,
                                 .roster = west->roster,
                                 .post = west->post,
                                 .seats = seats,
                                 .folder = folder,
                                 .self = west->self,
                                 .life = 100,
                                 .published = on_published,
                                 .capable = capable,
                                 .served = served,
                                 .catch_up = catch_up,
                                 .acts = acts,
                                 .user = west};
    lessee = fm_lessee_new(&c, hosts_conf, NULL);
    assert_non_null(lessee);
    assert_int_equal(fm_seats_context(seats, FM_STR("ledger"), 1, &ledger, NULL), FM_ERR_OK);
    assert_int_equal(fm_seats_context(seats, FM_STR("cards"), 4, &cards, NULL), FM_ERR_OK);
    return rc;
}

static int end(void **state)
{
    fm_lessee_stop(lessee);
    fm_lessee_free(lessee);
    remove_folder();
    hosts_close_but_loop();
    fm_seats_free(seats);
    fm_mailbox_close(&mailbox);
    hosts_close_loop();
    return fm_test_fds_after(state);
}

/* The newest message of this kind that came to the keeper; NULL: none did. */
static const struct fm_message *told(enum fm_message_kind kind)
{
    for (unsigned i = west->n; i-- > 0;)
        if (west->in[i].kind == kind)
            return &west->in[i];
    return NULL;
}

static void forget(void)
{
    west->n = 0;
}

static struct fm_message message(enum fm_message_kind kind, const char *context, uint64_t cells,
                                 uint64_t epoch)
{
    struct fm_message m = {.kind = (uint8_t)kind,
                           .context = (uint16_t)fm_roster_context(west->roster, fm_str_z(context)),
                           .life = 7,
                           .serial = 3,
                           .cells = cells};
    for (unsigned i = 0; i < FM_AUTH_CELLS_MAX; i++)
        m.epoch[i].n = epoch;
    return m;
}

static void say(unsigned from, const struct fm_message *m)
{
    struct fm_post_head head = {.from = "", .life = m->life};
    fm_lessee_take(lessee, from, &head, m);
}

static void grant(const char *context, uint64_t cells, uint64_t epoch, int32_t ms)
{
    struct fm_message m = message(FM_MESSAGE_GRANT, context, cells, epoch);
    m.life = 100;
    m.ms = ms;
    m.asked_ns = fm_mono_now().ns;
    say(west->self, &m);
}

static bool is_live(const struct fm_seats_context *c, unsigned cell, uint64_t epoch)
{
    struct fm_sublease_cell x;
    fm_seats_read_sublease(c, cell, &x);
    return fm_sublease_live(&x, (struct fm_epoch){epoch}, fm_mono_now());
}

static void it_asks_who_may_be_keeper_of_its_region(void **state)
{
    (void)state;
    NET_UNTIL(&net, told(FM_MESSAGE_CAPABLE) && west->n >= 3);
    const struct fm_message *c = told(FM_MESSAGE_CAPABLE), *a = told(FM_MESSAGE_ASK);
    assert_true(fm_contexts_has(&c->vote.well[0], 0) && fm_contexts_has(&c->vote.well[0], 1));
    assert_non_null(a);
    assert_int_equal(a->life, 100);
    assert_true(a->asked_ns > 0 && a->asked_ns <= fm_mono_now().ns);
    assert_int_equal(a->cells, 0); /* it has stopped nothing */
    is_capable = false;
    forget();
    net_skip_ms(1000); /* it asks again and again */
    NET_UNTIL(&net, told(FM_MESSAGE_CAPABLE));
    assert_false(fm_contexts_has(&told(FM_MESSAGE_CAPABLE)->vote.well[0], 1));
    forget();
    struct fm_message nudge = message(FM_MESSAGE_NUDGE, "cards", 0, 0);
    say(west->self, &nudge);
    NET_UNTIL(&net, told(FM_MESSAGE_ASK));
    assert_int_equal(told(FM_MESSAGE_ASK)->context, nudge.context);
    assert_int_equal(north->n, 0); /* another region's agents are not asked */
}

static void it_says_what_it_has_to_do(void **state)
{
    (void)state;
    requests = 0;
    NET_UNTIL(&net, told(FM_MESSAGE_CAPABLE));
    forget();
    requests = 1000000;
    net_skip_ms(1000);
    NET_UNTIL(&net, told(FM_MESSAGE_CAPABLE));
    const struct fm_load *l = &told(FM_MESSAGE_CAPABLE)->load;
    assert_true(l->of[1] > 1000 && l->of[1] <= 1000000); /* in a second and a little more */
    assert_true(l->total >= 2 * l->of[1] - 1 && l->total <= 2 * l->of[1] + 1 && l->of[0] == 0);
    requests = 0;
}

static void a_grant_is_published_with_its_time(void **state)
{
    (void)state;
    assert_false(is_live(ledger, 0, 1));
    grant("ledger", 1, 1, 500);
    assert_true(is_live(ledger, 0, 1));
    assert_int_equal(published, 1);
    grant("ledger", 1, 1, 1000); /* only longer: nobody has to look again */
    assert_int_equal(published, 1);
    grant("cards", 5, 9, 500);
    assert_true(is_live(cards, 0, 9) && is_live(cards, 2, 9));
    assert_false(is_live(cards, 1, 9));
    net_skip_ms(2000);
    assert_false(is_live(ledger, 0, 1)); /* by itself */
}

static void that_a_grant_is_closed_is_published(void **state)
{
    (void)state;
    struct fm_sublease_cell x;
    struct fm_message m = message(FM_MESSAGE_GRANT, "ledger", 1, 1);
    m.life = 100;
    m.ms = 1000;
    m.closed = true;
    m.asked_ns = fm_mono_now().ns;
    say(west->self, &m);
    fm_seats_read_sublease(ledger, 0, &x);
    assert_true(x.closed && is_live(ledger, 0, 1)); /* a database of this host may act */
    assert_int_equal(published, 1);
    net_turn_ms(&net, 10);
    forget();
    net_skip_ms(300); /* it may have been told that it is open, and not have heard it */
    NET_UNTIL(&net, told(FM_MESSAGE_ASK));
    grant("ledger", 1, 1, 1000);
    fm_seats_read_sublease(ledger, 0, &x);
    assert_false(x.closed);
    assert_int_equal(published, 2); /* who waits looks again */
    json_t *all = fm_lessee_json(lessee);
    const json_t *cell = json_array_get(json_object_get(all, "ledger"), 0);
    assert_true(json_is_false(json_object_get(cell, "closed")));
    json_decref(all);
}

static void what_this_life_did_not_ask_is_no_grant(void **state)
{
    (void)state;
    struct fm_message m = message(FM_MESSAGE_GRANT, "ledger", 1, 1);
    m.ms = 1000;
    m.asked_ns = fm_mono_now().ns;
    m.life = 99;
    say(west->self, &m);
    m.life = 100;
    m.asked_ns = fm_mono_now().ns + 1000 * FM_NS_PER_MS;
    say(west->self, &m);
    m.asked_ns = fm_mono_now().ns;
    say(host_number(west, "north-1"), &m); /* no keeper of this region */
    assert_false(is_live(ledger, 0, 1));
    assert_int_equal(published, 0);
}

static void what_is_acknowledged_has_stopped(void **state)
{
    (void)state;
    grant("cards", 15, 9, 1000);
    forget();
    struct fm_message m = message(FM_MESSAGE_STOP, "cards", 6, 9);
    say(west->self, &m);
    assert_false(is_live(cards, 1, 9) || is_live(cards, 2, 9));
    assert_true(is_live(cards, 0, 9) && is_live(cards, 3, 9));
    assert_null(told(FM_MESSAGE_STOPPED)); /* published first */
    NET_UNTIL(&net, told(FM_MESSAGE_STOPPED));
    assert_int_equal(told(FM_MESSAGE_STOPPED)->cells, 6);
    assert_int_equal(told(FM_MESSAGE_STOPPED)->epoch[2].n, 9);
    assert_int_equal(told(FM_MESSAGE_STOPPED)->life, 100);
    grant("cards", 15, 9, 1000); /* an old grant, or a keeper that does not know */
    assert_false(is_live(cards, 1, 9));
    grant("cards", 15, 10, 1000);
    assert_true(is_live(cards, 1, 10));
}

static void it_is_quiet_when_nothing_is_in_flight(void **state)
{
    (void)state;
    grant("cards", 15, 9, 5000);
    fm_seats_enter(cards, 1);
    forget();
    struct fm_message m = message(FM_MESSAGE_QUIET, "cards", 2, 0);
    m.ms = 3000;
    say(west->self, &m);
    struct fm_sublease_cell x;
    fm_seats_read_sublease(cards, 1, &x);
    assert_true(fm_mono_before(fm_mono_now(), x.quiet_until));
    NET_UNTIL(&net, told(FM_MESSAGE_QUIETED));
    assert_int_equal(told(FM_MESSAGE_QUIETED)->cells, 0);
    forget();
    net_turn_ms(&net, 30);
    assert_null(told(FM_MESSAGE_QUIETED));
    fm_seats_leave(cards, 1);
    NET_UNTIL(&net, told(FM_MESSAGE_QUIETED)); /* at once, without being asked again */
    assert_int_equal(told(FM_MESSAGE_QUIETED)->cells, 2);
    assert_int_equal(told(FM_MESSAGE_QUIETED)->serial, 3);
    assert_int_equal(told(FM_MESSAGE_QUIETED)->life_for, 7);
    m.ms = 0; /* the move is off */
    say(west->self, &m);
    fm_seats_read_sublease(cards, 1, &x);
    assert_false(fm_mono_before(fm_mono_now(), x.quiet_until));
}

static void nobody_waits_for_an_order_that_was_taken_back(void **state)
{
    (void)state;
    grant("cards", 15, 9, 5000);
    fm_seats_enter(cards, 1);
    struct fm_message m = message(FM_MESSAGE_QUIET, "cards", 2, 0);
    m.ms = 3000;
    say(west->self, &m);
    m.ms = 0;
    say(west->self, &m);
    net_turn_ms(&net, 5);
    forget();
    fm_seats_leave(cards, 1);
    net_turn_ms(&net, 20);
    assert_null(told(FM_MESSAGE_QUIETED));
}

static void the_board_says_who_holds(void **state)
{
    (void)state;
    struct fm_sublease_cell x;
    struct fm_message m = message(FM_MESSAGE_BOARD, "cards", 3, 12);
    m.holder[0] = 1;
    m.holder[1] = FM_NO_REGION;
    say(west->self, &m);
    fm_seats_read_sublease(cards, 0, &x);
    assert_int_equal(x.holder, fm_conf_find_region(hosts_conf, FM_STR("north")));
    assert_int_equal(x.known.n, 12);
    fm_seats_read_sublease(cards, 1, &x);
    assert_int_equal(x.holder, FM_NOBODY);
    assert_int_equal(published, 1);
    grant("cards", 1, 11, 1000); /* older than what is known */
    assert_false(is_live(cards, 0, 11));
}

static void a_higher_epoch_that_a_worker_met_ends_the_old_one(void **state)
{
    (void)state;
    grant("ledger", 1, 4, 5000);
    forget();
    fm_seats_met(seats, ledger, 0, (struct fm_epoch){6});
    fm_lessee_wanted(lessee);
    assert_false(is_live(ledger, 0, 4));
    NET_UNTIL(&net, told(FM_MESSAGE_ASK)); /* and asks what is the matter */
    unsigned n = west->n;
    fm_lessee_wanted(lessee); /* many workers ring: it asks once */
    fm_lessee_wanted(lessee);
    net_turn_ms(&net, 5);
    assert_int_equal(west->n, n);
}

static void the_heir_gets_the_journals_before_it_says_so(void **state)
{
    (void)state;
    struct fm_message m = message(FM_MESSAGE_SHIP, "cards", 0, 0);
    m.cell = 2;
    m.region = (uint8_t)fm_roster_region(west->roster, FM_STR("north"));
    unsigned keeper = host_number(west, "north-1"); /* of the region that gives */
    say(keeper, &m);
    assert_non_null(caught_up);
    say(keeper, &m); /* asked again: one is under way */
    net_turn_ms(&net, 10);
    assert_int_equal(north->n, 0);
    caught_up(caught_up_arg, true);
    NET_UNTIL(&net, north->n == 1);
    assert_int_equal(north->in[0].kind, FM_MESSAGE_SHIPPED);
    assert_true(north->in[0].ok);
    assert_int_equal(north->in[0].life_for, 7);
    assert_int_equal(north->in[0].cell, 2);
}

static void what_it_says_of_itself(void **state)
{
    (void)state;
    grant("ledger", 1, 4, 5000);
    json_t *o = fm_lessee_json(lessee);
    json_t *cell = json_array_get(json_object_get(o, "ledger"), 0);
    assert_true(json_is_true(json_object_get(cell, "holds")));
    assert_int_equal(json_integer_value(json_object_get(cell, "epoch")), 4);
    assert_string_equal(json_string_value(json_object_get(cell, "holder")), "west");
    assert_int_equal(json_array_size(json_object_get(o, "cards")), 4);
    json_decref(o);
    net_skip_ms(10000);
    o = fm_lessee_json(lessee);
    cell = json_array_get(json_object_get(o, "ledger"), 0);
    assert_true(json_is_false(json_object_get(cell, "holds")));
    json_decref(o);
}

/* -------- what is lent -------- */

static int borrow(const char *context, unsigned cell)
{
    char path[PATH_MAX];
    struct flock f = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = (off_t)cell, .l_len = 1};
    snprintf(path, sizeof path, "%s/lease-%s.lock", folder, context);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &f), 0);
    return fd;
}

static struct fm_page_answer page(const char *path, const char *query)
{
    struct fm_page_request q = {.path = fm_str_z(path), .query = fm_str_z(query)};
    struct fm_page_answer a = FM_PAGE_ANSWER;
    fm_lessee_lease(lessee, &q, &a);
    return a;
}

static json_t *lease(const char *path, const char *query)
{
    struct fm_page_answer a = page(path, query);
    assert_int_equal(a.status, 200);
    json_t *o = json_loadb(a.body, a.n, 0, NULL);
    assert_non_null(o);
    free(a.body);
    return o;
}

static void what_is_lent_has_not_stopped_while_it_is_locked(void **state)
{
    (void)state;
    net_skip_ms(60 * 1000); /* no earlier start is in the way */
    grant("cards", 15, 9, 1000);
    int fd = borrow("cards", 2);
    json_t *o = lease("/lease/cards", "?cell=2");
    assert_true(json_is_true(json_object_get(o, "held")));
    assert_int_equal(json_integer_value(json_object_get(o, "epoch")), 9);
    assert_in_range(json_integer_value(json_object_get(o, "left_ms")), 1, 990);
    assert_true(json_is_false(json_object_get(o, "moving")));
    json_decref(o);
    struct fm_message closed = message(FM_MESSAGE_GRANT, "cards", 15, 9);
    closed.life = 100;
    closed.ms = 1000;
    closed.closed = true;
    closed.asked_ns = fm_mono_now().ns;
    say(west->self, &closed);
    o = lease("/lease/cards", "?cell=2"); /* what runs goes on, nothing begins */
    assert_true(json_is_true(json_object_get(o, "held")));
    assert_true(json_is_true(json_object_get(o, "moving")));
    json_decref(o);
    struct fm_message m = message(FM_MESSAGE_STOP, "cards", 6, 9);
    forget();
    say(west->self, &m);
    assert_false(is_live(cards, 1, 9) || is_live(cards, 2, 9)); /* nothing begins any more */
    o = lease("/lease/cards", "?cell=2");
    assert_true(json_is_false(json_object_get(o, "held")));
    json_decref(o);
    NET_UNTIL(&net, told(FM_MESSAGE_STOPPED));
    assert_int_equal(told(FM_MESSAGE_STOPPED)->cells, 2); /* the other one */
    close(fd);
    forget();
    say(west->self, &m);
    NET_UNTIL(&net, told(FM_MESSAGE_STOPPED));
    assert_int_equal(told(FM_MESSAGE_STOPPED)->cells, 6);
}

static void what_is_lent_runs_out(void **state)
{
    (void)state;
    net_skip_ms(60 * 1000);
    grant("cards", 15, 9, 1000);
    int fd = borrow("cards", 0);
    json_decref(lease("/lease/cards", "?cell=0"));
    struct fm_message m = message(FM_MESSAGE_STOP, "cards", 1, 9);
    forget();
    say(west->self, &m);
    net_turn_ms(&net, 10);
    assert_null(told(FM_MESSAGE_STOPPED));
    net_skip_ms(1000); /* whoever keeps the lock now may not act any more */
    say(west->self, &m);
    NET_UNTIL(&net, told(FM_MESSAGE_STOPPED));
    assert_int_equal(told(FM_MESSAGE_STOPPED)->cells, 1);
    close(fd);
}

static bool asked_about(const char *context)
{
    for (unsigned i = 0; i < west->n; i++)
        if (west->in[i].kind == FM_MESSAGE_ASK &&
            west->in[i].context == fm_roster_context(west->roster, fm_str_z(context)))
            return true;
    return false;
}

static void a_new_start_says_nothing_while_the_old_one_has_lent(void **state)
{
    (void)state;
    int fd = borrow("cards", 3); /* before it has said its first word */
    NET_UNTIL(&net, asked_about("ledger"));
    net_turn_ms(&net, 20);
    assert_false(asked_about("cards"));
    close(fd);
    net_skip_ms(600); /* its next turn */
    NET_UNTIL(&net, asked_about("cards"));
    fd = borrow("cards", 3); /* this start's own */
    forget();
    net_skip_ms(600);
    NET_UNTIL(&net, asked_about("cards"));
    close(fd);
}

static void a_database_that_lives_has_not_stopped(void **state)
{
    (void)state;
    unsigned number = (unsigned)fm_roster_context(west->roster, FM_STR("ledger"));
    NET_UNTIL(&net, told(FM_MESSAGE_ASK));
    grant("ledger", 1, 5, 60000);
    lives = true;
    forget();
    struct fm_message m = message(FM_MESSAGE_STOP, "ledger", 1, 5);
    say(west->self, &m);
    assert_false(is_live(ledger, 0, 5)); /* for workers it has ended at once */
    fm_lessee_ended(lessee, number);     /* and that is not true yet */
    net_turn_ms(&net, 20);
    assert_null(told(FM_MESSAGE_STOPPED));
    lives = false;
    fm_lessee_ended(lessee, number);
    NET_UNTIL(&net, told(FM_MESSAGE_STOPPED));
    assert_int_equal(told(FM_MESSAGE_STOPPED)->cells, 1);
    assert_int_equal(told(FM_MESSAGE_STOPPED)->epoch[0].n, 5);
    assert_int_equal(fm_lessee_held(lessee, number)->cell[0].stopped.n, 5);
}

static void what_cannot_be_lent(void **state)
{
    (void)state;
    static const struct {
        const char *path, *query;
        unsigned status;
    } row[] = {{"/lease/none", "", 404},
               {"/lease/", "", 404},
               {"/lease/cards/2", "", 404},
               {"/lease/cards", "?cell=4", 404},
               {"/lease/cards", "?cell=99999999999", 404},
               {"/lease/cards", "?cell=", 400},
               {"/lease/cards", "?after=-1", 400},
               {"/lease/cards", "?cell", 400},
               {"/lease/cards", "?later=1&cell=3", 200}};
    for (size_t i = 0; i < FM_COUNT(row); i++) {
        struct fm_page_answer a = page(row[i].path, row[i].query);
        assert_int_equal(a.status, row[i].status);
        free(a.body);
    }
}

#define T(fn) fm_test_with(fn, begin, end)
FM_TEST_MAIN(T(it_asks_who_may_be_keeper_of_its_region), T(it_says_what_it_has_to_do),
             T(a_grant_is_published_with_its_time), T(that_a_grant_is_closed_is_published),
             T(what_this_life_did_not_ask_is_no_grant), T(what_is_acknowledged_has_stopped),
             T(it_is_quiet_when_nothing_is_in_flight),
             T(nobody_waits_for_an_order_that_was_taken_back), T(the_board_says_who_holds),
             T(a_higher_epoch_that_a_worker_met_ends_the_old_one),
             T(the_heir_gets_the_journals_before_it_says_so), T(what_it_says_of_itself),
             T(what_is_lent_has_not_stopped_while_it_is_locked), T(what_is_lent_runs_out),
             T(a_new_start_says_nothing_while_the_old_one_has_lent),
             T(a_database_that_lives_has_not_stopped), T(what_cannot_be_lent))
