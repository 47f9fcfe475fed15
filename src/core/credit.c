/* The credit: see the header. Invariants: `granted` and `proven` never go back; the grant is never
 * beyond the flush position of a standby that counts plus the credit, unless it was when that one
 * began to count, and it is not recorded before the grant is within its credit; a standby counts
 * from before it may be recorded until after it is recorded no more. It decides nothing about who
 * is promoted. */
#include "core/credit.h"

/* XLOG_BLCKSZ and SizeOfXLogLongPHD: access/xlog_internal.h of PostgreSQL. */
enum { LOG_PAGE = 8192, LOG_HEADER_MAX = 40 };

const char *fm_credit_kind_name(enum fm_credit_kind k)
{
    static const char *const name[] = {
#define X(id, text) [FM_CREDIT_##id] = text,
        FM_CREDIT_KINDS(X)
#undef X
    };
    FM_ASSERT(k < FM_COUNT(name));
    return name[k];
}

static uint32_t bit(unsigned node)
{
    FM_ASSERT(node < FM_CREDIT_NODES_MAX);
    return UINT32_C(1) << node;
}

static bool is_native(const struct fm_credit_standby *s)
{
    return !fm_lsn_same(s->native_from, FM_LSN_END);
}

/* Everybody whose flush position holds the grant back. */
static uint32_t counted(const struct fm_credit *c)
{
    uint32_t all = c->recorded | c->may_be_recorded | c->wanted | c->joining;
    FM_ASSERT(!(all & bit(c->self)));
    return FM_RULE_PICK(R23_RECORDED, all, c->wanted | c->joining);
}

/* ... and who of them has no credit. */
static uint32_t counted_near(const struct fm_credit *c)
{
    const struct fm_credit_near *n = &c->near;
    uint32_t comes = n->joining | (c->joining & c->policy.near);
    uint32_t all = n->recorded | n->may_be_recorded | n->wanted | comes;
    return FM_RULE_PICK(R23_NEAR_RECORDED, all, n->wanted | comes);
}

/* -------- how far one goes -------- */

static uint64_t credit_of(const struct fm_credit *c, unsigned node)
{
    if (counted_near(c) & bit(node))
        return FM_RULE_PICK(R23_NEAR, 0, c->policy.bytes);
    return FM_RULE_PICK(R23_CREDIT, c->policy.bytes, 2 * c->policy.bytes + 1);
}

/* What may be acknowledged because of this standby alone. */
static struct fm_lsn reach(const struct fm_credit *c, unsigned node)
{
    const struct fm_credit_standby *s = &c->standby[node];
    if (fm_lsn_is_none(s->flush))
        return FM_LSN_NONE;
    if (is_native(s) && c->policy.bytes == 0) /* the server waits for it, whatever is granted */
        return fm_lsn_max(s->flush, fm_lsn_add(c->written, FM_CREDIT_WINDOW));
    /* ... and where others have a credit, this one may get it, too */
    uint64_t credit = is_native(s) ? c->policy.bytes : credit_of(c, node);
    if (credit == FM_CREDIT_UNLIMITED)
        return fm_lsn_add(fm_lsn_max(s->flush, c->written), FM_CREDIT_WINDOW);
    return fm_lsn_add(s->flush, credit);
}

/* Commits up to here do not wait for this one. */
static struct fm_lsn goes_to(const struct fm_credit *c, unsigned node)
{
    return is_native(&c->standby[node]) ? c->standby[node].flush : reach(c, node);
}

static struct fm_lsn least_reach(const struct fm_credit *c)
{
    struct fm_lsn least = FM_LSN_END, most = FM_LSN_NONE;
    uint32_t nodes = counted(c);
    for (unsigned i = 0; i < FM_CREDIT_NODES_MAX; i++) {
        if (!(nodes & bit(i)))
            continue;
        least = fm_lsn_min(least, reach(c, i));
        most = fm_lsn_max(most, reach(c, i));
    }
    struct fm_lsn window = fm_lsn_add(c->written, FM_CREDIT_WINDOW);
    if (!nodes) /* with FM_CREDIT_BLOCKS somebody always counts, or nothing is granted */
        return c->policy.beyond == FM_CREDIT_LEAVES ? window : FM_LSN_NONE;
    struct fm_lsn to = FM_RULE_PICK(R23_LEAST, least, most);
    return c->policy.near ? fm_lsn_min(to, window) : to;
}

