/* io/ward_wire.h: what is said between the owner of a ward and its two processes: whole structures
 * over SOCK_SEQPACKET pairs of one machine and one executable. Private to src/io. */
#ifndef FM_IO_WARD_WIRE_H
#define FM_IO_WARD_WIRE_H

#include "io/ward.h"

#include <errno.h>
#include <sys/socket.h>

/* To them. Always all of it: the last one counts. */
struct fm_ward_order {
    struct fm_ward_times times;
    int term_signo;
    int signo; /* to the program, once for each order; 0 = none */
};

/* From them. */
struct fm_ward_report {
    enum { FM_WARD_STARTED, FM_WARD_ENDED, FM_WARD_OVER } kind;
    pid_t guard, program; /* STARTED */
    struct fm_ward_end end;
};

/* recv(2) of one of them. Where the other side has ended without having read all, its last words
 * stand behind an ECONNRESET. */
static inline ssize_t fm_ward_recv(int fd, void *to, size_t n, int flags)
{
    ssize_t got = recv(fd, to, n, flags);
    return got < 0 && errno == ECONNRESET ? recv(fd, to, n, flags) : got;
}

#endif
