/*
 * `Require privacy-purpose` and `Require privacy-min-age`: conditions inside httpd's own
 * authorisation, which other Require lines, Satisfy and .htaccess can override. The gates that hold
 * are PrivacyRequire and PrivacyMinAge.
 */
#include "mod_privacy.h"

#include "ap_provider.h"
#include "mod_auth.h"

static const char *said(cmd_parms *cmd, const char *text)
{
    return prv_httpd_words(cmd->pool, apr_pstrdup(cmd->pool, text));
}

static prv_str *words(cmd_parms *cmd, const char *line, size_t *n)
{
    apr_array_header_t *list = apr_array_make(cmd->pool, 4, sizeof(prv_str));
    char *word;
    while (*(word = ap_getword_conf(cmd->pool, &line))) {
        APR_ARRAY_PUSH(list, prv_str) = prv_str_of(word);
    }
    *n = (size_t)list->nelts;
    return (prv_str *)(void *)list->elts;
}

/* Passes at once: endpoints and well-known documents are never gated; report mode holds nobody up.
 */
static bool passes(const prv_view *view)
{
    return view->rules.exempt || view->rules.mode == PRV_MODE_REPORT;
}

/* An account may be allowed more: httpd authenticates, and asks again. */
static authz_status denied(const prv_view *view, const request_rec *r)
{
    return view->dir->subject && !r->user ? AUTHZ_DENIED_NO_USER : AUTHZ_DENIED;
}

/* ------------------------------------------------------------------ purposes */

static const char *parse_purpose(cmd_parms *cmd, const char *line, const void **parsed)
{
    prv_error err = {0};
    size_t n = 0;
    const prv_str *names = words(cmd, line, &n);
    prv_named *named = apr_pcalloc(cmd->pool, sizeof(*named));
    if (prv_require_parse(names, n, &named->require, &err) != PRV_OK) {
        return said(cmd, err.text);
    }
    if (named->require.answer.status || named->require.answer.redirect.n > 0) {
        return "Require privacy-purpose takes names of purposes only; PrivacyRequire has an "
               "answer.";
    }
    named->bound = apr_array_make(cmd->pool, 1, sizeof(prv_bound));
    if (!ap_check_cmd_context(cmd, NOT_IN_HTACCESS)) { /* there the names are looked up each time */
        prv_use *use = apr_array_push(prv_uses_of(cmd->pool));
        *use = (prv_use){
            .kind = PRV_USE_NAMES, .server = cmd->server, .at = cmd->directive, .named = named};
    }
    *parsed = named;
    return NULL;
}

static authz_status check_purpose(request_rec *r, const char *line, const void *parsed)
{
    (void)line;
    const prv_named *named = parsed;
    prv_view *view = prv_view_get(r);
    prv_root_subject(view, r);
    prv_view_decide(view, r, true);
    const prv_policy *policy = view->root->server->site.policy;
    const prv_bound *bound = prv_named_under(named, policy);
    uint32_t mask = bound ? bound->mask : 0;
    if (passes(view)) {
        return AUTHZ_GRANTED;
    }
    prv_error err = {0};
    if (!bound && prv_require_resolve(&named->require, policy, &mask, &err) != PRV_OK) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "Require privacy-purpose: %s", err.text);
        return AUTHZ_DENIED;
    }
    prv_view_depends(view, prv_vary(policy, mask));
    return (view->d.allowed & mask) == mask ? AUTHZ_GRANTED : denied(view, r);
}

/* ------------------------------------------------------------------ age */

static const char *parse_min_age(cmd_parms *cmd, const char *line, const void **parsed)
{
    prv_error err = {0};
    size_t n = 0;
    const prv_str *args = words(cmd, line, &n);
    unsigned *age = apr_pcalloc(cmd->pool, sizeof(*age));
    prv_answer answer = {0};
    if (prv_min_age_parse(args, n, age, &answer, &err) != PRV_OK) {
        return said(cmd, err.text);
    }
    if (answer.status || answer.redirect.n > 0) {
        return "Require privacy-min-age takes a number or policy only; PrivacyMinAge has an "
               "answer.";
    }
    if (!ap_check_cmd_context(cmd, NOT_IN_HTACCESS)) { /* read while requests run */
        prv_site_age(&prv_server_of(cmd->server)->site, *age);
    }
    *parsed = age;
    return NULL;
}

static authz_status check_min_age(request_rec *r, const char *line, const void *parsed)
{
    (void)line;
    prv_view *view = prv_view_get(r);
    prv_root *root = view->root;
    prv_root_subject(view, r);
    prv_view_decide(view, r, true);
    if (passes(view)) {
        return AUTHZ_GRANTED;
    }
    prv_rules rules;
    prv_decision d;
    prv_rules_init(&rules);
    rules.mode = PRV_MODE_ON;
    rules.min_age = (uint8_t) * (const unsigned *)parsed;
    prv_decide(root->server->site.policy, &rules, &root->rq.state, root->rq.degraded,
               root->rq.signals, view->d.region, root->env.now_ms / 1000, &d);
    prv_view_depends(view, d.vary);
    return d.verdict == PRV_PASS ? AUTHZ_GRANTED : denied(view, r);
}

static const authz_provider purpose_provider = {check_purpose, parse_purpose};
static const authz_provider min_age_provider = {check_min_age, parse_min_age};

void prv_authz_register(apr_pool_t *p)
{
    ap_register_auth_provider(p, AUTHZ_PROVIDER_GROUP, "privacy-purpose", AUTHZ_PROVIDER_VERSION,
                              &purpose_provider, AP_AUTH_INTERNAL_PER_CONF);
    ap_register_auth_provider(p, AUTHZ_PROVIDER_GROUP, "privacy-min-age", AUTHZ_PROVIDER_VERSION,
                              &min_age_provider, AP_AUTH_INTERNAL_PER_CONF);
}
