/*
 * The invalidation link's place in the zone: one process holds it, all believe it.
 *
 * A holder may be killed, stopped or late at any instruction. So nothing it says is believed for
 * longer than PRV_LINK_FRESH_MS, the time it vouches for is when the question was *sent* that the
 * store has answered, and both words are changed only from the value that this process wrote last:
 * a holder that wakes up after another took over can take away authority, never give it.
 * tests/unit/test_lease.c stops holders at each step.
 */
#include "../mutant.h"
#include "count.h"

#define MS_BITS 40
#define MS_MASK ((UINT64_C(1) << MS_BITS) - 1)
#define HOLDER_MASK 0xffffffu

static uint64_t word_of(uint32_t holder, int64_t mono_ms)
{
    uint64_t ms = mono_ms > 0 ? (uint64_t)mono_ms & MS_MASK : 0;
    return (uint64_t)holder << MS_BITS | ms;
}

/* Milliseconds since the word was written; a clock that reads a little earlier counts as now. */
static int64_t word_age(uint64_t word, int64_t mono_ms)
{
    int64_t age = mono_ms - (int64_t)(word & MS_MASK);
    return age >= 0 ? age : age > -PRV_LEASE_MS ? 0 : INT64_MAX;
}

void prv_zone_epoch_move(prv_zone *zone)
{
    if (zone != NULL && !PRV_MUTANT("drop-epoch"))
        atomic_fetch_add(&zone->epoch, 1);
}

uint64_t prv_zone_epoch(const prv_zone *zone)
{
    return zone != NULL ? atomic_load(&zone->epoch) : 0;
}

/* Entries of epochs before the one that begins here were made before. */
void prv_zone_flush(prv_zone *zone)
{
    if (zone == NULL)
        return;
    uint64_t next = atomic_fetch_add(&zone->epoch, 1) + 1;
    uint64_t known = atomic_load(&zone->flushed);
    while (known < next && !atomic_compare_exchange_weak(&zone->flushed, &known, next)) {
    }
}

bool prv_zone_link_up(const prv_zone *zone, int64_t mono_ms)
{
    if (zone == NULL)
        return false;
    uint64_t heard = atomic_load_explicit(&zone->heard, memory_order_acquire);
    uint64_t lease = atomic_load_explicit(&zone->lease, memory_order_relaxed);
    return (heard & MS_MASK) != 0 && heard >> MS_BITS != 0 &&
           heard >> MS_BITS == lease >> MS_BITS && word_age(heard, mono_ms) < PRV_LINK_FRESH_MS;
}

static bool lease_take(prv_lease *lease, int64_t mono_ms)
{
    uint64_t known = atomic_load(&lease->zone->lease);
    if (known != 0 && word_age(known, mono_ms) < PRV_LEASE_MS)
        return false;
    while (lease->holder == 0) {
        uint32_t drawn = 0;
        if (!prv_random(NULL, &drawn, sizeof drawn))
            return false;
        lease->holder = drawn & HOLDER_MASK;
    }
    uint64_t mine = word_of(lease->holder, mono_ms);
    if (!atomic_compare_exchange_strong(&lease->zone->lease, &known, mine))
        return false;
    lease->lease_word = mine;
    prv_lease_unheard(lease);
    if (known != 0) /* of a holder that ended without a word, or stands still */
        prv_count(lease->zone, PRV_TICK_LINK_LOST);
    return true;
}

bool prv_lease_hold(prv_lease *lease, prv_zone *zone, int64_t mono_ms)
{
    lease->zone = zone;
    if (zone == NULL)
        return false;
    if (lease->lease_word == 0)
        return lease_take(lease, mono_ms);
    uint64_t known = lease->lease_word;
    uint64_t mine = word_of(lease->holder, mono_ms);
    if (atomic_compare_exchange_strong(&zone->lease, &known, mine)) {
        lease->lease_word = mine;
        return true;
    }
    lease->lease_word = 0;
    lease->heard_word = 0;
    return false;
}

bool prv_lease_heard(prv_lease *lease, int64_t mono_ms)
{
    if (lease->lease_word == 0)
        return false;
    uint64_t known = lease->heard_word;
    uint64_t mine = word_of(lease->holder, mono_ms);
    if (!atomic_compare_exchange_strong(&lease->zone->heard, &known, mine))
        return false;
    lease->heard_word = mine;
    return true;
}

/* Should another take over just now, authority is taken away from it: that is always safe, its next
 * prv_lease_heard() fails, and it begins anew. */
void prv_lease_unheard(prv_lease *lease)
{
    if (lease->lease_word == 0)
        return;
    if (atomic_load(&lease->zone->lease) != lease->lease_word) {
        lease->lease_word = 0;
        lease->heard_word = 0;
        return;
    }
    lease->heard_word = word_of(lease->holder, 0);
    atomic_store(&lease->zone->heard, lease->heard_word);
    prv_zone_epoch_move(lease->zone);
}

void prv_lease_release(prv_lease *lease)
{
    if (lease->lease_word == 0)
        return;
    prv_lease_unheard(lease);
    uint64_t known = lease->lease_word;
    atomic_compare_exchange_strong(&lease->zone->lease, &known, 0);
    lease->lease_word = 0;
    lease->heard_word = 0;
}

void prv_lease_targets(const prv_lease *lease, const uint64_t *names, size_t n)
{
    if (lease->lease_word == 0)
        return;
    for (size_t i = 0; i < PRV_TARGETS_MAX; i++)
        atomic_store(&lease->zone->targets[i], i < n ? names[i] : 0);
}

/* Each process learns of a cluster's primaries by itself: the holder may be the last to hear of a
 * new one. */
bool prv_zone_targeted(prv_zone *zone, uint64_t name)
{
    for (size_t i = 0; zone != NULL && i < PRV_TARGETS_MAX; i++) {
        if (atomic_load_explicit(&zone->targets[i], memory_order_acquire) == name)
            return true;
    }
    if (zone != NULL)
        atomic_store(&zone->targets_wanted, 1);
    return false;
}

bool prv_lease_asked(const prv_lease *lease)
{
    return lease->lease_word != 0 && atomic_exchange(&lease->zone->targets_wanted, 0) != 0;
}
