/* The door of a PostgreSQL group. Invariants: a connection is passed on to a primary only under the
 * epoch of a sub-lease that is live at that moment, and bytes of such a session only while it is
 * live again; nobody waits longer than `hold_ms`. */
#include "core/door.h"

#include "core/group.h"

const char *fm_door_kind_name(enum fm_door_kind k)
{
    FM_ASSERT(k < FM_DOOR_KIND_COUNT);
    return k == FM_DOOR_READ_WRITE ? "read-write" : "read-only";
}

struct why {
    const char *name, *state, *text;
};

static const struct why whys[] = {
#define X(id, name, state, text) [FM_DOOR_WHY_##id] = {name, state, text},
    FM_DOOR_WHYS(X)
#undef X
};

const char *fm_door_why_name(enum fm_door_why w)
{
    FM_ASSERT(w < FM_COUNT(whys));
    return whys[w].name;
}

const char *fm_door_why_state(enum fm_door_why w)
{
    FM_ASSERT(w < FM_COUNT(whys));
    return whys[w].state;
}

const char *fm_door_why_text(enum fm_door_why w)
{
    FM_ASSERT(w < FM_COUNT(whys));
    return whys[w].text;
}

/* -------- who comes -------- */

static struct fm_door_choice refuse(enum fm_door_why why)
{
    FM_ASSERT(why != FM_DOOR_WHY_NONE);
    return (struct fm_door_choice){.verdict = FM_DOOR_REFUSE, .why = why};
}

static struct fm_door_choice hold(const struct fm_door_view *v, const struct fm_door_ask *a,
                                  enum fm_door_why why, struct fm_mono now)
{
    FM_ASSERT(v->policy.hold_ms >= 0 && why != FM_DOOR_WHY_NONE);
    if (!fm_mono_before(now, fm_mono_add_ms(a->came, v->policy.hold_ms)))
        return refuse(why);
    return (struct fm_door_choice){.verdict = FM_DOOR_HOLD, .why = why};
}

static struct fm_door_choice pass_on(const struct fm_door_view *v, unsigned node)
{
    const struct fm_door_node *n = &v->node[node];
    FM_ASSERT(node < v->nnodes && n->role != FM_DOOR_AWAY && n->distance != FM_DOOR_NO_WAY);
    return (struct fm_door_choice){.verdict = FM_DOOR_CONNECT,
                                   .why = FM_DOOR_WHY_NONE,
                                   .node = (uint8_t)node,
                                   .role = n->role,
                                   .epoch = n->epoch};
}

static bool is_live(const struct fm_door_view *v, struct fm_mono now)
{
    return fm_sublease_live(&v->cell, v->cell.epoch, now);
}

static bool is_elsewhere(const struct fm_door_view *v, struct fm_mono now)
{
    bool other = v->cell.holder != FM_NOBODY && v->cell.holder != v->region;
    return other && !is_live(v, now);
}

static int find_primary(const struct fm_door_view *v)
{
    FM_ASSERT(v->nnodes <= FM_DOOR_NODES_MAX);
    for (unsigned i = 0; i < v->nnodes; i++)
        if (v->node[i].role == FM_DOOR_PRIMARY && fm_epoch_same(v->node[i].epoch, v->cell.epoch))
            return (int)i;
    return -1;
}

/* A node that does not answer may be about to: it is tried again until the wait is over. */
static struct fm_door_choice choose_primary(const struct fm_door_view *v,
                                            const struct fm_door_ask *a, struct fm_mono now)
{
    if (is_elsewhere(v, now))
        return refuse(FM_DOOR_WHY_ELSEWHERE);
    if (!is_live(v, now) || fm_mono_before(now, v->cell.quiet_until))
        return hold(v, a, FM_DOOR_WHY_MOVING, now);
    int primary = find_primary(v);
    if (primary < 0)
        return hold(v, a, FM_DOOR_WHY_NO_PRIMARY, now);
    if (v->node[primary].distance == FM_DOOR_NO_WAY)
        return refuse(FM_DOOR_WHY_NO_WAY);
    if (a->failed >> primary & 1)
        return hold(v, a, FM_DOOR_WHY_NO_ANSWER, now);
    return pass_on(v, (unsigned)primary);
}

/* What was seen some time ago is at least as much older now. */
static bool is_fresh(const struct fm_door_view *v, const struct fm_door_node *n, struct fm_mono now)
{
    FM_ASSERT(v->policy.read_lag_ms >= 0 && !fm_mono_is_never(n->seen));
    int64_t age_ms = fm_mono_sub_ms(now, n->seen);
    return n->role == FM_DOOR_STANDBY && n->distance != FM_DOOR_NO_WAY && n->lag_ms >= 0 &&
           age_ms >= 0 && n->lag_ms <= v->policy.read_lag_ms &&
           age_ms <= v->policy.read_lag_ms - n->lag_ms;
}

