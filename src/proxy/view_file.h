/* proxy/view_file.h: the view on the disk of a host, so that it serves from it when nobody answers
 * (DESIGN.md invariant 6).
 *
 * Two files in the state folder: `view`, and `view.old`, the one before it. Each is a head of fixed
 * length (kind, version, number of bytes, SipHash-1-3 of them) and a document (proxy/view_doc.h)
 * without what a region has found. Replaced atomically; a file that is torn or changed is refused
 * whole. The sum finds damage and careless hands, it keeps nobody out who may write there.
 * Blocking: for start and for the thread of proxy/view_store.h, never from a loop. Errors: struct
 * fm_error. */
#ifndef FM_PROXY_VIEW_FILE_H
#define FM_PROXY_VIEW_FILE_H

#include "proxy/view_doc.h"

#define FM_VIEW_FILE     "view"
#define FM_VIEW_FILE_OLD "view.old"

/* The bytes of a file, from malloc. `lapsed` is left out. */
enum fm_err fm_view_file_pack(const struct fm_view_doc *d, char **bytes, size_t *n,
                              struct fm_error *e) FM_WARN_UNUSED;
/* Like fm_view_doc_read. FM_ERR_INVALID where it is not exactly what was packed, or of another
 * service. */
enum fm_err fm_view_file_unpack(struct fm_view_doc *d, struct fm_str bytes, struct fm_str service,
                                struct fm_error *e) FM_WARN_UNUSED;

/* What was found at the start. */
struct fm_view_found {
    bool old;              /* the older one is used */
    bool keep_old;         /* `view` is not good: it must not become `view.old` */
    struct fm_error wrong; /* why `view` was refused; empty where it was not */
};

/* Read `view`, else `view.old`, of a folder. FM_ERR_NOT_FOUND where there is neither; another error
 * where none is good, with what is wrong with the older one. `found` is filled in in any case. */
enum fm_err fm_view_file_load(const char *folder, struct fm_str service, struct fm_view_doc *d,
                              struct fm_view_found *found, struct fm_error *e) FM_WARN_UNUSED;

/* Make `bytes` the file `view`, durably; what was there becomes `view.old`, unless keep_old. At no
 * moment is there neither. */
enum fm_err fm_view_file_save(const char *folder, struct fm_str bytes, bool keep_old,
                              struct fm_error *e) FM_WARN_UNUSED;

#endif
