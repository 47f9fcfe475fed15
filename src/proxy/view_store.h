/* proxy/view_store.h: writing the view to disk beside the loop, since an fsync may take long.
 *
 * What is handed over is written by a thread of its own; what comes while it writes replaces what
 * waits, so there are at most two texts. A write that fails is tried again, with what is newest
 * then. Nobody waits for it: an edge holds no authority, and after a crash it starts from what it
 * had kept. Belongs to one loop. */
#ifndef FM_PROXY_VIEW_STORE_H
#define FM_PROXY_VIEW_STORE_H

#include "io/mailbox.h"
#include "proxy/view_file.h"

struct fm_view_store;

/* `keep_old` of the first write: see fm_view_file_save. The mailbox is that of the loop. */
struct fm_view_store *fm_view_store_open(struct fm_mailbox *m, const char *folder, bool keep_old,
                                         struct fm_error *e) FM_WARN_UNUSED;
/* What waits is still written. NULL is fine. */
void fm_view_store_close(struct fm_view_store *s);

/* Takes over `bytes`, from malloc. */
void fm_view_store_put(struct fm_view_store *s, char *bytes, size_t n);

/* Why the last write failed; NULL where it did not. */
const char *fm_view_store_trouble(const struct fm_view_store *s);
/* Is anything on its way to the disk? */
bool fm_view_store_is_busy(const struct fm_view_store *s);

#endif
