/* The webhook: see the header; core/telling.h decides when. Invariants: at most one post is under
 * way; `done` is what the receiver has acknowledged last; while something else is to be told,
 * either a post is under way or the timer is set. */
#include "agent/webhook.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rand.h"
#include "core/telling.h"
#include "http/caller.h"

#include <limits.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONNECT_MS = 2000, ANSWER_MAX = 64 * 1024, LOOK_MS = 1000 };

/* Of one configuration; after a reload it is closed, and goes when its connection is gone. */
struct receiver {
    struct receiver *next;
    struct fm_webhook *hook;
    struct fm_caller caller;
    struct fm_tls *tls;
};

/* What was posted. */
struct told {
    uint64_t hash;
    struct fm_incarnation incarnation;
    struct fm_generation generation;
};

struct fm_webhook {
    struct fm_webhook_config c;
    char host[256], region[64];
    char url[2048], to_text[320], target[FM_HTTP_LINK_TARGET_MAX], secret_file[PATH_MAX];
    bool configured, stopped;
    struct receiver *to, *stale;
    struct fm_timer timer;
    struct fm_rand rand;
    struct told posting, done;
    struct fm_telling telling;
    uint64_t deliveries, failures;
    int64_t done_wall_ns, failing_wall_ns;
    char why[160]; /* it fails; "" = it does not */
};

/* -------- signatures -------- */

void fm_webhook_sign(char out[FM_WEBHOOK_SIGNATURE_ROOM], struct fm_str secret, int64_t seconds,
                     struct fm_str body)
{
    uint8_t mac[EVP_MAX_MD_SIZE];
    char stamp[24];
    size_t stamp_n = (size_t)snprintf(stamp, sizeof stamp, "%lld.", (long long)seconds);
    FM_ASSERT(secret.n > 0 && secret.n <= INT_MAX && stamp_n < sizeof stamp);
    char *all = malloc(stamp_n + body.n);
    struct fm_buf b = fm_buf(out, FM_WEBHOOK_SIGNATURE_ROOM - 1);
    FM_ASSERT(all); /* a fraction of what the body took */
    memcpy(all, stamp, stamp_n);
    if (body.n)
        memcpy(all + stamp_n, body.p, body.n);
    unsigned n = 0;
    const void *made = HMAC(EVP_sha256(), secret.p, (int)secret.n, (const uint8_t *)all,
                            stamp_n + body.n, mac, &n);
    free(all);
    FM_ASSERT(made && n == 32);
    fm_buf_printf(&b, "t=%lld,v1=", (long long)seconds);
    fm_buf_hex(&b, mac, n);
    FM_ASSERT(!b.full);
    out[b.n] = 0;
}

/* -------- posting -------- */

static void tell(const struct fm_webhook *h, const char *why, const char *text,
                 const char *evidence)
{
    if (h->c.tell)
        h->c.tell(h->c.user, why, text, evidence);
}

static void failed(struct fm_webhook *h, const char *why)
{
    FM_ASSERT(why && !h->stopped);
    snprintf(h->why, sizeof h->why, "%s", why);
    fm_text_tame(h->why);
    int64_t ms = fm_telling_failed(&h->telling, fm_rand_u64(&h->rand), fm_loop_now(h->c.loop));
    fm_loop_timer(h->c.loop, &h->timer, h->telling.not_before);
    h->failures++;
    fm_log(FM_LOG_WARN, "authority_webhook_failed", FM_KZ("to", h->to_text), FM_KZ("why", h->why),
           FM_KU("in_a_row", h->telling.fails), FM_KU("again_in_ms", (uint64_t)ms));
    if (h->telling.fails > 1)
        return;
    h->failing_wall_ns = fm_wall_now_ns();
    tell(h, "failing", "a system downstream is not told who may write what", h->why);
}

static bool sign(struct fm_webhook *h, const char *text, size_t n, char *headers, size_t room)
{
    char secret[FM_WEBHOOK_SECRET_ROOM], signature[FM_WEBHOOK_SIGNATURE_ROOM];
    struct fm_error e = {0};
    size_t secret_n;
    if (fm_file_secret(h->secret_file, secret, sizeof secret, &secret_n, &e)) {
        failed(h, e.msg);
        return false;
    }
    if (secret_n < FM_WEBHOOK_SECRET_LEAST) {
        explicit_bzero(secret, sizeof secret);
        failed(h, "the secret has less than 16 bytes");
        return false;
    }
    fm_webhook_sign(signature, fm_str(secret, secret_n), fm_wall_now_ns() / FM_NS_PER_S,
                    fm_str(text, n));
    explicit_bzero(secret, sizeof secret);
    int length = snprintf(headers, room, "Fulmar-Signature: %s\r\n", signature);
    FM_ASSERT(length > 0 && (size_t)length < room);
    return true;
}

