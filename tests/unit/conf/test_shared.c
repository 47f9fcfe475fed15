/* What hosts agree upon: one text for one meaning, and the way back. */
#include "test.h"

#include "base/buf.h"
#include "conf/schema.h"
#include "conf/shared.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define HEAD "fulmar: 1\nservice: s\ncoordination: {sqlite: /x/c.db}\n"
#define REGIONS                                                                                    \
    "regions: {a: {apps: [\"127.0.0.1:80\"]}, b: {apps: [\"127.0.0.1:80\"]}, w: {witness: "        \
    "true}}\n"
#define H(region, n, roles)                                                                        \
    "{region: " region ", roles: [" roles "], address: 127.0.0." n ", admin: \"127.0.0." n         \
    ":7102\"}"
#define HOSTS                                                                                      \
    "hosts: {h: " H("a", "1", "gate, health, controller, coordination") ", i: " H(                 \
        "b", "2", "gate, health, controller") ", j: " H("w", "3", "witness") "}\n"
#define ONE(keys) "contexts:\n  x: {routes: [/x], needs: [], topology: active-passive" keys "}\n"
#define TWO(x_keys, y_keys)                                                                        \
    ONE(x_keys) "  y: {routes: [/y], needs: [], topology: active-passive" y_keys "}\n"
#define MANY(keys)                                                                                 \
    "contexts:\n  x: {routes: [\"/x/{k}\"], needs: [], topology: affinity, key: {path: k}" keys    \
    "}\n"

static struct fm_conf *parse(const char *text)
{
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *c = fm_conf_parse(fm_str_z(text), "fulmar.yaml", &r);
    for (size_t i = 0; !c && i < r.n; i++)
        print_error("%s\n", r.finding[i].what);
    assert_non_null(c);
    fm_conf_report_deinit(&r);
    return c;
}

/* From malloc. */
static char *text_of(const struct fm_conf *c)
{
    char *mem = malloc(FM_CONF_SHARED_MAX);
    struct fm_buf b = fm_buf(mem, FM_CONF_SHARED_MAX - 1);
    assert_int_equal(fm_conf_shared_write(c, &b), FM_ERR_OK);
    mem[b.n] = 0;
    return mem;
}

static char *text_of_file(const char *file)
{
    struct fm_conf *c = parse(file);
    char *text = text_of(c);
    fm_conf_free(c);
    return text;
}

static struct fm_conf *apply(const char *file, const char *agreed, char *why, size_t cap)
{
    struct fm_conf *c = parse(file), *out;
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    out = fm_conf_shared_apply(c, fm_str_z(agreed), &r);
    assert_true((out != NULL) == (r.errors == 0));
    if (why)
        why[0] = 0;
    for (size_t i = 0; why && i < r.n && !why[0]; i++)
        if (r.finding[i].severity == FM_CONF_ERROR)
            snprintf(why, cap, "%s", r.finding[i].what);
    for (size_t i = 0; out && i < r.n; i++)
        assert_int_equal(r.finding[i].severity, FM_CONF_WARNING);
    fm_conf_report_deinit(&r);
    fm_conf_free(c); /* the result stands alone */
    return out;
}

