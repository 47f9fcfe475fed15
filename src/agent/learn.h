/* agent/learn.h: what is agreed, for an agent that does not watch coordination (no role controller
 * or witness): it asks those that do, one after the other, every two seconds. Private to src/agent.
 *
 * One loop. Belongs to an agreement (agent/agreement.h), which it tells. */
#ifndef FM_AGENT_LEARN_H
#define FM_AGENT_LEARN_H

#include "agent/agreed.h"
#include "http/caller.h"
#include "proxy/peers.h"

struct fm_learn {
    /* the owner's, set before fm_learn_begin */
    struct fm_loop *loop;
    struct fm_resolver *resolver;
    const struct fm_peers *peers; /* of the daemon; as they are when somebody is asked */
    const char *host;             /* this one, which is not asked */
    /* From the loop: which generation is known, and what somebody knows. */
    uint64_t (*known)(void *user);
    void (*learnt)(void *user, const struct fm_agreed *a);
    void *user;
    /* its own */
    const struct fm_conf *conf;
    struct fm_learn_peer *peer; /* who is asked */
    struct fm_timer timer;
    size_t next; /* in the hosts of the file */
    bool stopped;
};

/* Ask the controllers of this configuration from now on; NULL: nobody. It lives until the next one,
 * or fm_learn_stop. */
void fm_learn_from(struct fm_learn *l, const struct fm_conf *conf);
void fm_learn_begin(struct fm_learn *l);
/* Nothing is asked or told any more. */
void fm_learn_stop(struct fm_learn *l);
/* After fm_learn_stop, when the resolver was freed and the loop has turned once more. */
void fm_learn_end(struct fm_learn *l);

#endif
