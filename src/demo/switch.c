/* The ledger is a PostgreSQL group: it is moved, taken over by force, and moved home. What was
 * acknowledged is compared with what is in the database, and with what was found in the log of the
 * old primary; what a person types, and is told, is shown. */
#include "demo/holders.h"
#include "demo/play.h"

#include "base/assert.h"
#include "http/fetch.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HOME = 0,
    APART_MS = 40, /* each way between regions: what is acknowledged is on its way so long */
    SLOW_FOR_MS = 1000,
    CUT_MS = 3000,
    AGAIN_MS = 500,
    TRIES_MAX = 60,
    LISTED_MS = 20000,
};

static unsigned other(const struct fm_demo *d, unsigned region)
{
    return (region + 1) % d->world.nregions;
}

/* The edge sees that, too: a region whose node was away a moment ago may answer no queries yet. */
static bool is_settled(struct fm_demo *d)
{
    return fm_stage_all_up(d) && fm_stage_group_is_whole(d);
}

static bool wait_until(struct fm_demo *d, struct play *p, bool (*until)(struct fm_demo *d))
{
    if (!fm_stage_wait(d, FM_STAGE_RETURN_MS, until))
        return false;
    bool whole = fm_stage_group_is_whole(d);
    p->good &= whole;
    if (!whole)
        fm_demo_view_say(&d->view, "not every node of the ledger follows");
    return true;
}

bool fm_switch_wait_whole(struct fm_demo *d, struct play *p)
{
    return wait_until(d, p, fm_stage_group_is_whole);
}

/* -------- what was lost -------- */

static json_t *ask(struct fm_demo *d, unsigned region, const char *const *words)
{
    double took;
    const char *printed = NULL;
    return fm_operate(d, region, words, &took, &printed) ? json_loads(printed, 0, NULL) : NULL;
}

/* Transactions that were found in logs of old primaries; -1: not known of all of them. */
static json_int_t recovered(struct fm_demo *d, unsigned region)
{
    static const char *const words[] = {"loss", "list", "ledger", "-o", "json", NULL};
    json_t *doc = ask(d, region, words), *item;
    json_int_t n = json_is_array(json_object_get(doc, "items")) ? 0 : -1;
    size_t i;
    json_array_foreach(json_object_get(doc, "items"), i, item)
    {
        const char *found = json_string_value(json_object_get(item, "found"));
        bool known = found && (strcmp(found, "counted") == 0 || strcmp(found, "void") == 0);
        if (n >= 0)
            n = known ? n + json_integer_value(json_object_get(item, "transactions")) : -1;
    }
    json_decref(doc);
    return n;
}

static void take_row(struct fm_demo *d, const json_t *change, unsigned char *found)
{
    char line[64];
    const char *relation = json_string_value(json_object_get(change, "relation"));
    const char *key = json_string_value(json_object_get(json_object_get(change, "key"), "key"));
    if (!relation || strcmp(relation, "public.debits") != 0 || !key)
        return;
    snprintf(line, sizeof line, "%s 1", key);
    fm_measure_keys(d->load, d->last, fm_str_z(line), found);
}

/* The debits whose rows were read out of it. False where they are not all known. */
static bool take_rows(struct fm_demo *d, unsigned region, const char *item, unsigned char *found)
{
    const char *const words[] = {"loss", "show", item, "-o", "json", NULL};
    json_t *doc = ask(d, region, words), *t, *c;
    const char *known = json_string_value(json_object_get(json_object_get(doc, "rows"), "known"));
    bool all = known && strcmp(known, "all") == 0;
    size_t i, k;
    json_array_foreach(json_object_get(doc, "decoded"), i, t)
    {
        json_array_foreach(json_object_get(t, "changes"), k, c)
        {
            take_row(d, c, found);
        }
    }
    json_decref(doc);
    return all;
}

static bool take_all_rows(struct fm_demo *d, unsigned region, unsigned char *found)
{
    static const char *const words[] = {"loss", "list", "ledger", "-o", "json", NULL};
    json_t *doc = ask(d, region, words), *item;
    bool all = json_is_array(json_object_get(doc, "items"));
    size_t i;
    json_array_foreach(json_object_get(doc, "items"), i, item)
    {
        const char *id = json_string_value(json_object_get(item, "item"));
        if (json_integer_value(json_object_get(item, "transactions")) > 0)
            all &= id && take_rows(d, region, id, found);
    }
    json_decref(doc);
    return all;
}

/* What earlier scenarios lost is not this one's. */
bool fm_switch_begin(struct fm_demo *d, struct play *p)
{
    if (!wait_until(d, p, is_settled))
        return false;
    p->recovered_before = recovered(d, p->region);
    return !d->interrupted;
}

/* -------- a planned move -------- */

