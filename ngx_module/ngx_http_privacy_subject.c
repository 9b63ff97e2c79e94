/*
 * privacy_subject: the account that is logged in, read in PRECONTENT and only if this request was
 * authenticated there. Before ACCESS, and wherever nothing asks for a password, $remote_user is
 * what the client claims.
 */
#include "ngx_http_privacy.h"

char *ngx_http_privacy_set_subject(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_privacy_loc_conf_t *lcf = conf;
    const ngx_str_t *value = cf->args->elts;
    char *rv = ngx_http_set_complex_value_slot(cf, cmd, conf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }
    if (prv_subject_claimed(ngx_http_privacy_view(&value[1]))) {
        ngx_conf_log_error(
            NGX_LOG_WARN, cf, 0,
            "privacy_subject \"%V\" is what the client itself says: anybody can be any "
            "account there, unless a proxy in front sets it",
            &value[1]);
    }
#if (NGX_HTTP_SSL)
    ngx_str_t verified = ngx_string("$ssl_client_verify");
    ngx_http_compile_complex_value_t ccv = {.cf = cf, .value = &verified};
    lcf->client_verify = ngx_pcalloc(cf->pool, sizeof(ngx_http_complex_value_t));
    if (lcf->client_verify == NULL) {
        return NGX_CONF_ERROR;
    }
    ccv.complex_value = lcf->client_verify;
    if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
        return NGX_CONF_ERROR;
    }
#else
    (void)lcf;
#endif
    return NGX_CONF_OK;
}

/* A module of this nginx by its name; NULL: it is not there. */
static const ngx_module_t *module_of(const char *name)
{
    ngx_module_t **modules = ngx_cycle->modules;
    for (ngx_uint_t i = 0; modules[i]; i++) {
        if (ngx_strcmp(modules[i]->name, name) == 0) {
            return modules[i];
        }
    }
    return NULL;
}

/* What auth_basic asks for here: it acts if both are set and the realm is not "off". The head of
 * its location's configuration, from 1.9 to 1.29: the realm, then the file or the file's length. */
static ngx_uint_t basic_acts(ngx_http_request_t *r)
{
    const ngx_module_t *module = module_of("ngx_http_auth_basic_module");
    ngx_str_t realm;
    struct {
        ngx_http_complex_value_t *realm;
        uintptr_t file;
    } const *conf = module ? r->loc_conf[module->ctx_index] : NULL;

    return conf && conf->realm && conf->file &&
           ngx_http_complex_value(r, conf->realm, &realm) == NGX_OK &&
           !(realm.len == 3 && ngx_strncmp(realm.data, "off", 3) == 0);
}

/* The head of auth_request's: the URI that it asks, empty for off. */
static ngx_uint_t request_acts(ngx_http_request_t *r)
{
    const ngx_module_t *module = module_of("ngx_http_auth_request_module");
    const ngx_str_t *uri = module ? r->loc_conf[module->ctx_index] : NULL;
    return uri && uri->len > 0;
}

static ngx_uint_t certificate_verified(ngx_http_request_t *r,
                                       const ngx_http_privacy_loc_conf_t *lcf)
{
    ngx_str_t verified;
    return lcf->client_verify &&
           ngx_http_complex_value(r, lcf->client_verify, &verified) == NGX_OK &&
           verified.len == 7 && ngx_strncmp(verified.data, "SUCCESS", 7) == 0;
}

/* ACCESS has passed, or we would not be here. With `satisfy any` an address may have been enough,
 * and nobody can tell. */
static ngx_uint_t authenticated(ngx_http_request_t *r, const ngx_http_privacy_loc_conf_t *lcf)
{
    const ngx_http_core_loc_conf_t *clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    if (certificate_verified(r, lcf)) {
        return 1;
    }
    return clcf->satisfy == NGX_HTTP_SATISFY_ALL && (basic_acts(r) || request_acts(r));
}

ngx_int_t ngx_http_privacy_subject(ngx_http_request_t *r, ngx_http_privacy_state_t *st)
{
    const ngx_http_privacy_loc_conf_t *lcf = ngx_http_privacy_loc(r);
    ngx_str_t account;

    if (lcf->subject == NULL || r != r->main || !authenticated(r, lcf)) {
        return NGX_OK;
    }
    if (ngx_http_complex_value(r, lcf->subject, &account) != NGX_OK) {
        return NGX_ERROR;
    }
    if (account.len == 0) {
        return NGX_OK;
    }
    st->authenticated = 1;
    return ngx_http_privacy_account(r, st, ngx_http_privacy_view(&account));
}
