/* A worker: set-up, messages from control, draining, the freeze rule. The life of requests is in
 * request.c and below. Invariant: everything here but the message functions runs on the worker's
 * own thread (or before it started, or after it was joined). */
#include "proxy/worker.h"

#include "base/assert.h"
#include "core/deadline.h"
#include "proxy/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FLUSH_MS = 200, POOL_SPARE = 512, REFUSED_POLITELY_MAX = 256 };

/* -------- views -------- */

static void view_ref_free(struct fm_view_ref *vr)
{
    FM_ASSERT(vr->users == 0);
    size_t targets = (size_t)vr->view->nregions * vr->view->ncontexts;
    for (size_t i = 0; i < targets; i++) {
        FM_ASSERT(fm_list_empty(&vr->target[i].owed) && vr->target[i].nowed == 0);
        FM_ASSERT(fm_list_empty(&vr->target[i].held) && fm_list_empty(&vr->target[i].sweep));
    }
    fm_list_remove(&vr->node);
    for (unsigned i = 0; i < vr->view->nendpoints; i++)
        if (vr->up[i])
            fm_upstream_unlisted(vr->up[i]);
    fm_view_unref(vr->view);
    free(vr->up);
    free(vr->target);
    free(vr);
}

void fm_view_ref_use(struct fm_view_ref *vr)
{
    FM_ASSERT(vr->users < UINT32_MAX);
    vr->users++;
}

void fm_view_ref_drop(struct fm_worker *w, struct fm_view_ref *vr)
{
    FM_ASSERT(vr->users > 0);
    if (--vr->users == 0 && vr != w->view)
        view_ref_free(vr);
}

static void init_target(struct fm_target *t, struct fm_view_ref *of)
{
    t->of = of;
    fm_list_init(&t->owed);
    fm_list_init(&t->held);
    fm_list_init(&t->sweep);
}

/* What was learnt about regions and contexts that go on under the same names. */
static void inherit(struct fm_view_ref *to, const struct fm_view_ref *from)
{
    FM_ASSERT(to != from && to->users == 0);
    for (unsigned c = 0; c < to->view->ncontexts; c++) {
        int fc = fm_conf_find_context(from->view->conf, to->view->contexts[c].name);
        for (unsigned r = 0; fc >= 0 && r < to->view->nregions; r++) {
            int fr = fm_conf_find_region(from->view->conf, to->view->regions[r].name);
            if (fr < 0)
                continue;
            const struct fm_target *o = fm_target(from, (unsigned)fr, (unsigned)fc);
            struct fm_target *t = fm_target(to, r, c);
            t->answers = o->answers;
            t->heard = o->heard;
            t->last_heard = o->last_heard;
            t->last_ok = o->last_ok;
            t->pace_ns = o->pace_ns;
        }
    }
}

static struct fm_view_ref *view_ref_new(struct fm_worker *w, struct fm_view *v)
{
    struct fm_view_ref *vr = calloc(1, sizeof *vr);
    size_t targets = (size_t)v->nregions * v->ncontexts;
    if (vr) {
        vr->up = calloc(v->nendpoints + 1, sizeof *vr->up);
        vr->target = calloc(targets + 1, sizeof *vr->target);
    }
    if (!vr || !vr->up || !vr->target) {
        if (vr) {
            free(vr->up);
            free(vr->target);
        }
        free(vr);
        return NULL;
    }
    vr->view = v;
    fm_view_ref(v);
    for (size_t i = 0; i < targets; i++)
        init_target(&vr->target[i], vr);
    for (unsigned i = 0; i < v->nendpoints; i++) {
        const struct fm_view_endpoint *e = &v->endpoints[i];
        vr->up[i] = fm_upstream_get(&w->upstreams, &e->addr);
        if (!vr->up[i])
            continue;
        fm_upstream_listed(vr->up[i]);
        fm_upstream_speak(vr->up[i], e->peer ? v->board->peers.client : NULL, e->peer);
    }
    fm_list_push_back(&w->views, &vr->node);
    return vr;
}

/* A gate's clients are edges, which it knows by their certificates. */
static void speak_to_clients(struct fm_worker *w)
{
    const struct fm_view *v = w->view->view;
    w->server.config.tls = v->mode == FM_PROXY_GATE ? v->board->peers.server : NULL;
}

