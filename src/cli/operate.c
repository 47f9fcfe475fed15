/* The commands that move the right to write: arguments to orders. Agents judge them; what is
 * checked here is what only the command line can get wrong. */
#include "cli/order.h"

#include "base/assert.h"
#include "conf/conf.h"

#include <stdio.h>

static int one_argument(const struct fm_args *a, const char *command, const char *what)
{
    if (a->nargs == 1 && a->arg[0][0])
        return FM_EXIT_OK;
    return fm_usage("`fulmar %s` needs %s; see `fulmar help %s`", command, what, command);
}

/* "3,7,10-15" as a list of numbers, each once; -1: it is none. */
static int add_range(json_t *list, struct fm_str item, uint64_t *seen)
{
    struct fm_str to, from = fm_str_cut(item, '-', &to);
    uint64_t first, last;
    if (!fm_str_u64(from, &first) || first >= FM_CONF_CELLS_MAX)
        return -1;
    last = first;
    if (to.p && (!fm_str_u64(to, &last) || last >= FM_CONF_CELLS_MAX || last < first))
        return -1;
    for (uint64_t i = first; i <= last; i++) {
        if (*seen & UINT64_C(1) << i)
            return -1;
        *seen |= UINT64_C(1) << i;
        json_array_append_new(list, json_integer((json_int_t)i));
    }
    return 0;
}

static int cells_of(const char *text, json_t **out)
{
    struct fm_str rest = fm_str_z(text);
    uint64_t seen = 0;
    _Static_assert(FM_CONF_CELLS_MAX <= 64, "a bit each");
    json_t *list = json_array();
    bool good = rest.n > 0;
    while (good && rest.p) {
        struct fm_str item = fm_str_cut(rest, ',', &rest);
        good = add_range(list, fm_str_trim(item), &seen) == 0;
    }
    if (!good) {
        json_decref(list);
        return fm_usage(
            "--cells takes numbers from 0 to %d, each once, such as 3,7,10-15, not `%s`",
            FM_CONF_CELLS_MAX - 1, text);
    }
    *out = list;
    return FM_EXIT_OK;
}

static void put(json_t *body, const char *key, const char *text)
{
    FM_ASSERT(json_is_object(body) && !json_object_get(body, key));
    if (text)
        json_object_set_new(body, key, json_string(text));
}

/* The first so many percent of the cells of a context, by number: so that 10 and then 50 go on from
 * each other. How many there are is what the configuration says. */
static int share_of(const struct fm_args *a, json_t **out)
{
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *conf = fm_conf_load(a->config, &r);
    fm_conf_report_deinit(&r);
    int i = conf ? fm_conf_find_context(conf, fm_str_z(a->arg[0])) : -1;
    unsigned ncells = i >= 0 ? conf->contexts[i].ncells : 0;
    fm_conf_free(conf);
    if (ncells < 2)
        return fm_usage("--percent: %s knows of no cells of `%s` to take a share of", a->config,
                        a->arg[0]);
    FM_ASSERT(ncells <= FM_CONF_CELLS_MAX && a->percent >= 1 && a->percent <= 100);
    *out = json_array();
    for (unsigned c = 0; c < (ncells * a->percent + 99) / 100; c++)
        json_array_append_new(*out, json_integer(c));
    return FM_EXIT_OK;
}

/* -------- planned -------- */

int fm_cmd_move(const struct fm_args *a)
{
    json_t *cells = NULL;
    int code = one_argument(a, "move", "a context");
    if (!code && !a->to)
        code = fm_usage("`fulmar move` needs --to REGION");
    if (!code && a->cells && a->percent_text)
        code = fm_usage("either --cells or --percent");
    if (!code && a->cells)
        code = cells_of(a->cells, &cells);
    if (!code && a->percent_text)
        code = share_of(a, &cells);
    if (code)
        return code;
    json_t *body = json_object();
    put(body, "context", a->arg[0]);
    put(body, "to", a->to);
    if (cells)
        json_object_set_new(body, "cells", cells);
    return fm_order(a, "move", "move", body, false);
}

