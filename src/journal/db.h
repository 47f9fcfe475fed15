/* journal/db.h: SQLite for the store: open, bind, step, and one failure that stays.
 *
 * After the first failure every call does nothing and says so, so that a sequence of statements is
 * checked once, at its end; `why` is the evidence of that first failure. Private to src/journal.
 * One thread at a time. */
#ifndef FM_JOURNAL_DB_H
#define FM_JOURNAL_DB_H

#include "base/err.h"
#include "base/hash.h"
#include "journal/entry.h"

#include <sqlite3.h>

enum { FM_DB_VERSION = 2 }; /* of the tables */

/* A command with its outcome: the columns that fm_db_entry reads. */
#define FM_SQL_ENTRY                                                                               \
    "c.seq,c.context,c.key,c.hash,c.cell,c.epoch,c.tries,c.at_ms,"                                 \
    "o.state,o.status,o.at_ms,o.kept,o.head,o.body"

#define FM_STATEMENTS(X)                                                                           \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                    \
    X(COMMIT, "COMMIT")                                                                            \
    X(META_GET, "SELECT value FROM meta WHERE name=?1")                                            \
    X(META_SET, "INSERT OR REPLACE INTO meta VALUES(?1,?2)")                                       \
    X(LAST, "SELECT max(ifnull((SELECT max(seq) FROM command),0),"                                 \
            "ifnull((SELECT max(version) FROM outcome),0),"                                        \
            "ifnull((SELECT max(id) FROM queue),0))")                                              \
    X(NEWEST_AGE, "SELECT age_ms FROM command ORDER BY seq DESC LIMIT 1")                          \
    X(SIZE, "SELECT (SELECT page_count FROM pragma_page_count)-"                                   \
            "(SELECT freelist_count FROM pragma_freelist_count)")                                  \
    X(FIRST, "SELECT ifnull(min(seq),0) FROM command")                                             \
    X(KEY_FIND, "SELECT number FROM key_at WHERE h=?1 AND number<=?2")                             \
    X(KEY_ADD, "INSERT OR IGNORE INTO key_at VALUES(?1,?2)")                                       \
    X(KEY_NEWER, "SELECT seq,context,key FROM command WHERE seq>?1 UNION ALL"                      \
                 " SELECT id,context,key FROM queue WHERE id>?1 ORDER BY 1")                       \
    X(KEY_SWEEP, "DELETE FROM key_at WHERE h BETWEEN ?1 AND ?2 AND number<=?3"                     \
                 " AND NOT EXISTS(SELECT 1 FROM command WHERE seq=number)"                         \
                 " AND NOT EXISTS(SELECT 1 FROM queue WHERE id=number)")                           \
    X(KEY_DROP, "DELETE FROM key_at WHERE h=?1 AND number=?2")                                     \
    X(COMMAND, "SELECT context,key,hash,cell,epoch FROM command WHERE seq=?1")                     \
    X(COMMAND_ADD, "INSERT INTO command VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)")                       \
    X(COMMAND_AGAIN, "UPDATE command SET tries=tries+1, epoch=?2 WHERE seq=?1")                    \
    X(COMMAND_OLD, "SELECT seq,context,key,age_ms FROM command WHERE seq>?1 ORDER BY seq LIMIT 1") \
    X(COMMAND_DROP, "DELETE FROM command WHERE seq=?1")                                            \
    X(PENDING_ADD, "INSERT INTO pending VALUES(?1)")                                               \
    X(PENDING_DROP, "DELETE FROM pending WHERE seq=?1")                                            \
    X(PENDING_FIRST, "SELECT seq FROM pending ORDER BY seq LIMIT 1")                               \
    X(OUTCOME, "SELECT state,status,kept,head,body FROM outcome WHERE seq=?1")                     \
    X(OUTCOME_ADD, "INSERT INTO outcome VALUES(?1,?2,?3,?4,?5,?6,?7,?8)")                          \
    X(OUTCOME_DROP, "DELETE FROM outcome WHERE seq=?1")                                            \
    X(SHIP_FROM, "SELECT min(ifnull((SELECT min(seq) FROM command WHERE seq>?1),?2+1),"            \
                 "ifnull((SELECT min(version) FROM outcome WHERE version>?1),?2+1))")              \
    X(SHIP_NEW, "SELECT " FM_SQL_ENTRY " FROM command c LEFT JOIN outcome o ON o.seq=c.seq"        \
                " WHERE c.seq>?1 AND c.seq<=?2 ORDER BY c.seq")                                    \
    X(SHIP_SETTLED, "SELECT " FM_SQL_ENTRY " FROM outcome o JOIN command c ON c.seq=o.seq"         \
                    " WHERE o.version>?1 AND o.version<=?2 AND o.seq<=?1 ORDER BY o.version")      \
    X(QUEUE, "SELECT context,key,hash,state,status FROM queue WHERE id=?1")                        \
    X(QUEUE_ADD, "INSERT INTO queue VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,0,?11)")                 \
    X(QUEUE_SIZE, "SELECT count(*),ifnull(sum(length(request)),0) FROM queue WHERE state<3")       \
    X(QUEUE_RESET, "UPDATE queue SET state=1 WHERE state=2")                                       \
    X(QUEUE_LANE, "SELECT id FROM queue INDEXED BY queue_lane"                                     \
                  " WHERE state<3 AND context=?1 AND lane=?2 ORDER BY id LIMIT 1")                 \
    X(QUEUE_DUE, "SELECT context,cell,at_ms FROM queue INDEXED BY queue_cell"                      \
                 " WHERE state=1 AND (context,cell)>(?1,?2) ORDER BY context,cell,id LIMIT 1")     \
    X(QUEUE_TAKE, "SELECT id,context,lane,key,hash,cell,first_epoch,request,status,at_ms"          \
                  " FROM queue INDEXED BY queue_cell WHERE state=1 AND context=?1 AND cell=?2"     \
                  " AND id>?3 ORDER BY id LIMIT ?4")                                               \
    X(QUEUE_TAKEN, "UPDATE queue SET state=2, first_epoch=iif(first_epoch=0,?2,first_epoch)"       \
                   " WHERE id=?1")                                                                 \
    X(QUEUE_BACK, "UPDATE queue SET state=1, first_epoch=?2, status=status+?3 WHERE id=?1")        \
    X(QUEUE_ONE, "SELECT context,lane,length(request),state FROM queue WHERE id=?1")               \
    X(QUEUE_READY, "UPDATE queue SET state=1 WHERE id=?1")                                         \
    X(QUEUE_DELIVERED, "UPDATE queue SET state=3, status=?2, age_ms=?3, request=x'' WHERE id=?1")  \
    X(QUEUE_OLDEST, "SELECT min(age_ms) FROM queue WHERE state=3")                                 \
    X(QUEUE_OLD, "SELECT id,context,key FROM queue INDEXED BY queue_old"                           \
                 " WHERE state=3 AND age_ms<?1 ORDER BY age_ms LIMIT 1")                           \
    X(QUEUE_DROP, "DELETE FROM queue WHERE id=?1")

