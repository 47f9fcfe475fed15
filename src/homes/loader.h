/* homes/loader.h: directories that change while requests look them up.
 *
 * One thread, with a nice value so that workers go first, loads files and disposes of what nobody
 * uses any more; the loops of control and workers never read a file, build or unmap anything. A
 * snapshot is immutable and counted. Control asks for a load and gets it on its own loop; it hands
 * the snapshot to each worker by mailbox, as it does with views; a worker looks up within one turn
 * of its loop and keeps nothing of it, so an old one is free as soon as every worker has turned
 * once, however long its requests last.
 *
 * Of one file at most two snapshots exist: a load waits until the one before the last was dropped.
 *
 * Ownership: files and seats belong to the caller, and live until control's mailbox is closed. The
 * loader outlives all snapshots. Control's functions are called on control's thread. */
#ifndef FM_HOMES_LOADER_H
#define FM_HOMES_LOADER_H

#include "homes/tenants.h"
#include "io/mailbox.h"

struct fm_homes_loader;
struct fm_homes_file;

/* A snapshot. */
struct fm_homes {
    struct fm_tenants *tenants;
    struct fm_homes_file *file;
    _Atomic uint32_t refs;
    struct fm_msg retire; /* of the loader, once the last reference is gone */
};

void fm_homes_ref(struct fm_homes *h);
/* Any thread; never blocks: the last one only leaves a note for the loader. NULL is allowed. */
void fm_homes_unref(struct fm_homes *h);

struct fm_homes_file {
    /* The caller's, set before fm_homes_file_init; `spec` may be changed within `loaded`. */
    struct fm_tenants_spec spec; /* .stop is the loader's */
    /* On control's loop. `h` carries a reference for whoever takes it; it is NULL where the load
     * failed, and the report says why. The report is empty again afterwards. */
    void (*loaded)(struct fm_homes_file *f, struct fm_homes *h, struct fm_conf_report *report);

    /* control's side */
    struct fm_homes_loader *loader; /* NULL once it is gone */
    struct fm_homes_file *next;     /* of the loader's */
    bool busy, again;
    /* the loader's side */
    struct fm_msg ask, answer;
    struct fm_homes *result;
    struct fm_conf_report report;
    unsigned live; /* snapshots that exist */
    bool waits;    /* for one of them to be dropped */
};

/* Answers come by `control`. */
struct fm_homes_loader *fm_homes_loader_new(struct fm_mailbox *control,
                                            struct fm_error *e) FM_WARN_UNUSED;
/* Stops what is being loaded. Nobody else holds a snapshot any more; what was loaded and not told
 * yet is disposed of, and not told any more. */
void fm_homes_loader_free(struct fm_homes_loader *l);

void fm_homes_file_init(struct fm_homes_file *f, struct fm_homes_loader *l);

/* Load it, now or after the load that is under way: however often it is asked for meanwhile, it is
 * loaded once more. */
void fm_homes_file_load(struct fm_homes_file *f);

/* -------- what one thread looks up in -------- */

struct fm_homes_seat {
    struct fm_homes *now; /* NULL before the first */
};

/* Put a snapshot into a seat of the loop of `to`, and drop what was there. False where there is no
 * memory for the message. The seat lives until `to` is closed. */
bool fm_homes_hand(struct fm_mailbox *to, struct fm_homes_seat *seat,
                   struct fm_homes *h) FM_WARN_UNUSED;
/* On the seat's own thread. */
void fm_homes_seat_clear(struct fm_homes_seat *seat);

#endif
