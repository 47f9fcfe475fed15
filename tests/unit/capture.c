/* See the header. */
#include "capture.h"

#include <stdio.h>
#include <unistd.h>

enum { CAPTURE_MAX = 64 * 1024 };

char captured_out[CAPTURE_MAX], captured_err[CAPTURE_MAX];

static struct stream {
    int fd, saved;
    FILE *kept;
    char *text;
} streams[2] = {{STDOUT_FILENO, -1, NULL, captured_out}, {STDERR_FILENO, -1, NULL, captured_err}};

static void flush_both(void)
{
    (void)fflush(stdout);
    (void)fflush(stderr);
}

void capture_begin(void)
{
    flush_both();
    for (unsigned i = 0; i < FM_COUNT(streams); i++) {
        struct stream *s = &streams[i];
        s->kept = tmpfile();
        s->saved = dup(s->fd);
        assert_true(s->kept && s->saved >= 0);
        assert_int_equal(dup2(fileno(s->kept), s->fd), s->fd);
    }
}

void capture_end(void)
{
    flush_both();
    for (unsigned i = 0; i < FM_COUNT(streams); i++) {
        struct stream *s = &streams[i];
        (void)dup2(s->saved, s->fd);
        (void)close(s->saved);
        rewind(s->kept);
        size_t n = fread(s->text, 1, CAPTURE_MAX - 1, s->kept);
        s->text[n] = 0;
        (void)fclose(s->kept);
    }
}
