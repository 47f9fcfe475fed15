/* The table of the language: `edge` and `probe`. See schema.h; constant data. */
#include "conf/schema_rows.h"

/* edge */

static const struct fm_schema_row listen_rows[] = {
    {.name = "address",
     .kind = FM_KIND_BIND,
     .flags = FM_ROW_REQUIRED,
     AT(struct fm_conf_listen, address),
     .reload = FM_RELOAD_RESTART,
     .example = "address: \"0.0.0.0:80\"",
     .help = "Where to accept plain HTTP/1.1. No two of one process may overlap."},
    LATER("redirect", "answers with a redirect to https"),
    LATER("tls", "TLS for clients; until then put a TLS terminator in front"),
    LATER("http2", "HTTP/2 for clients"),
    LATER("proxy-protocol", "the PROXY protocol of a balancer in front"),
    LATER("from", "who may send the PROXY protocol"),
};

static const struct fm_schema_section listen_section = {
    .id = "listen",
    .title = "edge.listen[]",
    ROWS(listen_rows),
    .help = "One listener of the edge.",
};

static const struct fm_schema_row listen_item = {.kind = FM_KIND_SECTION,
                                                 .section = &listen_section};
static const struct fm_schema_row cidr_item = {.kind = FM_KIND_CIDR};

static const struct fm_schema_row ready_rows[] = {
    {.name = "address",
     .kind = FM_KIND_BIND,
     .flags = FM_ROW_REQUIRED,
     AT(struct fm_conf_edge, ready.address),
     .reload = FM_RELOAD_RESTART,
     .example = "address: \"0.0.0.0:7103\"",
     .help = "Where the balancer asks."},
    {.name = "path",
     .kind = FM_KIND_URL_PATH,
     AT(struct fm_conf_edge, ready.path),
     .def = "/ready",
     .help = "What it asks for."},
};

static const struct fm_schema_section ready_section = {
    .id = "ready",
    .title = "edge.ready",
    ROWS(ready_rows),
    .help = "For a balancer in front of the edges: 200, or 503 before the first view and while "
            "draining.",
};

static const struct fm_schema_row drain_rows[] = {
    {.name = "announce",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_edge, drain_announce_ms),
     RANGE(0, 10 * MINUTE),
     .def = "5s",
     .help = "Not ready any more, but still accepting, so that a balancer notices."},
    {.name = "finish",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_edge, drain_finish_ms),
     RANGE(0, HOUR),
     .def = "30s",
     .help = "Then no new requests, and so long to finish the ones in flight."},
};

static const struct fm_schema_section drain_section = {
    .id = "drain",
    .title = "edge.drain",
    ROWS(drain_rows),
    .help = "How an edge stops.",
};

static const struct fm_schema_row edge_limits_rows[] = {
    {.name = "connections",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_edge, limits.connections),
     RANGE(16, 1000000),
     .def = "20000",
     .help = "Client connections of this process; more are refused."},
    {.name = "header",
     .kind = FM_KIND_SIZE,
     AT(struct fm_conf_edge, limits.header_bytes),
     RANGE(KIB, 64 * KIB),
     .def = "32KiB",
     .help = "All header fields of one message together."},
    {.name = "headers",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_edge, limits.headers),
     RANGE(8, 1000),
     .def = "100",
     .help = "Header fields of one message."},
    {.name = "body",
     .kind = FM_KIND_SIZE,
     AT(struct fm_conf_edge, limits.body_bytes),
     RANGE(0, TIB),
     .def = "1GiB",
     .help = "Body of one request."},
    {.name = "replay-body",
     .kind = FM_KIND_SIZE,
     AT(struct fm_conf_edge, limits.replay_body_bytes),
     RANGE(0, FM_CONF_REPLAY_BLOCKS * 64 * KIB),
     .def = "64KiB",
     .help = "Bodies up to this are kept until the answer begins, so that the request can be tried "
             "again. At most 64KiB, or four times `header` where that is more."},
};

static const struct fm_schema_section edge_limits_section = {
    .id = "edge-limits",
    .title = "edge.limits",
    ROWS(edge_limits_rows),
    .help = "Bounds of one edge process.",
};

static const struct fm_schema_row edge_timeouts_rows[] = {
    {.name = "header",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_edge, timeouts.header_ms),
     RANGE(100, 5 * MINUTE),
     .def = "5s",
     .help = "From the first byte of a request to the end of its header."},
    {.name = "idle",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_edge, timeouts.idle_ms),
     RANGE(SECOND, HOUR),
     .def = "60s",
     .help = "A connection without a request."},
    {.name = "tunnel-idle",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_edge, timeouts.tunnel_idle_ms),
     RANGE(SECOND, 7 * DAY),
     .def = "1h",
     .help = "An upgraded connection (WebSocket) without a byte in either direction."},
};

static const struct fm_schema_section edge_timeouts_section = {
    .id = "edge-timeouts",
    .title = "edge.timeouts",
    ROWS(edge_timeouts_rows),
    .help = "Towards clients.",
};

static const struct fm_schema_row access_log_rows[] = {
    {.name = "path",
     .kind = FM_KIND_FILE,
     .flags = FM_ROW_REQUIRED,
     AT(struct fm_conf_edge, access_log.path),
     .decode = fm_decode_log_path,
     .example = "path: stdout",
     .help = "The file, or `stdout`. SIGHUP opens it anew."},
    {.name = "sample",
     .kind = FM_KIND_PERCENT,
     AT(struct fm_conf_edge, access_log.sample_ppm),
     .def = "100%",
     .help = "The share of requests that is written."},
};

