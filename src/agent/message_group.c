/* What is said about PostgreSQL groups: see the header. LSNs and system identifiers are texts: they
 * have 64 bits, and a number of JSON has 53 that everybody reads. */
#include "agent/message_group.h"

#include "agent/records.h"
#include "base/assert.h"
#include "base/time.h"
#include "core/group.h"

#define NUMBER_MAX ((UINT64_C(1) << 53) - 1)
#define APART_MAX  (UINT64_C(1) << 42) /* milliseconds: a hundred years, and some */

static const char *const states[] = {
#define X(id, name, action) [FM_GROUP_##id] = name,
    FM_GROUP_STATES(X)
#undef X
};

/* -------- helpers -------- */

static bool number(const json_t *o, const char *name, uint64_t most, uint64_t *out)
{
    const json_t *n = json_object_get(o, name);
    json_int_t v = json_integer_value(n);
    *out = (uint64_t)v;
    return json_is_integer(n) && v >= 0 && *out <= most;
}

static struct fm_str text(const json_t *o, const char *name)
{
    const json_t *s = json_object_get(o, name);
    return json_is_string(s) ? fm_str(json_string_value(s), json_string_length(s))
                             : fm_str(NULL, 0);
}

static bool lsn(const json_t *o, const char *name, struct fm_lsn *out)
{
    struct fm_str s = text(o, name);
    return s.p && fm_lsn_parse(s, out);
}

static void write_lsn(struct fm_buf *b, const char *name, struct fm_lsn at)
{
    char out[FM_LSN_ROOM];
    fm_buf_printf(b, ",\"%s\":\"%s\"", name, fm_lsn_write(out, at));
}

static bool flag(const json_t *o, const char *name, bool *out)
{
    const json_t *f = json_object_get(o, name);
    *out = json_is_true(f);
    return json_is_boolean(f);
}

/* -------- the record of the cell -------- */

void fm_message_group_over_write(const struct fm_roster *r, unsigned context,
                                 const struct fm_cell_at *at, struct fm_buf *b)
{
    FM_ASSERT(at->revision.n <= NUMBER_MAX);
    fm_buf_printf(b, ",\"revision\":%llu", (unsigned long long)at->revision.n);
    fm_evidence_write(r, context, &at->r.evidence, b);
}

int fm_message_group_over_read(const struct fm_roster *r, unsigned context, const json_t *o,
                               struct fm_cell_at *at)
{
    if (!number(o, "revision", NUMBER_MAX, &at->revision.n) || at->revision.n == 0)
        return -1;
    return fm_evidence_read(r, context, json_object_get(o, "evidence"), &at->r.evidence);
}

void fm_message_group_cell_write(const struct fm_roster *r, unsigned context,
                                 const struct fm_cell_at *at, struct fm_buf *b)
{
    const struct fm_cell_record *c = &at->r;
    fm_message_group_over_write(r, context, at, b);
    fm_buf_printf(b, ",\"region\":\"%s\",\"epoch\":%llu,\"gentle_from\":%llu", r->region[c->region],
                  (unsigned long long)c->epoch.n, (unsigned long long)c->gentle_from.n);
    if (c->accepted.n)
        fm_buf_printf(b, ",\"accepted\":%llu", (unsigned long long)c->accepted.n);
    if (c->state != FM_CELL_HELD)
        fm_buf_printf(b, ",\"to\":\"%s\"", r->region[c->to]);
    if (c->state == FM_CELL_YIELDED)
        fm_buf_lit(b, ",\"yielded\":true");
}

