/* Orders of people about the local node: its data made anew, the node left to a person and back;
 * and how it stands with one that has come into the group or gone from it, which happens by what
 * hosts agree upon. The keeper asks again and again; what is asked a second time is only answered.
 * A node that is left to a person stays so when the agent starts anew: a file in the state of the
 * agent says it. See db.h. */
#include "agent/db.h"

#include "base/assert.h"
#include "base/log.h"
#include "core/group_order.h"

#include <stdio.h>
#include <unistd.h>

enum { WHOLE = 100, TENTH = 10 };

static const struct {
    const char *name;
    enum fm_group_event event;
} orders[] = {{"reinit", FM_GROUP_ON_REINIT},
              {"maintain", FM_GROUP_ON_MAINTAIN},
              {"resume", FM_GROUP_ON_RESUME}};

/* -------- what outlives the agent -------- */

#define MARK "maintained"

bool db_order_is_maintained(const struct db_node *n)
{
    char path[PATH_MAX];
    struct fm_error e = {0};
    if (db_state_path(n, MARK, path, &e) == FM_ERR_OK)
        return access(path, F_OK) == 0;
    fm_log(FM_LOG_ERROR, "database_mark", FM_KZ("group", n->group), FM_KE(&e));
    return false;
}

enum fm_err db_order_open(struct db_node *n, struct fm_error *e)
{
    char path[PATH_MAX];
    enum fm_err err = db_state_path(n, MARK, path, e);
    return err ? err : fm_scribe_new(&n->order.mark, path, e);
}

void db_order_free(struct db_node *n)
{
    fm_scribe_free(n->order.mark);
}

/* By this ask, or by an earlier one that timed out. */
static enum fm_err mark(const struct db_node *n, struct fm_error *e)
{
    enum fm_err err = fm_scribe_look(n->order.mark, e);
    if (err == FM_ERR_TIMEOUT || (!err && db_order_is_maintained(n)))
        return err;
    return fm_scribe_write(n->order.mark, FM_STR("a person looks after this node\n"), e);
}

/* -------- doing it -------- */

static void refuse(struct db_node *n, const char *why)
{
    n->order.refused = true;
    snprintf(n->order.why, sizeof n->order.why, "%s", why);
}

/* What is to outlive the agent is written before anything is done, and taken back where that is
 * refused. False: it is still being written, and nothing was done. */
static bool carry_out(struct db_node *n)
{
    struct fm_error e = {0};
    enum fm_group_event event = n->order.event;
    enum fm_err err = event == FM_GROUP_ON_MAINTAIN ? mark(n, &e)
                      : event == FM_GROUP_ON_RESUME ? fm_scribe_look(n->order.mark, &e)
                                                    : FM_ERR_OK;
    if (err == FM_ERR_TIMEOUT)
        return false;
    if (event == FM_GROUP_ON_MAINTAIN && err) {
        refuse(n, e.msg);
        return true;
    }
    uint8_t was = n->g.state;
    bool refused = db_node_order(n, event);
    if ((event == FM_GROUP_ON_MAINTAIN && refused) || (event == FM_GROUP_ON_RESUME && !refused))
        if (fm_scribe_remove(n->order.mark, &e))
            fm_log(FM_LOG_ERROR, "database_mark", FM_KZ("group", n->group), FM_KE(&e));
    if (refused) {
        char why[DB_WHY_ROOM];
        snprintf(why, sizeof why, "the node is %s: that cannot be done now%s",
                 fm_group_state_name((enum fm_group_state)was),
                 was == FM_GROUP_MAINTAINED ? ", `fulmar group maintain` off comes first" : "");
        refuse(n, why);
    }
    return true;
}

/* How it stands: percent of it, with words. */
static int32_t standing(const struct db_node *n, char why[static FM_MESSAGE_WHY_ROOM])
{
    enum fm_group_state s = (enum fm_group_state)n->g.state;
    int percent = fm_pg_node_percent(&n->pg);
    bool done = fm_group_order_stands(n->order.event, &n->g) == FM_GROUP_ORDER_DONE;
    if (!done && percent >= 0) /* by tenths: each change is written down */
        snprintf(why, FM_MESSAGE_WHY_ROOM, "%s is copied: %d%%", n->of[n->self].name,
                 percent / TENTH * TENTH);
    else
        snprintf(why, FM_MESSAGE_WHY_ROOM, "%s is %s", n->of[n->self].name, fm_group_state_name(s));
    return done ? WHOLE : percent > 0 && percent < WHOLE ? percent : 0;
}

