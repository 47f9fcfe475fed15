/* Numbers for names: given once, kept for ever, bounded. */
#include "test.h"

#include "agent/roster.h"

#include <stdio.h>

static void a_name_keeps_its_number(void **state)
{
    (void)state;
    struct fm_roster *r = fm_roster_new();
    assert_int_equal(fm_roster_add_region(r, FM_STR("west")), 0);
    assert_int_equal(fm_roster_add_region(r, FM_STR("north")), 1);
    assert_int_equal(fm_roster_add_region(r, FM_STR("west")), 0);
    assert_int_equal(fm_roster_region(r, FM_STR("east")), -1);
    assert_int_equal(fm_roster_add_context(r, FM_STR("ledger"), 1), 0);
    assert_int_equal(fm_roster_add_context(r, FM_STR("ledger"), 1), 0);
    assert_int_equal(fm_roster_add_context(r, FM_STR("ledger"), 2), -1);
    assert_int_equal(fm_roster_find_host(r, FM_STR("west-1")), -1);
    assert_int_equal(fm_roster_add_host(r, FM_STR("west-1")), 0);
    assert_int_equal(fm_roster_add_host(r, FM_STR("west-2")), 1);
    assert_int_equal(fm_roster_find_host(r, FM_STR("west-1")), 0);
    assert_string_equal(fm_roster_host_name(r, 1), "west-2");
    fm_roster_free(r);
}

static void an_agent_is_a_host_of_a_region(void **state)
{
    (void)state;
    struct fm_roster *r = fm_roster_new();
    struct fm_agent_id a, b, again;
    fm_roster_add_region(r, FM_STR("west"));
    fm_roster_add_region(r, FM_STR("north"));
    assert_true(fm_roster_add_agent(r, 1, FM_STR("n-1"), &a));
    assert_int_equal(fm_agent_region(a), 1);
    assert_true(fm_roster_add_agent(r, 1, FM_STR("n-2"), &b));
    assert_false(fm_agent_same(a, b));
    assert_true(fm_roster_add_agent(r, 1, FM_STR("n-1"), &again));
    assert_true(fm_agent_same(a, again));
    assert_string_equal(fm_roster_host_name(r, fm_roster_agent_host(r, b)), "n-2");
    assert_true(fm_roster_add_agent(r, 0, FM_STR("n-1"), &again)); /* it has moved */
    assert_int_equal(fm_agent_region(again), 0);
    for (int i = 3; i <= 8; i++) {
        char name[8];
        snprintf(name, sizeof name, "n-%d", i);
        assert_true(fm_roster_add_agent(r, 1, fm_str_z(name), &b));
    }
    assert_false(fm_roster_add_agent(r, 1, FM_STR("n-9"), &b));
    fm_roster_free(r);
}

static void what_is_no_name_has_no_number(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "1a",
        "-a",
        "A",
        "a_b",
        "a/b",
        "a b",
        ("a234567890123456789012345678901234567890123456789012345678901"
         "234")};
    struct fm_roster *r = fm_roster_new();
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        assert_false(fm_roster_is_name(fm_str_z(bad[i])));
        assert_int_equal(fm_roster_add_host(r, fm_str_z(bad[i])), -1);
        assert_int_equal(fm_roster_add_region(r, fm_str_z(bad[i])), -1);
    }
    assert_int_equal(r->nhosts, 0);
    fm_roster_free(r);
}

static void it_is_bounded(void **state)
{
    (void)state;
    struct fm_roster *r = fm_roster_new();
    char name[16];
    for (int i = 0; i < FM_ROSTER_HOSTS_MAX; i++) {
        snprintf(name, sizeof name, "h-%d", i);
        assert_int_equal(fm_roster_add_host(r, fm_str_z(name)), i);
    }
    assert_int_equal(fm_roster_add_host(r, FM_STR("one-more")), -1);
    assert_int_equal(fm_roster_add_host(r, FM_STR("h-77")), 77);
    for (int i = 0; i < FM_AUTH_REGIONS_MAX; i++) {
        snprintf(name, sizeof name, "r-%d", i);
        assert_int_equal(fm_roster_add_region(r, fm_str_z(name)), i);
    }
    assert_int_equal(fm_roster_add_region(r, FM_STR("one-more")), -1);
    for (int i = 0; i < FM_ROSTER_CONTEXTS_MAX; i++) {
        snprintf(name, sizeof name, "c-%d", i);
        assert_int_equal(fm_roster_add_context(r, fm_str_z(name), 64), i);
    }
    assert_int_equal(fm_roster_add_context(r, FM_STR("one-more"), 1), -1);
    fm_roster_free(r);
}

FM_TEST_MAIN(fm_test(a_name_keeps_its_number), fm_test(an_agent_is_a_host_of_a_region),
             fm_test(what_is_no_name_has_no_number), fm_test(it_is_bounded))
