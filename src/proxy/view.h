/* proxy/view.h: the immutable snapshot that workers route by: the route table, the contexts, the
 * regions and the addresses behind them, compiled from a configuration and from resolved names.
 *
 * Built by control, read by workers without locks, counted by reference; a new one replaces it
 * whole. The same shape serves the edge (all regions; gates where a region has them, else the apps)
 * and the gate (its own region's apps; where a route has `relay: true`, other regions' gates). */
#ifndef FM_PROXY_VIEW_H
#define FM_PROXY_VIEW_H

#include "base/assert.h"
#include "core/classify.h"
#include "core/exchange.h"
#include "core/keygate.h"
#include "core/latency.h"
#include "core/match.h"
#include "http/msg.h"
#include "io/addr.h"
#include "proxy/board.h"

enum fm_proxy_mode { FM_PROXY_EDGE, FM_PROXY_GATE };

enum { FM_NO_GATE = UINT16_MAX };

struct fm_view_endpoint {
    struct fm_addr addr;
    char text[FM_ADDR_TEXT_MAX];
    const char *peer; /* of a gate: its host's name; NULL of an app */
    uint16_t region, pool;
    uint16_t gate;           /* of the region's; FM_NO_GATE of an app */
    _Atomic bool probe_down; /* control's probes of this one endpoint fail */
    _Atomic bool drained;    /* intent: it gets nothing new, whatever its probes find */
};

struct fm_view_pool {
    struct fm_str name; /* "gates" for the gates of a region */
    unsigned first, n;  /* endpoints */
};

struct fm_view_region {
    struct fm_str name;
    uint64_t id; /* of its name, the same in every edge */
    uint16_t priority, weight;
    bool witness;            /* never serves */
    bool gates;              /* its endpoints are gates: they may be trusted with Fulmar-Problem */
    struct fm_keygate *gate; /* all that the configuration names, in its order */
    unsigned ngates;
    struct fm_view_pool *pools;
    unsigned npools;
};

struct fm_view_route {
    uint16_t context;
    uint8_t as; /* enum fm_class_as */
    bool safe;
    struct fm_str path;     /* as configured, for logs */
    int16_t sticky_segment; /* -1 = none */
    struct fm_key_spec key; /* of a context with cells; its own, since a segment stands elsewhere */
    bool has_key;
    bool concurrent;
    bool relay;      /* a gate that may not take its commands passes them on */
    int64_t hold_ns; /* commands wait so long for somebody who may take them */
    uint8_t away;    /* enum fm_away: what happens to them then */
    bool away_queries_any;
    struct fm_str away_message;
    enum fm_route_by by;
    uint32_t band_us;
    int64_t connect_ns, first_byte_ns, total_ns;
    uint8_t other_regions;
    uint32_t budget_ppm, budget_floor;
    struct fm_hedge_policy hedge;
};

struct fm_view_context {
    struct fm_str name;
    const struct fm_conf_context *conf;
    uint16_t pool[FM_REGIONS_MAX];  /* index into the region's pools */
    int64_t slow_ns;                /* 0 = no objective */
    struct fm_seats_context *seats; /* NULL: every region may write */
    struct fm_cells cells;          /* without files; else ask `keyfiles` */
    struct fm_keyfiles_has has_files;
    struct fm_keyfiles_entry *keyfiles; /* NULL: nothing is known of them */
    bool queries_any;
};

struct fm_view {
    _Atomic uint32_t refs;
    uint64_t generation;
    enum fm_proxy_mode mode;
    uint16_t self;          /* of a gate: its region, here */
    uint16_t self_gate;     /* ... and which of the region's gates it is */
    struct fm_board *board; /* holds the configuration */
    const struct fm_conf *conf;
    struct fm_match *match;
    struct fm_view_region *regions;
    unsigned nregions;
    struct fm_view_context *contexts;
    unsigned ncontexts;
    struct fm_view_route *routes;
    unsigned nroutes;
    struct fm_view_route places; /* to what is queued; only where some route queues */
    bool has_places;
    struct fm_view_endpoint *endpoints;
    unsigned nendpoints;
    struct fm_arena arena;
};

/* One resolved address of a region's pool; the builder sorts them. */
struct fm_view_address {
    uint16_t region, pool;
    struct fm_addr addr;
    const char *peer; /* as in the endpoint; of the board's configuration */
};

/* For an edge a region that has gates has the one pool "gates" (0), and so, for a gate, another
 * region with an address that has a peer; other pools are as in the configuration. Takes a
 * reference of the board. Whoever makes one for a gate sets `self` and `self_gate`. */
struct fm_view *fm_view_new(struct fm_board *board, enum fm_proxy_mode mode, uint64_t generation,
                            const struct fm_view_address *addrs, size_t naddrs) FM_WARN_UNUSED;
void fm_view_ref(struct fm_view *v);
void fm_view_unref(struct fm_view *v);

/* FM_NO_GATE: the region has no gate of this name. */
uint16_t fm_view_find_gate(const struct fm_view_region *r, struct fm_str name);

static inline struct fm_view_pool *fm_view_pool(const struct fm_view *v, unsigned region,
                                                unsigned context)
{
    FM_ASSERT(region < v->nregions && context < v->ncontexts);
    FM_ASSERT(v->contexts[context].pool[region] < v->regions[region].npools);
    return &v->regions[region].pools[v->contexts[context].pool[region]];
}

#endif
