/* The role `postgres`: see the header. */
#include "agent/database.h"

#include "agent/db.h"
#include "agent/message_group.h"
#include "base/assert.h"
#include "base/file.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    STOP_MS = 20 * 1000, /* a fast stop: all that is dirty is written */
    END_MS = 10 * 1000,  /* the same, where the agent ends */
    RETRY_MS = 250,
    FRESH_MS = 2000,
    STUCK_MS = 10 * 1000,
    WAIT_MS = 3000, /* for a node that reports, and does not claim */
    LAG_MAX = 16 * 1024 * 1024,
    RESTARTS_MAX = 3,
    RESTARTS_MS = 10 * 60 * 1000,
    HANG_MS = 10 * 1000,
    YIELD_MS = 15 * 1000,
    TRIES_MAX = 3,
    COPIES_MAX = 12, /* nearly a minute with its pauses: who is copied may be starting */
    TURN_NS = 10 * 1000 * 1000,
};

/* -------- where things are -------- */

static enum fm_err take_paths(struct db_node *n, const struct fm_conf *conf,
                              const struct fm_conf_host *h, struct fm_error *e)
{
    const struct fm_conf_group *g = &conf->groups[n->conf];
    const struct fm_conf_group_node *me =
        &g->nodes[fm_conf_find_group_node(g, (unsigned)(h - conf->hosts))];
    struct fm_str region = conf->regions[h->region].name;
    enum fm_err err = fm_conf_expand(me->data, h->name, region, n->data, sizeof n->data);
    if (err)
        return fm_error_set(e, err, "a path is too long");
    err = db_programs_init(n, e);
    return err ? err : db_secret_read(n, e);
}

/* Those that are not in the file (any more) keep their numbers, and are forgotten but for that. */
static void forget_others(struct db_node *n)
{
    const struct fm_roster *r = n->d->c.roster;
    const struct fm_roster_context *c = &r->context[n->context];
    n->nnodes = c->nnodes;
    for (unsigned i = 0; i < n->nnodes; i++) {
        struct db_other *o = &n->of[i];
        if (o->in_file)
            continue;
        o->host = c->node[i];
        snprintf(o->name, sizeof o->name, "%s", fm_roster_host_name(r, o->host));
        o->zone = 0;
        o->delay_ms = 0;
        o->report = (struct fm_group_report){.state = 0};
        o->history.h = (struct fm_history){{0}, {NULL, 0}};
    }
}

static void take_others(struct db_node *n, const struct fm_conf *conf)
{
    const struct fm_conf_group *g = &conf->groups[n->conf];
    struct fm_roster *r = n->d->c.roster;
    for (unsigned i = 0; i < FM_COUNT(n->of); i++)
        n->of[i].in_file = false;
    for (unsigned at = 0; at < g->nnodes; at++) {
        const struct fm_conf_group_node *x = fm_conf_group_nth(conf, g, at);
        const struct fm_conf_host *h = &conf->hosts[x->host];
        int i = fm_roster_add_node(r, n->context, h->name);
        int host = fm_roster_add_host(r, h->name);
        int region = fm_roster_add_region(r, conf->regions[h->region].name);
        FM_ASSERT(host >= 0 && region >= 0);
        if (i < 0) {
            fm_log(FM_LOG_ERROR, "database_too_many_nodes", FM_KZ("group", n->group),
                   FM_KS("node", h->name), FM_KZ("meaning", "restart this agent"));
            continue;
        }
        struct db_other *o = &n->of[i];
        o->in_file = true;
        o->rank = (uint8_t)at;
        o->zone = (uint8_t)fm_conf_group_zone(conf, g, (size_t)(x - g->nodes));
        snprintf(o->zone_name, sizeof o->zone_name, "%.*s", FM_STR_ARG(h->zone));
        o->host = (unsigned)host;
        o->region = (unsigned)region;
        o->port = (uint16_t)x->port;
        o->delay_ms = x->delay_ms;
        snprintf(o->name, sizeof o->name, "%.*s", FM_STR_ARG(h->name));
        fm_pg_slot_name(o->slot, h->name);
        snprintf(o->address, sizeof o->address, "%.*s", FM_STR_ARG(x->address.host));
        if (o->host == n->d->c.self)
            n->self = (unsigned)i;
    }
    forget_others(n);
}

/* -------- life -------- */

