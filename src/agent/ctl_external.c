/* Data that Fulmar does not run itself: the commands `groups.NAME.hooks`, run by the keeper of each
 * region. When is core's (external.h); the facts are gathered here. What is known of a region is a
 * record of coordination (`external/CONTEXT/REGION`): so every agent can show it and tell what a
 * failover would cost, and whoever is keeper next knows what was begun.
 *
 * It does not move a byte of the data. */
#include "agent/ctl.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { AGAIN_MS = 500, RETRY_MS = 5000, STALE_INTERVALS = 3 };

static const struct fm_conf_group *group_of(const struct ctl_context *c)
{
    int index = c->conf < 0 ? -1 : fm_conf_group_of(c->ctl->conf, (unsigned)c->conf);
    const struct fm_conf_group *g = index < 0 ? NULL : &c->ctl->conf->groups[index];
    return g && g->hooks.present ? g : NULL;
}

/* NULL, too, where a reload took them out of the file. */
struct ctl_external *ctl_external_of(const struct ctl_context *c)
{
    return group_of(c) ? c->external : NULL;
}

static const struct fm_conf_hooks *conf_of(const struct ctl_context *c)
{
    const struct fm_conf_group *g = group_of(c);
    FM_ASSERT(g && c->external);
    return &g->hooks;
}

static struct ctl_external_region *mine(const struct ctl_context *c)
{
    return &c->external->region[c->ctl->region];
}

static struct fm_epoch epoch_of(const struct ctl_context *c)
{
    FM_ASSERT(c->auth.cfg.ncells == 1); /* active-passive: the configuration sees to it */
    return fm_authority_epoch(&c->auth, 0);
}

/* -------- the record -------- */

static void take_doc(struct ctl_external_region *r, uint64_t revision,
                     const struct fm_external_doc *d)
{
    if (r->told != revision)
        r->seen = fm_mono_now();
    r->revision = r->told = revision;
    r->doc = *d;
}

static int64_t wall_ms(void)
{
    return fm_wall_now_ns() / FM_NS_PER_MS;
}

/* Whichever is more: this agent may have begun after it was written, or a clock be wrong. */
int64_t ctl_external_age_ms(const struct ctl_external_region *r)
{
    int64_t here_ms = fm_mono_sub_ms(fm_mono_now(), r->seen);
    int64_t said_ms = r->doc.wall_ms ? wall_ms() - r->doc.wall_ms : 0;
    return here_ms > said_ms ? here_ms : said_ms;
}

void ctl_external_seen(struct fm_controller *ctl, struct fm_str name, const struct fm_coord_kv *kv)
{
    struct fm_external_doc d;
    struct fm_str region, context = fm_str_cut(name, '/', &region);
    int number = fm_roster_context(ctl->c.roster, context);
    int r = fm_roster_region(ctl->c.roster, region);
    struct ctl_context *c = number < 0 ? NULL : ctl->context[number];
    if (!c || !c->external || r < 0)
        return;
    struct ctl_external_region *to = &c->external->region[r];
    to->there = true;
    if (to->revision >= kv->revision)
        return;
    if (fm_external_doc_read(kv->value, &d)) {
        take_doc(to, kv->revision, &d);
    } else { /* nothing is open by what cannot be read; the keeper writes it anew */
        fm_log(FM_LOG_ERROR, "external_unreadable", FM_KS("key", kv->key));
        *to = (struct ctl_external_region){.there = true, .revision = kv->revision};
    }
    ctl_touch(c);
}

void ctl_external_fresh(struct fm_controller *ctl, bool begins)
{
    for (unsigned i = 0; i < ctl->ncontexts; i++) {
        struct ctl_context *c = ctl->context[i];
        for (unsigned r = 0; c && c->external && r < FM_AUTH_REGIONS_MAX; r++) {
            struct ctl_external_region *x = &c->external->region[r];
            if (begins) {
                x->there = false;
                x->revision = 0; /* another store may show a lower one */
            } else if (!x->there) {
                *x = (struct ctl_external_region){.revision = 0};
            }
        }
    }
}

