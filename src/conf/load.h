/* conf/load.h: the state of one fm_conf_load, shared by the files of src/conf.
 *
 * Order of work: sources -> nodes (one tree, includes merged) -> decode by the schema table, in the
 * order of its rows -> rules that look at more than one place. A stage adds its findings and goes
 * on; only a syntax error stops, because nothing that stands behind it can be believed. */
#ifndef FM_CONF_LOAD_H
#define FM_CONF_LOAD_H

#include "conf/node.h"
#include "conf/report.h"

/* What contexts and routes inherit. */
struct fm_policy {
    struct fm_conf_routing routing;
    struct fm_conf_timeouts timeouts;
    struct fm_conf_retry retry;
    uint32_t in_flight_max;
};

enum fm_peer_tls { FM_PEER_UNSAID, FM_PEER_PLAINTEXT, FM_PEER_MUTUAL };

/* A loaded configuration with what only this folder needs of it. */
struct fm_root {
    struct fm_conf conf; /* first: what the caller holds */
    struct fm_source *sources;
    struct fm_node *node;
    unsigned language;
    enum fm_peer_tls peer_tls;
    struct fm_policy policy;
};

static inline const struct fm_root *fm_root_of(const struct fm_conf *c)
{
    return (const struct fm_root *)(const void *)c;
}

struct fm_load {
    struct fm_root *root;
    struct fm_conf *conf;   /* of root */
    struct fm_arena *arena; /* of conf */
    struct fm_conf_report *report;
    struct fm_source **source_end;
    size_t nsources, nnodes, nbytes;
    bool from_memory; /* includes are refused */
    bool broken;      /* a syntax error: the tree is not whole */
    bool oom;

    struct fm_str host, region; /* what {host} and {region} stand for here; n = 0: nothing */

    /* The nodes of the named things, by their index, and which of them had errors: rules over
     * several places pass over those, so that one mistake is told once. */
    const struct fm_node *region_node[FM_CONF_REGIONS_MAX];
    bool pools_known[FM_CONF_REGIONS_MAX], region_checks_known[FM_CONF_REGIONS_MAX];
    const struct fm_node *context_node[FM_CONF_CONTEXTS_MAX];
    bool context_bad[FM_CONF_CONTEXTS_MAX];
    const struct fm_node *group_node[FM_CONF_GROUPS_MAX];
    bool group_bad[FM_CONF_GROUPS_MAX];
    bool checks_bad, hosts_bad;
};

/* An empty configuration of this name; false, with the reason in the report, without memory. */
bool fm_load_begin(struct fm_load *l, struct fm_conf_report *report,
                   struct fm_str name) FM_WARN_UNUSED;
/* From the tree (l->root->node) to the values. */
void fm_load_decode(struct fm_load *l);
/* The last stage: the configuration, or nothing and the reasons. `first` and `before` are where the
 * report's findings and errors stood at the beginning. */
struct fm_conf *fm_load_finish(struct fm_load *l, size_t first, size_t before) FM_WARN_UNUSED;

/* Zeroed memory of the configuration; NULL, and an error in the report, where there is no more. */
void *fm_load_alloc(struct fm_load *l, size_t count, size_t size) FM_WARN_UNUSED;
struct fm_str fm_load_str(struct fm_load *l, struct fm_str s) FM_WARN_UNUSED;

/* The path of `file` as seen from the file in which it is written, terminated. */
struct fm_str fm_load_relative(struct fm_load *l, struct fm_conf_pos at, struct fm_str file);

/* include.c: take in what the `include` of this map names, as a union. */
void fm_include(struct fm_load *l, struct fm_node *root, struct fm_node *of, unsigned depth);
/* Read one file and what it includes; NULL where it has a syntax error. */
struct fm_node *fm_load_file(struct fm_load *l, const char *path, struct fm_conf_pos from,
                             struct fm_node *root, unsigned depth);

/* whole.c: what callers rely on; crashes where a rule is missing. */
void fm_load_assert_whole(const struct fm_conf *c);

/* validate.c: the rules that look at more than one place. */
void fm_validate(struct fm_load *l);

#endif
