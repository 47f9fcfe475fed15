/* fulmar group: the nodes of PostgreSQL groups. */
#include "cli/group.h"

#include "base/assert.h"
#include "cli/hint.h"
#include "cli/order.h"
#include "cli/show.h"
#include "conf/scalar.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    NODE_MS = 2000, /* a node's agent has so long to say what stands in its way */
    PLACE_ROOM = 128,
    STATE_ROOM = 48,
};

int fm_group_of_file(const struct fm_args *a, const char *command, struct fm_conf **conf,
                     unsigned *index)
{
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *read = fm_conf_load(a->config, &r);
    int i = read ? fm_conf_find_group(read, fm_str_z(a->arg[0])) : -1;
    int code = FM_EXIT_OK;
    if (!read) {
        char what[PATH_MAX + 512];
        snprintf(what, sizeof what, "cannot read %s: %s", a->config,
                 r.n ? r.finding[0].what : "unknown error");
        code = fm_print_error(a, command, FM_EXIT_CONFIG, what,
                              "`fulmar config check` says all that is wrong.");
    } else if (i < 0) {
        code = fm_usage("%s: %s has no group `%s`; `fulmar group status` lists them", command,
                        a->config, a->arg[0]);
    }
    fm_conf_report_deinit(&r);
    *index = i < 0 ? 0 : (unsigned)i;
    *conf = code ? NULL : read;
    if (code)
        fm_conf_free(read);
    return code;
}

void fm_group_context(const struct fm_conf *conf, unsigned group, char *out, size_t cap)
{
    FM_ASSERT(group < conf->ngroups && conf->groups[group].ncontexts > 0);
    snprintf(out, cap, "%.*s", FM_STR_ARG(conf->contexts[conf->groups[group].contexts[0]].name));
}

static int context_of(const struct fm_args *a, const char *command, char *out, size_t cap)
{
    struct fm_conf *conf = NULL;
    unsigned i = 0;
    int code = fm_group_of_file(a, command, &conf, &i);
    if (!code)
        fm_group_context(conf, i, out, cap);
    fm_conf_free(conf);
    return code;
}

int fm_cmd_group_create(const struct fm_args *a)
{
    char context[64];
    if (a->nargs != 1)
        return fm_usage("`fulmar group create` needs a group; see `fulmar help group create`");
    int code = context_of(a, "group create", context, sizeof context);
    if (code)
        return code;
    return fm_order(a, "group create", "create", json_pack("{s:s}", "context", context), false);
}

/* -------- one node -------- */

static int order_node(const struct fm_args *a, const char *command, const char *verb)
{
    char context[64];
    int code = context_of(a, command, context, sizeof context);
    if (code)
        return code;
    return fm_order(a, command, verb, json_pack("{s:s,s:s}", "context", context, "node", a->arg[1]),
                    false);
}

int fm_cmd_group_reinit(const struct fm_args *a)
{
    if (a->nargs != 2)
        return fm_usage("usage: fulmar group reinit GROUP NODE");
    return order_node(a, "group reinit", "reinit");
}

int fm_cmd_group_maintain(const struct fm_args *a)
{
    bool on = a->nargs == 3 && strcmp(a->arg[2], "on") == 0;
    if (a->nargs != 3 || (!on && strcmp(a->arg[2], "off") != 0))
        return fm_usage("usage: fulmar group maintain GROUP NODE on|off");
    return order_node(a, "group maintain", on ? "maintain" : "resume");
}

/* -------- status -------- */

/* What a node says of itself is what stands in its way: its own agent is asked. */
struct asked {
    struct fm_args args; /* its own: with the node as --server */
    const char *group, *node;
    json_t *of;  /* of the node, in the document */
    json_t *doc; /* that its agent gave; NULL */
    enum fm_agents_end end;
    unsigned status;
    pthread_t thread;
};

static void *ask_node(void *arg)
{
    struct asked *q = arg;
    struct fm_agents *g = NULL;
    struct fm_reply r = {0};
    q->end = FM_AGENTS_NOBODY;
    /* by its name: it has a certificate of that name, which an address alone does not tell */
    if (fm_agents_open(&g, &q->args, "group status", FM_WHOM_ORDER) == FM_EXIT_OK)
        q->end = fm_agents_get(g, "/groups?here", 0, &r);
    q->doc = r.doc;
    q->status = r.status;
    fm_agents_close(g);
    return NULL;
}

