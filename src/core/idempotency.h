/* core/idempotency.h: what becomes of a command with an idempotency key.
 *
 * Rules 19 to 21 of the safety protocol (section E), with the answers of the IETF draft
 * "The Idempotency-Key HTTP Header Field": 400 missing, 409 under way, 422 for another request. The
 * facts (what the request carries, what the journal knows of its key) make one situation; a total
 * table says for each situation, and for who stops doubles (gate or application), what is done and
 * what is answered. A command whose outcome is unknown is never forwarded again by a gate.
 *
 * The refusals of a known key are final: in core/problem.h none of them says that the command was
 * not executed, so that no edge tries it elsewhere.
 *
 * Also here: which outcome may replace which, and what an heir does with a shipped entry. Pure.
 */
#ifndef FM_CORE_IDEMPOTENCY_H
#define FM_CORE_IDEMPOTENCY_H

#include "core/problem.h"

enum { FM_IDEM_KEY_MAX = 255, FM_IDEM_HASH_LEN = 32 };

/* Of the request that a key was first used with: method, target and body, as the gate hashes them.
 */
struct fm_idem_hash {
    uint8_t b[FM_IDEM_HASH_LEN];
};

enum fm_idem_need { FM_IDEM_IGNORED, FM_IDEM_OPTIONAL, FM_IDEM_REQUIRED };
enum fm_idem_by { FM_IDEM_BY_GATE, FM_IDEM_BY_APP, FM_IDEM_BY_COUNT };

/* What the journal knows of a key. */
enum fm_idem_known {
    FM_IDEM_ABSENT,
    FM_IDEM_QUEUED,    /* it waits to be delivered (`when-away: queue`) */
    FM_IDEM_IN_FLIGHT, /* its intent is durable; no outcome yet */
    FM_IDEM_UNKNOWN,   /* it may or may not have been executed */
    FM_IDEM_DONE,      /* executed, with this status */
    FM_IDEM_FULL,      /* nothing: the journal has no room to take the question */
    FM_IDEM_FAILED,    /* nothing: the journal lost a write and has stopped */
    FM_IDEM_KNOWN_COUNT
};

const char *fm_idem_known_name(enum fm_idem_known k);

struct fm_idem_facts {
    enum fm_idem_need need;
    enum fm_idem_by by;
    struct fm_str key; /* as it came; n = 0 where there is none */
    /* The epoch of the cell under which this command is admitted (0 where no region holds it
     * alone), and the one under which its client's first try was (0: this is it, or nobody says).
     */
    uint64_t epoch, first_epoch;
    enum fm_idem_known known;
    bool same_request; /* of a known key: the hash is the same */
    bool answer_kept;  /* of one that is done: the stored answer is whole */
};

enum fm_idem_situation {
    FM_IDEM_WITHOUT_KEY,
    FM_IDEM_KEY_MISSING,
    FM_IDEM_KEY_INVALID,
    FM_IDEM_JOURNAL_FULL,
    FM_IDEM_JOURNAL_FAILED,
    FM_IDEM_FIRST,
    FM_IDEM_FIRST_ELSEWHERE, /* absent, but first tried under another epoch */
    FM_IDEM_OTHER_REQUEST,
    FM_IDEM_WAITS,
    FM_IDEM_UNDER_WAY,
    FM_IDEM_LOST, /* outcome unknown */
    FM_IDEM_ANSWERED,
    FM_IDEM_ANSWER_GONE, /* done, but the answer was too large to be kept */
    FM_IDEM_SITUATION_COUNT
};

const char *fm_idem_situation_name(enum fm_idem_situation s);

enum fm_idem_action {
    FM_IDEM_FORWARD,       /* nothing to record */
    FM_IDEM_RECORD,        /* make the intent durable, then forward (or queue) */
    FM_IDEM_FORWARD_AGAIN, /* mark it in flight anew, then forward: the application knows the key */
    FM_IDEM_REPLAY,        /* the stored answer */
    FM_IDEM_ACCEPTED,      /* it waits in the queue: `status` again, with the same status URL */
    FM_IDEM_REFUSE,        /* `status` with `problem` */
};

struct fm_idem_decision {
    enum fm_idem_situation situation;
    enum fm_idem_action action;
    uint16_t status; /* of what is answered here; 0 where the answer comes from elsewhere */
    enum fm_problem problem;
};

/* 1 to FM_IDEM_KEY_MAX characters of printable ASCII. */
bool fm_idem_key_is_valid(struct fm_str key);

enum fm_idem_situation fm_idem_classify(const struct fm_idem_facts *f);
struct fm_idem_decision fm_idem_decide(const struct fm_idem_facts *f);

/* May the outcome `got` (DONE or UNKNOWN) be recorded where `have` is recorded (IN_FLIGHT, UNKNOWN
 * or DONE)? What is done stays as it is; what was given up as unknown may yet turn out. */
bool fm_idem_may_settle(enum fm_idem_known have, enum fm_idem_known got);

/* What an heir does with an entry that another region shipped. Its order does not matter, nor how
 * often it comes: ABSENT < UNKNOWN < DONE, and nothing goes back. What was in flight there is
 * unknown here. */
enum fm_idem_merge {
    FM_IDEM_ADD_UNKNOWN,
    FM_IDEM_ADD_DONE,
    FM_IDEM_TURN_DONE, /* ours was unknown */
    FM_IDEM_KEEP,
    FM_IDEM_CONFLICT, /* the same key for two requests, or under way in both regions: ours stays */
};

enum fm_idem_merge fm_idem_merge(enum fm_idem_known have, enum fm_idem_known got,
                                 bool same_request);

#endif
