/* What PostgreSQL decodes from its log: see the header. Invariant: a view that is given out lies
 * within the text that was given in, and what is left over only gets shorter. */
#include "pg/decoded.h"

#include "base/assert.h"

const char *fm_pg_word_name(enum fm_pg_word_kind k)
{
    static const char *const name[] = {
#define X(id, text) [FM_PG_WORD_##id] = text,
        FM_PG_WORDS(X)
#undef X
    };
    FM_ASSERT((size_t)k < FM_COUNT(name));
    return name[k];
}

/* -------- lines -------- */

bool fm_pg_line_parse(struct fm_str line, struct fm_pg_line *out)
{
    struct fm_str rest, kind = fm_str_cut(line, '\t', &rest);
    *out = (struct fm_pg_line){.kind = 0};
    if (kind.n != 1 || !memchr("DKCS", kind.p[0], 4) || !rest.p)
        return false;
    out->kind = kind.p[0];
    for (unsigned i = 0; i < FM_PG_LINE_FIELDS; i++)
        out->field[i] = rest.p ? fm_str_cut(rest, '\t', &rest) : fm_str(NULL, 0);
    return rest.p == NULL;
}

void fm_pg_field_write(struct fm_buf *b, struct fm_str field)
{
    static const char from[] = "bfnrtv", to[] = "\b\f\n\r\t\v";
    for (size_t i = 0; i < field.n; i++) {
        if (field.p[i] != '\\' || i + 1 == field.n) {
            fm_buf_ch(b, field.p[i]);
            continue;
        }
        const char *found = memchr(from, field.p[++i], sizeof from - 1);
        fm_buf_ch(b, found ? to[found - from] : field.p[i]);
    }
}

/* -------- words -------- */

static bool skip(struct fm_str *s, struct fm_str what)
{
    if (!fm_str_starts(*s, what))
        return false;
    *s = fm_str(s->p + what.n, s->n - what.n);
    return true;
}

/* How far it goes to `end`, which stands outside of quoted names; s.n where it does not. */
static size_t find_outside(struct fm_str s, char end)
{
    bool quoted = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"')
            quoted = !quoted;
        else if (s.p[i] == end && !quoted)
            return i;
    }
    return s.n;
}

/* Where the part behind " new-tuple:" begins, if there is one; `s` begins behind " old-key:". */
static bool find_new(struct fm_str s, struct fm_str *old, struct fm_str *new_)
{
    struct fm_str rest = s;
    struct fm_pg_column c;
    while (fm_pg_column_next(&rest, &c)) {
    }
    *old = fm_str(s.p, s.n - rest.n);
    *new_ = rest;
    return skip(new_, FM_STR(" new-tuple:"));
}

static void parse_change(struct fm_str s, struct fm_pg_word *out)
{
    static const struct {
        enum fm_pg_word_kind kind;
        struct fm_str text;
    } change[] = {{FM_PG_WORD_INSERT, FM_STR_INIT(": INSERT:")},
                  {FM_PG_WORD_UPDATE, FM_STR_INIT(": UPDATE:")},
                  {FM_PG_WORD_DELETE, FM_STR_INIT(": DELETE:")},
                  {FM_PG_WORD_TRUNCATE, FM_STR_INIT(": TRUNCATE:")}};
    size_t n = find_outside(s, ':');
    struct fm_str rest = fm_str(s.p + n, s.n - n);
    for (size_t i = 0; i < FM_COUNT(change); i++) {
        if (!skip(&rest, change[i].text))
            continue;
        out->kind = change[i].kind;
        out->relation = fm_str(s.p, n);
        out->columns = rest;
        if (out->kind == FM_PG_WORD_UPDATE && skip(&rest, FM_STR(" old-key:")) &&
            !find_new(rest, &out->old, &out->columns))
            out->columns = rest; /* it was cut: all that is there */
        return;
    }
}

void fm_pg_word_parse(struct fm_str text, struct fm_pg_word *out)
{
    *out = (struct fm_pg_word){.kind = FM_PG_WORD_OTHER};
    if (skip(&text, FM_STR("table "))) {
        parse_change(text, out);
    } else if (fm_str_starts(text, FM_STR("BEGIN"))) {
        out->kind = FM_PG_WORD_BEGIN;
    } else if (fm_str_starts(text, FM_STR("COMMIT"))) {
        const char *at = memchr(text.p, '(', text.n);
        struct fm_str rest = at ? fm_str(at, text.n - (size_t)(at - text.p)) : fm_str(NULL, 0);
        out->kind = FM_PG_WORD_COMMIT;
        if (skip(&rest, FM_STR("(at ")) && fm_str_ends(rest, FM_STR(")")))
            out->at = fm_str(rest.p, rest.n - 1);
    }
}

