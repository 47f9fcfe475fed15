/* Pages: see the header. Invariant: a connection's `data` is its wait from when a body is expected
 * or `write` asks to answer later, until the answer begins or the connection has failed; who frees
 * a wait has taken it from there. */
#include "http/pages.h"

#include "base/assert.h"
#include "base/buf.h"

#include <stdlib.h>
#include <unistd.h>

enum { HEADER_MS = 5000, IDLE_MS = 15000, MIN_BPS = 4096, PEER_NAME_MAX = 256, PROBLEM_ROOM = 512 };

struct fm_page_wait {
    struct fm_http_conn *conn;
    const struct fm_page *page;
    void (*left)(void *user); /* of a page that answers later */
    void *user;
    char *query; /* of a request whose body is being read */
    size_t query_n;
    char *body;
    size_t body_n, body_cap;
};

/* A call of `write`, and what it has decided. */
struct fm_page_call {
    struct fm_http_conn *conn;
    const struct fm_page *page;
    bool later, nobody, taken;
};

static struct fm_pages *pages_of(struct fm_http_conn *c)
{
    return fm_container_of(c->server, struct fm_pages, server);
}

static void wait_free(struct fm_page_wait *w)
{
    FM_ASSERT(w->conn->data != w);
    free(w->query);
    free(w->body);
    free(w);
}

static struct fm_page_wait *wait_new(struct fm_http_conn *c, const struct fm_page *page)
{
    FM_ASSERT(!c->data);
    struct fm_page_wait *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->conn = c;
    w->page = page;
    c->data = w;
    return w;
}

/* -------- answers -------- */

void fm_page_problem(struct fm_page_answer *a, unsigned status, const char *why)
{
    FM_ASSERT(status >= 400);
    char *text = malloc(PROBLEM_ROOM);
    a->status = status;
    a->content_type = "application/problem+json";
    if (!text)
        return;
    struct fm_buf b = fm_buf(text, PROBLEM_ROOM);
    fm_http_problem_body(&b, status, FM_STR(""), fm_str_z(why), FM_STR(""));
    FM_ASSERT(!b.full);
    a->body = text;
    a->n = b.n;
}

static void answer(struct fm_http_conn *c, const struct fm_page_answer *a)
{
    FM_ASSERT(a->content_type && (a->body || a->n == 0) && !c->data);
    fm_http_conn_answer_heap(c, a->status, fm_str_z(a->content_type),
                             FM_STR("Cache-Control: no-store\r\n"), a->body, a->n);
}

struct fm_page_wait *fm_page_later(const struct fm_page_request *q, void (*left)(void *user),
                                   void *user)
{
    struct fm_page_call *call = q->call;
    FM_ASSERT(!call->later && left);
    call->later = true;
    struct fm_page_wait *w =
        fm_http_conn_watch_end(call->conn) ? wait_new(call->conn, call->page) : NULL;
    call->nobody = !w;
    if (w) {
        w->left = left;
        w->user = user;
    }
    return w;
}

void fm_page_answer(struct fm_page_wait *w, const struct fm_page_answer *a)
{
    struct fm_http_conn *c = w->conn;
    FM_ASSERT(w->left && c->data == w);
    c->data = NULL;
    wait_free(w);
    answer(c, a);
}

bool fm_page_take(const struct fm_page_request *q, struct fm_sock_parcel *out)
{
    struct fm_page_call *call = q->call;
    FM_ASSERT(!call->later && !call->taken);
    call->taken = fm_http_conn_release(call->conn, out);
    return call->taken;
}

static void call_page(struct fm_http_conn *c, const struct fm_page *page,
                      const struct fm_page_request *as)
{
    FM_ASSERT(!c->data && as->method != FM_METHOD_OTHER);
    char name[PEER_NAME_MAX];
    struct fm_page_call call = {.conn = c, .page = page};
    struct fm_page_answer a = FM_PAGE_ANSWER;
    struct fm_page_request q = *as;
    q.user = pages_of(c)->user;
    q.peer = fm_sock_peer_name(&c->s.sock, name, sizeof name) ? name : NULL;
    q.call = &call;
    page->write(&q, &a);
    FM_ASSERT(!call.taken || !a.body);
    if (call.taken)
        return;
    if (!call.later)
        answer(c, &a);
    else if (call.nobody)
        fm_http_conn_abort(c);
}

/* -------- requests -------- */

static void refuse(struct fm_http_conn *c, unsigned status, struct fm_str headers, const char *why)
{
    fm_http_conn_problem(c, status, FM_STR(""), headers, fm_str_z(why));
}

static bool is_json(struct fm_str type)
{
    size_t n = 0;
    while (n < type.n && type.p[n] != ';' && type.p[n] != ' ' && type.p[n] != '\t')
        n++;
    return fm_str_eq_nocase(fm_str(type.p, n), FM_STR("application/json"));
}

static void read_body(struct fm_http_conn *c, const struct fm_page *page,
                      const struct fm_http_head *h)
{
    struct fm_page_wait *w = wait_new(c, page);
    w = w && (w->query = malloc(h->query.n + 1)) ? w : NULL;
    if (!w) {
        w = c->data;
        c->data = NULL;
        if (w)
            wait_free(w);
        refuse(c, 503, FM_STR(""), "out of memory");
        return;
    }
    if (h->query.n)
        memcpy(w->query, h->query.p, h->query.n);
    w->query_n = h->query.n;
    fm_http_conn_body(c);
}

