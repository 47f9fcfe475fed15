/* fulmar why: the present state of something, and the recorded events that it came from, refusals
 * among them. Of the agent that answers: each records what it saw and did itself. */
#include "base/assert.h"
#include "cli/agents.h"
#include "cli/authority.h"
#include "cli/events.h"
#include "cli/op_doc.h"
#include "cli/order.h"
#include "cli/show.h"

#include <stdio.h>

/* The document at `target`, where there is one of this schema; else NULL and, but for 404, the exit
 * code. */
static json_t *fetch(const struct fm_args *a, struct fm_agents *g, const char *target,
                     const char *schema, int *code)
{
    struct fm_reply r = {0};
    json_t *doc = NULL;
    enum fm_agents_end end = fm_agents_get(g, target, 0, &r);
    *code = FM_EXIT_OK;
    if (end != FM_AGENTS_ANSWERED)
        *code = fm_agents_fail(g, end);
    else if (r.status == 200 && strcmp(fm_show_text(r.doc, "schema"), schema) == 0)
        doc = json_incref(r.doc);
    else if (r.status != 404)
        *code = fm_order_unwanted(a, "why", &r);
    json_decref(r.doc);
    return doc;
}

/* What is recorded of it. */
static json_t *events_of(const json_t *doc, const char *what)
{
    size_t i;
    json_t *e, *out = json_array();
    json_array_foreach(json_object_get(doc, "events"), i, e)
    {
        if (fm_event_is_about(e, what))
            json_array_append(out, e);
    }
    return out;
}

/* "cards/17" and "west/ledger" are looked for by their parts. */
static const char *known_part(const json_t *status, const char *what, char out[FM_SHOW_NAME])
{
    struct fm_str rest = fm_str_z(what);
    while (rest.n) {
        struct fm_str part = fm_str_cut(rest, '/', &rest);
        if (part.n == 0 || part.n >= FM_SHOW_NAME)
            continue;
        memcpy(out, part.p, part.n);
        out[part.n] = 0;
        if (fm_cli_authority_knows(status, out))
            return out;
    }
    return NULL;
}

static json_t *answer(const json_t *status, const char *what, json_t *op, json_t *events)
{
    char part[FM_SHOW_NAME];
    bool known = known_part(status, what, part) != NULL;
    json_t *now = known ? json_object_get(status, "authority") : NULL;
    json_t *contexts = json_object_get(now, "contexts");
    return json_pack("{s:s,s:O?,s:O?,s:s,s:O?,s:O?,s:o}", "schema", "fulmar.why/1", "service",
                     json_object_get(status, "service"), "host", json_object_get(status, "host"),
                     "object", what, "contexts", contexts, "operation", op, "events", events);
}

static void print(const struct fm_args *a, json_t *status, const struct fm_conf *conf,
                  const char *what, json_t *op, json_t *events)
{
    char part[FM_SHOW_NAME];
    size_t i;
    json_t *e;
    fm_show_tame(status);
    fm_show_tame(op);
    fm_show_tame(events);
    printf("service %s, %s %s\n", fm_show_text(status, "service"), fm_show_text(status, "role"),
           fm_show_text(status, "host"));
    if (known_part(status, what, part))
        fm_cli_authority_print(a, status, conf, part);
    if (op) {
        puts("");
        fm_op_doc_print(op);
    }
    if (json_array_size(events))
        puts("\nBecause:");
    json_array_foreach(events, i, e)
    {
        fputs("  ", stdout);
        fm_event_print(e);
    }
}

static int why(const struct fm_args *a, struct fm_agents *g)
{
    const char *what = a->arg[0];
    char target[FM_OP_DOC_ID_MAX + 16], part[FM_SHOW_NAME], unknown[256];
    json_t *op = NULL, *recorded = NULL, *events;
    int code;
    json_t *status = fetch(a, g, "/status", "fulmar.status/1", &code);
    if (!code)
        recorded = fetch(a, g, "/events?after=0&wait=0", "fulmar.events/1", &code);
    if (!code && fm_op_doc_is_id(what)) {
        snprintf(target, sizeof target, "/ops/%s", what);
        op = fetch(a, g, target, "fulmar.op/1", &code);
    }
    events = events_of(recorded, what);
    if (!code && !op && !json_array_size(events) && !known_part(status, what, part)) {
        snprintf(unknown, sizeof unknown, "nothing is recorded of `%s`", what);
        code = fm_print_error(a, "why", FM_EXIT_DIFFERS, unknown,
                              "another agent may know more: --server HOST");
    } else if (!code && a->output == FM_OUTPUT_TABLE) {
        print(a, status, fm_agents_conf(g), what, op, events);
    } else if (!code) {
        json_t *doc = answer(status, what, op, events);
        fm_print_document(doc, a->output);
        json_decref(doc);
    }
    json_decref(status);
    json_decref(op);
    json_decref(recorded);
    json_decref(events);
    return code;
}

int fm_cmd_why(const struct fm_args *a)
{
    struct fm_agents *g;
    if (a->nargs != 1 || !a->arg[0][0])
        return fm_usage("`fulmar why` needs what it is about: a context, a region, a cell such as "
                        "cards/17, an operation, or the Fulmar-Ref of a request");
    int code = fm_agents_open(&g, a, "why", FM_AGENTS_ORDER);
    if (code)
        return code;
    code = fm_agents_show(g, why);
    fm_agents_close(g);
    return code;
}
