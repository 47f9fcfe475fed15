/* What operators asked of regions, hosts and instances: the records of it, and their end when their
 * time is over or a reload takes out what they are about. Edges and gates do what it says
 * (proxy/view_intent.h); nothing here looks at or changes health, or who may write.
 *
 * Every order is judged by one state: it writes the record `intents`, too, and is not done where
 * somebody else has meanwhile. Where there are many records it also erases the oldest of those that
 * ended. Ends are counted down by every keeper, and written by the first. */
#include "agent/ctl.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/log.h"
#include "proxy/view_intent.h"

#include <stdio.h>
#include <stdlib.h>

enum { AGAIN_MS = 1000, ORPHAN_MS = 15 * 60 * 1000 };

/* -------- places -------- */

struct ctl_intent *ctl_intent_find(struct fm_controller *ctl, const struct fm_intent_about *at)
{
    for (unsigned k = 0; k < CTL_INTENTS_ROOM; k++)
        if (ctl->intent[k].used && fm_intent_is_same(&ctl->intent[k].at, at))
            return &ctl->intent[k];
    return NULL;
}

static struct ctl_intent *place_for(struct fm_controller *ctl, const struct fm_intent_about *at)
{
    struct ctl_intent *x = ctl_intent_find(ctl, at);
    for (unsigned k = 0; k < CTL_INTENTS_ROOM && !x; k++)
        if (!ctl->intent[k].used && !ctl->intent[k].writing)
            x = &ctl->intent[k];
    if (!x || x->used)
        return x;
    *x = (struct ctl_intent){.ctl = ctl, .used = true, .at = *at, .until = FM_MONO_NEVER};
    x->i.serve_permille = FM_INTENT_ALL;
    fm_intent_key_write(at, x->key);
    return x;
}

static void forget(struct ctl_intent *x)
{
    x->gone = x->writing; /* its memory is lent */
    x->i.serve_permille = FM_INTENT_ALL;
    if (!x->gone)
        *x = (struct ctl_intent){.used = false};
}

/* -------- what it is about -------- */

int ctl_intent_host(const struct fm_conf *conf, const struct fm_intent_about *at)
{
    int host = at->name[0] && !at->address[0] ? fm_conf_find_host(conf, fm_str_z(at->name)) : -1;
    return host >= 0 && fm_str_eqz(conf->regions[conf->hosts[host].region].name, at->region) ? host
                                                                                             : -1;
}

const struct fm_conf_pool *ctl_intent_pool(const struct fm_conf *conf,
                                           const struct fm_intent_about *at, size_t *index)
{
    int r = at->address[0] ? fm_conf_find_region(conf, fm_str_z(at->region)) : -1;
    int p = r < 0 || conf->regions[r].witness
                ? -1
                : fm_conf_find_pool(&conf->regions[r], fm_str_z(at->name));
    if (p < 0)
        return NULL;
    const struct fm_conf_pool *pool = &conf->regions[r].pools[p];
    for (*index = 0; *index < pool->napps; (*index)++)
        if (fm_str_eqz(pool->apps[*index].text, at->address))
            return pool;
    return NULL;
}

static bool is_named(const struct fm_conf *conf, const struct fm_intent_about *at)
{
    size_t index;
    if (fm_conf_find_region(conf, fm_str_z(at->region)) < 0)
        return false;
    if (at->address[0])
        return ctl_intent_pool(conf, at, &index) != NULL;
    return !at->name[0] || fm_conf_find_context(conf, fm_str_z(at->name)) >= 0 ||
           ctl_intent_host(conf, at) >= 0;
}

/* A context, or all of them; also where the configuration does not know the name. */
static bool is_of_region(const struct fm_conf *conf, const struct fm_intent_about *at)
{
    return !at->address[0] && ctl_intent_host(conf, at) < 0;
}

const char *ctl_intent_name(const struct fm_conf *conf, const struct fm_intent_about *at,
                            char out[FM_INTENT_NAME_ROOM])
{
    if (at->address[0])
        snprintf(out, FM_INTENT_NAME_ROOM, "%s/%s/%s", at->region, at->name, at->address);
    else if (ctl_intent_host(conf, at) >= 0)
        snprintf(out, FM_INTENT_NAME_ROOM, "%s", at->name);
    else
        snprintf(out, FM_INTENT_NAME_ROOM, "%s%s%s", at->name, at->name[0] ? ": " : "", at->region);
    return out;
}

/* -------- what coordination has -------- */

static const char *intent_name(const struct fm_intent *i)
{
    return i->serve_permille < FM_INTENT_ALL ? "drain" : "serve";
}

