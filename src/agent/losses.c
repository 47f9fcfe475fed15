/* The items of a group: see the header. Invariant: memory holds what the file does. */
#include "agent/losses.h"

#include "agent/scribe.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/time.h"

#include <stdio.h>
#include <stdlib.h>

#define SCHEMA "fulmar.losses-kept/1"

enum { FILE_MAX = 1 << 20 };

struct fm_losses {
    struct fm_scribe *scribe;
    uint64_t version;
    unsigned n;
    struct fm_loss item[FM_LOSSES_MAX];
    struct fm_losses *next; /* is being written; NULL: nothing is */
};

/* -------- one item -------- */

static json_t *lsn_json(struct fm_lsn at)
{
    char out[FM_LSN_ROOM];
    return fm_lsn_is_none(at) ? json_null() : json_string(fm_lsn_write(out, at));
}

static json_t *number_json(uint64_t n)
{
    return json_integer((json_int_t)(n <= INT64_MAX ? n : INT64_MAX));
}

static json_t *kept_rows_json(const struct fm_loss *l)
{
    return json_pack(
        "{s:s,s:o,s:o,s:o,s:o,s:s}", "known", fm_loss_rows_name((enum fm_loss_rows)l->rows),
        "transactions", number_json(l->decoded), "changes", number_json(l->changes), "bytes",
        number_json(l->rows_bytes), "sum", number_json(l->rows_sum), "why", l->rows_why);
}

static json_t *kept_json(const struct fm_loss *l)
{
    char system[24];
    snprintf(system, sizeof system, "%llu", (unsigned long long)l->system_id);
    json_t *o = json_pack(
        "{s:s,s:o,s:o,s:s,s:o,s:s,s:o,s:o,s:o,s:I,s:I,s:s,s:s,s:I,s:I,s:s,s:s}", "node", l->node,
        "timeline", number_json(l->timeline.n), "fork", lsn_json(l->fork), "system_id", system,
        "epoch", number_json(l->epoch.n), "found", fm_loss_found_name((enum fm_loss_found)l->found),
        "end", lsn_json(l->end), "transactions", number_json(l->transactions), "prepared",
        number_json(l->prepared), "first_us", (json_int_t)l->first_us, "last_us",
        (json_int_t)l->last_us, "why", l->why, "copy", l->copy, "seen_us", (json_int_t)l->seen_us,
        "off_us", (json_int_t)l->off_us, "off_by", l->off_by, "off_why", l->off_why);
    if (o && l->at_most != FM_LOSS_UNBOUNDED)
        json_object_set_new(o, "at_most", number_json(l->at_most));
    if (o && l->pruned_us)
        json_object_set_new(o, "pruned_us", json_integer((json_int_t)l->pruned_us));
    if (o && l->rows != FM_LOSS_ROWS_NONE)
        json_object_set_new(o, "rows", kept_rows_json(l));
    return o;
}

static bool take_text(const json_t *o, const char *key, char *out, size_t cap)
{
    const json_t *v = json_object_get(o, key);
    size_t n = v ? json_string_length(v) : 0;
    if (!json_is_string(v) || n >= cap || strlen(json_string_value(v)) != n)
        return false;
    memcpy(out, json_string_value(v), n + 1);
    fm_text_tame(out);
    return true;
}

static bool take_number(const json_t *o, const char *key, uint64_t max, uint64_t *out)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static bool take_time(const json_t *o, const char *key, int64_t *out)
{
    uint64_t n;
    bool good = take_number(o, key, INT64_MAX / FM_NS_PER_US, &n);
    *out = good ? (int64_t)n : 0;
    return good;
}

static bool take_lsn(const json_t *o, const char *key, struct fm_lsn *out)
{
    const json_t *v = json_object_get(o, key);
    *out = FM_LSN_NONE;
    return json_is_null(v) ||
           (json_is_string(v) && fm_lsn_parse(fm_str_z(json_string_value(v)), out));
}

static bool take_found(const json_t *o, uint8_t *out)
{
    const char *name = json_string_value(json_object_get(o, "found"));
    for (unsigned i = 0; name && i < FM_LOSS_FOUND_COUNT; i++)
        if (strcmp(name, fm_loss_found_name((enum fm_loss_found)i)) == 0) {
            *out = (uint8_t)i;
            return true;
        }
    return false;
}

