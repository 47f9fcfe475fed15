/* What PostgreSQL decodes from its log. Promises: what is given out lies within what was given in;
 * each step gets on; a value is no longer than what it was written as; whoever has a name in a list
 * finds it there. The first byte says what the rest is taken for. */
#include "fuzz.h"

#include "pg/decoded.h"

static void within(struct fm_str part, const char *in, size_t n)
{
    if (part.n)
        HOLDS(part.p >= in && part.p + part.n <= in + n, "%zu bytes", part.n);
}

static void columns(struct fm_str text, const char *in, size_t n)
{
    struct fm_pg_column c;
    struct fm_str rest = text;
    for (size_t before = rest.n; fm_pg_column_next(&rest, &c); before = rest.n) {
        HOLDS(rest.n < before, "%zu and %zu", rest.n, before);
        within(c.name, in, n);
        within(c.type, in, n);
        within(c.value, in, n);
        HOLDS(c.name.n > 0 && fm_pg_names_have(c.name, c.name), "%zu", c.name.n);
        char *room = fuzz_copy(c.value.p, c.value.n);
        struct fm_buf b = fm_buf(room, c.value.n);
        fm_pg_value_write(&b, &c);
        HOLDS(!b.full, "%zu", c.value.n);
        free(room);
    }
    within(rest, in, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t n = size - 1;
    char *in = fuzz_copy(data + 1, n), *out = fuzz_copy(data + 1, n);
    struct fm_str text = fm_str(in, n);
    struct fm_pg_line line;
    struct fm_pg_word w;
    if (data[0] & 1 && fm_pg_line_parse(text, &line)) {
        for (size_t i = 0; i < FM_PG_LINE_FIELDS; i++)
            within(line.field[i], in, n);
        struct fm_buf b = fm_buf(out, n);
        fm_pg_field_write(&b, line.field[2]);
        HOLDS(!b.full, "%zu bytes", line.field[2].n);
    }
    fm_pg_word_parse(text, &w);
    within(w.relation, in, n);
    within(w.at, in, n);
    columns(w.columns, in, n);
    columns(w.old, in, n);
    columns(text, in, n);
    free(in);
    free(out);
    return 0;
}
