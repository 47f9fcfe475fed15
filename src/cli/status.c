/* fulmar status: what an edge or an agent sees, from its /status document. */
#include "base/assert.h"
#include "cli/agents.h"
#include "cli/authority.h"
#include "cli/events.h"
#include "cli/hint.h"
#include "cli/holders.h"
#include "cli/show.h"
#include "conf/conf.h"

#include <stdio.h>

enum { EVENTS_MAX = 8, INTENT_ROOM = 24 };

/* -------- the table -------- */

static const char *paint(const struct fm_args *a, const char *health)
{
    if (!a->color)
        return "";
    if (strcmp(health, "up") == 0)
        return "\033[32m";
    return strcmp(health, "down") == 0 ? "\033[31m" : "\033[33m";
}

/* Of the region for this context; with what it is left of its traffic where that is something. */
static const char *intent_of(const json_t *region, const json_t *context, char out[INTENT_ROOM])
{
    const char *intent = fm_show_text(context, "intent");
    long long serve = fm_show_number(context, "serve_permille");
    if (!intent[0]) /* an older daemon */
        intent = fm_show_text(region, "intent");
    if (strcmp(intent, "drain") != 0 || serve <= 0)
        return intent;
    snprintf(out, INTENT_ROOM, "%s %lld%%", intent, (1000 - serve) / 10);
    return out;
}

static void print_regions(const struct fm_args *a, const json_t *doc, const char *only)
{
    printf("%-12s %-9s %-14s %-7s %6s  %-9s %9s %11s  %s\n", "REGION", "INTENT", "CONTEXT",
           "HEALTH", "SHARE", "SINCE", "IN-FLIGHT", "SENT", "WHY");
    size_t i, k;
    json_t *region, *context;
    json_array_foreach(json_object_get(doc, "regions"), i, region)
    {
        json_array_foreach(json_object_get(region, "contexts"), k, context)
        {
            const char *rn = fm_show_text(region, "region"), *cn = fm_show_text(context, "context");
            if (only && strcmp(only, rn) != 0 && strcmp(only, cn) != 0)
                continue;
            const char *health = fm_show_text(context, "health");
            char since[FM_SHOW_CLOCK], intent[INTENT_ROOM];
            const char *probe = fm_show_text(context, "probe");
            bool probes = strcmp(fm_show_text(context, "reason"), "probes-fail") == 0 &&
                          strcmp(probe, "ok") != 0; /* the newest one, which says nothing of why */
            printf("%-12s %-9s %-14s %s%-7s%s %5.1f%%  %-9s %9lld %11lld  %s%s%s\n", rn,
                   intent_of(region, context, intent), cn, paint(a, health), health,
                   a->color ? "\033[0m" : "",
                   (double)fm_show_number(context, "share_permille") / 10.0,
                   fm_show_clock(fm_show_text(context, "since"), since),
                   fm_show_number(context, "in_flight"), fm_show_number(context, "sent_total"),
                   fm_show_text(context, "why"), probes ? ": " : "", probes ? probe : "");
        }
    }
}

/* Endpoints that get nothing new, as this process does it. */
static void print_drained(const json_t *doc)
{
    size_t i, k;
    json_t *region, *e;
    json_array_foreach(json_object_get(doc, "regions"), i, region)
    {
        json_array_foreach(json_object_get(region, "endpoints"), k, e)
        {
            const char *host = fm_show_text(e, "host");
            if (strcmp(fm_show_text(e, "intent"), "drain") == 0)
                printf("drained here: %s/%s/%s%s%s\n", fm_show_text(region, "region"),
                       fm_show_text(e, "pool"), fm_show_text(e, "address"), host[0] ? " of " : "",
                       host);
        }
    }
    if (strcmp(fm_show_text(doc, "intent"), "drain") == 0)
        printf("drained: this edge is not ready\n");
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
        const char *state = fm_show_text(c, "state");
        const char *like = strcmp(state, "good") == 0   ? "up"
                           : strcmp(state, "warn") != 0 ? "down"
                                                        : "";
        char latency[32] = "-";
        if (json_is_number(json_object_get(c, "latency_ms")))
            snprintf(latency, sizeof latency, "%.1f ms",
                     json_number_value(json_object_get(c, "latency_ms")));
        printf("%-20s %-8s %s%-8s%s %10s  %s\n", name, fm_show_text(c, "type"), paint(a, like),
               state, a->color ? "\033[0m" : "", latency, fm_show_text(c, "last_error"));
    }
}

/* Contexts that the region of an agent cannot serve, as it sees it, and what it lacks. */
static void print_lacks(const struct fm_args *a, const json_t *doc, const char *only)
{
    json_t *contexts = json_object_get(json_object_get(doc, "health"), "contexts"), *c;
    const char *name, *red = a->color ? "\033[31m" : "", *plain = a->color ? "\033[0m" : "";
    json_object_foreach(contexts, name, c)
    {
        if (json_is_false(json_object_get(c, "capable")) && (!only || strcmp(only, name) == 0))
            printf("\n%s%s cannot be served here:%s %s\n", red, name, plain,
                   fm_show_text(c, "why"));
    }
}

/* The newest of what it saw and of what it did about the right to write. */
static void print_events(const json_t *doc)
{
    json_t *events = fm_events_of(doc);
    size_t n = json_array_size(events);
    FM_ASSERT(json_is_array(events));
    if (n)
        puts("\nLast events:");
    for (size_t i = n > EVENTS_MAX ? n - EVENTS_MAX : 0; i < n; i++) {
        fputs("  ", stdout);
        fm_event_print(json_array_get(events, i));
    }
    json_decref(events);
}

