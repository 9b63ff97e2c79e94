/*
 * Records, keys and shared memory. `state` knows the policy and nothing above it.
 */
#ifndef PRV_STATE_H
#define PRV_STATE_H

#include "../policy/policy.h"

/* ---- keyring.c: HMAC-SHA-256 with inner and outer states computed when the key is loaded (thread-safe, no
 * allocation per MAC). */
typedef enum prv_key_use { PRV_KEY_TOKEN, PRV_KEY_SUBJECT, PRV_KEY_LINK, PRV_KEY_HISTORY } prv_key_use;
#define PRV_MAC_LEN 16      /* first 128 bits */
#define PRV_MAC_TEXT 22     /* base64url without padding */
typedef struct prv_key prv_key;
const prv_key *prv_keyring_signer(const prv_keyring *keys, prv_key_use use); /* first line of the use, or NULL */
const prv_key *prv_keyring_find(const prv_keyring *keys, prv_key_use use, prv_str kid);
prv_str prv_key_id(const prv_key *key);
uint32_t prv_keyring_generation(const prv_keyring *keys); /* hash of all uses, kids and secrets' MACs; order matters */
/* MAC over the concatenation of `parts`. */
void prv_key_mac(const prv_key *key, const prv_str *parts, size_t n, uint8_t out[PRV_MAC_LEN]);
bool prv_mac_equal(const uint8_t a[PRV_MAC_LEN], const uint8_t b[PRV_MAC_LEN]); /* constant time */

/* ---- text.c: encodings, all bounded, none allocates */
size_t prv_base64url_encode(const uint8_t *in, size_t n, char *out);                      /* no padding */
bool prv_base64url_decode(prv_str in, uint8_t *out, size_t cap, size_t *n);               /* strict: no padding, no spare bits */
bool prv_id_make(const prv_env *env, char out[PRV_ID_LEN]);                               /* 128 random bits, base32 lower case */
/* A change's own name: 63 random bits in decimal, because Redis packs that into ten bytes. The length; 0: no random. */
#define PRV_CHANGE_LEN 19
size_t prv_change_make(const prv_env *env, char out[PRV_CHANGE_LEN]);
bool prv_id_valid(prv_str text);                                                          /* 26 of [a-z2-7], last two bits 0 */
void prv_id_pack(const char id[PRV_ID_LEN], uint8_t out[16]);
void prv_id_unpack(const uint8_t in[16], char id[PRV_ID_LEN]);
size_t prv_rfc3339_format(int64_t s, char out[24]);                                       /* 2026-11-23T15:00:00Z */
bool prv_rfc3339_parse(prv_str text, int64_t *s);
size_t prv_age_format(const prv_age *age, char out[48]);                                  /* ok:13,under:16,parental:13; 0: none */
bool prv_age_parse(prv_str text, prv_age *age);                                           /* any order; at is left alone */

/* ---- record.c: privacy:consent:{ID} (INTERFACE 7) */
typedef enum prv_record_status {
    PRV_RECORD_OK,
    PRV_RECORD_ABSENT,      /* no key, or another site's */
    PRV_RECORD_UNREADABLE   /* read for what lowers only */
} prv_record_status;

/* Names in granted/refused that this policy does not have; kept when the record is written. From env.alloc. */
typedef struct prv_record_kept {
    prv_str granted;
    prv_str refused;
} prv_record_kept;

/*
 * Reads a reply for `id` of `policy`. A grant counts only if it stands in `granted` and in a `proof` that verifies; `ok` and
 * `parental` ages only if `age_proof` verifies (else only `under` counts, durable). Unreadable fields, a missing or
 * foreign id: UNREADABLE, *out then holds under, restricted, refused only, and seq where that is readable. *no_ttl: a hand-made record
 * (no `expires`). kept may be NULL. env may be NULL (then nothing is logged or kept).
 */
