/* Coordination as the controller sees it: one watch of everything, which is told to core as what
 * was seen; linearizable reads and transactions as core orders them.
 *
 * Invariants: every read and every transaction that core ordered is told to it exactly once, never
 * from inside the order; a part of a read begins after it was ordered. Where the store turns out to
 * be another one or to have gone back, the client is opened anew after a while: what that means is
 * core's to say, which looks at what the region has on its disk. */
#include "agent/ctl.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { REOPEN_MS = 1000 };

uint64_t ctl_store_id(const struct fm_controller *ctl)
{
    if (!ctl->coord)
        return 1;
    struct fm_coord_known known = fm_coord_known(ctl->coord);
    return fm_coord_store_id(&known);
}

static struct fm_mono deadline(const struct fm_controller *ctl)
{
    return fm_mono_add_ms(fm_loop_now(ctl->c.loop), ctl->op_ms);
}

/* -------- records -------- */

static void put(struct ctl_seen *seen, struct ctl_common *common, const struct fm_write *w,
                uint64_t revision)
{
    struct fm_revision rev = {revision};
    enum fm_record_kind kind = (enum fm_record_kind)w->key.kind;
    FM_ASSERT(seen || kind == FM_RECORD_KEEPER || kind == FM_RECORD_VIEW);
    switch (kind) {
    case FM_RECORD_KEEPER:
        common->keeper[w->key.region] = (struct fm_keeper_at){rev, w->to.keeper};
        return;
    case FM_RECORD_LEASE:
        seen->lease[w->key.region] = (struct fm_lease_at){rev, w->to.lease};
        return;
    case FM_RECORD_CELL:
        seen->cell[w->key.id.cell] = (struct fm_cell_at){rev, w->to.cell};
        return;
    case FM_RECORD_BUDGET:
        seen->budget = (struct fm_budget_at){rev, w->to.budget};
        return;
    case FM_RECORD_VIEW:
        common->view = (struct fm_view_at){rev, w->to.view};
        return;
    case FM_RECORD_KIND_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

/* Once for each context, until what cannot be read was read again. */
static void say_unreadable(struct ctl_context *c, const char *what)
{
    bool first = !c->unreadable;
    c->unreadable = true;
    snprintf(c->seen.unreadable, sizeof c->seen.unreadable, "%s", what);
    fm_text_tame(c->seen.unreadable);
    if (first)
        fm_log(FM_LOG_ERROR, "context_not_acted_upon",
               FM_KZ("context", c->ctl->c.roster->context[c->number].name),
               FM_KZ("why", c->seen.unreadable),
               FM_KZ("meaning", "nothing of it is acquired or taken over by this agent"));
}

/* -------- the watch -------- */

static struct ctl_context *context_of(struct fm_controller *ctl, const struct fm_record_key *key)
{
    bool of_context = key->kind == FM_RECORD_LEASE || key->kind == FM_RECORD_CELL ||
                      key->kind == FM_RECORD_BUDGET;
    return of_context ? ctl->context[key->id.context] : NULL;
}

/* Which contexts have to be told; the last one stands for all. */
struct affected {
    bool all, any;
    bool context[FM_ROSTER_CONTEXTS_MAX];
};

static void take_record(struct fm_controller *ctl, const struct fm_coord_kv *kv,
                        struct affected *affected)
{
    struct fm_write w;
    char why[FM_RECORD_WHY_ROOM], what[FM_RECORD_KEY_ROOM + FM_RECORD_WHY_ROOM];
    if (!fm_record_key_read(ctl->c.roster, kv->key, &w.key)) {
        ctl_ops_seen(ctl, kv->key, kv);
        return;
    }
    struct ctl_context *c = context_of(ctl, &w.key);
    bool of_context = w.key.kind != FM_RECORD_KEEPER && w.key.kind != FM_RECORD_VIEW;
    if (of_context && !c)
        return;
    if (!fm_record_read(ctl->c.roster, kv->value, &w, why)) {
        snprintf(what, sizeof what, "%.*s: %s", FM_STR_ARG(kv->key), why);
        if (c)
            say_unreadable(c, what);
        else
            fm_log(FM_LOG_ERROR, "record_unreadable", FM_KZ("why", what));
        return;
    }
    put(c ? &c->seen : NULL, &ctl->common, &w, kv->revision);
    affected->any = true;
    if (c)
        affected->context[c->number] = true;
    else
        affected->all |= w.key.kind == FM_RECORD_VIEW || w.key.region == ctl->region;
}

static void tell_seen(struct fm_controller *ctl, const struct affected *affected)
{
    for (unsigned i = 0; i < ctl->ncontexts && !ctl->stopped; i++) {
        struct ctl_context *c = ctl->context[i];
        if (!c || !(affected->all || affected->context[i]))
            continue;
        ctl_saw(c, &c->seen, &ctl->common, ctl->revision, false, 0);
    }
}

static void changed(struct fm_coord_watch *w, const struct fm_coord_event *event, size_t n)
{
    struct fm_controller *ctl = fm_container_of(w, struct fm_controller, watch);
    struct affected affected = {.all = false};
    if (ctl->stopped)
        return;
    FM_ASSERT(n > 0 && event[0].kv.revision >= ctl->revision);
    ctl->revision = event[n - 1].kv.revision;
    for (size_t i = 0; i < n; i++) {
        bool may_go = fm_str_starts(event[i].kv.key, FM_STR("op/")) ||
                      fm_str_starts(event[i].kv.key, FM_STR("intent/"));
        if (event[i].erased && may_go)
            ctl_ops_seen(ctl, event[i].kv.key, NULL);
        else if (event[i].erased) /* no other record ever is: what was seen of it stays */
            fm_log(FM_LOG_ERROR, "record_erased", FM_KS("key", event[i].kv.key));
        else
            take_record(ctl, &event[i].kv, &affected);
    }
    tell_seen(ctl, &affected);
}

static void fresh(struct fm_coord_watch *w, const struct fm_coord_kv *kv, size_t n,
                  uint64_t revision)
{
    struct fm_controller *ctl = fm_container_of(w, struct fm_controller, watch);
    struct affected affected = {.all = true};
    if (ctl->stopped)
        return;
    ctl->common = (struct ctl_common){.unreadable = false};
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        if (ctl->context[i])
            ctl->context[i]->seen = (struct ctl_seen){.unreadable = ""};
    ctl_ops_fresh(ctl, true);
    for (size_t i = 0; i < n; i++)
        take_record(ctl, &kv[i], &affected);
    ctl_ops_fresh(ctl, false);
    ctl->revision = revision;
    ctl->trouble[0] = 0;
    tell_seen(ctl, &affected);
}

/* -------- reads -------- */

static void read_over(struct ctl_read *r)
{
    struct ctl_context *c = r->context;
    FM_ASSERT(r->busy && r->left == 0);
    r->busy = false;
    if (r->failed) {
        ctl_step(c, &(struct fm_auth_event){.kind = FM_AUTH_READ, .op = r->number});
        return;
    }
    if (c->unreadable)
        fm_log(FM_LOG_WARN, "context_acted_upon_again",
               FM_KZ("context", c->ctl->c.roster->context[c->number].name));
    c->unreadable = false;
    c->seen.unreadable[0] = 0;
    ctl_saw(c, &r->seen, &r->common, r->revision, true, r->number);
}

/* A lease of a region that this file does not know is nobody's that could hold anything here; a
 * cell that is not in this file is another matter. */
static bool take_part(struct ctl_read *r, const struct fm_coord_op *op)
{
    struct ctl_context *c = r->context;
    struct fm_roster *roster = c->ctl->c.roster;
    char why[FM_RECORD_WHY_ROOM], what[FM_RECORD_KEY_ROOM + FM_RECORD_WHY_ROOM];
    for (size_t i = 0; i < op->nkv; i++) {
        const struct fm_coord_kv *kv = &op->kv[i];
        struct fm_write w;
        bool known = fm_record_key_read(roster, kv->key, &w.key);
        if (!known && fm_str_starts(kv->key, FM_STR("lease/")))
            continue;
        snprintf(why, sizeof why, "it is not in this file");
        if (!known || !fm_record_read(roster, kv->value, &w, why)) {
            snprintf(what, sizeof what, "%.*s: %s", FM_STR_ARG(kv->key), why);
            say_unreadable(c, what);
            return false;
        }
        put(&r->seen, &r->common, &w, kv->revision);
    }
    return true;
}

static void part_over(struct fm_coord_op *op)
{
    struct ctl_read *r = op->user;
    FM_ASSERT(r->busy && r->left > 0);
    r->left--;
    if (op->outcome != FM_COORD_DONE || r->context->ctl->stopped || !take_part(r, op))
        r->failed = true;
    else
        r->revision = fm_min_u64(r->revision, op->revision);
    if (r->left == 0 && !r->context->ctl->stopped)
        read_over(r);
}

void ctl_read_refuse(struct ctl_context *c, uint32_t number)
{
    struct ctl_read *r = &c->read;
    FM_ASSERT(!r->busy);
    r->context = c;
    r->busy = r->failed = true;
    r->left = 0;
    r->number = number;
    ctl_touch(c);
}

void ctl_read_begin(struct ctl_context *c, uint32_t number)
{
    struct fm_controller *ctl = c->ctl;
    struct ctl_read *r = &c->read;
    const char *context = ctl->c.roster->context[c->number].name;
    if (!ctl->coord || ctl->closing) {
        ctl_read_refuse(c, number);
        return;
    }
    FM_ASSERT(!r->busy);
    r->context = c;
    r->busy = true;
    r->failed = false;
    r->left = CTL_READ_PARTS;
    r->number = number;
    r->revision = UINT64_MAX;
    r->seen = (struct ctl_seen){.unreadable = ""};
    r->common = (struct ctl_common){.unreadable = false};
    snprintf(r->key[0], sizeof r->key[0], "lease/%s/", context);
    snprintf(r->key[1], sizeof r->key[1], "cell/%s/", context);
    snprintf(r->key[2], sizeof r->key[2], "budget/%s", context);
    snprintf(r->key[3], sizeof r->key[3], "view");
    snprintf(r->key[4], sizeof r->key[4], "region/%s/keeper", ctl->c.roster->region[ctl->region]);
    for (unsigned i = 0; i < CTL_READ_PARTS; i++) {
        r->op[i].done = part_over;
        r->op[i].user = r;
        fm_coord_get(ctl->coord, &r->op[i], fm_str_z(r->key[i]), i < 2, false, deadline(ctl));
    }
}

/* -------- transactions -------- */

static void commit_over(struct ctl_commit *m, enum fm_txn_outcome outcome, uint64_t revision)
{
    struct fm_controller *ctl = m->ctl;
    FM_ASSERT(m->busy);
    m->busy = m->refused = false;
    for (unsigned i = 0; i < FM_TXN_WRITES_MAX; i++) {
        free(m->value[i]);
        m->value[i] = NULL;
    }
    if (ctl->stopped)
        return;
    if (m->context)
        ctl_step(m->context, &(struct fm_auth_event){.kind = FM_AUTH_OVER,
                                                     .op = m->number,
                                                     .outcome = outcome,
                                                     .revision = {revision}});
    else
        ctl_office(ctl, &(struct fm_office_event){.kind = FM_OFFICE_CLAIM_OVER,
                                                  .outcome = outcome,
                                                  .revision = {revision}});
}

static void committed(struct fm_coord_op *op)
{
    static const enum fm_txn_outcome outcomes[] = {[FM_COORD_PENDING] = FM_TXN_COUNT,
                                                   [FM_COORD_DONE] = FM_TXN_DONE,
                                                   [FM_COORD_NOT_DONE] = FM_TXN_NOT_DONE,
                                                   [FM_COORD_UNKNOWN] = FM_TXN_UNKNOWN};
    FM_ASSERT(op->outcome != FM_COORD_PENDING);
    commit_over(op->user, outcomes[op->outcome], op->revision);
}

static struct fm_str key_text(struct ctl_commit *m, unsigned at, const struct fm_record_key *key)
{
    FM_ASSERT(at < CTL_KEYS);
    fm_record_key_write(m->ctl->c.roster, key, m->key[at]);
    return fm_str_z(m->key[at]);
}

static bool set_value(struct ctl_commit *m, unsigned i, const struct fm_write *w)
{
    char text[FM_RECORD_TEXT_MAX];
    struct fm_buf b = fm_buf(text, sizeof text);
    fm_record_write(m->ctl->c.roster, w, &b);
    FM_ASSERT(!m->value[i]);
    m->value[i] = malloc(b.n);
    if (m->value[i])
        memcpy(m->value[i], text, b.n);
    m->write[i].value = fm_str(m->value[i], b.n);
    return m->value[i] != NULL;
}

static void fill(struct ctl_commit *m, struct ctl_context *c, const struct fm_txn *t,
                 uint32_t number)
{
    FM_ASSERT(!m->busy && t->nwrite > 0);
    m->context = c;
    m->number = number;
    m->busy = true;
    m->refused = false;
    m->op.done = committed;
    m->op.user = m;
    m->txn = (struct fm_coord_txn){m->compare, t->ncompare, m->write, t->nwrite};
    for (unsigned i = 0; i < t->ncompare; i++)
        m->compare[i] =
            (struct fm_coord_compare){key_text(m, i, &t->compare[i].key), t->compare[i].revision.n};
    for (unsigned i = 0; i < t->nwrite; i++) {
        m->write[i] =
            (struct fm_coord_write){.key = key_text(m, FM_TXN_COMPARES_MAX + i, &t->write[i].key)};
        m->refused |= !set_value(m, i, &t->write[i]);
    }
}

struct ctl_commit *ctl_commit_make(struct ctl_context *c, const struct fm_txn *t, uint32_t number)
{
    struct ctl_commit *m = NULL;
    for (unsigned i = 0; i < CTL_COMMITS && !m; i++)
        if (!c->commit[i].busy)
            m = &c->commit[i];
    FM_ASSERT(m);
    m->ctl = c->ctl;
    fill(m, c, t, number);
    return m;
}

void ctl_commit_refuse(struct ctl_commit *m)
{
    FM_ASSERT(m->busy);
    m->refused = true;
    if (m->context)
        ctl_touch(m->context);
    else
        ctl_touch_all(m->ctl);
}

void ctl_commit_send(struct ctl_commit *m)
{
    struct fm_controller *ctl = m->ctl;
    if (m->refused || !ctl->coord || ctl->closing)
        ctl_commit_refuse(m);
    else
        fm_coord_commit(ctl->coord, &m->op, &m->txn, deadline(ctl));
}

/* Where all claims are still on their way another one would not help. */
void ctl_claim(struct fm_controller *ctl, const struct fm_txn *t)
{
    for (unsigned i = 0; i < CTL_OFFICE_COMMITS; i++) {
        if (ctl->claim[i].busy)
            continue;
        ctl->claim[i].ctl = ctl;
        fill(&ctl->claim[i], NULL, t, 0);
        ctl_commit_send(&ctl->claim[i]);
        return;
    }
}

void ctl_store_settle(struct fm_controller *ctl)
{
    for (unsigned k = 0; k < CTL_OFFICE_COMMITS; k++)
        if (ctl->claim[k].busy && ctl->claim[k].refused)
            commit_over(&ctl->claim[k], FM_TXN_NOT_DONE, 0);
    for (unsigned i = 0; i < ctl->ncontexts; i++) {
        struct ctl_context *c = ctl->context[i];
        if (c && c->read.busy && c->read.left == 0)
            read_over(&c->read);
        for (unsigned k = 0; c && k < CTL_COMMITS; k++)
            if (c->commit[k].busy && c->commit[k].refused)
                commit_over(&c->commit[k], FM_TXN_NOT_DONE, 0);
    }
}

/* -------- the client -------- */

static void closed(struct fm_coord *coord, void *user)
{
    struct fm_controller *ctl = user;
    FM_ASSERT(ctl->coord == coord);
    ctl->coord = NULL;
    ctl->closing = false;
    ctl->reopen_at = fm_mono_add_ms(fm_mono_now(), REOPEN_MS);
    if (!ctl->stopped)
        ctl_arm(ctl, ctl->reopen_at);
}

static void close_now(struct fm_controller *ctl)
{
    if (ctl->watching)
        fm_coord_watch_close(&ctl->watch);
    ctl->watching = false;
    ctl->closing = true;
    fm_coord_close(ctl->coord);
}

static enum fm_err open_client(struct fm_controller *ctl, struct fm_error *e)
{
    struct fm_roster *r = ctl->c.roster;
    if (fm_coord_setup(&ctl->setup, ctl->conf, fm_str_z(fm_roster_host_name(r, ctl->c.self)),
                       fm_str_z(r->region[ctl->region]), e))
        return e->code;
    ctl->setup.config.resolver = ctl->c.resolver;
    ctl->setup.config.closed = closed;
    ctl->setup.config.user = ctl;
    ctl->coord = fm_coord_open(ctl->c.loop, &ctl->setup.config, e);
    if (!ctl->coord)
        return FM_ERR_MEMORY;
    ctl->revision = 0;
    ctl->watch.changed = changed;
    ctl->watch.fresh = fresh;
    enum fm_err err = fm_coord_watch_open(ctl->coord, &ctl->watch, FM_STR(""), 0, e);
    ctl->watching = !err;
    return err;
}

enum fm_err ctl_store_open(struct fm_controller *ctl, struct fm_error *e)
{
    return open_client(ctl, e);
}

void ctl_store_tick(struct fm_controller *ctl)
{
    struct fm_error e = {0};
    if (!ctl->coord) {
        if (fm_mono_before(fm_mono_now(), ctl->reopen_at)) {
            ctl_arm(ctl, ctl->reopen_at);
        } else if (open_client(ctl, &e)) {
            fm_log(FM_LOG_ERROR, "coordination_not_opened", FM_KE(&e));
            if (ctl->coord)
                close_now(ctl);
        }
        return;
    }
    enum fm_coord_why why = ctl->closing ? FM_COORD_WHY_NONE : fm_coord_trouble(ctl->coord, &e);
    if (why == FM_COORD_WHY_NONE)
        return;
    if (strcmp(ctl->trouble, e.msg) != 0)
        fm_log(FM_LOG_ERROR, "coordination_trouble", FM_KZ("what", fm_coord_why_text(why)),
               FM_KE(&e));
    snprintf(ctl->trouble, sizeof ctl->trouble, "%s", e.msg);
    close_now(ctl);
}

void ctl_store_stop(struct fm_controller *ctl)
{
    if (ctl->coord && !ctl->closing)
        close_now(ctl);
}

void ctl_store_free(struct fm_controller *ctl)
{
    if (ctl->coord)
        fm_coord_resolver_gone(ctl->coord);
    while (ctl->coord)
        fm_loop_turn(ctl->c.loop, FM_NS_PER_MS);
}
