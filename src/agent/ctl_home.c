/* Failback before it is carried out. Whether it may begin is decided by the keeper of the region
 * that holds what is away: it alone knows since when home has been well, and it runs the machine
 * (core/failover.h). A dry run at any other agent asks it, so that the answer is that of the order.
 * Nothing is changed here. */
#include "agent/ctl_order.h"

#include "agent/homeward.h"
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

enum { AGAIN_MS = 300, SILENT_MS = 2000, ASKS_MAX = 4 };

/* A dry run that waits for what the keepers of the holders say of it. */
struct ctl_home_ask {
    bool used;
    struct fm_page_wait *wait;
    json_t *doc; /* the answer, where nobody refuses it */
    unsigned context;
    uint32_t serial;
    uint16_t left; /* regions that have not answered */
    struct fm_mono again, until;
};

/* What stands against a failback, by whoever decides it. */
struct no {
    char rule[FM_OP_RULE_ROOM]; /* "" = nothing does */
    char evidence[FM_MESSAGE_WHY_ROOM];
};

/* -------- the keeper -------- */

bool ctl_decides(const struct ctl_context *c)
{
    return c->conf >= 0 && c->set && c->auth.keeper && c->auth.k.state == FM_CHAIN_HOLD;
}

static const char *lacks(const struct ctl_context *c, unsigned home, char out[112], bool *counts)
{
    out[0] = 0;
    *counts = true;
    for (unsigned i = 0; i < c->set->n; i++) {
        struct ctl_group_home h = ctl_group_home(c->ctl->context[c->set->member[i]], home);
        *counts &= h.counts;
        if (h.lag > 0 && !out[0])
            snprintf(out, 112, "%s", h.why);
    }
    return out;
}

/* Would cells that are held here go home to that region now? */
static struct no judge(const struct ctl_context *c, unsigned home)
{
    const struct fm_controller *ctl = c->ctl;
    struct no no = {.rule = ""};
    char text[112];
    FM_ASSERT(c->set && home < ctl->c.roster->nregions);
    struct fm_failover_policy policy = ctl_failover_policy(ctl, c->set);
    struct fm_failover_evidence ev = ctl_evidence(ctl, c->set, home, ctl->region);
    struct fm_failover_home h = fm_failover_home(&c->set->fo[home], &policy, &ev, fm_mono_now());
    struct fm_homeward x = {.home = ctl->c.roster->region[home],
                            .soak_ms = policy.soak_ms,
                            .lost = fm_votes_lost(&ctl->votes, home)};
    if (!h.verdict.refused)
        return no;
    x.lacks = lacks(c, home, text, &x.counts);
    _Static_assert((int)FM_HOMEWARD_ROOM <= (int)FM_MESSAGE_WHY_ROOM &&
                       (int)FM_OP_RULE_ROOM <= (int)FM_MESSAGE_RULE_ROOM,
                   "it travels");
    fm_homeward_say(&h, &x, no.evidence);
    snprintf(no.rule, sizeof no.rule, "%s",
             fm_failover_why_name((enum fm_failover_why)h.verdict.why));
    return no;
}

void ctl_home_refuse(const struct ctl_context *c, struct fm_op *x, unsigned home,
                     enum fm_failover_why why)
{
    struct no no = judge(c, home);
    bool same = strcmp(no.rule, fm_failover_why_name(why)) == 0; /* or it has just changed */
    x->state = FM_OP_REFUSED;
    snprintf(x->text, sizeof x->text, "%s", same ? no.evidence : fm_failover_why_text(why));
    snprintf(x->rule, sizeof x->rule, "%s", fm_failover_why_name(why));
}

/* Of all that is held here and at home elsewhere; the first that is refused. */
static struct no judge_all(const struct ctl_context *c)
{
    struct no no = {.rule = ""};
    for (unsigned r = 0; r < c->ctl->c.roster->nregions && !no.rule[0]; r++)
        if (r != c->ctl->region && ctl_away_from(&c->auth, r, false))
            no = judge(c, r);
    return no;
}

static void answer_ask(struct ctl_context *c, unsigned host, const struct fm_message *m)
{
    struct fm_message a = ctl_message(c, FM_MESSAGE_HOME);
    if (!ctl_decides(c))
        return; /* whoever does it answers */
    struct no no = judge_all(c);
    a.serial = m->serial;
    a.ok = !no.rule[0];
    snprintf(a.rule, sizeof a.rule, "%s", no.rule);
    snprintf(a.why, sizeof a.why, "%s", no.evidence);
    fm_post_send(c->ctl->c.post, host, &a);
}

