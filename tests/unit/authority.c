/* See the header. */
#include "authority.h"

#include "io/certs.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

char ours[] = "/tmp/fulmar-tls-XXXXXX", theirs[] = "/tmp/fulmar-tls-XXXXXX";

char *in(const char *folder, const char *name)
{
    static char path[4][PATH_MAX];
    static unsigned next;
    char *to = path[next++ % 4];
    assert_in_range(snprintf(to, PATH_MAX, "%s/%s", folder, name), 1, PATH_MAX - 1);
    return to;
}

struct fm_tls *side(enum fm_tls_side which, const char *folder, const char *host)
{
    char cert[128], key[128];
    snprintf(cert, sizeof cert, "%s/%s.pem", folder, host);
    snprintf(key, sizeof key, "%s/%s.key", folder, host);
    struct fm_tls_files f = {in(ours, "peers-ca.pem"), cert, key};
    struct fm_tls *tls;
    struct fm_error e;
    if (fm_tls_new(&tls, which, &f, &e))
        fail_msg("%s", e.msg);
    return tls;
}

static void authority(char *folder, const char *service)
{
    struct fm_error e = {.msg = ""};
    assert_non_null(mkdtemp(folder));
    if (fm_certs_init(folder, service, 30, &e) ||
        fm_certs_add(folder, "west-1", (const char *[]){"west.bank.example", "10.0.0.7"}, 2, 30,
                     false, &e) ||
        fm_certs_add(folder, "north-1", NULL, 0, 30, false, &e))
        fail_msg("%s", e.msg);
}

int make_authorities(void **state)
{
    (void)state;
    authority(ours, "bank");
    authority(theirs, "other");
    return 0;
}

static void remove_folder(const char *folder)
{
    static const char *const files[] = {"peers-ca.pem", "peers-ca.key", "west-1.pem",
                                        "west-1.key",   "north-1.pem",  "north-1.key"};
    for (size_t i = 0; i < FM_COUNT(files); i++)
        (void)unlink(in(folder, files[i]));
    assert_int_equal(rmdir(folder), 0);
}

int remove_authorities(void **state)
{
    (void)state;
    remove_folder(ours);
    remove_folder(theirs);
    return 0;
}
