/* The conformance suite: watches. See suite.h. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>

enum { SEEN_MAX = 4096 };

/* What a watch was told, as text: "F@ key=value" for what is fresh, "+key=value", "-key". */
struct seen {
    struct fm_coord_watch watch;
    char text[SEEN_MAX];
    size_t n;
    uint64_t last; /* revision */
    unsigned calls, fresh;
    bool closes_itself, closed;
};

static void note(struct seen *s, const char *how, struct fm_str key, struct fm_str value)
{
    const char *slash = memchr(key.p, '/', key.n);
    struct fm_str rest = fm_str(slash + 1, key.n - (size_t)(slash + 1 - key.p));
    slash = memchr(rest.p, '/', rest.n);
    rest = fm_str(slash + 1, rest.n - (size_t)(slash + 1 - rest.p));
    s->n += (size_t)snprintf(s->text + s->n, sizeof s->text - s->n, "%s%.*s%s%.*s ", how,
                             FM_STR_ARG(rest), value.n ? "=" : "", FM_STR_ARG(value));
    CHECK(s->n < sizeof s->text);
}

static void changed(struct fm_coord_watch *w, const struct fm_coord_event *event, size_t n)
{
    struct seen *s = fm_container_of(w, struct seen, watch);
    CHECK(n > 0 && !s->closed);
    CHECK(event[0].kv.revision > s->last); /* no revision is cut in two, none comes twice */
    s->calls++;
    for (size_t i = 0; i < n; i++) {
        CHECK(event[i].kv.revision >= s->last);
        s->last = event[i].kv.revision;
        note(s, event[i].erased ? "-" : "+", event[i].kv.key, event[i].kv.value);
    }
    if (s->closes_itself) {
        fm_coord_watch_close(w);
        s->closed = true;
    }
}

static void fresh(struct fm_coord_watch *w, const struct fm_coord_kv *kv, size_t n,
                  uint64_t revision)
{
    struct seen *s = fm_container_of(w, struct seen, watch);
    CHECK(revision >= s->last);
    s->last = revision;
    s->fresh++;
    s->n += (size_t)snprintf(s->text + s->n, sizeof s->text - s->n, "F ");
    for (size_t i = 0; i < n; i++)
        note(s, "", kv[i].key, kv[i].value);
}

static void open_watch(struct drive *d, struct seen *s, const char *key, uint64_t after)
{
    struct fm_error e;
    *s = (struct seen){.watch = {.changed = changed, .fresh = fresh}, .last = after};
    CHECK_EQ(fm_coord_watch_open(d->coord, &s->watch, fm_str_z(suite_key(key)), after, &e),
             FM_ERR_OK);
    CHECK_EQ(s->n, 0);
}

static void expect(struct drive *d, struct seen *s, const char *text)
{
    struct fm_mono end = drive_in_ms(d, DRIVE_DEADLINE_MS);
    while (strcmp(s->text, text) != 0) {
        if (fm_mono_before(end, fm_mono_now()))
            drive_fail(__FILE__, __LINE__, "told `%s` instead of `%s`", s->text, text);
        fm_loop_turn(&d->loop, FM_NS_PER_MS);
    }
}

void watch_begins_fresh(const struct drive_target *t)
{
    static struct seen s, other;
    struct drive d, writer;
    /* never silent for too long: what is told is told by the stream that is open */
    drive_open(&d, t, &(struct fm_coord_config){.silence_ms = 3600 * 1000});
    drive_open(&writer, t, NULL);
    (void)drive_put(&writer, suite_key("w/a"), "1");
    open_watch(&d, &s, "w/", 0);
    open_watch(&d, &other, "v/", 0);
    expect(&d, &s, "F w/a=1 ");
    expect(&d, &other, "F ");
    (void)drive_put(&writer, suite_key("w/b"), "2");
    (void)drive_put(&writer, suite_key("x"), "no");
    (void)drive_erase(&writer, suite_key("w/a"));
    (void)drive_erase(&writer, suite_key("w/nothing"));
    (void)drive_put(&writer, suite_key("w/b"), "3");
    expect(&d, &s, "F w/a=1 +w/b=2 -w/a +w/b=3 ");
    CHECK_EQ(other.n, 2);
    s.closes_itself = true;
    (void)drive_put(&writer, suite_key("w/b"), "4");
    drive_until(&d, &s.closed);
    (void)drive_put(&writer, suite_key("w/b"), "5");
    drive_turn_ms(&d, 50);
    CHECK(strstr(s.text, "+w/b=4 ") && !strstr(s.text, "5"));
    drive_close(&writer);
    drive_close(&d);
}