prv_record_status prv_record_read(const prv_policy *policy, const prv_keyring *keys, prv_str id, const prv_reply *reply,
                                  const prv_env *env, prv_state *out, prv_record_kept *kept, bool *no_ttl);

typedef struct prv_record_meta {
    prv_str method;         /* form api unsubscribe ops */
    prv_region region;
    prv_str change;         /* prv_change_make(), the same for a retry */
    prv_record_kept kept;
    /* Fields that this change was not asked to touch are left as they are in the store, so that an operator's edit made
     * since the record was read is not undone. method empty: method and region are left, too. */
    bool leave_age;
    bool leave_restricted;
    /* Only `proof` and `age_proof` are written, over `next` as it was read: by a new key, nothing chosen anew. Over fields
     * that were edited since they do not verify. */
    bool only_proofs;
    prv_str seen;           /* prv_record_seen() of the reply that `next` was made from; empty: not compared */
} prv_record_meta;
#define PRV_SEEN_LEN 40
/* What somebody may have lowered by hand without a new seq (`refused`, `age`, `restricted`), as SHA-1 in hex, because that is what a
 * script can compute: the write script compares it, so that such an edit between read and write is a conflict and not lost. */
bool prv_record_seen(const prv_reply *reply, char out[PRV_SEEN_LEN]);
/*
 * Fills *op (PRV_OP_CHANGE, layout in core/redis/script.h) that writes `next` (next->seq is the new one) over a
 * record whose stored seq is `stored_seq` (0: absent) and whose `seen` is meta's. Strings from env.alloc. false: no memory or no signing key.
 */
bool prv_record_change(const prv_policy *policy, const prv_keyring *keys, prv_str prefix, const prv_state *next,
                       uint32_t stored_seq, const prv_record_meta *meta, const prv_env *env, prv_op *op);
/* Fills *op (PRV_OP_AGE): `old` is the age as read. */
bool prv_record_age(const prv_policy *policy, const prv_keyring *keys, prv_str prefix, const prv_state *state,
                    const prv_age *old, const prv_env *env, prv_op *op);
/* `<prefix>consent:{ID}` into out (at least prefix.n + 40 bytes); the length. */
size_t prv_record_key(prv_str prefix, prv_str id, char *out);
/* ---- subject.c: an account is kept as a keyed hash only, under the `subject` key; its text form is an id's */
/* false: the key file has no `subject` key. */
bool prv_subject_hash(const prv_policy *policy, const prv_keyring *keys, prv_str account, uint8_t out[PRV_SUBJECT_LEN]);
/* The id of a record that is made for this account: the same on every node. */
bool prv_subject_id(const prv_policy *policy, const prv_keyring *keys, const uint8_t subject[PRV_SUBJECT_LEN],
                    char id[PRV_ID_LEN]);
/* `<prefix>subject:{HASH}` into out (at least prefix.n + 40 bytes); the length. */
size_t prv_subject_key(prv_str prefix, const uint8_t subject[PRV_SUBJECT_LEN], char *out);
/* The pointer in the cache. true: it is authoritative; *none: there is none, else id. Keep: id NULL for none, stamp from before
 * the read; 0: not from a read, so the next one asks. `tag` as for records. */
bool prv_subject_cached(prv_zone *zone, const uint8_t subject[PRV_SUBJECT_LEN], uint32_t tag, int64_t mono_ms,
                        char id[PRV_ID_LEN], bool *none);
void prv_subject_keep(prv_zone *zone, const uint8_t subject[PRV_SUBJECT_LEN], uint32_t tag, const char *id, uint32_t stamp,
                      int64_t now_ms);

/* When the record and the cookie end: at + the longest life that something in it has, capped by maximum. */
int64_t prv_state_end(const prv_policy *policy, const prv_state *state);
/* When grants end and we may ask again: at + choice (any grant) or refusal, capped by maximum. */
int64_t prv_state_expires(const prv_policy *policy, const prv_state *state);

