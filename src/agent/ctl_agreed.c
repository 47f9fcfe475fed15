/* What hosts agree upon, in coordination: the record `config` is founded from the file of the first
 * controller, told to this host when it is newer, written back where coordination shows less than
 * it had shown, and replaced by an order (`fulmar config apply`). Which of these is core's to say
 * (core/agreed.h). Every write compares the revision that was seen, so that of two orders at once
 * one is done. */
#include "agent/ctl_order.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { AGAIN_MS = 500, WHY_ROOM = 240 };

/* -------- what coordination has -------- */

void ctl_agreed_seen(struct fm_controller *ctl, const struct fm_coord_kv *kv)
{
    struct ctl_agreed *x = &ctl->agreed;
    struct fm_agreed a;
    const char *why;
    x->there = true;
    if (kv->revision <= x->revision)
        return;
    x->unreadable = !fm_agreed_read(kv->value, &a, &why);
    if (x->unreadable) {
        fm_log(FM_LOG_ERROR, "agreed_unreadable", FM_KZ("why", why),
               FM_KZ("meaning", "this agent goes on with the version before"));
        return;
    }
    fm_agreed_free(&x->seen);
    x->seen = a;
    x->revision = kv->revision;
    ctl_touch_all(ctl);
}

void ctl_agreed_fresh(struct fm_controller *ctl, bool begins)
{
    struct ctl_agreed *x = &ctl->agreed;
    if (begins) { /* of another store, perhaps: its revisions begin anew */
        x->there = x->unreadable = false;
        x->revision = 0;
        return;
    }
    if (!x->there)
        fm_agreed_free(&x->seen);
    ctl_touch_all(ctl);
}

void ctl_agreed_took(struct fm_controller *ctl, const struct fm_agreed *a, uint64_t revision)
{
    struct ctl_agreed *x = &ctl->agreed;
    struct fm_agreed news;
    if (revision <= x->revision || !fm_agreed_copy(&news, a))
        return; /* the watch tells of it */
    fm_agreed_free(&x->seen);
    x->seen = news;
    x->revision = revision;
    ctl_touch_all(ctl);
}

/* -------- writing without an order -------- */

static void written(struct fm_coord_op *op)
{
    struct ctl_agreed *x = op->user;
    struct fm_controller *ctl = x->ctl;
    FM_ASSERT(x->writing && op->outcome != FM_COORD_PENDING);
    x->writing = false;
    free(x->value);
    x->value = NULL;
    x->next_at = fm_mono_add_ms(fm_mono_now(), AGAIN_MS); /* where it was done the watch tells */
    if (!ctl->stopped)
        ctl_arm(ctl, x->next_at);
}

static void write_down(struct fm_controller *ctl, const struct fm_agreed *a)
{
    struct ctl_agreed *x = &ctl->agreed;
    json_t *j = fm_agreed_json(a, true);
    x->value = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(j);
    if (!x->value)
        return;
    x->ctl = ctl;
    x->writing = true;
    x->compare = (struct fm_coord_compare){FM_STR(FM_AGREED_KEY), x->revision};
    x->write = (struct fm_coord_write){.key = FM_STR(FM_AGREED_KEY), .value = fm_str_z(x->value)};
    x->txn = (struct fm_coord_txn){&x->compare, 1, &x->write, 1};
    x->w = (struct fm_coord_op){.done = written, .user = x};
    fm_coord_commit(ctl->coord, &x->w, &x->txn,
                    fm_mono_add_ms(fm_loop_now(ctl->c.loop), 2 * ctl->op_ms));
}

static void found(struct fm_controller *ctl)
{
    struct fm_agreed a;
    const char *text = fm_agreement_file_text(ctl->c.agreement);
    const char *host = fm_roster_host_name(ctl->c.roster, ctl->c.self);
    if (!text[0])
        return;
    if (fm_agreed_make(&a, 1, text)) {
        snprintf(a.by, sizeof a.by, "%s", host);
        snprintf(a.reason, sizeof a.reason, "the file of the first controller");
        fm_wall_format(a.at, fm_wall_now_ns());
        write_down(ctl, &a);
    }
    fm_agreed_free(&a);
}

