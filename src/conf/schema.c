/* The table of the language: the whole file, checks, regions, hosts; the edge is in schema_edge.c,
 * contexts and what they inherit in schema_context.c. Constant data. The order of the rows is the
 * order of decoding (what is inherited comes first) and of the reference. */
#include "conf/schema_rows.h"

/* checks */

static const struct fm_schema_row argv_item = {.kind = FM_KIND_TEXT, RANGE(1, 4096)};

static const struct fm_word access_words[] = {
    {"any", FM_ACCESS_ANY, "a primary or a standby", false},
    {"read-write", FM_ACCESS_READ_WRITE, "a primary, and transactions that write", false},
    {"read-only", FM_ACCESS_READ_ONLY, "a standby, or a server that is set to be read-only", false},
};

static const struct fm_schema_row check_rows[] = {
    {.name = "tcp",
     .kind = FM_KIND_TARGET,
     AT(struct fm_conf_check, target),
     .help = "Target: a connection to `host:port` opens."},
    {.name = "http",
     .kind = FM_KIND_HTTP_URL,
     .decode = fm_decode_http_url,
     .help = "Target: a GET of the URL is answered as `status` and `body` say."},
    {.name = "redis",
     .kind = FM_KIND_TARGET,
     AT(struct fm_conf_check, target),
     .help = "Target: Redis at `host:port` answers PING."},
    {.name = "dns",
     .kind = FM_KIND_DNS_NAME,
     AT(struct fm_conf_check, server_name),
     .help = "Target: the name resolves."},
    {.name = "tls",
     .kind = FM_KIND_TARGET,
     AT(struct fm_conf_check, target),
     .help = "Target: the certificate at `host:port` is valid for `name`."},
    {.name = "command",
     .kind = FM_KIND_LIST,
     LIST_AT(struct fm_conf_check, command, ncommand),
     RANGE(1, FM_CONF_LIST_MAX),
     ITEM(argv_item),
     .help = "Target: the program (with its arguments, no shell) ends with 0."},
    {.name = "postgres",
     .kind = FM_KIND_TARGET,
     AT(struct fm_conf_check, target),
     .help = "Target: PostgreSQL at `host:port` (or a pooler in front of it) lets `user` in, and "
             "answers as `query`, `access` and `replay-lag` say."},
    {.name = "interval",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_check, interval_ms),
     RANGE(50, HOUR),
     .def = "500ms",
     .help = "Between runs."},
    {.name = "timeout",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_check, timeout_ms),
     RANGE(1, 5 * MINUTE),
     .def = "300ms",
     .def_note = "`2s` for a `command`",
     .help = "A run that takes longer has failed."},
    {.name = "max-age",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_check, max_age_ms),
     RANGE(100, DAY),
     .def_note = "`3s`, six times `interval` or twice `interval` and `timeout`, whichever is most",
     .help = "A result older than this counts as bad; at least `interval` and `timeout` together."},
    {.name = "fall",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_check, fall),
     RANGE(1, 100),
     .def = "2",
     .help = "Failures in a row until it counts as bad."},
    {.name = "rise",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_check, rise),
     RANGE(1, 100),
     .def = "3",
     .help = "Successes in a row until it counts as good again."},
    {.name = "latency",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_check, latency_ms),
     RANGE(1, 5 * MINUTE),
     .def_note = "no bound",
     .help = "Slower than this counts as failing; at most `timeout`."},
    {.name = "status",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_check, status),
     RANGE(100, 599),
     .def_note = "any 2xx",
     .help = "`http`: the expected status."},
    {.name = "body",
     .kind = FM_KIND_TEXT,
     AT(struct fm_conf_check, body),
     RANGE(1, 1024),
     .def_note = "any",
     .help = "`http`: must occur in the first 64KiB of the body."},
    {.name = "name",
     .kind = FM_KIND_DNS_NAME,
     AT(struct fm_conf_check, server_name),
     .def_note = "the host of the target",
     .help = "`tls`: the name that the certificate must have; required where the target is an IP "
             "address."},
    {.name = "warn",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_check, warn_ms),
     RANGE(0, 365 * DAY),
     .def = "14d",
     .help = "`tls`: warns so long before the certificate expires; fails only when it has."},
    {.name = "user",
     .kind = FM_KIND_TEXT,
     AT(struct fm_conf_check, pg.user),
     RANGE(1, 63),
     .def = "fulmar",
     .help = "`postgres`: the role to connect as. It needs no rights but those of `query`."},
    {.name = "password-file",
     .kind = FM_KIND_FILE,
     AT(struct fm_conf_check, pg.password_file),
     .decode = fm_decode_check_file,
     .def_note = "none",
     .help = "`postgres`: the file with its password, not readable by others; read for each run. "
             "{region} expands, {host} does not."},
    {.name = "database",
     .kind = FM_KIND_TEXT,
     AT(struct fm_conf_check, pg.database),
     RANGE(1, 63),
     .def = "postgres",
     .help = "`postgres`: the database to connect to."},
    {.name = "query",
     .kind = FM_KIND_TEXT,
     AT(struct fm_conf_check, pg.query),
     RANGE(1, 4096),
     .def_note = "none: that it lets the user in and answers is enough",
     .help = "`postgres`: one statement that must end without an error, and whose first value, if "
             "there is one, must not be `false`. It is cancelled after `timeout`."},
    {.name = "access",
     .kind = FM_KIND_WORD,
     AT(struct fm_conf_check, pg.access),
     WORDS(access_words),
     .def = "any",
     .help = "`postgres`: what the server must allow."},
    {.name = "replay-lag",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_check, pg.replay_lag_ms),
     RANGE(1, DAY),
     .def_note = "no bound",
     .help = "`postgres`: a standby that is further behind than this fails. Measured on the "
             "standby: 0 while it receives and has replayed all that it received, else the age of "
             "the last commit that it replayed, by its clock and that of the primary."},
    LATER("kafka", "checks of Kafka; until then check the port with `tcp`"),
};

