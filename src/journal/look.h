/* journal/look.h: reading a journal file from outside, also while its daemon writes.
 *
 * A read-only connection. Each call reads in short pieces, so that it never keeps the daemon from
 * emptying its write-ahead log; what it shows may therefore be from moments some milliseconds
 * apart. Blocks; for commands of operators. Entries are views, valid inside of the callback. */
#ifndef FM_JOURNAL_LOOK_H
#define FM_JOURNAL_LOOK_H

#include "base/err.h"
#include "journal/entry.h"

struct fm_journal_look;

/* FM_ERR_NOT_FOUND: no such file. FM_ERR_INVALID: not a journal. */
struct fm_journal_look *fm_journal_look_open(const char *path, struct fm_error *e) FM_WARN_UNUSED;
void fm_journal_look_close(struct fm_journal_look *l);

/* Of what service it is; valid until the close. */
struct fm_str fm_journal_look_service(const struct fm_journal_look *l);
/* Does a process have it open for writing? If not, what it calls in flight was cut off, and will be
 * `unknown` at the next start. */
bool fm_journal_look_is_live(const struct fm_journal_look *l);

struct fm_journal_filter {
    struct fm_str context;    /* n = 0: all */
    enum fm_idem_known state; /* ABSENT: all; else QUEUED, IN_FLIGHT, UNKNOWN or DONE */
    unsigned limit;           /* the newest */
};

/* Newest first; of queued requests `seq` is the id, and `answer` is empty. */
enum fm_err fm_journal_look_list(struct fm_journal_look *l, const struct fm_journal_filter *f,
                                 void (*each)(const struct fm_journal_entry *e, void *user),
                                 void *user, struct fm_error *e) FM_WARN_UNUSED;

/* The one with this key; FM_ERR_NOT_FOUND where there is none. */
enum fm_err fm_journal_look_find(struct fm_journal_look *l, struct fm_str context,
                                 struct fm_str key,
                                 void (*each)(const struct fm_journal_entry *e, void *user),
                                 void *user, struct fm_error *e) FM_WARN_UNUSED;

#endif
