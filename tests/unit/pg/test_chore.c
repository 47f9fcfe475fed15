/* Small things done to files. */
#include "test.h"

#include "pg/chore.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];
static struct fm_chore *chore;

static int setup(void **state)
{
    snprintf(dir, sizeof dir, "/tmp/fulmar-chore-XXXXXX");
    assert_non_null(mkdtemp(dir));
    chore = fm_chore_new();
    assert_non_null(chore);
    return fm_test_fds_before(state);
}

static int teardown(void **state)
{
    fm_chore_free(chore);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", dir, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return fm_test_fds_after(state);
}

static const char *at(const char *name)
{
    static char path[4][256];
    static unsigned next;
    char *out = path[next++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", dir, name);
    return out;
}

/* What it says on its standard error; NULL where all was done. Then the list begins anew. */
static const char *run(void)
{
    static char said[512];
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    assert_false(fm_chore_is_full(chore));
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fd[1], STDERR_FILENO);
        _exit(fm_chore_run(chore));
    }
    int status;
    close(fd[1]);
    size_t n = 0;
    for (ssize_t got; (got = read(fd[0], said + n, sizeof said - 1 - n)) > 0;)
        n += (size_t)got;
    close(fd[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    said[n] = 0;
    assert_int_equal(WEXITSTATUS(status), n ? 1 : 0);
    fm_chore_free(chore);
    chore = fm_chore_new();
    assert_non_null(chore);
    return n ? said : NULL;
}

static void assert_file(const char *name, const char *content)
{
    char text[512];
    struct stat st;
    int fd = open(at(name), O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, text, sizeof text);
    assert_int_equal(fstat(fd, &st), 0);
    close(fd);
    assert_int_equal(n, strlen(content));
    assert_memory_equal(text, content, (size_t)n);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static bool is_there(const char *name)
{
    struct stat st;
    return lstat(at(name), &st) == 0;
}

static ino_t inode(const char *name)
{
    struct stat st;
    assert_int_equal(lstat(at(name), &st), 0);
    return st.st_ino;
}

static void put(const char *name, const char *content, mode_t mode)
{
    int fd = open(at(name), O_WRONLY | O_CREAT | O_TRUNC, mode);
    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    close(fd);
}

static void writes_files_whole(void **state)
{
    (void)state;
    put("b", "old", 0644);
    fm_chore_folder(chore, at("f"));
    fm_chore_folder(chore, at("f"));
    fm_chore_write(chore, at("f/a"), FM_STR("text\n"));
    fm_chore_write(chore, at("b"), FM_STR("new"));
    fm_chore_write(chore, at("empty"), FM_STR(""));
    fm_chore_sync(chore, dir);
    fm_chore_sync_all(chore, dir);
    assert_null(run());
    assert_file("f/a", "text\n");
    assert_file("b", "new");
    assert_file("empty", "");
    assert_false(is_there("b.fulmar"));
}

static void leaves_alone_what_is_right(void **state)
{
    (void)state;
    put("a", "same", 0600);
    put("mode", "same", 0640);
    put("there", "theirs", 0600);
    ino_t before = inode("a"), open_to_others = inode("mode");
    fm_chore_write(chore, at("a"), FM_STR("same"));
    fm_chore_write(chore, at("mode"), FM_STR("same"));
    fm_chore_write_new(chore, at("there"), FM_STR("ours"));
    fm_chore_write_new(chore, at("fresh"), FM_STR("ours"));
    assert_null(run());
    assert_true(inode("a") == before);
    assert_true(inode("mode") != open_to_others);
    assert_file("mode", "same");
    assert_file("there", "theirs");
    assert_file("fresh", "ours");
}

static void adds_a_line_once(void **state)
{
    (void)state;
    put("empty", "", 0600);
    put("no-end", "port = 1", 0600);
    put("has", "a\n  a line \nb\n", 0600);
    ino_t before = inode("has");
    for (int i = 0; i < 2; i++) {
        fm_chore_line(chore, at("empty"), "a line");
        fm_chore_line(chore, at("no-end"), "a line");
        fm_chore_line(chore, at("has"), "a line");
        assert_null(run());
    }
    assert_file("empty", "a line\n");
    assert_file("no-end", "port = 1\na line\n");
    assert_true(inode("has") == before);
}

static void moves_and_removes(void **state)
{
    (void)state;
    put("a", "a", 0600);
    put("b", "b", 0600);
    for (int i = 0; i < 2; i++) { /* one that was interrupted is run again */
        fm_chore_folder(chore, at("f"));
        fm_chore_rename(chore, at("a"), at("f/a"));
        fm_chore_remove(chore, at("b"));
        fm_chore_remove(chore, at("never"));
        assert_null(run());
    }
    assert_file("f/a", "a");
    assert_false(is_there("a") || is_there("b"));
    fm_chore_remove(chore, at("f/a"));
    fm_chore_remove(chore, at("f"));
    assert_null(run());
    assert_false(is_there("f"));
}

static void keeps_others_out(void **state)
{
    (void)state;
    static const struct {
        mode_t before, after;
    } cases[] = {{0755, 0700}, {0750, 0750}, {0700, 0700}, {0770, 0700}};
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct stat st;
        assert_int_equal(chmod(dir, cases[i].before), 0);
        fm_chore_private(chore, dir);
        assert_null(run());
        assert_int_equal(stat(dir, &st), 0);
        assert_int_equal(st.st_mode & 0777, cases[i].after);
    }
}

static void says_what_it_cannot_do_and_stops(void **state)
{
    (void)state;
    static const struct {
        const char *name, *says;
    } cases[] = {
        {"folder", "cannot make the folder "},
        {"write", "cannot write "},
        {"line", "cannot add a line to "},
        {"remove", "cannot remove "},
        {"rename", "cannot move "},
        {"sync", "cannot make durable "},
        {"sync-all", "cannot make durable all of "},
        {"private", "cannot keep others out of "},
    };
    put("file", "x", 0600);
    assert_int_equal(mkdir(at("full"), 0700), 0);
    put("full/x", "x", 0600);
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        if (i == 0)
            fm_chore_folder(chore, at("file"));
        else if (i == 1)
            fm_chore_write(chore, at("none/a"), FM_STR("a"));
        else if (i == 2)
            fm_chore_line(chore, at("none"), "a");
        else if (i == 3)
            fm_chore_remove(chore, at("full"));
        else if (i == 4)
            fm_chore_rename(chore, at("none"), at("nowhere"));
        else if (i == 5)
            fm_chore_sync(chore, at("none"));
        else if (i == 6)
            fm_chore_sync_all(chore, at("none"));
        else
            fm_chore_private(chore, at("none"));
        fm_chore_write(chore, at("after"), FM_STR("a"));
        const char *said = run();
        assert_non_null(said);
        assert_int_equal(strncmp(said, cases[i].says, strlen(cases[i].says)), 0);
        assert_non_null(strstr(said, dir));
        assert_int_equal(said[strlen(said) - 1], '\n');
        assert_false(is_there("after"));
    }
}

