/* The edge process: puts the pieces together on the control loop and brings them down in order.
 * What it decides is decided in core; what it moves is moved by src/proxy. */
#include "edge/edge.h"

#include "base/assert.h"
#include "base/log.h"
#include "proxy/daemon.h"
#include "proxy/follow.h"
#include "proxy/probes.h"
#include "proxy/seats_view.h"
#include "proxy/status.h"
#include "proxy/view_intent.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_CONFIG = 78, ACCESS_BYTES_MAX = 16 * 1024 * 1024, END_MS = 1000 };

struct edge {
    struct fm_daemon daemon;
    struct fm_director director;
    struct fm_probes *probes;
    struct fm_follow *follow; /* who holds what; NULL while nothing is held by anybody */
    struct fm_sink *access;
    struct fm_pages ready_pages;
    struct fm_listener ready;
    struct fm_page ready_page[2];
    char ready_path[256];
    bool has_ready, started;
    bool drained; /* an operator said so of this host: it is not ready, and goes on */
    struct fm_timer announce;
    int host; /* index in the configuration, or -1 */
};

/* -------- pages -------- */

static void page_text(struct fm_page_answer *a, const char *text)
{
    a->n = strlen(text);
    a->body = strdup(text);
    if (!a->body)
        a->n = 0;
}

static void write_live(const struct fm_page_request *q, struct fm_page_answer *a)
{
    (void)q;
    page_text(a, "alive\n");
}

static void write_ready(const struct fm_page_request *q, struct fm_page_answer *a)
{
    const struct edge *x = q->user;
    FM_ASSERT(x->has_ready);
    bool knows = x->director.names_known && (!x->follow || fm_follow_doc(x->follow));
    bool ends = x->daemon.ending || x->drained;
    bool ready = x->started && knows && !ends;
    a->status = ready ? 200 : 503;
    page_text(a, ready ? "ready\n" : ends ? "draining\n" : "no view yet\n");
}

static void write_metrics(const struct fm_page_request *q, struct fm_page_answer *a)
{
    const struct edge *x = q->user;
    a->content_type = "text/plain; version=0.0.4; charset=utf-8";
    a->body = fm_status_metrics(&x->director, "edge", &a->n);
    if (!a->body)
        a->status = 503;
}

static void write_status(const struct fm_page_request *q, struct fm_page_answer *a)
{
    const struct edge *x = q->user;
    json_t *root = fm_daemon_status(&x->daemon);
    a->content_type = "application/json";
    if (root && x->follow)
        json_object_set_new(root, "view", fm_follow_json(x->follow));
    if (root)
        json_object_set_new(root, "intent", json_string(x->drained ? "drain" : "serve"));
    if (root && fm_status_add(&x->director, root))
        a->body = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (a->body)
        a->n = strlen(a->body);
    else
        a->status = 503;
}

static const struct fm_page pages[] = {{.path = "/health/live", .write = write_live},
                                       {.path = "/metrics", .write = write_metrics},
                                       {.path = "/status", .write = write_status},
                                       {.path = NULL}};

static void ready_accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    fm_pages_accept(&fm_container_of(ln, struct edge, ready)->ready_pages, fd, from);
}

static enum fm_err open_ready(struct edge *x, const struct fm_conf *conf, struct fm_error *e)
{
    if (!conf->edge.ready.present)
        return FM_ERR_OK;
    snprintf(x->ready_path, sizeof x->ready_path, "%.*s", FM_STR_ARG(conf->edge.ready.path));
    x->ready_page[0] = (struct fm_page){.path = x->ready_path, .write = write_ready};
    FM_ASSERT(!x->has_ready && x->ready_path[0] == '/');
    struct fm_addr at;
    if (fm_addr_ip(&at, conf->edge.ready.address.host, conf->edge.ready.address.port))
        return fm_error_set(e, FM_ERR_INVALID, "edge.ready.address is not an IP address");
    enum fm_err err = fm_pages_init(&x->ready_pages, &x->daemon.loop, x->ready_page, x, e);
    if (!err)
        err = fm_listener_open(&x->ready, &x->daemon.loop, &at, 0, ready_accepted, e);
    x->has_ready = err == FM_ERR_OK;
    return err;
}

/* -------- who holds what -------- */

static void take_view(void *user)
{
    struct edge *x = user;
    const struct fm_view_doc *d = fm_follow_doc(x->follow);
    if (!d)
        return;
    fm_seats_take_view(x->director.seats, x->director.board->conf, d);
    fm_director_take_intents(&x->director, d);
    if (d->has_intents && x->host >= 0)
        x->drained =
            fm_view_intent_drains_host(d, fm_str_z(x->daemon.region), fm_str_z(x->daemon.host));
    fm_director_authority_changed(&x->director);
}

/* Workers met a gate that does not hold what the view says, or an epoch that is newer. */
static void authority_wanted(struct fm_director *d)
{
    struct edge *x = fm_container_of(d, struct edge, director);
    if (x->follow)
        fm_follow_hurry(x->follow);
}