static struct fm_group_policy policy(const struct fm_conf_failover *f)
{
    /* who gives way for a person to decide would only be away for longer */
    bool time = f->prefer == FM_CONF_PREFER_TIME && f->mode == FM_CONF_AUTOMATIC;
    return (struct fm_group_policy){.prefer = time ? FM_PREFER_TIME : FM_PREFER_DATA,
                                    .restarts_max = RESTARTS_MAX,
                                    .restarts_ms = RESTARTS_MS,
                                    .hang_ms = HANG_MS,
                                    .yield_ms = YIELD_MS,
                                    .tries_max = TRIES_MAX,
                                    .copies_max = COPIES_MAX,
                                    .retry_ms = RETRY_MS,
                                    .stop_ms = STOP_MS,
                                    .fresh_ms = FRESH_MS,
                                    .stuck_ms = STUCK_MS,
                                    .wait_ms = WAIT_MS,
                                    .lag_max = LAG_MAX};
}

static enum fm_err begin_node(struct fm_database *d, unsigned group, const struct fm_conf_host *h,
                              struct fm_error *e)
{
    const struct fm_conf_group *g = &d->conf->groups[group];
    const struct fm_conf_context *c = &d->conf->contexts[g->contexts[0]];
    FM_ASSERT(g->ncontexts == 1); /* src/conf refuses more */
    int context = fm_roster_add_context(d->c.roster, c->name, c->ncells);
    struct db_node *n = context < 0 ? NULL : calloc(1, sizeof *n);
    if (!n)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    n->d = d;
    n->conf = (int)group;
    n->context = (unsigned)context;
    n->lease_ms = c->lease_ms;
    n->upstream = n->upstream_next = FM_GROUP_NOBODY;
    n->policy = policy(&c->failover);
    snprintf(n->group, sizeof n->group, "%.*s", FM_STR_ARG(g->name));
    take_others(n, d->conf);
    enum fm_err err = take_paths(n, d->conf, h, e);
    char user[DB_NAME_ROOM];
    snprintf(user, sizeof user, "%.*s", FM_STR_ARG(g->user));
    if (!err)
        err = db_server_init(n, user, e);
    if (!err)
        err = db_loss_open(n, e);
    if (!err)
        err = db_order_open(n, e);
    if (err) {
        fm_losses_free(n->loss.items);
        fm_loss_store_close(&n->loss.rows);
        free(n);
        return fm_error_wrap(e, "the node of the group %.*s", FM_STR_ARG(g->name));
    }
    db_ask_init(n);
    db_probe_init(n);
    db_trial_init(n);
    db_credit_init(n);
    d->node[d->nnodes++] = n;
    db_node_begin(n);
    return FM_ERR_OK;
}

struct fm_database *fm_database_new(const struct fm_database_config *c, const struct fm_conf *conf,
                                    struct fm_error *e)
{
    struct fm_database *d = calloc(1, sizeof *d);
    int host = fm_conf_find_host(conf, fm_str_z(c->host));
    FM_ASSERT(host >= 0 && c->held && c->ended);
    if (!d) {
        fm_error_set(e, FM_ERR_MEMORY, "out of memory");
        return NULL;
    }
    d->c = *c;
    d->conf = conf;
    for (size_t i = 0; i < conf->ngroups; i++)
        if (fm_conf_find_group_node(&conf->groups[i], (unsigned)host) >= 0 &&
            begin_node(d, (unsigned)i, &conf->hosts[host], e)) {
            fm_database_stop(d);
            fm_database_free(d);
            return NULL;
        }
    return d;
}

/* Its host is not one of the group's any more: PostgreSQL ends, its data stay. The primary goes on
 * until another node has taken over, since nobody else has the right to. */
static bool is_removed(struct db_node *n, const struct fm_conf *conf, int index)
{
    int host = fm_conf_find_host(conf, fm_str_z(n->d->c.host));
    bool stays = index >= 0 && host >= 0 &&
                 fm_conf_find_group_node(&conf->groups[index], (unsigned)host) >= 0;
    bool primary = n->g.state == FM_GROUP_PRIMARY || n->g.state == FM_GROUP_DRAINING;
    if (stays)
        return false;
    fm_log(FM_LOG_ERROR, "database_not_in_file", FM_KZ("group", n->group),
           FM_KZ("meaning", index >= 0 && primary
                                ? "it is the primary, and goes on: move the group, then restart"
                                : "PostgreSQL is stopped here; its data stay"));
    return index < 0 || !primary;
}

