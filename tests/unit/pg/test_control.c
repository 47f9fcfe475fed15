/* What a data directory says of itself. */
#include "test.h"

#include "pg/control.h"

#include <stdio.h>
#include <stdlib.h>

/* Of 15, the lines that are looked at and some of the others. */
#define HEAD                                                                                       \
    "pg_control version number:            1300\n"                                                 \
    "Catalog version number:               202209061\n"
#define SYSTEM "Database system identifier:           7710828562137542294\n"
#define STATE  "Database cluster state:               shut down\n"
#define PLACE                                                                                      \
    "pg_control last modified:             Sun Nov 22 03:12:57 2026\n"                             \
    "Latest checkpoint location:           0/1752D38\n"                                            \
    "Latest checkpoint's REDO location:    0/1752D38\n"                                            \
    "Latest checkpoint's REDO WAL file:    000000010000000000000001\n"                             \
    "Latest checkpoint's TimeLineID:       1\n"                                                    \
    "Latest checkpoint's PrevTimeLineID:   1\n"                                                    \
    "Latest checkpoint's oldestCommitTsXid:0\n"
#define LEAST                                                                                      \
    "Minimum recovery ending location:     0/0\n"                                                  \
    "Min recovery ending loc's timeline:   0\n"
#define REST                                                                                       \
    "wal_level setting:                    replica\n"                                              \
    "Bytes per WAL segment:                16777216\n"                                             \
    "Data page checksum version:           1\n"                                                    \
    "Mock authentication nonce:            07395709525d4c5951c7bf848e2f39a6\n"
#define WHOLE HEAD SYSTEM STATE PLACE LEAST REST

static struct fm_pg_control parsed(const char *text)
{
    struct fm_pg_control c;
    struct fm_error e = {0};
    if (fm_pg_control_parse(&c, fm_str_z(text), &e))
        fail_msg("%s", e.msg);
    return c;
}

static void reads_what_decides(void **state)
{
    (void)state;
    struct fm_pg_control c = parsed(WHOLE);
    assert_true(c.system_id == UINT64_C(7710828562137542294));
    assert_int_equal(c.state, FM_PG_SHUT_DOWN);
    assert_int_equal(c.checkpoint.n, 0x1752D38);
    assert_int_equal(c.redo.n, 0x1752D38);
    assert_int_equal(c.timeline.n, 1);
    assert_true(fm_lsn_is_none(c.least_end) && c.least_timeline.n == 0);
    assert_int_equal(c.segment_bytes, 16777216);
    assert_true(c.checksums && !c.logical);
    assert_int_equal(fm_pg_control_timeline(&c).n, 1);
}

static void knows_every_state(void **state)
{
    (void)state;
    for (int s = FM_PG_STARTING_UP; s <= FM_PG_IN_PRODUCTION; s++) {
        char text[4096];
        snprintf(text, sizeof text,
                 HEAD SYSTEM "Database cluster state: %s\n" PLACE
                             "Minimum recovery ending location: 0/1752D38\n"
                             "Min recovery ending loc's timeline: 1\n" REST,
                 fm_pg_state_text((enum fm_pg_state)s));
        assert_int_equal(parsed(text).state, s);
    }
    /* nothing had to be reached: it recovered from a crash, as a primary */
    assert_int_equal(
        parsed(HEAD SYSTEM "Database cluster state: shut down in recovery\n" PLACE LEAST REST)
            .state,
        FM_PG_IN_CRASH_RECOVERY);
}

static void refuses_what_is_not_whole(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"", "does not say"},
        {HEAD STATE PLACE LEAST REST, "Database system identifier"},
        {HEAD SYSTEM PLACE LEAST REST, "Database cluster state"},
        {HEAD SYSTEM STATE LEAST REST, "Latest checkpoint location"},
        {HEAD SYSTEM STATE PLACE REST, "Minimum recovery ending location"},
        {WHOLE STATE, "twice: Database cluster state"},
        {HEAD SYSTEM "Database cluster state: unrecognized status code\n" PLACE LEAST REST,
         "Database cluster state"},
        {HEAD SYSTEM "Database cluster state:\n" PLACE LEAST REST, "Database cluster state"},
        {HEAD "Database system identifier: -1\n" STATE PLACE LEAST REST, "system identifier"},
        {HEAD "Database system identifier: 0\n" STATE PLACE LEAST REST, "nothing of a checkpoint"},
        {HEAD "Database system identifier: 99999999999999999999\n" STATE PLACE LEAST REST,
         "system identifier"},
        {HEAD SYSTEM STATE PLACE "Minimum recovery ending location: 0/100000000\n"
                                 "Min recovery ending loc's timeline: 0\n" REST,
         "Minimum recovery"},
        {HEAD SYSTEM STATE PLACE "Minimum recovery ending location: 0/0\n"
                                 "Min recovery ending loc's timeline: 4294967296\n" REST,
         "timeline"},
        {"WARNING: Calculated CRC checksum does not match value stored in file.\n\n" WHOLE,
         "does not trust"},
        {WHOLE "WARNING: invalid WAL segment size\n", "does not trust"},
    };
    for (size_t i = 0; i < FM_COUNT(wrong); i++) {
        struct fm_pg_control c;
        struct fm_error e = {0};
        if (fm_pg_control_parse(&c, fm_str_z(wrong[i].text), &e) != FM_ERR_INVALID)
            fail_msg("takes case %zu", i);
        if (!strstr(e.msg, wrong[i].says))
            fail_msg("case %zu: %s", i, e.msg);
    }
}

