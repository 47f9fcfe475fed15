/* tests/unit/capture.h: what code prints to stdout and stderr, for tests of what people see. */
#ifndef FM_TESTS_UNIT_CAPTURE_H
#define FM_TESTS_UNIT_CAPTURE_H

#include "test.h"

/* From here on both are kept instead of shown. */
void capture_begin(void);
/* They are shown again. */
void capture_end(void);

/* What came, until the next capture_begin; terminated. */
extern char captured_out[], captured_err[];

#endif
