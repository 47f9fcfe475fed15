/* What a controller tells: gates who holds what, edges the view of it, people what happened and
 * why. It decides nothing; everything here is read from core's state. */
#include "agent/ctl.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

/* Rule 4: what it means for whoever looks, and what ends it. */
#define WENT_BACK                                                                                  \
    "coordination shows less than this host has seen of it, or is another store: nothing is "      \
    "acquired, commands go on while all regions see each other; `fulmar coordination reseed` "     \
    "ends this"

/* -------- events -------- */

struct ctl_event *ctl_event(struct fm_controller *ctl, const char *what,
                            const struct ctl_context *c)
{
    struct ctl_event *e = &ctl->event[ctl->nevents % CTL_EVENTS_MAX];
    *e = (struct ctl_event){.number = ++ctl->nevents,
                            .wall_ns = fm_wall_now_ns(),
                            .what = what,
                            .cell = -1,
                            .region = -1};
    if (c)
        snprintf(e->context, sizeof e->context, "%s", ctl->c.roster->context[c->number].name);
    return e;
}

bool fm_controller_is_keeper(const struct fm_controller *ctl)
{
    return ctl->able && fm_office_is_keeper(&ctl->office);
}

void fm_controller_tell(struct fm_controller *ctl, const char *what, const char *why,
                        const char *text, const char *evidence)
{
    struct ctl_event *e = ctl_event(ctl, what, NULL);
    FM_ASSERT(why && text && evidence);
    e->why = why;
    e->text = text;
    snprintf(e->evidence, sizeof e->evidence, "%s", evidence);
}

static const char *state_text(const struct fm_cell_record *c)
{
    static const char *const text[] = {[FM_CELL_HELD] = "held by",
                                       [FM_CELL_RELEASED] = "released by",
                                       [FM_CELL_YIELDED] = "given up by"};
    FM_ASSERT(c->state < FM_COUNT(text));
    return text[c->state];
}

static void describe(const struct ctl_context *c, const struct fm_auth_action *act, char *out,
                     size_t cap)
{
    const struct fm_authority *x = &c->auth;
    const struct fm_roster *r = c->ctl->c.roster;
    const struct fm_cell_record *cell = &x->cell[act->cell].at.r;
    const struct fm_seen_lease *l = &x->lease[cell->region];
    struct fm_mono now = fm_mono_now();
    snprintf(out, cap,
             "epoch %llu %s %s%s%s; its lease was seen %lld ms ago%s; own lease left %lld ms",
             (unsigned long long)cell->epoch.n, state_text(cell), r->region[cell->region],
             cell->state == FM_CELL_HELD ? "" : " for ",
             cell->state == FM_CELL_HELD ? "" : r->region[cell->to],
             (long long)fm_mono_sub_ms(now, l->since), l->at.r.dead ? ", dead" : "",
             (long long)fm_clamp_i64(fm_mono_sub_ms(x->k.lease_until, now), 0, INT32_MAX));
}

void ctl_say(struct ctl_context *c, const struct fm_auth_action *act)
{
    struct ctl_event *e = ctl_event(c->ctl, "authority", c);
    FM_ASSERT(act->cell < c->auth.cfg.ncells);
    e->cell = act->cell;
    e->why = fm_auth_why_name(act->why);
    e->text = fm_auth_why_text(act->why);
    describe(c, act, e->evidence, sizeof e->evidence);
    fm_log(FM_LOG_INFO, "authority", FM_KZ("context", e->context), FM_KU("cell", act->cell),
           FM_KZ("what", e->why), FM_KZ("evidence", e->evidence));
    if (act->why == FM_AUTH_WHY_FROZEN && c->auth.frozen)
        fm_log(FM_LOG_ERROR, "coordination_went_back", FM_KZ("context", e->context),
               FM_KZ("meaning", WENT_BACK));
}

/* -------- gates -------- */

