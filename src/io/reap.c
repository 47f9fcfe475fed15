/* Ending everything below this process: see the header. */
#include "io/reap.h"

#include "base/time.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN_MAX = 1024 };

static void kill_children(void)
{
    char path[64], text[CHILDREN_MAX * 8];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    for (char *p = text; *p;) {
        char *end;
        long pid = strtol(p, &end, 10);
        if (end == p)
            break;
        if (pid > 1)
            (void)kill((pid_t)pid, SIGKILL);
        p = *end ? end + 1 : end;
    }
}

bool fm_reap_all(int64_t within_ms)
{
    struct fm_mono until = fm_mono_add_ms(fm_mono_now(), within_ms);
    for (;;) {
        kill_children();
        for (;;) {
            pid_t pid = waitpid(-1, NULL, WNOHANG);
            if (pid < 0 && errno == ECHILD)
                return true;
            if (pid == 0 || (pid < 0 && errno != EINTR))
                break;
        }
        if (!fm_mono_before(fm_mono_now(), until))
            return false;
        (void)poll(NULL, 0, 1);
    }
}
