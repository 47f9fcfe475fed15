/* The command line of bench-load: see the header. */
#include "load_options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "usage: bench-load [OPTION...] [HOST:]PORT\n"
    "  --rate N             requests per second, open loop; without it: saturated\n"
    "  --connections N      opened at the start (64); --connections-max N, opened when all are "
    "busy\n"
    "  --duration-ms N      measured (5000), after --warm-up-ms N (1000)\n"
    "  --timeout-ms N       of a request, from its scheduled time (5000)\n"
    "  --backlog N          requests that may wait for a connection (100000)\n"
    "  --method M --path P --host H --body N\n"
    "  --expect N           bytes that an answer must have (0: any)\n"
    "  --id                 a unique X-Id per request, checked in the answer\n"
    "  --key                a unique Idempotency-Key per request\n"
    "  --run N              prefix of the ids\n"
    "  --app PORT           be an application there as well, in the same loop; several are "
    "allowed:\n"
    "                       says {\"event\": \"serving\"} and begins after a line of input\n"
    "  --app-body N         bytes of its answers (128)\n"
    "  --log FILE           one line per request: id scheduled_ns sent_ns done_ns outcome status "
    "origin\n";

enum opt {
    OPT_RATE = 256,
    OPT_CONNECTIONS,
    OPT_CONNECTIONS_MAX,
    OPT_DURATION,
    OPT_WARM_UP,
    OPT_TIMEOUT,
    OPT_BACKLOG,
    OPT_METHOD,
    OPT_PATH,
    OPT_HOST,
    OPT_BODY,
    OPT_EXPECT,
    OPT_ID,
    OPT_KEY,
    OPT_RUN,
    OPT_LOG,
    OPT_APP,
    OPT_APP_BODY,
    OPT_HELP,
};

static const struct option long_options[] = {
    {"rate", required_argument, NULL, OPT_RATE},
    {"connections", required_argument, NULL, OPT_CONNECTIONS},
    {"connections-max", required_argument, NULL, OPT_CONNECTIONS_MAX},
    {"duration-ms", required_argument, NULL, OPT_DURATION},
    {"warm-up-ms", required_argument, NULL, OPT_WARM_UP},
    {"timeout-ms", required_argument, NULL, OPT_TIMEOUT},
    {"backlog", required_argument, NULL, OPT_BACKLOG},
    {"method", required_argument, NULL, OPT_METHOD},
    {"path", required_argument, NULL, OPT_PATH},
    {"host", required_argument, NULL, OPT_HOST},
    {"body", required_argument, NULL, OPT_BODY},
    {"expect", required_argument, NULL, OPT_EXPECT},
    {"id", no_argument, NULL, OPT_ID},
    {"key", no_argument, NULL, OPT_KEY},
    {"run", required_argument, NULL, OPT_RUN},
    {"log", required_argument, NULL, OPT_LOG},
    {"app", required_argument, NULL, OPT_APP},
    {"app-body", required_argument, NULL, OPT_APP_BODY},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static int64_t milliseconds(const char *option, const char *text)
{
    return (int64_t)bench_number(option, text, 0, 86400000) * BENCH_NS_PER_MS;
}

static void add_app(struct options *o, const char *port)
{
    if (o->apps == APPS_MAX)
        bench_die("too many ports of apps");
    o->app[o->apps++] = (uint16_t)bench_number("app", port, 1, UINT16_MAX);
}

static void set_option(struct options *o, int opt, const char *v)
{
    switch ((enum opt)opt) {
    case OPT_RATE:
        o->rate = bench_number("rate", v, 1, 10000000);
        break;
    case OPT_CONNECTIONS:
        o->connections = (unsigned)bench_number("connections", v, 1, 100000);
        break;
    case OPT_CONNECTIONS_MAX:
        o->connections_max = (unsigned)bench_number("connections-max", v, 1, 100000);
        break;
    case OPT_DURATION:
        o->duration_ns = milliseconds("duration-ms", v);
        break;
    case OPT_WARM_UP:
        o->warm_up_ns = milliseconds("warm-up-ms", v);
        break;
    case OPT_TIMEOUT:
        o->timeout_ns = milliseconds("timeout-ms", v);
        break;
    case OPT_BACKLOG:
        o->backlog_max = bench_number("backlog", v, 0, 100000000);
        break;
    case OPT_METHOD:
        o->method = v;
        break;
    case OPT_PATH:
        o->path = v;
        break;
    case OPT_HOST:
        o->host = v;
        break;
    case OPT_BODY:
        o->body = bench_number("body", v, 0, 1 << 20);
        break;
    case OPT_EXPECT:
        o->expect = bench_number("expect", v, 0, UINT32_MAX);
        break;
    case OPT_ID:
        o->ids = true;
        break;
    case OPT_KEY:
        o->keys = true;
        break;
    case OPT_RUN:
        o->run = (uint32_t)bench_number("run", v, 0, UINT32_MAX);
        break;
    case OPT_LOG:
        o->log = v;
        break;
    case OPT_APP:
        add_app(o, v);
        break;
    case OPT_APP_BODY:
        o->app_body = bench_number("app-body", v, 0, 2048);
        break;
    case OPT_HELP:
        fputs(usage, stdout);
        exit(0);
    }
}

struct options options_parse(int argc, char **argv)
{
    struct options o = {
        .method = "GET",
        .path = "/",
        .host = "bench.example",
        .connections = 64,
        .backlog_max = 100000,
        .warm_up_ns = BENCH_NS_PER_S,
        .duration_ns = 5 * BENCH_NS_PER_S,
        .timeout_ns = 5 * BENCH_NS_PER_S,
        .app_body = 128,
    };
    int opt;
    while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (opt == '?')
            bench_die("unknown option; see --help");
        set_option(&o, opt, optarg);
    }
    if (optind + 1 != argc)
        bench_die("one target is needed; see --help");
    o.target = bench_address(argv[optind]);
    if (o.connections_max < o.connections)
        o.connections_max = o.connections;
    if (o.apps > 0 && o.body > 0)
        bench_die("the app of --app reads no bodies");
    return o;
}