static void one_meaning_is_one_text(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {HEAD REGIONS HOSTS ONE(""), HEAD REGIONS HOSTS ONE(", lease: 2000ms, home: a"), true},
        {HEAD REGIONS HOSTS ONE(""), HEAD ONE("") HOSTS REGIONS, true},
        {HEAD REGIONS HOSTS ONE(", failover: {grace: 60s, mode: manual}"),
         HEAD REGIONS HOSTS ONE(", failover: {mode: manual, grace: 1m}"), true},
        {HEAD REGIONS HOSTS TWO(", moves-with: [y]", ""),
         HEAD REGIONS HOSTS TWO("", ", moves-with: [x]"), true},
        {HEAD REGIONS HOSTS ONE(", failback: {window: \"Sun-Sat 02:00-05:00 UTC\"}"),
         HEAD REGIONS HOSTS ONE(", failback: {window: \"02:00-05:00 UTC\"}"), true},
        /* what is each host's own */
        {HEAD REGIONS HOSTS ONE(""), HEAD REGIONS HOSTS ONE(", when-away: {hold: 9s}"), true},
        {HEAD REGIONS HOSTS ONE(""), HEAD "state: /x/{host}\n" REGIONS HOSTS ONE(""), true},
        {HEAD REGIONS HOSTS MANY(""), HEAD REGIONS HOSTS MANY(", homes: {pins: p.csv}"), true},
        {HEAD REGIONS HOSTS ONE(""),
         HEAD REGIONS HOSTS ONE("") "dial: {i: {gate: \"127.0.0.9:1\", postgres: d}}\n", true},
        /* what is not */
        {HEAD REGIONS HOSTS ONE(""), HEAD REGIONS HOSTS ONE(", lease: 2001ms"), false},
        {HEAD REGIONS HOSTS ONE(""), HEAD REGIONS HOSTS ONE(", home: b"), false},
        {HEAD REGIONS HOSTS ONE(""), HEAD REGIONS HOSTS ONE(", key: {header: k}"), false},
        {HEAD REGIONS HOSTS ONE(", failback: {window: \"Mon 02:00-05:00 UTC\"}"),
         HEAD REGIONS HOSTS ONE(", failback: {window: \"02:00-05:00 UTC\"}"), false},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char a_sum[FM_CONF_DIGEST_ROOM], b_sum[FM_CONF_DIGEST_ROOM];
        char *a = text_of_file(cases[i].a), *b = text_of_file(cases[i].b);
        fm_conf_shared_digest(fm_str_z(a), a_sum);
        fm_conf_shared_digest(fm_str_z(b), b_sum);
        if (cases[i].same)
            assert_string_equal(a, b);
        assert_int_equal(strcmp(a_sum, b_sum) == 0, cases[i].same);
        assert_int_equal(strlen(a_sum), FM_CONF_DIGEST_ROOM - 1);
        free(a);
        free(b);
    }
}

/* Which hosts there are is agreed; the way to them is each host's own. */
static void a_host_is_dialed_as_the_file_says(void **state)
{
    (void)state;
    static const char file[] = HEAD REGIONS HOSTS ONE(
        "") "dial: {i: {gate: \"127.0.0.9:1\"}, j: {peer: \"127.0.0.9:2\"}, k: {peer: "
            "\"127.0.0.9:3\"}}\n";
    char *agreed = text_of_file(HEAD REGIONS HOSTS ONE(", lease: 3s"));
    struct fm_conf *c = apply(file, agreed, NULL, 0);
    assert_non_null(c);
    const struct fm_conf_host *i = &c->hosts[fm_conf_find_host(c, FM_STR("i"))];
    const struct fm_conf_host *j = &c->hosts[fm_conf_find_host(c, FM_STR("j"))];
    assert_str(i->gate.text, "127.0.0.9:1");
    assert_str(i->gate_bind.text, "0.0.0.0:7100");
    assert_str(i->peer.text, "127.0.0.2:7101");
    assert_str(j->peer.text, "127.0.0.9:2");
    assert_str(j->address, "127.0.0.3");
    char *text = text_of(c);
    assert_string_equal(text, agreed);
    free(text);
    free(agreed);
    fm_conf_free(c);
}

/* The order of regions gives cells their homes, and counts only where there are such. */
static void regions_have_an_order_where_cells_do(void **state)
{
    (void)state;
    static const char turned[] = "regions: {b: {apps: [\"127.0.0.1:80\"]}, w: {witness: true}, a: "
                                 "{apps: [\"127.0.0.1:80\"]}}\n";
    char one[2048], many[2048];
    snprintf(one, sizeof one, HEAD "%s" HOSTS "%s", turned, ONE(", home: a"));
    snprintf(many, sizeof many, HEAD "%s" HOSTS "%s", turned, MANY(""));
    char *a = text_of_file(HEAD REGIONS HOSTS ONE(", home: a")), *b = text_of_file(one);
    char *c = text_of_file(HEAD REGIONS HOSTS MANY("")), *d = text_of_file(many);
    assert_string_equal(a, b);
    assert_string_not_equal(c, d);
    struct fm_conf *x = apply(many, c, NULL, 0);
    assert_non_null(x);
    assert_string_equal(x->regions[x->contexts[0].cell_home[0]].name.p, "a");
    fm_conf_free(x);
    free(a);
    free(b);
    free(c);
    free(d);
}

/* It is what jansson would write, with the members sorted: so that every reader can compare. */
static void the_text_is_canonical(void **state)
{
    (void)state;
    char *text = text_of_file(
        HEAD REGIONS HOSTS TWO(", moves-with: [y], failback: {mode: automatic, window: "
                               "\"Sat,Sun 22:00-02:00 UTC\"}",
                               ", failback: {mode: automatic, window: \"Sat,Sun "
                               "22:00-02:00 UTC\"}"));
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(j);
    char *again = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, again);
    free(again);
    json_decref(j);
    free(text);
}

