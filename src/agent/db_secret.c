/* The passwords of a group where the file names none: made with its first node, and asked of the
 * hosts of its other nodes by all the rest. They are given to hosts of the group's nodes alone, by
 * their certificates; without `peer-tls` only where none of them leaves the machine. */
#include "agent/db.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { RANDOM_BYTES = 24, ASK_MS = 1000, AGAIN_MS = 1000, ANSWER_MAX = 4096 };

bool db_secret_is_known(const struct db_node *n)
{
    return n->admin[0] && n->replication[0];
}

static enum fm_err path_by(const struct db_node *n, const struct fm_conf *conf,
                           const struct fm_conf_group *g, enum fm_conf_secret which, char *out,
                           size_t cap, struct fm_error *e)
{
    int host = fm_conf_find_host(conf, fm_str_z(n->d->c.host));
    FM_ASSERT(host >= 0);
    return fm_conf_group_secret(conf, g, &conf->hosts[host], which, out, cap, e);
}

static enum fm_err path_of(const struct db_node *n, enum fm_conf_secret which, char *out,
                           size_t cap, struct fm_error *e)
{
    const struct fm_conf *conf = n->d->conf;
    return path_by(n, conf, &conf->groups[n->conf], which, out, cap, e);
}

/* `out` stays as it is where there is none yet. */
static enum fm_err read_one(const struct db_node *n, const struct fm_conf *conf,
                            const struct fm_conf_group *g, enum fm_conf_secret which,
                            char out[DB_SECRET_ROOM], struct fm_error *e)
{
    char path[PATH_MAX], secret[DB_SECRET_ROOM];
    struct stat at;
    size_t len = 0;
    struct fm_str said =
        which == FM_CONF_SECRET_ADMIN ? g->admin_password_file : g->replication_password_file;
    enum fm_err err = path_by(n, conf, g, which, path, sizeof path, e);
    if (!err && !said.n && stat(path, &at) < 0 && errno == ENOENT)
        return FM_ERR_OK; /* it is made, or asked for */
    if (!err)
        err = fm_file_secret(path, secret, sizeof secret, &len, e);
    if (!err && len == 0 && said.n)
        err = fm_error_set(e, FM_ERR_INVALID, "%s is empty", path);
    if (!err && len) {
        memcpy(out, secret, len);
        out[len] = 0;
    }
    explicit_bzero(secret, sizeof secret);
    return err;
}

struct secrets {
    char admin[DB_SECRET_ROOM], replication[DB_SECRET_ROOM];
};

static enum fm_err read_both(const struct db_node *n, const struct fm_conf *conf,
                             const struct fm_conf_group *g, struct secrets *s, struct fm_error *e)
{
    memcpy(s->admin, n->admin, sizeof s->admin);
    memcpy(s->replication, n->replication, sizeof s->replication);
    enum fm_err err = read_one(n, conf, g, FM_CONF_SECRET_ADMIN, s->admin, e);
    return err ? err : read_one(n, conf, g, FM_CONF_SECRET_REPLICATION, s->replication, e);
}

/* Can PostgreSQL be given it? Else commits would stop for want of the role that replicates. */
static enum fm_err check_one(const char *user, const char *secret, struct fm_error *e)
{
    char line[4 * DB_SECRET_ROOM];
    struct fm_buf b = fm_buf(line, sizeof line);
    enum fm_err err =
        secret[0] ? fm_pg_pass_write(&b, fm_str_z(user), fm_str_z(secret), e) : FM_ERR_OK;
    explicit_bzero(line, sizeof line);
    return err;
}

enum fm_err db_secret_check(const struct db_node *n, const struct fm_conf *conf,
                            const struct fm_conf_group *g, struct fm_error *e)
{
    struct secrets s;
    enum fm_err err = read_both(n, conf, g, &s, e);
    if (!err)
        err = check_one("fulmar_admin", s.admin, e);
    if (!err)
        err = check_one("fulmar_replication", s.replication, e);
    explicit_bzero(&s, sizeof s);
    return err;
}

enum fm_err db_secret_read(struct db_node *n, struct fm_error *e)
{
    struct secrets s;
    enum fm_err err = read_both(n, n->d->conf, &n->d->conf->groups[n->conf], &s, e);
    if (!err) {
        memcpy(n->admin, s.admin, sizeof n->admin);
        memcpy(n->replication, s.replication, sizeof n->replication);
    }
    explicit_bzero(&s, sizeof s);
    return err;
}

/* The administrator comes in with his the next time. That of the replication is written to the data
 * directory, as settings are after each reload; whoever writes gives it to the role. */
