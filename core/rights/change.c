/*
 * The change of a record. A visitor with an id and a store: read, compute, write over what was
 * read, at most three times. Everybody else: compute. What lowers never waits for the store: if
 * that is down, the cookie carries it with the next seq.
 */
#include "change.h"
#include "../mutant.h"

#include <string.h>

#define WRITE_TRIES 3
#define AWAY_LEAP 63 /* so many writes whose answers were lost may have put the record ahead of the cookie */
#define HOUR 3600

/* ------------------------------------------------------------------ what a change does */

static bool age_lowers(const prv_change *change)
{
    return change->set_age && change->age.under != 0;
}

static bool age_raises(const prv_change *change, const prv_age *old)
{
    return change->set_age &&
           (change->age.ok > old->ok || change->age.parental > old->parental ||
            (old->under != 0 && (change->age.under == 0 || change->age.under > old->under)));
}

static bool change_raises(const prv_change *change, const prv_state *base)
{
    return change->grant != 0 || change->restricted == 0 || age_raises(change, &base->age);
}

static bool change_lowers(const prv_change *change)
{
    return change->refuse != 0 || change->refuse_other || change->restricted == 1 ||
           age_lowers(change);
}

static bool change_chooses(const prv_change *change)
{
    return change->grant != 0 || change->refuse != 0 || change->refuse_other;
}

/* Only these draw an id (INTERFACE 4, "When our cookie is set"). */
static bool change_needs_id(const prv_change *change)
{
    return change->grant != 0 || change->restricted == 1;
}

/* ------------------------------------------------------------------ the next state */

/* Grants that count now; the others must not be dated anew. */
static uint32_t carried(const prv_policy *policy, const prv_state *base, int64_t now)
{
    uint32_t mask = 0;
    if (now >= base->expires)
        return 0;
    for (unsigned i = 0; i < policy->n_purposes; i++) {
        if ((base->granted & 1u << i) && base->version >= policy->purposes[i].since)
            mask |= 1u << i;
    }
    return mask & ~base->refused & prv_refusable(policy);
}

/*
 * A grant that was made while a signal was off must not count as made while it was on: a bit that a
 * carried grant yields to is kept only if it was set then, too.
 */
static uint8_t next_signals(const prv_policy *policy, const prv_state *base, uint32_t kept,
                            uint8_t now_on)
{
    uint8_t yields = 0;
    for (unsigned i = 0; i < policy->n_purposes; i++) {
        if (!(kept & 1u << i))
            continue;
        yields |= policy->purposes[i].gpc == PRV_LISTEN_YIELD ? PRV_SIGNAL_GPC : 0;
        yields |= policy->purposes[i].dnt == PRV_LISTEN_YIELD ? PRV_SIGNAL_DNT : 0;
    }
    return (uint8_t)(now_on & (base->signals | (uint8_t)~yields));
}

/* Choices about purposes that only another version of the policy names: their refusals stay, their
 * grants while they last. */
static bool next_other(const prv_change *change, const prv_state *base, bool in_force,
                       prv_state *next)
{
    bool granted = false;
    next->n_other = 0;
    for (unsigned i = 0; i < base->n_other && i < PRV_MAX_OTHER; i++) {
        prv_other other = base->other[i];
        if (other.granted && change->refuse_other)
            other.granted = false;
        else if (other.granted && !in_force)
            continue;
        granted |= other.granted;
        next->other[next->n_other++] = other;
    }
    return granted;
}

static void next_choice(const prv_change_run *run, const prv_state *base, int64_t now,
                        prv_state *next)
{
    const prv_policy *policy = run->rq->site->policy;
    const prv_change *change = &run->change;
    const uint32_t kept = carried(policy, base, now) & ~change->refuse & ~change->grant;
    const bool other = next_other(change, base, now < base->expires, next);

    next->granted = kept | (change->grant & ~change->refuse);
    next->refused = (base->refused & ~change->grant) | change->refuse;
    next->version = policy->version;
    next->signals = next_signals(policy, base, kept, change->signals);
    next->at = next->id_len > 0 ? now : now - now % HOUR;
    next->expires = prv_state_expires(policy, next);
    if ((kept != 0 || other) && base->expires < next->expires)
        next->expires = base->expires;
}

