/* Reading the journals of others, and handing out one's own: see the header. Invariant: of a source
 * either one request or one import is under way, or its timer runs. A pass is a row of them from
 * where the last one ended until there is nothing newer. */
#include "agent/heir.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    PAUSE_MS = 500,
    SIBLING_PAUSE_MS = 2000, /* they have other keys: that is for when one of them is taken out */
    REST_MS = 2000,          /* after a failure */
    TIMEOUT_MS = 3000,
    CONNECT_MS = 1000,
    CHUNK_MAX = 4 << 20,
    WAITERS_MAX = 16,
    READS_MAX = 16,
};

struct source {
    struct fm_heir *heir;
    struct source *next;
    struct fm_caller caller;
    struct fm_timer timer;
    struct fm_journal_call call;
    char host[256], region[64];
    bool known, stale; /* known: the cursor was read; stale: not in the file any more */
    bool going;
    bool sibling; /* a gate of this region */
    bool plain;   /* of an older version: takes no `gate` */
    bool failed;  /* it did not answer, since it became a source */
    uint64_t cursor;
    uint32_t started, finished; /* passes */
    uint32_t need[WAITERS_MAX]; /* the pass that this waiter wants to see finished */
    bool failing;               /* said so in the log */
    char *chunk;
};

struct waiter {
    struct fm_heir *heir;
    bool used;
    char region[64];
    struct fm_timer timer;
    void (*done)(void *user, bool whole);
    void *user;
};

/* A peer that reads ours. */
struct read {
    struct fm_journal_call call;
    struct fm_page_wait *wait; /* NULL: it has left, or nobody reads */
    struct fm_heir *heir;
};

struct fm_heir {
    struct fm_heir_config c;
    struct source *sources;
    struct waiter waiter[WAITERS_MAX];
    struct read read[READS_MAX];
    _Atomic bool caught_up;
    bool looked, old; /* looked: it is known whether there is a journal of before; old: there is */
    bool missing;     /* a source, for want of memory: nothing is the whole */
    bool stopped;
};

/* -------- who waits -------- */

static void tell(struct waiter *w, bool whole)
{
    FM_ASSERT(w->used);
    w->used = false;
    fm_loop_cancel(w->heir->c.loop, &w->timer);
    w->done(w->user, whole);
}

static void waited_long(struct fm_timer *t)
{
    struct waiter *w = fm_container_of(t, struct waiter, timer);
    bool whole = !w->heir->missing;
    for (struct source *s = w->heir->sources; s; s = s->next)
        if (!s->stale && strcmp(s->region, w->region) == 0)
            whole &= s->finished >= s->need[w - w->heir->waiter];
    tell(w, whole);
}

static void look_at_waiters(struct fm_heir *h)
{
    for (unsigned i = 0; i < WAITERS_MAX; i++) {
        struct waiter *w = &h->waiter[i];
        bool whole = w->used && !h->missing;
        for (struct source *s = h->sources; s && whole; s = s->next)
            if (!s->stale && strcmp(s->region, w->region) == 0)
                whole = s->finished >= s->need[i];
        if (whole)
            tell(w, true);
    }
}

/* -------- is it caught up? -------- */

static void look_at_sources(struct fm_heir *h)
{
    bool whole = !h->missing && !h->stopped;
    if (atomic_load_explicit(&h->caught_up, memory_order_relaxed))
        return;
    for (const struct source *s = h->sources; s && whole; s = s->next)
        if (!s->stale && s->finished == 0)
            whole = s->failed && (h->old || !s->sibling);
    if (!whole)
        return;
    fm_log(FM_LOG_INFO, "caught_up", FM_KZ("host", h->c.host),
           FM_KZ("meaning", "what others took is known here: commands with a key are taken"));
    atomic_store_explicit(&h->caught_up, true, memory_order_release);
}

const _Atomic bool *fm_heir_caught_up(const struct fm_heir *h)
{
    return &h->caught_up;
}

/* -------- a pass -------- */

static void ask(struct source *s);

static void rest(struct source *s, int64_t ms)
{
    s->going = false;
    if (!s->stale && !s->heir->stopped)
        fm_loop_timer_in_ms(s->heir->c.loop, &s->timer, ms);
}

static void failed_to(struct source *s, const char *why)
{
    if (!s->failing)
        fm_log(FM_LOG_WARN, "journal_not_read", FM_KZ("host", s->host), FM_KZ("why", why),
               FM_KZ("meaning", "commands that this host accepts are not known here yet"));
    s->failing = s->failed = true;
    rest(s, atomic_load_explicit(&s->heir->caught_up, memory_order_relaxed) ? REST_MS : PAUSE_MS);
    look_at_sources(s->heir);
}

