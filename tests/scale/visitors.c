#include "visitors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY 86400

void give_up(const char *form, ...)
{
    va_list args;
    va_start(args, form);
    vfprintf(stderr, form, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static int64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t clock_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t processor_ns(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

/* ------------------------------------------------------------------ one visitor */

static void *people_alloc(void *ctx, size_t n)
{
    people *p = ctx;
    const size_t at = (p->used + 15) & ~(size_t)15;
    if (n > sizeof p->memory - at)
        return NULL;
    p->used = at + n;
    return p->memory + at;
}

void people_open(people *p, char **argv)
{
    prv_error err = {0};
    static char text[1 << 20];
    memset(p, 0, sizeof *p);
    FILE *file = fopen(argv[0], "r");
    if (!file)
        give_up("%s cannot be read.", argv[0]);
    const size_t n = fread(text, 1, sizeof text, file);
    fclose(file);
    if (prv_policy_compile((prv_str){text, n}, argv[0], &p->policy, &err) != PRV_OK ||
        prv_keyring_load(argv[1], &p->keys, &err) != PRV_OK)
        give_up("%s", err.text);
    p->began = atoll(argv[2]);
    p->env = (prv_env){.ctx = p,
                       .alloc = people_alloc,
                       .random = prv_random,
                       .now_ms = p->began * 1000,
                       .mono_ms = clock_ns() / 1000000};
    p->site = (prv_site){.policy = p->policy,
                         .keys = p->keys,
                         .home = PRV_STR("/privacy/"),
                         .store = true,
                         .prefix = PRV_STR("privacy:")};
    prv_cookie_conf_init(&p->site.cookie);
}

void people_close(people *p)
{
    prv_keyring_free(p->keys);
    prv_policy_free(p->policy);
}

prv_cache_key visitor_key(uint64_t i)
{
    const uint64_t words[] = {prv_mix64(i + 1), prv_mix64(~i)};
    prv_cache_key key;
    memcpy(key.b, words, sizeof key.b);
    return key;
}

prv_state visitor_state(const people *p, uint64_t i)
{
    const uint32_t all = p->policy->consent;
    const uint32_t half = all & 0x55555555u ? all & 0x55555555u : all;
    prv_state s = {.present = true,
                   .stored = true,
                   .swept = true, /* nothing that was refused is left in the browser */
                   .id_len = PRV_ID_LEN,
                   .version = p->policy->version,
                   .seq = i % 10 == 0 ? 2 : 1,
                   .at = p->began - (int64_t)(prv_mix64(i) % (90 * DAY))};
    s.granted = i % 20 < 12 ? all : i % 20 < 17 ? half : all & -all;
    s.refused = all & ~s.granted;
    prv_id_unpack(visitor_key(i).b, s.id);
    s.expires = prv_state_expires(p->policy, &s);
    return s;
}

const prv_op *visitor_change(people *p, uint64_t i)
{
    static prv_op op;
    static const char *const methods[] = {"form", "api"};
    const prv_state s = visitor_state(p, i);
    const prv_str method = {methods[i % 4 == 0], strlen(methods[i % 4 == 0])};
    char change[24];
    const int change_len =
        snprintf(change, sizeof change, "%llu", (unsigned long long)(prv_mix64(~i) >> 1));
    const prv_record_meta meta = {.method = method,
                                  .region = prv_region_parse(PRV_STR("FR")),
                                  .change = {change, (size_t)change_len}};
    p->used = 0;
    if (!prv_record_change(p->policy, p->keys, p->site.prefix, &s, 0, &meta, &p->env, &op))
        give_up("A record could not be made.");
    return &op;
}

prv_reply visitor_reply(const prv_op *op)
{
    const size_t fields = (size_t)strtoul(op->args[3].p, NULL, 10);
    return (prv_reply){.status = PRV_REPLY_RECORD, .n = 2 * fields, .pairs = &op->args[4]};
}

size_t visitor_cookie(const people *p, uint64_t i, char out[PRV_TOKEN_MAX + 32])
{
    const prv_state s = visitor_state(p, i);
    const prv_str name = p->site.cookie.name;
    memcpy(out, name.p, name.n);
    out[name.n] = '=';
    const size_t n = prv_token_write(&p->site, &s, out + name.n + 1);
    if (n == 0)
        give_up("A cookie could not be made.");
    return name.n + 1 + n;
}

/* ------------------------------------------------------------------ a zone full of them */

size_t zone_bytes_for(uint64_t n)
{
    const size_t bytes = (2 * n * sizeof(prv_cache_set) / PRV_CACHE_WAYS + 300000) * 16 / 15;
    return (bytes + 0xffff) & ~(size_t)0xffff;
}

bool visit(const people *p, prv_zone *zone, const prv_str *cookie, prv_request *rq, prv_op *op)
{
    *rq = (prv_request){
        .env = &p->env, .site = &p->site, .zone = zone, .cookies = cookie, .n_cookies = 1};
    return prv_request_begin(rq, op) == PRV_STEP_READY;
}

uint32_t visitor_tag(const people *p)
{
    const prv_request rq = {.env = &p->env, .site = &p->site};
    return prv_request_tag(&rq);
}

static void first_visit(people *p, prv_zone *zone, uint64_t i)
{
    if (p->live)
        p->env.mono_ms = clock_ns() / 1000000;
    char text[PRV_TOKEN_MAX + 32];
    const prv_str cookie = {text, visitor_cookie(p, i, text)};
    prv_request rq;
    prv_op read;
    if (visit(p, zone, &cookie, &rq, &read))
        give_up("Visitor %llu was there before.", (unsigned long long)i);
    const prv_reply reply = visitor_reply(visitor_change(p, i));
    prv_request_feed(&rq, &reply);
    if (rq.source != PRV_SOURCE_STORE || rq.state.granted != visitor_state(p, i).granted)
        give_up("The record of visitor %llu does not verify.", (unsigned long long)i);
}

static bool stays(people *p, prv_zone *zone, uint64_t i)
{
    if (p->live)
        p->env.mono_ms = clock_ns() / 1000000;
    char text[PRV_TOKEN_MAX + 32];
    const prv_str cookie = {text, visitor_cookie(p, i, text)};
    prv_request rq;
    prv_op read;
    return visit(p, zone, &cookie, &rq, &read) && rq.source == PRV_SOURCE_CACHE;
}

/* One of each n / sampled. */
static uint64_t drawn(uint64_t k, uint64_t n, size_t sampled)
{
    const uint64_t step = n / sampled;
    return k < sampled ? k * step + prv_mix64(k) % step : n;
}

size_t zone_fill(people *p, prv_zone *zone, uint64_t n, uint32_t *sample, size_t sampled)
{
    for (size_t k = 0; k < sampled; k++)
        sample[k] = (uint32_t)drawn(k, n, sampled);
    for (size_t k = sampled; k > 1; k--) {
        const size_t other = prv_mix64(k + UINT64_C(0x5ca1e)) % k;
        const uint32_t held = sample[k - 1];
        sample[k - 1] = sample[other];
        sample[other] = held;
    }
    const uint32_t tag = visitor_tag(p);
    for (uint64_t i = 0; n > sampled && i < n; i++) {
        if (sampled > 0 && i == drawn(i / (n / sampled), n, sampled))
            continue; /* its first request reads it */
        const prv_cache_key key = visitor_key(i);
        const prv_state s = visitor_state(p, i);
        const prv_cache_put_how how = {.stamp = prv_cache_stamp(zone, key)};
        prv_cache_put(zone, key, tag, &s, &how, p->env.now_ms);
    }
    for (size_t k = 0; k < sampled; k++)
        first_visit(p, zone, sample[k]);
    size_t stayed = 0;
    for (size_t k = 0; k < sampled; k++) {
        if (stays(p, zone, sample[k]))
            sample[stayed++] = sample[k];
    }
    return stayed;
}
