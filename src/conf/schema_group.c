/* The table of the language: `groups`, the PostgreSQL failover groups. See schema.h; constant data.
 * How hosts, contexts and parameters of PostgreSQL are read is in groups.c. */
#include "conf/schema_rows.h"

/* nodes */

static const struct fm_schema_row node_rows[] = {
    {.name = "data",
     .kind = FM_KIND_FILE,
     AT(struct fm_conf_group_node, data),
     .reload = FM_RELOAD_SHARED,
     .decode = fm_decode_group_data,
     .def_note = "`/var/lib/fulmar/pg/GROUP`",
     .example = "data: /var/lib/fulmar/pg/ledger",
     .help = "Its data directory, as a whole path. `fulmar group create` makes it; it must be "
             "missing or empty then, "
             "and the user of `groups.NAME.user` must be able to reach it."},
    {.name = "port",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_group_node, port),
     RANGE(1, 65535),
     .reload = FM_RELOAD_SHARED,
     .def = "5432",
     .help = "Where it listens, at the host's `address`, for the other nodes of its group."},
    {.name = "delay",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_group_node, delay_ms),
     RANGE(SECOND, 14 * DAY),
     .reload = FM_RELOAD_SHARED,
     .def_note = "none",
     .example = "delay: 1h",
     .help = "It receives everything at once and applies each commit so much later: a guard "
             "against human error. It is never promoted, no commit waits for it, and no reader is "
             "led to it. It keeps so much of the log on its own disk."},
};

const struct fm_schema_section fm_schema_group_node = {
    .id = "group-node",
    .title = "groups.NAME.nodes.HOST",
    ROWS(node_rows),
    .help = "PostgreSQL on one host. Two nodes of one machine need different `data` and `port`.",
};

static const struct fm_schema_row node_item = {.kind = FM_KIND_SECTION,
                                               .section = &fm_schema_group_node};

/* users */

#define PASSWORD_ROW(member, example_text, help_text)                                              \
    {                                                                                              \
        .name = "password-file", .kind = FM_KIND_FILE, .flags = FM_ROW_REQUIRED,                   \
        AT(struct fm_conf_group, member), .reload = FM_RELOAD_LIVE, .example = (example_text),     \
        .help = (help_text)                                                                        \
    }

static const struct fm_schema_row admin_rows[] = {
    PASSWORD_ROW(admin_password_file, "password-file: pg-admin.password",
                 "The file with the password of the role by which Fulmar manages the group, up to "
                 "255 bytes, the same on every host of the group, not readable by others. It is "
                 "read again at each reload."),
};

static const struct fm_schema_row replication_user_rows[] = {
    PASSWORD_ROW(replication_password_file, "password-file: pg-repl.password",
                 "The file with the password of the role by which the nodes follow each other, up "
                 "to 255 bytes, the same on every host of the group, not readable by others. It "
                 "is read again at each reload, and given to the role by the primary."),
};

static const struct fm_schema_section admin_section = {
    .id = "group-admin",
    .title = "groups.NAME.users.admin",
    ROWS(admin_rows),
    .help = "The role by which Fulmar manages the group.",
};

static const struct fm_schema_section replication_user_section = {
    .id = "group-replication-user",
    .title = "groups.NAME.users.replication",
    ROWS(replication_user_rows),
    .help = "The role by which the nodes follow each other.",
};

static const struct fm_schema_row users_rows[] = {
    {.name = "admin",
     .kind = FM_KIND_SECTION,
     .section = &admin_section,
     .def_note = "a secret that `fulmar group create` makes",
     .help = "The role by which Fulmar manages the group."},
    {.name = "replication",
     .kind = FM_KIND_SECTION,
     .section = &replication_user_section,
     .def_note = "a secret that `fulmar group create` makes",
     .help = "The role by which the nodes follow each other."},
};

static const struct fm_schema_section users_section = {
    .id = "group-users",
    .title = "groups.NAME.users",
    ROWS(users_rows),
    .help = "Passwords of your own, in files. Without them `fulmar group create` makes secrets, "
            "keeps them in the `state` folder of each host of the group, and sends them to the "
            "other hosts of the group by mutual TLS (`peer-tls`).",
};

/* replication */

static const struct fm_word replication_words[] = {
    {"async", FM_CONF_ASYNC,
     "a commit is acknowledged before a standby has it: as far as `max-loss` goes; without that "
     "nothing bounds what a failover without the primary loses, and a person has to accept it",
     false},
    {"sync", FM_CONF_SYNC,
     "a commit is acknowledged when the other nodes have it on disk: those that follow, or all of "
     "them, as `beyond` says",
     false},
};

