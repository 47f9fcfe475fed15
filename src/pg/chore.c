/* Small things done to files: see the header. Runs in a forked child of a process that may have
 * threads: system calls and memory that is there, nothing else. */
#include "pg/chore.h"

#include "base/assert.h"
#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STEPS_MAX = 600, TEXT_ROOM = 192 * 1024, FILE_ROOM = 128 * 1024, PATH_ROOM = 4096 };

enum verb { FOLDER, PRIVATE, WRITE, LINE, WRITE_NEW, REMOVE, RENAME, SYNC, SYNC_ALL, SIGNAL };

struct step {
    enum verb verb;
    const char *path;
    struct fm_str what;
    pid_t pid;
    int signo;
};

struct fm_chore {
    bool full;
    size_t n, text_n;
    struct step step[STEPS_MAX];
    char text[TEXT_ROOM];
    char file[FILE_ROOM]; /* of the child: what is in a file */
};

struct fm_chore *fm_chore_new(void)
{
    struct fm_chore *c = malloc(sizeof *c);
    if (c) {
        c->full = false;
        c->n = c->text_n = 0;
    }
    return c;
}

void fm_chore_free(struct fm_chore *c)
{
    if (c)
        explicit_bzero(c->text, c->text_n); /* passwords may be among it */
    free(c);
}

bool fm_chore_is_full(const struct fm_chore *c)
{
    return c->full;
}

/* -------- the list -------- */

/* A copy with a terminator behind it. */
static struct fm_str keep(struct fm_chore *c, struct fm_str s)
{
    FM_ASSERT(c->text_n <= TEXT_ROOM);
    if (s.n >= TEXT_ROOM - c->text_n) {
        c->full = true;
        return FM_STR("");
    }
    char *to = c->text + c->text_n;
    if (s.n)
        memcpy(to, s.p, s.n);
    to[s.n] = '\0';
    c->text_n += s.n + 1;
    return fm_str(to, s.n);
}

static void add(struct fm_chore *c, enum verb verb, const char *path, struct fm_str what)
{
    FM_ASSERT(path && path[0] == '/');
    if (c->n == STEPS_MAX || strlen(path) >= PATH_ROOM) {
        c->full = true;
        return;
    }
    struct step *s = &c->step[c->n++];
    *s = (struct step){.verb = verb, .path = keep(c, fm_str_z(path)).p, .what = keep(c, what)};
}

void fm_chore_folder(struct fm_chore *c, const char *path)
{
    add(c, FOLDER, path, FM_STR(""));
}

void fm_chore_private(struct fm_chore *c, const char *path)
{
    add(c, PRIVATE, path, FM_STR(""));
}

void fm_chore_write(struct fm_chore *c, const char *path, struct fm_str bytes)
{
    add(c, WRITE, path, bytes);
}

void fm_chore_line(struct fm_chore *c, const char *path, const char *line)
{
    FM_ASSERT(!strchr(line, '\n'));
    add(c, LINE, path, fm_str_z(line));
}

void fm_chore_write_new(struct fm_chore *c, const char *path, struct fm_str bytes)
{
    add(c, WRITE_NEW, path, bytes);
}

void fm_chore_remove(struct fm_chore *c, const char *path)
{
    add(c, REMOVE, path, FM_STR(""));
}

void fm_chore_rename(struct fm_chore *c, const char *from, const char *to)
{
    FM_ASSERT(to[0] == '/');
    add(c, RENAME, from, fm_str_z(to));
}

void fm_chore_sync(struct fm_chore *c, const char *folder)
{
    add(c, SYNC, folder, FM_STR(""));
}

void fm_chore_sync_all(struct fm_chore *c, const char *folder)
{
    add(c, SYNC_ALL, folder, FM_STR(""));
}

void fm_chore_signal(struct fm_chore *c, pid_t pid, int signo)
{
    FM_ASSERT(pid > 1 && signo > 0);
    if (c->n == STEPS_MAX) {
        c->full = true;
        return;
    }
    c->step[c->n++] = (struct step){.verb = SIGNAL, .path = "signal", .pid = pid, .signo = signo};
}

/* -------- in the child -------- */

static int write_all(int fd, struct fm_str s)
{
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        s = fm_str(s.p + n, s.n - (size_t)n);
    }
    return 0;
}

static int sync_folder(const char *path, int (*sync_fd)(int fd))
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno;
    int err = sync_fd(fd) < 0 ? errno : 0;
    close(fd);
    return err;
}

/* path of the folder, and of the file that becomes another */
static bool beside(const char *path, char folder[PATH_ROOM], char fresh[PATH_ROOM])
{
    size_t n = strlen(path);
    const char *slash = strrchr(path, '/');
    if (n + sizeof ".fulmar" > PATH_ROOM || !slash || slash == path)
        return false;
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = '\0';
    memcpy(fresh, path, n);
    memcpy(fresh + n, ".fulmar", sizeof ".fulmar");
    return true;
}