static const struct fm_schema_section access_log_section = {
    .id = "access-log",
    .title = "edge.access-log",
    ROWS(access_log_rows),
    .help = "One JSON line a request. Without this section there is none.",
};

static const struct fm_word min_rate_words[] = {{"none", 0, "no bound", false}};

static const struct fm_schema_row min_rate_items[] = {
    {.kind = FM_KIND_WORD, AT(struct fm_conf_edge, min_body_bps), WORDS(min_rate_words)},
    {.kind = FM_KIND_RATE, AT(struct fm_conf_edge, min_body_bps), RANGE(1, GIB)},
};

static const struct fm_schema_row edge_rows[] = {
    {.name = "workers",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_edge, workers),
     RANGE(1, 256),
     .reload = FM_RELOAD_RESTART,
     .def_note = "one per core",
     .help = "Threads that serve; they share nothing."},
    {.name = "listen",
     .kind = FM_KIND_LIST,
     .flags = FM_ROW_REQUIRED,
     LIST_AT(struct fm_conf_edge, listen, nlisten),
     RANGE(1, FM_CONF_LISTEN_MAX),
     .reload = FM_RELOAD_RESTART,
     ITEM(listen_item),
     .example = "listen: [{address: \"0.0.0.0:80\"}]",
     .help = "Where clients come in."},
    {.name = "trust-forwarded",
     .kind = FM_KIND_LIST,
     .flags = FM_ROW_UNIQUE,
     LIST_AT(struct fm_conf_edge, trust_forwarded, ntrust_forwarded),
     RANGE(0, FM_CONF_LIST_MAX),
     ITEM(cidr_item),
     .def_note = "nobody",
     .help = "Whose X-Forwarded-For is believed; everybody else's is replaced."},
    {.name = "ready",
     .kind = FM_KIND_SECTION,
     .section = &ready_section,
     PRESENT(struct fm_conf_edge, ready.present),
     .def_note = "not served",
     .help = "The answer for a balancer in front."},
    {.name = "drain", .kind = FM_KIND_SECTION, .section = &drain_section, .help = "Stopping."},
    {.name = "limits",
     .kind = FM_KIND_SECTION,
     .section = &edge_limits_section,
     .help = "Bounds of the process."},
    {.name = "timeouts",
     .kind = FM_KIND_SECTION,
     .section = &edge_timeouts_section,
     .help = "Towards clients."},
    {.name = "min-body-rate",
     .kind = FM_KIND_EITHER,
     ITEMS(min_rate_items),
     .def = "1KiB/s",
     .help = "A body that comes or goes slower than this for a while ends its request."},
    {.name = "access-log",
     .kind = FM_KIND_SECTION,
     .section = &access_log_section,
     PRESENT(struct fm_conf_edge, access_log.present),
     .def_note = "none",
     .help = "Log of requests."},
    {.name = "admin",
     .kind = FM_KIND_BIND,
     AT(struct fm_conf_edge, admin),
     .reload = FM_RELOAD_RESTART,
     .def = "127.0.0.1:7104",
     .help = "Where the edge serves /metrics, /status and /health/live; only reads. A host that is "
             "listed with the role `edge` alone may say its own `admin`."},
};

const struct fm_schema_section fm_schema_edge = {
    .id = "edge",
    .title = "edge",
    ROWS(edge_rows),
    .help = "The front that accepts clients and picks a region for each request.",
    .check = fm_check_edge,
};

/* probe */

static const struct fm_word probe_words[] = {
    {"tcp", FM_PROBE_TCP, "a connection opens", false},
    {"none", FM_PROBE_NONE, "not at all; only what real requests show", false},
};

static const struct fm_schema_row probe_app_items[] = {
    {.kind = FM_KIND_WORD, AT(struct fm_conf_probe, app), WORDS(probe_words)},
    {.kind = FM_KIND_URL_PATH, AT(struct fm_conf_probe, app_path)},
};

static const struct fm_schema_row probe_rows[] = {
    {.name = "app",
     .kind = FM_KIND_EITHER,
     ITEMS(probe_app_items),
     .tag = FM_PROBE_HTTP,
     .def = "tcp",
     .help = "How edges probe the apps of a region without agents: a connection, a GET of a path, "
             "or not at all. Where a region has agents with the role `health`, edges ask those."},
    {.name = "interval",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_probe, interval_ms),
     RANGE(10, 5 * MINUTE),
     .def = "500ms",
     .help = "Between probes of what is well."},
    {.name = "fast-interval",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_probe, fast_interval_ms),
     RANGE(5, 5 * MINUTE),
     .def = "50ms",
     .help = "Between probes once something is in doubt; at most `interval`."},
    {.name = "timeout",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_probe, timeout_ms),
     RANGE(5, MINUTE),
     .def = "300ms",
     .help = "A probe that takes longer has failed."},
    {.name = "samples",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_probe, samples),
     RANGE(1, 64),
     .def = "4",
     .help = "So many last probes count."},
    {.name = "successes",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_probe, successes),
     RANGE(1, 64),
     .def = "3",
     .help = "So many of them must be good; at most `samples`."},
    {.name = "rise",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_probe, rise),
     RANGE(1, 64),
     .def = "3",
     .help = "Good probes in a row before traffic returns."},
};

const struct fm_schema_section fm_schema_probe = {
    .id = "probe",
    .title = "probe",
    ROWS(probe_rows),
    .help = "How edges find out which region is well.",
    .check = fm_check_probe,
};
