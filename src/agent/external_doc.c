/* Answers of hooks, and records of them: see the header. Invariants: what is not understood whole
 * is an error and changes nothing; a lag that says neither bytes nor seconds is one, too. */
#include "agent/external_doc.h"

#include "base/assert.h"
#include "base/buf.h"

#include <stdio.h>
#include <string.h>

static const double SECONDS_MAX = 1e9;

/* The last line that begins with `{`. */
static json_t *answer_of(const char *output, struct fm_error *e)
{
    const char *best = NULL;
    for (const char *line = output; *line;) {
        if (*line == '{')
            best = line;
        line += strcspn(line, "\n");
        line += *line != 0;
    }
    json_error_t why = {.text = ""};
    json_t *j = best ? json_loadb(best, strcspn(best, "\n"), JSON_REJECT_DUPLICATES, &why) : NULL;
    if (!best)
        fm_error_set(e, FM_ERR_INVALID, "it printed no line that begins with `{`");
    else if (!j)
        fm_error_set(e, FM_ERR_INVALID, "its last line is no JSON object: %s", why.text);
    return j;
}

static int role_of(const char *name)
{
    for (unsigned i = 0; name && i < FM_EXTERNAL_ROLE_COUNT; i++)
        if (strcmp(name, fm_external_role_name((enum fm_external_role)i)) == 0)
            return (int)i;
    return -1;
}

static enum fm_err take_status(const json_t *j, struct fm_external_status *s, struct fm_error *e)
{
    const json_t *writable = json_object_get(j, "writable"),
                 *healthy = json_object_get(j, "healthy");
    int role = role_of(json_string_value(json_object_get(j, "role")));
    if (role != FM_EXTERNAL_PRIMARY && role != FM_EXTERNAL_SECONDARY)
        return fm_error_set(e, FM_ERR_INVALID, "its `role` is neither `primary` nor `secondary`");
    if (!json_is_boolean(writable) || (healthy && !json_is_boolean(healthy)))
        return fm_error_set(e, FM_ERR_INVALID, "its `%s` is neither true nor false",
                            json_is_boolean(writable) ? "healthy" : "writable");
    *s = (struct fm_external_status){.role = (uint8_t)role,
                                     .writable = json_is_true(writable),
                                     .healthy = !healthy || json_is_true(healthy)};
    return FM_ERR_OK;
}

enum fm_err fm_external_doc_status(const char *output, struct fm_external_status *s,
                                   struct fm_error *e)
{
    json_t *j = answer_of(output, e);
    enum fm_err err = j ? take_status(j, s, e) : FM_ERR_INVALID;
    json_decref(j);
    return err;
}

static enum fm_err take_lag(const json_t *j, struct fm_external_lag *l, struct fm_error *e)
{
    const json_t *bytes = json_object_get(j, "bytes"), *seconds = json_object_get(j, "seconds");
    struct fm_external_lag x = {.has_bytes = bytes && !json_is_null(bytes),
                                .has_ms = seconds && !json_is_null(seconds)};
    if (!fm_external_lag_is_known(&x))
        return fm_error_set(e, FM_ERR_INVALID, "it says neither `bytes` nor `seconds`");
    if (x.has_bytes && (!json_is_integer(bytes) || json_integer_value(bytes) < 0))
        return fm_error_set(e, FM_ERR_INVALID, "its `bytes` is no whole number from 0 on");
    double s = x.has_ms ? json_number_value(seconds) : 0;
    if (x.has_ms && (!json_is_number(seconds) || !(s >= 0 && s <= SECONDS_MAX)))
        return fm_error_set(e, FM_ERR_INVALID, "its `seconds` is no number from 0 on");
    x.bytes = x.has_bytes ? (uint64_t)json_integer_value(bytes) : 0;
    x.ms = (int64_t)(s * 1000);
    x.ms += x.ms == 0 && s > 0; /* what is missing is not rounded to nothing */
    *l = x;
    return FM_ERR_OK;
}

