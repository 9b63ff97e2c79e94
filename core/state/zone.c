/* Taking over or formatting a segment. */
#include "zone.h"

#include <string.h>
#include <time.h>

#define MAGIC 0x31454e4f5a565250ull      /* "PRVZONE1" in memory */
#define FORMATTING 0x46454e4f5a565250ull /* "PRVZONEF": somebody is at it */
#define FORMAT_WAIT_MS 1000 /* formatting takes microseconds: after this its process is dead */

_Static_assert(sizeof(struct prv_zone) <= PRV_ZONE_HEADER, "the header fits its page");

prv_limit_set *prv_zone_limits(prv_zone *zone)
{
    return (prv_limit_set *)(void *)((char *)zone + PRV_ZONE_HEADER);
}

prv_cache_set *prv_zone_cache(prv_zone *zone)
{
    return (prv_cache_set *)(void *)(prv_zone_limits(zone) + zone->limit_sets);
}

static void zone_format(prv_zone *zone, size_t size)
{
    char *mem = (char *)zone;
    memset(mem + sizeof zone->magic, 0, size - sizeof zone->magic);
    zone->size = size;
    zone->layout = PRV_ZONE_LAYOUT;
    zone->limit_sets = size / 16 / sizeof(prv_limit_set);
    size_t rest = size - PRV_ZONE_HEADER - zone->limit_sets * sizeof(prv_limit_set);
    zone->cache_sets = rest / sizeof(prv_cache_set);
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
