/* Commands in texts: see the header. Invariant: of a text nothing is lost, and outside of its
 * commands nothing is added. */
#include "cli/hint.h"

#include "base/assert.h"
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

static const struct fm_args *given;

void fm_hint_begin(const struct fm_args *a)
{
    given = a;
}

/* -------- which command it is -------- */

/* By its name: of two that begin alike the longer one. */
static const struct fm_command *find(struct fm_str words)
{
    const struct fm_command *best = NULL;
    for (const struct fm_command *c = fm_commands; c->name; c++) {
        struct fm_str name = fm_str_z(c->name);
        bool whole = words.n == name.n || (words.n > name.n && words.p[name.n] == ' ');
        if (fm_str_starts(words, name) && whole && (!best || name.n > strlen(best->name)))
            best = c;
    }
    return best;
}

static bool has_word(struct fm_str words, const char *word)
{
    struct fm_str rest = words;
    while (rest.p) {
        struct fm_str one = fm_str_cut(rest, ' ', &rest);
        if (fm_str_eqz(one, word))
            return true;
    }
    return false;
}

/* -------- options -------- */

/* As a shell takes it. */
static void quote(const char *value, struct fm_buf *b)
{
    static const char plain[] = "_./:@%+=,-[]";
    bool safe = value[0] != 0;
    for (const char *p = value; *p; p++)
        safe &= (*p >= '0' && *p <= '9') || (fm_lower(*p) >= 'a' && fm_lower(*p) <= 'z') ||
                strchr(plain, *p);
    if (safe) {
        fm_buf_printf(b, "%s", value);
        return;
    }
    fm_buf_ch(b, '\'');
    for (const char *p = value; *p; p++) {
        if (*p == '\'')
            fm_buf_lit(b, "'\\''");
        else
            fm_buf_ch(b, *p);
    }
    fm_buf_ch(b, '\'');
}

static void add_options(const struct fm_command *c, struct fm_str words, struct fm_buf *b)
{
    const struct {
        uint64_t bit;
        const char *name, *letter, *value;
    } options[] = {
        {FM_OPT_BIT(CONFIG), "--config", "-c", given->config_said},
        {FM_OPT_BIT(HOST), "--host", "--host", given->host},
        {FM_OPT_BIT(SERVER), "--server", "--server", given->server},
        {FM_OPT_BIT(CERT), "--cert", "--cert", given->cert},
        {FM_OPT_BIT(KEY), "--key", "--key", given->key},
    };
    for (size_t i = 0; i < FM_COUNT(options); i++) {
        bool said = has_word(words, options[i].name) || has_word(words, options[i].letter);
        /* `fulmar status HOST` says itself whom it asks */
        said |= options[i].bit == FM_OPT_BIT(SERVER) && has_word(words, "HOST");
        if (!options[i].value || !(c->options & options[i].bit) || said)
            continue;
        fm_buf_printf(b, " %s ", options[i].letter);
        quote(options[i].value, b);
    }
}

const char *fm_hint_options(const char *command, char out[FM_HINT_OPTIONS])
{
    struct fm_buf b = fm_buf(out, FM_HINT_OPTIONS - 1);
    const struct fm_command *c = find(fm_str_z(command));
    FM_ASSERT(c);
    if (given)
        add_options(c, fm_str_z(command), &b);
    out[b.full ? 0 : b.n] = 0;
    return out;
}

/* -------- texts -------- */

const char *fm_hint(const char *text, char out[FM_HINT_ROOM])
{
    static const char sign[] = "`fulmar ";
    struct fm_buf b = fm_buf(out, FM_HINT_ROOM - 1);
    const char *at = text;
    FM_ASSERT(text);
    for (const char *next = given ? strstr(at, sign) : NULL; next; next = strstr(at, sign)) {
        const char *words = next + sizeof sign - 1, *end = strchr(words, '`');
        if (!end)
            break;
        struct fm_str inside = fm_str(words, (size_t)(end - words));
        const struct fm_command *c = find(inside);
        fm_buf_printf(&b, "%.*s", (int)(end - at), at);
        if (c)
            add_options(c, inside, &b);
        fm_buf_ch(&b, '`');
        at = end + 1;
    }
    fm_buf_printf(&b, "%s", at);
    if (b.full)
        return text;
    out[b.n] = 0;
    return out;
}

void fm_hint_print(FILE *to, const char *fmt, ...)
{
    char text[FM_HINT_ROOM], out[FM_HINT_ROOM];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    FM_ASSERT(n >= 0);
    fputs(fm_hint(text, out), to);
}