static const struct fm_word beyond_words[] = {
    {"no-automatic", FM_CONF_BEYOND_NO_AUTOMATIC,
     "a node that holds commits up for a second is no longer waited for, and while none is left a "
     "failover is for a person",
     false},
    {"block-writes", FM_CONF_BEYOND_BLOCK_WRITES,
     "commits wait: with `sync` for every node, with `async` until those that have followed once "
     "are within `max-loss` again",
     false},
};

static const struct fm_word in_region_words[] = {
    {"async", FM_CONF_IN_REGION_ASYNC, "`max-loss` holds for them, too", false},
    {"sync", FM_CONF_IN_REGION_SYNC,
     "a commit is acknowledged when those of them that follow have it on disk, so a failover "
     "within the region loses nothing; `beyond` says what happens when one does not follow",
     false},
};

static const struct fm_schema_row max_loss_rows[] = {
    {.name = "bytes",
     .kind = FM_KIND_SIZE,
     AT(struct fm_conf_group, replication.max_loss.bytes),
     RANGE(KIB, TIB),
     .reload = FM_RELOAD_SHARED,
     .def_note = "none",
     .example = "bytes: 1MiB",
     .help = "So much of the log may be acknowledged beyond what the standbys have on disk."},
    {.name = "transactions",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_group, replication.max_loss.transactions),
     RANGE(1, 1000000000),
     .reload = FM_RELOAD_SHARED,
     .def_note = "none",
     .help = "At most so many commits. It is enforced in bytes, 34 for each, the least that a "
             "commit takes in the log: a small number makes commits wait much like `sync` does."},
    {.name = "time",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_group, replication.max_loss.time_ms),
     RANGE(SECOND, HOUR),
     .reload = FM_RELOAD_SHARED,
     .def_note = "none",
     .example = "time: 5s",
     .help =
         "Beside `bytes` or `transactions`: while a standby lacks what was written so long ago, "
         "no commit is acknowledged. So what is lost was acknowledged within that time. Each "
         "commit waits some milliseconds for the agent then."},
};

static const struct fm_schema_section max_loss_section = {
    .id = "max-loss",
    .title = "groups.NAME.replication.max-loss",
    ROWS(max_loss_rows),
    .help = "What a failover without the primary may lose of what was acknowledged. PostgreSQL "
            "itself enforces it: commits beyond it wait. Of several the least counts.",
    .check = fm_check_max_loss,
};

static const struct fm_schema_row replication_rows[] = {
    {.name = "mode",
     .kind = FM_KIND_WORD,
     .flags = FM_ROW_REQUIRED,
     AT(struct fm_conf_group, replication.mode),
     .reload = FM_RELOAD_SHARED,
     WORDS(replication_words),
     .example = "mode: sync",
     .help = "When a commit is acknowledged."},
    {.name = "beyond",
     .kind = FM_KIND_WORD,
     AT(struct fm_conf_group, replication.beyond),
     .reload = FM_RELOAD_SHARED,
     WORDS(beyond_words),
     .def = "no-automatic",
     .help = "What happens when a node does not follow, or not closely enough."},
    {.name = "in-region",
     .kind = FM_KIND_WORD,
     AT(struct fm_conf_group, replication.in_region),
     .reload = FM_RELOAD_SHARED,
     WORDS(in_region_words),
     .def = "async",
     .example = "in-region: sync",
     .help = "With `async` and `max-loss`: the other nodes of the region that the primary is in. "
             "Delayed ones are none of them."},
    {.name = "max-loss",
     .kind = FM_KIND_SECTION,
     .section = &max_loss_section,
     .reload = FM_RELOAD_SHARED,
     .def_note = "none: nothing bounds the loss",
     .help = "With `async`: what may be lost."},
};

const struct fm_schema_section fm_schema_replication = {
    .id = "replication",
    .title = "groups.NAME.replication",
    ROWS(replication_rows),
    .help = "What may be lost, and what happens where that cannot be kept.",
    .check = fm_check_replication,
};

/* listen */

enum { ON_GATE };

static const struct fm_word on_words[] = {
    {"gate", ON_GATE, "every host with the role `gate`", false},
};

static const struct fm_schema_row bind_item = {.kind = FM_KIND_BIND,
                                               .size = sizeof(struct fm_conf_addr)};

static const struct fm_schema_row door_items[] = {
    {.kind = FM_KIND_BIND, .size = sizeof(struct fm_conf_addr)},
    {.kind = FM_KIND_NAMED, RANGE(1, FM_CONF_HOSTS_MAX), ITEM(bind_item)},
};

