/* The node half of src/pg as a program, for tests/system/test_pg_node.py.
 *
 *   pg_node_tool BIN DATA USER VERB...           USER `-`: who runs this
 *     look
 *     make PORT
 *     configure PORT [UPSTREAM-PORT SLOT]
 *     clone PORT UPSTREAM-PORT SLOT
 *     rewind PORT UPSTREAM-PORT SLOT TIMELINE HISTORY-FILE or-clone|only   (`-`: no file)
 *     promote TIMELINE                            0: the next one
 *     serve                                       SIGTERM: fast, SIGINT: immediate
 *     follows TIMELINE HISTORY-FILE SYSTEM-ID     look, and say how it stands to that history
 *     role                                        the statement that makes the role that replicates
 *
 * Lines `name=value` on stdout; 0 where it was done. TIMEOUT_MS in the environment is the deadline.
 */
#include "base/file.h"
#include "pg/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define ADMIN_PASSWORD       "the admin's \"secret\""
#define REPLICATION_PASSWORD "repl:\\'secret'"

static struct fm_pg_node node;
static struct fm_loop loop;
static bool ok;

static void say_lsn(const char *name, struct fm_lsn l)
{
    char text[FM_LSN_ROOM];
    printf("%s=%s\n", name, fm_lsn_write(text, l));
}

static void say_look(const struct fm_pg_look *l)
{
    static const char *const found[] = {"nothing", "unfinished", "foreign", "data"};
    printf("found=%s\n", found[l->found]);
    if (l->found != FM_PG_DATA || l->control.system_id == 0)
        return;
    printf("version=%u\nsystem_id=%llu\nstate=%s\ntimeline=%u\nchecksums=%d\nlogical=%d\n",
           l->version, (unsigned long long)l->control.system_id, fm_pg_state_text(l->control.state),
           fm_pg_control_timeline(&l->control).n, l->control.checksums, l->control.logical);
    say_lsn("checkpoint", l->control.checkpoint);
    say_lsn("redo", l->control.redo);
    say_lsn("least_end", l->control.least_end);
    printf("segment=%u\nlock=%d\nstandby=%d\ncopy=%d\n", l->control.segment_bytes, l->has_lock_file,
           l->is_standby, l->is_copy);
    struct fm_past origin = fm_history_origin(&l->history);
    printf("origin=%u\n", origin.timeline.n);
    say_lsn("origin_end", origin.end);
}

static void over(struct fm_pg_node *n)
{
    ok = n->outcome.ok;
    printf("operation=%s\nok=%d\nway=%s\ntook_ms=%lld\nwhy=%s\n",
           fm_pg_operation_text(n->outcome.operation), ok, fm_pg_way_text(n->outcome.way),
           (long long)n->outcome.took_ms, n->outcome.why);
    for (const char *line = n->outcome.output; *line;) {
        size_t length = strcspn(line, "\n");
        printf("said=%.*s\n", (int)length, line);
        line += length + (line[length] != '\0');
    }
    if (ok && n->outcome.operation != FM_PG_OP_PROMOTE)
        say_look(&n->look);
    fm_loop_stop(&loop);
}

static int give_up(const struct fm_error *e)
{
    printf("refused=%s\n", e->msg);
    return 2;
}

/* -------- the server -------- */

static struct fm_child server;