/* The place behind which this standby proves that nothing was acknowledged. */
static struct fm_lsn proven_by(const struct fm_credit *c, const struct fm_credit_standby *s)
{
    if (!is_native(s))
        return c->granted;
    return fm_lsn_min(c->granted, fm_lsn_max(s->flush, s->native_from));
}

/* How far commits go on without waiting. */
static struct fm_lsn frontier(const struct fm_credit *c)
{
    struct fm_lsn least = c->granted;
    uint32_t nodes = counted(c);
    for (unsigned i = 0; i < FM_CREDIT_NODES_MAX; i++)
        if (nodes & bit(i))
            least = fm_lsn_min(least, proven_by(c, &c->standby[i]));
    return least;
}

static struct fm_lsn least_flush(const struct fm_credit *c, uint32_t nodes)
{
    struct fm_lsn least = FM_LSN_END;
    for (unsigned i = 0; i < FM_CREDIT_NODES_MAX; i++)
        if (nodes & bit(i))
            least = fm_lsn_min(least, c->standby[i].flush);
    return least;
}

/* -------- commits that wait -------- */

/* Is what one of those with a credit may lack used up? */
static bool is_spent(const struct fm_credit *c)
{
    uint32_t nodes = counted(c) & ~counted_near(c);
    for (unsigned i = 0; i < FM_CREDIT_NODES_MAX; i++)
        if (nodes & bit(i) && fm_lsn_before(goes_to(c, i), c->written))
            return true;
    return false;
}

static void look_at_waiting(struct fm_credit *c, struct fm_mono now)
{
    struct fm_lsn at = frontier(c);
    if (fm_lsn_before(c->proven, at)) {
        c->proven = at;
        c->grown_at = now;
    }
    bool over = fm_lsn_before(at, c->written);
    if (!over)
        c->over_since = FM_MONO_NEVER;
    else if (fm_mono_is_never(c->over_since))
        c->over_since = now;
    if (!over || !is_spent(c))
        c->spent_since = FM_MONO_NEVER;
    else if (fm_mono_is_never(c->spent_since))
        c->spent_since = now;
}

/* Where there is a credit, commits that wait all the time have used it up, however slowly it goes
 * on; without one they always wait for a moment, and only a standby that stands still has. */
static struct fm_mono used_up_at(const struct fm_credit *c)
{
    if (fm_mono_is_never(c->over_since))
        return FM_MONO_NEVER;
    bool near = counted_near(c) != 0;
    struct fm_mono from = c->over_since;
    if (c->policy.bytes == 0 || near)
        from = fm_mono_max(from, c->grown_at);
    if (c->policy.bytes > 0 && near)
        from = fm_mono_min(from, c->spent_since);
    return fm_mono_add_ms(from, c->policy.patience_ms);
}

/* -------- time -------- */

/* What lies behind a mark was heard of after it. A full list makes the time look longer. */
static void set_mark(struct fm_credit *c, struct fm_mono now)
{
    int64_t apart_ms = c->policy.time_ms / (FM_CREDIT_MARKS / 2);
    bool due = c->nmarks == 0 || fm_mono_sub_ms(now, c->mark[c->nmarks - 1].at) >= apart_ms;
    if (c->policy.time_ms && due && c->nmarks < FM_CREDIT_MARKS)
        c->mark[c->nmarks++] = (struct fm_credit_mark){now, c->written};
}

static uint32_t waited_for(const struct fm_credit *c)
{
    uint32_t nodes = counted(c);
    for (unsigned i = 0; i < FM_CREDIT_NODES_MAX; i++)
        if (nodes & bit(i) && is_native(&c->standby[i]))
            nodes &= ~bit(i); /* the server waits for it, and acknowledges nothing that it lacks */
    return nodes;
}

static void look_at_time(struct fm_credit *c, struct fm_mono now)
{
    struct fm_lsn flush = least_flush(c, waited_for(c));
    unsigned passed = 0;
    if (!fm_lsn_before(flush, c->written)) {
        c->level_at = now;
        c->nmarks = 0;
        return;
    }
    while (passed < c->nmarks && !fm_lsn_before(flush, c->mark[passed].end))
        c->level_at = fm_mono_max(c->level_at, c->mark[passed++].at);
    c->nmarks -= passed;
    for (unsigned i = 0; i < c->nmarks && passed; i++)
        c->mark[i] = c->mark[i + passed];
    FM_ASSERT(c->nmarks <= FM_CREDIT_MARKS);
}

