/* The live view: see the header. The alternate screen is used, so that the terminal is as before
 * when it ends. */
#include "demo/view.h"

#include "base/assert.h"
#include "base/metrics.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *fm_demo_story_name(enum fm_demo_story s)
{
    static const char *const names[] = {[FM_DEMO_BANK] = "bank",
                                        [FM_DEMO_READ_ONLY_SITE] = "read-only-site",
                                        [FM_DEMO_COLD_STANDBY] = "cold-standby"};
    FM_ASSERT(s < FM_COUNT(names));
    return names[s];
}

void fm_demo_view_init(struct fm_view_state *v, const struct fm_demo_options *o)
{
    FM_ASSERT(!(o->live && o->quiet)); /* a screen is not drawn into a document */
    memset(v, 0, sizeof *v);
    v->options = *o;
    v->started_ns = fm_mono_now().ns;
    v->screen = o->live;
    if (v->screen)
        fputs("\033[?1049h\033[?25l", stdout);
}

void fm_demo_view_end(struct fm_view_state *v)
{
    if (v->screen) {
        fputs("\033[?25h\033[?1049l", stdout);
        fflush(stdout);
    }
    v->screen = false;
}

static void add_line(struct fm_view_state *v, int64_t at_ns, const char *text)
{
    if (v->nlines == FM_VIEW_LINES) {
        memmove(v->line[0], v->line[1], sizeof v->line - sizeof v->line[0]);
        v->nlines--;
    }
    FM_ASSERT(v->nlines < FM_VIEW_LINES);
    char *line = v->line[v->nlines++];
    snprintf(line, FM_VIEW_LINE_MAX, "%8.3fs  %s", (double)(at_ns - v->started_ns) / 1e9, text);
    if (!v->screen && !v->options.quiet) {
        puts(line);
        fflush(stdout);
    }
}

void fm_demo_view_say(struct fm_view_state *v, const char *fmt, ...)
{
    char text[FM_VIEW_LINE_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    add_line(v, fm_mono_now().ns, text);
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static uint64_t number_of(const json_t *o, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(o, key));
}

static void take_events(struct fm_view_state *v, const json_t *status)
{
    size_t i;
    json_t *e;
    json_array_foreach(json_object_get(status, "events"), i, e)
    {
        if (number_of(e, "number") <= v->events_seen)
            continue;
        v->events_seen = number_of(e, "number");
        char text[FM_VIEW_LINE_MAX];
        snprintf(text, sizeof text, "edge: %s/%s %s -> %s: %s", text_of(e, "region"),
                 text_of(e, "context"), text_of(e, "from"), text_of(e, "to"), text_of(e, "why"));
        /* when it happened, not when it was seen: the edge's clock is this machine's */
        add_line(v, (int64_t)number_of(e, "boot_ns"), text);
    }
}

/* Who holds what, where that is another than before. */
static void take_holders(struct fm_view_state *v, const json_t *status)
{
    const json_t *contexts = json_object_get(json_object_get(status, "view"), "contexts");
    const char *name;
    json_t *context;
    size_t i = 0;
    json_object_foreach((json_t *)(uintptr_t)contexts, name, context)
    {
        char text[FM_HOLDERS_TEXT_MAX];
        if (i == FM_VIEW_EXCLUSIVE)
            break;
        struct fm_view_holders *h = &v->holders[i++];
        fm_holders_text(status, name, text);
        if (strcmp(h->text, text) == 0)
            continue;
        fm_demo_view_say(v, "%s is held by %s", name, text);
        snprintf(h->context, sizeof h->context, "%s", name);
        snprintf(h->text, sizeof h->text, "%s", text);
    }
}

/* -------- the screen -------- */

static const char *colour(const struct fm_view_state *v, const char *health)
{
    if (!v->options.color)
        return "";
    return strcmp(health, "up") == 0     ? "\033[32m"
           : strcmp(health, "down") == 0 ? "\033[31m"
                                         : "\033[33m";
}

static const char *plain(const struct fm_view_state *v)
{
    return v->options.color ? "\033[0m" : "";
}

static void draw_region(struct fm_view_state *v, size_t r, const json_t *region, double seconds)
{
    uint64_t sent = 0, errors = 0, flying = 0;
    FM_ASSERT(r < FM_VIEW_REGIONS && v->screen);
    if (json_is_true(json_object_get(region, "witness"))) {
        printf("  %-8s votes, and serves nothing\033[K\n", text_of(region, "region"));
        return;
    }
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(region, "contexts"), i, c)
    {
        const json_t *o = json_object_get(c, "outcomes");
        sent += number_of(c, "sent_total");
        flying += number_of(c, "in_flight");
        errors += number_of(o, "error") + number_of(o, "connect") + number_of(o, "reset") +
                  number_of(o, "timeout");
    }
    double rate = seconds > 0 ? (double)(sent - v->sent[r]) / seconds : 0;
    double bad = seconds > 0 ? (double)(errors - v->errors[r]) / seconds : 0;
    v->sent[r] = sent;
    v->errors[r] = errors;
    printf("  %-8s %-7s %8.0f %9.0f %10llu   ", text_of(region, "region"),
           text_of(region, "intent"), rate, bad, (unsigned long long)flying);
    json_array_foreach(json_object_get(region, "contexts"), i, c)
    {
        const char *health = text_of(c, "health");
        printf("%s %s%s%s  ", text_of(c, "context"), colour(v, health), health, plain(v));
    }
    fputs("\033[K\n", stdout);
}

