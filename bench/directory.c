/* bench-directory: a directory of ten million tenants: what it takes to build, to keep, to look up
 * in and to change while threads look up, beside two plain peers in the same process.
 *
 * Keys are drawn from a seed, 4 to 64 bytes, 16 on average. Each batch of 64 keys is measured once,
 * so that the caches know nothing of it: keys to look up lie one behind the other, what is looked
 * up does not. Every answer is checked. */
#include "base/rand.h"
#include "directory_peers.h"
#include "homes/loader.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = FM_DIRECTORY_BATCH, CELLS = 4096, LOOKERS_MAX = 64, RELOADS = 2 };
enum { PAUSE_MAX_NS = 5 * FM_NS_PER_MS };

static struct fm_rand dice = {20261121};
static uint64_t wrong_answers;

static void die(const char *what)
{
    fprintf(stderr, "bench-directory: %s\n", what);
    exit(1);
}

static void *must(void *p)
{
    if (!p)
        die("out of memory");
    return p;
}

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * FM_NS_PER_S + ts.tv_nsec;
}

static double seconds_since(int64_t start)
{
    return (double)(now_ns() - start) / 1e9;
}

static double rss_mib(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long total = 0, resident = 0;
    if (!f || fscanf(f, "%lu %lu", &total, &resident) != 2)
        die("cannot read /proc/self/statm");
    fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

/* -------- keys -------- */

/* 4 to 64 bytes, 16 on average: mostly short, few long. */
static size_t draw_key(char *out)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t n = 4;
    while (n < 64 && fm_rand_below(&dice, 1000) >= 73)
        n++;
    for (size_t i = 0; i < n; i++)
        out[i] = letters[fm_rand_below(&dice, sizeof letters - 1)];
    return n;
}

/* Keys one behind the other, a length byte before each. */
struct keys {
    char *mem;
    size_t bytes, room;
    uint64_t n;
    uint32_t *cell;
};

static void keys_open(struct keys *k, uint64_t n)
{
    *k = (struct keys){.room = n * 20 + (1 << 16)};
    k->mem = must(malloc(k->room));
    k->cell = must(malloc(n * sizeof *k->cell));
}

static void keys_close(struct keys *k)
{
    free(k->mem);
    free(k->cell);
}

static void keys_add(struct keys *k, const char *key, size_t n, uint32_t cell)
{
    if (k->bytes + n + 1 > k->room)
        k->mem = must(realloc(k->mem, k->room += k->room / 4));
    k->mem[k->bytes++] = (char)n;
    memcpy(k->mem + k->bytes, key, n);
    k->bytes += n;
    k->cell[k->n++] = cell;
}

static struct fm_str keys_next(const struct keys *k, size_t *at)
{
    size_t n = (size_t)k->mem[*at];
    struct fm_str key = fm_str(k->mem + *at + 1, n);
    *at += 1 + n;
    return key;
}

/* Distinct, as far as 64 bits of a hash tell. */
static void draw_tenants(struct keys *k, uint64_t n)
{
    uint64_t slots = 1;
    while (slots < 2 * n)
        slots *= 2;
    uint64_t *seen = must(calloc(slots, sizeof *seen));
    char key[64];
    keys_open(k, n);
    while (k->n < n) {
        size_t len = draw_key(key);
        uint64_t hash = fm_hash((struct fm_hash_key){3, 4}, key, len) | 1, at = hash;
        while (seen[at & (slots - 1)] && seen[at & (slots - 1)] != hash)
            at++;
        if (seen[at & (slots - 1)])
            continue;
        seen[at & (slots - 1)] = hash;
        keys_add(k, key, len, fm_rand_below(&dice, CELLS));
    }
    free(seen);
}

static void write_file(const struct keys *k, const char *path, uint32_t shift)
{
    FILE *f = fopen(path, "w");
    if (!f)
        die("cannot write the file of tenants");
    size_t at = 0;
    for (uint64_t i = 0; i < k->n; i++) {
        struct fm_str key = keys_next(k, &at);
        fprintf(f, "%.*s,%u\n", FM_STR_ARG(key), (k->cell[i] + shift) % CELLS);
    }
    if (fclose(f))
        die("cannot write the file of tenants");
}

