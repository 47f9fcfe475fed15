/* Single values by kind: what each is called, how it is read, its pattern in the JSON Schema. See
 * schema.h. Each reader leaves the value as it was where there is an error. */
#include "conf/addr.h"
#include "conf/decode.h"

#include "base/assert.h"

static void store(const struct fm_schema_row *row, void *at, uint64_t v)
{
    uint32_t small = (uint32_t)v;
    FM_ASSERT(row->size == sizeof v || v <= UINT32_MAX);
    if (row->size == sizeof v)
        memcpy((char *)at + row->offset, &v, sizeof v);
    else if (row->size == sizeof small)
        memcpy((char *)at + row->offset, &small, sizeof small);
    else if (row->size == sizeof(bool))
        *(bool *)((char *)at + row->offset) = v != 0;
    else
        FM_ASSERT(row->size == 0); /* only checked, kept nowhere */
}

static void store_str(const struct fm_schema_row *row, void *at, struct fm_str s)
{
    FM_ASSERT(s.p && s.p[s.n] == '\0');
    FM_ASSERT(row->size == sizeof s || row->size == 0);
    memcpy((char *)at + row->offset, &s, sizeof s);
}

static bool is_bool(const struct fm_node *n)
{
    return n->plain && (fm_str_eqz(n->text, "true") || fm_str_eqz(n->text, "false"));
}

/* A value that YAML's types make something else than it looks like. */
static bool unquoted(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n)
{
    struct fm_fault f;
    if (n->plain)
        return true;
    fm_fault(&f, "\"%s\" in quotes is a text", FM_Q(n->text));
    fm_fault_advice(&f, "write `%s` without the quotes", FM_Q(n->text));
    fm_decode_fault(l, row, n, &f);
    return false;
}

static void bool_value(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                       void *at)
{
    static const char *const yes[] = {"yes", "on", "y", "true"}, *const no[] = {"no", "off", "n",
                                                                                "false"};
    struct fm_str s;
    FM_ASSERT(row->size == sizeof(bool));
    if (!fm_decode_text(l, row, n, &s) || !unquoted(l, row, n))
        return;
    if (is_bool(n)) {
        *(bool *)((char *)at + row->offset) = fm_str_eqz(s, "true");
        return;
    }
    struct fm_fault f;
    fm_fault(&f, "`%s` is none", FM_Q(s));
    for (size_t i = 0; i < FM_COUNT(yes); i++) {
        if (fm_str_eq_nocase(s, fm_str_z(yes[i])))
            fm_fault_advice(&f, "write `true`: the only booleans are `true` and `false`");
        if (fm_str_eq_nocase(s, fm_str_z(no[i])))
            fm_fault_advice(&f, "write `false`: the only booleans are `true` and `false`");
    }
    fm_decode_fault(l, row, n, &f);
}

/* The row's range, in words. */
static struct fm_scalar_text amount(const struct fm_schema_row *row, uint64_t v)
{
    struct fm_scalar_text out;
    switch ((int)row->kind) {
    case FM_KIND_DURATION:
        return fm_scalar_duration_text((int64_t)v);
    case FM_KIND_SIZE:
    case FM_KIND_RATE:
        out = fm_scalar_size_text(v);
        if (row->kind == FM_KIND_RATE)
            memcpy(out.s + strlen(out.s), "/s", 3);
        return out;
    case FM_KIND_PERCENT:
        return fm_scalar_percent_text((uint32_t)v);
    default:
        out.s[fm_u64_write(out.s, v)] = '\0';
        if (row->kind == FM_KIND_PER_SECOND)
            memcpy(out.s + strlen(out.s), "/s", 3);
        return out;
    }
}

static void number(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                   void *at, uint64_t v)
{
    FM_ASSERT(!row->max || row->min <= row->max);
    if (v < row->min || (row->max && v > row->max)) {
        if (row->min == row->max)
            fm_report_error(l->report, n->pos, "%s must be %s, and `%s` is not",
                            fm_decode_subject(n).s, amount(row, row->min).s, FM_Q(n->text));
        else
            fm_report_error(l->report, n->pos, "%s must be from %s to %s, and `%s` is %s",
                            fm_decode_subject(n).s, amount(row, row->min).s,
                            amount(row, row->max).s, FM_Q(n->text), v < row->min ? "less" : "more");
        return;
    }
    store(row, at, v);
}