static bool take_rows(const json_t *o, struct fm_loss *l)
{
    const char *known = json_string_value(json_object_get(o, "known"));
    unsigned i = 0;
    while (known && i < FM_LOSS_ROWS_COUNT &&
           strcmp(known, fm_loss_rows_name((enum fm_loss_rows)i)) != 0)
        i++;
    if (!known || i == FM_LOSS_ROWS_COUNT)
        return false;
    l->rows = (uint8_t)i;
    return take_number(o, "transactions", INT64_MAX, &l->decoded) &&
           take_number(o, "changes", INT64_MAX, &l->changes) &&
           take_number(o, "bytes", FM_LOSS_ROWS_BYTES_MAX, &l->rows_bytes) &&
           take_number(o, "sum", INT64_MAX, &l->rows_sum) &&
           take_text(o, "why", l->rows_why, sizeof l->rows_why);
}

static bool take_item(const json_t *o, struct fm_loss *l)
{
    uint64_t timeline;
    *l = (struct fm_loss){.at_most = FM_LOSS_UNBOUNDED};
    const char *system = json_string_value(json_object_get(o, "system_id"));
    bool good = take_text(o, "node", l->node, sizeof l->node) && l->node[0] &&
                take_number(o, "timeline", UINT32_MAX, &timeline) && take_lsn(o, "fork", &l->fork);
    good = good && system && fm_str_u64(fm_str_z(system), &l->system_id) &&
           take_number(o, "epoch", INT64_MAX, &l->epoch.n) && take_found(o, &l->found) &&
           take_lsn(o, "end", &l->end);
    good = good && take_number(o, "transactions", INT64_MAX, &l->transactions) &&
           take_number(o, "prepared", l->transactions, &l->prepared) &&
           take_time(o, "first_us", &l->first_us) && take_time(o, "last_us", &l->last_us) &&
           take_time(o, "seen_us", &l->seen_us) && take_time(o, "off_us", &l->off_us);
    good = good && take_text(o, "why", l->why, sizeof l->why) &&
           take_text(o, "copy", l->copy, sizeof l->copy) &&
           take_text(o, "off_by", l->off_by, sizeof l->off_by) &&
           take_text(o, "off_why", l->off_why, sizeof l->off_why);
    if (good && json_object_get(o, "at_most"))
        good = take_number(o, "at_most", INT64_MAX, &l->at_most);
    if (good && json_object_get(o, "pruned_us"))
        good = take_time(o, "pruned_us", &l->pruned_us);
    if (good && json_object_get(o, "rows"))
        good = take_rows(json_object_get(o, "rows"), l);
    if (good)
        l->timeline.n = (uint32_t)timeline;
    return good;
}

/* -------- all of them -------- */

static json_t *doc_of(const struct fm_loss *item, unsigned n)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < n; i++)
        json_array_append_new(list, kept_json(&item[i]));
    return json_pack("{s:s,s:o}", "schema", SCHEMA, "items", list);
}

json_t *fm_losses_doc(const struct fm_losses *l)
{
    return doc_of(l->item, l->n);
}

int fm_losses_read(const json_t *doc, struct fm_loss *out)
{
    const char *schema = json_string_value(json_object_get(doc, "schema"));
    const json_t *list = json_object_get(doc, "items");
    size_t n = json_array_size(list);
    if (!schema || strcmp(schema, SCHEMA) != 0 || !json_is_array(list) || n > FM_LOSSES_MAX)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (!take_item(json_array_get(list, i), &out[i]))
            return -1;
    return (int)n;
}

static enum fm_err load(struct fm_losses *l, const char *path, struct fm_error *e)
{
    char *bytes = NULL;
    size_t size = 0;
    struct fm_error why = {FM_ERR_OK, ""};
    enum fm_err err = fm_file_read(path, FILE_MAX, &bytes, &size, &why);
    if (err == FM_ERR_NOT_FOUND)
        return FM_ERR_OK;
    if (err)
        return fm_error_set(e, err, "%s", why.msg);
    json_t *doc = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, NULL);
    int n = doc ? fm_losses_read(doc, l->item) : -1;
    json_decref(doc);
    free(bytes);
    if (n < 0)
        return fm_error_set(e, FM_ERR_INVALID, "%s is no list of lost writes", path);
    l->n = (unsigned)n;
    return FM_ERR_OK;
}

