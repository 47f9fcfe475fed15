/* fulmar coordination status: is the place of agreement there, whose is it, and do controllers
 * agree with what it shows? Asks the store itself and each controller, not one daemon, and writes
 * nothing: a store without a stamp stays without one. */
#include "cli/coordination.h"

#include "base/assert.h"
#include "base/log.h"
#include "cli/coord_io.h"
#include "cli/gather.h"
#include "cli/show.h"

#include <stdio.h>
#include <stdlib.h>

struct look {
    struct fm_coord_io *io;
    const struct fm_coord_setup *setup;
    const struct fm_coord_seen *seen;
    size_t nseen;
    /* what the read found */
    struct fm_coord_io_end end;
    uint64_t stamp_revision, store;
    bool stamped;
    struct fm_coord_stamp stamp;
    unsigned long long seed; /* of the newest new seed; 0 = there was none */
    json_t *seed_doc;
    /* what controllers say */
    struct fm_roster *roster;
    struct fm_gather gather;
    struct fm_error unasked; /* why nobody could be asked at all */
    unsigned nanswers, nfrozen, nunproven;
};

/* -------- asking -------- */

static void take(void *user, const struct fm_coord_kv *kv)
{
    struct look *k = user;
    struct fm_str rest, first = fm_str_cut(kv->key, '/', &rest);
    uint64_t n;
    if (fm_str_eqz(kv->key, FM_COORD_STAMP)) {
        k->stamped = fm_coord_wire_read_stamp(kv->value, &k->stamp);
        k->stamp_revision = kv->revision;
    } else if (fm_str_eqz(first, "reseed") && fm_str_u64(rest, &n) && n > k->seed) {
        json_decref(k->seed_doc);
        k->seed = n;
        k->seed_doc = json_loadb(kv->value.p, kv->value.n, JSON_REJECT_DUPLICATES, NULL);
    }
}

static bool fill_roster(struct look *k, const struct fm_conf *conf)
{
    k->roster = fm_roster_new();
    for (size_t i = 0; k->roster && i < conf->nregions; i++)
        (void)fm_roster_add_region(k->roster, conf->regions[i].name);
    for (size_t i = 0; k->roster && i < conf->ncontexts; i++)
        if (conf->contexts[i].ncells)
            (void)fm_roster_add_context(k->roster, conf->contexts[i].name,
                                        conf->contexts[i].ncells);
    return k->roster != NULL;
}

static void ask_controllers(struct look *k, const struct fm_args *a, struct fm_conf *conf)
{
    if (!fill_roster(k, conf)) {
        fm_error_set(&k->unasked, FM_ERR_MEMORY, "out of memory");
        return;
    }
    if (fm_gather(&k->gather, a, conf, k->roster, fm_coordination_ask_ms(a), &k->unasked))
        return;
    for (unsigned i = 0; i < k->gather.n; i++) {
        const struct fm_said *said = k->gather.of[i].said;
        k->nanswers += said != NULL;
        k->nfrozen += said && fm_said_is_frozen(said);
        k->nunproven += said && fm_said_is_unproven(said);
    }
}

static enum fm_err ask(struct look *k, const struct fm_args *a, struct fm_conf *conf,
                       struct fm_error *e)
{
    enum fm_err err = fm_coord_io_open(&k->io, conf, a, fm_coordination_ms(a), e);
    if (!err)
        err = fm_coord_io_survey(k->io, e);
    if (err)
        return err;
    k->setup = fm_coord_io_setup(k->io);
    fm_coord_io_read(k->io, "", true, take, k, &k->end);
    struct fm_coord_known known = fm_coord_io_known(k->io);
    k->store = fm_coord_store_id(&known);
    k->seen = fm_coord_io_surveyed(k->io, &k->nseen);
    ask_controllers(k, a, conf);
    return FM_ERR_OK;
}

/* They wait for a new seed: some have seen more than the store shows, or nobody knows anything. */
static bool is_frozen(const struct look *k)
{
    return k->nfrozen > 0 || (k->nanswers > 0 && k->nunproven == k->nanswers);
}

/* -------- telling -------- */

