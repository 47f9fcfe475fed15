/* The view on disk: see the header. Invariant: a file is taken only if its head is, to the byte,
 * the one that we would write before what follows it. */
#include "proxy/view_file.h"

#include "base/assert.h"
#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { HEAD = 48 }; /* "fulmar-view 1 " 10 digits " bytes " 16 digits "\n" */

static void write_head(char out[HEAD + 1], struct fm_str text)
{
    FM_ASSERT(text.n <= FM_VIEW_DOC_TEXT_MAX);
    int n = snprintf(out, HEAD + 1, "fulmar-view 1 %010zu bytes %016llx\n", text.n,
                     (unsigned long long)fm_view_doc_hash(text));
    FM_ASSERT(n == HEAD);
}

/* -------- bytes -------- */

enum fm_err fm_view_file_pack(const struct fm_view_doc *d, char **bytes, size_t *n,
                              struct fm_error *e)
{
    struct fm_view_doc copy;
    char *text, head[HEAD + 1];
    size_t len;
    *bytes = NULL;
    if (fm_view_doc_copy(&copy, d))
        return fm_error_set(e, FM_ERR_MEMORY, "no memory to keep a view");
    (void)fm_view_doc_forget_found(&copy); /* it is no longer true when it is read */
    enum fm_err err = fm_view_doc_write(&copy, &text, &len, e);
    fm_view_doc_deinit(&copy);
    if (err)
        return err;
    write_head(head, fm_str(text, len));
    char *all = malloc(HEAD + len);
    if (all) {
        memcpy(all, head, HEAD);
        memcpy(all + HEAD, text, len);
    }
    free(text);
    if (!all)
        return fm_error_set(e, FM_ERR_MEMORY, "no memory to keep a view");
    *bytes = all;
    *n = HEAD + len;
    return FM_ERR_OK;
}

enum fm_err fm_view_file_unpack(struct fm_view_doc *d, struct fm_str bytes, struct fm_str service,
                                struct fm_error *e)
{
    char head[HEAD + 1];
    *d = (struct fm_view_doc){.found_by = FM_VIEW_DOC_NOBODY};
    if (bytes.n <= HEAD || bytes.n - HEAD > FM_VIEW_DOC_TEXT_MAX)
        return fm_error_set(e, FM_ERR_INVALID, "it has %zu bytes: it is cut, or no view", bytes.n);
    struct fm_str text = fm_str(bytes.p + HEAD, bytes.n - HEAD);
    write_head(head, text);
    if (memcmp(bytes.p, head, HEAD) != 0)
        return fm_error_set(e, FM_ERR_INVALID,
                            "its head does not fit what follows: it is torn, or was changed");
    enum fm_err err = fm_view_doc_read(d, text, e);
    if (err)
        return err;
    (void)fm_view_doc_forget_found(d);
    if (fm_str_eqz(service, d->service))
        return FM_ERR_OK;
    err = fm_error_set(e, FM_ERR_INVALID, "it is of the service `%s`", d->service);
    fm_view_doc_deinit(d);
    return err;
}

/* -------- files -------- */

static bool path_of(char out[PATH_MAX], const char *folder, const char *name)
{
    return (size_t)snprintf(out, PATH_MAX, "%s/%s", folder, name) < PATH_MAX;
}

static enum fm_err load_one(const char *folder, const char *name, struct fm_str service,
                            struct fm_view_doc *d, struct fm_error *e)
{
    char path[PATH_MAX], *bytes = NULL;
    size_t n = 0;
    if (!path_of(path, folder, name))
        return fm_error_set(e, FM_ERR_LIMIT, "path too long: %.100s", folder);
    enum fm_err err = fm_file_read(path, HEAD + FM_VIEW_DOC_TEXT_MAX, &bytes, &n, e);
    if (!err) {
        err = fm_view_file_unpack(d, fm_str(bytes, n), service, e);
        if (err)
            fm_error_wrap(e, "%s", path);
    }
    free(bytes);
    return err;
}

enum fm_err fm_view_file_load(const char *folder, struct fm_str service, struct fm_view_doc *d,
                              struct fm_view_found *found, struct fm_error *e)
{
    struct fm_error wrong = {0};
    *found = (struct fm_view_found){.old = false};
    enum fm_err err = load_one(folder, FM_VIEW_FILE, service, d, &wrong);
    if (!err)
        return FM_ERR_OK;
    found->keep_old = true;
    if (err != FM_ERR_NOT_FOUND)
        found->wrong = wrong;
    enum fm_err old = load_one(folder, FM_VIEW_FILE_OLD, service, d, e);
    found->old = old == FM_ERR_OK;
    if (old != FM_ERR_NOT_FOUND || err == FM_ERR_NOT_FOUND)
        return old;
    if (e)
        *e = wrong;
    return err;
}

/* The present file gets a second name, which then replaces the old one. A filesystem without links
 * keeps no older one. */
static void keep_as_old(const char *folder)
{
    char now[PATH_MAX], fresh[PATH_MAX], old[PATH_MAX];
    if (!path_of(now, folder, FM_VIEW_FILE) || !path_of(old, folder, FM_VIEW_FILE_OLD) ||
        !path_of(fresh, folder, FM_VIEW_FILE_OLD ".new"))
        return;
    (void)unlink(fresh);
    if (link(now, fresh) != 0)
        return;
    (void)rename(fresh, old);
    (void)unlink(fresh); /* rename(2) leaves both where they are one file already */
}

enum fm_err fm_view_file_save(const char *folder, struct fm_str bytes, bool keep_old,
                              struct fm_error *e)
{
    char path[PATH_MAX];
    if (!path_of(path, folder, FM_VIEW_FILE))
        return fm_error_set(e, FM_ERR_LIMIT, "path too long: %.100s", folder);
    if (!keep_old)
        keep_as_old(folder);
    return fm_file_replace(path, bytes, 0600, e);
}
