/* Base64: RFC 4648 section 10, and what is refused. */
#include "test.h"

#include "coord/base64.h"

static const struct {
    const char *bytes, *text;
} vectors[] = {{"", ""},
               {"f", "Zg=="},
               {"fo", "Zm8="},
               {"foo", "Zm9v"},
               {"foob", "Zm9vYg=="},
               {"fooba", "Zm9vYmE="},
               {"foobar", "Zm9vYmFy"}};

static void writes_the_vectors_of_the_rfc(void **state)
{
    (void)state;
    for (size_t i = 0; i < FM_COUNT(vectors); i++) {
        char mem[16];
        struct fm_buf b = fm_buf(mem, sizeof mem);
        fm_base64_add(&b, fm_str_z(vectors[i].bytes));
        assert_str(fm_buf_str(&b), vectors[i].text);
        assert_int_equal(fm_base64_len(strlen(vectors[i].bytes)), b.n);
    }
}

static void reads_them_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < FM_COUNT(vectors); i++) {
        char mem[16];
        size_t n = fm_base64_decode(fm_str_z(vectors[i].text), mem);
        assert_int_equal(n, strlen(vectors[i].bytes));
        assert_memory_equal(mem, vectors[i].bytes, n);
    }
}

static void every_byte_comes_back_also_in_place(void **state)
{
    (void)state;
    char all[256], mem[400];
    for (unsigned i = 0; i < sizeof all; i++)
        all[i] = (char)i;
    for (size_t n = 0; n <= sizeof all; n++) {
        struct fm_buf b = fm_buf(mem, sizeof mem);
        fm_base64_add(&b, fm_str(all, n));
        assert_int_equal(fm_base64_decode(fm_buf_str(&b), mem), n);
        assert_memory_equal(mem, all, n);
    }
}

static void refuses_what_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {"Z",    "Zg",   "Zg=",  "Zg==Zg==", "Z===", "====", "Zm9v\n",
                                      "Zm 9", "Zh==", "Zm9=", "=Zg=",     "Zm=v", "Zm9_", "Zm9-"};
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        char mem[16];
        if (fm_base64_decode(fm_str_z(bad[i]), mem) != SIZE_MAX)
            fail_msg("taken: %s", bad[i]);
    }
}

static void writes_whole_or_not_at_all(void **state)
{
    (void)state;
    char mem[7];
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_base64_add(&b, FM_STR("foob"));
    assert_true(b.full);
    assert_int_equal(b.n, 0);
}

FM_TEST_MAIN(fm_test(writes_the_vectors_of_the_rfc), fm_test(reads_them_back),
             fm_test(every_byte_comes_back_also_in_place), fm_test(refuses_what_is_none),
             fm_test(writes_whole_or_not_at_all))
