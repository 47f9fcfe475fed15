/* The doors of one group without a gate, for the system tests and the benchmark: who holds what and
 * what the nodes are is said on stdin, line by line, and `ok` is answered to each.
 *
 *   door_tool READ-WRITE READ-ONLY WORKERS HOLD-MS
 *
 *   grant EPOCH MS           region 0, where this is, holds the group so long
 *   elsewhere EPOCH          another region does
 *   quiet MS                 new connections are held for a planned move
 *   stop EPOCH               the gate stops, for good
 *   node N ROLE EPOCH LAG AT ROLE: away, primary, standby; AT: address:port
 *   status                   answered with a line of JSON
 *   drain */
#include "proxy/door.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void node(unsigned n, const char *role, uint64_t epoch, int64_t lag_ms, const char *at)
{
    if (n >= FM_DOOR_NODES_MAX || fm_addr_parse(&nodes.at[n], fm_str_z(at)))
        die(at);
    uint8_t is = strcmp(role, "primary") == 0   ? FM_DOOR_PRIMARY
                 : strcmp(role, "standby") == 0 ? FM_DOOR_STANDBY
                                                : FM_DOOR_AWAY;
    nodes.node[n] = (struct fm_door_node){
        .role = is, .epoch = {epoch}, .lag_ms = lag_ms, .seen = fm_mono_now()};
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
        node(n, role, epoch, ms, at);
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

int main(int argc, char **argv)
{
    struct fm_error e = {0};
    if (argc != 5)
        die("usage: door_tool READ-WRITE READ-ONLY WORKERS HOLD-MS");
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
    for (unsigned k = 0; k < FM_DOOR_KIND_COUNT; k++)
        if (fm_addr_parse(&c.door[0].at[k], fm_str_z(argv[1 + k])))
            die(argv[1 + k]);
    doors = fm_doors_new(&c, &e);
    if (!doors)
        die(e.msg);
    char line[256];
    while (fgets(line, sizeof line, stdin)) {
        if (!obey(line))
            die(line);
        answer(line);
        fflush(stdout);
    }
    fm_doors_free(doors);
    fm_seats_free(seats);
    return 0;
}
