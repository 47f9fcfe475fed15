/* demo/demo.h: `fulmar demo`: two regions, live traffic, a region dies, and the clients' side of it
 * is measured. Starts real processes and breaks them for real. */
#ifndef FM_DEMO_DEMO_H
#define FM_DEMO_DEMO_H

#include <jansson.h>
#include <stdbool.h>

enum fm_demo_scenario { FM_DEMO_KILL = 1, FM_DEMO_FREEZE = 2, FM_DEMO_PARTIAL = 4 };

struct fm_demo_options {
    unsigned scenarios; /* bits of enum fm_demo_scenario */
    unsigned rate, regions;
    bool keep; /* stay up afterwards */
    bool live; /* draw on the terminal */
    bool color;
    bool quiet; /* the caller prints a document: nothing else on stdout */
};

/* Runs it. *report gets a fulmar.demo/1 document, or NULL where nothing could be measured. Returns
 * an exit code of CLI.md: 0, 1 where it could not run, 2 where an objective was missed, 130 after
 * Ctrl-C. */
int fm_demo_main(const struct fm_demo_options *o, json_t **report);

#endif
