/* The durable queue of `when-away: queue`. Invariants: of each lane (a context and what its
 * requests are in order with) at most one request is READY or TAKEN, the first that is not
 * delivered; a key that waits is answered as waiting, whatever the journal knows of it besides.
 *
 * What is taken is only handed out: before it is forwarded it begins like any other command, with
 * its key (SAFETY.md rule 20), so that a delivery which was cut off is not repeated blindly. */
#include "journal/store.h"

#include "base/assert.h"

#include <stdlib.h>

enum { TAKE_MAX = 64 };

_Static_assert(FM_QUEUE_BEHIND == 0 && FM_QUEUE_READY == 1 && FM_QUEUE_TAKEN == 2 &&
                   FM_QUEUE_DELIVERED == 3,
               "as in the statements");

void fm_journal_store_open_queue(struct fm_journal_store *s)
{
    struct fm_db *d = &s->db;
    (void)fm_db_run(d, FM_SQL_QUEUE_RESET, "");
    fm_db_bind(d, FM_SQL_QUEUE_SIZE, "");
    if (fm_db_row(d, FM_SQL_QUEUE_SIZE)) {
        s->queue_n = (uint32_t)fm_db_i64(d, FM_SQL_QUEUE_SIZE, 0);
        s->queue_bytes = (uint64_t)fm_db_i64(d, FM_SQL_QUEUE_SIZE, 1);
        fm_db_reset(d, FM_SQL_QUEUE_SIZE);
    }
    s->oldest_delivered_ms = INT64_MAX;
    fm_db_bind(d, FM_SQL_QUEUE_OLDEST, "");
    if (fm_db_row(d, FM_SQL_QUEUE_OLDEST)) {
        if (!fm_db_is_null(d, FM_SQL_QUEUE_OLDEST, 0))
            s->oldest_delivered_ms = fm_db_i64(d, FM_SQL_QUEUE_OLDEST, 0);
        fm_db_reset(d, FM_SQL_QUEUE_OLDEST);
    }
}

/* The first of the lane that is not delivered, or 0. */
static uint64_t first_of_lane(struct fm_journal_store *s, struct fm_str context, struct fm_str lane)
{
    struct fm_db *d = &s->db;
    uint64_t id = 0;
    fm_db_bind(d, FM_SQL_QUEUE_LANE, "tt", context, lane);
    if (fm_db_row(d, FM_SQL_QUEUE_LANE)) {
        id = (uint64_t)fm_db_i64(d, FM_SQL_QUEUE_LANE, 0);
        fm_db_reset(d, FM_SQL_QUEUE_LANE);
    }
    return id;
}

static bool has_room(const struct fm_journal_store *s, const struct fm_journal_command *m)
{
    return !s->full && s->queue_n < s->o.queue_max && m->request.n <= s->o.queue_bytes_max &&
           s->queue_bytes <= s->o.queue_bytes_max - m->request.n;
}

/* False where it is not to be queued; then the decision says why. */
static bool admit(struct fm_journal_store *s, struct fm_journal_call *c)
{
    struct fm_found f = fm_journal_store_find(s, &c->command, 0);
    struct fm_idem_facts *facts = &c->command.facts;
    uint64_t first_epoch = facts->first_epoch;
    facts->first_epoch = 0; /* asked about when it is delivered */
    fm_journal_store_decide(s, c, &f);
    bool yes = c->decision.action == FM_IDEM_RECORD || c->decision.action == FM_IDEM_FORWARD_AGAIN;
    if (yes && !has_room(s, &c->command)) {
        f.known = FM_IDEM_FULL;
        fm_journal_store_decide(s, c, &f);
        yes = false;
    }
    facts->first_epoch = first_epoch;
    return yes;
}

