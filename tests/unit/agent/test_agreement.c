/* What a host goes by: across restarts, with a file that says something else, and with one that
 * does not fit. */
#include "net.h"

#include "agent/agreement.h"
#include "base/file.h"
#include "io/resolve.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_OF(keys)                                                                              \
    "fulmar: 1\nservice: s\ncoordination: {sqlite: /x/c.db}\n"                                     \
    "regions: {a: {apps: [\"127.0.0.1:80\"]}, b: {apps: [\"127.0.0.1:80\"]}}\n"                    \
    "hosts: {h: {region: a, roles: [gate, health, controller, coordination], address: "            \
    "127.0.0.1}, i: {region: b, roles: [gate, health, controller], address: 127.0.0.2, admin: "    \
    "\"127.0.0.2:7102\"}}\n"                                                                       \
    "contexts:\n  x: {routes: [/x], needs: [], topology: active-passive" keys "}\n"

static struct net net;
static struct fm_mailbox mailbox;
static struct fm_peers peers;
static struct fm_resolver *resolver;
static char folder[64], path[128];
static unsigned told;

static void changed(void *user)
{
    assert_ptr_equal(user, &net);
    told++;
}

static int begin(void **state)
{
    int rc = fm_test_fds_before(state);
    struct fm_error e;
    snprintf(folder, sizeof folder, "/tmp/fulmar-agreement-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/" FM_AGREEMENT_FILE, folder);
    net_open(&net, 4096, 4);
    assert_int_equal(fm_mailbox_open(&mailbox, &net.loop, NULL, &e), FM_ERR_OK);
    resolver = fm_resolver_new(&mailbox, &e);
    assert_non_null(resolver);
    told = 0;
    return rc;
}

static int end(void **state)
{
    fm_resolver_free(resolver);
    fm_mailbox_close(&mailbox);
    net_close(&net);
    (void)unlink(path);
    assert_int_equal(rmdir(folder), 0);
    return fm_test_fds_after(state);
}

static struct fm_agreement *open_one(struct fm_error *e)
{
    struct fm_agreement_config c = {.mailbox = &mailbox,
                                    .resolver = resolver,
                                    .peers = &peers,
                                    .folder = folder,
                                    .host = "h",
                                    .changed = changed,
                                    .user = &net};
    return fm_agreement_open(&c, FM_STR("s"), e);
}

static void close_one(struct fm_agreement *g)
{
    fm_agreement_stop(g);
    fm_agreement_close(g);
}

static struct fm_conf *parse(const char *text)
{
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *c = fm_conf_parse(fm_str_z(text), "fulmar.yaml", &r);
    assert_non_null(c);
    fm_conf_report_deinit(&r);
    return c;
}

/* As the agent does it: the file, what is made of it, and that it is used. */
static struct fm_conf *go_by(struct fm_agreement *g, const struct fm_conf *file)
{
    struct fm_error e;
    fm_agreement_file(g, file);
    struct fm_conf *conf = fm_agreement_merge(g, file, &e);
    fm_agreement_used(g, conf, conf ? NULL : e.msg);
    return conf;
}

static struct fm_agreed version(uint64_t generation, const struct fm_agreement *g)
{
    struct fm_agreed a;
    assert_true(fm_agreed_make(&a, generation, fm_agreement_file_text(g)));
    return a;
}

static const char *member(json_t *j, const char *name)
{
    return json_string_value(json_object_get(j, name));
}

static void it_is_kept_and_gone_by(void **state)
{
    (void)state;
    struct fm_error e;
    struct fm_conf *two = parse(FILE_OF(", lease: 2s")), *five = parse(FILE_OF(", lease: 5s"));
    struct fm_agreement *g = open_one(&e);
    struct fm_conf *conf = go_by(g, two);
    assert_int_equal(conf->contexts[0].lease_ms, 2000);
    assert_false(fm_agreement_is_used(g)); /* nothing is agreed */
    /* what its own file says: nothing has to be made anew */
    struct fm_agreed a = version(1, g);
    fm_agreement_take(g, &a);
    NET_UNTIL(&net, fm_agreement_is_used(g));
    assert_int_equal(told, 0);
    fm_agreed_free(&a);
    /* and something else */
    fm_agreement_file(g, five);
    a = version(2, g);
    fm_agreement_file(g, two);
    fm_agreement_take(g, &a);
    assert_false(fm_agreement_is_used(g));
    NET_UNTIL(&net, told == 1);
    fm_conf_free(conf);
    conf = go_by(g, two);
    assert_int_equal(conf->contexts[0].lease_ms, 5000);
    assert_true(fm_agreement_is_used(g));
    json_t *j = fm_agreement_json(g);
    assert_true(json_is_true(json_object_get(j, "differs")));
    assert_int_equal(json_integer_value(json_object_get(j, "used_generation")), 2);
    assert_null(member(j, "trouble"));
    json_decref(j);
    close_one(g); /* what waits for the disk is written */
    g = open_one(&e);
    assert_non_null(g);
    assert_int_equal(fm_agreement_known(g)->mark.generation, 2);
    assert_string_equal(fm_agreement_known(g)->mark.digest, a.mark.digest);
    fm_conf_free(conf);
    conf = go_by(g, two);
    assert_int_equal(conf->contexts[0].lease_ms, 5000);
    close_one(g);
    fm_agreed_free(&a);
    fm_conf_free(conf);
    fm_conf_free(two);
    fm_conf_free(five);
}

