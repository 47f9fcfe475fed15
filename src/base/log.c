/* Structured logs: see the header. A line is formatted on the stack and written whole. */
#include "base/log.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/time.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static _Atomic int least_level = FM_LOG_INFO;

static void write_stderr(void *user, struct fm_str line)
{
    (void)user;
    while (line.n) {
        ssize_t n = write(STDERR_FILENO, line.p, line.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nobody to tell */
        line.p += n;
        line.n -= (size_t)n;
    }
}

/* Set before the threads start, so a plain pair is enough. */
static void (*writer)(void *user, struct fm_str line) = write_stderr;
static void *writer_user;

void fm_log_set_level(enum fm_log_level least)
{
    FM_ASSERT(least <= FM_LOG_OFF);
    atomic_store_explicit(&least_level, (int)least, memory_order_relaxed);
}

bool fm_log_enabled(enum fm_log_level level)
{
    return (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed);
}

void fm_log_set_writer(void (*write)(void *user, struct fm_str line), void *user)
{
    writer = write ? write : write_stderr;
    writer_user = user;
}

static void add_field(struct fm_buf *b, const struct fm_log_field *f)
{
    FM_ASSERT(f->key && f->key[0]);
    fm_buf_lit(b, ",\"");
    fm_buf_str_add(b, fm_str_z(f->key));
    fm_buf_lit(b, "\":");
    switch (f->kind) {
    case FM_LOG_STR:
        if (f->s.p)
            fm_buf_json(b, f->s);
        else
            fm_buf_lit(b, "null");
        break;
    case FM_LOG_U64:
        fm_buf_u64(b, (uint64_t)f->i);
        break;
    case FM_LOG_I64:
        fm_buf_i64(b, f->i);
        break;
    case FM_LOG_BOOL:
        fm_buf_str_add(b, f->i ? FM_STR("true") : FM_STR("false"));
        break;
    case FM_LOG_MS:
        fm_buf_printf(b, "%s%lld.%03lld", f->i < 0 ? "-" : "", llabs(f->i / FM_NS_PER_MS),
                      llabs(f->i / FM_NS_PER_US % 1000));
        break;
    }
}

void fm_log_emit(enum fm_log_level level, const char *event, const struct fm_log_field *f, size_t n)
{
    static const char *const name[] = {"debug", "info", "warn", "error", "off"};
    FM_ASSERT((size_t)level < FM_COUNT(name) && event && (f || n == 0));
    char line[FM_LOG_LINE_MAX];
    static const size_t tail = sizeof ",\"cut\":true}\n";
    struct fm_buf b = fm_buf(line, sizeof line - tail);
    char when[FM_RFC3339_LEN];
    fm_wall_format(when, fm_wall_now_ns());
    fm_buf_printf(&b, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", when, name[level],
                  event);
    FM_ASSERT(!b.full); /* an event is a short word */
    bool cut = false;
    for (size_t i = 0; i < n; i++) {
        size_t mark = b.n;
        add_field(&b, &f[i]);
        if (b.full) {
            b.n = mark;
            b.full = false;
            cut = true;
        }
    }
    b.cap = sizeof line;
    if (cut)
        fm_buf_lit(&b, ",\"cut\":true");
    fm_buf_lit(&b, "}\n");
    FM_ASSERT(!b.full && writer);
    writer(writer_user, fm_buf_str(&b));
}
