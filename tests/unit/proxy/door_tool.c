/* The doors of one group without a gate, for the system tests and the benchmark: who holds what and
 * what the nodes are is said on stdin, line by line, and `ok` is answered to each.
 *
 *   door_tool READ-WRITE READ-ONLY WORKERS HOLD-MS [PEER-PORT CERTIFICATES HOST]
 *
 * With the last three it also takes what another one passes on, as the agent of a node's host does:
 * by mutual TLS with the files peers-ca.pem, HOST.pem and HOST.key of that folder, as HOST.
 *
 *   grant EPOCH MS           region 0, where this is, holds the group so long
 *   elsewhere EPOCH          another region does
 *   quiet MS                 new connections are held for a planned move
 *   stop EPOCH               the gate stops, for good
 *   node N ROLE EPOCH LAG AT ROLE: away, primary, standby; AT: address:port
 *   near N ROLE EPOCH LAG AT the same, on another host: AT is the peer port there
 *   status                   answered with a line of JSON
 *   drain */
#include "http/pages.h"
#include "proxy/door.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 16 * 1024, BLOCKS = 1024, PEERS_MAX = 1024 };

static struct fm_pool pool;
static struct fm_loop loop;
static struct fm_watch orders;
static struct fm_listener port;
static struct fm_pages pages;
static struct fm_tls *client, *server;
static struct fm_doors *doors;
static struct fm_seats_context *context;
static struct fm_sublease_cell cell = {.holder = FM_NOBODY};
static struct fm_door_nodes nodes;

static void die(const char *what)
{
    fprintf(stderr, "door_tool: %s\n", what);
    exit(1);
}

static void publish_cell(void)
{
    fm_seats_publish_sublease(context, 0, &cell);
    fm_doors_authority_changed(doors);
}

static void hold_cell(uint64_t epoch, uint8_t region, int64_t ms)
{
    if (epoch != cell.known.n)
        cell.quiet_until = FM_MONO_ZERO; /* that move is over */
    cell.known.n = epoch;
    cell.holder = region;
    cell.until = ms ? fm_mono_add_ms(fm_mono_now(), ms) : FM_MONO_ZERO;
    if (ms)
        cell.epoch.n = epoch;
    publish_cell();
}

static void node(unsigned n, const char *role, uint64_t epoch, int64_t lag_ms, const char *at,
                 uint8_t distance)
{
    if (n >= FM_DOOR_NODES_MAX || fm_addr_parse(&nodes.at[n], fm_str_z(at)))
        die(at);
    uint8_t is = strcmp(role, "primary") == 0   ? FM_DOOR_PRIMARY
                 : strcmp(role, "standby") == 0 ? FM_DOOR_STANDBY
                                                : FM_DOOR_AWAY;
    nodes.node[n] = (struct fm_door_node){.role = is,
                                          .distance = distance,
                                          .epoch = {epoch},
                                          .lag_ms = lag_ms,
                                          .seen = fm_mono_now()};
    nodes.n = n >= nodes.n ? n + 1 : nodes.n;
    fm_doors_publish(doors, 0, &nodes);
}

static bool obey(const char *line)
{
    uint64_t epoch;
    int64_t ms;
    unsigned n;
    char role[16], at[64];
    if (sscanf(line, "grant %" SCNu64 " %" SCNd64, &epoch, &ms) == 2) {
        hold_cell(epoch, 0, ms);
    } else if (sscanf(line, "elsewhere %" SCNu64, &epoch) == 1) {
        hold_cell(epoch, 1, 0);
    } else if (sscanf(line, "quiet %" SCNd64, &ms) == 1) {
        cell.quiet_until = fm_mono_add_ms(fm_mono_now(), ms);
        publish_cell();
    } else if (sscanf(line, "stop %" SCNu64, &epoch) == 1) {
        cell.stopped.n = epoch;
        cell.until = FM_MONO_ZERO;
        publish_cell();
    } else if (sscanf(line, "node %u %15s %" SCNu64 " %" SCNd64 " %63s", &n, role, &epoch, &ms,
                      at) == 5) {
        node(n, role, epoch, ms, at, FM_DOOR_HERE);
    } else if (sscanf(line, "near %u %15s %" SCNu64 " %" SCNd64 " %63s", &n, role, &epoch, &ms,
                      at) == 5) {
        node(n, role, epoch, ms, at, FM_DOOR_NEAR);
    } else if (strcmp(line, "drain\n") == 0) {
        fm_doors_drain(doors);
    } else {
        return strcmp(line, "status\n") == 0;
    }
    return true;
}

static void answer(const char *line)
{
    if (strcmp(line, "status\n") != 0) {
        puts("ok");
        return;
    }
    json_t *o = fm_doors_json(doors);
    char *text = json_dumps(o, JSON_COMPACT);
    puts(text ? text : "null");
    free(text);
    json_decref(o);
}

/* -------- the loop -------- */

