/* The doors: threads, what control tells them, what they count. Connections are passage.c's.
 * Invariants: a door's nodes and their addresses are changed on the worker's own thread only;
 * control reaches it by messages, which each worker frees. What a door is declared as, and the name
 * of a node's host, are written before the first message that speaks of it, and never again. */
#include "proxy/door.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/log.h"
#include "proxy/errand.h"
#include "proxy/passage.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BLOCK_BYTES = 32 * 1024, SPARE_BLOCKS = 64, TICK_MS = 50, AGAIN_MS = 500 };

struct fm_doors {
    struct fm_doors_config config;
    uint8_t region; /* of this gate, as was said last */
    _Atomic uint32_t connections;
    struct fm_door_nodes nodes[FM_DOORS_MAX]; /* as published last */
    unsigned nworkers;                        /* that were made */
    unsigned next;                            /* of them gets a visit */
    struct fm_door_worker worker[FM_DOOR_WORKERS_MAX];
};

/* -------- a worker -------- */

static void got_stop(struct fm_msg *m, void *user);

void fm_door_look(struct fm_door *d)
{
    fm_seats_read_sublease(d->config->seats, 0, &d->view.cell);
    d->view.read_only = atomic_load_explicit(&d->config->seats->read_only, memory_order_relaxed);
}

/* Whoever connects where another region holds the group finds nobody. */
static void listen_or_not(struct fm_door *d)
{
    struct fm_error e = {0};
    for (unsigned k = 0; k < FM_DOOR_KIND_COUNT; k++) {
        struct fm_listener *ln = &d->listener[k];
        if (ln->watch.fd < 0)
            continue;
        bool refuse = !fm_door_listens(&d->view, (enum fm_door_kind)k, fm_mono_now());
        if (fm_listener_refuse(ln, refuse, &e)) {
            fm_log(FM_LOG_ERROR, "door_does_not_listen", FM_KZ("group", d->config->name),
                   FM_KE(&e));
            fm_loop_timer_in_ms(&d->worker->loop, &d->worker->tick, AGAIN_MS);
        }
    }
}

static void look(struct fm_door *d, bool nodes_changed)
{
    fm_passages_look(d, nodes_changed);
    if (!d->worker->ending)
        listen_or_not(d);
}

static void tick(struct fm_timer *t)
{
    struct fm_door_worker *w = fm_container_of(t, struct fm_door_worker, tick);
    for (unsigned i = 0; i < w->ndoors; i++)
        look(&w->door[i], false);
}

static void writers_came(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    fm_passage_accepted(fm_container_of(ln, struct fm_door, listener[FM_DOOR_READ_WRITE]),
                        FM_DOOR_READ_WRITE, fd, from);
}

static void readers_came(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    fm_passage_accepted(fm_container_of(ln, struct fm_door, listener[FM_DOOR_READ_ONLY]),
                        FM_DOOR_READ_ONLY, fd, from);
}

static enum fm_err listen_at(struct fm_door *d, enum fm_door_kind kind, bool first,
                             struct fm_error *e)
{
    const struct fm_addr *at = &d->config->at[kind];
    unsigned flags = FM_LISTEN_SHARE | (first ? FM_LISTEN_FIRST : 0u);
    enum fm_err err = fm_listener_open(&d->listener[kind], &d->worker->loop, at, flags,
                                       kind == FM_DOOR_READ_WRITE ? writers_came : readers_came, e);
    return err ? fm_error_wrap(e, "group %s, %s", d->config->name, fm_door_kind_name(kind))
               : FM_ERR_OK;
}

/* `first`: nobody else has it yet, another process neither. */
static enum fm_err open_door(struct fm_door_worker *w, unsigned i, bool first, struct fm_error *e)
{
    struct fm_door *d = &w->door[i];
    enum fm_err err = FM_ERR_OK;
    for (unsigned k = 0; k < FM_DOOR_KIND_COUNT && !err; k++)
        if (d->config->listens[k])
            err = listen_at(d, (enum fm_door_kind)k, first, e);
    return err;
}

static void init_door(struct fm_door_worker *w, unsigned i)
{
    struct fm_door *d = &w->door[i];
    FM_ASSERT(i == w->ndoors && i < FM_DOORS_MAX);
    w->ndoors++;
    d->worker = w;
    d->config = &w->config->door[i];
    d->view.region = w->region;
    d->view.policy = d->config->policy;
    fm_list_init(&d->sessions);
    fm_list_init(&d->looking);
    for (unsigned k = 0; k < FM_DOOR_KIND_COUNT; k++)
        d->listener[k].watch.fd = -1;
    fm_door_look(d);
}