/* As far as the time lets it go, where somebody counts. */
static struct fm_lsn in_time(struct fm_credit *c, struct fm_lsn to, struct fm_mono now)
{
    if (c->policy.time_ms == 0 || !counted(c))
        return to;
    look_at_time(c, now);
    bool good = fm_mono_sub_ms(now, c->level_at) < c->policy.time_ms;
    return FM_RULE(R23_TIME, good) ? fm_lsn_min(to, c->written) : c->granted;
}

/* -------- events -------- */

void fm_credit_init(struct fm_credit *c, const struct fm_credit_policy *p, uint8_t self,
                    const struct fm_evidence *recorded, struct fm_lsn written, struct fm_mono now)
{
    uint32_t nodes = recorded->promotable & ~bit(self), near = recorded->near & nodes;
    FM_ASSERT(recorded->promotable < bit(FM_CREDIT_NODES_MAX - 1) * 2);
    FM_ASSERT(p->beyond <= FM_CREDIT_LEAVES && p->patience_ms >= 0 && p->time_ms >= 0);
    FM_ASSERT(p->time_ms == 0 || p->bytes != FM_CREDIT_UNLIMITED);
    *c = (struct fm_credit){.policy = *p,
                            .self = self,
                            .recorded = nodes,
                            .wanted = nodes,
                            .near = {.recorded = near, .wanted = near},
                            .written = written,
                            .hole = written, /* what was before it nobody here has granted */
                            .over_since = FM_MONO_NEVER,
                            .spent_since = FM_MONO_NEVER,
                            .grown_at = now,
                            .level_at = now,
                            .joins_since = now};
    for (unsigned i = 0; i < FM_CREDIT_NODES_MAX; i++)
        c->standby[i].native_from = FM_LSN_END;
}

void fm_credit_reset(struct fm_credit *c, const struct fm_credit_policy *p)
{
    uint64_t bytes = c->policy.bytes;
    FM_ASSERT(p->beyond <= FM_CREDIT_LEAVES && p->patience_ms >= 0);
    c->policy = *p;
    c->policy.bytes = bytes;
}

bool fm_credit_guards(bool declared, const struct fm_evidence *recorded)
{
    bool free = recorded->promotable == 0 ||
                (recorded->credit == FM_CREDIT_UNLIMITED && recorded->near == 0);
    return declared || !FM_RULE(R23_UNDECLARED, free);
}

void fm_credit_change(struct fm_credit *c, uint64_t bytes, struct fm_mono now)
{
    c->policy.bytes = bytes;
    look_at_waiting(c, now);
}

void fm_credit_flushed(struct fm_credit *c, unsigned node, struct fm_lsn flush, bool streams,
                       struct fm_mono now)
{
    FM_ASSERT(node != c->self);
    struct fm_credit_standby *s = &c->standby[node];
    s->flush = fm_lsn_max(s->flush, flush);
    c->streaming = streams ? c->streaming | bit(node) : c->streaming & ~bit(node);
    look_at_waiting(c, now);
}

void fm_credit_apart(struct fm_credit *c, uint32_t nodes)
{
    FM_ASSERT(nodes <= bit(FM_CREDIT_NODES_MAX - 1) * 2 - 1);
    c->apart = nodes & ~bit(c->self);
}

void fm_credit_written(struct fm_credit *c, struct fm_lsn end, struct fm_mono now)
{
    bool more = fm_lsn_before(c->written, end);
    c->written = fm_lsn_max(c->written, end);
    if (more)
        set_mark(c, now);
    if (!c->in_force)
        fm_credit_hole(c, c->written);
    look_at_waiting(c, now);
}

void fm_credit_in_force(struct fm_credit *c, bool yes, struct fm_lsn end, struct fm_mono now)
{
    bool since_before = yes && c->in_force;
    c->in_force = since_before; /* what was written until now may have waited for nobody */
    fm_credit_written(c, end, now);
    c->in_force = yes;
}

