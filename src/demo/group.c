/* The ledger of the demonstration as a PostgreSQL group: made, asked how it is, and asked by SQL
 * what is in it. Like an operator and an application it knows `fulmar group create`, the status of
 * agents and the addresses of the doors. Blocking for the caller, while the demonstration goes on.
 */
#include "demo/stage.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/file.h"
#include "http/fetch.h"
#include "pg/conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STATUS_MS = 400,
    MADE_MS = 60000,
    SQL_MS = 5000,
    SECRET_MAX = 256,
    SCHEMA_MAX = 64 * 1024,
    PAGE = 32768, /* requests; their keys fit into one result (pg/conn.h) */
    KEYS_MAX = 40,
};

/* -------- how it is -------- */

static const json_t *group_of(json_t *doc)
{
    return json_object_get(json_object_get(doc, "groups"), "ledger");
}

static bool look(const struct fm_demo *d, unsigned region, struct fm_stage_group *g)
{
    struct fm_addr at = fm_world_loopback(d->world.region[region].admin);
    struct fm_fetched got;
    *g = (struct fm_stage_group){.bound_bytes = -1, .lacks_bytes = -1};
    if (fm_fetch(&at, "/status", STATUS_MS, &got, NULL) != FM_ERR_OK)
        return false;
    json_t *doc = json_loadb(got.body ? got.body : "", got.n, 0, NULL);
    const json_t *group = group_of(doc), *loss = NULL;
    const char *state = json_string_value(json_object_get(group, "state"));
    loss = json_object_get(json_object_get(group, "credit"), "loss_if_now");
    const char *kind = json_string_value(json_object_get(loss, "kind"));
    g->primary = state && strcmp(state, "primary") == 0;
    g->enforced = kind && strcmp(kind, "enforced") == 0;
    if (g->enforced)
        g->bound_bytes = json_integer_value(json_object_get(loss, "bytes"));
    const json_t *broken = json_object_get(loss, "broken");
    if (json_is_object(broken))
        g->lacks_bytes = json_integer_value(json_object_get(broken, "lacks_bytes"));
    for (json_int_t p = json_integer_value(json_object_get(group, "promotable")); p; p &= p - 1)
        g->standbys++;
    json_decref(doc);
    free(got.body);
    return true;
}

bool fm_stage_group_look(const struct fm_demo *d, struct fm_stage_group *g)
{
    return look(d, fm_stage_writer(d), g);
}

bool fm_stage_group_is_whole(struct fm_demo *d)
{
    struct fm_stage_group g;
    return fm_stage_group_look(d, &g) && g.primary && g.enforced &&
           g.standbys + 1 == d->world.nregions;
}

/* -------- SQL -------- */

struct statement {
    struct fm_pg_conn conn;
    const char *text;
    const char *const *params;
    unsigned nparams;
    bool over, ok;
    char *value; /* the first one; from malloc */
    struct fm_error error;
};

static struct statement *running; /* the one that is waited for */

static bool is_over(struct fm_demo *d)
{
    (void)d;
    return running->over;
}

static void answered(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct statement *s = fm_container_of(c, struct statement, conn);
    s->over = true;
    s->ok = r->error.code == FM_ERR_OK;
    s->error = r->error;
    if (s->ok && r->rows > 0 && r->columns > 0 && fm_pg_value(r, 0, 0).p) {
        s->value = strdup(fm_pg_value(r, 0, 0).p);
        FM_ASSERT(s->value);
    }
}

static void connected(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct statement *s = fm_container_of(c, struct statement, conn);
    if (r->error.code)
        answered(c, r);
    else if (s->nparams)
        fm_pg_query(c, s->text, s->params, s->nparams, SQL_MS, answered);
    else
        fm_pg_command(c, s->text, SQL_MS, answered);
}

/* Through the door of whoever holds the ledger. *value (may be NULL) is the first one of the
 * result, from malloc; NULL where there is none. */
static bool run(struct fm_demo *d, const struct fm_pg_target *as, struct statement *s, char **value)
{
    struct fm_addr door = fm_world_loopback(d->world.region[fm_stage_writer(d)].door_write);
    struct fm_pg_target t = *as;
    FM_ASSERT(!running && s->text);
    t.addr = &door;
    fm_pg_init(&s->conn, &d->loop, "ledger", NULL);
    fm_pg_open(&s->conn, &t, SQL_MS, connected);
    running = s;
    bool done = fm_stage_wait(d, 2 * SQL_MS + 1000, is_over);
    running = NULL;
    fm_pg_close(&s->conn);
    if (!s->ok)
        fm_error_set(&d->error, FM_ERR_STATE, "the ledger does not answer: %s",
                     s->over ? s->error.msg : "not in time");
    done &= s->ok;
    if (value)
        *value = done ? s->value : NULL;
    if (!value || !done)
        free(s->value);
    return done;
}