static void use_view(struct fm_worker *w, struct fm_view_ref *vr)
{
    struct fm_view_ref *old = w->view;
    if (old) {
        FM_ASSERT(vr->view->generation > old->view->generation); /* views never go back */
        FM_ASSERT(vr->view->mode == old->view->mode);
        inherit(vr, old);
        for (unsigned i = 0; i < old->view->nendpoints; i++)
            if (old->up[i])
                old->up[i]->current = false;
    }
    w->view = vr;
    atomic_store_explicit(&w->generation, vr->view->generation, memory_order_release);
    speak_to_clients(w);
    for (unsigned i = 0; i < vr->view->nendpoints; i++)
        if (vr->up[i])
            vr->up[i]->current = true;
    fm_upstreams_sweep(&w->upstreams);
    if (old && old->users == 0)
        view_ref_free(old);
}

/* -------- leaving regions -------- */

static void sweep_list(struct fm_list *tries)
{
    struct fm_list todo;
    fm_list_init(&todo);
    fm_list_splice(&todo, tries);
    while (!fm_list_empty(&todo)) {
        struct fm_try *t = fm_list_first(&todo, struct fm_try, node);
        FM_ASSERT(t->owed || t->holding);
        fm_list_remove(&t->node);
        fm_list_push_back(tries, &t->node);
        if (t->rq)
            fm_request_feed(t->rq, (struct fm_exchange_event){.kind = FM_EXCHANGE_REGION_LEFT,
                                                              .region = (uint8_t)t->region});
    }
}

/* Half an answer may be all that comes of it, too. Requests that leave may end, and with the last
 * of them the view that they used: somebody else has to use it meanwhile. */
static void sweep_target(struct fm_target *target)
{
    FM_ASSERT(target->of->users > 0);
    sweep_list(&target->owed);
    sweep_list(&target->held);
}

static struct fm_target *next_sweep(struct fm_worker *w)
{
    struct fm_target *t = fm_list_first(&w->sweeps, struct fm_target, sweep);
    if (t)
        fm_list_remove(&t->sweep);
    return t;
}

static void sweep(struct fm_timer *timer)
{
    struct fm_worker *w = fm_container_of(timer, struct fm_worker, sweeper);
    for (struct fm_target *t; (t = next_sweep(w));) {
        sweep_target(t);
        fm_view_ref_drop(w, t->of);
    }
}

/* -------- messages -------- */

struct view_msg {
    struct fm_msg msg;
    struct fm_view *view;
    unsigned region, context;
};

static void got_view(struct fm_msg *m, void *user)
{
    struct fm_worker *w = user;
    struct view_msg *vm = fm_container_of(m, struct view_msg, msg);
    struct fm_view_ref *vr = view_ref_new(w, vm->view);
    if (vr)
        use_view(w, vr); /* out of memory: the old view goes on */
    fm_view_unref(vm->view);
    free(vm);
}

static void got_region_left(struct fm_msg *m, void *user)
{
    struct fm_worker *w = user;
    struct view_msg *vm = fm_container_of(m, struct view_msg, msg);
    /* also what began before other addresses of the same regions were known */
    fm_list_each_safe (at, next, &w->views) {
        struct fm_view_ref *vr = fm_container_of(at, struct fm_view_ref, node);
        if (vr->view->board != vm->view->board)
            continue;
        fm_view_ref_use(vr);
        sweep_target(fm_target(vr, vm->region, vm->context));
        fm_view_ref_drop(w, vr);
    }
    fm_view_unref(vm->view);
    free(vm);
}

static void post_view(struct fm_worker *w, struct fm_view *v, unsigned region, unsigned context,
                      void (*deliver)(struct fm_msg *, void *))
{
    FM_ASSERT(v && region < v->nregions && context < v->ncontexts);
    struct view_msg *vm = calloc(1, sizeof *vm);
    if (!vm)
        return; /* it goes on with what it has */
    fm_view_ref(v);
    *vm =
        (struct view_msg){.msg.deliver = deliver, .view = v, .region = region, .context = context};
    fm_mailbox_post(&w->inbox, &vm->msg);
}

void fm_worker_set_view(struct fm_worker *w, struct fm_view *v)
{
    post_view(w, v, 0, 0, got_view);
}

void fm_worker_region_left(struct fm_worker *w, struct fm_view *v, unsigned region,
                           unsigned context)
{
    post_view(w, v, region, context, got_region_left);
}

