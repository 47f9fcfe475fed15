/* Logs that are written here byte for byte; tests/system/test_wal.py has those of a server. */
#include "test.h"

#include "pg/wal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SEGMENT = 1 << 20, SEGMENTS = 3, ROOM = SEGMENTS * SEGMENT, SYSTEM = 4711, TIMELINE = 5 };
enum { XLOG = 0, XACT = 1, HEAP = 10, COMMIT = 0x00, ABORT = 0x20, COMMIT_PREPARED = 0x30 };
#define FIRST UINT64_C(0x1000000) /* the log begins with a segment */

static uint8_t bytes[ROOM];
static uint64_t at, previous;
static uint16_t version;

static void put(uint8_t *p, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

/* The next page's header; `left` of a record goes on in it. */
static void put_page(uint32_t left, uint16_t more_flags)
{
    uint8_t *p = bytes + (at - FIRST);
    bool is_long = at % SEGMENT == 0;
    put(p, version, 2);
    put(p + 2, (left ? 1u : 0) | (is_long ? 2u : 0) | more_flags, 2);
    put(p + 4, TIMELINE, 4);
    put(p + 8, at, 8);
    put(p + 16, left, 4);
    if (is_long) {
        put(p + 24, SYSTEM, 8);
        put(p + 32, SEGMENT, 4);
        put(p + 36, FM_WAL_PAGE, 4);
    }
    at += is_long ? 40 : 24;
}

static void begin(void)
{
    memset(bytes, 0, sizeof bytes);
    version = 0xd110;
    at = FIRST;
    previous = FIRST - 100;
}

/* Bit by bit, in another way than the reader. */
static uint32_t crc(uint32_t c, const uint8_t *p, size_t n)
{
    while (n--) {
        c ^= *p++;
        for (unsigned bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ UINT32_C(0x82f63b78) : c >> 1;
    }
    return c;
}

static uint8_t data[32]; /* what the next record has behind its header, so many bytes of it */
static size_t data_n;

/* A record with so many bytes behind its header; `most` of it are written. Returns its end. */
static uint64_t part(unsigned manager, unsigned info, uint32_t payload, uint32_t most)
{
    static uint8_t r[64 * 1024];
    uint32_t total = 24 + payload;
    if (at % FM_WAL_PAGE == 0)
        put_page(0, 0);
    memset(r, 0x5a, total);
    memcpy(r + 24, data, fm_min_size(data_n, payload));
    data_n = 0;
    memset(r, 0, 24);
    put(r, total, 4);
    put(r + 4, 700, 4);
    put(r + 8, previous, 8);
    r[16] = (uint8_t)info;
    r[17] = (uint8_t)manager;
    put(r + 20, crc(crc(UINT32_MAX, r + 24, payload), r, 20) ^ UINT32_MAX, 4);
    if (most == UINT32_MAX)
        previous = at;
    for (uint32_t done = 0; done < total && done < most; done++) {
        if (at % FM_WAL_PAGE == 0)
            put_page(total - done, 0);
        bytes[at++ - FIRST] = r[done];
    }
    at = (at + 7) & ~UINT64_C(7);
    return at;
}

static uint64_t record(unsigned manager, unsigned info, uint32_t payload)
{
    return part(manager, info, payload, UINT32_MAX);
}

static struct fm_wal_config conf(uint64_t after)
{
    return (struct fm_wal_config){
        .system_id = SYSTEM, .timeline = {TIMELINE}, .segment_bytes = SEGMENT, .after = {after}};
}

static struct fm_wal_reader reader;

static const struct fm_wal_count *read_all(uint64_t after)
{
    struct fm_wal_config c = conf(after);
    fm_wal_begin(&reader, &c, (struct fm_lsn){FIRST});
    for (size_t i = 0; i < ROOM; i += FM_WAL_PAGE)
        if (!fm_wal_page(&reader, bytes + i))
            break;
    return &reader.count;
}

static void check_end(enum fm_wal_end why, uint64_t commits, uint64_t end)
{
    const struct fm_wal_count *c = read_all(0);
    assert_int_equal(c->why, why);
    assert_int_equal(c->commits, commits);
    assert_int_equal(c->end.n, end);
    assert_non_null(fm_wal_end_text(c->why));
}

static void counts_commits_that_end_behind_a_place(void **state)
{
    (void)state;
    begin();
    record(HEAP, 0, 50);
    uint64_t one = record(XACT, COMMIT, 10);
    record(HEAP, 0, 77);
    uint64_t two = record(XACT, COMMIT | 0x80, 300); /* with more information */
    record(XACT, ABORT, 10);
    record(XACT, 0x10, 10); /* prepared: no commit */
    uint64_t three = record(XACT, COMMIT_PREPARED, 10);
    uint64_t end = record(XLOG, COMMIT, 8);
    static const struct {
        int behind;
        uint64_t commits, prepared;
    } cases[] = {{-1, 3, 1}, {0, 2, 1}, {7, 2, 1}};
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        const struct fm_wal_count *c = read_all(one + (uint64_t)(int64_t)cases[i].behind);
        assert_int_equal(c->commits, cases[i].commits);
        assert_int_equal(c->prepared_before, cases[i].prepared);
        assert_int_equal(c->last_commit.n, three);
        assert_int_equal(c->end.n, end);
        assert_int_equal(c->why, FM_WAL_NO_RECORD);
    }
    assert_int_equal(read_all(two)->commits, 1);
    assert_int_equal(read_all(two)->records, 4);
    assert_int_equal(read_all(three)->commits, 0);
    assert_int_equal(read_all(three)->last_commit.n, 0);
}

enum { SHORT = 255, LONG = 254, ORIGIN = 253, TOPLEVEL = 252, Y2026 = 820000000 };

/* A commit that was made so many seconds after 2000. */
static void commit_at(unsigned id, bool origin, bool toplevel, uint64_t seconds)
{
    data_n = 0;
    if (origin)
        data[data_n] = ORIGIN, data_n += 3;
    if (toplevel)
        data[data_n] = TOPLEVEL, data_n += 5;
    data[data_n] = (uint8_t)id;
    data_n += id == SHORT ? 2 : 5;
    put(data + data_n, seconds * 1000000, 8);
    data_n += 8;
    record(XACT, COMMIT, 40);
}

static void says_when_the_commits_were_made(void **state)
{
    (void)state;
    const int64_t from = INT64_C(946684800) * 1000000, second = 1000000;
    begin();
    record(XACT, COMMIT, 4);  /* too short to say it */
    record(XACT, COMMIT, 40); /* says something else */
    assert_int_equal(read_all(0)->commits, 2);
    assert_int_equal(read_all(0)->last_us, 0);
    commit_at(SHORT, false, false, Y2026 + 5);
    uint64_t behind = at;
    commit_at(LONG, true, true, Y2026 + 9);
    commit_at(SHORT, true, false, Y2026 + 2);
    commit_at(SHORT, false, true, Y2026 + 7);
    assert_int_equal(read_all(0)->commits, 6);
    assert_int_equal(read_all(0)->first_us, from + (Y2026 + 2) * second);
    assert_int_equal(read_all(0)->last_us, from + (Y2026 + 9) * second);
    assert_int_equal(read_all(behind)->first_us, from + (Y2026 + 2) * second);
    begin(); /* over the end of a page */
    while (FM_WAL_PAGE - at % FM_WAL_PAGE > 100)
        record(HEAP, 0, 8);
    record(HEAP, 0, (uint32_t)(FM_WAL_PAGE - at % FM_WAL_PAGE) - 24 - 32);
    assert_int_equal(at % FM_WAL_PAGE, FM_WAL_PAGE - 32);
    commit_at(SHORT, false, false, Y2026 + 3);
    assert_int_equal(read_all(0)->last_us, from + (Y2026 + 3) * second);
}

static void reads_every_version(void **state)
{
    (void)state;
    static const uint16_t known[] = {0xd10d, 0xd110, 0xd113, 0xd116};
    for (size_t i = 0; i < FM_COUNT(known); i++) {
        begin();
        version = known[i];
        check_end(FM_WAL_NO_RECORD, 1, record(XACT, COMMIT, 10));
    }
    version = 0xd106; /* 13 */
    begin();
    version = 0xd106;
    record(XACT, COMMIT, 10);
    check_end(FM_WAL_NO_PAGE, 0, 0);
}

static void records_go_over_pages_and_files(void **state)
{
    (void)state;
    begin();
    uint64_t commits = 0, end = 0;
    for (uint32_t i = 0; at < FIRST + ROOM - 100 * 1024; i++) {
        end = record(HEAP, 0, i * 37 % 30000);
        if (i % 3 == 0) {
            end = record(XACT, COMMIT, i * 13 % 200);
            commits++;
        }
    }
    check_end(FM_WAL_NO_RECORD, commits, end);
    /* a header that is cut by a page's end, and one that is filled up exactly */
    for (uint32_t left = 8; left <= 48; left += 8) {
        begin();
        put_page(0, 0);
        record(HEAP, 0, FM_WAL_PAGE - 40 - 24 - left);
        end = record(XACT, COMMIT, 24);
        record(XACT, COMMIT, 8);
        check_end(FM_WAL_NO_RECORD, 2, at);
        assert_true(end < at);
    }
}

static void a_record_that_was_given_up_is_passed_over(void **state)
{
    (void)state;
    begin();
    record(XACT, COMMIT, 10);
    part(XACT, COMMIT, 20000, FM_WAL_PAGE - 300); /* the server stopped in the middle of it */
    at = FIRST + 2 * FM_WAL_PAGE;
    memset(bytes + FM_WAL_PAGE, 0, FM_WAL_PAGE);
    at = FIRST + FM_WAL_PAGE;
    put_page(0, 8);
    record(XLOG, 0xd0, 16);
    check_end(FM_WAL_NO_RECORD, 2, record(XACT, COMMIT, 10));
}

static void a_switch_leaves_the_rest_of_the_file(void **state)
{
    (void)state;
    begin();
    record(XACT, COMMIT, 10);
    record(XLOG, 0x40, 0);
    memset(bytes + (at - FIRST), 0xee, FIRST + SEGMENT - at);
    const struct fm_wal_count *c = read_all(0);
    assert_int_equal(c->why, FM_WAL_NO_PAGE);
    assert_int_equal(c->end.n, FIRST + SEGMENT);
    at = FIRST + SEGMENT;
    check_end(FM_WAL_NO_RECORD, 2, record(XACT, COMMIT, 10));
}

static void what_is_not_whole_ends_it(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t flip;
        enum fm_wal_end why;
    } cases[] = {
        {100, 1, FM_WAL_CHECKSUM},          /* within the third record */
        {0, 1, FM_WAL_CHAIN},               /* replaced below */
        {FM_WAL_PAGE, 1, FM_WAL_TORN},      /* magic */
        {FM_WAL_PAGE + 2, 16, FM_WAL_TORN}, /* a flag that there is not */
        {FM_WAL_PAGE + 2, 2, FM_WAL_TORN},  /* a long header where there is none */
        {FM_WAL_PAGE + 2, 1, FM_WAL_TORN},  /* nothing goes on */
        {FM_WAL_PAGE + 4, 2, FM_WAL_TORN},  /* a later timeline */
        {FM_WAL_PAGE + 9, 1, FM_WAL_TORN},  /* another address */
        {FM_WAL_PAGE + 16, 1, FM_WAL_TORN}, /* another length */
        {FM_WAL_PAGE + 30, 1, FM_WAL_CHECKSUM},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        begin();
        record(XACT, COMMIT, 10);
        uint64_t first = record(XACT, COMMIT, 10);
        uint64_t third = first - FIRST;
        record(XACT, COMMIT, 12000);
        size_t place = cases[i].at < FM_WAL_PAGE ? third + cases[i].at : cases[i].at;
        if (cases[i].why == FM_WAL_CHAIN)
            place = third + 8;
        bytes[place] ^= cases[i].flip;
        check_end(cases[i].why, 2, first);
    }
    begin();
    record(XACT, COMMIT, 10);
    bytes[24] ^= 1; /* of another system */
    check_end(FM_WAL_NO_PAGE, 0, 0);
    begin();
    uint64_t end = record(XACT, COMMIT, 10);
    put(bytes + (end - FIRST), UINT32_MAX, 4); /* a length that cannot be */
    check_end(FM_WAL_NO_RECORD, 1, end);
    put(bytes + (end - FIRST), 23, 4);
    check_end(FM_WAL_NO_RECORD, 1, end);
}

