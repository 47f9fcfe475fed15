/* The resolver threads: see the header. The lock guards all of struct fm_resolver but its two
 * constants, never a lookup. Invariants: a question is in one place, `asked`, a thread's `at` or
 * `answered`; the resolver's memory goes with the last of its owner, its threads and its message,
 * so that a lookup that hangs or an answer that was not delivered needs nobody to wait for it. */
#include "io/resolve.h"

#include "base/assert.h"

#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct queue {
    struct fm_lookup *first, **last;
    size_t n;
};

struct fm_resolver {
    struct fm_mailbox *to; /* constant */
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct queue asked, answered;
    unsigned refs;          /* the owner, each thread, the message while it is in the mailbox */
    unsigned threads, idle; /* idle <= threads */
    bool stop, posted;
    struct fm_msg news; /* says that something was answered */
};

/* What a thread works on. */
struct work {
    char name[FM_LOOKUP_NAME_MAX + 1];
    uint16_t port;
    enum fm_err result;
    size_t n;
    struct fm_addr addr[FM_LOOKUP_ADDRS_MAX];
    char why[sizeof((struct fm_lookup *)0)->why];
};

/* -------- queues -------- */

static void queue_init(struct queue *q)
{
    *q = (struct queue){.first = NULL, .last = &q->first};
}

static void queue_push(struct queue *q, struct fm_lookup *l)
{
    FM_ASSERT(l->busy && !*q->last);
    l->next = NULL;
    *q->last = l;
    q->last = &l->next;
    q->n++;
}

static struct fm_lookup *queue_pop(struct queue *q)
{
    struct fm_lookup *l = q->first;
    FM_ASSERT(!l == (q->n == 0));
    if (!l)
        return NULL;
    q->n--;
    q->first = l->next;
    if (!q->first)
        q->last = &q->first;
    l->next = NULL;
    return l;
}

/* -------- one lookup -------- */

static int compare_addrs(const void *x, const void *y)
{
    const struct fm_addr *a = x, *b = y;
    uint8_t p[16], q[16];
    fm_addr_bytes(a, p);
    fm_addr_bytes(b, q);
    return memcmp(p, q, sizeof p);
}

static void keep(struct work *w, const struct addrinfo *ai)
{
    if (w->n == FM_LOOKUP_ADDRS_MAX || ai->ai_addrlen > sizeof w->addr[0].un)
        return;
    struct fm_addr *a = &w->addr[w->n];
    *a = (struct fm_addr){.len = ai->ai_addrlen};
    memcpy(&a->sa, ai->ai_addr, ai->ai_addrlen);
    if (a->sa.sa_family == AF_INET)
        a->in.sin_port = htons(w->port);
    else if (a->sa.sa_family == AF_INET6)
        a->in6.sin6_port = htons(w->port);
    else
        return;
    w->n++;
}

static void look_up(struct work *w)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    w->n = 0;
    w->why[0] = 0;
    int rc = getaddrinfo(w->name, NULL, &hints, &list);
    if (rc) {
        w->result = FM_ERR_NOT_FOUND;
        snprintf(w->why, sizeof w->why, "%s", gai_strerror(rc));
        return;
    }
    for (struct addrinfo *ai = list; ai; ai = ai->ai_next)
        keep(w, ai);
    freeaddrinfo(list);
    qsort(w->addr, w->n, sizeof w->addr[0], compare_addrs);
    size_t kept = 0;
    for (size_t i = 0; i < w->n; i++)
        if (kept == 0 || compare_addrs(&w->addr[kept - 1], &w->addr[i]) != 0)
            w->addr[kept++] = w->addr[i];
    FM_ASSERT(kept <= w->n && w->n <= FM_LOOKUP_ADDRS_MAX);
    w->n = kept;
    w->result = kept ? FM_ERR_OK : FM_ERR_NOT_FOUND;
    if (!kept)
        snprintf(w->why, sizeof w->why, "no address");
}

/* -------- the resolver's memory -------- */

/* With the lock held, which is released. */
static void unref(struct fm_resolver *r)
{
    FM_ASSERT(r->refs > 0);
    bool last = --r->refs == 0;
    FM_ASSERT(!last || (r->stop && r->threads == 0 && !r->posted));
    pthread_mutex_unlock(&r->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->some);
    free(r);
}

