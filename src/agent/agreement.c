/* What a host goes by: see the header. Invariant: the version that is known never gets older, as
 * long as whoever tells of one asks core/agreed.h first; the file on the disk is whole, and at most
 * as old as the write that is on its way. */
#include "agent/agreement.h"

#include "agent/learn.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { WHY_ROOM = 320 };

struct fm_agreement {
    struct fm_agreement_config c;
    char path[PATH_MAX + 32];
    struct fm_agreed known;
    const struct fm_conf *file;
    char *file_text;
    char file_digest[FM_CONF_DIGEST_ROOM], service[64];
    uint64_t used;                         /* the generation that the owner goes by; 0 = none */
    char used_digest[FM_CONF_DIGEST_ROOM]; /* of the configuration that it goes by */
    char trouble[WHY_ROOM];
    char said[2][FM_CONF_DIGEST_ROOM]; /* agreed and file, as the log has it last */
    struct fm_timer soon;
    struct fm_learn learn;
    /* the write at hand: the thread's while it is `writing` */
    struct fm_msg msg;
    pthread_t thread;
    bool writing, again; /* again: what is known is newer than what is being written */
    char *text;
    enum fm_err result;
    struct fm_error why;
};

/* -------- the disk -------- */

static void *write_file(void *arg)
{
    struct fm_agreement *g = arg;
    g->result = fm_file_replace(g->path, fm_str_z(g->text), 0600, &g->why);
    fm_mailbox_post(g->c.mailbox, &g->msg);
    return NULL;
}

static void not_kept(const struct fm_agreement *g, const char *why)
{
    fm_log(FM_LOG_ERROR, "agreed_not_kept", FM_KZ("file", g->path), FM_KZ("why", why),
           FM_KZ("meaning", "a start without coordination would go by an older version"));
}

static void keep(struct fm_agreement *g)
{
    if (g->writing) {
        g->again = true;
        return;
    }
    json_t *j = fm_agreed_json(&g->known, true);
    g->text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(j);
    g->again = false;
    g->writing = g->text && pthread_create(&g->thread, NULL, write_file, g) == 0;
    if (g->writing)
        return;
    not_kept(g, "no memory, or no thread");
    free(g->text);
    g->text = NULL;
}

static void written(struct fm_msg *m, void *user)
{
    (void)user;
    struct fm_agreement *g = fm_container_of(m, struct fm_agreement, msg);
    FM_ASSERT(g->writing && g->text);
    (void)pthread_join(g->thread, NULL);
    g->writing = false;
    free(g->text);
    g->text = NULL;
    if (g->result)
        not_kept(g, g->why.msg);
    if (g->again)
        keep(g);
}

static enum fm_err read_file(struct fm_agreement *g, struct fm_str service, struct fm_error *e)
{
    char *bytes = NULL;
    size_t n = 0;
    const char *why = NULL;
    enum fm_err err = fm_file_read(g->path, FM_AGREED_TEXT_MAX, &bytes, &n, e);
    if (err == FM_ERR_NOT_FOUND)
        return FM_ERR_OK;
    if (!err && !fm_agreed_read(fm_str(bytes, n), &g->known, &why))
        err = fm_error_set(e, FM_ERR_INVALID, "%s", why);
    free(bytes);
    if (err)
        return fm_error_wrap(e, "%s", g->path);
    json_t *j = json_loads(g->known.text, 0, NULL);
    const char *of = json_string_value(json_object_get(j, "service"));
    if (!of || !fm_str_eqz(service, of))
        err = fm_error_set(e, FM_ERR_INVALID, "%s: it is of another service", g->path);
    json_decref(j);
    return err;
}

/* -------- life -------- */

static void say_whether_it_differs(struct fm_agreement *g);

/* Where it says what the owner goes by in any case nothing has to be made anew. */
static void tell(struct fm_timer *t)
{
    struct fm_agreement *g = fm_container_of(t, struct fm_agreement, soon);
    if (strcmp(g->known.mark.digest, g->used_digest) != 0) {
        g->c.changed(g->c.user);
        return;
    }
    g->used = g->known.mark.generation;
    g->trouble[0] = 0;
    say_whether_it_differs(g);
}

static uint64_t known_generation(void *user)
{
    return ((struct fm_agreement *)user)->known.mark.generation;
}

static void learnt(void *user, const struct fm_agreed *a)
{
    struct fm_agreement *g = user;
    if (fm_agreed_next(&g->known.mark, &a->mark, false) == FM_AGREED_TAKE)
        fm_agreement_take(g, a);
}

