/*
 * `Privacy-Subject-Age: under[:N]|ok[:N]|parental:N`, with which the application says what it
 * learned (INTERFACE 5).
 *
 * Several fields, or members of one, resolve to less, in any order.
 *
 * Without a number the smallest threshold of the policy is meant, wherever the visitor is: the
 * lesser claim for `ok`, and for `under` the one that fails every threshold that a region asks for.
 */
#include "request.h"

#include <string.h>

#define AGE_FALLBACK 13 /* a policy without ages: the youngest digital age of consent there is */
#define HOUR 3600

typedef enum said { SAID_UNDER, SAID_OK, SAID_PARENTAL } said;

static unsigned smallest_threshold(const prv_policy *policy)
{
    unsigned least = policy->age_minimum ? policy->age_minimum : policy->age_unknown;
    for (size_t i = 0; i < policy->n_age_regions && !policy->age_minimum; i++) {
        const unsigned age = policy->age_regions[i].age;
        if (age && (!least || age < least))
            least = age;
    }
    return least ? least : AGE_FALLBACK;
}

static bool years_parse(prv_str text, uint8_t *years)
{
    unsigned value = 0;
    if (text.n == 0 || text.n > 3 || text.p[0] == '0')
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text.p[i] - '0');
    }
    *years = (uint8_t)value;
    return value <= 120;
}

static bool report_parse(const prv_policy *policy, prv_str value, said *what, uint8_t *years)
{
    static const prv_str words[] = {
        [SAID_UNDER] = {"under", 5}, [SAID_OK] = {"ok", 2}, [SAID_PARENTAL] = {"parental", 8}};
    while (value.n > 0 && (value.p[0] == ' ' || value.p[0] == '\t'))
        value = (prv_str){value.p + 1, value.n - 1};
    while (value.n > 0 && (value.p[value.n - 1] == ' ' || value.p[value.n - 1] == '\t'))
        value.n--;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const size_t n = words[i].n;
        if (value.n < n || memcmp(value.p, words[i].p, n) != 0)
            continue;
        *what = (said)i;
        if (value.n == n && *what != SAID_PARENTAL) {
            *years = (uint8_t)smallest_threshold(policy);
            return true;
        }
        return value.n > n && value.p[n] == ':' &&
               years_parse((prv_str){value.p + n + 1, value.n - n - 1}, years);
    }
    return false;
}

/* false: nothing new. What the application says is durable, and so becomes what was known with it.
 */
static bool age_apply(prv_age *age, said what, uint8_t years)
{
    prv_age next = *age;
    switch (what) {
    case SAID_UNDER:
        if (!next.under || years < next.under)
            next.under = years;
        if (next.ok >= next.under)
            next.ok = 0;
        break;
    case SAID_OK:
        if (next.under && years >= next.under)
            return false; /* `ok` never lifts `under` */
        if (years > next.ok)
            next.ok = years;
        break;
    case SAID_PARENTAL:
        next.parental = years;
        break;
    }
    next.at = 0;
    const bool changed = next.ok != age->ok || next.under != age->under ||
                         next.parental != age->parental || next.at != age->at;
    *age = next;
    return changed;
}

/* Where the cookie alone keeps the state, an older cookie must not undo this: it gets the next seq.
 */
static void state_advance(const prv_request *rq, prv_state *state)
{
    const int64_t now = rq->env->now_ms / 1000;
    if (!state->present || state->at == 0) {
        state->present = true;
        state->at = now - now % HOUR;
        state->expires = prv_state_expires(rq->site->policy, state);
    }
    if (state->seq < UINT32_MAX)
        state->seq++;
}

/* The next of several values off the list; false at the end. An empty list is one empty value. */
static bool report_next(prv_str *rest, prv_str *one)
{
    if (rest->p == NULL)
        return false;
    const char *comma = rest->n > 0 ? memchr(rest->p, ',', rest->n) : NULL;
    const size_t n = comma ? (size_t)(comma - rest->p) : rest->n;
    *one = (prv_str){rest->p, n};
    *rest = comma ? (prv_str){comma + 1, rest->n - n - 1} : PRV_NONE;
    return true;
}

/* What a list says that counts: beside a value that cannot be read only what lowers is believed. */
static bool report_apply(const prv_policy *policy, prv_str list, bool lowers_only, prv_age *age)
{
    prv_str rest = list, one;
    said what;
    uint8_t years = 0;
    bool changed = false;
    while (report_next(&rest, &one)) {
        if (report_parse(policy, one, &what, &years) && (!lowers_only || what == SAID_UNDER))
            changed = age_apply(age, what, years) || changed;
    }
    return changed;
}

static bool report_readable(const prv_request *rq, prv_str list)
{
    prv_str rest = list, one;
    said what;
    uint8_t years = 0;
    bool readable = list.p != NULL;
    while (report_next(&rest, &one))
        readable = report_parse(rq->site->policy, one, &what, &years) && readable;
    if (!readable && rq->env->log)
        rq->env->log(rq->env->ctx, PRV_LOG_WARN,
                     PRV_STR("Privacy-Subject-Age from the application is none of under[:N], "
                             "ok[:N], parental:N; ignored"));
    return readable;
}

bool prv_request_report_age(prv_request *rq, prv_str value, prv_str *set_cookie, prv_op *op)
{
    const prv_policy *policy = rq->site->policy;
    const bool lowers_only = !report_readable(rq, value);
    prv_state *own = rq->split ? &rq->browser : &rq->state;
    const uint8_t under = own->age.under;
    bool changed = false;
    *set_cookie = PRV_NONE;
    /* Of an account it is that account's age; the browser, which others may use, keeps what lowers.
     */
    if (rq->account)
        changed = report_apply(policy, value, lowers_only, &rq->account->state.age);
    if (changed)
        rq->account->want_age = true;
    const bool own_changed = report_apply(policy, value, lowers_only || rq->split, &own->age);
    if (rq->split && (changed || own_changed)) {
        if (rq->known)
            prv_subject_compose(rq);
        else
            prv_state_lower(&rq->state, own, PRV_LATER_NONE);
    }
    if (!own_changed)
        return false;
    const bool in_store = rq->site->store && own->id_len == PRV_ID_LEN;
    if (!in_store || !own->stored)
        state_advance(rq, own);
    if (own->age.under != under)
        own->swept = rq->state.swept = false;
    prv_request_remember(rq, 0);
    if (rq->site->keys) {
        const prv_state cookie = prv_request_own(rq);
        *set_cookie = prv_token_cookie(rq->site, &cookie, rq->env);
    }
    return in_store && prv_record_age(policy, rq->site->keys, rq->site->prefix, own,
                                      &rq->record_age, rq->env, op);
}
