/* The owner of a coordination file, by the conformance suite: the owner in a thread of its own with
 * its loop, the cases in this one. And what only an owner can do wrong: the file. */
#include "test.h"

#include "coord/owner.h"
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct owning {
    struct fm_pool pool;
    struct fm_loop loop;
    struct fm_mailbox stop;
    struct fm_msg msg;
    struct fm_owner *owner;
    pthread_t thread;
};

static char dir[] = "/tmp/fulmar-owner-XXXXXX";
static char file[64], sock[80];
static struct owning own;
static struct drive_target target = {.service = "conformance", .n = 1};

static void stop(struct fm_msg *m, void *user)
{
    (void)m;
    fm_loop_stop(user);
}

static void *turn(void *arg)
{
    fm_loop_run(&((struct owning *)arg)->loop);
    return NULL;
}

static enum fm_err open_owner(struct owning *o, const char *service, struct fm_error *e)
{
    struct fm_owner_config c = {.path = file, .service = service};
    fm_pool_init(&o->pool, 64 * 1024, 256);
    assert_int_equal(fm_loop_init(&o->loop, &o->pool, e), FM_ERR_OK);
    o->owner = fm_owner_open(&o->loop, &c, e);
    if (o->owner)
        return FM_ERR_OK;
    fm_loop_deinit(&o->loop);
    fm_pool_deinit(&o->pool);
    return e->code;
}

static void close_owner(struct owning *o)
{
    fm_owner_close(o->owner);
    fm_loop_deinit(&o->loop);
    assert_int_equal(o->pool.in_use, 0);
    fm_pool_deinit(&o->pool);
}

static int setup(void **state)
{
    struct fm_error e;
    int rc = fm_test_fds_before(state);
    if (open_owner(&own, "conformance", &e))
        fail_msg("%s", e.msg);
    assert_int_equal(fm_mailbox_open(&own.stop, &own.loop, &own.loop, &e), FM_ERR_OK);
    assert_int_equal(pthread_create(&own.thread, NULL, turn, &own), 0);
    return rc;
}

static int teardown(void **state)
{
    own.msg.deliver = stop;
    fm_mailbox_post(&own.stop, &own.msg);
    pthread_join(own.thread, NULL);
    fm_mailbox_close(&own.stop);
    close_owner(&own);
    return fm_test_fds_after(state);
}

static void keeps_what_every_store_keeps(void **state)
{
    (void)state;
    for (const struct suite_case *c = suite; c->name; c++)
        if (!suite_run(c, &target))
            fail_msg("%s: %s", c->name, drive_why);
}

static void a_second_owner_is_refused(void **state)
{
    (void)state;
    struct owning other;
    struct fm_error e;
    assert_int_equal(open_owner(&other, "conformance", &e), FM_ERR_EXISTS);
    assert_non_null(strstr(e.msg, "another process owns"));
    char who[32];
    snprintf(who, sizeof who, "(process %d)", (int)getpid());
    assert_non_null(strstr(e.msg, who));
    char lock[80];
    snprintf(lock, sizeof lock, "%s.lock", file);
    assert_int_equal(unlink(lock), 0); /* SQLite's own lock is left */
    assert_int_equal(open_owner(&other, "conformance", &e), FM_ERR_EXISTS);
}

static void a_file_of_another_service_is_refused(void **state)
{
    struct owning first, other;
    struct fm_error e;
    fm_test_fds_before(state);
    assert_int_equal(open_owner(&first, "conformance", &e), FM_ERR_OK);
    close_owner(&first);
    assert_int_equal(open_owner(&other, "another", &e), FM_ERR_STATE);
    assert_non_null(strstr(e.msg, "`conformance`"));
    assert_non_null(strstr(e.msg, "`another`"));
}

#define with_owner(fn) fm_test_with(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {with_owner(keeps_what_every_store_keeps),
                                       with_owner(a_second_owner_is_refused),
                                       fm_test(a_file_of_another_service_is_refused)};
    if (!mkdtemp(dir))
        return 1;
    snprintf(file, sizeof file, "%s/c.db", dir);
    snprintf(sock, sizeof sock, "%s.sock", file);
    target.endpoint[0] = (struct fm_coord_endpoint){.text = sock, .host = sock};
    int rc = cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
    const char *const ends[] = {"", "-wal", "-shm", ".lock", ".sock"};
    for (size_t i = 0; i < FM_COUNT(ends); i++) {
        char path[96];
        snprintf(path, sizeof path, "%s%s", file, ends[i]);
        (void)unlink(path);
    }
    return rmdir(dir) == 0 ? rc : 1;
}
