/* agent/ledger.h: the journal of a gate, with the bounds of this program. Private to src/agent. */
#ifndef FM_AGENT_LEDGER_H
#define FM_AGENT_LEDGER_H

#include "conf/conf.h"
#include "journal/journal.h"

/* The longest retention of the contexts that are written down; 0 = there is none. */
int64_t fm_ledger_retention_ms(const struct fm_conf *conf);

/* *out stays NULL where nothing is written down, and nothing of before waits. Blocks. */
enum fm_err fm_ledger_open(const struct fm_conf *conf, const char *folder, struct fm_journal **out,
                           struct fm_error *e) FM_WARN_UNUSED;

#endif
