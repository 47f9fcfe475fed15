/* The fixture of every unit test: counts the open file descriptors before and after. */
#include "test.h"

#include <dirent.h>
#include <stdio.h>
#include <time.h>

enum { LEFT_BEHIND_MS = 2000 };

static int count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return -1;
    int n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* A thread that looks up a name may be at it when a test ends, in a library that keeps something
 * for it until it has ended. LeakSanitizer asks for this by its name. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:__res_context_send\nleak:getaddrinfo\n";
}

static int before;

int fm_test_fds_before(void **state)
{
    (void)state;
    before = count_fds();
    return 0;
}

int fm_test_fds_after(void **state)
{
    (void)state;
    int after = count_fds();
    /* a thread that was left behind on purpose, such as one that looks up a name or cancels a
       query, may hold some; and one of an earlier test may have held some when it was counted
       before */
    for (int i = 0; after > before && i < LEFT_BEHIND_MS; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
        after = count_fds();
    }
    if (after > before) {
        print_error("leaked file descriptors: %d before, %d after\n", before, after);
        return -1;
    }
    return 0;
}
