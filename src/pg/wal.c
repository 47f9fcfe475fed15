/* Pages of the log: see the header. Invariants: `total` is 0 between records; a record counts only
 * when all of its bytes have passed and its checksum is right; the position only grows. */
#include "pg/wal.h"

#include "base/assert.h"

enum {
    HEADER_SHORT = 24,
    HEADER_LONG = FM_WAL_HEADER_MAX,
    RECORD_HEADER = 24,
    RECORD_CRC_AT = 20,
    RECORD_MAX = 0x3fffffff, /* what a server can hold in memory */
    ALIGN = 8,
    /* xlp_info */
    FIRST_GOES_ON = 0x0001,
    LONG_HEADER = 0x0002,
    FIRST_OVERWRITES = 0x0008, /* what went on here was given up at a restart */
    ALL_FLAGS = 0x000f,
    /* resource managers and their records */
    RM_XLOG = 0,
    RM_XACT = 1,
    XLOG_SWITCH = 0x40,
    XACT_MASK = 0x70,
    XACT_COMMIT = 0x00,
    XACT_COMMIT_PREPARED = 0x30,
    /* what stands before the data of a record: a byte that says what, then so many */
    ID_DATA_SHORT = 255, /* and one byte of length */
    ID_DATA_LONG = 254,  /* and four */
    ID_ORIGIN = 253,
    ORIGIN_BYTES = 2,
    ID_TOPLEVEL_XID = 252,
    TOPLEVEL_XID_BYTES = 4,
    TIME_BYTES = 8,
};

/* PostgreSQL counts from 2000 */
#define EPOCH_US (INT64_C(946684800) * 1000000)

const char *fm_wal_end_text(enum fm_wal_end e)
{
    static const char *const text[] = {
#define X(id, words) [FM_WAL_##id] = words,
        FM_WAL_ENDS(X)
#undef X
    };
    FM_ASSERT(e < FM_COUNT(text));
    return text[e];
}

/* -------- little endian -------- */

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = bytes; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get(p, 4);
}

/* -------- CRC-32C, eight bytes at a time (Intel, "slicing-by-8", 2006) -------- */

