/* Asking by hand, as one would with a terminal: one request, one answer, waited for. */
#include "demo/stage.h"

#include "base/assert.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/time.h>
#include <unistd.h>

enum { PATIENCE_S = 5 };

static size_t exchange(int fd, const struct fm_addr *to, struct fm_str text, char *answer,
                       size_t room)
{
    struct timeval patience = {.tv_sec = PATIENCE_S};
    size_t n = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0 ||
        connect(fd, &to->sa, to->len) < 0 ||
        send(fd, text.p, text.n, MSG_NOSIGNAL) != (ssize_t)text.n)
        return 0;
    while (n < room) {
        ssize_t got = recv(fd, answer + n, room - n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    return n;
}

unsigned fm_ask(uint16_t port, struct fm_str text, char *answer, size_t cap)
{
    struct fm_addr to = fm_world_loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    FM_ASSERT(cap > 1 && text.n > 0);
    answer[0] = 0;
    if (fd < 0)
        return 0;
    size_t n = exchange(fd, &to, text, answer, cap - 1);
    close(fd);
    answer[n] = 0;
    uint64_t status;
    struct fm_str rest;
    (void)fm_str_cut(fm_str(answer, n), ' ', &rest); /* HTTP/1.1 */
    struct fm_str number = fm_str_cut(rest, ' ', &rest);
    return number.n == 3 && fm_str_u64(number, &status) ? (unsigned)status : 0;
}

void fm_ask_header(const char *answer, const char *name, char *out, size_t cap)
{
    const char *end = strstr(answer, "\r\n\r\n");
    FM_ASSERT(cap > 0);
    out[0] = 0;
    for (const char *line = answer; end && line < end; line = strstr(line, "\r\n") + 2) {
        if (strncasecmp(line, name, strlen(name)) != 0)
            continue;
        line += strlen(name);
        size_t n = fm_min_size(strcspn(line, "\r"), cap - 1);
        memcpy(out, line, n);
        out[n] = 0;
        return;
    }
}
