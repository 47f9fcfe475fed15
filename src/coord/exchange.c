/* Operations over links, and what their answers mean; see client.h. Invariant: a transaction of
 * which the peer may have seen a byte is never sent again, unless the store itself said that it did
 * not happen. */
#include "coord/client.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>

static struct fm_coord_slot *slot_of(struct fm_http_link *l)
{
    return fm_container_of(l, struct fm_coord_slot, link);
}

void fm_coord_slot_drop(struct fm_coord_slot *s)
{
    FM_ASSERT(s->link.open && (!s->op || s->op->slot == s));
    if (s->op)
        s->op->slot = NULL;
    s->op = NULL;
    fm_http_link_close(&s->link);
}

static struct fm_coord_op *release(struct fm_coord_slot *s)
{
    struct fm_coord_op *op = s->op;
    FM_ASSERT(op && op->slot == s);
    s->op = NULL;
    op->slot = NULL;
    return op;
}

/* -------- good answers -------- */

static void bad_answer(struct fm_coord_slot *s, struct fm_coord_op *op, const char *why)
{
    FM_ASSERT(!s->op && !op->slot && why);
    struct fm_coord *c = s->coord;
    fm_coord_leave(c, s->place, why);
    if (s->link.open)
        fm_http_link_close(&s->link); /* who knows what it says next */
    if (!op->txn) {
        fm_coord_requeue(op); /* another endpoint may know better, until the deadline */
        return;
    }
    fm_error_set(&op->error, FM_ERR_INVALID, "%s: %s", c->place[s->place].text, why);
    fm_coord_complete(op, FM_COORD_UNKNOWN, FM_COORD_WHY_ANSWER);
}

/* Is this what was asked for, in order and each key once? */
static bool fits(const struct fm_coord_op *op, const struct fm_coord_answer *a)
{
    if (!op->all)
        return a->nkv == 0 || (a->nkv == 1 && fm_str_eq(a->kv[0].key, op->key));
    for (size_t i = 0; i < a->nkv; i++)
        if (!fm_str_starts(a->kv[i].key, op->key) ||
            (i > 0 && fm_str_cmp(a->kv[i - 1].key, a->kv[i].key) >= 0))
            return false;
    return true;
}

/* Without consensus it may lag behind what we know, and that is what was asked for. */
static void read_answered(struct fm_coord_slot *s, struct fm_coord_op *op,
                          struct fm_coord_answer *a)
{
    FM_ASSERT(!op->txn && !op->slot && a->revision > 0);
    struct fm_coord *c = s->coord;
    enum fm_coord_sight sight = fm_coord_see(c, s->place, a, op->stale ? 0 : op->floor);
    if (sight == FM_COORD_SIGHT_OTHER) {
        bad_answer(s, op, "it is of another cluster");
        return;
    }
    if (sight == FM_COORD_SIGHT_BACK) {
        op->error = c->trouble_error;
        fm_coord_complete(op, FM_COORD_NOT_DONE, FM_COORD_WHY_WENT_BACK);
        return;
    }
    if (!fits(op, a)) {
        bad_answer(s, op, "a read with other keys than were asked for");
        return;
    }
    fm_coord_praise(c, s->place);
    op->kv = a->kv;
    op->nkv = a->nkv;
    op->revision = a->revision;
    fm_coord_complete(op, FM_COORD_DONE, FM_COORD_WHY_NONE);
}