static bool has_cells(const struct fm_conf *conf)
{
    for (size_t i = 0; i < conf->ncontexts; i++)
        if (conf->contexts[i].ncells)
            return true;
    return false;
}

/* Once some context needs it, for the life of the process. */
static enum fm_err follow(struct edge *x, struct fm_error *e)
{
    const struct fm_conf *conf = x->director.board->conf;
    const struct fm_follow_config c = {.mailbox = &x->daemon.mailbox,
                                       .resolver = x->daemon.resolver,
                                       .folder = x->daemon.state_dir,
                                       .host = x->daemon.host,
                                       .region = x->daemon.region,
                                       .changed = take_view,
                                       .user = x};
    enum fm_err err = FM_ERR_OK;
    if (x->follow)
        err = fm_follow_reset(x->follow, conf, &x->daemon.peers);
    else if (has_cells(conf))
        x->follow = fm_follow_new(&c, conf, &x->daemon.peers, e);
    if (x->follow)
        take_view(x); /* also what a reload numbered anew */
    else if (has_cells(conf))
        err = e->code;
    return err;
}

/* -------- reload and end -------- */

static const struct fm_conf *current(struct fm_daemon *d)
{
    return fm_container_of(d, struct edge, daemon)->director.board->conf;
}

static enum fm_err reload(struct fm_daemon *d, struct fm_conf *conf, struct fm_error *e)
{
    struct edge *x = fm_container_of(d, struct edge, daemon);
    struct fm_director_config c = x->director.config;
    c.access_sample_ppm = conf->edge.access_log.sample_ppm;
    c.peers = d->peers;
    enum fm_err err = fm_director_reload(&x->director, conf, &c, e);
    if (err)
        return err;
    FM_ASSERT(x->director.board->conf == conf);
    if (x->access)
        fm_sink_reopen(x->access);
    fm_probes_reset(x->probes);
    struct fm_error missing = {.msg = "out of memory"};
    if (follow(x, &missing)) /* the configuration is taken all the same */
        fm_log(FM_LOG_ERROR, "view_not_followed", FM_KE(&missing));
    return FM_ERR_OK;
}

/* Addresses changed: the targets of app probes are endpoints of the view. */
static void view_changed(struct fm_director *d)
{
    struct edge *x = fm_container_of(d, struct edge, director);
    if (x->probes)
        fm_probes_reset(x->probes);
}

static void workers_ended(struct fm_director *d)
{
    fm_daemon_stop(&fm_container_of(d, struct edge, director)->daemon);
}

static void announce_over(struct fm_timer *t)
{
    struct edge *x = fm_container_of(t, struct edge, announce);
    FM_ASSERT(x->daemon.ending);
    fm_director_drain(&x->director, x->director.board->conf->edge.drain_finish_ms);
}

static void terminate(struct fm_daemon *d, bool at_once)
{
    struct edge *x = fm_container_of(d, struct edge, daemon);
    const struct fm_conf_edge *e = &x->director.board->conf->edge;
    FM_ASSERT(d->ending && e->drain_announce_ms >= 0 && e->drain_finish_ms >= 0);
    int64_t announce_ms = e->ready.present && !at_once ? e->drain_announce_ms : 0;
    fm_log(FM_LOG_INFO, "draining", FM_KI("announce_ms", announce_ms),
           FM_KI("finish_ms", e->drain_finish_ms));
    if (at_once || announce_ms == 0) {
        fm_loop_cancel(&d->loop, &x->announce);
        fm_director_drain(&x->director, at_once ? END_MS : e->drain_finish_ms);
    } else {
        fm_loop_timer_in_ms(&d->loop, &x->announce, announce_ms);
    }
}

/* -------- start -------- */