/* `text` is taken over. */
static void post(struct fm_webhook *h, char *text, size_t n, const struct told *what)
{
    char headers[FM_HTTP_LINK_HEADERS_MAX];
    FM_ASSERT(h->to && !h->to->caller.busy && n > 0);
    fm_telling_begin(&h->telling, fm_loop_now(h->c.loop));
    if (!sign(h, text, n, headers, sizeof headers)) {
        free(text);
        return;
    }
    h->posting = *what;
    struct fm_caller_ask a = {.target = h->target,
                              .body = text,
                              .body_n = n,
                              .headers = headers,
                              .discard = true,
                              .answer_max = ANSWER_MAX,
                              .connect_ms = CONNECT_MS,
                              .timeout_ms = FM_WEBHOOK_TIMEOUT_MS};
    fm_caller_ask(&h->to->caller, &a);
}

static void delivered(struct fm_webhook *h)
{
    h->done = h->posting;
    h->deliveries++;
    h->done_wall_ns = fm_wall_now_ns();
    if (!fm_telling_delivered(&h->telling, h->done.hash))
        return;
    h->why[0] = 0;
    fm_log(FM_LOG_INFO, "authority_webhook_works_again", FM_KZ("to", h->to_text),
           FM_KU("generation", h->done.generation.n));
    tell(h, "works-again", "the system downstream is told again", h->to_text);
}

static void answered(struct fm_caller *c, unsigned status, struct fm_str body)
{
    struct fm_webhook *h = fm_container_of(c, struct receiver, caller)->hook;
    char why[64];
    (void)body;
    if (status >= 200 && status < 300) {
        delivered(h);
        fm_webhook_look(h);
        return;
    }
    snprintf(why, sizeof why, "it answered with status %u", status);
    failed(h, why);
}

static void unanswered(struct fm_caller *c, const char *why)
{
    failed(fm_container_of(c, struct receiver, caller)->hook, why);
}

/* -------- when -------- */

static void begin_anew(struct fm_webhook *h)
{
    fm_telling_anew(&h->telling);
    h->why[0] = 0;
}

void fm_webhook_look(struct fm_webhook *h)
{
    if (h->stopped || !h->to || h->to->caller.busy)
        return; /* its end looks again */
    const struct fm_view_doc *d = h->c.view(h->c.user);
    if (!d || !h->c.sends(h->c.user)) {
        begin_anew(h); /* it is somebody else's trouble */
        fm_loop_timer_in_ms(h->c.loop, &h->timer, LOOK_MS);
        return;
    }
    char *text = h->c.text(h->c.user);
    size_t n = text ? strlen(text) : 0;
    if (!text) {
        fm_loop_timer_in_ms(h->c.loop, &h->timer, LOOK_MS);
        return;
    }
    struct told what = {fm_view_doc_hash(fm_str(text, n)), d->incarnation, d->generation};
    switch (fm_telling_look(&h->telling, what.hash, fm_loop_now(h->c.loop))) {
    case FM_TELLING_NOTHING:
        fm_loop_cancel(h->c.loop, &h->timer);
        free(text);
        break;
    case FM_TELLING_WAIT:
        fm_loop_timer(h->c.loop, &h->timer, h->telling.not_before);
        free(text);
        break;
    case FM_TELLING_TRY:
        fm_loop_cancel(h->c.loop, &h->timer);
        post(h, text, n, &what);
        break;
    }
}

static void due(struct fm_timer *t)
{
    fm_webhook_look(fm_container_of(t, struct fm_webhook, timer));
}

/* -------- configurations -------- */

static void bury(struct fm_webhook *h, bool resolver_freed)
{
    for (struct receiver **at = &h->stale; *at;) {
        struct receiver *r = *at;
        if (!fm_caller_is_gone(&r->caller, resolver_freed)) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        fm_tls_unref(r->tls);
        free(r);
    }
}

static void leave(struct fm_webhook *h)
{
    fm_loop_cancel(h->c.loop, &h->timer);
    if (h->to) {
        fm_caller_close(&h->to->caller);
        h->to->next = h->stale;
        h->stale = h->to;
        h->to = NULL;
    }
    bury(h, false);
}

