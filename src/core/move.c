/* A planned move. Invariants: RELEASE is ordered only after the sub-lessees stopped and the data is
 * final; after STOP the cell comes back only by RETAKE; every state but IDLE is left in time. */
#include "core/move.h"

const char *fm_move_state_name(enum fm_move_state s)
{
    static const char *const name[] = {
#define X(id, text) [FM_MOVE_##id] = text,
        FM_MOVE_STATES(X)
#undef X
    };
    FM_ASSERT(s < FM_COUNT(name));
    return name[s];
}

const char *fm_move_event_name(enum fm_move_event e)
{
    static const char *const name[] = {
#define X(id, text) [FM_MOVE_ON_##id] = text,
        FM_MOVE_EVENTS(X)
#undef X
    };
    FM_ASSERT(e < FM_COUNT(name));
    return name[e];
}

#define ROW(from_, event_, action_, to_, text)                                                     \
    {                                                                                              \
        .from = FM_MOVE_##from_, .event = FM_MOVE_ON_##event_, .to = FM_MOVE_##to_,                \
        .action = FM_MOVE_DO_##action_, .comment = (text)                                          \
    }

const struct fm_move_row fm_move_rows[] = {
    ROW(IDLE, BEGIN, ASK_HEIR, ASKED, "(1) the heir proves ready"),
    ROW(ASKED, READY, HOLD, HOLDING, "(2) new commands are held"),
    ROW(ASKED, UNFIT, NOTHING, IDLE, "the heir is not ready"),
    ROW(ASKED, LATE, NOTHING, IDLE, "the heir does not answer"),
    ROW(ASKED, ABORT, NOTHING, IDLE, "nothing had happened"),
    ROW(ASKED, LOST, NOTHING, IDLE, "another keeper begins anew"),
    ROW(HOLDING, DRAINED, STOP, STOPPING, "(3) nothing is in flight"),
    ROW(HOLDING, LATE, LET_GO, IDLE, "what is in flight does not end"),
    ROW(HOLDING, ABORT, LET_GO, IDLE, "the holder goes on"),
    ROW(HOLDING, LOST, LET_GO, IDLE, "the hold runs out by itself"),
    ROW(STOPPING, STOPPED, SHIP, SHIPPING, "(4) all sub-lessees stopped"),
    ROW(STOPPING, LATE, RETAKE, RETAKING, "a sub-lessee neither answers nor runs out"),
    ROW(STOPPING, ABORT, RETAKE, RETAKING, "some have stopped: another epoch"),
    ROW(STOPPING, LOST, NOTHING, IDLE, "the next keeper learns from the gates"),
    ROW(SHIPPING, FINAL, RELEASE, RELEASING, "(5) data and journal are final at the heir"),
    ROW(SHIPPING, LATE, RETAKE, RETAKING, "the heir does not get everything"),
    ROW(SHIPPING, ABORT, RETAKE, RETAKING, "another epoch"),
    ROW(SHIPPING, LOST, NOTHING, IDLE, "the next keeper learns from the gates"),
    ROW(RELEASING, RELEASED, NOTHING, HANDED, "the cell is nobody's"),
    ROW(RELEASING, TAKEN, NOTHING, IDLE, "the heir was quicker than the answer"),
    ROW(RELEASING, LATE, RETAKE, RETAKING, "coordination does not take it"),
    ROW(RELEASING, ABORT, RETAKE, RETAKING, "whichever comes first"),
    ROW(RELEASING, LOST, NOTHING, IDLE, "what was sent may still apply"),
    ROW(HANDED, TAKEN, NOTHING, IDLE, "(6) the heir has it"),
    ROW(HANDED, LATE, RETAKE, RETAKING, "the heir does not come"),
    ROW(HANDED, ABORT, RETAKE, RETAKING, "another epoch"),
    ROW(HANDED, LOST, NOTHING, IDLE, "anybody may acquire it"),
    ROW(RETAKING, RETAKEN, LET_GO, IDLE, "held on under another epoch"),
    ROW(RETAKING, TAKEN, NOTHING, IDLE, "the heir was quicker"),
    ROW(RETAKING, LATE, RETAKE, RETAKING, "again"),
    ROW(RETAKING, LOST, NOTHING, IDLE, "the next keeper learns from the gates"),
};
const unsigned fm_move_nrows = FM_COUNT(fm_move_rows);

