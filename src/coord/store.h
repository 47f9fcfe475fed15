/* coord/store.h: coordination in a SQLite file, and the thread that works on it. Private to
 * src/coord.
 *
 * One process owns the file (SAFETY.md G.31 in the design notes): a lock beside it and SQLite's own
 * exclusive lock refuse a second one. The thread takes requests from a mailbox; those that wait
 * together share one transaction of the file and one fsync, and none is answered before that. After
 * an error of the file nothing is done any more (`failed`): what was being written is of unknown
 * outcome, and the file is to be opened anew. */
#ifndef FM_COORD_STORE_H
#define FM_COORD_STORE_H

#include "coord/ask.h"

struct fm_store;

struct fm_store_job {
    struct fm_msg msg; /* to the thread, and back */
    struct fm_store_job *next;
    struct fm_ask *ask;                     /* the submitter's until `done` */
    void (*done)(struct fm_store_job *job); /* on the loop of `answers` */
    /* the answer */
    bool failed; /* the store has */
    char *text;  /* JSON, from malloc, for whoever gets it; a line with its end for a watch */
    size_t n;
    uint64_t revision; /* of the store */
    uint64_t through;  /* watch: all up to here is told */
    bool compacted;    /* watch: it asked for what is forgotten */
    bool empty;        /* watch: nothing to tell */
    char why[120];     /* where it failed */
};

/* Opens, or makes, the file; blocks. FM_ERR_EXISTS: it has an owner. FM_ERR_STATE: it is of another
 * service or format. */
struct fm_store *fm_store_open(const char *path, const char *service, struct fm_mailbox *answers,
                               struct fm_error *e) FM_WARN_UNUSED;
/* What it had when it was opened. */
void fm_store_shows(const struct fm_store *s, uint64_t *cluster, uint64_t *revision);
void fm_store_submit(struct fm_store *s, struct fm_store_job *job);
/* Finishes what was submitted, whose answers are in the mailbox then. */
void fm_store_close(struct fm_store *s);

/* -------- the file alone, for the thread and for tests -------- */

struct fm_store_file;

struct fm_store_file *fm_store_file_open(const char *path, const char *service,
                                         struct fm_error *e) FM_WARN_UNUSED;
void fm_store_file_close(struct fm_store_file *f);
void fm_store_file_shows(const struct fm_store_file *f, uint64_t *cluster, uint64_t *revision);
/* All of them in one transaction of the file, in order. */
void fm_store_file_work(struct fm_store_file *f, struct fm_store_job *const *job, size_t n);

enum { FM_STORE_HISTORY = 10000 }; /* revisions that a watch can go back */

#endif
