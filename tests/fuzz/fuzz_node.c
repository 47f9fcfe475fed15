/* What a PostgreSQL node says, and what it is told. Promises: control data that are taken have what
 * decides; where two histories part is the same from both sides, and a node may follow just so far;
 * a setting that is taken stands in the file as one line that means the same, whatever is in it. */
#include "fuzz.h"

#include "pg/control.h"
#include "pg/settings.h"

static void control(struct fm_str text)
{
    struct fm_pg_control c;
    struct fm_error e = {0};
    if (fm_pg_control_parse(&c, text, &e) != FM_ERR_OK) {
        HOLDS(e.code == FM_ERR_INVALID && e.msg[0], "nothing is said");
        return;
    }
    HOLDS(c.system_id && c.timeline.n && c.checkpoint.n && c.redo.n <= c.checkpoint.n,
          "system %llu", (unsigned long long)c.system_id);
    HOLDS(fm_pg_control_timeline(&c).n >= c.timeline.n, "timeline %u", c.timeline.n);
    HOLDS(fm_pg_state_text(c.state)[0], "state %d", (int)c.state);
}

static void small_files(struct fm_str text)
{
    struct fm_pg_postmaster p;
    if (fm_pg_postmaster_parse(text, &p))
        HOLDS(p.pid > 1 || p.pid < -1, "pid %d", p.pid);
    HOLDS(fm_pg_version_parse(text) < 1000, "a version");
}

static void histories(struct fm_str text)
{
    struct fm_history h[2];
    if (text.n < 2)
        return;
    uint8_t numbers = (uint8_t)text.p[0];
    h[0].timeline.n = numbers & 15;
    h[1].timeline.n = numbers >> 4;
    h[0].text = fm_str_cut(fm_str(text.p + 1, text.n - 1), '\0', &h[1].text);
    if (!fm_history_is_valid(&h[0]) || !fm_history_is_valid(&h[1]))
        return;
    struct fm_past ab = fm_history_fork(&h[0], &h[1]), ba = fm_history_fork(&h[1], &h[0]);
    HOLDS(ab.timeline.n == ba.timeline.n && ab.end.n == ba.end.n, "%u and %u", ab.timeline.n,
          ba.timeline.n);
    HOLDS(ab.timeline.n <= h[0].timeline.n && ab.timeline.n <= h[1].timeline.n, "timeline %u",
          ab.timeline.n);
    for (int i = 0; i < 2; i++) {
        struct fm_past p = {{0}, FM_LSN_NONE}, last = p;
        struct fm_str rest = h[i].text;
        while (fm_history_next(&rest, &p)) {
            HOLDS(p.timeline.n > last.timeline.n && p.end.n >= last.end.n, "timeline %u",
                  p.timeline.n);
            last = p;
        }
        HOLDS(fm_history_origin(&h[i]).timeline.n == last.timeline.n, "its origin");
        HOLDS(fm_history_may_follow(&h[i], FM_LSN_END, &h[i]), "not even itself");
        bool related = ab.timeline.n != 0;
        HOLDS(fm_history_may_follow(&h[i], ab.end, &h[!i]) == related, "up to the fork");
        HOLDS(ab.end.n == UINT64_MAX ||
                  !fm_history_may_follow(&h[i], fm_lsn_add(ab.end, 1), &h[!i]),
              "beyond the fork");
    }
}

static size_t lines(struct fm_str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '\n';
    return n;
}

/* NAME = 'VALUE' as PostgreSQL's GUC_scanstr reads it. */
static bool means(struct fm_str line, struct fm_str name, struct fm_str value)
{
    if (!fm_str_starts(line, name) || line.n < name.n + 5 ||
        memcmp(line.p + name.n, " = '", 4) != 0 || line.p[line.n - 1] != '\'')
        return false;
    struct fm_str in = fm_str(line.p + name.n + 4, line.n - name.n - 5);
    size_t at = 0;
    for (size_t i = 0; i < in.n; i++, at++) {
        bool pair = in.p[i] == '\'' || in.p[i] == '\\';
        if (pair && (i + 1 == in.n || in.p[i + 1] != in.p[i]))
            return false; /* the end of the text, or another character */
        i += pair;
        if (at == value.n || in.p[i] != value.p[at])
            return false;
    }
    return at == value.n;
}

static void settings(struct fm_str text)
{
    static char usual[8192], with[8192];
    struct fm_pg_setting own;
    struct fm_pg_settings s = {.name = FM_STR("node"),
                               .data = FM_STR("/data"),
                               .listen = FM_STR("127.0.0.1"),
                               .port = 5432,
                               .replication = FM_STR("fulmar_replication"),
                               .own = &own};
    struct fm_buf before = fm_buf(usual, sizeof usual), after = fm_buf(with, sizeof with);
    own.name = fm_str_cut(text, '\0', &own.value);
    HOLDS(fm_pg_conf_write(&before, &s, NULL) == FM_ERR_OK, "the usual");
    if (fm_pg_setting_check(own.name, own.value, NULL) != FM_ERR_OK)
        return;
    s.nown = 1;
    HOLDS(fm_pg_conf_write(&after, &s, NULL) == FM_ERR_OK, "not written");
    HOLDS(lines(fm_buf_str(&after)) == lines(fm_buf_str(&before)) + 1, "more than a line");
    struct fm_str rest = fm_buf_str(&after);
    while (rest.n)
        if (means(fm_str_cut(rest, '\n', &rest), own.name, own.value))
            return;
    HOLDS(false, "%.*s", FM_STR_ARG(fm_buf_str(&after)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char *in = fuzz_copy(data + 1, size - 1);
    struct fm_str text = fm_str(in, size - 1);
    switch (data[0] % 4) {
    case 0:
        control(text);
        break;
    case 1:
        histories(text);
        break;
    case 2:
        small_files(text);
        break;
    default:
        settings(text);
        break;
    }
    free(in);
    return 0;
}
