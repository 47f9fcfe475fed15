/* fulmar loss: what PostgreSQL groups have lost, and what people have said of it. */
#include "base/assert.h"
#include "cli/order.h"
#include "cli/show.h"

#include <stdio.h>

static const json_t *text_of(const json_t *item, const char *key)
{
    const json_t *v = json_object_get(item, key);
    return json_is_string(v) ? v : NULL;
}

/* Of a list: what `show` can say of its rows. */
static const char *rows_in_words(const json_t *item)
{
    const char *known = fm_show_text(json_object_get(item, "rows"), "known");
    return strcmp(known, "all") == 0       ? ", with rows"
           : strcmp(known, "some") == 0    ? ", some with rows"
           : strcmp(known, "unknown") == 0 ? ", rows unknown"
                                           : "";
}

/* What was found, in a line. */
static void say_found(const json_t *item, char *out, size_t n)
{
    const char *found = fm_show_text(item, "found");
    char number[FM_SHOW_NUMBER], most[FM_SHOW_NUMBER];
    bool bounded = json_is_integer(json_object_get(item, "acknowledged_bytes_max"));
    fm_show_number_or_dash(item, "transactions", number);
    fm_show_number_or_dash(item, "acknowledged_bytes_max", most);
    if (strcmp(found, "counted") == 0)
        snprintf(out, n, "%s transaction%s%s", number, strcmp(number, "1") == 0 ? "" : "s",
                 rows_in_words(item));
    else if (strcmp(found, "pending") == 0)
        snprintf(out, n, "recovery pending%s%s%s", bounded ? ": at most " : "", bounded ? most : "",
                 bounded ? " bytes acknowledged" : "");
    else if (strcmp(found, "unreadable") == 0)
        snprintf(out, n, "unrecoverable, at most %s%s", bounded ? most : "what was not replicated",
                 bounded ? " bytes acknowledged" : "");
    else
        snprintf(out, n, "nothing: the history never began");
}

static void print_line(const json_t *item)
{
    char found[128];
    const json_t *last = text_of(item, "last_commit_at");
    say_found(item, found, sizeof found);
    printf("%-44s %-12s %-40s %s\n", fm_show_text(item, "item"), fm_show_text(item, "state"), found,
           last ? json_string_value(last) : "-");
}

static void print_text(const char *label, const json_t *item, const char *key)
{
    const json_t *v = text_of(item, key);
    if (v)
        printf("  %-14s %s\n", label, json_string_value(v));
}

/* How much of its rows is known. */
static void print_rows_line(const json_t *item)
{
    const json_t *rows = json_object_get(item, "rows");
    char transactions[FM_SHOW_NUMBER], changes[FM_SHOW_NUMBER];
    const json_t *why = text_of(rows, "why");
    if (!json_is_object(rows))
        return;
    if (strcmp(fm_show_text(rows, "known"), "unknown") == 0)
        printf("  %-14s unknown", "rows");
    else
        printf("  %-14s %s: %s changes by %s transactions", "rows", fm_show_text(rows, "known"),
               fm_show_number_or_dash(rows, "changes", changes),
               fm_show_number_or_dash(rows, "transactions", transactions));
    printf("%s%s\n", why ? "; " : "", why ? json_string_value(why) : "");
}

static void print_values(const char *label, const json_t *values)
{
    const char *name;
    json_t *v;
    if (json_object_size(values) == 0)
        return;
    printf(" %s(", label);
    const char *between = "";
    json_object_foreach((json_t *)(uintptr_t)values, name, v)
    {
        printf("%s%s=%s", between, name, json_is_string(v) ? json_string_value(v) : "null");
        between = ", ";
    }
    putchar(')');
}

static void print_change(const json_t *c)
{
    const json_t *text = text_of(c, "text");
    printf("      %s", fm_show_text(c, "op"));
    if (text_of(c, "relation"))
        printf(" %s", fm_show_text(c, "relation"));
    print_values("key", json_object_get(c, "key"));
    print_values("old", json_object_get(c, "old"));
    print_values("new", json_object_get(c, "new"));
    if (text)
        printf(" %s", json_string_value(text));
    putchar('\n');
}

static void print_decoded(const json_t *item)
{
    size_t i, k;
    json_t *t, *c;
    json_array_foreach(json_object_get(item, "decoded"), i, t)
    {
        if (text_of(t, "text"))
            printf("    %s\n", fm_show_text(t, "text"));
        else
            printf("    transaction %s of %s, %s, to %s\n", fm_show_text(t, "xid"),
                   fm_show_text(t, "database"), fm_show_or_dash(fm_show_text(t, "committed_at")),
                   fm_show_or_dash(fm_show_text(t, "commit_lsn")));
        json_array_foreach(json_object_get(t, "changes"), k, c)
        {
            print_change(c);
        }
    }
}

