/* The texts that PostgreSQL reads. */
#include "test.h"

#include "pg/settings.h"

#include <stdio.h>

static char text[16384];

static const struct fm_pg_upstream north = {FM_STR_INIT("10.0.2.31"), 5433,
                                            FM_STR_INIT("fulmar_west_db_1")};

static struct fm_pg_settings usual(void)
{
    return (struct fm_pg_settings){.name = FM_STR("west-db-1"),
                                   .data = FM_STR("/var/lib/fulmar/pg/ledger"),
                                   .listen = FM_STR("127.0.0.1,10.0.1.31"),
                                   .port = 5432,
                                   .replication = FM_STR("fulmar_replication")};
}

static const char *conf(const struct fm_pg_settings *s)
{
    struct fm_buf b = fm_buf(text, sizeof text - 1);
    struct fm_error e = {0};
    if (fm_pg_conf_write(&b, s, &e))
        fail_msg("%s", e.msg);
    text[b.n] = 0;
    return text;
}

static const char *hba(const struct fm_pg_settings *s)
{
    struct fm_buf b = fm_buf(text, sizeof text - 1);
    struct fm_error e = {0};
    if (fm_pg_hba_write(&b, s, &e))
        fail_msg("%s", e.msg);
    text[b.n] = 0;
    return text;
}

static bool has_line(const char *all, const char *line)
{
    struct fm_str rest = fm_str_z(all);
    while (rest.n)
        if (fm_str_eqz(fm_str_cut(rest, '\n', &rest), line))
            return true;
    return false;
}

static void writes_what_the_promises_rest_on(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "port = 5432",
        "listen_addresses = '127.0.0.1,10.0.1.31'",
        "cluster_name = 'west-db-1'",
        "hba_file = '/var/lib/fulmar/pg/ledger/fulmar.hba'",
        "wal_level = 'logical'",
        "synchronous_commit = 'on'",
        "synchronous_standby_names = ''",
        "unix_socket_directories = ''",
        "password_encryption = 'scram-sha-256'",
        "recovery_target_timeline = 'latest'",
        "max_wal_senders = '16'",
    };
    struct fm_pg_settings s = usual();
    for (size_t i = 0; i < FM_COUNT(lines); i++)
        if (!has_line(conf(&s), lines[i]))
            fail_msg("no `%s` in %s", lines[i], text);
    assert_null(strstr(text, "primary_conninfo"));
    assert_null(strstr(text, "data_directory"));
}

static void writes_whom_a_standby_follows(void **state)
{
    (void)state;
    struct fm_pg_settings s = usual();
    s.upstream = &north;
    s.synchronous = FM_STR("FIRST 1 (fulmar_credit, \"north-db-1\")");
    assert_true(has_line(conf(&s), "primary_conninfo = 'host=''10.0.2.31'' port=''5433'' "
                                   "user=''fulmar_replication'' "
                                   "passfile=''/var/lib/fulmar/pg/ledger/fulmar.pass'' "
                                   "application_name=''west-db-1'' connect_timeout=''5'''"));
    assert_true(has_line(text, "primary_slot_name = 'fulmar_west_db_1'"));
    assert_null(strstr(text, "recovery_min_apply_delay"));
    assert_true(has_line(text, "synchronous_standby_names = 'FIRST 1 (fulmar_credit, "
                               "\"north-db-1\")'"));
}

static void a_delay_is_of_a_standby_and_in_milliseconds(void **state)
{
    (void)state;
    struct fm_pg_settings s = usual();
    struct fm_buf b = fm_buf(text, sizeof text);
    struct fm_error e = {0};
    s.delay_ms = 3600 * 1000;
    assert_null(strstr(conf(&s), "recovery_min_apply_delay")); /* it follows nobody */
    s.upstream = &north;
    assert_true(has_line(conf(&s), "recovery_min_apply_delay = 3600000"));
    s.apart = true; /* what it has is not applied at once for that */
    assert_true(has_line(conf(&s), "recovery_min_apply_delay = 3600000"));
    s.apart = false;
    s.delay_ms = (int64_t)INT32_MAX + 1;
    assert_int_equal(fm_pg_conf_write(&b, &s, &e), FM_ERR_INVALID);
}

static void writes_nobody_for_a_standby_that_is_to_receive_nothing(void **state)
{
    (void)state;
    struct fm_pg_settings s = usual();
    s.upstream = &north;
    s.apart = true;
    assert_null(strstr(conf(&s), "primary_conninfo"));
    assert_null(strstr(text, "primary_slot_name"));
}

