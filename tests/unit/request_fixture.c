#include "request_fixture.h"

#include <dirent.h>
#include <stdio.h>

static const char policy_text[] =
    "{\"schema\":1,"
    "\"policy\":{\"id\":\"example\",\"version\":\"2024-03-15\",\"controller\":\"Example\","
    "\"contact\":\"privacy@example.com\"},"
    "\"purposes\":{"
    "\"necessary\":{\"basis\":\"contract\"},"
    "\"preferences\":{\"basis\":\"consent\"},"
    "\"statistics\":{\"basis\":\"consent\",\"dnt\":\"yield\"},"
    "\"marketing\":{\"basis\":\"consent\",\"gpc\":\"deny\",\"dnt\":\"deny\",\"sale\":true}},"
    "\"vendors\":{"
    "\"analytics\":{\"purpose\":\"statistics\",\"title\":\"Analytics\"},"
    "\"adnet\":{\"purpose\":\"marketing\",\"title\":\"Ads\",\"regions\":[\"US\"]}},"
    "\"cookies\":{"
    "\"necessary\":[\"session\",\"csrftoken\",\"__Host-login\"],"
    "\"preferences\":[\"theme\"],"
    "\"statistics\":[{\"name\":\"_ga\",\"vendor\":\"analytics\"},"
    "{\"name\":\"_ga_*\",\"vendor\":\"analytics\"},\"stats\",\"__Secure-stats\",\"__Host-stats\"],"
    "\"marketing\":[\"_fbp\",{\"name\":\"ad\",\"vendor\":\"adnet\"}]},"
    "\"unknown_cookies\":\"deny\","
    "\"jurisdictions\":{"
    "\"opt-out\":{\"regions\":[\"US\"],\"default\":\"allow\"},"
    "\"*\":{\"default\":\"deny\"}}}";

prv_str fix_str(const char *text)
{
    return (prv_str){text, strlen(text)};
}

static void *fix_alloc(void *ctx, size_t n)
{
    fixture *f = ctx;

    f->allocs++;
    if ((f->fail_at != 0 && f->allocs >= f->fail_at) ||
        f->allocs > sizeof(f->blocks) / sizeof(f->blocks[0])) {
        return NULL;
    }
    f->blocks[f->allocs - 1] = malloc(n);
    return f->blocks[f->allocs - 1];
}

static void fix_free(fixture *f)
{
    for (size_t i = 0; i < sizeof(f->blocks) / sizeof(f->blocks[0]); i++) {
        free(f->blocks[i]);
        f->blocks[i] = NULL;
    }
    f->allocs = 0;
}

void fix_open(fixture *f)
{
    prv_error err;

    memset(f, 0, sizeof(*f));
    if (prv_policy_compile(fix_str(policy_text), "fixture", &f->compiled, &err) != PRV_OK) {
        fail_msg("%s", err.text);
    }
    fix_reset(f);
}

void fix_close(fixture *f)
{
    fix_free(f);
    prv_policy_free(f->compiled);
}

void fix_reset(fixture *f)
{
    fix_free(f);
    f->fail_at = 0;
    f->policy = *f->compiled;
    f->env = (prv_env){.ctx = f, .alloc = fix_alloc, .random = prv_random, .now_ms = FIX_NOW_MS};
    f->site = (prv_site){.policy = &f->policy, .home = PRV_STR("/privacy/")};
    prv_cookie_conf_init(&f->site.cookie);
    f->rq = (prv_request){.env = &f->env, .site = &f->site};
    prv_rules_init(&f->rules);
    f->rules.mode = PRV_MODE_ON;
    f->d = (prv_decision){0};
    /* the opt-in jurisdiction */
    f->d.jurisdiction = (uint8_t)(f->policy.n_jurisdictions - 1);
    fix_allow(f, "necessary");
}

