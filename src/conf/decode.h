/* conf/decode.h: nodes into structs, as the schema table says.
 *
 * The generic part knows kinds and sections. What a row cannot say (names that expand, things that
 * inherit, targets of checks) is a function of the same shape in hosts.c, regions.c, checks.c,
 * contexts.c and routes.c. Errors never stop the reading; a value with an error stays what it was.
 */
#ifndef FM_CONF_DECODE_H
#define FM_CONF_DECODE_H

#include "conf/scalar.h"
#include "conf/schema.h"

/* Write the defaults of all rows, also of sections in the same struct; not what is inherited. */
void fm_decode_defaults(struct fm_load *l, const struct fm_schema_section *s, void *at);
/* Read a map: unknown keys, each row in the order of the table, then the section's own rules. */
void fm_decode_section(struct fm_load *l, const struct fm_schema_section *s,
                       const struct fm_node *map, void *at);
/* Read one value by the row's function or its kind's. */
void fm_decode_value(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                     void *at);

/* Is it a map, or a list? Says so where it is not; quiet for FM_NODE_BAD. */
bool fm_decode_want(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                    enum fm_node_kind kind) FM_WARN_UNUSED;
/* The text of a scalar; false, with an error, for everything that is no text. */
bool fm_decode_text(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                    struct fm_str *out) FM_WARN_UNUSED;
/* The name under which a value stands in a map: its syntax. */
bool fm_decode_name(struct fm_load *l, const struct fm_node *n, const char *what) FM_WARN_UNUSED;
/* "`KEY` must be EXPECTED: WHY" with the advice of `f`. */
void fm_decode_fault(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                     const struct fm_fault *f);
/* {host} and {region} replaced by what they are here (l->host, l->region). */
bool fm_decode_expand(struct fm_load *l, struct fm_str text, struct fm_str *out,
                      struct fm_fault *f) FM_WARN_UNUSED;
/* For messages: "`workers`", or "an entry of `listen`". */
struct fm_subject {
    char s[128];
};
struct fm_subject fm_decode_subject(const struct fm_node *n);
/* "`edge.limits`", or "the file" for its top level. */
struct fm_subject fm_decode_place(const struct fm_node *map);
/* Are there as many entries as the row allows? Says so where not. */
/* A key that has to be there is not. */
void fm_decode_missing(struct fm_load *l, const struct fm_schema_row *row,
                       const struct fm_node *map);
bool fm_decode_count(struct fm_load *l, const struct fm_schema_row *row,
                     const struct fm_node *n) FM_WARN_UNUSED;

/* suggest.c: the error for a key that the section does not have, with advice. Returns the row of
 * the section that was probably meant, or NULL. */
const struct fm_schema_row *fm_suggest_key(struct fm_load *l, const struct fm_schema_section *s,
                                           const struct fm_node *n);
/* Advice that names the keys of the section. */
void fm_suggest_keys(struct fm_load *l, const struct fm_schema_section *s);

/* Kinds whose readers are not in kinds.c. */
fm_decode_fn fm_decode_section_value, fm_decode_list_value, fm_decode_either_value;
fm_decode_fn fm_decode_route_path, fm_decode_http_url, fm_decode_webhook_url;

/* Functions of rows. */
fm_decode_fn fm_decode_nothing, fm_decode_log_path;
fm_decode_fn fm_decode_hosts, fm_decode_roles, fm_decode_host_address, fm_decode_dial;
fm_decode_fn fm_decode_regions, fm_decode_pools;
fm_decode_fn fm_decode_checks, fm_decode_check_file;
fm_decode_fn fm_decode_endpoints;
fm_decode_fn fm_decode_contexts, fm_decode_routes, fm_decode_sticky;
fm_decode_fn fm_decode_groups, fm_decode_group_contexts, fm_decode_group_nodes,
    fm_decode_group_data, fm_decode_group_door, fm_decode_settings;
fm_decode_fn fm_decode_home, fm_decode_moves_with, fm_decode_key, fm_decode_at_most, fm_decode_rpo;

/* authority.c: the defaults that follow from the topology, when a context is decoded. */
void fm_authority_settle(struct fm_conf_context *c, const struct fm_node *n);
/* What its topology forbids, and what contradicts itself. */
void fm_authority_fits(struct fm_load *l, const struct fm_conf_context *c, const struct fm_node *n);
/* Cells and their homes, and who moves with whom, when all contexts are decoded. */
void fm_authority_resolve(struct fm_load *l);
/* exclusive.c: what contexts need that one region alone may write. */
/* alone.c: contexts that are only a database. Before what looks at pools and routes. */
void fm_alone_check(struct fm_load *l);
void fm_exclusive_check(struct fm_load *l);
/* queueing.c: of a context with cells whose own rules are kept. */
void fm_queueing_check(struct fm_load *l, size_t context);
/* onward.c: of any context whose own rules are kept. */
void fm_onward_check(struct fm_load *l, size_t context);
/* groups_check.c: what groups need around them, and what they promise to their contexts. */
void fm_groups_check(struct fm_load *l);
/* groups_zones.c: which of its nodes are lost together. */
void fm_groups_zones(struct fm_load *l, size_t group);
/* What a context of a group that says `objectives.rpo` is promised by it. */
void fm_groups_rpo(struct fm_load *l, size_t context, size_t group, struct fm_conf_pos pos);
/* webhook.c: is there something to tell? */
void fm_webhook_check(struct fm_load *l);
/* A hold that nobody said is so much longer than the least. */
enum { FM_HOLD_BEYOND_MS = 1000 };
/* routes.c: has its path the segment `{name}`? */
bool fm_route_has_segment(const struct fm_conf_route *r, struct fm_str name) FM_WARN_UNUSED;

/* checks.c: the checks of every region, from its own map and the one of the top level. */
void fm_checks_resolve(struct fm_load *l);
/* coordination.c: does it fit the hosts? */
void fm_coordination_check(struct fm_load *l);
/* routes.c: no two routes may be equally specific. */
void fm_routes_check(struct fm_load *l);

/* Rules of sections (fm_schema_section.check). */
void fm_check_edge(struct fm_load *l, const struct fm_node *map, void *at);
void fm_check_etcd(struct fm_load *l, const struct fm_node *map, void *at);
void fm_check_etcd_tls(struct fm_load *l, const struct fm_node *map, void *at);
void fm_check_probe(struct fm_load *l, const struct fm_node *map, void *at);
void fm_check_timeouts(struct fm_load *l, const struct fm_node *map, void *at);
void fm_check_replication(struct fm_load *l, const struct fm_node *map, void *at);
void fm_check_max_loss(struct fm_load *l, const struct fm_node *map, void *at);
void fm_check_group_listen(struct fm_load *l, const struct fm_node *map, void *at);
void fm_check_group(struct fm_load *l, const struct fm_node *map, void *at);
void fm_check_region(struct fm_load *l, const struct fm_node *map, void *at);

/* A host as written, before its name is expanded. */
struct fm_host_def {
    struct fm_str region, zone, address;
    const struct fm_node *address_node;
    unsigned roles;
    struct fm_conf_addr gate, peer, admin; /* port 0 = not said */
};

struct fm_dial_def {
    struct fm_conf_addr gate, peer; /* port 0 = not said */
    struct fm_conf_addr postgres;   /* host.p = NULL = not said */
};

struct fm_pool_dns {
    struct fm_conf_addr dns;
    int64_t refresh_ms;
};

#endif
