/* The office of keeper. Invariants: KEEPER only while the newest record seen names this life of
 * this agent; every claim compares the revision of what was seen. It does not renew anything. */
#include "core/office.h"

const char *fm_office_state_name(enum fm_office_state s)
{
    static const char *const name[] = {
#define X(id, text) [FM_OFFICE_##id] = text,
        FM_OFFICE_STATES(X)
#undef X
    };
    FM_ASSERT(s < FM_COUNT(name));
    return name[s];
}

void fm_office_init(struct fm_office *o, const struct fm_office_config *cfg, struct fm_mono now)
{
    FM_ASSERT(cfg->incarnation.n != 0 && cfg->self.n < FM_AGENTS_MAX);
    FM_ASSERT(cfg->silence_ms > 0 && cfg->retry_ms > 0);
    *o = (struct fm_office){.cfg = *cfg, .moved_at = now, .claimed_at = now};
}

void fm_office_set_times(struct fm_office *o, int64_t silence_ms, int64_t retry_ms)
{
    FM_ASSERT(silence_ms > 0 && retry_ms > 0);
    o->cfg.silence_ms = silence_ms;
    o->cfg.retry_ms = retry_ms;
}

static bool names_me(const struct fm_office *o)
{
    return o->at.revision.n != 0 && fm_agent_same(o->at.r.agent, o->cfg.self);
}

static bool names_this_life(const struct fm_office *o)
{
    return names_me(o) && fm_incarnation_same(o->at.r.incarnation, o->cfg.incarnation);
}

/* A record that is read linearizably and names no earlier life of mine: what such a life sent
 * compares a revision that is gone. */
static void take_record(struct fm_office *o, const struct fm_office_event *e, struct fm_mono now)
{
    bool newer = !o->seen || fm_revision_newer(e->at.revision, o->at.revision);
    if (newer) {
        o->at = e->at;
        o->moved_at = now;
        if (names_this_life(o))
            o->state = FM_OFFICE_KEEPER;
        else if (o->state == FM_OFFICE_KEEPER || o->at.revision.n != 0)
            o->state = FM_OFFICE_DEPUTY;
    }
    o->seen = true;
    if (e->linear && !(names_me(o) && !names_this_life(o)))
        o->resolved = true;
}

static void claim_over(struct fm_office *o, const struct fm_office_event *e, struct fm_mono now)
{
    if (e->outcome != FM_TXN_DONE)
        return; /* CLAIMING stays until a read shows what became of it, or a retry */
    if (!fm_revision_newer(e->revision, o->at.revision))
        return; /* something newer was seen meanwhile */
    o->at = (struct fm_keeper_at){e->revision, {o->cfg.self, o->cfg.incarnation}};
    o->state = FM_OFFICE_KEEPER;
    o->resolved = true;
    o->moved_at = now;
}

/* An earlier life of mine in office is replaced at once: it is certainly gone. */
static bool wants_office(const struct fm_office *o, struct fm_mono now)
{
    if (!o->seen || o->state == FM_OFFICE_KEEPER)
        return false;
    if (o->at.revision.n == 0 || names_me(o))
        return true;
    return fm_mono_sub_ms(now, o->moved_at) >= o->cfg.silence_ms;
}

static void claim(struct fm_office *o, struct fm_mono now, struct fm_office_verdict *v)
{
    struct fm_record_key key = {.kind = FM_RECORD_KEEPER, .region = fm_agent_region(o->cfg.self)};
    v->claim = true;
    FM_ASSERT(v->txn.ncompare == 0 && v->txn.nwrite == 0);
    fm_txn_compare(&v->txn, key, o->at.revision);
    fm_txn_write(&v->txn, key)->to.keeper =
        (struct fm_keeper_record){o->cfg.self, o->cfg.incarnation};
    o->claimed_at = now;
    o->state = FM_OFFICE_CLAIMING;
}

void fm_office_step(struct fm_office *o, const struct fm_office_event *e, struct fm_mono now,
                    uint64_t random, struct fm_office_verdict *out)
{
    FM_ASSERT(e->kind < FM_OFFICE_EVENT_COUNT);
    uint8_t from = o->state;
    out->claim = false;
    out->txn.ncompare = out->txn.nwrite = 0;
    struct fm_revision was = o->at.revision;
    switch (e->kind) {
    case FM_OFFICE_SEEN:
        take_record(o, e, now);
        break;
    case FM_OFFICE_MOVED:
        o->moved_at = now;
        break;
    case FM_OFFICE_CLAIM_OVER:
        claim_over(o, e, now);
        break;
    case FM_OFFICE_RESEEDED:
        fm_office_init(o, &o->cfg, now);
        break;
    case FM_OFFICE_TICK:
    case FM_OFFICE_EVENT_COUNT:
        break;
    }
    int64_t jitter = (int64_t)(random % (uint64_t)o->cfg.retry_ms);
    bool waited = o->state != FM_OFFICE_CLAIMING ||
                  fm_mono_sub_ms(now, o->claimed_at) >= o->cfg.retry_ms + jitter;
    bool may = FM_RULE(R4_OFFICE, !e->frozen);
    if (e->kind == FM_OFFICE_TICK && may && waited && wants_office(o, now))
        claim(o, now, out);
    out->changed = from != o->state || !fm_revision_same(was, o->at.revision);
    out->wake = fm_mono_add_ms(now, o->cfg.retry_ms + jitter);
    FM_ASSERT(o->state != FM_OFFICE_KEEPER || names_this_life(o));
    FM_ASSERT(o->state != FM_OFFICE_KEEPER || o->resolved || o->seen);
}
