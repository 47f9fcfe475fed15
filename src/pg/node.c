/* Operations on a data directory: see the header. Invariant: each operation that was started is
 * followed by one `over`, or by fm_pg_node_deinit; nothing is removed here before the upstream has
 * answered. What a step does is in node_steps.c. */
#include "pg/node.h"

#include "base/assert.h"
#include "pg/steps.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LONGEST_NAME = 256 + 32, /* of a file in the data directory, with the folder it may be in */
    AGAIN_MS = 250,
    SLOW_AFTER = 40, /* tries: then it is asked less often */
    SLOW_MS = 1000,
    WAITS_MAX = 900, /* a quarter of an hour for a checkpoint of the source */
    TRIES_MAX = 3,   /* of a rewind that ends and has not done it */
    LEAST_MS = 5,    /* a shorter step is not told */
    STEP_TEXT_ROOM = 64,
    TEXT_ROOM = 200,
};

#define STEP(name) FM_PG_STEP_##name
static const uint8_t look[] = {STEP(SETTLE), STEP(FIND), STEP(CONTROL), STEP(HISTORY), STEP(END)};
static const uint8_t make[] = {STEP(FOLDER), STEP(SETTLE),  STEP(ALONE),   STEP(FIND),  STEP(BEGIN),
                               STEP(EMPTY),  STEP(BEGIN),   STEP(INITDB),  STEP(FILES), STEP(LEAVE),
                               STEP(FOUND),  STEP(CONTROL), STEP(HISTORY), STEP(END)};
static const uint8_t configure[] = {STEP(SETTLE), STEP(FIND), STEP(FILES), STEP(END)};
static const uint8_t clone_[] = {STEP(FOLDER),  STEP(SETTLE),  STEP(ALONE),   STEP(FIND),
                                 STEP(SECRETS), STEP(SLOT),    STEP(BEGIN),   STEP(EMPTY),
                                 STEP(BEGIN),   STEP(COPY),    STEP(FILES),   STEP(LEAVE),
                                 STEP(FOUND),   STEP(CONTROL), STEP(HISTORY), STEP(END)};
static const uint8_t rewind_[] = {
    STEP(SETTLE),  STEP(ALONE), STEP(FIND),  STEP(CONTROL), STEP(HISTORY), STEP(JUDGE),
    STEP(SECRETS), STEP(SLOT),  STEP(ENTER), STEP(REWIND),  STEP(FLUSH),   STEP(VERIFY),
    STEP(FILES),   STEP(LEAVE), STEP(FOUND), STEP(CONTROL), STEP(HISTORY), STEP(END)};
/* of a node that can follow: without ENTER, REWIND, FLUSH, VERIFY, LEAVE */
static const uint8_t follow[] = {STEP(SECRETS), STEP(SLOT), STEP(FILES), STEP(END)};
static const uint8_t rescue[] = {STEP(SETTLE),  STEP(ALONE),   STEP(FIND), STEP(CONTROL),
                                 STEP(HISTORY), STEP(OUTLIVE), STEP(KEEP), STEP(END)};
static const uint8_t prune[] = {STEP(PRUNE), STEP(END)};
static const uint8_t promote[] = {STEP(SETTLE),  STEP(FIND),    STEP(CONTROL),
                                  STEP(NUMBERS), STEP(PROMOTE), STEP(END)};
#undef STEP

const char *fm_pg_operation_text(enum fm_pg_operation o)
{
    static const char *const text[] = {
#define X(name, text) [FM_PG_OP_##name] = text,
        FM_PG_OPERATIONS(X)
#undef X
    };
    FM_ASSERT((size_t)o < FM_COUNT(text));
    return text[o];
}

const char *fm_pg_way_text(enum fm_pg_way w)
{
    static const char *const text[] = {
        [FM_PG_AS_IT_WAS] = "as-it-was", [FM_PG_REWOUND] = "rewound", [FM_PG_CLONED] = "cloned"};
    FM_ASSERT((size_t)w < FM_COUNT(text));
    return text[w];
}