static struct fm_message board(const struct ctl_context *c)
{
    const struct fm_authority *x = &c->auth;
    struct fm_message m = ctl_message(c, FM_MESSAGE_BOARD);
    for (unsigned i = 0; i < x->cfg.ncells; i++) {
        const struct fm_cell_at *at = &x->cell[i].at;
        if (at->revision.n == 0)
            continue;
        m.cells |= UINT64_C(1) << i;
        m.epoch[i] = at->r.epoch;
        m.holder[i] = at->r.state == FM_CELL_HELD ? at->r.region : FM_NO_REGION;
    }
    return m;
}

void ctl_tell_board(struct ctl_context *c, unsigned host)
{
    struct fm_message m = board(c);
    if (!c->auth.frozen && m.cells)
        fm_post_send(c->ctl->c.post, host, &m);
    ctl_group_tell(c, host);
}

uint64_t ctl_generation_of(const struct ctl_context *c)
{
    uint64_t newest = c->policy.revision;
    for (unsigned i = 0; i < c->auth.cfg.ncells; i++)
        newest = fm_max_u64(newest, c->seen.cell[i].revision.n);
    return newest;
}

static uint16_t lapsed_of(const struct ctl_context *c)
{
    uint16_t lapsed = 0;
    for (unsigned r = 0; r < c->ctl->c.roster->nregions; r++)
        if (fm_authority_lapsed(&c->auth, r, fm_mono_now()))
            lapsed = (uint16_t)(lapsed | 1u << r);
    return lapsed;
}

void ctl_tell_changes(struct ctl_context *c)
{
    struct fm_message m = board(c);
    bool news = false;
    for (unsigned i = 0; i < c->auth.cfg.ncells; i++) {
        bool same =
            fm_epoch_same(m.epoch[i], c->board_epoch[i]) && m.holder[i] == c->board_holder[i];
        news |= !same;
        c->board_epoch[i] = m.epoch[i];
        c->board_holder[i] = m.holder[i];
    }
    if (news && !c->auth.frozen)
        ctl_send_gates(c, &m);
    ctl_group_tell_changes(c);
    uint64_t generation = ctl_generation_of(c);
    uint16_t lapsed = lapsed_of(c);
    c->ctl->told |= generation != c->generation || lapsed != c->lapsed;
    c->generation = generation;
    c->lapsed = lapsed;
}

/* -------- views -------- */

static void fill_cells(const struct ctl_context *c, struct fm_view_doc *d,
                       struct fm_view_doc_context *v)
{
    const struct fm_roster *r = c->ctl->c.roster;
    for (unsigned i = 0; i < c->auth.cfg.ncells; i++) {
        const struct fm_cell_at *at = &c->seen.cell[i];
        struct fm_view_doc_cell *cell = &v->cell[i];
        if (at->revision.n == 0)
            continue;
        cell->c.epoch = at->r.epoch;
        cell->c.gentle_from = at->r.gentle_from;
        cell->c.released = at->r.state != FM_CELL_HELD;
        cell->c.region = fm_view_doc_region(d, fm_str_z(r->region[at->r.region]));
        cell->lapsed = c->lapsed >> at->r.region & 1;
    }
}

bool fm_controller_view(const struct fm_controller *ctl, struct fm_view_doc *d)
{
    const struct fm_roster *r = ctl->c.roster;
    if (ctl->revision == 0 || ctl->common.view.revision.n == 0)
        return false;
    d->incarnation = ctl->common.view.r.incarnation;
    d->found_by = fm_view_doc_region(d, fm_str_z(r->region[ctl->region]));
    for (unsigned i = 0; i < ctl->ncontexts; i++) {
        const struct ctl_context *c = ctl->context[i];
        if (!c || c->conf < 0 || !ctl_generation_of(c))
            continue;
        if (c->auth.frozen)
            return false;
        struct fm_view_doc_context *v =
            fm_view_doc_add(d, fm_str_z(r->context[i].name), c->auth.cfg.ncells);
        if (!v)
            return false;
        v->incarnation = d->incarnation;
        v->generation.n = ctl_generation_of(c);
        v->lease_ms = c->auth.cfg.lease_ms;
        v->read_only = c->policy.p.read_only;
        snprintf(v->message, sizeof v->message, "%s", c->policy.p.message);
        d->generation.n = fm_max_u64(d->generation.n, v->generation.n);
        fill_cells(c, d, v);
    }
    d->generation.n = fm_max_u64(d->generation.n, ctl_intents_generation(ctl));
    return d->ncontexts > 0 && ctl_intents_fill(ctl, d);
}

