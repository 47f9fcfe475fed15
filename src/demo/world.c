/* The demonstration's world: see the header. Invariant: fm_world_deinit leaves no process and no
 * file behind, wherever fm_world_init or fm_world_start stopped. */
#include "demo/world.h"

#include "base/assert.h"
#include "http/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HEALTH_MS = 500, GUARDS_MS = 15000 };

static const char *const region_names[FM_WORLD_REGIONS_MAX] = {
    "west", "north", "south", "central", "island", "coast", "valley", "harbour"};
static const char witness_name[] = "east";

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
    char port[8][8], name[64], password[PATH_MAX + 32];
    fm_world_password_path(w, password);
    snprintf(port[0], sizeof port[0], "%u", w->store_port);
    char db[PATH_MAX + 16];
    snprintf(db, sizeof db, "%s/bank.db", w->dir);
    set_args(&w->store, "store", w->bank, "store", port[0], db, NULL);
    set_args(&w->edge, "edge", w->fulmar, "edge", "-c", w->config, "--host", "edge-1", NULL);
    char config[PATH_MAX + 32];
    fm_world_config_of(w, w->nregions, config);
    set_args(&w->witness, "witness-1", w->fulmar, "agent", "-c", config, "--host", "witness-1",
             NULL);
    for (unsigned r = 0; r < w->nregions; r++) {
        struct fm_world_region *x = &w->region[r];
        snprintf(port[1], sizeof port[1], "%u", x->network);
        snprintf(port[4], sizeof port[4], "%u", x->door_write);
        snprintf(port[5], sizeof port[5], "%u", x->door_read);
        snprintf(name, sizeof name, "%s-1", x->name);
        fm_world_config_of(w, r, config);
        set_args(&x->process[FM_WORLD_AGENT], name, w->fulmar, "agent", "-c", config, "--host",
                 name, NULL);
        for (unsigned a = 0; a < FM_WORLD_APPS; a++) {
            snprintf(port[2], sizeof port[2], "%u", x->app[a]);
            snprintf(port[3], sizeof port[3], "%u", x->app_admin[a]);
            snprintf(name, sizeof name, "%s-app-%u", x->name, a + 1);
            set_args(&x->process[FM_WORLD_APP_1 + a], name, w->bank, "app", port[2], port[3],
                     port[0], port[1], name, w->group ? port[4] : NULL, port[5], password, NULL);
        }
        snprintf(name, sizeof name, "%s-network", x->name);
        set_args(&x->process[FM_WORLD_NETWORK], name, w->bank, "network", port[1], NULL);
    }
}

static void run_again(struct fm_world_process *p);