static void what_is_agreed_replaces_what_the_file_says(void **state)
{
    (void)state;
    char *agreed = text_of_file(
        HEAD REGIONS HOSTS ONE(", lease: 5s, home: b, failover: {mode: manual, grace: 4s, at-most: "
                               "3 per 1h}, failback: {soak: 1m, window: \"Mon 02:00-05:00 UTC\"}"));
    struct fm_conf *c = apply(
        HEAD REGIONS HOSTS ONE(", lease: 3s, when-away: {hold: 9s}, failover: {mode: assisted}"),
        agreed, NULL, 0);
    assert_non_null(c);
    const struct fm_conf_context *x = &c->contexts[0];
    assert_int_equal(x->lease_ms, 5000);
    assert_string_equal(c->regions[x->home].name.p, "b");
    assert_int_equal(x->failover.mode, FM_CONF_MANUAL);
    assert_int_equal(x->failover.grace_ms, 4000);
    assert_int_equal(x->failover.at_most, 3);
    assert_int_equal(x->failback.soak_ms, 60000);
    assert_true(x->failback.window.present);
    assert_int_equal(x->when_away.hold_ms, 9000); /* the file's own */
    char *again = text_of(c);
    assert_string_equal(again, agreed);
    free(again);
    /* what follows from it follows from what is agreed; what nobody agreed on goes */
    struct fm_conf *d =
        apply(HEAD REGIONS HOSTS ONE(", failback: {window: \"02:00-03:00 UTC\"}"), agreed, NULL, 0);
    assert_non_null(d);
    assert_int_equal(d->contexts[0].failback.window.days, 2);
    fm_conf_free(d);
    fm_conf_free(c);
    free(agreed);
}

static void hosts_are_those_that_were_agreed(void **state)
{
    (void)state;
    static const char more[] = HEAD REGIONS "hosts: {h: " H(
        "a", "1",
        "gate, health, controller, coordination") ", i-2: "
                                                  "{region: b, roles: [gate, health, controller], "
                                                  "address: 127.0.0.4, gate: "
                                                  "\"127.0.0.9:7200\", admin: \"127.0.0.4:7102\", "
                                                  "zone: z}, j: " H("w", "3",
                                                                    "witness") "}\n" ONE("");
    char *agreed = text_of_file(more);
    struct fm_conf *c = apply(HEAD REGIONS HOSTS ONE(""), agreed, NULL, 0);
    assert_non_null(c);
    assert_int_equal(c->nhosts, 3);
    int i = fm_conf_find_host(c, FM_STR("i-2"));
    assert_true(i >= 0 && fm_conf_find_host(c, FM_STR("i")) < 0);
    assert_string_equal(c->hosts[i].gate.text.p, "127.0.0.4:7200");
    assert_string_equal(c->hosts[i].gate_bind.text.p, "127.0.0.9:7200");
    assert_string_equal(c->hosts[i].peer.text.p, "127.0.0.4:7101");
    assert_string_equal(c->hosts[i].zone.p, "z");
    char *again = text_of(c);
    assert_string_equal(again, agreed);
    free(again);
    fm_conf_free(c);
    free(agreed);
}

/* A context and a region that are only in the file: the one is nobody else's business yet, the
 * other does not exist before all agree. */
static void what_is_only_in_the_file(void **state)
{
    (void)state;
    char *agreed = text_of_file(HEAD REGIONS HOSTS ONE(", moves-with: []"));
    static const char wider[] = HEAD
        "regions: {a: {apps: [\"127.0.0.1:80\"]}, b: {apps: [\"127.0.0.1:80\"]}, c: {apps: "
        "[\"127.0.0.1:80\"]}, w: {witness: true}}\n"
        "hosts: {h: " H("a", "1", "gate, health, controller, coordination") ", i: " H(
            "b", "2",
            "gate, health, controller") ", j: " H("w", "3",
                                                  "witness") ", k: " H("c", "4",
                                                                       "gate, health, "
                                                                       "controller") "}\n" TWO("",
                                                                                               ", "
                                                                                               "lea"
                                                                                               "se:"
                                                                                               " 3"
                                                                                               "s");
    struct fm_conf *c = apply(wider, agreed, NULL, 0);
    assert_non_null(c);
    assert_int_equal(c->nregions, 3);
    assert_int_equal(fm_conf_find_region(c, FM_STR("c")), -1);
    assert_int_equal(fm_conf_find_host(c, FM_STR("k")), -1);
    assert_int_equal(c->ncontexts, 2);
    assert_int_equal(c->contexts[1].lease_ms, 3000);
    fm_conf_free(c);
    free(agreed);
}

