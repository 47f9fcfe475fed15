/* Commands wait until the data of their context are open where it is held: what this agent knows of
 * them is gathered here, and gates are told to ask again when it has changed. Whether they are open
 * is core's (opening.h). */
#include "agent/ctl.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>

static enum fm_opening of_group(const struct ctl_context *c)
{
    struct fm_group_report node[FM_GROUP_NODES_MAX];
    unsigned n = ctl_group_reports(c, node);
    const struct fm_cell_at *at = &c->auth.cell[0].at;
    uint32_t heard = 0;
    for (unsigned i = 0; i < n; i++)
        heard |= c->group->node[i].in_file ? 1u << i : 0;
    return at->revision.n ? fm_opening_of_group(&at->r, node, n, heard) : FM_OPENING_OPEN;
}

enum fm_opening ctl_opening(const struct ctl_context *c, unsigned region)
{
    FM_ASSERT(region < FM_AUTH_REGIONS_MAX);
    if (ctl_external_has(c))
        return fm_opening_of_external(&c->external->region[region].doc.record,
                                      fm_authority_epoch(&c->auth, 0));
    return c->group ? of_group(c) : FM_OPENING_OPEN;
}

void ctl_open_say(const struct ctl_context *c, unsigned host, struct fm_message *grant)
{
    enum fm_opening o = ctl_opening(c, c->ctl->region);
    grant->closed = o != FM_OPENING_OPEN;
    grant->unheard = o == FM_OPENING_UNHEARD;
    grant->must = grant->closed && !ctl_group_has(c, host); /* a database needs it to open */
}

static void say(struct ctl_context *c, enum fm_opening o, int64_t waited_ms)
{
    bool open = o == FM_OPENING_OPEN;
    struct ctl_event *e = ctl_event(c->ctl, "data", c);
    e->region = (int)c->ctl->region;
    e->from = open ? "closed" : "open";
    e->to = open ? "open" : "closed";
    e->why = fm_opening_name(o);
    e->text = open ? "commands are let in" : fm_opening_text(o);
    if (open)
        snprintf(e->evidence, sizeof e->evidence, "under epoch %llu; they waited %lld ms",
                 (unsigned long long)fm_authority_epoch(&c->auth, 0).n, (long long)waited_ms);
    else
        snprintf(e->evidence, sizeof e->evidence, "under epoch %llu; commands wait",
                 (unsigned long long)fm_authority_epoch(&c->auth, 0).n);
    fm_log(FM_LOG_INFO, open ? "commands_let_in" : "commands_wait", FM_KZ("context", e->context),
           FM_KZ("why", e->why), FM_KZ("evidence", e->evidence));
}

void ctl_open_turn(struct ctl_context *c)
{
    const struct fm_cell_at *at = &c->auth.cell[0].at;
    bool held = at->revision.n && at->r.state == FM_CELL_HELD;
    bool here = held && c->auth.keeper && fm_authority_holds(&c->auth) & ~c->auth.k.stopping;
    enum fm_opening was = (enum fm_opening)c->opening;
    enum fm_opening is = held ? ctl_opening(c, at->r.region) : FM_OPENING_OPEN;
    struct fm_mono now = fm_mono_now();
    bool changed = (was == FM_OPENING_OPEN) != (is == FM_OPENING_OPEN);
    /* what is not known yet is no news: gates go on as they were told of that epoch */
    bool closed = is == FM_OPENING_UNHEARD ? c->closed : is != FM_OPENING_OPEN;
    bool news = closed != c->closed;
    int64_t waited_ms = was == FM_OPENING_OPEN ? 0 : fm_mono_sub_ms(now, c->opening_since);
    c->opening = (uint8_t)is;
    c->opening_since = changed ? now : c->opening_since;
    c->closed = closed;
    if (!here || (!news && !changed))
        return;
    if (news)
        say(c, is, waited_ms);
    struct fm_message nudge = ctl_message(c, FM_MESSAGE_NUDGE);
    ctl_send_gates(c, &nudge); /* what they ask for is another grant from now on */
}

json_t *ctl_open_json(const struct ctl_context *c)
{
    enum fm_opening o = (enum fm_opening)c->opening;
    if (o == FM_OPENING_OPEN)
        return json_null();
    return json_pack("{s:s,s:s,s:I}", "why", fm_opening_name(o), "text", fm_opening_text(o),
                     "for_ms", (json_int_t)fm_mono_sub_ms(fm_mono_now(), c->opening_since));
}