void fm_credit_native(struct fm_credit *c, uint32_t nodes)
{
    for (unsigned i = 0; i < FM_CREDIT_NODES_MAX; i++) {
        struct fm_credit_standby *s = &c->standby[i];
        if (!(nodes & bit(i)))
            s->native_from = FM_LSN_END;
        else if (!is_native(s)) /* what was granted before may be acknowledged without it */
            s->native_from = fm_lsn_max(c->granted, c->written);
    }
}

void fm_credit_lost(struct fm_credit *c, unsigned node)
{
    c->standby[node] = (struct fm_credit_standby){.native_from = FM_LSN_END};
    c->wanted &= ~bit(node);
    c->joining &= ~bit(node);
    c->streaming &= ~bit(node);
    c->near.wanted &= ~bit(node);
    c->near.joining &= ~bit(node);
}

void fm_credit_hole(struct fm_credit *c, struct fm_lsn end)
{
    c->hole = fm_lsn_max(c->hole, end);
}

void fm_credit_recorded(struct fm_credit *c, uint32_t recorded, uint32_t on_its_way)
{
    uint32_t before = counted(c);
    c->recorded = recorded & ~bit(c->self);
    c->may_be_recorded = on_its_way & ~bit(c->self);
    if (before & ~counted(c)) /* the others have not had their time yet */
        c->over_since = c->spent_since = FM_MONO_NEVER;
}

void fm_credit_recorded_near(struct fm_credit *c, uint32_t recorded, uint32_t on_its_way)
{
    uint32_t before = counted_near(c);
    c->near.recorded = recorded & ~bit(c->self);
    c->near.may_be_recorded = on_its_way & ~bit(c->self);
    if (before & ~counted_near(c))
        c->over_since = c->spent_since = FM_MONO_NEVER;
}

void fm_credit_ask(struct fm_credit_asked *a, struct fm_revision over, const struct fm_evidence *e)
{
    bool again = fm_revision_same(a->over, over);
    a->nodes = again ? a->nodes | e->promotable : e->promotable;
    a->near = again ? a->near | e->near : e->near;
    a->credit = again ? fm_min_u64(a->credit, e->credit) : e->credit;
    a->over = over;
}

void fm_credit_hear(struct fm_credit *c, const struct fm_credit_asked *a, struct fm_revision newest,
                    const struct fm_evidence *recorded, uint64_t declared, struct fm_mono now)
{
    bool on_its_way = fm_revision_same(a->over, newest);
    uint64_t least = declared;
    if (recorded->promotable)
        least = fm_min_u64(least, recorded->credit);
    if (recorded->promotable && on_its_way)
        least = fm_min_u64(least, a->credit);
    if (c->policy.bytes != least)
        fm_credit_change(c, least, now);
    fm_credit_recorded_near(c, recorded->near, on_its_way ? a->near : 0);
    fm_credit_recorded(c, recorded->promotable, on_its_way ? a->nodes : 0);
}

/* -------- what follows -------- */

struct fm_lsn fm_credit_grant(struct fm_credit *c, struct fm_mono until, struct fm_mono now)
{
    if (!FM_RULE(R23_LIVE, fm_mono_before(now, until)))
        return c->granted;
    c->granted = fm_lsn_max(c->granted, in_time(c, least_reach(c), now));
    look_at_waiting(c, now);
    FM_ASSERT(!fm_lsn_before(c->granted, c->proven));
    return c->granted;
}

bool fm_credit_is_due(struct fm_lsn grant, struct fm_lsn said, struct fm_lsn written)
{
    return fm_lsn_before(said, grant) && fm_lsn_ahead(said, written) <= FM_CREDIT_WINDOW / 2;
}

bool fm_credit_is_due_again(struct fm_lsn said, struct fm_mono said_at, struct fm_mono until,
                            struct fm_mono now)
{
    return fm_mono_before(now, until) && !fm_lsn_is_none(said) &&
           fm_mono_sub_ms(now, said_at) >= FM_CREDIT_AGAIN_MS;
}

bool fm_credit_is_short(const struct fm_credit *c)
{
    uint64_t half = fm_min_u64(c->policy.bytes, FM_CREDIT_WINDOW) / 2;
    return c->joining || c->near.joining || fm_lsn_ahead(c->granted, c->written) <= half;
}

