/* fulmar op: what is under way, and what was. */
#include "base/assert.h"
#include "cli/op_doc.h"
#include "cli/order.h"
#include "cli/show.h"

#include <stdio.h>

static int id_of(const struct fm_args *a, const char *command)
{
    if (a->nargs != 1)
        return fm_usage("`fulmar %s` needs the number of an operation; `fulmar op list` has them",
                        command);
    if (!fm_op_doc_is_id(a->arg[0]))
        return fm_usage("`%s` is no number of an operation; `fulmar op list` has them", a->arg[0]);
    return FM_EXIT_OK;
}

/* A document of this schema, or the exit code. */
static int fetch(const struct fm_args *a, struct fm_agents *g, const char *command,
                 const char *target, const char *schema, json_t **out)
{
    struct fm_reply r = {0};
    int code = FM_EXIT_OK;
    *out = NULL;
    enum fm_agents_end end = fm_agents_get(g, target, 0, &r);
    if (end != FM_AGENTS_ANSWERED)
        code = fm_agents_fail(g, end);
    else if (r.status == 404 && a->nargs)
        code = fm_op_doc_print_unknown(a, command, a->arg[0]);
    else if (r.status != 200 || strcmp(fm_show_text(r.doc, "schema"), schema) != 0)
        code = fm_order_unwanted(a, command, &r);
    else
        *out = json_incref(r.doc);
    json_decref(r.doc);
    return code;
}

static int print(const struct fm_args *a, json_t *doc, void (*table)(const json_t *doc))
{
    if (a->output == FM_OUTPUT_TABLE) {
        fm_show_tame(doc);
        table(doc);
    } else {
        fm_print_document(doc, a->output);
    }
    json_decref(doc);
    return FM_EXIT_OK;
}

static void print_list(const json_t *doc)
{
    fm_op_doc_print_list(json_object_get(doc, "operations"));
}

static int list(const struct fm_args *a, struct fm_agents *g)
{
    json_t *doc;
    int code = fetch(a, g, "op list", "/ops", "fulmar.ops/1", &doc);
    return code ? code : print(a, doc, print_list);
}

static int one(const struct fm_args *a, struct fm_agents *g)
{
    json_t *doc;
    char target[FM_OP_DOC_ID_MAX + 16];
    FM_ASSERT(a->nargs == 1);
    snprintf(target, sizeof target, "/ops?id=%s", a->arg[0]);
    int code = fetch(a, g, "op show", target, "fulmar.op/1", &doc);
    return code ? code : print(a, doc, fm_op_doc_print);
}

int fm_cmd_op_list(const struct fm_args *a)
{
    return fm_agents_show(a, "op list", FM_WHOM_ORDER, list);
}

int fm_cmd_op_show(const struct fm_args *a)
{
    int code = id_of(a, "op show");
    return code ? code : fm_agents_show(a, "op show", FM_WHOM_ORDER, one);
}

int fm_cmd_op_wait(const struct fm_args *a)
{
    int code = id_of(a, "op wait");
    return code ? code : fm_order_follow(a, "op wait", a->arg[0]);
}

int fm_cmd_op_abort(const struct fm_args *a)
{
    int code = id_of(a, "op abort");
    if (code)
        return code;
    json_t *body = json_object();
    json_object_set_new(body, "id", json_string(a->arg[0]));
    return fm_order(a, "op abort", "abort", body, false);
}