int fm_message_group_cell_read(const struct fm_roster *r, unsigned context, const json_t *o,
                               struct fm_cell_at *at)
{
    struct fm_str region = text(o, "region"), to = text(o, "to");
    int known = fm_message_group_over_read(r, context, o, at);
    if (known < 0 || !region.p || !number(o, "epoch", NUMBER_MAX, &at->r.epoch.n) ||
        at->r.epoch.n == 0)
        return -1;
    at->r.gentle_from = at->r.epoch; /* who does not say it: nobody may have let go of it */
    if (json_object_get(o, "gentle_from") &&
        !number(o, "gentle_from", at->r.epoch.n, &at->r.gentle_from.n))
        return -1;
    if (json_object_get(o, "accepted") && !number(o, "accepted", at->r.epoch.n, &at->r.accepted.n))
        return -1;
    int holder = fm_roster_region(r, region), heir = to.p ? fm_roster_region(r, to) : 0;
    if (holder < 0 || heir < 0 || !known)
        return 0;
    at->r.region = (uint8_t)holder;
    at->r.to = (uint8_t)heir;
    bool yielded = json_is_true(json_object_get(o, "yielded"));
    at->r.state = !to.p ? FM_CELL_HELD : yielded ? FM_CELL_YIELDED : FM_CELL_RELEASED;
    return 1;
}

/* -------- a node -------- */

void fm_message_group_report_write(const struct fm_group_report *n, struct fm_str history,
                                   struct fm_buf *b)
{
    FM_ASSERT(n->state < FM_COUNT(states) && n->epoch.n <= NUMBER_MAX);
    fm_buf_printf(b, ",\"state\":\"%s\",\"epoch\":%llu,\"system\":\"%llu\",\"timeline\":%u",
                  states[n->state], (unsigned long long)n->epoch.n,
                  (unsigned long long)n->system_id, n->timeline.n);
    write_lsn(b, "begins", n->begins);
    write_lsn(b, "flush", n->flush);
    write_lsn(b, "replay", n->replay);
    write_lsn(b, "final", n->final);
    fm_buf_printf(b, ",\"recovery\":%s,\"streaming\":%s,\"clean\":%s",
                  n->recovery ? "true" : "false", n->streaming ? "true" : "false",
                  n->clean ? "true" : "false");
    if (n->state == FM_GROUP_PRIMARY || n->state == FM_GROUP_DRAINING)
        fm_buf_printf(b, ",\"loss\":\"%s\",\"loss_bytes\":\"%llu\",\"loss_transactions\":\"%llu\"",
                      fm_credit_kind_name((enum fm_credit_kind)n->loss.kind),
                      (unsigned long long)n->loss.bytes, (unsigned long long)n->loss.transactions);
    if (!fm_lsn_is_none(n->kept))
        write_lsn(b, "kept", n->kept);
    if (n->delay_ms)
        fm_buf_printf(b, ",\"delay_ms\":%lld", (long long)n->delay_ms);
    if (n->apart_ms)
        fm_buf_printf(b, ",\"apart_ms\":%lld", (long long)n->apart_ms);
    fm_buf_lit(b, ",\"history\":");
    fm_buf_json(b, history.n <= FM_MESSAGE_HISTORY_MAX ? history : FM_STR(""));
}

/* Who does not say it is not delayed. */
static bool read_delay(const json_t *o, int64_t *out)
{
    uint64_t ms = 0;
    bool good = !json_object_get(o, "delay_ms") || number(o, "delay_ms", NUMBER_MAX, &ms);
    *out = (int64_t)ms;
    return good;
}

/* Versions that know no bound say none. */
static bool read_loss(const json_t *o, struct fm_credit_bound *out)
{
    struct fm_str kind = text(o, "loss"), bytes = text(o, "loss_bytes"),
                  transactions = text(o, "loss_transactions");
    *out = (struct fm_credit_bound){.kind = FM_CREDIT_UNBOUNDED};
    if (!kind.p)
        return !json_object_get(o, "loss");
    out->kind = 0;
    while (out->kind < FM_CREDIT_KIND_COUNT &&
           !fm_str_eqz(kind, fm_credit_kind_name((enum fm_credit_kind)out->kind)))
        out->kind++;
    return out->kind < FM_CREDIT_KIND_COUNT && bytes.p && fm_str_u64(bytes, &out->bytes) &&
           transactions.p && fm_str_u64(transactions, &out->transactions);
}

