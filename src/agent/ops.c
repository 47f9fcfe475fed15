/* Operations as records: see the header. */
#include "agent/ops.h"

#include "base/assert.h"
#include "base/buf.h"
#include "http/protocol.h"

#include <stdio.h>
#include <stdlib.h>

#define NUMBER_MAX ((INT64_C(1) << 53) - 1)
#define NEVER_MS   (INT64_C(1) << 52)

static const char *const kinds[] = {
#define X(id, name) [FM_OP_##id] = name,
    FM_OP_KINDS(X)
#undef X
};
static const char *const states[] = {
#define X(id, name) [FM_OP_##id] = name,
    FM_OP_STATES(X)
#undef X
};
static const char *const steps[] = {
#define X(id, name) [FM_OP_STEP_##id] = name,
    FM_OP_STEPS(X)
#undef X
};

const char *fm_op_kind_name(enum fm_op_kind k)
{
    FM_ASSERT(k < FM_COUNT(kinds));
    return kinds[k];
}

const char *fm_op_state_name(enum fm_op_state s)
{
    FM_ASSERT(s < FM_COUNT(states));
    return states[s];
}

const char *fm_op_step_name(enum fm_op_step s)
{
    FM_ASSERT(s < FM_COUNT(steps));
    return steps[s];
}

/* -------- writing -------- */

static json_t *name_or_null(const char *name)
{
    return name ? json_string(name) : json_null();
}

static const char *region_name(const struct fm_roster *r, int region)
{
    return region < 0 ? NULL : r->region[region];
}

static json_t *items_json(const struct fm_roster *r, const struct fm_op *o)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < o->nitems; i++) {
        const struct fm_op_item *x = &o->item[i];
        json_array_append_new(list, json_pack("{s:s,s:i,s:s,s:s,s:s}", "context",
                                              r->context[x->context].name, "cell", (int)x->cell,
                                              "from", r->region[x->from], "to", r->region[x->to],
                                              "state", states[x->state]));
    }
    return list;
}

json_t *fm_op_json(const struct fm_roster *r, const struct fm_op *o)
{
    json_t *j = fm_protocol_stamp(json_object());
    size_t before = json_object_size(j);
    json_object_set_new(j, "kind", json_string(kinds[o->kind]));
    json_object_set_new(j, "state", json_string(states[o->state]));
    json_object_set_new(j, "step", json_string(steps[o->step]));
    json_object_set_new(j, "context",
                        name_or_null(o->context < 0 ? NULL : r->context[o->context].name));
    json_object_set_new(j, "region", name_or_null(region_name(r, o->region)));
    json_object_set_new(j, "to", name_or_null(region_name(r, o->to)));
    json_object_set_new(j, "by", json_string(o->by));
    json_object_set_new(j, "reason", json_string(o->reason));
    json_object_set_new(j, "at", json_string(o->at));
    json_object_set_new(j, "host", json_string(o->host));
    json_object_set_new(j, "node", name_or_null(o->node[0] ? o->node : NULL));
    json_object_set_new(j, "text", json_string(o->text));
    json_object_set_new(j, "break_glass", json_boolean(o->glass));
    json_object_set_new(j, "attested", json_boolean(o->attest));
    json_object_set_new(j, "quote",
                        o->quoted ? json_pack("{s:I,s:b}", "loss_bytes", (json_int_t)o->loss,
                                              "unbounded", (int)o->unbounded)
                                  : json_null());
    json_object_set_new(j, "items", items_json(r, o));
    if (o->rule[0]) /* an older version does without */
        json_object_set_new(j, "rule", json_string(o->rule));
    if (json_object_size(j) == before + 16 + (o->rule[0] != 0) &&
        json_array_size(json_object_get(j, "items")) == o->nitems)
        return j;
    json_decref(j);
    return NULL;
}

/* -------- reading -------- */

static bool is_among(const char *s, const char *const *names, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(s, names[i]) == 0) {
            *out = (uint8_t)i;
            return true;
        }
    return false;
}

static bool copy(char *to, size_t cap, const char *from)
{
    size_t n = strlen(from);
    if (n >= cap)
        return false;
    memcpy(to, from, n + 1);
    return true;
}

/* A name that is known, or null. */
static bool find(const struct fm_roster *r, const json_t *name, int *out,
                 int (*known)(const struct fm_roster *, struct fm_str))
{
    *out = -1;
    if (json_is_null(name))
        return true;
    *out = json_is_string(name) ? known(r, fm_str_z(json_string_value(name))) : -1;
    return *out >= 0;
}

static bool read_item(const struct fm_roster *r, json_t *j, struct fm_op_item *x)
{
    const char *context, *from, *to, *state;
    json_int_t cell;
    if (json_unpack(j, "{s:s,s:I,s:s,s:s,s:s}", "context", &context, "cell", &cell, "from", &from,
                    "to", &to, "state", &state))
        return false;
    int c = fm_roster_context(r, fm_str_z(context)), f = fm_roster_region(r, fm_str_z(from)),
        t = fm_roster_region(r, fm_str_z(to));
    if (c < 0 || f < 0 || t < 0 || cell < 0 || cell >= r->context[c].ncells)
        return false;
    *x = (struct fm_op_item){(uint16_t)c, (uint8_t)cell, (uint8_t)f, (uint8_t)t, 0};
    return is_among(state, states, FM_COUNT(states), &x->state);
}

static bool read_items(const struct fm_roster *r, const json_t *list, struct fm_op *o)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > FM_OP_ITEMS_MAX)
        return false;
    o->item = n ? calloc(n, sizeof *o->item) : NULL;
    if (n && !o->item)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!read_item(r, json_array_get(list, i), &o->item[o->nitems++]))
            return false;
    return true;
}