static uint32_t above(uint32_t seq)
{
    return seq < UINT32_MAX ? seq + 1 : seq;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* false: no randomness for an id that is needed. */
static bool next_make(prv_change_run *run, uint32_t stored_seq)
{
    const prv_request *rq = run->rq;
    const prv_change *change = &run->change;
    const int64_t now = rq->env->now_ms / 1000;
    prv_state base = rq->state;

    prv_state_age_expire(rq->site->policy, &base, now);
    run->next = base;
    prv_state *next = &run->next;
    next->present = true;
    next->unreadable = false;
    next->stored = false;
    next->away = false;
    next->swept = false;
    next->seq = above(larger(larger(stored_seq, run->attempted),
                             larger(base.seq, rq->has_token ? rq->token.seq : 0)));
    if (!run->has_record_id && change_needs_id(change)) {
        if (!prv_id_make(rq->env, run->record_id))
            return false;
        run->has_record_id = true;
    }
    next->id_len = run->has_record_id ? PRV_ID_LEN : 0;
    memcpy(next->id, run->record_id, sizeof next->id);
    if (change->restricted >= 0)
        next->restricted = change->restricted == 1;
    if (change->set_age)
        next->age = change->age;
    if (change_chooses(change)) {
        next_choice(run, &base, now, next);
    } else if (!base.present || base.version == 0) {
        /* No choice yet: an age or a restriction alone is no answer to what may be asked. */
        next->version = 0;
        next->signals = 0;
        next->at = next->id_len > 0 ? now : now - now % HOUR;
        next->expires = prv_state_expires(rq->site->policy, next);
    }
    prv_subject_rebind(rq, next, change->refuse);
    return true;
}

/* ------------------------------------------------------------------ without the store */

static void adopt(prv_change_run *run, uint32_t own_stamp)
{
    prv_request *rq = run->rq;
    rq->state = run->next;
    rq->split = false;
    rq->token = run->next;
    rq->has_token = true;
    rq->renew = false;
    rq->foreign_key = false;
    rq->repair = 0;
    prv_request_remember(rq, own_stamp); /* an older cookie that is sent again is then known for what it is */
}

/* The record was changed and cannot be read now: this node grants nothing by the cookie meanwhile. But the next cookie carries
 * its grants on, since that one only lowers what it will meet; without them they would be lost. */
static void carry_withheld(prv_request *rq)
{
    prv_state base = rq->token;
    if (!rq->withheld || !rq->has_token)
        return;
    prv_state_lower(&base, &rq->state, PRV_LATER_NONE);
    base.seq = larger(base.seq, rq->state.seq);
    base.unreadable = rq->state.unreadable;
    rq->state = base;
}

/* The store is down: what lowers holds by the cookie, what raises does not happen. */
static prv_change_step change_local(prv_change_run *run)
{
    prv_change *change = &run->change;
    const prv_age old = run->rq->state.age;

    if (!change_lowers(change))
        return PRV_CHANGE_UNAVAILABLE;
    run->partly = change_raises(change, &run->rq->state);
    change->grant = 0;
    if (change->restricted == 0)
        change->restricted = -1;
    if (change->set_age) {
        change->age.ok = change->age.ok > old.ok ? old.ok : change->age.ok;
        change->age.parental =
            change->age.parental > old.parental ? old.parental : change->age.parental;
        if (old.under != 0 && (change->age.under == 0 || change->age.under > old.under))
            change->age.under = old.under;
    }
    /* An id whose record may not have been written is not handed out. */
    run->has_record_id = run->rq->state.id_len == PRV_ID_LEN;
    carry_withheld(run->rq);
    if (!next_make(run, 0))
        return PRV_CHANGE_UNAVAILABLE;
    /* By the cookie: what this node remembers of it does not say. */
    const prv_state *token = &run->rq->token;
    run->next.away =
        run->has_record_id && (run->rq->state.stored || token->stored || token->away);
    if (run->next.away && run->next.seq <= UINT32_MAX - AWAY_LEAP)
        run->next.seq += AWAY_LEAP;
    adopt(run, 0);
    return PRV_CHANGE_LOCAL;
}

static prv_change_step change_token(prv_change_run *run)
{
    if (!next_make(run, 0))
        return change_local(run);
    adopt(run, 0);
    run->rq->source = PRV_SOURCE_TOKEN;
    return PRV_CHANGE_DONE;
}

/* ------------------------------------------------------------------ with the store */

/* The stored seq as the write script compares it: 0 unless it is a decimal number of 32 bits
 * without leading zeros. */
static uint32_t stored_seq(const prv_reply *reply)
{
    for (size_t i = 0; i + 1 < reply->n; i += 2) {
        const prv_str name = reply->pairs[i];
        const prv_str value = reply->pairs[i + 1];
        if (name.n != 3 || memcmp(name.p, "seq", 3) != 0)
            continue;
        uint64_t seq = 0;
        if (value.n == 0 || value.n > 10 || value.p[0] == '0')
            return 0;
        for (size_t k = 0; k < value.n; k++) {
            if (value.p[k] < '0' || value.p[k] > '9' || seq > UINT32_MAX)
                return 0;
            seq = seq * 10 + (uint64_t)(value.p[k] - '0');
        }
        return seq > UINT32_MAX ? 0 : (uint32_t)seq;
    }
    return 0;
}

/* What only another policy version names goes the way of next_other(). */
static bool kept_names(prv_change_run *run, bool in_force)
{
    prv_record_kept *kept = &run->kept;
    if (kept->granted.n == 0)
        return true;
    if (run->change.refuse_other) {
        size_t n = kept->refused.n + 1 + kept->granted.n;
        char *p = run->rq->env->alloc(run->rq->env->ctx, n);
        if (p == NULL)
            return false;
        size_t at = 0;
        if (kept->refused.n > 0) {
            memcpy(p, kept->refused.p, kept->refused.n);
            at = kept->refused.n;
            p[at++] = ',';
        }
        memcpy(p + at, kept->granted.p, kept->granted.n);
        kept->refused = (prv_str){p, at + kept->granted.n};
        kept->granted = PRV_NONE;
    } else if (change_chooses(&run->change) && !in_force) {
        kept->granted = PRV_NONE;
    }
    return true;
}

static bool age_same(const prv_age *a, const prv_age *b)
{
    return a->ok == b->ok && a->under == b->under && a->parental == b->parental && a->at == b->at;
}

static bool name_make(prv_change_run *run)
{
    run->name_len = prv_change_make(run->rq->env, run->name);
    return run->name_len > 0;
}

static prv_change_step change_write(prv_change_run *run, uint32_t expected, prv_op *op)
{
    prv_request *rq = run->rq;
    const prv_site *site = rq->site;
    const bool in_force = rq->env->now_ms / 1000 < rq->state.expires;

    if (!next_make(run, expected))
        return change_local(run);
    run->next.stored = true;
    const bool kept = kept_names(run, in_force);
    /* What this change says nothing about stays as it is stored, so that an edit by hand made
     * meanwhile stands. */
    const prv_record_meta meta = {.method = run->change.method,
                                  .region = run->change.region,
                                  .change = {run->name, run->name_len},
                                  .kept = run->kept,
                                  .seen = {run->seen, run->has_seen ? sizeof run->seen : 0},
                                  .leave_age = run->has_record && !run->change.set_age &&
                                               age_same(&run->next.age, &run->record_age),
                                  .leave_restricted =
                                      run->has_record && run->change.restricted < 0 &&
                                      run->next.restricted == run->record_restricted};
    if (!kept || !prv_record_change(site->policy, site->keys, site->prefix, &run->next, expected,
                                    &meta, rq->env, op))
        return change_local(run);
    op->raises = change_raises(&run->change, &rq->state);
    run->reading = false;
    run->stamp = prv_request_stamp(rq, run->next.id);
    run->attempted = run->next.seq;
    return PRV_CHANGE_WRITE;
}

static prv_change_step change_read(prv_change_run *run, prv_op *op)
{
    const prv_request *rq = run->rq;
    char *key = rq->env->alloc(rq->env->ctx, rq->site->prefix.n + 64);
    if (key == NULL)
        return change_local(run);
    *op = (prv_op){.kind = PRV_OP_READ};
    op->key = (prv_str){
        key, prv_record_key(rq->site->prefix, (prv_str){run->record_id, PRV_ID_LEN}, key)};
    run->reading = true;
    return PRV_CHANGE_WRITE;
}

/* Merges the record in a reply into rq->state, id included even if the record is gone. */
static void take_record(prv_change_run *run, const prv_reply *reply)
{
    prv_request *rq = run->rq;
    prv_state record = {0};
    bool no_ttl = false;
    prv_reply as_read = *reply;

    if (reply->status == PRV_REPLY_CONFLICT)
        as_read.status = reply->n > 0 ? PRV_REPLY_RECORD : PRV_REPLY_ABSENT;
    run->kept = (prv_record_kept){0};
    run->has_seen = prv_record_seen(reply, run->seen);
    prv_record_status status =
        prv_record_read(rq->site->policy, rq->site->keys, (prv_str){run->record_id, PRV_ID_LEN},
                        &as_read, rq->env, &record, &run->kept, &no_ttl);
    if (status == PRV_RECORD_OK && prv_subject_foreign(rq, &record)) {
        prv_state_ungrant(&record);
        status = PRV_RECORD_UNREADABLE;
    }
    run->has_record = status == PRV_RECORD_OK;
    run->record_age = record.age;
    run->record_restricted = record.restricted;
    prv_request_merge(rq, status, &record);
    rq->state.id_len = PRV_ID_LEN;
    memcpy(rq->state.id, run->record_id, PRV_ID_LEN);
}

/* Refusals that only the cookie knew, of purposes without a name here, have no place in the record.
 */
static void keep_other(prv_state *state, const prv_state *next)
{
    for (unsigned i = 0; i < next->n_other; i++) {
        bool known = next->other[i].granted;
        for (unsigned k = 0; k < state->n_other && !known; k++)
            known = state->other[k].hash == next->other[i].hash;
        if (!known && state->n_other < PRV_MAX_OTHER)
            state->other[state->n_other++] = next->other[i];
    }
}

static prv_change_step change_done(prv_change_run *run, const prv_reply *reply)
{
    prv_request *rq = run->rq;
    const prv_state next = run->next;

    /* What was written is what the visitor now presents: the stored record is merged with that. */
    adopt(run, run->stamp);
    take_record(run, reply);
    if (rq->state.seq < next.seq) /* a record that cannot be read back: what was written holds */
        rq->state = next;
    keep_other(&rq->state, &next);
    prv_state_bind(&rq->state, &next);
    rq->state.present = true;
    rq->state.unreadable = false;
    rq->state.stored = true;
    rq->degraded = false;
    rq->source = PRV_SOURCE_STORE;
    run->next = rq->state;
    adopt(run, run->stamp);
    return PRV_CHANGE_DONE;
}

/*
 * A refusal that lives in the cookie alone needs nothing of the store. That the store is down is
 * said all the same, so that 202 and "stored": false mean one thing for every visitor. The key
 * holds no id and is never written.
 */
static prv_change_step change_probe(prv_change_run *run, prv_op *op)
{
    const prv_str nobody = PRV_STR("consent:{}");
    const prv_str prefix = run->rq->site->prefix;
    char *key = run->rq->env->alloc(run->rq->env->ctx, prefix.n + nobody.n);
    if (key == NULL)
        return change_token(run);
    if (prefix.n > 0)
        memcpy(key, prefix.p, prefix.n);
    memcpy(key + prefix.n, nobody.p, nobody.n);
    *op = (prv_op){.kind = PRV_OP_READ, .key = {key, prefix.n + nobody.n}};
    run->probing = true;
    return PRV_CHANGE_WRITE;
}

prv_change_step prv_change_begin(prv_change_run *run, prv_request *rq, const prv_change *change,
                                 prv_op *op)
{
    *run = (prv_change_run){.rq = rq, .change = *change};
    if (rq->site->keys == NULL)
        return PRV_CHANGE_UNAVAILABLE;
    if (rq->state.id_len == PRV_ID_LEN) {
        run->has_record_id = true;
        memcpy(run->record_id, rq->state.id, PRV_ID_LEN);
    }
    if (!rq->site->store)
        return change_token(run);
    if (!run->has_record_id && !change_needs_id(change))
        return change_lowers(change) ? change_probe(run, op) : change_token(run);
    if (rq->degraded || !name_make(run))
        return change_local(run);
    return run->has_record_id ? change_read(run, op) : change_write(run, 0, op);
}

bool prv_change_over(prv_change_run *run, prv_request *rq, const prv_change *change, prv_op *op)
{
    *run = (prv_change_run){.rq = rq, .change = *change};
    run->has_record_id = true;
    memcpy(run->record_id, rq->state.id_len == PRV_ID_LEN ? rq->state.id : rq->record_id,
           PRV_ID_LEN);
    run->has_record = rq->record_seq != 0;
    run->record_age = rq->record_age;
    run->record_restricted = rq->state.restricted;
    run->kept = (prv_record_kept){rq->kept_granted, rq->kept_refused};
    run->has_seen = rq->has_seen;
    memcpy(run->seen, rq->seen, sizeof run->seen);
    if (!name_make(run) || change_write(run, rq->record_seq, op) != PRV_CHANGE_WRITE)
        return false;
    rq->state = run->next;
    return true;
}

prv_change_step prv_change_feed(prv_change_run *run, const prv_reply *reply, prv_op *op)
{
    if (run->probing) { /* all of it holds by the cookie either way */
        const prv_change_step done = change_token(run);
        return done == PRV_CHANGE_DONE && reply->status == PRV_REPLY_UNAVAILABLE ? PRV_CHANGE_LOCAL
                                                                                 : done;
    }
    if (PRV_MUTANT("ack-early") && reply->status == PRV_REPLY_UNAVAILABLE && run->attempted) {
        adopt(run, 0);
        return PRV_CHANGE_DONE;
    }
    if (reply->status == PRV_REPLY_UNAVAILABLE)
        return change_local(run);
    if (run->reading || reply->status == PRV_REPLY_CONFLICT) {
        if (!run->reading && ++run->tries >= WRITE_TRIES)
            return change_local(run);
        take_record(run, reply);
        return change_write(run, stored_seq(reply), op);
    }
    return reply->status == PRV_REPLY_RECORD ? change_done(run, reply) : change_local(run);
}
