/* Telling a system downstream who may write what, whatever it does. */
#include "given.h"

#include "agent/webhook.h"
#include "core/telling.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET "0123456789abcdef"

static struct net net;
static struct fm_mailbox box;
static struct fm_resolver *resolver;
static struct fm_conf *conf;
static struct fm_webhook *hook;
static struct fm_view_doc doc;
static struct peer p; /* a connection of the receiver */
static struct fm_addr at;
static int listener;
static bool sends;
static char folder[64], said[160];
static unsigned nsaid;

/* -------- the agent's side -------- */

static bool is_sender(void *user)
{
    (void)user;
    return sends;
}

static char *text_of(void *user)
{
    char text[64];
    (void)user;
    snprintf(text, sizeof text, "{\"generation\":%llu}", (unsigned long long)doc.generation.n);
    return doc.generation.n ? strdup(text) : NULL;
}

static const struct fm_view_doc *view_of(void *user)
{
    (void)user;
    return doc.generation.n ? &doc : NULL;
}

static void tells(void *user, const char *why, const char *text, const char *evidence)
{
    (void)user;
    assert_true(text[0] && evidence[0]);
    snprintf(said, sizeof said, "%s", why);
    nsaid++;
}

static void configure(const char *url)
{
    char text[2048];
    fm_conf_free(conf);
    snprintf(text, sizeof text,
             "fulmar: 1\nservice: bank\npeer-tls: plaintext\n%s%s%s%s%s"
             "coordination: {etcd: {endpoints: {west: [\"http://127.0.0.1:2379\"]}}}\nhosts:\n"
             "  w: {region: west, roles: [gate, health, controller], address: 127.0.0.1}\n"
             "edge: {listen: [{address: \"127.0.0.1:1\"}]}\n"
             "regions: {west: {apps: [\"127.0.0.1:9\"]}}\n"
             "contexts:\n  ledger: {topology: active-passive, home: west, routes: [/ledger], "
             "needs: [], idempotency: {key: required, by: app}}\n",
             url ? "authority-webhook: {url: \"" : "", url ? url : "",
             url ? "\", secret-file: \"" : "", url ? folder : "", url ? "/{host}.secret\"}\n" : "");
    conf = given_conf(text);
}

static const char *url_of(const char *path)
{
    static char url[128];
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", fm_addr_port(&at), path);
    return url;
}

static const char *secret_path(void)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/w.secret", folder);
    return path;
}

static void write_secret(const char *text, mode_t mode)
{
    FILE *f = fopen(secret_path(), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(secret_path(), mode), 0);
}

static void generation(uint64_t n)
{
    doc.generation.n = n;
    fm_webhook_look(hook);
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    net_open(&net, 16 * 1024, 16);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(fm_mailbox_open(&box, &net.loop, NULL, NULL), FM_ERR_OK);
    resolver = fm_resolver_new(&box, NULL);
    assert_non_null(resolver);
    listener = raw_listen(&at);
    p.fd = -1;
    sends = true;
    nsaid = 0;
    said[0] = 0;
    snprintf(folder, sizeof folder, "/tmp/fulmar-webhook-XXXXXX");
    assert_non_null(mkdtemp(folder));
    write_secret(SECRET "\n", 0600);
    fm_view_doc_init(&doc, FM_STR("bank"));
    doc.incarnation.n = 3;
    configure(url_of("/authority?x=1"));
    struct fm_webhook_config c = {.loop = &net.loop,
                                  .resolver = resolver,
                                  .host = "w",
                                  .region = "west",
                                  .sends = is_sender,
                                  .text = text_of,
                                  .view = view_of,
                                  .tell = tells};
    hook = fm_webhook_new(&c, conf);
    assert_non_null(hook);
    return rc;
}

static int teardown(void **state)
{
    fm_webhook_stop(hook);
    fm_loop_turn(&net.loop, 0);
    fm_resolver_free(resolver);
    fm_loop_turn(&net.loop, 0);
    fm_webhook_free(hook);
    if (p.fd >= 0)
        peer_close(&p);
    close(listener);
    fm_mailbox_close(&box);
    fm_conf_free(conf);
    conf = NULL;
    fm_view_doc_deinit(&doc);
    unlink(secret_path());
    rmdir(folder);
    net_close(&net);
    return fm_test_fds_after(state);
}

/* -------- the receiver's side -------- */

static void accept_it(void)
{
    if (p.fd >= 0)
        peer_close(&p);
    peer_accept(&net, &p, listener);
}

/* A whole post with this body. */
static bool came(const char *body)
{
    peer_poll(&p);
    const char *end = memmem(p.in, p.n, "\r\n\r\n", 4);
    return end && (size_t)(p.in + p.n - end - 4) == strlen(body) &&
           memcmp(end + 4, body, strlen(body)) == 0;
}

