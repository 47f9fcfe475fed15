/* Names, numbers and look-ups of message heads. Tables, no state. */
#include "http/msg.h"

#include "base/assert.h"

static struct fm_str field_name(unsigned id)
{
    static const struct fm_str name[FM_HDR_COUNT] = {
#define X(id_, text) [FM_HDR_##id_] = FM_STR_INIT(text),
        FM_HTTP_FIELDS(X)
#undef X
    };
    FM_ASSERT(id > FM_HDR_OTHER && id < FM_HDR_FULMAR_OTHER);
    return name[id];
}

static enum fm_http_field_id either(struct fm_str name, enum fm_http_field_id a)
{
    struct fm_str known = field_name(a);
    bool disguised = false;
    if (name.n != known.n)
        return FM_HDR_OTHER;
    for (size_t i = 0; i < name.n; i++) {
        if (fm_lower(name.p[i]) == known.p[i])
            continue;
        if (name.p[i] != '_' || known.p[i] != '-')
            return FM_HDR_OTHER;
        disguised = true;
    }
    return disguised ? FM_HDR_DISGUISED : a;
}

static enum fm_http_field_id fulmar_family(struct fm_str name)
{
    FM_ASSERT(name.n > 7);
    if (!fm_str_eq_nocase(fm_str(name.p, 6), FM_STR("fulmar")))
        return FM_HDR_OTHER;
    if (name.p[6] == '_')
        return FM_HDR_DISGUISED;
    for (unsigned id = FM_HDR_FULMAR_REF; id < FM_HDR_FULMAR_OTHER; id++)
        if (either(name, id))
            return id;
    return FM_HDR_FULMAR_OTHER;
}

/* By length and first letter there is at most a handful to compare with. */
enum fm_http_field_id fm_http_field_id(struct fm_str name)
{
    if (name.n < 2)
        return FM_HDR_OTHER;
    char first = fm_lower(name.p[0]);
    if (first == 'f' && name.n > 7 && (name.p[6] == '-' || name.p[6] == '_'))
        return fulmar_family(name);
    switch (name.n) {
    case 2:
        return either(name, FM_HDR_TE);
    case 3:
        return either(name, FM_HDR_VIA);
    case 4:
        return either(name, FM_HDR_HOST);
    case 6:
        return either(name, first == 'c' ? FM_HDR_COOKIE : FM_HDR_EXPECT);
    case 7:
        return either(name, first == 't' ? FM_HDR_TRAILER : FM_HDR_UPGRADE);
    case 9:
        return either(name, FM_HDR_FORWARDED);
    case 10:
        return either(name, first == 'c' ? FM_HDR_CONNECTION : FM_HDR_KEEP_ALIVE);
    case 11:
        return either(name, first == 't' ? FM_HDR_TRACEPARENT : FM_HDR_RETRY_AFTER);
    case 12:
        return either(name, FM_HDR_CONTENT_TYPE);
    case 13:
        return either(name, FM_HDR_AUTHORIZATION);
    case 14:
        return either(name, FM_HDR_CONTENT_LENGTH);
    case 15:
        return either(name, first == 'i' ? FM_HDR_IDEMPOTENCY_KEY : FM_HDR_X_FORWARDED_FOR);
    case 16:
        return first == 'p' ? either(name, FM_HDR_PROXY_CONNECTION)
                            : either(name, FM_HDR_X_FORWARDED_HOST);
    case 17:
        return first == 't' ? either(name, FM_HDR_TRANSFER_ENCODING)
                            : either(name, FM_HDR_X_FORWARDED_PROTO);
    default:
        return FM_HDR_OTHER;
    }
}

static const struct {
    struct fm_str name;
    bool safe;
} methods[FM_METHOD_COUNT] = {
#define X(id, is_safe) [FM_METHOD_##id] = {FM_STR_INIT(#id), is_safe},
    FM_HTTP_METHODS(X)
#undef X
};

enum fm_http_method fm_http_method_id(struct fm_str name)
{
    for (unsigned m = FM_METHOD_OTHER + 1; m < FM_METHOD_COUNT; m++)
        if (fm_str_eq(name, methods[m].name))
            return m;
    return FM_METHOD_OTHER;
}

bool fm_http_method_is_safe(enum fm_http_method m)
{
    FM_ASSERT((unsigned)m < FM_METHOD_COUNT);
    return methods[m].safe;
}

struct fm_str fm_http_find(const struct fm_http_head *h, struct fm_str name)
{
    FM_ASSERT(h->nfields <= FM_HTTP_FIELDS_MAX);
    for (unsigned i = 0; i < h->nfields; i++)
        if (fm_str_eq_nocase(h->field[i].name, name))
            return h->field[i].value;
    return (struct fm_str){NULL, 0};
}

struct fm_str fm_http_cookie(const struct fm_http_head *h, struct fm_str name)
{
    if (h->known[FM_HDR_COOKIE] < 0)
        return (struct fm_str){NULL, 0};
    FM_ASSERT((unsigned)h->known[FM_HDR_COOKIE] < h->nfields);
    for (unsigned i = (unsigned)h->known[FM_HDR_COOKIE]; i < h->nfields; i++) {
        if (h->field[i].id != FM_HDR_COOKIE)
            continue;
        for (struct fm_str rest = h->field[i].value; rest.n;) {
            struct fm_str value, pair = fm_str_trim(fm_str_cut(rest, ';', &rest));
            struct fm_str key = fm_str_cut(pair, '=', &value);
            if (value.p && fm_str_eq(key, name))
                return value;
        }
    }
    return (struct fm_str){NULL, 0};
}

bool fm_http_connection_names(const struct fm_http_head *h, struct fm_str option)
{
    if (h->known[FM_HDR_CONNECTION] < 0)
        return false;
    FM_ASSERT((unsigned)h->known[FM_HDR_CONNECTION] < h->nfields);
    for (unsigned i = (unsigned)h->known[FM_HDR_CONNECTION]; i < h->nfields; i++) {
        if (h->field[i].id != FM_HDR_CONNECTION)
            continue;
        struct fm_str rest = h->field[i].value, item;
        while (fm_str_list_next(&rest, &item))
            if (fm_str_eq_nocase(item, option))
                return true;
    }
    return false;
}

const char *fm_http_reason(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } reasons[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < FM_COUNT(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Unknown";
}
