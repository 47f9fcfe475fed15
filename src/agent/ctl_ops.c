/* What people order: the pages below /ops. An order is checked against the rules with what this
 * agent knows; refused with the rule, the evidence and what would make it pass; or written down,
 * after which it survives this agent. Nothing is carried out here. */
#include "agent/ctl_order.h"

#include "agent/homeward.h"
#include "base/assert.h"
#include "base/log.h"
#include "http/protocol.h"

#include <stdio.h>
#include <stdlib.h>

enum { QUOTE_MS = 60 * 1000, PRUNED_AT_ONCE = 3, TRIES_MAX = 20, AGAIN_MS = 20 };

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
    if (fm_str_starts(kind, FM_STR("intent"))) {
        ctl_intents_seen(ctl, key, kv);
    } else if (fm_str_eqz(key, FM_AGREED_KEY) && kv) {
        ctl_agreed_seen(ctl, kv);
    } else if (fm_str_eqz(kind, "policy") && kv) {
        policy_seen(ctl, rest, kv);
    } else if (fm_str_eqz(kind, "standby") && kv) {
        ctl_standby_seen(ctl, rest, kv);
    } else if (fm_str_eqz(kind, "external") && kv) {
        ctl_external_seen(ctl, rest, kv);
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
    if (begins)
        ctl_standby_fresh(ctl);
    ctl_external_fresh(ctl, begins);
    ctl_intents_fresh(ctl, begins);
    ctl_agreed_fresh(ctl, begins);
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
        fm_agreed_free(&ctl->taking[i].agreed);
    }
    ctl_intents_free(ctl);
    ctl_agreed_free(ctl);
    ctl_home_free(ctl);
}

uint64_t ctl_generation(const struct fm_controller *ctl)
{
    uint64_t newest = 0;
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        if (ctl->context[i] && ctl->context[i]->conf >= 0)
            newest = fm_max_u64(newest, ctl_generation_of(ctl->context[i]));
    return fm_max_u64(newest, ctl_intents_generation(ctl));
}

/* -------- answers -------- */

void ctl_answer(struct fm_page_answer *a, unsigned status, json_t *doc)
{
    a->status = status;
    a->content_type = "application/json";
    a->body = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    a->n = a->body ? strlen(a->body) : 0;
    json_decref(doc);
    if (!a->body)
        a->status = 503;
}

void ctl_answer_refusal(struct fm_page_answer *a, const struct ctl_refusal *r)
{
    ctl_answer(a, r->status,
               json_pack("{s:s,s:s,s:s,s:s}", "schema", "fulmar.refusal/1", "rule", r->rule,
                         "evidence", r->evidence, "remedy", r->remedy));
}

/* The operation as a document for people. */
json_t *ctl_op_doc(const struct fm_controller *ctl, const struct fm_op *o)
{
    json_t *j = fm_op_json(ctl->c.roster, o);
    json_t *doc = json_pack("{s:s,s:s,s:I}", "schema", "fulmar.op/1", "id", o->id, "generation",
                            (json_int_t)ctl_generation(ctl));
    if (j && doc)
        (void)json_object_update(doc, j);
    json_decref(j);
    const char *remedy = o->kind == FM_OP_FAILBACK ? fm_homeward_remedy(o->rule) : NULL;
    if (doc && remedy)
        json_object_set_new(doc, "remedy", json_string(remedy));
    return doc;
}

/* -------- writing it down -------- */

