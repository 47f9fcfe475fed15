/* See the header. */
#include "drive.h"

#include "http/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static jmp_buf way_out;
char drive_why[512];
struct drive_result result;

void drive_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(drive_why, sizeof drive_why, "%s:%d: ", file, line);
    va_start(ap, fmt);
    vsnprintf(drive_why + n, sizeof drive_why - (size_t)n, fmt, ap);
    va_end(ap);
    longjmp(way_out, 1);
}

bool drive_try(void (*what)(void *arg), void *arg)
{
    jmp_buf before; /* one may be inside another */
    memcpy(&before, &way_out, sizeof before);
    bool good = setjmp(way_out) == 0;
    if (good)
        what(arg);
    memcpy(&way_out, &before, sizeof before);
    return good;
}

static void closed(struct fm_coord *c, void *user)
{
    (void)c;
    ((struct drive *)user)->closed = true;
}

void drive_open(struct drive *d, const struct drive_target *t, const struct fm_coord_config *config)
{
    struct fm_error e = {0};
    struct fm_coord_config c = config ? *config : (struct fm_coord_config){0};
    fm_pool_init(&d->pool, 64 * 1024, 64);
    if (fm_loop_init(&d->loop, &d->pool, &e))
        drive_fail(__FILE__, __LINE__, "%s", e.msg);
    c.service = c.service ? c.service : t->service;
    c.endpoint = t->endpoint;
    c.nendpoint = t->n;
    c.login = t->login;
    c.password_file = t->password_file;
    c.tls = t->tls.ca ? &t->tls : NULL;
    c.closed = closed;
    c.user = d;
    d->closed = false;
    d->coord = fm_coord_open(&d->loop, &c, &e);
    if (!d->coord)
        drive_fail(__FILE__, __LINE__, "%s", e.msg);
}

void drive_close(struct drive *d)
{
    fm_coord_close(d->coord);
    drive_until(d, &d->closed);
    fm_loop_turn(&d->loop, 0);
    fm_loop_deinit(&d->loop);
    CHECK_EQ(d->pool.in_use, 0);
    fm_pool_deinit(&d->pool);
}

struct fm_mono drive_in_ms(struct drive *d, int64_t ms)
{
    (void)d;
    return fm_mono_add_ms(fm_mono_now(), ms);
}

void drive_until(struct drive *d, const bool *flag)
{
    struct fm_mono end = drive_in_ms(d, 2 * DRIVE_DEADLINE_MS);
    while (!*flag) {
        if (fm_mono_before(end, fm_mono_now()))
            drive_fail(__FILE__, __LINE__, "it never came to an end");
        fm_loop_turn(&d->loop, 20 * FM_NS_PER_MS);
    }
}

void drive_turn_ms(struct drive *d, int64_t ms)
{
    struct fm_mono end = drive_in_ms(d, ms);
    while (fm_mono_before(fm_mono_now(), end))
        fm_loop_turn(&d->loop, 5 * FM_NS_PER_MS);
}

/* -------- operations -------- */

static struct fm_str keep(struct fm_str s)
{
    if (!s.n)
        return fm_str("", 0);
    CHECK(s.n <= sizeof result.bytes - result.used);
    char *p = result.bytes + result.used;
    memcpy(p, s.p, s.n);
    result.used += s.n;
    return fm_str(p, s.n);
}

static void done(struct fm_coord_op *op)
{
    result.outcome = op->outcome;
    result.why = op->why;
    result.revision = op->revision;
    result.n = op->nkv;
    result.used = 0;
    snprintf(result.error, sizeof result.error, "%s", op->error.msg);
    CHECK(op->nkv <= DRIVE_FOUND_MAX);
    for (size_t i = 0; i < op->nkv; i++)
        result.kv[i] =
            (struct fm_coord_kv){keep(op->kv[i].key), keep(op->kv[i].value), op->kv[i].revision};
    *(bool *)op->user = true;
}

