/* proxy/queued.h: how queued commands (`when-away: queue`) are named and carried, between clients,
 * gates and the agents that deliver them; docs/reference/wire.md.
 *
 * A ticket names one in the queue of a region: REGION/NUMBER-TOKEN. Behind FM_QUEUED_PATH it is the
 * place where its client asks; in the header Fulmar-Queued, with @EPOCH behind it, it tells a gate
 * that this is a delivery, and under which epoch it may have been executed before (0: never). A
 * parcel is the request as it lies in the queue. Pure; views into what was read. */
#ifndef FM_PROXY_QUEUED_H
#define FM_PROXY_QUEUED_H

#include "base/buf.h"

#define FM_QUEUED_RESERVED "/.well-known/fulmar/" /* of Fulmar: no route takes what is below */
#define FM_QUEUED_PATH     FM_QUEUED_RESERVED "queue/"

enum { FM_TICKET_REGION_MAX = 63, FM_TICKET_LEN_MAX = FM_TICKET_REGION_MAX + 1 + 20 + 1 + 16 };

struct fm_ticket {
    struct fm_str region;
    uint64_t number, token;
};

void fm_ticket_write(struct fm_buf *b, const struct fm_ticket *t);
/* Exactly as it is written. */
bool fm_ticket_read(struct fm_str s, struct fm_ticket *out) FM_WARN_UNUSED;

/* The key under which the holder's gate writes one down whose client gave none: nobody outside can
 * have used it. */
enum { FM_TICKET_KEY_MAX = sizeof "queue:" + FM_TICKET_LEN_MAX };
void fm_ticket_key(struct fm_buf *b, const struct fm_ticket *t);

/* TICKET@EPOCH */
void fm_delivery_write(struct fm_buf *b, const struct fm_ticket *t, uint64_t first_epoch);
bool fm_delivery_read(struct fm_str s, struct fm_ticket *t, uint64_t *first_epoch) FM_WARN_UNUSED;

/* What becomes of it, as a document; `status` 0 where nothing was answered (yet), or nobody knows
 * what. */
enum fm_ticket_state { FM_TICKET_WAITS, FM_TICKET_BEING_DELIVERED, FM_TICKET_OVER };
void fm_ticket_json(struct fm_buf *b, const struct fm_ticket *t, enum fm_ticket_state state,
                    unsigned status);

/* -------- parcels -------- */

struct fm_parcel {
    bool client_key;    /* its key is its client's; else one was made for it */
    struct fm_str head; /* lines with their ends, without those that each try sets and the last */
    struct fm_str body; /* with the framing that the head says */
};

enum { FM_PARCEL_PREFIX = 8 };

/* The prefix; head and body follow as they are. */
void fm_parcel_begin(struct fm_buf *b, bool client_key, size_t head_n);
/* False where it is of another version, or damaged. */
bool fm_parcel_read(struct fm_str s, struct fm_parcel *out) FM_WARN_UNUSED;

#endif
