/* Records of coordination: there and back, between agents that number names differently, and what
 * is refused. */
#include "test.h"

#include "agent/records.h"
#include "core/credit.h"

#include <stdio.h>

static struct fm_roster *ours, *theirs;

static int begin(void **state)
{
    ours = fm_roster_new();
    theirs = fm_roster_new();
    assert_true(ours && theirs);
    static const char *const regions[] = {"west", "north", "east"};
    for (unsigned i = 0; i < 3; i++) {
        fm_roster_add_region(ours, fm_str_z(regions[i]));
        fm_roster_add_region(theirs, fm_str_z(regions[2 - i]));
    }
    fm_roster_add_context(ours, FM_STR("ledger"), 1);
    fm_roster_add_context(ours, FM_STR("cards"), 64);
    fm_roster_add_context(theirs, FM_STR("cards"), 64);
    fm_roster_add_context(theirs, FM_STR("ledger"), 1);
    return fm_test_fds_before(state);
}

static int end(void **state)
{
    fm_roster_free(ours);
    fm_roster_free(theirs);
    return fm_test_fds_after(state);
}

static struct fm_agent_id agent(struct fm_roster *r, const char *region, const char *name)
{
    struct fm_agent_id a;
    assert_true(fm_roster_add_agent(r, (unsigned)fm_roster_region(r, fm_str_z(region)),
                                    fm_str_z(name), &a));
    return a;
}

static const char *written(const struct fm_roster *r, const struct fm_write *w)
{
    static char mem[FM_RECORD_TEXT_MAX + 1];
    struct fm_buf b = fm_buf(mem, FM_RECORD_TEXT_MAX);
    fm_record_write(r, w, &b);
    mem[b.n] = 0;
    return mem;
}

static struct fm_record_key key(struct fm_roster *r, const char *text)
{
    struct fm_record_key k;
    char back[FM_RECORD_KEY_ROOM];
    assert_true(fm_record_key_read(r, fm_str_z(text), &k));
    fm_record_key_write(r, &k, back);
    assert_string_equal(back, text);
    return k;
}

/* Written by one, read by the other, written and read again. */
static struct fm_write there_and_back(const struct fm_write *w)
{
    char text[FM_RECORD_KEY_ROOM], why[FM_RECORD_WHY_ROOM] = "", first[FM_RECORD_TEXT_MAX + 1];
    fm_record_key_write(ours, &w->key, text);
    struct fm_write x = {.key = key(theirs, text)}, y = {.key = w->key};
    snprintf(first, sizeof first, "%s", written(ours, w));
    if (!fm_record_read(theirs, fm_str_z(first), &x, why) ||
        !fm_record_read(ours, fm_str_z(written(theirs, &x)), &y, why))
        fail_msg("%s: %s", first, why);
    return y;
}

static void keys_have_one_form(void **state)
{
    (void)state;
    struct fm_record_key k = key(ours, "region/north/keeper");
    assert_int_equal(k.kind, FM_RECORD_KEEPER);
    assert_int_equal(k.region, 1);
    k = key(ours, "lease/cards/east");
    assert_int_equal(k.kind, FM_RECORD_LEASE);
    assert_int_equal(k.id.context, 1);
    assert_int_equal(k.region, 2);
    k = key(ours, "cell/cards/63");
    assert_int_equal(k.kind, FM_RECORD_CELL);
    assert_int_equal(k.id.cell, 63);
    key(ours, "budget/ledger");
    key(ours, "view");
    static const char *const bad[] = {
        "",           "stamp",         "view/",         "region/west",    "region/south/keeper",
        "cell/cards", "cell/cards/64", "cell/cards/01", "cell/cards/x",   "cell/cards/-1",
        "cell/x/0",   "lease/cards",   "budget/",       "budget/cards/1", "lease/cards/west/1",
        "op/1",       "cell//0",       "Cell/cards/0"};
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        struct fm_record_key out;
        if (fm_record_key_read(ours, fm_str_z(bad[i]), &out))
            fail_msg("%s is taken for a key", bad[i]);
    }
}

static void a_keeper_is_named(void **state)
{
    (void)state;
    struct fm_write w = {.key = key(ours, "region/north/keeper")};
    w.to.keeper = (struct fm_keeper_record){agent(ours, "north", "north-2"), {77}};
    agent(theirs, "north", "another");
    struct fm_write y = there_and_back(&w);
    assert_int_equal(y.to.keeper.agent.n, w.to.keeper.agent.n);
    assert_int_equal(y.to.keeper.incarnation.n, 77);
    assert_string_equal(written(ours, &w), "{\"v\":1,\"agent\":\"north-2\",\"incarnation\":77}");
}