void db_secret_reset(struct db_node *n)
{
    struct secrets before;
    struct fm_error e = {0};
    memcpy(before.admin, n->admin, sizeof before.admin);
    memcpy(before.replication, n->replication, sizeof before.replication);
    if (db_secret_read(n, &e))
        fm_log(FM_LOG_ERROR, "database_passwords_kept", FM_KZ("group", n->group), FM_KE(&e));
    bool replication = strcmp(before.replication, n->replication) != 0;
    bool admin = strcmp(before.admin, n->admin) != 0;
    explicit_bzero(&before, sizeof before);
    if (replication)
        n->role = false;
    if (admin || replication)
        fm_log(FM_LOG_INFO, "database_passwords_read", FM_KZ("group", n->group),
               FM_KB("admin", admin), FM_KB("replication", replication));
}

/* STATE/groups, and GROUP in it, for a file there. */
static enum fm_err make_folders(const char *path, struct fm_error *e)
{
    enum { FOLDERS = 2 };
    char up[PATH_MAX];
    const char *end = path + strlen(path);
    const char *slash[FOLDERS + 1] = {NULL};
    if ((size_t)(end - path) >= sizeof up)
        return fm_error_set(e, FM_ERR_LIMIT, "the path %.80s... is too long", path);
    for (unsigned i = 0; i < FOLDERS; i++) {
        while (end > path && *--end != '/') {
        }
        slash[i] = end;
    }
    for (unsigned i = FOLDERS; i-- > 0;) {
        snprintf(up, sizeof up, "%.*s", (int)(slash[i] - path), path);
        if (slash[i] > path && mkdir(up, 0700) < 0 && errno != EEXIST)
            return fm_error_errno(e, FM_ERR_IO, errno, "cannot make the folder of %s", path);
    }
    return FM_ERR_OK;
}

enum fm_err db_state_path(const struct db_node *n, const char *name, char out[PATH_MAX],
                          struct fm_error *e)
{
    const struct fm_conf *conf = n->d->conf;
    int host = fm_conf_find_host(conf, fm_str_z(n->d->c.host));
    FM_ASSERT(host >= 0);
    const struct fm_conf_host *h = &conf->hosts[host];
    enum fm_err err =
        fm_conf_state_dir(conf, h->name, conf->regions[h->region].name, out, PATH_MAX, e);
    if (err)
        return err;
    size_t used = strlen(out);
    int more = snprintf(out + used, PATH_MAX - used, "/groups/%s/%s", n->group, name);
    if (more < 0 || (size_t)more >= PATH_MAX - used)
        return fm_error_set(e, FM_ERR_LIMIT, "the path of `state` is too long");
    return make_folders(out, e);
}

/* Blocks for a moment, once in the life of a group. */
static bool keep(struct db_node *n, enum fm_conf_secret which, const char *secret)
{
    char path[PATH_MAX];
    struct fm_error e = {0};
    enum fm_err err = path_of(n, which, path, sizeof path, &e);
    if (!err)
        err = make_folders(path, &e);
    if (!err)
        err = fm_file_replace(path, fm_str_z(secret), 0600, &e);
    if (err)
        snprintf(n->trouble, sizeof n->trouble, "a password cannot be kept: %.200s", e.msg);
    return err == FM_ERR_OK;
}

static bool make_one(struct db_node *n, enum fm_conf_secret which, char *out)
{
    uint8_t random[RANDOM_BYTES];
    if (out[0])
        return true;
    fm_rand_bytes(random, sizeof random);
    for (unsigned i = 0; i < RANDOM_BYTES; i++)
        snprintf(out + (size_t)2 * i, 3, "%02x", random[i]);
    explicit_bzero(random, sizeof random);
    if (keep(n, which, out))
        return true;
    out[0] = 0;
    return false;
}

bool db_secret_make(struct db_node *n)
{
    return make_one(n, FM_CONF_SECRET_ADMIN, n->admin) &&
           make_one(n, FM_CONF_SECRET_REPLICATION, n->replication);
}

/* -------- giving -------- */

static bool stays_here(const struct db_node *n)
{
    for (unsigned i = 0; i < n->nnodes; i++)
        if (n->of[i].in_file && !fm_str_starts(fm_str_z(n->of[i].address), FM_STR("127.")))
            return false;
    return true;
}

bool db_secret_may_have(const struct db_node *n, const char *peer)
{
    if (!peer)
        return !n->d->c.peers->server && stays_here(n);
    for (unsigned i = 0; i < n->nnodes; i++)
        if (n->of[i].in_file && strcmp(n->of[i].name, peer) == 0)
            return true;
    return false;
}

