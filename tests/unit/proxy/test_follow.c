/* Following views: agents are pages on the same loop, each with what it would say. */
#include "authority.h"
#include "given.h"

#include "base/file.h"
#include "http/pages.h"
#include "proxy/follow.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { AGENTS = 4, WAITS = 8 };

/* What an agent says: its view where it is newer than what was asked for, else nothing yet. */
struct agent {
    struct fm_pages pages;
    struct fm_listener listener;
    bool up, frozen;
    const char *says; /* instead of the view */
    unsigned status;
    struct fm_view_doc doc;
    unsigned asked;
    char query[160];
    struct fm_page_wait *wait[WAITS];
    unsigned nwait;
};

static struct net net;
static struct fm_mailbox box;
static struct fm_resolver *resolver;
static struct agent agent[AGENTS]; /* west-1, west-2, north-1, south-1 */
static const char *const agent_name[AGENTS] = {"west-1", "west-2", "north-1", "south-1"};
static struct fm_conf *conf;
static struct fm_follow *follow;
static const struct fm_peers plain;
static char folder[64];
static unsigned changes;

/* -------- agents -------- */

static struct fm_page_answer text_of(struct agent *x)
{
    struct fm_page_answer a = FM_PAGE_ANSWER;
    a.status = x->status ? x->status : 200;
    if (x->says) {
        a.body = strdup(x->says);
        a.n = strlen(x->says);
    } else {
        assert_int_equal(fm_view_doc_write(&x->doc, &a.body, &a.n, NULL), FM_ERR_OK);
    }
    return a;
}

static void waiter_left(void *user)
{
    struct fm_page_wait **w = user;
    *w = NULL;
}

static void write_view(const struct fm_page_request *q, struct fm_page_answer *a)
{
    struct agent *x = q->user;
    unsigned long long i = 0, g = 0;
    x->asked++;
    snprintf(x->query, sizeof x->query, "%.*s", FM_STR_ARG(q->query));
    const char *after = strstr(x->query, "after=");
    if (after)
        assert_int_equal(sscanf(after, "after=%llu.%llu", &i, &g), 2);
    char seen[32];
    if (!x->says)
        *a = text_of(x);
    snprintf(seen, sizeof seen, "seen=%llx&",
             (unsigned long long)fm_view_doc_hash(fm_str(a->body, a->n)));
    bool newer = x->doc.incarnation.n > i || (x->doc.incarnation.n == i && x->doc.generation.n > g);
    bool same = x->doc.incarnation.n == i && x->doc.generation.n == g;
    if (!x->frozen && (x->says || newer || (same && !strstr(x->query, seen)))) {
        if (x->says)
            *a = text_of(x);
        return;
    }
    free(a->body);
    *a = FM_PAGE_ANSWER;
    assert_true(x->nwait < WAITS);
    struct fm_page_wait **w = &x->wait[x->nwait++];
    *w = fm_page_later(q, waiter_left, w);
}

static const struct fm_page table[] = {{.path = "/authority/view", .write = write_view},
                                       {.path = NULL}};

static void answer_waiters(struct agent *x, unsigned status)
{
    for (unsigned i = 0; i < x->nwait; i++) {
        struct fm_page_wait *w = x->wait[i];
        x->wait[i] = NULL;
        if (!w)
            continue;
        struct fm_page_answer a = FM_PAGE_ANSWER;
        if (status == 200)
            a = text_of(x);
        a.status = status;
        fm_page_answer(w, &a);
    }
    x->nwait = 0;
}

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    fm_pages_accept(&fm_container_of(ln, struct agent, listener)->pages, fd, from);
}

static void start_agent(unsigned i)
{
    struct fm_addr at;
    struct agent *x = &agent[i];
    uint16_t port = x->listener.address.len ? fm_addr_port(&x->listener.address) : 0;
    char text[32];
    snprintf(text, sizeof text, "127.0.0.1:%u", port);
    assert_int_equal(fm_addr_parse(&at, fm_str_z(text)), FM_ERR_OK);
    assert_int_equal(fm_pages_init(&x->pages, &net.loop, table, x, NULL), FM_ERR_OK);
    assert_int_equal(fm_listener_open(&x->listener, &net.loop, &at, 0, accepted, NULL), FM_ERR_OK);
    x->up = true;
}

