/* agent/recorder.h: writes what core's machines of the controller were asked and answered into a
 * file (trace/trace.h), for `fulmar-replay`. Private to src/agent.
 *
 * Off unless it was opened: then there is no recorder, and a step costs a comparison with NULL. It
 * is for tests and for looking into what went wrong: it writes to the file from the loop. The file
 * is appended to, is the owner's alone, and is at most FM_RECORDER_BYTES_MAX long in one life; what
 * comes then is left out, and that is said in the log. */
#ifndef FM_AGENT_RECORDER_H
#define FM_AGENT_RECORDER_H

#include "base/err.h"
#include "trace/trace.h"

enum { FM_RECORDER_BYTES_MAX = 64 << 20 };

struct fm_recorder;

/* NULL: FM_ERR_IO, FM_ERR_MEMORY. */
struct fm_recorder *fm_recorder_open(const char *path, struct fm_error *e) FM_WARN_UNUSED;
/* NULL is no recorder. */
void fm_recorder_close(struct fm_recorder *r);

/* An empty line to be filled in; then it is written, unless it did not fit. */
struct fm_buf *fm_recorder_line(struct fm_recorder *r);
void fm_recorder_end(struct fm_recorder *r);

#endif
