/* What people order: the pages below /ops. An order is checked against the rules with what this
 * agent knows; refused with the rule, the evidence and what would make it pass; or written down,
 * after which it survives this agent. Nothing is carried out here. */
#include "agent/ctl.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { QUOTE_MS = 30 * 1000, PRUNED_AT_ONCE = 3 };

/* -------- what coordination has -------- */

static struct ctl_op *find_op(struct fm_controller *ctl, struct fm_str id)
{
    for (unsigned i = 0; i < CTL_OPS_MAX; i++)
        if (ctl->op[i].used && fm_str_eqz(id, ctl->op[i].op.id))
            return &ctl->op[i];
    return NULL;
}

static void forget(struct ctl_op *o)
{
    if (o->writing)
        return; /* the memory of a write that is on its way; it ends, and is looked at again */
    fm_op_free(&o->op);
    *o = (struct ctl_op){.used = false};
}

static struct ctl_op *place_for(struct fm_controller *ctl, struct fm_str id)
{
    struct ctl_op *o = find_op(ctl, id);
    for (unsigned i = 0; i < CTL_OPS_MAX && !o; i++)
        if (!ctl->op[i].used)
            o = &ctl->op[i];
    if (!o || o->used)
        return o;
    *o = (struct ctl_op){.ctl = ctl, .used = true, .begun = fm_mono_now()};
    snprintf(o->key, sizeof o->key, "op/%.*s", FM_STR_ARG(id));
    return o;
}

static void op_seen(struct fm_controller *ctl, struct fm_str id, const struct fm_coord_kv *kv)
{
    struct fm_op op;
    const char *why = "not an id";
    struct ctl_op *o = NULL;
    if (!fm_op_is_id(id) || !fm_op_read(ctl->c.roster, kv->value, &op, &why)) {
        fm_log(FM_LOG_ERROR, "operation_unreadable", FM_KS("id", id), FM_KZ("why", why),
               FM_KZ("meaning", "this agent does nothing of it"));
        return;
    }
    o = place_for(ctl, id);
    if (!o || o->revision > kv->revision) {
        fm_op_free(&op);
        return;
    }
    fm_op_free(&o->op);
    o->op = op;
    snprintf(o->op.id, sizeof o->op.id, "%.*s", FM_STR_ARG(id));
    o->revision = kv->revision;
    o->there = true;
    o->next_at = FM_MONO_ZERO;
}

static void policy_seen(struct fm_controller *ctl, struct fm_str name, const struct fm_coord_kv *kv)
{
    int number = fm_roster_context(ctl->c.roster, name);
    struct ctl_context *c = number < 0 ? NULL : ctl->context[number];
    struct fm_op_policy p;
    if (!c)
        return;
    if (!fm_op_policy_read(kv->value, &p)) {
        fm_log(FM_LOG_ERROR, "policy_unreadable", FM_KS("context", name));
        return;
    }
    c->policy = (struct ctl_policy){kv->revision, p};
    ctl_touch(c);
}

void ctl_ops_seen(struct fm_controller *ctl, struct fm_str key, const struct fm_coord_kv *kv)
{
    struct fm_str rest, kind = fm_str_cut(key, '/', &rest);
    if (fm_str_eqz(kind, "policy") && kv) {
        policy_seen(ctl, rest, kv);
    } else if (fm_str_eqz(kind, "op")) {
        struct ctl_op *o = kv ? NULL : find_op(ctl, rest);
        if (kv)
            op_seen(ctl, rest, kv);
        else if (o)
            forget(o);
        ctl_touch_all(ctl);
    }
}

void ctl_ops_fresh(struct fm_controller *ctl, bool begins)
{
    for (unsigned i = 0; i < CTL_OPS_MAX; i++) {
        struct ctl_op *o = &ctl->op[i];
        if (begins)
            o->there = false;
        else if (o->used && !o->there)
            forget(o);
    }
}

void ctl_ops_free(struct fm_controller *ctl)
{
    for (unsigned i = 0; i < CTL_OPS_MAX; i++) {
        fm_op_free(&ctl->op[i].op);
        free(ctl->op[i].value);
    }
    for (unsigned i = 0; i < CTL_TAKINGS_MAX; i++) {
        fm_op_free(&ctl->taking[i].op);
        for (unsigned k = 0; k < FM_COUNT(ctl->taking[i].value); k++)
            free(ctl->taking[i].value[k]);
    }
}

