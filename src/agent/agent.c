/* The agent process: a shell per role around core, on one control loop. */
#include "agent/agent.h"

#include "agent/agreement.h"
#include "agent/checks.h"
#include "agent/deep.h"
#include "agent/deliver.h"
#include "agent/guard.h"
#include "agent/heir.h"
#include "agent/ledger.h"
#include "agent/rights.h"
#include "agent/views.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/rand.h"
#include "coord/owner.h"
#include "proxy/daemon.h"
#include "proxy/probes.h"
#include "proxy/status.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_CONFIG = 78, WORKERS_MAX = 4, REAL_DIGITS = 9 };
/* Probes and long polls of every edge, and of other agents. */
enum { PEERS_MAX = 1024 };

struct agent {
    struct fm_daemon daemon;
    struct fm_director director; /* role gate */
    struct fm_probes *probes;
    struct fm_checks *checks;   /* role health */
    struct fm_journal *journal; /* of a gate whose contexts have keys */
    struct fm_heir *heir;       /* where there is a journal; also the next */
    struct fm_deliver *deliver;
    struct fm_guarded guarded;
    struct fm_owner *owner;   /* role coordination */
    struct fm_views *views;   /* who holds what */
    struct fm_rights *rights; /* where a context has cells */
    bool owner_failed;
    struct fm_agreement *agreement;
    struct fm_conf *file; /* as it was loaded; what is in use is made of it and what is agreed */
    struct fm_conf *conf; /* in use; where there is no director to hold it */
    struct fm_pages peer_pages;
    struct fm_listener peer;
    bool has_gate, has_peer, started;
    int host;
    unsigned region;
};

static const struct fm_conf *conf_of(const struct agent *x)
{
    return x->has_gate ? x->director.board->conf : x->conf;
}

/* -------- what this region can do -------- */

static struct fm_deep deep_of(struct agent *x)
{
    return (struct fm_deep){.conf = conf_of(x),
                            .checks = x->checks,
                            .director = x->has_gate ? &x->director : NULL,
                            .rights = x->rights,
                            .region = x->region,
                            .host = x->daemon.host,
                            .region_name = x->daemon.region};
}

/* -------- pages -------- */

static void page_json(struct fm_page_answer *a, json_t *doc)
{
    a->content_type = "application/json";
    a->body = doc ? json_dumps(doc, JSON_COMPACT | JSON_REAL_PRECISION(REAL_DIGITS)) : NULL;
    json_decref(doc);
    if (a->body)
        a->n = strlen(a->body);
    else
        a->status = 503;
}

static void write_live(const struct fm_page_request *q, struct fm_page_answer *a)
{
    (void)q;
    a->body = strdup("alive\n");
    a->n = a->body ? strlen(a->body) : 0;
}

static void write_deep(const struct fm_page_request *q, struct fm_page_answer *a)
{
    struct agent *x = q->user;
    struct fm_str only = {NULL, 0}, prefix = FM_STR("?context=");
    bool ok, found;
    if (fm_str_starts(q->query, prefix))
        only = fm_str(q->query.p + prefix.n, q->query.n - prefix.n);
    struct fm_deep deep = deep_of(x);
    json_t *doc = fm_deep_json(&deep, only, &ok, &found);
    a->status = !found ? 404 : ok && !x->daemon.ending ? 200 : 503;
    page_json(a, doc);
}

static void write_metrics(const struct fm_page_request *q, struct fm_page_answer *a)
{
    struct agent *x = q->user;
    a->content_type = "text/plain; version=0.0.4; charset=utf-8";
    a->body = x->has_gate ? fm_status_metrics(&x->director, "gate", &a->n) : strdup("");
    if (!a->body || (x->deliver && !fm_deliver_metrics(x->deliver, &a->body, &a->n)) ||
        (x->rights && !fm_rights_metrics(x->rights, &a->body, &a->n)))
        a->status = 503;
}

