/* The app of a region that stands by: the commands `standby.start`, `check` and `stop` of a
 * context, run by the keeper of the region that would take over. When is core's (standby.h); the
 * facts are gathered here. That the app may be running is a record of coordination
 * (`standby/CONTEXT/REGION`), written before the first start, so that whoever is keeper next stops
 * what this one started. So is that replication to the region was broken, and no node of it counts
 * again yet.
 *
 * It does not supervise the app: what ends while it is needed is somebody else's to restart.
 *
 * Where that is declared replication to the region is broken as long as it is prepared; the nodes
 * of its PostgreSQL group are told so (ctl_group.c) until they say that it is so. */
#include "agent/ctl.h"

#include "base/assert.h"
#include "base/log.h"
#include "http/protocol.h"

#include <stdio.h>

enum { CHECK_MS = 1000, STOP_AGAIN_MS = 10000, RESTORE_MS = 60 * 1000 };

static bool has_commands(const struct ctl_context *c)
{
    return c->conf >= 0 && c->set && ctl_conf(c)->standby.present;
}

static bool is_at_home(const struct ctl_context *c)
{
    FM_ASSERT(c->auth.cfg.ncells == 1); /* active-passive: the configuration sees to it */
    return c->auth.cfg.home[0] == c->ctl->region;
}

bool ctl_standby_is_cold_here(const struct ctl_context *c)
{
    return has_commands(c) && !is_at_home(c);
}

/* -------- the record -------- */

void ctl_standby_seen(struct fm_controller *ctl, struct fm_str name, const struct fm_coord_kv *kv)
{
    struct fm_str region, context = fm_str_cut(name, '/', &region);
    int number = fm_roster_context(ctl->c.roster, context);
    struct ctl_context *c = number < 0 ? NULL : ctl->context[number];
    const char *state = NULL, *link = NULL;
    if (!c || !fm_str_eqz(region, ctl->c.roster->region[ctl->region]))
        return;
    if (c->standby.revision > kv->revision)
        return;
    json_t *j = json_loadb(kv->value.p, kv->value.n, JSON_REJECT_DUPLICATES, NULL);
    bool good = j && !fm_protocol_refuses(j) &&
                !json_unpack(j, "{s:s,s?s}", "state", &state, "replication", &link);
    if (!good)
        fm_log(FM_LOG_ERROR, "standby_unreadable", FM_KS("key", kv->key),
               FM_KZ("meaning", "the app may be running"));
    c->standby.revision = kv->revision;
    c->standby.recorded = !good || strcmp(state, "stopped") != 0;
    c->standby.link_recorded =
        good && link ? fm_standby_link_named(fm_str_z(link)) : FM_STANDBY_LINK_FOLLOWS;
    json_decref(j);
    ctl_touch(c);
}

void ctl_standby_fresh(struct fm_controller *ctl)
{
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        if (ctl->context[i]) {
            ctl->context[i]->standby.revision = 0;
            ctl->context[i]->standby.recorded = false;
            ctl->context[i]->standby.link_recorded = FM_STANDBY_LINK_FOLLOWS;
        }
}

static void written(struct ctl_note *n, uint64_t revision)
{
    struct ctl_standby *x = fm_container_of(n, struct ctl_standby, note);
    if (revision > x->revision) {
        x->revision = revision;
        x->recorded = x->to_record;
        x->link_recorded = x->link_to_record;
    }
}

static void record(struct ctl_context *c, bool started)
{
    struct ctl_standby *x = &c->standby;
    enum fm_standby_link_state link = (enum fm_standby_link_state)x->link.is;
    if (!ctl_note_may(&x->note))
        return;
    x->to_record = started;
    x->link_to_record = x->link.known ? link : x->link_recorded;
    json_t *j = json_pack("{s:s}", "state", started ? "started" : "stopped");
    if (x->link_to_record != FM_STANDBY_LINK_FOLLOWS)
        json_object_set_new(j, "replication", json_string(fm_standby_link_name(x->link_to_record)));
    ctl_note_write(&x->note, "standby", x->revision, j);
}

/* It holds the context, or is about to. */
static bool holds(const struct ctl_context *c)
{
    const struct fm_cell_at *at = &c->auth.cell[0].at;
    unsigned me = c->ctl->region;
    bool given = at->r.state == FM_CELL_RELEASED && at->r.to == me;
    return c->auth.s.cells || (at->revision.n && (at->r.region == me || given));
}

/* -------- commands -------- */