/* Cut anywhere it is refused, but for its last line; bytes that are changed end well. */
static void takes_any_bytes(void **state)
{
    (void)state;
    size_t n = strlen(WHOLE), needed = n - strlen("Mock authentication nonce:            "
                                                  "07395709525d4c5951c7bf848e2f39a6\n");
    for (size_t cut = 0; cut < n; cut++) {
        struct fm_pg_control c;
        char *text = malloc(cut + 1);
        assert_non_null(text);
        memcpy(text, WHOLE, cut);
        enum fm_err err = fm_pg_control_parse(&c, fm_str(text, cut), NULL);
        assert_int_equal(err, cut < needed - 1 ? FM_ERR_INVALID : FM_ERR_OK);
        free(text);
    }
    for (size_t i = 0; i < n; i++)
        for (unsigned byte = 0; byte < 256; byte += 5) {
            struct fm_pg_control c;
            char text[sizeof WHOLE];
            memcpy(text, WHOLE, n);
            text[i] = (char)byte;
            (void)!fm_pg_control_parse(&c, fm_str(text, n), NULL);
        }
}

/* -------- relations -------- */

struct node {
    enum fm_pg_state state;
    uint64_t checkpoint, least_end;
    uint32_t timeline, least_timeline;
};

static void tells_whether_a_node_may_follow(void **state)
{
    (void)state;
    static const struct fm_history first = {{1}, FM_STR_INIT("")},
                                   second = {{2}, FM_STR_INIT("1\t0/100\n")},
                                   third = {{3}, FM_STR_INIT("1\t0/100\n2\t0/200\n")},
                                   sibling = {{3}, FM_STR_INIT("1\t0/80\n")},
                                   other = {{3}, FM_STR_INIT("2\t0/80\n")};
    static const struct {
        struct node n;
        const struct fm_history *mine, *theirs;
        enum fm_pg_relation expected;
    } cases[] = {
        /* stopped in order: its last record is before the fork, or behind it */
        {{FM_PG_SHUT_DOWN, 0x88, 0, 1, 0}, &first, &second, FM_PG_FOLLOWS},
        {{FM_PG_SHUT_DOWN, 0x100, 0, 1, 0}, &first, &second, FM_PG_DIVERGED},
        {{FM_PG_SHUT_DOWN, 0x188, 0, 1, 0}, &first, &third, FM_PG_DIVERGED},
        {{FM_PG_SHUT_DOWN, 0x188, 0, 2, 0}, &second, &third, FM_PG_FOLLOWS},
        {{FM_PG_SHUT_DOWN, 0x188, 0, 2, 0}, &second, &sibling, FM_PG_DIVERGED},
        {{FM_PG_SHUT_DOWN, 0x188, 0, 2, 0}, &second, &second, FM_PG_FOLLOWS},
        /* a primary of a newer timeline cannot follow the older one */
        {{FM_PG_SHUT_DOWN, 0x188, 0, 2, 0}, &second, &first, FM_PG_DIVERGED},
        /* crashed: nobody knows how far it wrote */
        {{FM_PG_IN_PRODUCTION, 0x88, 0, 1, 0}, &first, &second, FM_PG_UNSURE},
        {{FM_PG_IN_PRODUCTION, 0x188, 0, 1, 0}, &first, &second, FM_PG_DIVERGED},
        {{FM_PG_SHUTTING_DOWN, 0x88, 0, 1, 0}, &first, &second, FM_PG_UNSURE},
        {{FM_PG_IN_CRASH_RECOVERY, 0x88, 0, 1, 0}, &first, &second, FM_PG_UNSURE},
        {{FM_PG_STARTING_UP, 0x88, 0, 1, 0}, &first, &second, FM_PG_UNSURE},
        /* standbys: as far as their pages may be */
        {{FM_PG_IN_ARCHIVE_RECOVERY, 0x40, 0x100, 1, 1}, &first, &second, FM_PG_FOLLOWS},
        {{FM_PG_IN_ARCHIVE_RECOVERY, 0x40, 0x101, 1, 1}, &first, &second, FM_PG_DIVERGED},
        {{FM_PG_SHUT_DOWN_IN_RECOVERY, 0x40, 0x90, 1, 1}, &first, &second, FM_PG_FOLLOWS},
        {{FM_PG_SHUT_DOWN_IN_RECOVERY, 0x100, 0x90, 1, 1}, &first, &second, FM_PG_DIVERGED},
        /* promoted, and crashed before its first checkpoint: its timeline is the new one */
        {{FM_PG_IN_PRODUCTION, 0x40, 0x140, 1, 2}, &second, &sibling, FM_PG_DIVERGED},
        {{FM_PG_IN_PRODUCTION, 0x40, 0x60, 1, 2}, &second, &sibling, FM_PG_UNSURE},
        /* nothing in common */
        {{FM_PG_SHUT_DOWN, 0x40, 0, 1, 0}, &first, &other, FM_PG_STRANGER},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        const struct node *n = &cases[i].n;
        struct fm_pg_control c = {.system_id = 7,
                                  .state = n->state,
                                  .checkpoint = {n->checkpoint},
                                  .timeline = {n->timeline},
                                  .least_end = {n->least_end},
                                  .least_timeline = {n->least_timeline}};
        enum fm_pg_relation r = fm_pg_control_relation(&c, cases[i].mine, 7, cases[i].theirs);
        if (r != cases[i].expected)
            fail_msg("case %zu: %s", i, fm_pg_relation_text(r));
        assert_int_equal(fm_pg_control_relation(&c, cases[i].mine, 8, cases[i].theirs),
                         FM_PG_STRANGER);
    }
}

