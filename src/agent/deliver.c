/* Delivering what is queued: see the header. Invariants: what is taken is in one slot until it is
 * settled; a slot is idle, sends, rests or settles, and each but the first ends by itself; under
 * which epoch it is sent was durable before (fm_journal TAKE). What this does not do: decide what a
 * try came to, which is core/delivery.h. */
#include "agent/deliver.h"

#include "agent/lane.h"
#include "base/assert.h"
#include "base/log.h"
#include "core/keygate.h"
#include "proxy/queued.h"

#include <stdio.h>
#include <stdlib.h>

enum { LOOK_MS = 500, REST_MS = 500, REST_MAX_SHIFT = 4, PATIENCE_MS = 60 * 1000 };
enum { PER_CELL = 4 }; /* at once, where several cells of a region have something due */
enum { PING_MS = 2000, PING_CONNECT_MS = 1000 };

/* Any answer will do. */
#define PING FM_QUEUED_RESERVED "ping"

enum slot_state { IDLE, SENDS, RESTS, SETTLES };

/* One that was taken. */
struct slot {
    struct door *door;
    struct gate *gate;
    struct fm_lane lane;
    struct fm_timer timer;
    struct fm_journal_call call; /* SETTLE */
    enum slot_state state;
    /* of the command */
    uint64_t id, token;
    struct fm_epoch epoch, first, was_first; /* was_first: before it was taken this time */
    bool by_app;
    uint16_t tries;
    int64_t at_ms;
    unsigned cell; /* index of the door's */
};

/* Of one (context, cell) whose commands went, or go, through this door. */
struct cell {
    char context[FM_JOURNAL_CONTEXT_MAX + 1];
    uint32_t number;
    bool due; /* something may be */
    uint64_t
        since; /* the last that was taken: those behind it are next, so that each has its turn */
    bool shy;  /* the last that was sent came back: one at a time */
    unsigned in_flight;
};

/* One of a region. In all there are so many lanes to it as to the region. */
struct gate {
    struct door *door;
    struct gate *next;
    char host[256];
    bool shut; /* it did not answer: asked, until it does, whether it is there */
    struct fm_caller ping;
    struct fm_mono ping_at; /* not again before this */
    struct slot slot[FM_DELIVER_LANES];
};

/* To a region. */
struct door {
    struct fm_deliver *d;
    struct door *next;
    char region[FM_TICKET_REGION_MAX + 1];
    struct fm_tls *tls; /* a reference */
    bool stale;         /* of before a reload: what is under way ends, nothing new is taken */
    struct gate *gates; /* in the order of `id` */
    struct fm_keygate *id;
    unsigned ngates;
    struct fm_journal_call take;
    unsigned take_cell;
    struct fm_epoch take_epoch;
    struct fm_view_cell take_view;
    struct cell *cells;
    unsigned ncells, cap, turn;
    unsigned in_flight;
};

struct fm_deliver {
    struct fm_deliver_config c;
    const struct fm_conf *conf;
    char region[FM_TICKET_REGION_MAX + 1];
    struct door *doors;
    struct fm_timer timer;
    struct fm_journal_call due;
    bool stopped;
    bool again;   /* look once more when the present look is over */
    bool counted; /* since this start: `waiting` is true, and not only nothing yet */
    uint32_t waiting;
    int64_t oldest_ms; /* of what is due; 0 = nothing */
    struct fm_counter delivered, unknown, back, repeated;
};

/* -------- the view -------- */

/* Who may take the cell now. NULL: nobody. */
static const char *holder_of(const struct fm_deliver *d, const char *context, uint32_t number,
                             struct fm_view_cell *out)
{
    const struct fm_view_doc *v = d->c.view(d->c.user);
    const struct fm_view_doc_context *c = v ? fm_view_doc_find(v, fm_str_z(context)) : NULL;
    if (!c || number >= c->ncells)
        return NULL;
    const struct fm_view_doc_cell *cell = &c->cell[number];
    *out = cell->c;
    bool held = cell->c.region < v->nregions && cell->c.epoch.n > 0 && !cell->c.released;
    return held ? v->region[cell->c.region] : NULL;
}

static bool passes(const struct fm_deliver *d, const struct slot *s)
{
    const struct cell *c = &s->door->cells[s->cell];
    struct fm_view_cell now;
    now.epoch.n = 0;
    (void)holder_of(d, c->context, c->number, &now);
    return now.epoch.n > 0 && fm_answer_passes(&now, s->epoch);
}