enum fm_sql {
#define X(id, sql) FM_SQL_##id,
    FM_STATEMENTS(X)
#undef X
        FM_SQL_COUNT
};

struct fm_db {
    sqlite3 *h;
    sqlite3_stmt *stmt[FM_SQL_COUNT];
    int wal_pages; /* as of the last commit */
    bool failed;
    struct fm_error why;
};

/* With the durability that is promised; creates the file with mode 0600. */
enum fm_err fm_db_open(struct fm_db *d, const char *path, const char *vfs,
                       struct fm_error *e) FM_WARN_UNUSED;
/* Move all of the WAL to the database and begin it anew. After a failed fsync the page cache can
 * show frames that the disk does not have, and what is appended to such a WAL can be lost with
 * them; what was moved and synced cannot. */
enum fm_err fm_db_settle_wal(struct fm_db *d, struct fm_error *e) FM_WARN_UNUSED;
/* After the tables are there. */
enum fm_err fm_db_prepare(struct fm_db *d, struct fm_error *e) FM_WARN_UNUSED;
void fm_db_close(struct fm_db *d);

/* Bind and leave to be stepped. One letter an argument: i int64_t, t struct fm_str as text, b as a
 * blob; views must live until the statement is done with. */
void fm_db_bind(struct fm_db *d, enum fm_sql id, const char *types, ...);
/* Step: true for a row. False at the end (then it is reset) or after a failure. */
bool fm_db_row(struct fm_db *d, enum fm_sql id);
/* Before the end, where no more rows are wanted. */
void fm_db_reset(struct fm_db *d, enum fm_sql id);
/* Bind, run to the end. False after a failure. */
bool fm_db_run(struct fm_db *d, enum fm_sql id, const char *types, ...);
/* Rows that the last statement inserted, changed or deleted. */
int fm_db_changes(const struct fm_db *d);

int64_t fm_db_i64(const struct fm_db *d, enum fm_sql id, int column);
/* Valid until the statement is stepped or reset. */
struct fm_str fm_db_str(const struct fm_db *d, enum fm_sql id, int column);
bool fm_db_is_null(const struct fm_db *d, enum fm_sql id, int column);

/* Where a key stands in key_at. */
int64_t fm_db_key_hash(struct fm_hash_key k, struct fm_str context, struct fm_str key);

/* A row of the columns FM_SQL_ENTRY. False where it cannot be one: then the file is damaged. */
bool fm_db_entry(sqlite3_stmt *s, struct fm_journal_entry *out) FM_WARN_UNUSED;

/* Move what the WAL holds to the database; readers may keep some of it there. */
void fm_db_checkpoint(struct fm_db *d);

/* A failure of ours: what is on the disk cannot be. */
void fm_db_damaged(struct fm_db *d, const char *what, uint64_t seq);

#endif
