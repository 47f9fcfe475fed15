/* The peers: see the header. Plain on purpose, as in a first version of a program. */
#include "directory_peers.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

static void *must(void *p)
{
    if (!p) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return p;
}

/* -------- chained -------- */

struct node {
    struct node *next;
    uint32_t cell;
    uint32_t n;
    char key[];
};

struct chained {
    struct node **bucket;
    uint64_t mask;
};

static void *chained_open(uint64_t keys)
{
    struct chained *t = must(malloc(sizeof *t));
    uint64_t buckets = 1;
    while (buckets < keys)
        buckets *= 2;
    t->mask = buckets - 1;
    t->bucket = must(calloc(buckets, sizeof(struct node *)));
    return t;
}

static struct node **chain_of(struct chained *t, struct fm_str key)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < key.n; i++)
        h = (h ^ (unsigned char)key.p[i]) * UINT64_C(0x100000001b3);
    return &t->bucket[(h ^ h >> 32) & t->mask];
}

static void chained_add(void *peer, struct fm_str key, uint32_t cell)
{
    struct node **chain = chain_of(peer, key);
    struct node *n = must(malloc(sizeof *n + key.n));
    *n = (struct node){*chain, cell, (uint32_t)key.n};
    memcpy(n->key, key.p, key.n);
    *chain = n;
}

static void chained_built(void *peer)
{
    (void)peer;
}

static uint32_t chained_find(void *peer, struct fm_str key)
{
    for (struct node *n = *chain_of(peer, key); n; n = n->next)
        if (n->n == key.n && memcmp(n->key, key.p, key.n) == 0)
            return n->cell;
    return ABSENT;
}

static void chained_close(void *peer)
{
    struct chained *t = peer;
    for (uint64_t i = 0; i <= t->mask; i++)
        for (struct node *n = t->bucket[i], *next; n; n = next) {
            next = n->next;
            free(n);
        }
    free(t->bucket);
    free(t);
}

const struct peer peer_chained = {"chained hash table", chained_open, chained_add,
                                  chained_built,        chained_find, chained_close};

/* -------- SQLite -------- */

struct lite {
    sqlite3 *db;
    sqlite3_stmt *insert, *select;
};

static void good(struct lite *l, int rc)
{
    if (rc == SQLITE_OK || rc == SQLITE_DONE || rc == SQLITE_ROW)
        return;
    fprintf(stderr, "sqlite: %s\n", sqlite3_errmsg(l->db));
    exit(1);
}

static void run(struct lite *l, const char *sql)
{
    good(l, sqlite3_exec(l->db, sql, NULL, NULL, NULL));
}

static void *lite_open(uint64_t keys)
{
    (void)keys;
    struct lite *l = must(calloc(1, sizeof *l));
    good(l, sqlite3_open(":memory:", &l->db));
    run(l, "create table t(key blob primary key, cell integer) without rowid");
    run(l, "begin");
    good(l, sqlite3_prepare_v2(l->db, "insert into t values(?, ?)", -1, &l->insert, NULL));
    good(l, sqlite3_prepare_v2(l->db, "select cell from t where key = ?", -1, &l->select, NULL));
    return l;
}

static void lite_add(void *peer, struct fm_str key, uint32_t cell)
{
    struct lite *l = peer;
    good(l, sqlite3_bind_blob(l->insert, 1, key.p, (int)key.n, SQLITE_STATIC));
    good(l, sqlite3_bind_int64(l->insert, 2, cell));
    good(l, sqlite3_step(l->insert));
    good(l, sqlite3_reset(l->insert));
}

static void lite_built(void *peer)
{
    run(peer, "commit");
}

static uint32_t lite_find(void *peer, struct fm_str key)
{
    struct lite *l = peer;
    good(l, sqlite3_bind_blob(l->select, 1, key.p, (int)key.n, SQLITE_STATIC));
    int rc = sqlite3_step(l->select);
    good(l, rc);
    uint32_t cell = rc == SQLITE_ROW ? (uint32_t)sqlite3_column_int64(l->select, 0) : ABSENT;
    good(l, sqlite3_reset(l->select));
    return cell;
}

static void lite_close(void *peer)
{
    struct lite *l = peer;
    sqlite3_finalize(l->insert);
    sqlite3_finalize(l->select);
    sqlite3_close(l->db);
    free(l);
}

const struct peer peer_sqlite = {"SQLite in memory", lite_open, lite_add,
                                 lite_built,         lite_find, lite_close};
