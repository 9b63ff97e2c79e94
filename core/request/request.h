/*
 * What request/ offers to rights/, content/ and privacyctl/ beyond privacy.h.
 */
#ifndef PRV_REQUEST_H
#define PRV_REQUEST_H

#include "../state/state.h"

/* ---- signals.c: does an Accept field name this media type, with a weight that is not 0? Wildcards aside. */
bool prv_accepts(prv_str accept, prv_str type);

/* ---- tally.c: words of the counters' labels. What people do is counted by prv_cold_key() over these parts. */
typedef enum prv_question { PRV_ASK_CONSENT, PRV_ASK_AGE, PRV_ASK_OPT_OUT, PRV_QUESTIONS } prv_question;
typedef enum prv_asker { PRV_ASKED_BY_GATE, PRV_ASKED_BY_PAGE, PRV_ASKERS } prv_asker;
uint64_t prv_asked_key(const prv_policy *policy, bool report, prv_question question, prv_asker by);
uint64_t prv_refused_key(const prv_policy *policy, bool report, prv_gate gate, unsigned row);
uint64_t prv_choice_key(const prv_policy *policy, unsigned purpose, bool granted, prv_str method,
                        size_t jurisdiction);
uint64_t prv_limited_key(const prv_policy *policy);
/* A visitor was asked at an endpoint of this mode. */
void prv_tally_asked(const prv_request *rq, prv_mode mode, prv_question question);
/* A change took effect: these purposes were granted and refused. */
void prv_tally_chosen(const prv_request *rq, uint32_t granted, uint32_t refused, prv_str method,
                      size_t jurisdiction);

/* ---- token.c: `1.<kid>.<id>.<body>.<mac>` (INTERFACE 6) */
typedef enum prv_token_result {
    PRV_TOKEN_OK,
    PRV_TOKEN_BAD       /* forged, truncated, oversized, unknown kid, another policy's */
} prv_token_result;
/* Verifies before it reads the body. `other` holds choices whose hash the policy does not know. mac may be NULL. */
prv_token_result prv_token_read(const prv_site *site, prv_str text, prv_state *out, bool *old_key,
                                uint8_t mac[PRV_MAC_LEN]);
/* A token's pieces, nothing verified but their form: for look-ups before the HMAC. head: all before the last dot. */
typedef struct prv_token_parts {
    prv_str kid, id, body, head;
    uint8_t mac[PRV_MAC_LEN];
} prv_token_parts;
bool prv_token_split(prv_str text, prv_token_parts *out);
/* Where a token's pieces would stand, for a look-up that is settled by its fingerprint. false: prv_token_split() says so too. */
typedef struct prv_token_look {
    prv_str kid, id, head;
    const char *mac; /* PRV_MAC_TEXT bytes, the last of `text` */
} prv_token_look;
bool prv_token_peek(prv_str text, prv_token_look *out);
/* Writes at most PRV_TOKEN_MAX characters; the length, 0: no key. */
size_t prv_token_write(const prv_site *site, const prv_state *state, char out[PRV_TOKEN_MAX + 1]);
/* The whole Set-Cookie value for `state`, from env.alloc; PRV_NONE: no key or no memory. */
prv_str prv_token_cookie(const prv_site *site, const prv_state *state, const prv_env *env);

/* ---- expire.c: Set-Cookie values that expire each denied, classified cookie that the request carried: host-only
 * and each parent domain of two labels or more, Path=/. Fills at most cap, returns the number. `mask`: purposes whose
 * denial is explicit. */
size_t prv_expire_cookies(const prv_request *rq, const prv_decision *d, uint32_t mask, prv_str host, prv_str *out,
                          size_t cap);

/* Purposes that the visitor may refuse or object to (not off, not row 2). */
uint32_t prv_refusable(const prv_policy *policy);

/* Age status of a threshold against bounds: T <= ok met, T >= under failed (unless parental >= T). */
prv_age_status prv_age_check(const prv_age *age, unsigned threshold);

/* Could anything of this policy track some visitor: a purpose beyond row 2 that is not off, or cookies that no list
 * names? Tk and the tracking status say N only if not. */
bool prv_could_track(const prv_policy *policy);

