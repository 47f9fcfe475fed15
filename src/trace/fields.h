/* trace/fields.h: the members that are put into core's machines, for who writes and who reads
 * lines. Private to src/trace. A member that core gains has to be added here, else a replay goes
 * another way where it counts. */
#ifndef FM_TRACE_FIELDS_H
#define FM_TRACE_FIELDS_H

#include "trace/text.h"
#include "trace/trace.h"

#define FM_TRACE_TABLE(name, n)                                                                    \
    extern const struct fm_trace_field name[];                                                     \
    enum { name##_n = (n) };

FM_TRACE_TABLE(fm_trace_cfg, 13)
FM_TRACE_TABLE(fm_trace_marks, 3) /* a list: `marks` */
FM_TRACE_TABLE(fm_trace_event, 34)
FM_TRACE_TABLE(fm_trace_snapshot, 10)
FM_TRACE_TABLE(fm_trace_lease, 7) /* a list, after the region, before its subs: `@lease` */
FM_TRACE_TABLE(fm_trace_sub, 2)
FM_TRACE_TABLE(fm_trace_cell, 18) /* a list, after the number, before its members: `@cell` */
FM_TRACE_TABLE(fm_trace_office_cfg, 4)
FM_TRACE_TABLE(fm_trace_office_event, 8)
FM_TRACE_TABLE(fm_trace_policy, 7)
FM_TRACE_TABLE(fm_trace_failover_event, 5)
FM_TRACE_TABLE(fm_trace_evidence, 20)
FM_TRACE_TABLE(fm_trace_move_policy, 6)

/* NAME=REGION,BITS,... of the regions with any. */
void fm_trace_put_members(struct fm_buf *out, const char *name, const struct fm_members *m);

#endif
