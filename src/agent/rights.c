/* Composition: see the header. */
#include "agent/rights.h"

#include "agent/controller.h"
#include "agent/database.h"
#include "agent/heard.h"
#include "agent/heir.h"
#include "agent/lessee.h"
#include "agent/views.h"
#include "base/assert.h"
#include "base/log.h"
#include "core/deadline.h"
#include "proxy/groups.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum { POST_TIMEOUT_MS = 1000, CATCH_UP_MS = 1500 };

struct fm_rights {
    struct fm_rights_config c;
    const struct fm_conf *conf;
    struct fm_roster *roster;
    struct fm_keep *keep;
    struct fm_post *post;
    struct fm_peers peers;            /* the caller's, as they are now */
    struct fm_controller *controller; /* roles controller and witness */
    struct fm_lessee *lessee;         /* roles gate and postgres */
    struct fm_seats *seats;           /* of a host without a gate */
    struct fm_groups *groups;     /* the same: for gates of other hosts, where there are nodes */
    struct fm_database *database; /* role postgres */
    struct fm_heard *heard;       /* what nodes of groups say */
    bool stopped;
};

static bool is_controller(unsigned roles)
{
    return roles & (FM_ROLE_CONTROLLER | FM_ROLE_WITNESS);
}

bool fm_rights_are_needed(const struct fm_conf *conf, unsigned roles)
{
    bool cells = false;
    for (size_t i = 0; i < conf->ncontexts; i++)
        cells |= conf->contexts[i].ncells > 0;
    return cells && (roles & (FM_ROLE_GATE | FM_ROLE_POSTGRES) || is_controller(roles));
}

/* -------- the view -------- */

static void controller_changed(void *user)
{
    struct fm_rights *r = user;
    struct fm_view_doc d;
    fm_view_doc_init(&d, r->conf->service);
    if (fm_controller_view(r->controller, &d))
        fm_views_take(r->c.views, &d);
    fm_view_doc_deinit(&d);
}

/* -------- doors of groups -------- */

static struct fm_groups *groups_of(const struct fm_rights *r)
{
    return r->c.doors ? *r->c.doors : r->groups;
}

/* A node of a group has said how it is. */
static void tell_doors(const struct fm_rights *r, unsigned host, const struct fm_message *m)
{
    struct fm_groups *groups = groups_of(r);
    int context = fm_conf_find_context(r->conf, fm_str_z(r->roster->context[m->context].name));
    int group = context < 0 ? -1 : fm_conf_group_of(r->conf, (unsigned)context);
    struct fm_group_report report = m->report;
    if (!groups || group < 0)
        return;
    report.at = fm_mono_now();
    fm_groups_reported(groups, r->conf->groups[group].name,
                       fm_str_z(fm_roster_host_name(r->roster, host)), &report);
}

static void reported(struct fm_rights *r, unsigned host, const struct fm_message *m)
{
    struct fm_group_report report = m->report;
    report.at = fm_mono_now();
    fm_heard_take(r->heard, m->context, host, &report);
    tell_doors(r, host, m);
}

bool fm_rights_serve_data(const struct fm_rights *r, unsigned context, unsigned region,
                          const char **why)
{
    struct fm_group_report own;
    if (!r)
        return true;
    int number = fm_roster_context(r->roster, r->conf->contexts[context].name);
    int self = fm_roster_find_host(r->roster, fm_str_z(r->c.host));
    if (r->database && number >= 0 && self >= 0 &&
        fm_database_report(r->database, (unsigned)number, &own) && own.at.ns)
        fm_heard_take(r->heard, (unsigned)number, (unsigned)self, &own);
    enum fm_group_health h = fm_heard_health(r->heard, r->conf, context, region, fm_mono_now());
    *why = fm_group_health_text(h);
    return h == FM_GROUP_HEALTH_WELL;
}

/* A gate of this region? Without certificates everybody who reaches the port is believed. */
static bool is_gate(const struct fm_rights *r, const char *peer)
{
    int self = fm_conf_find_host(r->conf, fm_str_z(r->c.host));
    int host = peer ? fm_conf_find_host(r->conf, fm_str_z(peer)) : -1;
    if (!peer)
        return !r->peers.server;
    return host >= 0 && self >= 0 && r->conf->hosts[host].roles & FM_ROLE_GATE &&
           r->conf->hosts[host].region == r->conf->hosts[self].region;
}