static void answer(const char *status)
{
    char text[128];
    snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\nok", status);
    peer_drop(&p, p.n);
    peer_say(&net, &p, text);
}

static json_int_t number(const char *member)
{
    json_t *o = fm_webhook_json(hook);
    assert_non_null(o);
    json_int_t n = json_integer_value(json_object_get(o, member));
    json_decref(o);
    return n;
}

static json_int_t delivered(void)
{
    json_t *o = fm_webhook_json(hook);
    json_int_t n =
        json_integer_value(json_object_get(json_object_get(o, "delivered"), "generation"));
    json_decref(o);
    return n;
}

static bool fails_because(const char *why)
{
    json_t *o = fm_webhook_json(hook);
    const char *text = json_string_value(json_object_get(o, "why"));
    bool so = text && strstr(text, why) && json_is_string(json_object_get(o, "failing_since"));
    json_decref(o);
    return so;
}

/* -------- tests -------- */

/* Against another implementation of HMAC. */
static void signs_seconds_and_body(void **state)
{
    (void)state;
    char out[FM_WEBHOOK_SIGNATURE_ROOM];
    fm_webhook_sign(out, FM_STR(SECRET), 1795270122, FM_STR("{\"a\":1}"));
    assert_string_equal(out, "t=1795270122,v1="
                             "ced5f0dfb82805ab77bd1bc30f3b62aaad93f3187f19158192789a5411d5ba4b");
    fm_webhook_sign(out, FM_STR(SECRET), 1795270123, FM_STR("{\"a\":1}"));
    assert_null(strstr(out, "ced5f0dfb82805ab77bd1bc30f3b62aaad93f3187f19158192789a5411d5ba4b"));
}

static void posts_what_changes_with_a_signature(void **state)
{
    (void)state;
    char want[FM_WEBHOOK_SIGNATURE_ROOM], line[256];
    generation(41);
    accept_it();
    NET_UNTIL(&net, came("{\"generation\":41}"));
    assert_true(fm_str_starts(fm_str(p.in, p.n), FM_STR("POST /authority?x=1 HTTP/1.1\r\n")));
    const char *t = memmem(p.in, p.n, "Fulmar-Signature: t=", 20);
    assert_non_null(t);
    long long seconds = strtoll(t + 20, NULL, 10);
    int64_t now = fm_wall_now_ns() / FM_NS_PER_S;
    assert_in_range(now - seconds, 0, 60);
    fm_webhook_sign(want, FM_STR(SECRET), seconds, FM_STR("{\"generation\":41}"));
    snprintf(line, sizeof line, "\r\nFulmar-Signature: %s\r\n", want);
    assert_non_null(memmem(p.in, p.n, line, strlen(line)));
    answer("202 Accepted");
    NET_UNTIL(&net, delivered() == 41);
    generation(41); /* the same */
    net_turn_ms(&net, 20);
    assert_int_equal(number("deliveries"), 1);
    generation(42); /* over the same connection */
    NET_UNTIL(&net, (peer_poll(&p), memmem(p.in, p.n, "{\"generation\":42}", 17) != NULL));
    answer("200 OK");
    NET_UNTIL(&net, delivered() == 42);
    assert_int_equal(nsaid, 0);
}

static void one_is_under_way_and_the_newest_is_next(void **state)
{
    (void)state;
    generation(41);
    accept_it();
    NET_UNTIL(&net, came("{\"generation\":41}"));
    for (uint64_t g = 42; g < 60; g++)
        generation(g);
    net_turn_ms(&net, 20);
    assert_true(came("{\"generation\":41}")); /* and nothing behind it */
    answer("200 OK");
    NET_UNTIL(&net, came("{\"generation\":59}"));
    answer("200 OK");
    NET_UNTIL(&net, delivered() == 59);
    assert_int_equal(number("deliveries"), 2);
}

static void a_refusal_is_tried_again_after_a_growing_pause(void **state)
{
    (void)state;
    int64_t pause = FM_TELLING_AGAIN_MS;
    generation(41);
    accept_it();
    for (json_int_t i = 1; i <= 9; i++) {
        NET_UNTIL(&net, came("{\"generation\":41}"));
        answer("500 No");
        NET_UNTIL(&net, number("failures") == i);
        assert_true(fails_because("status 500"));
        net_skip_ms(pause / 2); /* a quarter of it is chance */
        net_turn_ms(&net, 10);
        assert_int_equal(p.n, 0);
        net_skip_ms(pause);
        pause = pause < FM_TELLING_AGAIN_MAX_MS / 2 ? 2 * pause : FM_TELLING_AGAIN_MAX_MS;
    }
    assert_int_equal(nsaid, 1); /* once */
    assert_string_equal(said, "failing");
    NET_UNTIL(&net, came("{\"generation\":41}"));
    answer("200 OK");
    NET_UNTIL(&net, delivered() == 41);
    assert_string_equal(said, "works-again");
    assert_false(fails_because(""));
}