/* Somebody came while the pass was under way, and wants one that began later: commands are held for
 * that. */
static bool is_waited_for(const struct source *s)
{
    for (unsigned i = 0; i < WAITERS_MAX; i++) {
        const struct waiter *w = &s->heir->waiter[i];
        if (w->used && strcmp(s->region, w->region) == 0 && s->need[i] > s->finished)
            return true;
    }
    return false;
}

static void imported(struct fm_journal_call *c)
{
    struct source *s = fm_container_of(c, struct source, call);
    free(s->chunk);
    s->chunk = NULL;
    bool ok = c->err == FM_ERR_OK;
    uint64_t next = c->next, last = c->last;
    if (ok && c->imported.conflicts)
        fm_log(FM_LOG_ERROR, "journal_conflict", FM_KZ("host", s->host),
               FM_KU("keys", c->imported.conflicts),
               FM_KZ("meaning", "a key was used for two requests, in two regions"));
    fm_journal_forget(c);
    if (s->stale || s->heir->stopped)
        return;
    if (!ok) {
        failed_to(s, "what came could not be taken into the journal");
        return;
    }
    if (s->failing)
        fm_log(FM_LOG_INFO, "journal_read_again", FM_KZ("host", s->host));
    s->failing = false;
    s->cursor = next;
    if (next < last) {
        ask(s);
        return;
    }
    s->finished = s->started;
    rest(s, is_waited_for(s) ? 0 : s->sibling ? SIBLING_PAUSE_MS : PAUSE_MS);
    look_at_waiters(s->heir);
    look_at_sources(s->heir);
}

static bool submit(struct source *s, enum fm_journal_op op, void (*done)(struct fm_journal_call *))
{
    s->call.op = op;
    s->call.to = s->heir->c.mailbox;
    s->call.done = done;
    s->call.source = fm_str_z(s->host);
    return fm_journal_submit(s->heir->c.journal, &s->call) == FM_ERR_OK;
}

static void answered(struct fm_caller *c, unsigned status, struct fm_str body)
{
    struct source *s = fm_container_of(c, struct source, caller);
    if (status == 410) { /* its journal is another one, or an older one: all of it again */
        fm_log(FM_LOG_WARN, "journal_is_another", FM_KZ("host", s->host));
        s->cursor = 0;
        rest(s, PAUSE_MS);
        return;
    }
    if (status == 409 && s->sibling) { /* it has an older file: what it takes may be ours by now */
        rest(s, PAUSE_MS);
        return;
    }
    if (status == 400 && s->sibling && !s->plain) {
        s->plain = true;
        rest(s, 0);
        return;
    }
    char *chunk = status == 200 && body.n ? malloc(body.n) : NULL;
    if (!chunk) {
        char why[64];
        snprintf(why, sizeof why, "it answered %u", status);
        failed_to(s, why);
        return;
    }
    memcpy(chunk, body.p, body.n);
    s->chunk = chunk;
    s->call.bytes = fm_str(chunk, body.n);
    if (!submit(s, FM_JOURNAL_IMPORT, imported)) {
        free(s->chunk);
        s->chunk = NULL;
        failed_to(s, "the journal here takes nothing");
    }
}

static void not_answered(struct fm_caller *c, const char *why)
{
    failed_to(fm_container_of(c, struct source, caller), why);
}

static void ask(struct source *s)
{
    char target[64 + 256];
    FM_ASSERT(s->going && s->known && !s->call.busy);
    bool says = s->sibling && !s->plain;
    snprintf(target, sizeof target, "/journal/changes?since=%llu%s%s",
             (unsigned long long)s->cursor, says ? "&gate=" : "", says ? s->heir->c.host : "");
    struct fm_caller_ask a = {.target = target,
                              .answer_max = CHUNK_MAX,
                              .connect_ms = CONNECT_MS,
                              .timeout_ms = TIMEOUT_MS};
    fm_caller_ask(&s->caller, &a);
}

static void begin(struct source *s)
{
    FM_ASSERT(!s->going && !s->stale && !s->heir->stopped);
    fm_loop_cancel(s->heir->c.loop, &s->timer);
    s->going = true;
    s->started++;
    ask(s);
}

static void got_cursor(struct fm_journal_call *c)
{
    struct source *s = fm_container_of(c, struct source, call);
    s->cursor = c->err == FM_ERR_OK ? c->next : 0; /* to read all of it again does no harm */
    s->known = true;
    if (!s->heir->looked) { /* the first question to the journal since it was opened */
        s->heir->looked = true;
        s->heir->old = c->err == FM_ERR_OK && c->last > 0;
    }
    fm_journal_forget(c);
    if (!s->stale && !s->heir->stopped)
        begin(s);
}

