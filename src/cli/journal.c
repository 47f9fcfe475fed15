/* fulmar journal: the commands that a region accepted, read from its file beside the daemon. */
#include "journal/journal.h"
#include "base/time.h"
#include "cli/cli.h"
#include "conf/conf.h"
#include "journal/look.h"

#include <limits.h>
#include <stdio.h>

/* -------- which journal -------- */

static int path_of(const struct fm_args *a, char *out, size_t n)
{
    if (a->file) {
        snprintf(out, n, "%s", a->file);
        return FM_EXIT_OK;
    }
    struct fm_conf_report r;
    struct fm_error e;
    fm_conf_report_init(&r);
    struct fm_conf *c = fm_conf_load(a->config, &r);
    if (!c) {
        char what[PATH_MAX + 256];
        snprintf(what, sizeof what, "cannot read %s: %s", a->config,
                 r.n ? r.finding[0].what : "unknown error");
        fm_conf_report_deinit(&r);
        return fm_print_error(a, "journal", FM_EXIT_CONFIG, what, "Or name a journal with --file.");
    }
    char host[256], dir[PATH_MAX];
    fm_cli_this_host(c, a, host, sizeof host);
    int h = fm_conf_find_host(c, fm_str_z(host)), code = FM_EXIT_OK;
    struct fm_str region = h >= 0 ? c->regions[c->hosts[h].region].name : FM_STR("");
    if (fm_conf_state_dir(c, fm_str_z(host), region, dir, sizeof dir, &e)) {
        code = fm_print_error(a, "journal", FM_EXIT_CONFIG, e.msg, NULL);
    } else {
        snprintf(out, n, "%s/" FM_JOURNAL_FILE, dir);
    }
    fm_conf_free(c);
    fm_conf_report_deinit(&r);
    return code;
}

static struct fm_journal_look *open_look(const struct fm_args *a, int *code)
{
    char path[PATH_MAX];
    struct fm_error e;
    *code = path_of(a, path, sizeof path);
    if (*code)
        return NULL;
    struct fm_journal_look *l = fm_journal_look_open(path, &e);
    if (!l) {
        *code = e.code == FM_ERR_NOT_FOUND ? FM_EXIT_UNREACHABLE : FM_EXIT_FAILED;
        (void)fm_print_error(a, "journal", *code, e.msg, NULL);
        return NULL;
    }
    if (!fm_journal_look_is_live(l))
        fprintf(stderr,
                "fulmar journal: no daemon has %s open: what is in flight there was cut off"
                " and will be unknown after the next start\n",
                path);
    return l;
}

/* -------- documents -------- */

static json_t *time_or_null(int64_t ms)
{
    char text[FM_RFC3339_LEN];
    if (ms <= 0)
        return json_null();
    fm_wall_format(text, ms * FM_NS_PER_MS);
    return json_string(text);
}

static json_t *number_or_null(uint64_t v, bool known)
{
    return known ? json_integer((json_int_t)v) : json_null();
}

static json_t *text_of(struct fm_str s)
{
    return json_stringn(s.n ? s.p : "", s.n);
}

static json_t *entry_json(const struct fm_journal_entry *e)
{
    bool done = e->state == FM_IDEM_DONE, kept = done && e->answer.kept;
    json_t *o = json_object();
    json_object_set_new(o, "seq", json_integer((json_int_t)e->seq));
    json_object_set_new(o, "context", text_of(e->context));
    json_object_set_new(o, "key", text_of(e->key));
    json_object_set_new(o, "state", json_string(fm_idem_known_name(e->state)));
    json_object_set_new(o, "cell", json_integer(e->cell));
    json_object_set_new(o, "epoch", number_or_null(e->epoch, e->state != FM_IDEM_QUEUED));
    json_object_set_new(o, "tries", json_integer(e->tries));
    json_object_set_new(o, "accepted_at", time_or_null(e->at_ms));
    json_object_set_new(o, "settled_at", time_or_null(e->settled_ms));
    json_object_set_new(o, "status", number_or_null(e->answer.status, done));
    json_object_set_new(o, "answer_bytes",
                        number_or_null(e->answer.head.n + e->answer.body.n, kept));
    return o;
}

static json_t *document(const struct fm_journal_look *l, json_t *entries)
{
    json_t *doc = json_object();
    json_object_set_new(doc, "schema", json_string("fulmar.journal/1"));
    json_object_set_new(doc, "service", text_of(fm_journal_look_service(l)));
    json_object_set_new(doc, "live", json_boolean(fm_journal_look_is_live(l)));
    json_object_set_new(doc, "entries", entries);
    return doc;
}

static int print(const struct fm_args *a, const struct fm_journal_look *l, json_t *entries)
{
    json_t *doc = document(l, entries);
    fm_print_document(doc, a->output);
    json_decref(doc);
    return FM_EXIT_OK;
}

/* -------- list -------- */

static void collect(const struct fm_journal_entry *e, void *user)
{
    json_array_append_new(user, entry_json(e));
}

