/*
 * The Cookie field: parsed in place, judged cookie by cookie, and edited only when something goes.
 *
 * Two Cookie lines reach httpd's modules on HTTP/1.1 as one field `a=1, b=2; a=3`. Nobody can tell
 * any more whether that was a cookie a of value `1, b=2` or two cookies. So each comma that may
 * separate is taken as separating when cookies are judged, and everything that stands behind a
 * denied cookie in its `;`-piece goes with it, because it may be that cookie's value. What stands
 * before it stays, byte for byte: turning the comma into a `;` would let the value of one cookie
 * become another cookie, past the `__Host-` rules of browsers.
 */
#include "cookie.h"

#include "view.h"

void prv_cookie_iter_init(prv_cookie_iter *it, prv_str field, bool comma_joined)
{
    *it = (prv_cookie_iter){.rest = field, .comma_joined = comma_joined};
}

/* Index of the first comma that may separate pairs: white space behind it, and a `=` later in the
 * piece. */
static size_t comma_find(const prv_cookie_iter *it, prv_str piece)
{
    size_t last = it->last_equals == NULL || it->last_equals < piece.p
                      ? 0
                      : (size_t)(it->last_equals - piece.p);

    for (size_t i = 0; i + 1 < last; i++) {
        if (piece.p[i] == ',' && (piece.p[i + 1] == ' ' || piece.p[i + 1] == '\t')) {
            return i;
        }
    }
    return piece.n;
}

/* Takes the next piece off, *comma tells which separator ended it. */
static prv_str piece_take(prv_cookie_iter *it, bool *comma)
{
    /* Once a `;`-piece, not once a comma: else a field of commas costs the square of its length. */
    if (it->piece_end == NULL || it->rest.p > it->piece_end) {
        const size_t n = prv_view_find(it->rest, ';');
        it->piece_end = it->rest.p + n;
        it->last_equals = it->comma_joined && n > 0 ? memrchr(it->rest.p, '=', n) : NULL;
    }
    size_t semicolon = (size_t)(it->piece_end - it->rest.p);
    size_t end = semicolon;

    if (it->comma_joined) {
        end = comma_find(it, (prv_str){it->rest.p, semicolon});
    }
    prv_str piece = {it->rest.p, end};
    *comma = end < semicolon;
    it->rest = prv_view_from(it->rest, end < it->rest.n ? end + 1 : end);
    return prv_view_trim(piece);
}

bool prv_cookie_next(prv_cookie_iter *it, prv_str *name, prv_str *value, prv_str *pair)
{
    while (it->rest.n > 0) {
        bool comma;
        prv_str piece = piece_take(it, &comma);
        if (piece.n == 0) {
            it->comma_next = it->comma_next && comma;
            continue;
        }
        it->after_comma = it->comma_next;
        it->comma_next = comma;

        size_t equals = prv_view_find(piece, '=');
        *pair = piece;
        if (equals == piece.n) {
            *name = (prv_str){piece.p, 0};
            *value = piece;
        } else {
            *name = prv_view_trim((prv_str){piece.p, equals});
            *value = prv_view_trim(prv_view_from(piece, equals + 1));
        }
        return true;
    }
    return false;
}

bool prv_cookie_own(const prv_request *rq, prv_str name)
{
    return prv_view_equal(name, rq->site->cookie.name);
}

const prv_cookie_rule *prv_cookie_rule_of(const prv_request *rq, prv_str name)
{
    return name.n > 0 ? prv_policy_cookie(rq->site->policy, name) : NULL;
}

bool prv_cookie_allowed(const prv_request *rq, const prv_decision *d, const prv_cookie_rule *rule)
{
    const prv_policy *policy = rq->site->policy;

    if (rule == NULL) {
        return policy->unknown_cookies != PRV_UNKNOWN_DENY;
    }
    return (d->allowed >> rule->purpose & 1) != 0 &&
           (rule->vendor < 0 || prv_vendor_allowed(policy, d, rule->vendor));
}

uint32_t prv_cookie_purposes(const prv_policy *policy, const prv_cookie_rule *rule)
{
    if (rule == NULL) {
        return 0;
    }
    uint32_t mask = 1u << rule->purpose;
    return rule->vendor < 0 ? mask : mask | 1u << policy->vendors[rule->vendor].purpose;
}

void prv_cookie_walk_init(prv_cookie_walk *walk, const prv_request *rq, const prv_rules *rules,
                          const prv_decision *d, prv_str field)
{
    *walk = (prv_cookie_walk){.rq = rq, .rules = rules, .d = d};
    prv_cookie_iter_init(&walk->it, field, rq->comma_joined);
}

static bool seen_keep(const prv_cookie_walk *walk, const prv_cookie_seen *seen)
{
    if (seen->own || prv_view_has_control(seen->pair)) {
        return false;
    }
    if (walk->rules->vendor >= 0 &&
        (seen->rule == NULL || seen->rule->vendor != walk->rules->vendor)) {
        return false;
    }
    return prv_cookie_allowed(walk->rq, walk->d, seen->rule) &&
           (seen->longer == NULL || prv_cookie_allowed(walk->rq, walk->d, seen->longer));
}

