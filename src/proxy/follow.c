/* Following views: see the header. Invariants: a source is asked by at most one slot; of a slot
 * either a request is under way or its timer runs, unless there is nobody to ask; the document only
 * changes through fm_view_doc_adopt, or loses what the file contradicts. */
#include "proxy/follow_inside.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    WAIT_MS = 5000,    /* that an agent may hold an answer back */
    SILENCE_MS = 3000, /* more than that, and it is left */
    CONNECT_MS = 2000,
    REST_MS = 200, /* after the first failure */
    REST_MAX_MS = 10 * 1000,
    PAUSE_MS = 10, /* after an answer that said nothing new; doubled each time */
    PAUSES_MAX = 6,
    HURRY_MS = 100, /* not more often */
    FOUND_MS = WAIT_MS + SILENCE_MS + 2000,
};

/* Hosts with these read coordination themselves. */
enum { FIRST_HAND = FM_ROLE_CONTROLLER | FM_ROLE_WITNESS };

static void go(struct slot *t);

/* -------- whom to ask -------- */

static bool rests(const struct source *s)
{
    return fm_mono_before(fm_loop_now(s->follow->loop), s->not_before);
}

/* Smaller is better. The first slot stays at home, where an agent that failed is tried again; the
 * second one goes elsewhere, to who works. */
static uint64_t rank(const struct slot *t, const struct source *s)
{
    const struct source *other = t->follow->slot[t == &t->follow->slot[0]].source;
    bool first = t == &t->follow->slot[0];
    bool away = other && strcmp(other->region, s->region) != 0;
    uint64_t r = first ? !s->own : (uint64_t)(s->fails > 0) << 1 | !away;
    r = r << 8 | (s->fails > 255 ? 255 : s->fails);
    r = r << 1 | !s->controller;
    return r << 32 | s->spread;
}

/* NULL where all rest, until *until. */
static struct source *pick(const struct slot *t, struct fm_mono *until)
{
    struct source *best = NULL;
    *until = FM_MONO_NEVER;
    for (struct source *s = t->follow->sources; s; s = s->next) {
        if (s->stale || (s->slot && s->slot != t))
            continue;
        if (rests(s))
            *until = fm_mono_min(*until, s->not_before);
        else if (!best || rank(t, s) < rank(t, best))
            best = s;
    }
    return best;
}

static void leave(struct source *s)
{
    FM_ASSERT(s->slot && s->slot->source == s);
    s->slot->source = NULL;
    s->slot = NULL;
}

static int64_t with_jitter(struct fm_follow *f, int64_t ms)
{
    return ms / 2 + fm_rand_below(&f->rand, (uint32_t)ms + 1);
}

static void failed_to(struct source *s, const char *why)
{
    struct fm_follow *f = s->follow;
    struct slot *t = s->slot;
    int64_t ms = REST_MS << (s->fails < 8 ? s->fails : 8);
    FM_ASSERT(t && !s->stale);
    if (s->fails == 0)
        fm_log(FM_LOG_WARN, "view_source_left", FM_KZ("host", s->host), FM_KZ("why", why));
    snprintf(s->why, sizeof s->why, "%s", why);
    s->fails++;
    s->has_seen = false;
    ms = with_jitter(f, ms < REST_MAX_MS ? ms : REST_MAX_MS);
    s->not_before = fm_mono_add_ms(fm_loop_now(f->loop), ms);
    leave(s);
    fm_loop_timer_in_ms(f->loop, &t->timer, 0);
}

/* -------- what was found -------- */

static bool forget_found(struct fm_follow *f)
{
    f->found_from = NULL;
    return fm_view_doc_forget_found(&f->doc);
}

static void found_is_old(struct fm_timer *t)
{
    struct fm_follow *f = fm_container_of(t, struct fm_follow, found_timer);
    if (forget_found(f))
        f->config.changed(f->config.user);
}

