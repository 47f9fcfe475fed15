/* Daemons: see the header. A reload that fails changes nothing and is remembered for `status`. */
#include "proxy/daemon.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/log.h"
#include "http/protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BLOCK = 64 * 1024,
    BLOCKS_MAX = 1024,
    LOG_BYTES_MAX = 4 * 1024 * 1024,
    REPORT_MAX = 64 * 1024,
    LOG_END_MS = 1000,
};

/* -------- configuration -------- */

/* The findings as text; from malloc. */
static char *report_text(const struct fm_conf_report *r)
{
    char *mem = malloc(REPORT_MAX);
    if (!mem)
        return NULL;
    struct fm_buf b = fm_buf(mem, REPORT_MAX - 1);
    fm_conf_report_print(r, &b);
    FM_ASSERT(b.n < REPORT_MAX);
    mem[b.n] = 0;
    return mem;
}

struct fm_conf *fm_daemon_load_first(const char *path)
{
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *c = fm_conf_load(path, &r);
    char *text = r.n ? report_text(&r) : NULL;
    if (text)
        fputs(text, stderr);
    free(text);
    fm_conf_report_deinit(&r);
    return c;
}

static void log_findings(const struct fm_conf_report *r)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct fm_conf_finding *f = &r->finding[i];
        fm_log(f->severity == FM_CONF_ERROR ? FM_LOG_ERROR : FM_LOG_WARN, "config_finding",
               FM_KZ("file", f->pos.file), FM_KU("line", f->pos.line), FM_KU("column", f->pos.col),
               FM_KZ("what", f->what), FM_KZ("advice", f->advice));
    }
}

/* Use this configuration, which is freed where that fails, and the certificates anew, also where
 * only they have changed. */
static enum fm_err take_over(struct fm_daemon *d, struct fm_conf *c, struct fm_error *e)
{
    struct fm_peers fresh;
    enum fm_err err = fm_peers_load(&fresh, c, fm_str_z(d->host), fm_str_z(d->region), e);
    if (err) {
        fm_log(FM_LOG_ERROR, "peer_tls_refused", FM_KE(e));
        fm_conf_free(c);
        return err;
    }
    struct fm_peers old = d->peers;
    d->peers = fresh;
    err = d->reload(d, c, e);
    if (err)
        d->peers = old;
    fm_peers_drop(err ? &fresh : &old);
    return err;
}

static void reload(struct fm_daemon *d)
{
    FM_ASSERT(d->current && d->reload && d->current(d));
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *c = fm_conf_load(d->options.config_path, &r);
    const struct fm_conf *now = d->current(d);
    if (c && fm_conf_check_reload(d->started ? d->started : now, now, c, &r)) {
        fm_conf_free(c);
        c = NULL;
    }
    log_findings(&r);
    free(d->reload_error);
    d->reload_error = c ? NULL : report_text(&r);
    char *warnings = c && r.n ? report_text(&r) : NULL;
    fm_conf_report_deinit(&r);
    struct fm_error e = {0};
    if (c && take_over(d, c, &e)) {
        d->reload_error = strdup(e.msg);
        c = NULL;
    }
    if (!c) {
        free(warnings);
        fm_log(FM_LOG_ERROR, "reload_refused", FM_KZ("file", d->options.config_path),
               FM_KZ("why", e.msg[0] ? e.msg : "it has errors"),
               FM_KZ("meaning", "the configuration that was loaded before goes on"));
        return;
    }
    free(d->reload_warnings);
    d->reload_warnings = warnings;
    d->loaded_wall_ns = fm_wall_now_ns();
    fm_log(FM_LOG_INFO, "reloaded");
}

/* The owner's copy is freed by the first reload. */
static void keep_started(struct fm_daemon *d)
{
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    d->started = fm_conf_load(d->options.config_path, &r);
    fm_conf_report_deinit(&r);
}

