/* Children and signals on a loop. */
#include "net.h"

#include "io/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct net net;

struct run {
    struct fm_child child;
    unsigned exits;
    int status;
    char output[256];
};

static struct run run;

static void on_exit_(struct fm_child *c, int status)
{
    struct run *r = fm_container_of(c, struct run, child);
    assert_false(c->running);
    r->exits++;
    r->status = status;
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    net_open(&net, 1024, 4);
    run = (struct run){.exits = 0};
    return rc;
}

static int teardown(void **state)
{
    net_close(&net);
    return fm_test_fds_after(state);
}

static char *z(const char *literal)
{
    return (char *)(uintptr_t)literal;
}

#define SH(script) ((char *[]){z("/bin/sh"), z("-c"), z(script), NULL})

static enum fm_err start(char *const *argv, struct fm_child_options o, struct fm_error *e)
{
    o.argv = argv;
    o.output = run.output;
    o.output_cap = o.output_cap ? o.output_cap : sizeof run.output;
    return fm_child_start(&run.child, &net.loop, &o, on_exit_, e);
}

static void finish(void)
{
    NET_UNTIL(&net, run.exits == 1);
    net_turn_ms(&net, 1);
    assert_int_equal(run.exits, 1);
}

static struct fm_str output(void)
{
    return fm_str(run.output, run.child.output_n);
}

static void tells_how_a_child_ended(void **state)
{
    (void)state;
    static const struct {
        const char *script;
        int code, signo;
    } cases[] = {{"exit 0", 0, 0}, {"exit 7", 7, 0}, {"kill -TERM $$", 0, SIGTERM}};
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        run = (struct run){.exits = 0};
        assert_int_equal(start(SH(cases[i].script), (struct fm_child_options){0}, NULL), FM_ERR_OK);
        assert_true(run.child.running);
        finish();
        if (cases[i].signo)
            assert_true(WIFSIGNALED(run.status) && WTERMSIG(run.status) == cases[i].signo);
        else
            assert_true(WIFEXITED(run.status) && WEXITSTATUS(run.status) == cases[i].code);
        assert_false(run.child.timed_out);
    }
}

static void keeps_what_a_child_says(void **state)
{
    (void)state;
    assert_int_equal(
        start(SH("echo out; echo err >&2; printf end"), (struct fm_child_options){0}, NULL),
        FM_ERR_OK);
    finish();
    assert_str(output(), "out\nerr\nend");
}

static void keeps_no_more_than_the_cap(void **state)
{
    (void)state;
    assert_int_equal(start(SH("i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done"),
                           (struct fm_child_options){.output_cap = 15}, NULL),
                     FM_ERR_OK);
    finish(); /* it is not left waiting for a reader */
    assert_int_equal(WEXITSTATUS(run.status), 0);
    assert_str(output(), "0123456789\n0123");
}

static void keeps_the_end_where_that_was_asked_for(void **state)
{
    (void)state;
    assert_int_equal(
        start(SH("i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done; printf why"),
              (struct fm_child_options){.output_cap = 30, .output_last = true}, NULL),
        FM_ERR_OK);
    finish();
    assert_int_equal(WEXITSTATUS(run.status), 0);
    assert_str(output(), "6789\n0123456789\n0123456789\nwhy");
    run = (struct run){.exits = 0};
    assert_int_equal(start(SH("printf short"),
                           (struct fm_child_options){.output_cap = 30, .output_last = true}, NULL),
                     FM_ERR_OK);
    finish();
    assert_str(output(), "short");
}

static void a_child_that_never_stops_talking_does_not_hold_the_loop(void **state)
{
    (void)state;
    assert_int_equal(
        start(SH("exec yes"), (struct fm_child_options){.output_cap = 8, .timeout_ms = 500}, NULL),
        FM_ERR_OK);
    uint64_t turns = net.loop.turns;
    net_turn_ms(&net, 20);
    assert_true(net.loop.turns > turns + 2);
    NET_UNTIL(&net, run.child.output_n == 8);
    net_skip_ms(500);
    finish();
    assert_true(run.child.timed_out);
    assert_str(output(), "y\ny\ny\ny\n");
}

static void kills_a_child_that_takes_too_long(void **state)
{
    (void)state;
    assert_int_equal(start(SH("echo before; exec sleep 100"),
                           (struct fm_child_options){.timeout_ms = 1000}, NULL),
                     FM_ERR_OK);
    NET_UNTIL(&net, run.child.output_n == 7);
    net_skip_ms(1001);
    finish();
    assert_true(run.child.timed_out);
    assert_true(WIFSIGNALED(run.status) && WTERMSIG(run.status) == SIGKILL);
    assert_str(output(), "before\n");
}

