/* fulmar events and fulmar why: what happened, by whom, and on which evidence. */
#include "cli/events.h"

#include "base/assert.h"
#include "base/time.h"
#include "cli/agents.h"
#include "cli/call.h"
#include "cli/order.h"
#include "cli/show.h"

#include <stdio.h>

enum { POLL_MS = 10000, AGAIN_MS = 1000 };

/* -------- one event -------- */

static bool says(const json_t *event, struct fm_str part)
{
    static const char *const names[] = {"context", "region", "host", "to", "op", "ref", "object"};
    uint64_t cell;
    for (size_t i = 0; i < FM_COUNT(names); i++)
        if (fm_str_eqz(part, fm_show_text(event, names[i])))
            return true;
    const json_t *v = json_object_get(event, "cell");
    return json_is_integer(v) && fm_str_u64(part, &cell) &&
           (json_int_t)cell == json_integer_value(v);
}

bool fm_event_is_about(const json_t *event, const char *what)
{
    struct fm_str rest = fm_str_z(what);
    if (rest.n && says(event, rest))
        return true; /* a reference may have slashes in it */
    while (rest.n) {
        struct fm_str part = fm_str_cut(rest, '/', &rest);
        if (!says(event, part))
            return false;
    }
    return true;
}

void fm_event_print(const json_t *e)
{
    char at[FM_SHOW_CLOCK], n[FM_SHOW_NUMBER], about[160];
    const char *region = fm_show_text(e, "region"), *context = fm_show_text(e, "context"),
               *from = fm_show_text(e, "from"), *to = fm_show_text(e, "to"),
               *evidence = fm_show_text(e, "evidence"), *by = fm_show_text(e, "by");
    const char *cell = fm_show_number_or_dash(e, "cell", n);
    snprintf(about, sizeof about, "%s%s%s%s%s", region, region[0] && context[0] ? "/" : "", context,
             cell[0] != '-' ? "/" : "", cell[0] != '-' ? cell : "");
    printf("%s  %-20s ", fm_show_clock(fm_show_text(e, "at"), at), fm_show_or_dash(about));
    if (from[0] || to[0])
        printf("%s -> %s: ", fm_show_or_dash(from), fm_show_or_dash(to));
    printf("%s", fm_show_text(e, "why"));
    if (json_is_integer(json_object_get(e, "epoch")))
        printf(", epoch %s", fm_show_number_or_dash(e, "epoch", n));
    if (by[0])
        printf(", by %s", by);
    if (evidence[0])
        printf(" (%s)", evidence);
    putchar('\n');
}
