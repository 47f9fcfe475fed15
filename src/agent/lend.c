/* Lending what a gate holds to commands of its host: see the header. Invariants: `lent` of a cell
 * is never before the end of what somebody was told. */
#include "agent/lend.h"

#include "base/assert.h"
#include "base/log.h"
#include "core/floor.h"
#include "http/polls.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct context {
    int fd; /* of the file with the locks; -1 = nothing is lent */
    int64_t lease_ms;
    struct fm_mono lent[FM_AUTH_CELLS_MAX];
};

struct ask {
    unsigned context, cell;
    bool has_after;
    uint64_t after; /* the epoch that is thought to be held here; 0 = none */
    int64_t wait_ms;
};

struct fm_lend {
    struct fm_lend_config c;
    char folder[PATH_MAX];
    struct context *context[FM_ROSTER_CONTEXTS_MAX];
    struct fm_polls polls;
    bool stopped;
};

/* -------- who may still act -------- */

static bool is_locked(const struct context *c, unsigned cell)
{
    struct flock f = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = cell, .l_len = 1};
    FM_ASSERT(cell < FM_AUTH_CELLS_MAX);
    /* what cannot be asked is taken for locked: it runs out */
    return fcntl(c->fd, F_OFD_GETLK, &f) < 0 || f.l_type != F_UNLCK;
}

uint64_t fm_lend_busy(const struct fm_lend *l, unsigned context, uint64_t cells, struct fm_mono now)
{
    FM_ASSERT(context < FM_ROSTER_CONTEXTS_MAX);
    const struct context *c = l->context[context];
    uint64_t busy = 0;
    for (unsigned i = 0; c && c->fd >= 0 && i < FM_AUTH_CELLS_MAX; i++)
        if (cells >> i & 1 && fm_mono_before(now, c->lent[i]) && is_locked(c, i))
            busy |= UINT64_C(1) << i;
    return busy;
}

void fm_lend_context(struct fm_lend *l, unsigned context, int64_t lease_ms)
{
    FM_ASSERT(context < FM_ROSTER_CONTEXTS_MAX && lease_ms > 0);
    struct context *c = l->context[context];
    if (c) {
        c->lease_ms = lease_ms;
        return;
    }
    c = calloc(1, sizeof *c);
    if (!c)
        return; /* nothing is lent */
    char path[PATH_MAX + FM_ROSTER_NAME_ROOM + 16];
    snprintf(path, sizeof path, "%s/lease-%s.lock", l->folder, l->c.roster->context[context].name);
    c->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (c->fd < 0)
        fm_log(FM_LOG_ERROR, "nothing_is_lent", FM_KZ("file", path), FM_KZ("why", strerror(errno)));
    c->lease_ms = lease_ms;
    /* by the slower clock: what was lent before is over by then */
    struct fm_mono until = fm_mono_add_ns(fm_mono_now(), fm_wait_ns(lease_ms, FM_RHO_PPM));
    for (unsigned i = 0; i < FM_AUTH_CELLS_MAX; i++)
        c->lent[i] = until;
    l->context[context] = c;
}

/* -------- answers -------- */

/* The epoch that is held here now; 0 = none. */
static uint64_t held_epoch(const struct fm_sublease_cell *x, struct fm_mono now)
{
    return fm_sublease_live(x, x->epoch, now) ? x->epoch.n : 0;
}

static void fill(struct fm_lend *l, const struct ask *k, const struct fm_sublease_cell *x,
                 struct fm_page_answer *a)
{
    struct fm_mono now = fm_mono_now();
    struct context *c = l->context[k->context];
    bool held = held_epoch(x, now) != 0;
    bool waits = x->closed || fm_mono_before(now, x->quiet_until); /* nothing begins now */
    const char *holder = x->holder == FM_NOBODY ? NULL : l->c.roster->region[x->holder];
    if (held) /* before it is told */
        c->lent[k->cell] = fm_mono_max(c->lent[k->cell], x->until);
    int64_t left_ms = held ? fm_mono_sub_ms(x->until, now) : 0;
    json_t *o =
        json_pack("{s:s,s:s,s:i,s:s,s:s?,s:b,s:b,s:I,s:I,s:I}", "schema", "fulmar.lease/1",
                  "context", l->c.roster->context[k->context].name, "cell", (int)k->cell, "region",
                  l->c.roster->region[l->c.region], "holder", holder, "held", (int)held, "moving",
                  (int)waits, "epoch", (json_int_t)(held ? x->epoch.n : x->known.n), "left_ms",
                  (json_int_t)left_ms, "lease_ms", (json_int_t)c->lease_ms);
    a->body = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (!a->body) {
        fm_page_problem(a, 503, "out of memory");
        return;
    }
    a->n = strlen(a->body);
    a->content_type = "application/json";
}

static bool differs(const struct ask *k, const struct fm_sublease_cell *x)
{
    return !k->has_after || held_epoch(x, fm_mono_now()) != k->after;
}

