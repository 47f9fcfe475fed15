/* base/list.h: an intrusive doubly linked ring. The owner of the node owns the memory; a node that
 * is in no list points at itself, so removing twice is harmless. */
#ifndef FM_BASE_LIST_H
#define FM_BASE_LIST_H

#include "base/assert.h"
#include "base/bits.h"

#include <stdbool.h>

struct fm_list {
    struct fm_list *next, *prev;
};

static inline void fm_list_init(struct fm_list *l)
{
    l->next = l->prev = l;
}

static inline bool fm_list_empty(const struct fm_list *l)
{
    return l->next == l; /* NOLINT(clang-analyzer-core*): it does not follow rings */
}

static inline void fm_list_insert_before(struct fm_list *at, struct fm_list *n)
{
    FM_ASSERT(n != at && at->prev->next == at);
    n->prev = at->prev;
    n->next = at;
    at->prev->next = n;
    at->prev = n;
}

/* Head of the ring = first out of fm_list_first. */
static inline void fm_list_push_front(struct fm_list *l, struct fm_list *n)
{
    fm_list_insert_before(l->next, n);
}

static inline void fm_list_push_back(struct fm_list *l, struct fm_list *n)
{
    fm_list_insert_before(l, n);
}

static inline void fm_list_remove(struct fm_list *n)
{
    FM_ASSERT(n->prev->next == n && n->next->prev == n); /* NOLINT(clang-analyzer-unix*) */
    n->prev->next = n->next; /* NOLINT(clang-analyzer-unix*): nor what was taken out of one */
    n->next->prev = n->prev;
    fm_list_init(n);
}

/* Move all of `from` to the end of `to`; `from` is empty afterwards. */
static inline void fm_list_splice(struct fm_list *to, struct fm_list *from)
{
    FM_ASSERT(to != from);
    if (fm_list_empty(from))
        return;
    FM_ASSERT(to->prev->next == to && from->prev->next == from);
    from->next->prev = to->prev;
    from->prev->next = to;
    to->prev->next = from->next;
    to->prev = from->prev;
    fm_list_init(from);
}

#define fm_list_first(l, type, member)                                                             \
    (fm_list_empty(l) ? (type *)NULL : fm_container_of((l)->next, type, member))

#define fm_list_last(l, type, member)                                                              \
    (fm_list_empty(l) ? (type *)NULL : fm_container_of((l)->prev, type, member))

#define fm_list_each(pos, l) for (struct fm_list *pos = (l)->next; pos != (l); pos = pos->next)

#define fm_list_each_safe(pos, tmp, l)                                                             \
    for (struct fm_list *pos = (l)->next, *tmp = pos->next; pos != (l); pos = tmp, tmp = pos->next)

#endif
