/* PostgreSQL of a node: started and stopped under its guard, configured, made, copied, rewound. See
 * db.h. Invariants: what is not in recovery runs only until the sub-lease ends; nothing is started
 * while anybody of an earlier start lives on in the data directory. */
#include "agent/db.h"

#include "agent/words.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TAIL_ROOM = 2048 /* of what it printed last */, STAT_ROOM = 512 };

enum {
    LOOK_MS = 10 * 1000,
    CONFIGURE_MS = 10 * 1000,
    PROMOTE_MS = 10 * 1000,
    MAKE_MS = 120 * 1000,
    REWIND_MS = 3600 * 1000,
    RESCUE_MS = 3600 * 1000,
    PRUNE_MS = 60 * 1000,
    CLONE_MS = 24 * 3600 * 1000,
    STRANGERS_MS = 100,
    LOOK_AGAIN_MS = 1000, /* doubled after each that fails */
    LOOK_DOUBLED_MAX = 4,
    LOOKS_MAX = 4,              /* that fail in a row: it cannot be started */
    LOG_MAX = 16 * 1024 * 1024, /* of what it prints, and as much of before */
    TERM_PARTS = 4,             /* of a lease, before its end: it is asked to end */
    KILL_PARTS = 8,             /* ... and it is killed */
    PEERS_MAX = FM_GROUP_NODES_MAX,
    LISTEN_ROOM = 320,
    NAMES_ROOM = 1600,
};

#define CLOSED_NAMES                                                                               \
    "FIRST 1 (fulmar_closed)" /* nobody is called so: no commit is acknowledged                    \
                               */

void db_server_trouble(struct db_node *n, const char *what, const char *why)
{
    snprintf(n->trouble, sizeof n->trouble, "%s: %.200s", what, why);
    fm_log(FM_LOG_WARN, "database_trouble", FM_KZ("group", n->group), FM_KZ("what", what),
           FM_KZ("why", why));
}

/* -------- what it is told -------- */

struct told {
    struct fm_pg_settings s;
    struct fm_pg_upstream up;
    struct fm_str peers[PEERS_MAX];
    struct fm_pg_setting own[FM_CONF_SETTINGS_MAX];
    char listen[LISTEN_ROOM], names[NAMES_ROOM];
};

/* It waits for us and each of them; or, where nothing bounds what may be lost, for nobody. */
static void write_names(const struct db_node *n, uint32_t whom, struct fm_buf *b)
{
    if (!n->guards_next)
        return;
    fm_buf_printf(b, "FIRST %d (" FM_PG_CREDIT_NAME, 1 + __builtin_popcount(whom));
    for (unsigned i = 0; i < n->nnodes; i++)
        if (whom >> i & 1)
            fm_buf_printf(b, ", \"%s\"", n->of[i].name);
    fm_buf_ch(b, ')');
}