static void make_table(uint32_t t[FM_WAL_CRC_WAYS][256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (unsigned bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ UINT32_C(0x82f63b78) : c >> 1;
        t[0][i] = c;
    }
    for (unsigned way = 1; way < FM_WAL_CRC_WAYS; way++)
        for (uint32_t i = 0; i < 256; i++)
            t[way][i] = t[way - 1][i] >> 8 ^ t[0][t[way - 1][i] & 255];
}

static uint32_t crc_of(const struct fm_wal_reader *r, uint32_t c, const uint8_t *p, size_t n)
{
    for (; n >= FM_WAL_CRC_WAYS; n -= FM_WAL_CRC_WAYS, p += FM_WAL_CRC_WAYS) {
        uint32_t low = c ^ get32(p), high = get32(p + 4);
        c = r->table[7][low & 255] ^ r->table[6][low >> 8 & 255] ^ r->table[5][low >> 16 & 255] ^
            r->table[4][low >> 24] ^ r->table[3][high & 255] ^ r->table[2][high >> 8 & 255] ^
            r->table[1][high >> 16 & 255] ^ r->table[0][high >> 24];
    }
    while (n--)
        c = c >> 8 ^ r->table[0][(c ^ *p++) & 255];
    return c;
}

/* -------- records -------- */

static bool ends(struct fm_wal_reader *r, enum fm_wal_end why)
{
    FM_ASSERT(why != FM_WAL_NOT_YET);
    r->count.why = why;
    return false;
}

static uint64_t aligned(uint64_t n)
{
    return (n + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
}

/* All of the header is there: does it follow the record before? */
static bool is_in_chain(const struct fm_wal_reader *r)
{
    struct fm_lsn previous = {get(r->head + 8, 8)};
    if (!fm_lsn_is_none(r->last_begin))
        return fm_lsn_same(previous, r->last_begin);
    return fm_lsn_before(previous, r->begin);
}

/* When it was committed, by the one who did: the first thing in the data of a commit, which refers
 * to no block. 0: it does not say. */
static int64_t time_of_commit(const struct fm_wal_reader *r)
{
    uint32_t at = RECORD_HEADER, have = (uint32_t)fm_min_size(r->have, sizeof r->head);
    if (at < have && r->head[at] == ID_ORIGIN)
        at += 1 + ORIGIN_BYTES;
    if (at < have && r->head[at] == ID_TOPLEVEL_XID)
        at += 1 + TOPLEVEL_XID_BYTES;
    if (at >= have || (r->head[at] != ID_DATA_SHORT && r->head[at] != ID_DATA_LONG))
        return 0;
    at += r->head[at] == ID_DATA_SHORT ? 2 : 5;
    if (at + TIME_BYTES > have)
        return 0;
    int64_t us = (int64_t)get(r->head + at, TIME_BYTES);
    return us > 0 && us < INT64_MAX - EPOCH_US ? us + EPOCH_US : 0;
}

static void take_time(struct fm_wal_count *c, int64_t us)
{
    if (us == 0)
        return;
    c->first_us = c->first_us == 0 || us < c->first_us ? us : c->first_us;
    c->last_us = us > c->last_us ? us : c->last_us;
}

/* It ends at `end`. */
static void take_record(struct fm_wal_reader *r, struct fm_lsn end)
{
    uint8_t info = r->head[16], manager = r->head[17];
    if (manager == RM_XLOG && (info & 0xf0) == XLOG_SWITCH) {
        uint64_t next =
            (end.n + r->conf.segment_bytes - 1) & ~((uint64_t)r->conf.segment_bytes - 1);
        end.n = next;
        r->resume.n = next; /* the rest of the file is nothing */
    }
    r->count.end = end;
    r->last_begin = r->begin;
    if (!fm_lsn_before(r->conf.after, end))
        return;
    r->count.records++;
    uint8_t what = info & XACT_MASK;
    if (manager != RM_XACT || (what != XACT_COMMIT && what != XACT_COMMIT_PREPARED))
        return;
    r->count.commits++;
    r->count.prepared_before += what == XACT_COMMIT_PREPARED;
    r->count.last_commit = end;
    take_time(&r->count, time_of_commit(r));
}

/* The next piece of the record. Its checksum covers what is behind the header first, and then the
 * header up to itself. */
static bool feed(struct fm_wal_reader *r, const uint8_t *p, uint32_t n)
{
    FM_ASSERT(n > 0 && r->have + n <= r->total);
    if (r->have < sizeof r->head)
        memcpy(r->head + r->have, p, fm_min_size(n, sizeof r->head - r->have));
    if (r->have < RECORD_HEADER) {
        uint32_t head = (uint32_t)fm_min_size(n, RECORD_HEADER - r->have);
        r->have += head;
        p += head;
        n -= head;
        if (r->have < RECORD_HEADER)
            return true;
        if (!is_in_chain(r))
            return ends(r, FM_WAL_CHAIN);
    }
    r->crc = crc_of(r, r->crc, p, n);
    r->have += n;
    if (r->have < r->total)
        return true;
    r->crc = crc_of(r, r->crc, r->head, RECORD_CRC_AT);
    if ((r->crc ^ UINT32_MAX) != get32(r->head + RECORD_CRC_AT))
        return ends(r, FM_WAL_CHECKSUM);
    return true;
}

/* -------- pages -------- */

static uint32_t header_of(const struct fm_wal_reader *r)
{
    return r->page.n % r->conf.segment_bytes == 0 ? HEADER_LONG : HEADER_SHORT;
}

static bool is_version(uint16_t magic)
{
    return magic == 0xd10d || magic == 0xd110 || magic == 0xd113 || magic == 0xd116;
}

static bool is_page(struct fm_wal_reader *r, const uint8_t *p)
{
    uint16_t magic = (uint16_t)get(p, 2), info = (uint16_t)get(p + 2, 2);
    uint32_t timeline = get32(p + 4);
    bool is_long = header_of(r) == HEADER_LONG;
    if (!is_version(magic) || (r->magic && magic != r->magic) || info & ~ALL_FLAGS ||
        !(info & LONG_HEADER) != !is_long || get(p + 8, 8) != r->page.n)
        return false;
    if (timeline < r->timeline.n || timeline > r->conf.timeline.n || timeline == 0)
        return false;
    if (is_long && ((r->conf.system_id && get(p + 24, 8) != r->conf.system_id) ||
                    get32(p + 32) != r->conf.segment_bytes || get32(p + 36) != FM_WAL_PAGE))
        return false;
    r->magic = magic;
    r->timeline.n = timeline;
    return true;
}

/* What goes on in this page from the one before. Returns where it ends, 0 where the log does. */
static uint32_t go_on(struct fm_wal_reader *r, const uint8_t *page)
{
    uint16_t info = (uint16_t)get(page + 2, 2);
    uint32_t left = get32(page + 16), at = header_of(r);
    bool goes_on = info & FIRST_GOES_ON;
    uint32_t room = FM_WAL_PAGE - at;
    if (r->total &&
        info & FIRST_OVERWRITES) { /* the record was given up; another one stands here */
        r->total = r->have = 0;
        if (!goes_on)
            return at;
    }
    if (goes_on && !r->begun)
        r->skip = left;
    r->begun = true;
    uint32_t expected = r->total ? r->total - r->have : r->skip;
    if (goes_on != (expected > 0) || (goes_on && left != expected)) {
        ends(r, FM_WAL_TORN);
        return 0;
    }
    uint32_t n = expected < room ? expected : room;
    if (r->skip) {
        r->skip -= n;
        if (r->skip == 0 && aligned(r->page.n + at + n) > r->conf.after.n)
            r->skipped_past = true;
    } else if (n) {
        if (!feed(r, page + at, n))
            return 0;
        if (r->have == r->total) {
            r->total = 0;
            take_record(r, (struct fm_lsn){aligned(r->page.n + at + n)});
        }
    }
    return (uint32_t)aligned(at + n);
}

/* The records that begin in this page. */
static bool read_records(struct fm_wal_reader *r, const uint8_t *page, uint32_t at)
{
    while (at < FM_WAL_PAGE && fm_lsn_before((struct fm_lsn){r->page.n + at}, FM_LSN_END)) {
        if (fm_lsn_before((struct fm_lsn){r->page.n + at}, r->resume))
            return true;
        FM_ASSERT(at % ALIGN == 0 && r->total == 0);
        uint32_t total = get32(page + at);
        if (total < RECORD_HEADER || total > RECORD_MAX)
            return ends(r, FM_WAL_NO_RECORD);
        r->total = total;
        r->have = 0;
        r->crc = UINT32_MAX;
        r->begin.n = r->page.n + at;
        uint32_t n = (uint32_t)fm_min_size(total, FM_WAL_PAGE - at);
        if (!feed(r, page + at, n))
            return false;
        at = (uint32_t)aligned(at + n);
        if (r->have == r->total) {
            r->total = 0;
            take_record(r, (struct fm_lsn){r->page.n + at});
        }
    }
    return true;
}

void fm_wal_begin(struct fm_wal_reader *r, const struct fm_wal_config *conf, struct fm_lsn from)
{
    FM_ASSERT(conf->segment_bytes >= 1 << 20 && conf->segment_bytes <= 1 << 30);
    FM_ASSERT((conf->segment_bytes & (conf->segment_bytes - 1)) == 0);
    FM_ASSERT(from.n % conf->segment_bytes == 0 && conf->timeline.n > 0);
    *r = (struct fm_wal_reader){.conf = *conf, .page = from};
    make_table(r->table);
}

bool fm_wal_page(struct fm_wal_reader *r, const uint8_t page[FM_WAL_PAGE])
{
    FM_ASSERT(r->count.why == FM_WAL_NOT_YET && r->page.n <= UINT64_MAX - FM_WAL_PAGE);
    bool matters = !fm_lsn_before(r->page, r->resume);
    if (matters) {
        if (!is_page(r, page))
            return ends(r, r->total ? FM_WAL_TORN : FM_WAL_NO_PAGE);
        uint32_t at = go_on(r, page);
        if (at == 0)
            return false;
        if (r->skip == 0 && r->total == 0 && !read_records(r, page, at))
            return false;
    }
    r->page.n += FM_WAL_PAGE;
    return true;
}
