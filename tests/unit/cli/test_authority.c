/* The authority in a table: who holds what, what is under way, what is wrong. */
#include "capture.h"

#include "cli/authority.h"

static const char whole[] =
    "{\"region\": \"west\", \"authority\": {\"trouble\": null, \"contexts\": {"
    "\"ledger\": {\"own\": {\"acts_left_ms\": 1834}, \"failover\": {}, \"move\": null,"
    "  \"frozen\": false, \"unreadable\": null, \"read_only\": true, \"generation\": 812,"
    "  \"cells\": [{\"cell\": 0, \"region\": \"west\", \"state\": \"held\", \"to\": null,"
    "    \"epoch\": 42, \"lapsed\": false}]},"
    "\"cards\": {\"own\": {\"acts_left_ms\": null}, \"read_only\": false, \"generation\": 815,"
    "  \"failover\": {\"north\": {\"state\": \"asking\", \"why_text\": \"the mode asks\","
    "    \"automatic\": false, \"for_ms\": 12000}},"
    "  \"move\": {\"cell\": 2, \"to\": \"west\", \"state\": \"shipping\", \"for_ms\": 84},"
    "  \"cells\": [{\"cell\": 0, \"region\": \"west\", \"state\": \"held\", \"epoch\": 7},"
    "    {\"cell\": 1, \"region\": \"north\", \"state\": \"held\", \"epoch\": 3, \"lapsed\": true},"
    "    {\"cell\": 2, \"region\": \"west\", \"state\": \"held\", \"epoch\": 9},"
    "    {\"cell\": 3, \"region\": \"north\", \"state\": \"released\", \"to\": \"west\","
    "     \"epoch\": 4}]},"
    "\"fresh\": {\"own\": {}, \"cells\": []}}}}";

static json_t *doc(const char *text)
{
    json_t *d = json_loads(text, 0, NULL);
    assert_non_null(d);
    return d;
}

static void print(const json_t *d, const char *only)
{
    struct fm_args a = {.output = FM_OUTPUT_TABLE};
    capture_begin();
    fm_cli_authority_print(&a, d, NULL, only);
    capture_end();
    assert_string_equal(captured_err, "");
}

static void what_would_be_lost_stands_at_its_context(void **state)
{
    (void)state;
    json_t *d = doc("{\"region\": \"west\", \"authority\": {\"contexts\": {"
                    "\"ledger\": {\"cells\": [], \"loss_if_now\": {\"kind\": \"enforced\","
                    "  \"bytes\": 65536, \"transactions\": 1928}},"
                    "\"cards\": {\"cells\": [], \"loss_if_now\": {\"kind\": \"unbounded\","
                    "  \"bytes\": null, \"transactions\": null}},"
                    "\"profile\": {\"cells\": [], \"loss_if_now\": null}}}}");
    print(d, NULL);
    assert_non_null(strstr(captured_out,
                           "\n\nLoss if now:\n"
                           "  ledger: at most 65536 bytes, 1928 transactions (enforced)\n"
                           "  cards: not bounded\n"));
    assert_null(strstr(captured_out, "profile:"));
    print(d, "profile");
    assert_null(strstr(captured_out, "Loss"));
    json_decref(d);
}

static void replication_that_is_broken_is_under_way(void **state)
{
    (void)state;
    json_t *d = doc("{\"region\": \"north\", \"authority\": {\"contexts\": {"
                    "\"site\": {\"cells\": [], \"standby\": {\"state\": \"stopped\","
                    "  \"replication\": \"not-restored\"}},"
                    "\"shop\": {\"cells\": [], \"standby\": {\"state\": \"stopped\","
                    "  \"replication\": \"follows\"}}}}}");
    print(d, NULL);
    assert_non_null(strstr(captured_out, "  site: replication to this region: not-restored\n"));
    assert_null(strstr(captured_out, "shop: replication"));
    json_decref(d);
}

static void what_was_given_up_is_nobodys(void **state)
{
    (void)state;
    json_t *d =
        doc("{\"region\": \"west\", \"authority\": {\"contexts\": {\"ledger\": {\"own\": {},"
            "  \"cells\": [{\"cell\": 0, \"region\": \"west\", \"state\": \"yielded\","
            "    \"to\": \"north\", \"epoch\": 4}]}}}}");
    print(d, NULL);
    assert_non_null(strstr(captured_out, "(given up by west)"));
    json_decref(d);
}

