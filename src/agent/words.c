/* Lines in a log of PostgreSQL: see the header. Invariant: whatever the text is, what is given back
 * is one line that ends within its room. */
#include "agent/words.h"

#include "base/assert.h"
#include "base/bits.h"
#include "base/buf.h"

#include <stdio.h>
#include <string.h>

#define DETAIL "DETAIL:  "

static int line_of(const char *at)
{
    size_t n = strcspn(at, "\n");
    return n < FM_WORDS_ROOM ? (int)n : FM_WORDS_ROOM - 1;
}

static const char *last_of(const char *text, const char *sign)
{
    const char *found = NULL;
    for (const char *at = strstr(text, sign); at; at = strstr(at + 1, sign))
        found = at;
    return found;
}

/* What stands in the next line where that is the detail of this one. */
static const char *detail_of(const char *at)
{
    const char *next = strchr(at, '\n');
    const char *detail = next ? strstr(next + 1, DETAIL) : NULL;
    bool is_next = detail && strcspn(next + 1, "\n") > (size_t)(detail - next - 1);
    return is_next ? detail + strlen(DETAIL) : "";
}

static bool give(const char *at, const char *more, char out[FM_WORDS_ROOM])
{
    FM_ASSERT(at && more);
    snprintf(out, FM_WORDS_ROOM, "%.*s%s%.*s", line_of(at), at, more[0] ? ": " : "", line_of(more),
             more);
    fm_text_tame(out);
    return out[0] != 0;
}

bool fm_words_end(const char *text, char out[FM_WORDS_ROOM])
{
    static const char *const signs[] = {"could not bind", "PANIC:", "FATAL:"};
    out[0] = 0;
    for (size_t i = 0; i < FM_COUNT(signs); i++) {
        const char *at = last_of(text, signs[i]);
        if (at)
            return give(at, detail_of(at), out);
    }
    return false;
}

bool fm_words_stream(const char *text, char out[FM_WORDS_ROOM])
{
    static const char primary[] = "could not connect to the primary server: ";
    static const char *const signs[] = {primary, "could not start WAL streaming",
                                        "could not receive", "database system identifier differs",
                                        "highest timeline"};
    const char *last = NULL;
    out[0] = 0;
    for (size_t i = 0; i < FM_COUNT(signs); i++) {
        const char *at = last_of(text, signs[i]);
        if (at && (!last || at > last))
            last = at;
    }
    if (!last)
        return false;
    if (strncmp(last, primary, sizeof primary - 1) == 0)
        last += sizeof primary - 1; /* it leaves no room for the rest, which says the same */
    return give(last, "", out);
}

bool fm_words_listen(const char *text, const char *address, char out[FM_WORDS_ROOM])
{
    char sign[FM_WORDS_ROOM], bound[FM_WORDS_ROOM];
    const char *why = NULL;
    snprintf(sign, sizeof sign, "could not create listen socket for \"%.64s\"", address);
    snprintf(bound, sizeof bound, " address \"%.64s\": ", address);
    const char *gone = strstr(text, sign);
    out[0] = 0;
    if (!gone)
        return false;
    for (const char *at = strstr(text, "could not bind"); at && at < gone;
         at = strstr(at + 1, "could not bind")) {
        const char *of = strstr(at, bound);
        if (of && of < at + line_of(at))
            why = at;
    }
    return give(why ? why : gone, "", out);
}
