/* Whom a command talks to: see the header. Invariant: `at` is the seat to begin with, and a seat
 * that has answered. */
#include "cli/agents.h"

#include "base/assert.h"
#include "base/buf.h"
#include "cli/call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Of one seat, so that one that hangs leaves time for the others. */
enum { TRY_MS = 2000, TRY_LEAST_MS = 200, ADDRS_MAX = 4, TEXT_MAX = 1024, TOLD_MAX = 6 };

struct fm_agents {
    const struct fm_args *args;
    const char *command;
    enum fm_whom_use use;
    struct fm_whom seats;
    unsigned at;
    struct fm_call *ask;
    struct fm_tls *tls; /* from the first seat on that needs it */
    /* of the call at hand */
    char trouble[TEXT_MAX]; /* what each of them said */
    unsigned troubles, forbidden, misconfigured;
};

/* -------- what went wrong -------- */

static void trouble(struct fm_agents *g, const struct fm_whom_seat *s, const char *why)
{
    struct fm_buf b = fm_buf(g->trouble, sizeof g->trouble - 1);
    b.n = strlen(g->trouble);
    FM_ASSERT(b.n < b.cap && why[0]);
    if (g->troubles < TOLD_MAX)
        fm_buf_printf(&b, "%s%s (%s)", g->troubles ? ", " : "", s->name, why);
    else if (g->troubles == TOLD_MAX)
        fm_buf_lit(&b, " and others");
    g->trouble[b.n] = 0;
    g->troubles++;
}

static void begin(struct fm_agents *g)
{
    FM_ASSERT(g->seats.n > 0 && g->at < g->seats.n);
    g->trouble[0] = 0;
    g->troubles = g->forbidden = g->misconfigured = 0;
}

/* The easier remedy, before another one: several hosts of the file may be on this machine. */
static void say_host(const struct fm_agents *g, char *out, size_t n)
{
    const char *here = g->seats.here;
    out[0] = 0;
    if (here[0])
        snprintf(out, n, "say which host of this machine you mean, with --host: %s; or ", here);
    else if (g->seats.missing[0] && !g->args->host)
        snprintf(out, n, "say which host of the file this is, with --host; or ");
}

static int fail_with(const struct fm_agents *g, int code, const char *what, const char *first,
                     const char *other)
{
    char text[1024];
    snprintf(text, sizeof text, "%s%s", first, other);
    return fm_print_error(g->args, g->command, code, what, text);
}

int fm_agents_fail(const struct fm_agents *g, enum fm_agents_end how)
{
    char what[TEXT_MAX + 512], remedy[512], start[512];
    FM_ASSERT(how != FM_AGENTS_ANSWERED);
    if (how == FM_AGENTS_SIGNAL)
        return 128 + 2; /* as a shell counts Ctrl-C */
    if (how == FM_AGENTS_UNKNOWN) {
        snprintf(what, sizeof what, "the order was sent, and no answer came: %s", g->trouble);
        return fm_print_error(g->args, g->command, FM_EXIT_UNREACHABLE, what,
                              "it may have been accepted: `fulmar op list` shows it then");
    }
    const char *missing = g->seats.missing;
    if (missing[0])
        snprintf(what, sizeof what, "%s%s%s", missing,
                 g->troubles ? ", and nobody else answers: " : "", g->trouble);
    else
        snprintf(what, sizeof what, "%s%s", g->trouble,
                 g->troubles == 1 ? " does not answer" : ": none of them answers");
    say_host(g, remedy, sizeof remedy);
    snprintf(start, sizeof start, "start one (`fulmar %s`), or name another one with --server",
             g->use == FM_WHOM_ORDER ? "agent" : "edge");
    if (g->forbidden)
        return fail_with(g, FM_EXIT_NOT_ALLOWED, what, remedy,
                         "ask as another user, or with a certificate of this service: --cert FILE "
                         "--key FILE");
    if (g->misconfigured)
        return fail_with(g, FM_EXIT_CONFIG, what, remedy,
                         "show a certificate: --cert FILE --key FILE");
    if (g->use == FM_WHOM_ORDER && g->seats.conf && g->seats.conf->nhosts == 0) {
        snprintf(start, sizeof start,
                 "agents do that, and %s has none: list their hosts under `hosts`",
                 g->args->config);
        remedy[0] = 0;
    }
    return fail_with(g, FM_EXIT_UNREACHABLE, what, remedy, start);
}

/* -------- a seat is asked -------- */