/* Does it lack so little that counting it holds nobody up? */
static bool is_close(const struct fm_credit *c, const struct fm_credit_standby *s, uint64_t credit)
{
    uint64_t may = credit < FM_CREDIT_WINDOW ? FM_CREDIT_WINDOW : credit;
    return !fm_lsn_is_none(s->flush) && !fm_lsn_before(s->flush, s->again) &&
           fm_lsn_ahead(c->written, s->flush) <= may;
}

/* Where everything that was granted, or may have been acknowledged, is within that credit. */
static struct fm_lsn within_from(const struct fm_credit *c, const struct fm_credit_standby *s,
                                 uint64_t credit)
{
    uint64_t acknowledged = fm_lsn_max(proven_by(c, s), c->hole).n;
    uint64_t bytes = c->policy.time_ms ? 0 : credit; /* how old they are is not known */
    return (struct fm_lsn){acknowledged > bytes ? acknowledged - bytes : 0};
}

/* The credit that a standby joins with. */
static uint64_t comes_with(const struct fm_credit *c, unsigned node)
{
    return c->policy.near & bit(node) ? 0 : c->policy.bytes;
}

static bool is_within(const struct fm_credit *c, unsigned node)
{
    const struct fm_credit_standby *s = &c->standby[node];
    return FM_RULE(R23_JOIN, !fm_lsn_before(s->flush, within_from(c, s, comes_with(c, node))));
}

static void let_join(struct fm_credit *c)
{
    uint32_t may = c->policy.able & c->streaming & ~(c->wanted | bit(c->self));
    c->joining &= may;
    for (unsigned i = 0; i < FM_CREDIT_NODES_MAX; i++) {
        if (may & bit(i) && is_close(c, &c->standby[i], comes_with(c, i)))
            c->joining |= bit(i);
        if (!(c->joining & bit(i)) || !is_within(c, i))
            continue;
        c->wanted |= bit(i);
        c->near.wanted |= bit(i) & c->policy.near;
        c->joining &= ~bit(i);
    }
}

/* Of those that count with a credit, and are to have none from now on. */
static void let_near(struct fm_credit *c)
{
    struct fm_credit_near *n = &c->near;
    uint32_t may = c->policy.near & c->wanted & c->streaming & ~n->wanted;
    n->joining &= may;
    for (unsigned i = 0; i < FM_CREDIT_NODES_MAX; i++) {
        const struct fm_credit_standby *s = &c->standby[i];
        if (may & bit(i) && is_close(c, s, 0))
            n->joining |= bit(i);
        bool has = !fm_lsn_before(s->flush, within_from(c, s, 0));
        if (!(n->joining & bit(i)) || !FM_RULE(R23_NEAR_JOIN, has))
            continue;
        n->wanted |= bit(i);
        n->joining &= ~bit(i);
    }
}

/* Whoever was taken out, or is delayed from now on, leaves: it counts until that is recorded. */
static void let_out(struct fm_credit *c)
{
    c->wanted &= FM_RULE_PICK(R23_ABLE, c->policy.able, UINT32_MAX);
    c->joining &= c->policy.able;
    c->near.wanted &= c->wanted & c->policy.near;
}

/* The one of them that holds commits up. */
static uint8_t slowest(const struct fm_credit *c, uint32_t nodes)
{
    uint8_t who = FM_CREDIT_NOBODY;
    struct fm_lsn least = FM_LSN_END;
    for (unsigned i = 0; i < FM_CREDIT_NODES_MAX; i++)
        if (nodes & bit(i) && fm_lsn_before(goes_to(c, i), least)) {
            least = goes_to(c, i);
            who = (uint8_t)i;
        }
    return who;
}

/* Commits have waited too long for this one. One that has left already is gone once that is
 * recorded. */
static void let_go(struct fm_credit *c, uint8_t node)
{
    if (node == FM_CREDIT_NOBODY)
        return;
    bool stays = c->policy.beyond == FM_CREDIT_BLOCKS && c->wanted & bit(node);
    if (stays || !((c->wanted | c->joining) & bit(node)))
        return;
    c->wanted &= ~bit(node);
    c->joining &= ~bit(node);
    c->near.wanted &= ~bit(node);
    c->near.joining &= ~bit(node);
    c->standby[node].again = c->written;
}

/* Where those that join have what they need. A credit that was granted before it was declared that
 * some have none is not written for that: they wait until others have written so much. */
