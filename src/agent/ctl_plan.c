/* Orders against the rules: what this agent knows is looked at, and what would be done is put into
 * an operation; or the order is refused, with the rule, the evidence and what would make it pass.
 * What can change until it is carried out is asked again there. */
#include "agent/ctl_order.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void ctl_refuse(struct ctl_refusal *r, unsigned status, const char *rule, const char *remedy,
                const char *fmt, ...)
{
    va_list ap;
    r->status = status;
    r->rule = rule;
    r->remedy = remedy;
    va_start(ap, fmt);
    vsnprintf(r->evidence, sizeof r->evidence, fmt, ap);
    va_end(ap);
    fm_text_tame(r->evidence);
}

bool ctl_take_region(struct ctl_order *o, const char *name, int *out)
{
    const char *s = ctl_order_text(o, name);
    *out = s ? fm_roster_region(o->ctl->c.roster, fm_str_z(s)) : -1;
    if (s && *out < 0)
        ctl_refuse(&o->no, 404, "unknown-region", "name a region of the file",
                   "there is no region `%s`", s);
    return !o->no.status;
}

bool ctl_take_context(struct ctl_order *o, bool needed)
{
    const char *s = ctl_order_text(o, "context");
    int number = s ? fm_roster_context(o->ctl->c.roster, fm_str_z(s)) : -1;
    o->c = number < 0 ? NULL : o->ctl->context[number];
    if (o->c && (o->c->conf < 0 || !o->c->set))
        o->c = NULL;
    if (s && !o->c)
        ctl_refuse(&o->no, 404, "unknown-context", "name a context with cells",
                   "there is no context `%s` with cells here", s);
    else if (needed && !s)
        ctl_refuse(&o->no, 400, "malformed", "say which context", "`context` is missing");
    o->op.context = number;
    return !o->no.status;
}

static void copy_text(char *to, size_t cap, const char *from)
{
    snprintf(to, cap, "%s", from ? from : "");
    fm_text_tame(to);
}

/* What every order has. */
static bool take_common(struct ctl_order *o, enum fm_op_kind kind, const char *by)
{
    struct fm_controller *ctl = o->ctl;
    const char *reason = ctl_order_text(o, "reason");
    json_t *expect = json_object_get(o->body, "expect_generation");
    fm_op_new_id(o->op.id, fm_wall_now_ns(), fm_rand_u64(&ctl->rand));
    o->op.kind = (uint8_t)kind;
    o->op.context = o->op.region = o->op.to = -1;
    fm_wall_format(o->op.at, fm_wall_now_ns());
    copy_text(o->op.by, sizeof o->op.by, by ? by : ctl_order_text(o, "by"));
    copy_text(o->op.reason, sizeof o->op.reason, reason);
    snprintf(o->op.host, sizeof o->op.host, "%s", fm_roster_host_name(ctl->c.roster, ctl->c.self));
    o->dry = json_is_true(json_object_get(o->body, "dry_run"));
    if (!reason || !*reason)
        ctl_refuse(&o->no, 400, "malformed", "say why: it is written down with what is done",
                   "`reason` is missing");
    else if (expect && json_integer_value(expect) != (json_int_t)ctl_generation(ctl))
        ctl_refuse(&o->no, 409, "generation", "look at the present state, and order again",
                   "the generation is %llu", (unsigned long long)ctl_generation(ctl));
    else if (ctl->revision == 0)
        ctl_refuse(&o->no, 503, "no-quorum", "try again when coordination answers",
                   "nothing was read from coordination yet%s%s", ctl->trouble[0] ? ": " : "",
                   ctl->trouble);
    return !o->no.status;
}

/* -------- rules -------- */

static bool busy_elsewhere(const struct fm_controller *ctl, enum fm_op_kind kind, unsigned context,
                           unsigned cell, const char **id)
{
    for (unsigned i = 0; i < CTL_OPS_MAX; i++) {
        const struct ctl_op *x = &ctl->op[i];
        if (!x->used || fm_op_is_over((enum fm_op_state)x->op.state))
            continue;
        bool any = x->op.nitems == 0 && x->op.context == (int)context &&
                   (x->op.kind == FM_OP_FAILBACK || x->op.kind == FM_OP_FAILOVER);
        for (unsigned k = 0; k < x->op.nitems; k++) {
            const struct fm_op_item *item = &x->op.item[k];
            if (item->context != context || item->cell != cell)
                continue;
            bool stranded = kind == FM_OP_FAILOVER &&
                            ctl_move_is_stranded(ctl->context[context], cell, item->from);
            any |= !stranded && !fm_op_is_over((enum fm_op_state)item->state);
        }
        *id = x->op.id;
        if (any)
            return true;
    }
    return false;
}