static bool is_at(const struct fm_page *page, struct fm_str path)
{
    size_t n = strlen(page->path);
    bool below = n > 1 && page->path[n - 1] == '/';
    return below ? fm_str_starts(path, fm_str(page->path, n)) : fm_str_eqz(path, page->path);
}

static struct fm_str upgrade(const struct fm_http_head *h)
{
    bool asks = h->method == FM_METHOD_GET && h->minor == 1 &&
                fm_http_connection_names(h, FM_STR("upgrade"));
    return asks ? fm_http_value(h, FM_HDR_UPGRADE) : fm_str(NULL, 0);
}

static void on_request(struct fm_http_conn *c, const struct fm_http_head *h)
{
    const struct fm_page *page = pages_of(c)->pages;
    FM_ASSERT(!c->data);
    while (page->path && !is_at(page, h->path))
        page++;
    bool reads = h->method == FM_METHOD_GET || h->method == FM_METHOD_HEAD;
    if (!page->path) {
        refuse(c, 404, FM_STR(""), "there is no such page here");
    } else if (!reads && !page->posts) {
        refuse(c, 405, FM_STR("Allow: GET, HEAD\r\n"), "this page can only be read");
    } else if (!reads && h->method != FM_METHOD_POST) {
        refuse(c, 405, FM_STR("Allow: GET, HEAD, POST\r\n"), "this page takes GET and POST");
    } else if (!reads && !is_json(fm_http_find(h, FM_STR("Content-Type")))) {
        refuse(c, 415, FM_STR(""), "this page takes application/json");
    } else if (!reads && fm_http_conn_has_body(c)) {
        read_body(c, page, h);
    } else {
        struct fm_page_request q = {.path = h->path,
                                    .query = h->query,
                                    .method = (enum fm_http_method)h->method,
                                    .upgrade = upgrade(h)};
        call_page(c, page, &q);
    }
}

static bool keep(struct fm_page_wait *w, struct fm_str piece)
{
    FM_ASSERT(w->body_n <= w->body_cap && w->body_cap <= FM_PAGES_BODY_MAX);
    if (piece.n > FM_PAGES_BODY_MAX - w->body_n)
        return false;
    size_t n = w->body_n + piece.n;
    if (n > w->body_cap) {
        size_t cap = fm_min_size(2 * n + 1024, FM_PAGES_BODY_MAX);
        char *p = realloc(w->body, cap);
        if (!p)
            return false;
        w->body = p;
        w->body_cap = cap;
    }
    if (piece.n)
        memcpy(w->body + w->body_n, piece.p, piece.n);
    w->body_n = n;
    return true;
}

static void on_body(struct fm_http_conn *c, struct fm_str piece, bool last)
{
    struct fm_page_wait *w = c->data;
    FM_ASSERT(w && !w->left && w->conn == c);
    bool kept = keep(w, piece);
    if (kept && !last) {
        fm_http_conn_body(c);
        return;
    }
    c->data = NULL;
    if (kept) {
        struct fm_page_request q = {.path = fm_str_z(w->page->path),
                                    .query = fm_str(w->query, w->query_n),
                                    .method = FM_METHOD_POST,
                                    .body = fm_str(w->body, w->body_n)};
        call_page(c, w->page, &q);
    } else {
        refuse(c, 413, FM_STR(""), "the body is too large");
    }
    wait_free(w);
}

static void on_sent(struct fm_http_conn *c)
{
    (void)c;
}

static void on_failed(struct fm_http_conn *c, const struct fm_http_refusal *why)
{
    struct fm_page_wait *w = c->data;
    (void)why;
    if (!w)
        return;
    c->data = NULL;
    if (w->left)
        w->left(w->user);
    wait_free(w);
}

static const struct fm_http_handler pages_handler = {
    .request = on_request, .body = on_body, .sent = on_sent, .failed = on_failed};

/* -------- the whole -------- */

enum fm_err fm_pages_init(struct fm_pages *p, struct fm_loop *l, const struct fm_page *pages,
                          void *user, struct fm_error *e)
{
    struct fm_http_server_config c = {.limits = {.head_bytes = 8 * 1024,
                                                 .fields = 64,
                                                 .body_bytes = FM_PAGES_BODY_MAX,
                                                 .ext_bytes = 64,
                                                 .trailer_bytes = 1024},
                                      .header_ms = HEADER_MS,
                                      .idle_ms = IDLE_MS,
                                      .min_body_bps = MIN_BPS};
    FM_ASSERT(pages);
    p->pages = pages;
    p->user = user;
    p->conns_max = FM_PAGES_CONNS_MAX;
    return fm_http_server_init(&p->server, l, &c, &pages_handler, p, e);
}

void fm_pages_accept(struct fm_pages *p, int fd, const struct fm_addr *from)
{
    size_t n = p->server.nconns;
    FM_ASSERT(p->conns_max > 0);
    if (n >= 2 * p->conns_max)
        close(fd);
    else
        (void)fm_http_server_accept(&p->server, fd, from, n >= p->conns_max);
}

void fm_pages_close_all(struct fm_pages *p)
{
    fm_http_server_close_all(&p->server);
}

void fm_pages_deinit(struct fm_pages *p)
{
    fm_http_server_deinit(&p->server);
}
