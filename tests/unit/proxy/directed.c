/* See the header. */
#include "directed.h"

#include <stdlib.h>

struct net net;
struct fm_director director;

static struct fm_mailbox box;
static struct fm_resolver *resolver;
static bool opened;

int directed_setup(void **state)
{
    int rc = fm_test_fds_before(state);
    net_open(&net, 16 * 1024, 64);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(fm_mailbox_open(&box, &net.loop, NULL, NULL), FM_ERR_OK);
    resolver = fm_resolver_new(&box, NULL);
    assert_non_null(resolver);
    opened = false;
    return rc;
}

int directed_teardown(void **state)
{
    fm_resolver_free(resolver);
    if (opened)
        fm_director_deinit(&director);
    fm_mailbox_close(&box);
    net_close(&net);
    return fm_test_fds_after(state);
}

void directed_open(const char *text, enum fm_proxy_mode mode, unsigned self)
{
    struct fm_director_config c = {.mode = mode, .self = self, .self_host = "w", .nworkers = 1};
    struct fm_error e = {.msg = ""};
    opened = true;
    if (fm_director_init(&director, &net.loop, &box, resolver, given_conf(text), &c, &e))
        fail_msg("%s", e.msg);
}

void directed_count(unsigned region, unsigned context, enum fm_outcome o, unsigned n)
{
    fm_counter_add(&fm_board_counts(director.board, 0, region, context)->outcome[o], n);
}

void directed_ring(void)
{
    struct fm_board *b = director.board;
    fm_board_ring(b);
    NET_UNTIL(&net, !atomic_load(&b->alarm));
}

enum fm_health_state directed_state(unsigned region, unsigned context)
{
    return fm_director_health(&director, region, context)->state;
}

unsigned directed_share(unsigned region, unsigned context)
{
    return fm_board_share(atomic_load(&fm_board_slot(director.board, region, context)->word));
}

void directed_probe_down(unsigned region, unsigned context, const char *why)
{
    for (int i = 0; i < 8 && directed_state(region, context) != FM_HEALTH_DOWN; i++)
        fm_director_probe(&director, region, context, false, fm_str_z(why));
    assert_int_equal(directed_state(region, context), FM_HEALTH_DOWN);
}
