/* The access log: one JSON line a request (or a sample of them), gathered per worker and handed to
 * the writing thread in large pieces. The query of a target is never logged: it may hold secrets.
 */
#include "proxy/request.h"

#include "base/assert.h"

enum { LINE_MAX_BYTES = 1024 };

void fm_access_flush(struct fm_worker *w)
{
    FM_ASSERT(w->access_n <= FM_ACCESS_BUFFER);
    if (w->access_n == 0)
        return;
    FM_ASSERT(w->config.access_log);
    if (!fm_sink_write(w->config.access_log, fm_str(w->access_buf, w->access_n)))
        fm_counter_inc(&w->metrics.log_lines_dropped);
    w->access_n = 0;
}

static void count(struct fm_request *rq, int64_t ns)
{
    struct fm_worker *w = rq->w;
    const struct fm_board *b = rq->vr->view->board;
    fm_counter_add(&w->metrics.bytes_out, rq->bytes_out);
    if (!rq->route)
        return;
    struct fm_board_context_stats *s = &b->context[w->config.index * b->ncontexts + rq->context];
    FM_ASSERT(rq->context < b->ncontexts && w->config.index < b->nworkers);
    unsigned cls = rq->status / 100u;
    fm_counter_inc(&s->status[cls < FM_COUNT(s->status) ? cls : 0]);
    fm_counter_inc(rq->command ? &s->commands : &s->queries);
    fm_hist_add(&s->latency_us, (uint64_t)(ns > 0 ? ns / FM_NS_PER_US : 0));
}

static void key(struct fm_buf *b, const char *name)
{
    fm_buf_lit(b, ",\"");
    fm_buf_str_add(b, fm_str_z(name));
    fm_buf_lit(b, "\":");
}

static void write_line(struct fm_request *rq, int64_t ns, struct fm_buf *b)
{
    const struct fm_view *v = rq->vr->view;
    FM_ASSERT(rq->answered_region <= v->nregions);
    char when[FM_RFC3339_LEN];
    fm_wall_format(when, fm_wall_now_ns());
    fm_buf_printf(b, "{\"time\":\"%s\",\"ref\":\"%.*s\",\"client\":", when, FM_REF_LEN, rq->ref);
    fm_buf_json(b, fm_str(rq->conn->peer_ip, rq->conn->peer_ip_n));
    key(b, "method");
    fm_buf_json(b, fm_str(rq->log_method, rq->log_method_n));
    key(b, "path");
    fm_buf_json(b, fm_str(rq->log_path, rq->log_path_n));
    if (rq->route) {
        key(b, "context");
        fm_buf_json(b, v->contexts[rq->context].name);
        key(b, "route");
        fm_buf_json(b, rq->route->path);
    }
    key(b, "region");
    if (rq->answered_region)
        fm_buf_json(b, v->regions[rq->answered_region - 1].name);
    else
        fm_buf_lit(b, "null");
    key(b, "status");
    if (rq->status)
        fm_buf_u64(b, rq->status);
    else
        fm_buf_lit(b, "null"); /* none was sent */
    if (rq->client_gone) {
        key(b, "client_gone");
        fm_buf_lit(b, "true");
    }
    if (rq->problem) {
        key(b, "problem");
        fm_buf_json(b, fm_problem_info(rq->problem)->name);
    }
    key(b, "tries");
    fm_buf_u64(b, rq->tries);
    key(b, "bytes_out");
    fm_buf_u64(b, rq->bytes_out);
    fm_buf_printf(b, ",\"duration_ms\":%lld.%03lld,\"trace\":\"%.32s\"}\n",
                  (long long)(ns / FM_NS_PER_MS), (long long)(ns / FM_NS_PER_US % 1000),
                  rq->log_trace);
}

void fm_access_log(struct fm_request *rq)
{
    struct fm_worker *w = rq->w;
    int64_t ns = fm_mono_sub_ns(fm_loop_now(&w->loop), rq->start);
    count(rq, ns);
    if (!rq->log || !w->access_buf)
        return;
    if (w->access_n + LINE_MAX_BYTES > FM_ACCESS_BUFFER)
        fm_access_flush(w);
    struct fm_buf b = fm_buf(w->access_buf + w->access_n, FM_ACCESS_BUFFER - w->access_n);
    write_line(rq, ns, &b);
    if (b.full)
        fm_counter_inc(&w->metrics.log_lines_dropped);
    else
        w->access_n += b.n;
}
