/* The load generator has room for so many requests, and says when it is used up. */
#include "test.h"

#include "demo/load.h"

#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

enum { RATE = 2000, RECORDS = 40, PATIENCE_MS = 10000 };

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&t, &t) < 0) {
    }
}

/* An address where nobody listens. */
static struct fm_addr nobody(void)
{
    struct fm_addr a;
    assert_int_equal(fm_addr_ip(&a, FM_STR("127.0.0.1"), 0), FM_ERR_OK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, &a.sa, a.len), 0);
    assert_int_equal(getsockname(fd, &a.sa, &a.len), 0);
    close(fd);
    return a;
}

/* Every request leaves and fails in its own way; once there is no room for more it says so, so that
 * whoever wants traffic for longer starts another. */
static void is_spent_when_all_records_are_used(void **state)
{
    (void)state;
    struct fm_error e;
    struct fm_addr to = nobody();
    struct fm_load *l = fm_load_start(&to, FM_LOAD_BANK, RATE, 7, RECORDS, &e);
    assert_non_null(l);
    const struct fm_load_record *r = fm_load_records(l);
    size_t settled = 0;
    for (int ms = 0; ms < PATIENCE_MS && settled < RECORDS; ms++) {
        sleep_ms(1);
        settled = 0;
        for (size_t i = 0; i < RECORDS; i++)
            settled += atomic_load(&r[i].outcome) != FM_LOAD_PENDING;
    }
    assert_int_equal(settled, RECORDS);
    assert_true(fm_load_is_spent(l));
    assert_int_equal(fm_load_count(l), RECORDS);
    for (size_t i = 0; i < RECORDS; i++) {
        assert_int_equal(atomic_load(&r[i].outcome), FM_LOAD_CONNECT);
        assert_int_equal(r[i].due_ns - r[0].due_ns, (int64_t)i * FM_NS_PER_S / RATE);
        assert_int_equal(r[i].kind, i % 20 == 18 ? FM_LOAD_COMMAND
                                    : i % 5 == 3 ? FM_LOAD_EXCLUSIVE
                                                 : FM_LOAD_QUERY);
    }
    fm_load_stop(l, 1000);
    fm_load_free(l);
}

static void is_not_spent_before(void **state)
{
    (void)state;
    struct fm_error e;
    struct fm_addr to = nobody();
    struct fm_load *l = fm_load_start(&to, FM_LOAD_BANK, 1, 7, 1000000, &e);
    assert_non_null(l);
    assert_false(fm_load_is_spent(l));
    fm_load_stop(l, 1000);
    assert_false(fm_load_is_spent(l));
    fm_load_free(l);
}

FM_TEST_MAIN(fm_test(is_spent_when_all_records_are_used), fm_test(is_not_spent_before))
