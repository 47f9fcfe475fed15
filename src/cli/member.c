/* fulmar group add, fulmar group remove: nodes that come into a PostgreSQL group and go from it.
 * What stands in the way on the host of a new node its own agent says, before anything is changed;
 * the rest is an order like any other. What hosts agree upon is changed by it; the files of the
 * hosts are people's, who are told what is to be written there. */
#include "base/assert.h"
#include "cli/group.h"
#include "cli/hint.h"
#include "cli/order.h"
#include "cli/show.h"
#include "conf/scalar.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROOM_MS = 5000, WHAT_ROOM = 512, USUAL_PORT = 5432 };

#define USUAL_DATA "/var/lib/fulmar/pg/"

/* The node, as the file says it, or as it is where nothing is said. */
struct member {
    const char *command;
    char context[64];
    char data[PATH_MAX];
    char delay[32]; /* "" = none */
    unsigned port;
    bool may_run; /* by this file its host may run databases: it is asked */
};

static void take_node(struct member *m, const struct fm_conf *conf, const struct fm_conf_group *g,
                      const char *name)
{
    int host = fm_conf_find_host(conf, fm_str_z(name));
    int i = host < 0 ? -1 : fm_conf_find_group_node(g, (unsigned)host);
    const struct fm_conf_group_node *n = i < 0 ? NULL : &g->nodes[i];
    m->port = n ? n->port : USUAL_PORT;
    m->may_run = host >= 0 && conf->hosts[host].roles & FM_ROLE_POSTGRES;
    if (n)
        snprintf(m->data, sizeof m->data, "%.*s", FM_STR_ARG(n->data));
    else
        snprintf(m->data, sizeof m->data, USUAL_DATA "%.*s", FM_STR_ARG(g->name));
    if (n && n->delay_ms)
        snprintf(m->delay, sizeof m->delay, "%s", fm_scalar_duration_text(n->delay_ms).s);
}

static int read_file(const struct fm_args *a, struct member *m)
{
    struct fm_conf *conf = NULL;
    unsigned i = 0;
    int code = fm_group_of_file(a, m->command, &conf, &i);
    if (!code && conf->groups[i].hooks.present)
        code = fm_usage("%s: the data of `%s` are not in nodes of Fulmar: they are moved by hooks",
                        m->command, a->arg[0]);
    if (!code) {
        fm_group_context(conf, i, m->context, sizeof m->context);
        take_node(m, conf, &conf->groups[i], a->arg[1]);
    }
    fm_conf_free(conf);
    return code;
}

/* -------- is there room -------- */

/* The group as an agent has heard of it; NULL: it is no node's, or nobody says. */
static int ask_group(const struct fm_args *a, const struct member *m, json_t **out)
{
    struct fm_agents *g = NULL;
    struct fm_reply r = {0};
    int code = fm_agents_open(&g, a, m->command, FM_WHOM_ORDER);
    if (code)
        return code;
    enum fm_agents_end end = fm_agents_get(g, "/groups", 0, &r);
    if (end != FM_AGENTS_ANSWERED)
        code = fm_agents_fail(g, end);
    else if (r.status != 200 || strcmp(fm_show_text(r.doc, "schema"), "fulmar.groups/1") != 0)
        code = fm_order_unwanted(a, m->command, &r);
    else
        *out = json_incref(json_object_get(json_object_get(r.doc, "groups"), a->arg[0]));
    json_decref(r.doc);
    fm_agents_close(g);
    return code;
}

static int refuse(const struct fm_args *a, const struct member *m, const char *evidence,
                  const char *remedy)
{
    struct fm_reply r = {.status = 409, .from = a->arg[1]};
    r.doc = json_pack("{s:s,s:s,s:s,s:s}", "schema", "fulmar.refusal/1", "rule", "no-room",
                      "evidence", evidence, "remedy", remedy);
    FM_ASSERT(r.doc);
    int code = fm_order_unwanted(a, m->command, &r);
    json_decref(r.doc);
    return code;
}

