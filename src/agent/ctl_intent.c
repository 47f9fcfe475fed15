/* What operators asked of regions: `drain` and `undrain` against their guards, the records of it,
 * and their end when their time is over. Edges do what it says (proxy/view_intent.h); nothing here
 * looks at or changes health, or who may write.
 *
 * Every order is judged by one state: it writes the record `intents`, too, and is not done where
 * somebody else has meanwhile. Ends are counted down by every keeper, and written by the first. */
#include "agent/ctl_order.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/log.h"
#include "proxy/view_intent.h"

#include <stdio.h>
#include <stdlib.h>

enum { AGAIN_MS = 1000, FOR_MAX_DAYS = 366 };

/* -------- what coordination has -------- */

static struct ctl_intent *find(struct fm_controller *ctl, const char *region, const char *context)
{
    for (unsigned k = 0; k < CTL_INTENTS_MAX; k++) {
        struct ctl_intent *x = &ctl->intent[k];
        if (x->used && strcmp(x->region, region) == 0 && strcmp(x->context, context) == 0)
            return x;
    }
    return NULL;
}

static struct ctl_intent *place_for(struct fm_controller *ctl, const char *region,
                                    const char *context)
{
    struct ctl_intent *x = find(ctl, region, context);
    for (unsigned k = 0; k < CTL_INTENTS_MAX && !x; k++)
        if (!ctl->intent[k].used && !ctl->intent[k].writing)
            x = &ctl->intent[k];
    if (!x || x->used)
        return x;
    *x = (struct ctl_intent){.ctl = ctl, .used = true, .until = FM_MONO_NEVER};
    x->i.serve_permille = FM_INTENT_ALL;
    snprintf(x->region, sizeof x->region, "%s", region);
    snprintf(x->context, sizeof x->context, "%s", context);
    fm_intent_key_write(region, context, x->key);
    return x;
}

static const char *intent_name(const struct fm_intent *i)
{
    return i->serve_permille < FM_INTENT_ALL ? "drain" : "serve";
}

static const char *until_text(const struct fm_intent *i, char out[FM_RFC3339_LEN])
{
    if (i->until_ms == 0)
        return NULL;
    fm_wall_format(out, i->until_ms * FM_NS_PER_MS);
    return out;
}

static void say(struct ctl_intent *x, const struct fm_intent *was)
{
    struct ctl_event *e = ctl_event(x->ctl, "intent", NULL);
    char until[FM_RFC3339_LEN];
    const char *end = until_text(&x->i, until);
    e->region = fm_roster_region(x->ctl->c.roster, fm_str_z(x->region));
    snprintf(e->context, sizeof e->context, "%s", x->context);
    e->from = intent_name(was);
    e->to = intent_name(&x->i);
    e->text = "an operator's intent, not health";
    snprintf(e->evidence, sizeof e->evidence, "%u%% of what any region may answer%s%s; by %s: %s",
             x->i.serve_permille / 10u, end ? ", until " : "", end ? end : "", x->i.by,
             x->i.reason);
    fm_log(FM_LOG_WARN, "intent", FM_KZ("region", x->region), FM_KZ("context", x->context),
           FM_KZ("intent", e->to), FM_KU("serve_permille", x->i.serve_permille),
           FM_KZ("by", x->i.by), FM_KZ("reason", x->i.reason));
}

static void take(struct fm_controller *ctl, const char *region, const char *context,
                 const struct fm_intent *i, uint64_t revision)
{
    struct ctl_intent *x = place_for(ctl, region, context);
    if (!x) {
        fm_log(FM_LOG_ERROR, "intent_left_out", FM_KZ("region", region), FM_KZ("context", context),
               FM_KZ("why", "there are too many"));
        return;
    }
    if (x->revision == revision || (x->there && x->revision > revision)) {
        x->there = true;
        return;
    }
    struct fm_intent was = x->i;
    int64_t left = fm_intent_left_ms(i, fm_wall_now_ns() / FM_NS_PER_MS);
    x->there = true;
    x->i = *i;
    x->revision = revision;
    x->until = left < 0 ? FM_MONO_NEVER : fm_mono_add_ms(fm_mono_now(), left);
    if (left >= 0)
        ctl_arm(ctl, x->until);
    if (was.serve_permille != i->serve_permille || i->serve_permille < FM_INTENT_ALL)
        say(x, &was);
    ctl->told = true;
    ctl_touch_all(ctl);
}