static void stop_agent(unsigned i)
{
    struct agent *x = &agent[i];
    fm_listener_close(&x->listener);
    fm_pages_close_all(&x->pages);
    fm_loop_turn(&net.loop, 0);
    fm_pages_deinit(&x->pages);
    x->up = false;
    x->nwait = 0;
}

/* -------- views -------- */

static void view_is(struct fm_view_doc *d, uint64_t generation, const char *holder, uint64_t epoch)
{
    fm_view_doc_deinit(d);
    fm_view_doc_init(d, FM_STR("bank"));
    d->incarnation.n = 1;
    d->generation.n = generation;
    struct fm_view_doc_context *c = fm_view_doc_add(d, FM_STR("ledger"), 1);
    assert_non_null(c);
    c->cell[0].c =
        (struct fm_view_cell){.region = fm_view_doc_region(d, fm_str_z(holder)), .epoch = {epoch}};
}

static void all_say(uint64_t generation, const char *holder, uint64_t epoch)
{
    for (unsigned i = 0; i < AGENTS; i++)
        view_is(&agent[i].doc, generation, holder, epoch);
}

/* The holder that is known now; "" before the first view. */
static const char *holder(void)
{
    const struct fm_view_doc *d = fm_follow_doc(follow);
    const struct fm_view_doc_context *c = d ? fm_view_doc_find(d, FM_STR("ledger")) : NULL;
    return c ? fm_view_doc_holder(d, &c->cell[0]) : "";
}

static uint64_t generation(void)
{
    const struct fm_view_doc *d = fm_follow_doc(follow);
    return d ? d->generation.n : 0;
}

static bool lapsed(void)
{
    return fm_view_doc_find(fm_follow_doc(follow), FM_STR("ledger"))->cell[0].lapsed;
}

/* -------- the follower -------- */

static void changed(void *user)
{
    assert_ptr_equal(user, &net);
    changes++;
}

static struct fm_conf *load_conf(unsigned cells)
{
    static char text[4096];
    int n = snprintf(
        text, sizeof text,
        "fulmar: 1\nservice: bank\npeer-tls: plaintext\n"
        "edge: {listen: [{address: \"127.0.0.1:1\"}]}\n"
        "coordination: {etcd: {endpoints: {west: [\"http://127.0.0.1:2379\"]}}}\nhosts:\n");
    for (unsigned i = 0; i < AGENTS; i++)
        n += snprintf(text + n, sizeof text - (size_t)n,
                      "  %s: {region: %.*s, roles: [gate, health%s], address: 127.0.0.1, "
                      "peer: \"127.0.0.1:%u\", admin: \"127.0.0.1:%u\", gate: \"127.0.0.1:%u\"}\n",
                      agent_name[i], (int)strcspn(agent_name[i], "-"), agent_name[i],
                      i == 1 ? "" : ", controller", fm_addr_port(&agent[i].listener.address),
                      20000 + i, 21000 + i);
    n += snprintf(text + n, sizeof text - (size_t)n,
                  "regions: {west: {apps: [\"127.0.0.1:9\"]}, north: {apps: [\"127.0.0.1:9\"]}, "
                  "south: {apps: [\"127.0.0.1:9\"]}}\ncontexts:\n");
    if (cells == 1)
        n += snprintf(text + n, sizeof text - (size_t)n,
                      "  ledger: {topology: active-passive, home: west, routes: [\"/**\"], needs: "
                      "[], queries: home, idempotency: {by: app, key: required}}\n");
    else
        n += snprintf(text + n, sizeof text - (size_t)n,
                      "  ledger: {topology: affinity, cells: %u, routes: [\"/{id}\"], needs: [], "
                      "key: {path: id}, queries: home, idempotency: {by: app, key: required}}\n",
                      cells);
    assert_true((size_t)n < sizeof text);
    return given_conf(text);
}

