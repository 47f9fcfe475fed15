/* The texts that PostgreSQL reads: see the header. Invariant: no value leaves the quotes that it is
 * put into, and nothing with a control character is written at all. */
#include "pg/settings.h"

#include "base/assert.h"
#include "base/hash.h"

#include <arpa/inet.h>
#include <stdio.h>

enum { NAME_MAX_ = 63, HOST_MAX = 253, TEXT_MAX = 1000 };

/* -------- what may be written -------- */

static bool is_plain(struct fm_str s, size_t most)
{
    if (s.n == 0 || s.n > most)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = fm_lower(s.p[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.'))
            return false;
    }
    return true;
}

static bool is_text(struct fm_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            return false;
    return s.n <= TEXT_MAX;
}

/* A name of PostgreSQL's that needs no quotes anywhere. */
static bool is_name(struct fm_str s)
{
    if (s.n == 0 || s.n > NAME_MAX_ || (s.p[0] >= '0' && s.p[0] <= '9'))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') ||
              s.p[i] == '_'))
            return false;
    return true;
}

static enum fm_err refuse(struct fm_error *e, const char *what, struct fm_str value)
{
    return fm_error_set(e, FM_ERR_INVALID, "PostgreSQL cannot be given %s `%.*s`", what,
                        (int)fm_min_size(value.n, 80), value.n ? value.p : "");
}

static enum fm_err fits(const struct fm_buf *b, const char *what, struct fm_error *e)
{
    return b->full ? fm_error_set(e, FM_ERR_LIMIT, "%s has more than %zu bytes", what, b->cap)
                   : FM_ERR_OK;
}

/* What stands in quotes, with each of these two doubled. */
static void doubled(struct fm_buf *b, struct fm_str s, char one, char two)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == one || s.p[i] == two)
            fm_buf_ch(b, s.p[i]);
        fm_buf_ch(b, s.p[i]);
    }
}

/* -------- settings -------- */

/* What the promises rest on. NULL: it is computed, or not given at all. */
static const char *const managed[][2] = {
    {"listen_addresses", NULL},
    {"port", NULL},
    {"hba_file", NULL},
    {"cluster_name", NULL},
    {"synchronous_standby_names", NULL},
    {"primary_conninfo", NULL},
    {"primary_slot_name", NULL},
    {"data_directory", NULL},
    {"config_file", NULL},
    {"external_pid_file", NULL},
    {"promote_trigger_file", NULL},
    {"recovery_min_apply_delay", NULL},
    {"recovery_target", NULL},
    {"recovery_target_action", NULL},
    {"recovery_target_inclusive", NULL},
    {"recovery_target_lsn", NULL},
    {"recovery_target_name", NULL},
    {"recovery_target_time", NULL},
    {"recovery_target_xid", NULL},
    {"recovery_target_timeline", "latest"},
    {"unix_socket_directories", ""}, /* connections come by the loopback, with a password */
    {"password_encryption", "scram-sha-256"},
    {"wal_level", "logical"},
    {"hot_standby", "on"},
    {"fsync", "on"},
    {"full_page_writes", "on"},
    {"synchronous_commit", "on"}, /* a session that lowers it makes a hole (SAFETY.md 24) */
};

/* What the user may replace. */
static const char *const defaults[][2] = {
    {"max_wal_senders", "16"},
    {"max_replication_slots", "16"},
    {"wal_keep_size", "256MB"},
    {"wal_retrieve_retry_interval", "200ms"}, /* a standby finds its new primary */
    {"wal_receiver_status_interval", "1s"},   /* ... and counts, where nothing is written */
    {"logging_collector", "off"},             /* who starts the server takes what it says */
};