static void write_status(const struct fm_page_request *q, struct fm_page_answer *a)
{
    struct agent *x = q->user;
    json_t *root = fm_daemon_status(&x->daemon);
    struct fm_str service = conf_of(x)->service;
    bool ok, found;
    struct fm_deep deep = deep_of(x);
    if (root)
        json_object_set_new(root, "service", json_stringn(service.p, service.n));
    if (root && x->has_gate && !fm_status_add(&x->director, root)) {
        json_decref(root);
        root = NULL;
    }
    json_t *view = root && x->views ? fm_views_json(x->views) : NULL;
    if (view)
        json_object_set_new(root, "view", view);
    json_t *webhook = root && x->views ? fm_views_webhook_json(x->views) : NULL;
    if (webhook)
        json_object_set_new(root, "authority_webhook", webhook);
    if (root)
        json_object_set_new(root, "health", fm_deep_json(&deep, fm_str(NULL, 0), &ok, &found));
    if (root && x->rights)
        fm_rights_add_status(x->rights, root);
    if (root)
        json_object_set_new(json_object_get(root, "config"), "shared",
                            fm_agreement_json(x->agreement));
    if (root && x->deliver)
        json_object_set_new(root, "queue", fm_deliver_json(x->deliver));
    if (root && x->heir) /* else it refuses what has a key */
        json_object_set_new(root, "caught_up",
                            json_boolean(atomic_load(fm_heir_caught_up(x->heir))));
    page_json(a, root);
}

static const struct fm_page admin_pages[] = {{.path = "/health/live", .write = write_live},
                                             {.path = "/metrics", .write = write_metrics},
                                             {.path = "/status", .write = write_status},
                                             {.path = NULL}};
static void write_changes(const struct fm_page_request *q, struct fm_page_answer *a)
{
    struct fm_heir *heir = ((struct agent *)q->user)->heir;
    a->status = heir ? a->status : 404;
    if (heir)
        fm_heir_changes(heir, q, a);
}

/* Pages about the right to write, and what goes by it. */
#define OF_RIGHTS(page)                                                                            \
    static void write_##page(const struct fm_page_request *q, struct fm_page_answer *a)            \
    {                                                                                              \
        fm_rights_##page(((struct agent *)q->user)->rights, q, a);                                 \
    }

OF_RIGHTS(post)
OF_RIGHTS(groups)
OF_RIGHTS(door)
OF_RIGHTS(ops)
OF_RIGHTS(marks)

static void write_view(const struct fm_page_request *q, struct fm_page_answer *a)
{
    fm_views_page(((struct agent *)q->user)->views, q, a);
}

static void write_feed(const struct fm_page_request *q, struct fm_page_answer *a)
{
    fm_views_feed_page(((struct agent *)q->user)->views, q, a);
}

static void write_shared(const struct fm_page_request *q, struct fm_page_answer *a)
{
    fm_agreement_page(((struct agent *)q->user)->agreement, q, a);
}

/* Orders, and questions of who is at another host, need a certificate of the service. */
static void write_of_peer(const struct fm_page_request *q, struct fm_page_answer *a)
{
    bool status = fm_str_eqz(q->path, "/status");
    a->status = q->peer ? a->status : status ? 404 : 403;
    if (q->peer)
        (status ? write_status : write_ops)(q, a);
}

/* What is lent to a command beside the guard is not in the guard's testimony. */
static void write_lease(const struct fm_page_request *q, struct fm_page_answer *a)
{
    struct agent *x = q->user;
    if (x->guarded.fd >= 0) {
        a->status = 409;
        page_json(a, json_pack("{s:s,s:s}", "schema", "fulmar.error/1", "error",
                               "this agent runs under a guard, whose testimony would not be about "
                               "the command"));
        return;
    }
    if (x->rights)
        fm_rights_lease(x->rights, q, a);
    else
        a->status = x->daemon.ending ? 503 : 404;
}

#define OP(name, write)                                                                            \
    {                                                                                              \
        "/ops/" name, write, true                                                                  \
    }
