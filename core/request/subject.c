/*
 * Accounts. An account is a visitor of its own, with a record and without a cookie; `rq->account`
 * is that visitor's view. With one known its record decides, and of the browser only what lowers
 * counts, so that on a shared device nobody meets what another account granted.
 *
 *   privacy:subject:{HASH}  ->  id  ->  privacy:consent:{ID}, whose `subject` must be HASH
 *
 * Without a store there is no such record. Then the cookie's choices are either the browser's or,
 * if they were made while an account was known, that account's (`owned`), and grant nothing to
 * others.
 */
#include "request.h"

#include <string.h>

/* ------------------------------------------------------------------ whom a cookie is bound to */

bool prv_subject_same(const uint8_t a[PRV_SUBJECT_LEN], const uint8_t b[PRV_SUBJECT_LEN])
{
    return memcmp(a, b, PRV_SUBJECT_LEN) == 0;
}

void prv_state_bind(prv_state *to, const prv_state *from)
{
    to->has_subject = from->has_subject;
    to->session = from->session;
    to->owned = from->owned;
    to->over = from->over;
    to->owed = from->owed;
    memcpy(to->subject, from->subject, sizeof to->subject);
}

static bool bound_to(const prv_state *state, const uint8_t subject[PRV_SUBJECT_LEN])
{
    return state->has_subject && prv_subject_same(state->subject, subject);
}

prv_state prv_request_own(const prv_request *rq)
{
    prv_state own = rq->split ? rq->browser : rq->state;
    prv_state_bind(&own, &rq->token);
    own.account = false;
    return own;
}

void prv_subject_rebind(const prv_request *rq, prv_state *next, uint32_t refuse)
{
    if (rq->of_account) /* it has no cookie, and `subject` says whose record it is */
        return;
    prv_state_bind(next, &rq->token);
    next->over &= next->refused & ~refuse;
    next->owed &= next->refused;
    if (rq->site->store)
        return;
    next->owned = rq->known;
    if (rq->known && !bound_to(next, rq->subject)) {
        next->has_subject = true;
        next->session = false;
        next->over = next->owed = 0;
        memcpy(next->subject, rq->subject, sizeof next->subject);
    }
}

/* ------------------------------------------------------------------ the state that decides */

static void split(prv_request *rq)
{
    if (!rq->split)
        rq->browser = rq->state;
    rq->split = true;
}

void prv_subject_owned(prv_request *rq)
{
    if (!rq->token.owned)
        return;
    split(rq);
    prv_state_ungrant(&rq->state);
}

static void compose_stored(prv_request *rq)
{
    prv_state out = rq->account ? rq->account->state : (prv_state){0};
    prv_state low = rq->browser;
    prv_state_ungrant(&low);
    if (bound_to(&rq->token, rq->subject))
        low.refused &= ~rq->token.over;
    prv_state_lower(&out, &low, PRV_LATER_NONE);
    out.present |= low.present;
    out.swept = low.swept;
    rq->state = out;
}

void prv_subject_compose(prv_request *rq)
{
    const bool unreadable = rq->state.unreadable;
    if (rq->site->store) {
        split(rq);
        compose_stored(rq);
    } else if (rq->token.owned && bound_to(&rq->token, rq->subject)) {
        rq->state = rq->split ? rq->browser : rq->state;
        rq->split = false;
    } else {
        split(rq);
        rq->state = rq->browser;
        prv_state_ungrant(&rq->state);
    }
    rq->state.account = true;
    rq->state.unreadable = unreadable;
    prv_state_age_expire(rq->site->policy, &rq->state, rq->env->now_ms / 1000);
}

/* ------------------------------------------------------------------ who it is */

/* Printable, so that one name has one form and no log line or field can be forged with it. */
static bool name_valid(prv_str name)
{
    if (name.n == 0 || name.n > PRV_SUBJECT_MAX)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        const unsigned char c = (unsigned char)name.p[i];
        if (c < 0x20 || c == 0x7f)
            return false;
    }
    return true;
}

static void say(const prv_request *rq, prv_str line)
{
    if (rq->env->log)
        rq->env->log(rq->env->ctx, PRV_LOG_WARN, line);
}