int fm_cmd_failback(const struct fm_args *a)
{
    int code = one_argument(a, "failback", "a context");
    if (code)
        return code;
    json_t *body = json_object();
    put(body, "context", a->arg[0]);
    return fm_order(a, "failback", "failback", body, false);
}

int fm_cmd_evacuate(const struct fm_args *a)
{
    int code = one_argument(a, "evacuate", "a region");
    if (code)
        return code;
    json_t *body = json_object();
    put(body, "region", a->arg[0]);
    return fm_order(a, "evacuate", "evacuate", body, false);
}

/* -------- intent -------- */

static int check_override(const char *list);

/* "a,b" as a list. */
static json_t *list_of(const char *text)
{
    struct fm_str rest = fm_str_z(text), item;
    json_t *list = json_array();
    while (fm_str_list_next(&rest, &item))
        json_array_append_new(list, json_stringn(item.p, item.n));
    return list;
}

/* REGION/POOL/ADDRESS is an instance; which of the other names is a host the agent knows. */
static int drained(const struct fm_args *a, const char *command, json_t **body)
{
    int code = one_argument(a, command, "a region, a host or REGION/POOL/ADDRESS");
    bool instance = !code && strchr(a->arg[0], '/');
    if (instance && (a->context || a->percent_text))
        code = fm_usage("%s is of a region, and an instance is drained whole",
                        a->context ? "--context" : "--percent");
    if (code)
        return code;
    *body = json_object();
    put(*body, instance ? "instance" : "region", a->arg[0]);
    put(*body, "context", a->context);
    return FM_EXIT_OK;
}

int fm_cmd_drain(const struct fm_args *a)
{
    json_t *body;
    int code = check_override(a->override);
    code = code ? code : drained(a, "drain", &body);
    if (code)
        return code;
    if (a->percent_text)
        json_object_set_new(body, "percent", json_integer(a->percent));
    if (a->for_text)
        json_object_set_new(body, "for_ms", json_integer(a->for_ms));
    if (a->override)
        json_object_set_new(body, "override", list_of(a->override));
    return fm_order(a, "drain", "drain", body, false);
}

int fm_cmd_undrain(const struct fm_args *a)
{
    json_t *body;
    int code = drained(a, "undrain", &body);
    return code ? code : fm_order(a, "undrain", "undrain", body, false);
}

/* -------- unplanned -------- */

int fm_cmd_quote(const struct fm_args *a)
{
    int code = one_argument(a, "quote", "a context");
    if (!code && !a->to)
        code = fm_usage("`fulmar quote` needs --to REGION");
    if (code)
        return code;
    json_t *body = json_object();
    put(body, "context", a->arg[0]);
    put(body, "to", a->to);
    return fm_order(a, "quote", "quote", body, true);
}

/* Consent is to a quote and for a context, typed twice: a line of the shell's history is not it. */
static int check_consent(const struct fm_args *a)
{
    FM_ASSERT(a->nargs == 1 && a->arg[0][0]);
    if (a->quote && !a->confirm)
        return fm_usage("--accept-loss needs --confirm %s: the context once more", a->arg[0]);
    if (a->confirm && !a->quote)
        return fm_usage("--confirm goes with --accept-loss QUOTE; `fulmar quote %s --to REGION` "
                        "makes one",
                        a->arg[0]);
    if (a->confirm && strcmp(a->confirm, a->arg[0]) != 0)
        return fm_usage("--confirm says `%s`, and the failover is of `%s`", a->confirm, a->arg[0]);
    return FM_EXIT_OK;
}

static int check_override(const char *list)
{
    struct fm_str rest = fm_str_z(list), item;
    if (list && !rest.n)
        return fm_usage("--override needs the name of a rule");
    while (fm_str_list_next(&rest, &item))
        if (!fm_order_yields(item))
            return fm_usage("--override: there is no guard `%.*s` that yields to it",
                            FM_STR_ARG(item));
    return FM_EXIT_OK;
}

static bool overrides(const char *list, const char *rule)
{
    struct fm_str rest = fm_str_z(list), item;
    while (list && fm_str_list_next(&rest, &item))
        if (fm_str_eqz(item, rule))
            return true;
    return false;
}

