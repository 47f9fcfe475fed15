/* fulmar events and fulmar why: what happened, by whom, and on which evidence. */
#include "cli/events.h"

#include "base/assert.h"
#include "base/time.h"
#include "cli/agents.h"
#include "cli/call.h"
#include "cli/order.h"
#include "cli/show.h"

#include <stdio.h>

enum { POLL_MS = 10000, AGAIN_MS = 1000 };

/* -------- one event -------- */

static bool says(const json_t *event, struct fm_str part)
{
    static const char *const names[] = {"context", "region", "host", "op", "ref"};
    uint64_t cell;
    for (size_t i = 0; i < FM_COUNT(names); i++)
        if (fm_str_eqz(part, fm_show_text(event, names[i])))
            return true;
    const json_t *v = json_object_get(event, "cell");
    return json_is_integer(v) && fm_str_u64(part, &cell) &&
           (json_int_t)cell == json_integer_value(v);
}

bool fm_event_is_about(const json_t *event, const char *what)
{
    struct fm_str rest = fm_str_z(what);
    if (rest.n && says(event, rest))
        return true; /* a reference may have slashes in it */
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
               *evidence = fm_show_text(e, "evidence"), *by = fm_show_text(e, "by"),
               *text = fm_show_text(e, "text"); /* and `why` is its name; or `why` is the text */
    printf("%s  %s%s%s", fm_show_clock(fm_show_text(e, "at"), at), region,
           region[0] && context[0] ? "/" : "", context);
    if (json_is_integer(json_object_get(e, "cell")))
        printf("/%s", fm_show_number_or_dash(e, "cell", n));
    fputs(region[0] || context[0] ? "  " : "", stdout);
    if (from[0] || to[0])
        printf("%s -> %s: ", fm_show_or_dash(from), fm_show_or_dash(to));
    fputs(text[0] ? text : fm_show_text(e, "why"), stdout);
    if (by[0])
        printf(", by %s", by);
    if (evidence[0])
        printf(" (%s)", evidence);
    putchar('\n');
}

/* -------- fulmar events -------- */

struct tail {
    const struct fm_args *args;
    struct fm_agents *agents;
    char from[160];              /* whose numbers these are; "" = nobody's yet */
    json_int_t after;            /* the number of the last event that was taken */
    char behind[FM_RFC3339_LEN]; /* ... and its time; "" = the beginning */
    bool fresh;                  /* nothing was taken from this one: the time says what is new */
    bool shown;
};

static void narrow(const struct tail *t, json_t *events)
{
    for (size_t i = json_array_size(events); t->fresh && t->behind[0] && i-- > 0;)
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

/* An agent has numbers of its own: with another one it begins anew, behind what was shown last. */
static int take(struct tail *t, const struct fm_reply *r)
{
    json_t *events = json_object_get(r->doc, "events");
    size_t n = json_array_size(events);
    FM_ASSERT(r->from && r->from[0]);
    if (strcmp(t->from, r->from) != 0) {
        bool asked_in_vain = t->after > 0;
        snprintf(t->from, sizeof t->from, "%s", r->from);
        t->after = 0;
        t->fresh = true;
        if (asked_in_vain)
            return FM_EXIT_OK;
    }
    json_t *last = n ? json_incref(json_array_get(events, n - 1)) : NULL;
    narrow(t, events);
    if (t->args->follow || t->args->output == FM_OUTPUT_TABLE)
        print_each(t->args, events);
    else
        fm_print_document(r->doc, t->args->output);
    t->fresh = false;
    t->shown = true;
    if (last) {
        t->after = json_integer_value(json_object_get(last, "number"));
        snprintf(t->behind, sizeof t->behind, "%s", fm_show_text(last, "at"));
    }
    json_decref(last);
    return fflush(stdout) == 0 ? FM_EXIT_OK : FM_EXIT_FAILED;
}

static bool is_events(const struct fm_reply *r)
{
    return r->status == 200 && strcmp(fm_show_text(r->doc, "schema"), "fulmar.events/1") == 0;
}

/* One answer. */
static int more(struct tail *t)
{
    char target[96];
    struct fm_reply r = {0};
    int64_t wait = t->shown ? POLL_MS : 0;
    snprintf(target, sizeof target, "/events?after=%lld&wait=%lld", (long long)t->after,
             (long long)wait);
    enum fm_agents_end end = fm_agents_get(t->agents, target, wait, &r);
    int code = FM_EXIT_OK;
    if (end == FM_AGENTS_ANSWERED && is_events(&r))
        code = take(t, &r);
    else if (end != FM_AGENTS_ANSWERED)
        code = fm_agents_fail(t->agents, end);
    else
        code = fm_order_unwanted(t->args, "events", &r);
    json_decref(r.doc);
    return code;
}

int fm_cmd_events(const struct fm_args *a)
{
    struct tail t = {.args = a};
    int code = fm_agents_open(&t.agents, a, "events", FM_AGENTS_ORDER);
    if (code)
        return code;
    if (a->since_text)
        fm_wall_format(t.behind, fm_wall_now_ns() - a->since_ms * FM_NS_PER_MS);
    do {
        code = more(&t);
        /* who follows waits for daemons to come back; a full disk does not */
        while (a->follow && (code == FM_EXIT_UNREACHABLE || code == FM_EXIT_NO_QUORUM)) {
            (void)fm_call_pause(AGAIN_MS);
            code = more(&t);
        }
    } while (!code && a->follow);
    fm_agents_close(t.agents);
    return code;
}
