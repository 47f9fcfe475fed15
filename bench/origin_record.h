/* bench/origin_record.h: what an origin remembers beyond its own death.
 *
 * The record is a file of lines, written through a shared mapping, so that SIGKILL loses none. The
 * store stands for a database that several origins share: it applies an idempotency key once. It is
 * a table of hashes changed by one compare-and-swap, so an origin frozen in it holds nobody up.
 *
 * A line: executed_boot_ns received_wall_ns age_ns kind outcome id method
 * (age: from the kernel's receive time to when it was read, -1 unknown; kind: t traffic, h health).
 */
#ifndef FULMAR_BENCH_ORIGIN_RECORD_H
#define FULMAR_BENCH_ORIGIN_RECORD_H

#include "bench.h"

enum executed {
    EXECUTED_SAFE,     /* a request without effect */
    EXECUTED_APPLIED,  /* took effect */
    EXECUTED_REPLAYED, /* its key was in the store: the first effect is answered again */
    EXECUTED_REFUSED,  /* 503, not executed */
    EXECUTED_EXPIRED,  /* Fulmar-Deadline had passed: not executed */
    EXECUTED_DROPPED,  /* waited in a socket through a stall: not executed */
};

struct record {
    char *map;
    size_t at, size;
};

struct store {
    _Atomic uint64_t *slot;
};

struct record_line {
    int64_t boot_ns, wall_ns, age_ns;
    bool health;
    enum executed outcome;
    struct bench_span id, method;
};

void record_open(struct record *r, const char *path);
void record_add(struct record *r, const struct record_line *line);

void store_open(struct store *s, const char *path);
/* True where `key` was not there: the effect is applied now. */
bool store_apply(struct store *s, struct bench_span key);

#endif
