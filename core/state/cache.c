/*
 * The cache: a hash table of fixed sets, read without locks.
 *
 * A set's lock word counts its changes; a reader compares it before and after (seqlock). A writer
 * takes it by compare-and-swap and leaves a time stamp; one that died or was stopped between two
 * stores is overridden when its stamp is a second old (pids lie across containers). A stopped
 * writer that wakes up then may still store into the entry: no lock word shows that, so each entry
 * has a checksum over its words and its tag, and a mix of two writes does not pass it.
 * tests/unit/test_zone.c stops and kills writers between their stores.
 */
#include "zone.h"

#include <string.h>

#ifndef PRV_CACHE_STEP
#define PRV_CACHE_STEP(n) ((void)0) /* the test stops a writer here */
#endif

#define LOCK_STALE_MS 1000 /* a write takes less than a microsecond */
#define LOCK_TRIES 100     /* then the write is dropped: this is a cache */
#define READ_TRIES 16
#define STAMP_MASK 0x7fffffffu

/* How many evictions in its set an entry outlives without being asked for: what lowers stays
 * longer, since losing it costs more than losing a grant. */
#define USED_PLAIN 1
#define USED_LOWERS 6

enum {
    FLAG_PRESENT = 1,
    FLAG_STORED = 2,
    FLAG_RESTRICTED = 4,
    FLAG_SWEPT = 8, /* of a browser; of an account, whose cookies are elsewhere: its `gpc` */
    FLAG_ID = 16,
    FLAG_SIGNALS = 5 /* shift; two bits */
};

/* One entry: its first two words are the key, zeros are none. */
typedef struct entry {
    uint8_t key[16];
    uint8_t mac[PRV_MAC_LEN];
    uint32_t version, seq, granted, refused;
    uint32_t at, expires, age_at;
    uint8_t ok, under, parental, flags;
} entry;
_Static_assert(sizeof(entry) == 64, "an entry is a cache line");

typedef union line {
    entry e;
    uint64_t w[PRV_CACHE_WORDS];
} line;

static uint64_t cache_hash(prv_cache_key key)
{
    uint64_t w[2];
    memcpy(w, key.b, sizeof w);
    return prv_mix64(w[0] ^ prv_mix64(w[1]));
}

static prv_cache_set *cache_set(prv_zone *zone, prv_cache_key key)
{
    return &prv_zone_cache(zone)[(cache_hash(key) & UINT32_MAX) * zone->cache_sets >> 32];
}

/* 40 bits; the order of the words counts. */
static uint64_t cache_check(const line *l, uint32_t tag)
{
    uint64_t h = prv_mix64(UINT64_C(0x9e3779b97f4a7c15) + tag);
    for (unsigned i = 0; i < PRV_CACHE_WORDS; i++) {
        h = prv_mix64(h ^ l->w[i]) + UINT64_C(0x9e3779b97f4a7c15) * (i + 1);
    }
    return prv_mix64(h) >> 24;
}

static uint32_t cache_time(int64_t s)
{
    return s <= 0 ? 0 : s > UINT32_MAX ? UINT32_MAX : (uint32_t)s;
}

static void cache_pack(line *l, prv_cache_key key, const prv_state *state, const uint8_t *mac)
{
    memset(l, 0, sizeof *l);
    entry *e = &l->e;
    memcpy(e->key, key.b, sizeof e->key);
    if (mac != NULL) {
        memcpy(e->mac, mac, sizeof e->mac);
    }
    e->version = state->version;
    e->seq = state->seq;
    e->granted = state->granted;
    e->refused = state->refused;
    e->at = cache_time(state->at);
    e->expires = cache_time(state->expires);
    e->age_at = cache_time(state->age.at);
    e->ok = state->age.ok;
    e->under = state->age.under;
    e->parental = state->age.parental;
    unsigned flags = (state->present ? FLAG_PRESENT : 0u) | (state->stored ? FLAG_STORED : 0u) |
                     (state->restricted ? FLAG_RESTRICTED : 0u) |
                     ((state->of_account ? state->gpc : state->swept) ? FLAG_SWEPT : 0u) |
                     (state->id_len == PRV_ID_LEN ? FLAG_ID : 0u) |
                     ((state->signals & 3u) << FLAG_SIGNALS);
    e->flags = (uint8_t)flags;
}

