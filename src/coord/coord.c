/* Clients of coordination: taking operations in, completing them, changing endpoints, closing; see
 * coord.h and client.h. Invariant: an operation is in the queue, in a slot or among the finished,
 * exactly one of them, and nops counts all three. */
#include "coord/client.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONNECT_MS = 1000, ATTEMPT_MS = 2000, SILENCE_MS = 5000 };
enum { REST_MS = 50, REST_MAX_MS = 2000 };

const char *fm_coord_outcome_text(enum fm_coord_outcome o)
{
    static const char *const texts[] = {"pending", "done", "not-done", "unknown"};
    FM_ASSERT((unsigned)o < FM_COUNT(texts));
    return texts[o];
}

const char *fm_coord_why_text(enum fm_coord_why w)
{
    static const char *const texts[] = {
#define X(code, text) text,
        FM_COORD_WHYS(X)
#undef X
    };
    FM_ASSERT((unsigned)w < FM_COUNT(texts));
    return texts[w];
}

/* -------- endpoints -------- */

void fm_coord_kick(struct fm_coord *c, int64_t ms)
{
    FM_ASSERT(ms >= 0);
    struct fm_mono when = fm_mono_add_ms(fm_loop_now(c->loop), ms);
    if (!fm_timer_is_set(&c->kick) || when.ns < c->kick_at.ns) {
        c->kick_at = when;
        fm_loop_timer(c->loop, &c->kick, when);
    }
}

static struct fm_mono rest_of(struct fm_coord *c, unsigned fails)
{
    FM_ASSERT(fails > 0);
    /* the first time at once: often another connection is all it takes */
    int64_t ms = fails <= 1 ? 0 : REST_MS << (fails < 8 ? fails - 2 : 6);
    return fm_mono_add_ms(fm_loop_now(c->loop), ms < REST_MAX_MS ? ms : REST_MAX_MS);
}

void fm_coord_leave(struct fm_coord *c, unsigned place, const char *why)
{
    FM_ASSERT(place < c->nplace && why);
    struct fm_coord_place *p = &c->place[place];
    if (place != c->at)
        return; /* we have left it already */
    p->fails++;
    p->not_before = rest_of(c, p->fails);
    fm_error_set(&c->last, FM_ERR_UNREACHABLE, "%s: %s", p->text, why);
    if (p->known && p->lookup.name[0] && !p->lookup.busy) /* it may have moved */
        fm_resolver_ask(c->config.resolver, &p->lookup);
    if (p->fails == 1)
        fm_log(FM_LOG_WARN, "coordination_endpoint_left", FM_KZ("endpoint", p->text),
               FM_KZ("why", why));
    if (c->checked)
        c->unchecked_since = fm_loop_now(c->loop);
    c->checked = false;
    for (size_t i = 1; i <= c->nplace; i++) {
        unsigned next = (unsigned)((place + i) % c->nplace);
        if (c->place[next].not_before.ns < c->place[c->at].not_before.ns || c->at == place)
            c->at = next;
        if (c->place[next].not_before.ns <= fm_loop_now(c->loop).ns) {
            c->at = next;
            break;
        }
    }
    FM_ASSERT(c->at < c->nplace);
    fm_coord_kick(c, 0);
}

void fm_coord_praise(struct fm_coord *c, unsigned place)
{
    FM_ASSERT(place < c->nplace);
    c->place[place].fails = 0;
    if (place == c->at)
        c->last.msg[0] = 0;
}

static void looked_up(struct fm_lookup *q)
{
    struct fm_coord_place *p = fm_container_of(q, struct fm_coord_place, lookup);
    struct fm_coord *c = p->coord;
    if (q->result == FM_ERR_OK)
        p->addr = q->addr[p->fails % q->n]; /* another one of its addresses after a failure */
    p->known = p->addr.len > 0;             /* no answer keeps the last */
    if (!p->known && !c->closing)
        fm_coord_leave(c, (unsigned)(p - c->place), q->why);
    fm_coord_kick(c, 0);
}

bool fm_coord_place_ready(struct fm_coord *c, unsigned place)
{
    FM_ASSERT(place < c->nplace && !c->closing);
    struct fm_coord_place *p = &c->place[place];
    int64_t left = fm_mono_sub_ns(p->not_before, fm_loop_now(c->loop));
    if (left > 0) {
        fm_coord_kick(c, left / FM_NS_PER_MS + 1);
        return false;
    }
    if (p->known || p->lookup.busy)
        return p->known;
    fm_resolver_ask(c->config.resolver, &p->lookup);
    return false;
}

