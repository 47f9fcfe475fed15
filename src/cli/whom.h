/* cli/whom.h: the daemons that a command may ask, in order. Private to agents.c, and apart from it
 * because this half only reads the configuration. */
#ifndef FM_CLI_WHOM_H
#define FM_CLI_WHOM_H

#include "cli/cli.h"
#include "conf/conf.h"
#include "io/addr.h"
#include "io/tls.h"

enum { FM_WHOM_TEXT = 280 };

enum fm_whom_use {
    FM_WHOM_LOOK,  /* this host's edge, else its agent; admin addresses, too */
    FM_WHOM_PAST,  /* the same, but rather its agent */
    FM_WHOM_ORDER, /* agents: the local socket or the peer port */
};

struct fm_whom_seat {
    char name[FM_WHOM_TEXT]; /* for people: a host, an address, `this host` */
    struct fm_addr to;       /* len = 0: `host` has to be looked up */
    char host[FM_WHOM_TEXT];
    uint16_t port;
    bool tls;
    const char *peer; /* whose certificate is expected; with tls */
};

struct fm_whom {
    struct fm_conf *conf; /* may be NULL */
    struct fm_whom_seat *seat;
    unsigned n, cap;
    char missing[1024]; /* that no daemon runs on this host, if one was looked for; else "" */
    char here[256]; /* where so: hosts of the file whose daemons do run on this machine, "a, b" */
};

/* An exit code; what is wrong is printed. All may be freed after a failure, too. */
int fm_whom_find(struct fm_whom *s, const struct fm_args *a, const char *command,
                 enum fm_whom_use use);
void fm_whom_free(struct fm_whom *s);

/* The settings of TLS to the seats that need it. FM_ERR_INVALID with what is missing. */
enum fm_err fm_whom_tls(const struct fm_whom *s, const struct fm_args *a, struct fm_tls **out,
                        struct fm_error *e) FM_WARN_UNUSED;

#endif