static void cache_unpack(const entry *e, prv_state *out)
{
    memset(out, 0, sizeof *out);
    out->present = e->flags & FLAG_PRESENT;
    out->stored = e->flags & FLAG_STORED;
    out->restricted = e->flags & FLAG_RESTRICTED;
    out->swept = e->flags & FLAG_SWEPT;
    out->signals = (uint8_t)(e->flags >> FLAG_SIGNALS & 3);
    if (e->flags & FLAG_ID) {
        out->id_len = PRV_ID_LEN;
        prv_id_unpack(e->key, out->id);
    }
    out->version = e->version;
    out->seq = e->seq;
    out->granted = e->granted;
    out->refused = e->refused;
    out->at = e->at;
    out->expires = e->expires;
    out->age = (prv_age){e->ok, e->under, e->parental, e->age_at};
}

static uint8_t cache_use(const entry *e)
{
    bool lowers = e->refused != 0 || e->under != 0 || (e->flags & FLAG_RESTRICTED) != 0;
    return lowers ? USED_LOWERS : USED_PLAIN;
}

/* ---- reading */

static int set_find(const prv_cache_set *set, prv_cache_key key)
{
    uint64_t w[2];
    memcpy(w, key.b, sizeof w);
    for (int i = 0; i < PRV_CACHE_WAYS; i++) {
        if (atomic_load_explicit(&set->entry[i][0], memory_order_relaxed) == w[0] &&
            atomic_load_explicit(&set->entry[i][1], memory_order_relaxed) == w[1]) {
            return i;
        }
    }
    return -1;
}

static bool set_load(const prv_cache_set *set, int at, uint32_t tag, line *l)
{
    for (unsigned i = 0; i < PRV_CACHE_WORDS; i++) {
        l->w[i] = atomic_load_explicit(&set->entry[at][i], memory_order_relaxed);
    }
    uint64_t check = atomic_load_explicit(&set->check[at], memory_order_relaxed);
    check |= (uint64_t)atomic_load_explicit(&set->check2[at], memory_order_relaxed) << 32;
    return check == cache_check(l, tag);
}

bool prv_cache_get(prv_zone *zone, prv_cache_key key, uint32_t tag, prv_state *out,
                   uint8_t mac[PRV_MAC_LEN])
{
    if (zone == NULL) {
        return false;
    }
    prv_cache_set *set = cache_set(zone, key);
    line l;
    int at = -1;
    bool good = false;
    for (int i = 0; i < READ_TRIES; i++) {
        uint64_t before = atomic_load_explicit(&set->lock, memory_order_acquire);
        at = set_find(set, key);
        good = at >= 0 && set_load(set, at, tag, &l);
        atomic_thread_fence(memory_order_acquire);
        uint64_t after = atomic_load_explicit(&set->lock, memory_order_relaxed);
        if (before == after && (before & 1) == 0) {
            break;
        }
        /* Still locked after the last try: a stopped writer. The checksum alone then says whether
         * the entry is whole. */
    }
    if (!good || memcmp(l.e.key, key.b, sizeof key.b) != 0) {
        return false;
    }
    cache_unpack(&l.e, out);
    if (mac != NULL) {
        memcpy(mac, l.e.mac, PRV_MAC_LEN);
    }
    atomic_store_explicit(&set->used[at], cache_use(&l.e), memory_order_relaxed);
    return true;
}

/* ---- writing */

static bool set_lock(prv_cache_set *set, int64_t now_ms, uint64_t *held)
{
    uint32_t now = (uint32_t)((uint64_t)now_ms & STAMP_MASK);
    for (int i = 0; i < LOCK_TRIES; i++) {
        uint64_t word = atomic_load_explicit(&set->lock, memory_order_relaxed);
        if (word & 1) {
            uint32_t age = (now - (uint32_t)(word >> 1 & STAMP_MASK)) & STAMP_MASK;
            bool future = age > STAMP_MASK / 2; /* its clock is a little ahead, or ours went back */
            if (future ? STAMP_MASK - age < LOCK_STALE_MS : age < LOCK_STALE_MS) {
                continue;
            }
        }
        uint64_t mine = ((word >> 32) + 1) << 32 | (uint64_t)now << 1 | 1;
        if (atomic_compare_exchange_weak_explicit(&set->lock, &word, mine, memory_order_acquire,
                                                  memory_order_relaxed)) {
            atomic_thread_fence(memory_order_release);
            *held = mine;
            return true;
        }
    }
    return false;
}

