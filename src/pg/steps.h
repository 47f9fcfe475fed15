/* pg/steps.h: the steps that the operations of pg/node.h are made of. Private to src/pg.
 *
 * A step ends at once (DONE, FAILED with a reason in node->outcome.why) or leaves a child running
 * (WAIT), whose success is looked at by fm_pg_step_after. */
#ifndef FM_PG_STEPS_H
#define FM_PG_STEPS_H

#include "pg/node.h"

#define FM_PG_MAKING "fulmar.making"
#define FM_PG_MADE   "fulmar.made" /* whole, and on its way up */
#define FM_PG_ADMIN  "fulmar.admin"

/* What it is called where it fails. */
#define FM_PG_STEPS(X)                                                                             \
    X(END, "end")                                                                                  \
    X(FOLDER, "make the folder")                                                                   \
    X(SETTLE, "finish what was made")                                                              \
    X(ALONE, "see that no server runs there")                                                      \
    X(FIND, "see what is there")                                                                   \
    X(FOUND, "see what came of it")                                                                \
    X(CONTROL, "read the control data")                                                            \
    X(HISTORY, "read the history of its timeline")                                                 \
    X(JUDGE, "let it follow as it is")                                                             \
    X(SECRETS, "write the file of passwords")                                                      \
    X(SLOT, "reach the upstream and have a slot there")                                            \
    X(ENTER, "take the data apart")                                                                \
    X(REWIND, "rewind")                                                                            \
    X(FLUSH, "make it durable")                                                                    \
    X(VERIFY, "see whether it is rewound")                                                         \
    X(BEGIN, "begin a new folder")                                                                 \
    X(EMPTY, "remove what was there")                                                              \
    X(INITDB, "make a new system")                                                                 \
    X(COPY, "take a base backup")                                                                  \
    X(FILES, "write the configuration")                                                            \
    X(LEAVE, "put the data into their place")                                                      \
    X(OUTLIVE, "make a folder that outlives the data")                                             \
    X(KEEP, "copy and read what only it has")                                                      \
    X(PRUNE, "remove what was kept")                                                               \
    X(NUMBERS, "take the numbers of timelines")                                                    \
    X(PROMOTE, "ask for the promotion")

enum fm_pg_step {
#define X(name, text) FM_PG_STEP_##name,
    FM_PG_STEPS(X)
#undef X
};

enum fm_pg_went { FM_PG_DONE, FM_PG_WAIT, FM_PG_FAILED, FM_PG_AGAIN };

enum fm_pg_went fm_pg_step_run(struct fm_pg_node *n, enum fm_pg_step s,
                               void (*exited)(struct fm_child *, int));
/* Its child has ended well, and n->said is what it printed. AGAIN: the step REWIND is to be
 * repeated after a moment. */
enum fm_pg_went fm_pg_step_after(struct fm_pg_node *n, enum fm_pg_step s);

/* The reason of a failure, into node->outcome.why. */
void fm_pg_step_why(struct fm_pg_node *n, const char *fmt, ...) FM_PRINTF(2, 3);

/* -------- looking (node_look.c) -------- */

enum { FM_PG_NAMES_MAX = 256, FM_PG_NAMES_ROOM = 32 * 1024 };

/* What is in a folder: one block from malloc. */
struct fm_pg_names {
    unsigned n;
    const char *name[FM_PG_NAMES_MAX]; /* `global` first, where it is there */
    size_t text_n;
    char text[FM_PG_NAMES_ROOM];
};

/* "DATA/fulmar.making/NAME" or "DATA/NAME"; `name` may be NULL. False where it is too long. */
bool fm_pg_path(const struct fm_pg_node *n, char out[FM_PG_PATH_ROOM], const char *folder,
                const char *name);
/* Of DATA (folder NULL) or of a folder in it, without what is Fulmar's for the time of an operation
 * and without lost+found. NULL with a reason. */
struct fm_pg_names *fm_pg_names(struct fm_pg_node *n, const char *folder);

/* Can what was written to the data be made durable by one call, with its errors told? */
bool fm_pg_syncs_as_one(const struct fm_pg_node *n, const char *folder);

bool fm_pg_is_there(const struct fm_pg_node *n, const char *folder, const char *name);
/* Into n->look: all but the control data. False with a reason. */
bool fm_pg_find(struct fm_pg_node *n);
/* Is there a place where its history left n->theirs? Into n->rescued, which is begun anew. */
bool fm_pg_has_fork(struct fm_pg_node *n);
/* The history of a timeline as it stands in the folder. False with a reason. */
bool fm_pg_read_history(struct fm_pg_node *n, struct fm_timeline t);
/* A process of PostgreSQL that works in the data directory, be its postmaster alive or not; 0 =
 * there is none. */
pid_t fm_pg_find_server(const struct fm_pg_node *n);

#endif
