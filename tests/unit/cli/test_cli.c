/* Reading the command line: what it means, and what is said to who mistypes. */
#include "capture.h"

#include "cli/cli.h"

#include <stdlib.h>

enum { ARGS_MAX = 8 };

static int run(const char *const *args)
{
    char *argv[ARGS_MAX + 2] = {(char *)(uintptr_t) "fulmar"};
    int argc = 1;
    for (; args[argc - 1]; argc++) {
        assert_true(argc <= ARGS_MAX);
        argv[argc] = (char *)(uintptr_t)args[argc - 1];
    }
    capture_begin();
    int code = fm_cli_main(argc, argv);
    capture_end();
    return code;
}

#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

static void mistakes_are_told_with_what_was_meant(void **state)
{
    (void)state;
    static const struct {
        const char *args[ARGS_MAX];
        const char *says;
    } cases[] = {
        {{"statsu"}, "did you mean `fulmar status`?"},
        {{"config", "chekc"}, "did you mean `fulmar config check`?"},
        {{"config", "schem"}, "did you mean `fulmar config schema`?"},
        {{"conifg", "reference"}, "did you mean `fulmar config reference`?"},
        {{"config"}, "`config` is the first word of several commands"},
        {{"config", "fly"}, "there is no command `config fly`;"},
        {{"xyzzy"}, "`fulmar help` lists them"},
        {{""}, "there is no command"},
        {{"help", "edgee"}, "did you mean `fulmar edge`?"},
        {{"-v"}, "options come behind the command"},
        {{"status", "--ouput", "json"}, "did you mean --output?"},
        {{"status", "--regions", "3"}, "`fulmar status` has no option --regions"},
        {{"status", "--x"}, "see `fulmar help status`"},
        {{"status", "-q"}, "no option -q"},
        {{"status", "-o"}, "-o needs a value: -o FORMAT"},
        {{"status", "--server"}, "--server needs a value: --server HOST"},
        {{"status", "--watch=yes"}, "--watch takes no value"},
        {{"status", "a", "b"}, "does not take `b`"},
        {{"status", "-ojsn"}, "not `jsn`"},
        {{"status", "--timeout", "1"}, "such as 500ms or 5s, not `1`"},
        {{"status", "--timeout", "s"}, "not `s`"},
        {{"status", "--timeout", "99999999s"}, "not `99999999s`"},
        {{"demo", "--rate", "2000000"}, "from 1 to 1000000, not `2000000`"},
        {{"demo", "--rate", "10 "}, "not `10 `"},
        {{"demo", "--color", "never", "--regions", "9"}, "from 2 to 8, not `9`"},
        {{"demo", "--scenario", "Kill"}, "several with commas, or all, not `Kill`"},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        int code = run(cases[i].args);
        if (code != FM_EXIT_USAGE || !strstr(captured_err, cases[i].says))
            fail_msg("%s %s: exit code %d, %s", cases[i].args[0],
                     cases[i].args[1] ? cases[i].args[1] : "", code, captured_err);
        assert_string_equal(captured_out, "");
    }
}

static void the_table_of_commands_is_whole(void **state)
{
    (void)state;
    for (const struct fm_command *c = fm_commands; c->name; c++) {
        assert_true(strlen(c->summary) > 10);
        assert_true(c->summary[strlen(c->summary) - 1] != '.'); /* help adds it */
        assert_int_equal(strncmp(c->example, "fulmar ", 7), 0);
        assert_int_equal(strncmp(c->example + 7, c->name, strlen(c->name)), 0);
        assert_non_null(c->run);
        assert_true(c->args_max <= FM_ARGS_MAX);
        assert_int_equal(c->args[0] != 0, c->args_max > 0);
        for (const struct fm_command *d = fm_commands; d != c; d++)
            assert_string_not_equal(c->name, d->name);
    }
}

static void each_command_explains_itself(void **state)
{
    (void)state;
    for (const struct fm_command *c = fm_commands; c->name; c++) {
        char first[32];
        struct fm_str rest, word = fm_str_cut(fm_str_z(c->name), ' ', &rest);
        memcpy(first, word.p, word.n);
        first[word.n] = 0;
        int code = rest.p ? RUN(first, rest.p, "--help") : RUN(first, "--help");
        assert_int_equal(code, FM_EXIT_OK);
        assert_non_null(strstr(captured_out, c->summary + 1)); /* it begins with a capital */
        assert_non_null(strstr(captured_out, c->example));
        if (c->options & FM_OPT_BIT(CONFIG))
            assert_non_null(strstr(captured_out, "-c, --config FILE"));
        assert_string_equal(captured_err, "");
    }
}

static void first_words_list_their_commands(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 3; how++) {
        int code = how == 0   ? RUN("group", "--help")
                   : how == 1 ? RUN("group", "-h")
                              : RUN("help", "group");
        assert_int_equal(code, FM_EXIT_OK);
        assert_non_null(strstr(captured_out, "group create"));
        assert_non_null(strstr(captured_out, "$ fulmar group status ledger"));
        assert_null(strstr(captured_out, "loss list"));
        assert_string_equal(captured_err, "");
    }
    assert_int_equal(RUN("group"), FM_EXIT_USAGE); /* nobody asked for help */
    assert_non_null(strstr(captured_err, "group create"));
    assert_string_equal(captured_out, "");
}

static void what_is_always_needed_stands_in_the_usage(void **state)
{
    (void)state;
    assert_int_equal(RUN("help", "move"), FM_EXIT_OK);
    assert_non_null(strstr(captured_out, "Usage: fulmar move CONTEXT --to REGION --reason TEXT"));
    assert_int_equal(RUN("edge", "x"), FM_EXIT_USAGE);
    assert_non_null(strstr(captured_err, "usage: fulmar edge\n"));
}

