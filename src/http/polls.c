/* Long polls: see the header. Invariant: who waits is in one of the lists from fm_page_later until
 * he is answered or has left, and his timer is set as long. */
#include "http/polls.h"

#include "base/assert.h"

#include <stddef.h>
#include <stdlib.h>

/* How many are looked at in a turn of the loop, which has other things to do, too. */
enum { BATCH = 32 };

struct waiter {
    struct fm_list node;
    struct fm_timer timer;
    struct fm_polls *polls;
    struct fm_page_wait *page;
    max_align_t ask[];
};

static void forget(struct waiter *w)
{
    struct fm_polls *p = w->polls;
    FM_ASSERT(p->n > 0);
    fm_list_remove(&w->node);
    p->n--;
    fm_loop_cancel(p->loop, &w->timer);
    free(w);
}

static void answer(struct waiter *w)
{
    struct fm_polls *p = w->polls;
    struct fm_page_answer a = FM_PAGE_ANSWER;
    struct fm_page_wait *page = w->page;
    p->fill(p->user, w->ask, &a);
    forget(w);
    fm_page_answer(page, &a);
}

static void waited_enough(struct fm_timer *t)
{
    answer(fm_container_of(t, struct waiter, timer));
}

static void client_left(void *user)
{
    forget(user);
}

static void look(struct fm_timer *t)
{
    struct fm_polls *p = fm_container_of(t, struct fm_polls, timer);
    for (unsigned i = 0; i < BATCH && !fm_list_empty(&p->due); i++) {
        struct waiter *w = fm_list_first(&p->due, struct waiter, node);
        fm_list_remove(&w->node);
        fm_list_push_back(&p->waiting, &w->node);
        if (p->is_news(p->user, w->ask))
            answer(w);
    }
    if (!fm_list_empty(&p->due))
        fm_loop_timer_in_ms(p->loop, &p->timer, 0);
}

void fm_polls_init(struct fm_polls *p)
{
    FM_ASSERT(p->loop && p->max && p->is_news && p->fill);
    p->n = 0;
    fm_list_init(&p->waiting);
    fm_list_init(&p->due);
    fm_timer_init(&p->timer, look);
}

void fm_polls_deinit(struct fm_polls *p)
{
    FM_ASSERT(p->n == 0 && fm_list_empty(&p->waiting) && fm_list_empty(&p->due));
    fm_loop_cancel(p->loop, &p->timer);
}

void fm_polls_wait(struct fm_polls *p, const struct fm_page_request *q, const void *ask,
                   size_t size, int64_t wait_ms, struct fm_page_answer *a)
{
    FM_ASSERT(wait_ms > 0 && size > 0);
    struct waiter *w = p->n < p->max ? calloc(1, sizeof *w + size) : NULL;
    if (!w) {
        fm_page_problem(a, 503, "too many wait; try again");
        return;
    }
    w->page = fm_page_later(q, client_left, w);
    if (!w->page) {
        free(w);
        return;
    }
    w->polls = p;
    memcpy(w->ask, ask, size);
    fm_timer_init(&w->timer, waited_enough);
    fm_loop_timer_in_ms(p->loop, &w->timer, wait_ms);
    fm_list_push_back(&p->waiting, &w->node);
    p->n++;
}

void fm_polls_changed(struct fm_polls *p)
{
    if (p->n == 0)
        return;
    fm_list_splice(&p->due, &p->waiting);
    fm_loop_timer_in_ms(p->loop, &p->timer, 0);
}

void fm_polls_end(struct fm_polls *p)
{
    fm_loop_cancel(p->loop, &p->timer);
    fm_list_splice(&p->waiting, &p->due);
    for (;;) {
        struct waiter *w = fm_list_first(&p->waiting, struct waiter, node);
        if (!w)
            break;
        answer(w); /* NOLINT(clang-analyzer-*): it does not follow rings */
    }
    FM_ASSERT(p->n == 0);
}
