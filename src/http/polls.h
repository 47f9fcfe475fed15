/* http/polls.h: pages that answer when there is news (long polls). Who asks where there is none
 * waits, until there is, until his time is over, or until the owner stops; a client that leaves is
 * forgotten. Bounded by `max` that wait, and the time that each was given.
 *
 * What somebody asks for is the owner's structure, copied. Belongs to one loop; the pages are
 * closed, or all are answered, before the owner is freed. */
#ifndef FM_HTTP_POLLS_H
#define FM_HTTP_POLLS_H

#include "http/pages.h"

struct fm_polls {
    struct fm_loop *loop;
    size_t max;
    /* Is there news for who asks so? */
    bool (*is_news)(void *user, const void *ask);
    /* What he is answered now, with news or without. */
    void (*fill)(void *user, const void *ask, struct fm_page_answer *a);
    void *user;
    /* private */
    struct fm_list waiting, due; /* due: who waited when it last changed, to be looked at */
    size_t n;                    /* in both */
    struct fm_timer timer;
};

/* The fields above `private` are set. */
void fm_polls_init(struct fm_polls *p);
/* Nobody waits. */
void fm_polls_deinit(struct fm_polls *p);

/* From inside `write` of a page: `ask` of `size` bytes waits for news. Where too many do, `a` says
 * so. */
void fm_polls_wait(struct fm_polls *p, const struct fm_page_request *q, const void *ask,
                   size_t size, int64_t wait_ms, struct fm_page_answer *a);

/* Something has changed: who waits for that is answered from the loop, some in each turn. */
void fm_polls_changed(struct fm_polls *p);

/* Everybody is answered, at once. */
void fm_polls_end(struct fm_polls *p);

#endif
