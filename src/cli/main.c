/* fulmar: the one program. */
#include "cli/cli.h"
#include "io/ward.h"

#include <string.h>

int main(int argc, char **argv)
{
    /* the guard of what an agent has started: without anything else of the command */
    if (argc > 1 && strcmp(argv[1], FM_WARD_COMMAND) == 0)
        return fm_ward_main(argc, argv);
    return fm_cli_main(argc, argv);
}
