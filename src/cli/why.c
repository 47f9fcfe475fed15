/* fulmar why: the present state of something, and the recorded events that it came from, refusals
 * among them. Of the agent that answers: each records what it saw and did itself. */
#include "base/assert.h"
#include "cli/agents.h"
#include "cli/authority.h"
#include "cli/events.h"
#include "cli/op_doc.h"
#include "cli/show.h"

#include <stdio.h>

static bool op_is_about(const json_t *op, const char *what)
{
    static const char *const names[] = {"id", "context", "region", "to"};
    size_t i;
    const json_t *item;
    for (i = 0; i < FM_COUNT(names); i++)
        if (strcmp(what, fm_show_text(op, names[i])) == 0)
            return true;
    struct fm_str rest, text = fm_str_z(fm_show_text(op, "text"));
    if (fm_str_eqz(fm_str_cut(text, ' ', &rest), what)) /* a host or an instance that was drained */
        return true;
    json_array_foreach(json_object_get(op, "items"), i, item)
    {
        if (fm_event_is_about(item, what) || strcmp(what, fm_show_text(item, "from")) == 0)
            return true;
    }
    return false;
}

/* The orders about it, refused ones among them; none where this daemon takes no orders. */
static json_t *operations(struct fm_agents *g, const char *what)
{
    struct fm_reply r = {0};
    json_t *out = json_array(), *op;
    size_t i;
    if (fm_agents_get(g, "/ops", 0, &r) == FM_AGENTS_ANSWERED && r.status == 200) {
        json_array_foreach(json_object_get(r.doc, "operations"), i, op)
        {
            if (op_is_about(op, what))
                json_array_append(out, op);
        }
    }
    json_decref(r.doc);
    return out;
}

/* What is recorded of it. */
static json_t *events_about(const json_t *status, const char *what)
{
    FM_ASSERT(status && what[0]);
    json_t *events = fm_events_of(status);
    for (size_t i = json_array_size(events); i-- > 0;)
        if (!fm_event_is_about(json_array_get(events, i), what))
            json_array_remove(events, i);
    return events;
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

static json_t *answer(const json_t *status, const char *what, json_t *ops, json_t *events)
{
    char part[FM_SHOW_NAME];
    const char *known = known_part(status, what, part);
    json_t *contexts = known ? fm_cli_authority_contexts(status, known) : json_object();
    return json_pack("{s:s,s:O?,s:O?,s:s,s:o,s:O,s:O}", "schema", "fulmar.why/1", "service",
                     json_object_get(status, "service"), "host", json_object_get(status, "host"),
                     "object", what, "contexts", contexts, "operations", ops, "events", events);
}

static void print(const struct fm_args *a, json_t *status, const struct fm_conf *conf,
                  const char *what, json_t *ops, json_t *events)
{
    char part[FM_SHOW_NAME];
    size_t i;
    json_t *e;
    fm_show_tame(status);
    fm_show_tame(ops);
    fm_show_tame(events);
    printf("service %s, %s %s\n", fm_show_text(status, "service"), fm_show_text(status, "role"),
           fm_show_text(status, "host"));
    if (known_part(status, what, part))
        fm_cli_authority_print(a, status, conf, part);
    if (json_array_size(ops) == 1) {
        puts("\nOrdered:");
        fm_op_doc_print(json_array_get(ops, 0));
    } else if (json_array_size(ops)) {
        puts("\nOrdered:");
        fm_op_doc_print_list(ops);
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
    char part[FM_SHOW_NAME], unknown[256];
    json_t *status;
    int code = fm_agents_status(g, &status);
    if (code)
        return code;
    json_t *ops = operations(g, what), *events = events_about(status, what);
    if (!json_array_size(ops) && !json_array_size(events) && !known_part(status, what, part)) {
        snprintf(unknown, sizeof unknown, "nothing is recorded of `%s`", what);
        code = fm_print_error(a, "why", FM_EXIT_DIFFERS, unknown,
                              "another agent may know more: --server HOST");
    } else if (a->output == FM_OUTPUT_TABLE) {
        print(a, status, fm_agents_conf(g), what, ops, events);
    } else {
        json_t *doc = answer(status, what, ops, events);
        fm_print_document(doc, a->output);
        json_decref(doc);
    }
    json_decref(status);
    json_decref(ops);
    json_decref(events);
    return code;
}

int fm_cmd_why(const struct fm_args *a)
{
    if (a->nargs != 1 || !a->arg[0][0])
        return fm_usage("`fulmar why` needs what it is about: a context, a region, a host, a cell "
                        "such as cards/17, an instance REGION/POOL/ADDRESS, or an operation");
    return fm_agents_show(a, "why", FM_WHOM_PAST, why);
}
