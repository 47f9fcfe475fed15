/* proxy/names.h: the addresses behind the configured names, kept fresh.
 *
 * IP literals are there at once; names are looked up off the loop and again every `refresh`. A name
 * that has no answer keeps its last addresses. Belongs to one control loop. */
#ifndef FM_PROXY_NAMES_H
#define FM_PROXY_NAMES_H

#include "io/resolve.h"
#include "proxy/view.h"

struct fm_name;

struct fm_names {
    struct fm_resolver *resolver;
    struct fm_loop *loop;
    struct fm_name *first, *abandoned;
    size_t waiting;              /* names that were never answered */
    void (*changed)(void *user); /* some address came or went, or the last name was answered */
    void *user;
};

/* `loop` is the one that the resolver answers to. `changed` is called from it. */
void fm_names_init(struct fm_names *n, struct fm_resolver *resolver, struct fm_loop *loop,
                   void (*changed)(void *user), void *user);

/* Watch all that `mode` needs of this configuration instead of what was watched; what is known of a
 * name is kept. FM_ERR_MEMORY leaves the old set. */
enum fm_err fm_names_set(struct fm_names *n, const struct fm_conf *c, enum fm_proxy_mode mode,
                         unsigned self) FM_WARN_UNUSED;

/* All addresses as they are now; the caller frees. */
struct fm_view_address *fm_names_addresses(const struct fm_names *n, size_t *count) FM_WARN_UNUSED;

/* The first known address of a configured one (for probes of single hosts); false where unknown. */
bool fm_names_find(const struct fm_names *n, const struct fm_conf_addr *a, struct fm_addr *out);

/* Is this one of the addresses that the configuration writes as `text` in this pool? */
bool fm_names_is(const struct fm_names *n, unsigned region, unsigned pool, struct fm_str text,
                 const struct fm_addr *addr);

/* After the resolver was freed. */
void fm_names_deinit(struct fm_names *n);

#endif
