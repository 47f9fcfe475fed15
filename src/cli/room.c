/* See the header. */
#include "cli/room.h"

#include "base/assert.h"

enum { BLOCK = 64 * 1024, BLOCKS = 64 };

enum fm_err fm_room_open(struct fm_room *r, struct fm_error *e)
{
    *r = (struct fm_room){.resolver = NULL};
    fm_pool_init(&r->pool, BLOCK, BLOCKS);
    enum fm_err err = fm_loop_init(&r->loop, &r->pool, e);
    if (err) {
        fm_pool_deinit(&r->pool);
        return err;
    }
    err = fm_mailbox_open(&r->mailbox, &r->loop, r, e);
    if (err) {
        fm_loop_deinit(&r->loop);
        fm_pool_deinit(&r->pool);
        return err;
    }
    r->resolver = fm_resolver_new(&r->mailbox, e);
    if (r->resolver)
        return FM_ERR_OK;
    fm_room_close(r);
    return FM_ERR_LIMIT;
}

void fm_room_forget_names(struct fm_room *r)
{
    fm_resolver_free(r->resolver);
    r->resolver = NULL;
}

void fm_room_close(struct fm_room *r)
{
    fm_room_forget_names(r);
    fm_mailbox_close(&r->mailbox);
    fm_loop_turn(&r->loop, 0);
    fm_loop_deinit(&r->loop);
    fm_pool_deinit(&r->pool);
}
