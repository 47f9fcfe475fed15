/* Pages of a log. Promises: the log ends where it was read at the latest, a commit is a record, and
 * reading the same again says the same. The first page's header and the checksums and chain of its
 * records are made right, else nothing would ever get past them; the other pages are as they come,
 * with a header that is right where the first byte says so. */
#include "fuzz.h"

#include "pg/wal.h"

enum { SEGMENT = 1 << 20, PAGES_MAX = 4, FIRST = 0x1000000 };

static void put(uint8_t *p, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static uint32_t crc(uint32_t c, const uint8_t *p, size_t n)
{
    while (n--) {
        c ^= *p++;
        for (unsigned bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ UINT32_C(0x82f63b78) : c >> 1;
    }
    return c;
}

static void sign(uint8_t *page)
{
    uint64_t previous = 0;
    for (size_t at = 40; at + 24 <= FM_WAL_PAGE;) {
        uint8_t *r = page + at;
        size_t total = r[0] | (size_t)r[1] << 8 | (size_t)r[2] << 16 | (size_t)r[3] << 24;
        put(r + 8, previous, 8);
        if (total < 24 || total > FM_WAL_PAGE - at)
            return;
        put(r + 20, crc(crc(UINT32_MAX, r + 24, total - 24), r, 20) ^ UINT32_MAX, 4);
        previous = FIRST + at;
        at = (at + total + 7) & ~(size_t)7;
    }
}

static struct fm_wal_count read_log(const uint8_t *pages, size_t n, uint64_t after)
{
    static struct fm_wal_reader r;
    struct fm_wal_config conf = {.timeline = {1}, .segment_bytes = SEGMENT, .after = {after}};
    fm_wal_begin(&r, &conf, (struct fm_lsn){FIRST});
    size_t read = 0;
    while (read < n && fm_wal_page(&r, pages + read * FM_WAL_PAGE))
        read++;
    HOLDS(r.count.why != FM_WAL_NOT_YET || read == n, "%zu of %zu pages", read, n);
    return r.count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t n = (size - 1 + FM_WAL_PAGE - 1) / FM_WAL_PAGE;
    if (n > PAGES_MAX)
        n = PAGES_MAX;
    uint8_t *pages = calloc(n, FM_WAL_PAGE);
    if (!pages)
        abort();
    memcpy(pages, data + 1, size - 1 < n * FM_WAL_PAGE ? size - 1 : n * FM_WAL_PAGE);
    for (size_t i = 0; i < n && (i == 0 || data[0] & 1); i++) {
        uint8_t *p = pages + i * FM_WAL_PAGE;
        put(p, 0xd110, 2);
        put(p + 2, (p[2] & ~2u) | (i == 0 ? 2 : 0), 1);
        put(p + 3, 0, 1);
        put(p + 4, 1, 4);
        put(p + 8, FIRST + i * FM_WAL_PAGE, 8);
    }
    put(pages + 32, SEGMENT, 4);
    put(pages + 36, FM_WAL_PAGE, 4);
    sign(pages);
    struct fm_wal_count all = read_log(pages, n, 0);
    struct fm_wal_count again = read_log(pages, n, all.end.n);
    HOLDS(all.commits <= all.records && all.prepared_before <= all.commits, "more than there are");
    HOLDS(all.end.n <= FIRST + n * FM_WAL_PAGE || all.end.n % SEGMENT == 0, "beyond the pages");
    HOLDS(again.records == 0 && again.end.n == all.end.n && again.why == all.why, "something else");
    free(pages);
    return 0;
}
