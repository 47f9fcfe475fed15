/* Chunks of entries: see the header. Invariant: everything that fm_ship_open accepts is what
 * fm_ship_begin, _entry and _end would write. */
#include "journal/ship.h"

#include "base/assert.h"
#include "base/hash.h"

/* "FMJ" and the version. */
static const char magic[4] = {'F', 'M', 'J', 1};

/* Not a secret: it finds damage, the peers' TLS keeps out strangers. */
static const struct fm_hash_key check_key = {UINT64_C(0x66756c6d61722d6a),
                                             UINT64_C(0x6f75726e616c2d31)};

/* They stand in chunks and in files. */
_Static_assert(FM_IDEM_IN_FLIGHT == 2 && FM_IDEM_UNKNOWN == 3 && FM_IDEM_DONE == 4, "for good");

enum { CHECK_AT = 32, ENTRY_FIXED = 80 };

static void put(struct fm_buf *b, uint64_t v, unsigned bytes)
{
    char p[8];
    FM_ASSERT(bytes <= sizeof p && (bytes == 8 || v >> (8 * bytes) == 0));
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (char)(v >> (8 * i));
    fm_buf_add(b, p, bytes);
}

static uint64_t get(const char *p, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = bytes; i-- > 0;)
        v = v << 8 | (uint8_t)p[i];
    return v;
}

static uint64_t checksum(struct fm_str chunk)
{
    return fm_hash(check_key, chunk.p, CHECK_AT) ^
           fm_hash(check_key, chunk.p + FM_SHIP_HEADER_LEN, chunk.n - FM_SHIP_HEADER_LEN);
}

/* -------- writing -------- */

void fm_ship_begin(struct fm_buf *b)
{
    static const char none[FM_SHIP_HEADER_LEN];
    FM_ASSERT(b->n == 0);
    fm_buf_add(b, none, sizeof none);
}

void fm_ship_entry(struct fm_buf *b, const struct fm_journal_entry *e)
{
    const struct fm_journal_answer *a = &e->answer;
    FM_ASSERT(e->context.n >= 1 && e->context.n <= FM_JOURNAL_CONTEXT_MAX);
    FM_ASSERT(fm_idem_key_is_valid(e->key) && e->epoch <= INT64_MAX);
    FM_ASSERT(a->head.n <= UINT32_MAX && a->body.n <= UINT32_MAX);
    FM_ASSERT(a->kept || (a->head.n == 0 && a->body.n == 0));
    FM_ASSERT(e->state == FM_IDEM_DONE || (a->status == 0 && !a->kept));
    FM_ASSERT(e->tries >= 1 && (e->state != FM_IDEM_IN_FLIGHT || e->settled_ms == 0));
    size_t whole = ENTRY_FIXED + e->context.n + e->key.n + a->head.n + a->body.n;
    if (b->full || whole > b->cap - b->n) {
        b->full = true; /* an entry is there whole or not at all */
        return;
    }
    put(b, e->epoch, 8);
    put(b, (uint64_t)e->at_ms, 8);
    put(b, (uint64_t)e->settled_ms, 8);
    put(b, e->cell, 4);
    put(b, e->tries, 4);
    put(b, a->head.n, 4);
    put(b, a->body.n, 4);
    put(b, a->status, 2);
    put(b, (uint64_t)e->state, 1);
    put(b, a->kept, 1);
    put(b, e->context.n, 1);
    put(b, e->key.n, 1);
    put(b, 0, 2);
    fm_buf_add(b, e->hash.b, sizeof e->hash.b);
    fm_buf_str_add(b, e->context);
    fm_buf_str_add(b, e->key);
    fm_buf_str_add(b, a->head);
    fm_buf_str_add(b, a->body);
}

enum fm_err fm_ship_end(struct fm_buf *b, const struct fm_ship_header *h)
{
    FM_ASSERT(h->since <= h->next && h->next <= h->last);
    if (b->full || b->n > FM_SHIP_CHUNK_MAX)
        return FM_ERR_LIMIT;
    FM_ASSERT(b->n >= FM_SHIP_HEADER_LEN);
    struct fm_buf head = fm_buf(b->p, FM_SHIP_HEADER_LEN);
    fm_buf_add(&head, magic, sizeof magic);
    put(&head, h->entries, 4);
    put(&head, h->since, 8);
    put(&head, h->next, 8);
    put(&head, h->last, 8);
    FM_ASSERT(head.n == CHECK_AT);
    put(&head, checksum(fm_buf_str(b)), 8);
    FM_ASSERT(head.n == FM_SHIP_HEADER_LEN && !head.full);
    return FM_ERR_OK;
}

/* -------- reading -------- */

