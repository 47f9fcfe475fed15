/* proxy/follow.h: following the view that agents hand out (agent/publish.h), for edges and for
 * agents that are no controllers (SAFETY.md 15 to 17; DESIGN.md invariant 6).
 *
 * Two long polls at a time, to agents of different regions where there are such, one's own region
 * and controllers first: so neither an agent that is frozen nor a region that is cut off hides
 * news. Who is silent, fails or talks nonsense is left, for a while that grows. What is newer is
 * taken over, per context and never backwards (proxy/view_doc.h), and kept on disk, from which the
 * next start begins. What an agent of one's own region has found (`lapsed`) counts as long as that
 * agent is heard.
 *
 * Contexts that the local file does not know are kept and not looked at; one with another number of
 * cells is refused, loudly. Belongs to one control loop. Bounded by the hosts of the file. */
#ifndef FM_PROXY_FOLLOW_H
#define FM_PROXY_FOLLOW_H

#include "conf/conf.h"
#include "io/resolve.h"
#include "proxy/peers.h"
#include "proxy/view_file.h"

#include <jansson.h>

struct fm_follow;

/* Texts are copied. */
struct fm_follow_config {
    struct fm_mailbox *mailbox; /* of the loop */
    struct fm_resolver *resolver;
    const char *folder; /* the state of this host */
    const char *host;   /* this one, which is not asked */
    const char *region; /* of this host; "" where it is in none */
    bool controllers;   /* ask controllers alone: an agent, so that views do not go in circles */
    void (*changed)(void *user); /* the view, or what was found; from the loop */
    void *user;
};

/* Reads the stored view (blocks); a damaged one is told in the log and by fm_follow_json. `conf` is
 * the caller's until the next reset. Nothing is asked before the loop runs. */
struct fm_follow *fm_follow_new(const struct fm_follow_config *c, const struct fm_conf *conf,
                                const struct fm_peers *peers, struct fm_error *e) FM_WARN_UNUSED;
/* After a reload. FM_ERR_MEMORY: fewer are asked than there are. */
enum fm_err fm_follow_reset(struct fm_follow *f, const struct fm_conf *conf,
                            const struct fm_peers *peers) FM_WARN_UNUSED;

/* NULL before the first; valid until the loop turns. */
const struct fm_view_doc *fm_follow_doc(const struct fm_follow *f);
/* Something seems to be newer elsewhere: whoever rests is asked now. */
void fm_follow_hurry(struct fm_follow *f);
/* For `status`: the version, from whom and since when, what became of the file, who is asked, and
 * the contexts. NULL without memory. */
json_t *fm_follow_json(const struct fm_follow *f);

/* Nothing is asked or told any more. */
void fm_follow_stop(struct fm_follow *f);
/* After fm_follow_stop, the resolver was freed and the loop has turned once more. What waits for
 * the disk is written. NULL is fine. */
void fm_follow_free(struct fm_follow *f);

#endif
