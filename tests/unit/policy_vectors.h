/* What both programs about policies share: files, and the walk over a folder of vectors. */
#ifndef PRV_POLICY_VECTORS_H
#define PRV_POLICY_VECTORS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile.h"

#define VECTORS PRV_TESTS "/vectors/policy"

static inline char *slurp(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        fail_msg("%s: %s", path, strerror(errno));
    }
    char *text = malloc(PRV_POLICY_FILE_MAX + 2);
    assert_non_null(text);
    *n = fread(text, 1, PRV_POLICY_FILE_MAX + 1, f);
    text[*n] = 0;
    fclose(f);
    return text;
}

/* Calls `each` for every NAME.json of a folder, with the path less its ending; the number of calls.
 */
static inline size_t walk(const char *folder, void (*each)(const char *stem))
{
    char stem[512];
    size_t n = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        size_t len = strlen(e->d_name);
        if (len > 5 && strcmp(e->d_name + len - 5, ".json") == 0) {
            snprintf(stem, sizeof stem, "%s/%.*s", folder, (int)(len - 5), e->d_name);
            each(stem);
            n++;
        }
    }
    closedir(dir);
    return n;
}

static inline prv_policy *compile_file(const char *stem)
{
    char path[600];
    size_t n;
    prv_policy *policy;
    prv_error err;
    snprintf(path, sizeof path, "%s.json", stem);
    char *text = slurp(path, &n);
    prv_code code = prv_policy_compile((prv_str){text, n}, path, &policy, &err);
    free(text);
    if (code != PRV_OK) {
        fail_msg("%s", err.text);
    }
    return policy;
}

static inline prv_str view(const char *s)
{
    return (prv_str){s, strlen(s)};
}

#endif