void ctl_intents_seen(struct fm_controller *ctl, const struct fm_coord_kv *kv)
{
    char region[FM_ROSTER_NAME_ROOM], context[FM_ROSTER_NAME_ROOM];
    struct fm_intent i;
    if (fm_str_eqz(kv->key, "intents")) {
        ctl->intents_serial = fm_max_u64(ctl->intents_serial, kv->revision);
        return;
    }
    if (!fm_intent_key_read(kv->key, region, context) || !fm_intent_read(kv->value, &i)) {
        fm_log(FM_LOG_ERROR, "intent_unreadable", FM_KS("key", kv->key),
               FM_KZ("meaning", "what was known of it goes on"));
        return;
    }
    take(ctl, region, context, &i, kv->revision);
}

void ctl_intents_fresh(struct fm_controller *ctl, bool begins)
{
    if (begins)
        ctl->intents_serial = 0;
    for (unsigned k = 0; k < CTL_INTENTS_MAX; k++) {
        struct ctl_intent *x = &ctl->intent[k];
        if (begins)
            x->there = false;
        else if (x->used && !x->there && !x->writing)
            *x = (struct ctl_intent){.used = false};
    }
}

void ctl_intents_took(struct fm_controller *ctl, const struct ctl_intended *x, uint64_t revision)
{
    FM_ASSERT(x->is && revision > 0);
    ctl->intents_serial = fm_max_u64(ctl->intents_serial, revision);
    take(ctl, x->region, x->context, &x->i, revision);
}

void ctl_intents_free(struct fm_controller *ctl)
{
    for (unsigned k = 0; k < CTL_INTENTS_MAX; k++)
        free(ctl->intent[k].value);
}

/* -------- telling -------- */

uint64_t ctl_intents_generation(const struct fm_controller *ctl)
{
    uint64_t newest = 0;
    for (unsigned k = 0; k < CTL_INTENTS_MAX; k++)
        if (ctl->intent[k].used)
            newest = fm_max_u64(newest, ctl->intent[k].revision);
    return newest;
}

bool ctl_intents_fill(const struct fm_controller *ctl, struct fm_view_doc *d)
{
    bool good = true;
    d->has_intents = true;
    d->intents_incarnation = d->incarnation;
    d->intents_generation.n = ctl_intents_generation(ctl);
    for (unsigned k = 0; k < CTL_INTENTS_MAX; k++) {
        const struct ctl_intent *x = &ctl->intent[k];
        if (x->used && x->i.serve_permille < FM_INTENT_ALL)
            good &= fm_view_intent_add(d, fm_str_z(x->region), fm_str_z(x->context),
                                       x->i.serve_permille);
    }
    return good;
}

json_t *ctl_intents_json(const struct fm_controller *ctl)
{
    json_t *list = json_array();
    for (unsigned k = 0; k < CTL_INTENTS_MAX; k++) {
        const struct ctl_intent *x = &ctl->intent[k];
        char until[FM_RFC3339_LEN];
        if (!x->used || x->i.serve_permille == FM_INTENT_ALL)
            continue;
        int64_t left = fm_mono_is_never(x->until) ? -1 : fm_mono_sub_ms(x->until, fm_mono_now());
        json_array_append_new(
            list, json_pack("{s:s,s:s?,s:s,s:i,s:s,s:s,s:s,s:s,s:s?,s:o}", "region", x->region,
                            "context", x->context[0] ? x->context : NULL, "intent",
                            intent_name(&x->i), "serve_permille", (int)x->i.serve_permille, "by",
                            x->i.by, "reason", x->i.reason, "at", x->i.at, "op", x->i.op, "until",
                            until_text(&x->i, until), "left_ms",
                            fm_mono_is_never(x->until) ? json_null()
                                                       : json_integer(left > 0 ? left : 0)));
    }
    return list;
}

/* -------- their end -------- */

static void ended(struct fm_coord_op *w)
{
    struct ctl_intent *x = w->user;
    struct fm_controller *ctl = x->ctl;
    x->writing = false;
    free(x->value);
    x->value = NULL;
    if (ctl->stopped)
        return;
    /* the watch shows what became of it; where that is nothing, it is tried again */
    x->until = fm_mono_add_ms(fm_mono_now(), AGAIN_MS);
    ctl_arm(ctl, x->until);
}

