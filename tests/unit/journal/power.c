/* See the header. Each file has the image that is durable, and the writes since. */
#include "power.h"

#include "base/assert.h"
#include "base/rand.h"

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FILES_MAX = 8, NAME_MAX_ = 256, SECTOR = 512 };

struct change {
    struct change *next;
    int64_t at; /* of a write; the new size of a truncation */
    int n;      /* -1: a truncation */
    char data[];
};

struct disk_file {
    char name[NAME_MAX_];
    char *image;
    int64_t size, cap;
    struct change *first, **last;
};

struct handle {
    sqlite3_file base; /* first: SQLite sees this */
    struct disk_file *f;
    sqlite3_file *real;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct disk_file files[FILES_MAX];
static unsigned nfiles;
static struct fm_rand dice;
static bool off;
static int64_t until_off = -1, until_sync_fails = -1;
static const char *sync_ending = "";
static struct power_cut last_cut;
static sqlite3_vfs vfs, *system_vfs;

/* -------- the disk -------- */

static void resize(struct disk_file *f, int64_t size)
{
    if (size > f->cap) {
        f->cap = size * 2;
        f->image = realloc(f->image, (size_t)f->cap);
        FM_ASSERT(f->image);
    }
    if (size > f->size)
        memset(f->image + f->size, 0, (size_t)(size - f->size));
    f->size = size;
}

static void apply(struct disk_file *f, const struct change *c, int from, int to)
{
    if (c->n < 0) {
        resize(f, c->at);
        return;
    }
    if (c->at + to > f->size)
        resize(f, c->at + to);
    memcpy(f->image + c->at + from, c->data + from, (size_t)(to - from));
}

static void forget_changes(struct disk_file *f)
{
    while (f->first) {
        struct change *c = f->first;
        f->first = c->next;
        free(c);
    }
    f->last = &f->first;
}

static void remember(struct disk_file *f, int64_t at, const void *data, int n)
{
    struct change *c = malloc(sizeof *c + (n > 0 ? (size_t)n : 0));
    FM_ASSERT(c);
    *c = (struct change){.at = at, .n = n};
    if (n > 0)
        memcpy(c->data, data, (size_t)n);
    *f->last = c;
    f->last = &c->next;
}

static struct disk_file *file_of(const char *name)
{
    for (unsigned i = 0; i < nfiles; i++)
        if (strcmp(files[i].name, name) == 0)
            return &files[i];
    FM_ASSERT(nfiles < FILES_MAX && strlen(name) < NAME_MAX_);
    struct disk_file *f = &files[nfiles++];
    *f = (struct disk_file){.last = &f->first};
    memcpy(f->name, name, strlen(name) + 1);
    int fd = open(name, O_RDONLY | O_CLOEXEC); /* what was there before counts as durable */
    if (fd >= 0) {
        char block[4096];
        for (ssize_t n; (n = read(fd, block, sizeof block)) > 0;) {
            resize(f, f->size + n);
            memcpy(f->image + f->size - n, block, (size_t)n);
        }
        close(fd);
    }
    return f;
}

/* One more operation; true where the power is off after it. */
static bool tick(void)
{
    if (!off && until_off >= 0 && until_off-- == 0)
        off = true;
    return off;
}

/* -------- the methods of a file -------- */

static struct handle *handle_of(sqlite3_file *f)
{
    return (struct handle *)(void *)f;
}

#define REAL(f)    (handle_of(f)->real)
#define METHODS(f) (REAL(f)->pMethods)

static int x_close(sqlite3_file *f)
{
    return METHODS(f)->xClose(REAL(f));
}

static int x_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return METHODS(f)->xRead(REAL(f), p, n, at);
}

static int x_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    pthread_mutex_lock(&lock);
    bool was_off = off, now_off = tick();
    if (!was_off) /* the one during which the power goes may yet reach the disk */
        remember(handle_of(f)->f, at, p, n);
    pthread_mutex_unlock(&lock);
    return now_off ? SQLITE_IOERR_WRITE : METHODS(f)->xWrite(REAL(f), p, n, at);
}

