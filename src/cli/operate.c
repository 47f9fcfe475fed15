/* The commands that move the right to write: arguments to orders. Agents judge them; what is
 * checked here is what only the command line can get wrong. */
#include "cli/order.h"

#include "base/assert.h"
#include "conf/conf.h"

#include <stdio.h>

enum { MINUTE_MS = 60000 };

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
    if (text)
        json_object_set_new(body, key, json_string(text));
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
    if (code)
        return code;
    json_t *body = json_object();
    put(body, "context", a->arg[0]);
    put(body, "to", a->to);
    if (cells)
        json_object_set_new(body, "cells", cells);
    if (a->percent_text)
        json_object_set_new(body, "percent", json_integer(a->percent));
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

int fm_cmd_failover(const struct fm_args *a)
{
    unsigned steps = (unsigned)a->prepare + a->complete + a->stand_down;
    int code = one_argument(a, "failover", "a context");
    if (!code && steps > 1)
        code = fm_usage("one of --prepare, --complete and --stand-down");
    if (!code && steps == 0 && !a->to)
        code = fm_usage("`fulmar failover` needs --to REGION, or one of --prepare, --complete and "
                        "--stand-down");
    if (!code && (a->prepare || a->stand_down) && (a->quote || a->attest))
        code = fm_usage("--%s takes over nothing, so there is nothing to consent to",
                        a->prepare ? "prepare" : "stand-down");
    if (!code)
        code = check_consent(a);
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

static int automatic(const struct fm_args *a, const char *command, bool on)
{
    if (a->for_text && (a->for_ms < MINUTE_MS || a->for_ms % MINUTE_MS))
        return fm_usage("--for takes whole minutes here, such as 30m or 1h, not `%s`", a->for_text);
    json_t *body = json_object();
    if (a->nargs)
        put(body, "context", a->arg[0]);
    json_object_set_new(body, "on", json_boolean(on));
    if (a->for_text)
        json_object_set_new(body, "minutes", json_integer(a->for_ms / MINUTE_MS));
    return fm_order(a, command, "automatic", body, false);
}

int fm_cmd_automatic_pause(const struct fm_args *a)
{
    return automatic(a, "automatic pause", false);
}

int fm_cmd_automatic_resume(const struct fm_args *a)
{
    return automatic(a, "automatic resume", true);
}