struct fm_http_ask fm_coord_ask_of(const struct fm_coord *c, unsigned place)
{
    FM_ASSERT(place < c->nplace && c->place[place].known);
    const struct fm_coord_place *to = &c->place[place];
    bool local = to->addr.sa.sa_family == AF_UNIX;
    return (struct fm_http_ask){.to = &to->addr,
                                .tls = local ? NULL : c->tls,
                                .peer = to->host,
                                .host = to->header,
                                .token = c->token,
                                .headers = "Grpc-Metadata-Hasleader: true\r\n",
                                .answer_max = FM_COORD_ANSWER_MAX};
}

/* -------- completing -------- */

void fm_coord_complete(struct fm_coord_op *op, enum fm_coord_outcome outcome, enum fm_coord_why why)
{
    struct fm_coord *c = op->coord;
    FM_ASSERT(outcome != FM_COORD_PENDING && op->outcome == FM_COORD_PENDING && c->nops > 0);
    FM_ASSERT((outcome == FM_COORD_DONE) == (why == FM_COORD_WHY_NONE));
    FM_ASSERT(outcome != FM_COORD_UNKNOWN || op->txn);
    fm_list_remove(&op->node);
    fm_loop_cancel(c->loop, &op->timer);
    op->slot = NULL;
    op->outcome = outcome;
    op->why = why;
    c->nops--;
    op->done(op);
}

/* Not from inside of its submission: told in a moment. */
static void finish_later(struct fm_coord_op *op, enum fm_coord_outcome outcome,
                         enum fm_coord_why why, const char *msg)
{
    FM_ASSERT(outcome == FM_COORD_NOT_DONE || (outcome == FM_COORD_UNKNOWN && op->txn));
    FM_ASSERT(op->outcome == FM_COORD_PENDING && why != FM_COORD_WHY_NONE && msg);
    struct fm_coord *c = op->coord;
    fm_list_remove(&op->node);
    fm_loop_cancel(c->loop, &op->timer);
    fm_list_push_back(&c->finished, &op->node);
    op->slot = NULL;
    op->later = outcome;
    op->why = why;
    fm_error_set(&op->error, FM_ERR_STATE, "%s", msg);
    fm_coord_kick(c, 0);
}

static void tell_finished(struct fm_coord *c)
{
    struct fm_list told;
    fm_list_init(&told);
    fm_list_splice(&told, &c->finished); /* what is submitted meanwhile waits for the next time */
    struct fm_coord_op *op;
    while ((op = fm_list_first(&told, struct fm_coord_op, node)))
        fm_coord_complete(op, op->later, op->why);
}

void fm_coord_requeue(struct fm_coord_op *op)
{
    FM_ASSERT(op->outcome == FM_COORD_PENDING && !op->slot && !op->coord->closing);
    op->slot = NULL;
    if (op->coord->trouble)
        finish_later(op, FM_COORD_NOT_DONE, op->coord->trouble, op->coord->trouble_error.msg);
    else
        fm_list_push_front(&op->coord->queue, &op->node);
}

void fm_coord_fail_all(struct fm_coord *c, enum fm_coord_why why, const char *msg)
{
    FM_ASSERT(why != FM_COORD_WHY_NONE && why != FM_COORD_WHY_COMPARE);
    struct fm_coord_op *op;
    while ((op = fm_list_first(&c->queue, struct fm_coord_op, node)))
        finish_later(op, FM_COORD_NOT_DONE, why, msg);
}

void fm_coord_set_trouble(struct fm_coord *c, enum fm_coord_why why, const char *fmt, ...)
{
    FM_ASSERT(why == FM_COORD_WHY_SERVICE || why == FM_COORD_WHY_WENT_BACK);
    char msg[256];
    va_list ap;
    if (c->trouble)
        return;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    c->trouble = why;
    fm_error_set(&c->trouble_error, FM_ERR_STATE, "%s", msg);
    fm_log(FM_LOG_ERROR, "coordination_refused", FM_KZ("service", c->service), FM_KZ("why", msg));
    fm_coord_fail_all(c, why, msg);
}

