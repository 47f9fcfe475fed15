/* core/key.h: where a request says what it is about: its key.
 *
 * A key names an entity (a tenant, an account, a card); core/cells.h makes a cell of it. What is
 * found here decides which region may take the request, so whoever sends it must not be able to
 * show us one key and the application another. Hence *strict*: what some parser out there reads in
 * another way is refused, never guessed:
 *
 * - path, the text of a {name} segment, of a path in which everybody sees the same segments: none
 *   that is empty, "." or "..", no ";", no "\" and no escaped "/" (separators to some);
 * - header: once, without a comma (a list, or two headers that somebody joined); a name that has
 * "_" for "-" is the same to CGI and is refused;
 * - cookie: once, without quotes, commas, backslashes and blanks (RFC 6265 section 4.1.1);
 * - query: once; escapes and "+" are decoded, also in names; a ";" beside it is refused (it parts
 *   parameters for some);
 * - body: one JSON document (RFC 8259), whole and within the caller's bound, for a double may stand
 *   at its end; the field by its names from the outside in, each once; a string, or an integer that
 *   every parser keeps exactly (RFC 7493);
 * - claim: the same in the payload of the one Bearer token (RFC 7519, compact, signed). Its
 * signature is *not* looked at: somebody before us must have refused what is not genuine.
 *
 * Names of cookies, parameters and fields are compared exactly; one that differs in case alone is
 * refused. A key has 1 to FM_KEY_MAX bytes of UTF-8 without control characters; an empty one is
 * missing. It is compared as bytes: "a" and "A" are two, "7" in a string and 7 are one.
 *
 * Pure, no heap, any thread; time and stack are bounded by the input and FM_KEY_*_MAX. */
#ifndef FM_CORE_KEY_H
#define FM_CORE_KEY_H

#include "core/directory.h"
#include "core/problem.h"

enum {
    FM_KEY_MAX = FM_DIRECTORY_KEY_MAX,
    FM_KEY_NAMES_MAX = 8,     /* of a field in a field ... */
    FM_KEY_DEPTH_MAX = 64,    /* of JSON */
    FM_KEY_CLAIMS_MAX = 8192, /* bytes of a token's payload */
};

enum fm_key_from {
    FM_KEY_PATH,
    FM_KEY_HEADER,
    FM_KEY_COOKIE,
    FM_KEY_QUERY,
    FM_KEY_BODY,
    FM_KEY_CLAIM,
};

struct fm_key_spec {
    enum fm_key_from from;
    unsigned segment; /* of the path, from 0 */
    /* one name; of body and claim one per level */
    struct fm_str name[FM_KEY_NAMES_MAX];
    unsigned nnames;
};

/* "a.b.c" as names; false where one is empty or there are too many. */
bool fm_key_split(struct fm_str dotted, struct fm_key_spec *spec) FM_WARN_UNUSED;

/* What of a request is looked at; what the spec does not need may be left out. */
struct fm_key_request {
    struct fm_str path;           /* as it is sent on */
    const struct fm_str *segment; /* of the normalised path, decoded */
    unsigned nsegments;
    struct fm_str query; /* with or without its "?" */
    /* Header fields: `nfields` records of `stride` bytes that begin with two struct fm_str, name
     * and value, the value without the blanks around it. */
    const void *fields;
    size_t stride;
    unsigned nfields;
    struct fm_str body;
    bool body_cut; /* it is longer than what was kept of it */
};

enum fm_key_outcome {
    FM_KEY_FOUND,
    FM_KEY_MISSING,
    FM_KEY_REPEATED,
    FM_KEY_TOO_LONG,
    FM_KEY_MALFORMED,
    FM_KEY_OUT_OF_REACH, /* it may be there, in what is too large to be looked at */
};

/* Its own copy: it outlives the request. */
struct fm_key {
    uint8_t n;
    char text[FM_KEY_MAX];
};

static inline struct fm_str fm_key_str(const struct fm_key *k)
{
    return fm_str(k->text, k->n);
}

enum fm_key_outcome fm_key_find(const struct fm_key_spec *spec, const struct fm_key_request *rq,
                                struct fm_key *out);

/* The field `names` of a JSON document. */
enum fm_key_outcome fm_key_from_json(const struct fm_str *names, unsigned n, struct fm_str text,
                                     struct fm_key *out);

/* What to answer; FM_PROBLEM_NONE for a key that was found. */
enum fm_problem fm_key_problem(enum fm_key_outcome outcome);

/* -------- for the files of this unit -------- */

enum fm_key_name { FM_KEY_NAME_OTHER, FM_KEY_NAME_SAME, FM_KEY_NAME_DISGUISED };

/* Exactly the same, or the same but for the case of ASCII letters. */
enum fm_key_name fm_key_name(struct fm_str want, struct fm_str given);

/* Take a value as the key, if it may be one. */
enum fm_key_outcome fm_key_set(struct fm_key *out, struct fm_str value);

#endif
