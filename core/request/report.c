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
static void state_advance(prv_request *rq)
{
    prv_state *state = &rq->state;
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

/* Beside a value that cannot be read only what lowers is believed. */
static bool report_apply(prv_request *rq, prv_str list)
{
    const prv_policy *policy = rq->site->policy;
    prv_str rest = list, one;
    said what;
    uint8_t years = 0;
    bool readable = list.p != NULL, changed = false;
    while (report_next(&rest, &one))
        readable = report_parse(policy, one, &what, &years) && readable;
    for (rest = list; report_next(&rest, &one);) {
        if (report_parse(policy, one, &what, &years) && (readable || what == SAID_UNDER))
            changed = age_apply(&rq->state.age, what, years) || changed;
    }
    if (!readable && rq->env->log)
        rq->env->log(rq->env->ctx, PRV_LOG_WARN,
                     PRV_STR("Privacy-Subject-Age from the application is none of under[:N], "
                             "ok[:N], parental:N; ignored"));
    return changed;
}

bool prv_request_report_age(prv_request *rq, prv_str value, prv_str *set_cookie, prv_op *op)
{
    const uint8_t under = rq->state.age.under;
    *set_cookie = PRV_NONE;
    if (!report_apply(rq, value))
        return false;
    const bool in_store = rq->site->store && rq->state.id_len == PRV_ID_LEN;
    if (!in_store || !rq->state.stored)
        state_advance(rq);
    if (rq->state.age.under != under)
        rq->state.swept = false;
    prv_request_remember(rq);
    if (rq->site->keys)
        *set_cookie = prv_token_cookie(rq->site, &rq->state, rq->env);
    return in_store && prv_record_age(rq->site->policy, rq->site->keys, rq->site->prefix,
                                      &rq->state, &rq->record_age, rq->env, op);
}
