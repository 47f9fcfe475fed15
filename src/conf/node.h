/* conf/node.h: what a YAML file says, as a tree, before anybody asks what it means.
 *
 * Strict: one document, no anchors, aliases, tags, directives, merge or complex keys, no key twice
 * in a map, no text without quotes over several lines. What breaks that is in the report and stands
 * in the tree as FM_NODE_BAD, which later stages pass over in silence. Depth, number of nodes and
 * length of maps are bounded. Nodes live in the arena of the configuration. */
#ifndef FM_CONF_NODE_H
#define FM_CONF_NODE_H

#include "conf/source.h"

enum fm_node_kind { FM_NODE_BAD, FM_NODE_SCALAR, FM_NODE_MAP, FM_NODE_LIST };

enum { FM_NODE_DEPTH_MAX = 24, FM_NODE_CHILDREN_MAX = 2048, FM_NODES_MAX = 100000 };

struct fm_node {
    enum fm_node_kind kind;
    bool plain; /* a scalar without quotes */
    uint32_t n; /* children */
    struct fm_conf_pos pos;
    struct fm_str text; /* of a scalar, terminated */
    struct fm_str key;  /* of a value in a map */
    struct fm_conf_pos key_pos;
    struct fm_node *parent, *first, *last, *next;
};

#define fm_node_each(child, of)                                                                    \
    for (const struct fm_node *child = (of)->first; child; child = child->next)

/* The value of `key`, or NULL; also for a NULL map. */
struct fm_node *fm_node_get(const struct fm_node *map, struct fm_str key);
#define fm_node_getz(map, z) fm_node_get((map), fm_str_z(z))

/* Where it is wrong for its key: the key in a map, else the value. */
struct fm_conf_pos fm_node_key_pos(const struct fm_node *n);

/* `contexts.ledger.routes[2]`; "" for the root. Cut where it does not fit. */
struct fm_node_path {
    char s[128];
};
struct fm_node_path fm_node_path(const struct fm_node *n);

void fm_node_append(struct fm_node *parent, struct fm_node *child);
/* Take the child out of its map. */
void fm_node_remove(struct fm_node *child);

/* Is nothing of it FM_NODE_BAD? */
bool fm_node_is_sound(const struct fm_node *n);

/* Is it a null: nothing, `~` or `null` without quotes? */
bool fm_node_is_null(const struct fm_node *n);

struct fm_load;
/* The root of the source's document, a map; NULL after a syntax error (l->broken is set then). */
struct fm_node *fm_node_read(struct fm_load *l, const struct fm_source *src) FM_WARN_UNUSED;

#endif