static void reset_node(struct db_node *n, const struct fm_conf *conf)
{
    int index = fm_conf_find_group(conf, fm_str_z(n->group));
    n->gone = is_removed(n, conf, index);
    if (n->gone) {
        db_ask_end(n);
        fm_pg_node_give_up(&n->pg);
        db_server_end(n, FM_PG_FAST, n->policy.stop_ms);
        return;
    }
    n->conf = index;
    take_others(n, conf);
    db_credit_reset(n);
    n->g.nnodes = (uint8_t)n->nnodes;
    n->as = DB_AS_NOTHING;   /* its settings may be others */
    n->slots = DB_SLOTS_NOT; /* and so may be those who follow it */
    n->lease_ms = conf->contexts[conf->groups[index].contexts[0]].lease_ms;
    n->policy = policy(&conf->contexts[conf->groups[index].contexts[0]].failover);
    db_programs_reset(n);
    db_secret_reset(n);
}

static bool is_begun(const struct fm_database *d, struct fm_str group)
{
    for (unsigned i = 0; i < d->nnodes; i++)
        if (fm_str_eqz(group, d->node[i]->group))
            return true;
    return false;
}

enum fm_err fm_database_check(const struct fm_database *d, const struct fm_conf *conf,
                              struct fm_error *e)
{
    int host = fm_conf_find_host(conf, fm_str_z(d->c.host));
    enum fm_err err = FM_ERR_OK;
    for (unsigned i = 0; host >= 0 && i < d->nnodes && !err; i++) {
        int index = fm_conf_find_group(conf, fm_str_z(d->node[i]->group));
        const struct fm_conf_group *g = index >= 0 ? &conf->groups[index] : NULL;
        if (!g || fm_conf_find_group_node(g, (unsigned)host) < 0)
            continue;
        err = db_programs_check(d->node[i], conf, g, e);
        if (!err)
            err = db_secret_check(d->node[i], conf, g, e);
        if (err)
            fm_error_wrap(e, "the group %s", d->node[i]->group);
    }
    return err;
}

void fm_database_reset(struct fm_database *d, const struct fm_conf *conf)
{
    int host = fm_conf_find_host(conf, fm_str_z(d->c.host));
    FM_ASSERT(host >= 0); /* an agent that is not in the file does not go by it */
    d->conf = conf;
    for (unsigned i = 0; i < d->nnodes; i++)
        reset_node(d->node[i], conf);
    for (size_t i = 0; i < conf->ngroups; i++) {
        struct fm_error e = {0};
        if (fm_conf_find_group_node(&conf->groups[i], (unsigned)host) >= 0 &&
            !is_begun(d, conf->groups[i].name) &&
            begin_node(d, (unsigned)i, &conf->hosts[host], &e))
            fm_log(FM_LOG_ERROR, "database_not_begun", FM_KS("group", conf->groups[i].name),
                   FM_KE(&e));
    }
}

static bool all_over(const struct fm_database *d)
{
    for (unsigned i = 0; i < d->nnodes; i++)
        if (d->node[i]->up || (d->node[i]->secret_used && d->node[i]->secret.link.open) ||
            (d->node[i]->loss.used && d->node[i]->loss.caller.link.open))
            return false;
    return true;
}

void fm_database_stop(struct fm_database *d)
{
    if (!d || d->stopped)
        return;
    d->stopped = true;
    for (unsigned i = 0; i < d->nnodes; i++) {
        struct db_node *n = d->node[i];
        fm_loop_cancel(d->c.loop, &n->timer);
        db_ask_end(n);
        db_secret_close(n);
        db_loss_close(n);
        db_server_end(n, FM_PG_FAST, END_MS);
    }
}

void fm_database_free(struct fm_database *d)
{
    if (!d)
        return;
    FM_ASSERT(d->stopped);
    struct fm_mono until = fm_mono_add_ms(fm_mono_now(), END_MS + 1000);
    while (!all_over(d) && fm_mono_before(fm_mono_now(), until))
        fm_loop_turn(d->c.loop, TURN_NS);
    for (unsigned i = 0; i < d->nnodes; i++) {
        db_server_free(d->node[i]);
        db_programs_free(d->node[i]);
        db_order_free(d->node[i]);
        fm_losses_free(d->node[i]->loss.items);
        fm_loss_store_close(&d->node[i]->loss.rows);
        explicit_bzero(d->node[i], sizeof *d->node[i]);
        free(d->node[i]);
    }
    free(d);
}

/* -------- what it is told and asked -------- */

static struct db_node *find(const struct fm_database *d, unsigned context)
{
    for (unsigned i = 0; i < d->nnodes; i++)
        if (d->node[i]->context == context)
            return d->node[i];
    return NULL;
}