enum fm_err fm_pg_setting_check(struct fm_str name, struct fm_str value, struct fm_error *e)
{
    struct fm_str rest = name;
    while (rest.n) { /* "extension.setting" */
        struct fm_str part = fm_str_cut(rest, '.', &rest);
        if (!is_name(part) || (rest.p && rest.n == 0))
            return refuse(e, "the name of a setting", name);
    }
    if (name.n == 0 || fm_str_starts(name, FM_STR("include")))
        return refuse(e, "the name of a setting", name);
    if (!is_text(value))
        return refuse(e, "as a value", value);
    for (size_t i = 0; i < FM_COUNT(managed); i++)
        if (fm_str_eqz(name, managed[i][0]))
            return fm_error_set(e, FM_ERR_STATE, "`%s` is set by Fulmar, not by `settings`",
                                managed[i][0]);
    return FM_ERR_OK;
}

void fm_pg_slot_name(char out[FM_PG_SLOT_ROOM], struct fm_str node)
{
    static const char prefix[] = "fulmar_";
    static const struct fm_hash_key key = {0x66756c6d6172, 0x736c6f74};
    enum { PREFIX = sizeof prefix - 1, HASH = 9 }; /* "_" and eight digits */
    size_t n = fm_min_size(node.n, FM_PG_SLOT_ROOM - 1 - PREFIX - HASH);
    memcpy(out, prefix, PREFIX);
    for (size_t i = 0; i < n; i++) {
        char low = fm_lower(node.p[i]);
        bool fits = (low >= 'a' && low <= 'z') || (low >= '0' && low <= '9');
        out[PREFIX + i] = fits ? low : '_';
    }
    snprintf(out + PREFIX + n, HASH + 1, "_%08x", (unsigned)(uint32_t)fm_hash_str(key, node));
    FM_ASSERT(is_name(fm_str_z(out)));
}

static void setting(struct fm_buf *b, struct fm_str name, struct fm_str value)
{
    FM_ASSERT(is_text(value));
    fm_buf_str_add(b, name);
    fm_buf_lit(b, " = '");
    doubled(b, value, '\'', '\\');
    fm_buf_lit(b, "'\n");
}

static void table(struct fm_buf *b, const char *const (*row)[2], size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (row[i][1])
            setting(b, fm_str_z(row[i][0]), fm_str_z(row[i][1]));
}

static enum fm_err check(const struct fm_pg_settings *s, struct fm_error *e)
{
    if (!is_plain(s->name, NAME_MAX_))
        return refuse(e, "as the name of a node", s->name);
    if (!is_text(s->data) || s->data.n == 0 || s->data.p[0] != '/')
        return refuse(e, "as a data directory", s->data);
    if (s->listen.n == 0 || !is_text(s->listen))
        return refuse(e, "as addresses to listen at", s->listen);
    if (s->port == 0)
        return refuse(e, "as a port", FM_STR("0"));
    if (!is_name(s->replication))
        return refuse(e, "as a user", s->replication);
    if (s->delay_ms < 0 || s->delay_ms > INT32_MAX)
        return fm_error_set(e, FM_ERR_INVALID, "PostgreSQL cannot be given such a delay");
    if (!is_text(s->synchronous))
        return refuse(e, "as synchronous standbys", s->synchronous);
    return FM_ERR_OK;
}

static enum fm_err upstream(struct fm_buf *b, const struct fm_pg_settings *s, struct fm_error *e)
{
    const struct fm_pg_upstream *u = s->upstream;
    char text[TEXT_MAX];
    struct fm_buf info = fm_buf(text, sizeof text);
    if (u->slot.n && !is_name(u->slot))
        return refuse(e, "as a slot", u->slot);
    enum fm_err err = fm_pg_conninfo_write(&info, s, u, fm_str(NULL, 0), e);
    if (err)
        return err;
    setting(b, FM_STR("primary_conninfo"), fm_buf_str(&info));
    setting(b, FM_STR("primary_slot_name"), u->slot);
    return FM_ERR_OK;
}

