/* The gateway's JSON: requests as etcd 3.4 takes them, answers as it gave them, and answers that no
 * store may give. */
#include "test.h"

#include "coord/wire.h"

#define HEADER                                                                                     \
    "\"header\":{\"cluster_id\":\"15118495548433857066\",\"member_id\":\"13668033151171901709\","  \
    "\"revision\":\"7\",\"raft_term\":\"2\"}"
/* /fulmar/s/a = hey, at 5 */
#define KV                                                                                         \
    "{\"key\":\"L2Z1bG1hci9zL2E=\",\"create_revision\":\"2\",\"mod_revision\":\"5\",\"version\":"  \
    "\"1\",\"value\":\"aGV5\"}"

static const struct fm_str prefix = FM_STR_INIT("/fulmar/s/");
static struct fm_coord_answer a;
static const char *why;

static bool reads(enum fm_coord_wire_kind kind, const char *text)
{
    return fm_coord_wire_read(&a, kind, fm_str_z(text), prefix, &why);
}

static void good(enum fm_coord_wire_kind kind, const char *text)
{
    if (!reads(kind, text))
        fail_msg("%s: %s", why, text);
}

/* -------- requests -------- */

static void asks_for_a_key_and_for_a_prefix(void **state)
{
    (void)state;
    char mem[FM_COORD_WIRE_READ_ROOM];
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_coord_wire_range(&b, prefix, FM_STR("a"), false, false);
    assert_str(fm_buf_str(&b), "{\"key\":\"L2Z1bG1hci9zL2E=\"}");
    b = fm_buf(mem, sizeof mem);
    fm_coord_wire_range(&b, prefix, FM_STR(""), true, true);
    assert_str(fm_buf_str(&b), "{\"key\":\"L2Z1bG1hci9zLw==\",\"range_end\":\"L2Z1bG1hci9zMA==\","
                               "\"serializable\":true}");
    b = fm_buf(mem, sizeof mem);
    fm_coord_wire_watch(&b, prefix, FM_STR("a"), 12);
    assert_str(fm_buf_str(&b), "{\"create_request\":{\"key\":\"L2Z1bG1hci9zL2E=\",\"range_end\":"
                               "\"L2Z1bG1hci9zL2I=\",\"start_revision\":\"12\"}}");
}

static void the_longest_key_fits_into_a_read(void **state)
{
    (void)state;
    char mem[FM_COORD_WIRE_READ_ROOM], key[FM_COORD_KEY_MAX], service[FM_COORD_SERVICE_MAX + 16];
    memset(key, 'k', sizeof key);
    memset(service, '/', sizeof service);
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_coord_wire_watch(&b, fm_str(service, sizeof service), fm_str(key, sizeof key), UINT64_MAX);
    assert_false(b.full);
}

static void writes_a_transaction_with_the_stamp_first(void **state)
{
    (void)state;
    char mem[4096];
    struct fm_coord_compare c = {FM_STR("a"), 5};
    struct fm_coord_write w[] = {{.key = FM_STR("a"), .value = FM_STR("hey")},
                                 {.key = FM_STR("b"), .erase = true}};
    struct fm_coord_txn t = {&c, 1, w, 2};
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_coord_wire_txn(&b, prefix, &t, 2);
    assert_str(
        fm_buf_str(&b),
        "{\"compare\":[{\"target\":\"MOD\",\"result\":\"EQUAL\",\"mod_revision\":\"2\","
        "\"key\":\"L2Z1bG1hci9zL3N0YW1w\"},{\"target\":\"MOD\",\"result\":\"EQUAL\","
        "\"mod_revision\":\"5\",\"key\":\"L2Z1bG1hci9zL2E=\"}],\"success\":[{\"request_put\":{"
        "\"key\":\"L2Z1bG1hci9zL2E=\",\"value\":\"aGV5\"}},{\"request_delete_range\":{\"key\":"
        "\"L2Z1bG1hci9zL2I=\"}}],\"failure\":[{\"request_range\":{\"key\":"
        "\"L2Z1bG1hci9zL3N0YW1w\"}},{\"request_range\":{\"key\":\"L2Z1bG1hci9zL2E=\"}}]}");
    assert_true(b.n <= fm_coord_wire_txn_room(prefix, &t));
}

