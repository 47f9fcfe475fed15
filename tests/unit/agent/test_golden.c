/* What a program of an earlier version of the protocol has written is read as the same by this one;
 * what one of the next version adds is skipped; a version further away is refused.
 *
 * golden/protocol-N.txt was written by a program that speaks N, and never changes: a key (or whose
 * form it is) and a document in each line. Add a file with each version. */
#include "test.h"

#include "agent/intent.h"
#include "agent/marks.h"
#include "agent/message.h"
#include "agent/ops.h"
#include "agent/records.h"
#include "http/protocol.h"
#include "proxy/view_doc.h"

#include <stdio.h>
#include <stdlib.h>

#define GOLDEN FM_SOURCE_ROOT "/tests/unit/agent/golden/protocol-1.txt"

static struct fm_roster *roster;

static int begin(void **state)
{
    static const char *const regions[] = {"east", "north", "west"}; /* not in the writer's order */
    roster = fm_roster_new();
    for (unsigned i = 0; i < FM_COUNT(regions); i++)
        fm_roster_add_region(roster, fm_str_z(regions[i]));
    fm_roster_add_context(roster, FM_STR("cards"), 64);
    fm_roster_add_context(roster, FM_STR("ledger"), 1);
    return fm_test_fds_before(state);
}

static int end(void **state)
{
    fm_roster_free(roster);
    return fm_test_fds_after(state);
}

/* -------- each form: read, and written again; NULL where it is refused -------- */

static char *again_record(struct fm_write *w, struct fm_str text)
{
    char why[FM_RECORD_WHY_ROOM], *out = malloc(FM_RECORD_TEXT_MAX);
    struct fm_buf b = fm_buf(out, FM_RECORD_TEXT_MAX - 1);
    assert_non_null(out);
    if (!fm_record_read(roster, text, w, why)) {
        free(out);
        return NULL;
    }
    fm_record_write(roster, w, &b);
    out[b.n] = 0;
    return out;
}

static char *dumped(json_t *j)
{
    char *out = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    return out;
}

static char *again_op(struct fm_str text)
{
    struct fm_op o;
    const char *why;
    if (!fm_op_read(roster, text, &o, &why))
        return NULL;
    char *out = dumped(fm_op_json(roster, &o));
    fm_op_free(&o);
    return out;
}

static char *again_marks(struct fm_str text)
{
    static struct fm_marks_doc d;
    struct fm_error e;
    return fm_marks_read(roster, &d, text, &e) ? NULL : fm_marks_write(roster, &d);
}

static char *again_view(struct fm_str text)
{
    struct fm_view_doc d;
    struct fm_error e;
    char *out = NULL;
    size_t n;
    if (fm_view_doc_read(&d, text, &e))
        return NULL;
    assert_int_equal(fm_view_doc_write(&d, &out, &n, &e), FM_ERR_OK);
    fm_view_doc_deinit(&d);
    return out;
}

static struct fm_buf post;
static unsigned taken;

static const char *opens(void *user, const struct fm_post_head *head)
{
    struct fm_buf *b = user;
    b->n = 0;
    taken = 0;
    fm_post_begin(b, fm_str_z(head->from), head->life);
    return NULL;
}

static void take(void *user, const struct fm_post_head *head, const struct fm_message *m)
{
    struct fm_buf *b = user;
    assert_true(head->protocol > 0);
    if (taken++)
        fm_buf_ch(b, ',');
    fm_message_write(roster, m, b);
}

static char *again_post(struct fm_str text)
{
    char *out = malloc(FM_POST_BYTES_MAX);
    assert_non_null(out);
    post = fm_buf(out, FM_POST_BYTES_MAX - 1);
    struct fm_post_reader reader = {.opens = opens, .take = take, .user = &post};
    if (fm_post_read(roster, text, &reader)) {
        free(out);
        return NULL;
    }
    fm_post_end(&post);
    out[post.n] = 0;
    return out;
}

static char *again(struct fm_str key, struct fm_str text)
{
    struct fm_write w = {0};
    struct fm_op_policy p;
    struct fm_intent i;
    if (fm_record_key_read(roster, key, &w.key))
        return again_record(&w, text);
    if (fm_str_starts(key, FM_STR("op/")))
        return again_op(text);
    if (fm_str_starts(key, FM_STR("policy/")))
        return fm_op_policy_read(text, &p) ? dumped(fm_op_policy_json(&p)) : NULL;
    if (fm_str_starts(key, FM_STR("intent/")))
        return fm_intent_read(text, &i) ? dumped(fm_intent_json(&i)) : NULL;
    if (fm_str_eqz(key, "marks"))
        return again_marks(text);
    if (fm_str_eqz(key, "authority/view"))
        return again_view(text);
    assert_true(fm_str_eqz(key, "peer/1/post"));
    return again_post(text);
}

/* -------- what was read says as much -------- */

static bool holds(const json_t *now, json_t *then);

