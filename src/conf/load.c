/* fm_conf_load and fm_conf_parse: the stages in their order, see load.h. Keeps the invariant that a
 * caller gets a configuration only if the report has no error; fm_conf_load_state gives no more
 * than one key. */
#include "conf/load.h"

#include "base/assert.h"
#include "conf/decode.h"

#include <stdlib.h>

enum { ARENA_BYTES_MAX = 256 << 20 };

void *fm_load_alloc(struct fm_load *l, size_t count, size_t size)
{
    FM_ASSERT(size > 0);
    void *p = fm_arena_array(l->arena, count, size);
    l->oom |= !p;
    return p;
}

struct fm_str fm_load_str(struct fm_load *l, struct fm_str s)
{
    struct fm_str copy = fm_arena_str(l->arena, s);
    l->oom |= !copy.p;
    return copy;
}

void fm_decode_nothing(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                       void *at)
{
    (void)l, (void)row, (void)n, (void)at;
}

void fm_decode_log_path(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                        void *at)
{
    struct fm_schema_row file = *row;
    file.decode = NULL;
    if (n->kind == FM_NODE_SCALAR && fm_str_eqz(n->text, "stdout"))
        ((struct fm_conf_edge *)at)->access_log.path = FM_STR("stdout");
    else
        fm_decode_value(l, &file, n, at);
}

static struct fm_root *new_root(void)
{
    struct fm_root *root = calloc(1, sizeof *root);
    if (root)
        fm_arena_init(&root->conf.arena, NULL, 0, ARENA_BYTES_MAX);
    return root;
}

void fm_load_decode(struct fm_load *l)
{
    FM_ASSERT(l->root->node->kind == FM_NODE_MAP && !l->broken);
    fm_decode_defaults(l, &fm_schema_root, l->root);
    fm_decode_section(l, &fm_schema_root, l->root->node, l->root);
    fm_validate(l);
}

struct fm_conf *fm_load_finish(struct fm_load *l, size_t first, size_t before)
{
    FM_ASSERT(first <= l->report->n && before <= l->report->errors);
    struct fm_conf_pos nowhere = {"", 0, 0};
    if (l->oom)
        fm_report_error(l->report, nowhere, "out of memory");
    fm_report_finish(l->report, first, l->root->sources);
    if (l->report->errors == before) {
        FM_ASSERT(l->root->node && !l->broken && !l->oom);
        fm_load_assert_whole(l->conf);
        return l->conf;
    }
    fm_conf_free(l->conf);
    return NULL;
}

bool fm_load_begin(struct fm_load *l, struct fm_conf_report *report, struct fm_str name)
{
    struct fm_conf_pos nowhere = {"", 0, 0};
    struct fm_root *root = new_root();
    if (!root) {
        fm_report_error(report, nowhere, "out of memory");
        return false;
    }
    *l = (struct fm_load){.root = root,
                          .conf = &root->conf,
                          .arena = &root->conf.arena,
                          .report = report,
                          .source_end = &root->sources};
    root->conf.file = fm_load_str(l, name);
    if (root->conf.file.p)
        return true;
    fm_report_error(report, nowhere, "out of memory");
    fm_conf_free(&root->conf);
    return false;
}

struct fm_conf *fm_conf_load(const char *path, struct fm_conf_report *report)
{
    struct fm_load l;
    struct fm_conf_pos from = {NULL, 0, 0};
    size_t first = fm_report_begin(report), before = report->errors;
    if (!fm_load_begin(&l, report, fm_str_z(path)))
        return NULL;
    l.root->node = fm_load_file(&l, l.conf->file.p, from, NULL, 0);
    if (l.root->node && !l.broken)
        fm_load_decode(&l);
    return fm_load_finish(&l, first, before);
}

struct fm_conf *fm_conf_load_state(const char *path)
{
    struct fm_conf_report unheard;
    struct fm_conf_pos from = {NULL, 0, 0};
    struct fm_load l;
    fm_conf_report_init(&unheard);
    bool started = fm_load_begin(&l, &unheard, fm_str_z(path));
    if (started) {
        const struct fm_node *root = fm_load_file(&l, l.conf->file.p, from, NULL, 0);
        const struct fm_node *n = fm_node_getz(root, "state");
        if (n)
            fm_decode_value(&l, fm_schema_find(&fm_schema_root, n->key), n, l.root);
    }
    fm_conf_report_deinit(&unheard);
    return started ? l.conf : NULL;
}

struct fm_conf *fm_conf_parse(struct fm_str text, const char *name, struct fm_conf_report *report)
{
    struct fm_load l;
    size_t first = fm_report_begin(report), before = report->errors;
    if (!fm_load_begin(&l, report, fm_str_z(name)))
        return NULL;
    l.from_memory = true;
    struct fm_source *s = fm_load_alloc(&l, 1, sizeof *s);
    struct fm_conf_pos pos = {l.conf->file.p, 1, 1};
    if (!s)
        return fm_load_finish(&l, first, before);
    s->file = l.conf->file.p;
    s->text = fm_load_str(&l, text);
    l.root->sources = s;
    if (text.n > FM_SOURCE_BYTES_MAX)
        fm_report_error(report, pos, "the text is larger than %d MiB", FM_SOURCE_BYTES_MAX >> 20);
    else if (s->text.p && fm_source_check(s, report))
        l.root->node = fm_node_read(&l, s);
    struct fm_node *include = fm_node_getz(l.root->node, "include");
    if (include)
        fm_include(&l, l.root->node, include, 0);
    if (l.root->node && !l.broken && l.root->node->kind == FM_NODE_MAP)
        fm_load_decode(&l);
    return fm_load_finish(&l, first, before);
}

void fm_conf_free(struct fm_conf *c)
{
    if (!c)
        return;
    fm_arena_deinit(&c->arena);
    free(c); /* the first member of struct fm_root */
}