/* -------- columns -------- */

/* "integer]", "integer[]]", "\"a type\"]": how far to the bracket that ends it; s.n: nowhere. */
static size_t find_end_of_type(struct fm_str s)
{
    unsigned depth = 1;
    bool quoted = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"')
            quoted = !quoted;
        else if (s.p[i] == '[' && !quoted)
            depth++;
        else if (s.p[i] == ']' && !quoted && --depth == 0)
            return i;
    }
    return s.n;
}

/* How long what stands before the last quote is; s.n: it does not end. */
static size_t find_end_of_text(struct fm_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '\'')
            continue;
        if (i + 1 == s.n || s.p[i + 1] != '\'')
            return i;
        i++;
    }
    return s.n;
}

/* A quote in it stands twice. */
static bool is_quoted_name(struct fm_str s)
{
    if (s.n < 3 || s.p[0] != '"' || s.p[s.n - 1] != '"')
        return false;
    for (size_t i = 1; i < s.n - 1; i++)
        if (s.p[i] == '"' && (i + 1 == s.n - 1 || s.p[++i] != '"'))
            return false;
    return true;
}

/* Whatever is more than this is in quotes. */
static bool is_name(struct fm_str s)
{
    if (is_quoted_name(s))
        return true;
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') ||
              s.p[i] == '_'))
            return false;
    return s.n > 0;
}

static bool take_value(struct fm_str *s, struct fm_pg_column *out)
{
    bool bits = fm_str_starts(*s, FM_STR("B'"));
    if (bits || fm_str_starts(*s, FM_STR("'"))) {
        struct fm_str text = fm_str(s->p + 1 + bits, s->n - 1 - bits);
        size_t n = find_end_of_text(text);
        if (n == text.n)
            return false;
        out->form = FM_PG_QUOTED;
        out->value = fm_str(text.p, n);
        *s = fm_str(text.p + n + 1, text.n - n - 1);
        return true;
    }
    size_t n = 0;
    while (n < s->n && s->p[n] != ' ')
        n++;
    struct fm_str value = fm_str(s->p, n);
    out->form = fm_str_eqz(value, "null")                    ? FM_PG_NULL
                : fm_str_eqz(value, "unchanged-toast-datum") ? FM_PG_UNCHANGED
                                                             : FM_PG_BARE;
    out->value = out->form == FM_PG_BARE ? value : fm_str(NULL, 0);
    *s = fm_str(s->p + n, s->n - n);
    return n > 0;
}

bool fm_pg_column_next(struct fm_str *rest, struct fm_pg_column *out)
{
    struct fm_str s = *rest;
    *out = (struct fm_pg_column){.form = FM_PG_NULL};
    if (!skip(&s, FM_STR(" ")))
        return false;
    size_t n = find_outside(s, '[');
    if (n == s.n || !is_name(fm_str(s.p, n)))
        return false;
    out->name = fm_str(s.p, n);
    s = fm_str(s.p + n + 1, s.n - n - 1);
    n = find_end_of_type(s);
    if (n == s.n)
        return false;
    out->type = fm_str(s.p, n);
    s = fm_str(s.p + n, s.n - n);
    if (!skip(&s, FM_STR("]:")) || !take_value(&s, out))
        return false;
    FM_ASSERT(s.n < rest->n);
    *rest = s;
    return true;
}

void fm_pg_value_write(struct fm_buf *b, const struct fm_pg_column *c)
{
    for (size_t i = 0; i < c->value.n; i++) {
        fm_buf_ch(b, c->value.p[i]);
        if (c->form == FM_PG_QUOTED && c->value.p[i] == '\'')
            i++; /* its twin */
    }
}

bool fm_pg_names_have(struct fm_str names, struct fm_str name)
{
    while (names.p) {
        size_t n = find_outside(names, ',');
        if (fm_str_eq(fm_str(names.p, n), name))
            return true;
        names = n < names.n ? fm_str(names.p + n + 1, names.n - n - 1) : fm_str(NULL, 0);
    }
    return false;
}
