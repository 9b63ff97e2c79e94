/*
 * Proofs: Redis holds the record, but only a holder of the key file can add to it. The MAC covers
 * the fields in the text form in which they are stored, so any edit by hand takes the grants away.
 */
#include "proof.h"

#include <string.h>

#define NL PRV_STR("\n")

static void grants_mac(const prv_key *key, const prv_proof_fields *f, prv_str hashes,
                       uint8_t mac[PRV_MAC_LEN])
{
    const prv_str parts[] = {PRV_STR("proof\n"),
                             f->id,
                             NL,
                             f->site,
                             NL,
                             f->seq,
                             NL,
                             f->policy,
                             NL,
                             f->at,
                             NL,
                             f->expires,
                             NL,
                             f->signals,
                             NL,
                             hashes,
                             NL,
                             f->subject,
                             NL,
                             f->gpc};
    const size_t n = sizeof parts / sizeof *parts;
    prv_key_mac(key, parts, f->subject.n || f->gpc.n ? n : n - 4, mac);
}

static void age_mac(const prv_key *key, const prv_proof_fields *f, prv_str age, prv_str age_at,
                    uint8_t mac[PRV_MAC_LEN])
{
    const prv_str parts[] = {PRV_STR("age\n"), f->id, NL,        f->site, NL, age, NL,
                             age_at,           NL,    f->subject};
    const size_t n = sizeof parts / sizeof *parts;
    prv_key_mac(key, parts, f->subject.n ? n : n - 2, mac);
}

static size_t put_kid(const prv_key *key, char *out)
{
    const prv_str kid = prv_key_id(key);
    memcpy(out, kid.p, kid.n);
    out[kid.n] = '.';
    return kid.n + 1;
}

/* Cuts the piece before the first dot off *text; false: no dot. */
static bool cut(prv_str *text, prv_str *piece)
{
    const char *dot = text->n ? memchr(text->p, '.', text->n) : NULL;
    if (!dot)
        return false;
    *piece = (prv_str){text->p, (size_t)(dot - text->p)};
    *text = (prv_str){dot + 1, text->n - piece->n - 1};
    return true;
}

static bool mac_is(prv_str text, const uint8_t expected[PRV_MAC_LEN])
{
    uint8_t mac[PRV_MAC_LEN];
    size_t n = 0;
    return prv_base64url_decode(text, mac, sizeof mac, &n) && n == PRV_MAC_LEN &&
           prv_mac_equal(mac, expected);
}

size_t prv_proof_make(const prv_keyring *keys, const prv_proof_fields *fields,
                      const uint16_t *hashes, size_t n, char *out)
{
    const prv_key *key = prv_keyring_signer(keys, PRV_KEY_TOKEN);
    uint8_t bytes[2 * PRV_PROOF_HASHES];
    uint8_t mac[PRV_MAC_LEN];
    if (!key || n > PRV_PROOF_HASHES)
        return 0;
    for (size_t i = 0; i < n; i++) {
        bytes[2 * i] = (uint8_t)(hashes[i] >> 8);
        bytes[2 * i + 1] = (uint8_t)hashes[i];
    }
    size_t at = put_kid(key, out);
    const size_t text = prv_base64url_encode(bytes, 2 * n, out + at);
    grants_mac(key, fields, (prv_str){out + at, text}, mac);
    at += text;
    out[at++] = '.';
    return at + prv_base64url_encode(mac, sizeof mac, out + at);
}

bool prv_proof_read(const prv_keyring *keys, const prv_proof_fields *fields, prv_str proof,
                    uint16_t *hashes, size_t *n)
{
    prv_str kid, text;
    uint8_t bytes[2 * PRV_PROOF_HASHES];
    uint8_t mac[PRV_MAC_LEN];
    size_t len = 0;
    *n = 0;
    if (!cut(&proof, &kid) || !cut(&proof, &text))
        return false;
    const prv_key *key = prv_keyring_find(keys, PRV_KEY_TOKEN, kid);
    if (!key)
        return false;
    grants_mac(key, fields, text, mac);
    if (!mac_is(proof, mac) || !prv_base64url_decode(text, bytes, sizeof bytes, &len) || len % 2)
        return false;
    for (size_t i = 0; i < len; i += 2)
        hashes[(*n)++] = (uint16_t)(bytes[i] << 8 | bytes[i + 1]);
    return true;
}

size_t prv_age_proof_make(const prv_keyring *keys, const prv_proof_fields *fields, prv_str age,
                          prv_str age_at, char *out)
{
    const prv_key *key = prv_keyring_signer(keys, PRV_KEY_TOKEN);
    uint8_t mac[PRV_MAC_LEN];
    if (!key)
        return 0;
    size_t at = put_kid(key, out);
    age_mac(key, fields, age, age_at, mac);
    return at + prv_base64url_encode(mac, sizeof mac, out + at);
}

bool prv_age_proof_check(const prv_keyring *keys, const prv_proof_fields *fields, prv_str age,
                         prv_str age_at, prv_str proof)
{
    prv_str kid;
    uint8_t mac[PRV_MAC_LEN];
    if (!cut(&proof, &kid))
        return false;
    const prv_key *key = prv_keyring_find(keys, PRV_KEY_TOKEN, kid);
    if (!key)
        return false;
    age_mac(key, fields, age, age_at, mac);
    return mac_is(proof, mac);
}

bool prv_proof_old(const prv_keyring *keys, prv_str proof)
{
    prv_str kid;
    if (!cut(&proof, &kid))
        return false;
    return prv_keyring_find(keys, PRV_KEY_TOKEN, kid) != prv_keyring_signer(keys, PRV_KEY_TOKEN);
}

static prv_str trim(prv_str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = (prv_str){s.p + 1, s.n - 1};
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

bool prv_names_next(prv_str *rest, prv_str *name)
{
    if (rest->n == 0)
        return false;
    const char *comma = memchr(rest->p, ',', rest->n);
    const size_t n = comma ? (size_t)(comma - rest->p) : rest->n;
    const size_t cut_off = comma ? n + 1 : n;
    *name = trim((prv_str){rest->p, n});
    *rest = (prv_str){rest->p + cut_off, rest->n - cut_off};
    return true;
}
