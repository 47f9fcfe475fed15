#include "cli/cli.h"
int fm_cmd_demo(const struct fm_args *a){(void)a;return 1;}