static enum fm_err open_worker(struct fm_doors *s, struct fm_door_worker *w, struct fm_error *e)
{
    w->config = &s->config;
    w->connections = &s->connections;
    w->index = (unsigned)(w - s->worker);
    w->region = s->config.region;
    w->stop.deliver = got_stop;
    fm_list_init(&w->all);
    fm_list_init(&w->errands);
    fm_timer_init(&w->tick, tick);
    fm_pool_init(&w->pool, BLOCK_BYTES, 2 * (size_t)s->config.connections_max + SPARE_BLOCKS);
    for (unsigned i = 0; i < s->config.ndoors; i++)
        init_door(w, i);
    enum fm_err err = fm_loop_init(&w->loop, &w->pool, e);
    if (!err)
        err = fm_mailbox_open(&w->inbox, &w->loop, w, e);
    for (unsigned i = 0; i < s->config.ndoors && !err; i++)
        err = open_door(w, i, w->index == 0, e);
    return err;
}

static void close_listeners(struct fm_door_worker *w)
{
    for (unsigned i = 0; i < w->ndoors; i++)
        for (unsigned k = 0; k < FM_DOOR_KIND_COUNT; k++)
            fm_listener_close(&w->door[i].listener[k]);
}

static void *run(void *arg)
{
    struct fm_door_worker *w = arg;
    fm_loop_run(&w->loop);
    return NULL;
}

static enum fm_err start_worker(struct fm_door_worker *w, struct fm_error *e)
{
    int rc = pthread_create(&w->thread, NULL, run, w);
    if (rc)
        return fm_error_errno(e, FM_ERR_LIMIT, rc, "cannot start a thread for a door");
    char name[16];
    (void)snprintf(name, sizeof name, "door-%u", w->index);
    (void)pthread_setname_np(w->thread, name);
    w->running = true;
    return FM_ERR_OK;
}

/* -------- what control says -------- */

struct word {
    struct fm_msg msg;
    unsigned door;
    bool is_new, has_nodes, has_peers, drain;
    uint8_t region;     /* with has_peers */
    struct fm_tls *tls; /* the same; a reference */
    struct fm_door_nodes nodes;
};

/* A connection that comes to this host by a tunnel. */
struct visit {
    struct fm_msg msg;
    unsigned door;
    struct fm_tunnel by;
    struct fm_sock_parcel from;
};

/* Is one of them something else now? */
static bool take_nodes(struct fm_door *d, const struct fm_door_nodes *n)
{
    FM_ASSERT(n->n <= FM_DOOR_NODES_MAX);
    bool changed = d->view.nnodes != n->n;
    for (unsigned i = 0; i < n->n && !changed; i++)
        changed = d->view.node[i].role != n->node[i].role ||
                  !fm_epoch_same(d->view.node[i].epoch, n->node[i].epoch);
    d->view.nnodes = (uint8_t)n->n;
    memcpy(d->view.node, n->node, sizeof d->view.node);
    memcpy(d->at, n->at, sizeof d->at);
    return changed;
}

static void drain(struct fm_door_worker *w)
{
    w->ending = true;
    close_listeners(w);
    for (unsigned i = 0; i < w->ndoors; i++)
        fm_passages_refuse(&w->door[i], FM_DOOR_WHY_ENDING);
}

static void take_peers(struct fm_door_worker *w, const struct word *word)
{
    fm_tls_unref(w->tls);
    w->tls = word->tls;
    w->region = word->region;
    for (unsigned i = 0; i < w->ndoors; i++)
        w->door[i].view.region = w->region;
}

static void take_door(struct fm_door_worker *w, unsigned i)
{
    struct fm_error e = {0};
    init_door(w, i);
    if (!w->ending && open_door(w, i, false, &e))
        fm_log(FM_LOG_ERROR, "door_does_not_listen", FM_KZ("group", w->config->door[i].name),
               FM_KE(&e), FM_KZ("meaning", "until this agent restarts"));
}

static void got_word(struct fm_msg *m, void *user)
{
    struct fm_door_worker *w = user;
    struct word *word = fm_container_of(m, struct word, msg);
    if (word->is_new)
        take_door(w, word->door);
    bool changed = word->has_nodes && take_nodes(&w->door[word->door], &word->nodes);
    if (word->has_peers)
        take_peers(w, word);
    if (word->drain)
        drain(w);
    for (unsigned i = 0; i < w->ndoors; i++)
        look(&w->door[i], changed && word->door == i);
    free(word);
}

