/* From keys to cells. The first test is a contract with every edge, gate and application out there:
 * if it fails, the code is wrong, never the vectors. They were computed by another implementation,
 * written from docs/reference/cells.md. */
#include "test.h"

#include "base/rand.h"
#include "core/cells.h"

#include <stdalign.h>
#include <stdio.h>

/* -------- the hash -------- */

static const struct {
    const char *key;
    size_t n;
    uint64_t hash;
    uint32_t of_3, of_16, of_64, of_65536;
    uint32_t at_home[3]; /* of twelve cells that are dealt to three regions in turn */
} vectors[] = {
    {"", 0, UINT64_C(0x74dd24a5f2f72aee), 1, 7, 29, 29917, {0, 1, 2}},
    {"a", 1, UINT64_C(0x6de71851e1205b6c), 1, 6, 27, 28135, {6, 10, 5}},
    {"4711", 4, UINT64_C(0xd2e12ea8b42ce8e6), 2, 13, 52, 53985, {3, 10, 5}},
    {"card-17", 7, UINT64_C(0x94c1e9f78db8c708), 1, 9, 37, 38081, {6, 10, 2}},
    {"tenant-0", 8, UINT64_C(0x0bdf9e9ab1a312e1), 0, 0, 2, 3039, {3, 7, 8}},
    {"12345678", 8, UINT64_C(0xc72ffad85ce3d087), 2, 12, 49, 50991, {9, 1, 11}},
    {"123456789", 9, UINT64_C(0x068d9dc5c285279f), 0, 0, 1, 1677, {6, 7, 8}},
    {"acme-corporation", 16, UINT64_C(0x98e19ed91534fb07), 1, 9, 38, 39137, {6, 4, 5}},
    {"01890a5d-ac96-774b-bcce-b302099a8057",
     36,
     UINT64_C(0x632a1ad4816c3ea5),
     1,
     6,
     24,
     25386,
     {0, 1, 5}},
    {"M\xc3\xbcller", 7, UINT64_C(0x1ce8bf6dc8269aea), 0, 1, 7, 7400, {3, 1, 5}},
    {"\0\xff", 2, UINT64_C(0x42a1a1f6ae45e8a8), 0, 4, 16, 17057, {3, 10, 2}},
};

static void a_key_has_the_same_cell_for_ever(void **state)
{
    (void)state;
    uint8_t home[12];
    for (unsigned c = 0; c < sizeof home; c++)
        home[c] = (uint8_t)(c % 3);
    for (size_t i = 0; i < FM_COUNT(vectors); i++) {
        uint64_t h = fm_cell_hash(fm_str(vectors[i].key, vectors[i].n));
        assert_int_equal(h, vectors[i].hash);
        assert_int_equal(fm_cell_of(h, 1), 0);
        assert_int_equal(fm_cell_of(h, 3), vectors[i].of_3);
        assert_int_equal(fm_cell_of(h, 16), vectors[i].of_16);
        assert_int_equal(fm_cell_of(h, 64), vectors[i].of_64);
        assert_int_equal(fm_cell_of(h, 65536), vectors[i].of_65536);
        for (unsigned r = 0; r < 3; r++) {
            uint32_t cell = 99;
            assert_true(fm_cell_at_home(h, home, sizeof home, r, &cell));
            assert_int_equal(cell, vectors[i].at_home[r]);
        }
    }
}

static void long_keys_too(void **state)
{
    (void)state;
    char text[255];
    memset(text, 'x', sizeof text);
    assert_int_equal(fm_cell_hash(fm_str(text, 63)), UINT64_C(0xbd3c7dbd68709db4));
    assert_int_equal(fm_cell_hash(fm_str(text, 64)), UINT64_C(0x521aa352014a12cc));
    memset(text, 'k', sizeof text);
    assert_int_equal(fm_cell_hash(fm_str(text, 255)), UINT64_C(0x563c90f7c0b30b7a));
}

static void cells_cover_the_range_evenly(void **state)
{
    (void)state;
    assert_int_equal(fm_cell_of(0, 7), 0);
    assert_int_equal(fm_cell_of(UINT64_MAX, 7), 6);
    assert_int_equal(fm_cell_of(UINT64_MAX, 65536), 65535);
    unsigned count[64] = {0};
    char text[24];
    for (unsigned i = 0; i < 64000; i++) {
        int n = snprintf(text, sizeof text, "tenant-%u", i);
        count[fm_cell_of(fm_cell_hash(fm_str(text, (size_t)n)), 64)]++;
    }
    for (unsigned c = 0; c < 64; c++) /* 1,000 each; six sigma are 190 */
        assert_in_range(count[c], 810, 1190);
}

/* -------- regions instead of cells -------- */

