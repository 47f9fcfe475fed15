/* The thread of a coordination file: see store.h. It sleeps in a loop of its own; what its mailbox
 * delivers in one turn is one batch, and what comes during a commit is the next one. */
#include "base/assert.h"
#include "coord/store.h"

#include <pthread.h>
#include <stdlib.h>

enum { BATCH_MAX = 256 };

struct fm_store {
    struct fm_store_file *file;
    struct fm_mailbox *answers;
    pthread_t thread;
    struct fm_loop loop;    /* the thread's */
    struct fm_mailbox asks; /* of that loop */
    struct fm_msg stop_msg;
    struct fm_store_job *first, **last;
    bool stop;
    uint64_t cluster, revision; /* at the beginning */
};

static void answer_delivered(struct fm_msg *m, void *user)
{
    (void)user;
    struct fm_store_job *j = fm_container_of(m, struct fm_store_job, msg);
    j->done(j);
}

static void job_delivered(struct fm_msg *m, void *user)
{
    struct fm_store *s = user;
    struct fm_store_job *j = fm_container_of(m, struct fm_store_job, msg);
    j->next = NULL;
    *s->last = j;
    s->last = &j->next;
}

static void stop_delivered(struct fm_msg *m, void *user)
{
    (void)m;
    ((struct fm_store *)user)->stop = true;
}

static void work(struct fm_store *s)
{
    struct fm_store_job *batch[BATCH_MAX];
    while (s->first) {
        size_t n = 0;
        for (; s->first && n < BATCH_MAX; s->first = s->first->next)
            batch[n++] = s->first;
        if (!s->first)
            s->last = &s->first;
        fm_store_file_work(s->file, batch, n);
        for (size_t i = 0; i < n; i++) {
            batch[i]->msg.deliver = answer_delivered;
            fm_mailbox_post(s->answers, &batch[i]->msg);
        }
    }
}

static void *store_loop(void *arg)
{
    struct fm_store *s = arg;
    while (!s->stop) {
        fm_loop_turn(&s->loop, 3600 * FM_NS_PER_S);
        work(s);
    }
    return NULL;
}

struct fm_store *fm_store_open(const char *path, const char *service, struct fm_mailbox *answers,
                               struct fm_error *e)
{
    struct fm_store *s = calloc(1, sizeof *s);
    if (!s) {
        fm_error_set(e, FM_ERR_MEMORY, "out of memory");
        return NULL;
    }
    s->answers = answers;
    s->last = &s->first;
    s->file = fm_store_file_open(path, service, e);
    if (!s->file) {
        free(s);
        return NULL;
    }
    fm_store_file_shows(s->file, &s->cluster, &s->revision);
    bool loop = fm_loop_init(&s->loop, NULL, e) == FM_ERR_OK;
    bool box = loop && fm_mailbox_open(&s->asks, &s->loop, s, e) == FM_ERR_OK;
    int rc = box ? pthread_create(&s->thread, NULL, store_loop, s) : 0;
    if (box && rc == 0)
        return s;
    if (rc)
        fm_error_errno(e, FM_ERR_LIMIT, rc, "cannot start the thread of %s", path);
    if (box)
        fm_mailbox_close(&s->asks);
    if (loop)
        fm_loop_deinit(&s->loop);
    fm_store_file_close(s->file);
    free(s);
    return NULL;
}

void fm_store_shows(const struct fm_store *s, uint64_t *cluster, uint64_t *revision)
{
    *cluster = s->cluster;
    *revision = s->revision;
}

void fm_store_submit(struct fm_store *s, struct fm_store_job *job)
{
    FM_ASSERT(job->ask && job->done);
    job->msg.deliver = job_delivered;
    job->failed = job->compacted = job->empty = false;
    job->text = NULL;
    job->n = 0;
    fm_mailbox_post(&s->asks, &job->msg);
}

void fm_store_close(struct fm_store *s)
{
    s->stop_msg.deliver = stop_delivered;
    fm_mailbox_post(&s->asks, &s->stop_msg);
    pthread_join(s->thread, NULL);
    FM_ASSERT(!s->first);
    fm_mailbox_close(&s->asks);
    fm_loop_deinit(&s->loop);
    fm_store_file_close(s->file);
    free(s);
}
