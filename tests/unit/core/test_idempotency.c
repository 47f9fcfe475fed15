/* Idempotency: what becomes of a command with a key, in every situation, and that nothing else than
 * what is written here ever forwards one. */
#include "test.h"

#include "core/idempotency.h"

#include <stdio.h>

static struct fm_idem_facts facts(enum fm_idem_known known)
{
    return (struct fm_idem_facts){.need = FM_IDEM_REQUIRED,
                                  .by = FM_IDEM_BY_GATE,
                                  .key = FM_STR("8e03978e"),
                                  .epoch = 7,
                                  .known = known,
                                  .same_request = true,
                                  .answer_kept = true};
}

/* -------- keys -------- */

static void a_key_is_printable_and_bounded(void **state)
{
    (void)state;
    char longest[FM_IDEM_KEY_MAX + 1];
    memset(longest, 'k', sizeof longest);
    assert_true(fm_idem_key_is_valid(FM_STR("a")));
    assert_true(fm_idem_key_is_valid(FM_STR("\"8e03978e-40d5-43dd-bc93-6894a57f9324\"")));
    assert_true(fm_idem_key_is_valid(FM_STR(" ~")));
    assert_true(fm_idem_key_is_valid(fm_str(longest, FM_IDEM_KEY_MAX)));
    assert_false(fm_idem_key_is_valid(fm_str(longest, FM_IDEM_KEY_MAX + 1)));
    assert_false(fm_idem_key_is_valid(FM_STR("")));
    assert_false(fm_idem_key_is_valid(FM_STR("a\tb")));
    assert_false(fm_idem_key_is_valid(FM_STR("a\x7f")));
    assert_false(fm_idem_key_is_valid(FM_STR("\xc3\xa9")));
}

static void a_missing_key_matters_only_where_one_is_required(void **state)
{
    (void)state;
    struct fm_idem_facts f = facts(FM_IDEM_ABSENT);
    f.key = fm_str(NULL, 0);
    assert_int_equal(fm_idem_classify(&f), FM_IDEM_KEY_MISSING);
    f.need = FM_IDEM_OPTIONAL;
    assert_int_equal(fm_idem_classify(&f), FM_IDEM_WITHOUT_KEY);
    f.need = FM_IDEM_IGNORED;
    assert_int_equal(fm_idem_classify(&f), FM_IDEM_WITHOUT_KEY);
    f.key = FM_STR("\x01"); /* nobody looks at it */
    assert_int_equal(fm_idem_classify(&f), FM_IDEM_WITHOUT_KEY);
    f.need = FM_IDEM_OPTIONAL;
    assert_int_equal(fm_idem_classify(&f), FM_IDEM_KEY_INVALID);
}

/* -------- situations -------- */

static void what_the_journal_knows_makes_the_situation(void **state)
{
    (void)state;
    static const struct {
        enum fm_idem_known known;
        enum fm_idem_situation same, other;
    } cases[] = {
        {FM_IDEM_ABSENT, FM_IDEM_FIRST, FM_IDEM_FIRST},
        {FM_IDEM_QUEUED, FM_IDEM_WAITS, FM_IDEM_OTHER_REQUEST},
        {FM_IDEM_IN_FLIGHT, FM_IDEM_UNDER_WAY, FM_IDEM_OTHER_REQUEST},
        {FM_IDEM_UNKNOWN, FM_IDEM_LOST, FM_IDEM_OTHER_REQUEST},
        {FM_IDEM_DONE, FM_IDEM_ANSWERED, FM_IDEM_OTHER_REQUEST},
        {FM_IDEM_FULL, FM_IDEM_JOURNAL_FULL, FM_IDEM_JOURNAL_FULL},
        {FM_IDEM_FAILED, FM_IDEM_JOURNAL_FAILED, FM_IDEM_JOURNAL_FAILED},
    };
    assert_int_equal(FM_COUNT(cases), FM_IDEM_KNOWN_COUNT);
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_idem_facts f = facts(cases[i].known);
        assert_int_equal(fm_idem_classify(&f), cases[i].same);
        f.same_request = false;
        assert_int_equal(fm_idem_classify(&f), cases[i].other);
    }
    struct fm_idem_facts f = facts(FM_IDEM_DONE);
    f.answer_kept = false;
    assert_int_equal(fm_idem_classify(&f), FM_IDEM_ANSWER_GONE);
    f.same_request = false;
    assert_int_equal(fm_idem_classify(&f), FM_IDEM_OTHER_REQUEST);
}