static void exited(struct fm_child *c, int status)
{
    (void)status;
    struct fm_world_process *p = fm_container_of(c, struct fm_world_process, child);
    FM_ASSERT(!c->running && p->world);
    bool again = p->again;
    p->again = false;
    if (again)
        run_again(p);
    else if (p->wanted && p->world->died)
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

static void run_again(struct fm_world_process *p)
{
    struct fm_error e;
    if (start_one(p->world, p, &e) && p->world->died)
        p->world->died(p->world, p->name);
}

/* -------- the service manager of a cold standby -------- */

bool fm_world_is_cold(const struct fm_world *w, unsigned region)
{
    FM_ASSERT(region < w->nregions);
    return w->story == FM_DEMO_COLD_STANDBY && region != 0;
}

bool fm_world_app_runs(const struct fm_world *w, unsigned region)
{
    FM_ASSERT(region < w->nregions);
    bool any = false;
    for (unsigned a = 0; a < FM_WORLD_APPS; a++)
        any |= w->region[region].process[FM_WORLD_APP_1 + a].child.running;
    return any;
}

void fm_world_services_path(const struct fm_world *w, char out[PATH_MAX + 32])
{
    snprintf(out, PATH_MAX + 32, "%s/services", w->dir);
}

static void set_app(struct fm_world *w, unsigned region, bool on)
{
    struct fm_error e;
    for (unsigned a = 0; a < FM_WORLD_APPS; a++) {
        struct fm_world_process *p = &w->region[region].process[FM_WORLD_APP_1 + a];
        p->again = on && p->child.running && !p->wanted;
        p->wanted = on;
        if (!on)
            fm_child_kill(&p->child, SIGTERM);
        else if (start_one(w, p, &e) && w->died)
            w->died(w, p->name);
    }
}

/* Lines "start north"; each was written at once, and is shorter than what is written as a whole. */
static void services_ready(struct fm_watch *watch, uint32_t events)
{
    (void)events;
    struct fm_world *w = fm_container_of(watch, struct fm_world, services);
    char text[512];
    ssize_t n = read(watch->fd, text, sizeof text);
    struct fm_str rest = fm_str(text, n > 0 ? (size_t)n : 0);
    while (rest.n) {
        struct fm_str name, line = fm_str_cut(rest, '\n', &rest);
        struct fm_str what = fm_str_cut(line, ' ', &name);
        bool on = fm_str_eqz(what, "start");
        for (unsigned r = 0; r < w->nregions; r++) {
            if (!fm_str_eqz(name, w->region[r].name) || !(on || fm_str_eqz(what, "stop")))
                continue;
            if (w->asked)
                w->asked(w, on ? "start" : "stop", w->region[r].name);
            set_app(w, r, on);
        }
    }
}

static enum fm_err open_services(struct fm_world *w, struct fm_error *e)
{
    char path[PATH_MAX + 32];
    if (w->story != FM_DEMO_COLD_STANDBY)
        return FM_ERR_OK;
    fm_world_services_path(w, path);
    int fd = mkfifo(path, 0600) == 0 ? open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC) : -1;
    if (fd < 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot make %s", path);
    w->services.ready = services_ready;
    enum fm_err err = fm_loop_watch(w->loop, &w->services, fd, EPOLLIN, e);
    if (err)
        close(fd);
    return err;
}

static void close_services(struct fm_world *w)
{
    if (w->services.fd < 0)
        return;
    int fd = w->services.fd;
    fm_loop_unwatch(w->loop, &w->services);
    close(fd);
    w->services.fd = -1;
}

/* -------- setting up -------- */

static enum fm_err make_folder(char out[PATH_MAX], const char *name, struct fm_error *e)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(out, PATH_MAX, "%s/%s-XXXXXX", tmp && tmp[0] ? tmp : "/tmp", name);
    if (mkdtemp(out))
        return FM_ERR_OK;
    out[0] = 0;
    return fm_error_errno(e, FM_ERR_IO, errno, "cannot make a temporary folder");
}

