/* Messages: every kind there and back between processes that number names differently; what is
 * skipped, and what is refused. */
#include "test.h"

#include "agent/message.h"
#include "core/group.h"

#include <stdio.h>

static struct fm_roster *ours, *theirs;
static struct fm_message got[8];
static unsigned ngot;
static struct fm_post_head from;
static char history[256];
static char mem[FM_POST_BYTES_MAX];

static int begin(void **state)
{
    static const char *const regions[] = {"west", "north", "east"};
    ours = fm_roster_new();
    theirs = fm_roster_new();
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

static const char *opens(void *user, const struct fm_post_head *head)
{
    assert_ptr_equal(user, got);
    assert_int_equal(ngot, 0);
    from = *head;
    return strcmp(head->from, "not-here") == 0 ? "refused" : NULL;
}

static void take(void *user, const struct fm_post_head *head, const struct fm_message *m)
{
    assert_ptr_equal(user, got);
    assert_string_equal(head->from, from.from);
    assert_true(ngot < FM_COUNT(got));
    got[ngot] = *m;
    if (m->kind == FM_MESSAGE_REPORT) { /* it is valid during the call */
        assert_true(m->history.n <= sizeof history);
        memcpy(history, m->history.p, m->history.n);
        got[ngot].history.p = history;
    }
    ngot++;
}

/* How many messages were understood; -1: refused. */
static int reads(const struct fm_roster *r, struct fm_str text)
{
    struct fm_post_reader reader = {.opens = opens, .take = take, .user = got};
    ngot = 0;
    const char *why = fm_post_read(r, text, &reader);
    assert_true(!why || ngot == 0);
    return why ? -1 : (int)ngot;
}

static struct fm_str posted(const struct fm_roster *r, const struct fm_message *m)
{
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_post_begin(&b, FM_STR("west-1"), 81);
    fm_message_write(r, m, &b);
    fm_post_end(&b);
    assert_false(b.full);
    return fm_buf_str(&b);
}

static struct fm_message sample(enum fm_message_kind kind)
{
    struct fm_message m = {.kind = (uint8_t)kind,
                           .context = 1,
                           .region = 2,
                           .cell = 63,
                           .ok = true,
                           .serial = UINT32_MAX,
                           .ms = 2000,
                           .asked_ns = INT64_MAX,
                           .life = (UINT64_C(1) << 53) - 1,
                           .life_for = 7,
                           .cells = UINT64_C(0x8000000000000005)};
    for (unsigned i = 0; i < FM_AUTH_CELLS_MAX; i++) {
        m.epoch[i].n = 100 + i;
        m.holder[i] = i == 2 ? FM_NO_REGION : 1;
    }
    m.vote.lost = 1 << 2;
    fm_contexts_add(&m.vote.well[0], 0);
    fm_contexts_add(&m.vote.well[0], 1);
    fm_contexts_add(&m.vote.well[1], 1);
    m.load = (struct fm_load){.total = UINT32_MAX, .of = {7, UINT32_MAX}};
    snprintf(m.why, sizeof m.why, "it \"lags\"");
    snprintf(m.rule, sizeof m.rule, "soak");
    m.at = (struct fm_cell_at){
        .revision = {9},
        .r = {.region = 2,
              .state = FM_CELL_RELEASED,
              .to = 1,
              .epoch = {42},
              .accepted = {41},
              .gentle_from = {40},
              .evidence = {UINT64_MAX, UINT64_MAX - 1, {41}, 7, 9, 5, 2, 1, UINT64_MAX, 3, 4}}};
    m.report = (struct fm_group_report){.state = FM_GROUP_STANDBY,
                                        .epoch = {42},
                                        .system_id = UINT64_MAX,
                                        .timeline = {7},
                                        .begins = {0x16b374d848},
                                        .recovery = true,
                                        .clean = true,
                                        .flush = {UINT64_MAX},
                                        .replay = {1},
                                        .final = {2},
                                        .apart_ms = 12345};
    m.history = FM_STR("6\t16/B374D848\tno recovery target specified\n");
    return m;
}

/* Region and context have the same names for both. */
static void same_names(const struct fm_message *a, const struct fm_message *b)
{
    assert_string_equal(ours->context[a->context].name, theirs->context[b->context].name);
    assert_string_equal(ours->region[a->region], theirs->region[b->region]);
}

static void same_cells(const struct fm_message *a, const struct fm_message *b, bool holders)
{
    assert_true(a->cells == b->cells);
    for (unsigned i = 0; i < FM_AUTH_CELLS_MAX; i++) {
        if (!(a->cells >> i & 1))
            continue;
        assert_int_equal(a->epoch[i].n, b->epoch[i].n);
        if (holders && a->holder[i] == FM_NO_REGION)
            assert_int_equal(b->holder[i], FM_NO_REGION);
        else if (holders)
            assert_string_equal(ours->region[a->holder[i]], theirs->region[b->holder[i]]);
    }
}

static void every_kind_arrives(void **state)
{
    (void)state;
    for (unsigned k = 0; k < FM_MESSAGE_KIND_COUNT; k++) {
        struct fm_message m = sample((enum fm_message_kind)k);
        char first[4096];
        struct fm_str text = posted(ours, &m);
        assert_true(text.n < sizeof first);
        memcpy(first, text.p, text.n);
        if (reads(theirs, text) != 1)
            fail_msg("%.*s", FM_STR_ARG(text));
        assert_string_equal(from.from, "west-1");
        assert_int_equal(from.life, 81);
        assert_int_equal(got[0].kind, k);
        /* written again, it says the same; the order of names may differ */
        struct fm_message back = got[0];
        assert_int_equal(reads(ours, posted(theirs, &back)), 1);
        struct fm_str again = posted(ours, &got[0]);
        assert_int_equal(again.n, text.n);
        assert_memory_equal(again.p, first, text.n);
    }
}

static void members_mean_the_same_to_both(void **state)
{
    (void)state;
    struct fm_message m = sample(FM_MESSAGE_BOARD);
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    same_cells(&m, &got[0], true);
    m = sample(FM_MESSAGE_GRANT);
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    same_cells(&m, &got[0], false);
    assert_true(got[0].asked_ns == m.asked_ns && got[0].ms == m.ms && got[0].life == m.life);
    m = sample(FM_MESSAGE_SHIP);
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    same_names(&m, &got[0]);
    assert_int_equal(got[0].cell, 63);
    assert_true(got[0].serial == m.serial);
    m = sample(FM_MESSAGE_VOTE);
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    assert_int_equal(got[0].vote.lost, 1 << 0); /* east */
    assert_true(fm_contexts_has(&got[0].vote.well[2], 0) &&
                fm_contexts_has(&got[0].vote.well[2], 1)); /* west: both */
    assert_true(fm_contexts_has(&got[0].vote.well[1], 0)); /* north: cards */
    assert_false(fm_contexts_has(&got[0].vote.well[1], 1));
    m = sample(FM_MESSAGE_HEIR);
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    assert_string_equal(got[0].why, "it \"lags\"");
    assert_true(got[0].ok);
    m = sample(FM_MESSAGE_HOME);
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    assert_string_equal(got[0].why, "it \"lags\"");
    assert_string_equal(got[0].rule, "soak");
    assert_true(got[0].ok && got[0].serial == m.serial);
}

#define POST(messages) "{\"v\":1,\"from\":\"w\",\"life\":1,\"messages\":[" messages "]}"
#define NUDGE          "{\"kind\":\"nudge\",\"context\":\"ledger\"}"

static void what_is_said_of_a_group_arrives(void **state)
{
    (void)state;
    struct fm_message m = sample(FM_MESSAGE_CELL);
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    assert_string_equal(theirs->region[got[0].at.r.region], "east");
    assert_string_equal(theirs->region[got[0].at.r.to], "north");
    assert_true(got[0].at.revision.n == 9 && got[0].at.r.epoch.n == 42);
    assert_int_equal(got[0].at.r.accepted.n, 41);
    assert_int_equal(got[0].at.r.gentle_from.n, 40);
    assert_true(fm_evidence_same(&got[0].at.r.evidence, &m.at.r.evidence));
    assert_int_equal(got[0].at.r.state, FM_CELL_RELEASED);
    m.at.r.state = FM_CELL_YIELDED;
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    assert_int_equal(got[0].at.r.state, FM_CELL_YIELDED);
    m.at.r.state = FM_CELL_HELD;
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    assert_int_equal(got[0].at.r.state, FM_CELL_HELD);
    m = sample(FM_MESSAGE_RECORD);
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    assert_true(got[0].at.revision.n == 9 && got[0].at.r.evidence.claimed == 9);
    m = sample(FM_MESSAGE_REPORT);
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    const struct fm_group_report *r = &got[0].report;
    assert_int_equal(r->state, FM_GROUP_STANDBY);
    assert_true(r->system_id == UINT64_MAX && r->timeline.n == 7 && r->begins.n == 0x16b374d848);
    assert_true(r->recovery && !r->streaming && r->clean && r->flush.n == UINT64_MAX);
    assert_str(got[0].history, "6\t16/B374D848\tno recovery target specified\n");
    assert_int_equal(r->loss.kind, FM_CREDIT_UNBOUNDED); /* a standby says nothing of it */
    assert_int_equal(r->delay_ms, 0);
    assert_int_equal(r->apart_ms, 12345);
    m.report.delay_ms = 3600000;
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    assert_int_equal(got[0].report.delay_ms, 3600000);
    m = sample(FM_MESSAGE_APART);
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    assert_true(got[0].ok);
    m = sample(FM_MESSAGE_REPORT);
    m.report.state = FM_GROUP_PRIMARY;
    m.report.loss = (struct fm_credit_bound){FM_CREDIT_ESTIMATE, UINT64_MAX, 7};
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    assert_int_equal(got[0].report.loss.kind, FM_CREDIT_ESTIMATE);
    assert_true(got[0].report.loss.bytes == UINT64_MAX && got[0].report.loss.transactions == 7);
}

static void what_cannot_be_of_a_group_is_refused(void **state)
{
    (void)state;
#define REPORT(state, lsn)                                                                         \
    "{\"kind\":\"report\",\"context\":\"ledger\",\"state\":\"" state "\",\"epoch\":1,"             \
    "\"system\":\"7\",\"timeline\":1,\"begins\":\"0/0\",\"flush\":" lsn                            \
    ",\"replay\":\"0/1\",\"final\":\"0/0\",\"recovery\":true,\"streaming\":true,"                  \
    "\"clean\":false,\"history\":\"\"}"
    assert_int_equal(reads(ours, FM_STR(POST(REPORT("standby", "\"0/2\"")))), 1);
    assert_int_equal(reads(ours, FM_STR(POST(REPORT("dancing", "\"0/2\"")))), -1);
    assert_int_equal(reads(ours, FM_STR(POST(REPORT("primary", "\"0/2\",\"loss\":\"none\"")))), -1);
    assert_int_equal(reads(ours, FM_STR(POST(REPORT("primary", "\"0/2\",\"loss\":0")))), -1);
    assert_int_equal(reads(ours, FM_STR(POST(REPORT("primary", "\"0/2\",\"loss\":\"enforced\"")))),
                     -1);
    assert_int_equal(reads(ours, FM_STR(POST(REPORT("standby", "\"0/2\",\"delay_ms\":-1")))), -1);
    assert_int_equal(reads(ours, FM_STR(POST(REPORT("standby", "\"0/2\",\"delay_ms\":\"1h\"")))),
                     -1);
    assert_int_equal(reads(ours, FM_STR(POST(REPORT("standby", "\"0/2\",\"apart_ms\":7")))), 1);
    assert_int_equal(reads(ours, FM_STR(POST(REPORT("standby", "\"0/2\",\"apart_ms\":-7")))), -1);
    assert_int_equal(reads(ours, FM_STR(POST(REPORT("standby", "\"0/2\",\"apart_ms\":\"7\"")))),
                     -1);
    assert_int_equal(reads(ours, FM_STR(POST(REPORT("standby", "\"2\"")))), -1);
    assert_int_equal(reads(ours, FM_STR(POST(REPORT("standby", "2")))), -1);
    assert_int_equal(reads(ours, FM_STR(POST("{\"kind\":\"record\",\"context\":\"ledger\"}"))), -1);
    assert_int_equal(reads(ours, FM_STR(POST("{\"kind\":\"record\",\"context\":\"ledger\","
                                             "\"revision\":3,\"evidence\":{}}"))),
                     -1);
    assert_int_equal(reads(ours, FM_STR(POST("{\"kind\":\"cell\",\"context\":\"ledger\","
                                             "\"revision\":3,\"region\":\"south\",\"epoch\":1}"))),
                     0);
    assert_int_equal(reads(ours, FM_STR(POST("{\"kind\":\"cell\",\"context\":\"ledger\","
                                             "\"revision\":3,\"region\":\"west\",\"epoch\":1,"
                                             "\"accepted\":2}"))),
                     -1);
    assert_int_equal(reads(ours, FM_STR(POST("{\"kind\":\"cell\",\"context\":\"ledger\","
                                             "\"revision\":3,\"region\":\"west\",\"epoch\":1,"
                                             "\"gentle_from\":2}"))),
                     -1);
#undef REPORT
}

/* To a gate of before it would be a grant like others: it is kept from reading it. */
static void a_closed_grant_says_so_and_may_have_to_be_understood(void **state)
{
    (void)state;
    struct fm_message m = sample(FM_MESSAGE_GRANT);
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    assert_false(got[0].closed || got[0].must);
    m.closed = true;
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    assert_true(got[0].closed && !got[0].must);
    m.unheard = true;
    assert_int_equal(reads(theirs, posted(ours, &m)), 1);
    assert_true(got[0].closed && got[0].unheard);
    m.unheard = false;
    m.must = true;
    struct fm_str text = posted(ours, &m);
    assert_non_null(strstr(mem, ",\"closed\":true,\"must\":[\"closed\"]}"));
    assert_int_equal(reads(theirs, text), 1);
    assert_true(got[0].closed && got[0].must);
#define GRANT(must)                                                                                \
    POST("{\"kind\":\"grant\",\"context\":\"ledger\",\"life\":1,\"asked\":\"1\",\"ms\":9,"         \
         "\"cells\":[[0,1]],\"must\":" must "}")
    assert_int_equal(reads(ours, FM_STR(GRANT("[]"))), 1);
    assert_int_equal(reads(ours, FM_STR(GRANT("[\"closed\"]"))), 1);
    assert_int_equal(reads(ours, FM_STR(GRANT("[\"closed\",\"more\"]"))), 0);
    assert_int_equal(reads(ours, FM_STR(GRANT("[1]"))), 0);
    assert_int_equal(reads(ours, FM_STR(GRANT("true"))), 0);
#undef GRANT
}

static void what_is_not_known_is_skipped(void **state)
{
    (void)state;
    static const char *const skipped[] = {
        "{\"kind\":\"of-a-later-version\",\"anything\":[1,2]}",
        "{\"kind\":\"nudge\",\"context\":\"not-here\"}",
        "{\"kind\":\"nudge\",\"context\":\"ledger\",\"must\":[\"more\"],\"more\":1}",
        "{\"kind\":\"ship\",\"context\":\"ledger\",\"life\":1,\"serial\":1,\"cell\":0,"
        "\"region\":\"south\"}",
        "{\"kind\":\"ship\",\"context\":\"ledger\",\"life\":1,\"serial\":1,\"cell\":1,"
        "\"region\":\"west\"}",
        "{\"kind\":\"stop\",\"context\":\"ledger\",\"cells\":[[1,1]]}",
        "{\"kind\":\"board\",\"context\":\"ledger\",\"cells\":[[0,1,\"south\"]]}",
    };
    for (size_t i = 0; i < FM_COUNT(skipped); i++) {
        char text[512];
        snprintf(text, sizeof text, POST("%s," NUDGE), skipped[i]);
        if (reads(ours, fm_str_z(text)) != 1 || got[0].kind != FM_MESSAGE_NUDGE)
            fail_msg("%s", text);
    }
    assert_int_equal(reads(ours, FM_STR(POST("{\"kind\":\"nudge\",\"context\":\"ledger\","
                                             "\"more\":{\"of\":\"it\"}}"))),
                     1);
    assert_int_equal(
        reads(ours, FM_STR(POST("{\"kind\":\"vote\",\"lost\":[\"south\",\"west\"],"
                                "\"well\":{\"south\":[\"x\"],\"north\":[\"y\",\"cards\"]}}"))),
        1);
    assert_int_equal(got[0].vote.lost, 1);
    assert_true(fm_contexts_has(&got[0].vote.well[1], 1));
}

static void what_is_not_whole_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"v\":3,\"from\":\"w\",\"life\":1,\"messages\":[]}",
        "{\"v\":1,\"from\":\"W\",\"life\":1,\"messages\":[]}",
        "{\"v\":1,\"from\":\"w\",\"life\":0,\"messages\":[]}",
        "{\"v\":1,\"from\":\"w\",\"life\":1,\"messages\":{}}",
        "{\"v\":1,\"from\":\"w\",\"life\":1}",
        "{\"v\":1,\"from\":\"not-here\",\"life\":1,\"messages\":[" NUDGE "]}",
        POST("1"),
        POST("{}"),
        POST("{\"kind\":\"nudge\"}"),
        POST("{\"kind\":\"nudge\",\"context\":7}"),
        POST(NUDGE ",{\"kind\":\"ask\",\"context\":\"ledger\"}"),
        POST("{\"kind\":\"ask\",\"context\":\"ledger\",\"life\":0,\"asked\":\"1\",\"cells\":[]}"),
        POST("{\"kind\":\"ask\",\"context\":\"ledger\",\"life\":1,\"asked\":1,\"cells\":[]}"),
        POST("{\"kind\":\"ask\",\"context\":\"ledger\",\"life\":1,\"asked\":\"-1\",\"cells\":[]}"),
        POST("{\"kind\":\"ask\",\"context\":\"ledger\",\"life\":1,"
             "\"asked\":\"9223372036854775808\",\"cells\":[]}"),
        POST("{\"kind\":\"ask\",\"context\":\"ledger\",\"life\":1,\"asked\":\"1\",\"cells\":{}}"),
        POST("{\"kind\":\"stop\",\"context\":\"cards\",\"cells\":[1]}"),
        POST("{\"kind\":\"stop\",\"context\":\"cards\",\"cells\":[[1]]}"),
        POST("{\"kind\":\"stop\",\"context\":\"cards\",\"cells\":[[1,2,3]]}"),
        POST("{\"kind\":\"stop\",\"context\":\"cards\",\"cells\":[[1,-2]]}"),
        POST("{\"kind\":\"stop\",\"context\":\"cards\",\"cells\":[[64,1]]}"),
        POST("{\"kind\":\"stop\",\"context\":\"cards\",\"cells\":[[1,1],[1,1]]}"),
        POST("{\"kind\":\"board\",\"context\":\"cards\",\"cells\":[[1,1,7]]}"),
        POST("{\"kind\":\"grant\",\"context\":\"cards\",\"life\":1,\"asked\":\"1\",\"ms\":3600001,"
             "\"cells\":[]}"),
        POST("{\"kind\":\"heir\",\"context\":\"cards\",\"for\":1,\"serial\":1,\"cell\":1,"
             "\"ok\":1,\"why\":\"\"}"),
        POST("{\"kind\":\"heir\",\"context\":\"cards\",\"for\":1,\"serial\":4294967296,\"cell\":1,"
             "\"ok\":true,\"why\":\"\"}"),
        POST("{\"kind\":\"vote\",\"lost\":[1],\"well\":{}}"),
        POST("{\"kind\":\"vote\",\"lost\":[],\"well\":[]}"),
        POST("{\"kind\":\"vote\",\"lost\":[],\"well\":{},\"rate\":-1}"),
        POST("{\"kind\":\"vote\",\"lost\":[],\"well\":{},\"rate\":1,\"rates\":[]}"),
        POST("{\"kind\":\"vote\",\"lost\":[],\"well\":{},\"rates\":{\"cards\":4294967296}}"),
        POST("{\"kind\":\"vote\",\"lost\":[],\"well\":{\"west\":[1]}}"),
        POST("{\"kind\":\"vote\",\"kind\":\"vote\",\"lost\":[],\"well\":{}}"),
    };
    for (size_t i = 0; i < FM_COUNT(bad); i++)
        if (reads(ours, fm_str_z(bad[i])) >= 0)
            fail_msg("%s is taken", bad[i]);
    char *long_one = mem;
    memset(long_one, ' ', sizeof mem);
    assert_int_equal(reads(ours, fm_str(long_one, sizeof mem)), -1);
}

