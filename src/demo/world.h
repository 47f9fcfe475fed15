/* demo/world.h: the demonstration's world: processes on loopback in a temporary folder.
 *
 * One store, one edge, a witness that owns the coordination file, and per region an agent, two
 * instances of the bank and its card network. All are children of this process and die with it.
 * Regions and the witness reach each other through fault proxies (demo/links.h): each has a
 * configuration of its own, in which the others stand at those. Nothing needs root; ports are free
 * ones. Where the ledger is a PostgreSQL group its nodes are run by the agents, as `postgres` where
 * this is root, in a folder of their own. Belongs to one thread. */
#ifndef FM_DEMO_WORLD_H
#define FM_DEMO_WORLD_H

#include "base/err.h"
#include "demo/demo.h"
#include "demo/links.h"
#include "io/addr.h"
#include "io/process.h"

#include <limits.h>

enum {
    FM_WORLD_REGIONS_MAX = 8,
    FM_WORLD_PLACES_MAX = FM_WORLD_REGIONS_MAX + 1, /* and the witness, which is the last one */
    FM_WORLD_APPS = 2,
    FM_WORLD_SECRET = 16,
    FM_WORLD_PORTS_MAX = 512
};

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
    bool again;  /* it is ending, and should run again then */
    struct fm_world *world;
};

struct fm_world_region {
    char name[16];
    uint16_t gate, peer, admin, app[FM_WORLD_APPS], app_admin[FM_WORLD_APPS], network;
    uint16_t postgres, door_write, door_read; /* of the ledger's group */
    /* where another place finds its gate and its peer port */
    uint16_t gate_from[FM_WORLD_PLACES_MAX], peer_from[FM_WORLD_PLACES_MAX];
    struct fm_world_process process[FM_WORLD_ROLES];
};

struct fm_world {
    struct fm_loop *loop;
    enum fm_demo_story story;
    bool group; /* the ledger is a PostgreSQL group, of the context `ledger` or of the site */
    char dir[PATH_MAX], data[PATH_MAX];
    char fulmar[PATH_MAX], bank[PATH_MAX], contexts[PATH_MAX], schema[PATH_MAX];
    char password[2 * FM_WORLD_SECRET + 1]; /* of the bank's user in PostgreSQL */
    char config[PATH_MAX + 16]; /* of the edge and of who looks on: everything is where it is */
    int log_fd;
    int reserved[FM_WORLD_PORTS_MAX]; /* its ports, from who starts beside it; -1: none */
    size_t nreserved;
    unsigned nregions;
    struct fm_world_region region[FM_WORLD_PLACES_MAX]; /* [nregions]: the witness's */
    struct fm_world_process store, edge, witness;
    struct fm_links *links;
    uint16_t store_port, edge_port, edge_admin;
    struct fm_watch services; /* of a cold standby: what its commands write; fd -1: there is none */
    /* Something ended that should run. */
    void (*died)(struct fm_world *w, const char *name);
    /* A command of the standby has asked for this: "start", "stop". */
    void (*asked)(struct fm_world *w, const char *what, const char *region);
    void *user;
};

/* Finds the programs, makes the folder, the configurations and the network. */
enum fm_err fm_world_init(struct fm_world *w, struct fm_loop *l, enum fm_demo_story story,
                          bool group, unsigned nregions, struct fm_error *e) FM_WARN_UNUSED;
/* First the store, the witness and the regions, then, once they are ready, the edge. */
enum fm_err fm_world_start_regions(struct fm_world *w, struct fm_error *e) FM_WARN_UNUSED;
enum fm_err fm_world_start_edge(struct fm_world *w, struct fm_error *e) FM_WARN_UNUSED;
/* Do they answer, and call themselves healthy? Blocks for some milliseconds. */
bool fm_world_regions_are_ready(const struct fm_world *w);
bool fm_world_edge_is_ready(const struct fm_world *w);

/* Is the app of this region one that is stopped until it is needed? */
bool fm_world_is_cold(const struct fm_world *w, unsigned region);
/* Does any instance of its app run? */
bool fm_world_app_runs(const struct fm_world *w, unsigned region);

/* Faults, and what heals them. */
void fm_world_kill(struct fm_world *w, unsigned region);
/* The postmaster of the ledger's node there. What is left of it is the guard's business. */
void fm_world_kill_postgres(struct fm_world *w, unsigned region);
void fm_world_freeze(struct fm_world *w, unsigned region);
void fm_world_break_network(struct fm_world *w, unsigned region);
/* It sees no other region, nor the witness and its coordination; edges see all of them. */
void fm_world_cut_off(struct fm_world *w, unsigned region);
/* No node of the ledger hears another one; agents do. */
void fm_world_cut_data(struct fm_world *w);
/* What it says to other places, and they to it, takes so long. */
void fm_world_slow(struct fm_world *w, unsigned region, int32_t ms);
void fm_world_stop_coordination(struct fm_world *w);
/* Mend the network, continue what was stopped, start what is not running. */
enum fm_err fm_world_heal(struct fm_world *w, unsigned region, struct fm_error *e) FM_WARN_UNUSED;
enum fm_err fm_world_start_coordination(struct fm_world *w, struct fm_error *e) FM_WARN_UNUSED;

struct fm_addr fm_world_loopback(uint16_t port);

/* Into what the commands `standby.start` and `stop` of the demonstration write: the demonstration
 * is the service manager of all its regions. */
void fm_world_services_path(const struct fm_world *w, char out[PATH_MAX + 32]);

/* Mend the network, and nothing else. */
void fm_world_mend(struct fm_world *w);

/* The file with `password`, for the instances. */
void fm_world_password_path(const struct fm_world *w, char out[PATH_MAX + 32]);

/* Ends all processes, PostgreSQL with them, and removes the folders. Safe at any time, also twice.
 */
void fm_world_deinit(struct fm_world *w);

/* -------- world_setup.c -------- */

enum fm_err fm_world_find_programs(struct fm_world *w, struct fm_error *e) FM_WARN_UNUSED;
/* A folder for the data, and whom it belongs to. */
enum fm_err fm_world_make_data(struct fm_world *w, struct fm_error *e) FM_WARN_UNUSED;
enum fm_err fm_world_take_ports(struct fm_world *w, struct fm_error *e) FM_WARN_UNUSED;
enum fm_err fm_world_write_configs(struct fm_world *w, struct fm_error *e) FM_WARN_UNUSED;
/* The ways between places, for demo/links.h; returns how many. */
enum fm_err fm_world_connect(struct fm_world *w, struct fm_error *e) FM_WARN_UNUSED;
/* The configuration of this place. */
void fm_world_config_of(const struct fm_world *w, unsigned place, char out[PATH_MAX + 32]);

#endif
