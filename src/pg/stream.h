/* pg/stream.h: standing on the commit path of a primary as its synchronous standby (SAFETY.md 23):
 * a physical replication stream whose log is received and dropped, and in which the caller says
 * how far it vouches (PostgreSQL documentation, "Streaming Replication Protocol").
 *
 * The server needs `synchronous_standby_names` to name FM_PG_CREDIT_NAME first. It acknowledges
 * commits up to the flush position that is reported, which may be beyond what it has written yet;
 * the grant (core/credit.h) says how far. What was reported cannot be taken back: the server keeps
 * it until it is started anew. So a caller that is dead or frozen vouches for nothing more.
 *
 * Nothing of the log is kept, and nothing is queued: while a report does not leave, the next one
 * takes its place. The log is read some milliseconds at a time where there is little of it, so that
 * a server that commits often does not wake its agent as often; `end` is so much behind. A server
 * that says nothing for `silence_ms`, although it was asked, is given up. Callbacks come from the
 * loop; each may end the stream, or free it. Texts of the target are read during fm_pg_stream_begin
 * alone. */
#ifndef FM_PG_STREAM_H
#define FM_PG_STREAM_H

#include "core/lsn.h"
#include "pg/conn.h"

#define FM_PG_CREDIT_NAME "fulmar_credit"

struct fm_pg_positions {
    struct fm_lsn written, flushed, applied;
};

struct fm_pg_stream {
    /* what it is told of; set before fm_pg_stream_begin */
    void (*begun)(struct fm_pg_stream *s); /* it streams: report something */
    void (*moved)(struct fm_pg_stream *s); /* `end` has grown */
    void (*ended)(struct fm_pg_stream *s, const struct fm_pg_result *r); /* an error says why */
    int64_t step_ms;    /* for each step of the beginning */
    int64_t silence_ms; /* of the server */
    /* what is known of the server, from `begun` on */
    uint64_t system_id;
    struct fm_timeline timeline;
    struct fm_lsn end; /* of its log, as far as it was sent: all of that is durable there */
    /* the rest is its own */
    struct fm_pg_conn conn;
    struct fm_pg_positions said;
    struct fm_timer quiet;
    bool heard, asked, owes;
};

/* `label` names the server in logs. */
void fm_pg_stream_init(struct fm_pg_stream *s, struct fm_loop *l, const char *label);

/* Connect, and stream from where the server's log ends now; in the end `begun` or `ended`. The
 * target's application_name and replication are set here. */
void fm_pg_stream_begin(struct fm_pg_stream *s, const struct fm_pg_target *t);

/* Report these, now; from `begun` on. They are said again whenever the server asks. */
void fm_pg_stream_report(struct fm_pg_stream *s, const struct fm_pg_positions *p);

/* From any state; harmless twice. `ended` is not called. */
void fm_pg_stream_end(struct fm_pg_stream *s);

/* Between `begun` and `ended`. */
bool fm_pg_stream_is_up(const struct fm_pg_stream *s);

#endif
