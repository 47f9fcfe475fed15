/* conf/conf.h: fulmar.yaml as typed values.
 *
 * fm_conf_load reads the file and what it includes, checks all of it and gives either a whole,
 * valid, immutable configuration or a report with every error at once (file, line, column, what was
 * expected, what to do). Nothing is half loaded. All defaults are filled in and all inheritance is
 * resolved (top level -> context -> route), so that a reader never looks at two places.
 *
 * Ownership: everything hangs on the configuration's arena and dies with fm_conf_free. Strings are
 * views into it and are terminated. A loaded configuration is immutable, so any thread may read it.
 * Loading reads files and blocks: not on a worker's loop.
 *
 * Units: durations in ms (_ms), sizes in bytes (_bytes), rates in bytes per second (_bps), shares
 * in parts per million (_ppm). Source of the names: docs/reference/configuration.md, which is made
 * from the same table as the parser. Limits of this language version are the FM_CONF_*_MAX below.
 */
#ifndef FM_CONF_CONF_H
#define FM_CONF_CONF_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "core/floor.h"

enum {
    FM_CONF_REGIONS_MAX = 16,
    FM_CONF_CONTEXTS_MAX = 128,
    FM_CONF_ROUTES_MAX = 1024, /* of all contexts */
    FM_CONF_HOSTS_MAX = 1024,
    FM_CONF_POOLS_MAX = 64,      /* of one region */
    FM_CONF_POOL_APPS_MAX = 256, /* of one pool */
    FM_CONF_CHECKS_MAX = 64,     /* of one region */
    FM_CONF_LISTEN_MAX = 64,
    FM_CONF_LIST_MAX = 64,       /* hosts, needs, methods, ... of one list */
    FM_CONF_SEGMENTS_MAX = 32,   /* of one route's path */
    FM_CONF_ENDPOINTS_MAX = 16,  /* of etcd */
    FM_CONF_CELLS_MAX = 64,      /* of one context */
    FM_CONF_CONTROLLERS_MAX = 8, /* of one region */
    FM_CONF_GATES_MAX = 16,      /* of one region, where there are exclusive contexts */
    FM_CONF_AT_MOST_MAX = 16,    /* automatic failovers in a window */
    FM_CONF_GROUPS_MAX = 16,
    FM_CONF_GROUP_NODES_MAX = 16, /* of one group */
    FM_CONF_SETTINGS_MAX = 128,   /* of one group */
    /* A body is kept in so many blocks, each of the size of `header`, and of this at least. */
    FM_CONF_REPLAY_BLOCKS = 4,
    FM_CONF_BLOCK_BYTES_MIN = 16 * 1024,
};

/* Where a value was written, for messages; line 0 = a default, written nowhere. */
struct fm_conf_pos {
    const char *file;
    uint32_t line, col; /* from 1 */
};

struct fm_conf_addr {
    struct fm_str text; /* as written, after {host} and {region} */
    struct fm_str host; /* a name, or an IP literal without brackets */
    uint16_t port;
    bool is_ip;
    struct fm_conf_pos pos;
};

enum fm_conf_role {
    FM_ROLE_EDGE = 1,
    FM_ROLE_GATE = 2,
    FM_ROLE_HEALTH = 4,
    FM_ROLE_COORDINATION = 8,
    FM_ROLE_CONTROLLER = 16, /* may become keeper of its region */
    FM_ROLE_WITNESS = 32,    /* votes, in a region that never serves */
    FM_ROLE_POSTGRES = 64,   /* runs nodes of `groups` */
    FM_ROLES_AGENT = FM_ROLE_GATE | FM_ROLE_HEALTH | FM_ROLE_COORDINATION | FM_ROLE_CONTROLLER |
                     FM_ROLE_WITNESS | FM_ROLE_POSTGRES, /* any of them */
};