static struct fm_lsn joins_at(const struct fm_credit *c)
{
    struct fm_lsn at = FM_LSN_NONE;
    for (unsigned i = 0; i < FM_CREDIT_NODES_MAX; i++) {
        if (!((c->joining | c->near.joining) & bit(i)))
            continue;
        struct fm_lsn to = within_from(c, &c->standby[i], comes_with(c, i));
        if (!(c->policy.near & bit(i)) || fm_lsn_ahead(to, c->written) <= FM_CREDIT_MOVE_ON_MAX)
            at = fm_lsn_max(at, to);
    }
    return at;
}

struct fm_credit_verdict fm_credit_look(struct fm_credit *c, struct fm_mono now)
{
    look_at_waiting(c, now);
    struct fm_mono at = used_up_at(c);
    struct fm_credit_verdict v = {.waiting = !fm_mono_is_never(c->over_since),
                                  .used_up = !fm_mono_before(now, at),
                                  .node = FM_CREDIT_NOBODY,
                                  .wake = at};
    bool spent = !fm_mono_is_never(c->spent_since) &&
                 fm_mono_sub_ms(now, c->spent_since) >= c->policy.patience_ms;
    if (v.waiting) /* those without a credit always lack a little */
        v.node = slowest(c, spent ? counted(c) & ~counted_near(c) : counted(c));
    if (v.node != FM_CREDIT_NOBODY && c->apart & bit(v.node))
        v.used_up = true; /* it does not come, however long they wait */
    if (v.used_up) {
        v.wake = FM_MONO_NEVER;
        let_go(c, v.node);
    }
    let_out(c);
    let_join(c);
    let_near(c);
    v.joining = c->joining | c->near.joining;
    v.joins_at = joins_at(c);
    c->may_be_recorded |= c->wanted;
    c->near.may_be_recorded |= c->near.wanted;
    v.wanted = c->wanted;
    v.near = c->near.wanted;
    FM_ASSERT(!(v.wanted & bit(c->self)) && !(v.wanted & c->joining));
    FM_ASSERT(!(v.near & ~v.wanted) && !(v.near & c->near.joining));
    return v;
}

/* A server that has begun a page of its log, and nothing on it, says that the log ends behind the
 * page's header; who has all of it says that it ends before. Only another record shows that. */
static bool waits_at_header(const struct fm_credit *c)
{
    uint32_t nodes = (counted(c) | c->policy.able) & c->streaming & ~bit(c->self);
    for (unsigned i = 0; i < FM_CREDIT_NODES_MAX; i++) {
        struct fm_lsn flush = c->standby[i].flush;
        if (nodes & bit(i) && !fm_lsn_is_none(flush) && flush.n % LOG_PAGE == 0 &&
            fm_lsn_before(flush, c->written) && fm_lsn_ahead(c->written, flush) <= LOG_HEADER_MAX)
            return true;
    }
    return false;
}

uint64_t fm_credit_move_on(struct fm_credit *c, const struct fm_credit_verdict *v,
                           struct fm_mono now)
{
    uint64_t ahead = v->joining ? fm_lsn_ahead(v->joins_at, c->written) : 0;
    if (!ahead && waits_at_header(c))
        ahead = 1;
    if (!ahead)
        c->joins_since = now;
    if (fm_mono_sub_ms(now, c->joins_since) < FM_CREDIT_MOVE_ON_MS)
        return 0;
    c->joins_since = now;
    return fm_min_u64(ahead, FM_CREDIT_MOVE_ON_MAX);
}

/* -------- whom the server waits for itself -------- */

uint32_t fm_credit_names(const struct fm_credit_policy *p, const struct fm_credit *c,
                         uint32_t recorded)
{
    FM_ASSERT(p->beyond <= FM_CREDIT_LEAVES);
    uint32_t nodes = c ? counted(c) : recorded;
    return p->beyond == FM_CREDIT_BLOCKS ? nodes | p->able : nodes;
}

uint32_t fm_credit_near_names(const struct fm_credit *c, uint32_t recorded)
{
    return c ? counted_near(c) : recorded;
}

bool fm_credit_stream_fits(struct fm_credit_stream *s, bool open, uint32_t names)
{
    bool fits = !open || !s->knows || s->names == names;
    if (open)
        *s = (struct fm_credit_stream){true, names};
    return fits;
}

/* -------- bounds -------- */