/* A file is in its own blocks before its name leads there; a failed fsync is not repeated. */
static int replace(const char *path, struct fm_str a, struct fm_str b)
{
    char folder[PATH_ROOM], fresh[PATH_ROOM];
    if (!beside(path, folder, fresh))
        return ENAMETOOLONG;
    (void)unlink(fresh);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return errno;
    int err = fchmod(fd, 0600) < 0 ? errno : write_all(fd, a);
    if (!err)
        err = write_all(fd, b);
    if (!err && fsync(fd) < 0)
        err = errno;
    if (close(fd) < 0 && !err)
        err = errno;
    if (!err && rename(fresh, path) < 0)
        err = errno;
    if (err) {
        (void)unlink(fresh);
        return err;
    }
    return sync_folder(folder, fsync);
}

/* 0, or an errno; EFBIG where it is more than the room. */
static int read_file(struct fm_chore *c, const char *path, struct fm_str *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    size_t n = 0;
    int err = 0;
    if (fd < 0)
        return errno;
    while (n < FILE_ROOM && !err) {
        ssize_t got = read(fd, c->file + n, FILE_ROOM - n);
        if (got == 0)
            break;
        if (got > 0)
            n += (size_t)got;
        else if (errno != EINTR)
            err = errno;
    }
    close(fd);
    *out = fm_str(c->file, n);
    return !err && n == FILE_ROOM ? EFBIG : err;
}

static int write_file(struct fm_chore *c, const struct step *s)
{
    struct fm_str there = FM_STR("");
    struct stat st;
    if (lstat(s->path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 07777) == 0600 &&
        read_file(c, s->path, &there) == 0 && fm_str_eq(there, s->what))
        return 0;
    return replace(s->path, s->what, FM_STR(""));
}

static int add_line(struct fm_chore *c, const struct step *s)
{
    char line[256];
    struct fm_str there = FM_STR(""), rest, end = s->what;
    int err = read_file(c, s->path, &there);
    if (err)
        return err;
    for (rest = there; rest.n;)
        if (fm_str_eq(fm_str_trim(fm_str_cut(rest, '\n', &rest)), end))
            return 0;
    if (end.n + 2 > sizeof line)
        return ENAMETOOLONG;
    size_t n = 0;
    if (there.n && there.p[there.n - 1] != '\n')
        line[n++] = '\n';
    memcpy(line + n, end.p, end.n);
    n += end.n;
    line[n++] = '\n';
    return replace(s->path, there, fm_str(line, n));
}

static int remove_one(const char *path)
{
    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return errno;
    return rmdir(path) == 0 || errno == ENOENT ? 0 : errno;
}

static int rename_one(const char *from, const char *to)
{
    struct stat st;
    if (rename(from, to) == 0)
        return 0;
    int err = errno;
    return err == ENOENT && lstat(from, &st) < 0 && lstat(to, &st) == 0 ? 0 : err;
}

static int run_step(struct fm_chore *c, const struct step *s)
{
    struct stat st;
    switch (s->verb) {
    case FOLDER:
        if (mkdir(s->path, 0700) == 0)
            return 0;
        if (errno != EEXIST || lstat(s->path, &st) < 0)
            return errno;
        return S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
    case PRIVATE:
        if (stat(s->path, &st) < 0)
            return errno;
        return (st.st_mode & 027) && chmod(s->path, 0700) < 0 ? errno : 0;
    case WRITE:
        return write_file(c, s);
    case LINE:
        return add_line(c, s);
    case WRITE_NEW:
        return lstat(s->path, &st) == 0 ? 0 : replace(s->path, s->what, FM_STR(""));
    case REMOVE:
        return remove_one(s->path);
    case RENAME:
        return rename_one(s->path, s->what.p);
    case SYNC:
        return sync_folder(s->path, fsync);
    case SYNC_ALL:
        return sync_folder(s->path, syncfs);
    case SIGNAL:
        return kill(s->pid, s->signo) < 0 && errno != ESRCH ? errno : 0;
    }
    return EINVAL;
}

static void say(const char *z)
{
    (void)write_all(STDERR_FILENO, fm_str_z(z));
}

int fm_chore_run(void *chore)
{
    static const char *const verb[] = {
        [FOLDER] = "cannot make the folder ",
        [PRIVATE] = "cannot keep others out of ",
        [WRITE] = "cannot write ",
        [LINE] = "cannot add a line to ",
        [WRITE_NEW] = "cannot write ",
        [REMOVE] = "cannot remove ",
        [RENAME] = "cannot move ",
        [SYNC] = "cannot make durable ",
        [SYNC_ALL] = "cannot make durable all of ",
        [SIGNAL] = "cannot tell the server: ",
    };
    struct fm_chore *c = chore;
    FM_ASSERT(!c->full && c->n <= STEPS_MAX);
    for (size_t i = 0; i < c->n; i++) {
        int err = run_step(c, &c->step[i]);
        if (err == 0)
            continue;
        const char *why = strerrordesc_np(err);
        say(verb[c->step[i].verb]);
        say(c->step[i].path);
        say(": ");
        say(why ? why : "unknown error");
        say("\n");
        return 1;
    }
    return 0;
}
