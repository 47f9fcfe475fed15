/* coord/coord.h: coordination: the one place of agreement, as an asynchronous key-value store with
 * revisions (SAFETY.md A and B in the design notes; docs/decisions/0012 and 0013 for the choices).
 *
 * One interface for two stores: etcd (3.4 and later, through its JSON gateway) and the owner of a
 * SQLite file (coord/owner.h), which speaks the part of that gateway that is used here. Every key
 * lies under `/fulmar/SERVICE/`; callers leave that prefix out, both ways.
 *
 * Outcomes. An operation completes exactly once, from the loop and never from inside its
 * submission, by its deadline at the latest:
 *   DONE      it happened, at `revision`.
 *   NOT_DONE  it did not happen and never will: a compare failed (`found` says what was there), the
 *             store refused it, or it was never sent. `why` says which.
 *   UNKNOWN   it may have happened, or may still happen. Only transactions end so. The library
 * never sends such a transaction again: whoever needs to know reads what it compared. A key whose
 * revision is another one than it compared can not be changed by it any more; while the revision is
 * the old one, it may still be. Reads are sent again, to other endpoints too, until their deadline;
 * they end DONE or NOT_DONE.
 *
 * Reads are linearizable unless asked otherwise. All that a client is told is also checked against
 * what it was told before: a store that goes back (a restored backup) or that is another one is
 * trouble, which stays: then nothing is read or written until somebody opens anew (SAFETY.md A.4).
 *
 * Ownership: what is handed in (keys, values, arrays) is the caller's and stays as it is until the
 * completion; what is handed out is valid until the callback returns. Operations and watches are
 * embedded in something of the caller's. One loop, one thread. Bounds: the enum below. Times are
 * instants of the loop's clock; sizes are bytes. Errors: struct fm_error with a text for people. */
#ifndef FM_COORD_COORD_H
#define FM_COORD_COORD_H

#include "io/resolve.h"
#include "io/tls.h"

enum {
    FM_COORD_KEY_MAX = 256,          /* without the prefix */
    FM_COORD_VALUE_MAX = 256 * 1024, /* of one value */
    FM_COORD_TXN_BYTES_MAX =
        1 << 20,                    /* of keys and values of one transaction; etcd takes 1.5 MiB */
    FM_COORD_TXN_MAX = 64,          /* compares, and writes; etcd takes 128 */
    FM_COORD_ANSWER_MAX = 16 << 20, /* of one read, as it comes over the wire */
    FM_COORD_QUEUE_MAX = 256,       /* operations that wait or are on their way */
    FM_COORD_WATCHES_MAX = 64,
    FM_COORD_ENDPOINTS_MAX = 16,
    FM_COORD_SERVICE_MAX = 63,
    FM_COORD_INCARNATION_MAX = 40,
};

struct fm_coord;

enum fm_coord_outcome { FM_COORD_PENDING, FM_COORD_DONE, FM_COORD_NOT_DONE, FM_COORD_UNKNOWN };

#define FM_COORD_WHYS(X)                                                                           \
    X(NONE, "none")                                                                                \
    X(COMPARE, "compare-failed")   /* of a key that was compared, the revision was another */      \
    X(TIMEOUT, "timeout")          /* the deadline passed */                                       \
    X(UNREACHABLE, "unreachable")  /* the connection was lost, or never was */                     \
    X(REFUSED, "refused")          /* by the store; the same again is refused again */             \
    X(PERMISSION, "not-permitted") /* user, password or their rights */                            \
    X(INVALID, "invalid")          /* never sent: it breaks a bound of this interface */           \
    X(FULL, "full")                /* never sent: too many operations wait */                      \
    X(SERVICE, "other-service")    /* the store is another service's */                            \
    X(WENT_BACK, "went-back")      /* the store shows less than it has shown, or is another */     \
    X(ANSWER, "bad-answer")        /* what came back cannot be understood */                       \
    X(CLOSED, "closed")            /* by fm_coord_close */

