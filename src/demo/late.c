/* Commands that come too late: straight to a region that was taken over while it could not know,
 * as what an edge or an instance had in hand would come. Blocking and one at a time; nothing here
 * is measured, only counted. */
#include "demo/stage.h"

#include "base/assert.h"
#include "base/buf.h"
#include "http/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { LATE_COMMANDS = 10, ANSWER_MAX = 4096, PATIENCE_MS = 2000, STATUS_MS = 500 };

/* Sends it and reads until the other side closes, or as much as is wanted. False: no answer. */
static bool exchange(uint16_t port, struct fm_str text, char *answer, size_t cap)
{
    struct fm_addr to = fm_world_loopback(port);
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    size_t n = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool ok = setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0 &&
              connect(fd, &to.sa, to.len) == 0 &&
              send(fd, text.p, text.n, MSG_NOSIGNAL) == (ssize_t)text.n;
    while (ok && n < cap - 1) {
        ssize_t got = recv(fd, answer + n, cap - 1 - n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    close(fd);
    answer[n] = 0;
    return n > 0;
}

struct tally {
    unsigned sent, refused, accepted;
    char why[64]; /* of the last refusal */
};

/* "HTTP/1.1 421 ...": the number. */
static unsigned status_of(const char *answer)
{
    uint64_t n;
    struct fm_str rest, head = fm_str_z(answer);
    (void)fm_str_cut(head, ' ', &rest);
    struct fm_str number = fm_str_cut(rest, ' ', &rest);
    return number.n == 3 && fm_str_u64(number, &n) ? (unsigned)n : 0;
}

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
    if (!exchange(port, fm_buf_str(&b), answer, sizeof answer)) {
        t->refused++; /* the connection was closed unread */
        snprintf(t->why, sizeof t->why, "closed");
        return;
    }
    unsigned status = status_of(answer);
    const char *problem = strstr(answer, "Fulmar-Problem: ");
    if (status >= 200 && status < 300) {
        t->accepted++;
        return;
    }
    t->refused++;
    if (problem)
        snprintf(t->why, sizeof t->why, "%u %.*s", status, (int)strcspn(problem + 16, "\r\n"),
                 problem + 16);
    else
        snprintf(t->why, sizeof t->why, "%u", status);
}

static json_t *tally_json(const struct tally *t, const char *rule)
{
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
