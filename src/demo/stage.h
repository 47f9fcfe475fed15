/* demo/stage.h: what the parts of the demonstration share. Private to src/demo.
 *
 * One thread runs the sequence and draws (demo.c); a scenario (scenarios.c) breaks something, lets
 * time pass, heals it and is measured (report.c). The load and the network have threads of their
 * own. */
#ifndef FM_DEMO_STAGE_H
#define FM_DEMO_STAGE_H

#include "demo/measure.h"
#include "demo/view.h"
#include "demo/world.h"

enum { FM_STAGE_RETURN_MS = 45000, FM_STAGE_SETTLE_MS = 12000 };

struct fm_demo {
    struct fm_demo_options options;
    struct fm_pool pool;
    struct fm_loop loop;
    struct fm_signals signals;
    struct fm_world world;
    struct fm_view_state view;
    struct fm_load *load;
    json_t *status; /* the last one of the edge */
    struct fm_error error;
    size_t first, last; /* requests of the scenario that is measured */
    bool interrupted, heal_asked, failed;
};

/* Let `ms` pass, or until `until` says so; false when it was interrupted. */
bool fm_stage_wait(struct fm_demo *d, int64_t ms, bool (*until)(struct fm_demo *d));
/* Read the edge's status and draw. */
void fm_stage_refresh(struct fm_demo *d);
/* Every region is well for every context, and every cell is held. For fm_stage_wait. */
bool fm_stage_all_up(struct fm_demo *d);
/* The region that holds the context that one region writes. */
unsigned fm_stage_writer(const struct fm_demo *d);
const char *fm_stage_exclusive(const struct fm_demo *d);

/* -------- scenarios.c -------- */

/* Those of `which`, one after the other; what was measured is added to `list`. False when it was
 * interrupted or failed (d->failed). */
bool fm_stage_run(struct fm_demo *d, unsigned which, json_t *list);

/* -------- group.c: the ledger as a PostgreSQL group -------- */

struct fm_stage_group {
    bool primary;           /* there is one, where the ledger is held */
    bool enforced;          /* what would be lost with it is bounded, ... */
    json_int_t bound_bytes; /* ... by so much; -1 = it is not */
    unsigned standbys;      /* that count */
    json_int_t lacks_bytes; /* replication is broken on purpose, and so much lacks there; -1 */
};

/* As its primary says; false where nobody does. */
bool fm_stage_group_look(const struct fm_demo *d, struct fm_stage_group *g);
/* Every node follows, and counts. For fm_stage_wait. */
bool fm_stage_group_is_whole(struct fm_demo *d);
/* The nodes, the bank's user, its tables. False: why is in d->error. */
bool fm_stage_group_make(struct fm_demo *d);
/* Adds the debits of these requests that are in the database. */
bool fm_stage_group_keys(struct fm_demo *d, size_t first, size_t last, unsigned char *effects);
/* Do the balances of the accounts agree with the debits? */
bool fm_stage_group_balances(struct fm_demo *d);
/* Could the rows be read that would be lost? Agents see to that some seconds after a database was
 * made. */
bool fm_stage_group_keeps_rows(struct fm_demo *d);

/* -------- report.c -------- */

struct fm_objectives {
    int64_t gap_ms, pause_ms; /* 0 = none */
    bool detected;            /* the edge must have noticed */
    bool read_only;           /* commands may be refused meanwhile, with 503 and no other way */
    bool only_cards;          /* and have moved nothing else */
    bool judged;              /* the scenario itself says which may fail */
    bool may_lose;            /* debits that were acknowledged: the scenario says how many */
};

struct fm_edge_view {
    double detect_ms, quiet_ms; /* below 0: not known */
    char moved[96];             /* what but the cards was taken out of the broken region, and why */
};

struct fm_edge_view fm_report_edge(const json_t *status, const char *region, const char *context,
                                   int64_t fault_ns);
/* All that was measured; the scenario adds what is its own, and may turn `pass` to false. */
json_t *fm_report_scenario(const struct fm_demo *d, const char *name, const char *region,
                           const struct fm_objectives *objectives, const struct fm_measure *m,
                           const struct fm_edge_view *v, bool effects);
json_t *fm_report_ms(double ms);

/* -------- ask.c -------- */

/* Sends a whole request (with `Connection: close`) and reads the answer, terminated. The status; 0
 * where the connection was closed without one. Blocks, five seconds at the most. */
unsigned fm_ask(uint16_t port, struct fm_str text, char *answer, size_t cap);
/* The value of a header in such an answer, copied; empty where it has none. `name` with ": ". */
void fm_ask_header(const char *answer, const char *name, char *out, size_t cap);

/* -------- late.c: a region that comes too late -------- */

/* Commands straight to the gate, and to the instances, of `region`, under the authority that it
 * had: `said` is what an edge would have stamped them with. Gets an object with how many were
 * refused, and by which rule; NULL without memory. Blocks for some milliseconds. */
json_t *fm_late_commands(const struct fm_demo *d, unsigned region, const char *said,
                         bool *all_refused);
/* How often this region's gate found that it had been frozen; -1 where it does not answer. */
int64_t fm_late_stalls(const struct fm_demo *d, unsigned region);

/* -------- operate.c: what an operator types -------- */

enum { FM_OPERATE_FAILED = -1, FM_OPERATE_REFUSED = 3, FM_OPERATE_DETACHED = 4 };

/* Runs `fulmar WORDS` at the agent of `region`; the words end with NULL. Its exit code;
 * FM_OPERATE_FAILED where it did not end within its time-out, or was interrupted. What stands
 * against it is in d->error. *took_ms: how long it took. What it printed, until the next one. */
int fm_operate_code(struct fm_demo *d, unsigned region, const char *const *words, double *took_ms,
                    const char **printed);
/* The same; did it succeed? */
bool fm_operate(struct fm_demo *d, unsigned region, const char *const *words, double *took_ms,
                const char **printed);
/* `fulmar move CONTEXT --to REGION`; `cells` may be NULL (all). */
bool fm_operate_move(struct fm_demo *d, const char *context, unsigned to, const char *cells,
                     double *took_ms);

#endif
