/* tests/unit/pg/served.h: a server of PostgreSQL's protocol 3.0 that says what a test wants, byte
 * for byte, to one connection of pg/conn.h. */
#ifndef FM_TESTS_UNIT_PG_SERVED_H
#define FM_TESTS_UNIT_PG_SERVED_H

#include "net.h"

#include "base/buf.h"
#include "pg/conn.h"

struct served {
    struct net net;
    int listener;
    struct fm_addr at;
    struct peer peer; /* the server's end */
    struct fm_pg_conn conn;
    unsigned done, lost; /* how often */
    struct fm_error error;
    char sqlstate[6];
};

extern struct served served;

int served_setup(void **state);
int served_teardown(void **state);

#define with_served(fn) fm_test_with(fn, served_setup, served_teardown)

/* Messages in the server's name, collected until served_send. */
void served_add(char type, const void *body, size_t n);
void served_error(const char *severity, const char *sqlstate, const char *text);
void served_ready(void);
void served_columns(unsigned n);
/* A row of texts; NULL is SQL's NULL. */
void served_row(const char *const *value, unsigned n);
void served_complete(const char *tag);
void served_send(void);

/* Has a message of this type come in? Takes everything up to the last of them. */
bool served_got(char type);

/* Begin to open it, and accept it; the start-up packet is in peer.in. */
void served_begin(const struct fm_pg_target *more);
/* Open it, and be ready. */
void served_open(void);

/* Remembers the result; the default of everything. */
void served_done(struct fm_pg_conn *c, const struct fm_pg_result *r);

#endif