/* Overridden meanwhile: the lock is somebody else's, and theirs to open. */
static void set_unlock(prv_cache_set *set, uint64_t held)
{
    uint64_t open = ((held >> 32) + 1) << 32 | (held & 0xfffffffeu);
    atomic_compare_exchange_strong_explicit(&set->lock, &held, open, memory_order_release,
                                            memory_order_relaxed);
}

/* An empty entry, else the least used; the others grow older by as much. Among equals the place
 * rotates. */
static int set_victim(prv_cache_set *set)
{
    unsigned turn = (unsigned)(atomic_load_explicit(&set->lock, memory_order_relaxed) >> 33);
    int best = 0;
    uint8_t least = UINT8_MAX;
    for (unsigned n = 0; n < PRV_CACHE_WAYS; n++) {
        int i = (int)((n + turn) % PRV_CACHE_WAYS);
        if ((atomic_load_explicit(&set->entry[i][0], memory_order_relaxed) |
             atomic_load_explicit(&set->entry[i][1], memory_order_relaxed)) == 0) {
            return i;
        }
        uint8_t used = atomic_load_explicit(&set->used[i], memory_order_relaxed);
        if (used < least) {
            least = used;
            best = i;
        }
    }
    for (int i = 0; i < PRV_CACHE_WAYS; i++) {
        uint8_t used = atomic_load_explicit(&set->used[i], memory_order_relaxed);
        uint8_t less = used > least ? (uint8_t)(used - least) : 0;
        atomic_store_explicit(&set->used[i], less, memory_order_relaxed);
    }
    return best;
}

static void set_store(prv_cache_set *set, int at, const line *l, uint64_t check, uint8_t use)
{
    PRV_CACHE_STEP(0);
    for (unsigned i = 0; i < PRV_CACHE_WORDS; i++) {
        atomic_store_explicit(&set->entry[at][i], l->w[i], memory_order_relaxed);
        PRV_CACHE_STEP(1 + i);
    }
    atomic_store_explicit(&set->check[at], (uint32_t)check, memory_order_relaxed);
    PRV_CACHE_STEP(1 + PRV_CACHE_WORDS);
    atomic_store_explicit(&set->check2[at], (uint8_t)(check >> 32), memory_order_relaxed);
    atomic_store_explicit(&set->used[at], use, memory_order_relaxed);
}

void prv_cache_put(prv_zone *zone, prv_cache_key key, uint32_t tag, const prv_state *state,
                   const uint8_t mac[PRV_MAC_LEN], int64_t now_ms)
{
    if (zone == NULL) {
        return;
    }
    if (state->n_other != 0) {
        prv_cache_drop(zone, key, now_ms);
        return;
    }
    prv_cache_set *set = cache_set(zone, key);
    line l;
    cache_pack(&l, key, state, mac);
    uint64_t check = cache_check(&l, tag);
    uint64_t held;
    if (!set_lock(set, now_ms, &held)) {
        return;
    }
    int at = set_find(set, key);
    set_store(set, at >= 0 ? at : set_victim(set), &l, check, cache_use(&l.e));
    set_unlock(set, held);
}

void prv_cache_drop(prv_zone *zone, prv_cache_key key, int64_t now_ms)
{
    uint64_t held;
    if (zone == NULL) {
        return;
    }
    prv_cache_set *set = cache_set(zone, key);
    if (set_find(set, key) < 0 || !set_lock(set, now_ms, &held)) {
        return;
    }
    const line none = {.w = {0}};
    for (int at = set_find(set, key); at >= 0; at = set_find(set, key)) {
        set_store(set, at, &none, 0, 0);
    }
    set_unlock(set, held);
}