static void uint_value(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                       void *at)
{
    struct fm_str s;
    struct fm_fault f;
    uint64_t v;
    if (!fm_decode_text(l, row, n, &s) || !unquoted(l, row, n))
        return;
    if (fm_scalar_u64(s, &v, &f))
        number(l, row, n, at, v);
    else
        fm_decode_fault(l, row, n, &f);
}

static void duration_value(struct fm_load *l, const struct fm_schema_row *row,
                           const struct fm_node *n, void *at)
{
    struct fm_str s;
    struct fm_fault f;
    int64_t ms;
    if (!fm_decode_text(l, row, n, &s))
        return;
    FM_ASSERT(row->max > 0); /* so that no deadline overflows */
    if (fm_scalar_duration(s, &ms, &f))
        number(l, row, n, at, (uint64_t)ms);
    else
        fm_decode_fault(l, row, n, &f);
}

static void size_value(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                       void *at)
{
    struct fm_str s;
    struct fm_fault f;
    uint64_t v;
    if (!fm_decode_text(l, row, n, &s))
        return;
    bool good =
        row->kind == FM_KIND_RATE ? fm_scalar_byte_rate(s, &v, &f) : fm_scalar_size(s, &v, &f);
    if (good)
        number(l, row, n, at, v);
    else
        fm_decode_fault(l, row, n, &f);
}

static void percent_value(struct fm_load *l, const struct fm_schema_row *row,
                          const struct fm_node *n, void *at)
{
    struct fm_str s;
    struct fm_fault f;
    uint32_t ppm;
    if (!fm_decode_text(l, row, n, &s))
        return;
    FM_ASSERT(row->size == sizeof ppm);
    if (fm_scalar_percent(s, &ppm, &f))
        number(l, row, n, at, ppm);
    else
        fm_decode_fault(l, row, n, &f);
}

static void per_second_value(struct fm_load *l, const struct fm_schema_row *row,
                             const struct fm_node *n, void *at)
{
    struct fm_str s;
    struct fm_fault f;
    uint64_t v;
    if (!fm_decode_text(l, row, n, &s))
        return;
    FM_ASSERT(row->size == sizeof(uint32_t) && row->max && row->max <= UINT32_MAX);
    if (fm_scalar_rate(s, &v, &f))
        number(l, row, n, at, v);
    else
        fm_decode_fault(l, row, n, &f);
}

static void hours_value(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                        void *at)
{
    struct fm_str s;
    struct fm_fault f;
    struct fm_conf_window w;
    if (!fm_decode_text(l, row, n, &s))
        return;
    FM_ASSERT(row->size == sizeof w);
    if (fm_scalar_window(s, &w, &f))
        memcpy((char *)at + row->offset, &w, sizeof w);
    else
        fm_decode_fault(l, row, n, &f);
}

static void word_value(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                       void *at)
{
    struct fm_str s, names[16];
    size_t known = 0;
    FM_ASSERT(row->words && row->nwords > 0);
    if (!fm_decode_text(l, row, n, &s))
        return;
    for (size_t i = 0; i < row->nwords; i++) {
        const struct fm_word *w = &row->words[i];
        if (!fm_str_eqz(s, w->name)) {
            FM_ASSERT(known < FM_COUNT(names));
            if (!w->later)
                names[known++] = fm_str_z(w->name);
        } else if (w->later) {
            fm_report_error(l->report, n->pos, "`%s` is not in this version of Fulmar (%s): %s",
                            w->name, FM_VERSION, w->help);
            return;
        } else {
            store(row, at, w->value);
            return;
        }
    }
    struct fm_fault f;
    fm_fault(&f, "`%s` is unknown", FM_Q(s));
    struct fm_str near = fm_suggest_name(s, names, known);
    if (near.p)
        fm_fault_advice(&f, "did you mean `%s`?", near.p);
    fm_decode_fault(l, row, n, &f);
}

