/* Files and `include`: many files, one tree. Keeps the invariant that every value comes from
 * exactly one place: maps are joined, and a key that is set in two files is an error that names
 * both. No file is read twice, so includes cannot run in circles. */
#include "conf/load.h"

#include "base/assert.h"

#include <glob.h>

enum { INCLUDE_DEPTH_MAX = 4, MATCHES_MAX = FM_SOURCES_MAX };

struct fm_str fm_load_relative(struct fm_load *l, struct fm_conf_pos at, struct fm_str file)
{
    const char *slash = at.file ? strrchr(at.file, '/') : NULL;
    if (file.n == 0 || file.p[0] == '/' || !slash)
        return file;
    char *path = fm_arena_printf(l->arena, "%.*s%s", (int)(slash - at.file) + 1, at.file, file.p);
    l->oom |= !path;
    return fm_str_z(path);
}

/* `from` into `into`: maps are joined, everything else must be in one of them. */
static void merge(struct fm_load *l, struct fm_node *into, struct fm_node *from)
{
    struct fm_node *next;
    FM_ASSERT(into->kind == FM_NODE_MAP && from->kind == FM_NODE_MAP && into != from);
    for (struct fm_node *n = from->first; n; n = next) {
        next = n->next;
        struct fm_node *have = fm_node_get(into, n->key);
        if (!have) {
            fm_node_append(into, n);
        } else if (have->kind == FM_NODE_MAP && n->kind == FM_NODE_MAP) {
            merge(l, have, n);
        } else {
            fm_report_error(l->report, n->key_pos, "the key `%s` is set in two files",
                            fm_node_path(have).s);
            fm_report_advice(l->report, "it is also in %s:%u:%u; nothing overrides: keep one",
                             FM_Q(fm_str_z(have->key_pos.file)), have->key_pos.line,
                             have->key_pos.col);
        }
    }
}

/* Has this file been read already? */
static const struct fm_source *known(const struct fm_load *l, const struct fm_source *s)
{
    for (const struct fm_source *o = l->root->sources; o; o = o->next)
        if (o->dev == s->dev && o->ino == s->ino)
            return o;
    return NULL;
}

/* Say at the `include` (or at the file itself, where nobody included it) what is wrong. */
static struct fm_node *cannot(struct fm_load *l, const char *path, struct fm_conf_pos from,
                              const char *why)
{
    struct fm_conf_pos whole = {path, 0, 0};
    if (from.file)
        fm_report_error(l->report, from, "cannot include `%s`: %s", FM_Q(fm_str_z(path)), why);
    else
        fm_report_error(l->report, whole, "cannot read the configuration: %s", why);
    if (!from.file)
        fm_report_advice(l->report, "say which file it is: -c FILE, or $FULMAR_CONFIG");
    return NULL;
}

struct fm_node *fm_load_file(struct fm_load *l, const char *path, struct fm_conf_pos from,
                             struct fm_node *root, unsigned depth)
{
    struct fm_error e = {0};
    struct fm_source *s = fm_load_alloc(l, 1, sizeof *s);
    if (!s)
        return NULL;
    s->file = fm_load_str(l, fm_str_z(path)).p;
    s->from = from;
    if (l->nsources >= FM_SOURCES_MAX)
        return cannot(l, path, from, "there are more than 256 files");
    if (!s->file || fm_source_read(l->arena, path, s, &e) != FM_ERR_OK)
        return cannot(l, path, from, e.msg);
    FM_ASSERT(s->text.p && l->nsources < FM_SOURCES_MAX);
    const struct fm_source *before = known(l, s);
    if (before)
        return cannot(l, path, from,
                      before == l->root->sources ? "it is the file that is read already"
                                                 : "it is included twice");
    l->nbytes += s->text.n;
    if (l->nbytes > FM_SOURCE_TOTAL_MAX)
        return cannot(l, path, from, "all files together are larger than 16 MiB");
    l->nsources++;
    FM_ASSERT(!*l->source_end);
    *l->source_end = s;
    l->source_end = &s->next;
    if (!fm_source_check(s, l->report)) {
        l->broken = true;
        return NULL;
    }
    struct fm_node *n = fm_node_read(l, s);
    if (!n || n->kind != FM_NODE_MAP) {
        l->broken = true;
        return NULL;
    }
    struct fm_node *include = fm_node_getz(n, "include");
    if (include)
        fm_node_remove(include);
    if (root)
        merge(l, root, n);
    if (include)
        fm_include(l, root ? root : n, include, depth + 1);
    return n;
}

