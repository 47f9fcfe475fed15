/* base/log.h: structured logs, one JSON object a line.
 *
 *   fm_log(FM_LOG_WARN, "region_down", FM_KS("region", name), FM_KU("failures", 5));
 *
 * prints {"time":"...","level":"warn","event":"region_down","region":"west","failures":5}. Keys are
 * literals in snake_case, values are data and are escaped; user text is never a format. A line
 * longer than FM_LOG_LINE_MAX is cut at a field and marked "cut":true.
 *
 * By default lines go to stderr with write(2), which may block; a daemon hands over a writer that
 * does not (fm_log_set_writer). Any thread. Not on the request path: transitions and errors only.
 */
#ifndef FM_BASE_LOG_H
#define FM_BASE_LOG_H

#include "base/err.h"
#include "base/str.h"

enum fm_log_level { FM_LOG_DEBUG, FM_LOG_INFO, FM_LOG_WARN, FM_LOG_ERROR, FM_LOG_OFF };

enum { FM_LOG_LINE_MAX = 4096 };

struct fm_log_field {
    const char *key;
    enum { FM_LOG_STR, FM_LOG_U64, FM_LOG_I64, FM_LOG_BOOL, FM_LOG_MS } kind;
    struct fm_str s;
    int64_t i;
};

#define FM_KS(k, str) ((struct fm_log_field){k, FM_LOG_STR, (str), 0})
#define FM_KZ(k, z)   ((struct fm_log_field){k, FM_LOG_STR, fm_str_z(z), 0})
#define FM_KU(k, v)   ((struct fm_log_field){k, FM_LOG_U64, {NULL, 0}, (int64_t)(v)})
#define FM_KI(k, v)   ((struct fm_log_field){k, FM_LOG_I64, {NULL, 0}, (int64_t)(v)})
#define FM_KB(k, v)   ((struct fm_log_field){k, FM_LOG_BOOL, {NULL, 0}, (int64_t)(v)})
#define FM_KE(err)    ((struct fm_log_field){"error", FM_LOG_STR, fm_str_z((err)->msg), 0})
#define FM_KMS(k, ns_)                                                                             \
    ((struct fm_log_field){k, FM_LOG_MS, {NULL, 0}, (int64_t)(ns_)}) /* ns as ms */

void fm_log_set_level(enum fm_log_level least);
bool fm_log_enabled(enum fm_log_level level);

/* `write` gets whole lines with their newline; it must copy them and must not block. */
void fm_log_set_writer(void (*write)(void *user, struct fm_str line), void *user);

void fm_log_emit(enum fm_log_level level, const char *event, const struct fm_log_field *f,
                 size_t n);

/* The field at the end is there for a line without fields, which ISO C could not write. */
#define fm_log(level, ...) fm_log_fields(level, __VA_ARGS__, ((struct fm_log_field){0}))

#define fm_log_fields(level, event, ...)                                                           \
    do {                                                                                           \
        if (fm_log_enabled(level)) {                                                               \
            const struct fm_log_field fm_log_fields_[] = {__VA_ARGS__};                            \
            fm_log_emit((level), (event), fm_log_fields_, FM_COUNT(fm_log_fields_) - 1);           \
        }                                                                                          \
    } while (0)

#endif