static bool url_path(struct fm_str s, struct fm_fault *f)
{
    if (s.n == 0 || s.p[0] != '/') {
        fm_fault(f, "`%s` does not begin with `/`", FM_Q(s));
        return fm_fault_advice(f, "write `/%s`", FM_Q(s));
    }
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '#')
            return fm_fault(f, "`%s` has a character that must be written as %%XX", FM_Q(s));
    return s.n <= 1024 || fm_fault(f, "it is longer than 1024 characters");
}

static bool text(const struct fm_schema_row *row, struct fm_str s, struct fm_fault *f)
{
    if (s.n < row->min)
        return fm_fault(f, "it is empty");
    if (row->max && s.n > row->max)
        return fm_fault(f, "it is longer than %u bytes", (unsigned)row->max);
    return true;
}

/* Paths of files keep {host}: one file serves all hosts. Here they are only looked at. */
static bool file_path(struct fm_load *l, const struct fm_node *n, struct fm_str *s,
                      struct fm_fault *f)
{
    struct fm_str host = l->host, region = l->region, expanded;
    if (s->n == 0 || s->n > 1024)
        return fm_fault(f, "it is empty or longer than 1024 bytes");
    if (s->p[0] == '~') {
        fm_fault(f, "a `~` does not expand");
        return fm_fault_advice(f, "write the whole path");
    }
    if (memchr(s->p, '\n', s->n))
        return fm_fault(f, "there is a line break in it");
    l->host = l->region = FM_STR("x");
    bool good = fm_decode_expand(l, *s, &expanded, f);
    l->host = host;
    l->region = region;
    if (!good)
        return false;
    *s = fm_load_relative(l, n->pos, *s);
    return s->p || fm_fault_memory(f);
}

static bool lower(struct fm_load *l, struct fm_str *s, struct fm_fault *f)
{
    char *copy = fm_load_alloc(l, s->n + 1, 1);
    if (!copy)
        return fm_fault_memory(f);
    FM_ASSERT(copy[s->n] == '\0');
    for (size_t i = 0; i < s->n; i++)
        copy[i] = fm_lower(s->p[i]);
    s->p = copy;
    return true;
}

static bool dns_name(struct fm_load *l, struct fm_str *s, struct fm_fault *f)
{
    struct fm_conf_addr a = {0};
    if (!fm_decode_expand(l, *s, s, f) || !fm_conf_addr_host(l->arena, *s, &a, f))
        return false;
    return !a.is_ip || fm_fault(f, "`%s` is an IP address", FM_Q(*s));
}

static void text_value(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                       void *at)
{
    struct fm_str s;
    struct fm_fault f = {.memory = false};
    bool good;
    if (!fm_decode_text(l, row, n, &s))
        return;
    switch ((int)row->kind) {
    case FM_KIND_NAME:
        good = fm_scalar_name(s, &f);
        break;
    case FM_KIND_TOKEN:
        good = fm_scalar_token(s, &f);
        break;
    case FM_KIND_METHOD:
        good = fm_scalar_method(s, &f);
        break;
    case FM_KIND_URL_PATH:
        good = url_path(s, &f);
        break;
    case FM_KIND_HOST_PATTERN:
        good = fm_conf_addr_host_pattern(s, &f) && lower(l, &s, &f);
        break;
    case FM_KIND_DNS_NAME:
        good = dns_name(l, &s, &f);
        break;
    case FM_KIND_FILE:
        good = file_path(l, n, &s, &f);
        break;
    default:
        good = text(row, s, &f);
        break;
    }
    if (good && is_bool(n)) {
        good = fm_fault(&f, "`%s` without quotes is a boolean", FM_Q(s));
        fm_fault_advice(&f, "write \"%s\"", FM_Q(s));
    }
    if (good)
        store_str(row, at, s);
    else
        fm_decode_fault(l, row, n, &f);
}

static void addr_value(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                       void *at)
{
    struct fm_str s;
    struct fm_fault f = {.memory = false};
    struct fm_conf_addr a = {.pos = n->pos};
    if (!fm_decode_text(l, row, n, &s))
        return;
    bool good = row->kind == FM_KIND_BIND
                    ? fm_conf_addr_bind(l->arena, s, &a, &f)
                    : fm_decode_expand(l, s, &s, &f) &&
                          (row->kind == FM_KIND_HOST ? fm_conf_addr_host(l->arena, s, &a, &f)
                                                     : fm_conf_addr_target(l->arena, s, &a, &f));
    FM_ASSERT(!good || (a.host.p && a.host.p[a.host.n] == '\0' && a.text.p));
    if (good)
        memcpy((char *)at + row->offset, &a, sizeof a);
    else
        fm_decode_fault(l, row, n, &f);
}

