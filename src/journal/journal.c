/* The journal's thread: see the header. It has a loop of its own whose mailbox collects calls;
 * after each turn all that has come is one transaction. Invariants: a call goes back to its caller
 * only after the transaction it was part of is durable, or has failed; after a failure nothing is
 * written any more; `waiting` counts the calls between submission and their going back. */
#include "journal/journal.h"

#include "base/assert.h"
#include "base/log.h"
#include "journal/store.h"

#include <pthread.h>
#include <stdlib.h>

enum { BATCH_MAX = 1024, IDLE_MS = 1000, POOL_BLOCK = 4096, PARCELS = 16 };

/* Who has just been answered comes back with the next call in a moment. A transaction waits for as
 * many, as long as more keep coming, and at most for this part of what a commit takes. */
enum { GATHER_PART = 4, GATHER_STEP_NS = 100 * 1000 };

struct fm_journal {
    struct fm_journal_store store;
    pthread_t thread;
    struct fm_pool pool; /* its loop has no sockets: empty */
    struct fm_loop loop;
    struct fm_mailbox inbox;
    struct fm_msg stop_msg;
    bool stop;
    struct fm_msg *first, **last; /* that have come, linked by msg.next, in their order */
    unsigned come;                /* how many they are */
    unsigned told;                /* how many went back last */
    int64_t commit_ns;            /* what a commit takes, smoothed */
    _Atomic uint32_t waiting;
    _Atomic bool failed; /* then `why` is there to be read */
    struct fm_error why;
    struct fm_journal_stats stats;
};

/* -------- one batch -------- */

static void run(struct fm_journal_store *s, struct fm_journal_call *c)
{
    c->err = FM_ERR_OK;
    switch (c->op) {
    case FM_JOURNAL_BEGIN:
        fm_journal_store_begin(s, c);
        return;
    case FM_JOURNAL_OUTCOME:
        fm_journal_store_outcome(s, c);
        return;
    case FM_JOURNAL_WITHDRAW:
        fm_journal_store_withdraw(s, c);
        return;
    case FM_JOURNAL_READ:
        fm_journal_store_read(s, c);
        return;
    case FM_JOURNAL_CURSOR:
        fm_journal_store_cursor(s, c);
        return;
    case FM_JOURNAL_IMPORT:
        fm_journal_store_import(s, c);
        return;
    case FM_JOURNAL_ENQUEUE:
        fm_journal_store_enqueue(s, c);
        return;
    case FM_JOURNAL_DUE:
        fm_journal_store_due(s, c);
        return;
    case FM_JOURNAL_TAKE:
        fm_journal_store_take(s, c);
        return;
    case FM_JOURNAL_SETTLE:
        fm_journal_store_settle(s, c);
        return;
    case FM_JOURNAL_ASK:
        fm_journal_store_ask(s, c);
        return;
    }
    FM_UNREACHABLE();
}

static bool is_bounded(const struct fm_journal_call *c)
{
    return c->op != FM_JOURNAL_OUTCOME && c->op != FM_JOURNAL_WITHDRAW &&
           c->op != FM_JOURNAL_SETTLE;
}

static bool asks_for_a_decision(const struct fm_journal_call *c)
{
    return c->op == FM_JOURNAL_BEGIN || c->op == FM_JOURNAL_ENQUEUE;
}

static void decide_without(struct fm_journal_call *c, enum fm_idem_known known)
{
    if (!asks_for_a_decision(c))
        return;
    c->command.facts.known = known;
    c->decision = fm_idem_decide(&c->command.facts);
}

/* Whatever it had found is not durable, or not to be relied on. */
static void spoil(struct fm_journal_call *c)
{
    fm_journal_forget(c);
    c->err = FM_ERR_IO;
    if (asks_for_a_decision(c))
        c->seq = 0;
    decide_without(c, FM_IDEM_FAILED);
}

static struct fm_journal_call *call_of(struct fm_msg *m)
{
    return fm_container_of(m, struct fm_journal_call, msg);
}

