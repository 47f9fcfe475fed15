/* What becomes of a queued command after a try: every problem, and every doubt. */
#include "test.h"

#include "core/delivery.h"

enum {
    DONE = FM_DELIVERY_DONE,
    UNKNOWN = FM_DELIVERY_UNKNOWN,
    BACK = FM_DELIVERY_BACK,
    AGAIN = FM_DELIVERY_AGAIN
};

static struct fm_delivery_heard heard(uint16_t status, enum fm_problem problem)
{
    return (struct fm_delivery_heard){
        .sent = true, .answered = true, .passes = true, .status = status, .problem = problem};
}

static void check(const struct fm_delivery_heard *h, int wanted, unsigned status)
{
    uint16_t got = 77;
    enum fm_delivery d = fm_delivery_decide(h, &got);
    if ((int)d != wanted || got != status)
        fail_msg("%u of problem %u, sent before %d: %s with %u", h->status, h->problem,
                 h->sent_before, fm_delivery_name(d), got);
}

static void what_the_application_answers_is_its_end(void **state)
{
    (void)state;
    static const uint16_t status[] = {200, 201, 204, 302, 400, 404, 409, 500, 502, 503, 504};
    for (size_t i = 0; i < FM_COUNT(status); i++) {
        struct fm_delivery_heard h = heard(status[i], FM_PROBLEM_NONE);
        check(&h, DONE, status[i]);
        h.sent_before = true; /* the answer is that of its key */
        check(&h, DONE, status[i]);
        h.tries = 100;
        check(&h, DONE, status[i]);
    }
}

static void a_success_under_an_epoch_that_ended_by_force_is_none(void **state)
{
    (void)state;
    struct fm_delivery_heard h = heard(200, FM_PROBLEM_NONE);
    h.passes = false;
    check(&h, UNKNOWN, 0);
    h.status = 399;
    check(&h, UNKNOWN, 0);
    h.status = 400;
    check(&h, DONE, 400);
}

static void what_was_not_sent_goes_back(void **state)
{
    (void)state;
    struct fm_delivery_heard h = {.by_app = false};
    for (unsigned i = 0; i < 4; i++) {
        h.sent_before = i & 1;
        h.by_app = i & 2;
        h.tries = 100;
        check(&h, BACK, 0);
    }
}

/* Who stops its doubles is asked again, but not for ever. */
static void without_an_answer_its_key_is_asked_about(void **state)
{
    (void)state;
    struct fm_delivery_heard h = {.sent = true};
    check(&h, AGAIN, 0);
    h.tries = FM_DELIVERY_TRIES_MAX - 1;
    check(&h, AGAIN, 0);
    h.tries = FM_DELIVERY_TRIES_MAX;
    check(&h, UNKNOWN, 0);
    h = heard(418, FM_PROBLEM_NONE);
    h.strange = true; /* a gate of another version: nothing is concluded */
    check(&h, AGAIN, 0);
}