static bool is_gone(pid_t pid)
{
    char path[64], state = 'Z';
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return true;
    if (fscanf(f, "%*d %*s %c", &state) != 1)
        state = 'Z';
    fclose(f);
    return state == 'Z' || state == 'X'; /* killed, and not reaped by whoever inherited it */
}

static pid_t pid_in(struct fm_str text)
{
    uint64_t pid = 0;
    assert_true(fm_str_u64(fm_str_cut(text, '\n', &text), &pid) && pid > 1);
    return (pid_t)pid;
}

static void kills_the_children_of_a_child_with_it(void **state)
{
    (void)state;
    assert_int_equal(start(SH("sleep 100 & echo $!; wait"), (struct fm_child_options){0}, NULL),
                     FM_ERR_OK);
    NET_UNTIL(&net, run.child.output_n > 1);
    pid_t grandchild = pid_in(output());
    assert_false(is_gone(grandchild));
    fm_child_kill(&run.child, SIGTERM);
    finish();
    NET_UNTIL(&net, is_gone(grandchild));
    fm_child_kill(&run.child, SIGTERM); /* nothing happens any more */
}

static void does_not_wait_for_who_holds_its_output(void **state)
{
    (void)state;
    assert_int_equal(start(SH("sleep 100 & echo $!"), (struct fm_child_options){0}, NULL),
                     FM_ERR_OK);
    finish();
    kill(pid_in(output()), SIGKILL);
}

static void a_discarded_child_is_killed_and_says_nothing(void **state)
{
    (void)state;
    assert_int_equal(
        start(SH("exec sleep 100"), (struct fm_child_options){.timeout_ms = 1000}, NULL),
        FM_ERR_OK);
    pid_t pid = run.child.pid;
    fm_child_discard(&run.child);
    assert_true(is_gone(pid));
    fm_child_discard(&run.child);
    net_skip_ms(2000);
    net_turn_ms(&net, 2);
    assert_int_equal(run.exits, 0);
}

static void says_what_cannot_be_started(void **state)
{
    (void)state;
    static const struct {
        const char *program;
        const char *cwd;
        enum fm_err err;
    } cases[] = {
        {"/no/such/program", NULL, FM_ERR_NOT_FOUND},
        {"no-such-program-in-the-path", NULL, FM_ERR_NOT_FOUND},
        {"/etc/passwd", NULL, FM_ERR_PERMISSION},
        {"/bin/true", "/no/such/folder", FM_ERR_NOT_FOUND},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_error e;
        assert_int_equal(start((char *[]){z(cases[i].program), NULL},
                               (struct fm_child_options){.cwd = cases[i].cwd}, &e),
                         cases[i].err);
        assert_non_null(strstr(e.msg, cases[i].program));
        assert_false(run.child.running);
        fm_child_kill(&run.child, SIGKILL);
        fm_child_discard(&run.child);
    }
    assert_int_equal(run.exits, 0);
}

static void gives_a_child_its_folder_and_its_environment(void **state)
{
    (void)state;
    assert_int_equal(
        start(SH("pwd; echo $A"),
              (struct fm_child_options){.cwd = "/", .envp = (char *[]){z("A=b"), NULL}}, NULL),
        FM_ERR_OK);
    finish();
    assert_str(output(), "/\nb\n");
}