static void a_cell_that_leaves_home_moves_only_its_own_keys(void **state)
{
    (void)state;
    enum { CELLS = 24, KEYS = 6000 };
    uint8_t before[CELLS], after[CELLS];
    for (unsigned c = 0; c < CELLS; c++)
        before[c] = after[c] = (uint8_t)(c % 2);
    after[8] = 1; /* it was at home in 0 */
    struct fm_rand dice = {1};
    unsigned count[CELLS] = {0}, moved = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        uint64_t h = fm_rand_u64(&dice);
        uint32_t was = 99, is = 99;
        assert_true(fm_cell_at_home(h, before, CELLS, 0, &was));
        assert_true(fm_cell_at_home(h, after, CELLS, 0, &is));
        assert_int_equal(before[was], 0);
        assert_int_equal(after[is], 0);
        assert_true(was == is || was == 8);
        moved += was != is;
        count[was]++;
    }
    assert_int_equal(moved, count[8]);
    for (unsigned c = 0; c < CELLS; c += 2) /* 500 each; six sigma are 130 */
        assert_in_range(count[c], 370, 630);
}

static void no_cell_at_home_is_said(void **state)
{
    (void)state;
    uint8_t home[2] = {0, 0};
    uint32_t cell = 7;
    assert_false(fm_cell_at_home(4711, home, 2, 1, &cell));
    assert_int_equal(cell, 7);
    assert_true(fm_cell_at_home(4711, home, 1, 0, &cell));
    assert_int_equal(cell, 0);
}

/* -------- pins and directories -------- */

struct small {
    unsigned char entry[256];
    alignas(FM_CACHELINE) uint64_t slot[4 * FM_DIRECTORY_BUCKET];
    struct fm_directory d;
};

static void fill(struct small *s, const char *const *keys, const uint32_t *cells, unsigned n)
{
    uint64_t at[8], earlier[8], bytes = FM_DIRECTORY_FIRST;
    memset(s, 0, sizeof *s);
    for (unsigned i = 0; i < n; i++) {
        at[i] = bytes;
        bytes += fm_directory_put(s->entry + bytes, fm_str_z(keys[i]), cells[i]);
    }
    fm_directory_init(&s->d, s->slot, 4, s->entry, bytes, (struct fm_hash_key){1, 2});
    assert_true(fm_directory_add(&s->d, at, n, earlier));
}

static void a_pin_goes_before_the_hash(void **state)
{
    (void)state;
    static struct small pins;
    fill(&pins, (const char *const[]){"4711", "card-17"}, (const uint32_t[]){3, 0}, 2);
    struct fm_cells m = {.count = 64, .pins = &pins.d};
    uint32_t cell = 99;
    assert_int_equal(fm_cell_find(&m, FM_STR("4711"), &cell), FM_CELL_BY_PIN);
    assert_int_equal(cell, 3);
    assert_int_equal(fm_cell_find(&m, FM_STR("card-17"), &cell), FM_CELL_BY_PIN);
    assert_int_equal(cell, 0);
    assert_int_equal(fm_cell_find(&m, FM_STR("a"), &cell), FM_CELL_BY_HASH);
    assert_int_equal(cell, 27);
    m.pins = NULL;
    assert_int_equal(fm_cell_find(&m, FM_STR("4711"), &cell), FM_CELL_BY_HASH);
    assert_int_equal(cell, 52);
}

static void a_directory_knows_its_keys_and_no_other(void **state)
{
    (void)state;
    static struct small pins, tenants;
    fill(&pins, (const char *const[]){"acme"}, (const uint32_t[]){1}, 1);
    fill(&tenants, (const char *const[]){"acme", "zeta"}, (const uint32_t[]){5, 6}, 2);
    struct fm_cells m = {.count = 7, .pins = &pins.d, .directory = &tenants.d};
    uint32_t cell = 99;
    assert_int_equal(fm_cell_find(&m, FM_STR("acme"), &cell), FM_CELL_BY_PIN);
    assert_int_equal(cell, 1);
    assert_int_equal(fm_cell_find(&m, FM_STR("zeta"), &cell), FM_CELL_BY_DIRECTORY);
    assert_int_equal(cell, 6);
    assert_int_equal(fm_cell_find(&m, FM_STR("Acme"), &cell), FM_CELL_ABSENT);
    assert_int_equal(cell, 6); /* left alone */
}

static void one_cell_takes_every_key(void **state)
{
    (void)state;
    struct fm_cells m = {.count = 1};
    uint32_t cell = 99;
    assert_int_equal(fm_cell_find(&m, FM_STR(""), &cell), FM_CELL_BY_HASH);
    assert_int_equal(cell, 0);
}

FM_TEST_MAIN(fm_test(a_key_has_the_same_cell_for_ever), fm_test(long_keys_too),
             fm_test(cells_cover_the_range_evenly),
             fm_test(a_cell_that_leaves_home_moves_only_its_own_keys),
             fm_test(no_cell_at_home_is_said), fm_test(a_pin_goes_before_the_hash),
             fm_test(a_directory_knows_its_keys_and_no_other), fm_test(one_cell_takes_every_key))