struct fm_agreement *fm_agreement_open(const struct fm_agreement_config *c, struct fm_str service,
                                       struct fm_error *e)
{
    FM_ASSERT(c->mailbox && c->folder && c->host && c->changed);
    struct fm_agreement *g = calloc(1, sizeof *g);
    if (!g) {
        fm_error_set(e, FM_ERR_MEMORY, "out of memory");
        return NULL;
    }
    g->c = *c;
    snprintf(g->path, sizeof g->path, "%s/" FM_AGREEMENT_FILE, c->folder);
    snprintf(g->service, sizeof g->service, "%.*s", FM_STR_ARG(service));
    g->msg.deliver = written;
    fm_timer_init(&g->soon, tell);
    g->learn = (struct fm_learn){.loop = c->mailbox->loop,
                                 .resolver = c->resolver,
                                 .peers = c->peers,
                                 .host = c->host,
                                 .known = known_generation,
                                 .learnt = learnt,
                                 .user = g};
    fm_learn_begin(&g->learn);
    if (read_file(g, service, e) == FM_ERR_OK)
        return g;
    fm_agreement_stop(g);
    fm_agreement_close(g);
    return NULL;
}

void fm_agreement_stop(struct fm_agreement *g)
{
    if (!g)
        return;
    fm_learn_stop(&g->learn);
    fm_loop_cancel(g->c.mailbox->loop, &g->soon);
}

void fm_agreement_close(struct fm_agreement *g)
{
    if (!g)
        return;
    fm_learn_end(&g->learn);
    while (g->writing) /* what is known last is on the disk before the memory goes */
        fm_loop_turn(g->c.mailbox->loop, FM_NS_PER_MS);
    fm_agreed_free(&g->known);
    free(g->file_text);
    free(g);
}

/* -------- versions -------- */

const struct fm_agreed *fm_agreement_known(const struct fm_agreement *g)
{
    return &g->known;
}

/* Once for each pair: a reload that changes neither says nothing. */
static void say_whether_it_differs(struct fm_agreement *g)
{
    const struct fm_agreed_mark *m = &g->known.mark;
    if (m->generation == 0 || !g->file_text ||
        (strcmp(g->said[0], m->digest) == 0 && strcmp(g->said[1], g->file_digest) == 0))
        return;
    bool differed = strcmp(g->said[0], g->said[1]) != 0;
    memcpy(g->said[0], m->digest, sizeof g->said[0]);
    memcpy(g->said[1], g->file_digest, sizeof g->said[1]);
    if (strcmp(m->digest, g->file_digest) != 0)
        fm_log(FM_LOG_WARN, "config_differs", FM_KU("generation", m->generation),
               FM_KZ("agreed", m->digest), FM_KZ("file", g->file_digest),
               FM_KZ("meaning", "this host goes by what is agreed; `fulmar config diff` says in "
                                "what its file differs"));
    else if (differed)
        fm_log(FM_LOG_INFO, "config_agrees", FM_KU("generation", m->generation),
               FM_KZ("digest", m->digest));
}

void fm_agreement_take(struct fm_agreement *g, const struct fm_agreed *a)
{
    struct fm_agreed news;
    FM_ASSERT(a->mark.generation >= g->known.mark.generation);
    if (!fm_agreed_copy(&news, a)) {
        fm_log(FM_LOG_ERROR, "agreed_not_taken", FM_KZ("why", "out of memory"));
        return;
    }
    fm_agreed_free(&g->known);
    g->known = news;
    fm_log(FM_LOG_WARN, "config_agreed", FM_KU("generation", news.mark.generation),
           FM_KZ("digest", news.mark.digest), FM_KZ("by", news.by), FM_KZ("reason", news.reason));
    keep(g);
    if (!fm_timer_is_set(&g->soon))
        fm_loop_timer(g->c.mailbox->loop, &g->soon, fm_loop_now(g->c.mailbox->loop));
}

/* The first error of a report, with its place. */
static const struct fm_conf_finding *first_error(const struct fm_conf_report *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->finding[i].severity == FM_CONF_ERROR)
            return &r->finding[i];
    return NULL;
}

struct fm_conf *fm_agreement_merge(const struct fm_agreement *g, const struct fm_conf *file,
                                   struct fm_error *e)
{
    bool agreed = g->known.mark.generation && fm_conf_is_shared(file);
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *conf = fm_conf_shared_apply(file, fm_str_z(agreed ? g->known.text : ""), &r);
    const struct fm_conf_finding *f = conf ? NULL : first_error(&r);
    if (!conf)
        fm_error_set(e, FM_ERR_INVALID, "%s:%u: with what is agreed: %s", f ? f->pos.file : "",
                     f ? f->pos.line : 0, f ? f->what : "it is not valid");
    fm_conf_report_deinit(&r);
    return conf;
}

static char *shared_text(const struct fm_conf *c)
{
    char *mem = malloc(FM_CONF_SHARED_MAX + 1);
    struct fm_buf b = fm_buf(mem, mem ? FM_CONF_SHARED_MAX : 0);
    if (!mem || fm_conf_shared_write(c, &b)) {
        free(mem);
        return NULL;
    }
    mem[b.n] = 0;
    return mem;
}

