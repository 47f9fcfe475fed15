/* proxy/director.h: the control side of a proxy process: it owns the workers, makes the views they
 * route by, steps the health machines and publishes what they say. The edge and the gate both use
 * it.
 *
 * Everything here runs on one control loop, on the thread that called fm_director_init. */
#ifndef FM_PROXY_DIRECTOR_H
#define FM_PROXY_DIRECTOR_H

#include "proxy/names.h"
#include "proxy/view_doc.h"
#include "proxy/worker.h"

enum { FM_EVENTS_MAX = 256, FM_EVENT_TEXT_MAX = 120 };

/* One transition, for `status`, `events` and the log. */
struct fm_event {
    uint64_t number; /* from 1 */
    int64_t wall_ns, boot_ns;
    char region[64], context[64];
    uint8_t from, to, why;
    char text[FM_EVENT_TEXT_MAX]; /* the evidence */
};

struct fm_director_config {
    enum fm_proxy_mode mode;
    unsigned self;         /* region of a gate */
    const char *self_host; /* its name; lives as long as the director */
    unsigned nworkers;
    struct fm_sink *access_log;
    uint32_t access_sample_ppm;
    struct fm_peers peers;         /* the caller's; shared where it is passed in */
    struct fm_journal *journal;    /* of a gate; the caller's, closed after fm_director_join */
    const _Atomic bool *caught_up; /* as that of struct fm_worker_config */
};

struct fm_director {
    struct fm_director_config config;
    struct fm_loop *loop;
    struct fm_mailbox *mailbox;
    struct fm_resolver *resolver;
    struct fm_names names;
    struct fm_seats *seats;   /* of all contexts with cells, for as long as the process lives */
    struct fm_groups *groups; /* of a gate, from its start; else NULL */
    struct fm_keyfiles *keyfiles;
    struct fm_board *board;
    struct fm_view *view;
    struct fm_view_doc *asked; /* intents only; NULL: nothing is known of them */
    uint64_t generation;
    struct fm_health_policy policy;
    struct fm_health *health;            /* [region][context] */
    struct fm_board_sum *seen;           /* what was fed of the counters */
    char (*evidence)[FM_EVENT_TEXT_MAX]; /* of the last probe, per (region, context) */
    bool *all_down;                      /* per context */
    struct fm_worker *workers;
    unsigned nworkers, nrunning, nended;
    _Atomic uint32_t connections;
    struct fm_timer poll;
    struct fm_rand rand;
    struct fm_event event[FM_EVENTS_MAX];
    uint64_t nevents;
    struct fm_mono started;
    int64_t started_wall_ns;
    bool names_known; /* every name was answered once, or the first patience is over */
    struct fm_timer patience;
    /* Optional: told after each transition, and when the last worker has ended after a drain. */
    void (*transition)(struct fm_director *d, const struct fm_event *e);
    void (*ended)(struct fm_director *d);
    void (*view_changed)(struct fm_director *d); /* other addresses, the same configuration */
    /* Workers met what the seats do not know: an epoch that is higher (fm_seats_heard), or a gate
     * that does not hold what the view says. Somebody should ask. */
    void (*authority_wanted)(struct fm_director *d);
    void *user;
};

/* Takes over conf (also on failure). Listeners are opened on every worker; threads do not run yet.
 */
enum fm_err fm_director_init(struct fm_director *d, struct fm_loop *l, struct fm_mailbox *m,
                             struct fm_resolver *resolver, struct fm_conf *conf,
                             const struct fm_director_config *c, struct fm_error *e) FM_WARN_UNUSED;
enum fm_err fm_director_listen(struct fm_director *d, const struct fm_addr *at,
                               struct fm_error *e) FM_WARN_UNUSED;
enum fm_err fm_director_start(struct fm_director *d, struct fm_error *e) FM_WARN_UNUSED;

/* Swap the configuration under the running workers. Takes over conf (also on failure, which leaves
 * everything as it was). */
enum fm_err fm_director_reload(struct fm_director *d, struct fm_conf *conf,
                               const struct fm_director_config *c,
                               struct fm_error *e) FM_WARN_UNUSED;

/* The generation of the oldest view that some worker routes new requests by. */
uint64_t fm_director_in_use(const struct fm_director *d);

/* At a gate: is every new request judged by a file that has `host` as a gate of this region? */
bool fm_director_knows_gate(const struct fm_director *d, struct fm_str host);

/* Something was published in the seats: requests that wait for it look again. */
void fm_director_authority_changed(struct fm_director *d);

/* What operators asked of regions, gates and instances, from now on: an edge obeys all of it, a
 * gate what is asked of instances. A view that does not speak of it changes nothing. */
void fm_director_take_intents(struct fm_director *d, const struct fm_view_doc *doc);
/* The same once more, for a view that was made anew. */
void fm_director_obey(struct fm_director *d);

/* A probe of `region` for `context` has ended. `detail` is kept as evidence. */
void fm_director_probe(struct fm_director *d, unsigned region, unsigned context, bool ok,
                       struct fm_str detail);
/* Nothing in the region accepts connections. */
void fm_director_nobody(struct fm_director *d, unsigned region, unsigned context);
/* Is there an endpoint for this context that is not drained, nor down by its probes? */
bool fm_director_has_instance(const struct fm_director *d, unsigned region, unsigned context);
/* The instance of this address in the configuration: is any endpoint of it not down by its probes?
 * False also where none is known. */
bool fm_director_reaches(const struct fm_director *d, unsigned region, unsigned pool,
                         struct fm_str address);
/* A probe of one endpoint has ended. */
void fm_director_endpoint(struct fm_director *d, unsigned endpoint, bool ok);
/* When to probe this region for this context again. */
int64_t fm_director_probe_in_ms(struct fm_director *d, unsigned region, unsigned context);

void fm_director_drain(struct fm_director *d, int64_t finish_ms);
/* Waits for the threads, which end by themselves once drained. */
void fm_director_join(struct fm_director *d);
/* After the resolver was freed. */
void fm_director_deinit(struct fm_director *d);

static inline struct fm_health *fm_director_health(const struct fm_director *d, unsigned region,
                                                   unsigned context)
{
    FM_ASSERT(region < d->board->nregions && context < d->board->ncontexts);
    return &d->health[region * d->board->ncontexts + context];
}

#endif
