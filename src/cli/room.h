/* cli/room.h: a loop with what exchanges need, for a command that waits for several things at once:
 * memory of connections, a mailbox, names. Blocks in fm_loop_turn; one thread. */
#ifndef FM_CLI_ROOM_H
#define FM_CLI_ROOM_H

#include "io/loop.h"
#include "io/mailbox.h"
#include "io/pool.h"
#include "io/resolve.h"

struct fm_room {
    struct fm_pool pool;
    struct fm_loop loop;
    struct fm_mailbox mailbox;
    struct fm_resolver *resolver; /* NULL after fm_room_forget_names */
};

enum fm_err fm_room_open(struct fm_room *r, struct fm_error *e) FM_WARN_UNUSED;
/* No lookup comes back any more. */
void fm_room_forget_names(struct fm_room *r);
/* Nothing is open on its loop. Of one that was opened. */
void fm_room_close(struct fm_room *r);

#endif
