/*
 * The decision table (INTERFACE 3) and the gates of a location. Pure: the servers, `privacyctl
 * explain`, the vectors and the fuzzers all call the same prv_decide().
 */
#include "request.h"

enum row {
    ROW_OFF = 1,
    ROW_BASIS_FIRM = 2,
    ROW_UNAVAILABLE = 3,
    ROW_ANONYMOUS = 4,
    ROW_RESTRICTED = 5,
    ROW_AGE = 6,
    ROW_REFUSED = 7,
    ROW_GPC = 8,
    ROW_DNT = 9,
    /* 10 and 12 belong to other consent managers, which this version does not read. */
    ROW_GRANTED = 11,
    ROW_BASIS = 13,
    ROW_DEFAULT = 14,
    ROW_NONE = 15
};

/* The rows that allow, as bits. */
#define ROWS_ALLOW (1u << ROW_BASIS_FIRM | 1u << ROW_GRANTED | 1u << ROW_BASIS | 1u << ROW_DEFAULT)

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

typedef struct facts {
    const prv_state *state;
    unsigned signals;
    int64_t now;
    bool unavailable;   /* row 3 */
    bool under;         /* row 6 */
    bool default_allow; /* row 14 but for `sale` */
    bool under_sale;    /* known to be under age.sale_opt_in */
} facts;

/* A choice counts if it was made under a version that still counts and has not run out. */
static bool in_force(const facts *f, const prv_purpose *purpose)
{
    return f->state->version >= purpose->since && f->now < f->state->expires;
}

static bool signal_denies(const facts *f, prv_listen listen, unsigned signal, bool granted)
{
    if (!(f->signals & signal) || listen == PRV_LISTEN_IGNORE)
        return false;
    return listen == PRV_LISTEN_DENY || !granted || !(f->state->signals & signal);
}

static enum row row_of(const prv_policy *policy, const facts *f, unsigned i)
{
    const prv_purpose *purpose = &policy->purposes[i];
    const uint32_t bit = 1u << i;
    const bool granted = (f->state->granted & bit) && in_force(f, purpose);

    if (purpose->off)
        return ROW_OFF;
    if (policy->row2 & bit)
        return ROW_BASIS_FIRM;
    if (f->unavailable)
        return ROW_UNAVAILABLE;
    if (purpose->subject_required && !f->state->account)
        return ROW_ANONYMOUS;
    if (f->state->restricted)
        return ROW_RESTRICTED;
    if (f->under)
        return ROW_AGE;
    if (f->state->refused & bit)
        return ROW_REFUSED; /* also one that ran out: a refusal never lapses into permission */
    if (signal_denies(f, purpose->gpc, PRV_SIGNAL_GPC, granted))
        return ROW_GPC;
    if (signal_denies(f, purpose->dnt, PRV_SIGNAL_DNT, granted))
        return ROW_DNT;
    if (granted)
        return ROW_GRANTED;
    if (purpose->basis == PRV_BASIS_LEGITIMATE_INTERESTS || purpose->basis == PRV_BASIS_PUBLIC_TASK)
        return ROW_BASIS;
    if (f->default_allow && !(purpose->sale && f->under_sale))
        return ROW_DEFAULT;
    return ROW_NONE;
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

static uint32_t unanswered(const prv_policy *policy, const facts *f)
{
    uint32_t open = 0;
    const uint32_t chosen = f->state->granted | f->state->refused;
    for (unsigned i = 0; i < policy->n_purposes; i++) {
        if (!(chosen & 1u << i) || !in_force(f, &policy->purposes[i]))
            open |= 1u << i;
    }
    return (open | joined(policy, f->state)) & policy->consent & ~policy->off;
}

/* ------------------------------------------------------------------ vendors and gates */

bool prv_vendor_allowed(const prv_policy *policy, const prv_decision *d, int vendor)
{
    if (vendor < 0 || (size_t)vendor >= policy->n_vendors)
        return false;
    const prv_vendor *v = &policy->vendors[vendor];
    if (v->off || !(d->allowed & 1u << v->purpose))
        return false;
    if (d->row[v->purpose] == ROW_GRANTED && d->version && d->version < v->since)
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
        return ROW_NONE;
    const prv_vendor *v = &policy->vendors[vendor];
    if (v->off)
        return ROW_OFF;
    return d->allowed & 1u << v->purpose ? ROW_NONE : d->row[v->purpose];
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
        refuse(out, PRV_GATE_AGE, PRV_REFUSE, ROW_AGE);
    else if (rules->min_age && out->age == PRV_AGE_UNKNOWN)
        refuse(out, PRV_GATE_AGE, PRV_ASK, ROW_AGE);
    else if (missing)
        refuse(out, PRV_GATE_REQUIRE, PRV_REFUSE, out->row[__builtin_ctz(missing)]);
}

/* ------------------------------------------------------------------ the decision */

uint32_t prv_refusable(const prv_policy *policy)
{
    const size_t n = policy->n_purposes;
    const uint32_t all = n >= PRV_MAX_PURPOSES ? UINT32_MAX : (1u << n) - 1;
    return all & ~(policy->off | policy->row2);
}

void prv_decide(const prv_policy *policy, const prv_rules *rules, const prv_state *state,
                bool degraded, unsigned signals, prv_region region, int64_t now, prv_decision *out)
{
    const size_t jurisdiction = prv_policy_jurisdiction(policy, region);
    const prv_age age = age_in_force(policy, state->age, now);
    const unsigned minimum = prv_policy_age_min(policy, region);
    const bool allow =
        jurisdiction < policy->n_jurisdictions && policy->jurisdictions[jurisdiction].allow;
    const facts f = {
        .state = state,
        .signals = signals,
        .now = now,
        .unavailable = degraded && rules->store_failure_deny,
        .under = minimum > 0 && prv_age_check(&age, minimum) == PRV_AGE_UNDER,
        .default_allow = allow && !state->unreadable,
        .under_sale = policy->age_sale > 0 && age.under > 0 && age.under <= policy->age_sale,
    };

    *out = (prv_decision){
        .jurisdiction = (uint8_t)jurisdiction, .region = region, .version = state->version};
    for (unsigned i = 0; i < policy->n_purposes; i++) {
        const enum row row = row_of(policy, &f, i);
        out->row[i] = (uint8_t)row;
        if (ROWS_ALLOW >> row & 1)
            out->allowed |= 1u << i;
    }
    out->unanswered = unanswered(policy, &f);
    out->gpc_shown = (signals & PRV_SIGNAL_GPC) && policy->listens_gpc;

    const bool fixed = rules->min_age > 0 && rules->min_age != PRV_AGE_POLICY;
    out->age_min = (uint8_t)(fixed ? rules->min_age : minimum);
    out->age = out->age_min > 0 ? prv_age_check(&age, out->age_min) : PRV_AGE_UNKNOWN;
    if (rules->mode != PRV_MODE_OFF && !rules->exempt)
        gates(policy, rules, out);
}