const char *ctl_intent_until(const struct fm_intent *i, char out[FM_RFC3339_LEN])
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
    const char *end = ctl_intent_until(&x->i, until);
    bool of_region = is_of_region(x->ctl->conf, &x->at);
    char name[FM_INTENT_NAME_ROOM];
    ctl_intent_name(x->ctl->conf, &x->at, name);
    e->region = fm_roster_region(x->ctl->c.roster, fm_str_z(x->at.region));
    snprintf(of_region ? e->context : e->object, of_region ? sizeof e->context : sizeof e->object,
             "%s", of_region ? x->at.name : name);
    e->from = intent_name(was);
    e->to = intent_name(&x->i);
    e->text = "an operator's intent, not health";
    char share[64];
    snprintf(share, sizeof share, "%u%% of what any region may answer", x->i.serve_permille / 10u);
    snprintf(e->evidence, sizeof e->evidence, "%s%s%s%s; by %s: %s", of_region ? "" : e->to,
             of_region ? share : "", end ? ", until " : "", end ? end : "", x->i.by, x->i.reason);
    fm_log(FM_LOG_WARN, "intent", FM_KZ("region", x->at.region), FM_KZ("context", e->context),
           FM_KZ("object", e->object), FM_KZ("intent", e->to),
           FM_KU("serve_permille", x->i.serve_permille), FM_KZ("by", x->i.by),
           FM_KZ("reason", x->i.reason));
}