static void cidr_value(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                       void *at)
{
    struct fm_str s;
    struct fm_fault f = {.memory = false};
    struct fm_conf_cidr net;
    if (!fm_decode_text(l, row, n, &s))
        return;
    bool good = fm_conf_addr_cidr(s, &net, &f);
    FM_ASSERT(!good || net.bits <= 128);
    if (good)
        memcpy((char *)at + row->offset, &net, sizeof net);
    else
        fm_decode_fault(l, row, n, &f);
}

static const struct fm_kind_info infos[] = {
    [FM_KIND_BOOL] = {"`true` or `false`", "boolean", "boolean", NULL,
                      "`true` or `false`, without quotes; nothing else is one.", bool_value},
    [FM_KIND_UINT] = {"a whole number", "integer", "number", NULL, "Digits alone, without quotes.",
                      uint_value},
    [FM_KIND_DURATION] = {"a duration such as `200ms`", "duration", "duration",
                          "^[0-9]+(\\.[0-9]+)?(ms|s|m|h|d)$",
                          "`200ms`, `1.5s`, `15m`, `24h`, `14d`; always with its unit, exact to "
                          "the millisecond.",
                          duration_value},
    [FM_KIND_SIZE] = {"a size such as `64KiB`", "size", "size",
                      "^[0-9]+(\\.[0-9]+)?(B|KiB|MiB|GiB|TiB)$",
                      "`512B`, `64KiB`, `1GiB`, `1TiB`; powers of 1024.", size_value},
    [FM_KIND_RATE] = {"a rate such as `1KiB/s`", "rate", "rate",
                      "^[0-9]+(\\.[0-9]+)?(B|KiB|MiB|GiB|TiB)/s$", "`1KiB/s`: a size per second.",
                      size_value},
    [FM_KIND_PERCENT] = {"a share such as `20%`", "share", "share", "^[0-9]+(\\.[0-9]+)?%$",
                         "`20%`, `0.5%`; up to `100%`.", percent_value},
    [FM_KIND_PER_SECOND] = {"a number per second such as `5000/s`", "per-second",
                            "number per second", "^[0-9]+/s$", "`5000/s`: so many in a second.",
                            per_second_value},
    [FM_KIND_AT_MOST] = {"a number in a time such as `2 per 6h`", "at-most", "number per time",
                         "^[0-9]+ per [0-9]+(\\.[0-9]+)?(ms|s|m|h|d)$",
                         "`2 per 6h`: so many in any such time.", fm_decode_at_most},
    [FM_KIND_HOURS] = {"hours such as `Sun 02:00-05:00 UTC`", "hours", "hours",
                       "^([A-Z][a-z]{2}([-,][A-Z][a-z]{2})* )?[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:"
                       "[0-5][0-9] UTC$",
                       "`Sun 02:00-05:00 UTC`, `Mon-Fri 22:00-02:00 UTC`, or of every day "
                       "`02:00-05:00 UTC`; what ends before it begins ends on the day after.",
                       hours_value},
    [FM_KIND_WORD] = {"one word of a list", NULL, "word", NULL, NULL, word_value},
    [FM_KIND_NAME] = {"a name", "name", "name", "^[a-z][a-z0-9-]{0,62}$",
                      "Begins with a lower-case letter and goes on with lower-case letters, digits "
                      "and `-`; up to 63 characters.",
                      text_value},
    [FM_KIND_TEXT] = {"a text", "text", "text", NULL, "Any text.", text_value},
    [FM_KIND_TOKEN] = {"the name of a header or cookie", "token", "token",
                       "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$",
                       "The name of a header or cookie (a token of RFC 9110).", text_value},
    [FM_KIND_METHOD] = {"a method such as `GET`", "method", "method",
                        "^[!#$%&'*+.^_`|~0-9A-Z-]{1,32}$",
                        "An HTTP method in capitals; not CONNECT and TRACE.", text_value},
    [FM_KIND_HOST_PATTERN] = {"a host name", "host-pattern", "host pattern", NULL,
                              "`api.bank.example`, or `\"*.bank.example\"` for every name below.",
                              text_value},
    [FM_KIND_DNS_NAME] = {"a host name", "dns-name", "host name", NULL,
                          "A name; {region} expands in regions.", text_value},
    [FM_KIND_URL_PATH] = {"a path that begins with `/`", "url-path", "path of a URL", "^/",
                          "Begins with `/`; up to 1024 characters.", text_value},
    [FM_KIND_FILE] = {"the path of a file", "file", "file", NULL,
                      "Relative paths begin at the file in which they stand; {host} and {region} "
                      "expand.",
                      text_value},
    [FM_KIND_ROUTE_PATH] = {"the path of a route", "route-path", "route", "^/",
                            "`/cards/{card}/**`: literal segments, `{name}` for any one segment, "
                            "`**` at the end for any number, also none; up to 32 segments. Quote "
                            "it inside of brackets and braces.",
                            fm_decode_route_path},
    [FM_KIND_HTTP_URL] = {"a URL such as `http://10.0.1.90/ping`", "http-url", "URL", "^http://",
                          "`http://host[:port]/path?query`; {region} expands in regions.",
                          fm_decode_http_url},
    [FM_KIND_WEB_URL] = {"a URL such as `https://events.bank.example/authority`", "web-url",
                         "web address", "^https?://",
                         "`https://host[:port]/path?query`, or the same with `http://`.",
                         fm_decode_webhook_url},
    [FM_KIND_ENDPOINT] = {"a URL such as `http://10.0.1.5:2379`", "endpoint", "URL of a member",
                          "^http://[^/?#]+:[0-9]+/?$",
                          "`http://HOST:PORT`, a name or an IP address, without a path.",
                          fm_decode_nothing},
    [FM_KIND_BIND] = {"an IP address with a port such as \"0.0.0.0:80\"", "bind", "IP:port",
                      "^(\\[[0-9a-fA-F:.]+\\]|[0-9.]+):[0-9]+$",
                      "What a process binds: `\"0.0.0.0:80\"`, `\"[::1]:80\"` (with quotes).",
                      addr_value},
    [FM_KIND_TARGET] = {"an address such as \"10.0.1.10:8080\"", "target", "host:port",
                        "^.+:[0-9]+$",
                        "A name or an IP address with a port: `\"10.0.1.10:8080\"`, "
                        "`\"app.{region}.internal:80\"`, `\"[fd00::1]:80\"` (with quotes).",
                        addr_value},
    [FM_KIND_HOST] = {"a host name or an IP address", "host-address", "host", NULL,
                      "A name or an IP address, without a port.", addr_value},
    [FM_KIND_CIDR] = {"a network such as `10.0.9.0/24`", "network", "network", NULL,
                      "`10.0.9.0/24`, `\"fd00::/8\"`, or one IP address.", cidr_value},
    [FM_KIND_SETTING] = {"a value of PostgreSQL such as `1GB`", "setting", "value of PostgreSQL",
                         NULL,
                         "As PostgreSQL writes it, without its quotes: `200`, `1GB`, `on`; up to "
                         "1024 bytes.",
                         fm_decode_nothing},
    [FM_KIND_SECTION] = {"a map of keys", NULL, NULL, NULL, NULL, fm_decode_section_value},
    [FM_KIND_NAMED] = {"a map of names", NULL, NULL, NULL, NULL, NULL},
    [FM_KIND_LIST] = {"a list", NULL, NULL, NULL, NULL, fm_decode_list_value},
    [FM_KIND_EITHER] = {"one of several forms", NULL, NULL, NULL, NULL, fm_decode_either_value},
    [FM_KIND_LATER] = {"nothing yet", NULL, NULL, NULL, NULL, NULL},
};

_Static_assert(FM_COUNT(infos) == FM_KINDS, "a row for each kind");

const struct fm_kind_info *fm_kind_info(enum fm_kind kind)
{
    FM_ASSERT((unsigned)kind < FM_KINDS);
    FM_ASSERT(infos[kind].expects);
    return &infos[kind];
}