static void got_stop(struct fm_msg *m, void *user)
{
    struct fm_door_worker *w = user;
    FM_ASSERT(m == &w->stop && w->running);
    fm_loop_stop(&w->loop);
}

/* All workers, or nobody: without memory they go on with what they have, and what must not be
 * passed on is not. */
static bool tell(struct fm_doors *d, const struct word *what)
{
    struct word *words[FM_DOOR_WORKERS_MAX];
    unsigned n = 0;
    while (n < d->nworkers && (words[n] = malloc(sizeof *words[n])))
        n++;
    if (n < d->nworkers) {
        while (n > 0)
            free(words[--n]);
        fm_log(FM_LOG_ERROR, "door_not_told", FM_KZ("why", "no memory"));
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        *words[i] = *what;
        if (what->tls)
            fm_tls_ref(what->tls);
        words[i]->msg.deliver = got_word;
        fm_mailbox_post(&d->worker[i].inbox, &words[i]->msg);
    }
    return true;
}

void fm_doors_publish(struct fm_doors *d, unsigned at, const struct fm_door_nodes *nodes)
{
    FM_ASSERT(at < d->config.ndoors && nodes->n <= FM_DOOR_NODES_MAX);
    d->nodes[at] = *nodes;
    (void)tell(d, &(struct word){.door = at, .has_nodes = true, .nodes = *nodes});
}

/* The workers share a listener: who else has its port is asked before one of them has it. */
enum fm_err fm_doors_add(struct fm_doors *d, const struct fm_door_config *c, struct fm_error *e)
{
    unsigned at = d->config.ndoors;
    if (at == FM_DOORS_MAX)
        return fm_error_set(e, FM_ERR_LIMIT, "a host has doors of %d groups at most", FM_DOORS_MAX);
    for (unsigned k = 0; k < FM_DOOR_KIND_COUNT; k++)
        if (c->listens[k] && fm_listener_probe(&c->at[k], e))
            return fm_error_wrap(e, "%s", fm_door_kind_name((enum fm_door_kind)k));
    d->config.door[at] = *c;
    if (!tell(d, &(struct word){.door = at, .is_new = true}))
        return fm_error_set(e, FM_ERR_MEMORY, "no memory for another door");
    d->config.ndoors++;
    return FM_ERR_OK;
}

void fm_doors_name(struct fm_doors *d, unsigned at, unsigned node, const char *host)
{
    FM_ASSERT(at < d->config.ndoors && node >= d->nodes[at].n && node < FM_DOOR_NODES_MAX);
    char *to = d->config.door[at].host[node];
    size_t n = strlen(host), room = sizeof d->config.door[at].host[node];
    FM_ASSERT(n > 0 && n < room);
    memcpy(to, host, n + 1);
}

void fm_doors_authority_changed(struct fm_doors *d)
{
    (void)tell(d, &(struct word){.has_nodes = false});
}

void fm_doors_drain(struct fm_doors *d)
{
    (void)tell(d, &(struct word){.drain = true});
}

void fm_doors_peers(struct fm_doors *d, uint8_t region, struct fm_tls *client)
{
    d->region = region;
    (void)tell(d, &(struct word){.has_peers = true, .region = region, .tls = client});
}

/* -------- visits -------- */

int fm_doors_find(const struct fm_doors *d, struct fm_str group)
{
    for (unsigned i = 0; i < d->config.ndoors; i++)
        if (fm_str_eqz(group, d->config.door[i].name))
            return (int)i;
    return -1;
}

bool fm_doors_have_room(const struct fm_doors *d)
{
    return atomic_load(&d->connections) < d->config.connections_max;
}

static void got_visit(struct fm_msg *m, void *user)
{
    struct fm_door_worker *w = user;
    struct visit *v = fm_container_of(m, struct visit, msg);
    fm_passage_visits(&w->door[v->door], &v->by, &v->from);
    free(v);
}

void fm_doors_receive(struct fm_doors *d, unsigned at, const struct fm_tunnel *by,
                      struct fm_sock_parcel *from)
{
    FM_ASSERT(at < d->config.ndoors && d->nworkers > 0);
    struct visit *v = malloc(sizeof *v);
    if (!v) {
        fm_sock_discard(from);
        return;
    }
    *v = (struct visit){.msg.deliver = got_visit, .door = at, .by = *by, .from = *from};
    atomic_fetch_add(&d->connections, 1);
    fm_mailbox_post(&d->worker[d->next++ % d->nworkers].inbox, &v->msg);
}

