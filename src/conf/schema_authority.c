/* The table of the language: who may write a context, and what happens while nobody may. See
 * schema.h; constant data. What depends on the topology (defaults, keys that do not fit) is in
 * authority.c. */
#include "conf/schema_rows.h"

/* key */

static const struct fm_schema_row key_rows[] = {
    {.name = "path",
     .kind = FM_KIND_TEXT,
     AT(struct fm_conf_context, key.name),
     .reload = FM_RELOAD_SHARED,
     RANGE(1, 64),
     .help = "The segment `{name}` of the path; every route of the context must have it."},
    {.name = "header",
     .kind = FM_KIND_TOKEN,
     AT(struct fm_conf_context, key.name),
     .reload = FM_RELOAD_SHARED,
     .help = "The value of this request header."},
    {.name = "cookie",
     .kind = FM_KIND_TOKEN,
     AT(struct fm_conf_context, key.name),
     .reload = FM_RELOAD_SHARED,
     .help = "The value of this cookie."},
    {.name = "query",
     .kind = FM_KIND_TEXT,
     AT(struct fm_conf_context, key.name),
     .reload = FM_RELOAD_SHARED,
     RANGE(1, 128),
     .help = "The parameter of this name."},
    {.name = "body",
     .kind = FM_KIND_TEXT,
     AT(struct fm_conf_context, key.name),
     .reload = FM_RELOAD_SHARED,
     RANGE(1, 255),
     .help = "The field of a JSON body; `a.b` is the field `b` of the field `a`, up to eight deep. "
             "The body must fit into `edge.limits.replay-body`."},
    {.name = "claim",
     .kind = FM_KIND_TEXT,
     AT(struct fm_conf_context, key.name),
     .reload = FM_RELOAD_SHARED,
     RANGE(1, 255),
     .help = "The claim of the Bearer token (a JWT), named like a field of a body. Its signature "
             "is not looked at: somebody in front must have refused what is not genuine."},
};

const struct fm_schema_section fm_schema_key = {
    .id = "key",
    .title = "contexts.NAME.key",
    ROWS(key_rows),
    .help = "Exactly one of these: where a request says what it is about (a tenant, an account, a "
            "card). Its value, up to 255 bytes, decides the cell. A value that different programs "
            "would read differently (twice, empty, with a comma) is refused with 400.",
    .exactly_one = true,
};

/* homes */

static const struct fm_word homes_words[] = {
    {"hash", FM_HOMES_HASH, "every key belongs to the cell of its hash", false},
    {"directory", FM_HOMES_DIRECTORY,
     "the file says the cell of each key; a key that is not in it is answered with 404", false},
};

static const struct fm_schema_row homes_rows[] = {
    {.name = "by",
     .kind = FM_KIND_WORD,
     AT(struct fm_conf_context, homes.by),
     .reload = FM_RELOAD_SHARED,
     WORDS(homes_words),
     .def = "hash",
     .help = "Which cell a key belongs to."},
    {.name = "pins",
     .kind = FM_KIND_FILE,
     AT(struct fm_conf_context, homes.pins),
     .def_note = "none",
     .help = "A file of lines `key,cell` or `key,region` for the few keys that shall live "
             "elsewhere than `by` says."},
    {.name = "directory",
     .kind = FM_KIND_FILE,
     AT(struct fm_conf_context, homes.directory),
     .def_note = "required with `by: directory`",
     .help = "The file of lines `key,cell` or `key,region`."},
};

const struct fm_schema_section fm_schema_homes = {
    .id = "homes",
    .title = "contexts.NAME.homes",
    ROWS(homes_rows),
    .help = "Which key lives where. Cell 0 has its home in the first region of the file that is no "
            "witness, cell 1 in the second, and so on, round and round.",
};

/* failover, failback */

static const struct fm_word mode_words[] = {
    {"manual", FM_CONF_MANUAL, "a person takes each step", false},
    {"assisted", FM_CONF_ASSISTED, "Fulmar prepares and asks; a person completes", false},
    {"automatic", FM_CONF_AUTOMATIC,
     "Fulmar completes where all that it needs is proven, and asks where it is not", false},
};

