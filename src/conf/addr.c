/* Addresses: see the header. IP literals are checked by inet_pton, which takes only the plain
 * forms (no octal, no missing parts). */
#include "conf/addr.h"

#include "base/assert.h"
#include "conf/report.h"

#include <arpa/inet.h>

static bool to_ip(struct fm_str s, int family, void *out)
{
    char z[INET6_ADDRSTRLEN];
    if (s.n == 0 || s.n >= sizeof z || memchr(s.p, 0, s.n))
        return false;
    memcpy(z, s.p, s.n);
    z[s.n] = '\0';
    return inet_pton(family, z, out) == 1;
}

static bool is_ip4(struct fm_str s)
{
    struct in_addr a;
    return to_ip(s, AF_INET, &a);
}

static bool is_ip6(struct fm_str s)
{
    struct in6_addr a;
    return to_ip(s, AF_INET6, &a);
}

static bool label_char(char c)
{
    c = fm_lower(c);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* RFC 1123 section 2.1 and underscores; a name whose last label is a number is meant as an IP. */
static bool check_name(struct fm_str s, struct fm_fault *f)
{
    if (s.n == 0)
        return fm_fault(f, "the host is missing");
    if (s.n > 253)
        return fm_fault(f, "`%s` is longer than 253 characters", FM_Q(s));
    struct fm_str rest = s, label = s;
    while (rest.p) {
        label = fm_str_cut(rest, '.', &rest);
        bool good = label.n > 0 && label.n <= 63 && label.p[0] != '-';
        for (size_t i = 0; i < label.n; i++)
            good &= label_char(label.p[i]);
        if (!good)
            return fm_fault(f, "`%s` is neither a host name nor an IP address", FM_Q(s));
    }
    uint64_t number;
    if (fm_str_u64(label, &number))
        return fm_fault(f, "`%s` is not a valid IP address", FM_Q(s));
    return true;
}

static bool set_host(struct fm_arena *arena, struct fm_str s, struct fm_str text,
                     struct fm_conf_addr *out, struct fm_fault *f)
{
    FM_ASSERT(arena && (s.p || s.n == 0));
    out->is_ip = is_ip4(s) || is_ip6(s);
    if (!out->is_ip && !check_name(s, f))
        return false;
    out->host = fm_arena_str(arena, s);
    out->text = fm_arena_str(arena, text);
    return (out->host.p && out->text.p) || fm_fault_memory(f);
}

bool fm_conf_addr_host(struct fm_arena *arena, struct fm_str s, struct fm_conf_addr *out,
                       struct fm_fault *f)
{
    if (s.n > 1 && s.p[0] == '[' && s.p[s.n - 1] == ']') {
        fm_fault(f, "an address without a port is written without brackets");
        return fm_fault_advice(f, "write \"%s\"", FM_Q(fm_str(s.p + 1, s.n - 2)));
    }
    const char *colon = s.n ? memchr(s.p, ':', s.n) : NULL;
    if (colon && !is_ip6(s)) {
        fm_fault(f, "`%s` has a port", FM_Q(s));
        return fm_fault_advice(f, "write the name or IP address alone");
    }
    return set_host(arena, s, s, out, f);
}

/* Cut `host:port` or `[v6]:port`; port.p is NULL where there is none. */
static bool split(struct fm_str s, struct fm_str *host, struct fm_str *port, struct fm_fault *f)
{
    FM_ASSERT(s.p || s.n == 0);
    *port = (struct fm_str){NULL, 0};
    if (s.n && s.p[0] == '[') {
        const char *close = memchr(s.p, ']', s.n);
        if (!close)
            return fm_fault(f, "the `[` in `%s` is not closed", FM_Q(s));
        *host = fm_str(s.p + 1, (size_t)(close - s.p) - 1);
        struct fm_str rest = fm_str(close + 1, (size_t)(s.p + s.n - close) - 1);
        if (!is_ip6(*host))
            return fm_fault(f, "`%s` is not an IPv6 address", FM_Q(*host));
        if (rest.n && rest.p[0] != ':')
            return fm_fault(f, "behind the `]` of `%s` must stand `:PORT`", FM_Q(s));
        if (rest.n)
            *port = fm_str(rest.p + 1, rest.n - 1);
        return true;
    }
    if (is_ip6(s)) {
        fm_fault(f, "in `%s` one cannot tell the address from the port", FM_Q(s));
        return fm_fault_advice(f, "put an IPv6 address in brackets and quote it: \"[%s]:PORT\"",
                               FM_Q(s));
    }
    *host = fm_str_cut(s, ':', port);
    return true;
}

static bool set_port(struct fm_str s, struct fm_str port, struct fm_conf_addr *out,
                     struct fm_fault *f)
{
    uint64_t v;
    if (!port.p || port.n == 0) {
        fm_fault(f, "`%s` has no port", FM_Q(s));
        return fm_fault_advice(f, "write `%s:PORT`", FM_Q(s));
    }
    if (!fm_str_u64(port, &v) || v < 1 || v > 65535)
        return fm_fault(f, "`%s` is not a port from 1 to 65535", FM_Q(port));
    FM_ASSERT(v > 0 && v <= UINT16_MAX);
    out->port = (uint16_t)v;
    return true;
}

bool fm_conf_addr_target(struct fm_arena *arena, struct fm_str s, struct fm_conf_addr *out,
                         struct fm_fault *f)
{
    struct fm_str host = {NULL, 0}, port = {NULL, 0};
    const char *scheme = s.n >= 3 ? memmem(s.p, s.n, "://", 3) : NULL;
    if (scheme) {
        fm_fault(f, "`%s` is a URL", FM_Q(s));
        return fm_fault_advice(f, "write `HOST:PORT` alone");
    }
    if (!split(s, &host, &port, f) || !set_port(s, port, out, f))
        return false;
    return set_host(arena, host, s, out, f);
}

bool fm_conf_addr_bind(struct fm_arena *arena, struct fm_str s, struct fm_conf_addr *out,
                       struct fm_fault *f)
{
    uint64_t port;
    struct fm_str number = s.n && s.p[0] == ':' ? fm_str(s.p + 1, s.n - 1) : s;
    if (fm_str_u64(number, &port)) {
        fm_fault(f, "`%s` has no address", FM_Q(s));
        return fm_fault_advice(f, "write \"0.0.0.0:%s\" for all interfaces", FM_Q(number));
    }
    if (!fm_conf_addr_target(arena, s, out, f))
        return false;
    if (out->is_ip)
        return true;
    fm_fault(f, "`%s` is a name, and a process binds an IP address", FM_Q(out->host));
    return fm_fault_advice(f, "write the IP address, or \"0.0.0.0:%u\" for all interfaces",
                           out->port);
}

bool fm_conf_addr_with_port(struct fm_arena *arena, const struct fm_conf_addr *host, uint16_t port,
                            struct fm_conf_addr *out)
{
    FM_ASSERT(host->host.p && host->host.p[host->host.n] == '\0' && port);
    bool v6 = memchr(host->host.p, ':', host->host.n) != NULL;
    *out = *host;
    out->port = port;
    char *text = fm_arena_printf(arena, v6 ? "[%s]:%u" : "%s:%u", host->host.p, port);
    out->text = fm_str_z(text);
    FM_ASSERT(!text || out->text.n > out->host.n);
    return text != NULL;
}

/* As 16 bytes, IPv4 as ::ffff:a.b.c.d. */
static bool to_bytes(struct fm_str s, uint8_t out[16], unsigned *width)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (to_ip(s, AF_INET, out + 12)) {
        memcpy(out, mapped, sizeof mapped);
        *width = 32;
        return true;
    }
    *width = 128;
    return to_ip(s, AF_INET6, out);
}

