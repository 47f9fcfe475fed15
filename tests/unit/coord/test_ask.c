/* What an owner is asked: all that coord/wire.h writes is understood, and nothing else is. */
#include "test.h"

#include "coord/ask.h"
#include "coord/wire.h"

static const struct fm_str prefix = FM_STR_INIT("/fulmar/s/");
static struct fm_ask a;
static const char *why;
static bool other;

static bool reads(enum fm_ask_kind kind, struct fm_str text)
{
    return fm_ask_read(&a, kind, text, prefix, &why, &other);
}

static void knows_the_paths(void **state)
{
    (void)state;
    assert_int_equal(fm_ask_kind(FM_STR("/v3/kv/txn")), FM_ASK_TXN);
    assert_int_equal(fm_ask_kind(FM_STR("/v3/watch")), FM_ASK_WATCH);
    assert_int_equal(fm_ask_kind(FM_STR("/v3/kv/put")), FM_ASK_KINDS);
    assert_int_equal(fm_ask_kind(FM_STR("")), FM_ASK_KINDS);
}

static void understands_the_client(void **state)
{
    (void)state;
    char mem[4096];
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_coord_wire_range(&b, prefix, FM_STR("a"), true, true);
    assert_true(reads(FM_ASK_RANGE, fm_buf_str(&b)));
    assert_str(a.key, "/fulmar/s/a");
    assert_str(a.end, "/fulmar/s/b");
    fm_ask_free(&a);
    b = fm_buf(mem, sizeof mem);
    fm_coord_wire_range(&b, prefix, FM_STR(""), true, false);
    assert_true(reads(FM_ASK_RANGE, fm_buf_str(&b)));
    assert_str(a.end, "/fulmar/s0");
    fm_ask_free(&a);
    b = fm_buf(mem, sizeof mem);
    fm_coord_wire_watch(&b, prefix, FM_STR("a"), 9);
    assert_true(reads(FM_ASK_WATCH, fm_buf_str(&b)));
    assert_int_equal(a.revision, 9);
    fm_ask_free(&a);
    struct fm_coord_compare c = {FM_STR("a"), 5};
    struct fm_coord_write w[] = {{.key = FM_STR("a"), .value = FM_STR("hey")},
                                 {.key = FM_STR("b"), .erase = true}};
    b = fm_buf(mem, sizeof mem);
    fm_coord_wire_txn(&b, prefix, &(struct fm_coord_txn){&c, 1, w, 2}, 3);
    assert_true(reads(FM_ASK_TXN, fm_buf_str(&b)));
    assert_int_equal(a.ncompare, 2);
    assert_str(a.compare[0].key, "/fulmar/s/stamp");
    assert_int_equal(a.compare[0].revision, 3);
    assert_int_equal(a.compare[1].revision, 5);
    assert_int_equal(a.nwrite, 2);
    assert_str(a.write[0].value, "hey");
    assert_true(a.write[1].erase);
    assert_int_equal(a.nread, 2);
    assert_str(a.read[1], "/fulmar/s/a");
    fm_ask_free(&a);
    assert_true(reads(FM_ASK_STATUS, FM_STR("{}")));
    fm_ask_free(&a);
}

/* L2Z1bG1hci9zL2E= is /fulmar/s/a, L2Z1bG1hci94L2E= /fulmar/x/a, L2Z1bG1hci90 /fulmar/t,
 * L2Z1bG1hci9zMQ== /fulmar/s1 */
