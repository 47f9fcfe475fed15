/* pg/lost.h: what only one data directory has, because its history left that of the primary:
 * counted in its log, and that part of the log copied to a folder that outlives a rewind (SAFETY.md
 * 27, 28). Used by pg/node.h (RESCUE), in a child that is the user of the group.
 *
 * Nothing changes what is counted and copied: a server that looks for rows (pg/isolated.h) is
 * started when that is durable, and only where there is a commit. A file is shared with the copy
 * where the file system can do that (reflink), else copied, after the space for all of it was seen
 * to be free. Everything is durable when the child ends well. */
#ifndef FM_PG_LOST_H
#define FM_PG_LOST_H

#include "pg/isolated.h"
#include "pg/wal.h"

enum { FM_PG_LOST_WHY_ROOM = 160 };

struct fm_pg_lost {
    bool counted;                  /* else `why` says why not, and what follows is not known */
    struct fm_lsn end;             /* of the log */
    uint64_t transactions;         /* commits that end behind the fork */
    uint64_t prepared;             /* of them COMMIT PREPARED */
    int64_t first_us, last_us;     /* their times, as struct fm_wal_count has them */
    char why[FM_PG_LOST_WHY_ROOM]; /* tame */
};

struct fm_pg_lost_job;

/* `pg_wal` and `to` are folders; `to` is made, its parent is there. conf->after is the fork;
 * `reaches` as for fm_wal_count; `look` is copied, its folder is `to` (NULL: rows are not looked
 * for). From malloc, for free(3); NULL: no memory, or a path is too long. */
struct fm_pg_lost_job *fm_pg_lost_job_new(const char *pg_wal, const char *to,
                                          const struct fm_wal_config *conf, struct fm_lsn reaches,
                                          const struct fm_pg_isolated_job *look);

/* The body of a child (io/process.h): prints a line for fm_pg_lost_parse and, where rows were
 * looked for, one for fm_pg_rows_parse. 0, or 1 where it could not be copied: then it has printed
 * why. */
int fm_pg_lost_run(void *job);

/* The last line of what it printed. */
bool fm_pg_lost_parse(struct fm_str said, struct fm_pg_lost *out) FM_WARN_UNUSED;

#endif
