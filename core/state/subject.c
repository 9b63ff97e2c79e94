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