static void due(struct fm_timer *t)
{
    struct source *s = fm_container_of(t, struct source, timer);
    if (s->known)
        begin(s);
    else if (!s->call.busy && !submit(s, FM_JOURNAL_CURSOR, got_cursor))
        rest(s, REST_MS);
}

void fm_heir_catch_up(struct fm_heir *h, struct fm_str region, int64_t timeout_ms,
                      void (*done)(void *user, bool whole), void *user)
{
    FM_ASSERT(!h->stopped && timeout_ms > 0 && region.n < sizeof h->waiter[0].region);
    unsigned i = 0;
    while (i < WAITERS_MAX && h->waiter[i].used)
        i++;
    if (i == WAITERS_MAX) {
        done(user, false);
        return;
    }
    struct waiter *w = &h->waiter[i];
    w->used = true;
    w->done = done;
    w->user = user;
    snprintf(w->region, sizeof w->region, "%.*s", FM_STR_ARG(region));
    bool any = false;
    for (struct source *s = h->sources; s; s = s->next) {
        if (s->stale || !fm_str_eqz(region, s->region))
            continue;
        any = true;
        s->need[i] = s->started + 1; /* one that begins from now on */
    }
    fm_loop_timer_in_ms(h->c.loop, &w->timer, any ? timeout_ms : 0);
    for (struct source *s = h->sources; s; s = s->next)
        if (!s->stale && fm_str_eqz(region, s->region) && s->known && !s->going)
            begin(s);
}

/* -------- sources -------- */

static void bury(struct fm_heir *h, bool resolver_freed)
{
    for (struct source **at = &h->sources; *at;) {
        struct source *s = *at;
        if (!s->stale || s->call.busy || !fm_caller_is_gone(&s->caller, resolver_freed)) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        fm_loop_cancel(h->c.loop, &s->timer);
        fm_journal_forget(&s->call);
        free(s->chunk);
        free(s);
    }
}

static void retire(struct source *s)
{
    s->stale = true;
    s->going = false;
    fm_loop_cancel(s->heir->c.loop, &s->timer);
    fm_caller_close(&s->caller);
}

/* One's own, as this file numbers them. */
static unsigned region_of(const struct fm_heir *h, const struct fm_conf *conf)
{
    int self = fm_conf_find_host(conf, fm_str_z(h->c.host));
    FM_ASSERT(self >= 0);
    return conf->hosts[self].region;
}

static enum fm_err add(struct fm_heir *h, const struct fm_conf *conf,
                       const struct fm_conf_host *host, const struct fm_peers *peers,
                       struct fm_error *e)
{
    struct source *s = calloc(1, sizeof *s);
    if (!s)
        return fm_error_set(e, FM_ERR_MEMORY, "no memory to read the journal of a gate");
    s->heir = h;
    s->sibling = host->region == region_of(h, conf);
    snprintf(s->host, sizeof s->host, "%.*s", FM_STR_ARG(host->name));
    snprintf(s->region, sizeof s->region, "%.*s", FM_STR_ARG(conf->regions[host->region].name));
    s->caller.answered = answered;
    s->caller.failed = not_answered;
    struct fm_caller_to to = {
        .host = host->peer.host, .port = host->peer.port, .tls = peers->client, .peer = host->name};
    fm_caller_init(&s->caller, h->c.loop, h->c.resolver, &to);
    fm_timer_init(&s->timer, due);
    fm_loop_timer_in_ms(h->c.loop, &s->timer, 0);
    s->next = h->sources;
    h->sources = s;
    return FM_ERR_OK;
}

/* Do its gates write a journal at all? */
static bool has_journal(const struct fm_conf *conf)
{
    for (size_t i = 0; i < conf->ncontexts; i++)
        if (fm_conf_is_journaled(&conf->contexts[i]))
            return true;
    return false;
}

enum fm_err fm_heir_reset(struct fm_heir *h, const struct fm_conf *conf,
                          const struct fm_peers *peers, struct fm_error *e)
{
    for (struct source *s = h->sources; s; s = s->next)
        if (!s->stale)
            retire(s);
    bury(h, false);
    for (unsigned i = 0; i < WAITERS_MAX; i++)
        if (h->waiter[i].used)
            tell(&h->waiter[i], false); /* the passes that it waited for will not end */
    h->missing = false;
    for (size_t i = 0; i < conf->nhosts && has_journal(conf); i++) {
        const struct fm_conf_host *host = &conf->hosts[i];
        if (!(host->roles & FM_ROLE_GATE) || fm_str_eqz(host->name, h->c.host))
            continue;
        enum fm_err err = add(h, conf, host, peers, e);
        h->missing = err != FM_ERR_OK;
        if (err)
            return err;
    }
    look_at_sources(h);
    return FM_ERR_OK;
}