static const char *step_text(enum fm_pg_step s)
{
    static const char *const text[] = {
#define X(name, text) [FM_PG_STEP_##name] = text,
        FM_PG_STEPS(X)
#undef X
    };
    FM_ASSERT((size_t)s < FM_COUNT(text));
    return text[s];
}

/* -------- how it ended -------- */

void fm_pg_step_why(struct fm_pg_node *n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(n->outcome.why, sizeof n->outcome.why, fmt, ap);
    va_end(ap);
}

/* What the program printed, line by line, so that the lines stay. */
static void keep_output(struct fm_pg_node *n)
{
    size_t size = n->child.output_n;
    FM_ASSERT(size <= FM_PG_OUTPUT_ROOM);
    memcpy(n->outcome.output, n->said, size);
    n->outcome.output[size] = '\0';
    for (size_t i = 0; i < size; i++)
        if (n->outcome.output[i] == '\0' || n->outcome.output[i] == '\r')
            n->outcome.output[i] = '\n';
    for (char *line = n->outcome.output; *line;) {
        size_t length = strcspn(line, "\n");
        char end = line[length];
        line[length] = '\0';
        fm_text_tame(line);
        line[length] = end;
        line += length + (end != '\0');
    }
}

/* What pg_rewind found out that it has to copy: most of its time goes with that. */
static void take_size(struct fm_pg_node *n)
{
    static const char sign[] = "need to copy ";
    const char *at = strstr(n->outcome.output, sign);
    if (!at)
        return;
    at += sizeof sign - 1;
    if (!fm_str_u64(fm_str(at, strspn(at, "0123456789")), &n->outcome.copied_mb))
        n->outcome.copied_mb = 0;
}

static void last_words(const struct fm_pg_node *n, char out[TEXT_ROOM])
{
    const char *text = n->outcome.output;
    size_t size = strlen(text);
    while (size > 0 && text[size - 1] == '\n')
        size--;
    size_t skip = size >= TEXT_ROOM ? size - TEXT_ROOM + 1 : 0;
    memcpy(out, text + skip, size - skip);
    out[size - skip] = '\0';
    for (char *p = out; *p; p++)
        if (*p == '\n')
            *p = ' ';
    fm_text_tame(out); /* the first character may be cut */
}

/* Of data that are made anew, those of before are gone, or going: there is nothing to be saved. */
static bool is_given_up(const struct fm_pg_node *n)
{
    enum fm_pg_operation o = n->outcome.operation;
    bool anew = o == FM_PG_OP_MAKE || o == FM_PG_OP_CLONE ||
                (o == FM_PG_OP_REWIND && n->outcome.way == FM_PG_CLONED);
    return n->given_up && anew;
}

static void why_of_child(struct fm_pg_node *n, int status)
{
    char words[TEXT_ROOM], how[80];
    int64_t ms = fm_mono_sub_ms(fm_mono_now(), n->step_began);
    last_words(n, words);
    if (is_given_up(n))
        snprintf(how, sizeof how, "nobody needs it any more");
    else if (n->child.timed_out)
        snprintf(how, sizeof how, "it was not over after %lld ms and was killed", (long long)ms);
    else if (WIFEXITED(status))
        snprintf(how, sizeof how, "exit code %d after %lld ms", WEXITSTATUS(status), (long long)ms);
    else
        snprintf(how, sizeof how, "ended by signal %d after %lld ms", WTERMSIG(status),
                 (long long)ms);
    fm_pg_step_why(n, "%s%s%s", how, words[0] ? "; it said: " : "", words);
}

static void over(struct fm_pg_node *n, bool ok)
{
    FM_ASSERT(n->busy && !n->child.running);
    explicit_bzero(n->pass, sizeof n->pass);
    explicit_bzero(n->admin_password, sizeof n->admin_password);
    n->busy = n->inside = false;
    n->outcome.ok = ok;
    n->outcome.took_ms = fm_mono_sub_ms(fm_mono_now(), n->began);
    n->over(n);
}

/* -------- from step to step -------- */

static void go_on(struct fm_pg_node *n);

static bool is_over_time(const struct fm_pg_node *n)
{
    return !fm_mono_before(fm_mono_now(), n->deadline);
}

