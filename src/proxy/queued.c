/* See the header. Invariant: there is one way to write each of them, and only that is read. */
#include "proxy/queued.h"

#include "base/assert.h"

enum { VERSION = 1, TOKEN_DIGITS = 16, CLIENT_KEY = 1 };

/* -------- tickets -------- */

void fm_ticket_write(struct fm_buf *b, const struct fm_ticket *t)
{
    FM_ASSERT(t->region.n > 0 && t->region.n <= FM_TICKET_REGION_MAX && t->number > 0);
    fm_buf_str_add(b, t->region);
    fm_buf_ch(b, '/');
    fm_buf_u64(b, t->number);
    fm_buf_ch(b, '-');
    for (int shift = 60; shift >= 0; shift -= 4)
        fm_buf_ch(b, "0123456789abcdef"[t->token >> shift & 15]);
}

/* Names of regions, as the configuration has them. */
static bool is_region(struct fm_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = c >= 'a' && c <= 'z';
        if (!letter && (i == 0 || (c != '-' && (c < '0' || c > '9'))))
            return false;
    }
    return s.n > 0 && s.n <= FM_TICKET_REGION_MAX;
}

bool fm_ticket_read(struct fm_str s, struct fm_ticket *out)
{
    const char *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
    if (!slash || s.n < TOKEN_DIGITS + 2)
        return false;
    const char *dash = s.p + s.n - TOKEN_DIGITS - 1;
    out->region = fm_str(s.p, (size_t)(slash - s.p));
    if (dash <= slash + 1 || *dash != '-' || slash[1] == '0' || !is_region(out->region) ||
        !fm_str_u64(fm_str(slash + 1, (size_t)(dash - slash - 1)), &out->number) ||
        !fm_str_u64_hex(fm_str(dash + 1, TOKEN_DIGITS), &out->token))
        return false;
    char again[FM_TICKET_LEN_MAX];
    struct fm_buf b = fm_buf(again, sizeof again);
    fm_ticket_write(&b, out);
    return fm_str_eq(fm_buf_str(&b), s);
}

void fm_ticket_key(struct fm_buf *b, const struct fm_ticket *t)
{
    fm_buf_lit(b, "queue:");
    fm_ticket_write(b, t);
}

void fm_delivery_write(struct fm_buf *b, const struct fm_ticket *t, uint64_t first_epoch)
{
    fm_ticket_write(b, t);
    fm_buf_ch(b, '@');
    fm_buf_u64(b, first_epoch);
}

bool fm_delivery_read(struct fm_str s, struct fm_ticket *t, uint64_t *first_epoch)
{
    const char *at = s.n ? memchr(s.p, '@', s.n) : NULL;
    if (!at)
        return false;
    size_t n = (size_t)(at - s.p);
    return fm_ticket_read(fm_str(s.p, n), t) &&
           fm_str_u64(fm_str(at + 1, s.n - n - 1), first_epoch) && *first_epoch <= INT64_MAX;
}

void fm_ticket_json(struct fm_buf *b, const struct fm_ticket *t, enum fm_ticket_state state,
                    unsigned status)
{
    bool over = state == FM_TICKET_OVER;
    const char *name = state == FM_TICKET_WAITS             ? "waiting"
                       : state == FM_TICKET_BEING_DELIVERED ? "delivering"
                       : status                             ? "delivered"
                                                            : "unknown";
    fm_buf_lit(b, "{\"schema\":\"fulmar.queue/1\",\"id\":\"");
    fm_ticket_write(b, t);
    fm_buf_printf(b, "\",\"state\":\"%s\",\"status\":", name);
    if (over && status >= 100)
        fm_buf_u64(b, status);
    else
        fm_buf_lit(b, "null");
    fm_buf_lit(b, ",\"location\":\"" FM_QUEUED_PATH);
    fm_ticket_write(b, t);
    fm_buf_lit(b, "\"}\n");
}

/* -------- parcels -------- */

void fm_parcel_begin(struct fm_buf *b, bool client_key, size_t head_n)
{
    FM_ASSERT(head_n <= UINT32_MAX);
    const char prefix[FM_PARCEL_PREFIX] = {VERSION,
                                           client_key ? CLIENT_KEY : 0,
                                           0,
                                           0,
                                           (char)(head_n & 0xff),
                                           (char)(head_n >> 8 & 0xff),
                                           (char)(head_n >> 16 & 0xff),
                                           (char)(head_n >> 24 & 0xff)};
    fm_buf_add(b, prefix, sizeof prefix);
}

bool fm_parcel_read(struct fm_str s, struct fm_parcel *out)
{
    const uint8_t *p = (const uint8_t *)s.p;
    if (s.n < FM_PARCEL_PREFIX || p[0] != VERSION || p[1] > CLIENT_KEY || p[2] || p[3])
        return false;
    size_t head_n = (size_t)p[4] | (size_t)p[5] << 8 | (size_t)p[6] << 16 | (size_t)p[7] << 24;
    if (head_n < 2 || head_n > s.n - FM_PARCEL_PREFIX)
        return false;
    out->client_key = p[1] == CLIENT_KEY;
    out->head = fm_str(s.p + FM_PARCEL_PREFIX, head_n);
    out->body = fm_str(out->head.p + head_n, s.n - FM_PARCEL_PREFIX - head_n);
    return memcmp(out->head.p + head_n - 2, "\r\n", 2) == 0;
}