/* One endpoint of another cluster is a wrong address. Where most of them are, all of the same one,
 * ours cannot have a quorum there any more: it was replaced. */
static void look_at_others(struct fm_coord *c, uint64_t cluster)
{
    size_t n = 0;
    for (size_t i = 0; i < c->nplace; i++)
        n += c->place[i].other == cluster;
    if (2 * n > c->nplace)
        fm_coord_set_trouble(c, FM_COORD_WHY_WENT_BACK,
                             "%zu of %zu endpoints are of another cluster (%llx, and was %llx "
                             "before): a copy was restored, or it was made anew",
                             n, c->nplace, (unsigned long long)cluster,
                             (unsigned long long)c->cluster);
}

enum fm_coord_sight fm_coord_see(struct fm_coord *c, unsigned place,
                                 const struct fm_coord_answer *a, uint64_t floor)
{
    FM_ASSERT(floor <= c->revision && place < c->nplace);
    c->place[place].other = c->cluster && a->cluster != c->cluster ? a->cluster : 0;
    if (c->place[place].other) {
        look_at_others(c, a->cluster);
        return FM_COORD_SIGHT_OTHER;
    }
    if (a->revision < floor) {
        fm_coord_set_trouble(c, FM_COORD_WHY_WENT_BACK,
                             "the store is at revision %llu, and had shown %llu before: an older "
                             "copy of it was restored",
                             (unsigned long long)a->revision, (unsigned long long)floor);
        return FM_COORD_SIGHT_BACK;
    }
    c->cluster = a->cluster;
    c->revision = fm_max_u64(c->revision, a->revision);
    for (size_t i = 0; i < c->nplace; i++)
        c->place[i].other = 0; /* ours answers: they were of another one all the time */
    return FM_COORD_SIGHT_GOOD;
}

/* -------- taking in -------- */

static void timed_out(struct fm_timer *t)
{
    struct fm_coord_op *op = fm_container_of(t, struct fm_coord_op, timer);
    struct fm_coord *c = op->coord;
    struct fm_coord_slot *s = op->slot;
    if (!s && c->last.msg[0]) {
        fm_error_set(&op->error, FM_ERR_TIMEOUT, "never sent: %s", c->last.msg);
        fm_coord_complete(op, FM_COORD_NOT_DONE, FM_COORD_WHY_UNREACHABLE);
        return;
    }
    bool sent = s && s->link.sent && s->link.busy;
    fm_error_set(&op->error, FM_ERR_TIMEOUT, sent ? "%s: no answer in time" : "never sent: %s",
                 s ? c->place[s->place].text : "no endpoint in time");
    if (s) {
        unsigned place = s->place;
        fm_coord_slot_drop(s);
        if (sent) /* else it was not given the time that a connection has */
            fm_coord_leave(c, place, "no answer in time");
    }
    fm_coord_complete(op, sent && op->txn ? FM_COORD_UNKNOWN : FM_COORD_NOT_DONE,
                      FM_COORD_WHY_TIMEOUT);
}

/* Into the queue; true where it may go on from there. */
static bool take(struct fm_coord *c, struct fm_coord_op *op, struct fm_mono deadline)
{
    FM_ASSERT(op->done && !fm_mono_is_never(deadline) && !c->closing);
    op->coord = c;
    op->outcome = FM_COORD_PENDING;
    op->why = FM_COORD_WHY_NONE;
    op->error = (struct fm_error){0};
    op->revision = 0;
    op->kv = NULL;
    op->nkv = 0;
    op->slot = NULL;
    op->deadline = deadline;
    fm_list_init(&op->node);
    fm_timer_init(&op->timer, timed_out);
    c->nops++;
    if (c->trouble) {
        finish_later(op, FM_COORD_NOT_DONE, c->trouble, c->trouble_error.msg);
        return false;
    }
    if (!fm_mono_before(fm_loop_now(c->loop), deadline)) {
        finish_later(op, FM_COORD_NOT_DONE, FM_COORD_WHY_TIMEOUT,
                     "never sent: its deadline had passed");
        return false;
    }
    if (c->nops > FM_COORD_QUEUE_MAX) {
        finish_later(op, FM_COORD_NOT_DONE, FM_COORD_WHY_FULL,
                     "never sent: too many operations wait for coordination");
        return false;
    }
    return true;
}

