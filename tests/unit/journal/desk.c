/* See the header. */
#include "desk.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void desk_open(struct desk *d, const char *vfs)
{
    memset(d, 0, sizeof *d);
    net_open(&d->net, 16 * 1024, 64);
    struct fm_error e;
    assert_int_equal(fm_mailbox_open(&d->box, &d->net.loop, d, &e), FM_ERR_OK);
    snprintf(d->dir, sizeof d->dir, "%s/fulmar-journal-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(d->dir));
    snprintf(d->path, sizeof d->path, "%s/journal.db", d->dir);
    d->o = (struct fm_journal_options){.path = d->path,
                                       .service = "bank",
                                       .vfs = vfs,
                                       .retention_ms = 3600 * 1000,
                                       .calls_max = 1000,
                                       .answer_max = 4096,
                                       .bytes_max = UINT64_C(1) << 30,
                                       .queue_max = 1000,
                                       .queue_bytes_max = 1 << 20};
}

void desk_start(struct desk *d)
{
    struct fm_error e;
    assert_null(d->j);
    d->j = fm_journal_open(&d->o, &e);
    if (!d->j)
        fail_msg("%s", e.msg);
}

void desk_stop(struct desk *d)
{
    fm_journal_close(d->j);
    d->j = NULL;
}

void desk_restart(struct desk *d)
{
    desk_stop(d);
    desk_start(d);
}

void desk_close(struct desk *d)
{
    desk_stop(d);
    fm_mailbox_close(&d->box);
    net_close(&d->net);
    DIR *dir = opendir(d->dir);
    assert_non_null(dir);
    for (struct dirent *f; (f = readdir(dir));) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", d->dir, f->d_name);
        if (f->d_name[0] != '.')
            assert_int_equal(unlink(path), 0);
    }
    closedir(dir);
    assert_int_equal(rmdir(d->dir), 0);
}

/* -------- calls -------- */

static void told(struct fm_journal_call *c)
{
    assert_false(c->busy);
}

struct fm_journal_call desk_call(struct desk *d, enum fm_journal_op op)
{
    return (struct fm_journal_call){.to = &d->box, .done = told, .op = op};
}

enum fm_err desk_do(struct desk *d, struct fm_journal_call *c)
{
    enum fm_err err = fm_journal_submit(d->j, c);
    if (err)
        return err;
    NET_UNTIL(&d->net, !c->busy);
    return c->err;
}

struct fm_idem_hash desk_hash(const char *request)
{
    struct fm_idem_hash h = {{0}};
    memcpy(h.b, request, strlen(request));
    return h;
}

struct fm_journal_call desk_command(struct desk *d, const char *key, const char *request)
{
    struct fm_journal_call c = desk_call(d, FM_JOURNAL_BEGIN);
    c.command = (struct fm_journal_command){
        .context = FM_STR("ledger"),
        .facts = {.need = FM_IDEM_REQUIRED, .key = fm_str_z(key), .epoch = 7},
        .hash = desk_hash(request),
        .cell = 3};
    return c;
}

struct fm_idem_decision desk_begin(struct desk *d, const char *key, const char *request,
                                   uint64_t *seq)
{
    struct fm_journal_call c = desk_command(d, key, request);
    assert_int_equal(desk_do(d, &c), FM_ERR_OK);
    if (seq)
        *seq = c.seq;
    fm_journal_forget(&c);
    return c.decision;
}

enum fm_err desk_done(struct desk *d, uint64_t seq, uint16_t status, const char *body)
{
    struct fm_journal_call c = desk_call(d, FM_JOURNAL_OUTCOME);
    c.seq = seq;
    c.outcome.state = FM_IDEM_DONE;
    c.outcome.answer = (struct fm_journal_answer){
        .status = status, .kept = true, .head = FM_STR("A: b\r\n"), .body = fm_str_z(body)};
    return desk_do(d, &c);
}

enum fm_err desk_unknown(struct desk *d, uint64_t seq)
{
    struct fm_journal_call c = desk_call(d, FM_JOURNAL_OUTCOME);
    c.seq = seq;
    c.outcome.state = FM_IDEM_UNKNOWN;
    return desk_do(d, &c);
}

uint64_t desk_whole(struct desk *d, const char *key, uint16_t status, const char *body)
{
    uint64_t seq;
    assert_situation(desk_begin(d, key, key, &seq), FM_IDEM_FIRST);
    assert_int_equal(desk_done(d, seq, status, body), FM_ERR_OK);
    return seq;
}

void desk_replays(struct desk *d, const char *key, const char *request, uint16_t status,
                  const char *body)
{
    struct fm_journal_call c = desk_command(d, key, request);
    assert_int_equal(desk_do(d, &c), FM_ERR_OK);
    assert_int_equal(c.decision.action, FM_IDEM_REPLAY);
    assert_int_equal(c.answer.status, status);
    assert_str(c.answer.head, "A: b\r\n");
    assert_str(c.answer.body, body);
    fm_journal_forget(&c);
}
