/* Requests for a tunnel, and answers: see the header. */
#include "proxy/tunnel.h"

#include "base/assert.h"
#include "base/buf.h"
#include "http/parse.h"

size_t fm_tunnel_request(char out[FM_TUNNEL_REQUEST_MAX], const char *group, const char *host,
                         const struct fm_tunnel *t)
{
    struct fm_buf b = fm_buf(out, FM_TUNNEL_REQUEST_MAX);
    fm_buf_printf(&b, "GET /groups/%s/door?as=", group);
    FM_ASSERT(t->cancels || t->visit.role == FM_DOOR_PRIMARY || t->visit.role == FM_DOOR_STANDBY);
    if (t->cancels)
        fm_buf_lit(&b, "cancel");
    else if (t->visit.role == FM_DOOR_STANDBY)
        fm_buf_lit(&b, "standby");
    else
        fm_buf_printf(&b, "primary&epoch=%llu", (unsigned long long)t->visit.epoch.n);
    fm_buf_printf(&b,
                  " HTTP/1.1\r\nHost: %s\r\nConnection: upgrade\r\nUpgrade: " FM_TUNNEL_PROTOCOL
                  "\r\n\r\n",
                  host);
    FM_ASSERT(!b.full);
    return b.n;
}

static bool read_group(struct fm_str path, struct fm_str *group)
{
    static const char before[] = "/groups/", behind[] = "/door";
    size_t head = sizeof before - 1, tail = sizeof behind - 1;
    if (path.n <= head + tail || !fm_str_starts(path, fm_str(before, head)) ||
        memcmp(path.p + path.n - tail, behind, tail) != 0)
        return false;
    *group = fm_str(path.p + head, path.n - head - tail);
    return !memchr(group->p, '/', group->n);
}

bool fm_tunnel_read(struct fm_str path, struct fm_str query, struct fm_str *group,
                    struct fm_tunnel *t)
{
    struct fm_str epoch, primary = FM_STR("?as=primary&epoch=");
    *t = (struct fm_tunnel){.cancels = fm_str_eqz(query, "?as=cancel")};
    if (!read_group(path, group))
        return false;
    if (t->cancels)
        return true;
    if (fm_str_eqz(query, "?as=standby")) {
        t->visit.role = FM_DOOR_STANDBY;
        return true;
    }
    if (!fm_str_starts(query, primary))
        return false;
    epoch = fm_str(query.p + primary.n, query.n - primary.n);
    t->visit.role = FM_DOOR_PRIMARY;
    return fm_str_u64(epoch, &t->visit.epoch.n) && t->visit.epoch.n > 0;
}

size_t fm_tunnel_refusal(char out[FM_TUNNEL_REFUSAL_MAX], enum fm_door_why why)
{
    struct fm_buf b = fm_buf(out, FM_TUNNEL_REFUSAL_MAX);
    struct fm_str name = fm_str_z(fm_door_why_name(why));
    FM_ASSERT(why != FM_DOOR_WHY_NONE);
    fm_buf_printf(&b,
                  "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: "
                  "text/plain\r\nContent-Length: %zu\r\n\r\n%.*s",
                  name.n, FM_STR_ARG(name));
    FM_ASSERT(!b.full);
    return b.n;
}

enum fm_tunnel_is fm_tunnel_answered(struct fm_block *b)
{
    enum { FIELDS = 16 };
    const struct fm_http_limits limits = {.head_bytes = FM_TUNNEL_HEAD_MAX, .fields = FIELDS};
    struct fm_http_scan scan = {0};
    struct fm_http_field fields[FIELDS];
    struct fm_http_head h;
    struct fm_http_refusal why;
    FM_ASSERT(b->n > 0 && b->n <= b->size && b->size > FM_TUNNEL_HEAD_MAX);
    switch (
        fm_http_parse_response(&scan, b->data, b->n, FM_METHOD_GET, &limits, fields, &h, &why)) {
    case FM_PARSE_MORE:
        return b->n < b->size ? FM_TUNNEL_IS_COMING : FM_TUNNEL_IS_SHUT;
    case FM_PARSE_BAD:
        return FM_TUNNEL_IS_SHUT;
    case FM_PARSE_DONE:
        break;
    }
    if (h.status != 101 || !fm_str_eqz(fm_http_value(&h, FM_HDR_UPGRADE), FM_TUNNEL_PROTOCOL))
        return FM_TUNNEL_IS_SHUT;
    FM_ASSERT(h.size <= b->n);
    memmove(b->data, b->data + h.size, b->n - h.size);
    b->n -= (uint32_t)h.size;
    return FM_TUNNEL_IS_OPEN;
}