static void enqueue(struct fm_coord *c, struct fm_coord_op *op)
{
    FM_ASSERT(op->coord == c && op->outcome == FM_COORD_PENDING && !op->slot);
    fm_list_push_back(&c->queue, &op->node);
    fm_loop_timer(c->loop, &op->timer, op->deadline);
    fm_coord_run(c);
}

static bool key_is_good(struct fm_str key, bool all)
{
    FM_ASSERT(key.p || key.n == 0);
    if (key.n > FM_COORD_KEY_MAX || (key.n == 0 && !all))
        return false;
    for (size_t i = 0; i < key.n; i++)
        if (key.p[i] <= ' ' || key.p[i] > '~')
            return false;
    return true;
}

void fm_coord_get(struct fm_coord *c, struct fm_coord_op *op, struct fm_str key, bool prefix,
                  bool stale, struct fm_mono deadline)
{
    op->txn = NULL;
    op->key = key;
    op->all = prefix;
    op->stale = stale;
    if (!take(c, op, deadline))
        return;
    if (key_is_good(key, prefix))
        enqueue(c, op);
    else
        finish_later(op, FM_COORD_NOT_DONE, FM_COORD_WHY_INVALID, "never sent: not a key");
}

/* What is wrong with it, or NULL. */
static const char *check_txn(const struct fm_coord *c, const struct fm_coord_txn *t)
{
    FM_ASSERT((t->compare || !t->ncompare) && (t->write || !t->nwrite));
    size_t total = 0;
    if (c->config.observe)
        return "never sent: this client only observes";
    if (t->ncompare > FM_COORD_TXN_MAX || t->nwrite > FM_COORD_TXN_MAX)
        return "never sent: too many keys in one transaction";
    for (size_t i = 0; i < t->ncompare; i++) {
        if (!key_is_good(t->compare[i].key, false))
            return "never sent: not a key";
        total += t->compare[i].key.n;
    }
    for (size_t i = 0; i < t->nwrite; i++) {
        const struct fm_coord_write *w = &t->write[i];
        if (!key_is_good(w->key, false) || fm_str_eqz(w->key, FM_COORD_STAMP))
            return "never sent: not a key that may be written";
        if (w->value.n > FM_COORD_VALUE_MAX || (w->erase && w->value.n))
            return "never sent: a value too long, or for a key to be erased";
        for (size_t k = 0; k < i; k++)
            if (fm_str_eq(w->key, t->write[k].key))
                return "never sent: a key is written twice";
        total += w->key.n + w->value.n;
    }
    return total > FM_COORD_TXN_BYTES_MAX ? "never sent: the transaction is too long" : NULL;
}

void fm_coord_commit(struct fm_coord *c, struct fm_coord_op *op, const struct fm_coord_txn *txn,
                     struct fm_mono deadline)
{
    op->txn = txn;
    op->stale = false;
    if (!take(c, op, deadline))
        return;
    const char *wrong = check_txn(c, txn);
    if (wrong)
        finish_later(op, FM_COORD_NOT_DONE, FM_COORD_WHY_INVALID, wrong);
    else
        enqueue(c, op);
}

/* -------- going on -------- */

static bool is_idle(const struct fm_coord *c)
{
    for (size_t i = 0; i < FM_COORD_SLOTS; i++)
        if (c->slot[i].link.open)
            return false;
    for (size_t i = 0; i < c->nplace; i++)
        if (c->place[i].lookup.busy)
            return false;
    return !c->hello.link.open && c->nops == 0 && c->nstreams == 0 && !c->survey;
}

static void coord_free(struct fm_coord *c)
{
    FM_ASSERT(c->nops == 0 && c->nstreams == 0 && !c->survey);
    fm_loop_cancel(c->loop, &c->kick);
    free(c->login);
    free(c->password_file);
    for (size_t i = 0; i < FM_COUNT(c->tls_file); i++)
        free(c->tls_file[i]);
    fm_tls_unref(c->tls);
    explicit_bzero(c->token, sizeof c->token);
    free(c);
}

void fm_coord_run(struct fm_coord *c)
{
    FM_ASSERT(c->at < c->nplace || c->closing);
    if (c->closing || c->trouble || (fm_list_empty(&c->queue) && c->nstreams == 0))
        return;
    if (!c->checked) {
        fm_coord_hello_run(c);
        return;
    }
    fm_coord_dispatch(c);
    if (c->checked)
        fm_coord_streams_run(c);
}

