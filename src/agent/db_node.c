/* One node of a group: what is known of it, the step of core, and carrying out what that orders.
 * See db.h. Invariant: nothing is carried out but the action of the last step, which saw the
 * evidence of this moment. */
#include "agent/db.h"

#include "base/assert.h"
#include "base/log.h"
#include "proxy/groups.h"

#include <stdio.h>

enum {
    TELL_MS = 100,
    RECORD_MS = 100,
    KILL_WITHIN_MS = 0,
};

const struct fm_sublease_cell *db_held(const struct db_node *n)
{
    static const struct fm_sublease_cell none = {.holder = FM_NOBODY};
    const struct fm_database_config *c = &n->d->c;
    const struct fm_sublease *s = c->held(c->user, n->context);
    return s ? &s->cell[0] : &none;
}

/* -------- evidence -------- */

static const struct fm_history *primary_of(const struct db_node *n)
{
    const struct fm_evidence *r = &n->cell.r.evidence;
    if (n->cell.revision.n == 0 || r->writer == 0 || r->writer > n->nnodes)
        return NULL;
    const struct fm_history *h = &n->of[r->writer - 1].history.h;
    if (r->writer == n->self + 1)
        h = &n->history.h;
    return h->timeline.n ? h : NULL;
}

bool db_waits(const struct db_node *n)
{
    return n->d->conf->groups[n->conf].replication.mode == FM_CONF_SYNC;
}

/* Where it stands is said by the file, whether it was heard or not. */
static void place(struct fm_group_report *r, const struct db_other *o)
{
    FM_ASSERT(o->region < FM_AUTH_REGIONS_MAX && o->zone <= FM_GROUP_NODES_MAX);
    r->region = (uint8_t)o->region;
    r->zone = o->zone;
    r->rank = o->rank;
}

const char *db_node_apart(const struct db_node *n, struct fm_group_apart *a)
{
    struct fm_group_report node[FM_GROUP_NODES_MAX];
    struct fm_mono now = fm_mono_now();
    const struct fm_evidence *r = n->cell.revision.n ? &n->cell.r.evidence : NULL;
    for (unsigned i = 0; i < n->nnodes; i++)
        node[i] = n->of[i].report;
    node[n->self] = n->ev.self;
    node[n->self].at = now;
    *a = fm_group_apart(r, node, n->nnodes, now);
    return a->node == FM_GROUP_NOBODY ? NULL : n->of[a->node].name;
}

/* Since when it receives nothing, as it was configured. */
static void see_apart(struct db_node *n)
{
    struct fm_mono now = fm_mono_now();
    n->apart &= !n->primary; /* whoever prepared it has been overtaken */
    bool is = n->up && n->as == DB_AS_APART && !n->primary;
    if (is && n->apart_at.ns == 0)
        n->apart_at = now;
    else if (!is && !n->apart)
        n->apart_at = FM_MONO_ZERO;
    n->ev.apart = n->apart;
    n->ev.self.apart_ms = is ? 1 + fm_mono_sub_ms(now, n->apart_at) : 0;
}

/* Without its programs it is as far as one look. */
static bool is_unable(const struct db_node *n)
{
    return n->programs.unable || db_server_is_unreadable(n);
}

static void see(struct db_node *n)
{
    struct fm_group_evidence *ev = &n->ev;
    bool answers = db_ask_is_fresh(n);
    for (unsigned i = 0; i < n->nnodes; i++) {
        n->report[i] = n->of[i].report;
        place(&n->report[i], &n->of[i]);
    }
    *ev = (struct fm_group_evidence){.sub = db_held(n),
                                     .cell = n->cell.revision.n ? &n->cell : NULL,
                                     .process = n->strangers ? FM_GROUP_ORPHANS
                                                : n->up      ? FM_GROUP_UP
                                                             : FM_GROUP_GONE,
                                     .expired = n->expired,
                                     .unable = is_unable(n),
                                     .data = n->data_is_there,
                                     .accepting = answers,
                                     .well_at = db_probe_well_at(n),
                                     .self = n->heard_at.ns && n->up ? n->said : n->found,
                                     .history = n->history.h.timeline.n ? &n->history.h : NULL,
                                     .node = n->report,
                                     .nnodes = n->nnodes,
                                     .primary = primary_of(n)};
    if (!n->gone)
        db_credit_see(n, ev);
    see_apart(n);
    place(&ev->self, &n->of[n->self]);
    ev->self.delay_ms = n->of[n->self].delay_ms;
    ev->kept = db_loss_is_kept(n);
}