void fm_rights_door(const struct fm_rights *r, const struct fm_page_request *q,
                    struct fm_page_answer *a)
{
    fm_groups_page(r ? groups_of(r) : NULL, r && is_gate(r, q->peer), q, a);
}

bool fm_rights_metrics(const struct fm_rights *r, char **text, size_t *n)
{
    return (!fm_groups_doors(r->groups) || fm_doors_metrics(fm_groups_doors(r->groups), text, n)) &&
           (!r->database || fm_database_metrics(r->database, text, n)) &&
           (!r->controller || fm_controller_metrics(r->controller, text, n));
}

/* -------- messages -------- */

static bool is_for_lessee(const struct fm_message *m)
{
    switch ((enum fm_message_kind)m->kind) {
    case FM_MESSAGE_GRANT:
    case FM_MESSAGE_STOP:
    case FM_MESSAGE_QUIET:
    case FM_MESSAGE_NUDGE:
    case FM_MESSAGE_BOARD:
    case FM_MESSAGE_SHIP:
        return true;
    case FM_MESSAGE_ASK:
    case FM_MESSAGE_STOPPED:
    case FM_MESSAGE_QUIETED:
    case FM_MESSAGE_PROMISE_ASK:
    case FM_MESSAGE_PROMISE:
    case FM_MESSAGE_VOTE:
    case FM_MESSAGE_CAPABLE:
    case FM_MESSAGE_HEIR_ASK:
    case FM_MESSAGE_HEIR:
    case FM_MESSAGE_SHIPPED:
    case FM_MESSAGE_TESTIFY:
    case FM_MESSAGE_CELL:
    case FM_MESSAGE_RECORD:
    case FM_MESSAGE_REPORT:
    case FM_MESSAGE_CREATE:
    case FM_MESSAGE_APART:
    case FM_MESSAGE_YIELD:
    case FM_MESSAGE_ORDER:
    case FM_MESSAGE_ORDERED:
    case FM_MESSAGE_HOME_ASK:
    case FM_MESSAGE_HOME:
    case FM_MESSAGE_KIND_COUNT:
        break;
    }
    return false;
}

static bool is_for_database(const struct fm_message *m)
{
    return m->kind == FM_MESSAGE_CELL || m->kind == FM_MESSAGE_REPORT ||
           m->kind == FM_MESSAGE_CREATE || m->kind == FM_MESSAGE_APART ||
           m->kind == FM_MESSAGE_ORDER;
}

static void deliver(void *user, unsigned host, const struct fm_post_head *head,
                    const struct fm_message *m)
{
    struct fm_rights *r = user;
    if (m->kind == FM_MESSAGE_REPORT)
        reported(r, host, m);
    if (r->database && is_for_database(m))
        fm_database_take(r->database, host, m);
    if (is_for_lessee(m)) {
        if (r->lessee)
            fm_lessee_take(r->lessee, host, head, m);
    } else if (r->controller) {
        fm_controller_take(r->controller, host, head->life, m);
    }
}

static void written(void *user)
{
    struct fm_rights *r = user;
    if (r->controller)
        fm_controller_durable(r->controller);
}

/* -------- callbacks of the gate -------- */

static void published(void *user)
{
    struct fm_rights *r = user;
    if (r->c.seats)
        r->c.published(r->c.user);
    else if (fm_groups_doors(r->groups))
        fm_doors_authority_changed(fm_groups_doors(r->groups));
    if (r->database)
        fm_database_look(r->database);
}

static bool capable(void *user, unsigned context)
{
    struct fm_rights *r = user;
    return r->c.capable(r->c.user, context);
}

static uint64_t served(void *user, int context)
{
    struct fm_rights *r = user;
    return r->c.served(r->c.user, context);
}

static bool reaches(void *user, unsigned pool, struct fm_str address)
{
    struct fm_rights *r = user;
    return r->c.reaches(r->c.user, pool, address);
}

static void catch_up(void *user, struct fm_str region, void (*done)(void *arg, bool whole),
                     void *arg)
{
    struct fm_rights *r = user;
    fm_heir_catch_up(r->c.heir, region, CATCH_UP_MS, done, arg);
}

/* -------- callbacks of the database -------- */

static const struct fm_sublease *held(void *user, unsigned context)
{
    const struct fm_rights *r = user;
    return r->lessee ? fm_lessee_held(r->lessee, context) : NULL;
}