/* Rule 20: only a key that is not in the journal asks where its first try was. */
static void a_first_try_under_another_epoch_is_elsewhere(void **state)
{
    (void)state;
    static const struct {
        uint64_t first, now;
        enum fm_idem_situation expected;
    } cases[] = {
        {0, 7, FM_IDEM_FIRST},           {7, 7, FM_IDEM_FIRST},
        {0, 0, FM_IDEM_FIRST},           {6, 0, FM_IDEM_FIRST_ELSEWHERE},
        {6, 7, FM_IDEM_FIRST_ELSEWHERE}, {1, 7, FM_IDEM_FIRST_ELSEWHERE},
        {8, 7, FM_IDEM_FIRST_ELSEWHERE}, /* what we have not heard of yet is not ours either */
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_idem_facts f = facts(FM_IDEM_ABSENT);
        f.first_epoch = cases[i].first;
        f.epoch = cases[i].now;
        assert_int_equal(fm_idem_classify(&f), cases[i].expected);
        f.known = FM_IDEM_DONE; /* shipped to us, or ours */
        assert_int_equal(fm_idem_classify(&f), FM_IDEM_ANSWERED);
        f.known = FM_IDEM_UNKNOWN;
        assert_int_equal(fm_idem_classify(&f), FM_IDEM_LOST);
    }
}

/* -------- decisions -------- */

/* Facts that lead to each situation. */
static struct fm_idem_facts facts_of(enum fm_idem_situation s)
{
    static const enum fm_idem_known known[FM_IDEM_SITUATION_COUNT] = {
        [FM_IDEM_JOURNAL_FULL] = FM_IDEM_FULL,   [FM_IDEM_JOURNAL_FAILED] = FM_IDEM_FAILED,
        [FM_IDEM_OTHER_REQUEST] = FM_IDEM_DONE,  [FM_IDEM_WAITS] = FM_IDEM_QUEUED,
        [FM_IDEM_UNDER_WAY] = FM_IDEM_IN_FLIGHT, [FM_IDEM_LOST] = FM_IDEM_UNKNOWN,
        [FM_IDEM_ANSWERED] = FM_IDEM_DONE,       [FM_IDEM_ANSWER_GONE] = FM_IDEM_DONE};
    struct fm_idem_facts f = facts(known[s]);
    f.same_request = s != FM_IDEM_OTHER_REQUEST;
    f.answer_kept = s != FM_IDEM_ANSWER_GONE;
    if (s == FM_IDEM_WITHOUT_KEY)
        f.need = FM_IDEM_IGNORED;
    if (s == FM_IDEM_KEY_MISSING)
        f.key = fm_str(NULL, 0);
    if (s == FM_IDEM_KEY_INVALID)
        f.key = FM_STR("\n");
    if (s == FM_IDEM_FIRST_ELSEWHERE)
        f.first_epoch = f.epoch - 1;
    return f;
}

