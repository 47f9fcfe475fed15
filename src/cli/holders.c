/* Who holds what, as a table: see the header. Cells of the same holder and state share a line. */
#include "cli/holders.h"

#include "base/assert.h"
#include "base/buf.h"

#include <stdio.h>
#include <string.h>

enum { CELLS_TEXT = 64 };

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static long long number_of(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

void fm_print_view(const json_t *view)
{
    const json_t *file = json_object_get(view, "file"), *age = json_object_get(view, "age_ms");
    if (!view)
        return;
    if (!json_is_true(json_object_get(view, "known"))) {
        puts("view: none yet; commands that only one region may take wait");
    } else {
        printf("view: generation %lld of incarnation %lld, ", number_of(view, "generation"),
               number_of(view, "incarnation"));
        if (json_is_true(json_object_get(view, "stored")))
            printf("from this host's disk");
        else
            printf("from %s", text_of(view, "from"));
        if (json_is_null(age))
            puts("; no agent has answered yet");
        else
            printf("; an agent answered %.1f s ago\n", (double)json_integer_value(age) / 1000.0);
    }
    if (text_of(view, "misfit")[0])
        printf("view: REFUSED: %s\n", text_of(view, "misfit"));
    if (text_of(file, "refused")[0])
        printf("view: the file on disk was refused at the start: %s\n", text_of(file, "refused"));
    if (text_of(file, "trouble")[0])
        printf("view: not kept on disk: %s\n", text_of(file, "trouble"));
}

static bool same(const json_t *a, const json_t *b)
{
    return strcmp(text_of(a, "region"), text_of(b, "region")) == 0 &&
           strcmp(text_of(a, "state"), text_of(b, "state")) == 0 &&
           json_is_true(json_object_get(a, "lapsed")) == json_is_true(json_object_get(b, "lapsed"));
}

/* "0-2,5,7+": the cells like this one, from it on; what does not fit is said by "+". */
static void cells_like(const json_t *cells, size_t from, char out[CELLS_TEXT], long long *least,
                       long long *most)
{
    const json_t *like = json_array_get(cells, from);
    struct fm_buf b = fm_buf(out, CELLS_TEXT - 2);
    size_t n = json_array_size(cells), used = 0;
    *least = *most = number_of(like, "epoch");
    for (size_t i = from; i < n; i++) {
        size_t first = i;
        while (i < n && same(json_array_get(cells, i), like)) {
            long long epoch = number_of(json_array_get(cells, i), "epoch");
            *least = epoch < *least ? epoch : *least;
            *most = epoch > *most ? epoch : *most;
            i++;
        }
        if (i == first)
            continue;
        fm_buf_printf(&b, i == first + 1 ? "%s%zu" : "%s%zu-%zu", first > from ? "," : "", first,
                      i - 1);
        used = b.full ? used : b.n;
    }
    if (b.full)
        out[used++] = '+';
    out[used] = 0;
}

static bool told_before(const json_t *cells, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (same(json_array_get(cells, i), json_array_get(cells, at)))
            return true;
    return false;
}

static void print_cells(const char *name, const json_t *context, const char *only)
{
    const json_t *cells = json_object_get(context, "cells");
    for (size_t i = 0; i < json_array_size(cells); i++) {
        const json_t *cell = json_array_get(cells, i);
        const char *holder = text_of(cell, "region");
        if (told_before(cells, i) || (only && strcmp(only, name) != 0 && strcmp(only, holder) != 0))
            continue;
        char which[CELLS_TEXT], epochs[48];
        long long least, most;
        cells_like(cells, i, which, &least, &most);
        snprintf(epochs, sizeof epochs, least == most ? "%lld" : "%lld-%lld", least, most);
        printf("%-16s %-20s %-12s %-9s %-9s %s%s%s\n", name, which, holder[0] ? holder : "nobody",
               text_of(cell, "state"), epochs,
               json_is_true(json_object_get(cell, "lapsed")) ? "its lease has lapsed; " : "",
               json_is_true(json_object_get(context, "read_only")) ? "read-only: " : "",
               text_of(context, "message"));
    }
}

void fm_print_holders(const json_t *view, const char *only)
{
    const char *name;
    json_t *c;
    if (json_object_size(json_object_get(view, "contexts")) == 0)
        return;
    printf("\n%-16s %-20s %-12s %-9s %-9s %s\n", "CONTEXT", "CELLS", "HOLDER", "STATE", "EPOCH",
           "MODE");
    json_object_foreach(json_object_get(view, "contexts"), name, c)
    {
        if (json_is_true(json_object_get(c, "known")))
            print_cells(name, c, only);
        else if (!only || strcmp(only, name) == 0)
            printf("%-16s %-20s %-12s\n", name, "-", "unknown");
    }
}
