/* fulmar events and fulmar why: what happened, by whom, and on which evidence. */
#include "cli/events.h"

#include "base/assert.h"
#include "base/time.h"
#include "cli/agents.h"
#include "cli/call.h"
#include "cli/show.h"

#include <stdio.h>

enum { AGAIN_MS = 1000 };

/* -------- one event -------- */

static bool says(const json_t *event, struct fm_str part)
{
    uint64_t cell;
    if (fm_str_eqz(part, fm_show_text(event, "context")) ||
        fm_str_eqz(part, fm_show_text(event, "region")))
        return true;
    struct fm_str rest = fm_str_z(fm_show_text(event, "object"));
    while (rest.n) /* "west/core/10.0.1.41:9001" */
        if (fm_str_eq(part, fm_str_cut(rest, '/', &rest)))
            return true;
    const json_t *v = json_object_get(event, "cell");
    return json_is_integer(v) && fm_str_u64(part, &cell) &&
           (json_int_t)cell == json_integer_value(v);
}

bool fm_event_is_about(const json_t *event, const char *what)
{
    FM_ASSERT(event && what);
    struct fm_str rest = fm_str_z(what);
    while (rest.n) {
        struct fm_str part = fm_str_cut(rest, '/', &rest);
        if (!says(event, part))
            return false;
    }
    return true;
}

void fm_event_print(const json_t *e)
{
    char at[FM_SHOW_CLOCK], n[FM_SHOW_NUMBER];
    const char *region = fm_show_text(e, "region"), *context = fm_show_text(e, "context"),
               *from = fm_show_text(e, "from"), *to = fm_show_text(e, "to"),
               *what = fm_show_text(e, "what"), *evidence = fm_show_text(e, "evidence"),
               *text = fm_show_text(e, "text");
    if (!text[0])
        text = fm_show_text(e, "why");  /* which is the name of it where there is a text */
    if (fm_show_text(e, "object")[0]) { /* says which region, too */
        region = fm_show_text(e, "object");
        context = "";
    }
    printf("%s  %s%s%s%s%s", fm_show_clock(fm_show_text(e, "at"), at), what, what[0] ? "  " : "",
           region, region[0] && context[0] ? "/" : "", context);
    if (json_is_integer(json_object_get(e, "cell")))
        printf("/%s", fm_show_number_or_dash(e, "cell", n));
    fputs(region[0] || context[0] ? "  " : "", stdout);
    if (from[0] || to[0])
        printf("%s -> %s%s", fm_show_or_dash(from), fm_show_or_dash(to), text[0] ? ": " : "");
    fputs(text, stdout);
    if (evidence[0])
        printf(" (%s)", evidence);
    putchar('\n');
}

json_t *fm_events_of(const json_t *status)
{
    const json_t *lists[] = {json_object_get(status, "events"),
                             json_object_get(json_object_get(status, "authority"), "events")};
    size_t at[FM_COUNT(lists)] = {0};
    json_t *out = json_array();
    for (;;) {
        size_t first = FM_COUNT(lists);
        for (size_t k = 0; k < FM_COUNT(lists); k++) {
            const json_t *mine = json_array_get(lists[k], at[k]);
            const json_t *best =
                first < FM_COUNT(lists) ? json_array_get(lists[first], at[first]) : NULL;
            if (mine && (!best || strcmp(fm_show_text(mine, "at"), fm_show_text(best, "at")) < 0))
                first = k;
        }
        if (first == FM_COUNT(lists))
            return out;
        FM_ASSERT(at[first] < json_array_size(lists[first]));
        json_array_append(out, json_array_get(lists[first], at[first]++));
    }
}

/* -------- fulmar events -------- */

struct tail {
    const struct fm_args *args;
    struct fm_agents *agents;
    char behind[FM_RFC3339_LEN]; /* what is not later was shown; "" = nothing was */
    bool shown;
};

static void narrow(const struct tail *t, json_t *events)
{
    FM_ASSERT(t->args->limit > 0 && json_is_array(events));
    for (size_t i = json_array_size(events); t->behind[0] && i-- > 0;)
        if (strcmp(fm_show_text(json_array_get(events, i), "at"), t->behind) <= 0)
            json_array_remove(events, i);
    while (!t->shown && json_array_size(events) > t->args->limit)
        json_array_remove(events, 0);
}

static void print_each(const struct fm_args *a, json_t *events)
{
    size_t i;
    json_t *e;
    json_array_foreach(events, i, e)
    {
        if (a->output != FM_OUTPUT_TABLE) {
            fm_print_document(e, a->output);
        } else {
            fm_show_tame(e);
            fm_event_print(e);
        }
    }
}

static void take(struct tail *t, const json_t *status)
{
    json_t *events = fm_events_of(status);
    narrow(t, events);
    size_t n = json_array_size(events);
    FM_ASSERT(t->shown || n <= t->args->limit);
    if (n)
        snprintf(t->behind, sizeof t->behind, "%s",
                 fm_show_text(json_array_get(events, n - 1), "at"));
    t->shown = true;
    if (t->args->follow || t->args->output == FM_OUTPUT_TABLE) {
        print_each(t->args, events);
    } else {
        json_t *doc = json_pack("{s:s,s:O?,s:O?,s:O}", "schema", "fulmar.events/1", "service",
                                json_object_get(status, "service"), "host",
                                json_object_get(status, "host"), "events", events);
        fm_print_document(doc, t->args->output);
        json_decref(doc);
    }
    json_decref(events);
}

static int more(struct tail *t)
{
    json_t *status;
    int code = fm_agents_status(t->agents, &status);
    if (!code)
        take(t, status);
    json_decref(status);
    return fflush(stdout) == 0 ? code
                               : FM_EXIT_FAILED; /* who follows reads it now, or nobody does */
}

int fm_cmd_events(const struct fm_args *a)
{
    struct tail t = {.args = a};
    int code = fm_agents_open(&t.agents, a, "events", FM_WHOM_PAST);
    if (code)
        return code;
    if (a->since_text)
        fm_wall_format(t.behind, fm_wall_now_ns() - a->since_ms * FM_NS_PER_MS);
    do {
        code = more(&t);
        if (a->follow)
            (void)fm_call_pause(AGAIN_MS);
        /* who follows waits for daemons to come back; a full disk does not */
    } while (a->follow && (!code || code == FM_EXIT_UNREACHABLE));
    fm_agents_close(t.agents);
    return code;
}
