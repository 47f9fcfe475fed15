/* The ledger where it is a PostgreSQL group of Fulmar: an instance knows two addresses, those of
 * its own gate, and nothing of who is primary. Commands go through `read-write`, which leads to the
 * primary where this region holds the ledger, and waits while it moves; queries through
 * `read-only`.
 *
 * (*) A command whose connection broke is asked again with its key until its time is over: it is
 * stored in the transaction of the effect (ledger.sql), so asking twice does nothing twice, and the
 * answer tells what became of it. A bound on connections, on what waits, and a deadline on each. */
#include "bank.h"

#include "base/assert.h"
#include "base/file.h"
#include "base/log.h"
#include "pg/conn.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    CONNECTIONS = 4, /* each way */
    OPENING_MAX = 2, /* at once: a password costs milliseconds of our loop */
    CALLS_MAX = 512, /* each way: queries that wait do not keep commands out */
    OPEN_MS = 2000,
    REST_MS = 20,   /* after a connection that failed */
    SWEEP_MS = 50,  /* how often those that wait are looked at for their deadlines */
    PARAMS_MAX = 5, /* of ledger.sql */
    NUMBER_MAX = 24,
    PASSWORD_MAX = 128,
    BALANCE = 1000000, /* of an account that was not written yet */
};

enum way { WRITING, READING, WAYS };

struct call {
    struct fm_list node; /* waiting */
    struct bank_effect effect;
    struct fm_mono deadline;
    bank_answered *done;
    void *user;
};

struct connection {
    struct fm_pg_conn pg;
    struct bank_ledger *all;
    enum way way;
    struct call *call; /* that it carries */
    struct fm_timer rest;
    bool resting;
};

struct bank_ledger {
    struct fm_loop *loop;
    struct fm_addr door[WAYS];
    char password[PASSWORD_MAX];
    struct connection conn[WAYS][CONNECTIONS];
    struct fm_list waiting[WAYS];
    unsigned ncalls[WAYS];
    struct fm_timer sweep;
};

static void serve(struct bank_ledger *l, enum way way);

static void finish(struct bank_ledger *l, enum way way, struct call *c, unsigned status,
                   struct fm_str body)
{
    FM_ASSERT(l->ncalls[way] > 0 && fm_list_empty(&c->node));
    l->ncalls[way]--;
    c->done(c->user, status, body);
    free(c);
}

/* -------- what is asked -------- */

static void show_debit(const struct fm_pg_result *r, struct fm_buf *out, unsigned *status)
{
    struct fm_str answer = r->rows == 1 ? fm_pg_value(r, 0, 0) : (struct fm_str){NULL, 0};
    *status = answer.p ? 200 : 409;
    if (answer.p)
        fm_buf_str_add(out, answer);
}

static void show_balance(const struct call *c, const struct fm_pg_result *r, struct fm_buf *out)
{
    char fresh[NUMBER_MAX];
    struct fm_str balance = fm_str(fresh, fm_u64_write(fresh, BALANCE));
    if (r->rows == 1)
        balance = fm_pg_value(r, 0, 0);
    fm_buf_printf(out, "{\"account\":\"%s\",\"balance\":%.*s}\n", c->effect.id,
                  FM_STR_ARG(balance));
}

/* Worth another try: the connection is gone, the server is on its way down or up, or somebody else
 * has stored this key a moment ago. */
static bool is_passing(const struct connection *k, const struct fm_pg_result *r)
{
    return k->pg.state == FM_PG_CONN_CLOSED || r->error.code == FM_ERR_STATE ||
           r->error.code == FM_ERR_EXISTS;
}

static void rest(struct connection *k)
{
    fm_pg_close(&k->pg);
    k->resting = true;
    fm_loop_timer_in_ms(k->all->loop, &k->rest, REST_MS);
}

static void answered(struct fm_pg_conn *pg, const struct fm_pg_result *r)
{
    struct connection *k = fm_container_of(pg, struct connection, pg);
    struct bank_ledger *l = k->all;
    struct call *c = k->call;
    char text[BANK_TEXT_MAX * 2];
    struct fm_buf out = fm_buf(text, sizeof text);
    unsigned status = 200;
    FM_ASSERT(c);
    k->call = NULL;
    if (r->error.code == FM_ERR_OK && k->way == WRITING) {
        show_debit(r, &out, &status);
    } else if (r->error.code == FM_ERR_OK) {
        show_balance(c, r, &out);
    } else if (is_passing(k, r) && fm_mono_before(fm_mono_now(), c->deadline)) {
        fm_list_push_front(&l->waiting[k->way], &c->node);
        if (r->error.code != FM_ERR_EXISTS)
            rest(k); /* where it leads now is asked anew */
        serve(l, k->way);
        return;
    } else {
        fm_log(FM_LOG_WARN, "ledger", FM_KZ("error", r->error.msg));
        status = 0;
    }
    finish(l, k->way, c, status, fm_buf_str(&out));
    serve(l, k->way);
}

