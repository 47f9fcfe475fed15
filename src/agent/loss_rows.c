/* Rows of lost writes: see the header. Invariant: `held` has a sum only when a file with it was
 * read or durably written. */
#include "agent/loss_rows.h"

#include "base/assert.h"
#include "base/file.h"
#include "base/hash.h"
#include "pg/decoded.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "rows-"

/* -------- the text -------- */

void fm_loss_rows_sign(struct fm_loss *l, struct fm_str text)
{
    static const struct fm_hash_key key = {0x66756c6d6172, 0x726f7773};
    FM_ASSERT(text.n <= FM_LOSS_ROWS_BYTES_MAX);
    l->rows_bytes = text.n;
    l->rows_sum = fm_hash_str(key, text) & INT64_MAX; /* as a number in JSON */
}

static bool is_signed(const struct fm_loss *l, struct fm_str text)
{
    struct fm_loss as = {.rows = 0};
    if (text.n > FM_LOSS_ROWS_BYTES_MAX)
        return false;
    fm_loss_rows_sign(&as, text);
    return as.rows_bytes == l->rows_bytes && as.rows_sum == l->rows_sum;
}

/* Lines stay lines, of fields with tabs. */
static void tame(char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t length = fm_str_utf8(fm_str(p + i, n - i), NULL);
        bool plain = length > 1 || p[i] == '\n' || p[i] == '\t' ||
                     (length == 1 && (unsigned char)p[i] >= ' ' && p[i] != 0x7f);
        if (!plain)
            p[i] = '?';
        i += length ? length : 1;
    }
}

enum fm_err fm_loss_rows_take(const char *path, char **text, size_t *n, bool *whole,
                              struct fm_error *e)
{
    size_t got = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    *text = NULL;
    *n = 0;
    if (fd < 0)
        return fm_error_errno(e, FM_ERR_NOT_FOUND, errno, "cannot open %s", path);
    struct stat st;
    char *p = malloc(FM_LOSS_ROWS_BYTES_MAX + 1);
    enum fm_err err = !p                                           ? FM_ERR_MEMORY
                      : fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ? FM_ERR_IO
                                                                   : FM_ERR_OK;
    if (!err)
        err = fm_file_read_up_to(fd, p, FM_LOSS_ROWS_BYTES_MAX + 1, &got);
    close(fd);
    if (err) {
        free(p);
        return fm_error_set(e, err, "cannot read %s", path);
    }
    size_t kept = fm_min_size(got, FM_LOSS_ROWS_BYTES_MAX);
    while (kept > 0 && p[kept - 1] != '\n') /* whole lines */
        kept--;
    tame(p, kept);
    *whole = kept == got;
    *text = p;
    *n = kept;
    return FM_ERR_OK;
}

/* -------- files -------- */

/* A name that came over the wire is part of it. */
static bool name_file(const struct fm_loss_store *s, const struct fm_loss *l, char out[PATH_MAX])
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    if (l->node[0] == '\0' || l->node[0] == '.' || strspn(l->node, good) != strlen(l->node))
        return false;
    int n = snprintf(out, PATH_MAX, "%s/" PREFIX "%s-%u-%X-%X", s->folder, l->node, l->timeline.n,
                     (unsigned)(l->fork.n >> 32), (unsigned)(l->fork.n & UINT32_MAX));
    return n > 0 && n < PATH_MAX;
}

enum fm_err fm_loss_store_get(const struct fm_loss_store *s, const struct fm_loss *l, char **text,
                              size_t *n, struct fm_error *e)
{
    char path[PATH_MAX];
    *text = NULL;
    if (l->rows_bytes == 0 || !name_file(s, l, path))
        return fm_error_set(e, FM_ERR_NOT_FOUND, "no rows are kept");
    enum fm_err err = fm_file_read(path, FM_LOSS_ROWS_BYTES_MAX, text, n, e);
    if (err || is_signed(l, fm_str(*text, *n)))
        return err;
    free(*text);
    *text = NULL;
    return fm_error_set(e, FM_ERR_NOT_FOUND, "%s is of something else", path);
}

static void hold(struct fm_loss_store *s, uint64_t sum)
{
    if (s->n == FM_LOSSES_MAX) /* of items that have gone; at worst one is asked for again */
        s->n = 0;
    s->held[s->n++] = sum;
}

static bool is_of_an_item(const struct fm_loss_store *s, const char *name,
                          const struct fm_losses *items)
{
    char path[PATH_MAX];
    for (unsigned i = 0; i < fm_losses_count(items); i++)
        if (name_file(s, fm_losses_at(items, i), path) && strcmp(strrchr(path, '/') + 1, name) == 0)
            return true;
    return false;
}

