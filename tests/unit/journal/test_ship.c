/* Chunks: what is written is read, and nothing else is. The import of chunks is in test_heir. */
#include "test.h"

#include "base/hash.h"
#include "base/rand.h"
#include "journal/ship.h"

static char mem[65536];

static struct fm_journal_entry sample(unsigned i)
{
    struct fm_journal_entry e = {.context = FM_STR("ledger"),
                                 .key = FM_STR("8e03978e"),
                                 .cell = 17 + i,
                                 .epoch = 42,
                                 .tries = 1,
                                 .at_ms = 1700000000000,
                                 .state = FM_IDEM_IN_FLIGHT};
    memset(e.hash.b, (int)i + 1, sizeof e.hash.b);
    if (i % 3 == 1) {
        e.state = FM_IDEM_UNKNOWN;
        e.settled_ms = 1700000000001;
    }
    if (i % 3 == 2) {
        e.state = FM_IDEM_DONE;
        e.settled_ms = 1700000000002;
        e.answer = (struct fm_journal_answer){
            .status = 201, .kept = true, .head = FM_STR("A: b\r\n"), .body = FM_STR("{}")};
    }
    return e;
}

static struct fm_str chunk_of(unsigned n)
{
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_ship_begin(&b);
    for (unsigned i = 0; i < n; i++) {
        struct fm_journal_entry e = sample(i);
        fm_ship_entry(&b, &e);
    }
    struct fm_ship_header h = {.entries = n, .since = 5, .next = 9, .last = 11};
    assert_int_equal(fm_ship_end(&b, &h), FM_ERR_OK);
    return fm_buf_str(&b);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 7; n++) {
        struct fm_ship_reader r;
        struct fm_journal_entry e;
        assert_int_equal(fm_ship_open(&r, chunk_of(n), NULL), FM_ERR_OK);
        assert_int_equal(r.header.entries, n);
        assert_int_equal(r.header.since, 5);
        assert_int_equal(r.header.next, 9);
        assert_int_equal(r.header.last, 11);
        for (unsigned i = 0; i < n; i++) {
            struct fm_journal_entry was = sample(i);
            assert_true(fm_ship_next(&r, &e));
            assert_true(fm_str_eq(e.context, was.context) && fm_str_eq(e.key, was.key));
            assert_memory_equal(e.hash.b, was.hash.b, sizeof e.hash.b);
            assert_int_equal(e.cell, was.cell);
            assert_int_equal(e.epoch, was.epoch);
            assert_int_equal(e.tries, was.tries);
            assert_int_equal(e.at_ms, was.at_ms);
            assert_int_equal(e.state, was.state);
            assert_int_equal(e.settled_ms, was.settled_ms);
            assert_int_equal(e.answer.status, was.answer.status);
            assert_int_equal(e.answer.kept, was.answer.kept);
            assert_true(fm_str_eq(e.answer.head, was.answer.head));
            assert_true(fm_str_eq(e.answer.body, was.answer.body));
        }
        assert_false(fm_ship_next(&r, &e));
    }
}

static void any_byte_that_changed_is_seen(void **state)
{
    (void)state;
    struct fm_str chunk = chunk_of(3);
    struct fm_ship_reader r;
    for (size_t i = 0; i < chunk.n; i++) {
        mem[i] = (char)(mem[i] ^ 0x20);
        assert_int_equal(fm_ship_open(&r, chunk, NULL), FM_ERR_INVALID);
        mem[i] = (char)(mem[i] ^ 0x20);
    }
    assert_int_equal(fm_ship_open(&r, chunk, NULL), FM_ERR_OK);
    for (size_t n = 0; n < chunk.n; n++)
        assert_int_equal(fm_ship_open(&r, fm_str(chunk.p, n), NULL), FM_ERR_INVALID);
    assert_int_equal(fm_ship_open(&r, fm_str(chunk.p, chunk.n + 1), NULL), FM_ERR_INVALID);
}

/* As a peer that errs would do it: the checksum is right. */
static void sign(struct fm_str chunk)
{
    const struct fm_hash_key key = {UINT64_C(0x66756c6d61722d6a), UINT64_C(0x6f75726e616c2d31)};
    uint64_t sum = fm_hash(key, chunk.p, 32) ^
                   fm_hash(key, chunk.p + FM_SHIP_HEADER_LEN, chunk.n - FM_SHIP_HEADER_LEN);
    for (unsigned i = 0; i < 8; i++)
        mem[32 + i] = (char)(sum >> (8 * i));
}