static void kicked(struct fm_timer *t)
{
    struct fm_coord *c = fm_container_of(t, struct fm_coord, kick);
    tell_finished(c);
    fm_coord_run(c);
    if (!c->closing || !is_idle(c))
        return;
    void (*closed)(struct fm_coord *, void *) = c->config.closed;
    void *user = c->config.user;
    if (closed)
        closed(c, user);
    coord_free(c);
}

/* -------- opening and closing -------- */

static enum fm_err set_place(struct fm_coord *c, const struct fm_coord_endpoint *from,
                             struct fm_error *e)
{
    FM_ASSERT(c->nplace < FM_COORD_ENDPOINTS_MAX);
    struct fm_coord_place *p = &c->place[c->nplace++];
    p->coord = c;
    snprintf(p->text, sizeof p->text, "%s", from->text);
    size_t n = (size_t)snprintf(p->host, sizeof p->host, "%s", from->host);
    struct fm_str host = fm_str_z(from->host);
    if (n >= sizeof p->host || host.n == 0)
        return fm_error_set(e, FM_ERR_INVALID, "the endpoint %s has no host", p->text);
    if (from->port == 0) {
        snprintf(p->header, sizeof p->header, "localhost");
        p->known = fm_addr_unix(&p->addr, host) == FM_ERR_OK;
        return p->known ? FM_ERR_OK
                        : fm_error_set(e, FM_ERR_INVALID, "the path %s is too long", from->host);
    }
    snprintf(p->header, sizeof p->header, strchr(from->host, ':') ? "[%s]:%u" : "%s:%u", from->host,
             from->port);
    p->known = fm_addr_ip(&p->addr, host, from->port) == FM_ERR_OK;
    if (p->known)
        return FM_ERR_OK;
    if (!c->config.resolver || n > FM_LOOKUP_NAME_MAX)
        return fm_error_set(e, FM_ERR_INVALID, "the host of %s cannot be looked up", p->text);
    snprintf(p->lookup.name, sizeof p->lookup.name, "%s", from->host);
    p->lookup.port = from->port;
    p->lookup.done = looked_up;
    return FM_ERR_OK;
}

static bool copy_text(char **to, const char *from)
{
    *to = from ? strdup(from) : NULL;
    return !from || *to;
}

static bool copy_texts(struct fm_coord *c, const struct fm_coord_config *config)
{
    const struct fm_tls_files none = {NULL, NULL, NULL}, *tls = config->tls ? config->tls : &none;
    return copy_text(&c->login, config->login) &&
           copy_text(&c->password_file, config->password_file) &&
           copy_text(&c->tls_file[0], tls->ca) && copy_text(&c->tls_file[1], tls->cert) &&
           copy_text(&c->tls_file[2], tls->key);
}

enum fm_err fm_coord_renew_tls(struct fm_coord *c, struct fm_error *e)
{
    struct fm_tls *tls;
    struct fm_tls_files files = {c->tls_file[0], c->tls_file[1], c->tls_file[2]};
    if (!c->secure)
        return FM_ERR_OK;
    enum fm_err err = fm_tls_new(&tls, FM_TLS_CLIENT, &files, e);
    if (err)
        return fm_error_wrap(e, "coordination.etcd.tls");
    fm_tls_unref(c->tls);
    c->tls = tls;
    return FM_ERR_OK;
}

/* Everything that cannot fail. */
static void set_up(struct fm_coord *c, struct fm_loop *l, const struct fm_coord_config *config)
{
    c->loop = l;
    c->config = *config;
    c->unchecked_since = fm_loop_now(l);
    c->config.connect_ms = config->connect_ms ? config->connect_ms : CONNECT_MS;
    c->config.attempt_ms = config->attempt_ms ? config->attempt_ms : ATTEMPT_MS;
    c->config.silence_ms = config->silence_ms ? config->silence_ms : SILENCE_MS;
    c->secure = config->tls != NULL;
    c->config.tls = NULL; /* the caller's */
    memcpy(c->service, config->service, strlen(config->service) + 1);
    struct fm_buf prefix = fm_buf(c->prefix_mem, sizeof c->prefix_mem);
    fm_buf_lit(&prefix, "/fulmar/");
    fm_buf_str_add(&prefix, fm_str_z(c->service));
    fm_buf_ch(&prefix, '/');
    FM_ASSERT(!prefix.full);
    c->prefix = fm_buf_str(&prefix);
    memcpy(c->incarnation, config->known.incarnation, sizeof c->incarnation);
    c->incarnation[sizeof c->incarnation - 1] = 0;
    c->cluster = config->known.cluster;
    c->revision = config->known.revision;
    fm_list_init(&c->queue);
    fm_list_init(&c->finished);
    fm_list_init(&c->streams);
    fm_timer_init(&c->kick, kicked);
    c->hello.coord = c;
    for (size_t i = 0; i < FM_COORD_SLOTS; i++)
        c->slot[i].coord = c;
}

