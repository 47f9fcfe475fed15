/* cli/cli.h: the operator's command: one table of commands, one of options, help made from both.
 *
 * Results go to stdout, everything else to stderr. Exit codes are those of docs/reference/cli.md.
 */
#ifndef FM_CLI_CLI_H
#define FM_CLI_CLI_H

#include "base/err.h"
#include "base/str.h"

#include <jansson.h>

enum fm_exit {
    FM_EXIT_OK = 0,
    FM_EXIT_FAILED = 1,
    FM_EXIT_DIFFERS = 2, /* ran, and the answer is no */
    FM_EXIT_REFUSED = 3,
    FM_EXIT_RUNNING = 4, /* accepted, and not over yet */
    FM_EXIT_PARTIAL = 5, /* journaled, can be resumed */
    FM_EXIT_USAGE = 64,
    FM_EXIT_UNREACHABLE = 69,
    FM_EXIT_BUG = 70,
    FM_EXIT_NO_QUORUM = 75, /* somebody is there, and cannot agree now */
    FM_EXIT_NOT_ALLOWED = 77,
    FM_EXIT_CONFIG = 78,
};

enum fm_output { FM_OUTPUT_TABLE, FM_OUTPUT_JSON, FM_OUTPUT_JSON_LINES, FM_OUTPUT_YAML };

enum { FM_ARGS_MAX = 64 };

struct fm_args {
    const char *config;      /* -c, FULMAR_CONFIG or /etc/fulmar/fulmar.yaml */
    const char *config_said; /* -c; NULL = it was not */
    const char *host, *region, *server, *scenario, *color_text, *output_text, *timeout_text;
    const char *rate_text, *regions_text, *limit_text;
    const char *file, *state;
    const char *cert, *key; /* who asks, where that is not this host */
    /* of what changes something */
    const char *reason, *to, *cells, *quote, *confirm, *attest, *message, *override, *context;
    const char *percent_text, *expect_text, *for_text, *since_text;
    enum fm_output output;
    bool color; /* decided from --color, NO_COLOR and the terminal */
    bool watch, keep, no_input, help, version, check, authority;
    bool dry_run, prepare, complete, stand_down, follow;
    int64_t timeout_ms, for_ms, since_ms; /* 0 = not said, but for timeout_ms */
    unsigned rate, regions, limit, percent;
    uint64_t expect; /* where expect_text */
    const char *arg[FM_ARGS_MAX];
    int nargs;
};

#define FM_OPTIONS(X)                                                                              \
    X(CONFIG, "config", 'c', "FILE", config,                                                       \
      "the configuration (else $FULMAR_CONFIG, else "                                              \
      "/etc/fulmar/fulmar.yaml)")                                                                  \
    X(HOST, "host", 0, "NAME", host, "which host this is (default: this machine's name)")          \
    X(REGION, "region", 0, "REGION", region, "the region of a host that is not listed")            \
    X(SERVER, "server", 0, "HOST", server,                                                         \
      "whom to ask: a host of the configuration, or "                                              \
      "ADDRESS:PORT (default: the local socket)")                                                  \
    X(OUTPUT, "output", 'o', "FORMAT", output_text, "table, json or yaml")                         \
    X(COLOR, "color", 0, "WHEN", color_text, "auto, always or never")                              \
    X(TIMEOUT, "timeout", 0, "TIME", timeout_text, "give up after this time, such as 5s")          \
    X(CERT, "cert", 0, "FILE", cert, "your certificate, instead of this host's")                   \
    X(KEY, "key", 0, "FILE", key, "its key")                                                       \
    X(REASON, "reason", 0, "TEXT", reason, "why: it is written down with what is done")            \
    X(CONTEXT, "context", 0, "CONTEXT", context, "of this context alone")                          \
    X(TO, "to", 0, "REGION", to, "the region that takes over")                                     \
    X(CELLS, "cells", 0, "LIST", cells, "only these cells, such as 3,7,10-15")                     \
    X(PERCENT, "percent", 0, "P", percent_text, "only this share, of the cells or of the traffic") \
    X(ACCEPT_LOSS, "accept-loss", 0, "QUOTE", quote, "accept the loss of this quote")              \
    X(CONFIRM, "confirm", 0, "NAME", confirm, "the name of what this is about, once more")         \
    X(ATTEST, "attest-fence", 0, "REGION", attest,                                                 \
      "you have seen to it that nothing there writes any more")                                    \
    X(PREPARE, "prepare", 0, NULL, prepare, "start and check the standby, no more")                \
    X(COMPLETE, "complete", 0, NULL, complete, "take over what was prepared")                      \
    X(STAND_DOWN, "stand-down", 0, NULL, stand_down, "undo what was prepared")                     \
    X(MESSAGE, "message", 0, "TEXT", message, "what clients are told meanwhile")                   \
    X(FOR, "for", 0, "TIME", for_text, "end by itself after this time, such as 30m or 1h")         \
    X(OVERRIDE, "override", 0, "RULE", override,                                                   \
      "go on in spite of a guard that allows it (several: RULE,RULE); written down")               \
    X(EXPECT, "expect-generation", 0, "N", expect_text, "only if the view is still that")          \
    X(DRY_RUN, "dry-run", 0, NULL, dry_run, "print the plan, and change nothing")                  \
    X(SINCE, "since", 0, "TIME", since_text, "only what happened within this time, such as 1h")    \
    X(FOLLOW, "follow", 'f', NULL, follow, "go on as more comes")                                  \
    X(SCENARIO, "scenario", 0, "NAME", scenario, "one of those above, or all")                     \
    X(RATE, "rate", 0, "N", rate_text, "requests per second (default 2000)")                       \
    X(REGIONS, "regions", 0, "N", regions_text, "how many regions, 2 to 8 (default 2)")            \
    X(FILE, "file", 0, "PATH", file, "a journal, instead of this host's")                          \
    X(STATE, "state", 0, "STATE", state, "only those: queued, in-flight, unknown or done")         \
    X(LIMIT, "limit", 0, "N", limit_text, "only the newest N (default 50)")                        \
    X(WATCH, "watch", 0, NULL, watch, "show it again every second")                                \
    X(CHECK, "check", 0, NULL, check, "exit 2 unless everything is well")                          \
    X(KEEP, "keep", 0, NULL, keep, "stay up afterwards, for you to play")                          \
    X(AUTHORITY, "authority", 0, NULL, authority, "the authority, not the hosts")                  \
    X(NO_INPUT, "no-input", 0, NULL, no_input, "never ask")                                        \
    X(VERSION, "version", 0, NULL, version, "print the version")                                   \
    X(HELP, "help", 'h', NULL, help, "explain the command")

