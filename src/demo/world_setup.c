/* Setting the demonstration's world up: where the programs are, which ports are free, what the
 * configurations say. It starts nothing. Invariant: by the configuration of a place every other
 * place is dialed at a fault proxy; by that of the edge, and of who looks on, at its own port. */
#include "demo/world.h"

#include "base/assert.h"
#include "base/file.h"
#include "base/rand.h"

#include <errno.h>
#include <glob.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    PORT_FIRST = 10000,
    PORT_END = 32000,
    PORT_TRIES = 1000,
    PORTS_MAX = FM_WORLD_PORTS_MAX,
    NOBODY = 99,
    DATA_NET = 16
};

struct fm_addr fm_world_loopback(uint16_t port)
{
    struct fm_addr a;
    enum fm_err err = fm_addr_ip(&a, FM_STR("127.0.0.1"), port);
    FM_ASSERT(err == FM_ERR_OK);
    return a;
}

/* -------- finding programs and ports -------- */

enum fm_err fm_world_find_programs(struct fm_world *w, struct fm_error *e)
{
    ssize_t n = readlink("/proc/self/exe", w->fulmar, sizeof w->fulmar - 1);
    if (n <= 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot find this program");
    FM_ASSERT((size_t)n < sizeof w->fulmar && w->fulmar[0] == '/');
    w->fulmar[n] = 0;
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s", w->fulmar);
    *strrchr(dir, '/') = 0;
    static const struct {
        const char *bank, *examples;
    } places[] = {
        {"examples/bank/bank", "../examples"}, /* a build folder */
        {"../libexec/fulmar/bank", "../share/fulmar/examples"},
    };
    for (size_t i = 0; i < FM_COUNT(places); i++) {
        char bank[2 * PATH_MAX], contexts[2 * PATH_MAX], schema[2 * PATH_MAX];
        snprintf(bank, sizeof bank, "%s/%s", dir, places[i].bank);
        snprintf(contexts, sizeof contexts, "%s/%s/%s/contexts.yaml", dir, places[i].examples,
                 fm_demo_story_name(w->story));
        snprintf(schema, sizeof schema, "%s/%s/bank/ledger.sql", dir, places[i].examples);
        if (access(bank, X_OK) == 0 && realpath(bank, w->bank) && realpath(contexts, w->contexts) &&
            realpath(schema, w->schema))
            return FM_ERR_OK;
    }
    return fm_error_set(e, FM_ERR_NOT_FOUND,
                        "cannot find the sample application near %s (looked for "
                        "examples/bank/bank and ../libexec/fulmar/bank)",
                        w->fulmar);
}

/* Whoever starts beside this one does not take the port while nobody listens there: a name without
 * a file, which the kernel forgets with the world. -1: it is taken. */
static int reserve(unsigned port)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n = snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "fulmar-port-%u", port);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (const struct sockaddr *)&a, length) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Bind to a port that nobody uses, and hold it until all are taken, so that none is given twice;
 * with SO_REUSEADDR two that do not listen could have the same. Not one of those that the kernel
 * gives to outgoing connections: one of them could have it by the time that its owner starts. */
static uint16_t free_port(int *held, int *reserved)
{
    *held = *reserved = -1;
    for (unsigned i = 0; i < PORT_TRIES; i++) {
        uint32_t random;
        fm_rand_bytes(&random, sizeof random);
        uint16_t port = (uint16_t)(PORT_FIRST + random % (PORT_END - PORT_FIRST));
        struct fm_addr a = fm_world_loopback(port);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), name = reserve(port);
        if (fd >= 0 && name >= 0 && bind(fd, &a.sa, a.len) == 0) {
            *held = fd;
            *reserved = name;
            return port;
        }
        if (fd >= 0)
            close(fd);
        if (name >= 0)
            close(name);
    }
    return 0;
}

static size_t list_ports(struct fm_world *w, uint16_t *port[PORTS_MAX])
{
    size_t n = 0;
    port[n++] = &w->store_port;
    port[n++] = &w->edge_port;
    port[n++] = &w->edge_admin;
    for (unsigned r = 0; r <= w->nregions; r++) {
        struct fm_world_region *x = &w->region[r];
        port[n++] = &x->gate;
        port[n++] = &x->peer;
        port[n++] = &x->admin;
        port[n++] = &x->network;
        port[n++] = &x->postgres;
        port[n++] = &x->door_write;
        port[n++] = &x->door_read;
        for (unsigned a = 0; a < FM_WORLD_APPS; a++) {
            port[n++] = &x->app[a];
            port[n++] = &x->app_admin[a];
        }
        for (unsigned from = 0; from <= w->nregions; from++) {
            port[n++] = &x->gate_from[from];
            port[n++] = &x->peer_from[from];
        }
        FM_ASSERT(n + 3 * FM_WORLD_PLACES_MAX < PORTS_MAX);
    }
    return n;
}