static void database_ended(void *user, unsigned context)
{
    struct fm_rights *r = user;
    if (r->lessee)
        fm_lessee_ended(r->lessee, context);
}

static bool database_acts(void *user, unsigned context)
{
    const struct fm_rights *r = user;
    return fm_database_acts(r->database, context);
}

static bool database_drains(void *user, unsigned context)
{
    const struct fm_rights *r = user;
    return fm_database_drains(r->database, context);
}

/* Without a gate nobody rings. */
static void rung(void *user)
{
    (void)user;
}

/* -------- life -------- */

static void fill_roster(struct fm_rights *r, const struct fm_conf *conf)
{
    for (size_t i = 0; i < conf->nregions; i++)
        (void)fm_roster_add_region(r->roster, conf->regions[i].name);
    for (size_t i = 0; i < conf->nhosts; i++)
        if (conf->hosts[i].roles & FM_ROLES_AGENT)
            (void)fm_roster_add_host(r->roster, conf->hosts[i].name);
}

static enum fm_err open_controller(struct fm_rights *r, unsigned self, unsigned roles,
                                   struct fm_error *e)
{
    struct fm_controller_config c = {.loop = r->c.loop,
                                     .resolver = r->c.resolver,
                                     .roster = r->roster,
                                     .post = r->post,
                                     .keep = r->keep,
                                     .agreement = r->c.agreement,
                                     .self = self,
                                     .witness = !(roles & FM_ROLE_CONTROLLER),
                                     .record = secure_getenv("FULMAR_RECORD"),
                                     .changed = controller_changed,
                                     .reaches = r->c.reaches ? reaches : NULL,
                                     .user = r};
    if (!r->conf->coordination.present)
        return fm_error_set(e, FM_ERR_INVALID, "a controller needs `coordination`");
    r->controller = fm_controller_new(&c, r->conf, e);
    return r->controller ? FM_ERR_OK : e->code;
}

static enum fm_err open_lessee(struct fm_rights *r, unsigned self, struct fm_error *e)
{
    struct fm_lessee_config c = {.loop = r->c.loop,
                                 .gate = r->c.seats != NULL,
                                 .roster = r->roster,
                                 .post = r->post,
                                 .seats = r->c.seats ? r->c.seats : r->seats,
                                 .folder = r->c.seats ? r->c.state_dir : NULL,
                                 .self = self,
                                 .life = fm_keep_life(r->keep),
                                 .published = published,
                                 .capable = capable,
                                 .served = served,
                                 .catch_up = r->c.heir ? catch_up : NULL,
                                 .acts = r->database ? database_acts : NULL,
                                 .drains = r->database ? database_drains : NULL,
                                 .user = r};
    r->lessee = fm_lessee_new(&c, r->conf, e);
    return r->lessee ? FM_ERR_OK : FM_ERR_MEMORY;
}

static struct fm_groups_config groups_config(const struct fm_rights *r)
{
    int host = fm_conf_find_host(r->conf, fm_str_z(r->c.host));
    FM_ASSERT(host >= 0);
    return (struct fm_groups_config){
        .conf = r->conf, .host = (unsigned)host, .seats = r->seats, .nworkers = r->c.nworkers};
}

/* Without a gate: a thread that passes on what gates of other hosts bring. */
static enum fm_err open_doors(struct fm_rights *r, struct fm_error *e)
{
    r->seats = fm_seats_new(r->c.mailbox, rung, r);
    if (!r->seats)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    struct fm_groups_config c = groups_config(r);
    return fm_groups_open(&c, &r->groups, e);
}

static enum fm_err open_database(struct fm_rights *r, unsigned self, struct fm_error *e)
{
    struct fm_database_config c = {.loop = r->c.loop,
                                   .roster = r->roster,
                                   .post = r->post,
                                   .resolver = r->c.resolver,
                                   .peers = &r->peers,
                                   .host = r->c.host,
                                   .self = self,
                                   .held = held,
                                   .ended = database_ended,
                                   .doors = r->c.doors ? r->c.doors : &r->groups,
                                   .user = r};
    enum fm_err err = r->c.seats ? FM_ERR_OK : open_doors(r, e);
    if (err)
        return err;
    r->database = fm_database_new(&c, r->conf, e);
    return r->database ? FM_ERR_OK : e->code;
}

