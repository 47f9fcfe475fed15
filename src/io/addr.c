/* Socket addresses: see the header. */
#include "io/addr.h"

#include "base/assert.h"

#include <arpa/inet.h>
#include <stdio.h>

_Static_assert(sizeof "unix:" + sizeof((struct sockaddr_un *)0)->sun_path <= FM_ADDR_TEXT_MAX,
               "every path fits");
_Static_assert(INET6_ADDRSTRLEN + sizeof "[]:65535" <= FM_ADDR_TEXT_MAX, "and every IP address");

enum fm_err fm_addr_ip(struct fm_addr *a, struct fm_str ip, uint16_t port)
{
    char z[INET6_ADDRSTRLEN];
    *a = (struct fm_addr){.len = 0};
    if (ip.n == 0 || ip.n >= sizeof z)
        return FM_ERR_INVALID;
    memcpy(z, ip.p, ip.n);
    z[ip.n] = 0;
    if (strlen(z) != ip.n)
        return FM_ERR_INVALID;
    if (inet_pton(AF_INET, z, &a->in.sin_addr) == 1) {
        a->in.sin_family = AF_INET;
        a->in.sin_port = htons(port);
        a->len = sizeof a->in;
        return FM_ERR_OK;
    }
    if (inet_pton(AF_INET6, z, &a->in6.sin6_addr) == 1) {
        a->in6.sin6_family = AF_INET6;
        a->in6.sin6_port = htons(port);
        a->len = sizeof a->in6;
        return FM_ERR_OK;
    }
    return FM_ERR_INVALID;
}

enum fm_err fm_addr_parse(struct fm_addr *a, struct fm_str text)
{
    const char *colon = text.n ? memrchr(text.p, ':', text.n) : NULL;
    if (!colon)
        return FM_ERR_INVALID;
    struct fm_str ip = fm_str(text.p, (size_t)(colon - text.p));
    uint64_t port;
    if (!fm_str_u64(fm_str(colon + 1, text.n - ip.n - 1), &port) || port > 65535)
        return FM_ERR_INVALID;
    if (ip.n >= 2 && ip.p[0] == '[' && ip.p[ip.n - 1] == ']')
        ip = fm_str(ip.p + 1, ip.n - 2);
    else if (memchr(ip.p, ':', ip.n))
        return FM_ERR_INVALID; /* IPv6 without brackets */
    return fm_addr_ip(a, ip, (uint16_t)port);
}

enum fm_err fm_addr_unix(struct fm_addr *a, struct fm_str path)
{
    *a = (struct fm_addr){.len = 0};
    if (path.n == 0 || path.n >= sizeof a->un.sun_path)
        return FM_ERR_LIMIT;
    a->un.sun_family = AF_UNIX;
    memcpy(a->un.sun_path, path.p, path.n);
    FM_ASSERT(a->un.sun_path[path.n] == 0);
    a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);
    return FM_ERR_OK;
}

static bool mapped_v4(const struct fm_addr *a)
{
    return a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr);
}

size_t fm_addr_format_ip(const struct fm_addr *a, char out[FM_ADDR_TEXT_MAX])
{
    const char *done = NULL;
    if (a->sa.sa_family == AF_INET)
        done = inet_ntop(AF_INET, &a->in.sin_addr, out, FM_ADDR_TEXT_MAX);
    else if (mapped_v4(a))
        done = inet_ntop(AF_INET, &a->in6.sin6_addr.s6_addr[12], out, FM_ADDR_TEXT_MAX);
    else if (a->sa.sa_family == AF_INET6)
        done = inet_ntop(AF_INET6, &a->in6.sin6_addr, out, FM_ADDR_TEXT_MAX);
    else
        snprintf(out, FM_ADDR_TEXT_MAX, "unix");
    FM_ASSERT(done || (a->sa.sa_family != AF_INET && a->sa.sa_family != AF_INET6));
    return strlen(out);
}

size_t fm_addr_format(const struct fm_addr *a, char out[FM_ADDR_TEXT_MAX])
{
    if (a->sa.sa_family == AF_UNIX)
        return (size_t)snprintf(out, FM_ADDR_TEXT_MAX, "unix:%s", a->un.sun_path);
    char ip[FM_ADDR_TEXT_MAX];
    fm_addr_format_ip(a, ip);
    unsigned port = fm_addr_port(a);
    int n = strchr(ip, ':') ? snprintf(out, FM_ADDR_TEXT_MAX, "[%s]:%u", ip, port)
                            : snprintf(out, FM_ADDR_TEXT_MAX, "%s:%u", ip, port);
    FM_ASSERT(n > 0 && n < FM_ADDR_TEXT_MAX);
    return (size_t)n;
}

bool fm_addr_eq(const struct fm_addr *a, const struct fm_addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    if (a->sa.sa_family == AF_UNIX)
        return strcmp(a->un.sun_path, b->un.sun_path) == 0;
    uint8_t x[16], y[16];
    fm_addr_bytes(a, x);
    fm_addr_bytes(b, y);
    return memcmp(x, y, sizeof x) == 0 && fm_addr_port(a) == fm_addr_port(b);
}

bool fm_addr_is_loopback(const struct fm_addr *a)
{
    uint8_t x[16];
    if (a->sa.sa_family == AF_UNIX)
        return true;
    fm_addr_bytes(a, x);
    static const uint8_t v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (memcmp(x, v4_prefix, sizeof v4_prefix) == 0)
        return x[12] == 127;
    return IN6_IS_ADDR_LOOPBACK((const struct in6_addr *)(const void *)x);
}

uint16_t fm_addr_port(const struct fm_addr *a)
{
    if (a->sa.sa_family == AF_INET)
        return ntohs(a->in.sin_port);
    if (a->sa.sa_family == AF_INET6)
        return ntohs(a->in6.sin6_port);
    return 0;
}

void fm_addr_bytes(const struct fm_addr *a, uint8_t out[16])
{
    memset(out, 0, 16);
    if (a->sa.sa_family == AF_INET) {
        out[10] = out[11] = 0xff;
        memcpy(out + 12, &a->in.sin_addr, 4);
    } else if (a->sa.sa_family == AF_INET6) {
        memcpy(out, &a->in6.sin6_addr, 16);
    }
}
