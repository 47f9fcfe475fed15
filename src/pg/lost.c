/* What only one data directory has: see the header. Runs in a forked child of a process that may
 * have threads: system calls and memory that is there, nothing else. Invariant: a line is printed
 * only when what it speaks of is durable. */
#include "pg/lost.h"

#include "base/assert.h"
#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PATH_ROOM = 1024, BLOCK = 256 * 1024, RESERVE = 64 * 1024 * 1024, FIELDS = 6 };

#define SIGN "lost-writes "

struct fm_pg_lost_job {
    char from[PATH_ROOM], to[PATH_ROOM];
    struct fm_wal_config conf;
    struct fm_lsn reaches;
    struct fm_wal_work *work; /* behind it, in the same block */
    int from_fd, to_fd;
    bool shares; /* the file system can */
    bool looks;
    struct fm_pg_isolated_job look;
    uint8_t block[BLOCK];
};

struct fm_pg_lost_job *fm_pg_lost_job_new(const char *pg_wal, const char *to,
                                          const struct fm_wal_config *conf, struct fm_lsn reaches,
                                          const struct fm_pg_isolated_job *look)
{
    if (strlen(pg_wal) >= PATH_ROOM || strlen(to) >= FM_PG_ISOLATED_PATH)
        return NULL;
    struct fm_pg_lost_job *j = malloc(sizeof *j + fm_wal_work_size());
    if (!j)
        return NULL;
    *j = (struct fm_pg_lost_job){
        .conf = *conf, .reaches = reaches, .from_fd = -1, .to_fd = -1, .shares = true};
    memcpy(j->from, pg_wal, strlen(pg_wal) + 1);
    memcpy(j->to, to, strlen(to) + 1);
    j->work = (struct fm_wal_work *)(void *)(j + 1);
    j->looks = look != NULL;
    if (look) {
        j->look = *look;
        memcpy(j->look.folder, to, strlen(to) + 1);
    }
    return j;
}

/* -------- words -------- */