/* -------- status -------- */

/* Milliseconds that are left; null where there are none. */
static json_t *left(struct fm_mono until)
{
    int64_t ms = fm_mono_is_never(until) ? 0 : fm_mono_sub_ms(until, fm_mono_now());
    return ms > 0 ? json_integer(ms) : json_null();
}

static json_t *cells_json(const struct ctl_context *c)
{
    const struct fm_roster *r = c->ctl->c.roster;
    json_t *list = json_array();
    for (unsigned i = 0; i < c->auth.cfg.ncells; i++) {
        const struct fm_cell_at *at = &c->auth.cell[i].at;
        bool gone = at->r.state != FM_CELL_HELD, yielded = at->r.state == FM_CELL_YIELDED;
        if (at->revision.n == 0)
            continue;
        json_array_append_new(list, json_pack("{s:i,s:s,s:s,s:s?,s:I,s:I,s:b}", "cell", (int)i,
                                              "region", r->region[at->r.region], "state",
                                              yielded ? "yielded"
                                              : gone  ? "released"
                                                      : "held",
                                              "to", gone ? r->region[at->r.to] : NULL, "epoch",
                                              (json_int_t)at->r.epoch.n, "revision",
                                              (json_int_t)at->revision.n, "lapsed",
                                              (int)(c->lapsed >> at->r.region & 1)));
    }
    return list;
}

static json_t *failovers_json(const struct ctl_context *c)
{
    const struct fm_roster *r = c->ctl->c.roster;
    json_t *o = json_object();
    for (unsigned i = 0; c->set && i < r->nregions; i++) {
        const struct fm_failover *f = &c->set->fo[i];
        if (f->state == FM_FAILOVER_STEADY)
            continue;
        json_object_set_new(o, r->region[i],
                            json_pack("{s:s,s:s,s:s,s:b,s:I}", "state",
                                      fm_failover_state_name((enum fm_failover_state)f->state),
                                      "why", fm_failover_why_name((enum fm_failover_why)f->why),
                                      "why_text",
                                      fm_failover_why_text((enum fm_failover_why)f->why),
                                      "automatic", (int)f->automatic, "for_ms",
                                      (json_int_t)fm_mono_sub_ms(fm_mono_now(), f->since)));
    }
    return o;
}

static json_t *move_json(const struct ctl_context *c)
{
    const struct fm_move *m = &c->move;
    if (m->state == FM_MOVE_IDLE)
        return json_null();
    return json_pack("{s:i,s:s,s:s,s:I}", "cell", (int)m->cell, "to",
                     c->ctl->c.roster->region[m->to], "state",
                     fm_move_state_name((enum fm_move_state)m->state), "for_ms",
                     (json_int_t)fm_mono_sub_ms(fm_mono_now(), c->move_since));
}

static json_t *lease_json(const struct ctl_context *c)
{
    const struct fm_controller *ctl = c->ctl;
    const struct fm_lease_at *l = &c->auth.lease[ctl->region].at;
    json_t *subs = json_array();
    for (unsigned i = 0; i < l->r.nsubs; i++)
        json_array_append_new(subs,
                              json_string(fm_roster_host_name(ctl->c.roster, l->r.sub[i].host)));
    struct fm_mono now = fm_mono_now();
    return json_pack("{s:s,s:o,s:o,s:o,s:i,s:b,s:o}", "chain",
                     fm_chain_state_name((enum fm_chain_state)c->auth.k.state), "lease_left_ms",
                     left(c->auth.k.lease_until), "promised_left_ms",
                     left(fm_authority_holds(&c->auth) ? fm_authority_promised_until(&c->auth, now)
                                                       : FM_MONO_NEVER),
                     "acts_left_ms", left(fm_authority_until(&c->auth, now)), "life",
                     (int)l->r.life, "dead", (int)l->r.dead, "sub_lessees", subs);
}

