/* bank network: the card network of a region. Answers GET /ping and POST /authorize; it is what
 * breaks in the partial failure of the demo. */
#include "bank.h"

static void on_request(struct fm_http_conn *c, const struct fm_http_head *h)
{
    (void)h;
    fm_http_conn_answer(c, 200, FM_STR("text/plain"), FM_STR(""), FM_STR("pong\n"));
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

int bank_network(uint16_t port)
{
    static struct bank_process p;
    bank_start(&p, port, &handler, 0, NULL, NULL);
    bank_run(&p);
    return 0;
}