static bool holds_list(const json_t *now, const json_t *then, bool in_order)
{
    size_t n = json_array_size(then);
    if (!json_is_array(now) || json_array_size(now) != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        bool found = false;
        for (size_t k = 0; k < n && !found; k++)
            found = (!in_order || k == i) && holds(json_array_get(now, k), json_array_get(then, i));
        if (!found)
            return false;
    }
    return true;
}

/* Every member of `then`, but for the version of who wrote it. Names of contexts and regions come
 * in the order of the reader's numbers. */
static bool holds(const json_t *now, json_t *then)
{
    const char *key;
    json_t *value;
    if (json_is_array(then))
        return holds_list(now, then, !json_is_string(json_array_get(then, 0)));
    if (!json_is_object(then))
        return json_equal(now, then);
    json_object_foreach(then, key, value)
    {
        if (strcmp(key, "v") != 0 && !holds(json_object_get(now, key), value))
            return false;
    }
    return true;
}

static json_t *parsed(const char *text)
{
    json_t *o = json_loads(text, 0, NULL);
    assert_non_null(o);
    return o;
}

/* Calls `look` for each line of the file. */
static void each(void (*look)(struct fm_str key, json_t *doc))
{
    enum { LINE_MAX_BYTES = 64 * 1024, LINES = 14 };
    char *line = malloc(LINE_MAX_BYTES);
    FILE *f = fopen(GOLDEN, "re");
    unsigned n = 0;
    assert_non_null(line);
    assert_non_null(f);
    for (; fgets(line, LINE_MAX_BYTES, f); n++) {
        struct fm_str text, key = fm_str_cut(fm_str_z(line), ' ', &text);
        json_t *doc = parsed(text.p);
        look(key, doc);
        json_decref(doc);
    }
    fclose(f);
    free(line);
    assert_int_equal(n, LINES);
}

static void is_the_same(struct fm_str key, json_t *doc, json_t *then)
{
    char *text = json_dumps(doc, JSON_COMPACT);
    char *back = again(key, fm_str_z(text));
    if (!back)
        fail_msg("%.*s is refused: %s", FM_STR_ARG(key), text);
    json_t *now = parsed(back);
    if (!holds(now, then))
        fail_msg("%.*s is misread: %s became %s", FM_STR_ARG(key), text, back);
    json_decref(now);
    free(back);
    free(text);
}

static void look_at_ours(struct fm_str key, json_t *doc)
{
    is_the_same(key, doc, doc);
}

static void what_was_written_then_is_read_as_the_same(void **state)
{
    (void)state;
    each(look_at_ours);
    /* and is compared at all */
    json_t *a = parsed("{\"v\":1,\"x\":[[1,2],[3,\"w\"]]}"),
           *b = parsed("{\"x\":[[1,2],[3,\"v\"]]}");
    assert_true(holds(a, a));
    assert_false(holds(b, a));
    json_decref(a);
    json_decref(b);
}

/* Something that is not known, in every object of it. */
static void add_news(json_t *o)
{
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_array(o)) {
        json_array_foreach(o, i, value) add_news(value);
        return;
    }
    if (!json_is_object(o))
        return;
    json_object_foreach(o, key, value)
    {
        bool names = strcmp(key, "contexts") == 0 || strcmp(key, "members") == 0 ||
                     strcmp(key, "well") == 0 || strcmp(key, "rates") == 0 ||
                     strcmp(key, "lapsed") == 0;
        if (!names) /* the keys of those are names */
            add_news(value);
    }
    json_object_set_new(o, "news", json_pack("{s:[i,b]}", "of", 7, 1));
}

static void look_at_the_next(struct fm_str key, json_t *doc)
{
    json_t *next = json_deep_copy(doc);
    add_news(next);
    json_object_set_new(next, "v", json_integer((json_int_t)fm_protocol() + 1));
    is_the_same(key, next, doc);
    json_decref(next);
}

static void what_the_next_version_adds_is_skipped(void **state)
{
    (void)state;
    each(look_at_the_next);
}

static void is_refused(struct fm_str key, json_t *doc)
{
    char *text = json_dumps(doc, JSON_COMPACT);
    char *back = again(key, fm_str_z(text));
    if (back)
        fail_msg("%.*s is taken: %s", FM_STR_ARG(key), text);
    free(text);
}

static void look_at_one_further_away(struct fm_str key, json_t *doc)
{
    json_object_set_new(doc, "v", json_integer((json_int_t)fm_protocol() + 2));
    is_refused(key, doc);
    json_object_set_new(doc, "v", json_integer((json_int_t)fm_protocol() + 1));
    json_object_set_new(doc, "must", json_pack("[s]", "fence"));
    is_refused(key, doc);
}

static void what_cannot_be_understood_is_refused(void **state)
{
    (void)state;
    each(look_at_one_further_away);
}

FM_TEST_MAIN(fm_test_with(what_was_written_then_is_read_as_the_same, begin, end),
             fm_test_with(what_the_next_version_adds_is_skipped, begin, end),
             fm_test_with(what_cannot_be_understood_is_refused, begin, end))