static json_t *context_json(const struct ctl_context *c)
{
    const struct fm_authority *x = &c->auth;
    json_t *o = json_pack("{s:o,s:o,s:o,s:o,s:i,s:b,s:s?,s:b}", "own", lease_json(c), "cells",
                          cells_json(c), "failover", failovers_json(c), "move", move_json(c),
                          "automatic_left", (int)fm_authority_budget_left(x), "frozen",
                          (int)x->frozen, "unreadable", c->unreadable ? c->seen.unreadable : NULL,
                          "read_only", (int)c->policy.p.read_only);
    json_t *lapsed = json_array();
    for (unsigned r = 0; r < c->ctl->c.roster->nregions; r++)
        if (c->lapsed >> r & 1)
            json_array_append_new(lapsed, json_string(c->ctl->c.roster->region[r]));
    json_object_set_new(o, "lapsed", lapsed);
    json_object_set_new(o, "standby", ctl_standby_json(c));
    json_object_set_new(o, "loss_if_now", ctl_group_loss_json(c));
    json_object_set_new(o, "data", ctl_external_json(c));
    json_object_set_new(o, "waits_for", ctl_open_json(c));
    json_object_set_new(o, "generation", json_integer((json_int_t)ctl_generation_of(c)));
    return o;
}

static json_t *text_or_null(const char *s)
{
    return s && s[0] ? json_string(s) : json_null();
}

static json_t *event_json(const struct fm_controller *ctl, const struct ctl_event *e)
{
    char at[FM_RFC3339_LEN];
    fm_wall_format(at, e->wall_ns);
    json_t *o = json_object();
    json_object_set_new(o, "number", json_integer((json_int_t)e->number));
    json_object_set_new(o, "at", json_string(at));
    json_object_set_new(o, "what", json_string(e->what));
    json_object_set_new(o, "context", text_or_null(e->context));
    json_object_set_new(o, "object", text_or_null(e->object));
    json_object_set_new(o, "cell", e->cell < 0 ? json_null() : json_integer(e->cell));
    json_object_set_new(
        o, "region", e->region < 0 ? json_null() : json_string(ctl->c.roster->region[e->region]));
    json_object_set_new(o, "from", text_or_null(e->from));
    json_object_set_new(o, "to", text_or_null(e->to));
    json_object_set_new(o, "why", text_or_null(e->why));
    json_object_set_new(o, "text", text_or_null(e->text));
    json_object_set_new(o, "evidence", text_or_null(e->evidence));
    return o;
}

static json_t *votes_json(const struct fm_controller *ctl)
{
    const struct fm_roster *r = ctl->c.roster;
    const struct fm_vote *mine = &ctl->votes.of[ctl->self.n].vote;
    json_t *o = json_object();
    for (unsigned i = 0; i < r->nregions; i++) {
        if (!(ctl->observers >> i & 1))
            continue;
        json_t *well = json_array();
        for (unsigned c = 0; c < r->ncontexts; c++)
            if (fm_contexts_has(&mine->well[i], c))
                json_array_append_new(well, json_string(r->context[c].name));
        json_object_set_new(
            o, r->region[i],
            json_pack("{s:b,s:o}", "lost", (int)(mine->lost >> i & 1), "well", well));
    }
    return o;
}