static void keeps_no_old_log_where_a_rewind_would_copy_it(void **state)
{
    (void)state;
    static const struct fm_pg_setting own[] = {{FM_STR_INIT("wal_recycle"), FM_STR_INIT("on")}};
    struct fm_pg_settings s = usual();
    s.own = own;
    s.nown = 1;
    assert_false(has_line(conf(&s), "wal_recycle = 'off'"));
    s.sheds_log = true;
    const char *users = strstr(conf(&s), "wal_recycle = 'on'");
    assert_non_null(users);
    assert_non_null(strstr(users, "wal_recycle = 'off'")); /* the last one counts */
}

static void synchronizes_at_once_unless_the_user_says_otherwise(void **state)
{
    (void)state;
    static const struct fm_pg_setting own[] = {
        {FM_STR_INIT("recovery_init_sync_method"), FM_STR_INIT("fsync")}};
    struct fm_pg_settings s = usual();
    assert_null(strstr(conf(&s), "recovery_init_sync_method"));
    s.syncs_at_once = true;
    assert_true(has_line(conf(&s), "recovery_init_sync_method = 'syncfs'"));
    s.own = own;
    s.nown = 1;
    const char *ours = strstr(conf(&s), "recovery_init_sync_method = 'syncfs'");
    assert_non_null(ours);
    assert_non_null(strstr(ours, "recovery_init_sync_method = 'fsync'")); /* the last one counts */
}

/* The user's own are before what Fulmar needs, so that the last word is not theirs. */
static void writes_the_users_own(void **state)
{
    (void)state;
    static const struct fm_pg_setting own[] = {
        {FM_STR_INIT("shared_buffers"), FM_STR_INIT("1GB")},
        {FM_STR_INIT("max_wal_senders"), FM_STR_INIT("40")},
        {FM_STR_INIT("my.text"), FM_STR_INIT("it's\\n \xC3\xA9 # no end '")},
    };
    struct fm_pg_settings s = usual();
    s.own = own;
    s.nown = FM_COUNT(own);
    assert_true(has_line(conf(&s), "shared_buffers = '1GB'"));
    assert_true(has_line(text, "my.text = 'it''s\\\\n \xC3\xA9 # no end '''"));
    assert_true(strstr(text, "max_wal_senders = '16'") < strstr(text, "max_wal_senders = '40'"));
    assert_true(strstr(text, "my.text") < strstr(text, "wal_level"));
}

static void refuses_settings_that_are_not_the_users(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
        enum fm_err err;
    } cases[] = {
        {"shared_buffers", "1GB", FM_ERR_OK},
        {"archive_command", "cp %p /x/%f", FM_ERR_OK},
        {"auto_explain.log_min_duration", "3s", FM_ERR_OK},
        {"empty_value", "", FM_ERR_OK},
        {"port", "5432", FM_ERR_STATE},
        {"synchronous_commit", "off", FM_ERR_STATE},
        {"synchronous_standby_names", "", FM_ERR_STATE},
        {"fsync", "off", FM_ERR_STATE},
        {"hba_file", "/x", FM_ERR_STATE},
        {"unix_socket_directories", "/tmp", FM_ERR_STATE},
        {"Fsync", "off", FM_ERR_INVALID}, /* PostgreSQL takes it; names here are in small letters */
        {"include", "/etc/passwd", FM_ERR_INVALID},
        {"include_dir", "/etc", FM_ERR_INVALID},
        {"include_if_exists", "/etc/passwd", FM_ERR_INVALID},
        {"", "x", FM_ERR_INVALID},
        {".", "x", FM_ERR_INVALID},
        {"a.", "x", FM_ERR_INVALID},
        {".a", "x", FM_ERR_INVALID},
        {"a..b", "x", FM_ERR_INVALID},
        {"a b", "x", FM_ERR_INVALID},
        {"a=b", "x", FM_ERR_INVALID},
        {"a\nfsync", "off", FM_ERR_INVALID},
        {"1a", "x", FM_ERR_INVALID},
        {"work_mem", "4MB\nfsync = off", FM_ERR_INVALID},
        {"work_mem", "4MB\r", FM_ERR_INVALID},
        {"work_mem", "4MB\x7f", FM_ERR_INVALID},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_error e = {0};
        enum fm_err err =
            fm_pg_setting_check(fm_str_z(cases[i].name), fm_str_z(cases[i].value), &e);
        if (err != cases[i].err)
            fail_msg("%s = %s: %s", cases[i].name, cases[i].value, e.msg);
    }
    assert_int_equal(fm_pg_setting_check(FM_STR("a"), fm_str("b\0c", 3), NULL), FM_ERR_INVALID);
    struct fm_pg_setting own = {FM_STR("fsync"), FM_STR("off")};
    struct fm_pg_settings s = usual();
    struct fm_buf b = fm_buf(text, sizeof text);
    s.own = &own;
    s.nown = 1;
    assert_int_equal(fm_pg_conf_write(&b, &s, NULL), FM_ERR_STATE);
}

