/* Directories that change while threads look up in them. Run it under ThreadSanitizer, too. */
#include "net.h"

#include "homes/loader.h"
#include "homes/turn.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { WORKERS = 3, KEYS = 500, SWAPS = 40 };

static const uint8_t home[] = {0, 1, 0, 1};
static const struct fm_str regions[] = {FM_STR_INIT("west"), FM_STR_INIT("north")};

static struct net net;
static struct fm_mailbox control;
static struct fm_homes_loader *loader;
static struct fm_homes_file file;
static char folder[] = "/tmp/fm-homes-XXXXXX", path[64], next_path[80];

/* What `loaded` was told. */
static unsigned told, failed;
static struct fm_homes *latest;
static bool ask_again;
static char why[256];

static void on_loaded(struct fm_homes_file *f, struct fm_homes *h, struct fm_conf_report *report)
{
    assert_ptr_equal(f, &file);
    assert_int_equal(h == NULL, report->errors > 0);
    told++;
    failed += h == NULL;
    if (!h) {
        snprintf(why, sizeof why, "%s", report->finding[0].what);
        return; /* the one before stays */
    }
    fm_homes_unref(latest);
    latest = h;
    if (ask_again) {
        ask_again = false;
        fm_homes_file_load(f);
    }
}

static int setup(void **state)
{
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/tenants.csv", folder);
    snprintf(next_path, sizeof next_path, "%s.next", path);
    int rc = fm_test_fds_before(state);
    net_open(&net, 1024, 4);
    assert_int_equal(fm_mailbox_open(&control, &net.loop, NULL, NULL), FM_ERR_OK);
    loader = fm_homes_loader_new(&control, NULL);
    assert_non_null(loader);
    file = (struct fm_homes_file){.spec = {.path = path,
                                           .lines_max = FM_TENANTS_MAX,
                                           .cells = FM_COUNT(home),
                                           .home = home,
                                           .regions = regions,
                                           .nregions = FM_COUNT(regions)},
                                  .loaded = on_loaded};
    fm_homes_file_init(&file, loader);
    told = failed = 0;
    latest = NULL;
    ask_again = false;
    return rc;
}

static int teardown(void **state)
{
    fm_homes_unref(latest);
    fm_homes_loader_free(loader);
    fm_mailbox_close(&control);
    net_close(&net);
    unlink(path);
    unlink(next_path);
    rmdir(folder);
    return fm_test_fds_after(state);
}

/* All keys in the same cell, replaced by rename as operators should. */
static void write_all_in(unsigned cell, unsigned keys)
{
    FILE *f = fopen(next_path, "w");
    assert_non_null(f);
    for (unsigned i = 0; i < keys; i++)
        fprintf(f, "tenant-%u,%u\n", i, cell);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(next_path, path), 0);
}

static void load_and_wait(void)
{
    unsigned before = told;
    fm_homes_file_load(&file);
    NET_UNTIL(&net, told > before);
}

/* -------- control alone -------- */

static void tells_what_it_loaded(void **state)
{
    (void)state;
    write_all_in(3, KEYS);
    fm_homes_file_load(&file);
    assert_true(file.busy);
    assert_int_equal(told, 0); /* never from within */
    NET_UNTIL(&net, told == 1);
    assert_false(file.busy);
    assert_int_equal(failed, 0);
    assert_int_equal(fm_directory_find(&latest->tenants->directory, FM_STR("tenant-7")), 3);
    assert_int_equal(fm_directory_find(&latest->tenants->directory, FM_STR("tenant")),
                     FM_DIRECTORY_ABSENT);
}

static void a_broken_file_leaves_the_one_before(void **state)
{
    (void)state;
    write_all_in(1, 5);
    load_and_wait();
    struct fm_homes *before = latest;
    write_all_in(4, 5); /* there is no cell 4 */
    load_and_wait();
    assert_int_equal(failed, 1);
    assert_string_equal(why, "there is no cell 4: this context has 4, from 0");
    assert_ptr_equal(latest, before);
    assert_int_equal(fm_directory_find(&latest->tenants->directory, FM_STR("tenant-4")), 1);
    write_all_in(2, 5);
    load_and_wait();
    assert_int_equal(fm_directory_find(&latest->tenants->directory, FM_STR("tenant-4")), 2);
}

static void many_wishes_are_one_more_load(void **state)
{
    (void)state;
    write_all_in(1, KEYS);
    for (unsigned i = 0; i < 10; i++)
        fm_homes_file_load(&file);
    NET_UNTIL(&net, told == 2 && !file.busy);
    net_turn_ms(&net, 30);
    assert_int_equal(told, 2);
    ask_again = true; /* from within `loaded` */
    fm_homes_file_load(&file);
    NET_UNTIL(&net, told == 4 && !file.busy);
    net_turn_ms(&net, 30);
    assert_int_equal(told, 4);
}

static void two_exist_at_most(void **state)
{
    (void)state;
    write_all_in(1, KEYS);
    load_and_wait();
    struct fm_homes *first = latest;
    fm_homes_ref(first);
    load_and_wait();
    assert_ptr_not_equal(latest, first);
    fm_homes_file_load(&file);
    net_turn_ms(&net, 50);
    assert_int_equal(told, 2); /* it waits */
    assert_true(file.busy);
    fm_homes_unref(first);
    NET_UNTIL(&net, told == 3);
    assert_int_equal(failed, 0);
}

/* The teardown finds a load that is under way or was not told, and an answer on its way. */
static void it_can_end_at_any_time(void **state)
{
    (void)state;
    write_all_in(1, 20000);
    load_and_wait();
    fm_homes_file_load(&file);
}