const struct fm_addr *fm_doors_address(const struct fm_doors *d, unsigned at,
                                       enum fm_door_kind kind)
{
    FM_ASSERT(at < d->config.ndoors && d->config.door[at].listens[kind]);
    return &d->config.door[at].at[kind];
}

/* -------- life -------- */

struct fm_doors *fm_doors_new(const struct fm_doors_config *c, struct fm_error *e)
{
    FM_ASSERT(c->nworkers > 0 && c->nworkers <= FM_DOOR_WORKERS_MAX && c->ndoors <= FM_DOORS_MAX);
    FM_ASSERT(c->startup_ms > 0 && c->connect_ms > 0 && c->connections_max > 0);
    struct fm_doors *d = calloc(1, sizeof *d);
    if (!d) {
        (void)fm_error_set(e, FM_ERR_MEMORY, "no memory for doors");
        return NULL;
    }
    d->config = *c;
    d->region = c->region;
    enum fm_err err = FM_ERR_OK;
    while (d->nworkers < c->nworkers && !err)
        err = open_worker(d, &d->worker[d->nworkers++], e);
    for (unsigned i = 0; i < d->nworkers && !err; i++)
        err = start_worker(&d->worker[i], e);
    if (!err)
        return d;
    fm_doors_free(d);
    return NULL;
}

static void free_worker(struct fm_door_worker *w)
{
    if (w->running)
        pthread_join(w->thread, NULL);
    if (w->inbox.loop)
        fm_mailbox_close(&w->inbox);
    w->ending = true;
    close_listeners(w);
    fm_passages_close(w);
    fm_errands_close(w);
    if (w->loop.pool) {
        fm_loop_cancel(&w->loop, &w->tick);
        fm_loop_turn(&w->loop, 0);
        FM_ASSERT(w->npassages == 0 && w->nerrands == 0);
        fm_loop_deinit(&w->loop);
    }
    fm_tls_unref(w->tls);
    fm_pool_deinit(&w->pool);
}

void fm_doors_free(struct fm_doors *d)
{
    if (!d)
        return;
    for (unsigned i = 0; i < d->nworkers; i++)
        if (d->worker[i].running)
            fm_mailbox_post(&d->worker[i].inbox, &d->worker[i].stop);
    for (unsigned i = 0; i < d->nworkers; i++)
        free_worker(&d->worker[i]);
    FM_ASSERT(atomic_load(&d->connections) == 0);
    free(d);
}

/* -------- for people -------- */

static uint64_t sum(const struct fm_doors *d, unsigned at, size_t offset)
{
    uint64_t n = 0;
    for (unsigned w = 0; w < d->nworkers; w++)
        n += fm_counter_get(
            (const struct fm_counter *)(const void *)((const char *)&d->worker[w].door[at].metrics +
                                                      offset));
    return n;
}

static uint64_t connections(const struct fm_doors *d, unsigned at, bool holding)
{
    uint64_t n = 0;
    for (unsigned w = 0; w < d->nworkers; w++) {
        const struct fm_door_metrics *m = &d->worker[w].door[at].metrics;
        n += atomic_load_explicit(holding ? &m->holding : &m->connections, memory_order_relaxed);
    }
    return n;
}

static json_t *node_json(const struct fm_door_nodes *n, unsigned i, struct fm_mono now)
{
    static const char *const role[] = {
        [FM_DOOR_AWAY] = "away", [FM_DOOR_PRIMARY] = "primary", [FM_DOOR_STANDBY] = "standby"};
    const struct fm_door_node *node = &n->node[i];
    bool way = node->distance != FM_DOOR_NO_WAY;
    char at[FM_ADDR_TEXT_MAX] = "";
    if (way)
        (void)fm_addr_format(&n->at[i], at);
    FM_ASSERT(node->role < FM_COUNT(role));
    json_t *o = json_pack("{s:s, s:o}", "role", role[node->role], "address",
                          way ? json_string(at) : json_null());
    if (node->role == FM_DOOR_PRIMARY)
        json_object_set_new(o, "epoch", json_integer((json_int_t)node->epoch.n));
    if (node->role == FM_DOOR_STANDBY)
        json_object_set_new(o, "lag_ms",
                            node->lag_ms < 0
                                ? json_null()
                                : json_integer(node->lag_ms + fm_mono_sub_ms(now, node->seen)));
    return o;
}