const struct fm_schema_section fm_schema_check = {
    .id = "check",
    .title = "checks.NAME",
    ROWS(check_rows),
    .help =
        "A dependency of a stamp, run by the agents with the role `health`. What is said at the "
        "top level holds in every region; `regions.REGION.checks.NAME` adds the target (exactly "
        "one of `tcp`, `http`, `redis`, `dns`, `tls`, `command`, `postgres`) and may replace any "
        "key. A "
        "check whose target is said at the top level exists in every region.",
};

static const struct fm_schema_row check_item = {.kind = FM_KIND_SECTION,
                                                .section = &fm_schema_check};

/* regions */

static const struct fm_schema_row target_item = {.kind = FM_KIND_TARGET};

static const struct fm_schema_row pool_dns_rows[] = {
    {.name = "dns",
     .kind = FM_KIND_TARGET,
     .flags = FM_ROW_REQUIRED,
     AT(struct fm_pool_dns, dns),
     .example = "dns: \"app.internal:8080\"",
     .help = "A name; every address that it resolves to is an app. No answer keeps the last."},
    {.name = "refresh",
     .kind = FM_KIND_DURATION,
     AT(struct fm_pool_dns, refresh_ms),
     RANGE(SECOND, HOUR),
     .def = "5s",
     .help = "How often it is looked up."},
};

const struct fm_schema_section fm_schema_pool_dns = {
    .id = "pool-dns",
    .title = "regions.NAME.apps.POOL",
    ROWS(pool_dns_rows),
    .help = "A pool whose apps are found by name.",
};

static const struct fm_schema_row pool_items[] = {
    {.kind = FM_KIND_LIST,
     .flags = FM_ROW_UNIQUE,
     RANGE(1, FM_CONF_POOL_APPS_MAX),
     LIST_AT(struct fm_conf_pool, apps, napps),
     ITEM(target_item)},
    {.kind = FM_KIND_SECTION, .section = &fm_schema_pool_dns},
};

static const struct fm_schema_row pool_item = {.kind = FM_KIND_EITHER, ITEMS(pool_items)};

