/* TLS by OpenSSL over a BIO of our own, so that the socket stays the loop's: every byte goes
 * through fm_sock_raw_recv and fm_sock_raw_send, which keep what the kernel said about readiness
 * and about the age of what came (SAFETY.md rule 14 holds under TLS, too). Nothing here waits.
 *
 * Invariant: an SSL object lives from fm_tls_attach to fm_tls_detach and knows its socket; its
 * error queue is cleared before each call, since it belongs to the thread. */
#include "io/tls.h"

#include "base/assert.h"
#include "io/sock.h"
#include "io/sock_turn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { RECORD_MAX = 16 * 1024, WHY_MAX = 160 };

struct fm_tls {
    SSL_CTX *ctx;
    BIO_METHOD *bio;
    enum fm_tls_side side;
    atomic_uint refs;
};

/* What an SSL object carries for us. */
struct conn {
    struct fm_sock *sock;
    struct fm_tls *tls;
    bool failed, shaken;
    struct fm_mono raw_at; /* of the newest bytes from the kernel: when, and how old they were */
    int64_t raw_age_ns;
    char why[WHY_MAX];
};

static struct conn *conn_of(SSL *ssl)
{
    return SSL_get_app_data(ssl);
}

/* -------- the bytes -------- */

static int bio_result(BIO *b, ssize_t n, int retry_flag)
{
    BIO_clear_retry_flags(b);
    if (n == -EAGAIN || n == -EWOULDBLOCK)
        BIO_set_flags(b, retry_flag | BIO_FLAGS_SHOULD_RETRY);
    if (n < 0)
        errno = (int)-n;
    return n < 0 ? -1 : (int)n;
}

static int bio_read(BIO *b, char *to, int room)
{
    if (room <= 0)
        return 0;
    struct fm_sock *s = BIO_get_data(b);
    ssize_t n = fm_sock_raw_recv(s, to, (size_t)room);
    if (n > 0) {
        conn_of(s->tls)->raw_at = s->loop->now;
        conn_of(s->tls)->raw_age_ns = s->recv_age_ns;
    }
    return bio_result(b, n, BIO_FLAGS_READ);
}

static int bio_write(BIO *b, const char *from, int n)
{
    struct iovec v = {(void *)(uintptr_t)from, n > 0 ? (size_t)n : 0};
    return bio_result(b, fm_sock_raw_send(BIO_get_data(b), &v, 1), BIO_FLAGS_WRITE);
}

static long bio_ctrl(BIO *b, int cmd, long number, void *p)
{
    (void)b, (void)number, (void)p;
    return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP ? 1 : 0;
}

static BIO_METHOD *new_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "fm_sock");
    if (m && BIO_meth_set_read(m, bio_read) == 1 && BIO_meth_set_write(m, bio_write) == 1 &&
        BIO_meth_set_ctrl(m, bio_ctrl) == 1)
        return m;
    BIO_meth_free(m);
    return NULL;
}

/* -------- settings -------- */

/* The reason that OpenSSL has at the end of its queue: the innermost is the most telling. */
static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text ? text : "unknown reason";
}

static enum fm_err bad_file(struct fm_error *e, const char *what, const char *path)
{
    int err = errno;
    FILE *f = fopen(path, "re");
    if (!f)
        return fm_error_errno(e, FM_ERR_INVALID, errno ? errno : err, "%s `%s`", what, path);
    fclose(f);
    return fm_error_set(e, FM_ERR_INVALID, "%s `%s`: %s", what, path, reason());
}

static enum fm_err key_is_private(const char *path, struct fm_error *e)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return fm_error_errno(e, FM_ERR_INVALID, errno, "private key `%s`", path);
    if (st.st_mode & (S_IRWXO | S_IWGRP))
        return fm_error_set(e, FM_ERR_INVALID,
                            "private key `%s`: others may read or change it; chmod 600 it", path);
    return FM_ERR_OK;
}

static enum fm_err own_certificate(SSL_CTX *ctx, const struct fm_tls_files *f, struct fm_error *e)
{
    if (SSL_CTX_use_certificate_chain_file(ctx, f->cert) != 1)
        return bad_file(e, "certificate", f->cert);
    enum fm_err err = key_is_private(f->key, e);
    if (err)
        return err;
    if (SSL_CTX_use_PrivateKey_file(ctx, f->key, SSL_FILETYPE_PEM) == 1)
        return FM_ERR_OK;
    if (ERR_GET_REASON(ERR_peek_last_error()) != X509_R_KEY_VALUES_MISMATCH)
        return bad_file(e, "private key", f->key);
    return fm_error_set(e, FM_ERR_INVALID, "private key `%s` does not belong to `%s`", f->key,
                        f->cert);
}

