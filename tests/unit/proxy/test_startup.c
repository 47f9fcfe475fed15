/* The first packet to PostgreSQL. */
#include "test.h"

#include "proxy/startup.h"

#include <stdlib.h>
#include <string.h>

#define SESSION "\0\0\0\x17\0\x03\0\0user\0ann\0db\0x\0\0"

/* Each length of it but the whole is not enough. */
static struct fm_startup parse(const char *bytes, size_t n)
{
    struct fm_startup s = {0};
    for (size_t i = 0; i <= n; i++) {
        char *copy = malloc(i ? i : 1);
        assert_non_null(copy);
        memcpy(copy, bytes, i);
        s = fm_startup_parse(fm_str(copy, i));
        free(copy);
        if (s.kind != FM_STARTUP_MORE)
            break;
    }
    return s;
}

#define PARSE(literal) parse(literal, sizeof(literal) - 1)

static void bad(struct fm_startup s, const char *state)
{
    assert_int_equal(s.kind, FM_STARTUP_BAD);
    assert_string_equal(s.state, state);
    assert_true(strlen(s.why) > 0);
}

static void knows_the_kinds(void **state)
{
    (void)state;
    struct fm_startup s = PARSE(SESSION);
    assert_int_equal(s.kind, FM_STARTUP_SESSION);
    assert_int_equal(s.n, sizeof SESSION - 1);
    assert_int_equal(PARSE("\0\0\0\x08\x04\xd2\x16\x2f").kind, FM_STARTUP_TLS);
    assert_int_equal(PARSE("\0\0\0\x08\x04\xd2\x16\x30").kind, FM_STARTUP_GSS);
    s = PARSE("\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01"
              "abcd");
    assert_int_equal(s.kind, FM_STARTUP_CANCEL);
    assert_int_equal(s.n, 16);
}

static void leaves_what_follows_a_session_alone(void **state)
{
    (void)state;
    char bytes[sizeof SESSION + 4] = {0};
    memcpy(bytes, SESSION, sizeof SESSION - 1);
    struct fm_startup s = fm_startup_parse(fm_str(bytes, sizeof bytes));
    assert_int_equal(s.kind, FM_STARTUP_SESSION);
    assert_int_equal(s.n, sizeof SESSION - 1);
}

static void a_newer_minor_version_is_for_the_server(void **state)
{
    (void)state;
    assert_int_equal(PARSE("\0\0\0\x11\0\x03\0\x02user\0b\0\0\0").kind, FM_STARTUP_BAD);
    assert_int_equal(PARSE("\0\0\0\x10\0\x03\0\x02user\0b\0\0").kind, FM_STARTUP_SESSION);
}

static void refuses_lengths_out_of_bounds(void **state)
{
    (void)state;
    bad(PARSE("\0\0\0\x07\0\x03\0\0"), "08P01");
    bad(PARSE("\0\0\0\0\0\x03\0\0"), "08P01");
    bad(PARSE("\xff\xff\xff\xff\0\x03\0\0"), "08P01");
    bad(PARSE("\0\0\x27\x11\0\x03\0\0"), "08P01"); /* 10,001 */
    bad(PARSE("GET / HTTP/1.1\r\n"), "08P01");
    bad(PARSE("\x16\x03\x01\x02\0\x01"), "08P01"); /* TLS without being asked */
    bad(PARSE("\0\0\0\x09\x04\xd2\x16\x2fz"), "08P01");
    bad(PARSE("\0\0\0\x0c\x04\xd2\x16\x2e\0\0\0\x01"), "08P01"); /* a cancel without a key */
}

static void refuses_other_protocols(void **state)
{
    (void)state;
    bad(PARSE("\0\0\0\x09\0\x02\0\0\0"), "0A000");
    bad(PARSE("\0\0\0\x09\0\x04\0\0\0"), "0A000");
    bad(PARSE("\0\0\0\x09\x04\xd2\0\x01\0"), "0A000");
}

static void refuses_parameters_that_do_not_end(void **state)
{
    (void)state;
    bad(PARSE("\0\0\0\x08\0\x03\0\0"), "08P01");              /* no end */
    bad(PARSE("\0\0\0\x0d\0\x03\0\0user\0"), "08P01");        /* no value */
    bad(PARSE("\0\0\0\x0f\0\x03\0\0user\0ab"), "08P01");      /* no end of the value */
    bad(PARSE("\0\0\0\x0f\0\x03\0\0user\0b\0"), "08P01");     /* no end of the list */
    bad(PARSE("\0\0\0\x0b\0\x03\0\0\0b\0"), "08P01");         /* no name */
    bad(PARSE("\0\0\0\x12\0\x03\0\0user\0b\0\0zz"), "08P01"); /* more behind the end */
    bad(PARSE("\0\0\0\x09\0\x03\0\0\0"), "28000");
    bad(PARSE("\0\0\0\x0f\0\x03\0\0user\0\0\0"), "28000");
}

static void refuses_what_is_stuffed_behind_a_request(void **state)
{
    (void)state;
    const char tls[] = "\0\0\0\x08\x04\xd2\x16\x2f" SESSION;
    bad(fm_startup_parse(fm_str(tls, sizeof tls - 1)), "08P01");
}

static void errors_are_of_the_protocol(void **state)
{
    (void)state;
    char out[FM_STARTUP_ERROR_MAX];
    static const char want[] = "E\0\0\0\x21SFATAL\0VFATAL\0C57P03\0Mmoves\0";
    size_t n = fm_startup_error(out, "57P03", "moves");
    assert_int_equal(n, sizeof want);
    assert_memory_equal(out, want, n);
    char big[2000];
    memset(big, 'm', sizeof big - 1);
    big[sizeof big - 1] = 0;
    n = fm_startup_error(out, "53300", big);
    assert_int_equal(n, sizeof out);
    assert_int_equal(out[n - 1], 0);
    assert_int_equal(out[n - 2], 0);
    assert_int_equal((unsigned char)out[3] * 256 + (unsigned char)out[4], n - 1);
}

FM_TEST_MAIN(fm_test(knows_the_kinds), fm_test(leaves_what_follows_a_session_alone),
             fm_test(a_newer_minor_version_is_for_the_server),
             fm_test(refuses_lengths_out_of_bounds), fm_test(refuses_other_protocols),
             fm_test(refuses_parameters_that_do_not_end),
             fm_test(refuses_what_is_stuffed_behind_a_request), fm_test(errors_are_of_the_protocol))
