/* What is known of data that Fulmar does not run itself, for people: documents and metrics. Nothing
 * is changed. */
#include "agent/ctl.h"

#include "base/assert.h"
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

static json_t *lag_json(const struct ctl_external_region *r)
{
    const struct fm_external_lag *l = &r->doc.lag;
    if (!r->revision || !fm_external_lag_is_known(l))
        return json_null();
    int64_t ago_ms = ctl_external_age_ms(r) + r->doc.lag_age_ms;
    return json_pack("{s:o,s:o,s:I}", "bytes",
                     l->has_bytes ? json_integer((json_int_t)l->bytes) : json_null(), "ms",
                     l->has_ms ? json_integer((json_int_t)l->ms) : json_null(), "measured_ms_ago",
                     (json_int_t)ago_ms);
}

static json_t *region_json(const struct ctl_context *c, unsigned i)
{
    const struct ctl_external_region *r = &c->external->region[i];
    const struct fm_external_doc *d = &r->doc;
    const char *role = fm_external_role_name((enum fm_external_role)d->status.role);
    return json_pack("{s:s?,s:o,s:o,s:s,s:I,s:b,s:o,s:o,s:s?}", "role", d->known ? role : NULL,
                     "writable", d->known ? json_boolean(d->status.writable) : json_null(),
                     "healthy", d->known ? json_boolean(d->status.healthy) : json_null(), "stage",
                     fm_external_stage_name((enum fm_external_stage)d->record.stage), "epoch",
                     (json_int_t)d->record.epoch.n, "open", (int)ctl_external_is_open(c, i), "lag",
                     lag_json(r), "heard_ms_ago",
                     r->revision ? json_integer((json_int_t)ctl_external_age_ms(r)) : json_null(),
                     "trouble", d->trouble[0] ? d->trouble : NULL);
}

json_t *ctl_external_regions_json(const struct ctl_context *c)
{
    const struct fm_controller *ctl = c->ctl;
    json_t *regions = json_object();
    for (unsigned r = 0; ctl_external_of(c) && r < ctl->c.roster->nregions; r++)
        if (ctl->holders >> r & 1)
            json_object_set_new(regions, ctl->c.roster->region[r], region_json(c, r));
    return regions;
}

json_t *ctl_external_loss_json(const struct fm_external_estimate *x)
{
    return json_pack(
        "{s:s,s:o,s:o,s:o}", "kind",
        fm_credit_kind_name(x->known ? FM_CREDIT_ESTIMATE : FM_CREDIT_UNBOUNDED), "bytes",
        x->known && x->has_bytes ? json_integer((json_int_t)x->bytes) : json_null(), "ms",
        x->known ? json_integer((json_int_t)x->ms) : json_null(), "transactions", json_null());
}

/* Of the commands that this agent ran: how each of them ended last. */
static json_t *commands_json(const struct ctl_external *e)
{
    json_t *all = json_object();
    for (unsigned i = FM_EXTERNAL_ASKING; i < FM_EXTERNAL_STATE_COUNT; i++) {
        const struct ctl_external_ran *x = &e->ran[i];
        if (x->has)
            json_object_set_new(all, fm_external_state_name((enum fm_external_state)i),
                                json_pack("{s:b,s:s,s:I,s:I}", "ok", (int)x->ok, "why", x->why,
                                          "took_ms", (json_int_t)x->took_ms, "ago_ms",
                                          (json_int_t)fm_mono_sub_ms(fm_mono_now(), x->at)));
    }
    return all;
}

json_t *ctl_external_json(const struct ctl_context *c)
{
    const struct ctl_external *e = ctl_external_of(c);
    if (!e)
        return json_null();
    const char *runs = fm_external_state_name((enum fm_external_state)e->x.state);
    return json_pack("{s:s,s:b,s:b,s:s?,s:o}", "region", c->ctl->c.roster->region[c->ctl->region],
                     "keeper", (int)e->in_office, "open",
                     (int)ctl_external_is_open(c, c->ctl->region), "runs",
                     e->x.state == FM_EXTERNAL_IDLE ? NULL : runs, "commands", commands_json(e));
}

static struct fm_str name_of(const struct ctl_context *c)
{
    FM_ASSERT(ctl_external_has(c));
    return c->ctl->conf->groups[fm_conf_group_of(c->ctl->conf, (unsigned)c->conf)].name;
}

/* The lines of one name stand together. */
static void add_metric(const struct fm_controller *ctl, struct fm_buf *b, bool bytes)
{
    for (unsigned i = 0; i < ctl->ncontexts; i++) {
        const struct ctl_context *c = ctl->context[i];
        if (!c || !ctl_external_of(c))
            continue;
        struct fm_external_estimate e = ctl_external_loss_if_now(c);
        struct fm_str name = name_of(c);
        if (e.known && bytes && e.has_bytes)
            fm_buf_printf(b, "fulmar_group_estimated_loss_bytes{group=\"%.*s\"} %llu\n",
                          FM_STR_ARG(name), (unsigned long long)e.bytes);
        else if (e.known && !bytes)
            fm_buf_printf(b, "fulmar_group_estimated_loss_seconds{group=\"%.*s\"} %lld.%03d\n",
                          FM_STR_ARG(name), (long long)(e.ms / 1000), (int)(e.ms % 1000));
    }
}

bool fm_controller_metrics(const struct fm_controller *ctl, char **text, size_t *n)
{
    enum { ROOM = 1024, EACH = 512 };
    size_t room = ROOM + ctl->ncontexts * EACH;
    char *more = realloc(*text, *n + room);
    if (!more)
        return false;
    *text = more;
    struct fm_buf b = fm_buf(more + *n, room);
    fm_buf_lit(&b,
               "# HELP fulmar_group_estimated_loss_seconds Of data by hooks: what was written in "
               "so much time would be lost with its region now; none where nothing is known\n"
               "# TYPE fulmar_group_estimated_loss_seconds gauge\n");
    add_metric(ctl, &b, false);
    fm_buf_lit(&b, "# HELP fulmar_group_estimated_loss_bytes The same, as it was measured last\n"
                   "# TYPE fulmar_group_estimated_loss_bytes gauge\n");
    add_metric(ctl, &b, true);
    FM_ASSERT(!b.full);
    *n += b.n;
    return true;
}