/* -------- whoever takes the order -------- */

uint64_t ctl_home_away(const struct ctl_context *c)
{
    uint64_t cells = 0;
    for (unsigned i = 0; i < c->auth.cfg.ncells; i++) {
        const struct fm_cell_at *at = &c->auth.cell[i].at;
        if (at->revision.n && (at->r.region != c->auth.cfg.home[i] || at->r.state != FM_CELL_HELD))
            cells |= UINT64_C(1) << i;
    }
    return cells;
}

/* What can be seen of the records alone, cell by cell: false with a refusal. One that is at home
 * with who is lost matters where nothing else goes home. */
static bool look_at_cell(struct ctl_order *o, unsigned cell, uint64_t away)
{
    const struct fm_controller *ctl = o->ctl;
    const struct fm_cell_at *at = &o->c->auth.cell[cell].at;
    const char *name = ctl->c.roster->context[o->c->number].name;
    if (at->revision.n == 0)
        return true;
    const char *region = ctl->c.roster->region[at->r.region];
    bool home = !(away >> cell & 1);
    if (at->r.state == FM_CELL_YIELDED)
        ctl_refuse(&o->no, 409, "given-up", "use `fulmar quote`, and then `fulmar failover`",
                   "%s has given cell %u of %s up", region, cell, name);
    else if (at->r.state == FM_CELL_HELD && (!home || !away) &&
             ctl_move_is_stranded(o->c, cell, at->r.region))
        ctl_refuse(&o->no, 409, "lost", "use `fulmar quote`, and then `fulmar failover`",
                   "%s holds cell %u of %s%s, and was not heard for a while", region, cell, name,
                   home ? ", which is at home there" : "");
    return !o->no.status;
}

void ctl_plan_failback(struct ctl_order *o)
{
    bool founded = false;
    if (!ctl_take_context(o, true) || ctl_order_is_busy(o))
        return;
    uint64_t cells = ctl_home_away(o->c);
    unsigned away = (unsigned)__builtin_popcountll(cells);
    for (unsigned i = 0; i < o->c->auth.cfg.ncells; i++) {
        founded |= o->c->auth.cell[i].at.revision.n != 0;
        if (!look_at_cell(o, i, cells))
            return;
    }
    if (!founded)
        ctl_refuse(&o->no, 409, "not-held", "wait until its home holds it: see `fulmar status`",
                   "nobody has held %s yet", o->ctl->c.roster->context[o->c->number].name);
    o->nothing = founded && away == 0;
    if (o->nothing)
        snprintf(o->op.text, sizeof o->op.text, "every cell is home");
    else if (o->dry)
        snprintf(o->op.text, sizeof o->op.text, "%u cell%s would go home%s", away,
                 away == 1 ? "" : "s", away > 1 ? ", one by one, a canary first" : "");
}

/* -------- the dry run -------- */

static void left(void *user)
{
    ((struct ctl_home_ask *)user)->wait = NULL;
}

static void end(struct ctl_home_ask *x)
{
    json_decref(x->doc);
    *x = (struct ctl_home_ask){.used = false};
}

static void send_ask(struct fm_controller *ctl, struct ctl_home_ask *x)
{
    struct fm_message m = ctl_message(ctl->context[x->context], FM_MESSAGE_HOME_ASK);
    m.serial = x->serial;
    for (unsigned r = 0; r < ctl->c.roster->nregions; r++)
        if (x->left >> r & 1)
            ctl_send_agents(ctl, r, &m);
    x->again = fm_mono_add_ms(fm_mono_now(), AGAIN_MS);
    ctl_arm(ctl, x->again);
}

static void refuse(struct ctl_refusal *r, const struct no *no)
{
    const char *remedy = fm_homeward_remedy(no->rule);
    ctl_refuse(r, 409, no->rule, remedy ? remedy : "look at `fulmar status`", "%s", no->evidence);
}

static void answer_now(struct ctl_order *o, struct fm_page_answer *a)
{
    if (o->no.status)
        ctl_answer_refusal(a, &o->no);
    else
        ctl_answer(a, 200, ctl_op_doc(o->ctl, &o->op));
}

static void busy(struct fm_page_answer *a)
{
    struct ctl_refusal r = {.status = 0};
    ctl_refuse(&r, 503, "busy", "try again", "others ask the same at this moment");
    ctl_answer_refusal(a, &r);
}