void fm_agreement_file(struct fm_agreement *g, const struct fm_conf *file)
{
    char *text = fm_conf_is_shared(file) ? shared_text(file) : NULL;
    g->file = file;
    free(g->file_text);
    g->file_text = text;
    g->file_digest[0] = 0;
    if (text)
        fm_conf_shared_digest(fm_str_z(text), g->file_digest);
    else if (fm_conf_is_shared(file))
        fm_log(FM_LOG_ERROR, "nothing_agreed",
               FM_KZ("why", "what has to be agreed upon is too long, or there is no memory"));
    say_whether_it_differs(g);
}

/* A host without a controller does not see what coordination has. */
static bool learns(const struct fm_agreement *g, const struct fm_conf *conf)
{
    int self = fm_conf_find_host(conf, fm_str_z(g->c.host));
    bool watches = self >= 0 && conf->hosts[self].roles & (FM_ROLE_CONTROLLER | FM_ROLE_WITNESS);
    return fm_conf_is_shared(conf) && !watches;
}

void fm_agreement_used(struct fm_agreement *g, const struct fm_conf *conf, const char *why)
{
    if (conf) {
        char *text = fm_conf_is_shared(conf) ? shared_text(conf) : NULL;
        g->used = g->known.mark.generation;
        fm_conf_shared_digest(fm_str_z(text ? text : ""), g->used_digest);
        free(text);
        fm_learn_from(&g->learn, learns(g, conf) ? conf : NULL);
    } else if (strcmp(g->trouble, why) != 0)
        fm_log(FM_LOG_ERROR, "config_agreed_not_used",
               FM_KU("generation", g->known.mark.generation), FM_KZ("why", why),
               FM_KZ("meaning", "this agent goes on with what it had before"));
    snprintf(g->trouble, sizeof g->trouble, "%s", conf ? "" : why);
    say_whether_it_differs(g);
}

bool fm_agreement_is_used(const struct fm_agreement *g)
{
    return g->used > 0 && g->used == g->known.mark.generation;
}

const char *fm_agreement_file_text(const struct fm_agreement *g)
{
    return g->file_text ? g->file_text : "";
}

struct fm_conf *fm_agreement_try(const struct fm_agreement *g, const char *text, char *why,
                                 size_t cap)
{
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *c = fm_conf_shared_apply(g->file, fm_str_z(text), &r);
    const struct fm_conf_finding *f = first_error(&r);
    snprintf(why, cap, "%s", f ? f->what : "it is not valid");
    fm_conf_report_deinit(&r);
    char *again = c ? shared_text(c) : NULL;
    bool same = again && strcmp(again, text) == 0;
    free(again);
    if (same)
        return c;
    if (c)
        snprintf(why, cap, "the file of %s has other contexts, or other regions", g->c.host);
    fm_conf_free(c);
    return NULL;
}

/* -------- for people -------- */

json_t *fm_agreement_json(const struct fm_agreement *g)
{
    const struct fm_agreed_mark *m = &g->known.mark;
    if (!g->file_text)
        return json_null();
    return json_pack("{s:o,s:s,s:o,s:o,s:s?}", "agreed",
                     m->generation ? fm_agreed_json(&g->known, false) : json_null(), "file_digest",
                     g->file_digest, "differs",
                     m->generation ? json_boolean(strcmp(m->digest, g->file_digest) != 0)
                                   : json_null(),
                     "used_generation", g->used ? json_integer((json_int_t)g->used) : json_null(),
                     "trouble", g->trouble[0] ? g->trouble : NULL);
}

void fm_agreement_page(const struct fm_agreement *g, const struct fm_page_request *q,
                       struct fm_page_answer *a)
{
    struct fm_str newer = FM_STR("?newer=");
    uint64_t than = 0;
    bool asks = fm_str_starts(q->query, newer) &&
                fm_str_u64(fm_str(q->query.p + newer.n, q->query.n - newer.n), &than);
    if (!g->file_text || (asks && g->known.mark.generation <= than)) {
        a->status = g->file_text ? 204 : 404;
        return;
    }
    json_t *agreed = g->known.mark.generation ? fm_agreed_json(&g->known, true) : json_null();
    json_t *doc =
        json_pack("{s:s,s:s,s:s,s:o,s:s,s:o}", "schema", "fulmar.config-shared/1", "service",
                  g->service, "host", g->c.host, "agreed", agreed, "file_digest", g->file_digest,
                  "used_generation", g->used ? json_integer((json_int_t)g->used) : json_null());
    a->content_type = "application/json";
    a->body = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    a->n = a->body ? strlen(a->body) : 0;
    json_decref(doc);
    if (!a->body)
        a->status = 503;
}
