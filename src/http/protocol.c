/* The numbers of the protocol: see the header. This file is all that differs between the program
 * and `fulmar-next`, which tests start beside it: that speaks one version more, and says what this
 * one does not know. */
#include "http/protocol.h"

#include "base/assert.h"

#ifdef FM_PROTOCOL_NEXT
#define SPEAKS 2
#define LEAST  1
#define MOST   3
#define NEWS   ",\"later\":{\"of\":[\"a\",\"later\",\"version\"]}"
#else
#define SPEAKS 1
#define LEAST  1 /* there is no version before it */
#define MOST   2
#define NEWS   ""
#endif

#define TEXT_OF(n) #n
#define TEXT(n)    TEXT_OF(n)

_Static_assert(MOST == SPEAKS + 1 && (LEAST == SPEAKS - 1 || SPEAKS == 1), "one version apart");

unsigned fm_protocol(void)
{
    return SPEAKS;
}

void fm_protocol_begin(struct fm_buf *out)
{
    fm_buf_lit(out, "{\"v\":" TEXT(SPEAKS) NEWS);
}

json_t *fm_protocol_stamp(json_t *o)
{
    bool good = json_object_set_new(o, "v", json_integer(SPEAKS)) == 0;
#ifdef FM_PROTOCOL_NEXT
    good = good && json_object_set_new(o, "later", json_pack("{s:s}", "of", "a version")) == 0;
#endif
    if (good)
        return o;
    json_decref(o);
    return NULL;
}

const char *fm_protocol_refuses(const json_t *o)
{
    const json_t *v = json_object_get(o, "v"), *must = json_object_get(o, "must");
    json_int_t n = json_integer_value(v);
    if (!json_is_object(o) || !json_is_integer(v))
        return "it does not say its version";
    if (n < LEAST || n > MOST)
        return "of a version of the protocol that is not read here: "
               "this program reads " TEXT(LEAST) " to " TEXT(MOST);
    if (must && (!json_is_array(must) || json_array_size(must) > 0))
        return "of a later version: something in it must be understood, and is not known here";
    FM_ASSERT(n >= LEAST && n <= MOST);
    return NULL;
}

json_t *fm_protocol_json(void)
{
    return json_pack("{s:i,s:[i,i]}", "speaks", SPEAKS, "reads", LEAST, MOST);
}
