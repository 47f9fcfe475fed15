/* Why nothing bounds a loss: each standby with what is seen of it, in one line. */
#include "test.h"

#include "agent/unbounded.h"
#include "core/group.h"

enum { NODES = 5 };

static struct fm_group_report node[NODES];
static const char *name[NODES];
static struct fm_evidence recorded;
static const struct fm_mono now = {10 * FM_NS_PER_S};
static char out[FM_UNBOUNDED_ROOM];

static void begin(void)
{
    static const char *const names[NODES] = {"west-1", "north-1", NULL, NULL, NULL};
    memcpy(name, names, sizeof name);
    memset(node, 0, sizeof node);
    for (unsigned i = 0; i < NODES; i++)
        node[i] = (struct fm_group_report){.at = now, .state = FM_GROUP_CATCHING_UP};
    recorded = (struct fm_evidence){.system_id = 7, .writer = 1, .node = 1, .timeline = 1};
}

static const char *say(void)
{
    fm_unbounded_say(&recorded, node, name, NODES, 2000, now, out);
    return out;
}

static void who_does_not_count_is_named(void **state)
{
    (void)state;
    begin();
    assert_string_equal(say(),
                        "no standby counts: north-1 is catching-up, and has not all of it yet");
    node[1].apart_ms = 5;
    assert_string_equal(say(), "no standby counts: replication to north-1 is broken on purpose");
    node[1].delay_ms = 3600000;
    assert_string_equal(say(), "no standby counts: north-1 is delayed on purpose");
    node[1].at = (struct fm_mono){7 * FM_NS_PER_S};
    assert_string_equal(say(), "no standby counts: nothing is heard of north-1");
    name[1] = NULL; /* it was taken out */
    assert_string_equal(say(), "it has no standby");
}

static void many_are_counted(void **state)
{
    (void)state;
    begin();
    for (unsigned i = 2; i < NODES; i++)
        name[i] = "a-node-with-a-name-that-is-longer-than-there-is-room-for-in-the-line";
    say();
    assert_non_null(memchr(out, 0, sizeof out));
    for (unsigned i = 1; i < NODES; i++) {
        name[i] = "n";
        node[i].at = FM_MONO_ZERO;
    }
    assert_string_equal(say(), "no standby counts: nothing is heard of n; nothing is heard of n; "
                               "nothing is heard of n; and 1 more");
}

FM_TEST_MAIN(fm_test(who_does_not_count_is_named), fm_test(many_are_counted))
