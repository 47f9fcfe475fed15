/* coord/store_text.h: the JSON that an owner of a file answers with, in a text that grows. Private
 * to src/coord. What does not fit its bound, or memory, sets `full` and is left out. */
#ifndef FM_COORD_STORE_TEXT_H
#define FM_COORD_STORE_TEXT_H

#include "base/str.h"

struct fm_store_text {
    char *p; /* from malloc */
    size_t n, cap;
    bool full;
};

struct fm_store_kv {
    struct fm_str key, value;
    uint64_t created, changed, version; /* 0 = left out */
};

void fm_store_text_add(struct fm_store_text *t, struct fm_str s);
void fm_store_text_printf(struct fm_store_text *t, const char *fmt, ...) FM_PRINTF(2, 3);
#define fm_store_text_lit(t, literal) fm_store_text_add((t), FM_STR(literal))

/* `{"header":{...}`, without the end of the object. */
void fm_store_text_header(struct fm_store_text *t, uint64_t cluster, uint64_t revision);
void fm_store_text_kv(struct fm_store_text *t, const struct fm_store_kv *kv, bool first);
void fm_store_text_event(struct fm_store_text *t, const struct fm_store_kv *kv, bool erased,
                         bool first);

#endif
