/* What operators asked of regions: in a view, from an older or a newer one, and on a board. */
#include "given.h"

#include "proxy/seats_view.h"
#include "proxy/view_intent.h"

#include <stdlib.h>

static struct fm_view_doc doc, next;

static int begin(void **state)
{
    fm_view_doc_init(&doc, FM_STR("bank"));
    fm_view_doc_init(&next, FM_STR("bank"));
    return fm_test_fds_before(state);
}

static int end(void **state)
{
    fm_view_doc_deinit(&doc);
    fm_view_doc_deinit(&next);
    return fm_test_fds_after(state);
}

static void version(struct fm_view_doc *d, uint64_t incarnation, uint64_t generation)
{
    d->has_intents = true;
    d->incarnation.n = d->intents_incarnation.n = incarnation;
    d->generation.n = d->intents_generation.n = generation;
}

static void drain(struct fm_view_doc *d, const char *region, const char *context, unsigned serve)
{
    assert_true(fm_view_intent_add(d, fm_str_z(region), fm_str_z(context), serve));
}

static unsigned serve(const struct fm_view_doc *d, const char *region, const char *context)
{
    return fm_view_intent_serve(d, fm_str_z(region), fm_str_z(context));
}

static void the_smaller_share_counts(void **state)
{
    (void)state;
    assert_int_equal(serve(&doc, "west", "profile"), 1000);
    version(&doc, 3, 41);
    drain(&doc, "west", "", 500);
    drain(&doc, "west", "profile", 0);
    drain(&doc, "north", "profile", 700);
    assert_int_equal(serve(&doc, "west", "profile"), 0);
    assert_int_equal(serve(&doc, "west", "pages"), 500);
    assert_int_equal(serve(&doc, "north", "profile"), 700);
    assert_int_equal(serve(&doc, "north", "pages"), 1000);
    assert_false(fm_view_intent_add(&doc, FM_STR("west"), FM_STR(""), 1)); /* it is there */
    assert_false(fm_view_intent_add(&doc, FM_STR("south"), FM_STR(""), 1000));
    assert_false(fm_view_intent_add(&doc, FM_STR("WEST"), FM_STR(""), 1));
    assert_false(fm_view_intent_add(&doc, FM_STR("south"), FM_STR("A b"), 1));
}

static const char whole[] =
    "{\"schema\":\"fulmar.view/"
    "1\",\"v\":1,\"service\":\"bank\",\"incarnation\":3,\"generation\":41,"
    "\"contexts\":{},\"intents\":{\"incarnation\":3,\"generation\":41,\"of\":["
    "{\"region\":\"west\",\"context\":null,\"serve_permille\":0},"
    "{\"region\":\"north\",\"context\":\"profile\",\"serve_permille\":700}]}}";

static void is_written_and_read_as_the_same(void **state)
{
    (void)state;
    char *text;
    size_t n;
    struct fm_view_doc back;
    version(&doc, 3, 41);
    drain(&doc, "west", "", 0);
    drain(&doc, "north", "profile", 700);
    assert_int_equal(fm_view_doc_write(&doc, &text, &n, NULL), FM_ERR_OK);
    assert_string_equal(text, whole);
    assert_int_equal(fm_view_doc_read(&back, fm_str(text, n), NULL), FM_ERR_OK);
    assert_true(back.has_intents && back.intents_generation.n == 41);
    assert_int_equal(serve(&back, "west", "pages"), 0);
    assert_int_equal(serve(&back, "north", "profile"), 700);
    free(text);
    fm_view_doc_deinit(&back);
}

/* -------- hosts and instances -------- */

static void drain_instance(struct fm_view_doc *d, const char *region, const char *pool,
                           const char *address)
{
    assert_true(
        fm_view_intent_add_instance(d, fm_str_z(region), fm_str_z(pool), fm_str_z(address)));
}

static bool drains(const struct fm_view_doc *d, const char *region, const char *pool,
                   const char *address)
{
    return fm_view_intent_drains_instance(d, fm_str_z(region), fm_str_z(pool), fm_str_z(address));
}