static bool read_quote(json_t *j, struct fm_op *o)
{
    json_int_t loss;
    int unbounded;
    if (json_is_null(j))
        return true;
    if (json_unpack(j, "{s:I,s:b}", "loss_bytes", &loss, "unbounded", &unbounded) || loss < 0 ||
        loss > NUMBER_MAX)
        return false;
    o->quoted = true;
    o->loss = (uint64_t)loss;
    o->unbounded = unbounded;
    return true;
}

/* An older version says nothing of one. */
static bool read_node(const json_t *j, struct fm_op *o)
{
    const char *name = json_string_value(j);
    return !j || json_is_null(j) ||
           (name && fm_roster_is_name(fm_str_z(name)) && copy(o->node, sizeof o->node, name));
}

static const char *read_op(const struct fm_roster *r, json_t *j, struct fm_op *o)
{
    const char *kind, *state, *step, *by, *reason, *at, *host, *text, *rule = "";
    json_t *context, *region, *to, *quote, *items, *node = NULL;
    int glass, attest;
    const char *refused = fm_protocol_refuses(j);
    if (refused)
        return refused;
    if (json_unpack(j, "{s:s,s:s,s:s,s:o,s:o,s:o,s:s,s:s,s:s,s:s,s:s,s:b,s:b,s:o,s:o,s?o,s?s}",
                    "kind", &kind, "state", &state, "step", &step, "context", &context, "region",
                    &region, "to", &to, "by", &by, "reason", &reason, "at", &at, "host", &host,
                    "text", &text, "break_glass", &glass, "attested", &attest, "quote", &quote,
                    "items", &items, "node", &node, "rule", &rule))
        return "no operation that is whole";
    if (!is_among(kind, kinds, FM_COUNT(kinds), &o->kind) ||
        !is_among(state, states, FM_COUNT(states), &o->state) ||
        !is_among(step, steps, FM_COUNT(steps), &o->step))
        return "an operation of a kind that is not known here";
    if (!copy(o->by, sizeof o->by, by) || !copy(o->reason, sizeof o->reason, reason) ||
        !copy(o->at, sizeof o->at, at) || !copy(o->host, sizeof o->host, host) ||
        !copy(o->text, sizeof o->text, text) || !copy(o->rule, sizeof o->rule, rule) ||
        !read_node(node, o))
        return "a text that is too long";
    if (!find(r, context, &o->context, fm_roster_context) ||
        !find(r, region, &o->region, fm_roster_region) || !find(r, to, &o->to, fm_roster_region))
        return "a name that this file does not know";
    o->glass = glass;
    o->attest = attest;
    if (!read_quote(quote, o))
        return "a quote that is none";
    return read_items(r, items, o) ? NULL : "items that are none";
}

bool fm_op_read(const struct fm_roster *r, struct fm_str text, struct fm_op *o, const char **why)
{
    memset(o, 0, sizeof *o);
    json_t *j =
        text.n <= FM_OP_TEXT_MAX ? json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    *why = j ? read_op(r, j, o) : "no JSON";
    json_decref(j);
    if (*why)
        fm_op_free(o);
    return !*why;
}

void fm_op_free(struct fm_op *o)
{
    free(o->item);
    o->item = NULL;
    o->nitems = 0;
}

/* -------- ids -------- */

void fm_op_new_id(char out[FM_OP_ID_ROOM], int64_t wall_ns, uint64_t random)
{
    char at[FM_RFC3339_LEN]; /* 2026-11-21T14:08:42.123456Z */
    fm_wall_format(at, wall_ns);
    snprintf(out, FM_OP_ID_ROOM, "%.4s%.2s%.2s-%.2s%.2s%.2s-%06llx", at, at + 5, at + 8, at + 11,
             at + 14, at + 17, (unsigned long long)(random & 0xffffff));
}

bool fm_op_is_id(struct fm_str s)
{
    if (s.n == 0 || s.n >= FM_OP_ID_ROOM)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!(s.p[i] >= '0' && s.p[i] <= '9') && !(s.p[i] >= 'a' && s.p[i] <= 'z') && s.p[i] != '-')
            return false;
    return true;
}

enum fm_op_state fm_op_outcome(const struct fm_op *o)
{
    unsigned done = 0, failed = 0;
    for (unsigned i = 0; i < o->nitems; i++) {
        done += o->item[i].state == FM_OP_DONE;
        failed +=
            fm_op_is_over((enum fm_op_state)o->item[i].state) && o->item[i].state != FM_OP_DONE;
    }
    if (done + failed < o->nitems)
        return FM_OP_RUNNING;
    return failed == 0 ? FM_OP_DONE : done == 0 ? FM_OP_FAILED : FM_OP_PARTIAL;
}

/* -------- policies -------- */

json_t *fm_op_policy_json(const struct fm_op_policy *p)
{
    return fm_protocol_stamp(json_pack("{s:b,s:s,s:I}", "read_only", (int)p->read_only, "message",
                                       p->message, "automatic_paused_until_ms",
                                       (json_int_t)p->paused_until_ms));
}

bool fm_op_policy_read(struct fm_str text, struct fm_op_policy *p)
{
    int read_only;
    const char *message;
    json_int_t until;
    memset(p, 0, sizeof *p);
    json_t *j =
        text.n <= FM_OP_TEXT_MAX ? json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    bool good = j && !fm_protocol_refuses(j) &&
                !json_unpack(j, "{s:b,s:s,s:I}", "read_only", &read_only, "message", &message,
                             "automatic_paused_until_ms", &until) &&
                until >= 0 && until <= NEVER_MS && copy(p->message, sizeof p->message, message);
    if (good) {
        p->read_only = read_only;
        p->paused_until_ms = until;
        fm_text_tame(p->message);
    }
    json_decref(j);
    return good;
}