struct fm_coord *fm_coord_open(struct fm_loop *l, const struct fm_coord_config *config,
                               struct fm_error *e)
{
    size_t n = strlen(config->service);
    if (n == 0 || n > FM_COORD_SERVICE_MAX || config->nendpoint == 0 ||
        config->nendpoint > FM_COORD_ENDPOINTS_MAX) {
        fm_error_set(e, FM_ERR_INVALID, "coordination needs a service and 1 to %d endpoints",
                     FM_COORD_ENDPOINTS_MAX);
        return NULL;
    }
    struct fm_coord *c = calloc(1, sizeof *c);
    if (!c) {
        fm_error_set(e, FM_ERR_MEMORY, "out of memory");
        return NULL;
    }
    set_up(c, l, config);
    enum fm_err err = FM_ERR_OK;
    if (!copy_texts(c, config))
        err = fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    for (size_t i = 0; !err && i < config->nendpoint; i++)
        err = set_place(c, &config->endpoint[i], e);
    if (!err)
        err = fm_coord_renew_tls(c, e);
    if (!err)
        return c;
    coord_free(c);
    return NULL;
}

void fm_coord_close(struct fm_coord *c)
{
    FM_ASSERT(!c->closing);
    c->closing = true;
    fm_coord_fail_all(c, FM_COORD_WHY_CLOSED, "never sent: coordination is being closed");
    for (size_t i = 0; i < FM_COORD_SLOTS; i++) {
        struct fm_coord_slot *s = &c->slot[i];
        struct fm_coord_op *op = s->op;
        bool sent = s->link.sent;
        if (s->link.open)
            fm_coord_slot_drop(s);
        if (op)
            finish_later(op, sent && op->txn ? FM_COORD_UNKNOWN : FM_COORD_NOT_DONE,
                         FM_COORD_WHY_CLOSED, "coordination is being closed");
    }
    if (c->hello.link.open)
        fm_http_link_close(&c->hello.link);
    fm_coord_streams_end(c);
    fm_coord_survey_end(c);
    fm_coord_kick(c, 0);
}

void fm_coord_resolver_gone(struct fm_coord *c)
{
    FM_ASSERT(c->closing);
    for (size_t i = 0; i < c->nplace; i++)
        c->place[i].lookup.busy = false;
    fm_coord_kick(c, 0);
}

struct fm_coord_known fm_coord_known(const struct fm_coord *c)
{
    struct fm_coord_known k = {.cluster = c->cluster, .revision = c->revision};
    memcpy(k.incarnation, c->incarnation, sizeof k.incarnation);
    return k;
}

uint64_t fm_coord_store_id(const struct fm_coord_known *k)
{
    static const struct fm_hash_key key = {0x66756c6d61727374, 0x6f72650000000002};
    char text[FM_COORD_INCARNATION_MAX + 24];
    struct fm_buf b = fm_buf(text, sizeof text);
    fm_buf_printf(&b, "%s@%llx", k->incarnation, (unsigned long long)k->cluster);
    FM_ASSERT(!b.full);
    uint64_t id = fm_hash_str(key, fm_buf_str(&b));
    return id ? id : 1;
}

struct fm_coord_reach fm_coord_reach(const struct fm_coord *c)
{
    if (c->checked && !c->trouble)
        return (struct fm_coord_reach){.reached = true, .why = ""};
    return (struct fm_coord_reach){.since = c->unchecked_since,
                                   .why = c->trouble     ? c->trouble_error.msg
                                          : c->last.code ? c->last.msg
                                                         : ""};
}

enum fm_coord_why fm_coord_trouble(const struct fm_coord *c, struct fm_error *e)
{
    if (c->trouble)
        *e = c->trouble_error;
    return c->trouble;
}