static void print_row(const struct fm_journal_entry *e, void *user)
{
    char at[FM_RFC3339_LEN], status[8] = "-";
    (void)user;
    fm_wall_format(at, e->at_ms * FM_NS_PER_MS);
    if (e->answer.status)
        snprintf(status, sizeof status, "%u", e->answer.status);
    printf("%-23.23s %9llu  %-12.*s %5u %7llu %5u  %-9s %6s  %.*s\n", at,
           (unsigned long long)e->seq, FM_STR_ARG(e->context), e->cell,
           (unsigned long long)e->epoch, e->tries, fm_idem_known_name(e->state), status,
           FM_STR_ARG(e->key));
}

static bool state_of(const char *text, enum fm_idem_known *out)
{
    for (unsigned s = FM_IDEM_QUEUED; s <= FM_IDEM_DONE; s++) {
        if (strcmp(text, fm_idem_known_name((enum fm_idem_known)s)) != 0)
            continue;
        *out = (enum fm_idem_known)s;
        return true;
    }
    return false;
}

int fm_cmd_journal_list(const struct fm_args *a)
{
    struct fm_journal_filter f = {.context = fm_str_z(a->nargs ? a->arg[0] : NULL),
                                  .limit = a->limit};
    int code;
    if (a->state && !state_of(a->state, &f.state))
        return fm_usage("--state takes queued, in-flight, unknown or done, not `%s`", a->state);
    struct fm_journal_look *l = open_look(a, &code);
    if (!l)
        return code;
    struct fm_error e;
    bool table = a->output == FM_OUTPUT_TABLE;
    json_t *entries = json_array();
    if (table)
        printf("%-23s %9s  %-12s %5s %7s %5s  %-9s %6s  %s\n", "ACCEPTED (UTC)", "SEQ", "CONTEXT",
               "CELL", "EPOCH", "TRIES", "STATE", "STATUS", "KEY");
    if (fm_journal_look_list(l, &f, table ? print_row : collect, entries, &e)) {
        code = fm_print_error(a, "journal", FM_EXIT_FAILED, e.msg, NULL);
    }
    if (table || code)
        json_decref(entries);
    else
        code = print(a, l, entries);
    fm_journal_look_close(l);
    return code;
}

/* -------- show -------- */

static void collect_whole(const struct fm_journal_entry *e, void *user)
{
    json_t *o = entry_json(e);
    char hash[2 * FM_IDEM_HASH_LEN + 1];
    struct fm_buf b = fm_buf(hash, sizeof hash);
    fm_buf_hex(&b, e->hash.b, sizeof e->hash.b);
    json_object_set_new(o, "request_hash", text_of(fm_buf_str(&b)));
    json_t *head = e->answer.kept ? text_of(e->answer.head) : NULL;
    json_t *body = e->answer.kept ? text_of(e->answer.body) : NULL; /* NULL also if not UTF-8 */
    json_object_set_new(o, "head", head ? head : json_null());
    json_object_set_new(o, "body", body ? body : json_null());
    json_array_append_new(user, o);
}

static void print_pair(const char *name, const json_t *v)
{
    if (json_is_string(v))
        printf("%-13s %s\n", name, json_string_value(v));
    else if (json_is_integer(v))
        printf("%-13s %lld\n", name, (long long)json_integer_value(v));
    else
        printf("%-13s -\n", name);
}

static void print_whole(const json_t *entries)
{
    static const char *const lines[] = {"context",    "key",    "state",        "seq",
                                        "cell",       "epoch",  "tries",        "accepted_at",
                                        "settled_at", "status", "answer_bytes", "request_hash"};
    size_t i;
    json_t *e;
    json_array_foreach(entries, i, e)
    {
        if (i)
            putchar('\n');
        for (size_t k = 0; k < FM_COUNT(lines); k++)
            print_pair(lines[k], json_object_get(e, lines[k]));
        const char *head = json_string_value(json_object_get(e, "head"));
        const char *body = json_string_value(json_object_get(e, "body"));
        if (head || body)
            printf("\n%s\n%s\n", head ? head : "", body ? body : "");
    }
}

int fm_cmd_journal_show(const struct fm_args *a)
{
    int code;
    if (a->nargs != 2)
        return fm_usage("usage: fulmar journal show CONTEXT KEY");
    struct fm_journal_look *l = open_look(a, &code);
    if (!l)
        return code;
    struct fm_error e;
    json_t *entries = json_array();
    enum fm_err err = fm_journal_look_find(l, fm_str_z(a->arg[0]), fm_str_z(a->arg[1]),
                                           collect_whole, entries, &e);
    if (err)
        code = fm_print_error(
            a, "journal", err == FM_ERR_NOT_FOUND ? FM_EXIT_DIFFERS : FM_EXIT_FAILED, e.msg, NULL);
    else if (a->output != FM_OUTPUT_TABLE)
        code = print(a, l, json_incref(entries));
    else
        print_whole(entries);
    json_decref(entries);
    fm_journal_look_close(l);
    return code;
}
