/* Keys. The first byte says where the key is looked for. Promises: what is found is short UTF-8
 * without control characters, the same at the second look, and nothing of the key leaks out where
 * none was found; a key in JSON is what jansson finds there, and one that jansson finds is not said
 * to be missing. */
#include "fuzz.h"

#include "core/key.h"

#include <jansson.h>

static void look_at(const struct fm_key_spec *spec, const struct fm_key_request *rq)
{
    struct fm_key key, again;
    enum fm_key_outcome outcome = fm_key_find(spec, rq, &key);
    HOLDS(outcome <= FM_KEY_OUT_OF_REACH, "%d", (int)outcome);
    HOLDS((outcome == FM_KEY_FOUND) == (key.n > 0), "%d, %d bytes", (int)outcome, key.n);
    HOLDS(fm_key_find(spec, rq, &again) == outcome, "another outcome");
    HOLDS(fm_str_eq(fm_key_str(&key), fm_key_str(&again)), "another key");
    for (size_t i = 0; i < key.n;) {
        uint32_t cp = 0;
        size_t len = fm_str_utf8(fm_str(key.text + i, key.n - i), &cp);
        HOLDS(len > 0 && cp >= 0x20 && cp != 0x7f, "byte %zu", i);
        i += len;
    }
}

static void json(struct fm_str text)
{
    static const struct fm_str names[] = {FM_STR_INIT("a"), FM_STR_INIT("b")};
    struct fm_key key;
    enum fm_key_outcome outcome = fm_key_from_json(names, 2, text, &key);
    json_t *doc = json_loadb(text.p, text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    json_t *field = json_object_get(json_object_get(doc, "a"), "b");
    if (doc && outcome == FM_KEY_FOUND) {
        HOLDS(json_is_string(field) || json_is_integer(field), "jansson finds something else");
        if (json_is_string(field))
            HOLDS(fm_str_eq(fm_key_str(&key),
                            fm_str(json_string_value(field), json_string_length(field))),
                  "jansson finds another text");
        char number[32];
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(field));
        if (json_is_integer(field))
            HOLDS(fm_str_eqz(fm_key_str(&key), number), "jansson finds another number");
    }
    if (outcome == FM_KEY_MISSING)
        HOLDS(!field || json_is_null(field) ||
                  (json_is_string(field) && json_string_length(field) == 0),
              "jansson finds something");
    json_decref(doc);
}

/* "Name:value" lines. */
static void fields(struct fm_key_spec *spec, struct fm_str text)
{
    struct {
        struct fm_str name, value;
    } field[16];
    struct fm_key_request rq = {.fields = field, .stride = sizeof field[0]};
    while (text.n && rq.nfields < FM_COUNT(field)) {
        struct fm_str value, line = fm_str_cut(text, '\n', &text);
        field[rq.nfields].name = fm_str_cut(line, ':', &value);
        field[rq.nfields++].value = fm_str_trim(value);
    }
    look_at(spec, &rq);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char *in = fuzz_copy(data + 1, size - 1);
    struct fm_str text = fm_str(in, size - 1);
    struct fm_key_spec spec = {
        .from = (enum fm_key_from)(data[0] % 6), .name = {FM_STR("a"), FM_STR("b")}, .nnames = 2};
    struct fm_key_request rq = {
        .path = text, .segment = &text, .nsegments = 1, .query = text, .body = text};
    if (spec.from == FM_KEY_HEADER || spec.from == FM_KEY_COOKIE || spec.from == FM_KEY_CLAIM)
        fields(&spec, text);
    else
        look_at(&spec, &rq);
    if (spec.from == FM_KEY_BODY)
        json(text);
    free(in);
    return 0;
}
