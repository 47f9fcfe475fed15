/* Watches: a fresh read, then a stream of what changed after it, opened anew from the next revision
 * whenever it ends or is silent for too long, so that no change is missed and none told twice; see
 * coord.h. A store that has forgotten the revisions in between says so, and a fresh read begins it
 * all again. A stream outlives its watch until its connection is closed. */
#include "coord/client.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>

enum { FRESH_MS = 10000, AGAIN_MS = 100, AGAIN_MAX_MS = 3200 };

struct fm_coord_stream {
    struct fm_http_link link; /* first */
    struct fm_coord *coord;
    struct fm_coord_watch *watch; /* NULL: closed by its owner */
    struct fm_list node;
    struct fm_coord_op op; /* the fresh read */
    bool reading;          /* op is on its way */
    bool telling;          /* inside a call of the watch */
    bool created;          /* the store has confirmed the stream */
    unsigned place, fails;
    struct fm_mono not_before;
    uint64_t next; /* the least revision that was not told; 0: a fresh read is due */
    size_t key_n;
    char key[FM_COORD_KEY_MAX];
};

static struct fm_coord_stream *stream_of(struct fm_http_link *l)
{
    return fm_container_of(l, struct fm_coord_stream, link);
}

static void stream_free(struct fm_coord_stream *s)
{
    struct fm_coord *c = s->coord;
    FM_ASSERT(!s->watch && !s->link.open && !s->reading && !s->telling && c->nstreams > 0);
    fm_list_remove(&s->node);
    c->nstreams--;
    free(s);
    fm_coord_kick(c, 0);
}

static void let_go(struct fm_coord_stream *s)
{
    FM_ASSERT(!s->watch || s->watch->stream == s);
    if (s->watch)
        s->watch->stream = NULL;
    s->watch = NULL;
    if (s->link.open)
        fm_http_link_close(&s->link);
    else if (!s->reading && !s->telling)
        stream_free(s);
}

/* The watch may be closed by what it is told. False where it was. */
static bool still_wanted(struct fm_coord_stream *s)
{
    FM_ASSERT(s->telling);
    s->telling = false;
    if (s->watch)
        return true;
    if (!s->link.open && !s->reading)
        stream_free(s);
    return false;
}

static void again_later(struct fm_coord_stream *s)
{
    FM_ASSERT(s->coord->nstreams > 0);
    struct fm_coord *c = s->coord;
    int64_t ms = AGAIN_MS << (s->fails < 5 ? s->fails : 5);
    s->fails++;
    s->not_before = fm_mono_add_ms(fm_loop_now(c->loop), ms < AGAIN_MAX_MS ? ms : AGAIN_MAX_MS);
    fm_coord_kick(c, ms);
}

/* -------- the fresh read -------- */

static void fresh_read(struct fm_coord_op *op)
{
    struct fm_coord_stream *s = op->user;
    s->reading = false;
    if (!s->watch) {
        stream_free(s);
        return;
    }
    if (op->outcome != FM_COORD_DONE) {
        again_later(s);
        return;
    }
    s->next = op->revision + 1;
    s->fails = 0;
    s->telling = true;
    s->watch->fresh(s->watch, op->kv, op->nkv, op->revision);
    if (still_wanted(s))
        fm_coord_kick(s->coord, 0);
}

static void read_fresh(struct fm_coord_stream *s)
{
    FM_ASSERT(!s->reading && !s->link.open && s->next == 0);
    s->reading = true;
    s->op.done = fresh_read;
    s->op.user = s;
    fm_coord_get(s->coord, &s->op, fm_str(s->key, s->key_n), true, false,
                 fm_mono_add_ms(fm_loop_now(s->coord->loop), FRESH_MS));
}

/* -------- the stream -------- */

static void forgotten(struct fm_coord_stream *s)
{
    FM_ASSERT(s->link.open && s->next > 0);
    s->next = 0;
    fm_http_link_close(&s->link); /* when it is closed, the fresh read follows */
}

static void canceled(struct fm_coord_stream *s, int code, const char *message)
{
    FM_ASSERT(s->link.open && message);
    struct fm_coord *c = s->coord;
    if (fm_coord_wire_verdict(code, message) == FM_COORD_VERDICT_LOGIN && s->place == c->at) {
        c->token[0] = 0;
        c->no_login = false;
    }
    fm_coord_leave(c, s->place, message);
    again_later(s);
    fm_http_link_close(&s->link);
}

static bool fits(const struct fm_coord_stream *s, const struct fm_coord_answer *a)
{
    for (size_t i = 0; i < a->nevent; i++)
        if (!fm_str_starts(a->event[i].kv.key, fm_str(s->key, s->key_n)))
            return false;
    return true;
}

/* What was told before is left out: the same revision is never told twice. */
static void tell(struct fm_coord_stream *s, const struct fm_coord_event *event, size_t n)
{
    FM_ASSERT(s->watch && !s->telling && s->next > 0 && n > 0);
    while (n && event[0].kv.revision < s->next) {
        event++;
        n--;
    }
    if (n == 0)
        return;
    s->next = event[n - 1].kv.revision + 1;
    s->coord->revision = fm_max_u64(s->coord->revision, s->next - 1);
    s->telling = true;
    s->watch->changed(s->watch, event, n);
    (void)still_wanted(s); /* its link is open: it stays until that is closed */
}