enum fm_option_id {
#define X(id, name, letter, arg, field, help) FM_OPT_##id,
    FM_OPTIONS(X)
#undef X
        FM_OPT_COUNT
};

#define FM_OPT_BIT(id) (UINT64_C(1) << FM_OPT_##id)

struct fm_command {
    const char *name;    /* "config check": one or two words */
    const char *args;    /* "[FILE]" */
    const char *summary; /* one line */
    const char *details; /* paragraphs for --help */
    const char *example;
    uint64_t options; /* bits of FM_OPT_BIT, besides --help and --version */
    int args_max;
    int (*run)(const struct fm_args *a);
};

extern const struct fm_command fm_commands[]; /* ends with a NULL name */

int fm_cli_main(int argc, char **argv);

/* -------- for commands -------- */

int fm_usage(const char *fmt, ...) FM_PRINTF(1, 2);
/* Print a JSON document as the user asked for: JSON, one line of it (--watch), or YAML. */
void fm_print_document(const json_t *doc, enum fm_output o);
/* What went wrong and what helps: to stderr for people and, where a document was asked for, as one
 * to stdout. Returns `code`. */
int fm_print_error(const struct fm_args *a, const char *command, int code, const char *what,
                   const char *remedy);

struct fm_conf;
/* --host, or the name of this machine as the configuration knows it: whole, or up to its dot. */
void fm_cli_this_host(const struct fm_conf *c, const struct fm_args *a, char *out, size_t n);

/* Who asks, as this machine knows it; agents add what they know themselves. */
void fm_cli_who(char *out, size_t n);

int fm_cmd_edge(const struct fm_args *a);
int fm_cmd_agent(const struct fm_args *a);
int fm_cmd_guard(const struct fm_args *a);
int fm_cmd_config_check(const struct fm_args *a);
int fm_cmd_config_schema(const struct fm_args *a);
int fm_cmd_config_reference(const struct fm_args *a);
int fm_cmd_config_diff(const struct fm_args *a);
int fm_cmd_config_apply(const struct fm_args *a);
int fm_cmd_coordination_status(const struct fm_args *a);
int fm_cmd_coordination_reseed(const struct fm_args *a);
int fm_cmd_certs_init(const struct fm_args *a);
int fm_cmd_certs_add(const struct fm_args *a);
int fm_cmd_certs_rotate(const struct fm_args *a);
int fm_cmd_status(const struct fm_args *a);
int fm_cmd_demo(const struct fm_args *a);
int fm_cmd_journal_list(const struct fm_args *a);
int fm_cmd_journal_show(const struct fm_args *a);
int fm_cmd_lease_run(const struct fm_args *a);
int fm_cmd_move(const struct fm_args *a);
int fm_cmd_failback(const struct fm_args *a);
int fm_cmd_evacuate(const struct fm_args *a);
int fm_cmd_drain(const struct fm_args *a);
int fm_cmd_undrain(const struct fm_args *a);
int fm_cmd_quote(const struct fm_args *a);
int fm_cmd_failover(const struct fm_args *a);
int fm_cmd_read_only(const struct fm_args *a);
int fm_cmd_automatic_pause(const struct fm_args *a);
int fm_cmd_automatic_resume(const struct fm_args *a);
int fm_cmd_op_list(const struct fm_args *a);
int fm_cmd_op_show(const struct fm_args *a);
int fm_cmd_op_wait(const struct fm_args *a);
int fm_cmd_op_abort(const struct fm_args *a);
int fm_cmd_group_create(const struct fm_args *a);
int fm_cmd_group_add(const struct fm_args *a);
int fm_cmd_group_remove(const struct fm_args *a);
int fm_cmd_group_reinit(const struct fm_args *a);
int fm_cmd_group_maintain(const struct fm_args *a);
int fm_cmd_group_status(const struct fm_args *a);
int fm_cmd_loss_list(const struct fm_args *a);
int fm_cmd_loss_show(const struct fm_args *a);
int fm_cmd_loss_write_off(const struct fm_args *a);
int fm_cmd_events(const struct fm_args *a);
int fm_cmd_why(const struct fm_args *a);
int fm_cmd_help(const struct fm_args *a);
int fm_cmd_version(const struct fm_args *a);

#endif