/* Of the nearest that will do, the one that the salt points at: who comes again gets the same one.
 */
static int find_standby(const struct fm_door_view *v, const struct fm_door_ask *a,
                        struct fm_mono now)
{
    unsigned distance = FM_DOOR_NO_WAY, n = 0;
    uint8_t good[FM_DOOR_NODES_MAX];
    FM_ASSERT(v->nnodes <= FM_DOOR_NODES_MAX);
    for (unsigned i = 0; i < v->nnodes; i++) {
        const struct fm_door_node *node = &v->node[i];
        if ((a->failed >> i & 1) || !is_fresh(v, node, now) || node->distance > distance)
            continue;
        if (node->distance < distance)
            n = 0;
        distance = node->distance;
        good[n++] = (uint8_t)i;
    }
    return n ? good[a->salt % n] : -1;
}

static struct fm_door_choice choose(const struct fm_door_view *v, const struct fm_door_ask *a,
                                    struct fm_mono now)
{
    if (a->kind == FM_DOOR_READ_WRITE)
        return v->read_only ? refuse(FM_DOOR_WHY_READ_ONLY) : choose_primary(v, a, now);
    int standby = find_standby(v, a, now);
    if (standby >= 0)
        return pass_on(v, (unsigned)standby);
    if (is_elsewhere(v, now))
        return refuse(FM_DOOR_WHY_NO_STANDBY);
    return choose_primary(v, a, now);
}

/* A crowd of readers waits for its standby: the primary has its own work. */
struct fm_door_choice fm_door_choose(const struct fm_door_view *v, const struct fm_door_ask *a,
                                     struct fm_mono now)
{
    FM_ASSERT(a->kind < FM_DOOR_KIND_COUNT && a->came.ns <= now.ns);
    struct fm_door_choice c = choose(v, a, now);
    FM_ASSERT(c.verdict != FM_DOOR_CONNECT || !(a->failed >> c.node & 1));
    bool busy = c.verdict == FM_DOOR_CONNECT && (a->busy >> c.node & 1);
    return busy ? hold(v, a, FM_DOOR_WHY_NO_ANSWER, now) : c;
}

static int find_here(const struct fm_door_view *v)
{
    FM_ASSERT(v->nnodes <= FM_DOOR_NODES_MAX);
    for (unsigned i = 0; i < v->nnodes; i++)
        if (v->node[i].distance == FM_DOOR_HERE)
            return (int)i;
    return -1;
}

/* What is promised to a gate holds here as well: the epoch that it goes by is live by this host's
 * own sub-lease, and the node is open under it. */
struct fm_door_choice fm_door_receive(const struct fm_door_view *v, const struct fm_door_visit *x,
                                      struct fm_mono now)
{
    FM_ASSERT(x->role == FM_DOOR_PRIMARY || x->role == FM_DOOR_STANDBY);
    int here = find_here(v);
    if (here < 0)
        return refuse(FM_DOOR_WHY_NO_WAY);
    const struct fm_door_node *n = &v->node[here];
    if (x->role == FM_DOOR_STANDBY)
        return n->role == FM_DOOR_STANDBY ? pass_on(v, (unsigned)here)
                                          : refuse(FM_DOOR_WHY_ROLE_CHANGED);
    if (!fm_epoch_same(x->epoch, v->cell.epoch))
        return refuse(FM_DOOR_WHY_EPOCH_OVER);
    if (!is_live(v, now) || fm_mono_before(now, v->cell.quiet_until))
        return refuse(FM_DOOR_WHY_MOVING);
    if (n->role != FM_DOOR_PRIMARY || !fm_epoch_same(n->epoch, x->epoch))
        return refuse(FM_DOOR_WHY_NO_PRIMARY);
    return pass_on(v, (unsigned)here);
}

/* Of nodes that nobody has told of yet it is not known that they are far. */
static bool has_way(const struct fm_door_view *v)
{
    FM_ASSERT(v->nnodes <= FM_DOOR_NODES_MAX);
    for (unsigned i = 0; i < v->nnodes; i++)
        if (v->node[i].distance != FM_DOOR_NO_WAY)
            return true;
    return v->nnodes == 0;
}

bool fm_door_listens(const struct fm_door_view *v, enum fm_door_kind kind, struct fm_mono now)
{
    FM_ASSERT(kind < FM_DOOR_KIND_COUNT);
    if (!has_way(v))
        return false;
    return kind != FM_DOOR_READ_WRITE || !is_elsewhere(v, now);
}

