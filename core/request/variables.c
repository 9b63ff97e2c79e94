/*
 * What operators log and branch on: `$privacy_X` and `PRIVACY_X`. Formatted on demand only.
 */
#include "cookie.h"
#include "headers.h"

#define NAMES_MAX 1024      /* bytes of `removed` and `unknown`: a log line stays a line */
#define NAME_MAX_LOGGED 128 /* bytes of one name: a long one must not push all others out */

const prv_str prv_var_names[PRV_VAR_COUNT] = {
    [PRV_VAR_PURPOSES] = {"purposes", 8},
    [PRV_VAR_DENIED] = {"denied", 6},
    [PRV_VAR_REASON] = {"reason", 6},
    [PRV_VAR_VARIANT] = {"variant", 7},
    [PRV_VAR_ID] = {"id", 2},
    [PRV_VAR_AGE] = {"age", 3},
    [PRV_VAR_SIGNALS] = {"signals", 7},
    [PRV_VAR_REGION] = {"region", 6},
    [PRV_VAR_STATE] = {"state", 5},
    [PRV_VAR_REMOVED] = {"removed", 7},
    [PRV_VAR_UNKNOWN] = {"unknown", 7},
    [PRV_VAR_ADDR] = {"addr", 4},
    [PRV_VAR_REQUEST_URI] = {"request_uri", 11},
    [PRV_VAR_ROWS] = {"rows", 4},
};

static prv_str copy(const prv_env *env, prv_str text)
{
    prv_out out;

    if (text.n == 0 || !prv_out_open(&out, env, text.n)) {
        return PRV_NONE;
    }
    prv_out_put(&out, text);
    return prv_out_view(&out);
}

/* ---- purposes */

static void purposes_put(const prv_policy *policy, uint32_t mask, prv_out *out)
{
    bool first = true;

    for (size_t i = 0; i < policy->n_purposes; i++) {
        if ((mask >> i & 1) != 0) {
            prv_out_put(out, first ? PRV_NONE : PRV_STR(","));
            prv_out_put(out, policy->purposes[i].name);
            first = false;
        }
    }
}

static prv_str purposes_text(const prv_var_input *in, uint32_t mask)
{
    const prv_policy *policy = in->rq->site->policy;
    prv_out counted = {0};
    prv_out out;

    purposes_put(policy, mask, &counted);
    if (counted.n == 0 || !prv_out_open(&out, in->rq->env, counted.n)) {
        return PRV_NONE;
    }
    purposes_put(policy, mask, &out);
    return prv_out_view(&out);
}

static prv_str var_purposes(const prv_var_input *in)
{
    return purposes_text(in, in->d->allowed);
}

static prv_str var_denied(const prv_var_input *in)
{
    return purposes_text(in, ~in->d->allowed);
}

static prv_str var_reason(const prv_var_input *in)
{
    const prv_policy *policy = in->rq->site->policy;

    for (size_t i = 0; i < policy->n_purposes; i++) {
        if ((in->d->allowed >> i & 1) == 0) {
            return prv_row_reason(in->d->row[i]);
        }
    }
    return prv_row_reason(0);
}

/* What `privacyctl explain` shows as rows, so that a log line can be held against it. */
static prv_str var_rows(const prv_var_input *in)
{
    const size_t n = in->rq->site->policy->n_purposes;
    prv_out out;

    if (n == 0 || !prv_out_open(&out, in->rq->env, n * 3)) {
        return PRV_NONE;
    }
    for (size_t i = 0; i < n; i++) {
        const unsigned row = in->d->row[i];
        const char digits[3] = {',', (char)('0' + row / 10), (char)('0' + row % 10)};
        const size_t skip = row < 10 ? 2 : 1;
        prv_out_put(&out, i == 0 ? PRV_NONE : (prv_str){digits, 1});
        prv_out_put(&out, (prv_str){digits + skip, 3 - skip});
    }
    return prv_out_view(&out);
}

/* ---- variant */

static uint64_t hash_line(uint64_t hash, prv_str line)
{
    return prv_fnv64(prv_fnv64(hash, line), PRV_STR("\n"));
}

static uint64_t hash_purposes(const prv_policy *policy, uint64_t hash, uint32_t mask)
{
    bool first = true;

    for (size_t i = 0; i < policy->n_purposes; i++) {
        if ((mask >> i & 1) != 0) {
            hash = first ? hash : prv_fnv64(hash, PRV_STR(","));
            hash = prv_fnv64(hash, policy->purposes[i].name);
            first = false;
        }
    }
    return prv_fnv64(hash, PRV_STR("\n"));
}