/* Uniform draws of what is there, and as many of what is not. */
static void draw_samples(const struct keys *all, struct keys *hits, struct keys *misses, uint64_t n)
{
    size_t *at = must(malloc(all->n * sizeof *at)), next = 0;
    for (uint64_t i = 0; i < all->n; i++) {
        at[i] = next;
        (void)keys_next(all, &next);
    }
    keys_open(hits, n);
    keys_open(misses, n);
    for (uint64_t i = 0; i < n; i++) {
        char key[64];
        uint64_t which = fm_rand_u64(&dice) % all->n;
        size_t from = at[which], len = draw_key(key);
        struct fm_str hit = keys_next(all, &from);
        keys_add(hits, hit.p, hit.n, all->cell[which]);
        key[0] = '.'; /* no tenant has one */
        keys_add(misses, key, len, ABSENT);
    }
    free(at);
}

/* -------- lookups -------- */

/* How n keys are looked up. */
typedef void find_fn(void *in, const struct fm_str *keys, unsigned n, uint32_t *cells);

static void find_batch(void *in, const struct fm_str *keys, unsigned n, uint32_t *cells)
{
    fm_directory_find_many(in, keys, n, cells);
}

static void find_singly(void *in, const struct fm_str *keys, unsigned n, uint32_t *cells)
{
    for (unsigned i = 0; i < n; i++)
        cells[i] = fm_directory_find(in, keys[i]);
}

static const struct peer *peer_now;

static void find_in_peer(void *in, const struct fm_str *keys, unsigned n, uint32_t *cells)
{
    for (unsigned i = 0; i < n; i++)
        cells[i] = peer_now->find(in, keys[i]);
}

