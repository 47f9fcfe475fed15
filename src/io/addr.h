/* io/addr.h: IP socket addresses (IPv4, IPv6) and unix socket paths as values. Pure; any thread. */
#ifndef FM_IO_ADDR_H
#define FM_IO_ADDR_H

#include "base/err.h"
#include "base/str.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

struct fm_addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
    socklen_t len;
};

enum { FM_ADDR_TEXT_MAX = 128 };

/* An IP literal without brackets and a port; no names (those are for io/resolve.h). */
enum fm_err fm_addr_ip(struct fm_addr *a, struct fm_str ip, uint16_t port) FM_WARN_UNUSED;
/* "127.0.0.1:80", "[::1]:80". */
enum fm_err fm_addr_parse(struct fm_addr *a, struct fm_str text) FM_WARN_UNUSED;
enum fm_err fm_addr_unix(struct fm_addr *a, struct fm_str path) FM_WARN_UNUSED;

/* "127.0.0.1:80", "[::1]:80", "unix:/path"; terminated; returns the length. */
size_t fm_addr_format(const struct fm_addr *a, char out[FM_ADDR_TEXT_MAX]);
/* The address alone, without brackets and port; an IPv4-mapped IPv6 address as IPv4. */
size_t fm_addr_format_ip(const struct fm_addr *a, char out[FM_ADDR_TEXT_MAX]);

bool fm_addr_eq(const struct fm_addr *a, const struct fm_addr *b);
bool fm_addr_is_loopback(const struct fm_addr *a);
uint16_t fm_addr_port(const struct fm_addr *a);

/* As 16 bytes in network order, IPv4 mapped (RFC 4291 section 2.5.5.2); unix gives ::. */
void fm_addr_bytes(const struct fm_addr *a, uint8_t out[16]);

#endif
