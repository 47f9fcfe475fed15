/* Places in the log and histories: see the header. A history is walked as text, so it may have as
 * many timelines as a group has seen failovers, without memory of its own. */
#include "core/lsn.h"

#include "base/assert.h"

enum { HALF_DIGITS_MAX = 8, TIMELINE_DIGITS_MAX = 10 };

static bool half(struct fm_str s, uint64_t *out)
{
    return s.n <= HALF_DIGITS_MAX && fm_str_u64_hex(s, out);
}

bool fm_lsn_parse(struct fm_str s, struct fm_lsn *out)
{
    struct fm_str low;
    uint64_t h, l;
    FM_ASSERT(s.p || s.n == 0);
    struct fm_str high = fm_str_cut(s, '/', &low);
    if (!half(high, &h) || !half(low, &l))
        return false;
    FM_ASSERT(h <= UINT32_MAX && l <= UINT32_MAX);
    *out = (struct fm_lsn){h << 32 | l};
    return true;
}

static char *write_half(char *at, uint32_t v)
{
    bool begun = false;
    for (int shift = 28; shift >= 0; shift -= 4) {
        unsigned digit = v >> shift & 15;
        begun |= digit != 0 || shift == 0;
        if (begun)
            *at++ = "0123456789ABCDEF"[digit];
    }
    return at;
}

char *fm_lsn_write(char out[FM_LSN_ROOM], struct fm_lsn lsn)
{
    char *at = write_half(out, (uint32_t)(lsn.n >> 32));
    *at++ = '/';
    at = write_half(at, (uint32_t)lsn.n);
    *at = '\0';
    FM_ASSERT(at - out >= 3 && at - out < FM_LSN_ROOM);
    return out;
}

/* -------- histories -------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The word at the front, and what stands behind it and its blanks. */
static struct fm_str word(struct fm_str *s)
{
    size_t n = 0, next;
    while (n < s->n && !is_blank(s->p[n]))
        n++;
    struct fm_str w = fm_str(s->p, n);
    for (next = n; next < s->n && is_blank(s->p[next]); next++) {
    }
    *s = fm_str(s->p + next, s->n - next);
    return w;
}

enum line { LINE_NOTHING, LINE_PAST, LINE_WRONG };

/* "1<tab>0/3000148<tab>no recovery target specified"; the reason is for people. */
static enum line parse_line(struct fm_str s, struct fm_past *out)
{
    uint64_t timeline;
    while (s.n && is_blank(s.p[0]))
        s = fm_str(s.p + 1, s.n - 1);
    if (s.n == 0 || s.p[0] == '#')
        return LINE_NOTHING;
    struct fm_str number = word(&s), lsn = word(&s);
    if (number.n > TIMELINE_DIGITS_MAX || !fm_str_u64(number, &timeline) || timeline == 0 ||
        timeline > UINT32_MAX || !fm_lsn_parse(lsn, &out->end))
        return LINE_WRONG;
    out->timeline = (struct fm_timeline){(uint32_t)timeline};
    FM_ASSERT(out->timeline.n > 0);
    return LINE_PAST;
}

static enum line next_line(struct fm_str *rest, struct fm_past *out)
{
    while (rest->n) {
        struct fm_str line = fm_str_cut(*rest, '\n', rest);
        enum line is = parse_line(line, out);
        if (is != LINE_NOTHING)
            return is;
    }
    return LINE_NOTHING;
}

bool fm_history_is_valid(const struct fm_history *h)
{
    struct fm_past last = {{0}, FM_LSN_NONE}, p = last;
    struct fm_str rest = h->text;
    enum line is;
    if (h->timeline.n == 0)
        return false;
    while ((is = next_line(&rest, &p)) == LINE_PAST) {
        if (p.timeline.n <= last.timeline.n || p.timeline.n >= h->timeline.n ||
            fm_lsn_before(p.end, last.end))
            return false;
        last = p;
    }
    /* every timeline but the first came from another one */
    return is == LINE_NOTHING && (last.timeline.n > 0 || h->timeline.n == 1);
}

bool fm_history_next(struct fm_str *rest, struct fm_past *out)
{
    enum line is = next_line(rest, out);
    FM_ASSERT(is != LINE_WRONG);
    return is == LINE_PAST;
}

struct fm_past fm_history_origin(const struct fm_history *h)
{
    struct fm_past last = {{0}, FM_LSN_NONE};
    struct fm_str rest = h->text;
    while (fm_history_next(&rest, &last)) {
    }
    FM_ASSERT(last.timeline.n < h->timeline.n);
    return last;
}

/* The timelines of a history, its own at the end. */
struct walk {
    const struct fm_history *h;
    struct fm_str rest;
    bool at_own;
};

static struct fm_past step(struct walk *w)
{
    struct fm_past p;
    FM_ASSERT(!w->at_own);
    if (fm_history_next(&w->rest, &p))
        return p;
    w->at_own = true;
    return (struct fm_past){w->h->timeline, FM_LSN_END};
}

/* As long as timelines are the same and were left at the same place. Two timelines of one number
 * that began at different places are different ones, and so is all that came of them. */
struct fm_past fm_history_fork(const struct fm_history *a, const struct fm_history *b)
{
    struct walk wa = {a, a->text, false}, wb = {b, b->text, false};
    struct fm_past fork = {{0}, FM_LSN_NONE};
    FM_ASSERT(a->timeline.n > 0 && b->timeline.n > 0);
    for (;;) {
        struct fm_past pa = step(&wa), pb = step(&wb);
        if (!fm_timeline_same(pa.timeline, pb.timeline))
            return fork;
        fork = (struct fm_past){pa.timeline, fm_lsn_min(pa.end, pb.end)};
        if (!fm_lsn_same(pa.end, pb.end) || wa.at_own || wb.at_own)
            return fork;
    }
}

bool fm_history_may_follow(const struct fm_history *mine, struct fm_lsn end,
                           const struct fm_history *theirs)
{
    struct fm_past fork = fm_history_fork(mine, theirs);
    FM_ASSERT(fork.timeline.n <= mine->timeline.n && fork.timeline.n <= theirs->timeline.n);
    return fork.timeline.n != 0 && !fm_lsn_before(fork.end, end);
}
