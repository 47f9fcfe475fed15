/* Orders: see the header. Invariant: what was accepted ends with its number on the terminal or in
 * the document, whatever happens to this command. */
#include "cli/order.h"

#include "base/assert.h"
#include "base/buf.h"
#include "cli/call.h"
#include "cli/hint.h"
#include "cli/op_doc.h"
#include "cli/show.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* How soon it is looked at again, at first and when it takes longer; how long nobody may answer
 * before it is left to itself. */
enum { POLL_LEAST_MS = 20, POLL_MOST_MS = 1000, SILENT_MS = 60000 };
enum { WIDTH = 79, TEXT_MAX = 1024, REASON_MAX = 255 };

struct order {
    const struct fm_args *args;
    const char *command;
    struct fm_agents *agents;
    struct fm_mono began;
    json_t *op; /* as it was seen last */
    char said[WIDTH + 1];
    bool aborts;    /* the command is `op abort` */
    bool given;     /* by this command, which so knows how long it took */
    bool open_line; /* on the terminal, without its end */
};

/* -------- answers that are none -------- */

bool fm_order_yields(struct fm_str rule)
{
    return fm_str_eqz(rule, "holder-healthy") || fm_str_eqz(rule, "capacity") ||
           fm_str_eqz(rule, "last-instance") || fm_str_eqz(rule, "one-gate-a-key");
}

static void print_refusal(const json_t *d)
{
    const char *rule = fm_show_text(d, "rule"), *evidence = fm_show_text(d, "evidence"),
               *remedy = fm_show_text(d, "remedy");
    fm_hint_print(stderr, "refused by the rule `%s`: %s\n", rule, evidence);
    if (remedy[0])
        fm_hint_print(stderr, "  %s\n", remedy);
    if (fm_order_yields(fm_str_z(rule)))
        fprintf(stderr, "  it yields to --override %s, which is written down\n", rule);
}

static bool is_unknown(const char *rule)
{
    return strcmp(rule, "unknown-operation") == 0 || strcmp(rule, "unknown-item") == 0;
}

static int unwanted_code(unsigned status, const char *rule)
{
    switch (status) {
    case 400:
    case 413:
    case 415:
    case 422:
        return FM_EXIT_USAGE;
    case 401:
    case 403:
        return FM_EXIT_NOT_ALLOWED;
    case 404:
    case 405: /* a name that is not known there; or nobody who knows such things at all */
        return is_unknown(rule) ? FM_EXIT_DIFFERS : rule[0] ? FM_EXIT_USAGE : FM_EXIT_UNREACHABLE;
    case 409:
        return FM_EXIT_REFUSED;
    case 503: /* what may have been done is not to be tried again without a look */
        return strcmp(rule, "outcome-unknown") == 0 ? FM_EXIT_UNREACHABLE : FM_EXIT_NO_QUORUM;
    default:
        return FM_EXIT_FAILED;
    }
}

int fm_order_unwanted(const struct fm_args *a, const char *command, const struct fm_reply *r)
{
    FM_ASSERT(r->status >= 200 && r->from);
    bool refusal = strcmp(fm_show_text(r->doc, "schema"), "fulmar.refusal/1") == 0;
    int code = unwanted_code(r->status, refusal ? fm_show_text(r->doc, "rule") : "");
    char what[TEXT_MAX];
    if (refusal) {
        if (a->output != FM_OUTPUT_TABLE)
            fm_print_document(r->doc, a->output);
        fm_show_tame(r->doc);
        print_refusal(r->doc);
        return code;
    }
    fm_show_tame(r->doc);
    const char *why = fm_show_text(r->doc, "detail");
    if (r->status == 403)
        why = "it takes orders by its local socket (--host NAME, where it is on this machine), or "
              "from who shows a certificate (`peer-tls`)";
    if (why[0])
        snprintf(what, sizeof what, "%s says: %s", r->from, why);
    else if (code == FM_EXIT_UNREACHABLE)
        snprintf(what, sizeof what, "%s takes no such question", r->from);
    else
        snprintf(what, sizeof what, "%s answers with status %u", r->from, r->status);
    return fm_print_error(a, command, code, what,
                          code == FM_EXIT_NO_QUORUM
                              ? "nothing was done; try again, or with --server of another region"
                              : NULL);
}

/* -------- progress -------- */

static void clear_line(struct order *o)
{
    if (o->open_line)
        fputs("\r\033[K", stderr);
    o->open_line = false;
}