/* Items make room for others when they are closed; their files stay until the next start. */
static void remove_others(const struct fm_loss_store *s, const struct fm_losses *items)
{
    DIR *d = opendir(s->folder);
    for (struct dirent *x; d && (x = readdir(d));)
        if (strncmp(x->d_name, PREFIX, sizeof PREFIX - 1) == 0 &&
            !is_of_an_item(s, x->d_name, items))
            (void)unlinkat(dirfd(d), x->d_name, 0);
    if (d)
        closedir(d);
}

void fm_loss_store_open(struct fm_loss_store *s, const char *folder, const struct fm_losses *items)
{
    *s = (struct fm_loss_store){.n = 0};
    FM_ASSERT(strlen(folder) < sizeof s->folder);
    memcpy(s->folder, folder, strlen(folder) + 1);
    for (unsigned i = 0; i < fm_losses_count(items); i++) {
        char *text;
        size_t n;
        struct fm_error e;
        if (fm_loss_store_get(s, fm_losses_at(items, i), &text, &n, &e) == FM_ERR_OK)
            hold(s, fm_losses_at(items, i)->rows_sum);
        free(text);
    }
    remove_others(s, items);
}

bool fm_loss_store_has(const struct fm_loss_store *s, const struct fm_loss *l)
{
    for (unsigned i = 0; i < s->n && l->rows_bytes; i++)
        if (s->held[i] == l->rows_sum)
            return true;
    return l->rows_bytes == 0;
}

void fm_loss_store_close(struct fm_loss_store *s)
{
    fm_scribe_free(s->pen);
    s->pen = NULL;
}

/* What came of what was being written. */
static enum fm_err put_down(struct fm_loss_store *s, enum fm_err err)
{
    if (err == FM_ERR_TIMEOUT)
        return err;
    fm_loss_store_close(s);
    if (!err)
        hold(s, s->writes);
    return err;
}

enum fm_err fm_loss_store_put(struct fm_loss_store *s, const struct fm_loss *l, struct fm_str text,
                              struct fm_error *e)
{
    char path[PATH_MAX];
    if (!is_signed(l, text) || text.n == 0)
        return fm_error_set(e, FM_ERR_INVALID, "these are not the rows of that item");
    if (!name_file(s, l, path))
        return fm_error_set(e, FM_ERR_INVALID, "`%.64s` cannot be the name of a file", l->node);
    enum fm_err err = FM_ERR_OK;
    if (s->pen)
        err = put_down(s, fm_scribe_look(s->pen, e));
    if (err == FM_ERR_TIMEOUT || fm_loss_store_has(s, l))
        return err;
    s->writes = l->rows_sum;
    err = fm_scribe_new(&s->pen, path, e);
    return err ? err : put_down(s, fm_scribe_write(s->pen, text, e));
}

/* -------- for people -------- */

struct reader {
    json_t *list;        /* of transactions */
    json_t *transaction; /* that goes on; borrowed from the list */
    json_t *keys;        /* of relations of the present database: names as SQL quotes them */
    char *room;          /* for a text that is no longer than all of them */
    size_t room_n;
    struct fm_str database;
};

static json_t *text_json(struct fm_str s)
{
    json_t *o = json_stringn(s.p ? s.p : "", s.n);
    return o ? o : json_string("?"); /* a field that was cut inside of a character */
}

static json_t *field_json(const struct reader *r, struct fm_str field)
{
    struct fm_buf b = fm_buf(r->room, r->room_n);
    fm_pg_field_write(&b, field);
    return text_json(fm_buf_str(&b));
}

/* A name without the quotes of SQL. */
static void set_named(json_t *o, struct fm_str name, json_t *value)
{
    char key[256];
    struct fm_buf b = fm_buf(key, sizeof key - 1);
    bool quoted = name.n > 1 && name.p[0] == '"';
    for (size_t i = quoted; i < name.n - quoted; i++) {
        fm_buf_ch(&b, name.p[i]);
        if (quoted && name.p[i] == '"')
            i++;
    }
    key[b.n] = '\0';
    if (json_object_set_new(o, key, value) < 0) /* cut inside of a character */
        json_object_set_new(o, "?", json_string("?"));
}

/* Columns into `all`, and those by which the row is known into `key`. What is left of the text is
 * what cannot be understood. */