static void every_refusal_of_a_gate(void **state)
{
    (void)state;
    static const struct {
        enum fm_problem problem;
        uint16_t status;
        int fresh, before; /* before: an earlier try may have been executed */
        bool by_app;       /* then it is asked again */
    } cases[] = {
        {FM_PROBLEM_MOVING, 421, BACK, BACK, false},
        {FM_PROBLEM_NOT_HOLDER, 421, BACK, BACK, false},
        {FM_PROBLEM_OTHER_GATE, 421, BACK, BACK, false},
        {FM_PROBLEM_CATCHING_UP, 421, BACK, BACK, false},
        {FM_PROBLEM_READ_ONLY, 503, BACK, BACK, false},
        {FM_PROBLEM_OVERLOADED, 503, BACK, BACK, false},
        {FM_PROBLEM_UNREACHABLE, 503, BACK, BACK, false},
        {FM_PROBLEM_NO_INSTANCE, 503, BACK, BACK, false},
        {FM_PROBLEM_JOURNAL_FAILED, 503, BACK, BACK, false},
        {FM_PROBLEM_DEADLINE, 504, BACK, BACK, false},
        {FM_PROBLEM_KEY_IN_FLIGHT, 409, BACK, BACK, false},
        {FM_PROBLEM_NO_ROUTE, 404, DONE, UNKNOWN, false},
        {FM_PROBLEM_BAD_PATH, 400, DONE, UNKNOWN, false},
        {FM_PROBLEM_HEAD_TOO_LARGE, 431, DONE, UNKNOWN, false},
        {FM_PROBLEM_KEY_MISSING, 400, DONE, UNKNOWN, false},
        {FM_PROBLEM_KEY_INVALID, 400, DONE, UNKNOWN, false},
        {FM_PROBLEM_KEY_REUSED, 422, DONE, UNKNOWN, false},
        {FM_PROBLEM_ENTITY_MISSING, 400, DONE, UNKNOWN, false},
        {FM_PROBLEM_ENTITY_REPEATED, 400, DONE, UNKNOWN, false},
        {FM_PROBLEM_ENTITY_TOO_LONG, 400, DONE, UNKNOWN, false},
        {FM_PROBLEM_ENTITY_MALFORMED, 400, DONE, UNKNOWN, false},
        {FM_PROBLEM_ENTITY_OUT_OF_REACH, 413, DONE, UNKNOWN, false},
        {FM_PROBLEM_ENTITY_UNKNOWN, 404, DONE, UNKNOWN, false},
        {FM_PROBLEM_NOT_QUEUED, 404, DONE, UNKNOWN, false},
        {FM_PROBLEM_UPSTREAM_ERROR, 502, UNKNOWN, UNKNOWN, true},
        {FM_PROBLEM_CONNECTION_LOST, 502, UNKNOWN, UNKNOWN, true},
        {FM_PROBLEM_BAD_ANSWER, 502, UNKNOWN, UNKNOWN, true},
        {FM_PROBLEM_TIMEOUT, 504, UNKNOWN, UNKNOWN, true},
        {FM_PROBLEM_OUTCOME_UNKNOWN, 504, UNKNOWN, UNKNOWN, true},
        {FM_PROBLEM_OUTCOME_UNKNOWN, 409, UNKNOWN, UNKNOWN, true},
        {FM_PROBLEM_ANSWER_NOT_KEPT, 409, DONE, DONE, false},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        bool gone = cases[i].problem == FM_PROBLEM_ANSWER_NOT_KEPT;
        unsigned status = gone ? FM_DELIVERY_ANSWER_GONE : cases[i].status;
        struct fm_delivery_heard h = heard(cases[i].status, cases[i].problem);
        check(&h, cases[i].fresh, cases[i].fresh == DONE ? status : 0);
        h.sent_before = true;
        check(&h, cases[i].before, cases[i].before == DONE ? status : 0);
        h.by_app = true;
        check(&h, cases[i].by_app ? AGAIN : cases[i].before,
              !cases[i].by_app && cases[i].before == DONE ? status : 0);
        h.tries = FM_DELIVERY_TRIES_MAX;
        if (cases[i].by_app)
            check(&h, UNKNOWN, 0);
    }
    bool seen[FM_PROBLEM_COUNT] = {[FM_PROBLEM_NONE] = true};
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        seen[cases[i].problem] = true;
    for (unsigned p = 0; p < FM_PROBLEM_COUNT; p++)
        assert_true(seen[p]);
}

static void what_waits_over_there_waits_here(void **state)
{
    (void)state;
    struct fm_delivery_heard h = heard(202, FM_PROBLEM_NONE);
    check(&h, DONE, 202); /* of an application */
    h.waits_there = true;
    check(&h, BACK, 0);
}

static struct fm_view_cell cell(uint64_t epoch, uint64_t gentle_from)
{
    return (struct fm_view_cell){.epoch = {epoch}, .gentle_from = {gentle_from}};
}

static void it_says_under_which_epoch_it_was_sent_first(void **state)
{
    (void)state;
    struct fm_view_cell now = cell(9, 7);
    assert_int_equal(fm_delivery_first(&now, (struct fm_epoch){0}).n, 0);
    assert_int_equal(fm_delivery_first(&now, (struct fm_epoch){9}).n, 9);
    assert_int_equal(fm_delivery_first(&now, (struct fm_epoch){7}).n, 9); /* journals came along */
    assert_int_equal(fm_delivery_first(&now, (struct fm_epoch){6}).n, 6); /* ended by force */
    assert_int_equal(fm_delivery_first(&now, (struct fm_epoch){11}).n, 11);
    for (unsigned i = 0; i < FM_DELIVERY_COUNT; i++)
        assert_true(strlen(fm_delivery_name((enum fm_delivery)i)) > 0);
}

FM_TEST_MAIN(fm_test(what_the_application_answers_is_its_end),
             fm_test(a_success_under_an_epoch_that_ended_by_force_is_none),
             fm_test(what_was_not_sent_goes_back),
             fm_test(without_an_answer_its_key_is_asked_about), fm_test(every_refusal_of_a_gate),
             fm_test(what_waits_over_there_waits_here),
             fm_test(it_says_under_which_epoch_it_was_sent_first))
