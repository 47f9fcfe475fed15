/* Seats: see the header. A cell is published under a sequence lock with one writer; all of it is
 * atomics, so that a reader that meets a writer reads again and no thread reads what is torn. */
#include "proxy/seats.h"

#include "base/assert.h"
#include "base/bits.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fm_seats {
    struct fm_seats_context *context[FM_SEATS_CONTEXTS_MAX];
    unsigned n;
    struct fm_mailbox *control;
    void (*wanted)(void *user);
    void *user;
    _Atomic bool ringing;
    struct fm_msg bell;
};

/* -------- life -------- */

static void rang(struct fm_msg *m, void *user)
{
    (void)user;
    struct fm_seats *s = fm_container_of(m, struct fm_seats, bell);
    atomic_store(&s->ringing, false);
    if (s->wanted)
        s->wanted(s->user);
}

struct fm_seats *fm_seats_new(struct fm_mailbox *control, void (*wanted)(void *user), void *user)
{
    FM_ASSERT(!wanted || control);
    struct fm_seats *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->control = control;
    s->wanted = wanted;
    s->user = user;
    s->bell.deliver = rang;
    return s;
}

void fm_seats_free(struct fm_seats *s)
{
    if (!s)
        return;
    FM_ASSERT(s->n <= FM_SEATS_CONTEXTS_MAX);
    for (unsigned i = 0; i < s->n; i++) {
        free(s->context[i]->seat);
        free(s->context[i]);
    }
    free(s);
}

static struct fm_seats_context *new_context(struct fm_str name, unsigned ncells)
{
    struct fm_seats_context *c = calloc(1, sizeof *c);
    size_t bytes = 2 * ncells * sizeof *c->seat;
    _Static_assert(sizeof *c->seat % FM_CACHELINE == 0, "seats do not share lines");
    if (c)
        c->seat = aligned_alloc(FM_CACHELINE, bytes);
    if (!c || !c->seat) {
        free(c);
        return NULL;
    }
    memset(c->seat, 0, bytes);
    snprintf(c->name, sizeof c->name, "%.*s", FM_STR_ARG(name));
    c->ncells = ncells;
    return c;
}

enum fm_err fm_seats_context(struct fm_seats *s, struct fm_str name, unsigned ncells,
                             struct fm_seats_context **out, struct fm_error *e)
{
    FM_ASSERT(name.n > 0 && name.n < sizeof s->context[0]->name);
    FM_ASSERT(ncells > 0 && ncells <= FM_AUTH_CELLS_MAX);
    for (unsigned i = 0; i < s->n; i++) {
        if (!fm_str_eqz(name, s->context[i]->name))
            continue;
        *out = s->context[i];
        if (s->context[i]->ncells == ncells)
            return FM_ERR_OK;
        return fm_error_set(e, FM_ERR_STATE,
                            "context `%s` has %u cells for as long as this process lives, not %u",
                            s->context[i]->name, s->context[i]->ncells, ncells);
    }
    if (s->n == FM_SEATS_CONTEXTS_MAX)
        return fm_error_set(e, FM_ERR_LIMIT, "more than %d contexts in the life of a process",
                            FM_SEATS_CONTEXTS_MAX);
    struct fm_seats_context *c = new_context(name, ncells);
    if (!c)
        return fm_error_set(e, FM_ERR_MEMORY, "no memory for the cells of a context");
    s->context[s->n++] = c;
    struct fm_sublease none;
    fm_sublease_init(&none, 0, ncells, 0);
    for (unsigned i = 0; i < ncells; i++)
        fm_seats_publish_sublease(c, i, &none.cell[i]);
    *out = c;
    return FM_ERR_OK;
}

/* -------- the sequence lock -------- */

static struct fm_seat *seat_of(const struct fm_seats_context *c, unsigned cell)
{
    FM_ASSERT(cell < c->ncells && c->seat);
    return &c->seat[cell];
}