/* -------- telling -------- */

static struct fm_message message(const struct db_node *n, enum fm_message_kind kind)
{
    return (struct fm_message){.kind = (uint8_t)kind, .context = (uint16_t)n->context};
}

static void to_agents(struct db_node *n, const struct fm_message *m, bool everywhere)
{
    const struct fm_conf *conf = n->d->conf;
    for (size_t i = 0; i < conf->nhosts; i++) {
        const struct fm_conf_host *h = &conf->hosts[i];
        int number = fm_roster_find_host(n->d->c.roster, h->name);
        int region = fm_roster_region(n->d->c.roster, conf->regions[h->region].name);
        if (number >= 0 && h->roles & FM_ROLE_CONTROLLER &&
            (everywhere || region == (int)n->of[n->self].region))
            fm_post_send(n->d->c.post, (unsigned)number, m);
    }
}

bool db_is_agent(const struct db_node *n, unsigned host)
{
    int i = fm_conf_find_host(n->d->conf, fm_str_z(fm_roster_host_name(n->d->c.roster, host)));
    return i >= 0 && n->d->conf->hosts[i].roles & FM_ROLE_CONTROLLER;
}

uint32_t db_able(const struct db_node *n)
{
    uint32_t mask = 0;
    for (unsigned i = 0; i < n->nnodes; i++)
        mask |= i != n->self && n->of[i].in_file && !n->of[i].delay_ms ? UINT32_C(1) << i : 0;
    return mask;
}

/* Gates listen, on hosts that may have neither a node nor an agent that could be keeper; and where
 * there is no application they say by it what their region can serve. */
static void to_gates(struct db_node *n, const struct fm_message *m)
{
    const struct fm_conf *conf = n->d->conf;
    const struct fm_conf_group *g = &conf->groups[n->conf];
    bool alone = fm_conf_is_database(&conf->contexts[g->contexts[0]]);
    for (unsigned i = 0; i < conf->nhosts; i++) {
        bool listens = (alone && conf->hosts[i].roles & FM_ROLE_GATE) ||
                       fm_conf_group_listen(conf, g, i, false) ||
                       fm_conf_group_listen(conf, g, i, true);
        bool told = conf->hosts[i].roles & FM_ROLE_CONTROLLER || fm_conf_find_group_node(g, i) >= 0;
        int number = fm_roster_find_host(n->d->c.roster, conf->hosts[i].name);
        if (listens && !told && number >= 0)
            fm_post_send(n->d->c.post, (unsigned)number, m);
    }
}

static void tell(struct db_node *n)
{
    struct fm_message m = message(n, FM_MESSAGE_REPORT);
    n->told_at = fm_mono_now();
    m.report = fm_group_report(&n->g, &n->ev);
    m.history = n->history.h.text;
    m.report.at = n->told_at;
    n->told = m.report;
    struct fm_groups *doors = *n->d->c.doors;
    if (doors)
        fm_groups_reported(doors, fm_str_z(n->group), fm_str_z(n->of[n->self].name), &m.report);
    to_agents(n, &m, true);
    to_gates(n, &m);
    for (unsigned i = 0; i < n->nnodes; i++)
        if (i != n->self && n->of[i].in_file && !db_is_agent(n, n->of[i].host))
            fm_post_send(n->d->c.post, n->of[i].host, &m);
}

