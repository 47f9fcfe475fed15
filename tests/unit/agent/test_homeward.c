/* A failback for people: each condition that is not met, with its numbers, and no other. */
#include "test.h"

#include "agent/homeward.h"

static const struct fm_homeward well = {
    .home = "west", .soak_ms = 600000, .counts = true, .lacks = ""};

static void it_says_what_is_not_so_yet(void **state)
{
    (void)state;
    const struct {
        struct fm_failover_home h;
        bool lost, falls_out; /* of who counts */
        const char *lacks, *text;
    } cases[] = {
        {{.unsoaked = true, .well_ms = 3999, .left_ms = 596001},
         false,
         false,
         "",
         "west has been well for 3s of 10m (`soak`): 597s left"},
        {{.unsoaked = true, .shut = true, .well_ms = 540000, .left_ms = 60000},
         false,
         false,
         "",
         "west has been well for 9m of 10m (`soak`): 1m left; the `window` is shut"},
        {{.shut = true}, false, false, "", "the `window` is shut"},
        {{.ill = true, .unsoaked = true, .lags = true, .left_ms = 600000},
         true,
         true,
         "nothing is heard of west-db-1",
         "west is not well: it was not heard for a while; it has to be for 10m (`soak`)"},
        {{.ill = true, .unsoaked = true, .lags = true, .left_ms = 600000},
         false,
         true,
         "west-db-1 is 18320 bytes behind",
         "replication lags: west-db-1 is 18320 bytes behind; west is not well: none of its "
         "standbys counts; it has to be for 10m (`soak`)"},
        {{.ill = true, .unsoaked = true, .left_ms = 600000},
         false,
         false,
         "",
         "west is not well: no gate there can serve the context; it has to be for 10m (`soak`)"},
        {{.lags = true}, false, false, "", "replication lags, or conflicts wait"},
        {{.verdict.why = FM_FAILOVER_WHY_READY},
         false,
         false,
         "",
         "the standby is started and "
         "checked"},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_homeward x = well;
        char out[FM_HOMEWARD_ROOM];
        x.lost = cases[i].lost;
        x.counts = !cases[i].falls_out;
        x.lacks = cases[i].lacks;
        fm_homeward_say(&cases[i].h, &x, out);
        assert_string_equal(out, cases[i].text);
    }
}

static void it_is_one_line_that_ends_in_its_room(void **state)
{
    (void)state;
    struct fm_homeward x = well;
    struct fm_failover_home h = {.lags = true, .ill = true, .shut = true};
    char out[FM_HOMEWARD_ROOM], lacks[300], home[80];
    memset(lacks, 'x', sizeof lacks - 1);
    lacks[sizeof lacks - 1] = 0;
    memset(home, 'h', sizeof home - 1);
    home[sizeof home - 1] = 0;
    x.home = home;
    for (size_t n = 0; n < sizeof lacks; n++) {
        x.lacks = lacks + n;
        fm_homeward_say(&h, &x, out);
        assert_non_null(memchr(out, 0, sizeof out));
    }
}

static void each_rule_has_a_remedy(void **state)
{
    (void)state;
    for (unsigned w = 1; w < FM_FAILOVER_WHY_COUNT; w++)
        assert_non_null(fm_homeward_remedy(fm_failover_why_name((enum fm_failover_why)w)));
    assert_null(fm_homeward_remedy("none"));
    assert_null(fm_homeward_remedy(""));
    assert_non_null(strstr(fm_homeward_remedy("soak"), "fulmar move"));
}

FM_TEST_MAIN(fm_test(it_says_what_is_not_so_yet), fm_test(it_is_one_line_that_ends_in_its_room),
             fm_test(each_rule_has_a_remedy))
