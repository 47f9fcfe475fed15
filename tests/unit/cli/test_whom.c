/* Whom a command asks: the order of the seats by the configuration and the command line. */
#include "capture.h"

#include "cli/whom.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char folder[] = "/tmp/fulmar-whom-XXXXXX", file[64], text[4096];

static const char config[] =
    "fulmar: 1\n"
    "service: shop\n"
    "state: \"%s/{host}\"\n"
    "peer-tls: %s\n"
    "hosts:\n"
    "  west-edge: {region: west, roles: [edge], address: 10.0.1.1, admin: \"10.0.1.1:7104\"}\n"
    "  west-1: {region: west, roles: [health], address: 10.0.1.2, admin: \"10.0.1.2:7102\"}\n"
    "  west-2: {region: west, roles: [health], address: 10.0.1.3}\n"
    "  north-1: {region: north, roles: [health], address: north-1.example}\n"
    "  east-1: {region: east, roles: [health], address: 10.0.3.2, peer: \"0.0.0.0:9\"}\n"
    "regions:\n"
    "  west: {apps: [\"127.0.0.1:1\"]}\n"
    "  north: {apps: [\"127.0.0.1:1\"]}\n"
    "  east: {apps: [\"127.0.0.1:1\"]}\n"
    "contexts:\n"
    "  shop: {topology: multi-write, routes: [\"/**\"]}\n";

static void write_config(const char *tls)
{
    FILE *f = fopen(file, "we");
    assert_non_null(f);
    assert_true(fprintf(f, config, folder, tls) > 0);
    assert_int_equal(fclose(f), 0);
}

static char here[256]; /* hosts of which something runs on this machine */

/* "NAME NAME ...", or the exit code. */
static const char *find(const char *host, const char *server, enum fm_whom_use use)
{
    struct fm_args a = {.config = file, .host = host, .server = server};
    struct fm_whom w = {.n = 0};
    capture_begin();
    int code = fm_whom_find(&w, &a, "test", use);
    capture_end();
    snprintf(text, sizeof text, "%d", code);
    for (unsigned i = 0; !code && i < w.n; i++)
        snprintf(text + (i ? strlen(text) : 0), sizeof text - (i ? strlen(text) : 0), "%s%s%s%s",
                 i ? ", " : "", w.seat[i].name, w.seat[i].tls ? " for " : "",
                 w.seat[i].tls ? w.seat[i].peer : "");
    memcpy(here, w.here, sizeof here);
    fm_whom_free(&w);
    return text;
}

static void a_region_after_the_other(void **state)
{
    (void)state;
    write_config("plaintext");
    assert_string_equal(find("west-2", NULL, FM_WHOM_ORDER), "west-1, north-1, east-1, west-2");
    assert_string_equal(find("north-1", NULL, FM_WHOM_ORDER), "north-1, east-1, west-1, west-2");
    /* admin addresses that are not other machines' loopback come last */
    assert_string_equal(find("unknown", NULL, FM_WHOM_LOOK),
                        "west-1, north-1, east-1, west-2, west-edge, west-1");
    write_config("{ca: ca.pem, cert: \"{host}.pem\", key: \"{host}.key\"}");
    assert_string_equal(
        find("north-1", NULL, FM_WHOM_ORDER),
        "north-1 for north-1, east-1 for east-1, west-1 for west-1, west-2 for west-2");
}