static void every_situation_has_its_answer(void **state)
{
    (void)state;
    static const struct {
        enum fm_idem_situation s;
        struct {
            enum fm_idem_action action;
            unsigned status;
            enum fm_problem problem;
        } gate, app;
    } rows[] = {
        {FM_IDEM_WITHOUT_KEY, {FM_IDEM_FORWARD, 0, 0}, {FM_IDEM_FORWARD, 0, 0}},
        {FM_IDEM_KEY_MISSING,
         {FM_IDEM_REFUSE, 400, FM_PROBLEM_KEY_MISSING},
         {FM_IDEM_REFUSE, 400, FM_PROBLEM_KEY_MISSING}},
        {FM_IDEM_KEY_INVALID,
         {FM_IDEM_REFUSE, 400, FM_PROBLEM_KEY_INVALID},
         {FM_IDEM_REFUSE, 400, FM_PROBLEM_KEY_INVALID}},
        {FM_IDEM_JOURNAL_FULL,
         {FM_IDEM_REFUSE, 503, FM_PROBLEM_OVERLOADED},
         {FM_IDEM_REFUSE, 503, FM_PROBLEM_OVERLOADED}},
        {FM_IDEM_JOURNAL_FAILED,
         {FM_IDEM_REFUSE, 503, FM_PROBLEM_JOURNAL_FAILED},
         {FM_IDEM_REFUSE, 503, FM_PROBLEM_JOURNAL_FAILED}},
        {FM_IDEM_FIRST, {FM_IDEM_RECORD, 0, 0}, {FM_IDEM_RECORD, 0, 0}},
        {FM_IDEM_FIRST_ELSEWHERE,
         {FM_IDEM_REFUSE, 409, FM_PROBLEM_OUTCOME_UNKNOWN},
         {FM_IDEM_RECORD, 0, 0}},
        {FM_IDEM_OTHER_REQUEST,
         {FM_IDEM_REFUSE, 422, FM_PROBLEM_KEY_REUSED},
         {FM_IDEM_REFUSE, 422, FM_PROBLEM_KEY_REUSED}},
        {FM_IDEM_WAITS, {FM_IDEM_ACCEPTED, 202, 0}, {FM_IDEM_ACCEPTED, 202, 0}},
        {FM_IDEM_UNDER_WAY,
         {FM_IDEM_REFUSE, 409, FM_PROBLEM_KEY_IN_FLIGHT},
         {FM_IDEM_REFUSE, 409, FM_PROBLEM_KEY_IN_FLIGHT}},
        {FM_IDEM_LOST,
         {FM_IDEM_REFUSE, 409, FM_PROBLEM_OUTCOME_UNKNOWN},
         {FM_IDEM_FORWARD_AGAIN, 0, 0}},
        {FM_IDEM_ANSWERED, {FM_IDEM_REPLAY, 0, 0}, {FM_IDEM_REPLAY, 0, 0}},
        {FM_IDEM_ANSWER_GONE,
         {FM_IDEM_REFUSE, 409, FM_PROBLEM_ANSWER_NOT_KEPT},
         {FM_IDEM_FORWARD_AGAIN, 0, 0}},
    };
    assert_int_equal(FM_COUNT(rows), FM_IDEM_SITUATION_COUNT);
    for (size_t i = 0; i < FM_COUNT(rows); i++) {
        struct fm_idem_facts f = facts_of(rows[i].s);
        for (unsigned by = 0; by < FM_IDEM_BY_COUNT; by++) {
            f.by = (enum fm_idem_by)by;
            struct fm_idem_decision d = fm_idem_decide(&f);
            assert_int_equal(d.situation, rows[i].s);
            assert_int_equal(d.action, by ? rows[i].app.action : rows[i].gate.action);
            assert_int_equal(d.status, by ? rows[i].app.status : rows[i].gate.status);
            assert_int_equal(d.problem, by ? rows[i].app.problem : rows[i].gate.problem);
        }
    }
}

