/* cli/op_doc.h: the documents about operations (docs/reference/cli.md), read and shown. Tables go
 * to stdout. */
#ifndef FM_CLI_OP_DOC_H
#define FM_CLI_OP_DOC_H

#include "base/buf.h"
#include "cli/cli.h"

#include <stdio.h>

enum { FM_OP_DOC_ID_MAX = 64 };

/* May it stand in a path? */
bool fm_op_doc_is_id(const char *id);

/* fulmar.op/1 with all that an operation needs to be followed. */
bool fm_op_doc_is_one(const json_t *d);
const char *fm_op_doc_id(const json_t *op);
const char *fm_op_doc_state(const json_t *op);
/* How many cells it is about, and how many of them are where they should be. */
unsigned fm_op_doc_items(const json_t *op, unsigned *done);
bool fm_op_doc_is_over(const json_t *op);
/* Of one that is over. `aborts`: that it ends so is what the command is for. */
int fm_op_doc_exit(const json_t *op, bool aborts);

/* What it is about: "move ledger to north"; where it is: "... : running, 3 of 16 cells: TEXT". */
void fm_op_doc_what(const json_t *op, struct fm_buf *out);
void fm_op_doc_line(const json_t *op, struct fm_buf *out);

/* Whose, which generation, by whom it was said; `service` NULL: not known. */
void fm_op_doc_print_head(const char *service, const json_t *doc, const char *from);
void fm_op_doc_print_begin(const json_t *op);
/* `took_ms` < 0: not known. */
void fm_op_doc_print_end(FILE *to, const json_t *op, int64_t took_ms);
void fm_op_doc_print(const json_t *op);
void fm_op_doc_print_list(const json_t *ops);

/* These print as the user asked for, and return the exit code. */
int fm_op_doc_print_plan(const struct fm_args *a, json_t *op);
int fm_op_doc_print_quote(const struct fm_args *a, json_t *quote);
int fm_op_doc_print_unknown(const struct fm_args *a, const char *command, const char *id);

#endif
