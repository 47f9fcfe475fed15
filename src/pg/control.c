/* What a data directory says of itself: see the header. Whatever decides whether a node may follow
 * is needed, and there once: a text that was cut, or is another one's, is refused. */
#include "pg/control.h"

#include "base/assert.h"

#include <stddef.h>

static const char *const state_text[] = {
#define X(name, text) [FM_PG_##name] = text,
    FM_PG_STATES(X)
#undef X
};

const char *fm_pg_state_text(enum fm_pg_state s)
{
    FM_ASSERT((size_t)s < FM_COUNT(state_text));
    return state_text[s];
}

/* -------- pg_controldata -------- */

static bool take_u64(struct fm_str v, void *to)
{
    return fm_str_u64(v, to);
}

static bool take_u32(struct fm_str v, void *to)
{
    uint64_t n;
    if (!fm_str_u64(v, &n) || n > UINT32_MAX)
        return false;
    *(uint32_t *)to = (uint32_t)n;
    return true;
}

static bool take_timeline(struct fm_str v, void *to)
{
    struct fm_timeline *t = to;
    return take_u32(v, &t->n);
}

static bool take_lsn(struct fm_str v, void *to)
{
    return fm_lsn_parse(v, to);
}

static bool take_state(struct fm_str v, void *to)
{
    for (size_t i = 0; i < FM_COUNT(state_text); i++)
        if (fm_str_eqz(v, state_text[i])) {
            *(enum fm_pg_state *)to = (enum fm_pg_state)i;
            return true;
        }
    return false;
}

static bool take_checksums(struct fm_str v, void *to)
{
    uint32_t version;
    if (!take_u32(v, &version))
        return false;
    *(bool *)to = version != 0;
    return true;
}

static bool take_level(struct fm_str v, void *to)
{
    *(bool *)to = fm_str_eqz(v, "logical");
    return v.n > 0;
}

static const struct {
    const char *name;
    bool (*take)(struct fm_str value, void *to);
    size_t offset;
} field[] = {
#define FIELD(name, take, member)                                                                  \
    {                                                                                              \
        name, take, offsetof(struct fm_pg_control, member)                                         \
    }
    FIELD("Database system identifier", take_u64, system_id),
    FIELD("Database cluster state", take_state, state),
    FIELD("Latest checkpoint location", take_lsn, checkpoint),
    FIELD("Latest checkpoint's REDO location", take_lsn, redo),
    FIELD("Latest checkpoint's TimeLineID", take_timeline, timeline),
    FIELD("Minimum recovery ending location", take_lsn, least_end),
    FIELD("Min recovery ending loc's timeline", take_timeline, least_timeline),
    FIELD("wal_level setting", take_level, logical),
    FIELD("Bytes per WAL segment", take_u32, segment_bytes),
    FIELD("Data page checksum version", take_checksums, checksums),
#undef FIELD
};

static int find_field(struct fm_str name)
{
    for (size_t i = 0; i < FM_COUNT(field); i++)
        if (fm_str_eqz(name, field[i].name))
            return (int)i;
    return -1;
}

static enum fm_err check(const struct fm_pg_control *c, struct fm_error *e)
{
    if (c->system_id == 0 || c->timeline.n == 0 || fm_lsn_is_none(c->checkpoint))
        return fm_error_set(e, FM_ERR_INVALID, "pg_controldata says nothing of a checkpoint");
    if (fm_lsn_before(c->checkpoint, c->redo))
        return fm_error_set(e, FM_ERR_INVALID, "pg_controldata: the checkpoint begins too late");
    return FM_ERR_OK;
}

enum fm_err fm_pg_control_parse(struct fm_pg_control *c, struct fm_str text, struct fm_error *e)
{
    unsigned seen = 0;
    *c = (struct fm_pg_control){0};
    while (text.n) {
        struct fm_str value, line = fm_str_cut(text, '\n', &text);
        struct fm_str name = fm_str_cut(line, ':', &value);
        if (fm_str_eqz(name, "WARNING")) /* the checksum of the file does not hold */
            return fm_error_set(e, FM_ERR_INVALID, "pg_controldata does not trust the file:%.*s",
                                (int)fm_min_size(value.n, 150), value.p);
        int i = find_field(name);
        if (i < 0)
            continue;
        if (seen >> i & 1)
            return fm_error_set(e, FM_ERR_INVALID, "pg_controldata says twice: %s", field[i].name);
        seen |= 1u << i;
        if (!field[i].take(fm_str_trim(value), (char *)c + field[i].offset))
            return fm_error_set(e, FM_ERR_INVALID, "cannot read what pg_controldata says of: %s",
                                field[i].name);
    }
    for (size_t i = 0; i < FM_COUNT(field); i++)
        if (!(seen >> i & 1))
            return fm_error_set(e, FM_ERR_INVALID, "pg_controldata does not say: %s",
                                field[i].name);
    /* a primary that is told to end while it recovers from a crash says this, too */
    if (c->state == FM_PG_SHUT_DOWN_IN_RECOVERY && fm_lsn_is_none(c->least_end))
        c->state = FM_PG_IN_CRASH_RECOVERY;
    return check(c, e);
}

