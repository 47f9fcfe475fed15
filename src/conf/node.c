/* YAML to nodes: see the header. A recursive descent over libyaml's events, as deep as
 * FM_NODE_DEPTH_MAX. Keeps the invariant that a node is in the tree whole or as FM_NODE_BAD with
 * its error in the report. It gives no meaning to any key. */
#include "conf/node.h"

#include "base/assert.h"
#include "conf/syntax.h"

#include <stdio.h>

struct reader {
    struct fm_load *l;
    const struct fm_source *src;
    yaml_parser_t yaml;
    struct fm_conf_pos scalar; /* where the last one began; line 0 = none yet */
    bool folded;               /* and it went on over several lines without quotes */
};

struct fm_node *fm_node_get(const struct fm_node *map, struct fm_str key)
{
    if (!map || map->kind != FM_NODE_MAP)
        return NULL;
    for (struct fm_node *c = map->first; c; c = c->next)
        if (fm_str_eq(c->key, key))
            return c;
    return NULL;
}

struct fm_conf_pos fm_node_key_pos(const struct fm_node *n)
{
    return n->key.p ? n->key_pos : n->pos;
}

struct fm_node_path fm_node_path(const struct fm_node *n)
{
    struct fm_node_path path = {""};
    if (!n->parent)
        return path;
    path = fm_node_path(n->parent);
    size_t used = strlen(path.s);
    if (n->parent->kind == FM_NODE_MAP) {
        snprintf(path.s + used, sizeof path.s - used, "%s%s", used ? "." : "", FM_Q(n->key));
        return path;
    }
    unsigned i = 1;
    for (const struct fm_node *c = n->parent->first; c != n; c = c->next) {
        FM_ASSERT(c);
        i++;
    }
    snprintf(path.s + used, sizeof path.s - used, "[%u]", i);
    return path;
}

void fm_node_append(struct fm_node *parent, struct fm_node *child)
{
    FM_ASSERT(child != parent && (parent->kind != FM_NODE_SCALAR));
    FM_ASSERT(parent->kind != FM_NODE_MAP || child->key.p);
    FM_ASSERT(!parent->first == !parent->last);
    child->parent = parent;
    child->next = NULL;
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
    parent->n++;
}

void fm_node_remove(struct fm_node *child)
{
    struct fm_node *parent = child->parent, *before = NULL;
    FM_ASSERT(parent && parent->n > 0);
    for (struct fm_node *c = parent->first; c != child; c = c->next) {
        FM_ASSERT(c);
        before = c;
    }
    if (before)
        before->next = child->next;
    else
        parent->first = child->next;
    if (parent->last == child)
        parent->last = before;
    parent->n--;
    FM_ASSERT(!parent->n == !parent->first);
    child->parent = child->next = NULL;
}

bool fm_node_is_sound(const struct fm_node *n)
{
    if (n->kind == FM_NODE_BAD)
        return false;
    fm_node_each(child, n) if (!fm_node_is_sound(child)) return false;
    return true;
}

bool fm_node_is_null(const struct fm_node *n)
{
    return n->kind == FM_NODE_SCALAR && n->plain &&
           (n->text.n == 0 || fm_str_eqz(n->text, "~") || fm_str_eqz(n->text, "null") ||
            fm_str_eqz(n->text, "Null") || fm_str_eqz(n->text, "NULL"));
}

static struct fm_conf_pos at(const struct reader *r, yaml_mark_t mark)
{
    return (struct fm_conf_pos){r->src->file, (uint32_t)mark.line + 1, (uint32_t)mark.column + 1};
}

static struct fm_node *stop(struct reader *r, struct fm_conf_pos pos, const char *what,
                            const char *advice)
{
    fm_report_error(r->l->report, pos, "%s", what);
    fm_report_advice(r->l->report, "%s", advice);
    r->l->broken = true;
    return NULL;
}

/* The next event. That a text went on over several lines is told only if the syntax holds behind
 * it: else that was no text, and the syntax error says it better. */
static bool next(struct reader *r, yaml_event_t *e)
{
    if (!yaml_parser_parse(&r->yaml, e)) {
        fm_syntax_error(r->l, r->src, &r->yaml, r->scalar);
        r->l->broken = true;
        return false;
    }
    if (r->folded) {
        fm_report_error(r->l->report, r->scalar,
                        "a text without quotes goes on over several lines");
        fm_report_advice(r->l->report, "write it on one line or put quotes round it; or is there "
                                       "a `:` missing behind a key?");
    }
    r->folded = false;
    return true;
}

static struct fm_node *make(struct reader *r, enum fm_node_kind kind, const yaml_event_t *e)
{
    struct fm_conf_pos pos = at(r, e->start_mark);
    if (r->l->nnodes++ >= FM_NODES_MAX)
        return stop(r, pos, "the configuration has too many values",
                    "the bound is 100000 keys and list entries in all files");
    struct fm_node *n = fm_load_alloc(r->l, 1, sizeof *n);
    if (n) {
        n->kind = kind;
        n->pos = pos;
    } else {
        r->l->broken = true;
    }
    return n;
}

