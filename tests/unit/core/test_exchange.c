/* One request: scripts of what happens to it, with what has to be done, and random lives of which a
 * second mind keeps the books. */
#include "test.h"

#include "base/rand.h"
#include "core/exchange.h"

#include <stdio.h>

/* -------- scripts -------- */

/* A script is a list of steps `event>actions`.
 *   events   begin  sent0  not0 (not sent)  ans0=503[!problem]  lost0[!problem]  hedge  left=A
 *            timeout  gone  streamed; with a $ behind it the budget is spent, with a ^ before that
 *            the instance is out
 *   actions  tA (try there)  c0 (cancel)  r0 (relay)  f!problem (fail)  d (drop)
 * A `left` lasts. What kind of request it is: S(afe), K(eyed) or N(ever to be repeated), then
 * h(edging), g (at a gate), s (its body is streamed from the beginning), w(aits, since no other
 * region may take it), m (it may have been executed before). */
struct script {
    const char *kind, *plan;
    unsigned others; /* other-regions */
    const char *steps;
};

struct player {
    struct fm_exchange x;
    uint32_t left;
    const char *script; /* for messages */
};

static struct fm_exchange begun(const struct script *s)
{
    struct fm_route_plan plan = {.n = (uint8_t)strlen(s->plan)};
    for (unsigned i = 0; i < plan.n; i++)
        plan.region[i] = (uint8_t)(s->plan[i] - 'A');
    struct fm_exchange_begin b = {.repeat = s->kind[0] == 'S'   ? FM_REPEAT_SAFE
                                            : s->kind[0] == 'K' ? FM_REPEAT_KEYED
                                                                : FM_REPEAT_NEVER,
                                  .hedging = strchr(s->kind, 'h') != NULL,
                                  .leave_region = strchr(s->kind, 'g') == NULL,
                                  .replayable = strchr(s->kind, 's') == NULL,
                                  .waits = strchr(s->kind, 'w') != NULL,
                                  .maybe_executed = strchr(s->kind, 'm') != NULL,
                                  .other_regions = (uint8_t)s->others};
    struct fm_exchange x;
    fm_exchange_init(&x, &b, &plan);
    return x;
}

static struct fm_str word_until(struct fm_str *s, const char *stops)
{
    size_t n = 0;
    while (n < s->n && !strchr(stops, s->p[n]))
        n++;
    struct fm_str word = fm_str(s->p, n);
    *s = fm_str(s->p + n, s->n - n);
    return word;
}

static bool starts(struct fm_str *s, const char *prefix)
{
    if (!fm_str_starts(*s, fm_str_z(prefix)))
        return false;
    *s = fm_str(s->p + strlen(prefix), s->n - strlen(prefix));
    return true;
}

static struct fm_exchange_event parse_event(struct player *p, struct fm_str t)
{
    static const struct {
        const char *word;
        enum fm_exchange_event_kind kind;
    } words[] = {{"begin", FM_EXCHANGE_BEGIN},       {"sent", FM_EXCHANGE_SENT},
                 {"not", FM_EXCHANGE_NOT_SENT},      {"ans", FM_EXCHANGE_ANSWER},
                 {"lost", FM_EXCHANGE_LOST},         {"hedge", FM_EXCHANGE_HEDGE_DUE},
                 {"left=", FM_EXCHANGE_REGION_LEFT}, {"timeout", FM_EXCHANGE_TIMEOUT},
                 {"gone", FM_EXCHANGE_CLIENT_GONE},  {"streamed", FM_EXCHANGE_NOT_REPLAYABLE}};
    struct fm_exchange_event e = {.budget = true};
    size_t i = 0;
    while (i < FM_COUNT(words) && !starts(&t, words[i].word))
        i++;
    if (i == FM_COUNT(words))
        fail_msg("%s: what is %.*s?", p->script, FM_STR_ARG(t));
    e.kind = words[i].kind;
    if (e.kind == FM_EXCHANGE_REGION_LEFT) {
        e.region = (uint8_t)(t.p[0] - 'A');
        p->left |= 1u << e.region;
        t = fm_str(t.p + 1, t.n - 1);
    } else if (t.n && t.p[0] >= '0' && t.p[0] <= '9') {
        e.attempt = (uint8_t)(t.p[0] - '0');
        t = fm_str(t.p + 1, t.n - 1);
    }
    if (starts(&t, "=")) {
        uint64_t status;
        assert_true(fm_str_u64(word_until(&t, "!^$"), &status));
        e.status = (uint16_t)status;
    }
    if (e.kind == FM_EXCHANGE_LOST)
        e.problem = FM_PROBLEM_TIMEOUT;
    if (starts(&t, "!"))
        e.problem = fm_problem_find(word_until(&t, "^$"));
    e.instance_out = starts(&t, "^");
    if (starts(&t, "$"))
        e.budget = false;
    if (t.n)
        fail_msg("%s: what is %.*s?", p->script, FM_STR_ARG(t));
    e.left_regions = p->left;
    return e;
}

