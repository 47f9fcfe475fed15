/* Loading pin lists and directories: see the header. Two passes: lines to entries, in the order of
 * the file and one entry for each line (a filler for a wrong one), then entries to slots. So the
 * line of an entry is the number of entries before it, and a double can name both. */
#include "homes/tenants.h"

#include "base/assert.h"
#include "base/rand.h"
#include "conf/report.h"
#include "homes/lines.h"
#include "homes/memory.h"
#include "homes/turn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is copied by one read, and how many lines or entries are looked at, takes well under a turn.
 */
enum { CHUNK = 1 << 18, LINES_AT_ONCE = 256 };

/* A line of a file costs at least as many bytes as its entry, if it is right: a comma, a digit and
 * its end for the three bytes before a key. Wrong lines may be shorter, but they are counted. */
_Static_assert(FM_DIRECTORY_HEAD == 3, "what the room for entries is reckoned with");

struct double_key {
    uint64_t earlier, offset; /* of the entries */
    uint32_t line, earlier_line;
};

struct load {
    const struct fm_tenants_spec *spec;
    struct fm_conf_report *report;
    size_t errors_before;
    struct fm_tenants *t;
    unsigned char *entry;
    uint64_t bytes, lines;
    char *chunk;
    struct stat st;
    struct fm_homes_turn turn;
    struct fm_tenants_line line;
    struct double_key doubles[FM_CONF_FINDINGS_MAX];
    size_t ndoubles;
};

static size_t errors(const struct load *l)
{
    return l->report->errors - l->errors_before;
}

/* About the file as a whole; false for the caller to return. */
static bool fail(struct load *l, const char *what, int err)
{
    struct fm_error e;
    struct fm_conf_pos pos = {l->spec->path, 0, 0};
    if (err) {
        fm_error_errno(&e, FM_ERR_IO, err, "%s", what);
        what = e.msg;
    }
    fm_report_error(l->report, pos, "%s", what);
    return false;
}

static bool stopped(struct load *l)
{
    if (!l->spec->stop || !atomic_load_explicit(l->spec->stop, memory_order_relaxed))
        return false;
    fail(l, "loading was stopped", 0);
    return true;
}

/* -------- lines to entries -------- */

static void take_line(struct load *l, struct fm_str text)
{
    uint32_t number = (uint32_t)++l->lines;
    struct fm_str key = {NULL, 0};
    if (text.n && text.p[text.n - 1] == '\r')
        text.n--;
    if (number == 1 && fm_str_starts(text, FM_STR("\xef\xbb\xbf")))
        text = fm_str(text.p + 3, text.n - 3);
    l->line.cell = 0;
    if (text.n > FM_TENANTS_LINE_MAX)
        fm_tenants_line_error(l->spec, l->report, text, number, 0,
                              "the line has more than %d bytes", FM_TENANTS_LINE_MAX);
    else if (fm_tenants_line_parse(l->spec, text, number, &l->line, l->report))
        key = l->line.key;
    if (key.n)
        l->t->digest += fm_mix64(l->line.hash ^ fm_mix64(l->line.cell + UINT64_C(1)));
    FM_ASSERT(l->bytes + FM_DIRECTORY_HEAD + key.n <= l->t->entries.bytes);
    l->bytes += fm_directory_put(l->entry + l->bytes, key, key.n ? l->line.cell : 0);
}

static bool too_many(struct load *l)
{
    if (errors(l) >= FM_TENANTS_ERRORS_MAX)
        return true;
    if (l->lines < l->spec->lines_max)
        return false;
    fm_report_error(l->report, (struct fm_conf_pos){l->spec->path, (uint32_t)l->lines + 1, 1},
                    "more than %llu lines", (unsigned long long)l->spec->lines_max);
    return true;
}

/* The whole lines of the first n bytes of the chunk; what is left of it moves to the front. */
static bool take_lines(struct load *l, size_t *n)
{
    struct fm_str rest = fm_str(l->chunk, *n), text;
    for (;;) {
        struct fm_str before = rest;
        text = fm_str_cut(rest, '\n', &rest);
        if (!rest.p) {
            rest = before;
            break;
        }
        if (too_many(l))
            return false;
        take_line(l, text);
        if (l->lines % LINES_AT_ONCE == 0)
            fm_homes_turn_over(&l->turn);
    }
    memmove(l->chunk, rest.p, rest.n);
    *n = rest.n;
    return true;
}

