/* TLS under sockets: two of them on one loop, with certificates of a private authority. */
#include "authority.h"
#include "tale.h"

#include "io/certs.h"

#include <errno.h>
#include <limits.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fm_tls *client, *server;

static int open_sides(void **state)
{
    int rc = tale_setup(state);
    client = side(FM_TLS_CLIENT, ours, "north-1");
    server = side(FM_TLS_SERVER, ours, "west-1");
    return rc;
}

static int close_sides(void **state)
{
    fm_tls_unref(client);
    fm_tls_unref(server);
    return tale_teardown(state);
}

/* t connects to u; both have begun their handshake. */
static void begin(const char *expected)
{
    struct fm_addr at;
    int ln = raw_listen(&at), fd = -1, one = 1;
    t = (struct tale){.recv_result = 1};
    u = (struct tale){.recv_result = 1};
    assert_int_equal(fm_sock_connect_tls(&t.sock, &net.loop, &at, in_ms(FOREVER), client, expected,
                                         &tale_ops, NULL),
                     FM_ERR_OK);
    NET_UNTIL(&net, (fd = accept4(ln, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
    close(ln);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one), 0);
    assert_int_equal(fm_sock_open(&u.sock, &net.loop, fd, true, &tale_ops, NULL), FM_ERR_OK);
    assert_true(fm_sock_handshake(&u.sock, server, in_ms(FOREVER)));
}

static void shake(void)
{
    begin("west-1");
    NET_UNTIL(&net, t.connected && u.connected);
    assert_int_equal(t.connect_result, 0);
    assert_int_equal(u.connect_result, 0);
}

static void end(void)
{
    struct peer none = {.fd = -1};
    finish(&t, &none);
    finish(&u, &none);
}

static void hear(struct tale *of, const char *text)
{
    unsigned before = of->received;
    recv_into(of, NULL, in_ms(FOREVER));
    NET_UNTIL(&net, of->received > before);
    assert_int_equal(of->recv_result, (ssize_t)strlen(text));
    assert_str(fm_str(of->block->data, of->block->n), text);
    drop_block(of);
}

static void carries_bytes_both_ways(void **state)
{
    (void)state;
    shake();
    for (int i = 0; i < 3; i++) {
        send_text(&t, "hello", in_ms(FOREVER));
        hear(&u, "hello");
        send_text(&u, "welcome", in_ms(FOREVER));
        hear(&t, "welcome");
    }
    assert_int_equal(net.pool.in_use, 0);
    end();
}

static void knows_the_name_of_its_peer(void **state)
{
    (void)state;
    char name[64];
    shake();
    assert_true(fm_sock_peer_name(&u.sock, name, sizeof name));
    assert_string_equal(name, "north-1");
    assert_true(fm_sock_peer_name(&t.sock, name, sizeof name));
    assert_string_equal(name, "west-1");
    assert_false(fm_sock_peer_name(&t.sock, name, 3));
    end();
}

static void carries_more_than_any_buffer_holds(void **state)
{
    (void)state;
    enum { ALL = 3 * 1024 * 1024 };
    char *bytes = malloc(ALL);
    assert_non_null(bytes);
    for (size_t i = 0; i < ALL; i++)
        bytes[i] = (char)(i * 7 + i / 251);
    shake();
    struct iovec v[3] = {{bytes, 100}, {bytes + 100, 70}, {bytes + 170, ALL - 170}};
    fm_sock_send(&t.sock, v, 3, in_ms(FOREVER));
    size_t got = 0;
    while (got < ALL) {
        unsigned before = u.received;
        recv_into(&u, NULL, in_ms(FOREVER));
        NET_UNTIL(&net, u.received > before);
        assert_true(u.recv_result > 0);
        assert_memory_equal(u.block->data, bytes + got, (size_t)u.recv_result);
        got += (size_t)u.recv_result;
        drop_block(&u);
    }
    NET_UNTIL(&net, t.sent);
    assert_int_equal(t.send_result, 0);
    assert_int_equal(t.sock.sent, ALL);
    free(bytes);
    end();
}

static void an_end_in_order_is_an_end(void **state)
{
    (void)state;
    shake();
    send_text(&t, "last", in_ms(FOREVER));
    NET_UNTIL(&net, t.sent);
    fm_sock_shutdown(&t.sock);
    hear(&u, "last");
    recv_into(&u, NULL, in_ms(FOREVER));
    NET_UNTIL(&net, u.received == 2);
    assert_int_equal(u.recv_result, 0);
    send_text(&u, "still here", in_ms(FOREVER));
    hear(&t, "still here");
    end();
}

static void a_cut_is_no_end(void **state)
{
    (void)state;
    shake();
    assert_int_equal(shutdown(t.sock.watch.fd, SHUT_WR), 0); /* whoever cuts cannot say goodbye */
    recv_into(&u, NULL, in_ms(FOREVER));
    NET_UNTIL(&net, u.received);
    assert_int_equal(u.recv_result, -ECONNRESET);
    end();
}

static void a_close_says_goodbye(void **state)
{
    (void)state;
    shake();
    fm_sock_close(&t.sock);
    recv_into(&u, NULL, in_ms(FOREVER));
    NET_UNTIL(&net, u.received);
    assert_int_equal(u.recv_result, 0);
    end();
}

static void refuses_a_server_of_another_name(void **state)
{
    (void)state;
    static const char *const wrong[] = {"north-1", "west", "10.0.0.8", "west-1.bank.example"};
    for (size_t i = 0; i < FM_COUNT(wrong); i++) {
        begin(wrong[i]);
        NET_UNTIL(&net, t.connected);
        assert_int_equal(t.connect_result, -EPROTO);
        assert_non_null(strstr(fm_sock_tls_failure(&t.sock), "mismatch"));
        end();
    }
    static const char *const right[] = {"west-1", "west.bank.example", "10.0.0.7"};
    for (size_t i = 0; i < FM_COUNT(right); i++) {
        begin(right[i]);
        NET_UNTIL(&net, t.connected);
        assert_int_equal(t.connect_result, 0);
        end();
    }
}

/* The client learns of it when it reads: its own handshake ends first (RFC 8446 section 2). */
static void server_refuses(const char *why)
{
    begin("west-1");
    NET_UNTIL(&net, u.connected);
    assert_int_equal(u.connect_result, -EPROTO);
    assert_non_null(strstr(fm_sock_tls_failure(&u.sock), why));
    fm_sock_close(&u.sock);
    NET_UNTIL(&net, t.connected);
    if (t.connect_result == 0) {
        recv_into(&t, NULL, in_ms(FOREVER));
        NET_UNTIL(&net, t.received);
        assert_true(t.recv_result < 0);
    }
    end();
}

static void refuses_clients_of_another_authority(void **state)
{
    (void)state;
    fm_tls_unref(client);
    client = side(FM_TLS_CLIENT, theirs, "north-1");
    server_refuses("unable to get local issuer certificate");
}

static void refuses_clients_without_a_certificate(void **state)
{
    (void)state;
    fm_tls_unref(client);
    struct fm_tls_files f = {.ca = in(ours, "peers-ca.pem")};
    assert_int_equal(fm_tls_new(&client, FM_TLS_CLIENT, &f, NULL), FM_ERR_OK);
    server_refuses("peer did not return a certificate");
}

/* Sign a certificate of ours again, so that it ended a day ago. */
static void let_expire(const char *host)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s.pem", ours, host);
    FILE *f = fopen(path, "re");
    X509 *x = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
    assert_non_null(x);
    assert_int_equal(fclose(f), 0);
    f = fopen(in(ours, "peers-ca.key"), "re");
    EVP_PKEY *key = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;
    assert_non_null(key);
    assert_int_equal(fclose(f), 0);
    assert_non_null(X509_time_adj_ex(X509_getm_notBefore(x), -9, 0, NULL));
    assert_non_null(X509_time_adj_ex(X509_getm_notAfter(x), -1, 0, NULL));
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, x), 1);
    assert_int_equal(fclose(f), 0);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void refuses_what_has_expired(void **state)
{
    (void)state;
    fm_tls_unref(client);
    let_expire("north-1");
    client = side(FM_TLS_CLIENT, ours, "north-1");
    server_refuses("certificate has expired");
    assert_int_equal(fm_certs_renew(ours, "north-1", 30, NULL), FM_ERR_OK);
    fm_tls_unref(client);
    client = side(FM_TLS_CLIENT, ours, "north-1");
    shake();
    end();
}