/* A rewind that cannot be is followed by a copy: not where the files are somebody's, or where it
 * failed because its upstream cannot be reached. */
static bool copies_instead(struct fm_pg_node *n, enum fm_pg_step s)
{
    switch (s) {
    case FM_PG_STEP_FIND:
        return n->look.found == FM_PG_NOTHING || n->look.found == FM_PG_UNFINISHED;
    case FM_PG_STEP_CONTROL:
    case FM_PG_STEP_HISTORY:
    case FM_PG_STEP_JUDGE:
    case FM_PG_STEP_ENTER:
    case FM_PG_STEP_REWIND:
    case FM_PG_STEP_FLUSH:
    case FM_PG_STEP_VERIFY:
        return true;
    case FM_PG_STEP_END:
    case FM_PG_STEP_FOLDER:
    case FM_PG_STEP_SETTLE:
    case FM_PG_STEP_ALONE:
    case FM_PG_STEP_SECRETS:
    case FM_PG_STEP_SLOT:
    case FM_PG_STEP_BEGIN:
    case FM_PG_STEP_EMPTY:
    case FM_PG_STEP_INITDB:
    case FM_PG_STEP_COPY:
    case FM_PG_STEP_FILES:
    case FM_PG_STEP_LEAVE:
    case FM_PG_STEP_FOUND:
    case FM_PG_STEP_OUTLIVE:
    case FM_PG_STEP_KEEP:
    case FM_PG_STEP_PRUNE:
    case FM_PG_STEP_NUMBERS:
    case FM_PG_STEP_PROMOTE:
        return false;
    }
    FM_UNREACHABLE();
}

static void failed(struct fm_pg_node *n)
{
    enum fm_pg_step s = n->plan[0];
    char why[sizeof n->outcome.why];
    memcpy(why, n->outcome.why, sizeof why);
    fm_pg_step_why(n, "cannot %s: %s", step_text(s), why);
    fm_text_tame(n->outcome.why);
    bool may = n->outcome.operation == FM_PG_OP_REWIND && n->or_clone &&
               n->outcome.way != FM_PG_CLONED && !is_over_time(n) && !n->given_up;
    if (!may || !copies_instead(n, s)) {
        over(n, false);
        return;
    }
    n->outcome.way = FM_PG_CLONED;
    n->inside = false;
    n->plan = clone_;
    fm_loop_timer(n->loop, &n->soon, fm_loop_now(n->loop));
}

/* pg_rewind did nothing, where its source has not written a checkpoint since it was promoted: that
 * costs nothing and ends by itself. */
static void again(struct fm_pg_node *n)
{
    bool waits = strstr(n->outcome.output, "no rewind required") != NULL;
    if (++n->tries >= (waits ? WAITS_MAX : TRIES_MAX)) {
        failed(n);
        return;
    }
    while (n->plan[0] != FM_PG_STEP_REWIND)
        n->plan--;
    fm_loop_timer_in_ms(n->loop, &n->soon, n->tries < SLOW_AFTER ? AGAIN_MS : SLOW_MS);
}

/* Where the time went. */
static void add_part(struct fm_pg_node *n, enum fm_pg_step s)
{
    int64_t ms = fm_mono_sub_ms(fm_mono_now(), n->step_began);
    size_t used = strlen(n->outcome.parts);
    char text[STEP_TEXT_ROOM];
    int length =
        snprintf(text, sizeof text, "%s%s %lld", used ? ", " : "", step_text(s), (long long)ms);
    FM_ASSERT(length > 0);
    if (ms >= LEAST_MS && used + (size_t)length < sizeof n->outcome.parts)
        memcpy(n->outcome.parts + used, text, fm_min_size((size_t)length, sizeof text - 1) + 1);
}