/* Who has to promise is stored with each cell, and follows what is agreed: its keeper writes it. */
static void align_members(struct fm_controller *ctl)
{
    if (!fm_agreement_is_used(ctl->c.agreement))
        return;
    for (unsigned i = 0; i < ctl->ncontexts; i++) {
        struct ctl_context *c = ctl->context[i];
        uint64_t held = c && c->conf >= 0 ? fm_authority_holds(&c->auth) : 0;
        bool differs = false;
        for (unsigned k = 0; held && k < c->auth.cfg.ncells; k++)
            differs |=
                held >> k & 1 && !fm_members_same(&c->auth.cell[k].at.r.members, &ctl->members);
        bool wanted = differs && c->auth.k.members_wanted &&
                      fm_members_same(&c->auth.k.members, &ctl->members);
        if (differs && !wanted)
            ctl_step(c, &(struct fm_auth_event){.kind = FM_AUTH_MEMBERS, .members = ctl->members});
    }
}

static enum fm_agreed_step take_newer(struct fm_controller *ctl)
{
    const struct fm_agreed *known = fm_agreement_known(ctl->c.agreement);
    enum fm_agreed_step step = fm_agreed_next(&known->mark, &ctl->agreed.seen.mark, ctl->able);
    if (step != FM_AGREED_TAKE)
        return step;
    const struct fm_agreed *news = &ctl->agreed.seen;
    struct ctl_event *e = ctl_event(ctl, "config", NULL);
    e->text = "hosts agree upon another version";
    snprintf(e->evidence, sizeof e->evidence, "generation %llu, by %s: %s",
             (unsigned long long)news->mark.generation, news->by, news->reason);
    fm_agreement_take(ctl->c.agreement, news);
    return step;
}

void ctl_agreed_turn(struct fm_controller *ctl)
{
    struct ctl_agreed *x = &ctl->agreed;
    const struct fm_agreed *known = fm_agreement_known(ctl->c.agreement);
    if (ctl->revision == 0 || x->unreadable || ctl->stopped)
        return;
    align_members(ctl);
    enum fm_agreed_step step = take_newer(ctl);
    if (step == FM_AGREED_TAKE || step == FM_AGREED_KEEP || x->writing || !ctl->coord ||
        ctl->closing)
        return;
    if (fm_mono_before(fm_mono_now(), x->next_at)) {
        ctl_arm(ctl, x->next_at);
        return;
    }
    x->next_at = fm_mono_add_ms(fm_mono_now(), AGAIN_MS);
    ctl_arm(ctl, x->next_at);
    if (step == FM_AGREED_FOUND) {
        found(ctl);
        return;
    }
    FM_ASSERT(step == FM_AGREED_GIVE);
    fm_log(FM_LOG_ERROR, "agreed_went_back", FM_KU("generation", x->seen.mark.generation),
           FM_KU("known", known->mark.generation),
           FM_KZ("meaning", "coordination shows an older version than this agent knows; it is "
                            "written there again"));
    write_down(ctl, known);
}

void ctl_agreed_free(struct fm_controller *ctl)
{
    fm_agreed_free(&ctl->agreed.seen);
    free(ctl->agreed.value);
}

/* -------- an order -------- */

static bool is_held(const struct fm_cell_at *at)
{
    return at->revision.n && at->r.state == FM_CELL_HELD;
}

static void look_at_items(const struct fm_controller *ctl, const struct fm_op *o,
                          struct fm_agreed_op *x)
{
    x->there = x->open = true;
    for (unsigned i = 0; i < o->nitems; i++) {
        const struct fm_op_item *item = &o->item[i];
        const struct ctl_context *c = ctl->context[item->context];
        if (fm_op_is_over((enum fm_op_state)item->state))
            continue;
        const struct fm_cell_at *at = c && c->conf >= 0 ? &c->auth.cell[item->cell].at : NULL;
        x->there &= at && is_held(at) && at->r.region == item->to;
        x->open &= at && ctl_opening(c, item->to) == FM_OPENING_OPEN;
    }
}

static void look_at_failover(const struct fm_controller *ctl, const struct fm_op *o,
                             struct fm_agreed_op *x)
{
    const struct ctl_context *c = o->context < 0 ? NULL : ctl->context[o->context];
    if (!c || c->conf < 0 || !c->set || o->to < 0)
        return;
    x->there = true;
    x->open = ctl_opening(c, (unsigned)o->to) == FM_OPENING_OPEN;
    for (unsigned i = 0; i < c->set->n; i++) {
        const struct ctl_context *m = ctl->context[c->set->member[i]];
        for (unsigned k = 0; k < m->auth.cfg.ncells; k++) {
            const struct fm_cell_at *at = &m->auth.cell[k].at;
            x->there &= is_held(at) && (at->r.region != o->region || o->region == o->to);
        }
    }
}

