/* The tables of idempotency: see the header. Invariants: a gate forwards a command only where no
 * earlier try of it can have been forwarded; nothing but an application that stops doubles itself
 * gets a command again; a refusal always has a problem and its own status. */
#include "core/idempotency.h"

#include "base/assert.h"

/* -------- names -------- */

const char *fm_idem_known_name(enum fm_idem_known k)
{
    static const char *const name[FM_IDEM_KNOWN_COUNT] = {
        [FM_IDEM_ABSENT] = "absent",       [FM_IDEM_QUEUED] = "queued",
        [FM_IDEM_IN_FLIGHT] = "in-flight", [FM_IDEM_UNKNOWN] = "unknown",
        [FM_IDEM_DONE] = "done",           [FM_IDEM_FULL] = "full",
        [FM_IDEM_FAILED] = "failed"};
    FM_ASSERT(k < FM_IDEM_KNOWN_COUNT && name[k]);
    return name[k];
}

const char *fm_idem_situation_name(enum fm_idem_situation s)
{
    static const char *const name[FM_IDEM_SITUATION_COUNT] = {
        [FM_IDEM_WITHOUT_KEY] = "without-key",
        [FM_IDEM_KEY_MISSING] = "key-missing",
        [FM_IDEM_KEY_INVALID] = "key-invalid",
        [FM_IDEM_JOURNAL_FULL] = "journal-full",
        [FM_IDEM_JOURNAL_FAILED] = "journal-failed",
        [FM_IDEM_FIRST] = "first",
        [FM_IDEM_FIRST_ELSEWHERE] = "first-elsewhere",
        [FM_IDEM_OTHER_REQUEST] = "other-request",
        [FM_IDEM_WAITS] = "waits",
        [FM_IDEM_UNDER_WAY] = "under-way",
        [FM_IDEM_LOST] = "lost",
        [FM_IDEM_ANSWERED] = "answered",
        [FM_IDEM_ANSWER_GONE] = "answer-gone"};
    FM_ASSERT(s < FM_IDEM_SITUATION_COUNT && name[s]);
    return name[s];
}

/* -------- situations -------- */

bool fm_idem_key_is_valid(struct fm_str key)
{
    if (key.n == 0 || key.n > FM_IDEM_KEY_MAX)
        return false;
    FM_ASSERT(key.p);
    for (size_t i = 0; i < key.n; i++)
        if (key.p[i] < ' ' || key.p[i] > '~')
            return false;
    return true;
}

/* The key is not in the journal. Under an epoch of another region its first try may have been
 * forwarded there, and only an application can tell. */
static enum fm_idem_situation classify_absent(const struct fm_idem_facts *f)
{
    FM_ASSERT(f->known == FM_IDEM_ABSENT);
    bool here = f->first_epoch == 0 || f->first_epoch == f->epoch;
    return here ? FM_IDEM_FIRST : FM_IDEM_FIRST_ELSEWHERE;
}