static void describe(const struct fm_exchange_actions *a, char *out, size_t size)
{
    size_t n = 0;
    out[0] = 0;
    for (unsigned i = 0; i < a->n; i++) {
        const struct fm_exchange_action *one = &a->action[i];
        int k = 0;
        switch (one->kind) {
        case FM_EXCHANGE_TRY:
            k = snprintf(out + n, size - n, "t%c", 'A' + one->region);
            break;
        case FM_EXCHANGE_CANCEL:
            k = snprintf(out + n, size - n, "c%u", one->attempt);
            break;
        case FM_EXCHANGE_RELAY:
            k = snprintf(out + n, size - n, "r%u", one->attempt);
            break;
        case FM_EXCHANGE_FAIL:
            k = snprintf(out + n, size - n, "f!%s", fm_problem_info(one->problem)->name.p);
            break;
        case FM_EXCHANGE_DROP:
            k = snprintf(out + n, size - n, "d");
            break;
        }
        n += (size_t)k;
        if (i + 1 < a->n)
            n += (size_t)snprintf(out + n, size - n, ",");
    }
}

static void play(const struct script *s)
{
    struct player p = {.x = begun(s), .script = s->steps};
    struct fm_str rest = fm_str_z(s->steps);
    while (rest.n) {
        struct fm_str step = fm_str_cut(rest, ' ', &rest), wanted;
        struct fm_str event = fm_str_cut(step, '>', &wanted);
        struct fm_exchange_event e = parse_event(&p, event);
        struct fm_exchange_actions got;
        char text[256];
        fm_exchange_step(&p.x, &e, &got);
        describe(&got, text, sizeof text);
        if (!fm_str_eqz(wanted, text))
            fail_msg("%s: at %.*s it did %s", s->steps, FM_STR_ARG(step), text);
    }
}

#define play_all(scripts)                                                                          \
    for (size_t i_ = 0; i_ < FM_COUNT(scripts); i_++)                                              \
    play(&(scripts)[i_])

static void the_first_retry_leaves_the_region(void **state)
{
    (void)state;
    static const struct script scripts[] = {
        {"S", "AB", 2, "begin>tA sent0> ans0=200>r0"},
        {"S", "AB", 2, "begin>tA sent0> lost0>tB sent1> ans1=200>r1"},
        {"S", "AB", 2, "begin>tA not0>tB sent1> ans1=503>c1,tA sent2> ans2=503>r2"},
        {"S", "ABC", 2, "begin>tA not0>tB not1>tC not2>f!unreachable"},
        {"S", "ABCD", 1, "begin>tA not0>tB not1>f!unreachable"},
        {"S", "ABC", 0, "begin>tA sent0> ans0=503>r0"},
        {"S", "A", 2, "begin>tA not0>tA not1>tA not2>f!unreachable"},
        {"S", "", 2, "begin>f!unreachable"},
        {"S", "ABCDEFG", 9, "begin>tA not0>tB not1>tC not2>tD not3>f!unreachable"},
        {"S", "AB", 1, "begin>tA sent0> ans0=500>r0"}, /* the application's own answer */
        {"S", "AB", 1, "begin>tA sent0> ans0=404>r0"},
        {"S", "AB", 1, "begin>tA sent0> lost0!bad-answer>tB sent1> lost1>f!timeout"},
        {"S", "AB", 1, "begin>tA sent0> ans0=502>c0,tB not1>f!unreachable"},
        {"Sh", "AB", 1, "begin>tA sent0> hedge>tB not1> ans0=502>r0"},
        {"Sh", "AB", 2, "begin>tA sent0> hedge>tB sent1> ans1=503>c1 ans0=503$>r0"},
        {"Sh", "AB", 1, "begin>tA sent0> hedge>tB sent1> ans1=503>c1 lost0>f!timeout"},
        {"S", "AB", 1, "begin>tA timeout>c0,f!timeout"},
        {"S", "AB", 1, "begin>tA sent0> timeout>c0,f!timeout"},
        {"S", "AB", 1, "begin>tA sent0> gone>c0,d ans0=200>"},
    };
    play_all(scripts);
}

