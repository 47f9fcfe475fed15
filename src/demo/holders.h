/* demo/holders.h: who holds what, out of the edge's /status document. Pure. */
#ifndef FM_DEMO_HOLDERS_H
#define FM_DEMO_HOLDERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FM_HOLDERS_TEXT_MAX = 96 };

/* The region that holds this cell, valid as long as the document; NULL where nobody does, or it is
 * not known. *epoch may be NULL. */
const char *fm_holders_of(const json_t *status, const char *context, unsigned cell,
                          uint64_t *epoch);

/* How many cells the context has; 0 where it is not known, or every region may write it. */
size_t fm_holders_cells(const json_t *status, const char *context);

/* Every cell of every exclusive context is held by somebody; false where there is none. */
bool fm_holders_all_held(const json_t *status);
/* No cell of any context is held by this region. */
bool fm_holders_has_nothing(const json_t *status, const char *region);

/* "west, epoch 3", of several cells "west 4, north 4"; "nobody" where nobody is known to hold it.
 */
void fm_holders_text(const json_t *status, const char *context, char out[FM_HOLDERS_TEXT_MAX]);

#endif
