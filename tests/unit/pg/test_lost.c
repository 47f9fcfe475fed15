/* What a child says of what only one data directory has. (What it finds is tested with a real
 * server: tests/system/test_group_loss.py.) */
#include "test.h"

#include "pg/lost.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void takes_the_last_line(void **state)
{
    (void)state;
    struct fm_pg_lost l;
    assert_true(fm_pg_lost_parse(FM_STR("something\nlost-writes 1 4096 7 2 10 20 \n"), &l));
    assert_true(l.counted && l.end.n == 4096 && l.transactions == 7 && l.prepared == 2);
    assert_true(l.first_us == 10 && l.last_us == 20);
    assert_true(fm_pg_lost_parse(FM_STR("lost-writes 0 0 0 0 0 0 the log has no file X\n"), &l));
    assert_false(l.counted);
    assert_string_equal(l.why, "the log has no file X");
    static const struct fm_str none[] = {
        FM_STR_INIT(""),
        FM_STR_INIT("lost-writes"),
        FM_STR_INIT("lost-writes 1 4096 7 2 10\n"),
        FM_STR_INIT("lost-writes 1 x 7 2 10 20 \n"),
        FM_STR_INIT("lost-writes 1 4096 -7 2 10 20 \n"),
        FM_STR_INIT("lost-writes 1 4096 7 8 10 20 \n"), /* more prepared than there are */
        FM_STR_INIT("lost-writes 1 4096 99999999999999999999 2 10 20 \n"),
    };
    for (size_t i = 0; i < FM_COUNT(none); i++)
        assert_false(fm_pg_lost_parse(none[i], &l));
}

static char folder[] = "/tmp/fulmar-lost-XXXXXX";

static void put_file(const char *name, size_t n)
{
    char path[128], bytes[64] = {1};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, bytes, sizeof bytes) == sizeof bytes);
    assert_int_equal(ftruncate(fd, (off_t)n), 0);
    close(fd);
}

static bool is_there(const char *name, off_t size)
{
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &st) == 0 && st.st_size == size;
}

/* In a child, as it is used. Returns its exit code. */
static int run(const char *to, uint64_t after, char *said, size_t n)
{
    char path[128];
    int out[2];
    struct fm_wal_config c = {.timeline = {1}, .segment_bytes = 1 << 20, .after = {after}};
    snprintf(path, sizeof path, "%s/%s", folder, to);
    struct fm_pg_lost_job *j =
        fm_pg_lost_job_new(folder, path, &c, (struct fm_lsn){(2 << 20) + 64}, NULL);
    assert_non_null(j);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], STDOUT_FILENO);
        dup2(out[1], STDERR_FILENO);
        _exit(fm_pg_lost_run(j));
    }
    free(j);
    close(out[1]);
    ssize_t got = read(out[0], said, n - 1);
    said[got > 0 ? got : 0] = '\0';
    close(out[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void what_cannot_be_counted_is_copied_as_far_as_it_goes(void **state)
{
    (void)state;
    struct fm_pg_lost l;
    char said[512];
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    assert_non_null(mkdtemp(folder));
    put_file("000000010000000000000001", 1 << 20);
    put_file("000000010000000000000003", 1 << 20); /* behind one that is missing */
    put_file("000000010000000000000000", 1 << 20); /* before the fork */
    assert_int_equal(run("kept", (1 << 20) + 500, said, sizeof said), 0);
    assert_true(fm_pg_lost_parse(fm_str_z(said), &l));
    assert_false(l.counted);
    assert_true(l.why[0] != 0);
    assert_true(is_there("kept/000000010000000000000001", 1 << 20));
    assert_false(is_there("kept/000000010000000000000000", 1 << 20));
    assert_int_equal(run("no/such/folder", 1 << 20, said, sizeof said), 1);
    assert_non_null(strstr(said, "cannot make"));
    assert_int_equal(run("kept", (1 << 20) + 500, said, sizeof said), 0); /* once more */
    char command[160];
    static const char *const files[] = {"000000010000000000000001", "000000010000000000000003",
                                        "000000010000000000000000",
                                        "kept/000000010000000000000001"};
    for (size_t i = 0; i < FM_COUNT(files); i++) {
        snprintf(command, sizeof command, "%s/%s", folder, files[i]);
        assert_int_equal(unlink(command), 0);
    }
    snprintf(command, sizeof command, "%s/kept", folder);
    assert_int_equal(rmdir(command), 0);
    assert_int_equal(rmdir(folder), 0);
}

FM_TEST_MAIN(fm_test(takes_the_last_line),
             fm_test(what_cannot_be_counted_is_copied_as_far_as_it_goes))
