/* What a request is about: the cell of its key (core/classify.h), and where queries about it go. */
#include "proxy/request.h"

#include "base/assert.h"

_Static_assert(offsetof(struct fm_http_field, name) == 0 &&
                   offsetof(struct fm_http_field, value) == sizeof(struct fm_str),
               "core/key.h reads fields as two strings at the beginning of each");

static enum fm_problem place(struct fm_request *rq, const struct fm_key_request *q)
{
    const struct fm_view_context *c = &rq->vr->view->contexts[rq->context];
    FM_ASSERT(c->seats && c->cells.count == c->seats->ncells);
    if (!rq->route->has_key && c->cells.count > 1)
        return rq->command ? FM_PROBLEM_ENTITY_MISSING : FM_PROBLEM_NONE;
    struct fm_cells cells = c->cells;
    bool files = c->has_files.pins || c->has_files.directory;
    if (files && (!c->keyfiles ||
                  !fm_keyfiles_cells(c->keyfiles, c->has_files, rq->w->config.index, &cells)))
        return rq->command ? FM_PROBLEM_OVERLOADED : FM_PROBLEM_NONE; /* not yet */
    struct fm_class_rule rule = {&cells, rq->route->has_key ? &rq->route->key : NULL};
    struct fm_class_place at;
    fm_class_place(&rule, q, &at);
    rq->placed = at.problem == FM_PROBLEM_NONE;
    rq->cell = (uint8_t)at.cell;
    if (rq->queue)
        rq->lane = at.key;
    FM_ASSERT(!rq->placed || rq->cell < c->seats->ncells);
    return rq->command ? at.problem : FM_PROBLEM_NONE;
}

/* Where there is one cell, it matters only to the order of what is queued. */
static bool key_is_in_body(const struct fm_request *rq)
{
    return rq->route->has_key && rq->route->key.from == FM_KEY_BODY &&
           (rq->queue || rq->vr->view->contexts[rq->context].cells.count > 1);
}

enum fm_problem fm_place_head(struct fm_request *rq, const struct fm_http_head *h,
                              const struct fm_match_result *m)
{
    rq->seats = rq->vr->view->contexts[rq->context].seats;
    if (!rq->seats || key_is_in_body(rq))
        return FM_PROBLEM_NONE;
    struct fm_key_request q = {.path = h->path,
                               .segment = m->segment,
                               .nsegments = m->nsegments,
                               .query = h->query,
                               .fields = h->field,
                               .stride = sizeof *h->field,
                               .nfields = h->nfields};
    return place(rq, &q);
}

static void gather(void *user, struct fm_str piece)
{
    fm_buf_str_add(user, piece);
}

enum fm_problem fm_place_body(struct fm_request *rq)
{
    if (!rq->seats || !key_is_in_body(rq))
        return FM_PROBLEM_NONE;
    struct fm_worker *w = rq->w;
    struct fm_buf b = fm_buf(w->scratch, w->scratch_size);
    fm_request_body(rq, gather, &b);
    struct fm_key_request q = {.body = fm_buf_str(&b), .body_cut = rq->streaming || b.full};
    return place(rq, &q);
}

/* -------- keys -------- */

void fm_place_key(struct fm_request *rq, struct fm_str key)
{
    FM_ASSERT(rq->command && key.n > 0);
    rq->one_gate = true;
    rq->gate_key = fm_keygate_key(rq->vr->view->contexts[rq->context].name, key);
}

/* What is to be queued, taken without authority or passed on, any gate takes. */
bool fm_place_has_one(const struct fm_request *rq, unsigned region)
{
    FM_ASSERT(region < rq->vr->view->nregions);
    return rq->one_gate && !rq->queue && !rq->override && !rq->round &&
           rq->vr->view->regions[region].gates;
}

uint16_t fm_place_gate(const struct fm_request *rq, unsigned region)
{
    if (!fm_place_has_one(rq, region))
        return FM_NO_GATE;
    const struct fm_view_region *r = &rq->vr->view->regions[region];
    return (uint16_t)fm_keygate_of(r->gate, r->ngates, rq->gate_key);
}

/* -------- queries -------- */

static void add(struct fm_route_plan *p, unsigned region)
{
    if (p->n < FM_COUNT(p->region))
        p->region[p->n++] = (uint8_t)region;
}

/* The holder's region first, twice, so that a hedge stays among its instances. Others only where
 * the route lets any region answer while the holder is away; then it gets canaries. */
void fm_place_plan_query(struct fm_request *rq, struct fm_route_plan *plan)
{
    const struct fm_view_context *c = &rq->vr->view->contexts[rq->context];
    FM_ASSERT(rq->seats && !rq->command);
    struct fm_view_cell cell = {.region = 0};
    bool home = !c->queries_any && rq->placed;
    if (home)
        fm_seats_read_view(rq->seats, rq->cell, &cell);
    if (!home || cell.epoch.n == 0 || cell.region >= rq->vr->view->nregions) {
        fm_plan_route(rq, FM_CANARY_OF_ANY, plan);
        return;
    }
    struct fm_route_plan any;
    fm_plan_route(rq, cell.region, &any);
    FM_ASSERT(any.n <= FM_REGIONS_MAX);
    bool away = fm_plan_is_left(rq, cell.region) && !any.canary;
    *plan = (struct fm_route_plan){.healthy = any.healthy, .canary = any.canary};
    if (!away || !rq->route->away_queries_any) {
        add(plan, cell.region);
        add(plan, cell.region);
    }
    for (unsigned i = 0; i < any.n && rq->route->away_queries_any; i++)
        if (any.region[i] != cell.region)
            add(plan, any.region[i]);
    if (plan->n == 0)
        *plan = any;
    if (plan->n == 0) /* operators spare every other one */
        add(plan, cell.region);
}
