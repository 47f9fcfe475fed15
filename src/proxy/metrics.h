/* proxy/metrics.h: the counters of a proxy process, one table for the code, /metrics and the docs.
 */
#ifndef FM_PROXY_METRICS_H
#define FM_PROXY_METRICS_H

#include "base/metrics.h"

#define FM_PROXY_METRICS(X)                                                                        \
    X(connections_accepted, "connections_accepted_total", "Client connections accepted")           \
    X(connections_refused, "connections_refused_total",                                            \
      "Client connections answered with 503 because the limit was reached")                        \
    X(requests, "requests_total", "Requests whose head was well-formed")                           \
    X(requests_malformed, "requests_malformed_total", "Requests refused before they were routed")  \
    X(tries, "tries_total", "Attempts to get an answer, the first of each request included")       \
    X(retries, "retries_total", "Attempts after the first that were no hedges")                    \
    X(hedges, "hedges_total", "Attempts started because the first had not answered yet")           \
    X(hedges_won, "hedges_won_total", "Hedges that answered first")                                \
    X(budget_denied, "retry_budget_denied_total", "Retries or hedges not made for lack of budget") \
    X(regions_left, "regions_left_total",                                                          \
      "Times a worker left a region on its own, before health had spoken")                         \
    X(silences, "silences_total", "Times a region owed answers and was silent")                    \
    X(fail_open, "fail_open_total", "Requests routed while no region was well")                    \
    X(canaries, "canaries_total", "Requests sent as canaries to a region that comes back")         \
    X(bulkhead_full, "bulkhead_full_total", "Attempts not made because of limits.in-flight")       \
    X(deadline_dropped, "deadline_dropped_total",                                                  \
      "Requests dropped because their deadline passed or their sender hung up")                    \
    X(frozen, "frozen_total", "Times the loop was away so long that old requests were not parsed") \
    X(held, "commands_held_total", "Commands that waited at an edge for a region to take them")    \
    X(held_in_vain, "commands_held_in_vain_total",                                                 \
      "Commands that waited until nothing came of it")                                             \
    X(admitted, "commands_admitted_total", "Commands that a gate let begin, under its authority")  \
    X(not_admitted, "commands_not_admitted_total", "Commands that a gate refused for want of it")  \
    X(relayed, "commands_relayed_total",                                                           \
      "Commands sent to another region's gate: by a gate that may not take them, or by an edge "   \
      "that "                                                                                      \
      "hears nothing of their holder's region (relay: true)")                                      \
    X(overrides, "commands_overridden_total",                                                      \
      "Commands taken without authority while their holder was away (when-away: override)")        \
    X(queued, "commands_queued_total",                                                             \
      "Commands kept for later while their holder was away (when-away: queue)")                    \
    X(answers_dropped, "answers_dropped_total",                                                    \
      "Successes not passed on because the authority they came under had ended")                   \
    X(answers_replayed, "answers_replayed_total", "Answers given again from the journal")          \
    X(answers_cut, "answers_cut_total", "Answers that broke off after their head was relayed")     \
    X(tunnels, "tunnels_total", "Connections upgraded to another protocol")                        \
    X(upstream_connects, "upstream_connects_total", "Connections opened to upstreams")             \
    X(upstream_reused, "upstream_reused_total", "Attempts made on a connection that was there")    \
    X(bytes_in, "client_bytes_in_total", "Body bytes received from clients")                       \
    X(bytes_out, "client_bytes_out_total", "Bytes of answers sent to clients")                     \
    X(log_lines_dropped, "access_log_lines_dropped_total",                                         \
      "Access log lines dropped, the writer being behind")

struct fm_proxy_metrics {
#define X(field, name, help) struct fm_counter field;
    FM_PROXY_METRICS(X)
#undef X
};

#endif
