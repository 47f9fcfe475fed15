/* Posts: see the header. Invariant: to a host there is at most one request on its way; what waits
 * for it is younger than its last failure. */
#include "agent/post.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { CONNECT_MS = 500, REST_MS = 50, REST_MAX_MS = 1000, ROUNDS_MAX = 8 };

/* Room for what surrounds the messages. */
enum { ENVELOPE_ROOM = 256 };

struct peer {
    struct fm_post *post;
    struct peer *next;
    struct fm_caller caller;
    unsigned host;
    bool stale; /* not in the file any more, or elsewhere */
    char *out;  /* messages with commas between; FM_POST_OUT_MAX bytes */
    size_t out_n;
    bool resting;
    struct fm_mono rest_until;
    unsigned fails;    /* in a row */
    unsigned protocol; /* that it spoke last; 0 = it was not heard yet */
    uint64_t posts, dropped;
    char why[160]; /* of the last failure */
};

struct fm_post {
    struct fm_post_config c;
    struct peer *peers;
    struct fm_peers tls;
    struct fm_timer soon;
    char *self_out, *self_in;
    size_t self_n;
    bool stopped;
};

/* -------- what waits -------- */

/* Appends a message to what waits; false where there is no room. */
static bool append(const struct fm_post *p, char *out, size_t *n, const struct fm_message *m)
{
    struct fm_buf b = fm_buf(out, FM_POST_OUT_MAX);
    b.n = *n;
    if (b.n)
        fm_buf_ch(&b, ',');
    fm_message_write(p->c.roster, m, &b);
    if (b.full)
        return false;
    *n = b.n;
    return true;
}

/* All of it in its envelope, from malloc; nothing waits then. */
static char *envelope(struct fm_post *p, const char *out, size_t *out_n, size_t *n)
{
    size_t cap = *out_n + ENVELOPE_ROOM;
    char *text = malloc(cap);
    if (!text)
        return NULL;
    struct fm_buf b = fm_buf(text, cap);
    fm_post_begin(&b, fm_str_z(fm_roster_host_name(p->c.roster, p->c.self)), p->c.life);
    fm_buf_add(&b, out, *out_n);
    fm_post_end(&b);
    FM_ASSERT(!b.full);
    *n = b.n;
    *out_n = 0;
    return text;
}

/* -------- one host -------- */

/* An answer comes from who was asked, or is nobody's. */
static const char *answers(void *user, const struct fm_post_head *head)
{
    struct peer *peer = user;
    const char *name = fm_roster_host_name(peer->post->c.roster, peer->host);
    if (strcmp(name, head->from) != 0)
        return "that of another host";
    peer->protocol = head->protocol;
    return NULL;
}

static void take(void *user, const struct fm_post_head *head, const struct fm_message *m)
{
    struct peer *peer = user;
    struct fm_post *p = peer->post;
    if (!p->stopped)
        p->c.deliver(p->c.user, peer->host, head, m);
}

static void failed(struct peer *peer, const char *why)
{
    struct fm_post *p = peer->post;
    int64_t ms = REST_MS << (peer->fails < 5 ? peer->fails : 5);
    if (peer->fails++ == 0)
        fm_log(FM_LOG_WARN, "peer_lost",
               FM_KZ("host", fm_roster_host_name(p->c.roster, peer->host)), FM_KZ("why", why));
    snprintf(peer->why, sizeof peer->why, "%s", why);
    fm_text_tame(peer->why);
    peer->out_n = 0; /* it would be old by the time it arrives */
    peer->resting = true;
    peer->rest_until = fm_mono_add_ms(fm_loop_now(p->c.loop), ms < REST_MAX_MS ? ms : REST_MAX_MS);
}

static void flush(struct peer *peer)
{
    struct fm_post *p = peer->post;
    if (peer->out_n == 0 || peer->caller.busy || peer->stale || p->stopped)
        return;
    size_t n;
    char *body = envelope(p, peer->out, &peer->out_n, &n);
    if (!body) {
        peer->out_n = 0;
        return;
    }
    peer->posts++;
    struct fm_caller_ask a = {.target = "/peer/1/post",
                              .body = body,
                              .body_n = n,
                              .answer_max = FM_POST_BYTES_MAX,
                              .connect_ms = CONNECT_MS,
                              .timeout_ms = p->c.timeout_ms};
    fm_caller_ask(&peer->caller, &a);
}

