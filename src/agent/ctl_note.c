/* What a region's keeper writes down for whoever is keeper next: one small record in coordination,
 * compared by its revision. Invariant: at most one change of it is on its way. It does not keep
 * what was read: that is the owner's, from the watch. */
#include "agent/ctl.h"

#include "base/assert.h"
#include "http/protocol.h"

#include <stdio.h>
#include <stdlib.h>

enum { WRITE_AGAIN_MS = 300 };

void ctl_note_init(struct ctl_note *n, struct ctl_context *c,
                   void (*written)(struct ctl_note *n, uint64_t revision))
{
    FM_ASSERT(c && written);
    *n = (struct ctl_note){.context = c, .written = written, .write_at = FM_MONO_ZERO};
}

bool ctl_note_may(const struct ctl_note *n)
{
    const struct fm_controller *ctl = n->context->ctl;
    return !n->writing && ctl->coord && !ctl->closing && !ctl->stopped &&
           !fm_mono_before(fm_mono_now(), n->write_at);
}

static void done(struct fm_coord_op *w)
{
    struct ctl_note *n = w->user;
    struct ctl_context *c = n->context;
    FM_ASSERT(n->writing && n->value);
    n->writing = false;
    free(n->value);
    n->value = NULL;
    if (c->ctl->stopped)
        return;
    bool good = w->outcome == FM_COORD_DONE;
    n->write_at = good ? FM_MONO_ZERO : fm_mono_add_ms(fm_mono_now(), WRITE_AGAIN_MS);
    if (!good)
        ctl_arm(c->ctl, n->write_at);
    n->written(n, good ? w->revision : 0);
    ctl_touch(c);
}

void ctl_note_write(struct ctl_note *n, const char *kind, uint64_t revision, json_t *j)
{
    struct ctl_context *c = n->context;
    struct fm_controller *ctl = c->ctl;
    char at[FM_RFC3339_LEN];
    FM_ASSERT(ctl_note_may(n) && !n->value);
    fm_wall_format(at, fm_wall_now_ns());
    if (j) {
        json_object_set_new(j, "host",
                            json_string(fm_roster_host_name(ctl->c.roster, ctl->c.self)));
        json_object_set_new(j, "at", json_string(at));
        j = fm_protocol_stamp(j);
    }
    n->value = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    n->write_at = fm_mono_add_ms(fm_mono_now(), WRITE_AGAIN_MS);
    if (!n->value)
        return;
    snprintf(n->key, sizeof n->key, "%s/%s/%s", kind, ctl->c.roster->context[c->number].name,
             ctl->c.roster->region[ctl->region]);
    n->writing = true;
    n->compare = (struct fm_coord_compare){fm_str_z(n->key), revision};
    n->write = (struct fm_coord_write){.key = fm_str_z(n->key), .value = fm_str_z(n->value)};
    n->txn = (struct fm_coord_txn){&n->compare, 1, &n->write, 1};
    n->w.done = done;
    n->w.user = n;
    fm_coord_commit(ctl->coord, &n->w, &n->txn,
                    fm_mono_add_ms(fm_loop_now(ctl->c.loop), ctl->op_ms));
}

void ctl_note_free(struct ctl_note *n)
{
    FM_ASSERT(!n->value || n->writing);
    free(n->value);
    n->value = NULL;
}