enum fm_coord_why {
#define X(code, text) FM_COORD_WHY_##code,
    FM_COORD_WHYS(X)
#undef X
};

const char *fm_coord_outcome_text(enum fm_coord_outcome o);
const char *fm_coord_why_text(enum fm_coord_why w);

/* A key and what is there. Revision 0: nothing. */
struct fm_coord_kv {
    struct fm_str key, value;
    uint64_t revision; /* of the last change */
};

struct fm_coord_compare {
    struct fm_str key;
    uint64_t revision; /* it must have this one; 0 = it must be absent */
};

struct fm_coord_write {
    struct fm_str key, value;
    bool erase;
};

/* If all compares hold, all writes happen, at one revision; else none. No key is written twice. */
struct fm_coord_txn {
    const struct fm_coord_compare *compare;
    size_t ncompare;
    const struct fm_coord_write *write;
    size_t nwrite;
};

struct fm_coord_op {
    /* set by the caller */
    void (*done)(struct fm_coord_op *op); /* may submit the same op again */
    void *user;
    /* the result */
    enum fm_coord_outcome outcome;
    enum fm_coord_why why;
    struct fm_error error; /* where it is not DONE */
    uint64_t revision;     /* of the store when it answered; with writes, that of the writes */
    /* A read: what is there, by key. A transaction whose compares failed: one for each compare. */
    const struct fm_coord_kv *kv;
    size_t nkv;
    /* the library's */
    struct fm_coord *coord;
    struct fm_list node;
    struct fm_timer timer;
    struct fm_mono deadline;
    const struct fm_coord_txn *txn; /* NULL: a read */
    struct fm_str key;
    uint64_t floor;             /* the store had shown this when it was sent */
    struct fm_coord_slot *slot; /* while it is on its way */
    bool all, stale;
    enum fm_coord_outcome later; /* what it becomes when it is told */
};

/* Read one key, or with `prefix` all that begin with it ("" = all). `stale`: from whatever the
 * endpoint has, without asking the others. */
void fm_coord_get(struct fm_coord *c, struct fm_coord_op *op, struct fm_str key, bool prefix,
                  bool stale, struct fm_mono deadline);

void fm_coord_commit(struct fm_coord *c, struct fm_coord_op *op, const struct fm_coord_txn *txn,
                     struct fm_mono deadline);

/* -------- watching -------- */

struct fm_coord_event {
    struct fm_coord_kv kv; /* revision: of this change */
    bool erased;
};

struct fm_coord_stream;

/* All changes under a prefix, in order, each once, without gaps, whatever happens to connections.
 * It is told late rather than wrong: timers that decide read before they act. */
struct fm_coord_watch {
    /* Changes; all of those of one revision come in one call. */
    void (*changed)(struct fm_coord_watch *w, const struct fm_coord_event *event, size_t n);
    /* All that is there now, by key, at `revision`: at the beginning where no revision was given,
     * and where the store has forgotten the history in between. What is not here is gone. */
    void (*fresh)(struct fm_coord_watch *w, const struct fm_coord_kv *kv, size_t n,
                  uint64_t revision);
    void *user;
    struct fm_coord_stream *stream; /* the library's */
};

/* Changes after revision `after`; 0 = begin with a fresh read. FM_ERR_LIMIT past the bounds. */
enum fm_err fm_coord_watch_open(struct fm_coord *c, struct fm_coord_watch *w, struct fm_str prefix,
                                uint64_t after, struct fm_error *e) FM_WARN_UNUSED;
/* No more calls, and its memory may go. Also from inside its own calls. */
void fm_coord_watch_close(struct fm_coord_watch *w);

/* -------- opening and closing -------- */

struct fm_coord_endpoint {
    const char *text; /* for people: "http://10.0.1.5:2379", "unix:/run/x.sock" */
    const char *host; /* a name or an IP literal; the path where port is 0 (a unix socket) */
    uint16_t port;
};

