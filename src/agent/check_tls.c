/* TLS certificates: a handshake through memory BIOs (so that the socket stays the loop's), then the
 * dates of the leaf. It warns early and fails only when the certificate is not valid by date: a
 * chain or a name that does not verify is a warning, since clients may trust what we do not. */
#include "agent/check_io.h"

#include "base/assert.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

struct fm_check_tls {
    SSL_CTX *ctx;
    SSL *ssl;
    BIO *in, *out;
    char name[256];
    char buf[16 * 1024];
};

void fm_check_tls_free(struct fm_check_tls *t)
{
    if (!t)
        return;
    SSL_free(t->ssl); /* with its BIOs */
    SSL_CTX_free(t->ctx);
    free(t);
}

struct fm_check_tls *fm_check_tls_new(struct fm_str server_name, struct fm_error *e)
{
    struct fm_check_tls *t = calloc(1, sizeof *t);
    if (!t || server_name.n >= sizeof t->name)
        goto failed;
    memcpy(t->name, server_name.p, server_name.n);
    t->ctx = SSL_CTX_new(TLS_client_method());
    if (!t->ctx || SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION) != 1)
        goto failed;
    (void)SSL_CTX_set_default_verify_paths(t->ctx);
    SSL_CTX_set_verify(t->ctx, SSL_VERIFY_NONE, NULL); /* judged afterwards */
    t->ssl = SSL_new(t->ctx);
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    if (!t->ssl || !t->in || !t->out) {
        BIO_free(t->in);
        BIO_free(t->out);
        goto failed;
    }
    SSL_set_bio(t->ssl, t->in, t->out);
    SSL_set_connect_state(t->ssl);
    if (t->name[0] && SSL_set_tlsext_host_name(t->ssl, t->name) != 1)
        goto failed;
    return t;
failed:
    fm_check_tls_free(t);
    fm_error_set(e, FM_ERR_MEMORY, "cannot set up TLS");
    return NULL;
}

int fm_check_tls_step(struct fm_check_tls *t, struct fm_str in, struct fm_str *out)
{
    FM_ASSERT(t && t->ssl);
    *out = fm_str(NULL, 0);
    if (in.n && (in.n > INT32_MAX || BIO_write(t->in, in.p, (int)in.n) != (int)in.n))
        return -1;
    ERR_clear_error();
    int rc = SSL_do_handshake(t->ssl);
    int why = SSL_get_error(t->ssl, rc);
    int n = BIO_read(t->out, t->buf, sizeof t->buf);
    if (n > 0)
        *out = fm_str(t->buf, (size_t)n);
    if (rc == 1)
        return 1;
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

void fm_check_tls_judge(struct fm_check_tls *t, int64_t warn_ms, struct fm_check_result *r)
{
    FM_ASSERT(warn_ms >= 0 && r->ok && !r->text[0]);
    X509 *cert = SSL_get1_peer_certificate(t->ssl);
    if (!cert) {
        r->ok = false;
        snprintf(r->text, sizeof r->text, "the server showed no certificate");
        return;
    }
    int days = 0, seconds = 0;
    bool dated = ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)) == 1;
    int64_t left_ms = ((int64_t)days * 86400 + seconds) * 1000;
    bool begun = X509_cmp_current_time(X509_get0_notBefore(cert)) < 0;
    r->ok = dated && begun && left_ms > 0;
    if (!r->ok)
        snprintf(r->text, sizeof r->text,
                 begun ? "the certificate expired %d days ago" : "the certificate is not valid yet",
                 -days);
    else if (left_ms < warn_ms)
        snprintf(r->text, sizeof r->text, "the certificate expires in %d days", days);
    else if (SSL_get_verify_result(t->ssl) != X509_V_OK)
        snprintf(r->text, sizeof r->text, "the certificate does not verify: %s",
                 X509_verify_cert_error_string(SSL_get_verify_result(t->ssl)));
    else if (t->name[0] && X509_check_host(cert, t->name, 0, 0, NULL) != 1)
        snprintf(r->text, sizeof r->text, "the certificate is not for %s", t->name);
    r->warn = r->ok && r->text[0];
    FM_ASSERT(r->ok || r->text[0]);
    X509_free(cert);
}
