/*
 * From a cookie's name to its rule. One pass over the name makes its FNV-1a hash; on the way, at
 * each length that some `prefix*` rule has, the hash so far is looked up (unless no prefix begins
 * with the name's first byte), and at the end the whole. The cost is that of the name, whatever the
 * number of rules. Open addressing, at most half full; whole hashes are compared before bytes.
 */
#include "compile.h"

#include <stdio.h>
#include <string.h>

#define LENGTH_WORDS (PRV_COOKIE_NAME_MAX / 64 + 1)

typedef struct slot {
    uint32_t hash;
    uint32_t rule; /* index + 1; 0: free */
} slot;

struct prv_cookie_index {
    uint64_t lengths[LENGTH_WORDS]; /* bit n: some prefix has n bytes */
    uint64_t first[4];              /* bit c: some prefix begins with the byte c */
    uint32_t mask;
    slot *exact;
    slot *prefix;
};

#define FNV32_START UINT32_C(2166136261)

static uint32_t fnv32_step(uint32_t hash, char c)
{
    return (hash ^ (unsigned char)c) * UINT32_C(16777619);
}

static uint32_t fnv32(uint32_t hash, const char *p, const char *end)
{
    while (p < end) {
        hash = fnv32_step(hash, *p++);
    }
    return hash;
}

/* FNV's low bits are its best mixed only after the last multiplication; fold the high ones in. */
static uint32_t first_slot(uint32_t hash, uint32_t mask)
{
    return (hash ^ hash >> 15) & mask;
}

prv_cookie_index *prv_cookie_index_new(prv_compiler *c, size_t n)
{
    uint32_t slots = 8;
    while (slots < 2 * n && slots < UINT32_C(1) << 24) { /* a file holds far fewer */
        slots *= 2;
    }
    prv_cookie_index *index = prv_compile_alloc(c, 1, sizeof *index);
    if (index == NULL) {
        return NULL;
    }
    index->mask = slots - 1;
    index->exact = prv_compile_alloc(c, slots, sizeof(slot));
    index->prefix = index->exact != NULL ? prv_compile_alloc(c, slots, sizeof(slot)) : NULL;
    return index->prefix != NULL ? index : NULL;
}

static inline long find(const prv_cookie_index *index, const slot *table,
                        const prv_cookie_rule *rules, uint32_t hash, const char *name, size_t n)
{
    for (uint32_t i = first_slot(hash, index->mask); table[i].rule != 0;
         i = (i + 1) & index->mask) {
        const prv_str known = rules[table[i].rule - 1].name;
        if (table[i].hash == hash && known.n == n && memcmp(known.p, name, n) == 0) {
            return (long)table[i].rule - 1;
        }
    }
    return -1;
}

long prv_cookie_index_add(prv_cookie_index *index, const prv_cookie_rule *rules, size_t at)
{
    const prv_cookie_rule *rule = &rules[at];
    slot *table = rule->prefix ? index->prefix : index->exact;
    uint32_t hash = fnv32(FNV32_START, rule->name.p, rule->name.p + rule->name.n);
    long same = find(index, table, rules, hash, rule->name.p, rule->name.n);
    if (same >= 0) {
        return same;
    }
    uint32_t i = first_slot(hash, index->mask);
    while (table[i].rule != 0) {
        i = (i + 1) & index->mask;
    }
    table[i] = (slot){hash, (uint32_t)at + 1};
    if (rule->prefix) {
        const unsigned char c = rule->name.n > 0 ? (unsigned char)rule->name.p[0] : 0;
        index->lengths[rule->name.n / 64] |= UINT64_C(1) << rule->name.n % 64;
        index->first[c / 64] |= UINT64_C(1) << c % 64;
    }
    return -1;
}

/* The longest prefix rule of the first n bytes; -1: none. *hash and *at: of the bytes it went over.
 */
static long find_prefix(const prv_cookie_index *index, const prv_cookie_rule *rules, const char *p,
                        size_t n, uint32_t *hash, size_t *at)
{
    long found = -1;
    for (size_t word = 0; word <= n / 64; word++) {
        uint64_t lengths = index->lengths[word];
        for (; lengths != 0; lengths &= lengths - 1) {
            const size_t length = word * 64 + (size_t)__builtin_ctzll(lengths);
            if (length > n) {
                return found;
            }
            *hash = fnv32(*hash, p + *at, p + length);
            *at = length;
            long longer = find(index, index->prefix, rules, *hash, p, length);
            found = longer >= 0 ? longer : found;
        }
    }
    return found;
}

const prv_cookie_rule *prv_policy_cookie(const prv_policy *policy, prv_str name)
{
    const prv_cookie_index *index = policy->cookie_index;
    if (index == NULL || name.n == 0) {
        return NULL;
    }
    const size_t n = name.n < PRV_COOKIE_NAME_MAX ? name.n : PRV_COOKIE_NAME_MAX;
    const unsigned char c = (unsigned char)name.p[0];
    uint32_t hash = FNV32_START;
    size_t at = 0;
    long found = -1;
    if ((index->first[c / 64] >> c % 64 & 1) != 0) {
        found = find_prefix(index, policy->cookies, name.p, n, &hash, &at);
    }
    if (name.n <= PRV_COOKIE_NAME_MAX) {
        hash = fnv32(hash, name.p + at, name.p + n);
        long exact = find(index, index->exact, policy->cookies, hash, name.p, n);
        found = exact >= 0 ? exact : found;
    }
    return found >= 0 ? &policy->cookies[found] : NULL;
}