enum fm_err fm_world_take_ports(struct fm_world *w, struct fm_error *e)
{
    uint16_t *port[PORTS_MAX];
    int held[PORTS_MAX];
    size_t n = list_ports(w, port);
    bool ok = true;
    FM_ASSERT(n > 0 && n <= PORTS_MAX && w->nreserved == 0);
    w->nreserved = n;
    for (size_t i = 0; i < n; i++) {
        *port[i] = free_port(&held[i], &w->reserved[i]);
        ok &= *port[i] != 0;
    }
    for (size_t i = 0; i < n; i++)
        if (held[i] >= 0)
            close(held[i]);
    return ok ? FM_ERR_OK : fm_error_set(e, FM_ERR_LIMIT, "there are no free ports on 127.0.0.1");
}

/* -------- PostgreSQL -------- */

struct user {
    struct passwd entry;
    char texts[1024];
};

/* As whom it runs; false: there is no such user. */
static bool postgres_user(struct user *u)
{
    struct passwd *p = NULL;
    uid_t me = geteuid();
    int failed = me ? getpwuid_r(me, &u->entry, u->texts, sizeof u->texts, &p)
                    : getpwnam_r("postgres", &u->entry, u->texts, sizeof u->texts, &p);
    return failed == 0 && p;
}

const char *fm_demo_group_missing(void)
{
    glob_t found;
    bool any = glob("/usr/lib/postgresql/*/bin/postgres", 0, NULL, &found) == 0;
    globfree(&found);
    if (!any)
        return "PostgreSQL is not installed (`apt-get install postgresql`, or `./dev demo`)";
    struct user u;
    return postgres_user(&u) ? NULL : "there is no user as whom PostgreSQL could run";
}

void fm_world_password_path(const struct fm_world *w, char out[PATH_MAX + 32])
{
    snprintf(out, PATH_MAX + 32, "%s/ledger.password", w->dir);
}

static enum fm_err write_password(struct fm_world *w, struct fm_error *e)
{
    char path[PATH_MAX + 32];
    unsigned char secret[FM_WORLD_SECRET];
    fm_rand_bytes(secret, sizeof secret);
    for (unsigned i = 0; i < sizeof secret; i++)
        snprintf(w->password + 2 * (size_t)i, 3, "%02x", secret[i]);
    fm_world_password_path(w, path);
    return fm_file_replace(path, fm_str_z(w->password), 0600, e);
}

/* Can a user who is nobody in particular get through to it? */
static bool is_reachable(const char *path)
{
    char up[PATH_MAX];
    struct stat st;
    snprintf(up, sizeof up, "%s", path);
    for (char *slash = strrchr(up, '/'); slash && slash > up; slash = strrchr(up, '/')) {
        *slash = 0;
        if (stat(up, &st) != 0 || !(st.st_mode & S_IXOTH))
            return false;
    }
    return true;
}

/* Where this is root PostgreSQL is somebody else, to whom the folder belongs. */
enum fm_err fm_world_make_data(struct fm_world *w, struct fm_error *e)
{
    struct user u;
    const struct passwd *p = &u.entry;
    FM_ASSERT(w->group && w->data[0]);
    if (!postgres_user(&u))
        return fm_error_set(e, FM_ERR_NOT_FOUND, "there is no user as whom PostgreSQL could run");
    if (geteuid() == 0 && !is_reachable(w->data))
        return fm_error_set(e, FM_ERR_PERMISSION,
                            "the user %s cannot get to %s: set TMPDIR to a folder that it can",
                            p->pw_name, w->data);
    if (chown(w->data, p->pw_uid, p->pw_gid) != 0)
        return fm_error_errno(e, FM_ERR_PERMISSION, errno, "cannot give %s to %s", w->data,
                              p->pw_name);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot look after what agents leave behind");
    return write_password(w, e);
}

/* The bytes of one region's node come to another one through here. */
static void data_way(unsigned from, char out[16])
{
    snprintf(out, 16, "127.0.0.%u", DATA_NET + from);
}

