/* tests/unit/agent/hosts.h: two hosts of a service that post to each other on one loop: `west`, the
 * first one, and `north`. What a host is sent is kept, and may be answered. */
#ifndef FM_TESTS_UNIT_AGENT_HOSTS_H
#define FM_TESTS_UNIT_AGENT_HOSTS_H

#include "net.h"

#include "agent/post.h"

enum { HOSTS = 2, INBOX = 64 };

struct host {
    struct fm_roster *roster;
    struct fm_post *post;
    struct fm_pages pages;
    struct fm_listener listener;
    bool listens;
    unsigned self;
    /* what came, from whom (by name) */
    struct fm_message in[INBOX];
    char from[INBOX][FM_ROSTER_NAME_ROOM];
    unsigned n;
    void (*react)(struct host *h, unsigned from, const struct fm_message *m);
};

extern struct net net;
extern struct host host[HOSTS];
extern struct fm_conf *hosts_conf;

/* West and north of the service bank, with the contexts ledger (1 cell) and cards (4 cells). */
void hosts_open(void);
void hosts_close(void);
/* In two steps, for who needs the loop in between. */
void hosts_close_but_loop(void);
void hosts_close_loop(void);
/* Nobody answers there any more, until it is opened again. */
void host_shut(struct host *h);
void host_open(struct host *h);

/* The number of a host of this name for h. */
unsigned host_number(const struct host *h, const char *name);

#endif
