/* Documents for machines: JSON from jansson, YAML as a plain block form of the same. */
#include "base/assert.h"
#include "cli/hint.h"

#include <stdio.h>
#include <stdlib.h>

static void yaml_scalar(const json_t *v)
{
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    fputs(text ? text : "null", stdout);
    free(text);
}

static bool is_leaf(const json_t *v)
{
    return !(json_is_object(v) && json_object_size(v)) && !(json_is_array(v) && json_array_size(v));
}

static void yaml_value(const json_t *v, int depth, bool in_list);

static void indent(int depth)
{
    for (int i = 0; i < depth; i++)
        fputs("  ", stdout);
}

static void yaml_object(const json_t *v, int depth, bool in_list)
{
    const char *key;
    json_t *child;
    bool first = in_list;
    json_object_foreach((json_t *)(uintptr_t)v, key, child)
    {
        if (!first)
            indent(depth);
        first = false;
        printf("%s:", key);
        yaml_value(child, depth + 1, false);
    }
}

static void yaml_value(const json_t *v, int depth, bool in_list)
{
    if (is_leaf(v)) {
        if (!in_list)
            fputc(' ', stdout);
        yaml_scalar(v);
        fputc('\n', stdout);
        return;
    }
    if (!in_list)
        fputc('\n', stdout);
    if (json_is_object(v)) {
        yaml_object(v, depth, in_list);
        return;
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (i > 0 || !in_list) /* the first one of a list in a list stands behind its dash */
            indent(depth);
        fputs("- ", stdout);
        yaml_value(json_array_get(v, i), depth + 1, true);
    }
}

void fm_print_document(const json_t *doc, enum fm_output o)
{
    FM_ASSERT(doc && o != FM_OUTPUT_TABLE);
    if (o == FM_OUTPUT_YAML) {
        puts("---"); /* one document after another with --watch */
        yaml_object(doc, 0, false);
        return;
    }
    size_t layout = o == FM_OUTPUT_JSON_LINES ? JSON_COMPACT : JSON_INDENT(1);
    char *text = json_dumps(doc, layout | JSON_REAL_PRECISION(6));
    puts(text ? text : "null");
    free(text);
}

int fm_print_error(const struct fm_args *a, const char *command, int code, const char *what,
                   const char *remedy)
{
    char text[FM_HINT_ROOM];
    FM_ASSERT(command && what && what[0] && code != FM_EXIT_OK);
    if (remedy)
        remedy = fm_hint(remedy, text);
    fprintf(stderr, "fulmar %s: %s\n", command, what);
    if (remedy)
        fprintf(stderr, "  %s\n", remedy);
    if (a->output == FM_OUTPUT_TABLE)
        return code;
    json_t *doc = json_object();
    json_object_set_new(doc, "schema", json_string("fulmar.error/1"));
    json_object_set_new(doc, "exit_code", json_integer(code));
    json_object_set_new(doc, "error", json_string(what));
    json_object_set_new(doc, "remedy", remedy ? json_string(remedy) : json_null());
    fm_print_document(doc, a->output);
    json_decref(doc);
    return code;
}
