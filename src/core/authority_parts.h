/* core/authority_parts.h: what the files of core/authority.h share; nobody else includes it. */
#ifndef FM_CORE_AUTHORITY_PARTS_H
#define FM_CORE_AUTHORITY_PARTS_H

#include "core/authority.h"

/* -------- authority.c -------- */

struct fm_auth_action *fm_auth_do(struct fm_auth_actions *out, enum fm_auth_action_kind kind);
void fm_auth_say(struct fm_auth_actions *out, enum fm_auth_why why, unsigned cell);
/* The number that read_done must reach for a linearizable read that begins from now on. */
uint32_t fm_auth_want_read(struct fm_authority *a);
/* Sends slot->txn. */
void fm_auth_commit(struct fm_authority *a, struct fm_auth_slot *slot, struct fm_mono now,
                    struct fm_auth_actions *out);

static inline bool fm_auth_read_done(const struct fm_authority *a, uint32_t need)
{
    return a->read_done >= need;
}

static inline struct fm_record_key fm_auth_lease_key(const struct fm_authority *a, unsigned region)
{
    FM_ASSERT(region < a->cfg.nregions);
    return (struct fm_record_key){
        .kind = FM_RECORD_LEASE, .region = (uint8_t)region, .id = {a->cfg.context, 0}};
}

static inline struct fm_record_key fm_auth_cell_key(const struct fm_authority *a, unsigned cell)
{
    FM_ASSERT(cell < a->cfg.ncells);
    return (struct fm_record_key){.kind = FM_RECORD_CELL, .id = {a->cfg.context, (uint16_t)cell}};
}

static inline struct fm_record_key fm_auth_keeper_key(const struct fm_authority *a)
{
    return (struct fm_record_key){.kind = FM_RECORD_KEEPER, .region = a->region};
}

static inline struct fm_record_key fm_auth_budget_key(const struct fm_authority *a)
{
    return (struct fm_record_key){.kind = FM_RECORD_BUDGET, .id = {a->cfg.context, 0}};
}

static inline uint64_t fm_bit(unsigned i)
{
    FM_ASSERT(i < 64);
    return UINT64_C(1) << i;
}

/* -------- seen.c -------- */

void fm_seen_take(struct fm_authority *a, const struct fm_auth_event *e, bool linear,
                  struct fm_mono now, struct fm_auth_actions *out);
/* A transaction of ours is done: what it wrote is there at `revision`. */
void fm_seen_wrote(struct fm_authority *a, const struct fm_txn *t, struct fm_revision revision,
                   struct fm_mono now);
void fm_seen_testimony(struct fm_authority *a, const struct fm_auth_event *e);
bool fm_seen_lapsed(const struct fm_authority *a, unsigned region, struct fm_mono now);
/* When that will be so, as far as it is known; a lease that never was has no length. */
struct fm_mono fm_seen_lapses_at(const struct fm_authority *a, unsigned region);
bool fm_seen_all_dead(const struct fm_authority *a, unsigned region);
void fm_budget_work(struct fm_authority *a, struct fm_mono now, struct fm_auth_actions *out);

/* -------- keeper.c -------- */

/* L as long as both say: the one that is gone by, and the one that observers wait for. */
int32_t fm_keeper_bound_ms(const struct fm_authority *a);
void fm_keeper_lose(struct fm_authority *a, struct fm_auth_actions *out);
void fm_keeper_renewal_over(struct fm_authority *a, const struct fm_auth_event *e,
                            struct fm_mono now, struct fm_auth_actions *out);
void fm_keeper_sub_asks(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now,
                        struct fm_auth_actions *out);
void fm_keeper_work(struct fm_authority *a, struct fm_mono now, struct fm_auth_actions *out);

/* -------- handover.c -------- */

void fm_handover_stop(struct fm_authority *a, unsigned cell, struct fm_mono now);
/* By this region, and nobody has come for it yet. */
bool fm_handover_is_let_go(const struct fm_authority *a, unsigned cell);
void fm_handover_sub_stopped(struct fm_authority *a, const struct fm_auth_event *e);
void fm_handover_record(struct fm_authority *a, const struct fm_auth_event *e);
void fm_handover_change_over(struct fm_authority *a, const struct fm_auth_event *e,
                             struct fm_mono now, struct fm_auth_actions *out);
void fm_handover_work(struct fm_authority *a, struct fm_mono now, struct fm_auth_actions *out);

/* -------- found.c -------- */

void fm_found_over(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now,
                   struct fm_auth_actions *out);
void fm_found_work(struct fm_authority *a, struct fm_mono now, struct fm_auth_actions *out);

/* -------- promise.c -------- */

void fm_promise_asked(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now,
                      struct fm_auth_actions *out);
void fm_promise_taken(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now);
void fm_promise_work(struct fm_authority *a, struct fm_mono now, struct fm_auth_actions *out);

/* -------- successor.c -------- */

void fm_successor_over(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now,
                       struct fm_auth_actions *out);
void fm_successor_work(struct fm_authority *a, struct fm_mono now, struct fm_auth_actions *out);
/* The next moment at which time alone can let an order go on; FM_MONO_NEVER: none is known. */
struct fm_mono fm_successor_next(const struct fm_authority *a, struct fm_mono now);
static inline bool fm_successor_wants(const struct fm_authority *a, unsigned region)
{
    for (unsigned i = 0; i < a->cfg.ncells; i++)
        if (a->s.cells & fm_bit(i) && a->cell[i].at.r.region == region)
            return true;
    return false;
}

#endif
