/* cli/show.h: reading the documents of daemons for tables. What is missing or of another type reads
 * as nothing: a daemon may be older or newer than this command. */
#ifndef FM_CLI_SHOW_H
#define FM_CLI_SHOW_H

#include "cli/cli.h"

enum {
    FM_SHOW_CLOCK = 16,
    FM_SHOW_NUMBER = 32,
    FM_SHOW_NAME = 128,
    FM_SHOW_LOSS = 640,
    FM_SHOW_WHY = 256
};

/* "" where there is none. */
const char *fm_show_text(const json_t *o, const char *key);
/* 0 where there is none. */
long long fm_show_number(const json_t *o, const char *key);
/* A whole number, or "-". */
const char *fm_show_number_or_dash(const json_t *o, const char *key, char out[FM_SHOW_NUMBER]);
/* "-" where there is none. */
const char *fm_show_or_dash(const char *text);
/* 14:08:42 of an RFC 3339 time; "-" where it is none. */
const char *fm_show_clock(const char *rfc3339, char out[FM_SHOW_CLOCK]);
/* 84 ms, 1.3 s, 12 min, 3.5 h; "-" for less than 0. */
const char *fm_show_ms(long long ms, char out[FM_SHOW_NUMBER]);
/* A list of numbers in order as ranges: "0-31,40"; "-" for an empty one, "all" for null. */
void fm_show_cells(const json_t *list, char *out, size_t n);

/* What would be lost if a primary were lost now (`loss_if_now`): "at most 65536 bytes, 1928
 * transactions (enforced)", of data that Fulmar does not run "about 20 bytes, of the last 3.2 s
 * (estimate)"; "" where nothing could be. Behind it what would be if a node of the primary's own
 * region went on, where that is less: "; nothing within the region". */
const char *fm_show_loss(const json_t *loss, char out[FM_SHOW_LOSS]);

/* Texts that somebody wrote somewhere (reasons, messages, what an application said) must not steer
 * a terminal: control characters in them become "?". All texts of the document, in
 * place: what pointed to one before does not any more. */
void fm_show_tame(json_t *doc);

#endif
