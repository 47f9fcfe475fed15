/* The demonstration's world: see the header. Invariant: fm_world_deinit leaves no process and no
 * file behind, wherever fm_world_init or fm_world_start stopped. */
#include "demo/world.h"

#include "base/assert.h"
#include "base/rand.h"
#include "http/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEALTH_MS = 500, PORT_FIRST = 10000, PORT_END = 32000, PORT_TRIES = 1000 };

static const char *const region_names[FM_WORLD_REGIONS_MAX] = {
    "west", "north", "east", "south", "central", "island", "coast", "valley"};

struct fm_addr fm_world_loopback(uint16_t port)
{
    struct fm_addr a;
    enum fm_err err = fm_addr_ip(&a, FM_STR("127.0.0.1"), port);
    FM_ASSERT(err == FM_ERR_OK);
    return a;
}

/* -------- finding programs and ports -------- */

static enum fm_err find_programs(struct fm_world *w, struct fm_error *e)
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
        const char *bank, *contexts;
    } places[] = {
        {"examples/bank/bank", "../examples/bank/contexts.yaml"}, /* a build folder */
        {"../libexec/fulmar/bank", "../share/fulmar/examples/bank/contexts.yaml"},
    };
    for (size_t i = 0; i < FM_COUNT(places); i++) {
        char bank[2 * PATH_MAX], contexts[2 * PATH_MAX];
        snprintf(bank, sizeof bank, "%s/%s", dir, places[i].bank);
        snprintf(contexts, sizeof contexts, "%s/%s", dir, places[i].contexts);
        if (access(bank, X_OK) == 0 && realpath(bank, w->bank) && realpath(contexts, w->contexts))
            return FM_ERR_OK;
    }
    return fm_error_set(e, FM_ERR_NOT_FOUND,
                        "cannot find the sample application near %s (looked for "
                        "examples/bank/bank and ../libexec/fulmar/bank)",
                        w->fulmar);
}

/* Bind to a port that nobody uses, and hold it until all are taken, so that none is given twice.
 * Not one of those that the kernel gives to outgoing connections: one of them could have it by the
 * time that its owner starts. */
static uint16_t free_port(int *held)
{
    int one = 1;
    *held = -1;
    for (unsigned i = 0; i < PORT_TRIES; i++) {
        uint32_t random;
        fm_rand_bytes(&random, sizeof random);
        uint16_t port = (uint16_t)(PORT_FIRST + random % (PORT_END - PORT_FIRST));
        struct fm_addr a = fm_world_loopback(port);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
            bind(fd, &a.sa, a.len) == 0) {
            *held = fd;
            return port;
        }
        if (fd >= 0)
            close(fd);
    }
    return 0;
}

static enum fm_err take_ports(struct fm_world *w, struct fm_error *e)
{
    uint16_t *port[3 + 8 * FM_WORLD_REGIONS_MAX];
    int held[FM_COUNT(port)];
    size_t n = 0;
    port[n++] = &w->store_port;
    port[n++] = &w->edge_port;
    port[n++] = &w->edge_admin;
    for (unsigned r = 0; r < w->nregions; r++) {
        struct fm_world_region *x = &w->region[r];
        port[n++] = &x->gate;
        port[n++] = &x->peer;
        port[n++] = &x->admin;
        port[n++] = &x->network;
        for (unsigned a = 0; a < FM_WORLD_APPS; a++) {
            port[n++] = &x->app[a];
            port[n++] = &x->app_admin[a];
        }
    }
    bool ok = true;
    FM_ASSERT(n <= FM_COUNT(port));
    for (size_t i = 0; i < n; i++) {
        *port[i] = free_port(&held[i]);
        ok &= *port[i] != 0;
    }
    for (size_t i = 0; i < n; i++)
        if (held[i] >= 0)
            close(held[i]);
    return ok ? FM_ERR_OK : fm_error_set(e, FM_ERR_LIMIT, "there are no free ports on 127.0.0.1");
}

/* -------- the configuration -------- */

