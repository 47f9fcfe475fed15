/* Logs: one JSON object a line, escaped, cut at a field. */
#include "test.h"

#include "base/log.h"

static char got[2 * FM_LOG_LINE_MAX];

static void keep(void *user, struct fm_str line)
{
    (void)user;
    assert_true(line.n < sizeof got);
    memcpy(got, line.p, line.n);
    got[line.n] = 0;
}

static void writes_typed_fields(void **state)
{
    (void)state;
    fm_log_set_writer(keep, NULL);
    struct fm_error e = {FM_ERR_IO, "disk \"full\""};
    fm_log(FM_LOG_WARN, "region_down", FM_KZ("region", "west"), FM_KU("n", 5), FM_KI("d", -2),
           FM_KB("ok", false), FM_KMS("age_ms", 1234567), FM_KMS("early_ms", -500000), FM_KE(&e),
           FM_KS("none", fm_str(NULL, 0)));
    fm_log_set_writer(NULL, NULL);
    const char *rest = strchr(got, ',');
    assert_non_null(rest);
    assert_string_equal(rest,
                        ",\"level\":\"warn\",\"event\":\"region_down\",\"region\":\"west\",\"n\":5,"
                        "\"d\":-2,\"ok\":false,\"age_ms\":1.234,\"early_ms\":-0.500,"
                        "\"error\":\"disk \\\"full\\\"\",\"none\":null}\n");
}

static void below_the_level_nothing_is_written(void **state)
{
    (void)state;
    fm_log_set_writer(keep, NULL);
    got[0] = 0;
    fm_log(FM_LOG_DEBUG, "quiet");
    assert_string_equal(got, "");
    fm_log_set_level(FM_LOG_DEBUG);
    fm_log(FM_LOG_DEBUG, "loud");
    fm_log_set_level(FM_LOG_INFO);
    fm_log_set_writer(NULL, NULL);
    assert_non_null(strstr(got, "\"event\":\"loud\"}\n"));
}

static void a_line_is_cut_at_a_field(void **state)
{
    (void)state;
    static char huge[FM_LOG_LINE_MAX];
    memset(huge, 'x', sizeof huge - 1);
    fm_log_set_writer(keep, NULL);
    fm_log(FM_LOG_INFO, "e", FM_KU("a", 1), FM_KZ("huge", huge), FM_KU("b", 2));
    fm_log_set_writer(NULL, NULL);
    assert_null(strstr(got, "xxx"));
    assert_non_null(strstr(got, ",\"a\":1,\"b\":2,\"cut\":true}\n"));
}

FM_TEST_MAIN(fm_test(writes_typed_fields), fm_test(below_the_level_nothing_is_written),
             fm_test(a_line_is_cut_at_a_field))