static void the_room_is_enough_for_the_largest_transaction(void **state)
{
    (void)state;
    static char keys[FM_COORD_TXN_MAX][FM_COORD_KEY_MAX], mem[1 << 20];
    struct fm_coord_compare c[FM_COORD_TXN_MAX];
    struct fm_coord_write w[FM_COORD_TXN_MAX];
    for (size_t i = 0; i < FM_COORD_TXN_MAX; i++) {
        memset(keys[i], (int)('0' + i), sizeof keys[i]);
        c[i] = (struct fm_coord_compare){fm_str(keys[i], sizeof keys[i]), UINT64_MAX};
        w[i] = (struct fm_coord_write){.key = c[i].key, .value = c[i].key};
    }
    struct fm_coord_txn t = {c, FM_COORD_TXN_MAX, w, FM_COORD_TXN_MAX};
    struct fm_buf b = fm_buf(mem, fm_coord_wire_txn_room(prefix, &t));
    assert_true(b.cap <= sizeof mem);
    fm_coord_wire_txn(&b, prefix, &t, UINT64_MAX);
    assert_false(b.full);
}

static void names_and_passwords_are_texts_of_json(void **state)
{
    (void)state;
    char mem[128];
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_coord_wire_login(&b, FM_STR("ful\"mar"), FM_STR("a\\b\n"));
    assert_str(fm_buf_str(&b), "{\"name\":\"ful\\\"mar\",\"password\":\"a\\\\b\\u000a\"}");
}

/* -------- good answers -------- */

static void reads_what_is_there(void **state)
{
    (void)state;
    good(FM_COORD_WIRE_RANGE, "{" HEADER ",\"kvs\":[" KV "],\"count\":\"1\"}");
    assert_int_equal(a.cluster, UINT64_C(15118495548433857066));
    assert_int_equal(a.revision, 7);
    assert_int_equal(a.nkv, 1);
    assert_str(a.kv[0].key, "a");
    assert_str(a.kv[0].value, "hey");
    assert_int_equal(a.kv[0].revision, 5);
    fm_coord_wire_free(&a);
    good(FM_COORD_WIRE_RANGE, "{" HEADER "}");
    assert_int_equal(a.nkv, 0);
    fm_coord_wire_free(&a);
}

static void reads_what_became_of_a_transaction(void **state)
{
    (void)state;
    good(FM_COORD_WIRE_TXN, "{" HEADER ",\"succeeded\":true,\"responses\":[{\"response_put\":{"
                            "\"header\":{\"revision\":\"7\"}}}]}");
    assert_true(a.succeeded);
    fm_coord_wire_free(&a);
    good(FM_COORD_WIRE_TXN, "{" HEADER ",\"responses\":[{\"response_range\":{\"header\":{"
                            "\"revision\":\"7\"},\"kvs\":[" KV "],\"count\":\"1\"}},{"
                            "\"response_range\":{\"header\":{\"revision\":\"7\"}}}]}");
    assert_false(a.succeeded);
    assert_int_equal(a.nkv, 2);
    assert_str(a.kv[0].key, "a");
    assert_null(a.kv[1].key.p);
    assert_int_equal(a.kv[1].revision, 0);
    fm_coord_wire_free(&a);
}

