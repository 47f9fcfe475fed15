/* The document of who holds what. */
#include "test.h"

#include "proxy/view_doc.h"

#include <stdio.h>
#include <stdlib.h>

static struct fm_view_doc doc;

static int setup(void **state)
{
    fm_view_doc_init(&doc, FM_STR("bank"));
    return fm_test_fds_before(state);
}

static int teardown(void **state)
{
    fm_view_doc_deinit(&doc);
    return fm_test_fds_after(state);
}

static void hold(struct fm_view_doc *d, const char *context, unsigned cell, const char *region,
                 uint64_t epoch, uint64_t gentle_from, bool released)
{
    struct fm_view_doc_context *c = fm_view_doc_find(d, fm_str_z(context));
    assert_non_null(c);
    assert_true(cell < c->ncells);
    c->cell[cell].c = (struct fm_view_cell){.region = fm_view_doc_region(d, fm_str_z(region)),
                                            .epoch = {epoch},
                                            .gentle_from = {gentle_from},
                                            .released = released};
}

static struct fm_view_doc_context *add(struct fm_view_doc *d, const char *name, unsigned ncells)
{
    struct fm_view_doc_context *c = fm_view_doc_add(d, fm_str_z(name), ncells);
    assert_non_null(c);
    return c;
}

static void version(struct fm_view_doc *d, uint64_t incarnation, uint64_t generation)
{
    d->incarnation.n = incarnation;
    d->generation.n = generation;
}

static void make(void)
{
    version(&doc, 3, 41);
    add(&doc, "ledger", 1)->lease_ms = 2000;
    struct fm_view_doc_context *cards = add(&doc, "cards", 3);
    cards->generation.n = 17;
    cards->read_only = true;
    snprintf(cards->message, sizeof cards->message, "back at \"noon\", bäume");
    hold(&doc, "ledger", 0, "west", 42, 40, false);
    hold(&doc, "cards", 0, "north", 7, 0, true);
    hold(&doc, "cards", 2, "west", 9, 9, false);
    fm_view_doc_find(&doc, FM_STR("cards"))->cell[2].lapsed = true;
    doc.found_by = fm_view_doc_region(&doc, FM_STR("south"));
}

static const char whole[] =
    "{\"schema\":\"fulmar.view/"
    "1\",\"v\":1,\"service\":\"bank\",\"incarnation\":3,\"generation\":41,"
    "\"contexts\":{\"ledger\":{\"incarnation\":3,\"generation\":41,\"lease_ms\":2000,"
    "\"read_only\":false,\"message\":\"\",\"cells\":[{\"region\":\"west\",\"state\":\"held\","
    "\"epoch\":42,\"gentle_from\":40}]},\"cards\":{\"incarnation\":3,\"generation\":17,"
    "\"lease_ms\":0,\"read_only\":true,\"message\":\"back at \\\"noon\\\", bäume\",\"cells\":["
    "{\"region\":\"north\",\"state\":\"released\",\"epoch\":7,\"gentle_from\":0},"
    "{\"region\":null,\"state\":\"released\",\"epoch\":0,\"gentle_from\":0},"
    "{\"region\":\"west\",\"state\":\"held\",\"epoch\":9,\"gentle_from\":9}]}},"
    "\"found\":{\"region\":\"south\",\"lapsed\":{\"cards\":[2]}}}";

static void is_written_and_read_as_the_same(void **state)
{
    (void)state;
    char *text, *again;
    size_t n, m;
    struct fm_view_doc back;
    make();
    assert_int_equal(fm_view_doc_write(&doc, &text, &n, NULL), FM_ERR_OK);
    assert_string_equal(text, whole);
    assert_int_equal(fm_view_doc_read(&back, fm_str(text, n), NULL), FM_ERR_OK);
    assert_string_equal(back.service, "bank");
    assert_int_equal(back.generation.n, 41);
    const struct fm_view_doc_context *cards = fm_view_doc_find(&back, FM_STR("cards"));
    assert_int_equal(cards->generation.n, 17);
    assert_true(cards->read_only && cards->cell[2].lapsed && !cards->cell[0].lapsed);
    assert_string_equal(fm_view_doc_holder(&back, &cards->cell[0]), "north");
    assert_string_equal(fm_view_doc_holder(&back, &cards->cell[1]), "-");
    assert_string_equal(back.region[back.found_by], "south");
    assert_int_equal(fm_view_doc_write(&back, &again, &m, NULL), FM_ERR_OK);
    assert_string_equal(again, text);
    free(text);
    free(again);
    fm_view_doc_deinit(&back);
}