static bool sees_well(const struct fm_controller *ctl, unsigned region,
                      const struct fm_contexts *these)
{
    return fm_contexts_cover(&ctl->votes.of[ctl->self.n].vote.well[region], these);
}

/* Nobody waits, and no commands are held, for a standby that cannot receive the data. (An
 * evacuation moves what can be moved.) */
static bool has_heir_of_data(struct ctl_order *o, const struct ctl_context *c, unsigned to)
{
    struct ctl_group_heir h = ctl_group_heir(c, to);
    if (o->op.kind == FM_OP_MOVE && !h.comes)
        ctl_refuse(&o->no, 409, "ready", h.remedy, "%s", h.why);
    return !o->no.status;
}

static bool add_item(struct ctl_order *o, const struct ctl_context *c, unsigned cell, unsigned to)
{
    const struct fm_cell_record *r = &c->auth.cell[cell].at.r;
    const char *id;
    if (c->auth.cell[cell].at.revision.n == 0 || (r->region == to && r->state == FM_CELL_HELD))
        return true;
    if (r->state == FM_CELL_YIELDED)
        ctl_refuse(&o->no, 409, "given-up", "use `failover`", "%s has given cell %u of %s up",
                   o->ctl->c.roster->region[r->region], cell,
                   o->ctl->c.roster->context[c->number].name);
    else if (r->state != FM_CELL_HELD)
        ctl_refuse(&o->no, 409, "moving", "wait until it is held again",
                   "cell %u of %s is on its way", cell, o->ctl->c.roster->context[c->number].name);
    else if (ctl_move_is_stranded(c, cell, r->region))
        ctl_refuse(&o->no, 409, "lost", "use `fulmar quote`, and then `fulmar failover`",
                   "%s was not heard for a while, and can hand nothing over",
                   o->ctl->c.roster->region[r->region]);
    else if (busy_elsewhere(o->ctl, (enum fm_op_kind)o->op.kind, c->number, cell, &id))
        ctl_refuse(&o->no, 409, "one-at-a-time", "wait for it, or abort it",
                   "operation %s is about cell %u of %s", id, cell,
                   o->ctl->c.roster->context[c->number].name);
    else if (o->op.nitems == FM_OP_ITEMS_MAX)
        ctl_refuse(&o->no, 409, "bounded", "move fewer cells at once",
                   "more than %d cells in one operation", FM_OP_ITEMS_MAX);
    if (o->no.status || !has_heir_of_data(o, c, to))
        return false;
    o->op.item[o->op.nitems++] = (struct fm_op_item){(uint16_t)c->number, (uint8_t)cell, r->region,
                                                     (uint8_t)to, FM_OP_WAITING};
    return true;
}

/* May these cells go there? */
static bool check_heir(struct ctl_order *o, const struct ctl_set *s, unsigned to)
{
    const struct fm_controller *ctl = o->ctl;
    const char *name = ctl->c.roster->region[to];
    if (!(ctl->holders >> to & 1))
        ctl_refuse(&o->no, 409, "cannot-hold", "choose a region that serves",
                   "%s is a witness, or has no controller", name);
    else if (fm_votes_lost(&ctl->votes, to))
        ctl_refuse(&o->no, 409, "ready", "choose another region, or wait",
                   "%s was not heard for a while", name);
    else if (!sees_well(ctl, to, &s->contexts))
        ctl_refuse(&o->no, 409, "ready",
                   "`fulmar status HOST`, of a gate there, says what it lacks",
                   "no gate of %s says that it can serve the context", name);
    return !o->no.status;
}

/* Rule: nobody takes over more than it can carry. All that moves to a region is counted together.
 */
static bool check_capacity(struct ctl_order *o)
{
    struct fm_controller *ctl = o->ctl;
    for (unsigned to = 0; to < ctl->c.roster->nregions; to++) {
        struct fm_contexts moved[FM_AUTH_REGIONS_MAX] = {{{0}}};
        uint64_t load = ctl->votes.load[to].total;
        bool any = false;
        for (unsigned i = 0; i < o->op.nitems; i++) {
            const struct fm_op_item *x = &o->op.item[i];
            if (x->to != to || fm_contexts_has(&moved[x->from], x->context))
                continue;
            fm_contexts_add(&moved[x->from], x->context);
            load += ctl->votes.load[x->from].of[x->context];
            any = true;
        }
        uint32_t capacity = ctl_capacity(ctl, to);
        if (any && capacity && load > capacity) {
            ctl_refuse(&o->no, 409, "capacity", "move less, or raise `capacity` if it is more",
                       "%s would serve %llu requests a second, and its capacity is %u",
                       ctl->c.roster->region[to], (unsigned long long)load, capacity);
            return false;
        }
    }
    return true;
}