static void got_authority(struct fm_msg *m, void *user)
{
    free(m);
    fm_hold_look_again(user);
    fm_admit_look_again(user);
}

void fm_worker_authority_changed(struct fm_worker *w)
{
    struct fm_msg *m = calloc(1, sizeof *m);
    if (!m)
        return; /* what waits looks again by itself, a little later */
    m->deliver = got_authority;
    fm_mailbox_post(&w->inbox, m);
}

struct config_msg {
    struct fm_msg msg;
    struct fm_worker_config config;
};

static void got_config(struct fm_msg *m, void *user)
{
    struct fm_worker *w = user;
    struct config_msg *cm = fm_container_of(m, struct config_msg, msg);
    struct fm_http_limits limits = cm->config.http.limits;
    FM_ASSERT(cm->config.index == w->config.index && cm->config.mode == w->config.mode);
    FM_ASSERT(cm->config.connections == w->config.connections);
    if (limits.head_bytes > w->pool.block_size)
        limits.head_bytes = (uint32_t)w->pool.block_size; /* larger blocks need a restart */
    cm->config.http.limits = limits;
    w->config = cm->config;
    w->server.config = cm->config.http;
    speak_to_clients(w);
    free(cm);
}

void fm_worker_set_config(struct fm_worker *w, const struct fm_worker_config *c)
{
    struct config_msg *cm = calloc(1, sizeof *cm);
    if (!cm)
        return;
    cm->msg.deliver = got_config;
    cm->config = *c;
    fm_mailbox_post(&w->inbox, &cm->msg);
}

/* -------- draining -------- */

struct drain_msg {
    struct fm_msg msg;
    int64_t finish_ms;
};

void fm_worker_maybe_stop(struct fm_worker *w)
{
    if (!w->draining || w->server.nconns > 0 || w->records > 0)
        return;
    FM_ASSERT(w->in_flight == 0 && fm_list_empty(&w->requests));
    if (!w->stopping) {
        w->stopping = true;
        fm_upstreams_stop(&w->upstreams);
    }
    fm_loop_stop(&w->loop);
}

static void conn_closed(struct fm_http_server *s)
{
    struct fm_worker *w = s->user;
    uint32_t before = atomic_fetch_sub(w->config.connections, 1);
    FM_ASSERT(before > 0);
    fm_worker_maybe_stop(w);
}

static void finish_is_over(struct fm_timer *timer)
{
    struct fm_worker *w = fm_container_of(timer, struct fm_worker, stopper);
    fm_http_server_close_all(&w->server);
}

static void got_drain(struct fm_msg *m, void *user)
{
    struct fm_worker *w = user;
    struct drain_msg *dm = fm_container_of(m, struct drain_msg, msg);
    FM_ASSERT(dm->finish_ms >= 0);
    w->draining = true;
    for (unsigned i = 0; i < w->nlisteners; i++)
        fm_listener_close(&w->listener[i]);
    fm_http_server_drain(&w->server);
    fm_loop_timer_in_ms(&w->loop, &w->stopper, dm->finish_ms);
    free(dm);
    fm_worker_maybe_stop(w);
}

void fm_worker_drain(struct fm_worker *w, int64_t finish_ms)
{
    struct drain_msg *dm = calloc(1, sizeof *dm);
    if (!dm)
        return;
    dm->msg.deliver = got_drain;
    dm->finish_ms = finish_ms;
    fm_mailbox_post(&w->inbox, &dm->msg);
}

/* -------- connections -------- */

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    struct fm_worker *w = fm_container_of(ln->loop, struct fm_worker, loop);
    uint32_t before = atomic_fetch_add(w->config.connections, 1);
    bool over = before >= w->config.connections_max;
    fm_counter_inc(over ? &w->metrics.connections_refused : &w->metrics.connections_accepted);
    if (before >= w->config.connections_max + REFUSED_POLITELY_MAX)
        close(fd);
    else if (fm_http_server_accept(&w->server, fd, from, over))
        return;
    atomic_fetch_sub(w->config.connections, 1);
}

/* Rule 14 of SAFETY.md: what waited in the sockets while a gate was frozen is not parsed. Edges may
 * go on: they hold no authority, and their gates and applications count the deadline. */