/* All facts there are, against the promise itself and not against the table. */
static void a_gate_never_forwards_what_may_have_been_forwarded(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 1u << 7; bits++) {
        for (unsigned known = 0; known < FM_IDEM_KNOWN_COUNT; known++) {
            struct fm_idem_facts f = facts((enum fm_idem_known)known);
            f.by = bits & 1 ? FM_IDEM_BY_APP : FM_IDEM_BY_GATE;
            f.need = bits & 2 ? FM_IDEM_REQUIRED : bits & 4 ? FM_IDEM_OPTIONAL : FM_IDEM_IGNORED;
            f.key = bits & 8 ? f.key : fm_str(NULL, 0);
            f.same_request = bits & 16;
            f.answer_kept = bits & 32;
            f.first_epoch = bits & 64 ? 6 : 0;
            struct fm_idem_decision d = fm_idem_decide(&f);
            bool forwards = d.action == FM_IDEM_FORWARD || d.action == FM_IDEM_RECORD ||
                            d.action == FM_IDEM_FORWARD_AGAIN;
            bool keyed = f.need != FM_IDEM_IGNORED && f.key.n > 0;
            if (!keyed) {
                assert_int_equal(forwards, f.need != FM_IDEM_REQUIRED);
                continue;
            }
            assert_int_not_equal(d.action, FM_IDEM_FORWARD); /* never without a record */
            bool tried = known != FM_IDEM_ABSENT || f.first_epoch == 6;
            if (f.by == FM_IDEM_BY_GATE)
                assert_int_equal(forwards, !tried);
            if (known == FM_IDEM_FULL || known == FM_IDEM_FAILED || known == FM_IDEM_IN_FLIGHT)
                assert_false(forwards);
            if (known != FM_IDEM_ABSENT && !f.same_request)
                assert_false(forwards);
            assert_int_equal(d.action == FM_IDEM_REPLAY,
                             known == FM_IDEM_DONE && f.same_request && f.answer_kept);
        }
    }
}

/* An edge tries elsewhere what was certainly not executed; a repeat that was refused is not that.
 */
static void no_edge_takes_a_refused_repeat_elsewhere(void **state)
{
    (void)state;
    for (unsigned s = 0; s < FM_IDEM_SITUATION_COUNT; s++) {
        struct fm_idem_facts f = facts_of((enum fm_idem_situation)s);
        struct fm_idem_decision d = fm_idem_decide(&f);
        if (d.action != FM_IDEM_REFUSE)
            continue;
        bool elsewhere = fm_problem_info(d.problem)->executed == FM_EXECUTED_NO;
        assert_int_equal(elsewhere, s == FM_IDEM_JOURNAL_FULL || s == FM_IDEM_JOURNAL_FAILED ||
                                        s == FM_IDEM_KEY_MISSING);
        /* a repeat of unknown outcome is the one that does not bear the status of its problem */
        bool repeat = s == FM_IDEM_LOST || s == FM_IDEM_FIRST_ELSEWHERE;
        assert_int_equal(d.status != fm_problem_info(d.problem)->status, repeat);
    }
}

/* -------- outcomes -------- */

static void an_outcome_is_never_taken_back(void **state)
{
    (void)state;
    assert_true(fm_idem_may_settle(FM_IDEM_IN_FLIGHT, FM_IDEM_DONE));
    assert_true(fm_idem_may_settle(FM_IDEM_IN_FLIGHT, FM_IDEM_UNKNOWN));
    assert_true(fm_idem_may_settle(FM_IDEM_UNKNOWN, FM_IDEM_DONE));
    assert_false(fm_idem_may_settle(FM_IDEM_UNKNOWN, FM_IDEM_UNKNOWN));
    assert_false(fm_idem_may_settle(FM_IDEM_DONE, FM_IDEM_DONE));
    assert_false(fm_idem_may_settle(FM_IDEM_DONE, FM_IDEM_UNKNOWN));
}

static enum fm_idem_known after(enum fm_idem_known have, enum fm_idem_known got)
{
    switch (fm_idem_merge(have, got, true)) {
    case FM_IDEM_ADD_UNKNOWN:
        return FM_IDEM_UNKNOWN;
    case FM_IDEM_ADD_DONE:
    case FM_IDEM_TURN_DONE:
        return FM_IDEM_DONE;
    case FM_IDEM_KEEP:
    case FM_IDEM_CONFLICT:
        break;
    }
    return have;
}