/* The cells that were asked for, or all. */
static bool wanted_cells(struct ctl_order *o, const struct ctl_context *c, uint64_t *out)
{
    json_t *list = json_object_get(o->body, "cells");
    *out = list                       ? 0
           : c->auth.cfg.ncells == 64 ? UINT64_MAX
                                      : (UINT64_C(1) << c->auth.cfg.ncells) - 1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_int_t n = json_integer_value(json_array_get(list, i));
        if (!json_is_integer(json_array_get(list, i)) || n < 0 || n >= c->auth.cfg.ncells) {
            ctl_refuse(&o->no, 400, "malformed", "cells are numbers of the context",
                       "it has the cells 0 to %u", c->auth.cfg.ncells - 1);
            return false;
        }
        *out |= UINT64_C(1) << n;
    }
    return true;
}

/* -------- kinds -------- */

static void plan_move(struct ctl_order *o)
{
    struct fm_controller *ctl = o->ctl;
    uint64_t cells;
    if (!ctl_take_context(o, true) || !ctl_take_region(o, "to", &o->to))
        return;
    if (o->to < 0) {
        ctl_refuse(&o->no, 400, "malformed", "say where to", "`to` is missing");
        return;
    }
    o->op.to = o->to;
    const struct ctl_set *s = o->c->set;
    if (!check_heir(o, s, (unsigned)o->to) || !wanted_cells(o, o->c, &cells))
        return;
    for (unsigned k = 0; k < s->n; k++) { /* what moves together moves together */
        const struct ctl_context *c = ctl->context[s->member[k]];
        for (unsigned i = 0; i < c->auth.cfg.ncells; i++)
            if ((c != o->c || cells >> i & 1) && !add_item(o, c, i, (unsigned)o->to))
                return;
    }
    (void)check_capacity(o);
}

static void plan_evacuate(struct ctl_order *o)
{
    struct fm_controller *ctl = o->ctl;
    if (!ctl_take_region(o, "region", &o->region))
        return;
    if (o->region < 0) {
        ctl_refuse(&o->no, 400, "malformed", "say which region", "`region` is missing");
        return;
    }
    o->op.region = o->region;
    for (unsigned k = 0; k < ctl->nsets; k++) {
        const struct ctl_set *s = &ctl->set[k];
        static const struct fm_startable none; /* planned: to who is well already */
        unsigned heir = fm_votes_heir(&ctl->votes, (unsigned)o->region, &s->contexts, &none,
                                      ctl->holders, ctl->rank);
        for (unsigned m = 0; m < s->n; m++) {
            const struct ctl_context *c = ctl->context[s->member[m]];
            for (unsigned i = 0; i < c->auth.cfg.ncells; i++) {
                if (c->auth.cell[i].at.revision.n == 0 || c->auth.cell[i].at.r.region != o->region)
                    continue;
                if (heir == FM_NO_REGION) {
                    ctl_refuse(&o->no, 409, "last-region", "bring another region up first",
                               "no other region is well for the context %s",
                               ctl->c.roster->context[c->number].name);
                    return;
                }
                if (!add_item(o, c, i, heir))
                    return;
            }
        }
    }
    (void)check_capacity(o);
}

bool ctl_order_is_busy(struct ctl_order *o)
{
    const char *id;
    for (unsigned i = 0; i < o->c->auth.cfg.ncells; i++)
        if (busy_elsewhere(o->ctl, (enum fm_op_kind)o->op.kind, o->c->number, i, &id)) {
            ctl_refuse(&o->no, 409, "one-at-a-time", "wait for it, or abort it",
                       "operation %s is about this context", id);
            return true;
        }
    return false;
}

static uint8_t step_of(struct ctl_order *o)
{
    const char *s = ctl_order_text(o, "step");
    for (unsigned i = 0; s && i < FM_OP_STEP_COUNT; i++)
        if (strcmp(s, fm_op_step_name((enum fm_op_step)i)) == 0)
            return (uint8_t)i;
    if (s)
        ctl_refuse(&o->no, 400, "malformed", "all, prepare, complete or stand-down",
                   "there is no step `%s`", s);
    return FM_OP_STEP_ALL;
}

