/* The rows of what was lost: taken from what a look at the old primary has left on its disk, kept
 * on each host of the group beside the items, and told to people. See db.h. Invariant: an item
 * speaks of rows that were durable on its own host before. */
#include "agent/db.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { PRUNE_AGAIN_MS = 60 * 1000 };

/* -------- found -------- */

/* The reason that is told where not all of it is known. */
static void say_why(struct fm_loss *l, const struct fm_pg_rows *r, bool whole)
{
    if (r->why[0])
        snprintf(l->rows_why, sizeof l->rows_why, "%.*s", (int)sizeof l->rows_why - 1, r->why);
    else if (!whole)
        snprintf(l->rows_why, sizeof l->rows_why,
                 "there are more than hosts keep: the file `" FM_PG_ROWS_FILE
                 "` beside the copy of "
                 "the log has the rest");
    else if (l->rows == FM_LOSS_ROWS_SOME)
        snprintf(l->rows_why, sizeof l->rows_why,
                 "the others changed no rows, or what cannot be decoded");
}

static void take_rows(struct fm_loss *l, const struct fm_pg_rescued *r, char **text, size_t *size)
{
    char path[sizeof r->copy + 16];
    struct fm_error e = {0};
    bool whole = false;
    snprintf(path, sizeof path, "%s/" FM_PG_ROWS_FILE, r->copy);
    l->rows = FM_LOSS_ROWS_UNKNOWN;
    if (!r->rows.known || fm_loss_rows_take(path, text, size, &whole, &e)) {
        snprintf(l->rows_why, sizeof l->rows_why, "%.*s", (int)sizeof l->rows_why - 1,
                 r->rows.why[0] ? r->rows.why
                 : e.msg[0]     ? e.msg
                                : "nobody looked for them");
        return;
    }
    l->rows = (uint8_t)fm_loss_rows_found(l, r->rows.transactions, whole && r->rows.why[0] == '\0');
    l->decoded = r->rows.transactions;
    l->changes = r->rows.changes;
    fm_loss_rows_sign(l, fm_str(*text, *size));
    say_why(l, &r->rows, whole);
}

/* Of two looks the one that knows more is kept, as in the item (fm_loss_join). */
static bool is_better(const struct db_node *n, const struct fm_loss *l)
{
    const struct fm_loss *known = fm_losses_find(n->loss.items, l);
    if (!known)
        return true;
    struct fm_loss joined = fm_loss_join(known, l);
    return joined.rows_sum == l->rows_sum && joined.rows_bytes == l->rows_bytes;
}

bool db_rows_found(struct db_node *n, struct fm_loss *l)
{
    char *text = NULL;
    size_t size = 0;
    struct fm_error e = {0};
    if (l->found != FM_LOSS_COUNTED || l->transactions == 0)
        return true;
    take_rows(l, &n->pg.rescued, &text, &size);
    enum fm_err err = FM_ERR_OK;
    if (l->rows_bytes && is_better(n, l) && !fm_loss_store_has(&n->loss.rows, l))
        err = fm_loss_store_put(&n->loss.rows, l, fm_str(text, size), &e);
    free(text);
    if (err)
        snprintf(n->trouble, sizeof n->trouble, "the rows that were lost cannot be kept: %.180s",
                 e.msg);
    if (err)
        return false;
    fm_log(FM_LOG_WARN, "loss_rows", FM_KZ("group", n->group),
           FM_KZ("known", fm_loss_rows_name((enum fm_loss_rows)l->rows)),
           FM_KU("transactions", l->decoded), FM_KU("changes", l->changes),
           FM_KZ("why", l->rows_why));
    return true;
}

/* -------- between hosts -------- */

json_t *db_rows_lacks(const struct db_node *n)
{
    char id[FM_LOSS_ID_ROOM];
    json_t *list = json_array();
    for (unsigned i = 0; i < fm_losses_count(n->loss.items); i++) {
        const struct fm_loss *l = fm_losses_at(n->loss.items, i);
        if (!fm_loss_store_has(&n->loss.rows, l))
            json_array_append_new(list, json_string(fm_loss_id(id, n->group, l)));
    }
    return list;
}

static const struct fm_loss *find_item(const struct db_node *n, const char *id)
{
    char name[FM_LOSS_ID_ROOM];
    for (unsigned i = 0; id && i < fm_losses_count(n->loss.items); i++)
        if (strcmp(fm_loss_id(name, n->group, fm_losses_at(n->loss.items, i)), id) == 0)
            return fm_losses_at(n->loss.items, i);
    return NULL;
}

