/* The replay: see the header. Invariant: core is given only what a line says in its bounds, so a
 * file that somebody has changed ends in MALFORMED or DIFFERS, not in an assertion of core; but for
 * events that no agent could have fed. */
#include "trace/replay.h"

#include "base/assert.h"
#include "trace/fields.h"

#include <stdlib.h>

struct fm_replay {
    struct fm_authority *auth[FM_TRACE_CONTEXTS_MAX]; /* NULL until its `init` */
    struct fm_failover failover[FM_TRACE_CONTEXTS_MAX][FM_AUTH_REGIONS_MAX];
    bool has_failover[FM_TRACE_CONTEXTS_MAX][FM_AUTH_REGIONS_MAX];
    struct fm_move move[FM_TRACE_CONTEXTS_MAX];
    struct fm_office office;
    bool begun, has_office;
    /* of the line */
    struct fm_lease_at lease[FM_AUTH_REGIONS_MAX];
    struct fm_cell_at cell[FM_AUTH_CELLS_MAX];
    struct fm_epoch epoch[FM_AUTH_CELLS_MAX];
    char text[FM_TRACE_LINE_MAX];
};

/* What a line puts in, and who is meant. */
struct line {
    struct fm_replay *r;
    unsigned whose;
    struct fm_mono now;
    struct fm_str in, then;
    const char *why;
};

static void forget(struct fm_replay *r)
{
    for (unsigned i = 0; i < FM_TRACE_CONTEXTS_MAX; i++) {
        free(r->auth[i]);
        r->auth[i] = NULL;
        r->move[i] = (struct fm_move){.late_at = FM_MONO_NEVER};
    }
    memset(r->has_failover, 0, sizeof r->has_failover);
    r->has_office = false;
}

struct fm_replay *fm_replay_new(void)
{
    struct fm_replay *r = calloc(1, sizeof *r);
    if (r)
        forget(r);
    return r;
}

void fm_replay_free(struct fm_replay *r)
{
    if (!r)
        return;
    forget(r);
    free(r);
}

/* -------- words -------- */

static bool read_members(const uint64_t *of, unsigned n, struct fm_members *m)
{
    if (n % 2)
        return false;
    for (unsigned i = 0; i < n; i += 2) {
        if (of[i] >= FM_AUTH_REGIONS_MAX || of[i + 1] > UINT8_MAX)
            return false;
        m->of[of[i]] = (uint8_t)of[i + 1];
    }
    return true;
}

static bool read_lease(struct fm_replay *r, const struct fm_trace_word *w)
{
    enum { HEAD = 1 + fm_trace_lease_n };
    if (w->n < HEAD || w->of[0] >= FM_AUTH_REGIONS_MAX || (w->n - HEAD) % fm_trace_sub_n)
        return false;
    struct fm_lease_at *l = &r->lease[w->of[0]];
    unsigned nsubs = (w->n - HEAD) / fm_trace_sub_n;
    bool good = nsubs <= FM_SUBS_MAX;
    for (unsigned i = 0; i < nsubs && good; i++)
        good = fm_trace_take_list(w->of + HEAD + i * fm_trace_sub_n, fm_trace_sub, fm_trace_sub_n,
                                  &l->r.sub[i]);
    l->r.nsubs = (uint8_t)nsubs;
    return good && fm_trace_take_list(w->of + 1, fm_trace_lease, fm_trace_lease_n, l);
}

static bool read_cell(struct fm_replay *r, const struct fm_trace_word *w)
{
    enum { HEAD = 1 + fm_trace_cell_n };
    if (w->n < HEAD || w->of[0] >= FM_AUTH_CELLS_MAX)
        return false;
    struct fm_cell_at *c = &r->cell[w->of[0]];
    return fm_trace_take_list(w->of + 1, fm_trace_cell, fm_trace_cell_n, c) &&
           read_members(w->of + HEAD, w->n - HEAD, &c->r.members);
}

static bool read_epoch(struct fm_replay *r, const struct fm_trace_word *w)
{
    if (w->n != 2 || w->of[0] >= FM_AUTH_CELLS_MAX)
        return false;
    r->epoch[w->of[0]].n = w->of[1];
    return true;
}

static bool is(const struct fm_trace_word *w, const char *name)
{
    return fm_str_eqz(w->name, name);
}

static bool one(const struct fm_trace_word *w, const char *name, uint64_t most, uint64_t *out)
{
    if (!is(w, name) || w->n != 1 || w->of[0] > most)
        return false;
    *out = w->of[0];
    return true;
}

