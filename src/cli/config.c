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

/* -------- what each context that one region alone may write can promise -------- */

static const char *topology_name(const struct fm_conf_context *c)
{
    FM_ASSERT(c->ncells > 0);
    return c->topology == FM_TOPOLOGY_AFFINITY ? "affinity" : "active-passive";
}

static const char *mode_name(const struct fm_conf_context *c)
{
    switch (c->failover.mode) {
    case FM_CONF_MANUAL:
        return "manual";
    case FM_CONF_ASSISTED:
        return "assisted";
    case FM_CONF_AUTOMATIC:
        return "automatic";
    }
    FM_UNREACHABLE();
}

static json_t *ms_or_null(int64_t ms, bool known)
{
    return known ? json_integer((json_int_t)ms) : json_null();
}

/* What may be lost with a region: what moves the data of the context says. */
static const char *loss_name(const struct fm_conf *conf, unsigned i)
{
    int n = fm_conf_group_of(conf, i);
    const struct fm_conf_group *g = n >= 0 ? &conf->groups[n] : NULL;
    bool elsewhere = false;
    for (size_t k = 0; g && k < g->nnodes; k++)
        elsewhere |= conf->hosts[g->nodes[k].host].region != g->home;
    if (g && g->hooks.present)
        return "estimate";
    if (!g || !elsewhere || g->replication.credit_bytes < 0)
        return "unbounded";
    if (g->replication.credit_bytes > 0)
        return g->replication.beyond == FM_CONF_BEYOND_BLOCK_WRITES ? "max-loss"
                                                                    : "max-loss-while-followed";
    return g->replication.beyond == FM_CONF_BEYOND_BLOCK_WRITES ? "none" : "none-while-followed";
}

static json_t *floor_json(const struct fm_conf *conf, unsigned i)
{
    const struct fm_conf_context *c = &conf->contexts[i];
    struct fm_floor f = fm_conf_floor(conf, i);
    json_t *o = json_object(), *parts = json_object();
    json_object_set_new(o, "context", json_stringn(c->name.p, c->name.n));
    json_object_set_new(o, "topology", json_string(topology_name(c)));
    json_object_set_new(o, "mode", json_string(mode_name(c)));
    json_object_set_new(o, "floor_ms", json_integer((json_int_t)f.total_ms));
    json_object_set_new(parts, "lease_wait_ms", json_integer((json_int_t)f.wait_ms));
    json_object_set_new(parts, "detection_ms", json_integer((json_int_t)f.detection_ms));
    json_object_set_new(parts, "grace_ms", json_integer((json_int_t)f.grace_ms));
    json_object_set_new(parts, "election_ms", ms_or_null(f.election_ms, f.election_ms > 0));
    json_object_set_new(parts, "person_ms", ms_or_null(f.person_ms, f.person_ms > 0));
    json_object_set_new(o, "parts", parts);
    json_object_set_new(o, "rto_ms", ms_or_null(c->objectives.rto_ms, c->objectives.rto_ms >= 0));
    json_object_set_new(o, "loss", json_string(loss_name(conf, i)));
    return o;
}

static json_t *floors_json(const struct fm_conf *conf)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < conf->ncontexts; i++)
        if (conf->contexts[i].ncells > 0)
            json_array_append_new(list, floor_json(conf, i));
    return list;
}

static void print_floor(const struct fm_conf *conf, unsigned i)
{
    const struct fm_conf_context *c = &conf->contexts[i];
    struct fm_floor f = fm_conf_floor(conf, i);
    char election[32] = "", rto[32] = "-";
    if (f.election_ms)
        snprintf(election, sizeof election, ", election %.2fs", (double)f.election_ms / 1e3);
    if (c->objectives.rto_ms >= 0)
        snprintf(rto, sizeof rto, "%.2fs", (double)c->objectives.rto_ms / 1e3);
    printf(
        "%-14.*s %-14s %-9s %8.2fs %10s  %-19s  lease %.2fs, detection %.2fs + grace %.2fs%s%s\n",
        FM_STR_ARG(c->name), topology_name(c), mode_name(c), (double)f.total_ms / 1e3, rto,
        loss_name(conf, i), (double)f.wait_ms / 1e3, (double)f.detection_ms / 1e3,
        (double)f.grace_ms / 1e3, election, f.person_ms ? "; then a person" : "");
}

static void print_floors(const struct fm_conf *conf)
{
    bool any = false;
    for (unsigned i = 0; i < conf->ncontexts; i++) {
        if (conf->contexts[i].ncells == 0)
            continue;
        if (!any)
            printf("\n%-14s %-14s %-9s %9s %10s  %-19s  %s\n", "CONTEXT", "TOPOLOGY", "FAILOVER",
                   "AT LEAST", "RTO", "LOSS", "THE LONGEST OF");
        any = true;
        print_floor(conf, i);
    }
}

/* -------- the report -------- */

static void print_json(const struct fm_conf_report *r, const struct fm_conf *c, enum fm_output o)
{
    bool good = c != NULL;
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
    json_object_set_new(doc, "contexts", c ? floors_json(c) : json_null());
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
    if (!c)
        return;
    printf("%s is good: service %.*s, %zu region%s, %zu context%s, %zu route%s\n", path,
           FM_STR_ARG(c->service), c->nregions, c->nregions == 1 ? "" : "s", c->ncontexts,
           c->ncontexts == 1 ? "" : "s", c->nroutes, c->nroutes == 1 ? "" : "s");
    print_floors(c);
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
        print_json(&r, c, a->output);
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