static void lets_in_the_loopback_and_the_nodes_only(void **state)
{
    (void)state;
    static const struct fm_str peers[] = {FM_STR_INIT("10.0.2.31"), FM_STR_INIT("fd00::31"),
                                          FM_STR_INIT("north-db-2.bank.internal"),
                                          FM_STR_INIT("all")};
    struct fm_pg_settings s = usual();
    s.peers = peers;
    s.npeers = FM_COUNT(peers);
    assert_string_equal(strchr(strchr(hba(&s), '\n') + 1, '\n') + 1,
                        "host all all 127.0.0.1/32 scram-sha-256\n"
                        "host replication fulmar_replication 127.0.0.1/32 scram-sha-256\n"
                        "host all all ::1/128 scram-sha-256\n"
                        "host replication fulmar_replication ::1/128 scram-sha-256\n"
                        "host replication fulmar_replication 10.0.2.31/32 scram-sha-256\n"
                        "host postgres fulmar_replication 10.0.2.31/32 scram-sha-256\n"
                        "host replication fulmar_replication fd00::31/128 scram-sha-256\n"
                        "host postgres fulmar_replication fd00::31/128 scram-sha-256\n"
                        "host replication fulmar_replication \"north-db-2.bank.internal\" "
                        "scram-sha-256\n"
                        "host postgres fulmar_replication \"north-db-2.bank.internal\" "
                        "scram-sha-256\n"
                        "host replication fulmar_replication \"all\" scram-sha-256\n"
                        "host postgres fulmar_replication \"all\" scram-sha-256\n");
    static const char *const wrong[] = {
        "",   "0.0.0.0/0",   "a b", "10.0.0.1\nhost all all all trust",
        "\"", "fd00::31::2", "a,b", "fe80::1%eth0"};
    for (size_t i = 0; i < FM_COUNT(wrong); i++) {
        struct fm_str peer = fm_str_z(wrong[i]);
        struct fm_buf b = fm_buf(text, sizeof text);
        s.peers = &peer;
        s.npeers = 1;
        if (fm_pg_hba_write(&b, &s, NULL) != FM_ERR_INVALID)
            fail_msg("lets in `%s`", wrong[i]);
    }
}

static void refuses_what_it_cannot_write_down(void **state)
{
    (void)state;
    struct fm_pg_settings s[16];
    struct fm_pg_upstream u[4] = {north, north, north, north};
    size_t n = 0;
    for (size_t i = 0; i < FM_COUNT(s); i++)
        s[i] = usual();
    s[n++].name = FM_STR("");
    s[n++].name = FM_STR("a'b");
    s[n++].name = FM_STR("a\nb");
    s[n++].data = FM_STR("relative");
    s[n++].data = FM_STR("");
    s[n++].data = FM_STR("/a\nb");
    s[n++].listen = FM_STR("");
    s[n++].port = 0;
    s[n++].replication = FM_STR("a b");
    s[n++].replication = FM_STR("Capital");
    s[n++].synchronous = FM_STR("a\nb");
    u[0].port = 0;
    u[1].host = FM_STR("a'b");
    u[2].slot = FM_STR("a-b");
    u[3].host = FM_STR("");
    for (size_t i = 0; i < FM_COUNT(u); i++)
        s[n++].upstream = &u[i];
    for (size_t i = 0; i < n; i++) {
        struct fm_buf b = fm_buf(text, sizeof text);
        if (fm_pg_conf_write(&b, &s[i], NULL) != FM_ERR_INVALID)
            fail_msg("writes case %zu", i);
    }
}

static void says_what_does_not_fit(void **state)
{
    (void)state;
    struct fm_pg_settings s = usual();
    s.upstream = &north;
    size_t whole = strlen(conf(&s));
    for (size_t cap = 0; cap < whole; cap += 7) {
        struct fm_buf b = fm_buf(text, cap);
        assert_int_equal(fm_pg_conf_write(&b, &s, NULL), FM_ERR_LIMIT);
    }
    struct fm_buf b = fm_buf(text, 40);
    assert_int_equal(fm_pg_hba_write(&b, &s, NULL), FM_ERR_LIMIT);
    b = fm_buf(text, 20);
    assert_int_equal(fm_pg_pass_write(&b, FM_STR("user"), FM_STR("a long password"), NULL),
                     FM_ERR_LIMIT);
    b = fm_buf(text, 50);
    assert_int_equal(fm_pg_conninfo_write(&b, &s, &north, fm_str(NULL, 0), NULL), FM_ERR_LIMIT);
    char longest[1001];
    memset(longest, 'a', sizeof longest);
    s.data = fm_str(longest, sizeof longest);
    longest[0] = '/';
    b = fm_buf(text, sizeof text);
    assert_int_equal(fm_pg_conf_write(&b, &s, NULL), FM_ERR_INVALID);
}