static void record(struct db_node *n)
{
    struct fm_mono now = fm_mono_now();
    struct fm_message m = message(n, FM_MESSAGE_RECORD);
    bool same = fm_revision_same(n->recorded_over, n->v.revision);
    if (!n->v.records || (same && fm_mono_sub_ms(now, n->recorded_at) < RECORD_MS) ||
        !db_loss_note(n))
        return;
    n->recorded_at = now;
    n->recorded_over = n->v.revision;
    db_credit_asked(n, n->v.revision, &n->v.record);
    m.at.revision = n->v.revision;
    m.at.r.evidence = n->v.record;
    to_agents(n, &m, false);
}

/* -------- carrying out -------- */

/* A standby without anybody to follow is still one: it would be a primary without. */
static unsigned whom_to_follow(const struct db_node *n)
{
    unsigned other = n->self == 0 ? 1 : 0;
    while (other + 1 < n->nnodes && (other == n->self || !n->of[other].in_file))
        other++;
    return n->v.node != FM_GROUP_NOBODY ? n->v.node : other;
}

static void carry_out(struct db_node *n)
{
    const struct fm_group_verdict *v = &n->v;
    switch (v->action) {
    case FM_GROUP_DO_NOTHING:
        break;
    case FM_GROUP_DO_DRAIN: /* gates hold new commands; the database stays open */
        db_ask_drain(n);
        break;
    case FM_GROUP_DO_CREATE:
        db_server_create(n);
        break;
    case FM_GROUP_DO_START_STANDBY:
        if (n->up || db_loss_follow(n))
            db_server_start(n, v->apart ? DB_AS_APART : DB_AS_STANDBY, whom_to_follow(n));
        break;
    case FM_GROUP_DO_FOLLOW:
        if (v->node != FM_GROUP_NOBODY)
            db_server_be(n, v->apart ? DB_AS_APART : DB_AS_STANDBY, v->node);
        break;
    case FM_GROUP_DO_RECORD:
        record(n);
        break;
    case FM_GROUP_DO_START_PRIMARY:
        db_server_start(n, DB_AS_CLOSED, FM_GROUP_NOBODY);
        break;
    case FM_GROUP_DO_PROMOTE:
        db_server_promote(n, v->timeline);
        break;
    case FM_GROUP_DO_OPEN:
        if (n->drained != DB_DRAIN_NOT)
            db_ask_let_go(n);
        db_credit_turn(n);
        db_server_be(n, DB_AS_OPEN, FM_GROUP_NOBODY);
        db_ask_settle(n);
        record(n);
        break;
    case FM_GROUP_DO_STOP_FAST:
        db_server_end(n, FM_PG_FAST, n->policy.stop_ms);
        break;
    case FM_GROUP_DO_STOP_IMMEDIATE:
        db_server_end(n, FM_PG_IMMEDIATE, KILL_WITHIN_MS);
        break;
    case FM_GROUP_DO_YIELD: /* another node of the region may take it, or a person moves it */
        break;
    case FM_GROUP_DO_KEEP:
        db_loss_keep(n, v->node);
        break;
    case FM_GROUP_DO_REWIND:
        db_server_rewind(n, v->node);
        break;
    case FM_GROUP_DO_CLONE:
        db_server_clone(n, v->node);
        break;
    case FM_GROUP_ACTION_COUNT:
        FM_UNREACHABLE();
    }
}

/* -------- the step -------- */

static void say(const struct db_node *n)
{
    const struct fm_group_verdict *v = &n->v;
    char flush[FM_LSN_ROOM];
    fm_log(FM_LOG_INFO, "database", FM_KZ("group", n->group),
           FM_KZ("from", fm_group_state_name((enum fm_group_state)v->from)),
           FM_KZ("to", fm_group_state_name((enum fm_group_state)v->to)),
           FM_KZ("why", fm_group_why_name((enum fm_group_why)v->why)),
           FM_KU("epoch", n->ev.sub->epoch.n), FM_KU("timeline", n->ev.self.timeline.n),
           FM_KZ("flush", fm_lsn_write(flush, n->ev.self.flush)));
}