static bool unchanged(const struct load *l, int fd, uint64_t size)
{
    struct stat now;
    return fstat(fd, &now) == 0 && size == (uint64_t)l->st.st_size &&
           now.st_size == l->st.st_size && now.st_mtim.tv_sec == l->st.st_mtim.tv_sec &&
           now.st_mtim.tv_nsec == l->st.st_mtim.tv_nsec;
}

static bool read_lines(struct load *l, int fd)
{
    uint64_t size = 0;
    size_t n = 0;
    for (;;) {
        if (stopped(l))
            return false;
        if (n == CHUNK)
            n = FM_TENANTS_LINE_MAX + 2; /* too long a line: enough of it to be refused as one */
        ssize_t got = read(fd, l->chunk + n, CHUNK - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(l, "cannot read it", errno);
        if (got == 0)
            break;
        size += (uint64_t)got;
        if (size > (uint64_t)l->st.st_size)
            break; /* it grows */
        n += (size_t)got;
        if (!take_lines(l, &n))
            return false;
    }
    if (!unchanged(l, fd, size))
        return fail(l, "the file changed while it was read; write another and rename it", 0);
    if (n) {
        struct fm_str rest = fm_str(l->chunk, n);
        fm_tenants_line_error(l->spec, l->report, rest, (uint32_t)l->lines + 1,
                              fm_min_size(n, FM_TENANTS_LINE_MAX),
                              "the last line has no end: is this the whole file?");
    } else if (l->lines == 0) {
        return fail(l, "the file is empty", 0);
    }
    return true;
}

/* -------- entries to slots -------- */

static void note_doubles(struct load *l, const uint64_t *offset, const uint64_t *earlier,
                         const uint32_t *line, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (!earlier[i])
            continue;
        if (l->ndoubles < FM_COUNT(l->doubles))
            l->doubles[l->ndoubles] = (struct double_key){earlier[i], offset[i], line[i], 0};
        l->ndoubles++;
    }
}

/* Through all entries once, FM_DIRECTORY_BATCH keys at a time. */
static bool add_all(struct load *l)
{
    struct fm_directory *d = &l->t->directory;
    uint64_t offset[FM_DIRECTORY_BATCH], earlier[FM_DIRECTORY_BATCH];
    uint32_t line[FM_DIRECTORY_BATCH], number = 0;
    unsigned n = 0;
    for (uint64_t at = FM_DIRECTORY_FIRST; at < l->bytes;) {
        struct fm_directory_entry e = fm_directory_entry_at(l->entry, at);
        number++;
        if (e.key.n) {
            offset[n] = at;
            line[n++] = number;
        }
        at = e.next;
        if (n < FM_DIRECTORY_BATCH && at < l->bytes)
            continue;
        if (!fm_directory_add(d, offset, n, earlier))
            note_doubles(l, offset, earlier, line, n);
        n = 0;
        fm_homes_turn_over(&l->turn);
        if (number % 65536 < FM_DIRECTORY_BATCH && stopped(l))
            return false;
    }
    FM_ASSERT(number == l->lines);
    return true;
}

static int by_earlier(const void *x, const void *y)
{
    const struct double_key *a = x, *b = y;
    return a->earlier < b->earlier ? -1 : a->earlier > b->earlier;
}

