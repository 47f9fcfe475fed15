/* What a controller says: see the header. */
#include "agent/said.h"

#include "base/assert.h"

#include <stdio.h>

/* -------- writing -------- */

static json_t *context_json(const struct fm_roster *r, const struct fm_said *s, unsigned i)
{
    const struct fm_said_context *c = &s->context[i];
    FM_ASSERT(c->lease_left_ms >= 0);
    return json_pack("{s:o,s:b,s:b,s:b,s:o}", "marks",
                     fm_marks_context_json(r, &s->marks.context[i]), "acted_on", (int)c->acted_on,
                     "frozen", (int)c->frozen, "unproven", (int)c->unproven, "lease_left_ms",
                     c->lease_left_ms ? json_integer(c->lease_left_ms) : json_null());
}

json_t *fm_said_json(const struct fm_roster *r, const struct fm_said *s)
{
    char reads[20];
    json_t *contexts = json_object();
    snprintf(reads, sizeof reads, "%016llx", (unsigned long long)s->reads);
    for (unsigned i = 0; i < s->marks.n; i++)
        json_object_set_new(contexts, s->marks.context[i].name, context_json(r, s, i));
    return json_pack("{s:s,s:s,s:s,s:s,s:b,s:I,s:s?,s:s?,s:o}", "schema", "fulmar.marks/1",
                     "service", s->marks.service, "host", s->host, "region", s->region, "able",
                     (int)s->able, "life", (json_int_t)s->marks.life, "reads",
                     s->reads ? reads : NULL, "trouble", s->trouble[0] ? s->trouble : NULL,
                     "contexts", contexts);
}

/* -------- reading -------- */

static bool take_name(char out[FM_ROSTER_NAME_ROOM], const char *name)
{
    if (!fm_roster_is_name(fm_str_z(name)))
        return false;
    memcpy(out, name, strlen(name) + 1);
    return true;
}

static bool read_context(const struct fm_roster *r, struct fm_said *s, const char *name, json_t *o)
{
    json_t *marks, *left;
    int acted_on, frozen, unproven;
    unsigned i = s->marks.n;
    if (json_unpack(o, "{s:o,s:b,s:b,s:b,s:o}", "marks", &marks, "acted_on", &acted_on, "frozen",
                    &frozen, "unproven", &unproven, "lease_left_ms", &left) ||
        !fm_marks_context_read(r, &s->marks, name, marks) || s->marks.n != i + 1)
        return false;
    int number = fm_roster_context(r, fm_str_z(name));
    if (number >= 0 && r->context[number].ncells != s->marks.context[i].ncells)
        return false;
    json_int_t ms = json_integer_value(left);
    s->context[i] = (struct fm_said_context){acted_on, frozen, unproven, ms > 0 ? ms : 0};
    return json_is_integer(left) || json_is_null(left);
}

static bool is_text_or_null(const json_t *v)
{
    return json_is_string(v) || json_is_null(v);
}

static bool read_doc(const struct fm_roster *r, struct fm_said *s, json_t *o)
{
    const char *schema, *service, *host, *region, *name;
    json_t *reads, *trouble, *contexts, *c;
    int able;
    if (json_unpack(o, "{s:s,s:s,s:s,s:s,s:b,s:o,s:o,s:o}", "schema", &schema, "service", &service,
                    "host", &host, "region", &region, "able", &able, "reads", &reads, "trouble",
                    &trouble, "contexts", &contexts) ||
        strcmp(schema, "fulmar.marks/1") != 0 || !json_is_object(contexts) ||
        !is_text_or_null(reads) || !is_text_or_null(trouble) ||
        !take_name(s->marks.service, service) || !take_name(s->host, host) ||
        !take_name(s->region, region))
        return false;
    s->able = able;
    const char *id = json_string_value(reads), *why = json_string_value(trouble);
    if (id && (strlen(id) != 16 || !fm_str_u64_hex(fm_str_z(id), &s->reads)))
        return false;
    snprintf(s->trouble, sizeof s->trouble, "%s", why ? why : "");
    json_object_foreach(contexts, name, c)
    {
        if (!read_context(r, s, name, c))
            return false;
    }
    return true;
}

enum fm_err fm_said_read(const struct fm_roster *r, struct fm_said *s, json_t *o,
                         struct fm_error *e)
{
    memset(s, 0, sizeof *s);
    return read_doc(r, s, o)
               ? FM_ERR_OK
               : fm_error_set(e, FM_ERR_INVALID,
                              "it does not say what controllers of this version say, or its "
                              "contexts have other cells");
}

bool fm_said_is_frozen(const struct fm_said *s)
{
    bool frozen = false;
    for (unsigned i = 0; i < s->marks.n; i++)
        frozen |= s->context[i].frozen;
    return frozen;
}

bool fm_said_is_unproven(const struct fm_said *s)
{
    bool unproven = false;
    for (unsigned i = 0; i < s->marks.n; i++)
        unproven |= s->context[i].unproven;
    return unproven;
}