/* Anchors and tags, whatever carries them. */
static void refuse_marks(struct reader *r, struct fm_node *n, const char *anchor, const char *tag)
{
    if (anchor) {
        fm_report_error(r->l->report, n->pos, "`&%s` is an anchor, and Fulmar reads none",
                        FM_Q(fm_str_z(anchor)));
        fm_report_advice(r->l->report,
                         "write the value out where it is needed, or quote what begins with `&`");
        n->kind = FM_NODE_BAD;
    }
    if (tag) {
        static const struct fm_str usual = FM_STR_INIT("tag:yaml.org,2002:");
        struct fm_str name = fm_str_z(tag);
        bool is_usual = fm_str_starts(name, usual);
        name = is_usual ? fm_str(name.p + usual.n, name.n - usual.n) : name;
        fm_report_error(r->l->report, n->pos, "`%s%s` is a tag, and Fulmar reads none",
                        is_usual ? "!!" : "", FM_Q(name));
        fm_report_advice(r->l->report,
                         "leave it away: the key says the type; quote what begins with `!`");
        n->kind = FM_NODE_BAD;
    }
}

static struct fm_node *read_scalar(struct reader *r, const yaml_event_t *e)
{
    struct fm_node *n = make(r, FM_NODE_SCALAR, e);
    if (!n)
        return NULL;
    r->scalar = n->pos;
    n->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    n->text = fm_load_str(r->l, fm_str((const char *)e->data.scalar.value, e->data.scalar.length));
    if (!n->text.p) {
        r->l->broken = true;
        return NULL;
    }
    refuse_marks(r, n, (const char *)e->data.scalar.anchor, (const char *)e->data.scalar.tag);
    if (n->plain && e->end_mark.line > e->start_mark.line && n->text.n > 0) {
        r->folded = true;
        n->kind = FM_NODE_BAD;
    } else if (memchr(n->text.p, 0, n->text.n)) {
        fm_report_error(r->l->report, n->pos, "the text contains a zero byte");
        n->kind = FM_NODE_BAD;
    }
    return n;
}

static struct fm_node *read_alias(struct reader *r, const yaml_event_t *e)
{
    struct fm_node *n = make(r, FM_NODE_BAD, e);
    if (!n)
        return NULL;
    struct fm_quoted name = fm_quoted(fm_str_z((const char *)e->data.alias.anchor));
    fm_report_error(r->l->report, n->pos, "`*%s` is an alias, and Fulmar reads none", name.s);
    fm_report_advice(r->l->report, "for the text itself write \"*%s\" with quotes", name.s);
    return n;
}

static struct fm_node *read_node(struct reader *r, yaml_event_t *e, unsigned depth);

static struct fm_node *read_list(struct reader *r, const yaml_event_t *start, unsigned depth)
{
    struct fm_node *list = make(r, FM_NODE_LIST, start);
    if (!list)
        return NULL;
    refuse_marks(r, list, (const char *)start->data.sequence_start.anchor,
                 (const char *)start->data.sequence_start.tag);
    for (;;) {
        yaml_event_t e;
        if (!next(r, &e))
            return NULL;
        if (e.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&e);
            return list;
        }
        struct fm_node *item = read_node(r, &e, depth);
        if (!item)
            return NULL;
        if (list->n >= FM_NODE_CHILDREN_MAX)
            return stop(r, item->pos, "the list is too long", "the bound is 2048 entries");
        fm_node_append(list, item);
    }
}

/* Is the key usable? Says why not. */
static bool check_key(struct reader *r, const struct fm_node *map, const struct fm_node *key)
{
    if (key->kind == FM_NODE_BAD)
        return false;
    struct fm_conf_report *report = r->l->report;
    if (key->kind != FM_NODE_SCALAR) {
        fm_report_error(report, key->pos, "a key must be a name, and here stands a %s",
                        key->kind == FM_NODE_MAP ? "map" : "list");
        fm_report_advice(report, "quote what begins with `{` or `[`");
        return false;
    }
    if (fm_node_is_null(key)) {
        fm_report_error(report, key->pos, "the name of the key is missing");
        fm_report_advice(report, "write `key: value`");
        return false;
    }
    const struct fm_node *first = fm_node_get(map, key->text);
    if (first) {
        fm_report_error(report, key->pos, "the key `%s` stands twice in the same map",
                        FM_Q(key->text));
        fm_report_advice(report, "the first is in line %u; keep one of them", first->key_pos.line);
        return false;
    }
    return true;
}

