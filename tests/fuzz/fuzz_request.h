/*
 * A small policy, a site and a decision for the fuzz targets of core/request. The first byte of the
 * input chooses the decision, the second the rules; what is left is the field.
 */
#ifndef FUZZ_REQUEST_H
#define FUZZ_REQUEST_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "request/request.h"

typedef struct fuzz_request {
    prv_policy policy;
    prv_site site;
    prv_env env;
    prv_request rq;
    prv_rules rules;
    prv_decision d;
    void *blocks[64];
    size_t n_blocks;
} fuzz_request;

static void *fuzz_alloc(void *ctx, size_t n)
{
    fuzz_request *f = ctx;

    if (f->n_blocks == sizeof(f->blocks) / sizeof(f->blocks[0])) {
        return NULL;
    }
    f->blocks[f->n_blocks] = malloc(n);
    return f->blocks[f->n_blocks++];
}

static const prv_policy *fuzz_policy(void)
{
    static const char text[] =
        "{\"schema\":1,\"policy\":{\"id\":\"f\",\"version\":\"2024-03-15\"},"
        "\"purposes\":{\"necessary\":{\"basis\":\"contract\"},"
        "\"statistics\":{\"basis\":\"consent\",\"dnt\":\"yield\"},"
        "\"marketing\":{\"basis\":\"consent\",\"gpc\":\"deny\"}},"
        "\"vendors\":{\"v\":{\"purpose\":\"marketing\",\"title\":\"V\"}},"
        "\"cookies\":{\"necessary\":[\"s\"],\"statistics\":[\"_g\",\"_g_*\"],"
        "\"marketing\":[{\"name\":\"m\",\"vendor\":\"v\"}]},"
        "\"jurisdictions\":{\"*\":{\"default\":\"deny\"}}}";
    static prv_policy *policy;
    prv_error err;

    if (policy == NULL &&
        prv_policy_compile((prv_str){text, sizeof(text) - 1}, "fuzz", &policy, &err) != PRV_OK) {
        abort();
    }
    return policy;
}

/* Takes two bytes off the input; false: there are none. */
static bool fuzz_open(fuzz_request *f, const uint8_t **data, size_t *size)
{
    if (*size < 2) {
        return false;
    }
    uint8_t decide = (*data)[0];
    uint8_t rule = (*data)[1];
    *data += 2;
    *size -= 2;

    memset(f, 0, sizeof(*f));
    f->policy = *fuzz_policy();
    f->policy.unknown_cookies = (prv_unknown)((decide >> 2 & 3) % 3);
    f->env = (prv_env){.ctx = f, .alloc = fuzz_alloc, .now_ms = 1795446000000};
    f->site = (prv_site){.policy = &f->policy, .home = PRV_STR("/privacy/")};
    prv_cookie_conf_init(&f->site.cookie);
    f->site.cookie.name = PRV_STR("own");
    f->rq = (prv_request){.env = &f->env, .site = &f->site, .comma_joined = (rule & 1) != 0};
    f->d.allowed = 1u | (uint32_t)(decide & 3) << 1;
    f->d.row[0] = 2;
    f->d.row[1] = (decide & 1) ? 11 : 15;
    f->d.row[2] = (decide & 2) ? 11 : 8;
    prv_rules_init(&f->rules);
    f->rules.mode = PRV_MODE_ON;
    f->rules.vendor = (rule & 2) ? 0 : -1;
    return true;
}

static void fuzz_close(fuzz_request *f)
{
    while (f->n_blocks > 0) {
        free(f->blocks[--f->n_blocks]);
    }
}

static inline void fuzz_check(bool held)
{
    if (!held) {
        abort();
    }
}

/* What may be said of a name in a log: token characters and the commas between. */
static inline void fuzz_check_log(prv_str names)
{
    fuzz_check(names.n <= 1024);
    for (size_t i = 0; i < names.n; i++) {
        fuzz_check(names.p[i] > ' ' && names.p[i] < 0x7f &&
                   strchr("\"\\;=()/[]{}<>@?", names.p[i]) == NULL);
    }
}

#endif
