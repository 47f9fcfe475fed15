/* core/cells.h: from the key of a request to the cell that it belongs to.
 *
 * A context has N cells, 0 to N-1. A key that is pinned belongs to its pin's cell; any other to the
 * cell by its hash, or, with a directory, to the cell that the directory names, and to none where
 * it is not in it. Keys are bytes, compared exactly. Pure, O(1), any thread.
 *
 * The hash is a *persistent contract*: every edge and gate of every version must name the same cell
 * for a key, or two regions would both be right. It is SipHash-1-3 under a fixed, public key and
 * does not depend on context, service or host. The vectors in tests/unit/core/test_cells.c hold it
 * still; docs/reference/cells.md gives it to other programs. Keys that somebody chooses on purpose
 * can crowd one cell; that costs balance, never correctness (pin them elsewhere). */
#ifndef FM_CORE_CELLS_H
#define FM_CORE_CELLS_H

#include "core/directory.h"

enum { FM_CELLS_MAX = FM_DIRECTORY_CELLS_MAX };

uint64_t fm_cell_hash(struct fm_str key);

/* The part of the range of 64 bits, cut into `cells` equal parts, that a hash falls into. */
uint32_t fm_cell_of(uint64_t hash, uint32_t cells);

/* The cell of a key that was given a region instead of a cell: one of those that have their home in
 * this region, by rendezvous, so that a cell that comes or goes moves only its own keys. `home` has
 * the region of each of the `cells`. False where no cell is at home there. O(cells): for loading,
 * not for requests. */
bool fm_cell_at_home(uint64_t hash, const uint8_t *home, uint32_t cells, unsigned region,
                     uint32_t *cell);

/* How one context finds its cells. */
struct fm_cells {
    uint32_t count;                       /* 1 for active-passive: then the key is of no account */
    const struct fm_directory *pins;      /* NULL = none */
    const struct fm_directory *directory; /* NULL = by hash */
};

enum fm_cell_by { FM_CELL_BY_HASH, FM_CELL_BY_PIN, FM_CELL_BY_DIRECTORY, FM_CELL_ABSENT };

/* How the cell was found; *cell is set unless it is absent. A pin or a directory that names a cell
 * beyond `count` was built for another configuration: that breaks an assertion. */
enum fm_cell_by fm_cell_find(const struct fm_cells *m, struct fm_str key, uint32_t *cell);

#endif