static const struct fm_schema_row apps_items[] = {
    {.kind = FM_KIND_LIST,
     .flags = FM_ROW_UNIQUE,
     RANGE(1, FM_CONF_POOL_APPS_MAX),
     LIST_AT(struct fm_conf_pool, apps, napps),
     ITEM(target_item)},
    {.kind = FM_KIND_NAMED, RANGE(1, FM_CONF_POOLS_MAX), ITEM(pool_item)},
};

static const struct fm_schema_row region_rows[] = {
    {.name = "priority",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_region, priority),
     RANGE(1, 1000),
     .def = "1",
     .help = "Lower is taken first; regions with the same share by `weight`."},
    {.name = "weight",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_region, weight),
     RANGE(1, 1000),
     .def = "100",
     .help = "Share among the regions of the same priority."},
    {.name = "witness",
     .kind = FM_KIND_BOOL,
     .flags = FM_ROW_ALONE,
     AT(struct fm_conf_region, witness),
     .def = "false",
     .help = "With `true` it votes and never serves, and has no other key: the third failure "
             "domain where two regions serve."},
    {.name = "apps",
     .kind = FM_KIND_EITHER,
     ITEMS(apps_items),
     .decode = fm_decode_pools,
     .example = "apps: [\"10.0.1.10:8080\"]",
     .def_note = "none, where no context has `routes`",
     .help =
         "The app instances: pools by name; a plain list is the pool `default`. Names among the "
         "addresses are looked up every 5s."},
    {.name = "checks",
     .kind = FM_KIND_NAMED,
     RANGE(0, FM_CONF_CHECKS_MAX),
     ITEM(check_item),
     .decode = fm_decode_nothing, /* fm_checks_resolve does, when it has seen the top level */
     .help = "Targets of the checks in this region, and what differs here."},
    {.name = "capacity",
     .kind = FM_KIND_PER_SECOND,
     AT(struct fm_conf_region, capacity_rps),
     RANGE(1, 100000000),
     .def_note = "not known",
     .help = "Requests that the whole region can take, of all contexts. Moves and failovers look "
             "at it; nothing is shed by it."},
};

const struct fm_schema_section fm_schema_region = {
    .id = "region",
    .title = "regions.NAME",
    ROWS(region_rows),
    .help = "An independent failure domain and what it has to serve alone.",
    .check = fm_check_region,
};

static const struct fm_schema_row region_item = {.kind = FM_KIND_SECTION,
                                                 .section = &fm_schema_region};

/* hosts */

static const struct fm_word role_words[] = {
    {"edge", FM_ROLE_EDGE, "accepts clients (`fulmar edge`)", false},
    {"gate", FM_ROLE_GATE, "the region's HTTP door (`fulmar agent`)", false},
    {"health", FM_ROLE_HEALTH, "runs the checks (`fulmar agent`)", false},
    {"controller", FM_ROLE_CONTROLLER,
     "may become keeper of its region's leases, and runs moves and failovers; up to eight of a "
     "region (`fulmar agent`)",
     false},
    {"postgres", FM_ROLE_POSTGRES, "runs PostgreSQL nodes of `groups` (`fulmar agent`)", false},
    {"replicator", 0, "moves data between regions", true},
    {"witness", FM_ROLE_WITNESS, "votes, in a region with `witness: true` (`fulmar agent`)", false},
    {"coordination", FM_ROLE_COORDINATION,
     "owns the file of `coordination.sqlite` (`fulmar agent`)", false},
};

static const struct fm_schema_row role_item = {.kind = FM_KIND_WORD, WORDS(role_words)};