/* One that was promoted and crashed before its first checkpoint has its new timeline only there. */
struct fm_timeline fm_pg_control_timeline(const struct fm_pg_control *c)
{
    return c->least_timeline.n > c->timeline.n ? c->least_timeline : c->timeline;
}

bool fm_pg_control_is_final_at(const struct fm_pg_control *c, struct fm_lsn replayed)
{
    return c->state == FM_PG_SHUT_DOWN && fm_lsn_before(c->checkpoint, replayed);
}

/* -------- may it follow? -------- */

enum fm_pg_relation fm_pg_control_relation(const struct fm_pg_control *c,
                                           const struct fm_history *mine, uint64_t their_system_id,
                                           const struct fm_history *theirs)
{
    FM_ASSERT(fm_timeline_same(mine->timeline, fm_pg_control_timeline(c)));
    if (c->system_id != their_system_id)
        return FM_PG_STRANGER;
    struct fm_past fork = fm_history_fork(mine, theirs);
    if (fork.timeline.n == 0)
        return FM_PG_STRANGER;
    /* the record of the checkpoint is there, and it ends behind its beginning */
    if (!fm_lsn_before(c->checkpoint, fork.end) || fm_lsn_before(fork.end, c->least_end))
        return FM_PG_DIVERGED;
    switch (c->state) {
    case FM_PG_SHUT_DOWN: /* its checkpoint is its last record */
    case FM_PG_SHUT_DOWN_IN_RECOVERY:
    case FM_PG_IN_ARCHIVE_RECOVERY: /* nothing beyond least_end has reached its pages */
        return FM_PG_FOLLOWS;
    case FM_PG_STARTING_UP:
    case FM_PG_SHUTTING_DOWN:
    case FM_PG_IN_CRASH_RECOVERY:
    case FM_PG_IN_PRODUCTION:
        return FM_PG_UNSURE;
    }
    FM_UNREACHABLE();
}

const char *fm_pg_relation_text(enum fm_pg_relation r)
{
    static const char *const text[] = {
        [FM_PG_FOLLOWS] = "can follow",
        [FM_PG_DIVERGED] = "has diverged",
        [FM_PG_UNSURE] = "crashed, may have diverged",
        [FM_PG_STRANGER] = "has nothing in common",
    };
    FM_ASSERT((size_t)r < FM_COUNT(text));
    return text[r];
}

/* -------- small files -------- */

enum { VERSION_MAX = 999 };

unsigned fm_pg_version_parse(struct fm_str text)
{
    uint64_t version;
    struct fm_str rest, line = fm_str_cut(text, '\n', &rest);
    if (rest.n || !fm_str_u64(line, &version) || version > VERSION_MAX)
        return 0;
    return (unsigned)version;
}

static bool take_pid(struct fm_str line, int32_t *pid)
{
    uint64_t n;
    bool alone = line.n && line.p[0] == '-';
    if (alone)
        line = fm_str(line.p + 1, line.n - 1);
    if (!fm_str_u64(line, &n) || n < 2 || n > INT32_MAX)
        return false;
    *pid = alone ? -(int32_t)n : (int32_t)n;
    return true;
}

/* Lines: pid, folder, start, port, socket, address, shared memory, status. */
bool fm_pg_postmaster_parse(struct fm_str text, struct fm_pg_postmaster *out)
{
    static const char *const status_text[] = {
        [FM_PG_SERVER_STARTING] = "starting",
        [FM_PG_SERVER_STOPPING] = "stopping",
        [FM_PG_SERVER_READY] = "ready",
        [FM_PG_SERVER_STANDBY] = "standby",
    };
    enum { PID, PORT = 3, STATUS = 7 };
    struct fm_pg_postmaster p = {0};
    for (int line = PID; line <= STATUS; line++) {
        if (text.n == 0)
            return false;
        struct fm_str s = fm_str_trim(fm_str_cut(text, '\n', &text));
        uint64_t port;
        if (line == PID && !take_pid(s, &p.pid))
            return false;
        if (line == PORT) {
            if (!fm_str_u64(s, &port) || port > UINT16_MAX)
                return false;
            p.port = (uint16_t)port;
        }
        if (line != STATUS)
            continue;
        for (size_t i = 0; i < FM_COUNT(status_text); i++)
            if (fm_str_eqz(s, status_text[i])) {
                p.status = (enum fm_pg_status)i;
                *out = p;
                return true;
            }
    }
    return false;
}