static void gives_a_child_nothing_else(void **state)
{
    (void)state;
    char script[128];
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (int sig = 1; sig < 32; sig++) /* whoever runs this test may ignore some */
        (void)signal(sig, SIG_DFL);
    fm_signals_block();
    snprintf(script, sizeof script,
             "test -e /proc/$$/fd/%d || echo gone; grep -E 'SigBlk|SigIgn' /proc/self/status", fd);
    assert_int_equal(start(SH(script), (struct fm_child_options){0}, NULL), FM_ERR_OK);
    finish();
    close(fd);
    assert_str(output(), "gone\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

static void writes_to_the_descriptors_it_is_given(void **state)
{
    (void)state;
    int fd[2];
    char text[32];
    assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
    struct fm_child_options o = {
        .argv = SH("echo out; echo err >&2; cat"), .out_fd = fd[1], .err_fd = -1};
    assert_int_equal(fm_child_start(&run.child, &net.loop, &o, on_exit_, NULL), FM_ERR_OK);
    finish();
    close(fd[1]);
    assert_int_equal(read(fd[0], text, sizeof text), 4);
    assert_memory_equal(text, "out\n", 4);
    close(fd[0]);
}

/* A process that starts a child and is killed before it can do anything about it. */
static void dies_with_its_parent(struct fm_child_options o)
{
    int fd[2];
    assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
    pid_t parent = fork();
    if (parent == 0) {
        struct fm_loop l;
        struct fm_child c;
        o.out_fd = o.err_fd = -1;
        if (fm_loop_init(&l, NULL, NULL) || fm_child_start(&c, &l, &o, on_exit_, NULL) ||
            write(fd[1], &c.pid, sizeof c.pid) != sizeof c.pid)
            _exit(1);
        raise(SIGKILL);
    }
    pid_t child;
    close(fd[1]);
    assert_int_equal(read(fd[0], &child, sizeof child), sizeof child);
    close(fd[0]);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    NET_UNTIL(&net, is_gone(child));
}

static void a_child_does_not_outlive_its_parent(void **state)
{
    (void)state;
    dies_with_its_parent((struct fm_child_options){.argv = SH("exec sleep 100")});
    /* by a signal that it may take as it likes */
    dies_with_its_parent((struct fm_child_options){
        .argv = SH("trap 'exit 0' QUIT; trap '' TERM; while :; do sleep 0.01; done"),
        .death_signal = SIGQUIT});
}

static void a_child_of_another_user_does_not_either(void **state)
{
    (void)state;
    struct fm_child_user u;
    assert_int_equal(fm_child_user_find(&u, "nobody", NULL), FM_ERR_OK);
    if (geteuid() != 0)
        skip();
    dies_with_its_parent((struct fm_child_options){.argv = SH("exec sleep 100"), .user = &u});
}

/* As `nobody`, where this may become that. */
static void a_child_becomes_the_user_it_is_to_be(void **state)
{
    (void)state;
    struct fm_child_user u;
    assert_int_equal(fm_child_user_find(&u, "nobody", NULL), FM_ERR_OK);
    assert_int_equal(fm_child_user_may(&u), geteuid() == 0 || geteuid() == u.uid);
    struct fm_child_options o = {.user = &u};
    if (!fm_child_user_may(&u)) {
        assert_int_equal(start(SH("exit 0"), o, NULL), FM_ERR_PERMISSION);
        assert_false(run.child.running);
        return;
    }
    assert_int_equal(start(SH("id -un; id -G; grep -c '^CapEff:.0*$' /proc/self/status; "
                              "grep Uid /proc/self/status | tr -s '\\t' '\\n' | sort -u | wc -l"),
                           o, NULL),
                     FM_ERR_OK);
    finish();
    char expected[64];
    snprintf(expected, sizeof expected, "nobody\n%u\n1\n2\n", (unsigned)u.gid);
    assert_str(output(), expected);
}

static void says_whom_it_cannot_find(void **state)
{
    (void)state;
    struct fm_child_user u;
    struct fm_error e;
    assert_int_equal(fm_child_user_find(&u, "no-such-user", &e), FM_ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "no-such-user"));
}

/* 3 = it has a descriptor too many; else its argument. */
static int look_around(void *arg)
{
    for (int fd = 3; fd < 256; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            return 3;
    return write(1, "here", 4) == 4 ? *(int *)arg : 4;
}

static void runs_a_function_of_ours(void **state)
{
    (void)state;
    int code = 42;
    assert_int_equal(start((char *[]){z("looking"), NULL},
                           (struct fm_child_options){.body = look_around, .arg = &code}, NULL),
                     FM_ERR_OK);
    finish();
    assert_true(WIFEXITED(run.status));
    assert_int_equal(WEXITSTATUS(run.status), 42);
    assert_str(output(), "here");
}

static int wait_for_ever(void *arg)
{
    (void)arg;
    while (pause() < 0) {
    }
    return 0;
}

static void ends_a_function_that_takes_too_long(void **state)
{
    (void)state;
    assert_int_equal(start((char *[]){z("waiting"), NULL},
                           (struct fm_child_options){.body = wait_for_ever, .timeout_ms = 1000},
                           NULL),
                     FM_ERR_OK);
    net_skip_ms(1001);
    finish();
    assert_true(run.child.timed_out && WIFSIGNALED(run.status));
}

/* -------- signals -------- */

static int got[8];
static unsigned ngot;

static void on_signal(struct fm_signals *s, int signo)
{
    assert_ptr_equal(s->loop, &net.loop);
    assert_true(ngot < FM_COUNT(got));
    got[ngot++] = signo;
}

static void signals_come_as_events(void **state)
{
    (void)state;
    static const int sent[] = {SIGHUP, SIGINT, SIGUSR1, SIGTERM};
    struct fm_signals s;
    ngot = 0;
    fm_signals_block();
    assert_int_equal(fm_signals_open(&s, &net.loop, on_signal, NULL), FM_ERR_OK);
    for (size_t i = 0; i < FM_COUNT(sent); i++) {
        kill(getpid(), sent[i]);
        NET_UNTIL(&net, ngot == i + 1);
        assert_int_equal(got[i], sent[i]);
    }
    int fd[2]; /* a broken pipe is an error and no signal */
    assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
    close(fd[0]);
    assert_int_equal(write(fd[1], "x", 1), -1);
    assert_int_equal(errno, EPIPE);
    close(fd[1]);
    fm_signals_close(&s);
}

/* What a careless parent may leave behind: SIGCHLD ignored, so that the kernel reaps children. */
static void waits_for_children_although_the_parent_ignored_them(void **state)
{
    (void)state;
    signal(SIGCHLD, SIG_IGN);
    fm_signals_block();
    struct fm_child_options o = {.argv = SH("exit 7"), .out_fd = -1, .err_fd = -1};
    assert_int_equal(fm_child_start(&run.child, &net.loop, &o, on_exit_, NULL), FM_ERR_OK);
    finish();
    assert_true(WIFEXITED(run.status));
    assert_int_equal(WEXITSTATUS(run.status), 7);
}

/* In a child, which may close what it likes: the exit code is 0, or the number of the step. */
static int with_closed_descriptors(void)
{
    struct stat st, null;
    close(0);
    close(2);
    if (!fm_std_descriptors())
        return 1;
    if (stat("/dev/null", &null) != 0)
        return 2;
    for (int fd = 0; fd <= 2; fd++)
        if (fstat(fd, &st) != 0 || (fd != 1 && st.st_rdev != null.st_rdev))
            return 3;
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC), before = next;
    close(next);
    if (!fm_std_descriptors()) /* all are there: nothing is opened */
        return 4;
    next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return next == before ? 0 : 5;
}

/* The kernel tells how large its table is. */
static unsigned long table_size(void)
{
    char line[256];
    unsigned long n = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && !n && fgets(line, sizeof line, f))
        if (strncmp(line, "FDSize:", 7) == 0)
            n = strtoul(line + 7, NULL, 10);
    if (f)
        fclose(f);
    return n;
}