/* Lines as they come; the end of them is the end of this. */
static void hear(struct fm_watch *w, uint32_t events)
{
    static char text[4096];
    static size_t have;
    (void)events;
    ssize_t n = read(w->fd, text + have, sizeof text - 1 - have);
    if (n == 0)
        fm_loop_stop(&loop);
    have += n > 0 ? (size_t)n : 0;
    text[have] = 0;
    for (char *end; (end = memchr(text, '\n', have));) {
        size_t line = (size_t)(end - text) + 1;
        char one[sizeof text];
        memcpy(one, text, line);
        one[line] = 0;
        if (!obey(one))
            die(one);
        answer(one);
        fflush(stdout);
        have -= line;
        memmove(text, text + line, have + 1);
    }
}

static void write_door(const struct fm_page_request *q, struct fm_page_answer *a)
{
    struct fm_tunnel by;
    struct fm_str group;
    struct fm_sock_parcel from;
    bool good = fm_tunnel_read(q->path, q->query, &group, &by) &&
                fm_doors_find(doors, group) == 0 && q->peer && fm_page_take(q, &from);
    a->status = 404;
    if (good)
        fm_doors_receive(doors, 0, &by, &from);
}

static const struct fm_page table[] = {{.path = "/groups/", .write = write_door}, {.path = NULL}};

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    (void)ln;
    fm_pages_accept(&pages, fd, from);
}

static struct fm_tls *side(enum fm_tls_side which, const char *folder, const char *host)
{
    char path[3][PATH_MAX];
    struct fm_tls *tls;
    struct fm_error e;
    snprintf(path[0], PATH_MAX, "%s/peers-ca.pem", folder);
    snprintf(path[1], PATH_MAX, "%s/%s.pem", folder, host);
    snprintf(path[2], PATH_MAX, "%s/%s.key", folder, host);
    if (fm_tls_new(&tls, which, &(struct fm_tls_files){path[0], path[1], path[2]}, &e))
        die(e.msg);
    return tls;
}

static void open_port(const char *at, const char *folder, const char *host)
{
    struct fm_addr addr;
    struct fm_error e;
    client = side(FM_TLS_CLIENT, folder, host);
    server = side(FM_TLS_SERVER, folder, host);
    fm_doors_peers(doors, 0, client);
    if (fm_addr_parse(&addr, fm_str_z(at)) || fm_pages_init(&pages, &loop, table, NULL, &e) ||
        fm_listener_open(&port, &loop, &addr, 0, accepted, &e))
        die(at);
    pages.server.config.tls = server;
    pages.conns_max = PEERS_MAX;
}

static void close_port(void)
{
    if (!server)
        return;
    fm_listener_close(&port);
    fm_pages_close_all(&pages);
    fm_loop_turn(&loop, 0);
    fm_pages_deinit(&pages);
    fm_tls_unref(client);
    fm_tls_unref(server);
}

int main(int argc, char **argv)
{
    struct fm_error e = {0};
    if (argc != 5 && argc != 8)
        die("usage: door_tool READ-WRITE READ-ONLY WORKERS HOLD-MS [PEER-PORT CERTIFICATES HOST]");
    struct fm_seats *seats = fm_seats_new(NULL, NULL, NULL);
    if (!seats || fm_seats_context(seats, FM_STR("ledger"), 1, &context, &e))
        die(e.msg);
    struct fm_doors_config c = {.nworkers = (unsigned)strtoul(argv[3], NULL, 10),
                                .connections_max = 1000,
                                .startup_ms = 10000,
                                .connect_ms = 2000,
                                .ndoors = 1};
    c.door[0] = (struct fm_door_config){
        .name = "ledger",
        .seats = context,
        .policy = {.hold_ms = strtol(argv[4], NULL, 10), .read_lag_ms = 60000},
        .listens = {true, true}};
    for (unsigned i = 0; i < FM_DOOR_NODES_MAX; i++)
        snprintf(c.door[0].host[i], sizeof c.door[0].host[i], "db-%u", i + 1);
    for (unsigned k = 0; k < FM_DOOR_KIND_COUNT; k++)
        if (fm_addr_parse(&c.door[0].at[k], fm_str_z(argv[1 + k])))
            die(argv[1 + k]);
    fm_pool_init(&pool, BLOCK, BLOCKS);
    doors = fm_doors_new(&c, &e);
    if (!doors || fm_loop_init(&loop, &pool, &e))
        die(e.msg);
    if (argc == 8)
        open_port(argv[5], argv[6], argv[7]);
    orders.ready = hear;
    (void)fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
    if (fm_loop_watch(&loop, &orders, STDIN_FILENO, EPOLLIN, &e))
        die(e.msg);
    fm_loop_run(&loop);
    fm_loop_unwatch(&loop, &orders);
    close_port();
    fm_doors_free(doors);
    fm_loop_deinit(&loop);
    fm_pool_deinit(&pool);
    fm_seats_free(seats);
    return 0;
}