static void take_node(struct asked *q)
{
    const char *state = json_string_value(json_object_get(q->of, "state"));
    json_t *here = json_object_get(json_object_get(q->doc, "groups"), q->group);
    json_t *trouble = json_null();
    bool reached = q->end == FM_AGENTS_ANSWERED;
    if (!reached)
        trouble = json_string("its agent cannot be reached");
    else if (q->status != 200 || !json_is_object(here))
        trouble = json_string("its agent runs no node of this group: it goes by another "
                              "configuration, or was not restarted since `fulmar config apply`");
    else if (json_is_string(json_object_get(here, "trouble")))
        trouble = json_incref(json_object_get(here, "trouble"));
    else if (!state)
        trouble = json_string("its agent answers here, and its reports do not arrive");
    json_object_set_new(q->of, "trouble", trouble);
    json_object_set_new(q->of, "reached", json_boolean(reached));
    json_object_set(q->of, "why", json_object_get(here, "why"));
    json_object_set(q->of, "loss_recovery", json_object_get(here, "loss_recovery"));
    json_object_set(q->of, "progress_percent", json_object_get(here, "progress_percent"));
    json_decref(q->doc);
}

/* All at once: those that do not answer cost one wait together. */
static void ask_nodes(const struct fm_args *a, json_t *doc)
{
    const char *group, *node;
    json_t *x, *n;
    size_t most = 0, count = 0;
    json_object_foreach(json_object_get(doc, "groups"), group, x)
    {
        most += json_object_size(json_object_get(x, "nodes"));
    }
    struct asked *all = calloc(most + 1, sizeof *all);
    FM_ASSERT(all);
    json_object_foreach(json_object_get(doc, "groups"), group, x)
    {
        json_object_foreach(json_object_get(x, "nodes"), node, n)
        {
            FM_ASSERT(count < most);
            struct asked *q = &all[count];
            *q = (struct asked){.args = *a, .group = group, .node = node, .of = n};
            q->args.server = node;
            if (q->args.timeout_ms > NODE_MS)
                q->args.timeout_ms = NODE_MS;
            count += pthread_create(&q->thread, NULL, ask_node, q) == 0;
        }
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(all[i].thread, NULL);
        take_node(&all[i]);
    }
    free(all);
}

/* "west", or "west/a" where the file says zones. */
static const char *place(const json_t *n, char out[PLACE_ROOM])
{
    const char *zone = json_string_value(json_object_get(n, "zone"));
    snprintf(out, PLACE_ROOM, "%.63s%s%.63s", fm_show_text(n, "region"), zone ? "/" : "",
             zone ? zone : "");
    return out;
}

/* A standby that is delayed on purpose never counts as one: "delayed 1h". */
static const char *state_of(const json_t *n, char out[STATE_ROOM])
{
    const char *state = json_string_value(json_object_get(n, "state"));
    long long ms = fm_show_number(n, "delay_ms");
    if (!state || ms <= 0 || strcmp(state, "catching-up") != 0)
        return state;
    snprintf(out, STATE_ROOM, "delayed %s", fm_scalar_duration_text(ms).s);
    return out;
}

static void print_node(const char *name, const json_t *n)
{
    char line[24] = "-", was[STATE_ROOM + 2], where[PLACE_ROOM], delayed[STATE_ROOM];
    const char *state = state_of(n, delayed);
    const json_t *timeline = json_object_get(n, "timeline");
    if (state && json_is_false(json_object_get(n, "reached"))) { /* what it said last */
        snprintf(was, sizeof was, "(%s)", state);
        state = was;
    }
    if (timeline)
        snprintf(line, sizeof line, "%lld", (long long)json_integer_value(timeline));
    printf("  %-24s %-12s %-14s %-9s %-18s %-18s %s\n", name, place(n, where),
           state ? state : "not heard", line, fm_show_text(n, "flush"), fm_show_text(n, "replay"),
           json_is_true(json_object_get(n, "streaming"))     ? "streaming"
           : json_is_integer(json_object_get(n, "apart_ms")) ? "broken on purpose"
                                                             : "");
    const char *trouble = json_string_value(json_object_get(n, "trouble"));
    const json_t *recovery = json_object_get(n, "loss_recovery");
    if (trouble)
        fm_hint_print(stdout, "    ! %s\n", trouble);
    if (json_is_object(recovery) && !json_is_true(json_object_get(recovery, "available")))
        printf("    ! recovery of rows unavailable: %s\n", fm_show_text(recovery, "why"));
}

static void print_loss(const json_t *loss)
{
    char text[FM_SHOW_LOSS];
    if (fm_show_loss(loss, text)[0])
        printf("  loss if now: %s\n", text);
}

static const char *yes_or_no(const json_t *o, const char *name)
{
    const json_t *x = json_object_get(o, name);
    return json_is_boolean(x) ? json_is_true(x) ? "yes" : "no" : "-";
}

