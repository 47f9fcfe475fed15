/* The loader: see the header. Invariant: of a file `live` and `waits` are touched by the loader's
 * thread alone; `result` and `report` too, but from the answer's posting to the end of `loaded`,
 * when they are control's. At the end, when that thread is no more, all of it is control's. */
#include "homes/loader.h"

#include "base/assert.h"
#include "conf/report.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A third of a worker's share of a busy core: a reload takes longer, and nobody waits for it. */
enum { NICE = 5, LIVE_MAX = 2 };

/* What a turn (homes/turn.h) cannot bound is one call of the kernel: a first touch of a huge page
 * takes milliseconds where a host has to find the memory. The kernel looks at its clock ticks
 * whether a slice is over; with its own, a tick and a half may pass until it is. */
#define SLICE_NS (500 * FM_NS_PER_US)

struct fm_homes_loader {
    pthread_t thread;
    struct fm_loop loop;
    struct fm_mailbox inbox, *control;
    struct fm_homes_file *files;
    struct fm_msg quit;
    _Atomic bool stop;
    uint64_t live; /* of all files */
};

/* -------- on the loader's thread -------- */

static void load(struct fm_homes_file *f)
{
    FM_ASSERT(f->live < LIVE_MAX && !f->result);
    f->waits = false;
    fm_conf_report_init(&f->report);
    struct fm_tenants *t = fm_tenants_load(&f->spec, &f->report);
    struct fm_homes *h = t ? calloc(1, sizeof *h) : NULL;
    if (h) {
        h->tenants = t;
        h->file = f;
        atomic_store(&h->refs, 1);
        f->live++;
        f->loader->live++;
    } else if (t) {
        fm_tenants_free(t);
        fm_report_error(&f->report, (struct fm_conf_pos){f->spec.path, 0, 0}, "out of memory");
    }
    f->result = h;
    fm_mailbox_post(f->loader->control, &f->answer);
}

static void asked(struct fm_msg *m, void *user)
{
    struct fm_homes_file *f = fm_container_of(m, struct fm_homes_file, ask);
    struct fm_homes_loader *l = user;
    FM_ASSERT(f->loader == l && !f->waits);
    f->waits = true;
    if (f->live < LIVE_MAX && !atomic_load(&l->stop))
        load(f);
}

static void dispose(struct fm_homes *h)
{
    struct fm_homes_file *f = h->file;
    FM_ASSERT(f->live > 0 && f->loader->live > 0);
    f->live--;
    f->loader->live--;
    fm_tenants_free(h->tenants);
    free(h);
}

static void retired(struct fm_msg *m, void *user)
{
    struct fm_homes *h = fm_container_of(m, struct fm_homes, retire);
    struct fm_homes_loader *l = user;
    struct fm_homes_file *f = h->file;
    FM_ASSERT(atomic_load(&h->refs) == 0);
    dispose(h);
    if (f->waits && !atomic_load(&l->stop))
        load(f);
}

static void quit(struct fm_msg *m, void *user)
{
    struct fm_homes_loader *l = user;
    FM_ASSERT(m == &l->quit);
    fm_loop_stop(&l->loop);
}

/* sched_setattr(2) of this thread alone; refused it only costs the workers some of their time. Who
 * is of this class drives nobody from a CPU when it wakes up. Linux before 6.12 leaves the slice as
 * it is. */
static void step_back(void)
{
    const struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime_ns, deadline_ns, period_ns;
    } how = {.size = 48, .policy = SCHED_BATCH, .nice = NICE, .runtime_ns = SLICE_NS};
    _Static_assert(sizeof how == 48, "the first version of struct sched_attr");
    (void)syscall(SYS_sched_setattr, 0, &how, 0U);
}

static void *run(void *arg)
{
    struct fm_homes_loader *l = arg;
    step_back();
    fm_loop_run(&l->loop);
    return NULL;
}

/* -------- on control's loop -------- */