static void it_can_end_with_an_answer_on_its_way(void **state)
{
    (void)state;
    write_all_in(1, 5);
    fm_homes_file_load(&file);
    net_sleep_ms(50);
    assert_int_equal(told, 0);
}

/* -------- with workers -------- */

struct worker {
    pthread_t thread;
    struct fm_loop loop;
    struct fm_mailbox inbox;
    struct fm_homes_seat seat;
    struct fm_msg quit;
    unsigned long batches;
    unsigned wrong, generations;
    uint32_t last;
};

static void on_quit(struct fm_msg *m, void *user)
{
    (void)m;
    fm_loop_stop(user);
}

/* Every answer of a batch comes from one file: all keys there in one cell, none else. */
static void look_up(struct worker *w)
{
    struct fm_str keys[FM_DIRECTORY_BATCH];
    char mem[FM_DIRECTORY_BATCH][24];
    uint32_t cells[FM_DIRECTORY_BATCH];
    for (unsigned i = 0; i < FM_DIRECTORY_BATCH; i++) {
        int n = snprintf(mem[i], sizeof mem[i], i % 2 ? "tenant-%lu" : "nobody-%lu",
                         (w->batches * 31 + i) % KEYS);
        keys[i] = fm_str(mem[i], (size_t)n);
    }
    fm_directory_find_many(&w->seat.now->tenants->directory, keys, FM_DIRECTORY_BATCH, cells);
    for (unsigned i = 0; i < FM_DIRECTORY_BATCH; i++)
        w->wrong += i % 2 ? cells[i] != cells[1] : cells[i] != FM_DIRECTORY_ABSENT;
    w->wrong += cells[1] >= FM_COUNT(home);
    w->generations += cells[1] != w->last;
    w->last = cells[1];
    w->batches++;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    while (!w->loop.stop) {
        fm_loop_turn(&w->loop, w->seat.now ? 0 : FM_NS_PER_MS);
        if (w->seat.now)
            look_up(w);
    }
    fm_homes_seat_clear(&w->seat);
    return NULL;
}

static void lookups_go_on_while_directories_change(void **state)
{
    (void)state;
    static struct worker worker[WORKERS];
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *w = &worker[i];
        *w = (struct worker){.last = 99};
        assert_int_equal(fm_loop_init(&w->loop, NULL, NULL), FM_ERR_OK);
        assert_int_equal(fm_mailbox_open(&w->inbox, &w->loop, &w->loop, NULL), FM_ERR_OK);
        assert_int_equal(pthread_create(&w->thread, NULL, work, w), 0);
    }
    for (unsigned s = 0; s < SWAPS; s++) {
        write_all_in(s % 4, KEYS);
        load_and_wait();
        for (unsigned i = 0; i < WORKERS; i++)
            assert_true(fm_homes_hand(&worker[i].inbox, &worker[i].seat, latest));
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *w = &worker[i];
        w->quit.deliver = on_quit;
        fm_mailbox_post(&w->inbox, &w->quit);
        pthread_join(w->thread, NULL);
        fm_mailbox_close(&w->inbox);
        fm_loop_deinit(&w->loop);
        assert_int_equal(w->wrong, 0);
        assert_true(w->batches > 0 && w->generations > 0);
    }
    assert_int_equal(failed, 0);
    assert_int_equal(told, SWAPS);
}

/* -------- its manners -------- */

/* Of this process, by its name; 0: there is none. */
static pid_t thread_named(const char *name)
{
    pid_t found = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *d; (d = readdir(tasks)) != NULL;) {
        char at[300], is[32] = "";
        snprintf(at, sizeof at, "/proc/self/task/%s/comm", d->d_name);
        FILE *f = d->d_name[0] == '.' ? NULL : fopen(at, "r");
        if (!f)
            continue;
        if (fgets(is, sizeof is, f) && strcspn(is, "\n") == strlen(name) &&
            strncmp(is, name, strlen(name)) == 0)
            found = (pid_t)strtol(d->d_name, NULL, 10);
        fclose(f);
    }
    closedir(tasks);
    return found;
}

static void steps_back_behind_workers(void **state)
{
    (void)state;
    write_all_in(0, KEYS);
    load_and_wait(); /* by now it runs */
    pid_t tid = thread_named("homes");
    assert_true(tid > 0);
    assert_int_equal(sched_getscheduler(tid), SCHED_BATCH);
    assert_int_equal(getpriority(PRIO_PROCESS, (id_t)tid), 5);
}

/* To yield is no voluntary switch, and the kernel may choose the same thread again. */
static void rests_at_the_end_of_a_turn(void **state)
{
    (void)state;
    struct rusage before, after;
    assert_int_equal(getrusage(RUSAGE_THREAD, &before), 0);
    for (unsigned i = 0; i < 20; i++) {
        struct fm_homes_turn turn = {FM_MONO_ZERO};
        fm_homes_turn_over(&turn);
        assert_true(turn.since.ns > 0);
    }
    assert_int_equal(getrusage(RUSAGE_THREAD, &after), 0);
    assert_true(after.ru_nvcsw > before.ru_nvcsw);
}

FM_TEST_MAIN(cmocka_unit_test(rests_at_the_end_of_a_turn),
             fm_test_with(steps_back_behind_workers, setup, teardown),
             fm_test_with(tells_what_it_loaded, setup, teardown),
             fm_test_with(a_broken_file_leaves_the_one_before, setup, teardown),
             fm_test_with(many_wishes_are_one_more_load, setup, teardown),
             fm_test_with(two_exist_at_most, setup, teardown),
             fm_test_with(it_can_end_at_any_time, setup, teardown),
             fm_test_with(it_can_end_with_an_answer_on_its_way, setup, teardown),
             fm_test_with(lookups_go_on_while_directories_change, setup, teardown))
