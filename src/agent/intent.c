/* Intents as records, and their guards: see the header. */
#include "agent/intent.h"

#include "base/assert.h"
#include "base/buf.h"
#include "http/protocol.h"
#include "proxy/view_intent.h"

#include <stdio.h>

#define NEVER_MS (INT64_C(1) << 52)

json_t *fm_intent_json(const struct fm_intent *i)
{
    FM_ASSERT(i->serve_permille <= FM_INTENT_ALL && i->until_ms >= 0 && i->for_ms >= 0);
    return fm_protocol_stamp(json_pack("{s:i,s:s,s:s,s:s,s:s,s:I,s:I}", "serve_permille",
                                       (int)i->serve_permille, "by", i->by, "reason", i->reason,
                                       "at", i->at, "op", i->op, "until_ms",
                                       (json_int_t)i->until_ms, "for_ms", (json_int_t)i->for_ms));
}

static bool copy(char *to, size_t cap, const char *from)
{
    size_t n = strlen(from);
    if (n >= cap)
        return false;
    memcpy(to, from, n + 1);
    fm_text_tame(to);
    return true;
}

bool fm_intent_read(struct fm_str text, struct fm_intent *i)
{
    int serve;
    const char *by, *reason, *at, *op;
    json_int_t until, length;
    memset(i, 0, sizeof *i);
    json_t *j =
        text.n <= FM_OP_TEXT_MAX ? json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    bool good = j && !fm_protocol_refuses(j) &&
                !json_unpack(j, "{s:i,s:s,s:s,s:s,s:s,s:I,s:I}", "serve_permille", &serve, "by",
                             &by, "reason", &reason, "at", &at, "op", &op, "until_ms", &until,
                             "for_ms", &length) &&
                serve >= 0 && serve <= FM_INTENT_ALL && until >= 0 && until <= NEVER_MS &&
                length >= 0 && length <= NEVER_MS && (until == 0) == (length == 0) &&
                copy(i->by, sizeof i->by, by) && copy(i->reason, sizeof i->reason, reason) &&
                copy(i->at, sizeof i->at, at) && copy(i->op, sizeof i->op, op);
    if (good) {
        i->serve_permille = (uint16_t)serve;
        i->until_ms = until;
        i->for_ms = length;
    }
    json_decref(j);
    return good;
}

static bool take_name(char to[FM_ROSTER_NAME_ROOM], struct fm_str name)
{
    if (!fm_roster_is_name(name))
        return false;
    memcpy(to, name.p, name.n);
    to[name.n] = 0;
    return true;
}

/* REGION[/NAME[/ADDRESS]] */
static bool read_about(struct fm_str text, struct fm_intent_about *a)
{
    struct fm_str rest, address, region = fm_str_cut(text, '/', &rest);
    struct fm_str name = fm_str_cut(rest, '/', &address);
    memset(a, 0, sizeof *a);
    if (!take_name(a->region, region) || (rest.p && !take_name(a->name, name)))
        return false;
    if (!address.p)
        return true;
    if (!fm_view_intent_is_address(address))
        return false;
    memcpy(a->address, address.p, address.n);
    return true;
}

bool fm_intent_key_read(struct fm_str key, struct fm_intent_about *a)
{
    struct fm_str rest, kind = fm_str_cut(key, '/', &rest);
    return fm_str_eqz(kind, "intent") && rest.p && read_about(rest, a);
}

bool fm_intent_instance_read(struct fm_str text, struct fm_intent_about *a)
{
    return read_about(text, a) && a->address[0];
}

void fm_intent_key_write(const struct fm_intent_about *a, char out[FM_INTENT_KEY_ROOM])
{
    FM_ASSERT(a->region[0] && (a->name[0] || !a->address[0]));
    snprintf(out, FM_INTENT_KEY_ROOM, "intent/%s%s%s%s%s", a->region, a->name[0] ? "/" : "",
             a->name, a->address[0] ? "/" : "", a->address);
}

int64_t fm_intent_left_ms(const struct fm_intent *i, int64_t wall_ms)
{
    if (i->for_ms == 0)
        return -1;
    return fm_clamp_i64(i->until_ms - wall_ms, 0, i->for_ms);
}

/* -------- guards -------- */

enum fm_intent_verdict fm_intent_judge(const struct fm_intent_region *r, unsigned n, uint64_t *left,
                                       uint64_t *needed)
{
    uint64_t all = 0, largest = 0, left_milli = 0;
    bool any = false, said = true;
    for (unsigned i = 0; i < n; i++) {
        FM_ASSERT(r[i].serve_permille <= FM_INTENT_ALL);
        if (r[i].witness)
            continue;
        said &= r[i].capacity > 0;
        all += r[i].capacity;
        largest = fm_max_u64(largest, r[i].capacity);
        if (r[i].lost)
            continue;
        any |= r[i].serve_permille > 0;
        left_milli += (uint64_t)r[i].capacity * r[i].serve_permille;
    }
    *left = left_milli / FM_INTENT_ALL;
    *needed = all - largest;
    if (!any)
        return FM_INTENT_LAST_REGION;
    if (!said)
        return FM_INTENT_UNKNOWN;
    return left_milli < *needed * FM_INTENT_ALL ? FM_INTENT_CAPACITY : FM_INTENT_FINE;
}
