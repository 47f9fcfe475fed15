/* The lessee: see the header. Invariants: nothing is answered before what it says is published; a
 * grant is taken only as the answer to what this life asked. What may be acted upon is core's. */
#include "agent/lessee.h"

#include "agent/lend.h"
#include "base/assert.h"
#include "base/log.h"
#include "core/floor.h"

#include <stdio.h>
#include <stdlib.h>

enum { RENEW_PARTS = 4, LOOK_MS = 1, WANTED_PAUSE_MS = 20, ASK_LEAST_MS = 25, CLOSED_ASK_MS = 250 };

struct context {
    unsigned number; /* in the roster */
    int conf;        /* index in the configuration; -1 = not there any more */
    int64_t lease_ms;
    bool asks; /* nothing of an earlier start is in the way */
    struct fm_sublease sub;
    struct fm_seats_context *seats;
    uint64_t served; /* when it was told last */
};

/* Somebody waits for cells to be quiet. */
struct wait {
    bool used;
    unsigned host, context;
    uint32_t serial;
    uint64_t life, cells;
    struct fm_mono until;
};

struct ship {
    struct fm_lessee *lessee;
    bool used;
    unsigned host, context;
    uint8_t cell;
    uint32_t serial;
    uint64_t life;
};

struct fm_lessee {
    struct fm_lessee_config c;
    const struct fm_conf *conf;
    struct fm_lend *lend; /* NULL: nothing is lent */
    unsigned region;
    struct context *context[FM_ROSTER_CONTEXTS_MAX]; /* by number */
    uint16_t keeper[FM_AGENTS_PER_REGION];           /* hosts that may be keeper of my region */
    unsigned nkeepers;
    struct wait wait[FM_LESSEE_WAITS_MAX];
    struct ship ship[FM_LESSEE_SHIPS_MAX];
    struct fm_timer renew, look;
    int64_t renew_ms;
    uint64_t served;
    struct fm_mono told_at;
    struct fm_mono wanted_at;
    bool stopped;
};

/* -------- publishing -------- */

static bool same_but_time(const struct fm_sublease_cell *a, const struct fm_sublease_cell *b,
                          struct fm_mono now)
{
    return fm_epoch_same(a->epoch, b->epoch) && fm_epoch_same(a->known, b->known) &&
           fm_epoch_same(a->stopped, b->stopped) && a->holder == b->holder &&
           a->quiet_until.ns == b->quiet_until.ns && a->closed == b->closed &&
           fm_sublease_live(a, a->epoch, now) == fm_sublease_live(b, b->epoch, now);
}

/* Workers number regions as the file does that they route by. */
static uint8_t number_in_file(const struct fm_lessee *l, uint8_t holder)
{
    int i = holder == FM_NOBODY
                ? -1
                : fm_conf_find_region(l->conf, fm_str_z(l->c.roster->region[holder]));
    return i < 0 ? FM_NOBODY : (uint8_t)i;
}

static void publish_cell(const struct fm_lessee *l, const struct context *c, unsigned cell)
{
    struct fm_sublease_cell x = c->sub.cell[cell];
    x.holder = number_in_file(l, x.holder);
    fm_seats_publish_sublease(c->seats, cell, &x);
}

/* What of `cells` has changed since `before`. */
static void publish(struct fm_lessee *l, const struct context *c, uint64_t cells,
                    const struct fm_sublease *before)
{
    struct fm_mono now = fm_mono_now();
    bool news = false;
    for (unsigned i = 0; i < c->sub.ncells; i++) {
        if (!(cells >> i & 1))
            continue;
        publish_cell(l, c, i);
        news |= !same_but_time(&before->cell[i], &c->sub.cell[i], now);
    }
    if (!news)
        return;
    l->c.published(l->c.user);
    if (l->lend)
        fm_lend_changed(l->lend);
}

/* -------- asking -------- */

