/* Handing out who holds what: see the header. Invariant: what is handed out never goes back. */
#include "agent/publish.h"

#include "base/assert.h"
#include "http/polls.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* What somebody asks for. */
struct ask {
    bool feed;
    struct fm_incarnation incarnation; /* newer than this */
    struct fm_generation generation;
    bool has_after, has_seen;
    uint64_t seen;                          /* or this version, with another text */
    char context[FM_VIEW_DOC_NAME_MAX + 1]; /* of the feed: this one alone; "" = all */
    int64_t wait_ms;
};

struct fm_publish {
    struct fm_view_doc doc;
    bool has_doc;
    char *text; /* of the document */
    size_t text_n;
    uint64_t hash;
    struct fm_polls polls;
};

/* -------- what is news -------- */

/* The version that this is about. False where there is no such thing. */
static bool version_of(const struct fm_publish *p, const struct ask *k, struct fm_incarnation *i,
                       struct fm_generation *g)
{
    FM_ASSERT(k->feed || !k->context[0]);
    if (!p->has_doc)
        return false;
    *i = p->doc.incarnation;
    *g = p->doc.generation;
    if (!k->context[0])
        return true;
    const struct fm_view_doc_context *c = fm_view_doc_find(&p->doc, fm_str_z(k->context));
    if (!c)
        return false;
    *i = c->incarnation;
    *g = c->generation;
    return true;
}

static bool is_news(const struct fm_publish *p, const struct ask *k)
{
    struct fm_incarnation i;
    struct fm_generation g;
    if (!version_of(p, k, &i, &g))
        return false;
    if (!k->has_after || fm_view_newer(i, g, k->incarnation, k->generation))
        return true;
    bool older = fm_view_newer(k->incarnation, k->generation, i, g);
    return k->has_seen && !older && p->hash != k->seen;
}

/* -------- answers -------- */

static json_t *feed_context(const struct fm_view_doc *d, const struct fm_view_doc_context *c)
{
    json_t *cells = json_array();
    for (unsigned i = 0; i < c->ncells; i++) {
        const struct fm_view_doc_cell *cell = &c->cell[i];
        bool nobody = cell->c.region == FM_VIEW_DOC_NOBODY;
        json_array_append_new(cells, json_pack("{s:s?,s:b,s:I}", "region",
                                               nobody ? NULL : fm_view_doc_holder(d, cell), "held",
                                               (int)!cell->c.released, "epoch",
                                               (json_int_t)cell->c.epoch.n));
    }
    return json_pack("{s:I,s:I,s:b,s:o}", "incarnation", (json_int_t)c->incarnation.n, "generation",
                     (json_int_t)c->generation.n, "read_only", (int)c->read_only, "cells", cells);
}

static char *feed_text(const struct fm_publish *p, const struct ask *k)
{
    struct fm_incarnation i;
    struct fm_generation g;
    bool there = version_of(p, k, &i, &g);
    FM_ASSERT(there);
    json_t *contexts = json_object();
    for (size_t c = 0; c < p->doc.ncontexts; c++)
        if (!k->context[0] || strcmp(k->context, p->doc.context[c].name) == 0)
            json_object_set_new(contexts, p->doc.context[c].name,
                                feed_context(&p->doc, &p->doc.context[c]));
    json_t *o = json_pack("{s:s,s:s,s:I,s:I,s:o}", "schema", "fulmar.feed/1", "service",
                          p->doc.service, "incarnation", (json_int_t)i.n, "generation",
                          (json_int_t)g.n, "contexts", contexts);
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return text;
}

static void fill(const struct fm_publish *p, const struct ask *k, struct fm_page_answer *a)
{
    FM_ASSERT(is_news(p, k));
    if (k->feed) {
        a->body = feed_text(p, k);
        a->n = a->body ? strlen(a->body) : 0;
    } else {
        a->body = malloc(p->text_n);
        if (a->body)
            memcpy(a->body, p->text, p->text_n);
        a->n = a->body ? p->text_n : 0;
    }
    if (a->body)
        a->content_type = "application/json";
    else
        fm_page_problem(a, 503, "out of memory");
}

static bool has_news(void *user, const void *ask)
{
    return is_news(user, ask);
}

static void fill_now(void *user, const void *ask, struct fm_page_answer *a)
{
    if (is_news(user, ask))
        fill(user, ask, a);
    else
        a->status = 204;
}

/* -------- asking -------- */

static bool read_after(struct fm_str s, struct ask *k)
{
    const char *dot = s.n ? memchr(s.p, '.', s.n) : NULL;
    if (!dot)
        return false;
    size_t n = (size_t)(dot - s.p);
    k->has_after = true;
    return fm_str_u64(fm_str(s.p, n), &k->incarnation.n) &&
           fm_str_u64(fm_str(dot + 1, s.n - n - 1), &k->generation.n);
}