static void free_taking(struct ctl_taking *t)
{
    fm_op_free(&t->op);
    fm_agreed_free(&t->agreed);
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

static void finish(struct ctl_taking *t, struct fm_page_answer *a)
{
    if (t->wait)
        fm_page_answer(t->wait, a);
    else
        free(a->body);
    free_taking(t);
}

/* It counts from now on, and not only when the watch has told of it: the next order may come
 * before. */
static void take_in(struct ctl_taking *t, uint64_t revision)
{
    struct fm_controller *ctl = t->ctl;
    struct ctl_op *o = t->abort ? NULL : place_for(ctl, fm_str_z(t->op.id));
    if (t->intended.is)
        ctl_intents_took(ctl, &t->intended, revision);
    if (t->agreed.mark.generation)
        ctl_agreed_took(ctl, &t->agreed, revision);
    if (!o || o->revision >= revision)
        return;
    o->op = t->op;
    o->revision = revision;
    t->op.item = NULL;
    t->op.nitems = 0;
    ctl_touch_all(ctl);
}

static void taken(struct fm_coord_op *w)
{
    struct ctl_taking *t = w->user;
    struct fm_controller *ctl = t->ctl;
    struct fm_page_answer a = FM_PAGE_ANSWER;
    if (t->abort && w->why == FM_COORD_WHY_COMPARE && t->tries++ < TRIES_MAX) {
        t->again = true; /* the watch shows what it is now */
        ctl_arm(ctl, fm_mono_add_ms(fm_mono_now(), AGAIN_MS));
        return;
    }
    bool over = fm_op_is_over((enum fm_op_state)t->op.state);
    if (w->outcome == FM_COORD_DONE) {
        fm_log(FM_LOG_WARN, "operation_taken", FM_KZ("id", t->op.id),
               FM_KZ("kind", fm_op_kind_name((enum fm_op_kind)t->op.kind)), FM_KZ("by", t->op.by),
               FM_KZ("reason", t->op.reason));
        ctl_answer(&a, over ? 200 : 202, ctl_op_doc(ctl, &t->op));
        if (!ctl->stopped)
            take_in(t, w->revision);
    } else {
        struct ctl_refusal r = {.status = 0};
        bool unknown = w->outcome == FM_COORD_UNKNOWN;
        if (!unknown && w->why == FM_COORD_WHY_COMPARE)
            ctl_refuse(&r, 409, "generation", "look at the present state, and order again",
                       "somebody else was quicker: it has changed since this agent saw it");
        else
            ctl_refuse(&r, 503, unknown ? "outcome-unknown" : "no-quorum",
                       unknown ? "look for the operation before ordering it again" : "try again",
                       "%s: %s", t->op.id, w->error.msg);
        ctl_answer_refusal(&a, &r);
    }
    finish(t, &a);
}

static void add_write(struct ctl_taking *t, const char *key, uint64_t revision, char *value)
{
    size_t i = t->txn.nwrite;
    FM_ASSERT(i < FM_COUNT(t->write));
    snprintf(t->key[i], sizeof t->key[i], "%s", key);
    t->value[i] = value;
    t->compare[i] = (struct fm_coord_compare){fm_str_z(t->key[i]), revision};
    t->write[i] = (struct fm_coord_write){
        .key = fm_str_z(t->key[i]), .value = fm_str_z(value), .erase = value == NULL};
    t->txn.ncompare = t->txn.nwrite = i + 1;
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
        add_write(t, oldest->key, oldest->revision, NULL);
    }
}

static char *dumped(json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    return text;
}

static struct ctl_taking *begin_taking(struct ctl_order *o)
{
    struct fm_controller *ctl = o->ctl;
    struct ctl_taking *t = NULL;
    for (unsigned i = 0; i < CTL_TAKINGS_MAX && !t; i++)
        if (!ctl->taking[i].used)
            t = &ctl->taking[i];
    bool policy = o->op.kind == FM_OP_READ_ONLY || o->op.kind == FM_OP_AUTOMATIC;
    char *doc = dumped(fm_op_json(ctl->c.roster, &o->op));
    char *policy_doc = policy ? dumped(fm_op_policy_json(&o->policy)) : NULL;
    bool config = o->agreed.mark.generation > 0;
    char *config_doc = config ? dumped(fm_agreed_json(&o->agreed, true)) : NULL;
    bool intended = o->intended.is;
    char *intent_doc = intended ? dumped(fm_intent_json(&o->intended.i)) : NULL;
    char *serial_doc =
        intended ? dumped(fm_protocol_stamp(json_pack("{s:s}", "op", o->op.id))) : NULL;
    if (!t || !doc || (policy && !policy_doc) || (config && !config_doc) ||
        (intended && (!intent_doc || !serial_doc)) || !ctl->coord || ctl->closing) {
        free(doc);
        free(policy_doc);
        free(config_doc);
        free(intent_doc);
        free(serial_doc);
        return NULL;
    }
    *t = (struct ctl_taking){
        .ctl = ctl, .used = true, .op = o->op, .intended = o->intended, .agreed = o->agreed};
    o->op.item = NULL; /* they are its own now */
    o->agreed = (struct fm_agreed){.text = NULL};
    t->txn = (struct fm_coord_txn){t->compare, 0, t->write, 0};
    char key[FM_INTENT_KEY_ROOM];
    snprintf(key, sizeof key, "op/%s", t->op.id);
    add_write(t, key, 0, doc);
    if (policy) {
        snprintf(key, sizeof key, "policy/%s", ctl->c.roster->context[o->c->number].name);
        add_write(t, key, o->c->policy.revision, policy_doc);
    }
    if (config)
        add_write(t, FM_AGREED_KEY, ctl->agreed.revision, config_doc);
    if (intended) {
        fm_intent_key_write(&o->intended.at, key);
        add_write(t, key, o->intended.revision, intent_doc);
        add_write(t, "intents", o->intended.serial, serial_doc);
        if (o->intended.erase[0])
            add_write(t, o->intended.erase, o->intended.erase_revision, NULL);
    }
    prune(ctl, t);
    return t;
}

