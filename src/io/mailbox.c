/* Mailboxes: see the header. */
#include "io/mailbox.h"

#include "base/assert.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void deliver_all(struct fm_mailbox *m)
{
    struct fm_msg *stack = atomic_exchange_explicit(&m->head, NULL, memory_order_acquire);
    struct fm_msg *in_order = NULL;
    while (stack) {
        struct fm_msg *next = stack->next;
        stack->next = in_order;
        in_order = stack;
        stack = next;
    }
    while (in_order) {
        struct fm_msg *next = in_order->next;
        FM_ASSERT(in_order->deliver);
        in_order->deliver(in_order, m->user);
        in_order = next;
    }
}

static void mailbox_ready(struct fm_watch *w, uint32_t events)
{
    (void)events;
    uint64_t count;
    ssize_t n = read(w->fd, &count, sizeof count);
    FM_ASSERT(n == sizeof count || errno == EAGAIN || errno == EINTR);
    deliver_all(fm_container_of(w, struct fm_mailbox, watch));
}

enum fm_err fm_mailbox_open(struct fm_mailbox *m, struct fm_loop *l, void *user, struct fm_error *e)
{
    m->watch = (struct fm_watch){.fd = -1, .ready = mailbox_ready};
    m->loop = l;
    m->user = user;
    atomic_store(&m->head, NULL);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0)
        return fm_error_errno(e, FM_ERR_LIMIT, errno, "cannot create an eventfd");
    enum fm_err err = fm_loop_watch(l, &m->watch, fd, EPOLLIN, e);
    if (err)
        close(fd);
    return err;
}

void fm_mailbox_close(struct fm_mailbox *m)
{
    if (m->watch.fd < 0)
        return;
    deliver_all(m);
    fm_loop_unwatch(m->loop, &m->watch);
    FM_ASSERT(!atomic_load(&m->head));
    close(m->watch.fd);
    m->watch.fd = -1;
}

void fm_mailbox_post(struct fm_mailbox *m, struct fm_msg *msg)
{
    fm_mailbox_post_chain(m, msg, msg);
}

void fm_mailbox_post_chain(struct fm_mailbox *m, struct fm_msg *last, struct fm_msg *first)
{
    FM_ASSERT(last->deliver && m->watch.fd >= 0);
    struct fm_msg *head = atomic_load_explicit(&m->head, memory_order_relaxed);
    do
        first->next = head;
    while (!atomic_compare_exchange_weak_explicit(&m->head, &head, last, memory_order_release,
                                                  memory_order_relaxed));
    if (head)
        return; /* whoever made it non-empty wakes the loop */
    uint64_t one = 1;
    ssize_t n;
    do
        n = write(m->watch.fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    FM_ASSERT(n == sizeof one);
}