static void a_command_without_a_key_is_sent_once(void **state)
{
    (void)state;
    static const struct script scripts[] = {
        {"N", "AB", 2, "begin>tA sent0> lost0>f!outcome-unknown"},
        {"N", "AB", 2, "begin>tA sent0> ans0=503>r0"},
        {"N", "AB", 2, "begin>tA sent0> timeout>c0,f!outcome-unknown"},
        {"N", "AB", 2, "begin>tA timeout>c0,f!timeout"}, /* it was still connecting */
        {"N", "AB", 2, "begin>tA not0>tB sent1> ans1=200>r1"},
        {"N", "AB", 2, "begin>tA sent0> not0>tB sent1> lost1>f!outcome-unknown"},
        {"N", "AB", 2, "begin>tA sent0> ans0=503!overloaded>c0,tB sent1> ans1=200>r1"},
        {"N", "AB", 1, "begin>tA sent0> ans0=503!overloaded>c0,tB sent1> ans1=503!overloaded>r1"},
        {"N", "AB", 2, "begin>tA sent0> left=A> lost0>f!outcome-unknown"},
        {"N", "AB", 2, "begin>tA left=A>c0,tB sent1> ans1=200>r1"},
        {"Nh", "AB", 2, "begin>tA sent0> hedge>"},
        {"N", "AB", 2, "begin>tA sent0> ans0=502!outcome-unknown>r0"}, /* a gate said so */
    };
    play_all(scripts);
}

static void a_command_with_a_key_is_repeated_and_never_called_failed(void **state)
{
    (void)state;
    static const struct script scripts[] = {
        {"K", "AB", 2, "begin>tA sent0> lost0>tB sent1> ans1=200>r1"},
        {"K", "AB", 1, "begin>tA sent0> lost0>tB sent1> lost1>f!outcome-unknown"},
        {"K", "AB", 1, "begin>tA sent0> lost0>tB not1>f!outcome-unknown"},
        {"K", "AB", 1, "begin>tA not0>tB not1>f!unreachable"},
        {"Kh", "AB", 2, "begin>tA sent0> hedge> ans0=200>r0"},
        {"K", "AB", 1, "begin>tA sent0> lost0$>f!outcome-unknown"},
        {"K", "AB", 1, "begin>tA sent0> ans0=503>c0,tB sent1> ans1=409>r1"},
        /* an answer that says failed, after an attempt that may have done it */
        {"K", "AB", 1, "begin>tA sent0> lost0>tB sent1> ans1=503>c1,f!outcome-unknown"},
        {"K", "AB", 1, "begin>tA sent0> lost0>tB sent1> ans1=503!overloaded>c1,f!outcome-unknown"},
        {"K", "AB", 1, "begin>tA sent0> left=A>tB sent1> ans1=503>c0,c1,f!outcome-unknown"},
        {"K", "AB", 1, "begin>tA left=A>tB sent1> ans1=503>c0,r1"}, /* A never got it */
        {"K", "AB", 1, "begin>tA not0>tB sent1> ans1=503>r1"},
    };
    play_all(scripts);
}

