/*
 * privacyctl keys: a key file is edited as lines, so that comments and the order that matters stay. The new file is
 * written beside the old one, checked by the loader that the servers use, and renamed over it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl.h"

#define SECRET_BYTES 32
#define FILE_MAX 65536

static const char *const uses[] = {"token", "subject", "link", "history"};
#define N_USES (sizeof uses / sizeof *uses)

typedef struct key_line {
    prv_str whole; /* without the newline */
    prv_str use, kid;
} key_line;

typedef struct key_file {
    char *text;
    size_t n;
    key_line line[1024];
} key_file;

static prv_str word(prv_str *rest)
{
    while (rest->n > 0 && (*rest->p == ' ' || *rest->p == '\t')) {
        rest->p++;
        rest->n--;
    }
    prv_str out = {rest->p, 0};
    while (out.n < rest->n && out.p[out.n] != ' ' && out.p[out.n] != '\t') {
        out.n++;
    }
    rest->p += out.n;
    rest->n -= out.n;
    return out;
}

static bool same(prv_str a, const char *b)
{
    return a.n == strlen(b) && memcmp(a.p, b, a.n) == 0;
}

static bool known_use(const char *use)
{
    for (size_t i = 0; i < N_USES; i++) {
        if (strcmp(uses[i], use) == 0) {
            return true;
        }
    }
    ctl_fail("a use is token, subject, link or history, not \"%s\"", use);
    return false;
}

/* The loader first: what it refuses is not edited. */
static bool read_lines(ctl *c, const char *path, key_file *out)
{
    prv_error err = {0};
    prv_keyring *keys = NULL;
    if (prv_keyring_load(path, &keys, &err) != PRV_OK) {
        ctl_fail("%s", err.text);
        return false;
    }
    prv_keyring_free(keys);
    FILE *f = fopen(path, "rb");
    char *text = c->env.alloc(c->env.ctx, FILE_MAX);
    if (f == NULL || text == NULL) {
        ctl_fail("%s: %s", path, strerror(errno));
        if (f != NULL) {
            fclose(f);
        }
        return false;
    }
    size_t n = fread(text, 1, FILE_MAX, f);
    fclose(f);
    out->text = text;
    out->n = 0;
    for (size_t i = 0; i < n && out->n < sizeof out->line / sizeof *out->line;) {
        const char *end = memchr(text + i, '\n', n - i);
        size_t len = end == NULL ? n - i : (size_t)(end - (text + i));
        key_line *l = &out->line[out->n++];
        l->whole = (prv_str){text + i, len};
        prv_str rest = l->whole;
        l->use = word(&rest);
        l->kid = word(&rest);
        if (l->use.n > 0 && l->use.p[0] == '#') {
            l->use = l->kid = PRV_NONE;
        }
        i += len + 1;
    }
    return true;
}

/* A kid that names its day, so that an operator sees a key's age: 20261123, then 20261123b, … */
static void kid_make(const ctl *c, const key_file *file, const char *use, char out[17])
{
    char day[24];
    prv_rfc3339_format(c->env.now_ms / 1000, day);
    snprintf(out, 17, "%.4s%.2s%.2s", day, day + 5, day + 8);
    size_t base = strlen(out);
    for (char suffix = 'b'; suffix <= 'z'; suffix++) {
        bool taken = false;
        for (size_t i = 0; file != NULL && i < file->n; i++) {
            taken = taken || (same(file->line[i].use, use) && same(file->line[i].kid, out));
        }
        if (!taken) {
            return;
        }
        out[base] = suffix;
        out[base + 1] = '\0';
    }
}

static bool line_make(ctl *c, const key_file *file, const char *use, char out[128])
{
    uint8_t secret[SECRET_BYTES];
    char text[SECRET_BYTES * 2], kid[17];
    if (!c->env.random(c->env.ctx, secret, sizeof secret)) {
        ctl_fail("no random bytes to be had");
        return false;
    }
    size_t n = prv_base64url_encode(secret, sizeof secret, text);
    kid_make(c, file, use, kid);
    snprintf(out, 128, "%s %s %.*s", use, kid, (int)n, text);
    explicit_bzero(secret, sizeof secret);
    return true;
}

static bool put(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return false;
        }
        p += done;
        n -= (size_t)done;
    }
    return true;
}

/* Keeps the owner and group of the file that it replaces. */
static bool replace(ctl *c, const char *name, const prv_str *lines, size_t n)
{
    char path[PATH_MAX]; /* of the file itself, where the name is a link */
    if (realpath(name, path) == NULL) {
        ctl_fail("%s: %s", name, strerror(errno));
        return false;
    }
    char *temporary = c->env.alloc(c->env.ctx, strlen(path) + 16);
    if (temporary == NULL) {
        return false;
    }
    sprintf(temporary, "%s.XXXXXX", path);
    int fd = mkstemp(temporary);
    struct stat st;
    bool ok = fd >= 0;
    if (ok && stat(path, &st) == 0 && (st.st_uid != geteuid() || st.st_gid != getegid())) {
        ok = fchown(fd, st.st_uid, st.st_gid) == 0;
    }
    for (size_t i = 0; ok && i < n; i++) {
        ok = put(fd, lines[i].p, lines[i].n) && put(fd, "\n", 1);
    }
    ok = ok && fsync(fd) == 0;
    int saved = errno;
    if (fd >= 0) {
        close(fd);
    }
    prv_error err = {0};
    prv_keyring *keys = NULL;
    if (!ok) {
        ctl_fail("%s: %s", temporary, strerror(saved));
    } else if (prv_keyring_load(temporary, &keys, &err) != PRV_OK) {
        ok = false;
        ctl_fail("%s", err.text);
    } else if (rename(temporary, path) != 0) {
        ok = false;
        ctl_fail("%s: %s", path, strerror(errno));
    }
    prv_keyring_free(keys);
    if (!ok && fd >= 0) {
        unlink(temporary);
    }
    return ok;
}