static bool resolved(struct fm_agents *g, struct fm_whom_seat *s, int64_t ms, struct fm_error *e)
{
    struct fm_addr found[ADDRS_MAX];
    size_t n;
    if (s->to.len)
        return true;
    if (fm_call_resolve(g->ask, fm_str_z(s->host), s->port, ms, found, FM_COUNT(found), &n, e))
        return false;
    s->to = found[0]; /* a host has one, and where it has two, both lead there */
    return true;
}

static bool secured(struct fm_agents *g, const struct fm_whom_seat *s, struct fm_error *e)
{
    if (!s->tls || g->tls)
        return true;
    return fm_whom_tls(&g->seats, g->args, &g->tls, e) == FM_ERR_OK;
}

/* Does this answer, without a document of ours, leave it to the others? A 503 does not where it may
 * have been an order that it is about. */
static bool passes_over(const struct fm_call_for *f, const struct fm_reply *r)
{
    return (r->status == 404 || (r->status == 503 && !f->body)) &&
           !json_object_get(r->doc, "schema");
}

static void take(struct fm_called *got, struct fm_reply *r)
{
    FM_ASSERT(got->body && got->status >= 200);
    r->status = got->status;
    r->doc = json_loadb(got->body, got->n, JSON_REJECT_DUPLICATES, NULL);
    if (r->doc && !json_is_object(r->doc)) {
        json_decref(r->doc);
        r->doc = NULL;
    }
    free(got->body);
}

/* FM_AGENTS_NOBODY: the next one may be asked. */
static enum fm_agents_end ask_seat(struct fm_agents *g, unsigned i, struct fm_call_for *f,
                                   int64_t try_ms, int64_t wait_ms, struct fm_reply *r)
{
    FM_ASSERT(i < g->seats.n && try_ms > 0 && wait_ms >= 0);
    struct fm_whom_seat *s = &g->seats.seat[i];
    struct fm_error e = {0};
    struct fm_called got;
    if (!resolved(g, s, try_ms, &e)) {
        trouble(g, s, e.msg);
        return fm_call_interrupted() ? FM_AGENTS_SIGNAL : FM_AGENTS_NOBODY;
    }
    if (s->to.sa.sa_family == AF_UNIX && access(s->to.un.sun_path, W_OK) && errno == EACCES) {
        g->forbidden++;
        trouble(g, s, "you may not use its socket");
        return FM_AGENTS_NOBODY;
    }
    if (!secured(g, s, &e)) {
        g->misconfigured++;
        trouble(g, s, e.msg);
        return FM_AGENTS_NOBODY;
    }
    f->to = &s->to;
    f->tls = s->tls ? g->tls : NULL;
    f->peer = s->peer;
    f->connect_ms = try_ms;
    f->whole_ms = try_ms + wait_ms;
    enum fm_err err = fm_call_ask(g->ask, f, &got, &e);
    if (!err) {
        take(&got, r);
        r->from = s->name;
        return FM_AGENTS_ANSWERED;
    }
    trouble(g, s, e.msg);
    g->forbidden += err == FM_ERR_PERMISSION;
    if (fm_call_interrupted())
        return got.sent && f->body ? FM_AGENTS_UNKNOWN : FM_AGENTS_SIGNAL;
    return got.sent && err != FM_ERR_PERMISSION ? FM_AGENTS_UNKNOWN : FM_AGENTS_NOBODY;
}

/* Of answers that left it to others one is the answer in the end, and rather the 503. */
static void put_by(struct fm_reply *by, struct fm_reply *r)
{
    FM_ASSERT(r->status == 404 || r->status == 503);
    if (by->status == 503) {
        json_decref(r->doc);
    } else {
        json_decref(by->doc);
        *by = *r;
    }
    *r = (struct fm_reply){0};
}

static enum fm_agents_end ask(struct fm_agents *g, struct fm_call_for *f, int64_t wait_ms,
                              bool again, struct fm_reply *r)
{
    int64_t most = g->args->timeout_ms ? g->args->timeout_ms : 1;
    int64_t try_ms = g->seats.n == 1 ? most : fm_clamp_i64(most / 2, TRY_LEAST_MS, TRY_MS);
    struct fm_mono until = fm_mono_add_ms(fm_mono_now(), most);
    struct fm_reply by = {0};
    enum fm_agents_end end = FM_AGENTS_NOBODY;
    begin(g);
    for (unsigned k = 0; k < g->seats.n; k++) {
        unsigned i = (g->at + k) % g->seats.n;
        int64_t left = fm_mono_sub_ms(until, fm_mono_now());
        if (k > 0 && left <= 0)
            break;
        *r = (struct fm_reply){0};
        end = ask_seat(g, i, f, k > 0 && left < try_ms ? left : try_ms, wait_ms, r);
        if (end == FM_AGENTS_ANSWERED && passes_over(f, r)) {
            trouble(g, &g->seats.seat[i], r->status == 404 ? "it has no such page" : "not now");
            put_by(&by, r);
            continue;
        }
        if (end == FM_AGENTS_ANSWERED)
            g->at = i;
        if (end == FM_AGENTS_ANSWERED || end == FM_AGENTS_SIGNAL ||
            (end == FM_AGENTS_UNKNOWN && !again)) {
            json_decref(by.doc);
            return end;
        }
    }
    *r = by;
    return by.status ? FM_AGENTS_ANSWERED : FM_AGENTS_NOBODY;
}

