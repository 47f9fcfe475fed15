#include "served.h"

#include <unistd.h>

struct served served;

static char out[64 * 1024];
static struct fm_buf said;

static void lost(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    assert_int_equal(c->state, FM_PG_CONN_CLOSED);
    served.lost++;
    served.error = r->error;
}

int served_setup(void **state)
{
    int rc = fm_test_fds_before(state);
    served = (struct served){.listener = -1, .peer.fd = -1};
    net_open(&served.net, 1024, 4);
    served.listener = raw_listen(&served.at);
    said = fm_buf(out, sizeof out);
    fm_pg_init(&served.conn, &served.net.loop, "ledger-west", lost);
    return rc;
}

int served_teardown(void **state)
{
    fm_pg_close(&served.conn);
    if (served.peer.fd >= 0)
        peer_close(&served.peer);
    close(served.listener);
    net_close(&served.net);
    return fm_test_fds_after(state);
}

static void be(struct fm_buf *b, uint64_t v, unsigned bytes)
{
    while (bytes--)
        fm_buf_ch(b, (char)(v >> 8 * bytes));
}

void served_add(char type, const void *body, size_t n)
{
    fm_buf_ch(&said, type);
    be(&said, n + 4, 4);
    fm_buf_add(&said, body, n);
    assert_false(said.full);
}

void served_error(const char *severity, const char *sqlstate, const char *text)
{
    char body[256];
    struct fm_buf b = fm_buf(body, sizeof body);
    fm_buf_printf(&b, "S%s%cV%s%cC%s%cM%s%c", severity, 0, severity, 0, sqlstate, 0, text, 0);
    fm_buf_ch(&b, 0);
    served_add(severity[0] == 'N' || severity[0] == 'W' ? 'N' : 'E', b.p, b.n);
}

void served_ready(void)
{
    served_add('Z', "I", 1);
}

void served_columns(unsigned n)
{
    char body[512];
    struct fm_buf b = fm_buf(body, sizeof body);
    be(&b, n, 2);
    for (unsigned i = 0; i < n; i++) {
        fm_buf_printf(&b, "c%u%c", i, 0);
        be(&b, 0, 4);
        be(&b, 0, 2);
        be(&b, 25, 4);
        be(&b, 0xffff, 2);
        be(&b, 0xffffffff, 4);
        be(&b, 0, 2);
    }
    assert_false(b.full);
    served_add('T', b.p, b.n);
}

void served_row(const char *const *value, unsigned n)
{
    static char body[32 * 1024];
    struct fm_buf b = fm_buf(body, sizeof body);
    be(&b, n, 2);
    for (unsigned i = 0; i < n; i++) {
        be(&b, value[i] ? strlen(value[i]) : 0xffffffff, 4);
        fm_buf_str_add(&b, fm_str_z(value[i]));
    }
    assert_false(b.full);
    served_add('D', b.p, b.n);
}

void served_complete(const char *tag)
{
    served_add('C', tag, strlen(tag) + 1);
}

void served_send(void)
{
    peer_send(&served.net, &served.peer, said.p, said.n);
    said.n = 0;
}

bool served_got(char type)
{
    peer_poll(&served.peer);
    size_t at = 0, taken = 0;
    const uint8_t *in = (const uint8_t *)served.peer.in;
    while (served.peer.n - at >= 5) {
        size_t n = (size_t)in[at + 1] << 24 | (size_t)in[at + 2] << 16 | (size_t)in[at + 3] << 8 |
                   in[at + 4];
        if (served.peer.n - at < n + 1)
            break;
        char is = (char)in[at];
        at += n + 1;
        if (is == type)
            taken = at;
    }
    if (taken)
        peer_drop(&served.peer, taken);
    return taken > 0;
}

void served_done(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    (void)c;
    served.done++;
    served.error = r->error;
    memcpy(served.sqlstate, r->sqlstate, sizeof served.sqlstate);
}

void served_begin(const struct fm_pg_target *more)
{
    struct fm_pg_target t = more ? *more : (struct fm_pg_target){.user = "fulmar"};
    t.addr = &served.at;
    t.sslmode = "disable";
    unsigned before = served.done;
    fm_pg_open(&served.conn, &t, 5000, served_done);
    assert_int_equal(served.done, before);
    peer_accept(&served.net, &served.peer, served.listener);
    NET_UNTIL(&served.net, (peer_poll(&served.peer), served.peer.n > 8));
}

void served_open(void)
{
    served_begin(NULL);
    peer_drop(&served.peer, served.peer.n);
    served_add('R', "\0\0\0\0", 4);
    served_add('S',
               "server_version\0"
               "15.18",
               21);
    served_add('K', "\0\0\0\7\0\0\0\11", 8);
    served_ready();
    served_send();
    NET_UNTIL(&served.net, served.done == 1);
    assert_int_equal(served.error.code, FM_ERR_OK);
    assert_int_equal(served.conn.state, FM_PG_CONN_READY);
    assert_int_equal(fm_pg_server_version(&served.conn), 150018);
    served.done = 0;
}
