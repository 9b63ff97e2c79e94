/*
 * What can only be judged when all of the configuration is known. Runs for `httpd -t` too, and
 * connects to nothing.
 */
#include "mod_privacy.h"

#include "http_core.h"
#include "apr_fnmatch.h"

/* A mistake: where it stands and one sentence. */
static void mistake(apr_pool_t *p, const ap_directive_t *at, const char *text)
{
    text = prv_httpd_words(p, text);
    if (at) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_ERR, 0, NULL, "%s:%d: %s", at->filename,
                     at->line_num, text);
    } else {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_ERR, 0, NULL, "%s", text);
    }
}

/* ------------------------------------------------------------------ the store and the sites */

static apr_status_t store_cleanup(void *store)
{
    prv_store_conf_free(store);
    return APR_SUCCESS;
}

static bool load_store(apr_pool_t *pconf, prv_server_conf *conf)
{
    prv_error err = {0};
    conf->timeout_ms = conf->timeout_ms ? conf->timeout_ms : PRV_TIMEOUT_DEFAULT;
    conf->prefix = conf->prefix ? conf->prefix : "privacy:";
    if (!conf->store_at) {
        return true; /* neither a store nor a file of one */
    }
    const prv_store_settings settings = {
        .url = conf->store_url ? prv_str_of(conf->store_url) : PRV_STR("off"),
        .prefix = prv_str_of(conf->prefix),
        .timeout_ms = conf->timeout_ms,
        .wait = conf->store_wait,
        .password_file = conf->password_file,
        .tls_ca = conf->tls_ca,
        .tls_cert = conf->tls_cert,
        .tls_key = conf->tls_key,
    };
    if (prv_store_conf_parse(&settings, &conf->store, &err) != PRV_OK) {
        mistake(pconf, conf->store_at, err.text);
        return false;
    }
    if (conf->store) {
        apr_pool_cleanup_register(pconf, conf->store, store_cleanup, apr_pool_cleanup_null);
    }
    return true;
}

static bool complete_site(apr_pool_t *pconf, prv_server_conf *conf,
                          const prv_server_conf *main_conf)
{
    prv_error err = {0};
    prv_site *site = &conf->site;
    site->policy = conf->policy ? conf->policy : prv_policy_empty();
    site->keys = conf->keys;
    if (conf->cookie) {
        site->cookie = *conf->cookie;
    } else {
        prv_cookie_conf_init(&site->cookie);
    }
    if (conf->limit) {
        site->limit = *conf->limit;
    } else {
        prv_limit_conf_init(&site->limit);
    }
    site->home = prv_str_of(conf->home ? conf->home : "/privacy/");
    site->store = main_conf->store != NULL;
    site->prefix = prv_str_of(main_conf->prefix);
    site->timeout_ms = main_conf->timeout_ms;
    if (conf->strongest != PRV_MODE_OFF && prv_site_check(site, conf->strongest, &err) != PRV_OK) {
        mistake(pconf, conf->strongest_at, err.text);
        return false;
    }
    return true;
}

/* ------------------------------------------------------------------ names */

static bool bind_names(apr_pool_t *pconf, const prv_use *use, const prv_policy *policy)
{
    if (prv_named_under(use->named, policy)) {
        return true;
    }
    prv_error err = {0};
    prv_bound bound = {.policy = policy, .vendor = -1};
    if (use->kind == PRV_USE_VENDOR) {
        bound.vendor = prv_policy_vendor(policy, prv_str_of(use->named->vendor));
        if (bound.vendor < 0) {
            snprintf(err.text, sizeof(err.text), "PrivacyVendor: the policy has no vendor '%s'.",
                     use->named->vendor);
        }
    } else {
        prv_require_resolve(&use->named->require, policy, &bound.mask, &err);
    }
    if (err.text[0]) {
        mistake(pconf, use->at, err.text);
        return false;
    }
    APR_ARRAY_PUSH(use->named->bound, prv_bound) = bound;
    return true;
}

/* A section of the main server holds in every virtual host, under that one's policy. */
static bool applies(const prv_use *use, const server_rec *s, const server_rec *main_server)
{
    return prv_server_of(s)->strongest != PRV_MODE_OFF &&
           (use->server == s || use->server == main_server);
}

/* ------------------------------------------------------------------ endpoints */

static bool section_matches(const core_dir_config *section, const char *path)
{
    if (section->r) {
        return ap_regexec(section->r, path, 0, NULL, 0) == 0;
    }
    if (section->d_is_fnmatch) {
        return apr_fnmatch(section->d, path, APR_FNM_PATHNAME) == APR_SUCCESS;
    }
    size_t n = strlen(section->d);
    return strncmp(section->d, path, n) == 0 &&
           (n == 0 || section->d[n - 1] == '/' || path[n] == '/' || path[n] == '\0');
}