static void progress(struct order *o)
{
    FM_ASSERT(o->op && !fm_op_doc_is_over(o->op));
    char line[WIDTH + 1], ms[FM_SHOW_NUMBER];
    struct fm_buf b = fm_buf(line, WIDTH);
    bool tty = isatty(STDERR_FILENO);
    fm_op_doc_line(o->op, &b);
    line[b.n] = 0;
    if (!tty && strcmp(line, o->said) == 0)
        return;
    memcpy(o->said, line, sizeof o->said);
    if (!tty) {
        fprintf(stderr, "%s\n", line);
        return;
    }
    int64_t spent = fm_mono_sub_ms(fm_mono_now(), o->began);
    fprintf(stderr, "\r\033[K%s (%s)", line, fm_show_ms(spent, ms));
    o->open_line = true;
}

/* -------- the end of an operation -------- */

static int over(struct order *o)
{
    const struct fm_args *a = o->args;
    FM_ASSERT(fm_op_doc_is_over(o->op));
    int code = fm_op_doc_exit(o->op, o->aborts);
    int64_t took = o->given ? fm_mono_sub_ms(fm_mono_now(), o->began) : -1;
    clear_line(o);
    if (a->output != FM_OUTPUT_TABLE) {
        fm_print_document(o->op, a->output);
        fm_show_tame(o->op);
        if (code)
            fm_op_doc_print_end(stderr, o->op, took);
        return code;
    }
    fm_show_tame(o->op);
    fm_op_doc_print_end(code ? stderr : stdout, o->op, took);
    return code;
}

/* It goes on without us. */
static int detach(struct order *o, const char *why)
{
    FM_ASSERT(fm_op_doc_is_one(o->op) && why[0]);
    const char *id = fm_op_doc_id(o->op);
    clear_line(o);
    fm_hint_print(stderr,
                  "fulmar %s: %s; operation %s is not over\n"
                  "  `fulmar op wait %s` goes on from here, `fulmar op abort %s --reason TEXT` "
                  "stops it\n",
                  o->command, why, id, id, id);
    if (o->args->output != FM_OUTPUT_TABLE)
        fm_print_document(o->op, o->args->output);
    else
        printf("%s\n", id);
    return FM_EXIT_RUNNING;
}

static int64_t left_ms(const struct order *o)
{
    int64_t spent = fm_mono_sub_ms(fm_mono_now(), o->began);
    return o->args->timeout_text ? o->args->timeout_ms - spent : INT64_MAX;
}

/* How it stands now. False: nobody could say. */
static bool look(struct order *o, enum fm_agents_end *end)
{
    char target[FM_OP_DOC_ID_MAX + 16];
    const char *id = fm_op_doc_id(o->op);
    struct fm_reply r = {0};
    snprintf(target, sizeof target, "/ops?id=%s", id);
    *end = fm_agents_get(o->agents, target, 0, &r);
    bool good = *end == FM_AGENTS_ANSWERED && r.status == 200 && fm_op_doc_is_one(r.doc) &&
                strcmp(fm_op_doc_id(r.doc), id) == 0;
    if (good) {
        json_decref(o->op);
        o->op = r.doc;
    } else {
        json_decref(r.doc);
    }
    return good;
}

/* From the first document of it, to the end. */
static int follow(struct order *o)
{
    struct fm_mono heard = fm_mono_now();
    for (;;) {
        enum fm_agents_end end;
        int64_t spent = fm_mono_sub_ms(fm_mono_now(), o->began);
        int64_t pause = fm_clamp_i64(spent / 4, POLL_LEAST_MS, POLL_MOST_MS);
        if (fm_op_doc_is_over(o->op))
            return over(o);
        progress(o);
        if (!fm_call_pause(fm_clamp_i64(left_ms(o), 0, pause)))
            return detach(o, "interrupted");
        if (left_ms(o) <= 0)
            return detach(o, "--timeout has passed");
        if (look(o, &end))
            heard = fm_mono_now();
        else if (fm_mono_sub_ms(fm_mono_now(), heard) > SILENT_MS)
            return detach(o, "nobody has answered for a minute");
    }
}

int fm_order_follow(const struct fm_args *a, const char *command, const char *id)
{
    struct order o = {.args = a, .command = command, .began = fm_mono_now()};
    char target[FM_OP_DOC_ID_MAX + 16];
    struct fm_reply r = {0};
    FM_ASSERT(fm_op_doc_is_id(id));
    int code = fm_agents_open(&o.agents, a, command, FM_WHOM_ORDER);
    if (code)
        return code;
    fm_call_catch();
    snprintf(target, sizeof target, "/ops?id=%s", id);
    enum fm_agents_end end = fm_agents_get(o.agents, target, 0, &r);
    if (end != FM_AGENTS_ANSWERED) {
        code = fm_agents_fail(o.agents, end);
    } else if (r.status == 200 && fm_op_doc_is_one(r.doc)) {
        o.op = json_incref(r.doc);
        code = follow(&o);
    } else if (r.status == 404) {
        code = fm_op_doc_print_unknown(a, command, id);
    } else {
        code = fm_order_unwanted(a, command, &r);
    }
    json_decref(r.doc);
    json_decref(o.op);
    fm_agents_close(o.agents);
    return code;
}

