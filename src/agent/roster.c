/* Names and numbers: see the header. Invariant: a number, once given, names the same for ever. */
#include "agent/roster.h"

#include "base/assert.h"
#include "base/hash.h"

#include <stdlib.h>

struct fm_roster *fm_roster_new(void)
{
    return calloc(1, sizeof(struct fm_roster));
}

void fm_roster_free(struct fm_roster *r)
{
    free(r);
}

bool fm_roster_is_name(struct fm_str s)
{
    if (s.n == 0 || s.n >= FM_ROSTER_NAME_ROOM || s.p[0] < 'a' || s.p[0] > 'z')
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-')
            return false;
    }
    return true;
}

static void put(char to[FM_ROSTER_NAME_ROOM], struct fm_str name)
{
    FM_ASSERT(name.n < FM_ROSTER_NAME_ROOM);
    memcpy(to, name.p, name.n);
    to[name.n] = 0;
}

int fm_roster_region(const struct fm_roster *r, struct fm_str name)
{
    for (unsigned i = 0; i < r->nregions; i++)
        if (fm_str_eqz(name, r->region[i]))
            return (int)i;
    return -1;
}

int fm_roster_context(const struct fm_roster *r, struct fm_str name)
{
    for (unsigned i = 0; i < r->ncontexts; i++)
        if (fm_str_eqz(name, r->context[i].name))
            return (int)i;
    return -1;
}

/* The bucket that holds the name, or the free one where it belongs. */
static unsigned bucket_of(const struct fm_roster *r, struct fm_str name)
{
    static const struct fm_hash_key key = {0x666d726f73746572, 0};
    unsigned at = (unsigned)(fm_hash_str(key, name) % FM_COUNT(r->bucket));
    while (r->bucket[at] && !fm_str_eqz(name, r->host[r->bucket[at] - 1]))
        at = (at + 1) % FM_COUNT(r->bucket);
    return at;
}

int fm_roster_find_host(const struct fm_roster *r, struct fm_str name)
{
    return (int)r->bucket[bucket_of(r, name)] - 1;
}

int fm_roster_add_region(struct fm_roster *r, struct fm_str name)
{
    int found = fm_roster_region(r, name);
    if (found >= 0 || r->nregions == FM_AUTH_REGIONS_MAX || !fm_roster_is_name(name))
        return found;
    put(r->region[r->nregions], name);
    return (int)r->nregions++;
}

int fm_roster_add_context(struct fm_roster *r, struct fm_str name, unsigned ncells)
{
    FM_ASSERT(ncells > 0 && ncells <= FM_AUTH_CELLS_MAX);
    int found = fm_roster_context(r, name);
    if (found >= 0)
        return r->context[found].ncells == ncells ? found : -1;
    if (r->ncontexts == FM_ROSTER_CONTEXTS_MAX || !fm_roster_is_name(name))
        return -1;
    put(r->context[r->ncontexts].name, name);
    r->context[r->ncontexts].ncells = (uint8_t)ncells;
    return (int)r->ncontexts++;
}

int fm_roster_add_host(struct fm_roster *r, struct fm_str name)
{
    unsigned at = bucket_of(r, name);
    if (r->bucket[at])
        return (int)r->bucket[at] - 1;
    if (r->nhosts == FM_ROSTER_HOSTS_MAX || !fm_roster_is_name(name))
        return -1;
    put(r->host[r->nhosts], name);
    r->bucket[at] = (uint16_t)(++r->nhosts);
    return (int)r->nhosts - 1;
}

int fm_roster_node(const struct fm_roster *r, unsigned context, struct fm_str name)
{
    FM_ASSERT(context < r->ncontexts);
    const struct fm_roster_context *c = &r->context[context];
    for (unsigned i = 0; i < c->nnodes; i++)
        if (fm_str_eqz(name, r->host[c->node[i]]))
            return (int)i;
    return -1;
}

int fm_roster_add_node(struct fm_roster *r, unsigned context, struct fm_str name)
{
    int found = fm_roster_node(r, context, name);
    struct fm_roster_context *c = &r->context[context];
    int host = found < 0 && c->nnodes < FM_COUNT(c->node) ? fm_roster_add_host(r, name) : -1;
    if (found >= 0 || host < 0)
        return found;
    c->node[c->nnodes] = (uint16_t)host;
    return (int)c->nnodes++;
}

bool fm_roster_add_agent(struct fm_roster *r, unsigned region, struct fm_str name,
                         struct fm_agent_id *out)
{
    FM_ASSERT(region < r->nregions);
    int host = fm_roster_add_host(r, name);
    if (host < 0)
        return false;
    unsigned i = 0;
    while (i < r->nagents[region] && r->agent[region][i] != host)
        i++;
    if (i == FM_AGENTS_PER_REGION)
        return false;
    if (i == r->nagents[region])
        r->agent[region][r->nagents[region]++] = (uint16_t)host;
    *out = (struct fm_agent_id){(uint8_t)(region * FM_AGENTS_PER_REGION + i)};
    return true;
}

const char *fm_roster_host_name(const struct fm_roster *r, unsigned host)
{
    FM_ASSERT(host < r->nhosts);
    return r->host[host];
}

unsigned fm_roster_agent_host(const struct fm_roster *r, struct fm_agent_id a)
{
    unsigned region = fm_agent_region(a), i = a.n % FM_AGENTS_PER_REGION;
    FM_ASSERT(region < r->nregions && i < r->nagents[region]);
    return r->agent[region][i];
}