/* FNV-1a 64 over lines: whatever makes one visitor's page differ from another's, and no more. */
static prv_str var_variant(const prv_var_input *in)
{
    static const char hex[] = "0123456789abcdef";
    const prv_policy *policy = in->rq->site->policy;
    const prv_decision *d = in->d;
    bool opt_in =
        d->jurisdiction < policy->n_jurisdictions && policy->jurisdictions[d->jurisdiction].opt_in;
    prv_out out;

    if (!prv_out_open(&out, in->rq->env, 16)) {
        return PRV_NONE;
    }
    uint64_t hash = hash_line(PRV_FNV64_SEED, policy->id);
    hash = hash_line(hash, policy->version_text);
    hash = hash_purposes(policy, hash, d->allowed);
    hash = hash_line(hash, prv_age_word(d->age));
    hash = hash_line(hash, opt_in && d->unanswered != 0 ? PRV_STR("asked") : PRV_STR("answered"));
    if (d->gpc_shown) {
        hash = hash_line(hash, PRV_STR("gpc"));
    }
    for (int shift = 60; shift >= 0; shift -= 4) {
        prv_out_char(&out, hex[hash >> shift & 15]);
    }
    return prv_out_view(&out);
}

/* ---- the visitor */

static prv_str var_id(const prv_var_input *in)
{
    return copy(in->rq->env, (prv_str){in->rq->state.id, in->rq->state.id_len});
}

static prv_str var_age(const prv_var_input *in)
{
    return prv_age_word(in->d->age);
}

static prv_str var_signals(const prv_var_input *in)
{
    static const prv_str words[4] = {{NULL, 0}, {"gpc", 3}, {"dnt", 3}, {"gpc,dnt", 7}};

    return words[in->rq->signals & (PRV_SIGNAL_GPC | PRV_SIGNAL_DNT)];
}

static prv_str var_region(const prv_var_input *in)
{
    return copy(in->rq->env, (prv_str){in->d->region.c, in->d->region.n});
}

static prv_str var_state(const prv_var_input *in)
{
    static const prv_str words[] = {
        [PRV_SOURCE_NONE] = {"none", 4},         [PRV_SOURCE_TOKEN] = {"token", 5},
        [PRV_SOURCE_CACHE] = {"cache", 5},       [PRV_SOURCE_STORE] = {"store", 5},
        [PRV_SOURCE_DEGRADED] = {"degraded", 8},
    };

    return (size_t)in->rq->source < sizeof(words) / sizeof(words[0]) ? words[in->rq->source]
                                                                     : words[PRV_SOURCE_NONE];
}

static prv_str var_addr(const prv_var_input *in)
{
    return prv_addr_cut(in->rq->env, in->addr);
}

/* ---- cookie names */

typedef struct name_list {
    char text[NAMES_MAX];
    size_t n;
    bool full;
} name_list;

static bool list_holds(const name_list *list, prv_str name)
{
    prv_str rest = {list->text, list->n};
    prv_str item;

    while (prv_view_split(&rest, ',', &item)) {
        if (prv_view_equal(item, name)) {
            return true;
        }
    }
    return false;
}

/* A name as it may stand in a log: what is no token character becomes `_`, a nameless cookie is `_`
 * too. */
static void list_add(name_list *list, prv_str name)
{
    size_t at = list->n > 0 ? list->n + 1 : 0;
    name.n = name.n < NAME_MAX_LOGGED ? name.n : NAME_MAX_LOGGED;
    size_t n = name.n > 0 ? name.n : 1;

    if (n > NAMES_MAX - at || at >= NAMES_MAX) {
        list->full = true;
        return;
    }
    list->text[at] = '_';
    for (size_t i = 0; i < name.n; i++) {
        list->text[at + i] = prv_char_token(name.p[i]) ? name.p[i] : '_';
    }
    if (list_holds(list, (prv_str){list->text + at, n})) {
        return;
    }
    if (at > 0) {
        list->text[at - 1] = ',';
    }
    list->n = at + n;
}

/* Which names: those that go, or those that no list knows. */
typedef enum names_want { NAMES_REMOVED, NAMES_UNKNOWN } names_want;

static void names_request(const prv_var_input *in, names_want want, name_list *list)
{
    const prv_request *rq = in->rq;
    prv_cookie_walk walk;
    prv_cookie_seen seen;

    for (size_t i = 0; i < rq->n_cookies; i++) {
        prv_cookie_walk_init(&walk, rq, in->rules, in->d, rq->cookies[i]);
        while (!list->full && prv_cookie_walk_next(&walk, &seen)) {
            bool wanted = want == NAMES_REMOVED ? !seen.keep : seen.rule == NULL;
            if (wanted && !seen.own) {
                list_add(list, seen.name);
            }
        }
    }
}

