/* Events: what they are about, and their line. */
#include "capture.h"

#include "cli/events.h"

static json_t *doc(const char *text)
{
    json_t *d = json_loads(text, 0, NULL);
    assert_non_null(d);
    return d;
}

static void an_event_is_about_what_it_names(void **state)
{
    (void)state;
    json_t *e = doc("{\"context\": \"cards\", \"cell\": 17, \"region\": \"west\","
                    " \"to\": \"asking\", \"why\": \"loss\"}");
    static const struct {
        const char *what;
        bool is;
    } cases[] = {{"", true},           {"cards", true},        {"west", true},
                 {"west/cards", true}, {"cards/17", true},     {"cards/1", false},
                 {"north", false},     {"north/cards", false},

                 {"asking", false},    {"cards/017x", false},  {"west/cards/17", true}};
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        if (fm_event_is_about(e, cases[i].what) != cases[i].is)
            fail_msg("`%s`", cases[i].what);
    json_decref(e);
}

static void an_event_is_a_line(void **state)
{
    (void)state;
    static const struct {
        const char *event, *line;
    } cases[] = {
        {"{\"at\": \"2026-11-21T14:08:42.123456Z\", \"region\": \"west\", \"context\": \"ledger\","
         " \"from\": \"up\", \"to\": \"down\", \"reason\": \"probes-fail\", \"why\": \"probes "
         "fail\","
         " \"evidence\": \"no answer\"}",
         "14:08:42  west/ledger  up -> down: probes fail (no answer)\n"},
        {"{\"at\": \"2026-11-21T14:08:42.123456Z\", \"region\": null, \"context\": \"cards\","
         " \"cell\": 3, \"from\": null, \"to\": null, \"why\": \"acquired\","
         " \"text\": \"the cell was acquired\", \"evidence\": null}",
         "14:08:42  cards/3  the cell was acquired\n"},
        {"{\"at\": \"2026-11-21T14:08:42.123456Z\", \"what\": \"move\", \"region\": \"north\","
         " \"context\": \"cards\", \"cell\": 3, \"from\": \"asked\", \"to\": \"holding\","
         " \"why\": \"ready\"}",
         "14:08:42  move  north/cards/3  asked -> holding: ready\n"},
        {"{\"at\": \"2026-11-21T14:08:42.123456Z\", \"what\": \"office\", \"from\": \"deputy\","
         " \"to\": \"claiming\"}",
         "14:08:42  office  deputy -> claiming\n"},
        {"{}", "-  \n"},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        json_t *e = doc(cases[i].event);
        capture_begin();
        fm_event_print(e);
        capture_end();
        assert_string_equal(captured_out, cases[i].line);
        json_decref(e);
    }
}

static void all_events_of_a_daemon_come_by_time(void **state)
{
    (void)state;
    json_t *d = doc("{\"events\": [{\"at\": \"2\"}, {\"at\": \"4\"}, {\"at\": \"5\"}],"
                    " \"authority\": {\"events\": [{\"at\": \"1\"}, {\"at\": \"3\"}]}}");
    json_t *events = fm_events_of(d);
    assert_int_equal(json_array_size(events), 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(
            json_string_value(json_object_get(json_array_get(events, i), "at"))[0] - '1', i);
    json_decref(events);
    json_decref(d);
    events = fm_events_of(NULL);
    assert_int_equal(json_array_size(events), 0);
    json_decref(events);
}

FM_TEST_MAIN(fm_test(all_events_of_a_daemon_come_by_time), fm_test(an_event_is_about_what_it_names),
             fm_test(an_event_is_a_line))
