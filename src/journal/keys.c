/* Where keys stand: the newest in memory, all others in key_at.
 *
 * Keys are random, so each would dirty a page of key_at for itself. They are kept back instead, as
 * many as `keys_kept_back`, and moved in the order of their hashes while as many new ones come:
 * neighbours share a page. What is in memory only can be read from the commands and queued requests
 * at the next start.
 *
 * Invariants: the key of a number up to `indexed` is in key_at, and of a number behind it in memory
 * (in key_at it may be, too, and does not count there); `indexed` and what it speaks of are durable
 * in one transaction. In key_at may be numbers whose command was forgotten or withdrawn: they are
 * of nothing, until a move sweeps them out. */
#include "journal/store.h"

#include "base/assert.h"

enum {
    KEPT_BACK = 1 << 18, /* by itself: a start reads at most twice as many commands */
    SWEEP_PART = 4,      /* a move sweeps where so large a part of all numbers was forgotten */
};

static int64_t hash_of(const struct fm_journal_store *s, struct fm_str context, struct fm_str key)
{
    return fm_db_key_hash(s->hash_key, context, key);
}

enum fm_err fm_journal_keys_init(struct fm_journal_store *s, struct fm_error *e)
{
    uint32_t most = s->o.keys_kept_back ? s->o.keys_kept_back : KEPT_BACK;
    bool young = fm_recent_init(&s->keys.young, most), old = fm_recent_init(&s->keys.old, most);
    return young && old ? FM_ERR_OK : fm_error_set(e, FM_ERR_MEMORY, "no memory for keys");
}

void fm_journal_keys_deinit(struct fm_journal_store *s)
{
    fm_recent_deinit(&s->keys.young);
    fm_recent_deinit(&s->keys.old);
}

/* -------- moving -------- */

static void move_slice(struct fm_journal_store *s)
{
    struct fm_journal_keys *k = &s->keys;
    uint32_t n = 0;
    const struct fm_recent_slot *slot = fm_recent_slice(&k->old, k->moved, &n);
    for (uint32_t i = 0; i < n; i++)
        if (slot[i].number && slot[i].number != FM_RECENT_DROPPED)
            (void)fm_db_run(&s->db, FM_SQL_KEY_ADD, "ii", slot[i].hash, (int64_t)slot[i].number);
    if (k->sweep) {
        int64_t first, last;
        fm_recent_range(&k->old, k->moved, &first, &last);
        (void)fm_db_run(&s->db, FM_SQL_KEY_SWEEP, "iii", first, last, (int64_t)k->sweep);
    }
    k->moved++;
}

/* All are in key_at: durable with the transaction that says so. */
static void finish(struct fm_journal_store *s)
{
    struct fm_journal_keys *k = &s->keys;
    FM_ASSERT(k->moved == k->old.slices && k->top > k->indexed);
    k->indexed = k->top;
    fm_journal_store_set_meta(s, "indexed", (int64_t)k->indexed);
    if (k->sweep) {
        k->swept = k->sweep;
        fm_journal_store_set_meta(s, "swept", (int64_t)k->swept);
    }
    fm_recent_clear(&k->old);
    k->top = 0;
}

static void move_until(struct fm_journal_store *s, uint32_t slices)
{
    struct fm_journal_keys *k = &s->keys;
    while (k->top && k->moved < slices && !s->db.failed)
        move_slice(s);
    if (k->top && k->moved == k->old.slices && !s->db.failed)
        finish(s);
}

/* The young ones are as many as may be: they become the old ones, with numbers up to `top`. */
static void turn(struct fm_journal_store *s, uint64_t top)
{
    struct fm_journal_keys *k = &s->keys;
    move_until(s, k->old.slices); /* nothing is left to do, but after a start, or a large import */
    if (s->db.failed)
        return;
    FM_ASSERT(!k->top && top > k->indexed);
    struct fm_recent young = k->old;
    k->old = k->young;
    k->young = young;
    k->top = top;
    k->moved = 0;
    FM_ASSERT(s->last >= s->oldest && s->last >= k->swept);
    bool much = s->oldest > k->swept && s->oldest - k->swept >= (s->last - k->swept) / SWEEP_PART;
    k->sweep = much ? s->oldest : 0;
}

