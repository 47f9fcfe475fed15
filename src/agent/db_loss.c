/* What the group has lost, as the hosts of its nodes know it: see db.h. Each keeps all items, and
 * tells the others until they have them, too; so the survivors know of a loss, and who comes back
 * hears what was asked of it. Decisions are core/loss.h's; what a log holds pg/node.h finds. The
 * rows of an item follow it (db_rows.c).
 *
 * Invariants: what only this node has counts as kept when the agent of the primary has said that it
 * has the item and its rows, durably; a history is recorded when the item of the one before is
 * durable here. */
#include "agent/db.h"

#include "base/assert.h"
#include "base/log.h"
#include "core/credit.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    ASK_MS = 2000,
    SOON_MS = 500, /* to whom has not all of it */
    LATER_MS = 5000,
    ANSWER_MAX = 1 << 20,
};

static int64_t now_us(void)
{
    return fm_wall_now_ns() / FM_NS_PER_US;
}

enum fm_err db_loss_open(struct db_node *n, struct fm_error *e)
{
    char path[PATH_MAX];
    enum fm_err err = db_state_path(n, "losses.json", path, e);
    if (!err)
        err = fm_losses_open(&n->loss.items, path, e);
    if (err)
        return err;
    char *slash = strrchr(path, '/');
    FM_ASSERT(slash);
    *slash = '\0';
    fm_loss_store_open(&n->loss.rows, path, n->loss.items);
    return FM_ERR_OK;
}

/* -------- items of this node -------- */

static struct fm_loss item_of(const struct db_node *n, struct fm_timeline timeline,
                              struct fm_lsn fork)
{
    struct fm_loss l = {.timeline = timeline,
                        .fork = fork,
                        .system_id = n->cell.r.evidence.system_id,
                        .epoch = n->cell.r.evidence.epoch,
                        .at_most = FM_LOSS_UNBOUNDED,
                        .seen_us = now_us()};
    snprintf(l.node, sizeof l.node, "%s", n->of[n->self].name);
    return l;
}

/* Where the local history left that of the primary; none: there is no such place. */
static bool find_fork(const struct db_node *n, struct fm_lsn *fork)
{
    const struct fm_history *theirs = n->ev.primary;
    *fork = FM_LSN_NONE;
    if (!n->history.h.timeline.n || !theirs)
        return false;
    struct fm_past f = fm_history_fork(&n->history.h, theirs);
    if (f.timeline.n && !fm_lsn_same(f.end, FM_LSN_END))
        *fork = f.end;
    return true;
}

static const struct fm_loss *own(const struct db_node *n)
{
    struct fm_lsn fork;
    if (!find_fork(n, &fork))
        return NULL;
    struct fm_loss like = item_of(n, n->history.h.timeline, fork);
    return fm_losses_find(n->loss.items, &like);
}

bool db_loss_keep_items(struct db_node *n, const struct fm_loss *item, unsigned count)
{
    struct fm_error e = {0};
    enum fm_err err = fm_losses_keep(n->loss.items, item, count, &e);
    if (err)
        snprintf(n->trouble, sizeof n->trouble, "what was lost cannot be written down: %.200s",
                 e.msg);
    return err == FM_ERR_OK;
}

static void say(const struct db_node *n, const char *event, const struct fm_loss *l)
{
    char id[FM_LOSS_ID_ROOM];
    fm_log(FM_LOG_WARN, event, FM_KZ("group", n->group), FM_KZ("item", fm_loss_id(id, n->group, l)),
           FM_KZ("found", fm_loss_found_name((enum fm_loss_found)l->found)),
           FM_KU("transactions", l->transactions), FM_KZ("why", l->why));
}

bool db_loss_is_kept(const struct db_node *n)
{
    const struct db_loss *x = &n->loss;
    unsigned writer = n->cell.r.evidence.writer;
    const struct fm_loss *l = own(n);
    if (!l || writer == 0 || writer > n->nnodes)
        return false;
    if (l->off_us)
        return true;
    return x->looked && fm_lsn_same(x->fork, l->fork) && fm_loss_is_settled(l) && x->mine > 0 &&
           x->told[writer - 1] >= x->mine && !x->lacks[writer - 1];
}

