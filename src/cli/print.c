/* Documents for machines: JSON from jansson, YAML as a plain block form of the same. */
#include "cli/cli.h"

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
        indent(depth);
        fputs("- ", stdout);
        yaml_value(json_array_get(v, i), depth + 1, true);
    }
}

void fm_print_document(const json_t *doc, enum fm_output o)
{
    if (o == FM_OUTPUT_YAML) {
        yaml_object(doc, 0, false);
        return;
    }
    char *text = json_dumps(doc, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    puts(text ? text : "null");
    free(text);
}
