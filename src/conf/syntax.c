/* Explanations of syntax errors: see the header. libyaml says what its grammar wanted; people want
 * to know what they did. Each function below recognises one slip of the hand and returns true when
 * it has reported it; the last resort is libyaml's own text. */
#include "conf/syntax.h"

#include "base/assert.h"

struct trouble {
    struct fm_conf_report *report;
    const struct fm_source *src;
    const char *problem, *context;
    struct fm_conf_pos pos, began; /* where it was noticed, and where what it is in began */
    struct fm_str line;            /* of pos */
    size_t at;                     /* of pos in line */
    struct fm_conf_pos scalar;     /* the last one began here */
};

static char byte_at(struct fm_str s, size_t i)
{
    return i < s.n ? s.p[i] : '\0';
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\0';
}

static bool word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

/* Behind the bracket that closes the one at `i`; the end of s where none does. */
static size_t behind_group(struct fm_str s, size_t i)
{
    FM_ASSERT(i < s.n && (s.p[i] == '{' || s.p[i] == '['));
    char close = s.p[i] == '{' ? '}' : ']';
    const char *end = memchr(s.p + i, close, s.n - i);
    return end ? (size_t)(end - s.p) + 1 : s.n;
}

struct fm_str fm_syntax_token(struct fm_str line, size_t at)
{
    FM_ASSERT(at <= line.n);
    size_t from = at, to = at;
    while (from > 0 && !blank(line.p[from - 1]) && !strchr(",[{", line.p[from - 1])) {
        from--;
        const char *open = line.p[from] == '}' ? memrchr(line.p, '{', from) : NULL;
        from = open ? (size_t)(open - line.p) : from;
    }
    while (to < line.n && !blank(line.p[to]) && !strchr(",]}", line.p[to]))
        to = line.p[to] == '{' || line.p[to] == '[' ? behind_group(line, to) : to + 1;
    FM_ASSERT(from <= to && to <= line.n);
    return fm_str(line.p + from, to - from);
}

/* `{name}` or an IPv6 address in brackets at i? */
static bool is_bare_name(struct fm_str s, size_t i)
{
    size_t end = i + 1;
    while (word(byte_at(s, end)))
        end++;
    return byte_at(s, i) == '{' && end > i + 1 && byte_at(s, end) == '}';
}

static bool is_bare_ip(struct fm_str s, size_t i)
{
    size_t end = i + 1;
    bool colon = false;
    while (byte_at(s, end) && strchr("0123456789abcdefABCDEF:.", s.p[end]))
        colon |= s.p[end++] == ':';
    return byte_at(s, i) == '[' && colon && byte_at(s, end) == ']';
}

/* Is there `{name}`, `[::1]` or `name-[1-3]` without quotes at the place of the trouble? */
static bool unquoted_brackets(const struct trouble *t)
{
    enum { LONGEST = 2048 }; /* the search is quadratic in lines made to be so */
    char quote = 0;
    if (t->line.n > LONGEST)
        return false;
    for (size_t i = 0; i < t->line.n; i++) {
        char c = t->line.p[i], prev = i ? t->line.p[i - 1] : ' ';
        if (quote) {
            quote = c == quote ? 0 : quote;
            continue;
        }
        if (c == '#' && blank(prev))
            break;
        if ((c == '"' || c == '\'') && !word(prev)) {
            quote = c;
            continue;
        }
        bool range = c == '[' && prev == '-';
        if (!range && !is_bare_name(t->line, i) && !is_bare_ip(t->line, i))
            continue;
        struct fm_str token = fm_syntax_token(t->line, i);
        size_t from = (size_t)(token.p - t->line.p);
        if (t->at < from || t->at > from + token.n)
            continue;
        struct fm_conf_pos pos = t->pos;
        pos.col = fm_source_col(t->line, from);
        while (token.n && token.p[token.n - 1] == ':')
            token.n--;
        fm_report_error(t->report, pos,
                        "`%s` needs quotes: without them YAML reads a `%c` here "
                        "as the beginning of a %s",
                        FM_Q(token), c, c == '{' ? "map" : "list");
        fm_report_advice(t->report, "write \"%s\"", FM_Q(token));
        return true;
    }
    return false;
}

static bool tab(const struct trouble *t)
{
    if (byte_at(t->line, t->at) != '\t' && !strstr(t->problem, "tab character"))
        return false;
    fm_report_error(t->report, t->pos, "a tab in the indentation, and YAML indents with spaces");
    fm_report_advice(t->report, "replace the tab by spaces");
    return true;
}

static bool star_or_anchor(const struct trouble *t)
{
    bool alias = t->context && strstr(t->context, "scanning an alias");
    if (!alias && !(t->context && strstr(t->context, "scanning an anchor")))
        return false;
    struct fm_str line = fm_source_line(t->src, t->began.line);
    if (!line.p)
        return false;
    struct fm_quoted token = fm_quoted(fm_syntax_token(line, fm_source_column(line, t->began.col)));
    fm_report_error(t->report, t->began,
                    "`%s` needs quotes: without them YAML reads the `%c` as %s", token.s,
                    alias ? '*' : '&', alias ? "an alias" : "an anchor");
    fm_report_advice(t->report, "write \"%s\"", token.s);
    return true;
}