/* Of this very holder and epoch; anything else is about another time. */
static void take_cell(struct fm_follow *f, const struct fm_view_doc *from,
                      const struct fm_view_doc_context *c, unsigned i)
{
    struct fm_view_doc_context *mine = fm_view_doc_find(&f->doc, fm_str_z(c->name));
    if (!mine || i >= mine->ncells || !c->cell[i].lapsed)
        return;
    struct fm_view_doc_cell *cell = &mine->cell[i];
    cell->lapsed =
        fm_epoch_same(cell->c.epoch, c->cell[i].c.epoch) &&
        strcmp(fm_view_doc_holder(&f->doc, cell), fm_view_doc_holder(from, &c->cell[i])) == 0;
}

static uint64_t found_hash(const struct fm_view_doc *d)
{
    uint64_t h = d->found_by;
    for (size_t k = 0; k < d->ncontexts; k++)
        for (unsigned i = 0; i < d->context[k].ncells; i++)
            h = fm_mix64(h ^ (d->context[k].cell[i].lapsed ? k << 8 | i : UINT64_MAX));
    return h;
}

/* True: it is another finding than before. */
static bool take_found(struct fm_follow *f, struct source *s, const struct fm_view_doc *from)
{
    if (from->found_by == FM_VIEW_DOC_NOBODY && f->found_from == s)
        return forget_found(f); /* it does not look any more */
    if (from->found_by == FM_VIEW_DOC_NOBODY || !f->region[0] ||
        strcmp(from->region[from->found_by], f->region) != 0)
        return false;
    uint64_t before = found_hash(&f->doc);
    (void)forget_found(f);
    f->doc.found_by = fm_view_doc_region(&f->doc, fm_str_z(f->region));
    for (size_t k = 0; k < from->ncontexts; k++)
        for (unsigned i = 0; i < from->context[k].ncells; i++)
            take_cell(f, from, &from->context[k], i);
    f->found_from = s;
    fm_loop_timer_in_ms(f->loop, &f->found_timer, FOUND_MS);
    return found_hash(&f->doc) != before;
}

/* -------- what is newer -------- */

/* The number of cells that the local file has for a context; 0 = it knows of none. */
static unsigned cells_in_file(const struct fm_follow *f, const char *name)
{
    int c = fm_conf_find_context(f->conf, fm_str_z(name));
    return c < 0 ? 0 : f->conf->contexts[c].ncells;
}

/* Leave out what contradicts the local file; says so, once a version where `from` is not NULL. */
static void refuse_misfits(struct fm_follow *f, struct fm_view_doc *d, const struct source *from)
{
    f->misfit[0] = 0;
    for (size_t k = 0; k < d->ncontexts;) {
        struct fm_view_doc_context *c = &d->context[k];
        unsigned expected = cells_in_file(f, c->name);
        if (expected == 0 || expected == c->ncells) {
            k++;
            continue;
        }
        snprintf(f->misfit, sizeof f->misfit,
                 "context `%s` has %u cells in the view, and %u in the file of this host", c->name,
                 c->ncells, expected);
        if (!from || f->misfit_at.n != d->generation.n)
            fm_log(FM_LOG_ERROR, "view_misfit", FM_KZ("from", from ? from->host : "disk"),
                   FM_KZ("why", f->misfit),
                   FM_KZ("meaning", "its commands wait, and then are refused"));
        *c = d->context[--d->ncontexts];
    }
    f->misfit_at = f->misfit[0] ? d->generation : (struct fm_generation){0};
}

static void keep(struct fm_follow *f)
{
    char *bytes;
    size_t n;
    struct fm_error e = {0};
    if (fm_view_file_pack(&f->doc, &bytes, &n, &e))
        fm_log(FM_LOG_ERROR, "view_not_written", FM_KE(&e));
    else
        fm_view_store_put(f->store, bytes, n);
}