static void written(struct ctl_note *n, uint64_t revision)
{
    struct ctl_external *e = fm_container_of(n, struct ctl_external, note);
    struct ctl_context *c = e->context;
    struct ctl_external_region *r = mine(c);
    struct fm_external_record was = r->doc.record, is = e->to_record.record;
    if (revision <= r->revision)
        return;
    take_doc(r, revision, &e->to_record);
    if (was.stage == is.stage && fm_epoch_same(was.epoch, is.epoch))
        return;
    struct ctl_event *event = ctl_event(c->ctl, "data", c);
    event->region = (int)c->ctl->region;
    event->from = fm_external_stage_name((enum fm_external_stage)was.stage);
    event->to = fm_external_stage_name((enum fm_external_stage)is.stage);
    snprintf(event->evidence, sizeof event->evidence, "under epoch %llu",
             (unsigned long long)is.epoch.n);
    fm_log(FM_LOG_WARN, "external", FM_KZ("context", event->context), FM_KZ("from", event->from),
           FM_KZ("to", event->to), FM_KU("epoch", is.epoch.n));
    ctl_touch(c); /* gates may be let in now */
}

/* What is known of the lag, by this keeper or the one before it. */
static void take_known_lag(const struct ctl_external *e, struct fm_external_doc *d)
{
    struct fm_mono now = fm_mono_now();
    d->lag = e->x.lag_at.ns ? e->x.lag : e->lag_was;
    d->lag_age_ms = e->x.lag_at.ns ? fm_mono_sub_ms(now, e->x.lag_at)
                                   : e->lag_was_ms + fm_mono_sub_ms(now, e->office_since);
}

/* The command that failed last, unless it went well since. */
static void take_trouble(const struct ctl_external *e, struct fm_external_doc *d)
{
    const struct ctl_external_ran *last = NULL;
    for (unsigned i = FM_EXTERNAL_ASKING; i < FM_EXTERNAL_STATE_COUNT; i++) {
        const struct ctl_external_ran *x = &e->ran[i];
        if (!x->has || x->ok || (last && fm_mono_before(x->at, last->at)))
            continue;
        last = x;
        snprintf(d->trouble, sizeof d->trouble, "`%s`: %s",
                 fm_external_state_name((enum fm_external_state)i), x->why);
    }
    fm_text_tame(d->trouble); /* where it was cut */
}

static void record(struct ctl_context *c, struct fm_external_record what)
{
    struct ctl_external *e = c->external;
    if (!ctl_note_may(&e->note))
        return;
    e->to_record = (struct fm_external_doc){
        .record = what, .known = e->x.known, .status = e->x.status, .wall_ms = wall_ms()};
    take_known_lag(e, &e->to_record);
    take_trouble(e, &e->to_record);
    ctl_note_write(&e->note, "external", mine(c)->revision, fm_external_doc_make(&e->to_record));
}

static void note(struct ctl_context *c, enum fm_external_stage stage)
{
    record(c, (struct fm_external_record){epoch_of(c), (uint8_t)stage});
}

/* -------- commands -------- */

static unsigned came_from(const struct ctl_context *c)
{
    const struct fm_controller *ctl = c->ctl;
    struct fm_external_record record[FM_AUTH_REGIONS_MAX];
    for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX; r++)
        record[r] = c->external->region[r].doc.record;
    return fm_external_came_from(record, ctl->c.roster->nregions, ctl->region, ctl->holders);
}

static bool is_handing(const struct ctl_context *c)
{
    return c->move.state == FM_MOVE_SHIPPING;
}

static const char *region_name(const struct ctl_context *c, unsigned region)
{
    return region < c->ctl->c.roster->nregions ? c->ctl->c.roster->region[region] : "";
}

static void over(struct fm_hook *h)
{
    struct ctl_external *e = fm_container_of(h, struct ctl_external, hook);
    FM_ASSERT(!e->ended && e->x.state != FM_EXTERNAL_IDLE);
    e->ended = true;
    ctl_touch(e->context);
}

