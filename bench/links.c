/* bench-links: the ways between the places of a bench, each through Fulmar's own fault proxy
 * (io/fault.h), in a process of its own so that peers can use them as well.
 *
 * Obeys lines of its standard input, and answers each with a line, "ok" or "error: ...", when it
 * has happened:
 *   open NAME LISTEN TARGET     addresses with a port; NAMEs are the caller's
 *   cut NAME, heal NAME         both ways of its connections
 *   delay NAME MS               each way
 * It ends with its input. What it does not do: know which way belongs to which place. */
#include "base/assert.h"
#include "base/str.h"
#include "io/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LINKS_MAX = 64, NAME_MAX_BYTES = 48, LINE_MAX_BYTES = 256, WORDS_MAX = 4 };
/* A connection has FM_FAULT_QUEUE_MAX blocks on its way in a direction: with 20 ms that is 50 MB/s.
 */
enum { BLOCK = 128 * 1024, BLOCKS_MAX = 1024, DELAY_MAX_MS = 10000 };

struct link {
    char name[NAME_MAX_BYTES];
    struct fm_fault fault;
    struct fm_fault_rule rule;
};

struct links {
    struct fm_pool pool;
    struct fm_loop loop;
    struct fm_watch input;
    size_t n, have;
    struct link link[LINKS_MAX];
    char line[LINE_MAX_BYTES];
};

static struct links links;

static struct link *find(const char *name)
{
    for (size_t i = 0; i < links.n; i++)
        if (strcmp(links.link[i].name, name) == 0)
            return &links.link[i];
    return NULL;
}

static enum fm_err open_link(char *const *word, struct fm_error *e)
{
    if (links.n == LINKS_MAX || strlen(word[1]) >= NAME_MAX_BYTES || find(word[1]))
        return fm_error_set(e, FM_ERR_LIMIT, "no room for %s, or it is open", word[1]);
    struct link *k = &links.link[links.n];
    *k = (struct link){0};
    memcpy(k->name, word[1], strlen(word[1]));
    struct fm_addr at, to;
    enum fm_err err = fm_addr_parse(&at, fm_str_z(word[2]));
    if (!err)
        err = fm_addr_parse(&to, fm_str_z(word[3]));
    if (err)
        return fm_error_set(e, err, "%s: addresses with ports are wanted", word[1]);
    err = fm_fault_open(&k->fault, &links.loop, &at, &to, links.n, e);
    if (!err)
        links.n++;
    return err;
}

static enum fm_err change_link(char *const *word, size_t words, struct fm_error *e)
{
    struct link *k = find(word[1]);
    if (!k)
        return fm_error_set(e, FM_ERR_NOT_FOUND, "there is no %s", word[1]);
    uint64_t ms = 0;
    if (strcmp(word[0], "cut") == 0 && words == 2)
        k->rule.cut = true;
    else if (strcmp(word[0], "heal") == 0 && words == 2)
        k->rule.cut = false;
    else if (strcmp(word[0], "delay") == 0 && words == 3 && fm_str_u64(fm_str_z(word[2]), &ms) &&
             ms <= DELAY_MAX_MS)
        k->rule.delay_ms = (int32_t)ms;
    else
        return fm_error_set(e, FM_ERR_INVALID, "'%s' is no order, or lacks something", word[0]);
    for (int way = 0; way < FM_FAULT_WAYS; way++)
        fm_fault_set(&k->fault, (enum fm_fault_way)way, &k->rule);
    return FM_ERR_OK;
}

static void obey(char *line)
{
    char *word[WORDS_MAX + 1] = {0}, *rest = NULL;
    size_t n = 0;
    for (char *w = strtok_r(line, " ", &rest); w && n <= WORDS_MAX; w = strtok_r(NULL, " ", &rest))
        word[n++] = w;
    struct fm_error e = {0};
    enum fm_err err;
    if (n == WORDS_MAX && strcmp(word[0], "open") == 0)
        err = open_link(word, &e);
    else if (n == 2 || n == 3)
        err = change_link(word, n, &e);
    else
        err = fm_error_set(&e, FM_ERR_INVALID, "an order has two to four words");
    if (err)
        printf("error: %s\n", e.msg);
    else
        puts("ok");
    fflush(stdout);
}

static void input_ready(struct fm_watch *w, uint32_t events)
{
    (void)events;
    ssize_t n = read(w->fd, links.line + links.have, sizeof links.line - links.have - 1);
    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0) {
        fm_loop_stop(&links.loop);
        return;
    }
    links.have += (size_t)n;
    FM_ASSERT(links.have < sizeof links.line);
    char *end;
    while ((end = memchr(links.line, '\n', links.have))) {
        size_t used = (size_t)(end - links.line) + 1;
        *end = 0;
        obey(links.line);
        memmove(links.line, links.line + used, links.have - used);
        links.have -= used;
    }
    if (links.have == sizeof links.line - 1)
        fm_loop_stop(&links.loop); /* no order is so long */
}

int main(void)
{
    struct fm_error e = {0};
    links.input.ready = input_ready;
    fm_pool_init(&links.pool, BLOCK, BLOCKS_MAX);
    signal(SIGPIPE, SIG_IGN);
    if (fm_loop_init(&links.loop, &links.pool, &e) ||
        fm_loop_watch(&links.loop, &links.input, STDIN_FILENO, EPOLLIN, &e)) {
        fprintf(stderr, "bench-links: %s\n", e.msg);
        return 1;
    }
    fm_loop_run(&links.loop);
    for (size_t i = 0; i < links.n; i++)
        fm_fault_close(&links.link[i].fault);
    fm_loop_unwatch(&links.loop, &links.input);
    fm_loop_turn(&links.loop, 0); /* buries the connections */
    fm_loop_deinit(&links.loop);
    fm_pool_deinit(&links.pool);
    return 0;
}