static void what_one_region_alone_may_take_is_given_up_to_wait(void **state)
{
    (void)state;
    static const struct script scripts[] = {
        /* its region is left: it was sent, or not */
        {"Kw", "A", 2, "begin>tA sent0> left=A>c0,f!outcome-unknown ans0=200>"},
        {"Kw", "A", 2, "begin>tA left=A>c0,f!unreachable"},
        {"Nw", "A", 2, "begin>tA left=A>c0,f!unreachable"},
        {"Nw", "A", 2, "begin>tA sent0> left=A> ans0=200>r0"}, /* it may not be sent twice */
        {"Kws", "A", 2, "begin>tA sent0> left=A> ans0=200>r0"},
        {"Kws", "A", 2, "begin>tA sent0> streamed> left=A> ans0=200>r0"},
        {"Kw", "A", 2, "begin>tA sent0> left=B> ans0=200>r0"},
        {"K", "A", 2, "begin>tA sent0> left=A> ans0=200>r0"}, /* there is nobody to wait for */
        /* lost: at another instance of the same region, unless that is left */
        {"Kw", "A", 1, "begin>tA sent0> lost0>tA sent1> ans1=200>r1"},
        {"Kw", "A", 2, "left=A> begin>tA sent0> lost0>f!outcome-unknown"},
        {"Kw", "A", 2, "left=A> begin>tA not0>f!unreachable"},
        {"Kw", "A", 1, "begin>tA sent0> lost0$>f!outcome-unknown"},
        /* an answer that says failed is the answer, unless it may wait for another one */
        {"K", "A", 0, "begin>tA sent0> ans0=503>r0"},
        {"Kw", "A", 0, "begin>tA sent0> ans0=503>c0,f!outcome-unknown"},
        {"Kw", "A", 0, "begin>tA sent0> ans0=500>r0"},
        {"Kw", "A", 0, "begin>tA sent0> ans0=409>r0"},
        {"Kw", "A", 1, "begin>tA sent0> ans0=503>c0,tA sent1> ans1=504>c1,f!outcome-unknown"},
        {"Kws", "A", 0, "begin>tA sent0> ans0=503>r0"},
        {"Nw", "A", 0, "begin>tA sent0> ans0=503>r0"},
        {"Nw", "A", 0, "begin>tA sent0> ans0=503!no-instance>c0,f!no-instance"},
        {"Kw", "A", 0, "begin>tA sent0> ans0=503!no-instance>c0,f!no-instance"},
        {"Nw", "A", 0, "begin>tA sent0> ans0=503!unreachable>c0,f!unreachable"},
        {"Kwm", "A", 0, "begin>tA sent0> ans0=503!unreachable>c0,f!outcome-unknown"},
        {"Kw", "A", 0, "begin>tA sent0> ans0=503!overloaded>r0"},
        /* what may have been executed before is never called failed */
        {"Kwm", "A", 0, "begin>tA sent0> ans0=503!overloaded>c0,f!outcome-unknown"},
        {"Kwm", "A", 0, "begin>tA not0>f!outcome-unknown"},
        {"Km", "A", 0, "begin>tA sent0> ans0=421!moving>c0,f!outcome-unknown"},
        {"Kwm", "A", 0, "begin>tA sent0> ans0=421!moving>c0,f!moving"}, /* wait for news */
        {"Kwm", "A", 0, "begin>tA sent0> ans0=503!no-instance>c0,f!outcome-unknown"},
        {"Kwm", "A", 0, "begin>tA sent0> ans0=200>r0"},
        {"Kwm", "A", 0, "begin>tA sent0> ans0=409>r0"},
    };
    play_all(scripts);
}

static void hedges_are_for_queries_and_for_regions_that_may_answer(void **state)
{
    (void)state;
    static const struct script scripts[] = {
        {"Sh", "AB", 2, "begin>tA sent0> hedge>tB sent1> ans1=200>c0,r1"},
        {"Sh", "AB", 2, "begin>tA sent0> hedge>tB sent1> ans0=200>c1,r0"},
        {"Sh", "AB", 2, "begin>tA sent0> hedge>tB hedge> sent1> lost1> ans0=200>r0"},
        {"Sh", "AB", 2, "begin>tA sent0> hedge>tB sent1> ans1=503>c1 ans0=200>r0"},
        {"Sh", "AB", 2, "begin>tA sent0> hedge$>"},
        {"S", "AB", 2, "begin>tA sent0> hedge>"},
        {"Sh", "AB", 0, "begin>tA sent0> hedge>"},
        /* B is down: a second instance of A, or nobody */
        {"Sh", "AB", 2, "left=B> begin>tA sent0> hedge>tA"},
        {"Sh", "AB", 1, "left=B> begin>tA sent0> hedge>"},
        {"Sh", "ABC", 2, "left=B> begin>tA sent0> hedge>tC"},
        {"Sh", "AB", 2, "begin>tA sent0> streamed> hedge>"},
    };
    play_all(scripts);
}

