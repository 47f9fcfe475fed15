/* Tickets, deliveries and parcels. Promises: what is accepted is written again as the same bytes,
 * and lies within what came. */
#include "fuzz.h"

#include "proxy/queued.h"

static void inside(struct fm_str s, const char *p, size_t n)
{
    HOLDS(s.n == 0 || (s.p >= p && s.p + s.n <= p + n), "%zu bytes outside", s.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *in = fuzz_copy(data, size), out[FM_TICKET_LEN_MAX + 32];
    struct fm_str s = fm_str(in, size);
    struct fm_ticket t;
    struct fm_parcel p;
    uint64_t first;
    if (fm_ticket_read(s, &t)) {
        struct fm_buf b = fm_buf(out, sizeof out);
        fm_ticket_write(&b, &t);
        HOLDS(!b.full && fm_str_eq(fm_buf_str(&b), s), "another ticket");
        inside(t.region, in, size);
    }
    if (fm_delivery_read(s, &t, &first)) {
        struct fm_buf b = fm_buf(out, sizeof out);
        fm_delivery_write(&b, &t, first);
        HOLDS(!b.full && b.n <= size, "%zu bytes of %zu", b.n, size);
        HOLDS(first <= INT64_MAX, "an epoch that no journal keeps");
    }
    if (fm_parcel_read(s, &p)) {
        struct fm_buf b = fm_buf(out, FM_PARCEL_PREFIX);
        inside(p.head, in, size);
        inside(p.body, in, size);
        HOLDS(p.head.n + p.body.n + FM_PARCEL_PREFIX == size, "%zu bytes", p.head.n + p.body.n);
        fm_parcel_begin(&b, p.client_key, p.head.n);
        HOLDS(!b.full && memcmp(out, in, FM_PARCEL_PREFIX) == 0, "another prefix");
    }
    free(in);
    return 0;
}
