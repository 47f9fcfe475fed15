/* What agents read of coordination, of each other and of their own disk. The first byte says what
 * the rest is: `r` a record (its key, a line's end, its value), `p` a post, `o` an operation, `y` a
 * policy, `m` marks. Promises: what was read can be written, and is read as the same again; and
 * core, whose asserts are about what it knows itself, can take a record that was read. */
#include "fuzz.h"

#include "agent/marks.h"
#include "agent/message.h"
#include "agent/ops.h"
#include "agent/records.h"

static struct fm_roster *roster(void)
{
    static const char *const regions[] = {"west", "north", "east"};
    struct fm_roster *r = fm_roster_new();
    struct fm_agent_id a;
    if (!r)
        abort();
    for (unsigned i = 0; i < 3; i++)
        HOLDS(fm_roster_add_region(r, fm_str_z(regions[i])) == (int)i, "region %u", i);
    HOLDS(fm_roster_add_context(r, FM_STR("ledger"), 1) == 0, "ledger");
    HOLDS(fm_roster_add_context(r, FM_STR("cards"), 64) == 1, "cards");
    HOLDS(fm_roster_add_agent(r, 0, FM_STR("west-1"), &a), "west-1");
    return r;
}

/* -------- records -------- */

static void hand_to_core(const struct fm_write *w)
{
    static struct fm_authority x;
    struct fm_auth_config c = {.context = w->key.id.context,
                               .self = {0},
                               .incarnation = {9},
                               .nregions = FM_AUTH_REGIONS_MAX,
                               .ncells = w->key.id.context == 0 ? 1 : 64,
                               .able = true,
                               .lease_ms = 2000,
                               .renew_ms = 500,
                               .retry_ms = 100,
                               .at_most = 2,
                               .window_ms = 1000};
    static struct fm_lease_at lease[FM_AUTH_REGIONS_MAX];
    static struct fm_cell_at cell[FM_AUTH_CELLS_MAX];
    struct fm_snapshot s = {.store = {7},
                            .lease = lease,
                            .cell = cell,
                            .nregions = FM_AUTH_REGIONS_MAX,
                            .ncells = c.ncells};
    struct fm_auth_actions out;
    struct fm_mono now = {FM_NS_PER_S};
    memset(lease, 0, sizeof lease);
    memset(cell, 0, sizeof cell);
    if (w->key.kind == FM_RECORD_LEASE)
        lease[w->key.region] = (struct fm_lease_at){{5}, w->to.lease};
    else if (w->key.kind == FM_RECORD_CELL)
        cell[w->key.id.cell] = (struct fm_cell_at){{5}, w->to.cell};
    else if (w->key.kind == FM_RECORD_BUDGET)
        s.budget = (struct fm_budget_at){{5}, w->to.budget};
    else
        return;
    fm_authority_init(&x, &c, NULL, now);
    struct fm_auth_event seen = {.kind = FM_AUTH_SEEN, .snapshot = &s, .store_id = 1},
                         office = {.kind = FM_AUTH_OFFICE,
                                   .keeper = true,
                                   .resolved = true,
                                   .revision = {3}},
                         tick = {.kind = FM_AUTH_TICK};
    fm_authority_step(&x, &seen, now, &out);
    fm_authority_step(&x, &office, now, &out);
    fm_authority_step(&x, &tick, fm_mono_add_ms(now, 100000), &out);
}

static void read_record(struct fm_str text)
{
    struct fm_roster *r = roster();
    struct fm_str value, key = fm_str_cut(text, '\n', &value);
    struct fm_write w = {0}, again = {0};
    char why[FM_RECORD_WHY_ROOM] = "", back[FM_RECORD_KEY_ROOM], mem[FM_RECORD_TEXT_MAX];
    if (fm_record_key_read(r, key, &w.key)) {
        fm_record_key_write(r, &w.key, back);
        HOLDS(fm_str_eqz(key, back), "%s", back);
        if (value.p && fm_record_read(r, value, &w, why)) {
            struct fm_buf b = fm_buf(mem, sizeof mem);
            fm_record_write(r, &w, &b);
            again.key = w.key;
            HOLDS(fm_record_read(r, fm_buf_str(&b), &again, why), "%.*s: %s", (int)b.n, b.p, why);
            hand_to_core(&w);
        } else if (value.p) {
            HOLDS(why[0], "nothing is said");
        }
    }
    fm_roster_free(r);
}

