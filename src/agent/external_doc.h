/* agent/external_doc.h: what the commands of `groups.NAME.hooks` print, and what is recorded of it.
 * Private to src/agent. Nothing is owned.
 *
 * A command answers with one JSON object on the last line that begins with `{`; what it prints
 * before is for people. Members that are not known are passed over:
 *
 *   status   {"role": "primary" | "secondary", "writable": true, "healthy": true}
 *            `healthy` may be left out (true)
 *   lag      {"bytes": 0, "seconds": 0.0}    one of them at least; null = not known
 *
 * `read-only`, `promote` and `fence` have nothing to say: they ended with 0, or failed. */
#ifndef FM_AGENT_EXTERNAL_DOC_H
#define FM_AGENT_EXTERNAL_DOC_H

#include "base/err.h"
#include "base/str.h"
#include "core/external.h"

#include <jansson.h>

/* INVALID: the error says what is wrong with it. */
enum fm_err fm_external_doc_status(const char *output, struct fm_external_status *s,
                                   struct fm_error *e) FM_WARN_UNUSED;
enum fm_err fm_external_doc_lag(const char *output, struct fm_external_lag *l,
                                struct fm_error *e) FM_WARN_UNUSED;

enum { FM_EXTERNAL_TROUBLE_ROOM = 240 };

/* What coordination has of one region. */
struct fm_external_doc {
    struct fm_external_record record;
    bool known; /* there was a status */
    struct fm_external_status status;
    struct fm_external_lag lag;
    int64_t lag_age_ms; /* when it was recorded ... */
    int64_t wall_ms;    /* ... which was then, by the clock of who did; 0 = not said */
    char trouble[FM_EXTERNAL_TROUBLE_ROOM]; /* the command that failed, and how; "" = none has */
};

json_t *fm_external_doc_make(const struct fm_external_doc *d) FM_WARN_UNUSED;
bool fm_external_doc_read(struct fm_str text, struct fm_external_doc *d) FM_WARN_UNUSED;

#endif