#define DOOR_AT(member)                                                                            \
    .offset = offsetof(struct fm_conf_group, listen.member),                                       \
    .count = offsetof(struct fm_conf_group, listen.member##_of), ITEMS(door_items),                \
    .decode = fm_decode_group_door

static const struct fm_schema_row group_listen_rows[] = {
    {.name = "on",
     .kind = FM_KIND_WORD,
     WORDS(on_words),
     .reload = FM_RELOAD_RESTART,
     .def = "gate",
     .help = "Who listens."},
    {.name = "read-write",
     .kind = FM_KIND_EITHER,
     DOOR_AT(read_write),
     .reload = FM_RELOAD_RESTART,
     .def_note = "none",
     .example = "read-write: \"0.0.0.0:6432\"",
     .help = "Always leads to the primary. The same for every gate, or an address for each host."},
    {.name = "read-only",
     .kind = FM_KIND_EITHER,
     DOOR_AT(read_only),
     .reload = FM_RELOAD_RESTART,
     .def_note = "none",
     .example = "read-only: \"0.0.0.0:6433\"",
     .help = "Leads to a standby within `read-lag`, else to the primary. The same for "
             "every gate, or an address for each host."},
    {.name = "read-lag",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_group, listen.read_lag_ms),
     .reload = FM_RELOAD_RESTART,
     RANGE(1, HOUR),
     .def = "1s",
     .help = "How far behind a standby may be that answers on `read-only`."},
};

static const struct fm_schema_section group_listen_section = {
    .id = "group-listen",
    .title = "groups.NAME.listen",
    ROWS(group_listen_rows),
    .help =
        "Where applications reach the databases of the group, at one address that never "
        "changes. A gate passes them on to the nodes of its region: to that of its own host, or "
        "through the agent of another one.",
    .check = fm_check_group_listen,
};

/* hooks */

static const struct fm_schema_row argv_item = {.kind = FM_KIND_TEXT, RANGE(1, 4096)};

#define HOOK(key, pointer, number, example_text, help_text)                                        \
    {                                                                                              \
        .name = (key), .kind = FM_KIND_LIST, .flags = FM_ROW_REQUIRED,                             \
        LIST_AT(struct fm_conf_hooks, pointer, number), RANGE(1, FM_CONF_LIST_MAX),                \
        ITEM(argv_item), .example = (example_text), .help = (help_text)                            \
    }

static const struct fm_schema_row hooks_rows[] = {
    HOOK("status", status, nstatus, "status: [/usr/local/bin/shop-data, status]",
         "How the data of this region are. The last line that it prints and that begins with `{` "
         "is JSON: `{\"role\": \"primary\", \"writable\": true}`; `role` is `primary` or "
         "`secondary`; `\"healthy\": false` says that they could not be promoted."),
    HOOK("lag", lag, nlag, "lag: [/usr/local/bin/shop-data, lag]",
         "What the data of `FULMAR_TO` lack of those of `FULMAR_FROM`: `{\"bytes\": 0, "
         "\"seconds\": 0.0}`, one of the two at least. 0 only where nothing is missing: a planned "
         "move relies upon it. It fails where that is not known."),
    HOOK("read-only", read_only, nread_only, "read-only: [/usr/local/bin/shop-data, read-only]",
         "From its end on the data of this region take no writes, by whomever. Run by a planned "
         "move at the old side, and where data are writable without the right to write."),
    HOOK("promote", promote, npromote, "promote: [/usr/local/bin/shop-data, promote]",
         "Makes the data of this region those that are written, and writable. `FULMAR_MODE` is "
         "`planned`: nothing may be lost by it, it fails instead; or `forced`: a person has "
         "accepted a loss, and `fence` has ended with 0. Also run where a planned move was given "
         "up, and they are primary and read-only."),
    HOOK("fence", fence, nfence, "fence: [/usr/local/bin/shop-data, fence]",
         "Before a forced promotion: cuts off the data of `FULMAR_FROM`, so that they take no "
         "writes even if that region comes back. Where it fails nothing is promoted, unless a "
         "person has attested the fence."),
    {.name = "timeout",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_hooks, timeout_ms),
     RANGE(1, HOUR),
     .def = "30s",
     .help = "A command that takes longer is killed, and has failed. A planned move waits twice as "
             "long for `read-only` and a lag of zero, then it gives up."},
    {.name = "interval",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_hooks, interval_ms),
     RANGE(100, HOUR),
     .def = "10s",
     .help = "Between two runs of `status`, and of `lag`, while nothing happens."},
};

