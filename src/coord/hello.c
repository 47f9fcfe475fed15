/* Making an endpoint trusted: log in, then read the stamp, linearizably; see client.h. Keeps the
 * invariant that `checked` is only set by an answer of the current endpoint that shows the stamp of
 * our service and of the incarnation that we know. */
#include "coord/client.h"

#include "base/assert.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rand.h"

#include <stdlib.h>

enum { PASSWORD_MAX = 1024, LOGIN_ROOM = 16 * 1024 };

static const struct fm_http_link_ops hello_ops;

static void post(struct fm_coord *c, enum fm_coord_step step, const char *path, char *body,
                 size_t n)
{
    FM_ASSERT(body && n > 0 && !c->hello.link.busy && c->place[c->at].known);
    struct fm_coord_hello *h = &c->hello;
    struct fm_mono now = fm_loop_now(c->loop);
    struct fm_error e = {0};
    struct fm_http_ask p = fm_coord_ask_of(c, c->at);
    p.target = path;
    p.token = step == FM_COORD_STEP_LOGIN ? NULL : c->token;
    p.body = body;
    p.body_n = n;
    p.connect = fm_mono_add_ms(now, c->config.connect_ms);
    p.deadline = fm_mono_add_ms(now, c->config.attempt_ms);
    h->step = step;
    h->place = c->at;
    h->floor = c->revision;
    bool reused = h->link.open;
    if (fm_http_link_ask(&h->link, c->loop, &hello_ops, &p, &e) && !reused)
        fm_coord_leave(c, c->at, e.msg);
}

/* -------- the steps -------- */

/* Read anew at each login, so that a changed password needs no restart. */
static bool read_password(struct fm_coord *c, char *out, size_t cap, size_t *n)
{
    *n = 0;
    if (!c->password_file)
        return true;
    return fm_file_secret(c->password_file, out, cap, n, &c->last) == FM_ERR_OK;
}

static void denied(struct fm_coord *c, const char *why)
{
    FM_ASSERT(why && why[0]);
    char msg[256];
    struct fm_buf b = fm_buf(msg, sizeof msg - 1);
    fm_buf_printf(&b, "coordination lets nobody in: %.180s", why);
    msg[b.n] = 0;
    fm_coord_fail_all(c, FM_COORD_WHY_PERMISSION, msg);
}

static void log_in(struct fm_coord *c)
{
    FM_ASSERT(c->login && !c->token[0]);
    char password[PASSWORD_MAX];
    size_t n;
    if (!read_password(c, password, sizeof password, &n)) {
        char why[sizeof c->last.msg];
        memcpy(why, c->last.msg, sizeof why);
        denied(c, why[0] ? why : "the password cannot be read");
        fm_coord_leave(c, c->at, "the password cannot be read");
        return;
    }
    char *body = malloc(LOGIN_ROOM);
    if (!body) {
        fm_coord_kick(c, 100);
        return;
    }
    struct fm_buf b = fm_buf(body, LOGIN_ROOM);
    fm_coord_wire_login(&b, fm_str_z(c->login), fm_str(password, n));
    explicit_bzero(password, sizeof password);
    FM_ASSERT(!b.full);
    post(c, FM_COORD_STEP_LOGIN, "/v3/auth/authenticate", body, b.n);
}

static void read_stamp(struct fm_coord *c)
{
    FM_ASSERT(!c->checked);
    char *body = malloc(FM_COORD_WIRE_READ_ROOM);
    if (!body) {
        fm_coord_kick(c, 100);
        return;
    }
    struct fm_buf b = fm_buf(body, FM_COORD_WIRE_READ_ROOM);
    fm_coord_wire_range(&b, c->prefix, FM_STR(FM_COORD_STAMP), false, false);
    FM_ASSERT(!b.full);
    post(c, FM_COORD_STEP_READ, "/v3/kv/range", body, b.n);
}

/* Only if there is none; whoever is first wins, and the next read shows whose it is. */
static void write_stamp(struct fm_coord *c)
{
    FM_ASSERT(!c->config.observe && !c->incarnation[0]);
    char value[256], incarnation[32];
    uint8_t chance[12];
    fm_rand_bytes(chance, sizeof chance);
    struct fm_buf id = fm_buf(incarnation, sizeof incarnation), v = fm_buf(value, sizeof value);
    fm_buf_hex(&id, chance, sizeof chance);
    fm_coord_wire_stamp(&v, fm_str_z(c->service), fm_buf_str(&id));
    struct fm_coord_write w = {.key = FM_STR(FM_COORD_STAMP), .value = fm_buf_str(&v)};
    struct fm_coord_txn t = {.write = &w, .nwrite = 1};
    size_t room = fm_coord_wire_txn_room(c->prefix, &t);
    char *body = malloc(room);
    if (!body) {
        fm_coord_kick(c, 100);
        return;
    }
    struct fm_buf b = fm_buf(body, room);
    fm_coord_wire_txn(&b, c->prefix, &t, 0);
    FM_ASSERT(!b.full && !v.full && !id.full);
    post(c, FM_COORD_STEP_STAMP, "/v3/kv/txn", body, b.n);
}

/* -------- answers -------- */

