/* Our cookie in answers that are no endpoint's: renewed when it lags behind, and with the expiry of
 * denied cookies. */
#include "request.h"

/* A degraded view is not what the visitor is: nothing is written down from it. */
static bool may_set(const prv_request *rq)
{
    return rq->navigation && rq->has_token && rq->site->keys && !rq->pending && !rq->degraded;
}

prv_str prv_request_renewal(prv_request *rq)
{
    if (!may_set(rq) || !(rq->renew || rq->foreign_key))
        return PRV_NONE;
    const prv_state own = prv_request_own(rq);
    const prv_str cookie = prv_token_cookie(rq->site, &own, rq->env);
    if (cookie.n > 0)
        rq->renew = rq->foreign_key = false;
    return cookie;
}

/* Purposes whose denial somebody said: a refusal, or an age. Not signals, and not the absence of a
 * choice. */
static uint32_t said(const prv_request *rq, const prv_decision *d)
{
    const uint8_t row_age = 6;
    uint32_t mask = rq->state.refused;
    for (size_t i = 0; i < rq->site->policy->n_purposes; i++) {
        if (d->row[i] == row_age)
            mask |= 1u << i;
    }
    return mask & ~d->allowed & prv_refusable(rq->site->policy);
}

size_t prv_request_sweep(prv_request *rq, const prv_decision *d, prv_str host,
                         prv_str out[PRV_EXPIRE_MAX])
{
    prv_state *own = rq->split ? &rq->browser : &rq->state;
    if (!may_set(rq) || own->swept)
        return 0;
    const uint32_t mask = said(rq, d);
    if (!mask)
        return 0;
    prv_state swept = prv_request_own(rq);
    swept.swept = true;
    out[0] = prv_token_cookie(rq->site, &swept, rq->env);
    if (out[0].n == 0)
        return 0;
    const size_t n = prv_expire_cookies(rq, d, mask, host, out + 1, PRV_EXPIRE_MAX - 1);
    if (n == 0)
        return 0;
    own->swept = rq->state.swept = true;
    rq->renew = rq->foreign_key = false; /* this cookie renews as well */
    return n + 1;
}