void fm_journal_store_enqueue(struct fm_journal_store *s, struct fm_journal_call *c)
{
    const struct fm_journal_command *m = &c->command;
    FM_ASSERT(m->lane.n <= FM_JOURNAL_LANE_MAX);
    if (!admit(s, c))
        return;
    FM_ASSERT(!c->memory); /* nothing was to be replayed */
    bool first = first_of_lane(s, m->context, m->lane) == 0;
    c->seq = fm_journal_store_next(s);
    c->token = fm_journal_store_token(s, c->seq);
    (void)fm_db_run(&s->db, FM_SQL_QUEUE_ADD, "itttbiiiiib", (int64_t)c->seq, m->context, m->lane,
                    m->facts.key, fm_str((const char *)m->hash.b, sizeof m->hash.b),
                    (int64_t)m->cell, (int64_t)m->facts.first_epoch, fm_journal_store_wall_ms(),
                    fm_journal_store_age_ms(s), (int64_t)(first ? FM_QUEUE_READY : FM_QUEUE_BEHIND),
                    m->request);
    fm_journal_keys_add(s, m->context, m->facts.key, c->seq);
    s->added++;
    s->queue_n++;
    s->queue_bytes += m->request.n;
}

/* -------- what is due -------- */

static struct fm_str copy_str(char **at, struct fm_str s)
{
    struct fm_str copy = fm_str(*at, s.n);
    if (s.n)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

/* From cell to cell, each with its first: the index is jumped through, not read. */
void fm_journal_store_due(struct fm_journal_store *s, struct fm_journal_call *c)
{
    struct fm_db *d = &s->db;
    size_t most = fm_min_size(c->limit, FM_JOURNAL_DUE_MAX);
    struct fm_journal_due *due =
        fm_journal_store_give(c, most * (sizeof *due + FM_JOURNAL_CONTEXT_MAX));
    c->due = due;
    c->ndue = 0;
    c->waiting = s->queue_n;
    c->err = due ? FM_ERR_OK : FM_ERR_MEMORY;
    char *at = due ? (char *)(due + most) : NULL;
    struct fm_str context = FM_STR("");
    int64_t cell = -1;
    while (due && c->ndue < most) {
        fm_db_bind(d, FM_SQL_QUEUE_DUE, "ti", context, cell);
        if (!fm_db_row(d, FM_SQL_QUEUE_DUE))
            break;
        FM_ASSERT(fm_db_str(d, FM_SQL_QUEUE_DUE, 0).n <= FM_JOURNAL_CONTEXT_MAX);
        context = copy_str(&at, fm_db_str(d, FM_SQL_QUEUE_DUE, 0));
        cell = fm_db_i64(d, FM_SQL_QUEUE_DUE, 1);
        due[c->ndue++] = (struct fm_journal_due){.context = context,
                                                 .cell = (uint32_t)cell,
                                                 .oldest_ms = fm_db_i64(d, FM_SQL_QUEUE_DUE, 2)};
        fm_db_reset(d, FM_SQL_QUEUE_DUE);
    }
}

/* -------- taking -------- */

static size_t bytes_of(const struct fm_journal_item *i)
{
    return i->context.n + i->lane.n + i->key.n + i->request.n;
}

static struct fm_journal_item item_of(const struct fm_journal_store *s)
{
    const struct fm_db *d = &s->db;
    const enum fm_sql q = FM_SQL_QUEUE_TAKE;
    uint64_t id = (uint64_t)fm_db_i64(d, q, 0);
    struct fm_journal_item i = {.id = id,
                                .token = fm_journal_store_token(s, id),
                                .context = fm_db_str(d, q, 1),
                                .lane = fm_db_str(d, q, 2),
                                .key = fm_db_str(d, q, 3),
                                .cell = (uint32_t)fm_db_i64(d, q, 5),
                                .first_epoch = (uint64_t)fm_db_i64(d, q, 6),
                                .request = fm_db_str(d, q, 7),
                                .tries = (uint16_t)fm_db_i64(d, q, 8),
                                .at_ms = fm_db_i64(d, q, 9)};
    struct fm_str hash = fm_db_str(d, q, 4);
    FM_ASSERT(hash.n <= sizeof i.hash.b);
    memcpy(i.hash.b, hash.p, hash.n);
    return i;
}

static void count(const struct fm_journal_item *i, size_t k, void *user)
{
    (void)k;
    *(size_t *)user += sizeof *i + bytes_of(i);
}

struct taking {
    struct fm_journal_item *items;
    char *at;
};

static void take(const struct fm_journal_item *i, size_t k, void *user)
{
    struct taking *t = user;
    struct fm_journal_item copy = *i;
    copy.context = copy_str(&t->at, i->context);
    copy.lane = copy_str(&t->at, i->lane);
    copy.key = copy_str(&t->at, i->key);
    copy.request = copy_str(&t->at, i->request);
    t->items[k] = copy;
}

static size_t each_due(struct fm_journal_store *s, const struct fm_journal_call *c,
                       void (*visit)(const struct fm_journal_item *, size_t, void *), void *user)
{
    size_t n = 0;
    uint32_t limit = c->limit < TAKE_MAX ? c->limit : TAKE_MAX;
    fm_db_bind(&s->db, FM_SQL_QUEUE_TAKE, "tiii", c->command.context, (int64_t)c->command.cell,
               (int64_t)c->since, (int64_t)limit);
    while (fm_db_row(&s->db, FM_SQL_QUEUE_TAKE)) {
        struct fm_journal_item i = item_of(s);
        visit(&i, n++, user);
    }
    return n;
}

/* Under which epoch it is sent is durable before it is: whoever goes on after us knows then that
 * somebody may have executed it. */
void fm_journal_store_take(struct fm_journal_store *s, struct fm_journal_call *c)
{
    size_t bytes = 0;
    size_t n = each_due(s, c, count, &bytes);
    struct taking t = {.items = fm_journal_store_give(c, bytes)};
    c->nitems = 0;
    if (!t.items) {
        c->err = FM_ERR_MEMORY;
        return;
    }
    t.at = (char *)(t.items + n);
    size_t again = each_due(s, c, take, &t);
    FM_ASSERT(s->db.failed || again == n);
    for (size_t i = 0; i < n && !s->db.failed; i++)
        (void)fm_db_run(&s->db, FM_SQL_QUEUE_TAKEN, "ii", (int64_t)t.items[i].id,
                        (int64_t)c->command.facts.epoch);
    c->items = t.items;
    c->nitems = s->db.failed ? 0 : n;
}

/* -------- settling -------- */

/* What is settled, and its lane: copies, since the row is about to change. */
struct settled {
    int64_t id;
    uint64_t bytes;
    enum fm_queue_state state;
    size_t context_n, lane_n;
    char context[FM_JOURNAL_CONTEXT_MAX], lane[FM_JOURNAL_LANE_MAX];
};

static bool look_at(struct fm_journal_store *s, struct settled *q)
{
    struct fm_db *d = &s->db;
    fm_db_bind(d, FM_SQL_QUEUE_ONE, "i", q->id);
    if (!fm_db_row(d, FM_SQL_QUEUE_ONE))
        return false;
    struct fm_str context = fm_db_str(d, FM_SQL_QUEUE_ONE, 0);
    struct fm_str lane = fm_db_str(d, FM_SQL_QUEUE_ONE, 1);
    FM_ASSERT(context.n <= sizeof q->context && lane.n <= sizeof q->lane);
    q->context_n = context.n;
    q->lane_n = lane.n;
    memcpy(q->context, context.p, context.n);
    if (lane.n)
        memcpy(q->lane, lane.p, lane.n);
    q->bytes = (uint64_t)fm_db_i64(d, FM_SQL_QUEUE_ONE, 2);
    q->state = (enum fm_queue_state)fm_db_i64(d, FM_SQL_QUEUE_ONE, 3);
    fm_db_reset(d, FM_SQL_QUEUE_ONE);
    return true;
}

static void delivered(struct fm_journal_store *s, const struct settled *q, uint16_t status)
{
    int64_t age = fm_journal_store_age_ms(s);
    (void)fm_db_run(&s->db, FM_SQL_QUEUE_DELIVERED, "iii", q->id, (int64_t)status, age);
    FM_ASSERT(s->queue_n > 0 && s->queue_bytes >= q->bytes);
    s->queue_n--;
    s->queue_bytes -= q->bytes;
    if (s->oldest_delivered_ms == INT64_MAX)
        s->oldest_delivered_ms = age;
    uint64_t next = first_of_lane(s, fm_str(q->context, q->context_n), fm_str(q->lane, q->lane_n));
    if (next)
        (void)fm_db_run(&s->db, FM_SQL_QUEUE_READY, "i", (int64_t)next);
}

void fm_journal_store_settle(struct fm_journal_store *s, struct fm_journal_call *c)
{
    struct settled q = {.id = (int64_t)c->seq};
    if (!look_at(s, &q))
        c->err = FM_ERR_NOT_FOUND;
    else if (q.state != FM_QUEUE_TAKEN)
        c->err = FM_ERR_EXISTS;
    else if (c->give_back)
        (void)fm_db_run(&s->db, FM_SQL_QUEUE_BACK, "iii", q.id,
                        (int64_t)c->command.facts.first_epoch, (int64_t)c->not_known);
    else
        delivered(s, &q, c->outcome.state == FM_IDEM_DONE ? c->outcome.answer.status : 0);
}

void fm_journal_store_ask(struct fm_journal_store *s, struct fm_journal_call *c)
{
    struct fm_db *d = &s->db;
    c->err = FM_ERR_NOT_FOUND;
    if (c->seq == 0 || c->seq > s->last || fm_journal_store_token(s, c->seq) != c->token)
        return;
    fm_db_bind(d, FM_SQL_QUEUE, "i", (int64_t)c->seq);
    if (!fm_db_row(d, FM_SQL_QUEUE))
        return;
    c->err = FM_ERR_OK;
    c->queued.state = (enum fm_queue_state)fm_db_i64(d, FM_SQL_QUEUE, 3);
    bool is_over = c->queued.state == FM_QUEUE_DELIVERED;
    c->queued.status = (uint16_t)(is_over ? fm_db_i64(d, FM_SQL_QUEUE, 4) : 0);
    fm_db_reset(d, FM_SQL_QUEUE);
}

unsigned fm_journal_store_expire_queue(struct fm_journal_store *s, int64_t cutoff_ms)
{
    struct fm_db *d = &s->db;
    unsigned n = 0;
    if (s->oldest_delivered_ms >= cutoff_ms)
        return 0;
    for (; n < TAKE_MAX; n++) {
        fm_db_bind(d, FM_SQL_QUEUE_OLD, "i", cutoff_ms);
        if (!fm_db_row(d, FM_SQL_QUEUE_OLD))
            break;
        uint64_t id = (uint64_t)fm_db_i64(d, FM_SQL_QUEUE_OLD, 0);
        fm_journal_keys_drop(s, fm_db_str(d, FM_SQL_QUEUE_OLD, 1),
                             fm_db_str(d, FM_SQL_QUEUE_OLD, 2), id);
        fm_db_reset(d, FM_SQL_QUEUE_OLD);
        (void)fm_db_run(d, FM_SQL_QUEUE_DROP, "i", (int64_t)id);
    }
    s->oldest_delivered_ms = INT64_MAX;
    fm_db_bind(d, FM_SQL_QUEUE_OLDEST, "");
    if (fm_db_row(d, FM_SQL_QUEUE_OLDEST)) {
        if (!fm_db_is_null(d, FM_SQL_QUEUE_OLDEST, 0))
            s->oldest_delivered_ms = fm_db_i64(d, FM_SQL_QUEUE_OLDEST, 0);
        fm_db_reset(d, FM_SQL_QUEUE_OLDEST);
    }
    return n;
}
