/*
 * Leaky buckets (GCRA): a bucket is the time at which it will have run empty. One word holds that
 * time and a part of the key; a set of eight is searched for the key, else the bucket that is
 * emptiest is taken.
 */
#include "zone.h"

#define TICKS_PER_MS 16 /* a limit of 960,000 a minute is one tick */
#define TICKS_PER_S (TICKS_PER_MS * 1000)
#define TIME_BITS 45
#define TIME_MASK ((UINT64_C(1) << TIME_BITS) - 1)
#define TIME_ORIGIN_MS 1600000000000ll /* 2020-09-13: 45 bits of ticks last until 2090 */
#define TRIES 64 /* then somebody else's hundred calls came through at once: let it pass */

static uint64_t limit_ticks(int64_t now_ms)
{
    int64_t ms = now_ms - TIME_ORIGIN_MS;
    return ms <= 0 ? 0 : (uint64_t)ms * TICKS_PER_MS & TIME_MASK;
}

/* The key's bucket, or the one that runs empty first. */
static unsigned limit_find(const prv_limit_set *set, uint64_t print, uint64_t *word)
{
    unsigned best = 0;
    uint64_t best_word = UINT64_MAX;
    for (unsigned i = 0; i < PRV_LIMIT_WAYS; i++) {
        uint64_t w = atomic_load_explicit(&set->bucket[i], memory_order_relaxed);
        if (w != 0 && w >> TIME_BITS == print) {
            *word = w;
            return i;
        }
        if (best_word == UINT64_MAX || (w & TIME_MASK) < (best_word & TIME_MASK)) {
            best = i;
            best_word = w;
        }
    }
    *word = best_word;
    return best;
}

bool prv_limit_take(prv_zone *zone, const prv_limit_conf *conf, uint64_t key, int64_t now_ms,
                    uint32_t *retry_s)
{
    if (retry_s != NULL) {
        *retry_s = 0;
    }
    if (zone == NULL || conf->off || conf->per_minute == 0 || zone->limit_sets == 0) {
        return true;
    }
    uint64_t hash = prv_mix64(key);
    uint64_t print = hash >> TIME_BITS;
    prv_limit_set *set = &prv_zone_limits(zone)[(hash & UINT32_MAX) * zone->limit_sets >> 32];
    uint64_t step = UINT64_C(60000) * TICKS_PER_MS / conf->per_minute;
    step = step > 0 ? step : 1;
    uint64_t depth = step * conf->burst;
    uint64_t now = limit_ticks(now_ms);

    for (int i = 0; i < TRIES; i++) {
        uint64_t word;
        unsigned at = limit_find(set, print, &word);
        uint64_t empty = word != 0 && word >> TIME_BITS == print ? word & TIME_MASK : 0;
        if (empty < now) {
            empty = now;
        }
        if (empty - now > depth + step) { /* the clock went back: not a life-long lock-out */
            uint64_t full = print << TIME_BITS | ((now + depth + step) & TIME_MASK);
            atomic_compare_exchange_strong(&set->bucket[at], &word, full);
            continue;
        }
        if (empty - now > depth) {
            uint64_t wait = empty - now - depth;
            if (retry_s != NULL) {
                *retry_s = (uint32_t)((wait + TICKS_PER_S - 1) / TICKS_PER_S);
            }
            return false;
        }
        uint64_t next = print << TIME_BITS | ((empty + step) & TIME_MASK);
        if (atomic_compare_exchange_strong(&set->bucket[at], &word, next)) {
            return true;
        }
    }
    return true;
}
