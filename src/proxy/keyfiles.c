/* Files of keys: see the header. */
#include "proxy/keyfiles.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRIES_MAX = 256 };

/* What a file is read with: the loader looks at it on its own thread while the file is busy. */
struct reading {
    char path[1024];
    uint8_t home[FM_CONF_CELLS_MAX]; /* of each cell, as an index into region */
    char region_name[FM_CONF_REGIONS_MAX][64];
    struct fm_str region[FM_CONF_REGIONS_MAX];
    unsigned nregions;
};

struct one_file {
    struct fm_homes_file file;
    struct fm_keyfiles_entry *of;
    bool used, begun; /* control's alone */
    struct reading now, next;
    struct fm_homes_seat *seat; /* per worker */
    /* of the last that was read */
    uint64_t keys, digest;
    int64_t loaded_wall_ns;
    char error[512]; /* of the last try; empty where it was good */
};

struct fm_keyfiles_entry {
    struct fm_keyfiles *all;
    char context[64];
    unsigned ncells;
    struct one_file pins, directory;
};

struct fm_keyfiles {
    struct fm_mailbox *control;
    struct fm_homes_loader *loader;
    unsigned nworkers;
    struct fm_mailbox **inbox; /* per worker */
    struct fm_keyfiles_entry *entry[ENTRIES_MAX];
    unsigned n;
};

/* -------- loading -------- */

static void hand_out(struct one_file *o, struct fm_homes *h)
{
    const struct fm_keyfiles *k = o->of->all;
    for (unsigned w = 0; w < k->nworkers; w++)
        if (k->inbox[w] && !fm_homes_hand(k->inbox[w], &o->seat[w], h))
            fm_log(FM_LOG_ERROR, "keys_not_handed", FM_KZ("file", o->now.path),
                   FM_KZ("why", "out of memory; a worker goes on with the one before"));
}

/* While nobody reads the file. */
static void take_next(struct one_file *o)
{
    o->now = o->next;
    for (unsigned r = 0; r < o->now.nregions; r++)
        o->now.region[r] = fm_str_z(o->now.region_name[r]);
    o->file.spec.nregions = o->now.nregions;
}

static void loaded(struct fm_homes_file *f, struct fm_homes *h, struct fm_conf_report *report)
{
    struct one_file *o = fm_container_of(f, struct one_file, file);
    if (!h) {
        const struct fm_conf_finding *first = report->n ? &report->finding[0] : NULL;
        snprintf(o->error, sizeof o->error, "%s:%u:%u: %s", o->now.path,
                 first ? first->pos.line : 0, first ? first->pos.col : 0,
                 first ? first->what : "it cannot be read");
        fm_log(FM_LOG_ERROR, "keys_not_loaded", FM_KZ("context", o->of->context),
               FM_KZ("why", o->error),
               FM_KZ("meaning", o->loaded_wall_ns
                                    ? "the ones that were loaded before go on"
                                    : "commands of this context are refused until it is right"));
    } else {
        o->error[0] = 0;
        o->keys = h->tenants->directory.n;
        o->digest = h->tenants->digest;
        o->loaded_wall_ns = fm_wall_now_ns();
        fm_log(FM_LOG_INFO, "keys_loaded", FM_KZ("context", o->of->context),
               FM_KZ("file", o->now.path), FM_KU("keys", o->keys));
        hand_out(o, h);
        fm_homes_unref(h);
    }
    take_next(o);
}

static void read_file(struct fm_keyfiles_entry *e, struct one_file *o, struct fm_str path,
                      const struct fm_conf *conf, const struct fm_conf_context *c)
{
    struct reading *next = &o->next;
    o->used = path.n > 0;
    if (!o->used)
        return;
    FM_ASSERT(e->all->loader && path.n < sizeof next->path && c->ncells == e->ncells);
    snprintf(next->path, sizeof next->path, "%.*s", FM_STR_ARG(path));
    memcpy(next->home, c->cell_home, sizeof next->home);
    next->nregions = (unsigned)conf->nregions;
    for (unsigned r = 0; r < next->nregions; r++)
        snprintf(next->region_name[r], sizeof next->region_name[r], "%.*s",
                 FM_STR_ARG(conf->regions[r].name));
    if (!o->begun) {
        o->begun = true;
        o->file.loaded = loaded;
        o->file.spec =
            (struct fm_tenants_spec){.path = o->now.path,
                                     .lines_max = o == &e->pins ? FM_PINS_MAX : FM_TENANTS_MAX,
                                     .cells = e->ncells,
                                     .home = o->now.home,
                                     .regions = o->now.region};
        fm_homes_file_init(&o->file, e->all->loader);
    }
    if (!o->file.busy)
        take_next(o);
    fm_homes_file_load(&o->file);
}

/* -------- entries -------- */

struct fm_keyfiles_entry *fm_keyfiles_find(struct fm_keyfiles *k, struct fm_str context)
{
    for (unsigned i = 0; i < k->n; i++)
        if (fm_str_eqz(context, k->entry[i]->context))
            return k->entry[i];
    return NULL;
}

static void free_entry(struct fm_keyfiles_entry *e)
{
    free(e->pins.seat);
    free(e->directory.seat);
    free(e);
}

