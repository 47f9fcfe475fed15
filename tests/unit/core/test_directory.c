/* The directory against a list that is searched from front to end, with random keys, with keys that
 * share fingerprints, and full to the brim. */
#include "test.h"

#include "base/rand.h"
#include "core/directory.h"

#include <stdio.h>
#include <stdlib.h>

struct dir {
    unsigned char *entry;
    uint64_t *slot, *offset;
    uint64_t bytes;
    unsigned n; /* entries written */
    struct fm_directory d;
};

enum { ENTRIES_MAX = 40000, BYTES_MAX = 4 << 20 };

static void dir_open(struct dir *x)
{
    *x = (struct dir){.bytes = FM_DIRECTORY_FIRST};
    x->entry = malloc(BYTES_MAX);
    x->offset = malloc(ENTRIES_MAX * sizeof *x->offset);
    assert_true(x->entry && x->offset);
}

static void dir_close(struct dir *x)
{
    free(x->entry);
    free(x->offset);
    free(x->slot);
}

static void put(struct dir *x, struct fm_str key, uint32_t cell)
{
    assert_true(x->n < ENTRIES_MAX);
    assert_true(x->bytes + FM_DIRECTORY_HEAD + FM_DIRECTORY_KEY_MAX < BYTES_MAX);
    x->offset[x->n++] = x->bytes;
    x->bytes += fm_directory_put(x->entry + x->bytes, key, cell);
}

/* Add all, with so many in a call; returns how many were there already. */
static unsigned build_with(struct dir *x, uint64_t nbuckets, unsigned batch, struct fm_hash_key key)
{
    size_t bytes = nbuckets * FM_CACHELINE;
    unsigned refused = 0;
    free(x->slot);
    x->slot = aligned_alloc(FM_CACHELINE, bytes);
    assert_non_null(x->slot);
    memset(x->slot, 0, bytes);
    fm_directory_init(&x->d, x->slot, nbuckets, x->entry, x->bytes, key);
    for (unsigned at = 0; at < x->n; at += batch) {
        uint64_t earlier[FM_DIRECTORY_BATCH];
        unsigned n = x->n - at < batch ? x->n - at : batch, here = 0;
        bool all = fm_directory_add(&x->d, x->offset + at, n, earlier);
        for (unsigned i = 0; i < n; i++) {
            if (!earlier[i])
                continue;
            here++;
            assert_true(earlier[i] < x->offset[at + i]);
            struct fm_directory_entry a = fm_directory_entry_at(x->entry, earlier[i]);
            struct fm_directory_entry b = fm_directory_entry_at(x->entry, x->offset[at + i]);
            assert_true(fm_str_eq(a.key, b.key));
        }
        assert_int_equal(all, here == 0);
        refused += here;
    }
    assert_int_equal(x->d.n, x->n - refused);
    return refused;
}

static unsigned build(struct dir *x)
{
    return build_with(x, fm_directory_buckets(x->n), FM_DIRECTORY_BATCH,
                      (struct fm_hash_key){1, 2});
}

/* The oracle: the first entry with this key. */
static uint32_t look(const struct dir *x, struct fm_str key)
{
    for (unsigned i = 0; i < x->n; i++) {
        struct fm_directory_entry e = fm_directory_entry_at(x->entry, x->offset[i]);
        if (key.n && fm_str_eq(e.key, key))
            return e.cell;
    }
    return FM_DIRECTORY_ABSENT;
}

/* One key alone and in the middle of a batch of others. */
static void agree(const struct dir *x, struct fm_str key)
{
    uint32_t want = look(x, key), got[3];
    struct fm_str batch[3] = {fm_directory_entry_at(x->entry, x->offset[0]).key, key, FM_STR("-")};
    assert_int_equal(fm_directory_find(&x->d, key), want);
    fm_directory_find_many(&x->d, batch, 3, got);
    assert_int_equal(got[0], look(x, batch[0]));
    assert_int_equal(got[1], want);
    assert_int_equal(got[2], look(x, batch[2]));
}

/* -------- tests -------- */

