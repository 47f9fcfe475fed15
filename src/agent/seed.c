/* A new seed: see the header. Invariants: nothing is written that was not compared; `view` is
 * written by the last transaction. */
#include "agent/seed.h"

#include "base/assert.h"
#include "base/time.h"
#include "http/protocol.h"

#include <stdio.h>
#include <stdlib.h>

enum { TXN_WRITES = 48, REASON_MAX = 1024, AUDIT_ROOM = 16 * 1024 };
#define NUMBER_MAX ((UINT64_C(1) << 53) - 1) /* what a record can hold */

struct write {
    char key[FM_RECORD_KEY_ROOM];
    char *value;
    size_t n;
    uint64_t revision; /* that was read */
};

struct controller {
    const struct fm_conf_host *host;
    bool able, answers, frozen, unproven;
    uint64_t reads;
    int64_t lease_left_ms; /* the longest one, of contexts that are not frozen */
};

struct fm_seed {
    const struct fm_conf *conf;
    struct fm_roster *roster;
    struct fm_members members; /* of the file, for cells that are not in the copy */
    struct fm_seed_context *context;
    unsigned ncontexts;
    struct controller *controller;
    unsigned ncontrollers;
    struct fm_view_at view;
    struct fm_incarnation most;
    char unreadable[FM_RECORD_KEY_ROOM + FM_RECORD_WHY_ROOM];
    /* what comes of it */
    struct fm_view_record view_to;
    struct write *write;
    size_t nwrite;
    struct fm_coord_compare compare[TXN_WRITES + 1];
    struct fm_coord_write out[TXN_WRITES];
};

const char *fm_seed_rule_name(enum fm_seed_rule rule)
{
    static const char *const names[] = {
#define X(id, name, yields) name,
        FM_SEED_RULES(X)
#undef X
    };
    FM_ASSERT(rule < FM_SEED_RULE_COUNT);
    return names[rule];
}

bool fm_seed_rule_yields(enum fm_seed_rule rule)
{
    static const bool all[] = {
#define X(id, name, yields) yields,
        FM_SEED_RULES(X)
#undef X
    };
    FM_ASSERT(rule < FM_SEED_RULE_COUNT);
    return all[rule];
}

/* -------- beginning and end -------- */

static bool may_hold(const struct fm_conf *conf, const struct fm_conf_host *h)
{
    return h->roles & FM_ROLE_CONTROLLER && !conf->regions[h->region].witness;
}

/* As a controller counts them (agent/controller.c). */
static bool fill(struct fm_seed *s)
{
    for (size_t i = 0; i < s->conf->nregions; i++)
        if (fm_roster_add_region(s->roster, s->conf->regions[i].name) != (int)i)
            return false;
    for (size_t i = 0; i < s->conf->nhosts; i++) {
        const struct fm_conf_host *h = &s->conf->hosts[i];
        struct fm_agent_id id;
        if (may_hold(s->conf, h) && fm_roster_add_agent(s->roster, h->region, h->name, &id))
            fm_members_add(&s->members, id);
    }
    for (size_t i = 0; i < s->conf->ncontexts; i++) {
        const struct fm_conf_context *c = &s->conf->contexts[i];
        if (c->ncells == 0)
            continue;
        int number = fm_roster_add_context(s->roster, c->name, c->ncells);
        if (number < 0)
            return false;
        struct fm_seed_context *x = &s->context[s->ncontexts++];
        x->conf = c;
        x->number = (unsigned)number;
        fm_reseed_init(&x->seen, c->ncells);
    }
    return true;
}

struct fm_seed *fm_seed_new(const struct fm_conf *conf, struct fm_error *e)
{
    struct fm_seed *s = calloc(1, sizeof *s);
    if (s) {
        s->conf = conf;
        s->roster = fm_roster_new();
        s->context = calloc(conf->ncontexts + 1, sizeof *s->context);
        s->controller = calloc(conf->nhosts + 1, sizeof *s->controller);
    }
    if (!s || !s->roster || !s->context || !s->controller) {
        fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    } else if (!fill(s)) {
        fm_error_set(e, FM_ERR_LIMIT, "more regions or contexts with cells than can be counted");
    } else {
        return s;
    }
    fm_seed_free(s);
    return NULL;
}