/* By the agent of the node's own host, which alone can look. */
static int ask_host(const struct fm_args *a, const struct member *m)
{
    struct fm_args args = *a;
    struct fm_agents *g = NULL;
    struct fm_reply r = {0};
    char what[WHAT_ROOM + PATH_MAX];
    args.server = a->arg[1];
    if (!args.timeout_text || args.timeout_ms > ROOM_MS)
        args.timeout_ms = ROOM_MS;
    int code = fm_agents_open(&g, &args, m->command, FM_WHOM_ORDER);
    if (code)
        return code;
    json_t *body =
        json_pack("{s:s,s:s,s:i}", "group", a->arg[0], "data", m->data, "port", (int)m->port);
    enum fm_agents_end end = fm_agents_post(g, "/groups/room", body, true, &r);
    const char *problem = json_string_value(json_object_get(r.doc, "problem"));
    bool known =
        r.status == 200 && strcmp(fm_show_text(r.doc, "schema"), "fulmar.group-room/1") == 0;
    if (end != FM_AGENTS_ANSWERED) {
        code = fm_agents_fail(g, end);
    } else if (!known && r.status != 404) {
        code = fm_order_unwanted(a, m->command, &r);
    } else if (!known) {
        snprintf(what, sizeof what, "the agent of %s runs no databases", a->arg[1]);
        code = refuse(a, m, what, "start it anew: it got the role `postgres` since it began");
    } else if (problem) {
        snprintf(what, sizeof what, "%s: %s", a->arg[1], problem);
        code = refuse(a, m, what,
                      "`data` and `port` are those of `nodes` in the file of --config, else the "
                      "usual ones");
    }
    json_decref(r.doc);
    json_decref(body);
    fm_agents_close(g);
    return code;
}

/* What agents refuse without a look at the host is left to the order. */
static int look(const struct fm_args *a, const struct member *m)
{
    json_t *group = NULL;
    int code = ask_group(a, m, &group);
    bool asks = m->may_run && !json_object_get(json_object_get(group, "nodes"), a->arg[1]);
    if (!code && asks)
        code = ask_host(a, m);
    if (!code && asks && a->output == FM_OUTPUT_TABLE)
        printf("%s gets a copy of %s, into %s, on port %u%s%s\n", a->arg[1],
               fm_show_or_dash(fm_show_text(group, "primary")), m->data, m->port,
               m->delay[0] ? ", delayed " : "", m->delay);
    (void)fflush(stdout);
    json_decref(group);
    return code;
}

/* -------- the commands -------- */

/* The order was for what hosts agree upon; their files say what they said before. */
static void say_files(const struct fm_args *a, bool added)
{
    fm_hint_print(
        stderr,
        "%s: `nodes` of %s in the files of the hosts: `fulmar config diff` says whose differ\n",
        added ? "write it there, too" : "take it out there, too", a->arg[0]);
}

int fm_cmd_group_add(const struct fm_args *a)
{
    struct member m = {.command = "group add"};
    if (a->nargs != 2)
        return fm_usage("usage: fulmar group add GROUP NODE");
    int code = fm_order_check_reason(a, m.command);
    if (!code)
        code = read_file(a, &m);
    if (!code)
        code = look(a, &m);
    if (code)
        return code;
    json_t *body = json_pack("{s:s,s:s,s:s,s:i}", "context", m.context, "node", a->arg[1], "data",
                             m.data, "port", (int)m.port);
    if (m.delay[0])
        json_object_set_new(body, "delay", json_string(m.delay));
    code = fm_order(a, m.command, "add", body, false);
    if (code == FM_EXIT_OK && !a->dry_run)
        say_files(a, true);
    return code;
}

int fm_cmd_group_remove(const struct fm_args *a)
{
    struct member m = {.command = "group remove"};
    if (a->nargs != 2)
        return fm_usage("usage: fulmar group remove GROUP NODE");
    if (a->confirm && strcmp(a->confirm, a->arg[1]) != 0)
        return fm_usage("--confirm says `%s`, and the node is `%s`", a->confirm, a->arg[1]);
    int code = fm_order_check_reason(a, m.command);
    if (!code)
        code = read_file(a, &m);
    if (code)
        return code;
    json_t *body =
        json_pack("{s:s,s:s,s:s?}", "context", m.context, "node", a->arg[1], "confirm", a->confirm);
    code = fm_order(a, m.command, "remove", body, false);
    if (code == FM_EXIT_OK && !a->dry_run)
        say_files(a, false);
    return code;
}
