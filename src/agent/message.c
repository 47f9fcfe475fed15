/* Messages as JSON: see the header. The table says which members each kind has; writing and reading
 * follow it, so that they cannot differ. Invariant: a message that was read is whole by the table.
 */
#include "agent/message.h"

#include "agent/message_group.h"
#include "base/assert.h"
#include "http/protocol.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX ((UINT64_C(1) << 53) - 1)

enum member {
    CONTEXT = 1,
    LIFE = 1 << 1,
    FOR = 1 << 2,
    ASKED = 1 << 3,
    MS = 1 << 4,
    SERIAL = 1 << 5,
    CELL = 1 << 6,
    CELLS = 1 << 7,   /* [3,4] */
    EPOCHS = 1 << 8,  /* [[3,12],[4,7]] */
    HOLDERS = 1 << 9, /* [[3,12,"west"],[4,7,null]] */
    OK = 1 << 10,
    WHY = 1 << 11,
    REGION = 1 << 12,
    VOTE = 1 << 13,
    AT = 1 << 14, /* of CELL */
    OVER = 1 << 15,
    NODE = 1 << 16,
    CLOSED = 1 << 17, /* only where it is so */
    RULE = 1 << 18,
};

static const unsigned members[FM_MESSAGE_KIND_COUNT] = {
    [FM_MESSAGE_ASK] = CONTEXT | LIFE | ASKED | EPOCHS,
    [FM_MESSAGE_GRANT] = CONTEXT | LIFE | ASKED | MS | EPOCHS | CLOSED,
    [FM_MESSAGE_STOP] = CONTEXT | EPOCHS,
    [FM_MESSAGE_STOPPED] = CONTEXT | LIFE | EPOCHS,
    [FM_MESSAGE_QUIET] = CONTEXT | LIFE | SERIAL | MS | CELLS,
    [FM_MESSAGE_QUIETED] = CONTEXT | LIFE | FOR | SERIAL | CELLS,
    [FM_MESSAGE_NUDGE] = CONTEXT,
    [FM_MESSAGE_BOARD] = CONTEXT | HOLDERS,
    [FM_MESSAGE_PROMISE_ASK] = CONTEXT | LIFE | ASKED | EPOCHS,
    [FM_MESSAGE_PROMISE] = CONTEXT | LIFE | ASKED | MS,
    [FM_MESSAGE_VOTE] = VOTE,
    [FM_MESSAGE_CAPABLE] = VOTE,
    [FM_MESSAGE_HEIR_ASK] = CONTEXT | LIFE | SERIAL | CELL,
    [FM_MESSAGE_HEIR] = CONTEXT | FOR | SERIAL | CELL | OK | WHY,
    [FM_MESSAGE_SHIP] = CONTEXT | LIFE | SERIAL | CELL | REGION,
    [FM_MESSAGE_SHIPPED] = CONTEXT | FOR | SERIAL | CELL | OK,
    [FM_MESSAGE_TESTIFY] = LIFE | OK,
    [FM_MESSAGE_CELL] = CONTEXT | AT,
    [FM_MESSAGE_RECORD] = CONTEXT | OVER,
    [FM_MESSAGE_REPORT] = CONTEXT | NODE,
    [FM_MESSAGE_CREATE] = CONTEXT,
    [FM_MESSAGE_APART] = CONTEXT | OK,
    [FM_MESSAGE_YIELD] = CONTEXT | EPOCHS,
    [FM_MESSAGE_ORDER] = CONTEXT | SERIAL | OK | WHY,
    [FM_MESSAGE_ORDERED] = CONTEXT | SERIAL | OK | MS | WHY,
    [FM_MESSAGE_HOME_ASK] = CONTEXT | SERIAL,
    [FM_MESSAGE_HOME] = CONTEXT | SERIAL | OK | RULE | WHY,
};

const char *fm_message_kind_name(enum fm_message_kind k)
{
    static const char *const name[] = {
#define X(id, text) [FM_MESSAGE_##id] = text,
        FM_MESSAGES(X)
#undef X
    };
    FM_ASSERT(k < FM_COUNT(name));
    return name[k];
}

/* -------- writing -------- */

static void number(struct fm_buf *b, const char *name, uint64_t n)
{
    FM_ASSERT(n <= NUMBER_MAX);
    fm_buf_printf(b, ",\"%s\":%llu", name, (unsigned long long)n);
}

