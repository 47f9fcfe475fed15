/* fulmar edge, fulmar agent. */
#include "agent/agent.h"
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
