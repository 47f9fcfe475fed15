/* Ending everything below this process: see the header. */
#include "io/reap.h"

#include "base/assert.h"
#include "base/time.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* proc(5): their numbers, a blank behind each. They are ours to wait for, so none of these numbers
 * is another's before fm_reap_all has waited. */
static int open_children(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    return open(path, O_RDONLY | O_CLOEXEC);
}

enum fm_err fm_reap_begin(struct fm_error *e)
{
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot become a subreaper");
    int fd = open_children();
    if (fd < 0)
        return fm_error_errno(e, FM_ERR_IO, errno,
                              "cannot see one's own children in /proc (CONFIG_PROC_CHILDREN)");
    close(fd);
    return FM_ERR_OK;
}

static void kill_children(void)
{
    char text[4096];
    int64_t pid = 0;
    int fd = open_children();
    ssize_t n = 0;
    while (fd >= 0 && (n = read(fd, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < n; i++) {
            if (text[i] >= '0' && text[i] <= '9') { /* it may go on in the next piece */
                pid = pid * 10 + (text[i] - '0');
                FM_ASSERT(pid <= INT32_MAX);
                continue;
            }
            if (pid > 1)
                (void)kill((pid_t)pid, SIGKILL);
            pid = 0;
        }
    if (fd >= 0)
        close(fd);
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