static void what_does_not_fit_is_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *file, *agreed, *why;
    } cases[] = {
        {HEAD REGIONS HOSTS ONE(""), HEAD REGIONS HOSTS MANY(""), "has not the `topology`"},
        {HEAD REGIONS HOSTS MANY(", cells: 8"), HEAD REGIONS HOSTS MANY(""),
         "has not the `topology`"},
        {HEAD "regions: {a: {apps: [\"127.0.0.1:80\"]}, w: {witness: true}}\nhosts: {h: " H(
             "a", "1", "gate, health, controller, coordination") ", j: " H("w", "3",
                                                                           "witness") "}\n" ONE(""),
         HEAD REGIONS HOSTS ONE(""), "b is agreed to be a region"},
        {"fulmar: 1\nservice: other\ncoordination: {sqlite: /x/c.db}\n" REGIONS HOSTS ONE(""),
         HEAD REGIONS HOSTS ONE(""), "is of another service"},
        /* a rule of the language, of the two together */
        {HEAD REGIONS HOSTS ONE(", when-away: {hold: 3s}"),
         HEAD REGIONS HOSTS ONE(", lease: 5s, failover: {mode: automatic}"), "are held for 3s"},
    };
    char why[256];
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char *agreed = text_of_file(cases[i].agreed);
        assert_null(apply(cases[i].file, agreed, why, sizeof why));
        if (!strstr(why, cases[i].why))
            fail_msg("case %zu: %s", i, why);
        free(agreed);
    }
    static const char *const broken[] = {"{}", "[]", "x: y: z", "{\"hosts\":{}}", "\"\"", "{"};
    for (size_t i = 0; i < FM_COUNT(broken); i++)
        assert_null(apply(HEAD REGIONS HOSTS ONE(""), broken[i], why, sizeof why));
}

/* A later version may have agreed upon more: what is not known here is passed over. */
static void what_a_later_version_added_is_passed_over(void **state)
{
    (void)state;
    char *text = text_of_file(HEAD REGIONS HOSTS ONE(", lease: 5s"));
    json_t *j = json_loads(text, 0, NULL);
    json_t *x = json_object_get(json_object_get(j, "contexts"), "x");
    json_object_set_new(x, "later", json_pack("{s:s}", "of", "a version"));
    json_object_set_new(json_object_get(x, "failover"), "later", json_string("9s"));
    json_object_set_new(json_object_get(json_object_get(j, "hosts"), "h"), "later",
                        json_string("9"));
    json_object_set_new(j, "later", json_array());
    char *more = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
    struct fm_conf *c = apply(HEAD REGIONS HOSTS ONE(""), more, NULL, 0);
    assert_non_null(c);
    assert_int_equal(c->contexts[0].lease_ms, 5000);
    fm_conf_free(c);
    free(more);
    json_decref(j);
    free(text);
}

static void without_agreement_it_is_a_copy(void **state)
{
    (void)state;
    struct fm_conf *c = apply(HEAD REGIONS HOSTS ONE(", lease: 3s"), "", NULL, 0);
    assert_non_null(c);
    assert_int_equal(c->contexts[0].lease_ms, 3000);
    assert_string_equal(c->file.p, "fulmar.yaml");
    fm_conf_free(c);
}

/* What the issue calls [shared] is marked so, and every mark of a context is in the text. */
static void marked_keys_are_in_the_text(void **state)
{
    (void)state;
    static const char *const of_context[] = {"home", "lease", "moves-with", "key", "homes"};
    static const char *const of_host[] = {"region", "roles", "address", "zone", "gate", "peer"};
    const struct fm_schema_section *const sections[] = {&fm_schema_failover, &fm_schema_failback};
    for (size_t i = 0; i < FM_COUNT(of_context); i++)
        assert_int_equal(fm_schema_find(&fm_schema_context, fm_str_z(of_context[i]))->reload,
                         FM_RELOAD_SHARED);
    for (size_t i = 0; i < FM_COUNT(of_host); i++)
        assert_int_equal(fm_schema_find(&fm_schema_host, fm_str_z(of_host[i]))->reload,
                         FM_RELOAD_SHARED);
    char *text =
        text_of_file(HEAD REGIONS HOSTS TWO(", failback: {window: \"02:00-05:00 UTC\"}", ""));
    json_t *j = json_loads(text, 0, NULL);
    json_t *x = json_object_get(json_object_get(j, "contexts"), "x");
    for (size_t i = 0; i < FM_COUNT(sections); i++)
        for (size_t k = 0; k < sections[i]->n; k++)
            assert_non_null(
                json_object_get(json_object_get(x, sections[i]->id), sections[i]->rows[k].name));
    json_decref(j);
    free(text);
}