/* -------- cells of a door -------- */

static struct cell *find_cell(struct door *door, struct fm_str context, uint32_t number)
{
    for (unsigned i = 0; i < door->ncells; i++)
        if (door->cells[i].number == number && fm_str_eqz(context, door->cells[i].context))
            return &door->cells[i];
    if (door->ncells == door->cap) {
        unsigned cap = door->cap ? 2 * door->cap : 16;
        struct cell *more = realloc(door->cells, cap * sizeof *more);
        if (!more)
            return NULL;
        door->cells = more;
        door->cap = cap;
    }
    FM_ASSERT(context.n <= FM_JOURNAL_CONTEXT_MAX && door->ncells < FM_JOURNAL_DUE_MAX);
    struct cell *c = &door->cells[door->ncells++];
    *c = (struct cell){.number = number};
    memcpy(c->context, context.p, context.n);
    return c;
}

static struct slot *idle_slot(struct gate *g)
{
    for (unsigned i = 0; i < FM_DELIVER_LANES; i++)
        if (g->slot[i].state == IDLE)
            return &g->slot[i];
    return NULL;
}

/* Under this key the holder's gate writes it down: its client's, or its number in the queue. */
static struct gate *gate_of(struct door *door, const struct fm_journal_item *item)
{
    char mem[FM_TICKET_KEY_MAX];
    struct fm_buf b = fm_buf(mem, sizeof mem);
    struct fm_parcel p;
    struct fm_ticket t = {fm_str_z(door->d->region), item->id, item->token};
    fm_ticket_key(&b, &t);
    FM_ASSERT(!b.full && door->ngates > 0);
    bool client = fm_parcel_read(item->request, &p) && p.client_key;
    uint64_t key = fm_keygate_key(item->context, client ? item->key : fm_buf_str(&b));
    struct gate *g = door->gates;
    for (unsigned at = fm_keygate_of(door->id, door->ngates, key); at > 0; at--)
        g = g->next;
    return g;
}

static bool is_shut(const struct door *door, bool all)
{
    unsigned shut = 0;
    for (const struct gate *g = door->gates; g; g = g->next)
        shut += g->shut;
    return all ? shut == door->ngates : shut > 0;
}

/* How many more of this cell may be taken now; `alone`: no other one has something due. */
static unsigned room_for(const struct door *door, const struct cell *c, bool alone)
{
    unsigned all = FM_DELIVER_LANES;
    unsigned own = c->shy ? 1 : alone ? FM_DELIVER_LANES : PER_CELL;
    unsigned a = all > door->in_flight ? all - door->in_flight : 0;
    unsigned b = own > c->in_flight ? own - c->in_flight : 0;
    return a < b ? a : b;
}

/* -------- settling -------- */

static void pump(struct door *door);

static void free_slot(struct slot *s)
{
    struct door *door = s->door;
    struct cell *c = &door->cells[s->cell];
    FM_ASSERT(s->state == SETTLES && door->in_flight > 0 && c->in_flight > 0);
    s->state = IDLE;
    door->in_flight--;
    c->in_flight--;
}

static void settled(struct fm_journal_call *call)
{
    struct slot *s = fm_container_of(call, struct slot, call);
    struct door *door = s->door;
    if (call->err)
        fm_log(FM_LOG_ERROR, "delivery_not_settled", FM_KU("number", s->id),
               FM_KZ("error", fm_err_text(call->err)));
    free_slot(s);
    door->cells[s->cell].due = true; /* it is, or the next of its lane */
    fm_journal_forget(call);
    pump(door);
}

static void submit_settle(struct slot *s)
{
    FM_ASSERT(s->state != IDLE && s->state != SETTLES);
    s->state = SETTLES;
    s->call.op = FM_JOURNAL_SETTLE;
    s->call.to = s->door->d->c.mailbox;
    s->call.done = settled;
    s->call.seq = s->id;
    if (fm_journal_submit(s->door->d->c.journal, &s->call) != FM_ERR_OK)
        free_slot(s); /* it has failed: its next start gives back what was taken */
}

static void rested(struct fm_timer *t)
{
    submit_settle(fm_container_of(t, struct slot, timer));
}