#define OPS(write)                                                                                 \
    {"/ops", write, false}, OP("move", write), OP("evacuate", write), OP("failback", write),       \
        OP("failover", write), OP("quote", write), OP("read-only", write), OP("automatic", write), \
        OP("members", write), OP("create", write), OP("drain", write), OP("undrain", write),       \
        OP("config", write), OP("reinit", write), OP("maintain", write), OP("resume", write),      \
        OP("add", write), OP("remove", write), {"/groups/loss/write-off", write, true},            \
        {"/groups/room", write, true}, OP("abort", write)

static const struct fm_page local_pages[] = {{.path = "/health/live", .write = write_live},
                                             {.path = "/metrics", .write = write_metrics},
                                             {.path = "/status", .write = write_status},
                                             {.path = "/lease/", .write = write_lease},
                                             {.path = "/config/shared", .write = write_shared},
                                             {.path = "/groups", .write = write_groups},
                                             {.path = "/groups/loss", .write = write_groups},
                                             {.path = "/groups/loss/rows", .write = write_groups},
                                             OPS(write_ops),
                                             {.path = NULL}};

static const struct fm_page peer_pages[] = {{.path = "/health/live", .write = write_live},
                                            {.path = "/health/deep", .write = write_deep},
                                            {.path = "/status", .write = write_of_peer},
                                            {.path = "/journal/changes", .write = write_changes},
                                            {"/peer/1/post", write_post, true},
                                            {.path = "/authority/view", .write = write_view},
                                            {.path = "/authority/feed", .write = write_feed},
                                            {.path = "/config/shared", .write = write_shared},
                                            {.path = "/authority/marks", .write = write_marks},
                                            {.path = "/groups", .write = write_groups},
                                            {.path = "/groups/secret", .write = write_groups},
                                            {"/groups/loss", write_groups, true},
                                            {"/groups/loss/rows", write_groups, true},
                                            {"/groups/room", write_groups, true},
                                            OPS(write_of_peer),
                                            {.path = "/groups/", .write = write_door},
                                            {.path = NULL}};

static void peer_accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    fm_pages_accept(&fm_container_of(ln, struct agent, peer)->peer_pages, fd, from);
}

/* -------- the journal -------- */

static bool knows_gate(void *user, struct fm_str host)
{
    const struct agent *x = user;
    return x->has_gate && fm_director_knows_gate(&x->director, host);
}

static enum fm_err open_journal(struct agent *x, const struct fm_conf *conf, struct fm_error *e)
{
    enum fm_err err = fm_ledger_open(conf, x->daemon.state_dir, &x->journal, e);
    if (err || !x->journal)
        return err;
    struct fm_heir_config c = {.loop = &x->daemon.loop,
                               .mailbox = &x->daemon.mailbox,
                               .resolver = x->daemon.resolver,
                               .journal = x->journal,
                               .host = x->daemon.host,
                               .knows = knows_gate,
                               .user = x};
    x->heir = fm_heir_new(&c, conf, &x->daemon.peers, e);
    return x->heir ? FM_ERR_OK : FM_ERR_MEMORY;
}

/* -------- what is queued -------- */

static const struct fm_view_doc *view_of(void *user)
{
    const struct agent *x = user;
    return x->views ? fm_views_doc(x->views) : NULL;
}

static void views_changed(void *user)
{
    fm_deliver_look(((struct agent *)user)->deliver);
}

static enum fm_err start_delivery(struct agent *x, const struct fm_conf *conf, struct fm_error *e)
{
    struct fm_deliver_config c = {.loop = &x->daemon.loop,
                                  .mailbox = &x->daemon.mailbox,
                                  .resolver = x->daemon.resolver,
                                  .journal = x->journal,
                                  .region = x->region,
                                  .view = view_of,
                                  .user = x};
    if (!x->journal)
        return FM_ERR_OK;
    x->deliver = fm_deliver_new(&c, conf, &x->daemon.peers, e);
    return x->deliver ? FM_ERR_OK : FM_ERR_MEMORY;
}

