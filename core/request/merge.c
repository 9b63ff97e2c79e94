/*
 * Who wins between two views of one visitor (INTERFACE 7): the higher seq, on a tie what the store
 * says. What lowers counts from whichever view says so, unless the other is later and says
 * otherwise.
 */
#include "../mutant.h"
#include "request.h"

#include <string.h>

/* ------------------------------------------------------------------ what lowers */

/*
 * May the winner's `ok` stand against an `under` of the other view? A later record: yes, somebody
 * raised it there. A later token: only against an older answer of the visitor. A durable `under`
 * comes from the application or the operator, and a token may be later merely because a refusal was
 * made while the store was away.
 */
static bool age_contradicts(const prv_age *winner, const prv_age *low, prv_later later)
{
    if (later == PRV_LATER_NONE || winner->ok < low->under)
        return false;
    return later == PRV_LATER_RECORD || (low->at != 0 && winner->at > low->at);
}

static void age_lower(prv_age *winner, const prv_age *low, prv_later later)
{
    if (!low->under || age_contradicts(winner, low, later))
        return;
    /* A consent of parents that the store no longer vouches for. */
    if (later == PRV_LATER_TOKEN && low->parental < winner->parental)
        winner->parental = low->parental;
    if (winner->under && winner->under < low->under)
        return;
    const bool had = winner->under || winner->ok;
    const bool durable = low->at == 0 || (had && winner->at == 0);
    const int64_t at = had && winner->at > low->at ? winner->at : low->at;
    winner->under = low->under;
    winner->at = durable ? 0 : at;
    if (winner->ok >= winner->under)
        winner->ok = 0;
}

static prv_other *other_find(prv_state *state, uint16_t hash)
{
    for (size_t i = 0; i < state->n_other && i < PRV_MAX_OTHER; i++) {
        if (state->other[i].hash == hash)
            return &state->other[i];
    }
    return NULL;
}

static void other_refuse(prv_state *winner, uint16_t hash, prv_later later)
{
    prv_other *found = other_find(winner, hash);
    if (!found && winner->n_other < PRV_MAX_OTHER)
        winner->other[winner->n_other++] = (prv_other){hash, false};
    else if (found && later == PRV_LATER_NONE)
        found->granted = false;
}

void prv_state_lower(prv_state *winner, const prv_state *low, prv_later later)
{
    winner->refused |= later == PRV_LATER_NONE ? low->refused : low->refused & ~winner->granted;
    winner->granted &= ~winner->refused;
    for (size_t i = 0; i < low->n_other && i < PRV_MAX_OTHER; i++) {
        if (!low->other[i].granted)
            other_refuse(winner, low->other[i].hash, later);
    }
    /* A restriction is lifted in the store, so a later token cannot have lifted one. */
    if (later != PRV_LATER_RECORD)
        winner->restricted |= low->restricted;
    age_lower(&winner->age, &low->age, later);
}

/* ------------------------------------------------------------------ several cookies */

static void other_drop_grants(prv_state *state, const prv_state *unless)
{
    uint8_t n = 0;
    for (size_t i = 0; i < state->n_other && i < PRV_MAX_OTHER; i++) {
        bool keep = !state->other[i].granted;
        for (size_t k = 0; unless && k < unless->n_other && k < PRV_MAX_OTHER; k++)
            keep |= unless->other[k].granted && unless->other[k].hash == state->other[i].hash;
        if (keep)
            state->other[n++] = state->other[i];
    }
    state->n_other = n;
}

void prv_state_ungrant(prv_state *state)
{
    state->granted = 0;
    other_drop_grants(state, NULL);
    state->age.ok = 0;
    state->age.parental = 0;
}