#define DATABASES                                                                                  \
    "hosts: {h: " H("a", "1", "gate, health, controller, coordination, postgres") ", i: " H(       \
        "b", "2", "gate, health, controller, postgres") ", j: " H("w", "3", "witness") "}\n"
#define GROUP(nodes, more) "groups:\n  g: {contexts: [x], nodes: {" nodes "}" more "}\n"
#define NODES              "h: {}, i: {port: 5433, data: \"/d/{host}\"}"
#define DELAYED(time)      "h: {}, i: {port: 5433, data: \"/d/{host}\", delay: " time "}"

#define HOOKED(program, more)                                                                      \
    "groups:\n  g: {contexts: [x], hooks: {status: [" program "], lag: [" program                  \
    "], read-only: [" program "], promote: [" program "], fence: [" program "]" more "}}\n"

static void groups_have_one_text(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {GROUP(NODES, ", replication: {mode: sync}"),
         GROUP("i: {data: \"/d/{host}\", port: 5433}, h: {port: 5432, data: /var/lib/fulmar/pg/g}",
               ", replication: {beyond: no-automatic, mode: sync}, settings: {}"),
         true},
        {GROUP(NODES, ", replication: {mode: sync}, settings: {work_mem: 1MB, a.b: 2}"),
         GROUP(NODES, ", replication: {mode: sync}, settings: {A.b: 2, Work_Mem: 1MB}"), true},
        /* what is each host's own */
        {GROUP(NODES, ", replication: {mode: sync}"),
         GROUP(NODES, ", replication: {mode: sync}, user: pg, bin: /b, listen: {read-write: "
                      "{h: \"127.0.0.1:6432\"}}, users: {admin: {password-file: x}}"),
         true},
        /* what is not */
        {GROUP(NODES, ", replication: {mode: sync}"), GROUP(NODES, ", replication: {mode: async}"),
         false},
        {GROUP(NODES, ", replication: {mode: sync}"), GROUP("h: {}", ", replication: {mode: sync}"),
         false},
        {GROUP(NODES, ", replication: {mode: sync}"),
         GROUP(NODES, ", replication: {mode: sync}, settings: {work_mem: 1MB}"), false},
        {GROUP(NODES, ", replication: {mode: sync}"),
         GROUP(NODES, ", replication: {mode: sync, beyond: block-writes}"), false},
        {GROUP(NODES, ", replication: {mode: async}"),
         GROUP(NODES, ", replication: {mode: async, max-loss: {bytes: 1MiB}}"), false},
        {GROUP(NODES, ", replication: {mode: async, max-loss: {bytes: 1MiB}}"),
         GROUP(NODES, ", replication: {mode: async, max-loss: {bytes: 2MiB}}"), false},
        {GROUP(NODES, ", replication: {mode: async, max-loss: {bytes: 1MiB}}"),
         GROUP(NODES, ", replication: {mode: async, max-loss: {bytes: 1MiB, time: 5s}}"), false},
        {GROUP(NODES, ", replication: {mode: async, max-loss: {time: 5s, bytes: 1MiB}}"),
         GROUP(NODES, ", replication: {mode: async, max-loss: {bytes: 1MiB, time: 5000ms}}"), true},
        {GROUP(NODES, ", replication: {mode: async, max-loss: {bytes: 1MiB}}"),
         GROUP(NODES, ", replication: {mode: async, max-loss: {bytes: 1MiB}, in-region: async}"),
         true},
        {GROUP(NODES, ", replication: {mode: async, max-loss: {bytes: 1MiB}}"),
         GROUP(NODES, ", replication: {mode: async, max-loss: {bytes: 1MiB}, in-region: sync}"),
         false},
        {GROUP(DELAYED("1h"), ", replication: {mode: sync}"),
         GROUP(DELAYED("60m"), ", replication: {mode: sync}"), true},
        {GROUP(DELAYED("1h"), ", replication: {mode: sync}"),
         GROUP(NODES, ", replication: {mode: sync}"), false},
        {"", GROUP(NODES, ", replication: {mode: sync}"), false},
        /* commands are each host's own; that there are some is not */
        {HOOKED("/a", ""), HOOKED("/b", ", timeout: 1s, interval: 2s"), true},
        {GROUP(NODES, ", replication: {mode: sync}"), HOOKED("/a", ""), false},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char a_file[2048], b_file[2048];
        snprintf(a_file, sizeof a_file, HEAD REGIONS DATABASES ONE("") "%s", cases[i].a);
        snprintf(b_file, sizeof b_file, HEAD REGIONS DATABASES ONE("") "%s", cases[i].b);
        char *a = text_of_file(a_file), *b = text_of_file(b_file);
        if (cases[i].same)
            assert_string_equal(a, b);
        assert_int_equal(strcmp(a, b) == 0, cases[i].same);
        free(a);
        free(b);
    }
}