static const struct fm_pg_settings *settings(const struct db_node *n, enum db_as as,
                                             unsigned upstream, struct told *t)
{
    const struct fm_conf_group *g = &n->d->conf->groups[n->conf];
    const struct db_other *me = &n->of[n->self];
    struct fm_buf names = fm_buf(t->names, sizeof t->names);
    if (as == DB_AS_OPEN)
        write_names(n, n->waits_next, &names);
    else
        fm_buf_lit(&names, CLOSED_NAMES);
    FM_ASSERT(!names.full);
    bool loopback = fm_str_starts(fm_str_z(me->address), FM_STR("127."));
    snprintf(t->listen, sizeof t->listen, "127.0.0.1%s%s",
             loopback && strcmp(me->address, "127.0.0.1") == 0 ? "" : ",",
             loopback && strcmp(me->address, "127.0.0.1") == 0 ? "" : me->address);
    size_t npeers = 0;
    for (unsigned i = 0; i < n->nnodes; i++)
        if (i != n->self && n->of[i].in_file)
            t->peers[npeers++] = fm_str_z(n->of[i].address);
    for (size_t i = 0; i < g->nsettings; i++)
        t->own[i] = (struct fm_pg_setting){g->settings[i].name, g->settings[i].value};
    if (upstream != FM_GROUP_NOBODY)
        t->up = (struct fm_pg_upstream){fm_str_z(n->of[upstream].address), n->of[upstream].port,
                                        fm_str_z(me->slot)};
    t->s = (struct fm_pg_settings){.name = fm_str_z(me->name),
                                   .data = fm_str_z(n->data),
                                   .listen = fm_str_z(t->listen),
                                   .port = me->port,
                                   .replication = FM_STR("fulmar_replication"),
                                   .peers = t->peers,
                                   .npeers = npeers,
                                   .synchronous = fm_buf_str(&names),
                                   .upstream = upstream == FM_GROUP_NOBODY ? NULL : &t->up,
                                   .delay_ms = me->delay_ms,
                                   .apart = as == DB_AS_APART,
                                   .sheds_log = as == DB_AS_OPEN && n->sheds_next,
                                   .syncs_at_once = fm_pg_syncfs_reports(),
                                   .own = t->own,
                                   .nown = g->nsettings};
    return &t->s;
}

/* -------- operations -------- */

static void begun(struct db_node *n, enum fm_err err, const struct fm_error *e)
{
    n->serial = n->v.serial;
    if (!err)
        return;
    db_server_trouble(n, "it cannot be begun", e->msg);
    n->begin_at = fm_mono_add_ms(fm_mono_now(), STRANGERS_MS);
    db_node_event(n, FM_GROUP_ON_FAILED, n->serial);
}

static bool may_begin(const struct db_node *n)
{
    return !fm_pg_node_is_busy(&n->pg) && !fm_mono_before(fm_mono_now(), n->begin_at);
}

static struct fm_group_report report_of(const struct fm_pg_look *k)
{
    const struct fm_pg_control *x = &k->control;
    bool clean = x->state == FM_PG_SHUT_DOWN;
    /* without the sign it would start as a primary: it was one that recovered from a crash */
    bool standby = (x->state == FM_PG_SHUT_DOWN_IN_RECOVERY && k->is_standby) ||
                   x->state == FM_PG_IN_ARCHIVE_RECOVERY || k->is_copy;
    struct fm_lsn end = standby ? fm_lsn_max(x->least_end, x->checkpoint) : x->checkpoint;
    return (struct fm_group_report){.system_id = x->system_id,
                                    .timeline = k->history.timeline,
                                    .begins = fm_history_origin(&k->history).end,
                                    .recovery = standby,
                                    .clean = clean,
                                    .final = clean ? x->checkpoint : FM_LSN_NONE,
                                    .flush = end,
                                    .replay = end};
}

/* What was seen before says nothing any more. */
static void look_has_failed(struct db_node *n)
{
    unsigned doubled = n->look_failed < LOOK_DOUBLED_MAX ? n->look_failed : LOOK_DOUBLED_MAX;
    n->begin_at = fm_mono_add_ms(fm_mono_now(), (int64_t)LOOK_AGAIN_MS << doubled);
    n->look_failed = (uint8_t)(n->look_failed + (n->look_failed < LOOKS_MAX));
    n->looked = n->data_is_there = false;
    n->found = (struct fm_group_report){.state = 0};
    n->history.h = (struct fm_history){{0}, {NULL, 0}};
}

static void take_look(struct db_node *n)
{
    const struct fm_pg_look *k = &n->pg.look;
    n->looked = true;
    n->look_failed = 0;
    n->loss.looked = n->loss.found = false;
    n->data_is_there = k->found == FM_PG_DATA && k->history.timeline.n > 0;
    n->found = (struct fm_group_report){.state = 0};
    n->history.h = (struct fm_history){{0}, {NULL, 0}};
    if (!n->data_is_there)
        return;
    n->found = report_of(k);
    if (k->history.text.n > sizeof n->history.text)
        return;
    memcpy(n->history.text, k->history.text.p ? k->history.text.p : "", k->history.text.n);
    n->history.h =
        (struct fm_history){k->history.timeline, fm_str(n->history.text, k->history.text.n)};
}