static void reported(struct db_node *n, unsigned host, const struct fm_message *m)
{
    for (unsigned i = 0; i < n->nnodes; i++) {
        struct db_other *o = &n->of[i];
        if (i == n->self || !o->in_file || o->host != host)
            continue;
        o->report = m->report;
        o->report.rank = o->rank;
        o->report.at = fm_mono_now();
        o->report.region = (uint8_t)o->region;
        if (m->report.state == FM_GROUP_ABSENT || m->report.state == FM_GROUP_CLONING ||
            m->report.state == FM_GROUP_REWINDING)
            db_credit_lost(n, i);
        struct fm_history h = {m->report.timeline, m->history};
        bool fits = m->history.n <= sizeof o->history.text && h.timeline.n;
        o->history.h = (struct fm_history){{0}, {NULL, 0}};
        if (!fits || !fm_history_is_valid(&h))
            return;
        memcpy(o->history.text, m->history.p, m->history.n);
        o->history.h = (struct fm_history){h.timeline, fm_str(o->history.text, m->history.n)};
    }
}

/* What stands by there is the business of that region's keeper. */
static bool is_of_region(const struct db_node *n, unsigned host)
{
    const struct fm_conf *conf = n->d->conf;
    const struct fm_roster *r = n->d->c.roster;
    int i = fm_conf_find_host(conf, fm_str_z(fm_roster_host_name(r, host)));
    return i >= 0 && fm_roster_region(r, conf->regions[conf->hosts[i].region].name) ==
                         (int)n->of[n->self].region;
}

void fm_database_take(struct fm_database *d, unsigned host, const struct fm_message *m)
{
    struct db_node *n = find(d, m->context);
    if (!n || d->stopped)
        return;
    bool agent = db_is_agent(n, host);
    if (m->kind == FM_MESSAGE_CELL && agent) {
        if (fm_group_is_outdated(&m->at, &n->cell))
            return;
        n->cell = m->at;
    } else if (m->kind == FM_MESSAGE_REPORT) {
        reported(n, host, m);
    } else if (m->kind == FM_MESSAGE_CREATE && agent) {
        n->create = true;
    } else if (m->kind == FM_MESSAGE_APART && agent && is_of_region(n, host)) {
        n->apart = m->ok;
    } else if (m->kind == FM_MESSAGE_ORDER && agent) {
        db_order_take(n, host, m);
    }
    db_node_turn(n);
}

void fm_database_look(struct fm_database *d)
{
    for (unsigned i = 0; i < d->nnodes; i++)
        db_node_turn(d->node[i]);
}

bool fm_database_report(const struct fm_database *d, unsigned context, struct fm_group_report *out)
{
    const struct db_node *n = find(d, context);
    if (!n || n->gone)
        return false;
    *out = n->told;
    return true;
}

bool fm_database_acts(const struct fm_database *d, unsigned context)
{
    struct db_node *n = find(d, context);
    return n && db_node_acts(n);
}

bool fm_database_drains(const struct fm_database *d, unsigned context)
{
    const struct db_node *n = find(d, context);
    bool open = n && (n->g.state == FM_GROUP_PRIMARY || n->g.state == FM_GROUP_DRAINING);
    return open && n->drained != DB_DRAIN_DONE;
}

/* -------- status -------- */

static json_t *node_json(const struct db_node *n, unsigned i, struct fm_mono now)
{
    const struct db_other *o = &n->of[i];
    const char *region = n->d->c.roster->region[o->region];
    if (i != n->self)
        return fm_message_group_report_json(region, o->zone_name, &o->report, now);
    struct fm_group_report mine = fm_group_report(&n->g, &n->ev);
    mine.at = now;
    return fm_message_group_report_json(region, o->zone_name, &mine, now);
}

static json_t *group_json(const struct db_node *n)
{
    struct fm_mono now = fm_mono_now();
    const struct fm_evidence *e = &n->cell.r.evidence;
    json_t *nodes = json_object();
    for (unsigned i = 0; i < n->nnodes; i++)
        if (n->of[i].in_file || i == n->self)
            json_object_set_new(nodes, n->of[i].name, node_json(n, i, now));
    bool writer = n->cell.revision.n && e->writer && e->writer <= n->nnodes;
    char system[24];
    const char *trouble = n->trouble[0] && !n->programs.unable ? n->trouble
                          : n->programs.why[0]                 ? n->programs.why
                                                               : n->trial.why;
    snprintf(system, sizeof system, "%llu", (unsigned long long)e->system_id);
    return json_pack(
        "{s:s,s:s,s:s,s:s,s:s?,s:s?,s:I,s:s?,s:i,s:b,s:I,s:o,s:o,s:o}", "node", n->of[n->self].name,
        "state", fm_group_state_name((enum fm_group_state)n->g.state), "why",
        fm_group_why_text((enum fm_group_why)n->g.why), "context",
        n->d->c.roster->context[n->context].name, "system_id", writer ? system : NULL, "primary",
        writer ? n->of[e->writer - 1].name : NULL, "epoch", (json_int_t)e->epoch.n, "trouble",
        trouble[0] ? trouble : NULL, "progress_percent", fm_pg_node_percent(&n->pg), "serves",
        (int)fm_group_serves(&n->g, &n->ev, now), "promotable", (json_int_t)e->promotable, "credit",
        db_credit_json(n), "loss_recovery", db_evidence_json(n), "nodes", nodes);
}