uint64_t ctl_generation(const struct fm_controller *ctl)
{
    uint64_t newest = 0;
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        if (ctl->context[i] && ctl->context[i]->conf >= 0)
            newest = fm_max_u64(newest, ctl_generation_of(ctl->context[i]));
    return newest;
}

/* -------- answers -------- */

struct refusal {
    unsigned status; /* 0 = it is none */
    const char *rule, *remedy;
    char evidence[320];
};

static void answer_json(struct fm_page_answer *a, unsigned status, json_t *doc)
{
    a->status = status;
    a->content_type = "application/json";
    a->body = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    a->n = a->body ? strlen(a->body) : 0;
    json_decref(doc);
    if (!a->body)
        a->status = 503;
}

static void answer_refusal(struct fm_page_answer *a, const struct refusal *r)
{
    answer_json(a, r->status,
                json_pack("{s:s,s:s,s:s,s:s}", "schema", "fulmar.refusal/1", "rule", r->rule,
                          "evidence", r->evidence, "remedy", r->remedy));
}

static void FM_PRINTF(5, 6) refuse(struct refusal *r, unsigned status, const char *rule,
                                   const char *remedy, const char *fmt, ...)
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

/* The operation as a document for people. */
static json_t *op_doc(const struct fm_controller *ctl, const struct fm_op *o)
{
    json_t *j = fm_op_json(ctl->c.roster, o);
    json_t *doc = json_pack("{s:s,s:s,s:I}", "schema", "fulmar.op/1", "id", o->id, "generation",
                            (json_int_t)ctl_generation(ctl));
    if (j && doc)
        (void)json_object_update(doc, j);
    json_decref(j);
    return doc;
}

/* -------- an order -------- */

struct order {
    struct fm_controller *ctl;
    json_t *body;
    struct ctl_context *c; /* NULL: it is about none */
    int region, to;        /* -1 = not said */
    bool dry;
    struct fm_op op;
    struct fm_op_policy policy; /* READ_ONLY, AUTOMATIC */
    struct refusal no;
};

static const char *text_of(const struct order *o, const char *name)
{
    return json_string_value(json_object_get(o->body, name));
}

/* A member that is a name of a region; false where it is one that is not known. */
static bool take_region(struct order *o, const char *name, int *out)
{
    const char *s = text_of(o, name);
    *out = s ? fm_roster_region(o->ctl->c.roster, fm_str_z(s)) : -1;
    if (s && *out < 0)
        refuse(&o->no, 404, "unknown-region", "name a region of the file",
               "there is no region `%s`", s);
    return !o->no.status;
}

static bool take_context(struct order *o, bool needed)
{
    const char *s = text_of(o, "context");
    int number = s ? fm_roster_context(o->ctl->c.roster, fm_str_z(s)) : -1;
    o->c = number < 0 ? NULL : o->ctl->context[number];
    if (o->c && (o->c->conf < 0 || !o->c->set))
        o->c = NULL;
    if (s && !o->c)
        refuse(&o->no, 404, "unknown-context", "name a context with cells",
               "there is no context `%s` with cells here", s);
    else if (needed && !s)
        refuse(&o->no, 400, "malformed", "say which context", "`context` is missing");
    o->op.context = number;
    return !o->no.status;
}

static void copy_text(char *to, size_t cap, const char *from)
{
    snprintf(to, cap, "%s", from ? from : "");
    fm_text_tame(to);
}

