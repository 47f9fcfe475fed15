/* The resolver thread: see the header. The lock guards the queue only, never a lookup. */
#include "io/resolve.h"

#include "base/assert.h"

#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct fm_resolver {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct fm_lookup *first, **last;
    bool stop;
};

static int compare_addrs(const void *x, const void *y)
{
    const struct fm_addr *a = x, *b = y;
    uint8_t p[16], q[16];
    fm_addr_bytes(a, p);
    fm_addr_bytes(b, q);
    return memcmp(p, q, sizeof p);
}

static void keep(struct fm_lookup *q, const struct addrinfo *ai)
{
    if (q->n == FM_LOOKUP_ADDRS_MAX || ai->ai_addrlen > sizeof q->addr[0].un)
        return;
    struct fm_addr *a = &q->addr[q->n];
    *a = (struct fm_addr){.len = ai->ai_addrlen};
    memcpy(&a->sa, ai->ai_addr, ai->ai_addrlen);
    if (a->sa.sa_family == AF_INET)
        a->in.sin_port = htons(q->port);
    else if (a->sa.sa_family == AF_INET6)
        a->in6.sin6_port = htons(q->port);
    else
        return;
    q->n++;
}

static void look_up(struct fm_lookup *q)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    q->n = 0;
    q->why[0] = 0;
    int rc = getaddrinfo(q->name, NULL, &hints, &list);
    if (rc) {
        q->result = FM_ERR_NOT_FOUND;
        snprintf(q->why, sizeof q->why, "%s", gai_strerror(rc));
        return;
    }
    for (struct addrinfo *ai = list; ai; ai = ai->ai_next)
        keep(q, ai);
    freeaddrinfo(list);
    qsort(q->addr, q->n, sizeof q->addr[0], compare_addrs);
    size_t kept = 0;
    for (size_t i = 0; i < q->n; i++)
        if (kept == 0 || compare_addrs(&q->addr[kept - 1], &q->addr[i]) != 0)
            q->addr[kept++] = q->addr[i];
    q->n = kept;
    q->result = kept ? FM_ERR_OK : FM_ERR_NOT_FOUND;
    if (!kept)
        snprintf(q->why, sizeof q->why, "no address");
}

static void *resolve_loop(void *arg)
{
    struct fm_resolver *r = arg;
    pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        struct fm_lookup *q = r->first;
        if (!q) {
            pthread_cond_wait(&r->some, &r->lock);
            continue;
        }
        r->first = q->next;
        if (!r->first)
            r->last = &r->first;
        pthread_mutex_unlock(&r->lock);
        look_up(q);
        pthread_mutex_lock(&r->lock);
        if (!r->stop)
            fm_mailbox_post(q->to, &q->msg);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

struct fm_resolver *fm_resolver_new(struct fm_error *e)
{
    struct fm_resolver *r = calloc(1, sizeof *r);
    if (!r) {
        fm_error_set(e, FM_ERR_MEMORY, "no memory for the resolver");
        return NULL;
    }
    r->last = &r->first;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->some, NULL);
    int rc = pthread_create(&r->thread, NULL, resolve_loop, r);
    if (rc) {
        fm_error_errno(e, FM_ERR_LIMIT, rc, "cannot start the resolver thread");
        free(r);
        return NULL;
    }
    return r;
}

void fm_resolver_free(struct fm_resolver *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_signal(&r->some);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->some);
    free(r);
}

static void answered(struct fm_msg *m, void *user)
{
    (void)user;
    struct fm_lookup *q = fm_container_of(m, struct fm_lookup, msg);
    q->busy = false;
    q->done(q);
}

void fm_resolver_ask(struct fm_resolver *r, struct fm_lookup *q)
{
    FM_ASSERT(!q->busy && q->to && q->done);
    q->busy = true;
    q->next = NULL;
    q->msg.deliver = answered;
    pthread_mutex_lock(&r->lock);
    *r->last = q;
    r->last = &q->next;
    pthread_cond_signal(&r->some);
    pthread_mutex_unlock(&r->lock);
}
