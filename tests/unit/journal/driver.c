/* See the header. */
#include "driver.h"

#include "base/assert.h"
#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>

/* -------- what command n is -------- */

struct fm_str driver_context(uint64_t n)
{
    static const char *const context[DRIVER_CONTEXTS] = {"ledger", "cards", "profile"};
    return fm_str_z(context[n % DRIVER_CONTEXTS]);
}

uint32_t driver_cell(uint64_t n)
{
    return (uint32_t)(n % 64);
}

void driver_key(const char *prefix, uint64_t n, char out[DRIVER_KEY_MAX])
{
    snprintf(out, DRIVER_KEY_MAX, "%s-%llu", prefix, (unsigned long long)n);
}

bool driver_number(const char *prefix, struct fm_str key, uint64_t *n)
{
    struct fm_str p = fm_str_z(prefix);
    return fm_str_starts(key, p) && key.n > p.n + 1 && key.p[p.n] == '-' &&
           fm_str_u64(fm_str(key.p + p.n + 1, key.n - p.n - 1), n);
}

struct fm_idem_hash driver_hash(uint64_t n)
{
    struct fm_idem_hash h;
    for (unsigned i = 0; i < FM_IDEM_HASH_LEN; i += 8) {
        uint64_t v = fm_mix64(n * 4 + i / 8 + 1);
        memcpy(h.b + i, &v, sizeof v);
    }
    return h;
}

enum fm_idem_known driver_state(uint64_t n)
{
    return n % 16 == 15 ? FM_IDEM_UNKNOWN : FM_IDEM_DONE;
}

uint16_t driver_status(uint64_t n)
{
    return (uint16_t)(200 + n % 300);
}

void driver_body(uint64_t n, char *out, size_t size)
{
    char text[32];
    size_t len = (size_t)snprintf(text, sizeof text, "answer %llu. ", (unsigned long long)n);
    for (size_t at = 0; at < size; at += len)
        memcpy(out + at, text, fm_min_size(len, size - at));
}

static bool is_body_of(uint64_t n, struct fm_str body)
{
    char *expected = malloc(body.n + 1);
    FM_ASSERT(expected);
    driver_body(n, expected, body.n);
    bool same = body.n == 0 || memcmp(expected, body.p, body.n) == 0;
    free(expected);
    return same;
}

bool driver_is_plausible(const char *prefix, const struct fm_journal_entry *e)
{
    uint64_t n;
    struct fm_idem_hash hash;
    if (!driver_number(prefix, e->key, &n) || !fm_str_eq(e->context, driver_context(n)))
        return false;
    hash = driver_hash(n);
    if (memcmp(hash.b, e->hash.b, sizeof hash.b) != 0 || e->cell != driver_cell(n) ||
        e->epoch != n + 1)
        return false;
    if (e->state != FM_IDEM_DONE)
        return e->answer.status == 0 && !e->answer.kept;
    return driver_state(n) == FM_IDEM_DONE && e->answer.status == driver_status(n) &&
           (!e->answer.kept ||
            (fm_str_eqz(e->answer.head, "X: y\r\n") && is_body_of(n, e->answer.body)));
}

/* -------- the driver -------- */

static void tell(struct driver *d, enum driver_event what, const struct driver_command *c)
{
    if (d->o.event)
        d->o.event(d->o.user, what, c);
}

static void begin_some(struct driver *d);

static void over(struct driver_command *c)
{
    struct driver *d = c->d;
    fm_journal_forget(&c->call);
    d->ended++;
    fm_list_push_back(&d->spare, &c->node);
}

static void outcome_done(struct fm_journal_call *call)
{
    struct driver_command *c = fm_container_of(call, struct driver_command, call);
    struct driver *d = c->d;
    tell(d, call->err ? DRIVER_LOST : DRIVER_OUTCOME, c);
    if (d->o.strict)
        d->clients--;
    over(c);
    begin_some(d);
}

