/* Routes: paths into segments, and the rule that of two routes that match the same request one is
 * more specific. Keeps the invariant that a route with a path has at most FM_CONF_SEGMENTS_MAX
 * segments, with FM_SEG_REST only at the end; `/` has none. Which route wins for a request is
 * decided by the edge, in the order that the reference says. */
#include "conf/decode.h"

#include "base/assert.h"

static bool name_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (!first && ((c >= '0' && c <= '9') || c == '-'));
}

/* `{name}` */
static bool named(struct fm_load *l, struct fm_str s, struct fm_conf_segment *out,
                  struct fm_fault *f)
{
    FM_ASSERT(s.n >= 2);
    struct fm_str name = fm_str(s.p + 1, s.n - 2);
    bool good = name.n > 0 && name.n <= 64;
    for (size_t i = 0; i < name.n; i++)
        good &= name_char(name.p[i], i == 0);
    if (!good) {
        fm_fault(f, "`%s` is not a segment with a name", FM_Q(s));
        return fm_fault_advice(f, "write `{name}` with letters, digits, `-` and `_`");
    }
    *out = (struct fm_conf_segment){FM_SEG_NAMED, fm_load_str(l, name)};
    return true;
}

static int hex(char c)
{
    c = fm_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Paths are without these when they are compared, however they were written. */
static bool is_dots(struct fm_str s)
{
    return fm_str_eqz(s, ".") || fm_str_eqz(s, "..");
}

/* A literal, percent-decoded (RFC 3986 section 2.1). */
static bool literal(struct fm_load *l, struct fm_str s, struct fm_conf_segment *out,
                    struct fm_fault *f)
{
    char *to = fm_load_alloc(l, s.n + 1, 1);
    size_t n = 0;
    if (!to)
        return fm_fault_memory(f);
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if ((unsigned char)c <= ' ' || c == 0x7f || strchr("?#\\\"<>", c))
            return fm_fault(f, "`%s` has a character that must be written as %%XX", FM_Q(s));
        if (c == '%') {
            int hi = i + 2 < s.n ? hex(s.p[i + 1]) : -1;
            int lo = hi >= 0 ? hex(s.p[i + 2]) : -1;
            int byte = lo < 0 ? -1 : hi * 16 + lo;
            if (byte < 0)
                return fm_fault(f, "in `%s` two hex digits must follow the `%%`", FM_Q(s));
            if (byte == 0 || byte == '/')
                return fm_fault(f, "`%s` stands for a byte that a segment never holds", FM_Q(s));
            c = (char)byte;
            i += 2;
        }
        to[n++] = c;
    }
    FM_ASSERT(n > 0 && n <= s.n);
    if (is_dots(fm_str(to, n)))
        return fm_fault(f, "`%s` is resolved before routes are looked at", FM_Q(s));
    *out = (struct fm_conf_segment){FM_SEG_LITERAL, fm_str(to, n)};
    return true;
}

static bool segment(struct fm_load *l, struct fm_str s, bool last, struct fm_conf_segment *out,
                    struct fm_fault *f)
{
    if (s.n == 0) {
        fm_fault(f, last ? "it ends with `/`" : "there is nothing between two `/`");
        return fm_fault_advice(f, "write `/a/b` for this one path, `/a/**` for all below");
    }
    if (fm_str_eqz(s, "**")) {
        *out = (struct fm_conf_segment){FM_SEG_REST, {NULL, 0}};
        return last || fm_fault(f, "`**` stands only at the end");
    }
    if (is_dots(s))
        return fm_fault(f, "`%s` is resolved by the client and never arrives", FM_Q(s));
    if (memchr(s.p, '*', s.n)) {
        fm_fault(f, "there is a `*` in `%s`", FM_Q(s));
        return fm_fault_advice(f, "`{name}` is any one segment, `**` at the end any number; a "
                                  "literal star is `%%2A`");
    }
    if (s.p[0] == '{' && s.p[s.n - 1] == '}')
        return named(l, s, out, f);
    if (memchr(s.p, '{', s.n) || memchr(s.p, '}', s.n)) {
        fm_fault(f, "`%s` mixes a `{name}` with text", FM_Q(s));
        return fm_fault_advice(f, "a `{name}` takes a whole segment: `/a/{name}/b`");
    }
    return literal(l, s, out, f);
}