static void what_does_not_fit_is_told_and_not_used(void **state)
{
    (void)state;
    struct fm_error e;
    struct fm_conf *file = parse(FILE_OF(", when-away: {hold: 3s}")),
                   *other = parse(FILE_OF(", lease: 5s, failover: {mode: manual}")),
                   *more = parse(FILE_OF("") "  y: {routes: [/y], needs: [], topology: "
                                             "active-passive}\n");
    char why[160];
    struct fm_agreement *g = open_one(&e);
    struct fm_conf *conf = go_by(g, file), *tried;
    fm_agreement_file(g, other);
    struct fm_agreed a = version(1, g);
    fm_agreement_file(g, more);
    struct fm_agreed wider = version(2, g);
    fm_agreement_file(g, file);
    tried = fm_agreement_try(g, a.text, why, sizeof why);
    assert_non_null(tried);
    fm_conf_free(tried);
    assert_null(fm_agreement_try(g, wider.text, why, sizeof why)); /* it has a context more */
    assert_non_null(strstr(why, "other contexts"));
    assert_null(fm_agreement_try(g, "{}", why, sizeof why));
    fm_agreement_take(g, &a);
    NET_UNTIL(&net, told == 1);
    fm_agreement_used(g, NULL, "it has no such region");
    assert_false(fm_agreement_is_used(g));
    json_t *j = fm_agreement_json(g);
    assert_string_equal(member(j, "trouble"), "it has no such region");
    json_decref(j);
    close_one(g);
    fm_agreed_free(&a);
    fm_agreed_free(&wider);
    fm_conf_free(conf);
    fm_conf_free(file);
    fm_conf_free(other);
    fm_conf_free(more);
}

static void a_damaged_file_is_refused(void **state)
{
    (void)state;
    struct fm_error e;
    struct fm_conf *file = parse(FILE_OF(""));
    struct fm_agreement *g = open_one(&e);
    struct fm_conf *conf = go_by(g, file);
    struct fm_agreed a = version(1, g);
    fm_agreement_take(g, &a);
    close_one(g);
    char *bytes;
    size_t n;
    assert_int_equal(fm_file_read(path, FM_AGREED_TEXT_MAX, &bytes, &n, &e), FM_ERR_OK);
    char *at = strstr(bytes, "\"2s\"");
    assert_non_null(at);
    at[1] = '3';
    assert_int_equal(fm_file_replace(path, fm_str(bytes, n), 0600, &e), FM_ERR_OK);
    assert_null(open_one(&e));
    assert_int_equal(e.code, FM_ERR_INVALID);
    assert_int_equal(fm_file_replace(path, fm_str(bytes, n / 2), 0600, &e), FM_ERR_OK);
    assert_null(open_one(&e));
    free(bytes);
    fm_agreed_free(&a);
    fm_conf_free(conf);
    fm_conf_free(file);
}

static void the_page_says_what_is_newer(void **state)
{
    (void)state;
    struct fm_error e;
    struct fm_conf *file = parse(FILE_OF(""));
    struct fm_agreement *g = open_one(&e);
    struct fm_conf *conf = go_by(g, file);
    static const struct {
        const char *query;
        unsigned before, after;
    } cases[] = {{"", 200, 200},
                 {"?newer=0", 204, 200},
                 {"?newer=2", 204, 200},
                 {"?newer=3", 204, 204},
                 {"?newer=x", 200, 200}};
    for (unsigned known = 0; known < 2; known++) {
        for (size_t i = 0; i < FM_COUNT(cases); i++) {
            struct fm_page_request q = {.query = fm_str_z(cases[i].query)};
            struct fm_page_answer a = FM_PAGE_ANSWER;
            fm_agreement_page(g, &q, &a);
            assert_int_equal(a.status, known ? cases[i].after : cases[i].before);
            assert_true((a.body != NULL) == (a.status == 200));
            free(a.body);
        }
        struct fm_agreed a = version(3, g);
        if (!known)
            fm_agreement_take(g, &a);
        fm_agreed_free(&a);
    }
    close_one(g);
    fm_conf_free(conf);
    fm_conf_free(file);
}

FM_TEST_MAIN(fm_test_with(it_is_kept_and_gone_by, begin, end),
             fm_test_with(what_does_not_fit_is_told_and_not_used, begin, end),
             fm_test_with(a_damaged_file_is_refused, begin, end),
             fm_test_with(the_page_says_what_is_newer, begin, end))