/* Is this an own path that a form may return to: begins with one '/', no '//' or '/\' start, no control bytes, encoded
 * forms included; at most 2048 bytes. */
bool prv_return_valid(prv_str path);

/* The state as it counts now: answered ages that have run out are gone. Grants are kept: row 11 checks their time. */
void prv_state_age_expire(const prv_policy *policy, prv_state *state, int64_t now);

/* Merges what the store said into the token's view (INTERFACE 7); used by prv_request_feed and by the endpoints after a
 * write. */
void prv_request_merge(prv_request *rq, prv_record_status status, const prv_state *record);
/* The cookie says less than the state, or something else: it should be set anew. */
bool prv_request_lags(const prv_request *rq);
/* Writes rq->state to the cache as last seen, so that an older cookie of this id grants nothing that was taken away since.
 * Only for states with an id. own_stamp: prv_request_stamp() from before a write that the store acknowledged, else 0. */
void prv_request_remember(const prv_request *rq, uint32_t own_stamp);
/* What a read with rq->stamp gave; negative: there is no record of rq->state's id. */
void prv_request_remember_read(const prv_request *rq, bool negative);
/* The tag of this request's entries in the cache. */
uint32_t prv_request_tag(const prv_request *rq);
uint32_t prv_request_stamp(const prv_request *rq, const char id[PRV_ID_LEN]);

/* prv_request.repair */
enum {
    PRV_REPAIR_ADOPT = 1,     /* write the record of a token from before the store existed */
    PRV_REPAIR_WRITE = 2,     /* write what the record lacks */
    PRV_REPAIR_TTL = 4,       /* give a hand-made key a TTL */
    PRV_REPAIR_AGE = 8,       /* WRITE: the age differs, too */
    PRV_REPAIR_RESTRICTED = 16,
    PRV_REPAIR_SIGN = 32      /* sign the record with the key that signs now, before the old one retires */
};

/* The last entry seen of an account, by the id that its record has where nobody changed it: the view while the store is
 * away. */
bool prv_request_seen(prv_request *account); /* true: it is what the store holds, whole */

/* ---- subject.c */
/* The browser's own state with what its cookie is bound to: what its cookie is made of. */
prv_state prv_request_own(const prv_request *rq);
/* The same account? */
bool prv_subject_same(const uint8_t a[PRV_SUBJECT_LEN], const uint8_t b[PRV_SUBJECT_LEN]);
/* An answer is there: the time that it took counts. env->mono_ms is now. */
void prv_request_waited(prv_request *rq);
/* A cookie names no account's record, and an account's record is that account's. */
bool prv_subject_foreign(const prv_request *rq, const prv_state *record);
/* Takes over what `from`, a cookie, is bound to. */
void prv_state_bind(prv_state *to, const prv_state *from);
/* A change made `next` of the browser's state: what it is bound to then. refuse: purposes refused by it. */
void prv_subject_rebind(const prv_request *rq, prv_state *next, uint32_t refuse);
/* rq->state anew, from the account's and the browser's. */
void prv_subject_compose(prv_request *rq);
/* The cookie's choices are an account's that is not known now: they grant nothing. */
void prv_subject_owned(prv_request *rq);

/* ---- merge.c: who wins between two views of one visitor */
typedef enum prv_later {
    PRV_LATER_NONE,   /* a tie: all that lowers counts */
    PRV_LATER_RECORD, /* the winner has the higher seq, and is what the store says or said */
    PRV_LATER_TOKEN   /* the winner has the higher seq, and is the signed cookie */
} prv_later;
/* Takes over from `low` what lowers, unless the winner says otherwise. */
void prv_state_lower(prv_state *winner, const prv_state *low, prv_later later);
/* Takes all grants away, ages that were answered included. */
void prv_state_ungrant(prv_state *state);
/* Verified copies of our cookie of different ids (FACTS 3): the first one's id, grants common to all, refusals of all. */
void prv_state_common(prv_state *first, const prv_state *other);
/* The token against what was last seen (unavailable store, or none asked yet). */
void prv_state_last_seen(prv_state *out, const prv_state *token, const prv_state *seen);

#endif
