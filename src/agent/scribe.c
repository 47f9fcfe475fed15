/* Writing off the loop: see the header. Invariant: `text`, `result` and `why` are the thread's
 * while it is `writing`. */
#include "agent/scribe.h"

#include "base/assert.h"
#include "base/file.h"
#include "base/time.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct fm_scribe {
    char path[PATH_MAX];
    pthread_t thread;
    bool writing;
    sem_t done;
    char *text;
    size_t n;
    enum fm_err result;
    struct fm_error why;
};

static void *write_file(void *arg)
{
    struct fm_scribe *s = arg;
    s->result = fm_file_replace(s->path, fm_str(s->text, s->n), 0600, &s->why);
    sem_post(&s->done);
    return NULL;
}

static bool wait_for(struct fm_scribe *s, int64_t ms)
{
    struct timespec until;
    FM_ASSERT(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    until.tv_nsec += ms * FM_NS_PER_MS;
    until.tv_sec += until.tv_nsec / FM_NS_PER_S;
    until.tv_nsec %= FM_NS_PER_S;
    int err;
    do
        err = sem_clockwait(&s->done, CLOCK_MONOTONIC, &until) < 0 ? errno : 0;
    while (err == EINTR);
    FM_ASSERT(err == 0 || err == ETIMEDOUT);
    return err == 0;
}

/* What came of the write that is under way. */
static enum fm_err collect(struct fm_scribe *s, int64_t wait_ms, struct fm_error *e)
{
    FM_ASSERT(s->writing);
    if (!wait_for(s, wait_ms))
        return fm_error_set(e, FM_ERR_TIMEOUT, "the disk takes long to write %.180s", s->path);
    (void)pthread_join(s->thread, NULL);
    s->writing = false;
    free(s->text);
    s->text = NULL;
    return s->result ? fm_error_set(e, s->result, "%s", s->why.msg) : FM_ERR_OK;
}

enum fm_err fm_scribe_look(struct fm_scribe *s, struct fm_error *e)
{
    return s->writing ? collect(s, 0, e) : FM_ERR_OK;
}

enum fm_err fm_scribe_write(struct fm_scribe *s, struct fm_str text, struct fm_error *e)
{
    FM_ASSERT(text.n > 0);
    if (fm_scribe_look(s, e) == FM_ERR_TIMEOUT)
        return FM_ERR_TIMEOUT;
    s->text = malloc(text.n);
    if (!s->text)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    memcpy(s->text, text.p, text.n);
    s->n = text.n;
    s->writing = pthread_create(&s->thread, NULL, write_file, s) == 0;
    if (s->writing)
        return collect(s, FM_SCRIBE_WAIT_MS, e);
    free(s->text);
    s->text = NULL;
    return fm_error_set(e, FM_ERR_MEMORY, "there is no thread to write %.180s", s->path);
}

enum fm_err fm_scribe_remove(struct fm_scribe *s, struct fm_error *e)
{
    if (fm_scribe_look(s, e) == FM_ERR_TIMEOUT)
        return FM_ERR_TIMEOUT;
    if (unlink(s->path) < 0 && errno != ENOENT)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot remove %s", s->path);
    return FM_ERR_OK;
}

enum fm_err fm_scribe_new(struct fm_scribe **out, const char *path, struct fm_error *e)
{
    struct fm_scribe *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    if (strlen(path) >= sizeof s->path) {
        free(s);
        return fm_error_set(e, FM_ERR_LIMIT, "the path %.80s... is too long", path);
    }
    memcpy(s->path, path, strlen(path) + 1);
    FM_ASSERT(sem_init(&s->done, 0, 0) == 0);
    *out = s;
    return FM_ERR_OK;
}

void fm_scribe_free(struct fm_scribe *s)
{
    if (!s)
        return;
    if (s->writing)
        (void)pthread_join(s->thread, NULL);
    sem_destroy(&s->done);
    free(s->text);
    free(s);
}
