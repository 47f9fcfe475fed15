/* The gateway's JSON: see the header. Invariant: an answer that was read whole names only keys
 * under the prefix, and every view in it looks into its arena. */
#include "coord/wire.h"

#include "base/assert.h"
#include "coord/base64.h"

#include <jansson.h>
#include <stdio.h>

enum { ARENA_MAX = 64 << 20, PER_OP = 160 };

/* -------- requests -------- */

static void key_of(struct fm_buf *b, const char *name, struct fm_str prefix, struct fm_str key,
                   unsigned step)
{
    FM_ASSERT(prefix.n > 0 && key.n <= FM_COORD_KEY_MAX && step <= 1);
    char whole[FM_COORD_SERVICE_MAX + FM_COORD_KEY_MAX + 32];
    struct fm_buf k = fm_buf(whole, sizeof whole);
    fm_buf_str_add(&k, prefix);
    fm_buf_str_add(&k, key);
    FM_ASSERT(!k.full && k.n > 0);
    whole[k.n - 1] = (char)(whole[k.n - 1] + (char)step);
    fm_buf_printf(b, "\"%s\":\"", name);
    fm_base64_add(b, fm_buf_str(&k));
    fm_buf_ch(b, '"');
}

size_t fm_coord_wire_txn_room(struct fm_str prefix, const struct fm_coord_txn *txn)
{
    size_t n = 4 * PER_OP + fm_base64_len(prefix.n + sizeof FM_COORD_STAMP) * 2;
    for (size_t i = 0; i < txn->ncompare; i++)
        n += 2 * PER_OP + 2 * fm_base64_len(prefix.n + txn->compare[i].key.n);
    for (size_t i = 0; i < txn->nwrite; i++)
        n += PER_OP + fm_base64_len(prefix.n + txn->write[i].key.n) +
             fm_base64_len(txn->write[i].value.n);
    return n;
}

void fm_coord_wire_range(struct fm_buf *b, struct fm_str prefix, struct fm_str key, bool all,
                         bool stale)
{
    fm_buf_ch(b, '{');
    key_of(b, "key", prefix, key, 0);
    if (all) {
        fm_buf_ch(b, ',');
        key_of(b, "range_end", prefix, key, 1);
    }
    if (stale)
        fm_buf_lit(b, ",\"serializable\":true");
    fm_buf_ch(b, '}');
}

static void compare(struct fm_buf *b, struct fm_str prefix, struct fm_str key, uint64_t revision)
{
    fm_buf_lit(b, "{\"target\":\"MOD\",\"result\":\"EQUAL\",\"mod_revision\":\"");
    fm_buf_u64(b, revision);
    fm_buf_lit(b, "\",");
    key_of(b, "key", prefix, key, 0);
    fm_buf_ch(b, '}');
}

static void read_of(struct fm_buf *b, struct fm_str prefix, struct fm_str key)
{
    fm_buf_lit(b, "{\"request_range\":{");
    key_of(b, "key", prefix, key, 0);
    fm_buf_lit(b, "}}");
}

static void write_of(struct fm_buf *b, struct fm_str prefix, const struct fm_coord_write *w)
{
    if (w->erase) {
        fm_buf_lit(b, "{\"request_delete_range\":{");
        key_of(b, "key", prefix, w->key, 0);
    } else {
        fm_buf_lit(b, "{\"request_put\":{");
        key_of(b, "key", prefix, w->key, 0);
        fm_buf_lit(b, ",\"value\":\"");
        fm_base64_add(b, w->value);
        fm_buf_ch(b, '"');
    }
    fm_buf_lit(b, "}}");
}

void fm_coord_wire_txn(struct fm_buf *b, struct fm_str prefix, const struct fm_coord_txn *txn,
                       uint64_t stamp_revision)
{
    FM_ASSERT(txn->ncompare <= FM_COORD_TXN_MAX && txn->nwrite <= FM_COORD_TXN_MAX);
    struct fm_str stamp = FM_STR(FM_COORD_STAMP);
    fm_buf_lit(b, "{\"compare\":[");
    compare(b, prefix, stamp, stamp_revision);
    for (size_t i = 0; i < txn->ncompare; i++) {
        fm_buf_ch(b, ',');
        compare(b, prefix, txn->compare[i].key, txn->compare[i].revision);
    }
    fm_buf_lit(b, "],\"success\":[");
    for (size_t i = 0; i < txn->nwrite; i++) {
        if (i)
            fm_buf_ch(b, ',');
        write_of(b, prefix, &txn->write[i]);
    }
    fm_buf_lit(b, "],\"failure\":[");
    read_of(b, prefix, stamp);
    for (size_t i = 0; i < txn->ncompare; i++) {
        fm_buf_ch(b, ',');
        read_of(b, prefix, txn->compare[i].key);
    }
    fm_buf_lit(b, "]}");
}