static struct fm_external_facts facts_of(const struct ctl_context *c)
{
    const struct fm_authority *a = &c->auth;
    const struct fm_cell_at *at = &a->cell[0].at;
    struct fm_mono now = fm_mono_now();
    unsigned from = came_from(c);
    bool live = fm_mono_before(now, fm_authority_until(a, now));
    struct fm_external_facts f = {.epoch = at->r.epoch,
                                  .holds = at->revision.n && live && fm_authority_holds(a),
                                  .elsewhere = at->revision.n && live &&
                                               fm_cell_owner(&at->r) != c->ctl->region,
                                  .forced = at->revision.n && fm_cell_was_forced(&at->r),
                                  .attested = from < FM_AUTH_REGIONS_MAX && c->set->attested[from],
                                  .busy = fm_hook_is_running(&c->external->hook),
                                  .writing = !ctl_note_may(&c->external->note),
                                  .recorded = mine(c)->doc.record};
    f.handing = f.holds && is_handing(c);
    return f;
}

static void run(struct ctl_context *c, const struct fm_str *argv, size_t n)
{
    struct fm_controller *ctl = c->ctl;
    const struct fm_roster *r = ctl->c.roster;
    struct fm_external_facts f = facts_of(c);
    unsigned owner = fm_cell_owner(&c->auth.cell[0].at.r), from = owner, to = ctl->region;
    char epoch[24];
    if (f.handing || (f.elsewhere && c->external->x.state == FM_EXTERNAL_CLOSING)) {
        from = ctl->region;
        to = f.handing ? c->move.to : owner;
    } else if (f.holds) {
        from = came_from(c);
    }
    snprintf(epoch, sizeof epoch, "%llu", (unsigned long long)f.epoch.n);
    const char *const env[][2] = {
        {"FULMAR_SERVICE", ctl->conf->service.p},
        {"FULMAR_GROUP", group_of(c)->name.p},
        {"FULMAR_CONTEXT", r->context[c->number].name},
        {"FULMAR_REGION", r->region[ctl->region]},
        {"FULMAR_HOST", fm_roster_host_name(r, ctl->c.self)},
        {"FULMAR_FROM", region_name(c, from)},
        {"FULMAR_TO", region_name(c, to)},
        {"FULMAR_EPOCH", epoch},
        {"FULMAR_MODE", fm_external_needs_force(&f) ? "forced" : "planned"},
        {NULL, NULL}};
    struct fm_hook_run what = {
        .argv = argv, .n = n, .timeout_ms = conf_of(c)->timeout_ms, .env = env};
    FM_ASSERT(n > 0 && !c->external->ended);
    fm_hook_start(&c->external->hook, &what);
}

static void act(struct ctl_context *c, enum fm_external_action action)
{
    const struct fm_conf_hooks *h = conf_of(c);
    switch (action) {
    case FM_EXTERNAL_DO_STATUS:
        run(c, h->status, h->nstatus);
        return;
    case FM_EXTERNAL_DO_LAG:
        run(c, h->lag, h->nlag);
        return;
    case FM_EXTERNAL_DO_CLOSE:
        run(c, h->read_only, h->nread_only);
        return;
    case FM_EXTERNAL_DO_FENCE:
        run(c, h->fence, h->nfence);
        return;
    case FM_EXTERNAL_DO_PROMOTE:
        run(c, h->promote, h->npromote);
        return;
    case FM_EXTERNAL_DO_KILL:
        fm_hook_stop(&c->external->hook);
        c->external->ended = false;
        return;
    case FM_EXTERNAL_DO_NOTE_OPENING:
        note(c, FM_EXTERNAL_AT_OPENING);
        return;
    case FM_EXTERNAL_DO_NOTE_OPEN:
        note(c, FM_EXTERNAL_AT_OPEN);
        return;
    case FM_EXTERNAL_DO_NOTE_CLOSED:
        note(c, FM_EXTERNAL_AT_CLOSED);
        return;
    case FM_EXTERNAL_DO_NOTHING:
    case FM_EXTERNAL_ACTION_COUNT:
        return;
    }
}

/* -------- how they end -------- */

