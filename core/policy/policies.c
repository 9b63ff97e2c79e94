/* The policies of one configuration: each file is read and compiled once. */
#include "compile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct entry {
    struct entry *next;
    prv_policy *policy;
    dev_t device; /* two names of one file are one policy */
    ino_t inode;
    char path[];
} entry;

struct prv_policies {
    entry *entries;
};

prv_policies *prv_policies_new(void)
{
    return calloc(1, sizeof(prv_policies));
}

void prv_policies_free(prv_policies *set)
{
    entry *next;
    if (set == NULL) {
        return;
    }
    for (entry *e = set->entries; e != NULL; e = next) {
        next = e->next;
        prv_policy_free(e->policy);
        free(e);
    }
    free(set);
}

static prv_code fail(prv_error *err, prv_code code, const char *path, const char *text)
{
    *err = (prv_error){.code = code};
    if (strlen(path) > 512) {
        path += strlen(path) - 512;
    }
    snprintf(err->text, sizeof err->text, "%s: %s", path, text);
    return code;
}

static prv_code fail_errno(prv_error *err, const char *path)
{
    char buf[128];
    return fail(err, PRV_ERR_IO, path, strerror_r(errno, buf, sizeof buf));
}

/* Reads all; one byte more than is allowed is enough to refuse. */
static prv_code read_all(FILE *file, const char *path, char **text, size_t *n, prv_error *err)
{
    *text = malloc(PRV_POLICY_FILE_MAX + 1);
    if (*text == NULL) {
        return fail(err, PRV_ERR_NOMEM, path, "no memory for the policy");
    }
    *n = fread(*text, 1, PRV_POLICY_FILE_MAX + 1, file);
    return ferror(file) ? fail_errno(err, path) : PRV_OK;
}

static prv_code add(prv_policies *set, const char *path, const struct stat *st, prv_policy *policy,
                    prv_error *err)
{
    char text[PRV_NAME_MAX + 600];
    for (entry *e = set->entries; e != NULL; e = e->next) {
        if (prv_str_same(e->policy->id, policy->id)) {
            snprintf(text, sizeof text,
                     "policy.id \"%s\" is also that of %.512s; expected another id", policy->id.p,
                     e->path);
            return fail(err, PRV_ERR_VALUE, path, text);
        }
    }
    entry *e = malloc(sizeof *e + strlen(path) + 1);
    if (e == NULL) {
        return fail(err, PRV_ERR_NOMEM, path, "no memory for the policy");
    }
    *e = (entry){set->entries, policy, st->st_dev, st->st_ino};
    memcpy(e->path, path, strlen(path) + 1);
    set->entries = e;
    return PRV_OK;
}

static prv_code load(prv_policies *set, const char *path, FILE *file, const prv_policy **out,
                     prv_error *err)
{
    struct stat st;
    char *text = NULL;
    size_t n = 0;
    prv_policy *policy = NULL;
    if (fstat(fileno(file), &st) != 0) {
        return fail_errno(err, path);
    }
    if (!S_ISREG(st.st_mode)) {
        return fail(err, PRV_ERR_IO, path, "is not a regular file");
    }
    for (entry *e = set->entries; e != NULL; e = e->next) {
        if (e->device == st.st_dev && e->inode == st.st_ino) {
            *out = e->policy;
            return PRV_OK;
        }
    }
    prv_code code = read_all(file, path, &text, &n, err);
    if (code == PRV_OK) {
        code = prv_policy_compile((prv_str){text, n}, path, &policy, err);
    }
    free(text);
    if (code == PRV_OK) {
        code = add(set, path, &st, policy, err);
    }
    if (code != PRV_OK) {
        prv_policy_free(policy);
        return code;
    }
    *out = policy;
    return PRV_OK;
}

prv_code prv_policies_load(prv_policies *set, const char *path, const prv_policy **out,
                           prv_error *err)
{
    *out = NULL;
    for (entry *e = set->entries; e != NULL; e = e->next) {
        if (strcmp(e->path, path) == 0) {
            *out = e->policy;
            return PRV_OK;
        }
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold start-up */
    FILE *file = fd >= 0 ? fdopen(fd, "rb") : NULL;
    if (file == NULL) {
        prv_code failed = fail_errno(err, path);
        if (fd >= 0) {
            close(fd);
        }
        return failed;
    }
    prv_code code = load(set, path, file, out, err);
    fclose(file);
    return code;
}
