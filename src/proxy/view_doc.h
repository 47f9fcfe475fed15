/* proxy/view_doc.h: who holds what, as a document that agents hand to edges, to each other and to
 * their own disks: "fulmar.view/1" (docs/reference/wire.md).
 *
 * In memory a struct fm_view_doc: regions by name, and the contexts that have cells, each with the
 * number of its newest record. As text JSON that is read strictly: what is not whole, not
 * consistent or beyond the bounds is refused whole; members that are not known are skipped, since a
 * newer version may have more (http/protocol.h). What operators asked of regions is in it, too
 * (proxy/view_intent.h). The same (incarnation, generation) of a context is the same content for
 * everybody, but for what a region has found itself (`lapsed`), which is not agreed upon.
 *
 * Ownership: the document owns its contexts; pointers to them are valid until the next add or
 * adopt. Pure but for memory from malloc; any thread. Times in milliseconds. Errors:
 * FM_ERR_INVALID with what is wrong, FM_ERR_LIMIT, FM_ERR_MEMORY. */
#ifndef FM_PROXY_VIEW_DOC_H
#define FM_PROXY_VIEW_DOC_H

#include "base/err.h"
#include "base/str.h"
#include "core/answer.h"

enum {
    FM_VIEW_DOC_NAME_MAX = 63,
    FM_VIEW_DOC_MESSAGE_MAX = 255,
    FM_VIEW_DOC_ADDRESS_MAX = 120, /* of an instance, as the configuration writes it */
    FM_VIEW_DOC_REGIONS_MAX = 64,
    FM_VIEW_DOC_CONTEXTS_MAX = 256,
    FM_VIEW_DOC_INTENTS_MAX = 128,
    FM_VIEW_DOC_TEXT_MAX = 2 << 20,
    FM_VIEW_DOC_NOBODY = 255, /* instead of a region */
};

struct fm_view_doc_cell {
    struct fm_view_cell c; /* region: of the document; NOBODY where it was never held */
    bool lapsed; /* `found_by` has found that the lease of who holds it has lapsed (rule 17) */
};

struct fm_view_doc_context {
    char name[FM_VIEW_DOC_NAME_MAX + 1];
    struct fm_incarnation incarnation; /* of the seed of the store */
    struct fm_generation generation;   /* the revision of the newest record that this is made of */
    int32_t lease_ms;
    bool read_only; /* an operator said so */
    char message[FM_VIEW_DOC_MESSAGE_MAX + 1];
    uint8_t ncells;
    struct fm_view_doc_cell cell[FM_AUTH_CELLS_MAX];
};

struct fm_view_doc_intent {
    char context[FM_VIEW_DOC_NAME_MAX + 1];    /* "" = all; or a host; of an instance its pool */
    char address[FM_VIEW_DOC_ADDRESS_MAX + 1]; /* of an instance, which gets nothing; else "" */
    uint16_t serve_permille;                   /* below 1000 */
    uint8_t region;
};

struct fm_view_doc {
    char service[FM_VIEW_DOC_NAME_MAX + 1];
    struct fm_incarnation incarnation; /* both: the newest of its contexts, or newer */
    struct fm_generation generation;
    uint8_t found_by; /* whose finding `lapsed` is; NOBODY where nobody looked */
    uint8_t nregions;
    char region[FM_VIEW_DOC_REGIONS_MAX][FM_VIEW_DOC_NAME_MAX + 1];
    struct fm_view_doc_context *context;
    size_t ncontexts, cap;
    /* proxy/view_intent.h */
    bool has_intents; /* else nothing is known of them */
    struct fm_incarnation intents_incarnation;
    struct fm_generation intents_generation;
    unsigned nintents;
    struct fm_view_doc_intent intent[FM_VIEW_DOC_INTENTS_MAX];
};

/* Empty: no contexts, version 0. */
void fm_view_doc_init(struct fm_view_doc *d, struct fm_str service);
void fm_view_doc_deinit(struct fm_view_doc *d);
enum fm_err fm_view_doc_copy(struct fm_view_doc *to, const struct fm_view_doc *from) FM_WARN_UNUSED;

/* -------- making one -------- */

/* The number of a region in the document; added where it is not there yet. NOBODY past the bound or
 * where it is no name. */
uint8_t fm_view_doc_region(struct fm_view_doc *d, struct fm_str name);
/* Another context, of the version of the document, with cells that nobody holds. NULL past the
 * bounds, without memory, where it is there already or is no name. */
struct fm_view_doc_context *fm_view_doc_add(struct fm_view_doc *d, struct fm_str name,
                                            unsigned ncells);

/* NULL where there is none. */
struct fm_view_doc_context *fm_view_doc_find(const struct fm_view_doc *d, struct fm_str name);
/* "-" for nobody. */
const char *fm_view_doc_holder(const struct fm_view_doc *d, const struct fm_view_doc_cell *c);

/* -------- as text -------- */

/* From malloc. The same document is always the same text. */
enum fm_err fm_view_doc_write(const struct fm_view_doc *d, char **text, size_t *n,
                              struct fm_error *e) FM_WARN_UNUSED;
/* Into what was not initialised, or was deinitialised; after an error there is nothing to free. */
enum fm_err fm_view_doc_read(struct fm_view_doc *d, struct fm_str text,
                             struct fm_error *e) FM_WARN_UNUSED;
/* Of a text, to say which one is known already. Finds differences, keeps nobody out. */
uint64_t fm_view_doc_hash(struct fm_str text);

/* -------- becoming newer -------- */

/* Forget what was found; true where something was. */
bool fm_view_doc_forget_found(struct fm_view_doc *d);

/* Take over what is newer in `from`: by context, and no cell of it goes back (core/answer.h). What
 * `from` does not have stays. `lapsed` is not taken over: that is no question of newer. A context
 * whose number of cells differs is left out and counted in *misfits (where it is not NULL). True:
 * something changed. Past the bounds a context is left out, too. */
bool fm_view_doc_adopt(struct fm_view_doc *d, const struct fm_view_doc *from, unsigned *misfits);

static inline bool fm_view_doc_is_empty(const struct fm_view_doc *d)
{
    return d->ncontexts == 0;
}

#endif
