/* Would a standby be let in again? PostgreSQL uses its password, and is looked up in pg_hba, only
 * when it connects: what has become wrong meanwhile would be noticed when the connection breaks,
 * and the standby is needed. So it is tried now and then by a connection of our own. See db.h. It
 * decides nothing, and says it to people. Invariant: nothing that follows is disturbed by it. */
#include "agent/db.h"

#include "base/log.h"

#include <stdio.h>

enum { FIRST_MS = 2000, AGAIN_MS = 60 * 1000, REFUSED_MS = 10 * 1000, OPEN_MS = 4000 };

static void opened(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, trial.conn);
    bool refused = r->error.code == FM_ERR_PERMISSION, news = refused && !n->trial.why[0];
    n->trial.runs = false;
    n->trial.at = fm_mono_add_ms(fm_mono_now(), refused ? REFUSED_MS : AGAIN_MS);
    if (refused)
        snprintf(n->trial.why, sizeof n->trial.why,
                 "it follows, and its primary would not let it in again: %.180s", r->error.msg);
    else if (!r->error.code)
        n->trial.why[0] = 0;
    if (news)
        fm_log(FM_LOG_WARN, "database_trial", FM_KZ("group", n->group), FM_KZ("why", n->trial.why));
    fm_pg_close(c);
}

void db_trial_init(struct db_node *n)
{
    fm_pg_init(&n->trial.conn, n->d->c.loop, n->group, NULL);
}

void db_trial_end(struct db_node *n)
{
    fm_pg_close(&n->trial.conn);
    n->trial.runs = false;
    n->trial.why[0] = 0;
    n->trial.at = FM_MONO_ZERO;
}

void db_trial_turn(struct db_node *n)
{
    struct fm_mono now = fm_mono_now();
    bool follows = n->up && !n->ending && n->as == DB_AS_STANDBY && n->said.recovery &&
                   n->said.streaming && n->upstream < n->nnodes;
    struct fm_addr at;
    if (!follows) {
        if (n->trial.at.ns)
            db_trial_end(n);
        return;
    }
    if (n->trial.at.ns == 0)
        n->trial.at = fm_mono_add_ms(now, FIRST_MS);
    const struct db_other *up = &n->of[n->upstream];
    bool known = fm_addr_ip(&at, fm_str_z(up->address), up->port) == FM_ERR_OK;
    if (n->trial.runs || !known || n->d->stopped || fm_mono_before(now, n->trial.at))
        return; /* a name is PostgreSQL's to look up */
    struct fm_pg_target t = {.addr = &at,
                             .user = "fulmar_replication",
                             .password = n->replication,
                             .application_name = "fulmar_trial",
                             .replication = true};
    n->trial.runs = true;
    fm_pg_open(&n->trial.conn, &t, OPEN_MS, opened);
}