static void say_lost(const struct slot *s)
{
    char text[FM_TICKET_LEN_MAX + 1];
    struct fm_buf b = fm_buf(text, sizeof text - 1);
    struct fm_ticket t = {fm_str_z(s->door->d->region), s->id, s->token};
    fm_ticket_write(&b, &t);
    text[b.n] = 0;
    fm_log(FM_LOG_WARN, "delivery_unknown", FM_KZ("ticket", text),
           FM_KZ("context", s->door->cells[s->cell].context), FM_KZ("region", s->door->region),
           FM_KZ("meaning", "this command may or may not have been executed; it is not repeated"));
}

/* How it ends, or begins anew after a rest. */
static void conclude(struct slot *s, enum fm_delivery what, uint16_t status)
{
    struct fm_deliver *d = s->door->d;
    struct cell *c = &s->door->cells[s->cell];
    int64_t rest_ms = REST_MS;
    s->call.give_back = what == FM_DELIVERY_BACK || what == FM_DELIVERY_AGAIN;
    s->call.not_known = what == FM_DELIVERY_AGAIN;
    c->shy = what == FM_DELIVERY_BACK;
    switch (what) {
    case FM_DELIVERY_DONE:
        fm_counter_inc(&d->delivered);
        s->call.outcome = (struct fm_journal_outcome){FM_IDEM_DONE, {.status = status}};
        submit_settle(s);
        return;
    case FM_DELIVERY_UNKNOWN:
        fm_counter_inc(&d->unknown);
        say_lost(s);
        s->call.outcome = (struct fm_journal_outcome){FM_IDEM_UNKNOWN, {.status = 0}};
        submit_settle(s);
        return;
    case FM_DELIVERY_BACK:
        fm_counter_inc(&d->back);
        s->call.command.facts.first_epoch = s->was_first.n;
        break;
    case FM_DELIVERY_AGAIN:
        fm_counter_inc(&d->repeated);
        s->call.command.facts.first_epoch = s->was_first.n ? s->was_first.n : s->epoch.n;
        rest_ms <<= s->tries < REST_MAX_SHIFT ? s->tries : REST_MAX_SHIFT;
        break;
    case FM_DELIVERY_COUNT:
        FM_UNREACHABLE();
    }
    s->state = RESTS;
    fm_loop_timer_in_ms(d->c.loop, &s->timer, rest_ms);
}

/* -------- sending -------- */

static enum fm_delivery decide(const struct slot *s, struct fm_delivery_heard *h, uint16_t *status)
{
    h->passes = passes(s->door->d, s);
    h->by_app = s->by_app;
    h->sent_before = s->first.n > 0;
    h->tries = s->tries;
    return fm_delivery_decide(h, status);
}

/* While it is away nothing is taken: that would be written down twice a second, and what is taken
 * counts as sent should we die. */
static void look_at_gate(struct gate *g, bool answered, const char *why)
{
    const struct door *door = g->door;
    if (answered && g->shut)
        fm_log(FM_LOG_INFO, "queue_delivers_again", FM_KZ("region", door->region),
               FM_KZ("gate", g->host));
    else if (!answered && !g->shut)
        fm_log(FM_LOG_WARN, "queue_not_delivered", FM_KZ("region", door->region),
               FM_KZ("gate", g->host), FM_KZ("why", why), FM_KU("waiting", door->d->waiting));
    g->shut = !answered;
}

static void heard(struct fm_lane *l, struct fm_delivery_heard *h, const char *why)
{
    struct slot *s = fm_container_of(l, struct slot, lane);
    uint16_t status;
    FM_ASSERT(s->state == SENDS);
    look_at_gate(s->gate, h->answered, why);
    enum fm_delivery what = decide(s, h, &status);
    conclude(s, what, status);
    if (what == FM_DELIVERY_DONE)
        pump(s->door); /* it is open again */
}

static void ping_answered(struct fm_caller *c, unsigned status, struct fm_str body)
{
    struct gate *g = fm_container_of(c, struct gate, ping);
    (void)status;
    (void)body;
    look_at_gate(g, true, "");
    pump(g->door);
}

static void ping_failed(struct fm_caller *c, const char *why)
{
    struct gate *g = fm_container_of(c, struct gate, ping);
    (void)why;
    g->ping_at = fm_mono_add_ms(fm_loop_now(g->door->d->c.loop), REST_MS);
}