static void cells_of_a_holder_are_a_row(void **state)
{
    (void)state;
    json_t *d = doc(whole);
    print(d, NULL);
    assert_string_equal(
        captured_out,
        "\n"
        "CONTEXT        CELLS      HOLDER               EPOCH     LEASE    MODE       FAILOVER    "
        "  GENERATION\n"
        "ledger         0          west                 42        1.8 s    -          steady      "
        "  812  read-only\n"
        "cards          0,2        west                 7-9       -        -          asking      "
        "  815\n"
        "cards          1          north (lapsed)       3         -        -          asking      "
        "  815\n"
        "cards          3          (north, for west)    4         -        -          asking      "
        "  815\n"
        "fresh          nobody has ever held it\n"
        "\n"
        "Under way:\n"
        "  cards: failover from north is asking for 12.0 s: the mode asks\n"
        "    `fulmar quote cards --to REGION` says what it would cost, and how to order it\n"
        "  cards/2: moves to west, shipping for 84 ms\n");
    json_decref(d);
}

/* Only where it is not stopped: and what its command said, where that failed. */
static void a_standby_app_is_under_way(void **state)
{
    static const struct {
        const char *standby, *line;
    } cases[] = {
        {"null", NULL},
        {"{\"state\": \"stopped\", \"for_ms\": 5, \"runs\": null, \"last\": null}", NULL},
        {"{\"state\": \"starting\", \"for_ms\": 1500, \"runs\": \"start\", \"last\": null}",
         "  shop: standby app of this region: starting for 1.5 s; `start` runs\n"},
        {"{\"state\": \"ready\", \"for_ms\": 84, \"runs\": null, \"last\": {\"command\": "
         "\"start\", \"ok\": true, \"why\": \"exit code 0\"}}",
         "  shop: standby app of this region: ready for 84 ms\n"},
        {"{\"state\": \"failed\", \"for_ms\": 84, \"runs\": null, \"last\": {\"command\": "
         "\"start\", \"ok\": false, \"why\": \"exit code 3 after 9 ms; it said: no unit\"}}",
         "  shop: standby app of this region: failed for 84 ms; `start`: exit code 3 after 9 ms; "
         "it "
         "said: "
         "no unit\n"},
    };
    (void)state;
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char text[1024];
        snprintf(text, sizeof text,
                 "{\"region\": \"north\", \"authority\": {\"contexts\": {\"shop\": {\"own\": {}, "
                 "\"failover\": {}, \"move\": null, \"standby\": %s, \"cells\": []}}}}",
                 cases[i].standby);
        json_t *d = doc(text);
        print(d, NULL);
        const char *at = strstr(captured_out, "Under way:\n");
        assert_int_equal(at != NULL, cases[i].line != NULL);
        if (at)
            assert_string_equal(at + strlen("Under way:\n"), cases[i].line);
        json_decref(d);
    }
}

static void what_commands_wait_for_is_under_way(void **state)
{
    (void)state;
    json_t *d =
        doc("{\"region\": \"north\", \"authority\": {\"contexts\": {\"shop\": {\"own\": {}, "
            "\"failover\": {}, \"move\": null, \"standby\": null, \"waits_for\": {\"why\": "
            "\"away\", \"text\": \"its PostgreSQL primary is not open\", \"for_ms\": 1500}, "
            "\"cells\": []}}}}");
    print(d, NULL);
    const char *at = strstr(captured_out, "Under way:\n");
    assert_non_null(at);
    assert_string_equal(at + strlen("Under way:\n"),
                        "  shop: commands wait for 1.5 s: its PostgreSQL primary is not open\n");
    json_decref(d);
}

static void one_context_or_region_is_picked(void **state)
{
    (void)state;
    json_t *d = doc(whole);
    print(d, "ledger");
    assert_non_null(strstr(captured_out, "ledger"));
    assert_null(strstr(captured_out, "cards"));
    print(d, "north");
    assert_null(strstr(captured_out, "ledger"));
    assert_non_null(strstr(captured_out, "cards"));
    assert_true(fm_cli_authority_knows(d, "ledger"));
    assert_true(fm_cli_authority_knows(d, "north"));
    assert_false(fm_cli_authority_knows(d, "mars"));
    assert_int_equal(fm_cli_authority_generation(d), 815);
    json_t *contexts = fm_cli_authority_contexts(d, "north");
    assert_int_equal(json_object_size(contexts), 1);
    assert_non_null(json_object_get(contexts, "cards"));
    json_decref(contexts);
    json_decref(d);
}

