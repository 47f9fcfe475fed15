/* Who holds what: see the header. */
#include "demo/holders.h"

#include "base/assert.h"
#include "base/buf.h"

#include <string.h>

static const json_t *contexts_of(const json_t *status)
{
    return json_object_get(json_object_get(status, "view"), "contexts");
}

static const json_t *cells_of(const json_t *status, const char *context)
{
    return json_object_get(json_object_get(contexts_of(status), context), "cells");
}

static const char *region_of(const json_t *cell)
{
    const char *state = json_string_value(json_object_get(cell, "state"));
    if (!state || strcmp(state, "held") != 0)
        return NULL;
    return json_string_value(json_object_get(cell, "region"));
}

const char *fm_holders_of(const json_t *status, const char *context, unsigned cell, uint64_t *epoch)
{
    const json_t *c = json_array_get(cells_of(status, context), cell);
    if (epoch)
        *epoch = (uint64_t)json_integer_value(json_object_get(c, "epoch"));
    return region_of(c);
}

size_t fm_holders_cells(const json_t *status, const char *context)
{
    return json_array_size(cells_of(status, context));
}

bool fm_holders_all_held(const json_t *status)
{
    const char *name;
    json_t *context;
    size_t n = 0, held = 0;
    json_object_foreach((json_t *)(uintptr_t)contexts_of(status), name, context)
    {
        size_t i;
        json_t *cell;
        if (!json_is_true(json_object_get(context, "known")))
            return false;
        json_array_foreach(json_object_get(context, "cells"), i, cell)
        {
            n++;
            held += region_of(cell) != NULL;
        }
    }
    FM_ASSERT(held <= n);
    return n > 0 && held == n;
}

bool fm_holders_has_nothing(const json_t *status, const char *region)
{
    const char *name;
    json_t *context;
    json_object_foreach((json_t *)(uintptr_t)contexts_of(status), name, context)
    {
        size_t i;
        json_t *cell;
        json_array_foreach(json_object_get(context, "cells"), i, cell)
        {
            const char *by = region_of(cell);
            if (by && strcmp(by, region) == 0)
                return false;
        }
    }
    return true;
}

/* How many cells the holder of cell `first` holds, if none before it is his; else 0. */
static unsigned count_from(const json_t *cells, size_t first, const char *by)
{
    unsigned n = 0;
    FM_ASSERT(by && first < json_array_size(cells));
    for (size_t i = 0; i < json_array_size(cells); i++) {
        const char *other = region_of(json_array_get(cells, i));
        bool same = other && strcmp(other, by) == 0;
        if (same && i < first)
            return 0;
        n += same;
    }
    return n;
}

void fm_holders_text(const json_t *status, const char *context, char out[FM_HOLDERS_TEXT_MAX])
{
    const json_t *cells = cells_of(status, context);
    struct fm_buf b = fm_buf(out, FM_HOLDERS_TEXT_MAX - 1);
    for (size_t i = 0; i < json_array_size(cells); i++) {
        const char *by = region_of(json_array_get(cells, i));
        unsigned n = by ? count_from(cells, i, by) : 0;
        if (!n)
            continue;
        if (json_array_size(cells) == 1)
            fm_buf_printf(
                &b, "%s, epoch %lld", by,
                (long long)json_integer_value(json_object_get(json_array_get(cells, i), "epoch")));
        else
            fm_buf_printf(&b, "%s%s %u", b.n ? ", " : "", by, n);
    }
    if (b.n == 0)
        fm_buf_lit(&b, "nobody");
    out[b.n] = 0;
}
