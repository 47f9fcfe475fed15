/* conf/shared.h: what hosts have to agree upon, of a configuration.
 *
 * The keys that the table marks as shared (fm_schema_row.reload), of contexts with cells, of groups
 * and of hosts, and which regions there are, as one canonical text: JSON without blanks, members
 * sorted by name, every value expanded, durations in their largest whole unit, defaults written
 * out. So two files that mean the same have the same text, whatever they look like. Its SHA-256 is
 * the digest. What coordination holds (`config`), what is kept on disk and what `fulmar config
 * diff` compares is this text.
 *
 * fm_conf_shared_apply is the way back: a configuration as if its file said what is agreed.
 * Ownership: results as those of fm_conf_load. Pure but for memory; any thread. */
#ifndef FM_CONF_SHARED_H
#define FM_CONF_SHARED_H

#include "conf/conf.h"

enum {
    FM_CONF_SHARED_MAX = 128 * 1024, /* bytes of the text; it must fit into a record */
    FM_CONF_DIGEST_ROOM = 65,        /* 64 digits of SHA-256, terminated */
};

/* Is there anything to agree upon, and a place to do so: a context with cells, and coordination?
 * Elsewhere each host goes by its own file. */
bool fm_conf_is_shared(const struct fm_conf *c);

/* FM_ERR_LIMIT where it does not fit. */
enum fm_err fm_conf_shared_write(const struct fm_conf *c, struct fm_buf *out) FM_WARN_UNUSED;
void fm_conf_shared_digest(struct fm_str text, char out[FM_CONF_DIGEST_ROOM]);

/* A new configuration: `c` with what is agreed in place of what its file says, decoded and checked
 * as a file is. `agreed` is such a text; without one (n = 0) it is a copy of `c`. A context that is
 * not in it stays as the file has it; a region or a group that is not in it is left out, with its
 * hosts. NULL where the two do not fit: the report says why, at the lines of the file where it can.
 */
struct fm_conf *fm_conf_shared_apply(const struct fm_conf *c, struct fm_str agreed,
                                     struct fm_conf_report *report) FM_WARN_UNUSED;

#endif