static void names_answer(const prv_var_input *in, names_want want, name_list *list)
{
    unsigned vary = 0;

    for (size_t i = 0; i < in->n_set_cookies && !list->full; i++) {
        prv_str field = in->set_cookies[i];
        prv_str name = prv_set_cookie_name(field);
        bool wanted =
            want == NAMES_REMOVED
                ? prv_edit_set_cookie(in->rq, in->rules, in->d, field, &vary) == PRV_DROP
                : prv_cookie_rule_of(in->rq, name) == NULL && !prv_cookie_own(in->rq, name);
        if (wanted) {
            list_add(list, name);
        }
    }
}

static prv_str names_text(const prv_var_input *in, names_want want)
{
    name_list list;

    list.n = 0;
    list.full = false;
    names_request(in, want, &list);
    names_answer(in, want, &list);
    return copy(in->rq->env, (prv_str){list.text, list.n});
}

static prv_str var_removed(const prv_var_input *in)
{
    return prv_rules_edit(in->rules) ? names_text(in, NAMES_REMOVED) : PRV_NONE;
}

static prv_str var_unknown(const prv_var_input *in)
{
    return in->rules->mode != PRV_MODE_OFF ? names_text(in, NAMES_UNKNOWN) : PRV_NONE;
}

/* ---- request_uri */

/* Equal when the name is form-decoded and ASCII case is folded, as applications read parameters. */
static bool parameter_is(prv_str raw, prv_str name)
{
    size_t at = 0;

    for (size_t i = 0; i < raw.n; at++) {
        bool plus = raw.p[i] == '+';
        char c = (char)prv_view_decode(raw, &i);
        c = plus ? ' ' : c;
        if (at >= name.n || prv_view_lower(c) != prv_view_lower(name.p[at])) {
            return false;
        }
    }
    return at == name.n;
}

static bool parameter_scrubbed(const prv_var_input *in, prv_str parameter)
{
    size_t equals = prv_view_find(parameter, '=');

    for (size_t i = 0; equals < parameter.n && i < in->n_scrub; i++) {
        if (parameter_is((prv_str){parameter.p, equals}, in->scrub[i])) {
            return true;
        }
    }
    return false;
}

/* Every separator stays as it was, so a scrubbed line is compared easily with the others. */
static void uri_put(const prv_var_input *in, prv_out *out, bool *changed)
{
    size_t i = prv_view_find(in->uri, '?');

    prv_out_put(out, (prv_str){in->uri.p, i});
    while (i < in->uri.n) {
        size_t from = ++i;
        while (i < in->uri.n && in->uri.p[i] != '&' && in->uri.p[i] != ';') {
            i++;
        }
        prv_str parameter = {in->uri.p + from, i - from};
        prv_out_char(out, in->uri.p[from - 1]);
        if (parameter_scrubbed(in, parameter)) {
            prv_out_put(out, (prv_str){parameter.p, prv_view_find(parameter, '=') + 1});
            prv_out_char(out, '-');
            *changed = true;
        } else {
            prv_out_put(out, parameter);
        }
    }
}

static prv_str var_request_uri(const prv_var_input *in)
{
    prv_out counted = {0};
    prv_out out;
    bool changed = false;

    uri_put(in, &counted, &changed);
    if (!changed) {
        return in->uri;
    }
    if (!prv_out_open(&out, in->rq->env, counted.n)) {
        return PRV_NONE;
    }
    uri_put(in, &out, &changed);
    return prv_out_view(&out);
}

prv_str prv_variable(prv_var var, const prv_var_input *in)
{
    static prv_str (*const values[PRV_VAR_COUNT])(const prv_var_input *in) = {
        [PRV_VAR_PURPOSES] = var_purposes,
        [PRV_VAR_DENIED] = var_denied,
        [PRV_VAR_REASON] = var_reason,
        [PRV_VAR_VARIANT] = var_variant,
        [PRV_VAR_ID] = var_id,
        [PRV_VAR_AGE] = var_age,
        [PRV_VAR_SIGNALS] = var_signals,
        [PRV_VAR_REGION] = var_region,
        [PRV_VAR_STATE] = var_state,
        [PRV_VAR_REMOVED] = var_removed,
        [PRV_VAR_UNKNOWN] = var_unknown,
        [PRV_VAR_ADDR] = var_addr,
        [PRV_VAR_REQUEST_URI] = var_request_uri,
        [PRV_VAR_ROWS] = var_rows,
    };

    return (unsigned)var < PRV_VAR_COUNT ? values[var](in) : PRV_NONE;
}
