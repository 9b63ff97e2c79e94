/*
 * One request's state: its cookie, what the cache knows, and the store's answer. Nothing here
 * allocates or waits but prv_request_repair(), which runs after the request has its answer.
 */
#include "../state/count.h"
#include "cookie.h"
#include "view.h"

#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ the cache */

static uint64_t sum_word(uint64_t sum, uint64_t word)
{
    sum = (sum ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return sum ^ sum >> 29;
}

static uint64_t word_at(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* A word at a time; the last one overlaps the one before it. */
static uint64_t sum_text(uint64_t sum, prv_str text)
{
    sum = sum_word(sum, text.n);
    if (text.n < sizeof sum) {
        for (size_t i = 0; i < text.n; i++)
            sum = sum_word(sum, (unsigned char)text.p[i]);
        return sum;
    }
    for (size_t i = 0; i < text.n - sizeof sum; i += sizeof sum)
        sum = sum_word(sum, word_at(text.p + i));
    return sum_word(sum, word_at(text.p + text.n - sizeof sum));
}

/* Entries of another policy, keyring, cookie name or store setting are not found: a token verified
 * for one server block says nothing at another. */
uint32_t prv_request_tag(const prv_request *rq)
{
    const prv_site *site = rq->site;
    const uint64_t generation = prv_keyring_generation(site->keys);
    uint64_t sum = sum_word(site->policy->digest, generation << 1 | site->store);
    sum = sum_text(sum_text(sum, site->cookie.name), site->policy->id);
    return (uint32_t)(sum ^ sum >> 32);
}

static prv_cache_key key_of_id(const char id[PRV_ID_LEN])
{
    prv_cache_key key;
    prv_id_pack(id, key.b);
    return key;
}

uint32_t prv_request_stamp(const prv_request *rq, const char id[PRV_ID_LEN])
{
    return prv_cache_stamp(rq->zone, key_of_id(id));
}

void prv_request_remember(const prv_request *rq, uint32_t own_stamp)
{
    const prv_cache_put_how how = {.own_stamp = own_stamp, .buried = rq->withheld};
    const prv_state *own = rq->split ? &rq->browser : &rq->state;
    if (rq->zone && own->id_len == PRV_ID_LEN)
        prv_cache_put(rq->zone, key_of_id(own->id), prv_request_tag(rq), own, &how, rq->env->now_ms);
}

bool prv_request_seen(prv_request *account)
{
    prv_cached seen;
    if (!account->zone || !prv_cache_get(account->zone, key_of_id(account->record_id),
                                         prv_request_tag(account), account->env->mono_ms, &seen))
        return false;
    account->state = seen.state;
    account->state.of_account = true;
    account->state.gpc = seen.state.swept; /* as it is kept */
    account->state.swept = false;
    if (seen.negative)
        account->state.id_len = 0;
    memcpy(account->state.subject, account->subject, sizeof account->state.subject);
    account->source = PRV_SOURCE_CACHE;
    return seen.fresh && !seen.partial;
}

/* What a read gave is authoritative, until it is invalidated. Where a write is still to be made it is not, so that the
 * next request sees whether that was done; and the cookie only counts as known where it needs no renewal, and where all
 * that it says stands in the entry, too. */
void prv_request_remember_read(const prv_request *rq, bool negative)
{
    const prv_state *own = rq->split ? &rq->browser : &rq->state;
    const prv_cache_put_how how = {.print = rq->renew || rq->token.has_subject ? NULL : rq->print,
                                   .stamp = rq->repair ? 0 : rq->stamp,
                                   .negative = negative};
    if (rq->zone && own->id_len == PRV_ID_LEN)
        prv_cache_put(rq->zone, key_of_id(own->id), prv_request_tag(rq), own, &how, rq->env->now_ms);
}

/* ------------------------------------------------------------------ copies of our cookie */

typedef struct copy {
    prv_state state;
    bool old_key;
    bool cached;   /* the cookie was seen before: its body was not read, the state is the entry's */
    bool negative; /* ... and the entry knows of no record */
    uint8_t print[PRV_PRINT_LEN];
} copy;

typedef struct copies {
    size_t seen;
    size_t n;
    copy of[PRV_MAX_COPIES];
    bool bad;
} copies;

/*
 * What the entry keeps of a token: its MAC, as it is written, mixed with a sum of every byte that it is over.
 * Whoever knows the MAC gets the entry's state and nothing else, so the sum need not be strong: it
 * makes a changed body, kid or version under a MAC that was just verified a token that does not
 * repeat, and so one that is verified, and fails. Who does not know it has to guess at least 78 of its bits: 48 of
 * the first word, whatever the second, and 30 of the third's last six digits. No HMAC on this path.
 */
static void fingerprint(const prv_token_look *token, uint8_t out[PRV_PRINT_LEN])
{
    _Static_assert(PRV_MAC_TEXT == 22 && PRV_PRINT_LEN == 12, "three words that overlap, 96 bits");
    const uint64_t sum = sum_text(PRV_FNV64_SEED, token->head);
    const uint64_t a = word_at(token->mac), b = word_at(token->mac + 8),
                   c = word_at(token->mac + PRV_MAC_TEXT - 8);
    const uint64_t low = (a ^ sum) * UINT64_C(0x9E3779B97F4A7C15) ^ b * UINT64_C(0xbf58476d1ce4e5b9);
    const uint32_t high = (uint32_t)((c ^ sum) * UINT64_C(0x94d049bb133111eb) >> 32);
    memcpy(out, &low, sizeof low);
    memcpy(out + sizeof low, &high, sizeof high);
}

/* An entry that no token was seen for has no fingerprint, and must not answer for a token that
 * claims zeros. */
static bool print_matches(const uint8_t shown[PRV_PRINT_LEN], const uint8_t kept[PRV_PRINT_LEN])
{
    uint64_t low[2];
    uint32_t high[2];
    memcpy(&low[0], shown, sizeof low[0]);
    memcpy(&high[0], shown + sizeof low[0], sizeof high[0]);
    memcpy(&low[1], kept, sizeof low[1]);
    memcpy(&high[1], kept + sizeof low[1], sizeof high[1]);
    return ((low[0] ^ low[1]) | (high[0] ^ high[1])) == 0 && (low[1] | high[1]) != 0;
}

/* Id, fingerprint and tag equal: the body is not read and the state is the entry's alone. A key that no longer signs may
 * still verify; what the entry lacks is read from the body. */
static bool repeated(const prv_request *rq, const prv_token_look *token, const prv_cached *seen,
                     copy *out)
{
    const prv_key *key = prv_keyring_find(rq->site->keys, PRV_KEY_TOKEN, token->kid);
    if (!key || seen->partial || !print_matches(out->print, seen->print))
        return false;
    out->state = seen->state;
    out->old_key = key != prv_keyring_signer(rq->site->keys, PRV_KEY_TOKEN);
    out->cached = true;
    out->negative = seen->negative;
    return true;
}

/* A cookie alone is the state: the cache holds verified ones, and shows when an older one of the same id
 * is played again. */
static void remember_token(const prv_request *rq, prv_cache_key key, const prv_cached *seen,
                           copy *c)
{
    /* what it is bound to stands in its body alone */
    const prv_cache_put_how how = {.print = c->state.has_subject ? NULL : c->print};
    if (seen && seen->state.seq > c->state.seq)
        prv_state_lower(&c->state, &seen->state, PRV_LATER_NONE);
    else
        prv_cache_put(rq->zone, key, prv_request_tag(rq), &c->state, &how, rq->env->now_ms);
}

/* An id-less token is kept under its MAC. */
static bool key_of(const prv_token_look *token, prv_cache_key *key)
{
    size_t n;
    if (token->id.n == 0)
        return prv_base64url_decode((prv_str){token->mac, PRV_MAC_TEXT}, key->b, sizeof key->b, &n);
    *key = key_of_id(token->id.p);
    return true;
}

static bool verify(const prv_request *rq, prv_str text, copy *out)
{
    prv_token_look token;
    prv_cached seen;
    prv_cache_key key;
    if (!prv_token_peek(text, &token) || !key_of(&token, &key))
        return false;
    fingerprint(&token, out->print);
    out->cached = false;
    const bool in_store = rq->site->store && token.id.n > 0;
    const bool found =
        rq->zone && prv_cache_get(rq->zone, key, prv_request_tag(rq), rq->env->mono_ms, &seen);
    if (found && !seen.tombstone && (seen.fresh || !in_store) && repeated(rq, &token, &seen, out))
        return true;
    if (prv_token_read(rq->site, text, &out->state, &out->old_key, NULL) != PRV_TOKEN_OK)
        return false;
    if (rq->zone && !in_store)
        remember_token(rq, key, found ? &seen : NULL, out);
    return true;
}

static bool same_id(const prv_state *a, const prv_state *b)
{
    return a->id_len == PRV_ID_LEN && b->id_len == PRV_ID_LEN &&
           memcmp(a->id, b->id, PRV_ID_LEN) == 0;
}

/* Behind a comma it may be a part of another cookie's value, which others than we can set: it only
 * lowers, and names no record. */
static void doubt(prv_state *state)
{
    const prv_state lesser = {.present = true,
                              .seq = state->seq,
                              .at = state->at,
                              .expires = state->expires,
                              .version = state->version,
                              .restricted = state->restricted,
                              .refused = state->refused,
                              .age = {.under = state->age.under, .at = state->age.at}};
    *state = lesser;
}

static void copies_add(const prv_request *rq, copies *c, prv_str text, bool doubtful)
{
    if (c->seen++ >= PRV_MAX_COPIES || !rq->site->keys || !verify(rq, text, &c->of[c->n])) {
        c->bad = true;
        return;
    }
    copy *next = &c->of[c->n];
    if (doubtful) {
        doubt(&next->state);
        c->bad = true;
    }
    for (size_t i = 0; i < c->n; i++) {
        if (!same_id(&c->of[i].state, &next->state))
            continue;
        if (next->state.seq > c->of[i].state.seq)
            c->of[i] = *next;
        return;
    }
    c->n++;
}

/* What follows a name that a `=` follows. */
static prv_str pair_value(const prv_pair *pair)
{
    const prv_str rest = prv_view_from((prv_str){pair->p, pair->n}, pair->name_n);
    return prv_view_trim(prv_view_from(rest, prv_view_find(rest, '=') + 1));
}

static void copies_find(prv_request *rq, copies *c)
{
    const prv_str own = rq->site->cookie.name;
    prv_cookie_pairs(rq);
    for (uint32_t left = rq->paired ? rq->own_pairs : 0; left; left &= left - 1)
        copies_add(rq, c, pair_value(&rq->pairs[__builtin_ctz(left)]), false);
    for (size_t i = 0; !rq->paired && i < rq->n_cookies; i++) {
        prv_cookie_iter it;
        prv_str name, value, pair;
        prv_cookie_iter_init(&it, rq->cookies[i], rq->comma_joined);
        while (prv_cookie_next(&it, &name, &value, &pair)) {
            if (name.n == own.n && name.n > 0 && memcmp(name.p, own.p, own.n) == 0)
                copies_add(rq, c, value, it.after_comma);
        }
    }
}

static void take_copies(prv_request *rq, const copies *c)
{
    rq->has_token = c->n > 0;
    if (c->n == 0) {
        rq->token = (prv_state){0};
        rq->state = (prv_state){.unreadable = c->bad};
        return;
    }
    rq->token = c->of[0].state;
    rq->foreign_key = c->of[0].old_key;
    rq->source = c->of[0].cached ? PRV_SOURCE_CACHE : PRV_SOURCE_TOKEN;
    if (c->seen == 1 && !c->bad)
        memcpy(rq->print, c->of[0].print, sizeof rq->print);
    for (size_t i = 1; i < c->n; i++)
        prv_state_common(&rq->token, &c->of[i].state);
    prv_state_age_expire(rq->site->policy, &rq->token, rq->env->now_ms / 1000);
    if (rq->site->store && rq->token.owned) /* what it holds is not the browser's */
        prv_state_ungrant(&rq->token);
    rq->state = rq->token;
    rq->state.unreadable = c->bad;
    prv_subject_owned(rq);
}

/* ------------------------------------------------------------------ begin and feed */

/* The cookie refuses what the store does not: that is to be written, and so the record to be read. */
static bool says_less(const prv_state *merged, const prv_state *stored)
{
    const bool age = merged->age.under != stored->age.under || merged->age.ok != stored->age.ok;
    return (merged->refused & ~stored->refused) || merged->restricted != stored->restricted ||
           (age && merged->age.under);
}

/* The cookie against the entry. True: that is all there is to know, because the entry is what the store holds and the
 * cookie is not later. Else it is the view until the store answers, and if it does not. */
static bool view_cached(prv_request *rq, bool one_repeated, bool *negative)
{
    prv_cached seen;
    if (one_repeated) /* verify() saw a fresh entry a moment ago, and took its state */
        return true;
    if (!rq->zone || !prv_cache_get(rq->zone, key_of_id(rq->token.id), prv_request_tag(rq),
                                    rq->env->mono_ms, &seen))
        return false;
    *negative = seen.negative;
    const bool unreadable = rq->state.unreadable;
    const bool same = seen.state.seq == rq->token.seq;
    prv_state_last_seen(&rq->state, &rq->token, &seen.state);
    rq->state.unreadable = unreadable;
    /* A cookie that was made while the store was away is later, but of what it grants it knows nothing later. */
    rq->withheld = seen.tombstone && (rq->token.away || rq->token.seq <= seen.state.seq);
    if (rq->withheld)
        rq->state.granted = 0;
    if (seen.partial && same) {
        rq->state.n_other = rq->token.n_other;
        memcpy(rq->state.other, rq->token.other, sizeof rq->state.other);
    }
    prv_state_age_expire(rq->site->policy, &rq->state, rq->env->now_ms / 1000);
    if (seen.state.seq >= rq->token.seq)
        rq->source = PRV_SOURCE_CACHE;
    return seen.fresh && rq->token.seq <= seen.state.seq && (same || !seen.partial) &&
           !says_less(&rq->state, &seen.state);
}

/* With an entry that stands for the record: as after a read of it. */
static void settle_cached(prv_request *rq)
{
    rq->source = PRV_SOURCE_CACHE;
    rq->record_seq = rq->state.seq;
    rq->record_age = rq->state.age;
    rq->renew = prv_request_lags(rq);
}

static void count_lookup(const prv_request *rq, bool hit, bool negative)
{
    prv_count(rq->zone, !hit       ? PRV_TICK_CACHE_MISS
                        : negative ? PRV_TICK_CACHE_NEGATIVE
                                   : PRV_TICK_CACHE_HIT);
}

prv_step prv_request_begin(prv_request *rq, prv_op *op)
{
    copies found; /* what `of` holds beyond `n` is not looked at */
    found.seen = found.n = 0;
    found.bad = false;
    rq->source = PRV_SOURCE_NONE;
    rq->withheld = false;
    rq->known = rq->split = false;
    rq->account = NULL;
    rq->waited_ms = 0;
    copies_find(rq, &found);
    take_copies(rq, &found);
    if (found.n == 0)
        return PRV_STEP_READY;
    const bool repeats = found.of[0].cached;
    bool negative = repeats && found.of[0].negative;
    if (!rq->site->store || rq->token.id_len != PRV_ID_LEN) {
        count_lookup(rq, repeats, negative);
        return PRV_STEP_READY;
    }
    const bool hit = view_cached(rq, found.n == 1 && repeats, &negative);
    count_lookup(rq, hit, negative);
    if (hit) {
        settle_cached(rq);
        return PRV_STEP_READY;
    }
    if (rq->site->prefix.n + 40 > sizeof rq->key) {
        rq->degraded = true; /* a prefix that the configuration does not accept */
        rq->source = PRV_SOURCE_DEGRADED;
        return PRV_STEP_READY;
    }
    const prv_str id = {rq->token.id, PRV_ID_LEN};
    rq->key_len = (uint8_t)prv_record_key(rq->site->prefix, id, rq->key);
    rq->pending = true;
    rq->asked_ms = rq->env->mono_ms;
    rq->stamp = prv_cache_stamp(rq->zone, key_of_id(rq->token.id));
    *op = (prv_op){.kind = PRV_OP_READ, .stamp = rq->stamp, .key = {rq->key, rq->key_len}};
    return PRV_STEP_NEED_STORE;
}

void prv_request_feed(prv_request *rq, const prv_reply *reply)
{
    rq->pending = false;
    prv_request_waited(rq);
    if (reply->status == PRV_REPLY_UNAVAILABLE) {
        rq->degraded = true;
        rq->source = PRV_SOURCE_DEGRADED;
        return;
    }
    prv_state record;
    prv_record_kept kept;
    bool no_ttl = false;
    const prv_str id = {rq->token.id, PRV_ID_LEN};
    prv_record_status status = prv_record_read(rq->site->policy, rq->site->keys, id, reply, rq->env,
                                               &record, &kept, &no_ttl);
    if (status == PRV_RECORD_OK && prv_subject_foreign(rq, &record)) {
        prv_state_ungrant(&record);
        status = PRV_RECORD_UNREADABLE;
    }
    prv_request_merge(rq, status, &record);
    rq->source = PRV_SOURCE_STORE;
    rq->kept_granted = kept.granted;
    rq->kept_refused = kept.refused;
    if (status == PRV_RECORD_OK && record.old_key)
        rq->repair |= PRV_REPAIR_SIGN;
    if (no_ttl)
        rq->repair |= PRV_REPAIR_TTL;
    if (reply->untracked)
        rq->stamp = 0;
    prv_request_remember_read(rq, status == PRV_RECORD_ABSENT);
    /* Only what writes the record compares it. */
    rq->has_seen = (rq->repair & ~PRV_REPAIR_TTL) && prv_record_seen(reply, rq->seen);
}

/* ------------------------------------------------------------------ repair */

static bool repair_write(prv_request *rq, unsigned what, prv_op *op)
{
    const prv_env *env = rq->env;
    prv_state next = rq->split ? rq->browser : rq->state;
    const bool adopt = what & PRV_REPAIR_ADOPT;
    const bool sign = !(what & (PRV_REPAIR_ADOPT | PRV_REPAIR_WRITE));
    /* The token's own seq, so that the cookie that is out there matches; a new one where the record
     * was not behind, and the same one where only the key changes. */
    if (sign) {
        next.seq = rq->record_seq;
        next.age = rq->record_age;
    } else if (!adopt && next.seq <= rq->record_seq) {
        if (rq->record_seq == UINT32_MAX)
            return false;
        next.seq = rq->record_seq + 1;
    }
    if (next.seq == 0)
        next.seq = 1;
    char *change = env->alloc(env->ctx, PRV_CHANGE_LEN);
    const size_t change_len = change ? prv_change_make(env, change) : 0;
    if (change_len == 0 ||
        prv_state_end(rq->site->policy, &next) <= env->now_ms / 1000)
        return false;
    const prv_record_meta meta = {.change = {change, change_len},
                                  .seen = {rq->seen, rq->has_seen ? sizeof rq->seen : 0},
                                  .kept = {rq->kept_granted, rq->kept_refused},
                                  .leave_age = !adopt && !sign && !(what & PRV_REPAIR_AGE),
                                  .leave_restricted = !adopt && !(what & PRV_REPAIR_RESTRICTED),
                                  .only_proofs = sign};
    return prv_record_change(rq->site->policy, rq->site->keys, rq->site->prefix, &next,
                             adopt ? 0 : rq->record_seq, &meta, env, op);
}

static bool repair_ttl(prv_request *rq, prv_op *op)
{
    const size_t cap = 24;
    char *seconds = rq->env->alloc(rq->env->ctx, cap);
    const int64_t life = rq->site->policy->lifetimes.maximum;
    if (!seconds || life <= 0)
        return false;
    const int n = snprintf(seconds, cap, "%lld", (long long)life);
    *op = (prv_op){.kind = PRV_OP_EXPIRE, .key = {rq->key, rq->key_len}, .n_args = 1};
    op->args[0] = (prv_str){seconds, (size_t)n};
    return true;
}

bool prv_request_repair(prv_request *rq, prv_op *op)
{
    const unsigned what = rq->repair;
    rq->repair = 0;
    if (rq->pending || rq->degraded || !what)
        return false;
    if (what & (PRV_REPAIR_ADOPT | PRV_REPAIR_WRITE | PRV_REPAIR_SIGN))
        return repair_write(rq, what, op);
    return repair_ttl(rq, op);
}
