/* Running checks: see the header. A run that is replaced while it is busy is kept aside until what
 * it holds (a connection, a lookup) is given back. */
#include "agent/checks.h"

#include "agent/check_io.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/rand.h"
#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>

struct run {
    struct fm_check_io io;
    struct run *next;
    struct fm_checks *all;
    struct fm_timer timer; /* of the next run */
    struct fm_check state;
    char text[FM_CHECK_TEXT_MAX];
    int64_t changed_wall_ns;
};

struct fm_checks {
    struct fm_loop *loop;
    struct fm_resolver *resolver;
    struct fm_http_limits limits;
    struct fm_http_field *fields;
    struct run *runs, *stale;
    struct fm_rand rand;
    char why[FM_CHECK_TEXT_MAX + 128];
};

static struct fm_check_policy policy_of(const struct fm_conf_check *c)
{
    FM_ASSERT(c->fall > 0 && c->fall <= UINT8_MAX && c->rise > 0 && c->rise <= UINT8_MAX);
    return (struct fm_check_policy){
        .fall = (uint8_t)c->fall, .rise = (uint8_t)c->rise, .max_age_ms = c->max_age_ms};
}

static const char *type_name(enum fm_conf_check_type t)
{
    switch (t) {
    case FM_CHECK_TCP:
        return "tcp";
    case FM_CHECK_HTTP:
        return "http";
    case FM_CHECK_REDIS:
        return "redis";
    case FM_CHECK_DNS:
        return "dns";
    case FM_CHECK_TLS:
        return "tls";
    case FM_CHECK_COMMAND:
        return "command";
    case FM_CHECK_POSTGRES:
        return "postgres";
    }
    FM_UNREACHABLE();
}

static void bury_stale(struct fm_checks *c)
{
    for (struct run **at = &c->stale; *at;) {
        struct run *r = *at;
        if (fm_check_io_is_busy(&r->io)) {
            at = &r->next;
            continue;
        }
        FM_ASSERT(!fm_timer_is_set(&r->timer));
        *at = r->next;
        fm_check_io_deinit(&r->io);
        free(r);
    }
}

/* Rather early than late: `max-age` counts on a result within the interval. */
static void next_run(struct run *r, int64_t ms)
{
    FM_ASSERT(ms > 0 && !r->io.running && !fm_timer_is_set(&r->timer));
    int64_t jitter = ms / 10 > 0 ? (int64_t)(fm_rand_u64(&r->all->rand) % (uint64_t)(ms / 10)) : 0;
    fm_loop_timer_in_ms(r->all->loop, &r->timer, ms - jitter);
}

static void done(struct fm_check_io *io, const struct fm_check_result *res)
{
    struct run *r = fm_container_of(io, struct run, io);
    struct fm_mono now = fm_mono_now(); /* it may have ended in the turn in which it began */
    struct fm_check_policy p = policy_of(io->conf);
    FM_ASSERT(!io->running && (res->ok || res->text[0]) && (!res->warn || res->ok));
    bool was_warn = r->state.warn;
    memcpy(r->text, res->text, sizeof r->text);
    fm_text_tame(r->text); /* it may hold what a dependency said */
    bool flipped =
        fm_check_result(&r->state, &p, res->ok, res->warn, fm_mono_sub_ns(now, io->started), now);
    if (flipped || was_warn != r->state.warn) {
        r->changed_wall_ns = fm_wall_now_ns();
        enum fm_check_state s = fm_check_now(&r->state, &p, now);
        fm_log(s == FM_CHECK_GOOD ? FM_LOG_INFO : FM_LOG_WARN, "check_changed",
               FM_KS("check", io->conf->name), FM_KZ("state", fm_check_state_name(s)),
               FM_KZ("evidence", r->text), FM_KMS("latency_ms", r->state.latency_ns));
    }
    next_run(r, io->conf->interval_ms);
}

static void start(struct fm_timer *t)
{
    struct run *r = fm_container_of(t, struct run, timer);
    bury_stale(r->all);
    if (fm_check_io_is_busy(&r->io)) /* a connection that is not closed yet: a moment later */
        fm_loop_timer_in_ms(r->all->loop, t, 1);
    else
        fm_check_io_start(&r->io);
}

static struct run *new_run(struct fm_checks *c, const struct fm_conf_check *conf)
{
    struct run *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->all = c;
    FM_ASSERT(conf->interval_ms > 0 && conf->timeout_ms > 0 && conf->max_age_ms > 0);
    r->io.conf = conf;
    r->io.loop = c->loop;
    r->io.resolver = c->resolver;
    r->io.limits = &c->limits;
    r->io.fields = c->fields;
    r->io.done = done;
    fm_check_io_init(&r->io);
    fm_timer_init(&r->timer, start);
    fm_check_init(&r->state, fm_loop_now(c->loop));
    r->changed_wall_ns = fm_wall_now_ns();
    return r;
}

static void drop(struct fm_checks *c, struct run *r)
{
    fm_loop_cancel(c->loop, &r->timer);
    fm_check_io_abort(&r->io);
    FM_ASSERT(!r->io.running);
    r->next = c->stale;
    c->stale = r;
}

