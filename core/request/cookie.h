/*
 * How one request cookie fares under the rules of a location: shared by editing, variables and
 * expiry.
 */
#ifndef PRV_COOKIE_H
#define PRV_COOKIE_H

#include "request.h"
#include "view.h"

/* Restartable iterator over one Cookie field: parse in place (RFC 6265 4.2.1, read leniently as
 * servers do). */
typedef struct prv_cookie_iter {
    prv_str rest;
    bool comma_joined;
    bool after_comma; /* the pair just given may also be part of the value before it: it must not
                         raise consent */
    bool comma_next;  /* private, as what follows: the end of the `;`-piece and its last `=`, found
                         once a piece */
    const char *piece_end;
    const char *last_equals;
} prv_cookie_iter;
void prv_cookie_iter_init(prv_cookie_iter *it, prv_str field, bool comma_joined);
/* false at the end. name is trimmed and may be empty (a pair without `=`: then value holds all).
 * pair is the whole piece as it stood. */
bool prv_cookie_next(prv_cookie_iter *it, prv_str *name, prv_str *value, prv_str *pair);

/* Do these rules edit at all? Not with the gate off, and not at endpoints. */
static inline bool prv_rules_edit(const prv_rules *rules)
{
    return rules->mode != PRV_MODE_OFF && !rules->exempt;
}

typedef struct prv_cookie_seen {
    prv_str name;
    prv_str pair;
    const prv_cookie_rule *rule;   /* NULL: in no list */
    const prv_cookie_rule *longer; /* of the longer name if no comma separates; NULL: none */
    bool own;
    bool keep;
    bool after_comma;
} prv_cookie_seen;

/* Walks one Cookie field; `cut`: a denied cookie stands earlier in the same `;`-piece. */
typedef struct prv_cookie_walk {
    const prv_request *rq;
    const prv_rules *rules;
    const prv_decision *d;
    prv_cookie_iter it;
    bool noted; /* the field's pairs were: from `pair` to `end`, instead of `it` */
    const prv_pair *pair, *end;
    bool cut;
    bool control;       /* some byte of the field is a control byte */
    const char *equals; /* the next `=` from a nameless piece on; private */
} prv_cookie_walk;

void prv_cookie_walk_init(prv_cookie_walk *walk, const prv_request *rq, const prv_rules *rules,
                          const prv_decision *d, prv_str field);
bool prv_cookie_walk_next(prv_cookie_walk *walk, prv_cookie_seen *seen);

/* Notes the pairs of all fields in rq, so that what walks them later need not take them apart
 * again. */
void prv_cookie_pairs(prv_request *rq);
/* Were they, of the fields as they are now? */
static inline bool prv_cookie_noted(const prv_request *rq)
{
    return rq->paired != NULL && rq->paired == rq->cookies;
}

/* Is this the name of our own cookie? Exact: `__host-privacy` is another, untrusted one. */
static inline bool prv_cookie_own(const prv_request *rq, prv_str name)
{
    const prv_str own = rq->site->cookie.name;

    return name.n == own.n && own.n > 0 && name.p[0] == own.p[0] && prv_view_equal(name, own);
}
/* May a cookie that `rule` classifies (NULL: in no list) live under this decision? */
static inline bool prv_cookie_allowed(const prv_request *rq, const prv_decision *d,
                                      const prv_cookie_rule *rule)
{
    const prv_policy *policy = rq->site->policy;

    if (rule == NULL) {
        return policy->unknown_cookies != PRV_UNKNOWN_DENY;
    }
    return (d->allowed >> rule->purpose & 1) != 0 &&
           (rule->vendor < 0 || prv_vendor_allowed(policy, d, rule->vendor));
}

/* The purposes that decide about a cookie of this rule: its own and its vendor's. */
static inline uint32_t prv_cookie_purposes(const prv_policy *policy, const prv_cookie_rule *rule)
{
    if (rule == NULL) {
        return 0;
    }
    uint32_t mask = 1u << rule->purpose;
    return rule->vendor < 0 ? mask : mask | 1u << policy->vendors[rule->vendor].purpose;
}

/* The rule of a name; the empty name is in no list. */
const prv_cookie_rule *prv_cookie_rule_of(const prv_request *rq, prv_str name);

/* The name of a Set-Cookie value as prv_edit_set_cookie() reads it. */
prv_str prv_set_cookie_name(prv_str value);

#endif
