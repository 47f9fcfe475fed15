/* The recorder: see the header. Invariant: the file has whole lines, of this life all from the
 * first to some last one. */
#include "agent/recorder.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct fm_recorder {
    int fd;
    size_t written;
    bool over;
    struct fm_buf line;
    char text[FM_TRACE_LINE_MAX];
};

struct fm_recorder *fm_recorder_open(const char *path, struct fm_error *e)
{
    struct fm_recorder *r = calloc(1, sizeof *r);
    if (!r) {
        fm_error_set(e, FM_ERR_MEMORY, "no memory to record");
        return NULL;
    }
    r->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (r->fd < 0) {
        fm_error_errno(e, FM_ERR_IO, errno, "cannot record into %s", path);
        free(r);
        return NULL;
    }
    fm_buf_lit(fm_recorder_line(r), FM_TRACE_FIRST);
    fm_recorder_end(r);
    fm_log(FM_LOG_WARN, "recording", FM_KZ("file", path),
           FM_KZ("meaning", "every step of authority is written down: not for everyday use"));
    return r;
}

void fm_recorder_close(struct fm_recorder *r)
{
    if (!r)
        return;
    close(r->fd);
    free(r);
}

struct fm_buf *fm_recorder_line(struct fm_recorder *r)
{
    FM_ASSERT(r->fd >= 0);
    r->line = fm_buf(r->text, sizeof r->text - 1);
    return &r->line;
}

void fm_recorder_end(struct fm_recorder *r)
{
    FM_ASSERT(r->line.n < sizeof r->text);
    size_t n = r->line.n + 1;
    bool fits = !r->line.full && r->written + n <= FM_RECORDER_BYTES_MAX;
    if (r->over)
        return;
    r->text[n - 1] = '\n';
    if (fits && write(r->fd, r->text, n) == (ssize_t)n) {
        r->written += n;
        return;
    }
    r->over = true; /* with a gap it would be another story */
    fm_log(FM_LOG_WARN, "recording_ended",
           FM_KZ("why", fits ? "it cannot be written" : "it is as long as it may be"));
}