/* What every order has. */
static bool take_common(struct order *o, enum fm_op_kind kind, const char *by)
{
    struct fm_controller *ctl = o->ctl;
    const char *reason = text_of(o, "reason");
    json_t *expect = json_object_get(o->body, "expect_generation");
    fm_op_new_id(o->op.id, fm_wall_now_ns(), fm_rand_u64(&ctl->rand));
    o->op.kind = (uint8_t)kind;
    o->op.context = o->op.region = o->op.to = -1;
    fm_wall_format(o->op.at, fm_wall_now_ns());
    copy_text(o->op.by, sizeof o->op.by, by ? by : text_of(o, "by"));
    copy_text(o->op.reason, sizeof o->op.reason, reason);
    snprintf(o->op.host, sizeof o->op.host, "%s", fm_roster_host_name(ctl->c.roster, ctl->c.self));
    o->dry = json_is_true(json_object_get(o->body, "dry_run"));
    if (!reason || !*reason)
        refuse(&o->no, 400, "malformed", "say why: it is written down with what is done",
               "`reason` is missing");
    else if (expect && json_integer_value(expect) != (json_int_t)ctl_generation(ctl))
        refuse(&o->no, 409, "generation", "look at the present state, and order again",
               "the generation is %llu", (unsigned long long)ctl_generation(ctl));
    else if (ctl->revision == 0)
        refuse(&o->no, 503, "no-quorum", "try again when coordination answers",
               "nothing was read from coordination yet%s%s", ctl->trouble[0] ? ": " : "",
               ctl->trouble);
    return !o->no.status;
}

/* -------- rules -------- */

