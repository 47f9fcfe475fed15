/* A gate's journal without a gate, for the system tests to kill.
 *
 *   journal_tool PATH PREFIX IN_FLIGHT COUNT BODY
 *
 * sends COUNT commands (see driver.h) through the journal at PATH, or goes on until it is killed
 * where COUNT is 0, and says on stdout what has been acknowledged, one line each: `intent N`,
 * `outcome N`. Exit 1 where the journal refuses. */
#include "base/buf.h"
#include "driver.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* Few, so that keys are on their way to the index whenever it is killed. */
enum { KEPT_BACK = 512 };

struct run {
    struct driver driver;
    char mem[65536];
    struct fm_buf said;
    bool refused;
};

static void flush(struct run *r)
{
    for (size_t at = 0; at < r->said.n;) {
        ssize_t n = write(STDOUT_FILENO, r->said.p + at, r->said.n - at);
        if (n < 0 && errno != EINTR)
            _exit(1);
        at += n > 0 ? (size_t)n : 0;
    }
    r->said.n = 0;
}

static void note(void *user, enum driver_event what, const struct driver_command *c)
{
    struct run *r = user;
    if (r->said.cap - r->said.n < 64)
        flush(r);
    if (what == DRIVER_INTENT)
        fm_buf_printf(&r->said, "intent %llu\n", (unsigned long long)c->n);
    else if (what == DRIVER_OUTCOME)
        fm_buf_printf(&r->said, "outcome %llu\n", (unsigned long long)c->n);
    else
        r->refused = true;
    if (r->refused)
        driver_stop(&r->driver);
}

static int run(struct fm_journal *j, const struct driver_options *options)
{
    static struct run r;
    struct driver_options o = *options;
    struct fm_pool pool;
    struct fm_loop loop;
    struct fm_error e;
    r.said = fm_buf(r.mem, sizeof r.mem);
    o.event = note;
    o.user = &r;
    fm_pool_init(&pool, 1024, 1);
    if (fm_loop_init(&loop, &pool, &e) || driver_open(&r.driver, &loop, j, &o, &e)) {
        fprintf(stderr, "journal_tool: %s\n", e.msg);
        return 1;
    }
    driver_start(&r.driver);
    while (!driver_is_over(&r.driver)) {
        fm_loop_turn(&loop, FM_NS_PER_S);
        flush(&r);
    }
    flush(&r);
    driver_close(&r.driver);
    fm_loop_deinit(&loop);
    fm_pool_deinit(&pool);
    if (r.refused && fm_journal_failure(j, &e))
        fprintf(stderr, "journal_tool: %s\n", e.msg);
    return r.refused;
}

int main(int argc, char **argv)
{
    uint64_t in_flight, count, body;
    if (argc != 6 || !fm_str_u64(fm_str_z(argv[3]), &in_flight) ||
        !fm_str_u64(fm_str_z(argv[4]), &count) || !fm_str_u64(fm_str_z(argv[5]), &body) ||
        in_flight == 0 || in_flight > 4096 || body > 1 << 20) {
        fprintf(stderr, "journal_tool PATH PREFIX IN_FLIGHT COUNT BODY\n");
        return 64;
    }
    struct fm_error e;
    struct fm_journal *j =
        fm_journal_open(&(struct fm_journal_options){.path = argv[1],
                                                     .service = "bank",
                                                     .retention_ms = INT64_C(24) * 3600 * 1000,
                                                     .calls_max = 10000,
                                                     .answer_max = 1 << 20,
                                                     .bytes_max = UINT64_C(1) << 34,
                                                     .queue_max = 1000,
                                                     .queue_bytes_max = 1 << 20,
                                                     .keys_kept_back = KEPT_BACK},
                        &e);
    if (!j) {
        fprintf(stderr, "journal_tool: %s\n", e.msg);
        return 1;
    }
    struct driver_options o = {.prefix = argv[2],
                               .in_flight = (unsigned)in_flight,
                               .count = count ? count : UINT64_MAX,
                               .body = body};
    int code = run(j, &o);
    fm_journal_close(j);
    return code;
}