static void entries_are_read_as_they_were_written(void **state)
{
    (void)state;
    struct dir x;
    char longest[FM_DIRECTORY_KEY_MAX];
    memset(longest, 'l', sizeof longest);
    dir_open(&x);
    put(&x, FM_STR("a"), 0);
    put(&x, fm_str(longest, sizeof longest), 65535);
    put(&x, fm_str("", 0), 7); /* a filler */
    put(&x, FM_STR("b"), 258);
    struct fm_directory_entry e = fm_directory_entry_at(x.entry, FM_DIRECTORY_FIRST);
    assert_str(e.key, "a");
    assert_int_equal(e.cell, 0);
    e = fm_directory_entry_at(x.entry, e.next);
    assert_true(fm_str_eq(e.key, fm_str(longest, sizeof longest)));
    assert_int_equal(e.cell, 65535);
    e = fm_directory_entry_at(x.entry, e.next);
    assert_int_equal(e.key.n, 0);
    e = fm_directory_entry_at(x.entry, e.next);
    assert_str(e.key, "b");
    assert_int_equal(e.cell, 258);
    assert_int_equal(e.next, x.bytes);
    dir_close(&x);
}

static void an_empty_one_has_nothing(void **state)
{
    (void)state;
    struct dir x;
    dir_open(&x);
    assert_int_equal(build(&x), 0);
    uint32_t cell = 0;
    assert_int_equal(fm_directory_find(&x.d, FM_STR("a")), FM_DIRECTORY_ABSENT);
    fm_directory_find_many(&x.d, &FM_STR("a"), 1, &cell);
    assert_int_equal(cell, FM_DIRECTORY_ABSENT);
    fm_directory_find_many(&x.d, NULL, 0, NULL);
    dir_close(&x);
}

static struct fm_str random_key(struct fm_rand *r, char *mem, unsigned longest, unsigned letters)
{
    size_t n = 1 + fm_rand_below(r, longest);
    for (size_t i = 0; i < n; i++)
        mem[i] = (char)('a' + fm_rand_below(r, letters));
    return fm_str(mem, n);
}

/* Few letters make doubles and prefixes, many make none. */
static void agrees_with_a_list(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct fm_rand r = {seed};
        struct dir x;
        char mem[300];
        unsigned letters = 2 + fm_rand_below(&r, 25), longest = 3 + fm_rand_below(&r, 12);
        unsigned n = 1 + fm_rand_below(&r, 600), doubles = 0;
        dir_open(&x);
        for (unsigned i = 0; i < n; i++) {
            struct fm_str key = random_key(&r, mem, longest, letters);
            doubles += look(&x, key) != FM_DIRECTORY_ABSENT;
            put(&x, key, fm_rand_below(&r, 1000));
        }
        unsigned batch = 1 + fm_rand_below(&r, FM_DIRECTORY_BATCH);
        struct fm_hash_key key = {fm_rand_u64(&r), fm_rand_u64(&r)};
        assert_int_equal(build_with(&x, fm_directory_buckets(n), batch, key), doubles);
        for (unsigned i = 0; i < n; i++)
            agree(&x, fm_directory_entry_at(x.entry, x.offset[i]).key);
        for (unsigned i = 0; i < 300; i++)
            agree(&x, random_key(&r, mem, longest + 1, letters));
        dir_close(&x);
    }
}

static void batches_of_all_sizes_say_what_single_lookups_say(void **state)
{
    (void)state;
    struct dir x;
    char text[20000][16];
    dir_open(&x);
    for (unsigned i = 0; i < 20000; i++) {
        int n = snprintf(text[i], sizeof text[i], "tenant-%u", i);
        if (i % 2 == 0)
            put(&x, fm_str(text[i], (size_t)n), i % 4096);
    }
    assert_int_equal(build(&x), 0);
    unsigned at = 0;
    for (unsigned n = 0; at + n <= 20000; n = (n + 1) % (FM_DIRECTORY_BATCH + 1)) {
        struct fm_str keys[FM_DIRECTORY_BATCH];
        uint32_t cells[FM_DIRECTORY_BATCH];
        for (unsigned i = 0; i < n; i++)
            keys[i] = fm_str_z(text[at + i]);
        fm_directory_find_many(&x.d, keys, n, cells);
        for (unsigned i = 0; i < n; i++) {
            assert_int_equal(cells[i], (at + i) % 2 ? FM_DIRECTORY_ABSENT : (at + i) % 4096);
            assert_int_equal(cells[i], fm_directory_find(&x.d, keys[i]));
        }
        at += n;
    }
    dir_close(&x);
}