static void take(struct ctl_order *o, const struct fm_page_request *q, struct fm_page_answer *a)
{
    struct fm_controller *ctl = o->ctl;
    struct ctl_taking *t = begin_taking(o);
    if (!t) {
        ctl_refuse(&o->no, 503, "no-quorum", "try again", "coordination cannot be asked now");
        ctl_answer_refusal(a, &o->no);
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

static void order_page(struct ctl_order *o, enum fm_op_kind kind, const struct fm_page_request *q,
                       struct fm_page_answer *a)
{
    o->op.item = calloc(FM_OP_ITEMS_MAX, sizeof *o->op.item);
    if (!o->op.item)
        ctl_refuse(&o->no, 503, "memory", "try again", "out of memory");
    if (!o->no.status)
        ctl_plan(o, kind, q->peer);
    bool intent = kind == FM_OP_DRAIN || kind == FM_OP_UNDRAIN;
    bool written =
        kind == FM_OP_READ_ONLY || kind == FM_OP_AUTOMATIC || kind == FM_OP_CONFIG || intent;
    bool moves = kind == FM_OP_MOVE || kind == FM_OP_EVACUATE;
    bool nothing = (moves && o->op.nitems == 0) || o->nothing;
    if (o->no.status == 0 && (nothing || (written && (!o->dry || o->intended.is_so))))
        o->op.state = FM_OP_DONE;
    if (o->no.status == 0 && nothing && moves)
        snprintf(o->op.text, sizeof o->op.text, "nothing has to be moved");
    if (o->no.status)
        ctl_answer_refusal(a, &o->no);
    else if (o->dry && !nothing && kind == FM_OP_FAILBACK)
        ctl_home_dry(o, q, a);
    else if (o->dry || nothing)
        ctl_answer(a, 200, ctl_op_doc(o->ctl, &o->op));
    else
        take(o, q, a);
    fm_agreed_free(&o->agreed);
    fm_op_free(&o->op);
}

static json_t *votes_doc(const struct fm_failover_evidence *ev, const char *unready)
{
    return json_pack("{s:i,s:i,s:i,s:i,s:b,s:b,s:s?,s:b,s:i}", "observers", ev->observers,
                     "lost_by", ev->lost_by, "healthy_by", ev->healthy_by, "domains", ev->domains,
                     "quorum", (int)ev->quorum, "ready", (int)ev->ready, "ready_why",
                     ev->ready ? NULL : unready, "fenced", (int)ev->fenced, "automatic_left",
                     ev->budget_left);
}

static void quote_page(struct ctl_order *o, struct fm_page_answer *a)
{
    struct fm_controller *ctl = o->ctl;
    if (!ctl_plan_failover(o)) {
        ctl_answer_refusal(a, &o->no);
        return;
    }
    struct fm_failover_evidence ev =
        ctl_evidence(ctl, o->c->set, (unsigned)o->op.region, (unsigned)o->to);
    struct ctl_quote *q = &ctl->quote[ctl->nquotes++ % CTL_QUOTES_MAX];
    *q = (struct ctl_quote){.context = o->c->number,
                            .to = (unsigned)o->to,
                            .loss = ev.loss,
                            .unbounded = ev.unbounded,
                            .until = fm_mono_add_ms(fm_mono_now(), QUOTE_MS)};
    fm_op_new_id(q->id, fm_wall_now_ns(), fm_rand_u64(&ctl->rand));
    const char *unready =
        ctl_quote_unready(ctl, o->c->set, (unsigned)o->op.region, (unsigned)o->to);
    enum fm_auth_why why = FM_AUTH_WHY_NONE;
    bool judges = o->to == (int)ctl->region; /* the others have not seen what it has */
    for (unsigned i = 0; i < o->c->auth.cfg.ncells && why == FM_AUTH_WHY_NONE && judges; i++)
        if (o->c->auth.cell[i].at.r.region == o->op.region)
            why = fm_authority_may_acquire(&o->c->auth, i, fm_mono_now());
    json_t *doc = json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:b,s:i,s:I,s:s?,s:o}", "schema", "fulmar.quote/1", "quote", q->id,
        "context", ctl->c.roster->context[o->c->number].name, "from",
        ctl->c.roster->region[o->op.region], "to", ctl->c.roster->region[o->to], "unbounded",
        (int)q->unbounded, "valid_for_ms", QUOTE_MS, "generation", (json_int_t)ctl_generation(ctl),
        "waits_for", why ? fm_auth_why_text(why) : NULL, "evidence", votes_doc(&ev, unready));
    json_t *cost = ctl_quote_json(ctl, o->c->set, (unsigned)o->op.region, (unsigned)o->to);
    if (doc && cost)
        (void)json_object_update(doc, cost);
    json_decref(cost);
    ctl_answer(a, 200, doc);
}