static void begin(const char *region)
{
    struct fm_error e;
    struct fm_follow_config c = {.mailbox = &box,
                                 .resolver = resolver,
                                 .folder = folder,
                                 .host = "edge-1",
                                 .region = region,
                                 .changed = changed,
                                 .user = &net};
    follow = fm_follow_new(&c, conf, &plain, &e);
    if (!follow)
        fail_msg("%s", e.msg);
}

/* Also what waits for the disk. */
static void end(void)
{
    fm_follow_stop(follow);
    fm_loop_turn(&net.loop, 0);
    fm_loop_turn(&net.loop, 0);
    fm_follow_free(follow);
    follow = NULL;
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    net_open(&net, 64 * 1024, 64);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(fm_mailbox_open(&box, &net.loop, NULL, NULL), FM_ERR_OK);
    resolver = fm_resolver_new(&box, NULL);
    assert_non_null(resolver);
    snprintf(folder, sizeof folder, "/tmp/fulmar-follow-XXXXXX");
    assert_non_null(mkdtemp(folder));
    memset(agent, 0, sizeof agent);
    for (unsigned i = 0; i < AGENTS; i++) {
        fm_view_doc_init(&agent[i].doc, FM_STR("bank"));
        start_agent(i);
    }
    conf = load_conf(1);
    changes = 0;
    all_say(41, "west", 7);
    return rc;
}

static char *path(const char *name)
{
    static char p[128];
    snprintf(p, sizeof p, "%s/%s", folder, name);
    return p;
}

static int teardown(void **state)
{
    if (follow)
        end();
    for (unsigned i = 0; i < AGENTS; i++) {
        if (agent[i].up)
            stop_agent(i);
        fm_view_doc_deinit(&agent[i].doc);
    }
    fm_resolver_free(resolver);
    fm_mailbox_close(&box);
    fm_conf_free(conf);
    net_close(&net);
    (void)unlink(path("view"));
    (void)unlink(path("view.old"));
    assert_int_equal(rmdir(folder), 0);
    return fm_test_fds_after(state);
}

/* -------- what it follows -------- */

static void follows_two_regions_its_own_first(void **state)
{
    (void)state;
    begin("west");
    assert_null(fm_follow_doc(follow));
    NET_UNTIL(&net, agent[0].nwait && agent[2].nwait + agent[3].nwait == 1);
    assert_string_equal(holder(), "west");
    assert_int_equal(generation(), 41);
    assert_int_equal(changes, 1);
    assert_int_equal(agent[1].asked, 0); /* no controller, and in the same region */
    assert_non_null(strstr(agent[0].query, "after=1.41&seen="));
}

static void hears_of_news_at_once(void **state)
{
    (void)state;
    begin("west");
    for (uint64_t i = 42; i < 50; i++) {
        NET_UNTIL(&net, agent[0].nwait);
        view_is(&agent[0].doc, i, i % 2 ? "west" : "north", i);
        answer_waiters(&agent[0], 200);
        NET_UNTIL(&net, generation() == i);
        assert_string_equal(holder(), i % 2 ? "west" : "north");
    }
}

static void silence_is_no_news(void **state)
{
    (void)state;
    begin("west");
    NET_UNTIL(&net, agent[0].nwait);
    unsigned before = agent[0].asked;
    for (unsigned i = 1; i <= 3; i++) {
        net_skip_ms(5000); /* as long as it was asked to wait */
        answer_waiters(&agent[0], 204);
        NET_UNTIL(&net, agent[0].nwait);
        assert_int_equal(agent[0].asked, before + i);
    }
    assert_int_equal(changes, 1);
}

/* An agent that is frozen, and one that lags behind, hide nothing. */
static void a_frozen_agent_hides_nothing(void **state)
{
    (void)state;
    agent[0].frozen = true;
    begin("west");
    NET_UNTIL(&net, generation() == 41); /* from elsewhere */
    agent[1].frozen = true;
    struct agent *other = agent[2].nwait ? &agent[2] : &agent[3];
    NET_UNTIL(&net, other->nwait || (other = &agent[3])->nwait || (other = &agent[2])->nwait);
    view_is(&other->doc, 42, "north", 8);
    answer_waiters(other, 200);
    NET_UNTIL(&net, generation() == 42);
    agent[1].frozen = false;
    net_skip_ms(9000);                   /* longer than it was asked to wait */
    NET_UNTIL(&net, agent[1].asked > 0); /* the next one at home */
}