enum fm_err fm_world_init(struct fm_world *w, struct fm_loop *l, enum fm_demo_story story,
                          bool group, unsigned nregions, struct fm_error *e)
{
    FM_ASSERT(nregions >= 2 && nregions <= FM_WORLD_REGIONS_MAX);
    memset(w, 0, sizeof *w);
    w->loop = l;
    w->story = story;
    w->group = group;
    w->log_fd = w->services.fd = -1;
    w->nregions = nregions;
    for (unsigned r = 0; r < nregions; r++)
        snprintf(w->region[r].name, sizeof w->region[r].name, "%s", region_names[r]);
    snprintf(w->region[nregions].name, sizeof w->region[0].name, "%s", witness_name);
    enum fm_err err = fm_world_find_programs(w, e);
    if (err)
        return err;
    err = make_folder(w->dir, "fulmar-demo", e);
    if (!err && group)
        err = make_folder(w->data, "fulmar-demo-pg", e);
    if (!err && group)
        err = fm_world_make_data(w, e);
    if (err)
        return err;
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/log", w->dir);
    w->log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (w->log_fd < 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot write %s", path);
    err = fm_world_take_ports(w, e);
    if (!err)
        err = fm_world_write_configs(w, e);
    if (!err)
        err = fm_world_connect(w, e);
    if (!err)
        err = open_services(w, e);
    if (!err)
        describe(w);
    return err;
}

enum fm_err fm_world_start_regions(struct fm_world *w, struct fm_error *e)
{
    enum fm_err err = start_one(w, &w->store, e);
    if (!err)
        err = start_one(w, &w->witness, e);
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
    bool ok = listens(w->store_port) && listens(w->region[w->nregions].peer);
    for (unsigned r = 0; ok && r < w->nregions; r++) {
        bool cold = fm_world_is_cold(w, r);
        ok = listens(w->region[r].gate) &&
             (cold ? listens(w->region[r].peer) : is_healthy(w->region[r].peer));
        for (unsigned a = 0; ok && !cold && a < FM_WORLD_APPS; a++)
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

void fm_world_kill_postgres(struct fm_world *w, unsigned region)
{
    char path[PATH_MAX + 64];
    FM_ASSERT(w->group && region < w->nregions);
    snprintf(path, sizeof path, "%s/%s-1/postmaster.pid", w->data, w->region[region].name);
    FILE *f = fopen(path, "re");
    char line[24] = "";
    uint64_t pid = 0;
    if (f && fgets(line, sizeof line, f) && fm_str_u64(fm_str(line, strcspn(line, "\n")), &pid) &&
        pid > 1 && pid <= INT32_MAX)
        kill((pid_t)pid, SIGKILL);
    if (f)
        fclose(f);
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

void fm_world_cut_off(struct fm_world *w, unsigned region)
{
    FM_ASSERT(region < w->nregions);
    uint32_t all = (UINT32_C(2) << w->nregions) - 1;
    fm_links_set(w->links, region, all & ~(UINT32_C(1) << region),
                 &(struct fm_fault_rule){.cut = true});
}

void fm_world_cut_data(struct fm_world *w)
{
    FM_ASSERT(w->group);
    fm_links_set_data(w->links, &(struct fm_fault_rule){.cut = true});
}

void fm_world_slow(struct fm_world *w, unsigned region, int32_t ms)
{
    FM_ASSERT(region < w->nregions && ms > 0);
    uint32_t all = (UINT32_C(2) << w->nregions) - 1;
    fm_links_set(w->links, region, all & ~(UINT32_C(1) << region),
                 &(struct fm_fault_rule){.delay_ms = ms});
}

void fm_world_mend(struct fm_world *w)
{
    fm_links_heal(w->links);
}

void fm_world_stop_coordination(struct fm_world *w)
{
    FM_ASSERT(w->witness.name[0]);
    w->witness.wanted = false;
    fm_child_kill(&w->witness.child, SIGKILL);
}

enum fm_err fm_world_start_coordination(struct fm_world *w, struct fm_error *e)
{
    return start_one(w, &w->witness, e);
}

enum fm_err fm_world_heal(struct fm_world *w, unsigned region, struct fm_error *e)
{
    FM_ASSERT(region < w->nregions);
    fm_links_heal(w->links);
    for (unsigned i = 0; i < FM_WORLD_ROLES; i++) {
        struct fm_world_process *p = &w->region[region].process[i];
        if (p->child.running)
            fm_child_kill(&p->child, SIGCONT);
        if (fm_world_is_cold(w, region) && (i == FM_WORLD_APP_1 || i == FM_WORLD_APP_2))
            continue; /* its service manager starts it */
        enum fm_err err = start_one(w, p, e);
        if (err)
            return err;
    }
    return FM_ERR_OK;
}

/* -------- the end -------- */

static void discard(struct fm_world_process *p)
{
    p->wanted = p->again = false;
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

/* Guards of PostgreSQL outlive their agents until they have ended what they guard; they are ours
 * then (PR_SET_CHILD_SUBREAPER), and what they guard writes into our folder. */
static void wait_for_guards(void)
{
    static const struct timespec moment = {.tv_nsec = 5 * 1000 * 1000};
    struct fm_mono end = fm_mono_add_ms(fm_mono_now(), GUARDS_MS);
    pid_t pid = 0;
    while (pid >= 0 && fm_mono_before(fm_mono_now(), end)) {
        pid = waitpid(-1, NULL, WNOHANG);
        if (pid == 0)
            nanosleep(&moment, NULL);
    }
    (void)prctl(PR_SET_CHILD_SUBREAPER, 0);
}

void fm_world_deinit(struct fm_world *w)
{
    discard(&w->edge);
    discard(&w->witness);
    for (unsigned r = 0; r < w->nregions; r++)
        for (unsigned i = 0; i < FM_WORLD_ROLES; i++)
            discard(&w->region[r].process[i]);
    discard(&w->store);
    if (w->group)
        wait_for_guards();
    close_services(w);
    fm_links_stop(w->links);
    w->links = NULL;
    if (w->log_fd >= 0)
        close(w->log_fd);
    w->log_fd = -1;
    while (w->nreserved > 0)
        if (w->reserved[--w->nreserved] >= 0)
            close(w->reserved[w->nreserved]);
    if (w->dir[0])
        (void)nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (w->data[0])
        (void)nftw(w->data, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    w->dir[0] = w->data[0] = 0;
}