static void write_group(const struct fm_world *w, FILE *f)
{
    struct user u;
    bool found = postgres_user(&u); /* as when the data were made */
    bool bank = w->story == FM_DEMO_BANK;
    FM_ASSERT(found);
    if (bank)
        fprintf(f, "contexts:\n  ledger:\n    failback: {soak: 2s}\n"); /* of a demonstration */
    fprintf(f,
            "groups:\n  ledger:\n    contexts: [%s]\n    user: %s\n"
            "    replication: {mode: async, max-loss: {bytes: %s}}\n    nodes:\n",
            bank ? "ledger" : "site", u.entry.pw_name, bank ? "1MiB" : "64KiB");
    for (unsigned r = 0; r < w->nregions; r++)
        fprintf(f, "      %s-1: {data: \"%s/%s-1\", port: %u}\n", w->region[r].name, w->data,
                w->region[r].name, w->region[r].postgres);
    fprintf(f, "    listen:\n      read-lag: 1m\n      read-write:\n");
    for (unsigned r = 0; r < w->nregions; r++)
        fprintf(f, "        %s-1: \"127.0.0.1:%u\"\n", w->region[r].name, w->region[r].door_write);
    fprintf(f, "      read-only:\n");
    for (unsigned r = 0; r < w->nregions; r++)
        fprintf(f, "        %s-1: \"127.0.0.1:%u\"\n", w->region[r].name, w->region[r].door_read);
    /* nothing but debits commits: so lost transactions are lost debits */
    fprintf(f, "    settings: {shared_buffers: \"32MB\", autovacuum: \"off\"}\n");
}

/* -------- the configurations -------- */

/* The witness owns the file; who looks on goes there, too. Each region has a way of its own. */
static void coordination_of(const struct fm_world *w, unsigned place, char out[PATH_MAX + 32])
{
    FM_ASSERT(w->dir[0] && (place <= w->nregions || place == NOBODY));
    if (place < w->nregions)
        snprintf(out, PATH_MAX + 32, "%s/%s.db", w->dir, w->region[place].name);
    else
        snprintf(out, PATH_MAX + 32, "%s/coordination.db", w->dir);
}

void fm_world_config_of(const struct fm_world *w, unsigned place, char out[PATH_MAX + 32])
{
    FM_ASSERT(place <= w->nregions);
    snprintf(out, PATH_MAX + 32, "%s/%s.yaml", w->dir, w->region[place].name);
}

static void write_hosts(const struct fm_world *w, unsigned viewer, FILE *f)
{
    fprintf(f,
            "\nhosts:\n  edge-1: {region: %s, roles: [edge], address: 127.0.0.1, admin: "
            "\"127.0.0.1:%u\"}\n",
            w->region[0].name, w->edge_admin);
    for (unsigned r = 0; r <= w->nregions; r++) {
        const struct fm_world_region *x = &w->region[r];
        if (r < w->nregions)
            fprintf(f,
                    "  %s-1: {region: %s, roles: [gate, health, controller%s], address: "
                    "127.0.0.1, gate: \"127.0.0.1:%u\", peer: \"127.0.0.1:%u\", admin: "
                    "\"127.0.0.1:%u\"}\n",
                    x->name, x->name, w->group ? ", postgres" : "", x->gate, x->peer, x->admin);
        else
            fprintf(f,
                    "  witness-1: {region: %s, roles: [witness, coordination], address: "
                    "127.0.0.1, peer: \"127.0.0.1:%u\", admin: \"127.0.0.1:%u\"}\n",
                    x->name, x->peer, x->admin);
    }
    if (viewer == NOBODY)
        return;
    char way[16], data[32] = "";
    data_way(viewer, way);
    if (w->group && viewer < w->nregions)
        snprintf(data, sizeof data, ", postgres: %s", way);
    fprintf(f, "dial:\n");
    for (unsigned r = 0; r <= w->nregions; r++) {
        const struct fm_world_region *x = &w->region[r];
        if (r == viewer)
            continue;
        if (r < w->nregions)
            fprintf(f, "  %s-1: {gate: \"127.0.0.1:%u\", peer: \"127.0.0.1:%u\"%s}\n", x->name,
                    x->gate_from[viewer], x->peer_from[viewer], data);
        else
            fprintf(f, "  witness-1: {peer: \"127.0.0.1:%u\"}\n", x->peer_from[viewer]);
    }
}

/* As in production a host would say `systemctl start site`. */
static void write_standby(const struct fm_world *w, FILE *f)
{
    char services[PATH_MAX + 32];
    fm_world_services_path(w, services);
    fprintf(f,
            "contexts:\n  site:\n    standby:\n"
            "      start: [/bin/sh, -c, 'echo \"start $FULMAR_REGION\" >\"%s\"']\n"
            "      stop: [/bin/sh, -c, 'echo \"stop $FULMAR_REGION\" >\"%s\"']\n"
            "      timeout: 5s\n      ready-within: 20s\n%s",
            services, services, w->group ? "      replication: break\n" : "");
}