static enum fm_err trust(const struct fm_webhook *h, const struct fm_conf_webhook *w,
                         struct fm_tls **out, struct fm_error *e)
{
    char ca[PATH_MAX];
    struct fm_tls_files files = {NULL, NULL, NULL};
    *out = NULL;
    if (!w->https)
        return FM_ERR_OK;
    if (w->ca.n) {
        if (fm_conf_expand(w->ca, fm_str_z(h->host), fm_str_z(h->region), ca, sizeof ca))
            return fm_error_set(e, FM_ERR_LIMIT, "the path of `ca` is too long");
        files.ca = ca;
    }
    return fm_tls_new(out, FM_TLS_CLIENT, &files, e);
}

static enum fm_err open_receiver(struct fm_webhook *h, const struct fm_conf_webhook *w,
                                 struct fm_error *e)
{
    struct fm_tls *tls;
    enum fm_err err = fm_conf_expand(w->secret_file, fm_str_z(h->host), fm_str_z(h->region),
                                     h->secret_file, sizeof h->secret_file);
    if (err)
        return fm_error_set(e, err, "the path of `secret-file` is too long");
    err = trust(h, w, &tls, e);
    if (err)
        return err;
    struct receiver *r = calloc(1, sizeof *r);
    if (!r) {
        fm_tls_unref(tls);
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    }
    r->hook = h;
    r->tls = tls;
    r->caller.answered = answered;
    r->caller.failed = unanswered;
    struct fm_caller_to to = {
        .host = w->to.host, .port = w->to.port, .tls = tls, .peer = w->to.host};
    fm_caller_init(&r->caller, h->c.loop, h->c.resolver, &to);
    h->to = r;
    return FM_ERR_OK;
}

void fm_webhook_reset(struct fm_webhook *h, const struct fm_conf *conf)
{
    const struct fm_conf_webhook *w = &conf->webhook;
    struct fm_error e = {0};
    FM_ASSERT(!h->stopped);
    leave(h);
    begin_anew(h);
    h->configured = w->present;
    h->telling.has_done &= w->present && fm_str_eqz(w->url, h->url);
    if (!w->present)
        return;
    FM_ASSERT(w->path.n < sizeof h->target && w->to.port > 0);
    snprintf(h->url, sizeof h->url, "%.*s", FM_STR_ARG(w->url));
    snprintf(h->to_text, sizeof h->to_text, "%.*s:%u", FM_STR_ARG(w->to.host), w->to.port);
    snprintf(h->target, sizeof h->target, "%.*s", FM_STR_ARG(w->path));
    if (open_receiver(h, w, &e))
        failed(h, e.msg); /* until the next reload */
    else
        fm_loop_timer_in_ms(h->c.loop, &h->timer, 0);
}

/* -------- life -------- */

struct fm_webhook *fm_webhook_new(const struct fm_webhook_config *c, const struct fm_conf *conf)
{
    FM_ASSERT(c->loop && c->sends && c->text && c->view);
    struct fm_webhook *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->c = *c;
    snprintf(h->host, sizeof h->host, "%s", c->host);
    snprintf(h->region, sizeof h->region, "%s", c->region);
    fm_rand_bytes(&h->rand, sizeof h->rand);
    fm_timer_init(&h->timer, due);
    fm_webhook_reset(h, conf);
    return h;
}

static json_t *told_json(const struct fm_webhook *h)
{
    char at[FM_RFC3339_LEN];
    if (!h->telling.has_done)
        return json_null();
    fm_wall_format(at, h->done_wall_ns);
    return json_pack("{s:I,s:I,s:s}", "incarnation", (json_int_t)h->done.incarnation.n,
                     "generation", (json_int_t)h->done.generation.n, "at", at);
}

json_t *fm_webhook_json(const struct fm_webhook *h)
{
    char since[FM_RFC3339_LEN];
    bool failing = h->telling.fails > 0;
    if (!h->configured)
        return NULL;
    fm_wall_format(since, h->failing_wall_ns);
    return json_pack("{s:s,s:b,s:o,s:b,s:s?,s:s?,s:I,s:I}", "to", h->to_text, "sends",
                     (int)h->c.sends(h->c.user), "delivered", told_json(h), "under_way",
                     (int)(h->to && h->to->caller.busy), "failing_since", failing ? since : NULL,
                     "why", failing ? h->why : NULL, "deliveries", (json_int_t)h->deliveries,
                     "failures", (json_int_t)h->failures);
}

void fm_webhook_stop(struct fm_webhook *h)
{
    if (!h || h->stopped)
        return;
    leave(h);
    h->stopped = true;
}

void fm_webhook_free(struct fm_webhook *h)
{
    if (!h)
        return;
    FM_ASSERT(h->stopped);
    bury(h, true);
    FM_ASSERT(!h->stale);
    free(h);
}
