/* fulmar-sim: runs schedules and says what came of them. `./dev sim` builds and calls it.
 *
 *   fulmar-sim [--seed S] [--count N] [--beyond] [--trace] [--hashes] [--keep MASK] [--end SECONDS]
 *              [--shrink] [--mutant NAME] [--list]
 *
 * Exit code 0: nothing was broken (with --beyond: breaches were found and reported); 1: something
 * was, or with --beyond nothing, or a whole schedule had no failover, which would show little; 64:
 * usage. */
#include "sim/sim.h"

#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef FM_MUTANTS
unsigned fm_mutant, fm_mutant_hits;

static const struct {
    const char *name, *what;
} mutants[] = {{"none", ""},
#define X(id, what) {#id, what},
               FM_RULES(X)
#undef X
};
#endif

enum { MEDIANS_MAX = 200000 };

struct options {
    struct sim_options sim;
    uint64_t count;
    bool shrink, hashes, list, first;
};

struct sums {
    uint64_t runs, broken, events, failovers, automatic, moves, admitted, acknowledged, unknown,
        refused, lost, groups, unserved, promotions, resumes, rewinds, clones, kept, yields,
        commits, commits_lost, faults, without_failover, without_kinds;
    uint64_t kinds[SIM_FAULT_KIND_COUNT];
    double simulated_s;
    float *seconds, *per_run;
};

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double median(float *v, uint64_t n)
{
    qsort(v, n, sizeof *v, by_size);
    return n ? (double)v[n / 2] : 0;
}

static void add(struct sums *s, const struct sim_result *r)
{
    unsigned kinds = 0;
    for (unsigned k = 0; k < SIM_FAULT_KIND_COUNT; k++) {
        s->kinds[k] += r->kinds[k];
        kinds += r->kinds[k] != 0;
    }
    if (s->runs < MEDIANS_MAX) {
        s->seconds[s->runs] = (float)((double)r->ended_ns / 1e9);
        s->per_run[s->runs] = (float)r->failovers;
    }
    s->runs++;
    s->broken += r->broken != NULL;
    s->events += r->events;
    s->failovers += r->failovers;
    s->automatic += r->automatic;
    s->moves += r->moves;
    s->admitted += r->admitted;
    s->acknowledged += r->acknowledged;
    s->unknown += r->unknown;
    s->refused += r->refused;
    s->lost += r->lost;
    s->groups += r->has_group;
    s->unserved += r->unserved;
    s->promotions += r->promotions;
    s->resumes += r->resumes;
    s->rewinds += r->rewinds;
    s->kept += r->kept;
    s->yields += r->yields;
    s->clones += r->clones;
    s->commits += r->commits;
    s->commits_lost += r->commits_lost;
    s->faults += r->nfaults;
    s->without_failover += r->failovers == 0;
    s->without_kinds += kinds < 3;
    s->simulated_s += (double)r->ended_ns / 1e9;
}

static void print_sums(const struct sums *s, double cpu_s)
{
    uint64_t n = s->runs < MEDIANS_MAX ? s->runs : MEDIANS_MAX;
    double runs = s->runs ? (double)s->runs : 1;
    printf("schedules  %" PRIu64 " in %.1f s of CPU: %.0f a minute, %.1f million events\n", s->runs,
           cpu_s, (double)s->runs / cpu_s * 60, (double)s->events / 1e6);
    printf("simulated  median %.1f minutes each, %.0f hours in all; %d regions, %d cells\n",
           median(s->seconds, n) / 60, s->simulated_s / 3600, SIM_REGIONS, SIM_CELLS + 1);
    printf("hands      %.1f failovers of a cell each (median %.0f), %.1f planned moves, %" PRIu64
           " automatic orders; %" PRIu64 " schedules without a failover\n",
           (double)s->failovers / runs, median(s->per_run, n), (double)s->moves / runs,
           s->automatic, s->without_failover);
    printf("commands   %" PRIu64 " admitted, %" PRIu64 " acknowledged, %" PRIu64
           " tries of unknown outcome, %" PRIu64 " refused, %" PRIu64
           " acknowledged and lost by force\n",
           s->admitted, s->acknowledged, s->unknown, s->refused, s->lost);
    printf("groups     %" PRIu64 " schedules: %" PRIu64 " promotions, %" PRIu64 " starts of a "
           "primary, %" PRIu64 " rewinds, %" PRIu64 " copies, %" PRIu64
           " looks at what only one node had, %" PRIu64 " times given up; %" PRIu64
           " commits acknowledged, "
           "%" PRIu64 " of them lost by force; %" PRIu64 " end with nobody to serve\n",
           s->groups, s->promotions, s->resumes, s->rewinds, s->clones, s->kept, s->yields,
           s->commits, s->commits_lost, s->unserved);
    printf("faults     %.1f each; %" PRIu64 " schedules with fewer than three kinds\n",
           (double)s->faults / runs, s->without_kinds);
    for (unsigned k = 0; k < SIM_FAULT_KIND_COUNT; k++)
        if (s->kinds[k])
            printf("           %8" PRIu64 "  %s\n", s->kinds[k], sim_fault_name(k));
}

static void print_command(const struct sim_options *o)
{
    printf("  ./dev sim --seed %" PRIu64 "%s", o->seed, o->beyond ? " --beyond" : "");
    if (o->groups)
        printf(" --groups");
    if (o->keep != UINT32_MAX)
        printf(" --keep 0x%x", o->keep);
    if (o->end_ns)
        printf(" --end %.1f", (double)o->end_ns / 1e9);
#ifdef FM_MUTANTS
    if (fm_mutant)
        printf(" --mutant %s", mutants[fm_mutant].name);
#endif
    printf(" --trace\n");
}

