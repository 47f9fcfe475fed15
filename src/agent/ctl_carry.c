/* Carrying out what people ordered. Each agent looks at every operation that is not over, does the
 * part that its region has the right to do, and writes down what became of it by compare-and-swap.
 * What it decides follows from the record and from what core has seen, so that a keeper that takes
 * over in the middle goes on, and a change that was overtaken is simply decided again. */
#include "agent/ctl.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    TRIES_MAX = 3,
    AGAIN_MS = 300,
    FAILOVER_PATIENCE_MS = 60 * 1000,
    HEIR_PATIENCE_MS = 10 * 1000
};

/* -------- writing down -------- */

static void written(struct fm_coord_op *w)
{
    struct ctl_op *o = w->user;
    struct fm_controller *ctl = o->ctl;
    o->writing = false;
    free(o->value);
    o->value = NULL;
    if (ctl->stopped)
        return;
    if (w->outcome != FM_COORD_DONE) /* the watch shows what is there, or it is tried again */
        o->next_at = fm_mono_add_ms(fm_mono_now(), AGAIN_MS);
    ctl_touch_all(ctl);
    ctl_arm(ctl, fm_mono_add_ms(fm_mono_now(), AGAIN_MS));
}

/* `changed` is the operation as it should be; it counts when the watch shows it. */
static void write_down(struct ctl_op *o, const struct fm_op *changed)
{
    struct fm_controller *ctl = o->ctl;
    FM_ASSERT(!o->writing);
    json_t *j = fm_op_json(ctl->c.roster, changed);
    o->value = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    if (!o->value || !ctl->coord || ctl->closing) {
        free(o->value);
        o->value = NULL;
        o->next_at = fm_mono_add_ms(fm_mono_now(), AGAIN_MS);
        return;
    }
    if (changed->state != o->op.state) {
        fm_log(FM_LOG_WARN, "operation", FM_KZ("id", o->op.id),
               FM_KZ("kind", fm_op_kind_name((enum fm_op_kind)changed->kind)),
               FM_KZ("from", fm_op_state_name((enum fm_op_state)o->op.state)),
               FM_KZ("to", fm_op_state_name((enum fm_op_state)changed->state)),
               FM_KZ("text", changed->text));
    }
    o->writing = true;
    o->compare = (struct fm_coord_compare){fm_str_z(o->key), o->revision};
    o->write = (struct fm_coord_write){.key = fm_str_z(o->key), .value = fm_str_z(o->value)};
    o->txn = (struct fm_coord_txn){&o->compare, 1, &o->write, 1};
    o->w.done = written;
    o->w.user = o;
    fm_coord_commit(ctl->coord, &o->w, &o->txn,
                    fm_mono_add_ms(fm_loop_now(ctl->c.loop), ctl->op_ms));
}

/* A copy to be changed; the items are its own. */
static bool copy_of(const struct fm_op *o, struct fm_op *to)
{
    *to = *o;
    to->item = o->nitems ? malloc(o->nitems * sizeof *o->item) : NULL;
    if (o->nitems && !to->item)
        return false;
    if (o->nitems)
        memcpy(to->item, o->item, o->nitems * sizeof *o->item);
    return true;
}

static void end_with(struct fm_op *x, enum fm_op_state state, const char *text)
{
    x->state = (uint8_t)state;
    snprintf(x->text, sizeof x->text, "%s", text);
}

/* -------- items: planned moves -------- */

static bool carries(const struct ctl_context *c, const struct fm_op *o, unsigned item)
{
    return c->carry.active && c->carry.item == item && strcmp(c->carry.id, o->id) == 0;
}

static void item_ends(struct ctl_context *c, struct fm_op *x, unsigned i, enum fm_op_state state,
                      const char *text)
{
    if (carries(c, x, i))
        c->carry.active = false;
    x->item[i].state = (uint8_t)state;
    if (text)
        snprintf(x->text, sizeof x->text, "%s/%u: %s", c->ctl->c.roster->context[c->number].name,
                 x->item[i].cell, text);
}

/* Its data are being opened here, after a move that was given up perhaps. */
static bool opens_yet(const struct ctl_op *o, const struct ctl_context *c)
{
    int64_t most_ms = HEIR_PATIENCE_MS + ctl_external_ship_ms(c);
    return ctl_external_hands_over(c) && fm_mono_sub_ms(fm_mono_now(), o->begun) < most_ms;
}

/* The cell is here, and no move of its context is under way: that of this item has ended without
 * moving it, or has not begun. */