static enum fm_idem_situation classify_known(const struct fm_idem_facts *f)
{
    switch (f->known) {
    case FM_IDEM_ABSENT:
        return classify_absent(f);
    case FM_IDEM_FULL:
        return FM_IDEM_JOURNAL_FULL;
    case FM_IDEM_FAILED:
        return FM_IDEM_JOURNAL_FAILED;
    case FM_IDEM_QUEUED:
        return f->same_request ? FM_IDEM_WAITS : FM_IDEM_OTHER_REQUEST;
    case FM_IDEM_IN_FLIGHT:
        return f->same_request ? FM_IDEM_UNDER_WAY : FM_IDEM_OTHER_REQUEST;
    case FM_IDEM_UNKNOWN:
        return f->same_request ? FM_IDEM_LOST : FM_IDEM_OTHER_REQUEST;
    case FM_IDEM_DONE:
        if (!f->same_request)
            return FM_IDEM_OTHER_REQUEST;
        return f->answer_kept ? FM_IDEM_ANSWERED : FM_IDEM_ANSWER_GONE;
    case FM_IDEM_KNOWN_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

enum fm_idem_situation fm_idem_classify(const struct fm_idem_facts *f)
{
    FM_ASSERT(f->need <= FM_IDEM_REQUIRED && f->known < FM_IDEM_KNOWN_COUNT);
    FM_ASSERT(f->key.n == 0 || f->key.p);
    if (f->need == FM_IDEM_IGNORED)
        return FM_IDEM_WITHOUT_KEY;
    if (f->key.n == 0)
        return f->need == FM_IDEM_REQUIRED ? FM_IDEM_KEY_MISSING : FM_IDEM_WITHOUT_KEY;
    if (!fm_idem_key_is_valid(f->key))
        return FM_IDEM_KEY_INVALID;
    return classify_known(f);
}

/* -------- what is done about them -------- */

struct row {
    enum fm_idem_action action;
    uint16_t status;
    enum fm_problem problem;
};

#define BOTH(...) [FM_IDEM_BY_GATE] = __VA_ARGS__, [FM_IDEM_BY_APP] = __VA_ARGS__
#define GATE(...) [FM_IDEM_BY_GATE] = __VA_ARGS__
#define APP(...)  [FM_IDEM_BY_APP] = __VA_ARGS__

#define REFUSE(status, name)                                                                       \
    {                                                                                              \
        FM_IDEM_REFUSE, status, FM_PROBLEM_##name                                                  \
    }
#define DO(action)                                                                                 \
    {                                                                                              \
        FM_IDEM_##action, 0, FM_PROBLEM_NONE                                                       \
    }

static const struct row table[FM_IDEM_SITUATION_COUNT][FM_IDEM_BY_COUNT] = {
    [FM_IDEM_WITHOUT_KEY] = {BOTH(DO(FORWARD))},
    [FM_IDEM_KEY_MISSING] = {BOTH(REFUSE(400, KEY_MISSING))},
    [FM_IDEM_KEY_INVALID] = {BOTH(REFUSE(400, KEY_INVALID))},
    /* nothing was forwarded, and nothing is without its intent: another region may take it */
    [FM_IDEM_JOURNAL_FULL] = {BOTH(REFUSE(503, OVERLOADED))},
    [FM_IDEM_JOURNAL_FAILED] = {BOTH(REFUSE(503, JOURNAL_FAILED))},
    [FM_IDEM_FIRST] = {BOTH(DO(RECORD))},
    /* its first try may have taken effect in the region that held the cell then (rule 20) */
    [FM_IDEM_FIRST_ELSEWHERE] = {GATE(REFUSE(409, OUTCOME_UNKNOWN)), APP(DO(RECORD))},
    [FM_IDEM_OTHER_REQUEST] = {BOTH(REFUSE(422, KEY_REUSED))},
    [FM_IDEM_WAITS] = {BOTH({FM_IDEM_ACCEPTED, 202, FM_PROBLEM_NONE})},
    [FM_IDEM_UNDER_WAY] = {BOTH(REFUSE(409, KEY_IN_FLIGHT))},
    /* the first try got 504 (rule 19) */
    [FM_IDEM_LOST] = {GATE(REFUSE(409, OUTCOME_UNKNOWN)), APP(DO(FORWARD_AGAIN))},
    [FM_IDEM_ANSWERED] = {BOTH(DO(REPLAY))},
    /* it was executed; the application can say what it answered, a gate cannot */
    [FM_IDEM_ANSWER_GONE] = {GATE(REFUSE(409, ANSWER_NOT_KEPT)), APP(DO(FORWARD_AGAIN))},
};

struct fm_idem_decision fm_idem_decide(const struct fm_idem_facts *f)
{
    FM_ASSERT(f->by < FM_IDEM_BY_COUNT);
    enum fm_idem_situation s = fm_idem_classify(f);
    FM_ASSERT(s < FM_IDEM_SITUATION_COUNT);
    const struct row *r = &table[s][f->by];
    FM_ASSERT((r->action == FM_IDEM_REFUSE) == (r->problem != FM_PROBLEM_NONE));
    FM_ASSERT((r->action == FM_IDEM_REFUSE || r->action == FM_IDEM_ACCEPTED) == (r->status != 0));
    FM_ASSERT(r->action != FM_IDEM_FORWARD_AGAIN || f->by == FM_IDEM_BY_APP);
    FM_ASSERT(r->action != FM_IDEM_RECORD || f->known == FM_IDEM_ABSENT);
    FM_ASSERT(r->action != FM_IDEM_REPLAY || (f->known == FM_IDEM_DONE && f->same_request));
    return (struct fm_idem_decision){
        .situation = s, .action = r->action, .status = r->status, .problem = r->problem};
}

/* -------- outcomes -------- */

static bool is_entry(enum fm_idem_known k)
{
    return k == FM_IDEM_IN_FLIGHT || k == FM_IDEM_UNKNOWN || k == FM_IDEM_DONE;
}

bool fm_idem_may_settle(enum fm_idem_known have, enum fm_idem_known got)
{
    FM_ASSERT(is_entry(have) && (got == FM_IDEM_DONE || got == FM_IDEM_UNKNOWN));
    return have == FM_IDEM_IN_FLIGHT || (have == FM_IDEM_UNKNOWN && got == FM_IDEM_DONE);
}

enum fm_idem_merge fm_idem_merge(enum fm_idem_known have, enum fm_idem_known got, bool same_request)
{
    FM_ASSERT(is_entry(got) && (is_entry(have) || have == FM_IDEM_ABSENT));
    if (have == FM_IDEM_ABSENT)
        return got == FM_IDEM_DONE ? FM_IDEM_ADD_DONE : FM_IDEM_ADD_UNKNOWN;
    if (!same_request || (have == FM_IDEM_IN_FLIGHT && got == FM_IDEM_DONE))
        return FM_IDEM_CONFLICT; /* what is under way here was executed elsewhere */
    /* that it may be executed was perhaps read from here: ours will tell */
    return have == FM_IDEM_UNKNOWN && got == FM_IDEM_DONE ? FM_IDEM_TURN_DONE : FM_IDEM_KEEP;
}