static enum fm_err open_all(struct fm_rights *r, const struct fm_peers *peers, struct fm_error *e)
{
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/" FM_KEEP_FILE, r->c.state_dir);
    struct fm_keep_config keep = {.path = path,
                                  .service = r->conf->service.p,
                                  .mailbox = r->c.mailbox,
                                  .written = written,
                                  .user = r};
    r->roster = fm_roster_new();
    if (!r->roster)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    r->heard = fm_heard_new(r->roster);
    if (!r->heard)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    keep.roster = r->roster;
    fill_roster(r, r->conf);
    r->keep = fm_keep_open(&keep, e);
    if (!r->keep)
        return e->code;
    int index = fm_conf_find_host(r->conf, fm_str_z(r->c.host));
    int self = fm_roster_find_host(r->roster, fm_str_z(r->c.host));
    FM_ASSERT(index >= 0 && self >= 0);
    unsigned roles = r->conf->hosts[index].roles;
    struct fm_post_config post = {.loop = r->c.loop,
                                  .resolver = r->c.resolver,
                                  .roster = r->roster,
                                  .self = (unsigned)self,
                                  .life = fm_keep_life(r->keep),
                                  .timeout_ms = POST_TIMEOUT_MS,
                                  .deliver = deliver,
                                  .user = r};
    r->post = fm_post_new(&post, r->conf, peers, e);
    enum fm_err err = r->post ? FM_ERR_OK : FM_ERR_MEMORY;
    if (!err && r->c.database)
        err = open_database(r, (unsigned)self, e);
    if (!err && (r->c.seats || r->database))
        err = open_lessee(r, (unsigned)self, e);
    if (!err && is_controller(roles))
        err = open_controller(r, (unsigned)self, roles, e);
    return err;
}

struct fm_rights *fm_rights_new(const struct fm_rights_config *c, const struct fm_conf *conf,
                                const struct fm_peers *peers, struct fm_error *e)
{
    FM_ASSERT(c->loop && c->mailbox && c->published && c->capable && c->served);
    struct fm_rights *r = calloc(1, sizeof *r);
    if (!r) {
        fm_error_set(e, FM_ERR_MEMORY, "out of memory");
        return NULL;
    }
    r->c = *c;
    r->conf = conf;
    r->peers = fm_peers_ref(peers);
    if (open_all(r, peers, e)) {
        fm_error_wrap(e, "authority");
        fm_rights_stop(r);
        fm_rights_free(r);
        return NULL;
    }
    return r;
}

enum fm_err fm_rights_check(const struct fm_rights *r, const struct fm_conf *conf,
                            struct fm_error *e)
{
    return r->database ? fm_database_check(r->database, conf, e) : FM_ERR_OK;
}

void fm_rights_reset(struct fm_rights *r, const struct fm_conf *conf, const struct fm_peers *peers)
{
    r->conf = conf;
    fm_peers_drop(&r->peers);
    r->peers = fm_peers_ref(peers);
    fill_roster(r, conf);
    fm_post_reset(r->post, conf, peers);
    if (r->lessee)
        fm_lessee_reset(r->lessee, conf);
    if (r->database)
        fm_database_reset(r->database, conf);
    if (r->groups) {
        struct fm_groups_config c = groups_config(r);
        fm_groups_reset(r->groups, &c);
    }
    if (r->controller)
        fm_controller_reset(r->controller, conf);
}

uint64_t fm_rights_life(const struct fm_rights *r)
{
    return fm_keep_life(r->keep);
}

void fm_rights_wanted(struct fm_rights *r)
{
    if (r->lessee)
        fm_lessee_wanted(r->lessee);
}

void fm_rights_woke(struct fm_rights *r, int64_t late_ns)
{
    if (r->controller && fm_was_frozen(late_ns))
        fm_controller_stalled(r->controller);
}

bool fm_rights_is_keeper(const struct fm_rights *r)
{
    return r->controller && fm_controller_is_keeper(r->controller);
}

void fm_rights_tell(struct fm_rights *r, const char *what, const char *why, const char *text,
                    const char *evidence)
{
    if (r->controller)
        fm_controller_tell(r->controller, what, why, text, evidence);
}

void fm_rights_post(struct fm_rights *r, const struct fm_page_request *q, struct fm_page_answer *a)
{
    if (r)
        fm_post_page(r->post, q, a);
    else
        a->status = 404;
}