static void one_instance_is_not_its_region(void **state)
{
    (void)state;
    version(&doc, 3, 41);
    drain_instance(&doc, "west", "core", "10.0.1.41:9001");
    assert_true(drains(&doc, "west", "core", "10.0.1.41:9001"));
    assert_false(drains(&doc, "west", "core", "10.0.1.42:9001"));
    assert_false(drains(&doc, "west", "profile", "10.0.1.41:9001"));
    assert_false(drains(&doc, "north", "core", "10.0.1.41:9001"));
    assert_int_equal(serve(&doc, "west", "core"), 1000); /* a context of the pool's name */
    assert_int_equal(serve(&doc, "west", "ledger"), 1000);
    assert_false(fm_view_intent_drains_host(&doc, FM_STR("west"), FM_STR("core")));
    assert_false(fm_view_intent_add_instance(&doc, FM_STR("west"), FM_STR("core"),
                                             FM_STR("10.0.1.41:9001"))); /* it is there */
    char long_one[FM_VIEW_DOC_ADDRESS_MAX + 2];
    memset(long_one, 'a', sizeof long_one);
    long_one[sizeof long_one - 1] = 0;
    static const char *const wrong[] = {"", "a b", "a/b", "a\n", "\x7f"};
    for (size_t i = 0; i < FM_COUNT(wrong); i++)
        assert_false(fm_view_intent_is_address(fm_str_z(wrong[i])));
    assert_false(fm_view_intent_is_address(fm_str_z(long_one)));
    assert_true(fm_view_intent_is_address(fm_str(long_one, FM_VIEW_DOC_ADDRESS_MAX)));
}

static void a_host_is_drained_by_itself_only(void **state)
{
    (void)state;
    version(&doc, 3, 41);
    drain(&doc, "west", "", 0);
    drain(&doc, "north", "north-gate-1", 0);
    drain(&doc, "north", "north-gate-2", 500); /* a share is of a region */
    assert_false(fm_view_intent_drains_host(&doc, FM_STR("west"), FM_STR("west-gate-1")));
    assert_true(fm_view_intent_drains_host(&doc, FM_STR("north"), FM_STR("north-gate-1")));
    assert_false(fm_view_intent_drains_host(&doc, FM_STR("north"), FM_STR("north-gate-2")));
    assert_int_equal(serve(&doc, "north", "profile"), 1000);
}

static const char with_instances[] =
    "{\"schema\":\"fulmar.view/1\",\"v\":1,\"service\":\"bank\",\"incarnation\":3,"
    "\"generation\":41,\"contexts\":{},"
    "\"intents\":{\"incarnation\":3,\"generation\":41,\"of\":["
    "{\"region\":\"west\",\"context\":\"west-gate-1\",\"serve_permille\":0}],\"instances\":["
    "{\"region\":\"west\",\"pool\":\"core\",\"address\":\"[::1]:80\"},"
    "{\"region\":\"north\",\"pool\":\"core\",\"address\":\"app-1:80\"}]}}";

static void instances_are_written_and_read_as_the_same(void **state)
{
    (void)state;
    char *text;
    size_t n;
    struct fm_view_doc back;
    version(&doc, 3, 41);
    drain(&doc, "west", "west-gate-1", 0);
    drain_instance(&doc, "west", "core", "[::1]:80");
    drain_instance(&doc, "north", "core", "app-1:80");
    assert_int_equal(fm_view_doc_write(&doc, &text, &n, NULL), FM_ERR_OK);
    assert_string_equal(text, with_instances);
    assert_int_equal(fm_view_doc_read(&back, fm_str(text, n), NULL), FM_ERR_OK);
    free(text);
    assert_int_equal(back.nintents, 3);
    assert_true(drains(&back, "west", "core", "[::1]:80"));
    assert_true(drains(&back, "north", "core", "app-1:80"));
    assert_true(fm_view_intent_drains_host(&back, FM_STR("west"), FM_STR("west-gate-1")));
    version(&next, 3, 40);
    assert_true(fm_view_doc_adopt(&next, &back, NULL));
    assert_true(drains(&next, "north", "core", "app-1:80"));
    fm_view_doc_deinit(&back);
}

static void refuses_instances_that_are_none(void **state)
{
    (void)state;
    static const struct {
        const char *piece, *by;
    } cases[] = {
        {"\"instances\":[", "\"instances\":[7,"},
        {"\"instances\":[", "\"instances\":[{},"},
        {"\"address\":\"app-1:80\"", "\"address\":\"a b\""},
        {"\"address\":\"app-1:80\"", "\"address\":80"},
        {"\"pool\":\"core\",\"address\":\"app-1:80\"", "\"address\":\"app-1:80\""},
        {"\"region\":\"north\",\"pool\":\"core\",\"address\":\"app-1:80\"",
         "\"region\":\"west\",\"pool\":\"core\",\"address\":\"[::1]:80\""}, /* twice */
    };
    char wrong[1024];
    struct fm_view_doc back;
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        const char *at = strstr(with_instances, cases[i].piece);
        assert_non_null(at);
        snprintf(wrong, sizeof wrong, "%.*s%s%s", (int)(at - with_instances), with_instances,
                 cases[i].by, at + strlen(cases[i].piece));
        if (fm_view_doc_read(&back, fm_str_z(wrong), NULL) == FM_ERR_OK)
            fail_msg("case %zu was read", i);
    }
}