enum fm_err fm_losses_open(struct fm_losses **out, const char *path, struct fm_error *e)
{
    struct fm_losses *l = calloc(1, sizeof *l);
    *out = NULL;
    if (!l)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    l->version = 1;
    enum fm_err err = fm_scribe_new(&l->scribe, path, e);
    if (!err)
        err = load(l, path, e);
    if (err)
        fm_losses_free(l);
    else
        *out = l;
    return err;
}

void fm_losses_free(struct fm_losses *l)
{
    if (!l)
        return;
    fm_scribe_free(l->scribe);
    free(l->next);
    free(l);
}

unsigned fm_losses_count(const struct fm_losses *l)
{
    return l->n;
}

const struct fm_loss *fm_losses_at(const struct fm_losses *l, unsigned i)
{
    FM_ASSERT(i < l->n);
    return &l->item[i];
}

static unsigned place(const struct fm_losses *l, const struct fm_loss *like)
{
    for (unsigned i = 0; i < l->n; i++)
        if (fm_loss_is_same(&l->item[i], like))
            return i;
    return l->n;
}

const struct fm_loss *fm_losses_find(const struct fm_losses *l, const struct fm_loss *like)
{
    unsigned i = place(l, like);
    return i < l->n ? &l->item[i] : NULL;
}

uint64_t fm_losses_version(const struct fm_losses *l)
{
    return l->version;
}

/* -------- keeping -------- */

/* The oldest that nobody has to look at any more goes; where there was nothing, first. */
static bool make_room(struct fm_losses *l)
{
    unsigned best = l->n;
    for (unsigned i = 0; i < l->n; i++) {
        enum fm_loss_state s = fm_loss_state(&l->item[i]);
        bool first =
            best == l->n || s < fm_loss_state(&l->item[best]) ||
            (s == fm_loss_state(&l->item[best]) && l->item[i].seen_us < l->item[best].seen_us);
        if (s != FM_LOSS_OPEN && first)
            best = i;
    }
    if (best == l->n)
        return false;
    memmove(&l->item[best], &l->item[best + 1], (l->n - best - 1) * sizeof l->item[0]);
    l->n--;
    return true;
}

/* -1: there is no room; 1: it says more than before. */
static int join(struct fm_losses *l, const struct fm_loss *x)
{
    unsigned i = place(l, x);
    if (i == l->n) {
        if (l->n == FM_LOSSES_MAX && !make_room(l))
            return -1;
        l->item[l->n++] = *x;
        return 1;
    }
    struct fm_loss joined = fm_loss_join(&l->item[i], x);
    bool same = fm_loss_equals(&l->item[i], &joined);
    l->item[i] = joined;
    return !same;
}

static enum fm_err save(const struct fm_losses *l, struct fm_error *e)
{
    json_t *doc = fm_losses_doc(l);
    char *text = doc ? json_dumps(doc, JSON_INDENT(1)) : NULL;
    enum fm_err err = text ? fm_scribe_write(l->scribe, fm_str_z(text), e)
                           : fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    free(text);
    json_decref(doc);
    return err;
}

/* What was being written counts from when it is durable. */
static enum fm_err take_over(struct fm_losses *l, struct fm_error *e)
{
    struct fm_losses *next = l->next;
    enum fm_err err = next ? fm_scribe_look(l->scribe, e) : FM_ERR_OK;
    if (!next || err == FM_ERR_TIMEOUT)
        return err;
    l->next = NULL;
    if (!err) {
        memcpy(l->item, next->item, sizeof l->item);
        l->n = next->n;
        l->version++;
    }
    free(next);
    return FM_ERR_OK; /* where it failed it is as if it had not been begun */
}

