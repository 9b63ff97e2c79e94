/*
 * The decision table (INTERFACE 3) and the gates of a location. Pure: the servers, `privacyctl
 * explain`, the vectors and the fuzzers all call the same prv_decide().
 */
#include "request.h"

/* ------------------------------------------------------------------ age */

prv_age_status prv_age_check(const prv_age *age, unsigned threshold)
{
    if (age->parental >= threshold)
        return PRV_AGE_OK; /* a holder of parental responsibility answers for it, and 0 asks nothing
                            */
    if (age->under && threshold >= age->under)
        return PRV_AGE_UNDER; /* before `ok`: contradicting bounds resolve to the lower age */
    return threshold <= age->ok ? PRV_AGE_OK : PRV_AGE_UNKNOWN;
}

/* `parental` is never an answer of the visitor's, so it does not run out with one. */
static prv_age age_in_force(const prv_policy *policy, prv_age age, int64_t now)
{
    if (age.at != 0 && now - age.at >= policy->lifetimes.age)
        return (prv_age){.parental = age.parental};
    return age;
}

void prv_state_age_expire(const prv_policy *policy, prv_state *state, int64_t now)
{
    state->age = age_in_force(policy, state->age, now);
}

/* ------------------------------------------------------------------ the table */

/* Choices that count: made under a version that still counts for the purpose, and not run out. */
static uint32_t in_force(const prv_policy *policy, const prv_state *state, int64_t now)
{
    uint32_t mask = 0;
    if (now >= state->expires)
        return 0;
    if (state->version >= policy->since_latest)
        return UINT32_MAX;
    for (unsigned i = 0; i < policy->n_purposes; i++)
        mask |= state->version >= policy->purposes[i].since ? 1u << i : 0u;
    return mask;
}

/* What a signal denies: all that obeys it, and what yields only to a grant that was made under it.
 */
static uint32_t signal_denies(uint32_t obeys, uint32_t listens, bool on, bool granted_under,
                              uint32_t granted)
{
    return on ? obeys | (listens & ~(granted_under ? granted : 0)) : 0;
}

/* Purposes that no row was found for yet. */
typedef struct open_rows {
    uint32_t left;
    prv_decision *out;
} open_rows;

static void row_for(open_rows *open, uint32_t mask, unsigned row)
{
    mask &= open->left;
    open->left &= ~mask;
    if (prv_row_allows(row))
        open->out->allowed |= mask;
    for (; mask; mask &= mask - 1)
        open->out->row[__builtin_ctz(mask)] = (uint8_t)row;
}

/* Granted purposes that a vendor joined since: to be asked again, for that one. */
static uint32_t joined(const prv_policy *policy, const prv_state *state)
{
    uint32_t mask = 0;
    for (size_t i = 0; state->version < policy->version && i < policy->n_vendors; i++) {
        const prv_vendor *v = &policy->vendors[i];
        if (!v->off && state->version < v->since)
            mask |= 1u << v->purpose;
    }
    return mask & state->granted & ~state->refused;
}

static uint32_t unanswered(const prv_policy *policy, const prv_state *state, uint32_t counts)
{
    const uint32_t chosen = (state->granted | state->refused) & counts;
    return (~chosen | joined(policy, state)) & policy->consent & ~policy->off;
}

/* ------------------------------------------------------------------ vendors and gates */

bool prv_vendor_allowed(const prv_policy *policy, const prv_decision *d, int vendor)
{
    if (vendor < 0 || (size_t)vendor >= policy->n_vendors)
        return false;
    const prv_vendor *v = &policy->vendors[vendor];
    if (v->off || !(d->allowed & 1u << v->purpose))
        return false;
    if (d->row[v->purpose] == PRV_ROW_GRANTED && d->version && d->version < v->since)
        return false;
    for (size_t i = 0; i < v->n_regions; i++) {
        if (d->region.n > 0 && prv_region_covers(v->regions[i], d->region))
            return true;
    }
    return v->n_regions == 0;
}

unsigned prv_vary(const prv_policy *policy, uint32_t mask)
{
    mask &= ~(policy->row2 | policy->off);
    return (mask ? PRV_VARY_COOKIE : 0) | (mask & policy->listens_gpc ? PRV_VARY_GPC : 0) |
           (mask & policy->listens_dnt ? PRV_VARY_DNT : 0);
}

static void refuse(prv_decision *out, prv_gate gate, prv_verdict verdict, unsigned row)
{
    out->gate = gate;
    out->verdict = verdict;
    out->gate_row = (uint8_t)row;
}

/* The row to name when a vendor is not allowed: its purpose's, or what the vendor itself lacks. */
static unsigned vendor_row(const prv_policy *policy, const prv_decision *d, int vendor)
{
    if ((size_t)vendor >= policy->n_vendors)
        return PRV_ROW_NONE;
    const prv_vendor *v = &policy->vendors[vendor];
    if (v->off)
        return PRV_ROW_OFF;
    return d->allowed & 1u << v->purpose ? PRV_ROW_NONE : d->row[v->purpose];
}