static void item_again(struct ctl_op *o, struct ctl_context *c, struct fm_op *x, unsigned i)
{
    const struct fm_op_item *item = &x->item[i];
    bool same = c->carry.item == i && strcmp(c->carry.id, x->id) == 0;
    if (x->state == FM_OP_ABORTING) {
        item_ends(c, x, i, FM_OP_ABORTED, "aborted");
        return;
    }
    if (c->carry.active && !same)
        return; /* of another operation, which has not looked yet */
    if (c->carry.active) {
        /* an heir that is not ready yet costs nobody anything; commands that were held do */
        bool patient = !c->move_held && fm_mono_sub_ms(fm_mono_now(), o->begun) < HEIR_PATIENCE_MS;
        c->carry.active = false;
        if (!patient && ++c->carry.tries >= TRIES_MAX)
            item_ends(c, x, i, FM_OP_FAILED, c->move_why);
        else if (x->nitems == 1 || !x->text[0])
            snprintf(x->text, sizeof x->text, "not yet: %.150s", c->move_why);
        o->next_at = fm_mono_add_ms(fm_mono_now(), AGAIN_MS);
        ctl_arm(c->ctl, o->next_at);
        return;
    }
    if (!same)
        c->move_unfit[0] = 0;
    const char *why = ctl_move_begin(c, item->cell, item->to);
    if (why && opens_yet(o, c)) {
        o->next_at = fm_mono_add_ms(fm_mono_now(), AGAIN_MS);
        ctl_arm(c->ctl, o->next_at);
        return;
    }
    if (why) {
        item_ends(c, x, i, FM_OP_FAILED, why);
        return;
    }
    c->carry.active = true;
    c->carry.item = i;
    c->carry.tries = same ? c->carry.tries : 0;
    snprintf(c->carry.id, sizeof c->carry.id, "%s", x->id);
}

static const char not_open[] =
    "it is held there, and its data are not open yet: see `fulmar group status`";

/* Its data are opened where they have come to. */
static void item_arrives(struct ctl_context *c, struct fm_op *x, unsigned i)
{
    if (ctl_opening(c, x->item[i].to) == FM_OPENING_OPEN)
        item_ends(c, x, i, FM_OP_DONE, NULL);
    else if (x->state == FM_OP_ABORTING)
        item_ends(c, x, i, FM_OP_FAILED, not_open);
    else
        snprintf(x->text, sizeof x->text, "%s", not_open);
}

static void carry_item(struct ctl_op *o, struct fm_op *x, unsigned i)
{
    struct fm_controller *ctl = o->ctl;
    struct fm_op_item *item = &x->item[i];
    struct ctl_context *c = ctl->context[item->context];
    if (fm_op_is_over((enum fm_op_state)item->state) || !c || !ctl_decides(c))
        return;
    const struct fm_cell_record *cell = &c->auth.cell[item->cell].at.r;
    bool concerned = item->from == ctl->region || item->to == ctl->region;
    if (!concerned || c->auth.cell[item->cell].at.revision.n == 0)
        return;
    if (cell->region == item->to && cell->state == FM_CELL_HELD) {
        item_arrives(c, x, i);
    } else if (item->from != ctl->region) { /* it is on its way here, unless nobody sends it */
        if (x->state == FM_OP_ABORTING && ctl_move_is_stranded(c, item->cell, item->from))
            item_ends(c, x, i, FM_OP_ABORTED, "the region that holds it is lost");
    } else if (cell->region != ctl->region) {
        item_ends(c, x, i, FM_OP_FAILED, "another region holds it meanwhile");
    } else if (c->move.state == FM_MOVE_IDLE) {
        item_again(o, c, x, i);
    } else if (carries(c, x, i) && x->state == FM_OP_ABORTING) {
        ctl_move_abort(c);
    } else if (carries(c, x, i) && c->move_held && x->nitems == 1) {
        x->text[0] = 0; /* what it waited for is there */
    }
}

static void carry_items(struct ctl_op *o, struct fm_op *x)
{
    for (unsigned i = 0; i < x->nitems; i++)
        carry_item(o, x, i);
    enum fm_op_state state = fm_op_outcome(x);
    bool began = false;
    for (unsigned i = 0; i < x->nitems; i++) {
        const struct ctl_context *c = o->ctl->context[x->item[i].context];
        began |= c && carries(c, x, i);
    }
    if (fm_op_is_over(state))
        x->state =
            (uint8_t)(x->state == FM_OP_ABORTING && state == FM_OP_FAILED ? FM_OP_ABORTED : state);
    else if (x->state == FM_OP_WAITING && began)
        x->state = FM_OP_RUNNING;
    if (x->state == FM_OP_DONE)
        snprintf(x->text, sizeof x->text, "%u cell%s moved", x->nitems, x->nitems == 1 ? "" : "s");
}