static const struct fm_word prefer_words[] = {
    {"data", FM_CONF_PREFER_DATA,
     "it is started again first, and given up where that does not help", false},
    {"time", FM_CONF_PREFER_TIME, "a standby takes over at once, where it may without a person",
     false},
};

static const struct fm_schema_row failover_rows[] = {
    {.name = "mode",
     .kind = FM_KIND_WORD,
     AT(struct fm_conf_failover, mode),
     .reload = FM_RELOAD_SHARED,
     WORDS(mode_words),
     .def = "assisted",
     .help = "Who moves the right to write when its holder is lost."},
    {.name = "grace",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_failover, grace_ms),
     .reload = FM_RELOAD_SHARED,
     RANGE(0, HOUR),
     .def = "0s",
     .help = "How long a lost holder may come back before it is replaced; runs together with the "
             "lease."},
    {.name = "ask-after",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_failover, ask_after_ms),
     .reload = FM_RELOAD_SHARED,
     RANGE(SECOND, 7 * DAY),
     .def = "15m",
     .help = "A question without an answer is asked again after so long. No timer ever consents."},
    {.name = "at-most",
     .kind = FM_KIND_AT_MOST,
     .reload = FM_RELOAD_SHARED,
     .def = "2 per 6h",
     .decode = fm_decode_at_most,
     .help = "Automatic failovers, 1 to 16 in 1m to 30d; then a person is asked."},
    {.name = "prefer",
     .kind = FM_KIND_WORD,
     AT(struct fm_conf_failover, prefer),
     .reload = FM_RELOAD_SHARED,
     WORDS(prefer_words),
     .def = "data",
     .help = "A PostgreSQL that crashed or hangs while its host lives."},
};

const struct fm_schema_section fm_schema_failover = {
    .id = "failover",
    .title = "contexts.NAME.failover",
    ROWS(failover_rows),
    .help = "When and by whom the right to write moves without the consent of its holder.",
};

static const struct fm_word failback_words[] = {
    {"manual", FM_FAILBACK_MANUAL, "a person says when", false},
    {"automatic", FM_FAILBACK_AUTOMATIC, "after `soak`, in `window`", false},
};

static const struct fm_schema_row failback_rows[] = {
    {.name = "mode",
     .kind = FM_KIND_WORD,
     AT(struct fm_conf_failback, mode),
     .reload = FM_RELOAD_SHARED,
     WORDS(failback_words),
     .def = "manual",
     .help = "Who moves the right to write home again."},
    {.name = "soak",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_failback, soak_ms),
     .reload = FM_RELOAD_SHARED,
     RANGE(0, 7 * DAY),
     .def = "10m",
     .help = "Home must have been well for so long."},
    {.name = "window",
     .kind = FM_KIND_HOURS,
     AT(struct fm_conf_failback, window),
     .reload = FM_RELOAD_SHARED,
     .def_note = "any time",
     .help = "When it may begin."},
};

const struct fm_schema_section fm_schema_failback = {
    .id = "failback",
    .title = "contexts.NAME.failback",
    ROWS(failback_rows),
    .help = "How it returns home: planned, cell by cell, a canary first.",
};

/* standby */

static const struct fm_schema_row argv_item = {.kind = FM_KIND_TEXT, RANGE(1, 4096)};

static const struct fm_word replication_words[] = {
    {"follow", false, "it goes on", false},
    {"break", true,
     "it is broken on purpose: the nodes of the region stay standbys, and receive nothing until "
     "it is stood down, moved to or completed. Needs `beyond: no-automatic`",
     false},
};