static void news_shorten_the_pause(void **state)
{
    (void)state;
    generation(41);
    accept_it();
    for (json_int_t i = 1; i <= 8; i++) {
        NET_UNTIL(&net, came("{\"generation\":41}"));
        answer("503 No");
        NET_UNTIL(&net, number("failures") == i);
        net_skip_ms(FM_TELLING_AGAIN_MAX_MS);
    }
    NET_UNTIL(&net, came("{\"generation\":41}"));
    answer("503 No"); /* half a minute now */
    NET_UNTIL(&net, number("failures") == 9);
    generation(42);
    net_skip_ms(1001);
    NET_UNTIL(&net, came("{\"generation\":42}"));
    answer("200 OK");
    NET_UNTIL(&net, delivered() == 42);
}

static void who_hangs_is_left(void **state)
{
    (void)state;
    generation(41);
    accept_it();
    NET_UNTIL(&net, came("{\"generation\":41}"));
    generation(42);
    net_skip_ms(FM_WEBHOOK_TIMEOUT_MS + 1);
    NET_UNTIL(&net, number("failures") == 1);
    assert_true(fails_because("no answer in time"));
    NET_UNTIL(&net, peer_is_over(&p));
    net_skip_ms(1001);
    accept_it();
    NET_UNTIL(&net, came("{\"generation\":42}"));
    answer("200 OK");
    NET_UNTIL(&net, delivered() == 42);
}

static void only_the_keeper_tells(void **state)
{
    (void)state;
    sends = false;
    generation(41);
    net_turn_ms(&net, 20);
    assert_int_equal(number("deliveries") + number("failures"), 0);
    sends = true; /* what was so when it took over is told, too */
    net_skip_ms(1001);
    accept_it();
    NET_UNTIL(&net, came("{\"generation\":41}"));
    answer("500 No");
    NET_UNTIL(&net, number("failures") == 1);
    sends = false; /* and another one's trouble is not shown here */
    net_skip_ms(FM_TELLING_AGAIN_MS);
    NET_UNTIL(&net, !fails_because(""));
}

static void a_secret_is_nobody_elses_and_not_short(void **state)
{
    (void)state;
    write_secret(SECRET, 0644);
    generation(41);
    NET_UNTIL(&net, fails_because("others may read it"));
    write_secret("short\n", 0600);
    net_skip_ms(FM_TELLING_AGAIN_MS);
    NET_UNTIL(&net, fails_because("less than 16 bytes"));
    unlink(secret_path());
    net_skip_ms(2 * FM_TELLING_AGAIN_MS);
    NET_UNTIL(&net, fails_because("cannot read"));
    write_secret(SECRET, 0600);
    net_skip_ms(4 * FM_TELLING_AGAIN_MS);
    accept_it();
    NET_UNTIL(&net, came("{\"generation\":41}"));
}

static void a_reload_goes_on_or_begins_anew(void **state)
{
    (void)state;
    generation(41);
    accept_it();
    NET_UNTIL(&net, came("{\"generation\":41}"));
    answer("200 OK");
    NET_UNTIL(&net, delivered() == 41);
    fm_webhook_reset(hook, conf);
    net_turn_ms(&net, 20);
    assert_int_equal(number("deliveries"), 1);
    configure(NULL);
    fm_webhook_reset(hook, conf);
    assert_null(fm_webhook_json(hook));
    generation(42);
    net_turn_ms(&net, 20);
    configure(url_of("/other"));
    fm_webhook_reset(hook, conf);
    accept_it();
    NET_UNTIL(&net, came("{\"generation\":42}"));
    fm_webhook_reset(hook, conf); /* in the middle of it: it is told once more */
    accept_it();
    NET_UNTIL(&net, came("{\"generation\":42}"));
    assert_true(fm_str_starts(fm_str(p.in, p.n), FM_STR("POST /other HTTP/1.1\r\n")));
    answer("200 OK");
    NET_UNTIL(&net, delivered() == 42);
}

#define with_webhook(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(fm_test(signs_seconds_and_body), with_webhook(posts_what_changes_with_a_signature),
             with_webhook(one_is_under_way_and_the_newest_is_next),
             with_webhook(a_refusal_is_tried_again_after_a_growing_pause),
             with_webhook(news_shorten_the_pause), with_webhook(who_hangs_is_left),
             with_webhook(only_the_keeper_tells),
             with_webhook(a_secret_is_nobody_elses_and_not_short),
             with_webhook(a_reload_goes_on_or_begins_anew))