/* The region that most cells of the context would be taken from. */
static int loser(const struct ctl_context *c, unsigned to)
{
    unsigned count[FM_AUTH_REGIONS_MAX] = {0};
    int best = -1;
    for (unsigned i = 0; i < c->auth.cfg.ncells; i++)
        if (c->auth.cell[i].at.revision.n)
            count[c->auth.cell[i].at.r.region]++;
    for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX; r++)
        if (r != to && count[r] && (best < 0 || count[r] > count[best]))
            best = (int)r;
    return best;
}

static const struct ctl_quote *find_quote(const struct fm_controller *ctl, const char *id)
{
    for (unsigned i = 0; i < CTL_QUOTES_MAX; i++)
        if (ctl->quote[i].id[0] && strcmp(ctl->quote[i].id, id) == 0)
            return &ctl->quote[i];
    return NULL;
}

/* What a person was told that it would cost. Where nothing was quoted nothing may be lost. */
static bool take_quote(struct ctl_order *o)
{
    const char *id = ctl_order_text(o, "quote"), *confirm = ctl_order_text(o, "confirm");
    const struct ctl_quote *q = id ? find_quote(o->ctl, id) : NULL;
    o->op.quoted = true;
    if (!id)
        return true;
    bool fits = q && q->context == o->c->number && q->to == (unsigned)o->to;
    if (!fits || !fm_mono_before(fm_mono_now(), q->until))
        ctl_refuse(&o->no, 409, "quote", "ask for a new quote",
                   fits ? "the quote has run out" : "there is no such quote for this");
    else if (!confirm || strcmp(confirm, o->ctl->c.roster->context[o->c->number].name) != 0)
        ctl_refuse(&o->no, 409, "confirm", "repeat the name of the context in `confirm`",
                   "the loss was not confirmed");
    if (o->no.status)
        return false;
    FM_ASSERT(fits && q);
    o->op.loss = q->loss;
    o->op.unbounded = q->unbounded;
    return true;
}

bool ctl_plan_failover(struct ctl_order *o)
{
    if (!ctl_take_context(o, true) || !ctl_take_region(o, "to", &o->to) ||
        !ctl_take_region(o, "attest_fence", &o->region))
        return false;
    if (o->to < 0) {
        ctl_refuse(&o->no, 400, "malformed", "say who takes over", "`to` is missing");
        return false;
    }
    if (!(o->ctl->holders >> o->to & 1)) {
        ctl_refuse(&o->no, 409, "cannot-hold", "choose a region that serves",
                   "%s is a witness, or has no controller", o->ctl->c.roster->region[o->to]);
        return false;
    }
    int lost = loser(o->c, (unsigned)o->to);
    if (lost < 0 && ctl_yield_is_given_up(o->ctl, o->c->set, (unsigned)o->to))
        lost = o->to; /* with another node */
    if (lost < 0) {
        ctl_refuse(&o->no, 409, "nothing-to-take", "nothing has to be done",
                   "no other region holds anything of it");
        return false;
    }
    o->op.attest = o->region >= 0 && o->region == lost;
    if (o->region >= 0 && !o->op.attest)
        ctl_refuse(&o->no, 409, "attest", "attest the fence of the region that is taken from",
                   "%s holds it", o->ctl->c.roster->region[lost]);
    o->op.region = lost;
    o->op.to = o->to;
    return !o->no.status;
}

/* It is asked again where it is carried out; here it answers at once. */
static void check_loss(struct ctl_order *o, const struct fm_failover_evidence *ev)
{
    bool quoted = ctl_order_text(o, "quote") != NULL;
    bool covered = o->op.unbounded || (!ev->unbounded && ev->loss <= o->op.loss);
    if (covered)
        return;
    char now[64] = "nothing that is enforced bounds the loss now";
    if (!ev->unbounded)
        snprintf(now, sizeof now, "up to %llu bytes may be lost now", (unsigned long long)ev->loss);
    if (quoted && !o->op.unbounded)
        ctl_refuse(&o->no, 409, "quote", "ask for a new quote, and accept that, or wait",
                   "the quote is void: it said %llu bytes, and %s", (unsigned long long)o->op.loss,
                   now);
    else
        ctl_refuse(&o->no, 409, "loss",
                   "ask for a quote (`fulmar quote`), and accept it with its number", "%s", now);
}