static bool has_context(const struct fm_controller *ctl, const struct fm_conf *conf,
                        unsigned number)
{
    return fm_conf_find_context(conf, fm_str_z(ctl->c.roster->context[number].name)) >= 0;
}

/* Does that configuration, where it is one, still have what the operation is about? */
static bool is_known(const struct fm_controller *ctl, const struct fm_op *o,
                     const struct fm_conf *conf)
{
    bool known = !conf || o->context < 0 || has_context(ctl, conf, (unsigned)o->context);
    for (unsigned i = 0; conf && i < o->nitems; i++)
        known &= has_context(ctl, conf, o->item[i].context);
    return known;
}

static bool is_in_the_way(const struct fm_controller *ctl, const struct fm_op *o,
                          const struct fm_conf *conf)
{
    struct fm_agreed_op x = {.known = is_known(ctl, o, conf)};
    bool items = o->kind == FM_OP_MOVE || o->kind == FM_OP_EVACUATE;
    x.brings = items || o->kind == FM_OP_FAILOVER;
    if (items)
        look_at_items(ctl, o, &x);
    else if (x.brings)
        look_at_failover(ctl, o, &x);
    return fm_agreed_is_in_the_way(&x);
}

/* `conf`: what is to be applied; NULL: it is none. */
static bool is_busy(const struct fm_controller *ctl, const struct fm_conf *conf, char *what,
                    size_t cap)
{
    for (unsigned i = 0; i < CTL_OPS_MAX; i++) {
        const struct ctl_op *x = &ctl->op[i];
        if (!x->used || fm_op_is_over((enum fm_op_state)x->op.state) ||
            !is_in_the_way(ctl, &x->op, conf))
            continue;
        snprintf(what, cap, "operation %s is under way", x->op.id);
        return true;
    }
    for (unsigned i = 0; i < ctl->ncontexts; i++) {
        const struct ctl_context *c = ctl->context[i];
        for (unsigned k = 0; c && c->conf >= 0 && k < c->auth.cfg.ncells; k++) {
            const struct fm_cell_at *at = &c->auth.cell[k].at;
            if (at->revision.n == 0 || at->r.state != FM_CELL_RELEASED)
                continue;
            snprintf(what, cap, "cell %u of %s is on its way", k, ctl->c.roster->context[i].name);
            return true;
        }
    }
    return false;
}

static uint16_t holders(const struct fm_controller *ctl)
{
    uint16_t bits = 0;
    for (unsigned i = 0; i < ctl->ncontexts; i++) {
        const struct ctl_context *c = ctl->context[i];
        for (unsigned k = 0; c && c->conf >= 0 && k < c->auth.cfg.ncells; k++)
            if (c->auth.cell[k].at.revision.n)
                bits = (uint16_t)(bits | 1u << c->auth.cell[k].at.r.region);
    }
    return bits;
}

static uint16_t serving(const struct fm_controller *ctl, const struct fm_conf *conf)
{
    uint16_t bits = 0;
    for (size_t i = 0; i < conf->nhosts; i++) {
        const struct fm_conf_host *h = &conf->hosts[i];
        int region = fm_roster_region(ctl->c.roster, conf->regions[h->region].name);
        if (region >= 0 && h->roles & FM_ROLE_CONTROLLER && !conf->regions[h->region].witness)
            bits = (uint16_t)(bits | 1u << region);
    }
    return bits;
}