void fm_seed_free(struct fm_seed *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->nwrite; i++)
        free(s->write[i].value);
    free(s->write);
    free(s->controller);
    free(s->context);
    fm_roster_free(s->roster);
    free(s);
}

const struct fm_roster *fm_seed_roster(const struct fm_seed *s)
{
    return s->roster;
}

/* -------- what is there -------- */

static struct fm_seed_context *context_of(struct fm_seed *s, unsigned number)
{
    unsigned i = 0;
    while (i < s->ncontexts && s->context[i].number != number)
        i++;
    FM_ASSERT(i < s->ncontexts);
    return &s->context[i];
}

static void put(struct fm_seed *s, const struct fm_write *w, struct fm_revision revision)
{
    struct fm_seed_context *c;
    switch ((enum fm_record_kind)w->key.kind) {
    case FM_RECORD_KEEPER: /* whoever was in office then waits as everybody does */
    case FM_RECORD_LEASE:
        return;
    case FM_RECORD_CELL:
        c = context_of(s, w->key.id.context);
        c->cell[w->key.id.cell].at = (struct fm_cell_at){revision, w->to.cell};
        fm_reseed_stored(&c->seen, w->key.id.cell, &w->to.cell);
        return;
    case FM_RECORD_BUDGET:
        context_of(s, w->key.id.context)->budget = (struct fm_budget_at){revision, w->to.budget};
        return;
    case FM_RECORD_VIEW:
        s->view = (struct fm_view_at){revision, w->to.view};
        return;
    case FM_RECORD_KIND_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

void fm_seed_take(struct fm_seed *s, const struct fm_coord_kv *kv)
{
    struct fm_write w;
    char why[FM_RECORD_WHY_ROOM];
    FM_ASSERT(kv->revision > 0 && !s->write);
    if (!fm_record_key_read(s->roster, kv->key, &w.key))
        return;
    if (fm_record_read(s->roster, kv->value, &w, why)) {
        put(s, &w, (struct fm_revision){kv->revision});
        return;
    }
    snprintf(s->unreadable, sizeof s->unreadable, "%.*s: %s", FM_STR_ARG(kv->key), why);
    fm_text_tame(s->unreadable);
}

static void hear(struct fm_seed *s, struct controller *k, const struct fm_said *said)
{
    k->answers = true;
    k->frozen = fm_said_is_frozen(said);
    k->unproven = fm_said_is_unproven(said);
    k->reads = said->reads;
    for (unsigned i = 0; i < said->marks.n; i++) {
        const struct fm_marks_context *m = &said->marks.context[i];
        int number = fm_roster_context(s->roster, fm_str_z(m->name));
        if (!said->context[i].frozen && said->context[i].lease_left_ms > k->lease_left_ms)
            k->lease_left_ms = said->context[i].lease_left_ms;
        if (m->marks.incarnation.n > s->most.n)
            s->most = m->marks.incarnation;
        if (number >= 0)
            fm_reseed_seen(&context_of(s, (unsigned)number)->seen, &m->marks);
    }
}

void fm_seed_hear(struct fm_seed *s, const struct fm_conf_host *host, const struct fm_said *said)
{
    FM_ASSERT(s->ncontrollers < s->conf->nhosts && !s->write);
    struct controller *k = &s->controller[s->ncontrollers++];
    *k = (struct controller){.host = host, .able = may_hold(s->conf, host)};
    if (said)
        hear(s, k, said);
}

/* -------- what stands against it -------- */

static struct fm_buf begin_text(char out[FM_SEED_TEXT_ROOM])
{
    memset(out, 0, FM_SEED_TEXT_ROOM);
    return fm_buf(out, FM_SEED_TEXT_ROOM - 1);
}

static struct fm_str region_name(const struct fm_seed *s, unsigned region)
{
    return s->conf->regions[region].name;
}

static bool region_answers(const struct fm_seed *s, unsigned region)
{
    for (unsigned i = 0; i < s->ncontrollers; i++)
        if (s->controller[i].host->region == region && s->controller[i].answers)
            return true;
    return false;
}

static bool is_unreachable(const struct fm_seed *s, struct fm_seed_refusal *out)
{
    struct fm_buf b = begin_text(out->evidence);
    for (unsigned r = 0; r < s->conf->nregions; r++) {
        bool able = false;
        for (unsigned i = 0; i < s->ncontrollers; i++)
            able |= s->controller[i].host->region == r && s->controller[i].able;
        if (able && !region_answers(s, r))
            fm_buf_printf(&b, "%s%.*s", b.n ? ", " : "no controller answers in ",
                          FM_STR_ARG(region_name(s, r)));
    }
    if (b.n == 0)
        return false;
    fm_buf_lit(&b, ": what that region has seen and held is not known");
    snprintf(out->remedy, sizeof out->remedy,
             "start one controller there, whose disk is whole; or override it if the region is "
             "lost: it then loses what it wrote and nobody else has, and when it returns it may "
             "have to be seeded once more");
    return true;
}

static bool is_in_two_stores(const struct fm_seed *s, uint64_t store, struct fm_seed_refusal *out)
{
    for (unsigned i = 0; i < s->ncontrollers; i++) {
        const struct controller *k = &s->controller[i];
        if (!k->answers || k->lease_left_ms == 0 || k->reads == store)
            continue;
        snprintf(out->evidence, sizeof out->evidence,
                 "%.*s renews its lease in another store than this one (%016llx, and this is "
                 "%016llx)",
                 FM_STR_ARG(k->host->name), (unsigned long long)k->reads,
                 (unsigned long long)store);
        snprintf(
            out->remedy, sizeof out->remedy,
            "stop the members of the store that was replaced, wait for a lease, and ask again");
        return true;
    }
    return false;
}

static bool is_not_frozen(const struct fm_seed *s, struct fm_seed_refusal *out)
{
    bool knows = false, frozen = false;
    for (unsigned i = 0; i < s->ncontrollers; i++) {
        knows |= s->controller[i].answers && !s->controller[i].unproven;
        frozen |= s->controller[i].frozen;
    }
    if (frozen || !knows)
        return false;
    for (unsigned c = 0; c < s->ncontexts; c++)
        for (unsigned i = 0; i < s->context[c].conf->ncells; i++)
            if (fm_reseed_is_behind(&s->context[c].seen, i))
                return false;
    snprintf(out->evidence, sizeof out->evidence,
             "no controller waits for a new seed, and the store shows all that they have seen");
    snprintf(out->remedy, sizeof out->remedy,
             "nothing has to be done; seeding anew would interrupt all commands for a lease");
    return true;
}

static bool is_holder_unknown(const struct fm_seed *s, struct fm_seed_refusal *out)
{
    for (unsigned c = 0; c < s->ncontexts; c++) {
        const struct fm_seed_context *x = &s->context[c];
        for (unsigned i = 0; i < x->conf->ncells; i++) {
            const struct fm_reseed_cell *cell = &x->seen.cell[i];
            if (cell->most.n == 0 || fm_reseed_is_sure(&x->seen, i))
                continue;
            struct fm_str older = cell->holder ? region_name(s, cell->holder - 1u)
                                               : region_name(s, x->conf->cell_home[i]);
            snprintf(out->evidence, sizeof out->evidence,
                     "%.*s/%u was held under epoch %llu, and nobody who answers knows by whom; the "
                     "newest that is known is %.*s, under epoch %llu",
                     FM_STR_ARG(x->conf->name), i, (unsigned long long)cell->most.n,
                     FM_STR_ARG(older), (unsigned long long)cell->known.n);
            snprintf(out->remedy, sizeof out->remedy,
                     "start the controllers that do not answer; or override it: what was written "
                     "under newer epochs elsewhere is then not there");
            return true;
        }
    }
    return false;
}

bool fm_seed_refuses(const struct fm_seed *s, enum fm_seed_rule rule, uint64_t store,
                     struct fm_seed_refusal *out)
{
    *out = (struct fm_seed_refusal){.evidence = ""};
    switch (rule) {
    case FM_SEED_UNREADABLE:
        snprintf(out->evidence, sizeof out->evidence, "%s", s->unreadable);
        snprintf(out->remedy, sizeof out->remedy,
                 "use a program and a configuration that know this record, or remove it");
        return s->unreadable[0] != 0;
    case FM_SEED_TWO_STORES:
        return is_in_two_stores(s, store, out);
    case FM_SEED_UNREACHABLE:
        return is_unreachable(s, out);
    case FM_SEED_NOT_FROZEN:
        return is_not_frozen(s, out);
    case FM_SEED_HOLDER_UNKNOWN:
        return is_holder_unknown(s, out);
    case FM_SEED_RULE_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

/* -------- what is written -------- */

static enum fm_err add_text(struct fm_seed *s, const char *key, uint64_t revision, const char *text,
                            size_t n, struct fm_error *e)
{
    struct write *w = &s->write[s->nwrite];
    *w = (struct write){.value = malloc(n), .n = n, .revision = revision};
    if (!w->value)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    memcpy(w->value, text, n);
    snprintf(w->key, sizeof w->key, "%s", key);
    s->nwrite++;
    return FM_ERR_OK;
}

static enum fm_err add(struct fm_seed *s, const struct fm_write *w, struct fm_revision revision,
                       struct fm_error *e)
{
    char key[FM_RECORD_KEY_ROOM], text[FM_RECORD_TEXT_MAX];
    struct fm_buf b = fm_buf(text, sizeof text);
    fm_record_key_write(s->roster, &w->key, key);
    fm_record_write(s->roster, w, &b);
    return add_text(s, key, revision.n, text, b.n, e);
}

static enum fm_err make_cell(struct fm_seed *s, struct fm_seed_context *c, unsigned i, bool margin,
                             struct fm_error *e)
{
    struct fm_seed_cell *cell = &c->cell[i];
    if (c->seen.cell[i].most.n == 0)
        return FM_ERR_OK; /* it was never written: its home writes it first */
    if (c->seen.cell[i].most.n > NUMBER_MAX - 2 * FM_RESEED_MARGIN)
        return fm_error_set(e, FM_ERR_LIMIT, "the epoch of %.*s/%u is too high",
                            FM_STR_ARG(c->conf->name), i);
    cell->writes = c->writes = true;
    cell->to = cell->at.r;
    if (cell->at.revision.n == 0)
        cell->to.members = s->members;
    fm_reseed_write_cell(&c->seen, i, (uint8_t)c->conf->cell_home[i], margin, &cell->to);
    struct fm_write w = {.key = {.kind = FM_RECORD_CELL, .id = {(uint16_t)c->number, (uint16_t)i}},
                         .to.cell = cell->to};
    return add(s, &w, cell->at.revision, e);
}

static enum fm_err make_context(struct fm_seed *s, struct fm_seed_context *c, bool margin,
                                struct fm_error *e)
{
    enum fm_err err = FM_ERR_OK;
    for (unsigned i = 0; i < c->conf->ncells && !err; i++)
        err = make_cell(s, c, i, margin, e);
    if (err || !c->writes)
        return err;
    c->budget_to = fm_reseed_budget(c->budget.r, (uint8_t)c->conf->failover.at_most);
    struct fm_write w = {.key = {.kind = FM_RECORD_BUDGET, .id = {(uint16_t)c->number, 0}},
                         .to.budget = c->budget_to};
    return add(s, &w, c->budget.revision, e);
}

static json_t *overridden(unsigned rules)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < FM_SEED_RULE_COUNT; i++)
        if (rules >> i & 1)
            json_array_append_new(list, json_string(fm_seed_rule_name((enum fm_seed_rule)i)));
    return list;
}

static json_t *silent(const struct fm_seed *s)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < s->ncontrollers; i++)
        if (!s->controller[i].answers)
            json_array_append_new(
                list, json_stringn(s->controller[i].host->name.p, s->controller[i].host->name.n));
    return list;
}

