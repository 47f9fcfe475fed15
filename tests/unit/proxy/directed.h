/* tests/unit/proxy/directed.h: a director on a loop, with one worker that does not run: what it
 * would count is counted by the test. Names are literals. One a program. */
#ifndef FM_TESTS_UNIT_PROXY_DIRECTED_H
#define FM_TESTS_UNIT_PROXY_DIRECTED_H

#include "given.h"

#include "proxy/director.h"

extern struct net net;
extern struct fm_director director;

/* Before and after each test. */
int directed_setup(void **state);
int directed_teardown(void **state);

/* Once in a test. */
void directed_open(const char *text, enum fm_proxy_mode mode, unsigned self);

/* So many requests of worker 0 have come to this. */
void directed_count(unsigned region, unsigned context, enum fm_outcome o, unsigned n);
/* Tell control, and wait until it has looked. */
void directed_ring(void);

enum fm_health_state directed_state(unsigned region, unsigned context);
unsigned directed_share(unsigned region, unsigned context);
/* Probes fail until it is down. */
void directed_probe_down(unsigned region, unsigned context, const char *why);

#endif