void fm_coord_wire_watch(struct fm_buf *b, struct fm_str prefix, struct fm_str key, uint64_t from)
{
    FM_ASSERT(from > 0);
    fm_buf_lit(b, "{\"create_request\":{");
    key_of(b, "key", prefix, key, 0);
    fm_buf_ch(b, ',');
    key_of(b, "range_end", prefix, key, 1);
    fm_buf_lit(b, ",\"start_revision\":\"");
    fm_buf_u64(b, from);
    fm_buf_lit(b, "\"}}");
}

void fm_coord_wire_login(struct fm_buf *b, struct fm_str user, struct fm_str password)
{
    fm_buf_lit(b, "{\"name\":");
    fm_buf_json(b, user);
    fm_buf_lit(b, ",\"password\":");
    fm_buf_json(b, password);
    fm_buf_ch(b, '}');
}

/* -------- parts of answers -------- */

/* An absent number is 0. */
static bool number(const json_t *o, const char *key, uint64_t *out)
{
    const json_t *v = json_object_get(o, key);
    *out = 0;
    if (!v)
        return true;
    if (json_is_string(v))
        return fm_str_u64(fm_str(json_string_value(v), json_string_length(v)), out);
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static bool text_into(const json_t *o, const char *key, char *out, size_t cap)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v) || json_string_length(v) >= cap ||
        strlen(json_string_value(v)) != json_string_length(v))
        return false;
    memcpy(out, json_string_value(v), json_string_length(v) + 1);
    return true;
}

static bool flag(const json_t *o, const char *key)
{
    return json_is_true(json_object_get(o, key));
}

/* An absent text is empty. */
static bool bytes(struct fm_arena *arena, const json_t *o, const char *key, struct fm_str *out)
{
    const json_t *v = json_object_get(o, key);
    *out = FM_STR("");
    if (!v)
        return true;
    if (!json_is_string(v))
        return false;
    struct fm_str text = fm_str(json_string_value(v), json_string_length(v));
    char *mem = fm_arena_alloc(arena, text.n / 4 * 3 + 1);
    size_t n = mem ? fm_base64_decode(text, mem) : SIZE_MAX;
    *out = fm_str(mem, n);
    return n != SIZE_MAX;
}

static bool read_header(struct fm_coord_answer *a, const json_t *o)
{
    const json_t *h = json_object_get(o, "header");
    return json_is_object(h) && number(h, "cluster_id", &a->cluster) &&
           number(h, "member_id", &a->member) && number(h, "revision", &a->revision) &&
           number(h, "raft_term", &a->term);
}

static bool read_kv(struct fm_coord_answer *a, const json_t *o, struct fm_str prefix,
                    struct fm_coord_kv *out)
{
    FM_ASSERT(prefix.n > 0);
    struct fm_str key;
    if (!json_is_object(o) || !bytes(&a->arena, o, "key", &key) ||
        !bytes(&a->arena, o, "value", &out->value) || !number(o, "mod_revision", &out->revision))
        return false;
    if (!fm_str_starts(key, prefix) || out->revision == 0)
        return false;
    out->key = fm_str(key.p + prefix.n, key.n - prefix.n);
    return true;
}

static bool read_kvs(struct fm_coord_answer *a, const json_t *list, struct fm_str prefix)
{
    size_t n = json_array_size(list);
    if (!list)
        return true;
    if (!json_is_array(list))
        return false;
    a->kv = fm_arena_array(&a->arena, n ? n : 1, sizeof *a->kv);
    for (size_t i = 0; a->kv && i < n; i++) {
        if (!read_kv(a, json_array_get(list, i), prefix, &a->kv[i]) ||
            a->kv[i].revision > a->revision)
            return false;
        a->nkv = i + 1;
    }
    return a->kv != NULL;
}

/* -------- answers -------- */

static const char *range(struct fm_coord_answer *a, const json_t *o, struct fm_str prefix)
{
    if (!read_header(a, o) || a->revision == 0)
        return "the answer has no header with a revision";
    if (flag(o, "more"))
        return "the answer to a read was cut short";
    return read_kvs(a, json_object_get(o, "kvs"), prefix) ? NULL : "a malformed key or value";
}

