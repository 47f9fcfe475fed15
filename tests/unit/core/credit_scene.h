/* A primary, number 0, whose standbys are heard of by hand: what both tests of credit begin with.
 */
#ifndef FM_TEST_CREDIT_SCENE_H
#define FM_TEST_CREDIT_SCENE_H

#include "test.h"

#include "core/credit.h"

enum { CREDIT = 1000, PATIENCE = 500, START = 100000 };
#define ONE   (UINT32_C(1) << 1)
#define TWO   (UINT32_C(1) << 2)
#define THREE (UINT32_C(1) << 3)

static struct fm_credit c;
static struct fm_mono now, until;

static struct fm_lsn lsn(uint64_t n)
{
    return (struct fm_lsn){START + n};
}

static inline void begin_as(const struct fm_credit_policy *p, uint32_t recorded)
{
    now = (struct fm_mono){1000 * FM_NS_PER_S};
    until = fm_mono_add_ms(now, 3600 * 1000);
    const struct fm_evidence e = {.promotable = recorded};
    fm_credit_init(&c, p, 0, &e, lsn(0), now);
    fm_credit_in_force(&c, true, lsn(0), now);
}

static inline void flushed(unsigned node, uint64_t n)
{
    fm_credit_flushed(&c, node, lsn(n), true, now);
}

static inline void written(uint64_t n)
{
    fm_credit_written(&c, lsn(n), now);
}

static inline uint64_t grant(void)
{
    struct fm_lsn to = fm_credit_grant(&c, until, now);
    return to.n < START ? 0 : to.n - START;
}

static inline uint32_t wanted(void)
{
    return fm_credit_look(&c, now).wanted;
}

static inline void later(int64_t ms)
{
    now = fm_mono_add_ms(now, ms);
}

/* It is written down, and nothing else is on its way. */
static inline void record(uint32_t nodes)
{
    fm_credit_recorded(&c, nodes, 0);
}

static inline void check_bound(enum fm_credit_kind kind, uint64_t bytes)
{
    struct fm_credit_bound b = fm_credit_bound(&c);
    assert_int_equal(b.kind, kind);
    assert_int_equal(b.bytes, bytes);
}

#endif
