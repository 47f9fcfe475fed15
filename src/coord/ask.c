/* Requests to an owner: see the header. Invariant: of a request that was read, no key is written
 * twice and all keys lie under the prefix. */
#include "coord/ask.h"

#include "base/assert.h"
#include "coord/base64.h"

#include <jansson.h>

enum { ARENA_MAX = 2 * FM_ASK_BODY_MAX };

enum fm_ask_kind fm_ask_kind(struct fm_str path)
{
    static const char *const paths[FM_ASK_KINDS] = {[FM_ASK_RANGE] = "/v3/kv/range",
                                                    [FM_ASK_TXN] = "/v3/kv/txn",
                                                    [FM_ASK_WATCH] = "/v3/watch",
                                                    [FM_ASK_COMPACT] = "/v3/kv/compaction",
                                                    [FM_ASK_STATUS] = "/v3/maintenance/status"};
    unsigned i = 0;
    while (i < FM_ASK_KINDS && !fm_str_eqz(path, paths[i]))
        i++;
    return (enum fm_ask_kind)i;
}

/* -------- parts -------- */

struct reader {
    struct fm_ask *ask;
    struct fm_str prefix;
    const char *why;
    bool other;
};

static bool wrong(struct reader *r, const char *why)
{
    if (!r->why)
        r->why = why;
    return false;
}

/* Is it an object with no other keys than these (ended by NULL)? */
static bool only(struct reader *r, const json_t *o, const char *const *names)
{
    const char *key;
    json_t *v;
    if (!json_is_object(o))
        return wrong(r, "something is no JSON object");
    json_object_foreach((json_t *)(uintptr_t)o, key, v)
    {
        size_t i = 0;
        while (names[i] && strcmp(names[i], key) != 0)
            i++;
        if (!names[i])
            return wrong(r, "a field that is not understood here");
    }
    return true;
}

static bool bytes(struct reader *r, const json_t *v, size_t most, struct fm_str *out)
{
    *out = FM_STR("");
    if (!v)
        return true;
    if (!json_is_string(v))
        return wrong(r, "bytes that are no text");
    struct fm_str text = fm_str(json_string_value(v), json_string_length(v));
    char *mem = fm_arena_alloc(&r->ask->arena, text.n / 4 * 3 + 1);
    size_t n = mem ? fm_base64_decode(text, mem) : SIZE_MAX;
    if (n == SIZE_MAX || n > most)
        return wrong(r, n == SIZE_MAX ? "bytes that are no base64" : "a key or a value too long");
    *out = fm_str(mem, n);
    return true;
}

static bool key(struct reader *r, const json_t *v, struct fm_str *out)
{
    if (!bytes(r, v, r->prefix.n + FM_COORD_KEY_MAX, out))
        return false;
    if (fm_str_starts(*out, r->prefix))
        return true;
    r->other = true;
    return wrong(r, "a key that is not of this service");
}

static bool number(struct reader *r, const json_t *v, uint64_t *out)
{
    *out = 0;
    if (!v)
        return true;
    if (json_is_string(v) && fm_str_u64(fm_str(json_string_value(v), json_string_length(v)), out) &&
        *out <= INT64_MAX)
        return true;
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return wrong(r, "a revision that is no number");
    *out = (uint64_t)json_integer_value(v);
    return true;
}

/* [key, range_end), which ends inside of our prefix, or where the prefix ends. */
static bool span(struct reader *r, const json_t *o)
{
    struct fm_ask *a = r->ask;
    if (!key(r, json_object_get(o, "key"), &a->key) ||
        !bytes(r, json_object_get(o, "range_end"), r->prefix.n + FM_COORD_KEY_MAX, &a->end))
        return false;
    if (a->end.n == 0 || fm_str_starts(a->end, r->prefix))
        return true;
    bool at_end = a->end.n == r->prefix.n && memcmp(a->end.p, r->prefix.p, a->end.n - 1) == 0 &&
                  a->end.p[a->end.n - 1] == r->prefix.p[a->end.n - 1] + 1;
    r->other |= !at_end;
    return at_end || wrong(r, "a range that leaves this service");
}

/* -------- requests -------- */

static bool read_range(struct reader *r, const json_t *o)
{
    static const char *const names[] = {"key", "range_end", "serializable", NULL};
    return only(r, o, names) && span(r, o);
}

static bool read_watch(struct reader *r, const json_t *o)
{
    static const char *const outer[] = {"create_request", NULL};
    static const char *const names[] = {"key", "range_end", "start_revision", NULL};
    const json_t *c = json_object_get(o, "create_request");
    if (!only(r, o, outer) || !only(r, c, names) || !span(r, c) ||
        !number(r, json_object_get(c, "start_revision"), &r->ask->revision))
        return false;
    return (r->ask->end.n > 0 && r->ask->revision > 0) ||
           wrong(r, "a watch needs range_end and start_revision");
}