static enum fm_err host_name(struct fm_daemon *d, const struct fm_conf *conf, struct fm_error *e)
{
    if (d->options.host) {
        snprintf(d->host, sizeof d->host, "%s", d->options.host);
        return FM_ERR_OK;
    }
    if (gethostname(d->host, sizeof d->host - 1) < 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot read this machine's name");
    char *dot = strchr(d->host, '.');
    if (dot && fm_conf_find_host(conf, fm_str_z(d->host)) < 0)
        *dot = 0;
    return FM_ERR_OK;
}

enum fm_err fm_daemon_find_host(struct fm_daemon *d, const struct fm_conf *conf, int *host,
                                struct fm_error *e)
{
    FM_ASSERT(d->options.role && d->options.config_path && d->options.roles);
    enum fm_err err = host_name(d, conf, e);
    if (err)
        return err;
    *host = fm_conf_find_host(conf, fm_str_z(d->host));
    if (*host < 0 && (d->options.must_be_listed || d->options.host))
        return fm_error_set(e, FM_ERR_NOT_FOUND,
                            "host `%s` is not under `hosts` of %s; say another with --host",
                            d->host, d->options.config_path);
    if (*host >= 0 && !(conf->hosts[*host].roles & d->options.roles))
        return fm_error_set(e, FM_ERR_STATE, "host `%s` does not have the role of an %s", d->host,
                            d->options.role);
    struct fm_str region = fm_str_z(d->options.region ? d->options.region : "");
    if (*host >= 0)
        region = conf->regions[conf->hosts[*host].region].name;
    else if (region.n && fm_conf_find_region(conf, region) < 0)
        return fm_error_set(e, FM_ERR_NOT_FOUND, "there is no region `%s` in %s", region.p,
                            d->options.config_path);
    snprintf(d->region, sizeof d->region, "%.*s", FM_STR_ARG(region));
    return FM_ERR_OK;
}

/* -------- the state folder -------- */

static enum fm_err make_folders(char *path, struct fm_error *e)
{
    FM_ASSERT(path[0]);
    for (char *p = path + 1;; p++) {
        if (*p != '/' && *p != 0)
            continue;
        char was = *p;
        *p = 0;
        if (mkdir(path, 0700) < 0 && errno != EEXIST) {
            int err = errno;
            enum fm_err code =
                fm_error_errno(e, FM_ERR_IO, err, "cannot create the state folder %s", path);
            *p = was;
            return code;
        }
        *p = was;
        if (was == 0)
            return FM_ERR_OK;
    }
}

static enum fm_err take_lock(struct fm_daemon *d, struct fm_error *e)
{
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s.lock", d->state_dir, d->options.role);
    FM_ASSERT(d->lock_fd < 0);
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock_fd < 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot open %s", path);
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        close(d->lock_fd);
        d->lock_fd = -1;
        return fm_error_set(
            e, FM_ERR_EXISTS,
            "another %s uses the state folder %s; give each its own with `state` or "
            "--host",
            d->options.role, d->state_dir);
    }
    return FM_ERR_OK;
}

/* -------- life -------- */

static void write_log(void *user, struct fm_str line)
{
    (void)fm_sink_write(user, line);
}

static void got_signal(struct fm_signals *s, int signo)
{
    struct fm_daemon *d = fm_container_of(s, struct fm_daemon, signals);
    if (signo == SIGHUP) {
        fm_log(FM_LOG_INFO, "reload_asked");
        reload(d);
    } else if (signo == SIGTERM || signo == SIGINT) {
        FM_ASSERT(d->terminate);
        bool again = d->ending;
        d->ending = true;
        fm_log(FM_LOG_INFO, again ? "stop_asked_again" : "stop_asked",
               FM_KZ("signal", signo == SIGTERM ? "TERM" : "INT"));
        d->terminate(d, again || signo == SIGINT);
    }
}

enum fm_err fm_daemon_init(struct fm_daemon *d, const struct fm_conf *conf, struct fm_error *e)
{
    d->lock_fd = -1;
    d->loaded_wall_ns = fm_wall_now_ns();
    keep_started(d);
    enum fm_err err = fm_conf_state_dir(conf, fm_str_z(d->host), fm_str_z(d->region), d->state_dir,
                                        sizeof d->state_dir, e);
    if (!err)
        err = fm_peers_load(&d->peers, conf, fm_str_z(d->host), fm_str_z(d->region), e);
    if (!err)
        err = make_folders(d->state_dir, e);
    if (!err)
        err = take_lock(d, e);
    if (err)
        return err;
    if (!fm_descriptors_raise())
        fm_log(FM_LOG_WARN, "fd_limit_not_raised");
    fm_signals_block();
    d->log = fm_sink_open(NULL, STDERR_FILENO, LOG_BYTES_MAX, e);
    if (!d->log)
        return FM_ERR_MEMORY;
    fm_log_set_writer(write_log, d->log);
    fm_pool_init(&d->pool, BLOCK, BLOCKS_MAX);
    err = fm_loop_init(&d->loop, &d->pool, e);
    if (!err)
        err = fm_mailbox_open(&d->mailbox, &d->loop, d, e);
    if (!err)
        err = fm_signals_open(&d->signals, &d->loop, got_signal, e);
    if (err)
        return err;
    d->resolver = fm_resolver_new(&d->mailbox, e);
    return d->resolver ? FM_ERR_OK : FM_ERR_LIMIT;
}

static void admin_accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    fm_pages_accept(&fm_container_of(ln, struct fm_daemon, admin)->pages, fd, from);
}