static void execute(struct driver_command *c)
{
    struct driver *d = c->d;
    struct fm_journal_call *call = &c->call;
    tell(d, DRIVER_INTENT, c);
    if (!d->o.strict)
        d->clients--; /* the answer is on its way */
    call->op = FM_JOURNAL_OUTCOME;
    call->done = outcome_done;
    call->outcome.state = driver_state(c->n);
    driver_body(c->n, c->body, d->o.body);
    call->outcome.answer = (struct fm_journal_answer){.status = driver_status(c->n),
                                                      .kept = true,
                                                      .head = FM_STR("X: y\r\n"),
                                                      .body = fm_str(c->body, d->o.body)};
    if (fm_journal_submit(d->j, call) == FM_ERR_OK)
        return;
    tell(d, DRIVER_LOST, c);
    if (d->o.strict)
        d->clients--;
    over(c);
}

static void begin_done(struct fm_journal_call *call)
{
    struct driver_command *c = fm_container_of(call, struct driver_command, call);
    struct driver *d = c->d;
    if (call->err == FM_ERR_OK && call->decision.action == FM_IDEM_RECORD) {
        execute(c);
    } else {
        tell(d, DRIVER_REFUSED, c);
        d->clients--;
        over(c);
    }
    begin_some(d);
}

static void begin(struct driver *d, struct driver_command *c, uint64_t n)
{
    struct fm_journal_call *call = &c->call;
    c->n = n;
    c->began = fm_mono_now();
    driver_key(d->o.prefix, n, c->key);
    *call = (struct fm_journal_call){
        .to = &d->box,
        .done = begin_done,
        .op = FM_JOURNAL_BEGIN,
        .command = {.context = driver_context(n),
                    .facts = {.need = FM_IDEM_REQUIRED, .key = fm_str_z(c->key), .epoch = n + 1},
                    .hash = driver_hash(n),
                    .cell = driver_cell(n)}};
    d->clients++;
    if (fm_journal_submit(d->j, call) == FM_ERR_OK)
        return;
    tell(d, DRIVER_REFUSED, c);
    d->clients--;
    over(c);
}

static void begin_some(struct driver *d)
{
    while (!d->stopping && d->clients < d->o.in_flight && d->begun < d->o.count &&
           !fm_list_empty(&d->spare)) {
        struct driver_command *c = fm_list_first(&d->spare, struct driver_command, node);
        fm_list_remove(&c->node);
        begin(d, c, d->o.first + d->begun++);
    }
}

enum fm_err driver_open(struct driver *d, struct fm_loop *l, struct fm_journal *j,
                        const struct driver_options *o, struct fm_error *e)
{
    *d = (struct driver){.o = *o, .j = j};
    unsigned slots = 2 * o->in_flight;
    d->command = calloc(slots, sizeof *d->command);
    if (!d->command)
        return fm_error_set(e, FM_ERR_MEMORY, "no memory for commands");
    fm_list_init(&d->spare);
    for (unsigned i = 0; i < slots; i++) {
        d->command[i].d = d;
        d->command[i].body = malloc(o->body + 1);
        FM_ASSERT(d->command[i].body);
        fm_list_init(&d->command[i].node);
        fm_list_push_back(&d->spare, &d->command[i].node);
    }
    return fm_mailbox_open(&d->box, l, d, e);
}

void driver_start(struct driver *d)
{
    begin_some(d);
}

void driver_stop(struct driver *d)
{
    d->stopping = true;
}

bool driver_is_over(const struct driver *d)
{
    return d->ended == d->begun && (d->stopping || d->begun == d->o.count);
}

void driver_close(struct driver *d)
{
    FM_ASSERT(d->ended == d->begun);
    fm_mailbox_close(&d->box);
    for (unsigned i = 0; i < 2 * d->o.in_flight; i++)
        free(d->command[i].body);
    free(d->command);
}