static bool name_hash(const prv_request *rq, prv_str name, uint8_t out[PRV_SUBJECT_LEN])
{
    if (!name_valid(name)) {
        say(rq, PRV_STR("the account is no name of at most 512 bytes without control characters: "
                        "nobody counts as logged in"));
        return false;
    }
    if (prv_subject_hash(rq->site->policy, rq->site->keys, name, out))
        return true;
    say(rq, PRV_STR("the key file has no \"subject\" key, so no account can be known; add one with "
                    "`privacyctl keys add`"));
    return false;
}

bool prv_subject_known(const prv_request *rq)
{
    return rq->known || rq->token.session;
}

/* `$http_`, `$arg_`, `$cookie_` and their braces; httpd's %{HTTP:…}, %{req:…}, %{QUERY_STRING},
 * req(…), http(…). */
bool prv_subject_claimed(prv_str directive)
{
    static const char *const words[] = {
        "$http_", "${http_",       "$arg_",       "${arg_",        "$cookie_",    "${cookie_",
        "$args",  "$query_string", "%{http:",     "%{req:",        "%{http_",     "%{query_string",
        "req(",   "http(",         "req_novary(", "%{request_uri", "$request_uri"};
    for (size_t i = 0; i < directive.n; i++) {
        for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
            size_t n = 0;
            while (words[k][n] && i + n < directive.n &&
                   (directive.p[i + n] |
                    (directive.p[i + n] >= 'A' && directive.p[i + n] <= 'Z' ? 0x20 : 0)) ==
                       words[k][n])
                n++;
            if (!words[k][n])
                return true;
        }
    }
    return false;
}

/* ------------------------------------------------------------------ looking it up */

static prv_step ready(prv_request *rq)
{
    rq->pending = false;
    prv_subject_compose(rq);
    return PRV_STEP_READY;
}

void prv_request_waited(prv_request *rq)
{
    const int64_t ms = rq->env->mono_ms - rq->asked_ms;
    if (ms > 0)
        rq->waited_ms += ms < INT32_MAX / 2 ? (uint32_t)ms : INT32_MAX / 2;
}

/* What is left of the time that this request may wait, all operations together; 0: nothing. */
static uint32_t time_left(prv_request *rq)
{
    rq->asked_ms = rq->env->mono_ms;
    if (rq->site->timeout_ms == 0)
        return UINT32_MAX;
    return rq->waited_ms < rq->site->timeout_ms ? rq->site->timeout_ms - rq->waited_ms : 0;
}

static prv_step unavailable(prv_request *rq)
{
    rq->account->degraded = true;
    rq->degraded = true;
    rq->source = PRV_SOURCE_DEGRADED;
    return ready(rq);
}

static uint32_t subject_stamp(const prv_request *a)
{
    prv_cache_key key;
    memcpy(key.b, a->subject, sizeof key.b);
    return prv_cache_stamp(a->zone, key);
}

/* Only what writes the record compares what it was made from. */
static bool writes(const prv_request *rq, const prv_request *a)
{
    return (a->repair & ~PRV_REPAIR_TTL) || ((rq->signals & PRV_SIGNAL_GPC) && !a->state.gpc) ||
           (rq->token.owed && bound_to(&rq->token, rq->subject));
}

/* Pointer and record are in the cache and what the store holds: nothing is read. The entry of an id
 * does not say whose record it is, so this is for the id alone that is this account's own; and what
 * is going to write reads. */
static bool cached(const prv_request *rq, prv_request *a, bool record)
{
    char id[PRV_ID_LEN];
    bool none;
    if (!prv_subject_cached(a->zone, a->subject, prv_request_tag(a), a->env->mono_ms, id, &none))
        return false;
    if (none) {
        prv_request_merge(a, PRV_RECORD_ABSENT, &(prv_state){0});
        return true;
    }
    if (!record || memcmp(id, a->record_id, PRV_ID_LEN) != 0 || writes(rq, a))
        return false;
    a->pointed = true;
    a->record_seq = a->state.seq;
    a->record_age = a->state.age;
    return true;
}

