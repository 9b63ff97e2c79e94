/*
 * privacyctl discover: which cookies does the site see that stand in no list of the policy? It reads log lines that hold
 * `unknown="a,b"` (log format: unknown="$privacy_unknown"), lines that are only such a list, and Cookie and Set-Cookie
 * fields as curl -v or a proxy prints them, counts names, and says what the catalogue knows of them.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../request/cookie.h"
#include "ctl.h"

#define NAMES_MAX 4096
#define NAME_MAX_BYTES 128

typedef struct seen {
    char *name;
    size_t count;
} seen;

typedef struct found {
    ctl *c;
    size_t n, dropped;
    seen list[NAMES_MAX];
} found;

static bool printable(prv_str name)
{
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] <= ' ' || name.p[i] >= 127) {
            return false;
        }
    }
    return name.n > 0 && name.n <= NAME_MAX_BYTES;
}

static void note(found *f, prv_str name)
{
    if (!printable(name) || prv_policy_cookie(f->c->policy, name) != NULL ||
        (name.n == f->c->site.cookie.name.n &&
         memcmp(name.p, f->c->site.cookie.name.p, name.n) == 0)) {
        return;
    }
    for (size_t i = 0; i < f->n; i++) {
        if (strlen(f->list[i].name) == name.n && memcmp(f->list[i].name, name.p, name.n) == 0) {
            f->list[i].count++;
            return;
        }
    }
    if (f->n == NAMES_MAX) {
        f->dropped++;
        return;
    }
    f->list[f->n].name = ctl_text(f->c, name);
    f->list[f->n++].count = 1;
}

static void note_list(found *f, prv_str list)
{
    while (list.n > 0) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t n = comma == NULL ? list.n : (size_t)(comma - list.p);
        note(f, (prv_str){list.p, n});
        list.p += n + (comma != NULL);
        list.n -= n + (comma != NULL);
    }
}

static void note_cookies(found *f, prv_str field, bool only_first)
{
    prv_cookie_iter it;
    prv_str name, value, pair;
    prv_cookie_iter_init(&it, field, false);
    while (prv_cookie_next(&it, &name, &value, &pair)) {
        note(f, name);
        if (only_first) {
            return;
        }
    }
}

static void note_line(found *f, char *line, size_t n)
{
    while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) {
        line[--n] = '\0';
    }
    char *p = line;
    if ((*p == '<' || *p == '>') && p[1] == ' ') {
        p += 2; /* curl -v */
    }
    if (strncasecmp(p, "cookie:", 7) == 0) {
        note_cookies(f, ctl_str(p + 7), false);
        return;
    }
    if (strncasecmp(p, "set-cookie:", 11) == 0) {
        note_cookies(f, ctl_str(p + 11), true);
        return;
    }
    char *key = strstr(p, "unknown=\"");
    if (key != NULL) {
        key += sizeof "unknown=\"" - 1;
        char *end = strchr(key, '"');
        note_list(f, (prv_str){key, end == NULL ? strlen(key) : (size_t)(end - key)});
        return;
    }
    if (strpbrk(p, " \t:=\"") == NULL) {
        note_list(f, ctl_str(p));
    }
}

static bool read_file(found *f, const char *path)
{
    FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    char *line = NULL;
    size_t cap = 0;
    if (in == NULL) {
        ctl_fail("%s: %s", path, strerror(errno));
        return false;
    }
    for (ssize_t n; (n = getline(&line, &cap, in)) > 0;) {
        note_line(f, line, (size_t)n);
    }
    bool ok = !ferror(in);
    free(line);
    if (in != stdin) {
        fclose(in);
    }
    return ok || (ctl_fail("%s: %s", path, strerror(errno)), false);
}

/* What the catalogue says of a name: exact, or a pattern with a trailing `*`, the longest. */
static const json_t *lookup(const json_t *catalogue, const char *name)
{
    const json_t *best = NULL;
    size_t best_n = 0, i;
    json_t *entry;
    json_array_foreach(json_object_get(catalogue, "cookies"), i, entry)
    {
        const char *pattern = json_string_value(json_object_get(entry, "name"));
        size_t n = pattern == NULL ? 0 : strlen(pattern);
        if (n == 0) {
            continue;
        }
        if (strcmp(pattern, name) == 0) {
            return entry;
        }
        if (pattern[n - 1] == '*' && strncmp(pattern, name, n - 1) == 0 && n > best_n) {
            best = entry;
            best_n = n;
        }
    }
    return best;
}

static int by_count(const void *a, const void *b)
{
    const seen *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count ? 1 : -1) : strcmp(x->name, y->name);
}

static const char *text(const json_t *entry, const char *member)
{
    const char *s = json_string_value(json_object_get(entry, member));
    return s == NULL ? "-" : s;
}

int ctl_discover(ctl *c)
{
    static found f;
    json_t *catalogue = NULL;
    if (!ctl_need_policy(c)) {
        return CTL_FAILED;
    }
    if (c->catalogue != NULL) {
        json_error_t at;
        catalogue = json_load_file(c->catalogue, JSON_REJECT_DUPLICATES, &at);
        if (catalogue == NULL) {
            return ctl_fail("%s:%d:%d: %s", c->catalogue, at.line, at.column, at.text);
        }
    }
    ctl_site(c, false);
    f.c = c;
    bool ok = c->words.n > 0 || read_file(&f, "-");
    for (size_t i = 0; ok && i < c->words.n; i++) {
        ok = read_file(&f, c->words.v[i].p);
    }
    qsort(f.list, f.n, sizeof *f.list, by_count);
    for (size_t i = 0; ok && i < f.n; i++) {
        const json_t *known = lookup(catalogue, f.list[i].name);
        printf("%8zu  %-32s %-14s %s\n", f.list[i].count, f.list[i].name, text(known, "purpose"),
               text(known, "owner"));
    }
    if (f.dropped > 0) {
        ctl_fail("more than %d different names: %zu sightings left out", NAMES_MAX, f.dropped);
    }
    json_decref(catalogue);
    return ok ? CTL_OK : CTL_FAILED;
}
