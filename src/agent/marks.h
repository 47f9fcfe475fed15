/* agent/marks.h: what an agent keeps on its disk of what it has seen of coordination (SAFETY.md 4),
 * as text. Private to src/agent.
 *
 *   {"v":1,"service":"bank","life":81,"contexts":{
 *     "ledger":{"store":"83f0c1a2b3d4e5f6","revision":77,"seed":1,"epochs":[3]}}}
 *
 * `life` is the number of the agent's last start. What is read is whole or refused: an agent that
 * has forgotten what it had seen is only safe as a new host, and that is for a person to say. Pure.
 */
#ifndef FM_AGENT_MARKS_H
#define FM_AGENT_MARKS_H

#include "agent/roster.h"
#include "core/authority.h"

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
char *fm_marks_write(const struct fm_marks_doc *d) FM_WARN_UNUSED;
/* FM_ERR_INVALID with what is wrong. */
enum fm_err fm_marks_read(struct fm_marks_doc *d, struct fm_str text,
                          struct fm_error *e) FM_WARN_UNUSED;

/* The place of a context, made where there is none; NULL where there is no room. */
struct fm_marks_context *fm_marks_place(struct fm_marks_doc *d, struct fm_str name,
                                        unsigned ncells);

#endif