static void what_is_under_way_leaves_a_region_that_is_left(void **state)
{
    (void)state;
    static const struct script scripts[] = {
        {"S", "AB", 2, "begin>tA sent0> left=A>tB ans0=200>c1,r0"}, /* it woke up */
        {"S", "AB", 2, "begin>tA sent0> left=A$>tB sent1> ans1=200>c0,r1"},
        {"S", "AB", 2, "begin>tA sent0> left=A>tB sent1> left=B>"}, /* where to? */
        {"S", "ABC", 2, "begin>tA sent0> left=A>tB sent1> left=B>tC"},
        {"S", "ABC", 2, "left=B> begin>tA sent0> left=A>tC"},
        {"S", "AB", 2, "begin>tA sent0> left=B> ans0=200>r0"}, /* not its region */
        {"Sh", "AB", 2, "begin>tA sent0> hedge>tB sent1> left=A> ans1=200>c0,r1"},
        {"S", "AB", 2, "begin>tA sent0> streamed> left=A>"},
        {"S", "AB", 2, "begin>tA sent0> ans0=200>r0 left=A>"},
        /* leaving costs nothing, anything else does */
        {"S", "AB", 2, "begin>tA left=A>tB not1$>"},
        {"S", "AB", 2, "left=A> begin>tA sent0> lost0$>tB sent1> ans1=503$>r1"},
        {"S", "AB", 2, "begin>tA sent0> lost0$>f!timeout"},
        {"S", "AB", 2, "begin>tA sent0> ans0=503$>r0"},
        {"S", "AB", 2, "begin>tA sent0> lost0^$>tB not1^$>tA"},
        {"K", "AB", 1, "begin>tA not0^$>tB sent1> lost1^$>f!outcome-unknown"},
        {"N", "AB", 1, "begin>tA sent0> lost0^$>f!outcome-unknown"}, /* not even then */
        {"S", "AB", 1, "begin>tA sent0> streamed> lost0^$>f!timeout"},
        /* an answer in hand is not thrown away for a region that is down ... */
        {"S", "AB", 1, "left=B> begin>tA sent0> ans0=503>r0"},
        /* ... unless it came from one */
        {"S", "AB", 1, "left=B> left=A> begin>tA sent0> ans0=503>c0,tB"},
        /* without an answer the last resort is worth a try */
        {"S", "AB", 1, "left=B> begin>tA sent0> lost0>tB sent1> ans1=200>r1"},
        {"S", "AB", 2, "left=B> begin>tA sent0> lost0>tA"},
        /* of those that had their turn the one that is not down is asked again */
        {"S", "AB", 2, "left=A> begin>tA not0^>tB not1^>tB not2^>f!unreachable"},
        {"S", "AB", 2, "left=A> left=B> begin>tA not0^>tB not1^>tA"},
        {"N", "AB", 2, "left=A> begin>tA not0^>tB sent1> lost1^>f!outcome-unknown"},
        /* what was passed over keeps its turn */
        {"S", "ABCD", 3,
         "left=B> left=C> begin>tA sent0> lost0>tD sent1> lost1>tB sent2> lost2>tC"},
    };
    play_all(scripts);
}

static void a_gate_tries_other_instances_for_what_was_not_sent_only(void **state)
{
    (void)state;
    static const struct script scripts[] = {
        {"Sg", "A", 1, "begin>tA not0>tA sent1> ans1=200>r1"},
        {"Sg", "A", 1, "begin>tA not0>tA not1>f!no-instance"},
        {"Sg", "A", 1, "begin>tA sent0> lost0>f!timeout"},
        {"Kg", "A", 1, "begin>tA sent0> lost0>f!outcome-unknown"},
        {"Ng", "A", 1, "begin>tA sent0> lost0>f!outcome-unknown"},
        {"Sg", "A", 1, "begin>tA sent0> ans0=503>r0"},
        {"Sg", "A", 1, "begin>tA sent0> left=A>"},
    };
    play_all(scripts);
}

static void a_streamed_body_can_be_sent_once(void **state)
{
    (void)state;
    static const struct script scripts[] = {
        {"S", "AB", 2, "begin>tA sent0> streamed> lost0>f!timeout"},
        {"K", "AB", 2, "begin>tA sent0> streamed> lost0>f!outcome-unknown"},
        {"K", "AB", 2, "begin>tA not0>tB sent1> streamed> ans1=503>r1"},
        {"Ns", "AB", 2, "begin>tA streamed> not0>f!unreachable"},
    };
    play_all(scripts);
}

/* -------- random lives -------- */