static int x_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    pthread_mutex_lock(&lock);
    bool was_off = off, now_off = tick();
    if (!was_off)
        remember(handle_of(f)->f, size, NULL, -1);
    pthread_mutex_unlock(&lock);
    return now_off ? SQLITE_IOERR_TRUNCATE : METHODS(f)->xTruncate(REAL(f), size);
}

static int x_sync(sqlite3_file *f, int flags)
{
    struct disk_file *d = handle_of(f)->f;
    (void)flags;
    pthread_mutex_lock(&lock);
    bool now_off = tick(), fails = !now_off && until_sync_fails >= 0 &&
                                   fm_str_ends(fm_str_z(d->name), fm_str_z(sync_ending)) &&
                                   until_sync_fails-- == 0;
    for (struct change *c = d->first; c && !now_off && !fails; c = c->next)
        apply(d, c, 0, c->n);
    if (!now_off)
        forget_changes(d); /* where it failed: not on the disk, and nobody will try again */
    pthread_mutex_unlock(&lock);
    return now_off || fails ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int x_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return METHODS(f)->xFileSize(REAL(f), size);
}

static int x_lock(sqlite3_file *f, int how)
{
    return METHODS(f)->xLock(REAL(f), how);
}

static int x_unlock(sqlite3_file *f, int how)
{
    return METHODS(f)->xUnlock(REAL(f), how);
}

static int x_check(sqlite3_file *f, int *out)
{
    return METHODS(f)->xCheckReservedLock(REAL(f), out);
}

static int x_control(sqlite3_file *f, int op, void *arg)
{
    return METHODS(f)->xFileControl(REAL(f), op, arg);
}

static int x_sector(sqlite3_file *f)
{
    (void)f;
    return SECTOR;
}

static int x_device(sqlite3_file *f)
{
    (void)f;
    return 0; /* nothing is promised: no write is atomic, none is in order */
}

static int x_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return METHODS(f)->xShmMap(REAL(f), page, size, extend, out);
}

static int x_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
    return METHODS(f)->xShmLock(REAL(f), at, n, flags);
}

static void x_shm_barrier(sqlite3_file *f)
{
    METHODS(f)->xShmBarrier(REAL(f));
}

static int x_shm_unmap(sqlite3_file *f, int del)
{
    return METHODS(f)->xShmUnmap(REAL(f), del);
}

static const sqlite3_io_methods methods = {.iVersion = 2,
                                           .xClose = x_close,
                                           .xRead = x_read,
                                           .xWrite = x_write,
                                           .xTruncate = x_truncate,
                                           .xSync = x_sync,
                                           .xFileSize = x_size,
                                           .xLock = x_lock,
                                           .xUnlock = x_unlock,
                                           .xCheckReservedLock = x_check,
                                           .xFileControl = x_control,
                                           .xSectorSize = x_sector,
                                           .xDeviceCharacteristics = x_device,
                                           .xShmMap = x_shm_map,
                                           .xShmLock = x_shm_lock,
                                           .xShmBarrier = x_shm_barrier,
                                           .xShmUnmap = x_shm_unmap};

/* -------- the VFS -------- */

static int x_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *out)
{
    (void)v;
    struct handle *h = handle_of(f);
    h->base.pMethods = NULL;
    if (!name)
        return SQLITE_CANTOPEN; /* a temporary file would not be on this disk */
    h->real = (sqlite3_file *)(void *)(h + 1);
    pthread_mutex_lock(&lock);
    h->f = file_of(name);
    bool is_off = off;
    pthread_mutex_unlock(&lock);
    if (is_off)
        return SQLITE_CANTOPEN;
    int rc = system_vfs->xOpen(system_vfs, name, h->real, flags, out);
    if (rc == SQLITE_OK)
        h->base.pMethods = &methods;
    return rc;
}

