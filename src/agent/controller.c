/* The controller (see the headers): life, office, and steps of core, as sim/agent.c has them. */
#include "agent/ctl.h"

#include "base/assert.h"
#include "base/log.h"
#include "core/floor.h"

#include <stdio.h>
#include <stdlib.h>

enum { SETTLE_MS = 10 * 1000 };
enum { RENEW_PARTS = 4, RETRY_PARTS = 4, RETRY_LEAST_MS = 50, VOTE_LEAST_MS = 100, ROUNDS_MAX = 8 };

static void take_times(struct fm_controller *ctl);

/* -------- messages out -------- */

struct fm_message ctl_message(const struct ctl_context *c, enum fm_message_kind kind)
{
    return (struct fm_message){
        .kind = (uint8_t)kind, .context = (uint16_t)c->number, .life = c->ctl->life.n};
}

void ctl_send_agents(struct fm_controller *ctl, unsigned region, const struct fm_message *m)
{
    for (unsigned h = 0; h < ctl->c.roster->nhosts; h++) {
        const struct ctl_host *host = &ctl->host[h];
        bool there = region == FM_NO_REGION || fm_agent_region(host->id) == region;
        if (host->agent && there && h != ctl->c.self)
            fm_post_send(ctl->c.post, h, m);
    }
}

void ctl_send_gates(struct ctl_context *c, const struct fm_message *m)
{
    const struct fm_lease_record *l = &c->auth.lease[c->ctl->region].at.r;
    for (unsigned i = 0; i < l->nsubs; i++)
        fm_post_send(c->ctl->c.post, l->sub[i].host, m);
}

/* -------- carrying out -------- */

static void ask_members(struct ctl_context *c, const struct ctl_later *x)
{
    struct fm_message m = ctl_message(c, FM_MESSAGE_PROMISE_ASK);
    const struct fm_roster *r = c->ctl->c.roster;
    m.life = x->act.incarnation.n;
    m.asked_ns = x->act.asked_ns;
    m.cells = x->act.cells;
    memcpy(m.epoch, x->epoch, sizeof m.epoch);
    for (unsigned a = 0; a < FM_AGENTS_MAX; a++)
        if (fm_members_has(&x->act.members, (struct fm_agent_id){(uint8_t)a}))
            fm_post_send(c->ctl->c.post, fm_roster_agent_host(r, (struct fm_agent_id){(uint8_t)a}),
                         &m);
}

static void grant(struct ctl_context *c, const struct ctl_later *x)
{
    struct fm_message m = ctl_message(c, FM_MESSAGE_GRANT);
    ctl_open_say(c, x->act.sub.host, &m);
    m.life = x->act.sub.incarnation.n;
    m.asked_ns = x->act.asked_ns;
    m.ms = x->act.ms;
    m.cells = x->act.cells;
    memcpy(m.epoch, x->epoch, sizeof m.epoch);
    fm_post_send(c->ctl->c.post, x->act.sub.host, &m);
}

static void stop(struct ctl_context *c, const struct ctl_later *x)
{
    struct fm_message m = ctl_message(c, FM_MESSAGE_STOP);
    m.cells = x->act.cells;
    memcpy(m.epoch, x->epoch, sizeof m.epoch);
    ctl_send_gates(c, &m);
}

static void promise(struct ctl_context *c, const struct ctl_later *x)
{
    struct fm_message m = ctl_message(c, FM_MESSAGE_PROMISE);
    m.life = x->act.incarnation.n;
    m.asked_ns = x->act.asked_ns;
    m.ms = x->act.ms;
    fm_post_send(c->ctl->c.post, fm_roster_agent_host(c->ctl->c.roster, x->act.agent), &m);
}