static void print_region(const char *name, const json_t *r)
{
    char ms[FM_SHOW_NUMBER], lag[2 * FM_SHOW_NUMBER] = "-";
    const char *heard = "never";
    const json_t *l = json_object_get(r, "lag");
    if (json_is_integer(json_object_get(l, "bytes")))
        snprintf(lag, sizeof lag, "%lld bytes", fm_show_number(l, "bytes"));
    else if (json_is_integer(json_object_get(l, "ms")))
        snprintf(lag, sizeof lag, "%s", fm_show_ms(fm_show_number(l, "ms"), ms));
    if (json_is_integer(json_object_get(r, "heard_ms_ago")))
        heard = fm_show_ms(fm_show_number(r, "heard_ms_ago"), ms);
    printf("  %-14s %-10s %-9s %-8s %-18s %s\n", name, fm_show_or_dash(fm_show_text(r, "role")),
           yes_or_no(r, "writable"), fm_show_text(r, "stage"), lag, heard);
    const char *trouble = json_string_value(json_object_get(r, "trouble"));
    if (trouble)
        printf("    ! %s\n", trouble);
    if (json_is_false(json_object_get(r, "healthy")))
        printf("    ! `status` says that they are not healthy\n");
}

static void print_hooked(const char *name, const json_t *g)
{
    const char *region;
    json_t *r;
    const json_t *runs = json_object_get(json_object_get(g, "here"), "runs");
    printf("%s: context %s, epoch %lld, held by %s, data by hooks\n", name,
           fm_show_text(g, "context"), fm_show_number(g, "epoch"),
           fm_show_or_dash(fm_show_text(g, "holder")));
    print_loss(json_object_get(g, "loss_if_now"));
    if (json_is_string(runs))
        printf("  `%s` is running\n", json_string_value(runs));
    printf("  %-14s %-10s %-9s %-8s %-18s %s\n", "REGION", "ROLE", "WRITABLE", "STAGE", "LAG",
           "HEARD AGO");
    json_object_foreach(json_object_get(g, "regions"), region, r)
    {
        print_region(region, r);
    }
}

static void print_group(const char *name, const json_t *g)
{
    const char *primary = json_string_value(json_object_get(g, "primary"));
    char who[128];
    const char *node;
    json_t *n;
    if (strcmp(fm_show_text(g, "kind"), "hooks") == 0) {
        print_hooked(name, g);
        return;
    }
    if (primary)
        snprintf(who, sizeof who, "primary %.100s", primary);
    else
        snprintf(who, sizeof who, "no data yet: `fulmar group create %.63s --reason TEXT`", name);
    fm_hint_print(stdout, "%s: context %s, epoch %lld, %s\n", name, fm_show_text(g, "context"),
                  (long long)json_integer_value(json_object_get(g, "epoch")), who);
    print_loss(json_object_get(g, "loss_if_now"));
    printf("  %-24s %-12s %-14s %-9s %-18s %s\n", "NODE", "REGION", "STATE", "TIMELINE", "FLUSHED",
           "REPLAYED");
    json_object_foreach(json_object_get(g, "nodes"), node, n)
    {
        print_node(node, n);
    }
}

/* Leaves the one that was asked for. False: there is none. */
static bool choose(const struct fm_args *a, json_t *doc)
{
    json_t *groups = json_object_get(doc, "groups");
    if (a->nargs == 0)
        return true;
    json_t *one = json_incref(json_object_get(groups, a->arg[0]));
    json_object_clear(groups);
    return one && json_object_set_new(groups, a->arg[0], one) == 0;
}

static int show(const struct fm_args *a, struct fm_agents *g)
{
    struct fm_reply r = {0};
    const char *name;
    json_t *group;
    int code = FM_EXIT_OK;
    enum fm_agents_end end = fm_agents_get(g, "/groups", 0, &r);
    if (end != FM_AGENTS_ANSWERED) {
        code = fm_agents_fail(g, end);
    } else if (r.status != 200 || strcmp(fm_show_text(r.doc, "schema"), "fulmar.groups/1") != 0) {
        code = fm_order_unwanted(a, "group status", &r);
    } else if (!choose(a, r.doc)) {
        code = fm_print_error(a, "group status", FM_EXIT_DIFFERS, "there is no such group",
                              "`fulmar group status` lists all of them");
    } else if (fm_agents_conf(g)) {
        ask_nodes(a, r.doc);
    }
    if (code == FM_EXIT_OK && a->output == FM_OUTPUT_TABLE) {
        fm_show_tame(r.doc);
        json_object_foreach(json_object_get(r.doc, "groups"), name, group)
        {
            print_group(name, group);
        }
    } else if (code == FM_EXIT_OK) {
        fm_print_document(r.doc, a->output);
    }
    json_decref(r.doc);
    return code;
}

int fm_cmd_group_status(const struct fm_args *a)
{
    return fm_agents_show(a, "group status", FM_WHOM_ORDER, show);
}
