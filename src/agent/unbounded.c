/* Why nothing bounds a loss: see the header. */
#include "agent/unbounded.h"

#include "base/assert.h"
#include "core/group.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TOLD_MAX = 3, NODE_ROOM = 112 };

static FM_PRINTF(2, 3) void add(char out[FM_UNBOUNDED_ROOM], const char *fmt, ...)
{
    va_list ap;
    size_t n = strlen(out);
    va_start(ap, fmt);
    vsnprintf(out + n, FM_UNBOUNDED_ROOM - n, fmt, ap);
    va_end(ap);
}

static void say_node(const struct fm_evidence *recorded, const struct fm_group_report *r,
                     unsigned number, const char *name, bool fresh, char out[NODE_ROOM])
{
    const char *state = fm_group_state_name((enum fm_group_state)r->state);
    if (!fresh)
        snprintf(out, NODE_ROOM, "nothing is heard of %.40s", name);
    else if (r->delay_ms > 0)
        snprintf(out, NODE_ROOM, "%.40s is delayed on purpose", name);
    else if (r->apart_ms > 0)
        snprintf(out, NODE_ROOM, "replication to %.40s is broken on purpose", name);
    else if (recorded->promotable >> number & 1) /* the primary has not said so yet */
        snprintf(out, NODE_ROOM, "%.40s is about to", name);
    else
        snprintf(out, NODE_ROOM, "%.40s is %s, and has not all of it yet", name, state);
}

void fm_unbounded_say(const struct fm_evidence *recorded, const struct fm_group_report *node,
                      const char *const *name, unsigned nnodes, int64_t fresh_ms,
                      struct fm_mono now, char out[FM_UNBOUNDED_ROOM])
{
    unsigned told = 0;
    FM_ASSERT(nnodes <= FM_GROUP_NODES_MAX && recorded);
    out[0] = 0;
    for (unsigned i = 0; i < nnodes; i++) {
        char one[NODE_ROOM];
        if (!name[i] || recorded->writer == i + 1)
            continue;
        say_node(recorded, &node[i], i, name[i], fm_group_is_fresh(&node[i], fresh_ms, now), one);
        if (told < TOLD_MAX)
            add(out, "%s%s", told ? "; " : "no standby counts: ", one);
        told++;
    }
    if (told == 0)
        add(out, "it has no standby");
    else if (told > TOLD_MAX)
        add(out, "; and %u more", told - TOLD_MAX);
}
