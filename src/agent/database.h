/* agent/database.h: the role `postgres` of an agent: the nodes of PostgreSQL groups on this host,
 * each the shell around one machine of core/group.h.
 *
 * It steps the machine with what is known at that moment (the sub-lease of the group's cell, the
 * record of that cell as a keeper told it, the local PostgreSQL, what other nodes said) and carries
 * out what it orders, again and again while the state lasts: PostgreSQL is started under a guard
 * (io/ward.h) with the time that the sub-lease has left, made, copied, rewound and configured by
 * pg/node.h, and asked how it is by pg/conn.h. It decides nothing itself about who is primary.
 *
 * A standby needs no lease: what is in recovery acknowledges nothing. Anything else runs only until
 * the sub-lease ends; each renewal moves that on.
 *
 * One loop, one thread; waits for nothing but the end of PostgreSQL when the agent ends. */
#ifndef FM_AGENT_DATABASE_H
#define FM_AGENT_DATABASE_H

#include "agent/post.h"
#include "core/sublease.h"
#include "io/resolve.h"

#include <jansson.h>

struct fm_database;
struct fm_groups;

struct fm_database_config {
    struct fm_loop *loop;
    struct fm_roster *roster;
    struct fm_post *post;
    struct fm_resolver *resolver;
    const struct fm_peers *peers; /* as they are; lives as long */
    const char *host;
    unsigned self; /* number of this host in the roster */
    /* What this host holds of a context (its number in the roster); NULL: nothing, ever. */
    const struct fm_sublease *(*held)(void *user, unsigned context);
    /* fm_database_acts is false now of this context. */
    void (*ended)(void *user, unsigned context);
    /* The doors of this host, which are told what its nodes say; NULL in it: none (yet, or any
     * more). */
    struct fm_groups *const *doors;
    void *user;
};

struct fm_database *fm_database_new(const struct fm_database_config *c, const struct fm_conf *conf,
                                    struct fm_error *e) FM_WARN_UNUSED;
/* Before one: could what it says of groups be gone by, where that is on this host alone? */
enum fm_err fm_database_check(const struct fm_database *d, const struct fm_conf *conf,
                              struct fm_error *e) FM_WARN_UNUSED;
/* After a reload. Nodes that are new or gone take a restart, which is said in the log. */
void fm_database_reset(struct fm_database *d, const struct fm_conf *conf);

/* A message of kind CELL, REPORT or CREATE from a host of the file. */
void fm_database_take(struct fm_database *d, unsigned host, const struct fm_message *m);
/* What is held has changed. */
void fm_database_look(struct fm_database *d);
/* What the node of this host has said of itself last; false: there is none of the context. */
bool fm_database_report(const struct fm_database *d, unsigned context, struct fm_group_report *out);
/* May PostgreSQL of this host still acknowledge anything of the context? */
bool fm_database_acts(const struct fm_database *d, unsigned context);
/* Does it still prepare for the stop of a planned move? */
bool fm_database_drains(const struct fm_database *d, unsigned context);

/* The page /groups/secret of the peer port, for the other nodes of a group. */
void fm_database_secret(const struct fm_database *d, const struct fm_page_request *q,
                        struct fm_page_answer *a);

/* The page /groups/loss: what was lost, for people; a POST is of another node of the group. */
void fm_database_loss(const struct fm_database *d, const struct fm_page_request *q,
                      struct fm_page_answer *a);
/* The page /groups/loss/write-off: the word of a person, who may give one. */
void fm_database_write_off(const struct fm_database *d, const struct fm_page_request *q,
                           struct fm_page_answer *a);

/* The page /groups/room, a POST: {"group", "data", "port"}, of a node that this host might get.
 * {"problem"} is what stands in the way, or null: nothing that can be seen from outside. */
void fm_database_room(const struct fm_database *d, const struct fm_page_request *q,
                      struct fm_page_answer *a);

/* {"ledger": {"node": "west-db-1", "state": "primary", ...}} */
json_t *fm_database_json(const struct fm_database *d);

/* Lines of the page /metrics, appended to what is from malloc: what would be lost with a primary of
 * this host now. False: no memory. */
bool fm_database_metrics(const struct fm_database *d, char **text, size_t *n) FM_WARN_UNUSED;

/* Ends what runs in order; nothing is sent any more. NULL is fine, here and below. */
void fm_database_stop(struct fm_database *d);
/* After fm_database_stop: turns the loop until PostgreSQL has ended, some seconds at most. */
void fm_database_free(struct fm_database *d);

#endif