static struct fm_message message(const struct fm_lessee *l, const struct context *c,
                                 enum fm_message_kind kind)
{
    return (struct fm_message){
        .kind = (uint8_t)kind, .context = (uint16_t)c->number, .life = l->c.life};
}

/* Those of these cells for which a command, or the database, of this host may still act. */
static uint64_t acting(const struct fm_lessee *l, const struct context *c, uint64_t cells)
{
    if (l->c.acts && l->c.acts(l->c.user, c->number))
        return cells;
    return l->lend ? fm_lend_busy(l->lend, c->number, cells, fm_mono_now()) : 0;
}

/* The first thing that a start says is taken for the end of the one before. It is not, while that
 * one has lent something, or its database lives: so nothing is said until that is over. */
static void ask(struct fm_lessee *l, struct context *c)
{
    c->asks = c->asks || acting(l, c, UINT64_MAX) == 0;
    if (!c->asks)
        return;
    struct fm_message m = message(l, c, FM_MESSAGE_ASK);
    m.asked_ns = fm_mono_now().ns;
    m.cells = fm_sublease_stopped(&c->sub);
    for (unsigned i = 0; i < c->sub.ncells; i++)
        m.epoch[i] = c->sub.cell[i].stopped;
    for (unsigned k = 0; k < l->nkeepers; k++)
        fm_post_send(l->c.post, l->keeper[k], &m);
}

static void ask_all(struct fm_lessee *l)
{
    for (unsigned i = 0; i < FM_ROSTER_CONTEXTS_MAX; i++)
        if (l->context[i] && l->context[i]->conf >= 0)
            ask(l, l->context[i]);
}

/* Requests a second since the last time; what was counted anew after a reload begins again. */
static uint32_t rate(uint64_t *was, uint64_t is, int64_t ns)
{
    uint64_t n = is >= *was ? is - *was : is;
    *was = is;
    return ns <= 0 ? 0 : (uint32_t)fm_min_u64(n * (uint64_t)FM_NS_PER_S / (uint64_t)ns, UINT32_MAX);
}

static void measure(struct fm_lessee *l, struct fm_load *load)
{
    struct fm_mono now = fm_mono_now();
    int64_t ns = fm_mono_sub_ns(now, l->told_at);
    l->told_at = now;
    load->total = rate(&l->served, l->c.served(l->c.user, -1), ns);
    for (unsigned i = 0; i < FM_ROSTER_CONTEXTS_MAX; i++) {
        struct context *c = l->context[i];
        if (c && c->conf >= 0)
            load->of[i] = rate(&c->served, l->c.served(l->c.user, c->conf), ns);
    }
}

static void tell_capable(struct fm_lessee *l)
{
    struct fm_message m = {.kind = FM_MESSAGE_CAPABLE};
    measure(l, &m.load);
    for (unsigned i = 0; i < FM_ROSTER_CONTEXTS_MAX; i++) {
        const struct context *c = l->context[i];
        if (c && c->conf >= 0 && l->c.capable(l->c.user, (unsigned)c->conf))
            fm_contexts_add(&m.vote.well[l->region], i);
    }
    for (unsigned k = 0; k < l->nkeepers; k++)
        fm_post_send(l->c.post, l->keeper[k], &m);
}

static void renew(struct fm_timer *t)
{
    struct fm_lessee *l = fm_container_of(t, struct fm_lessee, renew);
    if (l->c.gate)
        tell_capable(l);
    ask_all(l);
    fm_loop_timer_in_ms(l->c.loop, t, l->renew_ms);
}

void fm_lessee_wanted(struct fm_lessee *l)
{
    struct fm_mono now = fm_mono_now();
    for (unsigned i = 0; i < FM_ROSTER_CONTEXTS_MAX; i++) {
        struct context *c = l->context[i];
        if (!c)
            continue;
        struct fm_sublease before = c->sub;
        uint64_t cells = 0;
        for (unsigned k = 0; k < c->sub.ncells; k++) {
            struct fm_epoch heard = fm_seats_heard(c->seats, k);
            if (!fm_epoch_newer(heard, c->sub.cell[k].known))
                continue;
            fm_sublease_heard(&c->sub, k, heard);
            cells |= UINT64_C(1) << k;
        }
        publish(l, c, cells, &before);
    }
    if (l->stopped || fm_mono_sub_ms(now, l->wanted_at) < WANTED_PAUSE_MS)
        return;
    l->wanted_at = now;
    ask_all(l);
}