/* Where the first of each pair stands is not kept: it is counted, when it is asked for. */
static void report_doubles(struct load *l)
{
    size_t n = fm_min_size(l->ndoubles, FM_COUNT(l->doubles)), next = 0;
    uint32_t number = 0;
    qsort(l->doubles, n, sizeof l->doubles[0], by_earlier);
    for (uint64_t at = FM_DIRECTORY_FIRST; at < l->bytes && next < n;) {
        if (++number % LINES_AT_ONCE == 0)
            fm_homes_turn_over(&l->turn);
        while (next < n && l->doubles[next].earlier == at)
            l->doubles[next++].earlier_line = number;
        at = fm_directory_entry_at(l->entry, at).next;
    }
    FM_ASSERT(next == n);
    for (size_t i = 0; i < n; i++) {
        const struct double_key *k = &l->doubles[i];
        fm_report_error(l->report, (struct fm_conf_pos){l->spec->path, k->line, 1},
                        "the key `%s` is on line %u already",
                        FM_Q(fm_directory_entry_at(l->entry, k->offset).key), k->earlier_line);
    }
    l->report->errors += l->ndoubles - n;
}

static bool build(struct load *l)
{
    struct fm_tenants *t = l->t;
    struct fm_hash_key key;
    uint64_t nbuckets = fm_directory_buckets(l->lines);
    fm_tenants_memory_cut(&t->entries, l->bytes);
    if (!fm_tenants_memory_get(&t->slots, nbuckets * FM_CACHELINE))
        return fail(l, "no memory for it", 0);
    fm_rand_bytes(&key, sizeof key);
    fm_directory_init(&t->directory, t->slots.at, nbuckets, l->entry, l->bytes, key);
    if (!add_all(l))
        return false;
    report_doubles(l);
    t->bytes = sizeof *t + t->entries.bytes + t->slots.bytes;
    return errors(l) == 0;
}

/* -------- the whole -------- */

static bool open_file(struct load *l, int *fd)
{
    /* without O_NONBLOCK a named pipe would hold us */
    *fd = open(l->spec->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (*fd < 0)
        return fail(l, "cannot open it", errno);
    if (fstat(*fd, &l->st) != 0)
        return fail(l, "cannot read it", errno);
    if (!S_ISREG(l->st.st_mode))
        return fail(l, S_ISDIR(l->st.st_mode) ? "it is a folder" : "it is not a regular file", 0);
    if ((uint64_t)l->st.st_size > FM_DIRECTORY_BYTES_MAX / 2)
        return fail(l, "it is larger than 32 GiB", 0);
    return true;
}

static bool load(struct load *l, int *fd)
{
    if (!open_file(l, fd))
        return false;
    size_t room = FM_DIRECTORY_FIRST + (size_t)l->st.st_size +
                  (FM_TENANTS_ERRORS_MAX + 1) * (size_t)FM_DIRECTORY_HEAD;
    if (!fm_tenants_memory_get(&l->t->entries, room))
        return fail(l, "no memory for it", 0);
    l->entry = l->t->entries.at;
    l->bytes = FM_DIRECTORY_FIRST;
    bool whole = read_lines(l, *fd);
    /* what was read is searched for doubles also where a line was wrong */
    return (whole || errors(l)) && !stopped(l) && build(l);
}

struct fm_tenants *fm_tenants_load(const struct fm_tenants_spec *spec,
                                   struct fm_conf_report *report)
{
    FM_ASSERT(spec->lines_max > 0 && spec->lines_max <= FM_TENANTS_MAX);
    FM_ASSERT(spec->cells > 0 && spec->cells <= FM_CELLS_MAX);
    struct load *l = calloc(1, sizeof *l);
    struct fm_tenants *t = calloc(1, sizeof *t);
    char *chunk = malloc(CHUNK);
    int fd = -1;
    size_t first = report->n, before = report->errors;
    if (!l || !t || !chunk) {
        fm_report_error(report, (struct fm_conf_pos){spec->path, 0, 0}, "out of memory");
    } else {
        *l = (struct load){
            .spec = spec, .report = report, .errors_before = before, .t = t, .chunk = chunk};
        bool good = load(l, &fd);
        FM_ASSERT(good == (errors(l) == 0));
    }
    if (fd >= 0)
        close(fd);
    free(l);
    free(chunk);
    fm_report_finish(report, first, NULL);
    if (report->errors == before)
        return t;
    fm_tenants_free(t);
    return NULL;
}

void fm_tenants_free(struct fm_tenants *t)
{
    if (!t)
        return;
    fm_tenants_memory_free(&t->entries);
    fm_tenants_memory_free(&t->slots);
    free(t);
}
