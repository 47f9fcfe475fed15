/* fulmar edge, fulmar agent. */
#include "agent/agent.h"
#include "agent/guard.h"
#include "base/assert.h"
#include "cli/cli.h"
#include "edge/edge.h"

int fm_cmd_edge(const struct fm_args *a)
{
    FM_ASSERT(a->config && a->nargs == 0);
    struct fm_edge_options o = {.config_path = a->config, .host = a->host, .region = a->region};
    return fm_edge_main(&o);
}

int fm_cmd_agent(const struct fm_args *a)
{
    FM_ASSERT(a->config && a->nargs == 0);
    struct fm_agent_options o = {.config_path = a->config, .host = a->host};
    return fm_agent_main(&o);
}

int fm_cmd_guard(const struct fm_args *a)
{
    char *argv[FM_ARGS_MAX + 1] = {NULL};
    FM_ASSERT(a->config && a->nargs <= FM_ARGS_MAX);
    for (int i = 0; i < a->nargs; i++)
        argv[i] = (char *)(uintptr_t)a->arg[i];
    struct fm_guard_options o = {
        .config_path = a->config, .host = a->host, .app = a->nargs ? argv : NULL};
    return fm_guard_main(&o);
}
