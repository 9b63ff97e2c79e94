/*
 * Header fields made from a decision. What could be formatted when the policy was compiled was.
 */
#include "headers.h"

#include "view.h"

static const prv_str vary_values[16] = {
    {NULL, 0},
    {"Cookie", 6},
    {"Sec-GPC", 7},
    {"Cookie, Sec-GPC", 15},
    {"DNT", 3},
    {"Cookie, DNT", 11},
    {"Sec-GPC, DNT", 12},
    {"Cookie, Sec-GPC, DNT", 20},
    {"Authorization", 13},
    {"Cookie, Authorization", 21},
    {"Sec-GPC, Authorization", 22},
    {"Cookie, Sec-GPC, Authorization", 30},
    {"DNT, Authorization", 18},
    {"Cookie, DNT, Authorization", 26},
    {"Sec-GPC, DNT, Authorization", 27},
    {"Cookie, Sec-GPC, DNT, Authorization", 35},
};

prv_str prv_vary_value(unsigned bits)
{
    return vary_values[bits & 15];
}

prv_str prv_header_consent(const prv_request *rq, const prv_decision *d)
{
    const prv_policy *policy = rq->site->policy;
    prv_out out;

    if (policy->members_max == 0 || !prv_out_open(&out, rq->env, policy->members_max)) {
        return PRV_NONE;
    }
    for (size_t i = 0; i < policy->n_purposes; i++) {
        const prv_str member = policy->purposes[i].member[d->row[i] % PRV_ROWS];
        if (member.n > 0) {
            memcpy(out.p + out.n, member.p, member.n);
            out.n += member.n;
        }
    }
    /* Each begins with what separates it from the one before. */
    return out.n > 0 ? prv_view_from(prv_out_view(&out), sizeof(", ") - 1) : PRV_NONE;
}

void prv_out_number(prv_out *out, unsigned value)
{
    char digits[12];
    size_t i = sizeof(digits);

    do {
        digits[--i] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    prv_out_put(out, (prv_str){digits + i, sizeof(digits) - i});
}

prv_str prv_age_word(prv_age_status age)
{
    static const prv_str words[] = {[PRV_AGE_UNKNOWN] = {"unknown", 7},
                                    [PRV_AGE_OK] = {"ok", 2},
                                    [PRV_AGE_UNDER] = {"under", 5}};

    return (size_t)age < sizeof(words) / sizeof(words[0]) ? words[age] : words[PRV_AGE_UNKNOWN];
}

prv_str prv_header_age(const prv_request *rq, const prv_decision *d)
{
    prv_out out;

    if (d->age == PRV_AGE_UNKNOWN || d->age_min == 0) {
        return prv_age_word(PRV_AGE_UNKNOWN);
    }
    if (!prv_out_open(&out, rq->env, sizeof("under;min=255"))) {
        return PRV_NONE;
    }
    prv_out_put(&out, prv_age_word(d->age));
    prv_out_put(&out, PRV_STR(";min="));
    prv_out_number(&out, d->age_min);
    return prv_out_view(&out);
}

static uint32_t purposes_all(const prv_policy *policy)
{
    return policy->n_purposes >= 32 ? UINT32_MAX : (1u << policy->n_purposes) - 1;
}

bool prv_could_track(const prv_policy *policy)
{
    return (purposes_all(policy) & ~(policy->row2 | policy->off)) != 0 ||
           policy->unknown_cookies != PRV_UNKNOWN_DENY;
}

/* Allowed purposes on row 11 (granted), and those that neither row 2 nor a grant allows. */
static void allowed_split(const prv_policy *policy, const prv_decision *d, uint32_t *granted,
                          uint32_t *other)
{
    *granted = 0;
    *other = 0;
    for (size_t i = 0; i < policy->n_purposes; i++) {
        if ((d->allowed >> i & 1) == 0 || d->row[i] == 2) {
            continue;
        }
        *(d->row[i] == 11 ? granted : other) |= 1u << i;
    }
}

prv_str prv_header_tk(const prv_request *rq, const prv_decision *d)
{
    const prv_policy *policy = rq->site->policy;
    bool dnt = (rq->signals & PRV_SIGNAL_DNT) != 0;
    uint32_t granted, other;

    if (!prv_policy_names_dnt(policy)) {
        return PRV_NONE;
    }
    allowed_split(policy, d, &granted, &other);
    /* What runs against DNT without anybody's consent outweighs a consent to something else. */
    if (dnt && (other & ~policy->listens_dnt) != 0) {
        return PRV_STR("D");
    }
    if ((granted & policy->listens_dnt) != 0) {
        return PRV_STR("C");
    }
    if (dnt && (granted & ~policy->listens_dnt) != 0) {
        return PRV_STR("D");
    }
    return prv_could_track(policy) ? PRV_STR("T") : PRV_STR("N");
}