static bool read_pair(struct fm_str name, struct fm_str value, struct ask *k)
{
    uint64_t n;
    if (fm_str_eqz(name, "after"))
        return read_after(value, k);
    if (fm_str_eqz(name, "seen") && !k->feed)
        return k->has_seen = fm_str_u64_hex(value, &k->seen);
    if (fm_str_eqz(name, "wait")) {
        if (!fm_str_u64(value, &n))
            return false;
        k->wait_ms = (int64_t)fm_min_u64(n, FM_PUBLISH_WAIT_MAX_MS);
        return true;
    }
    if (fm_str_eqz(name, "context") && k->feed) {
        if (value.n == 0 || value.n > FM_VIEW_DOC_NAME_MAX)
            return false;
        memcpy(k->context, value.p, value.n);
        return true;
    }
    return true; /* of a newer version */
}

static bool read_ask(struct fm_str query, struct ask *k)
{
    size_t at = query.n > 0 ? 1 : 0; /* the "?" */
    while (at < query.n) {
        const char *end = memchr(query.p + at, '&', query.n - at);
        size_t n = end ? (size_t)(end - query.p) - at : query.n - at;
        const char *is = n ? memchr(query.p + at, '=', n) : NULL;
        if (!is)
            return false;
        struct fm_str name = fm_str(query.p + at, (size_t)(is - query.p) - at);
        if (!read_pair(name, fm_str(is + 1, n - name.n - 1), k))
            return false;
        at += n + 1;
    }
    return true;
}

static void respond(struct fm_publish *p, const struct fm_page_request *q, bool feed,
                    struct fm_page_answer *a)
{
    struct ask k = {.feed = feed};
    if (!read_ask(q->query, &k))
        fm_page_problem(a, 400, "the query is after=INCARNATION.GENERATION&wait=MILLISECONDS");
    else if (is_news(p, &k))
        fill(p, &k, a);
    else if (p->has_doc && k.context[0] && !fm_view_doc_find(&p->doc, fm_str_z(k.context)))
        fm_page_problem(a, 404, "there is no such context with cells");
    else if (k.wait_ms > 0)
        fm_polls_wait(&p->polls, q, &k, sizeof k, k.wait_ms, a);
    else if (p->has_doc)
        a->status = 204;
    else
        fm_page_problem(a, 503, "this agent knows of no view yet");
}

void fm_publish_view(struct fm_publish *p, const struct fm_page_request *q,
                     struct fm_page_answer *a)
{
    respond(p, q, false, a);
}

void fm_publish_feed(struct fm_publish *p, const struct fm_page_request *q,
                     struct fm_page_answer *a)
{
    respond(p, q, true, a);
}

/* -------- what is handed out -------- */

enum fm_err fm_publish_set(struct fm_publish *p, const struct fm_view_doc *d, struct fm_error *e)
{
    struct fm_view_doc copy;
    char *text;
    size_t n;
    if (p->has_doc &&
        fm_view_newer(p->doc.incarnation, p->doc.generation, d->incarnation, d->generation))
        return fm_error_set(e, FM_ERR_STATE, "the view is older than the one that is handed out");
    enum fm_err err = fm_view_doc_write(d, &text, &n, e);
    if (err)
        return err;
    uint64_t hash = fm_view_doc_hash(fm_str(text, n));
    if (p->has_doc && hash == p->hash) {
        free(text);
        return FM_ERR_OK;
    }
    if (fm_view_doc_copy(&copy, d)) {
        free(text);
        return fm_error_set(e, FM_ERR_MEMORY, "no memory for a view");
    }
    fm_view_doc_deinit(&p->doc);
    free(p->text);
    p->doc = copy;
    p->text = text;
    p->text_n = n;
    p->hash = hash;
    p->has_doc = true;
    fm_polls_changed(&p->polls);
    return FM_ERR_OK;
}

char *fm_publish_feed_text(const struct fm_publish *p)
{
    return p->has_doc ? feed_text(p, &(struct ask){.feed = true}) : NULL;
}

const struct fm_view_doc *fm_publish_doc(const struct fm_publish *p)
{
    return p->has_doc ? &p->doc : NULL;
}

struct fm_publish *fm_publish_new(struct fm_loop *l, struct fm_error *e)
{
    struct fm_publish *p = calloc(1, sizeof *p);
    if (!p) {
        fm_error_set(e, FM_ERR_MEMORY, "no memory to hand out views");
        return NULL;
    }
    p->polls = (struct fm_polls){
        .loop = l, .max = FM_PUBLISH_WAITERS_MAX, .is_news = has_news, .fill = fill_now, .user = p};
    fm_polls_init(&p->polls);
    return p;
}

void fm_publish_free(struct fm_publish *p)
{
    if (!p)
        return;
    fm_polls_deinit(&p->polls);
    fm_view_doc_deinit(&p->doc);
    free(p->text);
    free(p);
}