bool db_rows_heard(struct db_node *n, unsigned of, const json_t *doc)
{
    struct db_loss *x = &n->loss;
    const json_t *lacks = json_object_get(doc, "lacks");
    FM_ASSERT(of < n->nnodes);
    if (!json_is_array(lacks))
        return false;
    x->lacks[of] = false;
    for (size_t i = 0; i < json_array_size(lacks); i++) {
        const struct fm_loss *l = find_item(n, json_string_value(json_array_get(lacks, i)));
        bool mine = l && strcmp(l->node, n->of[n->self].name) == 0 && x->looked &&
                    fm_lsn_same(l->fork, x->fork);
        x->lacks[of] |= mine;
        if (l && (mine || !x->push.node[0]) && fm_loss_store_has(&x->rows, l))
            x->push = *l;
    }
    return true;
}

char *db_rows_body(const struct db_node *n)
{
    const struct db_loss *x = &n->loss;
    char id[FM_LOSS_ID_ROOM], *text = NULL;
    size_t size = 0;
    struct fm_error e = {0};
    if (!x->push.node[0] || fm_loss_store_get(&x->rows, &x->push, &text, &size, &e))
        return NULL;
    json_t *rows = json_stringn(text, size);
    json_t *doc =
        rows ? json_pack("{s:s,s:o}", "item", fm_loss_id(id, n->group, &x->push), "rows", rows)
             : NULL;
    char *body = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    json_decref(doc);
    free(text);
    return body;
}

/* -------- pages -------- */

static void take_page(struct db_node *n, const struct fm_page_request *q, struct fm_page_answer *a)
{
    struct fm_error e = {0};
    json_t *doc = json_loadb(q->body.p, q->body.n, JSON_REJECT_DUPLICATES, NULL);
    const json_t *rows = json_object_get(doc, "rows");
    const struct fm_loss *l = find_item(n, json_string_value(json_object_get(doc, "item")));
    enum fm_err err = FM_ERR_NOT_FOUND;
    if (l && json_is_string(rows))
        err = fm_loss_store_put(&n->loss.rows, l,
                                fm_str(json_string_value(rows), json_string_length(rows)), &e);
    a->status = err == FM_ERR_OK          ? 200
                : err == FM_ERR_NOT_FOUND ? 404
                : err == FM_ERR_INVALID   ? 400
                                          : 503;
    if (err)
        fm_log(FM_LOG_WARN, "loss_rows_not_kept", FM_KZ("group", n->group), FM_KE(&e));
    json_decref(doc);
}

/* 404: whoever asks may find them on another host. */
static json_t *show(const struct db_node *n, const struct fm_loss *l)
{
    char *text = NULL;
    size_t size = 0;
    struct fm_error e = {0};
    if (l->rows_bytes && fm_loss_store_get(&n->loss.rows, l, &text, &size, &e))
        return NULL;
    json_t *item = fm_loss_json(n->group, l);
    json_t *rows = fm_loss_rows_json(fm_str(text, size));
    free(text);
    return json_pack("{s:s,s:o,s:o}", "schema", "fulmar.loss-rows/1", "item", item, "transactions",
                     rows);
}

static void show_page(const struct fm_database *d, struct fm_str query, struct fm_page_answer *a)
{
    struct fm_str prefix = FM_STR("?item=");
    char id[FM_LOSS_ID_ROOM] = "";
    json_t *doc = NULL;
    if (fm_str_starts(query, prefix) && query.n - prefix.n < sizeof id)
        memcpy(id, query.p + prefix.n, query.n - prefix.n);
    for (unsigned i = 0; i < d->nnodes && !doc; i++) {
        const struct fm_loss *l = find_item(d->node[i], id);
        if (l)
            doc = show(d->node[i], l);
    }
    a->status = doc ? 200 : 404;
    a->body = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    a->content_type = "application/json";
    a->n = a->body ? strlen(a->body) : 0;
    json_decref(doc);
}

void db_rows_page(const struct fm_database *d, struct db_node *group,
                  const struct fm_page_request *q, struct fm_page_answer *a)
{
    if (group)
        take_page(group, q, a);
    else
        show_page(d, q->query, a);
}

/* -------- what nobody needs any more -------- */

void db_rows_prune(struct db_node *n)
{
    struct db_loss *x = &n->loss;
    struct fm_mono now = fm_mono_now();
    char ours[PATH_MAX + 8];
    if (fm_mono_before(now, x->prune_at))
        return;
    snprintf(ours, sizeof ours, "%s.lost/", n->data);
    for (unsigned i = 0; i < fm_losses_count(x->items); i++) {
        const struct fm_loss *l = fm_losses_at(x->items, i);
        bool here =
            strcmp(l->node, n->of[n->self].name) == 0 && strncmp(l->copy, ours, strlen(ours)) == 0;
        if (!here || !fm_loss_may_prune(l))
            continue;
        if (db_server_prune(n, l->timeline, l->fork))
            x->prune_at = fm_mono_add_ms(now, PRUNE_AGAIN_MS);
        return;
    }
}
