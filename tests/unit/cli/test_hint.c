/* Commands in texts get the options that were given, where they take them; nothing else changes. */
#include "test.h"

#include "cli/hint.h"

static struct fm_args args;
static char out[FM_HINT_ROOM];

static int begin(void **state)
{
    (void)state;
    args = (struct fm_args){.config_said = "/tmp/a.yaml", .host = "west-1"};
    fm_hint_begin(&args);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fm_hint_begin(NULL);
    return 0;
}

static void what_was_given_is_repeated(void **state)
{
    (void)state;
    static const struct {
        const char *text, *becomes;
    } cases[] = {
        {"", ""},
        {"no command: `fulmar`, fulmar op list, `x fulmar op list`",
         "no command: `fulmar`, fulmar op list, `x fulmar op list`"},
        {"`fulmar op list` has them", "`fulmar op list -c /tmp/a.yaml --host west-1` has them"},
        {"use `fulmar quote`, and then `fulmar failover`",
         "use `fulmar quote -c /tmp/a.yaml --host west-1`, and then "
         "`fulmar failover -c /tmp/a.yaml --host west-1`"},
        {"`fulmar group status GROUP`", "`fulmar group status GROUP -c /tmp/a.yaml --host west-1`"},
        {"`fulmar config check`", "`fulmar config check -c /tmp/a.yaml`"}, /* it takes no more */
        {"`fulmar config check b.yaml -c b.yaml`", "`fulmar config check b.yaml -c b.yaml`"},
        {"`fulmar status --host north-1`", "`fulmar status --host north-1 -c /tmp/a.yaml`"},
        {"`fulmar help status`", "`fulmar help status`"},
        {"`fulmar statusx`", "`fulmar statusx`"}, /* no command of ours */
        {"`fulmar op list", "`fulmar op list"},   /* it was cut */
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        assert_string_equal(fm_hint(cases[i].text, out), cases[i].becomes);
}

static void a_server_is_repeated_where_nobody_else_is_named(void **state)
{
    (void)state;
    args = (struct fm_args){.server = "north-1", .cert = "me.pem", .key = "me.key"};
    assert_string_equal(fm_hint("`fulmar status HOST`", out),
                        "`fulmar status HOST --cert me.pem --key me.key`");
    assert_string_equal(fm_hint("`fulmar status`", out),
                        "`fulmar status --server north-1 --cert me.pem --key me.key`");
    begin(state);
}

static void it_can_be_pasted_into_a_shell(void **state)
{
    (void)state;
    args = (struct fm_args){.config_said = "my files/it's.yaml", .host = ""};
    assert_string_equal(fm_hint("`fulmar op list`", out),
                        "`fulmar op list -c 'my files/it'\\''s.yaml' --host ''`");
    begin(state);
}

static void without_options_and_room_a_text_stays(void **state)
{
    (void)state;
    char text[FM_HINT_ROOM], more[FM_HINT_OPTIONS];
    memset(text, 'x', sizeof text);
    memcpy(text + sizeof text - 20, "`fulmar op list`", 17);
    assert_ptr_equal(fm_hint(text, out), text);
    assert_string_equal(fm_hint_options("failover", more), " -c /tmp/a.yaml --host west-1");
    assert_string_equal(fm_hint_options("config check", more), " -c /tmp/a.yaml");
    fm_hint_begin(NULL);
    assert_string_equal(fm_hint("`fulmar op list`", out), "`fulmar op list`");
    assert_string_equal(fm_hint_options("failover", more), "");
    fm_hint_begin(&args);
}

#define WITH(fn) fm_test_with(fn, begin, end)

FM_TEST_MAIN(WITH(what_was_given_is_repeated),
             WITH(a_server_is_repeated_where_nobody_else_is_named),
             WITH(it_can_be_pasted_into_a_shell), WITH(without_options_and_room_a_text_stays))