/* What the books say of an attempt, kept by the test alone. */
enum book { UNUSED, CONNECTING, SENT_OUT, REFUTED, MAYBE_DONE, DROPPED_UNSENT, DROPPED_SENT };

struct life {
    struct fm_rand r;
    struct fm_exchange x;
    struct fm_exchange_begin b;
    struct fm_route_plan plan;
    enum book book[FM_ATTEMPTS_MAX];
    uint8_t region[FM_ATTEMPTS_MAX];
    unsigned n, relays, ends;
    int relayed;
    bool streamed;
    uint32_t left;
};

static bool flies(const struct life *l, unsigned i)
{
    return l->book[i] == CONNECTING || l->book[i] == SENT_OUT;
}

static unsigned flying(const struct life *l)
{
    unsigned n = 0;
    for (unsigned i = 0; i < l->n; i++)
        n += flies(l, i);
    return n;
}

/* May somebody other than attempt `but` have executed it, or execute it yet? */
static bool maybe_done(const struct life *l, int but)
{
    bool maybe = l->b.maybe_executed;
    for (unsigned i = 0; i < l->n; i++)
        if ((int)i != but)
            maybe |=
                l->book[i] == SENT_OUT || l->book[i] == MAYBE_DONE || l->book[i] == DROPPED_SENT;
    return maybe;
}

static struct life born(uint64_t seed)
{
    struct life l = {.r = {seed}, .relayed = -1};
    unsigned regions = fm_rand_below(&l.r, 5);
    l.plan.n = (uint8_t)regions;
    for (unsigned i = 0; i < regions; i++)
        l.plan.region[i] = (uint8_t)i;
    l.b = (struct fm_exchange_begin){.repeat = (enum fm_repeat)fm_rand_below(&l.r, 3),
                                     .hedging = fm_rand_below(&l.r, 2),
                                     .leave_region = fm_rand_below(&l.r, 8) != 0,
                                     .replayable = true,
                                     .other_regions = (uint8_t)fm_rand_below(&l.r, 6)};
    if (l.b.repeat != FM_REPEAT_SAFE && l.b.leave_region && regions > 0 && seed % 2) {
        l.plan.n = 1; /* what one region alone may take */
        l.b.waits = true;
        l.b.maybe_executed = l.b.repeat == FM_REPEAT_KEYED && fm_rand_below(&l.r, 2);
    }
    l.left = (uint32_t)fm_rand_below(&l.r, 4) ? 0 : fm_rand_below(&l.r, 16);
    fm_exchange_init(&l.x, &l.b, &l.plan);
    return l;
}

static struct fm_exchange_event happens(struct life *l)
{
    static const enum fm_problem said[] = {FM_PROBLEM_NONE,     FM_PROBLEM_NONE,
                                           FM_PROBLEM_NONE,     FM_PROBLEM_OVERLOADED,
                                           FM_PROBLEM_DEADLINE, FM_PROBLEM_OUTCOME_UNKNOWN,
                                           FM_PROBLEM_NO_ROUTE, FM_PROBLEM_TIMEOUT};
    static const uint16_t status[] = {200, 200, 404, 409, 500, 502, 503, 504};
    struct fm_exchange_event e = {.budget = fm_rand_below(&l->r, 3) != 0};
    unsigned dice = fm_rand_below(&l->r, 100);
    unsigned i = l->n ? fm_rand_below(&l->r, l->n) : 0;
    e.attempt = (uint8_t)i;
    e.kind = FM_EXCHANGE_HEDGE_DUE;
    if (dice < 60 && l->n && flies(l, i) && (int)i != l->relayed) {
        bool sent = l->book[i] == SENT_OUT;
        unsigned what = fm_rand_below(&l->r, 4);
        e.kind = !sent && what < 2 ? FM_EXCHANGE_SENT
                 : !sent           ? FM_EXCHANGE_NOT_SENT
                 : what == 0       ? FM_EXCHANGE_LOST
                 : what == 1       ? FM_EXCHANGE_NOT_SENT
                                   : FM_EXCHANGE_ANSWER;
        e.status = status[fm_rand_below(&l->r, FM_COUNT(status))];
        e.problem = e.kind == FM_EXCHANGE_LOST ? FM_PROBLEM_CONNECTION_LOST
                                               : said[fm_rand_below(&l->r, FM_COUNT(said))];
        if (e.kind == FM_EXCHANGE_NOT_SENT)
            e.problem = FM_PROBLEM_NONE;
    } else if (dice < 80) {
        e.kind = FM_EXCHANGE_REGION_LEFT;
        e.region = (uint8_t)fm_rand_below(&l->r, 4);
        l->left |= 1u << e.region;
    } else if (dice < 84) {
        e.kind = FM_EXCHANGE_NOT_REPLAYABLE;
    } else if (dice < 86) {
        e.kind = FM_EXCHANGE_TIMEOUT;
    } else if (dice < 88) {
        e.kind = FM_EXCHANGE_CLIENT_GONE;
    }
    if (fm_rand_below(&l->r, 20) == 0)
        l->left &= fm_rand_below(&l->r, 16); /* some are back */
    e.left_regions = l->left;
    e.instance_out = (e.kind == FM_EXCHANGE_LOST || e.kind == FM_EXCHANGE_NOT_SENT) &&
                     fm_rand_below(&l->r, 4) == 0;
    return e;
}