static const struct fm_schema_row standby_rows[] = {
    {.name = "start",
     .kind = FM_KIND_LIST,
     .flags = FM_ROW_REQUIRED,
     LIST_AT(struct fm_conf_standby, start, nstart),
     RANGE(1, FM_CONF_LIST_MAX),
     ITEM(argv_item),
     .example = "start: [systemctl, start, shop]",
     .help =
         "The program (with its arguments, no shell) that starts the app and ends with 0. It is "
         "run before the region can take over, and once more where an agent began in the "
         "middle: it must be safe to run twice."},
    {.name = "stop",
     .kind = FM_KIND_LIST,
     .flags = FM_ROW_REQUIRED,
     LIST_AT(struct fm_conf_standby, stop, nstop),
     RANGE(1, FM_CONF_LIST_MAX),
     ITEM(argv_item),
     .example = "stop: [systemctl, stop, shop]",
     .help = "The one that stops it again; it must be safe to run twice, too. Never run where the "
             "region may write."},
    {.name = "check",
     .kind = FM_KIND_LIST,
     LIST_AT(struct fm_conf_standby, check, ncheck),
     RANGE(1, FM_CONF_LIST_MAX),
     ITEM(argv_item),
     .def_note = "none: the health of the app decides alone",
     .help = "Ends with 0 when the app that was started is ready; run every second until it does."},
    {.name = "timeout",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_standby, timeout_ms),
     RANGE(1, HOUR),
     .def = "60s",
     .help = "A command that takes longer is killed, and has failed."},
    {.name = "ready-within",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_standby, ready_ms),
     RANGE(1, DAY),
     .def = "60s",
     .help = "So long after `start` the region must be able to serve the context: a gate reaches "
             "an instance, `needs` are good, `check` has ended with 0. Else the preparation has "
             "failed, and a person is asked."},
    {.name = "replication",
     .kind = FM_KIND_WORD,
     AT(struct fm_conf_standby, breaks),
     WORDS(replication_words),
     .def = "follow",
     .help = "What happens to the replication of the context's PostgreSQL group to a region while "
             "that is prepared."},
};

const struct fm_schema_section fm_schema_standby = {
    .id = "standby",
    .title = "contexts.NAME.standby",
    ROWS(standby_rows),
    .help = "The app of a region that stands by, and is stopped until it is needed. The agent that "
            "prepares the failover runs the commands, with `FULMAR_CONTEXT`, `FULMAR_REGION`, "
            "`FULMAR_HOST` and `FULMAR_SERVICE` in their environment; what they print is kept as "
            "evidence. The app at `home` is not started and not stopped by them.",
};

/* when-away, of contexts and of routes */

static const struct fm_word away_words[] = {
    {"reject", FM_CONF_AWAY_REJECT, "503 with Retry-After and the message", false},
    {"queue", FM_CONF_AWAY_QUEUE,
     "202 and a place to ask; another region keeps it, and delivers it, in order per `key`, when "
     "somebody may take it",
     false},
    {"override", FM_CONF_AWAY_OVERRIDE,
     "taken by another region and listed for reconciliation; only of a single route", false},
};

static const struct fm_word away_queries_words[] = {
    {"any", true, "answered by any region that is well", false},
    {"home", false, "503, like commands that are rejected", false},
};

static const struct fm_schema_row when_away_rows[] = {
    {.name = "hold",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_when_away, hold_ms),
     RANGE(0, HOUR),
     .def_note = "with `mode: automatic` a second more than `grace` or the lease with its drift, "
                 "whichever is more; else `7s`",
     .help = "Commands wait so long for somebody who may take them."},
    {.name = "commands",
     .kind = FM_KIND_WORD,
     AT(struct fm_conf_when_away, commands),
     WORDS(away_words),
     .def = "reject",
     .help = "What happens to them then."},
    {.name = "queries",
     .kind = FM_KIND_WORD,
     AT(struct fm_conf_when_away, queries_any),
     WORDS(away_queries_words),
     .def = "any",
     .help = "Who answers queries meanwhile; matters with `queries: home`."},
    {.name = "message",
     .kind = FM_KIND_TEXT,
     AT(struct fm_conf_when_away, message),
     RANGE(1, 512),
     .def_note = "none",
     .help = "For people, in the problem body and for the apps."},
};

const struct fm_schema_section fm_schema_when_away = {
    .id = "when-away",
    .title = "when-away",
    ROWS(when_away_rows),
    .help = "What happens while nobody holds what a request is about. A route replaces single keys "
            "of its context.",
};

/* idempotency */

static const struct fm_word idempotency_key_words[] = {
    {"ignored", FM_KEY_IGNORED, "the header means nothing here", false},
    {"optional", FM_KEY_OPTIONAL, "a command with the header takes effect once", false},
    {"required", FM_KEY_REQUIRED, "a command without it gets 400", false},
};