enum fm_err fm_losses_keep(struct fm_losses *l, const struct fm_loss *item, unsigned n,
                           struct fm_error *e)
{
    enum fm_err err = take_over(l, e);
    if (err)
        return err;
    l->next = malloc(sizeof *l->next);
    if (!l->next)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    *l->next = *l;
    bool changed = false, full = false;
    for (unsigned i = 0; i < n && !full; i++) {
        int rc = join(l->next, &item[i]);
        full = rc < 0;
        changed |= rc > 0;
    }
    if (full)
        err = fm_error_set(e, FM_ERR_LIMIT, "%d items of lost writes are open: write some off",
                           FM_LOSSES_MAX);
    else if (changed)
        err = save(l->next, e);
    if (err == FM_ERR_TIMEOUT)
        return err;
    if (!err && changed)
        return take_over(l, e);
    free(l->next);
    l->next = NULL;
    return err;
}

/* -------- for people -------- */

char *fm_loss_id(char out[FM_LOSS_ID_ROOM], const char *group, const struct fm_loss *l)
{
    snprintf(out, FM_LOSS_ID_ROOM, "%s:%s:%u:%X-%X", group, l->node, l->timeline.n,
             (unsigned)(l->fork.n >> 32), (unsigned)(l->fork.n & UINT32_MAX));
    return out;
}

static json_t *time_json(int64_t us)
{
    char at[FM_RFC3339_LEN];
    if (us == 0)
        return json_null();
    fm_wall_format(at, us * FM_NS_PER_US);
    return json_string(at);
}

/* What was lost can only be told of a log that was counted. */
static json_t *count_json(const struct fm_loss *l, uint64_t n)
{
    return l->found == FM_LOSS_COUNTED ? number_json(n) : json_null();
}

static json_t *off_json(const struct fm_loss *l)
{
    return l->off_us == 0 ? json_null()
                          : json_pack("{s:o,s:s,s:s}", "at", time_json(l->off_us), "by", l->off_by,
                                      "reason", l->off_why);
}

/* Of transactions without rows nobody knows what they did. */
static json_t *rows_json(const struct fm_loss *l)
{
    if (l->rows == FM_LOSS_ROWS_NONE)
        return json_null();
    bool any = l->rows > FM_LOSS_ROWS_UNKNOWN;
    uint64_t opaque = l->transactions - fm_min_u64(l->decoded, l->transactions);
    return json_pack(
        "{s:s,s:o,s:o,s:o,s:s?}", "known", fm_loss_rows_name((enum fm_loss_rows)l->rows),
        "transactions", any ? number_json(l->decoded) : json_null(), "changes",
        any ? number_json(l->changes) : json_null(), "opaque_transactions",
        any ? number_json(opaque) : json_null(), "why", l->rows_why[0] ? l->rows_why : NULL);
}

json_t *fm_loss_json(const char *group, const struct fm_loss *l)
{
    char id[FM_LOSS_ID_ROOM];
    bool bounded = l->at_most != FM_LOSS_UNBOUNDED;
    bool behind = l->found == FM_LOSS_COUNTED;
    return json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:s?,s:s?,s:o,s:o,s:"
        "o}",
        "item", fm_loss_id(id, group, l), "group", group, "node", l->node, "state",
        fm_loss_state_name(fm_loss_state(l)), "found",
        fm_loss_found_name((enum fm_loss_found)l->found), "transactions",
        count_json(l, l->transactions), "prepared", count_json(l, l->prepared), "acknowledged",
        "unknown", "timeline", number_json(l->timeline.n), "fork_lsn", lsn_json(l->fork), "end_lsn",
        lsn_json(l->end), "log_bytes",
        behind ? number_json(fm_lsn_ahead(l->end, l->fork)) : json_null(), "acknowledged_bytes_max",
        bounded ? number_json(l->at_most) : json_null(), "first_commit_at", time_json(l->first_us),
        "last_commit_at", time_json(l->last_us), "epoch",
        l->epoch.n ? number_json(l->epoch.n) : json_null(), "rows", rows_json(l), "why",
        l->why[0] ? l->why : NULL, "copy", l->copy[0] ? l->copy : NULL, "copy_removed_at",
        time_json(l->pruned_us), "seen_at", time_json(l->seen_us), "written_off", off_json(l));
}