static struct fm_str add_columns(struct fm_str text, struct fm_str keys, json_t *all, json_t *key)
{
    struct fm_pg_column c;
    char *room = malloc(text.n + 1);
    while (room && fm_pg_column_next(&text, &c)) {
        struct fm_buf b = fm_buf(room, c.value.n);
        fm_pg_value_write(&b, &c);
        json_t *v = c.form == FM_PG_NULL ? json_null() : text_json(fm_buf_str(&b));
        if (c.form == FM_PG_UNCHANGED) {
            json_decref(v);
            continue;
        }
        if (fm_pg_names_have(keys, c.name))
            set_named(key, c.name, json_incref(v));
        set_named(all, c.name, v);
    }
    free(room);
    return text;
}

static json_t *change_json(const struct reader *r, const struct fm_pg_word *w, struct fm_str text)
{
    json_t *relation = text_json(w->relation);
    const char *of = json_string_value(json_object_get(r->keys, json_string_value(relation)));
    struct fm_str keys = of && of[0] ? fm_str_z(of) : fm_str(NULL, 0);
    json_t *o = json_pack("{s:o,s:s}", "relation", relation, "op", fm_pg_word_name(w->kind));
    json_t *now = json_object(), *key = json_object(), *old = json_object();
    struct fm_str left = add_columns(w->columns, keys, now, key);
    if (w->old.n) {
        json_object_clear(key); /* as it was known before */
        struct fm_str rest = add_columns(w->old, keys, old, key);
        left = rest.n ? rest : left;
    }
    bool was = w->kind == FM_PG_WORD_DELETE;
    bool nothing = fm_str_eqz(left, " (no-tuple-data)") || fm_str_eqz(left, " (no-flags)");
    json_object_set_new(o, "key", json_object_size(key) ? json_incref(key) : json_null());
    json_object_set_new(o, "new", !was && json_object_size(now) ? json_incref(now) : json_null());
    if (was || w->old.n)
        json_object_set_new(o, "old", json_incref(was ? now : old));
    if (left.n && !nothing)
        json_object_set_new(o, "text", text_json(text));
    json_decref(now);
    json_decref(key);
    json_decref(old);
    return o;
}

static void begin(struct reader *r, struct fm_str xid)
{
    r->transaction = json_pack("{s:o,s:o,s:n,s:n,s:[]}", "database", field_json(r, r->database),
                               "xid", text_json(xid), "committed_at", "commit_lsn", "changes");
    json_array_append_new(r->list, r->transaction);
}

static void take_word(struct reader *r, const struct fm_pg_line *line)
{
    struct fm_buf b = fm_buf(r->room + r->room_n / 2, r->room_n / 2);
    struct fm_pg_word w;
    fm_pg_field_write(&b, line->field[2]);
    fm_pg_word_parse(fm_buf_str(&b), &w);
    bool begins = w.kind == FM_PG_WORD_BEGIN;
    if (begins || !r->transaction)
        begin(r, line->field[0]);
    if (begins || !r->transaction)
        return;
    if (w.kind == FM_PG_WORD_COMMIT) {
        json_object_set_new(r->transaction, "committed_at", text_json(w.at));
        json_object_set_new(r->transaction, "commit_lsn", text_json(line->field[1]));
        r->transaction = NULL;
        return;
    }
    json_t *o = w.kind == FM_PG_WORD_OTHER ? json_pack("{s:s,s:o}", "op", fm_pg_word_name(w.kind),
                                                       "text", text_json(fm_buf_str(&b)))
                                           : change_json(r, &w, fm_buf_str(&b));
    json_array_append_new(json_object_get(r->transaction, "changes"), o);
}

static void take_keys(struct reader *r, struct fm_str relation, struct fm_str columns)
{
    json_t *name = field_json(r, relation);
    if (json_string_value(name))
        json_object_set_new(r->keys, json_string_value(name), field_json(r, columns));
    json_decref(name);
}

static void take_line(struct reader *r, struct fm_str text)
{
    struct fm_pg_line line;
    if (!fm_pg_line_parse(text, &line)) {
        json_array_append_new(r->list, json_pack("{s:o}", "text", text_json(text)));
        return;
    }
    switch (line.kind) {
    case 'D':
        r->database = line.field[0];
        r->transaction = NULL;
        json_object_clear(r->keys);
        return;
    case 'K':
        take_keys(r, line.field[0], line.field[1]);
        return;
    case 'C':
        take_word(r, &line);
        return;
    default: /* sums: the item has them */
        return;
    }
}

json_t *fm_loss_rows_json(struct fm_str text)
{
    size_t half = text.n + 1;
    struct reader r = {
        .list = json_array(), .keys = json_object(), .room = malloc(2 * half), .room_n = 2 * half};
    while (r.room && text.n) {
        struct fm_str line = fm_str_cut(text, '\n', &text);
        if (line.n)
            take_line(&r, line);
    }
    free(r.room);
    json_decref(r.keys);
    return r.list;
}
