/* Files of the log: see pg/wal.h. Begins in the segment that holds the place, or in an earlier one
 * where a record goes on into it and ends behind that place, or the log ends before it. */
#include "base/assert.h"
#include "pg/wal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { PAGES_AT_ONCE = 16 };

char *fm_wal_name(char out[FM_WAL_NAME_ROOM], const struct fm_wal_config *conf, struct fm_lsn at)
{
    uint64_t segment = at.n / conf->segment_bytes;
    uint64_t in_log = (UINT64_C(1) << 32) / conf->segment_bytes;
    uint32_t line = conf->timeline.n;
    FM_ASSERT(conf->npast <= FM_WAL_PAST_MAX);
    for (unsigned i = conf->npast; i-- > 0;) /* left in a later file than this one, or at its end */
        if (conf->past[i].end.n / conf->segment_bytes > segment)
            line = conf->past[i].timeline.n;
    snprintf(out, FM_WAL_NAME_ROOM, "%08" PRIX32 "%08" PRIX32 "%08" PRIX32, line,
             (uint32_t)(segment / in_log), (uint32_t)(segment % in_log));
    return out;
}

struct fm_wal_work {
    int folder;
    uint64_t left; /* bytes that may still be read */
    struct fm_wal_reader reader;
    uint8_t pages[PAGES_AT_ONCE * FM_WAL_PAGE];
};

/* So many bytes, or less at the end of the file. -1 and errno. */
static ssize_t read_some(int fd, uint8_t *to, size_t n)
{
    size_t got = 0;
    while (got < n) {
        ssize_t rc = read(fd, to + got, n - got);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc < 0)
            return -1;
        if (rc == 0)
            break;
        got += (size_t)rc;
    }
    return (ssize_t)got;
}

/* The pages of one file, until the log ends. */
static enum fm_err read_file(struct fm_wal_work *w, int fd, const char *name, struct fm_error *e)
{
    struct fm_wal_reader *r = &w->reader;
    uint64_t end = r->page.n + r->conf.segment_bytes;
    while (r->page.n < end) {
        ssize_t n = read_some(fd, w->pages, sizeof w->pages);
        if (n < 0)
            return fm_error_errno(e, FM_ERR_IO, errno, "cannot read %s", name);
        if ((uint64_t)n > w->left)
            return fm_error_set(e, FM_ERR_LIMIT, "there is more of the log than is read");
        w->left -= (uint64_t)n;
        size_t pages = (size_t)n / FM_WAL_PAGE;
        if (pages == 0) { /* a file that is too short */
            r->count.why = FM_WAL_NO_PAGE;
            return FM_ERR_OK;
        }
        for (size_t i = 0; i < pages && r->page.n < end; i++)
            if (!fm_wal_page(r, w->pages + i * FM_WAL_PAGE))
                return FM_ERR_OK;
    }
    return FM_ERR_OK;
}

/* From the segment that begins at `from` to the end of the log. */
static enum fm_err read_from(struct fm_wal_work *w, const struct fm_wal_config *conf,
                             struct fm_lsn from, struct fm_error *e)
{
    char name[FM_WAL_NAME_ROOM];
    fm_wal_begin(&w->reader, conf, from);
    while (w->reader.count.why == FM_WAL_NOT_YET) {
        fm_wal_name(name, conf, w->reader.page);
        int fd = openat(w->folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 && errno != ENOENT)
            return fm_error_errno(e, FM_ERR_IO, errno, "cannot open %s", name);
        if (fd < 0 && fm_lsn_same(w->reader.page, from))
            return fm_error_set(e, FM_ERR_NOT_FOUND, "the log has no file %s", name);
        if (fd < 0) {
            w->reader.count.why = FM_WAL_NO_FILE;
            break;
        }
        enum fm_err err = read_file(w, fd, name, e);
        close(fd);
        if (err != FM_ERR_OK)
            return err;
        if (w->reader.skipped_past) /* nothing that is counted now is all */
            break;
    }
    return FM_ERR_OK;
}

/* Is what was seen all that there was? */
static enum fm_err judge(const struct fm_wal_count *c, const struct fm_wal_config *conf,
                         struct fm_lsn reaches, struct fm_error *e)
{
    char end[FM_LSN_ROOM], need[FM_LSN_ROOM];
    struct fm_lsn least = fm_lsn_max(reaches, conf->after);
    if (least.n % FM_WAL_PAGE <= FM_WAL_HEADER_MAX) /* where the next record would begin */
        least.n -= least.n % FM_WAL_PAGE;
    if (!fm_lsn_before(c->end, least))
        return FM_ERR_OK;
    return fm_error_set(e, FM_ERR_STATE, "the log ends at %s and goes to %s at least: %s",
                        fm_lsn_write(end, c->end), fm_lsn_write(need, least),
                        fm_wal_end_text(c->why));
}

static enum fm_err count(struct fm_wal_work *w, const struct fm_wal_config *conf,
                         struct fm_error *e)
{
    uint64_t in_segment = conf->after.n % conf->segment_bytes;
    struct fm_lsn from = {conf->after.n - in_segment};
    bool may_end_before = in_segment <= FM_WAL_HEADER_MAX; /* and nothing be behind it yet */
    for (;;) {
        enum fm_err err = read_from(w, conf, from, e);
        bool earlier =
            err == FM_ERR_OK ? w->reader.skipped_past : err == FM_ERR_NOT_FOUND && may_end_before;
        if (!earlier || from.n < conf->segment_bytes)
            return err == FM_ERR_OK && earlier
                       ? fm_error_set(e, FM_ERR_STATE, "the log begins inside of a record")
                       : err;
        from.n -= conf->segment_bytes;
        may_end_before = false;
        if (e)
            *e = (struct fm_error){FM_ERR_OK, ""};
    }
}

size_t fm_wal_work_size(void)
{
    return sizeof(struct fm_wal_work);
}

enum fm_err fm_wal_count(struct fm_wal_work *w, int pg_wal, const struct fm_wal_config *conf,
                         struct fm_lsn reaches, uint64_t most_bytes, struct fm_wal_count *out,
                         struct fm_error *e)
{
    w->folder = pg_wal;
    w->left = most_bytes;
    enum fm_err err = count(w, conf, e);
    if (err == FM_ERR_OK)
        err = judge(&w->reader.count, conf, reaches, e);
    *out = w->reader.count;
    return err;
}