/* The machine, whose, what and when; the words that follow are left in l->in. */
static bool read_head(struct line *l, struct fm_str text, struct fm_str *machine,
                      struct fm_str *what)
{
    struct fm_str rest, whose;
    uint64_t n = 0;
    *machine = fm_str_cut(text, ' ', &rest);
    whose = fm_str_cut(rest, ' ', &rest);
    *what = fm_str_cut(rest, ' ', &rest);
    if (!rest.p || !fm_str_u64(whose, &n) || n >= FM_TRACE_CONTEXTS_MAX)
        return false;
    l->whose = (unsigned)n;
    l->in = fm_str(rest.p - 1, rest.n + 1);
    return true;
}

static bool read_now(struct line *l)
{
    struct fm_trace_word w;
    uint64_t ns = 0;
    if (!fm_trace_next(&l->in, &w) || !one(&w, "now", INT64_MAX, &ns))
        return false;
    l->now.ns = (int64_t)ns;
    return true;
}

/* -------- authority -------- */

struct beginning {
    struct fm_auth_config cfg;
    struct fm_marks marks;
    bool has_marks;
};

static bool read_home(const struct fm_trace_word *w, struct fm_auth_config *cfg)
{
    FM_ASSERT(w->n <= FM_AUTH_CELLS_MAX);
    for (unsigned i = 0; i < w->n; i++) {
        if (w->of[i] >= FM_AUTH_REGIONS_MAX)
            return false;
        cfg->home[i] = (uint8_t)w->of[i];
    }
    return true;
}

static bool read_mark(const struct fm_trace_word *w, struct fm_marks *m)
{
    if (w->n != 3 || w->of[0] >= FM_AUTH_CELLS_MAX || w->of[2] > FM_AUTH_REGIONS_MAX)
        return false;
    m->epoch[w->of[0]].n = w->of[1];
    m->holder[w->of[0]] = (uint8_t)w->of[2];
    return true;
}

static bool read_beginning(struct line *l, struct beginning *b)
{
    const struct fm_auth_config *cfg = &b->cfg;
    struct fm_trace_word w;
    bool good = true;
    memset(b, 0, sizeof *b);
    while (good && fm_trace_next(&l->in, &w)) {
        if (is(&w, "file"))
            good = read_members(w.of, w.n, &b->cfg.file);
        else if (is(&w, "home"))
            good = read_home(&w, &b->cfg);
        else if (is(&w, "mark"))
            good = read_mark(&w, &b->marks);
        else if (is(&w, "marks"))
            good = b->has_marks =
                w.n == fm_trace_marks_n &&
                fm_trace_take_list(w.of, fm_trace_marks, fm_trace_marks_n, &b->marks);
        else
            good = fm_trace_take(&w, fm_trace_cfg, fm_trace_cfg_n, &b->cfg);
    }
    return good && !l->in.n && cfg->context == l->whose && cfg->ncells > 0 &&
           cfg->ncells <= FM_AUTH_CELLS_MAX && cfg->nregions <= FM_AUTH_REGIONS_MAX &&
           cfg->self.n < FM_AGENTS_MAX;
}

static const char *begin_authority(struct line *l)
{
    struct beginning b;
    if (!read_beginning(l, &b))
        return "no configuration of authority";
    struct fm_authority *a = l->r->auth[l->whose];
    if (!a && !(a = malloc(sizeof *a)))
        return "there is no memory";
    l->r->auth[l->whose] = a;
    fm_authority_init(a, &b.cfg, b.has_marks ? &b.marks : NULL, l->now);
    return NULL;
}

static const char *change_authority(struct line *l)
{
    struct fm_authority *a = l->r->auth[l->whose];
    struct beginning b;
    if (!a || !read_beginning(l, &b) || b.cfg.ncells != a->cfg.ncells ||
        b.cfg.nregions != a->cfg.nregions)
        return "no change of an authority that was begun";
    a->cfg = b.cfg;
    return NULL;
}

static const char *set_lease(struct line *l)
{
    struct fm_authority *a = l->r->auth[l->whose];
    struct beginning b;
    if (!a || !read_beginning(l, &b) || b.cfg.lease_ms <= 0 || b.cfg.renew_ms <= 0 ||
        b.cfg.retry_ms <= 0 || b.cfg.lease_ms > FM_LEASE_MAX_MS)
        return "no lease of an authority that was begun";
    fm_authority_set_lease(a, b.cfg.lease_ms, b.cfg.renew_ms, b.cfg.retry_ms, l->now);
    return NULL;
}

