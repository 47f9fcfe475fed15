/* bank store: the data behind HTTP, for the instances of the app.
 *
 *   POST /apply?kind=debit&id=a1&amount=5   with an Idempotency-Key, perhaps a Fulmar-Authority
 *   GET  /read?kind=ledger&id=a1
 *   GET  /keys                              every key that took effect, and how often
 *   GET  /epochs                            every cell, and the newest epoch that has written it
 */
#include "bank.h"

#include <stdio.h>

struct store {
    struct bank_process process;
    struct bank_db *db;
};

/* The value of `name` in ?a=b&c=d; empty where it is not there. Plain characters only. */
static void param(struct fm_str query, const char *name, char *out, size_t cap)
{
    struct fm_str rest = query.n ? fm_str(query.p + 1, query.n - 1) : query;
    out[0] = 0;
    while (rest.n) {
        struct fm_str value, pair = fm_str_cut(rest, '&', &rest);
        struct fm_str key = fm_str_cut(pair, '=', &value);
        if (!fm_str_eqz(key, name) || value.n >= cap)
            continue;
        memcpy(out, value.p, value.n);
        out[value.n] = 0;
    }
}

static void apply(struct store *s, struct fm_http_conn *c, const struct fm_http_head *h)
{
    struct bank_effect e = {0};
    char amount[24], answer[1024];
    uint64_t n = 0;
    struct fm_str key = fm_http_value(h, FM_HDR_IDEMPOTENCY_KEY);
    param(h->query, "kind", e.kind, sizeof e.kind);
    param(h->query, "id", e.id, sizeof e.id);
    param(h->query, "text", e.text, sizeof e.text);
    param(h->query, "amount", amount, sizeof amount);
    if (key.n < sizeof e.key)
        snprintf(e.key, sizeof e.key, "%.*s", FM_STR_ARG(key));
    struct fm_str authority = fm_http_value(h, FM_HDR_FULMAR_AUTHORITY);
    if (authority.n && !bank_authority_parse(authority, &e.authority)) {
        fm_http_conn_problem(c, 400, FM_STR(""), FM_STR(""), FM_STR("Fulmar-Authority is broken"));
        return;
    }
    if (amount[0] && !fm_str_u64(fm_str_z(amount), &n)) {
        fm_http_conn_problem(c, 400, FM_STR(""), FM_STR(""), FM_STR("amount is not a number"));
        return;
    }
    e.amount = (int64_t)(n & INT32_MAX);
    struct fm_buf out = fm_buf(answer, sizeof answer);
    switch (bank_db_apply(s->db, &e, &out)) {
    case BANK_APPLIED:
        fm_http_conn_answer(c, 200, FM_STR("application/json"), FM_STR(""), fm_buf_str(&out));
        return;
    case BANK_OLDER_EPOCH:
        fm_http_conn_problem(c, 409, FM_STR(""), FM_STR(""),
                             FM_STR("a newer epoch has written this cell"));
        return;
    case BANK_FAILED:
        break;
    }
    fm_http_conn_problem(c, 500, FM_STR(""), FM_STR(""), FM_STR("the database failed"));
}

static void on_request(struct fm_http_conn *c, const struct fm_http_head *h)
{
    struct store *s = c->server->user;
    if (fm_str_eqz(h->path, "/apply") && h->method == FM_METHOD_POST) {
        apply(s, c, h);
    } else if (fm_str_eqz(h->path, "/read")) {
        char kind[16], id[BANK_TEXT_MAX], answer[1024];
        struct fm_buf out = fm_buf(answer, sizeof answer);
        param(h->query, "kind", kind, sizeof kind);
        param(h->query, "id", id, sizeof id);
        bool ok = bank_db_read(s->db, kind, id, &out);
        fm_http_conn_answer(c, ok ? 200 : 500, FM_STR("application/json"), FM_STR(""),
                            fm_buf_str(&out));
    } else if (fm_str_eqz(h->path, "/epochs")) {
        char answer[16 * 1024];
        struct fm_buf out = fm_buf(answer, sizeof answer);
        bank_db_epochs(s->db, &out);
        fm_http_conn_answer(c, 200, FM_STR("text/plain"), FM_STR(""), fm_buf_str(&out));
    } else if (fm_str_eqz(h->path, "/keys")) {
        size_t n = 0;
        char *keys = bank_db_keys(s->db, &n);
        fm_http_conn_answer_heap(c, keys ? 200 : 500, FM_STR("text/plain"), FM_STR(""), keys, n);
    } else {
        fm_http_conn_problem(c, 404, FM_STR(""), FM_STR(""), FM_STR("no such thing here"));
    }
}

static void on_body(struct fm_http_conn *c, struct fm_str piece, bool last)
{
    (void)c;
    (void)piece;
    (void)last;
}

static void on_sent(struct fm_http_conn *c)
{
    (void)c;
}

static void on_failed(struct fm_http_conn *c, const struct fm_http_refusal *why)
{
    (void)c;
    (void)why;
}

static const struct fm_http_handler handler = {
    .request = on_request, .body = on_body, .sent = on_sent, .failed = on_failed};

int bank_store(uint16_t port, const char *db_path)
{
    static struct store s;
    s.db = bank_db_open(db_path);
    if (!s.db)
        return 1;
    bank_start(&s.process, port, &handler, 0, NULL, &s);
    bank_run(&s.process);
    bank_db_close(s.db);
    return 0;
}
