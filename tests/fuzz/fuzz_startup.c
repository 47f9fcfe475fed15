/* The first packet to PostgreSQL. Promises: a packet is whole and within the bytes, nothing stands
 * behind a request that waits for an answer, what is not enough is so at every shorter length, and
 * what was decided is decided the same with more bytes behind a session. */
#include "fuzz.h"

#include "proxy/startup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *in = fuzz_copy(data, size);
    struct fm_startup s = fm_startup_parse(fm_str(in, size));
    bool whole = s.kind != FM_STARTUP_MORE && s.kind != FM_STARTUP_BAD;
    HOLDS((s.kind == FM_STARTUP_BAD) == (s.why != NULL), "kind %d", (int)s.kind);
    HOLDS(!whole || (s.n >= 8 && s.n <= size && s.n <= FM_STARTUP_BYTES_MAX), "%zu of %zu", s.n,
          size);
    HOLDS(!whole || s.kind == FM_STARTUP_SESSION || s.n == size, "%zu of %zu", s.n, size);
    HOLDS(s.kind != FM_STARTUP_MORE || size < FM_STARTUP_BYTES_MAX, "%zu", size);
    size_t n = fuzz_cut(data, size, size);
    char *part = fuzz_copy(data, n);
    struct fm_startup p = fm_startup_parse(fm_str(part, n));
    HOLDS(s.kind != FM_STARTUP_MORE || p.kind == FM_STARTUP_MORE, "%zu of %zu", n, size);
    HOLDS(p.kind != FM_STARTUP_SESSION || (s.kind == p.kind && s.n == p.n), "%zu of %zu", n, size);
    free(part);
    free(in);
    return 0;
}
