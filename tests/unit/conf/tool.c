/* A small helper of the tests of src/conf; the command of the operators is `fulmar config`.
 *
 *   conf_tool check FILE      the report; exit 1 where there is an error
 *   conf_tool reference       docs/reference/configuration.md
 *   conf_tool schema          the JSON Schema
 */
#include "base/buf.h"
#include "conf/conf.h"

#include <stdio.h>

static char out_mem[1 << 20];

static int check(const char *file)
{
    static struct fm_conf_report report;
    struct fm_buf out = fm_buf(out_mem, sizeof out_mem);
    fm_conf_report_init(&report);
    struct fm_conf *c = fm_conf_load(file, &report);
    fm_conf_report_print(&report, &out);
    fwrite(out.p, 1, out.n, stdout);
    int code = c ? 0 : 1;
    fm_conf_free(c);
    fm_conf_report_deinit(&report);
    return code;
}

int main(int argc, char **argv)
{
    struct fm_buf out = fm_buf(out_mem, sizeof out_mem);
    enum fm_err err = FM_ERR_INVALID;
    if (argc == 3 && strcmp(argv[1], "check") == 0)
        return check(argv[2]);
    if (argc == 2 && strcmp(argv[1], "reference") == 0)
        err = fm_conf_reference_md(&out);
    if (argc == 2 && strcmp(argv[1], "schema") == 0)
        err = fm_conf_schema_json(&out);
    if (err != FM_ERR_OK) {
        fprintf(stderr, "conf_tool check FILE | reference | schema\n");
        return 64;
    }
    fwrite(out.p, 1, out.n, stdout);
    return 0;
}
