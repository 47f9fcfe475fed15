/* tests/unit/proxy/given.h: a configuration out of a text, and what the parts of a proxy are made
 * from it. Everything belongs to the caller. */
#ifndef FM_TESTS_UNIT_PROXY_GIVEN_H
#define FM_TESTS_UNIT_PROXY_GIVEN_H

#include "net.h"

#include "proxy/board.h"
#include "proxy/view.h"

/* Two regions without agents (west before north), two contexts of two pools. */
extern const char given_two_regions[];

/* The test fails where it has errors; warnings are fine. */
struct fm_conf *given_conf(const char *text);

/* A board of it that rings nobody. */
struct fm_board *given_board(const char *text, unsigned nworkers);

/* "127.0.0.1:80" */
struct fm_addr given_addr(const char *text);
struct fm_view_address given_address(unsigned region, unsigned pool, const char *addr);

#endif