static const char *verdict(const struct look *k)
{
    if (k->end.outcome == FM_COORD_DONE)
        return k->stamped ? "good" : "not stamped yet";
    return fm_coord_why_text(k->end.why);
}

static json_t *seen_json(const struct look *k, size_t i)
{
    const struct fm_coord_seen *s = &k->seen[i];
    bool good = s->reachable && !s->error.msg[0];
    json_t *o = json_object();
    json_object_set_new(o, "endpoint", json_string(k->setup->endpoint[i].text));
    json_object_set_new(o, "region",
                        *k->setup->region[i] ? json_string(k->setup->region[i]) : json_null());
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

static const char *state_of(const struct look *k, const struct fm_gathered *g)
{
    if (!g->said)
        return "away";
    if (fm_said_is_frozen(g->said))
        return "frozen";
    if (fm_said_is_unproven(g->said))
        return "unproven";
    if (k->end.outcome == FM_COORD_DONE && g->said->reads && g->said->reads != k->store)
        return "other store";
    return g->said->reads ? "good" : "no store";
}

static json_t *controllers_json(const struct look *k)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < k->gather.n; i++) {
        const struct fm_gathered *g = &k->gather.of[i];
        const char *trouble = g->said ? g->said->trouble : g->why;
        json_array_append_new(list,
                              json_pack("{s:s,s:s,s:s?}", "host", g->host->name.p, "state",
                                        state_of(k, g), "error", trouble[0] ? trouble : NULL));
    }
    return k->unasked.msg[0] ? (json_decref(list), json_null()) : list;
}

static json_t *document(const struct look *k, const struct fm_conf *conf)
{
    bool good = k->end.outcome == FM_COORD_DONE;
    json_t *list = json_array();
    for (size_t i = 0; i < k->nseen; i++)
        json_array_append_new(list, seen_json(k, i));
    json_t *stamp = k->stamped
                        ? json_pack("{s:s,s:s,s:I}", "service", k->stamp.service, "incarnation",
                                    k->stamp.incarnation, "revision", (json_int_t)k->stamp_revision)
                        : json_null();
    json_t *o = json_pack(
        "{s:s,s:s,s:s,s:b,s:s,s:o,s:o,s:o,s:o}", "schema", "fulmar.coordination/1", "service",
        conf->service.p, "backend", conf->coordination.etcd.present ? "etcd" : "sqlite",
        "reachable", (int)good, "state", verdict(k), "revision",
        good ? json_integer((json_int_t)k->end.revision) : json_null(), "stamp", stamp, "endpoints",
        list, "error", k->end.error.msg[0] ? json_string(k->end.error.msg) : json_null());
    json_object_set_new(o, "controllers", controllers_json(k));
    json_object_set_new(o, "frozen", k->nanswers ? json_boolean(is_frozen(k)) : json_null());
    json_object_set(o, "last_reseed", k->seed_doc ? k->seed_doc : json_null());
    return o;
}

static void print_controllers(const struct look *k, const struct fm_conf *conf)
{
    if (k->unasked.msg[0])
        printf("\ncontrollers were not asked: %s\n", k->unasked.msg);
    if (k->gather.n == 0)
        return;
    printf("\n%-24s %-10s %s\n", "CONTROLLER", "REGION", "STATE");
    for (unsigned i = 0; i < k->gather.n; i++) {
        const struct fm_gathered *g = &k->gather.of[i];
        printf("%-24s %-10.*s %-12s%s\n", g->host->name.p,
               FM_STR_ARG(conf->regions[g->host->region].name), state_of(k, g),
               g->said ? g->said->trouble : g->why);
    }
    if (!is_frozen(k))
        return;
    if (k->nfrozen)
        printf("\nFROZEN: %u of %u controllers that answer have seen more than the store shows, or "
               "know another\none: an older copy was restored. Nothing is acquired; commands go on "
               "while all regions see each\nother.",
               k->nfrozen, k->nanswers);
    else
        printf(
            "\nUNPROVEN: no controller that answers knows anything of before, and the store is not "
            "empty: nobody\ncan say that it is no older copy. Nothing is acquired.");
    printf(" This ends it (first with --dry-run):\n"
           "  fulmar coordination reseed --confirm %s --reason TEXT\n",
           conf->service.p);
}

