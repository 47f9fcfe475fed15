/* core/directory.h: exact keys and the cell of each: pin lists, and directories of tenants up to
 * tens of millions. A key that is not in it is reported absent: keys are stored and compared in
 * full, a fingerprint only saves looking.
 *
 * Two pieces of memory of the caller's. *Slots*: eight bytes each, eight to a bucket, a bucket to a
 * cache line; a slot is 28 bits of the key's hash and 36 bits of an offset. *Entries*: at that
 * offset the length, the cell and the key. A look-up reads one line of slots (now and then the
 * next, when a bucket is full) and, where a fingerprint agrees, the entry: two cache misses for a
 * key that is there, one for a key that is not. fm_directory_find_many overlaps the misses of a
 * batch. Why this and no perfect hash, trie or sorted array: docs/decisions/0011-directory.md.
 *
 * Building: write the entries, count them, init over zeroed slots, add all, then never change it:
 * then any number of threads may look up. Pure: no heap, no clock; the hash key comes in, random,
 * because tenants choose their names and could choose ones that collide. */
#ifndef FM_CORE_DIRECTORY_H
#define FM_CORE_DIRECTORY_H

#include "base/hash.h"

enum {
    FM_DIRECTORY_KEY_MAX = 255, /* bytes of a key, from 1 */
    FM_DIRECTORY_CELLS_MAX = 1 << 16,
    FM_DIRECTORY_HEAD = 3,   /* bytes of an entry before its key */
    FM_DIRECTORY_BUCKET = 8, /* slots */
    FM_DIRECTORY_BATCH = 64, /* what one call of add or find_many takes */
};

#define FM_DIRECTORY_BYTES_MAX (UINT64_C(1) << 36) /* of all entries */
#define FM_DIRECTORY_ABSENT    UINT32_MAX

struct fm_directory {
    uint64_t *slot; /* nbuckets * FM_DIRECTORY_BUCKET, aligned to FM_CACHELINE; 0 = free */
    const unsigned char *entry;
    uint64_t nbuckets, bytes;
    uint64_t n; /* keys */
    struct fm_hash_key key;
};

/* -------- building -------- */

/* The first entry begins here, so that no offset is 0. */
enum { FM_DIRECTORY_FIRST = 1 };

/* Write an entry to `at`, which has room for FM_DIRECTORY_HEAD + key.n bytes; returns that number.
 * A key of 0 bytes is a filler that is never found; it can only be walked over. */
size_t fm_directory_put(unsigned char *at, struct fm_str key, uint32_t cell);

/* The entry at an offset, and the offset of the next. */
struct fm_directory_entry {
    struct fm_str key;
    uint32_t cell;
    uint64_t next;
};
struct fm_directory_entry fm_directory_entry_at(const unsigned char *entries, uint64_t offset);

/* Buckets for n keys: filled to three quarters at most, at least one bucket. */
uint64_t fm_directory_buckets(uint64_t n);

/* `slots` are zero. `bytes` of entries begin with FM_DIRECTORY_FIRST bytes of anything. */
void fm_directory_init(struct fm_directory *d, uint64_t *slots, uint64_t nbuckets,
                       const unsigned char *entries, uint64_t bytes, struct fm_hash_key key);

/* Add the entries at `n` (at most FM_DIRECTORY_BATCH) offsets, in this order. earlier[i] is 0, or
 * the offset of the entry that has the same key already: then this one was not added. False where
 * some were not. */
bool fm_directory_add(struct fm_directory *d, const uint64_t *offset, unsigned n,
                      uint64_t *earlier) FM_WARN_UNUSED;

/* -------- looking up -------- */

/* The cell of a key, or FM_DIRECTORY_ABSENT. */
uint32_t fm_directory_find(const struct fm_directory *d, struct fm_str key);

/* The same for n keys, at most FM_DIRECTORY_BATCH. */
void fm_directory_find_many(const struct fm_directory *d, const struct fm_str *keys, unsigned n,
                            uint32_t *cells);

#endif
