#include "state_fixture.h"

#include <stdio.h>

#define ZONE_BYTES (2 * PRV_ZONE_MIN)

static void *sf_alloc(void *ctx, size_t n)
{
    state_fixture *f = ctx;
    const size_t at = f->n_blocks;
    if (at == sizeof f->blocks / sizeof *f->blocks || (f->fail_at && at + 1 >= f->fail_at))
        return NULL;
    f->blocks[f->n_blocks++] = malloc(n ? n : 1);
    return f->blocks[at];
}

static bool sf_random(void *ctx, void *out, size_t n)
{
    state_fixture *f = ctx;
    uint8_t *p = out;
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(f->random + i);
    f->random = (uint8_t)(f->random + 16);
    return true;
}

static void sf_log(void *ctx, prv_level level, prv_str line)
{
    state_fixture *f = ctx;
    (void)level;
    f->logged++;
    snprintf(f->log, sizeof f->log, "%.*s", (int)line.n, line.p);
}

prv_keyring *sf_keys(const char *text)
{
    prv_keyring *keys = NULL;
    prv_error err = {0};
    if (prv_keyring_parse(fix_str(text), "keys", &keys, &err) != PRV_OK)
        fail_msg("%s", err.text);
    return keys;
}

void sf_open(state_fixture *f)
{
    static char text[16384];
    char path[512];
    prv_error err = {0};
    memset(f, 0, sizeof *f);
    snprintf(path, sizeof path, "%s/vectors/decide/policy.json", PRV_TESTS);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    const size_t n = fread(text, 1, sizeof text, file);
    fclose(file);
    assert_true(n < sizeof text);
    if (prv_policy_compile((prv_str){text, n}, path, &f->policy, &err) != PRV_OK)
        fail_msg("%s", err.text);
    f->zone_memory = aligned_alloc(64, ZONE_BYTES);
    sf_reset(f);
}

void sf_reset(state_fixture *f)
{
    while (f->n_blocks > 0)
        free(f->blocks[--f->n_blocks]);
    prv_keyring_free(f->keys);
    f->keys = sf_keys("token a " SF_KEY_A "\n");
    memset(f->zone_memory, 0, ZONE_BYTES);
    f->zone = prv_zone_attach(f->zone_memory, ZONE_BYTES);
    f->fail_at = 0;
    f->logged = 0;
    f->log[0] = '\0';
    f->random = 0;
    f->env = (prv_env){
        .ctx = f, .alloc = sf_alloc, .random = sf_random, .log = sf_log, .now_ms = FIX_NOW_MS};
    f->site = (prv_site){.policy = f->policy,
                         .keys = f->keys,
                         .home = PRV_STR("/privacy/"),
                         .prefix = PRV_STR("privacy:")};
    prv_cookie_conf_init(&f->site.cookie);
}

void sf_close(state_fixture *f)
{
    while (f->n_blocks > 0)
        free(f->blocks[--f->n_blocks]);
    prv_keyring_free(f->keys);
    prv_policy_free(f->policy);
    free(f->zone_memory);
}

uint32_t sf_mask(const prv_policy *policy, prv_str names)
{
    uint32_t mask = 0;
    size_t at = 0;
    while (at < names.n) {
        size_t end = at;
        while (end < names.n && names.p[end] != ' ' && names.p[end] != ',')
            end++;
        if (end > at) {
            const int i = prv_policy_purpose(policy, (prv_str){names.p + at, end - at});
            if (i < 0)
                fail_msg("no such purpose: %.*s", (int)(end - at), names.p + at);
            mask |= 1u << i;
        }
        at = end + 1;
    }
    return mask;
}

const char *sf_names(const prv_policy *policy, uint32_t mask)
{
    static char text[1024];
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < policy->n_purposes; i++) {
        const prv_str name = policy->purposes[i].name;
        if (mask & 1u << i)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s", n ? " " : "", (int)name.n,
                                  name.p);
    }
    return text;
}

uint8_t sf_signals(prv_str names)
{
    const bool gpc = names.n >= 3 && memcmp(names.p, "gpc", 3) == 0;
    const bool dnt = names.n >= 3 && memcmp(names.p + names.n - 3, "dnt", 3) == 0;
    return (uint8_t)((gpc ? PRV_SIGNAL_GPC : 0) | (dnt ? PRV_SIGNAL_DNT : 0));
}

long long sf_number(prv_str text)
{
    char copy[32];
    char *end;
    snprintf(copy, sizeof copy, "%.*s", (int)text.n, text.n ? text.p : "");
    const long long value = strtoll(copy, &end, 10);
    if (text.n == 0 || *end)
        fail_msg("not a number: %s", copy);
    return value;
}

void sf_same(const vec_case *c, const char *key, prv_str got)
{
    const prv_str want = vec_get(c, key, 0);
    if (!want.p)
        return;
    if (got.n != want.n || (got.n > 0 && memcmp(got.p, want.p, got.n) != 0))
        fail_msg("%s:%u: %s: got \"%.*s\", expected \"%.*s\"", c->file, c->line, key, (int)got.n,
                 got.n ? got.p : "", (int)want.n, want.p);
}
