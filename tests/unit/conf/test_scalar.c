/* The small languages inside of values. */
#include "test.h"

#include "conf/addr.h"

static void reads_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms; /* -1 = refused */
    } cases[] = {
        {"0s", 0},
        {"1ms", 1},
        {"200ms", 200},
        {"1.5s", 1500},
        {"15m", 900000},
        {"24h", 86400000},
        {"14d", 1209600000},
        {"0.001s", 1},
        {"106751d", 9223286400000},
        {"106752d", -1},
        {"", -1},
        {"5", -1},
        {"s", -1},
        {"-1s", -1},
        {"+1s", -1},
        {"1 s", -1},
        {" 1s", -1},
        {"1s ", -1},
        {"1S", -1},
        {"1us", -1},
        {"0.5ms", -1},
        {"1.s", -1},
        {".5s", -1},
        {"1.2.3s", -1},
        {"01s", -1},
        {"1m30s", -1},
        {"99999999999999999999d", -1},
        {"9223372036854775807d", -1},
        {"0x10s", -1},
        {"1e3s", -1},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_fault f;
        int64_t ms = -1;
        bool good = fm_scalar_duration(fm_str_z(cases[i].text), &ms, &f);
        if (good != (cases[i].ms >= 0) || ms != cases[i].ms)
            fail_msg("%s gave %d, %lld ms", cases[i].text, good, (long long)ms);
        if (!good)
            assert_true(f.why[0]);
    }
}

static void reads_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
        bool good;
    } cases[] = {
        {"0B", 0, true},
        {"512B", 512, true},
        {"64KiB", 65536, true},
        {"0.5KiB", 512, true},
        {"1TiB", UINT64_C(1) << 40, true},
        {"16777215TiB", UINT64_C(16777215) << 40, true},
        {"16777216TiB", 0, false},
        {"64", 0, false},
        {"64KB", 0, false},
        {"64kib", 0, false},
        {"0.1B", 0, false},
        {"", 0, false},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_fault f;
        uint64_t bytes = 0;
        bool good = fm_scalar_size(fm_str_z(cases[i].text), &bytes, &f);
        if (good != cases[i].good || bytes != cases[i].bytes)
            fail_msg("%s gave %d, %llu", cases[i].text, good, (unsigned long long)bytes);
    }
}

static void reads_rates_and_shares(void **state)
{
    (void)state;
    struct fm_fault f;
    uint64_t v;
    uint32_t ppm;
    assert_true(fm_scalar_byte_rate(FM_STR("1KiB/s"), &v, &f) && v == 1024);
    assert_false(fm_scalar_byte_rate(FM_STR("1KiB"), &v, &f));
    assert_false(fm_scalar_byte_rate(FM_STR("5000/s"), &v, &f));
    assert_string_equal(f.advice, "write a size per second: `5000B/s` or `5000KiB/s`");
    assert_false(fm_scalar_byte_rate(FM_STR("/s"), &v, &f));
    assert_true(fm_scalar_rate(FM_STR("5000/s"), &v, &f) && v == 5000);
    assert_false(fm_scalar_rate(FM_STR("5000"), &v, &f));
    assert_string_equal(f.advice, "write `5000/s`");
    assert_false(fm_scalar_rate(FM_STR("0.5/s"), &v, &f));
    assert_true(fm_scalar_percent(FM_STR("20%"), &ppm, &f) && ppm == 200000);
    assert_true(fm_scalar_percent(FM_STR("0.0001%"), &ppm, &f) && ppm == 1);
    assert_true(fm_scalar_percent(FM_STR("100%"), &ppm, &f) && ppm == 1000000);
    assert_false(fm_scalar_percent(FM_STR("100.1%"), &ppm, &f));
    assert_false(fm_scalar_percent(FM_STR("0.00001%"), &ppm, &f));
    assert_false(fm_scalar_percent(FM_STR("20"), &ppm, &f));
}