static enum fm_err trust(SSL_CTX *ctx, enum fm_tls_side side, const char *ca, struct fm_error *e)
{
    if (!ca) {
        if (side == FM_TLS_CLIENT && SSL_CTX_set_default_verify_paths(ctx) != 1)
            return fm_error_set(e, FM_ERR_INVALID, "the system's authorities: %s", reason());
        SSL_CTX_set_verify(ctx, side == FM_TLS_CLIENT ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
        return FM_ERR_OK;
    }
    if (SSL_CTX_load_verify_file(ctx, ca) != 1)
        return bad_file(e, "authority", ca);
    if (side == FM_TLS_SERVER) {
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(ca);
        if (!names)
            return bad_file(e, "authority", ca);
        SSL_CTX_set_client_CA_list(ctx, names);
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return FM_ERR_OK;
}

static enum fm_err set_up(struct fm_tls *t, const struct fm_tls_files *f, struct fm_error *e)
{
    t->bio = new_method();
    t->ctx = SSL_CTX_new(t->side == FM_TLS_SERVER ? TLS_server_method() : TLS_client_method());
    if (!t->bio || !t->ctx || SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_num_tickets(t->ctx, 0) != 1)
        return fm_error_set(e, FM_ERR_MEMORY, "cannot set up TLS: %s", reason());
    SSL_CTX_set_options(t->ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(t->ctx, 1); /* a record by one receive instead of two */
    SSL_CTX_set_mode(t->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                 SSL_MODE_RELEASE_BUFFERS);
    enum fm_err err = trust(t->ctx, t->side, f->ca, e);
    if (!err && f->cert)
        err = own_certificate(t->ctx, f, e);
    return err;
}

enum fm_err fm_tls_new(struct fm_tls **out, enum fm_tls_side side, const struct fm_tls_files *files,
                       struct fm_error *e)
{
    FM_ASSERT(!files->cert == !files->key && (files->cert || side == FM_TLS_CLIENT));
    *out = NULL;
    struct fm_tls *t = calloc(1, sizeof *t);
    if (!t)
        return fm_error_set(e, FM_ERR_MEMORY, "cannot set up TLS");
    t->side = side;
    atomic_init(&t->refs, 1);
    ERR_clear_error();
    enum fm_err err = set_up(t, files, e);
    ERR_clear_error();
    if (err)
        fm_tls_unref(t);
    else
        *out = t;
    return err;
}

struct fm_tls *fm_tls_ref(struct fm_tls *t)
{
    unsigned before = atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    FM_ASSERT(before > 0);
    return t;
}

void fm_tls_unref(struct fm_tls *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) > 1)
        return;
    SSL_CTX_free(t->ctx);
    BIO_meth_free(t->bio);
    free(t);
}

/* -------- a connection begins and ends -------- */

static bool expect_peer(SSL *ssl, const char *peer)
{
    unsigned char ip[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, peer, ip) == 1 || inet_pton(AF_INET6, peer, ip) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), peer) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(ssl, peer) == 1 && SSL_set1_host(ssl, peer) == 1;
}

struct ssl_st *fm_tls_attach(struct fm_tls *t, struct fm_sock *s, const char *peer)
{
    FM_ASSERT(!peer == (t->side == FM_TLS_SERVER));
    ERR_clear_error();
    SSL *ssl = SSL_new(t->ctx);
    BIO *bio = BIO_new(t->bio);
    struct conn *c = calloc(1, sizeof *c);
    if (!ssl || !bio || !c || (peer && !expect_peer(ssl, peer))) {
        SSL_free(ssl);
        BIO_free(bio);
        free(c);
        ERR_clear_error();
        return NULL;
    }
    c->sock = s;
    c->tls = fm_tls_ref(t);
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_app_data(ssl, c);
    if (peer)
        SSL_set_connect_state(ssl);
    else
        SSL_set_accept_state(ssl);
    return ssl;
}

void fm_tls_end(struct ssl_st *ssl)
{
    struct conn *c = conn_of(ssl);
    ERR_clear_error();
    if (c->shaken && !c->failed && !(SSL_get_shutdown(ssl) & SSL_SENT_SHUTDOWN))
        (void)SSL_shutdown(ssl); /* a peer that cannot take it sees a cut stream, and rightly so */
    ERR_clear_error();
}

void fm_tls_discard(struct ssl_st *ssl)
{
    struct conn *c = conn_of(ssl);
    SSL_free(ssl);
    fm_tls_unref(c->tls);
    free(c);
}

void fm_tls_detach(struct ssl_st *ssl)
{
    fm_tls_end(ssl);
    fm_tls_discard(ssl);
}

