/* See the header. */
#include "coord/store_text.h"

#include "base/assert.h"
#include "coord/base64.h"
#include "coord/coord.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static bool room(struct fm_store_text *t, size_t n)
{
    if (t->full || n > FM_COORD_ANSWER_MAX - t->n) {
        t->full = true;
        return false;
    }
    if (n <= t->cap - t->n)
        return true;
    size_t cap = 2 * (t->n + n) + 256;
    char *p = realloc(t->p, cap);
    if (!p) {
        t->full = true;
        return false;
    }
    t->p = p;
    t->cap = cap;
    return true;
}

void fm_store_text_add(struct fm_store_text *t, struct fm_str s)
{
    if (!room(t, s.n))
        return;
    memcpy(t->p + t->n, s.p, s.n);
    t->n += s.n;
}

void fm_store_text_printf(struct fm_store_text *t, const char *fmt, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    FM_ASSERT(n >= 0 && n < (int)sizeof line);
    fm_store_text_add(t, fm_str(line, (size_t)n));
}

static void base64(struct fm_store_text *t, struct fm_str bytes)
{
    size_t n = fm_base64_len(bytes.n);
    if (n == 0 || !room(t, n))
        return;
    struct fm_buf b = fm_buf(t->p + t->n, n);
    fm_base64_add(&b, bytes);
    FM_ASSERT(!b.full && b.n == n);
    t->n += n;
}

void fm_store_text_header(struct fm_store_text *t, uint64_t cluster, uint64_t revision)
{
    fm_store_text_printf(t,
                         "{\"header\":{\"cluster_id\":\"%llu\",\"member_id\":\"1\","
                         "\"revision\":\"%llu\",\"raft_term\":\"1\"}",
                         (unsigned long long)cluster, (unsigned long long)revision);
}

static void number(struct fm_store_text *t, const char *name, uint64_t v)
{
    if (v)
        fm_store_text_printf(t, ",\"%s\":\"%llu\"", name, (unsigned long long)v);
}

void fm_store_text_kv(struct fm_store_text *t, const struct fm_store_kv *kv, bool first)
{
    fm_store_text_printf(t, "%s{\"key\":\"", first ? "" : ",");
    base64(t, kv->key);
    fm_store_text_lit(t, "\"");
    number(t, "create_revision", kv->created);
    number(t, "mod_revision", kv->changed);
    number(t, "version", kv->version);
    if (kv->value.n) {
        fm_store_text_lit(t, ",\"value\":\"");
        base64(t, kv->value);
        fm_store_text_lit(t, "\"");
    }
    fm_store_text_lit(t, "}");
}

void fm_store_text_event(struct fm_store_text *t, const struct fm_store_kv *kv, bool erased,
                         bool first)
{
    fm_store_text_printf(t, "%s{%s\"kv\":", first ? "" : ",", erased ? "\"type\":\"DELETE\"," : "");
    fm_store_text_kv(t, kv, true);
    fm_store_text_lit(t, "}");
}