void db_loss_keep(struct db_node *n, unsigned from)
{
    struct db_loss *x = &n->loss;
    struct fm_lsn fork;
    if (from == FM_GROUP_NOBODY || !find_fork(n, &fork) ||
        (x->looked && fm_lsn_same(x->fork, fork)))
        return;
    bool found = x->found && fm_lsn_same(n->pg.rescued.fork, fork);
    if (!found)
        db_server_rescue(n, from);
    else if (!fm_mono_before(fm_mono_now(), n->begin_at))
        db_loss_rescued(n);
}

/* Of what is pending of this node, what it can say now: into `out`, where there is one. */
static unsigned settled(const struct db_node *n, const struct fm_loss_data *d, struct fm_loss *out)
{
    unsigned count = 0;
    for (unsigned i = 0; i < fm_losses_count(n->loss.items); i++) {
        const struct fm_loss *l = fm_losses_at(n->loss.items, i);
        enum fm_loss_found found = fm_loss_settle(l, d);
        if (strcmp(l->node, n->of[n->self].name) != 0 || found == l->found)
            continue;
        count++;
        if (!out)
            continue;
        struct fm_loss *o = &out[count - 1];
        *o = *l;
        o->found = (uint8_t)found;
        if (found == FM_LOSS_UNREADABLE)
            snprintf(o->why, sizeof o->why,
                     "its data are not there any more, and nobody had looked");
        else if (fm_timeline_same(l->timeline, d->timeline))
            snprintf(o->why, sizeof o->why,
                     "the history that would have begun there was never opened");
        else
            snprintf(o->why, sizeof o->why, "what was written there is an item of timeline %u",
                     d->timeline.n);
    }
    return count;
}

static void keep_settled(struct db_node *n, const struct fm_loss_data *d)
{
    unsigned count = settled(n, d, NULL);
    struct fm_loss *s = count ? calloc(count, sizeof *s) : NULL;
    if (s && settled(n, d, s) == count && db_loss_keep_items(n, s, count))
        for (unsigned i = 0; i < count; i++)
            say(n, s[i].found == FM_LOSS_VOID ? "loss_void" : "loss_unreadable", &s[i]);
    free(s);
}

void db_loss_rescued(struct db_node *n)
{
    const struct fm_pg_rescued *r = &n->pg.rescued;
    struct fm_loss l = item_of(n, r->timeline, r->fork);
    bool counted = r->lost.counted && !fm_lsn_is_none(r->fork);
    l.found = counted ? FM_LOSS_COUNTED : FM_LOSS_UNREADABLE;
    l.end = counted ? r->lost.end : FM_LSN_NONE;
    l.transactions = r->lost.transactions;
    l.prepared = r->lost.prepared;
    l.first_us = r->lost.first_us;
    l.last_us = r->lost.last_us;
    snprintf(l.why, sizeof l.why, "%s", counted ? "" : r->lost.why);
    snprintf(l.copy, sizeof l.copy, "%.*s", (int)sizeof l.copy - 1, r->copy);
    if (!db_rows_found(n, &l) || !db_loss_keep_items(n, &l, 1)) {
        n->loss.found = true; /* it need not be looked at again */
        n->begin_at = fm_mono_add_ms(fm_mono_now(), SOON_MS);
        return;
    }
    n->loss.looked = true;
    n->loss.found = false;
    n->loss.fork = r->fork;
    n->loss.mine = fm_losses_version(n->loss.items);
    n->loss.at = FM_MONO_ZERO;
    say(n, "loss_found", &l);
    if (!fm_lsn_is_none(r->fork))
        keep_settled(n,
                     &(struct fm_loss_data){
                         .timeline = r->timeline, .forked = true, .looked = true, .fork = r->fork});
}

bool db_loss_follow(struct db_node *n)
{
    struct fm_lsn fork;
    bool wrote = !n->ev.self.recovery && n->cell.revision.n && fm_cell_was_forced(&n->cell.r);
    if (!wrote || !find_fork(n, &fork) || fm_lsn_is_none(fork))
        return true;
    struct fm_loss l = item_of(n, n->history.h.timeline, fork);
    const struct fm_loss *known = fm_losses_find(n->loss.items, &l);
    l.found = FM_LOSS_COUNTED; /* it may follow: its log ends there, or before */
    l.end = fork;
    return (known && known->found == FM_LOSS_COUNTED) || db_loss_keep_items(n, &l, 1);
}

/* -------- of the node whose history it replaces -------- */