static void plan_failover(struct ctl_order *o)
{
    if (!ctl_plan_failover(o))
        return;
    o->op.step = step_of(o);
    o->op.glass = json_is_true(json_object_get(o->body, "break_glass"));
    if (o->no.status || (o->op.step != FM_OP_STEP_STAND_DOWN && ctl_order_is_busy(o)) ||
        !take_quote(o))
        return;
    /* the health gate is asked again where it is carried out; here it answers at once */
    struct fm_failover_evidence ev =
        ctl_evidence(o->ctl, o->c->set, (unsigned)o->op.region, (unsigned)o->to);
    bool takes = o->op.step == FM_OP_STEP_ALL || o->op.step == FM_OP_STEP_COMPLETE;
    if (takes && !o->op.glass && !ev.yielded && 2 * ev.healthy_by > ev.observers)
        ctl_refuse(&o->no, 409, "holder-healthy", "use `move`, which loses nothing",
                   "%u of %u observers see %s well", ev.healthy_by, ev.observers,
                   o->ctl->c.roster->region[o->op.region]);
    else if (takes)
        check_loss(o, &ev);
}

static void plan_read_only(struct ctl_order *o)
{
    json_t *on = json_object_get(o->body, "on");
    if (!ctl_take_context(o, true))
        return;
    if (!json_is_boolean(on)) {
        ctl_refuse(&o->no, 400, "malformed", "say `on`: true or false", "`on` is missing");
        return;
    }
    o->policy = o->c->policy.p;
    o->policy.read_only = json_is_true(on);
    copy_text(o->policy.message, sizeof o->policy.message,
              json_is_true(on) ? ctl_order_text(o, "message") : "");
}

static void plan_automatic(struct ctl_order *o)
{
    json_t *pause = json_object_get(o->body, "pause"), *ms = json_object_get(o->body, "for_ms");
    json_int_t length = ms ? json_integer_value(ms) : INT64_C(3600) * 1000 * 24 * 365;
    if (!ctl_take_context(o, true))
        return;
    if (!json_is_boolean(pause) ||
        (ms && (length <= 0 || length > INT64_C(3600) * 1000 * 24 * 366))) {
        ctl_refuse(&o->no, 400, "malformed",
                   "say `pause`: true or false, and `for_ms` up to a year",
                   "`pause` is missing, or `for_ms` is no length");
        return;
    }
    o->policy = o->c->policy.p;
    o->policy.paused_until_ms = json_is_true(pause) ? fm_wall_now_ns() / FM_NS_PER_MS + length : 0;
}

static void plan_members(struct ctl_order *o)
{
    (void)ctl_take_context(o, true);
}

static void plan_create(struct ctl_order *o)
{
    if (!ctl_take_context(o, true))
        return;
    if (ctl_external_has(o->c))
        ctl_refuse(&o->no, 409, "hooks", "make them with whoever runs them",
                   "Fulmar does not run the data of this group: it has `hooks`");
    else if (!o->c->group)
        ctl_refuse(&o->no, 409, "no-group", "name a group of the file",
                   "no PostgreSQL group carries the data of the context");
    else if (ctl_group_recorded(o->c))
        ctl_refuse(&o->no, 409, "exists", "look at `fulmar group status`",
                   "the group has data already: system %llu",
                   (unsigned long long)ctl_group_recorded(o->c)->system_id);
}

void ctl_plan(struct ctl_order *o, enum fm_op_kind kind, const char *by)
{
    static void (*const plans[])(struct ctl_order *) = {[FM_OP_MOVE] = plan_move,
                                                        [FM_OP_EVACUATE] = plan_evacuate,
                                                        [FM_OP_FAILBACK] = ctl_plan_failback,
                                                        [FM_OP_FAILOVER] = plan_failover,
                                                        [FM_OP_READ_ONLY] = plan_read_only,
                                                        [FM_OP_AUTOMATIC] = plan_automatic,
                                                        [FM_OP_MEMBERS] = plan_members,
                                                        [FM_OP_DRAIN] = ctl_plan_drain,
                                                        [FM_OP_UNDRAIN] = ctl_plan_undrain,
                                                        [FM_OP_CONFIG] = ctl_plan_config,
                                                        [FM_OP_CREATE] = plan_create,
                                                        [FM_OP_REINIT] = ctl_plan_node,
                                                        [FM_OP_MAINTAIN] = ctl_plan_node,
                                                        [FM_OP_RESUME] = ctl_plan_node,
                                                        [FM_OP_ADD] = ctl_plan_add,
                                                        [FM_OP_REMOVE] = ctl_plan_remove};
    FM_ASSERT(kind < FM_COUNT(plans));
    if (take_common(o, kind, by))
        plans[kind](o);
}