static int check_failover(const struct fm_args *a)
{
    int code = one_argument(a, "failover", "a context");
    if (code)
        return code;
    if ((unsigned)a->prepare + a->complete + a->stand_down > 1)
        return fm_usage("one of --prepare, --complete and --stand-down");
    if (!a->to)
        return fm_usage("`fulmar failover` needs --to REGION: who takes over");
    if ((a->prepare || a->stand_down) && (a->quote || a->attest || a->override))
        return fm_usage("--%s takes over nothing, so there is nothing to consent to",
                        a->prepare ? "prepare" : "stand-down");
    code = check_consent(a);
    return code ? code : check_override(a->override);
}

int fm_cmd_failover(const struct fm_args *a)
{
    int code = check_failover(a);
    if (code)
        return code;
    json_t *body = json_object();
    put(body, "context", a->arg[0]);
    put(body, "to", a->to);
    put(body, "quote", a->quote);
    put(body, "confirm", a->confirm);
    put(body, "attest_fence", a->attest);
    put(body, "step",
        a->prepare      ? "prepare"
        : a->complete   ? "complete"
        : a->stand_down ? "stand-down"
                        : NULL);
    if (overrides(a->override, "holder-healthy"))
        json_object_set_new(body, "break_glass", json_true());
    return fm_order(a, "failover", "failover", body, false);
}

/* -------- modes -------- */

int fm_cmd_read_only(const struct fm_args *a)
{
    bool on = a->nargs == 2 && strcmp(a->arg[1], "on") == 0;
    if (a->nargs != 2 || (!on && strcmp(a->arg[1], "off") != 0))
        return fm_usage("usage: fulmar read-only CONTEXT on|off");
    if (a->message && !on)
        return fm_usage("--message goes with `on`");
    json_t *body = json_object();
    put(body, "context", a->arg[0]);
    json_object_set_new(body, "on", json_boolean(on));
    put(body, "message", a->message);
    return fm_order(a, "read-only", "read-only", body, false);
}

static int automatic_of(const struct fm_args *a, const char *command, const char *context,
                        bool pause)
{
    json_t *body = json_object();
    put(body, "context", context);
    json_object_set_new(body, "pause", json_boolean(pause));
    if (a->for_text)
        json_object_set_new(body, "for_ms", json_integer(a->for_ms));
    return fm_order(a, command, "automatic", body, false);
}

/* An order for each context that has cells. What some refuse, others may take. */
static int automatic_of_all(const struct fm_args *a, const char *command, bool pause)
{
    struct fm_args lines = *a;
    struct fm_conf_report r;
    unsigned done = 0, asked = 0;
    int code = FM_EXIT_OK;
    fm_conf_report_init(&r);
    struct fm_conf *conf = fm_conf_load(a->config, &r);
    fm_conf_report_deinit(&r);
    if (!conf)
        return fm_print_error(a, command, FM_EXIT_CONFIG, "the configuration has errors",
                              "name a context, or see `fulmar config check`");
    if (lines.output == FM_OUTPUT_JSON)
        lines.output = FM_OUTPUT_JSON_LINES; /* a document each */
    for (size_t i = 0; i < conf->ncontexts && code != FM_EXIT_USAGE; i++) {
        if (conf->contexts[i].ncells == 0)
            continue;
        int one = automatic_of(&lines, command, conf->contexts[i].name.p, pause);
        asked++;
        done += one == FM_EXIT_OK;
        code = code ? code : one;
    }
    fm_conf_free(conf);
    FM_ASSERT(done <= asked && (done < asked || code == FM_EXIT_OK));
    if (!asked)
        return fm_usage("no context of %s has cells", a->config);
    return done == asked || done == 0 ? code : FM_EXIT_PARTIAL;
}

int fm_cmd_automatic_pause(const struct fm_args *a)
{
    static const char command[] = "automatic pause";
    return a->nargs ? automatic_of(a, command, a->arg[0], true)
                    : automatic_of_all(a, command, true);
}

int fm_cmd_automatic_resume(const struct fm_args *a)
{
    static const char command[] = "automatic resume";
    return a->nargs ? automatic_of(a, command, a->arg[0], false)
                    : automatic_of_all(a, command, false);
}