static struct fm_pg_target as_bank(const struct fm_demo *d)
{
    return (struct fm_pg_target){.user = "bank",
                                 .database = "bank",
                                 .password = d->world.password,
                                 .application_name = "fulmar-demo"};
}

/* -------- making it -------- */

static bool make_user(struct fm_demo *d)
{
    char path[PATH_MAX + 64], secret[SECRET_MAX], text[256];
    size_t n = 0;
    const struct fm_world *w = &d->world;
    snprintf(path, sizeof path, "%s/%s-1/groups/ledger/admin.password", w->dir,
             w->region[fm_stage_writer(d)].name);
    if (fm_file_secret(path, secret, sizeof secret, &n, &d->error))
        return false;
    secret[n] = 0;
    struct fm_pg_target t = {.user = "fulmar_admin", .database = "postgres", .password = secret};
    snprintf(text, sizeof text, "create role bank login password '%s'", w->password);
    struct statement role = {.text = text}, base = {.text = "create database bank owner bank"};
    return run(d, &t, &role, NULL) && run(d, &t, &base, NULL);
}

static bool make_tables(struct fm_demo *d)
{
    char *text = NULL;
    size_t n = 0;
    if (fm_file_read(d->world.schema, SCHEMA_MAX, &text, &n, &d->error))
        return false;
    char *terminated = strndup(text, n);
    FM_ASSERT(terminated);
    struct fm_pg_target t = as_bank(d);
    struct statement tables = {.text = terminated};
    bool ok = run(d, &t, &tables, NULL);
    free(terminated);
    free(text);
    return ok;
}

static bool is_open(struct fm_demo *d)
{
    struct fm_stage_group g;
    return fm_stage_group_look(d, &g) && g.primary;
}

bool fm_stage_group_make(struct fm_demo *d)
{
    static const char *const words[] = {"group",         "create",    "ledger", "--reason",
                                        "demonstration", "--timeout", "20s",    NULL};
    double took;
    int code = fm_operate_code(d, fm_stage_writer(d), words, &took, NULL);
    if (code != 0 && code != FM_OPERATE_DETACHED)
        return false;
    /* a standby counts as soon as it has received something: so the tables come first */
    if (!fm_stage_wait(d, MADE_MS, is_open) || !make_user(d) || !make_tables(d) ||
        !fm_stage_wait(d, MADE_MS, fm_stage_group_is_whole))
        return false;
    if (!fm_stage_group_is_whole(d)) {
        fm_error_set(&d->error, FM_ERR_TIMEOUT,
                     "the PostgreSQL group was not whole within %d s; the log is %s/log",
                     MADE_MS / 1000, d->world.dir);
        return false;
    }
    return true;
}

/* -------- what is in it -------- */

bool fm_stage_group_keys(struct fm_demo *d, size_t first, size_t last, unsigned char *effects)
{
    /* a key ends with the number of its request */
    static const char text[] =
        "select string_agg(key || ' 1', E'\\n') from debits where starts_with(key, $1) "
        "and substr(key, length($1) + 1)::bigint between $2::bigint and $3::bigint";
    char key[KEYS_MAX], from[24], to[24];
    struct fm_pg_target t = as_bank(d);
    fm_load_key(d->load, 0, key);
    key[strlen(key) - 1] = 0;
    for (size_t at = first; at < last; at += PAGE) {
        char *keys = NULL;
        from[fm_u64_write(from, at)] = 0;
        to[fm_u64_write(to, fm_min_size(at + PAGE, last) - 1)] = 0;
        const char *const params[] = {key, from, to};
        struct statement s = {.text = text, .params = params, .nparams = FM_COUNT(params)};
        if (!run(d, &t, &s, &keys))
            return false;
        if (keys)
            fm_measure_keys(d->load, last, fm_str_z(keys), effects);
        free(keys);
    }
    return true;
}

static bool is_true(struct fm_demo *d, const char *text)
{
    struct fm_pg_target t = as_bank(d);
    struct statement s = {.text = text};
    char *value = NULL;
    bool is = run(d, &t, &s, &value) && value && strcmp(value, "t") == 0;
    free(value);
    return is;
}

bool fm_stage_group_balances(struct fm_demo *d)
{
    return is_true(d, "select coalesce((select sum(1000000 - balance) from accounts) = "
                      "(select sum(amount) from debits), true)");
}

bool fm_stage_group_keeps_rows(struct fm_demo *d)
{
    return is_true(d, "select exists (select from pg_replication_slots where database = "
                      "current_database() and slot_name like 'fulmar_rows_%')");
}