/* -------- giving an order -------- */

int fm_order_check_reason(const struct fm_args *a, const char *command)
{
    if (!a->dry_run && !(a->reason && a->reason[0]))
        return fm_usage("`fulmar %s` changes something: say why, with --reason TEXT", command);
    if (a->reason && strlen(a->reason) > REASON_MAX)
        return fm_usage("--reason takes up to %d bytes", REASON_MAX);
    return FM_EXIT_OK;
}

void fm_order_sign(const struct fm_args *a, json_t *body)
{
    FM_ASSERT(a->dry_run || (a->reason && a->reason[0]));
    char by[256];
    fm_cli_who(by, sizeof by);
    json_object_set_new(body, "by", json_string(by));
    json_object_set_new(body, "reason", json_string(a->reason ? a->reason : "a look at the plan"));
    if (a->dry_run)
        json_object_set_new(body, "dry_run", json_true());
    if (a->expect_text)
        json_object_set_new(body, "expect_generation", json_integer((json_int_t)a->expect));
}

/* Somebody who is alive and takes orders: an order is not sent twice. The first line is his. */
static int find_one(struct order *o)
{
    struct fm_reply r = {0};
    const struct fm_conf *conf = fm_agents_conf(o->agents);
    enum fm_agents_end end = fm_agents_get(o->agents, "/ops", 0, &r);
    int code = FM_EXIT_OK;
    if (end != FM_AGENTS_ANSWERED)
        return fm_agents_fail(o->agents, end);
    if (r.status != 200 || strcmp(fm_show_text(r.doc, "schema"), "fulmar.ops/1") != 0)
        code = fm_order_unwanted(o->args, o->command, &r);
    else if (o->args->output == FM_OUTPUT_TABLE)
        fm_op_doc_print_head(conf ? conf->service.p : NULL, r.doc, r.from);
    (void)fflush(stdout);
    json_decref(r.doc);
    return code;
}

/* What came back, once for all. */
static int answered(struct order *o, struct fm_reply *r)
{
    FM_ASSERT(!o->op && r->status >= 200 && r->from);
    const struct fm_args *a = o->args;
    bool good = r->status == 200 || r->status == 202;
    if (good && strcmp(fm_show_text(r->doc, "schema"), "fulmar.quote/1") == 0)
        return fm_op_doc_print_quote(a, r->doc);
    if (!good || !fm_op_doc_is_one(r->doc))
        return fm_order_unwanted(a, o->command, r);
    if (a->dry_run)
        return fm_op_doc_print_plan(a, r->doc);
    o->op = json_incref(r->doc);
    if (a->output == FM_OUTPUT_TABLE)
        fm_op_doc_print_begin(o->op);
    (void)fflush(stdout);
    return follow(o);
}

static int give(struct order *o, const char *verb, const json_t *body, bool safe)
{
    char target[64];
    struct fm_reply r = {0};
    int code = find_one(o);
    if (code)
        return code;
    snprintf(target, sizeof target, "/ops/%s", verb);
    enum fm_agents_end end = fm_agents_post(o->agents, target, body, safe, &r);
    code = end == FM_AGENTS_ANSWERED ? answered(o, &r) : fm_agents_fail(o->agents, end);
    json_decref(r.doc);
    return code;
}

int fm_order(const struct fm_args *a, const char *command, const char *verb, json_t *body,
             bool safe)
{
    struct order o = {.args = a,
                      .command = command,
                      .began = fm_mono_now(),
                      .given = true,
                      .aborts = strcmp(verb, "abort") == 0};
    int code = FM_EXIT_OK;
    FM_ASSERT(json_is_object(body) && verb[0]);
    if (!safe)
        code = fm_order_check_reason(a, command);
    if (!code)
        code = fm_agents_open(&o.agents, a, command, FM_WHOM_ORDER);
    if (!code) {
        fm_call_catch();
        if (!safe)
            fm_order_sign(a, body);
        code = give(&o, verb, body, safe || a->dry_run);
    }
    json_decref(o.op);
    json_decref(body);
    fm_agents_close(o.agents);
    return code;
}
