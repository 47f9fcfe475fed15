/* tests/unit/journal/driver.h: commands as a gate would send them through a journal.
 *
 * On a loop: begin, "execute" once the intent is durable, then the outcome. The answer of a command
 * is a function of its number, so that whoever reads a journal later can tell an outcome that was
 * invented. Used by the tests, by journal_tool and by bench/journal. One thread a driver. */
#ifndef FM_TESTS_JOURNAL_DRIVER_H
#define FM_TESTS_JOURNAL_DRIVER_H

#include "base/list.h"
#include "journal/journal.h"

enum { DRIVER_CONTEXTS = 3, DRIVER_KEY_MAX = 48 };

enum driver_event {
    DRIVER_INTENT,  /* durable: it is executed now */
    DRIVER_OUTCOME, /* durable */
    DRIVER_REFUSED, /* not executed; call.err, call.decision */
    DRIVER_LOST,    /* executed; the journal did not take the outcome */
};

struct driver_command {
    struct fm_journal_call call;
    struct fm_list node; /* spare */
    struct driver *d;
    uint64_t n;
    struct fm_mono began;
    char key[DRIVER_KEY_MAX];
    char *body;
};

struct driver_options {
    const char *prefix;    /* of the keys */
    unsigned in_flight;    /* clients that wait at once */
    uint64_t first, count; /* numbers of the commands */
    size_t body;           /* bytes of each answer */
    bool strict;           /* a client waits for the outcome to be durable, too */
    void (*event)(void *user, enum driver_event what, const struct driver_command *c);
    void *user;
};

struct driver {
    struct driver_options o;
    struct fm_journal *j;
    struct fm_mailbox box;
    struct driver_command *command; /* 2 * in_flight */
    struct fm_list spare;
    uint64_t begun, ended; /* commands; all are over when both are `count`, or stopped */
    unsigned clients;      /* that wait */
    bool stopping;
};

/* `l` outlives it. */
enum fm_err driver_open(struct driver *d, struct fm_loop *l, struct fm_journal *j,
                        const struct driver_options *o, struct fm_error *e) FM_WARN_UNUSED;
void driver_start(struct driver *d);
/* Begin no more. */
void driver_stop(struct driver *d);
bool driver_is_over(const struct driver *d);
void driver_close(struct driver *d);

/* -------- what command n is -------- */

struct fm_str driver_context(uint64_t n);
uint32_t driver_cell(uint64_t n);
void driver_key(const char *prefix, uint64_t n, char out[DRIVER_KEY_MAX]);
/* False where the key is not one of `prefix`. */
bool driver_number(const char *prefix, struct fm_str key, uint64_t *n);
struct fm_idem_hash driver_hash(uint64_t n);
/* Every 16th ends as unknown. */
enum fm_idem_known driver_state(uint64_t n);
uint16_t driver_status(uint64_t n);
void driver_body(uint64_t n, char *out, size_t size);

/* Is this what the journal may hold of a command of this prefix whose outcome was submitted? */
bool driver_is_plausible(const char *prefix, const struct fm_journal_entry *e);

#endif