void fix_allow(fixture *f, const char *names)
{
    char copy[256];
    char *save = NULL;

    snprintf(copy, sizeof(copy), "%s", names);
    f->d.allowed = 0;
    for (size_t i = 0; i < f->policy.n_purposes; i++) {
        f->d.row[i] = 15;
    }
    for (char *name = strtok_r(copy, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
        int index = prv_policy_purpose(&f->policy, fix_str(name));
        assert_true(index >= 0);
        f->d.allowed |= 1u << index;
        f->d.row[index] = (f->policy.row2 >> index & 1) ? 2 : 11;
    }
}

void fix_region(fixture *f, const char *region)
{
    f->d.region = prv_region_parse(fix_str(region));
}

void fix_assert_str(prv_str got, const char *want, const char *what)
{
    if (got.n != strlen(want) || (got.n > 0 && memcmp(got.p, want, got.n) != 0)) {
        fail_msg("%s: got \"%.*s\", expected \"%s\"", what, (int)got.n, got.n ? got.p : "", want);
    }
}

/* ---- vectors */

static char hex_value(char c)
{
    return (char)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

/* In place; values may hold NUL bytes, hence the length. */
static prv_str unescape(char *text)
{
    char *out = text;
    char *in = text;

    while (*in != '\0') {
        if (*in == '\\' && in[1] == 't') {
            *out++ = '\t';
            in += 2;
        } else if (*in == '\\' && in[1] == '\\') {
            *out++ = '\\';
            in += 2;
        } else if (*in == '\\' && in[1] == 'x' && in[2] != '\0' && in[3] != '\0') {
            *out++ = (char)(hex_value(in[2]) << 4 | hex_value(in[3]));
            in += 4;
        } else {
            *out++ = *in++;
        }
    }
    return (prv_str){text, (size_t)(out - text)};
}

prv_str vec_get(const vec_case *c, const char *key, size_t i)
{
    for (size_t k = 0; k < c->n; k++) {
        if (strcmp(c->key[k], key) == 0 && i-- == 0) {
            return c->value[k];
        }
    }
    return PRV_NONE;
}

bool vec_is(const vec_case *c, const char *key, const char *value)
{
    prv_str v = vec_get(c, key, 0);

    return v.n == strlen(value) && v.p != NULL && memcmp(v.p, value, v.n) == 0;
}

void vec_only(const vec_case *c, const char *const *keys, size_t n)
{
    for (size_t k = 0; k < c->n; k++) {
        size_t i = 0;
        while (i < n && strcmp(keys[i], c->key[k]) != 0) {
            i++;
        }
        if (i == n) {
            fail_msg("%s:%u: no such key: %s", c->file, c->line, c->key[k]);
        }
    }
}

static size_t file_run(const char *path, void (*run)(const vec_case *c, void *arg), void *arg)
{
    FILE *file = fopen(path, "r");
    vec_case c = {.file = path};
    char *line = NULL;
    size_t cap = 0, cases = 0;
    unsigned number = 0;
    ssize_t length;

    assert_non_null(file);
    do {
        length = getline(&line, &cap, file);
        number++;
        if (length > 0 && line[length - 1] == '\n') {
            line[--length] = '\0';
        }
        if (length > 0 && line[0] == '#') {
            continue;
        }
        if (length > 0) {
            char *colon = strchr(line, ':');
            if (colon == NULL || c.n == VEC_LINES) {
                fail_msg("%s:%u: expected `key: value`, at most %d a case", path, number,
                         VEC_LINES);
                break;
            }
            *colon = '\0';
            c.line = c.n == 0 ? number : c.line;
            c.key[c.n] = strdup(line);
            c.value[c.n] = unescape(strdup(colon[1] == ' ' ? colon + 2 : colon + 1));
            c.n++;
        } else if (c.n > 0) {
            run(&c, arg);
            cases++;
            for (; c.n > 0; c.n--) {
                free(c.key[c.n - 1]);
                free((void *)(uintptr_t)c.value[c.n - 1].p);
            }
        }
    } while (length >= 0);
    free(line);
    fclose(file);
    return cases;
}

void vec_each(const char *area, void (*run)(const vec_case *c, void *arg), void *arg)
{
    char dir[512], path[1024];
    size_t cases = 0;

    snprintf(dir, sizeof(dir), "%s/vectors/%s", PRV_TESTS, area);
    DIR *d = opendir(dir);
    if (d == NULL) {
        fail_msg("%s cannot be read", dir);
        return;
    }
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        size_t n = strlen(entry->d_name);
        if (n > 4 && strcmp(entry->d_name + n - 4, ".txt") == 0) {
            snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
            cases += file_run(path, run, arg);
        }
    }
    closedir(d);
    assert_true(cases > 0);
}