static void write_cells(const struct fm_roster *r, const struct fm_message *m, unsigned with,
                        struct fm_buf *b)
{
    const char *comma = "";
    fm_buf_lit(b, ",\"cells\":[");
    for (unsigned i = 0; i < FM_AUTH_CELLS_MAX; i++) {
        if (!(m->cells >> i & 1))
            continue;
        fm_buf_printf(b, with & CELLS ? "%s%u" : "%s[%u", comma, i);
        comma = ",";
        if (!(with & CELLS))
            fm_buf_printf(b, ",%llu", (unsigned long long)m->epoch[i].n);
        if (with & HOLDERS && m->holder[i] != FM_NO_REGION)
            fm_buf_printf(b, ",\"%s\"", r->region[m->holder[i]]);
        else if (with & HOLDERS)
            fm_buf_lit(b, ",null");
        if (!(with & CELLS))
            fm_buf_ch(b, ']');
    }
    fm_buf_ch(b, ']');
}

static void write_contexts(const struct fm_roster *r, const struct fm_contexts *c, struct fm_buf *b)
{
    const char *comma = "";
    fm_buf_ch(b, '[');
    for (unsigned i = 0; i < r->ncontexts; i++) {
        if (!fm_contexts_has(c, i))
            continue;
        fm_buf_printf(b, "%s\"%s\"", comma, r->context[i].name);
        comma = ",";
    }
    fm_buf_ch(b, ']');
}

static void write_vote(const struct fm_roster *r, const struct fm_vote *v, struct fm_buf *b)
{
    static const struct fm_contexts none;
    const char *comma = "";
    fm_buf_lit(b, ",\"lost\":[");
    for (unsigned i = 0; i < r->nregions; i++) {
        if (!(v->lost >> i & 1))
            continue;
        fm_buf_printf(b, "%s\"%s\"", comma, r->region[i]);
        comma = ",";
    }
    fm_buf_lit(b, "],\"well\":{");
    comma = "";
    for (unsigned i = 0; i < r->nregions; i++) {
        if (fm_contexts_cover(&none, &v->well[i]))
            continue;
        fm_buf_printf(b, "%s\"%s\":", comma, r->region[i]);
        write_contexts(r, &v->well[i], b);
        comma = ",";
    }
    fm_buf_ch(b, '}');
}

static void write_load(const struct fm_roster *r, const struct fm_load *l, struct fm_buf *b)
{
    const char *comma = "";
    fm_buf_printf(b, ",\"rate\":%u,\"rates\":{", l->total);
    for (unsigned i = 0; i < r->ncontexts; i++) {
        if (!l->of[i])
            continue;
        fm_buf_printf(b, "%s\"%s\":%u", comma, r->context[i].name, l->of[i]);
        comma = ",";
    }
    fm_buf_ch(b, '}');
}

static void write_members(const struct fm_roster *r, const struct fm_message *m, struct fm_buf *b)
{
    unsigned has = members[m->kind];
    fm_buf_printf(b, "{\"kind\":\"%s\"", fm_message_kind_name((enum fm_message_kind)m->kind));
    if (has & CONTEXT)
        fm_buf_printf(b, ",\"context\":\"%s\"", r->context[m->context].name);
    if (has & LIFE)
        number(b, "life", m->life);
    if (has & FOR)
        number(b, "for", m->life_for);
    if (has & ASKED)
        fm_buf_printf(b, ",\"asked\":\"%lld\"", (long long)m->asked_ns);
    if (has & MS)
        number(b, "ms", (uint64_t)m->ms);
    if (has & SERIAL)
        number(b, "serial", m->serial);
    if (has & CELL)
        number(b, "cell", m->cell);
    if (has & REGION)
        fm_buf_printf(b, ",\"region\":\"%s\"", r->region[m->region]);
    if (has & OK)
        fm_buf_printf(b, ",\"ok\":%s", m->ok ? "true" : "false");
    if (has & RULE) {
        fm_buf_lit(b, ",\"rule\":");
        fm_buf_json(b, fm_str_z(m->rule));
    }
    if (has & WHY) {
        fm_buf_lit(b, ",\"why\":");
        fm_buf_json(b, fm_str_z(m->why));
    }
    if (has & (CELLS | EPOCHS | HOLDERS))
        write_cells(r, m, has, b);
    if (has & CLOSED && m->closed)
        fm_buf_lit(b, ",\"closed\":true");
    if (has & CLOSED && m->closed && m->unheard)
        fm_buf_lit(b, ",\"unheard\":true");
    if (has & CLOSED && m->must)
        fm_buf_lit(b, ",\"must\":[\"closed\"]");
    if (has & VOTE) {
        write_vote(r, &m->vote, b);
        write_load(r, &m->load, b);
    }
    if (has & AT)
        fm_message_group_cell_write(r, m->context, &m->at, b);
    if (has & OVER)
        fm_message_group_over_write(r, m->context, &m->at, b);
    if (has & NODE)
        fm_message_group_report_write(&m->report, m->history, b);
    fm_buf_ch(b, '}');
}

