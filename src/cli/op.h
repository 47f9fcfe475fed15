/* cli/op.h: the documents about operations (docs/reference/cli.md), read and shown. Tables go to
 * stdout. */
#ifndef FM_CLI_OP_H
#define FM_CLI_OP_H

#include "base/buf.h"
#include "cli/cli.h"

#include <stdio.h>

/* fulmar.op/1 with all that an operation needs to be followed. */
bool fm_op_is_op(const json_t *d);
const char *fm_op_id(const json_t *op);
const char *fm_op_state(const json_t *op);
bool fm_op_is_over(const json_t *op);
/* It does not go on by itself: a person has to consent. */
bool fm_op_waits(const json_t *op);
/* Of one that is over. */
int fm_op_exit(const json_t *op);

/* What it is about: "move ledger to north"; where it is: "... : releasing, 3 of 16 cells". */
void fm_op_what(const json_t *op, struct fm_buf *out);
void fm_op_line(const json_t *op, struct fm_buf *out);

void fm_op_print_begin(const json_t *op, const char *from);
void fm_op_print_end(FILE *to, const json_t *op);
void fm_op_print(const json_t *op);
/* Of fulmar.ops/1. */
void fm_op_print_list(const json_t *doc);

/* These print as the user asked for, and return the exit code. */
int fm_op_print_plan(const struct fm_args *a, json_t *plan);
int fm_op_print_quote(const struct fm_args *a, json_t *quote);
int fm_op_print_unknown(const struct fm_args *a, const char *command, const char *id);

#endif
