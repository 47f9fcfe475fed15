/* A program with an end: whoever of its guards is killed or frozen, it ends in time, with all that
 * it started; and nobody says so before it is so. */
#include "net.h"

#include "io/ward.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct net net;

static struct {
    struct fm_ward ward;
    unsigned overs;
    struct fm_ward_end end;
    char tool[PATH_MAX];
    char folder[64];
    char pids[96]; /* where the program writes the numbers of its children */
} t;

static void is_over(struct fm_ward *w, const struct fm_ward_end *end)
{
    assert_ptr_equal(w, &t.ward);
    assert_false(w->running);
    t.overs++;
    t.end = *end;
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    net_open(&net, 1024, 4);
    memset(&t, 0, sizeof t);
    ssize_t n = readlink("/proc/self/exe", t.tool, sizeof t.tool - 16);
    assert_true(n > 0);
    t.tool[n] = 0;
    char *slash = strrchr(t.tool, '/');
    assert_non_null(slash);
    memcpy(slash, "/ward_tool", sizeof "/ward_tool");
    snprintf(t.folder, sizeof t.folder, "/tmp/fulmar-ward-XXXXXX");
    assert_non_null(mkdtemp(t.folder));
    snprintf(t.pids, sizeof t.pids, "%s/pids", t.folder);
    return rc;
}

static int teardown(void **state)
{
    (void)unlink(t.pids);
    (void)rmdir(t.folder);
    net_close(&net);
    return fm_test_fds_after(state);
}

static struct fm_ward_times until_ms(int64_t term_ms, int64_t kill_ms)
{
    struct fm_mono now = fm_mono_now();
    return (struct fm_ward_times){fm_mono_add_ms(now, term_ms), fm_mono_add_ms(now, kill_ms)};
}

static void start_sh(const char *script, struct fm_ward_times times)
{
    struct fm_error e;
    char *argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, (char *)(uintptr_t)script, t.pids, NULL};
    struct fm_ward_options o = {.executable = t.tool,
                                .argv = argv,
                                .uid = geteuid(),
                                .out_fd = STDERR_FILENO,
                                .term_signo = SIGINT,
                                .times = times};
    assert_int_equal(fm_ward_start(&t.ward, &net.loop, &o, is_over, &e), FM_ERR_OK);
}

/* Two that leave their session, one of which is an orphan, as a database's processes do. It is deaf
 * to SIGINT. What it waits with is short: nobody may end that one where both guards are killed. */
#define FAMILY                                                                                     \
    "trap '' INT; setsid sleep 1000 & echo $! > $0.1; (setsid sleep 1000 & echo $! >> $0.1); "     \
    "mv $0.1 $0; while :; do sleep 0.05; done"

enum { FAMILY_N = 2 };

static void read_family(pid_t pid[FAMILY_N])
{
    NET_UNTIL(&net, t.ward.program > 0 && access(t.pids, F_OK) == 0);
    FILE *f = fopen(t.pids, "r");
    assert_non_null(f);
    char line[32];
    for (unsigned i = 0; i < FAMILY_N; i++) {
        assert_non_null(fgets(line, sizeof line, f));
        pid[i] = (pid_t)strtol(line, NULL, 10);
        assert_true(pid[i] > 1);
    }
    fclose(f);
}

static bool is_gone(pid_t pid)
{
    return kill(pid, 0) < 0;
}

/* The owner is busy meanwhile: what is said waits for it, behind the end of the socket. */
static void sleep_until_gone(pid_t guard)
{
    for (unsigned i = 0; i < 30000 && !is_gone(guard); i++)
        (void)poll(NULL, 0, 1);
    assert_true(is_gone(guard));
}

static void assert_gone(const pid_t pid[FAMILY_N])
{
    assert_true(is_gone(t.ward.program) && is_gone(pid[0]) && is_gone(pid[1]));
}

static void wait_over(void)
{
    NET_UNTIL(&net, t.overs == 1);
    net_turn_ms(&net, 2);
    assert_int_equal(t.overs, 1);
}

static void ends_in_order(void **state)
{
    (void)state;
    start_sh("trap 'exit 7' INT; echo > $0; while :; do sleep 0.01; done", until_ms(60000, 60000));
    NET_UNTIL(&net, access(t.pids, F_OK) == 0);
    fm_ward_end(&t.ward, SIGINT, 30000);
    wait_over();
    assert_true(t.end.reaped && !t.end.forced);
    assert_true(WIFEXITED(t.end.status));
    assert_int_equal(WEXITSTATUS(t.end.status), 7);
}