/* Past what is done, and past what is not needed. */
static void advance(struct fm_pg_node *n)
{
    enum fm_pg_step s = *n->plan++;
    FM_ASSERT(s != FM_PG_STEP_END);
    add_part(n, s);
    if (s == FM_PG_STEP_JUDGE && n->outcome.way == FM_PG_AS_IT_WAS)
        n->plan = follow;
    if (s == FM_PG_STEP_HISTORY && n->outcome.operation == FM_PG_OP_RESCUE && !fm_pg_has_fork(n))
        n->plan += 2; /* there is no place from which on it could be counted */
    if (s == FM_PG_STEP_FIND && n->outcome.operation == FM_PG_OP_LOOK &&
        n->look.found != FM_PG_DATA)
        while (n->plan[0] != FM_PG_STEP_END)
            n->plan++;
}

static void take(struct fm_pg_node *n, enum fm_pg_went went)
{
    switch (went) {
    case FM_PG_DONE:
        advance(n);
        go_on(n);
        return;
    case FM_PG_WAIT:
        return;
    case FM_PG_FAILED:
        failed(n);
        return;
    case FM_PG_AGAIN:
        again(n);
        return;
    }
    FM_UNREACHABLE();
}

static bool tells(enum fm_pg_step s)
{
    return s == FM_PG_STEP_INITDB || s == FM_PG_STEP_COPY || s == FM_PG_STEP_REWIND ||
           s == FM_PG_STEP_PROMOTE;
}

static void exited(struct fm_child *c, int status)
{
    struct fm_pg_node *n = fm_container_of(c, struct fm_pg_node, child);
    enum fm_pg_step s = n->plan[0];
    bool good = !c->timed_out && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    FM_ASSERT(n->busy && !c->running);
    enum fm_pg_went went = good ? fm_pg_step_after(n, s) : FM_PG_FAILED;
    if (went == FM_PG_FAILED || tells(s))
        keep_output(n);
    if (s == FM_PG_STEP_REWIND)
        take_size(n);
    if (!good)
        why_of_child(n, status);
    take(n, went);
}

static void go_on(struct fm_pg_node *n)
{
    FM_ASSERT(n->busy && !n->child.running);
    if (n->plan[0] == FM_PG_STEP_END) {
        over(n, true);
        return;
    }
    n->step_began = fm_mono_now();
    if (is_given_up(n) || is_over_time(n)) {
        fm_pg_step_why(n, is_given_up(n) ? "nobody needs it any more"
                                         : "the time for all of it was over");
        failed(n);
        return;
    }
    take(n, fm_pg_step_run(n, n->plan[0], exited));
}

static void soon(struct fm_timer *t)
{
    go_on(fm_container_of(t, struct fm_pg_node, soon));
}

/* An operation ends with the programs that it began with. */
static void use_next_programs(struct fm_pg_node *n)
{
    FM_ASSERT(!n->busy);
    if (n->next_bin[0])
        memcpy(n->bin, n->next_bin, sizeof n->bin);
    n->next_bin[0] = '\0';
}

static void start(struct fm_pg_node *n, enum fm_pg_operation o, const uint8_t *plan,
                  int64_t deadline_ms)
{
    FM_ASSERT(!n->busy && deadline_ms > 0);
    use_next_programs(n);
    n->outcome = (struct fm_pg_outcome){.operation = o};
    n->plan = plan;
    n->busy = true;
    n->inside = n->given_up = false;
    n->tries = 0;
    n->began = fm_mono_now();
    n->deadline = fm_mono_add_ms(n->began, deadline_ms);
    fm_loop_timer(n->loop, &n->soon, fm_loop_now(n->loop));
}

/* -------- life -------- */

static enum fm_err keep_folder(char out[FM_PG_PATH_ROOM], const char *path, const char *what,
                               struct fm_error *e)
{
    size_t n = path ? strlen(path) : 0;
    if (n == 0 || path[0] != '/')
        return fm_error_set(e, FM_ERR_INVALID, "%s is no absolute path", what);
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n == 1 || n > FM_PG_PATH_ROOM - LONGEST_NAME)
        return fm_error_set(e, n == 1 ? FM_ERR_INVALID : FM_ERR_LIMIT,
                            "%s cannot be a path of %zu bytes", what, n);
    memcpy(out, path, n);
    out[n] = '\0';
    return FM_ERR_OK;
}