static struct fm_credit_bound bound(enum fm_credit_kind kind, uint64_t bytes)
{
    /* they end at least that far from each other */
    uint64_t n = bytes / FM_CREDIT_COMMIT_LEAST + (bytes % FM_CREDIT_COMMIT_LEAST != 0);
    return (struct fm_credit_bound){(uint8_t)kind, bytes, n};
}

struct fm_credit_bound fm_credit_bound_at_least(struct fm_credit_bound b, uint64_t bytes)
{
    return bytes > b.bytes ? bound((enum fm_credit_kind)b.kind, bytes) : b;
}

struct fm_credit_bound fm_credit_bound(const struct fm_credit *c)
{
    uint32_t nodes = c->recorded | c->may_be_recorded; /* one of them might take over */
    uint64_t most = 0, behind = 0;
    if (!FM_RULE(R23_NOBODY, (c->recorded & c->wanted) != 0))
        return bound(FM_CREDIT_UNBOUNDED, 0);
    for (unsigned i = 0; i < FM_CREDIT_NODES_MAX; i++) {
        const struct fm_credit_standby *s = &c->standby[i];
        if (!(nodes & bit(i)))
            continue;
        if (fm_lsn_is_none(s->flush)) /* recorded, and not heard yet */
            return bound(FM_CREDIT_UNBOUNDED, 0);
        most = fm_max_u64(most, fm_lsn_ahead(proven_by(c, s), s->flush));
        behind = fm_max_u64(behind, fm_lsn_ahead(c->written, s->flush));
    }
    bool whole = fm_lsn_is_none(fm_credit_holes_to(c));
    if (c->policy.bytes == FM_CREDIT_UNLIMITED) /* there is no more than what is written */
        return bound(FM_CREDIT_ESTIMATE, behind);
    if (!whole)
        return bound(FM_CREDIT_ESTIMATE, fm_max_u64(most, behind));
    return bound(FM_CREDIT_ENFORCED, most);
}

uint64_t fm_credit_counts_with(const struct fm_credit *c)
{
    uint32_t nodes = c->recorded | c->may_be_recorded;
    uint64_t most = c->policy.bytes;
    for (unsigned i = 0; i < FM_CREDIT_NODES_MAX; i++)
        if (nodes & bit(i))
            most =
                fm_max_u64(most, fm_lsn_ahead(proven_by(c, &c->standby[i]), c->standby[i].flush));
    return FM_RULE_PICK(R23_LOWERED, most, c->policy.bytes);
}

struct fm_lsn fm_credit_holes_to(const struct fm_credit *c)
{
    uint32_t nodes = c->recorded | c->may_be_recorded;
    if (!c->in_force)
        return FM_LSN_END;
    bool passed = !fm_lsn_before(least_flush(c, nodes), c->hole);
    return FM_RULE(R24_PASSED, passed) ? FM_LSN_NONE : c->hole;
}

struct fm_credit_bound fm_credit_bound_of_survivor(const struct fm_evidence *recorded, uint8_t self,
                                                   struct fm_lsn flush)
{
    bool counts = recorded->promotable & bit(self) && !fm_lsn_is_none(flush);
    bool near = FM_RULE_PICK(R23_NEAR_SURVIVOR, recorded->near & bit(self), recorded->near) != 0;
    uint64_t credit = near ? 0 : recorded->credit;
    struct fm_lsn holes_to = {recorded->holes_to};
    if (!FM_RULE(R23_SURVIVOR, counts))
        return bound(FM_CREDIT_UNBOUNDED, 0);
    if (credit == FM_CREDIT_UNLIMITED)
        return bound(FM_CREDIT_ESTIMATE, 0);
    if (!FM_RULE(R24_HOLE, !fm_lsn_before(flush, holes_to)))
        return bound(FM_CREDIT_ESTIMATE, fm_max_u64(credit, fm_lsn_ahead(holes_to, flush)));
    return bound(FM_CREDIT_ENFORCED, credit);
}

bool fm_credit_bound_is_less(const struct fm_credit_bound *a, const struct fm_credit_bound *b)
{
    FM_ASSERT(a->kind < FM_CREDIT_KIND_COUNT && b->kind < FM_CREDIT_KIND_COUNT);
    return a->kind < b->kind || (a->kind == b->kind && a->bytes < b->bytes);
}
