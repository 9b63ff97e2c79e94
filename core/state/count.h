/*
 * Counters in the zone, so that all workers of a server add to the same ones: relaxed atomics, no lock.
 *
 *   globals   what the whole zone counts (prv_tick), one copy a shard
 *   sites     what each request counts, by policy, one copy a shard
 *   cold      a hash table for what people do (choices, refusals): one word for what is counted, one for how often
 *
 * A shard is a processor's, so that two of them seldom share a cache line. What is counted is named by hashes of names (policy,
 * purpose, jurisdiction), never by an index into a policy: after a reload old and new workers count side by side, and what is
 * called the same goes on. Nothing here holds anything of a visitor.
 */
#ifndef PRV_COUNT_H
#define PRV_COUNT_H

#include "zone.h"

#include <sched.h>

/* Upper bounds of the latency histogram, in microseconds; what is slower is in the last bucket. */
#define PRV_LATENCIES 14
extern const uint32_t prv_latency_bound[PRV_LATENCIES];

typedef enum prv_tick {
    PRV_TICK_CACHE_HIT,      /* the cookie's state came from an entry: no HMAC or no read */
    PRV_TICK_CACHE_NEGATIVE, /* a hit: the entry knows that the store has no record */
    PRV_TICK_CACHE_MISS,
    PRV_TICK_CACHE_EVICTED,
    PRV_TICK_STORE_ANSWERED,
    PRV_TICK_STORE_FAILED, /* an error reply, or the connection ended */
    PRV_TICK_STORE_LATE,   /* not within privacy_store_timeout */
    PRV_TICK_STORE_UNSENT, /* the breaker is open, or there was no memory */
    PRV_TICK_STORE_US,     /* microseconds of all that were sent */
    PRV_TICK_LATENCY,      /* the histogram's first bucket */
    PRV_TICK_LATENCY_LAST = PRV_TICK_LATENCY + PRV_LATENCIES,
    PRV_TICK_BREAKER_OPENED,
    PRV_TICK_LINK_LOST,
    PRV_TICK_INVALIDATED, /* keys that Redis said have changed; a flush is one */
    PRV_TICK_DROPPED, /* there was no room to count something */
    PRV_TICK_COUNT
} prv_tick;

/* Words of one shard of one site. */
#define PRV_COUNT_MODES 2 /* on, report */
#define PRV_COUNT_SOURCES 5
_Static_assert(PRV_SOURCE_DEGRADED + 1 == PRV_COUNT_SOURCES, "each source is counted");
enum {
    PRV_SITE_REQUESTS,
    PRV_SITE_DECISIONS = PRV_SITE_REQUESTS + PRV_COUNT_MODES * PRV_COUNT_SOURCES, /* by row */
    PRV_SITE_COOKIES = PRV_SITE_DECISIONS + PRV_ROWS, /* by mode and direction: request, response */
    PRV_SITE_WORDS = 32
};
_Static_assert(PRV_SITE_COOKIES + PRV_COUNT_MODES * 2 <= PRV_SITE_WORDS, "a site's shard is four cache lines");

/* ---- the whole zone; zone NULL: nothing is counted */

static inline unsigned prv_count_shard(const prv_zone *zone)
{
    return (unsigned)sched_getcpu() & (zone->count_shards - 1);
}

static inline _Atomic uint64_t *prv_count_globals(prv_zone *zone, unsigned shard)
{
    return prv_zone_counts(zone) + shard * PRV_GLOBAL_WORDS;
}
_Static_assert((int)PRV_TICK_COUNT <= PRV_GLOBAL_WORDS, "the zone's own counters fit");

static inline void prv_count_add(prv_zone *zone, prv_tick tick, uint64_t n)
{
    if (zone != NULL) {
        atomic_fetch_add_explicit(&prv_count_globals(zone, prv_count_shard(zone))[tick], n,
                                  memory_order_relaxed);
    }
}

static inline void prv_count(prv_zone *zone, prv_tick tick)
{
    prv_count_add(zone, tick, 1);
}

/* One operation that was sent: how long its submitter waited. */
void prv_count_latency(prv_zone *zone, int64_t us);
/* The sum over all shards. */
uint64_t prv_count_read(prv_zone *zone, prv_tick tick);

/* ---- sites. A handle is found or made when configuration loads (prv_zone_site()); 0: none, nothing is counted. */

/* The words of this processor's shard. */
static inline _Atomic uint64_t *prv_count_site(prv_zone *zone, uint32_t site)
{
    return prv_zone_sites(zone) + (size_t)(site - 1) * prv_zone_site_words(zone) + PRV_LINE_WORDS +
           prv_count_shard(zone) * PRV_SITE_WORDS;
}
uint64_t prv_count_site_read(prv_zone *zone, uint32_t site, unsigned word);

/* ---- cold: what seldom happens. `key` is made by prv_cold_key() and never 0. */

typedef enum prv_cold {
    PRV_COLD_CHOICE,  /* purpose, granted or refused, method, jurisdiction */
    PRV_COLD_REFUSED, /* mode, gate, row */
    PRV_COLD_ASKED,   /* mode, question, where */
    PRV_COLD_LIMITED
} prv_cold;

uint64_t prv_cold_key(const prv_policy *policy, prv_cold what, const uint64_t *parts, size_t n);
void prv_cold_add(prv_zone *zone, uint64_t key, uint64_t n);
uint64_t prv_cold_read(prv_zone *zone, uint64_t key);

#endif