static void a_lease_keeps_its_sub_lessees(void **state)
{
    (void)state;
    struct fm_write w = {.key = key(ours, "lease/ledger/west")};
    struct fm_lease_record *l = &w.to.lease;
    *l = (struct fm_lease_record){.keeper = agent(ours, "west", "west-1"),
                                  .incarnation = {8},
                                  .counter = 1000,
                                  .life = 3,
                                  .lease_ms = 2000,
                                  .dead = true};
    for (unsigned i = 0; i < FM_SUBS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "gate-%u", i);
        l->sub[l->nsubs++] =
            (struct fm_sub){(uint16_t)fm_roster_add_host(ours, fm_str_z(name)), {i + 1}};
    }
    struct fm_write y = there_and_back(&w);
    const struct fm_lease_record *b = &y.to.lease;
    assert_int_equal(b->keeper.n, l->keeper.n);
    assert_int_equal(b->counter, 1000);
    assert_int_equal(b->life, 3);
    assert_int_equal(b->lease_ms, 2000);
    assert_true(b->dead);
    assert_int_equal(b->nsubs, FM_SUBS_MAX);
    for (unsigned i = 0; i < FM_SUBS_MAX; i++)
        assert_true(fm_sub_same(b->sub[i], l->sub[i]));
}

static void a_cell_keeps_its_members_and_its_evidence(void **state)
{
    (void)state;
    struct fm_write w = {.key = key(ours, "cell/cards/17")};
    struct fm_cell_record *c = &w.to.cell;
    *c = (struct fm_cell_record){
        .region = 0,
        .state = FM_CELL_RELEASED,
        .to = 1,
        .epoch = {42},
        .gentle_from = {40},
        .accepted = {39},
        .evidence = {UINT64_MAX, UINT64_MAX - 1, {41}, 7, 9, 5, 2, 1, UINT64_MAX, 3}};
    fm_members_add(&c->members, agent(ours, "west", "west-1"));
    fm_members_add(&c->members, agent(ours, "north", "north-1"));
    fm_members_add(&c->members, agent(ours, "north", "not-in-their-file"));
    agent(theirs, "north", "another");
    struct fm_write y = there_and_back(&w);
    const struct fm_cell_record *b = &y.to.cell;
    assert_int_equal(b->region, 0);
    assert_int_equal(b->state, FM_CELL_RELEASED);
    assert_int_equal(b->to, 1);
    assert_int_equal(b->epoch.n, 42);
    assert_int_equal(b->gentle_from.n, 40);
    assert_int_equal(b->accepted.n, 39);
    assert_true(fm_members_same(&b->members, &c->members));
    assert_true(fm_evidence_same(&b->evidence, &c->evidence));
    c->state = FM_CELL_YIELDED;
    assert_int_equal(there_and_back(&w).to.cell.state, FM_CELL_YIELDED);
    c->state = FM_CELL_HELD;
    c->to = 0;
    c->accepted.n = 0;
    c->evidence = (struct fm_evidence){0};
    c->members = (struct fm_members){{0}};
    fm_members_add(&c->members, agent(ours, "west", "west-1"));
    there_and_back(&w);
    assert_string_equal(written(ours, &w),
                        "{\"v\":1,\"region\":\"west\",\"state\":\"held\",\"epoch\":42,"
                        "\"gentle_from\":40,\"members\":{\"west\":[\"west-1\"]}}");
}

static void the_small_ones(void **state)
{
    (void)state;
    struct fm_write w = {.key = key(ours, "budget/cards")};
    w.to.budget = (struct fm_budget_record){20, 5};
    assert_int_equal(there_and_back(&w).to.budget.spent, 20);
    w = (struct fm_write){.key = key(ours, "view")};
    w.to.view = (struct fm_view_record){{3}, {4}};
    assert_int_equal(there_and_back(&w).to.view.incarnation.n, 3);
}