void fm_tls_mute(struct ssl_st *ssl)
{
    conn_of(ssl)->failed = true;
}

bool fm_tls_move(struct ssl_st *ssl, struct fm_sock *s)
{
    conn_of(ssl)->sock = s;
    BIO_set_data(SSL_get_rbio(ssl), s);
    return SSL_has_pending(ssl);
}

/* -------- what OpenSSL says, as errno values -------- */

static const char *refusal(SSL *ssl)
{
    long verified = SSL_get_verify_result(ssl);
    return verified == X509_V_OK ? reason() : X509_verify_cert_error_string(verified);
}

/* The outcome of a call that did not succeed. */
static int outcome(SSL *ssl, int rc)
{
    struct conn *c = conn_of(ssl);
    struct fm_sock *s = c->sock;
    int err = errno;
    switch (SSL_get_error(ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        s->flags |= FM_SOCK_TLS_WANTS_ROOM;
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        c->failed = true;
        snprintf(c->why, sizeof c->why, "the connection broke");
        return err ? -err : -ECONNRESET;
    default:
        c->failed = true;
        bool cut = ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
        snprintf(c->why, sizeof c->why, "%s", cut ? "the peer hung up" : refusal(ssl));
        return cut ? -ECONNRESET : -EPROTO;
    }
}

/* What came is as old as the bytes that it was made from, which may have waited here. */
static void note_what_waits(struct fm_sock *s)
{
    const struct conn *c = conn_of(s->tls);
    if (SSL_has_pending(s->tls))
        s->flags |= FM_SOCK_TLS_PENDING;
    if ((s->flags & FM_SOCK_STAMPS) && c->raw_age_ns != INT64_MAX)
        s->recv_age_ns = c->raw_age_ns + (s->loop->now.ns - c->raw_at.ns);
}

int fm_tls_handshake(struct fm_sock *s)
{
    ERR_clear_error();
    errno = 0;
    s->flags &= (uint16_t)~FM_SOCK_TLS_WANTS_ROOM;
    int rc = SSL_do_handshake(s->tls);
    if (rc == 1) {
        conn_of(s->tls)->shaken = true;
        note_what_waits(s);
        return 0;
    }
    int r = outcome(s->tls, rc);
    return r ? r : -ECONNRESET;
}

ssize_t fm_tls_recv(struct fm_sock *s, void *to, size_t room)
{
    ERR_clear_error();
    errno = 0;
    s->flags &= (uint16_t) ~(FM_SOCK_TLS_WANTS_ROOM | FM_SOCK_TLS_PENDING);
    size_t n;
    int rc = SSL_read_ex(s->tls, to, room, &n);
    if (rc != 1)
        return outcome(s->tls, rc);
    note_what_waits(s);
    return (ssize_t)n;
}

/* Several pieces go out as one record: the head of a message and its short body are one packet. */
ssize_t fm_tls_send(struct fm_sock *s, const struct iovec *iov, unsigned n)
{
    char record[RECORD_MAX];
    const void *from = iov[0].iov_base;
    size_t len = iov[0].iov_len;
    if (n > 1 && len < sizeof record) {
        len = 0;
        for (unsigned i = 0; i < n && len < sizeof record; i++) {
            size_t part = fm_min_size(iov[i].iov_len, sizeof record - len);
            memcpy(record + len, iov[i].iov_base, part);
            len += part;
        }
        from = record;
    }
    ERR_clear_error();
    errno = 0;
    size_t sent;
    int rc = SSL_write_ex(s->tls, from, len, &sent);
    if (rc == 1)
        return (ssize_t)sent;
    int r = outcome(s->tls, rc);
    return r ? r : -EPIPE;
}

/* -------- of a connection -------- */

const char *fm_sock_tls_failure(const struct fm_sock *s)
{
    return s->tls ? conn_of(s->tls)->why : "";
}

bool fm_sock_peer_name(const struct fm_sock *s, char *name, size_t size)
{
    X509 *cert = s->tls ? SSL_get0_peer_certificate(s->tls) : NULL;
    GENERAL_NAMES *all = cert ? X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL) : NULL;
    bool found = false;
    for (int i = 0; !found && i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
        if (g->type != GEN_DNS)
            continue;
        int n = ASN1_STRING_length(g->d.dNSName);
        const unsigned char *p = ASN1_STRING_get0_data(g->d.dNSName);
        found = n > 0 && (size_t)n < size && !memchr(p, 0, (size_t)n);
        if (found) {
            memcpy(name, p, (size_t)n);
            name[n] = '\0';
        }
    }
    GENERAL_NAMES_free(all);
    return found;
}