static void answered(struct fm_msg *m, void *user)
{
    (void)user;
    struct fm_homes_file *f = fm_container_of(m, struct fm_homes_file, answer);
    struct fm_homes *h = f->result;
    FM_ASSERT(f->busy && (!f->waits || !f->loader));
    f->result = NULL;
    if (f->loader)
        f->loaded(f, h, &f->report);
    fm_conf_report_deinit(&f->report);
    f->busy = false;
    if (f->again && f->loader)
        fm_homes_file_load(f);
}

void fm_homes_file_init(struct fm_homes_file *f, struct fm_homes_loader *l)
{
    FM_ASSERT(f->loaded);
    f->loader = l;
    f->next = l->files;
    l->files = f;
    f->spec.stop = &l->stop;
    f->ask = (struct fm_msg){.deliver = asked};
    f->answer = (struct fm_msg){.deliver = answered};
    f->busy = f->again = f->waits = false;
    f->result = NULL;
    f->live = 0;
}

void fm_homes_file_load(struct fm_homes_file *f)
{
    f->again = f->busy;
    if (f->busy)
        return;
    f->busy = true;
    fm_mailbox_post(&f->loader->inbox, &f->ask);
}

struct fm_homes_loader *fm_homes_loader_new(struct fm_mailbox *control, struct fm_error *e)
{
    struct fm_homes_loader *l = calloc(1, sizeof *l);
    if (!l) {
        fm_error_set(e, FM_ERR_MEMORY, "no memory for the loader of directories");
        return NULL;
    }
    l->control = control;
    if (fm_loop_init(&l->loop, NULL, e)) {
        free(l);
        return NULL;
    }
    if (!fm_mailbox_open(&l->inbox, &l->loop, l, e)) {
        int rc = pthread_create(&l->thread, NULL, run, l);
        if (rc == 0) {
            (void)pthread_setname_np(l->thread, "homes");
            return l;
        }
        fm_error_errno(e, FM_ERR_LIMIT, rc, "cannot start the loader of directories");
        fm_mailbox_close(&l->inbox);
    }
    fm_loop_deinit(&l->loop);
    free(l);
    return NULL;
}

void fm_homes_loader_free(struct fm_homes_loader *l)
{
    if (!l)
        return;
    atomic_store(&l->stop, true);
    l->quit = (struct fm_msg){.deliver = quit};
    fm_mailbox_post(&l->inbox, &l->quit);
    pthread_join(l->thread, NULL);
    fm_mailbox_close(&l->inbox); /* disposes of what was dropped last */
    for (struct fm_homes_file *f = l->files; f; f = f->next) {
        if (f->result)
            dispose(f->result);
        f->result = NULL;
        f->loader = NULL; /* an answer on its way will know */
        FM_ASSERT(f->live == 0);
    }
    FM_ASSERT(l->live == 0);
    fm_loop_deinit(&l->loop);
    free(l);
}

/* -------- snapshots, any thread -------- */

void fm_homes_ref(struct fm_homes *h)
{
    uint32_t before = atomic_fetch_add(&h->refs, 1);
    FM_ASSERT(before > 0);
}

void fm_homes_unref(struct fm_homes *h)
{
    if (!h || atomic_fetch_sub(&h->refs, 1) != 1)
        return;
    h->retire = (struct fm_msg){.deliver = retired};
    fm_mailbox_post(&h->file->loader->inbox, &h->retire);
}

struct hand_msg {
    struct fm_msg msg;
    struct fm_homes_seat *seat;
    struct fm_homes *homes;
};

static void handed(struct fm_msg *m, void *user)
{
    (void)user;
    struct hand_msg *hm = fm_container_of(m, struct hand_msg, msg);
    fm_homes_seat_clear(hm->seat);
    hm->seat->now = hm->homes;
    free(hm);
}

bool fm_homes_hand(struct fm_mailbox *to, struct fm_homes_seat *seat, struct fm_homes *h)
{
    struct hand_msg *hm = calloc(1, sizeof *hm);
    if (!hm)
        return false;
    fm_homes_ref(h);
    *hm = (struct hand_msg){.msg.deliver = handed, .seat = seat, .homes = h};
    fm_mailbox_post(to, &hm->msg);
    return true;
}

void fm_homes_seat_clear(struct fm_homes_seat *seat)
{
    fm_homes_unref(seat->now);
    seat->now = NULL;
}