static enum fm_err find_user(struct fm_pg_node *n, const char *name, struct fm_error *e)
{
    if (!name) {
        if (geteuid() == 0)
            return fm_error_set(e, FM_ERR_PERMISSION,
                                "PostgreSQL does not run as root: a group needs a user");
        return FM_ERR_OK;
    }
    enum fm_err err = fm_child_user_find(&n->user, name, e);
    if (err)
        return err;
    if (n->user.uid == 0 || n->user.gid == 0)
        return fm_error_set(e, FM_ERR_PERMISSION, "PostgreSQL does not run as root: `%.64s`", name);
    if (!fm_child_user_may(&n->user))
        return fm_error_set(e, FM_ERR_PERMISSION,
                            "only root can start PostgreSQL as another user (`%.64s`)", name);
    n->as_user = true;
    return FM_ERR_OK;
}

enum fm_err fm_pg_node_init(struct fm_pg_node *n, struct fm_loop *l,
                            const struct fm_pg_node_options *o, void (*over_)(struct fm_pg_node *),
                            struct fm_error *e)
{
    FM_ASSERT(l && over_);
    memset(n, 0, sizeof *n);
    n->over = over_;
    n->loop = l;
    n->child.watch.fd = n->child.out.fd = -1;
    fm_timer_init(&n->soon, soon);
    enum fm_err err = keep_folder(n->bin, o->bin, "the folder of PostgreSQL's programs", e);
    if (!err)
        err = keep_folder(n->data, o->data, "the data directory", e);
    return err ? err : find_user(n, o->user, e);
}

enum fm_err fm_pg_node_programs(struct fm_pg_node *n, const char *bin, struct fm_error *e)
{
    char next[FM_PG_PATH_ROOM] = "";
    enum fm_err err = keep_folder(next, bin, "the folder of PostgreSQL's programs", e);
    if (!err)
        memcpy(n->next_bin, next, sizeof next);
    return err;
}

void fm_pg_node_deinit(struct fm_pg_node *n)
{
    if (!n->loop)
        return;
    fm_loop_cancel(n->loop, &n->soon);
    fm_child_discard(&n->child);
    explicit_bzero(n->pass, sizeof n->pass);
    explicit_bzero(n->admin_password, sizeof n->admin_password);
    n->busy = false;
}

bool fm_pg_node_is_busy(const struct fm_pg_node *n)
{
    return n->busy;
}

void fm_pg_node_give_up(struct fm_pg_node *n)
{
    n->given_up = n->busy;
    if (is_given_up(n)) /* without a child the next step sees it */
        fm_child_kill(&n->child, SIGKILL);
}

/* "  123/456 kB (27%), 0/1 tablespace": the last one that is whole. */
int fm_pg_node_percent(const struct fm_pg_node *n)
{
    if (!n->busy || !n->child.running ||
        (n->plan[0] != FM_PG_STEP_COPY && n->plan[0] != FM_PG_STEP_REWIND))
        return -1;
    for (size_t at = n->child.output_n; at-- > 0;) {
        uint64_t percent;
        size_t digits = 0;
        if (n->said[at] != '%' || at + 1 == n->child.output_n || n->said[at + 1] != ')')
            continue;
        while (digits < at && n->said[at - 1 - digits] >= '0' && n->said[at - 1 - digits] <= '9')
            digits++;
        if (digits && digits < at && n->said[at - 1 - digits] == '(' &&
            fm_str_u64(fm_str(n->said + at - digits, digits), &percent))
            return percent < 100 ? (int)percent : 100;
    }
    return 0;
}

/* -------- operations -------- */

static void terminate(struct fm_buf *b)
{
    FM_ASSERT(b->n < b->cap);
    b->p[b->n] = '\0';
}

/* One byte less, so that a terminator fits. */
#define BUF(member) fm_buf(n->member, sizeof n->member - 1)