static const struct fm_schema_row host_rows[] = {
    {.name = "region",
     .kind = FM_KIND_NAME,
     .flags = FM_ROW_REQUIRED,
     AT(struct fm_host_def, region),
     .reload = FM_RELOAD_SHARED,
     .example = "region: west",
     .help = "In which region it stands."},
    {.name = "roles",
     .kind = FM_KIND_LIST,
     .flags = FM_ROW_REQUIRED | FM_ROW_UNIQUE,
     AT(struct fm_host_def, roles),
     RANGE(1, FM_CONF_LIST_MAX),
     .reload = FM_RELOAD_SHARED,
     ITEM(role_item),
     .decode = fm_decode_roles,
     .example = "roles: [edge]",
     .help = "What runs there."},
    {.name = "address",
     .kind = FM_KIND_HOST,
     AT(struct fm_host_def, address),
     .reload = FM_RELOAD_SHARED,
     .decode = fm_decode_host_address,
     .def_note = "required for all roles but `edge`",
     .help = "The name or IP address at which others reach it; {host} and {region} expand."},
    {.name = "zone",
     .kind = FM_KIND_NAME,
     AT(struct fm_host_def, zone),
     .reload = FM_RELOAD_SHARED,
     .def_note = "none",
     .help =
         "The part of the region in which it stands, and with which it may be lost: `a`. Say it "
         "of all hosts of a region, or of none. Of the nodes of a group that could go on with "
         "the same data, one in another zone than the lost primary does."},
    {.name = "gate",
     .kind = FM_KIND_BIND,
     AT(struct fm_host_def, gate),
     .reload = FM_RELOAD_SHARED,
     .def_note = "all interfaces, port 7100",
     .help = "Where its gate listens; others dial that port at `address`. Needs the role `gate`."},
    {.name = "peer",
     .kind = FM_KIND_BIND,
     AT(struct fm_host_def, peer),
     .reload = FM_RELOAD_SHARED,
     .def_note = "all interfaces, port 7101",
     .help = "Where its agent listens for other hosts (/health/deep); others dial that port at "
             "`address`. Needs another role than `edge`."},
    {.name = "admin",
     .kind = FM_KIND_BIND,
     AT(struct fm_host_def, admin),
     .reload = FM_RELOAD_SHARED,
     .def_note = "`127.0.0.1:7102`; of a host that is only `edge`: `edge.admin`",
     .help = "Where its agent (or its edge, where it has no agent) serves /metrics, /status and "
             "/health/live; only reads."},
};

const struct fm_schema_section fm_schema_host = {
    .id = "host",
    .title = "hosts.NAME",
    ROWS(host_rows),
    .help = "A host, or a range of hosts: `west-gate-[1-3]` is three, `[01-12]` keeps the zeros. "
            "Edges that come and go need not be listed.",
};

static const struct fm_schema_row host_item = {.kind = FM_KIND_SECTION, .section = &fm_schema_host};

static const struct fm_schema_row dial_rows[] = {
    {.name = "gate",
     .kind = FM_KIND_TARGET,
     AT(struct fm_dial_def, gate),
     .def_note = "`address` and the port of its `gate`",
     .help = "The way to its gate."},
    {.name = "peer",
     .kind = FM_KIND_TARGET,
     AT(struct fm_dial_def, peer),
     .def_note = "`address` and the port of its `peer`",
     .help = "The way to its agent."},
    {.name = "postgres",
     .kind = FM_KIND_HOST,
     AT(struct fm_dial_def, postgres),
     .reload = FM_RELOAD_RESTART,
     .def_note = "`address`",
     .help = "The way to its nodes of `groups`, each at its own port."},
};

static const struct fm_schema_section dial_section = {
    .id = "dial",
    .title = "dial.HOST",
    ROWS(dial_rows),
    .help = "Another way to a host, from where this file is used: through a tunnel, an address "
            "translation, a proxy. Certificates are checked for the host that is meant.",
};

static const struct fm_schema_row dial_item = {.kind = FM_KIND_SECTION, .section = &dial_section};

/* the whole file */

static const struct fm_schema_row include_item = {.kind = FM_KIND_TEXT, RANGE(1, 1024)};

static const struct fm_word peer_words[] = {
    {"plaintext", FM_PEER_PLAINTEXT, "no encryption between hosts", false},
};