static void the_one_that_was_named(void **state)
{
    (void)state;
    write_config("plaintext");
    assert_string_equal(find("west-2", "north-1", FM_WHOM_ORDER), "north-1");
    assert_string_equal(find("west-2", "west-1", FM_WHOM_LOOK),
                        "west-1, west-1"); /* peer, then admin */
    assert_string_equal(find("west-2", "west-edge", FM_WHOM_LOOK), "west-edge");
    assert_string_equal(find("west-2", "north-1", FM_WHOM_LOOK), "north-1");
    assert_string_equal(find("west-2", "west-edge", FM_WHOM_ORDER), "64");
    assert_non_null(strstr(captured_err, "has no role of an agent"));
    assert_string_equal(find("west-2", "south-1", FM_WHOM_ORDER), "64");
    assert_string_equal(find("west-2", "10.9.9.9:7101", FM_WHOM_ORDER), "10.9.9.9:7101");
    write_config("{ca: ca.pem, cert: \"{host}.pem\", key: \"{host}.key\"}");
    assert_string_equal(find("west-2", "10.9.9.9:7101", FM_WHOM_ORDER),
                        "10.9.9.9:7101 for 10.9.9.9");
    assert_string_equal(find("west-2", "[::1]:7101", FM_WHOM_ORDER), "[::1]:7101 for ::1");
    assert_string_equal(find("west-2", "10.9.9.9:7104", FM_WHOM_LOOK), "10.9.9.9:7104"); /* admin */
    assert_string_equal(find("west-2", "west-1", FM_WHOM_LOOK), "west-1 for west-1, west-1");
}

static int listen_at(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    assert_true(strlen(path) < sizeof a.sun_path);
    memcpy(a.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void the_socket_of_this_host(void **state)
{
    (void)state;
    char dir[64], edge[80], agent[80];
    write_config("plaintext");
    snprintf(dir, sizeof dir, "%s/west-1", folder);
    snprintf(edge, sizeof edge, "%s/edge.sock", dir);
    snprintf(agent, sizeof agent, "%s/agent.sock", dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    int e = listen_at(edge);
    assert_string_equal(find("west-1", NULL, FM_WHOM_LOOK), "the edge of west-1");
    /* an edge takes no orders */
    assert_string_equal(find("west-1", NULL, FM_WHOM_ORDER), "west-1, north-1, east-1, west-2");
    int a = listen_at(agent);
    assert_string_equal(find("west-1", NULL, FM_WHOM_ORDER),
                        "the agent of west-1, west-1, north-1, east-1, west-2");
    assert_string_equal(find("west-1", NULL, FM_WHOM_LOOK), "the edge of west-1");
    assert_string_equal(find("west-1", NULL, FM_WHOM_PAST), "the agent of west-1");
    assert_string_equal(here, ""); /* it was found */
    assert_string_equal(find("west-2", NULL, FM_WHOM_ORDER), "west-1, north-1, east-1, west-2");
    assert_string_equal(here, "west-1"); /* who forgot --host may have meant it */
    /* also where the file has errors by now */
    FILE *f = fopen(file, "ae");
    assert_non_null(f);
    fputs("nonsense: 1\n", f);
    assert_int_equal(fclose(f), 0);
    assert_string_equal(find("west-1", NULL, FM_WHOM_ORDER), "the agent of west-1");
    assert_non_null(strstr(captured_err, "nonsense"));
    assert_string_equal(find("west-2", NULL, FM_WHOM_ORDER), "78");
    assert_string_equal(find("west-1", "north-1", FM_WHOM_ORDER), "78");
    assert_int_equal(unlink(edge) | unlink(agent) | rmdir(dir) | close(e) | close(a), 0);
}

static void certificates_come_in_pairs(void **state)
{
    (void)state;
    write_config("plaintext");
    struct fm_args a = {.config = file, .host = "west-1", .cert = "x.pem"};
    struct fm_whom w = {.n = 0};
    capture_begin();
    assert_int_equal(fm_whom_find(&w, &a, "test", FM_WHOM_ORDER), FM_EXIT_USAGE);
    a.key = "x.key";
    assert_int_equal(fm_whom_find(&w, &a, "test", FM_WHOM_ORDER), FM_EXIT_USAGE);
    capture_end();
    assert_non_null(strstr(captured_err, "go together"));
    assert_non_null(strstr(captured_err, "has no `peer-tls`"));
    fm_whom_free(&w);
}

static int set_up(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    snprintf(file, sizeof file, "%s/fulmar.yaml", folder);
    (void)state;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(file) | rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fm_test(a_region_after_the_other), fm_test(the_one_that_was_named),
        fm_test(the_socket_of_this_host), fm_test(certificates_come_in_pairs)};
    return cmocka_run_group_tests_name(__FILE__, tests, set_up, tear_down);
}