/* Where systems downstream are not told who may write what. */
static void print_webhook(const struct fm_args *a, const json_t *webhook)
{
    const char *why = fm_show_text(webhook, "why");
    char since[FM_SHOW_CLOCK];
    if (why[0])
        printf("\n%sauthority-webhook:%s %s is not told since %s: %s\n", a->color ? "\033[31m" : "",
               a->color ? "\033[0m" : "", fm_show_text(webhook, "to"),
               fm_show_clock(fm_show_text(webhook, "failing_since"), since), why);
}

/* What hosts agree upon, where this one's file says something else, or cannot be used with it. */
static void print_shared(const json_t *shared)
{
    const json_t *agreed = json_object_get(shared, "agreed");
    const char *trouble = fm_show_text(shared, "trouble");
    if (json_is_true(json_object_get(shared, "differs")))
        fm_hint_print(stdout,
                      "its file differs from what hosts agree upon (generation %lld, by %s): see "
                      "`fulmar config diff`\n",
                      fm_show_number(agreed, "generation"), fm_show_text(agreed, "by"));
    if (trouble[0])
        printf("IT DOES NOT GO BY WHAT HOSTS AGREE UPON: %s\n", trouble);
}

static void print_table(const struct fm_args *a, const json_t *doc, const struct fm_conf *conf,
                        const char *only)
{
    bool proxy = json_object_get(doc, "regions") != NULL;
    printf("service %s, %s %s, version %s", fm_show_text(doc, "service"), fm_show_text(doc, "role"),
           fm_show_text(doc, "host"), fm_show_text(doc, "version"));
    long long generation = fm_cli_authority_generation(doc);
    if (proxy || generation >= 0) /* that of a proxy's own plans, where there is no other */
        printf(", generation %lld",
               generation >= 0 ? generation : fm_show_number(doc, "generation"));
    if (proxy)
        printf(", %lld connections", fm_show_number(doc, "connections"));
    puts("");
    fm_print_view(json_object_get(doc, "view"));
    const json_t *config = json_object_get(doc, "config");
    const char *reload = fm_show_text(config, "reload_error");
    const char *warnings = fm_show_text(config, "reload_warnings");
    print_shared(json_object_get(config, "shared"));
    if (warnings[0])
        printf("The last reload warned:\n%s", warnings);
    if (reload[0])
        printf("%sTHE LAST RELOAD WAS REFUSED; the configuration of %s goes on:%s\n%s",
               a->color ? "\033[31m" : "", fm_show_text(config, "loaded_at"),
               a->color ? "\033[0m" : "", reload);
    if (proxy) {
        puts("");
        print_regions(a, doc, only);
        print_drained(doc);
    }
    if (json_object_get(doc, "authority")) /* it knows more than the view that it hands out */
        fm_cli_authority_print(a, doc, conf, only);
    else
        fm_print_holders(json_object_get(doc, "view"), only);
    print_webhook(a, json_object_get(doc, "authority_webhook"));
    print_checks(a, doc);
    print_lacks(a, doc, only);
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
            if (strcmp(fm_show_text(context, "health"), "up") != 0)
                return false;
        }
    }
    const json_t *health = json_object_get(doc, "health");
    if (fm_show_text(json_object_get(doc, "config"), "reload_error")[0])
        return false;
    return (!health || json_is_true(json_object_get(health, "healthy"))) &&
           fm_cli_authority_is_well(doc);
}

static bool knows(const json_t *doc, const char *name)
{
    size_t i, k;
    json_t *region, *context;
    json_array_foreach(json_object_get(doc, "regions"), i, region)
    {
        if (strcmp(name, fm_show_text(region, "region")) == 0)
            return true;
        json_array_foreach(json_object_get(region, "contexts"), k, context)
        {
            if (strcmp(name, fm_show_text(context, "context")) == 0)
                return true;
        }
    }
    return fm_cli_authority_knows(doc, name);
}

static bool is_named(const struct fm_conf *c, const char *name)
{
    return c && (fm_conf_find_region(c, fm_str_z(name)) >= 0 ||
                 fm_conf_find_context(c, fm_str_z(name)) >= 0);
}

static int show(const struct fm_args *a, struct fm_agents *g)
{
    json_t *doc;
    const char *only = a->nargs ? a->arg[0] : NULL;
    int code = fm_agents_status(g, &doc);
    if (code)
        return code;
    if (only && !knows(doc, only) && !is_named(fm_agents_conf(g), only))
        code = fm_usage("there is no region or context `%s` in service %s", only,
                        fm_show_text(doc, "service"));
    else if (a->output == FM_OUTPUT_TABLE)
        print_table(a, doc, fm_agents_conf(g), only);
    else
        fm_print_document(doc, a->output);
    if (!code && a->check && !all_well(doc))
        code = FM_EXIT_DIFFERS;
    json_decref(doc);
    return code;
}

/* Regions, contexts and hosts share one namespace: a host is asked, the others are looked for. */
static bool is_host(const struct fm_args *a)
{
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *conf = a->nargs && !a->server ? fm_conf_load(a->config, &r) : NULL;
    bool found = conf && fm_conf_find_host(conf, fm_str_z(a->arg[0])) >= 0;
    fm_conf_free(conf);
    fm_conf_report_deinit(&r);
    return found;
}

int fm_cmd_status(const struct fm_args *a)
{
    struct fm_args whom = *a;
    if (is_host(a)) {
        whom.server = a->arg[0];
        whom.nargs = 0;
    }
    return fm_agents_show(&whom, "status", FM_WHOM_LOOK, show);
}