static prv_step ask(prv_request *rq, prv_op_kind kind, prv_op *op)
{
    prv_request *a = rq->account;
    const uint32_t left = time_left(rq);
    const prv_str id = {a->record_id, PRV_ID_LEN};
    if (left == 0 || rq->site->prefix.n + 40 > sizeof a->key)
        return unavailable(rq);
    a->key_len =
        (uint8_t)(kind == PRV_OP_SUBJECT ? prv_subject_key(rq->site->prefix, rq->subject, a->key)
                                         : prv_record_key(rq->site->prefix, id, a->key));
    a->stamp = kind == PRV_OP_SUBJECT ? subject_stamp(a) : prv_request_stamp(a, a->record_id);
    a->asking = (uint8_t)kind;
    rq->pending = true;
    *op = (prv_op){.kind = kind,
                   .stamp = a->stamp,
                   .wait_ms = left == UINT32_MAX ? 0 : left,
                   .key = {a->key, a->key_len}};
    return PRV_STEP_NEED_STORE;
}

static prv_step lookup(prv_request *rq, prv_op *op)
{
    if (!rq->site->store)
        return ready(rq);
    prv_request *a = rq->env->alloc(rq->env->ctx, sizeof *a);
    rq->account = a;
    if (!a) /* known, and without anything that it granted */
        return ready(rq);
    *a = (prv_request){.env = rq->env,
                       .site = rq->site,
                       .zone = rq->zone,
                       .signals = rq->signals,
                       .of_account = true};
    memcpy(a->subject, rq->subject, sizeof a->subject);
    a->state.of_account = true;
    memcpy(a->state.subject, rq->subject, sizeof a->state.subject);
    if (!prv_subject_id(rq->site->policy, rq->site->keys, rq->subject, a->record_id))
        return ready(rq);
    if (cached(rq, a, prv_request_seen(a))) {
        if (rq->source != PRV_SOURCE_STORE && !rq->degraded)
            rq->source = PRV_SOURCE_CACHE;
        return ready(rq);
    }
    prv_subject_compose(rq); /* the view until the store answers, and if it does not */
    return ask(rq, PRV_OP_SUBJECT, op);
}

prv_step prv_subject_begin(prv_request *rq, prv_str account, prv_op *op)
{
    uint8_t subject[PRV_SUBJECT_LEN];
    if (account.n == 0) {
        if (rq->known || !rq->token.session)
            return PRV_STEP_READY;
        memcpy(subject, rq->token.subject, sizeof subject);
    } else if (!name_hash(rq, account, subject)) {
        return PRV_STEP_READY;
    }
    if (rq->known && prv_subject_same(subject, rq->subject))
        return PRV_STEP_READY;
    rq->known = true;
    memcpy(rq->subject, subject, sizeof subject);
    return lookup(rq, op);
}

/* ------------------------------------------------------------------ what the store says */

static bool pointer_read(const prv_reply *reply, char id[PRV_ID_LEN])
{
    if (reply->status != PRV_REPLY_RECORD || reply->n != 2 || !prv_id_valid(reply->pairs[1]))
        return false;
    memcpy(id, reply->pairs[1].p, PRV_ID_LEN);
    return true;
}

bool prv_subject_foreign(const prv_request *rq, const prv_state *record)
{
    return record->of_account != rq->of_account ||
           (rq->of_account && !prv_subject_same(record->subject, rq->subject));
}

/* The store has no such record: what was last seen of it is no more. Not from a read of the record
 * itself: by stamp 0. */
static void forget(const prv_request *a, bool read)
{
    prv_request gone = *a;
    gone.state.id_len = PRV_ID_LEN;
    memcpy(gone.state.id, a->record_id, PRV_ID_LEN);
    gone.stamp = read ? a->stamp : 0;
    prv_request_remember_read(&gone, true);
}