/* The reads of the failure branch: one key each, or nothing. */
static const char *txn(struct fm_coord_answer *a, const json_t *o, struct fm_str prefix)
{
    const json_t *list = json_object_get(o, "responses");
    if (!read_header(a, o) || a->revision == 0)
        return "the answer has no header with a revision";
    a->succeeded = flag(o, "succeeded");
    if (a->succeeded)
        return NULL;
    if (!json_is_array(list) || json_array_size(list) > FM_COORD_TXN_MAX + 1)
        return "a failed transaction without what was there";
    size_t n = json_array_size(list);
    a->kv = fm_arena_array(&a->arena, n ? n : 1, sizeof *a->kv);
    for (size_t i = 0; a->kv && i < n; i++) {
        const json_t *r = json_object_get(json_array_get(list, i), "response_range");
        const json_t *kvs = json_object_get(r, "kvs");
        if (!json_is_object(r) || json_array_size(kvs) > 1)
            return "a failed transaction with something else than reads";
        if (json_array_size(kvs) == 1 && (!read_kv(a, json_array_get(kvs, 0), prefix, &a->kv[i]) ||
                                          a->kv[i].revision > a->revision))
            return "a malformed key or value";
        a->nkv = i + 1;
    }
    return a->kv ? NULL : "out of memory";
}

static bool read_event(struct fm_coord_answer *a, const json_t *o, struct fm_str prefix,
                       struct fm_coord_event *out)
{
    const json_t *type = json_object_get(o, "type");
    if (type && !json_is_string(type))
        return false;
    out->erased = type && strcmp(json_string_value(type), "DELETE") == 0;
    if (type && !out->erased && strcmp(json_string_value(type), "PUT") != 0)
        return false;
    return read_kv(a, json_object_get(o, "kv"), prefix, &out->kv);
}

static const char *watch_events(struct fm_coord_answer *a, const json_t *list, struct fm_str prefix)
{
    size_t n = json_array_size(list);
    uint64_t last = 0;
    if (!json_is_array(list) || n == 0)
        return "events that are no list";
    a->event = fm_arena_array(&a->arena, n, sizeof *a->event);
    for (size_t i = 0; a->event && i < n; i++) {
        struct fm_coord_event *e = &a->event[i];
        if (!read_event(a, json_array_get(list, i), prefix, e))
            return "a malformed event";
        if (e->kv.revision < last || e->kv.revision > a->revision)
            return "events out of order";
        last = e->kv.revision;
        a->nevent = i + 1;
    }
    return a->event ? NULL : "out of memory";
}

static void copy_error(struct fm_coord_answer *a, const json_t *code, const json_t *message)
{
    json_int_t n = json_is_integer(code) ? json_integer_value(code) : 0;
    a->code = n > 0 && n < 1000 ? (int)n : 2;
    snprintf(a->message, sizeof a->message, "%s",
             json_is_string(message) ? json_string_value(message) : "no reason was given");
}

static const char *watch(struct fm_coord_answer *a, const json_t *o, struct fm_str prefix)
{
    const json_t *error = json_object_get(o, "error"), *r = json_object_get(o, "result");
    if (error) {
        copy_error(a, json_object_get(error, "grpc_code"), json_object_get(error, "message"));
        return NULL;
    }
    if (!json_is_object(r) || !read_header(a, r))
        return "a message of a watch without header";
    a->created = flag(r, "created");
    a->canceled = flag(r, "canceled");
    if (!number(r, "compact_revision", &a->compacted))
        return "a malformed revision";
    const json_t *events = json_object_get(r, "events");
    if (a->canceled && !text_into(r, "cancel_reason", a->message, sizeof a->message))
        snprintf(a->message, sizeof a->message, "the watch was canceled");
    return events ? watch_events(a, events, prefix) : NULL;
}

static const char *status(struct fm_coord_answer *a, const json_t *o)
{
    if (!read_header(a, o) || !text_into(o, "version", a->version, sizeof a->version) ||
        !number(o, "leader", &a->leader) || !number(o, "dbSize", &a->bytes))
        return "no status of an etcd";
    return NULL;
}

static const char *login(struct fm_coord_answer *a, const json_t *o)
{
    if (!text_into(o, "token", a->token, sizeof a->token) || !a->token[0])
        return "an authentication without a token";
    for (const char *p = a->token; *p; p++)
        if (*p <= ' ' || *p > '~')
            return "a token that is no header value";
    return NULL;
}

static void start(struct fm_coord_answer *a)
{
    memset(a, 0, sizeof *a);
    fm_arena_init(&a->arena, NULL, 0, ARENA_MAX);
}

