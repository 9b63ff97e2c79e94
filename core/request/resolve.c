/*
 * One request's state: its cookie, what the cache knows, and the store's answer. Nothing here
 * allocates or waits but prv_request_repair(), which runs after the request has its answer.
 */
#include "request.h"

#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ the cache */

/* Entries of another policy, keyring, cookie name or store setting are not found: a token verified
 * for one server block says nothing at another. */
static uint32_t cache_tag(const prv_request *rq)
{
    const prv_site *site = rq->site;
    const uint32_t generation = prv_keyring_generation(site->keys);
    uint64_t h = prv_fnv64(site->policy->digest ^ PRV_FNV64_SEED, site->cookie.name);
    h = prv_fnv64(h, (prv_str){(const char *)&generation, sizeof generation});
    h = prv_fnv64(h, site->store ? PRV_STR("s") : PRV_STR("-"));
    h = prv_fnv64(h, site->policy->id);
    return (uint32_t)(h ^ h >> 32);
}

static prv_cache_key key_of_id(const char id[PRV_ID_LEN])
{
    prv_cache_key key;
    prv_id_pack(id, key.b);
    return key;
}

void prv_request_remember(const prv_request *rq)
{
    const prv_state *own = rq->split ? &rq->browser : &rq->state;
    if (rq->zone && own->id_len == PRV_ID_LEN)
        prv_cache_put(rq->zone, key_of_id(own->id), cache_tag(rq), own, NULL, rq->env->now_ms);
}

void prv_request_seen(prv_request *account)
{
    prv_state seen;
    if (!account->zone || !prv_cache_get(account->zone, key_of_id(account->record_id),
                                         cache_tag(account), &seen, NULL))
        return;
    seen.of_account = true;
    seen.gpc = seen.swept; /* as it is kept */
    seen.swept = false;
    memcpy(seen.subject, account->subject, sizeof seen.subject);
    account->state = seen;
    account->source = PRV_SOURCE_CACHE;
}

/* ------------------------------------------------------------------ copies of our cookie */

typedef struct copy {
    prv_state state;
    bool old_key;
    bool cached;
} copy;

typedef struct copies {
    size_t seen;
    size_t n;
    copy of[PRV_MAX_COPIES];
    bool bad;
} copies;

/*
 * What the entry keeps of a token: its MAC, mixed with a sum of every byte that the MAC is over.
 * Whoever knows the MAC gets the entry's state and nothing else, so the sum need not be strong: it
 * makes a changed body, kid or version under a MAC that was just verified a token that does not
 * repeat, and so one that is verified, and fails. A word at a time: no HMAC on this path.
 */