static void end(struct ctl_intent *x)
{
    struct fm_controller *ctl = x->ctl;
    struct fm_intent i = x->i;
    FM_ASSERT(!x->writing && i.serve_permille < FM_INTENT_ALL);
    i.serve_permille = FM_INTENT_ALL;
    i.until_ms = i.for_ms = 0;
    snprintf(i.by, sizeof i.by, "fulmar");
    snprintf(i.reason, sizeof i.reason, "its time is over");
    fm_wall_format(i.at, fm_wall_now_ns());
    json_t *j = fm_intent_json(&i);
    x->value = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    x->until = fm_mono_add_ms(fm_mono_now(), AGAIN_MS);
    ctl_arm(ctl, x->until);
    if (!x->value)
        return;
    x->compare = (struct fm_coord_compare){fm_str_z(x->key), x->revision};
    x->write = (struct fm_coord_write){.key = fm_str_z(x->key), .value = fm_str_z(x->value)};
    x->txn = (struct fm_coord_txn){&x->compare, 1, &x->write, 1};
    x->w.done = ended;
    x->w.user = x;
    x->writing = true;
    fm_coord_commit(ctl->coord, &x->w, &x->txn,
                    fm_mono_add_ms(fm_loop_now(ctl->c.loop), 2 * ctl->op_ms));
}

void ctl_intents_turn(struct fm_controller *ctl)
{
    struct fm_mono now = fm_mono_now();
    for (unsigned k = 0; k < CTL_INTENTS_MAX && !ctl->stopped; k++) {
        struct ctl_intent *x = &ctl->intent[k];
        if (!x->used || x->writing || fm_mono_is_never(x->until) ||
            x->i.serve_permille == FM_INTENT_ALL)
            continue;
        bool due = !fm_mono_before(now, x->until);
        if (due && ctl->coord && !ctl->closing && ctl->able && fm_office_is_keeper(&ctl->office))
            end(x);
        else
            ctl_arm(ctl, due ? fm_mono_add_ms(now, AGAIN_MS) : x->until);
    }
}

/* -------- guards -------- */

/* May any region answer something of it? */
static bool is_shared(const struct fm_conf_context *c)
{
    return c->ncells == 0 || c->queries_any;
}

static unsigned serve_of(struct fm_controller *ctl, const char *region, const char *context)
{
    const struct ctl_intent *all = find(ctl, region, ""), *one = find(ctl, region, context);
    unsigned serve = all ? all->i.serve_permille : FM_INTENT_ALL;
    return one && one->i.serve_permille < serve ? one->i.serve_permille : serve;
}

/* Not heard for a while; or, of a context that agents vote about, no gate of it can serve it. */
static bool is_lost(const struct fm_controller *ctl, struct fm_str region, struct fm_str context)
{
    int r = fm_roster_region(ctl->c.roster, region), c = fm_roster_context(ctl->c.roster, context);
    if (r < 0 || !(ctl->observers >> r & 1))
        return false;
    const struct fm_vote *mine = &ctl->votes.of[ctl->self.n].vote;
    return fm_votes_lost(&ctl->votes, (unsigned)r) ||
           (c >= 0 && ctl->context[c] && !fm_contexts_has(&mine->well[r], (unsigned)c));
}

static void text_of_name(char out[FM_ROSTER_NAME_ROOM], struct fm_str name)
{
    snprintf(out, FM_ROSTER_NAME_ROOM, "%.*s", FM_STR_ARG(name));
}

static bool overrides(const struct ctl_order *o, const char *rule)
{
    size_t i;
    const json_t *one, *list = json_object_get(o->body, "override");
    json_array_foreach(list, i, one)
    {
        if (json_is_string(one) && strcmp(json_string_value(one), rule) == 0)
            return true;
    }
    return false;
}

