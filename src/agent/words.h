/* agent/words.h: what PostgreSQL has printed, searched for why it does not do what it should.
 * Private to src/agent.
 *
 * Texts are those of PostgreSQL 14 to 17 in its own words (`lc_messages` C, with which Fulmar makes
 * groups): in another language nothing is found. What is found is one line, tame, for people; no
 * decision rests upon it but to start a server again. Pure. */
#ifndef FM_AGENT_WORDS_H
#define FM_AGENT_WORDS_H

#include <stdbool.h>

enum { FM_WORDS_ROOM = 216 };

/* Why it ended by itself. */
bool fm_words_end(const char *text, char out[FM_WORDS_ROOM]);
/* Why a standby received nothing, the last time that it said so. */
bool fm_words_stream(const char *text, char out[FM_WORDS_ROOM]);
/* Did it go on without this address, one of those that it was to listen at? */
bool fm_words_listen(const char *text, const char *address, char out[FM_WORDS_ROOM]);

#endif