enum fm_err fm_external_doc_lag(const char *output, struct fm_external_lag *l, struct fm_error *e)
{
    json_t *j = answer_of(output, e);
    enum fm_err err = j ? take_lag(j, l, e) : FM_ERR_INVALID;
    json_decref(j);
    return err;
}

/* -------- what is recorded -------- */

json_t *fm_external_doc_make(const struct fm_external_doc *d)
{
    const struct fm_external_lag *l = &d->lag;
    FM_ASSERT(d->record.stage < FM_EXTERNAL_STAGE_COUNT && d->lag_age_ms >= 0);
    const char *role = fm_external_role_name((enum fm_external_role)d->status.role);
    json_t *j = json_pack("{s:I,s:s,s:s?,s:b,s:b,s:I,s:I}", "epoch", (json_int_t)d->record.epoch.n,
                          "stage", fm_external_stage_name((enum fm_external_stage)d->record.stage),
                          "role", d->known ? role : NULL, "writable", (int)d->status.writable,
                          "healthy", (int)d->status.healthy, "lag_age_ms",
                          (json_int_t)d->lag_age_ms, "wall_ms", (json_int_t)d->wall_ms);
    if (j && d->trouble[0])
        json_object_set_new(j, "trouble", json_string(d->trouble));
    if (j && l->has_bytes)
        json_object_set_new(j, "lag_bytes", json_integer((json_int_t)l->bytes));
    if (j && l->has_ms)
        json_object_set_new(j, "lag_ms", json_integer((json_int_t)l->ms));
    return j;
}

static int stage_of(const char *name)
{
    for (unsigned i = 0; name && i < FM_EXTERNAL_STAGE_COUNT; i++)
        if (strcmp(name, fm_external_stage_name((enum fm_external_stage)i)) == 0)
            return (int)i;
    return -1;
}

static bool read_number(const json_t *j, const char *name, bool *has, uint64_t *out)
{
    const json_t *v = json_object_get(j, name);
    json_int_t n = json_integer_value(v);
    *has = v && !json_is_null(v);
    *out = *has ? (uint64_t)n : 0;
    return !*has || (json_is_integer(v) && n >= 0);
}

bool fm_external_doc_read(struct fm_str text, struct fm_external_doc *d)
{
    json_t *j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    const char *role = json_string_value(json_object_get(j, "role"));
    int stage = stage_of(json_string_value(json_object_get(j, "stage"))), r = role_of(role);
    uint64_t epoch, ms, age, wall;
    bool has_epoch, has_age, has_wall;
    struct fm_external_doc x = {.known = role != NULL};
    bool good = stage >= 0 && (!role || r >= 0);
    good &= read_number(j, "epoch", &has_epoch, &epoch) && has_epoch;
    good &= read_number(j, "lag_bytes", &x.lag.has_bytes, &x.lag.bytes);
    good &= read_number(j, "lag_ms", &x.lag.has_ms, &ms);
    good &= read_number(j, "lag_age_ms", &has_age, &age);
    good &= read_number(j, "wall_ms", &has_wall, &wall);
    if (good) {
        x.record = (struct fm_external_record){{epoch}, (uint8_t)stage};
        x.status =
            (struct fm_external_status){.role = (uint8_t)(role ? r : FM_EXTERNAL_UNKNOWN),
                                        .writable = json_is_true(json_object_get(j, "writable")),
                                        .healthy = json_is_true(json_object_get(j, "healthy"))};
        x.lag.ms = (int64_t)ms;
        x.lag_age_ms = (int64_t)age;
        x.wall_ms = (int64_t)wall;
        const char *trouble = json_string_value(json_object_get(j, "trouble"));
        snprintf(x.trouble, sizeof x.trouble, "%s", trouble ? trouble : "");
        fm_text_tame(x.trouble); /* another host wrote it, and it may have been cut */
        *d = x;
    }
    json_decref(j);
    return good;
}
