/*
 * The cache: a hash table of fixed sets, read without locks.
 *
 * A set's lock word counts its changes; a reader compares it before and after (seqlock). A writer
 * takes it by compare-and-swap and leaves a time stamp; one that died or was stopped between two
 * stores is overridden when its stamp is a second old (pids lie across containers). A stopped
 * writer that wakes up then may still store into the entry: no lock word shows that, so each entry
 * has a checksum over its words and its tag, and a mix of two writes does not pass it.
 * tests/unit/test_zone.c stops and kills writers between their stores.
 *
 * An entry carries a stamp: the epoch of the invalidation link and its set's count of invalidations, both noted
 * before its read was sent. It is authoritative while both stand where they stood and the link is heard. So a
 * read that an invalidation overtook, an entry that a late writer puts back, and all that was kept before
 * the link was lost are at best what was last seen.
 */
#include "../mutant.h"
#include "count.h"

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
    FLAG_SIGNALS = 5, /* shift; two bits */
    FLAG_TOMBSTONE = 128
};

/* Ages have seven bits; the eighth of each is a flag. */
#define AGE_MASK 0x7fu
#define AGE_FLAG 0x80u

#define COUNTER_BITS 11
#define COUNTER_MASK 0x7ffu
#define EPOCH_MASK 0xfffffu
#define STAMP_AWAITED 0x80000000u /* see own_awaited() */
#define EPOCHS_OF_A_START 2       /* by which a link that comes up just then moves the epoch */

#define TOMBSTONE_S 60 /* a new entry does not push one out before: nodes have read the record by then */