static bool quotes(const struct trouble *t)
{
    if (!t->context || !strstr(t->context, "quoted scalar"))
        return false;
    if (strstr(t->problem, "unexpected end of stream") ||
        strstr(t->problem, "unexpected document indicator")) {
        fm_report_error(t->report, t->began, "the quote that opens here is never closed");
        fm_report_advice(t->report, "close it on the same line");
        return true;
    }
    if (strstr(t->problem, "escape") || strstr(t->problem, "hexdecimal")) {
        fm_report_error(t->report, t->pos, "unknown escape: in double quotes a `\\` begins one");
        fm_report_advice(t->report, "write `\\\\` for a backslash, or use single quotes");
        return true;
    }
    return false;
}

static bool bad_start(const struct trouble *t)
{
    if (!strstr(t->problem, "cannot start any token"))
        return false;
    struct fm_quoted token = fm_quoted(fm_syntax_token(t->line, t->at));
    fm_report_error(t->report, t->pos, "a value cannot begin with `%c` unless it is quoted",
                    byte_at(t->line, t->at));
    fm_report_advice(t->report, "write \"%s\"", token.s);
    return true;
}

/* `key:value` at the beginning of the line (or behind its `- `)? */
static bool colon_without_space(struct fm_str line, struct fm_str *key, struct fm_str *value)
{
    size_t i = 0;
    while (i < line.n && (line.p[i] == ' ' || line.p[i] == '-'))
        i++;
    size_t from = i;
    while (word(byte_at(line, i)))
        i++;
    if (i == from || byte_at(line, i) != ':' || blank(byte_at(line, i + 1)))
        return false;
    *key = fm_str(line.p + from, i - from);
    *value = fm_str(line.p + i + 1, line.n - i - 1);
    return true;
}

static bool missing_space(const struct trouble *t)
{
    bool colon = strstr(t->problem, "mapping values are not allowed") ||
                 strstr(t->problem, "could not find expected ':'");
    uint32_t lines[] = {t->scalar.line, t->began.line, t->pos.line > 1 ? t->pos.line - 1 : 0};
    for (size_t i = 0; colon && i < FM_COUNT(lines); i++) {
        struct fm_str line = fm_source_line(t->src, lines[i]), key, value;
        if (lines[i] == 0 || !colon_without_space(line, &key, &value))
            continue;
        struct fm_conf_pos pos = {t->src->file, lines[i], (uint32_t)(key.p - line.p) + 1};
        fm_report_error(t->report, pos, "no space behind the colon of `%s`", FM_Q(key));
        fm_report_advice(t->report, "write `%s: %s`", FM_Q(key), FM_Q(value));
        return true;
    }
    return false;
}

static bool not_a_key(const struct trouble *t)
{
    if (strstr(t->problem, "could not find expected ':'")) {
        struct fm_str line = fm_str_trim(fm_source_line(t->src, t->began.line));
        size_t n = 0;
        while (word(byte_at(line, n)))
            n++;
        fm_report_error(t->report, t->began, "here stands neither `key: value` nor a list entry");
        if (n && n == line.n)
            fm_report_advice(t->report, "is there a `:` missing? write `%s:`", FM_Q(line));
        else
            fm_report_advice(t->report, "write `key: value`, or indent it if it belongs to the "
                                        "above");
        return true;
    }
    if (!strstr(t->problem, "mapping values are not allowed"))
        return false;
    if (t->scalar.line && t->scalar.line < t->pos.line) {
        uint32_t col = 1;
        while (byte_at(t->line, col - 1) == ' ')
            col++;
        struct fm_conf_pos pos = {t->src->file, t->pos.line, col};
        fm_report_error(t->report, pos,
                        "this line is indented deeper than line %u, which has a value already",
                        t->scalar.line);
        fm_report_advice(t->report, "indent both alike; or is a `:` missing behind the key above?");
        return true;
    }
    fm_report_error(t->report, t->pos, "a second `:` in one line");
    fm_report_advice(t->report, "put quotes round a text that contains `: `, and braces round a "
                                "map in one line: `{key: value}`");
    return true;
}

