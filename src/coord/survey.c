/* Looking at each endpoint by itself, for people: is it there, who leads, how far is it. It does
 * not touch what the client believes; see coord.h. */
#include "coord/client.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

struct visit {
    struct fm_http_link link; /* first */
    struct fm_coord_survey *survey;
    struct fm_mono began;
    bool posted, over;
};

struct fm_coord_survey {
    struct fm_coord *coord;
    struct fm_mono deadline;
    struct fm_timer timer;
    void (*done)(void *user, const struct fm_coord_seen *seen, size_t n);
    void *user;
    struct visit visit[FM_COORD_ENDPOINTS_MAX];
    struct fm_coord_seen seen[FM_COORD_ENDPOINTS_MAX];
    bool told;
};

static void end_if_over(struct fm_coord_survey *s)
{
    FM_ASSERT(s->coord->nplace <= FM_COORD_ENDPOINTS_MAX);
    struct fm_coord *c = s->coord;
    for (size_t i = 0; i < c->nplace; i++)
        if (!s->visit[i].over || s->visit[i].link.open)
            return;
    FM_ASSERT(c->survey == s);
    fm_loop_cancel(c->loop, &s->timer);
    c->survey = NULL;
    if (!s->told && !c->closing)
        s->done(s->user, s->seen, c->nplace);
    free(s);
    fm_coord_kick(c, 0);
}

static struct visit *visit_of(struct fm_http_link *l)
{
    return fm_container_of(l, struct visit, link);
}

static struct fm_coord_seen *seen_by(struct visit *v)
{
    return &v->survey->seen[v - v->survey->visit];
}

static void fail(struct visit *v, const char *why)
{
    FM_ASSERT(why);
    if (v->over)
        return;
    v->over = true;
    fm_error_set(&seen_by(v)->error, FM_ERR_UNREACHABLE, "%s", why);
}

static void visit_answered(struct fm_http_link *l, unsigned status, struct fm_str body)
{
    struct visit *v = visit_of(l);
    struct fm_coord_seen *out = seen_by(v);
    struct fm_coord_answer a;
    const char *why;
    out->reachable = true;
    out->latency_us = fm_mono_sub_ns(fm_loop_now(v->survey->coord->loop), v->began) / FM_NS_PER_US;
    if (status != 200) {
        fm_coord_wire_read_error(&a, body);
        fail(v, a.message);
    } else if (!fm_coord_wire_read(&a, FM_COORD_WIRE_STATUS, body, FM_STR(""), &why)) {
        fail(v, why);
    } else {
        out->revision = a.revision;
        out->cluster = a.cluster;
        out->term = a.term;
        out->bytes = a.bytes;
        out->has_leader = a.leader != 0;
        out->leads = a.leader != 0 && a.leader == a.member;
        memcpy(out->version, a.version, sizeof out->version);
    }
    fm_coord_wire_free(&a);
    v->over = true;
    fm_http_link_close(l);
}

static void visit_failed(struct fm_http_link *l, int err, const char *why)
{
    (void)err;
    fail(visit_of(l), why);
}

static void visit_closed(struct fm_http_link *l)
{
    end_if_over(visit_of(l)->survey);
}

static const struct fm_http_link_ops visit_ops = {
    .answered = visit_answered, .failed = visit_failed, .closed = visit_closed};

static void post(struct visit *v, unsigned place)
{
    FM_ASSERT(!v->posted && !v->over && place < v->survey->coord->nplace);
    struct fm_coord *c = v->survey->coord;
    struct fm_error e = {0};
    char *body = strdup("{}");
    if (!body) {
        fail(v, "out of memory");
        return;
    }
    v->posted = true;
    v->began = fm_loop_now(c->loop);
    struct fm_http_ask p = fm_coord_ask_of(c, place);
    p.target = "/v3/maintenance/status";
    p.body = body;
    p.body_n = 2;
    p.connect = p.deadline = v->survey->deadline;
    if (fm_http_link_ask(&v->link, c->loop, &visit_ops, &p, &e))
        fail(v, e.msg);
}

/* Names may have to be looked up first: look again until all are known, or it is too late. */
static void go_on(struct fm_timer *t)
{
    enum { LOOK_AGAIN_MS = 5 };
    struct fm_coord_survey *s = fm_container_of(t, struct fm_coord_survey, timer);
    struct fm_coord *c = s->coord;
    bool late = !fm_mono_before(fm_loop_now(c->loop), s->deadline), waiting = false;
    for (unsigned i = 0; i < c->nplace; i++) {
        struct visit *v = &s->visit[i];
        struct fm_coord_place *p = &c->place[i];
        if (v->posted || v->over)
            continue;
        if (p->known)
            post(v, i);
        else if (late || (!p->lookup.busy && p->lookup.result != FM_ERR_OK))
            fail(v, p->lookup.why[0] ? p->lookup.why : "its name is not known in time");
        else
            waiting = true;
    }
    if (waiting)
        fm_loop_timer_in_ms(c->loop, &s->timer, LOOK_AGAIN_MS);
    end_if_over(s);
}

enum fm_err fm_coord_survey(struct fm_coord *c, struct fm_mono deadline,
                            void (*done)(void *user, const struct fm_coord_seen *seen, size_t n),
                            void *user, struct fm_error *e)
{
    FM_ASSERT(!c->closing);
    if (c->survey)
        return fm_error_set(e, FM_ERR_STATE, "a survey is being made");
    struct fm_coord_survey *s = calloc(1, sizeof *s);
    if (!s)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    s->coord = c;
    s->deadline = deadline;
    s->done = done;
    s->user = user;
    fm_timer_init(&s->timer, go_on);
    for (size_t i = 0; i < c->nplace; i++) {
        struct fm_coord_place *p = &c->place[i];
        s->visit[i].survey = s;
        s->seen[i].endpoint = p->text;
        if (!p->known && !p->lookup.busy)
            fm_resolver_ask(c->config.resolver, &p->lookup);
    }
    c->survey = s;
    fm_loop_timer_in_ms(c->loop, &s->timer, 0);
    return FM_ERR_OK;
}

void fm_coord_survey_end(struct fm_coord *c)
{
    struct fm_coord_survey *s = c->survey;
    if (!s)
        return;
    s->told = true;
    for (size_t i = 0; i < c->nplace; i++) {
        s->visit[i].over = true;
        if (s->visit[i].link.open)
            fm_http_link_close(&s->visit[i].link);
    }
    end_if_over(s);
}
