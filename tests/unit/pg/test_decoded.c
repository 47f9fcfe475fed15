/* What PostgreSQL decodes from its log, and the lines in which it is kept. */
#include "test.h"

#include "pg/decoded.h"

static struct fm_pg_word word(const char *text)
{
    struct fm_pg_word w;
    fm_pg_word_parse(fm_str_z(text), &w);
    return w;
}

static void takes_lines_apart(void **state)
{
    (void)state;
    struct fm_pg_line l;
    assert_true(fm_pg_line_parse(FM_STR("C\t735\t0/15E8\tBEGIN 735"), &l));
    assert_int_equal(l.kind, 'C');
    assert_str(l.field[0], "735");
    assert_str(l.field[2], "BEGIN 735");
    assert_true(fm_pg_line_parse(FM_STR("D\tpostgres\t\t"), &l));
    assert_str(l.field[2], "");
    static const struct fm_str none[] = {FM_STR_INIT(""), FM_STR_INIT("C"),
                                         FM_STR_INIT("X\ta\tb\tc"), FM_STR_INIT("C\ta\tb\tc\td"),
                                         FM_STR_INIT("CC\ta\tb\tc")};
    for (size_t i = 0; i < FM_COUNT(none); i++)
        assert_false(fm_pg_line_parse(none[i], &l));
    char out[32];
    struct fm_buf b = fm_buf(out, sizeof out);
    fm_pg_field_write(&b, FM_STR("a\\tb\\\\n\\n\\"));
    assert_str(fm_buf_str(&b), "a\tb\\n\n\\");
}

static void knows_the_words_of_a_transaction(void **state)
{
    (void)state;
    assert_int_equal(word("BEGIN 735").kind, FM_PG_WORD_BEGIN);
    struct fm_pg_word w = word("COMMIT 735 (at 2026-11-22 10:00:00.123456+00)");
    assert_int_equal(w.kind, FM_PG_WORD_COMMIT);
    assert_str(w.at, "2026-11-22 10:00:00.123456+00");
    assert_int_equal(word("COMMIT 735").at.n, 0);
    w = word("table public.t: INSERT: i[integer]:1");
    assert_int_equal(w.kind, FM_PG_WORD_INSERT);
    assert_str(w.relation, "public.t");
    assert_str(w.columns, " i[integer]:1");
    w = word("table \"a: INSERT:\".\"b\"\"c\": DELETE: (no-tuple-data)");
    assert_int_equal(w.kind, FM_PG_WORD_DELETE);
    assert_str(w.relation, "\"a: INSERT:\".\"b\"\"c\"");
    w = word("table public.a, public.b: TRUNCATE: (no-flags)");
    assert_int_equal(w.kind, FM_PG_WORD_TRUNCATE);
    assert_str(w.relation, "public.a, public.b");
    assert_int_equal(word("message: transactional: 1 prefix: x").kind, FM_PG_WORD_OTHER);
    assert_int_equal(word("table public.t").kind, FM_PG_WORD_OTHER);
    assert_int_equal(word("table \"public.t: INSERT: i[integer]:1").kind, FM_PG_WORD_OTHER);
    assert_string_equal(fm_pg_word_name(FM_PG_WORD_TRUNCATE), "truncate");
}

static void an_update_of_a_key_has_two_rows(void **state)
{
    (void)state;
    struct fm_pg_word w =
        word("table public.t: UPDATE: old-key: i[integer]:1 v[text]:' new-tuple: ' "
             "new-tuple: i[integer]:2 v[text]:null");
    assert_int_equal(w.kind, FM_PG_WORD_UPDATE);
    assert_str(w.old, " i[integer]:1 v[text]:' new-tuple: '");
    assert_str(w.columns, " i[integer]:2 v[text]:null");
    w = word("table public.t: UPDATE: i[integer]:2");
    assert_int_equal(w.old.n, 0);
    assert_str(w.columns, " i[integer]:2");
    w = word("table public.t: UPDATE: old-key: i[integer]:1 v[text]:'cut");
    assert_str(w.old, " i[integer]:1"); /* what is left of it is not the new row */
    assert_str(w.columns, " i[integer]:1 v[text]:'cut");
}

static void values_of_all_forms(void **state)
{
    (void)state;
    static const struct {
        const char *name, *type, *value;
        enum fm_pg_form form;
    } want[] = {
        {"i", "integer", "-1", FM_PG_BARE},
        {"f", "double precision", "NaN", FM_PG_BARE},
        {"b", "boolean", "true", FM_PG_BARE},
        {"t", "character varying", "it's b[text]:1", FM_PG_QUOTED},
        {"a", "integer[]", "{1,2}", FM_PG_QUOTED},
        {"\"x y\"", "public.\"odd]: type\"", "", FM_PG_QUOTED},
        {"n", "text", "", FM_PG_NULL},
        {"s", "text", "null", FM_PG_QUOTED},
        {"bits", "bit(2)", "01", FM_PG_QUOTED},
        {"big", "text", "", FM_PG_UNCHANGED},
    };
    struct fm_str rest =
        FM_STR(" i[integer]:-1 f[double precision]:NaN b[boolean]:true t[character varying]:'it''s "
               "b[text]:1' a[integer[]]:'{1,2}' \"x y\"[public.\"odd]: type\"]:'' n[text]:null "
               "s[text]:'null' bits[bit(2)]:B'01' big[text]:unchanged-toast-datum");
    for (size_t i = 0; i < FM_COUNT(want); i++) {
        struct fm_pg_column c;
        char out[64];
        struct fm_buf b = fm_buf(out, sizeof out);
        assert_true(fm_pg_column_next(&rest, &c));
        assert_str(c.name, want[i].name);
        assert_str(c.type, want[i].type);
        assert_int_equal(c.form, want[i].form);
        fm_pg_value_write(&b, &c);
        assert_str(fm_buf_str(&b), want[i].value);
    }
    assert_int_equal(rest.n, 0);
}

static void what_is_cut_or_strange_is_left_over(void **state)
{
    (void)state;
    static const char *const strange[] = {
        " (no-tuple-data)", " i[integer]",           " i[integer]:",   " i[integer",
        " t[text]:'cut",    " t[text]:'cut''",       "i[integer]:1",   " new-tuple: i[int]:1",
        " [integer]:1",     " \"a,\"b,\"[text]:'x'", " \"i[integer]:1"};
    for (size_t i = 0; i < FM_COUNT(strange); i++) {
        struct fm_str rest = fm_str_z(strange[i]);
        struct fm_pg_column c;
        assert_false(fm_pg_column_next(&rest, &c));
        assert_str(rest, strange[i]);
    }
}

static void a_list_of_names(void **state)
{
    (void)state;
    struct fm_str names = FM_STR("id,\"a,b\",region");
    assert_true(fm_pg_names_have(names, FM_STR("id")));
    assert_true(fm_pg_names_have(names, FM_STR("\"a,b\"")));
    assert_true(fm_pg_names_have(names, FM_STR("region")));
    assert_false(fm_pg_names_have(names, FM_STR("b")));
    assert_false(fm_pg_names_have(fm_str(NULL, 0), FM_STR("b")));
}

FM_TEST_MAIN(fm_test(takes_lines_apart), fm_test(knows_the_words_of_a_transaction),
             fm_test(an_update_of_a_key_has_two_rows), fm_test(values_of_all_forms),
             fm_test(what_is_cut_or_strange_is_left_over), fm_test(a_list_of_names))