static bool busy_elsewhere(const struct fm_controller *ctl, unsigned context, unsigned cell,
                           const char **id)
{
    for (unsigned i = 0; i < CTL_OPS_MAX; i++) {
        const struct ctl_op *x = &ctl->op[i];
        if (!x->used || fm_op_is_over((enum fm_op_state)x->op.state))
            continue;
        bool any = x->op.nitems == 0 && x->op.context == (int)context &&
                   (x->op.kind == FM_OP_FAILBACK || x->op.kind == FM_OP_FAILOVER);
        for (unsigned k = 0; k < x->op.nitems; k++) {
            const struct fm_op_item *item = &x->op.item[k];
            any |= item->context == context && item->cell == cell &&
                   !fm_op_is_over((enum fm_op_state)item->state);
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

static bool add_item(struct order *o, const struct ctl_context *c, unsigned cell, unsigned to)
{
    const struct fm_cell_record *r = &c->auth.cell[cell].at.r;
    const char *id;
    if (c->auth.cell[cell].at.revision.n == 0 || (r->region == to && r->state == FM_CELL_HELD))
        return true;
    if (r->state != FM_CELL_HELD)
        refuse(&o->no, 409, "moving", "wait until it is held again", "cell %u of %s is on its way",
               cell, o->ctl->c.roster->context[c->number].name);
    else if (busy_elsewhere(o->ctl, c->number, cell, &id))
        refuse(&o->no, 409, "one-at-a-time", "wait for it, or abort it",
               "operation %s is about cell %u of %s", id, cell,
               o->ctl->c.roster->context[c->number].name);
    else if (o->op.nitems == FM_OP_ITEMS_MAX)
        refuse(&o->no, 409, "bounded", "move fewer cells at once",
               "more than %d cells in one operation", FM_OP_ITEMS_MAX);
    if (o->no.status)
        return false;
    o->op.item[o->op.nitems++] = (struct fm_op_item){(uint16_t)c->number, (uint8_t)cell, r->region,
                                                     (uint8_t)to, FM_OP_WAITING};
    return true;
}

/* May these cells go there? */
static bool check_heir(struct order *o, const struct ctl_set *s, unsigned to)
{
    const struct fm_controller *ctl = o->ctl;
    const char *name = ctl->c.roster->region[to];
    if (!(ctl->holders >> to & 1))
        refuse(&o->no, 409, "cannot-hold", "choose a region that serves",
               "%s is a witness, or has no controller", name);
    else if (fm_votes_lost(&ctl->votes, to))
        refuse(&o->no, 409, "ready", "choose another region, or wait",
               "%s was not heard for a while", name);
    else if (!sees_well(ctl, to, &s->contexts))
        refuse(&o->no, 409, "ready", "see `health` of its agents",
               "no gate of %s says that it can serve the context", name);
    return !o->no.status;
}

/* The cells that were asked for, or all. */
static bool wanted_cells(struct order *o, const struct ctl_context *c, uint64_t *out)
{
    json_t *list = json_object_get(o->body, "cells");
    *out = list                       ? 0
           : c->auth.cfg.ncells == 64 ? UINT64_MAX
                                      : (UINT64_C(1) << c->auth.cfg.ncells) - 1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_int_t n = json_integer_value(json_array_get(list, i));
        if (!json_is_integer(json_array_get(list, i)) || n < 0 || n >= c->auth.cfg.ncells) {
            refuse(&o->no, 400, "malformed", "cells are numbers of the context",
                   "it has the cells 0 to %u", c->auth.cfg.ncells - 1);
            return false;
        }
        *out |= UINT64_C(1) << n;
    }
    return true;
}

/* -------- kinds -------- */

static void plan_move(struct order *o)
{
    struct fm_controller *ctl = o->ctl;
    uint64_t cells;
    if (!take_context(o, true) || !take_region(o, "to", &o->to))
        return;
    if (o->to < 0) {
        refuse(&o->no, 400, "malformed", "say where to", "`to` is missing");
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
}

static void plan_evacuate(struct order *o)
{
    struct fm_controller *ctl = o->ctl;
    if (!take_region(o, "region", &o->region))
        return;
    if (o->region < 0) {
        refuse(&o->no, 400, "malformed", "say which region", "`region` is missing");
        return;
    }
    o->op.region = o->region;
    for (unsigned k = 0; k < ctl->nsets; k++) {
        const struct ctl_set *s = &ctl->set[k];
        unsigned heir =
            fm_votes_heir(&ctl->votes, (unsigned)o->region, &s->contexts, ctl->holders, ctl->rank);
        for (unsigned m = 0; m < s->n; m++) {
            const struct ctl_context *c = ctl->context[s->member[m]];
            for (unsigned i = 0; i < c->auth.cfg.ncells; i++) {
                if (c->auth.cell[i].at.revision.n == 0 || c->auth.cell[i].at.r.region != o->region)
                    continue;
                if (heir == FM_NO_REGION) {
                    refuse(&o->no, 409, "last-region", "bring another region up first",
                           "no other region is well for the context %s",
                           ctl->c.roster->context[c->number].name);
                    return;
                }
                if (!add_item(o, c, i, heir))
                    return;
            }
        }
    }
}

static bool is_busy(struct order *o)
{
    const char *id;
    for (unsigned i = 0; i < o->c->auth.cfg.ncells; i++)
        if (busy_elsewhere(o->ctl, o->c->number, i, &id)) {
            refuse(&o->no, 409, "one-at-a-time", "wait for it, or abort it",
                   "operation %s is about this context", id);
            return true;
        }
    return false;
}

static void plan_failback(struct order *o)
{
    if (take_context(o, true))
        (void)is_busy(o);
}

static uint8_t step_of(struct order *o)
{
    const char *s = text_of(o, "step");
    for (unsigned i = 0; s && i < FM_OP_STEP_COUNT; i++)
        if (strcmp(s, fm_op_step_name((enum fm_op_step)i)) == 0)
            return (uint8_t)i;
    if (s)
        refuse(&o->no, 400, "malformed", "all, prepare, complete or stand-down",
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

/* What a person was told that it would cost. No database of this version loses anything with a
 * region, so that nothing has to be accepted where nothing was quoted. */
static bool take_quote(struct order *o)
{
    const char *id = text_of(o, "quote"), *confirm = text_of(o, "confirm");
    const struct ctl_quote *q = id ? find_quote(o->ctl, id) : NULL;
    o->op.quoted = true;
    if (!id)
        return true;
    bool fits = q && q->context == o->c->number && q->to == (unsigned)o->to;
    if (!fits || !fm_mono_before(fm_mono_now(), q->until))
        refuse(&o->no, 409, "quote", "ask for a new quote",
               fits ? "the quote has run out" : "there is no such quote for this");
    else if (!confirm || strcmp(confirm, o->ctl->c.roster->context[o->c->number].name) != 0)
        refuse(&o->no, 409, "confirm", "repeat the name of the context in `confirm`",
               "the loss was not confirmed");
    if (o->no.status)
        return false;
    o->op.loss = q->loss;
    o->op.unbounded = q->unbounded;
    return true;
}

static bool take_failover(struct order *o)
{
    if (!take_context(o, true) || !take_region(o, "to", &o->to) ||
        !take_region(o, "attest_fence", &o->region))
        return false;
    if (o->to < 0) {
        refuse(&o->no, 400, "malformed", "say who takes over", "`to` is missing");
        return false;
    }
    if (!(o->ctl->holders >> o->to & 1)) {
        refuse(&o->no, 409, "cannot-hold", "choose a region that serves",
               "%s is a witness, or has no controller", o->ctl->c.roster->region[o->to]);
        return false;
    }
    int lost = loser(o->c, (unsigned)o->to);
    if (lost < 0) {
        refuse(&o->no, 409, "nothing-to-take", "nothing has to be done",
               "no other region holds anything of it");
        return false;
    }
    o->op.attest = o->region >= 0 && o->region == lost;
    if (o->region >= 0 && !o->op.attest)
        refuse(&o->no, 409, "attest", "attest the fence of the region that is taken from",
               "%s holds it", o->ctl->c.roster->region[lost]);
    o->op.region = lost;
    o->op.to = o->to;
    return !o->no.status;
}

static void plan_failover(struct order *o)
{
    if (!take_failover(o))
        return;
    o->op.step = step_of(o);
    o->op.glass = json_is_true(json_object_get(o->body, "break_glass"));
    if (o->no.status || (o->op.step != FM_OP_STEP_STAND_DOWN && is_busy(o)) || !take_quote(o))
        return;
    /* the health gate is asked again where it is carried out; here it answers at once */
    struct fm_failover_evidence ev = ctl_evidence(o->ctl, o->c->set, (unsigned)o->op.region);
    bool takes = o->op.step == FM_OP_STEP_ALL || o->op.step == FM_OP_STEP_COMPLETE;
    if (takes && !o->op.glass && 2 * ev.healthy_by > ev.observers)
        refuse(&o->no, 409, "holder-healthy", "use `move`, which loses nothing",
               "%u of %u observers see %s well", ev.healthy_by, ev.observers,
               o->ctl->c.roster->region[o->op.region]);
}

static void plan_read_only(struct order *o)
{
    json_t *on = json_object_get(o->body, "on");
    if (!take_context(o, true))
        return;
    if (!json_is_boolean(on)) {
        refuse(&o->no, 400, "malformed", "say `on`: true or false", "`on` is missing");
        return;
    }
    o->policy = o->c->policy.p;
    o->policy.read_only = json_is_true(on);
    copy_text(o->policy.message, sizeof o->policy.message,
              json_is_true(on) ? text_of(o, "message") : "");
}

static void plan_automatic(struct order *o)
{
    json_t *pause = json_object_get(o->body, "pause"), *ms = json_object_get(o->body, "for_ms");
    json_int_t length = ms ? json_integer_value(ms) : INT64_C(3600) * 1000 * 24 * 365;
    if (!take_context(o, true))
        return;
    if (!json_is_boolean(pause) ||
        (ms && (length <= 0 || length > INT64_C(3600) * 1000 * 24 * 366))) {
        refuse(&o->no, 400, "malformed", "say `pause`: true or false, and `for_ms` up to a year",
               "`pause` is missing, or `for_ms` is no length");
        return;
    }
    o->policy = o->c->policy.p;
    o->policy.paused_until_ms = json_is_true(pause) ? fm_wall_now_ns() / FM_NS_PER_MS + length : 0;
}

static void plan_members(struct order *o)
{
    (void)take_context(o, true);
}

/* -------- writing it down -------- */

static void free_taking(struct ctl_taking *t)
{
    fm_op_free(&t->op);
    for (unsigned k = 0; k < FM_COUNT(t->value); k++) {
        free(t->value[k]);
        t->value[k] = NULL;
    }
    t->used = false;
}

static void left(void *user)
{
    ((struct ctl_taking *)user)->wait = NULL;
}

static void taken(struct fm_coord_op *w)
{
    struct ctl_taking *t = w->user;
    struct fm_controller *ctl = t->ctl;
    struct fm_page_answer a = FM_PAGE_ANSWER;
    bool over = fm_op_is_over((enum fm_op_state)t->op.state);
    if (w->outcome == FM_COORD_DONE) {
        fm_log(FM_LOG_WARN, "operation_taken", FM_KZ("id", t->op.id),
               FM_KZ("kind", fm_op_kind_name((enum fm_op_kind)t->op.kind)), FM_KZ("by", t->op.by),
               FM_KZ("reason", t->op.reason));
        answer_json(&a, over ? 200 : 202, op_doc(ctl, &t->op));
    } else {
        struct refusal r = {.status = 0};
        bool unknown = w->outcome == FM_COORD_UNKNOWN;
        refuse(&r, 503, unknown ? "outcome-unknown" : "no-quorum",
               unknown ? "look for the operation before ordering it again" : "try again", "%s: %s",
               t->op.id, w->error.msg);
        answer_refusal(&a, &r);
    }
    if (t->wait)
        fm_page_answer(t->wait, &a);
    else
        free(a.body);
    free_taking(t);
}

static bool add_write(struct ctl_taking *t, const char *key, uint64_t revision, char *value)
{
    size_t i = t->txn.nwrite;
    FM_ASSERT(i < FM_COUNT(t->write));
    snprintf(t->key[i], sizeof t->key[i], "%s", key);
    t->value[i] = value;
    t->compare[i] = (struct fm_coord_compare){fm_str_z(t->key[i]), revision};
    t->write[i] = (struct fm_coord_write){
        .key = fm_str_z(t->key[i]), .value = fm_str_z(value), .erase = value == NULL};
    t->txn.ncompare = t->txn.nwrite = i + 1;
    return true;
}

/* Where there are many, the oldest that is over gives way. */
static void prune(struct fm_controller *ctl, struct ctl_taking *t)
{
    for (unsigned k = 0; k < PRUNED_AT_ONCE && t->txn.nwrite < FM_COUNT(t->write); k++) {
        const struct ctl_op *oldest = NULL;
        unsigned n = 0;
        for (unsigned i = 0; i < CTL_OPS_MAX; i++) {
            const struct ctl_op *o = &ctl->op[i];
            n += o->used;
            bool is_in = false;
            for (size_t w = 0; w < t->txn.nwrite; w++)
                is_in |= o->used && strcmp(t->key[w], o->key) == 0;
            if (o->used && !is_in && fm_op_is_over((enum fm_op_state)o->op.state) &&
                (!oldest || strcmp(o->op.id, oldest->op.id) < 0))
                oldest = o;
        }
        if (n < CTL_OPS_KEPT || !oldest)
            return;
        (void)add_write(t, oldest->key, oldest->revision, NULL);
    }
}

static char *dumped(json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    return text;
}

static struct ctl_taking *begin_taking(struct order *o)
{
    struct fm_controller *ctl = o->ctl;
    struct ctl_taking *t = NULL;
    for (unsigned i = 0; i < CTL_TAKINGS_MAX && !t; i++)
        if (!ctl->taking[i].used)
            t = &ctl->taking[i];
    bool policy = o->op.kind == FM_OP_READ_ONLY || o->op.kind == FM_OP_AUTOMATIC;
    char *doc = dumped(fm_op_json(ctl->c.roster, &o->op));
    char *policy_doc = policy ? dumped(fm_op_policy_json(&o->policy)) : NULL;
    if (!t || !doc || (policy && !policy_doc) || !ctl->coord || ctl->closing) {
        free(doc);
        free(policy_doc);
        return NULL;
    }
    *t = (struct ctl_taking){.ctl = ctl, .used = true, .op = o->op};
    o->op.item = NULL; /* they are its own now */
    t->txn = (struct fm_coord_txn){t->compare, 0, t->write, 0};
    char key[FM_RECORD_KEY_ROOM];
    snprintf(key, sizeof key, "op/%s", t->op.id);
    (void)add_write(t, key, 0, doc);
    if (policy) {
        snprintf(key, sizeof key, "policy/%s", ctl->c.roster->context[o->c->number].name);
        (void)add_write(t, key, o->c->policy.revision, policy_doc);
    }
    prune(ctl, t);
    return t;
}

static void take(struct order *o, const struct fm_page_request *q, struct fm_page_answer *a)
{
    struct fm_controller *ctl = o->ctl;
    struct ctl_taking *t = begin_taking(o);
    if (!t) {
        refuse(&o->no, 503, "no-quorum", "try again", "coordination cannot be asked now");
        answer_refusal(a, &o->no);
        return;
    }
    t->wait = fm_page_later(q, left, t);
    if (!t->wait) {
        free_taking(t);
        return;
    }
    t->w.done = taken;
    t->w.user = t;
    fm_coord_commit(ctl->coord, &t->w, &t->txn,
                    fm_mono_add_ms(fm_loop_now(ctl->c.loop), 2 * ctl->op_ms));
}

/* -------- pages -------- */

static void order_page(struct order *o, enum fm_op_kind kind, const struct fm_page_request *q,
                       struct fm_page_answer *a)
{
    static void (*const plans[])(struct order *) = {
        [FM_OP_MOVE] = plan_move,           [FM_OP_EVACUATE] = plan_evacuate,
        [FM_OP_FAILBACK] = plan_failback,   [FM_OP_FAILOVER] = plan_failover,
        [FM_OP_READ_ONLY] = plan_read_only, [FM_OP_AUTOMATIC] = plan_automatic,
        [FM_OP_MEMBERS] = plan_members};
    o->op.item = calloc(FM_OP_ITEMS_MAX, sizeof *o->op.item);
    if (!o->op.item)
        refuse(&o->no, 503, "memory", "try again", "out of memory");
    if (!o->no.status && take_common(o, kind, q->peer))
        plans[kind](o);
    bool written = kind == FM_OP_READ_ONLY || kind == FM_OP_AUTOMATIC;
    bool nothing = (kind == FM_OP_MOVE || kind == FM_OP_EVACUATE) && o->op.nitems == 0;
    if (o->no.status == 0 && (nothing || written))
        o->op.state = FM_OP_DONE;
    if (o->no.status == 0 && nothing)
        snprintf(o->op.text, sizeof o->op.text, "nothing has to be moved");
    if (o->no.status)
        answer_refusal(a, &o->no);
    else if (o->dry || nothing)
        answer_json(a, 200, op_doc(o->ctl, &o->op));
    else
        take(o, q, a);
    fm_op_free(&o->op);
}

static json_t *votes_doc(const struct fm_failover_evidence *ev)
{
    return json_pack("{s:i,s:i,s:i,s:i,s:b,s:b,s:b,s:i}", "observers", ev->observers, "lost_by",
                     ev->lost_by, "healthy_by", ev->healthy_by, "domains", ev->domains, "quorum",
                     (int)ev->quorum, "ready", (int)ev->ready, "fenced", (int)ev->fenced,
                     "automatic_left", ev->budget_left);
}

static void quote_page(struct order *o, struct fm_page_answer *a)
{
    struct fm_controller *ctl = o->ctl;
    if (!take_failover(o)) {
        answer_refusal(a, &o->no);
        return;
    }
    struct fm_failover_evidence ev = ctl_evidence(ctl, o->c->set, (unsigned)o->op.region);
    struct ctl_quote *q = &ctl->quote[ctl->nquotes++ % CTL_QUOTES_MAX];
    *q = (struct ctl_quote){.context = o->c->number,
                            .to = (unsigned)o->to,
                            .loss = ev.loss,
                            .unbounded = ev.unbounded,
                            .until = fm_mono_add_ms(fm_mono_now(), QUOTE_MS)};
    fm_op_new_id(q->id, fm_wall_now_ns(), fm_rand_u64(&ctl->rand));
    enum fm_auth_why why = FM_AUTH_WHY_NONE;
    for (unsigned i = 0; i < o->c->auth.cfg.ncells && why == FM_AUTH_WHY_NONE; i++)
        if (o->c->auth.cell[i].at.r.region == o->op.region && o->to == (int)ctl->region)
            why = fm_authority_may_acquire(&o->c->auth, i, fm_mono_now());
    answer_json(a, 200,
                json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:b,s:s,s:i,s:I,s:s,s:o}", "schema",
                          "fulmar.quote/1", "quote", q->id, "context",
                          ctl->c.roster->context[o->c->number].name, "from",
                          ctl->c.roster->region[o->op.region], "to", ctl->c.roster->region[o->to],
                          "loss_bytes", (json_int_t)q->loss, "unbounded", (int)q->unbounded,
                          "bound", "no data that Fulmar keeps moves with this context",
                          "valid_for_ms", QUOTE_MS, "generation", (json_int_t)ctl_generation(ctl),
                          "waits_for", fm_auth_why_text(why), "evidence", votes_doc(&ev)));
}

/* Whoever carries it out ends it; what has not begun ends at once. */
static void abort_page(struct order *o, const struct fm_page_request *q, struct fm_page_answer *a)
{
    struct fm_controller *ctl = o->ctl;
    const char *id = text_of(o, "id");
    struct ctl_op *x = id ? find_op(ctl, fm_str_z(id)) : NULL;
    struct ctl_taking *t = NULL;
    if (!x)
        refuse(&o->no, 404, "unknown-operation", "see /ops", "there is no operation `%s`",
               id ? id : "");
    else if (fm_op_is_over((enum fm_op_state)x->op.state))
        refuse(&o->no, 409, "over", "nothing has to be done", "it is %s",
               fm_op_state_name((enum fm_op_state)x->op.state));
    for (unsigned i = 0; i < CTL_TAKINGS_MAX && !t; i++)
        if (!ctl->taking[i].used)
            t = &ctl->taking[i];
    if (!o->no.status && (!t || !ctl->coord || ctl->closing))
        refuse(&o->no, 503, "no-quorum", "try again", "coordination cannot be asked now");
    if (o->no.status) {
        answer_refusal(a, &o->no);
        return;
    }
    struct fm_op changed = x->op;
    changed.state = FM_OP_ABORTING;
    char *doc = dumped(fm_op_json(ctl->c.roster, &changed));
    *t = (struct ctl_taking){.ctl = ctl, .used = true, .op = changed};
    t->op.item = NULL;
    t->op.nitems = 0;
    t->txn = (struct fm_coord_txn){t->compare, 0, t->write, 0};
    t->wait = doc ? fm_page_later(q, left, t) : NULL;
    if (!t->wait) {
        free(doc);
        free_taking(t);
        a->status = 503;
        return;
    }
    (void)add_write(t, x->key, x->revision, doc);
    t->w.done = taken;
    t->w.user = t;
    fm_coord_commit(ctl->coord, &t->w, &t->txn,
                    fm_mono_add_ms(fm_loop_now(ctl->c.loop), 2 * ctl->op_ms));
}

static void list_page(struct fm_controller *ctl, const struct fm_page_request *q,
                      struct fm_page_answer *a)
{
    struct fm_str prefix = FM_STR("?id=");
    if (fm_str_starts(q->query, prefix)) {
        const struct ctl_op *o = find_op(ctl, fm_str(q->query.p + prefix.n, q->query.n - prefix.n));
        if (o)
            answer_json(a, 200, op_doc(ctl, &o->op));
        else
            a->status = 404;
        return;
    }
    json_t *list = json_array();
    for (unsigned i = 0; i < CTL_OPS_MAX; i++)
        if (ctl->op[i].used)
            json_array_append_new(list, op_doc(ctl, &ctl->op[i].op));
    answer_json(a, 200,
                json_pack("{s:s,s:I,s:o}", "schema", "fulmar.ops/1", "generation",
                          (json_int_t)ctl_generation(ctl), "operations", list));
}

void ctl_ops_page(struct fm_controller *ctl, const struct fm_page_request *q,
                  struct fm_page_answer *a)
{
    struct fm_str what = q->path;
    fm_str_cut(fm_str(what.p + 1, what.n - 1), '/', &what); /* behind "/ops/" */
    if (q->method != FM_METHOD_POST) {
        if (what.n == 0)
            list_page(ctl, q, a);
        else
            a->status = 405;
        return;
    }
    struct order o = {.ctl = ctl,
                      .body = json_loadb(q->body.p, q->body.n, JSON_REJECT_DUPLICATES, NULL)};
    unsigned kind = 0;
    while (kind < FM_OP_KIND_COUNT && !fm_str_eqz(what, fm_op_kind_name((enum fm_op_kind)kind)))
        kind++;
    if (!json_is_object(o.body)) {
        refuse(&o.no, 400, "malformed", "send an object of JSON", "the body is none");
        answer_refusal(a, &o.no);
    } else if (fm_str_eqz(what, "quote")) {
        quote_page(&o, a);
    } else if (fm_str_eqz(what, "abort")) {
        abort_page(&o, q, a);
    } else if (kind < FM_OP_KIND_COUNT) {
        order_page(&o, (enum fm_op_kind)kind, q, a);
    } else {
        a->status = 404;
    }
    json_decref(o.body);
}
