/* http/protocol.h: the one rule by which hosts with programs of different versions understand each
 * other, and are kept from misreading each other.
 *
 * What a host says to others or keeps where others read it (posts, views, the records of
 * coordination, marks) is an object of JSON with a member `v`: the protocol that its writer speaks,
 * one number for the whole program. A reader that speaks N
 *   reads N-1, N and N+1; anything else is refused whole, and that is said;
 *   skips members that it does not know, at any depth;
 *   refuses what has a member `must` with anything in it: a list of the names of members without
 *   which the rest would be misread. Each is a later version's; this one knows of none.
 * So a version may add members whose absence is harmless, without another number; what has to be
 * understood it names in `must`, or it counts on by two. A record is written again whole, without
 * what was skipped (docs/reference/wire.md, docs/decisions/0020-one-version-apart.md).
 *
 * What says `v` that it speaks 1 is read as 1 also where it is of a program before this rule.
 * Pure but for memory of jansson; any thread. Nothing is owned. */
#ifndef FM_HTTP_PROTOCOL_H
#define FM_HTTP_PROTOCOL_H

#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>

/* What this program speaks. */
unsigned fm_protocol(void);

/* The beginning of an object, `{"v":1`; a comma has to follow. */
void fm_protocol_begin(struct fm_buf *out);

/* The same put into an object, which is taken and given back; NULL where it is NULL, and without
 * memory. */
json_t *fm_protocol_stamp(json_t *o) FM_WARN_UNUSED;

/* NULL where `o` may be read. Else why not; the text is static. */
const char *fm_protocol_refuses(const json_t *o) FM_WARN_UNUSED;

/* For /status: {"speaks": 1, "reads": [1, 2]}. */
json_t *fm_protocol_json(void);

#endif