/* As many as fit: buckets overflow into the next, and the last into the first. */
static void full_to_the_brim_it_is_right(void **state)
{
    (void)state;
    for (unsigned nbuckets = 1; nbuckets <= 40; nbuckets++) {
        struct dir x;
        char text[24];
        unsigned n = 6 * nbuckets;
        dir_open(&x);
        for (unsigned i = 0; i < n; i++)
            put(&x, fm_str(text, (size_t)snprintf(text, sizeof text, "k%u", i)), i);
        assert_int_equal(build_with(&x, nbuckets, 7, (struct fm_hash_key){nbuckets, 9}), 0);
        for (unsigned i = 0; i < n + 100; i++)
            agree(&x, fm_str(text, (size_t)snprintf(text, sizeof text, "k%u", i)));
        dir_close(&x);
    }
}

/* -------- fingerprints -------- */

struct print {
    uint32_t low, i;
};

static int compare_prints(const void *x, const void *y)
{
    const struct print *a = x, *b = y;
    return a->low < b->low ? -1 : a->low > b->low;
}

/* Among 40,000 keys several pairs share the 28 bits of their fingerprints (three expected; the seed
 * is fixed). In a single row of buckets they stand in each other's way. */
static void keys_with_one_fingerprint_are_told_apart(void **state)
{
    (void)state;
    struct fm_hash_key key = {1, 2};
    static struct print print[ENTRIES_MAX];
    char a[24], b[24];
    unsigned pairs = 0;
    for (uint32_t i = 0; i < ENTRIES_MAX; i++) {
        int n = snprintf(a, sizeof a, "tenant-%u", i);
        print[i] = (struct print){(uint32_t)(fm_hash(key, a, (size_t)n) & ((1u << 28) - 1)), i};
    }
    qsort(print, ENTRIES_MAX, sizeof *print, compare_prints);
    for (unsigned i = 1; i < ENTRIES_MAX; i++) {
        if (print[i].low != print[i - 1].low)
            continue;
        struct dir x;
        struct fm_str one = fm_str(a, (size_t)snprintf(a, sizeof a, "tenant-%u", print[i - 1].i));
        struct fm_str two = fm_str(b, (size_t)snprintf(b, sizeof b, "tenant-%u", print[i].i));
        dir_open(&x);
        put(&x, one, 1);
        assert_int_equal(build_with(&x, 1, 1, key), 0);
        agree(&x, one);
        agree(&x, two); /* absent, although its fingerprint is there */
        put(&x, two, 2);
        put(&x, one, 3);
        assert_int_equal(build_with(&x, 1, 3, key), 1);
        agree(&x, one);
        agree(&x, two);
        dir_close(&x);
        pairs++;
    }
    assert_true(pairs > 0);
}

static void keys_that_cannot_be_there_are_absent(void **state)
{
    (void)state;
    struct dir x;
    char mem[300];
    memset(mem, 'a', sizeof mem);
    dir_open(&x);
    put(&x, fm_str(mem, FM_DIRECTORY_KEY_MAX), 1);
    put(&x, fm_str(mem, 44), 2); /* 300 - 256: what a length cut to a byte would find */
    assert_int_equal(build(&x), 0);
    struct fm_str keys[] = {fm_str(mem, 300), fm_str(mem, 0), fm_str(NULL, 0), fm_str(mem, 256)};
    uint32_t cells[FM_COUNT(keys)];
    fm_directory_find_many(&x.d, keys, FM_COUNT(keys), cells);
    for (size_t i = 0; i < FM_COUNT(keys); i++) {
        assert_int_equal(fm_directory_find(&x.d, keys[i]), FM_DIRECTORY_ABSENT);
        assert_int_equal(cells[i], FM_DIRECTORY_ABSENT);
    }
    agree(&x, fm_str(mem, FM_DIRECTORY_KEY_MAX));
    agree(&x, fm_str(mem, 44));
    dir_close(&x);
}

static void buckets_are_three_quarters_full_at_most(void **state)
{
    (void)state;
    assert_int_equal(fm_directory_buckets(0), 1);
    for (uint64_t n = 1; n < 100000000; n = n * 3 + 1) {
        assert_true(fm_directory_buckets(n) * 6 >= n);
        assert_true((fm_directory_buckets(n) - 1) * 6 <= n);
    }
}

FM_TEST_MAIN(fm_test(entries_are_read_as_they_were_written), fm_test(an_empty_one_has_nothing),
             fm_test(agrees_with_a_list), fm_test(batches_of_all_sizes_say_what_single_lookups_say),
             fm_test(full_to_the_brim_it_is_right),
             fm_test(keys_with_one_fingerprint_are_told_apart),
             fm_test(keys_that_cannot_be_there_are_absent),
             fm_test(buckets_are_three_quarters_full_at_most))
