/* The key in a JSON document (RFC 8259): a strict reader that goes through all of it once, looks
 * for one field and for a second one, and builds nothing. Recursion is bounded by FM_KEY_DEPTH_MAX.
 * Invariant: `at` never passes the end, and each step either advances it or fails. */
#include "core/key.h"

#include "base/assert.h"

/* Where in the names of the wanted field a value stands; OFF: beside them. */
enum { OFF = -1 };

/* The largest integer that every parser keeps exactly (RFC 7493 section 2.2), in digits. */
#define SAFE_INTEGER "9007199254740991"

struct reader {
    const char *at, *end;
    const struct fm_str *name;
    unsigned nnames;
    struct fm_key *key;
    enum fm_key_outcome outcome; /* of the wanted field */
    bool repeated, disguised;
};

static bool value(struct reader *r, unsigned depth, int level);

static void blanks(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
}

static bool take(struct reader *r, char c)
{
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static bool word(struct reader *r, struct fm_str w)
{
    if (!fm_str_starts(fm_str(r->at, (size_t)(r->end - r->at)), w))
        return false;
    r->at += w.n;
    return true;
}

/* -------- strings -------- */

/* Decoded text: the first FM_KEY_MAX + 1 bytes of it, and how many there were. */
struct text {
    size_t n;
    char mem[FM_KEY_MAX + 1];
};

static void add_byte(struct text *t, unsigned char c)
{
    if (t->n < sizeof t->mem)
        t->mem[t->n] = (char)c;
    t->n++;
}

static void add_utf8(struct text *t, uint32_t cp)
{
    FM_ASSERT(cp <= 0x10ffff);
    if (cp < 0x80) {
        add_byte(t, (unsigned char)cp);
        return;
    }
    unsigned more = cp < 0x800 ? 1 : cp < 0x10000 ? 2 : 3;
    add_byte(t, (unsigned char)(0xff00u >> (more + 1) | cp >> 6 * more));
    while (more--)
        add_byte(t, (unsigned char)(0x80 | (cp >> 6 * more & 0x3f)));
}

static bool four_digits(struct reader *r, uint32_t *out)
{
    uint64_t v;
    if (r->end - r->at < 4 || !fm_str_u64_hex(fm_str(r->at, 4), &v))
        return false;
    r->at += 4;
    *out = (uint32_t)v;
    return true;
}

/* Behind "\u". A pair of surrogates is one character; one of them alone is none. */
static bool unicode(struct reader *r, struct text *t)
{
    uint32_t cp, low;
    if (!four_digits(r, &cp) || (cp >= 0xdc00 && cp <= 0xdfff))
        return false;
    if (cp >= 0xd800 && cp <= 0xdbff) {
        if (!word(r, FM_STR("\\u")) || !four_digits(r, &low) || low < 0xdc00 || low > 0xdfff)
            return false;
        cp = 0x10000 + ((cp & 0x3ff) << 10 | (low & 0x3ff));
    }
    add_utf8(t, cp);
    return true;
}

static bool escape(struct reader *r, struct text *t)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (take(r, 'u'))
        return unicode(r, t);
    for (size_t i = 0; i < sizeof from - 1; i++)
        if (take(r, from[i])) {
            add_byte(t, (unsigned char)to[i]);
            return true;
        }
    return false;
}

static bool string(struct reader *r, struct text *t)
{
    t->n = 0;
    if (!take(r, '"'))
        return false;
    while (r->at < r->end) {
        if (take(r, '"'))
            return true;
        if (take(r, '\\')) {
            if (!escape(r, t))
                return false;
            continue;
        }
        size_t len = fm_str_utf8(fm_str(r->at, (size_t)(r->end - r->at)), NULL);
        if (len == 0 || (unsigned char)*r->at < 0x20)
            return false;
        while (len--)
            add_byte(t, (unsigned char)*r->at++);
    }
    return false;
}

/* -------- numbers -------- */

static size_t digits(struct reader *r)
{
    const char *start = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return (size_t)(r->at - start);
}

/* *integer: without fraction and exponent. */
static bool number(struct reader *r, struct fm_str *text, bool *integer)
{
    const char *start = r->at;
    (void)take(r, '-');
    if (!take(r, '0') && digits(r) == 0)
        return false;
    *integer = true;
    if (take(r, '.')) {
        *integer = false;
        if (digits(r) == 0)
            return false;
    }
    if (take(r, 'e') || take(r, 'E')) {
        *integer = false;
        if (!take(r, '+'))
            (void)take(r, '-');
        if (digits(r) == 0)
            return false;
    }
    *text = fm_str(start, (size_t)(r->at - start));
    return true;
}

