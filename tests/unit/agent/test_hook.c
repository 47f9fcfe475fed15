/* Commands that do something: how they end is told once, with the last of what they said. */
#include "test.h"

#include "agent/hook.h"
#include "net.h"

#include <stdlib.h>

static struct net net;
static struct fm_hook hook;
static unsigned overs;

static void over(struct fm_hook *h)
{
    assert_ptr_equal(h, &hook);
    assert_false(fm_hook_is_running(h));
    overs++;
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    net_open(&net, 1024, 4);
    overs = 0;
    fm_hook_init(&hook, &net.loop, over);
    return rc;
}

static int teardown(void **state)
{
    fm_hook_stop(&hook);
    net_close(&net);
    return fm_test_fds_after(state);
}

static void start(const char *script, int64_t timeout_ms)
{
    const struct fm_str argv[] = {FM_STR("/bin/sh"), FM_STR("-c"), fm_str_z(script)};
    const char *const env[][2] = {{"FULMAR_REGION", "north"}, {"PATH_LIKE", ""}, {NULL, NULL}};
    struct fm_hook_run r = {.argv = argv, .n = 3, .timeout_ms = timeout_ms, .env = env};
    fm_hook_start(&hook, &r);
    assert_true(fm_hook_is_running(&hook));
}

static void finish(void)
{
    unsigned before = overs;
    NET_UNTIL(&net, overs > before);
    assert_int_equal(overs, before + 1);
}

static void tells_how_it_ended_and_what_it_said(void **state)
{
    (void)state;
    start("echo region=$FULMAR_REGION$PATH_LIKE; [ -n \"$PATH\" ]", 5000);
    finish();
    assert_true(hook.ok);
    assert_string_equal(hook.output, "region=north\n");
    assert_non_null(strstr(hook.why, "exit code 0 after "));
    start("echo first; echo no such unit >&2; exit 3", 5000);
    finish();
    assert_false(hook.ok);
    assert_string_equal(hook.output, "first\nno such unit\n");
    assert_non_null(strstr(hook.why, "exit code 3 after "));
    assert_non_null(strstr(hook.why, "; it said: first no such unit"));
    start("kill -TERM $$", 5000);
    finish();
    assert_false(hook.ok);
    assert_string_equal(hook.output, "");
    assert_non_null(strstr(hook.why, "ended by signal 15"));
}

static void what_it_adds_to_the_environment_counts(void **state)
{
    (void)state;
    assert_int_equal(setenv("FULMAR_REGION", "elsewhere", 1), 0);
    start("printf %s $FULMAR_REGION", 5000);
    finish();
    assert_string_equal(hook.output, "north");
    assert_int_equal(unsetenv("FULMAR_REGION"), 0);
}

static void a_long_and_strange_output_is_cut_and_tamed(void **state)
{
    (void)state;
    start("i=0; while [ $i -lt 2000 ]; do echo 0123456789; i=$((i+1)); done; "
          "printf 'a\\033[2Jb\\377\\000c\\n'; exit 1",
          20000);
    finish();
    assert_int_equal(strlen(hook.output), FM_HOOK_OUTPUT_ROOM);
    assert_string_equal(hook.output + FM_HOOK_OUTPUT_ROOM - 10, "a?[2Jb??c\n");
    assert_true(strlen(hook.why) < FM_HOOK_WHY_ROOM);
    assert_non_null(strstr(hook.why, "a?[2Jb??c"));
    assert_null(strchr(hook.why, '\n'));
}

static void what_takes_too_long_is_killed_with_its_children(void **state)
{
    (void)state;
    start("echo begun; sleep 600", 60000);
    NET_UNTIL(&net, hook.child.output_n > 0);
    net_skip_ms(60000);
    finish();
    assert_false(hook.ok);
    assert_non_null(strstr(hook.why, "did not end within 60000 ms and was killed; it said: begun"));
}

static void what_cannot_be_started_has_failed_later(void **state)
{
    (void)state;
    const struct fm_str argv[] = {FM_STR("/nowhere/at-all")};
    struct fm_hook_run r = {.argv = argv, .n = 1, .timeout_ms = 1000};
    fm_hook_start(&hook, &r);
    assert_int_equal(overs, 0);
    assert_true(fm_hook_is_running(&hook));
    finish();
    assert_false(hook.ok);
    assert_non_null(strstr(hook.why, "/nowhere/at-all"));
}

static void what_is_stopped_tells_nothing(void **state)
{
    (void)state;
    start("sleep 600", 600000);
    fm_hook_stop(&hook);
    assert_false(fm_hook_is_running(&hook));
    net_turn_ms(&net, 20);
    assert_int_equal(overs, 0);
    start("exit 0", 5000); /* and may be started again */
    finish();
    assert_true(hook.ok);
}

#define T(fn) fm_test_with(fn, setup, teardown)
FM_TEST_MAIN(T(tells_how_it_ended_and_what_it_said), T(what_it_adds_to_the_environment_counts),
             T(a_long_and_strange_output_is_cut_and_tamed),
             T(what_takes_too_long_is_killed_with_its_children),
             T(what_cannot_be_started_has_failed_later), T(what_is_stopped_tells_nothing))
