/* Keys from what stands in the head of a request: see the header. All occurrences are looked at,
 * for a second one is as bad as none. What JSON says is in key_json.c. */
#include "core/key.h"

#include "base/assert.h"

/* -------- one value -------- */

enum fm_key_outcome fm_key_set(struct fm_key *out, struct fm_str value)
{
    out->n = 0;
    if (value.n == 0)
        return FM_KEY_MISSING;
    if (value.n > FM_KEY_MAX)
        return FM_KEY_TOO_LONG;
    for (size_t i = 0; i < value.n;) {
        uint32_t cp = 0;
        size_t len = fm_str_utf8(fm_str(value.p + i, value.n - i), &cp);
        if (len == 0 || cp < 0x20 || (cp >= 0x7f && cp < 0xa0))
            return FM_KEY_MALFORMED;
        i += len;
    }
    memcpy(out->text, value.p, value.n);
    out->n = (uint8_t)value.n;
    return FM_KEY_FOUND;
}

enum fm_key_name fm_key_name(struct fm_str want, struct fm_str given)
{
    if (fm_str_eq(want, given))
        return FM_KEY_NAME_SAME;
    return fm_str_eq_nocase(want, given) ? FM_KEY_NAME_DISGUISED : FM_KEY_NAME_OTHER;
}

/* What was found up to now. */
struct pick {
    struct fm_key *key;
    enum fm_key_outcome outcome;
    bool seen;
};

/* The next occurrence. The first thing that is wrong is what is said. */
static void take(struct pick *p, enum fm_key_outcome outcome)
{
    if (p->seen && (p->outcome == FM_KEY_FOUND || p->outcome == FM_KEY_MISSING))
        p->outcome = FM_KEY_REPEATED;
    else if (!p->seen)
        p->outcome = outcome;
    p->seen = true;
}

static void take_value(struct pick *p, struct fm_str value)
{
    struct fm_key one;
    enum fm_key_outcome outcome = fm_key_set(&one, value);
    if (outcome == FM_KEY_FOUND)
        *p->key = one;
    take(p, outcome);
}

static bool has_any(struct fm_str s, const char *of)
{
    for (; *of; of++)
        if (s.n && memchr(s.p, *of, s.n))
            return true;
    return false;
}

/* -------- escapes -------- */

static int hex_value(char c)
{
    c = fm_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte at *i, which moves on to its last character; -1 for a broken escape. */
static int unescaped(struct fm_str s, size_t *i)
{
    FM_ASSERT(*i < s.n);
    if (s.p[*i] != '%')
        return (unsigned char)s.p[*i];
    int high = s.n - *i > 2 ? hex_value(s.p[*i + 1]) : -1;
    int low = high >= 0 ? hex_value(s.p[*i + 2]) : -1;
    *i += 2;
    return low < 0 ? -1 : high << 4 | low;
}

/* -------- path -------- */

static bool segment_is_plain(struct fm_str s)
{
    bool dots = s.n > 0;
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++, n++) {
        int c = unescaped(s, &i);
        if (c <= 0 || c == '/' || c == '\\' || c == ';')
            return false;
        dots = dots && c == '.';
    }
    return !dots || n > 2;
}

/* Does everybody see the same segments in it? What we resolve, what we send on as it is and what
 * some servers make of "..;" must not be three things. */
static bool path_is_plain(struct fm_str path)
{
    if (path.n == 0 || path.p[0] != '/')
        return false;
    struct fm_str rest = fm_str(path.p + 1, path.n - 1);
    while (rest.p) {
        struct fm_str one = fm_str_cut(rest, '/', &rest);
        if ((one.n == 0 && rest.p) || !segment_is_plain(one))
            return false;
    }
    return true;
}

static enum fm_key_outcome from_path(const struct fm_key_spec *spec,
                                     const struct fm_key_request *rq, struct fm_key *out)
{
    if (!path_is_plain(rq->path))
        return FM_KEY_MALFORMED;
    return spec->segment < rq->nsegments ? fm_key_set(out, rq->segment[spec->segment])
                                         : FM_KEY_MISSING;
}

/* -------- header fields -------- */

static void field_at(const struct fm_key_request *rq, unsigned i, struct fm_str *name,
                     struct fm_str *value)
{
    const char *at = (const char *)rq->fields + i * rq->stride;
    FM_ASSERT(i < rq->nfields && rq->stride >= 2 * sizeof *name);
    memcpy(name, at, sizeof *name);
    memcpy(value, at + sizeof *name, sizeof *value);
}