/* Enter the event into the books, before the machine speaks. */
static void enter(struct life *l, const struct fm_exchange_event *e)
{
    bool refused =
        e->problem != FM_PROBLEM_NONE && fm_problem_info(e->problem)->executed == FM_EXECUTED_NO;
    if (l->ends)
        return;
    if (e->kind == FM_EXCHANGE_SENT)
        l->book[e->attempt] = SENT_OUT;
    else if (e->kind == FM_EXCHANGE_NOT_SENT)
        l->book[e->attempt] = REFUTED;
    else if (e->kind == FM_EXCHANGE_LOST)
        l->book[e->attempt] = MAYBE_DONE;
    else if (e->kind == FM_EXCHANGE_ANSWER && refused)
        l->book[e->attempt] = REFUTED;
    else if (e->kind == FM_EXCHANGE_ANSWER)
        l->book[e->attempt] = MAYBE_DONE;
    else if (e->kind == FM_EXCHANGE_NOT_REPLAYABLE)
        l->streamed = true;
}

static bool is_left(const struct life *l, unsigned region)
{
    return l->left >> region & 1;
}

static void check_try(struct life *l, const struct fm_exchange_event *e,
                      const struct fm_exchange_action *a)
{
    assert_int_equal(a->attempt, l->n);
    assert_true(l->n < 1u + l->b.other_regions && l->n < FM_ATTEMPTS_MAX);
    assert_true(a->region < l->plan.n);
    assert_true(l->relays == 0 && l->ends == 0 && !l->streamed);
    if (l->b.repeat == FM_REPEAT_NEVER) {
        assert_false(maybe_done(l, -1));
        assert_int_equal(flying(l), 0);
    }
    if (e->kind == FM_EXCHANGE_HEDGE_DUE) {
        assert_true(l->b.repeat == FM_REPEAT_SAFE && l->b.hedging && e->budget);
        assert_true(flying(l) == 1 && !is_left(l, a->region));
    }
    bool ended = e->kind == FM_EXCHANGE_NOT_SENT || e->kind == FM_EXCHANGE_LOST ||
                 e->kind == FM_EXCHANGE_ANSWER;
    bool paid = ended && !is_left(l, l->region[e->attempt]) && !e->instance_out;
    if (paid)
        assert_true(e->budget);
    if (e->kind == FM_EXCHANGE_REGION_LEFT)
        assert_false(is_left(l, a->region));
    if (l->b.waits && e->kind != FM_EXCHANGE_BEGIN && e->kind != FM_EXCHANGE_ANSWER)
        assert_false(is_left(l, l->region[e->attempt]));
    if (!l->b.leave_region)
        assert_true(e->kind == FM_EXCHANGE_BEGIN || e->kind == FM_EXCHANGE_NOT_SENT ||
                    e->kind == FM_EXCHANGE_HEDGE_DUE);
    bool hedge = e->kind == FM_EXCHANGE_HEDGE_DUE;
    assert_int_equal(l->x.attempt[l->n].hedge, hedge);
    assert_int_equal(l->x.attempt[l->n].budgeted, hedge || paid);
    l->book[l->n] = CONNECTING;
    l->region[l->n++] = a->region;
}

static bool says_failed(const struct fm_exchange_event *e)
{
    return e->status == 502 || e->status == 503 || e->status == 504 ||
           (e->problem != FM_PROBLEM_NONE &&
            fm_problem_info(e->problem)->executed == FM_EXECUTED_NO);
}

