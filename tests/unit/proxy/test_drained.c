/* What operators asked of regions, gates and instances, as a director does it. */
#include "directed.h"

#include "proxy/view_intent.h"

static const char shop[] =
    "fulmar: 1\n"
    "service: shop\n"
    "edge: {listen: [{address: \"127.0.0.1:8080\"}]}\n"
    "regions:\n"
    "  west: {apps: {core: [\"10.0.1.1:80\", \"10.0.1.2:80\"], web: [\"10.0.1.2:80\"]}}\n"
    "  north: {apps: {core: [\"10.0.2.1:80\"], web: [\"10.0.2.2:80\"]}}\n"
    "hosts:\n"
    "  north-gate-1: {region: north, roles: [gate, health], address: 10.0.2.8}\n"
    "  north-gate-2: {region: north, roles: [gate, health], address: 10.0.2.9}\n"
    "peer-tls: plaintext\n"
    "contexts:\n"
    "  ledger: {topology: multi-write, app: core, routes: [\"/ledger/**\"], needs: []}\n"
    "  pages: {topology: multi-write, app: web, routes: [\"/**\"], needs: []}\n";

static struct fm_view_doc doc;

static void version(uint64_t generation)
{
    fm_view_doc_init(&doc, FM_STR("shop"));
    doc.has_intents = true;
    doc.generation.n = doc.intents_generation.n = generation;
}

static void instance(const char *region, const char *pool, const char *address)
{
    assert_true(
        fm_view_intent_add_instance(&doc, fm_str_z(region), fm_str_z(pool), fm_str_z(address)));
}

/* Of all endpoints those that are drained: "10.0.1.1:80 ...", in the order of the view. */
static const char *drained(void)
{
    static char text[256];
    struct fm_buf b = fm_buf(text, sizeof text - 1);
    const struct fm_view *v = director.view;
    for (unsigned i = 0; i < v->nendpoints; i++)
        if (atomic_load(&v->endpoints[i].drained))
            fm_buf_printf(&b, "%s%s/%s", b.n ? " " : "",
                          v->regions[v->endpoints[i].region].pools[v->endpoints[i].pool].name.p,
                          v->endpoints[i].text);
    text[b.n] = 0;
    return text;
}

static unsigned serve(unsigned region, unsigned context)
{
    return atomic_load(&fm_board_slot(director.board, region, context)->serve);
}

static void only_the_instance_of_that_pool(void **state)
{
    (void)state;
    directed_open(shop, FM_PROXY_EDGE, 0);
    version(1);
    instance("west", "core", "10.0.1.2:80");
    fm_director_take_intents(&director, &doc);
    assert_string_equal(drained(), "core/10.0.1.2:80");
    assert_int_equal(serve(0, 0), 1000);
    assert_true(fm_director_has_instance(&director, 0, 0));
    version(2);
    fm_director_take_intents(&director, &doc);
    assert_string_equal(drained(), "");
}

static void a_region_without_any_is_asked_nothing(void **state)
{
    (void)state;
    directed_open(shop, FM_PROXY_EDGE, 0);
    version(1);
    instance("west", "core", "10.0.1.1:80");
    instance("west", "core", "10.0.1.2:80");
    fm_director_take_intents(&director, &doc);
    assert_string_equal(drained(), "core/10.0.1.1:80 core/10.0.1.2:80");
    assert_int_equal(serve(0, 0), 0);
    assert_int_equal(serve(0, 1), 1000);
    assert_false(fm_director_has_instance(&director, 0, 0));
    assert_true(fm_director_reaches(&director, 0, 0, FM_STR("10.0.1.1:80"))); /* health, apart */
    version(2);
    instance("west", "core", "10.0.1.1:80");
    fm_director_take_intents(&director, &doc);
    assert_int_equal(serve(0, 0), 1000);
}

static void a_gate_by_the_name_of_its_host(void **state)
{
    (void)state;
    directed_open(shop, FM_PROXY_EDGE, 0);
    version(1);
    assert_true(fm_view_intent_add(&doc, FM_STR("north"), FM_STR("north-gate-2"), 0));
    assert_true(fm_view_intent_add(&doc, FM_STR("north"), FM_STR(""), 300));
    instance("north", "core", "10.0.2.1:80"); /* the gates' to obey */
    fm_director_take_intents(&director, &doc);
    assert_string_equal(drained(), "gates/10.0.2.9:7100");
    assert_int_equal(serve(1, 0), 300);
}

static void a_gate_obeys_for_its_own_region(void **state)
{
    (void)state;
    directed_open(shop, FM_PROXY_GATE, 1);
    version(1);
    instance("north", "web", "10.0.2.2:80");
    instance("west", "web", "10.0.1.2:80");
    fm_director_take_intents(&director, &doc);
    assert_string_equal(drained(), "web/10.0.2.2:80");
    assert_false(fm_director_has_instance(&director, 1, 1));
    assert_true(fm_director_has_instance(&director, 1, 0));
}

/* A view of an older program says nothing, and a reload forgets nothing. */
static void goes_on_until_it_is_said_otherwise(void **state)
{
    (void)state;
    directed_open(shop, FM_PROXY_EDGE, 0);
    version(1);
    instance("west", "core", "10.0.1.2:80");
    fm_director_take_intents(&director, &doc);
    version(2);
    doc.has_intents = false;
    fm_director_take_intents(&director, &doc);
    assert_string_equal(drained(), "core/10.0.1.2:80");
    struct fm_director_config c = director.config;
    assert_int_equal(fm_director_reload(&director, given_conf(shop), &c, NULL), FM_ERR_OK);
    assert_string_equal(drained(), "core/10.0.1.2:80");
}

#define directed(fn) fm_test_with(fn, directed_setup, directed_teardown)

FM_TEST_MAIN(directed(only_the_instance_of_that_pool),
             directed(a_region_without_any_is_asked_nothing),
             directed(a_gate_by_the_name_of_its_host), directed(a_gate_obeys_for_its_own_region),
             directed(goes_on_until_it_is_said_otherwise))