static void reads_the_messages_of_a_watch(void **state)
{
    (void)state;
    good(FM_COORD_WIRE_WATCH, "{\"result\":{" HEADER ",\"created\":true}}");
    assert_true(a.created && !a.canceled && a.nevent == 0);
    fm_coord_wire_free(&a);
    good(FM_COORD_WIRE_WATCH,
         "{\"result\":{" HEADER ",\"events\":[{\"kv\":" KV "},{\"type\":\"DELETE\",\"kv\":{\"key\":"
         "\"L2Z1bG1hci9zL2E=\",\"mod_revision\":\"6\"}}]}}");
    assert_int_equal(a.nevent, 2);
    assert_false(a.event[0].erased);
    assert_true(a.event[1].erased);
    assert_int_equal(a.event[1].kv.revision, 6);
    fm_coord_wire_free(&a);
    good(FM_COORD_WIRE_WATCH,
         "{\"result\":{\"header\":{\"cluster_id\":\"1\",\"member_id\":\"1\",\"raft_term\":\"2\"},"
         "\"canceled\":true,\"compact_revision\":\"3\"}}");
    assert_true(a.canceled);
    assert_int_equal(a.compacted, 3);
    fm_coord_wire_free(&a);
    good(FM_COORD_WIRE_WATCH,
         "{\"error\":{\"grpc_code\":14,\"http_code\":503,\"message\":"
         "\"etcdserver: no leader\",\"http_status\":\"Service Unavailable\"}}");
    assert_int_equal(a.code, 14);
    assert_string_equal(a.message, "etcdserver: no leader");
    fm_coord_wire_free(&a);
}

static void reads_status_and_token(void **state)
{
    (void)state;
    good(FM_COORD_WIRE_STATUS, "{" HEADER ",\"version\":\"3.4.23\",\"dbSize\":\"20480\",\"leader\":"
                               "\"13668033151171901709\",\"raftIndex\":\"6\"}");
    assert_string_equal(a.version, "3.4.23");
    assert_int_equal(a.leader, a.member);
    assert_int_equal(a.bytes, 20480);
    fm_coord_wire_free(&a);
    good(FM_COORD_WIRE_LOGIN, "{" HEADER ",\"token\":\"AbCd.12\"}");
    assert_string_equal(a.token, "AbCd.12");
    fm_coord_wire_free(&a);
}

static void reads_refusals(void **state)
{
    (void)state;
    fm_coord_wire_read_error(&a,
                             FM_STR("{\"error\":\"x\",\"message\":\"etcdserver: y\",\"code\":9}"));
    assert_int_equal(a.code, 9);
    assert_string_equal(a.message, "etcdserver: y");
    fm_coord_wire_free(&a);
    fm_coord_wire_read_error(&a, FM_STR("404 page not found\n"));
    assert_int_equal(a.code, 2);
    assert_true(a.message[0]);
    fm_coord_wire_free(&a);
}

/* -------- what no store may say -------- */