enum fm_err fm_pg_conf_write(struct fm_buf *b, const struct fm_pg_settings *s, struct fm_error *e)
{
    char text[TEXT_MAX + sizeof FM_PG_HBA_FILE + 1];
    struct fm_buf hba = fm_buf(text, sizeof text);
    enum fm_err err = check(s, e);
    for (size_t i = 0; !err && i < s->nown; i++)
        err = fm_pg_setting_check(s->own[i].name, s->own[i].value, e);
    if (err)
        return err;
    fm_buf_lit(b,
               "# Written by Fulmar, again and again: change `groups` in fulmar.yaml instead.\n");
    table(b, defaults, FM_COUNT(defaults));
    if (s->syncs_at_once)
        setting(b, FM_STR("recovery_init_sync_method"), FM_STR("syncfs"));
    for (size_t i = 0; i < s->nown; i++)
        setting(b, s->own[i].name, s->own[i].value);
    table(b, managed, FM_COUNT(managed));
    fm_buf_printf(b, "port = %u\n", (unsigned)s->port);
    setting(b, FM_STR("listen_addresses"), s->listen);
    setting(b, FM_STR("cluster_name"), s->name);
    setting(b, FM_STR("synchronous_standby_names"), s->synchronous);
    if (s->sheds_log)
        setting(b, FM_STR("wal_recycle"), FM_STR("off"));
    fm_buf_str_add(&hba, s->data);
    fm_buf_lit(&hba, "/" FM_PG_HBA_FILE);
    if (hba.full || hba.n > TEXT_MAX)
        return refuse(e, "as a data directory", s->data);
    setting(b, FM_STR("hba_file"), fm_buf_str(&hba)); /* relative, it would be to where it starts */
    if (s->upstream && !s->apart)
        err = upstream(b, s, e);
    if (!err && s->upstream && s->delay_ms) /* apart, too: what it has is not applied any sooner */
        fm_buf_printf(b, "recovery_min_apply_delay = %lld\n", (long long)s->delay_ms); /* in ms */
    return err ? err : fits(b, FM_PG_CONF_FILE, e);
}

/* -------- who may connect -------- */

static bool is_address(struct fm_str s, int family)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char bytes[sizeof(struct in6_addr)];
    if (s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return strlen(text) == s.n && inet_pton(family, text, bytes) == 1;
}

static void allow(struct fm_buf *b, const char *database, struct fm_str user, struct fm_str address,
                  const char *mask)
{
    fm_buf_printf(b, "host %s %.*s ", database, FM_STR_ARG(user));
    if (mask[0] == '\0') /* a name: in quotes it is no keyword */
        fm_buf_printf(b, "\"%.*s\"", FM_STR_ARG(address));
    else
        fm_buf_printf(b, "%.*s%s", FM_STR_ARG(address), mask);
    fm_buf_lit(b, " scram-sha-256\n");
}

/* Replication, and the connection that pg_rewind makes. */
static void allow_node(struct fm_buf *b, struct fm_str user, struct fm_str address,
                       const char *mask)
{
    allow(b, "replication", user, address, mask);
    allow(b, "postgres", user, address, mask);
}

enum fm_err fm_pg_hba_write(struct fm_buf *b, const struct fm_pg_settings *s, struct fm_error *e)
{
    enum fm_err err = check(s, e);
    if (err)
        return err;
    fm_buf_lit(b, "# Written by Fulmar, again and again. Clients come from this host's loopback\n"
                  "# only, where the agent lets them in; nodes of the group come to replicate.\n");
    for (int i = 0; i < 2; i++) {
        struct fm_str loopback = i ? FM_STR("::1") : FM_STR("127.0.0.1");
        allow(b, "all", FM_STR("all"), loopback, i ? "/128" : "/32");
        allow(b, "replication", s->replication, loopback, i ? "/128" : "/32");
    }
    for (size_t i = 0; i < s->npeers; i++) {
        if (is_address(s->peers[i], AF_INET))
            allow_node(b, s->replication, s->peers[i], "/32");
        else if (is_address(s->peers[i], AF_INET6))
            allow_node(b, s->replication, s->peers[i], "/128");
        else if (is_plain(s->peers[i], HOST_MAX))
            allow_node(b, s->replication, s->peers[i], "");
        else
            return refuse(e, "as the address of a node", s->peers[i]);
    }
    return fits(b, FM_PG_HBA_FILE, e);
}

/* -------- connections -------- */