void ctl_home_dry(struct ctl_order *o, const struct fm_page_request *q, struct fm_page_answer *a)
{
    struct fm_controller *ctl = o->ctl;
    struct ctl_home_ask *x = NULL;
    struct no no = {.rule = ""}; /* the refusal points into it */
    uint16_t holders = 0;
    for (unsigned i = 0; i < o->c->auth.cfg.ncells; i++)
        if (ctl_home_away(o->c) >> i & 1)
            holders = (uint16_t)(holders | 1u << fm_cell_owner(&o->c->auth.cell[i].at.r));
    if (holders >> ctl->region & 1 && ctl_decides(o->c)) {
        no = judge_all(o->c);
        holders = (uint16_t)(holders & ~(1u << ctl->region));
        if (no.rule[0])
            refuse(&o->no, &no);
    }
    if (o->no.status || !holders) {
        answer_now(o, a);
        return;
    }
    if (!ctl->home_ask)
        ctl->home_ask = calloc(ASKS_MAX, sizeof *ctl->home_ask);
    for (unsigned i = 0; i < ASKS_MAX && ctl->home_ask && !x; i++)
        if (!ctl->home_ask[i].used)
            x = &ctl->home_ask[i];
    if (!x) {
        busy(a);
        return;
    }
    *x = (struct ctl_home_ask){.used = true,
                               .doc = ctl_op_doc(ctl, &o->op),
                               .context = o->c->number,
                               .serial = (uint32_t)fm_rand_u64(&ctl->rand),
                               .left = holders,
                               .until = fm_mono_add_ms(fm_mono_now(), SILENT_MS)};
    x->wait = fm_page_later(q, left, x);
    if (x->wait)
        send_ask(ctl, x);
    else
        end(x);
}

static void finish(struct ctl_home_ask *x, const struct ctl_refusal *no)
{
    struct fm_page_answer a = FM_PAGE_ANSWER;
    FM_ASSERT(x->used && x->wait);
    if (no)
        ctl_answer_refusal(&a, no);
    else
        ctl_answer(&a, 200, json_incref(x->doc));
    fm_page_answer(x->wait, &a);
    end(x);
}

static void take_answer(struct ctl_context *c, unsigned host, const struct fm_message *m)
{
    struct fm_controller *ctl = c->ctl;
    for (unsigned i = 0; i < ASKS_MAX && ctl->home_ask; i++) {
        struct ctl_home_ask *x = &ctl->home_ask[i];
        unsigned region = ctl->host[host].region;
        if (!x->used || !x->wait || x->context != c->number || x->serial != m->serial ||
            !(x->left >> region & 1))
            continue;
        x->left = (uint16_t)(x->left & ~(1u << region));
        struct no no = {.rule = ""};
        snprintf(no.rule, sizeof no.rule, "%s", m->rule[0] ? m->rule : "not-said");
        snprintf(no.evidence, sizeof no.evidence, "%s", m->why);
        struct ctl_refusal r = {.status = 0};
        if (!m->ok)
            refuse(&r, &no);
        if (!m->ok || !x->left)
            finish(x, m->ok ? NULL : &r);
    }
}

void ctl_home_take(struct ctl_context *c, unsigned host, const struct fm_message *m)
{
    bool agent = c->ctl->host[host].agent;
    if (m->kind == FM_MESSAGE_HOME_ASK && agent)
        answer_ask(c, host, m);
    else if (m->kind == FM_MESSAGE_HOME && agent)
        take_answer(c, host, m);
}

void ctl_home_turn(struct fm_controller *ctl)
{
    struct fm_mono now = fm_mono_now();
    for (unsigned i = 0; i < ASKS_MAX && ctl->home_ask && !ctl->stopped; i++) {
        struct ctl_home_ask *x = &ctl->home_ask[i];
        struct ctl_refusal r = {.status = 0};
        if (!x->used)
            continue;
        if (!x->wait) { /* nobody waits any more */
            end(x);
        } else if (!fm_mono_before(now, x->until)) {
            unsigned region = (unsigned)__builtin_ctz(x->left);
            ctl_refuse(&r, 503, "no-answer", "try again, or ask an agent there: --server HOST",
                       "no keeper of %s, which decides it, has answered",
                       ctl->c.roster->region[region]);
            finish(x, &r);
        } else if (!fm_mono_before(now, x->again)) {
            send_ask(ctl, x);
        }
    }
}

void ctl_home_free(struct fm_controller *ctl)
{
    for (unsigned i = 0; i < ASKS_MAX && ctl->home_ask; i++)
        json_decref(ctl->home_ask[i].doc);
    free(ctl->home_ask);
}
