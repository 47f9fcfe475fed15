/* What nodes have said: see the header. It decides nothing, and keeps what is old: how old is too
 * old is core's. */
#include "agent/heard.h"

#include "base/assert.h"

#include <stdlib.h>

enum { FRESH_MS = 2000 };

struct word {
    unsigned host;
    struct fm_group_report report; /* at 0: there is none */
};

struct words {
    struct word of[FM_GROUP_NODES_MAX];
};

struct fm_heard {
    const struct fm_roster *roster;
    struct words *context[FM_ROSTER_CONTEXTS_MAX]; /* NULL: nobody has said anything */
};

struct fm_heard *fm_heard_new(const struct fm_roster *roster)
{
    struct fm_heard *h = calloc(1, sizeof *h);
    FM_ASSERT(roster);
    if (h)
        h->roster = roster;
    return h;
}

void fm_heard_free(struct fm_heard *h)
{
    for (unsigned i = 0; h && i < FM_ROSTER_CONTEXTS_MAX; i++)
        free(h->context[i]);
    free(h);
}

void fm_heard_take(struct fm_heard *h, unsigned context, unsigned host,
                   const struct fm_group_report *r)
{
    FM_ASSERT(context < FM_ROSTER_CONTEXTS_MAX && r->at.ns > 0);
    if (!h->context[context])
        h->context[context] = calloc(1, sizeof *h->context[context]);
    struct words *w = h->context[context];
    if (!w)
        return; /* it is said again */
    struct word *to = &w->of[0];
    for (unsigned i = 0; i < FM_COUNT(w->of); i++) {
        struct word *x = &w->of[i];
        if (x->report.at.ns && x->host == host) {
            to = x;
            break;
        }
        if (fm_mono_before(x->report.at, to->report.at))
            to = x;
    }
    to->host = host;
    to->report = *r;
}

static const struct fm_group_report *of(const struct words *w, int host)
{
    for (unsigned i = 0; w && host >= 0 && i < FM_COUNT(w->of); i++)
        if (w->of[i].report.at.ns && w->of[i].host == (unsigned)host)
            return &w->of[i].report;
    return NULL;
}

enum fm_group_health fm_heard_health(const struct fm_heard *h, const struct fm_conf *conf,
                                     unsigned context, unsigned region, struct fm_mono now)
{
    int group = fm_conf_group_of(conf, context);
    int number = fm_roster_context(h->roster, conf->contexts[context].name);
    struct fm_group_report node[FM_GROUP_NODES_MAX];
    unsigned n = 0;
    FM_ASSERT(context < conf->ncontexts && region < conf->nregions && group >= 0);
    const struct fm_conf_group *g = &conf->groups[group];
    const struct words *w = number < 0 ? NULL : h->context[number];
    for (size_t i = 0; i < g->nnodes && n < FM_COUNT(node); i++) {
        const struct fm_conf_host *host = &conf->hosts[g->nodes[i].host];
        const struct fm_group_report *r = of(w, fm_roster_find_host(h->roster, host->name));
        if (host->region == region && r)
            node[n++] = *r;
    }
    return fm_group_health(node, n, FRESH_MS, now);
}