/* Clients over the last second: successes, failures, median and p99. */
static void draw_clients(const struct fm_load *l)
{
    static struct fm_hist_view h; /* only this thread draws */
    memset(&h, 0, sizeof h);
    const struct fm_load_record *r = fm_load_records(l);
    size_t n = fm_load_count(l), failed = 0, all_failed = 0;
    FM_ASSERT(r);
    int64_t since = fm_mono_now().ns - FM_NS_PER_S;
    for (size_t i = 0; i < n; i++) {
        uint8_t o = atomic_load_explicit(&r[i].outcome, memory_order_acquire);
        if (o == FM_LOAD_PENDING)
            continue;
        all_failed += o != FM_LOAD_OK;
        if (r[i].done_ns < since)
            continue;
        failed += o != FM_LOAD_OK;
        if (o == FM_LOAD_OK) {
            h.bucket[fm_hist_index((uint64_t)(r[i].done_ns - r[i].due_ns) / 1000)]++;
            h.count++;
        }
    }
    printf("  clients  %8llu answers/s   p50 %6.2f ms   p99 %7.2f ms   failed %zu/s, %zu in "
           "all\033[K\n",
           (unsigned long long)h.count, (double)fm_hist_view_quantile(&h, 500) / 1000,
           (double)fm_hist_view_quantile(&h, 990) / 1000, failed, all_failed);
}

void fm_demo_view_draw(struct fm_view_state *v, const json_t *status, const struct fm_load *l)
{
    if (status) {
        take_events(v, status);
        take_holders(v, status);
    }
    if (!v->screen)
        return;
    int64_t now = fm_mono_now().ns;
    double seconds = v->drawn_ns ? (double)(now - v->drawn_ns) / 1e9 : 0;
    v->drawn_ns = now;
    printf("\033[H  fulmar demo %s   %u regions, %u requests/s through one edge   %5.1fs\033[K\n"
           "  %s\033[K\n\033[K\n"
           "  %-8s %-7s %8s %9s %10s   %s\033[K\n",
           fm_demo_story_name(v->options.story), v->options.regions, v->options.rate,
           (double)(now - v->started_ns) / 1e9, v->title, "REGION", "INTENT", "REQ/S", "ERRORS/S",
           "IN-FLIGHT", "HEALTH BY CONTEXT");
    size_t i;
    json_t *region;
    json_array_foreach(json_object_get(status, "regions"), i, region)
    {
        if (i < FM_VIEW_REGIONS)
            draw_region(v, i, region, seconds);
    }
    fputs("\033[K\n", stdout);
    for (i = 0; i < FM_VIEW_EXCLUSIVE && v->holders[i].context[0]; i++)
        printf("  %-8s held by %s\033[K\n", v->holders[i].context, v->holders[i].text);
    fputs("\033[K\n", stdout);
    if (l)
        draw_clients(l);
    fputs("\033[K\n", stdout);
    for (unsigned k = 0; k < v->nlines; k++)
        printf("  %s\033[K\n", v->line[k]);
    fputs("\033[J", stdout);
    fflush(stdout);
}