static void reads_names_and_methods(void **state)
{
    (void)state;
    struct fm_fault f;
    char longest[64];
    memset(longest, 'a', sizeof longest);
    assert_true(fm_scalar_name(FM_STR("west-1"), &f));
    assert_true(fm_scalar_name(fm_str(longest, 63), &f));
    assert_false(fm_scalar_name(fm_str(longest, 64), &f));
    static const char *const bad[] = {"", "1st", "-a", "West", "a_b", "a.b", "\xc3\xa9"};
    for (size_t i = 0; i < FM_COUNT(bad); i++)
        assert_false(fm_scalar_name(fm_str_z(bad[i]), &f));
    assert_true(fm_scalar_method(FM_STR("M-SEARCH"), &f));
    assert_false(fm_scalar_method(FM_STR("get"), &f));
    assert_false(fm_scalar_method(FM_STR("CONNECT"), &f));
    assert_true(fm_scalar_token(FM_STR("X-User"), &f));
    assert_false(fm_scalar_token(FM_STR("a:b"), &f));
    assert_false(fm_scalar_token(FM_STR(""), &f));
}

static void writes_as_one_would(void **state)
{
    (void)state;
    assert_string_equal(fm_scalar_duration_text(0).s, "0ms");
    assert_string_equal(fm_scalar_duration_text(1500).s, "1500ms");
    assert_string_equal(fm_scalar_duration_text(60000).s, "1m");
    assert_string_equal(fm_scalar_duration_text(90000).s, "90s");
    assert_string_equal(fm_scalar_size_text(65536).s, "64KiB");
    assert_string_equal(fm_scalar_size_text(0).s, "0B");
    assert_string_equal(fm_scalar_size_text(1025).s, "1025B");
    assert_string_equal(fm_scalar_percent_text(200000).s, "20%");
    assert_string_equal(fm_scalar_percent_text(5000).s, "0.5%");
    assert_string_equal(fm_scalar_percent_text(0).s, "0%");
}

static void reads_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        unsigned port; /* 0 = refused */
        bool is_ip;
    } cases[] = {
        {"10.0.1.10:8080", "10.0.1.10", 8080, true},
        {"[::1]:80", "::1", 80, true},
        {"app_1.internal:65535", "app_1.internal", 65535, false},
        {"localhost:1", "localhost", 1, false},
        {"::1:80", "", 0, false},
        {"::1", "", 0, false},
        {"[::1]", "", 0, false},
        {"[::1]80", "", 0, false},
        {"[::1:80", "", 0, false},
        {"[10.0.0.1]:80", "", 0, false},
        {"10.0.0.1", "", 0, false},
        {"10.0.0.1:", "", 0, false},
        {"10.0.0.1:0", "", 0, false},
        {"10.0.0.1:65536", "", 0, false},
        {"10.0.0.1:+80", "", 0, false},
        {"10.0.0:80", "", 0, false},
        {"010.0.0.1:80", "", 0, false},
        {"256.0.0.1:80", "", 0, false},
        {":80", "", 0, false},
        {"", "", 0, false},
        {"a b:80", "", 0, false},
        {"a..b:80", "", 0, false},
        {"-a:80", "", 0, false},
        {"http://a:80", "", 0, false},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_arena arena;
        struct fm_conf_addr a = {.port = 0};
        struct fm_fault f = {.memory = false};
        fm_arena_init(&arena, NULL, 0, 1 << 16);
        bool good = fm_conf_addr_target(&arena, fm_str_z(cases[i].text), &a, &f);
        if (good != (cases[i].port != 0))
            fail_msg("%s gave %d: %s", cases[i].text, good, f.why);
        if (good) {
            assert_str(a.host, cases[i].host);
            assert_str(a.text, cases[i].text);
            assert_int_equal(a.port, cases[i].port);
            assert_int_equal(a.is_ip, cases[i].is_ip);
            assert_int_equal(a.host.p[a.host.n], '\0');
        } else {
            assert_true(f.why[0]);
        }
        fm_arena_deinit(&arena);
    }
}