/* One `key: value` of the map; false where reading must stop. */
static bool read_pair(struct reader *r, struct fm_node *map, yaml_event_t *e, unsigned depth)
{
    struct fm_node *key = read_node(r, e, depth);
    if (!key)
        return false;
    bool usable = check_key(r, map, key);
    yaml_event_t v;
    if (!next(r, &v))
        return false;
    struct fm_node *value = read_node(r, &v, depth);
    if (!value)
        return false;
    if (!usable)
        return true;
    if (map->n >= FM_NODE_CHILDREN_MAX) {
        stop(r, key->pos, "the map has too many keys", "the bound is 2048 keys");
        return false;
    }
    value->key = key->text;
    value->key_pos = key->pos;
    fm_node_append(map, value);
    return true;
}

static struct fm_node *read_map(struct reader *r, const yaml_event_t *start, unsigned depth)
{
    struct fm_node *map = make(r, FM_NODE_MAP, start);
    if (!map)
        return NULL;
    refuse_marks(r, map, (const char *)start->data.mapping_start.anchor,
                 (const char *)start->data.mapping_start.tag);
    for (;;) {
        yaml_event_t e;
        if (!next(r, &e))
            return NULL;
        if (e.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&e);
            return map;
        }
        if (!read_pair(r, map, &e, depth))
            return NULL;
    }
}

/* Takes over the event. NULL where reading must stop. */
static struct fm_node *read_node(struct reader *r, yaml_event_t *e, unsigned depth)
{
    struct fm_node *n = NULL;
    FM_ASSERT(depth <= FM_NODE_DEPTH_MAX);
    if (depth == FM_NODE_DEPTH_MAX)
        stop(r, at(r, e->start_mark), "maps and lists stand too deep in each other",
             "the bound is 24 levels, and no key of Fulmar needs as many");
    else if (e->type == YAML_SCALAR_EVENT)
        n = read_scalar(r, e);
    else if (e->type == YAML_ALIAS_EVENT)
        n = read_alias(r, e);
    else if (e->type == YAML_SEQUENCE_START_EVENT)
        n = read_list(r, e, depth + 1);
    else if (e->type == YAML_MAPPING_START_EVENT)
        n = read_map(r, e, depth + 1);
    else
        stop(r, at(r, e->start_mark), "a value is missing here", "write `key: value`");
    yaml_event_delete(e);
    return n;
}

/* The next event of the frame round the document; its type, or YAML_NO_EVENT at a syntax error. */
static yaml_event_type_t frame(struct reader *r, struct fm_conf_pos *pos)
{
    yaml_event_t e;
    if (!next(r, &e))
        return YAML_NO_EVENT;
    yaml_event_type_t type = e.type;
    *pos = at(r, e.start_mark);
    if (type == YAML_DOCUMENT_START_EVENT &&
        (e.data.document_start.version_directive ||
         e.data.document_start.tag_directives.start != e.data.document_start.tag_directives.end)) {
        stop(r, *pos, "a `%` directive, and Fulmar reads none", "delete it");
        type = YAML_NO_EVENT;
    }
    yaml_event_delete(&e);
    return type;
}

static struct fm_node *read_document(struct reader *r)
{
    struct fm_conf_pos pos = {r->src->file, 1, 1};
    if (frame(r, &pos) != YAML_STREAM_START_EVENT)
        return NULL;
    yaml_event_type_t type = frame(r, &pos);
    if (type == YAML_STREAM_END_EVENT)
        return stop(r, (struct fm_conf_pos){r->src->file, 1, 1}, "the file is empty",
                    "the smallest configuration has `fulmar`, `service`, `edge`, `regions` and "
                    "`contexts`");
    yaml_event_t e;
    if (type != YAML_DOCUMENT_START_EVENT || !next(r, &e))
        return NULL;
    struct fm_node *root = read_node(r, &e, 0);
    if (!root || frame(r, &pos) != YAML_DOCUMENT_END_EVENT)
        return NULL;
    type = frame(r, &pos);
    if (type == YAML_DOCUMENT_START_EVENT)
        return stop(r, pos, "a second document begins here", "a file holds one: delete the `---`");
    if (type != YAML_STREAM_END_EVENT)
        return NULL;
    if (root->kind != FM_NODE_MAP && root->kind != FM_NODE_BAD)
        return stop(r, root->pos, "the file must be a map of keys", "begin with `fulmar: 1`");
    return root;
}

struct fm_node *fm_node_read(struct fm_load *l, const struct fm_source *src)
{
    struct reader r = {.l = l, .src = src};
    FM_ASSERT(src->file && src->text.p);
    if (!yaml_parser_initialize(&r.yaml)) {
        fm_report_error(l->report, (struct fm_conf_pos){src->file, 1, 1}, "out of memory");
        l->broken = true;
        return NULL;
    }
    yaml_parser_set_encoding(&r.yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.yaml, (const unsigned char *)src->text.p, src->text.n);
    struct fm_node *root = read_document(&r);
    yaml_parser_delete(&r.yaml);
    FM_ASSERT(root || l->broken);
    return root;
}