static void an_agreed_group_replaces_that_of_the_file(void **state)
{
    (void)state;
    char *agreed =
        text_of_file(HEAD REGIONS DATABASES ONE("") GROUP(NODES, ", replication: {mode: async}, "
                                                                 "settings: {work_mem: 8MB}"));
    struct fm_conf *c = apply(HEAD REGIONS HOSTS ONE("") "groups: {}\n", agreed, NULL, 0);
    assert_int_equal(c->ngroups, 0); /* what is each host's own of it is not known here */
    assert_true(c->hosts[0].roles & FM_ROLE_POSTGRES);
    fm_conf_free(c);
    char *hooked = text_of_file(HEAD REGIONS DATABASES ONE("") HOOKED("/a", ""));
    c = apply(HEAD REGIONS DATABASES ONE("") HOOKED("/b", ", interval: 1s"), hooked, NULL, 0);
    assert_int_equal(c->ngroups, 1);
    assert_true(c->groups[0].hooks.present && c->groups[0].nnodes == 0);
    assert_str(c->groups[0].hooks.fence[0], "/b");
    fm_conf_free(c);
    free(hooked);
    c = apply(HEAD REGIONS DATABASES ONE("")
                  GROUP("h: {port: 5444}", ", user: pg, replication: {mode: sync}"),
              agreed, NULL, 0);
    const struct fm_conf_group *g = c->groups;
    assert_int_equal(c->ngroups, 1);
    assert_int_equal(g->nnodes, 2);
    assert_int_equal(g->nodes[0].port, 5432);
    assert_str(g->nodes[1].data, "/d/{host}");
    assert_int_equal(g->replication.mode, FM_CONF_ASYNC);
    assert_str(g->settings[0].value, "8MB");
    assert_str(g->user, "pg");
    char *again = text_of(c);
    assert_string_equal(again, agreed);
    fm_conf_free(c);
    free(again);
    free(agreed);
}

/* Its hosts are not agreed upon either. */
static void a_group_that_is_not_agreed_is_left_out(void **state)
{
    (void)state;
    char *agreed = text_of_file(HEAD REGIONS HOSTS ONE(""));
    assert_null(strstr(agreed, "groups"));
    struct fm_conf *c =
        apply(HEAD REGIONS DATABASES ONE("") GROUP(NODES, ", replication: {mode: sync}"), agreed,
              NULL, 0);
    assert_int_equal(c->ngroups, 0);
    fm_conf_free(c);
    free(agreed);
}

FM_TEST_MAIN(fm_test(groups_have_one_text), fm_test(an_agreed_group_replaces_that_of_the_file),
             fm_test(a_group_that_is_not_agreed_is_left_out), fm_test(one_meaning_is_one_text),
             fm_test(a_host_is_dialed_as_the_file_says),
             fm_test(regions_have_an_order_where_cells_do), fm_test(the_text_is_canonical),
             fm_test(what_is_agreed_replaces_what_the_file_says),
             fm_test(hosts_are_those_that_were_agreed), fm_test(what_is_only_in_the_file),
             fm_test(what_does_not_fit_is_refused_with_the_reason),
             fm_test(what_a_later_version_added_is_passed_over),
             fm_test(without_agreement_it_is_a_copy), fm_test(marked_keys_are_in_the_text))
