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
    json_t *e = doc("{\"context\": \"cards\", \"cell\": 17, \"region\": \"west\", \"op\": \"41-3\","
                    " \"ref\": \"a/b\", \"to\": \"asking\", \"why\": \"loss\"}");
    static const struct {
        const char *what;
        bool is;
    } cases[] = {{"", true},
                 {"cards", true},
                 {"west", true},
                 {"west/cards", true},
                 {"cards/17", true},
                 {"cards/1", false},
                 {"north", false},
                 {"north/cards", false},
                 {"41-3", true},
                 {"a/b", true},
                 {"asking", false},
                 {"cards/017x", false},
                 {"west/cards/17", true}};
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
         " \"text\": \"the cell was acquired\", \"evidence\": null, \"by\": \"alice@x\"}",
         "14:08:42  cards/3  the cell was acquired, by alice@x\n"},
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

FM_TEST_MAIN(fm_test(an_event_is_about_what_it_names), fm_test(an_event_is_a_line))