struct fm_heir *fm_heir_new(const struct fm_heir_config *c, const struct fm_conf *conf,
                            const struct fm_peers *peers, struct fm_error *e)
{
    FM_ASSERT(c->journal && c->loop && c->mailbox && c->host);
    struct fm_heir *h = calloc(1, sizeof *h);
    if (!h) {
        (void)fm_error_set(e, FM_ERR_MEMORY, "no memory to read the journals of other regions");
        return NULL;
    }
    h->c = *c;
    for (unsigned i = 0; i < WAITERS_MAX; i++) {
        h->waiter[i].heir = h;
        fm_timer_init(&h->waiter[i].timer, waited_long);
    }
    if (fm_heir_reset(h, conf, peers, e)) {
        fm_heir_stop(h);
        fm_heir_free(h);
        return NULL;
    }
    return h;
}

/* -------- the page -------- */

static void left(void *user)
{
    ((struct read *)user)->wait = NULL;
}

static void was_read(struct fm_journal_call *c)
{
    struct read *r = fm_container_of(c, struct read, call);
    struct fm_page_answer a = FM_PAGE_ANSWER;
    if (c->err == FM_ERR_OK) {
        a.content_type = "application/octet-stream";
        a.body = malloc(c->bytes.n ? c->bytes.n : 1);
        a.n = a.body ? c->bytes.n : 0;
        if (a.n)
            memcpy(a.body, c->bytes.p, a.n);
        a.status = a.body ? 200 : 503;
    } else {
        a.status = c->err == FM_ERR_INVALID ? 410 : 503;
    }
    fm_journal_forget(c);
    if (r->wait)
        fm_page_answer(r->wait, &a);
    else
        free(a.body);
    r->wait = NULL;
}

/* ?since=N[&gate=HOST] */
static bool read_query(struct fm_str query, uint64_t *since, struct fm_str *gate)
{
    struct fm_str prefix = FM_STR("?since="), name = FM_STR("gate="), rest;
    if (!fm_str_starts(query, prefix))
        return false;
    struct fm_str number = fm_str_cut(fm_str(query.p + prefix.n, query.n - prefix.n), '&', &rest);
    *gate = fm_str(NULL, 0);
    if (rest.n && !fm_str_starts(rest, name))
        return false;
    if (rest.n)
        *gate = fm_str(rest.p + name.n, rest.n - name.n);
    return fm_str_u64(number, since);
}

void fm_heir_changes(struct fm_heir *h, const struct fm_page_request *q, struct fm_page_answer *a)
{
    uint64_t since;
    struct fm_str gate;
    if (!read_query(q->query, &since, &gate)) {
        a->status = 400;
        return;
    }
    if (gate.n && !h->stopped && h->c.knows && !h->c.knows(h->c.user, gate)) {
        a->status = 409;
        return;
    }
    struct read *r = NULL;
    for (unsigned i = 0; i < READS_MAX && !r; i++)
        if (!h->read[i].call.busy && !h->read[i].wait)
            r = &h->read[i];
    a->status = 503;
    if (!r || h->stopped)
        return;
    r->call = (struct fm_journal_call){
        .op = FM_JOURNAL_READ, .to = h->c.mailbox, .done = was_read, .since = since};
    r->wait = fm_page_later(q, left, r);
    if (!r->wait || fm_journal_submit(h->c.journal, &r->call) == FM_ERR_OK)
        return;
    struct fm_page_wait *w = r->wait;
    r->wait = NULL;
    fm_page_answer(w, a);
}

/* -------- the end -------- */

void fm_heir_stop(struct fm_heir *h)
{
    if (!h || h->stopped)
        return;
    h->stopped = true;
    for (struct source *s = h->sources; s; s = s->next)
        if (!s->stale)
            retire(s);
    for (unsigned i = 0; i < WAITERS_MAX; i++)
        if (h->waiter[i].used)
            tell(&h->waiter[i], false);
}

void fm_heir_free(struct fm_heir *h)
{
    if (!h)
        return;
    FM_ASSERT(h->stopped);
    bury(h, true);
    FM_ASSERT(!h->sources);
    free(h);
}
