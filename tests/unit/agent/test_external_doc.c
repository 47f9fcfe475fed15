/* What hooks print, understood whole or not at all; and what is recorded of it. */
#include "test.h"

#include "agent/external_doc.h"

static void a_status_is_the_last_line_that_is_an_object(void **state)
{
    static const struct {
        const char *output;
        bool good;
        struct fm_external_status s;
    } cases[] = {
        {"{\"role\": \"primary\", \"writable\": true}\n", true, {FM_EXTERNAL_PRIMARY, true, true}},
        {"WARNING: old\n{\"a\": 1}\n{\"role\": \"secondary\", \"writable\": false, \"healthy\": "
         "false}\nbye\n",
         true,
         {FM_EXTERNAL_SECONDARY, false, false}},
        {"{\"role\":\"primary\",\"writable\":false,\"more\":[1]}",
         true,
         {FM_EXTERNAL_PRIMARY, false, true}},
        {"", false, {0}},
        {"primary\n", false, {0}},
        {"{\"role\": \"primary\", \"writable\": true\n", false, {0}},
        {"{\"role\": \"unknown\", \"writable\": true}\n", false, {0}},
        {"{\"role\": \"primary\", \"role\": \"primary\", \"writable\": true}\n", false, {0}},
        {"{\"role\": \"primary\"}\n", false, {0}},
        {"{\"role\": \"primary\", \"writable\": 1}\n", false, {0}},
        {"{\"role\": \"primary\", \"writable\": true, \"healthy\": null}\n", false, {0}},
    };
    (void)state;
    for (unsigned i = 0; i < FM_COUNT(cases); i++) {
        struct fm_external_status s = {.role = 99};
        struct fm_error e = {.msg = ""};
        enum fm_err err = fm_external_doc_status(cases[i].output, &s, &e);
        assert_int_equal(err, cases[i].good ? FM_ERR_OK : FM_ERR_INVALID);
        assert_int_equal(e.msg[0] == 0, cases[i].good);
        assert_int_equal(s.role, cases[i].good ? cases[i].s.role : 99);
        assert_int_equal(s.writable, cases[i].s.writable);
        assert_int_equal(s.healthy, cases[i].s.healthy);
    }
}

static void a_lag_is_never_rounded_to_nothing(void **state)
{
    static const struct {
        const char *output;
        bool good;
        struct fm_external_lag l;
    } cases[] = {
        {"{\"bytes\": 0}\n", true, {.has_bytes = true}},
        {"{\"bytes\": 12, \"seconds\": null}\n", true, {.has_bytes = true, .bytes = 12}},
        {"{\"seconds\": 0.0001}\n", true, {.has_ms = true, .ms = 1}},
        {"{\"seconds\": 2, \"bytes\": 3}\n", true, {true, true, 3, 2000}},
        {"{\"seconds\": 1.5}\n", true, {.has_ms = true, .ms = 1500}},
        {"{}\n", false, {0}},
        {"{\"bytes\": null}\n", false, {0}},
        {"{\"bytes\": 1.5}\n", false, {0}},
        {"{\"bytes\": -1}\n", false, {0}},
        {"{\"bytes\": \"0\"}\n", false, {0}},
        {"{\"seconds\": -0.1}\n", false, {0}},
        {"{\"seconds\": 1e30}\n", false, {0}},
        {"{\"seconds\": \"0\"}\n", false, {0}},
    };
    (void)state;
    for (unsigned i = 0; i < FM_COUNT(cases); i++) {
        struct fm_external_lag l = {.bytes = 99};
        struct fm_error e = {.msg = ""};
        enum fm_err err = fm_external_doc_lag(cases[i].output, &l, &e);
        assert_int_equal(err, cases[i].good ? FM_ERR_OK : FM_ERR_INVALID);
        assert_int_equal(e.msg[0] == 0, cases[i].good);
        assert_int_equal(l.has_bytes, cases[i].l.has_bytes);
        assert_int_equal(l.has_ms, cases[i].l.has_ms);
        assert_int_equal(l.bytes, cases[i].good ? cases[i].l.bytes : 99);
        assert_int_equal(l.ms, cases[i].l.ms);
    }
}

static void what_is_recorded_is_read_again(void **state)
{
    static const struct fm_external_doc docs[] = {
        {.record = {{0}, FM_EXTERNAL_AT_NONE}},
        {.record = {{7}, FM_EXTERNAL_AT_CLOSED},
         .known = true,
         .status = {FM_EXTERNAL_SECONDARY, true, true},
         .lag = {true, true, 12, 13},
         .lag_age_ms = 14,
         .wall_ms = 15,
         .trouble = "`lag`: no"},
    };
    (void)state;
    for (unsigned i = 0; i < FM_COUNT(docs); i++) {
        struct fm_external_doc d;
        json_t *j = fm_external_doc_make(&docs[i]);
        assert_non_null(j);
        char *text = json_dumps(j, 0);
        assert_true(fm_external_doc_read(fm_str_z(text), &d));
        assert_int_equal(d.record.epoch.n, docs[i].record.epoch.n);
        assert_int_equal(d.record.stage, docs[i].record.stage);
        assert_int_equal(d.known, docs[i].known);
        assert_int_equal(d.status.role, docs[i].status.role);
        assert_int_equal(d.status.writable, docs[i].status.writable);
        assert_int_equal(d.status.healthy, docs[i].status.healthy);
        assert_int_equal(d.lag.has_bytes, docs[i].lag.has_bytes);
        assert_int_equal(d.lag.has_ms, docs[i].lag.has_ms);
        assert_int_equal(d.lag.bytes, docs[i].lag.bytes);
        assert_int_equal(d.lag.ms, docs[i].lag.ms);
        assert_int_equal(d.lag_age_ms, docs[i].lag_age_ms);
        assert_int_equal(d.wall_ms, docs[i].wall_ms);
        assert_string_equal(d.trouble, docs[i].trouble);
        free(text);
        json_decref(j);
    }
}

static void a_record_that_is_not_whole_is_none(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{\"stage\": \"open\"}",
        "{\"stage\": \"opened\", \"epoch\": 1}",
        "{\"stage\": \"open\", \"epoch\": -1}",
        "{\"stage\": \"open\", \"epoch\": 1, \"role\": \"king\"}",
        "{\"stage\": \"open\", \"epoch\": 1, \"lag_bytes\": \"0\"}",
        "{\"stage\": \"open\", \"epoch\": 1, \"lag_ms\": -5}",
    };
    struct fm_external_doc d = {.lag_age_ms = 99};
    (void)state;
    for (unsigned i = 0; i < FM_COUNT(bad); i++)
        assert_false(fm_external_doc_read(fm_str_z(bad[i]), &d));
    assert_int_equal(d.lag_age_ms, 99);
}

FM_TEST_MAIN(fm_test(a_status_is_the_last_line_that_is_an_object),
             fm_test(a_lag_is_never_rounded_to_nothing), fm_test(what_is_recorded_is_read_again),
             fm_test(a_record_that_is_not_whole_is_none))
