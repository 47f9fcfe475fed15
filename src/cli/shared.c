/* fulmar config diff, fulmar config apply: this file against what hosts agree upon. What may be
 * applied is judged by the agent that takes the order; here it is only shown, key by key. */
#include "conf/shared.h"
#include "base/assert.h"
#include "base/buf.h"
#include "cli/agents.h"
#include "cli/order.h"
#include "cli/show.h"

#include <stdio.h>
#include <stdlib.h>

enum { KEY_ROOM = 512, SHOWN_MAX = 60, REPORT_MAX = 256 * 1024 };

/* Both sides, and in what they differ. */
struct sides {
    const char *command;
    struct fm_conf *conf;
    json_t *file, *agreed; /* the shared documents */
    json_t *doc;           /* what the agent answered */
    char digest[FM_CONF_DIGEST_ROOM];
    json_t *keys; /* a list of {key, file, agreed} */
};

static void free_sides(struct sides *s)
{
    fm_conf_free(s->conf);
    json_decref(s->file);
    json_decref(s->doc);
    json_decref(s->keys);
}

/* -------- in what they differ -------- */

static void compare(json_t *keys, const char *at, json_t *file, json_t *agreed);

/* Members of `a` in the order of their names, as in both documents. */
static void compare_members(json_t *keys, const char *at, json_t *file, json_t *agreed)
{
    json_t *all = json_object();
    const char *name;
    json_t *unused;
    (void)json_object_update(all, agreed);
    (void)json_object_update(all, file);
    json_object_foreach(all, name, unused)
    {
        char key[KEY_ROOM];
        snprintf(key, sizeof key, "%s%s%s", at, at[0] ? "." : "", name);
        compare(keys, key, json_object_get(file, name), json_object_get(agreed, name));
    }
    json_decref(all);
}

static void compare(json_t *keys, const char *at, json_t *file, json_t *agreed)
{
    if (json_is_object(file) && json_is_object(agreed)) {
        compare_members(keys, at, file, agreed);
        return;
    }
    if (file && agreed && json_equal(file, agreed))
        return;
    FM_ASSERT(file || agreed);
    json_array_append_new(keys,
                          json_pack("{s:s,s:O?,s:O?}", "key", at, "file", file, "agreed", agreed));
}

/* -------- the two sides -------- */

/* The file of --config, whole and good. */
static int read_file(const struct fm_args *a, struct sides *s)
{
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    s->conf = fm_conf_load(a->config, &r);
    char *mem = malloc(REPORT_MAX);
    struct fm_buf b = fm_buf(mem, mem ? REPORT_MAX : 0);
    if (!s->conf && mem) {
        fm_conf_report_print(&r, &b);
        fwrite(b.p, 1, b.n, stderr);
    }
    fm_conf_report_deinit(&r);
    b.n = 0;
    b.full = false;
    bool good = s->conf && mem && fm_conf_shared_write(s->conf, &b) == FM_ERR_OK;
    if (good) {
        fm_conf_shared_digest(fm_buf_str(&b), s->digest);
        s->file = json_loadb(b.p, b.n, 0, NULL);
    }
    free(mem);
    if (good && s->file)
        return FM_EXIT_OK;
    return fm_print_error(a, s->command, FM_EXIT_CONFIG,
                          s->conf ? "what hosts have to agree upon is too long"
                                  : "the file has errors",
                          "`fulmar config check` says all of them");
}

static int ask(const struct fm_args *a, struct sides *s)
{
    struct fm_agents *g;
    struct fm_reply r = {0};
    int code = fm_agents_open(&g, a, s->command, FM_WHOM_ORDER);
    if (code)
        return code;
    enum fm_agents_end end = fm_agents_get(g, "/config/shared", 0, &r);
    if (end != FM_AGENTS_ANSWERED)
        code = fm_agents_fail(g, end);
    else if (r.status != 200 ||
             strcmp(fm_show_text(r.doc, "schema"), "fulmar.config-shared/1") != 0)
        code = fm_order_unwanted(a, s->command, &r);
    else
        s->doc = json_incref(r.doc);
    json_decref(r.doc);
    fm_agents_close(g);
    return code;
}

static int find_sides(const struct fm_args *a, struct sides *s)
{
    int code = read_file(a, s);
    if (code)
        return code;
    if (!fm_conf_is_shared(s->conf))
        return fm_print_error(
            a, s->command, FM_EXIT_CONFIG,
            "no context of this file has cells: there is nothing to agree upon",
            "each host goes by its own file; bring it to all of them, and reload");
    code = ask(a, s);
    if (code)
        return code;
    s->agreed = json_object_get(json_object_get(s->doc, "agreed"), "shared");
    if (!json_is_object(s->agreed))
        return fm_print_error(a, s->command, FM_EXIT_NO_QUORUM,
                              "the agent knows of nothing that was agreed yet",
                              "try again when its coordination answers");
    s->keys = json_array();
    compare(s->keys, "", s->file, s->agreed);
    return FM_EXIT_OK;
}