static void reads_networks(void **state)
{
    (void)state;
    struct fm_conf_cidr net;
    struct fm_fault f;
    static const uint8_t v4[16] = {[10] = 0xff, 0xff, 10, 0, 9, 0};
    assert_true(fm_conf_addr_cidr(FM_STR("10.0.9.0/24"), &net, &f));
    assert_memory_equal(net.addr, v4, 16);
    assert_int_equal(net.bits, 120);
    assert_true(fm_conf_addr_cidr(FM_STR("10.0.9.7"), &net, &f) && net.bits == 128);
    assert_true(fm_conf_addr_cidr(FM_STR("0.0.0.0/0"), &net, &f) && net.bits == 96);
    assert_true(fm_conf_addr_cidr(FM_STR("fd00::/8"), &net, &f) && net.bits == 8);
    assert_true(fm_conf_addr_cidr(FM_STR("::/0"), &net, &f) && net.bits == 0);
    static const char *const bad[] = {"",           "10.0.9.0/33", "10.0.9.0/",  "10.0.9.0/-1",
                                      "10.0.9.0/a", "10.0.9/24",   "fd00::/129", "name/8"};
    for (size_t i = 0; i < FM_COUNT(bad); i++)
        assert_false(fm_conf_addr_cidr(fm_str_z(bad[i]), &net, &f));
    assert_false(fm_conf_addr_cidr(FM_STR("10.0.9.1/24"), &net, &f));
    assert_string_equal(f.advice, "write `10.0.9.0/24` for the network or `10.0.9.1` for the one "
                                  "address");
}

static void knows_loopback_and_overlap(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool overlap;
    } cases[] = {
        {"0.0.0.0:80", "10.0.0.1:80", true}, {"0.0.0.0:80", "10.0.0.1:81", false},
        {"[::]:80", "[::1]:80", true},       {"[::]:80", "0.0.0.0:80", false},
        {"[::1]:80", "[0:0::1]:80", true},   {"127.0.0.1:80", "127.0.0.2:80", false},
    };
    struct fm_arena arena;
    struct fm_fault f;
    struct fm_conf_addr a = {.port = 0}, b = {.port = 0};
    fm_arena_init(&arena, NULL, 0, 1 << 16);
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        assert_true(fm_conf_addr_bind(&arena, fm_str_z(cases[i].a), &a, &f));
        assert_true(fm_conf_addr_bind(&arena, fm_str_z(cases[i].b), &b, &f));
        assert_int_equal(fm_conf_addr_overlap(&a, &b), cases[i].overlap);
        assert_int_equal(fm_conf_addr_overlap(&b, &a), cases[i].overlap);
    }
    static const char *const loopback[] = {"127.0.0.1", "127.9.9.9", "::1", "localhost"};
    static const char *const other[] = {"10.0.0.1", "0.0.0.0", "::", "fd00::1", "localhost.x"};
    for (size_t i = 0; i < FM_COUNT(loopback); i++)
        assert_true(fm_conf_addr_host(&arena, fm_str_z(loopback[i]), &a, &f) &&
                    fm_conf_addr_is_loopback(&a));
    for (size_t i = 0; i < FM_COUNT(other); i++)
        assert_true(fm_conf_addr_host(&arena, fm_str_z(other[i]), &a, &f) &&
                    !fm_conf_addr_is_loopback(&a));
    assert_false(fm_conf_addr_bind(&arena, FM_STR("localhost:80"), &a, &f));
    fm_arena_deinit(&arena);
}

static void reads_urls(void **state)
{
    (void)state;
    struct fm_arena arena;
    struct fm_fault f;
    struct fm_conf_addr a = {.port = 0};
    struct fm_str path, host;
    fm_arena_init(&arena, NULL, 0, 1 << 16);
    assert_true(
        fm_conf_addr_http_url(&arena, FM_STR("http://a.b:81/ping?x=1"), &a, &path, &host, &f));
    assert_str(a.host, "a.b");
    assert_int_equal(a.port, 81);
    assert_str(path, "/ping?x=1");
    assert_str(host, "a.b:81");
    assert_true(fm_conf_addr_http_url(&arena, FM_STR("http://[::1]"), &a, &path, &host, &f));
    assert_str(a.host, "::1");
    assert_int_equal(a.port, 80);
    assert_str(path, "/");
    assert_str(host, "[::1]");
    static const char *const bad[] = {"",
                                      "a.b/ping",
                                      "https://a.b/",
                                      "http://",
                                      "http:///x",
                                      "http://a.b?x",
                                      "http://a.b/x y",
                                      "http://a.b/#x",
                                      "http://u@a/",
                                      "http://a.b:0/",
                                      "http://a.b:/"};
    for (size_t i = 0; i < FM_COUNT(bad); i++)
        if (fm_conf_addr_http_url(&arena, fm_str_z(bad[i]), &a, &path, &host, &f))
            fail_msg("accepted %s", bad[i]);
    fm_arena_deinit(&arena);
}

