/* What is agreed, as a record: one text, whose digest fits, or none. */
#include "test.h"

#include "agent/agreed.h"

#include <stdio.h>
#include <stdlib.h>

static const char shared[] = "{\"contexts\":{},\"service\":\"bank\",\"v\":1}";

static struct fm_agreed sample(uint64_t generation)
{
    struct fm_agreed a;
    assert_true(fm_agreed_make(&a, generation, shared));
    snprintf(a.by, sizeof a.by, "ann");
    snprintf(a.reason, sizeof a.reason, "two \"sites\"");
    snprintf(a.at, sizeof a.at, "2026-11-21T14:08:42.123456Z");
    snprintf(a.op, sizeof a.op, "20261121-140842-83f0c1");
    return a;
}

static char *text_of(const struct fm_agreed *a)
{
    json_t *j = fm_agreed_json(a, true);
    assert_non_null(j);
    char *text = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(j);
    return text;
}

static void what_is_written_comes_back(void **state)
{
    (void)state;
    struct fm_agreed a = sample(4), b, c;
    const char *why;
    char *text = text_of(&a);
    assert_true(fm_agreed_read(fm_str_z(text), &b, &why));
    assert_int_equal(b.mark.generation, 4);
    assert_string_equal(b.mark.digest, a.mark.digest);
    assert_string_equal(b.text, shared);
    assert_string_equal(b.reason, "two \"sites\"");
    assert_true(fm_agreed_copy(&c, &b));
    char *again = text_of(&c);
    assert_string_equal(text, again);
    assert_ptr_not_equal(b.text, c.text);
    fm_agreed_free(&a);
    fm_agreed_free(&b);
    fm_agreed_free(&c);
    assert_null(c.text);
    free(text);
    free(again);
}

/* Whatever the order of members and the blanks: the text is the canonical one. */
static void its_text_is_canonical(void **state)
{
    (void)state;
    json_t *j = json_loads("{ \"v\": 1, \"service\":\"bank\", \"contexts\": {} }", 0, NULL);
    char *text = fm_agreed_text(j);
    assert_string_equal(text, shared);
    free(text);
    json_decref(j);
    json_t *list = json_array();
    assert_null(fm_agreed_text(list));
    assert_null(fm_agreed_text(NULL));
    json_decref(list);
}

static void what_is_not_of_this_form_is_none(void **state)
{
    (void)state;
    static const struct {
        const char *piece, *by;
    } cases[] = {
        {"\"v\":1}", "\"v\":2}"}, /* of the text: the digest does not fit */
        {"\"service\":\"bank\"", "\"service\":\"tank\""},
        {"\"generation\":4", "\"generation\":0"},
        {"\"generation\":4", "\"generation\":-1"},
        {"\"generation\":4", "\"generation\":\"4\""},
        {"\"by\":\"ann\",", ""},
        {"\"by\":\"ann\"", "\"by\":\"ann\",\"must\":[\"more\"]"},
        {"\"v\":1}", "\"v\":9}"},
        {"\"digest\":\"", "\"digest\":\"0"},
        {"\"shared\":{", "\"shared\":7,\"x\":{"},
        {"{", "["},
    };
    struct fm_agreed a = sample(4), b;
    const char *why;
    char *text = text_of(&a), wrong[1024];
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        const char *at = strstr(text, cases[i].piece);
        assert_non_null(at);
        snprintf(wrong, sizeof wrong, "%.*s%s%s", (int)(at - text), text, cases[i].by,
                 at + strlen(cases[i].piece));
        assert_false(fm_agreed_read(fm_str_z(wrong), &b, &why));
        assert_true(why[0] && !b.text);
    }
    assert_false(fm_agreed_read(fm_str_z(""), &b, &why));
    free(text);
    fm_agreed_free(&a);
}

/* What somebody wrote somewhere does not steer a terminal. */
static void texts_are_tame(void **state)
{
    (void)state;
    struct fm_agreed a = sample(1), b;
    const char *why;
    snprintf(a.reason, sizeof a.reason, "x\033[2Jy");
    char *text = text_of(&a);
    assert_true(fm_agreed_read(fm_str_z(text), &b, &why));
    assert_string_equal(b.reason, "x?[2Jy");
    fm_agreed_free(&a);
    fm_agreed_free(&b);
    free(text);
}

FM_TEST_MAIN(fm_test(what_is_written_comes_back), fm_test(its_text_is_canonical),
             fm_test(what_is_not_of_this_form_is_none), fm_test(texts_are_tame))
