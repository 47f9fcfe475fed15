/* proxy/status.h: what a director knows, for people and for machines. Called on the control loop.
 */
#ifndef FM_PROXY_STATUS_H
#define FM_PROXY_STATUS_H

#include "proxy/director.h"

#include <jansson.h>

/* Add regions, contexts, events and totals to `root` (docs/reference/wire.md). False without
 * memory. */
bool fm_status_add(const struct fm_director *d, json_t *root) FM_WARN_UNUSED;

/* All metrics in the Prometheus text format 0.0.4, each prefixed "fulmar_<role>_". From malloc,
 * NULL without memory. */
char *fm_status_metrics(const struct fm_director *d, const char *role, size_t *n) FM_WARN_UNUSED;

#endif