/* -------- what keepers say -------- */

static void granted(struct fm_lessee *l, struct context *c, const struct fm_message *m)
{
    struct fm_mono now = fm_mono_now();
    /* the echo of what this life asked cannot be of a time to come */
    if (m->life != l->c.life || m->asked_ns > now.ns)
        return;
    struct fm_sublease before = c->sub;
    struct fm_grant g = {.asked_ns = m->asked_ns,
                         .ms = m->ms,
                         .closed = m->closed,
                         .unheard = m->unheard,
                         .cells = m->cells,
                         .epochs = m->epoch};
    fm_sublease_granted(&c->sub, &g, now);
    publish(l, c, m->cells, &before);
    int64_t again_ms = l->renew_ms;
    if (m->ms < 2 * l->renew_ms) /* the keeper may go by a shorter lease already than this host */
        again_ms = fm_clamp_i64(m->ms / 3, ASK_LEAST_MS, l->renew_ms);
    if (m->closed) /* that it is open may have been said, and lost */
        again_ms = fm_clamp_i64(CLOSED_ASK_MS, 1, again_ms);
    if (again_ms < l->renew_ms && !l->stopped)
        fm_loop_timer_in_ms(l->c.loop, &l->renew, again_ms);
}

static void stop(struct fm_lessee *l, struct context *c, unsigned host, const struct fm_message *m)
{
    struct fm_sublease before = c->sub;
    struct fm_message a = message(l, c, FM_MESSAGE_STOPPED);
    a.cells = fm_sublease_stop(&c->sub, m->cells, m->epoch);
    a.cells &= ~acting(l, c, a.cells); /* the keeper says it again */
    memcpy(a.epoch, m->epoch, sizeof a.epoch);
    publish(l, c, m->cells, &before);
    if (a.cells)
        fm_post_send(l->c.post, host, &a);
}

void fm_lessee_ended(struct fm_lessee *l, unsigned context)
{
    const struct context *c = l->context[context];
    if (l->stopped || !c || c->conf < 0)
        return;
    struct fm_message a = message(l, c, FM_MESSAGE_STOPPED);
    a.cells = fm_sublease_stopped(&c->sub);
    a.cells &= ~acting(l, c, a.cells);
    for (unsigned i = 0; i < c->sub.ncells; i++)
        a.epoch[i] = c->sub.cell[i].stopped;
    for (unsigned k = 0; k < l->nkeepers && a.cells; k++)
        fm_post_send(l->c.post, l->keeper[k], &a);
}

static void board(struct fm_lessee *l, struct context *c, const struct fm_message *m)
{
    struct fm_sublease before = c->sub;
    for (unsigned i = 0; i < c->sub.ncells; i++)
        if (m->cells >> i & 1)
            fm_sublease_saw(&c->sub, i, m->epoch[i],
                            m->holder[i] == FM_NO_REGION ? FM_NOBODY : m->holder[i]);
    publish(l, c, m->cells, &before);
}

/* Those of these cells in which nothing is left that was admitted. */
static uint64_t quiet_now(const struct fm_lessee *l, const struct context *c, uint64_t cells)
{
    uint64_t quiet = 0;
    if (l->c.drains && l->c.drains(l->c.user, c->number))
        return 0;
    for (unsigned i = 0; i < c->sub.ncells; i++)
        if (cells >> i & 1 && fm_seats_in_flight(c->seats, i) == 0)
            quiet |= UINT64_C(1) << i;
    return quiet;
}

