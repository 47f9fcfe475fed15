/* What PostgreSQL printed: the line that says why is found, and no other. */
#include "test.h"

#include "agent/words.h"

#include <string.h>

#define AT "2026-11-22 10:00:00.000 UTC [4711] "

static char out[FM_WORDS_ROOM];

static void why_it_ended(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", NULL},
        {AT "LOG:  database system is ready\n", NULL},
        {AT "FATAL:  lock file \"postmaster.pid\" already exists\n" AT "HINT:  Is another one "
            "running?\n",
         "FATAL:  lock file \"postmaster.pid\" already exists"},
        {AT "FATAL:  the first\n" AT "FATAL:  the last\n" AT "LOG:  is shut down\n",
         "FATAL:  the last"},
        {AT "LOG:  could not bind IPv4 address \"127.0.0.1\": Address already in use\n" AT
            "HINT:  ...\n" AT "FATAL:  could not create any TCP/IP sockets\n",
         "could not bind IPv4 address \"127.0.0.1\": Address already in use"},
        {AT "FATAL:  database files are incompatible with server\n" AT
            "DETAIL:  The data directory was initialized by PostgreSQL version 14, which is not "
            "compatible with this version 15.8.\n",
         "FATAL:  database files are incompatible with server: The data directory was initialized "
         "by PostgreSQL version 14, which is not compatible with this version 15.8."},
        {AT "FATAL:  one\n" AT "LOG:  x\n" AT "DETAIL:  of another line\n", "FATAL:  one"},
        {AT "FATAL:  cut off", "FATAL:  cut off"},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        assert_int_equal(fm_words_end(cases[i].text, out), cases[i].says != NULL);
        assert_string_equal(out, cases[i].says ? cases[i].says : "");
    }
}

static void why_a_standby_receives_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {AT "FATAL:  password authentication failed for user \"somebody\"\n", NULL},
        {AT "FATAL:  could not connect to the primary server: connection to server at "
            "\"10.0.1.10\", port 5432 failed: FATAL:  no pg_hba.conf entry for replication "
            "connection from host \"10.0.2.10\", user \"fulmar_replication\", no encryption\n",
         "connection to server at \"10.0.1.10\", port 5432 failed: FATAL:  no pg_hba.conf entry "
         "for replication connection from host \"10.0.2.10\", user \"fulmar_replication\", no "
         "encryption"},
        {AT "FATAL:  could not connect to the primary server: connection refused\n" AT
            "FATAL:  could not start WAL streaming: ERROR:  replication slot \"x\" does not "
            "exist\n" AT "LOG:  restored\n",
         "could not start WAL streaming: ERROR:  replication slot \"x\" does not exist"},
        {AT "FATAL:  could not start WAL streaming: x\n" AT
            "FATAL:  could not connect to the primary server: \n",
         NULL},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        assert_int_equal(fm_words_stream(cases[i].text, out), cases[i].says != NULL);
        assert_string_equal(out, cases[i].says ? cases[i].says : "");
    }
}

static void an_address_that_it_did_not_get(void **state)
{
    (void)state;
    static const char text[] =
        AT "LOG:  starting PostgreSQL 15.14\n" AT "LOG:  could not bind IPv4 address "
           "\"127.0.0.1\": Address already in use\n" AT
           "HINT:  Is another postmaster already running on port 5432?\n" AT
           "WARNING:  could not create listen socket for \"127.0.0.1\"\n" AT
           "LOG:  listening on IPv4 address \"127.0.0.3\", port 5432\n" AT
           "LOG:  could not bind IPv6 address \"::1\": Cannot assign requested address\n" AT
           "WARNING:  could not create listen socket for \"db.example\"\n";
    assert_true(fm_words_listen(text, "127.0.0.1", out));
    assert_string_equal(out, "could not bind IPv4 address \"127.0.0.1\": Address already in use");
    assert_false(fm_words_listen(text, "127.0.0.3", out));
    assert_false(fm_words_listen(text, "::1", out)); /* one of those that a name stands for */
    assert_true(fm_words_listen(text, "db.example", out));
    assert_string_equal(out, "could not create listen socket for \"db.example\"");
}

static void what_is_long_or_wild_is_one_tame_line(void **state)
{
    (void)state;
    char text[4 * FM_WORDS_ROOM];
    memset(text, 'x', sizeof text);
    memcpy(text, "FATAL:\033", 7);
    text[sizeof text - 1] = 0;
    assert_true(fm_words_end(text, out));
    assert_int_equal(strlen(out), FM_WORDS_ROOM - 1);
    assert_null(strchr(out, '\033'));
}

FM_TEST_MAIN(fm_test(why_it_ended), fm_test(why_a_standby_receives_nothing),
             fm_test(an_address_that_it_did_not_get),
             fm_test(what_is_long_or_wild_is_one_tame_line))