static void never_goes_back(void **state)
{
    (void)state;
    begin("west");
    NET_UNTIL(&net, agent[0].nwait);
    view_is(&agent[0].doc, 42, "north", 8);
    answer_waiters(&agent[0], 200);
    NET_UNTIL(&net, generation() == 42 && agent[0].nwait);
    agent[0].says = NULL;
    view_is(&agent[0].doc, 40, "west", 6); /* an agent that says old things */
    answer_waiters(&agent[0], 200);
    NET_UNTIL(&net, agent[0].nwait);
    assert_int_equal(generation(), 42);
    view_is(&agent[0].doc, 43, "west", 7); /* new, with an epoch that is over */
    answer_waiters(&agent[0], 200);
    NET_UNTIL(&net, generation() == 43);
    assert_string_equal(holder(), "north");
}

static void nonsense_is_left(void **state)
{
    (void)state;
    static const char another[] =
        "{\"schema\":\"fulmar.view/1\",\"service\":\"shop\",\"incarnation\":9,\"generation\":9,"
        "\"contexts\":{}}";
    static const char *const nonsense[] = {
        "", "{}", "null", "{\"schema\":\"fulmar.view/1\"}", "\xff\xfe", another};
    for (size_t i = 0; i < FM_COUNT(nonsense); i++) {
        agent[0].says = nonsense[i];
        begin("west");
        NET_UNTIL(&net, generation() == 41);
        NET_UNTIL(&net, agent[1].nwait); /* the next one at home, for a while */
        assert_string_equal(holder(), "west");
        end();
        agent[1].nwait = agent[2].nwait = agent[3].nwait = 0;
        (void)unlink(path("view"));
        (void)unlink(path("view.old"));
    }
}

static void an_agent_that_refuses_is_asked_less_and_less(void **state)
{
    (void)state;
    for (unsigned i = 0; i < AGENTS; i++) {
        agent[i].says = "no";
        agent[i].status = 503;
    }
    begin("west");
    for (unsigned i = 0; i < 600; i++) { /* a minute */
        net_skip_ms(100);
        net_turn_ms(&net, 1);
    }
    unsigned asked = 0;
    for (unsigned i = 0; i < AGENTS; i++)
        asked += agent[i].asked;
    assert_in_range(asked, AGENTS * 4, AGENTS * 16);
    for (unsigned i = 0; i < AGENTS; i++) {
        agent[i].says = NULL;
        agent[i].status = 0;
    }
    fm_follow_hurry(follow); /* somebody waits for news */
    NET_UNTIL(&net, generation() == 41);
}

static void agents_that_come_back_are_found(void **state)
{
    (void)state;
    for (unsigned i = 0; i < AGENTS; i++)
        stop_agent(i);
    begin("west");
    net_turn_ms(&net, 20);
    assert_null(fm_follow_doc(follow));
    start_agent(3);
    NET_UNTIL(&net, (net_skip_ms(20), generation() == 41));
}

static void a_reload_asks_those_of_the_new_file(void **state)
{
    (void)state;
    begin("west");
    NET_UNTIL(&net, agent[0].nwait);
    stop_agent(0);
    memset(&agent[0].listener.address, 0, sizeof agent[0].listener.address);
    start_agent(0); /* elsewhere */
    struct fm_conf *next = load_conf(1);
    assert_int_equal(fm_follow_reset(follow, next, &plain), FM_ERR_OK);
    fm_conf_free(conf);
    conf = next;
    NET_UNTIL(&net, agent[0].nwait);
}

/* -------- what a region has found -------- */

static void find_lapsed(unsigned i, const char *region, bool is)
{
    agent[i].doc.found_by = fm_view_doc_region(&agent[i].doc, fm_str_z(region));
    agent[i].doc.context[0].cell[0].lapsed = is;
}