/* -------- printing -------- */

static long long generation_of(const struct sides *s)
{
    return fm_show_number(json_object_get(s->doc, "agreed"), "generation");
}

/* A value for a column; "-" where the side has none. */
static void shown(const json_t *v, char out[SHOWN_MAX + 1])
{
    char *text = json_is_string(v) ? strdup(json_string_value(v))
                 : v               ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY)
                                   : NULL;
    bool cut = text && strlen(text) > SHOWN_MAX;
    snprintf(out, SHOWN_MAX + 1, "%.*s%s", cut ? SHOWN_MAX - 3 : SHOWN_MAX, text ? text : "-",
             cut ? "..." : "");
    fm_text_tame(out);
    free(text);
}

static void print_keys(const struct sides *s)
{
    size_t i;
    const json_t *one;
    char file[SHOWN_MAX + 1], agreed[SHOWN_MAX + 1];
    printf("%-40s %-20s %s\n", "KEY", "AGREED", "FILE");
    json_array_foreach(s->keys, i, one)
    {
        shown(json_object_get(one, "file"), file);
        shown(json_object_get(one, "agreed"), agreed);
        printf("%-40s %-20s %s\n", fm_show_text(one, "key"), agreed, file);
    }
}

static void print_table(const struct fm_args *a, const struct sides *s)
{
    json_t *agreed = json_object_get(s->doc, "agreed");
    fm_show_tame(agreed);
    printf("service %.*s, generation %lld of what is agreed (%.12s), since %s by %s: %s\n",
           FM_STR_ARG(s->conf->service), generation_of(s), fm_show_text(agreed, "digest"),
           fm_show_text(agreed, "at"), fm_show_text(agreed, "by"), fm_show_text(agreed, "reason"));
    size_t n = json_array_size(s->keys);
    if (n == 0) {
        printf("%s says the same\n", a->config);
        return;
    }
    printf("%s differs in %zu key%s:\n", a->config, n, n == 1 ? "" : "s");
    print_keys(s);
}

static void print_diff(const struct fm_args *a, const struct sides *s)
{
    const json_t *agreed = json_object_get(s->doc, "agreed");
    bool differs = json_array_size(s->keys) > 0;
    if (a->output == FM_OUTPUT_TABLE) {
        print_table(a, s);
        return;
    }
    json_t *doc = json_pack(
        "{s:s,s:s%,s:s,s:s,s:s,s:I,s:s,s:s,s:s,s:s,s:b,s:O}", "schema", "fulmar.config-diff/1",
        "service", s->conf->service.p, s->conf->service.n, "file", a->config, "file_digest",
        s->digest, "asked", fm_show_text(s->doc, "host"), "generation",
        (json_int_t)generation_of(s), "agreed_digest", fm_show_text(agreed, "digest"), "by",
        fm_show_text(agreed, "by"), "reason", fm_show_text(agreed, "reason"), "at",
        fm_show_text(agreed, "at"), "differs", (int)differs, "keys", s->keys);
    fm_print_document(doc, a->output);
    json_decref(doc);
}

/* -------- the commands -------- */

int fm_cmd_config_diff(const struct fm_args *a)
{
    struct sides s = {.command = "config diff"};
    int code = find_sides(a, &s);
    if (!code) {
        print_diff(a, &s);
        code = json_array_size(s.keys) ? FM_EXIT_DIFFERS : FM_EXIT_OK;
    }
    free_sides(&s);
    return code;
}

/* The order replaces the generation that was just looked at, or the one that the user names: not
 * one that somebody else has made meanwhile. */
int fm_cmd_config_apply(const struct fm_args *a)
{
    struct sides s = {.command = "config apply"};
    struct fm_args order = *a;
    int code = find_sides(a, &s);
    if (!code && json_array_size(s.keys) == 0) {
        print_diff(a, &s);
        free_sides(&s);
        return FM_EXIT_OK;
    }
    if (code) {
        free_sides(&s);
        return code;
    }
    if (a->output == FM_OUTPUT_TABLE)
        print_keys(&s);
    json_t *body =
        json_pack("{s:O,s:I}", "shared", s.file, "expect_revision",
                  a->expect_text ? (json_int_t)a->expect : (json_int_t)generation_of(&s));
    order.expect_text = NULL; /* that is the generation of views, and this one of what is agreed */
    free_sides(&s);
    return fm_order(&order, "config apply", "config", body, false);
}