struct fm_conf_host {
    struct fm_str name;
    unsigned region; /* index into regions */
    unsigned roles;  /* bits of enum fm_conf_role */
    struct fm_str zone;
    struct fm_str address;    /* as the file says; p = NULL where it does not */
    struct fm_conf_addr gate; /* what is dialed: address with port 7100 unless told otherwise */
    struct fm_conf_addr peer; /* the same with 7101 */
    struct fm_conf_addr
        postgres; /* host = where its nodes of groups are dialed, p = NULL: address */
    struct fm_conf_addr gate_bind, peer_bind; /* what this host binds */
    /* `admin` is the agent's where the host has one (127.0.0.1:7102), else the edge's. The edge of
     * the host binds edge_admin: `admin` where it has that role alone, else `edge.admin`. */
    struct fm_conf_addr admin, edge_admin;
    struct fm_conf_pos pos;
};

struct fm_conf_cidr {
    uint8_t addr[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint8_t bits;     /* of the 128 */
};

struct fm_conf_listen {
    struct fm_conf_addr address;
};

struct fm_conf_edge {
    bool present;
    unsigned workers; /* 0 = one per core */
    struct fm_conf_listen *listen;
    size_t nlisten;
    struct fm_conf_cidr *trust_forwarded;
    size_t ntrust_forwarded;
    struct {
        bool present;
        struct fm_conf_addr address;
        struct fm_str path;
    } ready;
    struct fm_conf_addr admin; /* where the host is not listed: 127.0.0.1:7104 */
    int64_t drain_announce_ms, drain_finish_ms;
    struct {
        uint32_t connections, header_bytes, headers, replay_body_bytes;
        uint64_t body_bytes;
    } limits;
    struct {
        int64_t header_ms, idle_ms, tunnel_idle_ms;
    } timeouts;
    uint64_t min_body_bps; /* 0 = none */
    struct {
        bool present;
        struct fm_str path; /* "stdout" is standard output; else a template, see fm_conf_expand */
        uint32_t sample_ppm;
    } access_log;
};

struct fm_conf_probe {
    enum {
        FM_PROBE_TCP,
        FM_PROBE_HTTP,
        FM_PROBE_NONE
    } app;                  /* how apps are probed without agents */
    struct fm_str app_path; /* for FM_PROBE_HTTP */
    int64_t interval_ms, fast_interval_ms, timeout_ms;
    unsigned samples, successes, rise;
};

enum fm_conf_check_type {
    FM_CHECK_TCP,
    FM_CHECK_HTTP,
    FM_CHECK_REDIS,
    FM_CHECK_DNS,
    FM_CHECK_TLS,
    FM_CHECK_COMMAND,
    FM_CHECK_POSTGRES,
};

enum fm_conf_access { FM_ACCESS_ANY, FM_ACCESS_READ_WRITE, FM_ACCESS_READ_ONLY };

/* A dependency check of one region: the definition with the region's target and replacements. */
struct fm_conf_check {
    struct fm_str name;
    enum fm_conf_check_type type;
    struct fm_conf_addr target; /* tcp, http, redis, tls, postgres */
    struct fm_str path;         /* http: request target, with the query */
    struct fm_str host_header;  /* http: Host */
    struct fm_str server_name;  /* tls: name to verify, `name`; dns: the name to look up */
    struct fm_str *command;     /* argv, NULL-terminated at [ncommand].p */
    size_t ncommand;
    unsigned status;    /* http: expected status; 0 = any 2xx */
    struct fm_str body; /* http: must be contained in the first 64 KiB; empty = any */
    struct {
        struct fm_str user, database;
        struct fm_str password_file; /* empty = none; without {host} */
        struct fm_str query;         /* empty = none */
        enum fm_conf_access access;  /* what the server must allow */
        int64_t replay_lag_ms;       /* a standby further behind fails; 0 = no bound */
    } pg;                            /* postgres */
    int64_t latency_ms;              /* slower than this fails; 0 = no bound */
    int64_t warn_ms;                 /* tls: warn so long before the certificate expires */
    int64_t interval_ms, timeout_ms, max_age_ms;
    unsigned fall, rise;
    struct fm_conf_pos pos;
};

struct fm_conf_pool {
    struct fm_str name;
    struct fm_conf_addr *apps; /* fixed addresses; with dns: one entry, every address of it */
    size_t napps;
    bool dns;
    int64_t refresh_ms; /* how often names are looked up again */
};

struct fm_conf_region {
    struct fm_str name;
    unsigned priority, weight;
    struct fm_conf_pool *pools;
    size_t npools;
    struct fm_conf_check *checks;
    size_t nchecks;
    bool has_gates, has_health; /* some host has the role */
    bool witness;               /* votes and never serves: no pools */
    uint32_t capacity_rps;      /* of the whole region, all contexts; 0 = not said */
    struct fm_conf_pos pos;
};

enum fm_conf_routing_by { FM_ROUTING_PRIORITY, FM_ROUTING_LATENCY, FM_ROUTING_WEIGHT };

struct fm_conf_routing {
    enum fm_conf_routing_by by;
    int64_t band_ms;
};

struct fm_conf_timeouts {
    int64_t connect_ms, first_byte_ms, total_ms;
};

struct fm_conf_retry {
    unsigned other_regions;
    uint32_t budget_ppm;
    unsigned budget_floor;
    enum { FM_HEDGE_P95, FM_HEDGE_P99, FM_HEDGE_FIXED, FM_HEDGE_NEVER } hedge;
    int64_t hedge_ms; /* for FM_HEDGE_FIXED */
};

enum fm_conf_sticky {
    FM_STICKY_NONE,
    FM_STICKY_HEADER,
    FM_STICKY_COOKIE,
    FM_STICKY_PATH,
    FM_STICKY_CLIENT
};

enum fm_conf_as { FM_AS_METHOD, FM_AS_QUERY, FM_AS_COMMAND };

/* One segment of a route's path. A final `**` matches any number of segments, also none. */
struct fm_conf_segment {
    enum { FM_SEG_LITERAL, FM_SEG_NAMED, FM_SEG_REST } kind;
    struct fm_str text; /* the literal (decoded), or the name */
};

/* -------- who may write (docs/concepts.md) -------- */

enum fm_conf_topology {
    FM_TOPOLOGY_MULTI_WRITE,    /* no region holds anything alone */
    FM_TOPOLOGY_ACTIVE_PASSIVE, /* one cell, one writer region */
    FM_TOPOLOGY_AFFINITY,       /* `cells` cells, each with a home region */
};

enum fm_conf_key_from {
    FM_CONF_KEY_PATH,
    FM_CONF_KEY_HEADER,
    FM_CONF_KEY_COOKIE,
    FM_CONF_KEY_QUERY,
    FM_CONF_KEY_BODY,
    FM_CONF_KEY_CLAIM,
};

enum fm_conf_away { FM_CONF_AWAY_REJECT, FM_CONF_AWAY_QUEUE, FM_CONF_AWAY_OVERRIDE };

enum fm_conf_mode { FM_CONF_MANUAL, FM_CONF_ASSISTED, FM_CONF_AUTOMATIC };

/* What happens while nobody holds what a request is about. */
struct fm_conf_when_away {
    int64_t hold_ms;            /* commands wait so long at the edge */
    enum fm_conf_away commands; /* what happens to them then */
    bool queries_any;           /* queries are answered by any region meanwhile */
    struct fm_str message;      /* the operator's, for problem bodies; may be empty */
};

struct fm_conf_failover {
    enum fm_conf_mode mode;
    int64_t grace_ms, ask_after_ms;
    unsigned at_most; /* automatic failovers ... */
    int64_t at_most_window_ms;
    enum { FM_CONF_PREFER_DATA, FM_CONF_PREFER_TIME } prefer;
};

/* Hours of some days, UTC. */
struct fm_conf_window {
    bool present;
    uint8_t days;              /* on which it opens: bit 0 = Sunday; 127 = every day */
    uint16_t from_min, to_min; /* of the day, to 1440; to < from: it shuts on the day after */
};

struct fm_conf_failback {
    enum { FM_FAILBACK_MANUAL, FM_FAILBACK_AUTOMATIC } mode;
    int64_t soak_ms;
    struct fm_conf_window window;
};

/* The app of a region that stands by, stopped until it is needed. Each command: argv,
 * NULL-terminated at [n].p. */
struct fm_conf_standby {
    bool present;
    struct fm_str *start, *stop, *check; /* check: may be none */
    size_t nstart, nstop, ncheck;
    int64_t timeout_ms; /* of each command */
    int64_t ready_ms;   /* from the end of `start` until the region can serve the context */
    bool breaks;        /* replication to the region is broken while it is prepared */
};

struct fm_conf_objectives {
    int64_t rto_ms, rpo_ms;    /* -1 = not said */
    int64_t rpo_bytes;         /* -1 = not said */
    uint32_t availability_ppm; /* 0 = not said */
    int64_t latency_p99_ms;    /* 0 = none. Slower answers are evidence against a region */
};

struct fm_conf_route {
    struct fm_str path; /* as written */
    struct fm_conf_segment *segments;
    size_t nsegments;
    struct fm_str *methods; /* none = every method */
    size_t nmethods;
    enum fm_conf_as as;
    bool safe;       /* false: never hedged and never repeated, whatever its method */
    bool concurrent; /* an override needs no finding that the holder's lease has lapsed */
    bool relay;      /* a gate that may not take its commands passes them on to one that may */
    struct fm_conf_when_away when_away;
    struct fm_conf_timeouts timeouts;
    struct fm_conf_retry retry;
    struct fm_conf_routing routing;
    struct fm_conf_pos pos;
};

struct fm_conf_context {
    struct fm_str name;
    struct fm_str app;    /* pool */
    struct fm_str *hosts; /* none = any; "*.x" = every name below x */
    size_t nhosts;
    struct fm_conf_route *routes;
    size_t nroutes;
    struct fm_str *commands; /* methods that may change state */
    size_t ncommands;
    enum fm_conf_topology topology;
    unsigned home; /* active-passive: region */
    unsigned
        *moves_with; /* contexts that fail over together with this one; symmetric, without it */
    size_t nmoves_with;
    unsigned ncells;                      /* 0 where nobody holds anything alone */
    uint8_t cell_home[FM_CONF_CELLS_MAX]; /* region of each cell */
    struct {
        enum { FM_HOMES_HASH, FM_HOMES_DIRECTORY } by;
        struct fm_str pins, directory; /* files; empty = none */
    } homes;
    struct {
        bool present;
        enum fm_conf_key_from from;
        struct fm_str name; /* of the segment, header, ...; of body and claim "a.b.c" */
    } key;
    bool queries_any; /* else only the holder's region answers queries */
    int64_t lease_ms;
    struct fm_conf_failover failover;
    struct fm_conf_failback failback;
    struct fm_conf_standby standby;
    struct fm_conf_when_away when_away;
    struct fm_conf_objectives objectives;
    struct {
        enum { FM_KEY_IGNORED, FM_KEY_OPTIONAL, FM_KEY_REQUIRED } key;
        enum { FM_BY_NONE, FM_BY_APP, FM_BY_GATE } by; /* who stops doubles */
        int64_t retention_ms;
    } idempotency;
    struct fm_str *needs; /* names of checks; every region with agents has them */
    size_t nneeds;
    struct {
        enum fm_conf_sticky kind;
        struct fm_str name;   /* of the header, cookie or path segment */
        unsigned client_bits; /* prefix of an IPv4 address; IPv6 counts twice as many bits */
    } sticky;
    struct fm_conf_routing routing; /* of the context; routes may differ */
    struct fm_conf_timeouts timeouts;
    struct fm_conf_retry retry;
    uint32_t in_flight_max;
    struct fm_conf_pos pos;
};

/* -------- PostgreSQL failover groups -------- */

/* One node: PostgreSQL on one host. */
struct fm_conf_group_node {
    unsigned host;               /* index into hosts; it has FM_ROLE_POSTGRES */
    struct fm_str data;          /* its data directory: a template, see fm_conf_expand */
    unsigned port;               /* where it listens */
    int64_t delay_ms;            /* it applies each commit so much later; 0 = at once */
    struct fm_conf_addr address; /* what others dial: the host's address, or `dial`, with `port` */
    struct fm_conf_pos pos;
};

/* A parameter of PostgreSQL, in its own words. */
struct fm_conf_setting {
    struct fm_str name; /* in lower case */
    struct fm_str value;
    struct fm_conf_pos pos;
};

enum fm_conf_beyond {
    FM_CONF_BEYOND_NO_AUTOMATIC, /* commits wait for the standbys that follow, if any */
    FM_CONF_BEYOND_BLOCK_WRITES, /* commits wait */
};

/* With `async`: what the nodes of the primary's own region may lack. */
enum fm_conf_in_region {
    FM_CONF_IN_REGION_ASYNC, /* `max-loss`, as every node */
    FM_CONF_IN_REGION_SYNC,  /* nothing that was acknowledged */
};

/* Data that Fulmar does not run itself: a command for each thing that is done to them, run in each
 * region. Each: argv, NULL-terminated at [n].p. */
struct fm_conf_hooks {
    bool present;
    struct fm_str *status, *lag, *read_only, *promote, *fence;
    size_t nstatus, nlag, nread_only, npromote, nfence;
    int64_t timeout_ms;  /* of each command */
    int64_t interval_ms; /* between two looks at the data */
};

/* It has nodes, or hooks. With hooks nothing but `contexts` and `home` means anything beside. */
struct fm_conf_group {
    struct fm_str name;
    unsigned *contexts; /* indices; each has one cell. One, in this version */
    size_t ncontexts;
    unsigned home; /* region of the contexts */
    struct fm_conf_hooks hooks;
    struct fm_str bin; /* a template; empty: the newest below /usr/lib/postgresql of the host */
    struct fm_str user;
    struct fm_conf_group_node *nodes; /* in the order of the file */
    size_t nnodes;
    /* Templates; empty: a secret that `fulmar group create` made, see fm_conf_group_secret. */
    struct fm_str admin_password_file, replication_password_file;
    struct {
        enum { FM_CONF_ASYNC, FM_CONF_SYNC } mode;
        enum fm_conf_beyond beyond;
        enum fm_conf_in_region in_region;
        struct {
            uint64_t bytes, transactions; /* as written; 0 = not said */
            int64_t time_ms;
        } max_loss;
        /* What may be acknowledged beyond the standbys: 0 with `sync`; -1: nothing bounds it. */
        int64_t credit_bytes;
    } replication;
    struct {
        bool present;
        /* Of every gate (port 0 = none); or of some, by the index of the host. See
         * fm_conf_group_listen. */
        struct fm_conf_addr read_write, read_only;
        struct fm_conf_addr *read_write_of, *read_only_of;
        int64_t read_lag_ms;
    } listen;                         /* of the gates */
    struct fm_conf_setting *settings; /* in the order of the file */
    size_t nsettings;
    struct fm_conf_pos pos;
};

struct fm_conf_endpoint {
    struct fm_str region; /* where it stands; perhaps none of `regions` */
    struct fm_str url;    /* as written */
    struct fm_conf_addr address;
    bool https;
};

struct fm_conf_etcd {
    bool present;
    struct fm_conf_endpoint *endpoint; /* in the order of the file */
    size_t nendpoint;
    int64_t election_ms;
    struct fm_str user;          /* empty: no authentication */
    struct fm_str password_file; /* a template, see fm_conf_expand */
    bool https;                  /* all endpoints are, or none */
    struct {
        bool present;
        struct fm_str ca, cert, key; /* templates; ca empty: the system's; cert and key: or none */
    } tls;
};

/* Exactly one of the two where it is present. */
struct fm_conf_coordination {
    bool present;
    struct fm_conf_etcd etcd;
    struct fm_str sqlite; /* path of the file */
};

/* Mutual TLS between the hosts of the service: PEM files, as templates (fm_conf_expand). */
struct fm_conf_peer_tls {
    bool present; /* false: plain connections */
    struct fm_str ca, cert, key;
};

/* Who is told, beside those who ask, which region is authoritative for which cells. */
struct fm_conf_webhook {
    bool present;
    struct fm_str url; /* as written */
    struct fm_conf_addr to;
    bool https;
    struct fm_str path;        /* with the query */
    struct fm_str secret_file; /* a template, see fm_conf_expand */
    struct fm_str ca;          /* a template, too; empty: the authorities of the system */
};

struct fm_conf {
    struct fm_arena arena;
    struct fm_str file; /* as given to fm_conf_load */
    struct fm_str service;
    struct fm_str state; /* template with {host}; empty = the default, see fm_conf_state_dir */
    struct fm_conf_coordination coordination;
    struct fm_conf_peer_tls peer_tls;
    struct fm_conf_webhook webhook;
    struct fm_conf_host *hosts;
    size_t nhosts;
    struct fm_conf_edge edge;
    struct fm_conf_probe probe;
    struct fm_conf_region *regions;
    size_t nregions;
    struct fm_conf_context *contexts;
    size_t ncontexts;
    size_t nroutes; /* of all contexts */
    struct fm_conf_group *groups;
    size_t ngroups;
};

enum fm_conf_severity { FM_CONF_ERROR, FM_CONF_WARNING };

struct fm_conf_finding {
    enum fm_conf_severity severity;
    struct fm_conf_pos pos; /* file may be "" for what has no place */
    const char *what;       /* what is wrong and what was expected */
    const char *advice;     /* what to do; may be NULL */
    const char *source;     /* the line of the file; may be NULL */
};

enum { FM_CONF_FINDINGS_MAX = 100 };

/* The report owns its texts; findings are in the order of the file. */
struct fm_conf_report {
    struct fm_arena arena;
    struct fm_conf_finding finding[FM_CONF_FINDINGS_MAX];
    size_t n, errors, warnings; /* n < errors + warnings where there were more than fit */
    size_t first; /* of the call at hand: what was said in an earlier one is said again */
    size_t last;  /* the finding that advice goes to; FM_CONF_FINDINGS_MAX = none */
};

void fm_conf_report_init(struct fm_conf_report *r);
void fm_conf_report_deinit(struct fm_conf_report *r);

/* For people: each finding as `FILE:LINE:COL: error: WHAT`, the line of the file with a caret, and
 * the advice; then how many there are. */
struct fm_buf;
void fm_conf_report_print(const struct fm_conf_report *r, struct fm_buf *out);

/* NULL where there is at least one error (of this call: a report may be used for several); the
 * report says all of them (and warnings in any case). The caller frees the result with
 * fm_conf_free. */
struct fm_conf *fm_conf_load(const char *path, struct fm_conf_report *report) FM_WARN_UNUSED;
/* Only `state`, of a file that may have errors elsewhere, for who looks for a daemon that goes on
 * with an earlier version of it. All else is empty, and so is `state` where it cannot be read. NULL
 * where there is no memory. */
struct fm_conf *fm_conf_load_state(const char *path) FM_WARN_UNUSED;
/* fm_conf_load from memory, for tests and fuzzing; includes are refused. */
struct fm_conf *fm_conf_parse(struct fm_str text, const char *name,
                              struct fm_conf_report *report) FM_WARN_UNUSED;
void fm_conf_free(struct fm_conf *c);

/* May `to` replace `from` in a process that was started with `started` (which may be `from`)?
 * Refuses what is fixed for the life of the service; adds a warning for each change that needs a
 * restart, as long as it does. */
enum fm_err fm_conf_check_reload(const struct fm_conf *started, const struct fm_conf *from,
                                 const struct fm_conf *to,
                                 struct fm_conf_report *report) FM_WARN_UNUSED;

/* How long taking over a context takes at the least, by the declared times: detection is that of
 * `probe`. The context must be exclusive (ncells > 0). */
struct fm_floor fm_conf_floor(const struct fm_conf *c, unsigned context);

/* -1 where there is none. */
int fm_conf_find_host(const struct fm_conf *c, struct fm_str name);
int fm_conf_find_region(const struct fm_conf *c, struct fm_str name);
int fm_conf_find_context(const struct fm_conf *c, struct fm_str name);
int fm_conf_find_group(const struct fm_conf *c, struct fm_str name);
/* The node of the group on this host. */
int fm_conf_find_group_node(const struct fm_conf_group *g, unsigned host);
/* The node that is the nth by the names of hosts: a number that is the same in every file. */
const struct fm_conf_group_node *fm_conf_group_nth(const struct fm_conf *c,
                                                   const struct fm_conf_group *g, unsigned nth);
/* A number for each zone of a region, from 1, the same for all nodes of the group there; 0 where
 * the file does not say in which one the host of that node (an index) stands. */
unsigned fm_conf_group_zone(const struct fm_conf *c, const struct fm_conf_group *g, size_t node);
/* Where the gate of this host listens for clients of the group; NULL where it does not. */
const struct fm_conf_addr *fm_conf_group_listen(const struct fm_conf *c,
                                                const struct fm_conf_group *g, unsigned host,
                                                bool read_only) FM_WARN_UNUSED;
/* Is it a group and nothing else? Nothing is routed to it then, and no pool serves it. */
static inline bool fm_conf_is_database(const struct fm_conf_context *x)
{
    return x->nroutes == 0;
}
/* The group that carries the data of the context. */
int fm_conf_group_of(const struct fm_conf *c, unsigned context);
int fm_conf_find_pool(const struct fm_conf_region *r, struct fm_str name);
/* The nearest of `n` names, near enough to be meant; p is NULL where none is. */
struct fm_str fm_suggest_name(struct fm_str wrong, const struct fm_str *names, size_t n);
/* Do its gates write anything down: keys, what they take without authority, what they queue? */
bool fm_conf_is_journaled(const struct fm_conf_context *c);
/* Do gates pass commands on to those of other regions: has a route `relay: true`? */
bool fm_conf_relays(const struct fm_conf *c);
int fm_conf_find_check(const struct fm_conf_region *r, struct fm_str name);

/* The state folder of `host` in `region`: `state` expanded; without it /var/lib/fulmar/HOST for
 * root, else $XDG_STATE_HOME/fulmar/HOST, else ~/.local/state/fulmar/HOST. */
enum fm_err fm_conf_state_dir(const struct fm_conf *c, struct fm_str host, struct fm_str region,
                              char *out, size_t cap, struct fm_error *e) FM_WARN_UNUSED;

/* `text` with {host} and {region} put in, terminated: for edge.access_log.path and the files of
 * peer_tls, which are templates like `state`. FM_ERR_LIMIT where it does not fit. */
enum fm_err fm_conf_expand(struct fm_str text, struct fm_str host, struct fm_str region, char *out,
                           size_t cap) FM_WARN_UNUSED;

/* The file with a password of the group on `host`: as said, else STATE/groups/GROUP/ADMIN-OR-
 * REPLICATION.password. */
enum fm_conf_secret { FM_CONF_SECRET_ADMIN, FM_CONF_SECRET_REPLICATION };
enum fm_err fm_conf_group_secret(const struct fm_conf *c, const struct fm_conf_group *g,
                                 const struct fm_conf_host *host, enum fm_conf_secret which,
                                 char *out, size_t cap, struct fm_error *e) FM_WARN_UNUSED;

/* Made from the table that drives the parser. Both write JSON (a JSON Schema of draft 2020-12) or
 * Markdown to `out`; they return FM_ERR_LIMIT where it does not fit. */
enum fm_err fm_conf_schema_json(struct fm_buf *out) FM_WARN_UNUSED;
enum fm_err fm_conf_reference_md(struct fm_buf *out) FM_WARN_UNUSED;

#endif
