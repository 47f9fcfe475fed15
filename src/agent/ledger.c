/* The journal of a gate: see the header. */
#include "agent/ledger.h"

#include "base/assert.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

enum {
    CALLS_MAX = 8192,
    ANSWER_MAX = 64 * 1024,
    QUEUE_MAX = 100 * 1000,
};
#define RETENTION_MS    (INT64_C(24) * 3600 * 1000)
#define BYTES_MAX       (UINT64_C(64) << 30)
#define QUEUE_BYTES_MAX (UINT64_C(1) << 30)

int64_t fm_ledger_retention_ms(const struct fm_conf *conf)
{
    int64_t ms = 0;
    for (size_t i = 0; i < conf->ncontexts; i++)
        if (fm_conf_is_journaled(&conf->contexts[i]) &&
            conf->contexts[i].idempotency.retention_ms > ms)
            ms = conf->contexts[i].idempotency.retention_ms;
    return ms;
}

enum fm_err fm_ledger_open(const struct fm_conf *conf, const char *folder, struct fm_journal **out,
                           struct fm_error *e)
{
    char path[PATH_MAX + 32];
    struct fm_journal_options o = {.path = path,
                                   .service = conf->service.p,
                                   .retention_ms = fm_ledger_retention_ms(conf),
                                   .calls_max = CALLS_MAX,
                                   .answer_max = ANSWER_MAX,
                                   .bytes_max = BYTES_MAX,
                                   .queue_max = QUEUE_MAX,
                                   .queue_bytes_max = QUEUE_BYTES_MAX};
    FM_ASSERT(!*out);
    snprintf(path, sizeof path, "%s/" FM_JOURNAL_FILE, folder);
    if (o.retention_ms == 0 && access(path, F_OK) == 0)
        o.retention_ms = RETENTION_MS; /* of an earlier file: what it queued still waits */
    if (o.retention_ms == 0)
        return FM_ERR_OK;
    *out = fm_journal_open(&o, e);
    return *out ? FM_ERR_OK : fm_error_wrap(e, "journal");
}
