/* tests/unit/http/serve.h: an HTTP server on a loop with a handler that writes down what it is
 * told, and one client. The handler's first word is the path: /ok, /none (204), /same (304), /big,
 * /abort, /echo, and /hold, where the test does it by hand. One server a program. */
#ifndef FM_TESTS_UNIT_HTTP_SERVE_H
#define FM_TESTS_UNIT_HTTP_SERVE_H

#include "net.h"

#include "http/server.h"

enum {
    SERVE_BLOCK = 16 * 1024,
    SERVE_BLOCKS = 8,
    SERVE_BIG = 1 << 20,
    SERVE_HEADER_MS = 1000,
    SERVE_IDLE_MS = 20 * 1000
};

#define HOST "Host: a.example\r\n"

extern struct net net;
extern struct fm_http_server server;
extern struct fm_listener listener;
extern struct peer p;   /* the client */
extern bool over_limit; /* what is accepted now */

/* What the handler was told. */
struct app {
    struct fm_http_conn *conn;
    unsigned requests, bodies, sents, faileds, refuseds, closed;
    unsigned failed_status, refused_status;
    const char *failed_why;
    bool has_body, last, inside;
    int64_t head_age_ns;
    struct fm_str piece; /* in hand */
    size_t body_n;
    char body[SERVE_BIG];
};

extern struct app app;

int serve_setup(void **state);
/* With the kernel's receive times. */
int serve_setup_stamps(void **state);
int serve_teardown(void **state);

#define with_server(fn) fm_test_with(fn, serve_setup, serve_teardown)
#define with_stamps(fn) fm_test_with(fn, serve_setup_stamps, serve_teardown)

/* -------- for the handler's side -------- */

void serve_answer(unsigned status, const char *text);
/* For the next piece of the body. */
void serve_ask(void);
void serve_send(const char *text);
/* Let the client say `text`, and wait for the request, which is for /hold. */
void serve_hold(const char *text);

/* -------- for the client's side -------- */

struct reply {
    struct fm_http_head head;
    struct fm_http_field field[32];
    size_t size; /* with the body */
    struct fm_str body;
};

extern struct reply reply;

/* The first answer in what the client has, if it is whole. */
bool has_reply(enum fm_http_method method);
/* Wait for an answer of this status, and drop it; `body` NULL is any. */
void expect(unsigned status, const char *body);
bool says_close(void);
/* Nothing more, and a proper end of stream (no reset). */
void expect_end(void);
/* An answer of the server's own, and the end. */
void expect_problem(unsigned status);

#endif
