/* core/classify.h: what a request is: command or query, and the cell that it belongs to.
 *
 * The route is known (core/match.h); this is what comes next, from method and key. Pure, any
 * thread, no heap; with a directory two cache misses, else none. */
#ifndef FM_CORE_CLASSIFY_H
#define FM_CORE_CLASSIFY_H

#include "core/cells.h"
#include "core/key.h"

/* What a route says of its requests; by default their methods say it. */
enum fm_class_as { FM_CLASS_BY_METHOD, FM_CLASS_QUERY, FM_CLASS_COMMAND };

/* A command may change state. By method: those that are listed; methods are case-sensitive (RFC
 * 9110 section 9.1). */
bool fm_class_is_command(enum fm_class_as as, const struct fm_str *commands, size_t ncommands,
                         struct fm_str method);

struct fm_class_rule {
    const struct fm_cells *cells;  /* NULL: no region holds what this is about alone */
    const struct fm_key_spec *key; /* may be NULL where there is one cell or none */
};

/* What a request is about. */
struct fm_class_place {
    /* FM_PROBLEM_NONE: the cell is known, or there is none. Else why it is not: a command must be
     * refused then, a query that any region may answer need not. */
    enum fm_problem problem;
    enum fm_cell_by by;
    uint32_t cell;
    struct fm_key key; /* n = 0: none was found, or none was looked for */
};

/* With one cell the key is taken if it is there, for what is ordered by it; nothing depends on it.
 */
void fm_class_place(const struct fm_class_rule *rule, const struct fm_key_request *rq,
                    struct fm_class_place *out);

#endif