static const struct fm_schema_row peer_tls_rows[] = {
    {.name = "ca",
     .kind = FM_KIND_FILE,
     .flags = FM_ROW_REQUIRED,
     AT(struct fm_root, conf.peer_tls.ca),
     .example = "ca: peers-ca.pem",
     .help = "Certificates of the service's own authority; a host without one of its certificates "
             "gets nowhere. `fulmar certs init` makes it."},
    {.name = "cert",
     .kind = FM_KIND_FILE,
     .flags = FM_ROW_REQUIRED,
     AT(struct fm_root, conf.peer_tls.cert),
     .example = "cert: \"{host}.pem\"",
     .help = "This host's certificate, for its name under `hosts`. `fulmar certs add` makes it."},
    {.name = "key",
     .kind = FM_KIND_FILE,
     .flags = FM_ROW_REQUIRED,
     AT(struct fm_root, conf.peer_tls.key),
     .example = "key: \"{host}.key\"",
     .help = "The private key of `cert`; nobody else may read it."},
};

static const struct fm_schema_section peer_tls_section = {
    .id = "peer-tls",
    .title = "peer-tls",
    ROWS(peer_tls_rows),
    .help = "Mutual TLS: edge to gate, edge to agent. Both sides show a certificate, and who "
            "connects checks that it is for the host that it meant. The files are read again on "
            "SIGHUP; connections that stand keep what they began with.",
};

static const struct fm_schema_row peer_tls_items[] = {
    {.kind = FM_KIND_WORD, AT(struct fm_root, peer_tls), WORDS(peer_words)},
    {.kind = FM_KIND_SECTION,
     PRESENT(struct fm_root, conf.peer_tls.present),
     .section = &peer_tls_section},
};

static const struct fm_schema_row context_item = {.kind = FM_KIND_SECTION,
                                                  .section = &fm_schema_context};

static const struct fm_schema_row group_item = {.kind = FM_KIND_SECTION,
                                                .section = &fm_schema_group};

