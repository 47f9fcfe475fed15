/* conf/schema.h: the one table of the language.
 *
 * Each row says of a key: name, kind of value, where the value goes, range, default, whether a
 * running process takes it over, and what it is for. The parser, the defaults, the checks, the JSON
 * Schema and the reference page come from the rows; a key that is documented for a later version is
 * a row of kind FM_KIND_LATER, so that its message says so. The tables are constant.
 *
 * Offsets are from the struct of the section (`at` in the functions); a section that lies in its
 * parent's struct has the rows' offsets from the same base. */
#ifndef FM_CONF_SCHEMA_H
#define FM_CONF_SCHEMA_H

#include "conf/load.h"

enum fm_kind {
    FM_KIND_BOOL,       /* bool */
    FM_KIND_UINT,       /* unsigned, uint32_t or uint64_t */
    FM_KIND_DURATION,   /* int64_t, ms */
    FM_KIND_SIZE,       /* uint32_t or uint64_t, bytes */
    FM_KIND_RATE,       /* uint64_t, bytes per second */
    FM_KIND_PERCENT,    /* uint32_t, ppm */
    FM_KIND_PER_SECOND, /* uint32_t */
    FM_KIND_AT_MOST,    /* fm_decode_at_most reads it */
    FM_KIND_HOURS,      /* struct fm_conf_window */
    FM_KIND_WORD,       /* an enum, or a bool, one of `words` */
    /* struct fm_str: */
    FM_KIND_NAME,
    FM_KIND_TEXT,
    FM_KIND_TOKEN,
    FM_KIND_METHOD,
    FM_KIND_HOST_PATTERN,
    FM_KIND_DNS_NAME,
    FM_KIND_URL_PATH,
    FM_KIND_FILE,
    FM_KIND_ROUTE_PATH,
    FM_KIND_HTTP_URL,
    FM_KIND_WEB_URL,  /* fm_decode_webhook_url reads it */
    FM_KIND_ENDPOINT, /* fm_decode_endpoints reads it */
    /* struct fm_conf_addr: */
    FM_KIND_BIND,
    FM_KIND_TARGET,
    FM_KIND_HOST,
    FM_KIND_CIDR,    /* struct fm_conf_cidr */
    FM_KIND_SETTING, /* fm_decode_settings reads it */
    FM_KIND_SECTION, /* a map with the keys of `section` */
    FM_KIND_NAMED,   /* a map of names; each value as `item` says */
    FM_KIND_LIST,    /* each entry as `item` says; pointer at offset, size_t at count */
    FM_KIND_EITHER,  /* as one of the `nitem` rows of `item` says */
    FM_KIND_LATER,   /* documented, and not in this version */
    FM_KINDS
};

enum fm_reload {
    FM_RELOAD_LIVE,
    FM_RELOAD_RESTART,
    FM_RELOAD_FIXED,
    FM_RELOAD_SHARED /* agreed: conf/shared.h */
};

enum {
    FM_ROW_REQUIRED = 1,
    FM_ROW_INHERITS = 2,   /* the default is what the level above says */
    FM_ROW_UNIQUE = 4,     /* no entry twice in the list */
    FM_ROW_RANGES = 8,     /* the names of the map may hold ranges: west-gate-[1-3] */
    FM_ROW_ALONE = 16,     /* of FM_KIND_BOOL: where it is true, nothing is required beside it */
    FM_ROW_PARAMETERS = 32 /* the names of the map are those of parameters of PostgreSQL */
};

struct fm_word {
    const char *name;
    unsigned value;
    const char *help;
    bool later; /* documented, and not in this version; help says what it is */
};

struct fm_schema_row;
struct fm_schema_section;

/* Read `n` as the row says into the section's struct; errors go to the report. */
typedef void fm_decode_fn(struct fm_load *l, const struct fm_schema_row *row,
                          const struct fm_node *n, void *at);

struct fm_schema_row {
    const char *name;
    enum fm_kind kind;
    unsigned flags;
    enum fm_reload reload;
    size_t offset, size;  /* of the value */
    size_t count, stride; /* FM_KIND_LIST: offset of the count; size of an entry */
    size_t present;       /* FM_KIND_SECTION: offset of a bool that is set, plus one; 0 = none */
    uint64_t min, max;    /* numbers, lengths of texts and lists, entries of maps; max 0 = any */
    const char *def;      /* the default as one would write it; NULL = none */
    const char *def_note; /* for people, where the default is computed or is no value */
    const char *example;  /* for the message where it is required and missing */
    const struct fm_word *words;
    size_t nwords;
    unsigned tag; /* FM_KIND_EITHER: what the word's enum becomes where the value is no word */
    const struct fm_schema_section *section;
    const struct fm_schema_row *item;
    size_t nitem;
    fm_decode_fn *decode; /* instead of the kind's */
    const char *help;
};

struct fm_schema_section {
    const char *id;    /* in the JSON Schema */
    const char *title; /* in the reference: `contexts.NAME.timeouts` */
    const struct fm_schema_row *rows;
    size_t n;
    const char *help;
    bool exactly_one; /* key of the section must be there */
    /* Rules among the keys of one section, after all are read; NULL = none. */
    void (*check)(struct fm_load *l, const struct fm_node *map, void *at);
};

/* What a kind is called and how it is read; in decode.c. */
struct fm_kind_info {
    const char *expects; /* "a duration such as `200ms`" */
    const char *id;      /* in the JSON Schema; NULL for composite kinds */
    const char *title;   /* in the reference */
    const char *pattern; /* ECMA-262, of the JSON Schema; NULL = none */
    const char *help;    /* in the reference */
    fm_decode_fn *decode;
};
const struct fm_kind_info *fm_kind_info(enum fm_kind kind);

/* struct fm_root; everything else hangs on it. */
extern const struct fm_schema_section fm_schema_root;
/* schema.c */
extern const struct fm_schema_section fm_schema_host, fm_schema_region, fm_schema_pool_dns,
    fm_schema_check;
/* schema_edge.c */
extern const struct fm_schema_section fm_schema_edge, fm_schema_probe;
/* schema_coordination.c */
extern const struct fm_schema_section fm_schema_coordination;
/* schema_authority.c */
extern const struct fm_schema_section fm_schema_homes, fm_schema_key, fm_schema_failover,
    fm_schema_failback, fm_schema_standby, fm_schema_when_away, fm_schema_idempotency,
    fm_schema_objectives, fm_schema_webhook;
/* schema_context.c */
extern const struct fm_schema_section fm_schema_context, fm_schema_route, fm_schema_sticky;
extern const struct fm_schema_section fm_schema_routing, fm_schema_timeouts, fm_schema_retry,
    fm_schema_limits;

/* schema_group.c */
extern const struct fm_schema_section fm_schema_group, fm_schema_group_node, fm_schema_hooks,
    fm_schema_replication;

const struct fm_schema_row *fm_schema_find(const struct fm_schema_section *s, struct fm_str name);

#endif
