/* The table of the language: `coordination`. See schema.h; constant data. */
#include "conf/schema_rows.h"

static const struct fm_schema_row endpoint_item = {.kind = FM_KIND_ENDPOINT};

static const struct fm_schema_row endpoints_item = {
    .kind = FM_KIND_LIST,
    .flags = FM_ROW_UNIQUE,
    RANGE(1, FM_CONF_ENDPOINTS_MAX),
    .stride = sizeof(struct fm_conf_endpoint),
    ITEM(endpoint_item),
};

static const struct fm_schema_row etcd_tls_rows[] = {
    {.name = "ca",
     .kind = FM_KIND_FILE,
     AT(struct fm_conf_etcd, tls.ca),
     .reload = FM_RELOAD_RESTART,
     .def_note = "the authorities of the system",
     .example = "ca: etcd-ca.pem",
     .help = "Certificates of the authorities that may have signed those of etcd."},
    {.name = "cert",
     .kind = FM_KIND_FILE,
     AT(struct fm_conf_etcd, tls.cert),
     .reload = FM_RELOAD_RESTART,
     .def_note = "none",
     .example = "cert: \"{host}.pem\"",
     .help = "The certificate that this host shows to etcd. Needs `key`."},
    {.name = "key",
     .kind = FM_KIND_FILE,
     AT(struct fm_conf_etcd, tls.key),
     .reload = FM_RELOAD_RESTART,
     .def_note = "none",
     .example = "key: \"{host}.key\"",
     .help = "The private key of `cert`; nobody else may read it."},
};

static const struct fm_schema_section etcd_tls_section = {
    .id = "etcd-tls",
    .title = "coordination.etcd.tls",
    ROWS(etcd_tls_rows),
    .help = "Whom to trust, and what to show, where the endpoints are `https://`. The certificate "
            "of each must be for the name or address in its URL.",
    .check = fm_check_etcd_tls,
};

static const struct fm_schema_row etcd_rows[] = {
    {.name = "endpoints",
     .kind = FM_KIND_NAMED,
     .flags = FM_ROW_REQUIRED,
     LIST_AT(struct fm_conf_etcd, endpoint, nendpoint),
     RANGE(1, FM_CONF_REGIONS_MAX),
     .reload = FM_RELOAD_RESTART,
     ITEM(endpoints_item),
     .decode = fm_decode_endpoints,
     .example = "endpoints: {west: [\"http://10.0.1.5:2379\"]}",
     .help =
         "The client URLs of the members (`https://HOST:PORT` or `http://HOST:PORT`, without a "
         "path), by the region in which each stands. A host asks those of its own region first."},
    {.name = "election",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_etcd, election_ms),
     RANGE(10, MINUTE),
     .def = "1s",
     .reload = FM_RELOAD_RESTART,
     .help = "The longest election to reckon with: etcd's own `election-timeout`. A member is "
             "given that "
             "long and a second before another one is asked."},
    {.name = "user",
     .kind = FM_KIND_TEXT,
     AT(struct fm_conf_etcd, user),
     RANGE(1, 128),
     .reload = FM_RELOAD_RESTART,
     .def_note = "no authentication",
     .help = "The user of etcd. Needs `password-file`."},
    {.name = "password-file",
     .kind = FM_KIND_FILE,
     AT(struct fm_conf_etcd, password_file),
     .reload = FM_RELOAD_RESTART,
     .def_note = "none",
     .help = "The file with the user's password, not readable by others; it is read at each "
             "authentication."},
    {.name = "tls",
     .kind = FM_KIND_SECTION,
     PRESENT(struct fm_conf_etcd, tls.present),
     .section = &etcd_tls_section,
     .help = "For endpoints with `https://`."},
};

static const struct fm_schema_section etcd_section = {
    .id = "etcd",
    .title = "coordination.etcd",
    ROWS(etcd_rows),
    .help =
        "An etcd cluster of version 3.4 or later, through its JSON gateway. Everything lies under "
        "the prefix `/fulmar/SERVICE/`.",
    .check = fm_check_etcd,
};

static const struct fm_schema_row coordination_rows[] = {
    {.name = "etcd",
     .kind = FM_KIND_SECTION,
     AT(struct fm_conf_coordination, etcd),
     PRESENT(struct fm_conf_coordination, etcd.present),
     .section = &etcd_section,
     .help = "For production."},
    {.name = "sqlite",
     .kind = FM_KIND_FILE,
     AT(struct fm_conf_coordination, sqlite),
     .reload = FM_RELOAD_RESTART,
     .help =
         "A file, owned by the agent of the one host with the role `coordination`; others reach "
         "it through the socket beside it. Only on one machine: every host must have a loopback "
         "address."},
};

const struct fm_schema_section fm_schema_coordination = {
    .id = "coordination",
    .title = "coordination",
    ROWS(coordination_rows),
    .help = "The one place where regions agree on who may write. Exactly one of these.",
    .exactly_one = true,
};