/* What was there, in the order of the compares; the first entry is the stamp. */
static void compares_failed(struct fm_coord_slot *s, struct fm_coord_op *op,
                            struct fm_coord_answer *a)
{
    FM_ASSERT(op->txn && !a->succeeded);
    struct fm_coord *c = s->coord;
    const struct fm_coord_txn *t = op->txn;
    bool differs = false;
    if (a->nkv != t->ncompare + 1) {
        bad_answer(s, op, "a failed transaction with too few reads");
        return;
    }
    if (a->kv[0].revision != c->stamp_revision) {
        fm_coord_set_trouble(c, FM_COORD_WHY_WENT_BACK,
                             "the stamp of the store has changed: it is another store now");
        op->error = c->trouble_error;
        fm_coord_complete(op, FM_COORD_NOT_DONE, FM_COORD_WHY_WENT_BACK);
        return;
    }
    for (size_t i = 0; i < t->ncompare; i++) {
        struct fm_coord_kv *kv = &a->kv[i + 1];
        if (!kv->key.p)
            kv->key = t->compare[i].key;
        if (!fm_str_eq(kv->key, t->compare[i].key)) {
            bad_answer(s, op, "a failed transaction with reads of other keys");
            return;
        }
        differs |= kv->revision != t->compare[i].revision;
    }
    if (!differs) {
        bad_answer(s, op, "a transaction failed although all that it compared is the same");
        return;
    }
    fm_coord_praise(c, s->place);
    op->kv = a->kv + 1;
    op->nkv = t->ncompare;
    op->revision = a->revision;
    fm_error_set(&op->error, FM_ERR_STATE, "a key has another revision than was compared");
    fm_coord_complete(op, FM_COORD_NOT_DONE, FM_COORD_WHY_COMPARE);
}

static void txn_answered(struct fm_coord_slot *s, struct fm_coord_op *op, struct fm_coord_answer *a)
{
    FM_ASSERT(op->txn && !op->slot && a->revision > 0);
    struct fm_coord *c = s->coord;
    enum fm_coord_sight sight = fm_coord_see(c, s->place, a, op->floor);
    if (sight == FM_COORD_SIGHT_OTHER) {
        bad_answer(s, op, "it is of another cluster");
    } else if (sight == FM_COORD_SIGHT_BACK) {
        op->error = c->trouble_error;
        fm_coord_complete(op, a->succeeded ? FM_COORD_UNKNOWN : FM_COORD_NOT_DONE,
                          FM_COORD_WHY_WENT_BACK);
    } else if (a->succeeded) {
        fm_coord_praise(c, s->place);
        op->revision = a->revision;
        fm_coord_complete(op, FM_COORD_DONE, FM_COORD_WHY_NONE);
    } else {
        compares_failed(s, op, a);
    }
}

/* -------- refusals -------- */

static void refused(struct fm_coord_slot *s, struct fm_coord_op *op,
                    const struct fm_coord_answer *a)
{
    FM_ASSERT(a->code > 0 && !op->slot);
    struct fm_coord *c = s->coord;
    enum fm_coord_verdict verdict = fm_coord_wire_verdict(a->code, a->message);
    fm_error_set(&op->error, FM_ERR_STATE, "%s: %s", c->place[s->place].text, a->message);
    switch (verdict) {
    case FM_COORD_VERDICT_SERVICE:
        fm_coord_complete(op, FM_COORD_NOT_DONE, FM_COORD_WHY_SERVICE);
        return;
    case FM_COORD_VERDICT_REFUSED:
        fm_coord_complete(op, FM_COORD_NOT_DONE, FM_COORD_WHY_REFUSED);
        return;
    case FM_COORD_VERDICT_PERMISSION:
        fm_coord_complete(op, FM_COORD_NOT_DONE, FM_COORD_WHY_PERMISSION);
        return;
    case FM_COORD_VERDICT_LOGIN:
        c->token[0] = 0;
        c->no_login = false;
        break;
    case FM_COORD_VERDICT_ELSEWHERE:
        break;
    case FM_COORD_VERDICT_UNKNOWN:
        if (!op->txn)
            break;
        fm_coord_leave(c, s->place, a->message);
        fm_coord_complete(op, FM_COORD_UNKNOWN, FM_COORD_WHY_UNREACHABLE);
        return;
    }
    fm_coord_leave(c, s->place, a->message);
    fm_coord_requeue(op);
}

/* -------- the link -------- */

static void slot_answered(struct fm_http_link *l, unsigned status, struct fm_str body)
{
    struct fm_coord_slot *s = slot_of(l);
    struct fm_coord *c = s->coord;
    struct fm_coord_op *op = release(s);
    struct fm_coord_answer a;
    const char *why = NULL;
    if (status != 200) {
        fm_coord_wire_read_error(&a, body);
        refused(s, op, &a);
    } else if (!fm_coord_wire_read(&a, op->txn ? FM_COORD_WIRE_TXN : FM_COORD_WIRE_RANGE, body,
                                   c->prefix, &why)) {
        bad_answer(s, op, why);
    } else if (op->txn) {
        txn_answered(s, op, &a);
    } else {
        read_answered(s, op, &a);
    }
    fm_coord_wire_free(&a);
    fm_coord_run(c);
}

