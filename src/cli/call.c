/* One exchange, waited for: see the header. Invariant: between two calls no connection is open; a
 * lookup that was given up stays with the resolver until that is gone. */
#include "cli/call.h"

#include "base/assert.h"
#include "http/link.h"
#include "io/resolve.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>

enum { BODY_MAX = 16 * 1024 * 1024, BLOCK = 64 * 1024, BLOCKS = 16, DAY_MS = 24 * 3600 * 1000 };
/* A signal that comes just before the loop begins to wait is seen after so long. */
enum { LOOK_MS = 100 };

struct lookup {
    struct fm_lookup q;
    struct lookup *next;
    bool over;
};

struct fm_call {
    struct fm_http_link link;
    struct fm_pool pool;
    struct fm_loop loop;
    struct fm_mailbox mailbox;
    struct fm_resolver *resolver; /* from the first name on */
    struct lookup *lookups;
    struct fm_called *out;
    struct fm_error *error;
    enum fm_err err;
    bool over;
};

/* -------- signals -------- */

static volatile sig_atomic_t interrupted;

static void on_signal(int signo)
{
    (void)signo;
    interrupted = 1;
}

void fm_call_catch(void)
{
    static const int all[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction was, a = {.sa_flags = (int)SA_RESETHAND};
    a.sa_handler = on_signal;
    for (size_t i = 0; i < FM_COUNT(all); i++) {
        int rc = sigaction(all[i], NULL, &was);
        if (rc == 0 && was.sa_handler != SIG_IGN) /* such as SIGHUP under nohup */
            rc = sigaction(all[i], &a, NULL);
        FM_ASSERT(rc == 0);
    }
}

bool fm_call_interrupted(void)
{
    return interrupted;
}

bool fm_call_pause(int64_t ms)
{
    FM_ASSERT(ms >= 0 && ms <= DAY_MS);
    struct fm_mono until = fm_mono_add_ms(fm_mono_now(), ms);
    while (!interrupted) {
        int64_t left = fm_mono_sub_ms(until, fm_mono_now());
        if (left <= 0)
            return true;
        (void)poll(NULL, 0, left < LOOK_MS ? (int)left : LOOK_MS);
    }
    return false;
}

/* -------- a link that is used once -------- */

static struct fm_call *ask_of(struct fm_http_link *l)
{
    return fm_container_of(l, struct fm_call, link);
}

static void on_answered(struct fm_http_link *l, unsigned status, struct fm_str body)
{
    struct fm_call *k = ask_of(l);
    FM_ASSERT(!k->over && !k->out->body);
    k->over = true;
    k->out->body = malloc(body.n + 1);
    if (!k->out->body) {
        k->err = fm_error_set(k->error, FM_ERR_MEMORY, "out of memory");
        return;
    }
    if (body.n)
        memcpy(k->out->body, body.p, body.n);
    k->out->body[body.n] = 0;
    k->out->n = body.n;
    k->out->status = status;
}

/* A server of TLS 1.3 judges a certificate after the client has gone on: what comes then, instead
 * of an answer's first byte, is a refusal, or the reset of a connection with a request unread. */
static bool is_refusal(const struct fm_http_link *l, int err)
{
    return l->tls && !l->http.any_byte && (err == -EPROTO || (err == -ECONNRESET && l->sent));
}

static void on_failed(struct fm_http_link *l, int err, const char *why)
{
    struct fm_call *k = ask_of(l);
    if (k->over)
        return; /* after its answer: nobody waits any more */
    k->over = true;
    bool refused = is_refusal(l, err);
    enum fm_err code = err == -ETIMEDOUT ? FM_ERR_TIMEOUT
                       : refused         ? FM_ERR_PERMISSION
                       : err == -EPROTO  ? FM_ERR_INVALID
                                         : FM_ERR_UNREACHABLE;
    k->err =
        fm_error_set(k->error, code, "%s",
                     refused && l->sent ? "TLS: it hangs up instead of answering; does it know "
                                          "this certificate?"
                                        : why);
}

static void on_closed(struct fm_http_link *l)
{
    FM_ASSERT(!l->open);
}

static const struct fm_http_link_ops ops = {
    .answered = on_answered, .failed = on_failed, .closed = on_closed};

static void end(struct fm_call *k)
{
    k->over = true; /* whatever comes now */
    if (k->link.open)
        fm_http_link_close(&k->link);
    while (k->link.open)
        fm_loop_turn(&k->loop, FM_NS_PER_S);
    fm_loop_turn(&k->loop, 0);
}

enum fm_err fm_call_ask(struct fm_call *k, const struct fm_call_for *f, struct fm_called *out,
                        struct fm_error *e)
{
    *out = (struct fm_called){0};
    FM_ASSERT(!k->link.open && f->connect_ms >= 0 && f->whole_ms >= 0);
    struct fm_mono now = fm_mono_now();
    struct fm_mono deadline = fm_mono_add_ms(now, fm_clamp_i64(f->whole_ms, 1, DAY_MS));
    struct fm_mono connect = fm_mono_add_ms(now, fm_clamp_i64(f->connect_ms, 1, DAY_MS));
    struct fm_http_ask a = {.to = f->to,
                            .tls = f->tls,
                            .peer = f->peer,
                            .target = f->target,
                            .host = "fulmar",
                            .headers = "Connection: close\r\n",
                            .body = f->body ? strdup(f->body) : NULL,
                            .body_n = f->body ? strlen(f->body) : 0,
                            .answer_max = BODY_MAX,
                            .connect = fm_mono_min(connect, deadline),
                            .deadline = deadline};
    if (f->body && !a.body)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    k->out = out;
    k->error = e;
    k->err = FM_ERR_OK;
    k->over = false;
    k->link = (struct fm_http_link){.open = false};
    fm_loop_turn(&k->loop, 0); /* its clock: the deadlines are of now */
    enum fm_err err = fm_http_link_ask(&k->link, &k->loop, &ops, &a, e);
    while (!err && !k->over && !interrupted)
        fm_loop_turn(&k->loop, LOOK_MS * FM_NS_PER_MS);
    if (!err && !k->over)
        k->err = fm_error_set(e, FM_ERR_STATE, "interrupted");
    out->sent = k->link.sent;
    end(k);
    free(k->link.out); /* still there where it could not even begin */
    k->link.out = NULL;
    err = err ? err : k->err;
    FM_ASSERT(err ? !out->body : out->body && out->status >= 200);
    return err;
}

/* -------- names -------- */

static void on_found(struct fm_lookup *q)
{
    fm_container_of(q, struct lookup, q)->over = true;
}

enum fm_err fm_call_resolve(struct fm_call *k, struct fm_str name, uint16_t port, int64_t whole_ms,
                            struct fm_addr *out, size_t max, size_t *n, struct fm_error *e)
{
    *n = 0;
    FM_ASSERT(max > 0);
    if (name.n == 0 || name.n > FM_LOOKUP_NAME_MAX)
        return fm_error_set(e, FM_ERR_UNREACHABLE, "that is no name");
    if (!k->resolver && !(k->resolver = fm_resolver_new(&k->mailbox, e)))
        return FM_ERR_MEMORY;
    struct lookup *l = calloc(1, sizeof *l);
    if (!l)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    l->next = k->lookups;
    k->lookups = l;
    memcpy(l->q.name, name.p, name.n);
    l->q.port = port;
    l->q.done = on_found;
    fm_resolver_ask(k->resolver, &l->q);
    struct fm_mono deadline = fm_mono_add_ms(fm_mono_now(), fm_clamp_i64(whole_ms, 1, DAY_MS));
    while (!l->over && !interrupted && fm_mono_before(fm_mono_now(), deadline))
        fm_loop_turn(&k->loop, LOOK_MS * FM_NS_PER_MS);
    if (interrupted)
        return fm_error_set(e, FM_ERR_STATE, "interrupted");
    if (!l->over)
        return fm_error_set(e, FM_ERR_UNREACHABLE, "its name is not found in time");
    if (l->q.result || l->q.n == 0)
        return fm_error_set(e, FM_ERR_UNREACHABLE, "its name is not found: %s",
                            l->q.result ? l->q.why : "it has no address");
    *n = fm_min_size(l->q.n, max);
    memcpy(out, l->q.addr, *n * sizeof *out);
    return FM_ERR_OK;
}

/* -------- beginning and end -------- */

struct fm_call *fm_call_new(struct fm_error *e)
{
    struct fm_call *k = calloc(1, sizeof *k);
    if (!k) {
        fm_error_set(e, FM_ERR_MEMORY, "out of memory");
        return NULL;
    }
    fm_pool_init(&k->pool, BLOCK, BLOCKS);
    enum fm_err err = fm_loop_init(&k->loop, &k->pool, e);
    if (!err)
        err = fm_mailbox_open(&k->mailbox, &k->loop, k, e);
    if (!err)
        return k;
    fm_loop_deinit(&k->loop);
    fm_pool_deinit(&k->pool);
    free(k);
    return NULL;
}

void fm_call_free(struct fm_call *k)
{
    if (!k)
        return;
    FM_ASSERT(!k->link.open);
    fm_resolver_free(k->resolver);
    fm_mailbox_close(&k->mailbox);
    fm_loop_turn(&k->loop, 0);
    fm_loop_deinit(&k->loop);
    fm_pool_deinit(&k->pool);
    while (k->lookups) {
        struct lookup *l = k->lookups;
        k->lookups = l->next;
        free(l);
    }
    free(k);
}