static void carry_out(struct ctl_context *c, const struct ctl_later *x)
{
    switch (x->act.kind) {
    case FM_AUTH_DO_READ:
        ctl_read_begin(c, x->act.op);
        return;
    case FM_AUTH_DO_COMMIT:
        ctl_commit_send(x->commit);
        return;
    case FM_AUTH_DO_GRANT:
        grant(c, x);
        return;
    case FM_AUTH_DO_STOP:
        stop(c, x);
        return;
    case FM_AUTH_DO_ASK:
        ask_members(c, x);
        return;
    case FM_AUTH_DO_PROMISE:
        promise(c, x);
        return;
    case FM_AUTH_DO_REFUSE:
    case FM_AUTH_DO_SAY:
        return;
    case FM_AUTH_DO_PERSIST:
    case FM_AUTH_ACTION_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

/* -------- what waits for the disk -------- */

static bool is_durable(const struct ctl_context *c, uint64_t barrier)
{
    return barrier <= fm_keep_durable(c->ctl->c.keep);
}

/* A message may be lost, and is where too many wait. What core needs the outcome of was then never
 * sent, and core is told. */
static void carry_out_later(struct ctl_context *c, const struct ctl_later *x)
{
    struct ctl_later *copy = c->nlater < CTL_LATER_MAX ? malloc(sizeof *copy) : NULL;
    if (!copy && x->act.kind == FM_AUTH_DO_READ)
        ctl_read_refuse(c, x->act.op);
    if (!copy && x->commit)
        ctl_commit_refuse(x->commit);
    if (!copy)
        return;
    *copy = *x;
    copy->next = NULL;
    copy->barrier = c->barrier;
    *c->later_end = copy;
    c->later_end = &copy->next;
    c->nlater++;
}

static void carry_out_durable(struct ctl_context *c)
{
    while (c->later && is_durable(c, c->later->barrier)) {
        struct ctl_later *x = c->later;
        c->later = x->next;
        if (!c->later)
            c->later_end = &c->later;
        c->nlater--;
        carry_out(c, x);
        free(x);
    }
}

static void order(struct ctl_context *c, const struct fm_auth_action *act)
{
    struct ctl_later x = {.act = *act};
    if (act->kind == FM_AUTH_DO_PERSIST) {
        const struct fm_roster_context *r = &c->ctl->c.roster->context[c->number];
        c->barrier = fm_keep_put(c->ctl->c.keep, fm_str_z(r->name), r->ncells, &c->auth.marks);
        FM_ASSERT(c->barrier > 0); /* there was room when the context was begun */
        return;
    }
    for (unsigned i = 0; i < c->auth.cfg.ncells; i++)
        x.epoch[i] = fm_authority_epoch(&c->auth, i);
    if (act->kind == FM_AUTH_DO_COMMIT)
        x.commit = ctl_commit_make(c, fm_authority_txn(&c->auth, act->op), act->op);
    if (c->later || !is_durable(c, c->barrier))
        carry_out_later(c, &x);
    else
        carry_out(c, &x);
}

void fm_controller_durable(struct fm_controller *ctl)
{
    for (unsigned i = 0; i < ctl->ncontexts && !ctl->stopped; i++)
        if (ctl->context[i])
            carry_out_durable(ctl->context[i]);
}

/* -------- steps -------- */

void ctl_touch(struct ctl_context *c)
{
    struct fm_controller *ctl = c->ctl;
    c->touched = true;
    if (!fm_timer_is_set(&ctl->soon) && !ctl->stopped)
        fm_loop_timer(ctl->c.loop, &ctl->soon, fm_loop_now(ctl->c.loop));
}

void ctl_touch_all(struct fm_controller *ctl)
{
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        if (ctl->context[i])
            ctl_touch(ctl->context[i]);
}

void ctl_arm(struct fm_controller *ctl, struct fm_mono at)
{
    if (ctl->stopped || (fm_timer_is_set(&ctl->timer) && !fm_mono_before(at, ctl->timer_at)))
        return;
    ctl->timer_at = at;
    fm_loop_timer(ctl->c.loop, &ctl->timer, at);
}

void ctl_step(struct ctl_context *c, const struct fm_auth_event *e)
{
    struct fm_controller *ctl = c->ctl;
    struct fm_auth_actions out;
    FM_ASSERT(!ctl->stepping);
    if (ctl->stopped)
        return;
    ctl->stepping = true;
    ctl_authority_step(c, e, &out);
    for (unsigned i = 0; i < out.n; i++)
        if (out.action[i].kind != FM_AUTH_DO_SAY)
            order(c, &out.action[i]);
    ctl->stepping = false;
    ctl_arm(ctl, out.wake);
    ctl_touch(c);
    for (unsigned i = 0; i < out.n; i++) {
        const struct fm_auth_action *act = &out.action[i];
        if (act->kind != FM_AUTH_DO_SAY)
            continue;
        ctl_say(c, act);
        ctl->reseeded |= act->why == FM_AUTH_WHY_RESEEDED;
        ctl_operate_said(c, act);
    }
}

/* -------- the office -------- */

bool ctl_is_frozen(const struct fm_controller *ctl)
{
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        if (ctl->context[i] && ctl->context[i]->conf >= 0 && ctl->context[i]->auth.frozen)
            return true;
    return false;
}

static void tell_office(struct ctl_context *c)
{
    const struct fm_office *o = &c->ctl->office;
    ctl_step(c, &(struct fm_auth_event){.kind = FM_AUTH_OFFICE,
                                        .keeper = c->conf >= 0 && fm_office_is_keeper(o),
                                        .resolved = o->resolved,
                                        .revision = o->at.revision});
}

static void tell_all_office(struct fm_controller *ctl)
{
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        if (ctl->context[i])
            tell_office(ctl->context[i]);
}

void ctl_office(struct fm_controller *ctl, const struct fm_office_event *e)
{
    if (!ctl->able || ctl->stopped)
        return;
    enum fm_office_state from = (enum fm_office_state)ctl->office.state;
    struct fm_office_verdict v = ctl_office_step(ctl, e);
    if (v.claim)
        ctl_claim(ctl, &v.txn);
    if (!fm_office_is_keeper(&ctl->office))
        ctl_arm(ctl, v.wake);
    if (ctl->office.state != from) {
        struct ctl_event *event = ctl_event(ctl, "office", NULL);
        event->from = fm_office_state_name(from);
        event->to = fm_office_state_name((enum fm_office_state)ctl->office.state);
    }
    if (v.changed)
        tell_all_office(ctl);
}

static void office_saw(struct fm_controller *ctl, const struct fm_keeper_at *at, bool linear)
{
    bool was = ctl->office.resolved;
    ctl_office(ctl, &(struct fm_office_event){.kind = FM_OFFICE_SEEN, .at = *at, .linear = linear});
    if (!was && ctl->office.resolved)
        tell_all_office(ctl);
}

/* The store is another one: what is kept of revisions counts anew. */
static void begin_anew(struct fm_controller *ctl)
{
    ctl->reseeded = false;
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        if (ctl->context[i])
            ctl->context[i]->lease_seen.n = 0;
    ctl_office(ctl, &(struct fm_office_event){.kind = FM_OFFICE_RESEEDED});
}

void ctl_saw(struct ctl_context *c, const struct ctl_seen *seen, const struct ctl_common *common,
             uint64_t revision, bool linear, uint32_t number)
{
    struct fm_controller *ctl = c->ctl;
    struct fm_snapshot s = {.store = {revision},
                            .view = common->view,
                            .keeper = common->keeper[ctl->region],
                            .budget = seen->budget,
                            .lease = seen->lease,
                            .cell = seen->cell,
                            .nregions = c->auth.cfg.nregions,
                            .ncells = c->auth.cfg.ncells};
    if (!c->auth.frozen || linear)
        office_saw(ctl, &s.keeper, linear);
    ctl_step(c, &(struct fm_auth_event){.kind = linear ? FM_AUTH_READ : FM_AUTH_SEEN,
                                        .op = number,
                                        .ok = true,
                                        .snapshot = &s,
                                        .store_id = ctl_store_id(ctl)});
    struct fm_revision lease = c->auth.lease[ctl->region].at.revision;
    if (fm_revision_newer(lease, c->lease_seen)) {
        c->lease_seen = lease;
        ctl_office(ctl, &(struct fm_office_event){.kind = FM_OFFICE_MOVED});
    }
    if (ctl->reseeded)
        begin_anew(ctl);
}

/* -------- timers -------- */

static void due(struct fm_timer *t)
{
    struct fm_controller *ctl = fm_container_of(t, struct fm_controller, timer);
    ctl->timer_at = FM_MONO_NEVER;
    if (ctl->times_at.ns && !fm_mono_before(fm_mono_now(), ctl->times_at))
        take_times(ctl);
    ctl_store_tick(ctl);
    ctl_office(ctl,
               &(struct fm_office_event){.kind = FM_OFFICE_TICK, .frozen = ctl_is_frozen(ctl)});
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        if (ctl->context[i])
            ctl_step(ctl->context[i], &(struct fm_auth_event){.kind = FM_AUTH_TICK});
    ctl_operate_tick(ctl);
    ctl_intents_turn(ctl);
    ctl_agreed_turn(ctl);
}

/* The end of a turn: what came in it is answered in it. */
static void soon(struct fm_timer *t)
{
    struct fm_controller *ctl = fm_container_of(t, struct fm_controller, soon);
    bool any = true;
    for (unsigned round = 0; any && round < ROUNDS_MAX && !ctl->stopped; round++) {
        any = false;
        ctl_store_settle(ctl);
        for (unsigned i = 0; i < ctl->ncontexts; i++) {
            struct ctl_context *c = ctl->context[i];
            if (!c || !c->touched)
                continue;
            c->touched = false;
            ctl_operate_turn(c);
            any |= c->touched;
        }
        ctl_carry_turn(ctl);
        ctl_ops_turn(ctl);
        ctl_intents_turn(ctl);
        ctl_agreed_turn(ctl);
    }
    if (any && !fm_timer_is_set(t) && !ctl->stopped)
        fm_loop_timer(ctl->c.loop, t, fm_loop_now(ctl->c.loop));
    if (ctl->told && !ctl->stopped) {
        ctl->told = false;
        ctl->c.changed(ctl->c.user);
    }
}

/* -------- messages in -------- */

static void sub_asks(struct ctl_context *c, unsigned host, const struct fm_message *m)
{
    ctl_step(c, &(struct fm_auth_event){.kind = FM_AUTH_SUB_ASKS,
                                        .sub = {(uint16_t)host, {m->life}},
                                        .asked_ns = m->asked_ns,
                                        .cells = m->cells,
                                        .epochs = m->epoch});
    ctl_tell_board(c, host);
}

static void promised(struct ctl_context *c, unsigned host, const struct fm_message *m)
{
    /* the echo of what was asked in this life cannot be of a time to come */
    if (m->life != c->ctl->life.n || m->asked_ns > fm_mono_now().ns)
        return;
    ctl_step(c, &(struct fm_auth_event){.kind = FM_AUTH_PROMISED,
                                        .agent = c->ctl->host[host].id,
                                        .incarnation = {m->life},
                                        .asked_ns = m->asked_ns,
                                        .ms = m->ms});
}

/* A gate, or a database agent. */
static void take_of_lessee(struct ctl_context *c, unsigned host, const struct fm_message *m)
{
    c->ctl->host[host].asked = fm_mono_now();
    if (m->kind == FM_MESSAGE_ASK)
        sub_asks(c, host, m);
    else if (m->kind == FM_MESSAGE_STOPPED)
        ctl_step(c, &(struct fm_auth_event){.kind = FM_AUTH_SUB_STOPPED,
                                            .sub = {(uint16_t)host, {m->life}},
                                            .cells = m->cells,
                                            .epochs = m->epoch});
}

static void take_of_agent(struct ctl_context *c, unsigned host, const struct fm_message *m)
{
    if (m->kind == FM_MESSAGE_PROMISE_ASK)
        ctl_step(c, &(struct fm_auth_event){.kind = FM_AUTH_PROMISE_ASKED,
                                            .agent = c->ctl->host[host].id,
                                            .incarnation = {m->life},
                                            .asked_ns = m->asked_ns,
                                            .cells = m->cells,
                                            .epochs = m->epoch});
    else if (m->kind == FM_MESSAGE_PROMISE)
        promised(c, host, m);
}

/* Of all agents of the region the guards have testified. */
static bool all_dead(const struct fm_controller *ctl, unsigned region)
{
    bool any = false;
    for (unsigned i = 0; i < ctl->c.roster->nhosts; i++) {
        const struct ctl_host *h = &ctl->host[i];
        if (!h->agent || fm_agent_region(h->id) != region)
            continue;
        any = true;
        if (!h->dead_life)
            return false;
    }
    return any;
}

/* The guard of a host: everything there that could write, or only its agent, is dead. */
static void testified(struct fm_controller *ctl, unsigned host, const struct fm_message *m)
{
    const char *name = fm_roster_host_name(ctl->c.roster, host);
    int index = fm_conf_find_host(ctl->conf, fm_str_z(name));
    FM_ASSERT(index >= 0);
    struct fm_str region = ctl->conf->regions[ctl->conf->hosts[index].region].name;
    struct ctl_event *event = ctl_event(ctl, "testimony", NULL);
    event->region = fm_roster_region(ctl->c.roster, region);
    snprintf(event->evidence, sizeof event->evidence, "the guard of %s: %s is dead", name,
             m->ok ? "everything that can write" : "its agent");
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        if (ctl->context[i])
            ctl_step(ctl->context[i], &(struct fm_auth_event){.kind = FM_AUTH_TESTIFIED,
                                                              .region = (uint8_t)event->region,
                                                              .sub = {(uint16_t)host, {m->life}},
                                                              .everything = m->ok});
    ctl->host[host].dead_life = host == ctl->c.self ? 0 : m->life; /* a life before this one */
    if (all_dead(ctl, (unsigned)event->region)) {
        fm_votes_gone(&ctl->votes, (unsigned)event->region, fm_mono_now());
        ctl_operate_vote(ctl);
    }
}

void fm_controller_take(struct fm_controller *ctl, unsigned host, uint64_t life,
                        const struct fm_message *m)
{
    FM_ASSERT(host < ctl->c.roster->nhosts);
    if (ctl->stopped)
        return;
    if (m->kind == FM_MESSAGE_TESTIFY) {
        testified(ctl, host, m);
        return;
    }
    struct ctl_context *c = ctl->context[m->context];
    if (c && c->conf >= 0 && (ctl->host[host].gate || ctl_group_has(c, host)))
        take_of_lessee(c, host, m);
    if (c && c->conf >= 0)
        ctl_group_take(c, host, m);
    if (c && c->conf >= 0 && ctl->host[host].agent && host != ctl->c.self)
        take_of_agent(c, host, m);
    ctl_operate_take(ctl, host, life, m);
}

void fm_controller_ops(struct fm_controller *ctl, const struct fm_page_request *q,
                       struct fm_page_answer *a)
{
    ctl_ops_page(ctl, q, a);
}

void fm_controller_stalled(struct fm_controller *ctl)
{
    fm_votes_stalled(&ctl->votes, fm_mono_now());
}

/* -------- contexts -------- */

static int64_t least_lease_ms(const struct fm_conf *conf)
{
    int64_t ms = INT64_MAX;
    for (size_t i = 0; i < conf->ncontexts; i++)
        if (conf->contexts[i].ncells && conf->contexts[i].lease_ms < ms)
            ms = conf->contexts[i].lease_ms;
    return ms == INT64_MAX ? 2000 : ms;
}

static int64_t retry_of(int64_t renew_ms)
{
    return renew_ms / RETRY_PARTS > RETRY_LEAST_MS ? renew_ms / RETRY_PARTS : RETRY_LEAST_MS;
}

static void take_homes(const struct fm_controller *ctl, const struct fm_conf_context *conf,
                       uint8_t *home)
{
    for (unsigned i = 0; i < conf->ncells; i++)
        home[i] =
            (uint8_t)fm_roster_region(ctl->c.roster, ctl->conf->regions[conf->cell_home[i]].name);
}

static struct fm_auth_config config_of(const struct fm_controller *ctl, unsigned number,
                                       const struct fm_conf_context *conf)
{
    int32_t lease = (int32_t)conf->lease_ms, renew = lease / RENEW_PARTS;
    struct fm_auth_config a = {.context = (uint16_t)number,
                               .self = ctl->self,
                               .incarnation = ctl->life,
                               .nregions = FM_AUTH_REGIONS_MAX,
                               .ncells = (uint8_t)conf->ncells,
                               .able = ctl->able,
                               .founds = ctl->able,
                               .lease_ms = lease,
                               .rho_ppm = FM_RHO_PPM,
                               .renew_ms = renew,
                               .retry_ms = (int32_t)retry_of(renew),
                               .file = ctl->members,
                               .at_most = (uint8_t)conf->failover.at_most,
                               .window_ms = conf->failover.at_most_window_ms};
    take_homes(ctl, conf, a.home);
    return a;
}

static void refuse_context(const struct fm_conf_context *conf, const char *why)
{
    fm_log(FM_LOG_ERROR, "context_not_acted_upon", FM_KS("context", conf->name), FM_KZ("why", why),
           FM_KZ("meaning", "this agent grants, promises and acquires nothing of it"));
}

static void begin_context(struct fm_controller *ctl, unsigned number, int index)
{
    const struct fm_conf_context *conf = &ctl->conf->contexts[index];
    const struct fm_marks *marks = fm_keep_marks(ctl->c.keep, conf->name);
    static const struct fm_marks none;
    struct ctl_context *c = calloc(1, sizeof *c);
    if (!c || !fm_keep_put(ctl->c.keep, conf->name, conf->ncells, marks ? marks : &none)) {
        refuse_context(conf, c ? "the disk has marks of it with another number of cells"
                               : "there is no memory");
        free(c);
        return;
    }
    c->ctl = ctl;
    c->number = number;
    c->conf = index;
    c->later_end = &c->later;
    c->move.late_at = FM_MONO_NEVER;
    struct fm_auth_config a = config_of(ctl, number, conf);
    struct fm_mono now = fm_mono_now();
    fm_authority_init(&c->auth, &a, marks, now);
    ctl_record_begin(c, marks, now);
    ctl_standby_init(c);
    ctl->context[number] = c;
    if (number >= ctl->ncontexts)
        ctl->ncontexts = number + 1;
}

static void keep_context(struct ctl_context *c, int index)
{
    const struct fm_conf_context *conf = &c->ctl->conf->contexts[index];
    struct fm_auth_config *cfg = &c->auth.cfg;
    int32_t lease = (int32_t)conf->lease_ms, renew = lease / RENEW_PARTS;
    c->conf = index;
    cfg->at_most = (uint8_t)conf->failover.at_most;
    cfg->window_ms = conf->failover.at_most_window_ms;
    cfg->file = c->ctl->members;
    take_homes(c->ctl, conf, cfg->home);
    if (cfg->lease_ms == lease)
        return;
    fm_log(FM_LOG_WARN, "lease_changed", FM_KS("context", conf->name),
           FM_KU("from_ms", (uint64_t)cfg->lease_ms), FM_KU("to_ms", (uint64_t)lease));
    ctl_authority_set_lease(c, lease, renew, (int32_t)retry_of(renew));
}

static void take_contexts(struct fm_controller *ctl)
{
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        if (ctl->context[i])
            ctl->context[i]->conf = -1;
    for (size_t i = 0; i < ctl->conf->ncontexts; i++) {
        const struct fm_conf_context *conf = &ctl->conf->contexts[i];
        if (!conf->ncells)
            continue;
        int number = fm_roster_add_context(ctl->c.roster, conf->name, conf->ncells);
        if (number < 0)
            refuse_context(conf, "its number of cells is another one than when this agent started");
        else if (ctl->context[number]) {
            keep_context(ctl->context[number], (int)i);
            ctl_record_conf(ctl->context[number]);
        } else
            begin_context(ctl, (unsigned)number, (int)i);
    }
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        if (ctl->context[i])
            ctl_group_reset(ctl->context[i]);
}

/* -------- hosts -------- */

static void take_hosts(struct fm_controller *ctl)
{
    const struct fm_conf *conf = ctl->conf;
    memset(ctl->host, 0, sizeof ctl->host);
    ctl->members = (struct fm_members){{0}};
    ctl->observers = ctl->holders = 0;
    for (size_t i = 0; i < conf->nhosts; i++) {
        const struct fm_conf_host *h = &conf->hosts[i];
        const struct fm_conf_region *g = &conf->regions[h->region];
        int region = fm_roster_add_region(ctl->c.roster, g->name);
        int number = fm_roster_add_host(ctl->c.roster, h->name);
        if (region < 0 || number < 0)
            continue; /* past the bounds of the file */
        struct ctl_host *host = &ctl->host[number];
        host->door = (h->roles & FM_ROLE_GATE) != 0;
        host->region = (uint8_t)region;
        host->gate = host->door && (unsigned)region == ctl->region;
        if (!(h->roles & (FM_ROLE_CONTROLLER | FM_ROLE_WITNESS)))
            continue;
        host->agent = fm_roster_add_agent(ctl->c.roster, (unsigned)region, h->name, &host->id);
        if (!host->agent) {
            fm_log(FM_LOG_ERROR, "agent_not_counted", FM_KS("host", h->name),
                   FM_KZ("why", "its region has had more agents than can be counted; restart"));
            continue;
        }
        ctl->observers = (uint16_t)(ctl->observers | 1u << region);
        if (h->roles & FM_ROLE_CONTROLLER && !g->witness) {
            fm_members_add(&ctl->members, host->id);
            ctl->holders = (uint16_t)(ctl->holders | 1u << region);
        }
    }
}

/* -------- times -------- */

/* All follow from the least lease. While others may go by the one before, this agent votes as often
 * as the shorter of the two wants, and is as patient as the longer one. */
static void take_times(struct fm_controller *ctl)
{
    int64_t lease = least_lease_ms(ctl->conf), was_ms = ctl->vote_ms;
    int64_t vote_ms = lease / 8 > VOTE_LEAST_MS ? lease / 8 : VOTE_LEAST_MS;
    struct fm_mono now = fm_mono_now();
    bool settled = !fm_mono_before(now, ctl->times_at);
    ctl->renew_ms = lease / RENEW_PARTS;
    ctl->retry_ms = retry_of(ctl->renew_ms);
    ctl->op_ms = lease / 2;
    ctl_office_set_times(ctl, 2 * ctl->renew_ms, ctl->retry_ms);
    if (settled && vote_ms != was_ms && ctl->times_at.ns == 0) {
        ctl->times_at = fm_mono_add_ms(now, SETTLE_MS);
        settled = false;
    }
    int64_t patience_ms = 3 * vote_ms;
    if (!settled) {
        patience_ms = patience_ms > ctl->votes.patience_ms ? patience_ms : ctl->votes.patience_ms;
        vote_ms = vote_ms < was_ms ? vote_ms : was_ms;
        ctl_arm(ctl, ctl->times_at);
    } else {
        ctl->times_at = FM_MONO_ZERO;
    }
    ctl->vote_ms = vote_ms;
    fm_votes_set(&ctl->votes, ctl->observers, patience_ms, now);
}

/* -------- life -------- */

void fm_controller_reset(struct fm_controller *ctl, const struct fm_conf *conf)
{
    struct fm_error e = {0};
    ctl->conf = conf;
    if (ctl->coord && fm_coord_renew_tls(ctl->coord, &e))
        fm_log(FM_LOG_ERROR, "coordination_tls_not_renewed", FM_KE(&e),
               FM_KZ("meaning", "the certificates of before go on"));
    take_hosts(ctl);
    take_contexts(ctl);
    take_times(ctl);
    ctl_operate_start(ctl);
    ctl_intents_reset(ctl);
    tell_all_office(ctl);
    ctl_touch_all(ctl);
    ctl->told = true;
}

static void begin_office(struct fm_controller *ctl)
{
    struct fm_office_config o = {.self = ctl->self,
                                 .incarnation = ctl->life,
                                 .silence_ms = 2 * ctl->renew_ms,
                                 .retry_ms = ctl->retry_ms};
    struct fm_mono now = fm_mono_now();
    fm_office_init(&ctl->office, &o, now);
    ctl_record_begin_office(ctl, now);
}

static void free_contexts(struct fm_controller *ctl)
{
    for (unsigned i = 0; i < ctl->ncontexts; i++) {
        struct ctl_context *c = ctl->context[i];
        while (c && c->later) {
            struct ctl_later *x = c->later;
            c->later = x->next;
            free(x);
        }
        for (unsigned k = 0; c && k < CTL_COMMITS; k++)
            for (unsigned w = 0; w < FM_TXN_WRITES_MAX; w++)
                free(c->commit[k].value[w]);
        if (c) {
            ctl_standby_free(c);
            ctl_group_free(c);
        }
        free(c);
    }
}

struct fm_controller *fm_controller_new(const struct fm_controller_config *c,
                                        const struct fm_conf *conf, struct fm_error *e)
{
    FM_ASSERT(c->loop && c->roster && c->post && c->keep && c->agreement && c->changed &&
              conf->coordination.present);
    struct fm_controller *ctl = calloc(1, sizeof *ctl);
    if (!ctl) {
        fm_error_set(e, FM_ERR_MEMORY, "no memory for the controller");
        return NULL;
    }
    ctl->c = *c;
    ctl->conf = conf;
    ctl->life.n = fm_keep_life(c->keep);
    ctl->able = !c->witness;
    fm_rand_bytes(&ctl->rand.state, sizeof ctl->rand.state);
    fm_timer_init(&ctl->timer, due);
    fm_timer_init(&ctl->soon, soon);
    for (size_t i = 0; i < conf->nregions; i++)
        (void)fm_roster_add_region(c->roster, conf->regions[i].name);
    int host = fm_conf_find_host(conf, fm_str_z(fm_roster_host_name(c->roster, c->self)));
    FM_ASSERT(host >= 0);
    ctl->region =
        (unsigned)fm_roster_region(c->roster, conf->regions[conf->hosts[host].region].name);
    take_hosts(ctl);
    FM_ASSERT(ctl->host[c->self].agent); /* hosts of the file come first */
    ctl->self = ctl->host[c->self].id;
    int64_t lease = least_lease_ms(conf);
    ctl->renew_ms = lease / RENEW_PARTS;
    ctl->retry_ms = retry_of(ctl->renew_ms);
    ctl->op_ms = lease / 2;
    ctl->vote_ms = lease / 8 > VOTE_LEAST_MS ? lease / 8 : VOTE_LEAST_MS;
    fm_votes_init(&ctl->votes, ctl->self, ctl->observers, 3 * ctl->vote_ms, fm_mono_now());
    if (c->record && !(ctl->recorder = fm_recorder_open(c->record, e))) {
        free(ctl);
        return NULL;
    }
    begin_office(ctl);
    if (ctl_store_open(ctl, e)) {
        fm_recorder_close(ctl->recorder);
        free(ctl);
        return NULL;
    }
    fm_controller_reset(ctl, conf);
    ctl_arm(ctl, fm_loop_now(c->loop));
    return ctl;
}

void fm_controller_stop(struct fm_controller *ctl)
{
    if (!ctl || ctl->stopped)
        return;
    ctl->stopped = true;
    fm_loop_cancel(ctl->c.loop, &ctl->timer);
    fm_loop_cancel(ctl->c.loop, &ctl->soon);
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        if (ctl->context[i])
            ctl_standby_stop(ctl->context[i]);
    ctl_external_stop(ctl);
    ctl_store_stop(ctl);
}

void fm_controller_free(struct fm_controller *ctl)
{
    if (!ctl)
        return;
    FM_ASSERT(ctl->stopped);
    ctl_store_free(ctl);
    ctl_ops_free(ctl);
    free_contexts(ctl);
    for (unsigned k = 0; k < CTL_OFFICE_COMMITS; k++)
        for (unsigned w = 0; w < FM_TXN_WRITES_MAX; w++)
            free(ctl->claim[k].value[w]);
    fm_recorder_close(ctl->recorder);
    free(ctl);
}