static void tell_quieted(struct fm_lessee *l, const struct wait *w, uint64_t cells)
{
    struct fm_message a = message(l, l->context[w->context], FM_MESSAGE_QUIETED);
    a.life_for = w->life;
    a.serial = w->serial;
    a.cells = cells;
    fm_post_send(l->c.post, w->host, &a);
}

/* Commands in flight end when they end: looked at often, for as long as somebody waits. */
static void look(struct fm_timer *t)
{
    struct fm_lessee *l = fm_container_of(t, struct fm_lessee, look);
    struct fm_mono now = fm_mono_now();
    bool any = false;
    for (unsigned i = 0; i < FM_LESSEE_WAITS_MAX; i++) {
        struct wait *w = &l->wait[i];
        if (!w->used)
            continue;
        if (quiet_now(l, l->context[w->context], w->cells) == w->cells) {
            tell_quieted(l, w, w->cells);
            w->used = false;
        } else if (!fm_mono_before(now, w->until)) {
            w->used = false;
        }
        any |= w->used;
    }
    if (any && !l->stopped)
        fm_loop_timer_in_ms(l->c.loop, t, LOOK_MS);
}

static void remember(struct fm_lessee *l, const struct wait *w)
{
    struct wait *free = NULL;
    for (unsigned i = 0; i < FM_LESSEE_WAITS_MAX; i++) {
        struct wait *x = &l->wait[i];
        if (x->used && x->host == w->host && x->context == w->context) {
            free = x; /* the last order of a keeper for a context counts */
            break;
        }
        if (!x->used && !free)
            free = x;
    }
    if (!free)
        return; /* it is asked again */
    *free = *w;
    if (!fm_timer_is_set(&l->look))
        fm_loop_timer_in_ms(l->c.loop, &l->look, LOOK_MS);
}

static void quiet(struct fm_lessee *l, struct context *c, unsigned host, const struct fm_message *m)
{
    struct fm_mono now = fm_mono_now();
    struct fm_sublease before = c->sub;
    fm_sublease_quiet(&c->sub, m->cells, m->ms, now);
    publish(l, c, m->cells, &before);
    struct wait w = {.used = m->ms > 0,
                     .host = host,
                     .context = c->number,
                     .serial = m->serial,
                     .life = m->life,
                     .cells = m->cells,
                     .until = fm_mono_add_ms(now, m->ms)};
    uint64_t done = quiet_now(l, c, m->cells);
    tell_quieted(l, &w, done);
    if (done == m->cells)
        w.used = false;
    remember(l, &w);
}

/* -------- as the heir of a planned move -------- */

static void shipped(void *arg, bool whole)
{
    struct ship *s = arg;
    struct fm_lessee *l = s->lessee;
    FM_ASSERT(s->used);
    s->used = false;
    if (l->stopped)
        return;
    struct fm_message a = message(l, l->context[s->context], FM_MESSAGE_SHIPPED);
    a.life_for = s->life;
    a.serial = s->serial;
    a.cell = s->cell;
    a.ok = whole;
    fm_post_send(l->c.post, s->host, &a);
}

static void ship(struct fm_lessee *l, struct context *c, unsigned host, const struct fm_message *m)
{
    struct ship *free = NULL;
    for (unsigned i = 0; i < FM_LESSEE_SHIPS_MAX; i++) {
        struct ship *s = &l->ship[i];
        if (s->used && s->host == host && s->context == c->number && s->serial == m->serial)
            return; /* it is under way */
        if (!s->used && !free)
            free = s;
    }
    if (!free || !l->c.catch_up)
        return;
    *free = (struct ship){.lessee = l,
                          .used = true,
                          .host = host,
                          .context = c->number,
                          .cell = m->cell,
                          .serial = m->serial,
                          .life = m->life};
    l->c.catch_up(l->c.user, fm_str_z(l->c.roster->region[m->region]), shipped, free);
}

/* -------- messages -------- */

static bool is_keeper(const struct fm_lessee *l, unsigned host)
{
    for (unsigned k = 0; k < l->nkeepers; k++)
        if (l->keeper[k] == host)
            return true;
    return false;
}