/* The mode at a path as the <Location> sections of this server give it. */
static int mode_at(const server_rec *s, const char *path)
{
    const prv_dir_conf *dir = ap_get_module_config(s->lookup_defaults, &privacy_module);
    int mode = dir->mode == PRV_MODE_UNSET ? (int)PRV_MODE_OFF : dir->mode;
    const core_server_config *core = ap_get_core_module_config(s->module_config);
    for (int i = 0; core->sec_url && i < core->sec_url->nelts; i++) {
        ap_conf_vector_t *section = APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *);
        dir = ap_get_module_config(section, &privacy_module);
        if (dir && dir->mode != PRV_MODE_UNSET &&
            section_matches(ap_get_core_module_config(section), path)) {
            mode = dir->mode;
        }
    }
    return mode;
}

static bool check_endpoint(apr_pool_t *pconf, const prv_use *use, server_rec *main_server)
{
    for (server_rec *s = main_server; s; s = s->next) {
        const prv_server_conf *conf = prv_server_of(s);
        const char *path = use->mount ? use->mount : conf->home ? conf->home : "/privacy/";
        if ((use->server == s || use->server == main_server) &&
            mode_at(s, path) != (int)PRV_MODE_OFF) {
            return true;
        }
    }
    mistake(pconf, use->at,
            "PrivacyEndpoint is On where Privacy is off; it needs Privacy on or report.");
    return false;
}

/* ------------------------------------------------------------------ hooks */

int prv_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                     server_rec *main_server)
{
    (void)plog;
    (void)ptemp;
    prv_server_conf *main_conf = prv_server_of(main_server);
    bool ok = load_store(pconf, main_conf);
    for (server_rec *s = main_server; ok && s; s = s->next) {
        ok = complete_site(pconf, prv_server_of(s), main_conf);
    }
    const apr_array_header_t *uses = prv_uses_of(pconf);
    for (int i = 0; ok && i < uses->nelts; i++) {
        const prv_use *use = &APR_ARRAY_IDX(uses, i, prv_use);
        if (use->kind == PRV_USE_ENDPOINT) {
            ok = check_endpoint(pconf, use, main_server);
            continue;
        }
        for (server_rec *s = main_server; ok && s; s = s->next) {
            if (applies(use, s, main_server)) {
                ok = bind_names(pconf, use, prv_server_of(s)->site.policy);
            }
        }
    }
    ok = ok && prv_check_quick_cache(main_server);
    if (ok && ap_state_query(AP_SQ_RUN_MODE) != AP_SQ_RM_NORMAL) {
        prv_check_warn(pconf, main_server);
    }
    return ok ? OK : HTTP_INTERNAL_SERVER_ERROR;
}

static bool home_is_served(const apr_array_header_t *uses, const server_rec *s,
                           const server_rec *main_server)
{
    const char *home = prv_server_of(s)->home ? prv_server_of(s)->home : "/privacy/";
    for (int i = 0; i < uses->nelts; i++) {
        const prv_use *use = &APR_ARRAY_IDX(uses, i, prv_use);
        if (use->kind == PRV_USE_ENDPOINT && applies(use, s, main_server) &&
            (!use->mount || strncmp(home, use->mount, strlen(use->mount)) == 0)) {
            return true;
        }
    }
    return false;
}

static void warn_policy(const server_rec *s, const server_rec *main_server)
{
    const prv_policy *policy = prv_server_of(s)->site.policy;
    for (const server_rec *earlier = main_server; earlier != s; earlier = earlier->next) {
        if (prv_server_of(earlier)->site.policy == policy) {
            return;
        }
    }
    prv_str line;
    for (size_t i = 0; (line = prv_policy_warning(policy, i)).n > 0; i++) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s, "%.*s", (int)line.n, line.p);
    }
}

void prv_check_warn(apr_pool_t *pconf, server_rec *main_server)
{
    const apr_array_header_t *uses = prv_uses_of(pconf);
    for (server_rec *s = main_server; s; s = s->next) {
        const prv_server_conf *conf = prv_server_of(s);
        warn_policy(s, main_server);
        if (conf->strongest == PRV_MODE_ON && !home_is_served(uses, s, main_server)) {
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                         "%s:%d: Privacy is on, but no PrivacyEndpoint serves PrivacyHome %.*s: "
                         "visitors cannot choose.",
                         conf->strongest_at->filename, conf->strongest_at->line_num,
                         (int)conf->site.home.n, conf->site.home.p);
        }
    }
}
