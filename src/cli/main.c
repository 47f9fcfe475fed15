/* fulmar: the one program. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
    return fm_cli_main(argc, argv);
}