static unsigned count_workers(const struct fm_conf *conf)
{
    if (conf->edge.workers)
        return conf->edge.workers;
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

static enum fm_err open_access_log(struct edge *x, const struct fm_conf *conf, struct fm_error *e)
{
    if (!conf->edge.access_log.present)
        return FM_ERR_OK;
    char path[PATH_MAX];
    enum fm_err err = fm_conf_expand(conf->edge.access_log.path, fm_str_z(x->daemon.host),
                                     fm_str_z(x->daemon.region), path, sizeof path);
    if (err)
        return fm_error_set(e, err, "edge.access-log.path is too long");
    bool out = strcmp(path, "stdout") == 0;
    x->access = fm_sink_open(out ? NULL : path, STDOUT_FILENO, ACCESS_BYTES_MAX, e);
    return x->access ? FM_ERR_OK : fm_error_wrap(e, "access log");
}

static enum fm_err listen_all(struct edge *x, const struct fm_conf *conf, struct fm_error *e)
{
    FM_ASSERT(conf->edge.nlisten > 0 && !x->started);
    for (size_t i = 0; i < conf->edge.nlisten; i++) {
        const struct fm_conf_addr *a = &conf->edge.listen[i].address;
        struct fm_addr at;
        if (fm_addr_ip(&at, a->host, a->port))
            return fm_error_set(e, FM_ERR_INVALID, "%.*s is not an IP address and a port",
                                FM_STR_ARG(a->text));
        enum fm_err err = fm_director_listen(&x->director, &at, e);
        if (err)
            return fm_error_wrap(e, "edge.listen");
        fm_log(FM_LOG_INFO, "listening", FM_KS("address", a->text));
    }
    return FM_ERR_OK;
}

static enum fm_err start(struct edge *x, struct fm_conf *conf, struct fm_error *e)
{
    FM_ASSERT(x->host < (int)conf->nhosts && !x->started);
    struct fm_conf_addr admin = x->host >= 0 ? conf->hosts[x->host].edge_admin : conf->edge.admin;
    enum fm_err err = open_access_log(x, conf, e);
    struct fm_director_config c = {.mode = FM_PROXY_EDGE,
                                   .nworkers = count_workers(conf),
                                   .access_log = x->access,
                                   .access_sample_ppm = conf->edge.access_log.sample_ppm,
                                   .peers = x->daemon.peers};
    if (err) {
        fm_conf_free(conf);
        return err;
    }
    err = fm_director_init(&x->director, &x->daemon.loop, &x->daemon.mailbox, x->daemon.resolver,
                           conf, &c, e);
    if (err)
        return err;
    x->director.ended = workers_ended;
    x->director.view_changed = view_changed;
    x->director.authority_wanted = authority_wanted;
    err = follow(x, e);
    if (err)
        return err;
    err = listen_all(x, conf, e);
    if (!err)
        err = open_ready(x, conf, e);
    if (!err)
        err = fm_daemon_serve(&x->daemon, &admin, pages, e);
    if (err)
        return err;
    x->probes = fm_probes_new(&x->director, e);
    if (!x->probes)
        return FM_ERR_MEMORY;
    err = fm_director_start(&x->director, e);
    x->started = err == FM_ERR_OK;
    return err;
}

static void bring_down(struct edge *x)
{
    FM_ASSERT(!x->started || x->director.nended == x->director.nrunning);
    fm_director_join(&x->director);
    fm_probes_free(x->probes);
    if (x->has_ready) {
        fm_listener_close(&x->ready);
        fm_pages_close_all(&x->ready_pages);
        fm_loop_turn(&x->daemon.loop, 0);
        fm_pages_deinit(&x->ready_pages);
    }
    fm_follow_stop(x->follow);
    fm_daemon_end_resolver(&x->daemon);
    if (x->follow)
        fm_loop_turn(&x->daemon.loop, 0); /* its connections are closed */
    fm_follow_free(x->follow);
    x->follow = NULL;
    if (x->director.loop)
        fm_director_deinit(&x->director);
    fm_sink_close(x->access, END_MS);
}

int fm_edge_main(const struct fm_edge_options *o)
{
    struct fm_conf *conf = fm_daemon_load_first(o->config_path);
    if (!conf)
        return EXIT_CONFIG;
    if (!conf->edge.present || conf->edge.nlisten == 0) {
        fprintf(stderr, "fulmar edge: %s has no `edge: {listen: [...]}`\n", o->config_path);
        fm_conf_free(conf);
        return EXIT_CONFIG;
    }
    struct edge *x = calloc(1, sizeof *x);
    FM_ASSERT(x);
    x->daemon.options = (struct fm_daemon_options){.role = "edge",
                                                   .config_path = o->config_path,
                                                   .host = o->host,
                                                   .region = o->region,
                                                   .roles = FM_ROLE_EDGE,
                                                   .user = x};
    x->daemon.lock_fd = -1;
    x->daemon.reload = reload;
    x->daemon.terminate = terminate;
    x->daemon.current = current;
    fm_timer_init(&x->announce, announce_over);
    struct fm_error e = {0};
    enum fm_err err = fm_daemon_find_host(&x->daemon, conf, &x->host, &e);
    int code = err ? EXIT_CONFIG : EXIT_FAILED;
    if (!err)
        err = fm_daemon_init(&x->daemon, conf, &e);
    if (err) {
        fm_conf_free(conf);
    } else {
        err = start(x, conf, &e);
        if (!err) {
            fm_log(FM_LOG_INFO, "edge_started", FM_KS("service", conf->service),
                   FM_KZ("host", x->daemon.host), FM_KU("workers", x->director.nworkers));
            fm_daemon_run(&x->daemon);
            fm_log(FM_LOG_INFO, "edge_stopped");
        }
        bring_down(x);
    }
    fm_daemon_deinit(&x->daemon);
    if (err)
        fprintf(stderr, "fulmar edge: %s\n", e.msg);
    free(x);
    return err ? code : 0;
}
