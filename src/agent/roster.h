/* agent/roster.h: which number a name has in this process. Private to src/agent.
 *
 * core counts regions, contexts, agents and sub-lessees; records and messages name them, since a
 * number of one process means nothing to another, whose file may list other hosts in another order.
 * Names get their numbers in the order in which they are met, in the file or in a record, and keep
 * them as long as the process lives. What a record names and this file does not know has a number,
 * too: an agent that has to promise counts whether it is known here or not.
 *
 * Bounded by the enum below; past that nothing is added (-1, false). Names are those of the
 * configuration: a letter, then letters, digits and `-`, 63 at most. One thread. */
#ifndef FM_AGENT_ROSTER_H
#define FM_AGENT_ROSTER_H

#include "base/err.h"
#include "base/str.h"
#include "core/lineage.h"
#include "core/record.h"

enum {
    FM_ROSTER_HOSTS_MAX = 2048,
    FM_ROSTER_CONTEXTS_MAX = 128,
    FM_ROSTER_NAME_ROOM = 64,
};

struct fm_roster_context {
    char name[FM_ROSTER_NAME_ROOM];
    uint8_t ncells;
    uint16_t node[FM_GROUP_NODES_MAX]; /* of its PostgreSQL group: numbers of hosts */
    unsigned nnodes;                   /* that were ever met; the number of one stays its own */
};

struct fm_roster {
    char region[FM_AUTH_REGIONS_MAX][FM_ROSTER_NAME_ROOM];
    unsigned nregions;
    struct fm_roster_context context[FM_ROSTER_CONTEXTS_MAX];
    unsigned ncontexts;
    uint16_t agent[FM_AUTH_REGIONS_MAX][FM_AGENTS_PER_REGION]; /* numbers of hosts */
    unsigned nagents[FM_AUTH_REGIONS_MAX];
    char host[FM_ROSTER_HOSTS_MAX][FM_ROSTER_NAME_ROOM];
    unsigned nhosts;
    uint16_t bucket[2 * FM_ROSTER_HOSTS_MAX]; /* number of a host + 1; 0 = free */
};

struct fm_roster *fm_roster_new(void) FM_WARN_UNUSED;
void fm_roster_free(struct fm_roster *r);

bool fm_roster_is_name(struct fm_str s);

/* -1: it is not known. Regions and contexts are those of files. */
int fm_roster_region(const struct fm_roster *r, struct fm_str name);
int fm_roster_context(const struct fm_roster *r, struct fm_str name);
int fm_roster_find_host(const struct fm_roster *r, struct fm_str name);

/* Its number, which it is given if it has none; -1 where there is no room, or it is no name. A
 * context that is known with another number of cells is refused, too. */
int fm_roster_add_region(struct fm_roster *r, struct fm_str name);
int fm_roster_add_context(struct fm_roster *r, struct fm_str name, unsigned ncells);
int fm_roster_add_host(struct fm_roster *r, struct fm_str name);
/* The number of a node of the context's PostgreSQL group, by the name of its host; -1 where it is
 * not known, or there is no room for it. */
int fm_roster_node(const struct fm_roster *r, unsigned context, struct fm_str name);
int fm_roster_add_node(struct fm_roster *r, unsigned context, struct fm_str name);
/* The agent of this name in this region. */
bool fm_roster_add_agent(struct fm_roster *r, unsigned region, struct fm_str name,
                         struct fm_agent_id *out);

/* Terminated. */
const char *fm_roster_host_name(const struct fm_roster *r, unsigned host);
/* The host of an agent that was added. */
unsigned fm_roster_agent_host(const struct fm_roster *r, struct fm_agent_id a);

#endif
