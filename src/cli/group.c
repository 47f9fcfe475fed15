/* fulmar group: the nodes of PostgreSQL groups. */
#include "base/assert.h"
#include "cli/order.h"
#include "cli/show.h"
#include "conf/conf.h"

#include <limits.h>
#include <stdio.h>

/* The context that a group's authority is that of, by the file. */
static int context_of(const struct fm_args *a, char *out, size_t cap)
{
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *conf = fm_conf_load(a->config, &r);
    int i = conf ? fm_conf_find_group(conf, fm_str_z(a->arg[0])) : -1;
    int code = FM_EXIT_OK;
    if (!conf) {
        char what[PATH_MAX + 512];
        snprintf(what, sizeof what, "cannot read %s: %s", a->config,
                 r.n ? r.finding[0].what : "unknown error");
        code = fm_print_error(a, "group create", FM_EXIT_CONFIG, what,
                              "`fulmar config check` says all that is wrong.");
    } else if (i < 0) {
        code = fm_usage("group create: %s has no group `%s`", a->config, a->arg[0]);
    } else {
        snprintf(out, cap, "%.*s", FM_STR_ARG(conf->contexts[conf->groups[i].contexts[0]].name));
    }
    fm_conf_report_deinit(&r);
    fm_conf_free(conf);
    return code;
}

int fm_cmd_group_create(const struct fm_args *a)
{
    char context[64];
    if (a->nargs != 1)
        return fm_usage("`fulmar group create` needs a group; see `fulmar help group create`");
    int code = context_of(a, context, sizeof context);
    if (code)
        return code;
    return fm_order(a, "group create", "create", json_pack("{s:s}", "context", context), false);
}

/* -------- status -------- */

/* What a node says of itself is what stands in its way: its own agent is asked. */
static void ask_node(const struct fm_args *a, const char *group, const char *node, json_t *n)
{
    struct fm_args one = *a;
    struct fm_agents *g = NULL;
    struct fm_reply r = {0};
    const char *state = json_string_value(json_object_get(n, "state"));
    one.server = node;
    json_t *trouble = json_null();
    enum fm_agents_end end = FM_AGENTS_NOBODY;
    if (fm_agents_open(&g, &one, "group status", FM_WHOM_ORDER) == FM_EXIT_OK)
        end = fm_agents_get(g, "/groups?here", 0, &r);
    json_t *here = json_object_get(json_object_get(r.doc, "groups"), group);
    if (end != FM_AGENTS_ANSWERED)
        trouble = json_string("its agent cannot be reached");
    else if (r.status != 200 || !json_is_object(here))
        trouble = json_string("its agent runs no node of this group: it goes by another "
                              "configuration, or was not restarted since `fulmar config apply`");
    else if (json_is_string(json_object_get(here, "trouble")))
        trouble = json_incref(json_object_get(here, "trouble"));
    else if (!state)
        trouble = json_string("its agent answers here, and its reports do not arrive");
    json_object_set_new(n, "trouble", trouble);
    json_object_set(n, "why", json_object_get(here, "why"));
    json_decref(r.doc);
    fm_agents_close(g);
}

/* Hosts are asked by their names, which an address alone does not know. */
static void ask_nodes(const struct fm_args *a, json_t *doc)
{
    const char *group, *node;
    json_t *x, *n;
    json_object_foreach(json_object_get(doc, "groups"), group, x)
    {
        json_object_foreach(json_object_get(x, "nodes"), node, n)
        {
            ask_node(a, group, node, n);
        }
    }
}

static void print_node(const char *name, const json_t *n)
{
    const char *state = json_string_value(json_object_get(n, "state"));
    const json_t *timeline = json_object_get(n, "timeline");
    char line[24] = "-";
    if (timeline)
        snprintf(line, sizeof line, "%lld", (long long)json_integer_value(timeline));
    printf("  %-24s %-12s %-14s %-9s %-18s %-18s %s\n", name, fm_show_text(n, "region"),
           state ? state : "not heard", line, fm_show_text(n, "flush"), fm_show_text(n, "replay"),
           json_is_true(json_object_get(n, "streaming")) ? "streaming" : "");
    const char *trouble = json_string_value(json_object_get(n, "trouble"));
    if (trouble)
        printf("    ! %s\n", trouble);
}

static void print_loss(const json_t *loss)
{
    const json_t *bytes = json_object_get(loss, "bytes");
    const char *kind = fm_show_text(loss, "kind");
    if (json_is_integer(bytes))
        printf("  loss if now: %s %lld bytes, %lld transactions (%s)\n",
               strcmp(kind, "enforced") == 0 ? "at most" : "about",
               (long long)json_integer_value(bytes), fm_show_number(loss, "transactions"), kind);
    else if (loss)
        printf("  loss if now: not bounded\n");
}

static void print_group(const char *name, const json_t *g)
{
    const char *primary = json_string_value(json_object_get(g, "primary"));
    const char *node;
    json_t *n;
    printf("%s: context %s, epoch %lld, %s%s\n", name, fm_show_text(g, "context"),
           (long long)json_integer_value(json_object_get(g, "epoch")),
           primary ? "primary " : "no data yet: `fulmar group create`", primary ? primary : "");
    print_loss(json_is_object(json_object_get(g, "loss_if_now")) ? json_object_get(g, "loss_if_now")
                                                                 : NULL);
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
    struct fm_agents *g;
    int code = fm_agents_open(&g, a, "group status", FM_WHOM_ORDER);
    if (code)
        return code;
    code = fm_agents_show(g, show);
    fm_agents_close(g);
    return code;
}