static const struct fm_word by_words[] = {
    {"app", FM_BY_APP, "the app, which keeps the key in the transaction of the effect", false},
    {"gate", FM_BY_GATE,
     "the gate, from its region's journal; not with `multi-write`, where the same command may "
     "arrive in another region, whose journal does not know it",
     false},
};

static const struct fm_schema_row idempotency_rows[] = {
    {.name = "key",
     .kind = FM_KIND_WORD,
     AT(struct fm_conf_context, idempotency.key),
     WORDS(idempotency_key_words),
     .def_note = "`optional` where somebody stops doubles, else `ignored`",
     .help = "What the header Idempotency-Key of a command means."},
    {.name = "by",
     .kind = FM_KIND_WORD,
     AT(struct fm_conf_context, idempotency.by),
     WORDS(by_words),
     .def_note = "`gate`; with `multi-write` nobody",
     .help = "Who stops a command from taking effect twice."},
    {.name = "retention",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_context, idempotency.retention_ms),
     RANGE(MINUTE, 90 * DAY),
     .def = "24h",
     .help = "`by: gate`: how long the journal remembers a key."},
};

const struct fm_schema_section fm_schema_idempotency = {
    .id = "idempotency",
    .title = "contexts.NAME.idempotency",
    ROWS(idempotency_rows),
    .help = "Commands of unknown outcome are repeated only where the app stops doubles. With "
            "`by: gate` at most once holds within a region and across planned moves; with "
            "`by: app` always.",
};

/* objectives */

static const struct fm_schema_row rpo_items[] = {
    {.kind = FM_KIND_DURATION, AT(struct fm_conf_context, objectives.rpo_ms), RANGE(0, DAY)},
    {.kind = FM_KIND_SIZE, AT(struct fm_conf_context, objectives.rpo_bytes), RANGE(0, TIB)},
};

static const struct fm_schema_row objectives_rows[] = {
    {.name = "rto",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_context, objectives.rto_ms),
     RANGE(1, 30 * DAY),
     .def_note = "none",
     .help = "How long the context may be away when a region is lost."},
    {.name = "rpo",
     .kind = FM_KIND_EITHER,
     ITEMS(rpo_items),
     .decode = fm_decode_rpo,
     .def_note = "none",
     .help = "How much that was acknowledged may be lost with a region, in time or in bytes."},
    {.name = "availability",
     .kind = FM_KIND_PERCENT,
     AT(struct fm_conf_context, objectives.availability_ppm),
     RANGE(1, 1000000),
     .def_note = "none",
     .help = "The share of good answers."},
    {.name = "latency-p99",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_context, objectives.latency_p99_ms),
     RANGE(1, HOUR),
     .def_note = "none",
     .help = "Slower answers are evidence against a region."},
};

const struct fm_schema_section fm_schema_objectives = {
    .id = "objectives",
    .title = "contexts.NAME.objectives",
    ROWS(objectives_rows),
    .help = "What the context promises to its users.",
};

/* authority-webhook */

static const struct fm_schema_row webhook_rows[] = {
    {.name = "url",
     .kind = FM_KIND_WEB_URL,
     .flags = FM_ROW_REQUIRED,
     AT(struct fm_conf_webhook, url),
     .example = "url: \"https://events.bank.example/authority\"",
     .help = "Where the document of `GET /authority/feed` is posted to. The certificate must be "
             "for this name or address."},
    {.name = "secret-file",
     .kind = FM_KIND_FILE,
     .flags = FM_ROW_REQUIRED,
     AT(struct fm_conf_webhook, secret_file),
     .example = "secret-file: hook.secret",
     .help = "The file with the secret that each post is signed with, 16 to 1023 bytes, not "
             "readable by others; it is read for each post."},
    {.name = "ca",
     .kind = FM_KIND_FILE,
     AT(struct fm_conf_webhook, ca),
     .def_note = "the authorities of the system",
     .example = "ca: events-ca.pem",
     .help = "Certificates of the authorities that may have signed that of the receiver; read at "
             "the start and on SIGHUP."},
};

const struct fm_schema_section fm_schema_webhook = {
    .id = "authority-webhook",
    .title = "authority-webhook",
    ROWS(webhook_rows),
    .help = "One agent of each region posts there: the one that renews the region's leases. What "
            "it says and how to check it is in wire.md.",
};