/* A link that somebody put there leads nowhere. */
static void follows_no_link(void **state)
{
    (void)state;
    put("theirs", "secret", 0600);
    assert_int_equal(symlink(at("theirs"), at("link")), 0);
    fm_chore_write(chore, at("link"), FM_STR("ours"));
    assert_null(run());
    assert_file("theirs", "secret");
    assert_file("link", "ours");
    assert_int_equal(symlink(at("theirs"), at("conf")), 0);
    fm_chore_line(chore, at("conf"), "a line");
    assert_non_null(run());
    assert_file("theirs", "secret");
}

static void signals(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            (void)sleep(100);
    fm_chore_signal(chore, pid, SIGTERM);
    assert_null(run());
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    fm_chore_signal(chore, pid, SIGTERM); /* nobody */
    assert_null(run());
}

static void says_what_does_not_fit(void **state)
{
    (void)state;
    static char much[200 * 1024];
    fm_chore_write(chore, at("a"), fm_str(much, sizeof much));
    assert_true(fm_chore_is_full(chore));
    fm_chore_free(chore);
    chore = fm_chore_new();
    for (int i = 0; i < 601; i++) {
        assert_false(fm_chore_is_full(chore));
        if (i < 600)
            fm_chore_remove(chore, at("a"));
    }
    fm_chore_signal(chore, 4711, SIGTERM);
    assert_true(fm_chore_is_full(chore));
    fm_chore_free(chore);
    chore = fm_chore_new();
    static char path[5000];
    memset(path, '/', sizeof path - 1);
    fm_chore_sync(chore, path);
    assert_true(fm_chore_is_full(chore));
}

#define in_a_folder(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(in_a_folder(writes_files_whole), in_a_folder(leaves_alone_what_is_right),
             in_a_folder(adds_a_line_once), in_a_folder(moves_and_removes),
             in_a_folder(keeps_others_out), in_a_folder(says_what_it_cannot_do_and_stops),
             in_a_folder(follows_no_link), in_a_folder(signals),
             in_a_folder(says_what_does_not_fit))
