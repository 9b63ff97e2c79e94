/* Taking over or formatting a segment. */
#include "count.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x31454e4f5a565250ull      /* "PRVZONE1" in memory */
#define FORMATTING 0x46454e4f5a565250ull /* "PRVZONEF": somebody is at it */
#define FORMAT_WAIT_MS 1000 /* formatting takes microseconds: after this its process is dead */
#define COUNTS_MAX 262144   /* bytes: a hundred sites and 8192 different choices */
#define SHARDS_MAX 16
#define SITES_LEAST 8 /* rather fewer shards than fewer sites */

_Static_assert(sizeof(struct prv_zone) <= PRV_ZONE_HEADER, "the header fits its page");

prv_limit_set *prv_zone_limits(prv_zone *zone)
{
    return (prv_limit_set *)(void *)((char *)zone + PRV_ZONE_HEADER);
}

prv_cache_set *prv_zone_cache(prv_zone *zone)
{
    return (prv_cache_set *)(void *)(prv_zone_limits(zone) + zone->limit_sets);
}

/* ---- counters: half for sites, what these leave for the cold table */

static size_t counts_size(size_t size)
{
    const size_t n = size / 16 / 64 * 64;
    return n < COUNTS_MAX ? n : COUNTS_MAX;
}

size_t prv_zone_site_words(const prv_zone *zone)
{
    return PRV_LINE_WORDS + (size_t)zone->count_shards * PRV_SITE_WORDS;
}

_Atomic uint64_t *prv_zone_counts(prv_zone *zone)
{
    return (_Atomic uint64_t *)(void *)(prv_zone_cache(zone) + zone->cache_sets);
}

_Atomic uint64_t *prv_zone_sites(prv_zone *zone)
{
    return prv_zone_counts(zone) + (size_t)zone->count_shards * PRV_GLOBAL_WORDS;
}

prv_cold_slot *prv_zone_cold(prv_zone *zone)
{
    return (prv_cold_slot *)(void *)(prv_zone_sites(zone) +
                                     zone->count_sites * prv_zone_site_words(zone));
}

static void counts_format(prv_zone *zone, size_t bytes)
{
    const long processors = sysconf(_SC_NPROCESSORS_CONF);
    uint32_t shards = 1;
    while (shards < SHARDS_MAX && shards < processors)
        shards *= 2;
    do {
        zone->count_shards = shards;
        zone->count_sites = (uint32_t)(bytes / 2 / (prv_zone_site_words(zone) * 8));
        shards /= 2;
    } while (zone->count_sites < SITES_LEAST && shards > 0);
    const size_t used = 8 * (zone->count_shards * PRV_GLOBAL_WORDS +
                             zone->count_sites * prv_zone_site_words(zone));
    zone->count_cold = (uint32_t)((bytes - used) / sizeof(prv_cold_slot));
}

static void zone_format(prv_zone *zone, size_t size)
{
    char *mem = (char *)zone;
    memset(mem + sizeof zone->magic, 0, size - sizeof zone->magic);
    zone->size = size;
    zone->layout = PRV_ZONE_LAYOUT;
    zone->epoch = 1; /* stamps of 0 mean something else */
    zone->limit_sets = size / 16 / sizeof(prv_limit_set);
    const size_t counts = counts_size(size);
    size_t rest = size - PRV_ZONE_HEADER - zone->limit_sets * sizeof(prv_limit_set) - counts;
    zone->cache_sets = rest / sizeof(prv_cache_set);
    counts_format(zone, counts);
    atomic_store_explicit(&zone->magic, MAGIC, memory_order_release);
}

static bool zone_matches(const prv_zone *zone, size_t size)
{
    return zone->size == size && zone->layout == PRV_ZONE_LAYOUT;
}

prv_zone *prv_zone_attach(void *mem, size_t size)
{
    prv_zone *zone = mem;
    if (mem == NULL || size < PRV_ZONE_MIN) {
        return NULL;
    }
    for (unsigned waited = 0;;) {
        uint64_t magic = atomic_load_explicit(&zone->magic, memory_order_acquire);
        if (magic == MAGIC && zone_matches(zone, size)) {
            return zone;
        }
        if (magic == FORMATTING && waited < FORMAT_WAIT_MS) {
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
            waited++;
            continue;
        }
        if (magic == FORMATTING ||
            atomic_compare_exchange_strong(&zone->magic, &magic, FORMATTING)) {
            zone_format(zone, size);
            return zone;
        }
    }
}