/* -------- the right to write -------- */

static void authority_published(void *user)
{
    fm_director_authority_changed(&((struct agent *)user)->director);
}

static void authority_wanted(struct fm_director *d)
{
    struct agent *x = fm_container_of(d, struct agent, director);
    if (x->views)
        fm_views_hurry(x->views);
    if (x->rights)
        fm_rights_wanted(x->rights);
}

static bool capable_of(void *user, unsigned context)
{
    struct fm_deep deep = deep_of(user);
    const char *why = NULL;
    return fm_deep_is_capable(&deep, context, &why);
}

static bool reaches_instance(void *user, unsigned pool, struct fm_str address)
{
    const struct agent *x = user;
    return fm_director_reaches(&x->director, x->region, pool, address);
}

/* Answers of all classes; a reload begins anew. */
static uint64_t served_of(void *user, int context)
{
    const struct fm_board *b = ((struct agent *)user)->director.board;
    uint64_t n = 0;
    for (unsigned i = 0; i < b->nworkers * b->ncontexts; i++) {
        const struct fm_board_context_stats *s = &b->context[i];
        if (context < 0 || i % b->ncontexts == (unsigned)context)
            n += fm_counter_get(&s->commands) + fm_counter_get(&s->queries);
    }
    return n;
}

static void woke(struct fm_loop *l, int64_t late_ns, void *user)
{
    struct agent *x = user;
    (void)l;
    if (x->rights)
        fm_rights_woke(x->rights, late_ns);
}

static unsigned count_workers(void)
{
    cpu_set_t set;
    unsigned n = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
    FM_ASSERT(n > 0);
    return n < WORKERS_MAX ? n : WORKERS_MAX;
}

static enum fm_err start_rights(struct agent *x, struct fm_error *e)
{
    struct fm_rights_config c = {.loop = &x->daemon.loop,
                                 .mailbox = &x->daemon.mailbox,
                                 .resolver = x->daemon.resolver,
                                 .state_dir = x->daemon.state_dir,
                                 .host = x->daemon.host,
                                 .views = x->views,
                                 .agreement = x->agreement,
                                 .database = conf_of(x)->hosts[x->host].roles & FM_ROLE_POSTGRES,
                                 .nworkers = count_workers(),
                                 .seats = x->has_gate ? x->director.seats : NULL,
                                 .doors = x->has_gate ? &x->director.groups : NULL,
                                 .heir = x->heir,
                                 .published = authority_published,
                                 .capable = capable_of,
                                 .served = served_of,
                                 .reaches = x->has_gate ? reaches_instance : NULL,
                                 .user = x};
    const struct fm_conf *conf = conf_of(x);
    if (!fm_rights_are_needed(conf, conf->hosts[x->host].roles))
        return FM_ERR_OK;
    x->rights = fm_rights_new(&c, conf, &x->daemon.peers, e);
    if (!x->rights)
        return e->code;
    x->daemon.loop.woke = woke;
    x->daemon.loop.woke_user = x;
    return FM_ERR_OK;
}

/* -------- reload and end -------- */

static const struct fm_conf *current(struct fm_daemon *d)
{
    return fm_container_of(d, struct agent, daemon)->file;
}

/* This host in another configuration: still an agent's, in its region, with what groups need. */
static enum fm_err find_again(const struct agent *x, const struct fm_conf *conf, int *host,
                              struct fm_error *e)
{
    *host = fm_conf_find_host(conf, fm_str_z(x->daemon.host));
    if (*host < 0 || !(conf->hosts[*host].roles & FM_ROLES_AGENT))
        return fm_error_set(e, FM_ERR_STATE,
                            "host `%s` is not an agent's in the new configuration; stop it, or "
                            "list it again",
                            x->daemon.host);
    if (!fm_str_eqz(conf->regions[conf->hosts[*host].region].name, x->daemon.region))
        return fm_error_set(e, FM_ERR_STATE,
                            "host `%s` is not in region `%s` any more; restart it there",
                            x->daemon.host, x->daemon.region);
    return x->rights ? fm_rights_check(x->rights, conf, e) : FM_ERR_OK;
}

