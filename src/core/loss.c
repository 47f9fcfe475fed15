/* What a group has lost: see the header. Invariant: joining loses nothing that either side knows,
 * so the order in which hosts hear of an item does not matter. */
#include "core/loss.h"

#include "base/assert.h"

const char *fm_loss_found_name(enum fm_loss_found f)
{
    static const char *const name[] = {
#define X(id, text) [FM_LOSS_##id] = text,
        FM_LOSS_FOUNDS(X)
#undef X
    };
    FM_ASSERT(f < FM_LOSS_FOUND_COUNT);
    return name[f];
}

const char *fm_loss_rows_name(enum fm_loss_rows r)
{
    static const char *const name[] = {
#define X(id, text) [FM_LOSS_ROWS_##id] = text,
        FM_LOSS_ROWS(X)
#undef X
    };
    FM_ASSERT(r < FM_LOSS_ROWS_COUNT);
    return name[r];
}

const char *fm_loss_state_name(enum fm_loss_state s)
{
    static const char *const name[] = {[FM_LOSS_OPEN] = "open",
                                       [FM_LOSS_NOTHING] = "nothing",
                                       [FM_LOSS_WRITTEN_OFF] = "written-off"};
    FM_ASSERT(s < FM_COUNT(name));
    return name[s];
}

/* A writer goes on with what it wrote; a release waits until the heir has all of it. */
bool fm_loss_is_due(const struct fm_cell_record *cell, const struct fm_evidence *to)
{
    const struct fm_evidence *was = &cell->evidence;
    bool begins = was->writer != 0 && to->writer != was->writer && to->timeline > was->timeline;
    return FM_RULE_PICK(R29_PENDING, begins && fm_cell_was_forced(cell), false);
}

enum fm_loss_state fm_loss_state(const struct fm_loss *l)
{
    FM_ASSERT(l->found < FM_LOSS_FOUND_COUNT);
    if (l->off_us)
        return FM_LOSS_WRITTEN_OFF;
    bool nothing = l->found == FM_LOSS_VOID || (l->found == FM_LOSS_COUNTED && !l->transactions);
    return nothing ? FM_LOSS_NOTHING : FM_LOSS_OPEN;
}

static int compare(const char *a, const char *b)
{
    return fm_str_cmp(fm_str_z(a), fm_str_z(b));
}

bool fm_loss_is_same(const struct fm_loss *a, const struct fm_loss *b)
{
    return compare(a->node, b->node) == 0 && fm_timeline_same(a->timeline, b->timeline) &&
           fm_lsn_same(a->fork, b->fork);
}

/* Does a know more of what was lost? Of two counts the one that goes further; what is left is
 * decided by anything that both see alike. */
static bool knows_more(const struct fm_loss *a, const struct fm_loss *b)
{
    if (a->found != b->found)
        return a->found > b->found;
    if (!fm_lsn_same(a->end, b->end))
        return fm_lsn_before(b->end, a->end);
    if (a->transactions != b->transactions)
        return a->transactions > b->transactions;
    int by_why = compare(a->why, b->why);
    return by_why ? by_why > 0 : compare(a->copy, b->copy) > 0;
}

static bool knows_more_rows(const struct fm_loss *a, const struct fm_loss *b)
{
    if (a->rows != b->rows)
        return a->rows > b->rows;
    if (a->decoded != b->decoded)
        return a->decoded > b->decoded;
    if (a->changes != b->changes)
        return a->changes > b->changes;
    if (a->rows_bytes != b->rows_bytes)
        return a->rows_bytes > b->rows_bytes;
    return a->rows_sum != b->rows_sum ? a->rows_sum > b->rows_sum
                                      : compare(a->rows_why, b->rows_why) > 0;
}

static void take_rows(struct fm_loss *to, const struct fm_loss *from)
{
    FM_ASSERT(from->rows < FM_LOSS_ROWS_COUNT);
    to->rows = from->rows;
    to->decoded = from->decoded;
    to->changes = from->changes;
    to->rows_bytes = from->rows_bytes;
    to->rows_sum = from->rows_sum;
    memcpy(to->rows_why, from->rows_why, sizeof to->rows_why);
}