static bool is_secret(struct fm_str s)
{
    return s.n > 0 && is_text(s);
}

enum fm_err fm_pg_pass_write(struct fm_buf *b, struct fm_str user, struct fm_str password,
                             struct fm_error *e)
{
    if (!is_name(user))
        return refuse(e, "as a user", user);
    if (!is_secret(password)) /* which is not told */
        return fm_error_set(e, FM_ERR_INVALID,
                            "the password of `%.*s` is empty, too long or has control characters",
                            FM_STR_ARG(user));
    fm_buf_lit(b, "*:*:*:");
    fm_buf_str_add(b, user);
    fm_buf_ch(b, ':');
    for (size_t i = 0; i < password.n; i++) {
        if (password.p[i] == ':' || password.p[i] == '\\')
            fm_buf_ch(b, '\\');
        fm_buf_ch(b, password.p[i]);
    }
    fm_buf_ch(b, '\n');
    return fits(b, FM_PG_PASS_FILE, e);
}

static void keyword(struct fm_buf *b, const char *name, struct fm_str value)
{
    fm_buf_printf(b, "%s%s='", b->n ? " " : "", name);
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '\'' || value.p[i] == '\\')
            fm_buf_ch(b, '\\');
        fm_buf_ch(b, value.p[i]);
    }
    fm_buf_ch(b, '\'');
}

enum fm_err fm_pg_conninfo_write(struct fm_buf *b, const struct fm_pg_settings *s,
                                 const struct fm_pg_upstream *u, struct fm_str dbname,
                                 struct fm_error *e)
{
    char port[20], text[TEXT_MAX];
    struct fm_buf pass = fm_buf(text, sizeof text);
    enum fm_err err = check(s, e);
    if (err)
        return err;
    if (u->port == 0 || !(is_plain(u->host, HOST_MAX) || is_address(u->host, AF_INET6)))
        return refuse(e, "as the address of a node", u->host);
    fm_buf_str_add(&pass, s->data);
    fm_buf_lit(&pass, "/" FM_PG_PASS_FILE);
    if (pass.full)
        return refuse(e, "as a data directory", s->data);
    keyword(b, "host", u->host);
    keyword(b, "port", fm_str(port, fm_u64_write(port, u->port)));
    keyword(b, "user", s->replication);
    if (dbname.n)
        keyword(b, "dbname", dbname);
    keyword(b, "passfile", fm_buf_str(&pass));
    keyword(b, "application_name", s->name);
    keyword(b, "connect_timeout", FM_STR("5"));
    return fits(b, "a connection string", e);
}

/* -------- the role that replicates -------- */

static void literal(struct fm_buf *b, struct fm_str s)
{
    bool escape = memchr(s.p, '\\', s.n) != NULL;
    if (escape)
        fm_buf_lit(b, " E");
    fm_buf_ch(b, '\'');
    doubled(b, s, '\'', escape ? '\\' : '\'');
    fm_buf_ch(b, '\'');
}

enum fm_err fm_pg_replication_role_write(struct fm_buf *b, struct fm_str name, struct fm_str secret,
                                         struct fm_error *e)
{
    if (!is_name(name))
        return refuse(e, "as a user", name);
    if (!is_secret(secret))
        return fm_error_set(e, FM_ERR_INVALID,
                            "the password of `%.*s` is empty, too long or has control characters",
                            FM_STR_ARG(name));
    fm_buf_printf(b,
                  "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = "
                  "'%.*s') THEN CREATE ROLE \"%.*s\"; END IF; END $$; ",
                  FM_STR_ARG(name), FM_STR_ARG(name));
    fm_buf_printf(b, "ALTER ROLE \"%.*s\" LOGIN REPLICATION PASSWORD ", FM_STR_ARG(name));
    literal(b, secret);
    fm_buf_printf(b,
                  "; GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean), "
                  "pg_catalog.pg_stat_file(text, boolean), "
                  "pg_catalog.pg_read_binary_file(text), "
                  "pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO \"%.*s\"",
                  FM_STR_ARG(name));
    return fits(b, "the statement of a role", e);
}