enum fm_err fm_checks_reset(struct fm_checks *c, const struct fm_conf *conf, unsigned region,
                            struct fm_error *e)
{
    FM_ASSERT(region < conf->nregions);
    const struct fm_conf_region *cr = &conf->regions[region];
    struct run *fresh = NULL;
    enum fm_err err = FM_ERR_OK;
    for (size_t i = 0; i < cr->nchecks; i++) {
        struct run *r = new_run(c, &cr->checks[i]);
        if (!r) {
            err = fm_error_set(e, FM_ERR_MEMORY, "no memory for all checks");
            break;
        }
        for (const struct run *o = c->runs; o; o = o->next)
            if (fm_str_eq(o->io.conf->name, cr->checks[i].name)) {
                r->state = o->state;
                r->changed_wall_ns = o->changed_wall_ns;
                memcpy(r->text, o->text, sizeof r->text);
            }
        r->next = fresh;
        fresh = r;
    }
    while (c->runs) {
        struct run *r = c->runs;
        c->runs = r->next;
        drop(c, r);
    }
    c->runs = fresh;
    for (struct run *r = fresh; r; r = r->next)
        next_run(r, 1);
    bury_stale(c);
    return err;
}

struct fm_checks *fm_checks_new(struct fm_loop *l, struct fm_resolver *rs,
                                const struct fm_conf *conf, unsigned region, struct fm_error *e)
{
    struct fm_checks *c = calloc(1, sizeof *c);
    if (c)
        c->fields = calloc(FM_HTTP_FIELDS_MAX, sizeof *c->fields);
    if (!c || !c->fields) {
        free(c);
        fm_error_set(e, FM_ERR_MEMORY, "no memory for checks");
        return NULL;
    }
    c->loop = l;
    c->resolver = rs;
    c->limits = (struct fm_http_limits)FM_HTTP_LIMITS_DEFAULT;
    fm_rand_bytes(&c->rand, sizeof c->rand);
    if (fm_checks_reset(c, conf, region, e)) {
        fm_checks_free(c);
        return NULL;
    }
    return c;
}

void fm_checks_free(struct fm_checks *c)
{
    if (!c)
        return;
    while (c->runs) {
        struct run *r = c->runs;
        c->runs = r->next;
        drop(c, r);
    }
    fm_loop_turn(c->loop, 0);
    while (c->stale) { /* the resolver is gone: what it still had will not come back */
        struct run *r = c->stale;
        c->stale = r->next;
        free(r);
    }
    free(c->fields);
    free(c);
}

/* -------- what they mean -------- */

static const struct run *find(const struct fm_checks *c, struct fm_str name)
{
    for (const struct run *r = c->runs; r; r = r->next)
        if (fm_str_eq(r->io.conf->name, name))
            return r;
    return NULL;
}

bool fm_checks_capable(struct fm_checks *c, const struct fm_conf_context *context, const char **why)
{
    struct fm_mono now = fm_mono_now();
    for (size_t i = 0; i < context->nneeds; i++) {
        const struct run *r = find(c, context->needs[i]);
        struct fm_check_policy p = r ? policy_of(r->io.conf) : (struct fm_check_policy){0};
        enum fm_check_state s = r ? fm_check_now(&r->state, &p, now) : FM_CHECK_UNKNOWN;
        if (fm_check_is_good(s))
            continue;
        snprintf(c->why, sizeof c->why, "%.*s is %s%s%s", FM_STR_ARG(context->needs[i]),
                 fm_check_state_name(s), r && r->text[0] ? ": " : "", r ? r->text : "");
        FM_ASSERT(c->why[0]);
        *why = c->why;
        return false;
    }
    return true;
}

json_t *fm_checks_json(const struct fm_checks *c)
{
    json_t *all = json_object();
    struct fm_mono now = fm_mono_now();
    for (const struct run *r = c->runs; r; r = r->next) {
        struct fm_check_policy p = policy_of(r->io.conf);
        bool known = r->state.known;
        int64_t latency_us = r->state.latency_ns / FM_NS_PER_US;
        FM_ASSERT(r->all == c && latency_us >= 0);
        char since[FM_RFC3339_LEN];
        fm_wall_format(since, r->changed_wall_ns);
        json_t *o = json_object();
        json_object_set_new(o, "type", json_string(type_name(r->io.conf->type)));
        json_object_set_new(o, "state",
                            json_string(fm_check_state_name(fm_check_now(&r->state, &p, now))));
        json_object_set_new(o, "since", json_string(since));
        json_object_set_new(o, "age_ms",
                            known ? json_integer((json_int_t)fm_mono_sub_ms(now, r->state.last))
                                  : json_null());
        json_object_set_new(o, "latency_ms",
                            known ? json_real((double)latency_us / 1000.0) : json_null());
        json_object_set_new(o, "last_error", r->text[0] ? json_string(r->text) : json_null());
        json_object_set_new(all, r->io.conf->name.p, o);
    }
    return all;
}