/* Those that did not answer. */
static void ping(struct door *door)
{
    struct fm_caller_ask a = {.target = PING,
                              .discard = true,
                              .answer_max = 1,
                              .connect_ms = PING_CONNECT_MS,
                              .timeout_ms = PING_MS};
    FM_ASSERT(!door->stale);
    for (struct gate *g = door->gates; g; g = g->next)
        if (g->shut && !g->ping.busy && !fm_mono_before(fm_loop_now(door->d->c.loop), g->ping_at))
            fm_caller_ask(&g->ping, &a);
}

/* The longest that a route of its context may take. */
static int64_t patience_of(const struct fm_deliver *d, const char *context)
{
    int at = fm_conf_find_context(d->conf, fm_str_z(context));
    int64_t ms = 0;
    for (size_t i = 0; at >= 0 && i < d->conf->contexts[at].nroutes; i++)
        if (d->conf->contexts[at].routes[i].timeouts.total_ms > ms)
            ms = d->conf->contexts[at].routes[i].timeouts.total_ms;
    return ms ? ms : PATIENCE_MS;
}

static bool stops_doubles(const struct fm_deliver *d, const char *context,
                          const struct fm_journal_item *item)
{
    struct fm_parcel p;
    int at = fm_conf_find_context(d->conf, fm_str_z(context));
    return at >= 0 && d->conf->contexts[at].idempotency.by == FM_BY_APP &&
           d->conf->contexts[at].idempotency.key != FM_KEY_IGNORED &&
           fm_parcel_read(item->request, &p) && p.client_key;
}

static void send_item(struct slot *s, const struct fm_journal_item *item)
{
    struct door *door = s->door;
    struct cell *c = &door->cells[door->take_cell];
    struct fm_error e = {0};
    FM_ASSERT(s->state == IDLE);
    s->state = SENDS;
    door->in_flight++;
    c->in_flight++;
    s->id = item->id;
    s->token = item->token;
    s->tries = item->tries;
    s->at_ms = item->at_ms;
    s->was_first.n = item->first_epoch;
    s->epoch = door->take_epoch;
    s->first = fm_delivery_first(&door->take_view, s->was_first);
    s->cell = door->take_cell;
    s->by_app = stops_doubles(door->d, c->context, item);
    if (s->gate->shut) { /* others of its region are there: what is theirs goes on */
        conclude(s, FM_DELIVERY_BACK, 0);
        return;
    }
    struct fm_lane_try t = {.item = item,
                            .region = fm_str_z(door->d->region),
                            .epoch = s->epoch,
                            .first = s->first,
                            .patience_ms = patience_of(door->d, c->context)};
    if (fm_lane_send(&s->lane, &t, &e) == FM_ERR_OK)
        return;
    fm_log(FM_LOG_ERROR, "delivery_not_made", FM_KU("number", item->id), FM_KE(&e));
    conclude(s, FM_DELIVERY_BACK, 0);
}

/* -------- taking -------- */

static void taken(struct fm_journal_call *call)
{
    struct door *door = fm_container_of(call, struct door, take);
    struct cell *c = &door->cells[door->take_cell];
    bool all = call->nitems < call->limit;
    c->since = all ? 0 : call->items[call->nitems - 1].id;
    c->due = !all || call->since > 0; /* then those in front of it may be */
    /* after a stop the next start gives it back */
    for (size_t i = 0; i < call->nitems && !door->d->stopped; i++) {
        struct slot *s = idle_slot(gate_of(door, &call->items[i]));
        FM_ASSERT(s);
        send_item(s, &call->items[i]);
    }
    fm_journal_forget(call);
    pump(door);
}

static bool take(struct door *door, unsigned cell, unsigned limit)
{
    struct cell *c = &door->cells[cell];
    struct fm_journal_call *call = &door->take;
    const char *holder = holder_of(door->d, c->context, c->number, &door->take_view);
    FM_ASSERT(limit > 0 && limit <= FM_DELIVER_LANES && !call->busy);
    if (!holder || strcmp(holder, door->region) != 0) {
        c->due = false; /* somebody else's, or nobody's; the next look finds out */
        return false;
    }
    door->take_cell = cell;
    door->take_epoch = door->take_view.epoch;
    *call = (struct fm_journal_call){.op = FM_JOURNAL_TAKE,
                                     .to = door->d->c.mailbox,
                                     .done = taken,
                                     .limit = limit,
                                     .since = c->since,
                                     .command = {.context = fm_str_z(c->context),
                                                 .cell = c->number,
                                                 .facts = {.epoch = door->take_epoch.n}}};
    return fm_journal_submit(door->d->c.journal, call) == FM_ERR_OK;
}

