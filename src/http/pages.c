/* Read-only pages: see the header. */
#include "http/pages.h"

#include "base/assert.h"

#include <stdlib.h>
#include <unistd.h>

enum { HEADER_MS = 5000, IDLE_MS = 15000 };

static void on_request(struct fm_http_conn *c, const struct fm_http_head *h)
{
    struct fm_pages *p = fm_container_of(c->server, struct fm_pages, server);
    const struct fm_page *page = p->pages;
    while (page->path && !fm_str_eqz(h->path, page->path))
        page++;
    if (!page->path) {
        fm_http_conn_problem(c, 404, FM_STR(""), FM_STR(""), FM_STR("there is no such page here"));
        return;
    }
    if (h->method != FM_METHOD_GET && h->method != FM_METHOD_HEAD) {
        fm_http_conn_problem(c, 405, FM_STR(""), FM_STR("Allow: GET, HEAD\r\n"),
                             FM_STR("this page can only be read"));
        return;
    }
    struct fm_page_request q = {h->path, h->query, p->user};
    struct fm_page_answer a = {.status = 200, .content_type = "text/plain; charset=utf-8"};
    page->write(&q, &a);
    FM_ASSERT(a.content_type && (a.body || a.n == 0));
    fm_http_conn_answer_heap(c, a.status, fm_str_z(a.content_type),
                             FM_STR("Cache-Control: no-store\r\n"), a.body, a.n);
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

static const struct fm_http_handler pages_handler = {
    .request = on_request, .body = on_body, .sent = on_sent, .failed = on_failed};

enum fm_err fm_pages_init(struct fm_pages *p, struct fm_loop *l, const struct fm_page *pages,
                          void *user, struct fm_error *e)
{
    struct fm_http_server_config c = {.limits = {.head_bytes = 8 * 1024,
                                                 .fields = 64,
                                                 .body_bytes = 64 * 1024,
                                                 .ext_bytes = 64,
                                                 .trailer_bytes = 1024},
                                      .header_ms = HEADER_MS,
                                      .idle_ms = IDLE_MS};
    FM_ASSERT(pages);
    p->pages = pages;
    p->user = user;
    return fm_http_server_init(&p->server, l, &c, &pages_handler, p, e);
}

void fm_pages_accept(struct fm_pages *p, int fd, const struct fm_addr *from)
{
    size_t n = p->server.nconns;
    FM_ASSERT(n <= 2 * FM_PAGES_CONNS_MAX);
    if (n == 2 * FM_PAGES_CONNS_MAX)
        close(fd);
    else
        (void)fm_http_server_accept(&p->server, fd, from, n >= FM_PAGES_CONNS_MAX);
}

void fm_pages_close_all(struct fm_pages *p)
{
    fm_http_server_close_all(&p->server);
}

void fm_pages_deinit(struct fm_pages *p)
{
    fm_http_server_deinit(&p->server);
}