void watch_goes_on_from_a_revision(const struct drive_target *t)
{
    static struct seen s;
    struct drive d;
    drive_open(&d, t, NULL);
    (void)drive_put(&d, suite_key("w/a"), "1");
    uint64_t r = drive_put(&d, suite_key("w/a"), "2");
    (void)drive_put(&d, suite_key("w/a"), "3");
    (void)drive_put(&d, suite_key("w/b"), "4");
    open_watch(&d, &s, "w/", r);
    expect(&d, &s, "+w/a=3 +w/b=4 ");
    (void)drive_put(&d, suite_key("w/a"), "5");
    expect(&d, &s, "+w/a=3 +w/b=4 +w/a=5 ");
    fm_coord_watch_close(&s.watch);
    drive_close(&d);
}

/* Opened anew again and again, it misses nothing and says nothing twice. */
void watch_survives_being_silent(const struct drive_target *t)
{
    static struct seen s;
    struct drive d, writer;
    drive_open(&d, t, &(struct fm_coord_config){.silence_ms = 20});
    drive_open(&writer, t, NULL);
    open_watch(&d, &s, "w/", 0);
    expect(&d, &s, "F ");
    char expected[SEEN_MAX];
    size_t n = (size_t)snprintf(expected, sizeof expected, "F ");
    for (int i = 0; i < 60; i++) {
        char text[8];
        snprintf(text, sizeof text, "%d", i);
        (void)drive_put(&writer, suite_key("w/a"), text);
        n += (size_t)snprintf(expected + n, sizeof expected - n, "+w/a=%d ", i);
        drive_turn_ms(&d, i % 7 * 5);
    }
    expect(&d, &s, expected);
    CHECK_EQ(s.fresh, 1);
    fm_coord_watch_close(&s.watch);
    drive_close(&writer);
    drive_close(&d);
}

/* Far more streams than a store takes at once, one after the other. */
void watches_that_come_and_go_leave_nothing(const struct drive_target *t)
{
    static struct seen s[FM_COORD_WATCHES_MAX + 1];
    struct drive d, writer, late;
    struct fm_error e;
    drive_open(&d, t, &(struct fm_coord_config){.silence_ms = 10});
    drive_open(&writer, t, NULL);
    uint64_t r = drive_put(&writer, suite_key("w/a"), "1");
    for (size_t i = 0; i < FM_COORD_WATCHES_MAX; i++)
        open_watch(&d, &s[i], "w/", r);
    s[FM_COORD_WATCHES_MAX].watch = s[0].watch;
    CHECK_EQ(fm_coord_watch_open(d.coord, &s[FM_COORD_WATCHES_MAX].watch, FM_STR(""), r, &e),
             FM_ERR_LIMIT);
    drive_turn_ms(&d, 500);
    drive_open(&late, t, NULL); /* there is room for another one */
    drive_get(&late, suite_key("w/a"), false, false);
    CHECK_EQ(result.outcome, FM_COORD_DONE);
    drive_close(&late);
    (void)drive_put(&writer, suite_key("w/a"), "2");
    for (size_t i = 0; i < FM_COORD_WATCHES_MAX; i++)
        expect(&d, &s[i], "+w/a=2 ");
    drive_close(&writer);
    drive_close(&d);
}

void watch_of_what_is_forgotten_begins_fresh(const struct drive_target *t)
{
    static struct seen s;
    struct drive d;
    char body[64];
    drive_open(&d, t, NULL);
    (void)drive_put(&d, suite_key("w/a"), "1");
    uint64_t r = drive_put(&d, suite_key("w/a"), "2");
    (void)drive_put(&d, suite_key("w/b"), "3");
    uint64_t last = drive_put(&d, suite_key("w/a"), "4");
    snprintf(body, sizeof body, "{\"revision\":\"%llu\",\"physical\":true}",
             (unsigned long long)last);
    CHECK_EQ(drive_post(&d, t, "/v3/kv/compaction", body), 200);
    open_watch(&d, &s, "w/", r);
    expect(&d, &s, "F w/a=4 w/b=3 ");
    (void)drive_put(&d, suite_key("w/b"), "5");
    expect(&d, &s, "F w/a=4 w/b=3 +w/b=5 ");
    fm_coord_watch_close(&s.watch);
    drive_close(&d);
}

void watch_keeps_transactions_whole(const struct drive_target *t)
{
    static struct seen s;
    struct drive d;
    drive_open(&d, t, NULL);
    open_watch(&d, &s, "w/", 0);
    expect(&d, &s, "F ");
    struct fm_coord_write w[] = {{.key = fm_str_z(suite_key("w/a")), .value = FM_STR("1")},
                                 {.key = fm_str_z(suite_key("w/b")), .value = FM_STR("2")},
                                 {.key = fm_str_z(suite_key("x")), .value = FM_STR("3")}};
    drive_commit(&d, &(struct fm_coord_txn){.write = w, .nwrite = 3}, DRIVE_DEADLINE_MS);
    CHECK_EQ(result.outcome, FM_COORD_DONE);
    expect(&d, &s, "F +w/a=1 +w/b=2 ");
    CHECK_EQ(s.calls, 1);
    CHECK_EQ(s.last, result.revision);
    fm_coord_watch_close(&s.watch);
    drive_close(&d);
}
