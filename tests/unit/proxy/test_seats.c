/* Seats: what control published is read whole, and nothing begins that it forbade before. */
#include "test.h"

#include "net.h"
#include "proxy/seats.h"

#include <stdio.h>

#include <pthread.h>

static struct fm_seats *seats;
static struct fm_seats_context *ctx;

static void begin(void)
{
    struct fm_error e;
    seats = fm_seats_new(NULL, NULL, NULL);
    assert_non_null(seats);
    assert_int_equal(fm_seats_context(seats, FM_STR("cards"), 16, &ctx, &e), FM_ERR_OK);
}

static void what_is_published_is_read(void **state)
{
    (void)state;
    begin();
    struct fm_sublease_cell out, in = {.until = {7},
                                       .quiet_until = {8},
                                       .epoch = {9},
                                       .known = {10},
                                       .stopped = {11},
                                       .closed = true,
                                       .holder = 3};
    fm_seats_read_sublease(ctx, 15, &out);
    assert_int_equal(out.holder, FM_NOBODY);
    assert_int_equal(out.until.ns, 0);
    fm_seats_publish_sublease(ctx, 15, &in);
    fm_seats_read_sublease(ctx, 15, &out);
    assert_int_equal(out.until.ns, 7);
    assert_int_equal(out.quiet_until.ns, 8);
    assert_int_equal(out.epoch.n, 9);
    assert_int_equal(out.known.n, 10);
    assert_int_equal(out.stopped.n, 11);
    assert_int_equal(out.holder, 3);
    assert_true(out.closed);
    in.closed = false;
    fm_seats_publish_sublease(ctx, 15, &in);
    fm_seats_read_sublease(ctx, 15, &out);
    assert_false(out.closed);
    struct fm_view_cell seen,
        said = {.epoch = {5}, .gentle_from = {4}, .region = 2, .released = true};
    fm_seats_publish_view(ctx, 0, &said);
    fm_seats_read_view(ctx, 0, &seen);
    assert_int_equal(seen.epoch.n, 5);
    assert_int_equal(seen.gentle_from.n, 4);
    assert_int_equal(seen.region, 2);
    assert_true(seen.released);
    fm_seats_free(seats);
}

static void a_context_keeps_its_cells(void **state)
{
    (void)state;
    begin();
    struct fm_error e;
    struct fm_seats_context *again;
    assert_int_equal(fm_seats_context(seats, FM_STR("cards"), 16, &again, &e), FM_ERR_OK);
    assert_ptr_equal(again, ctx);
    assert_int_equal(fm_seats_context(seats, FM_STR("cards"), 8, &again, &e), FM_ERR_STATE);
    assert_non_null(strstr(e.msg, "16 cells"));
    char name[8];
    for (int i = 1; i < FM_SEATS_CONTEXTS_MAX; i++) {
        snprintf(name, sizeof name, "c%d", i);
        assert_int_equal(fm_seats_context(seats, fm_str_z(name), 1, &again, &e), FM_ERR_OK);
    }
    assert_int_equal(fm_seats_context(seats, FM_STR("more"), 1, &again, &e), FM_ERR_LIMIT);
    fm_seats_free(seats);
}

static void flight_is_counted_by_cell(void **state)
{
    (void)state;
    begin();
    fm_seats_enter(ctx, 3);
    fm_seats_enter(ctx, 3);
    fm_seats_enter(ctx, 4);
    fm_seats_leave(ctx, 3);
    assert_int_equal(fm_seats_in_flight(ctx, 3), 1);
    assert_int_equal(fm_seats_in_flight(ctx, 4), 1);
    assert_int_equal(fm_seats_in_flight(ctx, 5), 0);
    fm_seats_leave(ctx, 3);
    fm_seats_leave(ctx, 4);
    fm_seats_free(seats);
}

/* -------- with workers -------- */

enum { ROUNDS = 2000 };
static _Atomic bool over;
static _Atomic uint64_t wrong, begun;

/* A worker: counts itself, looks, and acts only where it may. While it acts the cell may not be
 * called empty by who drains. */
static void *work(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        struct fm_sublease_cell c;
        fm_seats_enter(ctx, 1);
        fm_seats_read_sublease(ctx, 1, &c);
        wrong += c.epoch.n != c.known.n || c.epoch.n != (uint64_t)c.until.ns;
        if (c.holder == 1)
            atomic_fetch_add(&begun, 1);
        fm_seats_leave(ctx, 1);
    }
    return NULL;
}

static void what_is_forbidden_does_not_begin_once_it_is_empty(void **state)
{
    (void)state;
    begin();
    over = false;
    pthread_t t[2];
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, work, NULL), 0);
    for (unsigned n = 1; n <= ROUNDS; n++) {
        struct fm_sublease_cell c = {
            .until = {n}, .epoch = {n}, .known = {n}, .holder = n % 2 ? 1 : FM_NOBODY};
        fm_seats_publish_sublease(ctx, 1, &c);
        if (n % 2)
            continue;
        while (fm_seats_in_flight(ctx, 1) > 0) { /* of those that are in flight now, some may act */
        }
        uint64_t before = atomic_load(&begun);
        for (unsigned i = 0; i < 20; i++)
            (void)fm_seats_in_flight(ctx, 1);
        wrong += atomic_load(&begun) != before;
    }
    over = true;
    for (unsigned i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(wrong, 0);
    fm_seats_free(seats);
}

/* -------- the bell -------- */

static unsigned rang;

static void wanted(void *user)
{
    (void)user;
    rang++;
}

static void a_higher_epoch_rings_once(void **state)
{
    (void)state;
    static struct net n;
    net_open(&n, 4096, 16);
    struct fm_mailbox box;
    struct fm_error e;
    assert_int_equal(fm_mailbox_open(&box, &n.loop, NULL, &e), FM_ERR_OK);
    seats = fm_seats_new(&box, wanted, NULL);
    assert_int_equal(fm_seats_context(seats, FM_STR("cards"), 2, &ctx, &e), FM_ERR_OK);
    rang = 0;
    fm_seats_met(seats, ctx, 1, (struct fm_epoch){9});
    fm_seats_met(seats, ctx, 1, (struct fm_epoch){8});
    assert_int_equal(fm_seats_heard(ctx, 1).n, 9);
    assert_int_equal(fm_seats_heard(ctx, 0).n, 0);
    NET_UNTIL(&n, rang == 1);
    fm_seats_ring(seats);
    NET_UNTIL(&n, rang == 2);
    fm_mailbox_close(&box);
    fm_seats_free(seats);
    net_close(&n);
}

FM_TEST_MAIN(fm_test(what_is_published_is_read), fm_test(a_context_keeps_its_cells),
             fm_test(flight_is_counted_by_cell),
             fm_test(what_is_forbidden_does_not_begin_once_it_is_empty),
             fm_test(a_higher_epoch_rings_once))