/* A piece without `=` that a comma ended is, when the comma separates nothing, the start of a
 * longer name: `_x, s=1` is a cookie `_x, s` then, which a rule of the policy may know. */
static prv_str joined_name(prv_cookie_walk *walk, const prv_cookie_seen *seen)
{
    const char *end = walk->it.rest.p + walk->it.rest.n;

    if (!walk->it.comma_next || prv_view_find(seen->pair, '=') < seen->pair.n) {
        return PRV_NONE;
    }
    if (walk->equals == NULL || walk->equals < seen->pair.p) {
        prv_str all = {seen->pair.p, (size_t)(end - seen->pair.p)};
        walk->equals = all.p + prv_view_find(all, '=');
    }
    return prv_view_trim((prv_str){seen->pair.p, (size_t)(walk->equals - seen->pair.p)});
}

bool prv_cookie_walk_next(prv_cookie_walk *walk, prv_cookie_seen *seen)
{
    prv_str value;

    if (!prv_cookie_next(&walk->it, &seen->name, &value, &seen->pair)) {
        return false;
    }
    seen->after_comma = walk->it.after_comma;
    seen->own = prv_cookie_own(walk->rq, seen->name);
    seen->rule = seen->own ? NULL : prv_cookie_rule_of(walk->rq, seen->name);
    seen->longer = prv_cookie_rule_of(walk->rq, joined_name(walk, seen));
    walk->cut = walk->cut && seen->after_comma;
    seen->keep = !walk->cut && seen_keep(walk, seen);
    walk->cut = !seen->keep;
    return true;
}

bool prv_cookies_need_edit(const prv_request *rq, const prv_rules *rules, const prv_decision *d)
{
    prv_cookie_walk walk;
    prv_cookie_seen seen;

    if (!prv_rules_edit(rules)) {
        return false;
    }
    for (size_t i = 0; i < rq->n_cookies; i++) {
        prv_cookie_walk_init(&walk, rq, rules, d, rq->cookies[i]);
        while (prv_cookie_walk_next(&walk, &seen)) {
            if (!seen.keep) {
                return true;
            }
        }
    }
    return false;
}

typedef struct field_scan {
    bool removed;
    uint32_t n; /* of them, our own aside */
    uint32_t purposes; /* that decided about some cookie of the field */
} field_scan;

/* Measures (out->p NULL) or writes what is kept of one field. */
static void field_render(prv_cookie_walk *walk, prv_out *out, field_scan *scan)
{
    prv_cookie_seen seen;
    const char *end = NULL; /* of the pair written last */

    while (prv_cookie_walk_next(walk, &seen)) {
        scan->purposes |= prv_cookie_purposes(walk->rq->site->policy, seen.rule);
        scan->purposes |= prv_cookie_purposes(walk->rq->site->policy, seen.longer);
        if (!seen.keep) {
            scan->removed = true;
            scan->n += !seen.own;
            continue;
        }
        const char *stop = seen.pair.p + seen.pair.n;
        if (seen.after_comma) {
            prv_out_put(out, (prv_str){end, (size_t)(stop - end)});
        } else {
            prv_out_put(out, end != NULL ? PRV_STR("; ") : PRV_NONE);
            prv_out_put(out, seen.pair);
        }
        end = stop;
    }
}

static prv_code field_edit(const prv_request *rq, const prv_rules *rules, const prv_decision *d,
                           size_t i, prv_str *out, field_scan *scan)
{
    prv_cookie_walk walk;
    prv_out counted = {0};
    prv_out written;
    field_scan here = {0};

    prv_cookie_walk_init(&walk, rq, rules, d, rq->cookies[i]);
    field_render(&walk, &counted, &here);
    scan->purposes |= here.purposes;
    scan->n += here.n;
    if (!here.removed) {
        *out = rq->cookies[i];
        return PRV_OK;
    }
    scan->removed = true;
    *out = PRV_NONE;
    if (counted.n == 0) {
        return PRV_OK;
    }
    if (!prv_out_open(&written, rq->env, counted.n)) {
        return PRV_ERR_NOMEM;
    }
    prv_cookie_walk_init(&walk, rq, rules, d, rq->cookies[i]);
    field_render(&walk, &written, &here);
    *out = prv_out_view(&written);
    return PRV_OK;
}

prv_code prv_edit_cookies(const prv_request *rq, const prv_rules *rules, const prv_decision *d,
                          prv_str *out, unsigned *vary)
{
    field_scan scan = {0};
    prv_code code = PRV_OK;

    for (size_t i = 0; i < rq->n_cookies; i++) {
        if (!prv_rules_edit(rules)) {
            out[i] = rq->cookies[i];
        } else if (code == PRV_OK) {
            code = field_edit(rq, rules, d, i, &out[i], &scan);
        }
    }
    if (code != PRV_OK) {
        for (size_t i = 0; i < rq->n_cookies; i++) {
            out[i] = PRV_NONE;
        }
    }
    if (scan.removed) {
        *vary |= prv_vary(rq->site->policy, scan.purposes);
    }
    if (rq->tally != NULL) {
        rq->tally->cookies = scan.n;
    }
    return code;
}
