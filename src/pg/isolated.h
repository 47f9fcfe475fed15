/* pg/isolated.h: a look at a data directory that only this host has, as a server of its own, and
 * the rows of the transactions that it committed behind a place of its log (SAFETY.md 27 to 29).
 * Used by pg/lost.h, in a child that is the user of the group.
 *
 * The server is reached through a socket in a folder of mode 0700 and through nothing else; it has
 * no standby and no archive, runs none of the group's libraries and nothing by itself, and keeps
 * all of its log. It dies with this process. What it decodes comes from the evidence slots
 * (FM_PG_EVIDENCE_SLOT and the number of the database, made by the agent of a primary), which are
 * looked into and not advanced: whoever is interrupted can look again. After FM_PG_LOOKS_MAX looks
 * that did not end nobody tries any more.
 *
 * Never an error: what cannot be found out is `unknown`, with the reason. */
#ifndef FM_PG_ISOLATED_H
#define FM_PG_ISOLATED_H

#include "base/err.h"
#include "core/lsn.h"

#define FM_PG_EVIDENCE_SLOT "fulmar_rows_"
/* The file in the folder, of the lines of pg/decoded.h. */
#define FM_PG_ROWS_FILE "rows"

enum { FM_PG_ISOLATED_PATH = 640, FM_PG_ROWS_WHY_ROOM = 160, FM_PG_LOOKS_MAX = 3 };

struct fm_pg_rows {
    bool known;                    /* there is a file */
    uint64_t transactions;         /* of which it has changes of rows */
    uint64_t changes;              /* ... so many */
    char why[FM_PG_ROWS_WHY_ROOM]; /* nothing or not all of it is known; tame */
};

struct fm_pg_isolated_job {
    char bin[FM_PG_ISOLATED_PATH], data[FM_PG_ISOLATED_PATH];
    char folder[FM_PG_ISOLATED_PATH]; /* is there; for what is found, and what it needs */
    char admin[64];                   /* a superuser there */
    struct fm_lsn fork;               /* what is committed behind it */
};

/* Blocks, minutes at the most but for the recovery of the server, for which it has ten more. */
void fm_pg_isolated_look(const struct fm_pg_isolated_job *j, struct fm_pg_rows *out);

/* As one child tells it to another: a line with its end. */
enum { FM_PG_ROWS_LINE_ROOM = 256 };
void fm_pg_rows_say(char out[FM_PG_ROWS_LINE_ROOM], const struct fm_pg_rows *r);
/* The last such line of what was said; none: `known` is false, and `why` empty. */
void fm_pg_rows_parse(struct fm_str said, struct fm_pg_rows *out);

#endif
