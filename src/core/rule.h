/* core/rule.h: the decisions of authority, numbered by the rules of the safety protocol.
 *
 * FM_RULE(ID, condition) is the condition. FM_RULE_PICK(ID, right, wrong) is `right`. Only in the
 * build that the simulator makes for it (FM_MUTANTS) can one of them at a time be switched off by
 * number: then the condition counts as true, or `wrong` is taken. So one program tries every
 * mutant, and a rule that nothing catches is seen. The number in the name is that of the rule. */
#ifndef FM_CORE_RULE_H
#define FM_CORE_RULE_H

#include "base/time.h"

/* id, what the mutant does */
#define FM_RULES(X)                                                                                \
    X(R1_FROM_SEND, "the holder counts its lease from the reply")                                  \
    X(R1_HELD_RATE, "the holder counts L(1+rho)")                                                  \
    X(R1_WAIT_RATE, "the observer waits L(1-rho)")                                                 \
    X(R1_AFTER_READ, "the observer counts from the record before the one it read")                 \
    X(R2_RENEW_CAS, "a renewal is written whatever the revision")                                  \
    X(R2_RELEASE_CAS, "a release is written whatever the revision")                                \
    X(R3_UNKNOWN_NOT_DONE, "a renewal of unknown outcome counts as done")                          \
    X(R3_UNRESOLVED, "an acquire of unknown outcome counts as not done")                           \
    X(R3_CONFIRM, "no linearizable read before acting")                                            \
    X(R2_FOUND_CAS, "a first record is written over what is there")                                \
    X(R4_FOUND, "a cell that was seen and is gone is written as if it never was")                  \
    X(R4_STORE, "a store that shows less than it had shown is believed")                           \
    X(R4_EPOCH, "a cell that shows a lower epoch than it had shown is believed")                   \
    X(R4_LEARN, "an agent learns nothing from the epoch of who asks for its promise")              \
    X(R4_OFFICE, "the office is claimed in a store that shows less than it had shown")             \
    X(R4_ABOVE, "a new seed is above what stands in the store, not above what was seen")           \
    X(R4_EVIDENCE, "what an older copy says of the data of a group is believed after a new seed")  \
    X(R4_BLANK, "an agent whose disk was lost believes any store")                                 \
    X(R4_RESEED, "after a new seed nobody waits for what was granted before it")                   \
    X(R5_FROM_ASK, "a sub-lease counts from the grant's arrival")                                  \
    X(R5_LEFT, "a sub-lease may be longer than what the keeper has left")                          \
    X(R5_RECORDED, "a sub-lease is granted before it is recorded")                                 \
    X(R5_ACQUIRE, "a new keeper acquires at once")                                                 \
    X(R5_PROMISE, "a restarted agent promises at once")                                            \
    X(R5_RELEASE, "a new keeper releases at once")                                                 \
    X(R5_SHRINK, "a shorter lease is recorded while longer grants run")                            \
    X(R5_RECORDED_LEASE, "a longer lease is granted before it is recorded")                        \
    X(R5_HOLDINGS, "a new keeper trusts what it had seen of the cells before its first renewal")   \
    X(R6_LEASE, "an acquire does not compare the holder's lease")                                  \
    X(R6_CELL, "an acquire does not compare the cell")                                             \
    X(R6_KEEPER, "an acquire does not compare its own keeper's record")                            \
    X(R6_WAIT, "an acquire does not wait for the lease")                                           \
    X(R6_DEAD, "an acquire leaves the old lease live")                                             \
    X(R6_DEAD_STAYS, "a dead lease is renewed as if it lived")                                     \
    X(R6_EPOCH, "an acquire keeps the epoch")                                                      \
    X(R6_AT_MOST, "an acquire is not counted")                                                     \
    X(R6_PROMOTED, "a promotion by a command goes on without the right to write")                  \
    X(R6_EVIDENCE, "an order to acquire outlives what was recorded when it was given")             \
    X(R7_STOPPED, "a release does not wait for its sub-lessees")                                   \
    X(R7_NEW_ASKS, "a sub-lease is granted for a cell that is being stopped")                      \
    X(R7_OPEN, "gates write though the data that commands move are not open")                      \
    X(R7_PRIMARY, "commands are let in before the primary of their epoch is open")                 \
    X(R7_STOP_STAYS, "a gate takes up again what it had acknowledged as stopped")                  \
    X(R7_RETAKE,                                                                                   \
      "a group goes on under another epoch before who writes under this one has stopped")          \
    X(R7_YIELD, "a cell is given up before its sub-lessees have stopped")                          \
    X(R8_ALL, "one testimony speaks for all sub-lessees")                                          \
    X(R8_LIFE, "a testimony counts for another life of the same host")                             \
    X(R8_EVERYTHING, "the death of a gate alone counts as that of its host")                       \
    X(R8_REFUSED, "connections that fail count as testimony")                                      \
    X(R10_OWN_WORD, "a successor acquires in spite of its promise")                                \
    X(R10_UNRESOLVED, "a promise is given while an acquire is unresolved")                         \
    X(R10_HIGHER, "a promise is given to one whose cell has moved on")                             \
    X(R10_EARLIER_LIFE, "a promise is given while an earlier life may still acquire")              \
    X(R10_FROM_ASK, "a promise is counted from its arrival")                                       \
    X(R10_OWN_REGION, "a keeper that was replaced needs no promise of its own region")             \
    X(R11_EVERY, "one promise of a region speaks for all of its agents")                           \
    X(R11_STORED, "the membership is that of the local file")                                      \
    X(R11_MEMBER, "an agent that is no member acquires")                                           \
    X(R12_MAJORITY, "one observer is enough")                                                      \
    X(R12_ATTEST, "two regions complete without a person")                                         \
    X(R13_LIVE, "a command is admitted without a live sub-lease")                                  \
    X(R13_EPOCH, "a command is admitted under an epoch that has ended")                            \
    X(R13_RELAY, "a success is relayed without the second check")                                  \
    X(R13_EDGE, "an edge passes on a success of an epoch that was ended by force")                 \
    X(R13_RELAYED, "a gate passes on a relayed success of an epoch that has ended")                \
    X(R13_QUEUED, "a queued command counts as done under an epoch that was ended by force")        \
    X(R14_STALL, "a gate that was frozen parses what waited")                                      \
    X(R14_AGE, "a request's time in the socket does not count")                                    \
    X(R15_MOVING, "moving is answered as not-holder")                                              \
    X(R15_HIGHER, "a gate that sees a higher epoch goes on")                                       \
    X(R15_CLOSED, "a gate takes commands though its grant says that the data are not open")        \
    X(R15_UNHEARD, "what was open under an epoch counts as open under the next one")               \
    X(R15_ONE_HOP, "a relayed command is relayed again")                                           \
    X(R16_READY, "a planned move begins to an heir that is not ready")                             \
    X(R16_HOLD, "a planned move does not hold new commands")                                       \
    X(R16_DRAIN, "a planned move does not wait for commands in flight")                            \
    X(R16_FINAL, "a planned move releases before the data is final")                               \
    X(R16_CLOSED, "data that commands move are closed though `read-only` failed")                  \
    X(R16_MISSING, "a lag of before they were closed proves that nothing is missing")              \
    X(R16_ABORT, "an abort after the stop keeps the epoch")                                        \
    X(R17_FINDING, "an override begins because one edge lost its path")                            \
    X(R19_INTENT, "a command is forwarded before its intent is durable")                           \
    X(R19_UNKNOWN, "a command of unknown outcome is forwarded again")                              \
    X(R19_QUEUED, "a queued command of unknown outcome is sent again")                             \
    X(R20_CARRIED, "a successor takes a retry that it knows nothing of")                           \
    X(R20_QUEUED, "a queued command that was sent under an epoch ended by force does not say so")  \
    X(R20_RELAYED, "a relayed command goes under another epoch than it was tried under")           \
    X(R21_SHIPPED, "a cell is released before the journal is shipped")                             \
    X(R21_ONE_GATE, "a gate takes a command whose key another gate of its region has")             \
    X(R22_FLOOR, "leaving a region that is down spends retry budget")                              \
    X(R23_LEAST, "a grant goes by the standby that is ahead of the others")                        \
    X(R23_CREDIT, "a grant goes beyond the credit")                                                \
    X(R23_TIME, "a grant goes on though a standby lacks what is older than the time")              \
    X(R23_LIVE, "a grant is given without a live sub-lease")                                       \
    X(R23_RECORDED, "a standby is ignored before it is recorded that it has left")                 \
    X(R23_JOIN, "a standby is recorded while more than the credit is granted beyond it")           \
    X(R23_NOBODY, "the bound is enforced where no standby counts")                                 \
    X(R23_UNDECLARED, "a bound that is not declared any more holds while it is recorded")          \
    X(R23_LOWERED, "a credit that was lowered counts before it is reached")                        \
    X(R23_SURVIVOR, "a survivor that did not count believes in the credit")                        \
    X(R23_NEAR, "what a standby of the primary's region lacks is granted, as if it had a credit")  \
    X(R23_NEAR_RECORDED, "such a standby gets a credit before that is recorded")                   \
    X(R23_NEAR_JOIN, "it is recorded as one without a credit before it has what was granted")      \
    X(R23_NEAR_SURVIVOR, "a survivor that has a credit counts as one that has none")               \
    X(R23_CLAIM, "a claim changes what bounds the loss of what was acknowledged before it")        \
    X(R24_HOLE, "a survivor does not look at holes")                                               \
    X(R24_PASSED, "a hole is over before the standbys have passed it")                             \
    X(R23_BOUND, "a node claims that does not bound what was acknowledged, and nobody consented")  \
    X(R23_PROMOTABLE, "a standby that lags, or does not receive, counts as promotable")            \
    X(R23_ABLE, "a node that was taken out, or is delayed, counts for ever")                       \
    X(R23_DELAYED,                                                                                 \
      "a node that is delayed on purpose is promoted, or counts as one that could be")             \
    X(R25_LEASE, "PostgreSQL is a primary without a live sub-lease")                               \
    X(R25_SERVES, "an answer of PostgreSQL passes without a live sub-lease")                       \
    X(R25_REAPED, "a node has stopped when its postmaster is dead")                                \
    X(R26_RECORDED, "a node is promoted before its claim is recorded")                             \
    X(R26_OPEN, "a node opens before its history is recorded")                                     \
    X(R26_WRITER, "a node goes on as the primary that was not the last writer")                    \
    X(R26_BEST, "a node claims that has less than another one of its region")                      \
    X(R26_HISTORY, "a node claims whose history is not the one recorded")                          \
    X(R26_DIVERGED, "a node follows from whose history it has diverged")                           \
    X(R26_BUDGET, "a primary that crashes is started again without end")                           \
    X(R26_HUNG, "a primary that nobody has asked yet counts as one that hangs")                    \
    X(R26_FINAL, "data count as final that the heir has not flushed")                              \
    X(R26_APPLIED, "data count as final that the heir has not applied")                            \
    X(R26_NUMBER, "a timeline that was claimed before is claimed again")                           \
    X(R26_GIVEN, "a history is recorded whose timeline was not given to the node")                 \
    X(R26_ONE, "a second node is recorded for an epoch")                                           \
    X(R26_ABLE, "a node whose PostgreSQL cannot be started counts as one that goes on")            \
    X(R26_YIELDED, "who goes on with what was given up counts as one that has all of its data")    \
    X(R28_KEPT, "a node is rewound before what only it has is kept where it survives")             \
    X(R28_LOOKED, "an item that nobody has looked into lets the data go")                          \
    X(R29_PENDING, "a history is opened by force, and what the last one had is not asked for")     \
    X(R29_VOID, "an item is closed though the log was left where it says")                         \
    X(R30_SERVED, "a keeper gives up what is served")                                              \
    X(R30_HEALTHY, "a failover is forced while observers see the holder healthy")                  \
    X(R30_LOSS, "a loss above max-loss is taken without a person")                                 \
    X(R30_FENCED, "data that came by force are promoted before the fence")                         \
    X(R30_QUOTE, "a quote that has become worse still counts")                                     \
    X(R30_WORSE, "a failover goes on when the loss has become worse than was accepted")            \
    X(I1_STANDBY, "the app of a region that holds the context is stopped")                         \
    X(I6_VIEW, "an edge's view goes back")                                                         \
    X(I7_LAG, "failback begins with lag")                                                          \
    X(I8_PAUSED, "automatic goes on while it is paused")                                           \
    X(I8_YIELDED, "to take over what was given up is not counted")                                 \
    X(I8_NOTHING, "what holds nothing is failed over")                                             \
    X(I10_HOLD, "the queue of held commands has no end")

enum fm_rule {
    FM_RULE_NONE,
#define X(id, mutant) FM_RULE_##id,
    FM_RULES(X)
#undef X
        FM_RULE_COUNT
};

#ifdef FM_MUTANTS
extern unsigned fm_mutant;      /* the rule that is switched off; FM_RULE_NONE: none */
extern unsigned fm_mutant_hits; /* how often that made a difference */

static inline bool fm_rule_holds(enum fm_rule id, bool condition)
{
    if (fm_mutant != id)
        return condition;
    fm_mutant_hits += !condition;
    return true;
}

#define FM_RULE(id, condition)         fm_rule_holds(FM_RULE_##id, (condition))
#define FM_RULE_PICK(id, right, wrong) (fm_mutant == FM_RULE_##id ? (wrong) : (right))
#else
#define FM_RULE(id, condition)         (condition)
#define FM_RULE_PICK(id, right, wrong) (right)
#endif

#endif