static bool take(struct fm_follow *f, struct source *s, struct fm_view_doc *news)
{
    FM_ASSERT(strcmp(news->service, f->doc.service) == 0);
    refuse_misfits(f, news, s);
    bool newer = fm_view_doc_adopt(&f->doc, news, NULL);
    if (newer) {
        f->stored = false;
        f->adopted_wall_ns = fm_wall_now_ns();
        snprintf(f->from, sizeof f->from, "%s", s->host);
        keep(f);
    }
    f->has_doc |= newer;
    bool found = take_found(f, s, news);
    if (newer || found)
        f->config.changed(f->config.user);
    return newer || found;
}

/* -------- answers -------- */

static void heard(struct source *s)
{
    struct fm_follow *f = s->follow;
    if (s->fails)
        fm_log(FM_LOG_INFO, "view_source_back", FM_KZ("host", s->host));
    s->fails = 0;
    s->why[0] = 0;
    f->heard_at = fm_loop_now(f->loop);
    f->was_heard = true;
    if (f->found_from == s)
        fm_loop_timer_in_ms(f->loop, &f->found_timer, FOUND_MS);
}

/* At once, but for those whose answers come at once and say nothing. */
static void next_question(struct source *s, bool worth_it)
{
    struct fm_follow *f = s->follow;
    s->idle = (uint8_t)(worth_it ? 0 : s->idle + (s->idle < PAUSES_MAX));
    int64_t ms = worth_it ? 0 : with_jitter(f, PAUSE_MS << s->idle);
    fm_loop_timer_in_ms(f->loop, &s->slot->timer, ms);
}

static void read_view(struct source *s, struct fm_str body)
{
    struct fm_follow *f = s->follow;
    struct fm_view_doc news;
    struct fm_error e = {0};
    enum fm_err err = fm_view_doc_read(&news, body, &e);
    if (!err && strcmp(news.service, f->doc.service) != 0) {
        err = fm_error_set(&e, FM_ERR_INVALID, "it is of the service `%s`", news.service);
        fm_view_doc_deinit(&news);
    }
    if (err) {
        failed_to(s, e.msg);
        return;
    }
    heard(s);
    s->seen = fm_view_doc_hash(body);
    s->has_seen = true;
    struct slot *t = s->slot;
    bool said_more = take(f, s, &news);
    fm_view_doc_deinit(&news);
    if (t->source) /* else `changed` has stopped or reset it all */
        next_question(s, said_more);
}

static void answered(struct fm_caller *c, unsigned status, struct fm_str body)
{
    struct source *s = fm_container_of(c, struct source, caller);
    struct fm_follow *f = s->follow;
    if (s->stale || f->stopped)
        return;
    if (status == 200) {
        read_view(s, body);
    } else if (status == 204) {
        heard(s);
        next_question(s, fm_mono_sub_ms(fm_loop_now(f->loop), s->asked_at) >= WAIT_MS / 4);
    } else {
        char why[64];
        snprintf(why, sizeof why, "status %u instead of a view", status);
        failed_to(s, why);
    }
}

static void failed(struct fm_caller *c, const char *why)
{
    struct source *s = fm_container_of(c, struct source, caller);
    if (!s->stale && !s->follow->stopped)
        failed_to(s, why);
}

/* -------- asking -------- */

static void ask(struct source *s)
{
    struct fm_follow *f = s->follow;
    char target[160];
    int64_t wait =
        WAIT_MS - fm_rand_below(&f->rand, WAIT_MS / 4); /* a fleet is not to be in step */
    int n =
        snprintf(target, sizeof target, "/authority/view?after=%llu.%llu&seen=%llx&wait=%lld",
                 (unsigned long long)f->doc.incarnation.n, (unsigned long long)f->doc.generation.n,
                 (unsigned long long)(s->has_seen ? s->seen : 0), (long long)wait);
    FM_ASSERT(n > 0 && (size_t)n < sizeof target);
    if (!f->has_doc)
        snprintf(target, sizeof target, "/authority/view?wait=%lld", (long long)wait);
    struct fm_caller_ask a = {.target = target,
                              .answer_max = FM_VIEW_DOC_TEXT_MAX,
                              .connect_ms = CONNECT_MS,
                              .timeout_ms = wait + SILENCE_MS};
    s->asked_at = fm_loop_now(f->loop);
    fm_caller_ask(&s->caller, &a);
}

