/* The record and the store of an origin; see origin_record.h. A record that is full ends the
 * program: lines that are missing would read as requests that never came. */
#include "origin_record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RECORD_BYTES = 1 << 28, LINE_MAX_BYTES = 256, STORE_SLOTS = 1 << 20 };

static void *map_file(const char *path, size_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
        bench_die("%s: %s", path, strerror(errno));
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        bench_die("%s: %s", path, strerror(errno));
    close(fd);
    return p;
}

void record_open(struct record *r, const char *path)
{
    *r = (struct record){.map = map_file(path, RECORD_BYTES), .size = RECORD_BYTES};
}

static const char *outcome_word(enum executed e)
{
    switch (e) {
    case EXECUTED_SAFE:
        return "executed";
    case EXECUTED_APPLIED:
        return "applied";
    case EXECUTED_REPLAYED:
        return "replayed";
    case EXECUTED_REFUSED:
        return "refused";
    case EXECUTED_EXPIRED:
        return "expired";
    case EXECUTED_DROPPED:
        return "dropped";
    }
    return "?";
}

/* Text that may come from anywhere must not break the line. */
static int shown(struct bench_span s, size_t max)
{
    size_t n = s.n < max ? s.n : max;
    for (size_t i = 0; i < n; i++) {
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return (int)i;
    }
    return (int)n;
}

void record_add(struct record *r, const struct record_line *l)
{
    if (r->map == NULL)
        return;
    if (r->size - r->at < LINE_MAX_BYTES)
        bench_die("the record is full");
    int id = shown(l->id, 64), method = shown(l->method, 16);
    int n =
        snprintf(r->map + r->at, LINE_MAX_BYTES, "%lld %lld %lld %c %s %.*s %.*s\n",
                 (long long)l->boot_ns, (long long)l->wall_ns, (long long)l->age_ns,
                 l->health ? 'h' : 't', outcome_word(l->outcome), id > 0 ? id : 1,
                 id > 0 ? l->id.p : "-", method > 0 ? method : 1, method > 0 ? l->method.p : "-");
    r->at += (size_t)n;
}

void store_open(struct store *s, const char *path)
{
    s->slot = map_file(path, STORE_SLOTS * sizeof *s->slot);
}

static uint64_t hash_key(struct bench_span key)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < key.n; i++)
        h = (h ^ (unsigned char)key.p[i]) * UINT64_C(0x100000001b3);
    h ^= h >> 32;
    h *= UINT64_C(0xbf58476d1ce4e5b9);
    h ^= h >> 29;
    return h != 0 ? h : 1; /* 0 is an empty slot */
}

bool store_apply(struct store *s, struct bench_span key)
{
    uint64_t h = hash_key(key);
    for (uint64_t i = h; i < h + STORE_SLOTS; i++) {
        uint64_t seen = 0;
        if (atomic_compare_exchange_strong(&s->slot[i % STORE_SLOTS], &seen, h))
            return true;
        if (seen == h)
            return false;
    }
    bench_die("the store is full");
}
