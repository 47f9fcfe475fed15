/* conf/syntax.h: what libyaml complains about, said so that one knows what to do. */
#ifndef FM_CONF_SYNTAX_H
#define FM_CONF_SYNTAX_H

#include "conf/load.h"

#include <yaml.h>

/* Adds one error for the parser's failure. `scalar` is where the last scalar before the failure
 * began (line 0 = there was none). */
void fm_syntax_error(struct fm_load *l, const struct fm_source *src, const yaml_parser_t *y,
                     struct fm_conf_pos scalar);

/* The text with its neighbours up to blanks and commas, as it ought to be quoted. Used where an
 * address in brackets or a {name} was read as a list or a map. */
struct fm_str fm_syntax_token(struct fm_str line, size_t at);

#endif
