/* What vouches for a record's grants and answered ages. Private to record.c, record_write.c and proof.c. */
#ifndef PRV_PROOF_H
#define PRV_PROOF_H

#include "state.h"

#define PRV_PROOF_HASHES (PRV_MAX_PURPOSES + PRV_MAX_OTHER)
/* kid 16, two dots, two bytes a hash in base64url, mac */
#define PRV_PROOF_MAX (16 + 1 + (2 * PRV_PROOF_HASHES * 4 + 2) / 3 + 1 + PRV_MAC_TEXT)
#define PRV_AGE_PROOF_MAX (16 + 1 + PRV_MAC_TEXT)

/* The text of the fields as they are stored; a missing one is empty. An account's record has a subject: nobody can make
 * one account's grants another's. */
typedef struct prv_proof_fields {
    prv_str id, site, seq, policy, at, expires, signals;
    prv_str subject, gpc;
} prv_proof_fields;

/* Writes `<kid>.<hashes>.<mac>`, at most PRV_PROOF_MAX; 0: no key, or too many hashes. */
size_t prv_proof_make(const prv_keyring *keys, const prv_proof_fields *fields,
                      const uint16_t *hashes, size_t n, char *out);
/* false: it does not verify, and nothing is granted. hashes: room for PRV_PROOF_HASHES. */
bool prv_proof_read(const prv_keyring *keys, const prv_proof_fields *fields, prv_str proof,
                    uint16_t *hashes, size_t *n);

/* `<kid>.<mac>` over the age and age_at fields; of `fields` the id, site and subject count. */
size_t prv_age_proof_make(const prv_keyring *keys, const prv_proof_fields *fields, prv_str age,
                          prv_str age_at, char *out);
bool prv_age_proof_check(const prv_keyring *keys, const prv_proof_fields *fields, prv_str age,
                         prv_str age_at, prv_str proof);

/* The key that a proof names is one that verifies and no longer signs. */
bool prv_proof_old(const prv_keyring *keys, prv_str proof);

/* The next name of a comma-separated list, blanks around it trimmed; false at the end. */
bool prv_names_next(prv_str *rest, prv_str *name);

#endif