static void go(struct slot *t)
{
    struct fm_follow *f = t->follow;
    struct fm_mono until;
    FM_ASSERT(!f->stopped);
    fm_follow_bury(f, false);
    struct source *s = pick(t, &until);
    if (t->source && t->source != s)
        leave(t->source);
    if (!s) {
        if (!fm_mono_is_never(until))
            fm_loop_timer(f->loop, &t->timer, until);
        return;
    }
    s->slot = t;
    t->source = s;
    ask(s);
}

static void slot_due(struct fm_timer *timer)
{
    struct slot *t = fm_container_of(timer, struct slot, timer);
    if (t->source && t->source->caller.busy)
        return;
    go(t);
}

void fm_follow_hurry(struct fm_follow *f)
{
    struct fm_mono now = fm_loop_now(f->loop);
    if (f->stopped || fm_mono_before(now, f->hurried_until))
        return;
    f->hurried_until = fm_mono_add_ms(now, HURRY_MS);
    for (struct source *s = f->sources; s; s = s->next)
        if (!s->slot)
            s->not_before = now;
    for (unsigned i = 0; i < SLOTS; i++)
        if (!f->slot[i].source || !f->slot[i].source->caller.busy)
            fm_loop_timer_in_ms(f->loop, &f->slot[i].timer, 0);
}

/* -------- sources -------- */

void fm_follow_bury(struct fm_follow *f, bool resolver_freed)
{
    for (struct source **at = &f->sources; *at;) {
        struct source *s = *at;
        if (!s->stale || !fm_caller_is_gone(&s->caller, resolver_freed)) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        free(s);
    }
}

static void let_go_of_all(struct fm_follow *f)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        fm_loop_cancel(f->loop, &f->slot[i].timer);
        if (f->slot[i].source)
            leave(f->slot[i].source);
    }
    for (struct source *s = f->sources; s; s = s->next) {
        s->stale = true;
        fm_caller_close(&s->caller);
    }
    f->found_from = NULL; /* what was found stays until its time is over */
    fm_follow_bury(f, false);
}

static bool add_source(struct fm_follow *f, const struct fm_conf_host *h)
{
    static const struct fm_hash_key key = {1, 2};
    struct source *s = calloc(1, sizeof *s);
    if (!s)
        return false;
    struct fm_str region = f->conf->regions[h->region].name;
    s->follow = f;
    s->controller = h->roles & FIRST_HAND;
    s->own = fm_str_eqz(region, f->region);
    s->spread = (uint32_t)fm_mix64(fm_hash_str(key, h->name) ^ fm_hash_str(key, fm_str_z(f->host)));
    snprintf(s->host, sizeof s->host, "%.*s", FM_STR_ARG(h->name));
    snprintf(s->region, sizeof s->region, "%.*s", FM_STR_ARG(region));
    s->caller.answered = answered;
    s->caller.failed = failed;
    struct fm_caller_to to = {
        .host = h->peer.host, .port = h->peer.port, .tls = f->peers.client, .peer = h->name};
    fm_caller_init(&s->caller, f->loop, f->config.resolver, &to);
    s->next = f->sources;
    f->sources = s;
    return true;
}

enum fm_err fm_follow_reset(struct fm_follow *f, const struct fm_conf *conf,
                            const struct fm_peers *peers)
{
    FM_ASSERT(!f->stopped);
    unsigned roles = f->config.controllers ? FIRST_HAND : FM_ROLES_AGENT;
    enum fm_err err = FM_ERR_OK;
    let_go_of_all(f);
    fm_peers_drop(&f->peers);
    f->peers = fm_peers_ref(peers);
    f->conf = conf;
    refuse_misfits(f, &f->doc, NULL);
    for (size_t i = 0; i < conf->nhosts; i++) {
        const struct fm_conf_host *h = &conf->hosts[i];
        if (h->roles & roles && h->peer.port && !fm_str_eqz(h->name, f->host) && !add_source(f, h))
            err = FM_ERR_MEMORY;
    }
    for (unsigned i = 0; i < SLOTS; i++)
        fm_loop_timer_in_ms(f->loop, &f->slot[i].timer, 0);
    return err;
}

