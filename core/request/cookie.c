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
    comma_joined = comma_joined && prv_view_find(field, ',') < field.n;
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
static prv_str part_take(prv_cookie_iter *it, bool *comma)
{
    /* Once a `;`-piece, not once a comma: else a field of commas costs the square of its length. */
    if (it->piece_end == NULL || it->rest.p > it->piece_end) {
        const size_t n = prv_view_find(it->rest, ';');
        it->piece_end = it->rest.p + n;
        it->last_equals = n > 0 ? memrchr(it->rest.p, '=', n) : NULL;
    }
    size_t semicolon = (size_t)(it->piece_end - it->rest.p);
    size_t end = comma_find(it, (prv_str){it->rest.p, semicolon});
    prv_str piece = {it->rest.p, end};
    *comma = end < semicolon;
    it->rest = prv_view_from(it->rest, end < it->rest.n ? end + 1 : end);
    return prv_view_trim(piece);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

typedef struct piece {
    const char *p, *equals, *end; /* equals NULL: none */
} piece;

/* Takes the next `;`-piece that is not empty off, without white space at its ends. false: there is
 * none. */
static inline bool piece_next(const char **at, const char *end, piece *out)
{
    const char *p = *at;

    while (p < end) {
        const char *stop = memchr(p, ';', (size_t)(end - p));
        *at = stop != NULL ? stop + 1 : end;
        stop = stop != NULL ? stop : end;
        while (p < stop && blank(*p)) {
            p++;
        }
        while (stop > p && blank(stop[-1])) {
            stop--;
        }
        if (stop > p) {
            *out = (piece){p, memchr(p, '=', (size_t)(stop - p)), stop};
            return true;
        }
        p = *at;
    }
    return false;
}

static inline size_t name_length(const piece *from)
{
    const char *stop = from->equals != NULL ? from->equals : from->p;

    while (stop > from->p && blank(stop[-1])) {
        stop--;
    }
    return (size_t)(stop - from->p);
}

static void piece_split(const piece *from, prv_str *name, prv_str *value, prv_str *pair)
{
    const char *start = from->equals != NULL ? from->equals + 1 : from->p;

    while (start < from->end && blank(*start)) {
        start++;
    }
    *pair = (prv_str){from->p, (size_t)(from->end - from->p)};
    *name = (prv_str){from->p, name_length(from)};
    *value = (prv_str){start, (size_t)(from->end - start)};
}

/* `n` of a pair has 32 bits; and what a comma may separate is not noted. */
static bool fields_fit(const prv_request *rq)
{
    for (size_t i = 0; i < rq->n_cookies; i++) {
        const prv_str field = rq->cookies[i];
        if (field.n > UINT32_MAX || (rq->comma_joined && prv_view_find(field, ',') < field.n)) {
            return false;
        }
    }
    return true;
}

static bool field_note(prv_request *rq, prv_str field)
{
    const char *at = field.p;
    const char *end = at + field.n;
    piece next;

    while (piece_next(&at, end, &next)) {
        if (rq->n_pairs == PRV_MAX_PAIRS) {
            return false;
        }
        const size_t n = name_length(&next);
        rq->own_pairs |= (uint32_t)prv_cookie_own(rq, (prv_str){next.p, n}) << rq->n_pairs;
        rq->pairs[rq->n_pairs++] = (prv_pair){next.p, (uint32_t)(next.end - next.p), (uint32_t)n};
    }
    return true;
}

void prv_cookie_pairs(prv_request *rq)
{
    rq->paired = NULL;
    rq->n_pairs = rq->own_pairs = 0;
    if (!fields_fit(rq)) {
        return;
    }
    for (size_t i = 0; i < rq->n_cookies; i++) {
        if (rq->cookies[i].n > 0 && !field_note(rq, rq->cookies[i])) {
            return;
        }
    }
    rq->paired = rq->cookies;
}

static bool plain_next(prv_cookie_iter *it, prv_str *name, prv_str *value, prv_str *pair)
{
    if (it->rest.n == 0) {
        return false;
    }
    const char *at = it->rest.p;
    const char *end = at + it->rest.n;
    piece next;
    bool found = piece_next(&at, end, &next);

    it->rest = (prv_str){at, (size_t)(end - at)};
    if (found) {
        piece_split(&next, name, value, pair);
    }
    return found;
}

bool prv_cookie_next(prv_cookie_iter *it, prv_str *name, prv_str *value, prv_str *pair)
{
    if (!it->comma_joined) {
        return plain_next(it, name, value, pair);
    }
    while (it->rest.n > 0) {
        bool comma;
        prv_str part = part_take(it, &comma);
        if (part.n == 0) {
            it->comma_next = it->comma_next && comma;
            continue;
        }
        it->after_comma = it->comma_next;
        it->comma_next = comma;
        piece_split(&(piece){part.p, memchr(part.p, '=', part.n), part.p + part.n}, name, value,
                    pair);
        return true;
    }
    return false;
}

const prv_cookie_rule *prv_cookie_rule_of(const prv_request *rq, prv_str name)
{
    return name.n > 0 ? prv_policy_cookie(rq->site->policy, name) : NULL;
}

static bool inside(const prv_pair *pair, prv_str field)
{
    return pair->p >= field.p && pair->p < field.p + field.n;
}

void prv_cookie_walk_init(prv_cookie_walk *walk, const prv_request *rq, const prv_rules *rules,
                          const prv_decision *d, prv_str field)
{
    walk->rq = rq;
    walk->rules = rules;
    walk->d = d;
    walk->cut = false;
    walk->equals = NULL;
    walk->it.after_comma = walk->it.comma_next = false;
    walk->noted = prv_cookie_noted(rq);
    walk->control = prv_view_has_control(field);
    if (!walk->noted) {
        prv_cookie_iter_init(&walk->it, field, rq->comma_joined);
        return;
    }
    walk->pair = rq->pairs;
    walk->end = rq->pairs + rq->n_pairs;
    if (rq->n_cookies == 1) {
        return;
    }
    while (walk->pair < walk->end && !inside(walk->pair, field)) {
        walk->pair++;
    }
    const prv_pair *end = walk->pair;
    while (end < walk->end && inside(end, field)) {
        end++;
    }
    walk->end = end;
}

/* Each request runs what follows once a cookie, so it is spared the calls. */
#define EACH_COOKIE static inline __attribute__((always_inline))

EACH_COOKIE bool walk_pair(prv_cookie_walk *walk, prv_cookie_seen *seen)
{
    prv_str value;

    if (!walk->noted) {
        if (!prv_cookie_next(&walk->it, &seen->name, &value, &seen->pair)) {
            return false;
        }
        seen->own = prv_cookie_own(walk->rq, seen->name);
        return true;
    }
    if (walk->pair == walk->end) {
        return false;
    }
    seen->own = walk->rq->own_pairs >> (walk->pair - walk->rq->pairs) & 1;
    seen->name = (prv_str){walk->pair->p, walk->pair->name_n};
    seen->pair = (prv_str){walk->pair->p, walk->pair->n};
    walk->pair++;
    return true;
}

/* What a cookie that is not our own may do under its rule. */
EACH_COOKIE bool pair_allowed(const prv_request *rq, const prv_rules *rules, const prv_decision *d,
                              const prv_cookie_rule *rule)
{
    if (rules->vendor >= 0 && (rule == NULL || rule->vendor != rules->vendor)) {
        return false;
    }
    return prv_cookie_allowed(rq, d, rule);
}

EACH_COOKIE bool seen_keep(const prv_cookie_walk *walk, const prv_cookie_seen *seen)
{
    if (seen->own || (walk->control && prv_view_has_control(seen->pair))) {
        return false;
    }
    return pair_allowed(walk->rq, walk->rules, walk->d, seen->rule) &&
           (seen->longer == NULL || prv_cookie_allowed(walk->rq, walk->d, seen->longer));
}

/* A piece without `=` that a comma ended is, when the comma separates nothing, the start of a
 * longer name: `_x, s=1` is a cookie `_x, s` then, which a rule of the policy may know. */
static prv_str joined_name(prv_cookie_walk *walk, const prv_cookie_seen *seen)
{
    const char *end = walk->it.rest.p + walk->it.rest.n;

    if (prv_view_find(seen->pair, '=') < seen->pair.n) {
        return PRV_NONE;
    }
    if (walk->equals == NULL || walk->equals < seen->pair.p) {
        prv_str all = {seen->pair.p, (size_t)(end - seen->pair.p)};
        walk->equals = all.p + prv_view_find(all, '=');
    }
    return prv_view_trim((prv_str){seen->pair.p, (size_t)(walk->equals - seen->pair.p)});
}

EACH_COOKIE bool walk_next(prv_cookie_walk *walk, prv_cookie_seen *seen)
{
    if (!walk_pair(walk, seen)) {
        return false;
    }
    seen->after_comma = walk->it.after_comma;
    seen->rule = seen->own ? NULL : prv_cookie_rule_of(walk->rq, seen->name);
    seen->longer =
        walk->it.comma_next ? prv_cookie_rule_of(walk->rq, joined_name(walk, seen)) : NULL;
    walk->cut = walk->cut && seen->after_comma;
    seen->keep = !walk->cut && seen_keep(walk, seen);
    walk->cut = !seen->keep;
    return true;
}

bool prv_cookie_walk_next(prv_cookie_walk *walk, prv_cookie_seen *seen)
{
    return walk_next(walk, seen);
}

bool prv_cookies_need_edit(const prv_request *rq, const prv_rules *rules, const prv_decision *d)
{
    prv_cookie_walk walk;
    prv_cookie_seen seen;

    if (!prv_rules_edit(rules)) {
        return false;
    }
    if (rq->has_token || rq->state.unreadable) { /* our own is there, and goes */
        return true;
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
    uint32_t n;        /* of them, our own aside */
    uint32_t purposes; /* that decided about some cookie of the field */
} field_scan;

/* What stays is copied in runs: pairs that stood `; ` apart, or joined by a comma, stay as they
 * stood. */
typedef struct field_out {
    prv_out text;
    prv_str run; /* kept and not written yet */
} field_out;

/* Separators may grow by a space each. */
static bool out_open(field_out *out, const prv_env *env, prv_str field)
{
    return prv_out_open(&out->text, env, field.n + field.n / 2 + 2);
}

static void run_put(field_out *out)
{
    if (out->run.n > 0) {
        prv_out_put(&out->text, out->text.n > 0 ? PRV_STR("; ") : PRV_NONE);
        prv_out_put(&out->text, out->run);
    }
}

static bool adjoins(prv_str run, prv_str pair)
{
    const char *end = run.p + run.n;

    return pair.p == end + 2 && end[0] == ';' && end[1] == ' ';
}

static void pair_keep(field_out *out, prv_str pair, bool after_comma)
{
    if (out->run.n > 0 && (after_comma || adjoins(out->run, pair))) {
        out->run.n = (size_t)(pair.p + pair.n - out->run.p);
        return;
    }
    run_put(out);
    out->run = pair;
}

/* The pairs of the field before `stop`, which all stay. */
static void pairs_keep(field_out *out, const prv_cookie_walk *from, const char *stop)
{
    prv_cookie_walk walk = *from;
    prv_cookie_seen seen;

    while (walk_pair(&walk, &seen) && seen.pair.p < stop) {
        pair_keep(out, seen.pair, walk.it.after_comma);
    }
}

/* Nothing is allocated before the first cookie that goes, nor unless one stays. */
static prv_code field_edit(const prv_request *rq, const prv_rules *rules, const prv_decision *d,
                           size_t i, prv_str *out, field_scan *scan)
{
    const prv_policy *policy = rq->site->policy;
    const prv_str field = rq->cookies[i];
    prv_cookie_walk walk;
    prv_cookie_seen seen;
    field_out kept = {.run = PRV_NONE};
    const char *first = NULL; /* the pair that goes first */
    bool any = false;

    prv_cookie_walk_init(&walk, rq, rules, d, field);
    const prv_cookie_walk start = walk;
    while (walk_next(&walk, &seen)) {
        if (seen.rule != NULL || seen.longer != NULL) {
            scan->purposes |=
                prv_cookie_purposes(policy, seen.rule) | prv_cookie_purposes(policy, seen.longer);
        }
        if (!seen.keep) {
            scan->removed = true;
            scan->n += !seen.own;
            first = first == NULL ? seen.pair.p : first;
        }
        any = any || seen.keep;
        if (first == NULL || !any) {
            continue;
        }
        if (kept.text.p == NULL) {
            if (!out_open(&kept, rq->env, field)) {
                return PRV_ERR_NOMEM;
            }
            pairs_keep(&kept, &start, first);
        }
        if (seen.keep) {
            pair_keep(&kept, seen.pair, seen.after_comma);
        }
    }
    if (first == NULL) {
        *out = field;
        return PRV_OK;
    }
    run_put(&kept);
    *out = kept.text.p != NULL ? prv_out_view(&kept.text) : PRV_NONE;
    return PRV_OK;
}

/* false: no memory. */
static bool run_flush(field_out *out, const prv_env *env, prv_str field)
{
    if (out->text.p == NULL && !out_open(out, env, field)) {
        return false;
    }
    run_put(out);
    return true;
}

/* The same where pairs were noted and stand `; ` apart: what stays grows as a run, and is copied
 * when the run ends. */
static prv_code noted_edit(const prv_request *rq, const prv_rules *rules, const prv_decision *d,
                           size_t i, prv_str *out, field_scan *scan)
{
    const prv_policy *policy = rq->site->policy;
    const prv_str field = rq->cookies[i];
    const field_scan before = *scan;
    prv_cookie_walk walk;
    field_out kept = {.run = PRV_NONE};
    bool removed = false;

    prv_cookie_walk_init(&walk, rq, rules, d, field);
    uint32_t own = rq->own_pairs >> (walk.pair - rq->pairs);
    for (const prv_pair *at = walk.pair; at < walk.end; at++, own >>= 1) {
        const prv_str pair = {at->p, at->n};
        if ((own & 1) != 0) {
            removed = true;
            continue;
        }
        const prv_cookie_rule *rule =
            at->name_n > 0 ? prv_policy_cookie(policy, (prv_str){at->p, at->name_n}) : NULL;
        if (rule != NULL) {
            scan->purposes |= prv_cookie_purposes(policy, rule);
        }
        if (!pair_allowed(rq, rules, d, rule) || (walk.control && prv_view_has_control(pair))) {
            removed = true;
            scan->n++;
        } else if (kept.run.n > 0 && adjoins(kept.run, pair)) {
            kept.run.n = (size_t)(pair.p + pair.n - kept.run.p);
        } else if (kept.run.n == 0) {
            kept.run = pair;
        } else if (!removed) { /* perhaps nothing goes */
            *scan = before;
            return field_edit(rq, rules, d, i, out, scan);
        } else if (run_flush(&kept, rq->env, field)) {
            kept.run = pair;
        } else {
            return PRV_ERR_NOMEM;
        }
    }
    *out = removed ? PRV_NONE : field;
    if (removed && kept.run.n > 0) {
        if (!run_flush(&kept, rq->env, field)) {
            return PRV_ERR_NOMEM;
        }
        *out = prv_out_view(&kept.text);
    }
    scan->removed = scan->removed || removed;
    return PRV_OK;
}

prv_code prv_edit_cookies(const prv_request *rq, const prv_rules *rules, const prv_decision *d,
                          prv_str *out, unsigned *vary)
{
    const bool noted = prv_cookie_noted(rq);
    field_scan scan = {0};
    prv_code code = PRV_OK;

    for (size_t i = 0; i < rq->n_cookies; i++) {
        if (!prv_rules_edit(rules)) {
            out[i] = rq->cookies[i];
        } else if (code == PRV_OK) {
            code = noted ? noted_edit(rq, rules, d, i, &out[i], &scan)
                         : field_edit(rq, rules, d, i, &out[i], &scan);
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