static void what_is_not_of_this_form_is_refused(void **state)
{
    (void)state;
#define CELL(rest) "{\"v\":1,\"region\":\"west\"," rest "}"
#define EVIDENCE(rest)                                                                             \
    CELL("\"state\":\"held\",\"epoch\":1,\"gentle_from\":1,\"members\":{},\"evidence\":{"          \
         "\"system\":"                                                                             \
         "\"1\",\"timeline\":1,\"fork\":\"0\",\"claimed\":1," rest "}")
#define LEASE(rest)                                                                                \
    "{\"v\":1,\"keeper\":\"w\",\"incarnation\":1,\"counter\":1," rest ",\"subs\":[]}"
    static const struct {
        const char *key, *text;
    } bad[] = {
        {"view", ""},
        {"view", "[]"},
        {"view", "{}"},
        {"view", "{\"v\":3,\"incarnation\":1,\"generation\":1}"},
        {"view", "{\"v\":\"1\",\"incarnation\":1,\"generation\":1}"},
        {"view", "{\"v\":1,\"incarnation\":0,\"generation\":1}"},
        {"view", "{\"v\":1,\"v\":1,\"incarnation\":1,\"generation\":1}"},
        {"view", "{\"v\":1,\"incarnation\":9007199254740992,\"generation\":1}"},
        {"view", "{\"v\":1,\"incarnation\":1,\"generation\":1} x"},
        {"region/west/keeper", "{\"v\":1,\"agent\":\"West\",\"incarnation\":1}"},
        {"region/west/keeper", "{\"v\":1,\"agent\":\"\",\"incarnation\":1}"},
        {"region/west/keeper", "{\"v\":1,\"agent\":7,\"incarnation\":1}"},
        {"region/west/keeper", "{\"v\":1,\"agent\":\"w\",\"incarnation\":0}"},
        {"budget/cards", "{\"v\":1,\"spent\":1,\"freed\":2}"},
        {"budget/cards", "{\"v\":1,\"spent\":17,\"freed\":0}"},
        {"budget/cards", "{\"v\":1,\"spent\":4294967296,\"freed\":4294967296}"},
        {"lease/cards/west", LEASE("\"life\":0,\"lease_ms\":1,\"state\":\"live\"")},
        {"lease/cards/west", LEASE("\"life\":1,\"lease_ms\":0,\"state\":\"live\"")},
        {"lease/cards/west", LEASE("\"life\":1,\"lease_ms\":3600001,\"state\":\"live\"")},
        {"lease/cards/west", LEASE("\"life\":1,\"lease_ms\":1,\"state\":\"half\"")},
        {"lease/cards/west",
         "{\"v\":1,\"keeper\":\"w\",\"incarnation\":1,\"counter\":1,\"life\":1,\"lease_ms\":1,"
         "\"state\":\"live\",\"subs\":[{\"host\":\"g\",\"incarnation\":1},"
         "{\"host\":\"g\",\"incarnation\":1}]}"},
        {"lease/cards/west",
         "{\"v\":1,\"keeper\":\"w\",\"incarnation\":1,\"counter\":1,\"life\":1,\"lease_ms\":1,"
         "\"state\":\"live\",\"subs\":[{\"host\":\"g\",\"incarnation\":0}]}"},
        {"lease/cards/west",
         "{\"v\":1,\"keeper\":\"w\",\"incarnation\":1,\"counter\":1,\"life\":1,\"lease_ms\":1,"
         "\"state\":\"live\",\"subs\":{}}"},
        {"cell/cards/0", CELL("\"state\":\"held\",\"epoch\":0,\"gentle_from\":0,\"members\":{}")},
        {"cell/cards/0", CELL("\"state\":\"held\",\"epoch\":1,\"gentle_from\":2,\"members\":{}")},
        {"cell/cards/0", CELL("\"state\":\"held\",\"epoch\":1,\"gentle_from\":1,\"accepted\":2,"
                              "\"members\":{}")},
        {"cell/cards/0", CELL("\"state\":\"gone\",\"epoch\":1,\"gentle_from\":1,\"members\":{}")},
        {"cell/cards/0",
         CELL("\"state\":\"released\",\"epoch\":1,\"gentle_from\":1,\"members\":{}")},
        {"cell/cards/0", CELL("\"state\":\"held\",\"to\":\"north\",\"epoch\":1,\"gentle_from\":1,"
                              "\"members\":{}")},
        {"cell/cards/0", CELL("\"state\":\"released\",\"to\":\"south\",\"epoch\":1,"
                              "\"gentle_from\":1,\"members\":{}")},
        {"cell/cards/0", CELL("\"state\":\"held\",\"epoch\":1,\"gentle_from\":1,\"members\":[]")},
        {"cell/cards/0", CELL("\"state\":\"held\",\"epoch\":1,\"gentle_from\":1,"
                              "\"members\":{\"south\":[\"s\"]}")},
        {"cell/cards/0", CELL("\"state\":\"held\",\"epoch\":1,\"gentle_from\":1,"
                              "\"members\":{\"west\":[]}")},
        {"cell/cards/0", CELL("\"state\":\"held\",\"epoch\":1,\"gentle_from\":1,"
                              "\"members\":{\"west\":[\"w\",\"w\"]}")},
        {"cell/cards/0",
         CELL("\"state\":\"held\",\"epoch\":1,\"gentle_from\":1,\"members\":"
              "{\"west\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\"]}")},
        {"cell/cards/0", CELL("\"state\":\"held\",\"epoch\":1,\"gentle_from\":1,\"members\":{},"
                              "\"evidence\":{\"system\":\"1\",\"timeline\":-1,\"fork\":\"0\"}")},
        {"cell/cards/0",
         CELL("\"state\":\"held\",\"epoch\":1,\"gentle_from\":1,\"members\":{},"
              "\"evidence\":{\"system\":\"0\",\"timeline\":1,\"fork\":\"0\",\"epoch\":1,"
              "\"claimed\":1,\"promotable\":0,\"node\":1,\"writer\":1}")},
        {"cell/cards/0",
         CELL("\"state\":\"held\",\"epoch\":1,\"gentle_from\":1,\"members\":{},"
              "\"evidence\":{\"system\":\"1\",\"timeline\":2,\"fork\":\"0\",\"epoch\":1,"
              "\"claimed\":1,\"promotable\":0,\"node\":1,\"writer\":1}")},
        {"cell/cards/0", CELL("\"state\":\"held\",\"epoch\":1,\"gentle_from\":1,\"members\":{},"
                              "\"evidence\":{\"system\":\"x\",\"timeline\":1,\"fork\":\"0\","
                              "\"epoch\":1,\"claimed\":1,\"promotable\":0,\"node\":1,"
                              "\"writer\":1}")},
        {"cell/cards/0", EVIDENCE("\"credit\":\"x\",\"holes_to\":\"0\"")},
        {"cell/cards/0", EVIDENCE("\"credit\":\"0\",\"holes_to\":\"0/1\"")},
        {"cell/cards/0", EVIDENCE("\"credit\":0")},
        {"cell/cards/0", EVIDENCE("\"credit\":null")},
        {"cell/cards/0", EVIDENCE("\"credit\":{\"bytes\":\"0\"}")},
        {"cell/cards/0", EVIDENCE("\"credit\":{\"bytes\":0,\"near\":1}")},
        {"cell/cards/0", EVIDENCE("\"credit\":{\"bytes\":\"0\",\"near\":-1}")},
        {"cell/cards/0", EVIDENCE("\"credit\":{\"bytes\":\"0\",\"near\":4294967296}")},
        {"cell/cards/0", "{\"v\":1,\"region\":\"south\",\"state\":\"held\",\"epoch\":1,"
                         "\"gentle_from\":1,\"members\":{}}"},
    };
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        struct fm_write w = {.key = key(ours, bad[i].key)};
        char why[FM_RECORD_WHY_ROOM] = "";
        if (fm_record_read(ours, fm_str_z(bad[i].text), &w, why))
            fail_msg("%s is taken for %s", bad[i].text, bad[i].key);
        assert_true(why[0]);
    }
}

