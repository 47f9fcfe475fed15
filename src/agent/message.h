/* agent/message.h: what agents and gates tell each other, as JSON. Private to src/agent.
 *
 * A post is an envelope with messages:
 *   {"v":1,"from":"west-1","life":81,"messages":[{"kind":"grant","context":"ledger",...},...]}
 * `life` is the number of the sender's start. By the rule of http/protocol.h versions one older and
 * one newer understand each other. A message of a kind that is not known, or about a context or
 * region that is not known here, is skipped; so is one with a `must`, as if it had been lost. What
 * is known must be whole and in
 * its bounds, or the post is refused. Names stand in messages; numbers are those of the roster.
 * What only the asker understands (its clock, the number of its move, its life) is sent back as it
 * came.
 *
 * Pure, but for memory of the parser. */
#ifndef FM_AGENT_MESSAGE_H
#define FM_AGENT_MESSAGE_H

#include "agent/roster.h"
#include "base/buf.h"
#include "core/lineage.h"
#include "core/votes.h"

/* name, who sends it to whom and what it carries (see core/authority.h, move.h, votes.h) */
#define FM_MESSAGES(X)                                                                             \
    X(ASK, "ask")                 /* gate to agent: life, asked, cells: what it has stopped */     \
    X(GRANT, "grant")             /* back: life, asked, ms, cells, closed, unheard */              \
    X(STOP, "stop")               /* agent to gate: cells */                                       \
    X(STOPPED, "stopped")         /* back: life, cells */                                          \
    X(QUIET, "quiet")             /* agent to gate: life, serial, ms, cells */                     \
    X(QUIETED, "quieted")         /* back: life (of the gate), for, serial, cells */               \
    X(NUDGE, "nudge")             /* agent to gate: there is something to ask for */               \
    X(BOARD, "board")             /* agent to gate: cells, each with who holds it */               \
    X(PROMISE_ASK, "promise-ask") /* agent to agent: life, asked, cells: what it holds */          \
    X(PROMISE, "promise")         /* back: life (of the asker), asked, ms */                       \
    X(VOTE, "vote")               /* agent to agent: lost, well */                                 \
    X(CAPABLE, "capable")         /* gate to agent: what it can serve, as `well` of its region */  \
    X(HEIR_ASK, "heir-ask")       /* agent to agent: life, serial, cell */                         \
    X(HEIR, "heir")               /* back: for, serial, cell, ok, why */                           \
    X(SHIP, "ship")               /* agent to gate of the heir: life, serial, cell, region */      \
    X(SHIPPED, "shipped")         /* back: for, serial, cell, ok */                                \
    X(TESTIFY, "testify")         /* guard to agent: life of what it guarded, ok: everything */    \
    X(CELL, "cell")     /* agent to database agent: revision and record of its group's cell */     \
    X(RECORD, "record") /* back: evidence, and the revision that it is to be recorded over */      \
    X(REPORT, "report") /* database agent to agents and nodes of its group: how its node is */     \
    X(CREATE, "create") /* agent to database agent: make the group's first node */                 \
    X(APART, "apart")   /* agent to database agents of its region: ok: receive nothing, as a       \
                           standby; else follow again */                                           \
    X(YIELD, "yield")   /* agent to agents of the holder: cells, which a person takes by force */  \
    X(ORDER, "order")   /* agent to database agent: serial, ok: it was begun, why: what */         \
    X(ORDERED, "ordered")   /* back: serial, ok: not refused, ms: percent, why: how it stands */   \
    X(HOME_ASK, "home-ask") /* agent to agents of the holder: serial: would it go home now? */     \
    X(HOME, "home")         /* back: serial, ok, rule and why: what it was refused for */

enum fm_message_kind {
#define X(id, name) FM_MESSAGE_##id,
    FM_MESSAGES(X)
#undef X
        FM_MESSAGE_KIND_COUNT
};

const char *fm_message_kind_name(enum fm_message_kind k);

enum { FM_MESSAGE_WHY_ROOM = 160, FM_MESSAGE_RULE_ROOM = 32 };

struct fm_message {
    uint8_t kind;
    uint16_t context; /* all kinds but VOTE, CAPABLE and TESTIFY are about one */
    uint8_t region, cell;
    bool ok;
    bool closed;  /* GRANT: the data are not open; commands are held */
    bool unheard; /* ... as far as is known: the keeper has just begun */
    bool must;    /* ... who does not know that is not granted anything by it */
    uint32_t serial;
    int32_t ms;
    int64_t asked_ns;
    uint64_t life, life_for;
    uint64_t cells;                           /* one bit each */
    struct fm_epoch epoch[FM_AUTH_CELLS_MAX]; /* of those, but in QUIET and QUIETED */
    uint8_t holder[FM_AUTH_CELLS_MAX];        /* BOARD: region, or FM_NO_REGION while it moves */
    struct fm_vote vote;
    struct fm_load load;           /* VOTE and CAPABLE: what the region, or the gate, has to do */
    struct fm_cell_at at;          /* CELL: without members; RECORD: revision and evidence */
    struct fm_group_report report; /* REPORT: what stands in the sender's file is not in it */
    struct fm_str history;         /* ... of its timeline; valid during the call */
    char why[FM_MESSAGE_WHY_ROOM];
    char rule[FM_MESSAGE_RULE_ROOM]; /* HOME; "" = of none */
};

/* Appends one; whole or, where it does not fit, not at all (then out->full). */
void fm_message_write(const struct fm_roster *r, const struct fm_message *m, struct fm_buf *out);

/* What surrounds them: begin, each message with a comma between, end. */
void fm_post_begin(struct fm_buf *out, struct fm_str from, uint64_t life);
void fm_post_end(struct fm_buf *out);

/* -------- reading -------- */

enum { FM_POST_BYTES_MAX = 256 * 1024, FM_POST_MESSAGES_MAX = 1024 };

struct fm_post_head {
    char from[FM_ROSTER_NAME_ROOM];
    uint64_t life;
    unsigned protocol; /* that `from` speaks */
};

struct fm_post_reader {
    /* Is it for us, from who it says? NULL where it is; else why it is refused. */
    const char *(*opens)(void *user, const struct fm_post_head *head);
    void (*take)(void *user, const struct fm_post_head *head, const struct fm_message *m);
    void *user;
};

/* Reads all of it, then calls `opens`, then `take` for each message that is understood, in order.
 * NULL, or what is wrong: then `take` was not called. */
const char *fm_post_read(const struct fm_roster *r, struct fm_str text,
                         const struct fm_post_reader *reader) FM_WARN_UNUSED;

#endif