/* One question at a time, from cell to cell in turn. */
static void pump(struct door *door)
{
    if (door->stale || door->d->stopped || door->take.busy)
        return;
    unsigned ndue = 0;
    for (unsigned i = 0; i < door->ncells; i++)
        ndue += door->cells[i].due;
    if (ndue > 0 && is_shut(door, false))
        ping(door);
    if (is_shut(door, true))
        return;
    for (unsigned i = 0; i < door->ncells && ndue > 0; i++) {
        unsigned at = (door->turn + i) % door->ncells;
        const struct cell *c = &door->cells[at];
        unsigned room = c->due ? room_for(door, c, ndue == 1) : 0;
        if (room == 0 || !take(door, at, room))
            continue;
        door->turn = at + 1;
        return;
    }
}

/* -------- looking -------- */

static void bury(struct fm_deliver *d, bool resolver_freed);

static struct door *find_door(struct fm_deliver *d, const char *region)
{
    for (struct door *door = d->doors; door; door = door->next)
        if (!door->stale && strcmp(door->region, region) == 0)
            return door;
    return NULL;
}

static void told_due(struct fm_journal_call *call)
{
    struct fm_deliver *d = fm_container_of(call, struct fm_deliver, due);
    struct fm_view_cell cell;
    d->oldest_ms = 0;
    d->waiting = call->err ? d->waiting : call->waiting;
    d->counted = d->counted || !call->err;
    for (size_t i = 0; i < call->ndue; i++) {
        const struct fm_journal_due *due = &call->due[i];
        char context[FM_JOURNAL_CONTEXT_MAX + 1];
        snprintf(context, sizeof context, "%.*s", FM_STR_ARG(due->context));
        if (d->oldest_ms == 0 || due->oldest_ms < d->oldest_ms)
            d->oldest_ms = due->oldest_ms;
        const char *holder = holder_of(d, context, due->cell, &cell);
        struct door *door = holder ? find_door(d, holder) : NULL;
        struct cell *c = door ? find_cell(door, due->context, due->cell) : NULL;
        if (c)
            c->due = true;
    }
    fm_journal_forget(call);
    for (struct door *door = d->doors; door; door = door->next)
        pump(door);
    bury(d, false);
    if (d->stopped)
        return;
    fm_loop_timer_in_ms(d->c.loop, &d->timer, d->again ? 0 : LOOK_MS);
    d->again = false;
}

static void look(struct fm_timer *t)
{
    struct fm_deliver *d = fm_container_of(t, struct fm_deliver, timer);
    FM_ASSERT(!d->due.busy && !d->stopped);
    d->due = (struct fm_journal_call){
        .op = FM_JOURNAL_DUE, .to = d->c.mailbox, .done = told_due, .limit = FM_JOURNAL_DUE_MAX};
    if (fm_journal_submit(d->c.journal, &d->due) != FM_ERR_OK)
        fm_loop_timer_in_ms(d->c.loop, &d->timer, LOOK_MS);
}

void fm_deliver_look(struct fm_deliver *d)
{
    if (!d || d->stopped)
        return;
    for (struct door *door = d->doors; door; door = door->next)
        for (struct gate *g = door->gates; g; g = g->next)
            g->ping_at = FM_MONO_ZERO;
    if (d->due.busy)
        d->again = true;
    else
        fm_loop_timer_in_ms(d->c.loop, &d->timer, 0);
}

/* -------- doors -------- */

static void close_lanes(struct door *door)
{
    for (struct gate *g = door->gates; g; g = g->next) {
        for (unsigned i = 0; i < FM_DELIVER_LANES; i++)
            fm_lane_close(&g->slot[i].lane);
        fm_caller_close(&g->ping);
    }
}

static bool is_over(const struct door *door, bool resolver_freed)
{
    bool gone = !door->take.busy;
    for (const struct gate *g = door->gates; g && gone; g = g->next) {
        gone = fm_caller_is_gone(&g->ping, resolver_freed);
        for (unsigned i = 0; i < FM_DELIVER_LANES && gone; i++)
            gone = !g->slot[i].call.busy && fm_lane_is_gone(&g->slot[i].lane, resolver_freed);
    }
    return gone;
}