static void slot_failed(struct fm_http_link *l, int err, const char *why)
{
    struct fm_coord_slot *s = slot_of(l);
    struct fm_coord *c = s->coord;
    struct fm_coord_op *op = release(s);
    fm_coord_leave(c, s->place, why);
    if (!op->txn || !l->sent) {
        fm_coord_requeue(op);
        return;
    }
    fm_error_set(&op->error, FM_ERR_UNREACHABLE, "%s: %s", c->place[s->place].text, why);
    fm_coord_complete(op, FM_COORD_UNKNOWN,
                      err == -ETIMEDOUT ? FM_COORD_WHY_TIMEOUT : FM_COORD_WHY_UNREACHABLE);
}

static void slot_closed(struct fm_http_link *l)
{
    struct fm_coord_slot *s = slot_of(l);
    FM_ASSERT(!s->op);
    fm_coord_kick(s->coord, 0);
}

static const struct fm_http_link_ops slot_ops = {
    .answered = slot_answered, .failed = slot_failed, .closed = slot_closed};

static bool write_request(struct fm_coord *c, const struct fm_coord_op *op, struct fm_http_ask *p)
{
    FM_ASSERT(!op->txn || c->stamp_revision > 0);
    size_t room = op->txn ? fm_coord_wire_txn_room(c->prefix, op->txn) : FM_COORD_WIRE_READ_ROOM;
    p->body = malloc(room);
    if (!p->body)
        return false;
    struct fm_buf b = fm_buf(p->body, room);
    if (op->txn)
        fm_coord_wire_txn(&b, c->prefix, op->txn, c->stamp_revision);
    else
        fm_coord_wire_range(&b, c->prefix, op->key, op->all, op->stale);
    FM_ASSERT(!b.full);
    p->body_n = b.n;
    p->target = op->txn ? "/v3/kv/txn" : "/v3/kv/range";
    return true;
}

/* False where no more can be sent now. */
static bool send_op(struct fm_coord *c, struct fm_coord_slot *s, struct fm_coord_op *op)
{
    FM_ASSERT(c->checked && !s->op && c->place[c->at].known);
    struct fm_mono now = fm_loop_now(c->loop);
    struct fm_error e = {0};
    struct fm_http_ask p = fm_coord_ask_of(c, c->at);
    p.connect = fm_mono_min(fm_mono_add_ms(now, c->config.connect_ms), op->deadline);
    /* a transaction is ended by its own timer, which is first */
    p.deadline = fm_mono_add_ms(op->deadline, 1000);
    if (!op->txn)
        p.deadline = fm_mono_min(fm_mono_add_ms(now, c->config.attempt_ms), op->deadline);
    op->floor = c->revision;
    s->place = c->at;
    bool reused = s->link.open;
    if (!write_request(c, op, &p)) {
        fm_coord_kick(c, 100);
        return false;
    }
    if (fm_http_link_ask(&s->link, c->loop, &slot_ops, &p, &e)) {
        if (!reused)
            fm_coord_leave(c, c->at, e.msg);
        return reused; /* it went while idle; another slot, or this one when it is closed */
    }
    fm_list_remove(&op->node);
    s->op = op;
    op->slot = s;
    return true;
}

void fm_coord_dispatch(struct fm_coord *c)
{
    FM_ASSERT(c->checked && !c->closing && !c->trouble);
    for (size_t i = 0; i < FM_COORD_SLOTS; i++) {
        struct fm_coord_slot *s = &c->slot[i];
        struct fm_coord_op *op = fm_list_first(&c->queue, struct fm_coord_op, node);
        if (!op)
            return;
        if (s->op || (s->link.open && !s->link.ready))
            continue;
        if (s->link.open && s->place != c->at) {
            fm_http_link_close(&s->link); /* of an endpoint that we left */
            continue;
        }
        if (!send_op(c, s, op))
            return;
    }
}