void fm_lessee_take(struct fm_lessee *l, unsigned host, const struct fm_post_head *head,
                    const struct fm_message *m)
{
    (void)head;
    struct context *c = l->context[m->context];
    if (l->stopped || !c || c->conf < 0)
        return;
    if (m->kind == FM_MESSAGE_SHIP) { /* from the keeper of another region */
        ship(l, c, host, m);
        return;
    }
    if (!is_keeper(l, host))
        return;
    if (m->kind == FM_MESSAGE_GRANT)
        granted(l, c, m);
    else if (m->kind == FM_MESSAGE_STOP)
        stop(l, c, host, m);
    else if (m->kind == FM_MESSAGE_QUIET)
        quiet(l, c, host, m);
    else if (m->kind == FM_MESSAGE_BOARD)
        board(l, c, m);
    else if (m->kind == FM_MESSAGE_NUDGE)
        ask(l, c);
}

/* -------- life -------- */

static void begin_context(struct fm_lessee *l, unsigned number, int index)
{
    const struct fm_conf_context *conf = &l->conf->contexts[index];
    struct fm_error e = {0};
    struct context *c = calloc(1, sizeof *c);
    enum fm_err err = c ? fm_seats_context(l->c.seats, conf->name, conf->ncells, &c->seats, &e)
                        : fm_error_set(&e, FM_ERR_MEMORY, "out of memory");
    if (err) {
        fm_log(FM_LOG_ERROR, "context_not_served", FM_KS("context", conf->name), FM_KE(&e));
        free(c);
        return;
    }
    FM_ASSERT(c);
    c->number = number;
    fm_sublease_init(&c->sub, (uint8_t)l->region, conf->ncells, FM_RHO_PPM);
    l->context[number] = c;
}

static void take_contexts(struct fm_lessee *l)
{
    int64_t least = INT64_MAX;
    for (unsigned i = 0; i < FM_ROSTER_CONTEXTS_MAX; i++)
        if (l->context[i])
            l->context[i]->conf = -1;
    for (size_t i = 0; i < l->conf->ncontexts; i++) {
        const struct fm_conf_context *conf = &l->conf->contexts[i];
        int number =
            conf->ncells ? fm_roster_add_context(l->c.roster, conf->name, conf->ncells) : -1;
        if (number < 0)
            continue;
        if (!l->context[number])
            begin_context(l, (unsigned)number, (int)i);
        if (!l->context[number])
            continue;
        l->context[number]->conf = (int)i;
        l->context[number]->lease_ms = conf->lease_ms;
        if (l->lend)
            fm_lend_context(l->lend, (unsigned)number, conf->lease_ms);
        for (unsigned k = 0; k < conf->ncells; k++)
            publish_cell(l, l->context[number], k);
        least = conf->lease_ms < least ? conf->lease_ms : least;
    }
    l->renew_ms = least == INT64_MAX ? 1000 : least / RENEW_PARTS;
    FM_ASSERT(l->renew_ms > 0);
}

static void take_keepers(struct fm_lessee *l)
{
    l->nkeepers = 0;
    for (size_t i = 0; i < l->conf->nhosts; i++) {
        const struct fm_conf_host *h = &l->conf->hosts[i];
        int region = fm_roster_region(l->c.roster, l->conf->regions[h->region].name);
        int number = fm_roster_add_host(l->c.roster, h->name);
        if (number >= 0 && region == (int)l->region && h->roles & FM_ROLE_CONTROLLER &&
            l->nkeepers < FM_AGENTS_PER_REGION)
            l->keeper[l->nkeepers++] = (uint16_t)number;
    }
}

void fm_lessee_reset(struct fm_lessee *l, const struct fm_conf *conf)
{
    l->conf = conf;
    take_contexts(l);
    take_keepers(l);
    fm_loop_timer(l->c.loop, &l->renew, fm_loop_now(l->c.loop));
}