/* -------- coming and going -------- */

static void say_added(const struct db_node *n, struct fm_message *back)
{
    struct fm_group_report self = fm_group_report(&n->g, &n->ev);
    enum fm_group_order_standing how = fm_group_order_joins(&self);
    int percent = fm_pg_node_percent(&n->pg);
    const char *name = n->of[n->self].name,
               *state = fm_group_state_name((enum fm_group_state)n->g.state);
    back->ok = how != FM_GROUP_ORDER_FAILED;
    back->ms = how == FM_GROUP_ORDER_DONE ? WHOLE : percent > 0 && percent < WHOLE ? percent : 0;
    if (!back->ok)
        snprintf(back->why, sizeof back->why, "it has failed too often: %.120s", n->trouble);
    else if (how == FM_GROUP_ORDER_DONE && self.delay_ms)
        snprintf(back->why, sizeof back->why, "%.64s receives, and is delayed", name);
    else if (how == FM_GROUP_ORDER_DONE)
        snprintf(back->why, sizeof back->why, "%.64s is %s", name, state);
    else if (n->trouble[0])
        snprintf(back->why, sizeof back->why, "%.64s is %s: %.80s", name, state, n->trouble);
    else if (percent >= 0)
        snprintf(back->why, sizeof back->why, "%.64s is copied: %d%%", name,
                 percent / TENTH * TENTH);
    else
        snprintf(back->why, sizeof back->why, "%.64s is %s", name, state);
}

static void say_removed(const struct db_node *n, struct fm_message *back)
{
    bool over = n->gone && !n->up && !n->strangers && !fm_pg_node_is_busy(&n->pg);
    back->ok = true;
    back->ms = over ? WHOLE : 0;
    if (over && fm_pg_folder_is_unfinished(n->data))
        snprintf(back->why, sizeof back->why,
                 "it is not copied any more; no whole copy is in %.110s", n->data);
    else if (over)
        snprintf(back->why, sizeof back->why, "PostgreSQL is stopped; its data stay in %.110s",
                 n->data);
    else
        snprintf(back->why, sizeof back->why, "PostgreSQL is being stopped");
}

/* True: it was about that. */
static bool take_member(const struct db_node *n, unsigned host, const struct fm_message *m)
{
    struct fm_message back = {
        .kind = FM_MESSAGE_ORDERED, .context = (uint16_t)n->context, .serial = m->serial};
    bool added = strcmp(m->why, "add") == 0;
    if (!added && strcmp(m->why, "remove") != 0)
        return false;
    if (added && n->gone)
        return true; /* by another version of what is agreed: it is asked again */
    if (added)
        say_added(n, &back);
    else
        say_removed(n, &back);
    fm_post_send(n->d->c.post, host, &back);
    return true;
}

/* -------- the whole -------- */

void db_order_take(struct db_node *n, unsigned host, const struct fm_message *m)
{
    struct fm_message back = {
        .kind = FM_MESSAGE_ORDERED, .context = (uint16_t)n->context, .serial = m->serial};
    size_t i = 0;
    if (take_member(n, host, m) || n->gone)
        return;
    while (i < FM_COUNT(orders) && strcmp(orders[i].name, m->why) != 0)
        i++;
    if (i == FM_COUNT(orders))
        return; /* of a version that knows more */
    if (n->order.serial != m->serial || n->order.event != orders[i].event) {
        n->order.serial = m->serial;
        n->order.event = orders[i].event;
        n->order.refused = false;
        if (!m->ok && !carry_out(n)) { /* ok: it was begun before this agent was */
            n->order.event = FM_GROUP_ON_TICK;
            return; /* it is asked again */
        }
    }
    bool failed = fm_group_order_stands(n->order.event, &n->g) == FM_GROUP_ORDER_FAILED;
    back.ok = !n->order.refused && !failed;
    if (n->order.refused)
        snprintf(back.why, sizeof back.why, "%.150s", n->order.why);
    else if (failed)
        snprintf(back.why, sizeof back.why, "it has failed too often: %.120s", n->trouble);
    else
        back.ms = standing(n, back.why);
    fm_post_send(n->d->c.post, host, &back);
}