static enum fm_err write_config(const struct fm_world *w, unsigned viewer, const char *path,
                                struct fm_error *e)
{
    char coordination[PATH_MAX + 32];
    FM_ASSERT(w->dir[0] && w->edge_port && w->edge_admin && w->store_port);
    FILE *f = fopen(path, "we");
    if (!f)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot write %s", path);
    coordination_of(w, viewer, coordination);
    fprintf(f,
            "# Written by `fulmar demo`.\nfulmar: 1\nservice: bank\nstate: \"%s/{host}\"\n"
            "include: [\"%s\"]\ncoordination: {sqlite: \"%s\"}\n",
            w->dir, w->contexts, coordination);
    write_hosts(w, viewer, f);
    fprintf(f, "\nedge:\n  workers: 1\n  listen: [{address: \"127.0.0.1:%u\"}]\n\nregions:\n",
            w->edge_port);
    for (unsigned r = 0; r < w->nregions; r++) {
        const struct fm_world_region *x = &w->region[r];
        fprintf(f,
                "  %s:\n    priority: %u\n"
                "    apps: {core: [\"127.0.0.1:%u\", \"127.0.0.1:%u\"]}\n",
                x->name, r + 1, x->app[0], x->app[1]);
        if (w->story == FM_DEMO_BANK)
            fprintf(f, "    checks: {card-network: {http: \"http://127.0.0.1:%u/ping\"}}\n",
                    x->network);
    }
    fprintf(f, "  %s: {witness: true}\n", w->region[w->nregions].name);
    if (w->story == FM_DEMO_COLD_STANDBY)
        write_standby(w, f);
    if (w->group)
        write_group(w, f);
    if (fclose(f) != 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot write %s", path);
    return FM_ERR_OK;
}

enum fm_err fm_world_write_configs(struct fm_world *w, struct fm_error *e)
{
    snprintf(w->config, sizeof w->config, "%s/fulmar.yaml", w->dir);
    enum fm_err err = write_config(w, NOBODY, w->config, e);
    for (unsigned place = 0; !err && place <= w->nregions; place++) {
        char path[PATH_MAX + 32];
        fm_world_config_of(w, place, path);
        err = write_config(w, place, path, e);
    }
    return err;
}

/* -------- the network -------- */

static void add(struct fm_link *all, size_t *n, unsigned from, unsigned into, uint16_t at,
                uint16_t to)
{
    FM_ASSERT(*n < FM_LINKS_MAX);
    all[(*n)++] = (struct fm_link){
        .from = from, .into = into, .at = fm_world_loopback(at), .to = fm_world_loopback(to)};
}

static void add_data(const struct fm_world *w, struct fm_link *all, size_t *n, unsigned from,
                     unsigned into)
{
    char way[16];
    uint16_t port = w->region[into].postgres;
    FM_ASSERT(*n < FM_LINKS_MAX);
    struct fm_link *k = &all[(*n)++];
    *k = (struct fm_link){.from = from, .into = into, .to = fm_world_loopback(port), .data = true};
    data_way(from, way);
    enum fm_err err = fm_addr_ip(&k->at, fm_str_z(way), port);
    FM_ASSERT(err == FM_ERR_OK);
}

static enum fm_err socket_of(const struct fm_world *w, unsigned place, struct fm_addr *out,
                             struct fm_error *e)
{
    char path[PATH_MAX + 32], text[PATH_MAX + 40];
    coordination_of(w, place, path);
    snprintf(text, sizeof text, "%s.sock", path);
    if (fm_addr_unix(out, fm_str_z(text)))
        return fm_error_set(e, FM_ERR_LIMIT, "%s is too long for a socket: set TMPDIR", text);
    return FM_ERR_OK;
}

enum fm_err fm_world_connect(struct fm_world *w, struct fm_error *e)
{
    struct fm_link *all = calloc(FM_LINKS_MAX, sizeof *all);
    size_t n = 0;
    FM_ASSERT(all && !w->links);
    enum fm_err err = FM_ERR_OK;
    for (unsigned from = 0; from <= w->nregions; from++)
        for (unsigned into = 0; into <= w->nregions; into++) {
            const struct fm_world_region *x = &w->region[into];
            if (from == into)
                continue;
            add(all, &n, from, into, x->peer_from[from], x->peer);
            if (from < w->nregions && into < w->nregions)
                add(all, &n, from, into, x->gate_from[from], x->gate);
            if (w->group && from < w->nregions && into < w->nregions)
                add_data(w, all, &n, from, into);
        }
    for (unsigned from = 0; !err && from < w->nregions; from++) {
        struct fm_link *k = &all[n++];
        *k = (struct fm_link){.from = from, .into = w->nregions};
        err = socket_of(w, from, &k->at, e);
        if (!err)
            err = socket_of(w, w->nregions, &k->to, e);
    }
    if (!err)
        w->links = fm_links_start(all, n, e);
    free(all);
    return err ? err : w->links ? FM_ERR_OK : e->code;
}