bool fm_switch_over(struct fm_demo *d, struct play *p)
{
    json_object_set_new(p->more, "moves", json_array());
    return fm_switch_begin(d, p) && fm_play_move(d, p, "ledger", other(d, p->region), NULL) &&
           wait_until(d, p, is_settled) && fm_play_move(d, p, "ledger", p->region, NULL) &&
           fm_switch_wait_whole(d, p);
}

/* -------- by force -------- */

static bool show_bound(struct fm_demo *d, struct play *p)
{
    unsigned to = other(d, p->region);
    const char *const words[] = {
        "quote", fm_stage_exclusive(d), "--to", d->world.region[to].name, "-o", "json", NULL};
    json_t *doc = ask(d, p->region, words);
    if (d->interrupted) {
        json_decref(doc);
        return false;
    }
    json_t *bytes = json_object_get(doc, "loss_bytes");
    json_t *transactions = json_object_get(doc, "loss_transactions");
    const char *kind = json_string_value(json_object_get(doc, "bound_kind"));
    p->bounded = kind && strcmp(kind, "enforced") == 0 && json_is_integer(transactions);
    p->bound_transactions = json_integer_value(transactions);
    p->bound_bytes = json_is_integer(bytes) ? json_integer_value(bytes) : -1;
    fm_demo_view_say(&d->view, "it would lose at most %lld bytes, %lld transactions (%s)",
                     (long long)json_integer_value(bytes), (long long)p->bound_transactions,
                     kind ? kind : "not known");
    json_object_set_new(
        p->more, "bound",
        json_pack("{s:O?,s:O?,s:s?}", "bytes", bytes, "transactions", transactions, "kind", kind));
    json_decref(doc);
    return true;
}

bool fm_switch_kill(struct fm_demo *d, struct play *p)
{
    if (!fm_switch_begin(d, p))
        return false;
    for (unsigned i = 0; i < LISTED_MS / AGAIN_MS && !fm_stage_group_keeps_rows(d); i++)
        if (!fm_stage_wait(d, AGAIN_MS, NULL))
            return false;
    fm_world_slow(&d->world, p->region, APART_MS);
    if (!fm_stage_wait(d, SLOW_FOR_MS, NULL) || !show_bound(d, p))
        return false;
    p->began = fm_mono_now();
    fm_demo_view_say(&d->view, ">>> %s is killed", p->name);
    fm_world_cut_off(&d->world, p->region); /* what is on its way dies with it */
    fm_world_kill(&d->world, p->region);
    fm_world_kill_postgres(&d->world, p->region);
    return true;
}

bool fm_switch_rejoin(struct fm_demo *d, struct play *p)
{
    if (!fm_switch_wait_whole(d, p))
        return false;
    double took = (double)fm_mono_sub_ns(fm_mono_now(), p->healed) / 1e6;
    json_object_set_new(p->more, "rejoined_ms", fm_report_ms(p->good ? took : -1));
    fm_demo_view_say(&d->view, "%s: its PostgreSQL follows the new primary %.1f s after the start",
                     p->name, took / 1e3);
    for (unsigned i = 0; i < LISTED_MS / AGAIN_MS && recovered(d, fm_stage_writer(d)) < 0; i++)
        if (!fm_stage_wait(d, AGAIN_MS, NULL))
            return false;
    return !d->interrupted;
}

/* -------- home again -------- */

/* The last thing that it printed, without what explains it in lines that are set in. */
static void say_why(const char *printed, char out[FM_VIEW_LINE_MAX])
{
    size_t from = strlen(printed), n;
    do {
        for (n = from; n > 0 && printed[n - 1] == '\n';)
            n--;
        for (from = n; from > 0 && printed[from - 1] != '\n';)
            from--;
    } while (from > 0 && printed[from] == ' ');
    snprintf(out, FM_VIEW_LINE_MAX, "%.*s", (int)(n - from), printed + from);
}

/* `fulmar failback`, again and again: what it was refused for, until it was not. */
static bool fail_back(struct fm_demo *d, struct play *p, unsigned from, unsigned most)
{
    static const char *const words[] = {"failback", "ledger", "--reason", "demonstration", NULL};
    json_t *refused = json_object_get(p->more, "refused");
    const char *printed = NULL;
    for (unsigned i = 0; i < most; i++) {
        double took = -1;
        int code = fm_operate_code(d, from, words, &took, &printed);
        if (d->interrupted)
            return false;
        if (code == 0) {
            json_object_set_new(p->more, "failed_back", json_true());
            json_object_set_new(p->more, "failback_took_ms", fm_report_ms(took));
            return true;
        }
        char why[FM_VIEW_LINE_MAX];
        say_why(printed, why);
        fm_demo_view_say(&d->view, "%s", why);
        json_t *last = json_array_get(refused, json_array_size(refused) - 1);
        if (code == FM_OPERATE_REFUSED && (!last || strcmp(json_string_value(last), why) != 0))
            json_array_append_new(refused, json_string(why));
        if (!fm_stage_wait(d, AGAIN_MS, NULL))
            return false;
    }
    return true;
}