static void write_apart(const struct db_node *n, struct fm_buf *b)
{
    struct fm_group_apart a;
    const char *to = n->credit.on ? db_node_apart(n, &a) : NULL;
    if (to)
        fm_buf_printf(b,
                      "fulmar_group_broken_seconds{group=\"%s\",node=\"%s\"} %lld.%03lld\n"
                      "fulmar_group_broken_bytes{group=\"%s\",node=\"%s\"} %llu\n",
                      n->group, to, (long long)(a.ms / 1000), (long long)(a.ms % 1000), n->group,
                      to, (unsigned long long)a.lacks);
}

static void write_in_region(const struct fm_database *d, struct fm_buf *b)
{
    fm_buf_lit(b, "# HELP fulmar_group_loss_in_region_bytes The same, if another node of the "
                  "primary's region goes on; none where nothing bounds it\n"
                  "# TYPE fulmar_group_loss_in_region_bytes gauge\n");
    for (unsigned i = 0; i < d->nnodes; i++) {
        struct fm_credit_bound near;
        const struct db_node *n = d->node[i];
        if (n->credit.on && db_credit_in_region(n, &near) && near.kind != FM_CREDIT_UNBOUNDED)
            fm_buf_printf(b, "fulmar_group_loss_in_region_bytes{group=\"%s\",kind=\"%s\"} %llu\n",
                          n->group, fm_credit_kind_name((enum fm_credit_kind)near.kind),
                          (unsigned long long)near.bytes);
    }
}

bool fm_database_metrics(const struct fm_database *d, char **text, size_t *n)
{
    enum { ROOM = 2560, EACH = 1280 };
    size_t room = ROOM + d->nnodes * EACH;
    char *more = realloc(*text, *n + room);
    if (!more)
        return false;
    *text = more;
    struct fm_buf b = fm_buf(more + *n, room);
    fm_buf_lit(&b, "# HELP fulmar_group_loss_if_now_bytes Acknowledged log that would be lost with "
                   "the primary now; none where nothing bounds it\n"
                   "# TYPE fulmar_group_loss_if_now_bytes gauge\n");
    for (unsigned i = 0; i < d->nnodes; i++) {
        const struct db_credit *k = &d->node[i]->credit;
        if (k->on && k->bound.kind != FM_CREDIT_UNBOUNDED)
            fm_buf_printf(&b, "fulmar_group_loss_if_now_bytes{group=\"%s\",kind=\"%s\"} %llu\n",
                          d->node[i]->group,
                          fm_credit_kind_name((enum fm_credit_kind)k->bound.kind),
                          (unsigned long long)k->bound.bytes);
    }
    write_in_region(d, &b);
    fm_buf_lit(&b, "# HELP fulmar_group_broken_seconds Since replication to this node was broken "
                   "on purpose\n"
                   "# TYPE fulmar_group_broken_seconds gauge\n"
                   "# HELP fulmar_group_broken_bytes Log of the primary that the node has not got "
                   "since\n"
                   "# TYPE fulmar_group_broken_bytes gauge\n");
    for (unsigned i = 0; i < d->nnodes; i++)
        write_apart(d->node[i], &b);
    fm_buf_lit(&b,
               "# HELP fulmar_group_recovery_available Rows of what the primary commits could be "
               "recovered from it\n"
               "# TYPE fulmar_group_recovery_available gauge\n");
    for (unsigned i = 0; i < d->nnodes; i++) {
        bool available;
        if (db_evidence_is_kept(d->node[i], &available))
            fm_buf_printf(&b, "fulmar_group_recovery_available{group=\"%s\"} %d\n",
                          d->node[i]->group, (int)available);
    }
    FM_ASSERT(!b.full);
    *n += b.n;
    return true;
}

json_t *fm_database_json(const struct fm_database *d)
{
    json_t *o = json_object();
    for (unsigned i = 0; i < d->nnodes; i++)
        json_object_set_new(o, d->node[i]->group, group_json(d->node[i]));
    return o;
}
