/* What coordination reads from peers: the answers of a store (and its stamp), and the requests of a
 * client. The first byte chooses which. Promises: what was read keeps what its header says of it;
 * it is the same when it is read again; and what an owner writes of it, a client reads as the same.
 */
#include "fuzz.h"

#include "coord/ask.h"
#include "coord/store_text.h"
#include "coord/wire.h"

static const struct fm_str prefix = FM_STR_INIT("/fulmar/s/");

static void same_kvs(const struct fm_coord_answer *a, const struct fm_coord_answer *b)
{
    HOLDS(a->nkv == b->nkv && a->revision == b->revision, "%zu and %zu", a->nkv, b->nkv);
    for (size_t i = 0; i < a->nkv; i++)
        HOLDS(fm_str_eq(a->kv[i].key, b->kv[i].key) && fm_str_eq(a->kv[i].value, b->kv[i].value) &&
                  a->kv[i].revision == b->kv[i].revision,
              "kv %zu differs", i);
}

/* The answer of an owner that has just this. */
static void through_an_owner(const struct fm_coord_answer *a)
{
    struct fm_store_text t = {0};
    struct fm_coord_answer b;
    const char *why;
    fm_store_text_header(&t, a->cluster, a->revision);
    fm_store_text_lit(&t, ",\"kvs\":[");
    for (size_t i = 0; i < a->nkv; i++) {
        char *key = malloc(prefix.n + a->kv[i].key.n);
        if (!key)
            abort();
        memcpy(key, prefix.p, prefix.n);
        if (a->kv[i].key.n)
            memcpy(key + prefix.n, a->kv[i].key.p, a->kv[i].key.n);
        struct fm_store_kv kv = {.key = fm_str(key, prefix.n + a->kv[i].key.n),
                                 .value = a->kv[i].value,
                                 .changed = a->kv[i].revision};
        fm_store_text_kv(&t, &kv, i == 0);
        free(key);
    }
    fm_store_text_lit(&t, "]}");
    HOLDS(!t.full, "%zu bytes", t.n);
    HOLDS(fm_coord_wire_read(&b, FM_COORD_WIRE_RANGE, fm_str(t.p, t.n), prefix, &why), "%s", why);
    same_kvs(a, &b);
    fm_coord_wire_free(&b);
    free(t.p);
}

static void read_answer(enum fm_coord_wire_kind kind, struct fm_str text)
{
    struct fm_coord_answer a, again;
    const char *why, *why_again;
    bool good = fm_coord_wire_read(&a, kind, text, prefix, &why);
    HOLDS(good == (why == NULL), "%s", why ? why : "no reason");
    HOLDS(fm_coord_wire_read(&again, kind, text, prefix, &why_again) == good, "another verdict");
    if (good) {
        same_kvs(&a, &again);
        for (size_t i = 0; i < a.nkv; i++)
            HOLDS(a.kv[i].revision <= a.revision && (!a.kv[i].key.p || a.kv[i].revision > 0),
                  "kv %zu is of revision %llu", i, (unsigned long long)a.kv[i].revision);
        for (size_t i = 1; i < a.nevent; i++)
            HOLDS(a.event[i - 1].kv.revision <= a.event[i].kv.revision, "event %zu is too late", i);
        if (kind == FM_COORD_WIRE_RANGE)
            through_an_owner(&a);
    }
    fm_coord_wire_free(&again);
    fm_coord_wire_free(&a);
}

static void read_error(struct fm_str text)
{
    struct fm_coord_answer a;
    fm_coord_wire_read_error(&a, text);
    HOLDS(a.code > 0 && memchr(a.message, 0, sizeof a.message), "code %d", a.code);
    (void)fm_coord_wire_verdict(a.code, a.message);
    fm_coord_wire_free(&a);
}

static void read_stamp(struct fm_str text)
{
    struct fm_coord_stamp stamp, again;
    if (!fm_coord_wire_read_stamp(text, &stamp))
        return;
    char mem[1024];
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_coord_wire_stamp(&b, fm_str_z(stamp.service), fm_str_z(stamp.incarnation));
    HOLDS(fm_coord_wire_read_stamp(fm_buf_str(&b), &again), "its own stamp is none");
    HOLDS(strcmp(stamp.service, again.service) == 0 &&
              strcmp(stamp.incarnation, again.incarnation) == 0,
          "another stamp");
}

static bool under(struct fm_str key)
{
    return fm_str_starts(key, prefix) && key.n <= prefix.n + FM_COORD_KEY_MAX;
}

static void read_ask(enum fm_ask_kind kind, struct fm_str text)
{
    static struct fm_ask a;
    const char *why;
    bool other;
    if (fm_ask_read(&a, kind, text, prefix, &why, &other)) {
        HOLDS(!other && !why, "read, and refused");
        if (kind == FM_ASK_RANGE || kind == FM_ASK_WATCH)
            HOLDS(under(a.key), "a key of somebody else");
        for (size_t i = 0; i < a.ncompare; i++)
            HOLDS(under(a.compare[i].key), "compare %zu is of somebody else", i);
        for (size_t i = 0; i < a.nread; i++)
            HOLDS(under(a.read[i]), "read %zu is of somebody else", i);
        for (size_t i = 0; i < a.nwrite; i++) {
            HOLDS(under(a.write[i].key), "write %zu is of somebody else", i);
            HOLDS(a.write[i].value.n <= FM_COORD_VALUE_MAX, "write %zu is too long", i);
            for (size_t k = 0; k < i; k++)
                HOLDS(!fm_str_eq(a.write[i].key, a.write[k].key), "%zu is written twice", i);
        }
    } else {
        HOLDS(why && why[0], "refused without a reason");
    }
    fm_ask_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char answers[] = "RTWLS", asks[] = "rtwcs";
    if (size < 1)
        return 0;
    char *copy = fuzz_copy(data + 1, size - 1);
    struct fm_str text = fm_str(copy, size - 1);
    const char *answer = data[0] ? strchr(answers, data[0]) : NULL;
    const char *ask = data[0] ? strchr(asks, data[0]) : NULL;
    if (answer)
        read_answer((enum fm_coord_wire_kind)(answer - answers), text);
    else if (ask)
        read_ask((enum fm_ask_kind)(ask - asks), text);
    else if (data[0] & 1)
        read_error(text);
    else
        read_stamp(text);
    free(copy);
    return 0;
}