static void refuses_what_is_not_whole(void **state)
{
    (void)state;
    static const struct {
        const char *piece, *by;
    } cases[] = {
        {"\"intents\":{\"incarnation\":3,", "\"intents\":{"},
        {"\"generation\":41,\"of\"", "\"generation\":42,\"of\""}, /* newer than the whole */
        {"\"generation\":41,\"of\"", "\"generation\":-1,\"of\""},
        {"\"serve_permille\":700", "\"serve_permille\":1000"},
        {"\"serve_permille\":700", "\"serve_permille\":-1"},
        {"\"serve_permille\":700", "\"serve_permille\":7.5"},
        {"\"context\":null,", ""},
        {"\"context\":\"profile\"", "\"context\":\"\""},
        {"\"context\":\"profile\"", "\"context\":7"},
        {"\"region\":\"north\",\"context\":\"profile\"", "\"region\":\"west\",\"context\":null"},
        {"\"region\":\"north\"", "\"region\":\"NORTH\""},
        {"\"of\":[", "\"of\":[7,"},
    };
    char wrong[1024];
    struct fm_view_doc back;
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        const char *at = strstr(whole, cases[i].piece);
        assert_non_null(at);
        snprintf(wrong, sizeof wrong, "%.*s%s%s", (int)(at - whole), whole, cases[i].by,
                 at + strlen(cases[i].piece));
        if (fm_view_doc_read(&back, fm_str_z(wrong), NULL) == FM_ERR_OK)
            fail_msg("case %zu was read", i);
    }
}

static void becomes_newer_and_never_older(void **state)
{
    (void)state;
    version(&doc, 3, 41);
    drain(&doc, "west", "", 0);
    version(&next, 3, 42);
    drain(&next, "south", "", 300); /* regions in another order */
    drain(&next, "west", "profile", 200);
    assert_true(fm_view_doc_adopt(&doc, &next, NULL));
    assert_int_equal(serve(&doc, "west", "pages"), 1000);
    assert_int_equal(serve(&doc, "west", "profile"), 200);
    assert_int_equal(serve(&doc, "south", "pages"), 300);
    assert_false(fm_view_doc_adopt(&doc, &next, NULL));
    version(&next, 3, 40);
    next.nintents = 0;
    assert_false(fm_view_doc_adopt(&doc, &next, NULL));
    assert_int_equal(serve(&doc, "south", "pages"), 300);
    next.has_intents = false; /* of an older program: it says nothing of them */
    next.generation.n = 50;
    assert_true(fm_view_doc_adopt(&doc, &next, NULL));
    assert_int_equal(serve(&doc, "south", "pages"), 300);
    version(&next, 4, 1); /* a store that was seeded anew */
    assert_true(fm_view_doc_adopt(&doc, &next, NULL));
    assert_int_equal(serve(&doc, "south", "pages"), 1000);
}

static void a_board_takes_it_and_a_reload_keeps_it(void **state)
{
    (void)state;
    struct fm_board *b = given_board(given_two_regions, 1);
    struct fm_str region = b->conf->regions[0].name, context = b->conf->contexts[1].name;
    fm_board_take_intents(b, &doc); /* it says nothing */
    assert_int_equal(atomic_load(&fm_board_slot(b, 0, 1)->serve), 1000);
    version(&doc, 3, 41);
    assert_true(fm_view_intent_add(&doc, region, context, 250));
    fm_board_take_intents(b, &doc);
    assert_int_equal(atomic_load(&fm_board_slot(b, 0, 1)->serve), 250);
    assert_int_equal(atomic_load(&fm_board_slot(b, 0, 0)->serve), 1000);
    assert_int_equal(atomic_load(&fm_board_slot(b, 1, 1)->serve), 1000);
    struct fm_board *after = fm_board_new(given_conf(given_two_regions), 1, NULL, NULL, NULL, b);
    assert_int_equal(atomic_load(&fm_board_slot(after, 0, 1)->serve), 250);
    doc.nintents = 0;
    version(&doc, 3, 42);
    fm_board_take_intents(after, &doc);
    assert_int_equal(atomic_load(&fm_board_slot(after, 0, 1)->serve), 1000);
    fm_board_unref(after);
    fm_board_unref(b);
}

#define with_docs(fn) fm_test_with(fn, begin, end)

FM_TEST_MAIN(with_docs(the_smaller_share_counts), with_docs(is_written_and_read_as_the_same),
             with_docs(one_instance_is_not_its_region), with_docs(a_host_is_drained_by_itself_only),
             with_docs(instances_are_written_and_read_as_the_same),
             with_docs(refuses_instances_that_are_none), with_docs(refuses_what_is_not_whole),
             with_docs(becomes_newer_and_never_older),
             with_docs(a_board_takes_it_and_a_reload_keeps_it))