enum fm_agents_end fm_agents_get(struct fm_agents *g, const char *target, int64_t wait_ms,
                                 struct fm_reply *r)
{
    struct fm_call_for f = {.target = target};
    FM_ASSERT(target[0] == '/' && wait_ms >= 0);
    return ask(g, &f, wait_ms, true, r);
}

enum fm_agents_end fm_agents_post(struct fm_agents *g, const char *target, const json_t *body,
                                  bool again, struct fm_reply *r)
{
    char *text = json_dumps(body, JSON_COMPACT);
    struct fm_call_for f = {.target = target, .body = text};
    FM_ASSERT(text && target[0] == '/');
    enum fm_agents_end end = ask(g, &f, again ? 0 : g->args->timeout_ms, again, r);
    free(text);
    return end;
}

int fm_agents_status(struct fm_agents *g, json_t **out)
{
    struct fm_reply r = {0};
    char what[512];
    *out = NULL;
    enum fm_agents_end end = fm_agents_get(g, "/status", 0, &r);
    if (end != FM_AGENTS_ANSWERED)
        return fm_agents_fail(g, end);
    if (r.status == 404) /* said of everybody who was asked: a peer port of another version */
        return fm_agents_fail(g, FM_AGENTS_NOBODY);
    if (r.status == 200 && r.doc) {
        *out = r.doc;
        return FM_EXIT_OK;
    }
    snprintf(what, sizeof what, "the answer of %s (status %u) is no status document", r.from,
             r.status);
    json_decref(r.doc);
    return fm_print_error(g->args, g->command, FM_EXIT_FAILED, what, NULL);
}

/* -------- beginning and end -------- */

const struct fm_conf *fm_agents_conf(const struct fm_agents *g)
{
    return g->seats.conf;
}

int fm_agents_open(struct fm_agents **out, const struct fm_args *a, const char *command,
                   enum fm_whom_use use)
{
    struct fm_error e = {0};
    *out = NULL;
    struct fm_agents *g = calloc(1, sizeof *g);
    if (!g)
        return fm_print_error(a, command, FM_EXIT_FAILED, "out of memory", NULL);
    g->args = a;
    g->command = command;
    g->use = use;
    int code = fm_whom_find(&g->seats, a, command, use);
    if (!code && !(g->ask = fm_call_new(&e)))
        code = fm_print_error(a, command, FM_EXIT_FAILED, e.msg, NULL);
    if (!code && g->seats.n == 0)
        code = fm_agents_fail(g, FM_AGENTS_NOBODY);
    if (code)
        fm_agents_close(g);
    else
        *out = g;
    return code;
}

void fm_agents_close(struct fm_agents *g)
{
    if (!g)
        return;
    fm_call_free(g->ask);
    fm_tls_unref(g->tls);
    fm_whom_free(&g->seats);
    free(g);
}

/* -------- commands that show something -------- */

static int show_on(struct fm_agents *g, int (*show)(const struct fm_args *a, struct fm_agents *g))
{
    const struct fm_args *a = g->args;
    for (;;) {
        if (a->watch && a->output == FM_OUTPUT_TABLE && isatty(STDOUT_FILENO))
            fputs("\033[H\033[2J", stdout);
        int code = show(a, g);
        if (!a->watch || code == FM_EXIT_USAGE)
            return code;
        if (fflush(stdout) != 0)
            return FM_EXIT_FAILED; /* nobody reads it */
        sleep(1);
    }
}

int fm_agents_show(const struct fm_args *a, const char *command, enum fm_whom_use use,
                   int (*show)(const struct fm_args *a, struct fm_agents *g))
{
    struct fm_agents *g;
    int code = fm_agents_open(&g, a, command, use);
    if (code)
        return code;
    FM_ASSERT(g);
    code = show_on(g, show);
    fm_agents_close(g);
    return code;
}
