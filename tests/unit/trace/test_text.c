/* Words of a trace: members of every width there and back, and what is none. */
#include "test.h"

#include "trace/text.h"

struct sample {
    uint8_t b;
    uint16_t h;
    uint32_t w;
    int64_t q;
    bool yes;
};

#define F(member) FM_TRACE_FIELD(struct sample, member)
static const struct fm_trace_field fields[] = {F(b), F(h), F(w), F(q), F(yes)};
#undef F
enum { N = 5 };

static char mem[256];

static struct fm_str written(const struct sample *s)
{
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_trace_put(&b, fields, N, s);
    assert_false(b.full);
    return fm_buf_str(&b);
}

static void what_is_written_comes_back(void **state)
{
    (void)state;
    struct sample s = {UINT8_MAX, UINT16_MAX, UINT32_MAX, INT64_MAX, true}, back = {0};
    struct fm_str line = written(&s);
    struct fm_trace_word w;
    unsigned n = 0;
    for (; fm_trace_next(&line, &w); n++)
        assert_true(fm_trace_take(&w, fields, N, &back));
    assert_int_equal(n, N);
    assert_int_equal(line.n, 0);
    assert_true(back.b == s.b && back.h == s.h && back.w == s.w && back.q == s.q && back.yes);
}

static void what_is_zero_is_left_out(void **state)
{
    (void)state;
    assert_int_equal(written(&(struct sample){0}).n, 0);
    struct fm_str line = written(&(struct sample){.w = 7});
    assert_true(fm_str_eqz(line, " w=7"));
}

static void lists_keep_their_order(void **state)
{
    (void)state;
    struct sample s = {1, 2, 3, 0, true}, back = {0};
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_buf_lit(&b, " all=");
    fm_trace_put_list(&b, fields, N, &s);
    struct fm_str line = fm_buf_str(&b);
    assert_true(fm_str_eqz(line, " all=1,2,3,0,1"));
    struct fm_trace_word w;
    assert_true(fm_trace_next(&line, &w));
    assert_int_equal(w.n, N);
    assert_true(fm_trace_take_list(w.of, fields, N, &back));
    assert_true(back.b == 1 && back.h == 2 && back.w == 3 && back.q == 0 && back.yes);
}

static void what_is_no_word_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "w=1",
                                      " ",
                                      " w",
                                      " w=",
                                      " =1",
                                      " w=x",
                                      " w=1,",
                                      " w=,1",
                                      " w=-1",
                                      "  w=1",
                                      " w= 1",
                                      " w=18446744073709551616"};
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        struct fm_str line = fm_str_z(bad[i]);
        struct fm_trace_word w;
        if (fm_trace_next(&line, &w))
            fail_msg("`%s` is taken", bad[i]);
        assert_int_equal(line.n, strlen(bad[i]));
    }
    struct sample s = {0};
    struct fm_trace_word w = {.name = FM_STR("b"), .n = 1, .of = {256}};
    assert_false(fm_trace_take(&w, fields, N, &s));
    w.of[0] = 255;
    assert_true(fm_trace_take(&w, fields, N, &s));
    w.n = 2;
    assert_false(fm_trace_take(&w, fields, N, &s));
    w = (struct fm_trace_word){.name = FM_STR("other"), .n = 1};
    assert_false(fm_trace_take(&w, fields, N, &s));
}

static void a_line_of_too_many_numbers_is_refused(void **state)
{
    (void)state;
    char text[4 * FM_TRACE_NUMBERS_MAX] = " x=1";
    size_t n = strlen(text);
    for (unsigned i = 1; i < FM_TRACE_NUMBERS_MAX; i++) {
        memcpy(text + n, ",1", 2);
        n += 2;
    }
    struct fm_trace_word w;
    struct fm_str line = fm_str(text, n);
    assert_true(fm_trace_next(&line, &w));
    assert_int_equal(w.n, FM_TRACE_NUMBERS_MAX);
    memcpy(text + n, ",1", 2);
    line = fm_str(text, n + 2);
    assert_false(fm_trace_next(&line, &w));
}

FM_TEST_MAIN(fm_test(what_is_written_comes_back), fm_test(what_is_zero_is_left_out),
             fm_test(lists_keep_their_order), fm_test(what_is_no_word_is_refused),
             fm_test(a_line_of_too_many_numbers_is_refused))