static void over(struct fm_pg_node *pg)
{
    struct db_node *n = fm_container_of(pg, struct db_node, pg);
    const struct fm_pg_outcome *o = &pg->outcome;
    fm_log(o->ok ? FM_LOG_INFO : FM_LOG_WARN, "database_operation", FM_KZ("group", n->group),
           FM_KZ("operation", fm_pg_operation_text(o->operation)), FM_KB("ok", o->ok),
           FM_KZ("way", o->operation == FM_PG_OP_REWIND ? fm_pg_way_text(o->way) : ""),
           FM_KI("took_ms", o->took_ms), FM_KZ("parts", o->parts), FM_KU("copied_mb", o->copied_mb),
           FM_KZ("why", o->why));
    const char *what = fm_pg_operation_text(o->operation);
    /* that its data can be looked at says nothing of why it does not run */
    bool mends =
        o->operation != FM_PG_OP_LOOK || fm_str_starts(fm_str_z(n->trouble), fm_str_z(what));
    if (!o->ok)
        db_server_trouble(n, what, o->why);
    else if (mends)
        n->trouble[0] = 0;
    switch (o->operation) {
    case FM_PG_OP_LOOK:
        if (o->ok)
            take_look(n);
        else
            look_has_failed(n);
        break;
    case FM_PG_OP_CONFIGURE:
        n->as = o->ok ? n->as_next : DB_AS_NOTHING;
        n->upstream = n->upstream_next;
        n->waits = n->waits_next;
        n->guards = n->guards_next;
        n->sheds = n->sheds_next;
        if (!o->ok && !n->up) {
            db_node_event(n, FM_GROUP_ON_FAILED, n->serial);
            return;
        }
        break;
    case FM_PG_OP_PROMOTE:
        n->promoted = o->ok;
        break;
    case FM_PG_OP_RESCUE:
        if (o->ok)
            db_loss_rescued(n);
        else
            n->begin_at = fm_mono_add_ms(fm_mono_now(), 2000);
        break;
    case FM_PG_OP_PRUNE:
        db_loss_pruned(n, o->ok);
        break;
    case FM_PG_OP_MAKE:
    case FM_PG_OP_CLONE:
    case FM_PG_OP_REWIND:
        n->as = DB_AS_NOTHING;
        if (o->ok)
            take_look(n);
        else
            n->looked = false;
        db_node_event(n, o->ok ? FM_GROUP_ON_DONE : FM_GROUP_ON_FAILED, n->serial);
        return;
    }
    db_node_turn(n);
}

enum fm_err db_server_init(struct db_node *n, const char *user, struct fm_error *e)
{
    struct fm_pg_node_options o = {.bin = n->bin, .data = n->data, .user = user};
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s.log", n->data);
    fm_outlog_init(&n->log, path, LOG_MAX);
    return fm_pg_node_init(&n->pg, n->d->c.loop, &o, over, e);
}

void db_server_create(struct db_node *n)
{
    struct told t;
    struct fm_error e = {0};
    if (may_begin(n) && db_secret_make(n))
        begun(n,
              fm_pg_node_make(&n->pg, settings(n, DB_AS_CLOSED, FM_GROUP_NOBODY, &t),
                              FM_STR("fulmar_admin"), fm_str_z(n->admin), fm_str_z(n->replication),
                              MAKE_MS, &e),
              &e);
}

void db_server_clone(struct db_node *n, unsigned from)
{
    struct told t;
    struct fm_error e = {0};
    if (may_begin(n) && from != FM_GROUP_NOBODY && db_secret_is_known(n))
        begun(n,
              fm_pg_node_clone(&n->pg, settings(n, DB_AS_STANDBY, from, &t),
                               fm_str_z(n->replication), CLONE_MS, &e),
              &e);
}