static void print_broken(const struct sim_options *o, const struct sim_result *r)
{
    printf("seed %" PRIu64 ": %s broken at %.3f s: %s\n", o->seed, r->broken,
           (double)r->ended_ns / 1e9, r->text);
    print_command(o);
}

/* Leave out fault by fault, and the end, as long as the same invariant breaks. */
static void shrink(struct sim_options o)
{
    struct sim_result r, best;
    sim_run(&o, &best);
    if (!best.broken)
        return;
    bool liveness = !strcmp(best.broken, "liveness");
    if (o.keep == UINT32_MAX)
        o.keep = (uint32_t)((UINT64_C(1) << best.faults_drawn) - 1);
    for (bool again = true; again;) {
        again = false;
        for (unsigned i = 0; i < best.faults_drawn; i++) {
            struct sim_options with = o;
            if (!(o.keep >> i & 1))
                continue;
            with.keep &= ~(1u << i);
            sim_run(&with, &r);
            if (!r.broken || strcmp(r.broken, best.broken) != 0)
                continue;
            o = with;
            best = r;
            again = true;
        }
    }
    if (!liveness)
        printf("%u of %u faults, %.3f s:\n", (unsigned)__builtin_popcount(o.keep),
               best.faults_drawn, (double)best.ended_ns / 1e9);
    print_broken(&o, &best);
}

static int run(const struct options *opt)
{
    static struct sums s;
    s.seconds = calloc(MEDIANS_MAX, sizeof *s.seconds);
    s.per_run = calloc(MEDIANS_MAX, sizeof *s.per_run);
    if (!s.seconds || !s.per_run)
        return 70;
    clock_t began = clock();
    for (uint64_t i = 0; i < opt->count; i++) {
        struct sim_options o = opt->sim;
        struct sim_result r;
        o.seed += i;
        sim_run(&o, &r);
        add(&s, &r);
        if (opt->hashes)
            printf("%" PRIu64 " %016" PRIx64 "\n", o.seed, r.hash);
        if (r.broken && (!o.beyond || opt->count == 1))
            print_broken(&o, &r);
        if (r.broken && opt->shrink)
            shrink(o);
        if (r.broken && opt->first)
            break;
    }
    double cpu_s = (double)(clock() - began) / CLOCKS_PER_SEC;
    if (!opt->hashes)
        print_sums(&s, cpu_s > 0 ? cpu_s : 1e-9);
    if (opt->sim.beyond)
        printf("breaches   %" PRIu64 " schedules: found and reported\n", s.broken);
    else
        printf("broken     %" PRIu64 "\n", s.broken);
    bool whole = opt->sim.keep == UINT32_MAX && opt->sim.end_ns == 0;
    return opt->sim.beyond ? s.broken == 0 : s.broken != 0 || (whole && s.without_failover != 0);
}

static bool number(const char *text, uint64_t *to)
{
    char *end;
    *to = text ? strtoull(text, &end, 0) : 0;
    return text && *text && !*end;
}

static bool set_mutant(const char *name)
{
#ifdef FM_MUTANTS
    for (unsigned i = 0; name && i < FM_COUNT(mutants); i++)
        if (!strcmp(mutants[i].name, name)) {
            fm_mutant = i;
            return true;
        }
#else
    (void)name;
#endif
    return false;
}

static bool parse(struct options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        uint64_t n = 0;
        bool takes = !strcmp(a, "--seed") || !strcmp(a, "--count") || !strcmp(a, "--keep") ||
                     !strcmp(a, "--end");
        if (takes && !number(value, &n))
            return false;
        if (!strcmp(a, "--seed"))
            o->sim.seed = n;
        else if (!strcmp(a, "--count"))
            o->count = n;
        else if (!strcmp(a, "--keep"))
            o->sim.keep = (uint32_t)n;
        else if (!strcmp(a, "--end"))
            o->sim.end_ns = (int64_t)n * FM_NS_PER_S;
        else if (!strcmp(a, "--trace"))
            o->sim.trace = true;
        else if (!strcmp(a, "--beyond"))
            o->sim.beyond = true;
        else if (!strcmp(a, "--groups"))
            o->sim.groups = true;
        else if (!strcmp(a, "--hashes"))
            o->hashes = true;
        else if (!strcmp(a, "--shrink"))
            o->shrink = true;
        else if (!strcmp(a, "--first"))
            o->first = true;
        else if (!strcmp(a, "--list"))
            o->list = true;
        else if (!strcmp(a, "--mutant") && set_mutant(value))
            takes = true;
        else
            return false;
        i += takes;
    }
    return true;
}

#ifdef FM_MUTANTS
#define MUTANT_OPTIONS " [--mutant NAME] [--list]"
#else
#define MUTANT_OPTIONS ""
#endif

int main(int argc, char **argv)
{
    struct options o = {.count = 1, .sim = {.seed = 1, .keep = UINT32_MAX}};
    if (!parse(&o, argc, argv)) {
        fprintf(stderr,
                "usage: fulmar-sim [--seed S] [--count N] [--beyond] [--groups] [--trace] "
                "[--hashes] [--keep MASK] [--end SECONDS] [--shrink] [--first]%s\n",
                MUTANT_OPTIONS);
        return 64;
    }
#ifdef FM_MUTANTS
    for (unsigned i = 1; o.list && i < FM_COUNT(mutants); i++)
        printf("%s %s\n", mutants[i].name, mutants[i].what);
#endif
    return o.list ? 0 : run(&o);
}