struct spread {
    double p50, p99, most; /* ns each, over batches */
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct spread measure(find_fn *find, void *in, const struct keys *k)
{
    uint64_t batches = k->n / BATCH;
    double *each = must(malloc(batches * sizeof *each));
    size_t at = 0;
    for (uint64_t b = 0; b < batches; b++) {
        struct fm_str keys[BATCH];
        uint32_t cells[BATCH];
        uint64_t sum = 0;
        for (unsigned i = 0; i < BATCH; i++) {
            keys[i] = keys_next(k, &at);
            sum += (unsigned char)keys[i].p[keys[i].n - 1]; /* the key itself is in the cache */
        }
        wrong_answers += sum == 0;
        int64_t start = now_ns();
        find(in, keys, BATCH, cells);
        each[b] = (double)(now_ns() - start) / BATCH;
        for (unsigned i = 0; i < BATCH; i++)
            wrong_answers += cells[i] != k->cell[b * BATCH + i];
    }
    qsort(each, batches, sizeof *each, compare);
    struct spread s = {each[batches / 2], each[batches * 99 / 100], each[batches - 1]};
    free(each);
    return s;
}

/* -------- results -------- */

struct result {
    const char *name;
    double build_s, mib;
    struct spread hit, miss;
};

static struct result results[4];
static unsigned nresults;

static struct result *add_result(const char *name)
{
    results[nresults] = (struct result){.name = name};
    return &results[nresults++];
}

/* -------- changing under load -------- */

struct looker {
    pthread_t thread;
    struct fm_loop loop;
    struct fm_mailbox inbox;
    struct fm_homes_seat seat;
    const struct keys *hits;
    uint64_t first;                   /* batch to begin with */
    _Atomic int64_t pause_ns, own_ns; /* the longest; the same without waiting for a CPU */
    _Atomic uint64_t too_long;        /* pauses over PAUSE_MAX_NS */
    _Atomic uint64_t batches;
    uint64_t wrong;
    _Atomic bool stop;
};

/* All answers of a batch come from one file: what the files differ by is the same for each key. */
static uint64_t look_up(struct looker *l, size_t *at, uint64_t b)
{
    struct fm_str keys[BATCH];
    uint32_t cells[BATCH];
    uint64_t wrong = 0;
    for (unsigned i = 0; i < BATCH; i++)
        keys[i] = keys_next(l->hits, at);
    fm_directory_find_many(&l->seat.now->tenants->directory, keys, BATCH, cells);
    const uint32_t *was = &l->hits->cell[b * BATCH];
    uint32_t shift = (cells[0] + CELLS - was[0]) % CELLS;
    for (unsigned i = 0; i < BATCH; i++)
        wrong += cells[i] == ABSENT || (cells[i] + CELLS - was[i]) % CELLS != shift;
    return wrong + (shift > RELOADS);
}

/* What this thread has used of a CPU, and how often it had to wait for something else than one. */
struct account {
    int64_t at_ns, cpu_ns;
    long blocked;
};

static struct account account_now(void)
{
    struct timespec cpu;
    struct rusage use;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    getrusage(RUSAGE_THREAD, &use);
    return (struct account){now_ns(), (int64_t)cpu.tv_sec * FM_NS_PER_S + cpu.tv_nsec,
                            use.ru_nvcsw};
}

static void keep_most(_Atomic int64_t *most, int64_t ns)
{
    if (ns > atomic_load_explicit(most, memory_order_relaxed))
        atomic_store_explicit(most, ns, memory_order_relaxed);
}

/* A batch, a turn of the loop, and so on: a pause is what is between the ends of two batches. */
static void *look(void *arg)
{
    struct looker *l = arg;
    uint64_t b = 0, batches = l->hits->n / BATCH;
    size_t at = 0;
    while (!l->seat.now)
        fm_loop_turn(&l->loop, FM_NS_PER_MS);
    struct account last = account_now();
    while (!atomic_load_explicit(&l->stop, memory_order_relaxed)) {
        if (b == batches)
            b = at = 0;
        l->wrong += look_up(l, &at, b++);
        fm_loop_turn(&l->loop, 0);
        struct account now = account_now();
        int64_t pause = now.at_ns - last.at_ns;
        keep_most(&l->pause_ns, pause);
        if (pause > PAUSE_MAX_NS)
            atomic_fetch_add_explicit(&l->too_long, 1, memory_order_relaxed);
        keep_most(&l->own_ns, now.blocked > last.blocked ? pause : now.cpu_ns - last.cpu_ns);
        last = now;
        atomic_fetch_add_explicit(&l->batches, 1, memory_order_relaxed);
    }
    fm_homes_seat_clear(&l->seat);
    return NULL;
}

struct pause {
    double whole_ms, own_ms;
    uint64_t too_long;
};

struct change {
    unsigned lookers;
    struct pause calm, busy, reloading;
    double reload_s, most_mib;
    double each_ns; /* per lookup of one thread while it reloads, loop and all */
};

static struct fm_homes *latest;
static unsigned told;

static void on_loaded(struct fm_homes_file *f, struct fm_homes *h, struct fm_conf_report *report)
{
    (void)f;
    if (!h)
        die(report->n ? report->finding[0].what : "a load failed");
    fm_homes_unref(latest);
    latest = h;
    told++;
}

/* The longest since it was asked last. */
static struct pause pause_of(struct looker *l, unsigned n)
{
    struct pause p = {0};
    for (unsigned i = 0; i < n; i++) {
        double whole = (double)atomic_exchange(&l[i].pause_ns, 0) / 1e6;
        double own = (double)atomic_exchange(&l[i].own_ns, 0) / 1e6;
        p.whole_ms = whole > p.whole_ms ? whole : p.whole_ms;
        p.own_ms = own > p.own_ms ? own : p.own_ms;
        p.too_long += atomic_exchange(&l[i].too_long, 0);
    }
    return p;
}

static void add_pause(struct pause *to, struct pause p)
{
    to->whole_ms = p.whole_ms > to->whole_ms ? p.whole_ms : to->whole_ms;
    to->own_ms = p.own_ms > to->own_ms ? p.own_ms : to->own_ms;
    to->too_long += p.too_long;
}

static uint64_t batches_of(struct looker *l, unsigned n)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += atomic_load(&l[i].batches);
    return sum;
}

static void start_lookers(struct looker *l, unsigned n, const struct keys *hits)
{
    for (unsigned i = 0; i < n; i++) {
        l[i] = (struct looker){.hits = hits};
        if (fm_loop_init(&l[i].loop, NULL, NULL) ||
            fm_mailbox_open(&l[i].inbox, &l[i].loop, NULL, NULL) ||
            !fm_homes_hand(&l[i].inbox, &l[i].seat, latest) ||
            pthread_create(&l[i].thread, NULL, look, &l[i]))
            die("cannot start a thread");
    }
}