bool db_node_acts(struct db_node *n)
{
    see(n);
    bool acts = !fm_group_has_stopped(&n->g, &n->ev);
    n->acted |= acts;
    return acts;
}

/* Who waits for the end is told as soon as it has come. */
static void tell_end(struct db_node *n)
{
    if (!n->acted || db_node_acts(n))
        return;
    n->acted = false;
    n->d->c.ended(n->d->c.user, n->context);
}

static void step(struct db_node *n, enum fm_group_event e, uint32_t serial)
{
    n->v = fm_group_step(&n->g, &n->policy, e, serial, &n->ev, fm_mono_now());
    if (n->v.changed)
        say(n);
    if (n->v.refused)
        fm_log(FM_LOG_WARN, "database_order_refused", FM_KZ("group", n->group),
               FM_KZ("state", fm_group_state_name((enum fm_group_state)n->g.state)));
    carry_out(n);
    tell_end(n);
    n->acted |= db_node_acts(n);
}

void db_node_event(struct db_node *n, enum fm_group_event e, uint32_t serial)
{
    if (n->d->stopped || n->gone) /* what was begun before it went has no consequence */
        return;
    see(n);
    step(n, e, serial);
    tell(n);
}

bool db_node_order(struct db_node *n, enum fm_group_event e)
{
    FM_ASSERT(e >= FM_GROUP_ON_CREATE && !n->d->stopped);
    see(n);
    step(n, e, 0);
    bool refused = n->v.refused;
    tell(n);
    return refused;
}

/* What is known of the data is of before the end of the server, or nothing; or it is not known what
 * can be done with them. Where nothing can, that is said, whatever they are. */
static bool is_blind(const struct db_node *n)
{
    bool seen = n->looked || (n->look_failed && is_unable(n));
    return !n->up && !n->strangers && (!seen || !n->programs.known);
}

void db_node_turn(struct db_node *n)
{
    if (n->d->stopped)
        return;
    if (n->gone) {
        db_server_look_for_strangers(n);
        return;
    }
    db_server_renew(n);
    db_programs_turn(n);
    db_secret_ask(n);
    db_ask_turn(n);
    db_probe_turn(n);
    db_trial_turn(n);
    db_credit_turn(n);
    see(n);
    if (is_blind(n) || db_server_is_unreadable(n))
        db_server_look(n);
    if (is_blind(n)) {
        tell_end(n);
        return;
    }
    if (n->create) {
        n->create = false;
        if (n->g.state == FM_GROUP_ABSENT || n->g.state == FM_GROUP_STOPPED)
            step(n, FM_GROUP_ON_CREATE, 0);
    }
    uint8_t was = n->g.state;
    step(n, FM_GROUP_ON_TICK, 0);
    if (n->g.state != was || fm_mono_sub_ms(fm_mono_now(), n->told_at) >= TELL_MS)
        tell(n);
    db_loss_turn(n);
    db_evidence_turn(n);
}

static void due(struct fm_timer *t)
{
    struct db_node *n = fm_container_of(t, struct db_node, timer);
    fm_loop_timer_in_ms(n->d->c.loop, t, DB_TURN_MS);
    db_node_turn(n);
}

void db_node_begin(struct db_node *n)
{
    fm_group_init(&n->g, (uint8_t)n->self, n->nnodes, fm_mono_now());
    n->strangers = n->acted = true; /* until it was looked */
    if (db_order_is_maintained(n))
        (void)db_node_order(n, FM_GROUP_ON_MAINTAIN);
    fm_timer_init(&n->timer, due);
    fm_loop_timer(n->d->c.loop, &n->timer, fm_loop_now(n->d->c.loop));
}