bool fm_conf_addr_cidr(struct fm_str s, struct fm_conf_cidr *out, struct fm_fault *f)
{
    struct fm_str bits, ip = fm_str_cut(s, '/', &bits);
    unsigned width;
    uint64_t n;
    if (!to_bytes(ip, out->addr, &width)) {
        fm_fault(f, "`%s` is not an IP address", FM_Q(ip));
        return fm_fault_advice(f, "write `10.0.9.0/24`, `\"fd00::/8\"` or a single IP address");
    }
    n = width;
    if (bits.p && (!fm_str_u64(bits, &n) || n > width))
        return fm_fault(f, "`%s` is not a length of prefix from 0 to %u", FM_Q(bits), width);
    FM_ASSERT(n <= width && (width == 32 || width == 128));
    out->bits = (uint8_t)(n + 128 - width);
    struct fm_conf_cidr net = *out;
    for (unsigned i = out->bits; i < 128; i++)
        net.addr[i / 8] = (uint8_t)(net.addr[i / 8] & ~(0x80u >> i % 8));
    if (memcmp(net.addr, out->addr, sizeof net.addr) == 0)
        return true;
    char text[INET6_ADDRSTRLEN];
    FM_ASSERT(n < width); /* with all bits nothing stands behind the prefix */
    const void *p = width == 32 ? net.addr + 12 : net.addr;
    inet_ntop(width == 32 ? AF_INET : AF_INET6, p, text, sizeof text);
    fm_fault(f, "`%s` has bits set behind its prefix", FM_Q(s));
    return fm_fault_advice(f, "write `%s/%u` for the network or `%s` for the one address", text,
                           (unsigned)n, FM_Q(ip));
}

