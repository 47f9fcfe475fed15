/* Commands at a gate that only one region may take (SAFETY.md 13 to 16). core/sublease.h decides;
 * here its cell is read, and what may be under way is counted before it is read. */
#include "proxy/request.h"

#include "base/assert.h"

static bool is_gate(const struct fm_request *rq)
{
    return rq->w->config.mode == FM_PROXY_GATE;
}

enum fm_problem fm_admit_problem(enum fm_admit a)
{
    switch (a) {
    case FM_ADMIT_YES:
        return FM_PROBLEM_NONE;
    case FM_ADMIT_MOVING:
        return FM_PROBLEM_MOVING;
    case FM_ADMIT_NOT_HOLDER:
        return FM_PROBLEM_NOT_HOLDER;
    case FM_ADMIT_READ_ONLY:
        return FM_PROBLEM_READ_ONLY;
    case FM_ADMIT_DEADLINE:
        return FM_PROBLEM_DEADLINE;
    case FM_ADMIT_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

void fm_admit_leave(struct fm_request *rq)
{
    if (!rq->entered)
        return;
    rq->entered = false;
    fm_seats_leave(rq->seats, rq->cell);
}

/* What is here is within its deadline: that was looked at when it came, and is again when it goes.
 */
enum fm_admit fm_admit_command(struct fm_request *rq)
{
    FM_ASSERT(is_gate(rq) && rq->seats && rq->command && rq->placed && !rq->entered);
    fm_seats_enter(rq->seats, rq->cell);
    rq->entered = true;
    struct fm_sublease_cell cell;
    fm_seats_read_sublease(rq->seats, rq->cell, &cell);
    struct fm_command c = {.cell = rq->cell, .epoch = rq->epoch, .left_ns = INT64_MAX};
    struct fm_gate_now at = {.region = (uint8_t)rq->vr->view->self,
                             .read_only =
                                 atomic_load_explicit(&rq->seats->read_only, memory_order_relaxed),
                             .now = fm_mono_now()};
    bool higher;
    enum fm_admit a = fm_sublease_admit(&cell, &c, &at, &higher);
    if (higher)
        fm_seats_met(rq->w->config.seats, rq->seats, rq->cell, rq->epoch);
    if (a == FM_ADMIT_YES)
        rq->epoch = cell.epoch;
    else
        fm_admit_leave(rq);
    fm_counter_inc(a == FM_ADMIT_YES ? &rq->w->metrics.admitted : &rq->w->metrics.not_admitted);
    return a;
}

/* The newest configuration counts, also for what began to come under an older one: who asks this
 * one what it took (agent/heir.h) has to be right when no new request goes by that any more. */
enum fm_problem fm_admit_key(const struct fm_request *rq)
{
    const struct fm_view *v = rq->w->view->view;
    FM_ASSERT(is_gate(rq) && v->self < v->nregions);
    if (!rq->one_gate)
        return FM_PROBLEM_NONE;
    const struct fm_view_region *r = &v->regions[v->self];
    unsigned owner = r->ngates ? fm_keygate_of(r->gate, r->ngates, rq->gate_key) : FM_NO_GATE;
    const _Atomic bool *caught_up = rq->w->config.caught_up;
    bool knows = !caught_up || atomic_load_explicit(caught_up, memory_order_acquire);
    switch (fm_keygate_decide(v->self_gate, owner, knows)) {
    case FM_KEYGATE_TAKE:
        return FM_PROBLEM_NONE;
    case FM_KEYGATE_OTHER:
        return FM_PROBLEM_OTHER_GATE;
    case FM_KEYGATE_BEHIND:
        return FM_PROBLEM_CATCHING_UP;
    case FM_KEYGATE_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

bool fm_admit_is_live(const struct fm_request *rq)
{
    FM_ASSERT(rq->entered && rq->epoch.n > 0);
    struct fm_sublease_cell cell;
    fm_seats_read_sublease(rq->seats, rq->cell, &cell);
    return fm_sublease_live(&cell, rq->epoch, fm_mono_now());
}

bool fm_admit_passes(const struct fm_try *t)
{
    const struct fm_request *rq = t->rq;
    if (rq->onward)
        return fm_onward_answer_passes(t);
    if (!rq->entered)
        return true;
    struct fm_sublease_cell cell;
    fm_seats_read_sublease(rq->seats, rq->cell, &cell);
    return fm_sublease_may_relay(&cell, rq->epoch, fm_mono_now());
}

/* What was done under an epoch that ended by force may be lost, since another region went on
 * without it. How the epochs before the present one ended is in the view that shows this one. */
enum fm_problem fm_admit_repeat(const struct fm_request *rq, unsigned cell, uint64_t epoch)
{
    if (!rq->entered || epoch == 0 || (epoch == rq->epoch.n && cell == rq->cell))
        return FM_PROBLEM_NONE;
    if (cell != rq->cell) /* its key was in another one then */
        return FM_PROBLEM_OUTCOME_UNKNOWN;
    struct fm_view_cell view;
    fm_seats_read_view(rq->seats, rq->cell, &view);
    if (!fm_epoch_same(view.epoch, rq->epoch)) {
        fm_seats_ring(rq->w->config.seats);
        return FM_PROBLEM_MOVING;
    }
    return fm_answer_passes(&view, (struct fm_epoch){epoch}) ? FM_PROBLEM_NONE
                                                             : FM_PROBLEM_OUTCOME_UNKNOWN;
}

/* -------- tunnels -------- */

void fm_admit_tunnel(struct fm_request *rq)
{
    FM_ASSERT(rq->tunnel);
    if (!is_gate(rq) || !rq->seats || !rq->placed || rq->entered || rq->override)
        return;
    struct fm_sublease_cell cell;
    fm_seats_read_sublease(rq->seats, rq->cell, &cell);
    if (fm_sublease_live(&cell, cell.epoch, fm_mono_now()))
        rq->epoch = cell.epoch;
}

/* One of a command counts as in flight, so it ends where commands are held for a move. */
bool fm_admit_stays(const struct fm_request *rq)
{
    if (!is_gate(rq) || !rq->seats || !rq->placed || rq->epoch.n == 0)
        return true;
    struct fm_mono now = fm_mono_now();
    struct fm_sublease_cell cell;
    fm_seats_read_sublease(rq->seats, rq->cell, &cell);
    bool quiet = rq->entered && fm_mono_before(now, cell.quiet_until);
    return !quiet && fm_sublease_live(&cell, rq->epoch, now) &&
           !atomic_load_explicit(&rq->seats->read_only, memory_order_relaxed);
}

void fm_admit_look_again(struct fm_worker *w)
{
    if (w->config.mode != FM_PROXY_GATE)
        return;
    fm_list_each_safe (at, next, &w->requests) {
        struct fm_request *rq = fm_container_of(at, struct fm_request, node);
        if (rq->tunnel && !fm_admit_stays(rq))
            fm_relay_cut(rq);
    }
}

/* -------- without authority -------- */

bool fm_admit_overrides(const struct fm_request *rq)
{
    FM_ASSERT(is_gate(rq) && rq->seats && rq->command && rq->placed);
    bool lapsed = fm_seats_has_lapsed(rq->seats, rq->cell);
    return fm_when_away((enum fm_away)rq->route->away, lapsed, rq->route->concurrent) ==
           FM_AWAY_OVERRIDE;
}

bool fm_admit_override(const struct fm_request *rq, const struct fm_http_head *h)
{
    return is_gate(rq) && rq->seats && rq->command &&
           fm_str_eq(fm_http_value(h, FM_HDR_FULMAR_MODE), FM_STR("override")) &&
           (!rq->placed || fm_admit_overrides(rq));
}

/* What the application may do: nothing but answer, where its region does not hold the cell, its
 * data are not open, or an operator said so. */
struct fm_str fm_admit_mode(const struct fm_request *rq)
{
    if (!is_gate(rq) || !rq->seats)
        return fm_str(NULL, 0);
    if (rq->override)
        return FM_STR("override");
    bool read_only = atomic_load_explicit(&rq->seats->read_only, memory_order_relaxed);
    if (!rq->command && rq->placed && !read_only) {
        struct fm_sublease_cell cell;
        fm_seats_read_sublease(rq->seats, rq->cell, &cell);
        read_only = cell.closed || !fm_sublease_live(&cell, cell.epoch, fm_mono_now());
    }
    return read_only ? FM_STR("read-only") : FM_STR("normal");
}