static const struct {
    enum fm_coord_wire_kind kind;
    const char *text;
} bad[] = {
    {FM_COORD_WIRE_RANGE, ""},
    {FM_COORD_WIRE_RANGE, "[]"},
    {FM_COORD_WIRE_RANGE, "{\"kvs\":[]}"},
    {FM_COORD_WIRE_RANGE, "{\"header\":{\"revision\":\"-1\"}}"},
    {FM_COORD_WIRE_RANGE, "{\"header\":{\"revision\":\"18446744073709551616\"}}"},
    {FM_COORD_WIRE_RANGE, "{\"header\":{\"revision\":7.5}}"},
    {FM_COORD_WIRE_RANGE, "{" HEADER "," HEADER "}"},
    {FM_COORD_WIRE_RANGE, "{" HEADER ",\"kvs\":[" KV "],\"more\":true}"},
    {FM_COORD_WIRE_RANGE, "{" HEADER ",\"kvs\":{}}"},
    {FM_COORD_WIRE_RANGE, "{" HEADER ",\"kvs\":[1]}"},
    {FM_COORD_WIRE_RANGE, "{" HEADER ",\"kvs\":[{\"key\":\"L2E=\",\"mod_revision\":\"5\"}]}"},
    {FM_COORD_WIRE_RANGE, "{" HEADER ",\"kvs\":[{\"key\":\"L2Z1bG1hci9zL2E=\"}]}"},
    {FM_COORD_WIRE_RANGE,
     "{" HEADER ",\"kvs\":[{\"key\":\"L2Z1bG1hci9zL2E=\",\"mod_revision\":\"8\"}]}"},
    {FM_COORD_WIRE_RANGE, "{" HEADER ",\"kvs\":[{\"key\":\"%\",\"mod_revision\":\"5\"}]}"},
    {FM_COORD_WIRE_TXN, "{" HEADER "}"},
    {FM_COORD_WIRE_TXN, "{" HEADER ",\"succeeded\":false,\"responses\":[{\"response_put\":{}}]}"},
    {FM_COORD_WIRE_TXN,
     "{" HEADER ",\"responses\":[{\"response_range\":{\"kvs\":[" KV "," KV "]}}]}"},
    {FM_COORD_WIRE_TXN, "{\"succeeded\":true}"},
    {FM_COORD_WIRE_WATCH, "{}"},
    {FM_COORD_WIRE_WATCH, "{\"result\":{\"created\":true}}"},
    {FM_COORD_WIRE_WATCH, "{\"result\":{" HEADER ",\"events\":[]}}"},
    {FM_COORD_WIRE_WATCH,
     "{\"result\":{" HEADER ",\"events\":[{\"type\":\"LOST\",\"kv\":" KV "}]}}"},
    {FM_COORD_WIRE_WATCH, "{\"result\":{" HEADER ",\"events\":[{\"kv\":" KV "},{\"kv\":{\"key\":"
                          "\"L2Z1bG1hci9zL2E=\",\"mod_revision\":\"4\"}}]}}"},
    {FM_COORD_WIRE_LOGIN, "{" HEADER "}"},
    {FM_COORD_WIRE_LOGIN, "{" HEADER ",\"token\":\"a\\r\\nX: y\"}"},
    {FM_COORD_WIRE_LOGIN, "{" HEADER ",\"token\":\"a b\"}"},
    {FM_COORD_WIRE_STATUS, "{" HEADER "}"},
};

static void refuses_what_is_malformed(void **state)
{
    (void)state;
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        if (reads(bad[i].kind, bad[i].text))
            fail_msg("taken: %s", bad[i].text);
        assert_true(why && why[0]);
        fm_coord_wire_free(&a);
    }
}

/* -------- what a refusal means -------- */

static void only_what_the_store_itself_says_is_certain(void **state)
{
    (void)state;
    static const struct {
        int code;
        const char *message;
        enum fm_coord_verdict verdict;
    } rows[] = {
        {3, "etcdserver: duplicate key given in txn request", FM_COORD_VERDICT_REFUSED},
        {3, "etcdserver: request is too large", FM_COORD_VERDICT_REFUSED},
        {3, "etcdserver: user name is empty", FM_COORD_VERDICT_PERMISSION},
        {3, "etcdserver: authentication failed, invalid user ID or password",
         FM_COORD_VERDICT_PERMISSION},
        {3, "etcdserver: revision of auth store is old", FM_COORD_VERDICT_LOGIN},
        {16, "etcdserver: invalid auth token", FM_COORD_VERDICT_LOGIN},
        {7, "etcdserver: permission denied", FM_COORD_VERDICT_PERMISSION},
        {8, "etcdserver: too many requests", FM_COORD_VERDICT_ELSEWHERE},
        {8, "etcdserver: mvcc: database space exceeded", FM_COORD_VERDICT_REFUSED},
        {14, "etcdserver: no leader", FM_COORD_VERDICT_ELSEWHERE},
        {14, "etcdserver: request timed out", FM_COORD_VERDICT_UNKNOWN},
        {14, "etcdserver: request timed out, possibly due to previous leader failure",
         FM_COORD_VERDICT_UNKNOWN},
        {14, "etcdserver: leader changed", FM_COORD_VERDICT_UNKNOWN},
        {14, "etcdserver: server stopped", FM_COORD_VERDICT_UNKNOWN},
        {14, "transport is closing", FM_COORD_VERDICT_UNKNOWN},
        {8, "grpc: received message larger than max (5 vs. 4)", FM_COORD_VERDICT_UNKNOWN},
        {2, "etcdserver: no leader", FM_COORD_VERDICT_UNKNOWN},
        {1, "context canceled", FM_COORD_VERDICT_UNKNOWN},
        {9, FM_COORD_OTHER_SERVICE "`x`", FM_COORD_VERDICT_SERVICE},
        {3, "fulmar: a key that is written twice", FM_COORD_VERDICT_REFUSED},
        {14, "fulmar: the file of coordination has failed", FM_COORD_VERDICT_UNKNOWN},
        {0, "", FM_COORD_VERDICT_UNKNOWN},
    };
    for (size_t i = 0; i < FM_COUNT(rows); i++)
        if (fm_coord_wire_verdict(rows[i].code, rows[i].message) != rows[i].verdict)
            fail_msg("%d %s", rows[i].code, rows[i].message);
}

