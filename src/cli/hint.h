/* cli/hint.h: commands that stand in texts for people, so that they can be typed as they are shown:
 * with the options by which the command at hand found its configuration and the daemon that it
 * asked. What was not said on the command line (an environment, a default) is not repeated.
 *
 * In a text a command is what begins with "`fulmar " and ends with the next "`"; each gets what it
 * takes of these options and does not have yet. One command line a process. */
#ifndef FM_CLI_HINT_H
#define FM_CLI_HINT_H

#include "cli/cli.h"

#include <stdio.h>

enum { FM_HINT_ROOM = 2048, FM_HINT_OPTIONS = 512 };

/* `a` lives as long as hints are given; NULL: they get nothing, as before the first call. */
void fm_hint_begin(const struct fm_args *a);

/* The text with its commands completed; where that does not fit, as it is. */
const char *fm_hint(const char *text, char out[FM_HINT_ROOM]);

/* " -c FILE --host NAME", as far as the command of this name takes them. */
const char *fm_hint_options(const char *command, char out[FM_HINT_OPTIONS]);

/* A printf whose text is completed. */
void fm_hint_print(FILE *to, const char *fmt, ...) FM_PRINTF(2, 3);

#endif
