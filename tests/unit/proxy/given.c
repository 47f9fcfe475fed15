/* See the header. */
#include "given.h"

const char given_two_regions[] =
    "fulmar: 1\n"
    "service: shop\n"
    "edge: {listen: [{address: \"127.0.0.1:8080\"}]}\n"
    "regions:\n"
    "  west: {priority: 1, weight: 30, apps: {core: [\"10.0.1.1:80\"], web: [\"10.0.1.2:80\"]}}\n"
    "  north: {priority: 2, weight: 70, apps: {core: [\"10.0.2.1:80\"], web: [\"10.0.2.2:80\"]}}\n"
    "contexts:\n"
    "  ledger: {topology: multi-write, app: core, routes: [\"/ledger/{account}/**\"], needs: []}\n"
    "  pages: {topology: multi-write, app: web, routes: [\"/**\"], needs: []}\n";

struct fm_conf *given_conf(const char *text)
{
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *c = fm_conf_parse(fm_str_z(text), "given.yaml", &r);
    for (size_t i = 0; i < r.n && !c; i++)
        print_error("%u:%u: %s\n", r.finding[i].pos.line, r.finding[i].pos.col, r.finding[i].what);
    fm_conf_report_deinit(&r);
    assert_non_null(c);
    return c;
}

struct fm_board *given_board(const char *text, unsigned nworkers)
{
    struct fm_board *b = fm_board_new(given_conf(text), nworkers, NULL, NULL, NULL, NULL);
    assert_non_null(b);
    return b;
}

struct fm_addr given_addr(const char *text)
{
    struct fm_addr a;
    assert_int_equal(fm_addr_parse(&a, fm_str_z(text)), FM_ERR_OK);
    return a;
}

struct fm_view_address given_address(unsigned region, unsigned pool, const char *addr)
{
    return (struct fm_view_address){
        .region = (uint16_t)region, .pool = (uint16_t)pool, .addr = given_addr(addr)};
}
