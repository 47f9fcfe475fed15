/* The rule by which versions understand each other: what is read, what is skipped, what is refused.
 */
#include "test.h"

#include "http/protocol.h"

static const char *refuses(const char *text)
{
    json_t *o = json_loads(text, 0, NULL);
    assert_non_null(o);
    const char *why = fm_protocol_refuses(o);
    json_decref(o);
    return why;
}

static void one_version_apart_is_read(void **state)
{
    (void)state;
    assert_int_equal(fm_protocol(), 1);
    assert_null(refuses("{\"v\":1}"));
    assert_null(refuses("{\"v\":2,\"more\":{\"of\":\"it\"}}"));
    assert_non_null(strstr(refuses("{\"v\":3}"), "this program reads 1 to 2"));
    assert_non_null(strstr(refuses("{\"v\":0}"), "this program reads 1 to 2"));
    assert_non_null(strstr(refuses("{\"v\":9223372036854775807}"), "this program reads 1 to 2"));
}

static void who_does_not_say_a_version_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"{}", "{\"v\":\"1\"}", "{\"v\":1.0}", "{\"v\":null}", "[1]"};
    for (size_t i = 0; i < FM_COUNT(bad); i++)
        if (!refuses(bad[i]))
            fail_msg("%s is taken", bad[i]);
    assert_non_null(fm_protocol_refuses(NULL));
}

static void what_must_be_understood_is_not_skipped(void **state)
{
    (void)state;
    assert_null(refuses("{\"v\":2,\"must\":[]}"));
    static const char *const bad[] = {"{\"v\":1,\"must\":[\"fence\"],\"fence\":1}",
                                      "{\"v\":2,\"must\":[\"fence\"]}",
                                      "{\"v\":2,\"must\":\"fence\"}", "{\"v\":2,\"must\":null}"};
    for (size_t i = 0; i < FM_COUNT(bad); i++)
        if (!strstr(refuses(bad[i]), "must be understood"))
            fail_msg("%s", bad[i]);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    char mem[128];
    struct fm_buf b = fm_buf(mem, sizeof mem - 1);
    fm_protocol_begin(&b);
    fm_buf_lit(&b, ",\"more\":1}");
    mem[b.n] = 0;
    assert_null(refuses(mem));
    json_t *o = fm_protocol_stamp(json_object());
    assert_non_null(o);
    assert_null(fm_protocol_refuses(o));
    json_decref(o);
    assert_null(fm_protocol_stamp(NULL));
}

static void status_says_it(void **state)
{
    (void)state;
    json_t *o = fm_protocol_json();
    int speaks, least, most;
    assert_int_equal(json_unpack(o, "{s:i,s:[i,i]}", "speaks", &speaks, "reads", &least, &most), 0);
    assert_int_equal(speaks, fm_protocol());
    assert_true(least <= speaks && most == speaks + 1);
    json_decref(o);
}

FM_TEST_MAIN(fm_test(one_version_apart_is_read), fm_test(who_does_not_say_a_version_is_refused),
             fm_test(what_must_be_understood_is_not_skipped), fm_test(what_is_written_is_read),
             fm_test(status_says_it))
