/* core/match.h: which route a request belongs to.
 *
 * The most specific rule wins, not the first: first the host (a name, then *.name with the longer
 * name first, then any), then the path segment by segment (a literal, then {name}, then **), then
 * the method (listed, then any). Whoever builds the table has refused rules that tie.
 *
 * The table is a tree of segments over memory of the caller's; it is built once and never changes.
 * A look-up is pure, may run in any thread, and costs as much as the path is deep, however many
 * rules there are. Strings of the rules are referenced and must outlive the table. */
#ifndef FM_CORE_MATCH_H
#define FM_CORE_MATCH_H

#include "base/hash.h"

enum { FM_MATCH_SEGMENTS_MAX = 32, FM_MATCH_HOST_MAX = 253 };

enum fm_segment_kind { FM_SEGMENT_LITERAL, FM_SEGMENT_NAMED, FM_SEGMENT_REST };

struct fm_segment {
    enum fm_segment_kind kind;
    struct fm_str text; /* of a literal */
};

struct fm_match_rule {
    struct fm_str host;                /* lower case; empty = any; "*.x" = any name below x */
    const struct fm_segment *segments; /* ** is the last, if it is there */
    unsigned nsegments;
    const struct fm_str *methods; /* none = any */
    unsigned nmethods;
    unsigned route; /* what a look-up gives back */
};

struct fm_match;

/* Bytes that a table of these rules needs. */
size_t fm_match_size(const struct fm_match_rule *rules, unsigned n);
/* `mem` is aligned for pointers. `key` protects the hash table of literals. */
struct fm_match *fm_match_build(void *mem, const struct fm_match_rule *rules, unsigned n,
                                struct fm_hash_key key);

struct fm_match_query {
    struct fm_str host; /* without port, any case */
    struct fm_str method;
    struct fm_str path; /* normalised; "*" matches only a rule of one ** segment */
};

struct fm_match_result {
    unsigned nsegments; /* of the path */
    bool deeper;        /* it has more than fit: only ** takes them */
    struct fm_str segment[FM_MATCH_SEGMENTS_MAX];
    unsigned route;
    bool found;
    bool method_mismatch; /* the path has routes, but none for this method */
};

void fm_match_find(const struct fm_match *m, const struct fm_match_query *q,
                   struct fm_match_result *out);

#endif