static void a_log_is_final_where_its_last_record_was_replayed(void **state)
{
    (void)state;
    struct fm_pg_control c = parsed(WHOLE);
    assert_false(fm_pg_control_is_final_at(&c, (struct fm_lsn){0x1752D37}));
    assert_false(fm_pg_control_is_final_at(&c, (struct fm_lsn){0x1752D38}));
    assert_true(fm_pg_control_is_final_at(&c, (struct fm_lsn){0x1752DB0}));
    c.state = FM_PG_IN_PRODUCTION;
    assert_false(fm_pg_control_is_final_at(&c, (struct fm_lsn){0x1752DB0}));
}

/* -------- small files -------- */

static void reads_versions(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned version;
    } cases[] = {{"15\n", 15}, {"17", 17},     {"", 0},     {"9.6\n", 0},
                 {"15 \n", 0}, {"15\n1\n", 0}, {"\n15", 0}, {"1000\n", 0}};
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        assert_int_equal(fm_pg_version_parse(fm_str_z(cases[i].text)), cases[i].version);
}

#define FILE_OF(pid, port, status)                                                                 \
    pid "\n/data\n1795317177\n" port "\n\n127.0.0.1\n  5432001   12345\n" status "\n"

static void reads_what_a_server_says(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int32_t pid;
        enum fm_pg_status status;
    } cases[] = {
        {FILE_OF("4711", "5432", "ready   "), 4711, FM_PG_SERVER_READY},
        {FILE_OF("4711", "5432", "starting"), 4711, FM_PG_SERVER_STARTING},
        {FILE_OF("4711", "5432", "stopping"), 4711, FM_PG_SERVER_STOPPING},
        {FILE_OF("4711", "5432", "standby "), 4711, FM_PG_SERVER_STANDBY},
        {FILE_OF("-12", "5432", "ready   "), -12, FM_PG_SERVER_READY},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_pg_postmaster p = {0};
        assert_true(fm_pg_postmaster_parse(fm_str_z(cases[i].text), &p));
        assert_int_equal(p.pid, cases[i].pid);
        assert_int_equal(p.port, 5432);
        assert_int_equal(p.status, cases[i].status);
    }
}

static void refuses_what_no_server_says(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "4711\n",
        "4711\n/data\n1\n5432\n\n127.0.0.1\n 1 2\n", /* not yet */
        FILE_OF("4711", "5432", "well"),
        FILE_OF("0", "5432", "ready"),
        FILE_OF("1", "5432", "ready"),
        FILE_OF("-1", "5432", "ready"),
        FILE_OF("--12", "5432", "ready"),
        FILE_OF("4294967296", "5432", "ready"),
        FILE_OF("4711", "65536", "ready"),
        FILE_OF("4711", "", "ready"),
        FILE_OF("", "5432", "ready"),
    };
    for (size_t i = 0; i < FM_COUNT(wrong); i++) {
        struct fm_pg_postmaster p;
        if (fm_pg_postmaster_parse(fm_str_z(wrong[i]), &p))
            fail_msg("takes `%s`", wrong[i]);
    }
}

FM_TEST_MAIN(fm_test(reads_what_decides), fm_test(knows_every_state),
             fm_test(refuses_what_is_not_whole), fm_test(takes_any_bytes),
             fm_test(tells_whether_a_node_may_follow),
             fm_test(a_log_is_final_where_its_last_record_was_replayed), fm_test(reads_versions),
             fm_test(reads_what_a_server_says), fm_test(refuses_what_no_server_says))
