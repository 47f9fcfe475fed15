/* fulmar config: check, schema, reference. */
#include "base/assert.h"
#include "base/buf.h"
#include "cli/cli.h"
#include "conf/conf.h"

#include <stdio.h>
#include <stdlib.h>

enum { PAGE_MAX = 512 * 1024, REPORT_MAX = 256 * 1024 };

static json_t *finding_json(const struct fm_conf_finding *f)
{
    FM_ASSERT(f->what && f->pos.file);
    json_t *o = json_object();
    json_object_set_new(o, "severity",
                        json_string(f->severity == FM_CONF_ERROR ? "error" : "warning"));
    json_object_set_new(o, "file", json_string(f->pos.file));
    json_object_set_new(o, "line", f->pos.line ? json_integer(f->pos.line) : json_null());
    json_object_set_new(o, "column", f->pos.col ? json_integer(f->pos.col) : json_null());
    json_object_set_new(o, "what", json_string(f->what));
    json_object_set_new(o, "remedy", f->advice ? json_string(f->advice) : json_null());
    return o;
}

static void print_json(const struct fm_conf_report *r, bool good, enum fm_output o)
{
    FM_ASSERT(good == (r->errors == 0) && r->n <= FM_CONF_FINDINGS_MAX);
    json_t *list = json_array();
    for (size_t i = 0; i < r->n; i++)
        json_array_append_new(list, finding_json(&r->finding[i]));
    json_t *doc = json_object();
    json_object_set_new(doc, "schema", json_string("fulmar.config-check/1"));
    json_object_set_new(doc, "good", json_boolean(good));
    json_object_set_new(doc, "errors", json_integer((json_int_t)r->errors));
    json_object_set_new(doc, "warnings", json_integer((json_int_t)r->warnings));
    json_object_set_new(doc, "findings", list);
    fm_print_document(doc, o);
    json_decref(doc);
}

static void print_text(const struct fm_conf_report *r, const struct fm_conf *c, const char *path)
{
    FM_ASSERT((c != NULL) == (r->errors == 0));
    char *mem = malloc(REPORT_MAX);
    if (!mem)
        return;
    struct fm_buf b = fm_buf(mem, REPORT_MAX);
    if (r->n)
        fm_conf_report_print(r, &b);
    fwrite(b.p, 1, b.n, stderr);
    free(mem);
    if (c)
        printf("%s is good: service %.*s, %zu regions, %zu contexts, %zu routes\n", path,
               FM_STR_ARG(c->service), c->nregions, c->ncontexts, c->nroutes);
}

int fm_cmd_config_check(const struct fm_args *a)
{
    const char *path = a->nargs ? a->arg[0] : a->config;
    FM_ASSERT(path);
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *c = fm_conf_load(path, &r);
    if (a->output == FM_OUTPUT_TABLE)
        print_text(&r, c, path);
    else
        print_json(&r, c != NULL, a->output);
    int code = c ? FM_EXIT_OK : FM_EXIT_CONFIG;
    fm_conf_free(c);
    fm_conf_report_deinit(&r);
    return code;
}

static int print_page(enum fm_err (*make)(struct fm_buf *out))
{
    char *mem = malloc(PAGE_MAX);
    struct fm_buf b = fm_buf(mem, PAGE_MAX);
    if (!mem || make(&b)) {
        free(mem);
        fprintf(stderr, "fulmar: the page does not fit\n");
        return FM_EXIT_BUG;
    }
    FM_ASSERT(b.n > 0 && !b.full);
    fwrite(b.p, 1, b.n, stdout);
    free(mem);
    return FM_EXIT_OK;
}

int fm_cmd_config_schema(const struct fm_args *a)
{
    (void)a;
    return print_page(fm_conf_schema_json);
}

int fm_cmd_config_reference(const struct fm_args *a)
{
    (void)a;
    return print_page(fm_conf_reference_md);
}
