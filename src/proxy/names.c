/* Names and addresses: see the header. A name that is being looked up when it is dropped is freed
 * when its answer arrives (`abandoned`). */
#include "proxy/names.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdlib.h>

enum { HOST_REFRESH_MS = 30 * 1000, RETRY_MS = 1000, REGION_NONE = UINT16_MAX };

struct fm_name {
    struct fm_lookup lookup; /* while it runs */
    struct fm_name *next;
    struct fm_names *all;
    struct fm_timer timer;
    uint16_t region, pool; /* REGION_NONE: only for fm_names_find */
    bool is_ip, answered, abandoned;
    const char *peer;   /* of a gate, in the configuration */
    struct fm_str text; /* as the configuration writes it */
    int64_t refresh_ms;
    size_t n;
    struct fm_addr *addr;
};

void fm_names_init(struct fm_names *n, struct fm_resolver *resolver, struct fm_loop *loop,
                   void (*changed)(void *user), void *user)
{
    *n = (struct fm_names){.resolver = resolver, .loop = loop, .changed = changed, .user = user};
}

static void free_name(struct fm_name *m)
{
    free(m->addr);
    free(m);
}

static bool same(const struct fm_name *m, const struct fm_lookup *q)
{
    if (m->n != q->n)
        return false;
    for (size_t i = 0; i < m->n; i++)
        if (!fm_addr_eq(&m->addr[i], &q->addr[i]))
            return false;
    return true;
}

/* True where the addresses are others now. */
static bool take(struct fm_name *m, const struct fm_lookup *q)
{
    if (q->result || same(m, q))
        return false;
    struct fm_addr *a = calloc(q->n, sizeof *a);
    if (!a)
        return false;
    memcpy(a, q->addr, q->n * sizeof *a);
    free(m->addr);
    m->addr = a;
    m->n = q->n;
    return true;
}

static void answered(struct fm_lookup *q)
{
    struct fm_name *m = fm_container_of(q, struct fm_name, lookup);
    struct fm_names *all = m->all;
    FM_ASSERT(!m->is_ip && !q->busy);
    if (m->abandoned) {
        struct fm_name **at = &all->abandoned;
        while (*at != m) {
            FM_ASSERT(*at);
            at = &(*at)->next;
        }
        *at = m->next;
        free_name(m);
        return;
    }
    bool changed = take(m, q), first = !m->answered;
    if (q->result && (first || m->n == 0))
        fm_log(FM_LOG_WARN, "name_not_found", FM_KZ("name", q->name), FM_KZ("why", q->why),
               FM_KU("addresses_kept", m->n));
    else if (changed)
        fm_log(FM_LOG_INFO, "name_resolved", FM_KZ("name", q->name), FM_KU("addresses", m->n));
    if (first) {
        m->answered = true;
        FM_ASSERT(all->waiting > 0);
        all->waiting--;
    }
    fm_loop_timer_in_ms(all->loop, &m->timer, q->result ? RETRY_MS : m->refresh_ms);
    if (changed || (first && all->waiting == 0))
        all->changed(all->user);
}

static void refresh(struct fm_timer *t)
{
    struct fm_name *m = fm_container_of(t, struct fm_name, timer);
    FM_ASSERT(!m->is_ip && !m->abandoned && !m->lookup.busy);
    fm_resolver_ask(m->all->resolver, &m->lookup);
}

/* -------- building the set -------- */

struct builder {
    struct fm_names *names;
    struct fm_name *first, **last;
    bool failed;
};

static void add(struct builder *b, const struct fm_conf_addr *a, const char *peer, unsigned region,
                unsigned pool, int64_t refresh_ms)
{
    struct fm_name *m = calloc(1, sizeof *m);
    if (!m || a->host.n > FM_LOOKUP_NAME_MAX) {
        free(m);
        b->failed = true;
        return;
    }
    FM_ASSERT(refresh_ms > 0 && a->port > 0 && region <= REGION_NONE);
    m->all = b->names;
    m->region = (uint16_t)region;
    m->pool = (uint16_t)pool;
    m->peer = peer;
    m->text = a->text;
    m->refresh_ms = refresh_ms;
    fm_timer_init(&m->timer, refresh);
    memcpy(m->lookup.name, a->host.p, a->host.n);
    m->lookup.port = a->port;
    m->lookup.done = answered;
    *b->last = m;
    b->last = &m->next;
    if (a->is_ip) {
        m->addr = calloc(1, sizeof *m->addr);
        if (!m->addr || fm_addr_ip(m->addr, a->host, a->port))
            b->failed = true;
        else
            m->n = 1;
        m->is_ip = m->answered = true;
    }
}

static void add_region(struct builder *b, const struct fm_conf *c, unsigned r, bool gates)
{
    FM_ASSERT(r < c->nregions);
    const struct fm_conf_region *cr = &c->regions[r];
    if (gates) {
        for (size_t h = 0; h < c->nhosts; h++)
            if (c->hosts[h].region == r && (c->hosts[h].roles & FM_ROLE_GATE))
                add(b, &c->hosts[h].gate, c->hosts[h].name.p, r, 0, HOST_REFRESH_MS);
        return;
    }
    for (unsigned p = 0; p < cr->npools; p++)
        for (size_t i = 0; i < cr->pools[p].napps; i++)
            add(b, &cr->pools[p].apps[i], NULL, r, p, cr->pools[p].refresh_ms);
}

