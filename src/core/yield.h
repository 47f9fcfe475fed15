/* core/yield.h: does a keeper give up the cell of a PostgreSQL group that its region does not serve
 * any more, though the keeper itself lives (SAFETY.md 26, 30), and who is asked first to go on.
 *
 * One machine per group, at the keeper that holds its cell. The node that has claimed the epoch is
 * the one that serves under it: nobody else may, before there is another epoch. Where it is silent
 * and nothing that it was granted is live any more, or says itself that it does not serve, or
 * cannot, or does not get open in time, the keeper stops what hangs on the cell, and lets go of it
 * (FM_AUTH_YIELD). Then whoever may takes it by the rules of a forced failover, the own region
 * among them. This machine decides *whether*; that nobody acts any more when the cell is let go of
 * is core/handover.c's, whatever is decided here.
 *
 * Pure; the structure is the caller's. */
#ifndef FM_CORE_YIELD_H
#define FM_CORE_YIELD_H

#include "core/group.h"
#include "core/votes.h"

#define FM_YIELD_WHYS(X)                                                                           \
    X(NONE, "none", "")                                                                            \
    X(ABSENT, "absent", "the host of its primary is silent, and has no live sub-lease")            \
    X(SAID, "said", "the node that would serve it says that it does not")                          \
    X(UNWELL, "unwell", "the node that would serve it does not open in time")                      \
    X(ASKED, "asked", "a person has another region take it")

enum fm_yield_why {
#define X(id, name, text) FM_YIELD_WHY_##id,
    FM_YIELD_WHYS(X)
#undef X
        FM_YIELD_WHY_COUNT
};

const char *fm_yield_why_name(enum fm_yield_why w);
const char *fm_yield_why_text(enum fm_yield_why w);

struct fm_yield_policy {
    int64_t absent_ms; /* a host is silent so long before it is given up */
    int64_t unwell_ms; /* a node whose agent lives has so long to open again */
    int64_t fresh_ms;  /* older reports do not count */
    bool automatic;    /* who could go on may do so without a person */
};

/* As the keeper sees it at this moment. */
struct fm_yield_evidence {
    bool holds; /* the cell, and no planned move of it is under way */
    uint8_t region;
    const struct fm_cell_record *cell;
    const struct fm_group_report *node; /* one a node; `region` of each is filled in */
    unsigned nnodes;
    uint32_t granted; /* nodes whose hosts may have a live sub-lease, one bit each */
};

struct fm_yield {
    struct fm_epoch epoch; /* that was held when it was looked at last */
    struct fm_mono served; /* by then the cell was served under it, or it began */
};

struct fm_yield_verdict {
    uint8_t why;         /* enum fm_yield_why; NONE: it is kept */
    struct fm_mono wake; /* look again at the latest then */
};

struct fm_yield_verdict fm_yield_step(struct fm_yield *y, const struct fm_yield_policy *p,
                                      const struct fm_yield_evidence *ev, struct fm_mono now);

/* A node of that region (FM_GROUP_NOBODY: of any) that could go on with what the recorded writer
 * has left, and that bounds what was acknowledged: another one than who has claimed the epoch.
 * FM_GROUP_NOBODY. */
unsigned fm_yield_heir(const struct fm_yield_evidence *ev, int64_t fresh_ms, unsigned region,
                       struct fm_mono now);

/* Which region is asked first; `heir`: by the votes, or FM_NO_REGION. The own one where a standby
 * there bounds what was acknowledged, but for a node that lives on, which would be back first. */
unsigned fm_yield_first(const struct fm_yield_evidence *ev, enum fm_yield_why why, unsigned heir,
                        int64_t fresh_ms, struct fm_mono now);

/* Which region goes on with a cell that was given up, and that was seen so since then: the one that
 * was asked first, while it still may come; then whoever the votes name (`heir`). */
unsigned fm_yield_next(const struct fm_cell_record *c, struct fm_mono since, unsigned heir,
                       int64_t lease_ms, struct fm_mono now);

/* The cell was given up by this region, was seen so since then, and nobody has come: is the last
 * writer back here, so that it may go on itself? It has all of the data, so nobody is asked. */
bool fm_yield_is_back(const struct fm_yield_evidence *ev, struct fm_mono since, int64_t fresh_ms,
                      int64_t lease_ms, struct fm_mono now);

#endif