/* Cut the first calls off the list; how many. */
static unsigned cut_batch(struct fm_journal *j, struct fm_msg **batch)
{
    unsigned n = 0;
    struct fm_msg **end = &j->first;
    FM_ASSERT(j->first && !*j->last);
    *batch = j->first;
    while (*end && n < BATCH_MAX) {
        end = &(*end)->next;
        n++;
    }
    j->first = *end;
    if (!j->first)
        j->last = &j->first;
    *end = NULL;
    FM_ASSERT(n >= 1 && n <= BATCH_MAX && n <= j->come);
    j->come -= n;
    return n;
}

static void delivered(struct fm_msg *m, void *user)
{
    (void)user;
    struct fm_journal_call *c = call_of(m);
    FM_ASSERT(c->busy);
    c->busy = false;
    c->done(c);
}

/* What goes to one mailbox goes together, so that its loop is woken once for a batch. */
struct parcel {
    struct fm_mailbox *to;
    struct fm_msg *last, *first;
};

static struct parcel *parcel_for(struct parcel *p, unsigned *n, struct fm_mailbox *to)
{
    for (unsigned i = 0; i < *n; i++)
        if (p[i].to == to)
            return &p[i];
    if (*n == PARCELS) { /* more loops than that: one of them is told a part now */
        p = &p[--*n];
        fm_mailbox_post_chain(p->to, p->last, p->first);
    } else {
        p += *n;
    }
    *p = (struct parcel){.to = to};
    ++*n;
    return p;
}

static void post_batch(struct fm_journal *j, struct fm_msg *batch, unsigned calls, bool good)
{
    struct parcel parcel[PARCELS];
    unsigned n = 0;
    /* before they are their callers' again: who has got one back may submit it at once */
    uint32_t waited = atomic_fetch_sub_explicit(&j->waiting, calls, memory_order_relaxed);
    FM_ASSERT(waited >= calls);
    while (batch) {
        struct fm_msg *next = batch->next;
        struct fm_journal_call *c = call_of(batch);
        if (!good)
            spoil(c);
        FM_ASSERT(c->busy);
        c->msg.deliver = delivered;
        struct parcel *p = parcel_for(parcel, &n, c->to);
        batch->next = p->last;
        p->last = batch;
        p->first = p->first ? p->first : batch;
        batch = next;
    }
    for (unsigned i = 0; i < n; i++)
        fm_mailbox_post_chain(parcel[i].to, parcel[i].last, parcel[i].first);
}

static void fail(struct fm_journal *j)
{
    if (atomic_load(&j->failed))
        return;
    FM_ASSERT(j->store.db.failed);
    j->why = j->store.db.why;
    fm_log(FM_LOG_ERROR, "journal_failed", FM_KZ("path", j->store.o.path), FM_KE(&j->why));
    atomic_store(&j->failed, true);
}

static int64_t lap(struct fm_mono *since)
{
    struct fm_mono now = fm_mono_now();
    int64_t ns = fm_mono_sub_ns(now, *since);
    *since = now;
    return ns > 0 ? ns : 0;
}

static void checkpoint(struct fm_journal *j, struct fm_mono *t)
{
    if (!fm_journal_store_checkpoint_is_due(&j->store))
        return;
    fm_journal_store_checkpoint(&j->store);
    fm_counter_inc(&j->stats.checkpoints);
    fm_counter_add(&j->stats.checkpoint_ns, (uint64_t)lap(t));
    if (j->store.db.failed)
        fail(j);
}

static void expire(struct fm_journal *j)
{
    if (fm_journal_store_is_something_old(&j->store) && !j->store.db.failed)
        fm_counter_add(&j->stats.expired, fm_journal_store_expire(&j->store));
}

static bool transact(struct fm_journal *j, struct fm_msg *batch, struct fm_mono *t)
{
    struct fm_journal_store *s = &j->store;
    if (!s->db.failed && fm_journal_store_transaction(s)) {
        for (struct fm_msg *m = batch; m && !s->db.failed; m = m->next)
            run(s, call_of(m));
        expire(j);
        if (!s->db.failed)
            fm_journal_keys_move(s);
    }
    fm_counter_add(&j->stats.work_ns, (uint64_t)lap(t));
    bool good = !s->db.failed && fm_journal_store_commit(s);
    int64_t ns = lap(t);
    j->commit_ns += (ns - j->commit_ns) / 8;
    fm_counter_add(&j->stats.commit_ns, (uint64_t)ns);
    fm_hist_add(&j->stats.commit_us, (uint64_t)(ns / FM_NS_PER_US));
    return good;
}