static void ask(struct connection *k)
{
    struct call *c = k->call;
    const struct bank_effect *e = &c->effect;
    int64_t ms = fm_mono_sub_ms(c->deadline, fm_mono_now());
    if (k->way == READING) {
        const char *const account[] = {e->id};
        fm_pg_query(&k->pg, "select balance from accounts where id = $1", account, 1,
                    ms > 1 ? ms : 1, answered);
        return;
    }
    char amount[NUMBER_MAX], epoch[NUMBER_MAX];
    amount[fm_u64_write(amount, (uint64_t)e->amount)] = 0;
    epoch[fm_u64_write(epoch, e->authority.epoch)] = 0;
    const char *const params[PARAMS_MAX] = {e->key, e->id, amount, e->authority.cell, epoch};
    fm_pg_query(&k->pg, "select debit($1, $2, $3, $4, $5)", params, PARAMS_MAX, ms > 1 ? ms : 1,
                answered);
}

/* -------- connections -------- */

static void opened(struct fm_pg_conn *pg, const struct fm_pg_result *r)
{
    struct connection *k = fm_container_of(pg, struct connection, pg);
    if (r->error.code)
        rest(k);
    serve(k->all, k->way);
}

static void open_one(struct connection *k)
{
    struct fm_pg_target t = {.addr = &k->all->door[k->way],
                             .user = "bank",
                             .database = "bank",
                             .password = k->all->password,
                             .application_name = "bank"};
    fm_pg_open(&k->pg, &t, OPEN_MS, opened);
}

static void rested(struct fm_timer *t)
{
    struct connection *k = fm_container_of(t, struct connection, rest);
    k->resting = false;
    serve(k->all, k->way);
}

/* Those that wait are given to connections that are ready; for others more are opened. */
static void serve(struct bank_ledger *l, enum way way)
{
    struct fm_list *waiting = &l->waiting[way];
    unsigned opening = 0;
    size_t more = 0;
    for (unsigned i = 0; i < CONNECTIONS && !fm_list_empty(waiting); i++) {
        struct connection *k = &l->conn[way][i];
        if (k->pg.state != FM_PG_CONN_READY)
            continue;
        k->call = fm_list_first(waiting, struct call, node);
        fm_list_remove(&k->call->node);
        ask(k);
    }
    fm_list_each (at, waiting)
        more++;
    for (unsigned i = 0; i < CONNECTIONS; i++)
        opening += l->conn[way][i].pg.state == FM_PG_CONN_OPENING;
    for (unsigned i = 0; i < CONNECTIONS && opening < OPENING_MAX && opening < more; i++) {
        struct connection *k = &l->conn[way][i];
        if (k->resting || k->pg.state != FM_PG_CONN_CLOSED)
            continue;
        open_one(k);
        opening++;
    }
}

/* -------- from the instance -------- */

static void sweep(struct fm_timer *t)
{
    struct bank_ledger *l = fm_container_of(t, struct bank_ledger, sweep);
    struct fm_mono now = fm_mono_now();
    for (unsigned way = 0; way < WAYS; way++)
        fm_list_each_safe (at, next, &l->waiting[way]) {
            struct call *c = fm_container_of(at, struct call, node);
            if (fm_mono_before(now, c->deadline))
                continue;
            fm_list_remove(&c->node);
            finish(l, (enum way)way, c, 0, FM_STR(""));
        }
    fm_loop_timer_in_ms(l->loop, t, SWEEP_MS);
}

bool bank_ledger_ask(struct bank_ledger *l, bool command, const struct bank_effect *e,
                     int64_t timeout_ms, bank_answered *done, void *user)
{
    enum way way = command ? WRITING : READING;
    struct call *c = l->ncalls[way] < CALLS_MAX ? calloc(1, sizeof *c) : NULL;
    FM_ASSERT(timeout_ms > 0 && e->id[0]);
    if (!c)
        return false;
    c->effect = *e;
    c->deadline = fm_mono_add_ms(fm_mono_now(), timeout_ms);
    c->done = done;
    c->user = user;
    l->ncalls[way]++;
    fm_list_push_back(&l->waiting[way], &c->node);
    serve(l, way);
    return true;
}

struct bank_ledger *bank_ledger_new(struct fm_loop *loop, uint16_t write_port, uint16_t read_port,
                                    const char *password_file, struct fm_error *e)
{
    struct bank_ledger *l = calloc(1, sizeof *l);
    size_t n = 0;
    FM_ASSERT(l);
    if (fm_addr_ip(&l->door[WRITING], FM_STR("127.0.0.1"), write_port) ||
        fm_addr_ip(&l->door[READING], FM_STR("127.0.0.1"), read_port) ||
        fm_file_secret(password_file, l->password, sizeof l->password, &n, e)) {
        free(l);
        return NULL;
    }
    l->password[n] = 0;
    l->loop = loop;
    for (unsigned way = 0; way < WAYS; way++) {
        fm_list_init(&l->waiting[way]);
        for (unsigned i = 0; i < CONNECTIONS; i++) {
            struct connection *k = &l->conn[way][i];
            fm_pg_init(&k->pg, loop, way == WRITING ? "read-write" : "read-only", NULL);
            fm_timer_init(&k->rest, rested);
            k->all = l;
            k->way = (enum way)way;
        }
    }
    fm_timer_init(&l->sweep, sweep);
    fm_loop_timer_in_ms(loop, &l->sweep, SWEEP_MS);
    return l;
}