/* What a region has seen and kept on disk; zeros where it has seen nothing yet. */
struct fm_coord_known {
    char incarnation[FM_COORD_INCARNATION_MAX]; /* of the store's stamp */
    uint64_t cluster;                           /* which etcd calls itself by; 0 = not known */
    uint64_t revision;
};

/* A number for the store itself, never 0: a copy that was restored as another cluster is another
 * one, although its stamp is the same. */
uint64_t fm_coord_store_id(const struct fm_coord_known *k);

struct fm_coord_config {
    const char *service;
    const struct fm_coord_endpoint *endpoint; /* the first ones are preferred at the start */
    size_t nendpoint;
    const char *login;         /* the user of the store; NULL: without authentication */
    const char *password_file; /* read at each authentication */
    /* Endpoints with a port speak TLS, and show a certificate for their host. NULL: plain. The
     * files are read by fm_coord_open, which may block. */
    const struct fm_tls_files *tls;
    int64_t connect_ms; /* 0 = 1000 */
    int64_t attempt_ms; /* of a read at one endpoint; 0 = 2000 */
    int64_t silence_ms; /* a watch without a word for so long is opened anew; 0 = 5000 */
    struct fm_coord_known known;
    bool observe; /* never stamps a store; an absent stamp is no trouble, and nothing is written */
    struct fm_resolver *resolver; /* of the same loop; may be NULL where all are addresses */
    void (*closed)(struct fm_coord *c, void *user); /* the last call */
    void *user;
};

/* Copies the configuration. Nothing is connected yet when it returns. */
struct fm_coord *fm_coord_open(struct fm_loop *l, const struct fm_coord_config *config,
                               struct fm_error *e) FM_WARN_UNUSED;
/* Operations complete as CLOSED (transactions on their way as UNKNOWN), watches fall silent; then
 * `closed` is called from the loop, and all of it is gone. Nothing may be submitted any more. */
void fm_coord_close(struct fm_coord *c);

/* Read the files of TLS again; connections that stand keep what they began with. After an error all
 * is as before. Blocks; nothing where there is no TLS. */
enum fm_err fm_coord_renew_tls(struct fm_coord *c, struct fm_error *e) FM_WARN_UNUSED;

/* After fm_coord_close, where the resolver was freed: its answers, which may take long, are not
 * waited for. */
void fm_coord_resolver_gone(struct fm_coord *c);

/* Does an endpoint answer, with a quorum? Of one that is not asked for anything that is known only
 * after `silence_ms` without a word. */
struct fm_coord_reach {
    bool reached;
    struct fm_mono since; /* not reached: since then, or since it was opened */
    const char *why;      /* the last thing that went wrong; "" = nothing was tried yet */
};

struct fm_coord_reach fm_coord_reach(const struct fm_coord *c);

/* What is known now; for the disk. */
struct fm_coord_known fm_coord_known(const struct fm_coord *c);
/* FM_COORD_WHY_SERVICE or FM_COORD_WHY_WENT_BACK where that was found, and why; else NONE. */
enum fm_coord_why fm_coord_trouble(const struct fm_coord *c, struct fm_error *e);

/* -------- looking at the endpoints -------- */

struct fm_coord_seen {
    const char *endpoint; /* its text; of the client */
    bool reachable;
    bool leads;
    bool has_leader;
    char version[32];
    uint64_t revision, cluster, term, bytes;
    int64_t latency_us;
    struct fm_error error;
};

/* Ask each endpoint by itself for its state, at most until `deadline`; `done` is called from the
 * loop with one entry an endpoint. FM_ERR_STATE while another one runs; after fm_coord_close it is
 * not called any more. */
enum fm_err fm_coord_survey(struct fm_coord *c, struct fm_mono deadline,
                            void (*done)(void *user, const struct fm_coord_seen *seen, size_t n),
                            void *user, struct fm_error *e) FM_WARN_UNUSED;

#endif