static bool names_differ(const struct fm_conf_route *r, struct fm_fault *f)
{
    for (size_t i = 0; i < r->nsegments; i++)
        for (size_t k = 0; k < i; k++)
            if (r->segments[i].kind == FM_SEG_NAMED && r->segments[k].kind == FM_SEG_NAMED &&
                fm_str_eq(r->segments[i].text, r->segments[k].text))
                return fm_fault(f, "it has two segments `{%s}`", FM_Q(r->segments[i].text));
    return true;
}

/* A route of names or of `**` there never gets what is below: edges look there first. */
static bool is_reserved(const struct fm_conf_segment *s, size_t n)
{
    return n >= 2 && s[0].kind == FM_SEG_LITERAL && fm_str_eqz(s[0].text, ".well-known") &&
           s[1].kind == FM_SEG_LITERAL && fm_str_eqz(s[1].text, "fulmar");
}

static bool parse(struct fm_load *l, struct fm_str path, struct fm_conf_route *r,
                  struct fm_fault *f)
{
    struct fm_conf_segment segments[FM_CONF_SEGMENTS_MAX] = {0};
    if (path.n == 0 || path.p[0] != '/') {
        fm_fault(f, "`%s` does not begin with `/`", FM_Q(path));
        return fm_fault_advice(f, "write `/%s`", FM_Q(path));
    }
    if (path.n > 1024)
        return fm_fault(f, "it is longer than 1024 bytes");
    FM_ASSERT(!r->segments);
    r->nsegments = 0;
    struct fm_str rest = fm_str(path.p + 1, path.n - 1);
    while (path.n > 1 && rest.p) {
        struct fm_str one = fm_str_cut(rest, '/', &rest);
        if (r->nsegments == FM_CONF_SEGMENTS_MAX)
            return fm_fault(f, "it has more than %d segments", FM_CONF_SEGMENTS_MAX);
        if (!segment(l, one, !rest.p, &segments[r->nsegments++], f))
            return false;
    }
    r->segments = fm_load_alloc(l, r->nsegments, sizeof *r->segments);
    if (!r->segments)
        return fm_fault_memory(f);
    if (is_reserved(segments, r->nsegments)) {
        fm_fault(f, "`/.well-known/fulmar/` is Fulmar's own, for places in its queues");
        return fm_fault_advice(f, "give it another path");
    }
    memcpy(r->segments, segments, r->nsegments * sizeof *segments);
    for (size_t i = 0; i < r->nsegments; i++)
        FM_ASSERT(segments[i].kind != FM_SEG_REST || i + 1 == r->nsegments);
    return names_differ(r, f);
}

void fm_decode_route_path(struct fm_load *l, const struct fm_schema_row *row,
                          const struct fm_node *n, void *at)
{
    struct fm_conf_route *r = at;
    struct fm_fault f = {.memory = false};
    struct fm_str s;
    if (!fm_decode_text(l, row, n, &s))
        return;
    if (parse(l, s, r, &f))
        r->path = s;
    else
        fm_decode_fault(l, row, n, &f);
}

static void decode_route(struct fm_load *l, const struct fm_schema_row *row,
                         const struct fm_node *n, const struct fm_conf_context *c,
                         struct fm_conf_route *r)
{
    const struct fm_schema_row *path = &row->item[0], *section = &row->item[1];
    *r = (struct fm_conf_route){
        .timeouts = c->timeouts,
        .retry = c->retry,
        .routing = c->routing,
        .when_away = c->when_away,
        .pos = n->pos,
    };
    fm_decode_defaults(l, section->section, r);
    fm_decode_value(l, n->kind == FM_NODE_MAP ? section : path, n, r);
}