static void over(struct fm_hook *h)
{
    struct ctl_standby *x = fm_container_of(h, struct ctl_standby, hook);
    FM_ASSERT(!x->ended && x->command);
    x->ended = true;
    ctl_touch(x->context);
}

static void run(struct ctl_context *c, const char *command, const struct fm_str *argv, size_t n)
{
    const struct fm_roster *r = c->ctl->c.roster;
    const char *const env[][2] = {{"FULMAR_SERVICE", c->ctl->conf->service.p},
                                  {"FULMAR_CONTEXT", r->context[c->number].name},
                                  {"FULMAR_REGION", r->region[c->ctl->region]},
                                  {"FULMAR_HOST", fm_roster_host_name(r, c->ctl->c.self)},
                                  {NULL, NULL}};
    struct fm_hook_run what = {
        .argv = argv, .n = n, .timeout_ms = ctl_conf(c)->standby.timeout_ms, .env = env};
    FM_ASSERT(n > 0 && !c->standby.ended && ctl_standby_is_cold_here(c));
    c->standby.command = command;
    fm_hook_start(&c->standby.hook, &what);
}

static void act(struct ctl_context *c, enum fm_standby_action action)
{
    const struct fm_conf_standby *conf = &ctl_conf(c)->standby;
    switch (action) {
    case FM_STANDBY_DO_NOTE:
        record(c, true);
        return;
    case FM_STANDBY_DO_FORGET:
        record(c, false);
        return;
    case FM_STANDBY_DO_START:
        run(c, "start", conf->start, conf->nstart);
        return;
    case FM_STANDBY_DO_CHECK:
        run(c, "check", conf->check, conf->ncheck);
        return;
    case FM_STANDBY_DO_STOP:
        FM_ASSERT(!holds(c)); /* whatever core was told a moment ago */
        run(c, "stop", conf->stop, conf->nstop);
        return;
    case FM_STANDBY_DO_NOTHING:
    case FM_STANDBY_ACTION_COUNT:
        return;
    }
}

/* -------- facts -------- */

static struct fm_standby_facts facts_of(const struct ctl_context *c)
{
    const struct fm_controller *ctl = c->ctl;
    const struct ctl_set *s = c->set;
    const struct fm_cell_at *at = &c->auth.cell[0].at;
    struct fm_standby_facts x = {
        .home = is_at_home(c),
        .holds = holds(c),
        .promised = fm_mono_before(fm_mono_now(), c->standby.handed_until),
        .recorded = c->standby.recorded,
        .capable = fm_contexts_has(&ctl->votes.of[ctl->self.n].vote.well[ctl->region], c->number),
        .busy = fm_hook_is_running(&c->standby.hook),
        .checks = ctl_conf(c)->standby.ncheck > 0};
    for (unsigned r = 0; r < ctl->c.roster->nregions; r++) {
        x.engaged |= s->fo[r].state != FM_FAILOVER_STEADY;
        x.prepared |= fm_failover_prepares(&s->fo[r]);
    }
    x.moves = fm_mono_before(fm_mono_now(), c->standby.asked_until);
    if (at->revision.n == 0 || x.holds)
        return x;
    struct fm_tally t = fm_votes_tally(&ctl->votes, at->r.region, &s->contexts, fm_mono_now());
    x.holder_well = 2 * t.healthy_by > t.observers;
    x.stood_down = s->fo[at->r.region].stood_down;
    return x;
}

/* -------- replication to this region -------- */

static void say_link(struct ctl_context *c, const char *from)
{
    static const char *const why[] = {
        [FM_STANDBY_LINK_FOLLOWS] = "a node of the region counts",
        [FM_STANDBY_LINK_BROKEN] = "the region is prepared",
        [FM_STANDBY_LINK_RESTORING] = "nobody prepares the region any more",
        [FM_STANDBY_LINK_OVERDUE] = "no node of the region counts yet: `fulmar group status`"};
    enum fm_standby_link_state is = (enum fm_standby_link_state)c->standby.link.is;
    struct ctl_event *e = ctl_event(c->ctl, "replication", c);
    FM_ASSERT(is < FM_COUNT(why));
    e->region = (int)c->ctl->region;
    e->from = from;
    e->to = fm_standby_link_name(is);
    e->why = e->to;
    e->text = why[is];
    fm_log(is == FM_STANDBY_LINK_OVERDUE ? FM_LOG_ERROR : FM_LOG_WARN, "replication",
           FM_KZ("context", e->context), FM_KZ("from", from), FM_KZ("to", e->to),
           FM_KZ("why", e->text));
}