static enum fm_err write_config(struct fm_world *w, struct fm_error *e)
{
    FM_ASSERT(w->dir[0] && w->edge_port && w->edge_admin && w->store_port);
    snprintf(w->config, sizeof w->config, "%s/fulmar.yaml", w->dir);
    FILE *f = fopen(w->config, "we");
    if (!f)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot write %s", w->config);
    fprintf(f,
            "# Written by `fulmar demo`.\nfulmar: 1\nservice: bank\nstate: \"%s/{host}\"\n"
            "include: [\"%s\"]\n\nhosts:\n"
            "  edge-1: {region: %s, roles: [edge], address: 127.0.0.1, admin: \"127.0.0.1:%u\"}\n",
            w->dir, w->contexts, w->region[0].name, w->edge_admin);
    for (unsigned r = 0; r < w->nregions; r++) {
        const struct fm_world_region *x = &w->region[r];
        fprintf(f,
                "  %s-1: {region: %s, roles: [gate, health], address: 127.0.0.1, "
                "gate: \"127.0.0.1:%u\", peer: \"127.0.0.1:%u\", admin: \"127.0.0.1:%u\"}\n",
                x->name, x->name, x->gate, x->peer, x->admin);
    }
    fprintf(f, "\nedge:\n  workers: 1\n  listen: [{address: \"127.0.0.1:%u\"}]\n\nregions:\n",
            w->edge_port);
    for (unsigned r = 0; r < w->nregions; r++) {
        const struct fm_world_region *x = &w->region[r];
        fprintf(f,
                "  %s:\n    priority: %u\n"
                "    apps: {core: [\"127.0.0.1:%u\", \"127.0.0.1:%u\"]}\n"
                "    checks: {card-network: {http: \"http://127.0.0.1:%u/ping\"}}\n",
                x->name, r + 1, x->app[0], x->app[1], x->network);
    }
    if (fclose(f) != 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot write %s", w->config);
    return FM_ERR_OK;
}

/* -------- processes -------- */

static void set_args(struct fm_world_process *p, const char *name, ...)
{
    va_list ap;
    va_start(ap, name);
    snprintf(p->name, sizeof p->name, "%s", name);
    unsigned n = 0;
    for (const char *arg; (arg = va_arg(ap, const char *));) {
        FM_ASSERT(n + 1 < FM_COUNT(p->argv));
        snprintf(p->args[n], sizeof p->args[n], "%s", arg);
        p->argv[n] = p->args[n];
        n++;
    }
    p->argv[n] = NULL;
    va_end(ap);
}

static void describe(struct fm_world *w)
{
    char port[8][8], name[64];
    snprintf(port[0], sizeof port[0], "%u", w->store_port);
    char db[PATH_MAX + 16];
    snprintf(db, sizeof db, "%s/bank.db", w->dir);
    set_args(&w->store, "store", w->bank, "store", port[0], db, NULL);
    set_args(&w->edge, "edge", w->fulmar, "edge", "-c", w->config, "--host", "edge-1", NULL);
    for (unsigned r = 0; r < w->nregions; r++) {
        struct fm_world_region *x = &w->region[r];
        snprintf(port[1], sizeof port[1], "%u", x->network);
        snprintf(name, sizeof name, "%s-1", x->name);
        set_args(&x->process[FM_WORLD_AGENT], name, w->fulmar, "agent", "-c", w->config, "--host",
                 name, NULL);
        for (unsigned a = 0; a < FM_WORLD_APPS; a++) {
            snprintf(port[2], sizeof port[2], "%u", x->app[a]);
            snprintf(port[3], sizeof port[3], "%u", x->app_admin[a]);
            snprintf(name, sizeof name, "%s-app-%u", x->name, a + 1);
            set_args(&x->process[FM_WORLD_APP_1 + a], name, w->bank, "app", port[2], port[3],
                     port[0], port[1], name, NULL);
        }
        snprintf(name, sizeof name, "%s-network", x->name);
        set_args(&x->process[FM_WORLD_NETWORK], name, w->bank, "network", port[1], NULL);
    }
}

static void exited(struct fm_child *c, int status)
{
    (void)status;
    struct fm_world_process *p = fm_container_of(c, struct fm_world_process, child);
    FM_ASSERT(!c->running && p->world);
    if (p->wanted && p->world->died)
        p->world->died(p->world, p->name);
}

static enum fm_err start_one(struct fm_world *w, struct fm_world_process *p, struct fm_error *e)
{
    if (p->child.running)
        return FM_ERR_OK;
    FM_ASSERT(p->argv[0] && p->name[0] && w->log_fd >= 0);
    struct fm_child_options o = {.argv = p->argv, .out_fd = w->log_fd, .err_fd = w->log_fd};
    p->world = w;
    enum fm_err err = fm_child_start(&p->child, w->loop, &o, exited, e);
    p->wanted = err == FM_ERR_OK;
    return err ? fm_error_wrap(e, "%s", p->name) : FM_ERR_OK;
}

enum fm_err fm_world_init(struct fm_world *w, struct fm_loop *l, unsigned nregions,
                          struct fm_error *e)
{
    FM_ASSERT(nregions >= 2 && nregions <= FM_WORLD_REGIONS_MAX);
    memset(w, 0, sizeof *w);
    w->loop = l;
    w->log_fd = -1;
    w->nregions = nregions;
    for (unsigned r = 0; r < nregions; r++)
        snprintf(w->region[r].name, sizeof w->region[r].name, "%s", region_names[r]);
    enum fm_err err = find_programs(w, e);
    if (err)
        return err;
    const char *tmp = getenv("TMPDIR");
    snprintf(w->dir, sizeof w->dir, "%s/fulmar-demo-XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
    if (!mkdtemp(w->dir)) {
        w->dir[0] = 0;
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot make a temporary folder");
    }
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/log", w->dir);
    w->log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (w->log_fd < 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot write %s", path);
    err = take_ports(w, e);
    if (!err)
        err = write_config(w, e);
    if (!err)
        describe(w);
    return err;
}

enum fm_err fm_world_start_regions(struct fm_world *w, struct fm_error *e)
{
    enum fm_err err = start_one(w, &w->store, e);
    for (unsigned r = 0; !err && r < w->nregions; r++)
        err = fm_world_heal(w, r, e);
    return err;
}

enum fm_err fm_world_start_edge(struct fm_world *w, struct fm_error *e)
{
    return start_one(w, &w->edge, e);
}

static bool listens(uint16_t port)
{
    struct fm_addr a = fm_world_loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && connect(fd, &a.sa, a.len) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool is_healthy(uint16_t peer)
{
    struct fm_addr a = fm_world_loopback(peer);
    struct fm_fetched got;
    bool ok = fm_fetch(&a, "/health/deep", HEALTH_MS, &got, NULL) == FM_ERR_OK && got.status == 200;
    if (ok)
        free(got.body);
    return ok;
}

bool fm_world_regions_are_ready(const struct fm_world *w)
{
    bool ok = listens(w->store_port);
    for (unsigned r = 0; ok && r < w->nregions; r++) {
        ok = listens(w->region[r].gate) && is_healthy(w->region[r].peer);
        for (unsigned a = 0; ok && a < FM_WORLD_APPS; a++)
            ok = listens(w->region[r].app[a]);
    }
    return ok;
}

bool fm_world_edge_is_ready(const struct fm_world *w)
{
    return listens(w->edge_port) && listens(w->edge_admin);
}

/* -------- faults -------- */

void fm_world_kill(struct fm_world *w, unsigned region)
{
    FM_ASSERT(region < w->nregions);
    for (unsigned i = 0; i < FM_WORLD_ROLES; i++) {
        w->region[region].process[i].wanted = false;
        fm_child_kill(&w->region[region].process[i].child, SIGKILL);
    }
}

void fm_world_freeze(struct fm_world *w, unsigned region)
{
    FM_ASSERT(region < w->nregions);
    for (unsigned i = 0; i < FM_WORLD_ROLES; i++)
        fm_child_kill(&w->region[region].process[i].child, SIGSTOP);
}

void fm_world_break_network(struct fm_world *w, unsigned region)
{
    FM_ASSERT(region < w->nregions);
    struct fm_world_process *p = &w->region[region].process[FM_WORLD_NETWORK];
    p->wanted = false;
    fm_child_kill(&p->child, SIGKILL);
}

enum fm_err fm_world_heal(struct fm_world *w, unsigned region, struct fm_error *e)
{
    FM_ASSERT(region < w->nregions);
    for (unsigned i = 0; i < FM_WORLD_ROLES; i++) {
        struct fm_world_process *p = &w->region[region].process[i];
        if (p->child.running)
            fm_child_kill(&p->child, SIGCONT);
        enum fm_err err = start_one(w, p, e);
        if (err)
            return err;
    }
    return FM_ERR_OK;
}

/* -------- the end -------- */

static void discard(struct fm_world_process *p)
{
    p->wanted = false;
    if (p->child.running)
        fm_child_discard(&p->child);
    FM_ASSERT(!p->child.running);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void fm_world_deinit(struct fm_world *w)
{
    discard(&w->edge);
    for (unsigned r = 0; r < w->nregions; r++)
        for (unsigned i = 0; i < FM_WORLD_ROLES; i++)
            discard(&w->region[r].process[i]);
    discard(&w->store);
    if (w->log_fd >= 0)
        close(w->log_fd);
    w->log_fd = -1;
    if (w->dir[0])
        (void)nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    w->dir[0] = 0;
}