static void a_finding_of_its_own_region_counts(void **state)
{
    (void)state;
    find_lapsed(0, "west", false);
    find_lapsed(2, "north", true);
    find_lapsed(3, "south", true);
    begin("west");
    NET_UNTIL(&net, agent[0].nwait && agent[2].nwait + agent[3].nwait == 1);
    assert_false(lapsed());
    find_lapsed(0, "west", true);
    unsigned before = changes;
    answer_waiters(&agent[0], 200);
    NET_UNTIL(&net, lapsed());
    assert_int_equal(changes, before + 1);
    NET_UNTIL(&net, agent[0].nwait);
    find_lapsed(0, "west", false);
    answer_waiters(&agent[0], 200);
    NET_UNTIL(&net, !lapsed());
}

static void a_finding_is_of_one_epoch(void **state)
{
    (void)state;
    find_lapsed(0, "west", true);
    view_is(&agent[2].doc, 50, "north", 8);
    view_is(&agent[3].doc, 50, "north", 8);
    begin("west");
    NET_UNTIL(&net, agent[0].asked && generation() == 50);
    NET_UNTIL(&net, agent[0].nwait); /* it has said that the lease before has lapsed */
    assert_false(lapsed());
}

static void a_finding_ends_with_who_found_it(void **state)
{
    (void)state;
    find_lapsed(0, "west", true);
    begin("west");
    NET_UNTIL(&net, agent[0].nwait && generation() == 41 && lapsed());
    for (unsigned i = 0; i < 3; i++) { /* it is heard */
        net_skip_ms(5000);
        answer_waiters(&agent[0], 204);
        NET_UNTIL(&net, agent[0].nwait);
        assert_true(lapsed());
    }
    agent[1].frozen = true;
    unsigned before = changes;
    stop_agent(0);
    net_skip_ms(11000);
    NET_UNTIL(&net, !lapsed());
    assert_true(changes > before);
}

/* -------- the disk -------- */

static void starts_from_what_it_had(void **state)
{
    (void)state;
    begin("west");
    NET_UNTIL(&net, generation() == 41);
    end();
    for (unsigned i = 0; i < AGENTS; i++)
        stop_agent(i);
    begin("west");
    assert_string_equal(holder(), "west"); /* at once */
    json_t *o = fm_follow_json(follow);
    assert_true(json_is_true(json_object_get(o, "stored")));
    assert_true(json_is_null(json_object_get(o, "age_ms")));
    assert_int_equal(json_integer_value(json_object_get(o, "generation")), 41);
    json_decref(o);
}

static void does_not_go_back_behind_what_it_had(void **state)
{
    (void)state;
    begin("west");
    NET_UNTIL(&net, generation() == 41);
    end();
    all_say(40, "north", 6);
    for (unsigned i = 0; i < AGENTS; i++)
        agent[i].nwait = agent[i].asked = 0;
    begin("west");
    NET_UNTIL(&net, agent[0].asked);
    net_turn_ms(&net, 20);
    assert_int_equal(generation(), 41);
    assert_string_equal(holder(), "west");
}

static void a_torn_file_is_refused_and_the_older_one_used(void **state)
{
    (void)state;
    begin("west");
    NET_UNTIL(&net, agent[0].nwait);
    view_is(&agent[0].doc, 42, "north", 8);
    answer_waiters(&agent[0], 200);
    NET_UNTIL(&net, generation() == 42);
    end();
    char *bytes;
    size_t n;
    assert_int_equal(fm_file_read(path("view"), 1 << 20, &bytes, &n, NULL), FM_ERR_OK);
    assert_int_equal(fm_file_replace(path("view"), fm_str(bytes, n - 1), 0600, NULL), FM_ERR_OK);
    free(bytes);
    for (unsigned i = 0; i < AGENTS; i++)
        stop_agent(i);
    begin("west");
    assert_int_equal(generation(), 41);
    json_t *o = fm_follow_json(follow), *file = json_object_get(o, "file");
    assert_true(json_is_true(json_object_get(file, "older_used")));
    assert_non_null(strstr(json_string_value(json_object_get(file, "refused")), "torn"));
    json_decref(o);
}

/* -------- contexts -------- */

