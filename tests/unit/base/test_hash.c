/* SipHash-1-3 against the reference, and the key mattering. */
#include "test.h"

#include "base/hash.h"

/* From the reference implementation with cROUNDS 1 and dROUNDS 3, key 00..0f, input 00..n-1. */
static void agrees_with_the_reference(void **state)
{
    (void)state;
    static const struct {
        unsigned n;
        uint64_t want;
    } cases[] = {
        {0, UINT64_C(0xabac0158050fc4dc)}, {1, UINT64_C(0xc9f49bf37d57ca93)},
        {2, UINT64_C(0x82cb9b024dc7d44d)}, {3, UINT64_C(0x8bf80ab8e7ddf7fb)},
        {4, UINT64_C(0xcf75576088d38328)}, {5, UINT64_C(0xdef9d52f49533b67)},
        {6, UINT64_C(0xc50d2b50c59f22a7)}, {7, UINT64_C(0xd3927d989bb11140)},
    };
    struct fm_hash_key key = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    unsigned char in[8];
    for (unsigned i = 0; i < sizeof in; i++)
        in[i] = (unsigned char)i;
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        assert_int_equal(fm_hash(key, in, cases[i].n), cases[i].want);
}

static void depends_on_key_and_every_byte(void **state)
{
    (void)state;
    struct fm_hash_key a = {1, 2}, b = {1, 3};
    char text[40] = "the same text for both of the keys here";
    assert_int_not_equal(fm_hash(a, text, 39), fm_hash(b, text, 39));
    uint64_t h = fm_hash(a, text, 39);
    for (size_t i = 0; i < 39; i++) {
        text[i] ^= 1;
        assert_int_not_equal(fm_hash(a, text, 39), h);
        text[i] ^= 1;
    }
}

FM_TEST_MAIN(fm_test(agrees_with_the_reference), fm_test(depends_on_key_and_every_byte))
