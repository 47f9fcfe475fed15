/* Command or query, and which cell: by rows. */
#include "test.h"

#include "core/classify.h"

#include <stdalign.h>

static void methods_and_routes_say_what_is_a_command(void **state)
{
    (void)state;
    static const struct fm_str commands[] = {FM_STR_INIT("POST"), FM_STR_INIT("PUT")};
    static const struct {
        enum fm_class_as as;
        const char *method;
        bool command;
    } rows[] = {
        {FM_CLASS_BY_METHOD, "POST", true},  {FM_CLASS_BY_METHOD, "PUT", true},
        {FM_CLASS_BY_METHOD, "GET", false},  {FM_CLASS_BY_METHOD, "DELETE", false},
        {FM_CLASS_BY_METHOD, "post", false}, {FM_CLASS_BY_METHOD, "POSTS", false},
        {FM_CLASS_QUERY, "POST", false},     {FM_CLASS_QUERY, "GET", false},
        {FM_CLASS_COMMAND, "GET", true},     {FM_CLASS_COMMAND, "POST", true},
    };
    for (size_t i = 0; i < FM_COUNT(rows); i++)
        assert_int_equal(
            fm_class_is_command(rows[i].as, commands, FM_COUNT(commands), fm_str_z(rows[i].method)),
            rows[i].command);
    assert_false(fm_class_is_command(FM_CLASS_BY_METHOD, NULL, 0, FM_STR("POST")));
}

static const struct fm_key_spec by_query = {
    .from = FM_KEY_QUERY, .name = {FM_STR_INIT("k")}, .nnames = 1};

static struct fm_class_place place(const struct fm_cells *cells, const struct fm_key_spec *key,
                                   const char *query)
{
    struct fm_class_rule rule = {cells, key};
    struct fm_key_request rq = {.query = fm_str_z(query)};
    struct fm_class_place out;
    memset(&out, 0xaa, sizeof out);
    fm_class_place(&rule, &rq, &out);
    return out;
}

static void a_key_leads_to_its_cell(void **state)
{
    (void)state;
    struct fm_cells cells = {.count = 64};
    struct fm_class_place p = place(&cells, &by_query, "?k=4711");
    assert_int_equal(p.problem, FM_PROBLEM_NONE);
    assert_int_equal(p.by, FM_CELL_BY_HASH);
    assert_int_equal(p.cell, 52);
    assert_str(fm_key_str(&p.key), "4711");
}

static void without_a_key_there_is_a_problem(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        enum fm_problem problem;
    } rows[] = {{"", FM_PROBLEM_ENTITY_MISSING},
                {"?k=a&k=b", FM_PROBLEM_ENTITY_REPEATED},
                {"?K=a", FM_PROBLEM_ENTITY_MALFORMED}};
    struct fm_cells cells = {.count = 64};
    for (size_t i = 0; i < FM_COUNT(rows); i++) {
        struct fm_class_place p = place(&cells, &by_query, rows[i].query);
        assert_int_equal(p.problem, rows[i].problem);
        assert_int_equal(p.by, FM_CELL_ABSENT);
        assert_int_equal(p.key.n, 0);
    }
}

static void a_key_that_the_directory_does_not_know_has_no_cell(void **state)
{
    (void)state;
    alignas(FM_CACHELINE) uint64_t slots[FM_DIRECTORY_BUCKET] = {0};
    unsigned char entries[16];
    uint64_t at = FM_DIRECTORY_FIRST, earlier;
    struct fm_directory d;
    size_t n = fm_directory_put(entries + at, FM_STR("acme"), 3);
    fm_directory_init(&d, slots, 1, entries, at + n, (struct fm_hash_key){1, 2});
    assert_true(fm_directory_add(&d, &at, 1, &earlier));
    struct fm_cells cells = {.count = 4, .directory = &d};
    struct fm_class_place p = place(&cells, &by_query, "?k=acme");
    assert_int_equal(p.problem, FM_PROBLEM_NONE);
    assert_int_equal(p.by, FM_CELL_BY_DIRECTORY);
    assert_int_equal(p.cell, 3);
    p = place(&cells, &by_query, "?k=acm");
    assert_int_equal(p.problem, FM_PROBLEM_ENTITY_UNKNOWN);
    assert_int_equal(p.by, FM_CELL_ABSENT);
    assert_str(fm_key_str(&p.key), "acm");
}

static void one_cell_needs_no_key_and_no_cell_needs_nothing(void **state)
{
    (void)state;
    struct fm_cells one = {.count = 1};
    struct fm_class_place p = place(&one, &by_query, "?k=a&k=b");
    assert_int_equal(p.problem, FM_PROBLEM_NONE);
    assert_int_equal(p.cell, 0);
    assert_int_equal(p.key.n, 0);
    p = place(&one, &by_query, "?k=a");
    assert_str(fm_key_str(&p.key), "a");
    p = place(&one, NULL, "");
    assert_int_equal(p.problem, FM_PROBLEM_NONE);
    assert_int_not_equal(p.by, FM_CELL_ABSENT);
    p = place(NULL, NULL, "");
    assert_int_equal(p.problem, FM_PROBLEM_NONE);
    assert_int_equal(p.by, FM_CELL_ABSENT);
    p = place(NULL, &by_query, "?k=a");
    assert_str(fm_key_str(&p.key), "a");
}

FM_TEST_MAIN(fm_test(methods_and_routes_say_what_is_a_command), fm_test(a_key_leads_to_its_cell),
             fm_test(without_a_key_there_is_a_problem),
             fm_test(a_key_that_the_directory_does_not_know_has_no_cell),
             fm_test(one_cell_needs_no_key_and_no_cell_needs_nothing))