static bool was_off_before(const struct fm_loss *a, const struct fm_loss *b)
{
    if (a->off_us != b->off_us)
        return b->off_us == 0 || (a->off_us && a->off_us < b->off_us);
    int by = compare(a->off_by, b->off_by);
    return by ? by < 0 : compare(a->off_why, b->off_why) < 0;
}

struct fm_loss fm_loss_join(const struct fm_loss *a, const struct fm_loss *b)
{
    FM_ASSERT(fm_loss_is_same(a, b));
    struct fm_loss l = knows_more(a, b) ? *a : *b;
    const struct fm_loss *other = knows_more(a, b) ? b : a;
    const struct fm_loss *off = was_off_before(a, b) ? a : b;
    if (l.seen_us == 0 || (other->seen_us && other->seen_us < l.seen_us))
        l.seen_us = other->seen_us;
    if (l.epoch.n == 0 || (other->epoch.n && fm_epoch_newer(l.epoch, other->epoch)))
        l.epoch = other->epoch;
    if (l.system_id == 0)
        l.system_id = other->system_id;
    l.at_most = a->at_most < b->at_most ? a->at_most : b->at_most;
    if (l.pruned_us == 0 || (other->pruned_us && other->pruned_us < l.pruned_us))
        l.pruned_us = other->pruned_us;
    take_rows(&l, knows_more_rows(a, b) ? a : b);
    l.off_us = off->off_us;
    memcpy(l.off_by, off->off_by, sizeof l.off_by);
    memcpy(l.off_why, off->off_why, sizeof l.off_why);
    FM_ASSERT(l.found >= a->found && l.found >= b->found);
    return l;
}

bool fm_loss_is_settled(const struct fm_loss *l)
{
    return l->off_us || FM_RULE(R28_LOOKED, l->found != FM_LOSS_PENDING);
}

/* What has no rows (a DROP TABLE, a sequence, another database) is none of the decoded ones. */
enum fm_loss_rows fm_loss_rows_found(const struct fm_loss *l, uint64_t decoded, bool whole)
{
    FM_ASSERT(l->found == FM_LOSS_COUNTED);
    return decoded == l->transactions && whole ? FM_LOSS_ROWS_ALL : FM_LOSS_ROWS_SOME;
}

bool fm_loss_may_prune(const struct fm_loss *l)
{
    return l->pruned_us == 0 && fm_loss_state(l) != FM_LOSS_OPEN;
}

bool fm_loss_equals(const struct fm_loss *a, const struct fm_loss *b)
{
    bool same = fm_loss_is_same(a, b) && a->system_id == b->system_id &&
                fm_epoch_same(a->epoch, b->epoch) && a->at_most == b->at_most &&
                a->seen_us == b->seen_us;
    bool found = a->found == b->found && fm_lsn_same(a->end, b->end) &&
                 a->transactions == b->transactions && a->prepared == b->prepared &&
                 a->first_us == b->first_us && a->last_us == b->last_us &&
                 compare(a->why, b->why) == 0 && compare(a->copy, b->copy) == 0 &&
                 a->pruned_us == b->pruned_us;
    bool rows = a->rows == b->rows && a->decoded == b->decoded && a->changes == b->changes &&
                a->rows_bytes == b->rows_bytes && a->rows_sum == b->rows_sum &&
                compare(a->rows_why, b->rows_why) == 0;
    return same && found && rows && a->off_us == b->off_us && compare(a->off_by, b->off_by) == 0 &&
           compare(a->off_why, b->off_why) == 0;
}

enum fm_loss_found fm_loss_settle(const struct fm_loss *l, const struct fm_loss_data *d)
{
    FM_ASSERT(l->found < FM_LOSS_FOUND_COUNT && !(d->absent && d->forked));
    if (l->found != FM_LOSS_PENDING)
        return (enum fm_loss_found)l->found;
    bool same_line = fm_timeline_same(l->timeline, d->timeline);
    bool later = d->timeline.n > l->timeline.n;
    bool there = d->forked && FM_RULE_PICK(R29_VOID, fm_lsn_same(l->fork, d->fork), false);
    if (there && later) /* it is known under the timeline that the node went on to */
        return d->looked ? FM_LOSS_VOID : FM_LOSS_PENDING;
    if (same_line && !there && d->forked && d->looked)
        return FM_LOSS_VOID;
    return d->absent || later ? FM_LOSS_UNREADABLE : FM_LOSS_PENDING;
}
