/* fulmar certs: the private authority of a service and the certificates of its hosts, in the folder
 * of `peer-tls.ca`. */
#include "io/certs.h"
#include "base/assert.h"
#include "cli/cli.h"
#include "conf/conf.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the files go, and for which service. */
struct place {
    struct fm_conf *conf;
    char folder[PATH_MAX], service[128];
};

static int bad(const struct fm_error *e)
{
    FM_ASSERT(e->code != FM_ERR_OK && e->msg[0]);
    fprintf(stderr, "fulmar: %s\n", e->msg);
    return e->code == FM_ERR_EXISTS ? FM_EXIT_REFUSED : FM_EXIT_FAILED;
}

static int open_place(struct place *p, const struct fm_args *a)
{
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    p->conf = fm_conf_load(a->config, &r);
    fm_conf_report_deinit(&r);
    if (!p->conf) {
        fprintf(stderr, "fulmar: `%s` is not good; `fulmar config check %s` says why\n", a->config,
                a->config);
        return FM_EXIT_CONFIG;
    }
    FM_ASSERT(p->conf->service.n > 0 && p->conf->service.n < sizeof p->service);
    snprintf(p->service, sizeof p->service, "%.*s", FM_STR_ARG(p->conf->service));
    struct fm_str at = p->conf->peer_tls.present ? p->conf->peer_tls.ca : p->conf->file;
    const char *slash = memrchr(at.p, '/', at.n);
    int n = snprintf(p->folder, sizeof p->folder, "%.*s", slash ? (int)(slash - at.p) : 1,
                     slash ? at.p : ".");
    if (slash == at.p)
        n = snprintf(p->folder, sizeof p->folder, "/");
    if (n >= 0 && (size_t)n < sizeof p->folder)
        return FM_EXIT_OK;
    fm_conf_free(p->conf);
    return FM_EXIT_CONFIG;
}

static bool is_file(struct fm_str path, struct fm_str name)
{
    return fm_str_ends(path, name) && (path.n == name.n || path.p[path.n - name.n - 1] == '/');
}

static bool wanted_files(const struct place *p)
{
    const struct fm_conf_peer_tls *t = &p->conf->peer_tls;
    FM_ASSERT(!t->present || (t->ca.n && t->cert.n && t->key.n));
    return t->present && is_file(t->ca, FM_STR("peers-ca.pem")) &&
           is_file(t->cert, FM_STR("{host}.pem")) && is_file(t->key, FM_STR("{host}.key"));
}

static void next_steps(const struct place *p)
{
    FM_ASSERT(p->conf && p->folder[0]);
    if (wanted_files(p))
        return;
    printf("put into the configuration:\n"
           "  peer-tls: {ca: %s/peers-ca.pem, cert: \"%s/{host}.pem\", key: \"%s/{host}.key\"}\n",
           p->folder, p->folder, p->folder);
}

int fm_cmd_certs_init(const struct fm_args *a)
{
    struct place p;
    struct fm_error e;
    int code = open_place(&p, a);
    if (code)
        return code;
    if (fm_certs_init(p.folder, p.service, FM_CERTS_CA_DAYS, &e)) {
        code = bad(&e);
    } else {
        printf(
            "made the authority of %s: %s/peers-ca.pem, and its key, peers-ca.key: keep that one "
            "off the hosts\n",
            p.service, p.folder);
        printf("next: fulmar certs add -c %s\n", a->config);
        next_steps(&p);
    }
    fm_conf_free(p.conf);
    return code;
}

/* -------- add -------- */

static int add_one(const struct place *p, const char *host, const char *const *names, unsigned n,
                   bool quiet_if_there)
{
    FM_ASSERT(host && n <= FM_ARGS_MAX);
    struct fm_error e;
    enum fm_err err = fm_certs_add(p->folder, host, names, n, FM_CERTS_HOST_DAYS, false, &e);
    if (err == FM_ERR_EXISTS && quiet_if_there) {
        printf("%s: has one already\n", host);
        return FM_EXIT_OK;
    }
    if (err)
        return bad(&e);
    printf("%s: made %s/%s.pem and %s.key\n", host, p->folder, host, host);
    return FM_EXIT_OK;
}

