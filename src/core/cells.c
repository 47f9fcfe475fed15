/* Cells of keys: see the header. Whatever is changed here, the vectors must stay as they are: a new
 * hash would be a new way of homes beside this one, never in place of it. */
#include "core/cells.h"

#include "base/assert.h"

/* "fulmar-c" and "ells-001" in ASCII, the first byte lowest */
static const struct fm_hash_key cell_key = {UINT64_C(0x632d72616d6c7566),
                                            UINT64_C(0x3130302d736c6c65)};

uint64_t fm_cell_hash(struct fm_str key)
{
    return fm_hash_str(cell_key, key);
}

uint32_t fm_cell_of(uint64_t hash, uint32_t cells)
{
    FM_ASSERT(cells > 0 && cells <= FM_CELLS_MAX);
    return (uint32_t)((fm_u128)hash * cells >> 64);
}

bool fm_cell_at_home(uint64_t hash, const uint8_t *home, uint32_t cells, unsigned region,
                     uint32_t *cell)
{
    FM_ASSERT(cells > 0 && cells <= FM_CELLS_MAX);
    uint64_t best = 0;
    bool found = false;
    for (uint32_t c = 0; c < cells; c++) {
        if (home[c] != region)
            continue;
        uint64_t weight = fm_mix64(hash + (c + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15));
        if (found && weight <= best)
            continue;
        best = weight;
        *cell = c;
        found = true;
    }
    return found;
}

static bool look_into(const struct fm_directory *d, struct fm_str key, uint32_t count,
                      uint32_t *cell)
{
    uint32_t found = fm_directory_find(d, key);
    if (found == FM_DIRECTORY_ABSENT)
        return false;
    FM_ASSERT(found < count);
    *cell = found;
    return true;
}

enum fm_cell_by fm_cell_find(const struct fm_cells *m, struct fm_str key, uint32_t *cell)
{
    FM_ASSERT(m->count > 0 && m->count <= FM_CELLS_MAX);
    if (m->pins && look_into(m->pins, key, m->count, cell))
        return FM_CELL_BY_PIN;
    if (m->directory)
        return look_into(m->directory, key, m->count, cell) ? FM_CELL_BY_DIRECTORY : FM_CELL_ABSENT;
    *cell = fm_cell_of(fm_cell_hash(key), m->count);
    FM_ASSERT(*cell < m->count);
    return FM_CELL_BY_HASH;
}