static enum fm_err write_texts(struct fm_pg_node *n, const struct fm_pg_settings *given,
                               struct fm_str password, struct fm_error *e)
{
    struct fm_pg_settings s = *given;
    struct fm_buf conf = BUF(conf), hba = BUF(hba), pass = BUF(pass), info = BUF(info),
                  sql = BUF(info_sql);
    s.data = fm_str_z(n->data);
    enum fm_err err = fm_pg_conf_write(&conf, &s, e);
    if (!err)
        err = fm_pg_hba_write(&hba, &s, e);
    if (!err)
        err = fm_pg_pass_write(&pass, s.replication, password, e);
    if (!err && s.upstream)
        err = fm_pg_conninfo_write(&info, &s, s.upstream, fm_str(NULL, 0), e);
    if (!err && s.upstream)
        err = fm_pg_conninfo_write(&sql, &s, s.upstream, FM_STR("postgres"), e);
    struct fm_buf *all[] = {&conf, &hba, &pass, &info, &sql};
    for (size_t i = 0; i < FM_COUNT(all); i++) {
        all[i]->cap++;
        terminate(all[i]);
    }
    n->follows = s.upstream != NULL;
    n->slot[0] = '\0';
    if (!err && n->follows && s.upstream->slot.n) {
        FM_ASSERT(s.upstream->slot.n < sizeof n->slot); /* a name, as fm_pg_conf_write has seen */
        memcpy(n->slot, s.upstream->slot.p, s.upstream->slot.n);
        n->slot[s.upstream->slot.n] = '\0';
    }
    return err;
}

/* Of an operation that needs somebody to copy from. */
static enum fm_err with_upstream(struct fm_pg_node *n, const struct fm_pg_settings *s,
                                 struct fm_str password, struct fm_error *e)
{
    enum fm_err err = write_texts(n, s, password, e);
    if (err)
        return err;
    return n->slot[0] ? FM_ERR_OK
                      : fm_error_set(e, FM_ERR_INVALID, "it needs an upstream and a slot there");
}

void fm_pg_node_look(struct fm_pg_node *n, int64_t deadline_ms)
{
    start(n, FM_PG_OP_LOOK, look, deadline_ms);
}

enum fm_err fm_pg_node_make(struct fm_pg_node *n, const struct fm_pg_settings *s,
                            struct fm_str admin, struct fm_str password,
                            struct fm_str replication_password, int64_t deadline_ms,
                            struct fm_error *e)
{
    char line[FM_PG_INFO_ROOM];
    struct fm_buf check = fm_buf(line, sizeof line);
    FM_ASSERT(!n->busy);
    /* what may stand in one file may in the other */
    enum fm_err err = fm_pg_pass_write(&check, admin, password, e);
    explicit_bzero(line, sizeof line);
    if (!err)
        err = write_texts(n, s, replication_password, e);
    if (!err && s->upstream)
        err = fm_error_set(e, FM_ERR_INVALID, "a new system follows nobody");
    if (err)
        return err;
    FM_ASSERT(admin.n < sizeof n->admin && password.n < sizeof n->admin_password);
    memcpy(n->admin, admin.p, admin.n);
    n->admin[admin.n] = '\0';
    memcpy(n->admin_password, password.p, password.n);
    n->admin_password[password.n] = '\0';
    start(n, FM_PG_OP_MAKE, make, deadline_ms);
    return FM_ERR_OK;
}

enum fm_err fm_pg_node_configure(struct fm_pg_node *n, const struct fm_pg_settings *s,
                                 struct fm_str replication_password, int64_t deadline_ms,
                                 struct fm_error *e)
{
    FM_ASSERT(!n->busy);
    enum fm_err err = write_texts(n, s, replication_password, e);
    if (!err)
        start(n, FM_PG_OP_CONFIGURE, configure, deadline_ms);
    return err;
}

enum fm_err fm_pg_node_clone(struct fm_pg_node *n, const struct fm_pg_settings *s,
                             struct fm_str replication_password, int64_t deadline_ms,
                             struct fm_error *e)
{
    FM_ASSERT(!n->busy);
    enum fm_err err = with_upstream(n, s, replication_password, e);
    if (!err)
        start(n, FM_PG_OP_CLONE, clone_, deadline_ms);
    return err;
}