bool db_loss_note(struct db_node *n)
{
    const struct fm_evidence *was = &n->cell.r.evidence, *to = &n->v.record;
    if (!fm_loss_is_due(&n->cell.r, to) || was->writer > n->nnodes)
        return true;
    struct fm_lsn fork = {to->fork_lsn};
    struct fm_credit_bound b = fm_group_bound(was, n->self, fork);
    struct fm_loss l = item_of(n, (struct fm_timeline){was->timeline}, fork);
    snprintf(l.node, sizeof l.node, "%s", n->of[was->writer - 1].name);
    l.epoch = to->epoch;
    l.at_most = b.kind == FM_CREDIT_ENFORCED ? b.bytes : FM_LOSS_UNBOUNDED;
    if (fm_losses_find(n->loss.items, &l))
        return true;
    if (!db_loss_keep_items(n, &l, 1))
        return false;
    say(n, "loss_pending", &l);
    return true;
}

/* -------- what is asked of this node -------- */

static void settle(struct db_node *n)
{
    const struct fm_evidence *r = &n->cell.r.evidence;
    struct fm_loss_data d = {.absent = !n->up && n->looked && !n->data_is_there};
    if (n->up ? n->heard_at.ns > 0 : n->data_is_there) {
        d.timeline = n->history.h.timeline;
        d.forked = find_fork(n, &d.fork);
        d.looked = n->loss.looked && !fm_lsn_is_none(d.fork) && fm_lsn_same(d.fork, n->loss.fork);
    }
    if (!d.absent && n->g.state == FM_GROUP_PRIMARY && r->writer == n->self + 1)
        d = (struct fm_loss_data){/* it goes on with all that it has */
                                  .timeline = {r->timeline},
                                  .forked = true,
                                  .looked = true};
    if (n->g.state == FM_GROUP_MAINTAINED)
        n->loss.looked = n->loss.found = false; /* whatever is done to it */
    keep_settled(n, &d);
    if (n->g.state == FM_GROUP_PRIMARY || n->g.state == FM_GROUP_STANDBY)
        db_rows_prune(n);
}

void db_loss_pruned(struct db_node *n, bool ok)
{
    for (unsigned i = 0; i < fm_losses_count(n->loss.items) && ok; i++) {
        struct fm_loss l = *fm_losses_at(n->loss.items, i);
        if (strcmp(l.node, n->of[n->self].name) != 0 || !fm_loss_may_prune(&l) ||
            !fm_timeline_same(l.timeline, n->pg.wanted) || !fm_lsn_same(l.fork, n->pg.pruned))
            continue;
        l.pruned_us = now_us();
        if (db_loss_keep_items(n, &l, 1))
            say(n, "loss_copy_removed", &l);
    }
}

/* -------- telling each other -------- */

static bool take(struct db_node *n, const json_t *doc)
{
    struct fm_loss *items = malloc(FM_LOSSES_MAX * sizeof *items);
    int count = doc && items ? fm_losses_read(doc, items) : -1;
    bool good = count >= 0 && db_loss_keep_items(n, items, (unsigned)count);
    free(items);
    return good;
}

/* It has said what it has. What it lacks of the rows is sent next, and then it is asked again. */
static void take_answer(struct db_node *n, struct fm_str body)
{
    struct db_loss *x = &n->loss;
    json_t *doc = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, NULL);
    if (take(n, doc) && db_rows_heard(n, x->of, doc))
        x->told[x->of] = x->sent;
    if (x->push.node[0])
        x->at = FM_MONO_ZERO;
    json_decref(doc);
}

static void answered(struct fm_caller *c, unsigned status, struct fm_str body)
{
    struct db_node *n = c->user;
    struct db_loss *x = &n->loss;
    x->asks = false;
    if (x->pushes) {
        x->told[x->of] = 0;
        x->at = status == 200 ? FM_MONO_ZERO : x->at;
    } else if (status == 200) {
        take_answer(n, body);
    }
    if (n->v.action != FM_GROUP_DO_KEEP || !x->looked)
        return;
    if (status == 200 && x->told[x->of])
        n->trouble[0] = 0;
    else
        snprintf(n->trouble, sizeof n->trouble,
                 "what only this node has is not kept by %.60s yet: it answers %u", c->peer,
                 status);
}

static void failed(struct fm_caller *c, const char *why)
{
    struct db_node *n = c->user;
    n->loss.asks = false;
    if (n->loss.pushes)
        n->loss.told[n->loss.of] = 0;
    if (n->v.action == FM_GROUP_DO_KEEP && n->loss.looked)
        snprintf(n->trouble, sizeof n->trouble,
                 "what only this node has is not kept by %.60s yet: %.120s", c->peer, why);
}

