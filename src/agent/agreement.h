/* agent/agreement.h: what this host goes by of what hosts agree upon, and what its own file says.
 * Private to src/agent.
 *
 * It knows one version (agent/agreed.h), which it keeps on the disk of the host (`agreed.json` in
 * the folder of its state), so that a start without coordination goes by it, too. Controllers tell
 * it of a newer one (fm_agreement_take); its owner is told at the end of the turn, makes the
 * configuration anew and says whether that is in use. A file that says something else than what is
 * agreed is told of in the log, once for each of the two, and shown in the status. A host without a
 * controller asks others (agent/learn.h).
 *
 * One loop, one thread, but for the writing of the file, which is that of a thread of its own:
 * nothing waits for it. */
#ifndef FM_AGENT_AGREEMENT_H
#define FM_AGENT_AGREEMENT_H

#include "agent/agreed.h"
#include "http/pages.h"
#include "io/mailbox.h"
#include "proxy/peers.h"

#define FM_AGREEMENT_FILE "agreed.json"

struct fm_agreement;

struct fm_agreement_config {
    struct fm_mailbox *mailbox; /* of the loop */
    struct fm_resolver *resolver;
    const struct fm_peers *peers; /* of the daemon, as they are */
    const char *folder;           /* of the host's state */
    const char *host;
    void (*changed)(void *user); /* another version is known; from the loop */
    void *user;
};

/* Reads what is on the disk (blocks). FM_ERR_INVALID: it is damaged, or of another service. */
struct fm_agreement *fm_agreement_open(const struct fm_agreement_config *c, struct fm_str service,
                                       struct fm_error *e) FM_WARN_UNUSED;
/* Nobody is asked or told any more. NULL is fine, here and below. */
void fm_agreement_stop(struct fm_agreement *g);
/* After fm_agreement_stop, when the resolver was freed. What waits is still written. */
void fm_agreement_close(struct fm_agreement *g);

const struct fm_agreed *fm_agreement_known(const struct fm_agreement *g);
/* A version that counts from now on; it is copied. */
void fm_agreement_take(struct fm_agreement *g, const struct fm_agreed *a);

/* A configuration for this host: its file with what is agreed, the caller's. NULL, and the first
 * reason, where the two do not fit. */
struct fm_conf *fm_agreement_merge(const struct fm_agreement *g, const struct fm_conf *file,
                                   struct fm_error *e) FM_WARN_UNUSED;
/* The owner goes by this file now, which lives until the next one or the end. */
void fm_agreement_file(struct fm_agreement *g, const struct fm_conf *file);
/* What the owner made of the version that is known: this configuration is in use, until the next
 * one or fm_agreement_stop; or (conf = NULL) it cannot be, because of `why`. */
void fm_agreement_used(struct fm_agreement *g, const struct fm_conf *conf, const char *why);
bool fm_agreement_is_used(const struct fm_agreement *g);
/* The shared text of the file; "" where there is nothing to agree upon. */
const char *fm_agreement_file_text(const struct fm_agreement *g);

/* Would this text fit the file of this host? The configuration that it would make, the caller's, or
 * NULL with the reason. It must be exactly what such a configuration would write. */
struct fm_conf *fm_agreement_try(const struct fm_agreement *g, const char *text, char *why,
                                 size_t cap) FM_WARN_UNUSED;

/* For the status; null where there is nothing to agree upon. NULL without memory. */
json_t *fm_agreement_json(const struct fm_agreement *g);
/* GET /config/shared (docs/reference/wire.md). */
void fm_agreement_page(const struct fm_agreement *g, const struct fm_page_request *q,
                       struct fm_page_answer *a);

#endif