/* -------- failback -------- */

static void fail_back_to(struct ctl_op *o, struct fm_op *x, struct ctl_context *c, unsigned home)
{
    struct fm_controller *ctl = o->ctl;
    struct fm_failover *f = &c->set->fo[home];
    struct fm_quote none = {.until = FM_MONO_ZERO};
    bool going = f->state == FM_FAILOVER_FAILING_BACK;
    if (going && x->state == FM_OP_ABORTING) {
        (void)ctl_failover_event(ctl, c->set, home, FM_FAILOVER_ON_STAND_DOWN, none, false);
        end_with(x, FM_OP_ABORTED, "cells that had not gone stay");
        return;
    }
    if (going)
        return;
    if (x->state == FM_OP_RUNNING) {
        end_with(x, FM_OP_PARTIAL, fm_failover_why_text((enum fm_failover_why)f->why));
        if (c->move_held && !c->move.moved && c->move_why[0])
            snprintf(x->text, sizeof x->text, "a move did not go through: %s", c->move_why);
        return;
    }
    struct fm_failover_verdict v =
        ctl_failover_event(ctl, c->set, home, FM_FAILOVER_ON_FAILBACK, none, false);
    if (v.refused)
        ctl_home_refuse(c, x, home, (enum fm_failover_why)v.why);
    else
        x->state = FM_OP_RUNNING;
}

static void carry_failback(struct ctl_op *o, struct fm_op *x)
{
    struct fm_controller *ctl = o->ctl;
    struct ctl_context *c = x->context < 0 ? NULL : ctl->context[x->context];
    if (!c || !ctl_decides(c))
        return;
    for (unsigned r = 0; r < ctl->c.roster->nregions && !fm_op_is_over((enum fm_op_state)x->state);
         r++)
        if (r != ctl->region && ctl_away_from(&c->auth, r, false))
            fail_back_to(o, x, c, r);
    if (!fm_op_is_over((enum fm_op_state)x->state) && !ctl_home_away(c))
        end_with(x, FM_OP_DONE, "every cell is home");
}

/* -------- failover -------- */

static enum fm_failover_wish wish_of(const struct fm_op *x)
{
    if (x->state == FM_OP_ABORTING || x->step == FM_OP_STEP_STAND_DOWN)
        return FM_FAILOVER_TO_STAND_DOWN;
    return x->step == FM_OP_STEP_PREPARE ? FM_FAILOVER_TO_PREPARE : FM_FAILOVER_TO_COMPLETE;
}

/* Of my own region: what it has given up. */
static bool holds_any(const struct ctl_context *c, unsigned region)
{
    for (unsigned i = 0; i < c->auth.cfg.ncells; i++) {
        const struct fm_cell_at *at = &c->auth.cell[i].at;
        bool kept = region == c->ctl->region && at->r.state != FM_CELL_YIELDED;
        if (at->revision.n && at->r.region == region && !kept)
            return true;
    }
    return false;
}

/* Nobody is prepared any more; it is over when the data follow again, where they were kept apart.
 */
static void end_stood_down(const struct ctl_context *c, struct fm_op *x)
{
    struct fm_standby_link of[FM_ROSTER_CONTEXTS_MAX];
    for (unsigned i = 0; i < c->set->n; i++)
        of[i] = c->ctl->context[c->set->member[i]]->standby.link;
    switch (fm_standby_is_restored(of, c->set->n)) {
    case FM_STANDBY_RESTORED:
        end_with(x, FM_OP_DONE, "stood down");
        break;
    case FM_STANDBY_NOT_IN_TIME:
        end_with(x, FM_OP_PARTIAL,
                 "stood down, and no PostgreSQL standby of the region follows yet: see `fulmar "
                 "group status`");
        break;
    case FM_STANDBY_NOT_YET:
        snprintf(x->text, sizeof x->text, "stood down; replication is being restored");
        break;
    }
}

