/* A bounded file of what a child prints: see the header. Invariant: it is emptied only when all of
 * it was copied, or cannot be. */
#include "agent/outlog.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void fm_outlog_init(struct fm_outlog *o, const char *path, int64_t max)
{
    FM_ASSERT(strlen(path) + sizeof ".1" <= sizeof o->path && max > 0);
    *o = (struct fm_outlog){.fd = -1, .from = -1, .to = -1, .max = max};
    memcpy(o->path, path, strlen(path) + 1);
}

static void old_path(const struct fm_outlog *o, char out[FM_OUTLOG_PATH_ROOM])
{
    size_t n = strlen(o->path);
    memcpy(out, o->path, n);
    memcpy(out + n, ".1", sizeof ".1");
}

static int64_t size_of(int fd)
{
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 ? st.st_size : 0;
}

static void end_copy(struct fm_outlog *o)
{
    if (o->from >= 0)
        close(o->from);
    if (o->to >= 0)
        close(o->to);
    o->from = o->to = -1;
    o->copied = 0;
}

static int open_new(const struct fm_outlog *o)
{
    return open(o->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
}

bool fm_outlog_open(struct fm_outlog *o)
{
    char old[FM_OUTLOG_PATH_ROOM];
    end_copy(o);
    if (o->fd < 0)
        o->fd = open_new(o);
    old_path(o, old);
    if (size_of(o->fd) > o->max && rename(o->path, old) == 0) {
        close(o->fd);
        o->fd = open_new(o);
    }
    o->begins = o->read_to = size_of(o->fd);
    o->cut = o->missed = false;
    return o->fd >= 0;
}

static void empty(struct fm_outlog *o)
{
    end_copy(o);
    if (ftruncate(o->fd, 0) != 0)
        return;       /* it is tried again with the next turn */
    o->missed = true; /* what was printed since it was read last has gone */
    o->read_to = 0;
    o->old_begins = o->cut ? 0 : o->begins;
    o->begins = 0;
    o->cut = true;
}

static void failed(struct fm_outlog *o, const char *what)
{
    char old[FM_OUTLOG_PATH_ROOM];
    fm_log(FM_LOG_WARN, "log_not_kept", FM_KZ("path", o->path), FM_KZ("what", what),
           FM_KZ("why", strerror(errno)));
    old_path(o, old);
    (void)unlink(old);
    empty(o);
}

static void begin_copy(struct fm_outlog *o)
{
    char old[FM_OUTLOG_PATH_ROOM];
    old_path(o, old);
    o->from = open(o->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    o->to = open(old, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    o->copied = 0;
    if (o->from < 0 || o->to < 0)
        failed(o, "open");
}

void fm_outlog_turn(struct fm_outlog *o)
{
    if (o->fd < 0)
        return;
    if (o->from < 0 && size_of(o->fd) > o->max)
        begin_copy(o);
    if (o->from < 0)
        return;
    off_t at = o->copied;
    ssize_t n = copy_file_range(o->from, &at, o->to, NULL, FM_OUTLOG_SLICE, 0);
    if (n < 0 && errno != EINTR && errno != EAGAIN) {
        failed(o, "copy");
        return;
    }
    o->copied += n > 0 ? n : 0;
    if (n == 0 || o->copied >= size_of(o->fd))
        empty(o);
}

/* The last bytes of a file, not before `begins`. */
static size_t read_end(const char *path, int64_t begins, char *out, size_t most)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int64_t size = size_of(fd), from = size - (int64_t)most;
    ssize_t n = fd >= 0 ? pread(fd, out, most, from > begins ? from : begins) : 0;
    if (fd >= 0)
        close(fd);
    return n > 0 ? (size_t)n : 0;
}

size_t fm_outlog_tail(const struct fm_outlog *o, char *out, size_t cap)
{
    char old[FM_OUTLOG_PATH_ROOM];
    FM_ASSERT(cap > 1);
    size_t n = read_end(o->path, o->begins, out, cap - 1);
    if (o->cut && n < cap - 1) {
        size_t room = cap - 1 - n;
        old_path(o, old);
        memmove(out + room, out, n);
        size_t before = read_end(old, o->old_begins, out, room);
        memmove(out + before, out + room, n);
        n += before;
    }
    out[n] = 0;
    return n;
}

size_t fm_outlog_head(const struct fm_outlog *o, char *out, size_t cap)
{
    FM_ASSERT(cap > 1 && o->begins >= 0);
    int fd = o->cut ? -1 : open(o->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd >= 0 ? pread(fd, out, cap - 1, o->begins) : 0;
    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

/* As far as the last line ends; of one that is longer than the room all of it. */
static size_t whole_lines(const char *text, size_t n, size_t room)
{
    size_t end = n;
    while (end && text[end - 1] != '\n')
        end--;
    return end || n < room ? end : n;
}

bool fm_outlog_said(struct fm_outlog *o, const char *const sign[], unsigned nsigns)
{
    enum { ROOM = 16 * 1024, PARTS = 8 };
    char text[ROOM + 1];
    bool said = o->missed;
    o->missed = false;
    if (o->fd < 0 || size_of(o->fd) <= o->read_to)
        return said;
    int fd = open(o->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    for (unsigned i = 0; i < PARTS; i++) {
        ssize_t n = fd >= 0 ? pread(fd, text, ROOM, o->read_to) : 0;
        size_t end = n > 0 ? whole_lines(text, (size_t)n, ROOM) : 0;
        FM_ASSERT(end <= ROOM);
        if (end == 0)
            break;
        for (unsigned k = 0; k < nsigns; k++)
            said |= memmem(text, end, sign[k], strlen(sign[k])) != NULL;
        o->read_to += (int64_t)end;
    }
    if (fd >= 0)
        close(fd);
    return said;
}

void fm_outlog_close(struct fm_outlog *o)
{
    end_copy(o);
    if (o->fd >= 0)
        close(o->fd);
    o->fd = -1;
}
