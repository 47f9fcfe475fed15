/* edge/edge.h: `fulmar edge`, the global front. It accepts clients, picks a region per request and
 * proves nothing to anybody: it holds no authority and may come and go. */
#ifndef FM_EDGE_EDGE_H
#define FM_EDGE_EDGE_H

struct fm_edge_options {
    const char *config_path;
    const char *host;   /* NULL = this machine's name */
    const char *region; /* NULL = that of the host */
};

/* Runs until it is told to stop. Returns an exit code of CLI.md. */
int fm_edge_main(const struct fm_edge_options *o);

#endif