static void stop_lookers(struct looker *l, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        atomic_store(&l[i].stop, true);
        pthread_join(l[i].thread, NULL);
        fm_mailbox_close(&l[i].inbox);
        fm_loop_deinit(&l[i].loop);
        wrong_answers += l[i].wrong;
    }
}

static void turn_until(struct fm_loop *loop, unsigned loads, double seconds, double *most_mib)
{
    int64_t start = now_ns();
    while (told < loads || seconds_since(start) < seconds) {
        fm_loop_turn(loop, 10 * FM_NS_PER_MS);
        double mib = rss_mib();
        if (mib > *most_mib)
            *most_mib = mib;
    }
}

/* -------- the control: cores that work, and nothing is loaded -------- */

static pthread_t burner[LOOKERS_MAX];
static _Atomic bool burners_stop;

static void *burn(void *arg)
{
    (void)arg;
    for (uint64_t v = 1; !atomic_load_explicit(&burners_stop, memory_order_relaxed);)
        v = fm_mix64(v);
    return NULL;
}

static void start_burners(unsigned n)
{
    atomic_store(&burners_stop, false);
    for (unsigned i = 0; i < n; i++)
        if (pthread_create(&burner[i], NULL, burn, NULL))
            die("cannot start a thread");
}

static void stop_burners(unsigned n)
{
    atomic_store(&burners_stop, true);
    for (unsigned i = 0; i < n; i++)
        pthread_join(burner[i], NULL);
}

/* Reloads one behind the other, each handed over when it is there; then as long without any, and
 * as long with the cores busy that the lookers leave. */
static struct change change_under_load(struct fm_homes_file *file, struct fm_loop *loop,
                                       const struct keys *all, const struct keys *hits,
                                       unsigned lookers, unsigned cores)
{
    static struct looker l[LOOKERS_MAX];
    struct change c = {.lookers = lookers};
    double ignored = 0;
    start_lookers(l, lookers, hits);
    turn_until(loop, told, 0.5, &ignored);
    double all_s = 0;
    for (unsigned r = 1; r <= RELOADS; r++) {
        write_file(all, file->spec.path, r);
        (void)pause_of(l, lookers);
        uint64_t before = batches_of(l, lookers);
        int64_t start = now_ns();
        fm_homes_file_load(file);
        turn_until(loop, told + 1, 0, &c.most_mib);
        double took = seconds_since(start);
        for (unsigned i = 0; i < lookers; i++)
            if (!fm_homes_hand(&l[i].inbox, &l[i].seat, latest))
                die("out of memory");
        turn_until(loop, told, 0.5, &c.most_mib); /* the old one goes */
        double each = seconds_since(start) * 1e9 * lookers /
                      (double)((batches_of(l, lookers) - before) * BATCH);
        add_pause(&c.reloading, pause_of(l, lookers));
        all_s += seconds_since(start);
        c.reload_s = took > c.reload_s ? took : c.reload_s;
        c.each_ns = each > c.each_ns ? each : c.each_ns;
    }
    (void)pause_of(l, lookers);
    turn_until(loop, told, all_s, &ignored);
    c.calm = pause_of(l, lookers);
    c.busy = c.calm;
    if (lookers < cores) {
        start_burners(cores - lookers);
        (void)pause_of(l, lookers);
        turn_until(loop, told, all_s, &ignored);
        c.busy = pause_of(l, lookers);
        stop_burners(cores - lookers);
    }
    stop_lookers(l, lookers);
    return c;
}

/* -------- one structure after the other -------- */

static void bench_peer(const struct peer *p, const struct keys *all, const struct keys *hits,
                       const struct keys *misses)
{
    struct result *r = add_result(p->name);
    double before = rss_mib();
    int64_t start = now_ns();
    size_t at = 0;
    void *in = p->open(all->n);
    for (uint64_t i = 0; i < all->n; i++) {
        struct fm_str key = keys_next(all, &at);
        p->add(in, key, all->cell[i]);
    }
    p->built(in);
    r->build_s = seconds_since(start);
    r->mib = rss_mib() - before;
    peer_now = p;
    r->hit = measure(find_in_peer, in, hits);
    r->miss = measure(find_in_peer, in, misses);
    p->close(in);
    malloc_trim(0);
}

