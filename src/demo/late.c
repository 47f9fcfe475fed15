/* Commands that come too late: straight to a region that was taken over while it could not know,
 * as what an edge or an instance had in hand would come. Blocking and one at a time; nothing here
 * is measured, only counted. */
#include "demo/stage.h"

#include "base/assert.h"
#include "base/buf.h"
#include "http/fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LATE_COMMANDS = 10, ANSWER_MAX = 4096, STATUS_MS = 500 };

struct tally {
    unsigned sent, refused;
    char why[64]; /* of the last refusal */
};

/* Their keys are none of the load generator's: one that were applied would be found as missing
 * from no list, so what is accepted is counted here. */
static void send_late(uint16_t port, const char *said, uint32_t number, struct tally *t)
{
    char text[512], answer[ANSWER_MAX];
    struct fm_buf b = fm_buf(text, sizeof text);
    fm_buf_printf(&b,
                  "POST /ledger/acc-late/debit?amount=1 HTTP/1.1\r\nHost: bank.example\r\n"
                  "Idempotency-Key: late-%lld-%u\r\nFulmar-Authority: %s\r\n"
                  "Content-Length: 0\r\nConnection: close\r\n\r\n",
                  (long long)fm_mono_now().ns, number, said);
    FM_ASSERT(!b.full);
    t->sent++;
    unsigned status = fm_ask(port, fm_buf_str(&b), answer, sizeof answer);
    if (status >= 200 && status < 300)
        return;
    char problem[32];
    fm_ask_header(answer, "Fulmar-Problem: ", problem, sizeof problem);
    t->refused++;
    if (status)
        snprintf(t->why, sizeof t->why, "%u%s%s", status, problem[0] ? " " : "", problem);
    else
        snprintf(t->why, sizeof t->why, "closed unread");
}

static json_t *tally_json(const struct tally *t, const char *rule)
{
    FM_ASSERT(t->refused <= t->sent);
    return json_pack("{s:i,s:i,s:s,s:s}", "sent", (int)t->sent, "refused", (int)t->refused,
                     "answer", t->why, "rule", rule);
}

json_t *fm_late_commands(const struct fm_demo *d, unsigned region, const char *said,
                         bool *all_refused)
{
    const struct fm_world_region *x = &d->world.region[region];
    struct tally gate = {0}, app = {0};
    FM_ASSERT(region < d->world.nregions && strlen(said) < 64);
    for (uint32_t i = 0; i < LATE_COMMANDS; i++) {
        send_late(x->gate, said, i, &gate);
        send_late(x->app[i % FM_WORLD_APPS], said, i, &app);
    }
    *all_refused = gate.refused == gate.sent && app.refused == app.sent;
    return json_pack("{s:s,s:o,s:o}", "authority", said, "at_gate",
                     tally_json(&gate, "a gate acts under a live lease only"), "at_application",
                     tally_json(&app, "an epoch older than the row in the transaction changes "
                                      "nothing"));
}

int64_t fm_late_stalls(const struct fm_demo *d, unsigned region)
{
    FM_ASSERT(region < d->world.nregions);
    struct fm_addr at = fm_world_loopback(d->world.region[region].admin);
    struct fm_fetched got;
    int64_t n = -1;
    if (fm_fetch(&at, "/status", STATUS_MS, &got, NULL))
        return n;
    json_t *doc = json_loadb(got.body ? got.body : "", got.n, 0, NULL);
    const json_t *frozen = json_object_get(json_object_get(doc, "totals"), "frozen_total");
    if (json_is_integer(frozen))
        n = json_integer_value(frozen);
    json_decref(doc);
    free(got.body);
    return n;
}
