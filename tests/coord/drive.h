/* tests/coord/drive.h: a client of coordination that waits: a loop of its own, turned until an
 * operation is complete. For the conformance suite and its tools; a broken promise ends the case.
 */
#ifndef FM_TESTS_COORD_DRIVE_H
#define FM_TESTS_COORD_DRIVE_H

#include "coord/coord.h"

enum { DRIVE_DEADLINE_MS = 20000, DRIVE_ENDPOINTS_MAX = 8 };

/* Where the store is, from the command line. */
struct drive_target {
    struct fm_coord_endpoint endpoint[DRIVE_ENDPOINTS_MAX];
    size_t n;
    const char *service, *login, *password_file;
    struct fm_tls_files tls; /* ca NULL: plain */
};

struct drive {
    struct fm_pool pool;
    struct fm_loop loop;
    struct fm_coord *coord;
    bool closed;
};

/* Call it; false where a promise was broken in it, which drive_why then says. */
bool drive_try(void (*what)(void *arg), void *arg);
extern char drive_why[512];

_Noreturn void drive_fail(const char *file, int line, const char *fmt, ...) FM_PRINTF(3, 4);
#define CHECK(condition)                                                                           \
    ((condition) ? (void)0 : drive_fail(__FILE__, __LINE__, "not %s", #condition))
#define CHECK_EQ(is, expected)                                                                     \
    do {                                                                                           \
        long long is_ = (long long)(is), expected_ = (long long)(expected);                        \
        if (is_ != expected_)                                                                      \
            drive_fail(__FILE__, __LINE__, "%s is %lld instead of %lld", #is, is_, expected_);     \
    } while (0)

/* `config` may be NULL: everything as usual. */
void drive_open(struct drive *d, const struct drive_target *t,
                const struct fm_coord_config *config);
void drive_close(struct drive *d);
struct fm_mono drive_in_ms(struct drive *d, int64_t ms);
/* Turn the loop until `*flag`, or fail after DRIVE_DEADLINE_MS. */
void drive_until(struct drive *d, const bool *flag);
void drive_turn_ms(struct drive *d, int64_t ms);

/* One operation, waited for. What it found is copied and lives until the next call. */
enum { DRIVE_FOUND_MAX = 2048, DRIVE_BYTES = 2 << 20 };
struct drive_result {
    enum fm_coord_outcome outcome;
    enum fm_coord_why why;
    uint64_t revision;
    char error[256];
    size_t n;
    struct fm_coord_kv kv[DRIVE_FOUND_MAX];
    char bytes[DRIVE_BYTES];
    size_t used;
};
extern struct drive_result result;

void drive_get(struct drive *d, const char *key, bool prefix, bool stale);
void drive_commit(struct drive *d, const struct fm_coord_txn *t, int64_t deadline_ms);
/* Put one key unconditionally; its revision. */
uint64_t drive_put(struct drive *d, const char *key, const char *value);
/* The same if it has this revision; true when it was done. */
bool drive_swap(struct drive *d, const char *key, uint64_t revision, const char *value);
uint64_t drive_erase(struct drive *d, const char *key);

/* A POST beside the client, such as a compaction; the status. */
unsigned drive_post(struct drive *d, const struct drive_target *t, const char *path,
                    const char *body);

#endif
