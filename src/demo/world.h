/* demo/world.h: the demonstration's world: processes on loopback in a temporary folder.
 *
 * One store, one edge, and per region an agent, two instances of the bank and its card network. All
 * are children of this process and die with it. Nothing needs root; ports are free ones. Belongs to
 * one thread. */
#ifndef FM_DEMO_WORLD_H
#define FM_DEMO_WORLD_H

#include "base/err.h"
#include "io/addr.h"
#include "io/process.h"

#include <limits.h>

enum { FM_WORLD_REGIONS_MAX = 8, FM_WORLD_APPS = 2 };

enum fm_world_role {
    FM_WORLD_AGENT,
    FM_WORLD_APP_1,
    FM_WORLD_APP_2,
    FM_WORLD_NETWORK,
    FM_WORLD_ROLES
};

struct fm_world_process {
    struct fm_child child;
    char name[32];
    char *argv[12];
    char args[12][PATH_MAX];
    bool wanted; /* it should run: its end is news */
    struct fm_world *world;
};

struct fm_world_region {
    char name[16];
    uint16_t gate, peer, admin, app[FM_WORLD_APPS], app_admin[FM_WORLD_APPS], network;
    struct fm_world_process process[FM_WORLD_ROLES];
};

struct fm_world {
    struct fm_loop *loop;
    char dir[PATH_MAX];
    char fulmar[PATH_MAX], bank[PATH_MAX], contexts[PATH_MAX], config[PATH_MAX + 16];
    int log_fd;
    unsigned nregions;
    struct fm_world_region region[FM_WORLD_REGIONS_MAX];
    struct fm_world_process store, edge;
    uint16_t store_port, edge_port, edge_admin;
    /* Something ended that should run. */
    void (*died)(struct fm_world *w, const char *name);
    void *user;
};

/* Finds the programs, makes the folder and the configuration. */
enum fm_err fm_world_init(struct fm_world *w, struct fm_loop *l, unsigned nregions,
                          struct fm_error *e) FM_WARN_UNUSED;
/* First the store and the regions, then, once they are ready, the edge. */
enum fm_err fm_world_start_regions(struct fm_world *w, struct fm_error *e) FM_WARN_UNUSED;
enum fm_err fm_world_start_edge(struct fm_world *w, struct fm_error *e) FM_WARN_UNUSED;
/* Do they answer, and call themselves healthy? Blocks for some milliseconds. */
bool fm_world_regions_are_ready(const struct fm_world *w);
bool fm_world_edge_is_ready(const struct fm_world *w);

/* Faults, and what heals them. */
void fm_world_kill(struct fm_world *w, unsigned region);
void fm_world_freeze(struct fm_world *w, unsigned region);
void fm_world_break_network(struct fm_world *w, unsigned region);
/* Continue what was stopped, start what is not running. */
enum fm_err fm_world_heal(struct fm_world *w, unsigned region, struct fm_error *e) FM_WARN_UNUSED;

struct fm_addr fm_world_loopback(uint16_t port);

/* Ends all processes and removes the folder. Safe at any time, also twice. */
void fm_world_deinit(struct fm_world *w);

#endif