static void alone_it_teaches(void **state)
{
    (void)state;
    capture_begin();
    char *argv[] = {(char *)(uintptr_t) "fulmar", NULL};
    int code = fm_cli_main(1, argv);
    capture_end();
    assert_int_equal(code, FM_EXIT_OK);
    for (const struct fm_command *c = fm_commands; c->name; c++)
        assert_non_null(strstr(captured_out, c->example));
}

static void the_version_is_asked_for_anywhere(void **state)
{
    (void)state;
    assert_int_equal(RUN("--version"), FM_EXIT_OK);
    assert_string_equal(captured_out, "fulmar " FM_VERSION "\n");
    assert_int_equal(RUN("version"), FM_EXIT_OK);
    assert_string_equal(captured_out, "fulmar " FM_VERSION "\n");
    assert_int_equal(RUN("version", "x"), FM_EXIT_USAGE);
    assert_int_equal(RUN("demo", "--rate", "5", "--version"), FM_EXIT_OK);
    assert_string_equal(captured_out, "fulmar " FM_VERSION "\n");
}

#define SMALLEST FM_SOURCE_ROOT "/tests/unit/conf/data/smallest.yaml"

static void the_file_is_said_or_comes_from_the_surroundings(void **state)
{
    (void)state;
    assert_int_equal(RUN("config", "check", SMALLEST), FM_EXIT_OK);
    assert_non_null(strstr(captured_out, "smallest.yaml is good: service shop"));
    assert_int_equal(RUN("config", "check", "-c", SMALLEST), FM_EXIT_OK);
    assert_int_equal(RUN("config", "check", "-c" SMALLEST), FM_EXIT_OK);
    assert_int_equal(RUN("config", "check", "--config=" SMALLEST), FM_EXIT_OK);
    assert_int_equal(setenv("FULMAR_CONFIG", SMALLEST, 1), 0);
    assert_int_equal(RUN("config", "check"), FM_EXIT_OK);
    assert_int_equal(RUN("config", "check", "-c", "/nowhere/x.yaml"), FM_EXIT_CONFIG);
    assert_int_equal(unsetenv("FULMAR_CONFIG"), 0);
    assert_int_equal(RUN("config", "check", "--", "--help"), FM_EXIT_CONFIG);
    assert_non_null(strstr(captured_err, "--help"));
}

#define BROKEN FM_SOURCE_ROOT "/tests/unit/conf/broken/"

static void a_check_says_what_can_be_promised(void **state)
{
    (void)state;
    assert_int_equal(RUN("config", "check", BROKEN "warnings-exclusive.yaml"), FM_EXIT_OK);
    assert_non_null(strstr(captured_out, "a              active-passive assisted     62.02s"));
    assert_non_null(strstr(captured_out,
                           "600.00s  unbounded            lease 3.03s, detection 1.15s + grace "
                           "0.00s, election 1.50s; then a person\n"));
    assert_int_equal(RUN("config", "check", BROKEN "warnings-one-machine.yaml", "-o", "json"),
                     FM_EXIT_OK);
    json_t *doc = json_loads(captured_out, 0, NULL);
    const json_t *list = json_object_get(doc, "contexts"), *b = json_array_get(list, 1);
    const json_t *parts = json_object_get(b, "parts");
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(json_string_value(json_object_get(b, "mode")), "automatic");
    assert_int_equal(json_integer_value(json_object_get(b, "floor_ms")), 2020);
    assert_int_equal(json_integer_value(json_object_get(parts, "lease_wait_ms")), 2020);
    assert_true(json_is_null(json_object_get(parts, "election_ms")));
    assert_true(json_is_null(json_object_get(parts, "person_ms")));
    assert_true(json_is_null(json_object_get(b, "rto_ms")));
    json_decref(doc);
    assert_int_equal(RUN("config", "check", BROKEN "hold.yaml", "-o", "json"), FM_EXIT_CONFIG);
    doc = json_loads(captured_out, 0, NULL);
    assert_true(json_is_null(json_object_get(doc, "contexts")));
    json_decref(doc);
}

static void documents_of_a_check(void **state)
{
    (void)state;
    assert_int_equal(RUN("config", "check", SMALLEST, "-o", "json"), FM_EXIT_OK);
    json_t *doc = json_loads(captured_out, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(doc, "schema")), "fulmar.config-check/1");
    assert_true(json_is_true(json_object_get(doc, "good")));
    assert_int_equal(json_array_size(json_object_get(doc, "contexts")), 0);
    json_decref(doc);
    /* no host of this machine, whose daemons would be asked where the file says no other folder */
    assert_int_equal(
        RUN("status", "-c", "/nowhere/x.yaml", "--host", "nobody.invalid", "-o", "json"),
        FM_EXIT_CONFIG);
    doc = json_loads(captured_out, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(doc, "schema")), "fulmar.error/1");
    assert_int_equal(json_integer_value(json_object_get(doc, "exit_code")), 78);
    json_decref(doc);
}

FM_TEST_MAIN(fm_test(mistakes_are_told_with_what_was_meant),
             fm_test(the_table_of_commands_is_whole), fm_test(each_command_explains_itself),
             fm_test(first_words_list_their_commands),
             fm_test(what_is_always_needed_stands_in_the_usage), fm_test(alone_it_teaches),
             fm_test(the_version_is_asked_for_anywhere),
             fm_test(the_file_is_said_or_comes_from_the_surroundings),
             fm_test(a_check_says_what_can_be_promised), fm_test(documents_of_a_check))