static bool read_event(struct line *l, struct fm_auth_event *e, struct fm_snapshot *s)
{
    struct fm_replay *r = l->r;
    struct fm_trace_word w;
    bool good = true;
    memset(r->lease, 0, sizeof r->lease);
    memset(r->cell, 0, sizeof r->cell);
    memset(r->epoch, 0, sizeof r->epoch);
    *s = (struct fm_snapshot){.lease = r->lease, .cell = r->cell};
    while (good && fm_trace_next(&l->in, &w)) {
        if (is(&w, "@lease"))
            good = read_lease(r, &w);
        else if (is(&w, "@cell"))
            good = read_cell(r, &w);
        else if (is(&w, "@epoch"))
            good = read_epoch(r, &w);
        else if (is(&w, "members"))
            good = read_members(w.of, w.n, &e->members);
        else if (is(&w, "@seen")) {
            good = w.n == 2 && w.of[0] <= FM_AUTH_REGIONS_MAX && w.of[1] <= FM_AUTH_CELLS_MAX;
            e->snapshot = s;
            s->nregions = (unsigned)w.of[0];
            s->ncells = (unsigned)w.of[1];
        } else
            good = fm_trace_take(&w, fm_trace_event, fm_trace_event_n, e) ||
                   fm_trace_take(&w, fm_trace_snapshot, fm_trace_snapshot_n, s);
    }
    e->epochs = r->epoch;
    return good && !l->in.n && e->kind < FM_AUTH_EVENT_COUNT;
}

static const char *step_authority(struct line *l, struct fm_buf *out)
{
    struct fm_authority *a = l->r->auth[l->whose];
    struct fm_auth_event e = {.kind = FM_AUTH_TICK};
    struct fm_snapshot s;
    struct fm_auth_actions acts;
    if (!a)
        return "a step of an authority that was not begun";
    if (!read_event(l, &e, &s) ||
        (e.snapshot && (s.nregions != a->cfg.nregions || s.ncells != a->cfg.ncells)))
        return "no event of authority";
    fm_authority_step(a, &e, l->now, &acts);
    fm_trace_acts(out, a, &acts);
    return NULL;
}

/* -------- the office -------- */

static bool read_office(struct line *l, struct fm_office_config *cfg)
{
    struct fm_trace_word w;
    *cfg = (struct fm_office_config){.silence_ms = 0};
    while (fm_trace_next(&l->in, &w))
        if (!fm_trace_take(&w, fm_trace_office_cfg, fm_trace_office_cfg_n, cfg))
            return false;
    return !l->in.n && cfg->self.n < FM_AGENTS_MAX;
}

static const char *set_times(struct line *l)
{
    struct fm_office_config cfg;
    if (!l->r->has_office || !read_office(l, &cfg) || cfg.silence_ms <= 0 || cfg.retry_ms <= 0)
        return "no times of an office that was begun";
    fm_office_set_times(&l->r->office, cfg.silence_ms, cfg.retry_ms);
    return NULL;
}

static const char *begin_office(struct line *l)
{
    struct fm_office_config cfg;
    if (!read_office(l, &cfg))
        return "no configuration of an office";
    fm_office_init(&l->r->office, &cfg, l->now);
    l->r->has_office = true;
    return NULL;
}

static const char *step_office(struct line *l, struct fm_buf *out)
{
    struct fm_office_event e = {.kind = FM_OFFICE_TICK};
    struct fm_trace_word w;
    uint64_t random = 0;
    bool good = l->r->has_office;
    while (good && fm_trace_next(&l->in, &w))
        good = one(&w, "random", UINT64_MAX, &random) ||
               fm_trace_take(&w, fm_trace_office_event, fm_trace_office_event_n, &e);
    if (!good || l->in.n || e.kind >= FM_OFFICE_EVENT_COUNT)
        return "no event of an office";
    struct fm_office_verdict v;
    fm_office_step(&l->r->office, &e, l->now, random, &v);
    fm_trace_office_said(out, &l->r->office, &v);
    return NULL;
}

/* -------- failover and moves -------- */

static bool read_lost(struct line *l, unsigned *region)
{
    struct fm_trace_word w;
    uint64_t n = 0;
    if (!fm_trace_next(&l->in, &w) || !one(&w, "lost", FM_AUTH_REGIONS_MAX - 1, &n))
        return false;
    *region = (unsigned)n;
    return true;
}

static const char *begin_failover(struct line *l)
{
    unsigned region = 0;
    if (!read_lost(l, &region) || l->in.n)
        return "no failover";
    fm_failover_init(&l->r->failover[l->whose][region], l->now);
    l->r->has_failover[l->whose][region] = true;
    return NULL;
}