static enum fm_err reload_gate(struct agent *x, struct fm_conf *conf, struct fm_error *e)
{
    struct fm_director_config c = x->director.config;
    c.self = conf->hosts[x->host].region;
    c.peers = x->daemon.peers;
    enum fm_err err = fm_director_reload(&x->director, conf, &c, e);
    if (!err)
        fm_probes_reset(x->probes);
    return err;
}

/* Go by this configuration, which is freed where that fails. */
static enum fm_err take_over(struct agent *x, struct fm_conf *conf, struct fm_error *e)
{
    struct fm_daemon *d = &x->daemon;
    int host, was = x->host;
    enum fm_err err = find_again(x, conf, &host, e);
    if (err) {
        fm_conf_free(conf);
        return err;
    }
    /* the checks look at the old configuration until they have taken over what they know */
    struct fm_board *old = x->has_gate ? x->director.board : NULL;
    if (old)
        fm_board_ref(old);
    x->host = host;
    err = x->has_gate ? reload_gate(x, conf, e) : FM_ERR_OK;
    if (err) {
        x->host = was;
    } else {
        x->region = conf->hosts[host].region;
        x->peer_pages.server.config.tls = d->peers.server;
        struct fm_error missing = {0};
        if (x->checks && fm_checks_reset(x->checks, conf, x->region, &missing))
            fm_log(FM_LOG_ERROR, "checks_missing", FM_KE(&missing));
        fm_views_reset(x->views, conf, &d->peers);
        if (x->heir && fm_heir_reset(x->heir, conf, &d->peers, &missing))
            fm_log(FM_LOG_ERROR, "journals_not_read", FM_KE(&missing));
        if (x->deliver && fm_deliver_reset(x->deliver, conf, &d->peers, &missing))
            fm_log(FM_LOG_ERROR, "queue_not_delivered", FM_KE(&missing));
        if (x->rights)
            fm_rights_reset(x->rights, conf, &d->peers);
        else if (fm_rights_are_needed(conf, conf->hosts[host].roles))
            fm_log(
                FM_LOG_ERROR, "authority_missing",
                FM_KZ("meaning", "contexts with cells are not served until this agent restarts"));
        if (x->has_gate && !x->journal && fm_ledger_retention_ms(conf))
            fm_log(FM_LOG_ERROR, "journal_missing",
                   FM_KZ("meaning", "commands with keys are refused until this agent restarts"));
        if (!x->has_gate) {
            fm_conf_free(x->conf);
            x->conf = conf;
        }
    }
    fm_board_unref(old);
    return err;
}

static enum fm_err reload(struct fm_daemon *d, struct fm_conf *file, struct fm_error *e)
{
    struct agent *x = fm_container_of(d, struct agent, daemon);
    struct fm_conf *conf = fm_agreement_merge(x->agreement, file, e);
    enum fm_err err = conf ? take_over(x, conf, e) : FM_ERR_INVALID;
    if (err) {
        fm_conf_free(file);
        return err;
    }
    fm_agreement_file(x->agreement, file);
    fm_conf_free(x->file);
    x->file = file;
    fm_agreement_used(x->agreement, conf, NULL);
    return FM_ERR_OK;
}

/* Something else is agreed: as if the file had changed. */
static void agreed(void *user)
{
    struct agent *x = user;
    struct fm_error e = {0};
    if (x->daemon.ending || !x->started)
        return;
    struct fm_conf *conf = fm_agreement_merge(x->agreement, x->file, &e);
    bool good = conf && take_over(x, conf, &e) == FM_ERR_OK;
    fm_agreement_used(x->agreement, good ? conf : NULL, e.msg);
}

