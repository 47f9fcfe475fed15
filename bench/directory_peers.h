/* What the directory is compared with: the two things that somebody would write instead. */
#ifndef FM_BENCH_DIRECTORY_PEERS_H
#define FM_BENCH_DIRECTORY_PEERS_H

#include "base/str.h"

#define ABSENT UINT32_MAX

struct peer {
    const char *name;
    void *(*open)(uint64_t keys);
    void (*add)(void *peer, struct fm_str key, uint32_t cell);
    void (*built)(void *peer); /* all keys are in */
    uint32_t (*find)(void *peer, struct fm_str key);
    void (*close)(void *peer);
};

/* A hash table with a chain of malloc()ed nodes per bucket, FNV-1a, one bucket per key. */
extern const struct peer peer_chained;
/* SQLite in memory: a table without rowid, its key the primary key, one prepared statement. */
extern const struct peer peer_sqlite;

#endif
