/* pg/decoded.h: the words of a transaction as PostgreSQL decodes it from its log with the plugin
 * `test_decoding`, and the lines in which pg/isolated.h keeps them. Pure: views into the caller's
 * text; what cannot be understood is told as such and never made up.
 *
 * A line is a kind and three fields, as COPY writes them, with tabs between:
 *   D database            what follows is of that database
 *   K relation columns    by these columns (with commas between) its rows are known
 *   C xid lsn words       one word of a transaction: BEGIN, a change, COMMIT, in their order
 *   S transactions words  how many transactions changed rows there, and how many changes there were
 *
 * Names of relations and columns are as SQL has to quote them, so that equal names are equal texts.
 *
 * Source: PostgreSQL's contrib/test_decoding/test_decoding.c and the chapter on COPY, 14 to 17. */
#ifndef FM_PG_DECODED_H
#define FM_PG_DECODED_H

#include "base/buf.h"

enum { FM_PG_LINE_FIELDS = 3 };

struct fm_pg_line {
    char kind; /* 'D', 'K', 'C' or 'S' */
    struct fm_str field[FM_PG_LINE_FIELDS];
};

/* Of a line without its end. False: it is none. */
bool fm_pg_line_parse(struct fm_str line, struct fm_pg_line *out) FM_WARN_UNUSED;

/* What a field of COPY says. It is never longer than the field. */
void fm_pg_field_write(struct fm_buf *b, struct fm_str field);

#define FM_PG_WORDS(X)                                                                             \
    X(BEGIN, "begin")                                                                              \
    X(COMMIT, "commit")                                                                            \
    X(INSERT, "insert")                                                                            \
    X(UPDATE, "update")                                                                            \
    X(DELETE, "delete")                                                                            \
    X(TRUNCATE, "truncate")                                                                        \
    X(OTHER, "other") /* a message, or what this does not know */

enum fm_pg_word_kind {
#define X(id, name) FM_PG_WORD_##id,
    FM_PG_WORDS(X)
#undef X
};

const char *fm_pg_word_name(enum fm_pg_word_kind k);

struct fm_pg_word {
    enum fm_pg_word_kind kind;
    struct fm_str relation; /* of a change; of TRUNCATE all of them */
    struct fm_str columns;  /* of a change, for fm_pg_column_next: DELETE's are of what was there */
    struct fm_str old;      /* of an UPDATE that changed the key */
    struct fm_str at;       /* of COMMIT: when, with its zone */
};

void fm_pg_word_parse(struct fm_str text, struct fm_pg_word *out);

enum fm_pg_form {
    FM_PG_NULL,
    FM_PG_BARE,      /* numbers and the like */
    FM_PG_QUOTED,    /* each ' stands twice */
    FM_PG_UNCHANGED, /* a large value that an UPDATE left alone: nobody knows it here */
};

struct fm_pg_column {
    struct fm_str name, type;
    enum fm_pg_form form;
    struct fm_str value; /* without its quotes */
};

/* The next of them; begin with *rest = columns. False at the end, and where the text cannot be
 * understood from there on: then *rest is what is left. */
bool fm_pg_column_next(struct fm_str *rest, struct fm_pg_column *out);

/* The value as it is. */
void fm_pg_value_write(struct fm_buf *b, const struct fm_pg_column *c);

/* Is it one of those names? */
bool fm_pg_names_have(struct fm_str names, struct fm_str name);

#endif