bool fm_message_group_report_read(const json_t *o, struct fm_group_report *n,
                                  struct fm_str *history)
{
    struct fm_str state = text(o, "state"), system = text(o, "system");
    uint64_t timeline, apart_ms = 0;
    *n = (struct fm_group_report){.state = 0};
    while (n->state < FM_COUNT(states) && !(state.p && fm_str_eqz(state, states[n->state])))
        n->state++;
    *history = text(o, "history");
    if (n->state == FM_COUNT(states) || !system.p || !fm_str_u64(system, &n->system_id) ||
        !number(o, "epoch", NUMBER_MAX, &n->epoch.n) ||
        !number(o, "timeline", UINT32_MAX, &timeline))
        return false;
    n->timeline.n = (uint32_t)timeline;
    if (json_object_get(o, "apart_ms") && !number(o, "apart_ms", APART_MAX, &apart_ms))
        return false;
    n->apart_ms = (int64_t)apart_ms;
    if (!read_loss(o, &n->loss) || !read_delay(o, &n->delay_ms) ||
        (json_object_get(o, "kept") && !lsn(o, "kept", &n->kept)))
        return false;
    return history->p && history->n <= FM_MESSAGE_HISTORY_MAX && lsn(o, "begins", &n->begins) &&
           lsn(o, "flush", &n->flush) && lsn(o, "replay", &n->replay) &&
           lsn(o, "final", &n->final) && flag(o, "recovery", &n->recovery) &&
           flag(o, "streaming", &n->streaming) && flag(o, "clean", &n->clean);
}

/* -------- for people -------- */

static json_t *lsn_json(struct fm_lsn at)
{
    char out[FM_LSN_ROOM];
    return fm_lsn_is_none(at) ? json_null() : json_string(fm_lsn_write(out, at));
}

json_t *fm_message_group_loss_json(const struct fm_credit_bound *b)
{
    bool known = b->kind != FM_CREDIT_UNBOUNDED;
    FM_ASSERT(b->kind < FM_CREDIT_KIND_COUNT);
    return json_pack("{s:s,s:o,s:o}", "kind", fm_credit_kind_name((enum fm_credit_kind)b->kind),
                     "bytes", known ? json_integer((json_int_t)b->bytes) : json_null(),
                     "transactions",
                     known ? json_integer((json_int_t)b->transactions) : json_null());
}

void fm_message_group_apart_add(json_t *loss, const char *node, const struct fm_group_apart *a)
{
    char since[FM_RFC3339_LEN];
    FM_ASSERT(!node || a->ms > 0);
    if (!node) {
        json_object_set_new(loss, "broken", json_null());
        return;
    }
    fm_wall_format(since, fm_wall_now_ns() - a->ms * FM_NS_PER_MS);
    json_object_set_new(loss, "broken",
                        json_pack("{s:s,s:s,s:I,s:I}", "node", node, "since", since, "for_ms",
                                  (json_int_t)a->ms, "lacks_bytes", (json_int_t)a->lacks));
}

void fm_message_group_in_region_add(json_t *loss, const struct fm_credit_bound *b)
{
    json_object_set_new(loss, "in_region", b ? fm_message_group_loss_json(b) : json_null());
}

json_t *fm_message_group_report_json(const char *region, const char *zone,
                                     const struct fm_group_report *n, struct fm_mono now)
{
    FM_ASSERT(n->state < FM_COUNT(states));
    const char *said = zone[0] ? zone : NULL;
    if (n->at.ns == 0)
        return json_pack("{s:s,s:s?,s:n}", "region", region, "zone", said, "state");
    json_t *apart_ms = n->apart_ms ? json_integer(n->apart_ms) : json_null();
    return json_pack("{s:s,s:s?,s:s,s:I,s:I,s:I,s:b,s:b,s:o,s:o,s:o}", "region", region, "zone",
                     said, "state", states[n->state], "age_ms",
                     (json_int_t)fm_mono_sub_ms(now, n->at), "delay_ms", (json_int_t)n->delay_ms,
                     "timeline", (json_int_t)n->timeline.n, "recovery", (int)n->recovery,
                     "streaming", (int)n->streaming, "apart_ms", apart_ms, "flush",
                     lsn_json(n->flush), "replay", lsn_json(n->replay));
}