static double bench_directory(struct fm_homes_file *file, struct fm_loop *loop,
                              const struct keys *hits, const struct keys *misses)
{
    double before = rss_mib(), ignored = 0;
    int64_t start = now_ns();
    fm_homes_file_load(file);
    turn_until(loop, 1, 0, &ignored);
    double took = seconds_since(start), mib = rss_mib() - before;
    struct fm_directory *d = &latest->tenants->directory;
    struct result *r = add_result("directory, in batches");
    r->build_s = took;
    r->mib = mib;
    r->hit = measure(find_batch, d, hits);
    r->miss = measure(find_batch, d, misses);
    r = add_result("directory, one by one");
    r->build_s = took;
    r->mib = mib;
    r->hit = measure(find_singly, d, hits);
    r->miss = measure(find_singly, d, misses);
    return before;
}

/* -------- output -------- */

static void print_text(uint64_t n, double key_bytes, const struct change *c, unsigned nc)
{
    printf("%llu tenants, %.1f bytes a key, %d cells; ns per lookup over batches of %d\n\n",
           (unsigned long long)n, key_bytes, CELLS, BATCH);
    printf("%-24s %8s %8s %9s %9s %9s %9s %9s\n", "", "build s", "MiB", "hit p50", "hit p99",
           "miss p50", "miss p99", "p99 ratio");
    for (unsigned i = 0; i < nresults; i++) {
        const struct result *r = &results[i];
        printf("%-24s %8.2f %8.0f %9.0f %9.0f %9.0f %9.0f %9.1f\n", r->name, r->build_s, r->mib,
               r->hit.p50, r->hit.p99, r->miss.p50, r->miss.p99, r->hit.p99 / results[0].hit.p99);
    }
    printf("\nchanged under load, %d times, and as long without a reload, alone and with all cores "
           "busy: "
           "the longest pause\nof a thread that looks up, the longest without waiting for a CPU, "
           "both in ms, and how many were over 5 ms\n",
           RELOADS);
    printf("%8s %23s %23s %23s\n", "", "no reload", "no reload, all busy", "reloading");
    printf("%8s", "threads");
    for (unsigned k = 0; k < 3; k++)
        printf(" %10s %6s %5s", "longest", "own", ">5");
    printf(" %9s %9s %12s\n", "reload s", "most MiB", "ns a lookup");
    for (unsigned i = 0; i < nc; i++) {
        const struct pause *p[] = {&c[i].calm, &c[i].busy, &c[i].reloading};
        printf("%8u", c[i].lookers);
        for (unsigned k = 0; k < FM_COUNT(p); k++)
            printf(" %10.2f %6.2f %5llu", p[k]->whole_ms, p[k]->own_ms,
                   (unsigned long long)p[k]->too_long);
        printf(" %9.2f %9.0f %12.0f\n", c[i].reload_s, c[i].most_mib, c[i].each_ns);
    }
}

static void print_json(uint64_t n, double key_bytes, const struct change *c, unsigned nc)
{
    printf("{\"schema\": \"fulmar.bench-directory/1\", \"tenants\": %llu, \"key_bytes\": %.1f, "
           "\"structures\": [",
           (unsigned long long)n, key_bytes);
    for (unsigned i = 0; i < nresults; i++) {
        const struct result *r = &results[i];
        printf("%s\n  {\"name\": \"%s\", \"build_s\": %.3f, \"mib\": %.1f, \"hit_p50_ns\": %.1f, "
               "\"hit_p99_ns\": %.1f, \"miss_p50_ns\": %.1f, \"miss_p99_ns\": %.1f}",
               i ? "," : "", r->name, r->build_s, r->mib, r->hit.p50, r->hit.p99, r->miss.p50,
               r->miss.p99);
    }
    printf("],\n \"changes\": [");
    for (unsigned i = 0; i < nc; i++)
        printf("%s\n  {\"threads\": %u, \"calm_pause_ms\": %.3f, \"calm_own_pause_ms\": %.3f, "
               "\"calm_over_5ms\": %llu, \"busy_pause_ms\": %.3f, \"busy_own_pause_ms\": %.3f, "
               "\"busy_over_5ms\": %llu, \"reload_pause_ms\": %.3f, "
               "\"reload_own_pause_ms\": %.3f, \"reload_over_5ms\": %llu, \"reload_s\": %.3f, "
               "\"most_mib\": %.1f, \"lookup_ns\": %.1f}",
               i ? "," : "", c[i].lookers, c[i].calm.whole_ms, c[i].calm.own_ms,
               (unsigned long long)c[i].calm.too_long, c[i].busy.whole_ms, c[i].busy.own_ms,
               (unsigned long long)c[i].busy.too_long, c[i].reloading.whole_ms,
               c[i].reloading.own_ms, (unsigned long long)c[i].reloading.too_long, c[i].reload_s,
               c[i].most_mib, c[i].each_ns);
    printf("]}\n");
}

