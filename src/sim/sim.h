/* sim/sim.h: the deterministic simulator of authority. It links the objects of core that the
 * program links, and drives them through a world of regions, agents, gates, edges, guards,
 * coordination, an application and its data, under faults that a seed draws. After every step the
 * checker looks for a broken invariant of DESIGN.md section 7.
 *
 * One world at a time, one thread, no clock but its own, no chance but the seed's: the same seed
 * gives the same trace hash with every compiler. Times are nanoseconds of the world unless said;
 * every process has a clock of its own, which drifts. */
#ifndef FM_SIM_SIM_H
#define FM_SIM_SIM_H

#include "base/rand.h"
#include "core/answer.h"
#include "core/authority.h"
#include "core/credit.h"
#include "core/failover.h"
#include "core/group.h"
#include "core/keygate.h"
#include "core/move.h"
#include "core/office.h"
#include "core/once.h"
#include "core/reseed.h"
#include "core/sublease.h"
#include "core/votes.h"
#include "core/yield.h"

enum {
    SIM_REGIONS = 3,
    SIM_AGENTS = 2, /* a region */
    SIM_GATES = 2,
    SIM_EDGES = 3,
    SIM_CONTEXTS = 2,
    SIM_CELLS = 15, /* of the larger context; 16 in all */
    SIM_DBS =
        4, /* nodes of the PostgreSQL group of the first context, in a share of the schedules */
    SIM_PROCS = SIM_REGIONS * (SIM_AGENTS + 2 * SIM_GATES) + SIM_EDGES + SIM_DBS,
    SIM_FAULTS_MAX = 32,
    SIM_COMMANDS_MAX = 4096,
    SIM_LOG_MAX = 1024,
    SIM_STALE = 4,
};

#define SIM_FAULT_KINDS(X)                                                                         \
    X(PARTITION, "partition")                                                                      \
    X(ONE_WAY, "one-way-partition")                                                                \
    X(ISOLATE, "isolated-region")                                                                  \
    X(KILL_AGENT, "agent-killed")                                                                  \
    X(KILL_GATE, "gate-killed")                                                                    \
    X(KILL_REGION, "region-killed")                                                                \
    X(KILL_HOST, "host-killed-guard-lives")                                                        \
    X(KILL_HOSTS, "hosts-killed-guard-lives")                                                      \
    X(CRASH_BETWEEN, "crash-between-actions")                                                      \
    X(LOSE_DISK, "agent-killed-disk-lost")                                                         \
    X(PAUSE_AGENT, "agent-paused")                                                                 \
    X(PAUSE_GATE, "gate-paused")                                                                   \
    X(PAUSE_REGION, "region-paused")                                                               \
    X(LOSS, "loss")                                                                                \
    X(DUPLICATE, "duplication")                                                                    \
    X(DELAY, "delay")                                                                              \
    X(COORD_CUT, "coordination-cut-from-region")                                                   \
    X(COORD_DOWN, "coordination-down")                                                             \
    X(COORD_UNKNOWN, "unknown-outcomes")                                                           \
    X(COORD_LATE, "delayed-applies")                                                               \
    X(COORD_STALE, "stale-reads")                                                                  \
    X(WATCH_GAP, "watch-gap")                                                                      \
    X(ELECTION, "election")                                                                        \
    X(RESTORE, "restored-backup")                                                                  \
    X(CLOCK_RATE, "clock-rates")                                                                   \
    X(STALE_EDGE, "stale-edge")                                                                    \
    X(OPERATOR, "operator")                                                                        \
    X(MEMBERS, "membership-change")                                                                \
    X(CLOCK_BEYOND, "clock-beyond-bound")                                                          \
    X(CLOCK_STOPPED, "pause-with-stopped-clock")

enum sim_fault_kind {
#define X(id, name) SIM_FAULT_##id,
    SIM_FAULT_KINDS(X)
#undef X
        SIM_FAULT_KIND_COUNT
};

struct sim_fault {
    uint8_t kind, a, b;
    uint32_t param;
    int64_t at, length;
};

struct sim_options {
    uint64_t seed;
    uint32_t keep;  /* one bit a fault: those that happen */
    bool beyond;    /* clocks may break the bound */
    bool trace;     /* print what happens */
    bool groups;    /* each schedule has a PostgreSQL group */
    int64_t end_ns; /* 0 = as the seed says */
};

struct sim_result {
    const char *broken; /* NULL: nothing */
    char text[256];
    uint64_t hash;
    int64_t ended_ns;
    uint32_t events, failovers, moves, automatic, admitted, acknowledged, unknown, refused, lost;
    bool has_group;
    uint32_t unserved, promotions, resumes, rewinds, clones, kept, yields, commits,
        commits_lost; /* of the group */
    uint32_t faults_drawn, nfaults;
    uint16_t kinds[SIM_FAULT_KIND_COUNT];
};

void sim_run(const struct sim_options *o, struct sim_result *r);
const char *sim_fault_name(unsigned kind);

#endif