static void woke(struct fm_loop *l, int64_t late_ns, void *user)
{
    struct fm_worker *w = user;
    FM_ASSERT(late_ns >= 0 && l == &w->loop);
    if (fm_was_away(late_ns))
        w->awake = l->now;
    if (!fm_was_frozen(late_ns))
        return;
    fm_counter_inc(&w->metrics.frozen);
    if (w->config.mode == FM_PROXY_GATE)
        fm_http_server_close_all(&w->server);
}

static void flush(struct fm_timer *timer)
{
    struct fm_worker *w = fm_container_of(timer, struct fm_worker, flusher);
    fm_access_flush(w);
    fm_loop_timer_in_ms(&w->loop, timer, FLUSH_MS);
}

/* -------- life -------- */

static enum fm_err allocate(struct fm_worker *w, struct fm_error *e)
{
    w->scratch_size = FM_REPLAY_BLOCKS * w->pool.block_size;
    w->scratch = malloc(w->scratch_size);
    if (w->config.access_log)
        w->access_buf = malloc(FM_ACCESS_BUFFER);
    if (!w->scratch || (w->config.access_log && !w->access_buf))
        return fm_error_set(e, FM_ERR_MEMORY, "no memory for a worker");
    return FM_ERR_OK;
}

/* All that can fail; what is there after a failure is known by its pointer to the loop or pool. */
static enum fm_err set_up(struct fm_worker *w, struct fm_error *e)
{
    enum fm_err err = allocate(w, e);
    if (!err)
        err = fm_loop_init(&w->loop, &w->pool, e);
    if (!err)
        err = fm_mailbox_open(&w->inbox, &w->loop, w, e);
    if (!err)
        err = fm_http_server_init(&w->server, &w->loop, &w->config.http, &fm_request_handler, w, e);
    return err;
}

static void undo(struct fm_worker *w)
{
    if (w->server.loop)
        fm_http_server_deinit(&w->server);
    if (w->inbox.loop)
        fm_mailbox_close(&w->inbox);
    if (w->loop.pool)
        fm_loop_deinit(&w->loop);
    fm_pool_deinit(&w->pool);
    free(w->scratch);
    free(w->access_buf);
    w->scratch = w->access_buf = NULL;
}

enum fm_err fm_worker_init(struct fm_worker *w, const struct fm_worker_config *c, struct fm_view *v,
                           struct fm_error *e)
{
    FM_ASSERT(v && v->mode == c->mode && c->index < v->board->nworkers && c->connections);
    memset(w, 0, sizeof *w);
    w->config = *c;
    fm_list_init(&w->views);
    fm_list_init(&w->requests);
    fm_list_init(&w->spare_requests);
    fm_list_init(&w->tries);
    fm_list_init(&w->spare_tries);
    fm_list_init(&w->sweeps);
    fm_list_init(&w->held);
    fm_list_init(&w->spare_records);
    fm_timer_init(&w->sweeper, sweep);
    fm_timer_init(&w->flusher, flush);
    fm_timer_init(&w->stopper, finish_is_over);
    fm_rand_bytes(&w->rand, sizeof w->rand);
    fm_rand_bytes(&w->ref_prefix, sizeof w->ref_prefix);
    size_t block = c->http.limits.head_bytes > FM_CONF_BLOCK_BYTES_MIN ? c->http.limits.head_bytes
                                                                       : FM_CONF_BLOCK_BYTES_MIN;
    size_t blocks = (size_t)c->connections_max * (FM_REPLAY_BLOCKS + 2) + POOL_SPARE;
    fm_pool_init(&w->pool, block, blocks);
    enum fm_err err = set_up(w, e);
    if (err) {
        undo(w);
        return err;
    }
    w->loop.woke = woke;
    w->loop.woke_user = w;
    w->server.closed_one = conn_closed;
    w->server.refused_peer = fm_peers_refused;
    w->upstream_limits = (struct fm_http_limits){.head_bytes = (uint32_t)block,
                                                 .fields = FM_HTTP_FIELDS_MAX,
                                                 .body_bytes = UINT64_MAX,
                                                 .ext_bytes = 16 * 1024,
                                                 .trailer_bytes = 16 * 1024};
    fm_upstreams_init(&w->upstreams, &w->loop, &fm_try_handler, &fm_try_waits, &w->upstream_limits,
                      w->server.fields, &w->metrics.upstream_connects);
    struct fm_view_ref *vr = view_ref_new(w, v);
    if (!vr) {
        fm_upstreams_deinit(&w->upstreams);
        undo(w);
        return fm_error_set(e, FM_ERR_MEMORY, "no memory for a view");
    }
    use_view(w, vr);
    if (c->access_log || c->mode == FM_PROXY_GATE) /* a gate's loop has to notice a freeze */
        fm_loop_timer_in_ms(&w->loop, &w->flusher, FLUSH_MS);
    return FM_ERR_OK;
}

