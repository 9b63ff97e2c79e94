/*
 * How one request cookie fares under the rules of a location: shared by editing, variables and
 * expiry.
 */
#ifndef PRV_COOKIE_H
#define PRV_COOKIE_H

#include "request.h"

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
    bool cut;
    const char *equals; /* the next `=` from a nameless piece on; private */
} prv_cookie_walk;

void prv_cookie_walk_init(prv_cookie_walk *walk, const prv_request *rq, const prv_rules *rules,
                          const prv_decision *d, prv_str field);
bool prv_cookie_walk_next(prv_cookie_walk *walk, prv_cookie_seen *seen);

/* Is this the name of our own cookie? Exact: `__host-privacy` is another, untrusted one. */
bool prv_cookie_own(const prv_request *rq, prv_str name);
/* May a cookie that `rule` classifies (NULL: in no list) live under this decision? */
bool prv_cookie_allowed(const prv_request *rq, const prv_decision *d, const prv_cookie_rule *rule);
/* The purposes that decide about a cookie of this rule: its own and its vendor's. */
uint32_t prv_cookie_purposes(const prv_policy *policy, const prv_cookie_rule *rule);
/* The rule of a name; the empty name is in no list. */
const prv_cookie_rule *prv_cookie_rule_of(const prv_request *rq, prv_str name);

/* The name of a Set-Cookie value as prv_edit_set_cookie() reads it. */
prv_str prv_set_cookie_name(prv_str value);

#endif
