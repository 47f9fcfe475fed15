/* Operations, plans and quotes for people: see the header. */
#include "cli/op_doc.h"

#include "base/assert.h"
#include "cli/hint.h"
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

bool fm_op_doc_is_id(const char *id)
{
    size_t n = strlen(id);
    if (n == 0 || n > FM_OP_DOC_ID_MAX)
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

bool fm_op_doc_is_one(const json_t *d)
{
    return strcmp(fm_show_text(d, "schema"), "fulmar.op/1") == 0 &&
           fm_op_doc_is_id(fm_op_doc_id(d)) && fm_op_doc_state(d)[0];
}

const char *fm_op_doc_id(const json_t *op)
{
    return fm_show_text(op, "id");
}

const char *fm_op_doc_state(const json_t *op)
{
    return fm_show_text(op, "state");
}

static int end_of(const json_t *op)
{
    for (size_t i = 0; i < FM_COUNT(ends); i++)
        if (strcmp(fm_op_doc_state(op), ends[i].state) == 0)
            return (int)i;
    return -1;
}

bool fm_op_doc_is_over(const json_t *op)
{
    return end_of(op) >= 0;
}

unsigned fm_op_doc_items(const json_t *op, unsigned *done)
{
    size_t i;
    const json_t *item, *items = json_object_get(op, "items");
    *done = 0;
    json_array_foreach(items, i, item)
    {
        *done += strcmp(fm_show_text(item, "state"), "done") == 0;
    }
    FM_ASSERT(*done <= json_array_size(items));
    return (unsigned)json_array_size(items);
}

int fm_op_doc_exit(const json_t *op, bool aborts)
{
    int i = end_of(op);
    FM_ASSERT(i >= 0);
    bool so_be_it = aborts && strcmp(ends[i].state, "aborted") == 0;
    return so_be_it ? FM_EXIT_OK : ends[i].code;
}

/* -------- in a line -------- */

void fm_op_doc_what(const json_t *op, struct fm_buf *out)
{
    FM_ASSERT(op && out->n < out->cap);
    const char *context = fm_show_text(op, "context"), *region = fm_show_text(op, "region"),
               *to = fm_show_text(op, "to"), *node = fm_show_text(op, "node"),
               *step = fm_show_text(op, "step");
    fm_buf_printf(out, "%s", fm_show_or_dash(fm_show_text(op, "kind")));
    if (context[0] || region[0])
        fm_buf_printf(out, " %s", context[0] ? context : region);
    if (node[0])
        fm_buf_printf(out, " %s", node);
    if (to[0])
        fm_buf_printf(out, " to %s", to);
    if (step[0] && strcmp(step, "all") != 0)
        fm_buf_printf(out, " (%s)", step);
}

void fm_op_doc_line(const json_t *op, struct fm_buf *out)
{
    unsigned done, all = fm_op_doc_items(op, &done);
    const char *text = fm_show_text(op, "text");
    fm_op_doc_what(op, out);
    fm_buf_printf(out, ": %s", fm_op_doc_state(op));
    if (all > 1)
        fm_buf_printf(out, ", %u of %u cells", done, all);
    if (text[0])
        fm_buf_printf(out, ": %s", text);
}

/* -------- printing -------- */

void fm_op_doc_print_head(const char *service, const json_t *doc, const char *from)
{
    char n[FM_SHOW_NUMBER];
    printf("service %s, generation %s%s%s\n", service ? service : "-",
           fm_show_number_or_dash(doc, "generation", n), from ? ", by " : "", from ? from : "");
}

static void print_what(FILE *to, const json_t *op)
{
    char text[TEXT_MAX];
    struct fm_buf b = fm_buf(text, sizeof text);
    fm_op_doc_what(op, &b);
    fprintf(to, "%.*s", (int)b.n, b.p);
}

void fm_op_doc_print_begin(const json_t *op)
{
    printf("operation %s: ", fm_op_doc_id(op));
    print_what(stdout, op);
    puts("");
}

/* By which rule it was refused, and what would make it pass. */
static void print_rule(FILE *to, const json_t *op)
{
    const char *rule = fm_show_text(op, "rule"), *remedy = fm_show_text(op, "remedy");
    if (rule[0])
        fm_hint_print(to, "  refused by the rule `%s`%s%s\n", rule, remedy[0] ? ": " : "", remedy);
}

void fm_op_doc_print_end(FILE *to, const json_t *op, int64_t took_ms)
{
    FM_ASSERT(to && fm_op_doc_state(op)[0]);
    char ms[FM_SHOW_NUMBER];
    const char *text = fm_show_text(op, "text");
    unsigned done, all = fm_op_doc_items(op, &done);
    fprintf(to, "%s", fm_op_doc_state(op));
    if (took_ms >= 0)
        fprintf(to, " after %s", fm_show_ms(took_ms, ms));
    fputs(": ", to);
    print_what(to, op);
    if (all > 1)
        fprintf(to, ", %u of %u cells", done, all);
    fm_hint_print(to, "%s%s\n", text[0] ? ": " : "", text);
    print_rule(to, op);
}

static void print_pair(const char *name, const char *value)
{
    if (value[0])
        printf("%-11s %s\n", name, value);
}

/* Takes those that share context, way and state with the first out of `left`, as a line. */
static void print_alike(json_t *left)
{
    static const char *const same[] = {"context", "from", "to", "state"};
    const json_t *first = json_array_get(left, 0);
    json_t *cells = json_array();
    char text[TEXT_MAX];
    json_incref((json_t *)(uintptr_t)first);
    for (size_t i = 0, k; i < json_array_size(left);) {
        const json_t *item = json_array_get(left, i);
        for (k = 0; k < FM_COUNT(same); k++)
            if (strcmp(fm_show_text(item, same[k]), fm_show_text(first, same[k])) != 0)
                break;
        if (k < FM_COUNT(same)) {
            i++;
            continue;
        }
        json_array_append(cells, json_object_get(item, "cell"));
        json_array_remove(left, i);
    }
    FM_ASSERT(json_array_size(cells) > 0); /* the first is like itself */
    fm_show_cells(cells, text, sizeof text);
    printf("  %s/%s: %s -> %s, %s\n", fm_show_text(first, "context"), text,
           fm_show_text(first, "from"), fm_show_text(first, "to"), fm_show_text(first, "state"));
    json_decref(cells);
    json_decref((json_t *)(uintptr_t)first);
}

static void print_items(const json_t *op)
{
    json_t *left = json_copy(json_object_get(op, "items"));
    while (json_array_size(left) > 0)
        print_alike(left);
    json_decref(left);
}

void fm_op_doc_print(const json_t *op)
{
    static const char *const lines[] = {"kind", "context", "region", "to", "state", "step",
                                        "text", "by",      "reason", "at", "host"};
    print_pair("operation", fm_op_doc_id(op));
    for (size_t i = 0; i < FM_COUNT(lines); i++)
        print_pair(lines[i], fm_show_text(op, lines[i]));
    if (json_is_true(json_object_get(op, "attested")))
        print_pair("attested", "a person says that nothing writes there any more");
    if (json_is_true(json_object_get(op, "break_glass")))
        print_pair("overridden", strcmp(fm_show_text(op, "kind"), "drain") == 0
                                     ? "in spite of the rule `capacity`"
                                     : "in spite of observers that saw the holder well");
    print_pair("rule", fm_show_text(op, "rule"));
    print_pair("remedy", fm_show_text(op, "remedy"));
    print_items(op);
}

void fm_op_doc_print_list(const json_t *ops)
{
    size_t i;
    const json_t *op;
    if (json_array_size(ops) == 0) {
        puts("no operations");
        return;
    }
    printf("%-24s %-9s %-42s %-20s %s\n", "OPERATION", "STATE", "WHAT", "BY", "REASON");
    json_array_foreach(ops, i, op)
    {
        char what[TEXT_MAX];
        struct fm_buf b = fm_buf(what, sizeof what - 1);
        fm_op_doc_what(op, &b);
        what[b.n] = 0;
        printf("%-24s %-9s %-42s %-20s %s\n", fm_op_doc_id(op), fm_op_doc_state(op), what,
               fm_show_or_dash(fm_show_text(op, "by")), fm_show_text(op, "reason"));
    }
}

int fm_op_doc_print_unknown(const struct fm_args *a, const char *command, const char *id)
{
    char what[FM_OP_DOC_ID_MAX + 64];
    snprintf(what, sizeof what, "there is no operation `%s` (any more)", id);
    return fm_print_error(a, command, FM_EXIT_DIFFERS, what,
                          "`fulmar op list` shows those there are");
}

/* -------- what was only asked -------- */

int fm_op_doc_print_plan(const struct fm_args *a, json_t *op)
{
    unsigned done, all = fm_op_doc_items(op, &done);
    const char *kind = fm_show_text(op, "kind");
    bool cells = strcmp(kind, "move") == 0 || strcmp(kind, "evacuate") == 0;
    bool intent = strcmp(kind, "drain") == 0 || strcmp(kind, "undrain") == 0;
    bool config = strcmp(kind, "config") == 0;
    bool member = strcmp(kind, "add") == 0 || strcmp(kind, "remove") == 0;
    bool home = strcmp(kind, "failback") == 0;
    bool is_so = (cells && all == 0) ||
                 ((intent || config || home) && strcmp(fm_op_doc_state(op), "done") == 0);
    int code = is_so ? FM_EXIT_OK : FM_EXIT_DIFFERS;
    if (a->output != FM_OUTPUT_TABLE) {
        fm_print_document(op, a->output);
        return code;
    }
    fm_show_tame(op);
    fputs(code ? "this would be done: " : "there is nothing to do: ", stdout);
    print_what(stdout, op);
    if ((intent || config || member || home) && fm_show_text(op, "text")[0])
        fm_hint_print(stdout, ": %s", fm_show_text(op, "text"));
    puts("");
    print_items(op);
    return code;
}

static void print_flag(const json_t *evidence, const char *key, const char *yes, const char *no)
{
    const json_t *v = json_object_get(evidence, key);
    if (json_is_boolean(v))
        printf("  %s\n", json_is_true(v) ? yes : no);
}

/* "at most 1048576 bytes, 30840 transactions, of the last 3.2 s" */
static void print_loss(const json_t *q)
{
    char ms[FM_SHOW_NUMBER];
    const char *bound = fm_show_text(q, "bound");
    bool estimate = strcmp(fm_show_text(q, "bound_kind"), "estimate") == 0;
    if (estimate && !json_is_integer(json_object_get(q, "loss_bytes")))
        fputs("loss: about what was written", stdout); /* known by time alone */
    else if (!json_is_integer(json_object_get(q, "loss_bytes")) ||
             (json_is_true(json_object_get(q, "unbounded")) && !estimate))
        fputs("loss: not bounded", stdout);
    else
        printf("loss: %s %lld bytes", estimate ? "about" : "at most",
               fm_show_number(q, "loss_bytes"));
    if (json_is_integer(json_object_get(q, "loss_transactions")))
        printf(", %lld transactions", fm_show_number(q, "loss_transactions"));
    bool bounded = strcmp(fm_show_text(q, "bound_kind"), "unbounded") != 0;
    if (fm_show_number(q, "loss_ms") > 0)
        printf(bounded ? ", of the last %s" : ", as far as is known of the last %s",
               fm_show_ms(fm_show_number(q, "loss_ms"), ms));
    printf(" (%s)\n", bound);
}

/* What it says of the loss, as the loss itself is said; of the primary, which is what is lost, "".
 */
static const char *role_of(const json_t *n, const char *primary)
{
    const char *kind = fm_show_text(n, "bound_kind"); /* an older agent says `promotable` alone */
    bool bounds =
        kind[0] ? strcmp(kind, "enforced") == 0 : json_is_true(json_object_get(n, "promotable"));
    if (strcmp(fm_show_text(n, "node"), primary) == 0 &&
        strcmp(fm_show_text(n, "state"), "primary") == 0)
        return "";
    return bounds ? ", bounds the loss" : ", does not bound it";
}

static void print_node(const json_t *n, const char *what, const char *primary)
{
    char ms[FM_SHOW_NUMBER], behind[FM_SHOW_NUMBER];
    const char *state = fm_show_text(n, "state");
    if (!state[0]) {
        printf("  %s%s: nothing was ever heard of it\n", what, fm_show_text(n, "node"));
        return;
    }
    printf("  %s%s: %s, timeline %lld, flushed %s, %s bytes behind%s, heard %s ago\n", what,
           fm_show_text(n, "node"), state, fm_show_number(n, "timeline"),
           fm_show_or_dash(fm_show_text(n, "flush")),
           fm_show_number_or_dash(n, "behind_bytes", behind), role_of(n, primary),
           fm_show_ms(fm_show_number(n, "age_ms"), ms));
}

/* Data that Fulmar does not run itself. */
static void print_hooked(const json_t *g)
{
    char ms[FM_SHOW_NUMBER];
    const char *name;
    json_t *r;
    printf("data of %s, by hooks:\n", fm_show_text(g, "context"));
    json_object_foreach(json_object_get(g, "regions"), name, r)
    {
        printf("  %s: %s%s%s, heard %s ago\n", name, fm_show_or_dash(fm_show_text(r, "role")),
               json_is_true(json_object_get(r, "writable")) ? ", writable" : "",
               json_is_false(json_object_get(r, "healthy")) ? ", not healthy" : "",
               fm_show_ms(fm_show_number(r, "heard_ms_ago"), ms));
    }
}

/* Whose data there are, and who would be promoted. */
static void print_groups(const json_t *q)
{
    size_t i, k;
    const json_t *g, *n;
    json_array_foreach(json_object_get(q, "groups"), i, g)
    {
        if (strcmp(fm_show_text(g, "kind"), "hooks") == 0) {
            print_hooked(g);
            continue;
        }
        const char *primary = fm_show_text(g, "primary");
        const json_t *standby = json_object_get(g, "standby");
        const char *best = fm_show_text(standby, "node");
        const char *next = fm_show_text(g, "claimed_by");
        printf("PostgreSQL of %s: primary %s%s%s%s\n", fm_show_text(g, "context"),
               fm_show_or_dash(primary), next[0] ? " until " : "", next, next[0] ? " is open" : "");
        if (json_is_object(standby))
            print_node(standby, "would be promoted: ", primary);
        else
            puts("  nobody there could be promoted");
        json_array_foreach(json_object_get(g, "nodes"), k, n)
        {
            if (strcmp(fm_show_text(n, "node"), best) != 0)
                print_node(n, "", primary);
        }
    }
}

static void print_fences(const json_t *q)
{
    size_t i;
    const json_t *f;
    json_array_foreach(json_object_get(q, "fences"), i, f)
    {
        const char *by = fm_show_text(f, "ended_by");
        printf("  %s of %s %s\n", fm_show_text(f, "context"), fm_show_text(f, "host"),
               strcmp(by, "testimony") == 0 ? "has ended: its guard says so"
               : strcmp(by, "lapsed") == 0  ? "has ended with its lease"
                                            : "ends with its lease");
    }
}

int fm_op_doc_print_quote(const struct fm_args *a, json_t *q)
{
    if (a->output == FM_OUTPUT_TABLE)
        fm_show_tame(q); /* before anything points into it */
    const json_t *ev = json_object_get(q, "evidence");
    const char *context = fm_show_text(q, "context"), *to = fm_show_text(q, "to"),
               *id = fm_show_text(q, "quote");
    char ms[FM_SHOW_NUMBER], options[FM_HINT_OPTIONS];
    if (a->output != FM_OUTPUT_TABLE) {
        fm_print_document(q, a->output);
        return FM_EXIT_OK;
    }
    printf("quote %s: failover of %s from %s to %s\n", id, context, fm_show_text(q, "from"), to);
    print_loss(q);
    print_groups(q);
    printf("evidence: of %lld observers %lld lost it and %lld see it well\n",
           fm_show_number(ev, "observers"), fm_show_number(ev, "lost_by"),
           fm_show_number(ev, "healthy_by"));
    if (2 * fm_show_number(ev, "healthy_by") > fm_show_number(ev, "observers"))
        fm_hint_print(stdout,
                      "  so a failover would be refused: use `fulmar move %s --to %s`, "
                      "which loses nothing\n",
                      context, to);
    print_flag(ev, "ready",
               json_is_true(json_object_get(q, "unbounded"))
                   ? "the successor could take over, with a loss that nothing bounds"
                   : "the successor is ready",
               "the successor is NOT ready");
    if (fm_show_text(ev, "ready_why")[0])
        fm_hint_print(stdout, "    %s\n", fm_show_text(ev, "ready_why"));
    print_flag(ev, "quorum", "coordination answers", "coordination does NOT answer");
    print_flag(ev, "fenced", "the fences are proven", "the fences are NOT proven");
    print_fences(q);
    if (fm_show_text(q, "waits_for")[0])
        printf("waits for: %s\n", fm_show_text(q, "waits_for"));
    printf("valid for %s, at this agent:\n"
           "  fulmar failover %s --to %s --accept-loss %s --confirm %s --reason TEXT%s\n",
           fm_show_ms(fm_show_number(q, "valid_for_ms"), ms), context, to, id, context,
           fm_hint_options("failover", options));
    return FM_EXIT_OK;
}
