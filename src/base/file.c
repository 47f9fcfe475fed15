/* See the header. A failed fsync is never repeated: what it should have written is unknown then
 * (fsync(2)), so the new file is thrown away and the error told. */
#include "base/file.h"

#include "base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(int fd, struct fm_str bytes)
{
    while (bytes.n) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        bytes.p += n;
        bytes.n -= (size_t)n;
    }
    return 0;
}

/* 0 or an errno. The file is new, or was left by a crash. */
static int write_new(const char *path, struct fm_str bytes, mode_t mode)
{
    (void)unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return errno;
    int err = fchmod(fd, mode) < 0 ? errno : write_all(fd, bytes); /* whatever the umask */
    if (!err && fsync(fd) < 0)
        err = errno;
    if (close(fd) < 0 && !err)
        err = errno;
    return err;
}

static int sync_folder_of(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 1;
    if (n >= sizeof folder)
        return ENAMETOOLONG;
    memcpy(folder, slash ? path : ".", n);
    folder[n] = '\0';
    int fd = open(n ? folder : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int err = fsync(fd) < 0 ? errno : 0;
    close(fd);
    return err;
}

static enum fm_err put(const char *path, struct fm_str bytes, mode_t mode, bool may_replace,
                       struct fm_error *e)
{
    FM_ASSERT(path[0] != 0 && (mode & ~(mode_t)0777) == 0);
    char fresh[PATH_MAX];
    if ((size_t)snprintf(fresh, sizeof fresh, "%s.new", path) >= sizeof fresh)
        return fm_error_set(e, FM_ERR_LIMIT, "path too long: %.100s…", path);
    int err = write_new(fresh, bytes, mode);
    if (!err && may_replace && rename(fresh, path) < 0)
        err = errno;
    if (!err && !may_replace && link(fresh, path) < 0)
        err = errno;
    if (err || !may_replace)
        (void)unlink(fresh);
    if (!err)
        err = sync_folder_of(path);
    if (err)
        return fm_error_errno(e, err == EEXIST ? FM_ERR_EXISTS : FM_ERR_IO, err,
                              "cannot write `%s`", path);
    return FM_ERR_OK;
}

enum fm_err fm_file_replace(const char *path, struct fm_str bytes, mode_t mode, struct fm_error *e)
{
    return put(path, bytes, mode, true, e);
}

enum fm_err fm_file_create(const char *path, struct fm_str bytes, mode_t mode, struct fm_error *e)
{
    return put(path, bytes, mode, false, e);
}

enum fm_err fm_file_read_up_to(int fd, char *to, size_t room, size_t *n)
{
    *n = 0;
    while (*n < room) {
        ssize_t got = read(fd, to + *n, room - *n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return FM_ERR_IO;
        if (got == 0)
            break;
        *n += (size_t)got;
    }
    return FM_ERR_OK;
}

enum fm_err fm_file_read(const char *path, size_t max, char **bytes, size_t *n, struct fm_error *e)
{
    *bytes = NULL;
    *n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return fm_error_errno(e, errno == ENOENT ? FM_ERR_NOT_FOUND : FM_ERR_IO, errno,
                              "cannot read `%s`", path);
    struct stat st;
    enum fm_err err = FM_ERR_OK;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        err = fm_error_set(e, FM_ERR_IO, "cannot read `%s`: it is no plain file", path);
    else if ((uint64_t)st.st_size > max)
        err = fm_error_set(e, FM_ERR_LIMIT, "`%s` is larger than %zu bytes", path, max);
    char *p = err ? NULL : malloc((size_t)st.st_size + 1);
    if (!err && !p)
        err = fm_error_set(e, FM_ERR_MEMORY, "no memory to read `%s`", path);
    if (!err && (err = fm_file_read_up_to(fd, p, (size_t)st.st_size, n)))
        fm_error_errno(e, err, errno, "cannot read `%s`", path);
    close(fd);
    if (err) {
        free(p);
        return err;
    }
    FM_ASSERT(p);
    p[*n] = '\0';
    *bytes = p;
    return FM_ERR_OK;
}

enum fm_err fm_file_secret(const char *path, char *out, size_t cap, size_t *n, struct fm_error *e)
{
    FM_ASSERT(cap > 0);
    *n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        enum fm_err err = fm_error_errno(e, FM_ERR_IO, errno, "cannot read %s", path);
        if (fd >= 0)
            close(fd);
        return err;
    }
    enum fm_err err = FM_ERR_OK;
    if (!S_ISREG(st.st_mode) || st.st_mode & 077)
        err = fm_error_set(e, FM_ERR_PERMISSION, "%s: others may read it, or it is no file", path);
    else if ((err = fm_file_read_up_to(fd, out, cap, n)))
        fm_error_errno(e, err, errno, "cannot read %s", path);
    else if (*n == cap)
        err = fm_error_set(e, FM_ERR_LIMIT, "%s has %zu bytes or more", path, cap);
    close(fd);
    while (!err && *n && (out[*n - 1] == '\n' || out[*n - 1] == '\r'))
        (*n)--;
    if (err)
        *n = 0;
    FM_ASSERT(*n < cap);
    return err;
}