/* Versions without a credit let the server acknowledge at once, or said so of what waited. */
/* The file of one host has a node more than that of the other: the numbers differ, the nodes do
 * not. */
static void nodes_are_told_apart_by_their_names(void **state)
{
    (void)state;
    static const char *const names[] = {"a-1", "north-1", "west-1"};
    char text[FM_RECORD_TEXT_MAX];
    struct fm_buf b = fm_buf(text, sizeof text);
    int here = fm_roster_context(ours, FM_STR("ledger")),
        there = fm_roster_context(theirs, FM_STR("ledger"));
    assert_int_equal(fm_roster_add_node(ours, (unsigned)here, FM_STR("north-1")), 0);
    assert_int_equal(fm_roster_add_node(ours, (unsigned)here, FM_STR("west-1")), 1);
    assert_int_equal(fm_roster_add_node(ours, (unsigned)here, FM_STR("north-1")), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(fm_roster_add_node(theirs, (unsigned)there, fm_str_z(names[i])), i);
    struct fm_evidence e = {7, 8, {3}, 4, 5, 1, 2, 2, 9, 0, 1}, x = {0};
    fm_buf_ch(&b, '{');
    fm_buf_lit(&b, "\"x\":1");
    fm_evidence_write(ours, (unsigned)here, &e, &b);
    fm_buf_ch(&b, '}');
    json_t *o = json_loadb(b.p, b.n, 0, NULL), *evidence = json_object_get(o, "evidence");
    assert_int_equal(fm_evidence_read(theirs, (unsigned)there, evidence, &x), 1);
    assert_int_equal(x.node, 3);
    assert_int_equal(x.writer, 3);
    assert_int_equal(x.promotable, 2);
    assert_true(x.near == 2 && x.credit == 9);
    assert_int_equal(fm_evidence_read(ours, (unsigned)here, evidence, &x), 1);
    assert_true(fm_evidence_same(&x, &e));
    /* who is promotable and not known is left out; who writes has to be known */
    int cards = fm_roster_context(ours, FM_STR("cards"));
    assert_int_equal(fm_evidence_read(ours, (unsigned)cards, evidence, &x), 0);
    assert_int_equal(fm_roster_add_node(ours, (unsigned)cards, FM_STR("west-1")), 0);
    assert_int_equal(fm_evidence_read(ours, (unsigned)cards, evidence, &x), 1);
    assert_true(x.node == 1 && x.writer == 1 && x.promotable == 0 && x.near == 0);
    json_array_remove(json_object_get(evidence, "nodes"), 1);
    assert_int_equal(fm_evidence_read(ours, (unsigned)here, evidence, &x), -1);
    json_decref(o);
}

/* Else a name would be in the record for ever, and have a number at whoever reads it. */
static void who_has_gone_is_not_named_any_more(void **state)
{
    (void)state;
    static const char *const names[] = {"gone-1", "north-1", "gone-2", "west-1", "south-1"};
    char text[FM_RECORD_TEXT_MAX];
    struct fm_buf b = fm_buf(text, sizeof text);
    unsigned here = (unsigned)fm_roster_context(ours, FM_STR("ledger"));
    for (unsigned i = 0; i < FM_COUNT(names); i++)
        (void)fm_roster_add_node(ours, here, fm_str_z(names[i]));
    unsigned north = (unsigned)fm_roster_node(ours, here, FM_STR("north-1")),
             west = (unsigned)fm_roster_node(ours, here, FM_STR("west-1")),
             south = (unsigned)fm_roster_node(ours, here, FM_STR("south-1"));
    struct fm_evidence e = {.system_id = 7,
                            .timeline = 8,
                            .fork_lsn = 3,
                            .claimed = 8,
                            .promotable = UINT32_C(1) << north | UINT32_C(1) << south,
                            .node = (uint16_t)(west + 1),
                            .writer = (uint16_t)(west + 1)},
                       x = {0};
    fm_buf_lit(&b, "{\"x\":1");
    fm_evidence_write(ours, here, &e, &b);
    fm_buf_ch(&b, '}');
    json_t *o = json_loadb(b.p, b.n, 0, NULL), *evidence = json_object_get(o, "evidence");
    assert_int_equal(json_array_size(json_object_get(evidence, "nodes")), 3);
    assert_int_equal(fm_evidence_read(ours, here, evidence, &x), 1);
    assert_memory_equal(&x, &e, sizeof e);
    json_decref(o);
}

/* There are so many numbers; what has one keeps it. */
static void a_group_has_no_more_nodes_than_there_is_room_for(void **state)
{
    (void)state;
    char name[16];
    for (int i = 0; i < FM_GROUP_NODES_MAX + 2; i++) {
        snprintf(name, sizeof name, "n-%d", i);
        assert_int_equal(fm_roster_add_node(ours, 0, fm_str_z(name)),
                         i < FM_GROUP_NODES_MAX ? i : -1);
    }
    assert_int_equal(fm_roster_node(ours, 0, FM_STR("n-3")), 3);
    assert_int_equal(fm_roster_node(ours, 0, FM_STR("n-16")), -1);
}

static void evidence_without_a_credit_enforces_nothing(void **state)
{
    (void)state;
    struct fm_write w = {.key = key(ours, "cell/cards/0")};
    char why[FM_RECORD_WHY_ROOM];
    assert_true(fm_record_read(
        ours,
        FM_STR("{\"v\":1,\"region\":\"west\",\"state\":\"held\",\"epoch\":1,\"gentle_from\":1,"
               "\"members\":{},\"evidence\":{\"system\":\"1\",\"timeline\":1,\"fork\":\"0\","
               "\"epoch\":1,\"claimed\":1,\"promotable\":2,\"node\":1,\"writer\":1}}"),
        &w, why));
    assert_int_equal(w.to.cell.evidence.promotable, 2);
    assert_true(w.to.cell.evidence.credit == FM_CREDIT_UNLIMITED);
    assert_true(w.to.cell.evidence.holes_to == 0);
}

/* Who does not know it would give every node a credit: the text is not one that it reads. */
static void who_has_no_credit_is_said_so_that_nobody_misreads_it(void **state)
{
    (void)state;
    int ledger = fm_roster_context(ours, FM_STR("ledger"));
    struct fm_evidence e = {
        .system_id = 7, .timeline = 1, .claimed = 1, .promotable = 3, .credit = 64};
    for (unsigned near = 0; near <= 2; near += 2) {
        char text[FM_RECORD_TEXT_MAX];
        struct fm_buf b = fm_buf(text, sizeof text);
        e.near = near;
        fm_evidence_write(ours, (unsigned)ledger, &e, &b);
        const char *credit = near ? "\"credit\":{\"bytes\":\"64\",\"near\":2},\"holes_to\":\"0\""
                                  : "\"credit\":\"64\",\"holes_to\":\"0\"";
        fm_buf_ch(&b, 0);
        if (!strstr(b.p, credit))
            fail_msg("%s", b.p);
    }
    /* one that does not count has none, whatever is said */
    struct fm_evidence x = {0};
    json_t *o = json_loads("{\"system\":\"7\",\"timeline\":1,\"fork\":\"0\",\"promotable\":1,"
                           "\"credit\":{\"bytes\":\"64\",\"near\":3}}",
                           0, NULL);
    assert_int_equal(fm_evidence_read(ours, (unsigned)ledger, o, &x), 1);
    assert_true(x.promotable == 1 && x.near == 1 && x.credit == 64);
    json_decref(o);
}

static void the_largest_fits(void **state)
{
    (void)state;
    struct fm_roster *r = fm_roster_new();
    char name[FM_ROSTER_NAME_ROOM];
    struct fm_write w = {.key.kind = FM_RECORD_CELL};
    struct fm_cell_record *c = &w.to.cell;
    *c = (struct fm_cell_record){.state = FM_CELL_RELEASED,
                                 .epoch = {(UINT64_C(1) << 53) - 1},
                                 .gentle_from = {1},
                                 .accepted = {(UINT64_C(1) << 53) - 1},
                                 .evidence = {UINT64_MAX,
                                              UINT64_MAX,
                                              {INT64_MAX},
                                              UINT32_MAX,
                                              UINT32_MAX,
                                              UINT32_MAX,
                                              UINT16_MAX,
                                              UINT16_MAX,
                                              UINT64_MAX,
                                              UINT64_MAX}};
    for (int i = 0; i < FM_AUTH_REGIONS_MAX; i++) {
        snprintf(name, sizeof name, "r%062d", i);
        fm_roster_add_region(r, fm_str_z(name));
        for (int k = 0; k < FM_AGENTS_PER_REGION; k++) {
            struct fm_agent_id a;
            snprintf(name, sizeof name, "h%031d%031d", i, k);
            assert_true(fm_roster_add_agent(r, (unsigned)i, fm_str_z(name), &a));
            fm_members_add(&c->members, a);
        }
    }
    fm_roster_add_context(r, FM_STR("c"), 1);
    char why[FM_RECORD_WHY_ROOM];
    struct fm_write back = {.key = w.key};
    assert_true(fm_record_read(r, fm_str_z(written(r, &w)), &back, why));
    assert_true(fm_members_same(&back.to.cell.members, &c->members));
    fm_roster_free(r);
}

FM_TEST_MAIN(fm_test_with(keys_have_one_form, begin, end),
             fm_test_with(a_keeper_is_named, begin, end),
             fm_test_with(a_lease_keeps_its_sub_lessees, begin, end),
             fm_test_with(a_cell_keeps_its_members_and_its_evidence, begin, end),
             fm_test_with(the_small_ones, begin, end),
             fm_test_with(what_is_not_of_this_form_is_refused, begin, end),
             fm_test_with(evidence_without_a_credit_enforces_nothing, begin, end),
             fm_test_with(who_has_no_credit_is_said_so_that_nobody_misreads_it, begin, end),
             fm_test_with(nodes_are_told_apart_by_their_names, begin, end),
             fm_test_with(who_has_gone_is_not_named_any_more, begin, end),
             fm_test_with(a_group_has_no_more_nodes_than_there_is_room_for, begin, end),
             fm_test_with(the_largest_fits, begin, end))