static void refuse(struct ctl_order *o, enum fm_agreed_why why, const char *evidence,
                   const struct fm_agreed_ask *ask)
{
    const struct fm_controller *ctl = o->ctl;
    const struct fm_agreed *known = fm_agreement_known(ctl->c.agreement);
    unsigned status = why == FM_AGREED_WHY_UNSEEN ? 503 : 409, region = 0;
    const char *name = fm_agreed_why_name(why), *remedy = fm_agreed_why_remedy(why);
    while (why == FM_AGREED_WHY_REGION_HOLDS && !((ask->holders & ~ask->serving) >> region & 1))
        region++;
    if (why == FM_AGREED_WHY_REGION_HOLDS)
        ctl_refuse(&o->no, status, name, remedy,
                   "%s holds cells, and would have nobody who may hold them",
                   ctl->c.roster->region[region]);
    else if (why == FM_AGREED_WHY_OVERTAKEN)
        ctl_refuse(&o->no, status, name, remedy, "generation %llu is agreed, by %s: %s",
                   (unsigned long long)known->mark.generation, known->by, known->reason);
    else if (why == FM_AGREED_WHY_UNSEEN)
        ctl_refuse(&o->no, status, name, remedy,
                   "this agent has not seen what coordination has now%s%s",
                   ctl->trouble[0] ? ": " : "", ctl->trouble);
    else
        ctl_refuse(&o->no, status, name, remedy, "%s", evidence);
}

/* In place of the version of that generation. */
static void propose(struct ctl_order *o, const char *text, uint64_t expected)
{
    struct fm_controller *ctl = o->ctl;
    struct fm_agreement *g = ctl->c.agreement;
    const struct fm_agreed *known = fm_agreement_known(g);
    char busy[WHY_ROOM] = "", why[WHY_ROOM] = "";
    struct fm_conf *conf = fm_agreement_try(g, text, why, sizeof why);
    struct fm_agreed_ask ask = {.expected = expected,
                                .busy = is_busy(ctl, conf, busy, sizeof busy),
                                .valid = conf != NULL,
                                .holders = holders(ctl),
                                .serving = conf ? serving(ctl, conf) : 0};
    enum fm_agreed_why no = fm_agreed_may_apply(&known->mark, &ctl->agreed.seen.mark, &ask);
    fm_conf_free(conf);
    if (no != FM_AGREED_WHY_NONE)
        refuse(o, no, no == FM_AGREED_WHY_BUSY ? busy : why, &ask);
    else if (!fm_agreed_make(&o->agreed, known->mark.generation + 1, text))
        ctl_refuse(&o->no, 503, "memory", "try again", "out of memory");
    if (o->no.status)
        return;
    snprintf(o->agreed.by, sizeof o->agreed.by, "%s", o->op.by);
    snprintf(o->agreed.reason, sizeof o->agreed.reason, "%s", o->op.reason);
    snprintf(o->agreed.at, sizeof o->agreed.at, "%s", o->op.at);
    snprintf(o->agreed.op, sizeof o->agreed.op, "%s", o->op.id);
    o->nothing = strcmp(o->agreed.mark.digest, known->mark.digest) == 0;
}

void ctl_plan_config(struct ctl_order *o)
{
    json_t *expected = json_object_get(o->body, "expect_revision");
    char *text = fm_agreed_text(json_object_get(o->body, "shared"));
    (void)take_newer(o->ctl); /* in this turn it may have been seen, and not been told */
    if (!text || !json_is_integer(expected) || json_integer_value(expected) < 1)
        ctl_refuse(&o->no, 400, "malformed",
                   "say `shared`, and the generation that it replaces in `expect_revision`",
                   "`shared` is no object, or too large; or `expect_revision` is no number");
    else
        propose(o, text, (uint64_t)json_integer_value(expected));
    free(text);
    if (o->no.status)
        return;
    if (o->nothing)
        snprintf(o->op.text, sizeof o->op.text, "that is what is agreed already");
    else
        snprintf(o->op.text, sizeof o->op.text, "generation %llu of the configuration, %.12s",
                 (unsigned long long)o->agreed.mark.generation, o->agreed.mark.digest);
}

void ctl_agreed_plan_node(struct ctl_order *o, const char *group, const char *name, json_t *node)
{
    (void)take_newer(o->ctl);
    const struct fm_agreed *known = fm_agreement_known(o->ctl->c.agreement);
    json_t *shared = known->text ? json_loads(known->text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    json_t *nodes =
        json_object_get(json_object_get(json_object_get(shared, "groups"), group), "nodes");
    bool good = nodes && (node ? json_object_set(nodes, name, node) == 0
                               : json_object_del(nodes, name) == 0);
    char *text = good ? fm_agreed_text(shared) : NULL;
    if (text)
        propose(o, text, known->mark.generation);
    else
        ctl_refuse(&o->no, 503, "not-agreed", "try again when coordination answers",
                   "the group %s is not agreed upon yet, or there is no memory", group);
    free(text);
    json_decref(shared);
    json_decref(node);
}