static void an_heir_ends_the_same_whatever_the_order(void **state)
{
    (void)state;
    static const enum fm_idem_known sent[] = {FM_IDEM_IN_FLIGHT, FM_IDEM_UNKNOWN, FM_IDEM_DONE};
    static const enum fm_idem_known had[] = {FM_IDEM_ABSENT, FM_IDEM_UNKNOWN, FM_IDEM_DONE};
    for (size_t h = 0; h < FM_COUNT(had); h++) {
        for (size_t a = 0; a < FM_COUNT(sent); a++) {
            enum fm_idem_known once = after(had[h], sent[a]);
            assert_int_equal(after(once, sent[a]), once);
            assert_true(once == FM_IDEM_UNKNOWN || once == FM_IDEM_DONE);
            for (size_t b = 0; b < FM_COUNT(sent); b++)
                assert_int_equal(after(once, sent[b]), after(after(had[h], sent[b]), sent[a]));
        }
    }
    assert_int_equal(after(FM_IDEM_ABSENT, FM_IDEM_IN_FLIGHT), FM_IDEM_UNKNOWN);
    assert_int_equal(after(FM_IDEM_UNKNOWN, FM_IDEM_DONE), FM_IDEM_DONE);
    assert_int_equal(after(FM_IDEM_DONE, FM_IDEM_UNKNOWN), FM_IDEM_DONE);
}

static void an_heir_keeps_its_own_where_two_disagree(void **state)
{
    (void)state;
    assert_int_equal(fm_idem_merge(FM_IDEM_DONE, FM_IDEM_DONE, false), FM_IDEM_CONFLICT);
    assert_int_equal(fm_idem_merge(FM_IDEM_UNKNOWN, FM_IDEM_DONE, false), FM_IDEM_CONFLICT);
    assert_int_equal(fm_idem_merge(FM_IDEM_IN_FLIGHT, FM_IDEM_DONE, true), FM_IDEM_CONFLICT);
    assert_int_equal(fm_idem_merge(FM_IDEM_IN_FLIGHT, FM_IDEM_UNKNOWN, true), FM_IDEM_KEEP);
    assert_int_equal(fm_idem_merge(FM_IDEM_DONE, FM_IDEM_DONE, true), FM_IDEM_KEEP);
}

static void every_name_is_its_own(void **state)
{
    (void)state;
    for (unsigned a = 0; a < FM_IDEM_SITUATION_COUNT; a++)
        for (unsigned b = 0; b < a; b++)
            assert_string_not_equal(fm_idem_situation_name((enum fm_idem_situation)a),
                                    fm_idem_situation_name((enum fm_idem_situation)b));
    for (unsigned a = 0; a < FM_IDEM_KNOWN_COUNT; a++)
        for (unsigned b = 0; b < a; b++)
            assert_string_not_equal(fm_idem_known_name((enum fm_idem_known)a),
                                    fm_idem_known_name((enum fm_idem_known)b));
}

FM_TEST_MAIN(fm_test(a_key_is_printable_and_bounded),
             fm_test(a_missing_key_matters_only_where_one_is_required),
             fm_test(what_the_journal_knows_makes_the_situation),
             fm_test(a_first_try_under_another_epoch_is_elsewhere),
             fm_test(every_situation_has_its_answer),
             fm_test(a_gate_never_forwards_what_may_have_been_forwarded),
             fm_test(no_edge_takes_a_refused_repeat_elsewhere),
             fm_test(an_outcome_is_never_taken_back),
             fm_test(an_heir_ends_the_same_whatever_the_order),
             fm_test(an_heir_keeps_its_own_where_two_disagree), fm_test(every_name_is_its_own))