/* As it would be for this context after the order. */
static enum fm_intent_verdict judge(struct ctl_order *o, const struct fm_conf_context *c,
                                    uint64_t *left, uint64_t *needed)
{
    const struct fm_conf *conf = o->ctl->conf;
    struct fm_intent_region r[FM_CONF_REGIONS_MAX];
    char region[FM_ROSTER_NAME_ROOM], context[FM_ROSTER_NAME_ROOM];
    FM_ASSERT(conf->nregions <= FM_COUNT(r));
    text_of_name(context, c->name);
    for (size_t i = 0; i < conf->nregions; i++) {
        const struct fm_conf_region *cr = &conf->regions[i];
        text_of_name(region, cr->name);
        bool this_one = strcmp(region, o->intended.region) == 0;
        unsigned serve = serve_of(o->ctl, region, context);
        if (this_one && o->intended.i.serve_permille < serve)
            serve = o->intended.i.serve_permille;
        r[i] = (struct fm_intent_region){.capacity = cr->capacity_rps,
                                         .serve_permille = (uint16_t)serve,
                                         .witness = cr->witness,
                                         .lost = is_lost(o->ctl, cr->name, c->name)};
    }
    return fm_intent_judge(r, (unsigned)conf->nregions, left, needed);
}

/* Every context that the order is about; true where it may go on. */
static bool check(struct ctl_order *o, bool *unknown)
{
    const struct fm_conf *conf = o->ctl->conf;
    uint64_t left, needed;
    bool any = false;
    for (size_t i = 0; i < conf->ncontexts && !o->no.status; i++) {
        const struct fm_conf_context *c = &conf->contexts[i];
        if (!is_shared(c) || (o->intended.context[0] && !fm_str_eqz(c->name, o->intended.context)))
            continue;
        any = true;
        enum fm_intent_verdict v = judge(o, c, &left, &needed);
        *unknown |= v == FM_INTENT_UNKNOWN;
        if (v == FM_INTENT_LAST_REGION)
            ctl_refuse(&o->no, 409, "last-region", "bring another region up, or undrain one, first",
                       "nobody else would answer %.*s: the other regions are drained or lost",
                       FM_STR_ARG(c->name));
        else if (v == FM_INTENT_CAPACITY && !overrides(o, "capacity"))
            ctl_refuse(&o->no, 409, "capacity",
                       "bring another region up, undrain one, or drain a smaller share",
                       "%llu/s would be left for %.*s, and the loss of the largest region is to "
                       "leave %llu/s",
                       (unsigned long long)left, FM_STR_ARG(c->name), (unsigned long long)needed);
        else
            o->op.glass |= v == FM_INTENT_CAPACITY;
    }
    if (!any && !o->no.status)
        ctl_refuse(&o->no, 409, "nothing-to-drain",
                   "`fulmar evacuate REGION` or `fulmar move CONTEXT --to REGION` moves commands",
                   "only the holder answers here, and a drain leaves the right to write alone");
    return !o->no.status;
}

/* -------- orders -------- */

static bool take_place(struct ctl_order *o)
{
    struct fm_controller *ctl = o->ctl;
    const char *region = ctl_order_text(o, "region"), *context = ctl_order_text(o, "context");
    if (!ctl_take_region(o, "region", &o->region))
        return false;
    int at = region ? fm_conf_find_region(ctl->conf, fm_str_z(region)) : -1;
    if (at < 0)
        ctl_refuse(&o->no, 400, "malformed", "say which region of the file", "`region` is missing");
    else if (ctl->conf->regions[at].witness)
        ctl_refuse(&o->no, 409, "witness", "choose a region that serves", "%s never serves",
                   region);
    else if (context && fm_conf_find_context(ctl->conf, fm_str_z(context)) < 0)
        ctl_refuse(&o->no, 404, "unknown-context", "name a context of the file",
                   "there is no context `%s`", context);
    if (o->no.status)
        return false;
    o->op.region = o->region;
    snprintf(o->intended.region, sizeof o->intended.region, "%s", region);
    snprintf(o->intended.context, sizeof o->intended.context, "%s", context ? context : "");
    return true;
}

/* The record that is to be written. */
static void intend(struct ctl_order *o, unsigned serve_permille, int64_t for_ms)
{
    struct fm_controller *ctl = o->ctl;
    const struct ctl_intent *x = find(ctl, o->intended.region, o->intended.context);
    struct fm_intent *i = &o->intended.i;
    o->intended.is = true;
    o->intended.revision = x ? x->revision : 0;
    o->intended.serial = ctl->intents_serial;
    i->serve_permille = (uint16_t)serve_permille;
    i->for_ms = for_ms;
    i->until_ms = for_ms ? fm_wall_now_ns() / FM_NS_PER_MS + for_ms : 0;
    memcpy(i->by, o->op.by, sizeof i->by);
    memcpy(i->reason, o->op.reason, sizeof i->reason);
    memcpy(i->at, o->op.at, sizeof i->at);
    memcpy(i->op, o->op.id, sizeof i->op);
    bool room = x != NULL;
    for (unsigned k = 0; k < CTL_INTENTS_MAX && !room; k++)
        room = !ctl->intent[k].used;
    if (!room)
        ctl_refuse(&o->no, 409, "bounded", "drain whole regions", "more than %d intents",
                   CTL_INTENTS_MAX);
}