static void record_feed(const prv_request *rq, prv_request *a, const prv_reply *reply)
{
    prv_state record;
    prv_record_kept kept;
    bool no_ttl = false;
    const prv_str id = {a->record_id, PRV_ID_LEN};
    prv_record_status status =
        prv_record_read(a->site->policy, a->site->keys, id, reply, a->env, &record, &kept, &no_ttl);
    /* A pointer to another account's record, or to a browser's, is none: only a record that says
     * whose it is, and proves its grants with that, counts. */
    const bool foreign = status == PRV_RECORD_OK && prv_subject_foreign(a, &record);
    if (foreign) {
        a->pointed = false;
        a->state = (prv_state){0};
        status = PRV_RECORD_ABSENT;
        (void)prv_subject_id(a->site->policy, a->site->keys, a->subject, a->record_id);
    }
    if (status == PRV_RECORD_ABSENT) {
        record = (prv_state){0};
        kept = (prv_record_kept){{NULL, 0}, {NULL, 0}};
    }
    prv_request_merge(a, status, &record);
    a->source = PRV_SOURCE_STORE;
    a->kept_granted = kept.granted;
    a->kept_refused = kept.refused;
    if (status == PRV_RECORD_OK && record.old_key)
        a->repair |= PRV_REPAIR_SIGN;
    if (no_ttl && status != PRV_RECORD_ABSENT)
        a->repair |= PRV_REPAIR_TTL;
    a->has_seen = status != PRV_RECORD_ABSENT && writes(rq, a) && prv_record_seen(reply, a->seen);
    if (status != PRV_RECORD_ABSENT)
        prv_request_remember_read(a, false);
    else if (!foreign)
        forget(a, true);
}

prv_step prv_subject_feed(prv_request *rq, const prv_reply *reply, prv_op *op)
{
    prv_request *a = rq->account;
    rq->pending = false;
    prv_request_waited(rq);
    if (!a)
        return PRV_STEP_READY;
    if (reply->status == PRV_REPLY_UNAVAILABLE)
        return unavailable(rq);
    if (a->asking == PRV_OP_SUBJECT) {
        const bool seen = a->source == PRV_SOURCE_CACHE;
        a->pointed = pointer_read(reply, a->record_id);
        if (a->pointed || reply->status == PRV_REPLY_ABSENT)
            prv_subject_keep(a->zone, a->subject, prv_request_tag(a),
                             a->pointed ? a->record_id : NULL, a->stamp, rq->env->now_ms);
        if (a->pointed)
            return ask(rq, PRV_OP_READ, op);
        prv_request_merge(a, PRV_RECORD_ABSENT, &(prv_state){0});
        if (seen)
            forget(a, false);
    } else {
        record_feed(rq, a, reply);
    }
    if (!rq->degraded)
        rq->source = PRV_SOURCE_STORE;
    return ready(rq);
}

/* ------------------------------------------------------------------ what the application says */

/* The one account that all values name. false: none, or they do not agree. */
static bool one_account(const prv_request *rq, const prv_str *values, size_t n,
                        uint8_t out[PRV_SUBJECT_LEN])
{
    uint8_t next[PRV_SUBJECT_LEN];
    for (size_t i = 0; i < n; i++) {
        if (values[i].n == 1 && values[i].p[0] == '-')
            return false;
        if (!name_hash(rq, values[i], i == 0 ? out : next))
            return false;
        if (i > 0 && !prv_subject_same(out, next)) {
            say(rq, PRV_STR("Privacy-Subject from the application names several accounts: nobody "
                            "counts as logged in"));
            return false;
        }
    }
    return n > 0;
}

static void own_begin(const prv_request *rq, prv_state *own)
{
    const int64_t now = rq->env->now_ms / 1000;
    if (own->present)
        return;
    own->present = true;
    own->at = now - now % 3600;
    own->expires = prv_state_expires(rq->site->policy, own);
}

void prv_request_report_subject(prv_request *rq, const prv_str *values, size_t n,
                                prv_str *set_cookie)
{
    uint8_t subject[PRV_SUBJECT_LEN] = {0};
    *set_cookie = PRV_NONE;
    if (n == 0 || !rq->site->keys)
        return;
    const bool in = one_account(rq, values, n, subject);
    prv_state *token = &rq->token;
    if (in ? token->session && prv_subject_same(subject, token->subject) : !token->session)
        return;
    prv_state own = prv_request_own(rq);
    if (in && !bound_to(&own, subject)) {
        own.has_subject = true;
        own.owned = false;
        own.over = own.owed = 0;
        memcpy(own.subject, subject, sizeof own.subject);
        if (token->owned) /* another account's choices stay behind */
            prv_state_ungrant(&own);
    }
    own.session = in;
    own.swept = false;
    own_begin(rq, &own);
    prv_state_bind(token, &own);
    *set_cookie = prv_token_cookie(rq->site, &own, rq->env);
}
