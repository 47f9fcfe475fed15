/* agent/message_group.h: the members of messages (agent/message.h) that are about PostgreSQL
 * groups: the record of a group's cell, what is to be recorded in it, and what a node says of
 * itself. Private to src/agent. Writing appends members, each with a comma before it. */
#ifndef FM_AGENT_MESSAGE_GROUP_H
#define FM_AGENT_MESSAGE_GROUP_H

#include "agent/roster.h"
#include "base/buf.h"
#include "core/lineage.h"

#include <jansson.h>

/* More than that of a history is not sent, and none is. */
enum { FM_MESSAGE_HISTORY_MAX = 8 * 1024 };

void fm_message_group_cell_write(const struct fm_roster *r, unsigned context,
                                 const struct fm_cell_at *at, struct fm_buf *b);
/* 1: it was read; 0: it names a region or a node that is not known here; -1: it is none. */
int fm_message_group_cell_read(const struct fm_roster *r, unsigned context, const json_t *o,
                               struct fm_cell_at *at) FM_WARN_UNUSED;

/* The same, 0 for a node. */
void fm_message_group_over_write(const struct fm_roster *r, unsigned context,
                                 const struct fm_cell_at *at, struct fm_buf *b);
int fm_message_group_over_read(const struct fm_roster *r, unsigned context, const json_t *o,
                               struct fm_cell_at *at) FM_WARN_UNUSED;

void fm_message_group_report_write(const struct fm_group_report *n, struct fm_str history,
                                   struct fm_buf *b);
/* `history` looks into `o`. */
bool fm_message_group_report_read(const json_t *o, struct fm_group_report *n,
                                  struct fm_str *history) FM_WARN_UNUSED;

/* For people: {"kind": "enforced", "bytes": 65536, "transactions": 1928}; the numbers are null
 * where they say nothing. */
json_t *fm_message_group_loss_json(const struct fm_credit_bound *b);

/* ... and `broken` of it: replication that is broken on purpose, to `node` (NULL: nowhere). */
void fm_message_group_apart_add(json_t *loss, const char *node, const struct fm_group_apart *a);
/* ... and `in_region`: of who would go on in the primary's own region (NULL: nobody). */
void fm_message_group_in_region_add(json_t *loss, const struct fm_credit_bound *b);

/* For people: a node of that region and zone ("": none is said), as it reported last (`at` 0:
 * never). NULL: no memory. */
json_t *fm_message_group_report_json(const char *region, const char *zone,
                                     const struct fm_group_report *n, struct fm_mono now);

#endif
