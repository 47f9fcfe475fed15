/* The sample application of the docs; see bank.h. */
#include "bank.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { BLOCK = 16 * 1024, BLOCKS_MAX = 8192 };

static int usage(void)
{
    fputs("usage: bank store PORT DATABASE\n"
          "       bank app PORT ADMIN-PORT STORE-PORT NETWORK-PORT NAME\n"
          "                [LEDGER-WRITE-PORT LEDGER-READ-PORT PASSWORD-FILE]\n"
          "       bank network PORT\n",
          stderr);
    return 64;
}

static uint16_t port_of(const char *text)
{
    uint64_t v;
    if (!fm_str_u64(fm_str_z(text), &v) || v > 65535) {
        fprintf(stderr, "bank: `%s` is not a port\n", text);
        exit(64);
    }
    return (uint16_t)v;
}

static void die(const struct fm_error *e)
{
    fprintf(stderr, "bank: %s\n", e->msg);
    exit(1);
}

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    struct bank_process *p = fm_container_of(ln, struct bank_process, listener);
    (void)fm_http_server_accept(&p->server, fd, from, false);
}

static void admin_accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    struct bank_process *p = fm_container_of(ln, struct bank_process, admin_listener);
    (void)fm_http_server_accept(&p->admin_server, fd, from, false);
}

static void got_signal(struct fm_signals *s, int signo)
{
    if (signo == SIGTERM || signo == SIGINT)
        fm_loop_stop(s->loop);
}

void bank_start(struct bank_process *p, uint16_t port, const struct fm_http_handler *handler,
                uint16_t admin_port, const struct fm_http_handler *admin, void *user)
{
    struct fm_error e;
    struct fm_addr at;
    struct fm_http_server_config c = {
        .limits = FM_HTTP_LIMITS_DEFAULT, .header_ms = 5000, .idle_ms = 60 * 1000, .stamps = true};
    c.limits.head_bytes = BLOCK;
    fm_signals_block();
    fm_pool_init(&p->pool, BLOCK, BLOCKS_MAX);
    if (fm_loop_init(&p->loop, &p->pool, &e) ||
        fm_signals_open(&p->signals, &p->loop, got_signal, &e) ||
        fm_http_server_init(&p->server, &p->loop, &c, handler, user, &e) ||
        fm_addr_ip(&at, FM_STR("127.0.0.1"), port) ||
        fm_listener_open(&p->listener, &p->loop, &at, FM_LISTEN_STAMPS, accepted, &e))
        die(&e);
    if (!admin_port)
        return;
    p->has_admin = true;
    c.stamps = false;
    if (fm_http_server_init(&p->admin_server, &p->loop, &c, admin, user, &e) ||
        fm_addr_ip(&at, FM_STR("127.0.0.1"), admin_port) ||
        fm_listener_open(&p->admin_listener, &p->loop, &at, 0, admin_accepted, &e))
        die(&e);
}

void bank_run(struct bank_process *p)
{
    fm_loop_run(&p->loop);
}

int main(int argc, char **argv)
{
    if (!fm_std_descriptors())
        return 1;
    if (argc == 4 && strcmp(argv[1], "store") == 0)
        return bank_store(port_of(argv[2]), argv[3]);
    if ((argc == 7 || argc == 10) && strcmp(argv[1], "app") == 0) {
        struct bank_app_ledger ledger = {0};
        if (argc == 10)
            ledger = (struct bank_app_ledger){port_of(argv[7]), port_of(argv[8]), argv[9]};
        return bank_app(port_of(argv[2]), port_of(argv[3]), port_of(argv[4]), port_of(argv[5]),
                        argv[6], argc == 10 ? &ledger : NULL);
    }
    if (argc == 3 && strcmp(argv[1], "network") == 0)
        return bank_network(port_of(argv[2]));
    return usage();
}
