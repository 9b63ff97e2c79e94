/*
 * probe POLICY KEYS TIME ROUNDS SAMPLE N...: what a hit costs in the core with N visitors in the
 * zone, beside a bare look into the cache and a bare read of 64 bytes of an area of that size. The
 * sizes take turns; a line for each: visitors=N zone=BYTES found=SHARE hit=NS hit_median=NS
 * cache=NS memory=NS Under callgrind, --toggle-collect=hits counts the instructions of the hits
 * alone. probe POLICY KEYS TIME keep N: how many visitors are still there after N were put into
 * zones of several sizes.
 */
#include "visitors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HITS 100000 /* a round of one size; less where the sample is smaller */
#define ROUNDS_MAX 64
#define SIZES_MAX 8

typedef struct stage {
    uint64_t n;
    size_t bytes, sampled, at;
    prv_zone *zone;
    uint32_t *sample;
    char *text;
    prv_str *cookies;
    prv_lease lease;
    uint64_t found;
    int64_t hit[ROUNDS_MAX], cache[ROUNDS_MAX], memory[ROUNDS_MAX];
} stage;

static void *area(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        give_up("There is no memory for a zone of %zu bytes.", bytes);
    return p;
}

static void stage_open(people *p, stage *s, uint64_t n, size_t most)
{
    char cookie[PRV_TOKEN_MAX + 32];
    *s = (stage){.n = n, .bytes = zone_bytes_for(n), .sampled = n < most ? (size_t)n : most};
    s->zone = prv_zone_attach(area(s->bytes), s->bytes);
    s->sample = calloc(s->sampled, sizeof *s->sample);
    s->cookies = calloc(s->sampled, sizeof *s->cookies);
    s->text = malloc(s->sampled * (PRV_TOKEN_MAX + 32));
    if (!s->sample || !s->cookies || !s->text)
        give_up("There is no memory.");
    /* an invalidation link that hears, and hears nothing */
    if (!prv_lease_hold(&s->lease, s->zone, p->env.mono_ms) ||
        !prv_lease_heard(&s->lease, p->env.mono_ms))
        give_up("The lease of the link could not be taken.");
    s->sampled = zone_fill(p, s->zone, n, s->sample, s->sampled);
    char *out = s->text;
    for (size_t k = 0; k < s->sampled; k++) {
        const size_t len = visitor_cookie(p, s->sample[k], cookie);
        memcpy(out, cookie, len);
        s->cookies[k] = (prv_str){out, len};
        out += len;
    }
}

__attribute__((noinline)) size_t hits(const people *p, stage *s, size_t n);
__attribute__((noinline)) size_t hits(const people *p, stage *s, size_t n)
{
    size_t good = 0;
    for (size_t k = 0; k < n; k++) {
        prv_request rq;
        prv_op op;
        good += visit(p, s->zone, &s->cookies[(s->at + k) % s->sampled], &rq, &op) &&
                rq.source == PRV_SOURCE_CACHE;
    }
    return good;
}

static size_t looks(const people *p, stage *s, size_t n)
{
    size_t found = 0;
    prv_cached seen;
    const uint32_t tag = visitor_tag(p);
    for (size_t k = 0; k < n; k++)
        found += prv_cache_get(s->zone, visitor_key(s->sample[(s->at + k) % s->sampled]), tag,
                               p->env.mono_ms, &seen);
    return found;
}

/* Any lines of the zone: those of the cookies' entries are warm by now. */
static uint64_t reads(const stage *s, size_t n, uint64_t seed)
{
    const uint64_t lines = (s->bytes - PRV_ZONE_HEADER) / 64;
    const volatile uint64_t *words = (const volatile uint64_t *)(const volatile void *)s->zone;
    uint64_t sum = 0;
    for (size_t k = 0; k < n; k++) {
        const uint64_t at = prv_mix64(seed + k) % lines * 8;
        for (unsigned w = 0; w < 8; w++)
            sum += words[at + w];
    }
    return sum;
}

static void stage_round(const people *p, stage *s, unsigned round)
{
    const size_t n = s->sampled < HITS ? s->sampled : HITS;
    static volatile uint64_t sink;
    const int64_t began = processor_ns();
    s->found += hits(p, s, n);
    const int64_t hit = processor_ns();
    s->at = (s->at + n) % s->sampled;
    sink = looks(p, s, n); /* of the next, which are cold */
    const int64_t cache = processor_ns();
    s->at = (s->at + n) % s->sampled;
    sink = reads(s, n, (uint64_t)hit);
    (void)sink;
    s->hit[round] = (hit - began) * 100 / (int64_t)n;
    s->cache[round] = (cache - hit) * 100 / (int64_t)n;
    s->memory[round] = (processor_ns() - cache) * 100 / (int64_t)n;
}

static int smaller(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double least(int64_t *of, unsigned n)
{
    qsort(of, n, sizeof *of, smaller);
    return (double)of[0] / 100;
}

static void keep(people *p, uint64_t n)
{
    static const unsigned rooms[] = {72,  80,  90,
                                     108, 144, 216}; /* bytes of the cache's part a visitor */
    for (size_t r = 0; r < sizeof rooms / sizeof *rooms; r++) {
        const size_t bytes = (n * rooms[r] + 300000) * 16 / 15 / 64 * 64;
        prv_zone *zone = prv_zone_attach(area(bytes), bytes);
        prv_cached seen;
        const uint32_t tag = visitor_tag(p);
        uint64_t found = 0;
        zone_fill(p, zone, n, NULL, 0);
        for (uint64_t i = 0; i < n; i++)
            found += prv_cache_get(zone, visitor_key(i), tag, p->env.mono_ms, &seen);
        printf("visitors=%" PRIu64 " zone=%zu entries=%" PRIu64 " kept=%.4f\n", n, bytes,
               zone->cache_sets * PRV_CACHE_WAYS, (double)found / (double)n);
        munmap(zone, bytes);
    }
}

int main(int argc, char **argv)
{
    static people p;
    static stage stages[SIZES_MAX];
    if (argc < 6)
        give_up("usage: probe " PEOPLE_ARGS " ROUNDS SAMPLE N... | keep N");
    people_open(&p, argv + 1);
    if (strcmp(argv[4], "keep") == 0) {
        keep(&p, strtoull(argv[5], NULL, 10));
        return 0;
    }
    const unsigned rounds = (unsigned)atoi(argv[4]);
    const size_t most = strtoul(argv[5], NULL, 10);
    const unsigned sizes = (unsigned)argc - 6;
    if (rounds == 0 || rounds > ROUNDS_MAX || sizes > SIZES_MAX || most == 0)
        give_up("At most %u rounds of at most %u sizes.", ROUNDS_MAX, SIZES_MAX);
    for (unsigned i = 0; i < sizes; i++)
        stage_open(&p, &stages[i], strtoull(argv[6 + i], NULL, 10), most);
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < sizes; i++)
            stage_round(&p, &stages[i], round);
    }
    for (unsigned i = 0; i < sizes; i++) {
        stage *s = &stages[i];
        const size_t n = s->sampled < HITS ? s->sampled : HITS;
        const double hit = least(s->hit, rounds);
        printf("visitors=%" PRIu64 " zone=%zu entries=%" PRIu64
               " found=%.4f hit=%.1f hit_median=%.1f cache=%.1f memory=%.1f requests=%zu\n",
               s->n, s->bytes, s->zone->cache_sets * PRV_CACHE_WAYS,
               (double)s->found / (double)(n * rounds), hit, (double)s->hit[rounds / 2] / 100,
               least(s->cache, rounds), least(s->memory, rounds), n * rounds);
    }
    return 0;
}
