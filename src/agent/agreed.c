/* The record `config`: see the header. */
#include "agent/agreed.h"

#include "base/assert.h"
#include "base/buf.h"
#include "http/protocol.h"

#include <stdlib.h>

_Static_assert((int)FM_AGREED_DIGEST_ROOM == (int)FM_CONF_DIGEST_ROOM, "the same digest");

char *fm_agreed_text(const json_t *shared)
{
    char *text = json_is_object(shared) ? json_dumps(shared, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    if (!text || strlen(text) <= FM_CONF_SHARED_MAX)
        return text;
    free(text);
    return NULL;
}

bool fm_agreed_make(struct fm_agreed *a, uint64_t generation, const char *text)
{
    FM_ASSERT(generation > 0 && text);
    *a = (struct fm_agreed){.mark.generation = generation};
    if (strlen(text) > FM_CONF_SHARED_MAX)
        return false;
    fm_conf_shared_digest(fm_str_z(text), a->mark.digest);
    a->text = strdup(text);
    return a->text != NULL;
}

json_t *fm_agreed_json(const struct fm_agreed *a, bool whole)
{
    FM_ASSERT(a->mark.generation > 0 && a->text);
    json_t *j = fm_protocol_stamp(json_pack(
        "{s:I,s:s,s:s,s:s,s:s,s:s}", "generation", (json_int_t)a->mark.generation, "digest",
        a->mark.digest, "by", a->by, "reason", a->reason, "at", a->at, "op", a->op));
    if (!j || !whole)
        return j;
    json_t *shared = json_loads(a->text, JSON_REJECT_DUPLICATES, NULL);
    if (shared && json_object_set_new(j, "shared", shared) == 0)
        return j;
    json_decref(j);
    return NULL;
}

static bool take(char *to, size_t cap, const char *from)
{
    size_t n = strlen(from);
    if (n >= cap)
        return false;
    memcpy(to, from, n + 1);
    fm_text_tame(to);
    return true;
}

static const char *read_record(const json_t *j, struct fm_agreed *a)
{
    const char *digest, *by, *reason, *at, *op, *refused = fm_protocol_refuses(j);
    json_int_t generation;
    json_t *shared;
    if (refused)
        return refused;
    if (json_unpack((json_t *)(uintptr_t)j, "{s:I,s:s,s:o,s:s,s:s,s:s,s:s}", "generation",
                    &generation, "digest", &digest, "shared", &shared, "by", &by, "reason", &reason,
                    "at", &at, "op", &op))
        return "it is no agreement";
    char *text = fm_agreed_text(shared);
    bool good = text && generation > 0 && fm_agreed_make(a, (uint64_t)generation, text);
    free(text);
    if (!good)
        return "it says nothing that could be agreed upon";
    if (strcmp(digest, a->mark.digest) != 0)
        return "its digest is not that of its text";
    if (!take(a->by, sizeof a->by, by) || !take(a->reason, sizeof a->reason, reason) ||
        !take(a->at, sizeof a->at, at) || !take(a->op, sizeof a->op, op))
        return "a text that is too long";
    return NULL;
}

bool fm_agreed_read(struct fm_str text, struct fm_agreed *a, const char **why)
{
    *a = (struct fm_agreed){.text = NULL};
    json_t *j = text.n <= FM_AGREED_TEXT_MAX
                    ? json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL)
                    : NULL;
    *why = j ? read_record(j, a) : "no JSON";
    json_decref(j);
    if (*why)
        fm_agreed_free(a);
    return !*why;
}

bool fm_agreed_copy(struct fm_agreed *to, const struct fm_agreed *from)
{
    char *text = from->text ? strdup(from->text) : NULL;
    if (from->text && !text)
        return false;
    *to = *from;
    to->text = text;
    return true;
}

void fm_agreed_free(struct fm_agreed *a)
{
    free(a->text);
    *a = (struct fm_agreed){.text = NULL};
}
