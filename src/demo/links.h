/* demo/links.h: how the places of the demonstration reach each other: for each way from one to
 * another a fault proxy (io/fault.h), all on one thread of their own, so that a network that works
 * goes on while somebody draws. Times in milliseconds. Errors: those of a listener, FM_ERR_LIMIT.
 */
#ifndef FM_DEMO_LINKS_H
#define FM_DEMO_LINKS_H

#include "io/fault.h"

enum { FM_LINKS_MAX = 256 };

/* Who dials `at` reaches `to`. Places are numbers of the caller. */
struct fm_link {
    unsigned from, into;
    struct fm_addr at, to;
    bool data; /* what replicates goes here */
};

struct fm_links;

/* Copies what it is given. They are well until told otherwise. */
struct fm_links *fm_links_start(const struct fm_link *link, size_t n,
                                struct fm_error *e) FM_WARN_UNUSED;
/* NULL is fine. */
void fm_links_stop(struct fm_links *l);

/* The ways between place `a` and all others that are in `others` (a bit each), in both directions,
 * whoever dialled. It has happened when this returns. */
void fm_links_set(struct fm_links *l, unsigned a, uint32_t others, const struct fm_fault_rule *r);
/* All ways of data, and no others. */
void fm_links_set_data(struct fm_links *l, const struct fm_fault_rule *r);
/* All is well again. */
void fm_links_heal(struct fm_links *l);

/* Connections now. */
unsigned fm_links_connections(struct fm_links *l);

#endif