void fm_database_secret(const struct fm_database *d, const struct fm_page_request *q,
                        struct fm_page_answer *a)
{
    struct fm_str prefix = FM_STR("?group=");
    a->status = 404;
    for (unsigned i = 0; i < d->nnodes; i++) {
        const struct db_node *n = d->node[i];
        if (!fm_str_starts(q->query, prefix) ||
            !fm_str_eqz(fm_str(q->query.p + prefix.n, q->query.n - prefix.n), n->group))
            continue;
        a->status = !db_secret_may_have(n, q->peer) ? 403 : db_secret_is_known(n) ? 200 : 404;
        if (a->status != 200)
            return;
        json_t *doc = json_pack("{s:s,s:s}", "admin", n->admin, "replication", n->replication);
        a->body = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
        json_decref(doc);
        a->content_type = "application/json";
        a->n = a->body ? strlen(a->body) : 0;
        a->status = a->body ? 200 : 503;
    }
}

/* -------- asking -------- */

static bool take(struct db_node *n, struct fm_str body)
{
    const char *admin, *replication;
    json_t *j = json_loadb(body.p, body.n, 0, NULL);
    bool good = j && json_unpack(j, "{s:s,s:s}", "admin", &admin, "replication", &replication) == 0;
    good = good && strlen(admin) < DB_SECRET_ROOM && strlen(replication) < DB_SECRET_ROOM &&
           admin[0] && replication[0];
    if (good && keep(n, FM_CONF_SECRET_ADMIN, admin) &&
        keep(n, FM_CONF_SECRET_REPLICATION, replication)) {
        snprintf(n->admin, sizeof n->admin, "%s", admin);
        snprintf(n->replication, sizeof n->replication, "%s", replication);
        n->trouble[0] = 0;
    }
    json_decref(j);
    return db_secret_is_known(n);
}

static void answered(struct fm_caller *c, unsigned status, struct fm_str body)
{
    struct db_node *n = c->user;
    n->secret_asks = false;
    if (status == 200 && take(n, body))
        fm_log(FM_LOG_INFO, "database_passwords", FM_KZ("group", n->group), FM_KZ("from", c->peer));
    else if (status == 404)
        snprintf(n->trouble, sizeof n->trouble, "%.60s does not have the passwords%s", c->peer,
                 n->cell.r.evidence.writer ? "" : " yet: `fulmar group create` makes them");
    else if (status != 200)
        snprintf(n->trouble, sizeof n->trouble, "%.60s does not give the passwords: %u", c->peer,
                 status);
}

static void failed(struct fm_caller *c, const char *why)
{
    struct db_node *n = c->user;
    n->secret_asks = false;
    snprintf(n->trouble, sizeof n->trouble, "%.60s was asked for the passwords: %.150s", c->peer,
             why);
}

/* Each of the others in turn. */
void db_secret_ask(struct db_node *n)
{
    struct fm_mono now = fm_mono_now();
    const struct fm_conf *conf = n->d->conf;
    if (n->secret_asks || db_secret_is_known(n) || n->nnodes < 2 ||
        fm_mono_before(now, n->secret_at))
        return;
    n->secret_at = fm_mono_add_ms(now, AGAIN_MS);
    n->secret_of = (n->secret_of + 1) % n->nnodes;
    if (n->secret_of == n->self || !n->of[n->secret_of].in_file)
        return; /* it is the next one's turn */
    int host = fm_conf_find_host(conf, fm_str_z(n->of[n->secret_of].name));
    if (host < 0)
        return;
    db_secret_close(n);
    if (!fm_caller_is_gone(&n->secret, false))
        return; /* what was under way before still ends */
    const struct fm_conf_host *h = &conf->hosts[host];
    char target[DB_NAME_ROOM + 32];
    snprintf(target, sizeof target, "/groups/secret?group=%s", n->group);
    struct fm_caller_to to = {h->peer.host, h->peer.port, n->d->c.peers->client, h->name};
    n->secret = (struct fm_caller){.answered = answered, .failed = failed, .user = n};
    fm_caller_init(&n->secret, n->d->c.loop, n->d->c.resolver, &to);
    n->secret_used = n->secret_asks = true;
    struct fm_caller_ask a = {
        .target = target, .answer_max = ANSWER_MAX, .connect_ms = ASK_MS, .timeout_ms = ASK_MS};
    fm_caller_ask(&n->secret, &a);
}

void db_secret_close(struct db_node *n)
{
    if (n->secret_used)
        fm_caller_close(&n->secret);
    n->secret_asks = false;
}