static void what_no_writer_writes_is_refused_though_its_checksum_is_right(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        unsigned char value;
        const char *what;
    } cases[] = {
        {3, 2, "another version"},
        {4, 2, "fewer entries than there are"},
        {4, 4, "more entries than there are"},
        {8, 10, "since behind next"},
        {24, 8, "next behind last"},
        {31, 0x80, "a number beyond 2^63"},
        {40 + 7, 0x80, "an epoch beyond 2^63"},
        {40 + 15, 0x80, "a time before 1970"},
        {40 + 16, 1, "in flight and settled"},
        {40 + 28, 0, "no try"},
        {40 + 32, 1, "in flight with a head"},
        {40 + 39, 0xff, "a body of 4 GiB"},
        {40 + 40, 200, "in flight with a status"},
        {40 + 42, FM_IDEM_ABSENT, "a state that is none"},
        {40 + 42, FM_IDEM_QUEUED, "a state of the queue"},
        {40 + 42, FM_IDEM_DONE, "done without a status"},
        {40 + 43, 1, "in flight and kept"},
        {40 + 43, 2, "half kept"},
        {40 + 44, 0, "no context"},
        {40 + 44, 64, "a context that is too long"},
        {40 + 45, 0, "no key"},
        {40 + 46, 1, "a use of what is reserved"},
        {40 + 80, 0, "a context with a zero"},
        {40 + 80 + 6, '\n', "a key with a line"},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_str chunk = chunk_of(3);
        struct fm_ship_reader r;
        struct fm_error e;
        assert_int_equal(fm_ship_open(&r, chunk, &e), FM_ERR_OK);
        assert_int_not_equal((unsigned char)mem[cases[i].at], cases[i].value);
        mem[cases[i].at] = (char)cases[i].value;
        sign(chunk);
        if (fm_ship_open(&r, chunk, &e) != FM_ERR_INVALID)
            fail_msg("accepted: %s", cases[i].what);
        assert_non_null(strstr(e.msg, "chunk"));
    }
}

static void an_entry_is_there_whole_or_not_at_all(void **state)
{
    (void)state;
    struct fm_journal_entry e = sample(2);
    struct fm_ship_header h = {.entries = 1};
    size_t whole = chunk_of(3).n;
    struct fm_buf one = fm_buf(mem, sizeof mem);
    fm_ship_begin(&one);
    fm_ship_entry(&one, &e);
    whole = one.n;
    for (size_t cap = FM_SHIP_HEADER_LEN; cap < whole; cap++) {
        struct fm_buf b = fm_buf(mem, cap);
        fm_ship_begin(&b);
        fm_ship_entry(&b, &e);
        assert_int_equal(b.n, FM_SHIP_HEADER_LEN);
        assert_int_equal(fm_ship_end(&b, &h), FM_ERR_LIMIT);
    }
    struct fm_buf b = fm_buf(mem, whole);
    fm_ship_begin(&b);
    fm_ship_entry(&b, &e);
    assert_int_equal(fm_ship_end(&b, &h), FM_ERR_OK);
}

static void no_damage_leads_astray(void **state)
{
    (void)state;
    struct fm_rand dice = {20261121};
    for (unsigned round = 0; round < 20000; round++) {
        struct fm_str chunk = chunk_of(1 + fm_rand_below(&dice, 6));
        for (unsigned k = fm_rand_below(&dice, 4) + 1; k > 0; k--)
            mem[fm_rand_below(&dice, (uint32_t)chunk.n)] = (char)fm_rand_u64(&dice);
        if (fm_rand_below(&dice, 4) == 0)
            chunk.n = fm_rand_below(&dice, (uint32_t)chunk.n) + 1;
        if (chunk.n >= FM_SHIP_HEADER_LEN)
            sign(chunk);
        struct fm_ship_reader r;
        struct fm_journal_entry e;
        if (fm_ship_open(&r, chunk, NULL))
            continue;
        while (fm_ship_next(&r, &e))
            assert_true(e.answer.body.p + e.answer.body.n <= chunk.p + chunk.n);
    }
}

FM_TEST_MAIN(fm_test(what_is_written_is_read), fm_test(any_byte_that_changed_is_seen),
             fm_test(what_no_writer_writes_is_refused_though_its_checksum_is_right),
             fm_test(an_entry_is_there_whole_or_not_at_all), fm_test(no_damage_leads_astray))
