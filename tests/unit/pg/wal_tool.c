/* pg/wal.h as a program, for tests/system/test_wal.py:
 *
 *   pg_wal_tool PG_WAL TIMELINE SEGMENT_BYTES AFTER REACHES [BEFORE LEFT_AT]
 *
 * (of a log that has left the timeline BEFORE at LEFT_AT) counts, and prints name=value lines;
 * places as PostgreSQL writes them. */
#include "pg/wal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool number(const char *text, uint32_t *out)
{
    uint64_t n;
    if (!fm_str_u64(fm_str_z(text), &n) || n > UINT32_MAX)
        return false;
    *out = (uint32_t)n;
    return true;
}

int main(int argc, char **argv)
{
    struct fm_wal_config conf = {.system_id = 0};
    struct fm_wal_count c;
    struct fm_lsn reaches;
    struct fm_error e = {0};
    char end[FM_LSN_ROOM], last[FM_LSN_ROOM];
    bool twice = argc == 8;
    if ((argc != 6 && !twice) || !number(argv[2], &conf.timeline.n) ||
        !number(argv[3], &conf.segment_bytes) || !fm_lsn_parse(fm_str_z(argv[4]), &conf.after) ||
        !fm_lsn_parse(fm_str_z(argv[5]), &reaches))
        return 64;
    conf.npast = twice;
    if (twice && (!number(argv[6], &conf.past[0].timeline.n) ||
                  !fm_lsn_parse(fm_str_z(argv[7]), &conf.past[0].end)))
        return 64;
    int folder = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return 64;
    struct fm_wal_work *w = malloc(fm_wal_work_size());
    if (!w)
        return 64;
    enum fm_err err = fm_wal_count(w, folder, &conf, reaches, UINT64_MAX, &c, &e);
    close(folder);
    free(w);
    printf(
        "commits=%" PRIu64 "\nprepared_before=%" PRIu64 "\nrecords=%" PRIu64
        "\nlast_commit=%s\nfirst_us=%" PRId64 "\nlast_us=%" PRId64 "\nend=%s\nwhy=%s\nerror=%s\n",
        c.commits, c.prepared_before, c.records, fm_lsn_write(last, c.last_commit), c.first_us,
        c.last_us, fm_lsn_write(end, c.end), fm_wal_end_text(c.why), err == FM_ERR_OK ? "" : e.msg);
    return err == FM_ERR_OK ? 0 : 1;
}