/* ---- zone.c, cache.c: shared memory, sets with seqlock reads (ARCHITECTURE 4) */
/* Last seen or verified state of a visitor. Key: the id's 16 bytes, or the token's MAC for an id-less token. */
typedef struct prv_cache_key {
    uint8_t b[16];
} prv_cache_key;
#define PRV_PRINT_LEN 12 /* of a token's fingerprint: its MAC mixed with a sum of its bytes, cut to 96 bits */

/* What the cache knows of a key. */
typedef struct prv_cached {
    prv_state state;              /* of a tombstone: what lowers, and the seq; it grants nothing */
    uint8_t print[PRV_PRINT_LEN]; /* of the token that it was made with; zeros: none */
    bool fresh;     /* authoritative: unchanged in the store since it was read, as far as the link was heard */
    bool tombstone; /* invalidated, and not read since */
    bool negative;  /* the store holds no record */
    bool partial;   /* choices about purposes of other policy versions were left out of `state` */
} prv_cached;

typedef struct prv_cache_put_how {
    const uint8_t *print; /* PRV_PRINT_LEN bytes; NULL: none */
    uint32_t stamp;       /* prv_cache_stamp() from before the read was sent; 0: not from a read, so it is last seen only */
    uint32_t own_stamp;   /* of a write of this process that was acknowledged: from before it was sent; else 0 */
    bool negative;
    bool buried; /* a tombstone: what grants is not known */
} prv_cache_put_how;

/* `tag` mixes policy digest and keyring generation: an entry of another tag is not found. mono_ms: monotonic, for `fresh`. */
bool prv_cache_get(prv_zone *zone, prv_cache_key key, uint32_t tag, int64_t mono_ms, prv_cached *out);
/* What an entry for `key` is to be stamped with, noted before its read is sent: never 0. */
uint32_t prv_cache_stamp(prv_zone *zone, prv_cache_key key);
/* With a stamp that is no longer the current one the put is dropped: an invalidation overtook the read. Without one, a
 * tombstone of the same or a higher seq stays one. now_ms: wall clock, for the lock's time-out. */
void prv_cache_put(prv_zone *zone, prv_cache_key key, uint32_t tag, const prv_state *state,
                   const prv_cache_put_how *how, int64_t now_ms);
/* The store said that `key` changed: an entry becomes a tombstone, which stays for 60 s; unless it is what this node wrote
 * itself and has not heard of yet. False: the set is locked by a
 * writer that is late; its entries have lost their authority, and this is to be called again. */
bool prv_cache_invalidate(prv_zone *zone, prv_cache_key key, int64_t now_ms);
/* Nothing in the cache is authoritative any more. */
void prv_zone_epoch_move(prv_zone *zone);
/* All keys were invalidated: every entry counts as a tombstone. */
void prv_zone_flush(prv_zone *zone);
/* An invalidation link is up: it was heard less than PRV_LINK_FRESH_MS ago. */
bool prv_zone_link_up(const prv_zone *zone, int64_t mono_ms);
/* Counted since the zone was made. */
uint64_t prv_zone_epoch(const prv_zone *zone);

/* ---- limit.c: leaky buckets in the zone. false: over the limit. retry_s: when the next is allowed. */
bool prv_limit_take(prv_zone *zone, const prv_limit_conf *conf, uint64_t key, int64_t now_ms, uint32_t *retry_s);

/* ---- breaker.c: one probe at a time per zone */
typedef enum prv_breaker { PRV_BREAKER_CLOSED, PRV_BREAKER_PROBE, PRV_BREAKER_OPEN } prv_breaker;
/* May a request be sent now? PROBE: the caller is the one that tries, and must report. zone NULL: always CLOSED. */
prv_breaker prv_breaker_ask(prv_zone *zone, int64_t mono_ms);
void prv_breaker_report(prv_zone *zone, bool ok, int64_t mono_ms);

#endif