static int with_room_for_descriptors(void)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) != 0 || lim.rlim_max < 512)
        return 1;
    lim.rlim_cur = 100;
    lim.rlim_max = 512;
    if (setrlimit(RLIMIT_NOFILE, &lim) != 0 || !fm_descriptors_raise())
        return 2;
    if (getrlimit(RLIMIT_NOFILE, &lim) != 0 || lim.rlim_cur != 512)
        return 3;
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC); /* nothing stays open */
    return table_size() < 512 ? 4 : next >= 100 ? 5 : 0;
}

static void makes_room_for_descriptors(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(with_room_for_descriptors());
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void fills_the_standard_descriptors(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(with_closed_descriptors());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void signals_that_cannot_be_had_can_be_closed(void **state)
{
    (void)state;
    struct fm_signals s;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    enum fm_err err = fm_signals_open(&s, &net.loop, on_signal, NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(err, FM_ERR_LIMIT);
    fm_signals_close(&s);
    fm_signals_close(&s);
}

#define with_net(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_net(tells_how_a_child_ended), with_net(keeps_what_a_child_says),
             with_net(keeps_no_more_than_the_cap), with_net(keeps_the_end_where_that_was_asked_for),
             with_net(a_child_that_never_stops_talking_does_not_hold_the_loop),
             with_net(kills_a_child_that_takes_too_long),
             with_net(kills_the_children_of_a_child_with_it),
             with_net(does_not_wait_for_who_holds_its_output),
             with_net(a_discarded_child_is_killed_and_says_nothing),
             with_net(says_what_cannot_be_started),
             with_net(gives_a_child_its_folder_and_its_environment),
             with_net(gives_a_child_nothing_else), with_net(writes_to_the_descriptors_it_is_given),
             with_net(a_child_does_not_outlive_its_parent),
             with_net(a_child_becomes_the_user_it_is_to_be), with_net(says_whom_it_cannot_find),
             with_net(a_child_of_another_user_does_not_either), with_net(runs_a_function_of_ours),
             with_net(ends_a_function_that_takes_too_long), with_net(signals_come_as_events),
             with_net(waits_for_children_although_the_parent_ignored_them),
             with_net(makes_room_for_descriptors), with_net(fills_the_standard_descriptors),
             with_net(signals_that_cannot_be_had_can_be_closed))
