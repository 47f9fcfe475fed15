/* Files of keys: see the header. */
#include "proxy/keyfiles.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { ENTRIES_MAX = 256, WORKERS_MAX = 64 };

struct one_file {
    struct fm_homes_file file;
    struct fm_keyfiles_entry *of;
    bool used, begun;
    char path[1024], wanted[1024];
    struct fm_homes_seat seat[WORKERS_MAX];
    /* of the last that was read */
    uint64_t keys, digest;
    int64_t loaded_wall_ns;
    char error[512]; /* of the last try; empty where it was good */
};

struct fm_keyfiles_entry {
    struct fm_keyfiles *all;
    char context[64];
    unsigned ncells;
    uint8_t home[FM_CONF_CELLS_MAX];
    char region_name[FM_CONF_REGIONS_MAX][64];
    struct fm_str region[FM_CONF_REGIONS_MAX];
    unsigned nregions;
    struct one_file pins, directory;
};

struct fm_keyfiles {
    struct fm_mailbox *control;
    struct fm_homes_loader *loader;
    unsigned nworkers;
    struct fm_mailbox *inbox[WORKERS_MAX];
    struct fm_keyfiles_entry *entry[ENTRIES_MAX];
    unsigned n;
};

/* -------- loading -------- */

static void hand_out(struct one_file *o, struct fm_homes *h)
{
    const struct fm_keyfiles *k = o->of->all;
    for (unsigned w = 0; w < k->nworkers; w++)
        if (k->inbox[w] && !fm_homes_hand(k->inbox[w], &o->seat[w], h))
            fm_log(FM_LOG_ERROR, "keys_not_handed", FM_KZ("file", o->path),
                   FM_KZ("why", "out of memory; a worker goes on with the one before"));
}

static void loaded(struct fm_homes_file *f, struct fm_homes *h, struct fm_conf_report *report)
{
    struct one_file *o = fm_container_of(f, struct one_file, file);
    if (!h) {
        const struct fm_conf_finding *first = report->n ? &report->finding[0] : NULL;
        snprintf(o->error, sizeof o->error, "%s:%u:%u: %s", o->path, first ? first->pos.line : 0,
                 first ? first->pos.col : 0, first ? first->what : "it cannot be read");
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
        fm_log(FM_LOG_INFO, "keys_loaded", FM_KZ("context", o->of->context), FM_KZ("file", o->path),
               FM_KU("keys", o->keys));
        hand_out(o, h);
        fm_homes_unref(h);
    }
    snprintf(o->path, sizeof o->path, "%s", o->wanted);
}

static void read_file(struct fm_keyfiles_entry *e, struct one_file *o, struct fm_str path,
                      uint64_t lines_max)
{
    if (!path.n)
        return;
    FM_ASSERT(e->all->loader && path.n < sizeof o->path);
    snprintf(o->wanted, sizeof o->wanted, "%.*s", FM_STR_ARG(path));
    if (!o->begun) {
        o->begun = true;
        o->file.loaded = loaded;
        o->file.spec = (struct fm_tenants_spec){.path = o->path,
                                                .lines_max = lines_max,
                                                .cells = e->ncells,
                                                .home = e->home,
                                                .regions = e->region,
                                                .nregions = e->nregions};
        fm_homes_file_init(&o->file, e->all->loader);
    }
    o->used = true;
    if (!o->file.busy)
        snprintf(o->path, sizeof o->path, "%s", o->wanted);
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

static enum fm_err entry_of(struct fm_keyfiles *k, const struct fm_conf *conf,
                            const struct fm_conf_context *c, struct fm_keyfiles_entry **out,
                            struct fm_error *err)
{
    struct fm_keyfiles_entry *e = fm_keyfiles_find(k, c->name);
    *out = e;
    if (e)
        return FM_ERR_OK;
    if (k->n == ENTRIES_MAX)
        return fm_error_set(err, FM_ERR_LIMIT, "more than %d contexts with files of keys",
                            ENTRIES_MAX);
    e = calloc(1, sizeof *e);
    if (!e)
        return fm_error_set(err, FM_ERR_MEMORY, "no memory for files of keys");
    e->all = k;
    e->pins.of = e->directory.of = e;
    e->ncells = c->ncells;
    snprintf(e->context, sizeof e->context, "%.*s", FM_STR_ARG(c->name));
    memcpy(e->home, c->cell_home, sizeof e->home);
    e->nregions = (unsigned)conf->nregions;
    for (unsigned r = 0; r < e->nregions; r++) {
        snprintf(e->region_name[r], sizeof e->region_name[r], "%.*s",
                 FM_STR_ARG(conf->regions[r].name));
        e->region[r] = fm_str_z(e->region_name[r]);
    }
    k->entry[k->n++] = e;
    *out = e;
    return FM_ERR_OK;
}

enum fm_err fm_keyfiles_load(struct fm_keyfiles *k, const struct fm_conf *conf, struct fm_error *e)
{
    for (size_t i = 0; i < conf->ncontexts; i++) {
        const struct fm_conf_context *c = &conf->contexts[i];
        struct fm_keyfiles_entry *entry;
        if (c->ncells < 2 || (!c->homes.pins.n && !c->homes.directory.n))
            continue;
        if (!k->loader)
            k->loader = fm_homes_loader_new(k->control, e);
        if (!k->loader)
            return FM_ERR_LIMIT;
        enum fm_err err = entry_of(k, conf, c, &entry, e);
        if (err)
            return err;
        entry->pins.used = entry->directory.used = false;
        read_file(entry, &entry->pins, c->homes.pins, FM_PINS_MAX);
        read_file(entry, &entry->directory, c->homes.directory, FM_TENANTS_MAX);
    }
    return FM_ERR_OK;
}

bool fm_keyfiles_cells(const struct fm_keyfiles_entry *e, unsigned index, struct fm_cells *out)
{
    FM_ASSERT(index < e->all->nworkers && out->count == e->ncells);
    const struct fm_homes *pins = e->pins.seat[index].now;
    const struct fm_homes *directory = e->directory.seat[index].now;
    if ((e->pins.used && !pins) || (e->directory.used && !directory))
        return false;
    out->pins = e->pins.used ? &pins->tenants->directory : NULL;
    out->directory = e->directory.used ? &directory->tenants->directory : NULL;
    return true;
}

/* -------- life -------- */

struct fm_keyfiles *fm_keyfiles_new(struct fm_mailbox *control, unsigned nworkers)
{
    FM_ASSERT(nworkers > 0);
    struct fm_keyfiles *k = nworkers <= WORKERS_MAX ? calloc(1, sizeof *k) : NULL;
    if (k) {
        k->control = control;
        k->nworkers = nworkers;
    }
    return k;
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
        free(k->entry[i]);
    free(k);
}

static json_t *file_json(const struct one_file *o)
{
    char when[FM_RFC3339_LEN];
    fm_wall_format(when, o->loaded_wall_ns);
    return json_pack("{s:s,s:s?,s:I,s:s?}", "file", o->path, "loaded_at",
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