/* -------- life -------- */

static enum fm_err load(struct fm_follow *f, struct fm_str service, bool *keep_old,
                        struct fm_error *e)
{
    struct fm_view_doc stored;
    struct fm_error why = {0};
    fm_view_doc_init(&f->doc, service);
    enum fm_err err = fm_view_file_load(f->folder, service, &stored, &f->file, &why);
    *keep_old = f->file.keep_old;
    if (f->file.wrong.msg[0])
        fm_log(FM_LOG_ERROR, "view_file_refused", FM_KZ("why", f->file.wrong.msg),
               FM_KZ("meaning", f->file.old ? "the older one is used" : "there is no older one"));
    else if (err && err != FM_ERR_NOT_FOUND)
        fm_log(FM_LOG_ERROR, "view_file_refused", FM_KZ("why", why.msg));
    if (err == FM_ERR_MEMORY)
        return fm_error_set(e, err, "no memory for the stored view");
    if (err)
        return FM_ERR_OK; /* as on a new host */
    f->doc = stored;
    f->has_doc = f->stored = true;
    fm_log(FM_LOG_INFO, "view_loaded", FM_KU("generation", f->doc.generation.n),
           FM_KZ("file", f->file.old ? FM_VIEW_FILE_OLD : FM_VIEW_FILE));
    return FM_ERR_OK;
}

struct fm_follow *fm_follow_new(const struct fm_follow_config *c, const struct fm_conf *conf,
                                const struct fm_peers *peers, struct fm_error *e)
{
    FM_ASSERT(c->changed && c->mailbox && c->resolver);
    struct fm_follow *f = calloc(1, sizeof *f);
    bool keep_old;
    if (!f) {
        fm_error_set(e, FM_ERR_MEMORY, "no memory to follow views");
        return NULL;
    }
    f->config = *c;
    f->loop = c->mailbox->loop;
    snprintf(f->folder, sizeof f->folder, "%s", c->folder);
    snprintf(f->host, sizeof f->host, "%s", c->host);
    snprintf(f->region, sizeof f->region, "%s", c->region);
    fm_rand_bytes(&f->rand, sizeof f->rand);
    fm_timer_init(&f->found_timer, found_is_old);
    for (unsigned i = 0; i < SLOTS; i++) {
        f->slot[i].follow = f;
        fm_timer_init(&f->slot[i].timer, slot_due);
    }
    if (!load(f, conf->service, &keep_old, e))
        f->store = fm_view_store_open(c->mailbox, f->folder, keep_old, e);
    if (f->store && fm_follow_reset(f, conf, peers) == FM_ERR_OK)
        return f;
    if (f->store)
        fm_error_set(e, FM_ERR_MEMORY, "no memory to follow views");
    fm_follow_stop(f);
    fm_follow_free(f);
    return NULL;
}

const struct fm_view_doc *fm_follow_doc(const struct fm_follow *f)
{
    return f->has_doc ? &f->doc : NULL;
}

void fm_follow_stop(struct fm_follow *f)
{
    if (!f || f->stopped)
        return;
    let_go_of_all(f);
    fm_loop_cancel(f->loop, &f->found_timer);
    f->stopped = true;
}

void fm_follow_free(struct fm_follow *f)
{
    if (!f)
        return;
    FM_ASSERT(f->stopped);
    fm_view_store_close(f->store);
    fm_follow_bury(f, true);
    FM_ASSERT(!f->sources);
    fm_peers_drop(&f->peers);
    fm_view_doc_deinit(&f->doc);
    free(f);
}