static const char *step_failover(struct line *l, struct fm_buf *out)
{
    struct fm_failover_evidence ev = {.heir = false};
    struct fm_failover_event e = {.kind = FM_FAILOVER_ON_TICK, .ev = &ev};
    struct fm_failover_policy p = {.mode = 0};
    struct fm_trace_word w;
    unsigned region = 0;
    bool good = read_lost(l, &region) && l->r->has_failover[l->whose][region];
    while (good && fm_trace_next(&l->in, &w))
        good = fm_trace_take(&w, fm_trace_failover_event, fm_trace_failover_event_n, &e) ||
               fm_trace_take(&w, fm_trace_policy, fm_trace_policy_n, &p) ||
               fm_trace_take(&w, fm_trace_evidence, fm_trace_evidence_n, &ev);
    if (!good || l->in.n || e.kind >= FM_FAILOVER_EVENT_COUNT)
        return "no event of a failover that was begun";
    struct fm_failover *f = &l->r->failover[l->whose][region];
    struct fm_failover_verdict v = fm_failover_step(f, &p, &e, l->now);
    fm_trace_failover_said(out, f, &v);
    return NULL;
}

static const char *step_move(struct line *l, struct fm_buf *out)
{
    struct fm_move *m = &l->r->move[l->whose];
    struct fm_move_policy p = {.ready_ms = 0};
    struct fm_trace_word w;
    uint64_t kind = 0, cell = 0, to = 0;
    bool good = true;
    while (good && fm_trace_next(&l->in, &w))
        good = one(&w, "kind", FM_MOVE_EVENT_COUNT - 1, &kind) ||
               one(&w, "cell", FM_AUTH_CELLS_MAX - 1, &cell) ||
               one(&w, "to", FM_AUTH_REGIONS_MAX - 1, &to) ||
               fm_trace_take(&w, fm_trace_move_policy, fm_trace_move_policy_n, &p);
    if (!good || l->in.n)
        return "no event of a move";
    m->cell = (uint8_t)cell;
    m->to = (uint8_t)to;
    struct fm_move_verdict v = fm_move_step(m, &p, (enum fm_move_event)kind, l->now);
    fm_trace_move_said(out, m, &v);
    return NULL;
}

/* -------- lines -------- */

static const struct {
    const char *machine;
    const char *(*step)(struct line *l, struct fm_buf *out);
} machines[] = {{"authority", step_authority},
                {"office", step_office},
                {"failover", step_failover},
                {"move", step_move}};

static const struct {
    const char *machine, *what;
    const char *(*change)(struct line *l);
} changes[] = {{"authority", "init", begin_authority}, {"authority", "conf", change_authority},
               {"authority", "lease", set_lease},      {"office", "init", begin_office},
               {"office", "times", set_times},         {"failover", "init", begin_failover}};

static const char *feed(struct line *l, struct fm_str text, struct fm_buf *out, bool *step)
{
    struct fm_str machine, what;
    if (!read_head(l, text, &machine, &what))
        return "no line of a trace";
    if (!read_now(l))
        return "it does not say when";
    *step = fm_str_eqz(what, "step");
    for (unsigned i = 0; *step && i < FM_COUNT(machines); i++)
        if (fm_str_eqz(machine, machines[i].machine))
            return machines[i].step(l, out);
    for (unsigned i = 0; i < FM_COUNT(changes); i++)
        if (fm_str_eqz(machine, changes[i].machine) && fm_str_eqz(what, changes[i].what))
            return changes[i].change(l);
    return "nothing that is known happens to it";
}

/* The part before ` => `, and what is behind it. */
static struct fm_str split(struct fm_str line, struct fm_str *then)
{
    static const char arrow[] = " => ";
    const char *at = line.n ? memmem(line.p, line.n, arrow, sizeof arrow - 1) : NULL;
    *then = fm_str(NULL, 0);
    if (!at)
        return line;
    size_t n = (size_t)(at - line.p);
    *then = fm_str(at + sizeof arrow - 1, line.n - n - (sizeof arrow - 1));
    return fm_str(line.p, n);
}

struct fm_replay_answer fm_replay_line(struct fm_replay *r, struct fm_str line)
{
    struct fm_replay_answer a = {.verdict = FM_REPLAY_SAME};
    struct fm_buf out = fm_buf(r->text, sizeof r->text);
    struct line l = {.r = r};
    if (fm_str_eqz(line, FM_TRACE_FIRST)) {
        forget(r);
        r->begun = true;
        return a;
    }
    struct fm_str text = split(line, &l.then);
    a.why =
        r->begun ? feed(&l, text, &out, &a.step) : "it does not begin with `" FM_TRACE_FIRST "`";
    if (!a.why && out.full)
        a.why = "it is too long";
    a.then = l.then;
    a.now = fm_buf_str(&out);
    if (a.why)
        a.verdict = FM_REPLAY_MALFORMED;
    else if (a.step && !fm_str_eq(a.then, a.now))
        a.verdict = FM_REPLAY_DIFFERS;
    return a;
}
