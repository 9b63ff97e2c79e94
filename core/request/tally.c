/* What a request adds to the counters, and the names under which people's doings are counted. */
#include "../state/count.h"
#include "cookie.h"

/* ------------------------------------------------------------------ names */

uint64_t prv_asked_key(const prv_policy *policy, bool report, prv_question question, prv_asker by)
{
    const uint64_t parts[] = {report, (uint64_t)question, (uint64_t)by};
    return prv_cold_key(policy, PRV_COLD_ASKED, parts, 3);
}

uint64_t prv_refused_key(const prv_policy *policy, bool report, prv_gate gate, unsigned row)
{
    const uint64_t parts[] = {report, (uint64_t)gate, row};
    return prv_cold_key(policy, PRV_COLD_REFUSED, parts, 3);
}

uint64_t prv_choice_key(const prv_policy *policy, unsigned purpose, bool granted, prv_str method,
                        size_t jurisdiction)
{
    const prv_str where = jurisdiction < policy->n_jurisdictions
                              ? policy->jurisdictions[jurisdiction].name
                              : PRV_STR("*");
    const uint64_t parts[] = {policy->purposes[purpose].hash, granted,
                              prv_fnv64(PRV_FNV64_SEED, method), prv_fnv64(PRV_FNV64_SEED, where)};
    return prv_cold_key(policy, PRV_COLD_CHOICE, parts, 4);
}

uint64_t prv_limited_key(const prv_policy *policy)
{
    return prv_cold_key(policy, PRV_COLD_LIMITED, NULL, 0);
}

/* ------------------------------------------------------------------ what people do */

void prv_tally_asked(const prv_request *rq, prv_mode mode, prv_question question)
{
    prv_cold_add(rq->zone,
                 prv_asked_key(rq->site->policy, mode == PRV_MODE_REPORT, question,
                               PRV_ASKED_BY_PAGE),
                 1);
}

void prv_tally_chosen(const prv_request *rq, uint32_t granted, uint32_t refused, prv_str method,
                      size_t jurisdiction)
{
    const prv_policy *policy = rq->site->policy;
    for (unsigned i = 0; i < policy->n_purposes; i++) {
        if ((granted | refused) >> i & 1)
            prv_cold_add(rq->zone,
                         prv_choice_key(policy, i, (granted & ~refused) >> i & 1, method,
                                        jurisdiction),
                         1);
    }
}

/* ------------------------------------------------------------------ each request */

static void add(_Atomic uint64_t *word, uint64_t n)
{
    atomic_fetch_add_explicit(word, n, memory_order_relaxed);
}

static void count_decisions(_Atomic uint64_t *words, const prv_policy *policy,
                            const prv_decision *d)
{
    uint8_t times[PRV_ROWS] = {0};
    unsigned seen = 0;
    for (size_t i = 0; i < policy->n_purposes; i++) {
        const unsigned row = d->row[i] % PRV_ROWS;
        times[row]++;
        seen |= 1u << row;
    }
    for (; seen != 0; seen &= seen - 1) {
        const int row = __builtin_ctz(seen);
        add(&words[PRV_SITE_DECISIONS + row], times[row]);
    }
}

/* In report mode nothing was removed: what would have been is looked for now. */
static void would_remove(const prv_request *rq, const prv_rules *rules, const prv_decision *d,
                         const prv_str *set_cookies, size_t n, uint32_t removed[2])
{
    unsigned vary = 0;
    for (size_t i = 0; i < rq->n_cookies; i++) {
        prv_cookie_walk walk;
        prv_cookie_seen seen;
        prv_cookie_walk_init(&walk, rq, rules, d, rq->cookies[i]);
        while (prv_cookie_walk_next(&walk, &seen))
            removed[0] += !seen.keep && !seen.own;
    }
    for (size_t i = 0; i < n; i++)
        removed[1] += prv_edit_set_cookie(rq, rules, d, set_cookies[i], &vary) == PRV_DROP;
}

static void count_gate(const prv_request *rq, bool report, const prv_decision *d)
{
    const prv_policy *policy = rq->site->policy;
    prv_tally closed = rq->tally ? *rq->tally : (prv_tally){0};
    if (report)
        closed = (prv_tally){.gate = d->gate, .ask = d->verdict == PRV_ASK, .row = d->gate_row};
    if (closed.gate == PRV_GATE_NONE)
        return;
    prv_cold_add(rq->zone,
                 closed.ask ? prv_asked_key(policy, report, PRV_ASK_AGE, PRV_ASKED_BY_GATE)
                            : prv_refused_key(policy, report, closed.gate, closed.row),
                 1);
}

void prv_tally_count(const prv_request *rq, const prv_rules *rules, const prv_decision *d,
                     const prv_str *set_cookies, size_t n)
{
    if (rq->zone == NULL || rules->mode == PRV_MODE_OFF || rules->exempt)
        return;
    const bool report = rules->mode == PRV_MODE_REPORT;
    const unsigned mode = report ? 1 : 0;
    count_gate(rq, report, d);
    if (rq->site->counts == 0) {
        prv_count(rq->zone, PRV_TICK_DROPPED);
        return;
    }
    _Atomic uint64_t *words = prv_count_site(rq->zone, rq->site->counts);
    uint32_t removed[2] = {0, 0};
    if (report)
        would_remove(rq, rules, d, set_cookies, n, removed);
    else if (rq->tally)
        removed[0] = rq->tally->cookies, removed[1] = rq->tally->set_cookies;
    add(&words[PRV_SITE_REQUESTS + mode * PRV_COUNT_SOURCES + (unsigned)rq->source], 1);
    count_decisions(words, rq->site->policy, d);
    for (unsigned i = 0; i < 2; i++) {
        if (removed[i] > 0)
            add(&words[PRV_SITE_COOKIES + mode * 2 + i], removed[i]);
    }
}
