/* tests/coord/suite.h: what every store of coordination has to keep, as cases that run against
 * whatever is at the target. Each works under a prefix of its own, so that they run in any order
 * and again. A case ends by returning, or by a broken promise (drive.h). */
#ifndef FM_TESTS_COORD_SUITE_H
#define FM_TESTS_COORD_SUITE_H

#include "drive.h"

struct suite_case {
    const char *name;
    void (*run)(const struct drive_target *t);
};

extern const struct suite_case suite[]; /* ends with a NULL name */

/* A key of the case at hand: "NAME/<run>/key"; valid for a few calls. */
const char *suite_key(const char *key);
/* False where it broke a promise; drive_why says which. */
bool suite_run(const struct suite_case *c, const struct drive_target *t);

/* watches.c */
void watch_begins_fresh(const struct drive_target *t);
void watch_goes_on_from_a_revision(const struct drive_target *t);
void watch_survives_being_silent(const struct drive_target *t);
void watches_that_come_and_go_leave_nothing(const struct drive_target *t);
void watch_of_what_is_forgotten_begins_fresh(const struct drive_target *t);
void watch_keeps_transactions_whole(const struct drive_target *t);

#endif