static void view_changed(struct fm_director *d)
{
    struct agent *x = fm_container_of(d, struct agent, director);
    FM_ASSERT(x->has_gate);
    if (x->probes)
        fm_probes_reset(x->probes);
}

static void workers_ended(struct fm_director *d)
{
    fm_daemon_stop(&fm_container_of(d, struct agent, director)->daemon);
}

static void terminate(struct fm_daemon *d, bool at_once)
{
    struct agent *x = fm_container_of(d, struct agent, daemon);
    int64_t finish_ms = conf_of(x)->edge.drain_finish_ms;
    FM_ASSERT(d->ending && finish_ms >= 0);
    if (x->has_gate && x->started)
        fm_director_drain(&x->director, at_once ? 1000 : finish_ms);
    else
        fm_daemon_stop(d);
}

/* -------- start -------- */

static enum fm_err bind_addr(const struct fm_conf_addr *a, struct fm_addr *at, struct fm_error *e)
{
    if (fm_addr_ip(at, a->host, a->port))
        return fm_error_set(e, FM_ERR_INVALID, "%.*s is not an IP address and a port",
                            FM_STR_ARG(a->text));
    return FM_ERR_OK;
}

static enum fm_err start_gate(struct agent *x, struct fm_conf *conf, struct fm_error *e)
{
    FM_ASSERT(!x->has_gate && !x->started && x->region < conf->nregions);
    enum fm_err err = open_journal(x, conf, e);
    if (err)
        return err;
    struct fm_director_config c = {.mode = FM_PROXY_GATE,
                                   .journal = x->journal,
                                   .caught_up = x->heir ? fm_heir_caught_up(x->heir) : NULL,
                                   .self = x->region,
                                   .self_host = x->daemon.host,
                                   .nworkers = count_workers(),
                                   .peers = x->daemon.peers};
    x->has_gate = true;
    x->conf = NULL;
    err = fm_director_init(&x->director, &x->daemon.loop, &x->daemon.mailbox, x->daemon.resolver,
                           conf, &c, e);
    if (err)
        return err;
    x->director.ended = workers_ended;
    x->director.view_changed = view_changed;
    x->director.authority_wanted = authority_wanted;
    struct fm_addr at;
    err = bind_addr(&conf->hosts[x->host].gate_bind, &at, e);
    if (!err)
        err = fm_director_listen(&x->director, &at, e);
    if (err)
        return fm_error_wrap(e, "gate");
    fm_log(FM_LOG_INFO, "gate_listening", FM_KS("address", conf->hosts[x->host].gate_bind.text));
    x->probes = fm_probes_new(&x->director, e);
    return x->probes ? FM_ERR_OK : FM_ERR_MEMORY;
}

static void owner_failed(void *user, const char *why)
{
    struct agent *x = user;
    fm_log(FM_LOG_ERROR, "agent_stops", FM_KZ("why", why));
    x->owner_failed = true;
    if (x->has_gate && x->started)
        fm_director_drain(&x->director, 1000);
    else
        fm_daemon_stop(&x->daemon);
}

static enum fm_err start_owner(struct agent *x, const struct fm_conf *conf, struct fm_error *e)
{
    struct fm_owner_config c = {.path = conf->coordination.sqlite.p,
                                .service = conf->service.p,
                                .failed = owner_failed,
                                .user = x};
    x->owner = fm_owner_open(&x->daemon.loop, &c, e);
    return x->owner ? FM_ERR_OK : fm_error_wrap(e, "coordination");
}

static bool is_keeper(void *user)
{
    const struct agent *x = user;
    return x->rights && fm_rights_is_keeper(x->rights);
}

static void tell_of_webhook(void *user, const char *why, const char *text, const char *evidence)
{
    struct agent *x = user;
    if (x->rights)
        fm_rights_tell(x->rights, "webhook", why, text, evidence);
}