static void waits_for_a_handshake_only_so_long(void **state)
{
    (void)state;
    open_tcp(&t, &p, false);
    assert_true(fm_sock_handshake(&t.sock, server, in_ms(100)));
    net_skip_ms(200);
    NET_UNTIL(&net, t.connected);
    assert_int_equal(t.connect_result, -ETIMEDOUT);
    finish(&t, &p);
}

static void refuses_what_is_no_tls(void **state)
{
    (void)state;
    open_tcp(&t, &p, false);
    assert_true(fm_sock_handshake(&t.sock, server, in_ms(FOREVER)));
    peer_say(&net, &p, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    NET_UNTIL(&net, t.connected);
    assert_int_equal(t.connect_result, -EPROTO);
    assert_non_null(strstr(fm_sock_tls_failure(&t.sock), "http request"));
    finish(&t, &p);
}

/* What waited in the kernel, or decrypted in here, is that old when it is received. */
static void ages_are_those_of_the_kernel(void **state)
{
    (void)state;
    shake();
    int64_t patience = net_patience();
    do { /* the kernel begins with its stamps a moment after the first socket that wants them */
        assert_false(net_is_over(patience));
        send_text(&t, "hello", in_ms(FOREVER));
        net_sleep_ms(20);
        hear(&u, "hello");
    } while (u.sock.recv_age_ns == 0);
    assert_in_range(u.sock.recv_age_ns, 15 * FM_NS_PER_MS, FM_NS_PER_S);
    end();
}

static void settings_say_what_is_wrong_with_a_file(void **state)
{
    (void)state;
    struct fm_tls *tls;
    struct fm_error e;
    char ca[128], cert[128], key[128], other[128];
    snprintf(ca, sizeof ca, "%s/peers-ca.pem", ours);
    snprintf(cert, sizeof cert, "%s/west-1.pem", ours);
    snprintf(key, sizeof key, "%s/west-1.key", ours);
    snprintf(other, sizeof other, "%s/north-1.key", ours);
    const struct {
        struct fm_tls_files files;
        const char *message;
    } cases[] = {
        {{"/nowhere.pem", cert, key}, "authority `/nowhere.pem`: No such file"},
        {{ca, "/nowhere.pem", key}, "certificate `/nowhere.pem`: No such file"},
        {{ca, cert, "/nowhere.key"}, "private key `/nowhere.key`: No such file"},
        {{key, cert, key}, "authority `"},
        {{ca, key, key}, "certificate `"},
        {{ca, cert, cert}, "others may read"},
        {{ca, cert, other}, "does not belong"},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        assert_int_equal(fm_tls_new(&tls, FM_TLS_SERVER, &cases[i].files, &e), FM_ERR_INVALID);
        assert_null(tls);
        if (!strstr(e.msg, cases[i].message))
            fail_msg("`%s` instead of `%s`", e.msg, cases[i].message);
    }
}

/* -------- the authority -------- */

static void overwrites_nothing(void **state)
{
    (void)state;
    struct fm_error e;
    assert_int_equal(fm_certs_init(ours, "bank", 30, &e), FM_ERR_EXISTS);
    assert_int_equal(fm_certs_add(ours, "west-1", NULL, 0, 30, false, &e), FM_ERR_EXISTS);
    assert_int_equal(fm_certs_add(ours, "no such/name", NULL, 0, 30, false, &e), FM_ERR_INVALID);
    assert_int_equal(fm_certs_add(ours, "10.0.0.1", NULL, 0, 30, false, &e), FM_ERR_INVALID);
    assert_int_equal(fm_certs_add("/nowhere", "a", NULL, 0, 30, false, &e), FM_ERR_NOT_FOUND);
    struct stat st;
    assert_int_equal(stat(in(ours, "west-1.key"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* Hosts with certificates of the old authority and of the new one understand each other. */
static void changes_its_authority_without_a_gap(void **state)
{
    (void)state;
    assert_int_equal(fm_certs_new_authority(ours, 30, NULL), FM_ERR_OK);
    fm_tls_unref(client); /* trusts both, shows the old; the server trusts only the old */
    client = side(FM_TLS_CLIENT, ours, "north-1");
    shake();
    end();
    fm_tls_unref(server);
    assert_int_equal(fm_certs_renew(ours, "west-1", 30, NULL), FM_ERR_OK);
    server = side(FM_TLS_SERVER, ours, "west-1"); /* trusts both, shows the new */
    shake();
    end();
}

/* What TLS has taken from the kernel already goes with it. */
static void goes_on_in_another_socket(void **state)
{
    (void)state;
    static struct tale other;
    struct fm_sock_parcel parcel;
    shake();
    for (unsigned i = 0; i < 2; i++) {
        send_text(&t, i ? "world" : "hello", in_ms(FOREVER));
        NET_UNTIL(&net, t.sent == i + 1);
    }
    hear(&u, "hello");
    fm_sock_release(&u.sock, &parcel);
    NET_UNTIL(&net, u.closed == 1);
    other = (struct tale){.recv_result = 1};
    assert_int_equal(fm_sock_adopt(&other.sock, &net.loop, &parcel, &tale_ops, NULL), FM_ERR_OK);
    hear(&other, "world");
    send_text(&other, "and back", in_ms(FOREVER));
    hear(&t, "and back");
    fm_sock_release(&other.sock, &parcel);
    fm_sock_discard(&parcel); /* nobody goes on */
    recv_into(&t, NULL, in_ms(FOREVER));
    NET_UNTIL(&net, t.received == 2);
    assert_int_equal(t.recv_result, -ECONNRESET);
    struct peer none = {.fd = -1};
    finish(&other, &none);
    finish(&t, &none);
}

static void a_reset_does_not_say_goodbye(void **state)
{
    (void)state;
    struct peer none = {.fd = -1};
    shake();
    recv_into(&u, NULL, in_ms(FOREVER));
    fm_sock_reset(&t.sock);
    NET_UNTIL(&net, u.received == 1);
    assert_int_equal(u.recv_result, -ECONNRESET);
    finish(&t, &none);
    finish(&u, &none);
}

#define with_sides(fn) fm_test_with(fn, open_sides, close_sides)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_sides(carries_bytes_both_ways),
        with_sides(knows_the_name_of_its_peer),
        with_sides(carries_more_than_any_buffer_holds),
        with_sides(an_end_in_order_is_an_end),
        with_sides(a_cut_is_no_end),
        with_sides(a_close_says_goodbye),
        with_sides(refuses_a_server_of_another_name),
        with_sides(refuses_clients_of_another_authority),
        with_sides(refuses_clients_without_a_certificate),
        with_sides(refuses_what_has_expired),
        with_sides(waits_for_a_handshake_only_so_long),
        with_sides(refuses_what_is_no_tls),
        with_sides(ages_are_those_of_the_kernel),
        with_sides(settings_say_what_is_wrong_with_a_file),
        with_sides(overwrites_nothing),
        with_sides(changes_its_authority_without_a_gap),
        with_sides(goes_on_in_another_socket),
        with_sides(a_reset_does_not_say_goodbye),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, make_authorities, remove_authorities);
}