/* `x` NULL: nothing stands by here, or it is not known. What a keeper before this one, or another
 * configuration, has left broken is restored all the same. */
static void look_at_link(struct ctl_context *c, const struct fm_standby_facts *x)
{
    struct ctl_standby *s = &c->standby;
    struct fm_mono now = fm_mono_now();
    if (!c->auth.keeper || !c->group) {
        s->apart = FM_STANDBY_LEAVE;
        s->link = (struct fm_standby_link){.known = c->auth.keeper, .since = now};
        return;
    }
    if (c->ctl->revision == 0 || c->auth.frozen)
        return;
    if (!s->link.known)
        fm_standby_link_begin(&s->link, s->link_recorded, now);
    bool breaks = x && ctl_conf(c)->standby.breaks;
    s->apart = breaks ? fm_standby_wish_apart(x) : FM_STANDBY_OFF;
    const char *from = fm_standby_link_name((enum fm_standby_link_state)s->link.is);
    if (fm_standby_link_look(&s->link, s->apart, ctl_group_seen(c),
                             x ? ctl_conf(c)->standby.ready_ms : RESTORE_MS, now))
        say_link(c, from);
    if (s->link.is != s->link_recorded)
        record(c, s->recorded);
    if (s->link.is != FM_STANDBY_LINK_FOLLOWS) /* by time, or by what is asked */
        ctl_arm(c->ctl, fm_mono_add_ms(now, CHECK_MS));
}

enum fm_standby_wish ctl_standby_apart(const struct ctl_context *c)
{
    return c->standby.apart;
}

void ctl_standby_asked(struct ctl_context *c)
{
    c->standby.asked_until = fm_mono_add_ms(fm_mono_now(), ctl_move_within_ms(c));
    ctl_touch(c);
}

/* -------- stepping -------- */

static void say(struct ctl_context *c, const struct fm_standby_verdict *v, enum fm_standby_event e)
{
    struct fm_controller *ctl = c->ctl;
    bool of_command = e == FM_STANDBY_ON_ENDED_WELL || e == FM_STANDBY_ON_ENDED_BADLY;
    struct ctl_event *event = ctl_event(ctl, "standby", c);
    event->region = (int)ctl->region;
    event->from = fm_standby_state_name((enum fm_standby_state)v->from);
    event->to = fm_standby_state_name((enum fm_standby_state)v->to);
    event->why = fm_standby_event_name(e);
    if (of_command)
        snprintf(event->evidence, sizeof event->evidence, "`%s`: %s", c->standby.command,
                 c->standby.hook.why);
    else if (v->to == FM_STANDBY_FAILED)
        ctl_standby_trouble(c, event->evidence, sizeof event->evidence);
    fm_log(v->to == FM_STANDBY_FAILED || v->to == FM_STANDBY_STUCK ? FM_LOG_ERROR : FM_LOG_WARN,
           "standby", FM_KZ("context", event->context), FM_KZ("from", event->from),
           FM_KZ("to", event->to), FM_KZ("evidence", event->evidence));
}

static enum fm_standby_event next_event(struct ctl_standby *x)
{
    if (x->ended) {
        x->ended = false;
        return x->hook.ok ? FM_STANDBY_ON_ENDED_WELL : FM_STANDBY_ON_ENDED_BADLY;
    }
    if (x->again && !fm_hook_is_running(&x->hook)) {
        x->again = false;
        return FM_STANDBY_ON_AGAIN;
    }
    return FM_STANDBY_ON_LOOK;
}

/* Not the keeper any more, or without commands: the next one begins anew with what is recorded. */
static void leave(struct ctl_context *c)
{
    struct ctl_standby *x = &c->standby;
    fm_hook_stop(&x->hook);
    x->in_office = x->ended = x->again = false;
    if (x->s.state != FM_STANDBY_COLD)
        fm_standby_init(&x->s, fm_mono_now());
}

static void promise(struct ctl_context *c)
{
    c->standby.handed_until = fm_mono_add_ms(fm_mono_now(), ctl_move_within_ms(c));
}