static bool has_wildcard(struct fm_str pattern)
{
    for (size_t i = 0; i < pattern.n; i++)
        if (strchr("*?[", pattern.p[i]))
            return true;
    return false;
}

/* The pattern as seen from its file; the folder of the file is taken literally. */
static char *full_pattern(struct fm_load *l, const struct fm_node *n)
{
    FM_ASSERT(n->text.n > 0 && n->pos.file);
    const char *slash = strrchr(n->pos.file, '/');
    size_t folder = slash ? (size_t)(slash - n->pos.file) + 1 : 0, used = 0;
    if (n->text.p[0] == '/')
        folder = 0;
    char *out = fm_load_alloc(l, folder * 2 + n->text.n + 1, 1);
    for (size_t i = 0; out && i < folder; i++) {
        if (strchr("*?[\\", n->pos.file[i]))
            out[used++] = '\\';
        out[used++] = n->pos.file[i];
    }
    if (out)
        memcpy(out + used, n->text.p, n->text.n);
    FM_ASSERT(used <= folder * 2);
    return out;
}

static void include_matches(struct fm_load *l, struct fm_node *root, const struct fm_node *n,
                            unsigned depth)
{
    char *pattern = full_pattern(l, n);
    glob_t found = {0};
    if (!pattern)
        return;
    int r = glob(pattern, 0, NULL, &found);
    if (r == GLOB_NOSPACE)
        fm_report_error(l->report, n->pos, "out of memory");
    if (r == 0 && found.gl_pathc > MATCHES_MAX)
        fm_report_error(l->report, n->pos, "`%s` matches more than %d files", FM_Q(n->text),
                        MATCHES_MAX);
    else
        for (size_t i = 0; r == 0 && i < found.gl_pathc; i++)
            fm_load_file(l, found.gl_pathv[i], n->pos, root, depth);
    globfree(&found);
}

static void include_one(struct fm_load *l, struct fm_node *root, const struct fm_node *n,
                        unsigned depth)
{
    if (n->kind == FM_NODE_BAD)
        return;
    if (n->kind != FM_NODE_SCALAR || n->text.n == 0 || fm_node_is_null(n) || n->text.n > 1024) {
        fm_report_error(l->report, n->pos, "an entry of `include` must be a path or a pattern");
        fm_report_advice(l->report, "write `include: [contexts/*.yaml]`");
    } else if (has_wildcard(n->text)) {
        include_matches(l, root, n, depth);
    } else {
        struct fm_str path = fm_load_relative(l, n->pos, n->text);
        if (path.p)
            fm_load_file(l, path.p, n->pos, root, depth);
    }
}

void fm_include(struct fm_load *l, struct fm_node *root, struct fm_node *of, unsigned depth)
{
    FM_ASSERT(root->kind == FM_NODE_MAP && !of->parent == !l->from_memory);
    if (of->kind == FM_NODE_BAD)
        return;
    if (l->from_memory) {
        fm_report_error(l->report, of->key_pos, "`include` is not possible here");
    } else if (depth > INCLUDE_DEPTH_MAX) {
        fm_report_error(l->report, of->key_pos, "files include each other more than %d deep",
                        INCLUDE_DEPTH_MAX);
        fm_report_advice(l->report, "include all of them from the first file");
    } else if (of->kind != FM_NODE_LIST || of->n > FM_CONF_LIST_MAX) {
        fm_report_error(l->report, of->pos,
                        "`include` must be a list of up to %d paths and patterns",
                        FM_CONF_LIST_MAX);
        fm_report_advice(l->report, "write `include: [contexts/*.yaml]`");
    } else {
        fm_node_each(n, of) include_one(l, root, n, depth);
    }
}
