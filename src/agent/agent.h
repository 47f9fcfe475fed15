/* agent/agent.h: `fulmar agent`, the daemon on the hosts of a region. Roles of this version:
 * `gate`, the region's HTTP door (src/proxy in front of the region's application pools), and
 * `health`, the dependency checks behind GET /health/deep on the peer port; `controller` and
 * `witness`, who may write where (agent/rights.h); `coordination`, the owner of a SQLite file. */
#ifndef FM_AGENT_AGENT_H
#define FM_AGENT_AGENT_H

struct fm_agent_options {
    const char *config_path;
    const char *host; /* NULL = this machine's name; must be listed in the configuration */
};

/* Runs until it is told to stop. Returns an exit code of CLI.md. */
int fm_agent_main(const struct fm_agent_options *o);

#endif