static void print_seed(const struct look *k)
{
    if (!k->seed)
        return;
    json_t *d = k->seed_doc;
    fm_show_tame(d);
    printf("seeded anew (incarnation %llu) at %s by %s: %s\n", k->seed,
           fm_show_or_dash(fm_show_text(d, "at")), fm_show_or_dash(fm_show_text(d, "by")),
           fm_show_text(d, "reason"));
}

static void print_table(const struct look *k, const struct fm_conf *conf)
{
    printf("service %s, coordination by %s: %s\n", conf->service.p,
           conf->coordination.etcd.present ? "etcd" : "sqlite", verdict(k));
    if (k->end.outcome == FM_COORD_DONE)
        printf("revision %llu%s%s\n", (unsigned long long)k->end.revision,
               k->stamped ? ", incarnation " : "", k->stamped ? k->stamp.incarnation : "");
    else
        printf("%s\n", k->end.error.msg);
    print_seed(k);
    printf("\n%-36s %-10s %-9s %10s %11s  %s\n", "ENDPOINT", "REGION", "STATE", "LATENCY",
           "REVISION", "VERSION");
    for (size_t i = 0; i < k->nseen; i++) {
        const struct fm_coord_seen *s = &k->seen[i];
        printf("%-36s %-10s ", k->setup->endpoint[i].text,
               *k->setup->region[i] ? k->setup->region[i] : "-");
        if (!s->reachable || s->error.msg[0])
            printf("%-9s %s\n", s->reachable ? "failing" : "away", s->error.msg);
        else
            printf("%-9s %7.1f ms %11llu  %s\n",
                   s->leads        ? "leader"
                   : s->has_leader ? "follower"
                                   : "no leader",
                   (double)s->latency_us / 1000.0, (unsigned long long)s->revision, s->version);
    }
    print_controllers(k, conf);
}

static int exit_code(const struct look *k)
{
    bool anyone = false;
    for (size_t i = 0; i < k->nseen; i++)
        anyone |= k->seen[i].reachable;
    if (k->end.outcome == FM_COORD_DONE)
        return is_frozen(k) ? FM_EXIT_DIFFERS : FM_EXIT_OK;
    if (k->end.why == FM_COORD_WHY_SERVICE || k->end.why == FM_COORD_WHY_WENT_BACK)
        return FM_EXIT_DIFFERS;
    if (k->end.why == FM_COORD_WHY_PERMISSION)
        return FM_EXIT_NOT_ALLOWED;
    return anyone ? FM_EXIT_NO_QUORUM : FM_EXIT_UNREACHABLE;
}

/* -------- the command -------- */

static int look(const struct fm_args *a, struct fm_conf *conf)
{
    struct look *k = calloc(1, sizeof *k);
    struct fm_error e = {0};
    if (!k)
        return FM_EXIT_FAILED;
    int code = FM_EXIT_FAILED;
    if (ask(k, a, conf, &e)) {
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
    json_decref(k->seed_doc);
    fm_gather_free(&k->gather);
    fm_roster_free(k->roster);
    fm_coord_io_close(k->io);
    free(k);
    return code;
}

int fm_coordination_with(const struct fm_args *a, const char *command,
                         int (*run)(const struct fm_args *a, struct fm_conf *conf))
{
    fm_log_set_level(FM_LOG_OFF); /* what it would say is in the answer */
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *conf = fm_conf_load(a->config, &r);
    int code = FM_EXIT_CONFIG;
    if (!conf)
        code = fm_print_error(a, command, FM_EXIT_CONFIG,
                              r.n ? r.finding[0].what : "the configuration cannot be read",
                              "`fulmar config check` says all that is wrong with it");
    else if (!conf->coordination.present)
        code = fm_print_error(a, command, FM_EXIT_CONFIG,
                              "the configuration has no section `coordination`",
                              "add `coordination: {etcd: {endpoints: ...}}`");
    else
        code = run(a, conf);
    fm_conf_free(conf);
    fm_conf_report_deinit(&r);
    return code;
}

int fm_cmd_coordination_status(const struct fm_args *a)
{
    return fm_coordination_with(a, "coordination status", look);
}