bool fm_switch_back(struct fm_demo *d, struct play *p)
{
    unsigned away = p->region == HOME ? other(d, HOME) : p->region;
    json_object_set_new(p->more, "moves", json_array());
    json_object_set_new(p->more, "refused", json_array());
    json_object_set_new(p->more, "failed_back", json_false());
    bool away_already = p->region != HOME;
    if (!fm_switch_begin(d, p) || (!away_already && (!fm_play_move(d, p, "ledger", away, NULL) ||
                                                     !wait_until(d, p, is_settled))))
        return false;
    fm_world_cut_data(&d->world);
    fm_demo_view_say(&d->view, "no node of the ledger hears another one any more");
    if (!fm_stage_wait(d, CUT_MS, NULL) || !fail_back(d, p, away, 1))
        return false;
    bool early = json_is_true(json_object_get(p->more, "failed_back"));
    fm_world_mend(&d->world);
    fm_demo_view_say(&d->view, "they do again");
    if (!early && !fail_back(d, p, away, TRIES_MAX))
        return false;
    fm_stage_refresh(d);
    const char *by = fm_holders_of(d->status, "ledger", 0, NULL);
    bool home = by && strcmp(by, d->world.region[HOME].name) == 0;
    bool went = json_is_true(json_object_get(p->more, "failed_back"));
    p->good &= home && went && !early;
    json_object_set_new(p->more, "is_home", json_boolean(home));
    return fm_switch_wait_whole(d, p);
}

/* -------- the truth -------- */

/* Nobody knows its outcome by what he was told: it was not acknowledged, or was under way when the
 * region died, and may have had an effect there as well. */
static bool is_unknown(const struct fm_load_record *r, const struct play *p)
{
    bool ok = atomic_load_explicit(&r->outcome, memory_order_acquire) == FM_LOAD_OK;
    return !ok || (r->due_ns <= p->began.ns && r->done_ns >= p->began.ns);
}

static size_t count_unknown(const struct fm_demo *d, const struct play *p)
{
    const struct fm_load_record *r = fm_load_records(d->load);
    size_t n = 0;
    for (size_t i = d->first; i < d->last; i++)
        n += r[i].debit && is_unknown(&r[i], p);
    return n;
}

/* Lost <= recovered <= lost or unknown, one by one. */
static bool rows_agree(const struct fm_demo *d, const struct play *p, const unsigned char *found)
{
    const struct fm_load_record *r = fm_load_records(d->load);
    bool agree = true;
    for (size_t i = d->first; i < d->last; i++) {
        bool lost = r[i].debit && !is_unknown(&r[i], p) && p->effects[i] == 0;
        agree &= !lost || found[i];
        agree &= !found[i] || lost || is_unknown(&r[i], p);
    }
    return agree;
}

/* By their keys, where all rows of what was lost are known: null where they are not. */
static json_t *judge_rows(struct fm_demo *d, struct play *p)
{
    unsigned char *found = calloc(d->last + 1, 1);
    FM_ASSERT(found && p->effects);
    bool known = take_all_rows(d, fm_stage_writer(d), found);
    bool agree = known && rows_agree(d, p, found);
    free(found);
    p->good &= agree || !known;
    return known ? json_boolean(agree) : json_null();
}

void fm_switch_judge(struct fm_demo *d, struct play *p)
{
    const struct fm_measure *m = p->measure;
    json_int_t now = recovered(d, fm_stage_writer(d));
    bool known = now >= 0 && p->recovered_before >= 0;
    json_int_t found = known ? now - p->recovered_before : 0;
    size_t unsure = count_unknown(d, p), all = m->debits_there + (size_t)found;
    bool balances = fm_stage_group_balances(d);
    bool within = m->debits_missing == 0 ||
                  (p->bounded && (json_int_t)m->debits_missing <= p->bound_transactions);
    bool holds = known && m->debits_acknowledged <= all && all <= m->debits_acknowledged + unsure;
    FM_ASSERT(m && found >= 0);
    p->good &= holds && balances && within && m->debits_there > 0;
    json_object_set_new(p->more, "ledger",
                        json_pack("{s:I,s:I,s:o,s:I,s:I,s:b,s:b,s:b,s:o}", "acknowledged",
                                  (json_int_t)m->debits_acknowledged, "in_database",
                                  (json_int_t)m->debits_there, "recovered",
                                  known ? json_integer(found) : json_null(), "unknown",
                                  (json_int_t)unsure, "lost", (json_int_t)m->debits_missing,
                                  "within_bound", (int)within, "balances", (int)balances, "holds",
                                  (int)holds, "rows_agree", judge_rows(d, p)));
    fm_demo_view_say(&d->view,
                     "debits: %zu acknowledged <= %zu in the database + %lld recovered <= %zu "
                     "acknowledged + %zu unknown: %s",
                     m->debits_acknowledged, m->debits_there, (long long)found,
                     m->debits_acknowledged, unsure, holds ? "yes" : "NO");
}