static void local_accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    struct fm_daemon *d = fm_container_of(ln, struct fm_daemon, local);
    fm_pages_accept(d->local_table ? &d->local_pages : &d->pages, fd, from);
}

enum fm_err fm_daemon_serve(struct fm_daemon *d, const struct fm_conf_addr *admin,
                            const struct fm_page *pages, struct fm_error *e)
{
    FM_ASSERT(!d->has_admin && !d->has_local && d->loop.pool);
    enum fm_err err = fm_pages_init(&d->pages, &d->loop, pages, d->options.user, e);
    if (!err && d->local_table)
        err = fm_pages_init(&d->local_pages, &d->loop, d->local_table, d->options.user, e);
    if (err)
        return err;
    struct fm_addr at;
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s.sock", d->state_dir, d->options.role);
    if (fm_addr_unix(&at, fm_str_z(path)))
        return fm_error_set(
            e, FM_ERR_LIMIT,
            "the path of the local socket is too long (%zu bytes, at most 107): %s; "
            "set a shorter `state`",
            strlen(path), path);
    err = fm_listener_open(&d->local, &d->loop, &at, 0, local_accepted, e);
    if (err)
        return fm_error_wrap(e, "local socket");
    d->has_local = true;
    if (fm_addr_ip(&at, admin->host, admin->port))
        return fm_error_set(e, FM_ERR_INVALID, "admin address %.*s is not an IP address and a port",
                            FM_STR_ARG(admin->text));
    err = fm_listener_open(&d->admin, &d->loop, &at, 0, admin_accepted, e);
    d->has_admin = err == FM_ERR_OK;
    return err ? fm_error_wrap(e, "admin listener") : FM_ERR_OK;
}

void fm_daemon_run(struct fm_daemon *d)
{
    FM_ASSERT(d->has_admin && d->has_local);
    fm_loop_run(&d->loop);
}

void fm_daemon_stop(struct fm_daemon *d)
{
    fm_loop_stop(&d->loop);
}

void fm_daemon_end_resolver(struct fm_daemon *d)
{
    fm_resolver_free(d->resolver);
    d->resolver = NULL;
}

static void close_pages(struct fm_daemon *d, struct fm_pages *p)
{
    if (!p->server.loop)
        return;
    fm_pages_close_all(p);
    fm_loop_turn(&d->loop, 0);
    fm_pages_deinit(p);
}

void fm_daemon_end_pages(struct fm_daemon *d)
{
    if (d->has_local)
        fm_listener_close(&d->local);
    if (d->has_admin)
        fm_listener_close(&d->admin);
    d->has_local = d->has_admin = false;
    close_pages(d, &d->local_pages);
    close_pages(d, &d->pages);
}

void fm_daemon_deinit(struct fm_daemon *d)
{
    fm_daemon_end_pages(d);
    fm_daemon_end_resolver(d);
    if (d->signals.loop)
        fm_signals_close(&d->signals);
    if (d->mailbox.loop)
        fm_mailbox_close(&d->mailbox);
    if (d->loop.pool) {
        fm_loop_deinit(&d->loop);
        fm_pool_deinit(&d->pool);
    }
    free(d->reload_error);
    free(d->reload_warnings);
    fm_conf_free(d->started);
    fm_peers_drop(&d->peers);
    if (d->log) {
        fm_log_set_writer(NULL, NULL);
        fm_sink_close(d->log, LOG_END_MS);
    }
    if (d->lock_fd >= 0)
        close(d->lock_fd);
}

json_t *fm_daemon_status(const struct fm_daemon *d)
{
    char loaded[FM_RFC3339_LEN];
    fm_wall_format(loaded, d->loaded_wall_ns);
    json_t *config = json_object();
    json_object_set_new(config, "file", json_string(d->options.config_path));
    json_object_set_new(config, "loaded_at", json_string(loaded));
    json_object_set_new(config, "reload_error",
                        d->reload_error ? json_string(d->reload_error) : json_null());
    json_object_set_new(config, "reload_warnings",
                        d->reload_warnings ? json_string(d->reload_warnings) : json_null());
    json_t *o = json_object();
    json_object_set_new(o, "schema", json_string("fulmar.status/1"));
    json_object_set_new(o, "version", json_string(FM_VERSION));
    json_object_set_new(o, "protocol", fm_protocol_json());
    json_object_set_new(o, "role", json_string(d->options.role));
    json_object_set_new(o, "host", json_string(d->host));
    json_object_set_new(o, "region", d->region[0] ? json_string(d->region) : json_null());
    json_object_set_new(o, "config", config);
    json_object_set_new(o, "stopping", json_boolean(d->ending));
    json_object_set_new(o, "log_lines_dropped", json_integer((json_int_t)fm_sink_dropped(d->log)));
    return o;
}