static enum fm_err start_views(struct agent *x, const struct fm_conf *conf, unsigned roles,
                               struct fm_error *e)
{
    struct fm_views_config c = {.mailbox = &x->daemon.mailbox,
                                .resolver = x->daemon.resolver,
                                .folder = x->daemon.state_dir,
                                .host = x->daemon.host,
                                .region = x->daemon.region,
                                .controller = roles & (FM_ROLE_CONTROLLER | FM_ROLE_WITNESS),
                                .director = x->has_gate ? &x->director : NULL,
                                .changed = views_changed,
                                .keeps = is_keeper,
                                .tell = tell_of_webhook,
                                .user = x};
    x->views = fm_views_new(&c, conf, &x->daemon.peers, e);
    return x->views ? FM_ERR_OK : FM_ERR_MEMORY;
}

static enum fm_err start(struct agent *x, struct fm_conf *conf, struct fm_error *e)
{
    FM_ASSERT(x->host >= 0 && x->host < (int)conf->nhosts);
    unsigned roles = conf->hosts[x->host].roles;
    struct fm_conf_addr peer = conf->hosts[x->host].peer_bind, admin = conf->hosts[x->host].admin;
    enum fm_err err = FM_ERR_OK;
    FM_ASSERT((roles & FM_ROLES_AGENT) && !x->conf);
    x->conf = conf;
    if (roles & FM_ROLE_COORDINATION)
        err = start_owner(x, conf, e);
    if (!err && (roles & FM_ROLE_GATE))
        err = start_gate(x, conf, e);
    if (!err && (roles & FM_ROLE_HEALTH)) {
        x->checks = fm_checks_new(&x->daemon.loop, x->daemon.resolver, conf, x->region, e);
        if (!x->checks)
            return FM_ERR_MEMORY;
    }
    struct fm_addr at;
    if (!err)
        err = start_views(x, conf, roles, e);
    if (!err)
        err = start_rights(x, e);
    if (!err)
        err = start_delivery(x, conf, e);
    if (!err)
        err = bind_addr(&peer, &at, e);
    if (!err)
        err = fm_pages_init(&x->peer_pages, &x->daemon.loop, peer_pages, x, e);
    if (!err) {
        x->peer_pages.server.config.tls = x->daemon.peers.server;
        x->peer_pages.server.refused_peer = fm_peers_refused;
        x->peer_pages.conns_max = PEERS_MAX;
        err = fm_listener_open(&x->peer, &x->daemon.loop, &at, 0, peer_accepted, e);
        x->has_peer = err == FM_ERR_OK;
        if (err)
            return fm_error_wrap(e, "peer port");
    }
    x->daemon.local_table = local_pages;
    if (!err)
        err = fm_daemon_serve(&x->daemon, &admin, admin_pages, e);
    if (!err && x->has_gate)
        err = fm_director_start(&x->director, e);
    x->started = err == FM_ERR_OK;
    uint64_t life;
    fm_rand_bytes(&life, sizeof life);
    if (!err) /* the guard testifies for the life that its sub-leases are recorded with */
        fm_guarded_open(&x->guarded, &x->daemon.loop,
                        x->rights ? fm_rights_life(x->rights) : life >> 1);
    return err;
}

