/* Chunks of a journal. Promises: what is accepted lies within its bytes, and writing what was read
 * gives the same bytes again. The checksum is made right, else nothing would ever get past it. */
#include "fuzz.h"

#include "base/hash.h"
#include "journal/ship.h"

enum { CHECK_AT = 32 };

static void sign(char *p, size_t n)
{
    const struct fm_hash_key key = {UINT64_C(0x66756c6d61722d6a), UINT64_C(0x6f75726e616c2d31)};
    uint64_t sum =
        fm_hash(key, p, CHECK_AT) ^ fm_hash(key, p + FM_SHIP_HEADER_LEN, n - FM_SHIP_HEADER_LEN);
    for (unsigned i = 0; i < 8; i++)
        p[CHECK_AT + i] = (char)(sum >> (8 * i));
}

static void inside(struct fm_str s, const char *p, size_t n)
{
    HOLDS(s.n == 0 || (s.p >= p && s.p + s.n <= p + n), "%zu bytes outside", s.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *in = fuzz_copy(data, size), *out = malloc(size ? size : 1);
    struct fm_ship_reader r;
    struct fm_error e = {0};
    if (!out)
        abort();
    if (size >= FM_SHIP_HEADER_LEN)
        sign(in, size);
    if (fm_ship_open(&r, fm_str(in, size), &e) == FM_ERR_OK) {
        struct fm_ship_header h = r.header;
        struct fm_journal_entry x;
        struct fm_buf b = fm_buf(out, size);
        uint32_t n = 0;
        fm_ship_begin(&b);
        for (; fm_ship_next(&r, &x); n++) {
            inside(x.context, in, size);
            inside(x.key, in, size);
            inside(x.answer.head, in, size);
            inside(x.answer.body, in, size);
            fm_ship_entry(&b, &x);
        }
        HOLDS(n == h.entries, "%u entries of %u", n, h.entries);
        HOLDS(fm_ship_end(&b, &h) == FM_ERR_OK, "it does not fit");
        HOLDS(b.n == size && memcmp(in, out, size) == 0, "other bytes");
    } else {
        HOLDS(e.code == FM_ERR_INVALID && e.msg[0], "nothing is said");
    }
    free(in);
    free(out);
    return 0;
}