static enum fm_err make_audit(struct fm_seed *s, const struct fm_seed_who *who, struct fm_error *e)
{
    char key[FM_RECORD_KEY_ROOM], at[FM_RFC3339_LEN];
    fm_wall_format(at, who->wall_ns);
    snprintf(key, sizeof key, "reseed/%llu", (unsigned long long)s->view_to.incarnation.n);
    json_t *o = fm_protocol_stamp(json_pack("{s:s,s:s,s:s,s:o,s:o}", "by", who->by, "reason",
                                            who->reason, "at", at, "overridden",
                                            overridden(who->overridden), "silent", silent(s)));
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (!text)
        return fm_error_set(e, FM_ERR_INVALID, "the reason is no text in UTF-8");
    enum fm_err err = strlen(text) > AUDIT_ROOM ? fm_error_set(e, FM_ERR_LIMIT, "a text too long")
                                                : add_text(s, key, 0, text, strlen(text), e);
    free(text);
    return err;
}

/* Each controller has a disk of its own, and may be the only one that saw what it did. */
static bool is_whole(const struct fm_seed *s)
{
    bool whole = true;
    for (unsigned i = 0; i < s->ncontrollers; i++)
        whole &= s->controller[i].answers || !s->controller[i].able;
    return whole;
}

enum fm_err fm_seed_make(struct fm_seed *s, const struct fm_seed_who *who, struct fm_error *e)
{
    FM_ASSERT(!s->write && who->by && who->reason);
    size_t room = 2;
    for (unsigned i = 0; i < s->ncontexts; i++)
        room += s->context[i].conf->ncells + 1u;
    if (strlen(who->reason) > REASON_MAX)
        return fm_error_set(e, FM_ERR_LIMIT, "the reason is longer than %d bytes", REASON_MAX);
    if (fm_max_u64(s->most.n, s->view.r.incarnation.n) > NUMBER_MAX - 2 * FM_RESEED_MARGIN)
        return fm_error_set(e, FM_ERR_LIMIT, "the incarnation of the store is too high");
    s->write = calloc(room, sizeof *s->write);
    if (!s->write)
        return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    bool margin = !is_whole(s);
    enum fm_err err = FM_ERR_OK;
    for (unsigned i = 0; i < s->ncontexts && !err; i++)
        err = make_context(s, &s->context[i], margin, e);
    s->view_to = fm_reseed_view(s->view.r, s->most, margin);
    if (!err)
        err = make_audit(s, who, e);
    if (err)
        return err;
    struct fm_write w = {.key = {.kind = FM_RECORD_VIEW}, .to.view = s->view_to};
    err = add(s, &w, s->view.revision, e);
    FM_ASSERT(err || s->nwrite <= room);
    return err;
}

