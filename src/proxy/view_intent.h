/* proxy/view_intent.h: what operators asked of regions, hosts and instances, in a view
 * (proxy/view_doc.h): how much of the traffic that any region may answer each region is to get, and
 * which gates, edges and instances are to get nothing new. Intent, and never health.
 *
 *   "intents": {"incarnation": 3, "generation": 57,
 *               "of": [{"region": "west", "context": null, "serve_permille": 0}],
 *               "instances": [{"region": "west", "pool": "core", "address": "10.0.1.41:9001"}]}
 *
 * `context` null is all of them; the name of a host stands there, too, since contexts and hosts
 * share one namespace: an older program, which obeys only contexts that it knows, passes over it.
 * Instances stand apart, for the same reason: it would take one for its whole region.
 *
 * Who is not named serves all of it. They have a version of their own and are taken over whole; a
 * view of an older program does not have them, which says nothing. Of a region and one of its
 * contexts the smaller share counts. Pure; errors: false. */
#ifndef FM_PROXY_VIEW_INTENT_H
#define FM_PROXY_VIEW_INTENT_H

#include "proxy/view_doc.h"

#include <jansson.h>

enum { FM_VIEW_INTENT_ALL = 1000 }; /* permille */

/* Permille of the traffic of `context` that this region is to get; 1000 where nothing is said. */
unsigned fm_view_intent_serve(const struct fm_view_doc *d, struct fm_str region,
                              struct fm_str context);

/* Another one, which must have a version then: `context` empty is all. False past the bounds, for
 * what is no name, for one that is there, and for a share of 1000 or more. */
bool fm_view_intent_add(struct fm_view_doc *d, struct fm_str region, struct fm_str context,
                        unsigned serve_permille) FM_WARN_UNUSED;
/* The same for an instance, of a pool. */
bool fm_view_intent_add_instance(struct fm_view_doc *d, struct fm_str region, struct fm_str pool,
                                 struct fm_str address) FM_WARN_UNUSED;
/* Can it be the address of an instance, as the configuration writes it? */
bool fm_view_intent_is_address(struct fm_str s);
/* Is it drained by itself? That its region is does not count here. */
bool fm_view_intent_drains_host(const struct fm_view_doc *d, struct fm_str region,
                                struct fm_str host);
bool fm_view_intent_drains_instance(const struct fm_view_doc *d, struct fm_str region,
                                    struct fm_str pool, struct fm_str address);

/* For view_doc.c. NULL without memory; false where it is none of this form, or newer than `d`. */
json_t *fm_view_intents_json(const struct fm_view_doc *d);
bool fm_view_intents_read(struct fm_view_doc *d, const json_t *o) FM_WARN_UNUSED;
/* Takes over what is newer; true where something was. */
bool fm_view_intents_adopt(struct fm_view_doc *d, const struct fm_view_doc *from);

#endif
