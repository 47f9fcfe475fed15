/* io/mailbox.h: how another thread reaches a loop. A lock-free list of messages (Treiber's stack,
 * reversed on delivery) and an eventfd that is written only when the list was empty.
 *
 * A message is embedded in something of the sender's and belongs to the mailbox from post until its
 * `deliver` runs on the loop's thread, in the order of posting of each sender. So the number of
 * messages is bounded by those who own them. */
#ifndef FM_IO_MAILBOX_H
#define FM_IO_MAILBOX_H

#include "io/loop.h"

#include <stdatomic.h>

struct fm_msg {
    struct fm_msg *next;
    void (*deliver)(struct fm_msg *m, void *user);
};

struct fm_mailbox {
    struct fm_watch watch;
    struct fm_loop *loop;
    _Atomic(struct fm_msg *) head;
    void *user;
};

/* `user` is handed to every delivery. */
enum fm_err fm_mailbox_open(struct fm_mailbox *m, struct fm_loop *l, void *user,
                            struct fm_error *e) FM_WARN_UNUSED;
/* No more posts may come; what waits is delivered first. Harmless where it could not be opened, and
 * a second time. */
void fm_mailbox_close(struct fm_mailbox *m);

/* Any thread. */
void fm_mailbox_post(struct fm_mailbox *m, struct fm_msg *msg);
/* Several at once, which are delivered together: linked by `next` from the one to be delivered last
 * to the one to be delivered first. Posted one by one, the first would wake a loop that then finds
 * the others in dribs and drabs. */
void fm_mailbox_post_chain(struct fm_mailbox *m, struct fm_msg *last, struct fm_msg *first);

#endif