static bool is_safe(struct fm_str number)
{
    struct fm_str d = number;
    if (d.p[0] == '-')
        d = fm_str(d.p + 1, d.n - 1);
    if (d.n == 1 && d.p[0] == '0')
        return number.n == 1; /* "-0" is 0 for some */
    struct fm_str most = FM_STR(SAFE_INTEGER);
    return d.n < most.n || (d.n == most.n && memcmp(d.p, most.p, d.n) <= 0);
}

/* -------- values -------- */

static bool skip_number(struct reader *r, int level)
{
    struct fm_str text;
    bool integer;
    if (!number(r, &text, &integer))
        return false;
    if (level == (int)r->nnames)
        r->outcome = integer && is_safe(text) ? fm_key_set(r->key, text) : FM_KEY_MALFORMED;
    return true;
}

static bool skip_string(struct reader *r, int level)
{
    struct text t;
    if (!string(r, &t))
        return false;
    if (level == (int)r->nnames)
        r->outcome = t.n > FM_KEY_MAX ? FM_KEY_TOO_LONG : fm_key_set(r->key, fm_str(t.mem, t.n));
    return true;
}

static bool skip_word(struct reader *r, int level)
{
    bool null = word(r, FM_STR("null"));
    if (!null && !word(r, FM_STR("true")) && !word(r, FM_STR("false")))
        return false;
    if (level == (int)r->nnames)
        r->outcome = null ? FM_KEY_MISSING : FM_KEY_MALFORMED;
    return true;
}

/* The level of a member's value, by its name. */
static int level_of(struct reader *r, int level, const struct text *name, bool *seen)
{
    if (level == OFF || level == (int)r->nnames || name->n > FM_KEY_MAX)
        return OFF;
    switch (fm_key_name(r->name[level], fm_str(name->mem, name->n))) {
    case FM_KEY_NAME_OTHER:
        return OFF;
    case FM_KEY_NAME_DISGUISED:
        r->disguised = true;
        return OFF;
    case FM_KEY_NAME_SAME:
        break;
    }
    r->repeated |= *seen;
    *seen = true;
    return level + 1;
}

static bool members(struct reader *r, unsigned depth, int level)
{
    bool seen = false;
    blanks(r);
    if (take(r, '}'))
        return true;
    do {
        struct text name;
        blanks(r);
        if (!string(r, &name))
            return false;
        blanks(r);
        if (!take(r, ':') || !value(r, depth + 1, level_of(r, level, &name, &seen)))
            return false;
        blanks(r);
    } while (take(r, ','));
    return take(r, '}');
}

static bool elements(struct reader *r, unsigned depth)
{
    blanks(r);
    if (take(r, ']'))
        return true;
    do {
        if (!value(r, depth + 1, OFF))
            return false;
        blanks(r);
    } while (take(r, ','));
    return take(r, ']');
}

static bool value(struct reader *r, unsigned depth, int level)
{
    FM_ASSERT(level >= OFF && level <= (int)r->nnames);
    blanks(r);
    if (r->at == r->end || depth >= FM_KEY_DEPTH_MAX)
        return false;
    bool opens = *r->at == '{' || *r->at == '[';
    if (opens && level == (int)r->nnames)
        r->outcome = FM_KEY_MALFORMED;
    if (take(r, '{'))
        return members(r, depth, level);
    if (take(r, '['))
        return elements(r, depth);
    if (*r->at == '"')
        return skip_string(r, level);
    if (*r->at == '-' || (*r->at >= '0' && *r->at <= '9'))
        return skip_number(r, level);
    return skip_word(r, level);
}

enum fm_key_outcome fm_key_from_json(const struct fm_str *names, unsigned n, struct fm_str text,
                                     struct fm_key *out)
{
    FM_ASSERT(n > 0 && n <= FM_KEY_NAMES_MAX);
    out->n = 0;
    if (text.n == 0)
        return FM_KEY_MISSING;
    struct reader r = {.at = text.p,
                       .end = text.p + text.n,
                       .name = names,
                       .nnames = n,
                       .key = out,
                       .outcome = FM_KEY_MISSING};
    bool whole = value(&r, 0, 0);
    blanks(&r);
    enum fm_key_outcome outcome = !whole || r.at != r.end || r.disguised ? FM_KEY_MALFORMED
                                  : r.repeated                           ? FM_KEY_REPEATED
                                                                         : r.outcome;
    FM_ASSERT(r.at <= r.end);
    if (outcome != FM_KEY_FOUND)
        out->n = 0;
    return outcome;
}