/* -------- posts -------- */

static struct fm_message kept[4];
static unsigned nkept;
static const struct fm_roster *reader_roster;

static const char *opens(void *user, const struct fm_post_head *head)
{
    (void)user;
    HOLDS(fm_roster_is_name(fm_str_z(head->from)) && head->life > 0, "from %s", head->from);
    return NULL;
}

static void keep(void *user, const struct fm_post_head *head, const struct fm_message *m)
{
    (void)user;
    (void)head;
    HOLDS(m->kind < FM_MESSAGE_KIND_COUNT, "kind %u", m->kind);
    HOLDS(m->context < reader_roster->ncontexts && m->region < reader_roster->nregions, "a number");
    unsigned ncells = reader_roster->context[m->context].ncells;
    HOLDS(ncells == 64 || m->cells >> ncells == 0, "cells");
    if (nkept < FM_COUNT(kept))
        kept[nkept++] = *m;
}

static void read_post(struct fm_str text)
{
    static char mem[64 * 1024];
    struct fm_roster *r = roster();
    struct fm_post_reader reader = {.opens = opens, .take = keep};
    reader_roster = r;
    nkept = 0;
    const char *why = fm_post_read(r, text, &reader);
    HOLDS(!why || nkept == 0, "taken, and refused: %s", why);
    struct fm_buf b = fm_buf(mem, sizeof mem);
    unsigned n = nkept;
    fm_post_begin(&b, FM_STR("west-1"), 1);
    for (unsigned i = 0; i < n; i++) {
        if (i)
            fm_buf_ch(&b, ',');
        fm_message_write(r, &kept[i], &b);
    }
    fm_post_end(&b);
    HOLDS(!b.full, "too long");
    nkept = 0;
    why = fm_post_read(r, fm_buf_str(&b), &reader);
    HOLDS(!why && nkept == n, "%.*s: %s", (int)b.n, b.p, why ? why : "another number");
    fm_roster_free(r);
}

/* -------- operations, policies, marks -------- */

static void same_text(json_t *a, json_t *b)
{
    HOLDS(a && b && json_equal(a, b), "it is another one when it is read again");
    json_decref(a);
    json_decref(b);
}

static void read_op(struct fm_str text)
{
    struct fm_roster *r = roster();
    struct fm_op o, again;
    const char *why = NULL;
    if (fm_op_read(r, text, &o, &why)) {
        json_t *j = fm_op_json(r, &o);
        char *written = json_dumps(j, JSON_COMPACT);
        HOLDS(fm_op_read(r, fm_str_z(written), &again, &why), "%s: %s", written, why);
        same_text(j, fm_op_json(r, &again));
        (void)fm_op_outcome(&o);
        free(written);
        fm_op_free(&again);
        fm_op_free(&o);
    } else {
        HOLDS(why && why[0], "nothing is said");
    }
    fm_roster_free(r);
}

static void read_policy(struct fm_str text)
{
    struct fm_op_policy p, again;
    if (!fm_op_policy_read(text, &p))
        return;
    json_t *j = fm_op_policy_json(&p);
    char *written = json_dumps(j, JSON_COMPACT);
    HOLDS(fm_op_policy_read(fm_str_z(written), &again), "%s", written);
    same_text(j, fm_op_policy_json(&again));
    free(written);
}

static void read_marks(struct fm_str text)
{
    static struct fm_marks_doc d, again;
    struct fm_roster *r = roster();
    struct fm_error e = {.msg = ""};
    if (fm_marks_read(r, &d, text, &e) == FM_ERR_OK) {
        char *written = fm_marks_write(r, &d);
        HOLDS(written && fm_marks_read(r, &again, fm_str_z(written), &e) == FM_ERR_OK, "%s", e.msg);
        HOLDS(memcmp(&d, &again, sizeof d) == 0, "%s", written);
        free(written);
    } else {
        HOLDS(e.msg[0], "nothing is said");
    }
    fm_roster_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    char *copy = fuzz_copy(data + 1, size - 1);
    struct fm_str text = fm_str(copy, size - 1);
    if (data[0] == 'r')
        read_record(text);
    else if (data[0] == 'p')
        read_post(text);
    else if (data[0] == 'o')
        read_op(text);
    else if (data[0] == 'y')
        read_policy(text);
    else if (data[0] == 'm')
        read_marks(text);
    free(copy);
    return 0;
}
