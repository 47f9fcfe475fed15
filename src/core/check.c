/* Dependency checks: see the header. */
#include "core/check.h"

#include "base/assert.h"

const char *fm_check_state_name(enum fm_check_state s)
{
    static const char *const name[] = {"unknown", "good", "warn", "bad", "stale"};
    FM_ASSERT((size_t)s < FM_COUNT(name));
    return name[s];
}

void fm_check_init(struct fm_check *c, struct fm_mono now)
{
    *c = (struct fm_check){.last = now, .changed = now};
}

bool fm_check_result(struct fm_check *c, const struct fm_check_policy *p, bool ok, bool warn,
                     int64_t latency_ns, struct fm_mono now)
{
    FM_ASSERT(p->fall > 0 && p->rise > 0);
    bool was_known = c->known, was_good = c->good;
    c->known = true;
    c->last = now;
    c->latency_ns = latency_ns;
    c->warn = ok ? warn : c->warn; /* a failure says nothing of what was warned of */
    c->failed_in_row = ok ? 0 : (uint8_t)(c->failed_in_row + (c->failed_in_row < UINT8_MAX));
    c->ok_in_row = ok ? (uint8_t)(c->ok_in_row + (c->ok_in_row < UINT8_MAX)) : 0;
    if (!was_known)
        c->good = ok;
    else if (c->good && c->failed_in_row >= p->fall)
        c->good = false;
    else if (!c->good && c->ok_in_row >= p->rise)
        c->good = true;
    FM_ASSERT((c->ok_in_row > 0) == ok && (c->failed_in_row > 0) == !ok);
    bool flipped = was_known ? c->good != was_good : true;
    if (flipped)
        c->changed = now;
    return flipped;
}

enum fm_check_state fm_check_now(const struct fm_check *c, const struct fm_check_policy *p,
                                 struct fm_mono now)
{
    FM_ASSERT(p->max_age_ms >= 0);
    if (fm_mono_sub_ms(now, c->last) > p->max_age_ms)
        return c->known ? FM_CHECK_STALE : FM_CHECK_UNKNOWN;
    if (!c->known)
        return FM_CHECK_UNKNOWN;
    if (!c->good)
        return FM_CHECK_BAD;
    return c->warn ? FM_CHECK_WARN : FM_CHECK_GOOD;
}

bool fm_check_fold(unsigned said_yes, unsigned said_no)
{
    return said_yes > 0 && said_yes >= said_no;
}