void ctl_standby_turn(struct ctl_context *c)
{
    struct fm_controller *ctl = c->ctl;
    struct ctl_standby *x = &c->standby;
    if (!has_commands(c) || !c->auth.keeper) {
        leave(c);
        look_at_link(c, NULL);
        return;
    }
    if (ctl->revision == 0 || c->auth.frozen || c->unreadable)
        return; /* nothing is known that could be acted upon */
    struct fm_standby_policy policy = {.ready_ms = ctl_conf(c)->standby.ready_ms,
                                       .linger_ms = 2 * ctl_conf(c)->lease_ms,
                                       .check_ms = CHECK_MS,
                                       .retry_ms = STOP_AGAIN_MS};
    if (!x->in_office)
        promise(c); /* the keeper before this one may have */
    x->in_office = true;
    const struct fm_cell_record *cell = &c->auth.cell[0].at.r;
    if (cell->region == ctl->region && cell->state == FM_CELL_HELD)
        x->handed_until = FM_MONO_ZERO; /* it has come */
    enum fm_standby_event e = next_event(x);
    struct fm_standby_facts facts = facts_of(c);
    look_at_link(c, &facts);
    struct fm_standby_verdict v = fm_standby_step(&x->s, &policy, &facts, e, fm_mono_now());
    if (v.changed)
        say(c, &v, e);
    act(c, v.action);
    if (v.changed || e != FM_STANDBY_ON_LOOK)
        ctl_touch(c);
    if (!fm_mono_is_never(v.wake))
        ctl_arm(ctl, v.wake);
}

/* -------- for the failover, and for planned moves -------- */

bool ctl_standby_begin(struct ctl_context *c)
{
    if (!ctl_standby_is_cold_here(c))
        return false;
    c->standby.again = true;
    ctl_touch(c);
    return true;
}

bool ctl_standby_is_ready(const struct ctl_context *c)
{
    return !ctl_standby_is_cold_here(c) ||
           (c->standby.s.state == FM_STANDBY_WARM && !c->standby.again);
}

bool ctl_standby_has_failed(const struct ctl_context *c)
{
    return ctl_standby_is_cold_here(c) && c->standby.s.state == FM_STANDBY_FAILED &&
           !c->standby.again;
}

const char *ctl_standby_receive(struct ctl_context *c)
{
    if (!ctl_standby_is_cold_here(c))
        return NULL;
    if (!fm_standby_may_receive(&c->standby.s))
        return "its standby app is being stopped";
    promise(c);
    return NULL;
}

void ctl_standby_trouble(const struct ctl_context *c, char *out, size_t cap)
{
    const struct ctl_standby *x = &c->standby;
    if (!x->s.started)
        snprintf(out, cap, "`start`: %s", x->hook.why);
    else if (x->command && strcmp(x->command, "check") == 0)
        snprintf(out, cap, "it was started, and is not ready in time; `check`: %s", x->hook.why);
    else
        snprintf(out, cap, "it was started, and no gate of the region could serve it in time");
}

/* -------- life -------- */

void ctl_standby_init(struct ctl_context *c)
{
    c->standby.context = c;
    c->standby.handed_until = c->standby.asked_until = FM_MONO_ZERO;
    c->standby.apart = FM_STANDBY_LEAVE;
    ctl_note_init(&c->standby.note, c, written);
    fm_hook_init(&c->standby.hook, c->ctl->c.loop, over);
    fm_standby_init(&c->standby.s, fm_mono_now());
}

void ctl_standby_stop(struct ctl_context *c)
{
    fm_hook_stop(&c->standby.hook);
}

void ctl_standby_free(struct ctl_context *c)
{
    ctl_note_free(&c->standby.note);
}

json_t *ctl_standby_json(const struct ctl_context *c)
{
    const struct ctl_standby *x = &c->standby;
    if (!ctl_standby_is_cold_here(c))
        return json_null();
    bool ran = x->command && !fm_hook_is_running(&x->hook);
    json_t *last = !ran ? json_null()
                        : json_pack("{s:s,s:b,s:s,s:I,s:s}", "command", x->command, "ok",
                                    (int)x->hook.ok, "why", x->hook.why, "took_ms",
                                    (json_int_t)x->hook.took_ms, "output", x->hook.output);
    const char *link = fm_standby_link_name((enum fm_standby_link_state)x->link.is);
    return json_pack("{s:s,s:I,s:b,s:s?,s:s?,s:o}", "state",
                     fm_standby_state_name((enum fm_standby_state)x->s.state), "for_ms",
                     (json_int_t)fm_mono_sub_ms(fm_mono_now(), x->s.since), "may_be_running",
                     (int)x->recorded, "runs", fm_hook_is_running(&x->hook) ? x->command : NULL,
                     "replication", c->group ? link : NULL, "last", last ? last : json_null());
}