bool fm_conf_addr_host_pattern(struct fm_str s, struct fm_fault *f)
{
    struct fm_str name = s;
    if (fm_str_starts(s, FM_STR("*.")))
        name = fm_str(s.p + 2, s.n - 2);
    if (is_ip4(s))
        return true;
    if (s.n && memchr(s.p, ':', s.n)) {
        fm_fault(f, "`%s` has a port or is an IPv6 address", FM_Q(s));
        return fm_fault_advice(f, "write the name alone: the port of a Host is not compared");
    }
    if (name.n && memchr(name.p, '*', name.n)) {
        fm_fault(f, "a `*` in the middle of `%s`", FM_Q(s));
        return fm_fault_advice(f, "a `*` stands only in front, as in \"*.bank.example\"; leave "
                                  "`hosts` away for any host");
    }
    return check_name(name, f);
}

/* What stands behind the scheme. */
static bool parts_of_url(struct fm_arena *arena, struct fm_str rest, uint16_t usual_port,
                         struct fm_conf_addr *target, struct fm_str *path, struct fm_fault *f)
{
    struct fm_str host = {NULL, 0}, port = {NULL, 0};
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?' && rest.p[n] != '#')
        n++;
    struct fm_str authority = fm_str(rest.p, n), target_path = fm_str(rest.p + n, rest.n - n);
    for (size_t i = 0; i < target_path.n; i++)
        if (target_path.p[i] <= ' ' || target_path.p[i] > '~' || target_path.p[i] == '#')
            return fm_fault(f, "`%s` has a character that must be written as %%XX",
                            FM_Q(target_path));
    if (target_path.n && target_path.p[0] == '?')
        return fm_fault(f, "the path is missing before the `?`");
    if (authority.n && memchr(authority.p, '@', authority.n))
        return fm_fault(f, "a user in a URL would be a secret in plain sight");
    if (!split(authority, &host, &port, f))
        return false;
    FM_ASSERT(usual_port > 0);
    target->port = usual_port;
    if (port.p && !set_port(authority, port, target, f))
        return false;
    if (!set_host(arena, host, authority, target, f))
        return false;
    FM_ASSERT(target->port && target->text.p);
    *path = fm_arena_str(arena, target_path.n ? target_path : FM_STR("/"));
    return path->p || fm_fault_memory(f);
}

bool fm_conf_addr_http_url(struct fm_arena *arena, struct fm_str s, struct fm_conf_addr *target,
                           struct fm_str *path, struct fm_str *host_header, struct fm_fault *f)
{
    if (fm_str_starts(s, FM_STR("https://"))) {
        fm_fault(f, "HTTPS is not in this version");
        return fm_fault_advice(f, "check it by `http`, or with `tls` its certificate alone");
    }
    if (!fm_str_starts(s, FM_STR("http://"))) {
        fm_fault(f, "`%s` is none", FM_Q(s));
        return fm_fault_advice(f, "write `http://HOST:PORT/PATH`");
    }
    if (!parts_of_url(arena, fm_str(s.p + 7, s.n - 7), 80, target, path, f))
        return false;
    *host_header = target->text;
    return true;
}

bool fm_conf_addr_web_url(struct fm_arena *arena, struct fm_str s, struct fm_conf_addr *target,
                          struct fm_str *path, bool *https, struct fm_fault *f)
{
    *https = fm_str_starts(s, FM_STR("https://"));
    if (!*https && !fm_str_starts(s, FM_STR("http://"))) {
        fm_fault(f, "`%s` is none", FM_Q(s));
        return fm_fault_advice(f, "write `https://HOST/PATH`");
    }
    size_t scheme = *https ? 8 : 7;
    return parts_of_url(arena, fm_str(s.p + scheme, s.n - scheme), *https ? 443 : 80, target, path,
                        f);
}

bool fm_conf_addr_is_loopback(const struct fm_conf_addr *a)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (to_ip(a->host, AF_INET, &v4))
        return ntohl(v4.s_addr) >> 24 == 127;
    if (to_ip(a->host, AF_INET6, &v6))
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return fm_str_eq_nocase(a->host, FM_STR("localhost"));
}

bool fm_conf_addr_is_any(const struct fm_conf_addr *a)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (to_ip(a->host, AF_INET, &v4))
        return v4.s_addr == 0;
    return to_ip(a->host, AF_INET6, &v6) && IN6_IS_ADDR_UNSPECIFIED(&v6);
}

bool fm_conf_addr_overlap(const struct fm_conf_addr *a, const struct fm_conf_addr *b)
{
    uint8_t x[16], y[16];
    unsigned wx, wy;
    if (a->port != b->port || a->port == 0)
        return false;
    if (!to_bytes(a->host, x, &wx) || !to_bytes(b->host, y, &wy))
        return fm_str_eq_nocase(a->host, b->host);
    return wx == wy &&
           (memcmp(x, y, sizeof x) == 0 || fm_conf_addr_is_any(a) || fm_conf_addr_is_any(b));
}
