/* See the header. Invariant: a certificate file is written after its key, so that a crash between
 * them leaves a host without a certificate rather than with one whose key is gone. */
#include "io/certs.h"

#include "base/assert.h"
#include "base/file.h"

#include <arpa/inet.h>
#include <limits.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PEM_MAX = 256 * 1024, SAN_MAX = 2048, AUTHORITIES_MAX = 8 };

struct authority {
    EVP_PKEY *key;
    X509 *cert;
};

static enum fm_err failed(struct fm_error *e, const char *what)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    return fm_error_set(e, FM_ERR_IO, "cannot %s: %s", what, why ? why : "out of memory");
}

static enum fm_err path_of(char path[PATH_MAX], const char *folder, const char *name,
                           const char *suffix, struct fm_error *e)
{
    if ((size_t)snprintf(path, PATH_MAX, "%s/%s%s", folder, name, suffix) >= PATH_MAX)
        return fm_error_set(e, FM_ERR_LIMIT, "path too long: %.100s…", folder);
    return FM_ERR_OK;
}

/* -------- PEM files -------- */

static enum fm_err write_bio(const char *path, BIO *b, mode_t mode, bool replace,
                             struct fm_error *e)
{
    char *p = NULL;
    long n = BIO_get_mem_data(b, &p);
    FM_ASSERT(n > 0 && n < PEM_MAX);
    struct fm_str bytes = fm_str(p, (size_t)n);
    return replace ? fm_file_replace(path, bytes, mode, e) : fm_file_create(path, bytes, mode, e);
}

static enum fm_err write_key(const char *path, EVP_PKEY *key, bool replace, struct fm_error *e)
{
    BIO *b = BIO_new(BIO_s_secmem());
    enum fm_err err;
    if (!b || PEM_write_bio_PKCS8PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) != 1)
        err = failed(e, "encode a key");
    else
        err = write_bio(path, b, 0600, replace, e);
    BIO_free(b);
    return err;
}

static enum fm_err write_certs(const char *path, X509 *const *certs, unsigned n, bool replace,
                               struct fm_error *e)
{
    BIO *b = BIO_new(BIO_s_mem());
    enum fm_err err = b ? FM_ERR_OK : failed(e, "encode a certificate");
    for (unsigned i = 0; !err && i < n; i++)
        if (PEM_write_bio_X509(b, certs[i]) != 1)
            err = failed(e, "encode a certificate");
    if (!err)
        err = write_bio(path, b, 0644, replace, e);
    BIO_free(b);
    return err;
}

static BIO *open_pem(const char *path, char **bytes, struct fm_error *e)
{
    size_t n;
    if (fm_file_read(path, PEM_MAX, bytes, &n, e))
        return NULL;
    BIO *b = BIO_new_mem_buf(*bytes, (int)n);
    if (!b)
        (void)failed(e, "read a file");
    return b;
}

static X509 *read_cert(const char *path, struct fm_error *e)
{
    char *bytes = NULL;
    BIO *b = open_pem(path, &bytes, e);
    X509 *x = b ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;
    if (b && !x)
        fm_error_set(e, FM_ERR_INVALID, "`%s` holds no certificate", path);
    BIO_free(b);
    free(bytes);
    return x;
}

static EVP_PKEY *read_key(const char *path, struct fm_error *e)
{
    char *bytes = NULL;
    BIO *b = open_pem(path, &bytes, e);
    EVP_PKEY *k = b ? PEM_read_bio_PrivateKey(b, NULL, NULL, NULL) : NULL;
    if (b && !k)
        fm_error_set(e, FM_ERR_INVALID, "`%s` holds no private key", path);
    BIO_free(b);
    if (bytes)
        OPENSSL_cleanse(bytes, strlen(bytes));
    free(bytes);
    return k;
}

/* -------- certificates -------- */