static void documents_without_authority_print_nothing(void **state)
{
    (void)state;
    json_t *d = doc("{\"region\": \"west\"}");
    print(d, NULL);
    assert_string_equal(captured_out, "");
    assert_true(fm_cli_authority_is_well(d));
    assert_int_equal(fm_cli_authority_generation(d), -1);
    json_decref(d);
}

/* What is not known is not said to be so. */
static void a_store_that_is_away_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *coordination, *says, *not ;
        bool well;
    } cases[] = {
        {"{\"reached\": true, \"read\": true, \"unreached_ms\": null, \"why\": null}",
         "x              nobody has ever held it", "coordination:", true},
        {"{\"reached\": false, \"read\": true, \"unreached_ms\": 84, \"why\": \"gone\"}",
         "nobody has ever held it", "coordination:", true}, /* from one endpoint to the next */
        {"{\"reached\": false, \"read\": true, \"unreached_ms\": 12000, \"why\": \"a: gone\"}",
         "coordination: not reachable for 12.0 s: a: gone\n  What stands here is what was read "
         "last.",
         "not known", false},
        {"{\"reached\": false, \"read\": false, \"unreached_ms\": 3000, \"why\": null}",
         "x              not known: coordination has not been read\n\ncoordination: not reachable "
         "for 3.0 s\n  Nothing has been read since this agent began",
         "nobody has ever", false},
        {"{\"reached\": false, \"read\": false, \"unreached_ms\": null, \"why\": null}",
         "coordination: not reachable\n", "nobody has ever", false},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "{\"authority\": {\"coordination\": %s, \"contexts\": {\"x\": {\"cells\": []}}}}",
                 cases[i].coordination);
        json_t *d = doc(text);
        print(d, NULL);
        if (!strstr(captured_out, cases[i].says) || strstr(captured_out, cases[i].not ))
            fail_msg("%s: %s", cases[i].coordination, captured_out);
        assert_int_equal(fm_cli_authority_is_well(d), cases[i].well);
        json_decref(d);
    }
}

static void what_is_wrong_is_not_well(void **state)
{
    (void)state;
    static const struct {
        const char *context, *trouble;
        bool well;
    } cases[] = {
        {"\"cells\": [{\"state\": \"held\", \"lapsed\": false}]", "null", true},
        {"\"cells\": [{\"state\": \"held\", \"lapsed\": true}]", "null", false},
        {"\"cells\": [{\"state\": \"released\"}]", "null", false},
        {"\"cells\": [], \"frozen\": true", "null", false},
        {"\"cells\": [], \"unreadable\": \"lease/x: a newer version\"", "null", false},
        {"\"cells\": []", "\"no quorum\"", false},
        {"\"cells\": []", "null", true},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "{\"authority\": {\"trouble\": %s, \"contexts\": {\"x\": {%s}}}}",
                 cases[i].trouble, cases[i].context);
        json_t *d = doc(text);
        assert_int_equal(fm_cli_authority_is_well(d), cases[i].well);
        print(d, NULL);
        if (strstr(cases[i].context, "unreadable"))
            assert_non_null(strstr(captured_out, "x: lease/x: a newer version"));
        if (strstr(cases[i].trouble, "quorum"))
            assert_non_null(strstr(captured_out, "coordination: no quorum"));
        json_decref(d);
    }
}

FM_TEST_MAIN(fm_test(replication_that_is_broken_is_under_way),
             fm_test(what_was_given_up_is_nobodys), fm_test(cells_of_a_holder_are_a_row),
             fm_test(what_would_be_lost_stands_at_its_context), fm_test(a_standby_app_is_under_way),
             fm_test(what_commands_wait_for_is_under_way), fm_test(one_context_or_region_is_picked),
             fm_test(documents_without_authority_print_nothing),
             fm_test(a_store_that_is_away_is_told), fm_test(what_is_wrong_is_not_well))