/* One entry: its first two words are the key, zeros are none. */
typedef struct entry {
    uint8_t key[16];
    uint8_t print[PRV_PRINT_LEN];
    uint32_t stamp; /* (epoch << 11) | counter */
    uint32_t version, seq, granted, refused;
    uint32_t at;
    uint32_t expires; /* of a tombstone: when it was made */
    uint32_t age_at;
    uint8_t ok;       /* and whether it came of no read */
    uint8_t under;    /* and whether it is partial */
    uint8_t parental; /* and whether the store holds no record */
    uint8_t flags;
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

/* 40 bits over an entry; each word has a factor of its own, so their order counts, and none waits for the one before. What is
 * stored is this mixed with the tag's, so that who changes an entry need not know its tag. */
static uint64_t cache_sum(const line *l)
{
    uint64_t h = UINT64_C(0x9e3779b97f4a7c15);
    for (unsigned i = 0; i < PRV_CACHE_WORDS; i++) {
        h += (l->w[i] ^ l->w[i] >> 32) * (UINT64_C(0x9e3779b97f4a7c15) * (2 * i + 1));
    }
    return prv_mix64(h) >> 24;
}

static uint64_t tag_sum(uint32_t tag)
{
    return prv_mix64(UINT64_C(0xbf58476d1ce4e5b9) + tag) >> 24;
}

static uint32_t cache_time(int64_t s)
{
    return s <= 0 ? 0 : s > UINT32_MAX ? UINT32_MAX : (uint32_t)s;
}

static uint8_t age_with(uint8_t age, bool flag)
{
    return (uint8_t)((age & AGE_MASK) | (flag ? AGE_FLAG : 0u));
}

static void cache_pack(line *l, prv_cache_key key, const prv_state *state,
                       const prv_cache_put_how *how)
{
    memset(l, 0, sizeof *l);
    entry *e = &l->e;
    memcpy(e->key, key.b, sizeof e->key);
    if (how->print != NULL) {
        memcpy(e->print, how->print, sizeof e->print);
    }
    e->stamp = how->stamp;
    e->version = state->version;
    e->seq = state->seq;
    e->granted = state->granted;
    e->refused = state->refused;
    e->at = cache_time(state->at);
    e->expires = cache_time(state->expires);
    e->age_at = cache_time(state->age.at);
    e->ok = age_with(state->age.ok, how->stamp == 0);
    e->under = age_with(state->age.under, state->n_other != 0);
    e->parental = age_with(state->age.parental, how->negative);
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
    out->age = (prv_age){e->ok & AGE_MASK, e->under & AGE_MASK, e->parental & AGE_MASK, e->age_at};
}

static uint32_t stamp_epoch(uint32_t stamp)
{
    return (stamp & ~STAMP_AWAITED) >> COUNTER_BITS;
}

/*
 * What this node wrote itself was acknowledged, and the invalidation that it caused is still to come: that one says nothing
 * new. It does not bury the entry, which would deny this visitor's own grant should the store fail just now; but it takes its
 * authority like any other, since another's write may have been announced with it.
 */
static bool own_awaited(const prv_zone *zone, const entry *e)
{
    uint64_t epoch = atomic_load_explicit(&zone->epoch, memory_order_acquire);
    return (e->stamp & STAMP_AWAITED) && !(e->flags & FLAG_TOMBSTONE) &&
           ((epoch - stamp_epoch(e->stamp)) & EPOCH_MASK) <= EPOCHS_OF_A_START;
}

/* What an invalidation leaves of an entry: what lowers, and the seq that an older cookie is known by. */
static void cache_bury(entry *e, int64_t now_ms)
{
    e->granted = 0;
    e->expires = cache_time(now_ms / 1000);
    e->ok = age_with(0, true);
    e->parental = age_with(0, false);
    e->flags |= FLAG_TOMBSTONE;
    memset(e->print, 0, sizeof e->print);
}

static uint8_t cache_use(const entry *e)
{
    bool lowers =
        e->refused != 0 || (e->under & AGE_MASK) != 0 || (e->flags & FLAG_RESTRICTED) != 0;
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

/* The tag's sum, if the entry is whole. */
static uint64_t set_load(const prv_cache_set *set, int at, line *l)
{
    for (unsigned i = 0; i < PRV_CACHE_WORDS; i++) {
        l->w[i] = atomic_load_explicit(&set->entry[at][i], memory_order_relaxed);
    }
    uint64_t check = atomic_load_explicit(&set->check[at], memory_order_relaxed);
    check |= (uint64_t)atomic_load_explicit(&set->check2[at], memory_order_relaxed) << 32;
    return check ^ cache_sum(l);
}

/* Never 0: that is `not from a read`. */
static uint32_t stamp_now(const prv_zone *zone, const prv_cache_set *set)
{
#ifdef PRV_MUTANTS
    if (PRV_MUTANT("poll")) {
        return prv_mutant_slice();
    }
#endif
    uint64_t epoch = atomic_load_explicit(&zone->epoch, memory_order_acquire);
    uint32_t counter = atomic_load_explicit(&set->invalidated, memory_order_acquire);
    uint32_t stamp = (uint32_t)(epoch & EPOCH_MASK) << COUNTER_BITS | (counter & COUNTER_MASK);
    return stamp != 0 ? stamp : STAMP_AWAITED - 1;
}

uint32_t prv_cache_stamp(prv_zone *zone, prv_cache_key key)
{
    return zone == NULL ? 0 : stamp_now(zone, cache_set(zone, key));
}

/* Was everything flushed since the entry's epoch? Only records are: a cookie without an id is in no
 * store. */
static bool flushed(const prv_zone *zone, const entry *e)
{
    uint64_t flush = atomic_load_explicit(&zone->flushed, memory_order_acquire);
    if (flush == 0 || !(e->flags & FLAG_ID)) {
        return false;
    }
    uint64_t epoch = atomic_load_explicit(&zone->epoch, memory_order_acquire);
    uint64_t since = (epoch - stamp_epoch(e->stamp)) & EPOCH_MASK;
    return epoch - since < flush;
}

/* The entry of `key` whole, as one writer left it. */
static bool set_read(const prv_cache_set *set, prv_cache_key key, uint32_t tag, line *l, int *at)
{
    bool good = false;
    for (int i = 0; i < READ_TRIES; i++) {
        uint64_t before = atomic_load_explicit(&set->lock, memory_order_acquire);
        *at = set_find(set, key);
        good = *at >= 0 && set_load(set, *at, l) == tag_sum(tag);
        atomic_thread_fence(memory_order_acquire);
        uint64_t after = atomic_load_explicit(&set->lock, memory_order_relaxed);
        if (before == after && (before & 1) == 0) {
            break;
        }
        /* Still locked after the last try: a stopped writer. The checksum alone then says whether
         * the entry is whole. */
    }
    return good && memcmp(l->e.key, key.b, sizeof key.b) == 0;
}

bool prv_cache_get(prv_zone *zone, prv_cache_key key, uint32_t tag, int64_t mono_ms,
                   prv_cached *out)
{
    line l;
    int at = -1;
    if (zone == NULL) {
        return false;
    }
    prv_cache_set *set = cache_set(zone, key);
    if (!set_read(set, key, tag, &l, &at)) {
        return false;
    }
    cache_unpack(&l.e, &out->state);
    memcpy(out->print, l.e.print, sizeof out->print);
    out->negative = l.e.parental & AGE_FLAG;
    out->partial = l.e.under & AGE_FLAG;
    out->tombstone = (l.e.flags & FLAG_TOMBSTONE) || flushed(zone, &l.e);
    if (out->tombstone) {
        out->state.granted = 0;
        out->state.age.ok = out->state.age.parental = 0;
    }
    out->fresh = !out->tombstone && !(l.e.ok & AGE_FLAG) &&
                 (l.e.stamp & ~STAMP_AWAITED) == stamp_now(zone, set) &&
                 prv_zone_link_up(zone, mono_ms);
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

static bool tombstone_young(const prv_cache_set *set, int at, int64_t now_ms)
{
    line l;
    for (unsigned i = 0; i < PRV_CACHE_WORDS; i++) {
        l.w[i] = atomic_load_explicit(&set->entry[at][i], memory_order_relaxed);
    }
    int64_t age = now_ms / 1000 - (int64_t)l.e.expires;
    return (l.e.flags & FLAG_TOMBSTONE) && age > -TOMBSTONE_S && age < TOMBSTONE_S;
}

/* An empty entry, else the least used that is no young tombstone; the others grow older by as much.
 * Among equals the place rotates. -1: all are young tombstones. */
static int set_victim(prv_cache_set *set, int64_t now_ms)
{
    unsigned turn = (unsigned)(atomic_load_explicit(&set->lock, memory_order_relaxed) >> 33);
    int best = -1;
    uint8_t least = 0;
    for (unsigned n = 0; n < PRV_CACHE_WAYS; n++) {
        int i = (int)((n + turn) % PRV_CACHE_WAYS);
        if ((atomic_load_explicit(&set->entry[i][0], memory_order_relaxed) |
             atomic_load_explicit(&set->entry[i][1], memory_order_relaxed)) == 0) {
            return i;
        }
        uint8_t used = atomic_load_explicit(&set->used[i], memory_order_relaxed);
        if ((best < 0 || used < least) && !tombstone_young(set, i, now_ms)) {
            least = used;
            best = i;
        }
    }
    for (int i = 0; best >= 0 && i < PRV_CACHE_WAYS; i++) {
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

/* What somebody did here, or saw of a cookie, does not lift what the store took back meanwhile. */
static void keep_buried(const prv_zone *zone, const line *old, line *l, int64_t now_ms)
{
    bool buried = (old->e.flags & FLAG_TOMBSTONE) || flushed(zone, &old->e);
    if (!buried || l->e.seq > old->e.seq) {
        return;
    }
    uint8_t under = old->e.under & AGE_MASK, other = l->e.under & AGE_MASK;
    l->e.refused |= old->e.refused;
    l->e.flags |= old->e.flags & FLAG_RESTRICTED;
    l->e.under =
        age_with(other == 0 || (under != 0 && under < other) ? under : other, l->e.under & AGE_FLAG);
    l->e.seq = old->e.seq;
    cache_bury(&l->e, now_ms);
}

void prv_cache_put(prv_zone *zone, prv_cache_key key, uint32_t tag, const prv_state *state,
                   const prv_cache_put_how *how, int64_t now_ms)
{
    const line none = {.w = {0}};
    uint64_t held;
    line l, old;
    if (zone == NULL) {
        return;
    }
    prv_cache_set *set = cache_set(zone, key);
    cache_pack(&l, key, state, how);
    if (!set_lock(set, now_ms, &held)) {
        return;
    }
    uint32_t stamp = stamp_now(zone, set);
    int at = set_find(set, key);
    bool known = at >= 0 && set_load(set, at, &old) == tag_sum(tag);
    bool current = how->stamp == 0 || how->stamp == stamp;
    /* Its invalidation would have counted. If the epoch has moved, nobody knows whether it is still to come: a link that came up
     * meanwhile may have begun to listen before the write, or after it. What is not awaited buries. */
    bool mine = how->own_stamp != 0 && how->own_stamp == stamp;
    /* A read of a later epoch: a link that was not there for the write will not announce it. */
    bool kept = known && own_awaited(zone, &old.e) &&
                (how->stamp == 0 || stamp_epoch(old.e.stamp) == stamp_epoch(stamp));
    bool awaited = mine || kept;
    l.e.stamp = stamp | (awaited ? STAMP_AWAITED : 0u);
    if (how->stamp == 0 && known) {
        keep_buried(zone, &old, &l, now_ms);
    }
    if (how->buried) {
        cache_bury(&l.e, now_ms);
    }
    if (at < 0) {
        at = set_victim(set, now_ms);
        if (at >= 0 && current && atomic_load_explicit(&set->entry[at][0], memory_order_relaxed) != 0) {
            prv_count(zone, PRV_TICK_CACHE_EVICTED);
        }
    }
    if (at >= 0 && current) {
        set_store(set, at, &l, cache_sum(&l) ^ tag_sum(tag), cache_use(&l.e));
        /* An invalidation that did not find the key yet has counted before it looked. */
        atomic_thread_fence(memory_order_seq_cst);
        if (stamp_now(zone, set) != stamp) {
            set_store(set, at, &none, 0, 0);
        }
    }
    set_unlock(set, held);
}

/* Authority goes first and without the lock. An entry that is not whole has no tag's sum, before or after. */
bool prv_cache_invalidate(prv_zone *zone, prv_cache_key key, int64_t now_ms)
{
    uint64_t held;
    line l;
    if (zone == NULL || PRV_MUTANT("serve-stale") || PRV_MUTANT("poll")) {
        return true;
    }
    prv_cache_set *set = cache_set(zone, key);
    atomic_fetch_add(&set->invalidated, 1);
    atomic_thread_fence(memory_order_seq_cst);
    if (set_find(set, key) < 0) {
        return true;
    }
    if (!set_lock(set, now_ms, &held)) {
        return false;
    }
    for (int at = 0; at < PRV_CACHE_WAYS; at++) {
        uint64_t tag = set_load(set, at, &l);
        if (memcmp(l.e.key, key.b, sizeof key.b) == 0) {
            if (own_awaited(zone, &l.e)) {
                l.e.stamp &= ~STAMP_AWAITED;
            } else {
                cache_bury(&l.e, now_ms);
            }
            set_store(set, at, &l, cache_sum(&l) ^ tag, cache_use(&l.e));
        }
    }
    set_unlock(set, held);
    return true;
}
