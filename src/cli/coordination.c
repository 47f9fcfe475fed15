/* fulmar coordination status: is the place of agreement there, and whose is it? Asks the store
 * itself, not a daemon, and writes nothing: a store without a stamp stays without one. */
#include "base/log.h"
#include "cli/cli.h"
#include "coord/setup.h"
#include "coord/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { USUAL_MS = 5000, BLOCK = 64 * 1024, BLOCKS = 64 };

struct look {
    struct fm_pool pool;
    struct fm_loop loop;
    struct fm_mailbox mailbox;
    struct fm_resolver *resolver;
    struct fm_coord_setup setup;
    struct fm_coord *coord;
    struct fm_coord_op op;
    struct fm_coord_seen seen[FM_COORD_ENDPOINTS_MAX];
    size_t nseen;
    bool read, surveyed, closed;
    /* what the read of the stamp found */
    enum fm_coord_outcome outcome;
    enum fm_coord_why why;
    struct fm_error error;
    uint64_t revision, stamp_revision;
    bool stamped;
    struct fm_coord_stamp stamp;
};

/* -------- asking -------- */

static void stamp_read(struct fm_coord_op *op)
{
    struct look *k = op->user;
    k->read = true;
    k->outcome = op->outcome;
    k->why = op->why;
    k->error = op->error;
    k->revision = op->revision;
    if (op->nkv != 1)
        return;
    k->stamped = fm_coord_wire_read_stamp(op->kv[0].value, &k->stamp);
    k->stamp_revision = op->kv[0].revision;
}

static void surveyed(void *user, const struct fm_coord_seen *seen, size_t n)
{
    struct look *k = user;
    memcpy(k->seen, seen, n * sizeof *seen);
    k->nseen = n;
    k->surveyed = true;
}

static void closed(struct fm_coord *c, void *user)
{
    (void)c;
    ((struct look *)user)->closed = true;
}

static enum fm_err start(struct look *k, const struct fm_args *a, struct fm_error *e)
{
    int64_t ms = a->timeout_ms ? a->timeout_ms : USUAL_MS;
    k->setup.config.observe = true;
    k->setup.config.resolver = k->resolver;
    k->setup.config.closed = closed;
    k->setup.config.user = k;
    k->coord = fm_coord_open(&k->loop, &k->setup.config, e);
    if (!k->coord)
        return e->code;
    struct fm_mono deadline = fm_mono_add_ms(fm_mono_now(), ms);
    k->op.done = stamp_read;
    k->op.user = k;
    fm_coord_get(k->coord, &k->op, FM_STR(FM_COORD_STAMP), false, false, deadline);
    return fm_coord_survey(k->coord, deadline, surveyed, k, e);
}

static enum fm_err ask(struct look *k, const struct fm_args *a, struct fm_error *e)
{
    fm_pool_init(&k->pool, BLOCK, BLOCKS);
    enum fm_err err = fm_loop_init(&k->loop, &k->pool, e);
    if (err)
        return err;
    err = fm_mailbox_open(&k->mailbox, &k->loop, k, e);
    if (!err) {
        k->resolver = fm_resolver_new(&k->mailbox, e);
        err = k->resolver ? start(k, a, e) : FM_ERR_LIMIT;
        while (!err && !(k->read && k->surveyed))
            fm_loop_turn(&k->loop, FM_NS_PER_S);
        if (k->coord)
            fm_coord_close(k->coord);
        fm_resolver_free(k->resolver);
        if (k->coord)
            fm_coord_resolver_gone(k->coord);
        while (k->coord && !k->closed)
            fm_loop_turn(&k->loop, FM_NS_PER_S);
        fm_mailbox_close(&k->mailbox);
    }
    fm_loop_turn(&k->loop, 0);
    fm_loop_deinit(&k->loop);
    fm_pool_deinit(&k->pool);
    return err;
}

/* -------- telling -------- */

static const char *verdict(const struct look *k)
{
    if (k->outcome == FM_COORD_DONE)
        return k->stamped ? "good" : "not stamped yet";
    return fm_coord_why_text(k->why);
}

static json_t *seen_json(const struct look *k, size_t i)
{
    const struct fm_coord_seen *s = &k->seen[i];
    bool good = s->reachable && !s->error.msg[0];
    json_t *o = json_object();
    json_object_set_new(o, "endpoint", json_string(k->setup.endpoint[i].text));
    json_object_set_new(o, "region",
                        *k->setup.region[i] ? json_string(k->setup.region[i]) : json_null());
    json_object_set_new(o, "reachable", json_boolean(s->reachable));
    json_object_set_new(o, "latency_ms",
                        s->reachable ? json_real((double)s->latency_us / 1000.0) : json_null());
    json_object_set_new(o, "leader", good ? json_boolean(s->leads) : json_null());
    json_object_set_new(o, "has_leader", good ? json_boolean(s->has_leader) : json_null());
    json_object_set_new(o, "revision", good ? json_integer((json_int_t)s->revision) : json_null());
    json_object_set_new(o, "version", good ? json_string(s->version) : json_null());
    json_object_set_new(o, "size_bytes", good ? json_integer((json_int_t)s->bytes) : json_null());
    json_object_set_new(o, "error", s->error.msg[0] ? json_string(s->error.msg) : json_null());
    return o;
}