static void answered(struct fm_caller *c, unsigned status, struct fm_str body)
{
    struct peer *peer = fm_container_of(c, struct peer, caller);
    struct fm_post *p = peer->post;
    struct fm_post_reader reader = {.opens = answers, .take = take, .user = peer};
    char why[160];
    if (peer->stale)
        return;
    if (status != 200) { /* with the reason in a line, where it is an agent */
        int n = (int)(body.n < 128 ? body.n : 128);
        snprintf(why, sizeof why, "it answered %u: %.*s", status, n, n ? body.p : "");
        why[strcspn(why, "\r\n")] = 0;
        failed(peer, why);
        return;
    }
    const char *wrong = fm_post_read(p->c.roster, body, &reader);
    if (wrong) {
        snprintf(why, sizeof why, "its answer is refused: %.128s", wrong);
        failed(peer, why);
        return;
    }
    if (peer->fails)
        fm_log(FM_LOG_INFO, "peer_answers",
               FM_KZ("host", fm_roster_host_name(p->c.roster, peer->host)));
    peer->fails = 0;
    flush(peer);
}

static void not_answered(struct fm_caller *c, const char *why)
{
    struct peer *peer = fm_container_of(c, struct peer, caller);
    if (!peer->stale)
        failed(peer, why);
}

/* -------- at the end of a turn -------- */

static const char *own(void *user, const struct fm_post_head *head)
{
    (void)user;
    (void)head;
    return NULL;
}

static void take_own(void *user, const struct fm_post_head *head, const struct fm_message *m)
{
    struct fm_post *p = user;
    if (!p->stopped)
        p->c.deliver(p->c.user, p->c.self, head, m);
}

/* What this host sent to itself, and what came of that; what goes on for longer waits a turn. */
static void deliver_own(struct fm_post *p)
{
    struct fm_post_reader reader = {.opens = own, .take = take_own, .user = p};
    for (unsigned i = 0; i < ROUNDS_MAX && p->self_n && !p->stopped; i++) {
        size_t n;
        char *text = envelope(p, p->self_out, &p->self_n, &n);
        const char *why = text ? fm_post_read(p->c.roster, fm_str(text, n), &reader) : "no memory";
        free(text);
        if (why) {
            fm_log(FM_LOG_ERROR, "own_messages_dropped", FM_KZ("why", why));
            p->self_n = 0;
        }
    }
}

static void wake(struct fm_post *p)
{
    if (!fm_timer_is_set(&p->soon) && !p->stopped)
        fm_loop_timer(p->c.loop, &p->soon, fm_loop_now(p->c.loop));
}

static void soon(struct fm_timer *t)
{
    struct fm_post *p = fm_container_of(t, struct fm_post, soon);
    deliver_own(p);
    for (struct peer *peer = p->peers; peer; peer = peer->next)
        flush(peer);
    if (p->self_n)
        wake(p);
}

static struct peer *find(const struct fm_post *p, unsigned host)
{
    for (struct peer *peer = p->peers; peer; peer = peer->next)
        if (peer->host == host && !peer->stale)
            return peer;
    return NULL;
}

void fm_post_send(struct fm_post *p, unsigned host, const struct fm_message *m)
{
    if (p->stopped)
        return;
    if (host == p->c.self) {
        if (!append(p, p->self_out, &p->self_n, m))
            fm_log(FM_LOG_ERROR, "message_dropped", FM_KZ("kind", fm_message_kind_name(m->kind)));
        wake(p);
        return;
    }
    struct peer *peer = find(p, host);
    if (!peer)
        return;
    if (peer->resting && fm_mono_before(fm_loop_now(p->c.loop), peer->rest_until)) {
        peer->dropped++;
        return;
    }
    peer->resting = false;
    if (!peer->out)
        peer->out = malloc(FM_POST_OUT_MAX);
    if (!peer->out || !append(p, peer->out, &peer->out_n, m)) {
        peer->dropped++;
        return;
    }
    wake(p);
}

/* -------- the page -------- */

static void refuse(struct fm_page_answer *a, unsigned status, const char *why)
{
    a->status = status;
    a->body = malloc(strlen(why) + 2);
    a->n = a->body ? (size_t)snprintf(a->body, strlen(why) + 2, "%s\n", why) : 0;
}

struct incoming {
    struct fm_post *post;
    const char *peer; /* the name in the certificate; NULL: there is none */
    struct peer *from;
    bool forbidden;
};

static const char *comes(void *user, const struct fm_post_head *head)
{
    struct incoming *in = user;
    struct fm_post *p = in->post;
    FM_ASSERT(head);
    int host = fm_roster_find_host(p->c.roster, fm_str_z(head->from));
    in->forbidden = true;
    if (in->peer ? strcmp(in->peer, head->from) != 0 : p->tls.server != NULL)
        return "`from` is not the name in the certificate";
    if (host < 0 || !(in->from = find(p, (unsigned)host)))
        return "`from` is no agent's host of this file";
    in->from->protocol = head->protocol;
    in->forbidden = false;
    return NULL;
}

static void take_posted(void *user, const struct fm_post_head *head, const struct fm_message *m)
{
    struct incoming *in = user;
    take(in->from, head, m);
}

