/* Numbers with units and words: see the header. */
#include "conf/scalar.h"

#include "base/assert.h"
#include "conf/report.h"

#include <stdarg.h>
#include <stdio.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit durations[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
static const struct unit sizes[] = {{"B", 1},
                                    {"KiB", UINT64_C(1) << 10},
                                    {"MiB", UINT64_C(1) << 20},
                                    {"GiB", UINT64_C(1) << 30},
                                    {"TiB", UINT64_C(1) << 40}};

bool fm_fault(struct fm_fault *f, const char *why, ...)
{
    va_list ap;
    va_start(ap, why);
    vsnprintf(f->why, sizeof f->why, why, ap);
    va_end(ap);
    f->advice[0] = '\0';
    f->memory = false;
    return false;
}

bool fm_fault_memory(struct fm_fault *f)
{
    fm_fault(f, "out of memory");
    f->memory = true;
    return false;
}

bool fm_fault_advice(struct fm_fault *f, const char *advice, ...)
{
    va_list ap;
    va_start(ap, advice);
    vsnprintf(f->advice, sizeof f->advice, advice, ap);
    va_end(ap);
    return false;
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A number as digits and a power of ten below it: 1.25 is 125 and 100. */
struct decimal {
    uint64_t digits, scale;
    struct fm_str number, unit;
};

static bool read_decimal(struct fm_str s, struct decimal *d, struct fm_fault *f)
{
    size_t i = 0, points = 0;
    *d = (struct decimal){.scale = 1};
    for (; i < s.n && (digit(s.p[i]) || (s.p[i] == '.' && i > 0 && points == 0)); i++) {
        if (s.p[i] == '.') {
            points++;
            continue;
        }
        if (__builtin_mul_overflow(d->digits, 10u, &d->digits) ||
            __builtin_add_overflow(d->digits, (uint64_t)(s.p[i] - '0'), &d->digits) ||
            (points && __builtin_mul_overflow(d->scale, 10u, &d->scale)))
            return fm_fault(f, "the number in `%s` is too large", FM_Q(s));
    }
    FM_ASSERT(i <= s.n && d->scale > 0);
    d->number = fm_str(s.p, i);
    d->unit = fm_str(s.p + i, s.n - i);
    if (s.n == 0)
        return fm_fault(f, "it is empty");
    if (s.p[0] == '-' || s.p[0] == '+')
        return fm_fault(f, "`%s` has a sign", FM_Q(s));
    if (i == 0 || s.p[i - 1] == '.')
        return fm_fault(f, "`%s` does not begin with a number", FM_Q(s));
    if (i > 1 && s.p[0] == '0' && digit(s.p[1])) {
        fm_fault(f, "`%s` begins with a 0", FM_Q(s));
        return fm_fault_advice(f, "leave the 0 away");
    }
    if (d->unit.n && d->unit.p[0] == ' ') {
        fm_fault(f, "there is a space in `%s`", FM_Q(s));
        return fm_fault_advice(f, "write the unit right behind the number");
    }
    return true;
}

static bool scale(struct fm_str s, const struct decimal *d, uint64_t factor, const char *finest,
                  uint64_t *out, struct fm_fault *f)
{
    uint64_t v;
    FM_ASSERT(d->scale > 0 && factor > 0);
    if (__builtin_mul_overflow(d->digits, factor, &v))
        return fm_fault(f, "`%s` is too large", FM_Q(s));
    if (v % d->scale)
        return fm_fault(f, "`%s` is finer than %s", FM_Q(s), finest);
    *out = v / d->scale;
    return true;
}

static const struct unit *find_unit(const struct unit *units, size_t n, struct fm_str name)
{
    for (size_t i = 0; i < n; i++)
        if (fm_str_eqz(name, units[i].name))
            return &units[i];
    return NULL;
}

bool fm_scalar_u64(struct fm_str s, uint64_t *out, struct fm_fault *f)
{
    if (fm_str_u64(s, out) && (s.n == 1 || s.p[0] != '0'))
        return true;
    fm_fault(f, "`%s` is none", FM_Q(s));
    return fm_fault_advice(f, "write digits alone, without sign, point, unit or `_`");
}

bool fm_scalar_duration(struct fm_str s, int64_t *ms, struct fm_fault *f)
{
    struct decimal d;
    uint64_t v = 0;
    if (!read_decimal(s, &d, f))
        return false;
    if (d.unit.n == 0) {
        struct fm_quoted q = fm_quoted(s);
        fm_fault(f, "`%s` has no unit", q.s);
        return fm_fault_advice(f, "write the unit: `%sms`, `%ss`, `%sm`, `%sh` or `%sd`", q.s, q.s,
                               q.s, q.s, q.s);
    }
    const struct unit *u = find_unit(durations, FM_COUNT(durations), d.unit);
    if (!u) {
        fm_fault(f, "`%s` is not a unit of time", FM_Q(d.unit));
        return fm_fault_advice(f, "the units are ms, s, m, h and d, as in `200ms` or `15m`");
    }
    if (!scale(s, &d, u->factor, "1ms", &v, f))
        return false;
    if (v > INT64_MAX / 1000000) /* so that it also fits in nanoseconds */
        return fm_fault(f, "`%s` is too large", FM_Q(s));
    FM_ASSERT((int64_t)v >= 0);
    *ms = (int64_t)v;
    return true;
}

bool fm_scalar_size(struct fm_str s, uint64_t *bytes, struct fm_fault *f)
{
    struct decimal d;
    if (!read_decimal(s, &d, f))
        return false;
    if (d.unit.n == 0) {
        struct fm_quoted q = fm_quoted(s);
        fm_fault(f, "`%s` has no unit", q.s);
        return fm_fault_advice(f, "write the unit: `%sB`, `%sKiB`, `%sMiB` or `%sGiB`", q.s, q.s,
                               q.s, q.s);
    }
    const struct unit *u = find_unit(sizes, FM_COUNT(sizes), d.unit);
    if (u)
        return scale(s, &d, u->factor, "1B", bytes, f);
    fm_fault(f, "`%s` is not a unit of size", FM_Q(d.unit));
    const char *like = NULL;
    FM_ASSERT(d.unit.n > 0);
    for (size_t i = 1; i < FM_COUNT(sizes); i++)
        if (fm_lower(d.unit.p[0]) == fm_lower(sizes[i].name[0]))
            like = sizes[i].name;
    if (like)
        return fm_fault_advice(f, "write `%s%s`: units are powers of 1024", FM_Q(d.number), like);
    return fm_fault_advice(f, "the units are B, KiB, MiB, GiB and TiB, as in `64KiB`");
}

bool fm_scalar_byte_rate(struct fm_str s, uint64_t *bps, struct fm_fault *f)
{
    if (!fm_str_ends(s, FM_STR("/s"))) {
        fm_fault(f, "`%s` does not say in which time", FM_Q(s));
        return fm_fault_advice(f, "write a size per second: `1KiB/s`");
    }
    struct fm_str size = fm_str(s.p, s.n - 2);
    if (fm_scalar_size(size, bps, f))
        return true;
    if (strstr(f->advice, "write the unit"))
        fm_fault_advice(f, "write a size per second: `%sB/s` or `%sKiB/s`", FM_Q(size), FM_Q(size));
    return false;
}

bool fm_scalar_rate(struct fm_str s, uint64_t *per_s, struct fm_fault *f)
{
    struct decimal d;
    if (!read_decimal(s, &d, f))
        return false;
    if (!fm_str_eqz(d.unit, "/s")) {
        fm_fault(f, "`%s` is not a number per second", FM_Q(s));
        return fm_fault_advice(f, "write `%s/s`", FM_Q(d.number));
    }
    return scale(s, &d, 1, "1/s", per_s, f);
}

bool fm_scalar_percent(struct fm_str s, uint32_t *ppm, struct fm_fault *f)
{
    struct decimal d;
    uint64_t v = 0;
    if (!read_decimal(s, &d, f))
        return false;
    if (!fm_str_eqz(d.unit, "%")) {
        fm_fault(f, "`%s` has no `%%`", FM_Q(s));
        return fm_fault_advice(f, "write a share with its sign: `20%%` or `0.5%%`");
    }
    if (!scale(s, &d, 10000, "0.0001%", &v, f))
        return false;
    if (v > 1000000)
        return fm_fault(f, "`%s` is more than `100%%`", FM_Q(s));
    FM_ASSERT(v <= 1000000);
    *ppm = (uint32_t)v;
    return true;
}

bool fm_scalar_at_most(struct fm_str s, uint64_t *times, int64_t *ms, struct fm_fault *f)
{
    static const char per[] = " per ";
    const char *at = NULL;
    for (size_t i = 0; !at && i + sizeof per - 1 <= s.n; i++)
        if (memcmp(s.p + i, per, sizeof per - 1) == 0)
            at = s.p + i;
    if (!at) {
        fm_fault(f, "`%s` does not say in which time", FM_Q(s));
        return fm_fault_advice(f, "write a number and a time: `2 per 6h`");
    }
    FM_ASSERT(at >= s.p && (size_t)(at - s.p) + sizeof per - 1 <= s.n);
    struct fm_str number = fm_str(s.p, (size_t)(at - s.p));
    struct fm_str time = fm_str(at + sizeof per - 1, s.n - number.n - (sizeof per - 1));
    return fm_scalar_u64(number, times, f) && fm_scalar_duration(time, ms, f);
}

/* -------- hours of days -------- */

static const char *const day_names[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};

static int day_of(struct fm_str s)
{
    for (size_t i = 0; i < FM_COUNT(day_names); i++)
        if (fm_str_eqz(s, day_names[i]))
            return (int)i;
    return -1;
}

/* `Sun`, `Mon-Fri`, `Sat,Sun` as bits. */
static bool read_days(struct fm_str s, uint8_t *days, struct fm_fault *f)
{
    *days = 0;
    while (s.p) {
        struct fm_str to, one = fm_str_cut(s, ',', &s), from = fm_str_cut(one, '-', &to);
        int a = day_of(from), b = to.p ? day_of(to) : a;
        if (a < 0 || b < 0) {
            fm_fault(f, "`%s` is not a day", FM_Q(a < 0 ? from : to));
            return fm_fault_advice(f, "the days are Sun, Mon, Tue, Wed, Thu, Fri and Sat, as in "
                                      "`Sun`, `Mon-Fri` or `Sat,Sun`");
        }
        FM_ASSERT(a < 7 && b < 7);
        for (int day = a;; day = (day + 1) % 7) {
            *days = (uint8_t)(*days | 1u << day);
            if (day == b)
                break;
        }
    }
    FM_ASSERT(*days > 0 && *days < 128);
    return true;
}

/* `02:00`, up to `24:00`, as minutes. */
static bool read_hour(struct fm_str s, uint16_t *min)
{
    bool good = s.n == 5 && s.p[2] == ':' && digit(s.p[0]) && digit(s.p[1]) && digit(s.p[3]) &&
                digit(s.p[4]);
    if (!good)
        return false;
    unsigned h = (unsigned)(s.p[0] - '0') * 10 + (unsigned)(s.p[1] - '0');
    unsigned m = (unsigned)(s.p[3] - '0') * 10 + (unsigned)(s.p[4] - '0');
    *min = (uint16_t)(h * 60 + m);
    return m < 60 && *min <= 24 * 60;
}

bool fm_scalar_window(struct fm_str s, struct fm_conf_window *out, struct fm_fault *f)
{
    static const char advice[] = "write it as in `Sun 02:00-05:00 UTC`, or, for every day, "
                                 "`02:00-05:00 UTC`";
    struct fm_conf_window w = {.present = true, .days = 127};
    struct fm_str end = {NULL, 0}, hours = s, days = {NULL, 0};
    if (!fm_str_ends(s, FM_STR(" UTC"))) {
        fm_fault(f, "`%s` does not end with `UTC`, the one zone without changes of the clock",
                 FM_Q(s));
        return fm_fault_advice(f, advice);
    }
    hours.n -= 4;
    if (hours.n && !digit(hours.p[0]))
        days = fm_str_cut(hours, ' ', &hours);
    if (days.p && !read_days(days, &w.days, f))
        return false;
    struct fm_str begin = hours.p ? fm_str_cut(hours, '-', &end) : FM_STR("");
    if (!hours.p || !end.p || !read_hour(begin, &w.from_min) || !read_hour(end, &w.to_min) ||
        w.from_min == 24 * 60) {
        fm_fault(f, "`%s` has no hours", FM_Q(s));
        return fm_fault_advice(f, advice);
    }
    if (w.from_min == w.to_min)
        return fm_fault(f, "`%s` ends when it begins", FM_Q(s));
    FM_ASSERT(w.from_min < 24 * 60 && w.to_min <= 24 * 60);
    *out = w;
    return true;
}

bool fm_scalar_name(struct fm_str s, struct fm_fault *f)
{
    bool upper = false, bad = s.n == 0 || !((s.p[0] | 0x20) >= 'a' && (s.p[0] | 0x20) <= 'z');
    for (size_t i = 0; i < s.n; i++) {
        char low = fm_lower(s.p[i]);
        upper |= low != s.p[i];
        bad |= !(low >= 'a' && low <= 'z') && !digit(low) && low != '-';
    }
    if (!bad && !upper && s.n <= 63)
        return true;
    if (s.n > 63)
        return fm_fault(f, "`%s` is longer than 63 characters", FM_Q(s));
    fm_fault(f, "`%s` is none", FM_Q(s));
    return fm_fault_advice(f, bad ? "names begin with a letter and have lower-case letters, digits "
                                    "and `-`"
                                  : "names are in lower case");
}

bool fm_scalar_token(struct fm_str s, struct fm_fault *f)
{
    bool good = s.n > 0 && s.n <= 128;
    for (size_t i = 0; good && i < s.n; i++) {
        char low = fm_lower(s.p[i]);
        good = (low >= 'a' && low <= 'z') || digit(low) ||
               (low && strchr("!#$%&'*+-.^_`|~", low) != NULL);
    }
    if (good)
        return true;
    fm_fault(f, "`%s` is none", FM_Q(s));
    return fm_fault_advice(f, "up to 128 letters, digits and any of !#$%%&'*+-.^_`|~");
}

bool fm_scalar_method(struct fm_str s, struct fm_fault *f)
{
    bool upper = true;
    if (!fm_scalar_token(s, f) || s.n > 32) {
        fm_fault(f, "`%s` is none", FM_Q(s));
        return fm_fault_advice(f, "write methods as in `GET` or `POST`");
    }
    for (size_t i = 0; i < s.n; i++)
        upper &= !(s.p[i] >= 'a' && s.p[i] <= 'z');
    if (!upper) {
        fm_fault(f, "`%s` is in lower case, and methods are compared exactly", FM_Q(s));
        return fm_fault_advice(f, "write it in capitals, as in `GET`");
    }
    if (fm_str_eqz(s, "CONNECT") || fm_str_eqz(s, "TRACE"))
        return fm_fault(f, "`%s` is never forwarded", FM_Q(s));
    return true;
}

static struct fm_scalar_text with_unit(uint64_t v, const struct unit *units, size_t n)
{
    struct fm_scalar_text out;
    size_t i = n - 1;
    FM_ASSERT(n > 0 && units[0].factor == 1);
    while (i > 0 && (v == 0 || v % units[i].factor))
        i--;
    snprintf(out.s, sizeof out.s, "%llu%s", (unsigned long long)(v / units[i].factor),
             units[i].name);
    return out;
}

struct fm_scalar_text fm_scalar_duration_text(int64_t ms)
{
    FM_ASSERT(ms >= 0);
    return with_unit((uint64_t)ms, durations, FM_COUNT(durations));
}

struct fm_scalar_text fm_scalar_size_text(uint64_t bytes)
{
    return with_unit(bytes, sizes, FM_COUNT(sizes));
}

struct fm_scalar_text fm_scalar_percent_text(uint32_t ppm)
{
    struct fm_scalar_text out;
    int n = snprintf(out.s, sizeof out.s, "%u.%04u", ppm / 10000, ppm % 10000);
    FM_ASSERT(n > 5 && (size_t)n < sizeof out.s - 1);
    while (out.s[n - 1] == '0')
        n--;
    n -= out.s[n - 1] == '.';
    memcpy(out.s + n, "%", 2);
    return out;
}
