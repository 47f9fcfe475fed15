/* agent/post.h: carrying messages between the agents and gates of a service. Private to src/agent.
 *
 * What is sent within a turn of the loop goes out at its end, to each host in one POST /peer/1/post
 * on a connection that is kept; the answer brings back what that host had for us, often the answer
 * to what we asked. Messages to this host itself take the same way, without the network. A message
 * may be lost, late or come twice, never torn: core expects no more. Nothing waits for long: where
 * a host does not answer, what was meant for it is dropped, until it is tried again after a rest.
 *
 * With `peer-tls` a post is taken only where `from` is the name in the certificate; without it
 * everybody who reaches the port is believed. One loop, one thread. Bounded: FM_POST_OUT_MAX bytes
 * wait for each host. */
#ifndef FM_AGENT_POST_H
#define FM_AGENT_POST_H

#include "agent/message.h"
#include "conf/conf.h"
#include "http/caller.h"
#include "http/pages.h"
#include "proxy/peers.h"

#include <jansson.h>

enum { FM_POST_OUT_MAX = 64 * 1024 };

struct fm_post;

struct fm_post_config {
    struct fm_loop *loop;
    struct fm_resolver *resolver;
    struct fm_roster *roster;
    unsigned self; /* number of this host in the roster */
    uint64_t life; /* of this start */
    int64_t timeout_ms;
    /* A message for us, from a host of the file. Never from inside fm_post_send. */
    void (*deliver)(void *user, unsigned host, const struct fm_post_head *head,
                    const struct fm_message *m);
    void *user;
};

struct fm_post *fm_post_new(const struct fm_post_config *c, const struct fm_conf *conf,
                            const struct fm_peers *peers, struct fm_error *e) FM_WARN_UNUSED;
/* After a reload: hosts at other addresses, other certificates. `conf` is read during the call. */
void fm_post_reset(struct fm_post *p, const struct fm_conf *conf, const struct fm_peers *peers);

/* To a host by its number; one that is no agent's of this file gets nothing. */
void fm_post_send(struct fm_post *p, unsigned host, const struct fm_message *m);

/* The page /peer/1/post. */
void fm_post_page(struct fm_post *p, const struct fm_page_request *q, struct fm_page_answer *a);

/* {"west-1": {"answers": true, "posts": 17, "dropped": 0, "error": null}, ...} */
json_t *fm_post_json(const struct fm_post *p);

/* Nothing is sent or delivered any more. */
void fm_post_stop(struct fm_post *p);
/* After fm_post_stop, when the resolver was freed; turns the loop until connections are gone. */
void fm_post_free(struct fm_post *p);

#endif
