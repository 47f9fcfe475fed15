/* The directory: see the header. Invariant: a key stands in the first bucket, from its own on, that
 * had a free slot when it was added, and slots are never freed; so a search ends at the first free
 * slot. There is always one, for at most three quarters are filled. */
#include "core/directory.h"

#include "base/assert.h"

enum { OFFSET_BITS = 36, FILL_OF_8 = 6 };

#define OFFSET_MASK (FM_DIRECTORY_BYTES_MAX - 1)

_Static_assert(FM_DIRECTORY_BYTES_MAX == UINT64_C(1) << OFFSET_BITS, "an offset fits a slot");
_Static_assert(FM_DIRECTORY_BUCKET * sizeof(uint64_t) == FM_CACHELINE, "a bucket is a cache line");
_Static_assert(FM_DIRECTORY_KEY_MAX == UINT8_MAX, "a length fits its byte");
_Static_assert(FM_DIRECTORY_CELLS_MAX - 1 == UINT16_MAX, "a cell fits its two bytes");

/* -------- entries -------- */

size_t fm_directory_put(unsigned char *at, struct fm_str key, uint32_t cell)
{
    FM_ASSERT(key.n <= FM_DIRECTORY_KEY_MAX && cell < FM_DIRECTORY_CELLS_MAX);
    at[0] = (unsigned char)key.n;
    at[1] = (unsigned char)(cell & 0xff);
    at[2] = (unsigned char)(cell >> 8);
    if (key.n)
        memcpy(at + FM_DIRECTORY_HEAD, key.p, key.n);
    return FM_DIRECTORY_HEAD + key.n;
}

static struct fm_str key_at(const unsigned char *e)
{
    return fm_str((const char *)e + FM_DIRECTORY_HEAD, e[0]);
}

static uint32_t cell_at(const unsigned char *e)
{
    return (uint32_t)e[1] | (uint32_t)e[2] << 8;
}

struct fm_directory_entry fm_directory_entry_at(const unsigned char *entries, uint64_t offset)
{
    FM_ASSERT(offset >= FM_DIRECTORY_FIRST && offset < FM_DIRECTORY_BYTES_MAX);
    const unsigned char *e = entries + offset;
    return (struct fm_directory_entry){key_at(e), cell_at(e), offset + FM_DIRECTORY_HEAD + e[0]};
}

/* -------- slots -------- */

uint64_t fm_directory_buckets(uint64_t n)
{
    FM_ASSERT(n < FM_DIRECTORY_BYTES_MAX);
    return n / FILL_OF_8 + 1;
}

/* The bucket comes from the high bits of a hash, the fingerprint from the low ones. */
static uint64_t *bucket_of(const struct fm_directory *d, uint64_t hash)
{
    uint64_t b = (uint64_t)((fm_u128)hash * d->nbuckets >> 64);
    FM_ASSERT(b < d->nbuckets);
    return d->slot + b * FM_DIRECTORY_BUCKET;
}

static uint64_t *next_bucket(const struct fm_directory *d, uint64_t *bucket)
{
    bucket += FM_DIRECTORY_BUCKET;
    return bucket == d->slot + d->nbuckets * FM_DIRECTORY_BUCKET ? d->slot : bucket;
}

static uint64_t print_of(uint64_t hash)
{
    return hash << OFFSET_BITS;
}

static bool agrees(uint64_t slot, uint64_t print)
{
    return ((slot ^ print) & ~OFFSET_MASK) == 0;
}

static const unsigned char *entry_of(const struct fm_directory *d, uint64_t slot)
{
    uint64_t offset = slot & OFFSET_MASK;
    FM_ASSERT(offset >= FM_DIRECTORY_FIRST && offset < d->bytes);
    return d->entry + offset;
}

/* The slot that holds the key, or the free one where it would go. */
static uint64_t *find_slot(const struct fm_directory *d, uint64_t hash, struct fm_str key)
{
    uint64_t print = print_of(hash);
    for (uint64_t *b = bucket_of(d, hash);; b = next_bucket(d, b))
        for (unsigned i = 0; i < FM_DIRECTORY_BUCKET; i++)
            if (b[i] == 0 || (agrees(b[i], print) && fm_str_eq(key_at(entry_of(d, b[i])), key)))
                return &b[i];
}