static void keeps_contexts_that_the_file_does_not_know(void **state)
{
    (void)state;
    assert_non_null(fm_view_doc_add(&agent[0].doc, FM_STR("profile"), 3));
    begin("west");
    NET_UNTIL(&net,
              fm_follow_doc(follow) && fm_view_doc_find(fm_follow_doc(follow), FM_STR("profile")));
    end();
    all_say(41, "west", 7);
    begin("west");
    assert_non_null(fm_view_doc_find(fm_follow_doc(follow), FM_STR("profile")));
    json_t *o = fm_follow_json(follow);
    assert_int_equal(json_object_size(json_object_get(o, "contexts")), 1);
    json_decref(o);
}

static void another_number_of_cells_is_refused(void **state)
{
    (void)state;
    begin("west");
    NET_UNTIL(&net, agent[0].nwait);
    struct fm_conf *next = load_conf(4);
    assert_int_equal(fm_follow_reset(follow, next, &plain), FM_ERR_OK);
    fm_conf_free(conf);
    conf = next;
    assert_null(fm_view_doc_find(fm_follow_doc(follow), FM_STR("ledger")));
    agent[0].nwait = 0;
    view_is(&agent[0].doc, 42, "west", 7);
    NET_UNTIL(&net, generation() == 42);
    assert_null(fm_view_doc_find(fm_follow_doc(follow), FM_STR("ledger")));
    json_t *o = fm_follow_json(follow);
    assert_string_equal(json_string_value(json_object_get(o, "misfit")),
                        "context `ledger` has 1 cells in the view, and 4 in the file of this host");
    json_t *ledger = json_object_get(json_object_get(o, "contexts"), "ledger");
    assert_true(json_is_false(json_object_get(ledger, "known")));
    json_decref(o);
}

/* -------- who it believes -------- */

static void believes_only_whom_it_means(void **state)
{
    (void)state;
    struct fm_peers peers = {.client = side(FM_TLS_CLIENT, ours, "north-1")};
    struct fm_tls *west = side(FM_TLS_SERVER, ours, "west-1");
    for (unsigned i = 0; i < AGENTS; i++) /* all of them say that they are west-1 */
        agent[i].pages.server.config.tls = west;
    view_is(&agent[0].doc, 41, "west", 7);
    for (unsigned i = 1; i < AGENTS; i++)
        view_is(&agent[i].doc, 99, "south", 99);
    begin("west");
    assert_int_equal(fm_follow_reset(follow, conf, &peers), FM_ERR_OK);
    NET_UNTIL(&net, agent[0].nwait);
    net_skip_ms(1000);
    net_turn_ms(&net, 50);
    assert_int_equal(generation(), 41);
    for (unsigned i = 1; i < AGENTS; i++)
        assert_int_equal(agent[i].asked, 0);
    json_t *o = fm_follow_json(follow), *s = json_array_get(json_object_get(o, "sources"), 0);
    for (size_t i = 0; json_integer_value(json_object_get(s, "failures")) == 0; i++)
        s = json_array_get(json_object_get(o, "sources"), i);
    assert_string_equal(json_string_value(json_object_get(s, "why")), "TLS: hostname mismatch");
    json_decref(o);
    end();
    for (unsigned i = 0; i < AGENTS; i++)
        stop_agent(i);
    fm_tls_unref(west);
    fm_tls_unref(peers.client);
}

#define with_agents(fn) fm_test_with(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_agents(follows_two_regions_its_own_first),
        with_agents(hears_of_news_at_once),
        with_agents(silence_is_no_news),
        with_agents(a_frozen_agent_hides_nothing),
        with_agents(never_goes_back),
        with_agents(nonsense_is_left),
        with_agents(an_agent_that_refuses_is_asked_less_and_less),
        with_agents(agents_that_come_back_are_found),
        with_agents(a_reload_asks_those_of_the_new_file),
        with_agents(a_finding_of_its_own_region_counts),
        with_agents(a_finding_is_of_one_epoch),
        with_agents(a_finding_ends_with_who_found_it),
        with_agents(starts_from_what_it_had),
        with_agents(does_not_go_back_behind_what_it_had),
        with_agents(a_torn_file_is_refused_and_the_older_one_used),
        with_agents(keeps_contexts_that_the_file_does_not_know),
        with_agents(another_number_of_cells_is_refused),
        with_agents(believes_only_whom_it_means),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, make_authorities, remove_authorities);
}
