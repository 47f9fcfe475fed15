/* bench/load_app.h: the application behind the proxy, inside of the load generator.
 *
 * Where load and application share a core as two processes, each works through all that waits for
 * it before the other runs, and what a client waits for is mostly that. In one loop they take turns
 * event by event, without a switch between them, as if they stood on machines of their own.
 *
 * It answers any request without a body with the same bytes. Owned by the loop whose epoll is
 * given; it lives until the program ends. */
#ifndef FULMAR_BENCH_LOAD_APP_H
#define FULMAR_BENCH_LOAD_APP_H

#include "load_options.h"

/* What an event of that epoll points to: first in everything that is watched. */
struct watched {
    bool is_app;
};

struct app;

/* Listens on the ports of the options. */
struct app *app_open(const struct options *o, int epoll);
/* For events of what `is_app`. */
void app_event(struct app *a, struct watched *w);

#endif
