/*
 * The module: what nginx calls when configuration has been read, and when processes end.
 */
#include "ngx_http_privacy.h"

static ngx_int_t setup(ngx_conf_t *cf);
static void process_exit(ngx_cycle_t *cycle);

static ngx_http_module_t module_ctx = {
    ngx_http_privacy_add_variables,    /* preconfiguration */
    setup,                             /* postconfiguration */
    ngx_http_privacy_create_main_conf, /* create main configuration */
    ngx_http_privacy_init_main_conf,   /* init main configuration */
    ngx_http_privacy_create_srv_conf,  /* create server configuration */
    ngx_http_privacy_merge_srv_conf,   /* merge server configuration */
    ngx_http_privacy_create_loc_conf,  /* create location configuration */
    ngx_http_privacy_merge_loc_conf    /* merge location configuration */
};

ngx_module_t ngx_http_privacy_module = {NGX_MODULE_V1,
                                        &module_ctx,               /* module context */
                                        ngx_http_privacy_commands, /* module directives */
                                        NGX_HTTP_MODULE,           /* module type */
                                        NULL,                      /* init master */
                                        NULL,                      /* init module */
                                        NULL,                      /* init process */
                                        NULL,                      /* init thread */
                                        NULL,                      /* exit thread */
                                        process_exit,              /* exit process */
                                        NULL,                      /* exit master */
                                        NGX_MODULE_V1_PADDING};

/* Handlers of a phase run from the end of the array to its start. */
static ngx_int_t add_first(ngx_http_core_main_conf_t *cmcf, ngx_http_phases phase,
                           ngx_http_handler_pt handler)
{
    ngx_http_handler_pt *h = ngx_array_push(&cmcf->phases[phase].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }
    *h = handler;
    return NGX_OK;
}

static ngx_int_t add_last(ngx_http_core_main_conf_t *cmcf, ngx_http_phases phase,
                          ngx_http_handler_pt handler)
{
    ngx_array_t *handlers = &cmcf->phases[phase].handlers;
    if (ngx_array_push(handlers) == NULL) {
        return NGX_ERROR;
    }
    ngx_http_handler_pt *h = handlers->elts;
    ngx_memmove(h + 1, h, (handlers->nelts - 1) * sizeof(*h));
    h[0] = handler;
    return NGX_OK;
}

static ngx_int_t add_handlers(ngx_http_core_main_conf_t *cmcf)
{
    if (add_first(cmcf, NGX_HTTP_POST_READ_PHASE, ngx_http_privacy_first_look) != NGX_OK ||
        add_first(cmcf, NGX_HTTP_SERVER_REWRITE_PHASE, ngx_http_privacy_first_look) != NGX_OK ||
        add_first(cmcf, NGX_HTTP_REWRITE_PHASE, ngx_http_privacy_rewrite_handler) != NGX_OK ||
        add_first(cmcf, NGX_HTTP_PRECONTENT_PHASE, ngx_http_privacy_precontent_handler) != NGX_OK) {
        return NGX_ERROR;
    }
    if (add_first(cmcf, NGX_HTTP_PREACCESS_PHASE, ngx_http_privacy_access_handler) != NGX_OK) {
        return NGX_ERROR;
    }
    /* After realip and the limits: nobody who is turned away there costs a read of the store. */
    if (add_last(cmcf, NGX_HTTP_PREACCESS_PHASE, ngx_http_privacy_preaccess_handler) != NGX_OK) {
        return NGX_ERROR;
    }
    /* The log phase runs in the order of the array: before the log is written. */
    return add_last(cmcf, NGX_HTTP_LOG_PHASE, ngx_http_privacy_log_handler);
}

static void warn_policy(ngx_conf_t *cf, ngx_array_t *warned, const prv_policy *policy)
{
    const prv_policy **seen = warned->elts;
    for (ngx_uint_t i = 0; i < warned->nelts; i++) {
        if (seen[i] == policy) {
            return;
        }
    }
    seen = ngx_array_push(warned);
    if (seen) {
        *seen = policy;
    }
    for (size_t i = 0;; i++) {
        prv_str w = prv_policy_warning(policy, i);
        if (w.n == 0) {
            return;
        }
        ngx_log_error(NGX_LOG_WARN, cf->log, 0, "%*s", w.n, w.p);
    }
}