static void check_action(struct life *l, const struct fm_exchange_event *e,
                         const struct fm_exchange_action *a, bool last)
{
    bool command = l->b.repeat != FM_REPEAT_SAFE;
    switch (a->kind) {
    case FM_EXCHANGE_TRY:
        assert_true(last);
        check_try(l, e, a);
        break;
    case FM_EXCHANGE_CANCEL:
        assert_true(a->attempt < l->n);
        if (flies(l, a->attempt))
            l->book[a->attempt] = l->book[a->attempt] == SENT_OUT ? DROPPED_SENT : DROPPED_UNSENT;
        else /* the answer that is not relayed */
            assert_true((e->kind == FM_EXCHANGE_ANSWER && a->attempt == e->attempt) ||
                        (int)a->attempt == l->relayed);
        break;
    case FM_EXCHANGE_RELAY:
        assert_true(last && l->relays++ == 0 && l->ends == 0);
        assert_true(e->kind == FM_EXCHANGE_ANSWER && a->attempt == e->attempt);
        assert_int_equal(flying(l), 0);
        l->relayed = a->attempt;
        if (l->b.waits && !l->streamed && says_failed(e)) /* it was refused unexecuted */
            assert_true(l->b.repeat == FM_REPEAT_NEVER || e->problem != FM_PROBLEM_NONE);
        if (command && says_failed(e))
            assert_false(maybe_done(l, a->attempt));
        break;
    case FM_EXCHANGE_FAIL:
        assert_true(last && l->relays == 0 && l->ends++ == 0);
        assert_int_equal(flying(l), 0);
        assert_int_equal(a->problem == FM_PROBLEM_OUTCOME_UNKNOWN, command && maybe_done(l, -1));
        break;
    case FM_EXCHANGE_DROP:
        assert_true(last && l->ends++ == 0 && e->kind == FM_EXCHANGE_CLIENT_GONE);
        assert_int_equal(flying(l), 0);
        break;
    }
}

static unsigned met[FM_EXCHANGE_EVENT_COUNT], ended_by[5];

static void live(uint64_t seed)
{
    struct life l = born(seed);
    struct fm_exchange_event e = {
        .kind = FM_EXCHANGE_BEGIN, .budget = true, .left_regions = l.left};
    for (int i = 0; i < 60; i++) {
        struct fm_exchange_actions todo;
        met[e.kind]++;
        enter(&l, &e);
        bool was_relaying = l.relays > 0;
        fm_exchange_step(&l.x, &e, &todo);
        for (unsigned k = 0; k < todo.n; k++) {
            check_action(&l, &e, &todo.action[k], k + 1 == todo.n);
            ended_by[todo.action[k].kind]++;
        }
        if (was_relaying)
            assert_true(todo.n == 0 || e.kind == FM_EXCHANGE_CLIENT_GONE);
        bool relayed_flies = l.relayed >= 0 && !l.ends;
        assert_int_equal(fm_exchange_alive(&l.x), flying(&l) + relayed_flies);
        /* never in limbo */
        assert_true(l.ends || l.relays || flying(&l) > 0);
        e = happens(&l);
        if (l.ends) /* it must stay dead whatever comes */
            e.kind = (enum fm_exchange_event_kind)fm_rand_below(&l.r, FM_EXCHANGE_EVENT_COUNT);
    }
}

static void no_life_breaks_the_rules(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300000; seed++)
        live(seed);
    for (unsigned k = 0; k < FM_EXCHANGE_EVENT_COUNT; k++)
        assert_true(met[k] > 1000);
    for (unsigned k = 0; k < FM_COUNT(ended_by); k++)
        assert_true(ended_by[k] > 1000);
}

FM_TEST_MAIN(fm_test(the_first_retry_leaves_the_region),
             fm_test(a_command_without_a_key_is_sent_once),
             fm_test(a_command_with_a_key_is_repeated_and_never_called_failed),
             fm_test(what_one_region_alone_may_take_is_given_up_to_wait),
             fm_test(hedges_are_for_queries_and_for_regions_that_may_answer),
             fm_test(what_is_under_way_leaves_a_region_that_is_left),
             fm_test(a_gate_tries_other_instances_for_what_was_not_sent_only),
             fm_test(a_streamed_body_can_be_sent_once), fm_test(no_life_breaks_the_rules))