static void gates(const prv_policy *policy, const prv_rules *rules, prv_decision *out)
{
    const uint32_t missing = rules->require & ~out->allowed;
    uint32_t mattered = rules->require;
    if (rules->vendor >= 0 && (size_t)rules->vendor < policy->n_vendors)
        mattered |= 1u << policy->vendors[rules->vendor].purpose;
    out->vary = (uint8_t)(prv_vary(policy, mattered) | (rules->min_age ? PRV_VARY_COOKIE : 0));

    if (rules->vendor >= 0 && !prv_vendor_allowed(policy, out, rules->vendor))
        refuse(out, PRV_GATE_VENDOR, PRV_REFUSE, vendor_row(policy, out, rules->vendor));
    else if (rules->min_age && out->age == PRV_AGE_UNDER)
        refuse(out, PRV_GATE_AGE, PRV_REFUSE, PRV_ROW_AGE);
    else if (rules->min_age && out->age == PRV_AGE_UNKNOWN)
        refuse(out, PRV_GATE_AGE, PRV_ASK, PRV_ROW_AGE);
    else if (missing)
        refuse(out, PRV_GATE_REQUIRE, PRV_REFUSE, out->row[__builtin_ctz(missing)]);
}

/* ------------------------------------------------------------------ the decision */

static uint32_t all_purposes(const prv_policy *policy)
{
    return policy->n_purposes >= PRV_MAX_PURPOSES ? UINT32_MAX : (1u << policy->n_purposes) - 1;
}

uint32_t prv_refusable(const prv_policy *policy)
{
    return all_purposes(policy) & ~(policy->off | policy->row2);
}

void prv_decide(const prv_policy *policy, const prv_rules *rules, const prv_state *state,
                bool degraded, unsigned signals, prv_region region, int64_t now, prv_decision *out)
{
    const size_t jurisdiction = prv_policy_jurisdiction(policy, region);
    const prv_age age = age_in_force(policy, state->age, now);
    const unsigned minimum = prv_policy_age_min(policy, region);
    const bool allow =
        jurisdiction < policy->n_jurisdictions && policy->jurisdictions[jurisdiction].allow;
    const bool under = minimum > 0 && prv_age_check(&age, minimum) == PRV_AGE_UNDER;
    const bool under_sale = policy->age_sale > 0 && age.under > 0 && age.under <= policy->age_sale;
    const uint32_t counts = in_force(policy, state, now);
    const uint32_t granted = state->granted & counts;

    *out = (prv_decision){
        .jurisdiction = (uint8_t)jurisdiction, .region = region, .version = state->version};
    open_rows open = {all_purposes(policy), out};
    row_for(&open, policy->off, PRV_ROW_OFF);
    row_for(&open, policy->row2, PRV_ROW_BASIS_FIRM);
    if (degraded && rules->store_failure_deny)
        row_for(&open, UINT32_MAX, PRV_ROW_UNAVAILABLE);
    if (!state->account)
        row_for(&open, policy->subject_required, PRV_ROW_ANONYMOUS);
    if (state->restricted)
        row_for(&open, UINT32_MAX, PRV_ROW_RESTRICTED);
    if (under)
        row_for(&open, UINT32_MAX, PRV_ROW_AGE);
    /* also one that ran out: a refusal never lapses into permission */
    row_for(&open, state->refused, PRV_ROW_REFUSED);
    row_for(&open,
            signal_denies(policy->obeys_gpc, policy->listens_gpc, signals & PRV_SIGNAL_GPC,
                          state->signals & PRV_SIGNAL_GPC, granted),
            PRV_ROW_GPC);
    row_for(&open,
            signal_denies(policy->obeys_dnt, policy->listens_dnt, signals & PRV_SIGNAL_DNT,
                          state->signals & PRV_SIGNAL_DNT, granted),
            PRV_ROW_DNT);
    row_for(&open, granted, PRV_ROW_GRANTED);
    row_for(&open, policy->interest, PRV_ROW_BASIS);
    if (allow && !state->unreadable)
        row_for(&open, ~(under_sale ? policy->sale : 0), PRV_ROW_DEFAULT);
    row_for(&open, UINT32_MAX, PRV_ROW_NONE);
    out->unanswered = unanswered(policy, state, counts);
    out->gpc_shown = (signals & PRV_SIGNAL_GPC) && policy->listens_gpc;

    const bool fixed = rules->min_age > 0 && rules->min_age != PRV_AGE_POLICY;
    out->age_min = (uint8_t)(fixed ? rules->min_age : minimum);
    out->age = out->age_min > 0 ? prv_age_check(&age, out->age_min) : PRV_AGE_UNKNOWN;
    if (rules->mode != PRV_MODE_OFF && !rules->exempt)
        gates(policy, rules, out);
}