static void free_door(struct door *door)
{
    while (door->gates) {
        struct gate *g = door->gates;
        door->gates = g->next;
        free(g);
    }
    fm_tls_unref(door->tls);
    free(door->id);
    free(door->cells);
    free(door);
}

static void bury(struct fm_deliver *d, bool resolver_freed)
{
    for (struct door **at = &d->doors; *at;) {
        struct door *door = *at;
        bool ends = door->stale && (d->stopped || (door->in_flight == 0 && !door->take.busy));
        if (ends)
            close_lanes(door);
        if (!ends || !is_over(door, resolver_freed)) {
            at = &door->next;
            continue;
        }
        *at = door->next;
        free_door(door);
    }
}

static bool add_gate(struct door *door, const struct fm_conf_host *host)
{
    struct fm_deliver *d = door->d;
    struct gate *g = calloc(1, sizeof *g), **end = &door->gates;
    if (!g)
        return false;
    struct fm_caller_to to = {
        .host = host->gate.host, .port = host->gate.port, .tls = door->tls, .peer = host->name};
    g->door = door;
    snprintf(g->host, sizeof g->host, "%.*s", FM_STR_ARG(host->name));
    g->ping.answered = ping_answered;
    g->ping.failed = ping_failed;
    fm_caller_init(&g->ping, d->c.loop, d->c.resolver, &to);
    for (unsigned i = 0; i < FM_DELIVER_LANES; i++) {
        struct slot *s = &g->slot[i];
        s->door = door;
        s->gate = g;
        s->lane.heard = heard;
        fm_lane_init(&s->lane, d->c.loop, d->c.resolver, &to);
        fm_timer_init(&s->timer, rested);
    }
    while (*end)
        end = &(*end)->next;
    *end = g;
    struct fm_str name = fm_str_z(g->host);
    door->id[door->ngates++] = (struct fm_keygate){name, fm_keygate_id(name)};
    return true;
}

/* All gates of a region. What was made is left to fm_deliver_free. */
static bool add_door(struct fm_deliver *d, unsigned region, const struct fm_peers *peers)
{
    const struct fm_conf *conf = d->conf;
    struct door *door = calloc(1, sizeof *door);
    if (!door)
        return false;
    door->d = d;
    snprintf(door->region, sizeof door->region, "%.*s", FM_STR_ARG(conf->regions[region].name));
    door->tls = peers->client ? fm_tls_ref(peers->client) : NULL;
    door->id = calloc(conf->nhosts, sizeof *door->id);
    door->next = d->doors;
    d->doors = door;
    bool ok = door->id != NULL;
    for (size_t i = 0; i < conf->nhosts && ok; i++)
        if (conf->hosts[i].region == region && conf->hosts[i].roles & FM_ROLE_GATE)
            ok = add_gate(door, &conf->hosts[i]);
    return ok;
}

enum fm_err fm_deliver_reset(struct fm_deliver *d, const struct fm_conf *conf,
                             const struct fm_peers *peers, struct fm_error *e)
{
    d->conf = conf;
    for (struct door *door = d->doors; door; door = door->next)
        door->stale = true;
    bury(d, false);
    for (unsigned r = 0; r < conf->nregions; r++) {
        if (!conf->regions[r].has_gates || add_door(d, r, peers))
            continue;
        for (struct door *door = d->doors; door; door = door->next)
            door->stale = true; /* half a door would send keys to gates that do not have them */
        return fm_error_set(e, FM_ERR_MEMORY, "no memory to deliver what is queued");
    }
    fm_deliver_look(d);
    return FM_ERR_OK;
}

struct fm_deliver *fm_deliver_new(const struct fm_deliver_config *c, const struct fm_conf *conf,
                                  const struct fm_peers *peers, struct fm_error *e)
{
    FM_ASSERT(c->journal && c->loop && c->mailbox && c->view && c->region < conf->nregions);
    struct fm_deliver *d = calloc(1, sizeof *d);
    if (!d) {
        (void)fm_error_set(e, FM_ERR_MEMORY, "no memory to deliver what is queued");
        return NULL;
    }
    d->c = *c;
    snprintf(d->region, sizeof d->region, "%.*s", FM_STR_ARG(conf->regions[c->region].name));
    fm_timer_init(&d->timer, look);
    if (fm_deliver_reset(d, conf, peers, e)) {
        fm_deliver_stop(d);
        fm_deliver_free(d);
        return NULL;
    }
    return d;
}