/* They are all moved once half as many new ones have come. */
void fm_journal_keys_move(struct fm_journal_store *s)
{
    struct fm_journal_keys *k = &s->keys;
    uint64_t slices = (uint64_t)k->young.used * 2 * k->old.slices / k->young.max;
    move_until(s, (uint32_t)fm_min_u64(slices, k->old.slices));
}

static void add(struct fm_journal_store *s, int64_t hash, uint64_t number)
{
    struct fm_journal_keys *k = &s->keys;
    FM_ASSERT(number > k->indexed && number > k->top);
    if (k->young.used == k->young.max)
        turn(s, number - 1); /* numbers of keys come in their order */
    if (!s->db.failed)
        fm_recent_add(&k->young, hash, number);
}

/* -------- for the store -------- */

void fm_journal_keys_add(struct fm_journal_store *s, struct fm_str context, struct fm_str key,
                         uint64_t number)
{
    add(s, hash_of(s, context, key), number);
}

/* True where it is in memory, and was dropped there. */
static bool drop_recent(struct fm_journal_store *s, int64_t hash, uint64_t number)
{
    struct fm_journal_keys *k = &s->keys;
    if (number <= k->indexed)
        return false;
    struct fm_recent *in = number <= k->top ? &k->old : &k->young;
    if (!fm_recent_drop(in, hash, number))
        fm_db_damaged(&s->db, "no key", number);
    return true;
}

void fm_journal_keys_drop(struct fm_journal_store *s, struct fm_str context, struct fm_str key,
                          uint64_t number)
{
    int64_t hash = hash_of(s, context, key);
    if (drop_recent(s, hash, number))
        return; /* where it was moved already it is of nothing now */
    bool ran = fm_db_run(&s->db, FM_SQL_KEY_DROP, "ii", hash, (int64_t)number);
    if (ran && fm_db_changes(&s->db) != 1)
        fm_db_damaged(&s->db, "no key", number);
}

void fm_journal_keys_forget(struct fm_journal_store *s, struct fm_str context, struct fm_str key,
                            uint64_t number)
{
    if (number > s->keys.indexed)
        (void)drop_recent(s, hash_of(s, context, key), number);
}

struct fm_key_walk fm_journal_keys_walk(struct fm_journal_store *s, struct fm_str context,
                                        struct fm_str key)
{
    struct fm_key_walk w = {.hash = hash_of(s, context, key)};
    w.young = fm_recent_walk(&s->keys.young, w.hash);
    w.old = fm_recent_walk(&s->keys.old, w.hash);
    return w;
}

uint64_t fm_journal_keys_next(struct fm_journal_store *s, struct fm_key_walk *w)
{
    struct fm_journal_keys *k = &s->keys;
    uint64_t number = w->in_db ? 0 : fm_recent_next(&k->young, &w->young);
    if (!number && !w->in_db && k->top)
        number = fm_recent_next(&k->old, &w->old);
    if (number || k->indexed == 0)
        return number;
    if (!w->in_db)
        fm_db_bind(&s->db, FM_SQL_KEY_FIND, "ii", w->hash, (int64_t)k->indexed);
    w->in_db = true;
    if (!fm_db_row(&s->db, FM_SQL_KEY_FIND))
        return 0;
    return (uint64_t)fm_db_i64(&s->db, FM_SQL_KEY_FIND, 0);
}

/* -------- at a start -------- */

void fm_journal_keys_load(struct fm_journal_store *s)
{
    const enum fm_sql q = FM_SQL_KEY_NEWER;
    fm_db_bind(&s->db, q, "i", (int64_t)s->keys.indexed);
    while (fm_db_row(&s->db, q)) {
        uint64_t number = (uint64_t)fm_db_i64(&s->db, q, 0);
        struct fm_str context = fm_db_str(&s->db, q, 1), key = fm_db_str(&s->db, q, 2);
        if (context.n > FM_JOURNAL_CONTEXT_MAX || key.n > FM_IDEM_KEY_MAX) {
            fm_db_damaged(&s->db, "a key that is none", number);
            return;
        }
        fm_journal_keys_add(s, context, key, number);
    }
}
