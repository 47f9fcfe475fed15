/* agent/deep.h: what an agent's host can do of each context, by its checks and by the instances
 * that its gate reaches, or, of one that is only a database, by what the nodes of its region say:
 * GET /health/deep, and whether it may take over. Private to src/agent.
 *
 * Looks and owns nothing; the loop's thread. */
#ifndef FM_AGENT_DEEP_H
#define FM_AGENT_DEEP_H

#include "agent/checks.h"
#include "agent/rights.h"
#include "proxy/director.h"

struct fm_deep {
    const struct fm_conf *conf;
    struct fm_checks *checks;       /* role health; else NULL */
    struct fm_director *director;   /* role gate; else NULL */
    const struct fm_rights *rights; /* NULL: it is not told of any nodes */
    unsigned region;
    const char *host, *region_name;
};

/* Can this host serve the context? Else *why. */
bool fm_deep_is_capable(const struct fm_deep *x, unsigned context, const char **why);

/* All contexts, or the one that was asked for (`only`.n > 0); *ok when all of them are capable. */
json_t *fm_deep_json(const struct fm_deep *x, struct fm_str only, bool *ok, bool *found);

#endif
