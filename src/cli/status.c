/* fulmar status: what an edge or an agent sees, from its /status document. */
#include "base/assert.h"
#include "cli/cli.h"
#include "cli/holders.h"
#include "conf/conf.h"
#include "http/fetch.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TEXT_MAX = 512 };

/* -------- whom to ask -------- */

static void first_error(const struct fm_conf_report *r, char out[TEXT_MAX])
{
    const struct fm_conf_finding *f = r->finding;
    while (f < r->finding + r->n && f->severity != FM_CONF_ERROR)
        f++;
    if (f == r->finding + r->n)
        snprintf(out, TEXT_MAX, "the configuration cannot be read");
    else
        snprintf(out, TEXT_MAX, "%s:%u:%u: %s", f->pos.file, f->pos.line, f->pos.col, f->what);
}

static bool local_socket(const struct fm_conf *c, const char *host, const char *role,
                         struct fm_addr *to)
{
    char dir[PATH_MAX], path[PATH_MAX + 16];
    int h = fm_conf_find_host(c, fm_str_z(host));
    FM_ASSERT(h < (int)c->nhosts);
    struct fm_str region = h >= 0 ? c->regions[c->hosts[h].region].name : FM_STR("");
    if (fm_conf_state_dir(c, fm_str_z(host), region, dir, sizeof dir, NULL))
        return false;
    snprintf(path, sizeof path, "%s/%s.sock", dir, role);
    return fm_addr_unix(to, fm_str_z(path)) == FM_ERR_OK && access(path, F_OK) == 0;
}

/* Its configuration cannot be loaded, but a daemon may go on with an earlier one: then its status
 * is wanted most of all. */
static int address_in_spite_of(const struct fm_args *a, const struct fm_conf_report *r,
                               struct fm_addr *to)
{
    char host[256], what[TEXT_MAX];
    struct fm_conf *c = a->server ? NULL : fm_conf_load_state(a->config);
    bool found = false;
    first_error(r, what);
    if (c) {
        fm_cli_this_host(c, a, host, sizeof host);
        found = local_socket(c, host, "edge", to) || local_socket(c, host, "agent", to);
        fm_conf_free(c);
    }
    if (!found)
        return fm_print_error(a, "status", FM_EXIT_CONFIG, what,
                              "ask a daemon by its admin address: --server 127.0.0.1:7104");
    fprintf(stderr, "fulmar status: %s\n", what);
    return FM_EXIT_OK;
}

/* By the configuration: a local socket, or the admin address of a listed host. */
static int address_by_config(const struct fm_args *a, struct fm_addr *to)
{
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *c = fm_conf_load(a->config, &r);
    if (!c) {
        int broken = address_in_spite_of(a, &r, to);
        fm_conf_report_deinit(&r);
        return broken;
    }
    int code = FM_EXIT_OK;
    if (a->server) {
        int h = fm_conf_find_host(c, fm_str_z(a->server));
        if (h < 0)
            code = fm_usage("--server: `%s` is neither a host of %s nor ADDRESS:PORT", a->server,
                            a->config);
        else if (fm_addr_ip(to, c->hosts[h].admin.host, c->hosts[h].admin.port))
            code = fm_usage("the admin address of `%s` is not an IP address", a->server);
    } else {
        char host[256];
        fm_cli_this_host(c, a, host, sizeof host);
        if (!local_socket(c, host, "edge", to) && !local_socket(c, host, "agent", to)) {
            char dir[PATH_MAX];
            if (fm_conf_state_dir(c, fm_str_z(host), FM_STR(""), dir, sizeof dir, NULL))
                snprintf(dir, sizeof dir, "its state folder");
            char what[TEXT_MAX + PATH_MAX], remedy[TEXT_MAX];
            snprintf(what, sizeof what, "no edge or agent of host `%s` runs here (no socket in %s)",
                     host, dir);
            snprintf(remedy, sizeof remedy,
                     "start one (fulmar edge -c %s), or name another host with --host or --server",
                     a->config);
            code = fm_print_error(a, "status", FM_EXIT_UNREACHABLE, what, remedy);
        }
    }
    fm_conf_free(c);
    fm_conf_report_deinit(&r);
    return code;
}