bool fm_coord_wire_read(struct fm_coord_answer *a, enum fm_coord_wire_kind kind, struct fm_str text,
                        struct fm_str prefix, const char **why)
{
    start(a);
    json_t *o =
        json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    *why = json_is_object(o) ? NULL : "the answer is no JSON object";
    if (!*why) {
        switch (kind) {
        case FM_COORD_WIRE_RANGE:
            *why = range(a, o, prefix);
            break;
        case FM_COORD_WIRE_TXN:
            *why = txn(a, o, prefix);
            break;
        case FM_COORD_WIRE_WATCH:
            *why = watch(a, o, prefix);
            break;
        case FM_COORD_WIRE_LOGIN:
            *why = login(a, o);
            break;
        case FM_COORD_WIRE_STATUS:
            *why = status(a, o);
            break;
        }
    }
    json_decref(o);
    return !*why;
}

void fm_coord_wire_read_error(struct fm_coord_answer *a, struct fm_str text)
{
    start(a);
    json_t *o = json_loadb(text.p ? text.p : "", text.n, 0, NULL);
    const json_t *message = json_object_get(o, "message");
    copy_error(a, json_object_get(o, "code"), message ? message : json_object_get(o, "error"));
    json_decref(o);
}

void fm_coord_wire_free(struct fm_coord_answer *a)
{
    fm_arena_deinit(&a->arena);
}

/* Only what etcd says by itself, before it proposes or where it applies, is certain: the same codes
 * come from the gateway in front of it, which knows nothing of what became of the request. */
enum fm_coord_verdict fm_coord_wire_verdict(int code, const char *message)
{
    FM_ASSERT(message);
    enum { INVALID = 3, NOT_FOUND = 5, DENIED = 7, EXHAUSTED = 8, PRECONDITION = 9, RANGE = 11 };
    enum { UNAVAILABLE = 14, UNAUTHENTICATED = 16 };
    struct fm_str said = fm_str_z(message), own = FM_STR("etcdserver: ");
    if (code == PRECONDITION && fm_str_starts(said, FM_STR(FM_COORD_OTHER_SERVICE)))
        return FM_COORD_VERDICT_SERVICE;
    if (code == INVALID && fm_str_starts(said, FM_STR("fulmar: ")))
        return FM_COORD_VERDICT_REFUSED;
    if (!fm_str_starts(said, own))
        return FM_COORD_VERDICT_UNKNOWN;
    said = fm_str(said.p + own.n, said.n - own.n);
    switch (code) {
    case UNAUTHENTICATED:
        return FM_COORD_VERDICT_LOGIN;
    case DENIED:
        return FM_COORD_VERDICT_PERMISSION;
    case INVALID:
        if (fm_str_eqz(said, "revision of auth store is old"))
            return FM_COORD_VERDICT_LOGIN;
        if (fm_str_eqz(said, "user name is empty") ||
            fm_str_starts(said, FM_STR("authentication failed")))
            return FM_COORD_VERDICT_PERMISSION;
        return FM_COORD_VERDICT_REFUSED;
    case NOT_FOUND:
    case PRECONDITION:
    case RANGE:
        return FM_COORD_VERDICT_REFUSED;
    case EXHAUSTED:
        return fm_str_eqz(said, "too many requests") ? FM_COORD_VERDICT_ELSEWHERE
                                                     : FM_COORD_VERDICT_REFUSED;
    case UNAVAILABLE: /* asked for before anything else, see the header Grpc-Metadata-Hasleader */
        return fm_str_eqz(said, "no leader") ? FM_COORD_VERDICT_ELSEWHERE
                                             : FM_COORD_VERDICT_UNKNOWN;
    default:
        return FM_COORD_VERDICT_UNKNOWN;
    }
}

/* -------- the stamp -------- */

void fm_coord_wire_stamp(struct fm_buf *b, struct fm_str service, struct fm_str incarnation)
{
    FM_ASSERT(service.n > 0 && service.n <= FM_COORD_SERVICE_MAX);
    FM_ASSERT(incarnation.n > 0 && incarnation.n < FM_COORD_INCARNATION_MAX);
    fm_buf_lit(b, "{\"fulmar\":1,\"service\":");
    fm_buf_json(b, service);
    fm_buf_lit(b, ",\"incarnation\":");
    fm_buf_json(b, incarnation);
    fm_buf_ch(b, '}');
}

bool fm_coord_wire_read_stamp(struct fm_str text, struct fm_coord_stamp *out)
{
    json_t *o = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES, NULL);
    bool good = json_integer_value(json_object_get(o, "fulmar")) == 1 &&
                text_into(o, "service", out->service, sizeof out->service) &&
                text_into(o, "incarnation", out->incarnation, sizeof out->incarnation) &&
                out->service[0] && out->incarnation[0];
    json_decref(o);
    return good;
}