static int x_delete(sqlite3_vfs *v, const char *name, int sync)
{
    (void)v;
    pthread_mutex_lock(&lock);
    bool is_off = off;
    if (!is_off) {
        struct disk_file *f = file_of(name);
        forget_changes(f);
        f->size = 0;
    }
    pthread_mutex_unlock(&lock);
    return is_off ? SQLITE_IOERR_DELETE : system_vfs->xDelete(system_vfs, name, sync);
}

void power_register(uint64_t seed)
{
    dice = (struct fm_rand){seed};
    system_vfs = sqlite3_vfs_find(NULL);
    vfs = *system_vfs;
    vfs.zName = POWER_VFS;
    vfs.pNext = NULL;
    vfs.szOsFile = (int)sizeof(struct handle) + system_vfs->szOsFile;
    vfs.xOpen = x_open;
    vfs.xDelete = x_delete;
    FM_ASSERT(sqlite3_vfs_register(&vfs, 0) == SQLITE_OK);
    power_reset();
}

void power_reset(void)
{
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < nfiles; i++) {
        forget_changes(&files[i]);
        free(files[i].image);
    }
    nfiles = 0;
    off = false;
    until_off = until_sync_fails = -1;
    pthread_mutex_unlock(&lock);
}

void power_off_after(uint32_t operations)
{
    pthread_mutex_lock(&lock);
    off = operations == 0;
    until_off = off ? -1 : (int64_t)operations;
    pthread_mutex_unlock(&lock);
}

bool power_is_off(void)
{
    pthread_mutex_lock(&lock);
    bool is = off;
    pthread_mutex_unlock(&lock);
    return is;
}

void power_fail_sync_after(const char *ending, uint32_t syncs)
{
    pthread_mutex_lock(&lock);
    sync_ending = ending;
    until_sync_fails = syncs;
    pthread_mutex_unlock(&lock);
}

/* Any of its sectors. */
static void tear(struct disk_file *f, const struct change *c)
{
    for (int at = 0; at < c->n;) {
        int end = at + SECTOR - (int)((c->at + at) % SECTOR);
        end = end < c->n ? end : c->n;
        if (fm_rand_below(&dice, 2))
            apply(f, c, at, end);
        at = end;
    }
}

static void keep_some(struct disk_file *f)
{
    static const uint32_t percent[] = {0, 10, 50, 90, 100};
    uint32_t keep = percent[fm_rand_below(&dice, FM_COUNT(percent))];
    uint32_t torn = percent[fm_rand_below(&dice, 3)];
    for (struct change *c = f->first; c; c = c->next) {
        if (c->n > 0 && fm_rand_below(&dice, 100) < torn) {
            tear(f, c);
            last_cut.torn++;
        } else if (fm_rand_below(&dice, 100) < keep) {
            apply(f, c, 0, c->n);
            last_cut.kept++;
        } else {
            last_cut.dropped++;
        }
    }
    forget_changes(f);
}

static void write_image(const struct disk_file *f)
{
    int fd = open(f->name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FM_ASSERT(fd >= 0);
    for (int64_t at = 0; at < f->size;) {
        ssize_t n = write(fd, f->image + at, (size_t)(f->size - at));
        FM_ASSERT(n > 0);
        at += n;
    }
    close(fd);
}

void power_cut(void)
{
    pthread_mutex_lock(&lock);
    last_cut = (struct power_cut){0};
    for (unsigned i = 0; i < nfiles; i++) {
        char shm[NAME_MAX_ + 8];
        keep_some(&files[i]);
        write_image(&files[i]);
        snprintf(shm, sizeof shm, "%s-shm", files[i].name);
        (void)unlink(shm); /* memory */
    }
    off = false;
    until_off = until_sync_fails = -1;
    pthread_mutex_unlock(&lock);
}

struct power_cut power_last_cut(void)
{
    return last_cut;
}
