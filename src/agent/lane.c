/* Lanes: see the header. Invariant: a head that was seen is the answer, also where its body broke
 * off; without one `sent` says whether the gate may have seen a byte of the request. */
#include "agent/lane.h"

#include "base/assert.h"
#include "proxy/queued.h"

#include <stdlib.h>

enum { CONNECT_MS = 1000, BEYOND_MS = 2000, LINES_ROOM = 512 };

static struct fm_lane *lane_of(struct fm_caller *c)
{
    return fm_container_of(c, struct fm_lane, caller);
}

/* -------- what was heard -------- */

static void head(struct fm_caller *c, const struct fm_http_head *h)
{
    struct fm_lane *l = lane_of(c);
    struct fm_str problem = fm_http_value(h, FM_HDR_FULMAR_PROBLEM);
    FM_ASSERT(h->status >= 200 && h->status < 1000);
    l->h.answered = true;
    l->h.status = (uint16_t)h->status;
    l->h.problem = fm_problem_find(problem);
    l->h.strange = problem.n > 0 && l->h.problem == FM_PROBLEM_NONE;
    l->h.waits_there = h->status == 202 && fm_http_has(h, FM_HDR_FULMAR_QUEUED);
}

static void end(struct fm_lane *l, const char *why)
{
    struct fm_delivery_heard h = l->h;
    h.sent = h.answered || fm_caller_has_sent(&l->caller);
    l->h = (struct fm_delivery_heard){0};
    l->heard(l, &h, why);
}

static void answered(struct fm_caller *c, unsigned status, struct fm_str body)
{
    (void)body;
    FM_ASSERT(lane_of(c)->h.status == status);
    end(lane_of(c), "it answered");
}

static void failed(struct fm_caller *c, const char *why)
{
    end(lane_of(c), why);
}

/* -------- sending -------- */

void fm_lane_init(struct fm_lane *l, struct fm_loop *loop, struct fm_resolver *resolver,
                  const struct fm_caller_to *to)
{
    FM_ASSERT(l->heard);
    l->h = (struct fm_delivery_heard){0};
    l->caller = (struct fm_caller){.answered = answered, .failed = failed, .head = head};
    fm_caller_init(&l->caller, loop, resolver, to);
}

static struct fm_str first_word(struct fm_str s)
{
    struct fm_str rest;
    return fm_str_cut(s, ' ', &rest);
}

enum fm_err fm_lane_send(struct fm_lane *l, const struct fm_lane_try *t, struct fm_error *e)
{
    const struct fm_journal_item *i = t->item;
    struct fm_parcel p;
    FM_ASSERT(t->epoch.n > 0 && t->patience_ms > 0);
    if (!fm_parcel_read(i->request, &p))
        return fm_error_set(e, FM_ERR_INVALID, "another version of Fulmar has kept it");
    size_t cap = p.head.n + p.body.n + LINES_ROOM;
    char *raw = malloc(cap);
    if (!raw)
        return fm_error_set(e, FM_ERR_MEMORY, "no memory to deliver a command");
    struct fm_buf b = fm_buf(raw, cap);
    struct fm_ticket ticket = {t->region, i->id, i->token};
    fm_buf_str_add(&b, p.head);
    fm_buf_lit(&b, "Fulmar-Deadline: ");
    fm_buf_u64(&b, (uint64_t)t->patience_ms);
    fm_buf_lit(&b, "\r\nFulmar-Authority: ");
    fm_buf_str_add(&b, i->context);
    fm_buf_ch(&b, '/');
    fm_buf_u64(&b, i->cell);
    fm_buf_ch(&b, '@');
    fm_buf_u64(&b, t->epoch.n);
    fm_buf_lit(&b, "\r\nFulmar-Queued: ");
    fm_delivery_write(&b, &ticket, t->first.n);
    fm_buf_lit(&b, "\r\n\r\n");
    fm_buf_str_add(&b, p.body);
    FM_ASSERT(!b.full);
    struct fm_caller_ask a = {.raw = raw,
                              .raw_n = b.n,
                              .raw_method = fm_http_method_id(first_word(p.head)),
                              .discard = true,
                              .answer_max = 1,
                              .connect_ms = CONNECT_MS,
                              .timeout_ms = t->patience_ms + BEYOND_MS};
    fm_caller_ask(&l->caller, &a);
    return FM_ERR_OK;
}

void fm_lane_close(struct fm_lane *l)
{
    fm_caller_close(&l->caller);
}
