/* core/problem.h: why a request got no answer of an application.
 *
 * The types of DESIGN.md section 8: urn:fulmar:NAME in application/problem+json (RFC 9457). Between
 * gate and edge the name also travels in the header Fulmar-Problem, which nobody else can set
 * (gates remove it from what applications answer, edges from what they pass on). `executed` is what
 * the edge may conclude: only what was certainly not executed is tried again without a key. Pure.
 */
#ifndef FM_CORE_PROBLEM_H
#define FM_CORE_PROBLEM_H

#include "base/str.h"

enum fm_executed { FM_EXECUTED_NO, FM_EXECUTED_UNKNOWN };

#define FM_PROBLEMS(X)                                                                             \
    X(NO_ROUTE, "no-route", 404, NO, "no route leads to this host, path and method")               \
    X(BAD_PATH, "bad-path", 400, NO, "the path has a broken escape or leaves the root")            \
    X(HEAD_TOO_LARGE, "head-too-large", 431, NO, "no room for the request's header")               \
    X(KEY_MISSING, "key-missing", 400, NO, "this command needs an Idempotency-Key header")         \
    X(KEY_INVALID, "key-invalid", 400, UNKNOWN,                                                    \
      "the Idempotency-Key is longer than 255 characters or has one that is not printable")        \
    X(KEY_IN_FLIGHT, "key-in-flight", 409, UNKNOWN,                                                \
      "a command with this Idempotency-Key is under way; its answer is not known yet")             \
    X(KEY_REUSED, "key-reused", 422, UNKNOWN, "this Idempotency-Key was used for another request") \
    X(ANSWER_NOT_KEPT, "answer-not-kept", 409, UNKNOWN,                                            \
      "this command was executed; its answer was too large to be kept")                            \
    X(JOURNAL_FAILED, "journal-failed", 503, NO,                                                   \
      "this region cannot record commands; not executed")                                          \
    X(ENTITY_MISSING, "entity-missing", 400, NO, "the request does not name what it is about")     \
    X(ENTITY_REPEATED, "entity-repeated", 400, NO,                                                 \
      "the request names what it is about more than once")                                         \
    X(ENTITY_TOO_LONG, "entity-too-long", 400, NO, "the name of what this is about is too long")   \
    X(ENTITY_MALFORMED, "entity-malformed", 400, NO,                                               \
      "what this request is about is named in a way that could be misread")                        \
    X(ENTITY_OUT_OF_REACH, "entity-out-of-reach", 413, NO,                                         \
      "too large to look into for what this request is about")                                     \
    X(ENTITY_UNKNOWN, "entity-unknown", 404, NO, "the directory does not know this name")          \
    X(NOT_QUEUED, "not-queued", 404, NO,                                                           \
      "no command waits or waited at this place, or it was forgotten since")                       \
    X(MOVING, "moving", 421, NO, "the right to take this is on its way to another region")         \
    X(NOT_HOLDER, "not-holder", 421, NO, "another region takes this")                              \
    X(OTHER_GATE, "other-gate", 421, NO,                                                           \
      "another gate of this region takes commands with this Idempotency-Key")                      \
    X(CATCHING_UP, "catching-up", 421, NO,                                                         \
      "this gate does not know yet what the others of its region have taken")                      \
    X(READ_ONLY, "read-only", 503, NO,                                                             \
      "nothing can be changed at the moment; queries are answered")                                \
    X(OVERLOADED, "overloaded", 503, NO, "too many requests are in flight; try again shortly")     \
    X(UNREACHABLE, "unreachable", 503, NO, "no region that could answer can be reached")           \
    X(NO_INSTANCE, "no-instance", 503, NO, "no instance of the application can be reached")        \
    X(DEADLINE, "deadline", 504, NO, "the deadline of this request had passed; not executed")      \
    X(UPSTREAM_ERROR, "upstream-error", 502, UNKNOWN, "every region that was asked failed")        \
    X(CONNECTION_LOST, "connection-lost", 502, UNKNOWN,                                            \
      "the connection to the application broke before its answer was complete")                    \
    X(BAD_ANSWER, "bad-answer", 502, UNKNOWN, "the application's answer was not valid HTTP")       \
    X(TIMEOUT, "timeout", 504, UNKNOWN, "no region answered in time")                              \
    X(OUTCOME_UNKNOWN, "outcome-unknown", 504, UNKNOWN,                                            \
      "this command may or may not have been executed; it was not repeated")

enum fm_problem {
    FM_PROBLEM_NONE,
#define X(id, name, status, executed, detail) FM_PROBLEM_##id,
    FM_PROBLEMS(X)
#undef X
        FM_PROBLEM_COUNT
};

struct fm_problem_info {
    struct fm_str name, detail;
    unsigned status;
    enum fm_executed executed;
};

const struct fm_problem_info *fm_problem_info(enum fm_problem p);

/* A gate says that it does not take it (now), and that nobody else will either: whoever asked looks
 * anew for who does, and asks again. */
bool fm_problem_is_misdirected(enum fm_problem p);

/* FM_PROBLEM_NONE for a name that is not known: then nothing may be concluded from it. */
enum fm_problem fm_problem_find(struct fm_str name);

#endif