static bool is_news(void *user, const void *ask)
{
    const struct fm_lend *l = user;
    const struct ask *k = ask;
    const struct fm_sublease *s = l->c.held(l->c.user, k->context);
    return !s || differs(k, &s->cell[k->cell]);
}

static void fill_now(void *user, const void *ask, struct fm_page_answer *a)
{
    struct fm_lend *l = user;
    const struct ask *k = ask;
    const struct fm_sublease *s = l->c.held(l->c.user, k->context);
    if (s)
        fill(l, k, &s->cell[k->cell], a);
    else
        fm_page_problem(a, 503, "this agent ends, or serves the context no more");
}

void fm_lend_changed(struct fm_lend *l)
{
    fm_polls_changed(&l->polls);
}

/* -------- asking -------- */

static bool read_pair(struct fm_str name, struct fm_str value, struct ask *k)
{
    uint64_t n;
    if (!fm_str_eqz(name, "cell") && !fm_str_eqz(name, "after") && !fm_str_eqz(name, "wait"))
        return true; /* of a newer version */
    if (!fm_str_u64(value, &n))
        return false;
    if (fm_str_eqz(name, "cell")) {
        k->cell = (unsigned)fm_min_u64(n, FM_AUTH_CELLS_MAX);
    } else if (fm_str_eqz(name, "after")) {
        k->after = n;
        k->has_after = true;
    } else {
        k->wait_ms = (int64_t)fm_min_u64(n, FM_LEND_WAIT_MAX_MS);
    }
    return true;
}

static bool read_query(struct fm_str query, struct ask *k)
{
    struct fm_str rest = query.n ? fm_str(query.p + 1, query.n - 1) : fm_str(NULL, 0);
    while (rest.n) {
        struct fm_str value, pair = fm_str_cut(rest, '&', &rest);
        struct fm_str name = fm_str_cut(pair, '=', &value);
        if (!value.p || !read_pair(name, value, k))
            return false;
    }
    return true;
}

void fm_lend_page(struct fm_lend *l, const struct fm_page_request *q, struct fm_page_answer *a)
{
    struct ask k = {0};
    struct fm_str prefix = FM_STR("/lease/");
    FM_ASSERT(fm_str_starts(q->path, prefix));
    int number = fm_roster_context(l->c.roster, fm_str(q->path.p + prefix.n, q->path.n - prefix.n));
    const struct fm_sublease *s = number >= 0 ? l->c.held(l->c.user, (unsigned)number) : NULL;
    k.context = number >= 0 ? (unsigned)number : 0;
    if (l->stopped) {
        fm_page_problem(a, 503, "this agent ends");
    } else if (!s) {
        fm_page_problem(a, 404, "there is no such context with cells here");
    } else if (!l->context[k.context] || l->context[k.context]->fd < 0) {
        fm_page_problem(a, 503, "nothing is lent: the file for its locks cannot be opened");
    } else if (!read_query(q->query, &k)) {
        fm_page_problem(a, 400, "the query is cell=N&after=EPOCH&wait=MILLISECONDS");
    } else if (k.cell >= s->ncells) {
        fm_page_problem(a, 404, "there is no such cell in this context");
    } else if (k.wait_ms > 0 && !differs(&k, &s->cell[k.cell])) {
        fm_polls_wait(&l->polls, q, &k, sizeof k, k.wait_ms, a);
    } else {
        fill(l, &k, &s->cell[k.cell], a);
    }
}

/* -------- life -------- */

struct fm_lend *fm_lend_new(const struct fm_lend_config *c, struct fm_error *e)
{
    FM_ASSERT(c->loop && c->roster && c->folder && c->held);
    struct fm_lend *l = calloc(1, sizeof *l);
    if (!l) {
        fm_error_set(e, FM_ERR_MEMORY, "no memory to lend sub-leases");
        return NULL;
    }
    l->c = *c;
    snprintf(l->folder, sizeof l->folder, "%s", c->folder);
    l->c.folder = l->folder;
    l->polls = (struct fm_polls){.loop = c->loop,
                                 .max = FM_LEND_WAITERS_MAX,
                                 .is_news = is_news,
                                 .fill = fill_now,
                                 .user = l};
    fm_polls_init(&l->polls);
    return l;
}

void fm_lend_stop(struct fm_lend *l)
{
    l->stopped = true;
    fm_polls_end(&l->polls);
}

void fm_lend_free(struct fm_lend *l)
{
    if (!l)
        return;
    FM_ASSERT(l->stopped);
    fm_polls_deinit(&l->polls);
    for (unsigned i = 0; i < FM_ROSTER_CONTEXTS_MAX; i++) {
        if (l->context[i] && l->context[i]->fd >= 0)
            close(l->context[i]->fd);
        free(l->context[i]);
    }
    free(l);
}