void fm_message_write(const struct fm_roster *r, const struct fm_message *m, struct fm_buf *out)
{
    FM_ASSERT(m->kind < FM_MESSAGE_KIND_COUNT && m->ms >= 0 && m->asked_ns >= 0);
    size_t was = out->n;
    write_members(r, m, out);
    if (out->full)
        out->n = was;
}

void fm_post_begin(struct fm_buf *out, struct fm_str from, uint64_t life)
{
    FM_ASSERT(fm_roster_is_name(from) && life > 0 && life <= NUMBER_MAX);
    fm_protocol_begin(out);
    fm_buf_printf(out, ",\"from\":\"%.*s\",\"life\":%llu,\"messages\":[", FM_STR_ARG(from),
                  (unsigned long long)life);
}

void fm_post_end(struct fm_buf *out)
{
    fm_buf_lit(out, "]}");
}

/* -------- reading -------- */

enum reading { READ, SKIPPED, WRONG };

static bool get_number(const json_t *o, const char *name, uint64_t least, uint64_t most,
                       uint64_t *out)
{
    const json_t *n = json_object_get(o, name);
    json_int_t v = json_integer_value(n);
    *out = (uint64_t)v;
    return json_is_integer(n) && v >= 0 && *out >= least && *out <= most;
}

static struct fm_str get_text(const json_t *o, const char *name)
{
    const json_t *s = json_object_get(o, name);
    return json_is_string(s) ? fm_str(json_string_value(s), json_string_length(s))
                             : fm_str(NULL, 0);
}

static bool get_asked(const json_t *o, int64_t *out)
{
    uint64_t n;
    bool good = fm_str_u64(get_text(o, "asked"), &n) && n <= INT64_MAX;
    *out = good ? (int64_t)n : 0;
    return good;
}

static enum reading read_cell(const struct fm_roster *r, const json_t *c, unsigned has,
                              struct fm_message *m)
{
    const json_t *number = has & CELLS ? c : json_array_get(c, 0);
    json_int_t i = json_integer_value(number);
    size_t parts = has & HOLDERS ? 3 : 2;
    if (!json_is_integer(number) || i < 0 || i >= FM_AUTH_CELLS_MAX || m->cells >> i & 1)
        return WRONG;
    m->cells |= UINT64_C(1) << i;
    if (has & CELLS)
        return READ;
    json_int_t epoch = json_integer_value(json_array_get(c, 1));
    if (json_array_size(c) != parts || !json_is_integer(json_array_get(c, 1)) || epoch < 0 ||
        (uint64_t)epoch > NUMBER_MAX)
        return WRONG;
    m->epoch[i].n = (uint64_t)epoch;
    if (!(has & HOLDERS))
        return READ;
    const json_t *holder = json_array_get(c, 2);
    int region = fm_roster_region(r, fm_str_z(json_string_value(holder)));
    m->holder[i] = json_is_string(holder) ? (uint8_t)region : FM_NO_REGION;
    if (!json_is_string(holder) && !json_is_null(holder))
        return WRONG;
    return json_is_string(holder) && region < 0 ? SKIPPED : READ;
}

static enum reading read_cells(const struct fm_roster *r, const json_t *o, unsigned has,
                               struct fm_message *m)
{
    const json_t *cells = json_object_get(o, "cells");
    unsigned ncells = r->context[m->context].ncells;
    size_t n = json_array_size(cells);
    enum reading worst = READ;
    if (!json_is_array(cells) || n > FM_AUTH_CELLS_MAX)
        return WRONG;
    for (size_t i = 0; i < n; i++) {
        enum reading one = read_cell(r, json_array_get(cells, i), has, m);
        if (one == WRONG)
            return WRONG;
        worst = one == SKIPPED ? SKIPPED : worst;
    }
    /* cells that are not in this file: of another configuration */
    return ncells < FM_AUTH_CELLS_MAX && m->cells >> ncells ? SKIPPED : worst;
}

