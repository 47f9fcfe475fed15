/* Configuration text. Promises: either a configuration or errors, each with a place, and the report
 * can be printed. */
#include "fuzz.h"

#include "base/buf.h"
#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char said[1 << 20];
    char *text = fuzz_copy(data, size);
    struct fm_conf_report report;
    fm_conf_report_init(&report);
    struct fm_conf *c = fm_conf_parse(fm_str(text, size), "fuzz.yaml", &report);
    HOLDS((c != NULL) == (report.errors == 0), "%zu errors", report.errors);
    struct fm_buf out = fm_buf(said, sizeof said);
    fm_conf_report_print(&report, &out);
    HOLDS(out.n > 0 || report.errors == 0, "nothing is said");
    fm_conf_free(c);
    fm_conf_report_deinit(&report);
    free(text);
    return 0;
}