int ctl_keys_new(ctl *c)
{
    if (!ctl_need_words(c, 1, 1, "keys new FILE")) {
        return CTL_USAGE;
    }
    const char *path = c->words.v[0].p;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return ctl_fail("%s: %s", path, strerror(errno));
    }
    bool ok = true;
    for (size_t i = 0; ok && i < N_USES; i++) {
        char line[128];
        ok = line_make(c, NULL, uses[i], line) && put(fd, line, strlen(line)) && put(fd, "\n", 1);
    }
    ok = fsync(fd) == 0 && ok;
    if (close(fd) != 0 || !ok) {
        unlink(path);
        return ctl_fail("%s could not be written", path);
    }
    printf("%s: one key each for token, subject, link and history\n", path);
    return CTL_OK;
}

static size_t copy_lines(const key_file *file, prv_str *out)
{
    for (size_t i = 0; i < file->n; i++) {
        out[i] = file->line[i].whole;
    }
    return file->n;
}

int ctl_keys_add(ctl *c)
{
    static key_file file;
    static prv_str lines[1025];
    char line[128];
    if (!ctl_need_words(c, 2, 2, "keys add FILE USE") || !known_use(c->words.v[1].p)) {
        return CTL_USAGE;
    }
    if (!read_lines(c, c->words.v[0].p, &file) || !line_make(c, &file, c->words.v[1].p, line)) {
        return CTL_FAILED;
    }
    size_t n = copy_lines(&file, lines);
    lines[n++] = ctl_str(line);
    if (!replace(c, c->words.v[0].p, lines, n)) {
        return CTL_FAILED;
    }
    prv_str rest = ctl_str(line), use = word(&rest), kid = word(&rest);
    printf("%.*s %.*s added; it verifies. Copy the file to every node and reload, then promote it.\n",
           (int)use.n, use.p, (int)kid.n, kid.p);
    return CTL_OK;
}

/* Index of the line, and of the first line of its use. */
static bool locate(const key_file *file, const char *use, const char *kid, size_t *at, size_t *first)
{
    bool found = false, any = false;
    for (size_t i = 0; i < file->n; i++) {
        if (!same(file->line[i].use, use)) {
            continue;
        }
        if (!any) {
            any = true;
            *first = i;
        }
        if (same(file->line[i].kid, kid)) {
            found = true;
            *at = i;
        }
    }
    if (!found) {
        ctl_fail("there is no %s key %s", use, kid);
    }
    return found;
}

int ctl_keys_promote(ctl *c)
{
    static key_file file;
    static prv_str lines[1025];
    size_t at = 0, first = 0;
    if (!ctl_need_words(c, 3, 3, "keys promote FILE USE KID") || !known_use(c->words.v[1].p)) {
        return CTL_USAGE;
    }
    if (!read_lines(c, c->words.v[0].p, &file) ||
        !locate(&file, c->words.v[1].p, c->words.v[2].p, &at, &first)) {
        return CTL_FAILED;
    }
    size_t n = copy_lines(&file, lines);
    memmove(&lines[first + 1], &lines[first], (at - first) * sizeof *lines);
    lines[first] = file.line[at].whole;
    if (!replace(c, c->words.v[0].p, lines, n)) {
        return CTL_FAILED;
    }
    printf("%s %s signs from the next reload on; the others still verify.\n", c->words.v[1].p,
           c->words.v[2].p);
    return CTL_OK;
}

int ctl_keys_retire(ctl *c)
{
    static key_file file;
    static prv_str lines[1025];
    size_t at = 0, first = 0;
    if (!ctl_need_words(c, 3, 3, "keys retire FILE USE KID") || !known_use(c->words.v[1].p)) {
        return CTL_USAGE;
    }
    if (!read_lines(c, c->words.v[0].p, &file) ||
        !locate(&file, c->words.v[1].p, c->words.v[2].p, &at, &first)) {
        return CTL_FAILED;
    }
    if (at == first) {
        return ctl_fail("%s %s signs; promote another one first", c->words.v[1].p, c->words.v[2].p);
    }
    size_t n = copy_lines(&file, lines);
    memmove(&lines[at], &lines[at + 1], (n - at - 1) * sizeof *lines);
    if (!replace(c, c->words.v[0].p, lines, n - 1)) {
        return CTL_FAILED;
    }
    printf("%s %s removed; what it signed no longer counts after the next reload.\n",
           c->words.v[1].p, c->words.v[2].p);
    return CTL_OK;
}