/* Names that are not known here are left out. */
static bool read_contexts(const struct fm_roster *r, const json_t *list, struct fm_contexts *out)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > FM_VOTE_CONTEXTS_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        int context = name ? fm_roster_context(r, fm_str_z(name)) : -1;
        if (!name)
            return false;
        if (context >= 0)
            fm_contexts_add(out, (unsigned)context);
    }
    return true;
}

static bool read_vote(const struct fm_roster *r, json_t *o, struct fm_vote *v)
{
    json_t *lost = json_object_get(o, "lost"), *well = json_object_get(o, "well"), *list;
    const char *name;
    size_t n = json_array_size(lost);
    if (!json_is_array(lost) || !json_is_object(well) || n > 64 || json_object_size(well) > 64)
        return false;
    for (size_t i = 0; i < n; i++) {
        const char *region = json_string_value(json_array_get(lost, i));
        int known = region ? fm_roster_region(r, fm_str_z(region)) : -1;
        if (!region)
            return false;
        if (known >= 0)
            v->lost = (uint16_t)(v->lost | 1u << known);
    }
    json_object_foreach(well, name, list)
    {
        int region = fm_roster_region(r, fm_str_z(name));
        struct fm_contexts ignored = {{0}};
        if (!read_contexts(r, list, region >= 0 ? &v->well[region] : &ignored))
            return false;
    }
    return true;
}

static bool read_rate(const json_t *n, uint32_t *out)
{
    json_int_t v = json_integer_value(n);
    *out = (uint32_t)v;
    return json_is_integer(n) && v >= 0 && v <= UINT32_MAX;
}

/* Whoever does not say it has nothing to do. */
static bool read_load(const struct fm_roster *r, json_t *o, struct fm_load *l)
{
    json_t *rate = json_object_get(o, "rate"), *rates = json_object_get(o, "rates"), *n;
    const char *name;
    if (rate && !read_rate(rate, &l->total))
        return false;
    if (rates && (!json_is_object(rates) || json_object_size(rates) > FM_VOTE_CONTEXTS_MAX))
        return false;
    json_object_foreach(rates, name, n)
    {
        int context = fm_roster_context(r, fm_str_z(name));
        uint32_t ignored;
        if (!read_rate(n, context >= 0 ? &l->of[context] : &ignored))
            return false;
    }
    return true;
}

static bool read_numbers(const json_t *o, unsigned has, struct fm_message *m)
{
    uint64_t n = 0;
    if (has & LIFE && !get_number(o, "life", 1, NUMBER_MAX, &m->life))
        return false;
    if (has & FOR && !get_number(o, "for", 1, NUMBER_MAX, &m->life_for))
        return false;
    if (has & ASKED && !get_asked(o, &m->asked_ns))
        return false;
    if (has & MS && !get_number(o, "ms", 0, FM_LEASE_MAX_MS, &n))
        return false;
    m->ms = (int32_t)n;
    if (has & SERIAL && !get_number(o, "serial", 0, UINT32_MAX, &n))
        return false;
    m->serial = has & SERIAL ? (uint32_t)n : 0;
    if (has & CELL && !get_number(o, "cell", 0, FM_AUTH_CELLS_MAX - 1, &n))
        return false;
    m->cell = has & CELL ? (uint8_t)n : 0;
    return true;
}

static bool read_ok(const json_t *o, unsigned has, struct fm_message *m)
{
    const json_t *ok = json_object_get(o, "ok");
    struct fm_str why = get_text(o, "why"), rule = get_text(o, "rule");
    if (has & OK && !json_is_boolean(ok))
        return false;
    m->ok = json_is_true(ok);
    if (has & WHY && (!why.p || why.n >= sizeof m->why))
        return false;
    if (has & WHY)
        memcpy(m->why, why.p, why.n);
    fm_text_tame(m->why);
    if (has & RULE && (!rule.p || rule.n >= sizeof m->rule))
        return false;
    if (has & RULE)
        memcpy(m->rule, rule.p, rule.n);
    fm_text_tame(m->rule);
    return true;
}

