/* conf/schema_rows.h: short names for writing rows; only for schema.c and schema_context.c. */
#ifndef FM_CONF_SCHEMA_ROWS_H
#define FM_CONF_SCHEMA_ROWS_H

#include "conf/decode.h"

#define AT(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)
#define LIST_AT(type, pointer, number)                                                             \
    .offset = offsetof(type, pointer), .count = offsetof(type, number),                            \
    .stride = sizeof(*((type *)0)->pointer)
#define PRESENT(type, member) .present = offsetof(type, member) + 1
#define RANGE(least, most)    .min = (least), .max = (most)
#define WORDS(array)          .words = (array), .nwords = FM_COUNT(array)
#define ITEM(row)             .item = &(row), .nitem = 1
#define ITEMS(array)          .item = (array), .nitem = FM_COUNT(array)
#define ROWS(array)           .rows = (array), .n = FM_COUNT(array)
#define LATER(key, text)                                                                           \
    {                                                                                              \
        .name = (key), .kind = FM_KIND_LATER, .help = (text)                                       \
    }

#define SECOND UINT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define KIB    (UINT64_C(1) << 10)
#define MIB    (UINT64_C(1) << 20)
#define GIB    (UINT64_C(1) << 30)
#define TIB    (UINT64_C(1) << 40)

#endif
