/* Paths and hosts. Promises: a path that is accepted has no segment that means another, needs no
 * more memory than it had, and means the same when it is looked at again; a name is part of its
 * host. */
#include "fuzz.h"

#include "http/parse.h"

static void path(const uint8_t *data, size_t size)
{
    char *in = fuzz_copy(data, size), *out = malloc(size ? size : 1);
    struct fm_str result;
    if (!out)
        abort();
    if (fm_http_normalise_path(fm_str(in, size), out, &result) && size && in[0] == '/') {
        HOLDS(result.n > 0 && result.n <= size && result.p[0] == '/', "%zu bytes", result.n);
        HOLDS(!memmem(result.p, result.n, "//", 2), "an empty segment");
        HOLDS(!memmem(result.p, result.n, "/./", 3), "a segment that is a dot");
        HOLDS(!memmem(result.p, result.n, "/../", 4), "a segment that leads up");
        HOLDS(!fm_str_ends(result, FM_STR("/.")) && !fm_str_ends(result, FM_STR("/..")), "an end");
        char *again = malloc(result.n);
        struct fm_str twice;
        if (!again)
            abort();
        if (!memchr(result.p, '%', result.n)) {
            HOLDS(fm_http_normalise_path(result, again, &twice), "refused at the second look");
            HOLDS(fm_str_eq(result, twice), "another path at the second look");
        }
        free(again);
    }
    free(in);
    free(out);
}

static void host(const uint8_t *data, size_t size)
{
    char *in = fuzz_copy(data, size);
    struct fm_str name = fm_http_host_name(fm_str(in, size));
    HOLDS(name.n <= size, "%zu bytes", name.n);
    HOLDS(name.n == 0 || (name.p >= in && name.p + name.n <= in + size), "outside");
    free(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    path(data, size);
    host(data, size);
    return 0;
}