static json_t *document(const struct look *k, const struct fm_conf *conf)
{
    bool good = k->outcome == FM_COORD_DONE;
    json_t *list = json_array();
    for (size_t i = 0; i < k->nseen; i++)
        json_array_append_new(list, seen_json(k, i));
    json_t *stamp = k->stamped
                        ? json_pack("{s:s,s:s,s:I}", "service", k->stamp.service, "incarnation",
                                    k->stamp.incarnation, "revision", (json_int_t)k->stamp_revision)
                        : json_null();
    return json_pack(
        "{s:s,s:s,s:s,s:b,s:s,s:o,s:o,s:o,s:o}", "schema", "fulmar.coordination/1", "service",
        conf->service.p, "backend", conf->coordination.etcd.present ? "etcd" : "sqlite",
        "reachable", (int)good, "state", verdict(k), "revision",
        good ? json_integer((json_int_t)k->revision) : json_null(), "stamp", stamp, "endpoints",
        list, "error", k->error.msg[0] ? json_string(k->error.msg) : json_null());
}

static void print_table(const struct look *k, const struct fm_conf *conf)
{
    printf("service %s, coordination by %s: %s\n", conf->service.p,
           conf->coordination.etcd.present ? "etcd" : "sqlite", verdict(k));
    if (k->outcome == FM_COORD_DONE)
        printf("revision %llu%s%s\n", (unsigned long long)k->revision,
               k->stamped ? ", incarnation " : "", k->stamped ? k->stamp.incarnation : "");
    else
        printf("%s\n", k->error.msg);
    printf("\n%-36s %-10s %-9s %10s %11s  %s\n", "ENDPOINT", "REGION", "STATE", "LATENCY",
           "REVISION", "VERSION");
    for (size_t i = 0; i < k->nseen; i++) {
        const struct fm_coord_seen *s = &k->seen[i];
        printf("%-36s %-10s ", k->setup.endpoint[i].text,
               *k->setup.region[i] ? k->setup.region[i] : "-");
        if (!s->reachable || s->error.msg[0])
            printf("%-9s %s\n", s->reachable ? "failing" : "away", s->error.msg);
        else
            printf("%-9s %7.1f ms %11llu  %s\n",
                   s->leads        ? "leader"
                   : s->has_leader ? "follower"
                                   : "no leader",
                   (double)s->latency_us / 1000.0, (unsigned long long)s->revision, s->version);
    }
}

static int exit_code(const struct look *k)
{
    bool anyone = false;
    for (size_t i = 0; i < k->nseen; i++)
        anyone |= k->seen[i].reachable;
    if (k->outcome == FM_COORD_DONE)
        return FM_EXIT_OK;
    if (k->why == FM_COORD_WHY_SERVICE || k->why == FM_COORD_WHY_WENT_BACK)
        return FM_EXIT_DIFFERS;
    if (k->why == FM_COORD_WHY_PERMISSION)
        return FM_EXIT_NOT_ALLOWED;
    return anyone ? FM_EXIT_NO_QUORUM : FM_EXIT_UNREACHABLE;
}

/* -------- the command -------- */

static int look(const struct fm_args *a, const struct fm_conf *conf)
{
    struct look *k = calloc(1, sizeof *k);
    struct fm_error e = {0};
    char host[256];
    struct fm_str region = FM_STR("");
    if (!k)
        return FM_EXIT_FAILED;
    fm_cli_this_host(conf, a, host, sizeof host);
    int h = fm_conf_find_host(conf, fm_str_z(host));
    if (h >= 0)
        region = conf->regions[conf->hosts[h].region].name;
    enum fm_err err = fm_coord_setup(&k->setup, conf, fm_str_z(host), region, &e);
    if (!err)
        err = ask(k, a, &e);
    int code = FM_EXIT_FAILED;
    if (err) {
        code = fm_print_error(a, "coordination status", FM_EXIT_FAILED, e.msg, NULL);
    } else {
        code = exit_code(k);
        if (a->output == FM_OUTPUT_TABLE) {
            print_table(k, conf);
        } else {
            json_t *doc = document(k, conf);
            fm_print_document(doc, a->output);
            json_decref(doc);
        }
    }
    free(k);
    return code;
}

int fm_cmd_coordination_status(const struct fm_args *a)
{
    fm_log_set_level(FM_LOG_OFF); /* what it would say is in the answer */
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *conf = fm_conf_load(a->config, &r);
    int code = FM_EXIT_CONFIG;
    if (!conf)
        code = fm_print_error(a, "coordination status", FM_EXIT_CONFIG,
                              r.n ? r.finding[0].what : "the configuration cannot be read",
                              "`fulmar config check` says all that is wrong with it");
    else if (!conf->coordination.present)
        code = fm_print_error(a, "coordination status", FM_EXIT_CONFIG,
                              "the configuration has no section `coordination`",
                              "add `coordination: {etcd: {endpoints: ...}}`");
    else
        code = look(a, conf);
    fm_conf_free(conf);
    fm_conf_report_deinit(&r);
    return code;
}