static void what_does_not_fit_is_left_out_whole(void **state)
{
    (void)state;
    char small[200];
    struct fm_message m = sample(FM_MESSAGE_NUDGE), large = sample(FM_MESSAGE_BOARD);
    large.cells = UINT64_MAX;
    struct fm_buf b = fm_buf(small, sizeof small);
    fm_post_begin(&b, FM_STR("w"), 1);
    fm_message_write(ours, &m, &b);
    size_t n = b.n;
    fm_message_write(ours, &large, &b);
    assert_true(b.full);
    assert_int_equal(b.n, n);
    b.full = false;
    fm_post_end(&b);
    assert_int_equal(reads(ours, fm_buf_str(&b)), 1);
}

FM_TEST_MAIN(fm_test_with(every_kind_arrives, begin, end),
             fm_test_with(members_mean_the_same_to_both, begin, end),
             fm_test_with(what_is_said_of_a_group_arrives, begin, end),
             fm_test_with(what_cannot_be_of_a_group_is_refused, begin, end),
             fm_test_with(a_closed_grant_says_so_and_may_have_to_be_understood, begin, end),
             fm_test_with(what_is_not_known_is_skipped, begin, end),
             fm_test_with(what_is_not_whole_is_refused, begin, end),
             fm_test_with(what_does_not_fit_is_left_out_whole, begin, end))