/* -------- the stamp -------- */

static void a_stamp_comes_back(void **state)
{
    (void)state;
    char mem[128];
    struct fm_buf b = fm_buf(mem, sizeof mem);
    struct fm_coord_stamp stamp;
    fm_coord_wire_stamp(&b, FM_STR("bank"), FM_STR("0011"));
    assert_true(fm_coord_wire_read_stamp(fm_buf_str(&b), &stamp));
    assert_string_equal(stamp.service, "bank");
    assert_string_equal(stamp.incarnation, "0011");
    static const char *const none[] = {"",
                                       "{}",
                                       "{\"fulmar\":2,\"service\":\"bank\",\"incarnation\":\"00\"}",
                                       "{\"fulmar\":1,\"service\":\"bank\"}",
                                       "{\"fulmar\":1,\"service\":\"bank\",\"incarnation\":\"\"}",
                                       "{\"fulmar\":1,\"service\":\"\",\"incarnation\":\"00\"}",
                                       "{\"fulmar\":1,\"service\":7,\"incarnation\":\"00\"}"};
    for (size_t i = 0; i < FM_COUNT(none); i++)
        assert_false(fm_coord_wire_read_stamp(fm_str_z(none[i]), &stamp));
}

static void a_copy_is_another_store(void **state)
{
    (void)state;
    struct fm_coord_known was = {.incarnation = "00aa", .cluster = 1}, b = was;
    b.revision = 8;
    assert_true(fm_coord_store_id(&was) == fm_coord_store_id(&b));
    b.cluster = 2; /* the stamp of a copy is the same */
    assert_true(fm_coord_store_id(&was) != fm_coord_store_id(&b));
    b = was;
    b.incarnation[0] = '1';
    assert_true(fm_coord_store_id(&was) != fm_coord_store_id(&b));
}

FM_TEST_MAIN(fm_test(a_copy_is_another_store), fm_test(asks_for_a_key_and_for_a_prefix),
             fm_test(the_longest_key_fits_into_a_read),
             fm_test(writes_a_transaction_with_the_stamp_first),
             fm_test(the_room_is_enough_for_the_largest_transaction),
             fm_test(names_and_passwords_are_texts_of_json), fm_test(reads_what_is_there),
             fm_test(reads_what_became_of_a_transaction), fm_test(reads_the_messages_of_a_watch),
             fm_test(reads_status_and_token), fm_test(reads_refusals),
             fm_test(refuses_what_is_malformed),
             fm_test(only_what_the_store_itself_says_is_certain), fm_test(a_stamp_comes_back))