static void run_batches(struct fm_journal *j, struct fm_mono *t)
{
    while (j->first) {
        struct fm_msg *batch;
        unsigned n = cut_batch(j, &batch);
        bool good = transact(j, batch, t);
        if (!good)
            fail(j); /* first, so that who is told can ask why */
        fm_counter_add(&j->stats.calls, n);
        fm_counter_inc(&j->stats.batches);
        post_batch(j, batch, n, good);
        j->told = n;
        fm_counter_add(&j->stats.post_ns, (uint64_t)lap(t));
        checkpoint(j, t);
    }
}

/* Nothing came for a while: forget what is old. */
static void tidy(struct fm_journal *j, struct fm_mono *t)
{
    if (j->store.db.failed || !fm_journal_store_is_something_old(&j->store))
        return;
    if (!transact(j, NULL, t))
        fail(j);
    checkpoint(j, t);
}

/* -------- its thread -------- */

static void arrived(struct fm_msg *m, void *user)
{
    struct fm_journal *j = user;
    FM_ASSERT(call_of(m)->busy);
    m->next = NULL;
    *j->last = m;
    j->last = &m->next;
    j->come++;
}

static void stop_arrived(struct fm_msg *m, void *user)
{
    (void)m;
    ((struct fm_journal *)user)->stop = true;
}

static void gather(struct fm_journal *j)
{
    struct fm_mono until = fm_mono_add_ns(fm_mono_now(), j->commit_ns / GATHER_PART);
    unsigned had = 0;
    while (!j->stop && j->come < j->told && j->come > had && fm_mono_before(fm_mono_now(), until)) {
        had = j->come;
        fm_loop_turn(&j->loop, GATHER_STEP_NS);
    }
}

static void *journal_loop(void *arg)
{
    struct fm_journal *j = arg;
    struct fm_mono t = fm_mono_now();
    bool tidied = true;
    while (!j->stop || j->first) {
        uint64_t had = fm_counter_get(&j->stats.expired);
        /* as long as there is more to forget it does not sleep */
        fm_loop_turn(&j->loop, tidied ? IDLE_MS * FM_NS_PER_MS : 0);
        if (j->first)
            gather(j);
        fm_counter_add(&j->stats.idle_ns, (uint64_t)lap(&t));
        if (j->first)
            run_batches(j, &t);
        else
            tidy(j, &t);
        tidied = fm_counter_get(&j->stats.expired) == had;
    }
    return NULL;
}

/* -------- open and close -------- */

static enum fm_err start(struct fm_journal *j, struct fm_error *e)
{
    enum fm_err err = fm_loop_init(&j->loop, &j->pool, e);
    if (err)
        return err;
    err = fm_mailbox_open(&j->inbox, &j->loop, j, e);
    if (!err) {
        int rc = pthread_create(&j->thread, NULL, journal_loop, j);
        if (rc == 0)
            return FM_ERR_OK;
        fm_mailbox_close(&j->inbox);
        err = fm_error_errno(e, FM_ERR_LIMIT, rc, "cannot start the thread of the journal");
    }
    fm_loop_deinit(&j->loop);
    return err;
}

struct fm_journal *fm_journal_open(const struct fm_journal_options *o, struct fm_error *e)
{
    struct fm_journal *j = calloc(1, sizeof *j);
    if (!j) {
        fm_error_set(e, FM_ERR_MEMORY, "no memory for the journal");
        return NULL;
    }
    j->last = &j->first;
    fm_pool_init(&j->pool, POOL_BLOCK, 1);
    enum fm_err err = fm_journal_store_open(&j->store, o, e);
    if (!err) {
        err = start(j, e);
        if (err)
            fm_journal_store_close(&j->store);
    }
    if (err) {
        fm_error_wrap(e, "cannot open the journal %s", o->path);
        fm_pool_deinit(&j->pool);
        free(j);
        return NULL;
    }
    return j;
}

