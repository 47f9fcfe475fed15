/* trace/trace.h: what core's machines of an agent were asked and what they answered, as lines of
 * text, so that the same can be asked again (trace/replay.h).
 *
 *   authority 0 init now=... context=0 self.n=8 ...
 *   authority 0 step now=... kind=7 cells=1 ... => wake=... holds=1; 4 op=9 ... txn ...
 *
 * A line is: the machine, whose it is, what happens, the words of trace/text.h of all that is put
 * in, ` => ` and all that came out: actions in their order, transactions, the state. There are
 * numbers only, those of the agent's own roster; no names, no keys of requests, nothing of clients.
 * Enumerations are numbers of the program that recorded: it is that program that replays.
 *
 * A line is made after the step: `in` is what the step was given, which core does not change. Pure:
 * into memory of the caller. A line that does not fit leaves out->full. */
#ifndef FM_TRACE_TRACE_H
#define FM_TRACE_TRACE_H

#include "base/buf.h"
#include "core/authority.h"
#include "core/failover.h"
#include "core/move.h"
#include "core/office.h"

enum { FM_TRACE_LINE_MAX = 64 * 1024, FM_TRACE_CONTEXTS_MAX = 128 };

/* The first line of each life of an agent: everything of before is forgotten. */
#define FM_TRACE_FIRST "fulmar-trace 1"

/* `marks` may be NULL. */
void fm_trace_authority_init(struct fm_buf *out, const struct fm_auth_config *cfg,
                             const struct fm_marks *marks, struct fm_mono now);
/* After a reload changed what it may change of it. */
void fm_trace_authority_conf(struct fm_buf *out, const struct fm_auth_config *cfg,
                             struct fm_mono now);
/* After fm_authority_set_lease. */
void fm_trace_authority_lease(struct fm_buf *out, const struct fm_auth_config *cfg,
                              struct fm_mono now);
/* `a`: after the step. */
void fm_trace_authority_step(struct fm_buf *out, const struct fm_authority *a,
                             const struct fm_auth_event *in, struct fm_mono now,
                             const struct fm_auth_actions *acts);

void fm_trace_office_init(struct fm_buf *out, const struct fm_office_config *cfg,
                          struct fm_mono now);
/* After fm_office_set_times. */
void fm_trace_office_times(struct fm_buf *out, const struct fm_office_config *cfg,
                           struct fm_mono now);
void fm_trace_office_step(struct fm_buf *out, const struct fm_office *o,
                          const struct fm_office_event *in, struct fm_mono now, uint64_t random,
                          const struct fm_office_verdict *v);

/* A failover is that of a set of contexts, named by the first, and of the region that is lost. */
struct fm_trace_failover {
    unsigned context, region;
};
void fm_trace_failover_init(struct fm_buf *out, struct fm_trace_failover whose, struct fm_mono now);
void fm_trace_failover_step(struct fm_buf *out, struct fm_trace_failover whose,
                            const struct fm_failover *f, const struct fm_failover_policy *p,
                            const struct fm_failover_event *in, struct fm_mono now,
                            const struct fm_failover_verdict *v);

/* Of the context; `m` is the machine after the step, `cell` and `to` are what the move is about. */
void fm_trace_move_step(struct fm_buf *out, unsigned context, const struct fm_move *m,
                        const struct fm_move_policy *p, enum fm_move_event in, struct fm_mono now,
                        const struct fm_move_verdict *v);

/* -------- what came out, behind ` => `; the same for who records and who replays -------- */

void fm_trace_acts(struct fm_buf *out, const struct fm_authority *a,
                   const struct fm_auth_actions *acts);
void fm_trace_office_said(struct fm_buf *out, const struct fm_office *o,
                          const struct fm_office_verdict *v);
void fm_trace_failover_said(struct fm_buf *out, const struct fm_failover *f,
                            const struct fm_failover_verdict *v);
void fm_trace_move_said(struct fm_buf *out, const struct fm_move *m,
                        const struct fm_move_verdict *v);

#endif
