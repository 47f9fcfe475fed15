/* tests/unit/agent/gates.h: models of gates, on the loop of the test, for who delivers to them.
 * They write down what they are asked, and do what the script of the test says. */
#ifndef FM_TESTS_UNIT_AGENT_GATES_H
#define FM_TESTS_UNIT_AGENT_GATES_H

#include "net.h"

#include "http/server.h"

enum { GATE_ASKED_MAX = 4096 };

/* One request as a gate saw it. */
struct asked {
    char region[16], key[64], authority[64], queued[128], body[16];
    uint64_t first; /* of queued */
    bool has_deadline;
};

/* What it does with it. */
struct act {
    unsigned status; /* 0: hang up without an answer */
    const char *headers;
    bool hold; /* say nothing until the test does, to gate_held */
};

struct gate {
    const char *region;
    struct fm_http_server server;
    struct fm_listener listener;
    bool open;
    uint16_t port; /* 0: any, when it is opened for the first time */
};

extern struct asked gate_asked[GATE_ASKED_MAX];
extern unsigned gate_nasked;
extern char gate_said[4096]; /* keys in the order in which they came */
extern struct fm_http_conn *gate_held;
extern struct act (*gate_script)(const struct asked *a);

/* Forget what was asked; the script answers 200 to everything. */
void gate_reset(void);
void gate_open(struct gate *g, struct fm_loop *l, const char *region);
/* Nobody listens there; what is open is closed. Fine where it is shut. */
void gate_shut(struct gate *g, struct fm_loop *l);

#endif