/* One step of a person; the others follow when it is looked at again. */
static void step_failover(struct ctl_op *o, struct fm_op *x, struct ctl_context *c)
{
    struct fm_controller *ctl = o->ctl;
    unsigned lost = (unsigned)x->region;
    struct fm_failover *f = &c->set->fo[lost];
    struct fm_quote quote = {x->loss, x->unbounded, fm_mono_add_ms(fm_mono_now(), 1000)};
    if (!x->quoted)
        quote.until = FM_MONO_ZERO;
    c->set->attested[lost] |= x->attest;
    if (x->step == FM_OP_STEP_STAND_DOWN && x->state == FM_OP_RUNNING &&
        f->state == FM_FAILOVER_STEADY) {
        end_stood_down(c, x);
        return;
    }
    enum fm_failover_event_kind kind = fm_failover_towards(f, wish_of(x));
    if (kind == FM_FAILOVER_EVENT_COUNT) {
        end_with(x, FM_OP_DONE, "prepared; it waits to be completed, or stood down");
        return;
    }
    if (kind == FM_FAILOVER_ON_TICK) {
        snprintf(x->text, sizeof x->text, "the standby is being started");
        return;
    }
    struct fm_failover_verdict v = ctl_failover_event(ctl, c->set, lost, kind, quote, x->glass);
    if (v.refused) {
        end_with(x, FM_OP_REFUSED, fm_failover_why_text((enum fm_failover_why)v.why));
        return;
    }
    x->state = FM_OP_RUNNING;
    if (kind == FM_FAILOVER_ON_STAND_DOWN && x->step != FM_OP_STEP_STAND_DOWN)
        end_with(x, FM_OP_ABORTED, "stood down");
    else if (kind == FM_FAILOVER_ON_STAND_DOWN && f->state != FM_FAILOVER_STEADY)
        end_with(x, FM_OP_DONE, "stood down");
    else if (kind == FM_FAILOVER_ON_STAND_DOWN)
        end_stood_down(c, x);
}

static const char *why_it_fell_back(const struct ctl_context *c, const struct fm_failover *f,
                                    char text[FM_OP_TEXT_ROOM])
{
    for (unsigned i = 0; i < c->set->n; i++) {
        const struct ctl_context *m = c->ctl->context[c->set->member[i]];
        if (!ctl_standby_has_failed(m))
            continue;
        ctl_standby_trouble(m, text, FM_OP_TEXT_ROOM);
        fm_text_tame(text); /* where it was cut */
        return text;
    }
    return fm_failover_why_text((enum fm_failover_why)f->why);
}

static void carry_failover(struct ctl_op *o, struct fm_op *x)
{
    struct fm_controller *ctl = o->ctl;
    struct ctl_context *c = x->context < 0 ? NULL : ctl->context[x->context];
    if (!c || x->region < 0 || x->to != (int)ctl->region || !ctl_decides(c))
        return;
    char text[FM_OP_TEXT_ROOM];
    struct fm_failover *f = &c->set->fo[x->region];
    bool holds = holds_any(c, (unsigned)x->region);
    if (!holds && x->state != FM_OP_ABORTING && ctl_opening(c, ctl->region) != FM_OPENING_OPEN) {
        snprintf(x->text, sizeof x->text, "%s", not_open);
        return;
    }
    if (!holds && x->state != FM_OP_ABORTING) {
        end_with(x, FM_OP_DONE,
                 x->region == x->to ? "the region holds it again"
                                    : "the region holds nothing of it any more");
        return;
    }
    if (f->state == FM_FAILOVER_COMPLETING && x->state == FM_OP_RUNNING) {
        bool late = fm_mono_sub_ms(fm_mono_now(), f->since) > FAILOVER_PATIENCE_MS;
        if (late)
            snprintf(x->text, sizeof x->text, "still: %s",
                     fm_auth_why_text((enum fm_auth_why)c->auth.s.blocked));
        return;
    }
    bool fell_back =
        x->state == FM_OP_RUNNING && f->fell_back && fm_mono_before(o->begun, f->since);
    if (fell_back)
        end_with(x, FM_OP_FAILED, why_it_fell_back(c, f, text));
    else
        step_failover(o, x, c);
}

/* -------- members -------- */

static void carry_members(struct ctl_op *o, struct fm_op *x)
{
    struct fm_controller *ctl = o->ctl;
    struct ctl_context *c = x->context < 0 ? NULL : ctl->context[x->context];
    bool all = true;
    if (!c || !ctl_decides(c))
        return;
    for (unsigned i = 0; i < c->auth.cfg.ncells; i++) {
        const struct fm_cell_at *at = &c->auth.cell[i].at;
        all &= at->revision.n == 0 || fm_members_same(&at->r.members, &ctl->members);
    }
    if (all)
        end_with(x, FM_OP_DONE, "every cell has them");
    else if (x->state == FM_OP_ABORTING)
        end_with(x, FM_OP_ABORTED, "some cells may have them");
    else if (fm_authority_holds(&c->auth)) {
        ctl_step(c, &(struct fm_auth_event){.kind = FM_AUTH_MEMBERS, .members = ctl->members});
        o->next_at = fm_mono_add_ms(fm_mono_now(), AGAIN_MS);
        ctl_arm(ctl, o->next_at);
    }
}