/* What is known of the same name and port is kept across a reload. */
static void inherit(struct fm_name *to, const struct fm_names *from)
{
    for (const struct fm_name *o = from->first; o && !to->is_ip; o = o->next) {
        if (!o->n || o->lookup.port != to->lookup.port ||
            strcmp(o->lookup.name, to->lookup.name) != 0)
            continue;
        to->addr = calloc(o->n, sizeof *to->addr);
        if (!to->addr)
            return;
        FM_ASSERT(o->addr && o != to);
        memcpy(to->addr, o->addr, o->n * sizeof *to->addr);
        to->n = o->n;
        to->answered = true;
        return;
    }
}

static void drop_all(struct fm_names *n)
{
    while (n->first) {
        struct fm_name *m = n->first;
        FM_ASSERT(!m->abandoned);
        n->first = m->next;
        fm_loop_cancel(n->loop, &m->timer);
        if (m->lookup.busy) {
            m->abandoned = true;
            m->next = n->abandoned;
            n->abandoned = m;
        } else {
            free_name(m);
        }
    }
    n->waiting = 0;
}

enum fm_err fm_names_set(struct fm_names *n, const struct fm_conf *c, enum fm_proxy_mode mode,
                         unsigned self)
{
    struct builder b = {.names = n};
    b.last = &b.first;
    bool onward = mode == FM_PROXY_GATE && fm_conf_relays(c);
    for (unsigned r = 0; r < c->nregions; r++)
        if (mode == FM_PROXY_EDGE || r == self)
            add_region(&b, c, r, mode == FM_PROXY_EDGE && c->regions[r].has_gates);
        else if (onward && c->regions[r].has_gates)
            add_region(&b, c, r, true);
    for (size_t h = 0; h < c->nhosts && mode == FM_PROXY_EDGE; h++)
        if (c->hosts[h].roles & FM_ROLE_HEALTH)
            add(&b, &c->hosts[h].peer, NULL, REGION_NONE, 0, HOST_REFRESH_MS);
    for (size_t h = 0; h < c->nhosts && mode == FM_PROXY_GATE && c->ngroups; h++)
        if (c->hosts[h].region == self && c->hosts[h].roles & FM_ROLE_POSTGRES)
            add(&b, &c->hosts[h].peer, NULL, REGION_NONE, 0, HOST_REFRESH_MS);
    for (struct fm_name *m = b.first; m; m = m->next)
        inherit(m, n);
    if (b.failed) {
        while (b.first) {
            struct fm_name *m = b.first;
            b.first = m->next;
            free_name(m);
        }
        return FM_ERR_MEMORY;
    }
    drop_all(n);
    FM_ASSERT(!n->first && n->waiting == 0);
    n->first = b.first;
    for (struct fm_name *m = n->first; m; m = m->next) {
        n->waiting += !m->answered;
        if (!m->is_ip)
            fm_resolver_ask(n->resolver, &m->lookup);
    }
    return FM_ERR_OK;
}

/* -------- asking -------- */

struct fm_view_address *fm_names_addresses(const struct fm_names *n, size_t *count)
{
    size_t total = 0;
    for (const struct fm_name *m = n->first; m; m = m->next)
        total += m->region == REGION_NONE ? 0 : m->n;
    struct fm_view_address *out = calloc(total + 1, sizeof *out);
    *count = 0;
    for (const struct fm_name *m = n->first; out && m; m = m->next)
        for (size_t i = 0; m->region != REGION_NONE && i < m->n; i++)
            out[(*count)++] = (struct fm_view_address){m->region, m->pool, m->addr[i], m->peer};
    FM_ASSERT(!out || *count == total);
    return out;
}

bool fm_names_find(const struct fm_names *n, const struct fm_conf_addr *a, struct fm_addr *out)
{
    for (const struct fm_name *m = n->first; m; m = m->next)
        if (m->n && m->lookup.port == a->port && fm_str_eqz(a->host, m->lookup.name)) {
            *out = m->addr[0];
            return true;
        }
    return false;
}

bool fm_names_is(const struct fm_names *n, unsigned region, unsigned pool, struct fm_str text,
                 const struct fm_addr *addr)
{
    for (const struct fm_name *m = n->first; m; m = m->next)
        for (size_t i = 0; i < m->n && m->region == region && m->pool == pool; i++)
            if (fm_addr_eq(&m->addr[i], addr) && fm_str_eq(m->text, text))
                return true;
    return false;
}

void fm_names_deinit(struct fm_names *n)
{
    drop_all(n);
    while (n->abandoned) {
        struct fm_name *m = n->abandoned;
        n->abandoned = m->next;
        free_name(m);
    }
}
