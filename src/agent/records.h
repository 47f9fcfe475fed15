/* agent/records.h: the records of core/record.h as keys and JSON of coordination. Private to
 * src/agent.
 *
 *   region/west/keeper  {"v":1,"agent":"west-1","incarnation":81}
 *   lease/ledger/west
 * {"v":1,"keeper":"west-1","incarnation":81,"counter":7,"life":1,"lease_ms":2000,
 *                        "state":"live","subs":[{"host":"west-1","incarnation":4}]}
 *   cell/ledger/0       {"v":1,"region":"west","state":"held","epoch":3,"gentle_from":1,
 *                        "members":{"west":["west-1"],"north":["north-1"]}}
 *                       with state "released" also "to"; with data of PostgreSQL also "evidence",
 *                       whose numbers of nodes are places in its own list of names, from 1 on,
 *                       and "accepted" where a person accepted an unbounded loss of them
 *   budget/ledger       {"v":1,"spent":1,"freed":0}
 *   view                {"v":1,"incarnation":1,"generation":1}
 *
 * Names stand in them, never a number of one process. What is read and written again means the
 * same, but for what http/protocol.h lets a reader skip. A record that is not of this form, that
 * breaks a bound of core, or that names a region that this file does not know, cannot be read, and
 * whoever needs it must not act: it may be of a version that knows more. Pure, but that names get
 * numbers in the roster. */
#ifndef FM_AGENT_RECORDS_H
#define FM_AGENT_RECORDS_H

#include "agent/roster.h"
#include "base/buf.h"
#include "core/authority.h"

#include <jansson.h>

enum { FM_RECORD_KEY_ROOM = 160, FM_RECORD_TEXT_MAX = 16 * 1024, FM_RECORD_WHY_ROOM = 96 };

/* `out` is terminated. */
void fm_record_key_write(const struct fm_roster *r, const struct fm_record_key *key,
                         char out[FM_RECORD_KEY_ROOM]);
/* False where it is none of these records, or of a context or a region that is not known here. */
bool fm_record_key_read(const struct fm_roster *r, struct fm_str text, struct fm_record_key *out);

/* The value of a record; FM_RECORD_TEXT_MAX bytes are always enough. */
void fm_record_write(const struct fm_roster *r, const struct fm_write *w, struct fm_buf *out);

/* Of the kind that w->key says; fills in w->to. False: `why` says what is wrong. */
bool fm_record_read(struct fm_roster *r, struct fm_str text, struct fm_write *w,
                    char why[FM_RECORD_WHY_ROOM]) FM_WARN_UNUSED;

/* Of a context: a member `evidence` with a comma before it; nothing where there is none. */
void fm_evidence_write(const struct fm_roster *r, unsigned context, const struct fm_evidence *e,
                       struct fm_buf *b);
/* NULL: there is none. 0: what it says of who writes is about a node that is not known here; one
 * that is only promotable is left out. -1: it is none that can be. 1: it was read. */
int fm_evidence_read(const struct fm_roster *r, unsigned context, json_t *evidence,
                     struct fm_evidence *e) FM_WARN_UNUSED;

#endif