static void carry_create(struct ctl_op *o, struct fm_op *x)
{
    struct fm_controller *ctl = o->ctl;
    struct ctl_context *c = x->context < 0 ? NULL : ctl->context[x->context];
    if (!c || !ctl_decides(c) || !c->group)
        return;
    if (ctl_group_recorded(c))
        end_with(x, FM_OP_DONE, "its first node is open");
    else if (x->state == FM_OP_ABORTING)
        end_with(x, FM_OP_ABORTED, "its first node may be there already");
    else if (fm_authority_holds(&c->auth)) {
        ctl_group_create(c);
        o->next_at = fm_mono_add_ms(fm_mono_now(), AGAIN_MS);
        ctl_arm(ctl, o->next_at);
    }
}

/* -------- the whole -------- */

static bool differs(const struct fm_op *a, const struct fm_op *b)
{
    return a->state != b->state || strcmp(a->text, b->text) != 0 ||
           (a->nitems && memcmp(a->item, b->item, a->nitems * sizeof *a->item) != 0);
}

static void carry(struct ctl_op *o)
{
    struct fm_op x;
    if (!copy_of(&o->op, &x)) {
        o->next_at = fm_mono_add_ms(fm_mono_now(), AGAIN_MS);
        return;
    }
    switch ((enum fm_op_kind)x.kind) {
    case FM_OP_MOVE:
    case FM_OP_EVACUATE:
        carry_items(o, &x);
        break;
    case FM_OP_FAILBACK:
        carry_failback(o, &x);
        break;
    case FM_OP_FAILOVER:
        carry_failover(o, &x);
        break;
    case FM_OP_MEMBERS:
        carry_members(o, &x);
        break;
    case FM_OP_CREATE:
        carry_create(o, &x);
        break;
    case FM_OP_REINIT:
    case FM_OP_MAINTAIN:
    case FM_OP_RESUME:
        ctl_node_carry(o, &x);
        break;
    case FM_OP_ADD:
    case FM_OP_REMOVE:
        ctl_member_carry(o, &x);
        break;
    case FM_OP_DRAIN:
    case FM_OP_UNDRAIN:
    case FM_OP_READ_ONLY:
    case FM_OP_AUTOMATIC:
    case FM_OP_CONFIG:
    case FM_OP_KIND_COUNT:
        break; /* done when they were written */
    }
    if (differs(&o->op, &x))
        write_down(o, &x);
    fm_op_free(&x);
}

/* The keeper of the heir may have been quicker to write that it is done; or that it was aborted,
 * while this region was lost. */
static bool is_live(const struct fm_controller *ctl, const char *id, unsigned item, bool *aborted)
{
    *aborted = false;
    for (unsigned i = 0; i < CTL_OPS_MAX; i++) {
        const struct fm_op *x = &ctl->op[i].op;
        if (!ctl->op[i].used || strcmp(x->id, id) != 0 || item >= x->nitems)
            continue;
        *aborted = x->item[item].state == FM_OP_ABORTED;
        return !fm_op_is_over((enum fm_op_state)x->state) &&
               !fm_op_is_over((enum fm_op_state)x->item[item].state);
    }
    return false;
}

void ctl_carry_turn(struct fm_controller *ctl)
{
    for (unsigned i = 0; i < ctl->ncontexts; i++) {
        struct ctl_context *c = ctl->context[i];
        bool aborted;
        if (!c || !c->carry.active || is_live(ctl, c->carry.id, c->carry.item, &aborted))
            continue;
        c->carry.active = false;
        if (aborted && c->move.state != FM_MOVE_IDLE)
            ctl_move_abort(c);
    }
    for (unsigned i = 0; i < CTL_OPS_MAX && !ctl->stopped; i++) {
        struct ctl_op *o = &ctl->op[i];
        bool due = o->used && !o->writing && !fm_op_is_over((enum fm_op_state)o->op.state) &&
                   !fm_mono_before(fm_mono_now(), o->next_at);
        if (due && ctl->able)
            carry(o);
    }
}
