/* The two processes of a ward, for test_ward.c: a test cannot be its own guard. */
#include "io/ward.h"

int main(int argc, char **argv)
{
    return fm_ward_main(argc, argv);
}