/* Who keeps what only this node has comes first, then who has not all; the others now and then. */
static unsigned whom(struct db_node *n)
{
    struct db_loss *x = &n->loss;
    uint64_t version = fm_losses_version(x->items);
    unsigned best = FM_GROUP_NOBODY;
    if (x->push.node[0])
        return x->of;
    if (n->v.action == FM_GROUP_DO_KEEP && n->v.node < n->nnodes && x->told[n->v.node] < version)
        return n->v.node;
    for (unsigned k = 1; k <= n->nnodes && best == FM_GROUP_NOBODY; k++) {
        unsigned i = (x->of + k) % n->nnodes;
        if (i != n->self && x->told[i] < version)
            best = i;
    }
    if (best != FM_GROUP_NOBODY || fm_mono_before(fm_mono_now(), x->later))
        return best;
    x->later = fm_mono_add_ms(fm_mono_now(), LATER_MS);
    best = (x->of + 1) % n->nnodes;
    return best == n->self ? (best + 1) % n->nnodes : best;
}

static void ask(struct db_node *n, unsigned of)
{
    struct db_loss *x = &n->loss;
    const struct fm_conf *conf = n->d->conf;
    int host = fm_conf_find_host(conf, fm_str_z(n->of[of].name));
    char *body = host < 0 ? NULL : db_rows_body(n);
    x->pushes = body != NULL;
    x->push.node[0] = '\0';
    json_t *doc = host < 0 || body ? NULL : fm_losses_doc(x->items);
    if (doc)
        body = json_dumps(doc, JSON_COMPACT);
    json_decref(doc);
    x->of = of;
    x->sent = fm_losses_version(x->items);
    if (!body)
        return;
    const struct fm_conf_host *h = &conf->hosts[host];
    char target[DB_NAME_ROOM + 32];
    snprintf(target, sizeof target, "/groups/loss%s?group=%s", x->pushes ? "/rows" : "", n->group);
    struct fm_caller_to to = {h->peer.host, h->peer.port, n->d->c.peers->client, h->name};
    x->caller = (struct fm_caller){.answered = answered, .failed = failed, .user = n};
    fm_caller_init(&x->caller, n->d->c.loop, n->d->c.resolver, &to);
    x->used = x->asks = true;
    struct fm_caller_ask a = {.target = target,
                              .body = body,
                              .body_n = strlen(body),
                              .answer_max = ANSWER_MAX,
                              .connect_ms = ASK_MS,
                              .timeout_ms = ASK_MS};
    fm_caller_ask(&x->caller, &a);
}

void db_loss_turn(struct db_node *n)
{
    struct db_loss *x = &n->loss;
    struct fm_mono now = fm_mono_now();
    settle(n);
    if (x->asks || n->nnodes < 2 || fm_mono_before(now, x->at))
        return;
    db_loss_close(n);
    if (x->used && !fm_caller_is_gone(&x->caller, false))
        return; /* what was under way still ends, in a moment */
    unsigned of = whom(n);
    if (of == FM_GROUP_NOBODY)
        return;
    x->at = fm_mono_add_ms(now, SOON_MS);
    ask(n, of);
}

void db_loss_close(struct db_node *n)
{
    if (n->loss.used)
        fm_caller_close(&n->loss.caller);
    n->loss.asks = false;
}

/* -------- pages -------- */

static void answer(struct fm_page_answer *a, unsigned status, json_t *doc)
{
    a->body = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    json_decref(doc);
    a->content_type = "application/json";
    a->n = a->body ? strlen(a->body) : 0;
    a->status = a->body ? status : 503;
}

static struct db_node *find_group(const struct fm_database *d, struct fm_str query)
{
    struct fm_str prefix = FM_STR("?group=");
    for (unsigned i = 0; i < d->nnodes && fm_str_starts(query, prefix); i++)
        if (fm_str_eqz(fm_str(query.p + prefix.n, query.n - prefix.n), d->node[i]->group))
            return d->node[i];
    return NULL;
}

static void list(const struct fm_database *d, struct fm_page_answer *a)
{
    json_t *items = json_array();
    for (unsigned i = 0; i < d->nnodes; i++)
        for (unsigned k = 0; k < fm_losses_count(d->node[i]->loss.items); k++)
            json_array_append_new(
                items, fm_loss_json(d->node[i]->group, fm_losses_at(d->node[i]->loss.items, k)));
    answer(a, 200, json_pack("{s:s,s:o}", "schema", "fulmar.losses/1", "items", items));
}

