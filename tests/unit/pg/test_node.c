/* Operations on a data directory, with programs that only play PostgreSQL's: what is run, in which
 * order, and what is left when something fails. Real ones: tests/system/test_pg_node.py. */
#include "net.h"

#include "pg/node.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct net net;
static struct fm_pg_node node;
static unsigned overs;
static char dir[64], bin[80], data[80];

#define PASSWORD "not-for-argv"

static const char *user(void)
{
    return geteuid() == 0 ? "nobody" : NULL;
}

static void over(struct fm_pg_node *n)
{
    assert_ptr_equal(n, &node);
    assert_false(fm_pg_node_is_busy(n));
    overs++;
}

static void shell(const char *fmt, ...)
{
    char command[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status)
        fail_msg("status %d: %s", status, command);
}

static void put(const char *path, mode_t mode, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

/* A program: it notes its name, its arguments and its environment, then does this. */
static void program(const char *name, const char *script)
{
    char path[160], text[2048];
    snprintf(path, sizeof path, "%s/%s", bin, name);
    snprintf(text, sizeof text,
             "#!/bin/sh\nd=%s b=%s\nprintf '%%s ' %s >>$b/log\n"
             "{ echo \"$@\"; env; } >>$b/told\n%s\n",
             data, bin, name, script);
    put(path, 0755, text);
}

static struct fm_str file(const char *folder, const char *name)
{
    static char text[8192];
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
    if (fd >= 0)
        close(fd);
    return fm_str(text, n > 0 ? (size_t)n : 0);
}

static bool is_there(const char *name)
{
    char path[200];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", data, name);
    return lstat(path, &st) == 0;
}

/* What pg_controldata says of a data directory is what stands in its file `control`. */
#define CONTROL(state, timeline, checkpoint, least, least_timeline)                                \
    "Database system identifier: 7\nDatabase cluster state: " state                                \
    "\nLatest checkpoint location: " checkpoint                                                    \
    "\nLatest checkpoint's REDO location: 0/1\nLatest checkpoint's TimeLineID: " timeline          \
    "\nMinimum recovery ending location: " least                                                   \
    "\nMin recovery ending loc's timeline: " least_timeline                                        \
    "\nwal_level setting: logical\nBytes per WAL segment: 16777216\n"                              \
    "Data page checksum version: 1\n"

#define FILL                                                                                       \
    "mkdir -p $at/global $at/pg_wal && echo 15 >$at/PG_VERSION && echo conf >$at/postgresql.conf " \
    "&& echo x >$at/global/pg_control && "
#define A_COPY    CONTROL("in production", "1", "0/100", "0/0", "0")
#define A_STANDBY CONTROL("in archive recovery", "2", "0/100", "0/200", "2")

static void usual_programs(void)
{
    program("pg_controldata", "cat \"$1/control\"");
    program("initdb", "at=$2; " FILL "cp $b/fresh $at/control");
    program("pg_receivewal", "");
    program("pg_basebackup", "at=$2; " FILL "cp $b/copy $at/control; : >$at/backup_label");
    program("pg_rewind", "cp $b/rewound $2/control");
    program("pg_ctl", "");
    program("postgres", "");
    char path[160];
    snprintf(path, sizeof path, "%s/fresh", bin);
    put(path, 0644, CONTROL("shut down", "1", "0/100", "0/0", "0"));
    snprintf(path, sizeof path, "%s/copy", bin);
    put(path, 0644, A_COPY);
    snprintf(path, sizeof path, "%s/rewound", bin);
    put(path, 0644, A_STANDBY);
}

static int setup(void **state)
{
    struct fm_error e;
    net_open(&net, 1024, 4);
    snprintf(dir, sizeof dir, "/tmp/fulmar-node-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    snprintf(bin, sizeof bin, "%s/bin", dir);
    snprintf(data, sizeof data, "%s/pg/data", dir);
    shell("mkdir -m 777 %s", bin);
    usual_programs();
    overs = 0;
    struct fm_pg_node_options o = {bin, data, user()};
    if (fm_pg_node_init(&node, &net.loop, &o, over, &e))
        fail_msg("%s", e.msg);
    return fm_test_fds_before(state);
}

static int teardown(void **state)
{
    int rc = fm_test_fds_after(state);
    fm_pg_node_deinit(&node);
    fm_pg_node_deinit(&node);
    shell("rm -rf %s", dir);
    net_close(&net);
    return rc;
}

/* -------- asking -------- */

static const struct fm_pg_upstream upstream = {FM_STR_INIT("10.0.0.2"), 5432, FM_STR_INIT("slot")};

static struct fm_pg_settings settings(bool follows)
{
    return (struct fm_pg_settings){.name = FM_STR("west-db-1"),
                                   .listen = FM_STR("127.0.0.1"),
                                   .port = 5432,
                                   .replication = FM_STR("fulmar_replication"),
                                   .upstream = follows ? &upstream : NULL};
}

static const struct fm_history second = {{2}, FM_STR_INIT("1\t0/180\tno recovery target\n")};

enum { TIME_MS = 600 * 1000 };

static bool ended(void)
{
    NET_UNTIL(&net, overs == 1);
    net_turn_ms(&net, 2);
    assert_int_equal(overs, 1);
    overs = 0;
    for (size_t i = 0; i < sizeof node.pass; i++)
        assert_true(node.pass[i] == 0 && node.admin_password[i] == 0);
    return node.outcome.ok;
}

static bool make(void)
{
    struct fm_pg_settings s = settings(false);
    assert_int_equal(fm_pg_node_make(&node, &s, FM_STR("admin"), FM_STR(PASSWORD), FM_STR(PASSWORD),
                                     TIME_MS, NULL),
                     FM_ERR_OK);
    assert_int_equal(overs, 0);
    return ended();
}

static bool clone_within(int64_t ms)
{
    struct fm_pg_settings s = settings(true);
    assert_int_equal(fm_pg_node_clone(&node, &s, FM_STR(PASSWORD), ms, NULL), FM_ERR_OK);
    return ended();
}

static bool rewind_(bool or_clone)
{
    struct fm_pg_settings s = settings(true);
    assert_int_equal(
        fm_pg_node_rewind(&node, &s, FM_STR(PASSWORD), &second, or_clone, TIME_MS, NULL),
        FM_ERR_OK);
    return ended();
}

static bool look(void)
{
    fm_pg_node_look(&node, TIME_MS);
    return ended();
}

static void assert_why(const char *begins, const char *has)
{
    if (strncmp(node.outcome.why, begins, strlen(begins)) != 0 || !strstr(node.outcome.why, has))
        fail_msg("%s", node.outcome.why);
}

static void assert_log(const char *programs)
{
    assert_str(file(bin, "log"), programs);
    shell(": >%s/log", bin);
}

/* A directory with data of a node, as if it had been there before. */
static void given(const char *control)
{
    assert_true(make());
    char path[160];
    snprintf(path, sizeof path, "%s/control", data);
    put(path, 0644, control);
    snprintf(path, sizeof path, "%s/pg_wal/00000002.history", data);
    put(path, 0644, "1\t0/180\tno recovery target\n");
    shell(": >%s/log; : >%s/told", bin, bin);
}

/* -------- tests -------- */

static void refuses_what_it_cannot_be(void **state)
{
    (void)state;
    static char longest[600];
    memset(longest, 'a', sizeof longest - 1);
    longest[0] = '/';
    const struct {
        struct fm_pg_node_options o;
        enum fm_err err;
    } cases[] = {
        {{"relative", data, user()}, FM_ERR_INVALID},
        {{bin, "relative", user()}, FM_ERR_INVALID},
        {{bin, "", user()}, FM_ERR_INVALID},
        {{bin, "/", user()}, FM_ERR_INVALID},
        {{bin, "//", user()}, FM_ERR_INVALID},
        {{NULL, data, user()}, FM_ERR_INVALID},
        {{bin, longest, user()}, FM_ERR_LIMIT},
        {{bin, data, "root"}, FM_ERR_PERMISSION},
        {{bin, data, "no-such-user"}, FM_ERR_NOT_FOUND},
    };
    static struct fm_pg_node other;
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_error e = {0};
        if (fm_pg_node_init(&other, &net.loop, &cases[i].o, over, &e) != cases[i].err)
            fail_msg("case %zu: %s", i, e.msg);
        fm_pg_node_deinit(&other);
    }
    struct fm_pg_node_options as_we_are = {bin, data, NULL};
    assert_int_equal(fm_pg_node_init(&other, &net.loop, &as_we_are, over, NULL),
                     geteuid() == 0 ? FM_ERR_PERMISSION : FM_ERR_OK);
    fm_pg_node_deinit(&other);
}

static void makes_a_system(void **state)
{
    (void)state;
    struct stat st;
    assert_true(make());
    assert_log("initdb pg_controldata ");
    assert_int_equal(node.look.found, FM_PG_DATA);
    assert_int_equal(node.look.version, 15);
    assert_int_equal(node.look.control.state, FM_PG_SHUT_DOWN);
    assert_false(node.look.is_standby || node.look.has_lock_file || node.look.is_copy);
    assert_str(file(data, "postgresql.conf"), "conf\n" FM_PG_INCLUDE_LINE "\n");
    assert_str(file(data, FM_PG_PASS_FILE), "*:*:*:fulmar_replication:" PASSWORD "\n");
    assert_false(is_there("fulmar.admin") || is_there("fulmar.making") || is_there("fulmar.made"));
    assert_int_equal(stat(data, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_false(make());
    assert_why("cannot see what is there: ", "data of PostgreSQL");
}

static void tells_secrets_to_nobody(void **state)
{
    (void)state;
    assert_true(make());
    assert_true(clone_within(TIME_MS));
    struct fm_str told = file(bin, "told");
    assert_true(told.n > 500 && told.n < 8192);
    assert_null(memmem(told.p, told.n, PASSWORD, strlen(PASSWORD)));
    assert_null(memmem(told.p, told.n, "PGHOST", 6));
    assert_null(memmem(told.p, told.n, "HOME=", 5));
    assert_non_null(memmem(told.p, told.n, "LC_ALL=C\n", 9));
}

static void finds_what_is_there(void **state)
{
    (void)state;
    assert_true(look());
    assert_int_equal(node.look.found, FM_PG_NOTHING);
    given(CONTROL("in archive recovery", "1", "0/100", "0/200", "2"));
    assert_true(look());
    assert_int_equal(node.look.found, FM_PG_DATA);
    assert_int_equal(node.look.history.timeline.n, 2);
    assert_int_equal(fm_history_origin(&node.look.history).end.n, 0x180);
    assert_log("pg_controldata ");
    shell("rm %s/pg_wal/*", data);
    assert_false(look());
    assert_why("cannot read the history of its timeline: ", "00000002.history");
    shell("echo nonsense >%s/pg_wal/00000002.history", data);
    assert_false(look());
    shell("echo WARNING: no >%s/control", data);
    assert_false(look());
    assert_why("cannot read the control data: ", "does not trust");
    program("pg_controldata", "echo 'it is \033[31mred' >&2; exit 3");
    assert_false(look());
    assert_why("cannot read the control data: exit code 3 ", "it said: it is ?[31mred");
    assert_string_equal(node.outcome.output, "it is ?[31mred\n");
    shell("echo fifteen >%s/PG_VERSION", data);
    assert_false(look());
    shell("mkdir %s/fulmar.making", data);
    assert_true(look());
    assert_int_equal(node.look.found, FM_PG_UNFINISHED);
    shell("rm -r %s/* && touch %s/letter", data, data);
    assert_true(look());
    assert_int_equal(node.look.found, FM_PG_FOREIGN);
    shell("rm %s/letter && mkdir %s/lost+found && touch %s/fulmar.pass", data, data, data);
    assert_true(look());
    assert_int_equal(node.look.found, FM_PG_NOTHING);
}

static void copies_only_when_the_upstream_answers(void **state)
{
    (void)state;
    given(CONTROL("in production", "1", "0/100", "0/0", "0"));
    program("pg_receivewal", "echo 'connection refused' >&2; exit 1");
    assert_false(clone_within(TIME_MS));
    assert_why("cannot reach the upstream and have a slot there: ", "connection refused");
    assert_log("pg_receivewal ");
    assert_true(is_there("PG_VERSION") && is_there("global/pg_control"));
    program("pg_receivewal", "");
    shell("touch %s/left-over", data);
    assert_true(clone_within(TIME_MS));
    assert_log("pg_receivewal pg_basebackup pg_controldata ");
    assert_true(node.look.is_standby && node.look.is_copy);
    assert_false(is_there("left-over"));
}

static void nothing_unfinished_is_started(void **state)
{
    (void)state;
    struct fm_child_options o;
    struct fm_error e;
    assert_int_equal(fm_pg_node_start(&node, &o, &e), FM_ERR_STATE);
    program("pg_basebackup", "at=$2; " FILL "exit 1");
    assert_false(clone_within(TIME_MS));
    assert_why("cannot take a base backup: exit code 1", "");
    assert_true(is_there("fulmar.making/global/pg_control"));
    assert_int_equal(fm_pg_node_start(&node, &o, &e), FM_ERR_STATE);
    assert_non_null(strstr(e.msg, "is not whole"));
    usual_programs();
    assert_true(clone_within(TIME_MS));
    assert_int_equal(fm_pg_node_start(&node, &o, &e), FM_ERR_OK);
    assert_string_equal(o.argv[1], "-D");
    assert_string_equal(o.argv[2], data);
    assert_null(o.argv[3]);
    assert_int_equal(o.death_signal, SIGQUIT);
    assert_true((o.user != NULL) == (geteuid() == 0));
    /* killed on its way up: the next operation goes on */
    shell("mkdir %s/fulmar.made && mv %s/global %s/PG_VERSION %s/fulmar.made", data, data, data,
          data);
    assert_int_equal(fm_pg_node_start(&node, &o, &e), FM_ERR_STATE);
    shell("chown --reference=%s %s/fulmar.made", data, data);
    assert_true(look());
    assert_int_equal(node.look.found, FM_PG_DATA);
    assert_int_equal(fm_pg_node_start(&node, &o, &e), FM_ERR_OK);
}

static void says_how_far_it_is(void **state)
{
    (void)state;
    assert_int_equal(fm_pg_node_percent(&node), -1);
    program("pg_basebackup", "echo '(3%) %) (x%) (77% (999999999999999999999999%)' >&2; "
                             "until test -e $b/go; do sleep 0.01; done; "
                             "printf '\\r 1/9 kB (11%%), 0/1 tablespace\\r 3/9 kB (33%%), 0' >&2; "
                             "until test -e $b/end; do sleep 0.01; done; exit 1");
    struct fm_pg_settings s = settings(true);
    assert_int_equal(fm_pg_node_clone(&node, &s, FM_STR(PASSWORD), TIME_MS, NULL), FM_ERR_OK);
    assert_true(fm_pg_node_is_busy(&node));
    assert_int_equal(fm_pg_node_percent(&node), -1);
    NET_UNTIL(&net, fm_pg_node_percent(&node) == 3);
    shell("touch %s/go", bin);
    NET_UNTIL(&net, fm_pg_node_percent(&node) == 33);
    shell("touch %s/end", bin);
    assert_false(ended());
    assert_int_equal(fm_pg_node_percent(&node), -1);
    assert_non_null(strstr(node.outcome.output, "\n 3/9 kB (33%), 0"));
}

static void ends_what_takes_too_long(void **state)
{
    (void)state;
    program("pg_basebackup", "echo begun; echo >$b/begun; exec sleep 1000");
    struct fm_pg_settings s = settings(true);
    assert_int_equal(fm_pg_node_clone(&node, &s, FM_STR(PASSWORD), 60000, NULL), FM_ERR_OK);
    NET_UNTIL(&net, file(bin, "begun").n == 1);
    net_skip_ms(60001);
    assert_false(ended());
    assert_why("cannot take a base backup: it was not over after ", "was killed; it said: begun");
    assert_true(node.outcome.took_ms >= 60000);
    assert_true(look());
    assert_int_equal(node.look.found, FM_PG_UNFINISHED);
}

static void a_node_that_goes_takes_its_programs_with_it(void **state)
{
    (void)state;
    program("pg_basebackup", "echo $$ >$b/pid; exec sleep 1000");
    struct fm_pg_settings s = settings(true);
    assert_int_equal(fm_pg_node_clone(&node, &s, FM_STR(PASSWORD), TIME_MS, NULL), FM_ERR_OK);
    NET_UNTIL(&net, file(bin, "pid").n > 1);
    uint64_t pid;
    struct fm_str rest;
    assert_true(fm_str_u64(fm_str_cut(file(bin, "pid"), '\n', &rest), &pid));
    fm_pg_node_deinit(&node);
    assert_int_equal(kill((pid_t)pid, 0), -1);
    net_turn_ms(&net, 5);
    assert_int_equal(overs, 0);
    assert_int_equal(node.pass[0], 0);
}

static void what_nobody_needs_is_not_copied_to_its_end(void **state)
{
    (void)state;
    program("pg_basebackup", "at=$2; " FILL "echo $$ >$b/pid; sleep 1000");
    fm_pg_node_give_up(&node); /* nothing runs */
    struct fm_pg_settings s = settings(true);
    assert_int_equal(fm_pg_node_clone(&node, &s, FM_STR(PASSWORD), 60000, NULL), FM_ERR_OK);
    NET_UNTIL(&net, file(bin, "pid").n > 1);
    fm_pg_node_give_up(&node);
    fm_pg_node_give_up(&node);
    assert_false(ended());
    assert_why("cannot take a base backup: nobody needs it any more", "");
    assert_int_equal(node.pass[0], 0);
    assert_true(look());
    assert_int_equal(node.look.found, FM_PG_UNFINISHED);
    assert_true(fm_pg_folder_is_unfinished(data));
    usual_programs();
    assert_int_equal(fm_pg_node_clone(&node, &s, FM_STR(PASSWORD), 60000, NULL), FM_ERR_OK);
    fm_pg_node_give_up(&node); /* before its first step */
    assert_false(ended());
    assert_why("cannot make the folder: nobody needs it any more", "");
    assert_true(clone_within(TIME_MS));
    assert_false(fm_pg_folder_is_unfinished(data));
}

static void what_would_lose_the_data_is_not_given_up(void **state)
{
    (void)state;
    static const struct {
        const char *end;
        bool good;
        const char *log;
    } cases[] = {
        {"cp $b/rewound $2/control", true,
         "pg_controldata pg_receivewal pg_rewind pg_controldata pg_controldata "},
        {"exit 1", false, "pg_controldata pg_receivewal pg_rewind "}, /* and no copy instead */
    };
    struct fm_pg_settings s = settings(true);
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char script[160];
        given(CONTROL("shut down", "1", "0/190", "0/0", "0"));
        snprintf(script, sizeof script,
                 "echo >$b/begun; until test -e $b/go; do sleep 0.01; done; %s", cases[i].end);
        program("pg_rewind", script);
        assert_int_equal(
            fm_pg_node_rewind(&node, &s, FM_STR(PASSWORD), &second, true, TIME_MS, NULL),
            FM_ERR_OK);
        NET_UNTIL(&net, file(bin, "begun").n == 1);
        fm_pg_node_give_up(&node);
        shell("touch %s/go", bin);
        assert_int_equal(ended(), cases[i].good);
        assert_log(cases[i].log);
        shell("rm -r %s %s/go %s/begun", data, bin, bin);
    }
    given(CONTROL("shut down", "1", "0/190", "0/0", "0"));
    program("pg_rewind", "exit 1");
    program("pg_basebackup", "echo >$b/begun; sleep 1000");
    assert_int_equal(fm_pg_node_rewind(&node, &s, FM_STR(PASSWORD), &second, true, TIME_MS, NULL),
                     FM_ERR_OK);
    NET_UNTIL(&net, file(bin, "begun").n == 1);
    fm_pg_node_give_up(&node); /* it has become a copy */
    assert_false(ended());
    assert_why("cannot take a base backup: nobody needs it any more", "");
}

/* -------- rewinding -------- */

static void what_can_follow_is_not_rewound(void **state)
{
    (void)state;
    given(CONTROL("shut down", "1", "0/100", "0/0", "0"));
    assert_true(rewind_(false));
    assert_int_equal(node.outcome.way, FM_PG_AS_IT_WAS);
    assert_log("pg_controldata pg_receivewal ");
    assert_true(is_there("standby.signal"));
}

static void rewinds_what_has_diverged(void **state)
{
    (void)state;
    given(CONTROL("shut down", "1", "0/190", "0/0", "0"));
    shell("touch %s/postmaster.pid", data);
    program("pg_rewind", "ls $d >$b/outside; ls $2 >$b/inside; cp $b/rewound $2/control");
    assert_true(rewind_(false));
    assert_int_equal(node.outcome.way, FM_PG_REWOUND);
    assert_log("pg_controldata pg_receivewal pg_rewind pg_controldata pg_controldata ");
    assert_str(file(bin, "outside"), "fulmar.making\nfulmar.pass\n");
    struct fm_str inside = file(bin, "inside");
    assert_non_null(memmem(inside.p, inside.n, "global\n", 7));
    assert_null(memmem(inside.p, inside.n, "postmaster.pid", 14));
    assert_true(node.look.is_standby && is_there("global/pg_control"));
    assert_false(is_there("fulmar.making"));
}

/* As pg_rewind up to 15 does where its source has not written a checkpoint since its promotion. */
static void asks_again_where_the_source_does_not_know_yet(void **state)
{
    (void)state;
    given(CONTROL("shut down", "1", "0/190", "0/0", "0"));
    program("pg_rewind",
            "if test -e $b/third; then sleep 0.02; cp $b/rewound $2/control; exit; fi\n"
            "test -e $b/second && touch $b/third; test -e $b/first && touch $b/second\n"
            "touch $b/first; echo 'pg_rewind: no rewind required'");
    struct fm_pg_settings s = settings(true);
    assert_int_equal(fm_pg_node_rewind(&node, &s, FM_STR(PASSWORD), &second, true, TIME_MS, NULL),
                     FM_ERR_OK);
    assert_true(ended());
    assert_int_equal(node.outcome.way, FM_PG_REWOUND);
    assert_log("pg_controldata pg_receivewal pg_rewind pg_controldata pg_rewind pg_controldata "
               "pg_rewind pg_controldata pg_rewind pg_controldata pg_controldata ");
    assert_non_null(strstr(node.outcome.parts, "rewind "));
}

/* It is not done again and again: that may be hours each. */
static void copies_where_a_rewind_does_not_help(void **state)
{
    (void)state;
    given(CONTROL("shut down", "1", "0/190", "0/0", "0"));
    program("pg_rewind", "echo 'pg_rewind: Done!'");
    struct fm_pg_settings s = settings(true);
    assert_int_equal(fm_pg_node_rewind(&node, &s, FM_STR(PASSWORD), &second, true, TIME_MS, NULL),
                     FM_ERR_OK);
    assert_true(ended());
    assert_int_equal(node.outcome.way, FM_PG_CLONED);
    assert_log("pg_controldata pg_receivewal pg_rewind pg_controldata pg_rewind pg_controldata "
               "pg_rewind pg_controldata pg_receivewal pg_basebackup pg_controldata ");
}

static void copies_where_a_rewind_fails(void **state)
{
    (void)state;
    static const struct {
        const char *control, *script, *log, *why;
    } cases[] = {
        {CONTROL("shut down", "1", "0/190", "0/0", "0"), "echo 'no WAL' >&2; exit 1",
         "pg_controldata pg_receivewal pg_rewind pg_receivewal pg_basebackup pg_controldata ",
         "cannot rewind: exit code 1"},
        {"nonsense\n", "", "pg_controldata pg_receivewal pg_basebackup pg_controldata ",
         "cannot read the control data: "},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        given(cases[i].control);
        program("pg_rewind", cases[i].script);
        assert_true(rewind_(true));
        assert_int_equal(node.outcome.way, FM_PG_CLONED);
        assert_why(cases[i].why, "");
        assert_log(cases[i].log);
        shell("rm -r %s", data);
    }
    given(CONTROL("shut down", "1", "0/190", "0/0", "0"));
    program("pg_rewind", "exit 1");
    assert_false(rewind_(false));
    assert_log("pg_controldata pg_receivewal pg_rewind ");
    assert_true(is_there("fulmar.making/global/pg_control"));
    assert_false(rewind_(false)); /* what is not whole is not looked at again */
    assert_log("");
    assert_true(rewind_(true));
    assert_int_equal(node.outcome.way, FM_PG_CLONED);
}

static void a_copy_that_was_never_started_is_copied_again(void **state)
{
    (void)state;
    given(CONTROL("in production", "1", "0/100", "0/0", "0"));
    shell("touch %s/backup_label", data);
    assert_false(rewind_(false));
    assert_why("cannot let it follow as it is: ", "never started");
    assert_true(rewind_(true));
    assert_int_equal(node.outcome.way, FM_PG_CLONED);
}

/* -------- promoting, configuring -------- */

static void takes_the_numbers_below_its_own(void **state)
{
    (void)state;
    given(CONTROL("in archive recovery", "2", "0/100", "0/200", "2"));
    shell("chmod 600 %s/pg_wal/*", data);
    fm_pg_node_promote(&node, (struct fm_timeline){5}, TIME_MS);
    assert_true(ended());
    assert_log("pg_controldata pg_ctl ");
    assert_true(is_there("pg_wal/00000003.history") && is_there("pg_wal/00000004.history"));
    assert_false(is_there("pg_wal/00000005.history"));
    assert_int_equal(file(data, "pg_wal/00000003.history").p[0], '#');
    assert_int_equal(file(data, "pg_wal/00000002.history").p[0], '1');
    static const uint32_t wrong[] = {1, 2, 100, UINT32_MAX};
    for (size_t i = 0; i < FM_COUNT(wrong); i++) {
        fm_pg_node_promote(&node, (struct fm_timeline){wrong[i]}, TIME_MS);
        assert_false(ended());
        assert_why("cannot take the numbers of timelines: ", "cannot become");
        assert_log("pg_controldata ");
    }
    program("pg_ctl", "echo 'not in standby mode' >&2; exit 1");
    fm_pg_node_promote(&node, (struct fm_timeline){0}, TIME_MS);
    assert_false(ended());
    assert_why("cannot ask for the promotion: ", "not in standby mode");
}

static void configures_what_is_there(void **state)
{
    (void)state;
    struct fm_pg_settings s = settings(false);
    assert_int_equal(fm_pg_node_configure(&node, &s, FM_STR(PASSWORD), TIME_MS, NULL), FM_ERR_OK);
    assert_false(ended());
    assert_why("cannot see what is there: ", "no data directory that is whole");
    given(A_COPY);
    s = settings(true);
    assert_int_equal(fm_pg_node_configure(&node, &s, FM_STR(PASSWORD), TIME_MS, NULL), FM_ERR_OK);
    assert_true(ended());
    assert_true(is_there("standby.signal"));
    struct fm_str conf = file(data, FM_PG_CONF_FILE);
    assert_non_null(memmem(conf.p, conf.n, "primary_conninfo", 16));
    s = settings(false);
    shell("touch %s/postmaster.pid", data); /* of nobody */
    assert_int_equal(fm_pg_node_configure(&node, &s, FM_STR(PASSWORD), TIME_MS, NULL), FM_ERR_OK);
    assert_true(ended());
    assert_false(is_there("standby.signal") || is_there("postmaster.pid"));
    assert_log("");
}

static void refuses_what_cannot_be_written_down(void **state)
{
    (void)state;
    struct fm_pg_settings good = settings(true), nobody = settings(false), wrong = settings(true);
    struct fm_pg_upstream no_slot = upstream;
    struct fm_history bad = {{2}, FM_STR("")};
    struct fm_str word = FM_STR(PASSWORD);
    no_slot.slot = FM_STR("");
    wrong.upstream = &no_slot;
    assert_int_equal(fm_pg_node_clone(&node, &nobody, word, 1, NULL), FM_ERR_INVALID);
    assert_int_equal(fm_pg_node_clone(&node, &wrong, word, 1, NULL), FM_ERR_INVALID);
    assert_int_equal(fm_pg_node_clone(&node, &good, FM_STR("a\nb"), 1, NULL), FM_ERR_INVALID);
    assert_int_equal(fm_pg_node_make(&node, &good, FM_STR("admin"), word, word, 1, NULL),
                     FM_ERR_INVALID);
    assert_int_equal(fm_pg_node_make(&node, &nobody, FM_STR("a b"), word, word, 1, NULL),
                     FM_ERR_INVALID);
    assert_int_equal(fm_pg_node_make(&node, &nobody, FM_STR("admin"), FM_STR(""), word, 1, NULL),
                     FM_ERR_INVALID);
    assert_int_equal(fm_pg_node_rewind(&node, &good, word, &bad, true, 1, NULL), FM_ERR_INVALID);
    bad.text = fm_str(node.conf, FM_PG_HISTORY_ROOM + 1);
    assert_int_equal(fm_pg_node_rewind(&node, &good, word, &bad, true, 1, NULL), FM_ERR_LIMIT);
    good.port = 0;
    assert_int_equal(fm_pg_node_configure(&node, &good, word, 1, NULL), FM_ERR_INVALID);
    assert_false(fm_pg_node_is_busy(&node));
    net_turn_ms(&net, 5);
    assert_int_equal(overs, 0);
}

static void a_program_that_is_not_there_is_named(void **state)
{
    (void)state;
    shell("rm %s/initdb", bin);
    assert_false(make());
    assert_why("cannot make a new system: cannot start /", "/initdb: No such file");
}

static void knows_how_to_stop(void **state)
{
    (void)state;
    struct fm_pg_postmaster p;
    assert_int_equal(fm_pg_stop_signal(FM_PG_FAST), SIGINT);
    assert_int_equal(fm_pg_stop_signal(FM_PG_IMMEDIATE), SIGQUIT);
    assert_int_equal(fm_pg_node_postmaster(&node, &p, NULL), FM_ERR_NOT_FOUND);
    shell("mkdir -p %s; printf '12\\n' >%s/postmaster.pid", data, data);
    assert_int_equal(fm_pg_node_postmaster(&node, &p, NULL), FM_ERR_STATE);
    shell("printf '12\\n/d\\n1\\n5432\\n\\n*\\n 1 2\\nready   \\n' >%s/postmaster.pid", data);
    assert_int_equal(fm_pg_node_postmaster(&node, &p, NULL), FM_ERR_OK);
    assert_int_equal(p.pid, 12);
    assert_int_equal(p.status, FM_PG_SERVER_READY);
}

#define with_node(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_node(refuses_what_it_cannot_be), with_node(makes_a_system),
             with_node(tells_secrets_to_nobody), with_node(finds_what_is_there),
             with_node(copies_only_when_the_upstream_answers),
             with_node(nothing_unfinished_is_started), with_node(says_how_far_it_is),
             with_node(ends_what_takes_too_long),
             with_node(a_node_that_goes_takes_its_programs_with_it),
             with_node(what_nobody_needs_is_not_copied_to_its_end),
             with_node(what_would_lose_the_data_is_not_given_up),
             with_node(what_can_follow_is_not_rewound), with_node(rewinds_what_has_diverged),
             with_node(asks_again_where_the_source_does_not_know_yet),
             with_node(copies_where_a_rewind_does_not_help), with_node(copies_where_a_rewind_fails),
             with_node(a_copy_that_was_never_started_is_copied_again),
             with_node(takes_the_numbers_below_its_own), with_node(configures_what_is_there),
             with_node(refuses_what_cannot_be_written_down),
             with_node(a_program_that_is_not_there_is_named), with_node(knows_how_to_stop))
