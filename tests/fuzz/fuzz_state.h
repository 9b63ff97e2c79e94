/* A policy, a key and a site for the fuzz targets of tokens and records. */
#ifndef FUZZ_STATE_H
#define FUZZ_STATE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "request/request.h"

#define FUZZ_ID "aaaqeayeaudaocajbifqydiob4"
#define FUZZ_NOW INT64_C(1795446000)

typedef struct fuzz_state {
    const prv_policy *policy;
    const prv_keyring *keys;
    prv_site site;
    prv_env env;
    size_t n_blocks;
    void *blocks[64];
} fuzz_state;

static void fuzz_check(bool holds)
{
    if (!holds)
        abort();
}

static void *fuzz_alloc(void *ctx, size_t n)
{
    fuzz_state *f = ctx;
    if (f->n_blocks == sizeof f->blocks / sizeof *f->blocks)
        return NULL;
    f->blocks[f->n_blocks] = malloc(n ? n : 1);
    return f->blocks[f->n_blocks++];
}

static void fuzz_open(fuzz_state *f)
{
    static const char text[] =
        "{\"schema\":1,\"policy\":{\"id\":\"f\",\"version\":\"2024-03-15\"},"
        "\"purposes\":{\"necessary\":{\"basis\":\"contract\"},"
        "\"preferences\":{\"basis\":\"consent\"},\"statistics\":{\"basis\":\"consent\"},"
        "\"marketing\":{\"basis\":\"consent\"}},"
        "\"jurisdictions\":{\"*\":{\"default\":\"deny\"}}}";
    static const char keys_text[] = "token a AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n";
    static prv_policy *policy;
    static prv_keyring *keys;
    prv_error err;
    if (!policy)
        fuzz_check(prv_policy_compile((prv_str){text, sizeof text - 1}, "fuzz", &policy, &err) ==
                   PRV_OK);
    if (!keys)
        fuzz_check(prv_keyring_parse((prv_str){keys_text, sizeof keys_text - 1}, "keys", &keys,
                                     &err) == PRV_OK);
    *f = (fuzz_state){.policy = policy, .keys = keys};
    f->env =
        (prv_env){.ctx = f, .alloc = fuzz_alloc, .random = prv_random, .now_ms = FUZZ_NOW * 1000};
    f->site = (prv_site){.policy = policy, .keys = keys};
    prv_cookie_conf_init(&f->site.cookie);
}

static void fuzz_close(fuzz_state *f)
{
    while (f->n_blocks > 0)
        free(f->blocks[--f->n_blocks]);
}

#endif