/* -------- files -------- */

static char folder[] = "/tmp/fulmar-wal-XXXXXX";
static int folder_fd;

static void save(unsigned segment, size_t n)
{
    char name[FM_WAL_NAME_ROOM];
    struct fm_wal_config c = conf(0);
    fm_wal_name(name, &c, (struct fm_lsn){FIRST + segment * (uint64_t)SEGMENT});
    int fd = openat(folder_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes + segment * (size_t)SEGMENT, n), n);
    close(fd);
}

static void forget(unsigned segment)
{
    char name[FM_WAL_NAME_ROOM];
    struct fm_wal_config c = conf(0);
    unlinkat(folder_fd, fm_wal_name(name, &c, (struct fm_lsn){FIRST + segment * (uint64_t)SEGMENT}),
             0);
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    assert_non_null(mkdtemp(folder));
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return rc;
}

static int teardown(void **state)
{
    for (unsigned i = 0; i < SEGMENTS; i++)
        forget(i);
    close(folder_fd);
    rmdir(folder);
    return fm_test_fds_after(state);
}

static enum fm_err count(uint64_t after, uint64_t reaches, uint64_t most, struct fm_wal_count *out)
{
    struct fm_error e = {0};
    struct fm_wal_config c = conf(after);
    struct fm_wal_work *w = malloc(fm_wal_work_size());
    assert_non_null(w);
    enum fm_err err = fm_wal_count(w, folder_fd, &c, (struct fm_lsn){reaches}, most, out, &e);
    free(w);
    assert_int_equal(err == FM_ERR_OK, e.msg[0] == 0);
    return err;
}

