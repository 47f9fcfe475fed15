/* Writing marks: see the header. Invariant: `durable` is the last ticket whose marks were in a text
 * that is on the disk; while a text is being written what is put waits for the next one. */
#include "agent/keep.h"

#include "base/assert.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rand.h"

#include <stdlib.h>

enum { AGAIN_MS = 500 };
#define LIFE_MAX ((UINT64_C(1) << 53) - 1)

struct fm_keep {
    struct fm_keep_config config;
    char *path;
    struct fm_marks_doc doc, *found; /* found: as it was on the disk */
    uint64_t ticket, durable;
    struct fm_timer again;
    bool trouble;
    struct fm_error error;
    /* between the loop and the thread */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool ending;
    char *text; /* to be written; the thread's from then on */
    /* of the write at hand: the loop's, but while it is `busy` the thread's */
    struct fm_msg msg;
    bool busy;
    uint64_t writing; /* its ticket */
    enum fm_err result;
    struct fm_error why;
};

/* -------- the thread -------- */

static void *run(void *arg)
{
    struct fm_keep *k = arg;
    pthread_mutex_lock(&k->lock);
    for (;;) {
        while (!k->text && !k->ending)
            pthread_cond_wait(&k->wake, &k->lock);
        if (k->ending)
            break;
        char *text = k->text;
        k->text = NULL;
        pthread_mutex_unlock(&k->lock);
        k->result = fm_file_replace(k->path, fm_str_z(text), 0600, &k->why);
        free(text);
        fm_mailbox_post(k->config.mailbox, &k->msg);
        pthread_mutex_lock(&k->lock);
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

/* -------- the loop -------- */

static void write_now(struct fm_keep *k)
{
    FM_ASSERT(!k->busy);
    fm_loop_cancel(k->config.mailbox->loop, &k->again);
    char *text = fm_marks_write(k->config.roster, &k->doc);
    if (!text) {
        fm_loop_timer_in_ms(k->config.mailbox->loop, &k->again, AGAIN_MS);
        return;
    }
    k->busy = true;
    k->writing = k->ticket;
    pthread_mutex_lock(&k->lock);
    FM_ASSERT(!k->text);
    k->text = text;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
}

static void try_again(struct fm_timer *t)
{
    struct fm_keep *k = fm_container_of(t, struct fm_keep, again);
    if (!k->busy && k->durable < k->ticket)
        write_now(k);
}

static void failed(struct fm_keep *k)
{
    if (!k->trouble)
        fm_log(FM_LOG_ERROR, "marks_not_written", FM_KZ("file", k->path), FM_KE(&k->why),
               FM_KZ("meaning", "nothing is granted, promised or acquired that depends on them"));
    k->trouble = true;
    k->error = k->why;
    fm_loop_timer_in_ms(k->config.mailbox->loop, &k->again, AGAIN_MS);
}

static void delivered(struct fm_msg *m, void *user)
{
    (void)user;
    struct fm_keep *k = fm_container_of(m, struct fm_keep, msg);
    FM_ASSERT(k->busy && k->writing >= k->durable);
    k->busy = false;
    if (k->ending)
        return;
    if (k->result) {
        failed(k);
        return;
    }
    if (k->trouble)
        fm_log(FM_LOG_WARN, "marks_written_again", FM_KZ("file", k->path));
    k->trouble = false;
    k->durable = k->writing;
    if (k->durable < k->ticket)
        write_now(k);
    k->config.written(k->config.user);
}

uint64_t fm_keep_put(struct fm_keep *k, struct fm_str context, unsigned ncells,
                     const struct fm_marks *m)
{
    struct fm_marks_context *c = fm_marks_place(&k->doc, context, ncells);
    if (!c)
        return 0;
    c->marks = *m;
    k->ticket++;
    if (!k->busy && !fm_timer_is_set(&k->again))
        write_now(k);
    return k->ticket;
}

uint64_t fm_keep_durable(const struct fm_keep *k)
{
    return k->durable;
}

uint64_t fm_keep_life(const struct fm_keep *k)
{
    return k->doc.life;
}

const struct fm_marks_doc *fm_keep_doc(const struct fm_keep *k)
{
    return &k->doc;
}

const char *fm_keep_trouble(const struct fm_keep *k)
{
    return k->trouble ? k->error.msg : NULL;
}

const struct fm_marks *fm_keep_marks(const struct fm_keep *k, struct fm_str context)
{
    for (unsigned i = 0; i < k->found->n; i++)
        if (fm_str_eqz(context, k->found->context[i].name))
            return &k->found->context[i].marks;
    return NULL;
}

/* -------- opening and closing -------- */

static enum fm_err read_file(struct fm_keep *k, struct fm_error *e)
{
    char *bytes = NULL;
    size_t n = 0;
    enum fm_err err = fm_file_read(k->path, FM_MARKS_TEXT_MAX, &bytes, &n, e);
    if (err == FM_ERR_NOT_FOUND)
        return FM_ERR_OK; /* a new host */
    if (!err)
        err = fm_marks_read(k->config.roster, &k->doc, fm_str(bytes, n), e);
    free(bytes);
    if (!err && strcmp(k->doc.service, k->config.service) != 0)
        err = fm_error_set(e, FM_ERR_INVALID, "it is of the service `%s`", k->doc.service);
    return err;
}

static uint64_t draw_life(uint64_t last)
{
    uint64_t life;
    do {
        fm_rand_bytes(&life, sizeof life);
        life &= LIFE_MAX;
    } while (life == 0 || life == last);
    return life;
}

static enum fm_err begin(struct fm_keep *k, struct fm_error *e)
{
    enum fm_err err = read_file(k, e);
    if (err)
        return fm_error_wrap(e, "%s", k->path);
    size_t n = strlen(k->config.service);
    if (n >= sizeof k->doc.service)
        return fm_error_set(e, FM_ERR_LIMIT, "the name of the service is too long");
    memcpy(k->doc.service, k->config.service, n + 1);
    *k->found = k->doc;
    k->doc.life = draw_life(k->doc.life);
    char *text = fm_marks_write(k->config.roster, &k->doc);
    err = text ? fm_file_replace(k->path, fm_str_z(text), 0600, e)
               : fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    free(text);
    return err;
}

static void keep_free(struct fm_keep *k)
{
    if (!k)
        return;
    free(k->found);
    free(k->path);
    free(k);
}

struct fm_keep *fm_keep_open(const struct fm_keep_config *c, struct fm_error *e)
{
    FM_ASSERT(c->path && c->service && c->roster && c->mailbox && c->written);
    struct fm_keep *k = calloc(1, sizeof *k);
    char *path = strdup(c->path);
    struct fm_marks_doc *found = calloc(1, sizeof *found);
    if (!k || !path || !found) {
        free(path);
        free(found);
        free(k);
        fm_error_set(e, FM_ERR_MEMORY, "out of memory");
        return NULL;
    }
    k->config = *c;
    k->path = path;
    k->found = found;
    k->msg.deliver = delivered;
    fm_timer_init(&k->again, try_again);
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->wake, NULL);
    enum fm_err err = begin(k, e);
    if (!err && pthread_create(&k->thread, NULL, run, k) != 0)
        err = fm_error_set(e, FM_ERR_LIMIT, "no thread for %s", path);
    if (err) {
        keep_free(k);
        return NULL;
    }
    return k;
}

void fm_keep_close(struct fm_keep *k)
{
    if (!k)
        return;
    pthread_mutex_lock(&k->lock);
    k->ending = true;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
    if (k->text) { /* it was not begun: no message comes for it */
        free(k->text);
        k->busy = false;
    }
    while (k->busy) /* what the thread posted is delivered before the memory goes */
        fm_loop_turn(k->config.mailbox->loop, FM_NS_PER_MS);
    fm_loop_cancel(k->config.mailbox->loop, &k->again);
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->wake);
    keep_free(k);
}
