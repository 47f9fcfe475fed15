/* Operations, plans and quotes for people: see the header. */
#include "cli/op.h"

#include "base/assert.h"
#include "cli/order.h"
#include "cli/show.h"

enum { TEXT_MAX = 512 };

/* How an operation ends, and what the command that gave the order ends with. */
static const struct {
    const char *state;
    int code;
} ends[] = {{"done", FM_EXIT_OK},
            {"failed", FM_EXIT_FAILED},
            {"aborted", FM_EXIT_FAILED},
            {"refused", FM_EXIT_REFUSED},
            {"partial", FM_EXIT_PARTIAL}};

/* -------- reading -------- */

bool fm_op_is_id(const char *id)
{
    size_t n = strlen(id);
    if (n == 0 || n > FM_OP_ID_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = id[i];
        bool good = (c >= '0' && c <= '9') || (fm_lower(c) >= 'a' && fm_lower(c) <= 'z') ||
                    c == '-' || c == '_' || (c == '.' && i > 0);
        if (!good)
            return false;
    }
    return true;
}

bool fm_op_is_op(const json_t *d)
{
    return strcmp(fm_show_text(d, "schema"), "fulmar.op/1") == 0 && fm_op_is_id(fm_op_id(d)) &&
           fm_op_state(d)[0];
}

const char *fm_op_id(const json_t *op)
{
    return fm_show_text(op, "id");
}

const char *fm_op_state(const json_t *op)
{
    return fm_show_text(op, "state");
}

static int end_of(const json_t *op)
{
    for (size_t i = 0; i < FM_COUNT(ends); i++)
        if (strcmp(fm_op_state(op), ends[i].state) == 0)
            return (int)i;
    return -1;
}

bool fm_op_is_over(const json_t *op)
{
    return end_of(op) >= 0;
}

bool fm_op_waits(const json_t *op)
{
    return strcmp(fm_op_state(op), "waiting") == 0;
}

int fm_op_exit(const json_t *op)
{
    int i = end_of(op);
    FM_ASSERT(i >= 0);
    return ends[i].code;
}

/* -------- in a line -------- */

void fm_op_what(const json_t *op, struct fm_buf *out)
{
    char cells[256];
    const char *context = fm_show_text(op, "context"), *region = fm_show_text(op, "region"),
               *to = fm_show_text(op, "to");
    const json_t *list = json_object_get(op, "cells");
    fm_buf_printf(out, "%s", fm_show_or_dash(fm_show_text(op, "kind")));
    if (context[0] || region[0])
        fm_buf_printf(out, " %s", context[0] ? context : region);
    if (json_array_size(list)) {
        fm_show_cells(list, cells, sizeof cells);
        fm_buf_printf(out, " cells %s", cells);
    }
    if (to[0])
        fm_buf_printf(out, " to %s", to);
}

void fm_op_line(const json_t *op, struct fm_buf *out)
{
    long long total = fm_show_number(op, "cells_total");
    const char *step = fm_show_text(op, "step");
    fm_op_what(op, out);
    fm_buf_printf(out, ": %s", fm_op_state(op));
    if (step[0])
        fm_buf_printf(out, ", %s", step);
    if (total > 1)
        fm_buf_printf(out, ", %lld of %lld cells", fm_show_number(op, "cells_done"), total);
}

/* -------- printing -------- */

static void print_head(FILE *to, const json_t *d, const char *from)
{
    char n[FM_SHOW_NUMBER];
    fprintf(to, "service %s, generation %s%s%s\n", fm_show_or_dash(fm_show_text(d, "service")),
            fm_show_number_or_dash(d, "generation", n), from ? ", by " : "", from ? from : "");
}

static void print_what(FILE *to, const json_t *op)
{
    char text[TEXT_MAX];
    struct fm_buf b = fm_buf(text, sizeof text);
    fm_op_what(op, &b);
    fprintf(to, "%.*s", (int)b.n, b.p);
}

void fm_op_print_begin(const json_t *op, const char *from)
{
    print_head(stdout, op, from);
    printf("operation %s: ", fm_op_id(op));
    print_what(stdout, op);
    puts("");
}