static struct fm_keyfiles_entry *new_entry(struct fm_keyfiles *k, const struct fm_conf_context *c)
{
    struct fm_keyfiles_entry *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->all = k;
    e->pins.of = e->directory.of = e;
    e->ncells = c->ncells;
    snprintf(e->context, sizeof e->context, "%.*s", FM_STR_ARG(c->name));
    e->pins.seat = calloc(k->nworkers, sizeof *e->pins.seat);
    e->directory.seat = calloc(k->nworkers, sizeof *e->directory.seat);
    if (e->pins.seat && e->directory.seat)
        return e;
    free_entry(e);
    return NULL;
}

static enum fm_err entry_of(struct fm_keyfiles *k, const struct fm_conf_context *c,
                            struct fm_keyfiles_entry **out, struct fm_error *err)
{
    *out = fm_keyfiles_find(k, c->name);
    if (*out && (*out)->ncells != c->ncells) /* it was taken out and came back (proxy/seats.c) */
        return fm_error_set(err, FM_ERR_STATE,
                            "context `%s` has %u cells for as long as this process lives, not %u",
                            (*out)->context, (*out)->ncells, c->ncells);
    if (*out)
        return FM_ERR_OK;
    if (k->n == ENTRIES_MAX)
        return fm_error_set(err, FM_ERR_LIMIT, "more than %d contexts with files of keys",
                            ENTRIES_MAX);
    *out = new_entry(k, c);
    if (!*out)
        return fm_error_set(err, FM_ERR_MEMORY, "no memory for files of keys");
    k->entry[k->n++] = *out;
    return FM_ERR_OK;
}

static enum fm_err load(struct fm_keyfiles *k, const struct fm_conf *conf,
                        const struct fm_conf_context *c, struct fm_error *e)
{
    struct fm_keyfiles_entry *entry;
    if (!k->loader)
        k->loader = fm_homes_loader_new(k->control, e);
    if (!k->loader)
        return FM_ERR_LIMIT;
    enum fm_err err = entry_of(k, c, &entry, e);
    if (err)
        return err;
    read_file(entry, &entry->pins, c->homes.pins, conf, c);
    read_file(entry, &entry->directory, c->homes.directory, conf, c);
    return FM_ERR_OK;
}

enum fm_err fm_keyfiles_load(struct fm_keyfiles *k, const struct fm_conf *conf, struct fm_error *e)
{
    for (unsigned i = 0; i < k->n; i++)
        k->entry[i]->pins.used = k->entry[i]->directory.used = false;
    for (size_t i = 0; i < conf->ncontexts; i++) {
        const struct fm_conf_context *c = &conf->contexts[i];
        if (c->ncells < 2 || (!c->homes.pins.n && !c->homes.directory.n))
            continue;
        enum fm_err err = load(k, conf, c, e);
        if (err)
            return err;
    }
    return FM_ERR_OK;
}

bool fm_keyfiles_cells(const struct fm_keyfiles_entry *e, struct fm_keyfiles_has has,
                       unsigned index, struct fm_cells *out)
{
    FM_ASSERT(index < e->all->nworkers && out->count == e->ncells);
    const struct fm_homes *pins = e->pins.seat[index].now;
    const struct fm_homes *directory = e->directory.seat[index].now;
    if ((has.pins && !pins) || (has.directory && !directory))
        return false;
    out->pins = has.pins ? &pins->tenants->directory : NULL;
    out->directory = has.directory ? &directory->tenants->directory : NULL;
    return true;
}

/* -------- life -------- */

struct fm_keyfiles *fm_keyfiles_new(struct fm_mailbox *control, unsigned nworkers)
{
    FM_ASSERT(nworkers > 0);
    struct fm_keyfiles *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->control = control;
    k->nworkers = nworkers;
    k->inbox = calloc(nworkers, sizeof *k->inbox);
    if (k->inbox)
        return k;
    free(k);
    return NULL;
}

void fm_keyfiles_worker(struct fm_keyfiles *k, unsigned index, struct fm_mailbox *inbox)
{
    FM_ASSERT(index < k->nworkers);
    k->inbox[index] = inbox;
}

void fm_keyfiles_free(struct fm_keyfiles *k, struct fm_loop *control)
{
    if (!k)
        return;
    for (unsigned i = 0; i < k->n; i++)
        for (unsigned w = 0; w < k->nworkers; w++) {
            fm_homes_seat_clear(&k->entry[i]->pins.seat[w]);
            fm_homes_seat_clear(&k->entry[i]->directory.seat[w]);
        }
    if (k->loader) {
        fm_homes_loader_free(k->loader);
        fm_loop_turn(control, 0); /* what it still told is heard, and nothing comes any more */
    }
    for (unsigned i = 0; i < k->n; i++)
        free_entry(k->entry[i]);
    free(k->inbox);
    free(k);
}

static json_t *file_json(const struct one_file *o)
{
    char when[FM_RFC3339_LEN];
    fm_wall_format(when, o->loaded_wall_ns);
    return json_pack("{s:s,s:s?,s:I,s:s?}", "file", o->now.path, "loaded_at",
                     o->loaded_wall_ns ? when : NULL, "keys", (json_int_t)o->keys, "error",
                     o->error[0] ? o->error : NULL);
}

json_t *fm_keyfiles_json(const struct fm_keyfiles *k)
{
    json_t *all = json_array();
    for (unsigned i = 0; i < k->n; i++) {
        const struct fm_keyfiles_entry *e = k->entry[i];
        json_t *o = json_pack("{s:s}", "context", e->context);
        if (e->pins.used)
            json_object_set_new(o, "pins", file_json(&e->pins));
        if (e->directory.used)
            json_object_set_new(o, "directory", file_json(&e->directory));
        json_array_append_new(all, o);
    }
    return all;
}
