/* Counters in the zone: who may count where, and sums over the shards. */
#include "count.h"

#define COLD_PROBES 64 /* beyond that the table is as good as full */

const uint32_t prv_latency_bound[PRV_LATENCIES] = {100,   250,   500,    1000,   2500,   5000,    10000,
                                                   25000, 50000, 100000, 250000, 500000, 1000000, 2500000};

/* ------------------------------------------------------------------ the whole zone */

void prv_count_latency(prv_zone *zone, int64_t us)
{
    if (zone == NULL)
        return;
    const uint64_t took = us > 0 ? (uint64_t)us : 0;
    unsigned i = 0;
    while (i < PRV_LATENCIES && took > prv_latency_bound[i])
        i++;
    prv_count(zone, (prv_tick)(PRV_TICK_LATENCY + i));
    prv_count_add(zone, PRV_TICK_STORE_US, took);
}

uint64_t prv_count_read(prv_zone *zone, prv_tick tick)
{
    uint64_t sum = 0;
    for (unsigned i = 0; zone != NULL && i < zone->count_shards; i++)
        sum += atomic_load_explicit(&prv_count_globals(zone, i)[tick], memory_order_relaxed);
    return sum;
}

/* ------------------------------------------------------------------ sites */

static uint64_t site_name(const prv_policy *policy)
{
    const uint64_t h = prv_fnv64(PRV_FNV64_SEED, policy->id);
    return h != 0 ? h : 1;
}

uint32_t prv_zone_site(prv_zone *zone, const prv_policy *policy)
{
    const uint64_t name = site_name(policy);
    for (uint32_t i = 0; zone != NULL && i < zone->count_sites; i++) {
        _Atomic uint64_t *head = prv_zone_sites(zone) + i * prv_zone_site_words(zone);
        uint64_t found = atomic_load_explicit(head, memory_order_acquire);
        if (found == 0 && atomic_compare_exchange_strong(head, &found, name))
            found = name;
        if (found == name)
            return i + 1;
    }
    return 0;
}

uint64_t prv_count_site_read(prv_zone *zone, uint32_t site, unsigned word)
{
    uint64_t sum = 0;
    if (zone == NULL || site == 0)
        return 0;
    const _Atomic uint64_t *shard = prv_zone_sites(zone) +
                                    (size_t)(site - 1) * prv_zone_site_words(zone) + PRV_LINE_WORDS;
    for (unsigned i = 0; i < zone->count_shards; i++, shard += PRV_SITE_WORDS)
        sum += atomic_load_explicit(&shard[word], memory_order_relaxed);
    return sum;
}

/* ------------------------------------------------------------------ cold */

uint64_t prv_cold_key(const prv_policy *policy, prv_cold what, const uint64_t *parts, size_t n)
{
    uint64_t h = prv_mix64(site_name(policy) + (uint64_t)what);
    for (size_t i = 0; i < n; i++)
        h = prv_mix64(h ^ parts[i]) + UINT64_C(0x9e3779b97f4a7c15);
    return h != 0 ? h : 1;
}

/* The key's slot; make: an empty one becomes it. NULL: none. */
static prv_cold_slot *cold_find(prv_zone *zone, uint64_t key, bool make)
{
    prv_cold_slot *all = prv_zone_cold(zone);
    const uint64_t n = zone->count_cold;
    uint64_t at = (prv_mix64(key) & UINT32_MAX) * n >> 32;
    for (unsigned i = 0; i < COLD_PROBES && i < n; i++, at = at + 1 < n ? at + 1 : 0) {
        uint64_t found = atomic_load_explicit(&all[at].key, memory_order_acquire);
        if (found == 0) {
            if (!make)
                return NULL;
            if (atomic_compare_exchange_strong(&all[at].key, &found, key))
                found = key;
        }
        if (found == key)
            return &all[at];
    }
    return NULL;
}

void prv_cold_add(prv_zone *zone, uint64_t key, uint64_t n)
{
    prv_cold_slot *slot = zone != NULL ? cold_find(zone, key, true) : NULL;
    if (slot != NULL)
        atomic_fetch_add_explicit(&slot->n, n, memory_order_relaxed);
    else
        prv_count(zone, PRV_TICK_DROPPED);
}

uint64_t prv_cold_read(prv_zone *zone, uint64_t key)
{
    const prv_cold_slot *slot = zone != NULL ? cold_find(zone, key, false) : NULL;
    return slot != NULL ? atomic_load_explicit(&slot->n, memory_order_relaxed) : 0;
}