void fm_rights_marks(struct fm_rights *r, const struct fm_page_request *q, struct fm_page_answer *a)
{
    (void)q;
    struct fm_said *said = r && r->controller ? malloc(sizeof *said) : NULL;
    a->status = r && r->controller ? 503 : 404;
    if (!said)
        return;
    fm_controller_said(r->controller, said);
    json_t *doc = fm_said_json(r->roster, said);
    a->body = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    json_decref(doc);
    free(said);
    if (!a->body)
        return;
    a->status = 200;
    a->content_type = "application/json";
    a->n = strlen(a->body);
}

void fm_rights_ops(struct fm_rights *r, const struct fm_page_request *q, struct fm_page_answer *a)
{
    if (r && r->database && fm_str_eqz(q->path, "/groups/loss/write-off"))
        fm_database_write_off(r->database, q, a);
    else if (r && r->database && fm_str_eqz(q->path, "/groups/room"))
        fm_database_room(r->database, q, a);
    else if (r && r->controller && fm_str_starts(q->path, FM_STR("/ops")))
        fm_controller_ops(r->controller, q, a);
    else
        a->status = 404;
}

/* As a controller has heard of the nodes, or (?here) as the nodes of this host see themselves. */
static void write_groups(const struct fm_rights *r, const struct fm_page_request *q,
                         struct fm_page_answer *a)
{
    bool here = fm_str_eqz(q->query, "?here");
    bool knows = r && (here ? r->database != NULL : r->controller != NULL);
    json_t *doc = !knows ? NULL
                  : here ? json_pack("{s:s,s:o}", "schema", "fulmar.groups-here/1", "groups",
                                     fm_database_json(r->database))
                         : fm_controller_groups(r->controller);
    a->status = knows ? 200 : 404;
    a->content_type = "application/json";
    a->body = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    json_decref(doc);
    if (a->body)
        a->n = strlen(a->body);
    else if (knows)
        a->status = 503;
}

void fm_rights_groups(const struct fm_rights *r, const struct fm_page_request *q,
                      struct fm_page_answer *a)
{
    const struct fm_database *d = r ? r->database : NULL;
    if (fm_str_eqz(q->path, "/groups"))
        write_groups(r, q, a);
    else if (!d)
        a->status = 404;
    else if (fm_str_eqz(q->path, "/groups/room") && (q->peer || !r->peers.server))
        fm_database_room(d, q, a);
    else if (fm_str_eqz(q->path, "/groups/room"))
        a->status = 403;
    else if (fm_str_eqz(q->path, "/groups/secret"))
        fm_database_secret(d, q, a);
    else
        fm_database_loss(d, q, a);
}

void fm_rights_lease(struct fm_rights *r, const struct fm_page_request *q, struct fm_page_answer *a)
{
    if (r->lessee)
        fm_lessee_lease(r->lessee, q, a);
    else
        a->status = 404;
}

void fm_rights_add_status(const struct fm_rights *r, json_t *root)
{
    if (r->controller)
        json_object_set_new(root, "authority", fm_controller_json(r->controller));
    if (r->lessee)
        json_object_set_new(root, "sub_leases", fm_lessee_json(r->lessee));
    if (r->database)
        json_object_set_new(root, "groups", fm_database_json(r->database));
    if (fm_groups_doors(r->groups))
        json_object_set_new(root, "doors", fm_doors_json(fm_groups_doors(r->groups)));
}

void fm_rights_stop(struct fm_rights *r)
{
    if (!r || r->stopped)
        return;
    r->stopped = true;
    fm_groups_free(r->groups);
    r->groups = NULL;
    fm_database_stop(r->database);
    fm_lessee_stop(r->lessee);
    fm_controller_stop(r->controller);
    fm_post_stop(r->post);
}

void fm_rights_free(struct fm_rights *r)
{
    if (!r)
        return;
    FM_ASSERT(r->stopped);
    fm_controller_free(r->controller);
    r->controller = NULL; /* the others turn the loop */
    fm_database_free(r->database);
    r->database = NULL;
    fm_lessee_free(r->lessee);
    fm_seats_free(r->seats);
    fm_post_free(r->post);
    fm_keep_close(r->keep);
    fm_heard_free(r->heard);
    fm_roster_free(r->roster);
    fm_peers_drop(&r->peers);
    free(r);
}