void fm_journal_close(struct fm_journal *j)
{
    if (!j)
        return;
    j->stop_msg.deliver = stop_arrived;
    fm_mailbox_post(&j->inbox, &j->stop_msg);
    pthread_join(j->thread, NULL);
    FM_ASSERT(atomic_load(&j->waiting) == 0); /* somebody submits while it is closed */
    fm_mailbox_close(&j->inbox);
    fm_loop_deinit(&j->loop);
    fm_journal_store_close(&j->store);
    fm_pool_deinit(&j->pool);
    free(j);
}

/* -------- for any thread -------- */

static enum fm_err refuse(struct fm_journal *j, struct fm_journal_call *c, enum fm_idem_known known,
                          enum fm_err err)
{
    atomic_fetch_add_explicit(&j->stats.refused.v, 1, memory_order_relaxed); /* of any thread */
    decide_without(c, known);
    c->err = err;
    return err;
}

static void check_call(const struct fm_journal_call *c)
{
    FM_ASSERT(!c->busy && c->to && c->done && !c->memory);
    if (asks_for_a_decision(c)) {
        const struct fm_journal_command *m = &c->command;
        FM_ASSERT(m->context.n >= 1 && m->context.n <= FM_JOURNAL_CONTEXT_MAX);
        FM_ASSERT(m->facts.epoch <= INT64_MAX && m->facts.first_epoch <= INT64_MAX);
        FM_ASSERT(m->facts.by < FM_IDEM_BY_COUNT && m->facts.need <= FM_IDEM_REQUIRED);
        FM_ASSERT(m->lane.n <= FM_JOURNAL_LANE_MAX && m->request.n <= INT32_MAX);
    }
    if (c->op == FM_JOURNAL_OUTCOME) {
        const struct fm_journal_outcome *o = &c->outcome;
        FM_ASSERT(o->state == FM_IDEM_DONE || o->state == FM_IDEM_UNKNOWN);
        FM_ASSERT(c->seq > 0);
        FM_ASSERT(o->state == FM_IDEM_UNKNOWN ||
                  (o->answer.status >= 100 && o->answer.status < 1000));
    }
}

enum fm_err fm_journal_submit(struct fm_journal *j, struct fm_journal_call *c)
{
    check_call(c);
    if (asks_for_a_decision(c)) {
        const struct fm_idem_facts *f = &c->command.facts;
        if (f->need == FM_IDEM_IGNORED || !fm_idem_key_is_valid(f->key)) {
            decide_without(c, FM_IDEM_ABSENT);
            return FM_ERR_INVALID;
        }
    }
    if (atomic_load(&j->failed))
        return refuse(j, c, FM_IDEM_FAILED, FM_ERR_STATE);
    uint32_t waiting = atomic_fetch_add_explicit(&j->waiting, 1, memory_order_relaxed);
    if (is_bounded(c) && waiting >= j->store.o.calls_max) {
        atomic_fetch_sub_explicit(&j->waiting, 1, memory_order_relaxed);
        return refuse(j, c, FM_IDEM_FULL, FM_ERR_LIMIT);
    }
    c->busy = true;
    c->msg.deliver = arrived;
    fm_mailbox_post(&j->inbox, &c->msg);
    return FM_ERR_OK;
}

void fm_journal_forget(struct fm_journal_call *c)
{
    free(c->memory);
    c->memory = NULL;
    c->answer = (struct fm_journal_answer){0};
    c->items = NULL;
    c->due = NULL;
    c->nitems = c->ndue = 0;
}

bool fm_journal_failure(const struct fm_journal *j, struct fm_error *e)
{
    if (!atomic_load(&j->failed))
        return false;
    *e = j->why;
    return true;
}

const struct fm_journal_stats *fm_journal_stats(const struct fm_journal *j)
{
    return &j->stats;
}
