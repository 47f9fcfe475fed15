/* fulmar-sim: runs schedules. `./dev sim` builds and calls it. */
#include "sim/sim.h"

#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef FM_MUTANTS
unsigned fm_mutant, fm_mutant_hits;
#endif

int main(int argc, char **argv)
{
    uint64_t seed = 1, count = 1;
    bool tr = false;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--seed"))
            seed = strtoull(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--count"))
            count = strtoull(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--trace"))
            tr = true;
#ifdef FM_MUTANTS
        else if (!strcmp(argv[i], "--mutant"))
            fm_mutant = (unsigned)strtoull(argv[++i], NULL, 10);
#endif
    }
    unsigned long long ev = 0, ack = 0, fo = 0, bad = 0, mv = 0, rf = 0;
    for (uint64_t s = seed; s < seed + count; s++) {
        struct sim_result r;
        struct sim_options o = {.seed = s, .keep = UINT32_MAX, .trace = tr};
        sim_run(&o, &r);
        ev += r.events;
        ack += r.acknowledged;
        fo += r.failovers;
        mv += r.moves;
        rf += r.refused;
        if (r.broken) {
            bad++;
            printf("seed %" PRIu64 ": %s at %.3f s: %s\n", s, r.broken, (double)r.ended_ns / 1e9,
                   r.text);
        }
        if (count == 1)
            printf("hash %016" PRIx64 "\n", r.hash);
    }
    printf("%llu events %llu acked %llu refused %llu failovers %llu moves %llu bad, %.2f s\n", ev,
           ack, rf, fo, mv, bad, (double)clock() / CLOCKS_PER_SEC);
    return bad != 0;
}
