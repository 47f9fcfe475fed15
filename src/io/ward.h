/* io/ward.h: a program (PostgreSQL) that may run only until a given time, with all that it starts.
 *
 * Two processes stand between its owner and it. The outer one, the second, is child subreaper of
 * all of it, passes on what the owner says, and ends what the inner one leaves behind where that
 * dies. The inner one, the guard, starts the program (as another user, with SIGQUIT from the
 * kernel where the guard dies), signals it, and ends all of it at `kill_at`, when the program has
 * died (its children may live on and write), or when the second is gone. Where the owner dies, or
 * is silent past `term_at`, the program is asked to end; at `kill_at` it is killed by whichever of
 * the two is still there. So any one of the three may be killed or frozen, and what may run until a
 * given time does not run after it, but for some tens of milliseconds of a machine that was
 * suspended.
 *
 * "Over, and nothing left" is said only after wait(2) said so. Both processes are this executable,
 * called with FM_WARD_COMMAND: they have nothing of the owner's memory or descriptors.
 *
 * Owner's side: one loop; `w` is the caller's, and must stay until `over` was called or
 * fm_ward_discard. Times are CLOCK_BOOTTIME. See prctl(2), PR_SET_CHILD_SUBREAPER and
 * PR_SET_PDEATHSIG. */
#ifndef FM_IO_WARD_H
#define FM_IO_WARD_H

#include "io/process.h"

#define FM_WARD_COMMAND "ward" /* fulmar ward FD UID SIGNO -- PROGRAM...: not for people */

struct fm_ward_times {
    struct fm_mono term_at, kill_at; /* `term_signo` then; SIGKILL then */
};

struct fm_ward_end {
    bool reaped; /* nothing is left of it; else nobody can say so */
    bool forced; /* it was killed, or its guard was */
    int status;  /* of wait(2), of the program; 0 where it is not known */
};

struct fm_ward {
    struct fm_loop *loop;
    struct fm_child second;
    struct fm_watch said; /* what the two of them say */
    struct fm_timer late;
    struct fm_ward_times times;
    pid_t guard, program; /* 0 = not said yet */
    int guard_pidfd;
    unsigned steps; /* taken against one that is late */
    bool running;
    struct fm_ward_end end;
    /* Once, from the loop. */
    void (*over)(struct fm_ward *w, const struct fm_ward_end *end);
};

struct fm_ward_options {
    const char *executable; /* this program; NULL = /proc/self/exe */
    char *const *argv;      /* of the program, with its whole path; ends with NULL */
    char *const *envp;      /* NULL = this process's */
    unsigned uid;           /* whom it runs as, with the groups of that user */
    int out_fd;             /* its output; -1 = /dev/null */
    int term_signo;         /* asks it to end in order */
    struct fm_ward_times times;
};

/* What starts after this may still fail: `over` tells (a status of 126 or 127). Once it was started
 * a ward can be started again after `over`. */
enum fm_err fm_ward_start(struct fm_ward *w, struct fm_loop *l, const struct fm_ward_options *o,
                          void (*over)(struct fm_ward *, const struct fm_ward_end *),
                          struct fm_error *e) FM_WARN_UNUSED;
/* From now on these times. Nothing where it is over, or was asked to end: what ends is given no
 * more time, since a program that is half ended serves nobody. */
void fm_ward_set(struct fm_ward *w, const struct fm_ward_times *t);
/* A signal to the program itself (not to what it started), then SIGKILL to all within this time. */
void fm_ward_end(struct fm_ward *w, int signo, int64_t within_ms);
/* SIGKILL to all of it; blocks for some milliseconds; `over` is not called. Harmless where nothing
 * runs. For an owner that ends. True: nothing is left. */
bool fm_ward_discard(struct fm_ward *w);

/* What the two processes are: called first by main() where argv[1] is FM_WARD_COMMAND. */
int fm_ward_main(int argc, char **argv);

#endif
