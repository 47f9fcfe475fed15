/* Is there room for another node on this host? Asked by `fulmar group add` before anything is
 * changed: what would be in its way is told with the reason, while nobody has begun. It promises
 * nothing: what changes afterwards the node finds out itself. See db.h. */
#include "agent/db.h"

#include "base/assert.h"
#include "io/sock.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { PROBLEM_ROOM = PATH_MAX + 128, PORT_MAX = 65535 };

/* What a file system or somebody in a hurry leaves there is in nobody's way. */
static bool is_empty(DIR *d)
{
    const struct dirent *x;
    while ((x = readdir(d)))
        if (strcmp(x->d_name, ".") != 0 && strcmp(x->d_name, "..") != 0 &&
            strcmp(x->d_name, "lost+found") != 0)
            return false;
    return true;
}

static bool has_folder(const char *path, char problem[PROBLEM_ROOM])
{
    struct stat st;
    DIR *d = opendir(path);
    if (!d && errno == ENOENT && lstat(path, &st) != 0)
        return true; /* it is made */
    if (!d)
        snprintf(problem, PROBLEM_ROOM, "%s cannot be a data directory: %s", path, strerror(errno));
    else if (!is_empty(d) && !fm_pg_folder_is_unfinished(path)) /* a copy begins there anew */
        snprintf(problem, PROBLEM_ROOM, "%s is not empty", path);
    if (d)
        closedir(d);
    return problem[0] == '\0';
}

static bool has_port(unsigned port, char problem[PROBLEM_ROOM])
{
    struct fm_addr at;
    struct fm_error e = {0};
    FM_ASSERT(port > 0 && port <= PORT_MAX);
    if (fm_addr_ip(&at, FM_STR("127.0.0.1"), (uint16_t)port))
        FM_UNREACHABLE();
    if (!fm_listener_probe(&at, &e))
        return true;
    snprintf(problem, PROBLEM_ROOM, "its port %u cannot be had: %s", port, e.msg);
    return false;
}

static bool has_room(const struct fm_database *d, const json_t *o, char problem[PROBLEM_ROOM])
{
    const char *group = json_string_value(json_object_get(o, "group")),
               *data = json_string_value(json_object_get(o, "data"));
    json_int_t port = json_integer_value(json_object_get(o, "port"));
    int host = fm_conf_find_host(d->conf, fm_str_z(d->c.host));
    int index = group ? fm_conf_find_group(d->conf, fm_str_z(group)) : -1;
    char path[PATH_MAX];
    struct fm_error e = {0};
    FM_ASSERT(host >= 0);
    const struct fm_conf_host *h = &d->conf->hosts[host];
    struct fm_str region = d->conf->regions[h->region].name;
    if (index < 0) {
        snprintf(problem, PROBLEM_ROOM, "its file has no group `%.64s`: bring it the file",
                 group ? group : "");
        return false;
    }
    if (!data || port < 1 || port > PORT_MAX ||
        fm_conf_expand(fm_str_z(data), h->name, region, path, sizeof path) || path[0] != '/') {
        snprintf(problem, PROBLEM_ROOM, "that is no data directory, or no port");
        return false;
    }
    for (unsigned i = 0; i < d->nnodes; i++)
        if (strcmp(d->node[i]->group, group) == 0 && strcmp(d->node[i]->data, path) != 0) {
            snprintf(problem, PROBLEM_ROOM,
                     "its agent knows the node in %s until it is started anew: start it anew, or "
                     "take that folder",
                     d->node[i]->data);
            return false;
        }
    if (db_programs_look(d, &d->conf->groups[index], path, &e)) {
        snprintf(problem, PROBLEM_ROOM, "%s", e.msg);
        return false;
    }
    return has_folder(path, problem) && has_port((unsigned)port, problem);
}

void fm_database_room(const struct fm_database *d, const struct fm_page_request *q,
                      struct fm_page_answer *a)
{
    char problem[PROBLEM_ROOM] = "";
    json_t *o = json_loadb(q->body.p, q->body.n, JSON_REJECT_DUPLICATES, NULL);
    (void)has_room(d, o, problem);
    fm_text_tame(problem);
    json_t *doc = json_pack("{s:s,s:s,s:s?}", "schema", "fulmar.group-room/1", "host", d->c.host,
                            "problem", problem[0] ? problem : NULL);
    a->content_type = "application/json";
    a->body = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    a->n = a->body ? strlen(a->body) : 0;
    a->status = a->body ? 200 : 503;
    json_decref(doc);
    json_decref(o);
}
