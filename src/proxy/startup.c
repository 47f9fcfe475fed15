/* The first packet to PostgreSQL. Invariant: a kind other than MORE and BAD is returned only for a
 * packet that is there as a whole, with nothing behind it that its kind does not allow. */
#include "proxy/startup.h"

#include "base/assert.h"

#include <string.h>

enum {
    HEAD = 8,
    MAJOR = 3,
    CODE_MAJOR = 1234, /* where a protocol version would have its major number */
    CODE_CANCEL = 5678,
    CODE_TLS = 5679,
    CODE_GSS = 5680,
    KEY_MIN = 4,
    KEY_MAX = 256, /* of protocol 3.2 */
};

static uint32_t read_u32(const char *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static struct fm_startup bad(const char *state, const char *why)
{
    return (struct fm_startup){.kind = FM_STARTUP_BAD, .why = why, .state = state};
}

static struct fm_startup malformed(const char *why)
{
    return bad("08P01", why);
}

/* Pairs of texts, each with its end, and one more end. */
static struct fm_startup parse_session(struct fm_str packet)
{
    FM_ASSERT(packet.n >= HEAD);
    struct fm_str rest = fm_str(packet.p + HEAD, packet.n - HEAD);
    bool user = false;
    while (rest.n > 1) {
        struct fm_str text[2];
        for (unsigned i = 0; i < 2; i++) {
            const char *end = rest.n ? memchr(rest.p, 0, rest.n) : NULL;
            if (!end)
                return malformed("a parameter of the start-up packet has no end");
            text[i] = fm_str(rest.p, (size_t)(end - rest.p));
            rest = fm_str(end + 1, rest.n - text[i].n - 1);
        }
        if (text[0].n == 0)
            return malformed("a parameter of the start-up packet has no name");
        if (fm_str_eqz(text[0], "user"))
            user = text[1].n > 0;
    }
    if (rest.n != 1 || rest.p[0] != 0)
        return malformed("the start-up packet has no end");
    if (!user)
        return bad("28000", "the start-up packet names no user");
    return (struct fm_startup){.kind = FM_STARTUP_SESSION, .n = packet.n};
}

static struct fm_startup parse_code(uint32_t code, size_t length, size_t have)
{
    bool asks = code == CODE_TLS || code == CODE_GSS;
    FM_ASSERT(have >= length);
    if (have > length)
        return malformed("something follows before the answer");
    if (asks && length == HEAD)
        return (struct fm_startup){.kind = code == CODE_TLS ? FM_STARTUP_TLS : FM_STARTUP_GSS,
                                   .n = length};
    if (code == CODE_CANCEL && length >= HEAD + 4 + KEY_MIN && length <= HEAD + 4 + KEY_MAX)
        return (struct fm_startup){.kind = FM_STARTUP_CANCEL, .n = length};
    return malformed("the request has a wrong length");
}

struct fm_startup fm_startup_parse(struct fm_str bytes)
{
    if (bytes.n < 4)
        return (struct fm_startup){.kind = FM_STARTUP_MORE};
    uint32_t length = read_u32(bytes.p);
    if (length < HEAD || length > FM_STARTUP_BYTES_MAX)
        return malformed("the length of the start-up packet is out of bounds");
    if (bytes.n < HEAD)
        return (struct fm_startup){.kind = FM_STARTUP_MORE};
    uint32_t version = read_u32(bytes.p + 4), code = version & 0xffff;
    version >>= 16;
    bool is_code =
        version == CODE_MAJOR && (code == CODE_CANCEL || code == CODE_TLS || code == CODE_GSS);
    if (version != MAJOR && !is_code)
        return bad("0A000", "only protocol 3 is spoken here");
    if (bytes.n < length)
        return (struct fm_startup){.kind = FM_STARTUP_MORE};
    return is_code ? parse_code(code, length, bytes.n) : parse_session(fm_str(bytes.p, length));
}

/* -------- the answer -------- */

static size_t put_field(char *out, char type, const char *text, size_t n)
{
    out[0] = type;
    memcpy(out + 1, text, n);
    out[1 + n] = 0;
    return n + 2;
}

size_t fm_startup_error(char out[FM_STARTUP_ERROR_MAX], const char *state, const char *message)
{
    enum { SEVERITY = 5, STATE = 5 };
    size_t fixed = 1 + 4 + 2 * (SEVERITY + 2) + (STATE + 2) + 2 + 1;
    size_t text = fm_min_size(strlen(message), FM_STARTUP_ERROR_MAX - fixed), n = 5;
    FM_ASSERT(strlen(state) == STATE && fixed + text <= FM_STARTUP_ERROR_MAX);
    n += put_field(out + n, 'S', "FATAL", SEVERITY);
    n += put_field(out + n, 'V', "FATAL", SEVERITY);
    n += put_field(out + n, 'C', state, STATE);
    n += put_field(out + n, 'M', message, text);
    out[n++] = 0;
    FM_ASSERT(n == fixed + text);
    out[0] = 'E';
    for (unsigned i = 0; i < 4; i++)
        out[1 + i] = (char)((n - 1) >> (24 - 8 * i) & 0xff);
    return n;
}