static void put(_Atomic uint32_t *sequence, _Atomic uint64_t *to, const uint64_t *word, unsigned n)
{
    uint32_t was = atomic_load_explicit(sequence, memory_order_relaxed);
    FM_ASSERT(was % 2 == 0); /* one writer */
    atomic_store_explicit(sequence, was + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    for (unsigned i = 0; i < n; i++)
        atomic_store_explicit(&to[i], word[i], memory_order_release);
    /* in one order with the counts in flight: see the header */
    atomic_store(sequence, was + 2);
}

static void get(const _Atomic uint32_t *sequence, const _Atomic uint64_t *from, uint64_t *word,
                unsigned n)
{
    for (;;) {
        uint32_t was = atomic_load(sequence);
        for (unsigned i = 0; i < n; i++)
            word[i] = atomic_load_explicit(&from[i], memory_order_acquire);
        if (was % 2 == 0 && atomic_load_explicit(sequence, memory_order_relaxed) == was)
            return;
    }
}

static struct fm_seat *view_of(const struct fm_seats_context *c, unsigned cell)
{
    FM_ASSERT(cell < c->ncells && c->seat);
    return &c->seat[c->ncells + cell];
}

static void write_words(struct fm_seat *s, const uint64_t word[FM_SEAT_WORDS])
{
    put(&s->sequence, s->word, word, FM_SEAT_WORDS);
}

static void read_words(const struct fm_seat *s, uint64_t word[FM_SEAT_WORDS])
{
    get(&s->sequence, s->word, word, FM_SEAT_WORDS);
}

void fm_seats_publish_message(struct fm_seats_context *c, struct fm_str message)
{
    uint64_t word[FM_SEATS_MESSAGE_ROOM / 8] = {0};
    size_t n = fm_min_size(message.n, FM_SEATS_MESSAGE_ROOM - 1);
    if (n)
        memcpy(word, message.p, n);
    put(&c->message_sequence, c->message, word, FM_SEATS_MESSAGE_ROOM / 8);
}

void fm_seats_read_message(const struct fm_seats_context *c, char out[FM_SEATS_MESSAGE_ROOM])
{
    uint64_t word[FM_SEATS_MESSAGE_ROOM / 8];
    get(&c->message_sequence, c->message, word, FM_SEATS_MESSAGE_ROOM / 8);
    memcpy(out, word, FM_SEATS_MESSAGE_ROOM);
    FM_ASSERT(out[FM_SEATS_MESSAGE_ROOM - 1] == 0);
}

/* -------- gates -------- */

void fm_seats_publish_sublease(struct fm_seats_context *c, unsigned cell,
                               const struct fm_sublease_cell *s)
{
    FM_ASSERT(s->until.ns >= 0 && s->quiet_until.ns >= 0);
    write_words(seat_of(c, cell), (uint64_t[FM_SEAT_WORDS]){
                                      (uint64_t)s->until.ns, (uint64_t)s->quiet_until.ns,
                                      s->epoch.n, s->known.n, s->stopped.n, s->holder, s->closed});
}

void fm_seats_read_sublease(const struct fm_seats_context *c, unsigned cell,
                            struct fm_sublease_cell *out)
{
    uint64_t w[FM_SEAT_WORDS];
    read_words(seat_of(c, cell), w);
    *out = (struct fm_sublease_cell){.until = {(int64_t)w[0]},
                                     .quiet_until = {(int64_t)w[1]},
                                     .epoch = {w[2]},
                                     .known = {w[3]},
                                     .stopped = {w[4]},
                                     .holder = (uint8_t)w[5],
                                     .closed = w[6] != 0};
}

void fm_seats_enter(struct fm_seats_context *c, unsigned cell)
{
    uint32_t before = atomic_fetch_add(&seat_of(c, cell)->in_flight, 1);
    FM_ASSERT(before < UINT32_MAX);
}

void fm_seats_leave(struct fm_seats_context *c, unsigned cell)
{
    uint32_t before = atomic_fetch_sub(&seat_of(c, cell)->in_flight, 1);
    FM_ASSERT(before > 0);
}

uint32_t fm_seats_in_flight(const struct fm_seats_context *c, unsigned cell)
{
    return atomic_load(&seat_of(c, cell)->in_flight);
}

void fm_seats_publish_lapsed(struct fm_seats_context *c, unsigned cell, bool lapsed)
{
    FM_ASSERT(cell < c->ncells);
    if (lapsed)
        atomic_fetch_or(&c->lapsed_cells, UINT64_C(1) << cell);
    else
        atomic_fetch_and(&c->lapsed_cells, ~(UINT64_C(1) << cell));
}

bool fm_seats_has_lapsed(const struct fm_seats_context *c, unsigned cell)
{
    FM_ASSERT(cell < c->ncells);
    return atomic_load_explicit(&c->lapsed_cells, memory_order_relaxed) >> cell & 1;
}

struct fm_epoch fm_seats_heard(const struct fm_seats_context *c, unsigned cell)
{
    return (struct fm_epoch){atomic_load(&seat_of(c, cell)->heard)};
}

void fm_seats_met(struct fm_seats *s, struct fm_seats_context *c, unsigned cell,
                  struct fm_epoch epoch)
{
    _Atomic uint64_t *heard = &seat_of(c, cell)->heard;
    uint64_t was = atomic_load(heard);
    while (fm_epoch_newer(epoch, (struct fm_epoch){was}) &&
           !atomic_compare_exchange_weak(heard, &was, epoch.n)) {
    }
    fm_seats_ring(s);
}

void fm_seats_ring(struct fm_seats *s)
{
    if (!s->control || atomic_load_explicit(&s->ringing, memory_order_relaxed) ||
        atomic_exchange(&s->ringing, true))
        return;
    fm_mailbox_post(s->control, &s->bell);
}

/* -------- views -------- */

void fm_seats_publish_view(struct fm_seats_context *c, unsigned cell, const struct fm_view_cell *v)
{
    FM_ASSERT(!fm_epoch_newer(v->gentle_from, v->epoch));
    write_words(view_of(c, cell),
                (uint64_t[FM_SEAT_WORDS]){v->epoch.n, v->gentle_from.n, v->region, v->released});
}

void fm_seats_read_view(const struct fm_seats_context *c, unsigned cell, struct fm_view_cell *out)
{
    uint64_t w[FM_SEAT_WORDS];
    read_words(view_of(c, cell), w);
    *out = (struct fm_view_cell){
        .epoch = {w[0]}, .gentle_from = {w[1]}, .region = (uint8_t)w[2], .released = w[3] != 0};
}