uint64_t fm_seed_incarnation(const struct fm_seed *s)
{
    FM_ASSERT(s->view_to.incarnation.n > s->most.n);
    return s->view_to.incarnation.n;
}

unsigned fm_seed_ncontexts(const struct fm_seed *s)
{
    return s->ncontexts;
}

const struct fm_seed_context *fm_seed_context(const struct fm_seed *s, unsigned i)
{
    FM_ASSERT(i < s->ncontexts);
    return &s->context[i];
}

bool fm_seed_txn(struct fm_seed *s, unsigned i, struct fm_coord_txn *out)
{
    FM_ASSERT(s->nwrite >= 2);
    /* from the end, so that the last one has `view` and the record of who, together */
    size_t ntxn = (s->nwrite + TXN_WRITES - 1) / TXN_WRITES;
    if (i >= ntxn)
        return false;
    size_t after = (ntxn - 1 - i) * TXN_WRITES, end = s->nwrite - after;
    size_t from = end > TXN_WRITES ? end - TXN_WRITES : 0;
    size_t n = 0, ncompare = 0;
    for (; from + n < end; n++) {
        const struct write *w = &s->write[from + n];
        struct fm_str key = fm_str_z(w->key);
        s->compare[ncompare++] = (struct fm_coord_compare){key, w->revision};
        s->out[n] = (struct fm_coord_write){.key = key, .value = fm_str(w->value, w->n)};
    }
    if (i + 1 < ntxn)
        s->compare[ncompare++] = (struct fm_coord_compare){FM_STR("view"), s->view.revision.n};
    *out = (struct fm_coord_txn){s->compare, ncompare, s->out, n};
    return true;
}

const struct fm_coord_write *fm_seed_proof(const struct fm_coord_txn *t)
{
    const struct fm_coord_write *proof = NULL;
    for (size_t i = 0; i < t->nwrite; i++) {
        bool last = fm_str_starts(t->write[i].key, FM_STR("reseed/"));
        if (last || (!proof && fm_str_starts(t->write[i].key, FM_STR("cell/"))))
            proof = &t->write[i];
    }
    FM_ASSERT(proof); /* a budget stands behind cells of its context */
    return proof;
}