static void a_copy_is_one_of_its_own(void **state)
{
    (void)state;
    struct fm_view_doc copy, none;
    make();
    assert_int_equal(fm_view_doc_copy(&copy, &doc), FM_ERR_OK);
    copy.context[0].lease_ms = 1;
    assert_int_equal(doc.context[0].lease_ms, 2000);
    add(&copy, "more", 1);
    assert_int_equal(doc.ncontexts, 2);
    fm_view_doc_deinit(&copy);
    fm_view_doc_init(&none, FM_STR("bank"));
    assert_int_equal(fm_view_doc_copy(&copy, &none), FM_ERR_OK);
    assert_true(fm_view_doc_is_empty(&copy));
}

/* The document with one piece replaced by another is refused. */
static void refuses_what_is_not_whole(void **state)
{
    (void)state;
    static const struct {
        const char *piece, *by;
    } cases[] = {
        {"fulmar.view/1", "fulmar.view/2"},
        {"\"service\":\"bank\"", "\"service\":\"BANK\""},
        {"\"service\":\"bank\",", ""},
        {"\"incarnation\":3,\"generation\":41,\"contexts\"", "\"generation\":41,\"contexts\""},
        {"\"generation\":41,\"contexts\"", "\"generation\":-41,\"contexts\""},
        {"\"generation\":41,\"contexts\"", "\"generation\":\"41\",\"contexts\""},
        {"\"generation\":41,\"contexts\"", "\"generation\":4.1,\"contexts\""},
        {"\"generation\":41,\"contexts\"", "\"generation\":16,\"contexts\""}, /* less than inside */
        {"\"generation\":41,\"contexts\"", "\"generation\":9223372036854775808,\"contexts\""},
        {"\"contexts\":", "\"texts\":"},
        {"\"ledger\":", "\"Ledger\":"},
        {"\"ledger\":", "\"cards\":"}, /* twice */
        {"\"lease_ms\":2000", "\"lease_ms\":3600001"},
        {"\"lease_ms\":2000", "\"lease_ms\":-1"},
        {"\"read_only\":false", "\"read_only\":0"},
        {"\"message\":\"\"", "\"message\":\"\\u001b[2J\""},
        {"\"message\":\"\"", "\"message\":\"\\u0000\""},
        {"\"message\":\"\"", "\"message\":null"},
        {"\"message\":\"\",", ""},
        {"\"region\":\"west\"", "\"region\":\"../west\""},
        {"\"region\":\"west\"", "\"region\":null"}, /* and held */
        {"\"region\":null", "\"region\":\"west\""}, /* and no epoch */
        {"\"state\":\"held\"", "\"state\":\"moving\""},
        {"\"region\":null,\"state\":\"released\"", "\"region\":null,\"state\":\"held\""},
        {"\"gentle_from\":40", "\"gentle_from\":43"},
        {"\"epoch\":42,", ""},
        {"{\"region\":null,\"state\":\"released\",\"epoch\":0,\"gentle_from\":0}", "17"},
        {"[2]", "[3]"},
        {"[2]", "[1]"}, /* nobody's lease */
        {"[2]", "[2,2]"},
        {"[2]", "[]"},
        {"[2]", "[-1]"},
        {"\"lapsed\":{\"cards\"", "\"lapsed\":{\"profile\""},
        {"\"lapsed\":{\"cards\":[2]}", "\"lapsed\":[2]"},
        {"\"region\":\"south\"", "\"region\":7"},
        {"}}}", "}}"},
        {"}}}", "}}}}"},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char text[sizeof whole + 128];
        const char *at = strstr(whole, cases[i].piece);
        assert_non_null(at);
        int n = snprintf(text, sizeof text, "%.*s%s%s", (int)(at - whole), whole, cases[i].by,
                         at + strlen(cases[i].piece));
        struct fm_error e = {0};
        if (fm_view_doc_read(&doc, fm_str(text, (size_t)n), &e) != FM_ERR_INVALID)
            fail_msg("taken: %s", text);
        assert_true(e.msg[0]);
    }
    assert_int_equal(fm_view_doc_read(&doc, FM_STR(""), NULL), FM_ERR_INVALID);
    for (size_t n = 0; n < sizeof whole - 1; n++)
        assert_int_equal(fm_view_doc_read(&doc, fm_str(whole, n), NULL), FM_ERR_INVALID);
}