static bool read_compact(struct reader *r, const json_t *o)
{
    static const char *const names[] = {"revision", "physical", NULL};
    return only(r, o, names) && number(r, json_object_get(o, "revision"), &r->ask->revision);
}

static bool read_status(struct reader *r, const json_t *o)
{
    static const char *const names[] = {NULL};
    return only(r, o, names);
}

static bool is_text(const json_t *v, const char *text)
{
    return json_is_string(v) && strcmp(json_string_value(v), text) == 0;
}

static bool read_compare(struct reader *r, const json_t *o, size_t i)
{
    static const char *const names[] = {"key", "target", "result", "mod_revision", NULL};
    struct fm_coord_compare *c = &r->ask->compare[i];
    if (!only(r, o, names))
        return false;
    if (!is_text(json_object_get(o, "target"), "MOD") ||
        !is_text(json_object_get(o, "result"), "EQUAL"))
        return wrong(r, "a compare of something else than equal revisions");
    r->ask->ncompare = i + 1;
    return key(r, json_object_get(o, "key"), &c->key) &&
           number(r, json_object_get(o, "mod_revision"), &c->revision);
}

static bool read_write(struct reader *r, const json_t *o, size_t i)
{
    static const char *const outer[] = {"request_put", "request_delete_range", NULL};
    static const char *const put_names[] = {"key", "value", NULL}, *const erase_names[] = {"key",
                                                                                           NULL};
    const json_t *put = json_object_get(o, "request_put");
    const json_t *erase = json_object_get(o, "request_delete_range");
    struct fm_coord_write *w = &r->ask->write[i];
    if (!only(r, o, outer) || !put == !erase ||
        !only(r, put ? put : erase, put ? put_names : erase_names))
        return wrong(r, "a write that is neither a put nor the removal of one key");
    w->erase = erase != NULL;
    if (!key(r, json_object_get(put ? put : erase, "key"), &w->key) ||
        !bytes(r, json_object_get(put, "value"), FM_COORD_VALUE_MAX, &w->value))
        return false;
    for (size_t k = 0; k < i; k++)
        if (fm_str_eq(w->key, r->ask->write[k].key))
            return wrong(r, "a key that is written twice");
    r->ask->nwrite = i + 1;
    return true;
}

static bool read_read(struct reader *r, const json_t *o, size_t i)
{
    static const char *const outer[] = {"request_range", NULL}, *const names[] = {"key", NULL};
    const json_t *range = json_object_get(o, "request_range");
    r->ask->nread = i + 1;
    return only(r, o, outer) && only(r, range, names) &&
           key(r, json_object_get(range, "key"), &r->ask->read[i]);
}

static bool each(struct reader *r, const json_t *list,
                 bool (*read)(struct reader *, const json_t *, size_t))
{
    if (list && !json_is_array(list))
        return wrong(r, "something is no list");
    if (json_array_size(list) > FM_ASK_OPS_MAX)
        return wrong(r, "too many keys in one transaction");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!read(r, json_array_get(list, i), i))
            return false;
    return true;
}

static bool read_txn(struct reader *r, const json_t *o)
{
    static const char *const names[] = {"compare", "success", "failure", NULL};
    return only(r, o, names) && each(r, json_object_get(o, "compare"), read_compare) &&
           each(r, json_object_get(o, "success"), read_write) &&
           each(r, json_object_get(o, "failure"), read_read);
}

bool fm_ask_read(struct fm_ask *a, enum fm_ask_kind kind, struct fm_str body, struct fm_str prefix,
                 const char **why, bool *other)
{
    static bool (*const readers[FM_ASK_KINDS])(struct reader *, const json_t *) = {
        [FM_ASK_RANGE] = read_range,     [FM_ASK_TXN] = read_txn,       [FM_ASK_WATCH] = read_watch,
        [FM_ASK_COMPACT] = read_compact, [FM_ASK_STATUS] = read_status,
    };
    struct reader r = {.ask = a, .prefix = prefix};
    FM_ASSERT(kind < FM_ASK_KINDS && prefix.n > 0);
    memset(a, 0, sizeof *a);
    fm_arena_init(&a->arena, NULL, 0, ARENA_MAX);
    a->kind = kind;
    json_t *o = json_loadb(body.p ? body.p : "", body.n, JSON_REJECT_DUPLICATES, NULL);
    bool good = o ? readers[kind](&r, o) : wrong(&r, "the request is no JSON");
    json_decref(o);
    *why = r.why;
    *other = r.other;
    FM_ASSERT(good == !r.why);
    return good;
}

void fm_ask_free(struct fm_ask *a)
{
    fm_arena_deinit(&a->arena);
}
