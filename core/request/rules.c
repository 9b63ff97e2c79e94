/*
 * One location's rules: what its gates ask for, how they answer, and whether the server around it
 * can serve them.
 */
#include "conf.h"

#define AGE_MAX 120

void prv_rules_init(prv_rules *rules)
{
    *rules = (prv_rules){.mode = PRV_MODE_OFF, .vendor = -1, .forward = true};
}

/* ---- answers */

static const uint16_t answer_statuses[] = {403, 404, 409, 451, 204};

static prv_code answer_status(prv_str value, prv_answer *out, prv_error *err)
{
    uint64_t number;

    if (prv_conf_number(value, 999, &number)) {
        for (size_t i = 0; i < sizeof(answer_statuses) / sizeof(answer_statuses[0]); i++) {
            if (answer_statuses[i] == number) {
                out->status = (int)number;
                return PRV_OK;
            }
        }
    }
    return prv_conf_fail(err, PRV_ERR_VALUE, "status \"%.*s\": expected 403, 404, 409, 451 or 204",
                         PRV_CONF_SHOW(value));
}

static prv_code answer_redirect(prv_str value, prv_answer *out, prv_error *err)
{
    if (!prv_return_valid(value) || prv_view_find(value, '#') < value.n) {
        return prv_conf_fail(
            err, PRV_ERR_VALUE,
            "redirect \"%.*s\": expected a path of this server such as /privacy/ that "
            "begins with one / and has no space, backslash or #",
            PRV_CONF_SHOW(value));
    }
    out->redirect = value;
    return PRV_OK;
}

/* Takes an argument that is `status=` or `redirect=`. */
static prv_code answer_option(prv_str arg, prv_answer *out, prv_error *err)
{
    prv_str key = arg;
    prv_str value = PRV_NONE;
    bool pair = prv_conf_option(arg, &key, &value);
    bool status = pair && prv_view_equal(key, PRV_STR("status"));

    if (!status && !(pair && prv_view_equal(key, PRV_STR("redirect")))) {
        return prv_conf_fail(err, PRV_ERR_SYNTAX,
                             "\"%.*s\" is no option here; expected status=403 or redirect=/path",
                             PRV_CONF_SHOW(arg));
    }
    if (out->status != 0 || out->redirect.n > 0) {
        return prv_conf_fail(
            err, PRV_ERR_VALUE,
            "\"%.*s\" is one answer too many; expected one status= or one redirect=",
            PRV_CONF_SHOW(arg));
    }
    return status ? answer_status(value, out, err) : answer_redirect(value, out, err);
}

/* ---- privacy_require */

static bool purpose_name_valid(prv_str name)
{
    if (name.n == 0 || name.p[0] < 'a' || name.p[0] > 'z') {
        return false;
    }
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-') {
            return false;
        }
    }
    return true;
}

static prv_code require_name(prv_str name, prv_require_conf *out, prv_error *err)
{
    if (!purpose_name_valid(name)) {
        return prv_conf_fail(
            err, PRV_ERR_VALUE,
            "\"%.*s\" is no purpose name; expected lower-case letters, digits and -, "
            "such as statistics",
            PRV_CONF_SHOW(name));
    }
    for (size_t i = 0; i < out->n_names; i++) {
        if (prv_view_equal(out->names[i], name)) {
            return prv_conf_fail(err, PRV_ERR_VALUE, "purpose \"%.*s\" stands twice",
                                 PRV_CONF_SHOW(name));
        }
    }
    if (out->n_names == PRV_REQUIRE_NAMES_MAX) {
        return prv_conf_fail(err, PRV_ERR_VALUE, "more purposes than the %d that a policy can have",
                             PRV_REQUIRE_NAMES_MAX);
    }
    out->names[out->n_names++] = name;
    return PRV_OK;
}

prv_code prv_require_parse(const prv_str *args, size_t n, prv_require_conf *out, prv_error *err)
{
    *out = (prv_require_conf){0};
    for (size_t i = 0; i < n; i++) {
        bool option = prv_view_find(args[i], '=') < args[i].n;
        prv_code code =
            option ? answer_option(args[i], &out->answer, err) : require_name(args[i], out, err);
        if (code != PRV_OK) {
            return code;
        }
    }
    if (out->n_names == 0) {
        return prv_conf_fail(
            err, PRV_ERR_SYNTAX,
            "privacy_require names no purpose; expected purposes of the policy, then "
            "status= or redirect=");
    }
    return PRV_OK;
}

