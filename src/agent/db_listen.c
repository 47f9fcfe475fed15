/* Where PostgreSQL of a node listens. It starts where it gets one of its addresses, goes on without
 * the others, and never tries again; whoever has one of them answers in its place, to its own agent
 * too. See db.h. Invariants: nothing that answers at our address is believed before it was seen to
 * be this node's server; one that did not get all of its addresses is ended, and begun again later
 * each time. That a standby has to wait for an address is no failure of its data. */
#include "agent/db.h"

#include "agent/words.h"
#include "base/assert.h"

#include <stdio.h>

enum { LATER_MS = 250, DOUBLED_MAX = 5, HEAD_ROOM = 8 * 1024 };

#define LOOPBACK "127.0.0.1"

static void later(struct db_node *n)
{
    unsigned doubled = n->listen.tries < DOUBLED_MAX ? n->listen.tries : DOUBLED_MAX;
    n->listen.tries = (uint8_t)(n->listen.tries + (n->listen.tries < DOUBLED_MAX));
    n->listen.at = fm_mono_add_ms(fm_mono_now(), (int64_t)LATER_MS << doubled);
}

static enum fm_err probe(const struct db_node *n, const char *address, struct fm_error *e)
{
    struct fm_addr at;
    /* a name is PostgreSQL's to look up */
    bool known = fm_addr_ip(&at, fm_str_z(address), n->of[n->self].port) == FM_ERR_OK;
    return known ? fm_listener_probe(&at, e) : FM_ERR_OK;
}

bool db_listen_is_due(const struct db_node *n)
{
    return !fm_mono_before(fm_mono_now(), n->listen.at);
}

enum fm_err db_listen_probe(struct db_node *n, struct fm_error *e)
{
    const char *address = n->of[n->self].address;
    FM_ASSERT(!n->up);
    n->listen.good = false;
    enum fm_err err = probe(n, LOOPBACK, e);
    if (!err && strcmp(address, LOOPBACK) != 0)
        err = probe(n, address, e);
    if (err)
        later(n);
    return err;
}

/* As it says itself; what was printed before anybody got in. */
static bool went_without(const struct db_node *n, char out[FM_WORDS_ROOM])
{
    char text[HEAD_ROOM];
    struct fm_addr at;
    const char *address = n->of[n->self].address;
    (void)fm_outlog_head(&n->log, text, sizeof text);
    if (fm_words_listen(text, LOOPBACK, out))
        return true;
    /* of a name some addresses may be somewhere else */
    return fm_addr_ip(&at, fm_str_z(address), n->of[n->self].port) == FM_ERR_OK &&
           fm_words_listen(text, address, out);
}

bool db_listen_ended(struct db_node *n)
{
    char words[FM_WORDS_ROOM];
    bool without = went_without(n, words);
    if (without)
        later(n);
    return without;
}

bool db_listen_is_other(struct db_node *n, const struct fm_pg_conn *c)
{
    char words[FM_WORDS_ROOM] = "";
    bool answers = c->state == FM_PG_CONN_READY;
    if (n->listen.good || n->ending || !n->up)
        return false;
    bool others = answers && db_server_is_others(n, fm_pg_server_process(c));
    if (!went_without(n, words) && !others) {
        n->listen.good = answers;
        if (answers)
            n->listen.tries = 0;
        return false;
    }
    if (!words[0])
        snprintf(words, sizeof words, "another server answers at " LOOPBACK ":%u",
                 (unsigned)n->of[n->self].port);
    db_server_trouble(n, "it does not get its address", words);
    later(n);
    db_server_end(n, FM_PG_FAST, n->policy.stop_ms);
    return true;
}
