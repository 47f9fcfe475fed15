/* agent/checks.h: the dependency checks of a region, run continuously, each on its own interval.
 *
 * Types: tcp, http, redis, dns, tls, command (docs/reference/configuration.md). A check never
 * overlaps itself; one that does not end in time has failed. What results mean is core/check.h's.
 * Belongs to the control loop. */
#ifndef FM_AGENT_CHECKS_H
#define FM_AGENT_CHECKS_H

#include "conf/conf.h"
#include "io/resolve.h"

#include <jansson.h>

struct fm_checks;

struct fm_checks *fm_checks_new(struct fm_loop *l, struct fm_resolver *r,
                                const struct fm_conf *conf, unsigned region,
                                struct fm_error *e) FM_WARN_UNUSED;
/* Use another configuration instead; checks of the same name keep their state. Out of memory some
 * are missing, and count as bad. */
enum fm_err fm_checks_reset(struct fm_checks *c, const struct fm_conf *conf, unsigned region,
                            struct fm_error *e) FM_WARN_UNUSED;
/* After the resolver was freed; runs the loop once more. */
void fm_checks_free(struct fm_checks *c);

/* All that this context needs is good. Else *why (static storage of the checks, until the next
 * call) names the first check that is not, and what it said. */
bool fm_checks_capable(struct fm_checks *c, const struct fm_conf_context *context,
                       const char **why);

/* {"card-network": {"type": "http", "state": "good", "age_ms": 120, ...}, ...} */
json_t *fm_checks_json(const struct fm_checks *c);

#endif