static void counts_in_the_files_of_a_folder(void **state)
{
    (void)state;
    struct fm_wal_count c;
    char name[FM_WAL_NAME_ROOM];
    struct fm_wal_config other = {.timeline = {0xab}, .segment_bytes = 16 << 20};
    assert_string_equal(fm_wal_name(name, &other, (struct fm_lsn){UINT64_C(0x12ff000001)}),
                        "000000AB00000012000000FF");
    struct fm_wal_config twice = {
        .timeline = {5},
        .segment_bytes = 16 << 20,
        .past = {{{1}, {UINT64_C(0x3000100)}}, {{3}, {UINT64_C(0x5000000)}}},
        .npast = 2};
    assert_string_equal(fm_wal_name(name, &twice, (struct fm_lsn){0x2fffff8}),
                        "000000010000000000000002");
    assert_string_equal(fm_wal_name(name, &twice, (struct fm_lsn){0x3000000}),
                        "000000030000000000000003"); /* in which timeline 1 was left */
    assert_string_equal(fm_wal_name(name, &twice, (struct fm_lsn){0x4fffff8}),
                        "000000030000000000000004"); /* at the end of which 3 was */
    assert_string_equal(fm_wal_name(name, &twice, (struct fm_lsn){0x5000000}),
                        "000000050000000000000005");
    begin();
    while (at < FIRST + SEGMENT - 5000)
        record(HEAP, 0, 3000);
    uint64_t over = record(XACT, COMMIT, 20000); /* into the second file */
    uint64_t end = record(XACT, COMMIT, 10);
    save(0, SEGMENT);
    save(1, SEGMENT);
    assert_int_equal(count(FIRST, end, ROOM, &c), FM_ERR_OK);
    assert_int_equal(c.commits, 2);
    assert_int_equal(c.end.n, end);
    /* the place is in the second file, the record that counts begins in the first one */
    assert_int_equal(count(over - 1, end, ROOM, &c), FM_ERR_OK);
    assert_int_equal(c.commits, 2);
    assert_int_equal(count(over, end, ROOM, &c), FM_ERR_OK);
    assert_int_equal(c.commits, 1);
    /* there is as much as must be */
    assert_int_equal(count(over, end + 8, ROOM, &c), FM_ERR_STATE);
    assert_int_equal(count(end, 0, ROOM, &c), FM_ERR_OK);
    assert_int_equal(count(end + 8, 0, ROOM, &c), FM_ERR_STATE);
    assert_int_equal(count(FIRST, end, SEGMENT, &c), FM_ERR_LIMIT);
    assert_int_equal(count(FIRST + 2 * SEGMENT + 100, 0, ROOM, &c), FM_ERR_NOT_FOUND);
    save(1, FM_WAL_PAGE + 100); /* cut */
    assert_int_equal(count(FIRST, over, ROOM, &c), FM_ERR_STATE);
    save(1, SEGMENT);
    forget(0);
    assert_int_equal(count(over - 1, end, ROOM, &c), FM_ERR_NOT_FOUND);
}