void fm_op_print_end(FILE *to, const json_t *op)
{
    char ms[FM_SHOW_NUMBER], n[FM_SHOW_NUMBER];
    const json_t *took = json_object_get(op, "took_ms");
    const char *why = fm_show_text(op, "why"), *evidence = fm_show_text(op, "evidence"),
               *remedy = fm_show_text(op, "remedy");
    fprintf(to, "%s", fm_op_state(op));
    if (json_is_number(took))
        fprintf(to, " after %s", fm_show_ms((long long)json_number_value(took), ms));
    fputs(": ", to);
    print_what(to, op);
    if (json_is_integer(json_object_get(op, "generation")))
        fprintf(to, ", generation %s", fm_show_number_or_dash(op, "generation", n));
    fputc('\n', to);
    if (why[0])
        fprintf(to, "  why: %s%s%s\n", why, evidence[0] ? ": " : "", evidence);
    if (remedy[0])
        fprintf(to, "  %s\n", remedy);
}

static void print_pair(const char *name, const char *value)
{
    if (value[0])
        printf("%-11s %s\n", name, value);
}

void fm_op_print(const json_t *op)
{
    static const char *const lines[] = {"kind", "context", "region", "to",       "state",   "step",
                                        "why",  "by",      "reason", "began_at", "ended_at"};
    char cells[256];
    size_t i;
    const json_t *step;
    print_head(stdout, op, NULL);
    print_pair("operation", fm_op_id(op));
    for (i = 0; i < FM_COUNT(lines); i++)
        print_pair(lines[i], fm_show_text(op, lines[i]));
    if (json_array_size(json_object_get(op, "cells"))) {
        fm_show_cells(json_object_get(op, "cells"), cells, sizeof cells);
        print_pair("cells", cells);
    }
    json_array_foreach(json_object_get(op, "steps"), i, step)
    {
        char at[FM_SHOW_CLOCK];
        printf("  %s  %-12s %s\n", fm_show_clock(fm_show_text(step, "at"), at),
               fm_show_text(step, "state"), fm_show_text(step, "why"));
    }
}

void fm_op_print_list(const json_t *doc)
{
    size_t i;
    const json_t *op, *ops = json_object_get(doc, "ops");
    print_head(stdout, doc, NULL);
    if (json_array_size(ops) == 0) {
        puts("no operations");
        return;
    }
    printf("%-16s %-9s %-10s %-32s %-16s %s\n", "OPERATION", "BEGAN", "STATE", "WHAT", "BY",
           "REASON");
    json_array_foreach(ops, i, op)
    {
        char at[FM_SHOW_CLOCK], what[TEXT_MAX];
        struct fm_buf b = fm_buf(what, sizeof what - 1);
        fm_op_what(op, &b);
        what[b.n] = 0;
        printf("%-16s %-9s %-10s %-32s %-16s %s\n", fm_op_id(op),
               fm_show_clock(fm_show_text(op, "began_at"), at), fm_op_state(op), what,
               fm_show_or_dash(fm_show_text(op, "by")), fm_show_text(op, "reason"));
    }
}

int fm_op_print_unknown(const struct fm_args *a, const char *command, const char *id)
{
    char what[FM_OP_ID_MAX + 64];
    snprintf(what, sizeof what, "there is no operation `%s` (any more)", id);
    return fm_print_error(a, command, FM_EXIT_DIFFERS, what,
                          "`fulmar op list` shows those there are");
}

/* -------- what was only asked -------- */

int fm_op_print_plan(const struct fm_args *a, json_t *plan)
{
    size_t i;
    const json_t *step;
    const json_t *steps = json_object_get(plan, "steps");
    int code = json_array_size(steps) ? FM_EXIT_DIFFERS : FM_EXIT_OK;
    if (a->output != FM_OUTPUT_TABLE) {
        fm_print_document(plan, a->output);
        return code;
    }
    fm_show_tame(plan);
    print_head(stdout, plan, NULL);
    puts(code ? "this would be done:" : "there is nothing to do");
    json_array_foreach(steps, i, step)
    {
        printf("  %zu. %s\n", i + 1, json_is_string(step) ? json_string_value(step) : "");
    }
    return code;
}

int fm_op_print_quote(const struct fm_args *a, json_t *quote)
{
    if (a->output != FM_OUTPUT_TABLE) {
        fm_print_document(quote, a->output);
        return FM_EXIT_OK;
    }
    fm_show_tame(quote);
    print_head(stdout, quote, NULL);
    return FM_EXIT_OK;
}