/* Whoever carries it out ends it. */
static bool send_abort(struct ctl_taking *t, const struct ctl_op *x)
{
    struct fm_controller *ctl = t->ctl;
    struct fm_op changed = x->op;
    changed.state = FM_OP_ABORTING;
    char *doc = dumped(fm_op_json(ctl->c.roster, &changed));
    if (!doc || !ctl->coord || ctl->closing) {
        free(doc);
        return false;
    }
    t->op = changed;
    t->op.item = NULL;
    t->op.nitems = 0;
    free(t->value[0]);
    t->txn = (struct fm_coord_txn){t->compare, 0, t->write, 0};
    add_write(t, x->key, x->revision, doc);
    t->w.done = taken;
    t->w.user = t;
    fm_coord_commit(ctl->coord, &t->w, &t->txn,
                    fm_mono_add_ms(fm_loop_now(ctl->c.loop), 2 * ctl->op_ms));
    return true;
}

static bool may_abort(struct ctl_order *o, const struct ctl_op *x, const char *id)
{
    if (!x)
        ctl_refuse(&o->no, 404, "unknown-operation", "see /ops", "there is no operation `%s`",
                   id ? id : "");
    else if (fm_op_is_over((enum fm_op_state)x->op.state))
        ctl_refuse(&o->no, 409, "over", "nothing has to be done", "it is %s",
                   fm_op_state_name((enum fm_op_state)x->op.state));
    return !o->no.status;
}

void ctl_ops_turn(struct fm_controller *ctl)
{
    ctl_home_turn(ctl);
    for (unsigned i = 0; i < CTL_TAKINGS_MAX; i++) {
        struct ctl_taking *t = &ctl->taking[i];
        if (!t->used || !t->again)
            continue;
        struct ctl_order o = {.ctl = ctl};
        struct fm_page_answer a = FM_PAGE_ANSWER;
        const struct ctl_op *x = find_op(ctl, fm_str_z(t->op.id));
        t->again = false;
        if (may_abort(&o, x, t->op.id) && send_abort(t, x))
            continue;
        if (!o.no.status)
            ctl_refuse(&o.no, 503, "no-quorum", "try again", "coordination cannot be asked now");
        ctl_answer_refusal(&a, &o.no);
        finish(t, &a);
    }
}

static void abort_page(struct ctl_order *o, const struct fm_page_request *q,
                       struct fm_page_answer *a)
{
    struct fm_controller *ctl = o->ctl;
    const char *id = ctl_order_text(o, "id");
    struct ctl_op *x = id ? find_op(ctl, fm_str_z(id)) : NULL;
    struct ctl_taking *t = NULL;
    if (!may_abort(o, x, id)) {
        ctl_answer_refusal(a, &o->no);
        return;
    }
    for (unsigned i = 0; i < CTL_TAKINGS_MAX && !t; i++)
        if (!ctl->taking[i].used)
            t = &ctl->taking[i];
    if (t) {
        *t = (struct ctl_taking){.ctl = ctl, .used = true, .abort = true};
        t->wait = fm_page_later(q, left, t);
    }
    if (!t || !t->wait) {
        if (t)
            free_taking(t);
        a->status = 503;
        return;
    }
    snprintf(t->op.id, sizeof t->op.id, "%s", x->op.id);
    t->again = true; /* sent at the end of this turn */
    ctl_touch_all(ctl);
}

static void list_page(struct fm_controller *ctl, const struct fm_page_request *q,
                      struct fm_page_answer *a)
{
    struct fm_str prefix = FM_STR("?id=");
    if (fm_str_starts(q->query, prefix)) {
        const struct ctl_op *o = find_op(ctl, fm_str(q->query.p + prefix.n, q->query.n - prefix.n));
        if (o)
            ctl_answer(a, 200, ctl_op_doc(ctl, &o->op));
        else
            a->status = 404;
        return;
    }
    json_t *list = json_array();
    for (unsigned i = 0; i < CTL_OPS_MAX; i++)
        if (ctl->op[i].used)
            json_array_append_new(list, ctl_op_doc(ctl, &ctl->op[i].op));
    ctl_answer(a, 200,
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
    struct ctl_order o = {.ctl = ctl,
                          .body = json_loadb(q->body.p, q->body.n, JSON_REJECT_DUPLICATES, NULL)};
    unsigned kind = 0;
    while (kind < FM_OP_KIND_COUNT && !fm_str_eqz(what, fm_op_kind_name((enum fm_op_kind)kind)))
        kind++;
    if (!json_is_object(o.body)) {
        ctl_refuse(&o.no, 400, "malformed", "send an object of JSON", "the body is none");
        ctl_answer_refusal(a, &o.no);
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
