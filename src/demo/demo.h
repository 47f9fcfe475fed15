/* demo/demo.h: `fulmar demo`: regions, live traffic, then something breaks, and the clients' side
 * of it is measured. Starts real processes and breaks them for real. */
#ifndef FM_DEMO_DEMO_H
#define FM_DEMO_DEMO_H

#include <jansson.h>
#include <stdbool.h>

enum fm_demo_story {
    FM_DEMO_BANK,           /* three topologies */
    FM_DEMO_READ_ONLY_SITE, /* nobody takes over; queries go on */
    FM_DEMO_COLD_STANDBY,   /* the app of the second region is stopped until it is needed */
};

enum fm_demo_scenario {
    FM_DEMO_KILL = 1,
    FM_DEMO_FREEZE = 2,
    FM_DEMO_PARTIAL = 4,
    FM_DEMO_PARTITION = 8,
    FM_DEMO_COORDINATION_LOSS = 16,
    FM_DEMO_SPLIT_BRAIN = 32,
    FM_DEMO_MOVE = 64,
    FM_DEMO_READ_ONLY = 128, /* the one of the read-only site */
    /* those of the cold standby, in this order */
    FM_DEMO_STAND_DOWN = 256,
    FM_DEMO_COMPLETE = 512,
    FM_DEMO_FAILBACK = 1024,
    /* those of a ledger that is a PostgreSQL group */
    FM_DEMO_GROUP_SWITCHOVER = 2048,
    FM_DEMO_GROUP_FORCED = 4096,
    FM_DEMO_GROUP_FAILBACK = 8192,
    FM_DEMO_PREPARE = 16384, /* of a cold standby whose data are one; the first of them */
};

enum {
    /* what is shown where nothing was asked for, in about a minute */
    FM_DEMO_TOUR = FM_DEMO_KILL | FM_DEMO_MOVE | FM_DEMO_PARTITION | FM_DEMO_COORDINATION_LOSS |
                   FM_DEMO_SPLIT_BRAIN,
    FM_DEMO_STORE = FM_DEMO_TOUR | FM_DEMO_FREEZE | FM_DEMO_PARTIAL,
    FM_DEMO_GROUP = FM_DEMO_GROUP_SWITCHOVER | FM_DEMO_GROUP_FORCED | FM_DEMO_GROUP_FAILBACK,
    FM_DEMO_ALL = FM_DEMO_STORE | FM_DEMO_GROUP,
    FM_DEMO_COLD = FM_DEMO_STAND_DOWN | FM_DEMO_COMPLETE | FM_DEMO_FAILBACK,
    FM_DEMO_COLD_GROUP = FM_DEMO_PREPARE | FM_DEMO_COLD,
};

struct fm_demo_options {
    enum fm_demo_story story;
    unsigned scenarios; /* bits of enum fm_demo_scenario */
    unsigned rate, regions;
    unsigned group_rate; /* where the ledger is a PostgreSQL group */
    bool keep;           /* stay up afterwards */
    bool live;           /* draw on the terminal */
    bool color;
    bool quiet; /* the caller prints a document: nothing else on stdout */
};

/* As it is typed, and as its folder of examples is called. */
const char *fm_demo_story_name(enum fm_demo_story s);

/* The scenario of this name among `these`; 0 where there is none. */
unsigned fm_demo_scenario_find(const char *name, unsigned these);

/* Why the scenarios FM_DEMO_GROUP and FM_DEMO_COLD_GROUP cannot be shown here; NULL: they can. */
const char *fm_demo_group_missing(void);

/* Runs it. *report gets a fulmar.demo/1 document, or NULL where nothing could be measured. Returns
 * an exit code of CLI.md: 0, 1 where it could not run, 2 where an objective was missed, 130 after
 * Ctrl-C. */
int fm_demo_main(const struct fm_demo_options *o, json_t **report);

#endif