/* How many cells it holds of contexts that the order is about. */
static unsigned cells_held(const struct ctl_order *o)
{
    unsigned n = 0;
    for (unsigned k = 0; k < o->ctl->ncontexts; k++) {
        const struct ctl_context *c = o->ctl->context[k];
        const char *name = o->ctl->c.roster->context[k].name;
        if (!c || c->conf < 0 || (o->intended.context[0] && strcmp(name, o->intended.context) != 0))
            continue;
        for (unsigned i = 0; i < c->auth.cfg.ncells; i++)
            n += c->auth.cell[i].at.revision.n && c->auth.cell[i].at.r.region == o->region;
    }
    return n;
}

static void explain(struct ctl_order *o, bool unknown)
{
    struct fm_buf b = fm_buf(o->op.text, sizeof o->op.text - 1);
    const struct ctl_intended *x = &o->intended;
    char until[FM_RFC3339_LEN];
    const char *end = until_text(&x->i, until);
    unsigned held = cells_held(o);
    fm_buf_printf(&b, "%s%s%s gets %u%% of what any region may answer", x->context,
                  x->context[0] ? ": " : "", x->region, x->i.serve_permille / 10u);
    if (end)
        fm_buf_printf(&b, ", until %s", end);
    if (held)
        fm_buf_printf(&b, "; the right to write stays with it (%u cell%s): `fulmar %s %s` moves it",
                      held, held == 1 ? "" : "s", x->context[0] ? "move" : "evacuate",
                      x->context[0] ? x->context : x->region);
    if (unknown)
        fm_buf_printf(&b, "; not every region has a `capacity`: can the others carry it?");
    o->op.text[b.n] = 0;
}

void ctl_plan_drain(struct ctl_order *o)
{
    json_t *percent = json_object_get(o->body, "percent"), *ms = json_object_get(o->body, "for_ms");
    json_int_t share = percent ? json_integer_value(percent) : 100;
    json_int_t length = ms ? json_integer_value(ms) : 0;
    bool unknown = false;
    if (!take_place(o))
        return;
    if (share < 1 || share > 100 ||
        (ms && (length <= 0 || length > INT64_C(86400) * 1000 * FOR_MAX_DAYS))) {
        ctl_refuse(&o->no, 400, "malformed", "`percent` from 1 to 100, and `for_ms` up to a year",
                   "`percent` or `for_ms` is none");
        return;
    }
    intend(o, (unsigned)(100 - share) * 10, length);
    if (!o->no.status && check(o, &unknown))
        explain(o, unknown);
}

void ctl_plan_undrain(struct ctl_order *o)
{
    if (!take_place(o))
        return;
    const struct ctl_intent *x = find(o->ctl, o->intended.region, o->intended.context);
    const struct ctl_intent *all = find(o->ctl, o->intended.region, "");
    bool drained = x && x->i.serve_permille < FM_INTENT_ALL;
    o->intended.is_so = !drained;
    intend(o, FM_INTENT_ALL, 0); /* written in any case: another agent may know more */
    if (o->no.status)
        return;
    struct fm_buf b = fm_buf(o->op.text, sizeof o->op.text - 1);
    fm_buf_printf(&b, drained ? "%s%s%s gets all of its share again" : "%s%s%s is not drained",
                  o->intended.context, o->intended.context[0] ? ": " : "", o->intended.region);
    if (o->intended.context[0] && all && all->i.serve_permille < FM_INTENT_ALL)
        fm_buf_printf(&b, ", but the whole region is: `fulmar undrain %s`", o->intended.region);
    for (unsigned k = 0; k < CTL_INTENTS_MAX && !o->intended.context[0]; k++) {
        const struct ctl_intent *one = &o->ctl->intent[k];
        if (one->used && one->context[0] && strcmp(one->region, o->intended.region) == 0 &&
            one->i.serve_permille < FM_INTENT_ALL)
            fm_buf_printf(&b, "; %s still is: --context %s", one->context, one->context);
    }
    o->op.text[b.n] = 0;
}