void fm_controller_said(const struct fm_controller *ctl, struct fm_said *out)
{
    const struct fm_roster *r = ctl->c.roster;
    struct fm_mono now = fm_mono_now();
    memset(out, 0, sizeof *out);
    snprintf(out->host, sizeof out->host, "%s", fm_roster_host_name(r, ctl->c.self));
    snprintf(out->region, sizeof out->region, "%s", r->region[ctl->region]);
    snprintf(out->trouble, sizeof out->trouble, "%s", ctl->trouble);
    out->able = ctl->able;
    out->reads = ctl->revision ? ctl_store_id(ctl) : 0;
    out->marks = *fm_keep_doc(ctl->c.keep);
    for (unsigned i = 0; i < out->marks.n; i++) {
        int number = fm_roster_context(r, fm_str_z(out->marks.context[i].name));
        const struct ctl_context *c = number >= 0 ? ctl->context[number] : NULL;
        if (!c || c->conf < 0)
            continue;
        int64_t left = fm_mono_sub_ms(c->auth.k.lease_until, now);
        const struct fm_authority *x = &c->auth;
        out->context[i] = (struct fm_said_context){true, x->frozen && !x->unproven, x->unproven,
                                                   left > 0 ? left : 0};
    }
}

#define UNPROVEN                                                                                   \
    "this host knows nothing of before (it is new, or its disk was lost), and nobody who does "    \
    "renews a lease in this store: it acquires nothing; where no controller knows, `fulmar "       \
    "coordination reseed` ends this"

static const char *trouble_of(const struct fm_controller *ctl)
{
    if (ctl->trouble[0])
        return ctl->trouble;
    if (fm_keep_trouble(ctl->c.keep))
        return fm_keep_trouble(ctl->c.keep);
    bool went_back = false;
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        went_back |= ctl->context[i] && ctl->context[i]->conf >= 0 &&
                     ctl->context[i]->auth.frozen && !ctl->context[i]->auth.unproven;
    return went_back ? WENT_BACK : ctl_is_frozen(ctl) ? UNPROVEN : NULL;
}

/* Where `read` is false nothing of what follows is known. */
static json_t *coordination_json(const struct fm_controller *ctl)
{
    struct fm_coord_reach reach = {.why = ""};
    if (ctl->coord)
        reach = fm_coord_reach(ctl->coord);
    json_t *for_ms = json_null();
    if (!reach.reached && ctl->coord)
        for_ms = json_integer((json_int_t)fm_mono_sub_ms(fm_mono_now(), reach.since));
    return json_pack("{s:b,s:b,s:o,s:o}", "reached", (int)reach.reached, "read", ctl->revision > 0,
                     "unreached_ms", for_ms, "why", text_or_null(reach.why));
}

json_t *fm_controller_json(const struct fm_controller *ctl)
{
    const struct fm_roster *r = ctl->c.roster;
    const struct fm_keeper_at *k = &ctl->common.keeper[ctl->region];
    json_t *contexts = json_object(), *events = json_array();
    uint64_t n = ctl->nevents < CTL_EVENTS_MAX ? ctl->nevents : CTL_EVENTS_MAX;
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        if (ctl->context[i] && ctl->context[i]->conf >= 0)
            json_object_set_new(contexts, r->context[i].name, context_json(ctl->context[i]));
    for (uint64_t i = ctl->nevents - n; i < ctl->nevents; i++)
        json_array_append_new(events, event_json(ctl, &ctl->event[i % CTL_EVENTS_MAX]));
    const char *keeper =
        k->revision.n ? fm_roster_host_name(r, fm_roster_agent_host(r, k->r.agent)) : NULL;
    json_t *o = json_pack(
        "{s:s,s:s?,s:I,s:I,s:b,s:s?}", "office",
        ctl->able ? fm_office_state_name((enum fm_office_state)ctl->office.state) : "witness",
        "keeper", keeper, "life", (json_int_t)ctl->life.n, "revision", (json_int_t)ctl->revision,
        "frozen", (int)ctl_is_frozen(ctl), "trouble", trouble_of(ctl));
    json_object_set_new(o, "coordination", coordination_json(ctl));
    json_object_set_new(o, "generation", json_integer((json_int_t)ctl_generation(ctl)));
    json_object_set_new(o, "contexts", contexts);
    json_object_set_new(o, "intents", ctl_intents_json(ctl));
    json_object_set_new(o, "drained", ctl_drained_json(ctl));
    json_object_set_new(o, "votes", votes_json(ctl));
    json_object_set_new(o, "peers", fm_post_json(ctl->c.post));
    json_object_set_new(o, "events", events);
    return o;
}