static prv_code purpose_unknown(const prv_policy *policy, prv_str name, prv_error *err)
{
    char there[512];
    prv_out out = {there, 0, sizeof(there) - 1};

    if (policy->n_purposes == 0) {
        return prv_conf_fail(err, PRV_ERR_VALUE,
                             "purpose \"%.*s\" is unknown because no policy is set; expected "
                             "privacy_policy with a file that has it",
                             PRV_CONF_SHOW(name));
    }
    for (size_t i = 0; i < policy->n_purposes; i++) {
        prv_out_put(&out, i > 0 ? PRV_STR(", ") : PRV_NONE);
        prv_out_put(&out, policy->purposes[i].name);
    }
    there[out.n] = '\0';
    return prv_conf_fail(err, PRV_ERR_VALUE,
                         "purpose \"%.*s\" is not in policy \"%.*s\"; expected one of %s",
                         PRV_CONF_SHOW(name), PRV_CONF_SHOW(policy->id), there);
}

prv_code prv_require_resolve(const prv_require_conf *conf, const prv_policy *policy, uint32_t *mask,
                             prv_error *err)
{
    uint32_t found = 0;

    for (size_t i = 0; i < conf->n_names; i++) {
        int index = prv_policy_purpose(policy, conf->names[i]);
        if (index < 0) {
            return purpose_unknown(policy, conf->names[i], err);
        }
        found |= 1u << index;
    }
    *mask = found;
    return PRV_OK;
}

/* ---- privacy_min_age */

prv_code prv_min_age_parse(const prv_str *args, size_t n, unsigned *min_age, prv_answer *answer,
                           prv_error *err)
{
    uint64_t age = PRV_AGE_POLICY;

    *answer = (prv_answer){0};
    if (n == 0) {
        return prv_conf_fail(err, PRV_ERR_SYNTAX,
                             "privacy_min_age names no age; expected years from 1 to %d, or policy",
                             AGE_MAX);
    }
    if (!prv_view_equal(args[0], PRV_STR("policy")) &&
        (!prv_conf_number(args[0], AGE_MAX, &age) || age == 0)) {
        return prv_conf_fail(err, PRV_ERR_VALUE,
                             "age \"%.*s\": expected years from 1 to %d, or policy",
                             PRV_CONF_SHOW(args[0]), AGE_MAX);
    }
    for (size_t i = 1; i < n; i++) {
        prv_code code = answer_option(args[i], answer, err);
        if (code != PRV_OK) {
            return code;
        }
    }
    *min_age = (unsigned)age;
    return PRV_OK;
}

/* ---- the server as a whole */

/* Will a browser send a cookie of this path to our endpoints (RFC 6265 5.1.4)? */
static bool path_covers(prv_str path, prv_str home)
{
    return prv_view_starts(home, path) &&
           (path.p[path.n - 1] == '/' || home.n == path.n || home.p[path.n] == '/');
}

prv_code prv_site_check(const prv_site *site, prv_mode strongest, prv_error *err)
{
    bool no_policy = site->policy == NULL || site->policy == prv_policy_empty();

    if (strongest == PRV_MODE_OFF) {
        return PRV_OK;
    }
    if (strongest == PRV_MODE_ON && no_policy) {
        return prv_conf_fail(err, PRV_ERR_VALUE,
                             "privacy on needs a policy; expected privacy_policy with a file, or "
                             "privacy report to look first");
    }
    if (strongest == PRV_MODE_ON && site->keys == NULL) {
        return prv_conf_fail(err, PRV_ERR_VALUE,
                             "privacy on needs keys; expected privacy_key_file with a file that "
                             "privacyctl keys new makes");
    }
    if (site->subject && (site->keys == NULL || !prv_keyring_signer(site->keys, PRV_KEY_SUBJECT))) {
        return prv_conf_fail(
            err, PRV_ERR_VALUE,
            "privacy_subject needs a key of use \"subject\"; expected a line "
            "\"subject kid secret\" in the file of privacy_key_file, as privacyctl "
            "keys new makes it");
    }
    if (site->cookie.path.n > 0 && !path_covers(site->cookie.path, site->home)) {
        return prv_conf_fail(err, PRV_ERR_VALUE,
                             "cookie path \"%.*s\" does not cover privacy_home \"%.*s\": browsers "
                             "would not send the cookie there; expected a path above it",
                             PRV_CONF_SHOW(site->cookie.path), PRV_CONF_SHOW(site->home));
    }
    return PRV_OK;
}
