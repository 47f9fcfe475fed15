/* core/floor.h: what the declared times of a context allow at best, before anything happened.
 *
 * Whoever takes over without the consent of the holder waits for the holder's lease, counted on a
 * clock that may differ by rho (rules 1, 6, 9). These sums are what `config check` compares
 * objectives and holds with. Pure; milliseconds. */
#ifndef FM_CORE_FLOOR_H
#define FM_CORE_FLOOR_H

#include "base/time.h"

/* The bound on the drift of clock rates that is reckoned with. */
enum { FM_RHO_PPM = 10 * 1000 };

/* L(1 + rho), rounded up: how long nobody else may acquire what was granted for L. */
int64_t fm_floor_lease_wait_ms(int64_t lease_ms);

#endif
