/* tests/unit/authority.h: two private authorities in folders of their own, each with certificates
 * for west-1 (also west.bank.example and 10.0.0.7) and north-1. For a group of tests. */
#ifndef FM_TESTS_UNIT_AUTHORITY_H
#define FM_TESTS_UNIT_AUTHORITY_H

#include "test.h"

#include "io/tls.h"

extern char ours[], theirs[]; /* the folders */

int make_authorities(void **state);
int remove_authorities(void **state);

/* The path of a file; one of a few buffers. */
char *in(const char *folder, const char *name);

/* Settings that trust our authority and show a host's certificate of `folder`. */
struct fm_tls *side(enum fm_tls_side which, const char *folder, const char *host);

#endif