void db_server_rewind(struct db_node *n, unsigned from)
{
    struct told t;
    struct fm_error e = {0};
    if (may_begin(n) && from != FM_GROUP_NOBODY && n->of[from].history.h.timeline.n)
        begun(n,
              fm_pg_node_rewind(&n->pg, settings(n, DB_AS_STANDBY, from, &t),
                                fm_str_z(n->replication), &n->of[from].history.h, true, REWIND_MS,
                                &e),
              &e);
}

void db_server_rescue(struct db_node *n, unsigned from)
{
    struct fm_error e = {0};
    if (may_begin(n) && n->of[from].history.h.timeline.n)
        begun(n,
              fm_pg_node_rescue(&n->pg, &n->of[from].history.h, FM_STR("fulmar_admin"), RESCUE_MS,
                                &e),
              &e);
}

bool db_server_prune(struct db_node *n, struct fm_timeline timeline, struct fm_lsn fork)
{
    bool may = may_begin(n);
    if (may)
        fm_pg_node_prune(&n->pg, timeline, fork, PRUNE_MS);
    return may;
}

/* Of a primary: by the sub-lease. */
static struct fm_ward_times times_of(const struct db_node *n, bool primary)
{
    const struct fm_sublease_cell *s = db_held(n);
    if (!primary)
        return (struct fm_ward_times){FM_MONO_NEVER, FM_MONO_NEVER};
    return (struct fm_ward_times){fm_mono_add_ms(s->until, -(n->lease_ms / TERM_PARTS)),
                                  fm_mono_add_ms(s->until, -(n->lease_ms / KILL_PARTS))};
}

/* Has a primary of now any time? Else its guard would end it at once. */
static bool has_time(const struct db_node *n)
{
    return fm_mono_before(fm_mono_now(), times_of(n, true).term_at);
}

void db_server_promote(struct db_node *n, uint32_t timeline)
{
    if (!n->up || n->promoted || !may_begin(n) || !has_time(n))
        return;
    n->primary = true; /* from here on it has no more time than the sub-lease */
    db_server_renew(n);
    n->serial = n->v.serial;
    fm_pg_node_promote(&n->pg, (struct fm_timeline){timeline}, PROMOTE_MS);
}

void db_server_be(struct db_node *n, enum db_as as, unsigned upstream)
{
    struct told t;
    struct fm_error e = {0};
    uint32_t waits = as == DB_AS_OPEN ? db_credit_natives(n) : 0;
    bool guards = as == DB_AS_OPEN && db_credit_guards(n);
    bool sheds = as == DB_AS_OPEN && n->promoted && !n->settled;
    bool same = n->as == as && n->upstream == upstream && n->waits == waits &&
                n->guards == guards && n->sheds == sheds;
    if (same || !may_begin(n))
        return;
    n->as_next = as;
    n->waits_next = waits;
    n->guards_next = guards;
    n->sheds_next = sheds;
    n->upstream_next = upstream;
    begun(n,
          fm_pg_node_configure(&n->pg, settings(n, as, upstream, &t), fm_str_z(n->replication),
                               CONFIGURE_MS, &e),
          &e);
}

void db_server_look(struct db_node *n)
{
    if (!n->looked && !n->up && !n->strangers && may_begin(n))
        fm_pg_node_look(&n->pg, LOOK_MS);
}

void db_server_look_anew(struct db_node *n)
{
    n->look_failed = 0;
    if (!n->up && !n->looked)
        n->begin_at = FM_MONO_ZERO;
}

bool db_server_is_unreadable(const struct db_node *n)
{
    return n->look_failed >= LOOKS_MAX;
}

/* -------- those of an earlier start -------- */

/* Every process of PostgreSQL is at home in its data directory. */
static bool lives_there(const char *pid, const struct stat *data)
{
    char path[64];
    struct stat at;
    snprintf(path, sizeof path, "/proc/%.16s/cwd", pid);
    return stat(path, &at) == 0 && at.st_dev == data->st_dev && at.st_ino == data->st_ino;
}