static void stream_message(struct fm_http_link *l, struct fm_str line)
{
    struct fm_coord_stream *s = stream_of(l);
    struct fm_coord *c = s->coord;
    struct fm_coord_answer a;
    const char *why;
    if (!fm_coord_wire_read(&a, FM_COORD_WIRE_WATCH, line, c->prefix, &why)) {
        canceled(s, 0, why);
    } else if (a.code) {
        canceled(s, a.code, a.message);
    } else if (c->cluster && a.cluster != c->cluster) {
        canceled(s, 0, "it is of another cluster");
    } else if (a.canceled && a.compacted) {
        forgotten(s);
    } else if (a.canceled) {
        canceled(s, 0, a.message);
    } else if (!fits(s, &a)) {
        canceled(s, 0, "a change of a key that is not watched");
    } else {
        s->created |= a.created;
        s->fails = s->created ? 0 : s->fails;
        if (a.nevent)
            tell(s, a.event, a.nevent);
    }
    fm_coord_wire_free(&a);
}

static void stream_answered(struct fm_http_link *l, unsigned status, struct fm_str body)
{
    struct fm_coord_stream *s = stream_of(l);
    struct fm_coord_answer a;
    FM_ASSERT(status != 200);
    fm_coord_wire_read_error(&a, body);
    fm_coord_leave(s->coord, s->place, a.message);
    fm_coord_wire_free(&a);
    again_later(s);
    if (l->open)
        fm_http_link_close(l);
}

static void stream_failed(struct fm_http_link *l, int err, const char *why)
{
    struct fm_coord_stream *s = stream_of(l);
    if (err == -ETIMEDOUT && s->created)
        return; /* silence: opened anew, from where it was, when it is closed */
    fm_coord_leave(s->coord, s->place, why);
    again_later(s);
}

static void stream_closed(struct fm_http_link *l)
{
    struct fm_coord_stream *s = stream_of(l);
    if (!s->watch && !s->reading)
        stream_free(s);
    else
        fm_coord_kick(s->coord, 0);
}

static const struct fm_http_link_ops stream_ops = {.answered = stream_answered,
                                                   .message = stream_message,
                                                   .failed = stream_failed,
                                                   .closed = stream_closed};

static void open_stream(struct fm_coord_stream *s)
{
    FM_ASSERT(s->watch && !s->link.open && s->next > 0 && s->coord->checked);
    struct fm_coord *c = s->coord;
    struct fm_mono now = fm_loop_now(c->loop);
    struct fm_error e = {0};
    char *body = malloc(FM_COORD_WIRE_READ_ROOM);
    if (!body) {
        again_later(s);
        return;
    }
    struct fm_buf b = fm_buf(body, FM_COORD_WIRE_READ_ROOM);
    fm_coord_wire_watch(&b, c->prefix, fm_str(s->key, s->key_n), s->next);
    FM_ASSERT(!b.full);
    struct fm_http_ask p = fm_coord_ask_of(c, c->at);
    p.target = "/v3/watch";
    p.body = body;
    p.body_n = b.n;
    p.connect = fm_mono_add_ms(now, c->config.connect_ms);
    p.deadline = fm_mono_add_ms(now, c->config.attempt_ms);
    p.idle_ms = c->config.silence_ms;
    s->place = c->at;
    s->created = false;
    if (fm_http_link_ask(&s->link, c->loop, &stream_ops, &p, &e)) {
        fm_coord_leave(c, c->at, e.msg);
        again_later(s);
    }
}

void fm_coord_streams_run(struct fm_coord *c)
{
    FM_ASSERT(!c->closing && !c->trouble);
    fm_list_each_safe (n, next, &c->streams) {
        struct fm_coord_stream *s = fm_container_of(n, struct fm_coord_stream, node);
        if (!c->checked)
            return;
        if (!s->watch || s->link.open || s->reading || s->telling)
            continue;
        if (fm_mono_before(fm_loop_now(c->loop), s->not_before))
            fm_coord_kick(c, fm_mono_sub_ms(s->not_before, fm_loop_now(c->loop)) + 1);
        else if (s->next == 0)
            read_fresh(s);
        else
            open_stream(s);
    }
}

void fm_coord_streams_end(struct fm_coord *c)
{
    fm_list_each_safe (n, next, &c->streams)
        let_go(fm_container_of(n, struct fm_coord_stream, node));
}

/* -------- for owners -------- */

enum fm_err fm_coord_watch_open(struct fm_coord *c, struct fm_coord_watch *w, struct fm_str prefix,
                                uint64_t after, struct fm_error *e)
{
    FM_ASSERT(w->changed && w->fresh && !c->closing);
    if (c->nstreams >= FM_COORD_WATCHES_MAX)
        return fm_error_set(e, FM_ERR_LIMIT, "more than %d watches", FM_COORD_WATCHES_MAX);
    if (prefix.n > FM_COORD_KEY_MAX)
        return fm_error_set(e, FM_ERR_LIMIT, "the prefix of a watch is too long");
    struct fm_coord_stream *s = calloc(1, sizeof *s);
    if (!s)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    s->coord = c;
    s->watch = w;
    s->next = after ? after + 1 : 0;
    s->key_n = prefix.n;
    if (prefix.n)
        memcpy(s->key, prefix.p, prefix.n);
    fm_list_push_back(&c->streams, &s->node);
    c->nstreams++;
    w->stream = s;
    fm_coord_kick(c, 0);
    return FM_ERR_OK;
}

void fm_coord_watch_close(struct fm_coord_watch *w)
{
    if (w->stream)
        let_go(w->stream);
}
