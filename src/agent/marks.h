/* agent/marks.h: what an agent keeps on its disk of what it has seen of coordination (SAFETY.md 4),
 * as text. Private to src/agent.
 *
 *   {"v":1,"service":"bank","life":81,"contexts":{
 *     "ledger":{"store":"83f0c1a2b3d4e5f6","revision":77,"seed":1,"epochs":[3],
 *               "holders":["west"]}}}
 *
 * `life` is the number of the agent's last start. `holders` is who held each cell under its epoch,
 * null where that is not known; files of earlier versions lack it. What is read is whole or
 * refused: an agent that has forgotten what it had seen is only safe as a new host, and that is for
 * a person to say. Pure.
 */
#ifndef FM_AGENT_MARKS_H
#define FM_AGENT_MARKS_H

#include "agent/roster.h"
#include "core/authority.h"

#include <jansson.h>

enum { FM_MARKS_TEXT_MAX = 4 << 20 };

struct fm_marks_context {
    char name[FM_ROSTER_NAME_ROOM];
    uint8_t ncells;
    struct fm_marks marks;
};

struct fm_marks_doc {
    char service[FM_ROSTER_NAME_ROOM];
    uint64_t life;
    unsigned n;
    struct fm_marks_context context[FM_ROSTER_CONTEXTS_MAX]; /* also those of earlier files */
};

/* From malloc; NULL without memory. */
char *fm_marks_write(const struct fm_roster *r, const struct fm_marks_doc *d) FM_WARN_UNUSED;
/* FM_ERR_INVALID with what is wrong. A holder whose region the roster does not have is not known.
 */
enum fm_err fm_marks_read(const struct fm_roster *r, struct fm_marks_doc *d, struct fm_str text,
                          struct fm_error *e) FM_WARN_UNUSED;

/* One context as JSON, as it stands in the file; also for what agents say of themselves. */
json_t *fm_marks_context_json(const struct fm_roster *r, const struct fm_marks_context *c);
/* Into its place in `d`; false where it is none, or there is no room. */
bool fm_marks_context_read(const struct fm_roster *r, struct fm_marks_doc *d, const char *name,
                           json_t *o) FM_WARN_UNUSED;

/* The place of a context, made where there is none; NULL where there is no room. */
struct fm_marks_context *fm_marks_place(struct fm_marks_doc *d, struct fm_str name,
                                        unsigned ncells);

#endif