static bool say(int fd, const char *text)
{
    size_t n = strlen(text), done = 0;
    while (done < n) {
        ssize_t got = write(fd, text + done, n - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

/* Returns 1. */
static int fail(const char *what, const char *name, int err)
{
    const char *why = err ? strerrordesc_np(err) : NULL;
    (void)(say(STDERR_FILENO, what) && say(STDERR_FILENO, name) &&
           (!why || (say(STDERR_FILENO, ": ") && say(STDERR_FILENO, why))) &&
           say(STDERR_FILENO, "\n"));
    return 1;
}

/* -------- which files -------- */

/* The next file of what is kept, from the one with the fork on: up to the end of the log, or, where
 * that is not known, to as far as it must go and as long as there are files. */
static bool is_wanted(const struct fm_pg_lost_job *j, const struct fm_wal_count *c, bool counted,
                      struct fm_lsn at, bool there)
{
    struct fm_lsn last = fm_lsn_max(counted ? c->end : j->reaches, j->conf.after);
    return !fm_lsn_before(last, at) || (!counted && there);
}

/* How many bytes that is. */
static uint64_t bytes_of(const struct fm_pg_lost_job *j, const struct fm_wal_count *c, bool counted)
{
    char name[FM_WAL_NAME_ROOM];
    struct stat st;
    uint64_t sum = 0;
    bool there = true;
    struct fm_lsn at = {j->conf.after.n - j->conf.after.n % j->conf.segment_bytes};
    for (; is_wanted(j, c, counted, at, there); at = fm_lsn_add(at, j->conf.segment_bytes)) {
        there = fstatat(j->from_fd, fm_wal_name(name, &j->conf, at), &st, AT_SYMLINK_NOFOLLOW) == 0;
        sum += there && st.st_size > 0 ? (uint64_t)st.st_size : 0;
        if (fm_lsn_same(at, FM_LSN_END))
            break;
    }
    return sum;
}

static bool has_room(const struct fm_pg_lost_job *j, uint64_t bytes)
{
    struct statvfs s;
    if (fstatvfs(j->to_fd, &s) < 0)
        return false;
    uint64_t free_bytes = (uint64_t)s.f_bavail * s.f_frsize;
    return free_bytes > RESERVE && free_bytes - RESERVE >= bytes;
}

/* -------- copies -------- */

/* 0, or an errno. */
static int copy_bytes(struct fm_pg_lost_job *j, int from, int to)
{
    for (;;) {
        ssize_t n = read(from, j->block, BLOCK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : 0;
        for (ssize_t done = 0; done < n;) {
            ssize_t put = write(to, j->block + done, (size_t)(n - done));
            if (put < 0 && errno != EINTR)
                return errno;
            done += put > 0 ? put : 0;
        }
    }
}

/* 0, or an errno; ENOSPC where there is not room for `left`. What was there of an earlier try is
 * written anew. */
static int copy_file(struct fm_pg_lost_job *j, const char *name, uint64_t left)
{
    int from = openat(j->from_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (from < 0)
        return errno;
    int err = 0;
    int to = openat(j->to_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (to < 0)
        err = errno;
    bool shared = to >= 0 && j->shares && ioctl(to, FICLONE, from) == 0;
    if (to >= 0 && !shared) {
        if (j->shares && !has_room(j, left))
            err = ENOSPC;
        j->shares = false;
        if (!err)
            err = copy_bytes(j, from, to);
    }
    if (!err && fsync(to) < 0)
        err = errno;
    if (to >= 0 && close(to) < 0 && !err)
        err = errno;
    close(from);
    return err;
}

/* 0, or 1 with a reason printed. */
static int copy_all(struct fm_pg_lost_job *j, const struct fm_wal_count *c, bool counted)
{
    char name[FM_WAL_NAME_ROOM], history[32];
    uint64_t left = bytes_of(j, c, counted);
    bool there = true;
    struct fm_lsn at = {j->conf.after.n - j->conf.after.n % j->conf.segment_bytes};
    snprintf(history, sizeof history, "%08" PRIX32 ".history", j->conf.timeline.n);
    int err = copy_file(j, history, left);
    if (err && err != ENOENT)
        return fail("cannot copy ", history, err);
    for (; is_wanted(j, c, counted, at, there); at = fm_lsn_add(at, j->conf.segment_bytes)) {
        err = copy_file(j, fm_wal_name(name, &j->conf, at), left);
        there = err == 0;
        if (err && err != ENOENT) /* what is not there is why it cannot be counted */
            return fail("cannot copy the log to ", j->to, err);
        if (fm_lsn_same(at, FM_LSN_END))
            break;
    }
    return 0;
}

static int open_both(struct fm_pg_lost_job *j)
{
    j->from_fd = open(j->from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (j->from_fd < 0)
        return fail("cannot open ", j->from, errno);
    if (mkdir(j->to, 0700) < 0 && errno != EEXIST)
        return fail("cannot make ", j->to, errno);
    j->to_fd = open(j->to, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return j->to_fd < 0 ? fail("cannot open ", j->to, errno) : 0;
}

/* The folder itself, and its name in the one above. */
static int sync_folders(struct fm_pg_lost_job *j)
{
    int up = openat(j->to_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = up >= 0 && fsync(j->to_fd) == 0 && fsync(up) == 0;
    int err = good ? 0 : fail("cannot make durable ", j->to, errno);
    if (up >= 0)
        close(up);
    return err;
}

int fm_pg_lost_run(void *job)
{
    struct fm_pg_lost_job *j = job;
    struct fm_wal_count c = {.commits = 0};
    struct fm_error e = {FM_ERR_OK, ""};
    char line[512];
    if (open_both(j))
        return 1;
    enum fm_err err = fm_wal_count(j->work, j->from_fd, &j->conf, j->reaches, UINT64_MAX, &c, &e);
    if (copy_all(j, &c, err == FM_ERR_OK) || sync_folders(j))
        return 1;
    snprintf(line, sizeof line,
             SIGN "%d %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64 " %.*s\n",
             err == FM_ERR_OK, c.end.n, c.commits, c.prepared_before, c.first_us, c.last_us,
             FM_PG_LOST_WHY_ROOM - 1, e.msg);
    if (!say(STDOUT_FILENO, line))
        return 1;
    if (j->looks && err == FM_ERR_OK && c.commits) {
        struct fm_pg_rows rows;
        char found[FM_PG_ROWS_LINE_ROOM];
        fm_pg_isolated_look(&j->look, &rows);
        fm_pg_rows_say(found, &rows);
        return say(STDOUT_FILENO, found) ? 0 : 1;
    }
    return 0;
}

/* -------- what it said -------- */

bool fm_pg_lost_parse(struct fm_str said, struct fm_pg_lost *out)
{
    struct fm_str rest = said, line = FM_STR(""), sign = FM_STR(SIGN);
    uint64_t v[FIELDS];
    *out = (struct fm_pg_lost){.counted = false};
    while (rest.n) {
        struct fm_str next = fm_str_cut(rest, '\n', &rest);
        line = fm_str_starts(next, sign) ? next : line;
    }
    if (line.n == 0)
        return false;
    line = fm_str(line.p + sign.n, line.n - sign.n);
    for (unsigned i = 0; i < FIELDS; i++)
        if (!fm_str_u64(fm_str_cut(line, ' ', &line), &v[i]) || v[i] > INT64_MAX)
            return false;
    out->counted = v[0] == 1;
    snprintf(out->why, sizeof out->why, "%.*s", FM_STR_ARG(line));
    fm_text_tame(out->why);
    if (!out->counted)
        return true;
    out->end.n = v[1];
    out->transactions = v[2];
    out->prepared = v[3];
    out->first_us = (int64_t)v[4];
    out->last_us = (int64_t)v[5];
    return out->prepared <= out->transactions;
}