static void stamp_is(struct fm_coord *c, const struct fm_coord_kv *kv)
{
    FM_ASSERT(!c->checked && kv->revision > 0);
    struct fm_coord_stamp stamp;
    if (!fm_coord_wire_read_stamp(kv->value, &stamp)) {
        fm_coord_set_trouble(c, FM_COORD_WHY_SERVICE,
                             "the stamp at %.*s" FM_COORD_STAMP " is none of this version",
                             FM_STR_ARG(c->prefix));
    } else if (!fm_str_eqz(fm_str_z(stamp.service), c->service)) {
        fm_coord_set_trouble(c, FM_COORD_WHY_SERVICE,
                             "the store is stamped for the service `%s`, and this is `%s`",
                             stamp.service, c->service);
    } else if (c->incarnation[0] && strcmp(c->incarnation, stamp.incarnation) != 0) {
        fm_coord_set_trouble(c, FM_COORD_WHY_WENT_BACK,
                             "the store is incarnation %s, and was %s before", stamp.incarnation,
                             c->incarnation);
    } else {
        memcpy(c->incarnation, stamp.incarnation, sizeof c->incarnation);
        c->stamp_revision = kv->revision;
        c->checked = true;
    }
}

static void stamp_read(struct fm_coord *c, struct fm_coord_answer *a)
{
    FM_ASSERT(c->hello.place == c->at);
    switch (fm_coord_see(c, c->at, a, c->hello.floor)) {
    case FM_COORD_SIGHT_OTHER:
        if (!c->trouble)
            fm_coord_leave(c, c->at, "it is of another cluster");
        return;
    case FM_COORD_SIGHT_BACK:
        return;
    case FM_COORD_SIGHT_GOOD:
        break;
    }
    if (a->nkv > 1 || (a->nkv == 1 && !fm_str_eqz(a->kv[0].key, FM_COORD_STAMP)))
        fm_coord_leave(c, c->at, "a read of the stamp with something else");
    else if (a->nkv > 0)
        stamp_is(c, &a->kv[0]);
    else if (c->incarnation[0])
        fm_coord_set_trouble(c, FM_COORD_WHY_WENT_BACK,
                             "the store has lost its stamp: it was emptied, or an older copy was "
                             "restored");
    else if (c->config.observe)
        c->checked = true;
    else
        write_stamp(c);
}

static void hello_refused(struct fm_coord *c, const struct fm_coord_answer *a)
{
    FM_ASSERT(c->hello.place == c->at && a->code > 0);
    enum { PRECONDITION = 9 };
    struct fm_coord_hello *h = &c->hello;
    if (h->step == FM_COORD_STEP_LOGIN && a->code == PRECONDITION) {
        fm_log(FM_LOG_WARN, "coordination_without_users",
               FM_KZ("endpoint", c->place[h->place].text), FM_KZ("why", a->message));
        c->no_login = true;
        return;
    }
    enum fm_coord_verdict verdict = fm_coord_wire_verdict(a->code, a->message);
    if (verdict == FM_COORD_VERDICT_LOGIN) {
        c->token[0] = 0;
        c->no_login = false;
    } else if (verdict == FM_COORD_VERDICT_PERMISSION) {
        c->token[0] = 0;
        denied(c, a->message);
    } else if (verdict == FM_COORD_VERDICT_SERVICE) {
        fm_coord_set_trouble(c, FM_COORD_WHY_SERVICE, "%s, and this is `%s`", a->message,
                             c->service);
        return;
    }
    fm_coord_leave(c, h->place, a->message);
}

static void hello_good(struct fm_coord *c, struct fm_str body)
{
    FM_ASSERT(c->hello.place == c->at);
    static const enum fm_coord_wire_kind kinds[] = {[FM_COORD_STEP_LOGIN] = FM_COORD_WIRE_LOGIN,
                                                    [FM_COORD_STEP_READ] = FM_COORD_WIRE_RANGE,
                                                    [FM_COORD_STEP_STAMP] = FM_COORD_WIRE_TXN};
    struct fm_coord_hello *h = &c->hello;
    struct fm_coord_answer a;
    const char *why;
    if (!fm_coord_wire_read(&a, kinds[h->step], body, c->prefix, &why))
        fm_coord_leave(c, h->place, why);
    else if (h->step == FM_COORD_STEP_LOGIN)
        memcpy(c->token, a.token, sizeof c->token);
    else if (h->step == FM_COORD_STEP_READ)
        stamp_read(c, &a);
    fm_coord_wire_free(&a);
}

/* -------- the link -------- */

static struct fm_coord_hello *hello_of(struct fm_http_link *l)
{
    return fm_container_of(l, struct fm_coord_hello, link);
}

static void hello_answered(struct fm_http_link *l, unsigned status, struct fm_str body)
{
    struct fm_coord *c = hello_of(l)->coord;
    if (status == 200 && c->hello.place == c->at) {
        hello_good(c, body);
    } else if (status != 200 && c->hello.place == c->at) {
        struct fm_coord_answer a;
        fm_coord_wire_read_error(&a, body);
        hello_refused(c, &a);
        fm_coord_wire_free(&a);
    }
    fm_coord_run(c);
}

static void hello_failed(struct fm_http_link *l, int err, const char *why)
{
    struct fm_coord_hello *h = hello_of(l);
    (void)err;
    fm_coord_leave(h->coord, h->place, why);
}

static void hello_closed(struct fm_http_link *l)
{
    fm_coord_kick(hello_of(l)->coord, 0);
}

static const struct fm_http_link_ops hello_ops = {
    .answered = hello_answered, .failed = hello_failed, .closed = hello_closed};

void fm_coord_hello_run(struct fm_coord *c)
{
    struct fm_coord_hello *h = &c->hello;
    FM_ASSERT(!c->checked && !c->trouble && !c->closing);
    if (h->link.busy || (h->link.open && !h->link.ready))
        return;
    if (h->link.open && h->place != c->at) {
        fm_http_link_close(&h->link);
        return;
    }
    if (!fm_coord_place_ready(c, c->at))
        return;
    if (c->login && !c->token[0] && !c->no_login)
        log_in(c);
    else
        read_stamp(c);
}