static int64_t bound_ms(const struct fm_move_policy *p, enum fm_move_state s)
{
    switch (s) {
    case FM_MOVE_ASKED:
        return p->ready_ms;
    case FM_MOVE_HOLDING:
        return p->drain_ms;
    case FM_MOVE_STOPPING:
        return p->stop_ms;
    case FM_MOVE_SHIPPING:
        return p->ship_ms;
    case FM_MOVE_RELEASING:
    case FM_MOVE_RETAKING:
        return p->release_ms;
    case FM_MOVE_HANDED:
        return p->taken_ms;
    case FM_MOVE_IDLE:
    case FM_MOVE_STATE_COUNT:
        break;
    }
    return 0;
}

/* The mutants of rule 16 take a step for done that is not. */
static enum fm_move_event as_mutant(const struct fm_move *m, enum fm_move_event e)
{
    if (m->state == FM_MOVE_ASKED && e == FM_MOVE_ON_UNFIT)
        return FM_RULE_PICK(R16_READY, e, FM_MOVE_ON_READY);
    if (m->state == FM_MOVE_HOLDING && e == FM_MOVE_ON_LATE)
        return FM_RULE_PICK(R16_DRAIN, e, FM_MOVE_ON_DRAINED);
    return e;
}

struct fm_move_verdict fm_move_step(struct fm_move *m, const struct fm_move_policy *p,
                                    enum fm_move_event e, struct fm_mono now)
{
    FM_ASSERT(m->state < FM_MOVE_STATE_COUNT && e < FM_MOVE_EVENT_COUNT);
    struct fm_move_verdict v = {.changed = false, .action = FM_MOVE_DO_NOTHING};
    e = as_mutant(m, e);
    for (unsigned i = 0; i < fm_move_nrows; i++) {
        const struct fm_move_row *row = &fm_move_rows[i];
        if (row->from != m->state || row->event != e)
            continue;
        v.changed = row->from != row->to;
        v.over = row->to == FM_MOVE_IDLE;
        m->serial += row->from == FM_MOVE_IDLE ? 1 : 0;
        v.action = (enum fm_move_action)row->action;
        m->state = row->to;
        m->moved = e == FM_MOVE_ON_TAKEN;
        m->late_at =
            v.over ? FM_MONO_NEVER : fm_mono_add_ms(now, bound_ms(p, (enum fm_move_state)row->to));
        break;
    }
    FM_ASSERT(v.action != FM_MOVE_DO_RELEASE || m->state == FM_MOVE_RELEASING);
    FM_ASSERT(m->state == FM_MOVE_IDLE || !fm_mono_is_never(m->late_at));
    return v;
}

enum fm_move_action fm_move_lasting(const struct fm_move *m)
{
    switch ((enum fm_move_state)m->state) {
    case FM_MOVE_ASKED:
        return FM_MOVE_DO_ASK_HEIR;
    case FM_MOVE_HOLDING:
        return FM_MOVE_DO_HOLD;
    case FM_MOVE_STOPPING:
        return FM_MOVE_DO_STOP;
    case FM_MOVE_SHIPPING:
        return FM_MOVE_DO_SHIP;
    case FM_MOVE_RELEASING:
        return FM_MOVE_DO_RELEASE;
    case FM_MOVE_RETAKING:
        return FM_MOVE_DO_RETAKE;
    case FM_MOVE_IDLE:
    case FM_MOVE_HANDED:
    case FM_MOVE_STATE_COUNT:
        break;
    }
    return FM_MOVE_DO_NOTHING;
}
