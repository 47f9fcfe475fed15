/* The network of the demonstration: places that reach each other, and then do not. */
#include "net.h"

#include "demo/links.h"

#include <poll.h>
#include <unistd.h>

enum { WEST, NORTH, WITNESS, PLACES, SOON_MS = 30 };

static int listener[PLACES]; /* of each place */
static struct fm_link link_of[PLACES][PLACES];
static struct fm_links *links;
static struct peer p, q;

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    struct fm_link all[PLACES * PLACES];
    size_t n = 0;
    struct fm_addr to[PLACES];
    struct fm_error e;
    for (unsigned i = 0; i < PLACES; i++)
        listener[i] = raw_listen(&to[i]);
    for (unsigned from = 0; from < PLACES; from++)
        for (unsigned into = 0; into < PLACES; into++) {
            struct fm_addr at;
            if (from == into)
                continue;
            close(raw_listen(&at)); /* a free port */
            link_of[from][into] = (struct fm_link){
                .from = from, .into = into, .at = at, .to = to[into], .data = into == NORTH};
            all[n++] = link_of[from][into];
        }
    links = fm_links_start(all, n, &e);
    if (!links)
        fail_msg("%s", e.msg);
    return rc;
}

static int teardown(void **state)
{
    fm_links_stop(links);
    for (unsigned i = 0; i < PLACES; i++)
        close(listener[i]);
    return fm_test_fds_after(state);
}

static bool is_readable(int fd, int ms)
{
    struct pollfd at = {.fd = fd, .events = POLLIN};
    return poll(&at, 1, ms) == 1;
}

static void open_between(unsigned from, unsigned into)
{
    peer_connect(&p, &link_of[from][into].at);
    assert_true(is_readable(listener[into], 10000));
    peer_adopt(&q, accept4(listener[into], NULL, NULL, SOCK_CLOEXEC));
}

static void close_both(void)
{
    peer_close(&p);
    peer_close(&q);
}

static bool passes(struct peer *from, struct peer *to, int ms)
{
    assert_int_equal(send(from->fd, "x", 1, MSG_NOSIGNAL), 1);
    bool came = is_readable(to->fd, ms);
    peer_poll(to);
    return came && to->n > 0;
}

static void every_place_reaches_every_other(void **state)
{
    (void)state;
    for (unsigned from = 0; from < PLACES; from++)
        for (unsigned into = 0; into < PLACES; into++)
            if (from != into) {
                open_between(from, into);
                assert_true(passes(&p, &q, 10000) && passes(&q, &p, 10000));
                assert_true(fm_links_connections(links) >= 1);
                close_both();
            }
}

static void a_place_is_cut_off_from_some_whoever_dialled(void **state)
{
    (void)state;
    for (unsigned turn = 0; turn < 2; turn++) {
        open_between(turn ? NORTH : WEST, turn ? WEST : NORTH);
        fm_links_set(links, WEST, 1u << NORTH, &(struct fm_fault_rule){.cut = true});
        assert_false(passes(&p, &q, SOON_MS));
        assert_false(passes(&q, &p, SOON_MS));
        struct peer a = p, b = q;
        open_between(WEST, WITNESS); /* these still see each other */
        assert_true(passes(&p, &q, 10000));
        close_both();
        open_between(WITNESS, NORTH);
        assert_true(passes(&p, &q, 10000));
        close_both();
        fm_links_heal(links);
        assert_true(is_readable(a.fd, 10000) && is_readable(b.fd, 10000));
        peer_close(&a);
        peer_close(&b);
    }
}

static void ways_of_data_are_cut_alone(void **state)
{
    (void)state;
    open_between(WEST, NORTH);
    fm_links_set_data(links, &(struct fm_fault_rule){.cut = true});
    assert_false(passes(&p, &q, SOON_MS));
    struct peer a = p, b = q;
    open_between(NORTH, WEST);
    assert_true(passes(&p, &q, 10000));
    close_both();
    fm_links_heal(links);
    assert_true(is_readable(b.fd, 10000));
    peer_close(&a);
    peer_close(&b);
}

static void a_place_is_slow_to_reach(void **state)
{
    (void)state;
    fm_links_set(links, NORTH, 1u << WEST | 1u << WITNESS,
                 &(struct fm_fault_rule){.delay_ms = 200});
    open_between(WEST, NORTH);
    assert_false(passes(&p, &q, SOON_MS));
    assert_true(is_readable(q.fd, 10000));
    close_both();
}

static void an_address_that_is_taken_is_told(void **state)
{
    (void)state;
    struct fm_error e;
    struct fm_link two[2] = {link_of[NORTH][WEST], link_of[WEST][NORTH]};
    close(raw_listen(&two[0].at));
    assert_null(fm_links_start(two, 2, &e));
    assert_int_equal(e.code, FM_ERR_EXISTS);
    assert_null(fm_links_start(two, FM_LINKS_MAX + 1, &e));
    assert_int_equal(e.code, FM_ERR_LIMIT);
    fm_links_stop(NULL);
}

#define with_links(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_links(every_place_reaches_every_other),
             with_links(a_place_is_cut_off_from_some_whoever_dialled),
             with_links(ways_of_data_are_cut_alone), with_links(a_place_is_slow_to_reach),
             with_links(an_address_that_is_taken_is_told))