/* The same header to a program that gets it by CGI or WSGI, but not to others. */
static enum fm_key_name header_name(struct fm_str want, struct fm_str given)
{
    if (want.n != given.n)
        return FM_KEY_NAME_OTHER;
    bool disguised = false;
    for (size_t i = 0; i < want.n; i++) {
        char a = fm_lower(want.p[i]), b = fm_lower(given.p[i]);
        if (a == b)
            continue;
        if ((a != '-' && a != '_') || (b != '-' && b != '_'))
            return FM_KEY_NAME_OTHER;
        disguised = true;
    }
    return disguised ? FM_KEY_NAME_DISGUISED : FM_KEY_NAME_SAME;
}

static void take_header(struct pick *p, struct fm_str want, struct fm_str name, struct fm_str value)
{
    switch (header_name(want, name)) {
    case FM_KEY_NAME_OTHER:
        break;
    case FM_KEY_NAME_DISGUISED:
        take(p, FM_KEY_MALFORMED);
        break;
    case FM_KEY_NAME_SAME:
        if (has_any(value, ","))
            take(p, FM_KEY_REPEATED);
        else
            take_value(p, value);
        break;
    }
}

/* One Cookie field. Of several (HTTP/2 parts them) all are looked at. */
static void take_cookies(struct pick *p, struct fm_str want, struct fm_str value)
{
    while (value.n) {
        struct fm_str content, pair = fm_str_trim(fm_str_cut(value, ';', &value));
        struct fm_str name = fm_str_cut(pair, '=', &content);
        bool blanks = fm_str_trim(name).n != name.n || fm_str_trim(content).n != content.n;
        enum fm_key_name same = fm_key_name(want, fm_str_trim(name));
        if (!content.p || same == FM_KEY_NAME_OTHER)
            continue;
        if (same == FM_KEY_NAME_DISGUISED || blanks || has_any(content, "\", \t\\"))
            take(p, FM_KEY_MALFORMED);
        else
            take_value(p, content);
    }
}

static enum fm_key_outcome from_fields(const struct fm_key_spec *spec,
                                       const struct fm_key_request *rq, struct fm_key *out)
{
    struct pick p = {out, FM_KEY_MISSING, false};
    for (unsigned i = 0; i < rq->nfields; i++) {
        struct fm_str name, value;
        field_at(rq, i, &name, &value);
        if (spec->from == FM_KEY_HEADER)
            take_header(&p, spec->name[0], name, value);
        else if (fm_str_eq_nocase(name, FM_STR("cookie")))
            take_cookies(&p, spec->name[0], value);
    }
    return p.outcome;
}

/* -------- query -------- */

/* As a form is decoded (WHATWG URL, application/x-www-form-urlencoded). Writes at most `cap` bytes
 * and says how many there were; false for a broken escape. */
static bool form_decode(struct fm_str s, char *out, size_t cap, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < s.n; i++) {
        bool blank = s.p[i] == '+';
        int c = unescaped(s, &i);
        if (c < 0)
            return false;
        if (*n < cap)
            out[*n] = blank ? ' ' : (char)c;
        ++*n;
    }
    return true;
}

static void take_parameter(struct pick *p, struct fm_str want, struct fm_str pair, bool semicolon)
{
    char mem[FM_KEY_MAX + 1];
    size_t n;
    struct fm_str value, name = fm_str_cut(pair, '=', &value);
    if (!form_decode(name, mem, sizeof mem, &n) || n > sizeof mem)
        return;
    enum fm_key_name same = fm_key_name(want, fm_str(mem, n));
    if (same == FM_KEY_NAME_OTHER)
        return;
    if (same == FM_KEY_NAME_DISGUISED || semicolon || !form_decode(value, mem, sizeof mem, &n))
        take(p, FM_KEY_MALFORMED);
    else if (n > FM_KEY_MAX)
        take(p, FM_KEY_TOO_LONG);
    else
        take_value(p, fm_str(mem, n));
}

static enum fm_key_outcome from_query(const struct fm_key_spec *spec,
                                      const struct fm_key_request *rq, struct fm_key *out)
{
    struct pick p = {out, FM_KEY_MISSING, false};
    struct fm_str q = rq->query;
    if (q.n && q.p[0] == '?')
        q = fm_str(q.p + 1, q.n - 1);
    bool before = false;
    for (size_t start = 0, i = 0; i <= q.n; i++) {
        if (i < q.n && q.p[i] != '&' && q.p[i] != ';')
            continue;
        bool behind = i < q.n && q.p[i] == ';';
        take_parameter(&p, spec->name[0], fm_str(q.p + start, i - start), before || behind);
        before = behind;
        start = i + 1;
    }
    return p.outcome;
}

/* -------- claims -------- */

static int base64url_value(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '-'             ? 62
           : c == '_'             ? 63
                                  : -1;
}

