/* A failback for people: see the header. Invariant: what is said names each condition that is not
 * met, and no other. */
#include "agent/homeward.h"

#include "base/assert.h"
#include "base/bits.h"
#include "base/buf.h"
#include "conf/scalar.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static FM_PRINTF(2, 3) void add(char out[FM_HOMEWARD_ROOM], const char *fmt, ...)
{
    va_list ap;
    size_t n = strlen(out);
    if (n > 0 && n < FM_HOMEWARD_ROOM - 2)
        n += (size_t)snprintf(out + n, FM_HOMEWARD_ROOM - n, "; ");
    va_start(ap, fmt);
    vsnprintf(out + n, FM_HOMEWARD_ROOM - n, fmt, ap);
    va_end(ap);
}

/* In whole seconds: `up`, so that nobody comes too early. */
static struct fm_scalar_text whole(int64_t ms, bool up)
{
    FM_ASSERT(ms >= 0);
    return fm_scalar_duration_text(ms < 1000 ? ms : (ms + (up ? 999 : 0)) / 1000 * 1000);
}

static void add_health(const struct fm_homeward *x, char out[FM_HOMEWARD_ROOM])
{
    add(out, "%.32s is not well: %s; it has to be for %s (`soak`)", x->home,
        x->lost      ? "it was not heard for a while"
        : !x->counts ? "none of its standbys counts"
                     : "no gate there can serve the context",
        fm_scalar_duration_text(x->soak_ms).s);
}

void fm_homeward_say(const struct fm_failover_home *h, const struct fm_homeward *x,
                     char out[FM_HOMEWARD_ROOM])
{
    FM_ASSERT(x->home && x->lacks && x->soak_ms >= 0);
    out[0] = 0;
    if (h->lags && !(h->ill && x->lost)) /* nothing is heard of them: that is said once */
        add(out, "replication lags%s%s", x->lacks[0] ? ": " : ", or conflicts wait", x->lacks);
    if (h->ill)
        add_health(x, out);
    else if (h->unsoaked)
        add(out, "%.32s has been well for %s of %s (`soak`): %s left", x->home,
            whole(h->well_ms, false).s, fm_scalar_duration_text(x->soak_ms).s,
            whole(h->left_ms, true).s);
    if (h->shut)
        add(out, "the `window` is shut");
    if (!out[0]) /* it is not the home that it waits for */
        add(out, "%s", fm_failover_why_text((enum fm_failover_why)h->verdict.why));
    fm_text_tame(out);
}

const char *fm_homeward_remedy(const char *rule)
{
    static const struct {
        enum fm_failover_why why;
        const char *text;
    } remedies[] = {
        {FM_FAILOVER_WHY_LAG, "wait until its data have followed: see `fulmar group status`"},
        {FM_FAILOVER_WHY_ILL, "bring it up first: `fulmar status HOST`, of a host there, says what "
                              "it lacks"},
        {FM_FAILOVER_WHY_SOAK,
         "wait for the rest of `soak`, or use `fulmar move`, which does not ask for it"},
        {FM_FAILOVER_WHY_WINDOW,
         "wait for the `window`, or use `fulmar move`, which does not ask for it"},
    };
    for (size_t i = 0; i < FM_COUNT(remedies); i++)
        if (strcmp(rule, fm_failover_why_name(remedies[i].why)) == 0)
            return remedies[i].text;
    for (unsigned w = FM_FAILOVER_WHY_NONE + 1; w < FM_FAILOVER_WHY_COUNT; w++)
        if (strcmp(rule, fm_failover_why_name((enum fm_failover_why)w)) == 0)
            return "wait until the failover that is under way is over, or stand it down";
    return NULL;
}
