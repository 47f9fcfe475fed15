/* `authority-webhook`: where systems downstream are told who may write what. */
#include "conf/addr.h"
#include "conf/decode.h"

#include "base/assert.h"

enum { PATH_LEAST = 1, PATH_MAX_BYTES = 1000 };

void fm_decode_webhook_url(struct fm_load *l, const struct fm_schema_row *row,
                           const struct fm_node *n, void *at)
{
    struct fm_conf_webhook *w = at;
    struct fm_conf_addr to = {.pos = n->pos};
    struct fm_fault f = {.memory = false};
    struct fm_str s, path;
    bool https;
    if (!fm_decode_text(l, row, n, &s))
        return;
    if (!fm_conf_addr_web_url(l->arena, s, &to, &path, &https, &f)) {
        fm_decode_fault(l, row, n, &f);
        return;
    }
    FM_ASSERT(path.n >= PATH_LEAST && path.p[0] == '/');
    if (path.n > PATH_MAX_BYTES) {
        fm_report_error(l->report, n->pos, "its path is longer than %d bytes", PATH_MAX_BYTES);
        return;
    }
    w->url = s;
    w->to = to;
    w->path = path;
    w->https = https;
}

void fm_webhook_check(struct fm_load *l)
{
    const struct fm_node *n = fm_node_getz(l->root->node, "authority-webhook");
    const struct fm_conf *c = l->conf;
    bool cells = false;
    if (!n || !c->webhook.present || !c->webhook.url.p)
        return; /* told */
    for (size_t i = 0; i < c->ncontexts; i++)
        cells |= c->contexts[i].ncells > 0 || l->context_bad[i];
    if (!cells) {
        fm_report_warning(l->report, n->key_pos,
                          "nothing will ever be told: every region may write every context");
        fm_report_advice(l->report, "delete the key, or say `topology: active-passive` or "
                                    "`affinity` of a context");
    }
    const struct fm_node *ca = fm_node_getz(n, "ca");
    if (ca && !c->webhook.https) {
        fm_report_error(l->report, ca->key_pos, "`ca` is for a URL with `https://`");
        fm_report_advice(l->report, "write `https://` in `url`, or delete the key");
    }
    if (c->webhook.https || fm_conf_addr_is_loopback(&c->webhook.to))
        return;
    fm_report_warning(l->report, c->webhook.to.pos,
                      "who may write what goes to `%s` in the clear: signed, and readable by all",
                      FM_Q(c->webhook.to.host));
    fm_report_advice(l->report, "write `https://`");
}