/* -------- building -------- */

void fm_directory_init(struct fm_directory *d, uint64_t *slots, uint64_t nbuckets,
                       const unsigned char *entries, uint64_t bytes, struct fm_hash_key key)
{
    FM_ASSERT(nbuckets > 0 && (uintptr_t)slots % FM_CACHELINE == 0);
    FM_ASSERT(bytes >= FM_DIRECTORY_FIRST && bytes <= FM_DIRECTORY_BYTES_MAX);
    *d = (struct fm_directory){
        .slot = slots, .entry = entries, .nbuckets = nbuckets, .bytes = bytes, .key = key};
}

bool fm_directory_add(struct fm_directory *d, const uint64_t *offset, unsigned n, uint64_t *earlier)
{
    uint64_t hash[FM_DIRECTORY_BATCH];
    bool all = true;
    FM_ASSERT(n <= FM_DIRECTORY_BATCH);
    for (unsigned i = 0; i < n; i++) {
        hash[i] = fm_hash_str(d->key, key_at(d->entry + offset[i]));
        __builtin_prefetch(bucket_of(d, hash[i]), 1);
    }
    for (unsigned i = 0; i < n; i++) {
        FM_ASSERT(offset[i] >= FM_DIRECTORY_FIRST && offset[i] < d->bytes);
        struct fm_str key = key_at(d->entry + offset[i]);
        FM_ASSERT(key.n > 0);
        uint64_t *slot = find_slot(d, hash[i], key);
        earlier[i] = *slot & OFFSET_MASK;
        if (*slot) {
            all = false;
            continue;
        }
        *slot = print_of(hash[i]) | offset[i];
        d->n++;
        FM_ASSERT(d->n <= d->nbuckets * FILL_OF_8); /* so that a free slot ends each search */
    }
    return all;
}

/* -------- looking up -------- */

uint32_t fm_directory_find(const struct fm_directory *d, struct fm_str key)
{
    if (key.n == 0 || key.n > FM_DIRECTORY_KEY_MAX)
        return FM_DIRECTORY_ABSENT;
    uint64_t slot = *find_slot(d, fm_hash_str(d->key, key), key);
    return slot ? cell_at(entry_of(d, slot)) : FM_DIRECTORY_ABSENT;
}

/* The first entry with this fingerprint, most probably the one; NULL where the first bucket has
 * none. What an entry of the key's length covers is fetched on the way. */
static const unsigned char *candidate(const struct fm_directory *d, uint64_t hash, size_t length)
{
    const uint64_t *b = bucket_of(d, hash);
    uint64_t print = print_of(hash);
    for (unsigned i = 0; i < FM_DIRECTORY_BUCKET && b[i]; i++) {
        if (!agrees(b[i], print))
            continue;
        const unsigned char *e = entry_of(d, b[i]);
        __builtin_prefetch(e);
        __builtin_prefetch(e + FM_DIRECTORY_HEAD + length - 1);
        return e;
    }
    return NULL;
}

void fm_directory_find_many(const struct fm_directory *d, const struct fm_str *keys, unsigned n,
                            uint32_t *cells)
{
    uint64_t hash[FM_DIRECTORY_BATCH];
    const unsigned char *first[FM_DIRECTORY_BATCH];
    FM_ASSERT(n <= FM_DIRECTORY_BATCH);
    for (unsigned i = 0; i < n; i++) {
        hash[i] = fm_hash_str(d->key, keys[i]);
        __builtin_prefetch(bucket_of(d, hash[i]));
    }
    for (unsigned i = 0; i < n; i++)
        first[i] = candidate(d, hash[i], keys[i].n);
    for (unsigned i = 0; i < n; i++) {
        if (keys[i].n == 0 || keys[i].n > FM_DIRECTORY_KEY_MAX) {
            cells[i] = FM_DIRECTORY_ABSENT;
        } else if (first[i] && fm_str_eq(key_at(first[i]), keys[i])) {
            cells[i] = cell_at(first[i]);
        } else {
            uint64_t slot = *find_slot(d, hash[i], keys[i]);
            cells[i] = slot ? cell_at(entry_of(d, slot)) : FM_DIRECTORY_ABSENT;
        }
    }
}
