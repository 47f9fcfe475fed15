/* agent/said.h: what a controller says that it has seen of coordination, on the page
 * /authority/marks of its peer port. Private to src/agent, and the commands that look at all of
 * them.
 *
 *   {"schema":"fulmar.marks/1","service":"bank","host":"west-1","region":"west","able":true,
 *    "life":81,"reads":"83f0c1a2b3d4e5f6","trouble":null,
 *    "contexts":{"ledger":{"marks":{...},"acted_on":true,"frozen":false,"unproven":false,
 *                         "lease_left_ms":1480}}}
 *
 * `able`: its region may hold cells; a witness only votes. `reads` is the store that its client has
 * read last (fm_coord_store_id), null where there is none yet. `marks` is what agent/marks.h keeps
 * on the disk. A context that is not `acted_on` is one of earlier files. Members that are not known
 * are skipped. Pure, but for memory. */
#ifndef FM_AGENT_SAID_H
#define FM_AGENT_SAID_H

#include "agent/marks.h"

enum { FM_SAID_WHY_ROOM = 256 };

struct fm_said_context {
    bool acted_on, frozen, unproven; /* not both of the last two */
    int64_t lease_left_ms;           /* of the lease that it renews; 0 = none is live */
};

struct fm_said {
    char host[FM_ROSTER_NAME_ROOM], region[FM_ROSTER_NAME_ROOM];
    bool able;
    uint64_t reads; /* 0 = nothing yet */
    char trouble[FM_SAID_WHY_ROOM];
    struct fm_marks_doc marks;
    struct fm_said_context context[FM_ROSTER_CONTEXTS_MAX]; /* in the order of marks.context */
};

json_t *fm_said_json(const struct fm_roster *r, const struct fm_said *s);
/* FM_ERR_INVALID with what is wrong. A context that the roster knows with another number of cells
 * is wrong, too. */
enum fm_err fm_said_read(const struct fm_roster *r, struct fm_said *s, json_t *o,
                         struct fm_error *e) FM_WARN_UNUSED;

/* Any of its contexts is: it waits for a new seed of the store. */
bool fm_said_is_frozen(const struct fm_said *s);
/* ... or knows nothing of before, and waits for somebody who does. */
bool fm_said_is_unproven(const struct fm_said *s);

#endif