/* A command that changes something, and one whose end is another one than the last time. */
static void say(struct ctl_context *c, uint8_t state, bool news)
{
    const struct ctl_external_ran *ran = &c->external->ran[state];
    const char *command = fm_external_state_name((enum fm_external_state)state);
    if (!news && state <= FM_EXTERNAL_MEASURING)
        return;
    struct ctl_event *e = ctl_event(c->ctl, "data", c);
    e->region = (int)c->ctl->region;
    e->why = ran->ok ? "ok" : "failed";
    snprintf(e->evidence, sizeof e->evidence, "`%s`: %s", command, ran->why);
    fm_log(ran->ok ? FM_LOG_WARN : FM_LOG_ERROR, "external", FM_KZ("context", e->context),
           FM_KZ("command", command), FM_KZ("why", e->why), FM_KZ("evidence", e->evidence));
}

static struct fm_external_event next_event(struct ctl_context *c)
{
    struct ctl_external *e = c->external;
    struct fm_external_event event = {.kind = FM_EXTERNAL_ON_LOOK};
    struct fm_error why = {.code = FM_ERR_OK};
    if (!e->ended)
        return event;
    struct ctl_external_ran *ran = &e->ran[e->x.state];
    enum fm_err err = FM_ERR_OK;
    if (e->hook.ok && e->x.state == FM_EXTERNAL_ASKING)
        err = fm_external_doc_status(e->hook.output, &event.status, &why);
    else if (e->hook.ok && e->x.state == FM_EXTERNAL_MEASURING)
        err = fm_external_doc_lag(e->hook.output, &event.lag, &why);
    bool ok = e->hook.ok && err == FM_ERR_OK;
    bool news = ran->ok != ok;
    e->ended = false;
    event.kind = ok ? FM_EXTERNAL_ON_ENDED_WELL : FM_EXTERNAL_ON_ENDED_BADLY;
    *ran = (struct ctl_external_ran){
        .has = true, .ok = ok, .took_ms = e->hook.took_ms, .at = fm_mono_now()};
    snprintf(ran->why, sizeof ran->why, "%s", err ? why.msg : e->hook.why);
    fm_text_tame(ran->why); /* where it was cut */
    say(c, e->x.state, news);
    return event;
}

/* -------- stepping -------- */

/* Not the keeper any more: the next one begins anew with what is recorded. */
static void leave(struct ctl_context *c)
{
    struct ctl_external *e = c->external;
    fm_hook_stop(&e->hook);
    e->ended = false;
    if (e->in_office)
        fm_external_init(&e->x, fm_mono_now());
    e->in_office = false;
}

/* What a keeper before this one measured goes on getting older. */
static void take_office(struct ctl_context *c)
{
    struct ctl_external *e = c->external;
    const struct ctl_external_region *r = mine(c);
    if (e->in_office)
        return;
    e->in_office = true;
    e->office_since = fm_mono_now();
    e->lag_was = r->doc.lag;
    e->lag_was_ms = r->revision ? ctl_external_age_ms(r) + r->doc.lag_age_ms : 0;
}

void ctl_external_turn(struct ctl_context *c)
{
    struct fm_controller *ctl = c->ctl;
    struct ctl_external *e = ctl_external_of(c);
    if (c->external && (!e || !c->auth.keeper))
        leave(c);
    if (!e || !c->auth.keeper)
        return;
    if (ctl->revision == 0 || c->auth.frozen || c->unreadable)
        return; /* nothing is known that could be acted upon */
    take_office(c);
    int64_t interval_ms = conf_of(c)->interval_ms;
    struct fm_external_policy policy = {.interval_ms = interval_ms,
                                        .again_ms = fm_clamp_i64(interval_ms, 1, AGAIN_MS),
                                        .retry_ms = fm_clamp_i64(interval_ms, 1, RETRY_MS)};
    struct fm_external_event event = next_event(c);
    struct fm_external_facts f = facts_of(c);
    struct fm_external_verdict v = fm_external_step(&e->x, &policy, &f, &event, fm_mono_now());
    act(c, v.action);
    if (event.kind != FM_EXTERNAL_ON_LOOK)
        record(c, mine(c)->doc.record); /* what others see is renewed with each command */
    if (v.action != FM_EXTERNAL_DO_NOTHING || event.kind != FM_EXTERNAL_ON_LOOK)
        ctl_touch(c);
    if (!fm_mono_is_never(v.wake))
        ctl_arm(ctl, v.wake);
}