static bool set_serial(X509 *x)
{
    BIGNUM *n = BN_new();
    bool ok = n && BN_rand(n, 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
              BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    return ok;
}

static bool set_subject(X509 *x, const char *service, const char *name)
{
    X509_NAME *s = X509_get_subject_name(x);
    return X509_NAME_add_entry_by_txt(s, "O", MBSTRING_UTF8, (const unsigned char *)service, -1, -1,
                                      0) == 1 &&
           X509_NAME_add_entry_by_txt(s, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1,
                                      0) == 1;
}

static bool extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&ctx);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = ext && X509_add_ext(x, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

/* A certificate with everything but extensions and signature. It is valid from an hour ago, since
 * the clocks of hosts differ. */
static X509 *new_cert(EVP_PKEY *key, const char *service, const char *name, int days)
{
    X509 *x = X509_new();
    if (x && X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
        X509_gmtime_adj(X509_getm_notBefore(x), -3600) &&
        X509_time_adj_ex(X509_getm_notAfter(x), days, 0, NULL) && X509_set_pubkey(x, key) == 1 &&
        set_subject(x, service, name))
        return x;
    X509_free(x);
    return NULL;
}

static void authority_free(struct authority *a)
{
    X509_free(a->cert);
    EVP_PKEY_free(a->key);
}

static enum fm_err make_authority(struct authority *a, const char *service, int days,
                                  struct fm_error *e)
{
    *a = (struct authority){.key = EVP_EC_gen("P-256")};
    a->cert = a->key ? new_cert(a->key, service, "Fulmar peers", days) : NULL;
    if (a->cert && X509_set_issuer_name(a->cert, X509_get_subject_name(a->cert)) == 1 &&
        extend(a->cert, a->cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
        extend(a->cert, a->cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
        extend(a->cert, a->cert, NID_subject_key_identifier, "hash") &&
        X509_sign(a->cert, a->key, EVP_sha256()) > 0)
        return FM_ERR_OK;
    authority_free(a);
    return failed(e, "make an authority");
}

/* The certificates of a file that have not expired; how many. */
static unsigned read_valid(const char *path, X509 **certs, struct fm_error *e)
{
    char *bytes = NULL;
    BIO *b = open_pem(path, &bytes, e);
    unsigned n = 0;
    X509 *x;
    while (b && n < AUTHORITIES_MAX && (x = PEM_read_bio_X509(b, NULL, NULL, NULL))) {
        if (X509_cmp_current_time(X509_get0_notAfter(x)) > 0)
            certs[n++] = x;
        else
            X509_free(x);
    }
    ERR_clear_error(); /* the end of the file is one */
    BIO_free(b);
    free(bytes);
    return n;
}

/* The authority whose key is there: while a new one is being put beside it, that is not always the
 * first of the file. */
static enum fm_err load_authority(struct authority *a, const char *folder, struct fm_error *e)
{
    char cert[PATH_MAX], key[PATH_MAX];
    *a = (struct authority){NULL, NULL};
    enum fm_err err = path_of(cert, folder, "peers-ca", ".pem", e);
    if (!err)
        err = path_of(key, folder, "peers-ca", ".key", e);
    if (err)
        return err;
    struct fm_error why = {.code = FM_ERR_OK};
    X509 *all[AUTHORITIES_MAX];
    unsigned n = read_valid(cert, all, &why);
    if (n == 0 && why.code == FM_ERR_OK)
        fm_error_set(&why, FM_ERR_INVALID, "`%s` holds no certificate that is valid", cert);
    a->key = n ? read_key(key, &why) : NULL;
    for (unsigned i = 0; i < n; i++) {
        if (a->key && !a->cert && X509_check_private_key(all[i], a->key) == 1)
            a->cert = all[i];
        else
            X509_free(all[i]);
    }
    if (a->key && !a->cert)
        fm_error_set(&why, FM_ERR_INVALID, "`%s` belongs to none of `%s`", key, cert);
    if (why.code == FM_ERR_OK)
        return FM_ERR_OK;
    authority_free(a);
    ERR_clear_error();
    return fm_error_set(e, why.code, "no authority in `%s`: %s", folder, why.msg);
}

static X509 *make_host_cert(const struct authority *a, EVP_PKEY *key, const char *host,
                            const char *san, int days)
{
    char service[128];
    X509_NAME *subject = X509_get_subject_name(a->cert);
    if (X509_NAME_get_text_by_NID(subject, NID_organizationName, service, sizeof service) < 0)
        return NULL;
    X509 *x = new_cert(key, service, host, days);
    if (x && X509_set_issuer_name(x, subject) == 1 &&
        extend(x, a->cert, NID_basic_constraints, "critical,CA:FALSE") &&
        extend(x, a->cert, NID_key_usage, "critical,digitalSignature") &&
        extend(x, a->cert, NID_ext_key_usage, "serverAuth,clientAuth") &&
        extend(x, a->cert, NID_subject_key_identifier, "hash") &&
        extend(x, a->cert, NID_authority_key_identifier, "keyid:always") &&
        extend(x, a->cert, NID_subject_alt_name, san) && X509_sign(x, a->key, EVP_sha256()) > 0)
        return x;
    X509_free(x);
    return NULL;
}

/* -------- the names of a host -------- */

/* What may stand in a file's name and in a certificate's list of names. */
static bool is_name(const char *s)
{
    size_t n = strlen(s);
    bool ok = n > 0 && n < 254 && s[0] != '.' && s[0] != '-';
    for (size_t i = 0; ok && i < n; i++)
        ok = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') ||
             (s[i] >= '0' && s[i] <= '9') || strchr("-._:", s[i]);
    return ok;
}

static bool is_address(const char *s)
{
    unsigned char ip[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, s, ip) == 1 || inet_pton(AF_INET6, s, ip) == 1;
}

static enum fm_err add_name(char san[SAN_MAX], const char *name, struct fm_error *e)
{
    bool address = is_address(name);
    if (!is_name(name) || (!address && strchr(name, ':')))
        return fm_error_set(e, FM_ERR_INVALID, "`%.100s` is no name of a host and no address",
                            name);
    size_t at = strlen(san);
    int n =
        snprintf(san + at, SAN_MAX - at, "%s%s:%s", at ? "," : "", address ? "IP" : "DNS", name);
    if (n < 0 || (size_t)n >= SAN_MAX - at)
        return fm_error_set(e, FM_ERR_LIMIT, "too many names");
    return FM_ERR_OK;
}

static enum fm_err name_again(char san[SAN_MAX], const GENERAL_NAME *g, struct fm_error *e)
{
    char text[INET6_ADDRSTRLEN + 256];
    const ASN1_STRING *s = g->type == GEN_DNS ? g->d.dNSName : g->d.iPAddress;
    int n = ASN1_STRING_length(s);
    const unsigned char *p = ASN1_STRING_get0_data(s);
    if (g->type == GEN_DNS)
        snprintf(text, sizeof text, "%.*s", n, (const char *)p);
    else if (g->type != GEN_IPADD || !inet_ntop(n == 4 ? AF_INET : AF_INET6, p, text, sizeof text))
        return FM_ERR_OK; /* none of ours */
    return add_name(san, text, e);
}

static enum fm_err names_of(char san[SAN_MAX], X509 *x, struct fm_error *e)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    enum fm_err err = FM_ERR_OK;
    for (int i = 0; !err && i < sk_GENERAL_NAME_num(all); i++)
        err = name_again(san, sk_GENERAL_NAME_value(all, i), e);
    GENERAL_NAMES_free(all);
    if (!err && !san[0])
        err = fm_error_set(e, FM_ERR_INVALID, "the certificate has no names");
    return err;
}

/* -------- the three commands -------- */

enum fm_err fm_certs_init(const char *folder, const char *service, int days, struct fm_error *e)
{
    char cert[PATH_MAX], key[PATH_MAX];
    FM_ASSERT(days > 0);
    enum fm_err err = path_of(cert, folder, "peers-ca", ".pem", e);
    if (!err)
        err = path_of(key, folder, "peers-ca", ".key", e);
    struct authority a;
    if (err || (err = make_authority(&a, service, days, e)))
        return err;
    err = write_key(key, a.key, false, e);
    if (!err)
        err = write_certs(cert, &a.cert, 1, false, e);
    authority_free(&a);
    return err;
}

static enum fm_err issue(const char *folder, const char *host, const char *san, int days,
                         bool renew, struct fm_error *e)
{
    char cert[PATH_MAX], key[PATH_MAX];
    struct authority a;
    enum fm_err err = path_of(cert, folder, host, ".pem", e);
    if (!err)
        err = path_of(key, folder, host, ".key", e);
    if (err || (err = load_authority(&a, folder, e)))
        return err;
    EVP_PKEY *k = EVP_EC_gen("P-256");
    X509 *x = k ? make_host_cert(&a, k, host, san, days) : NULL;
    if (!x)
        err = failed(e, "make a certificate");
    if (!err)
        err = write_key(key, k, renew, e);
    if (!err)
        err = write_certs(cert, &x, 1, renew, e);
    X509_free(x);
    EVP_PKEY_free(k);
    authority_free(&a);
    return err;
}

enum fm_err fm_certs_add(const char *folder, const char *host, const char *const *names,
                         unsigned nnames, int days, bool renew, struct fm_error *e)
{
    FM_ASSERT(days > 0 && nnames <= FM_CERTS_NAMES_MAX);
    char san[SAN_MAX] = "";
    enum fm_err err = is_address(host) ? fm_error_set(e, FM_ERR_INVALID,
                                                      "`%s` is an address; a host has a name", host)
                                       : add_name(san, host, e);
    for (unsigned i = 0; !err && i < nnames; i++)
        err = add_name(san, names[i], e);
    return err ? err : issue(folder, host, san, days, renew, e);
}

enum fm_err fm_certs_renew(const char *folder, const char *host, int days, struct fm_error *e)
{
    char path[PATH_MAX], san[SAN_MAX] = "";
    enum fm_err err = path_of(path, folder, host, ".pem", e);
    if (err)
        return err;
    X509 *x = read_cert(path, e);
    if (!x)
        return e ? e->code : FM_ERR_INVALID;
    err = names_of(san, x, e);
    X509_free(x);
    return err ? err : issue(folder, host, san, days, true, e);
}

enum fm_err fm_certs_new_authority(const char *folder, int days, struct fm_error *e)
{
    char cert[PATH_MAX], key[PATH_MAX], service[128];
    struct authority old, a;
    enum fm_err err = path_of(cert, folder, "peers-ca", ".pem", e);
    if (!err)
        err = path_of(key, folder, "peers-ca", ".key", e);
    if (err || (err = load_authority(&old, folder, e)))
        return err;
    int n = X509_NAME_get_text_by_NID(X509_get_subject_name(old.cert), NID_organizationName,
                                      service, sizeof service);
    authority_free(&old);
    if (n < 0)
        return fm_error_set(e, FM_ERR_INVALID, "`%s` names no service", cert);
    err = make_authority(&a, service, days, e);
    if (err)
        return err;
    X509 *all[1 + AUTHORITIES_MAX] = {a.cert};
    unsigned trusted = 1 + read_valid(cert, all + 1, e);
    /* The certificates first: with the old key beside them nothing new can be issued, but nothing
     * that works breaks either. */
    err = write_certs(cert, all, trusted, true, e);
    if (!err)
        err = write_key(key, a.key, true, e);
    for (unsigned i = 1; i < trusted; i++)
        X509_free(all[i]);
    authority_free(&a);
    return err;
}