static const struct {
    enum fm_ask_kind kind;
    const char *text;
    bool other;
} bad[] = {
    {FM_ASK_RANGE, "", false},
    {FM_ASK_RANGE, "[]", false},
    {FM_ASK_RANGE, "{\"key\":\"L2Z1bG1hci9zL2E=\",\"key\":\"L2Z1bG1hci9zL2E=\"}", false},
    {FM_ASK_RANGE, "{\"key\":\"L2Z1bG1hci9zL2E=\",\"limit\":1}", false},
    {FM_ASK_RANGE, "{\"key\":1}", false},
    {FM_ASK_RANGE, "{\"key\":\"!\"}", false},
    {FM_ASK_RANGE, "{}", true},
    {FM_ASK_RANGE, "{\"key\":\"L2Z1bG1hci94L2E=\"}", true},
    {FM_ASK_RANGE, "{\"key\":\"L2Z1bG1hci9zL2E=\",\"range_end\":\"L2Z1bG1hci90\"}", true},
    {FM_ASK_RANGE, "{\"key\":\"L2Z1bG1hci9zL2E=\",\"range_end\":\"L2Z1bG1hci9zMQ==\"}", true},
    {FM_ASK_RANGE, "{\"key\":\"L2Z1bG1hci9zL2E=\",\"range_end\":\"AA==\"}", true},
    {FM_ASK_WATCH, "{}", false},
    {FM_ASK_WATCH, "{\"create_request\":{\"key\":\"L2Z1bG1hci9zL2E=\",\"start_revision\":\"3\"}}",
     false},
    {FM_ASK_WATCH,
     "{\"create_request\":{\"key\":\"L2Z1bG1hci9zL2E=\",\"range_end\":\"L2Z1bG1hci9zMA==\"}}",
     false},
    {FM_ASK_COMPACT, "{\"revision\":\"-3\"}", false},
    {FM_ASK_COMPACT, "{\"revision\":\"9223372036854775808\"}", false},
    {FM_ASK_STATUS, "{\"x\":1}", false},
    {FM_ASK_TXN, "{\"compare\":{}}", false},
    {FM_ASK_TXN,
     "{\"compare\":[{\"key\":\"L2Z1bG1hci9zL2E=\",\"target\":\"VALUE\",\"result\":\"EQUAL\"}]}",
     false},
    {FM_ASK_TXN,
     "{\"compare\":[{\"key\":\"L2Z1bG1hci9zL2E=\",\"target\":\"MOD\",\"result\":\"GREATER\"}]}",
     false},
    {FM_ASK_TXN, "{\"success\":[{\"request_range\":{\"key\":\"L2Z1bG1hci9zL2E=\"}}]}", false},
    {FM_ASK_TXN,
     "{\"success\":[{\"request_delete_range\":{\"key\":\"L2Z1bG1hci9zL2E=\",\"range_end\":\"AA==\"}"
     "}"
     "]}",
     false},
    {FM_ASK_TXN,
     "{\"success\":[{\"request_put\":{\"key\":\"L2Z1bG1hci9zL2E=\"}},{\"request_put\":{\"key\":"
     "\"L2Z1bG1hci9zL2E=\"}}]}",
     false},
    {FM_ASK_TXN,
     "{\"success\":[{\"request_put\":{\"key\":\"L2Z1bG1hci9zL2E=\"},\"request_delete_range\":{"
     "\"key\":\"L2Z1bG1hci9zL2E=\"}}]}",
     false},
    {FM_ASK_TXN, "{\"success\":[{}]}", false},
    {FM_ASK_TXN, "{\"success\":[{\"request_put\":{\"key\":\"L2Z1bG1hci94L2E=\"}}]}", true},
    {FM_ASK_TXN, "{\"failure\":[{\"request_put\":{\"key\":\"L2Z1bG1hci9zL2E=\"}}]}", false},
};

static void refuses_everything_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        if (reads(bad[i].kind, fm_str_z(bad[i].text)))
            fail_msg("taken: %s", bad[i].text);
        assert_true(why && why[0]);
        if (other != bad[i].other)
            fail_msg("%s: of another service: %d", bad[i].text, other);
        fm_ask_free(&a);
    }
}

FM_TEST_MAIN(fm_test(knows_the_paths), fm_test(understands_the_client),
             fm_test(refuses_everything_else))
