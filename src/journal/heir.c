/* Reading what changed, for the region that takes over, and taking it in there. Invariants: a
 * reader that goes on from `next` until next == last has seen every command with its newest outcome
 * as of then; importing a chunk any number of times, in any order, ends the same (the order
 * ABSENT < UNKNOWN < DONE of core/idempotency). */
#include "journal/ship.h"
#include "journal/store.h"

#include "base/assert.h"

#include <stdlib.h>

enum { NUMBERS = 512, CHUNK_BYTES = 1 << 20, SOURCE_MAX = 255 };

/* The entries of one statement. False where they did not fit. */
static bool write_entries(struct fm_journal_store *s, enum fm_sql id, uint64_t since,
                          uint64_t until, struct fm_buf *b, uint32_t *n)
{
    struct fm_journal_entry e;
    fm_db_bind(&s->db, id, "ii", (int64_t)since, (int64_t)until);
    while (!b->full && fm_db_row(&s->db, id)) {
        if (!fm_db_entry(s->db.stmt[id], &e)) {
            fm_db_damaged(&s->db, "an entry", e.seq);
            return true;
        }
        struct fm_journal_answer *a = &e.answer;
        if (a->head.n + a->body.n > s->o.answer_max) /* the bound was higher once */
            *a = (struct fm_journal_answer){.status = a->status};
        fm_ship_entry(b, &e);
        ++*n;
    }
    if (b->full)
        fm_db_reset(&s->db, id);
    return !b->full;
}

/* The number that the next change has, or what lies behind `last`: numbers that retention emptied
 * are not walked through. */
static uint64_t first_change(struct fm_journal_store *s, uint64_t since)
{
    uint64_t at = s->last + 1;
    fm_db_bind(&s->db, FM_SQL_SHIP_FROM, "ii", (int64_t)since, (int64_t)s->last);
    if (fm_db_row(&s->db, FM_SQL_SHIP_FROM)) {
        at = (uint64_t)fm_db_i64(&s->db, FM_SQL_SHIP_FROM, 0);
        fm_db_reset(&s->db, FM_SQL_SHIP_FROM);
    }
    FM_ASSERT(s->db.failed || at > since);
    return at;
}

void fm_journal_store_read(struct fm_journal_store *s, struct fm_journal_call *c)
{
    if (c->since > s->last) {
        c->err = FM_ERR_INVALID; /* of another journal, or of one that was restored */
        return;
    }
    /* Large enough for one command as it is now and one outcome of an older one. */
    size_t cap = CHUNK_BYTES + 2 * ((size_t)s->o.answer_max + 1024);
    char *mem = fm_journal_store_give(c, cap);
    if (!mem) {
        c->err = FM_ERR_MEMORY;
        return;
    }
    uint64_t from = first_change(s, c->since) - 1;
    for (uint64_t span = NUMBERS;; span /= 2) {
        FM_ASSERT(span > 0);
        struct fm_ship_header h = {.since = c->since, .last = s->last};
        struct fm_buf b = fm_buf(mem, cap);
        h.next = fm_min_u64(from + span, s->last);
        fm_ship_begin(&b);
        if (!write_entries(s, FM_SQL_SHIP_SETTLED, from, h.next, &b, &h.entries) ||
            !write_entries(s, FM_SQL_SHIP_NEW, from, h.next, &b, &h.entries))
            continue;
        if (s->db.failed || fm_ship_end(&b, &h) != FM_ERR_OK)
            return;
        FM_ASSERT(h.next > h.since || h.next == h.last); /* it goes on */
        c->bytes = fm_buf_str(&b);
        c->next = h.next;
        c->last = h.last;
        return;
    }
}

/* -------- at the heir -------- */

static void merge(struct fm_journal_store *s, struct fm_journal_call *c,
                  const struct fm_journal_entry *e)
{
    struct fm_journal_command key = {.context = e->context, .facts.key = e->key, .hash = e->hash};
    struct fm_found f = fm_journal_store_find(s, &key, 0);
    if (f.known == FM_IDEM_QUEUED) /* that one will be asked about when it is delivered */
        f = fm_journal_store_find(s, &key, f.seq);
    enum fm_idem_known have = f.known;
    int64_t settled = e->settled_ms ? e->settled_ms : fm_journal_store_wall_ms();
    switch (fm_idem_merge(have, e->state, have == FM_IDEM_ABSENT || f.same_request)) {
    case FM_IDEM_ADD_UNKNOWN:
        fm_journal_store_add_outcome(s, fm_journal_store_add_command(s, e), FM_IDEM_UNKNOWN,
                                     &e->answer, settled);
        c->imported.added++;
        return;
    case FM_IDEM_ADD_DONE:
        fm_journal_store_add_outcome(s, fm_journal_store_add_command(s, e), FM_IDEM_DONE,
                                     &e->answer, settled);
        c->imported.added++;
        return;
    case FM_IDEM_TURN_DONE:
        (void)fm_db_run(&s->db, FM_SQL_OUTCOME_DROP, "i", (int64_t)f.seq);
        fm_journal_store_add_outcome(s, f.seq, FM_IDEM_DONE, &e->answer, settled);
        c->imported.turned++;
        return;
    case FM_IDEM_KEEP:
        c->imported.kept++;
        return;
    case FM_IDEM_CONFLICT:
        c->imported.conflicts++;
        return;
    }
    FM_UNREACHABLE();
}

/* -------- how far another journal was imported -------- */

static struct fm_str cursor_name(const struct fm_journal_call *c, char mem[SOURCE_MAX + 8])
{
    struct fm_buf b = fm_buf(mem, SOURCE_MAX + 8);
    FM_ASSERT(c->source.n <= SOURCE_MAX);
    fm_buf_lit(&b, "from/");
    fm_buf_str_add(&b, c->source);
    return fm_buf_str(&b);
}

void fm_journal_store_cursor(struct fm_journal_store *s, struct fm_journal_call *c)
{
    char mem[SOURCE_MAX + 8];
    c->next = 0;
    c->last = s->last;
    fm_db_bind(&s->db, FM_SQL_META_GET, "t", cursor_name(c, mem));
    if (!fm_db_row(&s->db, FM_SQL_META_GET))
        return;
    c->next = (uint64_t)fm_db_i64(&s->db, FM_SQL_META_GET, 0);
    fm_db_reset(&s->db, FM_SQL_META_GET);
}

void fm_journal_store_import(struct fm_journal_store *s, struct fm_journal_call *c)
{
    struct fm_ship_reader r;
    struct fm_error why;
    memset(&c->imported, 0, sizeof c->imported);
    c->err = fm_ship_open(&r, c->bytes, &why);
    if (c->err)
        return;
    c->next = r.header.next;
    c->last = r.header.last;
    struct fm_journal_entry e;
    while (fm_ship_next(&r, &e) && !s->db.failed)
        merge(s, c, &e);
    char mem[SOURCE_MAX + 8];
    if (c->source.n)
        (void)fm_db_run(&s->db, FM_SQL_META_SET, "ti", cursor_name(c, mem), (int64_t)c->next);
}