static void fingerprint(const prv_token_parts *parts, uint8_t out[PRV_MAC_LEN])
{
    uint64_t sum = PRV_FNV64_SEED ^ parts->head.n, mac;
    prv_str rest = parts->head;
    while (rest.n > 0) {
        const size_t n = rest.n < sizeof sum ? rest.n : sizeof sum;
        uint64_t word = 0;
        memcpy(&word, rest.p, n);
        sum = (sum ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        sum ^= sum >> 29;
        rest.p += n;
        rest.n -= n;
    }
    memcpy(out, parts->mac, PRV_MAC_LEN);
    memcpy(&mac, out, sizeof mac);
    mac ^= sum;
    memcpy(out, &mac, sizeof mac);
}

/* An entry that no token was seen for has no MAC, and must not answer for a token that claims
 * zeros. */
static bool mac_known(const uint8_t mac[PRV_MAC_LEN])
{
    static const uint8_t none[PRV_MAC_LEN];
    return !prv_mac_equal(mac, none);
}

/* Id, fingerprint and tag equal: the body is not read and the state is the entry's alone. */
static bool repeated(const prv_request *rq, const prv_token_parts *parts,
                     const uint8_t shown[PRV_MAC_LEN], const uint8_t kept[PRV_MAC_LEN], copy *out)
{
    const prv_key *key = prv_keyring_find(rq->site->keys, PRV_KEY_TOKEN, parts->kid);
    if (!key || !mac_known(kept) || !prv_mac_equal(kept, shown))
        return false;
    out->old_key = key != prv_keyring_signer(rq->site->keys, PRV_KEY_TOKEN);
    out->cached = true;
    return true;
}

static bool verify_uncached(const prv_request *rq, prv_str text, copy *out)
{
    out->cached = false;
    return prv_token_read(rq->site, text, &out->state, &out->old_key, NULL) == PRV_TOKEN_OK;
}

/* Without a store the cache holds verified tokens, and shows when an older one of the same id is
 * played again. */
static bool verify(const prv_request *rq, prv_str text, copy *out)
{
    prv_token_parts parts;
    prv_state seen;
    uint8_t shown[PRV_MAC_LEN], kept[PRV_MAC_LEN];
    if (!prv_token_split(text, &parts))
        return false;
    if (rq->site->store || !rq->zone)
        return verify_uncached(rq, text, out);

    const uint32_t tag = cache_tag(rq);
    prv_cache_key key;
    if (parts.id.n > 0)
        key = key_of_id(parts.id.p);
    else
        memcpy(key.b, parts.mac, sizeof key.b);
    const bool found = prv_cache_get(rq->zone, key, tag, &seen, kept);
    fingerprint(&parts, shown);
    if (found && repeated(rq, &parts, shown, kept, out)) {
        out->state = seen;
        return true;
    }
    if (!verify_uncached(rq, text, out))
        return false;
    if (found && seen.seq > out->state.seq)
        prv_state_lower(&out->state, &seen, PRV_LATER_NONE);
    else
        prv_cache_put(rq->zone, key, tag, &out->state, out->state.has_subject ? NULL : shown,
                      rq->env->now_ms); /* what it is bound to stands in its body alone */
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
    copy next;
    if (c->seen++ >= PRV_MAX_COPIES || !rq->site->keys || !verify(rq, text, &next)) {
        c->bad = true;
        return;
    }
    if (doubtful) {
        doubt(&next.state);
        c->bad = true;
    }
    for (size_t i = 0; i < c->n; i++) {
        if (!same_id(&c->of[i].state, &next.state))
            continue;
        if (next.state.seq > c->of[i].state.seq)
            c->of[i] = next;
        return;
    }
    c->of[c->n++] = next;
}

static void copies_find(const prv_request *rq, copies *c)
{
    const prv_str own = rq->site->cookie.name;
    for (size_t i = 0; i < rq->n_cookies; i++) {
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
    rq->state.unreadable = c->bad;
    if (c->n == 0)
        return;
    rq->token = c->of[0].state;
    rq->foreign_key = c->of[0].old_key;
    rq->source = c->of[0].cached ? PRV_SOURCE_CACHE : PRV_SOURCE_TOKEN;
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

/* Until the store answers, and if it does not: the token against the last entry seen. */
static void view_last_seen(prv_request *rq)
{
    prv_state seen;
    if (!rq->zone || !prv_cache_get(rq->zone, key_of_id(rq->token.id), cache_tag(rq), &seen, NULL))
        return;
    const bool unreadable = rq->state.unreadable;
    prv_state_last_seen(&rq->state, &rq->token, &seen);
    rq->state.unreadable = unreadable;
    prv_state_age_expire(rq->site->policy, &rq->state, rq->env->now_ms / 1000);
    if (seen.seq >= rq->token.seq)
        rq->source = PRV_SOURCE_CACHE;
}

prv_step prv_request_begin(prv_request *rq, prv_op *op)
{
    copies found = {0};
    rq->state = (prv_state){0};
    rq->token = (prv_state){0};
    rq->source = PRV_SOURCE_NONE;
    rq->known = rq->split = false;
    rq->account = NULL;
    rq->waited_ms = 0;
    copies_find(rq, &found);
    take_copies(rq, &found);
    if (!rq->site->store || rq->token.id_len != PRV_ID_LEN)
        return PRV_STEP_READY;

    view_last_seen(rq);
    if (rq->site->prefix.n + 40 > sizeof rq->key) {
        rq->degraded = true; /* a prefix that the configuration does not accept */
        rq->source = PRV_SOURCE_DEGRADED;
        return PRV_STEP_READY;
    }
    const prv_str id = {rq->token.id, PRV_ID_LEN};
    rq->key_len = (uint8_t)prv_record_key(rq->site->prefix, id, rq->key);
    rq->pending = true;
    rq->asked_ms = rq->env->now_ms;
    *op = (prv_op){.kind = PRV_OP_READ, .key = {rq->key, rq->key_len}};
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
    char *change = env->alloc(env->ctx, PRV_ID_LEN);
    if (!change || !prv_id_make(env, change) ||
        prv_state_end(rq->site->policy, &next) <= env->now_ms / 1000)
        return false;
    const prv_record_meta meta = {.change = {change, PRV_ID_LEN},
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