const struct fm_schema_section fm_schema_hooks = {
    .id = "hooks",
    .title = "groups.NAME.hooks",
    ROWS(hooks_rows),
    .help = "Programs (with their arguments, no shell) for data that Fulmar does not run itself: a "
            "managed database, a storage account, a tree of files. The agent that holds the office "
            "of its region runs them, one at a time, with `FULMAR_SERVICE`, `FULMAR_GROUP`, "
            "`FULMAR_CONTEXT`, `FULMAR_REGION`, `FULMAR_HOST`, `FULMAR_FROM`, `FULMAR_TO`, "
            "`FULMAR_EPOCH` and `FULMAR_MODE` in their environment; what they print is kept as "
            "evidence. Each must be safe to run twice. What a failover may lose is always an "
            "estimate, by `lag`; it never happens without a person.",
};

/* the group */

static const struct fm_schema_row context_item = {.kind = FM_KIND_NAME};
static const struct fm_schema_row setting_item = {.kind = FM_KIND_SETTING, .size = 0};

static const struct fm_schema_row group_rows[] = {
    {.name = "contexts",
     .kind = FM_KIND_LIST,
     .flags = FM_ROW_REQUIRED | FM_ROW_UNIQUE,
     LIST_AT(struct fm_conf_group, contexts, ncontexts),
     RANGE(1, 1),
     .reload = FM_RELOAD_SHARED,
     ITEM(context_item),
     .decode = fm_decode_group_contexts,
     .example = "contexts: [ledger]",
     .help = "The context whose data it carries; it is `active-passive`."},
    {.name = "bin",
     .kind = FM_KIND_FILE,
     AT(struct fm_conf_group, bin),
     .reload = FM_RELOAD_LIVE,
     .def_note = "below `/usr/lib/postgresql`, the version that the data are of, else the newest",
     .example = "bin: /usr/lib/postgresql/15/bin",
     .help = "Where the programs of PostgreSQL are: the same version on every host of the group. "
             "A reload takes others of the version of the data; what runs goes on, and is started "
             "with them the next time."},
    {.name = "user",
     .kind = FM_KIND_TEXT,
     AT(struct fm_conf_group, user),
     .reload = FM_RELOAD_RESTART,
     RANGE(1, 32),
     .def = "postgres",
     .help = "The user of the system as which PostgreSQL runs; it refuses to run as root."},
    {.name = "nodes",
     .kind = FM_KIND_NAMED,
     LIST_AT(struct fm_conf_group, nodes, nnodes),
     RANGE(1, FM_CONF_GROUP_NODES_MAX),
     .reload = FM_RELOAD_SHARED,
     ITEM(node_item),
     .decode = fm_decode_group_nodes,
     .def_note = "none; either these or `hooks`",
     .help = "Its hosts, each with the role `postgres`; at least one stands in the home region."},
    {.name = "users",
     .kind = FM_KIND_SECTION,
     .section = &users_section,
     .def_note = "secrets that `fulmar group create` makes",
     .help = "Passwords of your own."},
    {.name = "replication",
     .kind = FM_KIND_SECTION,
     .section = &fm_schema_replication,
     .def_note = "none; `nodes` need it",
     .help = "What may be lost."},
    {.name = "listen",
     .kind = FM_KIND_SECTION,
     PRESENT(struct fm_conf_group, listen.present),
     .section = &group_listen_section,
     .def_note = "nowhere",
     .help = "Where applications reach the databases."},
    {.name = "settings",
     .kind = FM_KIND_NAMED,
     .flags = FM_ROW_PARAMETERS,
     LIST_AT(struct fm_conf_group, settings, nsettings),
     RANGE(0, FM_CONF_SETTINGS_MAX),
     .reload = FM_RELOAD_SHARED,
     ITEM(setting_item),
     .decode = fm_decode_settings,
     .def_note = "those of PostgreSQL",
     .example = "settings: {shared_buffers: 1GB}",
     .help = "Parameters of PostgreSQL, by its own names and in its own units, the same on every "
             "node. What Fulmar manages itself (`synchronous_standby_names`, `listen_addresses` "
             "and others) is refused."},
    {.name = "hooks",
     .kind = FM_KIND_SECTION,
     AT(struct fm_conf_group, hooks),
     PRESENT(struct fm_conf_group, hooks.present),
     .section = &fm_schema_hooks,
     .def_note = "none: `nodes` are run",
     .help = "Instead of `nodes`: commands of your own, for data that Fulmar does not run itself."},
};

const struct fm_schema_section fm_schema_group = {
    .id = "group",
    .title = "groups.NAME",
    ROWS(group_rows),
    .help =
        "The data of a context. With `nodes` and `replication`, a PostgreSQL database on several "
        "hosts: its primary is where the right to write the context is, and the other nodes "
        "follow it. With `hooks`, data that somebody else runs. A group that hosts have not "
        "agreed upon yet (`fulmar config apply`) is left out.",
    .check = fm_check_group,
};