const struct fm_sublease *fm_lessee_held(const struct fm_lessee *l, unsigned context)
{
    const struct context *c = l->context[context];
    return c && c->conf >= 0 && !l->stopped ? &c->sub : NULL;
}

static const struct fm_sublease *held(void *user, unsigned context)
{
    return fm_lessee_held(user, context);
}

static bool open_lend(struct fm_lessee *l, struct fm_error *e)
{
    struct fm_lend_config c = {.loop = l->c.loop,
                               .roster = l->c.roster,
                               .folder = l->c.folder,
                               .region = l->region,
                               .held = held,
                               .user = l};
    l->lend = fm_lend_new(&c, e);
    return l->lend != NULL;
}

struct fm_lessee *fm_lessee_new(const struct fm_lessee_config *c, const struct fm_conf *conf,
                                struct fm_error *e)
{
    FM_ASSERT(c->seats && c->post && c->published && c->capable && c->served && c->life);
    struct fm_lessee *l = calloc(1, sizeof *l);
    if (!l) {
        fm_error_set(e, FM_ERR_MEMORY, "no memory for the sub-leases of the gate");
        return NULL;
    }
    l->c = *c;
    int host = fm_conf_find_host(conf, fm_str_z(fm_roster_host_name(c->roster, c->self)));
    FM_ASSERT(host >= 0);
    int region = fm_roster_add_region(c->roster, conf->regions[conf->hosts[host].region].name);
    FM_ASSERT(region >= 0);
    l->region = (unsigned)region;
    l->told_at = fm_mono_now();
    if (c->folder && !open_lend(l, e)) {
        free(l);
        return NULL;
    }
    fm_timer_init(&l->renew, renew);
    fm_timer_init(&l->look, look);
    fm_lessee_reset(l, conf);
    return l;
}

/* -------- status -------- */

void fm_lessee_lease(struct fm_lessee *l, const struct fm_page_request *q, struct fm_page_answer *a)
{
    if (l->lend)
        fm_lend_page(l->lend, q, a);
    else
        a->status = 404;
}

json_t *fm_lessee_json(const struct fm_lessee *l)
{
    struct fm_mono now = fm_mono_now();
    json_t *o = json_object();
    for (unsigned i = 0; i < FM_ROSTER_CONTEXTS_MAX; i++) {
        const struct context *c = l->context[i];
        if (!c || c->conf < 0)
            continue;
        json_t *cells = json_array();
        for (unsigned k = 0; k < c->sub.ncells; k++) {
            const struct fm_sublease_cell *x = &c->sub.cell[k];
            bool live = fm_sublease_live(x, x->epoch, now);
            int64_t left = live ? fm_mono_sub_ms(x->until, now) : 0;
            json_array_append_new(
                cells,
                json_pack("{s:i,s:b,s:I,s:I,s:I,s:s?,s:b,s:b,s:i}", "cell", (int)k, "holds",
                          (int)live, "epoch", (json_int_t)x->epoch.n, "known_epoch",
                          (json_int_t)x->known.n, "left_ms", (json_int_t)left, "holder",
                          x->holder == FM_NOBODY ? NULL : l->c.roster->region[x->holder], "quiet",
                          (int)fm_mono_before(now, x->quiet_until), "closed", (int)x->closed,
                          "in_flight", (int)fm_seats_in_flight(c->seats, k)));
        }
        json_object_set_new(o, l->c.roster->context[i].name, cells);
    }
    return o;
}

void fm_lessee_stop(struct fm_lessee *l)
{
    if (!l)
        return;
    l->stopped = true;
    if (l->lend)
        fm_lend_stop(l->lend);
    fm_loop_cancel(l->c.loop, &l->renew);
    fm_loop_cancel(l->c.loop, &l->look);
}

void fm_lessee_free(struct fm_lessee *l)
{
    if (!l)
        return;
    FM_ASSERT(l->stopped);
    fm_lend_free(l->lend);
    for (unsigned i = 0; i < FM_ROSTER_CONTEXTS_MAX; i++)
        free(l->context[i]);
    free(l);
}