void fm_post_page(struct fm_post *p, const struct fm_page_request *q, struct fm_page_answer *a)
{
    struct incoming in = {.post = p, .peer = q->peer};
    struct fm_post_reader reader = {.opens = comes, .take = take_posted, .user = &in};
    if (q->method != FM_METHOD_POST || p->stopped) {
        refuse(a, p->stopped ? 503 : 405, "posts only");
        return;
    }
    const char *why = fm_post_read(p->c.roster, q->body, &reader);
    if (why) {
        refuse(a, in.forbidden ? 403 : 400, why);
        return;
    }
    deliver_own(p); /* so that what this host says to that goes back at once */
    size_t n = 0;
    a->content_type = "application/json";
    a->body = envelope(p, in.from->out, &in.from->out_n, &n);
    a->n = a->body ? n : 0;
    a->status = a->body ? 200 : 503;
}

/* -------- life -------- */

static void bury(struct fm_post *p, bool resolver_freed)
{
    for (struct peer **at = &p->peers; *at;) {
        struct peer *peer = *at;
        if (!peer->stale || !fm_caller_is_gone(&peer->caller, resolver_freed)) {
            at = &peer->next;
            continue;
        }
        *at = peer->next;
        free(peer->out);
        free(peer);
    }
}

static void retire_all(struct fm_post *p)
{
    for (struct peer *peer = p->peers; peer; peer = peer->next) {
        peer->stale = true;
        fm_caller_close(&peer->caller);
    }
}

static void add(struct fm_post *p, const struct fm_conf_host *host)
{
    int number = fm_roster_add_host(p->c.roster, host->name);
    struct peer *peer = number < 0 ? NULL : calloc(1, sizeof *peer);
    if (!peer) {
        fm_log(FM_LOG_ERROR, "peer_missing", FM_KS("host", host->name),
               FM_KZ("meaning", "nothing is sent to it"));
        return;
    }
    peer->post = p;
    peer->host = (unsigned)number;
    peer->caller.answered = answered;
    peer->caller.failed = not_answered;
    struct fm_caller_to to = {
        .host = host->peer.host, .port = host->peer.port, .tls = p->tls.client, .peer = host->name};
    fm_caller_init(&peer->caller, p->c.loop, p->c.resolver, &to);
    peer->next = p->peers;
    p->peers = peer;
}

void fm_post_reset(struct fm_post *p, const struct fm_conf *conf, const struct fm_peers *peers)
{
    const char *self = fm_roster_host_name(p->c.roster, p->c.self);
    struct fm_peers was = p->tls;
    retire_all(p);
    bury(p, false);
    p->tls = fm_peers_ref(peers);
    fm_peers_drop(&was); /* a link holds its own reference */
    for (size_t i = 0; i < conf->nhosts; i++)
        if (conf->hosts[i].roles & FM_ROLES_AGENT && !fm_str_eqz(conf->hosts[i].name, self))
            add(p, &conf->hosts[i]);
}

struct fm_post *fm_post_new(const struct fm_post_config *c, const struct fm_conf *conf,
                            const struct fm_peers *peers, struct fm_error *e)
{
    FM_ASSERT(c->deliver && c->life && c->timeout_ms > 0);
    struct fm_post *p = calloc(1, sizeof *p);
    char *out = malloc(FM_POST_OUT_MAX);
    if (!p || !out) {
        free(p);
        free(out);
        fm_error_set(e, FM_ERR_MEMORY, "no memory to send messages to other hosts");
        return NULL;
    }
    p->c = *c;
    p->self_out = out;
    fm_timer_init(&p->soon, soon);
    fm_post_reset(p, conf, peers);
    return p;
}

json_t *fm_post_json(const struct fm_post *p)
{
    json_t *o = json_object();
    for (const struct peer *peer = p->peers; peer; peer = peer->next) {
        if (peer->stale)
            continue;
        bool answers = peer->posts > 0 && peer->fails == 0;
        json_object_set_new(o, fm_roster_host_name(p->c.roster, peer->host),
                            json_pack("{s:b,s:o,s:I,s:I,s:s?}", "answers", (int)answers, "protocol",
                                      peer->protocol ? json_integer(peer->protocol) : json_null(),
                                      "posts", (json_int_t)peer->posts, "dropped",
                                      (json_int_t)peer->dropped, "error",
                                      peer->fails ? peer->why : NULL));
    }
    return o;
}

void fm_post_stop(struct fm_post *p)
{
    if (!p || p->stopped)
        return;
    p->stopped = true;
    fm_loop_cancel(p->c.loop, &p->soon);
    retire_all(p);
}

void fm_post_free(struct fm_post *p)
{
    if (!p)
        return;
    FM_ASSERT(p->stopped);
    bury(p, true);
    while (p->peers) {
        fm_loop_turn(p->c.loop, FM_NS_PER_MS);
        bury(p, true);
    }
    fm_peers_drop(&p->tls);
    free(p->self_out);
    free(p);
}
