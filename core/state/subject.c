/*
 * Accounts, as far as anything of them is kept: a keyed hash, and by that the key of the pointer
 * `privacy:subject:{HASH}` and the id of the record that it points to.
 *
 * The id is derived from the hash and not drawn, so that two nodes that write an account's first
 * choice at the same time write the same record, and the script's comparison of `seq` makes one of
 * them see the other's. Without the key neither hash nor id says anything about the account.
 */
#include "state.h"

#include <string.h>

static bool subject_mac(const prv_policy *policy, const prv_keyring *keys, prv_str what, prv_str of,
                        uint8_t out[PRV_SUBJECT_LEN])
{
    const prv_key *key = keys ? prv_keyring_signer(keys, PRV_KEY_SUBJECT) : NULL;
    const prv_str parts[] = {what, PRV_STR("\n"), policy->id, PRV_STR("\n"), of};
    if (!key)
        return false;
    prv_key_mac(key, parts, sizeof parts / sizeof *parts, out);
    return true;
}

_Static_assert(PRV_SUBJECT_LEN == PRV_MAC_LEN, "a subject is a MAC");

bool prv_subject_hash(const prv_policy *policy, const prv_keyring *keys, prv_str account,
                      uint8_t out[PRV_SUBJECT_LEN])
{
    return subject_mac(policy, keys, PRV_STR("account"), account, out);
}

bool prv_subject_id(const prv_policy *policy, const prv_keyring *keys,
                    const uint8_t subject[PRV_SUBJECT_LEN], char id[PRV_ID_LEN])
{
    uint8_t mac[PRV_SUBJECT_LEN];
    const prv_str hash = {(const char *)subject, PRV_SUBJECT_LEN};
    if (!subject_mac(policy, keys, PRV_STR("record"), hash, mac))
        return false;
    prv_id_unpack(mac, id);
    return true;
}

size_t prv_subject_key(prv_str prefix, const uint8_t subject[PRV_SUBJECT_LEN], char *out)
{
    const prv_str head = PRV_STR("subject:{");
    size_t n = prefix.n;
    if (n > 0)
        memcpy(out, prefix.p, n);
    memcpy(out + n, head.p, head.n);
    n += head.n;
    prv_id_unpack(subject, out + n);
    n += PRV_ID_LEN;
    out[n++] = '}';
    return n;
}

/* ------------------------------------------------------------------ in the cache */

/* An entry like any other, whose four words of a state hold the id. */
#define POINTER_TAG 0x706f696eu

static prv_cache_key key_of(const uint8_t subject[PRV_SUBJECT_LEN])
{
    prv_cache_key key;
    memcpy(key.b, subject, sizeof key.b);
    return key;
}

bool prv_subject_cached(prv_zone *zone, const uint8_t subject[PRV_SUBJECT_LEN], uint32_t tag,
                        int64_t mono_ms, char id[PRV_ID_LEN], bool *none)
{
    prv_cached seen;
    if (!prv_cache_get(zone, key_of(subject), tag ^ POINTER_TAG, mono_ms, &seen) || !seen.fresh)
        return false;
    const uint32_t words[4] = {seen.state.version, seen.state.seq, seen.state.granted,
                               seen.state.refused};
    uint8_t packed[16];
    memcpy(packed, words, sizeof packed);
    prv_id_unpack(packed, id);
    *none = seen.negative;
    return true;
}

void prv_subject_keep(prv_zone *zone, const uint8_t subject[PRV_SUBJECT_LEN], uint32_t tag,
                      const char *id, uint32_t stamp, int64_t now_ms)
{
    const prv_cache_put_how how = {.stamp = stamp, .negative = id == NULL};
    uint8_t packed[16] = {0};
    uint32_t words[4];
    if (id)
        prv_id_pack(id, packed);
    memcpy(words, packed, sizeof words);
    const prv_state state = {
        .version = words[0], .seq = words[1], .granted = words[2], .refused = words[3]};
    prv_cache_put(zone, key_of(subject), tag ^ POINTER_TAG, &state, &how, now_ms);
}