static void writes_passwords_as_libpq_reads_them(void **state)
{
    (void)state;
    struct fm_buf b = fm_buf(text, sizeof text);
    assert_int_equal(fm_pg_pass_write(&b, FM_STR("fulmar"), FM_STR("a:b\\c d#'"), NULL), FM_ERR_OK);
    assert_str(fm_buf_str(&b), "*:*:*:fulmar:a\\:b\\\\c d#'\n");
    static const char *const wrong[] = {"", "a\nb", "a\tb"};
    for (size_t i = 0; i < FM_COUNT(wrong); i++) {
        struct fm_error e = {0};
        b = fm_buf(text, sizeof text);
        assert_int_equal(fm_pg_pass_write(&b, FM_STR("fulmar"), fm_str_z(wrong[i]), &e),
                         FM_ERR_INVALID);
        assert_null(strstr(e.msg, "a\nb")); /* it is not told */
    }
}

static void writes_connection_strings(void **state)
{
    (void)state;
    struct fm_pg_settings s = usual();
    struct fm_pg_upstream six = {FM_STR("fd00::31"), 5432, FM_STR("s")};
    struct fm_buf b = fm_buf(text, sizeof text);
    s.data = FM_STR("/a'b\\c");
    assert_int_equal(fm_pg_conninfo_write(&b, &s, &six, FM_STR("postgres"), NULL), FM_ERR_OK);
    assert_str(fm_buf_str(&b), "host='fd00::31' port='5432' user='fulmar_replication' "
                               "dbname='postgres' passfile='/a\\'b\\\\c/fulmar.pass' "
                               "application_name='west-db-1' connect_timeout='5'");
}

static void writes_the_role_that_replicates(void **state)
{
    (void)state;
    struct fm_buf b = fm_buf(text, sizeof text - 1);
    assert_int_equal(fm_pg_replication_role_write(&b, FM_STR("r"), FM_STR("it's"), NULL),
                     FM_ERR_OK);
    text[b.n] = 0;
    assert_non_null(strstr(text, "ALTER ROLE \"r\" LOGIN REPLICATION PASSWORD 'it''s'; GRANT"));
    b = fm_buf(text, sizeof text - 1);
    assert_int_equal(fm_pg_replication_role_write(&b, FM_STR("r"), FM_STR("a\\'b"), NULL),
                     FM_ERR_OK);
    text[b.n] = 0;
    assert_non_null(strstr(text, "PASSWORD  E'a\\\\''b'; GRANT"));
    b = fm_buf(text, sizeof text);
    assert_int_equal(fm_pg_replication_role_write(&b, FM_STR("r\"; x"), FM_STR("s"), NULL),
                     FM_ERR_INVALID);
    assert_int_equal(fm_pg_replication_role_write(&b, FM_STR("r"), FM_STR(""), NULL),
                     FM_ERR_INVALID);
    b = fm_buf(text, 100);
    assert_int_equal(fm_pg_replication_role_write(&b, FM_STR("r"), FM_STR("s"), NULL),
                     FM_ERR_LIMIT);
}

static void slots_are_told_apart(void **state)
{
    (void)state;
    static const char *const names[] = {
        "a-b",
        "a_b",
        "A-b",
        "west-db-1",
        "x23456789012345678901234567890123456789012345678901234567890-1",
        "x23456789012345678901234567890123456789012345678901234567890-2",
    };
    char slot[FM_COUNT(names)][FM_PG_SLOT_ROOM];
    for (size_t i = 0; i < FM_COUNT(names); i++) {
        fm_pg_slot_name(slot[i], fm_str_z(names[i]));
        assert_int_equal(strncmp(slot[i], "fulmar_", 7), 0);
        assert_int_equal(strspn(slot[i], "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(slot[i]));
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(slot[k], slot[i]);
    }
    /* another version has to find it */
    assert_string_equal(slot[3], "fulmar_west_db_1_20342965");
    assert_int_equal(strlen(slot[4]), FM_PG_SLOT_ROOM - 1);
}

FM_TEST_MAIN(fm_test(slots_are_told_apart), fm_test(writes_what_the_promises_rest_on),
             fm_test(writes_whom_a_standby_follows),
             fm_test(a_delay_is_of_a_standby_and_in_milliseconds),
             fm_test(writes_nobody_for_a_standby_that_is_to_receive_nothing),
             fm_test(keeps_no_old_log_where_a_rewind_would_copy_it),
             fm_test(synchronizes_at_once_unless_the_user_says_otherwise),
             fm_test(writes_the_users_own), fm_test(refuses_settings_that_are_not_the_users),
             fm_test(lets_in_the_loopback_and_the_nodes_only),
             fm_test(refuses_what_it_cannot_write_down), fm_test(says_what_does_not_fit),
             fm_test(writes_passwords_as_libpq_reads_them), fm_test(writes_connection_strings),
             fm_test(writes_the_role_that_replicates))
