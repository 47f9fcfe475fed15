/* The view on disk: whole or refused, and the older one is there. */
#include "test.h"

#include "base/file.h"
#include "proxy/view_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static struct fm_view_doc doc, back;
static struct fm_view_found found;
static struct fm_error why;

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    snprintf(folder, sizeof folder, "/tmp/fulmar-view-XXXXXX");
    assert_non_null(mkdtemp(folder));
    fm_view_doc_init(&doc, FM_STR("bank"));
    doc.incarnation.n = 3;
    struct fm_view_doc_context *c = fm_view_doc_add(&doc, FM_STR("ledger"), 1);
    assert_non_null(c);
    c->cell[0].c =
        (struct fm_view_cell){.region = fm_view_doc_region(&doc, FM_STR("west")), .epoch = {7}};
    why.msg[0] = 0;
    return rc;
}

static char *path(const char *name)
{
    static char p[2][128];
    static unsigned next;
    char *to = p[next++ % 2];
    snprintf(to, sizeof p[0], "%s/%s", folder, name);
    return to;
}

static int teardown(void **state)
{
    static const char *const names[] = {"view", "view.old", "view.new", "view.old.new"};
    fm_view_doc_deinit(&doc);
    for (size_t i = 0; i < FM_COUNT(names); i++)
        (void)unlink(path(names[i]));
    (void)rmdir(path("view.new"));
    assert_int_equal(rmdir(folder), 0);
    return fm_test_fds_after(state);
}

static void pack(uint64_t generation, char **bytes, size_t *n)
{
    doc.generation.n = doc.context[0].generation.n = generation;
    assert_int_equal(fm_view_file_pack(&doc, bytes, n, NULL), FM_ERR_OK);
}

static void save(uint64_t generation, bool keep_old)
{
    char *bytes;
    size_t n;
    pack(generation, &bytes, &n);
    assert_int_equal(fm_view_file_save(folder, fm_str(bytes, n), keep_old, NULL), FM_ERR_OK);
    free(bytes);
}

static void put(const char *name, const char *bytes, size_t n)
{
    assert_int_equal(fm_file_replace(path(name), fm_str(bytes, n), 0600, NULL), FM_ERR_OK);
}

/* The generation that is loaded; 0 = none. */
static uint64_t load(void)
{
    if (fm_view_file_load(folder, FM_STR("bank"), &back, &found, &why))
        return 0;
    uint64_t generation = back.generation.n;
    assert_string_equal(fm_view_doc_holder(&back, &back.context[0].cell[0]), "west");
    fm_view_doc_deinit(&back);
    return generation;
}

static void keeps_the_newest_and_the_one_before(void **state)
{
    (void)state;
    assert_int_equal(load(), 0);
    assert_int_equal(why.code, FM_ERR_NOT_FOUND);
    save(41, false);
    assert_int_equal(load(), 41);
    assert_false(found.old || found.keep_old || found.wrong.msg[0]);
    save(42, false);
    save(43, false);
    assert_int_equal(load(), 43);
    struct stat st;
    assert_int_equal(stat(path("view"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(access(path("view.old.new"), F_OK), -1);
    assert_int_equal(unlink(path("view")), 0); /* as a crash may leave it */
    assert_int_equal(load(), 42);
    assert_true(found.old && !found.wrong.msg[0]);
    save(44, found.keep_old);
    assert_int_equal(load(), 44);
}

static void findings_are_not_kept(void **state)
{
    (void)state;
    char *bytes;
    size_t n;
    doc.found_by = 0;
    doc.context[0].cell[0].lapsed = true;
    pack(5, &bytes, &n);
    assert_int_equal(fm_view_file_unpack(&back, fm_str(bytes, n), FM_STR("bank"), NULL), FM_ERR_OK);
    assert_int_equal(back.found_by, FM_VIEW_DOC_NOBODY);
    assert_false(back.context[0].cell[0].lapsed);
    fm_view_doc_deinit(&back);
    free(bytes);
}

static void a_file_that_is_torn_anywhere_is_refused(void **state)
{
    (void)state;
    char *bytes;
    size_t n;
    save(41, false);
    save(42, false);
    pack(43, &bytes, &n);
    for (size_t i = 0; i < n; i++) {
        put("view", bytes, i);
        assert_int_equal(load(), 41);
        assert_true(found.old && found.keep_old && found.wrong.code == FM_ERR_INVALID);
    }
    char *more = malloc(n + 1);
    assert_non_null(more);
    memcpy(more, bytes, n);
    more[n] = ' ';
    put("view", more, n + 1);
    assert_int_equal(load(), 41);
    put("view", bytes, n);
    assert_int_equal(load(), 43);
    free(more);
    free(bytes);
}

static void a_file_with_any_bit_changed_is_refused(void **state)
{
    (void)state;
    char *bytes;
    size_t n;
    pack(43, &bytes, &n);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << bit % 8));
        if (fm_view_file_unpack(&back, fm_str(bytes, n), FM_STR("bank"), &why) == FM_ERR_OK)
            fail_msg("bit %zu", bit);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << bit % 8));
    }
    assert_int_equal(fm_view_file_unpack(&back, fm_str(bytes, n), FM_STR("bank"), NULL), FM_ERR_OK);
    fm_view_doc_deinit(&back);
    free(bytes);
}

static void the_next_one_does_not_push_out_the_last_good_one(void **state)
{
    (void)state;
    save(41, false);
    save(42, false); /* 41 is the older one */
    put("view", "torn", 4);
    assert_int_equal(load(), 41);
    save(50, found.keep_old);
    assert_int_equal(load(), 50);
    put("view", "torn", 4);
    assert_int_equal(load(), 41); /* and not what was torn before */
}

static void both_may_be_wrong(void **state)
{
    (void)state;
    put("view", "torn", 4);
    assert_int_equal(load(), 0);
    assert_int_equal(why.code, FM_ERR_INVALID);
    assert_non_null(strstr(why.msg, "/view: "));
    put("view.old", "torn, too", 9);
    assert_int_equal(load(), 0);
    assert_int_equal(why.code, FM_ERR_INVALID);
    assert_non_null(strstr(why.msg, "/view.old: "));
    assert_non_null(strstr(found.wrong.msg, "/view: "));
}

static void another_services_view_is_none(void **state)
{
    (void)state;
    save(41, false);
    assert_int_equal(fm_view_file_load(folder, FM_STR("shop"), &back, &found, &why),
                     FM_ERR_INVALID);
    assert_non_null(strstr(why.msg, "of the service `bank`"));
}

static void a_failed_write_leaves_what_was_there(void **state)
{
    (void)state;
    char *bytes;
    size_t n;
    save(41, false);
    assert_int_equal(mkdir(path("view.new"), 0700), 0); /* in the way */
    pack(42, &bytes, &n);
    assert_int_not_equal(fm_view_file_save(folder, fm_str(bytes, n), false, &why), FM_ERR_OK);
    free(bytes);
    assert_int_equal(load(), 41);
}

#define with_files(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_files(keeps_the_newest_and_the_one_before), with_files(findings_are_not_kept),
             with_files(a_file_that_is_torn_anywhere_is_refused),
             with_files(a_file_with_any_bit_changed_is_refused),
             with_files(the_next_one_does_not_push_out_the_last_good_one),
             with_files(both_may_be_wrong), with_files(another_services_view_is_none),
             with_files(a_failed_write_leaves_what_was_there))