/* 0 = not known: it is over, or hidden. Where it works is told to fewer. */
static uint64_t parent_of(int pid)
{
    char path[64], text[STAT_ROOM];
    uint64_t parent = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "re");
    size_t got = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[got] = 0;
    const char *name_ends = strrchr(text, ')');
    struct fm_str rest = fm_str_z(name_ends ? name_ends : "");
    (void)fm_str_cut(rest, ' ', &rest);
    (void)fm_str_cut(rest, ' ', &rest); /* its state */
    return fm_str_u64(fm_str_cut(rest, ' ', &rest), &parent) ? parent : 0;
}

bool db_server_is_others(const struct db_node *n, int pid)
{
    uint64_t parent = pid > 0 ? parent_of(pid) : 0;
    return parent && n->up && n->ward.program > 0 && parent != (uint64_t)n->ward.program;
}

static bool any_strangers(const struct db_node *n)
{
    struct stat data;
    DIR *d = stat(n->data, &data) == 0 ? opendir("/proc") : NULL;
    bool any = false;
    const struct dirent *x;
    while (!any && d && (x = readdir(d)))
        any = x->d_name[0] >= '1' && x->d_name[0] <= '9' && lives_there(x->d_name, &data);
    if (d)
        closedir(d);
    return any;
}

/* Their own guards end them, by the time that they were told. */
void db_server_look_for_strangers(struct db_node *n)
{
    struct fm_mono now = fm_mono_now();
    if (!n->strangers || fm_mono_before(now, n->strangers_at))
        return;
    n->strangers_at = fm_mono_add_ms(now, STRANGERS_MS);
    n->strangers = any_strangers(n);
    if (n->strangers)
        snprintf(n->trouble, sizeof n->trouble, "PostgreSQL of an earlier start still runs");
}

/* -------- the server -------- */

/* A wait for standbys that was cancelled is told its client and the log, and nobody else. */
static void read_log(struct db_node *n)
{
    static const char *const cancelled[] = {
        "canceling wait for synchronous replication due to user request",
        "canceling the wait for synchronous replication and terminating connection"};
    bool said = fm_outlog_said(&n->log, cancelled, FM_COUNT(cancelled));
    if (said && n->primary)
        db_credit_cancelled(n);
    fm_outlog_turn(&n->log);
}

void db_server_renew(struct db_node *n)
{
    struct fm_ward_times t = times_of(n, n->primary);
    db_server_look_for_strangers(n);
    read_log(n);
    if (!n->up || n->ending || (t.kill_at.ns == n->ward.times.kill_at.ns))
        return;
    /* what was stopped, or has run out, is not moved back: it ends by the time that it has */
    if (!n->primary || fm_mono_before(n->ward.times.kill_at, t.kill_at) ||
        fm_mono_is_never(n->ward.times.kill_at))
        fm_ward_set(&n->ward, &t);
}

/* Why it ended by itself, in its own words: those of this start alone. */
static void take_last_words(struct db_node *n)
{
    char text[TAIL_ROOM], line[FM_WORDS_ROOM];
    (void)fm_outlog_tail(&n->log, text, sizeof text);
    bool says = fm_words_end(text, line);
    db_server_trouble(n, "PostgreSQL ended by itself", says ? line : "it does not say why");
}

static void server_over(struct fm_ward *w, const struct fm_ward_end *end)
{
    struct db_node *n = fm_container_of(w, struct db_node, ward);
    fm_log(n->ending ? FM_LOG_INFO : FM_LOG_ERROR, "database_ended", FM_KZ("group", n->group),
           FM_KB("told", n->ending), FM_KB("killed", end->forced), FM_KB("reaped", end->reaped),
           FM_KI("status", end->status));
    n->up = false;
    n->expired = n->primary && !n->ending && !fm_mono_before(fm_mono_now(), w->times.term_at);
    n->strangers = !end->reaped;
    n->looked = n->primary = n->promoted = false;
    db_ask_end(n);
    if (n->d->stopped)
        return;
    if (!n->ending)
        take_last_words(n);
    bool standby = n->v.action == FM_GROUP_DO_START_STANDBY;
    bool starting = standby || n->v.action == FM_GROUP_DO_START_PRIMARY;
    bool waits = starting && !n->ending && db_listen_ended(n) && standby;
    if (starting && !n->ending && !n->expired && !waits)
        db_node_event(n, FM_GROUP_ON_FAILED, n->v.serial);
    else
        db_node_turn(n);
}

