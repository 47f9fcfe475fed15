/* The view of who holds what, as peers send it and as it lies on disk. The first byte says what the
 * rest is: `d` a document, `f` a file, `s` a file whose head is made right, else nothing would ever
 * get past it, `a` two documents with a zero between them, of which the first is to become as new
 * as the second. Promises: what was read can be written, and is read as the same again; a cell
 * never goes back under the same seed of the store. */
#include "fuzz.h"

#include "proxy/view_file.h"

static char *text_of(const struct fm_view_doc *d, size_t *n)
{
    char *text = NULL;
    struct fm_error e = {.msg = ""};
    HOLDS(fm_view_doc_write(d, &text, n, &e) == FM_ERR_OK, "cannot be written: %s", e.msg);
    return text;
}

static void check_doc(const struct fm_view_doc *d)
{
    size_t n, m;
    struct fm_view_doc again;
    char *text = text_of(d, &n);
    HOLDS(fm_view_doc_read(&again, fm_str(text, n), NULL) == FM_ERR_OK, "not read: %s", text);
    char *same = text_of(&again, &m);
    HOLDS(n == m && memcmp(text, same, n) == 0, "%s is %s", text, same);
    fm_view_doc_deinit(&again);
    free(same);
    free(text);
}

static void read_doc(struct fm_str text)
{
    struct fm_view_doc d;
    struct fm_error e = {.msg = ""};
    if (fm_view_doc_read(&d, text, &e) == FM_ERR_OK) {
        check_doc(&d);
        fm_view_doc_deinit(&d);
    } else {
        HOLDS(e.code == FM_ERR_INVALID && e.msg[0], "nothing is said");
    }
}

static void read_file(struct fm_str bytes)
{
    struct fm_view_doc d, again;
    struct fm_error e = {.msg = ""};
    char *packed;
    size_t n;
    if (fm_view_file_unpack(&d, bytes, FM_STR("bank"), &e)) {
        HOLDS(e.code == FM_ERR_INVALID && e.msg[0], "nothing is said");
        return;
    }
    HOLDS(d.found_by == FM_VIEW_DOC_NOBODY, "a finding from disk");
    check_doc(&d);
    HOLDS(fm_view_file_pack(&d, &packed, &n, &e) == FM_ERR_OK, "not packed: %s", e.msg);
    HOLDS(fm_view_file_unpack(&again, fm_str(packed, n), FM_STR("bank"), &e) == FM_ERR_OK,
          "not unpacked: %s", e.msg);
    fm_view_doc_deinit(&again);
    fm_view_doc_deinit(&d);
    free(packed);
}

static void read_signed(struct fm_str text)
{
    enum { HEAD = 48 };
    char *p = malloc(HEAD + 1 + text.n);
    if (!p)
        abort();
    snprintf(p, HEAD + 1, "fulmar-view 1 %010zu bytes %016llx\n", text.n,
             (unsigned long long)fm_view_doc_hash(text));
    if (text.n)
        memcpy(p + HEAD, text.p, text.n);
    read_file(fm_str(p, HEAD + text.n));
    free(p);
}

static void not_back(const struct fm_view_doc *before, const struct fm_view_doc *after)
{
    for (size_t k = 0; k < before->ncontexts; k++) {
        const struct fm_view_doc_context *b = &before->context[k];
        const struct fm_view_doc_context *a = fm_view_doc_find(after, fm_str_z(b->name));
        HOLDS(a && a->ncells == b->ncells, "%s is gone", b->name);
        HOLDS(!fm_view_newer(b->incarnation, b->generation, a->incarnation, a->generation),
              "%s went back", b->name);
        for (unsigned i = 0; i < b->ncells; i++)
            HOLDS(a->incarnation.n != b->incarnation.n ||
                      !fm_epoch_newer(b->cell[i].c.epoch, a->cell[i].c.epoch),
                  "cell %u of %s went back", i, b->name);
    }
}

static void adopt(struct fm_str text)
{
    const char *zero = text.n ? memchr(text.p, 0, text.n) : NULL;
    struct fm_view_doc d, news, before;
    if (!zero || fm_view_doc_read(&d, fm_str(text.p, (size_t)(zero - text.p)), NULL))
        return;
    struct fm_str rest = fm_str(zero + 1, text.n - (size_t)(zero + 1 - text.p));
    if (fm_view_doc_read(&news, rest, NULL) == FM_ERR_OK) {
        if (fm_view_doc_copy(&before, &d))
            abort();
        if (strcmp(d.service, news.service) == 0) {
            bool changed = fm_view_doc_adopt(&d, &news, NULL);
            not_back(&before, &d);
            check_doc(&d);
            HOLDS(!fm_view_doc_adopt(&d, &news, NULL), "it is still newer");
            HOLDS(changed || d.ncontexts == before.ncontexts, "it changed without a word");
        }
        fm_view_doc_deinit(&before);
        fm_view_doc_deinit(&news);
    }
    fm_view_doc_deinit(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    char *copy = fuzz_copy(data + 1, size - 1);
    struct fm_str text = fm_str(copy, size - 1);
    switch (data[0]) {
    case 'f':
        read_file(text);
        break;
    case 's':
        read_signed(text);
        break;
    case 'a':
        adopt(text);
        break;
    default:
        read_doc(text);
        break;
    }
    free(copy);
    return 0;
}
