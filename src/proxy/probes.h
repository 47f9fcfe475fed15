/* proxy/probes.h: asking regions how they are.
 *
 * A region with agents is asked for GET /health/deep on the peer port of each; what they say counts
 * as one sample per context (core/check.h: fm_check_fold). A region without agents is probed at its
 * applications, as `probe.app` says: a connect, a path, or not at all. Intervals come from the
 * health machines: fast while in doubt. Belongs to the control loop. */
#ifndef FM_PROXY_PROBES_H
#define FM_PROXY_PROBES_H

#include "proxy/director.h"

struct fm_probes;

struct fm_probes *fm_probes_new(struct fm_director *d, struct fm_error *e) FM_WARN_UNUSED;
/* Start over with the director's present configuration and view. */
void fm_probes_reset(struct fm_probes *p);
/* Run the loop once more before the loop goes. */
void fm_probes_free(struct fm_probes *p);

#endif
