/* Configuration files as text: see the header. Knows bytes, characters and lines; no YAML. */
#include "conf/source.h"

#include "base/assert.h"
#include "conf/report.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static enum fm_err read_all(int fd, struct fm_arena *arena, size_t size, struct fm_source *out,
                            struct fm_error *e)
{
    FM_ASSERT(fd >= 0 && size <= FM_SOURCE_BYTES_MAX);
    char *mem = fm_arena_alloc(arena, size + 1);
    if (!mem)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    size_t n = 0;
    while (n < size) {
        ssize_t got = read(fd, mem + n, size - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fm_error_errno(e, FM_ERR_IO, errno, "cannot read it");
        if (got == 0)
            break; /* it became shorter meanwhile */
        n += (size_t)got;
    }
    FM_ASSERT(n <= size && mem[size] == '\0');
    out->text = fm_str(mem, n);
    return FM_ERR_OK;
}

static enum fm_err read_fd(int fd, struct fm_arena *arena, struct fm_source *out,
                           struct fm_error *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot read it");
    if (!S_ISREG(st.st_mode))
        return fm_error_set(e, FM_ERR_INVALID, "%s",
                            S_ISDIR(st.st_mode) ? "it is a folder" : "it is not a regular file");
    if (st.st_size > FM_SOURCE_BYTES_MAX)
        return fm_error_set(e, FM_ERR_LIMIT, "it is larger than %d MiB", FM_SOURCE_BYTES_MAX >> 20);
    out->dev = (uint64_t)st.st_dev;
    out->ino = (uint64_t)st.st_ino;
    return read_all(fd, arena, (size_t)st.st_size, out, e);
}

enum fm_err fm_source_read(struct fm_arena *arena, const char *path, struct fm_source *out,
                           struct fm_error *e)
{
    /* without O_NONBLOCK a named pipe would hold us */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return fm_error_errno(e, errno == ENOENT ? FM_ERR_NOT_FOUND : FM_ERR_IO, errno,
                              "cannot open it");
    enum fm_err err = read_fd(fd, arena, out, e);
    close(fd);
    return err;
}

static bool refused(uint32_t cp, unsigned char next)
{
    if (cp == '\r')
        return next != '\n';
    return (cp < 0x20 && cp != '\t' && cp != '\n') || (cp >= 0x7f && cp < 0xa0) || cp == 0x2028 ||
           cp == 0x2029 || cp == 0xfeff || cp == 0xfffe || cp == 0xffff;
}

static bool wide_encoding(struct fm_str t)
{
    return t.n >= 2 && (memcmp(t.p, "\xff\xfe", 2) == 0 || memcmp(t.p, "\xfe\xff", 2) == 0);
}

bool fm_source_check(struct fm_source *s, struct fm_conf_report *report)
{
    struct fm_conf_pos pos = {s->file, 1, 1};
    if (wide_encoding(s->text)) {
        fm_report_error(report, pos, "the file is UTF-16, and only UTF-8 is read");
        fm_report_advice(report, "save it as UTF-8");
        s->text.n = 0; /* nothing of it can be shown */
        return false;
    }
    if (fm_str_starts(s->text, FM_STR("\xef\xbb\xbf")))
        s->text = fm_str(s->text.p + 3, s->text.n - 3);
    const unsigned char *p = (const unsigned char *)s->text.p;
    for (size_t i = 0; i < s->text.n;) {
        uint32_t cp = 0;
        size_t len = fm_str_utf8(fm_str(s->text.p + i, s->text.n - i), &cp);
        if (len == 0) {
            fm_report_error(report, pos, "byte 0x%02x is not UTF-8", p[i]);
            fm_report_advice(report, "save the file as UTF-8");
            s->text.n = i; /* what is before it can be shown */
            return false;
        }
        if (refused(cp, i + 1 < s->text.n ? p[i + 1] : 0)) {
            fm_report_error(report, pos, "the control character U+%04X has no place here", cp);
            fm_report_advice(report, "delete it; in double quotes it may be written as an escape");
            return false;
        }
        pos.col = cp == '\n' ? 1 : pos.col + 1;
        pos.line += cp == '\n';
        i += len;
        FM_ASSERT(i <= s->text.n);
    }
    return true;
}

const struct fm_source *fm_source_find(const struct fm_source *list, const char *file)
{
    while (list && strcmp(list->file, file) != 0)
        list = list->next;
    return list;
}

size_t fm_source_rank(const struct fm_source *list, const char *file)
{
    size_t rank = 0;
    for (; list && strcmp(list->file, file) != 0; list = list->next)
        rank++;
    return rank;
}

struct fm_str fm_source_line(const struct fm_source *s, uint32_t line)
{
    if (!s || line == 0)
        return (struct fm_str){NULL, 0};
    struct fm_str rest = s->text, one = {NULL, 0};
    for (uint32_t i = 0; i < line; i++) {
        if (!rest.p)
            return (struct fm_str){NULL, 0};
        one = fm_str_cut(rest, '\n', &rest);
    }
    FM_ASSERT(one.p && one.p >= s->text.p && one.p + one.n <= s->text.p + s->text.n);
    if (one.n && one.p[one.n - 1] == '\r')
        one.n--;
    return one;
}

size_t fm_source_column(struct fm_str line, uint32_t col)
{
    size_t at = 0;
    for (uint32_t i = 1; i < col && at < line.n; i++)
        for (at++; at < line.n && ((unsigned char)line.p[at] & 0xc0) == 0x80;)
            at++;
    FM_ASSERT(at <= line.n);
    return at;
}

uint32_t fm_source_col(struct fm_str line, size_t byte)
{
    uint32_t col = 1;
    for (size_t i = 0; i < byte && i < line.n; i++)
        col += ((unsigned char)line.p[i] & 0xc0) != 0x80;
    return col;
}
