/* Randomness of the kernel. The seeded generator is inline in the header. */
#include "base/rand.h"

#include "base/assert.h"

#include <errno.h>
#include <sys/random.h>

void fm_rand_bytes(void *out, size_t n)
{
    FM_ASSERT(out || n == 0);
    unsigned char *p = out;
    while (n) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        FM_ASSERT(got > 0 && (size_t)got <= n);
        p += got;
        n -= (size_t)got;
    }
}