/* On the loop: hand out the answers, one by one, because `done` may ask again or free the resolver.
 */
static void tell(struct fm_msg *m, void *user)
{
    (void)user;
    struct fm_resolver *r = fm_container_of(m, struct fm_resolver, news);
    pthread_mutex_lock(&r->lock);
    FM_ASSERT(r->posted && r->refs > 0);
    r->posted = false;
    while (!r->stop) {
        struct fm_lookup *q = queue_pop(&r->answered);
        if (!q)
            break;
        pthread_mutex_unlock(&r->lock);
        FM_ASSERT(q->busy && q->done);
        q->busy = false;
        q->done(q);
        pthread_mutex_lock(&r->lock);
    }
    unref(r);
}

/* With the lock held. */
static void answer(struct fm_resolver *r, struct fm_lookup *q)
{
    queue_push(&r->answered, q);
    if (r->posted)
        return;
    r->posted = true;
    r->refs++;
    fm_mailbox_post(r->to, &r->news);
}

/* -------- threads -------- */

static void work_on(struct fm_resolver *r, struct fm_lookup *q)
{
    struct work w = {.port = q->port};
    memcpy(w.name, q->name, sizeof w.name);
    pthread_mutex_unlock(&r->lock);
    look_up(&w);
    pthread_mutex_lock(&r->lock);
    if (r->stop)
        return; /* q may be gone */
    FM_ASSERT(q->busy);
    q->result = w.result;
    q->n = w.n;
    memcpy(q->addr, w.addr, w.n * sizeof w.addr[0]);
    memcpy(q->why, w.why, sizeof q->why);
    answer(r, q);
}

static void *resolve_loop(void *arg)
{
    struct fm_resolver *r = arg;
    pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        struct fm_lookup *q = queue_pop(&r->asked);
        if (q) {
            work_on(r, q);
            continue;
        }
        r->idle++;
        pthread_cond_wait(&r->some, &r->lock);
        FM_ASSERT(r->idle > 0 && r->idle <= r->threads);
        r->idle--;
    }
    r->threads--;
    unref(r);
    return NULL;
}

/* With the lock held. A detached thread: nobody waits for it. */
static bool add_thread(struct fm_resolver *r)
{
    pthread_t thread;
    pthread_attr_t detached;
    FM_ASSERT(r->threads < FM_RESOLVER_THREADS);
    if (pthread_attr_init(&detached))
        return false;
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    bool ok = pthread_create(&thread, &detached, resolve_loop, r) == 0;
    pthread_attr_destroy(&detached);
    r->threads += ok;
    r->refs += ok;
    return ok;
}

/* -------- for the owner -------- */

struct fm_resolver *fm_resolver_new(struct fm_mailbox *to, struct fm_error *e)
{
    FM_ASSERT(to);
    struct fm_resolver *r = calloc(1, sizeof *r);
    if (!r) {
        fm_error_set(e, FM_ERR_MEMORY, "no memory for the resolver");
        return NULL;
    }
    r->to = to;
    r->refs = 1;
    r->news.deliver = tell;
    queue_init(&r->asked);
    queue_init(&r->answered);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->some, NULL);
    return r;
}

void fm_resolver_free(struct fm_resolver *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    FM_ASSERT(!r->stop);
    r->stop = true;
    queue_init(&r->asked);
    queue_init(&r->answered);
    pthread_cond_broadcast(&r->some);
    unref(r);
}

void fm_resolver_ask(struct fm_resolver *r, struct fm_lookup *q)
{
    FM_ASSERT(!q->busy && q->done && memchr(q->name, 0, sizeof q->name));
    q->busy = true;
    pthread_mutex_lock(&r->lock);
    FM_ASSERT(!r->stop);
    /* one that is idle may be about to wake up for a question that was asked before */
    if (r->asked.n >= r->idle && r->threads < FM_RESOLVER_THREADS)
        (void)add_thread(r); /* else those that are there will get to it */
    if (r->threads == 0) {
        q->result = FM_ERR_LIMIT;
        q->n = 0;
        snprintf(q->why, sizeof q->why, "cannot start a thread");
        answer(r, q);
    } else {
        queue_push(&r->asked, q);
        pthread_cond_signal(&r->some);
    }
    pthread_mutex_unlock(&r->lock);
}