static bool unclosed(const struct trouble *t)
{
    if (!t->context || !strstr(t->context, "parsing a flow"))
        return false;
    bool map = strstr(t->context, "mapping") != NULL;
    struct fm_conf_pos pos = t->pos;
    if (strstr(t->problem, "expected node content")) {
        fm_report_error(t->report, pos, "a value is missing before `%c`", byte_at(t->line, t->at));
        fm_report_advice(t->report, "write one, or delete the comma or bracket too many");
    } else if (t->began.line != t->pos.line) {
        fm_report_error(t->report, t->began,
                        "the `%c` that opens here is not closed before line %u", map ? '{' : '[',
                        t->pos.line);
        fm_report_advice(t->report, "close it with `%c`", map ? '}' : ']');
    } else {
        fm_report_error(t->report, pos, "here must stand a `,` or the closing `%c`",
                        map ? '}' : ']');
        fm_report_advice(t->report, "separate entries with commas and quote a text with `{`, `[` "
                                    "or `,` in it");
    }
    return true;
}

/* Behind a quote or a bracket that closed: there should be nothing more. */
static bool trailing(const struct trouble *t)
{
    size_t before = t->at;
    while (before > 0 && blank(t->line.p[before - 1]))
        before--;
    char c = before > 0 ? t->line.p[before - 1] : '\0';
    if ((c == '"' || c == '\'') && t->scalar.line && t->scalar.line < t->pos.line) {
        fm_report_error(t->report, t->scalar, "the quote that opens here is closed only in line %u",
                        t->pos.line);
        fm_report_advice(t->report, "close it on the same line");
    } else if (c == '"' || c == '\'') {
        fm_report_error(t->report, t->pos, "text behind the closing quote");
        fm_report_advice(t->report, "put all of it into the quotes; a quote inside of single "
                                    "quotes is written twice, as in 'it''s'");
    } else if (c == '}' || c == ']') {
        fm_report_error(t->report, t->pos, "text behind the closing bracket");
        fm_report_advice(t->report, "quote the whole value if the brackets are part of it");
    } else {
        return false;
    }
    return true;
}

/* The last line above with something on it, and the column where that begins. */
static uint32_t line_above(const struct trouble *t, uint32_t *col)
{
    for (uint32_t i = t->pos.line - 1; i > 0 && i + 100 > t->pos.line; i--) {
        struct fm_str line = fm_source_line(t->src, i), text = fm_str_trim(line);
        if (!text.n || text.p[0] == '#')
            continue;
        *col = (uint32_t)(text.p - line.p) + 1;
        return i;
    }
    return 0;
}

static bool misplaced(const struct trouble *t)
{
    char c = byte_at(t->line, t->at);
    uint32_t col = 0, above;
    if (c == '}' || c == ']') {
        fm_report_error(t->report, t->pos, "this `%c` closes nothing", c);
        fm_report_advice(t->report, "delete it, or open it with `%c`", c == '}' ? '{' : '[');
        return true;
    }
    if (strstr(t->problem, "expected '-' indicator")) {
        fm_report_error(t->report, t->pos, "the list that began in line %u cannot go on with this",
                        t->began.line);
        fm_report_advice(t->report, "begin the line with `- ` if it is an entry, else indent it "
                                    "like the key that holds the list");
        return true;
    }
    if (!strstr(t->problem, "did not find expected key"))
        return false;
    if (trailing(t))
        return true;
    above = line_above(t, &col);
    fm_report_error(t->report, t->pos,
                    "this line is not indented like any line that it could "
                    "stand beside");
    if (above && col != t->began.col)
        fm_report_advice(t->report,
                         "indent it to column %u like line %u, or to column %u like "
                         "line %u",
                         col, above, t->began.col, t->began.line);
    else
        fm_report_advice(t->report, "indent it to column %u like line %u", t->began.col,
                         t->began.line);
    return true;
}

void fm_syntax_error(struct fm_load *l, const struct fm_source *src, const yaml_parser_t *y,
                     struct fm_conf_pos scalar)
{
    struct trouble t = {
        .report = l->report,
        .src = src,
        .problem = y->problem ? y->problem : "out of memory",
        .context = y->context,
        .pos = {src->file, (uint32_t)y->problem_mark.line + 1,
                (uint32_t)y->problem_mark.column + 1},
        .began = {src->file, (uint32_t)y->context_mark.line + 1,
                  (uint32_t)y->context_mark.column + 1},
        .scalar = scalar,
    };
    t.line = fm_source_line(src, t.pos.line);
    if (!t.line.p)
        t.line = FM_STR("");
    t.at = fm_source_column(t.line, t.pos.col);
    FM_ASSERT(t.at <= t.line.n && t.pos.line > 0 && t.pos.col > 0);
    static bool (*const known[])(const struct trouble *) = {
        tab,           quotes,    star_or_anchor, unquoted_brackets, bad_start,
        missing_space, not_a_key, unclosed,       misplaced,
    };
    size_t errors = l->report->errors;
    for (size_t i = 0; i < FM_COUNT(known); i++)
        if (known[i](&t))
            return;
    FM_ASSERT(l->report->errors == errors); /* who says no has said nothing */
    fm_report_error(l->report, t.pos, "not YAML: %s%s%s", t.problem, t.context ? " " : "",
                    t.context ? t.context : "");
    fm_report_advice(l->report, "look at this line and the one before: indentation, quotes, "
                                "brackets");
}
