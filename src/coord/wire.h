/* coord/wire.h: the JSON of etcd's gateway (etcd 3.4, "gRPC gateway"; api/etcdserverpb/rpc.proto):
 * requests as text, answers as values. Pure; any thread.
 *
 * Bytes stand in base64, numbers of 64 bits in strings, and what is zero, false or empty is left
 * out. Answers come from peers: what does not have this shape is refused whole, with a reason. */
#ifndef FM_COORD_WIRE_H
#define FM_COORD_WIRE_H

#include "base/arena.h"
#include "base/buf.h"
#include "coord/coord.h"

#define FM_COORD_STAMP "stamp" /* the key that says whose store this is */

/* -------- requests -------- */

/* Bytes that are enough for the request. */
size_t fm_coord_wire_txn_room(struct fm_str prefix, const struct fm_coord_txn *txn);
enum { FM_COORD_WIRE_READ_ROOM = 2048 };

void fm_coord_wire_range(struct fm_buf *b, struct fm_str prefix, struct fm_str key, bool all,
                         bool stale);
/* With the stamp's revision as the first compare; where compares fail, all of them are read. */
void fm_coord_wire_txn(struct fm_buf *b, struct fm_str prefix, const struct fm_coord_txn *txn,
                       uint64_t stamp_revision);
void fm_coord_wire_watch(struct fm_buf *b, struct fm_str prefix, struct fm_str key, uint64_t from);
void fm_coord_wire_login(struct fm_buf *b, struct fm_str user, struct fm_str password);

/* -------- answers -------- */

enum fm_coord_wire_kind {
    FM_COORD_WIRE_RANGE,
    FM_COORD_WIRE_TXN,
    FM_COORD_WIRE_WATCH, /* one message of the stream */
    FM_COORD_WIRE_LOGIN,
    FM_COORD_WIRE_STATUS,
};

enum { FM_COORD_TOKEN_MAX = 512 };

struct fm_coord_answer {
    struct fm_arena arena; /* of keys and values */
    uint64_t cluster, member, revision, term;
    /* range: what is there. txn: for each read of the branch taken; key.p NULL where nothing is. */
    struct fm_coord_kv *kv;
    size_t nkv;
    bool succeeded;         /* txn */
    bool created, canceled; /* watch */
    uint64_t compacted;     /* watch: the least revision that is left, where it was canceled */
    struct fm_coord_event *event; /* watch */
    size_t nevent;
    char token[FM_COORD_TOKEN_MAX]; /* login */
    char version[32];               /* status */
    uint64_t leader, bytes;         /* status */
    int code;                       /* of an error (google.rpc.Code), else 0 */
    char message[160];              /* of it */
};

/* Read a good answer (HTTP 200, or a message of a stream). Keys must lie under `prefix`, which is
 * cut off. False where it is malformed: `why` says how. Either way the answer is to be freed. */
bool fm_coord_wire_read(struct fm_coord_answer *a, enum fm_coord_wire_kind kind, struct fm_str text,
                        struct fm_str prefix, const char **why) FM_WARN_UNUSED;
/* Read a refusal (any other status): code and message; code 2 ("unknown") where it is none. */
void fm_coord_wire_read_error(struct fm_coord_answer *a, struct fm_str text);
void fm_coord_wire_free(struct fm_coord_answer *a);

/* What a refused request did. */
enum fm_coord_verdict {
    FM_COORD_VERDICT_UNKNOWN,   /* perhaps it was done */
    FM_COORD_VERDICT_REFUSED,   /* it was not, and will not be */
    FM_COORD_VERDICT_ELSEWHERE, /* it was not; another endpoint, or a later time, may do it */
    FM_COORD_VERDICT_LOGIN,     /* it was not: the token is no good any more */
    FM_COORD_VERDICT_PERMISSION,
    FM_COORD_VERDICT_SERVICE, /* it was not: the store is another service's */
};
/* How an owner of a file begins what it says when it is asked for the keys of another service. */
#define FM_COORD_OTHER_SERVICE "fulmar: the store is of the service "

enum fm_coord_verdict fm_coord_wire_verdict(int code, const char *message);

/* -------- the stamp -------- */

/* {"fulmar":1,"service":"bank","incarnation":"..."} */
void fm_coord_wire_stamp(struct fm_buf *b, struct fm_str service, struct fm_str incarnation);
struct fm_coord_stamp {
    char service[FM_COORD_SERVICE_MAX + 1];
    char incarnation[FM_COORD_INCARNATION_MAX];
};
/* False where it is no stamp that this version understands. */
bool fm_coord_wire_read_stamp(struct fm_str text, struct fm_coord_stamp *out) FM_WARN_UNUSED;

#endif
