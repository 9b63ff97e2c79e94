/*
 * Layout of the shared-memory zone: private to zone.c, cache.c, limit.c, breaker.c and core/redis.
 *
 *   header page | limit sets (1/16 of the segment) | cache sets | counters (1/16, 256 KiB at most)
 *
 * Everything in a zone is written by several processes at once, any of which may die or be stopped
 * between two stores. Hence only lock-free atomics, and nothing that a dead writer could leave
 * wedged.
 */
#ifndef PRV_ZONE_H
#define PRV_ZONE_H

#include "state.h"

#include <stdalign.h>
#include <stdatomic.h>

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_CHAR_LOCK_FREE == 2,
               "shared memory needs atomics without locks");

/* ---- breaker.c: one word, so that a transition is one compare-and-swap.
 * 0: closed. Else (time of the next probe << 8) | (failures << 1) | a probe is under way. */
typedef struct prv_cell {
    _Atomic uint64_t word;
} prv_cell;

prv_breaker prv_cell_ask(prv_cell *cell, int64_t mono_ms);
/* true: this report opened it. */
bool prv_cell_report(prv_cell *cell, bool ok, int64_t mono_ms);
/* Where there are several Redis, each has a cell, found by a hash of its address. */
#define PRV_CELLS 128 /* more than a cluster's primaries: those of the past keep theirs */
typedef struct prv_named_cell {
    _Atomic uint64_t name; /* 0: free */
    prv_cell cell;
} prv_named_cell;

/* When prv_cell_ask() may give the next probe; 0: the breaker is closed. */
int64_t prv_cell_due(const prv_cell *cell);

/* ---- limit.c: sets of eight buckets, a cache line */
#define PRV_LIMIT_WAYS 8
typedef struct prv_limit_set {
    _Atomic uint64_t bucket[PRV_LIMIT_WAYS];
} prv_limit_set;

/* ---- lease.c: who holds the invalidation link, and until when it was heard. Words are (holder << 40)
 * | milliseconds of the monotonic clock; holder 0: nobody, milliseconds 0: not heard. */
#define PRV_LINK_FRESH_MS 900 /* entries are authoritative so long after the link was heard */
#define PRV_LEASE_MS 600      /* a holder that has not renewed for so long is dead or stopped */

#define PRV_TARGETS_MAX 64    /* primaries of a cluster */

typedef struct prv_lease {
    prv_zone *zone;
    uint32_t holder;         /* this process' number among the zone's; 0: not drawn yet */
    uint64_t lease_word;     /* as written last; 0: not held */
    uint64_t heard_word;
} prv_lease;

/* Takes or renews the lease. False: another holds it (and if it was ours, it has been lost: then the
 * link is to be dropped at once). A lease that is taken moves the epoch. */
bool prv_lease_hold(prv_lease *lease, prv_zone *zone, int64_t mono_ms);
/* The holder vouches that all that the store said until `mono_ms` has been carried out. False: the word is
 * another's; the link counts as lost. */
bool prv_lease_heard(prv_lease *lease, int64_t mono_ms);
/* The link is down: nothing is authoritative until it is up again. */
void prv_lease_unheard(prv_lease *lease);
void prv_lease_release(prv_lease *lease);
/* The holder says whom it listens to, before it does: names are hashes of addresses. */
void prv_lease_targets(const prv_lease *lease, const uint64_t *names, size_t n);
/* Is that one listened to? If not, the holder is asked to find out who there is. */
bool prv_zone_targeted(prv_zone *zone, uint64_t name);
/* Was it asked since the last time? */
bool prv_lease_asked(const prv_lease *lease);

/* ---- cache.c: eight entries of 64 bytes and 64 bytes for the set: 72 a visitor */
#define PRV_CACHE_WAYS 8
#define PRV_CACHE_WORDS 8
typedef struct prv_cache_set {
    _Atomic uint64_t lock;                  /* (changes << 32) | (time stamp << 1) | locked */
    _Atomic uint32_t check[PRV_CACHE_WAYS]; /* over the entry and its tag */
    _Atomic uint8_t check2[PRV_CACHE_WAYS]; /* eight more bits of it */
    _Atomic uint8_t used[PRV_CACHE_WAYS];   /* how long an entry stays without being asked for */
    _Atomic uint32_t invalidated;           /* keys that hash here, whether or not they had an entry */
    uint32_t spare;
    _Atomic uint64_t entry[PRV_CACHE_WAYS][PRV_CACHE_WORDS];
} prv_cache_set;
_Static_assert(sizeof(prv_cache_set) == 72 * PRV_CACHE_WAYS, "72 bytes a visitor");

/* ---- count.c: see count.h */
#define PRV_LINE_WORDS 8
#define PRV_GLOBAL_WORDS 32 /* of one shard */
typedef struct prv_cold_slot {
    _Atomic uint64_t key; /* 0: empty */
    _Atomic uint64_t n;
} prv_cold_slot;

/* ---- zone.c */
#define PRV_ZONE_LAYOUT 2u /* another layout of anything above: count up */
#define PRV_ZONE_HEADER 4096

struct prv_zone {
    _Atomic uint64_t magic;
    uint64_t size;
    uint64_t layout;
    uint64_t limit_sets;
    uint64_t cache_sets;
    uint32_t count_shards; /* a power of two */
    uint32_t count_sites;
    uint32_t count_cold; /* slots */
    alignas(64) prv_cell breaker;
    alignas(64) prv_named_cell cells[PRV_CELLS];
    alignas(64) _Atomic uint64_t epoch; /* moves whenever an invalidation may have been missed */
    _Atomic uint64_t flushed;           /* entries of an epoch before this one were all invalidated */
    _Atomic uint64_t lease;
    _Atomic uint64_t heard;
    _Atomic uint32_t targets_wanted; /* somebody reads of a Redis that is none of: */
    _Atomic uint64_t targets[PRV_TARGETS_MAX]; /* whose invalidations the holder hears; 0: none */
};

/* The cell of that name. When all are taken, two names share one: a dead Redis may then keep the
 * other's records away until a probe. */
prv_cell *prv_zone_cell(prv_zone *zone, uint64_t name);

prv_limit_set *prv_zone_limits(prv_zone *zone);
prv_cache_set *prv_zone_cache(prv_zone *zone);
_Atomic uint64_t *prv_zone_counts(prv_zone *zone); /* shards of the zone's own counters */
_Atomic uint64_t *prv_zone_sites(prv_zone *zone);  /* each: a line with its name, then shards */
size_t prv_zone_site_words(const prv_zone *zone);
prv_cold_slot *prv_zone_cold(prv_zone *zone);

/* Spreads all bits of x over the word (the finaliser of splitmix64). */
static inline uint64_t prv_mix64(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

#endif