static void kills_what_does_not_end_when_told(void **state)
{
    (void)state;
    pid_t pid[FAMILY_N];
    start_sh(FAMILY, until_ms(60000, 60000));
    read_family(pid);
    fm_ward_end(&t.ward, SIGINT, 50);
    wait_over();
    assert_true(t.end.reaped && t.end.forced);
    assert_gone(pid);
}

static void kills_what_a_dead_program_leaves(void **state)
{
    (void)state;
    pid_t pid[FAMILY_N];
    start_sh(FAMILY, until_ms(60000, 60000));
    read_family(pid);
    assert_int_equal(kill(t.ward.program, SIGKILL), 0);
    wait_over();
    assert_true(t.end.reaped && !t.end.forced && WIFSIGNALED(t.end.status));
    assert_gone(pid);
}

static void ends_where_the_owner_is_silent(void **state)
{
    (void)state;
    pid_t pid[FAMILY_N];
    start_sh(FAMILY, until_ms(60000, 60000));
    read_family(pid);
    struct fm_ward_times soon = until_ms(20, 60);
    fm_ward_set(&t.ward, &soon);
    wait_over(); /* the owner says nothing more */
    assert_true(t.end.reaped && t.end.forced);
    assert_gone(pid);
}

static void is_given_no_more_time_once_it_was_asked(void **state)
{
    (void)state;
    pid_t pid[FAMILY_N];
    start_sh(FAMILY, until_ms(60000, 60000));
    read_family(pid);
    struct fm_ward_times soon = until_ms(20, 200), later = until_ms(60000, 60000);
    fm_ward_set(&t.ward, &soon);
    (void)poll(NULL, 0, 40);
    fm_ward_set(&t.ward, &later);
    assert_int_equal(t.ward.times.kill_at.ns, soon.kill_at.ns);
    wait_over();
    assert_true(t.end.reaped && t.end.forced);
    assert_gone(pid);
}

static void goes_on_while_it_is_renewed(void **state)
{
    (void)state;
    pid_t pid[FAMILY_N];
    start_sh(FAMILY, until_ms(60000, 60000));
    read_family(pid);
    for (unsigned i = 0; i < 10; i++) {
        struct fm_ward_times times = until_ms(30000, 30000);
        fm_ward_set(&t.ward, &times);
        net_turn_ms(&net, 5);
    }
    assert_int_equal(t.overs, 0);
    assert_false(is_gone(pid[0]));
    assert_true(fm_ward_discard(&t.ward));
    assert_int_equal(t.overs, 0);
    assert_gone(pid);
}

static void ends_where_its_guard_is_killed(void **state)
{
    (void)state;
    pid_t pid[FAMILY_N];
    start_sh(FAMILY, until_ms(60000, 60000));
    read_family(pid);
    assert_int_equal(kill(t.ward.guard, SIGKILL), 0);
    wait_over();
    assert_true(t.end.reaped && t.end.forced);
    assert_gone(pid);
}

static void ends_where_the_second_is_killed(void **state)
{
    (void)state;
    pid_t pid[FAMILY_N];
    start_sh(FAMILY, until_ms(60000, 60000));
    read_family(pid);
    struct fm_ward_times soon = until_ms(100, 200);
    fm_ward_set(&t.ward, &soon);
    net_turn_ms(&net, 50);
    assert_int_equal(kill(t.ward.second.pid, SIGKILL), 0);
    fm_ward_set(&t.ward, &soon); /* nobody reads this */
    sleep_until_gone(t.ward.guard);
    wait_over();
    assert_true(t.end.reaped && t.end.forced);
    assert_gone(pid);
}

static void ends_where_its_guard_is_frozen(void **state)
{
    (void)state;
    pid_t pid[FAMILY_N];
    start_sh(FAMILY, until_ms(60000, 60000));
    read_family(pid);
    assert_int_equal(kill(t.ward.guard, SIGSTOP), 0);
    struct fm_ward_times soon = until_ms(20, 60);
    fm_ward_set(&t.ward, &soon);
    wait_over();
    assert_true(t.end.reaped && t.end.forced);
    assert_gone(pid);
}

