/* conf/scalar.h: the small languages inside of values: 200ms, 64KiB, 20%, 1KiB/s, addresses.
 *
 * Pure. Each reader takes the whole text or nothing; where it takes nothing, `f` says why and what
 * to write instead, as parts of a sentence that the caller begins ("`interval` must be a duration:
 * " why). All arithmetic is checked for overflow. */
#ifndef FM_CONF_SCALAR_H
#define FM_CONF_SCALAR_H

#include "conf/conf.h"

struct fm_fault {
    char why[192];
    char advice[192]; /* may be empty */
    bool memory;      /* it was not the text: there was no memory */
};

bool fm_scalar_u64(struct fm_str s, uint64_t *out, struct fm_fault *f) FM_WARN_UNUSED;
/* ms | s | m | h | d, also with decimals; exact to the millisecond */
bool fm_scalar_duration(struct fm_str s, int64_t *ms, struct fm_fault *f) FM_WARN_UNUSED;
/* B | KiB | MiB | GiB | TiB */
bool fm_scalar_size(struct fm_str s, uint64_t *bytes, struct fm_fault *f) FM_WARN_UNUSED;
/* 1KiB/s */
bool fm_scalar_byte_rate(struct fm_str s, uint64_t *bps, struct fm_fault *f) FM_WARN_UNUSED;
/* 5000/s */
bool fm_scalar_rate(struct fm_str s, uint64_t *per_s, struct fm_fault *f) FM_WARN_UNUSED;
/* 20%, 0.5%; up to 100% */
bool fm_scalar_percent(struct fm_str s, uint32_t *ppm, struct fm_fault *f) FM_WARN_UNUSED;
/* 2 per 6h */
bool fm_scalar_at_most(struct fm_str s, uint64_t *times, int64_t *ms,
                       struct fm_fault *f) FM_WARN_UNUSED;
/* 02:00-05:00 UTC, Sun 02:00-05:00 UTC, Mon-Fri,Sun 22:00-02:00 UTC */
bool fm_scalar_window(struct fm_str s, struct fm_conf_window *out,
                      struct fm_fault *f) FM_WARN_UNUSED;

/* [a-z][a-z0-9-]{0,62} */
bool fm_scalar_name(struct fm_str s, struct fm_fault *f) FM_WARN_UNUSED;
/* A token of RFC 9110 section 5.6.2. */
bool fm_scalar_token(struct fm_str s, struct fm_fault *f) FM_WARN_UNUSED;
bool fm_scalar_method(struct fm_str s, struct fm_fault *f) FM_WARN_UNUSED;

/* As one would write it: "1500ms" or "1.5s" come back as "1500ms", 60000 as "1m". Terminated. */
struct fm_scalar_text {
    char s[32];
};
struct fm_scalar_text fm_scalar_duration_text(int64_t ms);
struct fm_scalar_text fm_scalar_size_text(uint64_t bytes);
struct fm_scalar_text fm_scalar_percent_text(uint32_t ppm);

/* Fill in why and advice; returns false, so that `return fm_fault(...)` reads well. */
bool fm_fault(struct fm_fault *f, const char *why, ...) FM_PRINTF(2, 3);
bool fm_fault_memory(struct fm_fault *f);
bool fm_fault_advice(struct fm_fault *f, const char *advice, ...) FM_PRINTF(2, 3);

#endif
