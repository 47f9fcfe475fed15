/* agent/intent.h: what operators asked of a region, as a record of coordination: `intent/REGION`;
 * `intent/REGION/CONTEXT` for one context; `intent/REGION/HOST` for one of its hosts (contexts and
 * hosts share one namespace); `intent/REGION/POOL/ADDRESS` for one instance. Private to src/agent.
 *
 *   {"v":1,"serve_permille":0,"by":"ann","reason":"...","at":"2026-11-21T14:08:42.123456Z",
 *    "op":"20261121-140842-83f0c1","until_ms":1795270122000,"for_ms":1800000}
 *
 * Intent is never health: it says what people want, and is obeyed whatever is seen. What ended
 * says 1000; where there are many it is erased by a later order, in the same transaction: so the
 * newest revision of all of them only grows, and they are bounded. With an end, `until_ms` is the
 * wall clock for people and `for_ms` how long it was to last: who counts it down begins with what
 * the wall clock says is left, at most `for_ms`, and goes on by the monotonic clock. Strict and
 * pure. */
#ifndef FM_AGENT_INTENT_H
#define FM_AGENT_INTENT_H

#include "agent/ops.h"
#include "proxy/view_doc.h"

enum {
    FM_INTENT_ALL = 1000,
    FM_INTENT_KEY_ROOM = 8 + 2 * FM_ROSTER_NAME_ROOM + FM_VIEW_DOC_ADDRESS_MAX,
    FM_INTENT_NAME_ROOM = FM_INTENT_KEY_ROOM,
};

/* What it is about. */
struct fm_intent_about {
    char region[FM_ROSTER_NAME_ROOM];
    char name[FM_ROSTER_NAME_ROOM]; /* "" = all of it; a context, a host; of an instance its pool */
    char address[FM_VIEW_DOC_ADDRESS_MAX + 1]; /* of an instance, as in the file; else "" */
};

struct fm_intent {
    uint16_t serve_permille; /* of the traffic that any region may answer */
    char by[FM_OP_BY_ROOM], reason[FM_OP_REASON_ROOM], at[FM_RFC3339_LEN], op[FM_OP_ID_ROOM];
    int64_t until_ms, for_ms; /* both 0: until somebody says otherwise */
};

json_t *fm_intent_json(const struct fm_intent *i) FM_WARN_UNUSED;
bool fm_intent_read(struct fm_str text, struct fm_intent *i) FM_WARN_UNUSED;

bool fm_intent_key_read(struct fm_str key, struct fm_intent_about *a) FM_WARN_UNUSED;
void fm_intent_key_write(const struct fm_intent_about *a, char out[FM_INTENT_KEY_ROOM]);
/* "west/core/10.0.1.41:9001": as people name an instance. */
bool fm_intent_instance_read(struct fm_str text, struct fm_intent_about *a) FM_WARN_UNUSED;

static inline bool fm_intent_is_same(const struct fm_intent_about *a,
                                     const struct fm_intent_about *b)
{
    return strcmp(a->region, b->region) == 0 && strcmp(a->name, b->name) == 0 &&
           strcmp(a->address, b->address) == 0;
}

/* How long it still lasts; -1: for ever. */
int64_t fm_intent_left_ms(const struct fm_intent *i, int64_t wall_ms);

/* -------- guards -------- */

/* Of a region, as far as it matters to a guard. */
struct fm_intent_region {
    uint32_t capacity;       /* of all contexts, requests a second; 0 = not said */
    uint16_t serve_permille; /* as it would be */
    bool witness, lost;      /* never serves; was not heard for a while */
};

enum fm_intent_verdict {
    FM_INTENT_FINE,
    FM_INTENT_UNKNOWN, /* fine, but that no capacity is said: nobody knows whether it is enough */
    FM_INTENT_LAST_REGION, /* nobody would serve it */
    FM_INTENT_CAPACITY,    /* less is left than the loss of the largest region would leave */
};

/* N-1: a service is to carry its traffic without its largest region, so that as much has to be left
 * as that loss would leave. *left and *needed: where capacities are said. */
enum fm_intent_verdict fm_intent_judge(const struct fm_intent_region *r, unsigned n, uint64_t *left,
                                       uint64_t *needed);

#endif
