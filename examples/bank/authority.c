/* What an application has to do with Fulmar-Authority: read it, pass it on to where the effect is
 * (db.c compares it there), and write it down. */
#include "bank.h"

#include "base/log.h"

bool bank_authority_parse(struct fm_str value, struct bank_authority *out)
{
    struct fm_str epoch, cell = fm_str_cut(value, '@', &epoch);
    if (!cell.n || cell.n >= sizeof out->cell || !memchr(cell.p, '/', cell.n) ||
        !fm_str_u64(epoch, &out->epoch) || out->epoch > INT64_MAX)
        return false;
    memcpy(out->cell, cell.p, cell.n);
    out->cell[cell.n] = 0;
    return true;
}

void bank_note(const char *instance, const char *what, struct fm_str key,
               const struct bank_authority *a)
{
    fm_log(FM_LOG_INFO, "command", FM_KZ("instance", instance), FM_KZ("outcome", what),
           FM_KS("key", key), FM_KZ("cell", a->cell), FM_KU("epoch", a->epoch),
           FM_KI("boot_ns", fm_mono_now().ns));
}
