/* Coordination, waited for: see the header. Invariant: between two calls no operation is on its way
 * but a survey. */
#include "cli/coord_io.h"

#include "base/assert.h"
#include "cli/room.h"

#include <stdlib.h>

struct fm_coord_io {
    struct fm_room room;
    struct fm_coord_setup setup;
    struct fm_coord *coord;
    int64_t ms;
    struct fm_coord_op op;
    bool over, surveying, closed;
    void (*take)(void *user, const struct fm_coord_kv *kv);
    void *take_user;
    struct fm_coord_seen seen[FM_COORD_ENDPOINTS_MAX];
    size_t nseen;
};

static struct fm_mono deadline(struct fm_coord_io *k)
{
    fm_loop_turn(&k->room.loop, 0); /* its clock */
    return fm_mono_add_ms(fm_mono_now(), k->ms);
}

/* -------- opening and closing -------- */

static void closed(struct fm_coord *c, void *user)
{
    (void)c;
    ((struct fm_coord_io *)user)->closed = true;
}

static enum fm_err open_client(struct fm_coord_io *k, struct fm_error *e)
{
    k->setup.config.resolver = k->room.resolver;
    k->setup.config.closed = closed;
    k->setup.config.user = k;
    k->closed = false;
    k->coord = fm_coord_open(&k->room.loop, &k->setup.config, e);
    return k->coord ? FM_ERR_OK : e->code;
}

static void wait_closed(struct fm_coord_io *k)
{
    while (!k->closed)
        fm_loop_turn(&k->room.loop, FM_NS_PER_S);
    k->coord = NULL;
    k->surveying = false;
}

enum fm_err fm_coord_io_open(struct fm_coord_io **out, const struct fm_conf *conf,
                             const struct fm_args *a, int64_t ms, struct fm_error *e)
{
    char host[256];
    struct fm_str region = FM_STR("");
    struct fm_coord_io *k = calloc(1, sizeof *k);
    *out = NULL;
    FM_ASSERT(ms > 0 && conf->coordination.present);
    if (!k)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    k->ms = ms;
    fm_cli_this_host(conf, a, host, sizeof host);
    int h = fm_conf_find_host(conf, fm_str_z(host));
    if (h >= 0)
        region = conf->regions[conf->hosts[h].region].name;
    enum fm_err err = fm_room_open(&k->room, e);
    if (err) {
        free(k);
        return err;
    }
    err = fm_coord_setup(&k->setup, conf, fm_str_z(host), region, e);
    k->setup.config.observe = true;
    if (!err)
        err = open_client(k, e);
    if (err)
        fm_coord_io_close(k);
    else
        *out = k;
    return err;
}

void fm_coord_io_close(struct fm_coord_io *k)
{
    if (!k)
        return;
    if (k->coord)
        fm_coord_close(k->coord);
    fm_room_forget_names(&k->room);
    if (k->coord) {
        fm_coord_resolver_gone(k->coord);
        wait_closed(k);
    }
    fm_room_close(&k->room);
    free(k);
}

const struct fm_coord_setup *fm_coord_io_setup(const struct fm_coord_io *k)
{
    return &k->setup;
}

struct fm_coord_known fm_coord_io_known(const struct fm_coord_io *k)
{
    return fm_coord_known(k->coord);
}

enum fm_err fm_coord_io_to_write(struct fm_coord_io *k, struct fm_error *e)
{
    FM_ASSERT(k->coord && k->setup.config.observe && !k->surveying);
    k->setup.config.known = fm_coord_known(k->coord);
    FM_ASSERT(k->setup.config.known.incarnation[0] && k->setup.config.known.cluster);
    k->setup.config.observe = false;
    fm_coord_close(k->coord);
    wait_closed(k);
    return open_client(k, e);
}

/* -------- asking -------- */

static void done(struct fm_coord_op *op)
{
    struct fm_coord_io *k = op->user;
    FM_ASSERT(!k->over);
    k->over = true;
    for (size_t i = 0; i < op->nkv && k->take && op->outcome == FM_COORD_DONE; i++)
        k->take(k->take_user, &op->kv[i]);
}

static void begin(struct fm_coord_io *k)
{
    k->op.done = done;
    k->op.user = k;
    k->over = false;
}

static void wait_over(struct fm_coord_io *k, struct fm_coord_io_end *out)
{
    while (!k->over)
        fm_loop_turn(&k->room.loop, FM_NS_PER_S);
    *out = (struct fm_coord_io_end){k->op.outcome, k->op.why, k->op.error, k->op.revision};
}

void fm_coord_io_read(struct fm_coord_io *k, const char *key, bool prefix,
                      void (*take)(void *user, const struct fm_coord_kv *kv), void *user,
                      struct fm_coord_io_end *out)
{
    begin(k);
    k->take = take;
    k->take_user = user;
    fm_coord_get(k->coord, &k->op, fm_str_z(key), prefix, false, deadline(k));
    wait_over(k, out);
}

void fm_coord_io_commit(struct fm_coord_io *k, const struct fm_coord_txn *txn,
                        struct fm_coord_io_end *out)
{
    FM_ASSERT(!k->setup.config.observe && txn->nwrite > 0);
    begin(k);
    k->take = NULL;
    fm_coord_commit(k->coord, &k->op, txn, deadline(k));
    wait_over(k, out);
}

static void surveyed(void *user, const struct fm_coord_seen *seen, size_t n)
{
    struct fm_coord_io *k = user;
    FM_ASSERT(k->surveying && n <= FM_COUNT(k->seen));
    memcpy(k->seen, seen, n * sizeof *seen);
    k->nseen = n;
    k->surveying = false;
}

enum fm_err fm_coord_io_survey(struct fm_coord_io *k, struct fm_error *e)
{
    enum fm_err err = fm_coord_survey(k->coord, deadline(k), surveyed, k, e);
    k->surveying = !err;
    return err;
}

const struct fm_coord_seen *fm_coord_io_surveyed(struct fm_coord_io *k, size_t *n)
{
    while (k->surveying)
        fm_loop_turn(&k->room.loop, FM_NS_PER_S);
    *n = k->nseen;
    return k->seen;
}

int fm_coord_io_exit(const struct fm_coord_io_end *end)
{
    switch (end->why) {
    case FM_COORD_WHY_SERVICE:
    case FM_COORD_WHY_WENT_BACK:
        return FM_EXIT_DIFFERS;
    case FM_COORD_WHY_PERMISSION:
        return FM_EXIT_NOT_ALLOWED;
    case FM_COORD_WHY_UNREACHABLE:
        return FM_EXIT_UNREACHABLE;
    case FM_COORD_WHY_TIMEOUT:
        return FM_EXIT_NO_QUORUM;
    case FM_COORD_WHY_NONE:
        return FM_EXIT_OK;
    case FM_COORD_WHY_COMPARE:
    case FM_COORD_WHY_REFUSED:
    case FM_COORD_WHY_INVALID:
    case FM_COORD_WHY_FULL:
    case FM_COORD_WHY_ANSWER:
    case FM_COORD_WHY_CLOSED:
        break;
    }
    return FM_EXIT_FAILED;
}