static const struct fm_schema_row root_rows[] = {
    {.name = "fulmar",
     .kind = FM_KIND_UINT,
     .flags = FM_ROW_REQUIRED,
     AT(struct fm_root, language),
     RANGE(1, 1),
     .example = "fulmar: 1",
     .help = "Version of this language."},
    {.name = "service",
     .kind = FM_KIND_NAME,
     .flags = FM_ROW_REQUIRED,
     AT(struct fm_root, conf.service),
     .reload = FM_RELOAD_FIXED,
     .example = "service: shop",
     .help = "Name of the service that the regions serve together."},
    {.name = "include",
     .kind = FM_KIND_LIST,
     RANGE(0, FM_CONF_LIST_MAX),
     .stride = sizeof(struct fm_str),
     ITEM(include_item),
     .decode = fm_decode_nothing, /* include.c did */
     .def_note = "nothing",
     .help = "More files, as paths or patterns (`contexts/*.yaml`) seen from this file. Together "
             "they are a union: a key set in two files is an error, nothing overrides."},
    {.name = "state",
     .kind = FM_KIND_FILE,
     AT(struct fm_root, conf.state),
     .reload = FM_RELOAD_RESTART,
     .def_note = "`/var/lib/fulmar/{host}`; not as root: `$XDG_STATE_HOME/fulmar/{host}`",
     .help = "Folder of what a host keeps: view, events, sockets."},
    {.name = "coordination",
     .kind = FM_KIND_SECTION,
     AT(struct fm_root, conf.coordination),
     PRESENT(struct fm_root, conf.coordination.present),
     .section = &fm_schema_coordination,
     .def_note = "none",
     .help = "Where regions agree on who may write."},
    {.name = "peer-tls",
     .kind = FM_KIND_EITHER,
     ITEMS(peer_tls_items),
     .tag = FM_PEER_MUTUAL,
     .def_note = "must be said where `hosts` has agents beyond loopback",
     .help = "How hosts talk to each other: by mutual TLS, or in the clear."},
    {.name = "edge",
     .kind = FM_KIND_SECTION,
     AT(struct fm_root, conf.edge),
     PRESENT(struct fm_root, conf.edge.present),
     .section = &fm_schema_edge,
     .def_note = "no edge",
     .help = "The front."},
    {.name = "probe",
     .kind = FM_KIND_SECTION,
     AT(struct fm_root, conf.probe),
     .section = &fm_schema_probe,
     .help = "How edges find out which region is well."},
    {.name = "routing",
     .kind = FM_KIND_SECTION,
     AT(struct fm_root, policy.routing),
     .section = &fm_schema_routing,
     .help = "Which region, where more than one may answer. Default of every context."},
    {.name = "timeouts",
     .kind = FM_KIND_SECTION,
     AT(struct fm_root, policy.timeouts),
     .section = &fm_schema_timeouts,
     .help = "Towards apps and gates. Default of every context."},
    {.name = "limits",
     .kind = FM_KIND_SECTION,
     AT(struct fm_root, policy.in_flight_max),
     .section = &fm_schema_limits,
     .help = "Bulkheads. Default of every context."},
    {.name = "retry",
     .kind = FM_KIND_SECTION,
     AT(struct fm_root, policy.retry),
     .section = &fm_schema_retry,
     .help = "Trying again elsewhere. Default of every context."},
    {.name = "checks",
     .kind = FM_KIND_NAMED,
     RANGE(0, FM_CONF_CHECKS_MAX),
     ITEM(check_item),
     .decode = fm_decode_checks,
     .help = "Dependencies of a stamp, defined once."},
    {.name = "regions",
     .kind = FM_KIND_NAMED,
     .flags = FM_ROW_REQUIRED,
     RANGE(1, FM_CONF_REGIONS_MAX),
     ITEM(region_item),
     .decode = fm_decode_regions,
     .example = "regions: {west: {apps: [\"10.0.1.10:8080\"]}}",
     .help = "The regions. Names of regions, contexts and hosts share one namespace."},
    {.name = "hosts",
     .kind = FM_KIND_NAMED,
     .flags = FM_ROW_RANGES,
     RANGE(0, FM_CONF_HOSTS_MAX),
     ITEM(host_item),
     .decode = fm_decode_hosts,
     .def_note = "none",
     .help = "Who runs what."},
    {.name = "dial",
     .kind = FM_KIND_NAMED,
     RANGE(0, FM_CONF_HOSTS_MAX),
     ITEM(dial_item),
     .decode = fm_decode_dial,
     .def_note = "none",
     .example = "dial: {north-1: {peer: \"127.0.0.1:9101\"}}",
     .help =
         "Where this host dials others, if not at their `address`, which all hosts agree upon."},
    {.name = "contexts",
     .kind = FM_KIND_NAMED,
     .flags = FM_ROW_REQUIRED,
     RANGE(1, FM_CONF_CONTEXTS_MAX),
     ITEM(context_item),
     .decode = fm_decode_contexts,
     .example = "contexts: {shop: {topology: multi-write, routes: [\"/**\"]}}",
     .help = "The bounded contexts of the business, the unit of policy."},
    {.name = "groups",
     .kind = FM_KIND_NAMED,
     RANGE(0, FM_CONF_GROUPS_MAX),
     ITEM(group_item),
     .decode = fm_decode_groups,
     .def_note = "none",
     .help = "PostgreSQL failover groups: the databases that carry the data of contexts."},
    {.name = "authority-webhook",
     .kind = FM_KIND_SECTION,
     AT(struct fm_root, conf.webhook),
     PRESENT(struct fm_root, conf.webhook.present),
     .section = &fm_schema_webhook,
     .def_note = "nobody is told",
     .help = "Tells a system downstream who may write what, whenever that changes."},
};

const struct fm_schema_section fm_schema_root = {
    .id = "fulmar",
    .title = "The whole file",
    ROWS(root_rows),
    .help = "",
};

const struct fm_schema_row *fm_schema_find(const struct fm_schema_section *s, struct fm_str name)
{
    for (size_t i = 0; i < s->n; i++)
        if (fm_str_eqz(name, s->rows[i].name))
            return &s->rows[i];
    return NULL;
}