enum fm_err fm_worker_listen(struct fm_worker *w, const struct fm_addr *at, struct fm_error *e)
{
    if (w->nlisteners == FM_WORKER_LISTENERS_MAX)
        return fm_error_set(e, FM_ERR_LIMIT, "more than %d listeners", FM_WORKER_LISTENERS_MAX);
    unsigned flags = FM_LISTEN_SHARE | (w->config.index == 0 ? FM_LISTEN_FIRST : 0u) |
                     (w->config.http.stamps ? FM_LISTEN_STAMPS : 0u);
    enum fm_err err =
        fm_listener_open(&w->listener[w->nlisteners], &w->loop, at, flags, accepted, e);
    if (!err)
        w->nlisteners++;
    return err;
}

static void *run(void *arg)
{
    struct fm_worker *w = arg;
    fm_loop_run(&w->loop);
    /* requests are over; let closing connections be buried */
    fm_try_end_orphans(w);
    struct fm_mono until = fm_mono_add_ms(fm_mono_now(), 1000);
    while ((w->upstreams.nconns || w->server.nconns) &&
           fm_mono_before(fm_loop_now(&w->loop), until))
        fm_loop_turn(&w->loop, 10 * FM_NS_PER_MS);
    if (w->access_buf)
        fm_access_flush(w);
    if (w->config.control) {
        w->ended_msg.deliver = w->config.ended;
        fm_mailbox_post(w->config.control, &w->ended_msg);
    }
    return NULL;
}

enum fm_err fm_worker_start(struct fm_worker *w, struct fm_error *e)
{
    int rc = pthread_create(&w->thread, NULL, run, w);
    if (rc)
        return fm_error_errno(e, FM_ERR_LIMIT, rc, "cannot start a worker");
    char name[16];
    (void)snprintf(name, sizeof name, "worker-%u", w->config.index);
    (void)pthread_setname_np(w->thread, name);
    return FM_ERR_OK;
}

void fm_worker_join(struct fm_worker *w)
{
    pthread_join(w->thread, NULL);
}

static void free_all(struct fm_list *l, size_t offset)
{
    while (!fm_list_empty(l)) {
        struct fm_list *n = l->next;
        fm_list_remove(n); /* NOLINT(clang-analyzer-unix*): what was freed is not in the ring */
        free((char *)n - offset);
    }
}

void fm_worker_deinit(struct fm_worker *w)
{
    FM_ASSERT(w->view && w->nlisteners <= FM_WORKER_LISTENERS_MAX);
    for (unsigned i = 0; i < w->nlisteners; i++)
        fm_listener_close(&w->listener[i]);
    if (!w->stopping) {
        fm_http_server_close_all(&w->server);
        fm_try_end_orphans(w);
        fm_upstreams_stop(&w->upstreams);
        fm_loop_turn(&w->loop, 0);
    }
    fm_mailbox_close(&w->inbox);
    for (struct fm_target *t; (t = next_sweep(w));)
        fm_view_ref_drop(w, t->of); /* NOLINT(clang-analyzer-unix*): what was freed was removed */
    if (w->view) {
        struct fm_view_ref *vr = w->view;
        w->view = NULL;
        FM_ASSERT(vr->users == 0);
        view_ref_free(vr);
    }
    FM_ASSERT(fm_list_empty(&w->requests) && fm_list_empty(&w->tries) && fm_list_empty(&w->views));
    FM_ASSERT(w->nheld == 0 && w->records == 0 && fm_list_empty(&w->held));
    FM_ASSERT(w->in_flight == 0 && w->retrying == 0 && fm_list_empty(&w->sweeps));
    fm_loop_deinit(&w->loop);
    fm_http_server_deinit(&w->server);
    fm_upstreams_deinit(&w->upstreams);
    free_all(&w->spare_requests, offsetof(struct fm_request, node));
    free_all(&w->spare_tries, offsetof(struct fm_try, node));
    free_all(&w->spare_records, offsetof(struct fm_record, node));
    fm_pool_deinit(&w->pool);
    free(w->scratch);
    free(w->access_buf);
}