static enum fm_err keep_history(struct fm_pg_node *n, const struct fm_history *theirs,
                                struct fm_error *e)
{
    if (theirs->text.n > sizeof n->their_history)
        return fm_error_set(e, FM_ERR_LIMIT, "a history of %zu bytes", theirs->text.n);
    if (!fm_history_is_valid(theirs))
        return fm_error_set(e, FM_ERR_INVALID, "not a history of timeline %u", theirs->timeline.n);
    if (theirs->text.n)
        memcpy(n->their_history, theirs->text.p, theirs->text.n);
    n->theirs = (struct fm_history){theirs->timeline, fm_str(n->their_history, theirs->text.n)};
    return FM_ERR_OK;
}

enum fm_err fm_pg_node_rewind(struct fm_pg_node *n, const struct fm_pg_settings *s,
                              struct fm_str replication_password, const struct fm_history *theirs,
                              bool or_clone, int64_t deadline_ms, struct fm_error *e)
{
    FM_ASSERT(!n->busy);
    enum fm_err err = with_upstream(n, s, replication_password, e);
    if (err)
        return err;
    err = keep_history(n, theirs, e);
    if (err)
        return err;
    n->or_clone = or_clone;
    start(n, FM_PG_OP_REWIND, rewind_, deadline_ms);
    return FM_ERR_OK;
}

enum fm_err fm_pg_node_rescue(struct fm_pg_node *n, const struct fm_history *theirs,
                              struct fm_str admin, int64_t deadline_ms, struct fm_error *e)
{
    FM_ASSERT(!n->busy);
    enum fm_err err = keep_history(n, theirs, e);
    if (!err && admin.n >= sizeof n->admin)
        err = fm_error_set(e, FM_ERR_LIMIT, "a user's name of %zu bytes", admin.n);
    if (err)
        return err;
    if (admin.n)
        memcpy(n->admin, admin.p, admin.n);
    n->admin[admin.n] = '\0';
    start(n, FM_PG_OP_RESCUE, rescue, deadline_ms);
    return FM_ERR_OK;
}

void fm_pg_node_prune(struct fm_pg_node *n, struct fm_timeline timeline, struct fm_lsn fork,
                      int64_t deadline_ms)
{
    FM_ASSERT(!n->busy);
    n->wanted = timeline;
    n->pruned = fork;
    start(n, FM_PG_OP_PRUNE, prune, deadline_ms);
}

void fm_pg_node_promote(struct fm_pg_node *n, struct fm_timeline timeline, int64_t deadline_ms)
{
    FM_ASSERT(!n->busy);
    n->wanted = timeline;
    start(n, FM_PG_OP_PROMOTE, promote, deadline_ms);
}

/* -------- the server -------- */

enum fm_err fm_pg_node_start(struct fm_pg_node *n, struct fm_child_options *out, struct fm_error *e)
{
    static char path[] = "PATH=/usr/bin:/bin", locale[] = "LC_ALL=C";
    static char *const envp[] = {path, locale, NULL};
    static char option[] = "-D";
    FM_ASSERT(!n->busy);
    use_next_programs(n);
    if (fm_pg_is_there(n, NULL, FM_PG_MAKING) || fm_pg_is_there(n, NULL, FM_PG_MADE))
        return fm_error_set(e, FM_ERR_STATE, "the data directory %s is not whole", n->data);
    if (!fm_pg_is_there(n, "global", "pg_control"))
        return fm_error_set(e, FM_ERR_STATE, "there are no data in %s", n->data);
    snprintf(n->start_program, sizeof n->start_program, "%s/postgres", n->bin);
    n->start_argv[0] = n->start_program;
    n->start_argv[1] = option;
    n->start_argv[2] = n->data;
    n->start_argv[3] = NULL;
    *out = (struct fm_child_options){.argv = n->start_argv,
                                     .envp = envp,
                                     .cwd = "/",
                                     .user = n->as_user ? &n->user : NULL,
                                     .out_fd = -1,
                                     .err_fd = -1,
                                     .death_signal = SIGQUIT};
    return FM_ERR_OK;
}

int fm_pg_stop_signal(enum fm_pg_stop how)
{
    return how == FM_PG_FAST ? SIGINT : SIGQUIT;
}
