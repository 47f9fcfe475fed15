/* Writing views: see the header. Invariant: `busy` from when the thread is given a text until its
 * message is delivered; meanwhile `result` is the thread's, else the loop's. */
#include "proxy/view_store.h"

#include "base/assert.h"
#include "base/log.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum { AGAIN_MS = 1000 };

struct fm_view_store {
    struct fm_mailbox *mailbox;
    char folder[PATH_MAX];
    bool keep_old, trouble, closing;
    struct fm_error why;
    struct fm_timer again;
    char *next; /* to be written when the thread is free */
    size_t next_n;
    bool busy;
    /* between the loop and the thread */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    char *text; /* what is to be written */
    size_t text_n;
    bool begun; /* it was handed over, and is not written yet */
    bool ending;
    struct fm_msg msg;
    enum fm_err result;
    struct fm_error error;
};

static void *run(void *arg)
{
    struct fm_view_store *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->begun && !s->ending)
            pthread_cond_wait(&s->wake, &s->lock);
        if (!s->begun)
            break;
        s->begun = false;
        pthread_mutex_unlock(&s->lock);
        s->result =
            fm_view_file_save(s->folder, fm_str(s->text, s->text_n), s->keep_old, &s->error);
        fm_mailbox_post(s->mailbox, &s->msg);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void begin(struct fm_view_store *s)
{
    FM_ASSERT(!s->busy && s->next);
    fm_loop_cancel(s->mailbox->loop, &s->again);
    s->busy = true;
    pthread_mutex_lock(&s->lock);
    FM_ASSERT(!s->text && !s->begun);
    s->text = s->next;
    s->text_n = s->next_n;
    s->begun = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    s->next = NULL;
}

static void try_again(struct fm_timer *t)
{
    struct fm_view_store *s = fm_container_of(t, struct fm_view_store, again);
    if (!s->busy && s->next)
        begin(s);
}

static void done(struct fm_view_store *s, char *text)
{
    free(text);
    if (s->trouble)
        fm_log(FM_LOG_WARN, "view_written_again", FM_KZ("folder", s->folder));
    s->trouble = s->keep_old = false; /* what is there now is good */
    if (s->next && !s->closing)
        begin(s);
}

static void failed(struct fm_view_store *s, char *text)
{
    if (!s->trouble)
        fm_log(FM_LOG_ERROR, "view_not_written", FM_KE(&s->error),
               FM_KZ("meaning", "a restart would begin with an older view"));
    s->trouble = true;
    s->why = s->error;
    if (s->next) {
        free(text); /* there is a newer one */
    } else {
        s->next = text;
        s->next_n = s->text_n;
    }
    if (!s->closing)
        fm_loop_timer_in_ms(s->mailbox->loop, &s->again, AGAIN_MS);
}

static void written(struct fm_msg *m, void *user)
{
    (void)user;
    struct fm_view_store *s = fm_container_of(m, struct fm_view_store, msg);
    FM_ASSERT(s->busy);
    s->busy = false;
    char *text = s->text;
    s->text = NULL;
    if (s->result)
        failed(s, text);
    else
        done(s, text);
}

void fm_view_store_put(struct fm_view_store *s, char *bytes, size_t n)
{
    FM_ASSERT(bytes && n > 0);
    free(s->next);
    s->next = bytes;
    s->next_n = n;
    if (!s->busy && !fm_timer_is_set(&s->again))
        begin(s);
}

const char *fm_view_store_trouble(const struct fm_view_store *s)
{
    return s->trouble ? s->why.msg : NULL;
}

bool fm_view_store_is_busy(const struct fm_view_store *s)
{
    return s->busy || s->next;
}

struct fm_view_store *fm_view_store_open(struct fm_mailbox *m, const char *folder, bool keep_old,
                                         struct fm_error *e)
{
    struct fm_view_store *s = calloc(1, sizeof *s);
    if (!s) {
        fm_error_set(e, FM_ERR_MEMORY, "no memory to keep views");
        return NULL;
    }
    s->mailbox = m;
    s->keep_old = keep_old;
    s->msg.deliver = written;
    snprintf(s->folder, sizeof s->folder, "%s", folder);
    fm_timer_init(&s->again, try_again);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    if (pthread_create(&s->thread, NULL, run, s) == 0)
        return s;
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    free(s);
    fm_error_set(e, FM_ERR_LIMIT, "no thread to keep views");
    return NULL;
}

/* What the thread posts is delivered before the memory goes. */
static void wait_until_idle(struct fm_view_store *s)
{
    while (s->busy)
        fm_loop_turn(s->mailbox->loop, FM_NS_PER_MS);
}

void fm_view_store_close(struct fm_view_store *s)
{
    if (!s)
        return;
    s->closing = true;
    wait_until_idle(s);
    if (s->next)
        begin(s);
    wait_until_idle(s);
    pthread_mutex_lock(&s->lock);
    s->ending = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    fm_loop_cancel(s->mailbox->loop, &s->again);
    free(s->next);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    free(s);
}