static bool is_standby(enum db_as as)
{
    return as == DB_AS_STANDBY || as == DB_AS_APART;
}

/* A primary that does not gives way to who could be one; a standby waits. */
static bool gets_its_addresses(struct db_node *n, enum db_as as)
{
    struct fm_error e = {0};
    enum fm_err err = db_listen_probe(n, &e);
    if (err && is_standby(as))
        db_server_trouble(n, "it cannot be started", e.msg);
    else if (err)
        begun(n, err, &e);
    return err == FM_ERR_OK;
}

/* This process's environment, for PostgreSQL's commands of archives, but for what libpq takes from
 * it (PostgreSQL's manual, 34.15): the receiver of the log would prefer a password of whoever
 * started us to its own. One block, to be freed; NULL without memory. */
static char **environment(void)
{
    size_t n = 0, have = 0;
    while (environ[have])
        have++;
    char **kept = calloc(have + 1, sizeof *kept);
    for (size_t i = 0; i < have && kept; i++)
        if (strncmp(environ[i], "PG", 2) != 0)
            kept[n++] = environ[i];
    return kept;
}

void db_server_start(struct db_node *n, enum db_as as, unsigned upstream)
{
    struct fm_child_options c;
    struct fm_error e = {0};
    if (n->up || n->strangers || !may_begin(n) || (!is_standby(as) && !has_time(n)))
        return;
    if (n->as != as || n->upstream != upstream) {
        db_server_be(n, as, upstream);
        return;
    }
    if (!db_listen_is_due(n) || !gets_its_addresses(n, as))
        return;
    if (fm_pg_node_start(&n->pg, &c, &e)) {
        begun(n, e.code, &e);
        return;
    }
    n->primary = !is_standby(as);
    n->ending = n->promoted = n->expired = false;
    (void)fm_outlog_open(&n->log); /* without one it runs all the same */
    char **envp = environment();
    struct fm_ward_options o = {.argv = c.argv,
                                .envp = envp,
                                .uid = c.user ? c.user->uid : geteuid(),
                                .out_fd = n->log.fd,
                                .term_signo = fm_pg_stop_signal(FM_PG_FAST),
                                .times = times_of(n, n->primary)};
    db_ask_end(n);
    enum fm_err err = envp ? fm_ward_start(&n->ward, n->d->c.loop, &o, server_over, &e)
                           : fm_error_set(&e, FM_ERR_MEMORY, "no memory for its environment");
    free(envp);
    n->up = err == FM_ERR_OK;
    fm_log(FM_LOG_INFO, "database_started", FM_KZ("group", n->group),
           FM_KZ("as", is_standby(as) ? "standby" : "primary"), FM_KB("ok", n->up));
    if (err)
        begun(n, err, &e);
}

void db_server_end(struct db_node *n, enum fm_pg_stop how, int64_t within_ms)
{
    bool again = n->ending && n->ended_how == how;
    if (!n->up || again)
        return;
    n->ending = true;
    n->ended_how = how;
    db_credit_end(n); /* the server would wait for it to have all that was vouched for */
    fm_ward_end(&n->ward, fm_pg_stop_signal(how), within_ms);
}

void db_server_free(struct db_node *n)
{
    if (n->up && !fm_ward_discard(&n->ward))
        fm_log(FM_LOG_ERROR, "database_not_reaped", FM_KZ("group", n->group));
    fm_pg_node_deinit(&n->pg);
    fm_outlog_close(&n->log);
}
