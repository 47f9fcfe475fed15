/* agent/agreed.h: what hosts agree upon, as a record of coordination (`config`), and as each agent
 * keeps it on its disk: the same text. Private to src/agent.
 *
 *   {"v":1,"generation":4,"digest":"9c1e...","shared":{...},"by":"ann","reason":"...",
 *    "at":"2026-11-21T14:08:42.123456Z","op":"20261121-140842-83f0c1"}
 *
 * `shared` is the document of conf/shared.h, and `digest` that of its canonical text: a record
 * whose two do not fit is none. `op` is the operation that applied it, "" for what was founded from
 * a file. As strict as http/protocol.h; pure but for
 * memory. */
#ifndef FM_AGENT_AGREED_H
#define FM_AGENT_AGREED_H

#include "agent/ops.h"
#include "conf/shared.h"
#include "core/agreed.h"

#define FM_AGREED_KEY "config"

enum { FM_AGREED_TEXT_MAX = FM_CONF_SHARED_MAX + 4096 };

struct fm_agreed {
    struct fm_agreed_mark mark;
    char *text; /* canonical, from malloc; NULL where generation is 0 */
    char by[FM_OP_BY_ROOM], reason[FM_OP_REASON_ROOM], at[FM_RFC3339_LEN], op[FM_OP_ID_ROOM];
};

/* With this text and its digest; false without memory, or where it is no JSON of such a size. Who,
 * why and when are the caller's to fill in. */
bool fm_agreed_make(struct fm_agreed *a, uint64_t generation, const char *text) FM_WARN_UNUSED;
/* For the record; with `whole` false without `shared`, for a status. NULL without memory. */
json_t *fm_agreed_json(const struct fm_agreed *a, bool whole) FM_WARN_UNUSED;
/* The canonical text of a document that somebody sent, from malloc; NULL where it is none. */
char *fm_agreed_text(const json_t *shared) FM_WARN_UNUSED;
/* False: `why` says what is wrong, and there is nothing to free. */
bool fm_agreed_read(struct fm_str text, struct fm_agreed *a, const char **why) FM_WARN_UNUSED;
bool fm_agreed_copy(struct fm_agreed *to, const struct fm_agreed *from) FM_WARN_UNUSED;
void fm_agreed_free(struct fm_agreed *a);

#endif