static void bring_down(struct agent *x)
{
    x->started = false; /* nothing is taken over any more */
    fm_guarded_close(&x->guarded);
    if (x->has_gate)
        fm_director_join(&x->director);
    fm_rights_stop(x->rights);
    fm_agreement_stop(x->agreement);
    fm_heir_stop(x->heir);
    fm_deliver_stop(x->deliver);
    fm_probes_free(x->probes);
    fm_views_stop(x->views);
    if (x->has_peer)
        fm_listener_close(&x->peer);
    if (x->peer_pages.server.loop) {
        fm_pages_close_all(&x->peer_pages);
        fm_loop_turn(&x->daemon.loop, 0);
        fm_pages_deinit(&x->peer_pages);
    }
    fm_daemon_end_pages(&x->daemon);
    fm_journal_close(x->journal);
    if (x->owner)
        fm_owner_close(x->owner);
    fm_daemon_end_resolver(&x->daemon);
    fm_loop_turn(&x->daemon.loop, 0); /* what the journal still told, and closed connections */
    fm_heir_free(x->heir);
    x->heir = NULL;
    fm_deliver_free(x->deliver);
    fm_rights_free(x->rights);
    x->rights = NULL; /* turns that follow look for it */
    fm_views_free(x->views);
    x->views = NULL;
    /* names must not wake up in the last turn of the checks, which need the configuration */
    struct fm_board *board = x->has_gate ? x->director.board : NULL;
    if (board)
        fm_board_ref(board);
    if (x->has_gate)
        fm_director_deinit(&x->director);
    fm_checks_free(x->checks);
    fm_board_unref(board);
    if (!x->has_gate)
        fm_conf_free(x->conf);
    fm_agreement_close(x->agreement);
    fm_conf_free(x->file);
}

/* Known from before, on the disk, or nothing yet: what the agent starts with. */
static struct fm_conf *begin_agreement(struct agent *x, struct fm_error *e)
{
    struct fm_agreement_config c = {.mailbox = &x->daemon.mailbox,
                                    .resolver = x->daemon.resolver,
                                    .peers = &x->daemon.peers,
                                    .folder = x->daemon.state_dir,
                                    .host = x->daemon.host,
                                    .changed = agreed,
                                    .user = x};
    x->agreement = fm_agreement_open(&c, x->file->service, e);
    if (!x->agreement)
        return NULL;
    fm_agreement_file(x->agreement, x->file);
    struct fm_conf *conf = fm_agreement_merge(x->agreement, x->file, e);
    if (conf && find_again(x, conf, &x->host, e)) {
        fm_conf_free(conf);
        conf = NULL;
    }
    if (conf)
        fm_agreement_used(x->agreement, conf, NULL);
    return conf;
}

int fm_agent_main(const struct fm_agent_options *o)
{
    struct fm_conf *conf = fm_daemon_load_first(o->config_path);
    if (!conf)
        return EXIT_CONFIG;
    struct agent *x = calloc(1, sizeof *x);
    FM_ASSERT(x);
    x->daemon.options = (struct fm_daemon_options){.role = "agent",
                                                   .config_path = o->config_path,
                                                   .host = o->host,
                                                   .roles = FM_ROLES_AGENT,
                                                   .must_be_listed = true,
                                                   .user = x};
    x->daemon.lock_fd = -1;
    x->guarded.fd = -1;
    x->daemon.reload = reload;
    x->daemon.terminate = terminate;
    x->daemon.current = current;
    struct fm_error e = {0};
    enum fm_err err = fm_daemon_find_host(&x->daemon, conf, &x->host, &e);
    int code = err ? EXIT_CONFIG : EXIT_FAILED;
    if (!err)
        err = fm_daemon_init(&x->daemon, conf, &e);
    x->file = conf;
    if (err) {
        fm_conf_free(conf);
    } else {
        conf = begin_agreement(x, &e);
        err = conf ? FM_ERR_OK : e.code;
        code = err == FM_ERR_INVALID ? EXIT_CONFIG : code;
        if (!err) {
            x->region = conf->hosts[x->host].region;
            err = start(x, conf, &e);
        }
        if (!err) {
            fm_log(FM_LOG_INFO, "agent_started", FM_KS("service", conf->service),
                   FM_KZ("host", x->daemon.host), FM_KZ("region", x->daemon.region));
            fm_daemon_run(&x->daemon);
            fm_log(FM_LOG_INFO, "agent_stopped");
        }
        bring_down(x);
    }
    fm_daemon_deinit(&x->daemon);
    if (err)
        fprintf(stderr, "fulmar agent: %s\n", e.msg);
    bool failed = x->owner_failed;
    free(x);
    return err ? code : failed ? EXIT_FAILED : 0;
}