static void wakes_those_that_are_frozen_and_late(void **state)
{
    (void)state;
    pid_t pid[FAMILY_N];
    start_sh(FAMILY, until_ms(60000, 60000));
    read_family(pid);
    assert_int_equal(kill(t.ward.guard, SIGSTOP), 0);
    assert_int_equal(kill(t.ward.second.pid, SIGSTOP), 0);
    struct fm_ward_times soon = until_ms(20, 60);
    fm_ward_set(&t.ward, &soon);
    wait_over();
    assert_true(t.end.reaped && t.end.forced);
    assert_true(t.ward.steps > 0);
    assert_gone(pid);
}

static void does_not_vouch_where_both_are_killed(void **state)
{
    (void)state;
    pid_t pid[FAMILY_N];
    start_sh(FAMILY, until_ms(60000, 60000));
    read_family(pid);
    pid_t guard = t.ward.guard, program = t.ward.program;
    assert_int_equal(kill(t.ward.second.pid, SIGSTOP), 0);
    assert_int_equal(kill(guard, SIGKILL), 0);
    assert_int_equal(kill(t.ward.second.pid, SIGKILL), 0);
    wait_over();
    assert_false(t.end.reaped);
    (void)kill(program, SIGKILL);
    for (unsigned i = 0; i < FAMILY_N; i++)
        (void)kill(pid[i], SIGKILL);
}

static void tells_what_cannot_be_started(void **state)
{
    (void)state;
    struct fm_error e;
    char *argv[] = {(char[]){"/nowhere/postgres"}, NULL};
    struct fm_ward_options o = {.executable = t.tool,
                                .argv = argv,
                                .uid = geteuid(),
                                .out_fd = -1,
                                .term_signo = SIGINT,
                                .times = until_ms(60000, 60000)};
    assert_int_equal(fm_ward_start(&t.ward, &net.loop, &o, is_over, &e), FM_ERR_OK);
    wait_over();
    assert_true(t.end.reaped && WIFEXITED(t.end.status));
    assert_int_equal(WEXITSTATUS(t.end.status), 127);
    /* and another one, at once */
    t.overs = 0;
    start_sh("exit 3", until_ms(60000, 60000));
    wait_over();
    assert_int_equal(WEXITSTATUS(t.end.status), 3);
}

static void does_not_start_what_has_no_time(void **state)
{
    (void)state;
    start_sh("echo > $0", until_ms(-10, -5));
    wait_over();
    assert_true(t.end.reaped);
    assert_int_not_equal(access(t.pids, F_OK), 0);
}

static void refuses_without_its_executable(void **state)
{
    (void)state;
    struct fm_error e;
    char *argv[] = {(char[]){"/bin/true"}, NULL};
    struct fm_ward_options o = {.executable = "/nowhere/fulmar",
                                .argv = argv,
                                .uid = geteuid(),
                                .out_fd = -1,
                                .term_signo = SIGINT,
                                .times = until_ms(60000, 60000)};
    assert_int_equal(fm_ward_start(&t.ward, &net.loop, &o, is_over, &e), FM_ERR_NOT_FOUND);
    assert_false(t.ward.running);
    fm_ward_set(&t.ward, &o.times); /* nobody is there */
    fm_ward_end(&t.ward, SIGINT, 5);
    assert_true(fm_ward_discard(&t.ward));
}

#define WARD_TEST(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(WARD_TEST(ends_in_order), WARD_TEST(kills_what_does_not_end_when_told),
             WARD_TEST(kills_what_a_dead_program_leaves), WARD_TEST(ends_where_the_owner_is_silent),
             WARD_TEST(is_given_no_more_time_once_it_was_asked),
             WARD_TEST(goes_on_while_it_is_renewed), WARD_TEST(ends_where_its_guard_is_killed),
             WARD_TEST(ends_where_the_second_is_killed), WARD_TEST(ends_where_its_guard_is_frozen),
             WARD_TEST(wakes_those_that_are_frozen_and_late),
             WARD_TEST(does_not_vouch_where_both_are_killed),
             WARD_TEST(tells_what_cannot_be_started), WARD_TEST(does_not_start_what_has_no_time),
             WARD_TEST(refuses_without_its_executable))