static void site_fill(ngx_http_privacy_srv_conf_t *scf, const ngx_http_privacy_main_conf_t *mcf)
{
    prv_site *site = &scf->site;
    site->policy = scf->policy ? scf->policy : prv_policy_empty();
    site->keys = scf->keys;
    site->home = scf->home;
    site->store = mcf->store_conf != NULL;
    site->prefix = mcf->store_prefix;
    site->timeout_ms = mcf->store_timeout;
    if (scf->cookie) {
        site->cookie = *scf->cookie;
    } else {
        prv_cookie_conf_init(&site->cookie);
    }
    if (scf->limit) {
        site->limit = *scf->limit;
    } else {
        prv_limit_conf_init(&site->limit);
    }
}

/* What counts, and what privacy_status tells about. */
static ngx_int_t note_site(ngx_http_privacy_main_conf_t *mcf, prv_site *site)
{
    const prv_site **known = mcf->shown.elts;
    prv_site **slot = ngx_array_push(&mcf->sites);
    if (slot == NULL) {
        return NGX_ERROR;
    }
    *slot = site;
    for (ngx_uint_t i = 0; i < mcf->shown.nelts; i++) {
        if (known[i]->policy == site->policy) {
            return NGX_OK;
        }
    }
    known = ngx_array_push(&mcf->shown);
    if (known == NULL) {
        return NGX_ERROR;
    }
    *known = site;
    return NGX_OK;
}

static ngx_int_t setup_server(ngx_conf_t *cf, ngx_http_privacy_main_conf_t *mcf,
                              ngx_array_t *warned, ngx_http_core_srv_conf_t *cscf)
{
    ngx_http_privacy_srv_conf_t *scf = cscf->ctx->srv_conf[ngx_http_privacy_module.ctx_index];
    prv_error err;

    site_fill(scf, mcf);
    if (scf->strongest == PRV_MODE_OFF) {
        return NGX_OK;
    }
    mcf->in_use = 1;
    if (prv_site_check(&scf->site, scf->strongest, &err) != PRV_OK) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0, "%s in server \"%V\" in %s:%ui", err.text,
                      &cscf->server_name, cscf->file_name, cscf->line);
        return NGX_ERROR;
    }
    if (note_site(mcf, &scf->site) != NGX_OK) {
        return NGX_ERROR;
    }
    warn_policy(cf, warned, scf->site.policy);
    if (scf->strongest == PRV_MODE_ON && !scf->home_served) {
        ngx_log_error(
            NGX_LOG_WARN, cf->log, 0,
            "no location of server \"%V\" serves \"%*s\": add \"location %*s { privacy_endpoint "
            "on; }\" or set privacy_home, in %s:%ui",
            &cscf->server_name, scf->home.n, scf->home.p, scf->home.n, scf->home.p, cscf->file_name,
            cscf->line);
    }
    return NGX_OK;
}

static ngx_int_t setup(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_privacy_main_conf_t *mcf =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_privacy_module);
    ngx_http_core_srv_conf_t **servers = cmcf->servers.elts;

    ngx_array_t *warned = ngx_array_create(cf->temp_pool, 4, sizeof(prv_policy *));
    if (warned == NULL) {
        return NGX_ERROR;
    }
    for (ngx_uint_t i = 0; i < cmcf->servers.nelts; i++) {
        if (setup_server(cf, mcf, warned, servers[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }
    if (!mcf->in_use) {
        return NGX_OK;
    }
    if (ngx_http_privacy_zone_add(cf, mcf) != NGX_OK ||
        ngx_http_privacy_wrap_variables(cf, mcf) != NGX_OK || add_handlers(cmcf) != NGX_OK) {
        return NGX_ERROR;
    }
    return ngx_http_privacy_response_init(cf);
}

static void process_exit(ngx_cycle_t *cycle)
{
    ngx_http_privacy_main_conf_t *mcf =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_privacy_module);
    if (mcf) {
        ngx_http_privacy_store_close(mcf);
    }
}