/* -------- for the authority, moves and failovers -------- */

bool ctl_external_is_open(const struct ctl_context *c, unsigned region)
{
    FM_ASSERT(region < FM_AUTH_REGIONS_MAX);
    return !ctl_external_of(c) ||
           fm_external_is_open(&c->external->region[region].doc.record, epoch_of(c));
}

const char *ctl_external_hands_over(const struct ctl_context *c)
{
    if (!ctl_external_is_open(c, c->ctl->region))
        return "its data are not open in this region: `fulmar group status` says why";
    return NULL;
}

bool ctl_external_is_final(const struct ctl_context *c)
{
    return !ctl_external_of(c) || fm_external_is_final(&c->external->x);
}

/* Each of the two commands has its time. */
int64_t ctl_external_ship_ms(const struct ctl_context *c)
{
    return ctl_external_of(c) ? 2 * conf_of(c)->timeout_ms : 0;
}

/* Its keeper has looked at them of late. */
static bool is_seen(const struct ctl_context *c, const struct ctl_external_region *r)
{
    const struct fm_conf_hooks *h = conf_of(c);
    int64_t most_ms = STALE_INTERVALS * h->interval_ms + h->timeout_ms;
    return r->revision && r->doc.known && ctl_external_age_ms(r) <= most_ms;
}

const char *ctl_external_receive(const struct ctl_context *c)
{
    if (!ctl_external_of(c))
        return NULL;
    if (!is_seen(c, mine(c)))
        return "how its data are in the region is not known: see `status` of its hooks";
    return mine(c)->doc.status.healthy ? NULL : "its data in the region are not healthy";
}

bool ctl_external_is_ready(const struct ctl_context *c, unsigned to)
{
    FM_ASSERT(to < FM_AUTH_REGIONS_MAX);
    const struct ctl_external_region *r = ctl_external_of(c) ? &c->external->region[to] : NULL;
    return !r || (is_seen(c, r) && r->doc.status.healthy);
}

struct fm_external_estimate ctl_external_loss(const struct ctl_context *c, unsigned to)
{
    FM_ASSERT(ctl_external_of(c) && to < FM_AUTH_REGIONS_MAX);
    const struct ctl_external_region *r = &c->external->region[to];
    if (!r->revision)
        return (struct fm_external_estimate){.known = false};
    return fm_external_estimate(&r->doc.lag, ctl_external_age_ms(r) + r->doc.lag_age_ms);
}

struct fm_external_estimate ctl_external_loss_if_now(const struct ctl_context *c)
{
    const struct fm_controller *ctl = c->ctl;
    const struct fm_cell_at *at = &c->auth.cell[0].at;
    struct fm_external_estimate best = {.known = false};
    unsigned owner = at->revision.n ? fm_cell_owner(&at->r) : FM_NO_REGION;
    for (unsigned r = 0; r < ctl->c.roster->nregions; r++) {
        if (r == owner || !(ctl->holders >> r & 1) || !ctl_external_is_ready(c, r))
            continue;
        struct fm_external_estimate x = ctl_external_loss(c, r);
        if (x.known && (!best.known || x.ms < best.ms))
            best = x;
    }
    return best;
}

/* -------- life -------- */

void ctl_external_reset(struct ctl_context *c)
{
    if (c->external || !group_of(c))
        return; /* what was there stays: the outcome of a write may still come */
    struct ctl_external *e = calloc(1, sizeof *e);
    FM_ASSERT(e);
    e->context = c;
    ctl_note_init(&e->note, c, written);
    fm_hook_init(&e->hook, c->ctl->c.loop, over);
    fm_external_init(&e->x, fm_mono_now());
    c->external = e;
}

void ctl_external_stop(struct fm_controller *ctl)
{
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        if (ctl->context[i] && ctl->context[i]->external)
            fm_hook_stop(&ctl->context[i]->external->hook);
}

void ctl_external_free(struct ctl_context *c)
{
    if (c->external)
        ctl_note_free(&c->external->note);
    free(c->external);
    c->external = NULL;
}