static void server_exited(struct fm_child *c, int status)
{
    (void)c;
    printf("status=%d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    fm_loop_stop(&loop);
}

static void got(struct fm_signals *s, int signo)
{
    (void)s;
    if (signo == SIGTERM || signo == SIGINT)
        (void)kill(server.pid, fm_pg_stop_signal(signo == SIGTERM ? FM_PG_FAST : FM_PG_IMMEDIATE));
}

static int serve(void)
{
    struct fm_signals signals;
    struct fm_child_options o;
    struct fm_error e;
    if (fm_pg_node_start(&node, &o, &e))
        return give_up(&e);
    o.out_fd = STDOUT_FILENO;
    o.err_fd = STDERR_FILENO;
    if (fm_signals_open(&signals, &loop, got, &e) ||
        fm_child_start(&server, &loop, &o, server_exited, &e))
        return give_up(&e);
    printf("pid=%d\n", (int)server.pid);
    fflush(stdout);
    fm_loop_run(&loop);
    fm_signals_close(&signals);
    return 0;
}

/* -------- histories -------- */

static struct fm_history history;

static bool read_history(const char *timeline, const char *path)
{
    char *text = NULL;
    size_t n = 0;
    uint64_t t;
    if (!fm_str_u64(fm_str_z(timeline), &t) || t > UINT32_MAX)
        return false;
    if (strcmp(path, "-") != 0 && fm_file_read(path, 65536, &text, &n, NULL))
        return false;
    history = (struct fm_history){{(uint32_t)t}, fm_str(text, n)};
    return fm_history_is_valid(&history);
}

static int follows(const char *system_id)
{
    uint64_t id;
    if (!ok || node.look.found != FM_PG_DATA || !fm_str_u64(fm_str_z(system_id), &id))
        return 2;
    printf("relation=%s\n", fm_pg_relation_text(fm_pg_control_relation(
                                &node.look.control, &node.look.history, id, &history)));
    struct fm_past fork = fm_history_fork(&node.look.history, &history);
    printf("fork_timeline=%u\n", fork.timeline.n);
    say_lsn("fork", fork.end);
    return 0;
}

/* -------- operations -------- */

static uint16_t port_of(const char *text)
{
    uint64_t port = 0;
    return text && fm_str_u64(fm_str_z(text), &port) && port <= UINT16_MAX ? (uint16_t)port : 0;
}

static enum fm_err begin(char **arg, int n, int64_t ms, struct fm_error *e)
{
    static const struct fm_str peers[] = {FM_STR_INIT("127.0.0.1"), FM_STR_INIT("localhost")};
    static const struct fm_pg_setting own[] = {{FM_STR_INIT("shared_buffers"), FM_STR_INIT("16MB")},
                                               {FM_STR_INIT("my.text"), FM_STR_INIT("it's a \\")}};
    struct fm_pg_upstream up = {.host = FM_STR("127.0.0.1")};
    struct fm_pg_settings s = {.name = FM_STR("a-node.example"),
                               .listen = FM_STR("127.0.0.1"),
                               .replication = FM_STR("fulmar_replication"),
                               .peers = peers,
                               .npeers = FM_COUNT(peers),
                               .own = own,
                               .nown = FM_COUNT(own)};
    struct fm_str password = FM_STR(REPLICATION_PASSWORD);
    s.port = n > 1 ? port_of(arg[1]) : 0;
    if (n > 3) {
        up.port = port_of(arg[2]);
        up.slot = fm_str_z(arg[3]);
        s.upstream = &up;
    }
    if (strcmp(arg[0], "make") == 0)
        return fm_pg_node_make(&node, &s, FM_STR("admin"), FM_STR(ADMIN_PASSWORD), password, ms, e);
    if (strcmp(arg[0], "configure") == 0)
        return fm_pg_node_configure(&node, &s, password, ms, e);
    if (strcmp(arg[0], "clone") == 0)
        return fm_pg_node_clone(&node, &s, password, ms, e);
    if (strcmp(arg[0], "rewind") == 0 && n == 7 && read_history(arg[4], arg[5]))
        return fm_pg_node_rewind(&node, &s, password, &history, strcmp(arg[6], "or-clone") == 0, ms,
                                 e);
    return fm_error_set(e, FM_ERR_INVALID, "no such verb, or not such arguments");
}

static void progress(struct fm_timer *t)
{
    static int last = -1;
    int percent = fm_pg_node_percent(&node);
    if (percent != last && percent >= 0)
        printf("percent=%d\n", percent);
    last = percent;
    fm_loop_timer_in_ms(&loop, t, 10);
}

static int operate(char **arg, int n)
{
    struct fm_error e;
    struct fm_timer every;
    const char *text = getenv("TIMEOUT_MS");
    uint64_t ms = 60000, timeline = 0;
    enum fm_err err = FM_ERR_OK;
    if (text && !fm_str_u64(fm_str_z(text), &ms))
        return 2;
    bool asks = strcmp(arg[0], "follows") == 0 && n == 4 && read_history(arg[1], arg[2]);
    if (strcmp(arg[0], "look") == 0 || asks)
        fm_pg_node_look(&node, (int64_t)ms);
    else if (strcmp(arg[0], "promote") == 0 && n == 2 && fm_str_u64(fm_str_z(arg[1]), &timeline))
        fm_pg_node_promote(&node, (struct fm_timeline){(uint32_t)timeline}, (int64_t)ms);
    else
        err = begin(arg, n, (int64_t)ms, &e);
    if (err)
        return give_up(&e);
    fm_timer_init(&every, progress);
    fm_loop_timer_in_ms(&loop, &every, 10);
    fm_loop_run(&loop);
    fm_loop_cancel(&loop, &every);
    return asks ? follows(arg[3]) : !ok;
}

static int role(void)
{
    char text[2048];
    struct fm_buf b = fm_buf(text, sizeof text);
    struct fm_error e;
    if (fm_pg_replication_role_write(&b, FM_STR("fulmar_replication"), FM_STR(REPLICATION_PASSWORD),
                                     &e))
        return give_up(&e);
    printf("%.*s\n", FM_STR_ARG(fm_buf_str(&b)));
    return 0;
}

int main(int argc, char **argv)
{
    struct fm_error e;
    if (argc == 2 && strcmp(argv[1], "role") == 0)
        return role();
    if (argc < 5)
        return 2;
    struct fm_pg_node_options o = {argv[1], argv[2], strcmp(argv[3], "-") != 0 ? argv[3] : NULL};
    fm_signals_block();
    if (fm_loop_init(&loop, NULL, &e) || fm_pg_node_init(&node, &loop, &o, over, &e))
        return give_up(&e);
    int code = strcmp(argv[4], "serve") == 0 ? serve() : operate(argv + 4, argc - 4);
    fm_pg_node_deinit(&node);
    fm_loop_deinit(&loop);
    free((void *)(uintptr_t)history.text.p);
    return code;
}