void fm_decode_routes(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                      void *at)
{
    struct fm_conf_context *c = at;
    if (!fm_decode_want(l, row, n, FM_NODE_LIST) || !fm_decode_count(l, row, n))
        return;
    FM_ASSERT(l->conf->nroutes <= FM_CONF_ROUTES_MAX);
    if (n->n > FM_CONF_ROUTES_MAX - l->conf->nroutes) {
        fm_report_error(l->report, n->pos, "more than %d routes in all contexts",
                        FM_CONF_ROUTES_MAX);
        return;
    }
    l->conf->nroutes += n->n;
    FM_ASSERT(!c->routes && l->conf->nroutes <= FM_CONF_ROUTES_MAX);
    c->routes = fm_load_alloc(l, n->n, sizeof *c->routes);
    if (!c->routes)
        return;
    fm_node_each(item, n) decode_route(l, row->item, item, c, &c->routes[c->nroutes++]);
    FM_ASSERT(c->nroutes == n->n);
}

bool fm_route_has_segment(const struct fm_conf_route *r, struct fm_str name)
{
    for (size_t i = 0; i < r->nsegments; i++)
        if (r->segments[i].kind == FM_SEG_NAMED && fm_str_eq(r->segments[i].text, name))
            return true;
    return false;
}

/* Do both match the same paths? The names of segments do not matter. */
static bool same_shape(const struct fm_conf_route *a, const struct fm_conf_route *b)
{
    if (!a->path.p || !b->path.p || a->nsegments != b->nsegments)
        return false;
    for (size_t i = 0; i < a->nsegments; i++) {
        FM_ASSERT(a->segments && b->segments);
        const struct fm_conf_segment *x = &a->segments[i], *y = &b->segments[i];
        if (x->kind != y->kind || (x->kind == FM_SEG_LITERAL && !fm_str_eq(x->text, y->text)))
            return false;
    }
    return true;
}

/* Equally specific for some host: both any, or the same name or wildcard in both. */
static bool hosts_overlap(const struct fm_conf_context *a, const struct fm_conf_context *b)
{
    if (a == b || (a->nhosts == 0 && b->nhosts == 0))
        return true;
    for (size_t i = 0; i < a->nhosts; i++)
        for (size_t k = 0; k < b->nhosts; k++)
            if (fm_str_eq(a->hosts[i], b->hosts[k]))
                return true;
    return false;
}

/* Equally specific for some method, which is *which ("" = all). */
static bool methods_overlap(const struct fm_conf_route *a, const struct fm_conf_route *b,
                            struct fm_str *which)
{
    *which = FM_STR("");
    if (a->nmethods == 0 && b->nmethods == 0)
        return true;
    for (size_t i = 0; i < a->nmethods; i++)
        for (size_t k = 0; k < b->nmethods; k++)
            if (fm_str_eq(a->methods[i], b->methods[k])) {
                *which = a->methods[i];
                return true;
            }
    return false;
}

static void tie(struct fm_load *l, const struct fm_conf_context *cb, const struct fm_conf_route *b,
                const struct fm_conf_context *ca, const struct fm_conf_route *a,
                struct fm_str method)
{
    fm_report_error(
        l->report, b->pos, "the route `%s` of `%s` is as specific as `%s` of `%s` (%s:%u:%u)%s%s",
        FM_Q(b->path), FM_Q(cb->name), FM_Q(a->path), FM_Q(ca->name), FM_Q(fm_str_z(a->pos.file)),
        a->pos.line, a->pos.col, method.n ? " for " : "", FM_Q(method));
    fm_report_advice(l->report, ca == cb ? "delete one, or give them different `methods`"
                                         : "delete one, or give them different `methods`, or their "
                                           "contexts different `hosts`");
}

/* Routes of b that tie with one of a; the first tie of each is told. */
static void check_pair(struct fm_load *l, const struct fm_conf_context *a,
                       const struct fm_conf_context *b)
{
    struct fm_str method;
    if (!hosts_overlap(a, b))
        return;
    for (size_t i = 0; i < b->nroutes; i++)
        for (size_t k = 0; k < (a == b ? i : a->nroutes); k++)
            if (same_shape(&a->routes[k], &b->routes[i]) &&
                methods_overlap(&a->routes[k], &b->routes[i], &method)) {
                tie(l, b, &b->routes[i], a, &a->routes[k], method);
                break;
            }
}

void fm_routes_check(struct fm_load *l)
{
    struct fm_conf *c = l->conf;
    for (size_t i = 0; i < c->ncontexts; i++)
        for (size_t k = 0; k <= i; k++)
            check_pair(l, &c->contexts[k], &c->contexts[i]);
}