struct options {
    uint64_t tenants, samples;
    bool json, alone;
    const char *dir;
};

static struct options parse(int argc, char **argv)
{
    struct options o = {.tenants = 10000000, .samples = 2000000, .dir = "/tmp"};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-o") == 0 && i + 1 < argc && strcmp(argv[i + 1], "json") == 0) {
            o.json = true;
            i++;
        } else if (strcmp(argv[i], "--quick") == 0) {
            o.tenants = 500000;
            o.samples = 200000;
        } else if (strcmp(argv[i], "--alone") == 0) {
            o.alone = true;
        } else if (strcmp(argv[i], "--folder") == 0 && i + 1 < argc) {
            o.dir = argv[++i];
        } else {
            fprintf(stderr,
                    "usage: bench-directory [--quick] [--alone] [-o json] [--folder FOLDER]\n");
            exit(64);
        }
    }
    return o;
}

static char path[4096]; /* of the file of tenants */

static void on_signal(int number)
{
    unlink(path);
    _exit(128 + number);
}

int main(int argc, char **argv)
{
    struct options o = parse(argc, argv);
    static const uint8_t home[CELLS];
    static const struct fm_str regions[] = {FM_STR_INIT("west")};
    struct keys all, hits, misses;
    (void)snprintf(path, sizeof path, "%s/bench-directory-%d.csv", o.dir, (int)getpid());
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    draw_tenants(&all, o.tenants);
    draw_samples(&all, &hits, &misses, o.samples);
    write_file(&all, path, 0);
    malloc_trim(0);

    struct fm_loop loop;
    struct fm_mailbox control;
    if (fm_loop_init(&loop, NULL, NULL) || fm_mailbox_open(&control, &loop, NULL, NULL))
        die("cannot make a loop");
    struct fm_homes_loader *loader = must(fm_homes_loader_new(&control, NULL));
    struct fm_homes_file file = {.spec = {path, FM_TENANTS_MAX, CELLS, home, regions, 1, NULL},
                                 .loaded = on_loaded};
    fm_homes_file_init(&file, loader);

    double before = bench_directory(&file, &loop, &hits, &misses);
    struct change c[2];
    unsigned cores = (unsigned)sysconf(_SC_NPROCESSORS_ONLN), nc = cores > 1 ? 2 : 1;
    cores = cores < LOOKERS_MAX ? cores : LOOKERS_MAX;
    for (unsigned i = 0; i < nc; i++) {
        c[i] = change_under_load(&file, &loop, &all, &hits, i == 0 ? 1 : cores, cores);
        c[i].most_mib -= before;
    }
    unlink(path);
    fm_homes_unref(latest);
    fm_homes_loader_free(loader);
    fm_mailbox_close(&control);
    fm_loop_deinit(&loop);
    if (!o.alone) {
        bench_peer(&peer_chained, &all, &hits, &misses);
        bench_peer(&peer_sqlite, &all, &hits, &misses);
    }

    double key_bytes = (double)(all.bytes - all.n) / (double)all.n;
    (o.json ? print_json : print_text)(all.n, key_bytes, c, nc);
    keys_close(&all);
    keys_close(&hits);
    keys_close(&misses);
    if (wrong_answers)
        fprintf(stderr, "bench-directory: %llu wrong answers\n", (unsigned long long)wrong_answers);
    return wrong_answers ? 2 : 0;
}