/* The host's address in the configuration is one of its names. */
static const char *address_of(const struct place *p, const char *host, char *out, size_t size)
{
    int i = fm_conf_find_host(p->conf, fm_str_z(host));
    FM_ASSERT(i < (int)p->conf->nhosts && size > 0);
    struct fm_str at = i >= 0 ? p->conf->hosts[i].address : FM_STR("");
    if (!at.n || at.n >= size || fm_str_eqz(at, host))
        return NULL;
    memcpy(out, at.p, at.n);
    out[at.n] = '\0';
    return out;
}

static int add_listed(const struct place *p)
{
    int code = FM_EXIT_OK;
    for (size_t i = 0; !code && i < p->conf->nhosts; i++) {
        char address[256];
        const char *host = p->conf->hosts[i].name.p;
        FM_ASSERT(host && host[p->conf->hosts[i].name.n] == '\0');
        const char *name = address_of(p, host, address, sizeof address);
        code = add_one(p, host, &name, name ? 1 : 0, true);
    }
    if (!p->conf->nhosts)
        return fm_usage("the configuration lists no hosts; name one: fulmar certs add NAME");
    return code;
}

int fm_cmd_certs_add(const struct fm_args *a)
{
    struct place p;
    int code = open_place(&p, a);
    if (code)
        return code;
    const char *names[FM_ARGS_MAX + 1];
    char address[256];
    unsigned n = 0;
    for (int i = 1; i < a->nargs; i++)
        names[n++] = a->arg[i];
    if (a->nargs && (names[n] = address_of(&p, a->arg[0], address, sizeof address)))
        n++;
    FM_ASSERT(n <= (unsigned)FM_ARGS_MAX && (a->nargs > 0 || n == 0));
    code = a->nargs ? add_one(&p, a->arg[0], names, n, false) : add_listed(&p);
    if (!code)
        next_steps(&p);
    fm_conf_free(p.conf);
    return code;
}

/* -------- rotate -------- */

static int rotate_one(const struct place *p, const char *host)
{
    struct fm_error e;
    if (fm_certs_renew(p->folder, host, FM_CERTS_HOST_DAYS, &e))
        return bad(&e);
    printf("%s: a new key and certificate\n", host);
    return FM_EXIT_OK;
}

static int is_host_file(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 4 && strcmp(d->d_name + n - 4, ".key") == 0 &&
           strcmp(d->d_name, "peers-ca.key") != 0;
}

/* All that the folder holds. */
static int rotate_all(const struct place *p)
{
    struct dirent **found = NULL;
    int n = scandir(p->folder, &found, is_host_file, alphasort), code = FM_EXIT_OK;
    for (int i = 0; i < n; i++) {
        FM_ASSERT(strlen(found[i]->d_name) > 4); /* NAME.key */
        found[i]->d_name[strlen(found[i]->d_name) - 4] = '\0';
        if (!code)
            code = rotate_one(p, found[i]->d_name);
        free(found[i]);
    }
    free(found);
    if (n > 0)
        return code;
    fprintf(stderr, "fulmar: there is no certificate of a host in `%s`\n", p->folder);
    return FM_EXIT_FAILED;
}

int fm_cmd_certs_rotate(const struct fm_args *a)
{
    struct place p;
    struct fm_error e;
    int code = open_place(&p, a);
    if (code)
        return code;
    if (a->authority) {
        if (fm_certs_new_authority(p.folder, FM_CERTS_CA_DAYS, &e)) {
            code = bad(&e);
        } else {
            printf("peers-ca.pem: a new authority beside the old one\n"
                   "next: bring peers-ca.pem to all hosts and reload them, then renew their "
                   "certificates: fulmar certs rotate -c %s\n",
                   a->config);
        }
    } else {
        code = a->nargs ? rotate_one(&p, a->arg[0]) : rotate_all(&p);
        if (!code)
            printf("next: bring the files to their hosts, and reload them (SIGHUP)\n");
    }
    fm_conf_free(p.conf);
    return code;
}