static void print_one(const json_t *item)
{
    char found[128], number[FM_SHOW_NUMBER];
    const json_t *off = json_object_get(item, "written_off");
    say_found(item, found, sizeof found);
    printf("%s: %s\n", fm_show_text(item, "item"), fm_show_text(item, "state"));
    printf("  %-14s %s\n", "found", found);
    print_text("why", item, "why");
    printf("  %-14s %s\n", "acknowledged", fm_show_text(item, "acknowledged"));
    if (fm_show_number(item, "prepared"))
        printf("  %-14s %s, perhaps before the fork\n", "prepared",
               fm_show_number_or_dash(item, "prepared", number));
    print_rows_line(item);
    print_text("first commit", item, "first_commit_at");
    print_text("last commit", item, "last_commit_at");
    printf("  %-14s %s, timeline %s\n", "written by", fm_show_text(item, "node"),
           fm_show_number_or_dash(item, "timeline", number));
    printf("  %-14s %s to %s\n", "log", fm_show_or_dash(fm_show_text(item, "fork_lsn")),
           fm_show_or_dash(fm_show_text(item, "end_lsn")));
    if (text_of(item, "copy_removed_at"))
        printf("  %-14s removed %s\n", "its copy", fm_show_text(item, "copy_removed_at"));
    else if (text_of(item, "copy"))
        printf("  %-14s %s on %s\n", "its copy", fm_show_text(item, "copy"),
               fm_show_text(item, "node"));
    print_text("since", item, "seen_at");
    if (json_is_object(off))
        printf("  %-14s %s by %s: %s\n", "written off", fm_show_text(off, "at"),
               fm_show_text(off, "by"), fm_show_text(off, "reason"));
}

/* -------- list and show -------- */

static int fetch(const struct fm_args *a, struct fm_agents *g, const char *command, json_t **out)
{
    struct fm_reply r = {0};
    int code = FM_EXIT_OK;
    *out = NULL;
    enum fm_agents_end end = fm_agents_get(g, "/groups/loss", 0, &r);
    if (end != FM_AGENTS_ANSWERED)
        code = fm_agents_fail(g, end);
    else if (r.status != 200 || strcmp(fm_show_text(r.doc, "schema"), "fulmar.losses/1") != 0)
        code = fm_order_unwanted(a, command, &r);
    else
        *out = json_incref(r.doc);
    json_decref(r.doc);
    return code;
}

/* Leaves the items whose `key` is `value`. */
static void choose(json_t *items, const char *key, const char *value)
{
    for (size_t i = json_array_size(items); i-- > 0;)
        if (strcmp(fm_show_text(json_array_get(items, i), key), value) != 0)
            json_array_remove(items, i);
}

/* What the open ones come to; a number that is not known of one is not known of all. */
static json_t *sum_of(json_t *items)
{
    json_int_t open = 0, transactions = 0, changes = 0;
    bool counted = true, decoded = true;
    size_t i;
    json_t *item;
    json_array_foreach(items, i, item)
    {
        const json_t *rows = json_object_get(item, "rows");
        if (strcmp(fm_show_text(item, "state"), "open") != 0)
            continue;
        open++;
        transactions += fm_show_number(item, "transactions");
        changes += fm_show_number(rows, "changes");
        counted &= json_is_integer(json_object_get(item, "transactions"));
        decoded &= strcmp(fm_show_text(rows, "known"), "all") == 0;
    }
    return json_pack("{s:I,s:o,s:o}", "open", open, "transactions",
                     counted ? json_integer(transactions) : json_null(), "changes",
                     counted && decoded ? json_integer(changes) : json_null());
}

static void print_sum(const json_t *sum)
{
    char transactions[FM_SHOW_NUMBER], changes[FM_SHOW_NUMBER];
    if (fm_show_number(sum, "open"))
        printf("%lld open: %s transactions, %s changes of rows (- = not known of each)\n",
               fm_show_number(sum, "open"),
               fm_show_number_or_dash(sum, "transactions", transactions),
               fm_show_number_or_dash(sum, "changes", changes));
}

