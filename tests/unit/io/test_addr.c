/* Addresses: strict in, canonical out. */
#include "test.h"

#include "io/addr.h"

static void reads_and_writes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *canonical, *ip;
        uint16_t port;
        bool loopback;
    } cases[] = {
        {"127.0.0.1:80", "127.0.0.1:80", "127.0.0.1", 80, true},
        {"127.9.9.9:0", "127.9.9.9:0", "127.9.9.9", 0, true},
        {"0.0.0.0:65535", "0.0.0.0:65535", "0.0.0.0", 65535, false},
        {"10.0.0.1:00080", "10.0.0.1:80", "10.0.0.1", 80, false},
        {"[::1]:80", "[::1]:80", "::1", 80, true},
        {"[::]:1", "[::]:1", "::", 1, false},
        {"[2001:DB8:0:0::1]:443", "[2001:db8::1]:443", "2001:db8::1", 443, false},
        {"[::ffff:127.0.0.1]:80", "127.0.0.1:80", "127.0.0.1", 80, true},
        {"[::ffff:10.0.0.1]:80", "10.0.0.1:80", "10.0.0.1", 80, false},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_addr a;
        char out[FM_ADDR_TEXT_MAX];
        assert_int_equal(fm_addr_parse(&a, fm_str_z(cases[i].text)), FM_ERR_OK);
        assert_int_equal(fm_addr_format(&a, out), strlen(cases[i].canonical));
        assert_string_equal(out, cases[i].canonical);
        assert_int_equal(fm_addr_format_ip(&a, out), strlen(cases[i].ip));
        assert_string_equal(out, cases[i].ip);
        assert_int_equal(fm_addr_port(&a), cases[i].port);
        assert_int_equal(fm_addr_is_loopback(&a), cases[i].loopback);
    }
}

static void refuses_what_is_no_address(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "80",
        ":80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:-1",
        "127.0.0.1:65536",
        "127.0.0.1: 80",
        "127.1:80",
        "localhost:80",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[]:80",
        "[127.0.0.1:80",
        "[::1:80",
        "256.0.0.1:80",
        "1.2.3.4.5:80",
        "[::1%lo]:80",
        "[:::]:80",
    };
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        struct fm_addr a;
        if (fm_addr_parse(&a, fm_str_z(bad[i])) != FM_ERR_INVALID)
            fail_msg("accepted: %s", bad[i]);
    }
    struct fm_addr a;
    assert_int_equal(fm_addr_ip(&a, fm_str("127.0.0.1\0", 10), 80), FM_ERR_INVALID);
}

static void compares_by_meaning(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool eq;
    } cases[] = {
        {"127.0.0.1:80", "127.0.0.1:80", true},  {"127.0.0.1:80", "127.0.0.1:81", false},
        {"127.0.0.1:80", "127.0.0.2:80", false}, {"[::1]:80", "[0:0::1]:80", true},
        {"[::1]:80", "[::2]:80", false},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_addr a, b;
        assert_int_equal(fm_addr_parse(&a, fm_str_z(cases[i].a)), FM_ERR_OK);
        assert_int_equal(fm_addr_parse(&b, fm_str_z(cases[i].b)), FM_ERR_OK);
        assert_int_equal(fm_addr_eq(&a, &b), cases[i].eq);
    }
}

static void knows_unix_paths(void **state)
{
    (void)state;
    struct fm_addr a, b, ip;
    char out[FM_ADDR_TEXT_MAX], longest[sizeof a.un.sun_path];
    assert_int_equal(fm_addr_unix(&a, FM_STR("/run/x.sock")), FM_ERR_OK);
    assert_int_equal(fm_addr_unix(&b, FM_STR("/run/y.sock")), FM_ERR_OK);
    assert_int_equal(fm_addr_parse(&ip, FM_STR("[::]:0")), FM_ERR_OK);
    assert_true(fm_addr_eq(&a, &a));
    assert_false(fm_addr_eq(&a, &b));
    assert_false(fm_addr_eq(&a, &ip));
    assert_true(fm_addr_is_loopback(&a));
    assert_int_equal(fm_addr_port(&a), 0);
    fm_addr_format(&a, out);
    assert_string_equal(out, "unix:/run/x.sock");
    fm_addr_format_ip(&a, out);
    assert_string_equal(out, "unix");
    assert_int_equal(fm_addr_unix(&a, FM_STR("")), FM_ERR_LIMIT);
    memset(longest, 'x', sizeof longest);
    assert_int_equal(fm_addr_unix(&a, fm_str(longest, sizeof longest)), FM_ERR_LIMIT);
    assert_int_equal(fm_addr_unix(&a, fm_str(longest, sizeof longest - 1)), FM_ERR_OK);
    assert_int_equal(fm_addr_format(&a, out), sizeof longest - 1 + strlen("unix:"));
}

static void maps_ipv4_into_sixteen_bytes(void **state)
{
    (void)state;
    static const uint8_t v4[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3};
    static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1}, none[16];
    struct fm_addr a;
    uint8_t out[16];
    assert_int_equal(fm_addr_ip(&a, FM_STR("10.1.2.3"), 1), FM_ERR_OK);
    fm_addr_bytes(&a, out);
    assert_memory_equal(out, v4, 16);
    assert_int_equal(fm_addr_ip(&a, FM_STR("2001:db8::1"), 1), FM_ERR_OK);
    fm_addr_bytes(&a, out);
    assert_memory_equal(out, v6, 16);
    assert_int_equal(fm_addr_unix(&a, FM_STR("/x")), FM_ERR_OK);
    fm_addr_bytes(&a, out);
    assert_memory_equal(out, none, 16);
}

FM_TEST_MAIN(fm_test(reads_and_writes), fm_test(refuses_what_is_no_address),
             fm_test(compares_by_meaning), fm_test(knows_unix_paths),
             fm_test(maps_ipv4_into_sixteen_bytes))