/* Without padding, and with no bit left over that says something (RFC 7515 section 2). `out` has
 * room for 3 bytes of each 4. */
static bool base64url_decode(struct fm_str s, char *out, size_t *n)
{
    uint32_t bits = 0;
    unsigned held = 0;
    *n = 0;
    if (s.n % 4 == 1)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        int v = base64url_value(s.p[i]);
        if (v < 0)
            return false;
        bits = (bits << 6 | (uint32_t)v) & 0xfff;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[(*n)++] = (char)(bits >> held & 0xff);
        }
    }
    FM_ASSERT(held < 8);
    return (bits & ((1u << held) - 1)) == 0;
}

static enum fm_key_outcome from_token(const struct fm_key_spec *spec, struct fm_str credentials,
                                      struct fm_key *out)
{
    char claims[FM_KEY_CLAIMS_MAX];
    struct fm_str rest, signature;
    struct fm_str scheme = fm_str_cut(credentials, ' ', &rest);
    if (!fm_str_eq_nocase(scheme, FM_STR("bearer")))
        return FM_KEY_MISSING;
    struct fm_str head = fm_str_cut(fm_str_trim(rest), '.', &rest);
    struct fm_str payload = fm_str_cut(rest, '.', &signature);
    if (head.n == 0 || payload.n == 0 || signature.n == 0 || has_any(signature, "."))
        return FM_KEY_MALFORMED;
    if (payload.n > sizeof claims / 3 * 4)
        return FM_KEY_OUT_OF_REACH;
    size_t n;
    if (!base64url_decode(payload, claims, &n))
        return FM_KEY_MALFORMED;
    FM_ASSERT(n <= sizeof claims);
    return fm_key_from_json(spec->name, spec->nnames, fm_str(claims, n), out);
}

static enum fm_key_outcome from_claim(const struct fm_key_spec *spec,
                                      const struct fm_key_request *rq, struct fm_key *out)
{
    struct pick p = {out, FM_KEY_MISSING, false};
    for (unsigned i = 0; i < rq->nfields; i++) {
        struct fm_str name, value;
        field_at(rq, i, &name, &value);
        if (fm_str_eq_nocase(name, FM_STR("authorization")))
            take(&p, from_token(spec, value, out));
    }
    return p.outcome;
}

/* -------- the whole -------- */

bool fm_key_split(struct fm_str dotted, struct fm_key_spec *spec)
{
    spec->nnames = 0;
    do {
        struct fm_str one = fm_str_cut(dotted, '.', &dotted);
        if (one.n == 0 || spec->nnames == FM_KEY_NAMES_MAX)
            return false;
        spec->name[spec->nnames++] = one;
    } while (dotted.p);
    return true;
}

enum fm_key_outcome fm_key_find(const struct fm_key_spec *spec, const struct fm_key_request *rq,
                                struct fm_key *out)
{
    enum fm_key_outcome outcome = FM_KEY_MISSING;
    FM_ASSERT(spec->from == FM_KEY_PATH || (spec->nnames > 0 && spec->nnames <= FM_KEY_NAMES_MAX));
    out->n = 0;
    switch (spec->from) {
    case FM_KEY_PATH:
        outcome = from_path(spec, rq, out);
        break;
    case FM_KEY_HEADER:
    case FM_KEY_COOKIE:
        outcome = from_fields(spec, rq, out);
        break;
    case FM_KEY_QUERY:
        outcome = from_query(spec, rq, out);
        break;
    case FM_KEY_BODY:
        outcome = rq->body_cut ? FM_KEY_OUT_OF_REACH
                               : fm_key_from_json(spec->name, spec->nnames, rq->body, out);
        break;
    case FM_KEY_CLAIM:
        outcome = from_claim(spec, rq, out);
        break;
    }
    if (outcome != FM_KEY_FOUND)
        out->n = 0;
    FM_ASSERT((outcome == FM_KEY_FOUND) == (out->n > 0));
    return outcome;
}

enum fm_problem fm_key_problem(enum fm_key_outcome outcome)
{
    switch (outcome) {
    case FM_KEY_FOUND:
        return FM_PROBLEM_NONE;
    case FM_KEY_MISSING:
        return FM_PROBLEM_ENTITY_MISSING;
    case FM_KEY_REPEATED:
        return FM_PROBLEM_ENTITY_REPEATED;
    case FM_KEY_TOO_LONG:
        return FM_PROBLEM_ENTITY_TOO_LONG;
    case FM_KEY_MALFORMED:
        return FM_PROBLEM_ENTITY_MALFORMED;
    case FM_KEY_OUT_OF_REACH:
        return FM_PROBLEM_ENTITY_OUT_OF_REACH;
    }
    FM_UNREACHABLE();
}