void drive_get(struct drive *d, const char *key, bool prefix, bool stale)
{
    bool over = false;
    struct fm_coord_op op = {.done = done, .user = &over};
    fm_coord_get(d->coord, &op, fm_str_z(key), prefix, stale, drive_in_ms(d, DRIVE_DEADLINE_MS));
    CHECK(!over);
    drive_until(d, &over);
}

void drive_commit(struct drive *d, const struct fm_coord_txn *t, int64_t deadline_ms)
{
    bool over = false;
    struct fm_coord_op op = {.done = done, .user = &over};
    fm_coord_commit(d->coord, &op, t, drive_in_ms(d, deadline_ms));
    CHECK(!over);
    drive_until(d, &over);
}

static void must_be_done(void)
{
    if (result.outcome != FM_COORD_DONE)
        drive_fail(__FILE__, __LINE__, "%s (%s): %s", fm_coord_outcome_text(result.outcome),
                   fm_coord_why_text(result.why), result.error);
}

uint64_t drive_put(struct drive *d, const char *key, const char *value)
{
    struct fm_coord_write w = {.key = fm_str_z(key), .value = fm_str_z(value)};
    drive_commit(d, &(struct fm_coord_txn){.write = &w, .nwrite = 1}, DRIVE_DEADLINE_MS);
    must_be_done();
    return result.revision;
}

bool drive_swap(struct drive *d, const char *key, uint64_t revision, const char *value)
{
    struct fm_coord_compare c = {fm_str_z(key), revision};
    struct fm_coord_write w = {.key = fm_str_z(key), .value = fm_str_z(value)};
    drive_commit(d, &(struct fm_coord_txn){.compare = &c, .ncompare = 1, .write = &w, .nwrite = 1},
                 DRIVE_DEADLINE_MS);
    if (result.why != FM_COORD_WHY_COMPARE)
        must_be_done();
    return result.outcome == FM_COORD_DONE;
}

uint64_t drive_erase(struct drive *d, const char *key)
{
    struct fm_coord_write w = {.key = fm_str_z(key), .erase = true};
    drive_commit(d, &(struct fm_coord_txn){.write = &w, .nwrite = 1}, DRIVE_DEADLINE_MS);
    must_be_done();
    return result.revision;
}

/* -------- beside the client -------- */

struct aside {
    struct fm_http_link link;
    unsigned status;
    bool over;
};

static void aside_answered(struct fm_http_link *l, unsigned status, struct fm_str body)
{
    (void)body;
    fm_container_of(l, struct aside, link)->status = status;
    fm_http_link_close(l);
}

static void aside_failed(struct fm_http_link *l, int err, const char *why)
{
    (void)l;
    (void)err;
    fprintf(stderr, "%s\n", why);
}

static void aside_closed(struct fm_http_link *l)
{
    fm_container_of(l, struct aside, link)->over = true;
}

unsigned drive_post(struct drive *d, const struct drive_target *t, const char *path,
                    const char *body)
{
    static const struct fm_http_link_ops ops = {
        .answered = aside_answered, .failed = aside_failed, .closed = aside_closed};
    struct aside a = {.status = 0};
    struct fm_addr to;
    struct fm_error e;
    struct fm_str host = fm_str_z(t->endpoint[0].host);
    if (t->endpoint[0].port)
        CHECK_EQ(fm_addr_ip(&to, host, t->endpoint[0].port), FM_ERR_OK);
    else
        CHECK_EQ(fm_addr_unix(&to, host), FM_ERR_OK);
    struct fm_http_ask p = {.to = &to,
                            .target = path,
                            .host = "localhost",
                            .body = strdup(body),
                            .body_n = strlen(body),
                            .answer_max = 1 << 20,
                            .connect = drive_in_ms(d, 2000),
                            .deadline = drive_in_ms(d, 5000)};
    if (t->tls.ca) {
        CHECK_EQ(fm_tls_new(&p.tls, FM_TLS_CLIENT, &t->tls, &e), FM_ERR_OK);
        p.peer = t->endpoint[0].host;
    }
    CHECK_EQ(fm_http_link_ask(&a.link, &d->loop, &ops, &p, &e), FM_ERR_OK);
    fm_tls_unref(p.tls);
    drive_until(d, &a.over);
    return a.status;
}
