/* The network of the demonstration: see the header. Invariant: the fault proxies are touched by
 * their thread alone; whoever asks posts a message and waits until it was dealt with. */
#include "demo/links.h"

#include "base/assert.h"
#include "io/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

enum { BLOCK = 16 * 1024, BLOCKS_MAX = 2048 };

struct order {
    struct fm_msg msg;
    sem_t done;
    bool stop, everywhere, data;
    unsigned a;
    uint32_t others;
    struct fm_fault_rule rule;
    unsigned connections;
};

struct fm_links {
    pthread_t thread;
    struct fm_pool pool;
    struct fm_loop loop;
    struct fm_mailbox inbox;
    size_t n;
    struct fm_link link[FM_LINKS_MAX];
    struct fm_fault fault[FM_LINKS_MAX];
};

static bool is_between(const struct fm_link *k, unsigned a, uint32_t others)
{
    FM_ASSERT(k->from < 32 && k->into < 32);
    return (k->from == a && (others >> k->into & 1)) || (k->into == a && (others >> k->from & 1));
}

/* On the thread. */
static void obey(struct fm_msg *m, void *user)
{
    struct fm_links *l = user;
    struct order *o = fm_container_of(m, struct order, msg);
    FM_ASSERT(l->n <= FM_LINKS_MAX && pthread_equal(pthread_self(), l->loop.thread));
    if (o->stop)
        fm_loop_stop(&l->loop);
    for (size_t i = 0; i < l->n; i++) {
        if (o->everywhere || (o->data && l->link[i].data) ||
            is_between(&l->link[i], o->a, o->others))
            for (unsigned way = 0; way < FM_FAULT_WAYS; way++)
                fm_fault_set(&l->fault[i], (enum fm_fault_way)way, &o->rule);
        o->connections += l->fault[i].npairs;
    }
    sem_post(&o->done);
}

static unsigned order(struct fm_links *l, struct order *o)
{
    o->msg.deliver = obey;
    sem_init(&o->done, 0, 0);
    fm_mailbox_post(&l->inbox, &o->msg);
    while (sem_wait(&o->done) < 0)
        FM_ASSERT(errno == EINTR);
    sem_destroy(&o->done);
    return o->connections;
}

static void *run(void *arg)
{
    struct fm_links *l = arg;
    fm_loop_run(&l->loop);
    return NULL;
}

static void discard(struct fm_links *l)
{
    for (size_t i = 0; i < l->n; i++)
        fm_fault_close(&l->fault[i]);
    fm_mailbox_close(&l->inbox);
    if (l->n > 0)
        fm_loop_turn(&l->loop, 0); /* buries them */
    fm_loop_deinit(&l->loop);
    fm_pool_deinit(&l->pool);
    free(l);
}

struct fm_links *fm_links_start(const struct fm_link *link, size_t n, struct fm_error *e)
{
    struct fm_links *l = n <= FM_LINKS_MAX ? calloc(1, sizeof *l) : NULL;
    if (!l) {
        fm_error_set(e, FM_ERR_LIMIT, "there is no room for %zu ways between regions", n);
        return NULL;
    }
    fm_pool_init(&l->pool, BLOCK, BLOCKS_MAX);
    enum fm_err err = fm_loop_init(&l->loop, &l->pool, e);
    if (!err)
        err = fm_mailbox_open(&l->inbox, &l->loop, l, e);
    for (size_t i = 0; !err && i < n; i++) {
        l->link[i] = link[i];
        err = fm_fault_open(&l->fault[i], &l->loop, &link[i].at, &link[i].to, i, e);
        l->n++;
    }
    int rc = err ? 0 : pthread_create(&l->thread, NULL, run, l);
    if (rc)
        err = fm_error_errno(e, FM_ERR_LIMIT, rc, "cannot start the network of the demonstration");
    if (!err)
        return l;
    discard(l);
    return NULL;
}

void fm_links_stop(struct fm_links *l)
{
    if (!l)
        return;
    struct order o = {.stop = true};
    (void)order(l, &o);
    pthread_join(l->thread, NULL);
    discard(l);
}

void fm_links_set(struct fm_links *l, unsigned a, uint32_t others, const struct fm_fault_rule *r)
{
    struct order o = {.a = a, .others = others, .rule = *r};
    FM_ASSERT(a < 32 && !(others >> a & 1));
    (void)order(l, &o);
}

void fm_links_set_data(struct fm_links *l, const struct fm_fault_rule *r)
{
    struct order o = {.data = true, .rule = *r};
    (void)order(l, &o);
}

void fm_links_heal(struct fm_links *l)
{
    struct order o = {.everywhere = true};
    (void)order(l, &o);
}

unsigned fm_links_connections(struct fm_links *l)
{
    struct order o = {.others = 0};
    return order(l, &o);
}