/* Who would come now: passed on, or the reason why not. */
static json_t *kind_json(const struct fm_doors *d, unsigned at, enum fm_door_kind kind)
{
    const struct fm_door_config *c = &d->config.door[at];
    struct fm_mono now = fm_mono_now();
    struct fm_door_view v = {.region = d->region,
                             .read_only = atomic_load(&c->seats->read_only),
                             .nnodes = (uint8_t)d->nodes[at].n,
                             .policy = c->policy};
    memcpy(v.node, d->nodes[at].node, sizeof v.node);
    fm_seats_read_sublease(c->seats, 0, &v.cell);
    struct fm_door_ask ask = {.kind = kind, .came = now};
    struct fm_door_choice choice = fm_door_choose(&v, &ask, now);
    char text[FM_ADDR_TEXT_MAX];
    (void)fm_addr_format(fm_doors_address(d, at, kind), text);
    bool passes = choice.verdict == FM_DOOR_CONNECT;
    return json_pack("{s:s, s:b, s:o, s:o}", "address", text, "open", passes, "node",
                     passes ? json_integer(choice.node) : json_null(), "why",
                     passes ? json_null() : json_string(fm_door_why_name(choice.why)));
}

json_t *fm_doors_json(const struct fm_doors *d)
{
    struct fm_mono now = fm_mono_now();
    json_t *all = json_array();
    for (unsigned i = 0; i < d->config.ndoors; i++) {
        json_t *o = json_object(), *nodes = json_array();
        json_object_set_new(o, "group", json_string(d->config.door[i].name));
        for (unsigned k = 0; k < FM_DOOR_KIND_COUNT; k++)
            if (d->config.door[i].listens[k])
                json_object_set_new(o, k == FM_DOOR_READ_WRITE ? "read_write" : "read_only",
                                    kind_json(d, i, (enum fm_door_kind)k));
        for (unsigned n = 0; n < d->nodes[i].n; n++)
            json_array_append_new(nodes, node_json(&d->nodes[i], n, now));
        json_object_set_new(o, "nodes", nodes);
        json_object_set_new(o, "connections", json_integer((json_int_t)connections(d, i, false)));
        json_object_set_new(o, "holding", json_integer((json_int_t)connections(d, i, true)));
#define X(field, name, help)                                                                       \
    json_object_set_new(                                                                           \
        o, #field, json_integer((json_int_t)sum(d, i, offsetof(struct fm_door_metrics, field))));
        FM_DOOR_METRICS(X)
#undef X
        json_array_append_new(all, o);
    }
    return all;
}

static void metric(const struct fm_doors *d, struct fm_buf *b, const char *name, const char *type,
                   const char *help, uint64_t (*value)(const struct fm_doors *, unsigned, size_t),
                   size_t what)
{
    fm_buf_printf(b, "# HELP fulmar_gate_%s %s\n# TYPE fulmar_gate_%s %s\n", name, help, name,
                  type);
    for (unsigned i = 0; i < d->config.ndoors; i++)
        fm_buf_printf(b, "fulmar_gate_%s{group=\"%s\"} %llu\n", name, d->config.door[i].name,
                      (unsigned long long)value(d, i, what));
}

static uint64_t gauge(const struct fm_doors *d, unsigned at, size_t holding)
{
    return connections(d, at, holding != 0);
}

bool fm_doors_metrics(const struct fm_doors *d, char **text, size_t *n)
{
    enum { ROOM_HEAD = 320, ROOM_DOOR = 160, METRICS = 16 };
    size_t room = METRICS * (size_t)(ROOM_HEAD + ROOM_DOOR * d->config.ndoors);
    char *more = realloc(*text, *n + room);
    if (!more)
        return false;
    *text = more;
    struct fm_buf b = fm_buf(more + *n, room);
    metric(d, &b, "door_connections", "gauge", "Connections to a PostgreSQL group open now", gauge,
           0);
    metric(d, &b, "door_holding", "gauge", "Connections that wait for a node, or to go on", gauge,
           1);
#define X(field, name, help)                                                                       \
    metric(d, &b, name, "counter", help, sum, offsetof(struct fm_door_metrics, field));
    FM_DOOR_METRICS(X)
#undef X
    FM_ASSERT(!b.full);
    *n += b.n;
    return true;
}