/* Without certificates nobody is known, and what is lost goes the way that all of it went before.
 */
static bool may_bring(const struct db_node *n, const char *peer)
{
    return peer ? db_secret_may_have(n, peer) : !n->d->c.peers->server;
}

static void take_told(struct db_node *n, struct fm_str body, struct fm_page_answer *a)
{
    json_t *told = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, NULL);
    json_t *doc = take(n, told) ? fm_losses_doc(n->loss.items) : NULL;
    if (doc)
        json_object_set_new(doc, "lacks", db_rows_lacks(n));
    answer(a, 200, doc);
    json_decref(told);
}

void fm_database_loss(const struct fm_database *d, const struct fm_page_request *q,
                      struct fm_page_answer *a)
{
    bool rows = fm_str_eqz(q->path, "/groups/loss/rows");
    if (q->method != FM_METHOD_POST) {
        if (rows)
            db_rows_page(d, NULL, q, a);
        else
            list(d, a);
        return;
    }
    struct db_node *n = find_group(d, q->query);
    a->status = !n || d->stopped ? 404 : !may_bring(n, q->peer) ? 403 : 200;
    if (a->status != 200)
        return;
    if (rows)
        db_rows_page(d, n, q, a);
    else
        take_told(n, q->body, a);
}

/* -------- written off by a person -------- */

static json_t *refusal(const char *rule, const char *evidence, const char *remedy)
{
    return json_pack("{s:s,s:s,s:s,s:s}", "schema", "fulmar.refusal/1", "rule", rule, "evidence",
                     evidence, "remedy", remedy);
}

static struct db_node *find_item(const struct fm_database *d, const char *id, struct fm_loss *out)
{
    char name[FM_LOSS_ID_ROOM];
    for (unsigned i = 0; id && i < d->nnodes; i++)
        for (unsigned k = 0; k < fm_losses_count(d->node[i]->loss.items); k++) {
            *out = *fm_losses_at(d->node[i]->loss.items, k);
            if (strcmp(fm_loss_id(name, d->node[i]->group, out), id) == 0)
                return d->node[i];
        }
    return NULL;
}

static void write_off(struct db_node *n, struct fm_loss *l, const char *by, const char *reason,
                      struct fm_page_answer *a)
{
    l->off_us = now_us();
    snprintf(l->off_by, sizeof l->off_by, "%s", by);
    snprintf(l->off_why, sizeof l->off_why, "%s", reason);
    fm_text_tame(l->off_by);
    fm_text_tame(l->off_why);
    if (!db_loss_keep_items(n, l, 1)) {
        a->status = 503;
        return;
    }
    n->loss.at = FM_MONO_ZERO;
    char id[FM_LOSS_ID_ROOM];
    fm_log(FM_LOG_WARN, "loss_written_off", FM_KZ("group", n->group),
           FM_KZ("item", fm_loss_id(id, n->group, l)), FM_KZ("by", l->off_by),
           FM_KZ("reason", l->off_why));
    answer(a, 200, fm_loss_json(n->group, l));
}

void fm_database_write_off(const struct fm_database *d, const struct fm_page_request *q,
                           struct fm_page_answer *a)
{
    struct fm_loss l;
    json_t *o = json_loadb(q->body.p, q->body.n, JSON_REJECT_DUPLICATES, NULL);
    const char *reason = json_string_value(json_object_get(o, "reason"));
    const char *by = q->peer ? q->peer : json_string_value(json_object_get(o, "by"));
    struct db_node *n = find_item(d, json_string_value(json_object_get(o, "item")), &l);
    if (!reason || !reason[0] || !by)
        answer(
            a, 400,
            refusal("malformed", "it needs an item, a reason and who it is", "see /groups/loss"));
    else if (!n)
        answer(a, 404,
               refusal("unknown-item", "no host that was asked knows of such an item",
                       "`fulmar loss list` shows all of them"));
    else if (fm_loss_state(&l) != FM_LOSS_OPEN)
        answer(a, 409,
               refusal("not-open",
                       l.off_us ? "it is written off" : "it was looked into: nothing is lost",
                       "nothing has to be done"));
    else if (json_is_true(json_object_get(o, "dry_run")))
        answer(a, 200, fm_loss_json(n->group, &l));
    else
        write_off(n, &l, by, reason, a);
    json_decref(o);
}
