/* See the header. */
#include "hosts.h"

#include <stdio.h>

struct net net;
struct host host[HOSTS];
struct fm_conf *hosts_conf;

static const char *const names[HOSTS] = {"west-1", "north-1"};

static void write_post(const struct fm_page_request *q, struct fm_page_answer *a)
{
    fm_post_page(((struct host *)q->user)->post, q, a);
}

static const struct fm_page table[] = {{"/peer/1/post", write_post, true}, {.path = NULL}};

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    fm_pages_accept(&fm_container_of(ln, struct host, listener)->pages, fd, from);
}

static void deliver(void *user, unsigned from, const struct fm_post_head *head,
                    const struct fm_message *m)
{
    struct host *h = user;
    assert_true(h->n < INBOX);
    assert_string_equal(head->from, fm_roster_host_name(h->roster, from));
    snprintf(h->from[h->n], sizeof h->from[0], "%s", head->from);
    h->in[h->n++] = *m;
    if (h->react)
        h->react(h, from, m);
}

unsigned host_number(const struct host *h, const char *name)
{
    int n = fm_roster_find_host(h->roster, fm_str_z(name));
    assert_true(n >= 0);
    return (unsigned)n;
}

static struct fm_conf *conf_of(unsigned west, unsigned north)
{
    char text[2048];
    struct fm_conf_report r;
    snprintf(
        text, sizeof text,
        "fulmar: 1\nservice: bank\n"
        "hosts:\n"
        "  west-1: {region: west, roles: [gate, health, controller], address: 127.0.0.1,"
        " peer: \"127.0.0.1:%u\", gate: \"127.0.0.1:1\", admin: \"127.0.0.1:2\"}\n"
        "  north-1: {region: north, roles: [gate, health, controller], address: 127.0.0.1,"
        " peer: \"127.0.0.1:%u\", gate: \"127.0.0.1:3\", admin: \"127.0.0.1:4\"}\n"
        "  owner: {region: west, roles: [coordination], address: 127.0.0.1,"
        " peer: \"127.0.0.1:5\", admin: \"127.0.0.1:6\"}\n"
        "coordination: {sqlite: /tmp/nowhere.db}\n"
        "regions:\n"
        "  west: {priority: 1, apps: [\"127.0.0.1:7\"]}\n"
        "  north: {priority: 2, apps: [\"127.0.0.1:8\"]}\n"
        "contexts:\n"
        "  ledger: {topology: active-passive, home: west, routes: [\"/ledger/**\"], needs: []}\n"
        "  cards: {topology: affinity, cells: 4, routes: [\"/cards/{card}/**\"],"
        " key: {path: card}, needs: []}\n",
        west, north);
    fm_conf_report_init(&r);
    struct fm_conf *c = fm_conf_parse(fm_str_z(text), "hosts.yaml", &r);
    if (!c)
        fail_msg("line %u: %s", r.finding[0].pos.line, r.finding[0].what);
    fm_conf_report_deinit(&r);
    return c;
}

void host_open(struct host *h)
{
    struct fm_addr at = h->listener.address;
    assert_false(h->listens);
    assert_int_equal(fm_listener_open(&h->listener, &net.loop, &at, 0, accepted, NULL), FM_ERR_OK);
    h->listens = true;
}

void host_shut(struct host *h)
{
    struct fm_addr at = h->listener.address;
    assert_true(h->listens);
    fm_listener_close(&h->listener);
    h->listener.address = at;
    h->listens = false;
    fm_pages_close_all(&h->pages);
    fm_loop_turn(&net.loop, 0);
}

void hosts_open(void)
{
    struct fm_peers nobody = {NULL, NULL};
    net_open(&net, 64 * 1024, 256);
    for (unsigned i = 0; i < HOSTS; i++) {
        struct host *h = &host[i];
        *h = (struct host){.n = 0};
        assert_int_equal(fm_pages_init(&h->pages, &net.loop, table, h, NULL), FM_ERR_OK);
        assert_int_equal(fm_addr_parse(&h->listener.address, FM_STR("127.0.0.1:0")), FM_ERR_OK);
        host_open(h);
    }
    hosts_conf =
        conf_of(fm_addr_port(&host[0].listener.address), fm_addr_port(&host[1].listener.address));
    for (unsigned i = 0; i < HOSTS; i++) {
        struct host *h = &host[i];
        h->roster = fm_roster_new();
        for (size_t r = 0; r < hosts_conf->nregions; r++)
            fm_roster_add_region(h->roster, hosts_conf->regions[r].name);
        for (unsigned k = 0; k < HOSTS; k++) /* everybody counts from himself */
            fm_roster_add_host(h->roster, fm_str_z(names[(i + k) % HOSTS]));
        for (size_t c = 0; c < hosts_conf->ncontexts; c++)
            fm_roster_add_context(h->roster, hosts_conf->contexts[c].name,
                                  hosts_conf->contexts[c].ncells);
        h->self = host_number(h, names[i]);
        struct fm_post_config c = {.loop = &net.loop,
                                   .roster = h->roster,
                                   .self = h->self,
                                   .life = 100 + i,
                                   .timeout_ms = 1000,
                                   .deliver = deliver,
                                   .user = h};
        h->post = fm_post_new(&c, hosts_conf, &nobody, NULL);
        assert_non_null(h->post);
    }
}

void hosts_close_but_loop(void)
{
    for (unsigned i = 0; i < HOSTS; i++)
        fm_post_stop(host[i].post);
    for (unsigned i = 0; i < HOSTS; i++) {
        struct host *h = &host[i];
        if (h->listens)
            fm_listener_close(&h->listener);
        fm_pages_close_all(&h->pages);
        fm_loop_turn(&net.loop, 0);
        fm_pages_deinit(&h->pages);
    }
    for (unsigned i = 0; i < HOSTS; i++) {
        fm_post_free(host[i].post);
        fm_roster_free(host[i].roster);
    }
    fm_conf_free(hosts_conf);
}

void hosts_close_loop(void)
{
    net_close(&net);
}

void hosts_close(void)
{
    hosts_close_but_loop();
    hosts_close_loop();
}
