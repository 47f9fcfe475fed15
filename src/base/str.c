/* String views: see the header. Pure. */
#include "base/str.h"

#include "base/assert.h"

bool fm_str_eq_nocase(struct fm_str a, struct fm_str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (fm_lower(a.p[i]) != fm_lower(b.p[i]))
            return false;
    return true;
}

int fm_str_cmp(struct fm_str a, struct fm_str b)
{
    FM_ASSERT((a.p || a.n == 0) && (b.p || b.n == 0));
    size_t n = fm_min_size(a.n, b.n);
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

struct fm_str fm_str_trim(struct fm_str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s.p++, s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

struct fm_str fm_str_cut(struct fm_str s, char sep, struct fm_str *rest)
{
    FM_ASSERT(s.p || s.n == 0);
    const char *at = s.n ? memchr(s.p, sep, s.n) : NULL;
    if (!at) {
        *rest = (struct fm_str){NULL, 0};
        return s;
    }
    size_t n = (size_t)(at - s.p);
    *rest = fm_str(at + 1, s.n - n - 1);
    return fm_str(s.p, n);
}

bool fm_str_list_next(struct fm_str *rest, struct fm_str *item)
{
    FM_ASSERT(rest->p || rest->n == 0);
    while (rest->n) {
        struct fm_str one = fm_str_trim(fm_str_cut(*rest, ',', rest));
        FM_ASSERT(!one.n || !rest->p || one.p + one.n < rest->p);
        if (one.n) {
            *item = one;
            return true;
        }
    }
    return false;
}

bool fm_str_u64(struct fm_str s, uint64_t *out)
{
    uint64_t v = 0;
    if (s.n == 0 || s.n > 20)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    *out = v;
    return true;
}

bool fm_str_u64_hex(struct fm_str s, uint64_t *out)
{
    uint64_t v = 0;
    if (s.n == 0 || s.n > 16)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = fm_lower(s.p[i]);
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else
            return false;
        v = v << 4 | digit;
    }
    *out = v;
    return true;
}

size_t fm_str_utf8(struct fm_str s, uint32_t *out)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)s.p;
    if (s.n == 0)
        return 0;
    size_t want = p[0] < 0x80             ? 1
                  : (p[0] & 0xe0) == 0xc0 ? 2
                  : (p[0] & 0xf0) == 0xe0 ? 3
                  : (p[0] & 0xf8) == 0xf0 ? 4
                                          : 0;
    if (want == 0 || want > s.n)
        return 0;
    uint32_t cp = want == 1 ? p[0] : (uint32_t)(p[0] & (0x7f >> want));
    for (size_t i = 1; i < want; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        cp = cp << 6 | (p[i] & 0x3f);
    }
    if (cp < least[want] || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
        return 0;
    FM_ASSERT(want <= s.n);
    if (out)
        *out = cp;
    return want;
}

unsigned fm_str_distance(struct fm_str a, struct fm_str b)
{
    enum { MAX = 64 };
    if (a.n > MAX || b.n > MAX)
        return MAX;
    unsigned before[MAX + 1], last[MAX + 1], row[MAX + 1];
    for (unsigned j = 0; j <= b.n; j++)
        last[j] = before[j] = j;
    for (unsigned i = 1; i <= a.n; i++) {
        row[0] = i;
        for (unsigned j = 1; j <= b.n; j++) {
            char x = fm_lower(a.p[i - 1]), y = fm_lower(b.p[j - 1]);
            unsigned best = last[j - 1] + (x != y);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && x == fm_lower(b.p[j - 2]) && fm_lower(a.p[i - 2]) == y &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
        memcpy(before, last, sizeof before);
        memcpy(last, row, sizeof last);
    }
    FM_ASSERT(last[b.n] <= (a.n > b.n ? a.n : b.n));
    return last[b.n];
}

size_t fm_u64_write(char *out, uint64_t v)
{
    char tmp[20];
    size_t n = 0;
    do {
        tmp[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    FM_ASSERT(n <= sizeof tmp);
    for (size_t i = 0; i < n; i++)
        out[i] = tmp[n - 1 - i];
    return n;
}
