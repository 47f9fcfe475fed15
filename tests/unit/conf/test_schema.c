/* The table itself, and what is made from it: the JSON Schema and the reference page. */
#include "test.h"

#include "base/buf.h"
#include "conf/schema.h"

#include <jansson.h>
#include <stdio.h>

static char made[1 << 20], kept[1 << 20];

static void check_section(const struct fm_schema_section *s, unsigned depth);

static void check_row(const struct fm_schema_row *row, bool named, unsigned depth)
{
    if (named) {
        assert_non_null(row->name);
        assert_true(row->help && row->help[0]);
        assert_true(!(row->flags & FM_ROW_REQUIRED) || row->example || row->kind == FM_KIND_LATER);
        assert_true(!(row->flags & FM_ROW_REQUIRED) || !row->def);
    }
    if (row->kind == FM_KIND_LIST || row->kind == FM_KIND_EITHER || row->kind == FM_KIND_NAMED)
        assert_true(row->item && row->nitem);
    if (row->kind == FM_KIND_SECTION)
        assert_non_null(row->section);
    if (row->kind == FM_KIND_WORD)
        assert_true(row->nwords > 0);
    for (size_t i = 0; i < row->nwords; i++)
        assert_true(row->words[i].help && row->words[i].help[0]);
    if (row->section)
        check_section(row->section, depth + 1);
    for (size_t i = 0; i < row->nitem; i++)
        check_row(&row->item[i], false, depth + 1);
}

static void check_section(const struct fm_schema_section *s, unsigned depth)
{
    assert_true(depth < 16);
    assert_true(s->n > 0 && s->n <= 64);
    assert_true(s->id && s->title && s->help);
    for (size_t i = 0; i < s->n; i++) {
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(s->rows[i].name, s->rows[k].name);
        check_row(&s->rows[i], true, depth);
    }
}

static void every_row_is_whole(void **state)
{
    (void)state;
    check_section(&fm_schema_root, 0);
}

/* Each "$ref" leads to a definition, each property has a description. */
static void check_json(const json_t *defs, const json_t *v)
{
    const char *key;
    const json_t *child;
    size_t i;
    if (json_is_array(v)) {
        json_array_foreach(v, i, child) check_json(defs, child);
        return;
    }
    if (!json_is_object(v))
        return;
    json_object_foreach((json_t *)(uintptr_t)v, key, child)
    {
        if (strcmp(key, "$ref") == 0) {
            const char *ref = json_string_value(child);
            assert_true(strncmp(ref, "#/$defs/", 8) == 0);
            assert_non_null(json_object_get(defs, ref + 8));
        }
        check_json(defs, child);
    }
}

static json_t *at(const json_t *v, const char *a, const char *b)
{
    json_t *one = json_object_get(v, a);
    assert_non_null(one);
    return b ? at(one, b, NULL) : one;
}

static void the_json_schema_is_whole(void **state)
{
    (void)state;
    struct fm_buf out = fm_buf(made, sizeof made);
    json_error_t e;
    assert_int_equal(fm_conf_schema_json(&out), FM_ERR_OK);
    json_t *root = json_loadb(out.p, out.n, JSON_REJECT_DUPLICATES, &e);
    if (!root)
        fail_msg("line %d: %s", e.line, e.text);
    json_t *defs = at(root, "$defs", NULL);
    assert_string_equal(json_string_value(at(root, "$schema", NULL)),
                        "https://json-schema.org/draft/2020-12/schema");
    check_json(defs, root);
    json_t *top = at(defs, "fulmar", NULL), *edge = at(defs, "edge", "properties");
    assert_true(json_is_false(at(top, "additionalProperties", NULL)));
    assert_int_equal(json_array_size(at(top, "then", "required")), 4);
    assert_int_equal(json_integer_value(at(edge, "workers", "maximum")), 256);
    assert_string_equal(json_string_value(at(edge, "min-body-rate", "default")), "1KiB/s");
    json_t *group = at(at(defs, "group", NULL), "properties", NULL);
    assert_non_null(json_object_get(group, "hooks"));
    assert_int_equal(json_array_size(at(at(defs, "group", NULL), "required", NULL)), 1);
    assert_int_equal(json_array_size(at(at(defs, "hooks", NULL), "required", NULL)), 5);
    assert_string_equal(
        json_string_value(at(at(group, "settings", NULL), "propertyNames", "pattern")),
        "^[A-Za-z_][A-Za-z0-9_.]{0,62}$");
    assert_int_equal(json_array_size(at(defs, "setting", "type")), 3);
    assert_int_equal(json_array_size(at(at(defs, "etcd", NULL), "required", NULL)), 1);
    json_t *context = at(at(defs, "context", "properties"), "commands", "default");
    assert_int_equal(json_array_size(context), 4);
    json_t *topology = at(at(defs, "context", "properties"), "topology", "enum");
    assert_int_equal(json_array_size(topology), 3);
    json_t *region = at(defs, "region", NULL);
    assert_null(json_object_get(region, "required")); /* a witness has no apps */
    assert_non_null(at(region, "properties", "apps"));
    json_decref(root);
    out = fm_buf(made, 1000);
    assert_int_equal(fm_conf_schema_json(&out), FM_ERR_LIMIT);
}

static void the_reference_page_is_that_of_the_table(void **state)
{
    (void)state;
    struct fm_buf out = fm_buf(made, sizeof made);
    assert_int_equal(fm_conf_reference_md(&out), FM_ERR_OK);
    FILE *f = fopen(FM_SOURCE_ROOT "/docs/reference/configuration.md", "r");
    size_t n = f ? fread(kept, 1, sizeof kept, f) : 0;
    if (f)
        fclose(f);
    if (!fm_str_eq(fm_buf_str(&out), fm_str(kept, n)))
        fail_msg("docs/reference/configuration.md is not what the table says; in the build folder: "
                 "tests/unit/conf_tool reference > .../docs/reference/configuration.md");
    out = fm_buf(made, 1000);
    assert_int_equal(fm_conf_reference_md(&out), FM_ERR_LIMIT);
}

FM_TEST_MAIN(fm_test(every_row_is_whole), fm_test(the_json_schema_is_whole),
             fm_test(the_reference_page_is_that_of_the_table))