static void take(struct fm_controller *ctl, const struct fm_intent_about *at,
                 const struct fm_intent *i, uint64_t revision)
{
    struct ctl_intent *x = place_for(ctl, at);
    if (!x) {
        fm_log(FM_LOG_ERROR, "intent_left_out", FM_KZ("region", at->region),
               FM_KZ("name", at->name), FM_KZ("address", at->address),
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
    x->gone = false;
    x->named = is_named(ctl->conf, at);
    x->orphan = false;
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

void ctl_intents_seen(struct fm_controller *ctl, struct fm_str key, const struct fm_coord_kv *kv)
{
    struct fm_intent_about at;
    struct fm_intent i;
    if (fm_str_eqz(key, "intents")) {
        if (kv)
            ctl->intents_serial = fm_max_u64(ctl->intents_serial, kv->revision);
        return;
    }
    bool readable = fm_intent_key_read(key, &at);
    struct ctl_intent *x = readable ? ctl_intent_find(ctl, &at) : NULL;
    if (readable && kv && fm_intent_read(kv->value, &i))
        take(ctl, &at, &i, kv->revision);
    else if (kv)
        fm_log(FM_LOG_ERROR, "intent_unreadable", FM_KS("key", key),
               FM_KZ("meaning", "what was known of it goes on"));
    else if (x)
        forget(x);
}

void ctl_intents_fresh(struct fm_controller *ctl, bool begins)
{
    if (begins)
        ctl->intents_serial = 0;
    for (unsigned k = 0; k < CTL_INTENTS_ROOM; k++) {
        struct ctl_intent *x = &ctl->intent[k];
        if (begins)
            x->there = false;
        else if (x->used && !x->there)
            forget(x);
    }
}

void ctl_intents_took(struct fm_controller *ctl, const struct ctl_intended *x, uint64_t revision)
{
    FM_ASSERT(x->is && revision > 0);
    if (revision <= ctl->revision)
        return; /* the watch has told of it, and maybe of its end */
    ctl->intents_serial = fm_max_u64(ctl->intents_serial, revision);
    for (unsigned k = 0; k < CTL_INTENTS_ROOM; k++) {
        struct ctl_intent *y = &ctl->intent[k];
        if (y->used && strcmp(y->key, x->erase) == 0 && y->revision == x->erase_revision)
            forget(y);
    }
    take(ctl, &x->at, &x->i, revision);
}

bool ctl_intend(struct fm_controller *ctl, struct ctl_intended *o)
{
    const struct ctl_intent *x = ctl_intent_find(ctl, &o->at), *oldest = NULL;
    unsigned n = 0;
    for (unsigned k = 0; k < CTL_INTENTS_ROOM; k++) {
        const struct ctl_intent *y = &ctl->intent[k];
        n += y->used;
        if (y->used && y != x && !y->writing && !ctl_intent_drains(y) &&
            (!oldest || y->revision < oldest->revision))
            oldest = y;
    }
    o->is = true;
    o->revision = x ? x->revision : 0;
    o->serial = ctl->intents_serial;
    if (oldest && n >= CTL_INTENTS_KEPT) {
        memcpy(o->erase, oldest->key, sizeof o->erase);
        o->erase_revision = oldest->revision;
    }
    return x || oldest || n < CTL_INTENTS_MAX;
}

void ctl_intents_reset(struct fm_controller *ctl)
{
    for (unsigned k = 0; k < CTL_INTENTS_ROOM; k++) {
        struct ctl_intent *x = &ctl->intent[k];
        bool named = x->used && is_named(ctl->conf, &x->at);
        if (!ctl_intent_drains(x) || named == x->named)
            continue;
        int64_t left = fm_intent_left_ms(&x->i, fm_wall_now_ns() / FM_NS_PER_MS);
        x->orphan = x->named && !named;
        x->named = named;
        if (x->orphan && (left < 0 || left > ORPHAN_MS))
            left = ORPHAN_MS;
        x->until = left < 0 ? FM_MONO_NEVER : fm_mono_add_ms(fm_mono_now(), left);
        if (left >= 0)
            ctl_arm(ctl, x->until);
        if (x->orphan)
            fm_log(FM_LOG_WARN, "intent_dropped", FM_KZ("key", x->key), FM_KI("in_ms", left),
                   FM_KZ("why", "the configuration does not name it any more"),
                   FM_KZ("meaning", "hosts with the older file obey it until then"));
    }
}

void ctl_intents_free(struct fm_controller *ctl)
{
    for (unsigned k = 0; k < CTL_INTENTS_ROOM; k++)
        free(ctl->intent[k].value);
}

/* -------- telling -------- */

uint64_t ctl_intents_generation(const struct fm_controller *ctl)
{
    uint64_t newest = 0;
    for (unsigned k = 0; k < CTL_INTENTS_ROOM; k++)
        if (ctl->intent[k].used)
            newest = fm_max_u64(newest, ctl->intent[k].revision);
    return newest;
}

static bool add_drain(struct fm_view_doc *d, const struct ctl_intent *x)
{
    struct fm_str region = fm_str_z(x->at.region), name = fm_str_z(x->at.name);
    return x->at.address[0] ? fm_view_intent_add_instance(d, region, name, fm_str_z(x->at.address))
                            : fm_view_intent_add(d, region, name, x->i.serve_permille);
}

bool ctl_intents_fill(const struct fm_controller *ctl, struct fm_view_doc *d)
{
    bool good = true;
    d->has_intents = true;
    d->intents_incarnation = d->incarnation;
    d->intents_generation.n = ctl_intents_generation(ctl);
    for (const struct ctl_intent *x = ctl->intent; x < ctl->intent + CTL_INTENTS_ROOM; x++)
        if (ctl_intent_drains(x))
            good &= add_drain(d, x);
    return good;
}

/* What all of them have. */
static json_t *add_json(json_t *o, const struct ctl_intent *x)
{
    char until[FM_RFC3339_LEN];
    bool ever = fm_mono_is_never(x->until);
    int64_t left = ever ? 0 : fm_mono_sub_ms(x->until, fm_mono_now());
    json_t *more = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s?,s:o}", "intent", intent_name(&x->i), "by",
                             x->i.by, "reason", x->i.reason, "at", x->i.at, "op", x->i.op, "until",
                             ctl_intent_until(&x->i, until), "left_ms",
                             ever ? json_null() : json_integer(left > 0 ? left : 0));
    if (o && more)
        (void)json_object_update(o, more);
    json_decref(more);
    return o;
}

json_t *ctl_intents_json(const struct fm_controller *ctl)
{
    json_t *list = json_array();
    for (unsigned k = 0; k < CTL_INTENTS_ROOM; k++) {
        const struct ctl_intent *x = &ctl->intent[k];
        if (!ctl_intent_drains(x) || !is_of_region(ctl->conf, &x->at))
            continue;
        json_t *o = json_pack("{s:s,s:s?,s:i}", "region", x->at.region, "context",
                              x->at.name[0] ? x->at.name : NULL, "serve_permille",
                              (int)x->i.serve_permille);
        json_array_append_new(list, add_json(o, x));
    }
    return list;
}

json_t *ctl_drained_json(const struct fm_controller *ctl)
{
    json_t *list = json_array();
    for (unsigned k = 0; k < CTL_INTENTS_ROOM; k++) {
        const struct ctl_intent *x = &ctl->intent[k];
        char name[FM_INTENT_NAME_ROOM];
        bool instance = x->at.address[0];
        if (!ctl_intent_drains(x) || is_of_region(ctl->conf, &x->at))
            continue;
        json_t *o = json_pack(
            "{s:s,s:s,s:s,s:s?,s:s?,s:s?,s:b}", "object", ctl_intent_name(ctl->conf, &x->at, name),
            "region", x->at.region, "kind", instance ? "instance" : "host", "host",
            instance ? NULL : x->at.name, "pool", instance ? x->at.name : NULL, "address",
            instance ? x->at.address : NULL, "configured", (int)x->named);
        json_array_append_new(list, add_json(o, x));
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
    if (x->gone)
        forget(x);
    if (ctl->stopped || !x->used)
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
    snprintf(i.reason, sizeof i.reason, "%s",
             x->orphan ? "the configuration does not name it any more" : "its time is over");
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
    for (unsigned k = 0; k < CTL_INTENTS_ROOM && !ctl->stopped; k++) {
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