static void skips_what_a_newer_version_adds(void **state)
{
    (void)state;
    static const char text[] =
        "{\"schema\":\"fulmar.view/1\",\"more\":[1],\"service\":\"bank\",\"incarnation\":0,"
        "\"generation\":0,\"contexts\":{\"a\":{\"incarnation\":0,\"generation\":0,\"lease_ms\":1,"
        "\"read_only\":false,\"message\":\"\",\"x\":{},\"cells\":[{\"region\":null,"
        "\"state\":\"released\",\"epoch\":0,\"gentle_from\":0,\"to\":\"north\"}]}}}";
    assert_int_equal(fm_view_doc_read(&doc, fm_str_z(text), NULL), FM_ERR_OK);
    assert_int_equal(doc.ncontexts, 1);
    assert_int_equal(doc.found_by, FM_VIEW_DOC_NOBODY);
}

static void is_bounded(void **state)
{
    (void)state;
    char name[32];
    for (unsigned i = 0; i < FM_VIEW_DOC_REGIONS_MAX; i++) {
        snprintf(name, sizeof name, "r%u", i);
        assert_int_equal(fm_view_doc_region(&doc, fm_str_z(name)), i);
    }
    assert_int_equal(fm_view_doc_region(&doc, FM_STR("another")), FM_VIEW_DOC_NOBODY);
    assert_int_equal(fm_view_doc_region(&doc, FM_STR("r7")), 7);
    for (unsigned i = 0; i < FM_VIEW_DOC_CONTEXTS_MAX; i++) {
        snprintf(name, sizeof name, "c%u", i);
        add(&doc, name, FM_AUTH_CELLS_MAX);
    }
    assert_null(fm_view_doc_add(&doc, FM_STR("another"), 1));
    char *text;
    size_t n;
    struct fm_view_doc back;
    for (unsigned i = 0; i < FM_VIEW_DOC_CONTEXTS_MAX; i++)
        for (unsigned k = 0; k < FM_AUTH_CELLS_MAX; k++)
            doc.context[i].cell[k].c =
                (struct fm_view_cell){.epoch = {1000000}, .region = (uint8_t)k};
    assert_int_equal(fm_view_doc_write(&doc, &text, &n, NULL), FM_ERR_OK); /* the largest fits */
    assert_int_equal(fm_view_doc_read(&back, fm_str(text, n), NULL), FM_ERR_OK);
    assert_int_equal(back.ncontexts, FM_VIEW_DOC_CONTEXTS_MAX);
    fm_view_doc_deinit(&back);
    free(text);
    fm_view_doc_deinit(&doc);
    assert_null(fm_view_doc_add(&doc, FM_STR("a"), 0));
    assert_null(fm_view_doc_add(&doc, FM_STR("a"), FM_AUTH_CELLS_MAX + 1));
    assert_null(fm_view_doc_add(&doc, FM_STR("No Name"), 1));
    add(&doc, "a", 1);
    assert_null(fm_view_doc_add(&doc, FM_STR("a"), 1));
}

/* -------- becoming newer -------- */

static struct fm_view_doc next;

static void next_is(uint64_t incarnation, uint64_t generation)
{
    fm_view_doc_init(&next, FM_STR("bank"));
    version(&next, incarnation, generation);
    add(&next, "ledger", 1);
    add(&next, "cards", 3);
}

static const struct fm_view_doc_cell *cell(const char *context, unsigned i)
{
    return &fm_view_doc_find(&doc, fm_str_z(context))->cell[i];
}

static void becomes_newer(void **state)
{
    (void)state;
    make();
    next_is(3, 42);
    hold(&next, "cards", 2, "south", 10, 9, false); /* regions in another order */
    hold(&next, "cards", 0, "north", 7, 0, true);
    hold(&next, "ledger", 0, "west", 42, 40, true);
    next.context[0].read_only = true;
    assert_true(fm_view_doc_adopt(&doc, &next, NULL));
    assert_int_equal(doc.generation.n, 42);
    assert_string_equal(fm_view_doc_holder(&doc, cell("cards", 2)), "south");
    assert_string_equal(fm_view_doc_holder(&doc, cell("ledger", 0)), "west");
    assert_true(cell("ledger", 0)->c.released);
    assert_true(fm_view_doc_find(&doc, FM_STR("ledger"))->read_only);
    assert_false(fm_view_doc_adopt(&doc, &next, NULL)); /* it is known now */
    fm_view_doc_deinit(&next);
}