static void a_log_may_end_with_a_file(void **state)
{
    (void)state;
    struct fm_wal_count c;
    begin();
    record(XACT, COMMIT, 10);
    record(XLOG, 0x40, 0);
    save(0, SEGMENT);
    assert_int_equal(count(FIRST + SEGMENT, FIRST + SEGMENT, ROOM, &c), FM_ERR_OK);
    assert_int_equal(c.commits, 0);
    assert_int_equal(c.why, FM_WAL_NO_FILE);
    assert_int_equal(count(FIRST + SEGMENT + 40, 0, ROOM, &c), FM_ERR_OK); /* the same place */
    assert_int_equal(count(FIRST + SEGMENT + 48, 0, ROOM, &c), FM_ERR_NOT_FOUND);
    assert_int_equal(count(FIRST, 0, ROOM, &c), FM_ERR_OK);
    assert_int_equal(c.commits, 1);
}

#define with_folder(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(fm_test(counts_commits_that_end_behind_a_place),
             fm_test(says_when_the_commits_were_made), fm_test(reads_every_version),
             fm_test(records_go_over_pages_and_files),
             fm_test(a_record_that_was_given_up_is_passed_over),
             fm_test(a_switch_leaves_the_rest_of_the_file), fm_test(what_is_not_whole_ends_it),
             with_folder(counts_in_the_files_of_a_folder), with_folder(a_log_may_end_with_a_file))