/* The fixed part of an entry and the lengths behind it; false where it cannot be one. */
static bool entry_fixed(const char *p, struct fm_journal_entry *e)
{
    *e = (struct fm_journal_entry){.epoch = get(p, 8),
                                   .at_ms = (int64_t)get(p + 8, 8),
                                   .settled_ms = (int64_t)get(p + 16, 8),
                                   .cell = (uint32_t)get(p + 24, 4),
                                   .tries = (uint32_t)get(p + 28, 4)};
    struct fm_journal_answer *a = &e->answer;
    a->head.n = get(p + 32, 4);
    a->body.n = get(p + 36, 4);
    a->status = (uint16_t)get(p + 40, 2);
    uint64_t state = get(p + 42, 1), kept = get(p + 43, 1);
    e->state = (enum fm_idem_known)state;
    a->kept = kept == 1;
    e->context.n = get(p + 44, 1);
    e->key.n = get(p + 45, 1);
    memcpy(e->hash.b, p + 48, sizeof e->hash.b);
    bool done = state == FM_IDEM_DONE, open = state == FM_IDEM_IN_FLIGHT;
    bool answer = done ? a->status >= 100 && a->status <= 999 : a->status == 0 && !a->kept;
    bool time = e->at_ms >= 0 && (open ? e->settled_ms == 0 : e->settled_ms >= 0);
    return (done || open || state == FM_IDEM_UNKNOWN) && kept <= 1 && answer && time &&
           (a->kept || (a->head.n == 0 && a->body.n == 0)) && e->epoch <= INT64_MAX &&
           e->tries >= 1 && get(p + 46, 2) == 0 && e->context.n >= 1 &&
           e->context.n <= FM_JOURNAL_CONTEXT_MAX && e->key.n >= 1;
}

static struct fm_str take(struct fm_str *rest, size_t n)
{
    struct fm_str s = fm_str(rest->p, n);
    FM_ASSERT(n <= rest->n);
    *rest = fm_str(rest->p + n, rest->n - n);
    return s;
}

static bool entry(struct fm_str *rest, struct fm_journal_entry *e)
{
    if (rest->n < ENTRY_FIXED || !entry_fixed(rest->p, e))
        return false;
    struct fm_journal_answer *a = &e->answer;
    /* each is below 2^32, so their sum fits */
    if (e->context.n + e->key.n + a->head.n + a->body.n > rest->n - ENTRY_FIXED)
        return false;
    (void)take(rest, ENTRY_FIXED);
    e->context = take(rest, e->context.n);
    e->key = take(rest, e->key.n);
    a->head = take(rest, a->head.n);
    a->body = take(rest, a->body.n);
    return fm_idem_key_is_valid(e->key) && !memchr(e->context.p, 0, e->context.n);
}

static enum fm_err wrong(struct fm_error *e, const char *what)
{
    return fm_error_set(e, FM_ERR_INVALID, "not a chunk of a journal: %s", what);
}

enum fm_err fm_ship_open(struct fm_ship_reader *r, struct fm_str chunk, struct fm_error *e)
{
    if (chunk.n < FM_SHIP_HEADER_LEN || chunk.n > FM_SHIP_CHUNK_MAX)
        return wrong(e, "its length");
    if (memcmp(chunk.p, magic, sizeof magic) != 0)
        return wrong(e, "its first bytes, or its version");
    if (get(chunk.p + CHECK_AT, 8) != checksum(chunk))
        return wrong(e, "its checksum");
    struct fm_ship_header h = {.entries = (uint32_t)get(chunk.p + 4, 4),
                               .since = get(chunk.p + 8, 8),
                               .next = get(chunk.p + 16, 8),
                               .last = get(chunk.p + 24, 8)};
    if (h.since > h.next || h.next > h.last || h.last > INT64_MAX)
        return wrong(e, "its numbers");
    struct fm_str body = fm_str(chunk.p + FM_SHIP_HEADER_LEN, chunk.n - FM_SHIP_HEADER_LEN);
    struct fm_str rest = body;
    for (uint32_t i = 0; i < h.entries; i++) {
        struct fm_journal_entry x;
        if (!entry(&rest, &x))
            return fm_error_set(e, FM_ERR_INVALID, "not a chunk of a journal: entry %u of %u",
                                i + 1, h.entries);
    }
    if (rest.n)
        return wrong(e, "bytes behind its last entry");
    *r = (struct fm_ship_reader){.header = h, .rest = body, .left = h.entries};
    return FM_ERR_OK;
}

bool fm_ship_next(struct fm_ship_reader *r, struct fm_journal_entry *out)
{
    if (r->left == 0)
        return false;
    r->left--;
    bool good = entry(&r->rest, out);
    FM_ASSERT(good); /* fm_ship_open has seen it */
    return true;
}