/* -------- the table -------- */

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static long long number_of(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

static const char *paint(const struct fm_args *a, const char *health)
{
    if (!a->color)
        return "";
    if (strcmp(health, "up") == 0)
        return "\033[32m";
    return strcmp(health, "down") == 0 ? "\033[31m" : "\033[33m";
}

/* 14:08:42 of an RFC 3339 time. */
static const char *clock_of(const char *rfc3339, char out[16])
{
    snprintf(out, 16, "%.8s", strlen(rfc3339) > 19 ? rfc3339 + 11 : "-");
    return out;
}

static void print_regions(const struct fm_args *a, const json_t *doc, const char *only)
{
    printf("%-12s %-7s %-14s %-7s %6s  %-9s %9s %11s  %s\n", "REGION", "INTENT", "CONTEXT",
           "HEALTH", "SHARE", "SINCE", "IN-FLIGHT", "SENT", "WHY");
    size_t i, k;
    json_t *region, *context;
    json_array_foreach(json_object_get(doc, "regions"), i, region)
    {
        json_array_foreach(json_object_get(region, "contexts"), k, context)
        {
            const char *rn = text_of(region, "region"), *cn = text_of(context, "context");
            if (only && strcmp(only, rn) != 0 && strcmp(only, cn) != 0)
                continue;
            const char *health = text_of(context, "health");
            char since[16];
            bool probes = strcmp(text_of(context, "reason"), "probes-fail") == 0;
            printf("%-12s %-7s %-14s %s%-7s%s %5.1f%%  %-9s %9lld %11lld  %s%s%s\n", rn,
                   text_of(region, "intent"), cn, paint(a, health), health,
                   a->color ? "\033[0m" : "", (double)number_of(context, "share_permille") / 10.0,
                   clock_of(text_of(context, "since"), since), number_of(context, "in_flight"),
                   number_of(context, "sent_total"), text_of(context, "why"), probes ? ": " : "",
                   probes ? text_of(context, "probe") : "");
        }
    }
}

static void print_checks(const struct fm_args *a, const json_t *doc)
{
    json_t *checks = json_object_get(json_object_get(doc, "health"), "checks");
    if (!json_object_size(checks))
        return;
    printf("\n%-20s %-8s %-8s %10s  %s\n", "CHECK", "TYPE", "STATE", "LATENCY", "LAST ERROR");
    const char *name;
    json_t *c;
    json_object_foreach(checks, name, c)
    {
        const char *state = text_of(c, "state");
        const char *like = strcmp(state, "good") == 0   ? "up"
                           : strcmp(state, "warn") != 0 ? "down"
                                                        : "";
        char latency[32] = "-";
        if (json_is_number(json_object_get(c, "latency_ms")))
            snprintf(latency, sizeof latency, "%.1f ms",
                     json_number_value(json_object_get(c, "latency_ms")));
        printf("%-20s %-8s %s%-8s%s %10s  %s\n", name, text_of(c, "type"), paint(a, like), state,
               a->color ? "\033[0m" : "", latency, text_of(c, "last_error"));
    }
}

static void print_events(const json_t *doc)
{
    json_t *events = json_object_get(doc, "events");
    size_t n = json_array_size(events), first = n > 8 ? n - 8 : 0;
    if (n)
        puts("\nLast events:");
    for (size_t i = first; i < n; i++) {
        const json_t *e = json_array_get(events, i);
        char at[16];
        printf("  %s  %s/%s  %s -> %s: %s (%s)\n", clock_of(text_of(e, "at"), at),
               text_of(e, "region"), text_of(e, "context"), text_of(e, "from"), text_of(e, "to"),
               text_of(e, "why"), text_of(e, "evidence"));
    }
}

static void print_table(const struct fm_args *a, const json_t *doc, const char *only)
{
    bool proxy = json_object_get(doc, "regions") != NULL;
    printf("service %s, %s %s, version %s", text_of(doc, "service"), text_of(doc, "role"),
           text_of(doc, "host"), text_of(doc, "version"));
    if (proxy)
        printf(", generation %lld, %lld connections", number_of(doc, "generation"),
               number_of(doc, "connections"));
    puts("");
    fm_print_view(json_object_get(doc, "view"));
    const json_t *config = json_object_get(doc, "config");
    const char *reload = text_of(config, "reload_error");
    if (reload[0])
        printf("%sTHE LAST RELOAD WAS REFUSED; the configuration of %s goes on:%s\n%s",
               a->color ? "\033[31m" : "", text_of(config, "loaded_at"), a->color ? "\033[0m" : "",
               reload);
    if (proxy) {
        puts("");
        print_regions(a, doc, only);
    }
    fm_print_holders(json_object_get(doc, "view"), only);
    print_checks(a, doc);
    print_events(doc);
}

/* -------- the command -------- */

static bool all_well(const json_t *doc)
{
    size_t i, k;
    json_t *region, *context;
    json_array_foreach(json_object_get(doc, "regions"), i, region)
    {
        json_array_foreach(json_object_get(region, "contexts"), k, context)
        {
            if (strcmp(text_of(context, "health"), "up") != 0)
                return false;
        }
    }
    const json_t *health = json_object_get(doc, "health");
    return !health || json_is_true(json_object_get(health, "healthy"));
}

static bool knows(const json_t *doc, const char *name)
{
    size_t i, k;
    json_t *region, *context;
    json_array_foreach(json_object_get(doc, "regions"), i, region)
    {
        if (strcmp(name, text_of(region, "region")) == 0)
            return true;
        json_array_foreach(json_object_get(region, "contexts"), k, context)
        {
            if (strcmp(name, text_of(context, "context")) == 0)
                return true;
        }
    }
    return false;
}

static int show(const struct fm_args *a, const struct fm_addr *to)
{
    FM_ASSERT(to->len > 0 && a->timeout_ms >= 0);
    struct fm_fetched got;
    struct fm_error e = {0};
    if (fm_fetch(to, "/status", a->timeout_ms, &got, &e)) {
        char text[FM_ADDR_TEXT_MAX], what[TEXT_MAX];
        fm_addr_format(to, text);
        snprintf(what, sizeof what, "%s does not answer: %s", text, e.msg);
        return fm_print_error(a, "status", FM_EXIT_UNREACHABLE, what, NULL);
    }
    json_t *doc = got.status == 200 ? json_loadb(got.body, got.n, 0, NULL) : NULL;
    free(got.body);
    if (!doc) {
        char what[TEXT_MAX];
        snprintf(what, sizeof what, "the answer (status %u) is no status document", got.status);
        return fm_print_error(a, "status", FM_EXIT_FAILED, what, NULL);
    }
    const char *only = a->nargs ? a->arg[0] : NULL;
    int code = FM_EXIT_OK;
    if (only && !knows(doc, only))
        code = fm_usage("there is no region or context `%s` in service %s", only,
                        text_of(doc, "service"));
    else if (a->output == FM_OUTPUT_TABLE)
        print_table(a, doc, only);
    else
        fm_print_document(doc, a->output);
    if (!code && a->check && !all_well(doc))
        code = FM_EXIT_DIFFERS;
    json_decref(doc);
    return code;
}

int fm_cmd_status(const struct fm_args *a)
{
    struct fm_addr to = {.len = 0};
    if (!a->server || fm_addr_parse(&to, fm_str_z(a->server))) {
        int code = address_by_config(a, &to);
        if (code)
            return code;
    }
    for (;;) {
        if (a->watch && a->output == FM_OUTPUT_TABLE && isatty(STDOUT_FILENO))
            fputs("\033[H\033[2J", stdout);
        int code = show(a, &to);
        if (!a->watch || code == FM_EXIT_USAGE)
            return code;
        if (fflush(stdout) != 0)
            return FM_EXIT_FAILED; /* nobody reads it */
        sleep(1);
    }
}