/* -------- who is there -------- */

static enum fm_door_pass reset(enum fm_door_why *why, enum fm_door_why w)
{
    FM_ASSERT(w != FM_DOOR_WHY_NONE);
    *why = w;
    return FM_DOOR_RESET;
}

/* A reader's standby that was promoted would let the reader write. That it lags, or is not heard
 * of, ends no session. */
static enum fm_door_pass passes_standby(const struct fm_door_node *n, enum fm_door_why *why)
{
    FM_ASSERT(n && why);
    if (n->role == FM_DOOR_PRIMARY)
        return reset(why, FM_DOOR_WHY_ROLE_CHANGED);
    return FM_DOOR_PASS;
}

enum fm_door_pass fm_door_passes(const struct fm_door_view *v, const struct fm_door_session *s,
                                 struct fm_mono now, enum fm_door_why *why)
{
    FM_ASSERT(s->node < FM_DOOR_NODES_MAX && s->role != FM_DOOR_AWAY);
    *why = FM_DOOR_WHY_NONE;
    if (s->node >= v->nnodes)
        return reset(why, FM_DOOR_WHY_ROLE_CHANGED);
    const struct fm_door_node *n = &v->node[s->node];
    if (s->role == FM_DOOR_STANDBY)
        return passes_standby(n, why);
    FM_ASSERT(s->epoch.n > 0);
    if (fm_epoch_newer(v->cell.known, s->epoch) || fm_epoch_newer(v->cell.epoch, s->epoch) ||
        !fm_epoch_newer(s->epoch, v->cell.stopped))
        return reset(why, FM_DOOR_WHY_EPOCH_OVER);
    bool other = n->role == FM_DOOR_STANDBY ||
                 (n->role == FM_DOOR_PRIMARY && !fm_epoch_same(n->epoch, s->epoch));
    if (other)
        return reset(why, FM_DOOR_WHY_ROLE_CHANGED);
    if (fm_sublease_may_relay(&v->cell, s->epoch, now))
        return FM_DOOR_PASS;
    if (!fm_mono_is_never(s->waits) &&
        !fm_mono_before(now, fm_mono_add_ms(s->waits, v->policy.hold_ms)))
        return reset(why, FM_DOOR_WHY_LAPSED);
    return FM_DOOR_WAIT;
}

/* -------- what nodes report -------- */

/* Marks that are close together would make the ring short. */
void fm_door_tide_rises(struct fm_door_tide *t, struct fm_lsn flush, struct fm_mono now)
{
    FM_ASSERT(t->n <= FM_DOOR_TIDE && t->at < FM_DOOR_TIDE);
    unsigned last = (t->at + FM_DOOR_TIDE - 1) % FM_DOOR_TIDE;
    if (t->n > 0 && fm_mono_sub_ms(now, t->mark[last].seen) < FM_DOOR_TIDE_MS)
        return;
    t->mark[t->at].flush = flush;
    t->mark[t->at].seen = now;
    t->at = (t->at + 1) % FM_DOOR_TIDE;
    t->n += t->n < FM_DOOR_TIDE;
}

static bool find_mark(const struct fm_door_tide *t, struct fm_lsn replay, struct fm_mono *seen)
{
    FM_ASSERT(t->n <= FM_DOOR_TIDE);
    for (unsigned i = 1; i <= t->n; i++) {
        unsigned at = (t->at + FM_DOOR_TIDE - i) % FM_DOOR_TIDE;
        *seen = t->mark[at].seen;
        if (t->mark[at].flush.n <= replay.n)
            return true;
    }
    return false;
}

struct fm_door_node fm_door_node_of(const struct fm_group_report *r, const struct fm_door_tide *t,
                                    unsigned distance)
{
    FM_ASSERT(r->state < FM_GROUP_STATE_COUNT && distance <= FM_DOOR_NO_WAY);
    struct fm_door_node n = {
        .role = FM_DOOR_AWAY, .distance = (uint8_t)distance, .lag_ms = -1, .seen = r->at};
    if (r->state == FM_GROUP_PRIMARY || r->state == FM_GROUP_DRAINING) {
        n.role = FM_DOOR_PRIMARY;
        n.epoch = r->epoch;
    } else if (r->recovery && r->delay_ms == 0 &&
               (r->state == FM_GROUP_STANDBY || r->state == FM_GROUP_CATCHING_UP)) {
        n.role = FM_DOOR_STANDBY;
        n.lag_ms = find_mark(t, r->replay, &n.seen) ? 0 : -1;
    }
    return n;
}