static void never_goes_back(void **state)
{
    (void)state;
    make();
    next_is(3, 40);
    hold(&next, "ledger", 0, "north", 43, 0, false);
    next.context[1].generation.n = 17;
    assert_false(fm_view_doc_adopt(&doc, &next, NULL));
    assert_int_equal(doc.generation.n, 41);
    assert_string_equal(fm_view_doc_holder(&doc, cell("ledger", 0)), "west");

    version(&next, 3, 50); /* newer, and yet one of its cells is older */
    next.context[0].generation.n = next.context[1].generation.n = 50;
    hold(&next, "ledger", 0, "north", 41, 0, false);
    hold(&next, "cards", 0, "south", 8, 8, false);
    hold(&next, "cards", 2, "west", 9, 9, false);
    assert_true(fm_view_doc_adopt(&doc, &next, NULL));
    assert_int_equal(cell("ledger", 0)->c.epoch.n, 42);
    assert_string_equal(fm_view_doc_holder(&doc, cell("cards", 0)), "south");

    version(&next, 4, 2); /* a store that was seeded anew: another count */
    for (size_t i = 0; i < 2; i++) {
        next.context[i].incarnation.n = 4;
        next.context[i].generation.n = 2;
    }
    assert_true(fm_view_doc_adopt(&doc, &next, NULL));
    assert_int_equal(cell("ledger", 0)->c.epoch.n, 41);
    assert_int_equal(doc.incarnation.n, 4);
    fm_view_doc_deinit(&next);
}

static void keeps_what_the_other_does_not_have(void **state)
{
    (void)state;
    make();
    fm_view_doc_init(&next, FM_STR("bank"));
    version(&next, 3, 60);
    add(&next, "profile", 2);
    hold(&next, "profile", 1, "west", 5, 5, false);
    assert_true(fm_view_doc_adopt(&doc, &next, NULL));
    assert_int_equal(doc.ncontexts, 3);
    assert_string_equal(fm_view_doc_holder(&doc, cell("ledger", 0)), "west");
    assert_int_equal(cell("profile", 1)->c.epoch.n, 5);
    fm_view_doc_deinit(&next);
}

static void another_number_of_cells_is_no_news(void **state)
{
    (void)state;
    unsigned misfits = 0;
    make();
    fm_view_doc_init(&next, FM_STR("bank"));
    version(&next, 3, 60);
    add(&next, "cards", 4);
    add(&next, "ledger", 1);
    hold(&next, "ledger", 0, "north", 43, 43, false);
    assert_true(fm_view_doc_adopt(&doc, &next, &misfits));
    assert_int_equal(misfits, 1);
    assert_int_equal(fm_view_doc_find(&doc, FM_STR("cards"))->ncells, 3);
    assert_int_equal(cell("ledger", 0)->c.epoch.n, 43);
    fm_view_doc_deinit(&next);
}

/* Regions that come and go do not use up the names. */
static void forgets_regions_that_nobody_speaks_of(void **state)
{
    (void)state;
    make();
    for (uint64_t i = 1; i <= 300; i++) {
        char name[32];
        snprintf(name, sizeof name, "r%llu", (unsigned long long)i);
        next_is(3, 100 + i);
        hold(&next, "ledger", 0, name, 100 + i, 0, false);
        hold(&next, "cards", 2, "west", 9, 9, false);
        unsigned misfits = 0;
        assert_true(fm_view_doc_adopt(&doc, &next, &misfits));
        assert_int_equal(misfits, 0);
        assert_string_equal(fm_view_doc_holder(&doc, cell("ledger", 0)), name);
        assert_string_equal(fm_view_doc_holder(&doc, cell("cards", 2)), "west");
        assert_string_equal(doc.region[doc.found_by], "south");
        fm_view_doc_deinit(&next);
    }
}

#define with_doc(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_doc(is_written_and_read_as_the_same), with_doc(a_copy_is_one_of_its_own),
             with_doc(refuses_what_is_not_whole), with_doc(skips_what_a_newer_version_adds),
             with_doc(is_bounded), with_doc(becomes_newer), with_doc(never_goes_back),
             with_doc(keeps_what_the_other_does_not_have),
             with_doc(another_number_of_cells_is_no_news),
             with_doc(forgets_regions_that_nobody_speaks_of))