static int list(const struct fm_args *a, struct fm_agents *g)
{
    json_t *doc;
    int code = fetch(a, g, "loss list", &doc);
    if (code)
        return code;
    json_t *items = json_object_get(doc, "items");
    if (a->nargs)
        choose(items, "group", a->arg[0]);
    json_object_set_new(doc, "sum", sum_of(items));
    if (a->output == FM_OUTPUT_TABLE) {
        fm_show_tame(doc);
        if (json_array_size(items) == 0)
            puts("no item: nobody knows of anything that was lost");
        else
            printf("%-44s %-12s %-40s %s\n", "ITEM", "STATE", "FOUND", "LAST COMMIT");
        for (size_t i = 0; i < json_array_size(items); i++)
            print_line(json_array_get(items, i));
        print_sum(json_object_get(doc, "sum"));
    } else {
        fm_print_document(doc, a->output);
    }
    json_decref(doc);
    return code;
}

/* The rows of an item, where a host that is asked has them; it may be another than the one that
 * knows the item. */
static void add_decoded(struct fm_agents *g, json_t *item)
{
    char target[256];
    struct fm_reply r = {0};
    json_t *decoded = NULL;
    snprintf(target, sizeof target, "/groups/loss/rows?item=%s", fm_show_text(item, "item"));
    if (json_is_object(json_object_get(item, "rows")) &&
        fm_agents_get(g, target, 0, &r) == FM_AGENTS_ANSWERED && r.status == 200)
        decoded = json_object_get(r.doc, "transactions");
    json_object_set_new(item, "decoded", decoded ? json_incref(decoded) : json_null());
    json_decref(r.doc);
}

static int show(const struct fm_args *a, struct fm_agents *g)
{
    json_t *doc;
    FM_ASSERT(a->nargs == 1);
    int code = fetch(a, g, "loss show", &doc);
    if (code)
        return code;
    json_t *items = json_object_get(doc, "items");
    choose(items, "item", a->arg[0]);
    json_t *item = json_array_get(items, 0);
    if (!item) {
        code = fm_print_error(a, "loss show", FM_EXIT_DIFFERS, "there is no such item",
                              "`fulmar loss list` shows all of them");
        json_decref(doc);
        return code;
    }
    add_decoded(g, item);
    if (a->output == FM_OUTPUT_TABLE) {
        fm_show_tame(item);
        print_one(item);
        print_decoded(item);
    } else {
        json_object_set_new(item, "schema", json_string("fulmar.loss/1"));
        fm_print_document(item, a->output);
    }
    json_decref(doc);
    return code;
}

int fm_cmd_loss_list(const struct fm_args *a)
{
    return fm_agents_show(a, "loss list", FM_WHOM_ORDER, list);
}

int fm_cmd_loss_show(const struct fm_args *a)
{
    if (a->nargs != 1)
        return fm_usage("`fulmar loss show` needs an item; `fulmar loss list` has them");
    return fm_agents_show(a, "loss show", FM_WHOM_ORDER, show);
}

/* -------- writing off -------- */

static int written_off(const struct fm_args *a, const struct fm_reply *r)
{
    if (r->status != 200 || !text_of(r->doc, "item"))
        return fm_order_unwanted(a, "loss write-off", r);
    if (a->output != FM_OUTPUT_TABLE) {
        json_object_set_new(r->doc, "schema", json_string("fulmar.loss/1"));
        fm_print_document(r->doc, a->output);
    } else {
        fm_show_tame(r->doc);
        if (a->dry_run)
            puts("would be written off:");
        print_one(r->doc);
    }
    return a->dry_run ? FM_EXIT_DIFFERS : FM_EXIT_OK;
}

int fm_cmd_loss_write_off(const struct fm_args *a)
{
    struct fm_agents *g;
    struct fm_reply r = {0};
    if (a->nargs != 1)
        return fm_usage("`fulmar loss write-off` needs an item; `fulmar loss list` has them");
    if (!a->dry_run && !(a->confirm && strcmp(a->confirm, a->arg[0]) == 0))
        return fm_usage("nobody will look for what was lost any more: --confirm %s", a->arg[0]);
    int code = fm_order_check_reason(a, "loss write-off");
    if (!code)
        code = fm_agents_open(&g, a, "loss write-off", FM_WHOM_ORDER);
    if (code)
        return code;
    json_t *body = json_pack("{s:s}", "item", a->arg[0]);
    fm_order_sign(a, body);
    enum fm_agents_end end = fm_agents_post(g, "/groups/loss/write-off", body, true, &r);
    code = end == FM_AGENTS_ANSWERED ? written_off(a, &r) : fm_agents_fail(g, end);
    json_decref(body);
    json_decref(r.doc);
    fm_agents_close(g);
    return code;
}
