/* Request targets: paths for matching (RFC 3986 section 6.2.2) and host names. */
#include "http/parse.h"

#include "base/assert.h"
#include "http/chars.h"

static bool needs_work(struct fm_str path)
{
    if (memchr(path.p, '%', path.n))
        return true;
    for (size_t i = 1; i < path.n; i++)
        if (path.p[i - 1] == '/' && (path.p[i] == '/' || path.p[i] == '.'))
            return true;
    return false;
}

static unsigned hex_value(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(fm_lower(c) - 'a') + 10;
}

static bool decode(struct fm_str path, char *out, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < path.n; i++) {
        char c = path.p[i];
        if (c == '%') {
            if (path.n - i < 3 || !fm_http_is(path.p[i + 1], FM_CH_HEX) ||
                !fm_http_is(path.p[i + 2], FM_CH_HEX))
                return false;
            c = (char)(hex_value(path.p[i + 1]) << 4 | hex_value(path.p[i + 2]));
            if (c == 0)
                return false;
            i += 2;
        }
        out[(*n)++] = c;
    }
    FM_ASSERT(*n <= path.n);
    return true;
}

/* Resolve empty, "." and ".." segments in place. `n` is that of a path which begins with a slash.
 */
static bool resolve(char *p, size_t n, size_t *result)
{
    size_t out = 0, i = 0;
    FM_ASSERT(n > 0 && p[0] == '/');
    while (i < n) {
        size_t start = ++i; /* behind the slash */
        while (i < n && p[i] != '/')
            i++;
        size_t len = i - start;
        bool last = i == n;
        bool dot = len == 1 && p[start] == '.';
        bool dots = len == 2 && p[start] == '.' && p[start + 1] == '.';
        if (dots) {
            if (out == 0)
                return false;
            while (p[--out] != '/') {
            }
        }
        if ((dot || dots || len == 0) && !last)
            continue;
        FM_ASSERT(out < start && start <= i && i <= n);
        p[out++] = '/';
        if (dot || dots)
            len = 0; /* "/a/." is "/a/" */
        memmove(p + out, p + start, len);
        out += len;
    }
    FM_ASSERT(out > 0 && out <= n);
    *result = out;
    return true;
}

bool fm_http_normalise_path(struct fm_str path, char *out, struct fm_str *result)
{
    if (path.n == 0 || path.p[0] != '/' || !needs_work(path)) {
        *result = path;
        return true;
    }
    size_t n;
    if (!decode(path, out, &n) || !resolve(out, n, &n))
        return false;
    FM_ASSERT(n <= path.n && out[0] == '/');
    *result = fm_str(out, n);
    return true;
}

struct fm_str fm_http_host_name(struct fm_str host)
{
    if (host.n && host.p[0] == '[') {
        const char *end = memchr(host.p, ']', host.n);
        return end ? fm_str(host.p + 1, (size_t)(end - host.p) - 1) : fm_str(host.p, 0);
    }
    const char *colon = host.n ? memchr(host.p, ':', host.n) : NULL;
    size_t n = colon ? (size_t)(colon - host.p) : host.n;
    if (n > 1 && host.p[n - 1] == '.')
        n--;
    return fm_str(host.p, n);
}