/* -------- for people and machines -------- */

static unsigned in_flight(const struct fm_deliver *d)
{
    unsigned n = 0;
    for (const struct door *door = d->doors; door; door = door->next)
        n += door->in_flight;
    return n;
}

/* Of all that waits, what is under way included; 0 = nothing does. */
static int64_t oldest_ms(const struct fm_deliver *d)
{
    int64_t ms = d->oldest_ms;
    for (const struct door *door = d->doors; door; door = door->next)
        for (const struct gate *g = door->gates; g; g = g->next)
            for (unsigned i = 0; i < FM_DELIVER_LANES; i++)
                if (g->slot[i].state != IDLE && (ms == 0 || g->slot[i].at_ms < ms))
                    ms = g->slot[i].at_ms;
    return ms;
}

json_t *fm_deliver_json(const struct fm_deliver *d)
{
    char at[FM_RFC3339_LEN];
    int64_t since_ms = oldest_ms(d);
    fm_wall_format(at, since_ms * FM_NS_PER_MS);
    json_t *shut = json_array();
    for (const struct door *door = d->doors; door; door = door->next)
        if (is_shut(door, false) && !door->stale)
            json_array_append_new(shut, json_string(door->region));
    return json_pack("{s:o,s:s?,s:I,s:I,s:I,s:o}", "waiting",
                     d->counted ? json_integer(d->waiting) : json_null(), "oldest_at",
                     since_ms ? at : NULL, "in_flight", (json_int_t)in_flight(d), "delivered",
                     (json_int_t)fm_counter_get(&d->delivered), "unknown",
                     (json_int_t)fm_counter_get(&d->unknown), "unreachable", shut);
}

static void metric(struct fm_buf *b, const char *name, const char *type, const char *help,
                   uint64_t value)
{
    fm_buf_printf(b, "# HELP fulmar_agent_%s %s\n# TYPE fulmar_agent_%s %s\nfulmar_agent_%s %llu\n",
                  name, help, name, type, name, (unsigned long long)value);
}

bool fm_deliver_metrics(const struct fm_deliver *d, char **text, size_t *n)
{
    enum { ROOM = 2048 };
    char *more = realloc(*text, *n + ROOM);
    if (!more)
        return false;
    *text = more;
    struct fm_buf b = fm_buf(more + *n, ROOM);
    int64_t since_ms = oldest_ms(d);
    int64_t age_ms = since_ms ? fm_wall_now_ns() / FM_NS_PER_MS - since_ms : 0;
    if (d->counted)
        metric(&b, "queue_waiting", "gauge", "Commands that wait to be delivered", d->waiting);
    metric(&b, "queue_oldest_seconds", "gauge", "How long the oldest of them has waited",
           age_ms > 0 ? (uint64_t)age_ms / 1000 : 0);
    metric(&b, "queue_in_flight", "gauge", "Commands that are being delivered", in_flight(d));
    metric(&b, "queue_delivered_total", "counter", "Commands of the queue that got their answer",
           fm_counter_get(&d->delivered));
    metric(&b, "queue_unknown_total", "counter",
           "Commands of the queue of which nobody knows whether they were executed",
           fm_counter_get(&d->unknown));
    metric(&b, "queue_back_total", "counter", "Deliveries that nobody took, to be made again",
           fm_counter_get(&d->back));
    metric(&b, "queue_repeated_total", "counter",
           "Deliveries without an answer, whose key is asked about again",
           fm_counter_get(&d->repeated));
    FM_ASSERT(!b.full);
    *n += b.n;
    return true;
}

/* -------- the end -------- */

void fm_deliver_stop(struct fm_deliver *d)
{
    if (!d || d->stopped)
        return;
    d->stopped = true;
    fm_loop_cancel(d->c.loop, &d->timer);
    for (struct door *door = d->doors; door; door = door->next) {
        door->stale = true;
        close_lanes(door);
        for (struct gate *g = door->gates; g; g = g->next)
            for (unsigned i = 0; i < FM_DELIVER_LANES; i++)
                fm_loop_cancel(d->c.loop, &g->slot[i].timer);
    }
}

void fm_deliver_free(struct fm_deliver *d)
{
    if (!d)
        return;
    FM_ASSERT(d->stopped && !d->due.busy);
    fm_journal_forget(&d->due);
    bury(d, true);
    FM_ASSERT(!d->doors);
    free(d);
}
