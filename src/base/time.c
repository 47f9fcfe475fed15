/* The clocks. The only place that reads one besides the event loop, which calls this. */
#include "base/time.h"

#include "base/assert.h"

#include <stdio.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    int rc = clock_gettime(id, &ts);
    FM_ASSERT(rc == 0 && ts.tv_nsec >= 0 && ts.tv_nsec < FM_NS_PER_S);
    return (int64_t)ts.tv_sec * FM_NS_PER_S + ts.tv_nsec;
}

struct fm_mono fm_mono_now(void)
{
    return (struct fm_mono){read_clock(CLOCK_BOOTTIME)};
}

int64_t fm_wall_now_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

void fm_wall_format(char out[FM_RFC3339_LEN], int64_t wall_ns)
{
    time_t s = (time_t)(wall_ns / FM_NS_PER_S);
    struct tm tm;
    gmtime_r(&s, &tm);
    size_t n = strftime(out, FM_RFC3339_LEN, "%Y-%m-%dT%H:%M:%S", &tm);
    FM_ASSERT(n > 0 && n < FM_RFC3339_LEN);
    unsigned us = (unsigned)(wall_ns % FM_NS_PER_S / FM_NS_PER_US) % 1000000u;
    snprintf(out + n, FM_RFC3339_LEN - n, ".%06uZ", us);
}
