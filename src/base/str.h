/* base/str.h: string views. A view does not own its bytes and is not terminated; it is valid as
 * long as what it looks into. All functions are pure; any thread. Numbers are parsed strictly: the
 * whole view, no sign, no space, no overflow (never atoi). */
#ifndef FM_BASE_STR_H
#define FM_BASE_STR_H

#include "base/bits.h"

#include <stdbool.h>
#include <string.h>

struct fm_str {
    const char *p;
    size_t n;
};

/* For a static initialiser, which must be constant. */
#define FM_STR_INIT(literal)                                                                       \
    {                                                                                              \
        "" literal, sizeof(literal) - 1                                                            \
    }
#define FM_STR(literal) ((struct fm_str)FM_STR_INIT(literal))
#define FM_STR_ARG(s)   (int)(s).n, (s).p /* for %.*s */

static inline struct fm_str fm_str(const char *p, size_t n)
{
    return (struct fm_str){p, n};
}

static inline struct fm_str fm_str_z(const char *z)
{
    return (struct fm_str){z, z ? strlen(z) : 0};
}

static inline bool fm_str_eq(struct fm_str a, struct fm_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool fm_str_eqz(struct fm_str a, const char *z)
{
    return fm_str_eq(a, fm_str_z(z));
}

static inline bool fm_str_starts(struct fm_str s, struct fm_str prefix)
{
    return s.n >= prefix.n && memcmp(s.p, prefix.p, prefix.n) == 0;
}

static inline bool fm_str_ends(struct fm_str s, struct fm_str suffix)
{
    return s.n >= suffix.n && memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0;
}

/* ASCII only, whatever the locale. */
static inline char fm_lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

bool fm_str_eq_nocase(struct fm_str a, struct fm_str b);
int fm_str_cmp(struct fm_str a, struct fm_str b);

/* Without blanks and tabs at both ends (the OWS of RFC 9110 section 5.6.3). */
struct fm_str fm_str_trim(struct fm_str s);

/* Cut off the part before the first `sep` and return it; *rest is what stands behind it. Without
 * `sep` returns all of it and *rest is empty with p == NULL. */
struct fm_str fm_str_cut(struct fm_str s, char sep, struct fm_str *rest);

/* The next element of a comma separated list (RFC 9110 section 5.6.1), trimmed, empty elements
 * skipped; false at the end. */
bool fm_str_list_next(struct fm_str *rest, struct fm_str *item);

bool fm_str_u64(struct fm_str s, uint64_t *out) FM_WARN_UNUSED;
bool fm_str_u64_hex(struct fm_str s, uint64_t *out) FM_WARN_UNUSED;

/* The character at the front of s and its length in bytes; 0 where it is not UTF-8 (RFC 3629
 * section 4: shortest form, no surrogates, nothing above U+10FFFF) or s is empty. `out` may be
 * NULL. */
size_t fm_str_utf8(struct fm_str s, uint32_t *out);

/* Edit distance (insert, delete, replace, swap of neighbours), for "did you mean"; views longer
 * than 64 count as far away. */
unsigned fm_str_distance(struct fm_str a, struct fm_str b);

/* Write v in decimal to out (at least 20 bytes), not terminated; returns the length. */
size_t fm_u64_write(char *out, uint64_t v);

#endif
