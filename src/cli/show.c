/* Documents of daemons, for tables: see the header. */
#include "cli/show.h"

#include "base/assert.h"
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

const char *fm_show_text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

long long fm_show_number(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

const char *fm_show_number_or_dash(const json_t *o, const char *key, char out[FM_SHOW_NUMBER])
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v))
        return "-";
    snprintf(out, FM_SHOW_NUMBER, "%lld", (long long)json_integer_value(v));
    return out;
}

const char *fm_show_or_dash(const char *text)
{
    return text && text[0] ? text : "-";
}

const char *fm_show_clock(const char *rfc3339, char out[FM_SHOW_CLOCK])
{
    snprintf(out, FM_SHOW_CLOCK, "%.8s", strlen(rfc3339) > 19 ? rfc3339 + 11 : "-");
    return out;
}

const char *fm_show_ms(long long ms, char out[FM_SHOW_NUMBER])
{
    double s = (double)ms / 1000;
    if (ms < 0)
        return "-";
    if (ms < 1000)
        snprintf(out, FM_SHOW_NUMBER, "%lld ms", ms);
    else if (s < 120)
        snprintf(out, FM_SHOW_NUMBER, "%.1f s", s);
    else if (s < 7200)
        snprintf(out, FM_SHOW_NUMBER, "%.0f min", s / 60);
    else
        snprintf(out, FM_SHOW_NUMBER, "%.1f h", s / 3600);
    return out;
}

void fm_show_cells(const json_t *list, char *out, size_t n)
{
    FM_ASSERT(n > 4);
    struct fm_buf b = fm_buf(out, n - 1); /* the end of the text */
    if (!json_is_array(list) || json_array_size(list) == 0) {
        snprintf(out, n, "%s", json_is_array(list) ? "-" : "all");
        return;
    }
    for (size_t i = 0; i < json_array_size(list);) {
        json_int_t first = json_integer_value(json_array_get(list, i)), last = first;
        for (i++; i < json_array_size(list); i++, last++)
            if (json_integer_value(json_array_get(list, i)) != last + 1)
                break;
        if (b.n)
            fm_buf_ch(&b, ',');
        fm_buf_i64(&b, first);
        if (last > first) {
            fm_buf_ch(&b, '-');
            fm_buf_i64(&b, last);
        }
    }
    out[b.n] = 0;
    if (b.full)
        snprintf(out, n, "%zu of them", json_array_size(list));
}

/* It grows beside the bound, from then on. */
static void add_broken(const json_t *broken, char out[FM_SHOW_LOSS])
{
    char at[FM_SHOW_CLOCK], for_ms[FM_SHOW_NUMBER];
    size_t n = strlen(out);
    if (!json_is_object(broken))
        return;
    snprintf(out + n, FM_SHOW_LOSS - n,
             "; replication to %.64s is broken on purpose since %s (%s): it lacks %lld bytes",
             fm_show_text(broken, "node"), fm_show_clock(fm_show_text(broken, "since"), at),
             fm_show_ms(fm_show_number(broken, "for_ms"), for_ms),
             fm_show_number(broken, "lacks_bytes"));
}

/* Where a node of the primary's own region would lose less. */
static void add_in_region(const json_t *loss, char out[FM_SHOW_LOSS])
{
    const json_t *in = json_object_get(loss, "in_region");
    const json_t *bytes = json_object_get(in, "bytes"), *all = json_object_get(loss, "bytes");
    bool sure = strcmp(fm_show_text(in, "kind"), "enforced") == 0 && json_is_integer(bytes);
    bool less = strcmp(fm_show_text(loss, "kind"), "enforced") != 0 ||
                json_integer_value(bytes) < json_integer_value(all);
    size_t n = strlen(out);
    if (!sure || !less)
        return;
    if (json_integer_value(bytes) == 0)
        snprintf(out + n, FM_SHOW_LOSS - n, "; nothing within the region");
    else
        snprintf(out + n, FM_SHOW_LOSS - n, "; at most %lld bytes within the region",
                 (long long)json_integer_value(bytes));
}

const char *fm_show_loss(const json_t *loss, char out[FM_SHOW_LOSS])
{
    const char *kind = fm_show_text(loss, "kind"), *why = fm_show_text(loss, "why");
    const json_t *bytes = json_object_get(loss, "bytes"), *ms = json_object_get(loss, "ms");
    bool sure = strcmp(kind, "enforced") == 0;
    char some[FM_SHOW_NUMBER + 8] = "", since[FM_SHOW_NUMBER];
    if (json_is_integer(bytes))
        snprintf(some, sizeof some, "%lld bytes, of ", (long long)json_integer_value(bytes));
    if (json_is_integer(ms))
        snprintf(out, FM_SHOW_LOSS, "about %sthe last %s (%.20s)", some,
                 fm_show_ms(json_integer_value(ms), since), kind);
    else if (ms)
        snprintf(out, FM_SHOW_LOSS, "not bounded (`lag` has said nothing)");
    else if (json_is_integer(bytes))
        snprintf(out, FM_SHOW_LOSS, "%s %lld bytes, %lld transactions (%.20s)",
                 sure ? "at most" : "about", (long long)json_integer_value(bytes),
                 fm_show_number(loss, "transactions"), kind);
    else
        snprintf(out, FM_SHOW_LOSS, "%s%s%.*s", json_is_object(loss) ? "not bounded" : "",
                 why[0] ? ": " : "", FM_SHOW_WHY, why);
    add_in_region(loss, out);
    add_broken(json_object_get(loss, "broken"), out);
    return out;
}

void fm_show_tame(json_t *doc)
{
    const char *key;
    json_t *v;
    size_t i;
    if (json_is_string(doc)) {
        char *text = strdup(json_string_value(doc));
        FM_ASSERT(text);
        fm_text_tame(text);
        json_string_set(doc, text);
        free(text);
    }
    json_object_foreach(doc, key, v)
    {
        fm_show_tame(v);
    }
    json_array_foreach(doc, i, v)
    {
        fm_show_tame(v);
    }
}
