/* io/process.h: signals and child processes on a loop.
 *
 * Signals come through signalfd(2) and children through pidfd_open(2), so nothing runs in a signal
 * handler and every child that was started here is reaped here. A child gets its own process group
 * and dies with this process (PR_SET_PDEATHSIG) unless told otherwise. */
#ifndef FM_IO_PROCESS_H
#define FM_IO_PROCESS_H

#include "io/loop.h"

#include <sys/types.h>

struct fm_signals {
    struct fm_watch watch;
    struct fm_loop *loop;
    void (*got)(struct fm_signals *s, int signo);
};

/* Where standard input, output or error is closed, open /dev/null in its place: else a socket or a
 * file of ours would get its number, and what is printed or logged would go into that. The first
 * thing a program does. False where there is no /dev/null. */
bool fm_std_descriptors(void) FM_WARN_UNUSED;

/* Raise the limit on descriptors to what the system allows, and let the kernel make its table of
 * them that large now, up to 64 Ki. It doubles the table when it is full, and where there are other
 * threads each time waits until none of them can look at the old one any more (Linux fs/file.c,
 * expand_fdtable): then accept(2) and socket(2) took 20 ms. Call it before any thread is started.
 * False where the limit stays below what the system allows. */
bool fm_descriptors_raise(void);

/* Block SIGHUP, SIGINT, SIGTERM, SIGUSR1 and SIGCHLD in the calling thread and those it creates,
 * ignore SIGPIPE, and take SIGCHLD back from a parent that ignored it. Call it before any thread is
 * started. */
void fm_signals_block(void);
/* Deliver the blocked ones (but SIGCHLD) to `got`. */
enum fm_err fm_signals_open(struct fm_signals *s, struct fm_loop *l,
                            void (*got)(struct fm_signals *, int),
                            struct fm_error *e) FM_WARN_UNUSED;
/* Harmless where it could not be opened, and a second time. */
void fm_signals_close(struct fm_signals *s);

enum { FM_CHILD_GROUPS_MAX = 64 };

struct fm_child {
    struct fm_watch watch; /* on the pidfd */
    struct fm_watch out;   /* on the read end of its output, where that was asked for */
    struct fm_loop *loop;
    pid_t pid;
    struct fm_timer timer;
    bool running, timed_out;
    bool last;    /* as was asked for */
    char *output; /* the caller's buffer */
    size_t output_n, output_cap;
    /* Over and reaped. status as of waitpid(2). */
    void (*exited)(struct fm_child *c, int status);
};

/* Whom a child of a root process becomes before anything else: this user with its groups, and with
 * no way back. */
struct fm_child_user {
    uid_t uid;
    gid_t gid;
    int ngroups;
    gid_t groups[FM_CHILD_GROUPS_MAX];
};

/* By its name. May ask a directory service, so for starts only. NOT_FOUND, LIMIT: in more groups
 * than that. */
enum fm_err fm_child_user_find(struct fm_child_user *u, const char *name,
                               struct fm_error *e) FM_WARN_UNUSED;
/* Can a child of this process become it? */
bool fm_child_user_may(const struct fm_child_user *u);

struct fm_child_options {
    char *const *argv;
    /* Instead of executing argv, of which only the name is used: run in the forked child, without
     * descriptors but the first three, and end with what it returns. Like a signal handler it may
     * only do what is async-signal-safe, and its writes to memory are seen by nobody. */
    int (*body)(void *arg);
    void *arg;
    const struct fm_child_user *user; /* NULL = stay who we are */
    char *const *envp;                /* NULL = this process's */
    const char *cwd;                  /* NULL = here */
    int out_fd, err_fd;               /* -1 = /dev/null; ignored where `output` is given */
    char *output;                     /* keep the first output_cap bytes of stdout and stderr */
    size_t output_cap;
    bool output_last;   /* keep the last ones instead */
    int64_t timeout_ms; /* then SIGKILL to its group and timed_out; 0 = none */
    bool outlive;       /* do not die with this process */
    int death_signal;   /* what it gets when this process dies; 0 = SIGKILL */
};

/* FM_ERR_NOT_FOUND where there is no such program, FM_ERR_PERMISSION where it cannot be executed,
 * or not as that user. */
enum fm_err fm_child_start(struct fm_child *c, struct fm_loop *l, const struct fm_child_options *o,
                           void (*exited)(struct fm_child *, int),
                           struct fm_error *e) FM_WARN_UNUSED;
/* To the child's whole process group. */
void fm_child_kill(struct fm_child *c, int signo);
/* Kill, reap (blocking, it was killed with SIGKILL) and forget; `exited` is not called. */
void fm_child_discard(struct fm_child *c);
/* Its owner has reaped it, by wait(2) for whoever there is; `exited` is not called. */
void fm_child_forget(struct fm_child *c);

#endif