/* Is all of `must` known here? Without it the message would be misread. */
static bool read_must(const json_t *o, unsigned has, struct fm_message *m)
{
    size_t i;
    json_t *name, *must = json_object_get(o, "must");
    m->must = must != NULL;
    json_array_foreach(must, i, name)
    {
        const char *text = json_string_value(name);
        if (!text || !(has & CLOSED) || strcmp(text, "closed") != 0)
            return false;
    }
    return !must || json_is_array(must);
}

static enum reading read_message(const struct fm_roster *r, json_t *o, struct fm_message *m)
{
    struct fm_str kind = get_text(o, "kind");
    memset(m, 0, sizeof *m);
    if (!kind.p)
        return WRONG;
    while (m->kind < FM_MESSAGE_KIND_COUNT &&
           !fm_str_eqz(kind, fm_message_kind_name((enum fm_message_kind)m->kind)))
        m->kind++;
    if (m->kind == FM_MESSAGE_KIND_COUNT)
        return SKIPPED;
    unsigned has = members[m->kind];
    if (!read_must(o, has, m))
        return SKIPPED;
    m->closed = has & CLOSED && json_is_true(json_object_get(o, "closed"));
    m->unheard = m->closed && json_is_true(json_object_get(o, "unheard"));
    if (!read_numbers(o, has, m) || !read_ok(o, has, m) ||
        (has & VOTE && (!read_vote(r, o, &m->vote) || !read_load(r, o, &m->load))))
        return WRONG;
    struct fm_str context = get_text(o, "context"), region = get_text(o, "region");
    if ((has & CONTEXT && !context.p) || (has & REGION && !region.p))
        return WRONG;
    int c = has & CONTEXT ? fm_roster_context(r, context) : 0;
    int g = has & REGION ? fm_roster_region(r, region) : 0;
    if (c < 0 || g < 0)
        return SKIPPED;
    m->context = (uint16_t)c;
    m->region = (uint8_t)g;
    if (has & CELL && m->cell >= r->context[c].ncells)
        return SKIPPED;
    if (has & NODE && !fm_message_group_report_read(o, &m->report, &m->history))
        return WRONG;
    if (has & (AT | OVER)) {
        int known = has & AT ? fm_message_group_cell_read(r, (unsigned)c, o, &m->at)
                             : fm_message_group_over_read(r, (unsigned)c, o, &m->at);
        return known < 0 ? WRONG : known == 0 ? SKIPPED : READ;
    }
    return has & (CELLS | EPOCHS | HOLDERS) ? read_cells(r, o, has, m) : READ;
}

static const char *read_head(const json_t *o, struct fm_post_head *head, const json_t **messages)
{
    struct fm_str from = get_text(o, "from");
    *messages = json_object_get(o, "messages");
    if (!json_is_object(o))
        return "no object of JSON";
    const char *refused = fm_protocol_refuses(o);
    if (refused)
        return refused;
    head->protocol = (unsigned)json_integer_value(json_object_get(o, "v"));
    if (!fm_roster_is_name(from) || !get_number(o, "life", 1, NUMBER_MAX, &head->life))
        return "nobody's";
    if (!json_is_array(*messages) || json_array_size(*messages) > FM_POST_MESSAGES_MAX)
        return "too many messages, or none that are a list";
    FM_ASSERT(from.p && from.n < sizeof head->from);
    memcpy(head->from, from.p, from.n);
    head->from[from.n] = 0;
    return NULL;
}

const char *fm_post_read(const struct fm_roster *r, struct fm_str text,
                         const struct fm_post_reader *reader)
{
    struct fm_message m;
    struct fm_post_head head;
    const json_t *messages = NULL;
    json_t *o = text.n <= FM_POST_BYTES_MAX
                    ? json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL)
                    : NULL;
    const char *why = read_head(o, &head, &messages);
    size_t n = why ? 0 : json_array_size(messages);
    for (size_t i = 0; i < n && !why; i++)
        if (read_message(r, json_array_get(messages, i), &m) == WRONG)
            why = "a message that is not whole, or out of its bounds";
    if (!why)
        why = reader->opens(reader->user, &head);
    for (size_t i = 0; i < n && !why; i++)
        if (read_message(r, json_array_get(messages, i), &m) == READ)
            reader->take(reader->user, &head, &m);
    json_decref(o);
    return why;
}