static void reads_so_many_in_a_time(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t times;
        int64_t ms; /* -1 = refused */
    } cases[] = {
        {"2 per 6h", 2, 21600000},
        {"0 per 1ms", 0, 1},
        {"16 per 1.5s", 16, 1500},
        {"2", 0, -1},
        {"2 per", 0, -1},
        {"2 per ", 0, -1},
        {" per 6h", 0, -1},
        {"per 6h", 0, -1},
        {"2per6h", 0, -1},
        {"2  per 6h", 0, -1},
        {"2 per  6h", 0, -1},
        {"2 per 6", 0, -1},
        {"-2 per 6h", 0, -1},
        {"2 per 6h per 1h", 0, -1},
        {"", 0, -1},
        {"2 in 6h", 0, -1},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_fault f;
        uint64_t times = 0;
        int64_t ms = -1;
        bool good = fm_scalar_at_most(fm_str_z(cases[i].text), &times, &ms, &f);
        if (good != (cases[i].ms >= 0) || (good && (times != cases[i].times || ms != cases[i].ms)))
            fail_msg("%s gave %d, %llu in %lld ms", cases[i].text, good, (unsigned long long)times,
                     (long long)ms);
        if (!good)
            assert_true(f.why[0]);
    }
}

static void reads_hours_of_days(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int days, from, to; /* days 0 = refused */
    } cases[] = {
        {"Sun 02:00-05:00 UTC", 1, 120, 300},
        {"02:00-05:00 UTC", 127, 120, 300},
        {"Mon-Fri 22:00-02:00 UTC", 0x3e, 1320, 120},
        {"Fri-Mon 00:00-24:00 UTC", 0x63, 0, 1440},
        {"Sat,Sun,Wed 00:00-00:01 UTC", 0x49, 0, 1},
        {"Sun-Sun 23:59-00:00 UTC", 1, 1439, 0},
        {"Mon-Fri,Sun 22:30-02:00 UTC", 0x3f, 1350, 120},
        {"Sun 02:00-05:00", 0, 0, 0},
        {"Sun 02:00-05:00 CET", 0, 0, 0},
        {"Sun 02:00-05:00UTC", 0, 0, 0},
        {"02:00-02:00 UTC", 0, 0, 0},
        {"24:00-02:00 UTC", 0, 0, 0},
        {"02:00-24:01 UTC", 0, 0, 0},
        {"02:60-03:00 UTC", 0, 0, 0},
        {"2:00-3:00 UTC", 0, 0, 0},
        {"02:00 UTC", 0, 0, 0},
        {"02:00- UTC", 0, 0, 0},
        {"02:00-05:00-06:00 UTC", 0, 0, 0},
        {"sun 02:00-05:00 UTC", 0, 0, 0},
        {"Sunday 02:00-05:00 UTC", 0, 0, 0},
        {"Sun, 02:00-05:00 UTC", 0, 0, 0},
        {"Sun- 02:00-05:00 UTC", 0, 0, 0},
        {"Sun  02:00-05:00 UTC", 0, 0, 0},
        {"Sun UTC", 0, 0, 0},
        {" UTC", 0, 0, 0},
        {"UTC", 0, 0, 0},
        {"", 0, 0, 0},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_fault f;
        struct fm_conf_window w = {0};
        bool good = fm_scalar_window(fm_str_z(cases[i].text), &w, &f);
        if (good != (cases[i].days > 0) || w.days != cases[i].days || w.from_min != cases[i].from ||
            w.to_min != cases[i].to || w.present != good)
            fail_msg("%s gave %d, %x %u-%u", cases[i].text, good, w.days, w.from_min, w.to_min);
        if (!good)
            assert_true(f.why[0]);
    }
}

FM_TEST_MAIN(fm_test(reads_so_many_in_a_time), fm_test(reads_hours_of_days),
             fm_test(reads_durations), fm_test(reads_sizes), fm_test(reads_rates_and_shares),
             fm_test(reads_names_and_methods), fm_test(writes_as_one_would),
             fm_test(reads_addresses), fm_test(reads_networks), fm_test(knows_loopback_and_overlap),
             fm_test(reads_urls))
