/* bench/load_options.h: what the load generator is asked to do.
 *
 * Strings point into argv. Times are nanoseconds (_ns). */
#ifndef FULMAR_BENCH_LOAD_OPTIONS_H
#define FULMAR_BENCH_LOAD_OPTIONS_H

#include "bench.h"

enum { APPS_MAX = 16 };

struct options {
    struct sockaddr_in target;
    const char *method, *path, *host, *log;
    unsigned connections, connections_max;
    uint64_t rate, backlog_max; /* rate 0: saturated */
    int64_t warm_up_ns, duration_ns, timeout_ns;
    size_t body, expect;
    bool ids, keys;
    uint32_t run; /* tells the ids of this run from those of others */
    uint16_t app[APPS_MAX];
    unsigned apps;
    size_t app_body;
};

/* Ends the program where it is asked for help, or for what it does not know. */
struct options options_parse(int argc, char **argv);

#endif