static uint8_t lesser(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

void prv_state_common(prv_state *first, const prv_state *other)
{
    first->granted &= other->granted;
    other_drop_grants(first, other);
    first->age.ok = lesser(first->age.ok, other->age.ok);
    first->age.parental = lesser(first->age.parental, other->age.parental);
    first->signals &= other->signals;
    first->swept = first->swept && other->swept;
    if (other->expires < first->expires)
        first->expires = other->expires;
    if (other->version < first->version)
        first->version = other->version;
    const bool same = first->has_subject && other->has_subject &&
                      prv_subject_same(first->subject, other->subject);
    if (first->owned != other->owned || (first->owned && !same))
        prv_state_ungrant(first);
    if (!same)
        prv_state_bind(first, &(prv_state){0});
    first->session = first->session && other->session;
    first->over &= other->over;
    prv_state_lower(first, other, PRV_LATER_NONE);
}

/* ------------------------------------------------------------------ token, record, cache */

void prv_state_last_seen(prv_state *out, const prv_state *token, const prv_state *seen)
{
    const bool later = seen->seq < token->seq && !PRV_MUTANT("no-seq-compare");
    prv_state merged = later ? *token : *seen;
    if (later) {
        prv_state_lower(&merged, seen, PRV_LATER_TOKEN);
    } else if (seen->seq != token->seq) {
        prv_state_lower(&merged, token, PRV_LATER_RECORD);
    } else {
        prv_state_lower(&merged, token, PRV_LATER_NONE);
        /* What was refused by hand since then has not been swept. */
        merged.swept = token->swept && merged.refused == token->refused &&
                       merged.age.under == token->age.under;
    }
    *out = merged;
}

/* A refusal that was made while the store was away. The grants in that cookie are what its node happened to know, and must
 * not undo what an operator took away meanwhile; grants that it lacks were answered as not done. So only what both grant. */
static void lower_only(prv_state *out, const prv_state *token, const prv_state *record)
{
    prv_state merged = *record;
    if (record->seq > token->seq) {
        prv_state_lower(&merged, token, PRV_LATER_RECORD);
    } else {
        prv_state_common(&merged, token);
        merged.seq = token->seq;
        merged.swept = token->swept;
        if (token->at > merged.at)
            merged.at = token->at;
    }
    *out = merged;
}

static void merge_record(prv_request *rq, const prv_state *record, prv_state *out)
{
    if (rq->has_token && rq->token.away)
        lower_only(out, &rq->token, record);
    else if (rq->has_token)
        prv_state_last_seen(out, &rq->token, record);
    else
        *out = *record;
    out->stored = true;
    out->away = false;
    if (!rq->has_token)
        return;
    const bool age = out->age.under != record->age.under || out->age.ok != record->age.ok;
    const bool restricted = out->restricted != record->restricted;
    if (rq->token.seq > record->seq || (out->refused & ~record->refused) || restricted ||
        (age && out->age.under))
        rq->repair = (uint8_t)(PRV_REPAIR_WRITE | (age ? PRV_REPAIR_AGE : 0) |
                               (restricted ? PRV_REPAIR_RESTRICTED : 0));
}

/* There is no record, or none that can be read whole. */
static void merge_without(prv_request *rq, prv_record_status status, const prv_state *record,
                          prv_state *out)
{
    *out = rq->has_token ? rq->token : (prv_state){0};
    if (status == PRV_RECORD_UNREADABLE) {
        prv_state_lower(out, record, PRV_LATER_NONE);
        out->present |= out->refused || out->restricted || out->age.under;
    }
    if (!rq->has_token)
        return;
    if (rq->token.stored || rq->token.away) {
        out->granted = 0;
        other_drop_grants(out, NULL);
    } else if (status == PRV_RECORD_ABSENT && out->id_len == PRV_ID_LEN) {
        rq->repair = PRV_REPAIR_ADOPT;
    }
}

/* A token keeps the hour of an answer, a record its second. */
static bool age_differs(const prv_age *a, const prv_age *b)
{
    return a->ok != b->ok || a->under != b->under || a->parental != b->parental ||
           a->at / 3600 != b->at / 3600;
}

static bool differs(const prv_state *a, const prv_state *b)
{
    return a->seq != b->seq || a->stored != b->stored || a->away != b->away ||
           a->refused != b->refused || a->granted != b->granted ||
           a->restricted != b->restricted || age_differs(&a->age, &b->age);
}

void prv_request_merge(prv_request *rq, prv_record_status status, const prv_state *record)
{
    prv_state out;
    rq->repair = 0;
    rq->withheld = false;
    rq->record_seq = status == PRV_RECORD_ABSENT ? 0 : record->seq;
    rq->record_age = record->age;
    if (status == PRV_RECORD_OK)
        merge_record(rq, record, &out);
    else
        merge_without(rq, status, record, &out);
    out.unreadable = rq->state.unreadable;
    prv_state_age_expire(rq->site->policy, &out, rq->env->now_ms / 1000);
    if (rq->of_account) {
        out.of_account = true;
        out.gpc |= rq->gpc_seen;
        memcpy(out.subject, rq->subject, sizeof out.subject);
    }
    rq->state = out;
    rq->renew = prv_request_lags(rq);
}

bool prv_request_lags(const prv_request *rq)
{
    return rq->has_token && differs(&rq->state, &rq->token);
}
